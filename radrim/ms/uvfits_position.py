"""Equinoxes of UVFITS files, and precession of positions and (u, v) to J2000."""

import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from astropy.coordinates import BaseCoordinateFrame
    from astropy.io.fits import Header
    from pyuvdata import UVData

_FIRST_FK5 = 1984.0
"""Equinoxes before this year are of FK4, those after it of FK5 (Calabretta & Greisen 2002, section 3.1)."""


def year(value: object) -> float:
    """The year of an equinox, which may be text such as J2000; NaN if it is none."""
    try:
        found = float(str(value).strip().upper().lstrip("JB"))
    except ValueError:
        return math.nan
    return found if 1000 < found < 3000 else math.nan


def header_equinox(path: Path, header: "Header") -> tuple[str, float, list[str]]:
    """System (fk4, fk5 or icrs) and equinox [year] of the positions in a header, and notes about what was assumed."""
    system = str(header.get("RADESYS", "")).strip().upper()
    words = [f"{key} {header[key]}" for key in ("EPOCH", "EQUINOX") if key in header]
    found = [year(header[key]) for key in ("EPOCH", "EQUINOX") if key in header]
    equinox = next((value for value in found if math.isfinite(value)), math.nan)
    notes = []
    if math.isnan(equinox):
        equinox = 1950.0 if system.startswith("FK4") else 2000.0
        if words:
            notes.append(f"The header of {path.name} gives no year as its equinox ({', '.join(words)}); its positions "
                         f"were taken for {equinox:.0f}.")  # fmt: skip
    return frame_name(system, equinox), equinox, notes


def frame_name(system: str, equinox: float) -> str:
    """System of an equinox [year]: that of the header if it agrees with the year, else the usual one of that year."""
    if equinox < _FIRST_FK5:
        return "fk4"
    return "icrs" if system.upper() == "ICRS" else "fk5"


def to_j2000(data: "UVData", system: str, equinox: float, name: str) -> list[str]:
    """Convert the positions and (u, v) of the sources with data to J2000, in place.

    Parameters
    ----------
    data : UVData
    system, equinox : str, float
        As `header_equinox` gives them; they hold for sources whose own equinox is no year.
    name : str
        Name of the file for the notes.

    Returns
    -------
    list of str
        Notes about what was changed.
    """
    from astropy.coordinates import SkyCoord
    from astropy.time import Time

    notes = []
    for number, source in data.phase_center_catalog.items():
        rows = data.phase_center_id_array == number
        own = equinox if source["cat_epoch"] is None else year(source["cat_epoch"])
        if math.isnan(own):
            own = equinox
            if rows.any():
                notes.append(f"{name} gives the equinox {source['cat_epoch']:g} for {source['cat_name']}; its position "
                             f"was taken for {equinox:g}, as in the header.")  # fmt: skip
        system_of_source = frame_name(system, own)
        if system_of_source != "icrs" and own != 2000.0:
            # The position, and one slightly north of it: the direction of north differs between equinoxes.
            dec = source["cat_lat"] + np.array([0.0, math.copysign(1e-4, -source["cat_lat"])])
            moment = Time(np.median(data.time_array), format="jd")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # years far from now
                old = SkyCoord([source["cat_lon"]] * 2, dec, unit="rad", frame=_frame(system_of_source, own, moment))
                new = old.transform_to(_frame("fk5", 2000.0, moment))
            turn = float(new[0].position_angle(new[1]).rad) + (math.pi if dec[1] < dec[0] else 0.0)
            u, v = data.uvw_array[rows, :2].T
            data.uvw_array[rows, 0] = math.cos(turn) * u + math.sin(turn) * v
            data.uvw_array[rows, 1] = math.cos(turn) * v - math.sin(turn) * u
            source.update(cat_lon=float(new[0].ra.rad), cat_lat=float(new[0].dec.rad))
            if rows.any():
                notes.append(f"The position of {name} was precessed from the equinox {own:g} to J2000.")
        source["cat_frame"], source["cat_epoch"] = "fk5", 2000.0
    return notes


def _frame(system: str, equinox: float, moment: object) -> "BaseCoordinateFrame":
    from astropy.coordinates import FK4, FK5

    if system == "fk4":
        return FK4(equinox=f"B{equinox:.6f}", obstime=moment)
    return FK5(equinox=f"J{equinox:.6f}")

"""Joins the antenna tables (AIPS AN) of the subarrays of a UVFITS file. Pairs of subarray and antenna are antennas."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from radrim.errors import InputError
from radrim.ms.uvfits_parameters import EXPORT_AGAIN, Parameters

if TYPE_CHECKING:
    from astropy.io.fits import BinTableHDU, Header

_KEYS = {
    "ARRAYX": 0.0, "ARRAYY": 0.0, "ARRAYZ": 0.0, "GSTIA0": 0.0, "DEGPDY": 360.9856449733, "UT1UTC": 0.0, "DATUTC": 0.0,
    "RDATE": "2000-01-01", "ARRNAM": "UNKNOWN",
}  # fmt: skip
"""Keywords that pyuvdata needs in an antenna table, and their values for files that leave them out."""

_COLUMNS = ("ANNAME", "STABXYZ", "NOSTA", "MNTSTA", "STAXOF", "DIAMETER", "POLTYA", "POLAA", "POLTYB", "POLAB")


@dataclass(frozen=True)
class Antennas:
    """The antennas of a file.

    Parameters
    ----------
    table : BinTableHDU
        AIPS AN of all subarrays with data, with numbers (NOSTA) from 1.
    rows : ndarray, (group, 2) int32
        Row of both antennas in `table`, of each usable group.
    late : ndarray, (group,) float64
        Time of each usable group minus UTC [s].
    subarrays : int
        Number of subarrays with data.
    """

    table: "BinTableHDU"
    rows: np.ndarray
    late: np.ndarray
    subarrays: int


def read_antennas(path: Path, tables: "list[BinTableHDU]", parameters: Parameters, usable: np.ndarray) -> Antennas:
    """The antennas of the usable groups (group,) of a file with the tables AIPS AN.

    Raises
    ------
    InputError
        A table or an antenna is missing.
    """
    numbers = parameters.antennas(usable, len(tables))
    subarrays = np.unique(numbers[:, 0])
    rows, late, parts = np.zeros((len(numbers), 2), np.int32), np.zeros(len(numbers)), []
    start = 0
    for subarray in subarrays:
        chosen = [hdu for hdu in tables if hdu.ver == subarray]
        if not chosen and len(tables) == len(subarrays) == 1:
            chosen = tables
        if not chosen:
            raise InputError(
                f"{path} has no antenna table (AIPS AN) for its subarray {subarray}. It was lost when the file was "
                f"made or copied: {EXPORT_AGAIN}"
            )
        table = _complete(chosen[0])
        groups = np.flatnonzero(numbers[:, 0] == subarray)
        known = np.asarray(table.data["NOSTA"])
        order = np.argsort(known, kind="stable")
        place = np.searchsorted(known, numbers[groups, 1:], sorter=order).clip(max=len(known) - 1)
        lost = known[order[place]] != numbers[groups, 1:]
        if lost.any():
            raise InputError(
                f"{path} has data of antenna {numbers[groups, 1:][lost].min()}, which its table AIPS AN does not know. "
                f"{EXPORT_AGAIN}"
            )
        rows[groups] = start + order[place]
        late[groups] = _ahead_of_utc(table.header)
        parts.append(table)
        start += len(known)
    return Antennas(_joined(parts), rows, late, len(subarrays))


def _complete(table: "BinTableHDU") -> "BinTableHDU":
    """An antenna table with the keywords that pyuvdata needs."""
    table = table.copy()
    header = table.header
    for key, value in _KEYS.items():
        header.setdefault(key, value)
    # Files have question marks and the like as the frame; the handedness of the positions is found from (u, v).
    header["FRAME"], header["EXTVER"] = "ITRF", 1
    header["TIMSYS"] = str(header.get("TIMESYS", header.get("TIMSYS", "UTC"))).strip() or "UTC"
    header.remove("TIMESYS", ignore_missing=True)
    return table


def _joined(tables: "list[BinTableHDU]") -> "BinTableHDU":
    """One table of all antennas; positions about the centre of the first, numbers from 1, names that differ."""
    from astropy.io import fits

    first = tables[0]
    columns = []
    for name in _COLUMNS:
        if all(name in table.columns.names for table in tables):
            values = np.concatenate([np.asarray(table.data[name]) for table in tables])
            if name == "NOSTA":
                values = np.arange(len(values)) + 1
            elif name == "STABXYZ":
                values = np.concatenate([_about(table, first.header) for table in tables])
            elif name == "ANNAME":
                values = _names([[str(n).strip() for n in table.data[name]] for table in tables])
            form = {"ANNAME": f"{max(8, *map(len, values))}A" if name == "ANNAME" else "", "STABXYZ": "3D",
                    "NOSTA": "1J", "MNTSTA": "1J", "POLTYA": "1A", "POLTYB": "1A"}.get(name, "1E")  # fmt: skip
            columns.append(fits.Column(name, form, array=values))
    joined = fits.BinTableHDU.from_columns(columns, name="AIPS AN")
    for key in (*_KEYS, "FRAME", "TIMSYS", "EXTVER", "HASMNT", "HASFEED"):
        if key in first.header:
            joined.header[key] = first.header[key]
    if not {"POLTYA", "POLTYB", "POLAA", "POLAB"} <= {column.name for column in columns}:
        joined.header["HASFEED"] = False
    return joined


def _names(parts: list[list[str]]) -> list[str]:
    """Names of antennas; those of further subarrays get the number of the part if an earlier one has them."""
    names: list[str] = []
    for number, part in enumerate(parts, 1):
        taken = set(names)
        names += [f"{name}:{number}" if number > 1 and name in taken else name for name in part]
    return names


def _about(table: "BinTableHDU", reference: "Header") -> np.ndarray:
    """Positions of a table about the array centre of another header, (antenna, 3) [m]."""
    local = np.asarray(table.data["STABXYZ"], float)
    own, other = (np.array([float(h[f"ARRAY{axis}"]) for axis in "XYZ"]) for h in (table.header, reference))
    if np.array_equal(own, other):
        return local
    return (local @ _turn(own).T + own - other) @ _turn(other)


def _turn(centre: np.ndarray) -> np.ndarray:
    """Rotation from the meridian of an array centre to the terrestrial frame, (3, 3)."""
    angle = math.atan2(centre[1], centre[0])
    return np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])


def _ahead_of_utc(header: "Header") -> float:
    """Times of a file minus UTC, from the header of its antenna table [s]."""
    if header["TIMSYS"].upper()[:3] in ("IAT", "TAI"):
        return float(header.get("IATUTC", 0.0)) or _leap_seconds(header["RDATE"])
    return float(header["DATUTC"])


def _leap_seconds(date: object) -> float:
    from astropy.time import Time

    try:
        moment = Time(str(date)[:10], scale="utc")
    except ValueError:
        return 0.0
    return float((moment.tai.jd1 - moment.utc.jd1 + moment.tai.jd2 - moment.utc.jd2) * 86400)

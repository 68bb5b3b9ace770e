"""Converts a UVFITS file to a Measurement Set. pyuvdata reads and writes; this module corrects what it does not keep.

Both formats have the same conventions of (u, v, w) and phases, so these numbers do not change. pyuvdata does not handle
the sign of weights, which is AIPS's flag; antenna numbers that begin with 1; left-handed antenna positions; times in
IAT; reference channels other than the first; the frame of the frequencies; the order of correlations in WEIGHT; and
positions of the equinox 1950, which no imager of Measurement Sets accepts.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from radrim.earth import uvw_tracks
from radrim.errors import InputError, RadrimError
from radrim.ms.pyuvdata_write import append, append_windows, editable, quiet, write
from radrim.ms.settings import DEFAULTS, StorageSettings
from radrim.ms.tables import NOTES
from radrim.ms.uvfits import UVFits, first_line, read_header
from radrim.ms.uvfits_parameters import EXPORT_AGAIN
from radrim.ms.uvfits_position import to_j2000
from radrim.runtime.files import new_measurement_set, writing
from radrim.version import __version__

if TYPE_CHECKING:
    from pyuvdata import UVData

log = logging.getLogger("radrim")


@dataclass(frozen=True)
class PositionSettings:
    """How antenna positions are compared with (u, v)."""

    max_mismatch: float = 0.01
    """Largest median difference between (u, v) and what the antenna positions give, as a fraction of the baseline."""
    groups: int = 200
    """Number of groups in which they are compared."""


def convert(
    path: str | Path,
    out: str | Path,
    negative: str = "keep",
    overwrite: bool = False,
    settings: StorageSettings = DEFAULTS,
) -> list[str]:
    """Convert a UVFITS file to a Measurement Set. Large files are converted in parts, one at a time in memory.

    Parameters
    ----------
    path, out : str or Path
    negative : {'keep', 'flag', 'abs'}
        What is done with negative weights: keep them for the reader, flag the samples, or take the absolute value.
    overwrite : bool
        Whether a Measurement Set of that name may be replaced.
    settings : StorageSettings

    Returns
    -------
    list of str
        Corrections of the data, in sentences; they are also stored in the Measurement Set.

    Raises
    ------
    InputError
        `path` is not a UVFITS file, or cannot be converted.
    OutputError
        `out` exists or cannot be written; nothing is left behind.
    """
    file = read_header(path)
    notes = list(file.notes)
    needed = 1.2 * file.size + 500 * file.groups + 3 * settings.part_bytes
    with new_measurement_set(out, needed, overwrite, "select less in the program that wrote the file") as whole:
        places: dict[int, int] = {}  # first data description of each frequency setup
        for number, (part, rows, setup) in enumerate(file.parts(whole.parent, settings.part_bytes)):
            target = whole if number == 0 else whole.with_name("more.ms")
            with quiet():
                data = _read(part, file)
                _mend(data, file, rows, setup, notes)
                _weigh(data, negative)
                write(data, target, out, str(file.header.get("SPECSYS", "")), settings.rows)
            with writing(out):
                if number and setup not in places:
                    places[setup] = append_windows(target, whole)
                places.setdefault(setup, 0)
                if number:
                    append(target, whole, settings.rows, places[setup])
        with writing(out), editable(whole) as table:
            table.putkeyword(NOTES, notes)
    return notes


def _read(part: Path, file: UVFits) -> "UVData":
    """Read a part of the file with pyuvdata."""
    from pyuvdata import UVData

    try:
        return UVData.from_file(
            str(part), file_type="uvfits", run_check=False, background_lsts=False, fix_autos=False, check_autos=False
        )
    except (RadrimError, MemoryError):
        raise
    except Exception as error:  # unusual files raise many kinds of exceptions in pyuvdata
        raise InputError(
            f"{file.path} cannot be read as UVFITS ({type(error).__name__}: {first_line(error)}). {EXPORT_AGAIN}"
        ) from error


def _mend(data: "UVData", file: UVFits, groups: np.ndarray, setup: int, notes: list[str]) -> None:
    """Convert antenna numbers, times, frequencies and positions to the conventions of a Measurement Set."""
    data.ant_1_array, data.ant_2_array = file.antennas.rows[groups].T.astype(int)
    names = [name.strip() for name in data.telescope.antenna_names]
    data.telescope.antenna_names = [name or f"ANT{number}" for number, name in enumerate(names, 1)]
    data.telescope.antenna_numbers = np.arange(len(names))
    data.time_array = data.time_array - file.antennas.late[groups] / 86400
    if data.integration_time is None:
        data.integration_time = np.ones(data.Nblts)
    header, table = file.header, file.frequencies[setup]
    if table is not None:
        # Each IF has its own channel width, negative where the frequencies of its channels fall.
        first, width = (np.ravel(table.data[name]).astype(float) for name in ("IF FREQ", "CH WIDTH"))
        width = np.where(width == 0, header["CDELT4"], width)
        steps = np.arange(header["NAXIS4"]) + 1 - header.get("CRPIX4", 1.0)
        data.freq_array = (header["CRVAL4"] + first[:, None] + steps * width[:, None]).ravel()
        data.channel_width = np.repeat(np.abs(width), header["NAXIS4"])
    data.channel_width = np.abs(data.channel_width)
    for note in to_j2000(data, file.system, file.equinox, file.path.name):
        _add(notes, note)
    _place_antennas(data, file, notes)
    data.extra_keywords = {k: v for k, v in data.extra_keywords.items() if k == "OBSERVER"}
    data.history = f"Converted from {file.path.name} by radrim {__version__}."


def _place_antennas(
    data: "UVData", file: UVFits, notes: list[str], settings: PositionSettings = PositionSettings()
) -> None:
    """Set the antenna positions that agree with (u, v): as written, mirrored, or not turned by the longitude."""
    from astropy.coordinates import EarthLocation
    from astropy.units import Quantity

    header, local = file.antennas.table.header, np.asarray(file.antennas.table.data["STABXYZ"], float)
    array = np.array([header[f"ARRAY{axis}"] for axis in "XYZ"], float)
    written = data.telescope.antenna_positions + Quantity(data.telescope.location.geocentric).to_value("m")
    choices = {"as written": written, "mirrored": written * [1, -1, 1], "as if not turned": array + local}
    off = {name: _mismatch(data, positions, settings.groups) for name, positions in choices.items()}
    best = min(off, key=lambda name: off[name])
    if best != "as written" and off[best] < settings.max_mismatch and off[best] < 0.5 * off["as written"]:
        centre = choices[best].mean(0)
        data.telescope.location = EarthLocation.from_geocentric(*centre, unit="m")
        data.telescope.antenna_positions = choices[best] - centre
        _add(notes, f"Antenna positions of {file.path.name} were taken {best}, which agrees with (u, v).")
    elif settings.max_mismatch < off[best] < np.inf:
        _add(
            notes,
            f"Antenna positions of {file.path.name} do not agree with (u, v), by {off[best]:.0%} in the median; images "
            "do not need them, elevations do.",
        )


def _mismatch(data: "UVData", positions: np.ndarray, groups: int) -> float:
    """Median difference between (u, v) and those of the positions, as a fraction of the baseline; infinite if unknown.

    Both directions of the baselines are tried: some programs have written (u, v) from the second antenna to the first.
    """
    cross = np.flatnonzero((data.ant_1_array != data.ant_2_array) & np.isfinite(data.uvw_array).all(1))
    rows = cross[np.unique(np.linspace(0, len(cross) - 1, min(len(cross), groups)).astype(int))]
    parts = []
    for row in rows:
        source = data.phase_center_catalog[data.phase_center_id_array[row]]
        pair = data.ant_1_array[[row]], data.ant_2_array[[row]]
        time = (data.time_array[row] - 2400000.5) * 86400
        expected = uvw_tracks(positions, source["cat_lon"], source["cat_lat"], np.array([time]), pair)[0, 0, :2]
        length = float(np.hypot(*data.uvw_array[row, :2]))
        if length > 0:
            parts.append([np.hypot(*(data.uvw_array[row, :2] - sign * expected)) / length for sign in (1, -1)])
    return float(np.median(parts, 0).min()) if parts and np.ptp(positions, axis=0).any() else np.inf


def _weigh(data: "UVData", negative: str) -> None:
    """Set weights and flags. pyuvdata splits weights into their absolute value and a flag if they are not positive."""
    below = data.flag_array & (data.nsample_array > 0)
    if negative == "keep":
        data.nsample_array[below] *= -1
        data.flag_array = data.nsample_array == 0
    else:
        unusable = ~np.isfinite(data.nsample_array)
        data.nsample_array[unusable] = 0
        data.flag_array = (data.nsample_array == 0) | (below if negative == "flag" else False)


def _add(notes: list[str], note: str) -> None:
    if note not in notes:
        notes.append(note)

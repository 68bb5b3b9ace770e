"""Converts UVH5, MIRIAD and SMA MIR to a Measurement Set; pyuvdata reads and writes.

Antenna positions come from the file, never from the network. Data that were not phased, of arrays that observe whatever
passes overhead, are phased to the zenith in the middle of the observation.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from radrim.errors import InputError
from radrim.ms.pyuvdata_read import miriad_as_uvh5, read_file, understood
from radrim.ms.pyuvdata_write import append, editable, quiet, write
from radrim.ms.settings import DEFAULTS, StorageSettings
from radrim.ms.tables import NOTES
from radrim.ms.uvfits_position import to_j2000
from radrim.runtime.files import new_measurement_set, writing
from radrim.version import __version__

if TYPE_CHECKING:
    from pyuvdata import UVData

_MOVING = ("unprojected", "driftscan")


def convert(
    path: str | Path,
    kind: str,
    out: str | Path,
    overwrite: bool = False,
    settings: StorageSettings = DEFAULTS,
) -> list[str]:
    """Convert a file or folder to a Measurement Set. UVH5 is read in parts; other formats must fit into the memory.

    Parameters
    ----------
    path : str or Path
    kind : str
        One of `radrim.ms.pyuvdata_read.FORMATS`.
    out : str or Path
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
        `path` cannot be read as this format.
    OutputError
        `out` exists or cannot be written; nothing is left behind.
    """
    path = Path(path)
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    needed = 4.0 * sum(file.stat().st_size for file in files) + 2**20
    notes: list[str] = []
    with new_measurement_set(out, needed, overwrite, "select less with pyuvdata") as whole:
        named = kind
        if kind == "MIRIAD":
            source, kind = miriad_as_uvh5(path, whole.parent), "UVH5"
        else:
            source = path
        for number, (data, middle) in enumerate(_parts(source, kind, settings)):
            target = whole if number == 0 else whole.with_name("more.ms")
            with quiet(), understood(path, named):
                _prepare(data, path, middle, notes)
                write(data, target, out, "", settings.rows)
            if number:
                with writing(out):
                    append(target, whole, settings.rows)
        with writing(out), editable(whole) as table:
            table.putkeyword(NOTES, notes)
    return notes


def _parts(path: Path, kind: str, settings: StorageSettings) -> "Iterator[tuple[UVData, float]]":
    """The data in parts, and the middle of the whole observation [JD]."""
    if kind != "UVH5":
        data = read_file(path, kind)
        yield data, (data.time_array.min() + data.time_array.max()) / 2
        return
    head = read_file(path, kind, read_data=False)
    middle = (head.time_array.min() + head.time_array.max()) / 2
    # Sources are numbered by those of a part, so that only one can be read in parts.
    sample_bytes = 13  # complex64, float32 and a flag
    step = max(1, settings.part_bytes // max(1, head.Nfreqs * head.Npols * sample_bytes))
    step = step if len(head.phase_center_catalog) == 1 else head.Nblts
    for first in range(0, head.Nblts, step):
        part = np.arange(first, min(first + step, head.Nblts))
        yield read_file(path, kind, **({} if len(part) == head.Nblts else {"blt_inds": part})), middle


def _prepare(data: "UVData", path: Path, middle: float, notes: list[str]) -> None:
    """Bring phases, positions, antenna numbers and weights to the conventions of a Measurement Set."""
    _check_positions(data, path)
    numbers = np.asarray(data.telescope.antenna_numbers)
    _phase(data, path, middle, notes)
    for note in to_j2000(data, "", 2000.0, path.name):
        _add(notes, note)
    order = np.argsort(numbers)
    for name in ("ant_1_array", "ant_2_array"):
        setattr(data, name, order[np.searchsorted(numbers, getattr(data, name), sorter=order)])
    data.telescope.antenna_numbers = np.arange(len(numbers))
    if data.integration_time is None:
        data.integration_time = np.ones(data.Nblts)
    data.channel_width = np.abs(np.broadcast_to(data.channel_width, data.freq_array.shape)).astype(float)
    # pyuvdata counts integrations: the weight is in proportion to time and bandwidth.
    extent = np.asarray(data.integration_time)[:, None] * data.channel_width
    typical = np.median(extent)
    if np.isfinite(typical) and typical > 0:
        data.nsample_array = (data.nsample_array * (extent / typical)[:, :, None]).astype(np.float32)
    data.flag_array = data.flag_array | ~(data.nsample_array > 0)
    if data.vis_units != "Jy":
        _add(notes, f"Visibilities of {path.name} are in units of {data.vis_units}, not Jy: the flux scale is theirs.")
    data.extra_keywords = {}
    data.history = f"Converted from {path.name} by radrim {__version__}."


def _check_positions(data: "UVData", path: Path) -> None:
    """Raise InputError if antennas of the data have no positions."""
    known = np.asarray(data.telescope.antenna_numbers if data.telescope.antenna_numbers is not None else [])
    lost = np.setdiff1d(np.union1d(data.ant_1_array, data.ant_2_array), known)
    if lost.size or data.telescope.antenna_positions is None:
        which = f"antenna {lost[0]}" if lost.size else "its antennas"
        raise InputError(f"{path} has no position of {which}. Add it with the program that wrote the file.")


def _phase(data: "UVData", path: Path, middle: float, notes: list[str]) -> None:
    """Phase unprojected data to the zenith at `middle` [JD], and give moving sources one position."""
    for number, source in list(data.phase_center_catalog.items()):
        rows = data.phase_center_id_array == number
        if source["cat_type"] in _MOVING and rows.any():
            data.phase_to_time(middle, select_mask=rows)
            _add(notes, f"The data of {path.name} were not phased: they were phased to the zenith in the middle of the "
                        "observation.")  # fmt: skip
    for source in data.phase_center_catalog.values():
        if source["cat_type"] == "ephem":
            lon, lat = (float(np.median(source[key])) for key in ("cat_lon", "cat_lat"))
            source.update(cat_type="sidereal", cat_times=None, cat_lon=lon, cat_lat=lat)
            _add(notes, f"{source['cat_name']} moves: its position in {path.name} is the median of its ephemeris.")
        if source["cat_frame"] not in ("icrs", "fk5", "fk4"):
            raise InputError(
                f"{path} gives the position of {source['cat_name']} in {source['cat_frame']}; read are ICRS, FK5 and "
                "FK4. Change it with pyuvdata's UVData.phase."
            )
        if source["cat_frame"] == "icrs":
            source["cat_epoch"] = 2000.0


def _add(notes: list[str], note: str) -> None:
    if note not in notes:
        notes.append(note)

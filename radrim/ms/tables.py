"""Opens a Measurement Set (version 2, casacore tables) read-only, and reads its subtables."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from radrim.errors import DataError, InputError
from radrim.ms.settings import DEFAULTS, StorageSettings
from radrim.stokes import MIXED_NAMES, NAMES

if TYPE_CHECKING:
    import casacore.tables as casatables

FREQ_FRAMES = ("SOURCE", "LSRK", "LSRD", "BARYCENT", "GEOCENTR", "TOPOCENT", "GALACTOC", "LOCALGRP", "CMBDIPOL")
"""FITS SPECSYS of the MS's MEAS_FREQ_REF codes 0 to 8 (REST, LSRK, LSRD, BARY, GEO, TOPO, GALACTO, LGROUP, CMB)."""

DAMAGED = "The Measurement Set is damaged or incomplete: copy or export it again."

NOTES = "RADRIM_NOTES"
"""Keyword of the main table with notes about what the conversion from another format has corrected."""

_SUBTABLES = ("ANTENNA", "DATA_DESCRIPTION", "FIELD", "POLARIZATION", "SPECTRAL_WINDOW")
_COLUMNS = ("ANTENNA1", "ANTENNA2", "DATA_DESC_ID", "FIELD_ID", "FLAG", "FLAG_ROW", "TIME", "UVW", "WEIGHT")


@dataclass(frozen=True)
class SpectralWindow:
    """One row of DATA_DESCRIPTION: channel frequencies and widths (chan,) [Hz], frequency frame and correlations."""

    data_desc: int
    spw: int
    freq: np.ndarray
    width: np.ndarray
    frame: str
    correlations: list[str]


@dataclass(frozen=True)
class Field:
    """One row of FIELD: name, phase centre [rad] and the frame of the phase centre."""

    name: str
    ra: float
    dec: float
    frame: str


@dataclass(frozen=True)
class MeasurementSet:
    """The contents of the subtables of one Measurement Set.

    `positions` are those of the antennas (antenna, 3), ITRF [m]. `path` is the path that the user gave, `tables` the
    folder to read; the two differ for a converted UVFITS file.
    """

    path: Path
    tables: Path
    rows: int
    columns: tuple[str, ...]
    windows: list[SpectralWindow]
    fields: list[Field]
    antennas: list[str]
    positions: np.ndarray
    dish_diameters: np.ndarray
    mounts: list[str]
    telescope: str
    observer: str
    notes: list[str]


@contextmanager
def open_table(path: str | Path) -> Iterator["casatables.table"]:
    """A casacore table, opened read-only and without waiting for locks; closed at the end of the block.

    Raises
    ------
    InputError
        The table is missing, is not a table, or cannot be read.
    """
    with warnings.catch_warnings():
        # casacore's bindings warn at import that they are compiled against an older numpy.
        warnings.simplefilter("ignore")
        import casacore.tables as casatables
    try:
        table = casatables.table(str(path), readonly=True, ack=False, lockoptions="autonoread")
    except RuntimeError as error:
        raise InputError(f"{path} cannot be opened as a casacore table: {_reason(error)}. {DAMAGED}") from None
    try:
        yield table
    except RuntimeError as error:
        raise InputError(f"{path} cannot be read: {_reason(error)}. {DAMAGED}") from None
    finally:
        table.close()


def rows_per_id(table: "casatables.table", column: str, size: int, settings: StorageSettings = DEFAULTS) -> np.ndarray:
    """Number of rows of the main table that refer to each of the `size` rows of a subtable, (size,) int64.

    Raises
    ------
    InputError
        A row refers to a row that the subtable does not have.
    """
    rows = np.zeros(size, np.int64)
    for start in range(0, table.nrows(), settings.index_rows):
        ids = np.asarray(table.getcol(column, start, min(settings.index_rows, table.nrows() - start)))
        if ids.min() < 0 or ids.max() >= size:
            raise InputError(
                f"{table.name()}: {column} is {ids.min()} to {ids.max()}, but its subtable has {size} rows. {DAMAGED}"
            )
        rows += np.bincount(ids, minlength=size)
    return rows


def _reason(error: Exception) -> str:
    """Casacore's message without its stack trace."""
    return str(error).strip().splitlines()[0]


def read_subtables(path: str | Path, converted: Path | None = None) -> MeasurementSet:
    """The contents of the subtables of the Measurement Set at `path`.

    Parameters
    ----------
    path : str or Path
    converted : Path, optional
        Measurement Set that `path`, a file of another format, was converted to.

    Raises
    ------
    InputError
        `path` is not a Measurement Set, or tables or columns are missing or cannot be read.
    """
    path = Path(path)
    tables = converted or path
    if not os.path.exists(path):  # not Path.exists, which fails for names that are too long
        raise InputError(f"{path} does not exist; give the path of a Measurement Set or a UVFITS file.")
    if tables.is_file():
        raise InputError(f"{path} is a file, but neither a UVFITS file nor a Measurement Set, which is a folder.")
    if not (tables / "table.dat").exists():
        zarr = any(any(path.glob(level + name)) for level in ("", "*/", "*/*/") for name in ("zarr.json", ".zgroup"))
        what = (
            "a zarr store (Measurement Set v4 is not read yet; export it as version 2)" if zarr else "no casacore table"
        )
        raise InputError(f"{path} is not a Measurement Set: it holds {what}; no table.dat in it.")
    with open_table(tables) as main:
        columns = tuple(main.colnames())
        missing = [name for name in _COLUMNS if name not in columns]
        missing += [name for name in _SUBTABLES if name not in main.keywordnames()]
        if missing:
            raise InputError(
                f"{path} is not a complete Measurement Set: {', '.join(missing)} missing. "
                "If it is a calibration table or another casacore table, give the observation itself."
            )
        rows = main.nrows()
        notes = list(main.getkeyword(NOTES)) if NOTES in main.keywordnames() else []
    try:
        windows, fields = _windows(tables), _fields(tables)
        with open_table(tables / "ANTENNA") as table:
            names, dishes = list(table.getcol("NAME")), np.asarray(table.getcol("DISH_DIAMETER"), float)
            positions = np.asarray(table.getcol("POSITION"), float)
            mounts = list(table.getcol("MOUNT"))
        telescope, observer = _observation(tables)
    except (KeyError, IndexError, ValueError) as error:
        raise InputError(f"{path}: the subtables do not fit together ({_reason(error)}). {DAMAGED}") from None
    return MeasurementSet(
        path, tables, rows, columns, windows, fields, names, positions, dishes, mounts, telescope, observer, notes
    )


def _windows(path: Path) -> list[SpectralWindow]:
    with open_table(path / "POLARIZATION") as table:
        correlations = [
            [(NAMES | MIXED_NAMES).get(int(c), f"type {c}") for c in table.getcell("CORR_TYPE", row)]
            for row in range(table.nrows())
        ]
    with open_table(path / "DATA_DESCRIPTION") as table:
        described = list(zip(table.getcol("SPECTRAL_WINDOW_ID"), table.getcol("POLARIZATION_ID"), strict=True))
    windows = []
    with open_table(path / "SPECTRAL_WINDOW") as table:
        for data_desc, (spw, pol) in enumerate(described):
            freq = np.asarray(table.getcell("CHAN_FREQ", int(spw)), float)
            width = np.abs(np.asarray(table.getcell("CHAN_WIDTH", int(spw)), float))
            code = int(table.getcell("MEAS_FREQ_REF", int(spw)))
            frame = FREQ_FRAMES[code] if 0 <= code < len(FREQ_FRAMES) else "TOPOCENT"
            if not ((freq > 0) & np.isfinite(freq)).all():
                raise DataError(
                    f"{path}: spectral window {spw} has a channel at {freq.min():g} Hz; repair its CHAN_FREQ."
                )
            windows.append(SpectralWindow(data_desc, int(spw), freq, width, frame, correlations[int(pol)]))
    return windows


def _fields(path: Path) -> list[Field]:
    with open_table(path / "FIELD") as table:
        info = table.getcolkeywords("PHASE_DIR").get("MEASINFO", {})
        fields = []
        for row, name in enumerate(table.getcol("NAME")):
            frame = info.get("Ref", "J2000")
            if "VarRefCol" in info:
                codes = dict(zip(info["TabRefCodes"], info["TabRefTypes"], strict=True))
                frame = codes.get(table.getcell(info["VarRefCol"], row), "unknown")
            # The first row is the position at the reference time; further rows are its polynomial in time.
            ra, dec = np.asarray(table.getcell("PHASE_DIR", row)).reshape(-1, 2)[0]
            fields.append(Field(str(name), float(ra) % (2 * np.pi), float(dec), str(frame)))
    return fields


def _observation(path: Path) -> tuple[str, str]:
    if not (path / "OBSERVATION").exists():
        return "UNKNOWN", "UNKNOWN"
    with open_table(path / "OBSERVATION") as table:
        if table.nrows() == 0:
            return "UNKNOWN", "UNKNOWN"
        return str(table.getcell("TELESCOPE_NAME", 0)) or "UNKNOWN", str(table.getcell("OBSERVER", 0)) or "UNKNOWN"

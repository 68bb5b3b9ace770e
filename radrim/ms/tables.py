"""Opens a Measurement Set (version 2, casacore tables) read-only, and reads its subtables."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from radrim.errors import InputError
from radrim.ms.definition import check_columns
from radrim.ms.opening import DAMAGED, open_table, reason_of
from radrim.ms.settings import DEFAULTS, StorageSettings
from radrim.ms.subtables import FREQ_FRAMES as FREQ_FRAMES  # noqa: PLC0414 - for converters
from radrim.ms.subtables import FaultyWindow, Field, SpectralWindow, Subtables

if TYPE_CHECKING:
    import casacore.tables as casatables

NOTES = "RADRIM_NOTES"
"""Keyword of the main table with notes about what the conversion from another format has corrected."""

_SUBTABLES = ("ANTENNA", "DATA_DESCRIPTION", "FIELD", "POLARIZATION", "SPECTRAL_WINDOW")
_COLUMNS = ("ANTENNA1", "ANTENNA2", "DATA_DESC_ID", "FIELD_ID", "FLAG", "FLAG_ROW", "TIME", "UVW", "WEIGHT")


@dataclass(frozen=True)
class MeasurementSet:
    """The contents of the subtables of one Measurement Set.

    `windows` are the rows of DATA_DESCRIPTION that can be used, `faulty` the others: rarely has one visibilities.
    `positions` are those of the antennas (antenna, 3), ITRF [m]. `path` is the path that the user gave, `tables` the
    folder to read; the two differ for a converted UVFITS file. `rest_frequencies` and `states` are what
    `radrim.ms.subtables.Subtables` says.
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
    faulty: list[FaultyWindow] = field(default_factory=list)
    rest_frequencies: list[tuple[int, int, list[float]]] = field(default_factory=list)
    states: list[str] = field(default_factory=list)

    @property
    def descriptions(self) -> int:
        """Number of rows of DATA_DESCRIPTION."""
        return len(self.windows) + len(self.faulty)


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
        raise InputError(f"{path} is not a Measurement Set: it holds no casacore table; no table.dat in it.")
    with open_table(tables) as main:
        columns = tuple(main.colnames())
        missing = [name for name in _COLUMNS if name not in columns]
        missing += [name for name in _SUBTABLES if name not in main.keywordnames()]
        if missing:
            raise InputError(
                f"{path} is not a complete Measurement Set: {', '.join(missing)} missing. "
                "If it is a calibration table or another casacore table, give the observation itself."
            )
        check_columns(main, "MAIN", path)
        rows = main.nrows()
        notes = list(main.getkeyword(NOTES)) if NOTES in main.keywordnames() else []
        subtables = Subtables(tables, main.getkeywords())
    try:
        (windows, faulty), fields = subtables.windows(), subtables.fields()
        antennas, (telescope, observer) = subtables.antennas(), subtables.observation()
        rest_frequencies, states = subtables.rest_frequencies(), subtables.states()
    except (KeyError, IndexError, ValueError) as error:
        raise InputError(f"{path}: the subtables do not fit together ({reason_of(error)}). {DAMAGED}") from None
    return MeasurementSet(
        path, tables, rows, columns, windows, fields, antennas.names, antennas.positions, antennas.diameters,
        antennas.mounts, telescope, observer, notes, faulty, rest_frequencies, states,
    )  # fmt: skip

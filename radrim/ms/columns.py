"""Writes a column of visibilities, such as MODEL_DATA or CORRECTED_DATA, into an existing Measurement Set.

No other column is written. Since casacore changes tables in place, a column cannot appear as a whole. It is therefore
marked with a keyword before its first row is written, and the mark is removed when its last row is on the disk. A
killed run leaves the mark, `unfinished` finds it, and the same command writes the column again.
"""

import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from radrim.errors import InputError, OutputError
from radrim.ms.inputs import require_measurement_set
from radrim.ms.opening import open_table
from radrim.ms.settings import DEFAULTS, StorageSettings
from radrim.ms.tables import MeasurementSet
from radrim.version import __version__

if TYPE_CHECKING:
    import casacore.tables as casatables

MARK = "RADRIM_UNFINISHED"
"""Keyword of a column that is being written, or that a killed run has left; its value is the author."""
BORN = "RADRIM_BORN_UNFINISHED"
"""Keyword of an unfinished column that did not exist before: rows may be empty, and none has data of other programs."""
FIXED_SHAPE = 4
"""Bit of the options of a column's description in casacore."""
WRITTEN = "RADRIM_WRITTEN"
"""Keyword of a complete column; its value is the author."""


@dataclass(frozen=True)
class Part:
    """A table of a concatenation, or the only table of a Measurement Set.

    Parameters
    ----------
    start : int
        Number of its first row in the whole.
    table : casacore table
    fresh : bool
        Whether every row must be written: the column is new, or the run that made it has left it unfinished.
    """

    start: int
    table: "casatables.table"
    fresh: bool

    def rows(self, rows: np.ndarray) -> np.ndarray:
        """Which of the rows (rising row numbers of the whole) belong to it, (row,) bool."""
        return (rows >= self.start) & (rows < self.start + self.table.nrows())


class Column:
    """A column of visibilities that is being written; made by `writing_column`."""

    def __init__(self, parts: list[Part], name: str) -> None:
        self._parts, self._name = parts, name

    @property
    def fresh(self) -> bool:
        """Whether rows must be written, whoever's they are; see `in_fresh`."""
        return any(part.fresh for part in self._parts)

    def in_fresh(self, rows: np.ndarray) -> np.ndarray:
        """Those rows (rising row numbers) that must be written, because the column has nothing there."""
        inside = [part.rows(rows) for part in self._parts if part.fresh]
        return rows[np.any(inside, axis=0)] if inside else rows[:0]

    def get(self, rows: np.ndarray) -> np.ndarray:
        """Visibilities of rows (rising row numbers), (row, chan, corr) complex64. Fresh columns have none."""
        found = []
        for part, inside in self._inside(rows):
            with part.table.selectrows(rows[inside] - part.start) as some:
                found.append(np.asarray(some.getcol(self._name)))
        return np.concatenate(found)

    def put(self, rows: np.ndarray, values: np.ndarray) -> None:
        """Write visibilities (row, chan, corr) to rows (rising row numbers) whose cells have the same shape."""
        for part, inside in self._inside(rows):
            with part.table.selectrows(rows[inside] - part.start) as some:
                some.putcol(self._name, np.asarray(values[inside], np.complex64))

    def _inside(self, rows: np.ndarray) -> Iterator[tuple[Part, np.ndarray]]:
        for part in self._parts:
            inside = part.rows(rows)
            if inside.any():
                yield part, inside


@contextmanager
def writing_column(
    path: str | Path, name: str, author: str, like: str = "DATA", settings: StorageSettings = DEFAULTS
) -> Iterator[Column]:
    """Open a column of the Measurement Set at `path`, to be filled within the block; it is made if it does not exist.

    Parameters
    ----------
    path : str or Path
    name : str
        Name of the column, such as MODEL_DATA.
    author : str
        Name of the writing program, kept in a keyword of the column.
    like : str
        Column whose tile shape a new column takes over, if it exists.
    settings : StorageSettings

    Yields
    ------
    Column

    Raises
    ------
    OutputError
        The Measurement Set is read-only or in use, or the disk is too full; nothing is changed. Or casacore cannot
        write; the column stays marked as unfinished.
    """
    ms = require_measurement_set(path)
    with ExitStack() as stack:
        tables = _open_parts(ms, name, stack)
        try:
            with _writing(ms.path, name):
                parts = _prepare(ms, tables, name, author, like, settings)
            yield Column(parts, name)
            with _writing(ms.path, name):
                for part in parts:
                    part.table.flush()  # the visibilities must be on the disk before the mark is removed
                for part in parts:
                    for keyword in (MARK, BORN) if part.fresh else (MARK,):
                        part.table.removecolkeyword(name, keyword)
                    part.table.putcolkeyword(name, WRITTEN, f"radrim {__version__}, {author}")
                    part.table.flush()
        except RuntimeError as error:  # from the methods of `Column`
            raise _failure(ms.path, name, error) from None


def _prepare(
    ms: MeasurementSet, tables: list["casatables.table"], name: str, author: str, like: str, settings: StorageSettings
) -> list[Part]:
    """Add the column where it is missing, and mark it as unfinished."""
    known = [name in table.colnames() for table in tables]
    for table in tables:
        check_cells(ms, table, name)
    if not all(known):
        _check_space(ms, [table for table, there in zip(tables, known, strict=True) if not there], name, settings)
    try:
        for table, there in zip(tables, known, strict=True):
            if not there:
                _add(table, name, author, _tile_shape(table, like, settings.tile_samples))
    except RuntimeError:
        # casacore does not open concatenations of tables with different columns.
        for table, there in zip(tables, known, strict=True):
            if not there and name in table.colnames():
                table.removecols(name)
        raise
    parts, start = [], 0
    for table, there in zip(tables, known, strict=True):
        fresh = not there or BORN in table.getcolkeywords(name)
        table.putcolkeyword(name, MARK, author)
        table.flush()
        parts.append(Part(start, table, fresh))
        start += table.nrows()
    return parts


def wrong_cells(ms: MeasurementSet, table: "casatables.table", name: str) -> str:
    """Why visibilities cannot be written to an existing column; empty if they can."""
    described = table.getcoldesc(name)
    kind = described.get("valueType", "")
    if kind not in ("complex", "dcomplex"):
        return f"holds {kind or 'other values'} in place of complex numbers"
    if described.get("option", 0) & FIXED_SHAPE:
        shape = tuple(int(n) for n in described["shape"])
        for window in ms.windows:
            if shape != (len(window.freq), len(window.correlations)):
                return (
                    f"has cells of the fixed shape {shape}, but spectral window {window.spw} has {len(window.freq)} "
                    f"channels and {len(window.correlations)} correlations"
                )
    return ""


def check_cells(ms: MeasurementSet, table: "casatables.table", name: str) -> None:
    """Raise OutputError if a table has this column, but it cannot hold the visibilities."""
    if name not in table.colnames():
        return
    if fault := wrong_cells(ms, table, name):
        raise OutputError(
            f"{name} of {table.name()} {fault}: another program made it. Remove the column, in Python: "
            f"casacore.tables.table('{table.name()}', readonly=False).removecols('{name}'), or write another one."
        )


def check_whole(ms: MeasurementSet, name: str) -> None:
    """Raise OutputError if a column cannot be written because the rows are a selection of those of another table."""
    with open_table(ms.path) as main:
        names = main.partnames(True)
        if len(names) == 1 and main.nrows() and not os.path.samefile(names[0], ms.path):
            raise OutputError(
                f"{name} cannot be written to {ms.path}, which is a selection of rows of {names[0]}. Write to that "
                f"one, or to a copy, in Python: casacore.tables.table('{ms.path}').copy('copy.ms', deep=True)"
            )


def _open_parts(ms: MeasurementSet, name: str, stack: ExitStack) -> list["casatables.table"]:
    """The tables that hold the rows, opened for writing: keywords of a concatenation would not last."""
    check_whole(ms, name)
    with open_table(ms.path) as main:
        names, rows = main.partnames(True), main.nrows()
    opened = [_open(Path(one), name) for one in (names if len(names) > 1 else [str(ms.path)])]
    for table in opened:
        stack.callback(table.close)
    if sum(table.nrows() for table in opened) != rows:
        raise OutputError(
            f"{name} cannot be written to {ms.path}, a concatenation of selections of rows; write to its parts."
        )
    return opened


def unfinished(table: "casatables.table", name: str) -> str:
    """Author of an unfinished column of a casacore table; empty if the column is complete or does not exist."""
    names = table.partnames(True)
    if len(names) > 1:  # a concatenation shows the keywords of its first part
        for one in names:
            with open_table(one) as part:
                if author := unfinished(part, name):
                    return author
        return ""
    return table.getcolkeywords(name).get(MARK, "") if name in table.colnames() else ""


def check_finished(path: str | Path, table: "casatables.table", name: str) -> None:
    """Raise InputError if a column of the Measurement Set at `path` is unfinished."""
    author = unfinished(table, name)
    if author:
        raise InputError(
            f"{path}: column {name} is unfinished: '{author}' is writing it, or was interrupted. Give that command "
            "again, or use another column with --data-column."
        )


def _open(path: Path, name: str) -> "casatables.table":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as in radrim.ms.tables.open_table
        import casacore.tables as casatables
    try:
        # "permanent" fails at once if another program writes; other options would wait for it without end.
        table = casatables.table(str(path), readonly=False, ack=False, lockoptions="permanent")
    except RuntimeError as error:
        raise OutputError(
            f"{name} cannot be written to {path}: {_reason(error)}. Close what else is writing to it, make it "
            f"writable (chmod -R u+w {path}), or use a copy of it."
        ) from None
    if not table.iswritable():
        table.close()
        raise OutputError(
            f"{name} cannot be written to {path}, which is read-only for you. Use a copy of it (cp -r), or make it "
            f"writable: chmod -R u+w {path}"
        )
    return table


@contextmanager
def _writing(path: Path, name: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # casacore reports every failure as RuntimeError
        raise _failure(path, name, error) from None


def _failure(path: Path, name: str, error: RuntimeError) -> OutputError:
    return OutputError(
        f"{name} of {path} cannot be written: {_reason(error)}. The column is marked as unfinished; once the cause is "
        "removed, the same command writes it again."
    )


def _reason(error: RuntimeError) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")


def _check_space(ms: MeasurementSet, tables: list["casatables.table"], name: str, settings: StorageSettings) -> None:
    """Raise OutputError if the disk has no room for the column; casacore would end the process."""
    samples = {w.data_desc: len(w.freq) * len(w.correlations) for w in ms.windows}
    needed, step = 0, settings.index_rows
    for table in tables:
        for start in range(0, table.nrows(), step):
            ids = table.getcol("DATA_DESC_ID", start, min(step, table.nrows() - start))
            needed += sum(8 * samples.get(int(k), 0) * int(rows) for k, rows in enumerate(np.bincount(ids)) if rows)
    free = shutil.disk_usage(tables[0].name()).free
    if needed > free:
        raise OutputError(
            f"{name} of {ms.path} needs {needed / 1e6:.0f} MB, and only {free / 1e6:.0f} MB are free in "
            f"{Path(ms.path).absolute().parent}. Make room, or use a copy on another disk."
        )


def _add(table: "casatables.table", name: str, author: str, tile_shape: tuple[int, ...]) -> None:
    """Add a column of complex arrays in its own file, with tiles of this shape (corr, chan, row)."""
    import casacore.tables as casatables

    description = casatables.makearrcoldesc(
        name, 0j, ndim=2, valuetype="complex", datamanagertype="TiledShapeStMan", datamanagergroup=f"{name}_radrim",
        comment="visibilities by radrim", keywords={MARK: author, BORN: author},
    )  # fmt: skip
    tile = {"DEFAULTTILESHAPE": np.array(tile_shape, np.int32)}
    manager = {"TYPE": "TiledShapeStMan", "NAME": f"{name}_radrim", "SPEC": tile}
    table.addcols(casatables.maketabdesc(description), {"*1": {**manager, "COLUMNS": np.array([name])}})


def _tile_shape(table: "casatables.table", like: str, samples: int) -> tuple[int, ...]:
    """Shape (corr, chan, row) of the tiles of another column, or of tiles with this many samples if it has none."""
    for manager in table.getdminfo().values():
        if like in manager["COLUMNS"] and manager["TYPE"].startswith("Tiled"):
            cubes = manager["SPEC"].get("HYPERCUBES", {})
            shapes = [tuple(cube["TileShape"]) for cube in cubes.values() if len(cube["TileShape"]) == 3]
            if shapes:
                return max(shapes, key=np.prod)
    channels = 64
    return 4, channels, samples // (4 * channels)

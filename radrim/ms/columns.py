"""Writes a column of visibilities, such as MODEL_DATA or CORRECTED_DATA, into an existing Measurement Set.

No other column is written. Since casacore changes tables in place, a column cannot appear as a whole. It is therefore
marked with a keyword before its first row is written, and the mark is removed when its last row is on the disk. A
killed run leaves the mark, `unfinished` finds it, and the same command writes the column again.
"""

import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from radrim.errors import InputError, OutputError
from radrim.ms.inputs import require_measurement_set
from radrim.ms.settings import DEFAULTS, StorageSettings
from radrim.ms.tables import MeasurementSet
from radrim.version import __version__

if TYPE_CHECKING:
    import casacore.tables as casatables

MARK = "RADRIM_UNFINISHED"
"""Keyword of a column that is being written, or that a killed run has left; its value is the author."""
BORN = "RADRIM_BORN_UNFINISHED"
"""Keyword of an unfinished column that did not exist before: rows may be empty, and none has data of other programs."""
WRITTEN = "RADRIM_WRITTEN"
"""Keyword of a complete column; its value is the author."""


class Column:
    """A column of visibilities that is being written; made by `writing_column`.

    Attributes
    ----------
    fresh : bool
        Whether every row must be written: the column is new, or the run that made it has left it unfinished.
    """

    def __init__(self, table: "casatables.table", name: str, fresh: bool) -> None:
        self._table, self._name, self.fresh = table, name, fresh

    def get(self, rows: np.ndarray) -> np.ndarray:
        """Visibilities of rows (rising row numbers), (row, chan, corr) complex64. Fresh columns have none."""
        with self._selected(rows) as part:
            return np.asarray(part.getcol(self._name))

    def put(self, rows: np.ndarray, values: np.ndarray) -> None:
        """Write visibilities (row, chan, corr) to rows (rising row numbers) whose cells have the same shape."""
        with self._selected(rows) as part:
            part.putcol(self._name, np.asarray(values, np.complex64))

    @contextmanager
    def _selected(self, rows: np.ndarray) -> Iterator["casatables.table"]:
        part = self._table.selectrows(rows)
        try:
            yield part
        finally:
            part.close()


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
    table = _open(ms.path, name)
    try:
        with _writing(ms.path, name):
            new = name not in table.colnames()
            if new:
                _check_space(ms, table, name, settings.index_rows)
                _add(table, name, author, _tile_shape(table, like, settings.tile_samples))
            keywords = table.getcolkeywords(name)
            fresh = new or BORN in keywords
            table.putcolkeyword(name, MARK, author)
            table.flush()
        yield Column(table, name, fresh)
        with _writing(ms.path, name):
            table.flush()  # the visibilities must be on the disk before the mark is removed
            for keyword in (MARK, BORN) if fresh else (MARK,):
                table.removecolkeyword(name, keyword)
            table.putcolkeyword(name, WRITTEN, f"radrim {__version__}, {author}")
            table.flush()
    except RuntimeError as error:  # from the methods of `Column`
        raise _failure(ms.path, name, error) from None
    finally:
        table.close()


def unfinished(table: "casatables.table", name: str) -> str:
    """Author of an unfinished column of a casacore table; empty if the column is complete or does not exist."""
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


def _check_space(ms: MeasurementSet, table: "casatables.table", name: str, step: int) -> None:
    """Raise OutputError if the disk has no room for the column; casacore would end the process."""
    samples = {w.data_desc: len(w.freq) * len(w.correlations) for w in ms.windows}
    needed = 0
    for start in range(0, table.nrows(), step):
        ids = table.getcol("DATA_DESC_ID", start, min(step, table.nrows() - start))
        needed += sum(8 * samples[int(k)] * int(rows) for k, rows in enumerate(np.bincount(ids)) if rows)
    free = shutil.disk_usage(ms.path).free
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

"""Reads rows of a Measurement Set in chunks, copies it, and writes CORRECTED_DATA; DATA is never written."""

import os
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from radrim.errors import ConfigError, InputError, OutputError
from radrim.ms.columns import writing_column, wrong_cells
from radrim.ms.opening import explain, open_table
from radrim.ms.settings import DEFAULTS, StorageSettings
from radrim.ms.subtables import SpectralWindow
from radrim.ms.tables import MeasurementSet
from radrim.ms.weights import Part, WeightReader
from radrim.runtime.files import advice

if TYPE_CHECKING:
    import casacore.tables as casatables

CORRECTED = "CORRECTED_DATA"


@dataclass
class Rows:
    """Some rows of one spectral window.

    Parameters
    ----------
    start : int
        Number of the first row in the selection.
    uvw : (row, 3) float64
        [m]
    time : (row,) float64
        [s]
    antenna : (row, 2) int
    data : (row, chan, corr) complex64
    flag : (row, chan, corr) bool
        FLAG or FLAG_ROW.
    weight : (row, chan or 1, corr) float32
    """

    start: int
    uvw: np.ndarray
    time: np.ndarray
    antenna: np.ndarray
    data: np.ndarray
    flag: np.ndarray
    weight: np.ndarray


@contextmanager
def open_for_writing(path: str | Path) -> Iterator["casatables.table"]:
    """A casacore table that can be changed; closed at the end of the block.

    Raises
    ------
    OutputError
        The table cannot be opened for writing, or writing fails.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as in radrim.ms.tables.open_table
        import casacore.tables as casatables
    try:
        table = casatables.table(str(path), readonly=False, ack=False, lockoptions="auto")
        try:
            yield table
        finally:
            table.close()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise OutputError(
            f"{path} cannot be written: {reason}. Make it writable, and check that the disk is not full."
        ) from None


def row_starts(rows: int, window: SpectralWindow, settings: StorageSettings = DEFAULTS) -> list[tuple[int, int]]:
    """(start, count) of the chunks of a selection."""
    step = max(1, settings.chunk_bytes // (8 * len(window.correlations) * len(window.freq)))
    return [(start, min(step, rows - start)) for start in range(0, rows, step)]


def chunks(ms: MeasurementSet, table: "casatables.table", column: str, window: SpectralWindow) -> Iterator[Rows]:
    """The rows of a selection, chunk by chunk.

    Parameters
    ----------
    ms : MeasurementSet
    table : casacore table
        Rows of one spectral window.
    column : str
        Column of the visibilities.
    window : SpectralWindow

    Yields
    ------
    Rows

    Raises
    ------
    InputError
        A column has no values or values of the wrong shape, or cannot be read.
    """
    weights = WeightReader(ms.path, table, "WEIGHT_SPECTRUM" in ms.columns)
    expected = len(window.freq), len(window.correlations)
    for start, count in row_starts(table.nrows(), window):
        try:
            uvw, time, first, second, data, flag, whole = (
                np.asarray(table.getcol(name, start, count))
                for name in ("UVW", "TIME", "ANTENNA1", "ANTENNA2", column, "FLAG", "FLAG_ROW")
            )
        except RuntimeError as error:
            raise InputError(explain(ms.path, f"cannot be read in rows {start} to {start + count}", error)) from None
        if data.dtype.kind != "c":
            raise ConfigError(f"--data-column {column} of {ms.path} holds no visibilities; try DATA.")
        if data.shape[1:] != expected or flag.shape[1:] != expected:
            raise InputError(
                f"{ms.path}: {column} and FLAG have cells of shape {data.shape[1:]} and {flag.shape[1:]}, but spectral "
                f"window {window.spw} has {expected[0]} channels and {expected[1]} correlations."
            )
        flag |= whole[:, None, None]
        try:
            weight = weights.read(Part(start, count, 0, *expected), data, flag)
        except RuntimeError as error:
            raise InputError(explain(ms.path, f"cannot be read in rows {start} to {start + count}", error)) from None
        yield Rows(start, uvw, time, np.stack([first, second], 1), data, flag, weight)


def copy(ms: MeasurementSet, column: str, path: str | Path) -> None:
    """Copy a Measurement Set to `path`, with the visibilities of `column` in CORRECTED_DATA.

    Raises
    ------
    OutputError
        The disk has no room, or the folder cannot be written.
    """
    path = Path(path)
    with open_table(ms.path) as table:
        names = table.partnames(True)
        virtual = any(os.path.realpath(name) != os.path.realpath(ms.path) for name in names) or _forwarded(table)
    try:
        needed = sum(
            file.stat().st_size for name in {ms.path, *names} for file in Path(name).rglob("*") if file.is_file()
        )
        if (free := shutil.disk_usage(path.parent).free) < 1.5 * needed:
            raise OutputError(
                f"A copy of {ms.path} takes up to {1.5 * needed / 1e9:.3g} GB, but {path.parent.absolute()} has only "
                f"{free / 1e9:.3g} GB free. Free some space, or write elsewhere with --name FOLDER/prefix."
            )
        if virtual:
            _copy_rows(ms.path, path)
        else:
            # The contents are copied without permissions: originals are often write-protected.
            shutil.copytree(ms.path, path, copy_function=shutil.copyfile)
        for folder in (path, *(entry for entry in path.rglob("*") if entry.is_dir())):
            folder.chmod(folder.stat().st_mode | 0o700)
    except (OSError, shutil.Error) as error:
        # copytree collects the errors of single files in a list.
        first = error if isinstance(error, OSError) and error.errno else OSError(str(error)[:200])
        raise OutputError(f"{ms.path} cannot be copied: {advice(first, path.parent)}") from error
    if column != CORRECTED:
        with open_for_writing(path) as table:
            if CORRECTED in table.colnames() and wrong_cells(ms, table, CORRECTED):
                table.removecols(CORRECTED)  # of this copy alone
        fill_corrected(path, ms.windows, column, path)


def _forwarded(table: "casatables.table") -> bool:
    """Whether columns are those of other tables, as casacore's msconcat makes them."""
    return any(manager["TYPE"].startswith("Forward") for manager in table.getdminfo().values())


def _copy_rows(source: str | Path, path: Path) -> None:
    """Copy the rows of a selection or a concatenation into a table of its own, with all subtables.

    Raises
    ------
    InputError
        Rows cannot be read.
    """
    with open_table(source) as table:
        managers = {}
        for key, manager in table.getdminfo().items():
            if not manager["TYPE"].startswith("Forward"):
                managers[key] = manager
                continue
            for column in manager["COLUMNS"]:
                tiled = column.endswith(("DATA", "_SPECTRUM")) or column == "FLAG"
                managers[f"*{len(managers) + 1000}"] = {
                    "TYPE": "TiledShapeStMan" if tiled else "StandardStMan", "NAME": f"{column}_copy",
                    "SEQNR": len(managers), "COLUMNS": np.array([column]),
                    "SPEC": {"DEFAULTTILESHAPE": np.array([4, 64, 512], np.int32)} if tiled else {},
                }  # fmt: skip
        table.copy(str(path), deep=True, valuecopy=True, dminfo=managers).close()


def fill_corrected(
    path: str | Path,
    windows: Sequence[SpectralWindow],
    column: str,
    source: str | Path,
    settings: StorageSettings = DEFAULTS,
) -> None:
    """Copy `column` of the Measurement Set at `source` to CORRECTED_DATA of the one at `path`, which has the same rows.

    CORRECTED_DATA is marked as unfinished until it is complete, see `radrim.ms.columns.writing_column`.

    Raises
    ------
    OutputError
        As `writing_column` does.
    """
    with writing_column(path, CORRECTED, "radrim selfcal", like=column) as out, open_table(source) as table:
        for window in windows:
            with table.query(f"DATA_DESC_ID=={window.data_desc}") as rows:
                numbers = np.asarray(rows.rownumbers())
                for start, count in row_starts(rows.nrows(), window, settings):
                    out.put(numbers[start : start + count], rows.getcol(column, start, count))

"""Reads correlations that stand in several data descriptions of one spectral window as if they stood in one.

Some correlators and programs store RR and LL of a window in one data description, and RL and LR in another. Stokes I
and Q need both. Rows of one time and baseline belong together; rows without a counterpart are left out.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from radrim.errors import DataError
from radrim.ms.subtables import SpectralWindow
from radrim.ms.tables import MeasurementSet
from radrim.stokes import combinations

if TYPE_CHECKING:
    import casacore.tables as casatables

BY_CORRELATION = ("FLAG", "WEIGHT", "SIGMA", "WEIGHT_SPECTRUM", "SIGMA_SPECTRUM")
"""Columns, beside that of the visibilities, whose last axis counts correlations."""


class JoinedRows:
    """Rows of several data descriptions side by side, with the methods of a casacore table that readers call.

    Parameters
    ----------
    tables : sequence of casacore table
        The same number of rows each, those of one number of one time and baseline.
    column : str
        Column of the visibilities.
    """

    def __init__(self, tables: "Sequence[casatables.table]", column: str):
        self._tables, self._wide = tables, (column, *BY_CORRELATION)

    def nrows(self) -> int:
        """Number of rows."""
        return self._tables[0].nrows()

    def colnames(self) -> list[str]:
        """Names of the columns."""
        return self._tables[0].colnames()

    def partnames(self, recursive: bool = False) -> list[str]:
        """Names of the tables that the rows are of."""
        return self._tables[0].partnames(recursive)

    def getcolkeywords(self, name: str) -> dict[str, Any]:
        """A column's keywords."""
        return self._tables[0].getcolkeywords(name)

    def iscelldefined(self, name: str, row: int) -> bool:
        """Whether all data descriptions have a value in a row."""
        return all(table.iscelldefined(name, row) for table in self._tables)

    def getcol(self, name: str, start: int = 0, count: int = -1) -> np.ndarray:
        """Values of rows, (row, ...); those of correlations one after the other, and FLAG_ROW of any."""
        if name == "FLAG_ROW":
            return np.any([table.getcol(name, start, count) for table in self._tables], 0)
        return self._beside(name, lambda table: table.getcol(name, start, count))

    def getcolslice(
        self, name: str, low: list[int], high: list[int], _step: list[int], start: int = 0, count: int = -1
    ) -> np.ndarray:
        """Some channels of rows, all correlations, (row, chan, corr)."""
        ends = [low[0], 0], [high[0], -1]
        return self._beside(name, lambda table: table.getcolslice(name, *ends, [], start, count))

    def getcell(self, name: str, row: int) -> np.ndarray:
        """Value of a row."""
        return self._beside(name, lambda table: table.getcell(name, row))

    def getcellslice(self, name: str, row: int, low: list[int], high: list[int]) -> np.ndarray:
        """Some channels of a row, all correlations, (chan, corr)."""
        return self._beside(name, lambda table: table.getcellslice(name, row, [low[0], 0], [high[0], -1]))

    def close(self) -> None:
        """Close the tables."""
        for table in self._tables:
            table.close()

    def _beside(self, name: str, get: Any) -> np.ndarray:
        if name not in self._wide:
            return get(self._tables[0])
        return np.concatenate([np.asarray(get(table)) for table in self._tables], -1)


def group_windows(windows: Sequence[SpectralWindow], wanted: Sequence[str]) -> list[tuple[SpectralWindow, ...]]:
    """Data descriptions that are read together to make Stokes parameters.

    Of a spectral window, those that can make all of them alone; else all, if together they can; else each by itself.

    Parameters
    ----------
    windows : sequence of SpectralWindow
        Rows of DATA_DESCRIPTION.
    wanted : sequence of str
        Stokes parameters.
    """
    groups: list[tuple[SpectralWindow, ...]] = []
    for spw in dict.fromkeys(window.spw for window in windows):
        same = [window for window in windows if window.spw == spw]
        alone = [window for window in same if has_all(window.correlations, wanted)]
        distinct = [one for k, one in enumerate(same) if one.correlations not in [w.correlations for w in same[:k]]]
        if not alone and has_all([name for window in distinct for name in window.correlations], wanted):
            groups.append(tuple(distinct))
        else:
            groups += [(window,) for window in alone or same]
    return groups


def has_all(correlations: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether correlations give all of some Stokes parameters, Stokes I from both hands."""
    try:
        return not combinations(wanted, correlations)[1]
    except DataError:
        return False


def joined_window(windows: Sequence[SpectralWindow]) -> SpectralWindow:
    """The window with the correlations of several data descriptions, one after the other."""
    return replace(windows[0], correlations=[name for window in windows for name in window.correlations])


def join_rows(
    ms: MeasurementSet, windows: Sequence[SpectralWindow], parts: "Sequence[casatables.table]", column: str
) -> tuple[JoinedRows, int]:
    """Rows of several data descriptions, matched by time and baseline.

    Parameters
    ----------
    ms : MeasurementSet
        For messages.
    windows : sequence of SpectralWindow
    parts : sequence of casacore table
        The rows of each of them.
    column : str
        Column of the visibilities.

    Returns
    -------
    JoinedRows
    int
        Number of rows without a counterpart.

    Raises
    ------
    DataError
        No row has a counterpart.
    """
    keys = [_keys(part) for part in parts]
    common = keys[0]
    for other in keys[1:]:
        common = np.intersect1d(common, other)
    if not len(common):
        named = " and ".join(f"data description {w.data_desc} ({', '.join(w.correlations)})" for w in windows)
        raise DataError(
            f"{ms.path}: {named} of spectral window {windows[0].spw} have no time and baseline in common, so that the "
            f"Stokes parameters that need both cannot be formed. Image those of one of them, such as --pol "
            f"{windows[0].correlations[0]}."
        )
    tables = []
    for part, key in zip(parts, keys, strict=True):
        order = np.argsort(key, kind="stable")
        rows = order[np.searchsorted(key[order], common)]
        tables.append((part, rows))
    # In the order of the first, which is nearly always that of time.
    order = np.argsort(tables[0][1], kind="stable")
    joined = JoinedRows([part.selectrows(rows[order]) for part, rows in tables], column)
    return joined, sum(len(key) for key in keys) - len(keys) * len(common)


def _keys(table: "casatables.table") -> np.ndarray:
    """One number for the time and the antennas of each row, (row,) structured."""
    kind = [("time", np.int64), ("first", np.int64), ("second", np.int64)]
    keys = np.zeros(table.nrows(), kind)
    if len(keys):
        time = np.asarray(table.getcol("TIME"), float)
        keys["time"] = np.rint(np.where(np.isfinite(time), time, 0) * 1e3)  # to the millisecond
        keys["first"], keys["second"] = table.getcol("ANTENNA1"), table.getcol("ANTENNA2")
    return keys

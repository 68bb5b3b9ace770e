"""Finds the rows of many fields and spectral windows in one pass over a Measurement Set."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import casacore.tables as casatables


class RowIndex:
    """Row numbers of a main table, sorted by data description and field.

    A query for each of them reads the whole table each time: minutes for an on-the-fly mosaic of a thousand fields.

    Parameters
    ----------
    main : casacore table
    step : int
        Rows that are looked at together.
    time_range : (float, float), optional
        First and last time of the rows [MJD s].
    """

    def __init__(self, main: "casatables.table", step: int, time_range: tuple[float, float] | None = None):
        self._main = main
        keys, rows = [], []
        for start in range(0, main.nrows(), step):
            count = min(step, main.nrows() - start)
            window, field, first, second = (
                np.asarray(main.getcol(name, start, count), np.int64)
                for name in ("DATA_DESC_ID", "FIELD_ID", "ANTENNA1", "ANTENNA2")
            )
            chosen = first != second
            if time_range is not None:
                time = np.asarray(main.getcol("TIME", start, count))
                chosen &= (time >= time_range[0]) & (time <= time_range[1])
            at = np.flatnonzero(chosen)
            keys.append((window[at] << 32) + field[at])
            rows.append(start + at)
        key = np.concatenate(keys) if keys else np.zeros(0, np.int64)
        order = np.argsort(key, kind="stable")  # rows of a field stay in their order
        self._key = key[order]
        self._rows = (np.concatenate(rows) if rows else key)[order]

    def numbers(self, data_desc: int, field: int) -> np.ndarray:
        """Numbers of the rows of a data description and a field, (row,) int64, rising."""
        key = (data_desc << 32) + field
        first, last = np.searchsorted(self._key, [key, key + 1])
        return self._rows[first:last]

    def select(self, data_desc: int, field: int) -> "casatables.table":
        """The same rows as a table."""
        return self._main.selectrows(self.numbers(data_desc, field))

"""Reads the natural weights of rows: WEIGHT_SPECTRUM where it has values, else WEIGHT."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from radrim.errors import InputError

if TYPE_CHECKING:
    import casacore.tables as casatables


@dataclass(frozen=True)
class Part:
    """Some rows and channels of one spectral window of a table.

    Parameters
    ----------
    start, count : int
        Rows.
    first, last : int
        First channel, and the first one after the last.
    correlations : int
    """

    start: int
    count: int
    first: int
    last: int
    correlations: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(row, chan, corr)."""
        return self.count, self.last - self.first, self.correlations


class WeightReader:
    """The weights of one spectral window.

    In concatenated data WEIGHT_SPECTRUM can be missing in some rows, or be 0 where only WEIGHT was filled.

    Parameters
    ----------
    path : object
        The Measurement Set, for messages.
    table : casacore table
    has_spectrum : bool
        Whether the table has the column WEIGHT_SPECTRUM.

    Attributes
    ----------
    spectral : int
        Rows that took WEIGHT_SPECTRUM.
    """

    def __init__(self, path: object, table: "casatables.table", has_spectrum: bool):
        self._path, self._table, self._has_spectrum = path, table, has_spectrum
        self.spectral = self._replaced = self._undefined = 0

    @property
    def replaced(self) -> int:
        """Rows with unflagged data that took WEIGHT although the table has WEIGHT_SPECTRUM of others, or zeros."""
        return self._replaced + (self._undefined if self.spectral or self._replaced else 0)

    def read(self, part: Part, data: np.ndarray, flag: np.ndarray) -> np.ndarray:
        """Weights (row, chan or 1, corr) of rows with visibilities and flags (row, chan, corr).

        Raises
        ------
        InputError
            WEIGHT has another number of correlations than the data.
        RuntimeError
            A column cannot be read.
        """
        if not self._has_spectrum:
            return self._whole(part)
        spectrum, known = self._spectrum(part)
        usable = ((data != 0) & ~flag).any((1, 2))
        if not known.any():
            self._undefined += int(usable.sum())
            return self._whole(part)
        missing = usable & ~(known & ((spectrum != 0) & ~flag).any((1, 2)))
        self.spectral += int(known.sum() - (missing & known).sum())
        if missing.any():
            whole = self._whole(part)
            better = missing & (whole > 0).any((1, 2))
            spectrum[better] = whole[better]
            self._replaced += int(better.sum())
        return spectrum

    def _whole(self, part: Part) -> np.ndarray:
        """WEIGHT, (row, 1, corr)."""
        weight = np.asarray(self._table.getcol("WEIGHT", part.start, part.count))
        if weight.shape[1:] != (part.correlations,):
            raise InputError(
                f"{self._path}: WEIGHT has cells of shape {weight.shape[1:]}, but there are {part.correlations} "
                "correlations."
            )
        return weight[:, None, :]

    def _spectrum(self, part: Part) -> tuple[np.ndarray, np.ndarray]:
        """WEIGHT_SPECTRUM, 0 where a row has none of the right shape, and whether it has, (row,)."""
        name, table = "WEIGHT_SPECTRUM", self._table
        low, high = [part.first, 0], [part.last - 1, part.correlations - 1]
        defined = [table.iscelldefined(name, row) for row in (part.start, part.start + part.count - 1)]
        if all(defined):
            try:
                found = np.array(table.getcolslice(name, low, high, [], part.start, part.count))
                if found.shape == part.shape:
                    return found, np.ones(part.count, bool)
            except RuntimeError:  # some rows in between have none, or another shape
                pass
        spectrum, known = np.zeros(part.shape, np.float32), np.zeros(part.count, bool)
        for row in range(part.count):
            if not table.iscelldefined(name, part.start + row):
                continue
            shape = np.shape(table.getcell(name, part.start + row))
            if len(shape) == 2 and shape[0] >= part.last and shape[1] == part.correlations:
                spectrum[row] = table.getcellslice(name, part.start + row, low, high)
                known[row] = True
        return spectrum, known

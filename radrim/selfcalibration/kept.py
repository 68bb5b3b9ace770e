"""Rows of a Measurement Set that are kept out of all rounds of self-calibration."""

from collections.abc import Iterator

import numpy as np

from radrim.measure.holdout import count_stretches, draw_cells


class KeptRows:
    """Which rows are kept out of all rounds, and as many of the others that are watched for comparison.

    Parameters
    ----------
    time : (row,) float64
        Times of all usable rows [s].
    antenna : (row, 2) int
    length : (row,) float64
        Of (u, v) [m].
    antennas : int
        Number of antennas.
    fraction : float
        Of all cells.
    """

    def __init__(self, time: np.ndarray, antenna: np.ndarray, length: np.ndarray, antennas: int, fraction: float):
        self._times = np.unique(time)
        self._antennas = antennas
        pairs = len(np.unique(self._pair(antenna)))
        self._stretches = count_stretches(pairs, len(self._times))
        cells, which = np.unique(self._number(time, antenna), return_inverse=True)
        mean = np.bincount(which, length, len(cells)) / np.maximum(np.bincount(which, minlength=len(cells)), 1)
        self.kept, self.watched = draw_cells(cells, mean, fraction)
        self.fraction = float(np.isin(cells, self.kept)[which].mean()) if len(which) else 0.0
        """Fraction of the rows that are kept out."""

    def __str__(self):
        what = "whole baselines" if self._stretches == 1 else f"baselines in one of {self._stretches} parts of the time"
        return f"{self.fraction:.1%} of the data, {len(self.kept)} {what}"

    def _pair(self, antenna):
        low, high = np.sort(antenna.astype(np.int64), axis=1).T
        return low * self._antennas + high

    def _number(self, time, antenna):
        stretch = np.searchsorted(self._times, time) * self._stretches // max(1, len(self._times))
        return self._pair(antenna) * self._stretches + np.minimum(stretch, self._stretches - 1)

    def hidden(self, time: np.ndarray, antenna: np.ndarray) -> np.ndarray:
        """Whether rows are kept out, (row,) bool."""
        return np.isin(self._number(time, antenna), self.kept)

    def groups(self, time: np.ndarray, antenna: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
        """Rows (kept,) int that are kept out, the cell of each, and the number of cells; then those watched."""
        number = self._number(time, antenna)
        for chosen in (self.kept, self.watched):
            rows = np.flatnonzero(np.isin(number, chosen))
            yield rows, np.searchsorted(chosen, number[rows]), len(chosen)

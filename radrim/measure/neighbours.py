"""The noise of an image from what a model leaves of the visibilities.

Each is compared with its neighbours, in time on one baseline or in channel, so that what changes evenly among them
does not count. `radrim.metrics.measured_scatter` does the same to the data before anything is known of the sky, with
medians. Here means of squares are right for imaging weights, too, which differ from sample to sample by far more than
the noise does, and err on the safe side: what a model has not explained yet adds to them.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class NeighbourSettings:
    """How the noise is measured in neighbouring samples."""

    max_samples: int = 400_000
    """Largest number of samples of a block that are used, of whole baselines."""


class Neighbours:
    """Neighbouring samples of a block of visibilities.

    Parameters
    ----------
    block : Visibilities
        With imaging weights.
    """

    def __init__(self, block):
        every = -(-block.data.size // NeighbourSettings.max_samples)
        first, second = block.antenna.T.astype(np.int64)
        rows = np.flatnonzero((first + 31 * second) % every == 0)  # a part of the baselines, of all lengths
        rows = rows[np.lexsort((block.time[rows], second[rows], first[rows]))]
        self._rows, self._weight = rows, block.weight[rows]
        pair = block.antenna[rows]
        self._same = [(pair[reach:] == pair[:-reach]).all(1) for reach in (1, 2)]
        self._squares = float(np.einsum("rc,rc->", block.weight, block.weight, dtype=np.float64))  # without a copy

    def power(self, rest: np.ndarray) -> float:
        """Sum of the squares of weight times noise over the block [Jy^-2].

        Parameters
        ----------
        rest : ndarray, (row, chan) complex64
            What a model leaves of the data [Jy].

        Returns
        -------
        float
            From the kind of neighbours that shows less; infinite where there are none.
        """
        rest = rest[self._rows]
        ways = [_mean_power(rest, self._weight, self._same), _mean_power(rest.T, self._weight.T, None)]
        return self._squares * min(ways)


def _mean_power(rest, weight, same):
    """Mean of the variance [Jy^2] of samples that have neighbours along the first axis, counted by weight squared.

    `same` says which of them are of one baseline, of two and of three in a row; None: all.
    """
    for reach in (2, 1):  # two neighbours, or one where there are no more
        if len(rest) <= reach:
            continue
        parts = [slice(k, len(rest) - reach + k) for k in range(reach + 1)]
        used = np.logical_and.reduce([weight[part] > 0 for part in parts])
        if same is not None:
            used &= same[reach - 1][:, None]
        counts = np.where(used, weight[parts[reach // 2]], 0).astype(np.float64) ** 2
        total = float(counts.sum())
        if total > 0:
            factors = (-1, 1) if reach == 1 else (0.5, -1, 0.5)
            left = sum(factor * rest[part] for factor, part in zip(factors, parts, strict=True))
            squares = float((counts * (left.real**2 + left.imag**2)).sum())
            # They hold the noise of two parts, real and imaginary, and of the neighbours.
            return squares / total / (2 * sum(factor**2 for factor in factors))
    return float("inf")

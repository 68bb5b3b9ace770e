"""Which visibilities are kept out of the deconvolution to judge it.

Errors of calibration are alike for minutes, in all channels. A model that fits them would also predict neighbouring
samples of the same baseline, so the kept-out samples are whole cells: all samples of a baseline, or of a long stretch
of time of one where baselines are few. Cells are drawn from strata of the length of baselines, so that the coverage
stays whole, and are the same for all channels, pointings and Stokes parameters.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from radrim.visibilities import KeptOut, Visibilities, row_slices


@dataclass(frozen=True)
class HoldoutSettings:
    """How visibilities are cut into cells."""

    min_cells: int = 400
    """Least number of cells. Where there are fewer baselines, each is cut into stretches of equal numbers of
    integrations."""
    seed: int = 0
    """Of the choice."""


def keep_out(
    blocks: Sequence[Visibilities], fraction: float, settings: HoldoutSettings = HoldoutSettings()
) -> list[KeptOut]:
    """The rows of each block that are kept out of the deconvolution.

    Parameters
    ----------
    blocks : sequence of Visibilities
        With natural weights.
    fraction : float
        Of all cells; 0 keeps none out.
    settings : HoldoutSettings

    Returns
    -------
    list of KeptOut
        One for each block; cells are counted over all of them.
    """
    return hold_out(blocks, fraction, settings)[0]


def hold_out(
    blocks: Sequence[Visibilities], fraction: float, settings: HoldoutSettings = HoldoutSettings()
) -> tuple[list[KeptOut], list[KeptOut]]:
    """`keep_out`, and for comparison as many cells of the same strata that the deconvolution fits.

    Chi^2 of both by the same sums says how much of the noise was fitted.
    """
    keys = _Keys(blocks, settings)
    kept, watched = keys.draw(fraction, settings.seed)
    numbers = [keys.of(block) for block in blocks]
    pairs = list(zip(blocks, numbers, strict=True))
    return [_of_block(*pair, kept) for pair in pairs], [_of_block(*pair, watched) for pair in pairs]


def each_kept_out(
    blocks: Sequence[Visibilities], fraction: float, settings: HoldoutSettings = HoldoutSettings()
) -> Iterator[KeptOut]:
    """As `keep_out`, one block after the other, since the weights of all blocks may be larger than the memory."""
    keys = _Keys(blocks, settings)
    kept, _ = keys.draw(fraction, settings.seed)
    return (_of_block(block, keys.of(block), kept) for block in blocks)


def folds_of(
    blocks: Sequence[Visibilities], folds: int, settings: HoldoutSettings = HoldoutSettings()
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Cell and fold of each row of blocks, two arrays (row,) int of each.

    Every fold has cells of all lengths of baselines.

    Parameters
    ----------
    blocks : sequence of Visibilities
    folds : int
        Number of folds.
    settings : HoldoutSettings
    """
    keys = _Keys(blocks, settings)
    cells, fold = keys.divide(folds, settings.seed)
    found = []
    for block in blocks:
        place = np.minimum(np.searchsorted(cells, keys.of(block)), len(cells) - 1)
        found.append((place, fold[place]))
    return found


def count_stretches(baselines: int, times: int, settings: HoldoutSettings = HoldoutSettings()) -> int:
    """Number of stretches of time that each of so many baselines, with so many integrations, is cut into."""
    return min(-(-settings.min_cells // max(1, baselines)), times)


def draw_cells(
    cells: np.ndarray, length: np.ndarray, fraction: float, seed: int = HoldoutSettings.seed
) -> tuple[np.ndarray, np.ndarray]:
    """Sorted numbers of the cells that are kept out, one in each stratum of cells of similar length.

    Then those of the cells that are watched: another one of each stratum that has more than one.

    Parameters
    ----------
    cells : (cell,) int64
        Numbers of all cells.
    length : (cell,) float64
        Mean length of (u, v) of each, in any unit.
    fraction : float
        Of all cells; with 0 there are none.
    seed : int
    """
    strata = round(fraction * len(cells))
    if not strata:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    order = np.lexsort((cells, length))
    parts = [cells[part] for part in np.array_split(order, strata)]
    rng, other = np.random.default_rng(seed), np.random.default_rng((seed, 1))
    kept = [rng.choice(part) for part in parts]
    rest = [part[part != one] for part, one in zip(parts, kept, strict=True)]
    watched = [other.choice(part) for part in rest if len(part)]
    return np.sort(kept), np.sort(np.array(watched, np.int64))


def _of_block(block, key, kept):
    if not len(kept):
        return KeptOut.none(len(block.freq))
    place = np.minimum(np.searchsorted(kept, key), len(kept) - 1)
    rows = np.flatnonzero(kept[place] == key)
    return KeptOut(rows, place[rows], np.array(block.weight[rows]), len(kept))


class _Keys:
    """The cell of each row, as a number that is the same in all blocks."""

    def __init__(self, blocks, settings):
        self._antennas = 1 + max((int(block.antenna.max(initial=0)) for block in blocks), default=0)
        self._times = np.unique(np.concatenate([np.unique(block.time) for block in blocks]))
        pairs = np.unique(np.concatenate([self._pairs(block) for block in blocks]))
        self._stretches = count_stretches(len(pairs), len(self._times), settings)
        keys, lengths = [], []
        for block in blocks:
            for rows in row_slices(len(block.uvw)):
                used = block.weight[rows].any(1)
                keys.append(self._number(block, rows)[used])
                lengths.append(block.uv_length[rows][used])
        self._cells, which = np.unique(np.concatenate(keys), return_inverse=True)
        total = np.bincount(which, np.concatenate(lengths), len(self._cells))
        self._length = total / np.bincount(which, minlength=len(self._cells))

    def _pairs(self, block):
        return np.unique(block.antenna[:, 0].astype(np.int64) * self._antennas + block.antenna[:, 1])

    def _number(self, block, rows=slice(None)):
        pair = block.antenna[rows, 0].astype(np.int64) * self._antennas + block.antenna[rows, 1]
        stretch = np.searchsorted(self._times, block.time[rows]) * self._stretches // max(1, len(self._times))
        return pair * self._stretches + stretch

    def of(self, block):
        """The cell of each row of a block."""
        return self._number(block)

    def draw(self, fraction, seed):
        """`draw_cells` of all cells."""
        return draw_cells(self._cells, self._length, fraction, seed)

    def divide(self, folds, seed):
        """Numbers of all cells, sorted, and the fold of each: of cells of similar length, one for each fold."""
        order, rng = np.lexsort((self._cells, self._length)), np.random.default_rng(seed)
        fold = np.empty(len(order), np.int64)
        for first in range(0, len(order), folds):
            part = order[first : first + folds]
            fold[part] = rng.permutation(folds)[: len(part)]
        return self._cells, fold

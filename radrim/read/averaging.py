"""Averages visibilities in time over the longest interval in which they are coherent.

Closure quantities of averages have less noise. But phase changes of the atmosphere within an average lose flux, and
this loss does not cancel in closure quantities. The longest interval is therefore used in which hardly any flux is
lost, as measured from the data.
"""

from dataclasses import dataclass, replace

import numpy as np

from radrim.visibilities import Visibilities


@dataclass(frozen=True)
class AveragingSettings:
    """How the interval of averages is chosen."""

    intervals: tuple[float, ...] = (10.0, 30.0, 60.0, 120.0, 300.0)
    """Intervals that are tried [s]. None is longer than a scan, or than what smears a source of the field's size."""
    min_coherence: float = 0.95
    """Smallest fraction of the power that averages must keep."""
    max_gap: float = 4.0
    """Longest pause within a scan [integrations]. A longer one begins a new scan."""


def choose_interval(
    blocks: list[Visibilities],
    neighbours: float = 0.0,
    limit: float = np.inf,
    settings: AveragingSettings = AveragingSettings(),
) -> tuple[float, float]:
    """Longest interval over which the visibilities average coherently.

    Parameters
    ----------
    blocks : list of Visibilities
        With natural weights.
    neighbours : float
        Baselines shorter than this fraction of the longest are left out: the atmosphere above both antennas is the
        same.
    limit : float
        Longest interval allowed [s].
    settings : AveragingSettings

    Returns
    -------
    float
        The interval [s]; 0 if none is coherent.
    float
        Fraction of the power that averages over the interval keep.
    """
    best = 0.0, 1.0
    for interval in (one for one in settings.intervals if one <= limit):
        kept = coherence(blocks, interval, neighbours, settings.max_gap)
        if not kept >= settings.min_coherence:
            break
        best = interval, kept
    return best


def coherence(
    blocks: list[Visibilities],
    interval: float,
    neighbours: float = 0.0,
    max_gap: float = AveragingSettings.max_gap,
) -> float:
    """Power of the averages over the power of their samples, both without the power of the noise.

    Parameters
    ----------
    blocks : list of Visibilities
    interval : float
        [s]
    neighbours : float
        As in `choose_interval`.
    max_gap : float
        See `AveragingSettings`.

    Returns
    -------
    float
        NaN for data without signal; about 1 if nothing is lost.
    """
    before = after = 0.0
    longest = max(float(block.uv_length.max()) for block in blocks)
    for block in blocks:
        cell = _cells(block, interval, max_gap)
        weight = block.weight * (block.uv_length >= neighbours * longest)[:, None].astype(float)
        total = _sum(cell, weight)
        power = _sum(cell, weight * np.abs(block.data) ** 2) - 2.0 * _sum(cell, (weight > 0).astype(float))
        averaged = np.abs(_sum(cell, weight * block.data)) ** 2 / np.where(total > 0, total, 1) - 2.0 * (total > 0)
        before, after = before + float(power.sum()), after + float(averaged.sum())
    return after / before if before > 0 else float("nan")


def average(block: Visibilities, interval: float, max_gap: float = AveragingSettings.max_gap) -> Visibilities:
    """A block with one row, the average, for each baseline and interval of a scan.

    Parameters
    ----------
    block : Visibilities
        With natural weights.
    interval : float
        [s]; 0 joins only rows of the same time and baseline.
    max_gap : float
        See `AveragingSettings`.

    Returns
    -------
    Visibilities
        Times are the middles of the intervals, the same for all baselines; weights are those of the averages.
    """
    cell = _cells(block, interval, max_gap)
    weight = block.weight.astype(float)
    total = _sum(cell, weight)
    data = _sum(cell, weight * block.data) / np.where(total > 0, total, 1)
    by_row = weight.sum(1)
    share = by_row / np.maximum(_sum(cell, by_row), 1e-300)[cell]
    uvw = _sum(cell, share[:, None] * block.uvw)
    _, first = np.unique(cell, return_index=True)
    return replace(
        block,
        uvw=uvw,
        data=data.astype(np.complex64),
        weight=total.astype(np.float32),
        time=_middles(block.time, interval, max_gap)[first],
        antenna=block.antenna[first],
    )


def in_one_direction(block: Visibilities) -> Visibilities:
    """A block in which the second antenna of each row has the larger number.

    A visibility of the pair (2, 1) is the complex conjugate of that of (1, 2) at the opposite (u, v, w). Data can have
    both, which would otherwise count as two baselines.
    """
    turned = block.antenna[:, 0] > block.antenna[:, 1]
    if not turned.any():
        return block
    return replace(
        block,
        uvw=np.where(turned[:, None], -block.uvw, block.uvw),
        data=np.where(turned[:, None], block.data.conj(), block.data),
        antenna=np.sort(block.antenna, axis=1),
    )


def _cells(block: Visibilities, interval: float, max_gap: float) -> np.ndarray:
    """Number of the average that each row belongs to, (row,)."""
    _, number = np.unique(_middles(block.time, interval, max_gap), return_inverse=True)
    pair = block.antenna[:, 0].astype(np.int64) * (int(block.antenna.max()) + 1) + block.antenna[:, 1]
    return np.unique(number.ravel() * (int(pair.max()) + 1) + pair, return_inverse=True)[1].ravel()


def _middles(time: np.ndarray, interval: float, max_gap: float) -> np.ndarray:
    """Middle of the interval of each time, (row,) [s]. Each scan is divided into equal intervals."""
    times, index = np.unique(time, return_inverse=True)
    gaps = np.diff(times)
    step = float(np.median(gaps)) if gaps.size else 0.0
    middles = times.copy()
    for scan in np.split(np.arange(len(times)), np.flatnonzero(gaps > max_gap * step) + 1):
        length = times[scan[-1]] - times[scan[0]] + step
        count = int(np.ceil(length / interval - 1e-6)) if interval > step else 0
        if count:
            part = np.minimum(((times[scan] - times[scan[0]] + step / 2) / length * count).astype(int), count - 1)
            middles[scan] = times[scan[0]] - step / 2 + (part + 0.5) * length / count
    return middles[index.ravel()]


def _sum(cell: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Sums of the rows (row, ...) of each cell, (cell, ...)."""
    out = np.zeros((int(cell.max()) + 1, *values.shape[1:]), values.dtype)
    np.add.at(out, cell, values)
    return out

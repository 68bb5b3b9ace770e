"""Solves for the gains of antennas, given visibilities and a model as arrays.

A sample of the baseline p, q is ``V_pq = g_p conj(g_q) M_pq`` plus noise, with M the visibility of the model. Gains are
constant within a solution interval, so that three sums for each baseline hold all information about them,

    X_pq = sum w V conj(M),    Y_pq = sum w |M|^2,    Z_pq = sum w |V|^2,

with w = 1/sigma^2 and X_qp = conj(X_pq). The solver needs these sums alone (`Normal`).

- Amplitude and phase: StefCal. Each iteration sets the gain of each antenna to its least-squares solution for fixed
  gains of the others. Every second iteration is averaged with the previous one.
- Phase only: the same iteration over gains of modulus 1. It maximises Re(g^H X g), which for |g| = 1 minimises chi^2.
  Amplitudes are not solved for.

Both start from the leading eigenvector of the normalised X (angular synchronisation). A start from gains of 1 can end
in a local minimum if phase errors exceed a radian, as in raw VLBI data.

References
----------
Salvini & Wijnholds (2014), A&A 571, A97: StefCal. Singer (2011), Appl. Comput. Harmon. Anal. 30, 20: the start.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np


@dataclass(frozen=True)
class StefcalSettings:
    """When the iterations end."""

    steps: int = 600
    """Largest number of iterations; a well-connected array needs about ten."""

    tolerance: float = 1e-10
    """Relative change of the gains at which the iterations end."""

    converged: float = 1e-4
    """Largest relative change in the last iteration of a valid solution. Above it, the solution is flagged."""

    batch: int = 2**22
    """Number of matrix elements that are solved together. It bounds the memory."""


@dataclass
class Normal:
    """The sums that determine the gains of several independent solutions (slots).

    Parameters
    ----------
    x : (..., antenna, antenna) complex128
        Sum of w V conj(M) [Jy^2 / Jy^2], Hermitian; zero on the diagonal.
    y, z : (..., antenna, antenna) float64
        Sums of w |M|^2 and w |V|^2, symmetric.
    count : (..., antenna, antenna) int64
        Number of samples, symmetric.
    """

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    count: np.ndarray

    @classmethod
    def empty(cls, shape: tuple[int, ...], antennas: int) -> Self:
        """Sums of 0, for slots of a shape."""
        full = (*shape, antennas, antennas)
        return cls(np.zeros(full, complex), np.zeros(full), np.zeros(full), np.zeros(full, np.int64))

    def add(
        self, slot: tuple[np.ndarray, ...], antenna: np.ndarray, data: np.ndarray, model: np.ndarray, weight: np.ndarray
    ) -> None:
        """Add samples.

        Parameters
        ----------
        slot : tuple of (row,) int arrays
            Index of the solution of each row.
        antenna : (row, 2) int
            p and q of each row; p differs from q.
        data, model : (row, chan) complex
            [Jy]
        weight : (row, chan) float
            1/sigma^2, sigma the noise of the real and of the imaginary part [Jy^-2]; 0 marks a flagged sample.
        """
        weight = weight.astype(np.float64)
        used = weight > 0
        data, model = np.where(used, data, 0), np.where(used, model, 0)
        x = np.einsum("rc,rc,rc->r", weight, data, model.conj())
        sums = (x, np.einsum("rc,rc->r", weight, _power(model)), np.einsum("rc,rc->r", weight, _power(data)),
                np.count_nonzero(used, axis=1))  # fmt: skip
        p, q = antenna.T
        for total, rows in zip((self.x, self.y, self.z, self.count), sums, strict=True):
            np.add.at(total, (*slot, p, q), rows)
            np.add.at(total, (*slot, q, p), rows.conj())

    def corrected(self, gain: np.ndarray) -> "Normal":
        """The sums of corrected data: V / (g_p conj(g_q)) with the weights w |g_p g_q|^2.

        Baselines with a gain of zero or NaN are left out.
        """
        gain = np.nan_to_num(gain)
        pair = gain[..., :, None].conj() * gain[..., None, :]
        seen = pair != 0
        return Normal(self.x * pair, self.y * _power(pair), self.z * seen, self.count * seen)

    def merged(self, group: np.ndarray, groups: int) -> "Normal":
        """Sum slots of the first axis into groups; `group` (first axis,) int is the group of each slot."""
        merged = Normal.empty((groups, *self.x.shape[1:-2]), self.x.shape[-1])
        for name, total in vars(merged).items():
            np.add.at(total, group, getattr(self, name))
        return merged

    def joined(self, axis: int) -> "Normal":
        """Sum slots along an axis, which keeps the length 1."""
        return Normal(*(part.sum(axis, keepdims=True) for part in vars(self).values()))


@dataclass
class Solution:
    """Gains of one solve.

    Parameters
    ----------
    gain : (..., antenna) complex128
        1 where flagged.
    flag : (..., antenna) bool
        Whether there is no solution: too few baselines, too little signal, or no convergence.
    snr : (..., antenna) float64
        |g| over the standard deviation of its real part; for phases, 1 over their standard deviation relative to all
        other antennas [1/rad]. 0 without data.
    chi2 : (...) float64
        Chi-square of the data against the model with these gains, over the unflagged baselines.
    samples : (...) int64
        Number of complex samples in `chi2`, which is about twice as large if the weights are right.
    """

    gain: np.ndarray
    flag: np.ndarray
    snr: np.ndarray
    chi2: np.ndarray
    samples: np.ndarray


def solve(
    normal: Normal,
    phase_only: bool,
    min_baselines: int = 3,
    min_snr: float = 3.0,
    scatter: float = 1.0,
    order: Sequence[int] | np.ndarray | None = None,
) -> Solution:
    """Solve for the gains of all slots.

    Parameters
    ----------
    normal : Normal
        Slots of any shape (...).
    phase_only : bool
        Whether all gains have the modulus 1.
    min_baselines : int
        Least number of baselines of an antenna, counting those to antennas that meet the limit. Other antennas are
        flagged.
    min_snr : float
        Least signal-to-noise ratio of a solution; others are flagged.
    scatter : float
        Noise of the data over that of the weights (`radrim.metrics.measured_scatter`).
    order : sequence of int, optional
        All antennas in the order of preference as reference. The first one with a solution gets phase 0.

    Returns
    -------
    Solution
    """
    shape, antennas = normal.x.shape[:-2], normal.x.shape[-1]
    flat = Normal(*(part.reshape(-1, antennas, antennas) for part in vars(normal).values()))
    order = np.arange(antennas) if order is None else np.asarray(order)
    step = max(1, StefcalSettings.batch // antennas**2)
    parts = []
    for start in range(0, len(flat.x), step):
        batch = Normal(*(part[start : start + step] for part in vars(flat).values()))
        parts.append(_solve(batch, phase_only, min_baselines, min_snr, scatter, order))
    merged = [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
    return Solution(*(array.reshape(shape + array.shape[1:]) for array in merged))


def _solve(normal, phase_only, min_baselines, min_snr, scatter, order):
    """(gain, flag, snr, chi2, samples) of slots along one axis."""
    present = _connected(normal.y > 0, min_baselines)
    mask = present[:, :, None] & present[:, None, :]
    x, y = normal.x * mask, normal.y * mask
    gain = _start(x)
    gain, change = _iterate(x, y, gain, True)
    if not phase_only:
        # The start has one amplitude for all antennas, which fits the data best with the phases found.
        fit = _quadratic(gain, x) / np.maximum((y * present[:, None, :]).sum((1, 2)), 1e-300)
        gain, change = _iterate(x, y, gain * np.sqrt(np.where(fit > 0, fit, 1))[:, None], False)
    # The projection of the data on the gain, over the noise of the projection; the scale of the model cancels.
    signal = (gain.conj() * _times(x, gain)).real
    spread = np.sqrt(_power(gain) * (y @ _power(gain)[:, :, None])[..., 0])
    snr = np.maximum(signal, 0) / np.where(spread > 0, spread, 1) / scatter
    good = present & (change < StefcalSettings.converged)[:, None] & (snr >= min_snr) & (gain != 0)
    gain = _referenced(gain, good, order)
    kept = np.where(good, gain, 0)
    seen = np.triu(good[:, :, None] & good[:, None, :])
    power = _power(kept)
    model = (y * power[:, :, None] * power[:, None, :] * seen).sum((1, 2))
    cross = (kept.conj()[:, :, None] * x * kept[:, None, :] * seen).real.sum((1, 2))
    chi2 = np.maximum((normal.z * seen).sum((1, 2)) - 2 * cross + model, 0)
    return np.where(good, gain, 1), ~good, snr * present, chi2, (normal.count * seen).sum((1, 2))


def _connected(seen, least):
    """Antennas (slot, antenna) with at least `least` baselines to antennas that also meet this limit."""
    present = seen.any(-1)
    while True:
        baselines = (seen & present[:, None, :]).sum(-1)
        fewer = present & (baselines >= max(1, least))
        if (fewer == present).all():
            return present
        present = fewer


def _start(x):
    """Phases (slot, antenna) of the leading eigenvector of X, each antenna normalised."""
    size = np.abs(x).sum(-1)
    scale = 1 / np.sqrt(np.where(size > 0, size, 1))
    vector = np.linalg.eigh(x * scale[:, :, None] * scale[:, None, :])[1][..., -1]
    return _unit(vector, np.ones_like(vector))


def _iterate(x, y, gain, phase_only):
    """(gains, relative change in the last iteration) of StefCal."""
    gain, change = gain.copy(), np.full(len(gain), np.inf)
    active = np.arange(len(gain))
    for step in range(StefcalSettings.steps):
        before = gain[active]
        new = _times(x[active], before)
        if phase_only:
            new = _unit(new, before)
        else:
            power = (y[active] @ _power(before)[:, :, None])[..., 0]
            new = np.where(power > 0, new / np.where(power > 0, power, 1), before)
        if step % 2:
            new = (new + before) / 2
            new = _unit(new, before) if phase_only else new
        gain[active] = new
        size = np.sqrt(_power(new).sum(-1))
        change[active] = np.sqrt(_power(new - before).sum(-1)) / np.where(size > 0, size, 1)
        # Convergence is tested after averaged steps alone, whose changes are smaller.
        if step % 2:
            active = active[~(change[active] < StefcalSettings.tolerance)]
            if not active.size:
                break
    return gain, change


def _referenced(gain, good, order):
    """Rotate the gains of each slot, so that the first good antenna of `order` has phase 0."""
    first = order[np.argmax(good[:, order], axis=1)]
    reference = gain[np.arange(len(gain)), first]
    return gain * _unit(reference.conj(), np.ones_like(reference))[:, None]


def _power(values):
    return values.real**2 + values.imag**2 if np.iscomplexobj(values) else values**2


def _unit(values, instead):
    """Values normalised to modulus 1; `instead` where they are almost 0, as for antennas without data."""
    size = np.abs(values)
    known = size > 1e-150
    return np.where(known, values / np.where(known, size, 1), instead)


def _times(x, gain):
    return (x @ gain[:, :, None])[..., 0]


def _quadratic(gain, x):
    return (gain.conj() * _times(x, gain)).real.sum(-1)


def group_times(times: np.ndarray, scans: np.ndarray, length: float, step: float) -> np.ndarray:
    """Group integrations into solution intervals, each of consecutive integrations of one scan.

    An interval begins with the first integration after the previous interval, so that none begins within a gap.

    Parameters
    ----------
    times : (time,) float64
        Times of the integrations, ascending [s].
    scans : (time,) int
        Scan of each.
    length : float
        Length of an interval [s]; infinity for whole scans.
    step : float
        Length of an integration [s]. Times can deviate by a tenth of it.

    Returns
    -------
    (time,) int64
        Number of the interval of each integration, from 0, ascending.
    """
    number, begin = -1, 0.0
    out = np.empty(len(times), np.int64)
    for k, time in enumerate(times):
        if k == 0 or scans[k] != scans[k - 1] or time - begin >= length - 0.1 * step:
            number, begin = number + 1, time
        out[k] = number
    return out


def normalise(gain: np.ndarray, flag: np.ndarray) -> tuple[np.ndarray, float]:
    """Divide gains by the mean amplitude of unflagged ones, which keeps the flux scale; returns gains and mean.

    Parameters
    ----------
    gain : (...) complex
    flag : (...) bool
    """
    if flag.all():
        return gain, 1.0
    mean = float(np.abs(gain[~flag]).mean())
    return np.where(flag, gain, gain / mean), mean

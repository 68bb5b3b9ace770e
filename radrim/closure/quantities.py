"""Closure quantities: combinations of visibilities that do not depend on the gains of stations.

A measured visibility is ``g_i conj(g_j) V_ij`` with the unknown complex gains of two stations. The sum of phases around
a triangle (closure phase), and the ratio of amplitudes of four baselines among four stations (closure amplitude, used
as its logarithm), do not depend on gains. Each integration gives a minimal set of either kind: its members are
independent, and all other closure quantities follow from them. Members share baselines, so that their errors are
correlated. With the full covariance (Blackburn et al. 2020) all minimal sets are equivalent, and no information is
counted twice.

Logarithms of amplitudes need no correction for noise bias: ln|z| is harmonic, so that circular noise that avoids z = 0
leaves its mean unchanged (to 0.001 at S/N 3, `ClosureSettings.snr`). The mean of the amplitude itself is biased.

References
----------
Jennison (1958), MNRAS 118, 276; Twiss, Carter & Little (1960), Observatory 80, 153.
Chael et al. (2018), ApJ 857, 23: chi-squares of closure quantities.
Blackburn et al. (2020), ApJ 894, 31: minimal sets and their covariance.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
import scipy.sparse as sp

from radrim.errors import DataError


@dataclass(frozen=True)
class ClosureSettings:
    """Which visibilities form closure quantities."""

    snr: float = 3.0
    """Least signal-to-noise ratio of an averaged visibility. Below it, phases are not Gaussian."""

    colocated: float = 1 / 500
    """Length below which a baseline joins neighbouring stations [longest baseline]. It sees a point where the others
    resolve the source: its visibilities hold the flux of all larger scales, and triangles with it close for every
    image."""


@dataclass
class Closures:
    """One kind of closure quantity of many visibilities, a minimal set for each integration.

    Parameters
    ----------
    value : (closure,) float64
        Closure phases [rad] or log closure amplitudes.
    combine : (closure, sample) sparse
        Coefficients +1 and -1 of the phases, or of the logarithms of amplitudes, of the visibilities.
    covariance : (closure, closure) sparse
        Covariance of `value`; a block for each integration.
    inverse : (closure, closure) sparse
        Inverse of `covariance`.
    """

    value: np.ndarray
    combine: sp.csr_array
    covariance: sp.csr_array
    inverse: sp.csr_array

    def __len__(self):
        return len(self.value)

    @property
    def sigma(self) -> np.ndarray:
        """Standard deviations of `value`, (closure,)."""
        return np.sqrt(self.covariance.diagonal())


@dataclass
class ClosureData:
    """Averaged visibilities and their closure quantities.

    Parameters
    ----------
    uvw : (sample, 3) float64
        [wavelengths]
    vis : (sample,) complex128
        Averaged visibilities [Jy].
    sigma : (sample,) float64
        Noise of the real and of the imaginary part, including systematic errors [Jy].
    station : (sample, 2) int
    group : (sample,) int
        Number of the integration of one hand and channel. Samples of one group have the same gains.
    phases, amplitudes : Closures
        Either may be empty.
    """

    uvw: np.ndarray
    vis: np.ndarray
    sigma: np.ndarray
    station: np.ndarray
    group: np.ndarray
    phases: Closures
    amplitudes: Closures

    @property
    def colocated(self) -> np.ndarray:
        """Samples of baselines between neighbouring stations, (sample,) bool; see `ClosureSettings.colocated`."""
        return colocated_of(self.uvw)


def closures_of(
    uvw: np.ndarray, vis: np.ndarray, sigma: np.ndarray, station: np.ndarray, group: np.ndarray
) -> ClosureData:
    """Closure phases and log closure amplitudes of visibilities.

    Parameters
    ----------
    uvw, vis, sigma, station, group
        As in `ClosureData`.

    Returns
    -------
    ClosureData

    Raises
    ------
    DataError
        No three stations have been measured together.
    """
    strong = np.abs(vis) > ClosureSettings.snr * sigma
    used = {"triangle": strong & ~colocated_of(uvw), "quadrangle": strong}
    kinds: dict[str, list] = {"triangle": [], "quadrangle": []}
    order = np.argsort(group, kind="stable")
    for group_rows in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        for kind, found in kinds.items():
            rows = group_rows[used[kind][group_rows]]
            error = sigma[rows] / np.abs(vis[rows])
            sets = minimal_set(kind, station[rows], error)
            if len(sets):
                found.append((rows, sets, error))
    if not kinds["triangle"]:
        raise DataError(
            "Closure phases need three antennas that observe together, each pair at a signal-to-noise ratio above "
            f"{ClosureSettings.snr:g}, and there are none; image the visibilities themselves (--data visibilities)."
        )
    phases = _assemble(kinds["triangle"], np.angle(vis), len(vis))
    phases.value[:] = wrap(phases.value)
    with np.errstate(divide="ignore"):
        amplitudes = _assemble(kinds["quadrangle"], np.log(np.abs(vis)), len(vis))
    return ClosureData(uvw, vis, sigma, station, group, phases, amplitudes)


def minimal_set(kind: str, station: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Independent triangles or quadrangles among the baselines of one integration; those of small errors come first.

    Parameters
    ----------
    kind : {'triangle', 'quadrangle'}
    station : (baseline, 2) int
        The two stations of each baseline, in either order. Of a pair that occurs twice, the baseline of the smaller
        error is used.
    error : (baseline,) float
        Standard deviation of phase, and of the logarithm of amplitude.

    Returns
    -------
    (closure, baseline) int8
        Coefficients of the phases, or of the logarithms of the amplitudes.
    """
    if len(station) < 3:
        return np.zeros((0, len(station)), np.int8)
    names, index = np.unique(station, return_inverse=True)
    index = index.reshape(station.shape)
    place = {}
    for row in np.argsort(-np.asarray(error), kind="stable").tolist():
        i, j = index[row]
        place[int(i), int(j)], place[int(j), int(i)] = (row, 1), (row, -1)
    candidates = _candidates(kind, len(names), len(station), place)
    if not len(candidates):
        return np.zeros((0, len(station)), np.int8)
    best = np.argsort(candidates.astype(float) ** 2 @ error**2, kind="stable")
    return candidates[best][independent(candidates[best])]


def _candidates(kind, count, baselines, place):
    """All triangles or quadrangles whose baselines have been measured, (candidate, baseline) int8."""
    found = []
    for stations, signs in _polygons(kind, count):
        if all(pair in place for pair in stations):
            row = np.zeros(baselines, np.int8)
            for pair, sign in zip(stations, signs, strict=True):
                at, direction = place[pair]
                row[at] = sign * (direction if kind == "triangle" else 1)
            found.append(row)
    return np.array(found, np.int8).reshape(-1, baselines)


@lru_cache(maxsize=64)
def _polygons(kind, count):
    """Pairs of stations and signs of every triangle or quadrangle of `count` stations."""
    if kind == "triangle":
        return [(((i, j), (j, k), (k, i)), (1, 1, 1)) for i, j, k in combinations(range(count), 3)]
    out = []
    for i, j, k, m in combinations(range(count), 4):
        # Four stations have three ratios, whose product is 1.
        out += [(((i, j), (k, m), (i, k), (j, m)), (1, 1, -1, -1)), (((i, j), (k, m), (i, m), (j, k)), (1, 1, -1, -1)),
                (((i, k), (j, m), (i, m), (j, k)), (1, 1, -1, -1))]  # fmt: skip
    return out


def independent(rows: np.ndarray) -> np.ndarray:
    """Indices of the rows that are no linear combination of earlier rows, (rank,) int."""
    rows = np.asarray(rows, float)
    basis = np.zeros((0, rows.shape[1]))
    kept = []
    limit = np.linalg.matrix_rank(rows)
    for number, row in enumerate(rows):
        rest = row - basis.T @ (basis @ row)
        rest -= basis.T @ (basis @ rest)  # twice is enough (Giraud & Langou 2003)
        size = np.linalg.norm(rest)
        if size > 1e-6:
            basis = np.vstack([basis, rest / size])
            kept.append(number)
            if len(kept) == limit:
                break
    return np.array(kept, int)


def _assemble(found: list[tuple[np.ndarray, np.ndarray, np.ndarray]], values: np.ndarray, samples: int) -> Closures:
    """Join the closure quantities of all integrations, each given as (rows, coefficients, errors)."""
    combine, covariance, inverse = [], [], []
    for rows, sets, error in found:
        part = sp.csr_array(sets.astype(float))
        part = sp.csr_array((part.data, rows[part.indices], part.indptr), shape=(len(sets), samples))
        block = (sets * error**2) @ sets.T.astype(float)
        combine.append(part)
        covariance.append(block)
        inverse.append(np.linalg.inv(block))
    if not found:
        nothing = sp.csr_array((0, 0))
        return Closures(np.zeros(0), sp.csr_array((0, samples)), nothing, nothing)
    matrix = sp.vstack(combine, format="csr")
    finite = np.where(np.isfinite(values), values, 0)
    return Closures(matrix @ finite, matrix, _diagonal(covariance), _diagonal(inverse))


def _diagonal(blocks):
    return sp.csr_array(sp.block_diag(blocks, format="csr"))


def colocated_of(uvw: np.ndarray) -> np.ndarray:
    """Samples of baselines between neighbouring stations, (sample,) bool; see `ClosureSettings.colocated`."""
    length = np.hypot(uvw[:, 0], uvw[:, 1])
    return length < ClosureSettings.colocated * length.max(initial=0)


def wrap(angle: np.ndarray) -> np.ndarray:
    """Angles in (-pi, pi] [rad]."""
    return np.pi - (np.pi - angle) % (2 * np.pi)

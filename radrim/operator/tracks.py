"""Fewer samples for a part of the sky: seen from the middle of a tile, the visibilities of a baseline hardly vary.

Turned to the middle of a tile, they are smooth functions of time and frequency. Over a block of samples in which no
direction of the tile turns by more than a few radians, a few nodes say everything::

    V(t, f) = sum_jk L_j(t) L_k(f) V(t_j, f_k)

with Lagrange's polynomials L. A prediction computes the nodes alone and interpolates; the adjoint takes the samples
to the nodes by the transpose. This is baseline-dependent averaging without its smearing: the error stays below the
operator's epsilon, and forward and adjoint remain each other's transpose. The smaller the tile, the fewer the nodes.

Rows must be sorted by baseline, then by time; where they are not, nothing is gained, and nothing is wrong.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from radrim.geometry import SIGN, C, n_minus_1
from radrim.operator.base import COMPLEX, Operator
from radrim.operator.track_kernels import cut_tracks, gather, spread

MOST = 8
"""Most nodes of a block along time, and along frequency."""
WORTH = 0.5
"""Nodes over samples above which the samples are left as they are."""
MARGIN = 0.3
"""Part of epsilon that either interpolation may cost."""


@dataclass(frozen=True)
class Nodes:
    """Where the visibilities of a tile are computed, and how samples follow from them.

    Parameters
    ----------
    uvw : (node, 3) float64
        Scaled so that every node has the frequency `freq` [m].
    freq : float
        [Hz]
    rows : (block + 1,) int64
        First row of each block of rows, and the end.
    first : (block + 1,) int64
        First node of each block.
    times, at : (block,) int64
        Nodes along time, and where their weights begin in `on_time`.
    on_time : (weight,) float32
        L_j of each row: for row r of a block ``at + (r - rows) * times + j``.
    kind : (block,) int64
        Which of the ways to cut the band the block follows.
    bands : (kind + 1,) int64
        First band of each way.
    band : (band, 5) int64
        First channel, end, nodes, where their weights begin in `on_freq`, and first node within the block's row.
    on_freq : (weight,) float32
        L_k of each channel, as `on_time`.
    """

    uvw: np.ndarray
    freq: float
    rows: np.ndarray
    first: np.ndarray
    times: np.ndarray
    at: np.ndarray
    on_time: np.ndarray
    kind: np.ndarray
    bands: np.ndarray
    band: np.ndarray
    on_freq: np.ndarray


def find_nodes(uvw, freq, time, antenna, grid, epsilon):
    """Nodes for the samples of a tile.

    Parameters
    ----------
    uvw : (row, 3) float64
        [m]
    freq : (chan,) float64
        [Hz], rising.
    time : (row,) float64
        [s]
    antenna : (row, 2) int
    grid : ImageGrid
        Of the tile.
    epsilon : float
        Largest relative error.

    Returns
    -------
    Nodes or None
        None where fewer nodes would not be few enough (`WORTH`).
    """
    if len(uvw) == 0 or not np.isfinite(grid.middle[2]):
        return None
    reach = _directions(grid)
    capacity = _capacities(MARGIN * epsilon)
    new = (np.diff(antenna, axis=0) != 0).any(1) | (np.diff(time) <= 0)
    starts = np.concatenate([[0], np.flatnonzero(new) + 1, [len(uvw)]])
    rows, picked, times, on_time, extent = cut_tracks(
        uvw, time, starts, reach, 2 * np.pi / C * freq[-1], capacity, MARGIN * epsilon
    )
    ways = _cut_band(freq, capacity)
    # Half of the phase that a direction turns by from one end of the band to the other.
    turn = np.pi / C * (freq[-1] - freq[0]) * extent
    kind = np.searchsorted([way.holds for way in ways], turn)
    width = np.array([len(way.nodes) for way in ways])[kind]
    count = times * width
    if count.sum() > WORTH * len(uvw) * len(freq):
        return None
    first = np.concatenate([[0], np.cumsum(count)])
    middle = float(freq[len(freq) // 2])
    node_uvw = np.empty((first[-1], 3))
    for number, way in enumerate(ways):
        mine = np.flatnonzero(kind == number)
        if not len(mine):
            continue
        row = np.concatenate([picked[block, : times[block]] for block in mine])
        start = np.concatenate([first[block] + len(way.nodes) * np.arange(times[block]) for block in mine])
        for k, f in enumerate(way.nodes):
            node_uvw[start + k] = uvw[row] * (f / middle)
    bands, band, on_freq = _join(ways)
    at = np.concatenate([[0], np.cumsum(np.diff(rows) * times)])
    return Nodes(node_uvw, middle, rows, first, times, at[:-1], on_time, kind, bands, band, on_freq)


class Compressed(Operator):
    """`Operator` through nodes: computed by another operator, samples interpolated between them.

    Parameters
    ----------
    uvw, freq, grid, epsilon, threads
        As `Operator`.
    nodes : Nodes
        From `find_nodes`.
    make : callable
        ``make(uvw, freq)`` gives the operator of the nodes.
    """

    kind = "compressed"

    def __init__(self, uvw, freq, grid, epsilon, threads, nodes, make):
        super().__init__(uvw, freq, grid, epsilon, threads)
        self.nodes = nodes
        self._inner = make(nodes.uvw, np.array([nodes.freq]))
        self.kind = self._inner.kind
        # Radians per hertz of the middle pixel, for samples; radians for nodes.
        self._turn = 2 * np.pi / C * (self._uvw @ grid.middle)
        self._steps = _even_steps(self._freq)

    def psf(self, weight):
        self._check("weight", weight, self.data_shape, COMPLEX)
        none = torch.zeros((0, 0), dtype=COMPLEX[weight.dtype])
        return self._inner._run_adjoint(self._collect(none, weight), None)

    def _forward(self, image):
        values = (self._inner._run_forward(image)[:, 0] * self._middle().conj()).to(COMPLEX[image.dtype]).numpy()
        out = np.empty(self.data_shape, values.dtype)
        self._each_part(lambda a, b: spread(a, b, values, out, self._turn, self._freq, self._steps, self._plan()))
        return torch.from_numpy(out)

    def _adjoint(self, data, weight):
        return self._inner._run_adjoint(self._collect(data, weight), None)

    def _collect(self, data, weight):
        """Weighted samples, or weights alone if there are no data, brought to the nodes, (node, 1) complex."""
        weighed = weight is not None
        on = weight.numpy() if weighed else np.zeros((0, 0), np.float32)
        out = np.zeros(len(self.nodes.uvw), np.complex128)
        self._each_part(
            lambda a, b: gather(a, b, data.numpy(), on, weighed, out, self._turn, self._freq, self._steps, self._plan())
        )
        return (torch.from_numpy(out) * self._middle()).to(data.dtype)[:, None]

    def _middle(self):
        """What 1 Jy in the middle pixel gives at the nodes, (node,) complex128."""
        turn = torch.from_numpy(SIGN * self.nodes.uvw @ self.grid.middle * (self.nodes.freq / C))
        turn = (turn - turn.round()) * (2 * np.pi)
        return torch.polar(torch.ones_like(turn), turn)

    def _plan(self):
        n = self.nodes
        return n.rows, n.first, n.times, n.at, n.on_time, n.kind, n.bands, n.band, n.on_freq

    def _each_part(self, work):
        """``work(first block, end)`` for as many parts of about equal size as there are threads."""
        rows = self.nodes.rows
        cuts = np.searchsorted(rows, np.linspace(0, rows[-1], self.threads + 1))
        if self.threads == 1:
            work(0, len(rows) - 1)
            return
        with ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(work, cuts[:-1], np.minimum(cuts[1:], len(rows) - 1)))


def _directions(grid):
    """Corners and edges of a tile as seen from its middle, (direction, 3): differences of l, m and n."""
    l, m = (values[[0, len(values) // 2, -1]] for values in (grid.l(), grid.m()))  # noqa: E741
    l, m = (a.ravel() for a in np.meshgrid(l, m))  # noqa: E741
    beyond = np.maximum(np.hypot(l, m) / (1 - 1e-9), 1)  # below the horizon there is no sky: what matters is its edge
    l, m = l / beyond, m / beyond  # noqa: E741
    return np.stack([l, m, n_minus_1(l, m)], 1) - np.array(grid.middle)


def _capacities(tolerance):
    """Half of the phase [rad] that 1, 2, ... `MOST` nodes can carry: exp(i phi x), x in [-1, 1], by polynomials."""
    return np.array([2 * (tolerance * math.factorial(p) / 2) ** (1 / p) for p in range(1, MOST + 1)])


@dataclass(frozen=True)
class _Way:
    """A way to cut the band: frequencies of the nodes, and the half phase that they carry over the whole band."""

    holds: float
    nodes: np.ndarray
    bands: list  # (first channel, end, nodes, weights (chan, node))


def _cut_band(freq, capacity):
    """Ways to cut the band, from one node to all channels."""
    ways = []
    for parts in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64):
        for p in range(1, MOST + 1) if parts == 1 else (MOST,):
            if parts * p > WORTH * len(freq):
                break
            bands, nodes = [], []
            for part in np.array_split(np.arange(len(freq)), parts):
                low, high = freq[part[0]], freq[part[-1]]
                at = 0.5 * (low + high) + 0.5 * (high - low) * _chebyshev(p)
                bands.append((part[0], part[-1] + 1, p, _lagrange(at, freq[part])))
                nodes.append(at)
            # Parts are equal in channels, not always in frequency.
            widest = max(freq[end - 1] - freq[start] for start, end, _, _ in bands)
            share = widest / max(freq[-1] - freq[0], 1e-30)
            ways.append(_Way(capacity[p - 1] / max(share, 1e-30), np.concatenate(nodes), bands))
    ways.sort(key=lambda way: way.holds)
    every = [(c, c + 1, 1, np.ones((1, 1))) for c in range(len(freq))]
    return [*ways, _Way(np.inf, freq, every)]


def _join(ways):
    """(bands, band, on_freq) of `Nodes`."""
    bands, band, weights, at = [0], [], [], 0
    for way in ways:
        node = 0
        for start, end, p, values in way.bands:
            band.append((start, end, p, at, node))
            weights.append(values.ravel())
            at, node = at + values.size, node + p
        bands.append(len(band))
    return np.array(bands), np.array(band), np.concatenate(weights).astype(np.float32)


def _chebyshev(p):
    return -np.cos(np.pi * (2 * np.arange(p) + 1) / (2 * p))


def _lagrange(nodes, at):
    """Lagrange's polynomials of `nodes` at some places, (place, node)."""
    out = np.ones((len(at), len(nodes)))
    for j, node in enumerate(nodes):
        for k, other in enumerate(nodes):
            if k != j:
                out[:, j] *= (at - other) / (node - other)
    return out


def _even_steps(freq):
    """The channels' spacing [Hz] where it is the same everywhere, else 0."""
    if len(freq) < 2:
        return 0.0
    step = (freq[-1] - freq[0]) / (len(freq) - 1)
    return float(step) if np.allclose(freq, freq[0] + step * np.arange(len(freq)), rtol=0, atol=1e-3) else 0.0

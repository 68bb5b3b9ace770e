"""Baseline-dependent compression of visibilities for one tile or facet of an image.

With the phase centre moved to the middle of a tile, the visibilities of its sources are smooth functions of time and
frequency. In a block of samples over which the phase of no direction of the tile changes by more than a few radians,
they follow from their values at a few nodes::

    V(t, f) = sum_jk L_j(t) L_k(f) V(t_j, f_k)

with Lagrange polynomials L. A prediction computes the nodes and interpolates. The adjoint moves the samples to the
nodes by the transpose of the interpolation. Unlike averaging, this does not smear: the error stays below the operator's
epsilon, and forward and adjoint are exact transposes. Smaller tiles need fewer nodes.

Rows should be sorted by baseline, then by time. In another order the result is the same, but nothing is compressed.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from radrim.geometry import SIGN, C, ImageGrid, n_minus_1
from radrim.operator import make_operator
from radrim.operator.settings import TrackSettings
from radrim.operator.track_kernels import Plan, Tracks, cut_tracks, gather, spread

SETTINGS = TrackSettings()


@dataclass(frozen=True)
class Nodes:
    """Nodes at which the visibilities of a tile are computed, and the weights by which samples follow from them.

    Parameters
    ----------
    uvw : (node, 3) float64
        Scaled such that every node has the frequency `freq` [m].
    freq : float
        [Hz]
    rows : (block + 1,) int64
        First row of each block of rows, and the end.
    first : (block + 1,) int64
        First node of each block.
    times, at : (block,) int64
        Number of nodes along time, and index of their first weight in `on_time`.
    on_time : (weight,) float32
        L_j of each row: for row r of a block ``at + (r - rows) * times + j``.
    kind : (block,) int64
        Number of the division of the band that the block uses.
    bands : (kind + 1,) int64
        First band of each division.
    band : (band, 5) int64
        First channel, end, number of nodes, index of their first weight in `on_freq`, and first node within the row.
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


def find_nodes(
    uvw: np.ndarray, freq: np.ndarray, time: np.ndarray, antenna: np.ndarray, grid: ImageGrid, epsilon: float
) -> Nodes:
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
    Nodes
        At most one per sample.
    """
    reach = _directions(grid)
    capacity = _capacities(SETTINGS.tolerance * epsilon)
    new = (np.diff(antenna, axis=0) != 0).any(1) | (np.diff(time) <= 0)
    starts = np.concatenate([[0], np.flatnonzero(new) + 1, [len(uvw)]])
    tracks = Tracks(
        uvw, time, reach, 2 * np.pi / C * freq[-1], SETTINGS.tolerance * epsilon, SETTINGS.max_amplification
    )
    rows, picked, times, on_time, extent = cut_tracks(tracks, starts, capacity)
    ways = _cut_band(freq, capacity)
    # Half of the phase that a direction turns by from one end of the band to the other.
    turn = np.pi / C * (freq[-1] - freq[0]) * extent
    kind = np.searchsorted([way.holds for way in ways], turn)
    width = np.array([len(way.nodes) for way in ways])[kind]
    count = times * width
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


class Track:
    """Transfer between the samples of one block and the nodes of a part of the image.

    Parameters
    ----------
    uvw, freq
        As for `find_nodes`.
    grid : ImageGrid
        Of the part of the image.
    nodes : Nodes
        From `find_nodes`.
    """

    def __init__(self, uvw: np.ndarray, freq: np.ndarray, grid: ImageGrid, nodes: Nodes) -> None:
        self.nodes, self._freq = nodes, freq
        middle = _middle(grid)
        # Phase of the middle pixel: radians per hertz for samples, turns for nodes.
        self._turn = 2 * np.pi / C * (SIGN * uvw @ middle)
        self._steps = _even_steps(freq)
        turn = SIGN * nodes.uvw @ middle * (nodes.freq / C)
        self._middle = np.exp(2j * np.pi * (turn - np.rint(turn)))

    def collect(self, data: np.ndarray | None, weight: np.ndarray) -> np.ndarray:
        """Sum weighted samples to the nodes.

        Parameters
        ----------
        data : (row, chan) complex64 or None
            None stands for 1 Jy in the middle pixel.
        weight : (row, chan) float32

        Returns
        -------
        (node,) complex128
        """
        none = np.zeros((0, 0), np.complex64)
        out = np.zeros(len(self.nodes.uvw), np.complex128)
        data, weight = (none if a is None else np.asarray(a) for a in (data, weight))  # numba rejects memory maps
        gather(data, weight, out, self._turn, self._freq, self._steps, self._plan())
        return out * self._middle

    def distribute(self, values: np.ndarray, out: np.ndarray) -> None:
        """Interpolate values at the nodes, (node,) complex, and add them to `out`, (row, chan) complex64."""
        values = (values * self._middle.conj()).astype(np.complex64)
        spread(values, out, self._turn, self._freq, self._steps, self._plan())

    def _plan(self) -> Plan:
        n = self.nodes
        return n.rows, n.first, n.times, n.at, n.on_time, n.kind, n.bands, n.band, n.on_freq


class SortedSamples(Protocol):
    """A block of samples whose rows are sorted by baseline, then by time.

    Attributes
    ----------
    uvw : (row, 3) float64
        [m]
    freq : (chan,) float64
        [Hz], rising.
    time : (row,) float64
        [s]
    antenna : (row, 2) int
    weight : (row, chan) float32
        Imaging weights.
    """

    uvw: np.ndarray
    freq: np.ndarray
    time: np.ndarray
    antenna: np.ndarray
    weight: np.ndarray


class Compressed:
    """The measurement operator of a part of an image by nodes, with one transform for all blocks of samples.

    It runs on one thread. The samples of all blocks may exceed the memory.

    Parameters
    ----------
    blocks : sequence of SortedSamples
        Such as `radrim.visibilities.Visibilities`.
    grid : ImageGrid
    kind : str
        Of the operator of the nodes; see `radrim.operator.make_operator`.
    epsilon : float
    """

    def __init__(
        self, blocks: Sequence[SortedSamples], grid: ImageGrid, kind: str = "auto", epsilon: float = 1e-4
    ) -> None:
        self._blocks, self.grid = blocks, grid
        self.nodes = [find_nodes(b.uvw, b.freq, b.time, b.antenna, grid, epsilon) for b in blocks]
        self._ends = np.cumsum([len(n.uvw) for n in self.nodes])
        freq = self.nodes[0].freq
        uvw = np.concatenate([n.uvw * (n.freq / freq) for n in self.nodes])
        self._operator = make_operator(kind, uvw, np.array([freq]), grid, epsilon)
        self.kind = self._operator.kind

    def adjoint(self, data: Iterable[np.ndarray]) -> np.ndarray:
        """Re A^H W data, not normalised, (y, x) float32; `data` has one (row, chan) complex64 array for each block."""
        return self._image(zip(self._tracks(), data, self._blocks, strict=True))

    def psf(self) -> np.ndarray:
        """The response to 1 Jy in the middle pixel, not normalised, (y, x) float32; there it is the sum of weights."""
        return self._image((track, None, block) for track, block in zip(self._tracks(), self._blocks, strict=True))

    def forward(self, image: np.ndarray) -> list[np.ndarray]:
        """Visibilities of an image (y, x) [Jy/pixel] at the nodes of each block, (node,) complex64; for `Track`."""
        tensor = torch.from_numpy(np.ascontiguousarray(image, np.float32))
        return np.split(self._operator.forward(tensor)[:, 0].numpy(), self._ends[:-1])

    def _tracks(self) -> Iterator[Track]:
        return (Track(b.uvw, b.freq, self.grid, n) for b, n in zip(self._blocks, self.nodes, strict=True))

    def _image(self, samples: Iterable[tuple[Track, np.ndarray | None, SortedSamples]]) -> np.ndarray:
        values = np.concatenate([track.collect(data, block.weight) for track, data, block in samples])
        return self._operator.adjoint(torch.from_numpy(values.astype(np.complex64))[:, None]).numpy()


def _directions(grid: ImageGrid) -> np.ndarray:
    """Corners and edges of a tile as seen from its middle, (direction, 3): differences of l, m and n."""
    l, m = (values[[0, len(values) // 2, -1]] for values in (grid.l(), grid.m()))
    return _visible(*(a.ravel() for a in np.meshgrid(l, m))) - _middle(grid)


def _middle(grid: ImageGrid) -> np.ndarray:
    """Direction (l, m, n - 1) of the middle of a tile, to which the phase centre is moved."""
    l, m = (np.asarray(value) for value in grid.middle[:2])
    return _visible(l, m)


def _visible(l: np.ndarray, m: np.ndarray) -> np.ndarray:
    """Directions (direction, 3); those below the horizon are replaced by the nearest point of the horizon."""
    beyond = np.maximum(np.hypot(l, m) / (1 - 1e-9), 1)
    return np.stack([l / beyond, m / beyond, n_minus_1(l / beyond, m / beyond)], -1)


def _capacities(tolerance: float) -> np.ndarray:
    """Largest phi [rad] for which polynomials on 1, 2, ... nodes represent exp(i phi x), x in [-1, 1]."""
    return np.array([2 * (tolerance * math.factorial(p) / 2) ** (1 / p) for p in range(1, SETTINGS.max_nodes + 1)])


@dataclass(frozen=True)
class _Way:
    """A division of the band: frequencies of its nodes, and half of the phase range that these represent."""

    holds: float
    nodes: np.ndarray
    bands: list  # (first channel, end, nodes, weights (chan, node))


def _cut_band(freq: np.ndarray, capacity: np.ndarray) -> list[_Way]:
    """Divisions of the band, from one node to all channels."""
    ways, most = [], SETTINGS.max_nodes
    for parts in SETTINGS.band_parts:
        for p in range(1, most + 1) if parts == 1 else (most,):
            if parts * p > SETTINGS.max_node_fraction * len(freq):
                break
            bands, nodes = [], []
            for part in np.array_split(np.arange(len(freq)), parts):
                low, high = freq[part[0]], freq[part[-1]]
                at = 0.5 * (low + high) + 0.5 * (high - low) * _chebyshev(p)
                bands.append((part[0], part[-1] + 1, p, _lagrange(at, freq[part])))
                nodes.append(at)
            # Parts have equal numbers of channels, but not always equal widths.
            widest = max(freq[end - 1] - freq[start] for start, end, _, _ in bands)
            share = widest / max(freq[-1] - freq[0], 1e-30)
            ways.append(_Way(capacity[p - 1] / max(share, 1e-30), np.concatenate(nodes), bands))
    ways.sort(key=lambda way: way.holds)
    every = [(c, c + 1, 1, np.ones((1, 1))) for c in range(len(freq))]
    return [*ways, _Way(np.inf, freq, every)]


def _join(ways: "Sequence[_Way]") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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


def _chebyshev(p: int) -> np.ndarray:
    return -np.cos(np.pi * (2 * np.arange(p) + 1) / (2 * p))


def _lagrange(nodes: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Lagrange polynomials of `nodes` at the places `at`, (place, node)."""
    out = np.ones((len(at), len(nodes)))
    for j, node in enumerate(nodes):
        for k, other in enumerate(nodes):
            if k != j:
                out[:, j] *= (at - other) / (node - other)
    return out


def _even_steps(freq: np.ndarray) -> float:
    """Spacing of the channels [Hz] if it is constant, else 0."""
    if len(freq) < 2:
        return 0.0
    step = (freq[-1] - freq[0]) / (len(freq) - 1)
    return float(step) if np.allclose(freq, freq[0] + step * np.arange(len(freq)), rtol=0, atol=1e-3) else 0.0

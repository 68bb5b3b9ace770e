"""Baseline-dependent compression of visibilities for one tile or facet of an image.

If the phase centre is moved to the middle of a tile, the visibilities of its sources are smooth functions of time and
frequency. In a block of samples within which the phases of all directions of the tile change by at most a few radians,
visibilities can be interpolated from their values at a few nodes::

    V(t, f) = sum_jk L_j(t) L_k(f) V(t_j, f_k)

with Lagrange polynomials L. A prediction computes visibilities at the nodes and interpolates them. The adjoint sums the
samples to the nodes by the transpose of the interpolation. Unlike averaging this does not smear sources: the error
stays below the operator's epsilon, and forward and adjoint are exact transposes. Smaller tiles need fewer nodes.

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
    """Nodes at which the visibilities of a tile are computed, and the weights of the interpolation to the samples.

    Parameters
    ----------
    uvw : (node, 3) float64
        Baseline coordinates, scaled so that every node has the frequency `freq` [m].
    freq : float
        [Hz]
    rows : (block + 1,) int64
        First row of each block of rows, and the end.
    first : (block + 1,) int64
        First node of each block.
    times, at : (block,) int64
        Number of nodes along time, and index of their first weight in `on_time`.
    on_time : (weight,) float32
        L_j of each row; that of row r of a block has the index ``at + (r - rows) * times + j``.
    kind : (block,) int64
        Number of the division of the band that the block uses; see `bands`.
    bands : (kind + 1,) int64
        First band of each division.
    band : (band, 5) int64
        First channel, end, number of nodes, index of their first weight in `on_freq`, and first node within the row.
    on_freq : (weight,) float32
        L_k of each channel, in the same order as `on_time`.
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
    """Find the nodes for the samples of a tile.

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
        Grid of the tile.
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
    divisions = _cut_band(freq, capacity)
    # Half of the phase difference between both ends of the band.
    turn = np.pi / C * (freq[-1] - freq[0]) * extent
    kind = np.searchsorted([division.capacity for division in divisions], turn)
    width = np.array([len(division.nodes) for division in divisions])[kind]
    count = times * width
    first = np.concatenate([[0], np.cumsum(count)])
    middle = float(freq[len(freq) // 2])
    node_uvw = np.empty((first[-1], 3))
    for number, division in enumerate(divisions):
        mine = np.flatnonzero(kind == number)
        if not len(mine):
            continue
        row = np.concatenate([picked[block, : times[block]] for block in mine])
        start = np.concatenate([first[block] + len(division.nodes) * np.arange(times[block]) for block in mine])
        for k, f in enumerate(division.nodes):
            node_uvw[start + k] = uvw[row] * (f / middle)
    bands, band, on_freq = _join(divisions)
    at = np.concatenate([[0], np.cumsum(np.diff(rows) * times)])
    return Nodes(node_uvw, middle, rows, first, times, at[:-1], on_time, kind, bands, band, on_freq)


class Track:
    """Interpolation between the nodes of a part of the image and the samples of one block.

    Parameters
    ----------
    uvw, freq
        As for `find_nodes`.
    grid : ImageGrid
        Grid of the part of the image.
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
    """Measurement operator of a part of an image that computes visibilities at nodes only.

    It uses one transform for the nodes of all blocks, and one thread. The samples of all blocks may exceed the memory.

    Parameters
    ----------
    blocks : sequence of SortedSamples
        For instance `radrim.visibilities.Visibilities`.
    grid : ImageGrid
    kind : str
        Kind of the operator that computes the nodes; see `radrim.operator.make_operator`.
    epsilon : float
        Largest relative error.
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
        """Re A^H W data, not normalised, (y, x) float32; `data` yields one (row, chan) complex64 array per block."""
        return self._image(zip(self._tracks(), data, self._blocks, strict=True))

    def psf(self) -> np.ndarray:
        """Response to 1 Jy in the middle pixel, not normalised, (y, x) float32; the peak is the sum of the weights."""
        return self._image((track, None, block) for track, block in zip(self._tracks(), self._blocks, strict=True))

    def forward(self, image: np.ndarray) -> list[np.ndarray]:
        """Visibilities of an image (y, x) [Jy/pixel] at the nodes of each block, (node,) complex64 [Jy]."""
        tensor = torch.from_numpy(np.ascontiguousarray(image, np.float32))
        return np.split(self._operator.forward(tensor)[:, 0].numpy(), self._ends[:-1])

    def _tracks(self) -> Iterator[Track]:
        return (Track(b.uvw, b.freq, self.grid, n) for b, n in zip(self._blocks, self.nodes, strict=True))

    def _image(self, samples: Iterable[tuple[Track, np.ndarray | None, SortedSamples]]) -> np.ndarray:
        values = np.concatenate([track.collect(data, block.weight) for track, data, block in samples])
        return self._operator.adjoint(torch.from_numpy(values.astype(np.complex64))[:, None]).numpy()


def _directions(grid: ImageGrid) -> np.ndarray:
    """Differences of l, m and n between corners, edges and middle of a tile, (direction, 3)."""
    l, m = (values[[0, len(values) // 2, -1]] for values in (grid.l(), grid.m()))
    return _visible(*(a.ravel() for a in np.meshgrid(l, m))) - _middle(grid)


def _middle(grid: ImageGrid) -> np.ndarray:
    """Direction (l, m, n - 1) of the middle of a tile, which becomes its phase centre."""
    l, m = (np.asarray(value) for value in grid.middle[:2])
    return _visible(l, m)


def _visible(l: np.ndarray, m: np.ndarray) -> np.ndarray:
    """Directions (l, m, n - 1), (direction, 3); the nearest point of the horizon replaces one below it."""
    beyond = np.maximum(np.hypot(l, m) / (1 - 1e-9), 1)
    return np.stack([l / beyond, m / beyond, n_minus_1(l / beyond, m / beyond)], -1)


def _capacities(tolerance: float) -> np.ndarray:
    """Largest phi [rad] for which 1, 2, ... nodes represent exp(i phi x) on [-1, 1] to the `tolerance`, (number,)."""
    return np.array([2 * (tolerance * math.factorial(p) / 2) ** (1 / p) for p in range(1, SETTINGS.max_nodes + 1)])


@dataclass(frozen=True)
class _Division:
    """A division of the band into parts with nodes: half of its phase range [rad], nodes [Hz], and parts."""

    capacity: float
    nodes: np.ndarray
    bands: list  # of each part: first channel, end, number of nodes, weights (chan, node)


def _cut_band(freq: np.ndarray, capacity: np.ndarray) -> list[_Division]:
    """Divisions of the band, from one node to all channels."""
    divisions, most = [], SETTINGS.max_nodes
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
            divisions.append(_Division(capacity[p - 1] / max(share, 1e-30), np.concatenate(nodes), bands))
    divisions.sort(key=lambda division: division.capacity)
    every = [(c, c + 1, 1, np.ones((1, 1))) for c in range(len(freq))]
    return [*divisions, _Division(np.inf, freq, every)]


def _join(divisions: "Sequence[_Division]") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(bands, band, on_freq) of `Nodes`."""
    bands, band, weights, at = [0], [], [], 0
    for division in divisions:
        node = 0
        for start, end, p, values in division.bands:
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

"""The loops over samples of `radrim.operator.tracks`, compiled with numba.

They release the interpreter's lock. `plan` is a `Plan`, the tuple of the arrays of `tracks.Nodes` from `rows` on.
"""

import math
from typing import NamedTuple

import numba
import numpy as np

Plan = tuple[np.ndarray, ...]
"""The arrays of `tracks.Nodes` from `rows` on."""


class Tracks(NamedTuple):
    """Samples sorted by baseline, then by time, and the directions of a tile.

    Parameters
    ----------
    uvw : (row, 3) float64
        [m]
    time : (row,) float64
        [s]
    reach : (direction, 3) float64
        Corners and edges of the tile as seen from its middle.
    wave : float
        Phase per path difference at the highest frequency [rad/m].
    tolerance : float
        Largest error of an interpolated phase [rad].
    amplification : float
        Largest sum of the absolute interpolation weights of a row.
    """

    uvw: np.ndarray
    time: np.ndarray
    reach: np.ndarray
    wave: float
    tolerance: float
    amplification: float


@numba.njit(nogil=True, cache=True)
def cut_tracks(
    tracks: Tracks, starts: np.ndarray, capacity: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Divide tracks into blocks of rows, and find the nodes and interpolation weights of each block.

    Parameters
    ----------
    tracks : Tracks
    starts : (track + 1,) int64
        First row of each track, and the end.
    capacity : (number,) float64
        Half of the phase range that 1, 2, ... nodes can represent [rad].

    Returns
    -------
    rows : (block + 1,) int64
        First row of each block, and the end.
    picked : (block, 2 number) int32
        Rows of the nodes.
    times : (block,) int64
        Number of nodes of each block.
    weights : (weight,) float32
        Interpolation weights of the rows.
    extent : (block,) float64
        Largest path difference of the tile's directions [m].
    """
    uvw, reach = tracks.uvw, tracks.reach
    count, most = len(uvw), len(capacity)
    rows = np.empty(count + 1, np.int64)
    picked = np.empty((count, 2 * most), np.int32)
    times, extent = np.empty(count, np.int64), np.empty(count)
    weights = np.empty(count * 2 * most, np.float32)
    grown = np.empty(len(reach))
    blocks = at = rough = 0  # `rough` is the end of rows that are not smooth: they are nodes themselves
    for track in range(len(starts) - 1):
        begin, end = starts[track], starts[track + 1]
        while begin < end:
            limit = min(end, begin + most) if begin < rough else end
            stop, turned = _longest_block(uvw, reach, tracks.wave, begin, limit, 2 * capacity[most - 1], most, grown)
            n, p = stop - begin, _node_count(capacity, turned)
            if begin < rough or n < 2 * p or 2 * capacity[p - 1] < turned:
                p = n = min(n, 2 * most)
                stop = begin + n
                _keep_rows(begin, n, picked, blocks, weights, at)
            else:
                _pick(tracks.time, begin, stop, p, picked[blocks])
                if not _weigh(tracks, begin, stop, p, picked[blocks], weights[at:]):
                    rough = stop
                    continue
            rows[blocks], times[blocks], extent[blocks] = begin, p, _farthest(uvw[begin:stop], reach)
            blocks, at, begin = blocks + 1, at + n * p, stop
    rows[blocks] = count
    return (
        rows[: blocks + 1].copy(),
        picked[:blocks].copy(),
        times[:blocks].copy(),
        weights[:at].copy(),
        extent[:blocks].copy(),
    )


@numba.njit(nogil=True, cache=True)
def _longest_block(uvw, reach, wave, begin, limit, largest_phase, most, grown):
    """End of the longest block that `most` nodes can represent, and its phase range [rad]; `grown` is work space.

    The block has at least `most` rows, unless it ends at `limit`.
    """
    grown[:] = 0
    stop, turned = begin + 1, 0.0
    while stop < limit:
        largest = 0.0
        for d in range(len(reach)):
            step = 0.0
            for k in range(3):
                step += (uvw[stop, k] - uvw[stop - 1, k]) * reach[d, k]
            grown[d] += abs(step) * wave
            largest = max(largest, grown[d])
        if largest > largest_phase and stop - begin >= most:
            break
        turned, stop = largest, stop + 1
    return stop, turned


@numba.njit(nogil=True, cache=True)
def _node_count(capacity, turned):
    """Smallest number of nodes that represent a phase range of `turned` rad; the largest number if none does."""
    p = 1
    while p < len(capacity) and 2 * capacity[p - 1] < turned:
        p += 1
    return p


@numba.njit(nogil=True, cache=True)
def _keep_rows(begin, n, picked, block, weights, at):
    """Make each of `n` rows a node of the block; its weights begin at the index `at`."""
    for j in range(n):
        picked[block, j] = begin + j
        for k in range(n):
            weights[at + j * n + k] = 1.0 if j == k else 0.0


@numba.njit(nogil=True, cache=True)
def _farthest(uvw, reach):
    """Largest path difference of the directions over some rows [m]."""
    far = 0.0
    for r in range(len(uvw)):
        for d in range(len(reach)):
            path = 0.0
            for k in range(3):
                path += uvw[r, k] * reach[d, k]
            far = max(far, abs(path))
    return far


@numba.njit(nogil=True, cache=True)
def _pick(time, begin, stop, p, picked):
    """Pick distinct rows near the Chebyshev nodes in time; there must be at least twice as many rows as nodes."""
    low, high = time[begin], time[stop - 1]
    row = begin
    for j in range(p):
        wanted = 0.5 * (low + high) - 0.5 * (high - low) * np.cos(np.pi * (2 * j + 1) / (2 * p))
        last = stop - p + j  # leaves rows for the remaining nodes
        while row < last and abs(time[row + 1] - wanted) <= abs(time[row] - wanted):
            row += 1
        picked[j] = row
        row += 1


@numba.njit(nogil=True, cache=True)
def _weigh(tracks, begin, stop, p, picked, weights):
    """Compute the Lagrange polynomials of each row; return whether they reproduce its uvw and do not amplify errors."""
    time, uvw, reach = tracks.time, tracks.uvw, tracks.reach
    for r in range(begin, stop):
        total = 0.0
        for j in range(p):
            value = 1.0
            for k in range(p):
                if k != j:
                    value *= (time[r] - time[picked[k]]) / (time[picked[j]] - time[picked[k]])
            weights[(r - begin) * p + j] = value
            total += abs(value)
        if total > tracks.amplification:
            return False
        for d in range(len(reach)):
            path = 0.0
            for k in range(3):
                there = uvw[r, k]
                for j in range(p):
                    there -= weights[(r - begin) * p + j] * uvw[picked[j], k]
                path += there * reach[d, k]
            # One or two nodes cannot reproduce a curved track, but their small phase range limits the error.
            if abs(path) * tracks.wave > tracks.tolerance and p > 2:
                return False
    return True


@numba.njit(nogil=True, cache=True)
def gather(
    data: np.ndarray, weight: np.ndarray, out: np.ndarray, turn: np.ndarray, freq: np.ndarray, step: float, plan: Plan
) -> None:
    """Sum weighted samples to the nodes, by the transpose of `spread`; without data, sum the weights."""
    rows, first, times, at, on_time, kind, bands, band, on_freq = plan
    along, waves = np.empty(freq.size, np.complex128), np.empty(freq.size, np.complex128)
    for b in range(len(times)):
        p = times[b]
        width = (first[b + 1] - first[b]) // p
        for r in range(rows[b], rows[b + 1]):
            along[:width] = 0
            _fill(waves, -turn[r], freq, step)
            for i in range(bands[kind[b]], bands[kind[b] + 1]):
                c0, c1, q, w0, k0 = band[i]
                for c in range(c0, c1):
                    value = data[r, c] * waves[c] * weight[r, c] if data.size else weight[r, c] + 0j
                    for k in range(q):
                        along[k0 + k] += on_freq[w0 + (c - c0) * q + k] * value
            for j in range(p):
                share = on_time[at[b] + (r - rows[b]) * p + j]
                if share != 0:
                    node = first[b] + j * width
                    for k in range(width):
                        out[node + k] += share * along[k]


@numba.njit(nogil=True, cache=True)
def spread(values: np.ndarray, out: np.ndarray, turn: np.ndarray, freq: np.ndarray, step: float, plan: Plan) -> None:
    """Interpolate from the nodes to the samples, and add the result to `out`."""
    rows, first, times, at, on_time, kind, bands, band, on_freq = plan
    along, waves = np.empty(freq.size, np.complex128), np.empty(freq.size, np.complex128)
    for b in range(len(times)):
        p = times[b]
        width = (first[b + 1] - first[b]) // p
        for r in range(rows[b], rows[b + 1]):
            along[:width] = 0
            for j in range(p):
                share = on_time[at[b] + (r - rows[b]) * p + j]
                if share != 0:
                    node = first[b] + j * width
                    for k in range(width):
                        along[k] += share * values[node + k]
            _fill(waves, turn[r], freq, step)
            for i in range(bands[kind[b]], bands[kind[b] + 1]):
                c0, c1, q, w0, k0 = band[i]
                for c in range(c0, c1):
                    value = 0j
                    for k in range(q):
                        value += on_freq[w0 + (c - c0) * q + k] * along[k0 + k]
                    out[r, c] += value * waves[c]


@numba.njit(nogil=True, cache=True)
def _fill(waves, turn, freq, step):
    """Compute exp(i turn freq) of each channel.

    For evenly spaced channels each value is the previous one times a constant, restarted every 64 channels to limit
    rounding errors.
    """
    more = turn * step
    turned, wave = complex(math.cos(more), math.sin(more)), 1.0 + 0j
    for c in range(freq.size):
        if step == 0.0 or c % 64 == 0:
            phase = turn * freq[c]
            wave = complex(math.cos(phase), math.sin(phase))
        waves[c] = wave
        wave *= turned

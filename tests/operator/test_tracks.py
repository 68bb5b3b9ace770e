"""Fewer samples for a tile: as exact as the operator promises, whatever the tracks look like."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from radrim.geometry import C, ImageGrid, n_minus_1
from radrim.operator import make_operator
from radrim.operator.tracks import Compressed, Track, find_nodes
from radrim.visibilities import Visibilities

EPSILON = 1e-4
TURN = 7.2921e-5
"""Of the earth [rad/s]."""


class Array:
    """A few antennas that follow a field while the earth turns; rows by baseline, then time."""

    def __init__(self, antennas=8, times=60, seconds=4.0, freq=None, seed=1):
        rng = np.random.default_rng(seed)
        x, y, z = rng.normal(size=(3, antennas)) * np.exp(0.7 * rng.normal(size=antennas)) * 800
        first, second = np.triu_indices(antennas, 1)
        bx, by, bz = (a[second] - a[first] for a in (x, y, z))
        self.freq = 150e6 + 40e3 * np.arange(32) if freq is None else freq
        when = np.arange(times) * seconds
        sin, cos = np.sin(TURN * when + 0.3), np.cos(TURN * when + 0.3)
        u = np.outer(bx, sin) + np.outer(by, cos)
        v = 0.4 * (np.outer(by, sin) - np.outer(bx, cos)) + 0.9 * bz[:, None]
        w = 0.9 * (np.outer(bx, cos) - np.outer(by, sin)) + 0.4 * bz[:, None]
        self.uvw = np.stack([u, v, w], 2).reshape(-1, 3)
        self.time = np.tile(when, len(first))
        self.antenna = np.stack([np.repeat(first, times), np.repeat(second, times)], 1)
        draw = rng.normal(size=(2, len(self.uvw), len(self.freq)))
        self.data = torch.from_numpy((draw[0] + 1j * draw[1]).astype(np.complex64))
        self.weight = torch.from_numpy(rng.random(self.data.shape).astype(np.float32))

    def select(self, keep):
        """Only some of the rows."""
        for name in ("uvw", "time", "antenna"):
            setattr(self, name, getattr(self, name)[keep])
        self.data, self.weight = self.data[keep], self.weight[keep]

    def tile(self, size=128, of=1024, y=0, x=0):
        """A part of an image with about four pixels per beam."""
        longest = np.hypot(*self.uvw[:, :2].T).max() * self.freq[-1] / C
        grid = ImageGrid(of, of, 0.25 / longest)
        return grid.region(slice(y, y + size), slice(x, x + size))

    def nodes(self, tile):
        return find_nodes(self.uvw, self.freq, self.time, self.antenna, tile, EPSILON)

    def block(self):
        return Visibilities(self.uvw, self.freq, self.data.numpy(), self.weight.numpy(), self.time, self.antenna)


def predict(through, sky, blocks):
    """What each block of samples sees of a sky."""
    out = [np.zeros(block.data.shape, np.complex64) for block in blocks]
    for block, nodes, values, one in zip(blocks, through.nodes, through.forward(sky), out, strict=True):
        Track(block.uvw, block.freq, through.grid, nodes).distribute(values, one)
    return out


def check(array, tile, kind="nufft", at_peak=True):
    """Adjoint, forward and PSF keep epsilon, and forward and adjoint are each other's transpose."""
    blocks = [array.block()]
    through = Compressed(blocks, tile, kind, EPSILON)
    exact = make_operator("nufft", array.uvw, array.freq, tile, 1e-9)
    data, weight = array.data, array.weight
    truth = exact.adjoint(data.to(torch.complex128), weight.double())
    image = torch.from_numpy(through.adjoint([array.data.numpy()]))
    assert (image - truth).abs().max() <= 5 * EPSILON * truth.abs().max()
    sky = torch.randn(tile.shape, generator=torch.Generator().manual_seed(3))
    predicted, truth = torch.from_numpy(predict(through, sky, blocks)[0]), exact.forward(sky.double())
    assert (predicted - truth).norm() <= 5 * EPSILON * truth.norm()
    gap = torch.vdot((weight * data).flatten(), predicted.flatten()).real - (image * sky).sum()
    assert gap.abs() <= 1e-5 * (weight * data).norm() * predicted.norm()
    if not at_peak:
        return
    psf, truth = through.psf(), exact.psf(weight.double())
    assert (torch.from_numpy(psf) - truth).abs().max() <= 5 * EPSILON * truth.max()
    assert psf[tile.height // 2, tile.width // 2] == pytest.approx(float(weight.sum()), rel=5 * EPSILON)


@pytest.mark.parametrize("kind", ["nufft", "wgridder"])
@pytest.mark.parametrize("y, x", [(0, 0), (448, 448), (896, 300)])
def test_as_exact_as_without(kind, y, x):
    """At the corner and in the middle of a field of eight degrees; a tile needs a small part of the samples."""
    array = Array()
    tile = array.tile(y=y, x=x)
    assert len(array.nodes(tile).uvw) < 0.02 * array.data.numel()
    check(array, tile, kind)


def test_several_blocks_are_as_one():
    """Spectral windows, and parts of one, together give what a single block does."""
    array = Array()
    tile, whole = array.tile(), array.block()
    rows = slice(0, 600), slice(600, None)
    parts = [replace(whole, **{n: getattr(whole, n)[r] for n in ("uvw", "data", "weight", "time", "antenna")})
             for r in rows]  # fmt: skip
    blocks = [half for part in parts for half in (part.select_channels(np.arange(32) < 10),
                                                  part.select_channels(np.arange(32) >= 10))]  # fmt: skip
    one, several = Compressed([whole], tile, "nufft", EPSILON), Compressed(blocks, tile, "nufft", EPSILON)
    image = one.adjoint([whole.data])
    assert np.abs(several.adjoint([b.data for b in blocks]) - image).max() <= 5 * EPSILON * np.abs(image).max()
    sky = np.random.default_rng(2).normal(size=tile.shape)
    seen, parts = predict(one, sky, [whole])[0], predict(several, sky, blocks)
    joined = np.block([[parts[0], parts[1]], [parts[2], parts[3]]])
    assert np.linalg.norm(joined - seen) <= 5 * EPSILON * np.linalg.norm(seen)


def test_beyond_the_horizon():
    """A tile whose middle lies below the horizon still sees the sky in its corner, and nothing else."""
    array = Array(antennas=5, times=20)
    grid = ImageGrid(256, 256, 0.02)
    tile = grid.region(slice(56, 120), slice(56, 120))
    assert not np.isfinite(tile.middle[2])
    assert np.isfinite(n_minus_1(tile.l()[-1], tile.m()[-1]))
    check(array, tile, at_peak=False)


def test_smaller_tiles_need_fewer_nodes():
    """That is what makes many tiles cost less than many times all samples."""
    array = Array(times=480, freq=np.linspace(130e6, 170e6, 200))
    counts = [len(array.nodes(array.tile(size, y=512 - size // 2, x=512 - size // 2)).uvw) for size in (1024, 256, 64)]
    assert counts[0] > 4 * counts[1] > 16 * counts[2]


@pytest.mark.parametrize("freq", [np.array([150e6]), 150e6 + np.array([0, 1, 2, 5, 6, 40, 41, 42, 43, 90]) * 2e5])
def test_one_channel_and_uneven_ones(freq):
    """Channels need not be evenly spaced."""
    array = Array(freq=freq, times=200)
    check(array, array.tile())


def test_gaps():
    """Flagged rows are absent: intervals along a track differ."""
    array = Array(times=200)
    array.select(np.random.default_rng(4).random(len(array.uvw)) < 0.4)
    check(array, array.tile())


def test_rough_tracks_are_left_alone():
    """Where uvw jumps from row to row nothing can be interpolated, and the samples stay as they are."""
    array = Array(times=200)
    jump = np.random.default_rng(5).normal(size=array.uvw.shape)
    some = array.antenna[:, 0] == 0
    array.uvw[some] += 3 * jump[some]
    check(array, array.tile())
    array.uvw += 3 * jump
    assert len(array.nodes(array.tile()).uvw) >= 0.03 * array.data.numel()  # fewer only along the band


def test_without_gain_every_sample_is_a_node():
    """Long integrations on a wide field, rows in another order, no rows: the result is right all the same."""
    array = Array(seconds=600.0, times=10, freq=np.array([150e6]))
    assert len(array.nodes(array.tile(512)).uvw) > 0.9 * array.data.numel()
    check(array, array.tile(512))
    array = Array(freq=np.array([150e6]))
    array.select(np.lexsort((array.antenna[:, 1], array.antenna[:, 0], array.time)))
    assert len(array.nodes(array.tile()).uvw) == array.data.numel()
    check(array, array.tile())
    array.select(np.zeros(len(array.uvw), bool))
    assert len(array.nodes(ImageGrid(64, 64, 1e-4)).uvw) == 0

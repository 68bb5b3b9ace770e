"""Fewer samples for a tile: as exact as the operator promises, whatever the tracks look like."""

import numpy as np
import pytest
import torch

from radrim.geometry import C, ImageGrid
from radrim.operator import make_operator
from radrim.operator.tracks import Compressed, find_nodes

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
        return grid.window(slice(y, y + size), slice(x, x + size))

    def nodes(self, tile):
        return find_nodes(self.uvw, self.freq, self.time, self.antenna, tile, EPSILON)

    def operators(self, tile, kind, threads=1):
        """Through nodes, and the exact one."""

        def make(uvw, freq):
            return make_operator(kind, uvw, freq, tile, EPSILON)

        through = Compressed(self.uvw, self.freq, tile, EPSILON, threads, self.nodes(tile), make)
        return through, make_operator("nufft", self.uvw, self.freq, tile, 1e-9)


def check(array, tile, kind="nufft", threads=1):
    """Adjoint, forward and PSF keep epsilon, and forward and adjoint are each other's transpose."""
    through, exact = array.operators(tile, kind, threads)
    data, weight = array.data, array.weight
    truth = exact.adjoint(data.to(torch.complex128), weight.double())
    image = through.adjoint(data, weight)
    assert (image - truth).abs().max() <= 5 * EPSILON * truth.abs().max()
    sky = torch.randn(tile.shape, generator=torch.Generator().manual_seed(3))
    predicted, truth = through.forward(sky), exact.forward(sky.double())
    assert (predicted - truth).norm() <= 5 * EPSILON * truth.norm()
    psf, truth = through.psf(weight), exact.psf(weight.double())
    assert (psf - truth).abs().max() <= 5 * EPSILON * truth.max()
    assert psf[tile.height // 2, tile.width // 2] == pytest.approx(float(weight.sum()), rel=5 * EPSILON)
    gap = torch.vdot((weight * data).flatten(), predicted.flatten()).real - (image * sky).sum()
    assert gap.abs() <= 1e-5 * (weight * data).norm() * predicted.norm()


@pytest.mark.parametrize("kind", ["nufft", "wgridder"])
@pytest.mark.parametrize("y, x", [(0, 0), (448, 448), (896, 300)])
def test_as_exact_as_without(kind, y, x):
    """At the corner and in the middle of a field of eight degrees; a tile needs a small part of the samples."""
    array = Array()
    tile = array.tile(y=y, x=x)
    assert len(array.nodes(tile).uvw) < 0.02 * array.data.numel()
    check(array, tile, kind)


def test_several_threads():
    """Parts of the rows in several threads give the same bytes as one."""
    array = Array()
    tile = array.tile()
    one, two = (array.operators(tile, "nufft", threads)[0] for threads in (1, 3))
    assert torch.equal(one.adjoint(array.data, array.weight), two.adjoint(array.data, array.weight))
    sky = torch.ones(tile.shape)
    assert torch.equal(one.forward(sky), two.forward(sky))


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


def test_without_gain_there_are_no_nodes():
    """Long integrations on a wide field, rows in another order, no rows: the caller takes all samples."""
    array = Array(seconds=600.0, times=10, freq=np.array([150e6]))
    assert array.nodes(array.tile(512)) is None
    array = Array(freq=np.array([150e6]))
    array.select(np.lexsort((array.antenna[:, 1], array.antenna[:, 0], array.time)))
    assert array.nodes(array.tile()) is None
    array.select(np.zeros(len(array.uvw), bool))
    assert array.nodes(ImageGrid(64, 64, 1e-4)) is None

"""Isolated points: their fluxes and places, and what is no point."""

import numpy as np
import pytest
import torch

from radrim.geometry import crop_centre
from radrim.rim.minor.points import PointFinder
from radrim.rim.network.psf import PsfConvolution


def make_finder(psf, shape, **how):
    """A finder for a PSF whose highest sidelobe counts as 0.05, whatever it is."""
    finder = PointFinder(psf, shape, **how)
    finder.sidelobe = 0.05
    return finder


def take_all(sky, positive=True):
    """Isolated points as the major cycles find them, one trial after the other; how many the first one finds."""
    finder = make_finder(sky.psf, sky.dirty.shape, positive=positive)
    points, rest, first = finder.take(sky.dirty, sky.noise, sky.see)
    for _ in range(3):
        more, rest, _ = finder.take(rest, sky.noise, sky.see)
        points = points + more
    return points, rest, first


def test_isolated_points_are_exact(seen_sky):
    """Points that stand by themselves get their flux in their pixel, to the noise."""
    places = ((40, 60, 1.0), (90, 110, 0.3), (200, 90, 0.1))
    sky = seen_sky((256, 320), places)
    points, _, count = take_all(sky)
    assert set(zip(*np.nonzero(points), strict=True)) == {place[:2] for place in places}
    assert count == len(places)
    for y, x, flux in places:
        assert points[y, x] == pytest.approx(flux, rel=0.01, abs=5 * sky.noise)


@pytest.mark.parametrize("dy, dx", [(0.5, 0.5), (0.3, -0.1), (0.0, 0.4)])
@pytest.mark.parametrize("positive", [True, False])
def test_points_between_pixels(dy, dx, positive, seen_sky):
    """A point's flux and place do not depend on where it lies in its pixel; what is left of it is noise."""
    sky = seen_sky((256, 320), ())
    truth = [(40 + dy, 60 + dx, 1.0), (90 - dy, 110 + dx, 0.3), (200 + dx, 90 - dy, 0.3 if positive else -0.3)]
    for y, x, flux in truth:
        sky.dirty = sky.dirty + flux * sky.point(y, x)
    points, rest, count = take_all(sky, positive)
    assert count == len(truth)
    assert np.abs(rest).max() < 7 * sky.noise
    for y, x, flux in truth:
        box = slice(round(y) - 8, round(y) + 9), slice(round(x) - 8, round(x) + 9)
        rows, columns = np.ogrid[box]
        assert points[box].sum() == pytest.approx(flux, abs=0.01)
        assert (points[box] * rows).sum() / points[box].sum() == pytest.approx(y, abs=0.04)
        assert (points[box] * columns).sum() / points[box].sum() == pytest.approx(x, abs=0.04)


def wide_point(sky, y, x, variance):
    """A Gaussian as the PSF shows it: points at the nodes of Gauss and Hermite, variances along y and x [pixel^2]."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(4)
    weights = weights / weights.sum()
    root = np.sqrt(variance)
    return sum(
        a * b * sky.point(y + root[0] * j, x + root[1] * i)
        for a, j in zip(weights, nodes, strict=True)
        for b, i in zip(weights, nodes, strict=True)
    )


@pytest.mark.parametrize("variance", [(0.25, 0.25), (0.0, 0.25), (0.4, 0.25)])
@pytest.mark.parametrize("dy, dx", [(0.0, 0.0), (0.45, -0.3)])
def test_points_a_little_wider_than_one(dy, dx, variance, seen_sky):
    """Sources barely resolved are taken out to the noise, with their flux, place and size; next to nothing is left."""
    sky = seen_sky((256, 320), ())
    truth = [(40 + dy, 60 + dx, 1.0), (90 - dy, 110 + dx, 0.5)]
    for y, x, flux in truth:
        sky.dirty = sky.dirty + np.float32(flux) * wide_point(sky, y, x, variance).astype(np.float32)
    points, rest, count = take_all(sky)
    assert count == len(truth)
    assert np.abs(rest).max() < 0.01 + 7 * sky.noise
    for y, x, flux in truth:
        box = slice(round(y) - 8, round(y) + 9), slice(round(x) - 8, round(x) + 9)
        total, along = points[box].sum(), np.ogrid[box]
        assert total == pytest.approx(flux, rel=0.02)
        for axis, at, wide in zip(along, (y, x), variance, strict=True):
            middle = (points[box] * axis).sum() / total
            assert middle == pytest.approx(at, abs=0.04)
            assert (points[box] * (axis - middle) ** 2).sum() / total == pytest.approx(wide, abs=0.04)


def test_points_without_sizes(seen_sky):
    """Where a spectrum looks like a size a point in the middle of its pixel stays there."""
    sky = seen_sky((256, 320), ())
    sky.dirty = sky.dirty + wide_point(sky, 60, 150, (0.22, 0.0)).astype(np.float32)
    for sizes in (True, False):
        finder = make_finder(sky.psf, sky.dirty.shape, sizes=sizes)
        points, _, count = finder.take(sky.dirty, sky.noise, sky.see)
        assert count == 1
        assert (np.count_nonzero(points) > 1) == sizes


def test_what_goes_up_and_down_under_points_makes_them_no_wider(seen_sky):
    """Points on the crests of faint waves, as sidelobes of a crowded field are, stay in their pixels."""
    places = [(32, 64, 1.0), (96, 128, 0.3), (192, 96, 0.2)]
    sky = seen_sky((256, 320), places)
    y, x = np.indices(sky.dirty.shape)
    waves = 0.005 * np.cos(2 * np.pi * y / 32) * np.cos(2 * np.pi * x / 32)
    finder = make_finder(sky.psf, sky.dirty.shape)
    points, _, count = finder.take(sky.dirty + waves.astype(np.float32), sky.noise, sky.see)
    assert count == len(places)
    assert set(zip(*np.nonzero(points), strict=True)) == {place[:2] for place in places}


def test_two_points_close_together_are_no_wide_one(seen_sky):
    """A pair that no Gaussian explains is left to the network."""
    sky = seen_sky((256, 320), ((60, 60, 1.0), (62, 62, 0.6)))
    points, rest, count = make_finder(sky.psf, sky.dirty.shape).take(sky.dirty, sky.noise, sky.see)
    assert count == 0
    assert not points.any()
    assert rest is sky.dirty


def test_extended_emission_has_no_points(seen_sky):
    """Blobs twice as wide as the beam, smooth or close together, are left to the network."""
    for sources in (((40, 60, 100.0),), ((40, 60, 60.0), (46, 68, 40.0), (100, 120, 5.0))):
        sky = seen_sky(sources=sources, width=4.0)
        points, rest, _count = make_finder(sky.psf, sky.dirty.shape).take(sky.dirty, sky.noise, sky.see)
        assert not points.any()
        assert rest is sky.dirty


def test_a_point_on_extended_emission(seen_sky):
    """A point beside an extended source is found; the source stays in the rest."""
    sky = seen_sky((256, 320), ((60, 60, 50.0),), width=4.0)
    sky.dirty = sky.dirty + sky.point(200, 250)
    points, rest, _count = make_finder(sky.psf, sky.dirty.shape).take(sky.dirty, sky.noise, sky.see)
    assert set(zip(*np.nonzero(points), strict=True)) == {(200, 250)}
    assert points[200, 250] == pytest.approx(1.0, rel=0.02)
    assert rest.max() == pytest.approx(sky.dirty.max(), rel=0.05)


def test_what_a_network_leaves_of_emission_costs_no_long_trial(seen_sky, monkeypatch):
    """Errors of known emission have no points: a trial near the brightest is all. A point far away is found as ever."""
    sky = seen_sky((256, 320), ((60, 60, 50.0),), width=4.0)
    ny, nx = sky.dirty.shape
    y, x = np.ogrid[:ny, :nx]
    known = np.exp(-0.5 * ((y - 60) ** 2 + (x - 60) ** 2) / 4.0**2).astype(np.float32)
    known *= 50 / known.sum()
    left = (0.02 * sky.see(known) * np.cos(0.6 * x) + sky.noise * np.cos(1.3 * y)).astype(np.float32)
    parts, once = [], PointFinder._try

    def seen(self, residual, level, where):
        parts.append(1.0 if where is None else where.mean())
        return once(self, residual, level, where)

    monkeypatch.setattr(PointFinder, "_try", seen)
    for flux, trials in ((0.0, 1), (1.0, 2)):
        parts.clear()
        residual = left + flux * sky.point(200, 250)
        finder = make_finder(sky.psf, sky.dirty.shape)
        points, _, count = finder.take(residual, sky.noise, sky.see, extended=known)
        assert count == bool(flux)
        assert len(parts) <= trials
        assert all(part < 0.3 for part in parts[:1])
        assert parts[1:] == [1.0] * len(parts[1:])
        assert points.sum() == pytest.approx(flux, abs=0.03)


def test_points_with_a_small_psf(seen_sky):
    """A PSF no larger than the image is enough: what it does not say counts as 0, as in the convolution."""
    sky = seen_sky((128, 160), ((10, 12, 1.0), (118, 150, 0.5)))
    narrow = np.ascontiguousarray(crop_centre(sky.psf, sky.dirty.shape))
    convolution = PsfConvolution(torch.from_numpy(narrow), sky.dirty.shape)

    def see(image):
        return convolution.normal(torch.from_numpy(image)).numpy()

    points, _, _ = make_finder(narrow, sky.dirty.shape).take(sky.dirty, sky.noise, see)
    assert points[10, 12] == pytest.approx(1.0, rel=0.02)
    assert points[118, 150] == pytest.approx(0.5, rel=0.02)


def test_points_stay_in_the_mask(seen_sky):
    """Outside the mask nothing is a point."""
    sky = seen_sky(sources=((40, 60, 1.0), (90, 110, 0.5)))
    mask = np.zeros_like(sky.truth, bool)
    mask[30:50, 50:70] = True
    points, _, _ = make_finder(sky.psf, sky.dirty.shape).take(sky.dirty, sky.noise, sky.see, mask)
    assert set(zip(*np.nonzero(points), strict=True)) == {(40, 60)}
    sky.dirty = sky.dirty + sky.point(32.4, 60.5)  # too near to the mask's edge for all the pixels it would need
    points, _, _ = make_finder(sky.psf, sky.dirty.shape).take(sky.dirty, sky.noise, sky.see, mask)
    assert points.any()
    assert not points[~mask].any()


@pytest.mark.parametrize("positive", [True, False])
def test_negative_points(positive, seen_sky):
    """In Stokes Q, U and V points have either sign, in I only one."""
    sky = seen_sky(sources=((40, 60, 1.0), (90, 110, -0.5)))
    finder = make_finder(sky.psf, sky.dirty.shape, positive=positive)
    points, _, _ = finder.take(sky.dirty, sky.noise, sky.see)
    assert points[40, 60] == pytest.approx(1.0, rel=0.05)
    assert points[90, 110] == pytest.approx(0 if positive else -0.5, rel=0.02)


def test_arrays_that_see_no_shape_along_an_axis():
    """A PSF that is the same everywhere along an axis, or everywhere, is no fault: no place or size is known there."""
    x = np.arange(128) - 64
    for psf in (np.cos(0.4 * x) * np.ones((128, 1)), np.ones((128, 128)), np.eye(128)[64] * np.eye(128)[64][:, None]):
        finder = PointFinder(psf.astype(np.float32), (64, 64))
        assert np.isfinite(finder.near.scatter).all()
        assert np.isfinite(finder.near.worst).all()

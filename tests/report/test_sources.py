"""Sources in restored images: found, measured and matched."""

# l and m are the direction cosines of the measurement equation.

import math

import numpy as np
import pytest

from radrim.beam import Beam, restore
from radrim.comparison.truth import read_truth
from radrim.geometry import ARCSEC, ImageGrid
from radrim.report.sources import SOURCE, count_holes, find_sources, join
from radrim.sky.catalogue import offset_position

GRID = ImageGrid(240, 200, 2 * ARCSEC, ra=1.0, dec=0.3)
BEAM = Beam(10 * ARCSEC, 7 * ARCSEC, 0.7)
NOISE = 1e-3


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    """Twenty points between pixels, 15 to 150 sigma: (l, m, flux), and how to see them with noise."""
    rng = np.random.default_rng(3)
    x, y = (c.ravel() for c in np.meshgrid(np.linspace(30, 210, 5), np.linspace(30, 170, 4)))
    x, y = x + rng.uniform(-3, 3, x.size), y + rng.uniform(-3, 3, y.size)
    flux = NOISE * np.geomspace(15, 150, x.size)
    l, m = -(x - GRID.width // 2) * GRID.scale, (y - GRID.height // 2) * GRID.scale
    path = tmp_path_factory.mktemp("sky") / "sky.csv"
    rows = [",".join(map(repr, map(float, (*np.degrees(offset_position(a, b, GRID.ra, GRID.dec)), s))))
            for a, b, s in zip(l, m, flux, strict=True)]  # fmt: skip
    path.write_text("ra_deg,dec_deg,i_jy\n" + "\n".join(rows) + "\n")
    seen = restore(read_truth(path, GRID, 1.4e9)[0], BEAM, GRID.scale)
    return l, m, flux, seen


def noisy(seen, seed):
    """`seen` with noise that is correlated over a beam."""
    grains = restore(np.random.default_rng(seed).normal(size=GRID.shape).astype(np.float32), BEAM, GRID.scale)
    return seen + NOISE * grains / grains.std()


def test_flux_and_position_are_right_within_their_errors(field):
    """Points of 15 to 150 sigma: no measurement is off by more than five of its errors, and these are no excuses."""
    l, m, flux, seen = field
    off = []
    for seed in range(4):
        sources = find_sources(noisy(seen, seed), NOISE, BEAM, GRID)
        assert len(sources) == len(flux)
        order = [int(np.hypot(sources["l"] - a, sources["m"] - b).argmin()) for a, b in zip(l, m, strict=True)]
        assert len(set(order)) == len(flux)
        found = sources[order]
        off.append([(found["flux"] - flux) / found["flux_error"], (found["l"] - l) / found["l_error"],
                    (found["m"] - m) / found["m_error"]])  # fmt: skip
    off = np.array(off)
    assert np.abs(off).max() < 5
    assert (off.std(axis=(0, 2)) > 0.4).all()
    assert (off.std(axis=(0, 2)) < 2).all()
    assert (np.abs(off.mean(axis=(0, 2))) < 0.6).all()


def test_flux_of_a_bright_source_is_exact(field):
    """Without noise to speak of, the wings outside the island are in its flux: within half a per cent."""
    *_, flux, seen = field
    sources = find_sources(seen, NOISE, BEAM, GRID)
    assert sources["flux"][0] == pytest.approx(flux[-1], rel=5e-3)
    assert (np.diff(sources["peak"]) <= 0).all()


def test_an_extended_source_is_one_island():
    """A Gaussian of five beams is one source with all its flux, and its peak is below its flux."""
    model = np.zeros(GRID.shape, np.float32)
    model[100, 120] = 1.0
    wide = Beam(50 * ARCSEC, 50 * ARCSEC, 0.0)
    model = restore(model, wide, GRID.scale) / wide.area(GRID.scale)
    (source,) = find_sources(restore(model, BEAM, GRID.scale), 1e-4, BEAM, GRID)
    assert source["flux"] == pytest.approx(1.0, rel=0.01)
    assert source["peak"] < 0.05
    assert (source["x"], source["y"]) == pytest.approx((120, 100), abs=0.01)


def test_noise_alone_has_no_sources_and_holes_are_counted():
    """Nothing is found in noise; a negative source is a hole and no source; an empty image is no error."""
    noise = noisy(np.zeros(GRID.shape, np.float32), 9)
    assert len(find_sources(noise, NOISE, BEAM, GRID)) == 0
    assert count_holes(noise, NOISE) == 0
    point = np.zeros(GRID.shape, np.float32)
    point[50, 60] = -20 * NOISE
    seen = noise + restore(point, BEAM, GRID.scale)
    assert len(find_sources(seen, NOISE, BEAM, GRID)) == 0
    assert count_holes(seen, NOISE) == 1


def at(*places):
    """Sources at places (l, m) in units of an elongated beam's axes."""
    found = np.zeros(len(places), SOURCE)
    found["l"], found["m"] = found["l_peak"], found["m_peak"] = np.array(places).T
    return found


def test_sources_are_matched_within_a_beam():
    """The beam counts as it lies: along its major axis they may be further apart than across; pairs are one to one."""
    beam = Beam(2.0, 0.5, math.pi / 2)  # along east and west
    here, there = at((0, 0), (10, 10)), at((1.9, 0), (10, 10.6), (0.5, 0.0))
    indices = join({"a": here, "b": there}, beam)
    rows = sorted(zip(indices["a"].tolist(), indices["b"].tolist(), strict=True))
    assert rows == [(-1, 0), (-1, 1), (0, 2), (1, -1)]


def test_extended_sources_are_matched_by_their_peaks():
    """An island of which one image shows a part only: its centroid is elsewhere, its brightest pixel is not."""
    beam = Beam(2.0, 2.0, 0.0)
    here, there = at((0, 0), (9, 9)), at((5, 0), (9, 9))
    there["l_peak"][0] = 0.5
    indices = join({"a": here, "b": there}, beam)
    assert [column.tolist() for column in indices.values()] == [[0, 1], [0, 1]]


def test_peak_is_the_brightest_pixel(field):
    """Its place and its value are those of the image's maximum."""
    seen = field[-1]
    source = find_sources(seen, NOISE, BEAM, GRID)[0]
    y, x = (round(float(c)) for c in GRID.pixel(source["l_peak"], source["m_peak"]))
    assert seen[y, x] == seen.max() == source["peak"]


def test_what_only_later_images_have_is_matched_among_them():
    """A source that the truth does not have, but both images do, is one row."""
    beam = Beam(1.0, 1.0, 0.0)
    indices = join({"truth": at((0, 0)), "a": at((5, 5), (0.1, 0)), "b": at((5.1, 5))}, beam)
    assert [column.tolist() for column in indices.values()] == [[0, -1], [1, 0], [-1, 0]]

from dataclasses import replace

import numpy as np
import pytest

from radrim.beam import Beam
from radrim.config.options import ImageConfig
from radrim.geometry import ARCSEC, ImageGrid
from radrim.imagers.grid import choose_grid, will_look
from radrim.imagers.quick_look import (
    FieldSettings,
    Look,
    Source,
    choose_width,
    describe_outside,
    find_sources,
    look_at,
)
from radrim.read.reader import read
from radrim.sky.catalogue import make_sky, offset_position

WIDE, BEAM = 4000 * ARCSEC, 4 * ARCSEC
PLACE = 2.0, 0.6
"""RA and Dec of the phase centre of `make_ms` [rad]."""


def source(l, m, flux, size=0.0):
    """A source at l and m, of some size [arcsec]."""
    l, m = l * ARCSEC, m * ARCSEC
    return Source(flux, l, m, max(abs(l), abs(m)) + size * ARCSEC)


def seen(*sources, noise=1e-3, sidelobe=0.01):
    grid = ImageGrid(1000, 1000, WIDE / 1000, *PLACE)
    sidelobes = np.where(np.arange(1500) < 3, 1.0, sidelobe)
    by_reach = sorted(sources, key=lambda one: one.reach)
    return Look(grid, Beam(BEAM, BEAM, 0.0), by_reach, noise, sidelobes)


def options(**values):
    return ImageConfig.parse("obs.ms", values)


@pytest.fixture(scope="module")
def make_observation(make_ms):
    """Observations of points at (l, m) [arcsec] with fluxes [Jy]; the primary beam is 4300 arcsec wide."""

    def make(*points):
        skies = [(*offset_position(l * ARCSEC, m * ARCSEC, *PLACE), flux) for l, m, flux in points]
        ra, dec, flux = (np.array(column) for column in zip(*skies, strict=True))
        stokes = np.stack([flux, *np.zeros((3, len(flux)))], 1)
        return read([make_ms(sky=make_sky(ra, dec, stokes, 1.4e9), times=8, noise=0.02)])

    return make


def test_field_holds_the_sources_with_a_margin():
    """The field is as wide as the outermost source needs, and a margin more."""
    width, outside = choose_width(seen(source(0, 0, 1.0), source(300, -500, 1.0, 20)), BEAM)
    assert width == pytest.approx(2 * FieldSettings.margin * 520 * ARCSEC)
    assert outside == []


def test_a_point_gets_room_for_its_noise():
    """The field of a single point is as wide as the settings say."""
    width, _ = choose_width(seen(source(0, 0, 1.0)), BEAM)
    assert width == pytest.approx(FieldSettings.beams * BEAM)


@pytest.mark.parametrize("sources", [(), (source(0, 0, 1.0), source(1300, 0, 1.0)), (source(0, 0, 1.0, 1450),)])
def test_the_primary_beam_is_kept_where_it_is_empty_or_full(sources):
    """No source, sources far out, or emission that fills the field: nothing is cut."""
    assert choose_width(seen(*sources), BEAM) == (WIDE, [])


def test_a_faint_distant_source_may_stay_outside():
    """It is far, faint beside the target, and its sidelobes lie below the noise; it is named with flux and place."""
    far = source(-1500, 700, 0.02)
    look = seen(source(0, 0, 1.0), far)
    width, outside = choose_width(look, BEAM)
    assert width < WIDE / 4
    assert outside == [far]
    text = describe_outside(outside, look.grid)
    assert "a distant source" in text
    assert "20 mJy at RA 114.0" in text
    assert "--size" in text


@pytest.mark.parametrize(
    "target, flux, noise, sidelobe, others",
    [
        (1.0, 0.2, 1e-2, 0.01, 0),  # a fifth of the target
        (1.0, 0.04, 1e-3, 0.1, 0),  # sidelobes of 4 noise
        (10.0, 0.1, 1e-3, 1e-4, 0),  # 100 noise
        (1.0, 0.02, 1e-3, 0.01, 12),  # one of many
    ],
)
def test_a_distant_source_that_matters_is_in_the_field(target, flux, noise, sidelobe, others):
    """Bright ones, those with sidelobes above the noise, and those of a crowded field are not left outside."""
    sources = [source(0, 0, target), *(source(10 * k - 60, 100, 0.1) for k in range(others))]
    far = source(-1500, 700, flux)
    assert choose_width(seen(*sources, far, noise=noise, sidelobe=sidelobe), BEAM) == (WIDE, [])


def test_look_finds_the_target_and_its_place(make_observation):
    """A bright point is found where it is, with its flux, beside a faint one; noise and sidelobes are not."""
    observation = make_observation((300, -200, 1.0), (-150, 400, 0.2))
    found = sorted(look_at(observation, WIDE).sources, key=lambda one: -one.flux)
    assert len(found) == 2
    for one, (l, m, flux) in zip(found, [(300, -200, 1.0), (-150, 400, 0.2)], strict=True):
        assert (one.l / ARCSEC, one.m / ARCSEC) == (pytest.approx(l, abs=8), pytest.approx(m, abs=8))
        assert one.flux == pytest.approx(flux, rel=0.1)


def test_look_is_the_same_each_time_and_leaves_the_data(make_observation):
    """The same data give the same field to the last bit, and keep their natural weights."""
    observation = make_observation((300, -200, 1.0))
    before = observation.blocks[0].weight.copy()
    first, second = look_at(observation, WIDE), look_at(observation, WIDE)
    assert first.sources == second.sources
    assert first.noise == second.noise
    np.testing.assert_array_equal(observation.blocks[0].weight, before)


def test_few_samples_are_drawn_of_many(make_observation):
    """A look at a part of the samples still finds a bright source."""
    from radrim.imagers.quick_look import LookSettings

    observation = make_observation((300, -200, 1.0))
    assert look_at(observation, WIDE, LookSettings(max_samples=400)).sources


def test_noise_alone_is_no_source(make_observation):
    """In an empty field nothing is found."""
    assert look_at(make_observation((0, 0, 1e-6)), WIDE).sources == []


def test_diffuse_emission_is_seen_in_smoothed_images():
    """Emission far below the noise of a pixel, over many pixels, is a source."""
    rng = np.random.default_rng(1)
    grid = ImageGrid(512, 512, ARCSEC)
    y, x = np.mgrid[:512, :512] - 256
    diffuse = 2.0 * np.exp(-((x - 60) ** 2 + y**2) / (2 * 30.0**2))
    residual = (rng.normal(size=(512, 512)) + diffuse).astype(np.float32)
    empty = np.zeros_like(residual)
    found = find_sources(empty, residual, empty, grid)
    assert len(found) == 1
    assert 60 < found[0].reach / ARCSEC < 150


def test_default_field_is_chosen_from_the_data(make_observation):
    """Without --size and --scale the image holds the sources, and says why; with either there is no look."""
    observation = make_observation((300, -200, 1.0))
    grid, reasons = choose_grid(observation, options())
    assert 2 * 300 * ARCSEC < grid.width * grid.scale < 0.7 * 4300 * ARCSEC
    assert "holds the source that a quick look at" in reasons[-1]
    for given in ({"scale": "3asec"}, {"size": "800 800"}, {"contsub": 0}, {"pol": "Q"}):
        assert not will_look(observation, options(**given))
    _, reasons = choose_grid(observation, options(), look=False)
    assert "looks for the sources first" in reasons[-1]
    assert "first null" in reasons[-1]


def test_mosaics_are_not_looked_at(make_observation):
    """Several pointings keep the field of all of them."""
    observation = make_observation((300, -200, 1.0))
    block = observation.blocks[0]
    observation.blocks = [block, replace(block, pointing=np.array([1e-3, 0.0]))]
    assert not will_look(observation, options())

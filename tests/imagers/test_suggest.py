import math
import re
from dataclasses import replace

import numpy as np
import pytest

from radrim.beam import Beam, fit_beam
from radrim.closure.read import field_of
from radrim.config.options import ImageConfig
from radrim.errors import ConfigError
from radrim.geometry import ARCSEC, C, ImageGrid, format_angle, parse_angle
from radrim.imagers import grid as suggest
from radrim.imagers.grid import check_scale, choose_grid
from radrim.measure.measurement import Measurement
from radrim.read.reader import read
from radrim.runtime.memory import plan_memory
from radrim.weight.imaging import apply_weights


def options(**values):
    return ImageConfig.parse("obs.ms", values)


@pytest.fixture
def observation(small_ms):
    return read([small_ms])


@pytest.mark.parametrize("weight", ["briggs 0", "uniform", "natural"])
@pytest.mark.parametrize("name", [None, "vla_3c391_4.6GHz.ms", "vlba_m87_8.1GHz_2006.ms"])
def test_scale_is_a_quarter_to_a_fifth_of_the_psf(request, observation, name, weight):
    """The PSF of the image that is made has 4 to 5 pixels across its narrow side, with each weighting."""
    if name:
        observation = read([request.getfixturevalue("shared_data") / "obs" / name])
    config = options(weight=weight, size=256)
    grid, reasons = choose_grid(observation, config)
    apply_weights(observation.blocks, grid, config.weight)
    beam = fit_beam(Measurement(observation.blocks, grid).psf(), grid.scale, 1 / observation.longest_baseline())
    assert 4 <= beam.minor / grid.scale <= 5.1
    assert f"Pixel scale {format_angle(grid.scale)}" in reasons[0]


def test_size_reaches_the_first_null(observation):
    """The image goes out to 1.22 wavelengths over the dish on each side, and the reason says so."""
    grid, reasons = choose_grid(observation, options(scale="4asec"))
    wanted = 2 * 1.22 * C / 1.395e9 / 25
    assert wanted <= grid.width * grid.scale <= 1.1 * wanted
    assert grid.width == grid.height
    assert reasons == [
        f"Image size {grid.width} x {grid.width} pixels, {format_angle(grid.width * grid.scale)}: "
        "out to the first null of the primary beam of 25 m antennas."
    ]


def test_given_scale_and_size_are_kept(observation):
    """What the user chose is not touched, and nothing is said about it."""
    grid, reasons = choose_grid(observation, options(scale="4asec", size="128 64"))
    assert grid == ImageGrid(128, 64, 4 * ARCSEC, observation.ra, observation.dec)
    assert reasons == []


def test_observation_is_not_changed(observation):
    """The trial image for the PSF leaves the natural weights as they are."""
    before = observation.blocks[0].weight.copy()
    choose_grid(observation, options())
    np.testing.assert_array_equal(observation.blocks[0].weight, before)


def test_vlbi_gets_a_small_image(shared_data):
    """The field of VLBI data is a few times what the baselines resolve, and never millions of pixels unasked."""
    observation = read([shared_data / "obs" / "vlba_m87_8.1GHz_2006.ms"])
    grid, reasons = choose_grid(observation, options())
    assert 256 <= grid.width == grid.height <= 1200
    assert 1.9 < grid.width * grid.scale / field_of(observation.blocks)[0] < 9
    assert "choose with --size" in reasons[-1]


def test_unknown_dish(observation):
    """Without a diameter the image is one degree wide, and the reason says why."""
    grid, reasons = choose_grid(replace(observation, dish_diameter=float("nan")), options(scale="7asec"))
    assert 1 <= math.degrees(grid.width * grid.scale) < 1.1
    assert "diameters are unknown" in reasons[-1]


def test_no_image_beyond_the_horizon(shared_data):
    """Dipoles see the whole sky: the image ends where the direction cosines do."""
    path = shared_data / "reader" / "test_adp4_0_00300673800807520000_58342_05_00_14.ms"
    grid, reasons = choose_grid(read([path]), options())
    assert 1.8 < grid.width * grid.scale <= 2
    assert "the whole sky above the horizon" in reasons[-1]


def test_scale_that_is_chosen_can_be_typed(observation):
    """The printed scale is, to the last bit, the one that is used."""
    grid, _ = choose_grid(observation, options(size=64))
    assert parse_angle(format_angle(grid.scale)) == grid.scale


def test_wide_psf_does_not_make_the_pixels_too_coarse(observation):
    """With a taper the PSF is wider than the longest baseline allows pixels to be; the baseline wins."""
    grid, reasons = choose_grid(observation, options(taper="100asec", size=64))
    check_scale(grid.scale, observation.longest_baseline())
    assert grid.scale > 0.9 / (2 * observation.longest_baseline())
    assert "required by the longest baseline" in reasons[0]


def test_impossible_psf_does_not_make_the_pixels_too_fine():
    """A fit that finds a PSF much narrower than any interferometer's is not believed."""
    scale, _ = suggest._choose_scale(Beam(1e-3, 1e-9, 0.0), 1e5)
    assert scale == pytest.approx(0.5e-5 / suggest.GridSettings.pixels_per_beam, rel=0.1)


@pytest.mark.parametrize("longest", [3.2, 1.58e4, 1.1e5, 8.3e9])
def test_too_coarse_a_scale(longest):
    """The message gives the limit, and both of its suggestions work."""
    limit = 1 / (2 * longest)
    check_scale(limit, longest)
    with pytest.raises(ConfigError) as error:
        check_scale(1.5 * limit, longest)
    text = str(error.value)
    assert f"(u or v of {longest:.3g} wavelengths)" in text
    stated = parse_angle(re.search(r"it must be at most (\S+)\. ", text)[1])
    assert 0.998 * limit < stated <= limit
    better = parse_angle(re.search(r"Use --scale (\S+),", text)[1])
    assert limit / 2 < better < limit
    check_scale(better, longest)
    shorter = float(re.search(r"--maxuv-l (\S+)\.$", text)[1])
    check_scale(1.5 * limit, shorter)
    assert shorter > 0.98 * longest / 1.5


def test_own_choice_fits_in_memory(observation):
    """A size that radrim chooses itself is never refused; the reason says that it was limited."""
    grid, reasons = choose_grid(observation, options(scale="4asec", memory="1GB"))
    assert plan_memory(grid.shape, options(memory="1GB"), 2).side == 0
    assert re.search(r"would need \d+ pixels; choose with --size", reasons[-1])

"""Images that reach beyond the horizon: what lies there is no noise, no emission, and no part of a mask."""

import numpy as np
import pytest
from astropy.io import fits

import radrim
from radrim.deconvolve.step_length import Change, Moments
from radrim.errors import InputError
from radrim.geometry import ImageGrid
from radrim.metrics import residual_noise, scatter
from radrim.read.mask import find_allowed
from radrim.rim.minor.detection import describe_noise, find_active
from radrim.simulation import simulate

WIDE = ImageGrid(128, 128, 0.05)
"""3.2 in each direction, of which 1 is above the horizon: 31 % of the pixels."""


@pytest.fixture
def noise_image(rng=None):
    """Noise of 1 above the horizon, 0 beyond."""
    image = np.random.default_rng(3).normal(0, 1, WIDE.shape).astype(np.float32)
    return np.where(WIDE.above_horizon(), image, np.float32(0))


def test_horizon_is_where_the_direction_cosines_end():
    """Pixels with l^2 + m^2 < 1; None for an image that does not reach so far."""
    sky = WIDE.above_horizon()
    assert sky.mean() == pytest.approx(np.pi / (128 * 0.05) ** 2, rel=0.02)
    assert sky[64, 64 + 19]
    assert not sky[64, 64 + 20]
    assert ImageGrid(128, 128, 0.01).above_horizon() is None


def test_noise_is_that_of_the_sky(noise_image):
    """Every measure of noise gives that of the pixels above the horizon."""
    assert residual_noise(noise_image) == pytest.approx(1, rel=0.05)
    assert scatter(noise_image) == pytest.approx(1, rel=0.05)
    assert Moments.of(noise_image).std == pytest.approx(1, rel=0.05)
    assert Change.of(noise_image, noise_image / 2 + 7).at(0).std == pytest.approx(1, rel=0.05)
    assert residual_noise(np.zeros((4, 4))) == scatter(np.zeros((4, 4))) == 0


def test_noise_of_the_sky_is_no_emission(noise_image):
    """Noise is found to be noise, and no cell is active; a source above the horizon is seen."""
    sky = WIDE.above_horizon()
    assert "is noise" in describe_noise(noise_image, 1.1, sky)
    assert not find_active(noise_image, 1.0, sky=sky).any()
    noise_image[64, 64] = 30
    assert not describe_noise(noise_image, 1.1, sky)
    assert find_active(noise_image, 1.0, sky=sky)[64, 64]


def test_masks_end_at_the_horizon(tmp_path):
    """A mask allows nothing beyond the horizon; one that has nothing else is refused."""
    mask = np.zeros(WIDE.shape, np.int16)
    mask[0, 0] = mask[64, 64] = 1
    fits.writeto(tmp_path / "m.fits", mask)
    assert np.argwhere(find_allowed(tmp_path / "m.fits", WIDE)).tolist() == [[64, 64]]
    mask[64, 64] = 0
    fits.writeto(tmp_path / "m.fits", mask, overwrite=True)
    with pytest.raises(InputError, match="0 everywhere above the horizon"):
        find_allowed(tmp_path / "m.fits", WIDE)


@pytest.fixture(scope="module")
def all_sky_ms(tmp_path_factory):
    """Noise, seen by 14 aerials on the equator within 3 m, wavelength 0.19 m."""
    folder = tmp_path_factory.mktemp("sky")
    number = np.arange(14)
    radius = 1.5 * np.sqrt((number + 0.5) / 14)
    places = zip(radius * np.cos(2.4 * number), radius * np.sin(2.4 * number), strict=True)
    rows = [f"A{k},6378000,{east:.4f},{north:.4f},0.1" for k, (east, north) in enumerate(places)]
    (folder / "array.csv").write_text("\n".join(["name,x_itrf_m,y_itrf_m,z_itrf_m,diameter_m", *rows]))
    (folder / "sky.csv").write_text("ra_deg,dec_deg,i_jy\n10,5,0.000001\n")
    return simulate(
        folder / "noise.ms", array=folder / "array.csv", sky=folder / "sky.csv", freq="1575MHz", bandwidth="2MHz",
        channels=1, ra=0.0, dec=0.0, hours=0.3, integration=60, noise=1.0,
    )  # fmt: skip


@pytest.mark.parametrize("solver", ["rim", "clean"])
def test_all_sky_image_of_noise(all_sky_ms, tmp_path, solver):
    """Of noise alone, although half of the image lies beyond the horizon, the noise is right, and the run ends soon."""
    result = radrim.image(all_sky_ms, name=tmp_path / "x", size=96, scale="1.5deg", solver=solver, threads=1)
    sky = result.grid.above_horizon()
    assert sky.mean() < 0.6
    assert not result.model[~sky].any()
    assert result.noise == pytest.approx(result.residual[sky].std(), rel=0.25)
    assert len(result.cycles) <= 8
    assert not any("noise has been fitted" in finding["text"] for finding in result.findings)

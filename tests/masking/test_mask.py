"""CLEAN masks from images, and the local noise that their thresholds may count in."""

import numpy as np
import pytest
from astropy.io import fits

import radrim
from radrim.cli.main import main
from radrim.errors import ConfigError, InputError, OutputError
from radrim.geometry import ARCSEC, ImageGrid
from radrim.masking.islands import IslandThresholds, find_mask, widened
from radrim.masking.noise import local_noise
from radrim.read.mask import read_mask

GRID = ImageGrid(160, 160, 1 * ARCSEC, 1.0, 0.5)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def gaussian(y, x, peak, fwhm=4.0, shape=(160, 160)):
    """A source of this width [pixel]."""
    rows, columns = np.indices(shape)
    return peak * np.exp(-4 * np.log(2) * ((rows - y) ** 2 + (columns - x) ** 2) / fwhm**2)


def write(path, image, beam=4.0):
    """Write an image with the coordinates of `GRID`, and a beam of this width [pixel]."""
    header = fits.Header()
    for axis, (kind, value, sign) in enumerate((("RA---SIN", GRID.ra, -1), ("DEC--SIN", GRID.dec, 1)), 1):
        header[f"CTYPE{axis}"], header[f"CRVAL{axis}"] = kind, np.degrees(value)
        header[f"CRPIX{axis}"], header[f"CDELT{axis}"] = 81.0, sign * np.degrees(GRID.scale)
    header["EQUINOX"] = 2000.0
    if beam:
        header["BMAJ"] = header["BMIN"] = beam * np.degrees(GRID.scale)
    fits.writeto(path, np.asarray(image, np.float32), header)
    return path


def test_local_noise_follows_the_noise(rng):
    """A map of the local noise is that of the noise where it varies slowly; sources hardly change it."""
    true = np.linspace(1, 5, 400)[None, :] * np.ones((300, 1))
    image = true * rng.standard_normal(true.shape) + gaussian(150, 200, 500, 6, true.shape)
    found = local_noise(image, 80)
    inner = found[:, 40:-40] / true[:, 40:-40]
    assert inner.min() > 0.85
    assert inner.max() < 1.15


def test_local_noise_of_what_is_not_finite(rng):
    """Blank parts of an image take the noise of the nearest window; of an image without pixels it is 0."""
    image = rng.standard_normal((200, 200))
    image[:, 100:] = np.nan
    found = local_noise(image, 40)
    assert np.isfinite(found).all()
    assert found.min() > 0.8
    assert found.max() < 1.2
    assert not local_noise(np.full((64, 64), np.nan), 20).any()


def test_deep_negatives_raise_the_noise(rng):
    """'rms-with-min' counts a fifth of the deepest negative pixel, and only around it."""
    image = rng.standard_normal((200, 200))
    image[100, 20] = -100
    found = local_noise(image, 20, "rms-with-min")
    assert found[100, 20] == pytest.approx(20, rel=0.01)
    assert found[100, 150] < 1.5


@pytest.mark.parametrize("window, method", [(4, "rms"), (50, "median")])
def test_local_noise_refuses(window, method):
    """Windows that are too small, and unknown methods."""
    with pytest.raises(ConfigError, match="local rms"):
        local_noise(np.zeros((64, 64)), window, method)


def test_islands_have_a_peak_and_an_area():
    """An island needs a peak above one threshold, and holds all pixels above the other; single pixels do not count."""
    image = gaussian(40, 40, 10) + gaussian(100, 100, 4)
    image[20, 120] = 50
    mask, count = find_mask(image, 1.0, IslandThresholds(5, 3, min_area=4))
    assert count == 1
    assert np.array_equal(mask, (gaussian(40, 40, 10) > 3))


def test_negative_emission_counts_on_request():
    """A negative source is in the mask with `negative` alone."""
    image = -gaussian(40, 40, 10)
    assert not find_mask(image, 1.0, IslandThresholds())[0].any()
    assert find_mask(image, 1.0, IslandThresholds(negative=True))[0][40, 40]


def test_widened_by_a_distance():
    """A mask is widened by a disc."""
    mask = np.zeros((50, 60), bool)
    mask[2, 30] = True
    rows, columns = np.indices(mask.shape)
    assert np.array_equal(widened(mask, 4.5), np.hypot(rows - 2, columns - 30) <= 4.5)


def test_mask_is_what_image_reads(tmp_path, rng):
    """The mask of a restored image has its pixels: `--mask` takes it as it is."""
    image = rng.standard_normal(GRID.shape) * 0.1 + gaussian(50, 90, 20)
    path = radrim.mask(write(tmp_path / "field-image.fits", image), quiet=True)
    assert path == tmp_path / "field-mask.fits"
    mask = read_mask(path, GRID)
    assert mask[50, 90]
    assert np.array_equal(mask, fits.getdata(path) == 1)


def test_mask_of_a_cube_is_that_of_all_planes(tmp_path, rng):
    """What is emission in any plane is in the mask; blank planes do not matter."""
    cube = rng.standard_normal((3, *GRID.shape)) * 0.1
    cube[0] += gaussian(50, 90, 20)
    cube[1] = np.nan
    cube[2] += gaussian(100, 30, 20)
    mask = np.squeeze(fits.getdata(radrim.mask(write(tmp_path / "cube.fits", cube), quiet=True)))
    assert mask.shape == GRID.shape
    assert mask[50, 90]
    assert mask[100, 30]


def test_local_rms_keeps_artefacts_out(tmp_path, rng):
    """Near a bright source with errors around it, islands of these are in the mask of one noise, not of a local one."""
    rows, columns = np.indices(GRID.shape)
    ripples = 3 * np.exp(-np.hypot(rows - 40, columns - 40) / 25) * rng.standard_normal(GRID.shape)
    image = 0.1 * rng.standard_normal(GRID.shape) + ripples + gaussian(40, 40, 100) + gaussian(130, 130, 2)
    path = write(tmp_path / "a.fits", image)
    plain = fits.getdata(radrim.mask(path, name=tmp_path / "plain.fits", min_area=0, quiet=True))
    local = fits.getdata(
        radrim.mask(path, name=tmp_path / "local.fits", min_area=0, local_rms=True, local_rms_window=8, quiet=True)
    )
    for mask in (plain, local):
        assert mask[40, 40]
        assert mask[130, 130]
    near = np.hypot(rows - 40, columns - 40) < 25
    near &= gaussian(40, 40, 100) < 0.1
    assert plain[near].mean() > 5 * local[near].mean()


def test_command_refuses_and_writes_nothing(tmp_path, rng, capsys):
    """Without emission, with a mask that exists, or of no image: exit status 2, one line, and no file."""
    quiet = write(tmp_path / "noise.fits", rng.standard_normal(GRID.shape))
    assert main(["mask", str(quiet), "--sigma", "9"]) == 2
    assert "no emission above 9 times" in capsys.readouterr().err
    assert not (tmp_path / "noise-mask.fits").exists()
    bright = write(tmp_path / "b-image.fits", gaussian(50, 50, 9) + 0.1 * rng.standard_normal(GRID.shape))
    assert main(["mask", str(bright)]) == 0
    before = (tmp_path / "b-mask.fits").read_bytes()
    assert main(["mask", str(bright)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (tmp_path / "b-mask.fits").read_bytes() == before
    (tmp_path / "no.fits").write_text("no FITS file")
    with pytest.raises(InputError):
        radrim.mask(tmp_path / "no.fits", quiet=True)
    with pytest.raises(OutputError):
        radrim.mask(bright, quiet=True)
    with pytest.raises(ConfigError, match="edge"):
        radrim.mask(bright, sigma=2, edge=3, quiet=True)

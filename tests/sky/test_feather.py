"""`radrim feather`: an interferometer's image and a single dish's become one."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from scipy import fft

from radrim.beam import Beam, covariance_of
from radrim.cli.main import main
from radrim.errors import InputError
from radrim.geometry import ARCSEC, ImageGrid
from radrim.sky.feathering import feather_files, feathered
from radrim.visibilities import Observation
from radrim.write.fits import image_header, write_fits

SIZE, CELL = 256, 2.0
GRID = ImageGrid(SIZE, SIZE, CELL * ARCSEC, 1.2, 0.4)
FINE, WIDE = Beam(8 * ARCSEC, 6 * ARCSEC, 0.5), Beam(50 * ARCSEC, 50 * ARCSEC, 0.0)
LOST = 25 * ARCSEC
"""Width of the largest structure that the interferometer sees, as a Gaussian."""


def blob(east, north, width, flux, size=SIZE, cell=CELL):
    """A Gaussian of this flux, place and FWHM [arcsec], Jy/pixel."""
    row, column = np.indices((size, size))
    l, m = -(column - size // 2) * cell, (row - size // 2) * cell
    image = np.exp(-4 * np.log(2) * ((l - east) ** 2 + (m - north) ** 2) / width**2)
    return flux * image / image.sum()


def response(beam, size=SIZE, cell=CELL):
    v, u = np.fft.fftfreq(size, cell * ARCSEC)[:, None], -np.fft.rfftfreq(size, cell * ARCSEC)
    (a, b), (_, c) = covariance_of(beam)
    return np.exp(-2 * np.pi**2 * (a * u * u + 2 * b * u * v + c * v * v))


def seen(sky, transfer):
    return fft.irfft2(fft.rfft2(sky) * transfer, sky.shape)


@pytest.fixture(scope="module")
def sky():
    return blob(10, -20, 9, 0.5) + blob(-60, 30, 60, 3.0) + blob(40, 50, 90, 4.0)


@pytest.fixture(scope="module")
def images(sky):
    """What the interferometer and the single dish see [Jy/beam]: the first lacks low spatial frequencies."""
    fine, wide = response(FINE), response(WIDE)
    high = seen(sky, fine * (1 - response(Beam(LOST * 6, LOST * 6, 0.0)))) * FINE.area(GRID.scale)
    return high.astype(np.float32), (seen(sky, wide) * WIDE.area(GRID.scale)).astype(np.float32)


def write(path, image, beam=FINE, grid=GRID, unit="Jy/beam"):
    header = image_header(grid, 1.4e9, 1e7, Observation([], grid.ra, grid.dec), "I", unit, beam)
    write_fits(path, image, header)
    return path


def test_flux_and_structure_come_back(sky, images):
    """The result has the flux of the single dish, and is the sky at the interferometer's resolution."""
    high, low = images
    out = feathered(high, low, FINE, WIDE, GRID.scale)
    assert high.sum() / FINE.area(GRID.scale) < 0.5 * sky.sum()
    assert out.sum() / FINE.area(GRID.scale) == pytest.approx(sky.sum(), rel=0.01)
    expected = seen(sky, response(FINE)) * FINE.area(GRID.scale)
    before, after = (np.linalg.norm(expected - found) for found in (high, out))
    assert after < 0.05 * np.linalg.norm(expected)
    assert after < before / 10


def test_images_of_one_sky_change_nothing(images, sky):
    """Where the interferometer lacks nothing, the result is its image."""
    high = (seen(sky, response(FINE)) * FINE.area(GRID.scale)).astype(np.float32)
    out = feathered(high, images[1], FINE, WIDE, GRID.scale)
    np.testing.assert_allclose(out, high, atol=0.02 * high.max())


def test_other_pixels_and_frames(tmp_path, images):
    """The single dish's image may have larger pixels, another projection and galactic coordinates."""
    high, low = images
    paths = write(tmp_path / "high.fits", high), tmp_path / "low.fits", tmp_path / "same.fits"
    write(paths[2], low, WIDE)
    feather_files(paths[0], paths[2], tmp_path / "a.fits")
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.cdelt, wcs.wcs.crpix = ["GLON-TAN", "GLAT-TAN"], [-8 / 3600, 8 / 3600], [50.5, 50.5]
    from astropy.coordinates import FK5, SkyCoord

    centre = SkyCoord(GRID.ra, GRID.dec, unit="rad", frame=FK5(equinox="J2000")).galactic
    wcs.wcs.crval = [centre.l.deg, centre.b.deg]
    rows, columns = np.indices((100, 100))
    places = wcs.pixel_to_world(columns, rows).transform_to(FK5(equinox="J2000"))
    ours = WCS(fits.getheader(paths[2])).celestial
    x, y = ours.world_to_pixel(places)
    from scipy.ndimage import map_coordinates

    image = map_coordinates(low.astype(float), [y, x], order=5)
    header = wcs.to_header()
    header["BUNIT"], header["BMAJ"], header["BMIN"], header["BPA"] = "Jy/beam", 50 / 3600, 50 / 3600, 0.0
    fits.writeto(paths[1], image, header)
    feather_files(paths[0], paths[1], tmp_path / "b.fits")
    a, b = (np.squeeze(fits.getdata(tmp_path / f"{name}.fits")) for name in "ab")
    inner = slice(30, -30), slice(30, -30)
    assert np.abs(a - b)[inner].max() < 0.01 * np.abs(a).max()


CASA = """
import casatools
for name in ("high", "low"):
    image = casatools.image()
    image.fromfits(f"{name}.im", f"{name}.fits")
    image.close()
imager = casatools.imager()
imager.setvp(dovp=True)
imager.setsdoptions(scale=1.0)
imager.feather(image="both.im", highres="high.im", lowres="low.im")
image.open("both.im")
image.tofits("both.fits")
image.close()
print("true")
"""


def test_casa_agrees(tmp_path, images, casa):
    """CASA's feather makes the same image."""
    write(tmp_path / "high.fits", images[0])
    write(tmp_path / "low.fits", images[1], WIDE)
    assert casa(CASA)
    feather_files(tmp_path / "high.fits", tmp_path / "low.fits", tmp_path / "ours.fits")
    theirs, ours = (np.squeeze(fits.getdata(tmp_path / f"{name}.fits")) for name in ("both", "ours"))
    inner = slice(30, -30), slice(30, -30)  # CASA has no margin, and its edges wrap around
    assert np.abs(theirs - ours)[inner].max() < 0.01 * np.abs(theirs).max()


def test_cubes_and_blank_pixels(tmp_path, images):
    """One plane of the single dish serves all; what is blank in the interferometer's image stays so."""
    high, low = images
    cube = np.stack([high, 2 * high])[None]
    cube[0, 1, :10] = np.nan
    header = image_header(GRID, 1.4e9, 1e7, Observation([], GRID.ra, GRID.dec), "I", "Jy/beam", FINE)
    fits.writeto(tmp_path / "cube.fits", cube, header)
    write(tmp_path / "low.fits", low, WIDE)
    feather_files(tmp_path / "cube.fits", tmp_path / "low.fits", tmp_path / "out.fits")
    out = fits.getdata(tmp_path / "out.fits")
    assert out.shape == cube.shape
    assert np.array_equal(np.isnan(out), np.isnan(cube))
    np.testing.assert_allclose(out[0, 0], feathered(high, low, FINE, WIDE, GRID.scale), atol=2e-4 * high.max())


@pytest.mark.parametrize(
    "what, says",
    [
        ({"beam": None}, "has no beam"),
        ({"beam": Beam(9 * ARCSEC, 9 * ARCSEC, 0.0)}, "at least 1.5 times as wide"),
        ({"unit": "Jy/pixel"}, "must be in Jy/beam"),
        ({"grid": ImageGrid(100, 100, CELL * ARCSEC, 1.2, 0.4)}, "has no pixels for"),
    ],
)
def test_what_does_not_fit(tmp_path, images, what, says):
    """No beam, a beam that is too narrow, another unit, or a smaller field: refused, and nothing is written."""
    high, low = images
    size = what.get("grid", GRID).height
    low = low[:size, :size]
    write(tmp_path / "high.fits", high)
    write(tmp_path / "low.fits", low, **{"beam": WIDE, **what})
    with pytest.raises(InputError, match=says):
        feather_files(tmp_path / "high.fits", tmp_path / "low.fits", tmp_path / "out.fits")
    assert not (tmp_path / "out.fits").exists()


def test_command(tmp_path, images, capsys):
    """The file's name, the flux, and no replacement without --overwrite."""
    high, low = write(tmp_path / "f-image.fits", images[0]), write(tmp_path / "low.fits", images[1], WIDE)
    assert main(["feather", str(high), str(low)]) == 0
    assert "its flux is 7." in capsys.readouterr().out
    assert main(["feather", str(high), str(low)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["feather", str(high), str(low), "--factor", "0", "--overwrite"]) == 2

"""The true sky on the grid of an image, and scores."""

import numpy as np
import pytest
from astropy.io import fits

from radrim.beam import Beam, restore
from radrim.comparison.truth import read_truth, score
from radrim.errors import InputError
from radrim.geometry import ARCSEC, ImageGrid
from radrim.sky.catalogue import offset_position

GRID = ImageGrid(96, 64, 2 * ARCSEC, ra=1.0, dec=0.3)
BEAM = Beam(10 * ARCSEC, 7 * ARCSEC, 0.7)


def catalogue(path, *sources):
    """A CSV file of sources (east, north [arcsec], flux, major, minor [arcsec])."""
    lines = ["ra_deg,dec_deg,i_jy,major_arcsec,minor_arcsec"]
    for east, north, *rest in sources:
        ra, dec = np.degrees(offset_position(east * ARCSEC, north * ARCSEC, GRID.ra, GRID.dec))
        lines.append(",".join(repr(float(value)) for value in (ra, dec, *rest)))
    path.write_text("\n".join(lines) + "\n")
    return path


def test_catalogue_keeps_flux_and_place(tmp_path):
    """Points between pixels and a Gaussian: total flux and centroid are those of the catalogue."""
    path = catalogue(tmp_path / "a.csv", (10.6, -7.3, 1.0, 0, 0), (10.6, -7.3, 2.0, 12, 12))
    model, exact = read_truth(path, GRID, 1e9)
    y, x = np.indices(GRID.shape)
    assert not exact
    assert model.sum() == pytest.approx(3, rel=1e-4)
    assert (model * x).sum() / model.sum() == pytest.approx(48 - 10.6 / 2, abs=0.01)
    assert (model * y).sum() / model.sum() == pytest.approx(32 - 7.3 / 2, abs=0.01)


@pytest.mark.parametrize("size", [(32, 48), (33, 49), (128, 128)])
def test_image_of_the_same_pixels_is_exact(tmp_path, size):
    """Middle pixel on the phase centre, as `radrim simulate` puts it; smaller, odd and larger images."""
    pixels = np.zeros(size, np.float32)
    pixels[size[0] // 2 + 3, size[1] // 2 - 5] = 2.0
    header = fits.Header({"CDELT1": -2 / 3600, "CDELT2": 2 / 3600})
    fits.writeto(tmp_path / "a.fits", pixels, header)
    model, exact = read_truth(tmp_path / "a.fits", GRID, 1e9)
    assert exact
    assert model[35, 43] == 2
    assert model.sum() == 2


def test_image_of_other_pixels_keeps_its_flux(tmp_path):
    """Pixels of half the size: not exact, but all flux is there, and in its place."""
    pixels = np.zeros((40, 40), np.float32)
    pixels[20, 21:25] = 0.25
    fits.writeto(tmp_path / "a.fits", pixels, fits.Header({"CDELT1": -1 / 3600, "CDELT2": 1 / 3600}))
    model, exact = read_truth(tmp_path / "a.fits", GRID, 1e9)
    assert not exact
    assert model.sum() == pytest.approx(1)
    assert (model * np.arange(96)).sum() == pytest.approx(48 + 2.5 / 2, abs=1e-4)


def test_truth_elsewhere_on_the_sky_is_refused(tmp_path):
    """A catalogue of another field."""
    path = catalogue(tmp_path / "a.csv", (4000, 0, 1.0, 0, 0))
    with pytest.raises(InputError, match="no flux within the image"):
        read_truth(path, GRID, 1e9)


def test_scores_of_an_estimate_that_is_ten_per_cent_off(tmp_path):
    """20 dB everywhere, native only where the truth lies on pixels, flux 1.1."""
    truth = np.zeros(GRID.shape, np.float32)
    truth[30, 40] = 1
    scores = score(truth, True, 1.1 * truth, 1.1 * restore(truth, BEAM, GRID.scale), BEAM, GRID.scale, 1e-3)
    assert [scores[key] for key in ("native", "half", "beam", "image")] == pytest.approx([20] * 4, abs=0.01)
    assert scores["flux"] == pytest.approx(1.1)
    assert "native" not in score(truth, False, truth, restore(truth, BEAM, GRID.scale), BEAM, GRID.scale, 1e-3)

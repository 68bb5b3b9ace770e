"""Region files, CASA images and folders as masks; columns and feeds that are no interferometer's."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from radrim.errors import DataError, InputError
from radrim.geometry import ARCSEC, ImageGrid
from radrim.read.mask import read_mask
from radrim.read.region_mask import region_format, wcs_of
from radrim.read.selection import Selection, choose_column
from radrim.stokes import MIXED, combination

GRID = ImageGrid(80, 64, 10 * ARCSEC, np.radians(83.6), np.radians(22.0))


def write(path, text):
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "name, text, kind",
    [
        ("m.reg", "# Region file format: DS9 version 4.1\nimage\ncircle(3,4,5)\n", "ds9"),
        ("m.reg", 'fk5\ncircle(83.6,22,60")\n', "ds9"),
        ("m.txt", "#CRTFv0 CASA Region Text Format version 0\n", "crtf"),
        ("m.crtf", "circle[[83.6deg, 22deg], 60arcsec], coord=J2000\n", "crtf"),
        ("m.txt", "no regions\n", None),
        ("m.fits", "SIMPLE  =                    T / DS9", None),
    ],
)
def test_format_of_regions(tmp_path, name, text, kind):
    """The first line decides, else the ending."""
    assert region_format(write(tmp_path / name, text)) == kind
    assert region_format(tmp_path / "none.reg") is None


def test_pixels_of_the_image_have_its_coordinates():
    """The phase centre is in the pixel of the grid's centre, and x grows to the west."""
    x, y = wcs_of(GRID).wcs_world2pix([[83.6, 22.0], [83.6, 22.0 + 100 / 3600]], 0).T
    assert x == pytest.approx([40, 40], abs=1e-6)
    assert y == pytest.approx([32, 42], abs=1e-3)


REGIONS = {
    "ds9_sky.reg": '# Region file format: DS9\nfk5\ncircle(83.6,22.0,60")\n',
    "ds9_image.reg": "# Region file format: DS9\nimage\ncircle(41,33,6)\n",
    "casa.crtf": "#CRTFv0\ncircle[[83.6deg, 22.0deg], 60arcsec], coord=J2000\n",
}


@pytest.mark.parametrize("name", REGIONS)
def test_regions_are_masks(tmp_path, name):
    """A circle of six pixels around the phase centre, whichever program wrote it."""
    pytest.importorskip("regions")
    mask = read_mask(write(tmp_path / name, REGIONS[name]), GRID)
    y, x = np.mgrid[:64, :80]
    # Centres at the very edge may fall on either side.
    assert np.array_equal(mask, np.hypot(y - 32, x - 40) < 6) or abs(mask.sum() - 109) <= 8
    assert mask[32, 40]
    assert mask[32, 45]
    assert not mask[32, 47]


def test_excluded_regions_are_taken_out(tmp_path):
    """A minus sign takes a region out of those before it."""
    pytest.importorskip("regions")
    text = "# Region file format: DS9\nimage\ncircle(41,33,6)\n-circle(41,33,2)\n"
    mask = read_mask(write(tmp_path / "m.reg", text), GRID)
    assert not mask[32, 40]
    assert mask[32, 44]


@pytest.mark.parametrize(
    "text, words",
    [
        ('# Region file format: DS9\nfk5\ncircle(20,-30,60")\n', "has no region within the image"),
        ("# Region file format: DS9\nfk5\npoint(83.6,22.0)\n", "no region with an area"),
        ("#CRTFv0\nspiral[[1deg, 2deg], 3deg]\n", "cannot be read as a CRTF region file"),
    ],
)
def test_useless_regions_are_refused(tmp_path, text, words):
    """Regions elsewhere, without an area, or that nobody can read."""
    pytest.importorskip("regions")
    with pytest.raises(InputError, match=words):
        read_mask(write(tmp_path / "m.reg", text), GRID)


def test_without_the_package_the_message_says_what_to_install(tmp_path, monkeypatch):
    """Region files need a package that is not installed by default."""
    monkeypatch.setitem(sys.modules, "regions", None)
    with pytest.raises(InputError, match="pip install regions"):
        read_mask(write(tmp_path / "m.reg", REGIONS["ds9_sky.reg"]), GRID)


def test_images_of_casa_are_exported(tmp_path):
    """A CASA image is a folder; the message has the command that writes it as FITS."""
    (tmp_path / "cleaned.mask").mkdir()
    with pytest.raises(InputError, match=r"exportfits\(imagename='.*cleaned\.mask'"):
        read_mask(tmp_path / "cleaned.mask", GRID)


@pytest.mark.parametrize("correlations", [["RX", "LY"], ["RX", "RY", "LX", "LY"], ["PP", "QQ"], list(MIXED)])
def test_mixed_feeds_are_named(correlations):
    """Feeds of different kinds give no Stokes parameter: the message has their names, not numbers."""
    with pytest.raises(DataError, match=rf"{correlations[0]}.* mixed feeds .*PolConvert"):
        combination("I", correlations)


def test_mixed_feeds_beside_others_do_not_matter():
    """Where RR and LL are there, Stokes I is formed from them."""
    assert combination("I", ["RR", "RX", "LY", "LL"]) == ([(0, 0.5), (3, 0.5)], False)


def test_single_dishes_are_refused_by_name():
    """FLOAT_DATA without DATA are spectra of single dishes."""
    ms = SimpleNamespace(path=Path("dish.ms"), columns=("FLOAT_DATA", "UVW"))
    with pytest.raises(InputError, match=r"dish\.ms holds FLOAT_DATA, the spectra of single dishes"):
        choose_column(ms, Selection(), [])

"""What Python and notebooks do with a result: words, pictures, tables, cutouts and cubes."""

import builtins
import re

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.visualization.wcsaxes import WCSAxes
from matplotlib import pyplot as plt

import radrim
from radrim.errors import ConfigError, MissingPackageError
from radrim.geometry import ARCSEC


@pytest.fixture(scope="module")
def result(small_ms, tmp_path_factory):
    """The small observation, which has one source, deconvolved."""
    name = tmp_path_factory.mktemp("result") / "a"
    return radrim.image(small_ms, size=(128, 96), scale="3asec", solver="clean", niter=300, name=name)


@pytest.fixture(scope="module")
def channels(small_ms, tmp_path_factory):
    """Dirty images of two output channels in files of their own."""
    name = tmp_path_factory.mktemp("channels") / "a"
    return radrim.image(small_ms, size=64, scale="4asec", niter=0, channels_out=2, name=name)


@pytest.fixture(autouse=True)
def figures_closed():
    """Figures of a test do not stay in memory."""
    yield
    plt.close("all")


@pytest.fixture
def place(result, point_source):
    """Where the source is, SkyCoord."""
    y, x = result.grid.pixel(point_source.l, point_source.m)
    return result.wcs.pixel_to_world(x, y)


def test_repr_is_one_line(result):
    """Object, pixels, beam, peak and noise; no arrays."""
    text = repr(result)
    assert "\n" not in text
    assert len(text) < 200
    for words in ("radrim.Result FIELD0", "128 x 96 pixels of 3asec", str(result.beam), "noise"):
        assert words in text


def test_notebook_shows_picture_numbers_and_links(result, tmp_path, monkeypatch):
    """A PNG inside the page, why the run stopped, and links to files that exist, relative to the current folder."""
    monkeypatch.chdir(result.paths["image"].parent)
    page = result._repr_html_()
    assert "data:image/png;base64," in page
    assert len(page) < 4e5
    for words in (result.stop, "Noise", "Beam", "Stopped because"):
        assert words in page
    links = re.findall(r'<a href="([^"]*)"', page)
    assert "a-report.html" in links
    assert all((result.paths["image"].parent / link).is_file() for link in links)
    monkeypatch.chdir(tmp_path)
    assert all(link.startswith("file://") for link in re.findall(r'<a href="([^"]*)"', result._repr_html_()))


def test_sources(result, place):
    """The one source: its position within its error and a fraction of a pixel, its flux within its error."""
    table = result.sources
    first = table[0]
    assert first["coord"].separation(place).rad < 0.3 * result.grid.scale
    assert first["flux"].to_value("Jy") == pytest.approx(1.0, abs=0.05)
    assert first["peak"].to_value("Jy/beam") == pytest.approx(float(result.image.max()))
    assert first["peak_error"].to_value("Jy/beam") == pytest.approx(result.noise)
    assert 0 < first["flux_error"] < 0.1 * units.Jy
    assert 0 < first["ra_error"] < 1 * units.arcsec
    assert all(np.diff(table["peak"].value) <= 0)
    assert all(table["peak"] >= 5 * table.meta["noise"])


def test_no_sources_in_a_dirty_image(channels):
    """Sidelobes are no sources; the message says what to do."""
    with pytest.raises(ConfigError, match="Leave out niter=0"):
        _ = channels.sources


@pytest.mark.parametrize("kind", [None, "dirty", "psf", "model", "residual", "image"])
def test_plot_has_the_wcs(result, kind, place):
    """Axes with the image's WCS, in which the source is where it should be, and the whole image."""
    axes = result.plot(kind)
    assert isinstance(axes, WCSAxes)
    np.testing.assert_allclose(axes.wcs.world_to_pixel(place), result.wcs.world_to_pixel(place), atol=1e-3)
    assert axes.get_xlim() == (-0.5, 127.5)
    assert axes.get_ylim() == (-0.5, 95.5)


def test_plot_leaves_figures_and_style_alone(result):
    """Into a figure of the caller no other is made, and matplotlib's settings stay."""
    before, figure = dict(plt.rcParams), plt.figure()
    left, right = figure.subfigures(1, 2)
    result.plot(figure=left)
    result.plot("residual", figure=right)
    assert plt.get_fignums() == [figure.number]
    assert dict(plt.rcParams) == before
    figure.canvas.draw()


def test_missing_images(result, channels):
    """An image that the run does not have is refused, with those that it has."""
    with pytest.raises(ConfigError, match="no image of the kind 'pb'; it has dirty, psf, model, residual, image"):
        result.plot("pb")
    with pytest.raises(ConfigError, match="is no kind of image"):
        result.plot("clean")
    with pytest.raises(ConfigError, match="no Stokes Q, but I"):
        result.plot(stokes="Q")
    with pytest.raises(ConfigError, match="no channel 2: it has 2"):
        channels.plot(channel=2)


def test_channel(channels):
    """A single channel is drawn, and its HDU is that of its file."""
    channels.plot(channel=1)
    hdu = channels.to_hdu(channel=1)
    np.testing.assert_array_equal(hdu.data[0, 0], channels.channels[1].dirty)
    assert hdu.header["CRVAL3"] == channels.channels[1].freq


def test_hdu_is_the_file(result):
    """Pixels and header of the file, in memory."""
    hdu = result.to_hdu("residual")
    np.testing.assert_array_equal(hdu.data[0, 0], result.residual)
    assert hdu.header["BUNIT"] == fits.getheader(result.paths["residual"])["BUNIT"]


@pytest.mark.parametrize("size", [60 * units.arcsec, "60asec", 20])
def test_cutout(result, place, size):
    """20 pixels around the source, by angle, text or pixels; its WCS finds the source, and it is a copy."""
    part = result.cutout(place, size)
    assert part.data.shape == (20, 20)
    assert part.data.max() == result.image.max()
    y, x = np.unravel_index(np.argmax(part.data), part.data.shape)
    assert part.wcs.pixel_to_world(x, y).separation(place).rad < result.grid.scale
    part.data[:] = 0
    assert result.image.max() > 0


def test_cutout_by_words_and_kind(result, place):
    """Coordinates may be text, and any image can be cut."""
    part = result.cutout(place.to_string("hmsdms"), 10, "residual")
    assert np.isin(part.data, result.residual).all()


def test_cutout_beyond_the_edge(result):
    """Parts outside are NaN; a position outside of the image is refused with where the image is."""
    corner = result.wcs.pixel_to_world(0, 0)
    assert np.isnan(result.cutout(corner, 10).data).sum() == 75
    with pytest.raises(ConfigError, match=r"lies outside of the image, which is 6\.4amin wide"):
        result.cutout(SkyCoord(10, 10, unit="deg"), 10)


@pytest.mark.filterwarnings("ignore")  # spectral-cube's own
def test_spectral_cube(channels, small_ms, tmp_path, no_report):
    """Channels in files of their own and in one file give the same cube, with frequencies and beams."""
    pytest.importorskip("spectral_cube")
    joined = radrim.image(small_ms, size=64, scale="4asec", niter=0, channels_out=2, cube=True, name=tmp_path / "b")
    for result in (channels, joined):
        cube = result.spectral_cube()
        assert cube.shape == (2, 64, 64)
        assert cube.unit == units.Jy / units.beam
        assert cube.spectral_axis.to_value("Hz") == pytest.approx([one.freq for one in result.channels])
        np.testing.assert_allclose(cube[1].value, result.channels[1].dirty, atol=1e-6)
        majors = [one.beam.major for one in result.channels]
        if result is joined:  # dirty images have the beam of their PSF
            assert cube.beams.major.to_value("rad") == pytest.approx(majors, rel=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_cube_of_one_channel(result):
    """A single channel is a cube of one plane; the model is in Jy/pixel."""
    pytest.importorskip("spectral_cube")
    assert result.spectral_cube().shape == (1, 96, 128)
    assert result.spectral_cube("model").unit == units.Jy / units.pixel


def test_spectral_cube_is_optional(channels, monkeypatch):
    """Without the package the message says how to install it, and what there is without."""
    real = builtins.__import__

    def without(name, *args, **keywords):
        if name.split(".")[0] == "spectral_cube":
            raise ImportError(name)
        return real(name, *args, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingPackageError, match=r"pip install 'radrim\[cubes\]'") as error:
        channels.spectral_cube()
    assert isinstance(error.value, ImportError)


def test_small_field_has_offsets(small_ms, tmp_path, no_report):
    """A field of arc seconds, as of VLBI, has offsets from the centre, as in the report."""
    small = radrim.image(small_ms, size=32, scale="0.9asec", niter=0, maxuv_l=1e9, name=tmp_path / "a")
    assert max(small.grid.shape) * small.grid.scale < 30 * ARCSEC
    assert "Relative R.A." in small.plot().get_xlabel()

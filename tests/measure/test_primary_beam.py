# l and m are the direction cosines of the measurement equation.

import math
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from scipy.special import j1

import radrim
from radrim.cli.main import main
from radrim.config.options import ImageConfig
from radrim.errors import ConfigError
from radrim.geometry import C, ImageGrid
from radrim.measure.primary_beam import PATTERNS, Dishes, PrimaryBeam, choose_dishes
from radrim.sky.catalogue import direction_cosines, offset_position
from radrim.visibilities import Visibilities

WIDTH = {"airy": 1.0290, "gauss": 1.13}
"""FWHM [wavelength / D]: Airy's from the half-power point of (2 J1(x) / x)^2, x = 1.61634; ALMA's."""
FREQ, DISH = 1.4e9, 25.0
WAVE = C / FREQ / DISH


def beam(pattern="airy", freq=(FREQ,), weight=None, pointing=(0.0, 0.0), diameter=DISH):
    weight = np.ones(len(freq)) if weight is None else np.array(weight, float)
    return PrimaryBeam(Dishes(pattern, diameter, 0.2), np.array(freq, float), weight, pointing)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_width(pattern):
    """1 in the middle, 1/2 half of the pattern's width away, in wavelengths over the diameter."""
    half = WIDTH[pattern] * WAVE / 2
    np.testing.assert_allclose(beam(pattern).at(np.array([0.0, half])), [1, 0.5], atol=2e-4)


def test_airys_null_and_sidelobe():
    """Zero at 1.2197 wavelength / D; the first sidelobe is 1.75 % high, at 1.635 (Born & Wolf, table 8.2)."""
    found = beam().at(np.array([1.2197, 1.635]) * WAVE)
    assert found[0] < 1e-6
    assert found[1] == pytest.approx(0.0175, abs=1e-4)


def test_band_average():
    """A wide band sees the mean of its channels' beams, each counted by its weight."""
    freq, weight, sine = np.linspace(1.0e9, 2.0e9, 400), np.linspace(0, 3, 400), np.linspace(0, 0.03, 50)
    x = np.pi * DISH * sine[:, None] * freq / C + 1e-12
    expected = np.average((2 * j1(x) / x) ** 2, axis=1, weights=weight)
    np.testing.assert_allclose(beam(freq=freq, weight=weight).at(sine), expected, atol=2e-4)


def test_on_the_sky():
    """Each pixel's value is that of its angle from the pointing, computed from right ascension and declination."""
    grid = ImageGrid(64, 48, 4e-3, ra=1.0, dec=0.5)
    target = offset_position(0.03, -0.05, grid.ra, grid.dec)
    found = beam(pointing=(0.03, -0.05), diameter=3.0).image(grid)
    l, m = np.meshgrid(grid.l(), grid.m())
    cosine = direction_cosines(*offset_position(l, m, grid.ra, grid.dec), *target)[2]
    x = np.pi * 3.0 * np.sin(np.arccos(np.minimum(cosine, 1))) * FREQ / C + 1e-12
    np.testing.assert_allclose(found, (2 * j1(x) / x) ** 2, atol=1e-6)
    y, x = np.unravel_index(found.argmax(), found.shape)
    assert (y, x) == tuple(round(p) for p in grid.pixel(0.03, -0.05))


def test_beyond_the_horizon():
    """0 where there is no sky, and behind the antennas."""
    grid = ImageGrid(64, 64, 0.04)
    found = beam(pointing=(0.5, 0.0), diameter=0.1).image(grid)
    l, m = np.meshgrid(grid.l(), grid.m())
    with np.errstate(invalid="ignore"):
        ahead = l * 0.5 + np.sqrt(1 - (l * l + m * m)) * np.sqrt(0.75) > 0
    assert not found[~ahead].any()
    assert found[ahead].min() > 0.5


def test_windows_are_parts_of_the_whole():
    """The beam of a facet is that part of the image's, across strips and with the pointing outside."""
    grid = ImageGrid(128, 96, 1e-4)
    whole = beam(pointing=(-4e-3, 2e-3)).image(grid)
    rows, columns = slice(10, 42), slice(64, 128)
    np.testing.assert_allclose(
        beam(pointing=(-4e-3, 2e-3)).image(grid.region(rows, columns)), whole[rows, columns], atol=1e-6
    )


def test_corrected_image():
    """Image over beam at the limit and above, NaN below."""
    found = Dishes("airy", 25.0, 0.2).correct(np.array([[1.0, 2.0, 3.0]]), np.array([[1.0, 0.2, 0.19]]))
    np.testing.assert_allclose(found, [[1, 10, np.nan]])


def choose(dishes=(25.0,), **values):
    observation = SimpleNamespace(dishes=list(dishes), telescope="TEST")
    return choose_dishes(ImageConfig.parse("obs.ms", values), observation)


def test_dishes_are_chosen():
    """From the data, unless the options say otherwise; none without --pb."""
    assert choose() is None
    assert choose(pb=False) is None
    assert choose(pb=True) == choose(pb="airy") == Dishes("airy", 25.0, 0.2)
    assert choose(pb="gauss", pb_limit=0.1, dish_diameter=10.7) == Dishes("gauss", 10.7, 0.1)
    assert choose((7.0, 12.0), pb="airy", dish_diameter=12).diameter == 12


@pytest.mark.parametrize(
    "dishes, words", [((), ["DISH_DIAMETER", "--dish-diameter"]), ((7.0, 12.0), ["7, 12 m", "--dish-diameter"])]
)
def test_dishes_that_are_not_known(dishes, words):
    """No diameter, or several, and none given: an error that says so, and what to do."""
    with pytest.raises(ConfigError) as error:
        choose(dishes, pb="airy")
    assert all(word in str(error.value) for word in words)


def test_diameters_of_antennas_without_data_do_not_count(edit_ms, small_ms):
    """DISH_DIAMETER of antennas that occur in no row is of no interest, nor is 0."""
    from radrim.read.reader import read

    def two_kinds(diameter):
        return np.where(np.arange(len(diameter)) == 0, 7.0, np.where(np.arange(len(diameter)) == 1, 0.0, 12.0))

    path = edit_ms(subtable="ANTENNA", DISH_DIAMETER=two_kinds)
    assert read([path]).dishes == [7.0, 12.0]
    without = edit_ms(path, FLAG_ROW=lambda flag: flag, ANTENNA1=lambda a: np.maximum(a, 2), name="without.ms")
    assert read([without]).dishes == [12.0]


@pytest.fixture(scope="module")
def corrected(make_ms, tmp_path_factory, without_reports):
    """A run with --pb gauss of a field that reaches to where the beam is 1 %, in two output channels: folder and MS."""
    folder, path = tmp_path_factory.mktemp("pb"), make_ms(noise=0.01, times=12)
    with without_reports():
        words = "--size 128 128 --scale 3asec --solver clean --pb gauss --dish-diameter 250 --channels-out 2 --quiet"
        assert main(["image", str(path), *words.split(), "--name", str(folder / "p")]) == 0
    return folder, path


def data(path):
    return fits.getdata(path)[0, 0].astype(np.float64)


@pytest.mark.parametrize("label, freq", [("0000", (1.38e9, 1.39e9)), ("0001", (1.40e9, 1.41e9))])
def test_file_of_the_beam(corrected, label, freq):
    """NAME-pb.fits is the beam of its own channel's frequencies, without a unit and without a restoring beam."""
    folder, _ = corrected
    found, header = data(folder / f"p-{label}-pb.fits"), fits.getheader(folder / f"p-{label}-pb.fits")
    offset = (np.arange(128) - 64) * math.radians(3 / 3600)
    angle = np.hypot(offset[:, None], offset)
    width = 1.13 * C / np.array(freq) / 250
    expected = np.mean([np.exp(-4 * math.log(2) * (angle / w) ** 2) for w in width], 0)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert (header["BUNIT"], header["RRPB"], header["RRDISH"]) == ("", "gauss", 250.0)
    assert "BMAJ" not in header


@pytest.mark.parametrize("label", ["0000", "0001", "MFS"])
def test_file_of_the_corrected_image(corrected, label):
    """Beam times corrected image is the image, and NaN is where the beam is below --pb-limit."""
    folder, _ = corrected
    pb, image, true = (data(folder / f"p-{label}-{kind}.fits") for kind in ("pb", "image", "image-pb"))
    seen = pb >= 0.2
    assert 0.05 < seen.mean() < 0.95
    np.testing.assert_array_equal(np.isfinite(true), seen)
    np.testing.assert_allclose((true * pb)[seen], image[seen], atol=1e-6)
    header = fits.getheader(folder / f"p-{label}-image-pb.fits")
    assert (header["BUNIT"], header["RRPBLIM"]) == ("Jy/beam", 0.2)
    assert header["BMAJ"] == fits.getheader(folder / f"p-{label}-image.fits")["BMAJ"]


def test_beam_of_all_channels_is_the_weighted_average(corrected):
    """As the dirty images are averaged: a source with a flat spectrum keeps its flux."""
    folder, _ = corrected
    weight = [fits.getheader(folder / f"p-{label}-dirty.fits")["RRVWSUM"] for label in ("0000", "0001")]
    parts = [data(folder / f"p-{label}-pb.fits") for label in ("0000", "0001")]
    np.testing.assert_allclose(data(folder / "p-MFS-pb.fits"), np.average(parts, axis=0, weights=weight), atol=1e-6)


def test_facets_make_the_same_files(corrected, tmp_path, no_report):
    """In facets, too, of each channel and of all together."""
    folder, path = corrected
    result = radrim.image(
        path, size=128, scale="3asec", niter=0, pb="gauss", dish_diameter=250, channels_out=2, facet=64,
        name=tmp_path / "f", threads=1,
    )  # fmt: skip
    for name in ("0000-pb.fits", "0001-pb.fits", "MFS-pb.fits"):
        np.testing.assert_allclose(data(tmp_path / f"f-{name}"), data(folder / f"p-{name}"), atol=2e-6)
    assert {"dirty", "psf", "pb", "png", "report", "run", "qa"} == set(result.paths)


def test_facets_correct_the_image(corrected, tmp_path, no_report, monkeypatch):
    """Image over beam, facet by facet from their files; also by a run that was stopped just before."""
    from radrim.workdir.progress import Progress

    def stop(self, image):
        original(self, image)
        if "pb" in image.paths and "image_pb" not in image.paths:
            raise KeyboardInterrupt

    original, how = Progress.keep_partly, {"solver": "clean", "pb": "airy", "dish_diameter": 250, "facet": 64}
    monkeypatch.setattr(Progress, "keep_partly", stop)
    with pytest.raises(KeyboardInterrupt):
        radrim.image(corrected[1], size=128, scale="3asec", name=tmp_path / "f", threads=1, **how)
    monkeypatch.setattr(Progress, "keep_partly", original)
    result = radrim.image(corrected[1], size=128, scale="3asec", name=tmp_path / "f", threads=1, **how)
    pb, image, true = (data(tmp_path / f"f-{kind}.fits") for kind in ("pb", "image", "image-pb"))
    np.testing.assert_allclose(true, np.where(pb >= 0.2, image / pb, np.nan), rtol=1e-6)
    np.testing.assert_array_equal(result.image_pb, true.astype(np.float32))


def test_source_off_the_middle_gets_its_flux_back(make_ms, point_source, tmp_path, no_report):
    """A source that the antennas see at half its flux comes out whole."""
    radius = math.hypot(point_source.l, point_source.m)
    diameter = WIDTH["gauss"] * C / 1.395e9 / (2 * radius)
    path = make_ms(noise=0.001, times=12, stokes=(0.5, 0, 0, 0))
    # With this scale the source lies in the middle of a pixel.
    result = radrim.image(path, size=128, scale="2.5asec", solver="clean", pb="gauss", dish_diameter=diameter,
                          name=tmp_path / "h")  # fmt: skip
    y, x = (round(p) for p in result.grid.pixel(point_source.l, point_source.m))
    assert result.pb[y, x] == pytest.approx(0.5, abs=0.002)
    assert result.image_pb[y, x] == pytest.approx(1.0, rel=0.02)
    assert result.image[y, x] == pytest.approx(0.5, rel=0.02)


def test_pb_alone_is_the_telescopes(make_ms, tmp_path, no_report):
    """--pb before the Measurement Set swallows nothing; without a restored image there is no corrected one."""
    path = make_ms()
    words = ["-pb", str(path), "-size", "64", "64", "-scale", "6asec", "-niter", "0", "-name", str(tmp_path / "b")]
    assert main(["image", *words, "-quiet"]) == 0
    names = {f"b-{kind}.fits" for kind in ("dirty", "psf", "pb")} | {"b-run.toml", "b-qa.json"}
    assert {path.name for path in tmp_path.iterdir()} == names
    header = fits.getheader(tmp_path / "b-pb.fits")
    assert (header["RRPB"], header["RRDISH"]) == ("vla", 25.0)


def test_pointing_of_a_block():
    """A block's antennas point at the phase centre unless it says otherwise."""
    arrays = np.zeros((1, 3)), np.array([FREQ]), np.ones((1, 1), complex), np.ones((1, 1)), np.zeros(1)
    block = Visibilities(*arrays, np.zeros((1, 2), int))
    assert Dishes("airy", DISH, 0.2).beam([block]).pointing == (0.0, 0.0)

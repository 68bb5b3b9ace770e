import subprocess
import sys

import numpy as np
import pytest
from astropy.io import fits

import radrim
from radrim.errors import RadrimError
from radrim.geometry import ARCSEC

KINDS = ("dirty", "psf", "model", "residual", "image")


@pytest.fixture(scope="module")
def result(small_ms, tmp_path_factory):
    """`radrim.image` on the small observation, with everything it writes."""
    name = tmp_path_factory.mktemp("api") / "a"
    return radrim.image(small_ms, size=(128, 96), scale="3asec", niter=200, weight="briggs 0.5", name=name)


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_are_those_in_the_files(result, kind):
    """Each array equals the FITS file that its path names, pixel by pixel; (y, x), float32."""
    array = getattr(result, kind)
    assert array.shape == (96, 128)
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, fits.getdata(result.paths[kind])[0, 0])


def test_beam_noise_and_grid_are_those_in_the_header(result):
    """What the object says and what the file says is the same."""
    header = fits.getheader(result.paths["image"])
    assert np.degrees(result.beam.major) == pytest.approx(header["BMAJ"])
    assert np.degrees(result.beam.minor) == pytest.approx(header["BMIN"])
    assert result.noise == pytest.approx(header["RRNOISE"])
    assert result.freq == header["CRVAL3"]
    assert (result.grid.width, result.grid.height, result.grid.scale) == (128, 96, 3 * ARCSEC)
    assert header["RRWEIGHT"] == "briggs 0.5"


def test_wcs_finds_the_source(result, point_source):
    """The object's WCS and its grid put the source at the same pixel."""
    y, x = result.grid.pixel(point_source.l, point_source.m)
    peak = np.unravel_index(result.image.argmax(), result.image.shape)
    assert np.hypot(peak[0] - y, peak[1] - x) < 1
    sky = result.wcs.pixel_to_world(x, y)
    centre = result.wcs.pixel_to_world(64, 48)
    offset = centre.spherical_offsets_to(sky)
    assert offset[0].rad == pytest.approx(point_source.l, abs=1e-8)
    assert offset[1].rad == pytest.approx(point_source.m, abs=1e-8)


def test_paths_exist(result):
    """Every path that is handed back is a file, the picture, report and settings among them."""
    assert set(result.paths) == {*KINDS, "png", "report", "run", "qa"}
    assert all(path.is_file() for path in result.paths.values())


def test_single_image_is_its_own_channel(result):
    """With one output channel the list holds that image."""
    (channel,) = result.channels
    np.testing.assert_array_equal(channel.image, result.image)
    assert result.stop
    assert result.cycles[-1]["cycle"] == len(result.cycles)


def test_output_channels(small_ms, tmp_path, no_report):
    """Several output channels: each with its arrays and paths, the object itself their average."""
    result = radrim.image(small_ms, size=64, scale="4asec", niter=0, channels_out=4, name=tmp_path / "a")
    assert [channel.label for channel in result.channels] == ["0000", "0001", "0002", "0003"]
    assert [round(channel.freq / 1e6) for channel in result.channels] == [1380, 1390, 1400, 1410]
    assert result.channels[2].paths["dirty"].name == "a-0002-dirty.fits"
    assert result.paths["dirty"].name == "a-MFS-dirty.fits"
    assert result.image is None
    assert result.best is result.dirty


def test_several_measurement_sets(make_ms, tmp_path, no_report):
    """A list of paths is imaged together: twice the data, twice the sum of weights."""
    first, second = make_ms(seed=1), make_ms(seed=2)
    one = radrim.image(first, size=64, scale="4asec", niter=0, weight="natural", name=tmp_path / "one")
    two = radrim.image([first, second], size=64, scale="4asec", niter=0, weight="natural", name=tmp_path / "two")
    assert two.facts["sum_weight"] == pytest.approx(2 * one.facts["sum_weight"])
    np.testing.assert_allclose(two.psf, one.psf, atol=1e-4)


def test_errors_can_be_caught(tmp_path):
    """Everything the user can mend is a RadrimError; nothing is printed."""
    with pytest.raises(RadrimError, match="does not exist"):
        radrim.image(tmp_path / "none.ms", name=tmp_path / "a")


def test_import_is_light():
    """`import radrim` loads nothing heavy, and what is touched loads neither torch nor plots before it is called."""
    code = """
import sys, radrim
assert not {"torch", "numpy", "astropy"} & set(sys.modules)
functions = ("image", "info", "compare", "predict", "selfcal", "simulate", "plan", "convert", "mask")
for name in (*functions, "Observation", "Result"):
    assert callable(getattr(radrim, name))
assert not {"torch", "matplotlib", "dask", "numba"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_everything_is_listed():
    """`dir` has each name of the interface, before any is used, and nothing else."""
    code = "import radrim; print(*dir(radrim))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    functions = {"image", "info", "compare", "predict", "selfcal", "simulate", "plan", "convert", "mask"}
    assert functions | {"Observation", "Result", "operator"} < set(done.stdout.split())
    assert set(done.stdout.split()) == set(radrim.__all__)


def test_command_is_in_the_header(result):
    """The files say which call made them."""
    history = "".join(str(line) for line in fits.getheader(result.paths["image"])["HISTORY"])
    assert "radrim.image('" in history
    assert "size=(128,96)" in history.replace(" ", "")  # lines are wrapped at blanks


def test_convert_and_plan(small_ms, make_uvfits, tmp_path):
    """`convert` returns the path that it wrote; `plan` the numbers of the command's page."""
    path = radrim.convert(make_uvfits(small_ms), tmp_path / "a.ms")
    assert path == tmp_path / "a.ms"
    assert radrim.Observation(path).rows == radrim.Observation(small_ms).rows
    plan = radrim.plan(path, size=64, scale="4asec", threads=1)
    assert plan.grid.shape == (64, 64)
    assert "memory" in str(plan)


def test_selfcal(make_ms, tmp_path, no_report):
    """`selfcal` takes the command's options as arguments, checks them, and returns images and gains."""
    ms = make_ms(gain_error=0.2, noise=0.02)
    with pytest.raises(RadrimError, match="--gain-type"):
        radrim.selfcal(ms, gain_type="K")
    done = radrim.selfcal(
        ms, rounds="p:inf", start_model="point:1", size=64, scale="4asec", solver="clean", max_major=2,
        name=tmp_path / "a",
    )  # fmt: skip
    assert done.ms == tmp_path / "a.ms"
    assert done.image.image.shape == (64, 64)


def test_unknown_attribute():
    """A slip in an attribute's name gives Python's usual error."""
    with pytest.raises(AttributeError, match="no attribute 'imgae'"):
        _ = radrim.imgae

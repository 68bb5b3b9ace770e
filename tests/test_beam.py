import logging
import math
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from radrim import beam
from radrim.beam import Beam, BeamSettings, common_beam, fit_beam, restore, smooth, theoretical_beam
from radrim.errors import DataError
from radrim.geometry import ARCSEC, FWHM_PER_SIGMA, parse_angle

OBS = Path(__file__).parents[2] / "shared" / "data" / "obs"
SCALE = ARCSEC


def gaussian(shape, major, minor, pa, centre=None):
    """Peak 1 at `centre` (y, x); widths in pixels, pa in radians from north (y up) through east (x down)."""
    y0, x0 = centre or (shape[0] // 2, shape[1] // 2)
    y, x = np.mgrid[: shape[0], : shape[1]]
    north, east = y - y0, -(x - x0)
    along = (east * math.sin(pa) + north * math.cos(pa)) * FWHM_PER_SIGMA / major
    across = (east * math.cos(pa) - north * math.sin(pa)) * FWHM_PER_SIGMA / minor
    return np.exp(-0.5 * (along**2 + across**2)).astype(np.float32)


def test_area_is_the_sum_of_the_sampled_beam():
    """Flux = sum of Jy/beam over area: the closed form equals the sum over pixels."""
    beam = Beam(9 * SCALE, 4 * SCALE, 0.4)
    assert beam.area(SCALE) == pytest.approx(gaussian((128, 128), 9, 4, 0.4).sum(), rel=1e-5)


def test_beam_reads_as_an_astronomer_writes_it():
    """Both axes in one unit that suits their size, and the position angle in degrees."""
    assert str(Beam(2.612e-3 * ARCSEC, 937.2e-6 * ARCSEC, math.radians(160.2))) == "2.612 x 0.9372 masec, PA 160.2 deg"


def test_no_baseline_no_beam():
    """A longest baseline of 0 has no beam, and the message gives the value."""
    with pytest.raises(DataError, match="0 wavelengths"):
        theoretical_beam(0.0)


@pytest.mark.parametrize("region", ["quadrant", "box", "lobe"])
@settings(max_examples=40, deadline=None)
@given(minor=st.floats(1.5, 8), ratio=st.floats(1.05, 6), pa=st.floats(0, 3.1), guess=st.floats(0.5, 2))
def test_fit_finds_a_gaussian(region, minor, ratio, pa, guess):
    """A Gaussian PSF gives its own axes and position angle, from an estimate that is off by a factor of two."""
    major = minor * ratio
    beam = fit_beam(gaussian((200, 256), major, minor, pa), SCALE, guess * minor * SCALE, region)
    assert beam.major / SCALE == pytest.approx(major, rel=1e-4)
    assert beam.minor / SCALE == pytest.approx(minor, rel=1e-4)
    turn = (beam.pa - pa + math.pi / 2) % math.pi - math.pi / 2
    assert abs(turn) < 1e-3 / (ratio - 1)  # a nearly round beam has no angle


def test_quadrant_is_the_north_west_one():
    """Only the quadrant that WSClean sees decides: what lies to the north-east of the centre does not matter."""
    psf = gaussian((64, 64), 9, 4, 0.4)
    beam = fit_beam(psf, SCALE, 5 * SCALE)
    psf[32:, :32] = 0  # north-east
    assert fit_beam(psf, SCALE, 5 * SCALE) == beam
    assert fit_beam(psf, SCALE, 5 * SCALE, region="box") != beam


@pytest.mark.parametrize(
    "psf, message, width",
    [
        (np.full((32, 32), np.nan), "not a peak", 5),
        (np.zeros((32, 32)), "not a peak", 5),
        (np.ones((32, 32)), "wider", 5),
        (np.pad([[1.0]], ((16, 15), (16, 15))), "smaller --scale", 1),
    ],
    ids=["nan", "zero", "one_baseline", "one_pixel"],
)
def test_degenerate_psf_falls_back_with_a_warning(psf, message, width, caplog):
    """Where no Gaussian fits, the beam is a circle of the estimate, or of one pixel, and the log says why."""
    with caplog.at_level(logging.WARNING, "radrim"):
        beam = fit_beam(psf, SCALE, 5 * SCALE)
    assert message in caplog.text
    assert (beam.major, beam.minor) == pytest.approx((width * SCALE, width * SCALE))


@pytest.mark.parametrize("width", [1.0, 1.5, 4.0])
def test_restored_pixel_has_its_own_flux(width):
    """1 Jy in a pixel is a peak of 1 Jy/beam, also when the beam is as narrow as 1.5 pixels."""
    model = np.zeros((64, 64), np.float32)
    model[30, 20] = 1
    image = restore(model, Beam(width * SCALE, width * SCALE, 0.0), SCALE)
    assert image[30, 20] == pytest.approx(1, abs=1e-6)
    assert image.dtype == np.float32


def test_restored_source_has_the_beams_shape():
    """A point source becomes the beam itself, turned from north through east, where the source is."""
    model = np.zeros((96, 128), np.float32)
    model[40, 80] = 2
    image = restore(model, Beam(12 * SCALE, 5 * SCALE, 0.6), SCALE)
    assert image == pytest.approx(2 * gaussian((96, 128), 12, 5, 0.6, (40, 80)), abs=2e-6)


@pytest.mark.parametrize("y, x", [(0, 0), (0, 63), (47, 31), (20, 1)])
def test_restored_source_does_not_wrap_around(y, x):
    """A source at the edge leaves the image on its side and does not come back on the other."""
    model = np.zeros((48, 64), np.float32)
    model[y, x] = 1
    image = restore(model, Beam(30 * SCALE, 8 * SCALE, 1.0), SCALE)
    assert image == pytest.approx(gaussian((48, 64), 30, 8, 1.0, (y, x)), abs=2e-6)


WSCLEAN = [
    ("vla_3c391_4.6GHz", 256, "4asec", ["briggs", "0"], 15822.9),
    ("vlba_3c273_43GHz_2016", 512, "0.04masec", ["uniform"], 1.2379e9),
    ("vlba_3c279_43GHz_2013a", 256, "0.04masec", ["uniform"], 1.2391e9),
    ("alma_hd142527_b9_cont", 256, "0.025asec", ["briggs", "0.5"], 472900.0),
]


@pytest.mark.skipif(shutil.which("wsclean") is None, reason="wsclean is not installed")
@pytest.mark.parametrize("name, size, scale, weight, longest", WSCLEAN, ids=[w[0] for w in WSCLEAN])
def test_fit_agrees_with_wsclean(name, size, scale, weight, longest, tmp_path):
    """On the same PSF both programs find the same beam: axes to 1 %, the angle to half a degree."""
    if not (OBS / f"{name}.ms").exists():
        pytest.skip(f"{name}.ms is not in {OBS}")
    shutil.copytree(OBS / f"{name}.ms", tmp_path / "obs.ms", copy_function=shutil.copyfile)
    command = ["wsclean", "-quiet", "-j", "2", "-reorder", "-niter", "0", "-make-psf-only", "-name", "out"]
    command += ["-size", str(size), str(size), "-scale", scale, "-weight", *weight, "obs.ms"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    psf, header = fits.getdata(tmp_path / "out-psf.fits", header=True)
    beam = fit_beam(psf.squeeze(), parse_angle(scale), theoretical_beam(longest))
    assert math.degrees(beam.major) == pytest.approx(header["BMAJ"], rel=0.01)
    assert math.degrees(beam.minor) == pytest.approx(header["BMIN"], rel=0.01)
    assert math.degrees(beam.pa) == pytest.approx(header["BPA"] % 180, abs=0.5)


@pytest.mark.parametrize("region", ["quadrant", "box"])
@pytest.mark.parametrize("major", [1e5, 25.0, math.nan])
def test_a_fit_that_runs_away_is_replaced_by_that_of_the_main_lobe(region, major, monkeypatch, caplog):
    """Whether it leaves the image, is much longer than the main lobe, or fails."""
    psf = gaussian((64, 64), 9, 4, 0.4)
    wanted = fit_beam(psf, SCALE, 5 * SCALE, "lobe")
    fit = beam._fit_gaussian
    monkeypatch.setattr(beam, "_fit_gaussian", lambda *a: fit(*a) if a[-1] == "lobe" else (major, 4.0, 0.4))
    with caplog.at_level(logging.INFO, "radrim"):
        assert fit_beam(psf, SCALE, 5 * SCALE, region) == wanted
    assert f"The {region} of the PSF is no Gaussian" in caplog.text


def test_sidelobes_of_few_stations_leave_the_beam_alone():
    """Two more peaks of 0.9, as next to the main lobe of some stations, bend the quadrant's fit, but not the beam."""
    lobe = gaussian((64, 64), 9, 6, 0.1)
    psf = lobe.copy()
    for step in (-8, 8):  # to the north-west, and the other way
        psf += 0.9 * np.roll(lobe, (step, step), (0, 1))
    psf /= psf[32, 32]
    found = {region: fit_beam(psf, SCALE, 6 * SCALE, region).major / SCALE for region in ("quadrant", "lobe")}
    followed = fit_beam(psf, SCALE, 6 * SCALE, settings=BeamSettings(runaway=math.inf))
    assert followed.major / SCALE > 20
    assert found["quadrant"] == found["lobe"] == pytest.approx(9, rel=0.02)


def test_a_pedestal_costs_no_time_and_gives_one_beam():
    """However large the image, the fit of a PSF on a broad pedestal sees the same pixels, and gives the same beam."""
    north, east = np.mgrid[-1536:1536, -1536:1536]
    psf = (0.8 * np.exp(-(north**2 + east**2) / 18) + 0.2 / (1 + np.hypot(north, east) / 300)).astype(np.float32)
    psf /= psf[1536, 1536]
    whole, part = (fit_beam(image, ARCSEC, 5 * ARCSEC) for image in (psf, psf[1024:2048, 1024:2048]))
    assert BeamSettings.window == 1024
    assert whole == part


SECOND = {
    "crossed": Beam(8 * ARCSEC, 6 * ARCSEC, 1.2),
    "the same": Beam(9 * ARCSEC, 5 * ARCSEC, 0.4),
    "larger": Beam(20 * ARCSEC, 18 * ARCSEC, 2.9),
    "smaller": Beam(4 * ARCSEC, 3 * ARCSEC, 0.0),
}


@pytest.mark.parametrize("second", SECOND.values(), ids=SECOND)
def test_images_of_different_beams_become_the_same(second):
    """Smoothed to the common beam, two images of one sky are equal."""
    first, scale = Beam(9 * ARCSEC, 5 * ARCSEC, 0.4), 1 * ARCSEC
    common = common_beam(first, second)
    sky = np.zeros((120, 100), np.float32)
    sky[70, 45], sky[30, 60], sky[0, 99] = 1, 0.3, 0.2
    expected = restore(sky, common, scale)
    for own in (first, second):
        assert common.area(scale) >= own.area(scale) * (1 - 1e-6)
        seen = smooth(restore(np.pad(sky, 60), own, scale), own, common, scale)[60:-60, 60:-60]
        np.testing.assert_allclose(seen, expected, atol=2e-6)


def test_common_beam_is_no_larger_than_it_must_be():
    """It touches both: of nested beams it is the larger one, of crossed circles and ellipses less than their sum."""
    small, large = Beam(5 * ARCSEC, 4 * ARCSEC, 0.3), Beam(9 * ARCSEC, 8 * ARCSEC, 1.0)
    found = common_beam(small, large)
    assert (found.major, found.minor, found.pa) == pytest.approx((large.major, large.minor, large.pa))
    crossed = common_beam(Beam(9 * ARCSEC, 5 * ARCSEC, 0.0), Beam(9 * ARCSEC, 5 * ARCSEC, np.pi / 2))
    assert crossed.major == pytest.approx(9 * ARCSEC)
    assert crossed.minor == pytest.approx(9 * ARCSEC)

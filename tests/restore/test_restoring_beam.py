"""--beam-shape, --beam-size, --circular-beam, --theoretic-beam, --common-beam, and radrim restore."""

import math
import shutil
import subprocess
import warnings

import numpy as np
import pytest
from astropy.io import fits

import radrim
from radrim.beam import Beam, common_beam, fit_beam, restore
from radrim.config.options import ImageConfig
from radrim.errors import ConfigError, InputError, OutputError
from radrim.geometry import ARCSEC
from radrim.restore.restoring import RestoredRows, circle, common_beam_of, contains, restored

SCALE = 2 * ARCSEC
SMALL = Beam(14 * ARCSEC, 10 * ARCSEC, 0.4)
LARGE = Beam(20 * ARCSEC, 18 * ARCSEC, 1.1)


def some_beams(count, seed, alike):
    """Beams as of the channels of a cube: of similar angles, or of any."""
    rng = np.random.default_rng(seed)
    major = rng.uniform(1, 1.3, count) * 5 * ARCSEC
    pa = rng.normal(0.5, 0.1, count) if alike else rng.uniform(0, math.pi, count)
    return [Beam(*map(float, one)) for one in zip(major, major * rng.uniform(0.5, 1, count), pa % math.pi, strict=True)]


# The common beam


@pytest.mark.parametrize("alike", [True, False])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 300])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_common_beam_contains_all(count, seed, alike):
    """Every image can be smoothed to it; of two it is the exact one."""
    beams = some_beams(count, seed, alike)
    found = common_beam_of(beams)
    assert all(contains(found, beam, 1e-8) for beam in beams)
    if count == 1:
        assert found.major == pytest.approx(beams[0].major)
    if count == 2:
        pair = common_beam(*beams)
        assert (found.major, found.minor) == pytest.approx((pair.major, pair.minor), rel=1e-5)


@pytest.mark.parametrize("alike", [True, False])
@pytest.mark.parametrize("count", [2, 3, 20])
def test_no_program_finds_a_smaller_one(count, alike):
    """The area is at most that of radio-beam's common beam."""
    radio_beam = pytest.importorskip("radio_beam")
    from astropy import units

    beams = some_beams(count, 5, alike)
    axes = [[getattr(beam, name) for beam in beams] * units.rad for name in ("major", "minor", "pa")]
    with warnings.catch_warnings(action="ignore"):
        try:
            theirs = radio_beam.Beams(*axes).common_beam()
        except radio_beam.utils.BeamError as error:
            pytest.skip(f"radio-beam finds none: {error}")
    found = common_beam_of(beams)
    assert found.major * found.minor <= (theirs.major * theirs.minor).to_value("rad2") * (1 + 1e-6)


def test_beams_that_nearly_touch_converge():
    """Thousands of nearly equal beams, and one that is a thin line."""
    beams = [Beam(5 * ARCSEC * (1 + 1e-9 * k), 4 * ARCSEC, 0.3 + 1e-10 * k) for k in range(2000)]
    found = common_beam_of(beams)
    assert (found.major / ARCSEC, found.minor / ARCSEC) == pytest.approx((5, 4), rel=1e-5)
    thin = common_beam_of([*beams, Beam(50 * ARCSEC, 0.01 * ARCSEC, 2.0)])
    assert all(contains(thin, beam, 1e-7) for beam in beams[:3])
    assert thin.major > 49.9 * ARCSEC


# The restored image


def point(beam, shape=(96, 128), place=(40, 70)):
    """A point of 1 Jy seen with a beam, and its model."""
    model = np.zeros(shape, np.float32)
    model[place] = 1.0
    return model, restore(model, beam, SCALE)


def test_what_is_not_deconvolved_keeps_its_flux():
    """A point in the residual has the peak and the shape of one in the model, if the beam contains that of the PSF."""
    model, seen = point(SMALL)
    _, wanted = point(LARGE)
    nothing = np.zeros_like(model)
    np.testing.assert_allclose(restored(nothing, seen, LARGE, SMALL, SCALE), wanted, atol=2e-3)
    np.testing.assert_allclose(restored(model, nothing, LARGE, SMALL, SCALE), wanted, atol=1e-6)
    np.testing.assert_array_equal(restored(nothing, seen, SMALL, LARGE, SCALE), seen)


def test_rows_are_those_of_the_whole():
    """An image that is restored some rows at a time is the same."""
    rng = np.random.default_rng(3)
    model, residual = rng.random((2, 300, 64), np.float32)
    whole = restored(model, residual, LARGE, SMALL, SCALE)
    rows = RestoredRows(model, residual, LARGE, SMALL, SCALE)
    parts = np.concatenate([rows[start : min(start + 70, 300)] for start in range(0, 300, 70)])
    np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-4 * np.abs(whole).max())


@pytest.mark.parametrize("facet", [None, 64])
@pytest.mark.parametrize(
    "option, expected",
    [
        ({"beam_shape": "60asec 45 30"}, Beam(60 * ARCSEC, 45 * ARCSEC, math.radians(30))),
        ({"beam_size": "50"}, Beam(50 * ARCSEC, 50 * ARCSEC, 0.0)),
        ({"circular_beam": True}, None),
        ({"theoretic_beam": True}, "longest"),
    ],
)
def test_images_have_the_beam_that_is_wanted(small_ms, tmp_path, no_report, option, expected, facet):
    """Header and source; dirty image, PSF and residual keep the beam of the PSF."""
    common = {"size": 128, "scale": "5asec", "solver": "clean", "max_major": 3, "facet": facet}
    result = radrim.image(small_ms, name=tmp_path / "x", **common, **option)
    fitted = fit_beam(result.psf, result.grid.scale, result.fitted.minor)
    assert result.fitted.major == pytest.approx(fitted.major, rel=0.02)
    if expected is None:
        expected = circle(result.fitted)
    if expected == "longest":
        expected = result.beam
        assert result.beam.major == result.beam.minor
    for kind, beam in (("image", expected), ("residual", result.fitted), ("psf", result.fitted)):
        header = fits.getheader(tmp_path / f"x-{kind}.fits")
        assert [header[key] for key in ("BMAJ", "BMIN", "BPA")] == pytest.approx(
            np.degrees([beam.major, beam.minor, beam.pa]), abs=1e-9
        )
    again = restored(result.model, result.residual, expected, result.fitted, result.grid.scale)
    np.testing.assert_allclose(result.image, again, atol=1e-4 * np.abs(again).max())


@pytest.mark.parametrize("options", [{}, {"facet": 64}, {"cube": True}, {"pb": "gauss"}], ids=str)
def test_channels_get_a_common_beam(make_ms, tmp_path, no_report, options):
    """Channels of two octaves: one beam in all headers, and a source of flat spectrum has one peak."""
    ms = make_ms(windows=((1.0e9, 2), (1.4e9, 2)), noise=1e-3, times=12)
    common = {"size": 128, "scale": "6asec", "solver": "clean", "channels_out": 2, "max_major": 4, "niter": 500}
    result = radrim.image(ms, common_beam=True, name=tmp_path / "x", **common, **options)
    beams = [one.beam for one in result.channels]
    fitted = [one.fitted for one in result.channels]
    assert beams[0] == beams[1] == common_beam_of(fitted)
    assert fitted[0].major > 1.2 * fitted[1].major
    peaks = [float(one.image.max()) for one in result.channels]
    assert peaks[1] == pytest.approx(peaks[0], rel=0.03)
    if "cube" in options:
        header = fits.getheader(tmp_path / "x-image.fits")
        assert header["BMAJ"] == pytest.approx(math.degrees(beams[0].major))
        assert "CASAMBM" not in header
        with fits.open(tmp_path / "x-image.fits") as hdus:
            assert len(hdus) == 1
        assert fits.getheader(tmp_path / "x-residual.fits")["CASAMBM"]
    else:
        headers = [fits.getheader(tmp_path / f"x-000{k}-image.fits") for k in range(2)]
        assert headers[0]["BMAJ"] == headers[1]["BMAJ"] == pytest.approx(math.degrees(beams[0].major))
    if "pb" in options:
        image, pb = result.channels[0].image, result.channels[0].pb
        inside = pb >= 0.2
        np.testing.assert_allclose(result.channels[0].image_pb[inside], (image / pb)[inside], rtol=1e-5)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"beam_shape": "4asec 5asec 0deg"}, "the major axis comes first"),
        ({"beam_shape": "4asec"}, "takes major axis, minor axis and position angle"),
        ({"beam_size": "5asec", "circular_beam": True}, "both say what the restoring beam is"),
        ({"beam_size": "5asec", "common_beam": True, "channels_out": 4}, "both say what the restoring beam is"),
        ({"common_beam": True}, "--common-beam needs several output channels"),
        ({"beam_size": "5asec", "uncertainty": True}, "at the resolution of the PSF"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    """Before anything is read."""
    with pytest.raises(ConfigError, match=message):
        radrim.image("a.ms", **options)


def test_a_beam_narrower_than_a_pixel_is_refused(small_ms, tmp_path):
    """It cannot be shown."""
    with pytest.raises(ConfigError, match="narrower than a pixel"):
        radrim.image(small_ms, beam_size="1asec", size=64, scale="5asec", name=tmp_path / "x")


def test_options_survive_their_text():
    """The command line and the TOML file of a run give the same beam again."""
    config = ImageConfig.parse("a.ms", {"beam_shape": "7.3asec 4.1asec -20deg"})
    assert ImageConfig.parse("a.ms", {"beam_shape": config.as_text()["beam-shape"]}) == config
    words = config.as_arguments()
    assert words[:2] == ["a.ms", "--beam-shape"]
    assert len(words) == 5


def test_the_command_takes_wsclean_spelling(command, small_ms, tmp_path):
    """-beam-shape with arcsec and degrees."""
    words = ["--size", 64, 64, "--scale", "6asec", "--no-report", "--max-major", 1, "--solver", "clean"]
    words += ["-beam-shape", 40, 30, -20]
    assert command("image", small_ms, *words, "--name", tmp_path / "x").status == 0
    assert fits.getheader(tmp_path / "x-image.fits")["BPA"] == pytest.approx(160)


# radrim restore


@pytest.fixture
def files(tmp_path):
    """Model and residual of a point and a half-cleaned point, as FITS files of a run."""
    model, seen = point(SMALL)
    header = fits.Header(
        {"CTYPE1": "RA---SIN", "CRPIX1": 65.0, "CRVAL1": 20.0, "CDELT1": -2 / 3600, "CTYPE2": "DEC--SIN",
         "CRPIX2": 49.0, "CRVAL2": 30.0, "CDELT2": 2 / 3600, "BUNIT": "Jy/pixel", "BMAJ": math.degrees(SMALL.major),
         "BMIN": math.degrees(SMALL.minor), "BPA": math.degrees(SMALL.pa)}
    )  # fmt: skip
    fits.writeto(tmp_path / "m-model.fits", model, header)
    header["BUNIT"] = "Jy/beam"
    fits.writeto(tmp_path / "m-residual.fits", 0.5 * seen, header)
    return tmp_path / "m-model.fits", tmp_path / "m-residual.fits"


def test_files_are_restored(command, files, tmp_path):
    """With the beam of the residual, with a given one, and as a circle."""
    model, residual = (fits.getdata(path) for path in files)
    cases = [([], SMALL), (["--beam-shape", "20asec", "18asec", "1.1rad"], LARGE), (["--circular-beam"], circle(SMALL))]
    for words, beam in cases:
        done = command("restore", *files, *words, "--name", tmp_path / "out.fits", "--overwrite")
        assert done.status == 0
        image, header = fits.getdata(tmp_path / "out.fits", header=True)
        np.testing.assert_allclose(image, restored(model, residual, beam, SMALL, SCALE), atol=1e-5)
        assert header["BMAJ"] == pytest.approx(math.degrees(beam.major))
        assert header["BUNIT"] == "Jy/beam"
    assert command("restore", *files, "--name", tmp_path / "out.fits").err.count("exists") == 1


def test_the_model_part_is_that_of_wsclean(files, tmp_path):
    """WSClean's -restore with the same beam, to 1e-4 of the peak."""
    if shutil.which("wsclean") is None:
        pytest.skip("WSClean is not installed")
    from radrim.sky.restoring import WantedBeam, restore_files

    model, residual = files
    for path in files:
        data, header = fits.getdata(path, header=True)
        header["CTYPE3"], header["CRVAL3"], header["CRPIX3"], header["CDELT3"] = "FREQ", 1.4e9, 1.0, 1e6
        fits.writeto(path, (0 * data if path == residual else data)[None, None], header, overwrite=True)
    words = ["-beam-shape", "20asec", "18asec", f"{math.degrees(LARGE.pa)}deg"]
    subprocess.run(["wsclean", *words, "-restore", str(residual), str(model), str(tmp_path / "w.fits")], check=True)
    restore_files(model, residual, tmp_path / "x.fits", WantedBeam(LARGE))
    ours, theirs = (fits.getdata(tmp_path / f"{name}.fits").squeeze() for name in "xw")
    assert np.abs(ours - theirs).max() < 1e-4


def test_cubes_are_restored_with_a_common_beam(make_ms, tmp_path, no_report):
    """The files of a run without --common-beam become those of one with it; blank channels stay blank."""
    from radrim.sky.restoring import WantedBeam, restore_files

    ms = make_ms(windows=((1.0e9, 2), (1.4e9, 2)), noise=1e-3)
    common = {"size": 96, "scale": "6asec", "solver": "clean", "max_major": 2, "cube": True, "channels_out": 2}
    radrim.image(ms, name=tmp_path / "a", **common)
    radrim.image(ms, name=tmp_path / "b", common_beam=True, **common)
    beams = restore_files(
        tmp_path / "a-model.fits", tmp_path / "a-residual.fits", tmp_path / "c.fits", WantedBeam(common=True)
    )
    image, header = fits.getdata(tmp_path / "c.fits", header=True)
    wanted, other = fits.getdata(tmp_path / "b-image.fits", header=True)
    np.testing.assert_allclose(image, wanted, atol=1e-4 * np.abs(wanted).max())
    assert header["BMAJ"] == pytest.approx(other["BMAJ"], rel=1e-6)
    assert beams[0] == beams[1]
    restore_files(tmp_path / "a-model.fits", tmp_path / "a-residual.fits", tmp_path / "d.fits")
    with fits.open(tmp_path / "d.fits") as hdus, fits.open(tmp_path / "a-image.fits") as first:
        np.testing.assert_allclose(hdus[0].data, first[0].data, atol=1e-4 * np.abs(first[0].data).max())
        np.testing.assert_allclose(hdus["BEAMS"].data["BMAJ"], first["BEAMS"].data["BMAJ"], rtol=1e-6)


@pytest.mark.parametrize(
    "swap, change, message",
    [
        (True, {}, "is in 'Jy/beam', and a model must be in Jy/pixel"),
        (False, {"CRVAL1": 21.0}, "have other coordinates"),
        (False, {"BMAJ": None}, "has no beam"),
    ],
)
def test_files_that_do_not_fit_are_refused(files, tmp_path, swap, change, message):
    """With the reason."""
    from radrim.sky.restoring import restore_files

    with fits.open(files[1], mode="update") as hdus:
        for key, value in change.items():
            if value is None:
                del hdus[0].header[key]
            else:
                hdus[0].header[key] = value
    with pytest.raises(InputError, match=message):
        restore_files(*(files[::-1] if swap else files), tmp_path / "x.fits")
    assert not (tmp_path / "x.fits").exists()


def test_existing_files_are_not_replaced(files):
    """Unless --overwrite says so."""
    from radrim.sky.restoring import restore_files

    with pytest.raises(OutputError, match="--overwrite"):
        restore_files(*files, files[0])

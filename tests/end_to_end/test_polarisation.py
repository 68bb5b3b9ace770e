"""Several Stokes parameters in one run: values, files, headers, maps of linear polarisation, and what is refused."""

import math

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

import radrim
from radrim.cli.main import main
from radrim.config.options import ImageConfig
from radrim.errors import ConfigError, DataError
from radrim.report.qa import read_qa
from radrim.restore.polarisation import PolarisationSettings, polarisation_angle, polarised_intensity
from radrim.workdir.directory import WorkDir
from radrim.write.fits import read_image

LINEAR, CIRCULAR = ("XX", "XY", "YX", "YY"), ("RR", "RL", "LR", "LL")
SOURCE = {"I": 1.0, "Q": 0.10, "U": -0.06, "V": 0.03}
OPTIONS = {"size": 64, "scale": "5asec", "solver": "clean", "max_major": 3, "threads": 1}


@pytest.fixture(scope="module")
def polarised_ms(make_ms):
    """Factory of Measurement Sets of one polarised point source, by correlations."""
    made = {}

    def make(feeds):
        if feeds not in made:
            made[feeds] = make_ms(correlations=feeds, stokes=tuple(SOURCE.values()), noise=0.02, times=8, seed=3)
        return made[feeds]

    return make


@pytest.fixture(scope="module", params=[LINEAR, CIRCULAR], ids=["linear", "circular"])
def four(polarised_ms, tmp_path_factory, without_reports, request):
    """I, Q, U and V of linear and of circular feeds in one run."""
    with without_reports():
        return radrim.image(
            polarised_ms(request.param), pol="iquv", name=tmp_path_factory.mktemp("four") / "p", **OPTIONS
        )


@pytest.fixture(scope="module")
def channels(polarised_ms, tmp_path_factory, without_reports):
    """I, Q, U and V of two channels with a primary beam, as files of their own and as cubes."""
    folder = tmp_path_factory.mktemp("channels")
    more = {"channels_out": 2, "pb": "gauss", "pol": "IQUV", **OPTIONS}
    with without_reports():
        return [radrim.image(polarised_ms(LINEAR), name=folder / n, cube=n == "cube", **more) for n in ("one", "cube")]


def peak_of(image):
    """The pixel where Stokes I peaks."""
    return np.unravel_index(image.image.argmax(), image.image.shape)


def names_in(result):
    """Endings of the FITS files of a run."""
    path = result.paths["psf"]
    prefix = result.paths["run"].name.removesuffix("-run.toml")
    return sorted(found.name.removeprefix(f"{prefix}-") for found in path.parent.glob(f"{prefix}-*.fits"))


def test_the_source_comes_back(four):
    """Each Stokes parameter has the sign and value that was put in, whatever the feeds."""
    place = peak_of(four)
    for name, flux in SOURCE.items():
        image = four.polarisations[name]
        assert image.image[place] == pytest.approx(flux, abs=6 * image.noise), name
        assert image.stokes == name


def test_files_are_named_as_wscleans(four):
    """NAME-Q-image and the like; one PSF; the maps."""
    own = [f"{s}-{kind}.fits" for s in "IQUV" for kind in ("dirty", "model", "residual", "image")]
    assert names_in(four) == sorted([*own, "psf.fits", "P-image.fits", "angle.fits"])


def test_headers_and_beams_agree(four):
    """The STOKES axis of each file says what is in it; the beam and the number of samples are those of all."""
    headers = {s: fits.getheader(four.polarisations[s].paths["image"]) for s in "IQUV"}
    assert [headers[s]["CRVAL4"] for s in "IQUV"] == [1, 2, 3, 4]
    for keyword in ("BMAJ", "BMIN", "BPA", "RRNVIS", "RRVWSUM"):
        assert len({headers[s][keyword] for s in "IQUV"}) == 1, keyword
    assert len({four.polarisations[s].paths["psf"] for s in "IQUV"}) == 1
    assert len({image.tobytes() for image in (four.polarisations[s].psf for s in "IQUV")}) == 1


def test_quality_of_each(four):
    """NAME-qa.json is about the first, and has noise and peak of the others."""
    quality = read_qa(four.paths["qa"])
    assert quality["stokes"] == "I"
    assert list(quality["other_stokes"]) == ["Q", "U", "V"]
    for name, facts in quality["other_stokes"].items():
        image = four.polarisations[name]
        assert facts["residual_rms_jy_per_beam"] == pytest.approx(image.noise)
        assert facts["peak_jy_per_beam"] == pytest.approx(image.image.flat[np.abs(image.image).argmax()])
        assert facts["expected_from_scatter_jy_per_beam"] == pytest.approx(image.noise, rel=0.3)


def test_the_result_gives_all(four):
    """By name, from the files; what the run returns is the first one's."""
    assert list(four.polarisations) == list("IQUV")
    np.testing.assert_array_equal(four.polarisations["I"].image, four.image)
    for name in "QUV":
        np.testing.assert_array_equal(
            four.polarisations[name].model, read_image(four.polarisations[name].paths["model"])
        )


def test_maps_of_linear_polarisation(four):
    """Intensity and angle at the source follow from Q and U; where there is noise the angle is unknown."""
    y, x = peak_of(four)
    q, u = SOURCE["Q"], SOURCE["U"]
    intensity, angle, noise = four.linear.intensity, four.linear.angle, four.linear.noise
    assert intensity[y, x] == pytest.approx(math.hypot(q, u), abs=6 * noise)
    assert angle[y, x] == pytest.approx(math.degrees(0.5 * math.atan2(u, q)), abs=5)
    np.testing.assert_array_equal(np.isnan(angle), intensity < PolarisationSettings.certain * noise)
    assert np.isnan(angle).mean() > 0.8


def test_headers_of_the_maps(four):
    """Unit, kind, noise and how the bias was taken out; codes of casacore on the STOKES axis."""
    intensity, angle = (fits.getheader(four.linear.paths[kind]) for kind in ("image", "angle"))
    assert (intensity["BUNIT"], intensity["BTYPE"]) == ("Jy/beam", "polarized_intensity")
    assert (angle["BUNIT"], angle["BTYPE"]) == ("deg", "position_angle")
    assert intensity["RRDEBIAS"] == "sqrt(Q^2+U^2-s^2)"
    assert "Wardle" in intensity.comments["RRDEBIAS"]
    assert intensity["RRNOISE"] == pytest.approx(four.linear.noise)
    assert angle["RRPSIGMA"] == PolarisationSettings.certain
    assert (intensity["CRVAL4"], angle["CRVAL4"]) == (129, 132)
    assert "BMAJ" in intensity
    assert "north through east" in angle.comments["BUNIT"]


def test_alone_is_as_together(polarised_ms, tmp_path, no_report):
    """With nothing flagged, Q of a run of Q alone is that of a run of I and Q, in a file of its usual name."""
    alone = radrim.image(polarised_ms(LINEAR), pol="Q", name=tmp_path / "alone", **OPTIONS)
    both = radrim.image(polarised_ms(LINEAR), pol="I,Q", name=tmp_path / "both", **OPTIONS)
    assert alone.paths["image"].name == "alone-image.fits"
    assert alone.linear is None
    np.testing.assert_array_equal(alone.image, both.polarisations["Q"].image)


def test_channels_have_their_files(channels):
    """NAME-0000-Q-image, NAME-MFS-Q-image, one PSF and one primary beam for each channel."""
    kinds = ("dirty", "model", "residual", "image", "image-pb")
    of_stokes = [*(f"{s}-{kind}.fits" for s in "IQUV" for kind in kinds), "P-image.fits", "P-image-pb.fits"]
    each = [*of_stokes, "psf.fits", "pb.fits", "angle.fits"]
    assert names_in(channels[0]) == sorted(f"{label}-{name}" for label in ("0000", "0001", "MFS") for name in each)


@pytest.mark.parametrize("kind", ["dirty", "model", "image", "image_pb"])
def test_cubes_have_a_stokes_axis(channels, kind):
    """Axes (STOKES, FREQ, DEC, RA): each plane is the file of its own of the same run without --cube."""
    files, cube = channels
    path = cube.polarisations.channels["U"].headers[1].paths[kind]
    with fits.open(path) as hdus:
        hdus.verify("exception")
        data, header = hdus[0].data, hdus[0].header
        assert data.shape == (4, 2, 64, 64)
        assert (header["CTYPE4"], header["CRVAL4"], header["CDELT4"]) == ("STOKES", 1, 1)
        if kind != "model":
            table = hdus["BEAMS"]
            assert (table.header["NCHAN"], table.header["NPOL"]) == (2, 4)
            assert list(table.data["POL"]) == [0, 0, 1, 1, 2, 2, 3, 3]
            assert list(table.data["CHAN"]) == [0, 1] * 4
    for number, name in enumerate("IQUV"):
        for channel in range(2):
            own = files.polarisations.channels[name].plane(channel, kind)
            np.testing.assert_array_equal(data[number, channel], own)
            np.testing.assert_array_equal(cube.polarisations.channels[name].plane(channel, kind), own)


def test_cubes_of_what_is_shared(channels):
    """PSF and primary beam have one plane per channel; polarised intensity and angle are cubes, too."""
    files, cube = channels
    folder = cube.paths["run"].parent
    for name in ("psf", "pb", "P-image", "P-image-pb", "angle"):
        assert fits.getdata(folder / f"cube-{name}.fits").shape == (1, 2, 64, 64), name
    for channel in range(2):
        for name in ("P-image", "P-image-pb", "angle"):
            own = fits.getdata(folder / f"one-{channel:04d}-{name}.fits")[0, 0]
            np.testing.assert_array_equal(fits.getdata(folder / f"cube-{name}.fits")[0, channel], own)
    psf = cube.polarisations.channels["V"].plane(1, "psf")
    np.testing.assert_array_equal(psf, files.polarisations.channels["I"].plane(1, "psf"))


def test_beam_corrected_maps(channels):
    """Every Stokes parameter is divided by the same beam, and so is the noise under the polarised intensity."""
    result = channels[0]
    q, u = (result.polarisations[name] for name in "QU")
    inside = np.isfinite(q.image_pb)
    np.testing.assert_allclose(q.image_pb[inside], (q.image / q.pb)[inside], rtol=1e-5)
    found = read_image(result.linear.paths["image_pb"])
    expected = polarised_intensity(q.image, u.image, result.linear.noise) / q.pb
    np.testing.assert_allclose(found[inside], expected[inside], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(np.isfinite(found), inside)


def test_killed_after_every_step(polarised_ms, tmp_path, monkeypatch, no_report):
    """Q and U, interrupted after each thing that is kept: in the end the same bytes as of an unbroken run."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    words = ["image", str(polarised_ms(LINEAR)), "--pol", "QU", "--size", "64", "64", "--scale", "5asec",
             "--solver", "clean", "--max-major", "2", "--threads", "1", "--name", "x", "--quiet"]  # fmt: skip
    note, done = WorkDir.note, []

    def interrupted(self, name, facts):
        note(self, name, facts)
        done.append(name)
        if len(done) == 1:
            raise KeyboardInterrupt

    found = {}
    for folder in ("whole", "broken"):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        attempts = 0
        while attempts < 40:
            attempts += 1
            done.clear()
            with monkeypatch.context() as patch:
                if folder == "broken":
                    patch.setattr(WorkDir, "note", interrupted)
                if main(words) == 0:
                    break
        found[folder] = {path.name: path.read_bytes() for path in (tmp_path / folder).glob("*.fits")}
        assert not list((tmp_path / folder).glob("*.radrim"))
    assert attempts > 4
    assert found["broken"] == found["whole"]
    assert len(found["whole"]) == 11


def test_facets(polarised_ms, four, tmp_path, no_report):
    """In facets each Stokes parameter has its source, one PSF is written, and the maps follow."""
    result = radrim.image(polarised_ms(LINEAR), pol="IQU", facet=64, name=tmp_path / "f", **OPTIONS | {"size": 128})
    place = peak_of(result)
    for name in "IQU":
        image = result.polarisations[name]
        assert image.image[place] == pytest.approx(SOURCE[name], abs=8 * image.noise), name
    assert result.linear.intensity[place] == pytest.approx(math.hypot(0.1, 0.06), abs=8 * result.linear.noise)
    assert "psf.fits" in names_in(result)
    assert "I-psf.fits" not in names_in(result)
    np.testing.assert_array_equal(result.polarisations["U"].psf, result.psf)


def test_without_deconvolution_there_are_no_maps(polarised_ms, tmp_path, no_report):
    """--niter 0: dirty images and one PSF."""
    result = radrim.image(polarised_ms(LINEAR), pol="QU", niter=0, size=64, scale="5asec", name=tmp_path / "d")
    assert names_in(result) == ["Q-dirty.fits", "U-dirty.fits", "psf.fits"]
    assert result.linear is None


def test_what_two_hands_give(polarised_ms, make_ms, tmp_path, no_report):
    """RR and LL give I and V; Q and U are refused, and the message says what to image."""
    hands = make_ms(correlations=("RR", "LL"), stokes=tuple(SOURCE.values()), noise=0.02, seed=3)
    with pytest.raises(DataError, match=r"Stokes Q and U cannot be formed.*RL and LR.*Use --pol I,V\."):
        radrim.image(hands, pol="IQUV", name=tmp_path / "x", **OPTIONS)
    result = radrim.image(hands, pol="I,V", name=tmp_path / "x", **OPTIONS)
    assert result.polarisations["V"].image[peak_of(result)] == pytest.approx(0.03, abs=6 * result.noise)
    one = make_ms(correlations=("LL",))
    with pytest.raises(DataError, match=r"Stokes I and V.*Use --pol LL\."):
        radrim.image(one, pol="IV", name=tmp_path / "y", **OPTIONS)


def test_correlations_together(polarised_ms, tmp_path, no_report):
    """--pol XX,YY: two images whose half sum and difference are I and Q."""
    result = radrim.image(polarised_ms(LINEAR), pol="XX,YY", niter=0, size=64, scale="5asec", name=tmp_path / "x")
    whole = radrim.image(polarised_ms(LINEAR), pol="IQ", niter=0, size=64, scale="5asec", name=tmp_path / "i")
    xx, yy = (result.polarisations[name].dirty for name in ("XX", "YY"))
    np.testing.assert_allclose((xx + yy) / 2, whole.dirty, atol=2e-5)
    np.testing.assert_allclose((xx - yy) / 2, whole.polarisations["Q"].dirty, atol=2e-5)
    assert [fits.getheader(result.polarisations[n].paths["dirty"])["CRVAL4"] for n in ("XX", "YY")] == [-5, -6]


def test_the_report_shows_all(polarised_ms, tmp_path):
    """Vectors, intensity, angle, Q, U and V are in the page, and all files are listed."""
    result = radrim.image(polarised_ms(LINEAR), pol="IQUV", name=tmp_path / "r", **OPTIONS)
    page = result.paths["report"].read_text()
    for words in ("Electric vectors on the image", "Polarised intensity", "Angle of the electric vector", "Stokes V"):
        assert f'alt="{words}' in page
    for name in ("r-Q-image.fits", "r-P-image.fits", "r-angle.fits", "r-psf.fits"):
        assert name in page


@pytest.mark.parametrize(
    "given, expected",
    [
        ("IQUV", "I,Q,U,V"), ("iquv", "I,Q,U,V"), ("V,I", "I,V"), ("i q", "I,Q"), (["Q", "U"], "Q,U"), ("I", "I"),
        ("xx,yy", "XX,YY"), ("XXYY", "XX,YY"), ("xx,xy,yx,yy", "XX,YY,XY,YX"), ("I,I", "I"), ("rr ll", "RR,LL"),
    ],
)  # fmt: skip
def test_spellings(given, expected):
    """WSClean's, lists and blanks: in the order of FITS, each once."""
    config = ImageConfig.parse("a.ms", {"pol": given})
    assert config.pol == expected
    assert ImageConfig.parse("a.ms", {"pol": config.as_text()["pol"]}) == config


@pytest.mark.parametrize(
    "options, words",
    [
        ({"pol": "IW"}, ["IW", "I, Q, U, V", "IQUV"]),
        ({"pol": "I,XX"}, ["Stokes parameters and correlations", "one after the other"]),
        ({"pol": "IQV", "cube": True, "channels_out": 2}, ["--cube", "I,Q,V", "equal steps"]),
        ({"pol": "IQUV", "spectral_terms": 2, "channels_out": 4}, ["--spectral-terms", "--pol", "--channels-out"]),
    ],
)
def test_what_is_refused(options, words):
    """The message names what was given and what to do."""
    with pytest.raises(ConfigError) as error:
        ImageConfig.parse("a.ms", options)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("angle", [0, 30, 45, 90, -60])
def test_angle_is_north_through_east(angle):
    """Q > 0 along north, U > 0 along north-east (IAU 1973)."""
    q, u = math.cos(2 * math.radians(angle)), math.sin(2 * math.radians(angle))
    assert polarisation_angle(np.array([[q]]), np.array([[u]]), 1e-3)[0, 0] == pytest.approx(angle, abs=1e-4)


@pytest.mark.parametrize("strength", [3.0, 5.0, 10.0])
def test_intensity_is_unbiased(strength):
    """In the mean of many noisy Q and U the intensity is right to 3 %; without the correction it is too high."""
    rng = np.random.default_rng(1)
    q, u = strength + rng.standard_normal((1, 200_000)), rng.standard_normal((1, 200_000))
    assert polarised_intensity(q, u, 1.0).mean() == pytest.approx(strength, rel=0.03)
    assert np.hypot(q, u).mean() > polarised_intensity(q, u, 1.0).mean()


def test_noise_alone_has_hardly_an_angle():
    """Of pure noise less than 1 % is above three times the noise after the bias is taken out."""
    q, u = np.random.default_rng(2).standard_normal((2, 500, 500))
    assert np.isfinite(polarisation_angle(q, u, 1.0)).mean() < 0.01


def test_maps_lie_where_the_sky_is(four):
    """The WCS of the maps puts the source where Stokes I has it."""
    y, x = np.unravel_index(np.nanargmax(four.linear.intensity), four.linear.intensity.shape)
    headers = [fits.getheader(path) for path in (four.linear.paths["angle"], four.paths["image"])]
    places = [WCS(header).celestial.all_pix2world([[x, y]], 0)[0] for header in headers]
    np.testing.assert_allclose(*places, atol=1e-9)
    assert np.hypot(*np.subtract((y, x), peak_of(four))) <= 1.5

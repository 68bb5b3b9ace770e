import math
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from scipy.ndimage import map_coordinates

import radrim
from radrim.cli.main import main
from radrim.deconvolve.clean import CleanSolver
from radrim.deconvolve.minor import MinorCycle
from radrim.errors import SolverError
from radrim.geometry import ARCSEC
from radrim.metrics import noise_mad

KINDS = ("dirty", "psf", "model", "residual", "image")
POINT = SimpleNamespace(l=42.0, m=-24.0, flux=1.0)  # offsets [arcsec], flux [Jy]
GAUSSIAN = SimpleNamespace(l=-60.0, m=60.0, flux=0.5, fwhm=30.0)
SCALE = 3.0  # [arcsec]


@pytest.fixture(scope="module")
def sky_ms(make_ms):
    """A point source and a Gaussian, seen by nine antennas of VLA C twelve times."""
    from radrim.simulation import make_sky
    from radrim.sky.catalogue import offset_position

    places = [offset_position(s.l * ARCSEC, s.m * ARCSEC, 2.0, 0.6) for s in (POINT, GAUSSIAN)]
    ra, dec = (np.array([place[k] for place in places]) for k in (0, 1))
    stokes = [[POINT.flux, 0, 0, 0], [GAUSSIAN.flux, 0, 0, 0]]
    width = GAUSSIAN.fwhm * ARCSEC
    return make_ms(sky=make_sky(ra, dec, stokes, 1.4e9, shape=[(0, 0, 0), (width, width, 0)]), noise=0.01, times=12)


@pytest.fixture(scope="module")
def cleaned(sky_ms, tmp_path_factory):
    """One full run of the command, with everything it writes: its folder."""
    folder = tmp_path_factory.mktemp("cleaned")
    # One thread: with more, sums are rounded in another order each time.
    words = ["--size", "256", "256", "--scale", f"{SCALE}asec", "--name", folder / "v", "--threads", "1", "--quiet"]
    assert main(["image", *(str(word) for word in [sky_ms, *words])]) == 0
    return folder


class Stateless:
    """A minor cycle that remembers nothing."""

    psf_factor = 1

    def state(self):
        return {}, {}


def data(path):
    return fits.getdata(path)[0, 0].astype(np.float64)


def images(folder, name="v"):
    return {kind: data(folder / f"{name}-{kind}.fits") for kind in KINDS}


def around(image, source, radius):
    """Pixels within `radius` [arcsec] of a source: values, and offsets from the phase centre (l, m) [arcsec]."""
    y, x = np.indices(image.shape)
    ell, m = -(x - image.shape[1] // 2) * SCALE, (y - image.shape[0] // 2) * SCALE
    near = np.hypot(ell - source.l, m - source.m) < radius
    return image[near], ell[near], m[near]


def beam_area(header):
    """Pixels in the beam, from the header."""
    return np.pi * header["BMAJ"] * header["BMIN"] / (4 * np.log(2) * header["CDELT2"] ** 2)


@pytest.mark.parametrize("source", [POINT, GAUSSIAN], ids=["point", "gaussian"])
def test_sources_are_recovered(cleaned, source):
    """Flux within 2 % and centroid within 0.1 pixel, in the restored image that came out of the command."""
    values, ell, m = around(data(cleaned / "v-image.fits"), source, 45)
    flux = values.sum() / beam_area(fits.getheader(cleaned / "v-image.fits"))
    assert flux == pytest.approx(source.flux, rel=0.02)
    assert (values * ell).sum() / values.sum() == pytest.approx(source.l, abs=0.1 * SCALE)
    assert (values * m).sum() / values.sum() == pytest.approx(source.m, abs=0.1 * SCALE)


def test_the_header_puts_the_source_where_it_is(cleaned):
    """The brightest pixel of the image, through the FITS WCS, is at the point source's RA and Dec."""
    image, header = data(cleaned / "v-image.fits"), fits.getheader(cleaned / "v-image.fits")
    y, x = np.unravel_index(image.argmax(), image.shape)
    found = SkyCoord(*WCS(header).celestial.all_pix2world([[x, y]], 0)[0], unit="deg")
    centre = SkyCoord(2.0, 0.6, unit="rad")
    offset = centre.spherical_offsets_to(found)
    assert offset[0].arcsec == pytest.approx(POINT.l, abs=0.6 * SCALE)
    assert offset[1].arcsec == pytest.approx(POINT.m, abs=0.6 * SCALE)


def test_residual_is_noise(cleaned):
    """What is left is the noise that the weights promise, without sources."""
    residual, header = data(cleaned / "v-residual.fits"), fits.getheader(cleaned / "v-residual.fits")
    assert residual.std() < 1.5 * header["RRTHERM"]
    assert np.abs(residual).max() < 8 * header["RRTHERM"]
    assert header["RRNOISE"] == pytest.approx(noise_mad(residual), rel=1e-5)


def test_images_belong_together(cleaned):
    """Restored image minus residual is the model in the beam: its flux is the model's; the PSF's peak is exactly 1."""
    found = images(cleaned)
    area = beam_area(fits.getheader(cleaned / "v-image.fits"))
    assert (found["image"] - found["residual"]).sum() / area == pytest.approx(found["model"].sum(), rel=1e-3)
    assert found["psf"][128, 128] == found["psf"].max() == 1
    assert found["dirty"].max() > 0.8
    assert np.abs(found["residual"]).max() < 0.05 * found["dirty"].max()


def test_file_names(cleaned):
    """WSClean's names, the picture, the report and the settings; nothing else, no temporary file."""
    names = {f"v-{kind}.fits" for kind in KINDS} | {"v.png", "v-report.html", "v-run.toml", "v-qa.json"}
    assert {path.name for path in cleaned.iterdir()} == names


@pytest.mark.parametrize("kind", KINDS)
def test_headers(cleaned, kind):
    """What DS9, CARTA and CASA want to know: axes, unit, beam, frequency, telescope, object, date, history."""
    header = fits.getheader(cleaned / f"v-{kind}.fits")
    assert [header[f"CTYPE{k}"] for k in (1, 2, 3, 4)] == ["RA---SIN", "DEC--SIN", "FREQ", "STOKES"]
    assert header["BUNIT"] == ("Jy/pixel" if kind == "model" else "Jy/beam")
    assert ("BMAJ" in header) == (kind != "model")
    assert (header["CRPIX1"], header["CRPIX2"]) == (129, 129)
    assert header["CRVAL1"] == pytest.approx(math.degrees(2.0))
    assert header["CRVAL2"] == pytest.approx(math.degrees(0.6))
    assert header["CDELT2"] == pytest.approx(SCALE / 3600)
    assert header["CRVAL3"] == pytest.approx(1.395e9, rel=1e-3)  # weighted, so not exactly the middle
    assert header["CDELT3"] == pytest.approx(40e6)
    assert (header["TELESCOP"], header["OBJECT"], header["SPECSYS"]) == ("VLA", "FIELD0", "TOPOCENT")
    assert header["DATE-OBS"].startswith("2026-01-01")
    assert (header["RRWEIGHT"], header["RRDATAC"]) == ("briggs 0", "DATA")
    assert header["RRNVIS"] == 12 * 36 * 4
    history = " ".join(header["HISTORY"])
    assert "radrim image" in history
    assert "--scale 3.0asec" in history


def test_beam_in_the_header_is_the_psfs(cleaned):
    """The PSF falls to half its peak half of BMAJ away along BPA, north through east, and half of BMIN across."""
    psf, header = data(cleaned / "v-psf.fits"), fits.getheader(cleaned / "v-psf.fits")
    for axis, degrees in (("BMAJ", header["BPA"]), ("BMIN", header["BPA"] + 90)):
        reach, angle = header[axis] / header["CDELT2"] / 2, math.radians(degrees)
        place = [[128 + reach * math.cos(angle)], [128 - reach * math.sin(angle)]]
        assert map_coordinates(psf, place)[0] == pytest.approx(0.5, abs=0.1)


def test_repeated_from_its_settings(cleaned, tmp_path, no_report):
    """NAME-run.toml given to --config makes the same images again, bit by bit (with one thread)."""
    assert main(["image", "--config", str(cleaned / "v-run.toml"), "--name", str(tmp_path / "v"), "--quiet"]) == 0
    for kind, image in images(cleaned).items():
        np.testing.assert_array_equal(data(tmp_path / f"v-{kind}.fits"), image, err_msg=kind)


def test_own_choices_are_repeated_from_the_settings(sky_ms, tmp_path, no_report):
    """A scale that radrim chose comes back from NAME-run.toml to the last bit."""
    first = radrim.image(sky_ms, name=tmp_path / "a", size=128, niter=0, threads=1)
    assert main(["image", "--config", str(tmp_path / "a-run.toml"), "--name", str(tmp_path / "b"), "--quiet"]) == 0
    np.testing.assert_array_equal(data(tmp_path / "b-dirty.fits"), first.dirty)
    assert fits.getheader(tmp_path / "b-dirty.fits")["CDELT2"] == fits.getheader(tmp_path / "a-dirty.fits")["CDELT2"]


def test_one_dash_gives_the_same_images(sky_ms, tmp_path, no_report):
    """WSClean's spelling of the options makes the same files."""
    words = [
        "-size",
        "128",
        "128",
        "-scale",
        "3asec",
        "-weight",
        "briggs",
        "-0.5",
        "-niter",
        "50",
        "-mgain",
        "0.7",
        "-auto-threshold",
        "3",
        "-j",
        "1",
    ]
    for name, line in (("one", words), ("two", [f"-{w}" if w[:1] == "-" and w[1].isalpha() else w for w in words])):
        assert main(["image", *line, "-name", str(tmp_path / name), "-quiet", str(sky_ms)]) == 0
    for kind in KINDS:
        np.testing.assert_array_equal(data(tmp_path / f"one-{kind}.fits"), data(tmp_path / f"two-{kind}.fits"))


@pytest.mark.parametrize("report", [True, False])
def test_niter_0_writes_dirty_image_and_psf_only(sky_ms, tmp_path, request, report):
    """--niter 0: no model, no restored image; picture, report and settings all the same."""
    if not report:
        request.getfixturevalue("no_report")
    words = ["--size", "128", "128", "--scale", "3asec", "--niter", "0", "--quiet", "--name", str(tmp_path / "d")]
    assert main(["image", str(sky_ms), *words]) == 0
    names = {"d-dirty.fits", "d-psf.fits", "d-run.toml", "d-qa.json"} | (
        {"d.png", "d-report.html"} if report else set()
    )
    assert {path.name for path in tmp_path.iterdir()} == names


def test_default_name_is_that_of_the_measurement_set(sky_ms, tmp_path, monkeypatch, no_report):
    """Files begin with the Measurement Set's name without its ending, whatever dots it holds, in the current folder."""
    shutil.copytree(sky_ms, tmp_path / "in" / "3c391_4.6GHz.ms")
    monkeypatch.chdir(tmp_path)
    result = radrim.image("in/3c391_4.6GHz.ms", size=64, scale="4asec", niter=0)
    assert result.paths["dirty"].name == "3c391_4.6GHz-dirty.fits"
    assert (tmp_path / "3c391_4.6GHz-dirty.fits").exists()


@pytest.mark.parametrize("halo, limit", [(128, 5), (32, 40)])
def test_tiles_agree_with_one_image(cleaned, sky_ms, tmp_path, no_report, monkeypatch, halo, limit):
    """Four tiles restore what one does: to the noise if they see all, to 1 % of the peak through a thin halo."""
    monkeypatch.setattr("radrim.imagers.minor_cycles.MinorCycleSettings.clean_halo", halo)
    result = radrim.image(sky_ms, size=256, scale=f"{SCALE}asec", tile=128, name=tmp_path / "t")
    whole, noise = images(cleaned), fits.getheader(cleaned / "v-image.fits")["RRTHERM"]
    # Other numbers of threads divide the samples differently: equal within the accuracy asked for.
    np.testing.assert_allclose(result.dirty, whole["dirty"], atol=3e-4 * whole["dirty"].max())
    assert np.abs(result.image - whole["image"]).max() < limit * noise
    assert np.abs(result.residual).max() < 10 * noise


@pytest.fixture(scope="module")
def two_channels(sky_ms, tmp_path_factory, without_reports):
    """A run with --channels-out 2: the result and the folder."""
    folder = tmp_path_factory.mktemp("channels")
    with without_reports():
        result = radrim.image(sky_ms, size=128, scale=f"{SCALE}asec", channels_out=2, name=folder / "c")
    return result, folder


def test_output_channels_have_their_own_files(two_channels):
    """NAME-0000-*, NAME-0001-* and NAME-MFS-*, each with its own frequency."""
    _, folder = two_channels
    names = {f"c-{label}-{kind}.fits" for label in ("0000", "0001", "MFS") for kind in KINDS}
    names |= {"c-run.toml", "c-qa.json"}
    assert {path.name for path in folder.iterdir()} == names
    band = {label: fits.getheader(folder / f"c-{label}-image.fits") for label in ("0000", "0001", "MFS")}
    assert {label: header["CRVAL3"] for label, header in band.items()} == pytest.approx(
        {"0000": 1.385e9, "0001": 1.405e9, "MFS": 1.395e9}, rel=1e-3
    )
    assert [band[label]["CDELT3"] for label in ("0000", "0001", "MFS")] == pytest.approx([20e6, 20e6, 40e6])
    assert [band[label]["RRNVIS"] for label in ("0000", "0001", "MFS")] == [864, 864, 1728]
    assert "RRTHERM" in band["MFS"]
    assert "RRTHERM" not in band["0000"]


def test_channels_are_read_from_their_files(two_channels):
    """The result holds no channel's images, so that their number does not matter; each comes when it is asked for."""
    result, folder = two_channels
    assert len(result.channels) == 2
    assert [channel.label for channel in result.channels[:]] == ["0000", "0001"]
    for number, channel in enumerate(result.channels):
        for kind in KINDS:
            np.testing.assert_array_equal(getattr(channel, kind), data(folder / f"c-{number:04d}-{kind}.fits"))
        assert channel.cycles
        assert channel.beam.major > 0
    assert not any(isinstance(value, np.ndarray) for image in result.channels._images for value in vars(image).values())


def test_the_report_shows_some_of_many_channels(sky_ms, tmp_path, no_report, monkeypatch):
    """Evenly spaced ones, and says so; all files are listed."""
    written = []
    monkeypatch.setattr("radrim.output.write_report", lambda path, report, *where: written.append(report))
    monkeypatch.setattr("radrim.output.ReportSettings.output_channels", 2)
    radrim.image(sky_ms, size=64, scale="6asec", channels_out=4, niter=0, name=tmp_path / "c")
    (report,) = written
    assert [image.label for image in report.images] == ["MFS", "0000", "0003"]
    assert "Of 4 channels, 2 are shown here." in report.notes
    assert sum(name.endswith("-dirty.fits") for name in report.files) == 5


@pytest.mark.parametrize("kind", ["dirty", "psf", "model", "residual"])
def test_mfs_images_are_the_weighted_average(two_channels, kind):
    """NAME-MFS-* is the mean of the channels, each counted by its sum of weights."""
    result, folder = two_channels
    weight = [fits.getheader(folder / f"c-{label}-dirty.fits")["RRVWSUM"] for label in ("0000", "0001")]
    parts = [data(folder / f"c-{label}-{kind}.fits") for label in ("0000", "0001")]
    expected = np.average(parts, axis=0, weights=weight)
    np.testing.assert_allclose(data(folder / f"c-MFS-{kind}.fits"), expected, atol=1e-6)
    np.testing.assert_array_equal(getattr(result, kind), data(folder / f"c-MFS-{kind}.fits"))


def test_mfs_dirty_image_is_that_of_all_channels(two_channels, cleaned, sky_ms, tmp_path, no_report):
    """Weights are computed over all channels, so the average of the dirty images is the dirty image of one channel."""
    result, _ = two_channels
    single = radrim.image(sky_ms, size=128, scale=f"{SCALE}asec", niter=0, name=tmp_path / "s")
    np.testing.assert_allclose(result.dirty, single.dirty, atol=1e-4)
    np.testing.assert_allclose(result.psf, single.psf, atol=1e-4)


def test_mask_is_obeyed(sky_ms, cleaned, tmp_path, no_report):
    """With --mask around the point source nothing else enters the model, apart from kernels that reach out of it."""
    mask = np.zeros((256, 256), np.float32)
    y, x = int(128 + POINT.m / SCALE), int(128 - POINT.l / SCALE)
    mask[y - 4 : y + 5, x - 4 : x + 5] = 1
    fits.writeto(tmp_path / "mask.fits", mask, fits.getheader(cleaned / "v-dirty.fits"))
    result = radrim.image(
        sky_ms, size=256, scale=f"{SCALE}asec", mask=tmp_path / "mask.fits", multiscale=False, name=tmp_path / "m"
    )
    assert not result.model[mask == 0].any()
    assert result.model.sum() == pytest.approx(POINT.flux, rel=0.15)


@pytest.mark.parametrize("operator", ["nufft", "dft"])
def test_operators_make_the_same_dirty_image(cleaned, sky_ms, tmp_path, no_report, operator):
    """--operator changes how, not what: within the accuracy of --epsilon."""
    result = radrim.image(sky_ms, size=256, scale=f"{SCALE}asec", niter=0, operator=operator, name=tmp_path / "o")
    np.testing.assert_allclose(result.dirty, images(cleaned)["dirty"], atol=2e-4)


def test_diverging_solver_leaves_the_dirty_image(sky_ms, tmp_path, no_report, monkeypatch):
    """A minor cycle that makes things worse is undone; what is written is finite and no worse than the dirty image."""

    class Worse(Stateless):
        def __init__(self, settings, threads):
            pass

        def __call__(self, residual, *rest):
            return MinorCycle(-residual, 1, 0.0, "wrong way", False)

    monkeypatch.setattr("radrim.imagers.minor_cycles.CleanSolver", Worse)
    result = radrim.image(sky_ms, size=128, scale="3asec", solver="clean", name=tmp_path / "w")
    assert "no better" in result.stop
    np.testing.assert_array_equal(result.residual, result.dirty)
    assert not result.model.any()


class Failing(CleanSolver):
    """CLEAN that meets broken numbers in its last cycle, which is the first unless a test says otherwise."""

    last = 1

    def __init__(self, settings, threads):
        super().__init__(settings, threads)
        self.calls = 0

    def __call__(self, *arguments):
        self.calls += 1
        if self.calls == self.last:
            raise SolverError("The residual has 3 values that are NaN or infinite.")
        return super().__call__(*arguments)


def test_nan_from_a_solver_names_the_tile(sky_ms, tmp_path, no_report, monkeypatch, command):
    """A solver that meets broken numbers ends the run with the tile's place; dirty image and PSF are kept."""
    monkeypatch.setattr("radrim.imagers.minor_cycles.CleanSolver", Failing)
    words = ["image", sky_ms, "--size", 128, 128, "--scale", "3asec", "--solver", "clean", "--name", tmp_path / "n"]
    done = command(*words)
    assert done.status == 2
    assert "tile y 0:128, x 0:128: The residual has 3 values that are NaN" in done.err
    assert {path.name for path in tmp_path.iterdir()} == {"n-dirty.fits", "n-psf.fits"}
    assert np.isfinite(data(tmp_path / "n-dirty.fits")).all()
    assert "n-dirty.fits" in done.out


def test_what_was_finished_before_a_failure_is_kept(sky_ms, tmp_path, no_report, monkeypatch, command):
    """A solver that fails in its second cycle leaves all images of the first one, of each channel, and no average."""
    monkeypatch.setattr("radrim.imagers.minor_cycles.CleanSolver", Failing)
    monkeypatch.setattr(Failing, "last", 2)
    words = ["image", sky_ms, "--size", 128, 128, "--scale", "3asec", "--solver", "clean", "--name", tmp_path / "n"]
    done = command(*words, "--channels-out", 2, "--threads", 2)
    assert done.status == 2
    assert "tile y 0:128, x 0:128: The residual has 3 values that are NaN" in done.err
    assert "0001, stopped: a minor cycle failed in major cycle 2." in done.out
    labels = ("0000", "0001")
    assert {p.name for p in tmp_path.iterdir()} == {f"n-{label}-{kind}.fits" for label in labels for kind in KINDS}
    for label in labels:
        found = images(tmp_path, f"n-{label}")
        assert all(np.isfinite(image).all() for image in found.values())
        assert found["model"].max() > 0.1
        assert found["residual"].std() < 0.5 * found["dirty"].std()
        assert fits.getheader(tmp_path / f"n-{label}-image.fits")["RRMAJOR"] == 1


def test_everything_that_was_chosen_is_said(sky_ms, tmp_path, no_report, command):
    """Without options the command says telescope, scale, size, weighting and noise, and why."""
    done = command("image", sky_ms, "--niter", 0, "--name", tmp_path / "x")
    assert done.status == 0
    assert done.err == ""
    for words in ("Read VLA, FIELD0", "Pixel scale", "pixels across the narrow side of the PSF", "Image size"):
        assert words in done.out
    for words in ("sources that a quick look at 1.2deg found", "will take about", "Weighting briggs 0", "Done in"):
        assert words in done.out


def test_polarisation(make_ms, point_source, tmp_path, no_report):
    """--pol Q images Stokes Q, and the header's STOKES axis says so."""
    path = make_ms(correlations=("RR", "RL", "LR", "LL"), stokes=(1.0, -0.3, 0.2, 0.1), noise=0.001)
    for stokes, flux, code in (("Q", -0.3, 2), ("V", 0.1, 4), ("RR", 1.1, -1)):
        result = radrim.image(path, size=128, scale="3asec", pol=stokes, name=tmp_path / stokes)
        y, x = result.grid.pixel(point_source.l, point_source.m)
        # A third of a pixel away from the source, so a bit below its flux.
        assert result.image[round(y), round(x)] == pytest.approx(flux, rel=0.05)
        assert fits.getheader(result.paths["image"])["CRVAL4"] == code


def test_fitted_noise_is_named(make_ms, command, tmp_path, no_report):
    """Cleaning far below the noise is said where nothing judges it, and does not happen where something does."""
    words = ["image", make_ms(noise=0.1, times=24), "--size", 128, 128, "--solver", "clean", "--name", tmp_path / "n"]
    words += ["--auto-mask", 0.2, "--auto-threshold", 0.1]
    assert "noise has been fitted" in command(*words, "--holdout", 0).out
    assert "noise has been fitted" not in command(*words[:-4], "--holdout", 0).out
    command(*words)
    header = fits.getheader(tmp_path / "n-residual.fits")
    assert fits.getdata(tmp_path / "n-residual.fits").std() > 0.9 * header["RRTHERM"]

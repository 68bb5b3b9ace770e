"""`--start-model` and `--continue`: where the deconvolution begins."""

import shutil

import numpy as np
import pytest
from astropy.io import fits

import radrim
from radrim.errors import ConfigError, InputError
from radrim.geometry import ARCSEC, ImageGrid
from radrim.visibilities import Observation
from radrim.write.fits import image_header, write_fits

HOW = {"size": 64, "scale": "5asec", "weight": "natural", "threads": 1}
GRID = ImageGrid(64, 64, 5 * ARCSEC, 2.0, 0.6)

pytestmark = pytest.mark.usefixtures("no_report")


@pytest.fixture(scope="module")
def ms(make_ms):
    """A source on the middle of a pixel of `GRID`, and noise."""
    return make_ms(windows=((1.38e9, 4),), noise=0.05)


@pytest.fixture
def write_model(tmp_path):
    """Factory of start models: `write_model(flux, grid=..., freq=..., stokes=...) -> Path`; a point at the source."""

    def write(flux, grid=GRID, freq=1.4e9, stokes="I", name="start"):
        image = np.zeros(grid.shape, np.float32)
        image[grid.height // 2 - 5, grid.width // 2 - 8] = flux
        path = tmp_path / f"{name}.fits"
        write_fits(path, image, image_header(grid, freq, 1e7, Observation([], grid.ra, grid.dec), stokes, "Jy/pixel"))
        return path

    return write


@pytest.mark.parametrize("solver", ["clean", "rim"])
def test_zero_is_no_start_model(ms, write_model, tmp_path, solver):
    """A start model of zeros changes not one bit of the images."""
    plain = radrim.image(ms, name=tmp_path / "plain", solver=solver, max_major=2, **HOW)
    empty = radrim.image(ms, name=tmp_path / "empty", solver=solver, max_major=2, start_model=write_model(0.0), **HOW)
    for kind in ("model", "residual", "image"):
        assert np.array_equal(getattr(plain, kind), getattr(empty, kind))


@pytest.mark.parametrize("solver", ["clean", "rim"])
def test_truth_leaves_noise(ms, write_model, tmp_path, solver):
    """Beginning with the truth, a solver leaves it nearly as it is, and the residual is the noise."""
    done = radrim.image(ms, name=tmp_path / "done", solver=solver, start_model=write_model(1.0), **HOW)
    expected = 0.05 / np.sqrt(2 * 36 * 6 * 4)
    assert done.model.sum() == pytest.approx(1.0, abs=0.05)
    assert 0.6 * expected < done.residual.std() < 1.3 * expected
    assert done.cycles[0]["rms"] < 1.3 * expected  # from the first cycle on: it did not find the source by itself


@pytest.mark.parametrize("solver", ["clean", "rim"])
def test_continue_is_no_worse(ms, tmp_path, solver):
    """A second run that continues the first has at least as good a residual, and begins with that of the first."""
    first = radrim.image(ms, name=tmp_path / "run", solver="clean", max_major=1, **HOW)
    before = fits.getdata(first.paths["residual"])
    second = radrim.image(ms, name=tmp_path / "run", solver=solver, continue_run=True, **HOW)
    assert second.residual.std() <= 1.001 * before.std()
    assert not np.array_equal(fits.getdata(second.paths["residual"]), before)  # the files are those of the second
    assert np.array_equal(fits.getdata(second.paths["model"]).squeeze(), second.model)


def test_continue_a_finished_run(ms, tmp_path):
    """A run that was complete is not made worse by continuing it."""
    first = radrim.image(ms, name=tmp_path / "run", solver="clean", **HOW)
    second = radrim.image(ms, name=tmp_path / "run", solver="clean", continue_run=True, **HOW)
    assert second.residual.std() <= 1.02 * first.residual.std()


@pytest.mark.parametrize("more", [{}, {"spectral_terms": 2}])
def test_channels_continue_with_their_own(ms, tmp_path, more):
    """Every output channel begins with its own model; its first residual is that of the run before."""
    how = HOW | {"channels_out": 2, "solver": "clean"} | more
    first = radrim.image(ms, name=tmp_path / "run", max_major=2, **how)
    models = [channel.model.copy() for channel in first.channels]
    models[1] *= np.float32(0.5)  # what no other way than through the file could come about
    with fits.open(first.channels.paths[0].parent / "run-0001-model.fits", mode="update") as hdus:
        hdus[0].data[...] = models[1]
    second = radrim.image(ms, name=tmp_path / "run", max_major=1, niter=1, continue_run=True, **how)
    for one, model in zip(second.channels, models, strict=True):
        # One component at most has been added to it.
        assert np.abs(one.model - model).sum() < 0.2 * np.abs(model).sum()


def test_one_model_for_all_channels(ms, write_model, tmp_path):
    """A model of one frequency is that of every output channel."""
    done = radrim.image(
        ms, name=tmp_path / "x", solver="clean", channels_out=2, max_major=1, niter=1, start_model=write_model(1.0),
        **HOW,
    )  # fmt: skip
    assert all(channel.model.sum() == pytest.approx(1.0, abs=0.1) for channel in done.channels)


def test_residual_of_a_start_model(ms, write_model, tmp_path):
    """--niter 0 with a start model leaves the model as it is, and writes its residual and the restored image."""
    done = radrim.image(ms, name=tmp_path / "x", niter=0, start_model=write_model(1.0), **HOW)
    assert done.model.sum() == pytest.approx(1.0, abs=1e-5)
    assert np.abs(done.residual).max() < 0.1 * np.abs(done.dirty).max()
    assert done.image.max() == pytest.approx(1.0, abs=0.1)
    assert "start model alone" in done.stop


@pytest.mark.parametrize("facet", [None, 64])
def test_several_stokes_parameters(ms, write_model, tmp_path, facet):
    """Each Stokes parameter begins with its own model; one that has none begins with an empty model."""
    done = radrim.image(
        ms, name=tmp_path / "x", niter=0, pol="I,Q", start_model=write_model(1.0), facet=facet, **HOW,
    )  # fmt: skip
    assert done.polarisations["I"].model.sum() == pytest.approx(1.0, abs=1e-5)
    assert not done.polarisations["Q"].model.any()


def test_killed_run_goes_on_from_what_it_began_with(ms, tmp_path, monkeypatch):
    """A run that continues, and is killed once it has replaced its first model, gives what it would have given."""
    how = HOW | {"channels_out": 2, "solver": "clean"}
    radrim.image(ms, name=tmp_path / "run", max_major=1, **how)
    for path in tmp_path.glob("run-*"):
        shutil.copy(path, tmp_path / path.name.replace("run", "other"))
    whole = radrim.image(ms, name=tmp_path / "other", continue_run=True, **how)

    class Killed(BaseException):
        pass

    write = radrim.output.Output.write_images
    calls = []

    def write_then_die(self, *args):
        write(self, *args)
        calls.append(args)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("radrim.output.Output.write_images", write_then_die)
        with pytest.raises(Killed):
            radrim.image(ms, name=tmp_path / "run", continue_run=True, **how)
    assert calls
    assert (tmp_path / "run.radrim").exists()
    again = radrim.image(ms, name=tmp_path / "run", continue_run=True, **how)
    for one, other in zip(again.channels, whole.channels, strict=True):
        assert np.array_equal(one.model, other.model)
        assert np.array_equal(one.residual, other.residual)


def test_another_start_model_is_another_run(ms, write_model, tmp_path, monkeypatch):
    """An unfinished run does not go on with a start model that has changed."""
    path = write_model(1.0)
    radrim.image(ms, name=tmp_path / "run", solver="clean", start_model=path, keep=True, **HOW)
    write_model(0.7)
    with pytest.raises(ConfigError, match=r"unfinished run of something else .*start\.fits"):
        radrim.image(ms, name=tmp_path / "run", solver="clean", start_model=path, **HOW)


@pytest.mark.parametrize(
    "grid, found",
    [
        (ImageGrid(32, 64, 5 * ARCSEC, 2.0, 0.6), "32 x 64 pixels of 5asec"),
        (ImageGrid(64, 64, 4 * ARCSEC, 2.0, 0.6), "64 x 64 pixels of 4asec"),
        (ImageGrid(64, 64, 5 * ARCSEC, 2.0, 0.6 + ARCSEC), "around"),
    ],
)
def test_other_pixels(ms, write_model, tmp_path, grid, found):
    """A model of other pixels is refused, with both grids, and nothing is left behind."""
    path = write_model(1.0, grid)
    with pytest.raises(InputError, match=f"{found}.* and the run's image 64 x 64 pixels of 5asec .* same pixels"):
        radrim.image(ms, name=tmp_path / "run", start_model=path, **HOW)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"start_model": "x.fits", "continue_run": True}, "--start-model does not work with --continue: both name"),
        ({"continue_run": True}, "There is no .*run-model.fits"),
        ({"start_model": "x.fits"}, "x.fits cannot be read: No such file"),
    ],
)
def test_what_cannot_be(ms, tmp_path, options, message):
    """Options that exclude each other and models that are not there are named."""
    with pytest.raises((ConfigError, InputError), match=message):
        radrim.image(ms, name=tmp_path / "run", **HOW | options)


def test_own_file(ms, tmp_path):
    """--start-model of a file that the run itself would replace is answered with --continue."""
    radrim.image(ms, name=tmp_path / "run", solver="clean", max_major=1, **HOW)
    with pytest.raises(ConfigError, match="will be replaced by this run: give --continue"):
        radrim.image(ms, name=tmp_path / "run", start_model=tmp_path / "run-model.fits", **HOW)


def test_another_stokes_parameter(ms, write_model, tmp_path):
    """A model of Q is no start for I; one of three frequencies none for two channels."""
    with pytest.raises(InputError, match="is of Stokes Q, and the run of I"):
        radrim.image(ms, name=tmp_path / "run", start_model=write_model(1.0, stokes="Q"), **HOW)
    header = fits.getheader(write_model(1.0))
    fits.writeto(tmp_path / "cube.fits", np.zeros((1, 3, 64, 64), np.float32), header)
    with pytest.raises(InputError, match="has 3 frequencies, and the run 2 output channels"):
        radrim.image(ms, name=tmp_path / "run", channels_out=2, start_model=tmp_path / "cube.fits", **HOW)


def test_command_line(ms, tmp_path, command):
    """WSClean's spelling, -continue, works."""
    words = f"-size 64 64 -scale 5asec -weight natural --solver clean -j 1 -name {tmp_path / 'run'}".split()
    assert command("image", ms, *words, "-nmiter", 1).status == 0
    answer = command("image", "-continue", ms, *words)
    assert answer.status == 0
    assert "start model: flux" in answer.out

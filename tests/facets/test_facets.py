"""Images made in facets: the same as made at once, in less memory, and as proof against kills."""

import errno
import itertools
import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import radrim
from radrim.cli.main import main
from radrim.config.options import ImageConfig
from radrim.deconvolve.tiles import Tiles
from radrim.errors import ConfigError
from radrim.facets.faceted import Summary
from radrim.facets.images import FacetImage, facet_statistics
from radrim.facets.tasks import FacetTasks
from radrim.geometry import ImageGrid
from radrim.metrics import noise_mad
from radrim.report import overview
from radrim.result import Image
from radrim.runtime import memory as budget
from radrim.runtime.memory import plan_memory
from radrim.workdir.store import Store
from radrim.write.fits import fits_file, image_header, open_image, read_image, write_fits

KINDS = ("dirty", "psf", "model", "residual", "image")


@pytest.fixture(scope="module")
def quiet(tmp_path_factory, without_reports):
    """Without pictures and reports."""
    with without_reports():
        yield tmp_path_factory.mktemp("facets")


def image(ms, name, **options):
    return radrim.image(ms, **{"size": 256, "scale": "3asec", "name": name} | options)


@pytest.fixture(scope="module")
def both(extended, quiet):
    """The same image at once and in sixteen facets."""
    return image(extended, quiet / "whole"), image(extended, quiet / "facets", facet=64)


@pytest.mark.parametrize("kind", ["dirty", "psf"])
def test_measured_as_at_once(both, kind):
    """Dirty image and PSF agree everywhere to 1e-4 of their peak."""
    whole, facets = (getattr(one, kind) for one in both)
    assert np.abs(facets - whole).max() < 1e-4 * np.abs(whole).max()


def test_deconvolved_as_at_once(both):
    """Sources across seams are found as well: same fluxes, same noise, and no step from facet to facet."""
    whole, facets = both
    assert any("steps" in cycle["stop"] for cycle in facets.cycles)
    for y, x, half in ((128 + 40, 128 - 50, 6), (128, 128, 24)):
        box = slice(y - half, y + half), slice(x - half, x + half)
        assert facets.model[box].sum() == pytest.approx(whole.model[box].sum(), rel=0.02)
    assert facets.noise == pytest.approx(whole.noise, rel=0.1)
    assert facets.residual.std() < 1.1 * whole.residual.std()
    difference = np.asarray(facets.image - whole.image)
    assert np.abs(difference).max() < 5 * whole.noise
    at_seams = np.abs(np.diff(difference, axis=0))[63::64].mean()
    assert at_seams < 1.2 * np.abs(np.diff(difference, axis=0)).mean()


def test_sidelobes_are_no_sources(both):
    """What lies in facets without sources is next to nothing: their sidelobes are left to the facets that have them."""
    whole, facets = both
    model = np.array(facets.model)
    for y, x, half in ((128 + 40, 128 - 50, 12), (128, 128, 32)):
        model[y - half : y + half, x - half : x + half] = 0
    assert np.abs(model).sum() < 0.02 * whole.model.sum()


def test_cleaning_waits_for_the_network(extended, quiet, monkeypatch):
    """No facet is cleaned while the network finds emission in another one."""
    told: dict[int, list] = {}
    original = FacetTasks.minor

    def minor(self, facet, cycle, term, noise, peak, others):
        done = original(self, facet, cycle, term, noise, peak, others)
        told.setdefault(cycle, []).append((others.wait, done))
        return done

    monkeypatch.setattr(FacetTasks, "minor", minor)
    image(extended, quiet / "waits", facet=64)
    assert all(wait for wait, _ in told[0])
    assert len(told) > 1
    for calls in told.values():
        assert not any(wait and done.clean_stage for wait, done in calls)


def test_model_residual_and_image_belong_together(both):
    """The residual is exactly what the model leaves of the data, and the image is both together."""
    whole, facets = both
    from radrim.beam import restore

    restored = facets.residual + restore(np.asarray(facets.model, np.float32), facets.beam, facets.grid.scale)
    np.testing.assert_allclose(facets.image, restored, atol=1e-5 * whole.image.max())
    assert facets.beam.major == pytest.approx(whole.beam.major, rel=1e-4)


def test_residual_is_exact(both, extended):
    """An image of the data minus the model, computed at once, is the residual that the facets ended with."""
    from radrim.measure.measurement import Measurement, OperatorChoice
    from radrim.read.reader import Selection, read
    from radrim.weight.imaging import apply_weights

    facets = both[1]
    observation = read([extended], Selection())
    apply_weights(observation.blocks, facets.grid, ImageConfig(ms=()).weight)
    residual = Measurement(observation.blocks, facets.grid, OperatorChoice(epsilon=1e-6)).residual(facets.model)
    assert np.abs(residual - facets.residual).max() < 2e-4 * facets.dirty.max()


@pytest.mark.parametrize("more", [{"solver": "clean"}, {"niter": 0}, {"channels_out": 2, "cube": True}, {"pol": "Q"}])
def test_options(extended, quiet, more, request):
    """CLEAN, dirty images only, several channels, other Stokes parameters."""
    name = quiet / re.sub(r"\W+", "-", request.node.name)
    if "pol" in more:
        assert image(extended, name, facet=128, operator="nufft", **more).noise > 0
        return
    whole, facets = (image(extended, f"{name}{k}", **more, **facet) for k, facet in enumerate(({}, {"facet": 128})))
    assert np.abs(facets.dirty - whole.dirty).max() < 1e-4 * np.abs(whole.dirty).max()
    assert set(facets.paths) == set(whole.paths)
    assert len(facets.channels) == len(whole.channels)
    if "niter" not in more:
        assert np.abs(facets.image - whole.image).max() < 6 * whole.noise
    for a, b in zip(facets.channels, whole.channels, strict=True):
        assert np.abs(a.dirty - b.dirty).max() < 1e-4 * np.abs(b.dirty).max()


def test_a_mask_holds(extended, quiet):
    """The model is 0 outside a mask, in every facet."""
    mask = np.zeros((256, 256), np.float32)
    mask[100:156, 100:156] = 1
    fits.writeto(quiet / "mask.fits", mask)
    model = image(extended, quiet / "masked", facet=64, mask=str(quiet / "mask.fits")).model
    assert model[100:156, 100:156].sum() > 1
    assert not np.any(model[mask == 0])


def test_interrupted_after_every_step(extended, quiet, monkeypatch):
    """Interrupted again and again, a run leaves the files of an unbroken one, and no others."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    words = ["image", str(extended), "--size", "256", "256", "--scale", "3asec", "--facet", "128", "--max-major", "2",
             "--threads", "2", "--quiet", "--name", "x"]  # fmt: skip
    for name in ("unbroken", "broken"):
        (quiet / name).mkdir()
    monkeypatch.chdir(quiet / "unbroken")
    assert main(words) == 0
    monkeypatch.chdir(quiet / "broken")
    save = Store.save
    for attempt in range(60):
        left = 3 + attempt % 5

        def counted(self, name, array):
            nonlocal left
            save(self, name, array)
            left -= 1
            if left == 0:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Store, "save", counted)
            status = main(words)
        if status == 0:
            break
        assert status == 130
    assert status == 0
    assert attempt > 5
    for kind in KINDS:
        assert (quiet / "broken" / f"x-{kind}.fits").read_bytes() == (
            quiet / "unbroken" / f"x-{kind}.fits"
        ).read_bytes()
    assert {path.name for path in (quiet / "broken").iterdir()} == {
        path.name for path in (quiet / "unbroken").iterdir()
    }


def test_disk_full(extended, quiet, monkeypatch, capsys, caplog):
    """The command says so, keeps what is finished, and goes on to the same bytes once there is room."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    words = ["image", str(extended), "--size", "256", "256", "--scale", "3asec", "--facet", "128", "--max-major", "1",
             "--threads", "2", "--quiet", "--name", "x"]  # fmt: skip
    (quiet / "full").mkdir()
    monkeypatch.chdir(quiet / "full")
    allocate, count = os.posix_fallocate, itertools.count()

    def full_from(last):
        def wrapped(*args):
            if next(count) >= last:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            allocate(*args)

        return wrapped

    with monkeypatch.context() as patch:
        patch.setattr("os.posix_fallocate", full_from(10**9))
        assert main(words) == 0
    files = next(count)
    whole = {path.name: path.read_bytes() for path in Path().glob("x-*.fits")}
    for path in Path().glob("x*"):
        path.unlink()
    for last in (files // 3, 2 * files // 3, files - 2):  # dirty facets, a major cycle, FITS files
        count = itertools.count()
        with monkeypatch.context() as patch:
            patch.setattr("os.posix_fallocate", full_from(last))
            assert main(words) == 2
        assert "no space is left" in capsys.readouterr().err
        assert "kept in x.radrim: the same command goes on" in caplog.text
        caplog.clear()
        assert Path("x.radrim").is_dir()
        assert not list(Path().rglob("*.part"))
        assert main(words) == 0
        assert {path.name: path.read_bytes() for path in Path().glob("x-*.fits")} == whole
        for path in Path().glob("x*"):
            path.unlink()


def test_the_number_of_threads_does_not_matter(extended, quiet, monkeypatch):
    """Facets at once or one after the other: the same bytes."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    one, two = (image(extended, quiet / f"threads{n}", facet=128, threads=n, max_major=2) for n in (1, 2))
    for kind in KINDS:
        np.testing.assert_array_equal(getattr(one, kind), getattr(two, kind))


def test_final_stages_as_at_once(both):
    """They run once in facets, too, and leave nearly the same sky."""
    whole, facets = both
    for one in both:
        stops = [cycle["stop"] for cycle in one.cycles]
        assert any("plug and play" in stop for stop in stops)
        assert ["fit to all visibilities" in stop for stop in stops].count(True) == 1
    assert np.square(facets.model - whole.model).sum() < 0.01 * np.square(whole.model).sum()


def test_noise_is_measured_again(both):
    """What the model leaves of the visibilities shows the noise, in facets as at once."""
    whole, facets = (one.facts["expected_noise"] for one in both)
    assert facets == pytest.approx(whole, rel=0.02)


def test_terms_of_a_spectrum(extended, quiet):
    """Channels deconvolved together: the residuals are exact, and flux and spectral index those of the whole image."""
    more = {"channels_out": 2, "spectral_terms": 2, "max_major": 3}
    whole, facets = (image(extended, quiet / f"terms{k}", **more, **f) for k, f in enumerate(({}, {"facet": 128})))
    for a, b in zip(facets.channels, whole.channels, strict=True):
        assert np.abs(a.dirty - b.dirty).max() < 1e-4 * np.abs(b.dirty).max()
        assert a.model.sum() == pytest.approx(b.model.sum(), rel=0.05)
    assert set(facets.paths) == set(whole.paths)


def test_start_model_comparison_and_uncertainty(extended, both, quiet):
    """Facets begin with a model, are compared with CLEAN, and say how wrong they may be, as images as a whole do."""
    whole, _ = both
    begun = image(
        extended, quiet / "begun", facet=128, start_model=whole.paths["model"], compare=True, uncertainty=True,
        max_major=1, solver="clean",
    )  # fmt: skip
    assert begun.cycles[0]["rms"] < 1.1 * whole.residual.std()  # from the start
    assert begun.model.sum() == pytest.approx(whole.model.sum(), rel=0.05)
    for kind in ("uncertainty", "model_uncertainty_95"):
        assert np.isfinite(getattr(begun, kind)).all()
        assert (getattr(begun, kind) > 0).all()


def test_uncertainty_as_at_once(extended, quiet):
    """The same maps, but for what a facet does not see."""
    more = {"uncertainty": True, "max_major": 2}
    whole, facets = (image(extended, quiet / f"unsure{k}", **more, **f) for k, f in enumerate(({}, {"facet": 128})))
    ratio = np.log(facets.uncertainty / whole.uncertainty)
    assert abs(np.median(ratio)) < 0.1


def test_windows_across_facets(tmp_path):
    """Any window of an image, beyond its edges too; facets that are not there are 0."""
    whole = np.random.default_rng(1).normal(size=(96, 128)).astype(np.float32)
    tiles = Tiles(whole.shape, 40, 8)
    stored = FacetImage(Store(tmp_path), "some/image", tiles)
    for facet, tile in enumerate(list(tiles)[:-1]):
        stored.save(facet, whole[tile.core])
    whole[tiles[len(tiles) - 1].core] = 0
    padded = np.pad(whole, 20)
    for rows, columns in (
        (slice(-20, 116), slice(-20, 148)),
        (slice(30, 50), slice(60, 128)),
        (slice(100, 110), slice(4, 6)),
    ):
        wanted = padded[rows.start + 20 : rows.stop + 20, columns.start + 20 : columns.stop + 20]
        np.testing.assert_array_equal(stored.read((rows, columns)), wanted)
    found = facet_statistics(stored, range(len(tiles)), len(tiles)).values()
    assert max(one["peak"] for one in found) == np.abs(whole).max()
    known = whole[whole != 0]  # pixels beyond the horizon are 0
    assert sum(one["size"] for one in found) == pytest.approx(known.size, abs=1)  # an empty facet counts as one
    assert sum(one["square"] for one in found) == pytest.approx((whole.astype(float) ** 2).sum())
    assert noise_mad(np.concatenate([one["pixels"] for one in found])[None]) == pytest.approx(noise_mad(whole))


def test_files_in_pieces(tmp_path):
    """A FITS file filled window by window has the bytes of one that is written at once; a broken one never appears."""
    grid = ImageGrid(64, 48, 1e-5, 1.0, 0.5)
    whole = np.random.default_rng(1).normal(size=grid.shape).astype(np.float32)
    header = _header(grid)
    write_fits(tmp_path / "whole.fits", whole, header)
    with fits_file(tmp_path / "pieces.fits", grid.shape, header) as pixels:
        elsewhere = pickle.loads(pickle.dumps(pixels))
        for number, tile in enumerate(Tiles(grid.shape, 20, 0)):
            (elsewhere if number % 2 else pixels).put(tile.core, whole[tile.core])
    assert (tmp_path / "pieces.fits").read_bytes() == (tmp_path / "whole.fits").read_bytes()
    np.testing.assert_array_equal(open_image(tmp_path / "pieces.fits"), read_image(tmp_path / "whole.fits"))
    with pytest.raises(KeyboardInterrupt), fits_file(tmp_path / "broken.fits", grid.shape, header):
        raise KeyboardInterrupt
    assert {path.name for path in tmp_path.iterdir()} == {"pieces.fits", "whole.fits"}


def _header(grid):
    from radrim.visibilities import Observation

    observation = Observation([], 1.0, 0.5, channel_width=1e6)
    return image_header(grid, 1.4e9, 1e8, observation, "I", "Jy/beam")


@pytest.mark.parametrize("shape", [(200, 300), (203 * 2, 512)])
def test_overview(monkeypatch, shape):
    """Fewer pixels: the brightest stays, the model's flux stays, and the phase centre stays in the middle."""
    monkeypatch.setattr(overview.ReportSettings, "overview", 100)
    image = np.random.default_rng(1).normal(size=shape).astype(">f4")
    image[shape[0] // 2, shape[1] // 2] = 50
    model = np.zeros(shape, np.float32)
    model[60:80, 60:80] = 1
    whole = Image("", 1e9, 1e8, None, 1.0, image, image, model, image, image)
    small, grid, factor = overview.overview(whole, ImageGrid(shape[1], shape[0], 1e-5))
    assert max(grid.shape) <= 100
    assert factor == -(-max(shape) // 100)
    assert grid.scale == factor * 1e-5
    assert small.image.shape == small.model.shape == grid.shape
    assert small.image[grid.height // 2, grid.width // 2] == 50
    assert small.model.sum() == pytest.approx(model.sum())
    assert small.residual.std() < 0.5 * image.std() + 5


MEMORY = budget.MemorySettings()


def config(**options):
    return ImageConfig.parse("x.ms", options)


def test_memory_decides():
    """What fits is made as a whole; else in facets that fit, the smaller the less memory there is."""
    assert plan_memory((1024, 1024), config(memory="8GB"), 2) == (0, 2)
    sides = [plan_memory((32768, 32768), config(memory=memory), 2).side for memory in ("4GB", "8GB", "16GB")]
    assert 512 <= sides[0] < sides[1] < sides[2] <= 4096
    for memory, side in zip((4e9, 8e9, 16e9), sides, strict=True):
        assert MEMORY.base + 2 * MEMORY.rim.facet * (side + 2 * MEMORY.halo) ** 2 < memory
    assert plan_memory((32768, 32768), config(memory="2GB"), 16).workers < 16
    assert plan_memory((256, 256), config(facet=64), 2).side == 64


def test_a_facet_is_told_of_all_others():
    """The brightest residual of the other facets in each band, also where two are equally bright."""
    bands = np.random.default_rng(3).integers(0, 4, (6, 3)).astype(float)
    common = {"pixels": np.zeros(1, np.float32), "peak": 0.0, "square": 0.0, "size": 1}
    looks = Summary(
        [{facet: {**common, "bands": bands[facet].tolist()} for facet in some} for some in ([4, 1, 5], [0], [2, 3])]
    )
    for facet in range(len(bands)):
        assert looks.bands_without(facet) == tuple(np.delete(bands, facet, 0).max(0))
    assert Summary([{0: {**common, "bands": [1.0, 2.0, 3.0]}}]).bands_without(0) == (0, 0, 0)


def test_sidelobes_of_others_wait(extended, tmp_path, no_report, monkeypatch):
    """A facet where nothing rises above what the brightest elsewhere leaves there gets no PSF and no minor cycle."""
    seen = []
    original = FacetTasks.local_psf
    monkeypatch.setattr(
        FacetTasks, "local_psf", lambda self, facet, term=0: seen.append(facet) or original(self, facet, term)
    )
    idle = []
    minor = FacetTasks.minor

    def noted(self, facet, *arguments):
        found = minor(self, facet, *arguments)
        idle.extend([facet] * (found.stop == "sidelobes of other facets"))
        return found

    monkeypatch.setattr(FacetTasks, "minor", noted)
    image(extended, tmp_path / "x", size=768, facet=128, max_major=1)
    assert idle
    assert seen
    assert not set(idle) & set(seen)


@pytest.mark.parametrize("options, most", [({}, 3), ({"solver": "clean"}, 2), ({"niter": 0}, 1)])
def test_measured_together(options, most):
    """Facets are measured as one as far as the memory of a minor cycle goes, and no farther than it helps."""
    for side in (128, 512, 2048, 4096):
        together = budget.measured_together(config(**options), side)
        minor = MEMORY.minor_cycle("none" if options.get("niter") == 0 else options.get("solver", "rim"))
        assert MEMORY.none.facet * (together * side) ** 2 <= minor.facet * (side + 2 * MEMORY.halo) ** 2
        assert together * side <= MEMORY.max_joined_pixels
    assert budget.measured_together(config(**options), 2048) == most


def test_too_little_memory():
    """The message says how much is needed, and with that it goes."""
    with pytest.raises(ConfigError, match="--memory 1GB is not enough for an image of 8192 x 4096") as error:
        plan_memory((4096, 8192), config(memory="1GB"), 2)
    enough = re.search(r"at least --memory (\S+)GB", str(error.value))[1]
    assert plan_memory((4096, 8192), config(memory=f"{enough}GB"), 2).side >= MEMORY.smallest_facet


SIZES = {"8GB": 8e9, "0.5 TB": 5e11, "200MiB": 200 * 2**20}


@pytest.mark.parametrize(
    "text, size", [*SIZES.items(), *((bad, None) for bad in ("2e8", "8", "8XB", "GB", "-3GB", True))]
)
def test_sizes_of_memory(text, size):
    """Units are spelled as people do."""
    if size is None:
        with pytest.raises(ConfigError, match="--memory"):
            config(memory=text)
    else:
        assert config(memory=text).memory == size
        assert config(memory=config(memory=text).as_text()["memory"]).memory == size  # as a TOML file holds it


def test_memory_of_the_machine():
    """More than nothing."""
    assert budget.total_memory() > 1e8


@pytest.mark.parametrize(
    "options, given_back", [({}, 0), ({"facet": 128}, 1), ({"memory": 1.7e9}, 1)], ids=["small", "facets", "tight"]
)
def test_memory_is_kept_only_where_there_is_plenty(options, given_back, extended, quiet, monkeypatch, request):
    """What a heap that is kept has between its pieces must fit into `--memory`, too."""
    calls = []
    monkeypatch.setattr("radrim.imagers.preparation.give_back_memory", lambda: calls.append(1))
    image(extended, quiet / request.node.name.replace("[", "_"), niter=0, **options)
    assert len(calls) == given_back

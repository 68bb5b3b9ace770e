"""Images in facets of which some visibilities are kept out to judge the updates, as for images in memory."""

from pathlib import Path

import numpy as np
import pytest

import radrim
from radrim.cli.main import main
from radrim.deconvolve import major
from radrim.deconvolve.decision import Decision
from radrim.deconvolve.judge import JudgeSettings
from radrim.deconvolve.tiles import Tiles
from radrim.geometry import crop_centre
from radrim.imagers.facets import FacetImager
from radrim.rim.minor.solver import RimSolver
from radrim.runtime.memory import MemorySettings
from radrim.workdir.store import Store

SIZE = {"size": 256, "scale": "3asec"}
FACETS = {**SIZE, "facet": 128, "threads": 2}
KINDS = ("dirty", "psf", "model", "residual", "image")


@pytest.fixture(scope="module")
def observed(make_ms):
    """A point source, with noise, seen by nine antennas of VLA C."""
    return make_ms(noise=0.05, times=24)


@pytest.fixture(scope="module")
def quiet(tmp_path_factory, without_reports):
    """An empty folder; without pictures and reports."""
    with without_reports():
        yield tmp_path_factory.mktemp("judged")


@pytest.fixture(scope="module")
def runs(observed, quiet):
    """Results with a tenth kept out, in memory and in facets."""
    return [radrim.image(observed, name=quiet / f"run{k}", holdout=0.1, **how) for k, how in enumerate((SIZE, FACETS))]


def test_verdict_as_in_memory(runs):
    """The kept-out samples say the same of the same update, however the image is kept."""
    whole, facets = (run.cycles[0] for run in runs)
    for fact in ("kept_chi2", "kept_change", "kept_error"):
        assert facets[fact] == pytest.approx(whole[fact], rel=1e-3)


def test_decided_as_in_memory(runs):
    """The same updates are taken or undone, and the same stages run."""
    whole, facets = ([cycle["stop"].split(";")[-1] for cycle in run.cycles] for run in runs)
    # The CLEAN stage begins a cycle later in facets: it waits until no facet finds points any more.
    assert [stop for stop in facets if stop != "isolated points: 0"] == whole
    assert runs[1].model.sum() == pytest.approx(runs[0].model.sum(), rel=1e-3)


def test_fit_quality_as_in_memory(runs):
    """Chi^2 per datum of fitted and kept-out samples, all and by baseline length, is that of the image in memory."""
    whole, facets = (run.fit_quality for run in runs)
    for name in ("fitted", "kept", "noise"):
        assert facets["all"][name] == pytest.approx(whole["all"][name], rel=1e-3)
        for one, other in zip(facets["lengths"], whole["lengths"], strict=True):
            assert one[name] == pytest.approx(other[name], rel=1e-2, nan_ok=True)
    assert [one["antenna"] for one in facets["antennas"]] == [one["antenna"] for one in whole["antennas"]]


@pytest.mark.parametrize("how", [SIZE, FACETS], ids=["in memory", "facets"])
def test_after_a_refused_update_another_method_follows(observed, quiet, monkeypatch, how):
    """Where kept-out visibilities refuse what the network or the point finder found, the CLEAN stage has its turn."""
    judge = major.by_judge

    def refuse(verdict, minors, *rest):
        if not any(minor.clean_stage or minor.max_rms_rise or minor.whole for minor in minors):
            return Decision(0.0, "refused")
        return judge(verdict, minors, *rest)

    monkeypatch.setattr(major, "by_judge", refuse)
    found = radrim.image(observed, name=quiet / f"other{len(how)}", holdout=0.1, **how)
    stops = [cycle["stop"] for cycle in found.cycles]
    assert stops[0].endswith("undone: refused")
    assert stops[1].startswith("CLEAN stage")
    assert found.model.sum() == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize("more", [{}, {"channels_out": 2, "spectral_terms": 2}], ids=["one channel", "terms"])
def test_what_is_written_is_of_all_visibilities(observed, quiet, more):
    """Dirty image and PSF are those of a run that keeps nothing out."""
    folder = quiet / f"written{len(more)}"
    how = {**FACETS, **more, "max_major": 1}
    without, judged = (radrim.image(observed, name=f"{folder}{share}", holdout=share, **how) for share in (0.0, 0.1))
    assert "kept_chi2" not in without.cycles[0]
    assert "kept_chi2" in judged.cycles[0]
    for kind in ("dirty", "psf"):
        one, other = getattr(judged, kind), getattr(without, kind)
        assert np.abs(one - other).max() < 1e-5 * np.abs(other).max()
    assert judged.beam.major == pytest.approx(without.beam.major, rel=1e-4)


def error_of_residual(ms, result):
    """Largest difference from an image of all data minus the model, computed at once; over the dirty image's peak."""
    from radrim.config.options import ImageConfig
    from radrim.measure.measurement import Measurement, OperatorChoice
    from radrim.read.reader import Selection, read
    from radrim.weight.imaging import apply_weights

    observation = read([ms], Selection())
    apply_weights(observation.blocks, result.grid, ImageConfig(ms=()).weight)
    residual = Measurement(observation.blocks, result.grid, OperatorChoice(epsilon=1e-6)).residual(result.model)
    return np.abs(residual - result.residual).max() / result.dirty.max()


def test_half_of_an_update(extended, quiet, monkeypatch):
    """After half of an update the residual is exact, and kept-out samples are those less half of its prediction."""
    decide, told = major.by_judge, []

    def half(verdict, *rest):
        told.append(verdict)
        return Decision(0.5) if len(told) == 1 else decide(verdict, *rest)

    monkeypatch.setattr(major, "by_judge", half)
    for setting in ("max_deviation", "wild"):  # every sample counts the same before and after
        monkeypatch.setattr(JudgeSettings, setting, 1e9)
    facets = radrim.image(extended, name=quiet / "half", holdout=0.1, max_major=2, **FACETS)
    first, second = told
    assert second.cells.chi2.sum() == pytest.approx(first.cells.chi2.sum() + first.change(0.5), rel=1e-4)
    assert error_of_residual(extended, facets) < 2e-4


def test_model_as_in_memory(extended, quiet):
    """Fluxes and noise are those of an image in memory, with all stages that only run with a judge."""
    whole, facets = (
        radrim.image(extended, name=quiet / f"stages{k}", holdout=0.1, **how) for k, how in enumerate((SIZE, FACETS))
    )
    for run in (whole, facets):
        stops = [cycle["stop"] for cycle in run.cycles]
        for stage in ("plug and play", "fit to all visibilities"):
            assert any(stage in stop for stop in stops)
    for y, x, half in ((128 + 40, 128 - 50, 6), (128, 128, 24)):
        box = slice(y - half, y + half), slice(x - half, x + half)
        assert facets.model[box].sum() == pytest.approx(whole.model[box].sum(), rel=0.03)
    assert error_of_residual(extended, facets) < 2e-4
    assert facets.noise == pytest.approx(whole.noise, rel=0.1)
    assert np.abs(facets.image - whole.image).max() < 6 * whole.noise


def natural_in_memory(ms, grid, share):
    """Measurement with natural weights of all visibilities but a share that is kept out, in memory."""
    from radrim.config.options import ImageConfig
    from radrim.measure.holdout import hold_out
    from radrim.measure.measurement import Measurement, OperatorChoice
    from radrim.read.reader import Selection, read
    from radrim.visibilities import NaturalWeights
    from radrim.weight.imaging import apply_weights

    blocks = read([ms], Selection()).blocks
    for block, kept, watched in zip(blocks, *hold_out(blocks, share), strict=True):
        block.kept_out, block.watched = kept, watched
        block.natural = NaturalWeights(((block.freq, block.weight.copy()),))
    apply_weights(blocks, grid, ImageConfig(ms=()).weight)
    measurement = Measurement(blocks, grid, OperatorChoice(epsilon=1e-6))
    return measurement.likelihood(), measurement.fitted().likelihood()


@pytest.fixture(scope="module")
def natural(extended, quiet):
    """A run in facets; the images with natural weights that its stages got, and their files after each that was made.

    The last list is of the files that were left at the end of the deconvolution.
    """
    asked, files, refine, save, restore = [], [], RimSolver.refine, Store.save, FacetImager.restore

    def refined(solver, action, seen, pixels, likelihood=None, **values):
        if likelihood is not None:
            asked.append((action, seen, *likelihood))
        return refine(solver, action, seen, pixels, likelihood, **values)

    def saved(store, name, array):
        save(store, name, array)
        if "/natural-" in name:
            files.append(list(store.path.glob("*/natural-*/*")))

    def restored(imager, target, state):
        files.append(list(imager.store.path.glob("*/natural-*/*")))
        return restore(imager, target, state)

    with pytest.MonkeyPatch.context() as patch:
        for of, name, function in (
            (RimSolver, "refine", refined), (Store, "save", saved), (FacetImager, "restore", restored),
        ):  # fmt: skip
            patch.setattr(of, name, function)
        found = radrim.image(extended, name=quiet / "natural", holdout=0.1, **FACETS)
    return found, asked, files


def test_natural_images_as_in_memory(extended, natural):
    """Stages that count chi^2 get residual and PSF with natural weights, of the same samples and noise as in memory."""
    found, asked, _ = natural
    of_all, fitted = natural_in_memory(extended, found.grid, 0.1)
    assert fitted.noise_factor < 0.95  # otherwise both weights are nearly the same
    tiles = Tiles(found.grid.shape, FACETS["facet"], MemorySettings.halo)
    inner = [tile.inner for tile in tiles]
    rounds = [asked[k : k + len(tiles)] for k in range(0, len(asked), len(tiles))]
    assert len(rounds) > 2
    assert {parts[0][0] for parts in rounds} == {"regularise"}
    for number, parts in enumerate(rounds, 1):
        places = [tiles[inner.index(seen.core)] for _, seen, _, _ in parts]
        model = np.zeros(found.grid.shape, np.float32)
        for tile, (_, seen, _, _) in zip(places, parts, strict=True):
            model[tile.core] = seen.model[tile.inner]
        measured = of_all if number == len(rounds) else fitted  # the closing fit
        residual, psf = measured.residual(model), measured.psf(wide=True)
        for tile, (_, seen, images, factor) in zip(places, parts, strict=True):
            assert factor == pytest.approx(measured.noise_factor, rel=1e-5)
            assert images.noise == pytest.approx(factor * seen.noise)
            assert np.abs(images.residual - residual[tile.outer]).max() < 0.02 * images.noise
            assert np.abs(images.psf - crop_centre(psf, images.psf.shape)).max() < 1e-4


def test_natural_images_are_deleted(natural):
    """There are natural residuals of one model, or of two while one is copied; at the end of the deconvolution none."""
    *seen, end = natural[2]
    residuals = [{path.name for path in paths if path.parent.name.endswith("-residual")} for paths in seen]
    assert 0 < max(len(cycles) for cycles in residuals) <= 2
    assert not end


def interrupt(monkeypatch, step, part=""):
    """Stop a run with KeyboardInterrupt after so many results that it keeps with a part in their name."""
    count = 0

    def counted(keep):
        def wrapped(self, *result):
            nonlocal count
            keep(self, *result)
            if part in result[0]:
                count += 1
                if count == step:
                    raise KeyboardInterrupt

        return wrapped

    for name in ("save", "note"):
        monkeypatch.setattr(Store, name, counted(getattr(Store, name)))
    return lambda: count


@pytest.mark.parametrize("solver, part", [("rim", ""), ("clean", ""), ("rim", "natural-")])
def test_interrupted_runs_leave_the_same_bytes(extended, quiet, monkeypatch, solver, part):
    """Interrupted again and again, a judged run leaves the files of an unbroken one, and no others.

    Also if all interruptions come while images with natural weights are made.
    """
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    words = ["image", str(extended), "--size", "256", "256", "--scale", "3asec", "--facet", "128", "--holdout", "0.1",
             "--solver", solver, "--threads", "2", "--quiet", "--name", "x"]  # fmt: skip
    folder = quiet / f"{part}{solver}"
    for name in ("unbroken", "broken"):
        (folder / name).mkdir(parents=True)
    monkeypatch.chdir(folder / "unbroken")
    with monkeypatch.context() as patch:
        kept = interrupt(patch, 0, part)
        assert main(words) == 0
    monkeypatch.chdir(folder / "broken")
    for attempt in range(40):
        with monkeypatch.context() as patch:
            interrupt(patch, kept() // 12 + attempt % 3, part)
            status = main(words)
        if status == 0:
            break
        assert status == 130
    assert status == 0
    assert attempt > 6
    whole, broken = (Path(f"../{name}") for name in ("unbroken", "broken"))
    assert {path.name for path in broken.iterdir()} == {path.name for path in whole.iterdir()}
    for kind in KINDS:
        assert (broken / f"x-{kind}.fits").read_bytes() == (whole / f"x-{kind}.fits").read_bytes()


@pytest.mark.parametrize("solver", ["clean", "rim"])
def test_noise_alone_gives_no_model(make_ms, quiet, solver):
    """Of noise alone nothing is believed: no flux beyond the noise of the image."""
    ms = make_ms(noise=0.5, times=12, stokes=(0.0, 0.0, 0.0, 0.0))
    found = radrim.image(ms, name=quiet / f"noise-{solver}", holdout=0.1, solver=solver, **FACETS)
    assert np.abs(found.model).sum() < 3 * found.noise


def test_stokes_parameters_share_a_psf_of_all_visibilities(observed, quiet):
    """Each Stokes parameter is judged, and the PSF that is written once is that of all visibilities."""
    without, judged = (
        radrim.image(observed, name=quiet / f"stokes{share}", holdout=share, pol="IQ", max_major=1, **FACETS)
        for share in (0.0, 0.1)
    )
    for one, other in zip(judged.polarisations.headers, without.polarisations.headers, strict=True):
        assert one.facts["expected_noise"] == pytest.approx(other.facts["expected_noise"], rel=0.1)
    for name in "IQ":
        one, other = judged.polarisations[name], without.polarisations[name]
        assert np.abs(one.dirty - other.dirty).max() < 1e-5 * np.abs(without.dirty).max()
        assert np.abs(one.psf - other.psf).max() < 1e-5

"""The learned minor cycle in the imager: what it leaves alone, how it is cut, when it stops, what it refuses."""

import gc
import itertools
import json
import weakref

import numpy as np
import pytest
import torch

from radrim.deconvolve.major import deconvolve
from radrim.deconvolve.minor import OtherFacets
from radrim.deconvolve.step_length import Change
from radrim.deconvolve.tiles import Tiles
from radrim.errors import SolverError
from radrim.geometry import crop_centre
from radrim.rim.minor.detection import CELL, REACH_CELLS
from radrim.rim.minor.settings import RimSettings
from radrim.rim.minor.solver import RimSolver
from radrim.rim.network.irim import IRIM, IRIMConfig


@pytest.fixture(scope="module")
def machine():
    """A machine without training: it takes the mean of the preconditioned gradients, which lowers chi^2."""
    torch.manual_seed(0)
    return IRIM(IRIMConfig(channels=28, hidden=8, depth=3, factors=(1, 2), steps=4)).eval()


@pytest.fixture(scope="module")
def stirred():
    """The same with random numbers in the place of training: what it proposes depends on all it sees."""
    torch.manual_seed(0)
    machine = IRIM(IRIMConfig(channels=28, hidden=8, depth=3, factors=(1, 2), steps=4)).eval()
    for name, parameter in machine.named_parameters():
        if name.endswith("value.gain"):
            torch.nn.init.normal_(parameter, 0, 0.5)
    return machine


def run(state, machine, max_major=20, **settings):
    """All major cycles of one channel."""
    tiles = Tiles(state.dirty.shape, max(state.dirty.shape), 0)
    solver = RimSolver(machine, RimSettings(noise=state.expected, **settings))
    state.cut(tiles, lambda tile, image: solver)
    deconvolve([state], max_major)
    return state


def asked(state):
    """In how many cycles the network worked."""
    return sum("steps" in cycle["stop"] for cycle in state.cycles)


def test_residual_falls_and_chi2_with_it(machine, seen_sky):
    """Major cycles around an untrained machine lower the residual in every cycle, to a small part of what it was.

    The last one may only empty places of the model that the data do not need.
    """
    state = run(seen_sky(sources=((40, 60, 100.0), (90, 110, 50.0)), width=4.0).state(), machine, 5)
    assert asked(state)
    rms = [cycle["rms"] for cycle in itertools.takewhile(lambda c: "emptied" not in c["stop"], state.cycles)]
    assert all(after <= before for before, after in itertools.pairwise(rms))
    assert state.cycles[-1]["rms"] < 1.03 * rms[-1]
    assert rms[-1] < 0.2 * state.dirty.std()


def test_cut_does_not_matter(stirred, seen_sky):
    """Small tiles of the network give the model that large ones give, to 1e-4 of the peak, idle parts included."""
    sky = seen_sky((256, 320), ((40, 60, 1.0), (200, 90, 0.3)), width=4.0)
    states = [run(sky.state(), stirred, 2, tile=tile) for tile in (1024, 64, 96)]
    assert all(asked(state) for state in states)
    models = [state.model for state in states]
    peak = np.abs(models[0]).max()
    assert peak > 0
    for model in models[1:]:
        assert np.abs(model - models[0]).max() < 1e-4 * peak


def test_noise_gives_an_empty_model(stirred, seen_sky):
    """From noise alone nothing is made, whatever the network would propose, and the reason says so."""
    for seed in range(5):
        state = run(seen_sky(sources=(), seed=seed).state(), stirred)
        assert not state.model.any()
        assert "the residual is noise" in state.stop


def test_noise_of_unknown_level_gives_an_empty_model(stirred, seen_sky):
    """Without an expectation the noise of the residual itself counts."""
    state = run(seen_sky(sources=()).state(float("nan")), stirred)
    assert not state.model.any()


def test_empty_parts_stay_empty(stirred, seen_sky):
    """Far from every source the model stays exactly 0."""
    sky = seen_sky((256, 320), ((40, 60, 100.0),), noise=0.03, width=4.0)
    state = run(sky.state(), stirred, 1)
    assert asked(state)
    assert state.model.any()
    assert not state.model[40 + (REACH_CELLS + 2) * CELL :].any()


def test_negative_skies(machine, seen_sky):
    """Stokes I allows no negative model; Q, U and V do."""
    sky = seen_sky()
    assert run(sky.state(), machine, 1).model.min() >= 0
    model = run(sky.state(), machine, 3, positive=False).model
    assert model[90, 110] < -0.1 * model.max()


def test_mask(machine, seen_sky):
    """The model stays empty outside the mask."""
    sky = seen_sky(sources=((40, 60, 1.0), (90, 110, 0.5)))
    mask = np.zeros_like(sky.truth, bool)
    mask[30:50, 50:70] = True
    model = run(sky.state(), machine, 3, mask=mask).model
    assert model[mask].any()
    assert not model[~mask].any()


def test_threshold(machine, seen_sky):
    """Deconvolution ends where no residual is above the threshold, and says so."""
    state = run(seen_sky(sources=((40, 60, 1.0),)).state(), machine, threshold=0.3)
    assert "threshold" in state.stop
    assert np.abs(state.residual).max() <= 0.3


@pytest.mark.parametrize("what", ["residual", "psf", "model"])
def test_nan_is_refused(machine, what, seen_sky):
    """NaN in any input is named, how much of it there is, and where."""
    sky = seen_sky()
    inputs = {"residual": sky.dirty.copy(), "psf": sky.psf.copy(), "model": np.zeros_like(sky.dirty)}
    inputs[what][3, 4] = inputs[what][8, 21] = np.nan
    where = rf"The {what} has 2 of {inputs[what].size} values .*\(rows y 3:9, columns x 4:22\)"
    with pytest.raises(SolverError, match=where):
        RimSolver(machine)(*inputs.values(), sky.noise)


def test_nan_names_the_tile(machine, seen_sky):
    """In the imager the message names the place."""
    state = seen_sky().state()
    state.residual = state.residual.copy()
    state.residual[5, 5] = np.nan
    with pytest.raises(SolverError, match="tile y 0:128, x 0:160"):
        run(state, machine)


def test_broken_checkpoint_is_named(seen_sky):
    """A network that makes NaN of finite numbers is blamed."""
    machine = IRIM(IRIMConfig(channels=28, hidden=8, depth=1, factors=(1,), steps=1)).eval()
    torch.nn.init.constant_(machine.layers[0].layers[0].residual.value.bias or machine.contexts[0].gain, np.nan)
    with pytest.raises(SolverError, match="checkpoint"):
        run(seen_sky(width=4.0).state(), machine, 1)


def test_nan_from_the_network_says_where(machine, monkeypatch, seen_sky):
    """The place is where the network first went wrong: later steps do not spread it over the image."""
    propose = machine._propose_tiled

    def broken(step, *rest):
        proposal, state = propose(step, *rest)
        if step == 0:
            proposal[0, 30:34, 50] = np.nan
        return proposal, state

    monkeypatch.setattr(machine, "_propose_tiled", broken)
    sky = seen_sky(sources=((40, 60, 30.0),), width=4.0)
    solver = RimSolver(machine, RimSettings(noise=sky.noise))
    with pytest.raises(SolverError, match=r"network's image has 4 of 20480 .*\(rows y 30:34, columns x 50:51\)"):
        solver(sky.dirty, sky.psf, np.zeros_like(sky.dirty), sky.noise)


def test_shapes_are_checked(machine, seen_sky):
    """A PSF smaller than the image, or a model of another shape, is refused with both shapes."""
    sky = seen_sky()
    zero = np.zeros_like(sky.dirty)
    with pytest.raises(SolverError, match=r"\(100, 100\).*\(128, 160\)"):
        RimSolver(machine)(sky.dirty, crop_centre(sky.psf, (100, 100)), zero, sky.noise)
    with pytest.raises(SolverError, match=r"\(128, 158\).*\(128, 160\)"):
        RimSolver(machine)(sky.dirty, sky.psf, zero[:, 2:], sky.noise)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("full"), RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED")])
def test_smaller_tiles_when_memory_is_short(machine, monkeypatch, seen_sky, error):
    """When the GPU's memory is not enough for a tile, smaller ones are tried; when for none, a message says so."""
    sky, zero = seen_sky(width=4.0), np.zeros((128, 160), np.float32)
    solver = RimSolver(machine, RimSettings(noise=sky.noise, tile=512))
    forward, tried = machine.forward, []

    def limited(*args):
        *_, options = args
        tried.append(options.tile)
        if options.tile > limit:
            raise error
        return forward(*args)

    monkeypatch.setattr(machine, "forward", limited)
    limit = 128
    assert solver(sky.dirty, sky.psf, zero, sky.noise).update.any()
    assert tried == [512, 256, 128]
    limit = 0
    with pytest.raises(SolverError, match=r"memory.*160 x 128.*--device cpu"):
        solver(sky.dirty, sky.psf, zero, sky.noise)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_cuda_agrees_with_the_cpu(stirred, seen_sky):
    """The same model from either device, to 1e-4 of the peak."""
    sky = seen_sky((256, 320), ((40, 60, 1.0), (200, 90, 0.3)), width=4.0)
    cpu = run(sky.state(), stirred, 2).model
    cuda = run(sky.state(), stirred.to("cuda"), 2).model
    stirred.to("cpu")
    assert np.abs(cuda - cpu).max() < 1e-4 * np.abs(cpu).max()


@pytest.mark.parametrize("factor", [0.5, 100])
def test_a_wrong_expectation_does_no_harm(machine, factor, seen_sky):
    """Half or a hundred times the true noise expected: the sources are found all the same."""
    sky = seen_sky(sources=((40, 60, 100.0), (90, 110, 50.0)), width=4.0)
    state = run(sky.state(factor * sky.noise), machine, 10)
    assert asked(state)
    assert state.residual.std() < 0.1 * sky.dirty.std()


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("shape", [(192, 224), (128, 160)])
def test_noise_is_not_fitted(machine, seen_sky, shape, seed):
    """The residual's rms stays near the noise expected, however long the network goes on."""
    sky = seen_sky(shape, ((40, 60, 5.0), (90, 110, 3.0)), noise=5e-3, seed=seed, width=4.0)
    state = run(sky.state(), machine, 20)
    assert asked(state)
    assert np.sqrt(np.mean(state.residual**2)) > 0.9 * sky.noise


def test_isolated_points_need_no_network(stirred, seen_sky):
    """Points that stand by themselves get their flux in their pixel, to the noise, and no network sees them."""
    places = ((40, 60, 1.0), (90, 110, 0.3), (200, 90, 0.1))
    sky = seen_sky((256, 320), places)
    state = run(sky.state(), stirred)
    for y, x, flux in places:
        assert state.model[y, x] == pytest.approx(flux, rel=2e-3, abs=2 * sky.noise)
    assert not any("steps" in cycle["stop"] for cycle in state.cycles)
    assert np.abs(state.residual).max() < 6 * sky.noise


def test_points_between_pixels_beside_a_galaxy(machine, seen_sky):
    """The network, which makes positive skies only, leaves the points' negative pixels as they are."""
    sky = seen_sky((256, 320), ((60, 60, 30.0),), width=4.0)
    sky.dirty = sky.dirty + sky.point(80.5, 90.5)
    state = run(sky.state(), machine)
    assert "steps" in state.cycles[0]["stop"]
    box = state.model[76:86, 86:96]
    assert box.min() < -0.02
    assert box.sum() == pytest.approx(1.0, abs=0.05)


def test_where_points_leave_noise_the_network_is_not_asked(machine, monkeypatch, seen_sky):
    """One cycle finds the points; the next sees nothing but noise and stops."""
    monkeypatch.setattr(RimSolver, "_infer", lambda *_: pytest.fail("the network was asked"))
    sky = seen_sky(sources=((40, 60, 1.0), (90, 110, 0.5)))
    state = run(sky.state(), machine)
    assert [cycle["stop"].split(" (")[0] for cycle in state.cycles] == ["isolated points: 2", "the residual is noise"]
    assert np.count_nonzero(state.model) == 2


def test_points_that_outshine_the_rest_go_first(machine, seen_sky):
    """A bright point is subtracted exactly before the network is asked about what it outshone."""
    sky = seen_sky((256, 320), ((60, 60, 5.0),), width=4.0)
    sky.dirty = sky.dirty + 10.0 * sky.point(200, 250)
    stops = [cycle["stop"] for cycle in run(sky.state(), machine, 3).cycles]
    assert stops[0] == "isolated points: 1"
    assert "steps" in stops[1]


@pytest.mark.parametrize("change, goes_on", [(0.0, False), (0.5, True)])
def test_a_network_that_has_settled_is_not_asked_again(machine, monkeypatch, change, goes_on, seen_sky):
    """Where it left off by itself, at the residual it expected, CLEAN takes over; at another residual it goes on."""
    monkeypatch.setattr("radrim.rim.minor.solver.MIN_STEP_CHANGE", 0.5)  # the second step is its last
    sky = seen_sky(sources=((64, 80, 300.0),), width=4.0)
    solver = RimSolver(machine, RimSettings(noise=sky.noise))
    first = solver(sky.dirty, sky.psf, np.zeros_like(sky.dirty), sky.noise)
    assert "steps" in first.stop
    assert "CLEAN" not in first.stop
    left = sky.residual(first.update)
    second = solver(left + change * np.roll(left, 9, 1), sky.psf, first.update, sky.noise)
    assert ("steps" in second.stop) == goes_on
    assert ("CLEAN" in second.stop) != goes_on


def test_points_count_when_clean_takes_over(machine, monkeypatch, seen_sky):
    """Beside an extended source the network no longer mends, points are part of the update that CLEAN completes."""
    for name in ("MIN_FALL", "MIN_FALL_WHEN_FAR"):
        monkeypatch.setattr(f"radrim.rim.minor.solver.{name}", 2.0)
    sky = seen_sky((256, 320), ((60, 60, 5.0),), width=4.0)
    sky.dirty = sky.dirty + sky.point(200, 250)
    state = run(sky.state(), machine, 1)
    assert "CLEAN stage" in state.cycles[0]["stop"]
    assert "isolated points: 1" in state.cycles[0]["stop"]
    assert state.model[200, 250] == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize("far, expected", [(3.0, "steps"), (1e9, "CLEAN")])
def test_far_from_the_noise_a_slow_network_goes_on(machine, monkeypatch, seen_sky, far, expected):
    """CLEAN takes over from a network that is slow only near to the noise."""
    monkeypatch.setattr("radrim.rim.minor.solver.MIN_FALL", 2.0)
    monkeypatch.setattr("radrim.rim.minor.solver.FAR_RMS", far)
    state = run(seen_sky((256, 320), ((60, 60, 50.0),), width=4.0).state(), machine, 1)
    assert expected in state.cycles[0]["stop"]


@pytest.mark.parametrize("slow", [0.1, 2.0])
def test_points_are_kept_apart(machine, seen_sky, monkeypatch, slow):
    """What was taken for an isolated point is known, and not what network or CLEAN found; in a resumed run, too."""
    for name in ("MIN_FALL", "MIN_FALL_WHEN_FAR"):
        monkeypatch.setattr(f"radrim.rim.minor.solver.{name}", slow)
    sky = seen_sky((256, 320), ((60, 60, 5.0),), width=4.0)
    sky.dirty = sky.dirty + sky.point(200, 250)
    solver, model, residual = RimSolver(machine, RimSettings(noise=sky.noise)), np.zeros_like(sky.dirty), sky.dirty
    for _ in range(2):
        minor = solver(residual, sky.psf, model, float(residual.std()))
        model = model + minor.update
        residual = sky.dirty - sky.see(model)
    assert model[40:80, 40:80].sum() > 1
    resumed = RimSolver(machine, RimSettings(noise=sky.noise))
    resumed.resume(*solver.state())
    for one in (solver, resumed):
        points = one.points(model)
        assert points[195:206, 245:256].sum() == pytest.approx(1.0, rel=0.05)
        assert not points[40:80, 40:80].any()


@pytest.mark.parametrize("slow, expected", [(0.1, "steps"), (2.0, "CLEAN")])
def test_a_resumed_solver_goes_on_as_if_unbroken(machine, seen_sky, monkeypatch, slow, expected):
    """Its state after any cycle, brought to a new solver through files' types, gives the same models, bit by bit."""
    for name in ("MIN_FALL", "MIN_FALL_WHEN_FAR"):
        monkeypatch.setattr(f"radrim.rim.minor.solver.{name}", slow)

    def cycles(resume_after):
        sky = seen_sky((256, 320), ((60, 60, 5.0),), width=4.0)
        sky.dirty = sky.dirty + 10 * sky.point(200, 250)
        settings, models, stops = RimSettings(noise=sky.noise), [], []
        solver, model, residual = RimSolver(machine, settings), np.zeros_like(sky.dirty), sky.dirty
        for cycle in range(8):
            minor = solver(residual, sky.psf, model, float(residual.std()))
            model = model + minor.update
            residual = sky.dirty - sky.see(model)
            models.append(model)
            stops.append(minor.stop)
            if cycle == resume_after:
                facts, arrays = solver.state()
                solver = RimSolver(machine, settings)
                solver.resume(json.loads(json.dumps(facts)), arrays)
        return models, stops

    unbroken, stops = cycles(None)
    assert any(expected in stop for stop in stops)
    for after in range(7):
        models, again = cycles(after)
        assert again == stops
        assert all(np.array_equal(a, b) for a, b in zip(models, unbroken, strict=True))


def test_a_part_waits_for_the_others(machine, seen_sky):
    """What may be a sidelobe of another part is left alone; CLEAN may have it once the network is done everywhere."""
    sky = seen_sky((128, 160), ((40, 60, 5.0), (90, 110, 3.0)), noise=5e-3, width=4.0)
    zero, bright = np.zeros_like(sky.dirty), (1e6, 1e6, 1e6)

    def call(others):
        solver = RimSolver(machine, RimSettings(noise=sky.noise))
        return solver(sky.dirty, sky.psf, zero, sky.noise, 1e6, others)

    waiting, last = call(OtherFacets(bright, True)), call(OtherFacets(bright, False))
    assert not waiting.update.any()
    assert not waiting.converged
    assert not waiting.clean_stage
    assert last.clean_stage
    assert call(OtherFacets((0.0, 0.0, 0.0), True)).update.any()


@pytest.mark.parametrize("sky", [{}, {"width": 4.0}])
def test_a_solver_leaves_nothing_in_memory(machine, seen_sky, sky):
    """What the minor cycle of a facet held is free as soon as nobody uses it, without the garbage collector."""
    seen = seen_sky(**{"sources": ((40, 60, 5.0),), **sky})
    solver = RimSolver(machine, RimSettings(noise=seen.noise))
    solver(seen.dirty, seen.psf, np.zeros_like(seen.dirty), seen.noise)
    held = weakref.ref(solver._convolver._convolution)
    gc.disable()
    try:
        del solver
        assert held() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("offset", [0.0, 0.4])
def test_an_update_that_fits_noise_is_cut(offset, rng):
    """To so much that the scatter of the residual stays; an offset, of flux that is missing, is no scatter."""
    before = offset + 1.2 * torch.randn(64, 64, generator=rng).numpy()
    after = 0.5 * before
    part = Change.of(before, after).part_above(0.92)
    assert (before + part * (after - before)).std() == pytest.approx(0.92, rel=1e-5)
    assert Change.of(before, 0.9 * before).part_above(0.92) == 1


def test_so_much_of_an_update_is_taken_that_the_residual_is_not_louder():
    """As `_part_above`, from the other side."""
    before, change = np.random.default_rng(1).normal(size=(2, 100, 100))
    part = Change.of(before, before + change).part_below(1.1)
    assert 0 < part < 1
    assert (before + part * change).std() == pytest.approx(1.1)
    assert Change.of(before, before + 0.1 * change).part_below(1.1) == 1

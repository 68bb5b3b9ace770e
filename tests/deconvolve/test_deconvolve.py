import dataclasses

import numpy as np
import pytest

from radrim.deconvolve.clean import CleanSettings, CleanSolver
from radrim.deconvolve.major import deconvolve
from radrim.deconvolve.minor import MinorCycle
from radrim.deconvolve.tiles import Tiles
from radrim.deconvolve.whole import WholeImage
from radrim.errors import SolverError
from radrim.metrics import noise_mad

SHAPE = (96, 128)
SOURCES = [(30, 40, 1.0), (60, 100, 0.5)]  # y, x, flux [Jy]


class Sky:
    """Stands for a measurement: residuals of `SOURCES` seen through a PSF, noise included."""

    left_noise = float("nan")

    def __init__(self, noise=1e-4, seed=0):
        y, x = np.indices(SHAPE)
        r2 = (y - SHAPE[0] // 2) ** 2 + (x - SHAPE[1] // 2) ** 2
        # A beam of five pixels with sidelobes of a few per cent.
        self.psf = (np.exp(-r2 / 9) + 0.05 * np.cos(x / 3.0) * np.exp(-r2 / 400)).astype(np.float32)
        self.psf /= self.psf[SHAPE[0] // 2, SHAPE[1] // 2]
        self._ft = np.fft.rfft2(np.fft.ifftshift(self.psf))
        truth = np.zeros(SHAPE)
        for row, column, flux in SOURCES:
            truth[row, column] = flux
        rng = np.random.default_rng(seed)
        self.dirty = (self._blur(truth) + noise * self._blur(rng.standard_normal(SHAPE))).astype(np.float32)

    def _blur(self, image):
        return np.fft.irfft2(np.fft.rfft2(image) * self._ft, SHAPE)

    def residual(self, model):
        return (self.dirty - self._blur(model)).astype(np.float32)

    def state(self, label=""):
        return WholeImage(
            label=label, measurement=self, dirty=self.dirty, psf=self.psf, model=np.zeros(SHAPE, np.float32),
            residual=self.dirty,
        )  # fmt: skip


class Minor:
    """A minor cycle that does what `solve(residual, psf, model, noise, peak)` does."""

    psf_factor = 1

    def __init__(self, solve):
        self.solve = solve

    def __call__(self, *arguments):
        return self.solve(*arguments)

    def expect(self, noise):
        return False


def improve(states, tiles, make, max_major, workers):
    """Deconvolve with the minor cycle, or the function of one, that `make` gives for each tile of each image."""

    def solver(tile, image):
        made = make(tile, image)
        return made if hasattr(made, "psf_factor") else Minor(made)

    for state in states:
        state.cut(tiles, solver, workers)
    deconvolve(states, max_major)


def run(states, solver, max_major=20, tile=1024, halo=16):
    """Deconvolve with the same minor cycle for each tile."""
    improve(states, Tiles(SHAPE, tile, halo), lambda tile, image: solver, max_major, 2)


def peak_only(part):
    """A minor cycle that moves this part of the brightest pixel into the model."""

    def solve(residual, psf, model, noise, peak):
        update = np.zeros_like(residual)
        at = np.unravel_index(np.abs(residual).argmax(), residual.shape)
        update[at] = part * residual[at]
        return MinorCycle(update, 1, peak, "one component", bool(abs(residual[at]) < 5 * noise))

    return solve


def make_clean(tile, channel):
    return CleanSolver(CleanSettings(auto_threshold=3, auto_mask=5))


@pytest.mark.parametrize("tile", [1024, 64])
def test_sources_are_found(tile):
    """CLEAN, in one tile or four, ends with the sources in the model and noise in the residual."""
    sky = Sky()
    (state,) = states = [sky.state()]
    improve(states, Tiles(SHAPE, tile, 32), make_clean, 20, 2)
    for row, column, flux in SOURCES:
        assert state.model[row - 3 : row + 4, column - 3 : column + 4].sum() == pytest.approx(flux, rel=0.02)
    assert np.abs(state.residual).max() < 6 * noise_mad(state.residual)
    np.testing.assert_allclose(state.residual, sky.residual(state.model), atol=1e-7)
    assert state.stop == "final threshold"
    assert state.components == sum(cycle["components"] for cycle in state.cycles) > 0


def test_a_cycle_that_makes_things_worse_is_undone():
    """A solver that adds to the residual is stopped at once; model and residual are those before."""
    sky = Sky()
    (state,) = states = [sky.state()]
    run(states, lambda residual, *rest: MinorCycle(-residual, 1, 0.0, "wrong way", False))
    assert state.stop == "the residual rose; the last cycle was undone"
    assert len(state.cycles) == 1
    assert not state.model.any()
    np.testing.assert_array_equal(state.residual, sky.dirty)


def test_a_cycle_that_goes_too_far_is_cut():
    """Three times the right update is cut to a third, where chi^2 is lowest, and is as good as the right one."""
    sky = Sky()
    states = []
    for part in (3.0, 1.0):
        states.append(sky.state())
        run(states[-1:], peak_only(part), max_major=1)
    far, right = states
    np.testing.assert_allclose(far.model, right.model, atol=0.02)
    np.testing.assert_allclose(far.residual, sky.residual(far.model), atol=1e-6)
    assert "one component, step shortened to 3" in far.cycles[0]["stop"]
    assert far.cycles[0]["rms"] == pytest.approx(right.cycles[0]["rms"], rel=0.01)


@pytest.mark.parametrize("most", [10.0, 1e-6])
def test_whole_or_not_at_all(most):
    """An update that is to be taken as a whole is not cut, and undone if the residual is louder than it may be."""
    sky = Sky()
    (state,) = states = [sky.state()]
    solve = peak_only(1.8)
    run(states, lambda *given: dataclasses.replace(solve(*given), max_rms_rise=most), max_major=1)
    if most > 1:
        assert state.model.max() == pytest.approx(1.8 * sky.dirty.max())
        np.testing.assert_allclose(state.residual, sky.residual(state.model), atol=1e-6)
    else:
        assert not state.model.any()
        assert "undone" in state.stop


@pytest.mark.parametrize("whole", [0.0, 1.1])
def test_updates_taken_as_a_whole_are_no_stall(whole):
    """They let the residual rise on purpose; others that change nothing to speak of end the deconvolution."""
    sky = Sky()
    (state,) = states = [sky.state()]
    solve = peak_only(1e-6)
    run(states, lambda *given: dataclasses.replace(solve(*given), max_rms_rise=whole), max_major=5)
    assert len(state.cycles) == (5 if whole else 2)
    assert ("no longer falls" in state.stop) == (not whole)


def test_a_short_step_is_not_stretched():
    """A solver that takes a third of the peak gets a third: the gain is its own choice."""
    sky = Sky()
    (state,) = states = [sky.state()]
    run(states, peak_only(0.3), max_major=1)
    assert state.model.max() == pytest.approx(0.3 * sky.dirty.max())
    assert "cut" not in state.cycles[0]["stop"]


def test_the_best_model_is_kept_when_it_diverges_later():
    """Two good cycles and a bad one: the model of the second stays."""
    calls = []

    def solve(residual, psf, model, noise, peak):
        calls.append(model.copy())
        part = 0.9 if len(calls) < 3 else -3.0
        return peak_only(part)(residual, psf, model, noise, peak)

    (state,) = states = [Sky().state()]
    run(states, solve)
    assert state.stop == "the residual rose; the last cycle was undone"
    assert len(state.cycles) == 3
    np.testing.assert_array_equal(state.model, calls[2])


def test_nan_from_a_solver_is_undone():
    """A model that is not finite cannot pass for a falling residual."""
    (state,) = states = [Sky().state()]
    run(states, lambda residual, *rest: MinorCycle(np.full_like(residual, np.nan), 1, 0.0, "broken", False))
    assert state.stop == "the residual rose; the last cycle was undone"
    assert np.isfinite(state.model).all()
    assert np.isfinite(state.residual).all()


def test_stalling_ends_the_deconvolution():
    """Two cycles in a row that change next to nothing are the end."""
    (state,) = states = [Sky().state()]
    run(states, peak_only(1e-4))
    assert state.stop == "the residual no longer falls"
    assert len(state.cycles) == 2


def test_two_idle_cycles_are_the_end():
    """No component twice: done; once alone can be the step from the free stage to the masked one."""
    counts = iter([1, 0, 1, 0, 0, 1, 1])

    def solve(residual, psf, model, noise, peak):
        minor = peak_only(0.5)(residual, psf, model, noise, peak)
        return MinorCycle(minor.update, next(counts), peak, "idle", False)

    (state,) = states = [Sky().state()]
    run(states, solve)
    assert [cycle["components"] for cycle in state.cycles] == [1, 0, 1, 0, 0]
    assert state.stop == "idle"


def test_max_major_is_the_limit():
    """No more major cycles than asked for, and the reason says so."""
    (state,) = states = [Sky().state()]
    run(states, peak_only(0.3), max_major=3)
    assert len(state.cycles) == 3
    assert state.stop == "3 major cycles (--max-major)"


def test_each_channel_ends_by_itself():
    """A channel that is done rests while the other goes on; its model does not change any more."""
    converged = iter([True, False])

    def make(tile, channel):
        done = next(converged)

        def solve(*arguments):
            minor = peak_only(0.3)(*arguments)
            return MinorCycle(minor.update, 1, minor.peak, "enough", done)

        return solve

    first, second = states = [Sky().state("0000"), Sky(seed=1).state("0001")]
    improve(states, Tiles(SHAPE, 1024, 16), make, 4, 2)
    assert [len(state.cycles) for state in states] == [1, 4]
    assert [np.count_nonzero(state.model) for state in states] == [1, 2]
    assert (first.stop, second.stop) == ("enough", "4 major cycles (--max-major)")


def test_what_a_solver_sees():
    """Each tile's solver gets its crop of the residual, the PSF's centre, and noise and peak of the whole image."""
    seen = {}
    tiles = Tiles(SHAPE, 64, 16)

    def make(tile, channel):
        def solve(*arguments):
            residual, *_, peak = arguments
            seen[tiles.index(tile)] = arguments
            return MinorCycle(np.zeros_like(residual), 0, peak, "nothing", True)

        return solve

    sky = Sky()
    improve([sky.state()], tiles, make, 5, 2)
    assert sorted(seen) == list(range(len(tiles)))
    for number, (residual, psf, model, noise, peak) in seen.items():
        tile = tiles[number]
        np.testing.assert_array_equal(residual, sky.dirty[tile.outer])
        assert psf.shape == residual.shape == model.shape == tile.shape
        assert psf[tile.shape[0] // 2, tile.shape[1] // 2] == 1
        assert noise == noise_mad(sky.dirty)
        assert peak == np.abs(sky.dirty).max()


def test_each_tile_adds_to_its_own_part_only():
    """A solver may model what lies in the halo; the image's model takes each tile's core."""
    tiles = Tiles(SHAPE, 64, 16)
    (state,) = states = [Sky().state()]

    def make(tile, channel):
        number = 1e-6 * (1 + tiles.index(tile))
        return lambda residual, *rest: MinorCycle(np.full_like(residual, number), 1, 0.0, "flat", True)

    improve(states, tiles, make, 1, 2)
    for number, tile in enumerate(tiles):
        np.testing.assert_allclose(state.model[tile.core], 1e-6 * (1 + number))


def test_one_solver_per_tile_for_all_cycles():
    """A solver keeps its masks between major cycles: each tile of each channel has its own, made once."""
    made, calls = [], []

    def make(tile, channel):
        made.append(tile)
        name = len(made)

        def solve(*arguments):
            calls.append(name)
            return peak_only(0.5)(*arguments)

        return solve

    tiles = Tiles(SHAPE, 64, 16)
    improve([Sky().state("0000"), Sky(seed=1).state("0001")], tiles, make, 3, 1)
    assert made == list(tiles) * 2
    assert sorted(calls) == sorted(3 * list(range(1, 2 * len(tiles) + 1)))


def test_a_failing_solver_names_channel_and_tile():
    """Where the numbers are broken, the message says in which channel and which part of the image."""
    sky = Sky()
    state = sky.state("0001")
    state.residual = sky.dirty.copy()
    state.residual[10, 100] = np.nan
    with pytest.raises(SolverError, match=r"0001, tile y 0:\d+, x \d+:128: The residual has 1 of \d+ values NaN"):
        improve([state], Tiles(SHAPE, 64, 16), make_clean, 5, 1)


@pytest.mark.parametrize("good, stop", [(0, ""), (2, "a minor cycle failed in major cycle 3")])
def test_a_failing_solver_leaves_what_was_accepted(good, stop):
    """Every channel keeps the model and residual of its last good cycle; what had stopped keeps its reason."""
    sky, calls = Sky(), []

    def solve(*arguments):
        calls.append(1)
        if len(calls) > good:
            raise SolverError("broken")
        return peak_only(0.5)(*arguments)

    state, done = sky.state(), sky.state("done")
    done.stop = "enough"
    with pytest.raises(SolverError, match="broken"):
        run([state, done], solve)
    assert (state.stop, done.stop) == (stop, "enough")
    assert len(state.cycles) == good
    assert state.model.any() == (good > 0)
    np.testing.assert_allclose(state.residual, sky.residual(state.model), atol=1e-6)


class Expecting:
    """A minor cycle that stops at twice the noise that it is told of, or, like CLEAN, does not care."""

    psf_factor = 1

    def __init__(self, noise, heeds):
        self.noise, self.heeds, self.told, self.calls = noise, heeds, [], 0

    def __call__(self, residual, psf, model, noise, peak):
        self.calls += 1
        if np.abs(residual).max() < 2 * self.noise:
            return MinorCycle(np.zeros_like(residual), 0, peak, "noise", True)
        return peak_only(0.5)(residual, psf, model, noise, peak)

    def expect(self, noise):
        self.told.append((self.calls, noise))
        if self.heeds:
            self.noise = noise
        return self.heeds


@pytest.mark.parametrize("heeds", [True, False])
@pytest.mark.parametrize("shown, less", [(0.1, True), (0.85, True), (0.95, False)])
def test_goes_on_to_the_noise_that_the_data_show(shown, less, heeds):
    """What the model leaves of the data shows less noise than was expected: a solver that heeds that goes on to it.

    Far less counts from the first major cycle on; a little less, where the end would leave a bright peak.
    """
    sky, expected = Sky(), 0.1
    sky.left_noise = shown * expected
    state = sky.state()
    state.expected = expected
    solver = Expecting(expected, heeds)
    run([state], solver, 200)
    assert state.stop == "noise"
    assert [noise for _, noise in solver.told] == ([sky.left_noise] if less else [])
    assert [call == 1 for call, _ in solver.told] == ([shown < 0.8] if less else [])
    assert state.expected == (sky.left_noise if less else expected)
    assert (np.abs(state.residual).max() < 0.2 * expected) == (heeds and shown < 0.8)


def test_a_little_less_noise_changes_nothing_where_no_peak_is_left():
    """With the residual as loud as the noise that the data show, the end is the end."""
    sky = Sky(noise=0.01)
    truth = np.zeros(SHAPE)
    for row, column, flux in SOURCES:
        truth[row, column] = flux
    state = sky.state()
    state.residual = sky.residual(truth)
    rms = float(state.residual.std())
    sky.left_noise, state.expected = 0.95 * rms, 1.1 * rms  # 0.86 of what was expected

    def nothing(residual, psf, model, noise, peak):
        return MinorCycle(np.zeros_like(residual), 0, peak, "noise", True)

    run([state], nothing)
    assert state.expected == 1.1 * rms


def test_a_residual_that_rose_says_nothing_of_the_noise():
    """A model that was undone is none to measure the noise with."""
    sky = Sky()
    sky.left_noise = 1e-5
    state = sky.state()
    state.expected = 1.0

    def worse(residual, psf, model, noise, peak):
        minor = peak_only(-5.0)(residual, psf, model, noise, peak)
        return dataclasses.replace(minor, max_rms_rise=1.01)

    run([state], worse)
    assert "undone" in state.stop
    assert state.expected == 1.0


def test_noise_is_that_of_the_accepted_model():
    """What an undone update leaves of the data is forgotten, also when a cycle without an update follows."""
    sky = Sky()
    state = sky.state()
    update = np.zeros(SHAPE, np.float32)
    update[5, 5] = 1
    for part, noise, expected in ((1.0, 0.1, 0.1), (0.0, 1e-5, 0.1), (0.5, 0.2, 0.2)):
        sky.left_noise = noise
        state._pending = state.model + update, state.residual
        state.measure()
        state.apply_update(part)
        state.measure()
        state.apply_update(1.0)
        assert state.left_noise == expected

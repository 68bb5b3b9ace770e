"""The learned minor cycle in the imager: what it leaves alone, how it is cut, when it stops, what it refuses."""

import json

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import torch

from radrim.deconvolve import ChannelState, deconvolve
from radrim.errors import SolverError
from radrim.rim.detection import (
    CELL,
    FIELD,
    REACH,
    bands,
    describe_noise,
    find_active,
    highest_sidelobes,
    level_for,
)
from radrim.rim.inputs import PsfConvolution, point_sources
from radrim.rim.model import IRIM, IRIMConfig
from radrim.rim.points import PointFinder, highest_sidelobe
from radrim.rim.solver import RimSettings, RimSolver
from radrim.tile import crop_centre, make_tiles

NOISE = 1e-3


class Sky:
    """Stands for a measurement: a sky seen through the PSF of a few hundred baselines, with its noise."""

    def __init__(self, shape=(128, 160), sources=((40, 60, 1.0), (90, 110, -0.5)), noise=NOISE, seed=0, width=0.0):
        rng = np.random.default_rng(seed)
        wide = [2 * n for n in shape]
        v, u = (np.fft.fftfreq(n) for n in wide)
        radius = np.hypot(v[:, None], u)
        weight = np.where((radius < 0.15) & (rng.random(wide) < 0.3), 1.0, 0.0)
        weight = weight + np.roll(weight[::-1, ::-1], (1, 1), (0, 1))  # a real image
        psf = np.fft.fftshift(np.fft.ifft2(weight).real)
        self.psf = (psf / psf.max()).astype(np.float32)
        self.transfer = weight / psf.max()
        white = np.fft.fft2(rng.standard_normal(wide))
        grains = np.fft.ifft2(white * np.sqrt(weight)).real[: shape[0], : shape[1]]
        self.truth = np.zeros(shape, np.float32)
        for y, x, flux in sources:
            self.truth[y, x] = flux
        if width:  # sources of that rms width [pixel]: what is no point goes through the network
            self.truth = scipy.ndimage.gaussian_filter(self.truth, width)
        self.convolution = PsfConvolution(torch.from_numpy(self.psf), shape)
        self.dirty = self.see(self.truth) + (noise * grains / grains.std()).astype(np.float32)

    def see(self, model):
        return self.convolution.normal(torch.from_numpy(model)).numpy()

    def point(self, y, x):
        """What a point of flux 1 anywhere, also between pixels, looks like."""
        ny, nx = self.transfer.shape
        phase = np.exp(-2j * np.pi * (np.fft.fftfreq(ny)[:, None] * y + np.fft.fftfreq(nx) * x))
        seen = np.fft.ifft2(self.transfer * phase).real[: self.truth.shape[0], : self.truth.shape[1]]
        return seen.astype(np.float32)

    def residual(self, model):
        return self.dirty - self.see(model)

    def state(self, expected=NOISE):
        return ChannelState("", self, self.dirty, self.psf, np.zeros_like(self.dirty), self.dirty, expected)


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
    tiles = make_tiles(state.dirty.shape, max(state.dirty.shape), 0)
    solver = RimSolver(machine, RimSettings(noise=state.expected, **settings))
    deconvolve([state], tiles, lambda tile, channel: solver, max_major, 1)
    return state


def test_residual_falls_and_chi2_with_it(machine):
    """Major cycles around an untrained machine lower the residual in every cycle, to a small part of what it was."""
    state = run(Sky(sources=((40, 60, 1.0), (90, 110, 0.5))).state(), machine, 5)
    rms = [cycle["rms"] for cycle in state.cycles]
    assert all(after <= before for before, after in zip(rms[:-1], rms[1:], strict=True))
    assert rms[-1] < 0.2 * state.dirty.std()


def test_cut_does_not_matter(stirred):
    """Small tiles of the network give the model that large ones give, to 1e-4 of the peak, idle parts included."""
    sky = Sky((256, 320), ((40, 60, 1.0), (200, 90, 0.3)), width=4.0)
    models = [run(sky.state(), stirred, 2, tile=tile).model for tile in (1024, 64, 96)]
    peak = np.abs(models[0]).max()
    assert peak > 0
    for model in models[1:]:
        assert np.abs(model - models[0]).max() < 1e-4 * peak


def test_noise_gives_an_empty_model(stirred):
    """From noise alone nothing is made, whatever the network would propose, and the reason says so."""
    for seed in range(5):
        state = run(Sky(sources=(), seed=seed).state(), stirred)
        assert not state.model.any()
        assert "the residual is noise" in state.stop


def test_noise_of_unknown_level_gives_an_empty_model(stirred):
    """Without an expectation the noise of the residual itself counts."""
    state = run(Sky(sources=()).state(float("nan")), stirred)
    assert not state.model.any()


def test_empty_parts_stay_empty(stirred):
    """Far from every source the model stays exactly 0."""
    sky = Sky((256, 320), ((40, 60, 1.0),), noise=0.03)
    state = run(sky.state(0.03), stirred, 1)
    assert state.model.any()
    assert not state.model[40 + (REACH + 2) * CELL :].any()


def test_faint_extended_emission_is_seen():
    """Emission below the noise in every pixel, but above it in the mean of a cell, makes its cell active."""
    rng = np.random.default_rng(1)
    residual = rng.standard_normal((512, 512)).astype(np.float32)
    residual[128:192, 128:192] += 1.0
    active = find_active(residual, 1.0)
    assert active[160, 160]
    assert not active[400, 400]


def test_faint_extended_emission_is_no_noise():
    """The same residual does not pass for noise; without the emission it does."""
    rng = np.random.default_rng(1)
    residual = rng.standard_normal((512, 512)).astype(np.float32)
    assert "noise" in describe_noise(residual, 1.0)
    residual[128:160, 128:160] += 1.5
    assert describe_noise(residual, 1.0) == ""


def test_negative_skies(machine):
    """Stokes I allows no negative model; Q, U and V do."""
    sky = Sky()
    assert run(sky.state(), machine, 1).model.min() >= 0
    model = run(sky.state(), machine, 3, positive=False).model
    assert model[90, 110] < -0.1 * model.max()


def test_mask(machine):
    """The model stays empty outside the mask."""
    sky = Sky(sources=((40, 60, 1.0), (90, 110, 0.5)))
    mask = np.zeros_like(sky.truth, bool)
    mask[30:50, 50:70] = True
    model = run(sky.state(), machine, 3, mask=mask).model
    assert model[mask].any()
    assert not model[~mask].any()


def test_threshold(machine):
    """Deconvolution ends where no residual is above the threshold, and says so."""
    state = run(Sky(sources=((40, 60, 1.0),)).state(), machine, threshold=0.3)
    assert "threshold" in state.stop
    assert np.abs(state.residual).max() <= 0.3


@pytest.mark.parametrize("what", ["residual", "psf", "model"])
def test_nan_is_refused(machine, what):
    """NaN in any input is named, how much of it there is, and where."""
    sky = Sky()
    inputs = {"residual": sky.dirty.copy(), "psf": sky.psf.copy(), "model": np.zeros_like(sky.dirty)}
    inputs[what][3, 4] = inputs[what][8, 21] = np.nan
    where = rf"The {what} has 2 of {inputs[what].size} values .*\(rows y 3:9, columns x 4:22\)"
    with pytest.raises(SolverError, match=where):
        RimSolver(machine)(*inputs.values(), NOISE)


def test_nan_names_the_tile(machine):
    """In the imager the message names the place."""
    state = Sky().state()
    state.residual = state.residual.copy()
    state.residual[5, 5] = np.nan
    with pytest.raises(SolverError, match="tile y 0:128, x 0:160"):
        run(state, machine)


def test_broken_checkpoint_is_named():
    """A network that makes NaN of finite numbers is blamed."""
    machine = IRIM(IRIMConfig(channels=28, hidden=8, depth=1, factors=(1,), steps=1)).eval()
    torch.nn.init.constant_(machine.layers[0].layers[0].residual.value.bias or machine.contexts[0].gain, np.nan)
    with pytest.raises(SolverError, match="checkpoint"):
        run(Sky(width=4.0).state(), machine, 1)


def test_nan_from_the_network_says_where(machine, monkeypatch):
    """The place is where the network first went wrong: later steps do not spread it over the image."""
    propose = machine._propose_tiled

    def broken(step, *rest):
        proposal, state = propose(step, *rest)
        if step == 0:
            proposal[0, 30:34, 50] = np.nan
        return proposal, state

    monkeypatch.setattr(machine, "_propose_tiled", broken)
    sky = Sky(sources=((40, 60, 30.0),), width=4.0)
    solver = RimSolver(machine, RimSettings(noise=NOISE))
    with pytest.raises(SolverError, match=r"network's image has 4 of 20480 .*\(rows y 30:34, columns x 50:51\)"):
        solver(sky.dirty, sky.psf, np.zeros_like(sky.dirty), NOISE)


def test_shapes_are_checked(machine):
    """A PSF smaller than the image, or a model of another shape, is refused with both shapes."""
    sky = Sky()
    zero = np.zeros_like(sky.dirty)
    with pytest.raises(SolverError, match=r"\(100, 100\).*\(128, 160\)"):
        RimSolver(machine)(sky.dirty, crop_centre(sky.psf, (100, 100)), zero, NOISE)
    with pytest.raises(SolverError, match=r"\(128, 158\).*\(128, 160\)"):
        RimSolver(machine)(sky.dirty, sky.psf, zero[:, 2:], NOISE)


def test_smaller_tiles_when_memory_is_short(machine, monkeypatch):
    """When the GPU's memory is not enough for a tile, smaller ones are tried; when for none, a message says so."""
    solver = RimSolver(machine, RimSettings(noise=NOISE, tile=512))
    forward, tried = machine.forward, []

    def limited(*args, tile, **kwargs):
        tried.append(tile)
        if tile > limit:
            raise torch.OutOfMemoryError("out of memory")
        return forward(*args, tile=tile, **kwargs)

    monkeypatch.setattr(machine, "forward", limited)
    sky, zero = Sky(width=4.0), np.zeros((128, 160), np.float32)
    limit = 128
    assert solver(sky.dirty, sky.psf, zero, NOISE).update.any()
    assert tried == [512, 256, 128]
    limit = 0
    with pytest.raises(SolverError, match=r"memory.*160 x 128.*--device cpu"):
        solver(sky.dirty, sky.psf, zero, NOISE)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_cuda_agrees_with_the_cpu(stirred):
    """The same model from either device, to 1e-4 of the peak."""
    sky = Sky((256, 320), ((40, 60, 1.0), (200, 90, 0.3)), width=4.0)
    cpu = run(sky.state(), stirred, 2).model
    cuda = run(sky.state(), stirred.to("cuda"), 2).model
    stirred.to("cpu")
    assert np.abs(cuda - cpu).max() < 1e-4 * np.abs(cpu).max()


@pytest.mark.parametrize("factor", [0.5, 100])
def test_a_wrong_expectation_does_no_harm(machine, factor):
    """Half or a hundred times the true noise expected: the sources are found all the same."""
    sky = Sky(sources=((40, 60, 1.0), (90, 110, 0.5)))
    state = run(sky.state(factor * NOISE), machine, 10)
    assert state.residual.std() < 0.1 * sky.dirty.std()


def test_noise_is_not_fitted(machine):
    """The residual's rms stays near the noise expected, however long the network goes on."""
    state = run(Sky(sources=((40, 60, 0.05), (90, 110, 0.03)), noise=5e-3).state(5e-3), machine, 20)
    assert state.residual.std() > 0.9 * 5e-3


def take_all(sky, positive=True):
    """Isolated points as the major cycles find them, one trial after the other; how many the first one finds."""
    finder = PointFinder(sky.psf, sky.dirty.shape, sky.see, sidelobe=0.05, positive=positive)
    points, rest, first = finder.take(sky.dirty, NOISE)
    for _ in range(3):
        more, rest, _ = finder.take(rest, NOISE)
        points = points + more
    return points, rest, first


def test_isolated_points_are_exact(stirred):
    """Points that stand by themselves get their flux in their pixel, to the noise, and no network sees them."""
    places = ((40, 60, 1.0), (90, 110, 0.3), (200, 90, 0.1))
    sky = Sky((256, 320), places)
    points, _, count = take_all(sky)
    assert set(zip(*np.nonzero(points), strict=True)) == {place[:2] for place in places}
    assert count == len(places)
    state = run(sky.state(), stirred)
    for y, x, flux in places:
        assert points[y, x] == pytest.approx(flux, rel=0.01, abs=5 * NOISE)
        assert state.model[y, x] == pytest.approx(flux, rel=2e-3, abs=2 * NOISE)
    assert not any("steps" in cycle["stop"] for cycle in state.cycles)
    assert np.abs(state.residual).max() < 6 * NOISE


@pytest.mark.parametrize("dy, dx", [(0.5, 0.5), (0.3, -0.1), (0.0, 0.4)])
@pytest.mark.parametrize("positive", [True, False])
def test_points_between_pixels(dy, dx, positive):
    """A point's flux and place do not depend on where it lies in its pixel; what is left of it is noise."""
    sky = Sky((256, 320), ())
    truth = [(40 + dy, 60 + dx, 1.0), (90 - dy, 110 + dx, 0.3), (200 + dx, 90 - dy, 0.3 if positive else -0.3)]
    for y, x, flux in truth:
        sky.dirty = sky.dirty + flux * sky.point(y, x)
    points, rest, count = take_all(sky, positive)
    assert count == len(truth)
    assert np.abs(rest).max() < 7 * NOISE
    for y, x, flux in truth:
        box = slice(round(y) - 8, round(y) + 9), slice(round(x) - 8, round(x) + 9)
        rows, columns = np.ogrid[box]
        assert points[box].sum() == pytest.approx(flux, abs=0.01)
        assert (points[box] * rows).sum() / points[box].sum() == pytest.approx(y, abs=0.04)
        assert (points[box] * columns).sum() / points[box].sum() == pytest.approx(x, abs=0.04)


def test_points_between_pixels_beside_a_galaxy(machine):
    """The network, which makes positive skies only, leaves the points' negative pixels as they are."""
    sky = Sky((256, 320), ((60, 60, 30.0),), width=4.0)
    sky.dirty = sky.dirty + sky.point(80.5, 90.5)
    state = run(sky.state(), machine)
    assert "steps" in state.cycles[0]["stop"]
    box = state.model[76:86, 86:96]
    assert box.min() < -0.02
    assert box.sum() == pytest.approx(1.0, abs=0.05)


def test_extended_emission_has_no_points():
    """Blobs twice as wide as the beam, smooth or close together, are left to the network."""
    for sources in (((40, 60, 100.0),), ((40, 60, 60.0), (46, 68, 40.0), (100, 120, 5.0))):
        sky = Sky(sources=sources, width=4.0)
        points, rest, count = PointFinder(sky.psf, sky.dirty.shape, sky.see, sidelobe=0.05).take(sky.dirty, NOISE)
        assert not points.any()
        assert rest is sky.dirty


def test_a_point_on_extended_emission():
    """A point beside an extended source is found; the source stays in the rest."""
    sky = Sky((256, 320), ((60, 60, 50.0),), width=4.0)
    sky.dirty = sky.dirty + sky.see(_one(sky.truth.shape, 200, 250, 1.0))
    points, rest, count = PointFinder(sky.psf, sky.dirty.shape, sky.see, sidelobe=0.05).take(sky.dirty, NOISE)
    assert set(zip(*np.nonzero(points), strict=True)) == {(200, 250)}
    assert points[200, 250] == pytest.approx(1.0, rel=0.02)
    assert rest.max() == pytest.approx(sky.dirty.max(), rel=0.05)


def test_points_with_a_small_psf():
    """A PSF no larger than the image is enough: what it does not say counts as 0, as in the convolution."""
    sky = Sky((128, 160), ((10, 12, 1.0), (118, 150, 0.5)))
    narrow = np.ascontiguousarray(crop_centre(sky.psf, sky.dirty.shape))
    convolution = PsfConvolution(torch.from_numpy(narrow), sky.dirty.shape)

    def see(image):
        return convolution.normal(torch.from_numpy(image)).numpy()

    points, _, _ = PointFinder(narrow, sky.dirty.shape, see, sidelobe=0.05).take(sky.dirty, NOISE)
    assert points[10, 12] == pytest.approx(1.0, rel=0.02)
    assert points[118, 150] == pytest.approx(0.5, rel=0.02)


def test_points_stay_in_the_mask():
    """Outside the mask nothing is a point."""
    sky = Sky(sources=((40, 60, 1.0), (90, 110, 0.5)))
    mask = np.zeros_like(sky.truth, bool)
    mask[30:50, 50:70] = True
    points, _, _ = PointFinder(sky.psf, sky.dirty.shape, sky.see, sidelobe=0.05).take(sky.dirty, NOISE, mask)
    assert set(zip(*np.nonzero(points), strict=True)) == {(40, 60)}
    sky.dirty = sky.dirty + sky.point(32.4, 60.5)  # too near to the mask's edge for all the pixels it would need
    points, _, _ = PointFinder(sky.psf, sky.dirty.shape, sky.see, sidelobe=0.05).take(sky.dirty, NOISE, mask)
    assert points.any()
    assert not points[~mask].any()


def test_where_points_leave_noise_the_network_is_not_asked(machine, monkeypatch):
    """One cycle finds the points; the next sees nothing but noise and stops."""
    monkeypatch.setattr(RimSolver, "_infer", lambda *_: pytest.fail("the network was asked"))
    sky = Sky(sources=((40, 60, 1.0), (90, 110, 0.5)))
    state = run(sky.state(), machine)
    assert [cycle["stop"].split(" (")[0] for cycle in state.cycles] == ["isolated points: 2", "the residual is noise"]
    assert np.count_nonzero(state.model) == 2


def test_points_that_outshine_the_rest_go_first(machine):
    """A bright point is subtracted exactly before the network is asked about what it outshone."""
    sky = Sky((256, 320), ((60, 60, 5.0),), width=4.0)
    sky.dirty = sky.dirty + sky.see(_one(sky.truth.shape, 200, 250, 10.0))
    stops = [cycle["stop"] for cycle in run(sky.state(), machine, 3).cycles]
    assert stops[0] == "isolated points: 1"
    assert "steps" in stops[1]


@pytest.mark.parametrize("change, goes_on", [(0.0, False), (0.5, True)])
def test_a_network_that_has_settled_is_not_asked_again(machine, monkeypatch, change, goes_on):
    """Where it left off by itself, at the residual it expected, CLEAN takes over; at another residual it goes on."""
    monkeypatch.setattr("radrim.rim.solver.LITTLE", 0.5)  # the second step is its last
    sky = Sky(sources=((64, 80, 300.0),), width=4.0)
    solver = RimSolver(machine, RimSettings(noise=NOISE))
    first = solver(sky.dirty, sky.psf, np.zeros_like(sky.dirty), NOISE)
    assert "steps" in first.stop
    assert "CLEAN" not in first.stop
    left = sky.residual(first.update)
    second = solver(left + change * np.roll(left, 9, 1), sky.psf, first.update, NOISE)
    assert ("steps" in second.stop) == goes_on
    assert ("CLEAN" in second.stop) != goes_on


def test_levels_grow_with_the_image():
    """Noise exceeds the level as often in a large image as the one asked for in a small one; small ones keep it."""
    assert level_for(256 * 256, 5.5) == 5.5
    for level in (3.0, 5.5):
        higher = level_for(16 * FIELD, level)
        assert 16 * scipy.stats.norm.sf(higher) == pytest.approx(scipy.stats.norm.sf(level), rel=1e-6)


def test_points_count_when_clean_takes_over(machine, monkeypatch):
    """Beside an extended source the network no longer mends, points are part of the update that CLEAN completes."""
    monkeypatch.setattr("radrim.rim.solver.SLOW", 2.0)
    sky = Sky((256, 320), ((60, 60, 5.0),), width=4.0)
    sky.dirty = sky.dirty + sky.see(_one(sky.truth.shape, 200, 250, 1.0))
    state = run(sky.state(), machine, 1)
    assert "CLEAN of what the network leaves" in state.cycles[0]["stop"]
    assert "isolated points: 1" in state.cycles[0]["stop"]
    assert state.model[200, 250] == pytest.approx(1.0, rel=0.05)


def test_highest_sidelobe():
    """Beyond the first null, of either sign; a shoulder of the main lobe is none."""
    psf = np.zeros((33, 33), np.float32)
    psf[12:21, 12:21], psf[16, 16], psf[16, 28], psf[3, 3] = 0.4, 1.0, 0.1, -0.2
    assert highest_sidelobe(psf) == pytest.approx(0.2)
    assert highest_sidelobe(np.abs(psf)[10:23, 10:23]) == 0


@pytest.mark.parametrize("positive", [True, False])
def test_negative_points(positive):
    """In Stokes Q, U and V points have either sign, in I only one."""
    sky = Sky(sources=((40, 60, 1.0), (90, 110, -0.5)))
    finder = PointFinder(sky.psf, sky.dirty.shape, sky.see, sidelobe=0.05, positive=positive)
    points, _, _ = finder.take(sky.dirty, NOISE)
    assert points[40, 60] == pytest.approx(1.0, rel=0.05)
    assert points[90, 110] == pytest.approx(0 if positive else -0.5, rel=0.02)


def _one(shape, y, x, flux):
    image = np.zeros(shape, np.float32)
    image[y, x] = flux
    return image


def test_point_proposals():
    """At the peaks of a residual stands the flux of the point that would make them; elsewhere 0."""
    residual = torch.zeros(1, 8, 8)
    residual[0, 2, 2], residual[0, 2, 3], residual[0, 6, 5] = 2.0, 1.0, -3.0
    points = point_sources(residual)
    wanted = torch.zeros(1, 8, 8)
    wanted[0, 2, 2], wanted[0, 6, 5] = 2.0, -3.0
    assert torch.equal(points, wanted)


def test_bands_add_up():
    """The bands of an image, each brought to full size, add up to the image."""
    image = np.random.default_rng(0).standard_normal((64, 96))
    parts = bands(image)
    total = sum(np.kron(part, np.ones((4**k, 4**k))) for k, part in enumerate(parts))
    np.testing.assert_allclose(total, image, atol=1e-12)


def test_sidelobes_of_a_psf():
    """A main lobe alone has no sidelobes; a ring of a fifth of the peak has one of about that height."""
    y, x = np.indices((256, 256)) - 128
    radius = np.hypot(y, x)
    lobe = np.exp(-(radius**2) / 8) - 1e-9
    assert max(highest_sidelobes(lobe)) < 1e-3
    ring = lobe + 0.2 * np.exp(-((radius - 60) ** 2) / 8) - 1e-6
    assert highest_sidelobes(ring)[0] == pytest.approx(0.2, rel=0.3)


def test_what_sidelobes_may_explain_waits():
    """With high sidelobes a source of a tenth of the brightest is left to a later cycle, with low ones not."""
    residual = np.random.default_rng(0).standard_normal((512, 512)).astype(np.float32)
    residual[64, 64], residual[448, 448] = 1000, 100
    assert find_active(residual, 1.0, (0.2, 0.2, 0.2))[64, 64]
    assert not find_active(residual, 1.0, (0.2, 0.2, 0.2))[448, 448]
    assert find_active(residual, 1.0, (0.05, 0.05, 0.05))[448, 448]


def test_sidelobes_of_extended_emission_are_left_alone():
    """They add up: in means over 16 pixels what is below twice the PSF's highest sidelobe waits for the next cycle."""
    residual = np.zeros((512, 512), np.float32)
    residual[32:96, 32:96] = 100.0
    for level, active in ((15.0, False), (25.0, True)):
        residual[416:480, 416:480] = level
        assert find_active(residual, 1e-3, (1.0, 1.0, 0.1))[448, 448] == active


@pytest.mark.parametrize("slow, expected", [(0.1, "steps"), (2.0, "CLEAN")])
def test_a_resumed_solver_goes_on_as_if_unbroken(machine, monkeypatch, slow, expected):
    """Its state after any cycle, brought to a new solver through files' types, gives the same models, bit by bit."""
    monkeypatch.setattr("radrim.rim.solver.SLOW", slow)

    def cycles(resume_after):
        sky = Sky((256, 320), ((60, 60, 5.0),), width=4.0)
        sky.dirty = sky.dirty + sky.see(_one(sky.truth.shape, 200, 250, 10.0))
        settings = RimSettings(noise=NOISE)
        solver, model, residual, models, stops = (
            RimSolver(machine, settings),
            np.zeros_like(sky.dirty),
            sky.dirty,
            [],
            [],
        )
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

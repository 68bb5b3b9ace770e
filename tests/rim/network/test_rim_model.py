"""The machines: first estimate, falling chi^2, positivity, tiles, gradients, and the loss."""

import dataclasses
import itertools
import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from radrim.errors import ConfigError, SolverError
from radrim.rim.network.blocks import Convolution, Kernel
from radrim.rim.network.features import StepImages, measure_scales
from radrim.rim.network.irim import IRIM, IRIMConfig
from radrim.rim.network.machine import InferenceOptions
from radrim.rim.network.plain import PlainConfig, PlainRIM
from radrim.rim.network.psf import FINEST, WIDEST, PsfConvolution, beam_responses, smooth
from radrim.rim.network.threads import parallel_map
from radrim.rim.network.windows import changed, cover
from radrim.rim.training.losses import FLUX_WEIGHT, WEIGHTS, decibel_loss, faint_loss

BEAM = torch.tensor([[4.0, 3.0, 0.3], [5.0, 5.0, 0.0]])
SMALL = IRIMConfig(channels=28, hidden=8, depth=3, factors=(1, 2), steps=3)
MACHINES = {
    "irim": (IRIM, SMALL),
    "irim, own weights, full resolution": (
        IRIM,
        dataclasses.replace(SMALL, shared=False, squeeze=1, channels=12, groups=2),
    ),
    "irim, wider where coarser": (IRIM, dataclasses.replace(SMALL, hidden=(4, 16))),
    "irim and U-Nets, with detail": (IRIM, dataclasses.replace(SMALL, depth=1, unets=1, widths=(4, 8), detail=True)),
    "irim of U-Nets": (IRIM, dataclasses.replace(SMALL, depth=0, unets=1, widths=(4, 8))),
    "rim": (PlainRIM, PlainConfig(channels=8, steps=3)),
}


@pytest.fixture(params=MACHINES)
def machine(request):
    """A machine as it is before training."""
    torch.manual_seed(11)
    kind, config = MACHINES[request.param]
    return kind(config)


def stir(machine, gain=1.0):
    """The machine with random numbers instead of zeros: it proposes nonsense of the size of the image."""
    torch.manual_seed(5)
    for name, parameter in machine.named_parameters():
        if name.endswith("value.gain") or name.startswith(("last.", "details.")):
            torch.nn.init.normal_(parameter, 0, gain)
    return machine


def make_psf(rng, size):
    """(y, x) float32 of a few hundred random baselines, peak 1 in the middle."""
    uv = 0.12 * torch.randn(2, 300, generator=rng, dtype=torch.float64)
    lag = torch.arange(size, dtype=torch.float64) - size // 2
    waves = torch.exp(2j * torch.pi * uv.clamp(-0.45, 0.45)[:, :, None] * lag)
    return (torch.einsum("sy,sx->yx", *waves).real / 300).float()


def make_problem(rng, shape=(41, 38), batch=2, dims=2, noise=1e-3):
    """(PsfConvolution, dirty image, truth) of point sources and a smooth one, with noise of that rms."""
    lead = (batch,) if dims == 2 else (batch, 3)
    psfs = torch.stack([make_psf(rng, 2 * max(shape)) for _ in range(lead[-1])])
    psf = PsfConvolution(psfs, shape)
    truth = torch.zeros(*lead, *shape)
    truth[..., shape[0] // 3, shape[1] // 2] = 1
    truth[..., shape[0] // 2 + 5, shape[1] // 3] = 0.02
    truth[..., shape[0] // 2 : shape[0] // 2 + 8, shape[1] // 2 : shape[1] // 2 + 8] += 0.01
    dirty = psf.normal(truth)
    return psf, dirty + noise * torch.randn(dirty.shape, generator=rng), truth


def chi2(psf, estimate, dirty):
    """chi^2 over the sum of weights, less its constant, in float64."""
    exact = PsfConvolution.__new__(PsfConvolution)
    exact.__dict__.update(psf.__dict__, transfer=psf.transfer.double())
    estimate, dirty = estimate.double(), dirty.double()
    return (estimate * exact.normal(estimate) - 2 * estimate * dirty).sum((-2, -1))


def test_first_estimate_of_a_fresh_machine(machine, rng):
    """Before training the first step is the best one along the projected, smooth mean of the w_lambda."""
    psf, dirty, truth = make_problem(rng)
    start = 0.1 * truth
    residual = dirty - psf.normal(start)
    mean = smooth(psf.wiener(residual, machine.config.lambdas).mean(1), FINEST * psf.widths().expand(len(start), 2))
    direction = (start + mean).clamp_min(0) - start
    length, _ = psf.step_length(direction, residual)
    found = machine(psf, residual, 1e-3, estimate=start)
    torch.testing.assert_close(found.estimates[0], start + length * direction, rtol=1e-5, atol=1e-7)
    error, first = ((truth - x).square().sum() for x in (found.estimates[-1], start))
    assert error < first


@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize("gain", [0.3, 3.0, 30.0])
def test_chi2_never_rises(machine, rng, positive, gain):
    """Whatever the network proposes, each step lowers chi^2 of each image, or leaves it."""
    psf, dirty, truth = make_problem(rng)
    stir(machine, gain)
    found = machine(psf, dirty, 1e-3, options=InferenceOptions(positive=positive))
    values = torch.stack([chi2(psf, x, dirty) for x in (torch.zeros_like(truth), *found.estimates)])
    assert (values.diff(dim=0) <= 1e-6 * values.abs().max()).all()
    assert max(length.max() for length in found.lengths) <= 1
    if gain < 1:  # not all is nonsense then
        assert (values[-1] < values[0]).all()


def test_residual_is_that_of_the_estimate(machine, rng):
    """The residual returned, updated step by step, equals D - psf * x."""
    psf, dirty, _ = make_problem(rng)
    found = stir(machine)(psf, dirty, 1e-3)
    torch.testing.assert_close(found.residual, dirty - psf.normal(found.estimates[-1]), rtol=0, atol=3e-6)


def test_positivity_is_only_for_stokes_i(machine, rng):
    """Estimates stay positive if asked to, and reach negative sources if not."""
    psf, dirty, truth = make_problem(rng)
    stir(machine, 0.1)
    for estimate in machine(psf, dirty, 1e-3, estimate=0.5 * truth).estimates:
        assert estimate.min() >= 0
    negative = machine(psf, -dirty, 1e-3, options=InferenceOptions(positive=False)).estimates[-1]
    assert negative[:, 41 // 3, 38 // 2].max() < -0.03
    assert machine(psf, -psf.normal(truth), 1e-3).estimates[-1].max() < 0.1


@pytest.mark.parametrize("unit", [1e-9, 1e6])
def test_units_do_not_matter(machine, rng, unit):
    """Data in other units give the same image in those units: what one telescope taught serves another."""
    psf, dirty, _ = make_problem(rng)
    stir(machine, 0.3)
    wanted = machine(psf, dirty, 1e-3).estimates[-1]
    found = machine(psf, dirty * unit, 1e-3 * unit).estimates[-1] / unit
    assert (found - wanted).abs().max() < 1e-4 * wanted.abs().max()


def test_nothing_in_nothing_out(machine, rng):
    """A residual of zeros gives a model of zeros, without NaN."""
    psf, dirty, _ = make_problem(rng)
    found = stir(machine)(psf, torch.zeros_like(dirty), 1e-3)
    assert not found.estimates[-1].any()
    assert not any(length.any() for length in found.lengths)


def test_autocast_keeps_images_in_float32(machine, rng):
    """A network in bfloat16 changes the estimate a little; images, and the promise about chi^2, stay float32."""
    psf, dirty, truth = make_problem(rng)
    wanted = stir(machine, 0.3)(psf, dirty, 1e-3).estimates[-1]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = machine(psf, dirty, 1e-3)
        decibel_loss(found.estimates, truth, torch.full((2,), 1e-5), BEAM).backward()
    values = torch.stack([chi2(psf, x, dirty) for x in (torch.zeros_like(truth), *found.estimates)])
    assert found.estimates[-1].dtype == torch.float32
    assert (values.diff(dim=0) <= 1e-6 * values.abs().max()).all()
    assert 0 < (found.estimates[-1] - wanted).norm() < 0.1 * wanted.norm()
    assert all(p.grad.isfinite().all() for p in machine.parameters())


@pytest.mark.parametrize("kind", [IRIM, PlainRIM])
def test_cubes(kind, rng):
    """Three-dimensional machines take (batch, chan, y, x), and take each channel's own step length."""
    torch.manual_seed(2)
    config = dataclasses.replace(SMALL, dims=3) if kind is IRIM else PlainConfig(dims=3, channels=8, steps=3)
    psf, dirty, _ = make_problem(rng, shape=(21, 18), dims=3)
    found = stir(kind(config), 10.0)(psf, dirty, 1e-3, options=InferenceOptions(positive=False))
    values = torch.stack([chi2(psf, x, dirty) for x in (torch.zeros_like(dirty), *found.estimates)])
    assert values.shape == (4, 2, 3)
    assert (values.diff(dim=0) <= 1e-6 * values.abs().max()).all()
    assert len({length for lengths in found.lengths for length in lengths.flatten().tolist()}) > 4


def images_of(machine, psf, residual):
    lambdas = machine.config.lambdas
    scales = measure_scales(psf, residual, lambdas, 1e-3)
    return StepImages(psf.wiener(residual, lambdas), residual, torch.zeros_like(residual), scales)


def test_tile_answers_as_the_whole_image_does(machine, rng):
    """A tile cut with its halo, of whole-image convolutions, gives the whole image's update to 1e-4 of the peak."""
    psf, dirty, _ = make_problem(rng, shape=(300, 43), batch=1)
    images, halo = images_of(stir(machine), psf, dirty), machine.halo
    whole, state = machine.propose(0, images)
    assert 180 + halo < 300
    window = slice(120 - halo, 180 + halo), slice(0, 43)
    part, part_state = machine.propose(0, images.cut(window))
    peak = whole[0, 120:180].abs().max()
    assert (part[0, halo : halo + 60] - whole[0, 120:180]).abs().max() < 1e-4 * peak
    cells = [n // machine.config.squeeze for n in (halo, halo + 60, 120, 180)]
    gap = part_state[:, :, cells[0] : cells[1]] - state[:, :, cells[2] : cells[3]]
    assert gap.abs().max() < 1e-4 * state.abs().max()


def test_running_in_tiles_changes_nothing(machine, rng):
    """All steps with the network in tiles, states included, equal those without to 1e-4 of the peak."""
    psf, dirty, _ = make_problem(rng, shape=(203, 61), batch=1)
    stir(machine)
    whole, tiled = machine(psf, dirty, 1e-3), machine(psf, dirty, 1e-3, options=InferenceOptions(tile=64))
    for a, b in zip(whole.estimates, tiled.estimates, strict=True):
        assert (a - b).abs().max() < 1e-4 * a.abs().max()


@torch.no_grad()
def test_steps_that_change_little_are_the_last(machine, rng):
    """`least` ends the loop once a step changes the residual's rms by less, or the next would; steps stay the same."""
    psf, dirty, _ = make_problem(rng, batch=1)
    stir(machine, 0.3)
    every = machine(psf, dirty, 1e-3)
    count = len(every.lengths)
    residuals = [
        dirty,
        *(machine(psf, dirty, 1e-3, options=InferenceOptions(steps=k)).residual for k in range(1, count + 1)),
    ]
    rms = [float(residual.square().mean().sqrt()) for residual in residuals]
    assert rms == sorted(rms, reverse=True)
    changes = [1 - after / before for before, after in itertools.pairwise(rms)]
    falls = [before - after for before, after in itertools.pairwise(rms)]
    # If falls go on as they do, the next is smaller by the same factor.
    coming = [float("inf")] + [
        fall**2 / last / now for last, fall, now in zip(falls[:-1], falls[1:], rms[2:], strict=True)
    ]
    for least in (1.01 * changes[0], 1.01 * min(changes[:-1]), 0.99 * min(changes + coming)):
        stopped = machine(psf, dirty, 1e-3, options=InferenceOptions(least=least))
        wanted = next((k for k in range(count) if min(changes[k], coming[k]) < least), count - 1) + 1
        assert len(stopped.lengths) == wanted
        assert torch.equal(stopped.estimates[-1], every.estimates[wanted - 1])
    assert len(machine(psf, dirty, 1e-3, options=InferenceOptions(least=1.01 * changes[0])).lengths) == 1
    assert len(machine(psf, dirty, 1e-3, options=InferenceOptions(least=0.0)).lengths) == count


@torch.no_grad()
def test_what_no_longer_changes_is_left_out(machine, rng, monkeypatch):
    """It stays as it is, and its state counts as 0: in tiles, which use memory again, as in the whole."""
    still = torch.arange(384).expand(64, 384) >= 200
    monkeypatch.setattr("radrim.rim.network.machine.changed", lambda *_: ~still)
    psf, dirty, _ = make_problem(rng, shape=(64, 384), batch=1)
    stir(machine, 0.3)
    # Of many steps rounding would decide which of two neighbours is the peak, and so a proposed point.
    steps = 4 if machine.config.shared else None
    active = torch.ones(64, 384, dtype=torch.bool)
    whole, tiled = (
        machine(psf, dirty, 1e-3, options=InferenceOptions(steps, tile=tile, active=active, least=0.0)).estimates
        for tile in (None, 64)
    )
    for a, b in zip(whole, tiled, strict=True):
        assert (a - b).abs().max() < 1e-5 * a.abs().max()
    for before, after in itertools.pairwise(whole):
        assert torch.equal(before[..., still], after[..., still])
    assert not torch.equal(whole[0], whole[1])


def test_changed_cells(rng):
    """Cells whose rms changes by more than the part asked for, and their neighbours, are the ones that changed."""
    before = torch.randn(1, 320, 250, generator=rng)
    after = before.clone()
    after[0, 100:110, 100:110] *= 0.5
    found = changed(before, after, 1e-3)
    assert found.shape == (320, 250)
    assert found[64:160, 64:160].all()
    assert not found[256:].any()
    assert not changed(before, before, 1e-3).any()


def test_receptive_field_is_not_exceeded(machine, rng):
    """A change of one pixel, anywhere in a cell, is felt almost up to the documented distance, but not beyond."""
    psf, dirty, _ = make_problem(rng, shape=(301, 31), batch=1)
    images = images_of(stir(machine), psf, dirty)
    # As wide as it may be: of a narrow Gaussian the last taps are nothing.
    images = dataclasses.replace(images, scales=dataclasses.replace(images.scales, finest=torch.full((1, 2), WIDEST)))
    before, reach = machine.propose(0, images)[0], 0
    for y in range(144, 144 + machine.alignment):
        changed = dataclasses.replace(images, wiener=images.wiener.clone())
        changed.wiener[0, :, y, 15] = 100
        felt = (machine.propose(0, changed)[0] - before)[0].nonzero()
        reach = max(reach, (felt[:, 0] - y).abs().max())
    assert machine.receptive_field - machine.alignment < reach <= machine.receptive_field


def test_every_step_sees_the_data(machine, rng):
    """The state takes in the residual of later steps too, not only of the first."""
    psf, dirty, _ = make_problem(rng)
    _, state = stir(machine).propose(0, images_of(machine, psf, dirty))
    _, same = machine.propose(1, images_of(machine, psf, dirty), state)
    _, other = machine.propose(1, images_of(machine, psf, 0.5 * dirty), state)
    assert (same - other).abs().max() > 1e-2 * state.abs().max()


@pytest.mark.parametrize("detach", [True, False])
def test_detached_images_pass_no_gradient_to_the_next_step(rng, detach):
    """In a fresh machine, where the state does not matter, the second estimate knows the start only if not detached."""
    psf, dirty, truth = make_problem(rng)
    start = (0.1 * truth).requires_grad_()
    second = IRIM(SMALL)(psf, dirty, 1e-3, start, options=InferenceOptions(detach=detach)).estimates[1]
    (gradient,) = torch.autograd.grad(second.sum(), start)
    assert gradient.any() != detach


@pytest.mark.parametrize("detach", [True, False])
def test_training_gradients_equal_stored_activations(rng, detach):
    """The loss over all steps, with shared weights, has the gradient that autograd finds, for every parameter."""
    psf, dirty, truth = make_problem(rng, shape=(15, 14))
    psf = PsfConvolution(torch.stack([make_psf(rng, 30), make_psf(rng, 30)]).double(), (15, 14))
    torch.manual_seed(3)
    machine = stir(IRIM(SMALL), 0.2).double()

    def gradients(stored):
        machine.layers[0].stored = stored
        found = machine(psf, dirty.double(), 1e-3, options=InferenceOptions(detach=detach))
        loss = decibel_loss(found.estimates, truth.double(), torch.full((2,), 1e-5).double(), BEAM.double())
        return torch.autograd.grad(loss, list(machine.parameters()))

    found, wanted = gradients(False), gradients(True)
    total = sum(g.square().sum() for g in wanted) ** 0.5
    assert total > 0
    for a, b in zip(found, wanted, strict=True):
        assert b.any()
        assert (a - b).norm() < 1e-9 * total


def test_training_lowers_the_loss(machine, rng):
    """Two dozen steps of Adam on one problem gain more than half a decibel: gradients reach a fresh machine."""
    psf, dirty, truth = make_problem(rng, shape=(24, 24))
    optimiser = torch.optim.Adam(machine.parameters(), 3e-3)
    floor = torch.full((2,), 1e-5)
    losses = []
    for _ in range(25):
        losses.append(decibel_loss(machine(psf, dirty, 1e-3).estimates, truth, floor, BEAM))
        optimiser.zero_grad()
        losses[-1].backward()
        optimiser.step()
    assert losses[-1] < losses[0] - 0.5


def test_more_steps_than_trained(rng):
    """Shared weights run any number of steps; separate ones refuse, and say how many they have."""
    psf, dirty, _ = make_problem(rng)
    five = InferenceOptions(steps=5)
    assert len(IRIM(SMALL)(psf, dirty, 1e-3, options=five).estimates) == 5
    with pytest.raises(SolverError, match=r"5 steps.* 3"):
        IRIM(dataclasses.replace(SMALL, shared=False))(psf, dirty, 1e-3, options=five)


@pytest.mark.parametrize(
    "residual, estimate, message",
    [
        (torch.zeros(2, 3, 41, 38), None, r"\(2, 3, 41, 38\).*3 axes"),
        (torch.zeros(2, 41, 37), None, r"\(41, 37\).*\(41, 38\)"),
        (torch.zeros(2, 41, 38), torch.zeros(1, 41, 38), r"\(1, 41, 38\).*\(2, 41, 38\)"),
    ],
)
def test_shapes_that_do_not_fit(rng, residual, estimate, message):
    """The message names the shape found and the one needed."""
    psf, _, _ = make_problem(rng)
    with pytest.raises(SolverError, match=message):
        IRIM(SMALL)(psf, residual, 1e-3, estimate=estimate)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"dims": 4}, "dims is 4"),
        ({"channels": 24}, "channels is 24.* 25"),
        ({"depth": 0}, "depth and unets are both 0"),
        ({"unets": 1}, "unets is 1 and widths \\(\\)"),
        ({"widths": (4, 8)}, "unets is 0 and widths \\(4, 8\\)"),
        ({"unets": 1, "widths": (4, 0)}, "each of widths is 0"),
        ({"steps": 2.5}, "steps is 2.5"),
        ({"factors": (1, 0)}, "factors is 0"),
        ({"factors": ()}, "factors is empty"),
        ({"hidden": (8, 0)}, "hidden is 0"),
        ({"hidden": ()}, "hidden is \\(\\)"),
        ({"lambdas": (2.0, -1.0)}, "lambdas"),
        ({"squeeze": 99}, "squeeze is 99"),
    ],
)
def test_configurations_out_of_range(change, message):
    """A configuration that cannot work is refused with the name, the value and the limit."""
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(SMALL, **change)


def test_loss_is_in_decibels_of_relative_error(rng):
    """An error of 1 % is -40 dB in every term, whatever the flux of the image, and however many steps there are."""
    truth = torch.rand(3, 20, 20, generator=rng) * torch.tensor([1e-6, 1.0, 1e6]).view(3, 1, 1)
    floor = torch.full((3,), 1e-12)
    wanted = -40 * (sum(WEIGHTS) + FLUX_WEIGHT)
    for steps in (1, 4):
        loss = decibel_loss([1.01 * truth] * steps, truth, floor, BEAM[:1].expand(3, 3))
        # The tolerance of the flux is a tenth of its error here.
        assert abs(loss - wanted) < 0.05


def test_loss_of_a_cube_is_that_of_its_images(rng):
    """Channels that are all alike give the loss of one of them."""
    truth = torch.rand(2, 20, 18, generator=rng)
    estimate = truth + 0.1 * torch.rand(2, 20, 18, generator=rng)
    floor = torch.full((2,), 1e-3)
    image = decibel_loss([estimate], truth, floor, BEAM)
    cube = decibel_loss([estimate[:, None].expand(2, 3, 20, 18)], truth[:, None].expand(2, 3, 20, 18), floor, BEAM)
    assert abs(image - cube) < 1e-2


def test_loss_punishes_haze_more_than_noise(rng):
    """Of two errors with the same rms, the one that adds flux costs more: smoothed scales and flux see it."""
    truth = torch.zeros(1, 64, 64)
    truth[0, 32, 32] = 1
    noise = torch.randn(1, 64, 64, generator=rng)
    noise = 1e-3 * (noise - noise.mean()) / noise.std()
    floor = torch.tensor([1e-6])
    errors = torch.full_like(truth, 1e-3), noise
    hazy, noisy = (decibel_loss([truth + error], truth, floor, BEAM[:1]) for error in errors)
    assert hazy > noisy + 20


def test_faint_loss_sees_what_the_other_does_not():
    """Missing faint structure beside a bright source costs decibels, an error of 3 % of that source next to nothing."""
    truth = torch.zeros(1, 64, 64)
    truth[0, 32, 32] = 1
    faint = truth.clone()
    truth[0, 10:20, 10:50] = 1e-4
    floor = torch.tensor([1e-6])
    missing, off = (
        (decibel_loss([x], truth, floor, BEAM[:1]), faint_loss(x, truth, floor, BEAM[:1]))
        for x in (faint, 1.03 * truth)
    )
    assert missing[0] < off[0] - 30
    assert missing[1] > off[1] + 10


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_faint_loss_has_no_unit(rng, unit):
    """Nor is it infinite where there is nothing."""
    truth, floor = torch.rand(2, 20, 18, generator=rng), torch.full((2,), 1e-3)
    loss = faint_loss(1.1 * truth, truth, floor, BEAM)
    assert abs(faint_loss(unit * 1.1 * truth, unit * truth, unit * floor, BEAM) - loss) < 1e-3
    assert faint_loss(truth, truth, floor, BEAM) < loss - 2
    assert abs(faint_loss(0 * truth, 0 * truth, floor, BEAM)) < 1e-6


def test_loss_of_an_empty_sky_is_finite():
    """Without any source the loss counts noise fitted above the floor, and has finite gradients."""
    truth = torch.zeros(1, 16, 16)
    estimate = torch.full((1, 16, 16), 1e-3, requires_grad=True)
    loss = decibel_loss([estimate], truth, torch.tensor([1e-4]), BEAM[:1])
    loss.backward()
    assert loss > 10
    assert estimate.grad.isfinite().all()
    assert estimate.grad.any()


def test_smoothing_is_the_beam():
    """The response of the whole beam turns a point into a Gaussian of unit sum with the beam's widths and angle."""
    size = 96
    image = torch.zeros(size, size, dtype=torch.float64)
    image[0, 0] = 1
    beam = torch.tensor([[9.0, 5.0, 0.4]], dtype=torch.float64)
    (squared,) = beam_responses(beam, (size, size), (1.0,))
    smoothed = torch.fft.irfft2(torch.fft.rfft2(image) * squared[0, 0].sqrt(), s=(size, size))
    # x grows to the west and y to the north: the major axis points along (x, y) = (-sin pa, cos pa).
    for along, across in ((4.5, 0.0), (0.0, 2.5)):
        y = along * math.cos(0.4) + across * math.sin(0.4)
        x = -along * math.sin(0.4) + across * math.cos(0.4)
        assert abs(_at(smoothed, y, x) / smoothed[0, 0] - 0.5) < 0.01
    assert abs(smoothed.sum() - 1) < 1e-9


def _at(image, y, x):
    """An image, periodic and band-limited, between its pixels."""
    v, u = (torch.fft.fftfreq(n, dtype=torch.float64) for n in image.shape)
    phase = torch.exp(2j * math.pi * (v[:, None] * y + u * x))
    return float((torch.fft.fft2(image) * phase).sum().real / image.numel())


def test_cover_is_exact_and_no_larger_than_it_must_be(rng):
    """Every active pixel lies in one window, no window overlaps another, and scattered spots are not covered as one."""
    active = torch.zeros(512, 640, dtype=torch.bool)
    for y, x in ((10, 20), (500, 600), (250, 30)):
        active[y : y + 9, x : x + 7] = True
    windows = cover(active, (slice(0, 512), slice(0, 640)), 32, 8)
    count = torch.zeros(active.shape, dtype=torch.int64)
    for window in windows:
        assert all(part.start % 8 == 0 for part in window)
        count[window] += 1
    assert count.max() == 1
    assert (count[active] == 1).all()
    assert len(windows) == 3
    assert cover(torch.zeros_like(active), (slice(0, 512), slice(0, 640)), 32, 8) == []
    assert cover(torch.ones_like(active), (slice(0, 512), slice(0, 640)), 32, 8) == [(slice(0, 512), slice(0, 640))]


def test_kernels_follow_their_parameters():
    """Without gradients a kernel is made once, and again after a change in place, loaded weights, or another type."""
    layer, other = (Convolution(2, 3, 5, Kernel(3)) for _ in range(2))
    with torch.no_grad():
        before = layer.weight()
        assert layer.weight() is before
        layer.gain.mul_(2)
        torch.testing.assert_close(layer.weight(), 2 * before)
        layer.load_state_dict(other.state_dict())
        torch.testing.assert_close(layer.weight(), other.weight())
        layer.double()
        assert layer.weight().dtype == torch.float64
    assert layer.weight().requires_grad


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_parts_abreast(threads):
    """In order, without gradients, on all threads together; afterwards all is as before, also after an error."""
    before, weight = torch.get_num_threads(), torch.ones(1, requires_grad=True)
    torch.set_num_threads(threads)
    try:
        found = list(
            parallel_map(lambda part: (part * weight, torch.get_num_threads()), [1, 2, 3], torch.device("cpu"))
        )
        assert [float(value) for value, _ in found] == [1, 2, 3]
        assert not any(value.requires_grad for value, _ in found)
        assert {share for _, share in found} == {max(1, threads // 3)}
        with pytest.raises(ZeroDivisionError):
            list(parallel_map(lambda part: 1 / part, [1, 0], torch.device("cpu")))
        assert torch.get_num_threads() == threads
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == threads
    finally:
        torch.set_num_threads(before)

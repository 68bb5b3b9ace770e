"""The prior update of a finished model: what the network sees, what prior and data make of it, training, the imager."""

import logging

import numpy as np
import pytest
import torch

import radrim
from radrim.errors import ConfigError, InputError
from radrim.geometry import ARCSEC
from radrim.rim import checkpoint
from radrim.rim.minor.settings import RimSettings
from radrim.rim.minor.solver import RimSolver
from radrim.rim.network.prior import (
    FEATURES,
    Prior,
    PriorConfig,
    expect,
    make_finished,
    most_probable_sky,
    see,
    smooth_faint,
    update_by_prior,
)
from radrim.rim.network.psf import PsfConvolution, SmoothConvolution
from radrim.rim.training.prior_trainer import PriorTrainer, PriorTraining, load_prior_training, scores
from radrim.rim.training.problems import make_problem
from radrim.rim.training.recipe import make_recipe
from radrim.rim.training.runs import make_outcome, solve_problem
from radrim.rim.training.skies import stretch
from radrim.sky.catalogue import make_sky, offset_position

NOISE = 0.05


class Scene:
    """A source in an empty sky, a PSF with sidelobes, and what a model left."""

    def __init__(self, size=48, flux=1.0, seed=0):
        rng = np.random.default_rng(seed)
        y, x = np.indices((2 * size, 2 * size)) - size
        radius = np.hypot(y, x)
        psf = np.exp(-(radius**2) / 12) + 0.1 * np.cos(radius / 2) * np.exp(-radius / 15)
        self.psf = torch.from_numpy((psf / psf[size, size]).astype(np.float32))
        model = np.zeros((size, size), np.float32)
        model[size // 2 - 4 : size // 2 + 6, size // 3 - 1 : size // 3 + 6] = rng.random((10, 7))
        self.model = flux * torch.from_numpy(model)
        self.residual = flux * torch.from_numpy(rng.normal(0, NOISE, (size, size)).astype(np.float32))
        self.noise = flux * NOISE
        self.convolution = PsfConvolution(self.psf, (size, size))

    def finished(self):
        """As the network takes it."""
        return make_finished(self.model[None], self.residual[None], self.convolution, torch.tensor([self.noise]))

    def after(self, network, **options):
        """The model after the prior update."""
        return update_by_prior(network, self.model, self.residual, self.convolution, self.noise, **options)


def network(scale=0.0, widths=(8, 8), seed=1):
    """A network that says something, or nothing."""
    torch.manual_seed(seed)
    made = Prior(PriorConfig(widths))
    torch.nn.init.constant_(made.unet.value.gain, scale)
    return made.eval()


def test_features_have_no_flux_unit():
    """A sky a million times as bright looks the same."""
    one, many = (see(Scene(flux=flux).finished()) for flux in (1.0, 1e6))
    assert one.shape == (1, FEATURES, 48, 48)
    assert torch.isfinite(one).all()
    torch.testing.assert_close(many, one, rtol=1e-3, atol=1e-3)


def test_the_answer_has_the_flux_unit():
    """And so is the model that comes out a million times as bright."""
    made = network(0.3)
    one, many = (Scene(flux=flux).after(made) for flux in (1.0, 1e6))
    torch.testing.assert_close(many / 1e6, one, rtol=1e-3, atol=1e-4)


def test_conjugate_gradients_find_the_most_probable_sky():
    """The posterior's mean, by the matrices of a small image."""
    scene, rng = Scene(12), np.random.default_rng(3)
    scene.model = torch.from_numpy(rng.random((12, 12)).astype(np.float32))
    mean = torch.from_numpy(rng.random((12, 12)).astype(np.float32))
    spread = torch.from_numpy(rng.uniform(0, 0.2, (12, 12)).astype(np.float32))
    units = torch.eye(144).view(144, 12, 12)
    smooth = SmoothConvolution(scene.convolution)
    s, both = (f(units).reshape(144, 144).numpy().astype(float) for f in (smooth.smooth, smooth.normal))
    w = np.diag(spread.numpy().ravel().astype(float))
    model, prior = (image.numpy().ravel().astype(float) for image in (scene.model, mean))
    right = w @ (s @ scene.residual.numpy().ravel() - both @ (prior - model))
    z = np.linalg.solve(w @ both @ w + scene.noise**2 * np.eye(144), right)
    expected = model + s @ (prior - model + w @ z)
    noise = torch.full((1, 1, 1), scene.noise)
    found = most_probable_sky(
        mean[None], spread[None], scene.model[None], scene.residual[None], scene.convolution, noise, 150
    )
    np.testing.assert_allclose(found[0].numpy().ravel(), expected, atol=1e-2)
    assert np.abs(expected - prior).max() > 0.1


def test_a_network_that_says_nothing_expects_the_model():
    """It changes nothing before it has learned."""
    scene = Scene()
    finished = scene.finished()
    with torch.inference_mode():
        mean, spread = expect(network()(see(finished)), finished.model, finished.units.pixel)
    torch.testing.assert_close(mean, finished.model, rtol=1e-5, atol=1e-5)
    assert (spread >= 0).all()
    assert (spread[finished.model > 0] > 0).all()


def test_an_empty_sky_stays_empty():
    """Whatever the network says; and so does what is far from all that the model has."""
    made = network(3.0)
    scene = Scene(96)
    found = scene.after(made)
    assert not torch.equal(found, scene.model)
    assert not found[:, 75:].any()
    scene.model[:] = 0
    assert not scene.after(made).any()


def test_the_model_changes_only_where_it_may():
    """By the user's mask."""
    scene, allowed = Scene(), torch.zeros(48, 48, dtype=torch.bool)
    allowed[:25] = True
    found = scene.after(network(0.3), allowed=allowed)
    assert torch.equal(found[25:], scene.model[25:])
    assert not torch.equal(found[:25], scene.model[:25])


def test_a_faint_model_is_no_finer_than_the_beam():
    """What a beam holds little of is spread, and its flux kept; the bright stays, the empty and the forbidden, too."""
    scene = Scene(96)
    bright = torch.zeros_like(scene.model)
    bright[20:24, 20:24] = 100 * NOISE
    noise = torch.zeros_like(bright)
    noise[60:80, 60:80] = NOISE * torch.randn(20, 20, generator=torch.Generator().manual_seed(0)) / 10
    after = smooth_faint(bright + noise, scene.convolution, NOISE)
    torch.testing.assert_close(after[10:34, 10:34], bright[10:34, 10:34], rtol=1e-3, atol=1e-2 * NOISE)
    assert after[50:90, 50:90].std() < 0.3 * noise[50:90, 50:90].std()
    torch.testing.assert_close(after.sum(), (bright + noise).sum(), rtol=1e-3, atol=0)
    assert not after[:, 44].any()
    allowed = torch.ones_like(noise, dtype=torch.bool)
    allowed[:, 70:] = False
    limited = smooth_faint(bright + noise, scene.convolution, NOISE, allowed)
    assert torch.equal(limited[:, 70:], noise[:, 70:])
    assert not torch.equal(limited[:, :70], (bright + noise)[:, :70])


def test_smoothing_does_not_depend_on_emission_far_away():
    """Work is done in a window around all emission: a far pixel that widens it changes nothing here but rounding."""
    size = 200
    y, x = np.mgrid[:size, :size] - size // 2
    psf = np.exp(-(x**2 + y**2) / (2 * 1.5**2)).astype(np.float32)
    convolution = PsfConvolution(torch.from_numpy(psf), (size, size))
    model = torch.zeros(size, size)
    model[20:40, 20:40] = torch.rand(20, 20, generator=torch.Generator().manual_seed(1)) ** 4
    far = model.clone()
    far[-5, -5] = 1.0
    near, whole = smooth_faint(model, convolution, NOISE), smooth_faint(far, convolution, NOISE)
    assert not torch.equal(near, model)
    torch.testing.assert_close(near[:100, :100], whole[:100, :100], atol=1e-6, rtol=0)
    assert torch.equal(smooth_faint(torch.zeros(size, size), convolution, NOISE), torch.zeros(size, size))


def test_tiles_change_nothing():
    """A large image is seen in parts; the network's answer is the same."""
    made = network(0.3)
    scene = Scene(250)
    scene.model[120:220, 30:200] = torch.rand(100, 170, generator=torch.manual_seed(2))
    whole, parts = scene.after(made), scene.after(made, tile=64)
    assert made.reach < 250 - 64  # so that no part is the whole
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-4)


def test_the_empty_part_changes_nothing(monkeypatch):
    """Equations are solved where the model may change; with the rest of the image they give the same."""
    made, scene = network(0.3), Scene(150)
    scene.model[90:130, 20:70] = torch.rand(40, 50, generator=torch.manual_seed(2))
    part = scene.after(made)
    monkeypatch.setattr("radrim.rim.network.prior.bounding_region", lambda mask: (slice(0, 150), slice(0, 150)))
    whole = scene.after(made)
    assert (whole - scene.model).abs().max() > 0.1
    torch.testing.assert_close(part, whole, rtol=0, atol=1e-4)


def test_stretched_skies():
    """Fainter where they are faint, peak and order the same; other problems stay what they were."""
    sky = np.linspace(0, 1, 101, dtype=np.float32).reshape(1, -1)
    found = stretch(sky, 7.0)
    assert found.max() == 1
    assert (np.diff(found) >= 0).all()
    assert found[0, 50] < 0.05
    mixes = [{"size": 32, "samples": 2000, "stretched": part, "skies": {"disc": 1, "points": 1}} for part in (0, 1.0)]
    plain, stretched = ([make_problem(3, k, make_recipe(mix)) for k in range(8)] for mix in mixes)
    assert {p.sky for p in plain} == {"disc", "points"}
    for one, other in zip(plain, stretched, strict=True):
        assert np.array_equal(one.truth, other.truth) == (one.sky == "points")
        assert np.array_equal(one.psf, other.psf)


# Training


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A training of seconds, complete."""
    folder = tmp_path_factory.mktemp("prior")
    recipe = folder / "small.toml"
    recipe.write_text(
        "[prior]\nwidths = [8, 8]\n"
        "[problems]\nsize = 32\nsamples = 2000\ncoverages = {y_shaped = 1.0}\nskies = {points = 1.0, disc = 1.0}\n"
        "[training]\noutcomes = 12\nheld_back = 2\nupdates = 30\nbatch = 2\nlarger = 0.4\n"
    )
    trainer = PriorTrainer(load_prior_training(recipe), folder / "run")
    assert trainer.run()
    return recipe, folder / "run"


def all_that_decides(trainer):
    """What a training's next update follows from, beside its number: weights, their average, and moments."""
    moments = [o.state[p] for o, _ in trainer.optimisers for p in o.param_groups[0]["params"]]
    assert all(moments)
    return trainer.network.state_dict(), trainer.average, *moments


def test_a_stopped_training_goes_on(trained, tmp_path):
    """From all that decides what it does next, without making an outcome twice.

    Weights at the end are not compared: Muon makes much of the last bits of gradients, which no two runs share.
    """
    recipe, folder = trained
    config = load_prior_training(recipe)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/outcomes").symlink_to(folder / "outcomes")

    def stop(what, done, total):
        if (what, done) == ("updates", 10):
            raise KeyboardInterrupt

    made = {path: path.stat().st_mtime_ns for path in (folder / "outcomes").iterdir()}
    stopped = PriorTrainer(config, tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        stopped.run(progress=stop)
    again = PriorTrainer(config, tmp_path / "run")
    assert again.update == 10
    for one, other in zip(all_that_decides(stopped), all_that_decides(again), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert again.run()
    assert again.update == 30
    assert {path: path.stat().st_mtime_ns for path in (folder / "outcomes").iterdir()} == made
    with pytest.raises(ConfigError, match="other settings"):
        PriorTrainer(PriorTraining(problems={"size": 32}), tmp_path / "run")


def test_training_makes_the_loss_smaller(trained, tmp_path):
    """On the outcomes that it learns from, the same ones before and after."""
    recipe, folder = trained
    config = load_prior_training(recipe, learning_rate=1e-2, updates=220)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/outcomes").symlink_to(folder / "outcomes")
    trainer = PriorTrainer(config, tmp_path / "run")
    seen = trainer.load(sorted((folder / "outcomes").glob("0*.npz")))
    assert [outcomes.model.shape[-1] for outcomes in seen] == [32, 64]

    def loss():
        with torch.no_grad():
            return np.mean([float(trainer.loss(seen, np.random.default_rng(k))) for k in range(8)])

    before = loss()
    assert trainer.run()
    assert loss() < before


@pytest.mark.parametrize("larger", [0.0, 1.0])
def test_updates_learn_from_the_size_they_should(trained, tmp_path, larger):
    """As many of them from larger problems as the training file says."""
    recipe, folder = trained
    trainer = PriorTrainer(load_prior_training(recipe, larger=larger), tmp_path / "run")
    seen = trainer.load(sorted((folder / "outcomes").glob("0*.npz")))
    unused = seen[larger == 0]
    unused.truth.fill_(torch.nan)
    with torch.no_grad():
        assert all(torch.isfinite(trainer.loss(seen, np.random.default_rng(k))) for k in range(4))


def test_training_from_the_command_line(trained, shown_after_training):
    """`radrim train` knows what the file is for; `radrim model show` says what came out."""
    shown = shown_after_training(*trained)
    assert all(word in shown for word in ("before", "trained on 12 images"))


def test_a_prior_is_no_minor_cycle(trained, refused_as_minor_cycle):
    """Nor the other way round: said by name."""
    refused_as_minor_cycle(
        trained[1] / "model.safetensors", "for the prior update of finished models, not for a minor cycle"
    )
    with pytest.raises(InputError, match="of another kind"):
        checkpoint.load_prior(checkpoint.find_model("base"))


@pytest.mark.parametrize(
    "text, message",
    [
        ("[prior]\nwidth = [8]\n", "line 2: unknown key 'width'; did you mean 'widths'"),
        ("[prior]\nwidths = []\n", "must be one to four numbers"),
        ("[prior]\n[training]\nlarger = 'some'\n", "larger = 'some' in the training file must be a fraction"),
        ("[prior]\n[training]\nlarger = 2\n", "larger = 2 in the training file must be a fraction"),
        ("[prior]\n[training]\nupdates = 0\n", "updates = 0 in the training file must be a number from 1 on"),
    ],
)
def test_mistakes_in_the_training_file(text, message, refused_training_file):
    """Named, with the line where it can be."""
    refused_training_file(load_prior_training, text, message)


# The end of a deconvolution


class Done:
    """A machine that never finds anything."""

    def parameters(self):
        """For the device."""
        yield torch.zeros(1)


@pytest.fixture
def end(propose):
    """What a solver does with a residual that is noise; `solver` by default with the prior alone."""

    def run(scene, prior, solver=None):
        solver = solver or RimSolver(Done(), RimSettings(noise=scene.noise, prior=prior, sparsify=False))
        images = scene.residual.numpy(), scene.psf.numpy(), scene.model.numpy()
        return propose(solver, *images, scene.noise)

    return run


def test_the_prior_updates_the_model_at_the_end(end):
    """Once the residual is noise, twice and as a whole."""
    found = end(Scene(), network(0.05))
    assert found.update.any()
    assert found.minor.stop == "prior update, 2 rounds"
    assert not found.minor.converged
    assert 1 < found.minor.max_rms_rise < 1.2
    assert found.image.stage == len(found.image.stages)


@pytest.mark.parametrize("loud, taken", [(0.01, True), (5.0, False)])
def test_the_end_makes_what_is_faint_coarser(loud, taken, monkeypatch, end):
    """As far as the data bear it: what makes the residual too loud is not taken."""
    scene, prior = Scene(), network(0.05)
    monkeypatch.setattr("radrim.rim.minor.refinement.smooth_faint", lambda model, *_: model)
    plain = end(scene, prior)
    bump = torch.zeros_like(scene.model)
    bump[30, 30] = loud * NOISE
    monkeypatch.setattr("radrim.rim.minor.refinement.smooth_faint", lambda model, *_: model + bump)
    found = end(scene, prior)
    expected = plain.update + taken * bump.numpy()
    np.testing.assert_allclose(found.update, expected, atol=1e-6)


@pytest.mark.parametrize("flux, seen", [(5.0, True), (500.0, False)])
def test_points_are_held_back(flux, seen, end):
    """Points stay as they are, to the last bit, and nothing comes up around; so does CLEAN's part among bright ones."""
    scene, prior = Scene(144), network(0.05)
    network_made, point, cleaned = scene.model.clone(), torch.zeros(144, 144), torch.zeros(144, 144)
    point[128, 128] = flux
    cleaned[16:22, 16:22] = 0.3
    scene.model += point + cleaned
    solver = RimSolver(Done(), RimSettings(noise=scene.noise, prior=prior, sparsify=False))
    facts, _ = solver.state()
    solver.resume(facts, {"points": point.numpy(), "extended": network_made.numpy()})
    update = end(scene, prior, solver).update
    assert update.any()
    assert not update[118:, 118:].any()
    assert update[16:22, 16:22].any() == seen


def test_nothing_but_points_is_left_alone(end):
    """There is nothing to update."""
    scene = Scene(96)
    solver = RimSolver(Done(), RimSettings(noise=scene.noise, prior=network(0.05), sparsify=False))
    solver.resume(solver.state()[0], {"points": scene.model.numpy()})
    found = end(scene, None, solver)
    assert found.minor.converged
    assert not found.update.any()


class Sure(torch.nn.Module):
    """Says that all is brighter, or fainter, and has no doubt."""

    reach = 4

    def __init__(self, shift):
        super().__init__()
        self.shift = shift

    def forward(self, features):
        """On the scale of asinh."""
        answers = torch.full((len(features), 2, *features.shape[-2:]), -30.0)
        answers[:, 0] = self.shift
        return answers


@pytest.mark.parametrize("shift, taken", [(-0.002, "prior update"), (-0.01, "of it"), (-3.0, "noise")])
def test_what_the_data_do_not_bear_is_not_taken(shift, taken, end):
    """Of a prior that is sure of what is not so as much is taken as leaves the residual near the noise, or nothing."""
    scene = Scene()
    found = end(scene, Sure(shift))
    assert taken in found.minor.stop
    left = scene.residual - scene.convolution.normal(torch.from_numpy(found.update))
    assert left.std() < 1.04 * scene.noise
    assert found.update.any() == (taken != "noise")


@pytest.mark.parametrize("settings", [{"positive": False}, {"threshold": 10.0}])
def test_where_it_does_not_apply(settings, end):
    """Skies of both signs are left alone, and a model whose residual is not noise."""
    scene = Scene()
    if "threshold" in settings:
        scene.residual *= 3
        scene.noise *= 1.2
    common = {"noise": scene.noise, "prior": network(0.05), "sparsify": False}
    found = end(scene, None, RimSolver(Done(), RimSettings(**common, **settings)))
    assert found.minor.converged
    assert not found.update.any()


def test_the_prior_update_makes_models_better(tmp_path):
    """What comes with radrim, on problems of other seeds than the training's: at every scale, in the median."""
    recipe = make_recipe({"stretched": 0.4, "gain_errors": 0.1})
    machine = checkpoint.load(checkpoint.find_model("base"), 2).model
    paths = [tmp_path / f"{k}.npz" for k in range(40)]
    for k, path in enumerate(paths):
        np.savez(path, **make_outcome(78, k, recipe, machine, cleaned=0.0, sparsify=False))
    found = scores(checkpoint.load_prior(checkpoint.PRIOR_NETWORK).model, paths)["all"]
    for name in ("native", "half", "beam"):
        assert found[name] > found[f"{name} before"] + 0.2


def test_a_deconvolution_with_it():
    """It goes through the major cycles as all updates do, and leaves noise."""
    problem = make_problem(79, 6, make_recipe({"skies": {"radio_galaxy": 1}, "outside": 0.0, "gain_errors": 0.0}))
    machine = checkpoint.load(checkpoint.find_model("base"), 2).model
    prior = checkpoint.load_prior(checkpoint.PRIOR_NETWORK).model
    models = [
        solve_problem(RimSolver(machine, RimSettings(noise=problem.noise, prior=p)), problem) for p in (None, prior)
    ]
    assert not np.array_equal(models[0][0], models[1][0])
    assert models[1][1].std() < 1.1 * problem.noise


def test_the_imager_updates_by_the_prior(make_ms, tmp_path, no_report, caplog):
    """At an extended source, where no visibilities are kept out, and says so."""
    position = offset_position(40 * ARCSEC, -25 * ARCSEC, 2.0, 0.6)
    sky = make_sky(*position, [(1.0, 0.0, 0.0, 0.0)], 1.4e9, shape=(40 * ARCSEC, 25 * ARCSEC, 0.5))
    with caplog.at_level(logging.INFO, "radrim"):
        radrim.image(make_ms(sky=sky, noise=0.02), size=128, scale="3asec", name=tmp_path / "x", holdout=0)
    assert "prior update" in caplog.text

"""Uncertainties: what the network sees and learns, the images that it writes, and how many errors they hold."""

import math

import numpy as np
import pytest
import torch
from astropy.io import fits

import radrim
from radrim.beam import Beam, restore
from radrim.errors import ConfigError, InputError
from radrim.geometry import ARCSEC
from radrim.products import UNCERTAINTIES
from radrim.restore.uncertainty import UncertaintySettings, uncertainties
from radrim.rim import checkpoint
from radrim.rim.network.psf import PsfConvolution
from radrim.rim.network.uncertainty import (
    FEATURES,
    ODD,
    QUANTILES,
    Outcome,
    Uncertainty,
    UncertaintyConfig,
    in_beam,
    pinball,
    see,
    shows,
    weights,
)
from radrim.rim.training.recipe import make_recipe
from radrim.rim.training.runs import make_outcome
from radrim.rim.training.uncertainty_trainer import (
    UncertaintyTrainer,
    UncertaintyTraining,
    corrections,
    coverage,
    load_uncertainty_training,
)

PROBLEMS = {"size": 32, "coverages": {"y_shaped": 1.0}, "skies": {"points": 1.0, "disc": 1.0}, "samples": 2000}


def outcome(flux=1.0, size=48, seed=0):
    """A model and a residual beside a PSF with sidelobes."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((2 * size, 2 * size)) - size
    radius = np.hypot(y, x)
    psf = (np.exp(-(radius**2) / 12) + 0.1 * np.cos(radius / 2) * np.exp(-radius / 15)).astype(np.float32)
    psf /= psf[size, size]
    model = np.zeros((size, size), np.float32)
    model[20:30, 15:22] = rng.random((10, 7))
    residual = rng.normal(0, 0.05, (size, size)).astype(np.float32)
    return Outcome(
        torch.from_numpy(flux * model)[None], torch.from_numpy(flux * residual)[None],
        PsfConvolution(torch.from_numpy(psf), model.shape), torch.tensor([flux * 0.05]),
        torch.tensor([[5.8, 5.8, 0.0]]),
    )  # fmt: skip


def test_features_have_no_flux_unit():
    """A sky a million times as bright looks the same, with the other sign its odd features are the opposite."""
    one, units = see(outcome())
    many, larger = see(outcome(1e6))
    assert one.shape == (1, FEATURES, 48, 48)
    assert torch.isfinite(one).all()
    torch.testing.assert_close(many, one, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(larger.pixel, 1e6 * units.pixel)
    turned = outcome()
    turned = Outcome(-turned.model, -turned.residual, turned.convolution, turned.noise, turned.beam)
    torch.testing.assert_close(see(turned)[0][:, :ODD], -one[:, :ODD])
    torch.testing.assert_close(see(turned)[0][:, ODD:], one[:, ODD:])


def test_in_beam_is_the_restored_model():
    """The network's beam is that of the restored image."""
    model = outcome().model
    beam = Beam(6 * ARCSEC, 4 * ARCSEC, 0.7)
    expected = restore(model[0].numpy(), beam, ARCSEC)
    found = in_beam(model, torch.tensor([[6.0, 4.0, 0.7]]))[0].numpy()
    assert np.abs(found - expected).max() < 2e-3 * expected.max()


def test_the_loss_is_least_at_the_quantiles():
    """Of errors of any distribution: here one with long tails."""
    logs = torch.log(torch.from_numpy(np.random.default_rng(0).standard_t(2, (1, 2, 100, 100))).abs())
    answers = torch.zeros(1, 2, 2, 1, 1, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([answers], 0.05)
    for _ in range(400):
        optimiser.zero_grad()
        pinball(answers.expand(-1, -1, -1, 100, 100), logs, torch.ones_like(logs)).backward()
        optimiser.step()
    expected = torch.quantile(logs.flatten(2), torch.tensor(QUANTILES, dtype=torch.float64), dim=-1)[:, 0].T
    torch.testing.assert_close(answers.detach()[0, :, :, 0, 0], expected, rtol=0, atol=0.05)


def test_large_sources_count_more_but_not_by_all_their_pixels():
    """A source of four times as many pixels counts twice as much; a model's error counts where there is something."""
    seen, truth, there = outcome(), torch.zeros(1, 48, 48), torch.zeros(2, 1, 48, 48, dtype=torch.bool)
    truth[0, 20:28, 15:23] = 1
    there[0, 0, 20:24, 15:19] = there[1, 0, 20:28, 15:23] = True
    small, large = (weights(seen, truth, part)[0, 0][part[0]].sum() for part in there)
    torch.testing.assert_close(large, 2 * small)
    pixel = weights(seen, truth, there[1])[0, 1]
    assert not pixel[(seen.model[0] == 0) & (truth[0] == 0)].any()
    assert (pixel[truth[0] > 0] > 0).all()


def test_two_standard_deviations_are_never_below_one():
    """Whatever the weights."""
    torch.manual_seed(3)
    network = Uncertainty(UncertaintyConfig(8, (1, 2)))
    torch.nn.init.normal_(network.last.weight)
    answers = network(torch.randn(2, FEATURES, 24, 24))
    assert answers.shape == (2, 2, 2, 24, 24)
    assert (answers[:, :, 1] >= answers[:, :, 0]).all()
    network.corrections[..., 0] += 3  # as large as none is: the larger interval still holds the smaller one
    answers = network(torch.randn(2, FEATURES, 24, 24))
    assert (answers[:, :, 1] >= answers[:, :, 0]).all()


def test_corrections_make_the_intervals_right(trained):
    """Of the outcomes that they were found on, on sources and elsewhere; found again, they are the same."""
    folder = trained[1]
    paths = sorted((folder / "outcomes").glob("correction-*.npz"))
    assert len(paths) == 4
    network = checkpoint.load_uncertainty(folder / "model.safetensors").model
    assert network.corrections.any()
    torch.testing.assert_close(corrections(network, paths), network.corrections)
    held = coverage(network, paths)["all"]
    assert abs(held["beam68"] - QUANTILES[0]) < 0.002
    assert abs(held["beam95"] - QUANTILES[1]) < 0.002
    seen = outcome()
    features, units = see(seen)
    assert torch.equal(shows(features), in_beam(seen.model, seen.beam).abs() > 3 * units.beam)
    with torch.inference_mode():
        before = network(features)
        network.corrections[1, 0, 0] += 1  # on sources, of the restored image, the smaller interval
        after = network(features)
    assert torch.equal(before[:, 1], after[:, 1])
    changed = before[0, 0, 0] != after[0, 0, 0]
    assert torch.equal(changed, shows(features)[0])


def test_tiles_change_nothing():
    """A large image is seen in parts; the network's answer is the same."""
    torch.manual_seed(4)
    network, seen = Uncertainty(UncertaintyConfig(8, (1, 2, 4))), outcome()
    torch.nn.init.normal_(network.last.weight)
    psf = np.zeros((96, 96), np.float32)
    psf[48, 48] = 1
    given = seen.model[0].numpy(), seen.residual[0].numpy(), psf, 0.05, Beam(5 * ARCSEC, 5 * ARCSEC, 0), ARCSEC, network
    whole = uncertainties(*given)
    for name, part in uncertainties(*given, settings=UncertaintySettings(tile=20)).items():
        np.testing.assert_allclose(part, whole[name], rtol=1e-4)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A training of seconds, complete."""
    folder = tmp_path_factory.mktemp("uncertainty")
    recipe = folder / "small.toml"
    recipe.write_text(
        "[uncertainty]\nchannels = 8\ndilations = [1, 2]\n"
        "[problems]\nsize = 32\nsamples = 2000\ncoverages = {y_shaped = 1.0}\nskies = {points = 1.0, disc = 1.0}\n"
        "[training]\noutcomes = 6\nheld_back = 2\nupdates = 30\nbatch = 2\ncorrection = 4\n"
    )
    trainer = UncertaintyTrainer(load_uncertainty_training(recipe), folder / "run")
    assert trainer.run()
    return recipe, folder / "run"


def test_a_stopped_training_goes_on(trained, tmp_path):
    """To the same weights as one that was never stopped, without making an outcome twice."""
    recipe, folder = trained
    config = load_uncertainty_training(recipe)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/outcomes").symlink_to(folder / "outcomes")
    made = [path.stat().st_mtime_ns for path in sorted((folder / "outcomes").iterdir())]

    def stop(what, done, total):
        if (what, done) == ("updates", 10):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        UncertaintyTrainer(config, tmp_path / "run").run(progress=stop)
    again = UncertaintyTrainer(config, tmp_path / "run")
    assert again.update == 10
    assert again.run()
    assert [path.stat().st_mtime_ns for path in sorted((folder / "outcomes").iterdir())] == made
    for name, value in checkpoint.load_uncertainty(folder / "model.safetensors").model.state_dict().items():
        torch.testing.assert_close(again.network.state_dict()[name], value)
    with pytest.raises(ConfigError, match="other settings"):
        UncertaintyTrainer(UncertaintyTraining(problems=PROBLEMS), tmp_path / "run")


def test_training_from_the_command_line(trained, shown_after_training):
    """`radrim train` knows what the file is for; `radrim model show` says what came out."""
    shown = shown_after_training(*trained)
    assert all(word in shown for word in ("coverage", "beam68", "trained on 6 images"))


def test_a_network_for_errors_is_no_minor_cycle(trained, refused_as_minor_cycle):
    """Nor the other way round: said by name."""
    refused_as_minor_cycle(trained[1] / "model.safetensors", "not for a minor cycle")
    with pytest.raises(InputError, match="does not predict uncertainties"):
        checkpoint.load_uncertainty(checkpoint.find_model("base"))


@pytest.mark.parametrize(
    "text, message",
    [
        ("[uncertainty]\nchanels = 8\n", "line 2: unknown key 'chanels'; did you mean 'channels'"),
        ("[uncertainty]\n[training]\noutcomes = 0\n", "outcomes = 0 in the training file must be a number from 1 on"),
        ("[uncertainty]\n[training]\nlearning_rate = 2\n", "learning_rate = 2"),
        ("[uncertainty]\n[training]\ncorrection = -1\n", "correction = -1 in the training file must be"),
        ("[uncertainty]\ndilations = []\n", "dilations of at least 1"),
    ],
)
def test_mistakes_in_the_training_file(text, message, refused_training_file):
    """Named, with the line where it can be."""
    refused_training_file(load_uncertainty_training, text, message)


@pytest.mark.parametrize("solver", ["rim", "clean"])
def test_uncertainties_are_written(solver, small_ms, tmp_path, no_report):
    """In their units, larger where there is a source, and about the noise where there is nothing."""
    result = radrim.image(small_ms, size=128, scale="3asec", solver=solver, uncertainty=True, name=tmp_path / "x")
    for name in UNCERTAINTIES:
        image, header = fits.getdata(result.paths[name], header=True)
        assert np.array_equal(image.squeeze(), getattr(result, name))
        assert (image > 0).all()
        assert header["BUNIT"] == ("Jy/pixel" if name.startswith("model") else "Jy/beam")
        assert ("BMAJ" in header) == (not name.startswith("model"))
    assert (tmp_path / "x-model-uncertainty-95.fits").exists()
    assert (result.uncertainty_95 >= result.uncertainty).all()
    empty = np.abs(result.image) < 2 * result.noise
    assert 0.6 < np.median(result.uncertainty[empty]) / result.noise < 1.6
    y, x = np.unravel_index(result.image.argmax(), result.image.shape)
    assert result.uncertainty[y, x] > 1.2 * np.median(result.uncertainty)


def test_several_channels_and_stokes_parameters(small_ms, tmp_path, no_report):
    """Each has its own, and so has their mean; Q has none of the sky's sign."""
    result = radrim.image(
        small_ms, size=64, scale="4asec", channels_out=2, pol="I,Q", uncertainty=True, max_major=1, name=tmp_path / "x"
    )
    for name in ("I", "Q"):
        for one in (*result.polarisations.channels[name], result.polarisations[name]):
            assert one.uncertainty.shape == (64, 64)
            assert (one.uncertainty > 0).all()


def test_where_nobody_knows(small_ms, tmp_path):
    """Refused before any work."""
    with pytest.raises(ConfigError, match="--data closure does not work with --uncertainty: the networks"):
        radrim.image(small_ms, size=64, scale="4asec", uncertainty=True, name=tmp_path / "x", data="closure")


def test_coverage_of_unseen_problems(tmp_path):
    """What comes with radrim holds about as many errors as it says, on problems of other seeds than the training's."""
    recipe, machine = make_recipe(), checkpoint.load(checkpoint.find_model("base"), 2).model
    prior = checkpoint.load_prior(checkpoint.PRIOR_NETWORK).model
    paths = [tmp_path / f"{k}.npz" for k in range(24)]
    for k, path in enumerate(paths):
        np.savez(path, **make_outcome(77, k, recipe, machine, prior=prior))
    found = coverage(checkpoint.load_uncertainty(checkpoint.UNCERTAINTY_NETWORK).model, paths)["all"]
    assert math.isclose(found["beam68"], 0.683, abs_tol=0.08)
    assert math.isclose(found["beam95"], 0.954, abs_tol=0.04)

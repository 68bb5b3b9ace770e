"""Training: resumed runs, what a run leaves behind, what it refuses, and that it learns."""

import csv
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from radrim.cli.main import main
from radrim.errors import ConfigError, InputError, OutputError, SolverError
from radrim.rim import checkpoint
from radrim.rim.network.machine import Inference
from radrim.rim.network.psf import PsfConvolution
from radrim.rim.training.config import TrainingConfig, kind_of, load_training
from radrim.rim.training.prior_trainer import load_prior_training
from radrim.rim.training.problems import make_problem
from radrim.rim.training.recipe import make_recipe
from radrim.rim.training.trainer import Trainer
from radrim.rim.training.uncertainty_trainer import load_uncertainty_training
from radrim.rim.training.validation import SCORES, score, shrink, summarise, truth_problems

ROOT = Path(__file__).parents[3]
RECIPES = ROOT / "pipelines" / "train"
MODEL = {"channels": 28, "hidden": 8, "depth": 2, "factors": [1, 2], "steps": 2}
PROBLEMS = {"size": 32, "coverages": {"y_shaped": 1.0}, "skies": {"points": 1.0, "disc": 1.0}, "samples": 2000}
SETTINGS = {"batch": 4, "workers": 0, "validation_problems": 4, "warmup": 5, "precision": "float32", "cycles": 2}


CALIBRATED = {**PROBLEMS, "gain_errors": 0.0, "outside": 0.0}


def config(samples=8, problems=PROBLEMS, **changes):
    """A training run of a few seconds: two new problems per update."""
    return TrainingConfig(model=MODEL, problems=problems, samples=samples, **{**SETTINGS, **changes})


@pytest.fixture
def recipe(tmp_path):
    """The same as a TOML file."""
    path = tmp_path / "small.toml"
    path.write_text(
        "[model]\nchannels = 28\nhidden = 8\ndepth = 2\nfactors = [1, 2]\nsteps = 2\n"
        "[problems]\nsize = 32\nsamples = 2000\ncoverages = {y_shaped = 1.0}\nskies = {points = 1.0, disc = 1.0}\n"
        "[training]\nbatch = 4\nworkers = 0\nvalidation_problems = 4\nwarmup = 5\ncycles = 2\nsamples = 8\n"
    )
    return path


def rows(path):
    """The lines of a CSV file, as dicts."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_model_curve_and_scores(tmp_path):
    """A finished run has a model that loads, a loss per update, a picture, and scores per class."""
    trainer = Trainer(config(), tmp_path / "run", "cpu")
    trainer.run()
    found = checkpoint.load(tmp_path / "run" / "model.safetensors", dims=2)
    assert found.recipe["seen"] == 8
    assert set(found.scores) == {"all", "points", "disc"}
    assert set(found.scores["all"]) == set(SCORES)
    losses = rows(tmp_path / "run" / "loss.csv")
    assert [int(row["seen"]) for row in losses] == [2, 4, 6, 8]
    assert all(math.isfinite(float(row["loss_db"])) for row in losses)
    assert (tmp_path / "run" / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert {row["class"] for row in rows(tmp_path / "run" / "scores.csv")} == {"all", "points", "disc"}


def test_a_resumed_run_is_an_unbroken_one(tmp_path):
    """Stopped half-way and started again, a run ends with the same weights as without the stop."""
    # Without cooldown the learning rate does not depend on the number of samples.
    Trainer(config(120, cooldown=0.0, cycles=3), tmp_path / "one", "cpu").run()
    Trainer(config(60, cooldown=0.0, cycles=3), tmp_path / "two", "cpu").run()
    second = Trainer(config(120, cooldown=0.0, cycles=3), tmp_path / "two", "cpu")
    assert second.seen == 60
    second.run()
    assert (second.pool.visits > 1).any()  # carried problems took part
    one, two = (load_file(tmp_path / name / "state.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name in one:
        assert torch.equal(one[name], two[name]), name
    assert len(rows(tmp_path / "two" / "loss.csv")) == 60


def test_a_killed_run_goes_on_from_its_last_checkpoint(tmp_path):
    """What was written after the last state is forgotten: no line of the loss curve appears twice."""
    Trainer(config(8, cooldown=0.0), tmp_path / "run", "cpu").run()
    with open(tmp_path / "run" / "loss.csv", "a") as file:
        file.write("5,10,1.0,-1.0,1.0,0.001\n6,12,1.0,-1")  # cut off by the kill
    trainer = Trainer(config(12, cooldown=0.0), tmp_path / "run", "cpu")
    trainer.run()
    assert [int(row["update"]) for row in rows(tmp_path / "run" / "loss.csv")] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("lines", ["", "update,seen", "1,2,1.0,-1.0,1.0,0.001\n2,4,1.0,-1.0,1.0,0.001\n"])
def test_a_run_killed_before_its_first_checkpoint_starts_anew(tmp_path, lines):
    """Lines without a state are those of a run that nobody can go on with: they are written again, once."""
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("loss.csv", "scores.csv"):
        (folder / name).write_text(lines)
    Trainer(config(4), folder, "cpu").run()
    assert [int(row["update"]) for row in rows(folder / "loss.csv")] == [1, 2]
    assert [int(row["update"]) for row in rows(folder / "scores.csv")] == [2, 2, 2]


def test_an_interrupt_while_lines_are_written(tmp_path, monkeypatch):
    """Interrupted between the loss curve and the state, a run saves both; no line appears twice."""
    trainer = Trainer(config(12, cooldown=0.0, checkpoint_minutes=0), tmp_path / "run", "cpu")
    save_state, calls = trainer._save_state, []

    def interrupted():
        calls.append(trainer.update)
        if len(calls) == 3:
            raise KeyboardInterrupt
        save_state()

    monkeypatch.setattr(trainer, "_save_state", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    assert calls == [1, 2, 3, 3]
    Trainer(config(12, cooldown=0.0), tmp_path / "run", "cpu").run()
    assert [int(row["update"]) for row in rows(tmp_path / "run" / "loss.csv")] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("name", ["loss.csv", "scores.csv", "loss.png"])
def test_a_full_disk_ends_the_run(tmp_path, name):
    """Where a curve finds no room, the run ends with the path and the reason."""
    trainer = Trainer(config(2), tmp_path / "run", "cpu")
    (tmp_path / "run" / name).symlink_to("/dev/full")
    with pytest.raises(OutputError, match=f"{name} cannot be written: No space left"):
        trainer.run()


def test_a_kill_changes_nothing(recipe, tmp_path):
    """Killed by the system right after a checkpoint and started again, a run ends as one that was never stopped."""
    text = recipe.read_text().replace("samples = 8\n", "samples = 16\nprecision = 'float32'\n")
    recipe.write_text(text)
    words = ["train", str(recipe), "--device", "cpu", "--threads", "1", "--output"]
    assert main([*words, str(tmp_path / "unbroken")]) == 0
    recipe.write_text(text + "checkpoint_minutes = 0\n")
    state = tmp_path / "killed" / "state.safetensors"
    line = [sys.executable, "-m", "radrim", *words, str(tmp_path / "killed")]
    with subprocess.Popen(line, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL) as process:
        while not state.exists() and process.poll() is None:
            time.sleep(0.01)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    recipe.write_text(text)
    assert main([*words, str(tmp_path / "killed")]) == 0
    for name in ("model.safetensors", "state.safetensors"):
        unbroken, killed = (load_file(tmp_path / run / name) for run in ("unbroken", "killed"))
        assert unbroken.keys() == killed.keys()
        for key in unbroken:
            assert torch.equal(unbroken[key], killed[key]), key
    unbroken, killed = (
        [(row["update"], row["loss_db"]) for row in rows(tmp_path / run / "loss.csv")] for run in ("unbroken", "killed")
    )
    assert killed == unbroken
    assert len(killed) == 8


def test_training_learns(tmp_path):
    """Three hundred discs improve the model of held-back discs by more than a decibel over the untrained network's."""
    discs = {**CALIBRATED, "skies": {"disc": 1.0}, "dynamic_range": [100, 1000]}
    settings = {"problems": discs, "validation_problems": 16, "carried": 0.0, "cycles": 1}
    before = Trainer(config(4, learning_rate=1e-9, **settings), tmp_path / "before", "cpu")
    after = Trainer(config(300, learning_rate=2e-3, average=0.9, **settings), tmp_path / "after", "cpu")
    for trainer in (before, after):
        trainer.run()
    assert after.summary["all"]["half"] > before.summary["all"]["half"] + 1


def test_carried_problems_go_on_from_their_estimate(tmp_path):
    """The residual in the pool is that of the estimate in the pool, and no problem is seen more often than allowed."""
    trainer = Trainer(config(100, CALIBRATED, cycles=3), tmp_path / "run", "cpu")
    trainer.run()
    pool = trainer.pool
    assert (pool.visits >= 1).all()
    assert (pool.visits < 3).all()
    assert pool.estimate.any()
    convolution = PsfConvolution(pool.psf, pool.truth.shape[-2:])
    # The dirty image, put together again, is the truth's and noise.
    noise = pool.residual + convolution.normal(pool.estimate - pool.truth)
    assert float((noise.flatten(1).std(1) / pool.noise).median()) == pytest.approx(1, abs=0.3)


def test_no_finite_gradient_stops_the_run(tmp_path, monkeypatch):
    """A run that meets nothing but NaN ends with advice and leaves the last checkpoint as it was."""
    Trainer(config(8, cooldown=0.0), tmp_path / "run", "cpu").run()
    before = (tmp_path / "run" / "state.safetensors").read_bytes()
    trainer = Trainer(config(10_000, cooldown=0.0), tmp_path / "run", "cpu")
    monkeypatch.setattr("radrim.rim.training.trainer.PATIENCE", 3)
    monkeypatch.setattr(
        "radrim.rim.training.trainer.decibel_loss", lambda estimates, *rest: estimates[-1].sum() * math.nan
    )
    with pytest.raises(SolverError, match=r"no finite gradient in 4 updates.*lower learning_rate"):
        trainer.run()
    assert (tmp_path / "run" / "state.safetensors").read_bytes() == before


def test_another_network_in_the_folder(tmp_path):
    """A folder with another network's run is refused, not overwritten."""
    Trainer(config(2), tmp_path / "run", "cpu").run()
    with pytest.raises(ConfigError, match=r"another network or seed.*--output"):
        Trainer(config(2, seed=5), tmp_path / "run", "cpu")


def test_damaged_state(tmp_path):
    """A state that was cut off is refused with its path and what to do."""
    Trainer(config(2), tmp_path / "run", "cpu").run()
    state = tmp_path / "run" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"state.safetensors cannot be resumed from.*start anew"):
        Trainer(config(4), tmp_path / "run", "cpu")


def test_start_from_a_checkpoint(tmp_path):
    """A run can start from another run's model, if the network is the same."""
    Trainer(config(4), tmp_path / "one", "cpu").run()
    model = tmp_path / "one" / "model.safetensors"
    started = Trainer(config(4, seed=9, start=str(model)), tmp_path / "two", "cpu")
    for name, value in checkpoint.load(model).model.state_dict().items():
        assert torch.equal(started.model.state_dict()[name], value)
    wider = TrainingConfig(model={**MODEL, "hidden": 16}, problems=PROBLEMS, start=str(model))
    with pytest.raises(ConfigError, match="another architecture"):
        Trainer(wider, tmp_path / "three", "cpu")


def test_growing_a_network(tmp_path):
    """A larger network that starts from a smaller one gives the same answers to begin with, and learns from there."""
    Trainer(config(12), tmp_path / "small", "cpu").run()
    start = tmp_path / "small" / "model.safetensors"
    more = {**MODEL, "unets": 1, "widths": [4, 8], "detail": True}
    large = Trainer(TrainingConfig(model=more, problems=PROBLEMS, start=str(start)), tmp_path / "large", "cpu").model
    small = checkpoint.load(start).model
    rng = torch.Generator().manual_seed(5)
    psf = torch.zeros(1, 64, 64)
    psf[:, 31:34, 31:34] = 0.3
    psf[:, 32, 32] = 1
    problem = PsfConvolution(psf, (32, 32)), torch.randn(1, 32, 32, generator=rng), torch.full((1,), 0.5)
    for one, other in zip(small(*problem).estimates, large(*problem).estimates, strict=True):
        assert torch.equal(one, other)
        assert one.abs().max() > 0
    large(*problem).estimates[-1].square().sum().backward()
    added = [name for name, _ in large.named_parameters() if name not in small.state_dict()]
    assert len(added) > 10
    gains = [p.grad for name, p in large.named_parameters() if name in added and name.endswith("value.gain")]
    assert gains
    assert all(gain.abs().max() > 0 for gain in gains)


def test_pruning_a_network(tmp_path):
    """A network of fewer couplings begins with those of the larger one that are kept, and with all else it had."""

    def pruned(depth, **changes):
        model = {**MODEL, "depth": depth, "factors": [1]}
        return TrainingConfig(model=model, problems=PROBLEMS, samples=4, **SETTINGS, **changes)

    Trainer(pruned(3), tmp_path / "large", "cpu").run()
    path = tmp_path / "large" / "model.safetensors"

    def start(depth, kept):
        recipe = pruned(depth, start=str(path), kept=kept)
        return Trainer(recipe, tmp_path / f"{depth}-{len(kept)}", "cpu").model

    large, small = checkpoint.load(path).model, start(2, (2, 0))
    ours, theirs = (m.layers[0].layers for m in (small, large))
    for one, other in ((ours[0], theirs[2]), (ours[1], theirs[0]), (small.gradients[0], large.gradients[0])):
        assert one.state_dict().keys() == other.state_dict().keys()
        for name, value in one.state_dict().items():
            assert torch.equal(value, other.state_dict()[name]), name
    with pytest.raises(ConfigError, match="couplings 0 to 2"):
        start(2, (1, 3))
    with pytest.raises(ConfigError, match="another architecture"):
        start(2, (1,))


@pytest.mark.parametrize(
    "text, message",
    [
        ("[modell]\n", "unknown 'modell'"),
        ("[model]\nwidth = 3\n", "unknown key 'width'"),
        ("[training]\nkept = [0]\n", "couplings of start"),
        ("[training]\nstart = 'base'\nkept = [true]\n", "couplings of start"),
        ('[model]\narchitecture = "unet"\n', "architecture 'unet'"),
        ("[model]\nchannels = 5\n", "channels is 5"),
        ("[problems]\nflavour = 3\n", "unknown key 'flavour'"),
        ("[training]\nspeed = 3\n", "unknown key 'speed'"),
        ("[training]\nbatch = 0\n", "batch = 0.*between 1"),
        ('[training]\nbatch = "many"\n', "batch = 'many'.*number"),
        ("[training]\nbatch = 2.5\n", "batch = 2.5.*number"),
        ('[training]\nprecision = "float8"\n', "float8.*bfloat16"),
        ("[training]\nstored = 1\n", "stored = 1.*true or false"),
        ('[training]\noptimiser = "sgd"\n', "optimiser = 'sgd'.*adam, muon"),
        ("stages = 3\n", "must be tables"),
        ("[[stages]]\nsamples = 10\n[[stages]]\nsamples = 10\n", "growing numbers"),
        ("[[stages]]\nspeed = 3\n", "unknown key 'speed'"),
        ("[[stages]]\nproblems.size = 33\n", "size = 33"),
        ("[training\n", "not valid TOML"),
    ],
)
def test_training_files_that_cannot_be(text, message, refused_training_file):
    """What is wrong in a training file is named with its value and what is allowed."""
    refused_training_file(load_training, text, message)


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_recipes(tmp_path, path):
    """The training files of the repository are valid; without the FIRST galaxies, which are not in it."""
    text = path.read_text()
    lines = [line for line in text.splitlines() if not line.startswith(("first =", "layouts ="))]
    left_out = {line.split("=")[0].strip() for line in set(text.splitlines()) - set(lines)}
    assert left_out == (set() if path.stem == "own" else {"first", "layouts"})
    without = tmp_path / path.name
    without.write_text("\n".join(lines))
    if (kind := kind_of(path)) != "model":
        load = {"prior": load_prior_training, "uncertainty": load_uncertainty_training}[kind]
        assert load(without).outcomes >= 1000
        return
    stages = load_training(without)
    assert sum(p.numel() for p in stages[0].build().parameters()) > 1e5
    assert len({stage.network_digest() for stage in stages}) == 1


def test_cuda_that_is_absent(tmp_path):
    """Training on a GPU that is not there is refused, not moved elsewhere."""
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ConfigError, match="--device cuda"):
        Trainer(config(2), tmp_path / "run", "cuda")


def test_the_command_trains_and_goes_on(recipe, tmp_path, capsys):
    """`radrim train` makes a model, says where; called again with more samples it goes on."""
    words = ["train", str(recipe), "--output", str(tmp_path / "run"), "--device", "cpu"]
    assert main(words) == 0
    assert "model.safetensors" in capsys.readouterr().out
    assert main([*words, "--samples", "12"]) == 0
    out = capsys.readouterr().out
    assert "continuing from update 4" in out
    assert main(["model", "show", str(tmp_path / "run" / "model.safetensors")]) == 0
    assert "trained on 12 problems" in capsys.readouterr().out


def test_the_command_trains_in_stages(recipe, tmp_path, capsys):
    """Stages follow each other in one folder; a run that was stopped in one of them goes on there."""
    text = recipe.read_text().replace("samples = 8\n", "")
    text += "[[stages]]\nsamples = 4\n[[stages]]\nsamples = 8\nproblems.size = 48\noptimiser = 'adam'\n"
    recipe.write_text(text)
    words = ["train", str(recipe), "--output", str(tmp_path / "run"), "--device", "cpu"]
    assert main([*words, "--samples", "6"]) == 0
    out = capsys.readouterr().out
    assert "stage 1 of 2" in out
    assert "stage 2 of 2" in out
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "continuing from update 3, 6 problems" in out
    assert "stage 1" not in out
    assert [int(row["seen"]) for row in rows(tmp_path / "run" / "loss.csv")] == [2, 4, 6, 8]
    assert main(words) == 0
    assert "Done" in capsys.readouterr().out


def test_training_on_a_bare_machine(recipe, tmp_path):
    """`radrim train` needs numpy, scipy, torch and safetensors only; truth images it cannot read are not scored."""
    absent = "astropy", "casacore", "dask", "ducc0", "erfa", "finufft", "h5py", "matplotlib", "numba", "rich"
    code = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {absent!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}')\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from radrim.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    kept = [line for line in recipe.read_text().splitlines() if not line.startswith("skies")]
    recipe.write_text("\n".join([*kept, f"truth = '{tmp_path}'"]))
    words = ["train", str(recipe), "--output", str(tmp_path / "run"), "--device", "cpu", "--threads", "1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-c", code, *words]
    done = subprocess.run(line, check=False, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "are not scored: No module named 'astropy" in done.stdout
    assert checkpoint.load(tmp_path / "run" / "model.safetensors").recipe["seen"] == 8
    assert not (tmp_path / "run" / "loss.png").exists()


def test_the_command_refuses(recipe, tmp_path, capsys):
    """A missing file, and options that cannot be, end with one line and status 2."""
    for words in (["nosuch.toml"], [str(recipe), "--minutes", "0"], [str(recipe), "--threads", "0"]):
        assert main(["train", *words]) == 2
        assert capsys.readouterr().err.startswith("radrim: ")


def test_scores_of_a_perfect_and_an_empty_model():
    """No error is many decibels, an empty model has none, and its flux is off by all of it."""

    class Fixed(torch.nn.Module):
        def __init__(self, factor):
            super().__init__()
            self.none, self.factor = torch.nn.Parameter(torch.zeros(1)), factor

        def forward(self, convolution, residual, noise, estimate=None):
            found = self.factor * truth
            return Inference([found], residual - convolution.normal(found), [])

    recipe = make_recipe(CALIBRATED)
    problems = [make_problem(0, k, recipe, "disc") for k in range(2)]
    truth = torch.stack([torch.from_numpy(p.truth) for p in problems])
    for factor, decibels, off in ((1.0, 100.0, 0.0), (0.0, 0.0, 1.0), (0.9, 20.0, 0.1)):
        found = summarise(problems, score(Fixed(factor), problems, 1))["disc"]
        assert found["native"] == pytest.approx(decibels, abs=0.01) or (factor == 1 and found["native"] > 100)
        assert found["flux"] == pytest.approx(off, abs=1e-3)
        if factor == 1:
            assert found["residual"] == pytest.approx(1, abs=0.3)


def test_truth_images_become_problems(tmp_path):
    """FITS images are shrunk to the tile and seen by random arrays; where there are none, a message says so."""
    from astropy.io import fits

    image = np.zeros((100, 80), np.float32)
    image[20:90, 30:60] = 2.0
    fits.writeto(tmp_path / "box.fits", image[None, None])
    (problem,) = truth_problems(tmp_path, PROBLEMS)
    assert problem.sky == "truth/box"
    assert problem.truth.shape == (32, 32)
    assert problem.truth.max() > 0
    (tmp_path / "box.fits").unlink()
    with pytest.raises(InputError, match="no FITS images"):
        truth_problems(tmp_path, PROBLEMS)


def test_shrinking_keeps_shape_and_mean_brightness():
    """A source larger than the tile is averaged over blocks until it fits."""
    image = np.zeros((64, 64), np.float32)
    image[4:60, 10:50] = 3.0
    small = shrink(image, 32)
    assert small.shape == (32, 32)
    assert small.max() == 3.0
    assert np.count_nonzero(small) == 28 * 20

"""Training of the network that says how wrong an image may be: runs on simulated skies first, then their errors.

The folder of a training holds

- ``outcomes/NNNNN.npz``: what whole runs of major cycles left of simulated problems, made once;
- ``state.safetensors``: weights and moments, from which a stopped training goes on;
- ``model.safetensors``: the trained network, with its coverage of held-back problems, by class.
"""

import dataclasses
import json
import logging
import math
import os
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from radrim.errors import ConfigError, InputError
from radrim.rim import checkpoint
from radrim.rim.inputs import PsfConvolution
from radrim.rim.outcomes import make_outcome
from radrim.rim.recipe import make_recipe
from radrim.rim.train import use_half
from radrim.rim.uncertainty import (
    KINDS,
    LEAST,
    ODD,
    QUANTILES,
    Outcome,
    Uncertainty,
    UncertaintyConfig,
    emission,
    errors,
    pinball,
    see,
    weights,
)
from radrim.toml_file import TomlFile

log = logging.getLogger("radrim")

SAVE_SECONDS = 120.0
HELD_BACK = (2,)
"""Key of the stream of held-back problems."""


@dataclass(frozen=True)
class UncertaintyTraining:
    """What a training is asked to do.

    Parameters
    ----------
    network : UncertaintyConfig
    problems : dict
        The mix, as `radrim.rim.recipe.make_recipe` takes it.
    minor : str
        The model whose errors are learned, a name or a path; CLEAN's are learned beside them.
    seed : int
    outcomes : int
        Simulated problems to learn from,
    held_back : int
        and to measure the coverage on.
    updates : int
        Of the weights.
    batch : int
        Outcomes per update.
    learning_rate : float
        Of Adam, after 50 updates; it falls to 0 linearly.
    workers : int
        Processes that make outcomes.

    Raises
    ------
    ConfigError
        A number below 1, or a mix that makes no sense.
    """

    network: UncertaintyConfig = field(default_factory=UncertaintyConfig)
    problems: Mapping = field(default_factory=dict)
    minor: str = "base"
    seed: int = 21
    outcomes: int = 4000
    held_back: int = 400
    updates: int = 8000
    batch: int = 8
    learning_rate: float = 3e-3
    workers: int = 1

    def __post_init__(self):
        for name in ("outcomes", "held_back", "updates", "batch", "workers"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name} = {value!r} in the training file must be a number from 1 on.")
        if not 0 < self.learning_rate <= 1:
            raise ConfigError(
                f"learning_rate = {self.learning_rate!r} in the training file must be above 0, at most 1."
            )
        make_recipe(self.problems)


def load_uncertainty_training(path, **changes):
    """An `UncertaintyTraining` from a TOML file with the tables ``uncertainty``, ``problems`` and ``training``.

    Raises
    ------
    InputError
        The file cannot be read or is not TOML.
    ConfigError
        An unknown table or key, or a value that makes no sense.
    """
    file = TomlFile(path)
    file.check_keys(file.values, ("uncertainty", "problems", "training"))
    known = [f.name for f in dataclasses.fields(UncertaintyTraining) if f.name not in ("network", "problems")]
    training = file.values.get("training", {})
    file.check_keys(training, [name.replace("_", "-") for name in known], "training")
    network = file.values.get("uncertainty", {})
    file.check_keys(network, [f.name for f in dataclasses.fields(UncertaintyConfig)], "uncertainty")
    network = {name: tuple(value) if isinstance(value, list) else value for name, value in network.items()}
    settings = {name.replace("-", "_"): value for name, value in training.items()}
    settings |= {name: value for name, value in changes.items() if value is not None}
    return UncertaintyTraining(UncertaintyConfig(**network), file.values.get("problems", {}), **settings)


class UncertaintyTrainer:
    """One training in its folder; goes on where it was stopped.

    Parameters
    ----------
    config : UncertaintyTraining
    folder : path-like
    """

    def __init__(self, config, folder):
        self.config, self.folder = config, Path(folder)
        (self.folder / "outcomes").mkdir(parents=True, exist_ok=True)
        torch.manual_seed(config.seed)
        self.network = Uncertainty(config.network)
        self.network.to(memory_format=torch.channels_last)  # several times as fast on a CPU
        self.half = use_half("auto", torch.device("cpu"))
        self.optimiser = torch.optim.Adam(self.network.parameters(), betas=(0.9, 0.99))
        self.update = 0
        if (self.folder / "state.safetensors").exists():
            self._resume()

    def run(self, minutes=math.inf, progress=lambda what, done, total: None):
        """Make outcomes, learn, measure the coverage; True when all is done.

        Parameters
        ----------
        minutes : float
            At most.
        progress : callable
            Called with what is being done ('outcomes', 'updates'), how many are done, and of how many.
        """
        end = time.monotonic() + 60 * minutes
        config = self.config
        learn, judge = self._paths(config.outcomes, ""), self._paths(config.held_back, "held-back-")
        if not self._make(learn, judge, end, progress):
            return False
        if self.update < config.updates:
            seen = _load(learn)
            try:
                self._learn(seen, end, progress)
            finally:
                self._save_state()
        if self.update < config.updates:
            return False
        scores = coverage(self.network, judge)
        recipe = {
            name: value for name, value in dataclasses.asdict(config).items() if name not in ("network", "workers")
        }
        recipe["problems"] = {k: v for k, v in config.problems.items() if k not in ("first", "layouts")}
        checkpoint.save(self.folder / "model.safetensors", self.network.eval(), recipe, scores)
        return True

    def _paths(self, count, kind):
        return [self.folder / "outcomes" / f"{kind}{number:05d}.npz" for number in range(count)]

    def _make(self, learn, judge, end, progress):
        """Make the outcomes that are missing; whether all are there now."""
        wanted = [(path, k, ()) for k, path in enumerate(learn)] + [
            (path, k, HELD_BACK) for k, path in enumerate(judge)
        ]
        missing = [job for job in wanted if not job[0].exists()]
        workers = max(1, min(self.config.workers, len(missing)))
        done = len(wanted) - len(missing)
        if not missing:
            return True
        settings = (self.config.seed, self.config.problems, self.config.minor)
        with ProcessPoolExecutor(workers, get_context("spawn"), _begin, settings) as pool:
            for first in range(0, len(missing), 4 * workers):
                if time.monotonic() > end:
                    return False
                part = missing[first : first + 4 * workers]
                list(pool.map(_make_one, part))
                done += len(part)
                progress("outcomes", done, len(wanted))
        return True

    def _learn(self, seen, end, progress):
        config, saved = self.config, time.monotonic()
        self.network.train()
        while self.update < config.updates and time.monotonic() < end:
            features, logs, weight = _draw(seen, np.random.default_rng([config.seed, self.update, 5]), config.batch)
            rate = config.learning_rate * min(1, (self.update + 1) / 50) * (1 - self.update / config.updates)
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
                answers = self.network(features)
            loss = pinball(answers.float(), logs, weight)
            self.optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.optimiser.step()
            self.update += 1
            progress("updates", self.update, config.updates)
            if time.monotonic() - saved > SAVE_SECONDS:
                self._save_state()
                saved = time.monotonic()

    def _save_state(self):
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        for name, parameter in self.network.named_parameters():
            tensors |= {f"{key}/{name}": value for key, value in self.optimiser.state.get(parameter, {}).items()}
        path = self.folder / "state.safetensors"
        facts = {"update": str(self.update), "config": _digest(self.config)}
        save_file({name: value.detach().contiguous() for name, value in tensors.items()}, f"{path}.part", facts)
        os.replace(f"{path}.part", path)

    def _resume(self):
        path = self.folder / "state.safetensors"
        try:
            with safe_open(path, "pt") as file:
                facts, tensors = file.metadata() or {}, {key: file.get_tensor(key) for key in file.keys()}
            if facts["config"] != _digest(self.config):
                raise ConfigError(f"{self.folder} holds a training with other settings; give another --output.")
            parts = {name[8:]: value for name, value in tensors.items() if name.startswith("network.")}
            self.network.load_state_dict(parts)
            for name, parameter in self.network.named_parameters():
                keys = ("step", "exp_avg", "exp_avg_sq")
                if f"step/{name}" in tensors:
                    self.optimiser.state[parameter] = {key: tensors[f"{key}/{name}"] for key in keys}
            self.update = int(facts["update"])
        except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
            raise InputError(f"{path} cannot be resumed from: {error}. Remove it to start anew.") from error


def coverage(network, paths, groups=None, batch=8):
    """How many errors the quantiles of a network hold, by group.

    Parameters
    ----------
    network : Uncertainty
    paths : sequence of Path
        Of outcomes.
    groups : sequence of sequences of str, optional
        The groups of each outcome; 'all' and the class of its sky if absent.
    batch : int

    Returns
    -------
    dict of str to dict
        Group to `beam68`, `beam95`, `pixel68`, `pixel95` (parts of all pixels; of the model's, those where
        it or the sky is not 0), and the same where there is emission: `beam68_on` and so on.
    """
    if groups is None:
        groups = [("all", str(np.load(path)["sky"])) for path in paths]
    found: dict = {}
    network.eval()
    for first in range(0, len(paths), batch):
        part = paths[first : first + batch]
        features, logs, weight, there = _load(part)
        with torch.inference_mode():
            below = logs.float().unsqueeze(2) <= network(features.float())
        for k, names in enumerate(groups[first : first + batch]):
            counts = _count(below[k], weight[k] > 0, there[k])
            for name in names:
                found[name] = found.get(name, 0) + counts
    return {name: _parts(counts) for name, counts in found.items()}


NAMES = tuple(f"{kind}{level}{where}" for where in ("", "_on") for kind in KINDS for level in ("68", "95"))


def _count(below, counted, there):
    """(2, 8): how many errors are below, and of how many, in the order of `NAMES`."""
    sums = []
    for region in (counted, counted & there):
        inside = (below & region.unsqueeze(1)).sum((-2, -1)).flatten()
        sums.append(torch.stack([inside, region.sum((-2, -1)).repeat_interleave(len(QUANTILES))]))
    return torch.cat(sums, 1).numpy()


def _parts(counts):
    inside, of = counts
    return {name: round(float(a / b), 4) for name, a, b in zip(NAMES, inside, of, strict=True) if b}


def _load(paths):
    """Features, logarithms of the errors and weights (as float16) of outcomes, and where there is emission."""
    parts = []
    for path in paths:
        with np.load(path) as arrays:
            psf, model, residual, truth, noise, beam = (
                torch.from_numpy(np.atleast_1d(arrays[name]))
                for name in ("psf", "model", "residual", "truth", "noise", "beam")
            )
        convolution = PsfConvolution(psf[None], model.shape)
        outcome = Outcome(model[None], residual[None], convolution, noise, beam[None])
        features, units = see(outcome)
        there = emission(outcome, truth[None], units)
        found = torch.log(errors(outcome, truth[None], units).clamp_min(LEAST))
        weight = weights(outcome, truth[None], there)
        # Weights of one image sum to 1: as they are they would be too small for float16.
        parts.append((features.half(), found.half(), (weight * model.numel()).half(), there[:, None]))
    return tuple(torch.cat(part) for part in zip(*parts, strict=True))


def _draw(seen, rng, batch):
    """Some of the features, errors and weights; mirrored, turned, and some with the other sign."""
    index = torch.from_numpy(rng.integers(len(seen[0]), size=batch))
    drawn = [part[index].float() for part in seen[:3]]
    axes = [axis for axis in (-1, -2) if rng.random() < 0.5]
    drawn = [part.flip(axes) for part in drawn]
    if rng.random() < 0.5:
        drawn = [part.transpose(-1, -2) for part in drawn]
    if rng.random() < 0.25:  # Stokes Q, U and V
        drawn[0][:, :ODD] *= -1
    drawn[0] = drawn[0].contiguous(memory_format=torch.channels_last)
    return drawn


def _digest(config):
    facts = {name: value for name, value in dataclasses.asdict(config).items() if name != "workers"}
    return json.dumps(facts, sort_keys=True, default=str)


def _begin(seed, problems, minor):
    """What a process that makes outcomes needs."""
    torch.set_num_threads(1)
    machine = checkpoint.load(checkpoint.find_model(minor), 2).model
    globals()["_SETTINGS"] = seed, make_recipe(problems), machine


def _make_one(job):
    path, number, stream_key = job
    seed, recipe, machine = globals()["_SETTINGS"]
    temporary = path.with_name(f".{path.name}")
    np.savez(temporary, **make_outcome(seed, number, recipe, machine, stream_key))
    os.replace(temporary, path)

"""Training on what whole runs of major cycles leave of simulated skies: they are made first, and then learned from.

Two networks learn so: the one that looks again at a finished model (`radrim.rim.training.prior_trainer`), and the one
that says how wrong an image may be (`radrim.rim.training.uncertainty_trainer`). The folder of a training holds

- ``outcomes/NNNNN.npz``: what was left of each problem, made once;
- ``state.safetensors``: weights and moments, from which a stopped training goes on;
- ``model.safetensors``: the trained network, with its scores on held-back problems, by class.
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

from radrim.config.toml_file import TomlFile
from radrim.errors import ConfigError, InputError
from radrim.rim import checkpoint
from radrim.rim.training.recipe import make_recipe
from radrim.rim.training.runs import make_outcome

log = logging.getLogger("radrim")

SAVE_SECONDS = 120.0
HELD_BACK = (2,)
"""Key of the stream of held-back problems."""


@dataclass(frozen=True)
class OutcomeTraining:
    """What a training is asked to do.

    Parameters
    ----------
    network
        Configuration of the network.
    problems : dict
        The mix, as `radrim.rim.training.recipe.make_recipe` takes it.
    minor : str
        The model of the minor cycle, a name or a path.
    seed : int
    outcomes : int
        Simulated problems to learn from,
    held_back : int
        and to score on.
    updates : int
        Of the weights.
    batch : int
        Outcomes per update.
    learning_rate : float
        Of Adam, after 50 updates.
    workers : int
        Processes that make outcomes.

    Raises
    ------
    ConfigError
        A number below 1, or a mix that makes no sense.
    """

    network: object = None
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


def load_outcome_training(path, kind, title, network_kind, **changes):
    """A training from a TOML file with the tables `title` (the network), ``problems`` and ``training``.

    Parameters
    ----------
    path : path-like
    kind : type
        A kind of `OutcomeTraining`.
    title : str
    network_kind : type
        Of the network's configuration.
    changes
        Replace what the file says, where they are not None.

    Raises
    ------
    InputError
        The file cannot be read or is not TOML.
    ConfigError
        An unknown table or key, or a value that makes no sense.
    """
    file = TomlFile(path)
    file.check_keys(file.values, (title, "problems", "training"))
    known = [f.name for f in dataclasses.fields(kind) if f.name not in ("network", "problems")]
    training = file.values.get("training", {})
    file.check_keys(training, [name.replace("_", "-") for name in known], "training")
    network = file.values.get(title, {})
    file.check_keys(network, [f.name for f in dataclasses.fields(network_kind)], title)
    network = {name: tuple(value) if isinstance(value, list) else value for name, value in network.items()}
    settings = {name.replace("-", "_"): value for name, value in training.items()}
    settings |= {name: value for name, value in changes.items() if value is not None}
    return kind(network_kind(**network), file.values.get("problems", {}), **settings)


class OutcomeTrainer:
    """One training in its folder; goes on where it was stopped.

    A kind of it says how outcomes are made (`making`), what of them is kept in memory (`load`), what is to be made
    small (`loss`), how good the network is (`scores`), and may say how fast it learns (`rate`) and by what
    (`optimisers`).

    Parameters
    ----------
    config : OutcomeTraining
    folder : path-like
    kind : type
        Of the network.
    """

    making: dict = {}
    """Arguments of `radrim.rim.training.runs.make_outcome`,"""
    prior: Path | None = None
    """and the checkpoint of what looks again at the models."""
    clip = 1.0
    """Largest norm of the gradient."""

    def __init__(self, config, folder, kind):
        self.config, self.folder = config, Path(folder)
        (self.folder / "outcomes").mkdir(parents=True, exist_ok=True)
        torch.manual_seed(config.seed)
        self.network = kind(config.network)
        self.network.to(memory_format=torch.channels_last)  # several times as fast on a CPU
        self.optimisers = self.make_optimisers()
        self.average = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.update = 0
        if (self.folder / "state.safetensors").exists():
            self._resume()

    def make_optimisers(self):
        """Optimisers and their rates over that of Adam."""
        return [(torch.optim.Adam(self.network.parameters(), betas=(0.9, 0.99)), 1.0)]

    def rate(self, done):
        """Learning rate of Adam after a part of the updates, over the configured one."""
        return 1 - done

    def average_decay(self):
        """What of the running average of the weights stays at an update; 0: there is none."""
        return 0.0

    def load(self, paths):
        """What `loss` needs of outcomes."""
        raise NotImplementedError

    def loss(self, seen, rng):
        """The loss of a batch that is drawn from what `load` gave."""
        raise NotImplementedError

    def streams(self):
        """The outcomes that are needed: the beginning of their files' names to their number, and their stream's key."""
        return {"": (self.config.outcomes, ()), "held-back-": (self.config.held_back, HELD_BACK)}

    def complete(self):
        """What is left to do once all is learned."""

    def scores(self, paths):
        """Scores of the network on outcomes, a dict of class to dict."""
        raise NotImplementedError

    def run(self, minutes=math.inf, progress=lambda what, done, total: None):
        """Make outcomes, learn, score; True when all is done.

        Parameters
        ----------
        minutes : float
            At most.
        progress : callable
            Called with what is being done ('outcomes', 'updates'), how many are done, and of how many.
        """
        end = time.monotonic() + 60 * minutes
        config = self.config
        if not self._make(end, progress):
            return False
        if self.update < config.updates:
            seen = self.load(self.paths(""))
            try:
                self._learn(seen, end, progress)
            finally:
                self._save_state()
        if self.update < config.updates:
            return False
        self.network.load_state_dict(self.average)
        self.complete()
        scores = self.scores(self.paths("held-back-"))
        recipe = {
            name: value for name, value in dataclasses.asdict(config).items() if name not in ("network", "workers")
        }
        recipe["problems"] = {k: v for k, v in config.problems.items() if k not in ("first", "layouts")}
        checkpoint.save(self.folder / "model.safetensors", self.network.eval(), recipe, scores)
        return True

    def paths(self, kind):
        """The files of one of the `streams`."""
        count, _ = self.streams()[kind]
        return [self.folder / "outcomes" / f"{kind}{number:05d}.npz" for number in range(count)]

    def _make(self, end, progress):
        """Make the outcomes that are missing; whether all are there now."""
        wanted = [
            (path, k, key) for kind, (_, key) in self.streams().items() for k, path in enumerate(self.paths(kind))
        ]
        missing = [job for job in wanted if not job[0].exists()]
        workers = max(1, min(self.config.workers, len(missing)))
        done = len(wanted) - len(missing)
        if not missing:
            return True
        settings = (self.config.seed, self.config.problems, self.config.minor, self.prior, self.making)
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
            loss = self.loss(seen, np.random.default_rng([config.seed, self.update, 5]))
            rate = config.learning_rate * min(1, (self.update + 1) / 50) * self.rate(self.update / config.updates)
            self.network.zero_grad()
            loss.backward()
            norm = float(torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.clip))
            if math.isfinite(norm):
                for optimiser, factor in self.optimisers:
                    optimiser.param_groups[0]["lr"] = factor * rate
                    optimiser.step()
            self._follow()
            self.update += 1
            progress("updates", self.update, config.updates)
            if time.monotonic() - saved > SAVE_SECONDS:
                self._save_state()
                saved = time.monotonic()

    @torch.no_grad()
    def _follow(self):
        decay = min(self.average_decay(), (1 + self.update) / (10 + self.update))
        for name, value in self.network.state_dict().items():
            self.average[name].lerp_(value, 1 - decay)

    def _save_state(self):
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.items()}
        for name, parameter in self.network.named_parameters():
            for optimiser, _ in self.optimisers:
                tensors |= {f"{key}/{name}": value for key, value in optimiser.state.get(parameter, {}).items()}
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
            for target, prefix in ((self.network.state_dict(), "network."), (self.average, "average.")):
                for name, value in target.items():
                    value.copy_(tensors[prefix + name])
            for name, parameter in self.network.named_parameters():
                for optimiser, _ in self.optimisers:
                    if any(parameter is member for member in optimiser.param_groups[0]["params"]):
                        found = {key: tensors.get(f"{key}/{name}") for key in MOMENTS[type(optimiser)]}
                        optimiser.state[parameter] = {key: value for key, value in found.items() if value is not None}
            self.update = int(facts["update"])
        except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
            raise InputError(f"{path} cannot be resumed from: {error}. Remove it to start anew.") from error


MOMENTS = {torch.optim.Adam: ("step", "exp_avg", "exp_avg_sq"), torch.optim.Muon: ("momentum_buffer",)}
"""What optimisers remember of each parameter."""


def _digest(config):
    facts = {name: value for name, value in dataclasses.asdict(config).items() if name != "workers"}
    return json.dumps(facts, sort_keys=True, default=str)


def _begin(seed, problems, minor, prior, making):
    """What a process that makes outcomes needs."""
    torch.set_num_threads(1)
    machine = checkpoint.load(checkpoint.find_model(minor), 2).model
    network = None if prior is None else checkpoint.load_prior(prior).model
    globals()["_SETTINGS"] = seed, make_recipe(problems), machine, {**making, "prior": network}


def _make_one(job):
    path, number, stream_key = job
    seed, recipe, machine, making = globals()["_SETTINGS"]
    temporary = path.with_name(f".{path.name}")
    np.savez(temporary, **make_outcome(seed, number, recipe, machine, stream_key, **making))
    os.replace(temporary, path)

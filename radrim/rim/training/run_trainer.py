"""Training on outcomes, the results of whole deconvolutions of simulated skies, which are made first.

Two networks are trained in this way: the network of the prior update (`radrim.rim.training.prior_trainer`), and that of
the uncertainties (`radrim.rim.training.uncertainty_trainer`). The folder of a training contains

- ``outcomes/NNNNN.npz``: the result of each problem, made once;
- ``state.safetensors``: weights and moments, from which a stopped training continues;
- ``model.safetensors``: the trained network, with its scores on held-back problems, by class.
"""

import dataclasses
import json
import logging
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch

from radrim.config.toml_file import TomlFile
from radrim.errors import ConfigError
from radrim.rim import checkpoint
from radrim.rim.network.prior import Prior
from radrim.rim.network.uncertainty import Uncertainty
from radrim.rim.training.optimisers import Optimisers, kernel_optimisers
from radrim.rim.training.recipe import make_recipe
from radrim.rim.training.runs import make_outcome
from radrim.rim.training.state import STATE, follow, load_state, moments, restore_moments, resuming, save_state

log = logging.getLogger("radrim")

SAVE_SECONDS = 120.0
"""Time between two states on disk [s]."""
HELD_BACK = (2,)
"""Key of the stream of held-back problems."""


@dataclass(frozen=True)
class OutcomeTraining:
    """Configuration of a training.

    Parameters
    ----------
    network
        Configuration of the network.
    problems : dict
        The mix of problems, as for `radrim.rim.training.recipe.make_recipe`.
    minor : str
        The model of the minor cycle, a name or a path.
    seed : int
    outcomes : int
        Number of simulated problems to train on.
    held_back : int
        Number of simulated problems for the scores.
    updates : int
        Number of updates of the weights.
    batch : int
        Outcomes per update.
    learning_rate : float
        Of Adam, after 50 updates.
    workers : int
        Processes that make outcomes.

    Raises
    ------
    ConfigError
        A number below 1, or an invalid mix.
    """

    network: Any = None  # the configuration of either network; the kinds of training narrow it
    problems: Mapping = field(default_factory=dict)
    minor: str = "base"
    seed: int = 21
    outcomes: int = 4000
    held_back: int = 400
    updates: int = 8000
    batch: int = 8
    learning_rate: float = 3e-3
    workers: int = 1

    def __post_init__(self) -> None:
        for name in ("outcomes", "held_back", "updates", "batch", "workers"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name} = {value!r} in the training file must be a number from 1 on.")
        if not 0 < self.learning_rate <= 1:
            raise ConfigError(
                f"learning_rate = {self.learning_rate!r} in the training file must be above 0, at most 1."
            )
        make_recipe(self.problems)


Training = TypeVar("Training", bound=OutcomeTraining)
Network = TypeVar("Network", bound=Prior | Uncertainty)


def load_outcome_training(
    path: str | Path, kind: type[Training], title: str, network_kind: type, **changes: Any
) -> Training:
    """Read a training from a TOML file with the tables `title` (the network), ``problems`` and ``training``.

    Parameters
    ----------
    path : path-like
    kind : type
        A subclass of `OutcomeTraining`.
    title : str
    network_kind : type
        Of the network's configuration.
    changes
        Replace values of the file where they are not None.

    Raises
    ------
    InputError
        The file cannot be read or is not TOML.
    ConfigError
        An unknown table or key, or an invalid value.
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


Progress = Callable[[str, int, int], None]
"""Called with the kind of work ('outcomes', 'updates'), the number done, and the total."""
Scores = dict[str, dict[str, float]]
"""Scores by class of sky."""


def _silent(_what: str, _done: int, _total: int) -> None:
    """No progress is shown."""


class OutcomeTrainer(Generic[Training, Network]):
    """One training in its folder; continues where it was stopped.

    A subclass defines which outcomes are made (`making`), which data of them are kept in memory (`load`), the loss and
    the scores. It may define the learning rate (`rate`) and the optimisers (`make_optimisers`).

    Parameters
    ----------
    config : OutcomeTraining
    folder : path-like
    kind : type
        Of the network.
    """

    prior: Path | None = None
    """Checkpoint of the prior update of the outcomes; None for none."""
    clip = 1.0
    """Largest norm of the gradient."""

    def __init__(self, config: Training, folder: str | Path, kind: Callable[[Any], Network]) -> None:
        self.config, self.folder = config, Path(folder)
        (self.folder / "outcomes").mkdir(parents=True, exist_ok=True)
        torch.manual_seed(config.seed)
        self.network = kind(config.network)
        # Several times as fast on a CPU; torch's annotations lack this form.
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # see above
        self.optimisers = self.make_optimisers()
        self.average = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.update = 0
        if (self.folder / STATE).exists():
            self._resume()

    def make_optimisers(self) -> Optimisers:
        """Optimisers and their learning rates over that of Adam."""
        return kernel_optimisers("adam", self.network)

    def making(self) -> dict[str, Any]:
        """Arguments of `radrim.rim.training.runs.make_outcome`, beside the prior."""
        return {}

    def rate(self, done: float) -> float:
        """Learning rate of Adam over the configured one, after the fraction `done` of the updates."""
        return 1 - done

    def average_decay(self) -> float:
        """Fraction of the running average of the weights that is kept at an update; 0 for no average."""
        return 0.0

    def load(self, paths: Sequence[Path]) -> Any:
        """Load the data of outcomes that `loss` needs."""
        raise NotImplementedError

    def loss(self, seen: Any, rng: np.random.Generator) -> torch.Tensor:
        """Loss of a batch drawn from the data of `load`."""
        raise NotImplementedError

    def streams(self) -> dict[str, tuple[int, tuple[int, ...]]]:
        """The outcomes that are needed: prefix of their files' names to their number and the key of their stream."""
        return {"": (self.config.outcomes, ()), "held-back-": (self.config.held_back, HELD_BACK)}

    def complete(self) -> None:
        """Work after the last update, before the scores."""

    def scores(self, paths: Sequence[Path]) -> Scores:
        """Scores of the network on outcomes, by class of sky."""
        raise NotImplementedError

    def run(self, minutes: float = math.inf, progress: Progress = _silent) -> bool:
        """Make outcomes, train and score; True when the training is complete.

        Parameters
        ----------
        minutes : float
            Largest wall time.
        progress : callable
            Called with the kind of work ('outcomes', 'updates'), the number done, and the total.
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

    def paths(self, kind: str) -> list[Path]:
        """The files of one of the `streams`."""
        count, _ = self.streams()[kind]
        return [self.folder / "outcomes" / f"{kind}{number:05d}.npz" for number in range(count)]

    def _make(self, end: float, progress: Progress) -> bool:
        """Make the missing outcomes; return whether all exist now."""
        wanted = [
            (path, k, key) for kind, (_, key) in self.streams().items() for k, path in enumerate(self.paths(kind))
        ]
        missing = [job for job in wanted if not job[0].exists()]
        workers = max(1, min(self.config.workers, len(missing)))
        done = len(wanted) - len(missing)
        if not missing:
            return True
        settings = (self.config.seed, self.config.problems, self.config.minor, self.prior, self.making())
        with ProcessPoolExecutor(workers, get_context("spawn"), _begin, settings) as pool:
            for first in range(0, len(missing), 4 * workers):
                if time.monotonic() > end:
                    return False
                part = missing[first : first + 4 * workers]
                list(pool.map(_make_one, part))
                done += len(part)
                progress("outcomes", done, len(wanted))
        return True

    def _learn(self, seen: Any, end: float, progress: Progress) -> None:
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
            follow(self.average, self.network, self.average_decay(), self.update)
            self.update += 1
            progress("updates", self.update, config.updates)
            if time.monotonic() - saved > SAVE_SECONDS:
                self._save_state()
                saved = time.monotonic()

    def _save_state(self) -> None:
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.items()}
        tensors |= moments(self.network, self.optimisers)
        save_state(self.folder / STATE, tensors, {"update": str(self.update), "config": _digest(self.config)})

    def _resume(self) -> None:
        path = self.folder / STATE
        with resuming(path, "Remove it to start anew."):
            tensors, facts = load_state(path)
            if facts["config"] != _digest(self.config):
                raise ConfigError(f"{self.folder} holds a training with other settings; give another --output.")
            for target, prefix in ((self.network.state_dict(), "network."), (self.average, "average.")):
                for name, value in target.items():
                    value.copy_(tensors[prefix + name])
            restore_moments(self.network, self.optimisers, tensors)
            self.update = int(facts["update"])


def _digest(config: OutcomeTraining) -> str:
    facts = {name: value for name, value in dataclasses.asdict(config).items() if name != "workers"}
    return json.dumps(facts, sort_keys=True, default=str)


def _begin(seed: int, problems: Mapping[str, Any], minor: str, prior: Path | None, making: Mapping[str, Any]) -> None:
    """Initialise a process that makes outcomes."""
    torch.set_num_threads(1)
    machine = checkpoint.load(checkpoint.find_model(minor), 2).model
    network = None if prior is None else checkpoint.load_prior(prior).model
    globals()["_SETTINGS"] = seed, make_recipe(problems), machine, {**making, "prior": network}


def _make_one(job: tuple[Path, int, tuple[int, ...]]) -> None:
    path, number, stream_key = job
    seed, recipe, machine, making = globals()["_SETTINGS"]
    temporary = path.with_name(f".{path.name}")
    np.savez(temporary, **make_outcome(seed, number, recipe, machine, stream_key, **making))
    os.replace(temporary, path)

"""Training of a minor cycle on an endless stream of simulated problems; an interrupted run continues from its state.

Each update uses a batch of new problems, and of problems that continue from their last estimates, as in the major
cycles of the imager. The folder of a run contains

- ``model.safetensors``: the running average of the weights, with scores; for `radrim image --model`;
- ``state.safetensors``: all data from which the run continues as if it had not been stopped;
- ``loss.csv``, ``scores.csv`` and, where matplotlib is installed, ``loss.png``.
"""

import json
import logging
import math
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from radrim.errors import ConfigError, OutputError, SolverError
from radrim.rim import checkpoint
from radrim.rim.network.irim import IRIM, IRIMConfig
from radrim.rim.network.machine import InferenceOptions
from radrim.rim.network.plain import PlainConfig, PlainRIM
from radrim.rim.network.precision import has_fast_bfloat16
from radrim.rim.network.psf import PsfConvolution
from radrim.rim.network.reversible import ReversibleSequence
from radrim.rim.training.config import TrainingConfig
from radrim.rim.training.curves import Curve, plot
from radrim.rim.training.losses import decibel_loss, error_floor, faint_loss
from radrim.rim.training.optimisers import kernel_optimisers
from radrim.rim.training.problems import Batch, Problem, batches
from radrim.rim.training.state import STATE, follow, load_state, moments, restore_moments, resuming, save_state
from radrim.rim.training.validation import SCORES, held_back, score, summarise

log = logging.getLogger("radrim")

POOL = 48
"""Largest number of problems that are kept to continue from."""
PATIENCE = 50
"""Number of successive updates without a finite gradient after which the training fails."""


@dataclass
class States:
    """A batch of problems with their current estimates.

    Parameters
    ----------
    psf : (batch, 2y, 2x) tensor
        Peak 1 at (y, x).
    truth, estimate : (batch, y, x) tensors
        [Jy/pixel]
    residual : (batch, y, x) tensor
        Of `estimate`, by the PSF convolution [Jy/beam].
    noise : (batch,) tensor
        As given to the network [Jy/beam].
    floor : (batch,) tensor
        From `radrim.rim.training.losses.error_floor` [Jy/pixel].
    beam : (batch, 3) tensor
        Major and minor axis (FWHM) [pixel], position angle [rad].
    visits : (batch,) int64 tensor
        Number of times that the problem has been used.
    """

    psf: torch.Tensor
    truth: torch.Tensor
    residual: torch.Tensor
    estimate: torch.Tensor
    noise: torch.Tensor
    floor: torch.Tensor
    beam: torch.Tensor
    visits: torch.Tensor

    def __len__(self) -> int:
        return len(self.noise)

    def take(self, index: slice | torch.Tensor) -> "States":
        """The problems selected by a slice, a (batch,) bool tensor, or an int64 tensor of indices."""
        return States(**{name: value[index] for name, value in vars(self).items()})

    def join(self, other: "States") -> "States":
        """These problems, followed by others of the same image size."""
        return States(**{name: torch.cat([value, getattr(other, name)]) for name, value in vars(self).items()})


class Progress(Protocol):
    """Called after every update."""

    def __call__(self, seen: int, loss: float, rate: float) -> None:
        """Problems seen, loss [dB], learning rate."""


def _silent(seen: int, loss: float, rate: float) -> None:
    """No progress is shown."""


class Trainer:
    """One training run in its folder; continues from the state in the folder.

    Parameters
    ----------
    config : TrainingConfig
    folder : path-like
        Made if it does not exist.
    device : str
        'auto', 'cpu' or 'cuda'.

    Raises
    ------
    ConfigError
        CUDA was asked for and is absent; the folder belongs to a run with another network or seed; `config.start` has
        another architecture.
    InputError
        The state is damaged; `config.start` is no checkpoint.
    OutputError
        The folder cannot be written.
    """

    def __init__(self, config: TrainingConfig, folder: str | Path, device: str = "auto") -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise ConfigError("--device cuda was asked for, but torch sees no NVIDIA GPU here; use cpu or auto.")
        cuda = device != "cpu" and torch.cuda.is_available()
        self.config, self.folder, self.device = config, Path(folder), torch.device("cuda" if cuda else "cpu")
        self.half = use_half(config.precision, self.device)
        torch.manual_seed(config.seed)
        self.model = config.build().to(self.device)
        for module in self.model.modules():
            if isinstance(module, ReversibleSequence):
                module.stored = config.stored
        if config.start:
            self.model.load_state_dict(self._starting_weights(config.start))
        self.average = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.optimisers = kernel_optimisers(config.optimiser, self.model)
        self.update = self.seen = 0
        self.seconds = 0.0
        self.pool: States | None = None
        self.summary: dict[str, dict[str, float]] = {}
        self.validation: list[Problem] = []
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"The folder {self.folder} of the training cannot be made: {error.strerror}.") from None
        self.losses = Curve(self.folder / "loss.csv", ("update", "seen", "seconds", "loss_db", "gradient", "rate"))
        self.scores = Curve(self.folder / "scores.csv", ("update", "seen", "class", *SCORES))
        if (self.folder / STATE).exists():
            self._resume()
        # A run that was interrupted before its first state has left lines without a state.
        self.losses.forget(self.update)
        self.scores.forget(self.update)

    def run(self, minutes: float = math.inf, progress: Progress = _silent) -> None:
        """Train until the samples or the minutes are used up; a checkpoint is written in both cases.

        Parameters
        ----------
        minutes : float
        progress : callable
            Called after every update with ``seen``, ``loss`` [dB] and ``rate``.

        Raises
        ------
        SolverError
            No finite gradient in many successive updates; the last checkpoint does not change.
        OutputError
            A checkpoint or a curve cannot be written, as on a full disk.
        """
        config = self.config
        self.validation = self.validation or held_back(config)
        stream = batches(config.seed, config.problems, batch=config.fresh, workers=config.workers, start=self.seen)
        start = saved = validated = time.monotonic()
        before, failures, lines = self.seconds, 0, []
        try:
            for batch in stream:
                if self.seen >= config.samples:
                    break
                rate = config.rate(self.seen, self.update)
                loss, norm = self._learn(self._gather(batch), rate)
                failures = 0 if math.isfinite(norm) else failures + 1
                if failures > PATIENCE:
                    raise SolverError(
                        f"The training found no finite gradient in {failures} updates in a row (update {self.update}); "
                        "lower learning_rate. The last checkpoint was not changed."
                    )
                self.update += 1
                self.seen += config.fresh
                now = time.monotonic()
                self.seconds = before + now - start
                lines.append(
                    (self.update, self.seen, f"{self.seconds:.1f}", f"{loss:.4f}", f"{norm:.4g}", f"{rate:.3g}")
                )
                progress(seen=self.seen, loss=loss, rate=rate)
                if now - validated > 60 * config.validation_minutes:
                    self.validate()
                    validated = time.monotonic()
                if now - saved > 60 * config.checkpoint_minutes:
                    self.save(lines)
                    lines, saved = [], time.monotonic()
                if now - start > 60 * minutes:
                    break
        except KeyboardInterrupt:
            log.warning("interrupted; saving the state of update %d", self.update)
            if lines:  # they may have been written already
                self.losses.forget(lines[0][0] - 1)
            self.save(lines)
            raise
        self.validate()
        self.save(lines)

    def _gather(self, batch: Batch) -> States:
        """A batch of new problems and of problems from the pool."""
        config = self.config
        rng = np.random.default_rng([config.seed, self.update, 3])
        told = (
            batch.noise * torch.from_numpy(np.exp(config.noise_jitter * rng.standard_normal(len(batch.noise)))).float()
        )
        fresh = States(
            batch.psf,
            batch.truth,
            batch.dirty,
            torch.zeros_like(batch.dirty),
            told,
            error_floor(batch.noise, batch.beam),
            batch.beam,
            torch.zeros(len(told), dtype=torch.int64),
        )
        fresh = States(**{name: value.to(self.device) for name, value in vars(fresh).items()})
        wanted = config.batch - config.fresh
        if self.pool is None or len(self.pool) < POOL // 2 or wanted == 0:
            return fresh
        order = torch.from_numpy(rng.permutation(len(self.pool))).to(self.device)
        chosen, self.pool = self.pool.take(order[:wanted]), self.pool.take(order[wanted:])
        return fresh.join(chosen)

    def _learn(self, states: States, rate: float) -> tuple[float, float]:
        """One update; returns the loss [dB] and the norm of the gradient before clipping."""
        config = self.config
        for optimiser, factor in self.optimisers:
            optimiser.param_groups[0]["lr"] = factor * rate
        convolution = PsfConvolution(states.psf, states.truth.shape[-2:])
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.half):
            options = InferenceOptions(detach=not config.through)
            found = self.model(convolution, states.residual, states.noise, states.estimate, options=options)
            loss = decibel_loss(found.estimates, states.truth, states.floor, states.beam, config.late)
            if config.faint:
                last = found.estimates[-1]
                loss = loss + config.faint * faint_loss(last, states.truth, states.floor, states.beam)
        self.model.zero_grad(set_to_none=True)
        loss.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip))
        if not math.isfinite(norm):
            return float(loss.detach()), norm
        for optimiser, _ in self.optimisers:
            optimiser.step()
        follow(self.average, self.model, config.average, self.update)
        states.estimate, states.residual = found.estimates[-1].detach(), found.residual.detach()
        states.visits = states.visits + 1
        again = states.take(states.visits < config.cycles)
        self.pool = again if self.pool is None else self.pool.join(again).take(slice(-POOL, None))
        return float(loss.detach()), norm

    def validate(self) -> None:
        """Score the averaged weights on the held-back problems, into `summary` and scores.csv.

        Raises
        ------
        OutputError
            scores.csv cannot be written.
        """
        machine = self._averaged()
        scores = score(machine, self.validation, self.config.cycles)
        self.summary = summarise(self.validation, scores)
        self.scores.add([[self.update, self.seen, name, *found.values()] for name, found in self.summary.items()])
        found = self.summary["all"]
        log.info(
            "after %d problems: native %.1f, half %.1f, beam %.1f dB; flux off by %.1f %%; residual over noise %.2f",
            self.seen,
            *(found[key] for key in ("native", "half", "beam")),
            100 * found["flux"],
            found["residual"],
        )

    def save(self, lines: Iterable[Sequence] = ()) -> None:
        """Write the model, the state and the loss curve.

        Parameters
        ----------
        lines : sequence of sequences
            New lines for loss.csv: update, problems seen, seconds, loss [dB], norm of the gradient, learning rate.

        Raises
        ------
        OutputError
            One of the files cannot be written; the others are complete, in their old or new versions.
        """
        self.losses.add(lines)
        checkpoint.save(self.folder / "model.safetensors", self._averaged(), self._recipe(), self.summary)
        self._save_state()
        plot(self.folder / "loss.png", self.losses.read(), self.scores.read())

    def _averaged(self) -> IRIM | PlainRIM:
        machine = self.config.build().to(self.device)
        machine.load_state_dict(self.average)
        return machine.eval()

    def _recipe(self) -> dict[str, Any]:
        config = self.config
        fields = {name: value for name, value in vars(config).items() if name not in ("model", "truth", "workers")}
        fields["problems"] = {key: value for key, value in config.problems.items() if key not in ("first", "layouts")}
        return {**fields, "updates": self.update, "seen": self.seen, "hours": round(self.seconds / 3600, 2),
                "device": str(self.device), "bfloat16": self.half}  # fmt: skip

    def _save_state(self) -> None:
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.items()}
        tensors |= {f"moment.{name}": value for name, value in moments(self.model, self.optimisers).items()}
        if self.pool is not None and len(self.pool):
            tensors |= {f"pool.{name}": value for name, value in vars(self.pool).items()}
        facts = {"update": self.update, "seen": self.seen, "seconds": self.seconds, "summary": self.summary}
        save_state(self.folder / STATE, tensors, {"facts": json.dumps(facts), "network": self.config.network_digest()})

    def _resume(self) -> None:
        path = self.folder / STATE
        advice = "Remove it to start anew, from model.safetensors beside it with start = ... in the training file."
        with resuming(path, advice):
            tensors, metadata = load_state(path, self.device)
            facts = json.loads(metadata["facts"])
            if metadata.get("network") != self.config.network_digest():
                raise ConfigError(
                    f"{self.folder} holds a training run with another network or seed; give another --output, "
                    "or remove it to start anew."
                )
            parts: dict[str, dict[str, torch.Tensor]] = {"model": {}, "average": {}, "pool": {}, "moment": {}}
            for name, value in tensors.items():
                part, key = name.split(".", 1)
                parts[part][key] = value
            self.model.load_state_dict(parts["model"])
            self.average = parts["average"]
            restore_moments(self.model, self.optimisers, parts["moment"])
            self.pool = States(**parts["pool"]) if parts["pool"] else None
            if self.pool is not None and self.pool.truth.shape[-1] != self.config.problems.get("size", 128):
                self.pool = None  # the next stage has tiles of another size
            self.update, self.seen, self.seconds = (facts[key] for key in ("update", "seen", "seconds"))
            self.summary = facts["summary"]
        log.info("continuing from update %d, %d problems seen in %.1f h", self.update, self.seen, self.seconds / 3600)

    def _starting_weights(self, path: str) -> dict[str, torch.Tensor]:
        """Weights of a checkpoint; new couplings keep their initial weights, with which they are the identity."""
        found = checkpoint.load(checkpoint.find_model(path), self.model.config.dims, self.device).model
        fresh, start, shape = self.model.state_dict(), found.state_dict(), grown(found.config)
        if kept := self.config.kept:
            if not all(0 <= k < shape.get("depth", 0) for k in kept):
                raise ConfigError(
                    f"kept = {list(kept)}, but start = {path} has the couplings 0 to {shape['depth'] - 1}."
                )
            start, shape = prune(start, kept), shape | {"depth": len(kept)}
        fits = all(name in fresh and fresh[name].shape == value.shape for name, value in start.items())
        if not (type(found) is type(self.model) and fits and shape == grown(self.model.config)):
            raise ConfigError(
                f"start = {path} has another architecture than the training file asks for; only steps, unets with "
                "widths, and detail may be added, and couplings taken away (kept)."
            )
        return fresh | start


def grown(config: IRIMConfig | PlainConfig) -> dict[str, Any]:
    """The part of a network's configuration that must not change when a training starts from its weights."""
    added = ("steps", "unets", "widths", "detail")
    return {name: value for name, value in vars(config).items() if name not in added}


def prune(weights: Mapping[str, torch.Tensor], kept: Sequence[int]) -> dict[str, torch.Tensor]:
    """The weights of an i-RIM with only the couplings `kept`, in this order."""
    found = {}
    for name, value in weights.items():
        coupling = COUPLING.fullmatch(name)
        if coupling is None:
            found[name] = value
            continue
        before, number, after = coupling.groups()
        found |= {f"{before}{place}{after}": value for place, k in enumerate(kept) if k == int(number)}
    return found


COUPLING = re.compile(r"(layers\.\d+\.layers\.)(\d+)(\..*)")
"""Pattern of the name of a coupling's weight."""


def use_half(precision: str, device: torch.device) -> bool:
    """Whether the network runs in bfloat16: if required, or, with 'auto', if that is fast on this machine."""
    if precision != "auto":
        return precision == "bfloat16"
    return has_fast_bfloat16(device)

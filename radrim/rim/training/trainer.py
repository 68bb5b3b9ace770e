"""Training: simulated problems without end, decibels of error, checkpoints that a killed run goes on from.

One update takes a batch of which a part is new and the rest goes on from the estimates reached before, as the major
cycles of the imager do. The folder of a run holds

- ``model.safetensors``: the running average of the weights, scored; what `radrim image --model` takes;
- ``state.safetensors``: everything that the run needs to go on as if it had never stopped;
- ``loss.csv``, ``scores.csv`` and, where matplotlib is installed, ``loss.png``.
"""

import json
import logging
import math
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from radrim.beam import gaussian_area
from radrim.errors import ConfigError, InputError, OutputError, SolverError
from radrim.rim import checkpoint
from radrim.rim.network.blocks import Convolution
from radrim.rim.network.psf import PsfConvolution
from radrim.rim.training.curves import Curve, plot
from radrim.rim.training.losses import decibel_loss, faint_loss
from radrim.rim.training.problems import batches
from radrim.rim.training.validation import SCORES, held_back, score, summarise

log = logging.getLogger("radrim")

POOL = 48
"""Problems kept to go on from."""
PATIENCE = 50
"""Updates in a row without a finite gradient after which the training counts as failed."""
TURN = 4.0
"""Muon's learning rate over Adam's: every step then turns a kernel by about as much as one of Adam's."""
MOMENTS = ("step", "exp_avg", "exp_avg_sq"), ("momentum_buffer",)
"""What Adam and Muon remember of each parameter."""
FLOOR = 0.5
"""An error at the scale of the beam of so much of the noise no longer matters."""


@dataclass
class States:
    """Problems on their way, stacked: what was measured, what is true, and how far the network got.

    Parameters
    ----------
    psf : (batch, 2y, 2x) tensor
        Peak 1 at (y, x).
    truth, estimate : (batch, y, x) tensors
        [Jy/pixel]
    residual : (batch, y, x) tensor
        Of `estimate`, by the PSF convolution [Jy/beam].
    noise : (batch,) tensor
        As told to the network [Jy/beam].
    floor : (batch,) tensor
        Error that no longer matters [Jy/pixel].
    beam : (batch, 3) tensor
        Major and minor axis (FWHM) [pixel], position angle [rad].
    visits : (batch,) int64 tensor
        How often the network has seen the problem.
    """

    psf: torch.Tensor
    truth: torch.Tensor
    residual: torch.Tensor
    estimate: torch.Tensor
    noise: torch.Tensor
    floor: torch.Tensor
    beam: torch.Tensor
    visits: torch.Tensor

    def __len__(self):
        return len(self.noise)

    def take(self, index):
        """Some of them, a `States`: by a slice, a (batch,) bool tensor, or an int64 tensor of places."""
        return States(**{name: value[index] for name, value in vars(self).items()})

    def join(self, other):
        """These and then the others, both `States` of the same size of image."""
        return States(**{name: torch.cat([value, getattr(other, name)]) for name, value in vars(self).items()})


class Trainer:
    """One training run in its folder; goes on where the folder's state says.

    Parameters
    ----------
    config : TrainingConfig
    folder : path-like
        Made if there is none.
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

    def __init__(self, config, folder, device="auto"):
        if device == "cuda" and not torch.cuda.is_available():
            raise ConfigError("--device cuda was asked for, but torch sees no NVIDIA GPU here; use cpu or auto.")
        cuda = device != "cpu" and torch.cuda.is_available()
        self.config, self.folder, self.device = config, Path(folder), torch.device("cuda" if cuda else "cpu")
        self.half = use_half(config.precision, self.device)
        torch.manual_seed(config.seed)
        self.model = config.build().to(self.device)
        for layers in getattr(self.model, "layers", ()):
            layers.stored = config.stored
        if config.start:
            self.model.load_state_dict(self._starting_weights(config.start))
        self.average = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.optimisers = kernel_optimisers(config.optimiser, self.model)
        self.update = self.seen = 0
        self.seconds = 0.0
        self.pool: States | None = None
        self.summary: dict = {}
        self.validation: list = []
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"The folder {self.folder} of the training cannot be made: {error.strerror}.") from None
        self.losses = Curve(self.folder / "loss.csv", ("update", "seen", "seconds", "loss_db", "gradient", "rate"))
        self.scores = Curve(self.folder / "scores.csv", ("update", "seen", "class", *SCORES))
        if (self.folder / "state.safetensors").exists():
            self._resume()
        # Also without a state: a run that was killed before its first one has left lines, too.
        self.losses.forget(self.update)
        self.scores.forget(self.update)

    def run(self, minutes=math.inf, progress=lambda **_: None):
        """Train until the samples are used up or the minutes are over; leaves a checkpoint either way.

        Parameters
        ----------
        minutes : float
        progress : callable
            Called after every update with ``seen``, ``loss`` [dB] and ``rate``.

        Raises
        ------
        SolverError
            No finite gradient for many updates; the last checkpoint stays as it is.
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
                        "lower learning_rate. The last checkpoint is unharmed."
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
            if lines:  # they may have been written just before
                self.losses.forget(lines[0][0] - 1)
            self.save(lines)
            raise
        self.validate()
        self.save(lines)

    def _gather(self, batch):
        """New problems and some from the pool."""
        config = self.config
        rng = np.random.default_rng([config.seed, self.update, 3])
        told = (
            batch.noise * torch.from_numpy(np.exp(config.noise_jitter * rng.standard_normal(len(batch.noise)))).float()
        )
        # White noise e per pixel is e sqrt(area / 2) after smoothing by a beam of peak 1 and that area.
        area = gaussian_area(batch.beam[:, 0], batch.beam[:, 1])
        fresh = States(
            batch.psf,
            batch.truth,
            batch.dirty,
            torch.zeros_like(batch.dirty),
            told,
            FLOOR * batch.noise / torch.sqrt(area / 2),
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

    def _learn(self, states, rate):
        """One update; the loss [dB] and the gradient's norm before it was clipped."""
        config = self.config
        for optimiser, factor in self.optimisers:
            optimiser.param_groups[0]["lr"] = factor * rate
        convolution = PsfConvolution(states.psf, states.truth.shape[-2:])
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.half):
            found = self.model(convolution, states.residual, states.noise, states.estimate, detach=not config.through)
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
        decay = min(config.average, (1 + self.update) / (10 + self.update))
        with torch.no_grad():
            for name, value in self.model.state_dict().items():
                self.average[name].lerp_(value, 1 - decay)
        states.estimate, states.residual = found.estimates[-1].detach(), found.residual.detach()
        states.visits = states.visits + 1
        again = states.take(states.visits < config.cycles)
        self.pool = again if self.pool is None else self.pool.join(again).take(slice(-POOL, None))
        return float(loss.detach()), norm

    def validate(self):
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

    def save(self, lines=()):
        """Write the model, the state and the loss curve.

        Parameters
        ----------
        lines : sequence of sequences
            New ones for loss.csv: update, problems seen, seconds, loss [dB], norm of the gradient, learning rate.

        Raises
        ------
        OutputError
            One of the files cannot be written; the others are complete, old or new.
        """
        self.losses.add(lines)
        checkpoint.save(self.folder / "model.safetensors", self._averaged(), self._recipe(), self.summary)
        self._save_state()
        plot(self.folder / "loss.png", self.losses.read(), self.scores.read())

    def _averaged(self):
        machine = self.config.build().to(self.device)
        machine.load_state_dict(self.average)
        return machine.eval()

    def _recipe(self):
        config = self.config
        fields = {name: value for name, value in vars(config).items() if name not in ("model", "truth", "workers")}
        fields["problems"] = {key: value for key, value in config.problems.items() if key not in ("first", "layouts")}
        return {**fields, "updates": self.update, "seen": self.seen, "hours": round(self.seconds / 3600, 2),
                "device": str(self.device), "bfloat16": self.half}  # fmt: skip

    def _save_state(self):
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.items()}
        for name, parameter in self.model.named_parameters():
            for optimiser, _ in self.optimisers:
                slot = optimiser.state.get(parameter, {})
                tensors |= {f"moment.{key}/{name}": value for key, value in slot.items()}
        if self.pool is not None and len(self.pool):
            tensors |= {f"pool.{name}": value for name, value in vars(self.pool).items()}
        facts = {"update": self.update, "seen": self.seen, "seconds": self.seconds, "summary": self.summary}
        path = self.folder / "state.safetensors"
        temporary = path.with_suffix(".part")
        try:
            save_file(
                {name: value.detach().cpu().contiguous() for name, value in tensors.items()},
                temporary,
                {"facts": json.dumps(facts), "network": self.config.network_digest()},
            )
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        except (OSError, SafetensorError) as error:
            temporary.unlink(missing_ok=True)
            raise OutputError(f"The training's state {path} cannot be written: {error}.") from error

    def _resume(self):
        path = self.folder / "state.safetensors"
        try:
            with safe_open(path, "pt", device=str(self.device)) as file:
                metadata, tensors = file.metadata() or {}, {key: file.get_tensor(key) for key in file.keys()}
            facts = json.loads(metadata["facts"])
            if metadata.get("network") != self.config.network_digest():
                raise ConfigError(
                    f"{self.folder} holds a training run with another network or seed; give another --output, "
                    "or remove it to start anew."
                )
            parts: dict = {"model": {}, "average": {}, "pool": {}, "moment": {}}
            for name, value in tensors.items():
                part, key = name.split(".", 1)
                parts[part][key] = value
            self.model.load_state_dict(parts["model"])
            self.average = parts["average"]
            self._resume_moments(parts["moment"])
            self.pool = States(**parts["pool"]) if parts["pool"] else None
            if self.pool is not None and self.pool.truth.shape[-1] != self.config.problems.get("size", 128):
                self.pool = None  # the run goes on with tiles of another size
            self.update, self.seen, self.seconds = (facts[key] for key in ("update", "seen", "seconds"))
            self.summary = facts["summary"]
        except (SafetensorError, OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
            raise InputError(
                f"{path} cannot be resumed from: {error}. Remove it to start anew, from model.safetensors "
                "beside it with start = ... in the training file."
            ) from error
        log.info("going on from update %d, %d problems seen in %.1f h", self.update, self.seen, self.seconds / 3600)

    def _resume_moments(self, found):
        """Moments of the gradient, where the optimiser that kept them still has the parameter."""
        for name, parameter in self.model.named_parameters():
            for kind, (optimiser, _) in zip(MOMENTS, self.optimisers, strict=False):
                if any(parameter is member for member in optimiser.param_groups[0]["params"]):
                    slot = {key: found[f"{key}/{name}"] for key in kind if f"{key}/{name}" in found}
                    if len(slot) == len(kind):
                        # Adam counts on the processor, wherever the parameters are.
                        optimiser.state[parameter] = {k: v.cpu() if k == "step" else v for k, v in slot.items()}

    def _starting_weights(self, path):
        """Those of the checkpoint, and this network's own where that one has none: fresh couplings change nothing."""
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


def grown(config):
    """What of a network's configuration, a dict, may not change when another one starts from its weights."""
    added = ("steps", "unets", "widths", "detail")
    return {name: value for name, value in vars(config).items() if name not in added}


def prune(weights, kept):
    """The weights of an i-RIM, a dict, of which only some couplings are kept, in that order."""
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
"""Name of a weight of a coupling."""


def kernel_optimisers(name, model):
    """Adam for all parameters, or for all but the kernels' directions and Muon for these; and the rate over `rate`."""
    turned = [] if name == "adam" else [m.direction for m in model.modules() if isinstance(m, Convolution)]
    others = [p for p in model.parameters() if not any(p is direction for direction in turned)]
    found: list = [(torch.optim.Adam(others, betas=(0.9, 0.99)), 1.0)]
    if turned:
        found.append((torch.optim.Muon(turned, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"), TURN))
    return found


def use_half(precision, device):
    """Whether the network runs in bfloat16: asked for, or fast on this machine."""
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    # Without matrix units bfloat16 is slower than float32 on most processors.
    return "amx" in torch.backends.cpu.get_cpu_capability().lower() or _has_amx()


def _has_amx():
    try:
        with open("/proc/cpuinfo") as file:
            return " amx_bf16 " in f" {file.read()} "
    except OSError:
        return False

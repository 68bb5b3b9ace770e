"""Training of the network of the prior update, `radrim.rim.network.prior`.

Gradients flow through the conjugate gradient steps that combine prior and data.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from radrim.errors import ConfigError
from radrim.rim.minor.settings import SparsifySettings
from radrim.rim.network.prior import (
    NEAR,
    Prior,
    PriorConfig,
    expect,
    held_back,
    make_finished,
    most_probable_sky,
    see,
    update_by_prior,
)
from radrim.rim.network.psf import PsfConvolution
from radrim.rim.training.config import TrainingConfig
from radrim.rim.training.losses import decibel_loss, error_floor, faint_loss
from radrim.rim.training.optimisers import Optimisers, kernel_optimisers
from radrim.rim.training.run_trainer import OutcomeTrainer, OutcomeTraining, Scores, load_outcome_training
from radrim.rim.training.validation import SCORES, decibels

STEPS = 12
"""Conjugate gradient steps in training; through many more steps, rounding errors dominate the gradient."""
FAINT = 0.75
"""Weight of faint structure in the loss, at the scale of the beam and at the smaller scale `FINE`."""
FINE = 0.3
"""Smaller scale of the loss of faint structure, over the beam."""
BEFORE = 0.45, 0.3, 0.25
"""Fractions of the training updates that start from the deconvolved model, and from the model after one and two rounds
of the prior update, since the imager runs several rounds."""
COOLDOWN = 0.35
"""Fraction of the updates, at the end, over which the learning rate falls to 0."""
TAME = 0.05
"""Largest norm of the gradient with respect to the network's outputs for one problem. Without this limit, problems of
high dynamic range dominate."""


@dataclass(frozen=True)
class PriorTraining(OutcomeTraining):
    """Configuration of a training of the prior update, on the models of the minor cycle `minor`.

    Parameters
    ----------
    larger : float
        Fraction of the problems, and of the updates, with tiles twice as large along each side; their batches are a
        quarter of the others.
    """

    network: PriorConfig = field(default_factory=PriorConfig)
    seed: int = 31
    outcomes: int = 4000
    held_back: int = 100
    updates: int = 3000
    learning_rate: float = 1.5e-3
    larger: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.larger, bool) or not isinstance(self.larger, int | float) or not 0 <= self.larger <= 1:
            raise ConfigError(f"larger = {self.larger!r} in the training file must be a fraction from 0 to 1.")


def load_prior_training(path: str | Path, **changes: Any) -> PriorTraining:
    """A `PriorTraining` from a TOML file; see `radrim.rim.training.run_trainer.load_outcome_training`."""
    return load_outcome_training(path, PriorTraining, "prior", PriorConfig, **changes)


class Seen(NamedTuple):
    """A batch of outcomes of one size; `held` is the part of the model that the prior update does not change."""

    features: torch.Tensor
    model: torch.Tensor
    held: torch.Tensor
    residual: torch.Tensor
    truth: torch.Tensor
    psf: torch.Tensor
    noise: torch.Tensor
    pixel: torch.Tensor
    beam: torch.Tensor
    floor: torch.Tensor


class PriorTrainer(OutcomeTrainer[PriorTraining, Prior]):
    """One training in its folder; continues where it was stopped.

    Parameters
    ----------
    config : PriorTraining
    folder : path-like
    """

    clip = 2.0

    def __init__(self, config: PriorTraining, folder: str | Path) -> None:
        super().__init__(config, folder, Prior)

    def making(self) -> dict[str, Any]:
        """Arguments for outcomes of the learned minor cycle, with sparsification."""
        return {"cleaned": 0.0, "sparsify": True, "larger": self.config.larger}

    def make_optimisers(self) -> Optimisers:
        """Muon for the kernels, Adam for the rest."""
        return kernel_optimisers("muon", self.network)

    def rate(self, done: float) -> float:
        """See `OutcomeTrainer.rate`; constant, then falling."""
        return min(1.0, (1 - done) / COOLDOWN)

    def average_decay(self) -> float:
        """See `OutcomeTrainer.average_decay`; the same as in the training of minor cycles."""
        return TrainingConfig.average

    def load(self, paths: Sequence[Path]) -> list[Seen]:
        """Features (as float16) and the inputs of conjugate gradients and loss, a `Seen` for each size."""
        sizes: dict[int, list[Seen]] = {}
        for path in paths:
            with np.load(path) as arrays:
                model, residual, truth, psf, noise, beam, points = (
                    torch.from_numpy(np.atleast_1d(arrays[name]))[None]
                    for name in ("model", "residual", "truth", "psf", "thermal", "beam", "points")
                )
            held = model * held_back(model, points)
            model = model - held
            if not model.any() or residual.std() > NEAR * noise:
                continue  # the imager does not update such models
            with torch.no_grad():
                finished = make_finished(model, residual, PsfConvolution(psf, model.shape[-2:]), noise)
                features = see(finished).half()
            floor = error_floor(noise[0], beam)
            sizes.setdefault(model.shape[-1], []).append(
                Seen(
                    features, model, held, residual, truth, psf, finished.units.beam, finished.units.pixel, beam, floor
                )
            )
        if not sizes:
            raise ConfigError(
                f"None of the {len(paths)} outcomes can be used: no model is extended and has a residual near the "
                "noise. Use more outcomes, other skies, or fewer sources outside."
            )
        return [Seen(*(torch.cat(part) for part in zip(*parts, strict=True))) for _, parts in sorted(sizes.items())]

    def loss(self, seen: list[Seen], rng: np.random.Generator) -> torch.Tensor:
        """Error in decibels after the prior update, and that of faint structure."""
        large = len(seen) > 1 and rng.random() < self.config.larger
        outcomes, batch = (seen[-1], max(1, self.config.batch // 4)) if large else (seen[0], self.config.batch)
        index = torch.from_numpy(rng.integers(len(outcomes.model), size=batch))
        part = Seen(*(value[index] for value in outcomes))
        convolution = PsfConvolution(part.psf, part.model.shape[-2:])
        for _ in range(rng.choice(len(BEFORE), p=BEFORE)):
            part = self._after_round(part, convolution)
        # The features are mirrored and transposed; the answers are transformed back to the axes of the PSF.
        axes, turned = [axis for axis in (-1, -2) if rng.random() < 0.5], rng.random() < 0.5
        features = part.features.float().flip(axes)
        answers = self.network(features.transpose(-1, -2) if turned else features)
        _tame(answers)
        answers = (answers.transpose(-1, -2) if turned else answers).flip(axes)
        mean, spread = expect(answers, part.model, part.pixel)
        found = part.held + most_probable_sky(mean, spread, part.model, part.residual, convolution, part.noise, STEPS)
        loss = decibel_loss([found], part.truth, part.floor, part.beam)
        for beam in (part.beam, FINE * part.beam):
            loss = loss + FAINT * faint_loss(found, part.truth, part.floor, beam)
        return loss

    @torch.no_grad()
    def _after_round(self, part: Seen, convolution: PsfConvolution) -> Seen:
        """A batch after one round of the prior update, for problems whose residual rms stays within the limit."""
        mean, spread = expect(self.network(part.features.float()), part.model, part.pixel)
        model = most_probable_sky(mean, spread, part.model, part.residual, convolution, part.noise, STEPS)
        residual = part.residual - convolution.normal(model - part.model)
        before, after = (image.std((-2, -1), keepdim=True) for image in (part.residual, residual))
        limits = SparsifySettings()
        quiet = after <= limits.max_rms_rise * torch.maximum(before, limits.fitted_rms * part.noise)
        model, residual = torch.where(quiet, model, part.model), torch.where(quiet, residual, part.residual)
        finished = make_finished(model, residual, convolution, part.noise.flatten())
        return part._replace(model=model, residual=residual, features=see(finished), pixel=finished.units.pixel)

    def scores(self, paths: Sequence[Path]) -> Scores:
        """Medians by class of sky before and after the prior update."""
        return scores(self.network.eval(), paths)


def scores(network: Prior, paths: Sequence[Path]) -> Scores:
    """SNR of models before and after one round of the prior update, medians by class of sky.

    Parameters
    ----------
    network : Prior
    paths : sequence of Path
        Of outcomes.

    Returns
    -------
    dict of str to dict
        For each class, and 'all': `native`, `half`, `beam` [dB], and the same with ' before'.
    """
    rows: dict[str, list[list[float]]] = {}
    for path in paths:
        with np.load(path) as arrays:
            sky, truth = str(arrays["sky"]), arrays["truth"]
            model, residual, psf, beam, points = (
                torch.from_numpy(arrays[name]) for name in ("model", "residual", "psf", "beam", "points")
            )
            noise = float(arrays["thermal"])
        if not truth.any() or residual.std() > NEAR * noise:
            continue
        held = model * held_back(model, points)
        after = held + update_by_prior(network, model - held, residual, PsfConvolution(psf, model.shape), noise)
        both = [decibels(image[None], torch.from_numpy(truth)[None], beam[None])[0] for image in (after, model)]
        for name in ("all", sky):
            rows.setdefault(name, []).append([*both[0], *both[1]])
    names = [*SCORES[:3], *(f"{name} before" for name in SCORES[:3])]
    return {
        name: dict(zip(names, (round(float(value), 3) for value in np.median(found, 0)), strict=True))
        for name, found in rows.items()
    }


def _tame(answers: torch.Tensor) -> None:
    """Limit the norm of the gradient with respect to the outputs for each problem to `TAME`."""
    if answers.requires_grad:

        def bound(gradient: torch.Tensor) -> torch.Tensor:
            gradient = torch.nan_to_num(gradient, 0, 0, 0)
            return gradient * (TAME / gradient.flatten(1).norm(dim=1).clamp_min(TAME)).view(-1, 1, 1, 1)

        answers.register_hook(bound)

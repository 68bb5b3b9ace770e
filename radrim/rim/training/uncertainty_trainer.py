"""Training of the network of the uncertainties on the errors of deconvolved simulated skies."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from radrim.errors import ConfigError
from radrim.rim.checkpoint import PRIOR_NETWORK
from radrim.rim.network.psf import PsfConvolution
from radrim.rim.network.uncertainty import (
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
    shows,
    weights,
)
from radrim.rim.training.run_trainer import OutcomeTrainer, OutcomeTraining, Scores, load_outcome_training
from radrim.rim.training.trainer import use_half

Loaded = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
"""Features, logarithms of the errors, weights (as float16), and where there is emission."""
CORRECTION = (3,)
"""Key of the stream of problems for the corrections."""


@dataclass(frozen=True)
class UncertaintyTraining(OutcomeTraining):
    """Configuration of a training on the errors of the minor cycle `minor` and of CLEAN.

    Parameters
    ----------
    correction : int
        Number of simulated problems for the correction of the outputs after the training; 0 for no correction.
    """

    network: UncertaintyConfig = field(default_factory=UncertaintyConfig)
    correction: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.correction, bool) or not isinstance(self.correction, int) or self.correction < 0:
            raise ConfigError(f"correction = {self.correction!r} in the training file must be a number from 0 on.")


def load_uncertainty_training(path: str | Path, **changes: Any) -> UncertaintyTraining:
    """An `UncertaintyTraining` from a TOML file; see `radrim.rim.training.run_trainer.load_outcome_training`."""
    return load_outcome_training(path, UncertaintyTraining, "uncertainty", UncertaintyConfig, **changes)


class UncertaintyTrainer(OutcomeTrainer[UncertaintyTraining, Uncertainty]):
    """One training in its folder; continues where it was stopped. The learning rate falls linearly to 0.

    Parameters
    ----------
    config : UncertaintyTraining
    folder : path-like
    """

    prior = PRIOR_NETWORK

    def __init__(self, config: UncertaintyTraining, folder: str | Path) -> None:
        super().__init__(config, folder, Uncertainty)
        self.half = use_half("auto", torch.device("cpu"))

    def load(self, paths: Sequence[Path]) -> Loaded:
        """Features, logarithms of the errors and weights."""
        return _load(paths)

    def loss(self, seen: Loaded, rng: np.random.Generator) -> torch.Tensor:
        """The pinball loss."""
        features, logs, weight = _draw(seen, rng, self.config.batch)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            answers = self.network(features)
        return pinball(answers.float(), logs, weight)

    def streams(self) -> dict[str, tuple[int, tuple[int, ...]]]:
        """The streams of every training, and that of the corrections."""
        return super().streams() | {"correction-": (self.config.correction, CORRECTION)}

    def complete(self) -> None:
        """Correct the outputs by images that the training has not used."""
        self.network.corrections.copy_(corrections(self.network, self.paths("correction-")))

    def scores(self, paths: Sequence[Path]) -> Scores:
        """Fractions of the errors that are below the predicted quantiles."""
        return coverage(self.network, paths)


@torch.inference_mode()
def corrections(network: Uncertainty, paths: Sequence[Path], batch: int = 8) -> torch.Tensor:
    """Corrections of a network's outputs, after which the intended fractions of errors are below them.

    They are found separately for pixels without and with emission in the model. All pixels have the same weight here.
    In training, pixels of large sources, where errors are largest, have a smaller weight.

    Parameters
    ----------
    network : Uncertainty
    paths : sequence of Path
        Of outcomes.
    batch : int

    Returns
    -------
    Tensor, (2, kind, quantile)
        To replace `Uncertainty.corrections`.
    """
    found = torch.zeros_like(network.corrections)
    if not paths:
        return found
    network.eval()
    over_parts, counted_parts, shown_parts = [], [], []
    for first in range(0, len(paths), batch):
        features, logs, weight, _ = _load(paths[first : first + batch])
        shown = shows(features.float())
        answers = network(features.float()) - network.corrections[shown.long()].permute(0, 3, 4, 1, 2)
        over_parts.append(logs.float().unsqueeze(2) - answers)
        counted_parts.append(weight > 0)
        shown_parts.append(shown)
    over, counts, where = (torch.cat(parts) for parts in (over_parts, counted_parts, shown_parts))
    for part, k, q in itertools.product((0, 1), range(len(KINDS)), range(len(QUANTILES))):
        values = over[:, k, q][counts[:, k] & (where == bool(part))]
        if len(values):
            found[part, k, q] = float(np.quantile(values.numpy(), QUANTILES[q]))
    return found


def coverage(
    network: Uncertainty, paths: Sequence[Path], groups: Sequence[Sequence[str]] | None = None, batch: int = 8
) -> Scores:
    """Fractions of errors that are below the predicted quantiles, by group.

    Parameters
    ----------
    network : Uncertainty
    paths : sequence of Path
        Of outcomes.
    groups : sequence of sequences of str, optional
        Groups of each outcome; 'all' and the class of its sky if absent.
    batch : int

    Returns
    -------
    dict of str to dict
        For each group `beam68`, `beam95`, `pixel68`, `pixel95` (over all pixels; for the model, over those where it or
        the sky is not 0), and the same over pixels with emission: `beam68_on` and so on.
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


def _count(below: torch.Tensor, counted: torch.Tensor, there: torch.Tensor) -> np.ndarray:
    """Numbers of errors below the quantiles, and of all errors, (2, 8), in the order of `NAMES`."""
    sums = []
    for region in (counted, counted & there):
        inside = (below & region.unsqueeze(1)).sum((-2, -1)).flatten()
        sums.append(torch.stack([inside, region.sum((-2, -1)).repeat_interleave(len(QUANTILES))]))
    return torch.cat(sums, 1).numpy()


def _parts(counts: np.ndarray) -> dict[str, float]:
    inside, of = counts
    return {name: round(float(a / b), 4) for name, a, b in zip(NAMES, inside, of, strict=True) if b}


def _load(paths: Sequence[Path]) -> Loaded:
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
        # The weights of one image sum to about 1; without the factor they would be too small for float16.
        parts.append((features.half(), found.half(), (weight * model.numel()).half(), there[:, None]))
    features, logs, weight, there = (torch.cat(part) for part in zip(*parts, strict=True))
    return features, logs, weight, there


def _draw(seen: Loaded, rng: np.random.Generator, batch: int) -> list[torch.Tensor]:
    """A random batch of features, errors and weights, mirrored and transposed at random, some with reversed sign."""
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

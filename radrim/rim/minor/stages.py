"""The final stages of a deconvolution: sparsification, and regularisation of a finished model.

Sparsification removes model emission that the data do not require (`radrim.rim.minor.sparsification`). Where kept-out
visibilities can judge them, methods of `radrim.rim.minor.regularisation` follow; where nothing judges, the prior update
(`radrim.rim.network.prior`), whose limit is the residual's rms. The major cycle accepts the update of a stage as a
whole or not at all.

An image has one or several parts (tiles or facets). A stage decides for the whole image; the
`radrim.rim.minor.refinement.Refiner` of each part carries out its actions. Decisions use only sums over all parts, so
they do not depend on how the image is divided.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from radrim.deconvolve.minor import FinalStage, MinorCycle
from radrim.deconvolve.step_length import Change, Moments
from radrim.rim.minor.regularisation import Method
from radrim.rim.minor.settings import SparsifySettings
from radrim.rim.minor.total_variation import TotalVariationSettings
from radrim.rim.network.plug_and_play import PlugAndPlaySettings
from radrim.rim.network.prior import NEAR

Ask = Callable[..., list[dict[str, Any]]]
"""``ask(action, **values)`` makes all parts of an image carry out one action, and returns the answer of each."""


@dataclass(frozen=True)
class FinalStageSettings:
    """When the final stages start, and how much of them is accepted."""

    max_rms: float = 1.2
    """Largest residual rms at which sparsification starts, in units of the expected noise."""
    min_part: float = 0.1
    """Smallest fraction of a prior update that is accepted. If the limit on the residual rms allows less, the update is
    dropped."""
    crowded: float = 0.5
    """Fraction of the flux in isolated points above which the field counts as crowded. There CLEAN components are point
    sources, and the prior update leaves them out as well."""
    max_rounds: int = 2
    """Largest number of rounds of the prior update."""


def sparsify(ask: Ask) -> MinorCycle | None:
    """Remove model emission that the data do not require; see `radrim.rim.minor.sparsification`.

    Parameters
    ----------
    ask : Ask

    Returns
    -------
    MinorCycle or None
        The update itself stays with the parts of the image. None if nothing is removed.
    """
    begun = ask("begin")
    noise, before = _noise(begun, "sparsifies"), _moments(begun)
    if not 0 < before.std <= FinalStageSettings.max_rms * noise:
        return None
    peak = max(one["peak"] for one in ask("measure_levels"))
    limits = SparsifySettings()
    max_rms = limits.max_rms(before.std, noise)
    level, found, keep, left = limits.first_level * noise, 0.0, 0.0, before
    while level < limits.max_level * peak:
        tried = ask("sparsify", level=level, max_rms=max_rms, keep=keep)
        keep = 0.0
        if any(one["changed"] for one in tried):
            given_up, after = sum(one.get("given_up", 0.0) for one in tried), _moments(tried)
            if (
                after.std > max_rms
                or sum(one.get("rise", 0.0) for one in tried) > limits.max_chi2_rise * given_up * noise**2
                or any(one.get("stands_out", False) for one in tried)
            ):
                break
            found, keep, left = level, 1.0, after
        level *= limits.level_factor
    changed = sum(one["components"] for one in ask("stage_update", keep=keep))
    if not found:
        return None
    stop = f"removed model emission fainter than {found / noise:.1f} times the noise, which the data do not require"
    return _whole(changed, before, left, stop)


def update_prior(ask: Ask) -> MinorCycle | None:
    """Combine the model with a learned prior of skies, up to the limit on the residual rms; see `sparsify`."""
    begun = ask("begin")
    noise, before = _noise(begun, "updates"), _moments(begun)
    flux, held = (sum(one[key] for one in begun) for key in ("flux", "held"))
    if not noise or not 0 < before.std <= NEAR * noise:
        return None
    crowded, max_rms = held > FinalStageSettings.crowded * flux, SparsifySettings().max_rms(before.std, noise)
    parts: list[float] = []
    left, keep = before, 0.0
    while len(parts) < FinalStageSettings.max_rounds:
        answers = ask("update_prior", keep=keep, crowded=crowded)
        change = Change.sum(one["change"] for one in answers)
        keep = change.part_below(max_rms)
        if not any(one["any"] for one in answers) or not keep >= FinalStageSettings.min_part:
            keep = 0.0
            break
        parts.append(keep)
        left = change.at(keep)
        if keep < 1:
            break
    if not parts:
        ask("stage_update", keep=0.0)
        return None
    after = _moments(ask("smooth_faint", keep=keep, crowded=crowded))
    smoothed = after.std <= max_rms
    changed = sum(one["components"] for one in ask("stage_update", keep=1.0 if smoothed else 0.0))
    stop = f"prior update, {len(parts)} round{'s' if len(parts) > 1 else ''}"
    if parts[-1] < 1:
        stop += f", {parts[-1]:.0%} of it: limited by the residual rms"
    return _whole(changed, before, after if smoothed else left, stop)


@dataclass(frozen=True)
class Trial:
    """A stage that tries a method of regularisation; kept-out visibilities judge it.

    Parameters
    ----------
    number : int
        Of this trial, from 1 on.
    method : Method
    after : tuple of int
        Numbers of trials, of which one must have been taken last; 0: none was.
    """

    number: int
    method: Method
    after: tuple[int, ...]

    def __call__(self, ask: Ask) -> MinorCycle | None:
        """Run the stage; see `radrim.deconvolve.minor.FinalStage`."""
        begun = ask("begin")
        busy = [one for one in begun if one.get("regularises")]  # others are empty parts
        noise, before = max((one["noise"] for one in busy), default=0.0), _moments(begun)
        if not noise or any(one["trial"] not in self.after for one in busy):
            return None
        answers = ask("regularise", natural=True, method=self.method, number=self.number)
        after = _moments(answers)
        changed = sum(one["components"] for one in ask("stage_update", keep=1.0))
        return _whole(changed, before, after, str(self.method)) if changed else None


Found = tuple[np.ndarray, str]
"""A model of the whole image, (y, x) float32 [Jy/pixel], and what found it."""


@dataclass(frozen=True)
class Offer:
    """A trial of a model that does not follow from the present one; kept-out visibilities must prefer it.

    Parameters
    ----------
    number : int
        Of this trial; different from those of all others.
    find : callable
        Returns the model, or None if there is none.
    """

    number: int
    find: Callable[[], Found | None]

    def __call__(self, ask: Ask) -> MinorCycle | None:
        """Run the stage; see `radrim.deconvolve.minor.FinalStage`."""
        begun = ask("begin")
        if not any(one["regularises"] for one in begun):
            return None
        cycle = _offered(ask, begun, self.find(), self.number)
        return cycle and replace(cycle, max_rms_rise=0.0, whole=True)


@dataclass(frozen=True)
class FitOffered:
    """The closing stage where the model of an `Offer` was the last one taken: the same fit of all visibilities.

    Parameters
    ----------
    number : int
        Of the `Offer`.
    find : callable
        Returns the model that is fitted to all visibilities.
    otherwise : FinalStage
        The closing stage of all other models.
    """

    number: int
    find: Callable[[], Found | None]
    otherwise: FinalStage

    def __call__(self, ask: Ask) -> MinorCycle | None:
        """Run the stage; see `radrim.deconvolve.minor.FinalStage`."""
        begun = ask("begin")
        if any(one["trial"] != self.number for one in begun):
            return self.otherwise(ask)
        return _offered(ask, begun, self.find(), self.number)


def _offered(ask, begun, found, number):
    """Make a model that was found the pending update; None if there is none."""
    if found is None:
        return None
    model, words = found
    answers = ask("offer", model=model, number=number)
    changed = sum(one["components"] for one in ask("stage_update", keep=1.0))
    return _whole(changed, _moments(begun), _moments(answers), words)


@dataclass(frozen=True)
class FitAllSamples:
    """The closing stage: fit the visibilities that were kept out, with the prior that was taken last.

    Plug and play goes on for some turns; other priors are Gaussians, see `Refiner.fit_all_samples`.

    Parameters
    ----------
    trials : sequence of FinalStage
        Those of the run.
    """

    trials: Sequence[FinalStage]

    def __call__(self, ask: Ask) -> MinorCycle | None:
        """Run the stage; see `radrim.deconvolve.minor.FinalStage`."""
        begun = ask("begin")
        number = max((one.get("trial", 0) for one in begun), default=0)
        method = {one.number: one.method for one in self.trials if isinstance(one, Trial)}.get(number)
        if isinstance(method, PlugAndPlaySettings):
            answers = ask("regularise", natural=True, method=method.closing(), number=number)
        else:
            flux, held = (sum(one[key] for one in begun) for key in ("flux", "held"))
            answers = ask("fit_all_samples", natural=True, crowded=held > FinalStageSettings.crowded * flux)
        changed = sum(one["components"] for one in ask("stage_update", keep=1.0))
        if not any(one["any"] for one in answers):
            return None
        found = _whole(changed, _moments(begun), _moments(answers), "fit to all visibilities")
        return replace(
            found, max_rms_rise=SparsifySettings.max_rms_rise
        )  # nothing judges it: the exact residual must fit


TRIALS: Sequence[FinalStage] = (
    Trial(1, PlugAndPlaySettings(), (0,)),
    Trial(2, PlugAndPlaySettings(first=3.0, turns=7, everywhere=True), (0, 1)),
    Trial(3, PlugAndPlaySettings(first=1.0, turns=10, data_weight=10.0, everywhere=True), (1, 2)),
    Trial(4, TotalVariationSettings(), (0,)),
)
"""Stages that run only where kept-out visibilities judge them."""

PLUG_AND_PLAY: Sequence[FinalStage] = tuple(
    Trial(number + 1, PlugAndPlaySettings(first=100.0, data_weight=weight), (number,))
    for number, weight in enumerate((0.5, 1.0, 2.0, 4.0))
)
"""Plug and play by itself, with rising strength."""

TOTAL_VARIATION: Sequence[FinalStage] = tuple(
    Trial(number + 1, TotalVariationSettings(strength=strength), (number,))
    for number, strength in enumerate((0.1, 0.3, 1.0, 3.0, 10.0, 30.0))
)
"""Total variation by itself, with rising strength."""

JUDGED_STAGES: Sequence[FinalStage] = (sparsify,)
"""The final stages before the trials, in the order in which they run."""

UNJUDGED_STAGES: Sequence[FinalStage] = (sparsify, update_prior)
"""The final stages where no visibilities are kept out, so that no trial runs."""


def _noise(begun, stage):
    """Largest expected noise of the parts to which a stage applies [Jy/beam]; 0 if it applies to none."""
    return max((one["noise"] for one in begun if one["flux"] and one[stage]), default=0.0)


def _moments(answers):
    return Moments.sum(one["moments"] for one in answers)


def _whole(changed, before, after, stop):
    """A minor cycle whose update is accepted as a whole or not at all."""
    rise = after.std / before.std if before.std > 0 else 1.0
    most = SparsifySettings.max_rms_rise * max(1.0, rise)
    return MinorCycle(
        np.zeros((0, 0), np.float32), changed, 0.0, stop, converged=False, max_rms_rise=most, changes_pixels=True
    )

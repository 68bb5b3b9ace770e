"""The final stages of a deconvolution: what is done once to a model that leaves little but noise.

First the model is emptied where the data do not need it (`radrim.rim.minor.sparsify`), then updated by a learned prior
of skies (`radrim.rim.network.prior`). Both raise the rms of the residual slightly; the imager takes each update as a
whole or not at all.

Each stage is a dialogue between the image as a whole, which decides (`empty`, `update_prior`), and its parts, one or
many, which try (`Refiner`). The whole sees sums over all parts only, so that its decision does not depend on how the
image is cut.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from radrim.deconvolve.minor import FinalStage, MinorCycle
from radrim.deconvolve.step_length import Change, Moments
from radrim.rim.minor.convolver import Convolver
from radrim.rim.minor.settings import RimSettings, SparsifySettings
from radrim.rim.minor.sparsify import Core, Emptying
from radrim.rim.network.prior import NEAR, TILE, held_back, soften, update_by_prior

CLOSE = 1.2
"""Largest residual rms of a model that is emptied, in units of the expected noise."""
LEAST_PART = 0.1
"""Smallest fraction of a prior update that is taken. A smaller one is dropped: the residual rms would rise too much."""
CROWDED = 0.5
"""Fraction of the flux in isolated points above which CLEAN components, too, are exempt from the prior update: in such
a field they are points."""
ROUNDS = 2
"""Rounds of the prior update."""

Ask = Callable[..., list[dict[str, Any]]]
"""Asks all parts of an image to do one thing: ``ask(action, **values)`` gives one answer for each."""


class Part(NamedTuple):
    """One part of an image in a final stage.

    Parameters
    ----------
    residual, model : (y, x) float32
        [Jy/beam], [Jy/pixel]
    core : (slice, slice)
        The part of what is seen that counts.
    noise : float
        Expected [Jy/beam].
    allowed : (y, x) bool or None
        The model is 0 elsewhere.
    """

    residual: np.ndarray
    model: np.ndarray
    core: Core
    noise: float
    allowed: np.ndarray | None


class Refiner:
    """The final stages in one part of an image, which is the core of what its minor cycle sees.

    Parameters
    ----------
    settings : RimSettings
        Its `positive`, `tighten` and `prior` count: only models of positive skies are refined.
    convolver : Convolver
        With the PSF of this part.
    """

    def __init__(self, settings: RimSettings, convolver: Convolver):
        self._settings, self._convolver = settings, convolver
        self._prepared: Emptying | None = None
        self._arrays: dict[str, np.ndarray] = {}
        """What one answer leaves to the next, by name."""

    def state(self) -> dict[str, np.ndarray]:
        """What one answer leaves to the next."""
        return {f"refine-{name}": array for name, array in self._arrays.items()}

    def resume(self, arrays: dict[str, np.ndarray]) -> None:
        """Go on from a `state`; what belongs to it is removed from `arrays`."""
        mine = [name for name in arrays if name.startswith("refine-")]
        self._arrays = {name.removeprefix("refine-"): arrays.pop(name) for name in mine}

    def begin(
        self, residual: np.ndarray, model: np.ndarray, points: np.ndarray, extended: np.ndarray, core: Core
    ) -> dict[str, Any]:
        """What this part is like before any stage; notes which pixels the prior must not change.

        Parameters
        ----------
        residual, model : (y, x) float32
            [Jy/beam], [Jy/pixel]
        points, extended : (y, x) float32
            What of the model was taken for isolated points, and what the network made; CLEAN has found the rest.
        core : (slice, slice)
            The part of what is seen that counts.
        """
        if "points" not in self._arrays:
            self._arrays |= {
                "points": held_back(model, points),
                "components": held_back(model, points) | held_back(model, model - extended),
            }
        flux = np.abs(model)
        return {
            "empties": self._settings.positive and self._settings.tighten,
            "updates": self._settings.positive and self._settings.prior is not None,
            "moments": Moments.of(residual[core]),
            "flux": float(flux[core].sum(dtype=np.float64)),
            "held": float(flux[core][self._arrays["points"][core]].sum(dtype=np.float64)),
        }

    # Emptying

    def measure_levels(self, residual: np.ndarray, model: np.ndarray, core: Core) -> dict[str, Any]:
        """The peak of the model seen with the main lobe of the PSF [Jy/beam]."""
        return {"peak": float(self._emptying(residual, model).seen[core].max())}

    def empty(self, part: Part, level: float, loudest: float, keep: float, pixels: int) -> dict[str, Any]:
        """Try to empty the model below a level; the trial is pending.

        Parameters
        ----------
        part : Part
        level, loudest : float
            [Jy/beam]; largest rms of the residual afterwards.
        keep : float
            Part of the last trial that is taken, 0 to 1.
        pixels : int
            Of the whole image.
        """
        core = part.core
        update, left = self._settle(part.residual, part.model, keep)
        emptying = self._emptying(part.residual, part.model)
        trial = emptying.attempt(update, level, loudest / SparsifySettings.max_rms_rise, part.allowed)
        if not trial.changed:
            return {"changed": False, "moments": Moments.of(left[core])}
        self._arrays |= {"trial": trial.update, "trial-left": trial.residual}
        return {
            "changed": trial.changed,
            "moments": Moments.of(trial.residual[core]),
            "rise": emptying.rise(trial, core),
            "given_up": emptying.given_up(trial, part.noise, core),
            "stands_out": emptying.stands_out(trial, core, pixels),
        }

    # Prior update

    def update_prior(self, part: Part, keep: float, crowded: bool) -> dict[str, Any]:
        """Another prior update, which is pending; `keep` as in `empty`."""
        core = part.core
        update, left = self._settle(part.residual, part.model, keep)
        seen = part.model * ~self._arrays["components" if crowded else "points"]
        change = self._look(seen + update, left, part.noise, part.allowed)
        after = left - self._convolver.see(change)
        self._arrays |= {"trial": update + change, "trial-left": after}
        return {"any": bool(seen[core].any()), "change": Change.of(left[core], after[core])}

    def soften(self, part: Part, keep: float, crowded: bool) -> dict[str, Any]:
        """Smooth what is finer than the data tell; pending."""
        update, left = self._settle(part.residual, part.model, keep)
        seen = part.model * ~self._arrays["components" if crowded else "points"] + update
        limit = None if part.allowed is None else self._convolver.tensor(part.allowed)
        image = self._convolver.tensor(seen)
        change = self._convolver.run(lambda psf: soften(image, psf, part.noise, limit)).cpu().numpy() - seen
        after = left - self._convolver.see(change)
        self._arrays |= {"trial": update + change, "trial-left": after}
        return {"moments": Moments.of(after[part.core])}

    def finish(self, model: np.ndarray, keep: float) -> np.ndarray:
        """The update of a stage (y, x) [Jy/pixel]; `keep` as in `empty`."""
        update, _ = self._settle(model, model, keep)
        for name in ("update", "left", "trial", "trial-left"):
            self._arrays.pop(name, None)
        self._prepared = None
        return update

    def _settle(self, residual, model, keep):
        """Update and residual so far, with this part of the pending trial."""
        update = self._arrays.get("update", np.zeros_like(model))
        left = self._arrays.get("left", residual)
        if "trial" in self._arrays:
            trial, after = self._arrays.pop("trial"), self._arrays.pop("trial-left")
            if keep == 1:
                update, left = trial, after
            elif keep:
                update = update + np.float32(keep) * (trial - update)
                left = left + np.float32(keep) * (after - left)
            self._arrays |= {"update": update, "left": left}
        return update, left

    def _emptying(self, residual, model):
        if self._prepared is None:
            self._prepared = Emptying(model, residual, self._convolver.see, self._convolver.lobe(), SparsifySettings())
        return self._prepared

    def _look(self, model, residual, noise, allowed):
        """What a prior update changes of a model."""
        convolver, prior = self._convolver, self._settings.prior
        if prior is None:
            return np.zeros_like(model)

        def look(convolution):
            images = convolver.tensor(model), convolver.tensor(residual)
            limit = None if allowed is None else convolver.tensor(allowed)
            tile = min(TILE, 2 * convolver.tile)  # one step keeps less than the five of the minor cycle
            return update_by_prior(prior, *images, convolution, noise, tile, limit)

        return convolver.run(look).cpu().numpy() - model


def empty(ask: Ask) -> MinorCycle | None:
    """Empty the model wherever the data do not need it; see `radrim.rim.minor.sparsify`."""
    begun = ask("begin")
    noise, before = _noise(begun, "empties"), _moments(begun)
    if not 0 < before.std <= CLOSE * noise:
        return None
    peak = max(one["peak"] for one in ask("measure_levels"))
    limits = SparsifySettings()
    loudest = limits.max_rms(before.std, noise)
    level, found, keep, left = limits.first_level * noise, 0.0, 0.0, before
    while level < limits.max_level * peak:
        tried = ask("empty", level=level, loudest=loudest, keep=keep)
        keep = 0.0
        if any(one["changed"] for one in tried):
            given_up, after = sum(one.get("given_up", 0.0) for one in tried), _moments(tried)
            if (
                after.std > loudest
                or sum(one.get("rise", 0.0) for one in tried) > limits.max_chi2_rise * given_up * noise**2
                or any(one.get("stands_out", False) for one in tried)
            ):
                break
            found, keep, left = level, 1.0, after
        level *= limits.level_factor
    changed = sum(one["components"] for one in ask("finish", keep=keep))
    if not found:
        return None
    stop = f"removed model emission fainter than {found / noise:.1f} times the noise, which the data do not require"
    return _whole(changed, before, left, stop)


def update_prior(ask: Ask) -> MinorCycle | None:
    """Update the model with a learned prior of skies, as far as the residual's rms allows."""
    begun = ask("begin")
    noise, before = _noise(begun, "updates"), _moments(begun)
    flux, held = (sum(one[key] for one in begun) for key in ("flux", "held"))
    if not 0 < before.std <= NEAR * noise:
        return None
    crowded, most = held > CROWDED * flux, SparsifySettings().max_rms(before.std, noise)
    parts: list[float] = []
    left, keep = before, 0.0
    while len(parts) < ROUNDS:
        looks = ask("update_prior", keep=keep, crowded=crowded)
        change = Change.sum(one["change"] for one in looks)
        keep = change.part_below(most)
        if not any(one["any"] for one in looks) or not keep >= LEAST_PART:
            keep = 0.0
            break
        parts.append(keep)
        left = change.at(keep)
        if keep < 1:
            break
    if not parts:
        ask("finish", keep=0.0)
        return None
    after = _moments(ask("soften", keep=keep, crowded=crowded))
    soft = after.std <= most
    changed = sum(one["components"] for one in ask("finish", keep=1.0 if soft else 0.0))
    stop = f"prior update, {len(parts)} round{'s' if len(parts) > 1 else ''}"
    if parts[-1] < 1:
        stop += f", {parts[-1]:.0%} of it: limited by the residual rms"
    return _whole(changed, before, after if soft else left, stop)


FINAL_STAGES: Sequence[FinalStage] = (empty, update_prior)
"""In the order in which they run."""


def _noise(begun, stage):
    """The noise that is expected where a stage has something to do [Jy/beam]; 0 if that is nowhere."""
    return max((one["noise"] for one in begun if one["flux"] and one[stage]), default=0.0)


def _moments(answers):
    return Moments.sum(one["moments"] for one in answers)


def _whole(changed, before, after, stop):
    """A cycle whose update is taken as a whole or not at all."""
    most = SparsifySettings.max_rms_rise * max(1.0, after.std / before.std)
    return MinorCycle(np.zeros((0, 0), np.float32), changed, 0.0, stop, converged=False, whole=most)

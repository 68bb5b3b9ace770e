"""The actions of the final stages in one part of an image; `radrim.rim.minor.stages` has the stages."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from radrim.deconvolve.minor import PartView
from radrim.deconvolve.step_length import Change, Moments
from radrim.rim.minor.convolver import Convolver
from radrim.rim.minor.regularisation import Method, improve, usable
from radrim.rim.minor.settings import RimSettings, SparsifySettings
from radrim.rim.minor.sparsification import Core, Sparsifier
from radrim.rim.minor.total_variation import TotalVariationSettings
from radrim.rim.network.prior import TILE, combine, held_back, predict_sky, smooth_faint


class Part(NamedTuple):
    """One part of an image in a final stage.

    Parameters
    ----------
    residual, model : (y, x) float32
        [Jy/beam], [Jy/pixel]
    core : (slice, slice)
        Pixels of these images that belong to this part; the others are its halo.
    noise : float
        Expected noise [Jy/beam].
    allowed : (y, x) bool or None
        Pixels that may hold emission; None for all.
    points, extended : (y, x) float32
        Parts of the model that are isolated points, and that the network made; CLEAN found the rest [Jy/pixel].
    pixels : int
        Number of pixels of the whole image.
    """

    residual: np.ndarray
    model: np.ndarray
    core: Core
    noise: float
    allowed: np.ndarray | None
    points: np.ndarray
    extended: np.ndarray
    pixels: int


class Data(NamedTuple):
    """What a step that counts chi^2 of the samples works on; with imaging weights where no others are at hand.

    Parameters
    ----------
    residual : (y, x) float32
        [Jy/beam]
    noise : float
        Thermal noise of this residual [Jy/beam].
    convolver : Convolver
        With the PSF of the same weights.
    """

    residual: np.ndarray
    noise: float
    convolver: Convolver


class Refiner:
    """Carries out the actions of the final stages in one part of an image.

    Parameters
    ----------
    settings : RimSettings
        It uses `positive`, `sparsify` and `prior`. Only models of positive skies are refined.
    convolver : Convolver
        With the PSF of this part.
    """

    def __init__(self, settings: RimSettings, convolver: Convolver):
        self._settings, self._convolver = settings, convolver
        self._prepared: Sparsifier | None = None
        self._natural = Convolver(convolver.device, convolver.tile)
        self._data = Data(np.zeros((0, 0), np.float32), 0.0, convolver)
        self._arrays: dict[str, np.ndarray] = {}
        """Images that the next action needs, by name."""

    def state(self) -> dict[str, np.ndarray]:
        """Images that the next action needs, by name."""
        return {f"refine-{name}": array for name, array in self._arrays.items()}

    def resume(self, arrays: dict[str, np.ndarray]) -> None:
        """Continue from a `state`; removes its images from `arrays`."""
        mine = [name for name in arrays if name.startswith("refine-")]
        self._arrays = {name.removeprefix("refine-"): arrays.pop(name) for name in mine}

    def act(
        self, action: str, part: Part, likelihood: tuple[PartView, float] | None = None, **values: Any
    ) -> dict[str, Any]:
        """Carry out the action of this name; see `RefiningSolver.refine`."""
        self._weigh(part, likelihood)
        actions: dict[str, Callable[..., dict[str, Any]]] = {
            "begin": self.begin,
            "measure_levels": self.measure_levels,
            "sparsify": self.sparsify,
            "update_prior": self.update_prior,
            "smooth_faint": self.smooth_faint,
            "stage_update": self.stage_update,
            "regularise": self.regularise,
            "offer": self.offer,
            "note_decision": self.note_decision,
            "fit_all_samples": self.fit_all_samples,
        }
        return actions[action](part, **values)

    def _weigh(self, part, likelihood):
        """Choose residual, noise and PSF of the next action."""
        self._data = Data(part.residual, part.noise, self._convolver)
        if likelihood is not None:
            seen, factor = likelihood
            finest = self._convolver.run(lambda psf: psf.finest())
            self._natural.tile = self._convolver.tile
            self._natural.set_psf(seen.psf, seen.residual.shape, finest)
            self._natural.sky = self._convolver.sky
            self._data = Data(seen.residual, factor * part.noise, self._natural)

    def begin(self, part: Part) -> dict[str, Any]:
        """Statistics of this part before a stage; remembers the pixels that the prior update must not change."""
        model, core = part.model, part.core
        if "points" not in self._arrays:
            self._arrays |= {
                "points": held_back(model, part.points),
                "components": held_back(model, part.points) | held_back(model, model - part.extended),
            }
        flux = np.abs(model)
        return {
            "sparsifies": self._settings.positive and self._settings.sparsify,
            "updates": self._settings.positive and self._settings.prior is not None,
            "regularises": self._settings.positive or self._settings.regularised,
            "trial": int(self._arrays.get("trial-number", 0)),
            "moments": Moments.of(part.residual[core]),
            "flux": float(flux[core].sum(dtype=np.float64)),
            "held": float(flux[core][self._arrays["points"][core]].sum(dtype=np.float64)),
            "noise": part.noise,
        }

    # Sparsification

    def measure_levels(self, part: Part) -> dict[str, Any]:
        """Peak of the model, convolved with the main lobe of the PSF [Jy/beam]."""
        return {"peak": float(self._sparsifier(part.residual, part.model).seen[part.core].max())}

    def sparsify(self, part: Part, level: float, max_rms: float, keep: float) -> dict[str, Any]:
        """Remove model emission below a level, as a pending trial.

        Parameters
        ----------
        part : Part
        level : float
            [Jy/beam]
        max_rms : float
            Largest residual rms after the stage [Jy/beam].
        keep : float
            Fraction of the previous trial that is accepted, 0 to 1.
        """
        core = part.core
        update, left = self._take_pending(part.residual, part.model, keep)
        sparsifier = self._sparsifier(part.residual, part.model)
        trial = sparsifier.attempt(update, level, max_rms / SparsifySettings.max_rms_rise, part.allowed)
        if not trial.changed:
            return {"changed": False, "moments": Moments.of(left[core])}
        self._arrays |= {"trial": trial.update, "trial-left": trial.residual}
        return {
            "changed": trial.changed,
            "moments": Moments.of(trial.residual[core]),
            "rise": sparsifier.rise(trial, core),
            "given_up": sparsifier.given_up(trial, part.noise, core),
            "stands_out": sparsifier.stands_out(trial, core, part.pixels),
        }

    # Prior update

    def update_prior(self, part: Part, keep: float, crowded: bool) -> dict[str, Any]:
        """Run one round of the prior update, as a pending trial; `keep` as in `sparsify`."""
        core = part.core
        update, left = self._take_pending(part.residual, part.model, keep)
        seen = part.model * ~self._arrays["components" if crowded else "points"]
        change = self._prior_change(seen + update, left, part.noise, part.allowed)
        after = left - self._convolver.convolve(change)
        self._arrays |= {"trial": update + change, "trial-left": after}
        return {"any": bool(seen[core].any()), "change": Change.of(left[core], after[core])}

    def smooth_faint(self, part: Part, keep: float, crowded: bool) -> dict[str, Any]:
        """Smooth faint emission to the resolution of the data, as a pending trial; `keep` as in `sparsify`."""
        update, left = self._take_pending(part.residual, part.model, keep)
        seen = part.model * ~self._arrays["components" if crowded else "points"] + update
        limit = None if part.allowed is None else self._convolver.tensor(part.allowed)
        image = self._convolver.tensor(seen)
        change = self._convolver.run(lambda psf: smooth_faint(image, psf, part.noise, limit)).cpu().numpy() - seen
        after = left - self._convolver.convolve(change)
        self._arrays |= {"trial": update + change, "trial-left": after}
        return {"moments": Moments.of(after[part.core])}

    # Regularisation, and the last fit

    def regularise(self, part: Part, method: Method, number: int) -> dict[str, Any]:
        """Improve the model by a method of this number, as a pending trial; isolated points stay."""
        data, settings = self._data, self._settings
        if isinstance(method, TotalVariationSettings):
            method = replace(method, positive=settings.positive)
        seen = part.model * ~self._arrays["points"]
        if not usable(method, settings.denoiser) or not (seen.any() or settings.regularised):
            return {"any": False, "moments": Moments.of(part.residual[part.core])}
        convolver = data.convolver
        limit = None if part.allowed is None else convolver.tensor(part.allowed)
        images = convolver.tensor(seen), convolver.tensor(data.residual)

        def work(psf):
            return improve(method, settings.denoiser, *images, psf, data.noise, limit, 2 * convolver.tile)

        sky = convolver.run(work).cpu().numpy()
        spread = np.where(sky != 0, np.float32(method.last * part.noise), np.float32(0))  # an empty sky stays empty
        self._arrays |= {"next-mean": sky, "next-spread": spread, "next-trial-number": np.array(number)}
        return self._trial(part, sky - seen)

    def offer(self, part: Part, model: np.ndarray, number: int) -> dict[str, Any]:
        """Propose a model of the image (y, x) [Jy/pixel], as a pending trial of this number; points go, too."""
        self._arrays["next-trial-number"] = np.array(number)
        return self._trial(part, model - part.model)

    def note_decision(self, part: Part, taken: bool) -> dict[str, Any]:  # noqa: ARG002 - as all actions
        """Note whether the last update was taken: `fit_all_samples` uses the prior of the last that was."""
        for name in ("mean", "spread", "trial-number"):
            if f"next-{name}" in self._arrays:
                found = self._arrays.pop(f"next-{name}")
                if taken:
                    self._arrays[name] = found
        return {}

    def fit_all_samples(self, part: Part, crowded: bool) -> dict[str, Any]:
        """Combine the last prior with all visibilities, as a pending trial, where some were kept out until now."""
        if "mean" not in self._arrays:
            return {"any": False, "moments": Moments.of(part.residual[part.core])}
        data, convolver = self._data, self._data.convolver
        seen = part.model * ~self._arrays["components" if crowded else "points"]
        mean, spread = (convolver.tensor(self._arrays[name]) for name in ("mean", "spread"))
        model, residual = convolver.tensor(seen), convolver.tensor(data.residual)
        limit = None if part.allowed is None else convolver.tensor(part.allowed)
        sky = convolver.run(lambda psf: combine(mean, spread, model, residual, psf, data.noise, limit))
        found = self._convolver.run(lambda psf: smooth_faint(sky, psf, part.noise, limit))
        return self._trial(part, found.cpu().numpy() - seen)

    def _trial(self, part, change):
        """Make a change of the model the pending trial."""
        after = part.residual - self._convolver.convolve(change)
        self._arrays |= {"trial": change, "trial-left": after}
        return {"any": True, "moments": Moments.of(after[part.core])}

    def stage_update(self, part: Part, keep: float) -> dict[str, Any]:
        """Return the update of the whole stage (y, x) [Jy/pixel]; `keep` as in `sparsify`."""
        update, _ = self._take_pending(part.residual, part.model, keep)
        for name in ("update", "left", "trial", "trial-left"):
            self._arrays.pop(name, None)
        self._prepared = None
        return {"components": int(np.count_nonzero(update[part.core])), "update": update}

    def _take_pending(self, residual, model, keep):
        """Accept the fraction `keep` of the pending trial; return update and residual of the stage so far."""
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

    def _sparsifier(self, residual, model):
        if self._prepared is None:
            self._prepared = Sparsifier(
                model,
                residual,
                self._convolver.convolve,
                self._convolver.lobe(),
                SparsifySettings(),
                self._convolver.sky,
            )
        return self._prepared

    def _prior_change(self, model, residual, noise, allowed):
        """Change of a model by one round of the prior update [Jy/pixel]."""
        convolver, prior = self._convolver, self._settings.prior
        if prior is None:
            return np.zeros_like(model)

        def update(convolution):
            images = convolver.tensor(model), convolver.tensor(residual)
            limit = None if allowed is None else convolver.tensor(allowed)
            tile = min(TILE, 2 * convolver.tile)  # a prior update needs less memory than a minor cycle
            mean, spread = predict_sky(prior, *images, convolution, noise, tile, limit)
            return combine(mean, spread, *images, convolution, noise, limit)

        return convolver.run(update).cpu().numpy() - model

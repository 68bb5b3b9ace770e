"""The ends of a deconvolution: what is done once to the model of a whole image that leaves little but noise.

First what the data do not need goes from it (`radrim.rim.minor.sparsify`), then a prior of skies looks at what is left
(`radrim.rim.network.prior`). Both make the residual a little louder; the imager takes their updates as a whole or not
at all.
"""

import logging
from typing import Any

import numpy as np
import torch

from radrim.deconvolve.minor import MinorCycle
from radrim.deconvolve.step_length import part_below
from radrim.rim.minor.convolver import Convolver
from radrim.rim.minor.settings import RimSettings, SparsifySettings
from radrim.rim.minor.sparsify import tighten
from radrim.rim.network.prior import NEAR, TILE, Prior, held_back, look_again, soften
from radrim.rim.network.psf import PsfConvolution

log = logging.getLogger("radrim")

CLOSE = 1.2
"""A model is tightened if the rms of its residual is at most so many times the noise that was expected."""
LEAST_PART = 0.1
"""If the data bear less than this part of what a second look changes, nothing is changed."""
CROWDED = 0.5
"""Where isolated points have more than this part of the flux, what CLEAN found is held back, too: more of them."""
LOOKS = 2
"""Times that it is looked at."""


class Ends:
    """What is left to do once the minor cycles have come to their end.

    Parameters
    ----------
    settings : RimSettings
    convolver : Convolver
    """

    def __init__(self, settings: RimSettings, convolver: Convolver) -> None:
        self._settings, self._convolver = settings, convolver
        self.reason = ""
        """Why the minor cycles ended; empty while they go on."""
        self._done = 0
        self._held: np.ndarray | None = None

    def __call__(
        self,
        residual: np.ndarray,
        model: np.ndarray,
        points: np.ndarray,
        extended: np.ndarray,
        noise: float,
        allowed: np.ndarray | None,
    ) -> MinorCycle | None:
        """The next end that changes something, as a `MinorCycle`; None if there is none.

        Parameters
        ----------
        residual, model : (y, x) float32
            [Jy/beam], [Jy/pixel]
        points, extended : (y, x) float32
            What of the model was taken for isolated points, and what the network made; CLEAN has found the rest.
        noise : float
            That was expected [Jy/beam].
        allowed : (y, x) bool or None
            Where the model may change; None: anywhere.
        """
        if self._held is None:
            self._held = held_back(model, points)
            if abs(model[self._held]).sum() > CROWDED * abs(model).sum():
                self._held |= held_back(model, model - extended)
        for end in (self._tighten, self._look_again)[self._done :]:
            self._done += 1
            found = end(residual, model, noise, allowed)
            if found is not None:
                return found
        return None

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """As for the solver."""
        return {"end": self.reason, "ends": self._done}, {} if self._held is None else {"held": self._held}

    def resume(self, facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Go on from a `state`; what is its own leaves `arrays`."""
        self.reason, self._done, self._held = facts["end"], facts["ends"], arrays.pop("held", None)

    def _tighten(
        self, residual: np.ndarray, model: np.ndarray, noise: float, allowed: np.ndarray | None
    ) -> MinorCycle | None:
        """What the data do not need goes from the model."""
        if not (self._settings.tighten and self._near(residual, model, CLOSE * noise)):
            return None
        found = tighten(model, residual, self._convolver.see, self._convolver.lobe(), noise, allowed)
        if found is None:
            return None
        stop = f"emptied what is below {found.level / noise:.1f} times the noise, and the data do not need"
        return _whole(found.update, residual, found.residual, stop)

    def _look_again(
        self, residual: np.ndarray, model: np.ndarray, noise: float, allowed: np.ndarray | None
    ) -> MinorCycle | None:
        """The model that a prior of skies and the data make of this one, and of that, as far as the data bear it."""
        prior, seen = self._settings.prior, model if self._held is None else model * ~self._held
        if prior is None or not seen.any() or not self._near(residual, model, NEAR * noise):
            return None
        most = SparsifySettings().max_rms(float(residual.std()), noise)
        update, left = np.zeros_like(seen), residual
        parts: list[float] = []
        while len(parts) < LOOKS:
            change = self._look(prior, seen + update, left, noise, allowed)
            after = left - self._convolver.see(change)
            part = part_below(left, after, most)
            log.debug("another look: the residual's rms is %.3f of what it was", after.std() / left.std())
            if not part >= LEAST_PART:
                break
            update, left = update + np.float32(part) * change, left + np.float32(part) * (after - left)
            parts.append(part)
            if part < 1:
                break
        if not parts:
            return None
        change = self._soften(seen + update, noise, allowed)
        after = left - self._convolver.see(change)
        if after.std() <= most:
            update, left = update + change, after
        stop = " and ".join(("a second look", "a third")[: len(parts)])
        if parts[-1] < 1:
            stop += f", {parts[-1]:.0%} of it: the data bear no more"
        return _whole(update, residual, left, stop)

    def _look(
        self, prior: Prior, model: np.ndarray, residual: np.ndarray, noise: float, allowed: np.ndarray | None
    ) -> np.ndarray:
        """What another look changes of a model."""
        convolver = self._convolver

        def look(convolution: PsfConvolution) -> torch.Tensor:
            images = convolver.tensor(model), convolver.tensor(residual)
            limit = None if allowed is None else convolver.tensor(allowed)
            tile = min(TILE, 2 * convolver.tile)  # one step keeps less than the five of the minor cycle
            return look_again(prior, *images, convolution, noise, tile, limit)

        return convolver.run(look).cpu().numpy() - model

    def _soften(self, model: np.ndarray, noise: float, allowed: np.ndarray | None) -> np.ndarray:
        """What becomes of a model where it is faint, as a change."""
        limit = None if allowed is None else self._convolver.tensor(allowed)
        image = self._convolver.tensor(model)
        return self._convolver.run(lambda psf: soften(image, psf, noise, limit)).cpu().numpy() - model

    def _near(self, residual: np.ndarray, model: np.ndarray, most: float) -> bool:
        """Whether a model of a positive sky leaves a residual of at most that rms."""
        return bool(self._settings.positive and model.any() and 0 < residual.std() <= most)


def _whole(update: np.ndarray, before: np.ndarray, after: np.ndarray, stop: str) -> MinorCycle:
    """An update that is taken as a whole or not at all."""
    most = SparsifySettings().max_rms_rise * max(1.0, float(after.std() / before.std()))
    return MinorCycle(update, int(np.count_nonzero(update)), float(np.abs(after).max()), stop, False, whole=most)

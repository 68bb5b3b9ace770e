"""The final stage of a deconvolution: two steps that run once, on the model of a whole image, near the noise.

The first step removes emission that the data do not need (`radrim.rim.minor.sparsify`). The second updates the model by
a learned prior of skies (`radrim.rim.network.prior`). Both raise the rms of the residual slightly. The imager therefore
takes each update as a whole or not at all.
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
"""Largest residual rms of a model that is tightened, in units of the expected noise."""
LEAST_PART = 0.1
"""Smallest fraction of a prior update that is taken. A smaller one is dropped: the residual rms would rise too much."""
CROWDED = 0.5
"""Fraction of the flux in isolated points above which CLEAN components, too, are exempt from the prior update: in such
a field they are points."""
LOOKS = 2
"""Rounds of the prior update."""


class Ends:
    """The final stage, after the last minor cycle.

    Parameters
    ----------
    settings : RimSettings
    convolver : Convolver
    """

    def __init__(self, settings: RimSettings, convolver: Convolver) -> None:
        self._settings, self._convolver = settings, convolver
        self.reason = ""
        """Why the minor cycles stopped; empty before."""
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
        """The next step that changes the model, as a `MinorCycle`; None if no step is left.

        Parameters
        ----------
        residual, model : (y, x) float32
            [Jy/beam], [Jy/pixel]
        points, extended : (y, x) float32
            Parts of the model that are isolated points, and that the network made; the rest is CLEAN's [Jy/pixel].
        noise : float
            Expected noise [Jy/beam].
        allowed : (y, x) bool or None
            Where the model may change; None means everywhere.
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
        """As `RimSolver.state`."""
        return {"end": self.reason, "ends": self._done}, {} if self._held is None else {"held": self._held}

    def resume(self, facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Continue from a `state`; removes its own entries from `arrays`."""
        self.reason, self._done, self._held = facts["end"], facts["ends"], arrays.pop("held", None)

    def _tighten(
        self, residual: np.ndarray, model: np.ndarray, noise: float, allowed: np.ndarray | None
    ) -> MinorCycle | None:
        """Remove emission that the data do not need."""
        if not (self._settings.tighten and self._near(residual, model, CLOSE * noise)):
            return None
        found = tighten(model, residual, self._convolver.see, self._convolver.lobe(), noise, allowed)
        if found is None:
            return None
        stop = f"emptied the model below {found.level / noise:.1f} times the noise, where the data do not need it"
        return _whole(found.update, residual, found.residual, stop)

    def _look_again(
        self, residual: np.ndarray, model: np.ndarray, noise: float, allowed: np.ndarray | None
    ) -> MinorCycle | None:
        """Update the model by prior and data, in rounds; the last in part if the residual rms would rise too far."""
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
            log.debug("prior update: the residual rms changes by a factor of %.3f", after.std() / left.std())
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
        stop = f"prior update, {len(parts)} round{'s' if len(parts) > 1 else ''}"
        if parts[-1] < 1:
            stop += f", the last one by {parts[-1]:.0%}: limited by the residual rms"
        return _whole(update, residual, left, stop)

    def _look(
        self, prior: Prior, model: np.ndarray, residual: np.ndarray, noise: float, allowed: np.ndarray | None
    ) -> np.ndarray:
        """Change of a model by one round of the prior update [Jy/pixel]."""
        convolver = self._convolver

        def look(convolution: PsfConvolution) -> torch.Tensor:
            images = convolver.tensor(model), convolver.tensor(residual)
            limit = None if allowed is None else convolver.tensor(allowed)
            tile = min(TILE, 2 * convolver.tile)  # needs less memory per pixel than the machine of the minor cycle
            return look_again(prior, *images, convolution, noise, tile, limit)

        return convolver.run(look).cpu().numpy() - model

    def _soften(self, model: np.ndarray, noise: float, allowed: np.ndarray | None) -> np.ndarray:
        """Change of a model by smoothing where it is faint [Jy/pixel]."""
        limit = None if allowed is None else self._convolver.tensor(allowed)
        image = self._convolver.tensor(model)
        return self._convolver.run(lambda psf: soften(image, psf, noise, limit)).cpu().numpy() - model

    def _near(self, residual: np.ndarray, model: np.ndarray, most: float) -> bool:
        """Whether the sky is positive, the model not empty, and the residual rms above 0 and at most `most`."""
        return bool(self._settings.positive and model.any() and 0 < residual.std() <= most)


def _whole(update: np.ndarray, before: np.ndarray, after: np.ndarray, stop: str) -> MinorCycle:
    """A minor cycle that is taken as a whole or not at all."""
    most = SparsifySettings().max_rms_rise * max(1.0, float(after.std() / before.std()))
    return MinorCycle(update, int(np.count_nonzero(update)), float(np.abs(after).max()), stop, False, whole=most)

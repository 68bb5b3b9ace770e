"""Which part of a model the data ask for: spurious emission goes, and its flux returns to the sources it came from.

What an array did not measure well agrees with more than one sky. A network spreads over such places what it is unsure
of, some times the noise deep; a sidelobe of a galaxy, say, holds flux that the galaxy lacks. Of two models that explain
the data equally well, `tighten` takes the one that is empty in more places: all that is fainter than some level, seen
with the main lobe of the PSF, is taken out, and what remains is fitted again, by conjugate gradients of chi^2 on its
support alone. As long as nothing stands out of the residual where the model was emptied, and chi^2 rises by no more
than the freedom given up accounts for (Akaike 1974), the level is raised. Nothing new can appear beyond a margin around
what stays, and a source that the data do show comes back into the residual, which refuses the level.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.ndimage

from radrim.geometry import FWHM_PER_SIGMA
from radrim.metrics import noise_mad
from radrim.rim.minor.detection import SCALES, level_for
from radrim.rim.minor.settings import SparsifySettings
from radrim.rim.network.psf import FINEST

Convolve = Callable[[np.ndarray], np.ndarray]
"""An image [Jy/pixel] to its dirty image [Jy/beam]."""

Core = tuple[slice, slice]
"""The part of what is seen that counts."""


class Trial(NamedTuple):
    """A model on a smaller support.

    Parameters
    ----------
    update : (y, x) float32
        From the model before [Jy/pixel].
    residual : (y, x) float32
        After it, by the PSF [Jy/beam].
    emptied : (y, x) bool
        Where the model is 0 now.
    changed : bool
        Whether it was not, anywhere.
    """

    update: np.ndarray
    residual: np.ndarray
    emptied: np.ndarray
    changed: bool


class Emptying:
    """Emptying one model at rising levels.

    Parameters
    ----------
    model : (y, x) float32
        [Jy/pixel]
    residual : (y, x) float32
        Of it, near the noise [Jy/beam].
    convolve : callable
        An image [Jy/pixel] to its dirty image [Jy/beam].
    lobe : (float, float)
        Width (FWHM) of the PSF's main lobe along y and x [pixel].
    settings : SparsifySettings
    """

    def __init__(
        self,
        model: np.ndarray,
        residual: np.ndarray,
        convolve: Convolve,
        lobe: np.ndarray,
        settings: SparsifySettings,
    ):
        self._model, self._residual, self._convolve, self._settings = model, residual, convolve, settings
        self._lobe = np.asarray(lobe, float)
        sigma = self._lobe / FWHM_PER_SIGMA
        self._beam = 2 * np.pi * sigma.prod()
        self.seen = np.abs(_smooth(model, sigma)) * np.float32(self._beam)
        """The model seen with the main lobe [Jy/beam]."""
        self._before = [_smooth(residual, scale) for scale in SCALES]
        self._scatter = [max(noise_mad(image), 1e-30) for image in self._before]

    def attempt(self, update: np.ndarray, level: float, target: float, allowed: np.ndarray | None = None) -> Trial:
        """Take out what is fainter than a level, and fit the rest again.

        Parameters
        ----------
        update : (y, x) float32
            What was accepted before, from the model [Jy/pixel].
        level : float
            [Jy/beam]
        target : float
            The fit ends at a residual with this rms [Jy/beam].
        allowed : (y, x) bool, optional
            The model is 0 elsewhere, and stays so.
        """
        wide = max(1, round(self._settings.margin * self._lobe.min()))
        kept = scipy.ndimage.binary_dilation(self.seen > level, iterations=wide)
        if allowed is not None:
            kept &= allowed
        start = self._model + update
        changed = bool(start[~kept].any())
        if not changed:
            return Trial(update, self._residual, ~kept, False)
        steps = self._settings.max_steps
        found, left = _fit(self._model, self._residual, start, kept, self._convolve, FINEST * self._lobe, target, steps)
        return Trial(found, left, ~kept, True)

    def given_up(self, trial: Trial, noise: float, core: Core) -> float:
        """Beams of the core (slice, slice) in which the model was fainter than the level, but no noise [beam]."""
        return np.count_nonzero(((self.seen > self._settings.min_given_up * noise) & trial.emptied)[core]) / self._beam

    def rise(self, trial: Trial, core: Core) -> float:
        """By how much chi^2 rises in the core, over the sum of the weights."""
        return _rise(trial.update[core], self._residual[core], trial.residual[core])

    def stands_out(self, trial: Trial, core: Core, pixels: int) -> bool:
        """Whether something does, at some scale, where the core was emptied, and more than it did before."""
        most, emptied = level_for(pixels, self._settings.max_peak), trial.emptied[core]
        for scale, image, noise in zip(SCALES, self._before, self._scatter, strict=True):
            now = _smooth(trial.residual, scale)[core]
            if now[emptied].max(initial=0.0) > max(most * noise, float(image[core][emptied].max(initial=0.0))):
                return True
        return False


def _fit(model, residual, start, kept, convolve, finest, target, steps):
    """The model cut to its support and fitted there: the update from `model`, and the residual after it."""
    weight = kept.astype(np.float32)
    cut = weight * start - model
    left = residual - convolve(cut)
    # The fit is A z = b for an image z that is smoothed, cut to the support, and seen by the array.
    gradient = _smooth(weight * left, finest)
    image, direction = np.zeros_like(gradient), gradient.copy()
    square = float(np.vdot(gradient, gradient))
    for _ in range(steps):
        if left.std() <= target:
            break
        smooth = weight * _smooth(direction, finest)
        product = convolve(smooth)
        curvature = float(np.vdot(smooth, product))
        if curvature <= 0:
            break
        length = np.float32(square / curvature)
        image += length * direction
        left -= length * product
        gradient -= length * _smooth(weight * product, finest)
        square, last = float(np.vdot(gradient, gradient)), square
        direction = gradient + np.float32(square / last) * direction
    return cut + weight * _smooth(image, finest), left


def _rise(update, before, after):
    """By how much chi^2 rises, over the sum of the weights: -2 <d, r> + <d, G d> for G d = before - after."""
    return -float(np.vdot(update.astype(np.float64), before.astype(np.float64) + after))


def _smooth(image, sigma):
    return scipy.ndimage.gaussian_filter(image, sigma, mode="constant", truncate=3)

"""Sparsification: removes faint model emission that the data do not require, and fits the remaining emission again.

An array with gaps in its uv coverage is consistent with more than one sky. There a network can produce spurious
extended emission, a few times as bright as the noise; for instance, flux of a galaxy moves into one of its sidelobes.
Of two models that explain the data equally well, sparsification prefers the one with fewer non-zero pixels:

1. Model emission fainter than a level is removed, after smoothing by the main lobe of the PSF.
2. The remaining emission is fitted by conjugate gradients of chi^2. Only pixels within a margin of it may change.
3. The level is raised until a removed source appears in the residual, or until chi^2 rises by more than the removed
   degrees of freedom explain (Akaike 1974). The last level before that is used.
"""

from typing import NamedTuple

import numpy as np
import scipy.ndimage

from radrim.geometry import FWHM_PER_SIGMA
from radrim.metrics import noise_mad, scatter
from radrim.rim.minor.convolver import Convolve
from radrim.rim.minor.detection import SCALES, level_for
from radrim.rim.minor.settings import SparsifySettings
from radrim.rim.network.psf import FINEST

Core = tuple[slice, slice]
"""Rows and columns of the pixels that belong to this part of the image; the others are its halo."""


class Trial(NamedTuple):
    """A model after removal of its faint emission.

    Parameters
    ----------
    update : (y, x) float32
        Change of the model since the stage began [Jy/pixel].
    residual : (y, x) float32
        Residual after the update, by PSF convolution [Jy/beam].
    emptied : (y, x) bool
        Pixels in which the model is now 0.
    changed : bool
        Whether the model was not 0 in one of these pixels.
    """

    update: np.ndarray
    residual: np.ndarray
    emptied: np.ndarray
    changed: bool


class Sparsifier:
    """Removes the faint emission of one model, at rising levels.

    Parameters
    ----------
    model : (y, x) float32
        [Jy/pixel]
    residual : (y, x) float32
        Residual of `model`, with an rms near the noise [Jy/beam].
    convolve : callable
        An image [Jy/pixel] to its dirty image [Jy/beam].
    lobe : (float, float)
        Width (FWHM) of the PSF's main lobe along y and x [pixel].
    settings : SparsifySettings
    sky : (y, x) bool, optional
        Pixels above the horizon; all if absent.
    """

    def __init__(
        self,
        model: np.ndarray,
        residual: np.ndarray,
        convolve: Convolve,
        lobe: np.ndarray,
        settings: SparsifySettings,
        sky: np.ndarray | None = None,
    ):
        self._model, self._residual, self._convolve, self._settings = model, residual, convolve, settings
        self._lobe = np.asarray(lobe, float)
        sigma = self._lobe / FWHM_PER_SIGMA
        self._beam = 2 * np.pi * sigma.prod()
        self.seen = np.abs(_smooth(model, sigma)) * np.float32(self._beam)
        """Absolute value of the model convolved with the main lobe of the PSF [Jy/beam]."""
        self._before = [_smooth(residual, scale) for scale in SCALES]
        self._scatter = [max(noise_mad(image if sky is None else image[sky]), 1e-30) for image in self._before]

    def attempt(self, update: np.ndarray, level: float, target: float, allowed: np.ndarray | None = None) -> Trial:
        """Remove emission fainter than a level, and fit the remaining emission again.

        Parameters
        ----------
        update : (y, x) float32
            Change of the model that was accepted at lower levels [Jy/pixel].
        level : float
            Emission below it is removed [Jy/beam].
        target : float
            Residual rms at which the fit stops [Jy/beam].
        allowed : (y, x) bool, optional
            Pixels that may hold emission. All others are 0 and stay 0.
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
        """Area of the removed emission that was brighter than `min_given_up` times the noise, in the core [beam]."""
        return np.count_nonzero(((self.seen > self._settings.min_given_up * noise) & trial.emptied)[core]) / self._beam

    def rise(self, trial: Trial, core: Core) -> float:
        """Rise of chi^2 in the core, divided by the sum of the weights [(Jy/beam)^2]."""
        return _rise(trial.update[core], self._residual[core], trial.residual[core])

    def stands_out(self, trial: Trial, core: Core, pixels: int) -> bool:
        """Whether the residual of the core shows a source, at one of `SCALES`, in a pixel that was emptied.

        The source must exceed `max_peak` and the highest residual of these pixels before the trial.
        """
        most, emptied = level_for(pixels, self._settings.max_peak), trial.emptied[core]
        for scale, image, noise in zip(SCALES, self._before, self._scatter, strict=True):
            now = _smooth(trial.residual, scale)[core]
            if now[emptied].max(initial=0.0) > max(most * noise, float(image[core][emptied].max(initial=0.0))):
                return True
        return False


def _fit(model, residual, start, kept, convolve, finest, target, steps):
    """Set `start` to 0 outside `kept` and fit it inside: change of `model` [Jy/pixel], and its residual [Jy/beam]."""
    weight = kept.astype(np.float32)
    cut = weight * start - model
    left = residual - convolve(cut)
    # The unknown z is smoothed, set to 0 outside `kept` and convolved with the PSF, so that the fit cannot add detail
    # that the array does not measure.
    gradient = _smooth(weight * left, finest)
    image, direction = np.zeros_like(gradient), gradient.copy()
    square = float(np.vdot(gradient, gradient))
    for _ in range(steps):
        if scatter(left) <= target:
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
    """Rise of chi^2 over the sum of the weights, -2 <d, r> + <d, G d>: d `update`, r `before`, G d before - after."""
    return -float(np.vdot(update.astype(np.float64), before.astype(np.float64) + after))


def _smooth(image, sigma):
    return scipy.ndimage.gaussian_filter(image, sigma, mode="constant", truncate=3)

"""Removal of spurious extended emission from a model.

Several skies can fit the data where an array measures little. In such places a network spreads faint emission, a few
times the noise, which is missing in the sources nearby. Of two models that fit the data equally well, `tighten` prefers
the one with more empty pixels:

1. Set the model to 0 where it is below a level, as seen with the main lobe of the PSF.
2. Fit the rest again, on its support and a margin around it, by conjugate gradients of chi^2.
3. Raise the level and repeat, as long as no peak appears in the residual where the model was emptied, and chi^2 rises
   by no more than the removed degrees of freedom allow (Akaike 1974).

A real source reappears in the residual if it is removed. Then the level is rejected.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.ndimage

from radrim.geometry import FWHM_PER_SIGMA
from radrim.metrics import noise_mad
from radrim.rim.minor.convolver import Convolve
from radrim.rim.minor.detection import SCALES, level_for
from radrim.rim.minor.settings import SparsifySettings
from radrim.rim.network.psf import FINEST


class Tightened(NamedTuple):
    """A model on a smaller support.

    Parameters
    ----------
    update : (y, x) float32
        Change of the model [Jy/pixel].
    residual : (y, x) float32
        Residual after it, by PSF convolution [Jy/beam].
    level : float
        Level below which the model was emptied [Jy/beam].
    """

    update: np.ndarray
    residual: np.ndarray
    level: float


def tighten(
    model: np.ndarray,
    residual: np.ndarray,
    convolve: Convolve,
    lobe: Sequence[float] | np.ndarray,
    noise: float,
    allowed: np.ndarray | None = None,
    settings: SparsifySettings | None = None,
) -> Tightened | None:
    """Empty the pixels of a model that the data do not need, and fit the others again.

    Parameters
    ----------
    model : (y, x) float32
        [Jy/pixel]
    residual : (y, x) float32
        Residual of the model, near the noise [Jy/beam].
    convolve : callable
        An image [Jy/pixel] to its dirty image [Jy/beam].
    lobe : (float, float)
        Width (FWHM) of the PSF's main lobe along y and x [pixel].
    noise : float
        Of the dirty image [Jy/beam].
    allowed : (y, x) bool, optional
        Where the model may differ from 0.
    settings : SparsifySettings, optional

    Returns
    -------
    Tightened or None
        None if no pixel can be emptied.
    """
    settings = settings or SparsifySettings()
    lobe = np.asarray(lobe, float)
    sigma = lobe / FWHM_PER_SIGMA
    beam = 2 * np.pi * sigma.prod()
    seen = np.abs(_smooth(model, sigma)) * np.float32(beam)
    before = [_smooth(residual, scale) for scale in SCALES]
    scatter = [max(noise_mad(image), 1e-30) for image in before]
    loudest = settings.max_rms(float(residual.std()), noise)
    found, level = None, settings.first_level * noise
    while level < settings.max_level * seen.max():
        kept = scipy.ndimage.binary_dilation(seen > level, iterations=max(1, round(settings.margin * lobe.min())))
        if allowed is not None:
            kept &= allowed
        start = model if found is None else model + found.update
        if start[~kept].any():
            trial = _fit(
                model,
                residual,
                start,
                kept,
                convolve,
                FINEST * lobe,
                loudest / settings.max_rms_rise,
                settings.max_steps,
            )
            given_up = np.count_nonzero((seen > settings.min_given_up * noise) & ~kept) / beam
            if (
                trial.residual.std() > loudest
                or _rise(trial.update, residual, trial.residual) > settings.max_chi2_rise * given_up * noise**2
                or _stands_out(trial.residual, before, scatter, ~kept, settings.max_peak)
            ):
                break
            found = trial._replace(level=level)
        level *= settings.level_factor
    return found


def _fit(
    model: np.ndarray,
    residual: np.ndarray,
    start: np.ndarray,
    kept: np.ndarray,
    convolve: Convolve,
    finest: np.ndarray,
    target: float,
    steps: int,
) -> Tightened:
    """The model restricted to the support `kept` and fitted there."""
    weight = kept.astype(np.float32)
    cut = weight * start - model
    left = residual - convolve(cut)
    # The equations are A z = b for an image z that is smoothed, cut to the support, and convolved with the PSF.
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
    return Tightened(cut + weight * _smooth(image, finest), left, 0.0)


def _rise(update: np.ndarray, before: np.ndarray, after: np.ndarray) -> float:
    """Rise of chi^2 over the sum of the weights: -2 <d, r> + <d, G d> with G d = before - after."""
    return -float(np.vdot(update.astype(np.float64), before.astype(np.float64) + after))


def _stands_out(
    residual: np.ndarray, before: Sequence[np.ndarray], scatter: Sequence[float], emptied: np.ndarray, peak: float
) -> bool:
    """Whether the residual has a peak at any scale, where the model was emptied, that is higher than before."""
    most = level_for(residual.size, peak)
    for scale, image, noise in zip(SCALES, before, scatter, strict=True):
        now = _smooth(residual, scale)
        if now[emptied].max() > max(most * noise, float(image[emptied].max())):
            return True
    return False


def _smooth(image: np.ndarray, sigma: float | np.ndarray) -> np.ndarray:
    return scipy.ndimage.gaussian_filter(image, sigma, mode="constant", truncate=3)

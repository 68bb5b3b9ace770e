"""Which part of a model the data ask for: haze goes, and its flux back to the sources it was taken from.

What an array did not measure well agrees with more than one sky. A network spreads over such places what it is unsure
of, some times the noise deep; a sidelobe of a galaxy, say, holds flux that the galaxy lacks. Of two models that explain
the data equally well, `tighten` takes the one that is empty in more places: all that is fainter than some level, seen
with the main lobe of the PSF, is taken out, and what remains is fitted again, by conjugate gradients of chi^2 on its
support alone. As long as nothing stands out of the residual where the model was emptied, and chi^2 rises by no more
than the freedom given up accounts for (Akaike 1974), the level is raised. Nothing new can appear beyond a margin around
what stays, and a source that the data do show comes back into the residual, which refuses the level.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import scipy.ndimage

from radrim.geometry import FWHM_PER_SIGMA
from radrim.metrics import noise_mad
from radrim.rim.minor.detection import SCALES, level_for

FIRST, FACTOR = 3.0, 2.5
"""The lowest level, in units of the noise, and each next one over the one before;"""
HIGHEST = 0.1
"""up to this part of the model's peak."""
MARGIN = 0.3
"""Widths of the main lobe by which the support reaches beyond what is above the level."""
FINEST = 0.16
"""Standard deviation of the finest detail that is fitted, in widths of the main lobe, as of the network's updates."""
STEPS = 20
"""Steps of the conjugate gradients; they end where the residual is what it was before."""
QUIET = 0.95
"""A residual with an rms of so many times the noise expected is not fitted any closer,"""
LOUDER = 1.03
"""nor may it become louder than that, or than it was, by more than this factor."""
STANDS_OUT = 6.0
"""A peak of so many times the noise in a place that was emptied, as `level_for` has it: something was there."""
WORTH = 2.0
"""Largest rise of chi^2 per beam that was given up (Akaike 1974)."""


Convolve = Callable[[np.ndarray], np.ndarray]
"""An image [Jy/pixel] to its dirty image [Jy/beam], both (y, x) float32."""


class Tightened(NamedTuple):
    """A model on a smaller support.

    Parameters
    ----------
    update : (y, x) float32
        From the model before [Jy/pixel].
    residual : (y, x) float32
        After it, by the PSF [Jy/beam].
    level : float
        What was fainter is gone [Jy/beam].
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
) -> Tightened | None:
    """Empty the places of a model that the data do not need, and fit the rest.

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
    noise : float
        Of the dirty image [Jy/beam].
    allowed : (y, x) bool, optional
        The model is 0 elsewhere, and stays so.

    Returns
    -------
    Tightened or None
        None where nothing can go.
    """
    lobe = np.asarray(lobe, float)
    sigma = lobe / FWHM_PER_SIGMA
    beam = 2 * np.pi * sigma.prod()
    seen = np.abs(_smooth(model, sigma)) * np.float32(beam)
    before = [_smooth(residual, scale) for scale in SCALES]
    scatter = [max(noise_mad(image), 1e-30) for image in before]
    loudest = LOUDER * max(float(residual.std()), QUIET * noise)
    found, level = None, FIRST * noise
    while level < HIGHEST * seen.max():
        kept = scipy.ndimage.binary_dilation(seen > level, iterations=max(1, round(MARGIN * lobe.min())))
        if allowed is not None:
            kept &= allowed
        start = model if found is None else model + found.update
        if start[~kept].any():
            trial = _fit(model, residual, start, kept, convolve, FINEST * lobe, loudest / LOUDER)
            given_up = np.count_nonzero((seen > 0.5 * noise) & ~kept) / beam
            if (
                trial.residual.std() > loudest
                or _rise(trial.update, residual, trial.residual) > WORTH * given_up * noise**2
                or _stands_out(trial.residual, before, scatter, ~kept)
            ):
                break
            found = trial._replace(level=level)
        level *= FACTOR
    return found


def _fit(
    model: np.ndarray,
    residual: np.ndarray,
    start: np.ndarray,
    kept: np.ndarray,
    convolve: Convolve,
    finest: np.ndarray,
    target: float,
) -> Tightened:
    """The model cut to its support and fitted there, as a `Tightened` update from `model`."""
    weight = kept.astype(np.float32)
    cut = weight * start - model
    left = residual - convolve(cut)
    # The fit is A z = b for an image z that is smoothed, cut to the support, and seen by the array.
    gradient = _smooth(weight * left, finest)
    image, direction = np.zeros_like(gradient), gradient.copy()
    square = float(np.vdot(gradient, gradient))
    for _ in range(STEPS):
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
    """By how much chi^2 rises, over the sum of the weights: -2 <d, r> + <d, G d> for G d = before - after."""
    return -float(np.vdot(update.astype(np.float64), before.astype(np.float64) + after))


def _stands_out(
    residual: np.ndarray, before: Sequence[np.ndarray], scatter: Sequence[float], emptied: np.ndarray
) -> bool:
    """Whether something does, at some scale, where the model was emptied, and more than it did before."""
    most = level_for(residual.size, STANDS_OUT)
    for scale, image, noise in zip(SCALES, before, scatter, strict=True):
        now = _smooth(residual, scale)
        if now[emptied].max() > max(most * noise, float(image[emptied].max())):
            return True
    return False


def _smooth(image: np.ndarray, sigma: float | np.ndarray) -> np.ndarray:
    return scipy.ndimage.gaussian_filter(image, sigma, mode="constant", truncate=3)

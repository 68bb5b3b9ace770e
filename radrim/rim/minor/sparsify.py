"""Which part of a model the data ask for: haze goes, and its flux back to the sources it was taken from.

What an array did not measure well agrees with more than one sky. A network spreads over such places what it is unsure
of, some times the noise deep; a sidelobe of a galaxy, say, holds flux that the galaxy lacks. Of two models that explain
the data equally well, `tighten` takes the one that is empty in more places: all that is fainter than some level, seen
with the main lobe of the PSF, is taken out, and what remains is fitted again, by conjugate gradients of chi^2 on its
support alone. As long as nothing stands out of the residual where the model was emptied, and chi^2 rises by no more
than the freedom given up accounts for (Akaike 1974), the level is raised. Nothing new can appear beyond a margin around
what stays, and a source that the data do show comes back into the residual, which refuses the level.
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
    settings: SparsifySettings | None = None,
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
    settings : SparsifySettings, optional

    Returns
    -------
    Tightened or None
        None where nothing can go.
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
    """The model cut to its support and fitted there, as a `Tightened` update from `model`."""
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
    return Tightened(cut + weight * _smooth(image, finest), left, 0.0)


def _rise(update: np.ndarray, before: np.ndarray, after: np.ndarray) -> float:
    """By how much chi^2 rises, over the sum of the weights: -2 <d, r> + <d, G d> for G d = before - after."""
    return -float(np.vdot(update.astype(np.float64), before.astype(np.float64) + after))


def _stands_out(
    residual: np.ndarray, before: Sequence[np.ndarray], scatter: Sequence[float], emptied: np.ndarray, peak: float
) -> bool:
    """Whether something does, at some scale, where the model was emptied, and more than it did before."""
    most = level_for(residual.size, peak)
    for scale, image, noise in zip(SCALES, before, scatter, strict=True):
        now = _smooth(residual, scale)
        if now[emptied].max() > max(most * noise, float(image[emptied].max())):
            return True
    return False


def _smooth(image: np.ndarray, sigma: float | np.ndarray) -> np.ndarray:
    return scipy.ndimage.gaussian_filter(image, sigma, mode="constant", truncate=3)

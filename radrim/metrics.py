"""Scores: the noise of an image, its dynamic range, and how far an estimate is from the truth."""

import math

import numpy as np

from radrim.errors import DataError

MAD_TO_SIGMA = 1.482602218505602
"""1 / (normal quantile of 3/4): turns a median absolute deviation into a standard deviation."""

MAD_SAMPLES = 1 << 20
"""Pixels above which `noise_mad` takes a subsample; this many give sigma to 0.2 % (1.17 / sqrt(n), two sigma)."""


def noise_mad(image):
    """Noise of an image from the median absolute deviation, blind to the few pixels that hold sources.

    Above `MAD_SAMPLES` pixels only every k-th pixel in memory order counts, k the smallest step that leaves at most
    `MAD_SAMPLES` and shares no factor with the width: every column takes part, and the result is the same in each run.

    Parameters
    ----------
    image : (y, x) array
        Pixels that are not finite are left out.

    Returns
    -------
    float
        1.4826 x median(|image - median(image)|), in the image's unit.

    Raises
    ------
    DataError
        No pixel is finite.
    """
    flat = np.asarray(image).ravel()
    if flat.size > MAD_SAMPLES:
        step = -(-flat.size // MAD_SAMPLES)
        while math.gcd(step, np.shape(image)[-1]) > 1:
            step += 1
        flat = flat[::step]
    flat = flat[np.isfinite(flat)]
    if flat.size == 0:
        raise DataError("The noise cannot be measured: the image has no finite pixel.")
    return MAD_TO_SIGMA * float(np.median(np.abs(flat - np.median(flat))))


def dynamic_range(image, residual):
    """Largest |pixel| of the restored image over the noise (`noise_mad`) of the residual; infinite without noise."""
    noise = noise_mad(residual)
    peak = float(np.nanmax(np.abs(image)))
    return peak / noise if noise > 0 else math.inf


def snr_db(truth, estimate):
    """Signal-to-noise ratio of an estimate, 20 log10(|truth| / |truth - estimate|) [dB].

    Parameters
    ----------
    truth, estimate : arrays of one shape and unit

    Returns
    -------
    float
        +inf if they are equal.

    Raises
    ------
    ValueError
        The shapes differ, or the truth is 0 everywhere.
    """
    truth, estimate = np.asarray(truth, np.float64), np.asarray(estimate, np.float64)
    if truth.shape != estimate.shape:
        raise ValueError(f"truth has the shape {truth.shape}, the estimate {estimate.shape}; they must be equal")
    signal, error = np.linalg.norm(truth), np.linalg.norm(truth - estimate)
    if signal == 0:
        raise ValueError("the truth is 0 everywhere: a signal-to-noise ratio has no meaning")
    return float(20 * np.log10(signal / error)) if error > 0 else math.inf


def log_snr_db(truth, estimate, dynamic_range):
    """`snr_db` after x -> peak log_a(a x / peak + 1), a the dynamic range: faint structure counts as much as bright.

    Negative pixels count as 0. Method: Aghabiglou et al. (2024), arXiv:2403.05452.
    """
    truth, estimate = np.asarray(truth, np.float64), np.asarray(estimate, np.float64)
    peak = truth.max()
    if not (peak > 0 and dynamic_range > 1):
        raise ValueError(f"the truth's peak ({peak:g}) must be above 0, the dynamic range ({dynamic_range:g}) above 1")

    def compress(image):
        return peak * np.log1p(dynamic_range * image.clip(min=0) / peak) / np.log(dynamic_range)

    return snr_db(compress(truth), compress(estimate))

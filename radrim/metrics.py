"""Scores: the noise of an image, its dynamic range, and how far an estimate is from the truth."""

import math

import numpy as np

from radrim.errors import DataError

MAD_TO_SIGMA = 1.482602218505602
"""1 / (normal quantile of 3/4): turns a median absolute deviation into a standard deviation."""

MAD_SAMPLES = 1 << 20
"""Pixels above which `noise_mad` takes a subsample; this many give sigma to 0.2 % (1.17 / sqrt(n), two sigma)."""

SCATTER_SAMPLES = 4_000_000
"""Samples of a spectral window from which the noise is measured."""


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


def measured_scatter(blocks):
    """Noise of the data over that which the weights 1/sigma^2 promise.

    From the differences of neighbours, in time on one baseline or in channel, in which the sky cancels; where the sky
    changes from one to the next they are too large, so the smaller of both counts. Robust (median absolute
    deviation); NaN if there are no neighbours.

    Parameters
    ----------
    blocks : list of Visibilities
        With natural weights.
    """
    in_time, in_channel = [], []
    for block in blocks:
        order = np.lexsort((block.time, block.antenna[:, 1], block.antenna[:, 0]))
        order = order[: max(1, SCATTER_SAMPLES // len(block.freq))]
        same = (block.antenna[order[1:]] == block.antenna[order[:-1]]).all(1)
        data, weight = block.data[order], block.weight[order].astype(float)
        in_time.append(_differences(data[1:][same], data[:-1][same], weight[1:][same], weight[:-1][same]))
        in_channel.append(_differences(data[:, 1:], data[:, :-1], weight[:, 1:], weight[:, :-1]))
    spread = [noise_mad(score) for score in map(np.concatenate, (in_time, in_channel)) if score.size]
    return min(spread, default=float("nan"))


def _differences(a, b, weight_a, weight_b):
    """Real parts of the differences of unflagged samples, in units of what their weights promise."""
    both = (weight_a > 0) & (weight_b > 0)
    return (a - b)[both].real / np.sqrt(1 / weight_a[both] + 1 / weight_b[both])

"""Scores: noise of an image, dynamic range, and difference between an estimate and the truth."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from radrim.errors import DataError

MAD_TO_SIGMA = 1.482602218505602
"""1 / (normal quantile of 3/4): turns a median absolute deviation into a standard deviation."""


@dataclass(frozen=True)
class NoiseSettings:
    """How many pixels and samples the noise is measured from."""

    pixels: int = 1 << 20
    """Largest number of pixels that `noise_mad` uses: sigma is right to 0.2 % (1.17 / sqrt(n), two sigma)."""

    ranges: int = 6
    """Largest number of ranges of baseline length in which the scatter is measured."""

    range_samples: int = 1000
    """Least number of samples of a range of baseline length."""

    samples: int = 4_000_000
    """Largest number of samples of a spectral window that the scatter is measured from."""


class SampleBlock(Protocol):
    """Samples whose scatter can be measured; see `radrim.visibilities.Visibilities`."""

    time: np.ndarray
    antenna: np.ndarray
    freq: np.ndarray
    data: np.ndarray
    weight: np.ndarray

    @property
    def uv_length(self) -> np.ndarray:
        """Length of each row's (u, v), (row,) [m]."""


def sky_pixels(image: np.ndarray) -> np.ndarray:
    """Pixels of a residual that lie on the sky, (pixel,): those that are not exactly 0; all if all are.

    Operators give exactly 0 beyond the horizon, where no noise is, and noise is never exactly 0.
    """
    flat = np.asarray(image).ravel()
    seen = flat != 0
    return flat if seen.all() or not seen.any() else flat[seen]


def scatter(residual: np.ndarray) -> float:
    """Standard deviation of a residual above the horizon, in its unit; see `sky_pixels`."""
    return float(sky_pixels(residual).std())


def noise_mad(image: np.ndarray, settings: NoiseSettings = NoiseSettings()) -> float:
    """Noise of an image from the median absolute deviation, which the few pixels with sources hardly change.

    Of an image of more than `NoiseSettings.pixels` pixels only every k-th pixel in memory order counts. k is the
    smallest step that leaves at most that number and shares no factor with the width: every column takes part, and the
    result is the same in each run.

    Parameters
    ----------
    image : (y, x) array
        Pixels that are not finite are left out.
    settings : NoiseSettings

    Returns
    -------
    float
        ``1.4826 median(|image - median(image)|)``, in the image's unit.

    Raises
    ------
    DataError
        No pixel is finite.
    """
    flat = np.asarray(image).ravel()
    if flat.size > settings.pixels:
        step = -(-flat.size // settings.pixels)
        while math.gcd(step, np.shape(image)[-1]) > 1:
            step += 1
        flat = flat[::step]
    flat = flat[np.isfinite(flat)]
    if flat.size == 0:
        raise DataError("The noise cannot be measured: the image has no finite pixel.")
    return MAD_TO_SIGMA * float(np.median(np.abs(flat - np.median(flat))))


def residual_noise(residual: np.ndarray) -> float:
    """Noise (`noise_mad`) of an exact residual, or of a dirty image, above the horizon."""
    return noise_mad(sky_pixels(residual))


def dynamic_range(image: np.ndarray, residual: np.ndarray) -> float:
    """Largest ``|pixel|`` of the restored image over the noise (`noise_mad`) of the residual (infinite without)."""
    noise = residual_noise(residual)
    peak = float(np.nanmax(np.abs(image)))
    return peak / noise if noise > 0 else math.inf


def snr_db(truth: np.ndarray, estimate: np.ndarray) -> float:
    """Signal-to-noise ratio of an estimate, ``20 log10(|truth| / |truth - estimate|)`` [dB].

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


def log_snr_db(truth: np.ndarray, estimate: np.ndarray, dynamic_range: float) -> float:
    """`snr_db` after x -> peak log_a(a x / peak + 1), with a the dynamic range, which gives faint structure weight.

    Negative pixels count as 0. Method: Aghabiglou et al. (2024), arXiv:2403.05452.
    """
    truth, estimate = np.asarray(truth, np.float64), np.asarray(estimate, np.float64)
    peak = truth.max()
    if not (peak > 0 and dynamic_range > 1):
        raise ValueError(f"the truth's peak ({peak:g}) must be above 0, the dynamic range ({dynamic_range:g}) above 1")

    def compress(image):
        return peak * np.log1p(dynamic_range * image.clip(min=0) / peak) / np.log(dynamic_range)

    return snr_db(compress(truth), compress(estimate))


def measured_scatter(blocks: Iterable[SampleBlock], settings: NoiseSettings = NoiseSettings()) -> float:
    """Ratio of the noise of the data to the noise that the weights 1/sigma^2 imply.

    The mean of the two neighbours of a sample, in time on one baseline or in channel, is subtracted from the sample.
    The sky cancels where it changes linearly. Elsewhere, on baselines that see much of the sky, the result is too
    large. Therefore the smallest result counts, over several ranges of baseline length and both kinds of neighbours.
    The scatter is measured by the median absolute deviation; it is NaN if there are no neighbours.

    Parameters
    ----------
    blocks : iterable of Visibilities
        With natural weights.
    settings : NoiseSettings
    """
    in_time, in_channel = [], []
    for block in blocks:
        order = np.lexsort((block.time, block.antenna[:, 1], block.antenna[:, 0]))
        order = order[: max(1, settings.samples // len(block.freq))]
        antenna, length = block.antenna[order], block.uv_length[order]
        data, weight = block.data[order], block.weight[order].astype(float)
        for reach in (2, 1):  # two neighbours, or one where there are no more
            same = (antenna[reach:] == antenna[:-reach]).all(1)
            if same.any():
                parts = [slice(k, len(data) - reach + k) for k in range(reach + 1)]
                in_time.append(_left(*((data[p][same], weight[p][same]) for p in parts), length=length[reach:][same]))
                break
        channels = data.shape[1]
        if channels > 1:
            parts = [slice(k, channels - min(2, channels - 1) + k) for k in range(min(2, channels - 1) + 1)]
            in_channel.append(_left(*((data[:, p], weight[:, p]) for p in parts), length=length))
    spread = [
        level for scores in (in_time, in_channel) if scores for level in _levels(np.concatenate(scores, 1), settings)
    ]
    return min(spread, default=float("nan"))


def _left(*samples, length):
    """Baseline lengths, and samples less the mean of their neighbours, in units of the sigma of their weights.

    `samples` holds (data, weight) of the sample between its neighbours, or of the sample and one neighbour.
    """
    used = np.all([weight > 0 for _, weight in samples], axis=0)
    factors = (1, -1) if len(samples) == 2 else (0.5, -1, 0.5)
    rest = sum(factor * data[used] for factor, (data, _) in zip(factors, samples, strict=True))
    variance = sum(factor**2 / weight[used] for factor, (_, weight) in zip(factors, samples, strict=True))
    lengths = np.broadcast_to(length[:, None], used.shape)[used]
    return np.stack([lengths, rest.real / np.sqrt(variance)])


def _levels(scores, settings):
    """Robust standard deviations of the scores in ranges of baseline length."""
    scores = scores[:, np.argsort(scores[0], kind="stable")]
    count = max(1, min(settings.ranges, scores.shape[1] // settings.range_samples))
    return [noise_mad(part) for part in np.array_split(scores[1], count) if part.size]

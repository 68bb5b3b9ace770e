"""Images of the terms of a spectrum, polynomials of frequency, from those of its channels: `--spectral-terms`."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from radrim.deconvolve.judge import Cells
from radrim.measure.fit_quality import FitInspector
from radrim.measure.measurement import MeasuredChannel, judge_parts
from radrim.restore.spectrum import Basis


class SpectralMeasurement:
    """Measurement of the terms of a spectrum; like `Measurement`, but with images (term, y, x).

    Parameters
    ----------
    measurements : sequence of MeasuredChannel
        Measurements of the channels.
    basis : Basis
    """

    def __init__(self, measurements: Sequence[MeasuredChannel], basis: Basis):
        self.channels, self.basis = measurements, basis
        self.left_noise = float("nan")
        """Noise of the first term's dirty image [Jy/beam], which is the weighted mean of the channels' images."""
        self.noise_factor = 1.0

    def combine(self, images: Iterable[np.ndarray]) -> np.ndarray:
        """Images of the terms, (term, y, x) float32, from an iterable of the images of the channels.

        PSFs combine with the squares of the polynomials; see `combine_psf`.
        """
        return self._sum(images, self.basis)

    def combine_psf(self, psfs: Iterable[np.ndarray]) -> np.ndarray:
        """PSF of each term, peak 1, from those of the channels."""
        squares = dataclasses.replace(self.basis, values=self.basis.values**2)
        return self._sum(psfs, squares)

    def residual(self, model: np.ndarray, inspector: FitInspector | None = None) -> np.ndarray:
        """Exact residuals of the terms' models, all (term, y, x)."""
        found = self.combine(self.residual_of(number, model, inspector) for number in range(len(self.channels)))
        noise = [channel.sum_weight * channel.left_noise for channel in self.channels]
        self.left_noise = math.hypot(*noise) / sum(channel.sum_weight for channel in self.channels)
        return found

    def fitted(self) -> "SpectralMeasurement":
        """See `radrim.measure.measurement.Measurement.fitted`."""
        channels = [channel.fitted() for channel in self.channels]
        if all(one is channel for one, channel in zip(channels, self.channels, strict=True)):
            return self
        return SpectralMeasurement(channels, self.basis)

    def likelihood(self) -> "SpectralMeasurement":
        """Itself: terms are orthogonal with imaging weights alone."""
        return self

    def holdout_residual(self) -> list[np.ndarray]:
        """See `Measurement.holdout_residual`; the blocks of all channels."""
        return [block for channel in self.channels for block in channel.holdout_residual()]

    def judge(self, before: list[np.ndarray], after: list[np.ndarray]) -> Cells | None:
        """See `Measurement.judge`."""
        return judge_parts(self.channels, before, after)

    def watch(self, before: list[np.ndarray], after: list[np.ndarray]) -> Cells | None:
        """See `Measurement.watch`."""
        return judge_parts(self.channels, before, after, watched=True)

    def inspect(self, model: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
        """See `Measurement.inspect`."""
        inspector = FitInspector()
        return self.residual(model, inspector), inspector.summary()

    def residual_of(self, channel: int, model: np.ndarray, inspector: FitInspector | None = None) -> np.ndarray:
        """Exact residual of one channel, (y, x), for the terms' models."""
        return self.channels[channel].residual(self.basis.image(channel, model), inspector)

    @staticmethod
    def _sum(images: Iterable[np.ndarray], basis: Basis) -> np.ndarray:
        total = np.zeros((basis.values.shape[1], 1, 1))
        for number, image in enumerate(images):
            if not number:
                total = np.zeros((basis.values.shape[1], *image.shape))
            basis.add(number, image, total)
        return total.astype(np.float32)

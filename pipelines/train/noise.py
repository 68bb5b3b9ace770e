"""Noise that is not white, for the training of the denoiser: what the data step of plug and play leaves in an image."""

import math

import numpy as np
import torch

from radrim.rim.training.coverages import KINDS, draw_coverage

SIZE = 128


def draw_spectra(rng, count, layouts):
    """Transforms of PSFs and of the correlation of their noise, (count, 2, SIZE, SIZE // 2 + 1) float32, mean 1."""
    out = np.zeros((count, 2, SIZE, SIZE // 2 + 1), np.float32)
    kinds = sorted(KINDS)
    for spectra in out:
        cover = draw_coverage(rng, kinds[rng.integers(len(kinds))], layouts)
        reach = SIZE / 2 * math.exp(rng.uniform(math.log(0.3), math.log(1.35)))
        angle = rng.uniform(0, 2 * np.pi)
        u, v = (
            np.rint(reach * part).astype(int)
            for part in (
                cover.u * math.cos(angle) - cover.v * math.sin(angle),
                cover.u * math.sin(angle) + cover.v * math.cos(angle),
            )
        )
        inside = (np.abs(u) < SIZE // 2) & (np.abs(v) < SIZE // 2)
        natural = np.zeros((SIZE, SIZE))
        for sign in (1, -1):
            np.add.at(natural, (sign * v[inside], sign * u[inside]), cover.weight[inside])
        mean = (natural**2).sum() / natural.sum()
        factor = 1 / (1 + natural / mean * (0 if rng.random() < 0.4 else math.exp(rng.uniform(-1, 4))))
        for spectrum, power in zip(spectra, (natural * factor, natural * factor**2), strict=True):
            spectrum[:] = (power / power.mean())[:, : SIZE // 2 + 1]
    return out


class ColouredNoise:
    """Noise of the data step: a frequency of power T in the PSF has the power T / (T + ratio)^2, with a random ratio.

    Parameters
    ----------
    spectra : (count, 2, SIZE, SIZE // 2 + 1) float32
        See `draw_spectra`.
    """

    def __init__(self, spectra):
        self.transfers = torch.from_numpy(spectra[:, 0].copy())

    def draw(self, count, patch):
        """Images (count, 1, patch, patch) of unit standard deviation in the mean."""
        transfer = self.transfers[torch.randint(len(self.transfers), (count,))]
        ratio = 10 ** (torch.rand(count, 1, 1) * 3 - 2)
        shape = transfer.sqrt() / (transfer + ratio)
        white = torch.fft.rfft2(torch.randn(count, SIZE, SIZE))
        noise = torch.fft.irfft2(white * shape, s=(SIZE, SIZE))
        noise /= noise.square().mean((1, 2), keepdim=True).sqrt()
        return noise[:, None, :patch, :patch]

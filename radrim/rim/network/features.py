"""Input features of the networks: preconditioned gradients, compressed at several scales, without a flux unit.

Images are (batch, y, x), cubes (batch, chan, y, x). The gradients w_lambda are those of `radrim.rim.network.psf`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's documentation uses

from radrim.rim.network.psf import PsfConvolution
from radrim.rim.network.windows import Window

LAMBDAS = 2.0, 8.0, 30.0
"""Regularisation of the preconditioned gradients w_lambda (`radrim.rim.network.psf`), in units of the PSF's power."""
CELLS = 4, 16
"""Cell sizes [pixel] of the two local peaks among the features of prior and uncertainty; see `local_peak`."""
CELL = 8
"""Cell size of the local peak that compresses features [pixel]."""
ENVELOPE_CELL = 2
"""Cell size of the local peak that sets the amplitude of the free part of an update [pixel]."""
SINGLE = 1e-7
"""Smallest noise over the peak; below it float32 rounding dominates."""


@dataclass(frozen=True)
class Units:
    """Units of images and errors, the same for each tile of an image; (batch, 1, 1).

    Parameters
    ----------
    beam : Tensor
        Noise of the dirty image or of the residual [Jy/beam].
    pixel : Tensor
        Noise of the preconditioned gradient with the smallest lambda [Jy/pixel].
    """

    beam: torch.Tensor
    pixel: torch.Tensor


@dataclass(frozen=True)
class Scales:
    """Scales by which features are normalised: numbers of the whole image, the same for each of its tiles.

    Parameters
    ----------
    noise, peak : Tensor, (batch, [chan,] 1, 1)
        Of the residual [Jy/beam], before the first step.
    wiener_noise, wiener_peak : Tensor, (batch, lambda, [chan,] 1, 1)
        Noise of w_lambda, and its peak for a point source of `peak` [Jy/pixel].
    context : Tensor, (batch, 1 + 2 lambda, [chan,] 1, 1)
        The scales as features: log of peak over noise, and for each lambda the gains of a point and of noise.
    finest : Tensor, (batch, [chan,] 2)
        Standard deviation of the finest detail along y and x [pixel].
    """

    noise: torch.Tensor
    peak: torch.Tensor
    wiener_noise: torch.Tensor
    wiener_peak: torch.Tensor
    context: torch.Tensor
    finest: torch.Tensor


def measure_scales(
    psf: PsfConvolution,
    residual: torch.Tensor,
    lambdas: Sequence[float],
    noise: float | torch.Tensor,
    peak: float | torch.Tensor | None = None,
) -> Scales:
    """The `Scales` of a residual.

    Parameters
    ----------
    psf : PsfConvolution
    residual : Tensor, (batch, [chan,] y, x)
        [Jy/beam]
    lambdas : sequence of float
    noise, peak : float or Tensor, (batch,) or (batch, chan)
        Of the whole residual image [Jy/beam]; without `peak`, that of `residual`.
    """
    if peak is None:
        peak = residual.detach().abs().amax((-2, -1))
    tiny = torch.finfo(residual.dtype).tiny ** 0.5
    peak = _per_image(peak, residual).clamp_min(tiny)
    noise = torch.maximum(_per_image(noise, residual), SINGLE * peak)
    gains = [psf.gains(value) for value in lambdas]
    point = torch.stack([gain.expand_as(peak) for gain, _ in gains], 1)
    thermal = torch.stack([gain.expand_as(peak) for _, gain in gains], 1)
    context = torch.cat([torch.log10(peak / noise).unsqueeze(1) / 3, point, thermal], 1)
    finest = psf.finest().expand(*residual.shape[:-2], 2)
    return Scales(noise, peak, thermal * noise.unsqueeze(1), point * peak.unsqueeze(1), context, finest)


@dataclass(frozen=True)
class StepImages:
    """Images from which a step of the network starts, of a whole image or of a tile.

    Parameters
    ----------
    wiener : Tensor, (batch, lambda, [chan,] y, x)
        [Jy/pixel]
    residual : Tensor, (batch, [chan,] y, x)
        [Jy/beam]
    estimate : Tensor, (batch, [chan,] y, x)
        [Jy/pixel]
    scales : Scales
    """

    wiener: torch.Tensor
    residual: torch.Tensor
    estimate: torch.Tensor
    scales: Scales

    def cut(self, window: Window) -> "StepImages":
        """The images in a window; the scales stay those of the whole image."""
        part = (..., *window)
        return StepImages(self.wiener[part], self.residual[part], self.estimate[part], self.scales)


def feature_count(lambdas: Sequence[float]) -> int:
    """Number of channels of `features`."""
    return 4 * len(lambdas) + 6


def features(images: StepImages) -> torch.Tensor:
    """Features of a step, all of order 1, (batch, feature, [chan,] y, x).

    Each w_lambda is compressed by asinh relative to three scales: its noise, the peak of the image, and its local peak.
    With one scale for the whole image, fainter sources would be negligible beside the brightest one. Features depend on
    pixels at most ``4 * CELL - 1`` away.
    """
    scales, residual, estimate = images.scales, images.residual, images.estimate
    peaks = point_sources(residual)
    channels = [
        asinh(residual / scales.noise) / 3,
        asinh(100 * residual / scales.peak) / 5,
        asinh(peaks / scales.noise) / 3,
        asinh(4 * peaks / torch.hypot(local_peak(residual, CELL), scales.noise)) / 2,
    ]
    for k in range(images.wiener.shape[1]):
        image, noise = images.wiener[:, k], scales.wiener_noise[:, k]
        local = torch.hypot(local_peak(image, CELL), noise.expand_as(image))
        if k == 0:
            channels += [asinh(estimate / noise) / 3, asinh(4 * estimate / local) / 2]
        channels += [
            asinh(image / noise) / 3,
            asinh(100 * image / scales.wiener_peak[:, k]) / 5,
            asinh(4 * image / local) / 2,
            torch.log10(local / noise) / 2,
        ]
    last = torch.channels_last_3d if residual.ndim == 4 else torch.channels_last
    return torch.stack(channels, 1).contiguous(memory_format=last)


def point_sources(residual: torch.Tensor) -> torch.Tensor:
    """Point sources at the peaks of a residual, with the flux of the peak; 0 elsewhere.

    The dirty image of a point source of 1 Jy/pixel has a peak of 1 Jy/beam. Peaks are pixels whose neighbours are
    closer to 0.

    Parameters
    ----------
    residual : Tensor, (..., y, x)
        [Jy/beam]

    Returns
    -------
    Tensor, (..., y, x)
        [Jy/pixel]
    """
    size = residual.abs()
    return torch.where(size == highest_around(size), residual, 0)


def envelope(images: StepImages) -> torch.Tensor:
    """Amplitude of the free part of an update [Jy/pixel], (batch, [chan,] y, x): the local peak of the mean w_lambda.

    It depends on pixels at most ``4 * ENVELOPE_CELL - 1`` away.
    """
    return local_peak(images.wiener.mean(1), ENVELOPE_CELL)


def local_peak(image: torch.Tensor, cell: int) -> torch.Tensor:
    """Smooth image of the local maximum of |image|: maxima over cells and their neighbours, averaged and interpolated.

    Parameters
    ----------
    image : Tensor, (..., y, x)
    cell : int
        Pixels per cell along each axis; cells are counted from the image's corner.

    Returns
    -------
    Tensor, (..., y, x)
        Depends on pixels at most ``4 * cell - 1`` away along each axis.
    """
    ny, nx = image.shape[-2:]
    cells = highest_in_cells(image.abs().reshape(-1, 1, ny, nx), cell)
    cells = F.avg_pool2d(highest_around(cells), 3, 1, 1, count_include_pad=False)
    smooth = F.interpolate(cells, scale_factor=cell, mode="bilinear", align_corners=False)
    return smooth[..., :ny, :nx].reshape(image.shape)


def highest_in_cells(image: torch.Tensor, cell: int) -> torch.Tensor:
    """Maximum over each cell of `cell` x `cell` pixels, (..., cells, cells), of an image (..., y, x) without negatives.

    Like `highest_around`, it is many times faster on CPUs than max_pool2d, which also finds the places of the maxima.
    """
    ny, nx = image.shape[-2:]
    whole = F.pad(image, (0, -nx % cell, 0, -ny % cell))
    return whole.unflatten(-2, (-1, cell)).amax(-2).unflatten(-1, (-1, cell)).amax(-1)


def highest_around(image: torch.Tensor) -> torch.Tensor:
    """Maximum of each pixel and its eight neighbours, (..., y, x), of an image without negatives."""
    for axis in (-1, -2):
        size = image.shape[axis]
        wide = F.pad(image, (1, 1) if axis == -1 else (0, 0, 1, 1))
        image = torch.maximum(image, torch.maximum(wide.narrow(axis, 0, size), wide.narrow(axis, 2, size)))
    return image


def asinh(value: torch.Tensor) -> torch.Tensor:
    """The inverse hyperbolic sine, faster than torch.asinh on CPUs."""
    return _Asinh.apply(value)


class _Asinh(torch.autograd.Function):
    """As exact as torch.asinh, in about half of its time on CPUs."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(value)
        size = value.abs()
        square = size * size
        root = (square + 1).sqrt_()  # in place: allocating memory takes as long as the arithmetic
        return square.div_(root.add_(1)).add_(size).log1p_().copysign_(value)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        (value,) = ctx.saved_tensors
        return grad * torch.rsqrt(value * value + 1)


def _per_image(value: float | torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """A number for each image, or for each channel of a cube, as (batch, [chan,] 1, 1)."""
    value = torch.as_tensor(value, dtype=image.dtype, device=image.device)
    value = value.reshape(value.shape + (1,) * (image.ndim - value.ndim))
    return value.expand(*image.shape[:-2], 1, 1)

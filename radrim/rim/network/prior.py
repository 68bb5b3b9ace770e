"""The prior update: combines a deconvolved model, a learned prior of skies and the data to the most probable sky.

The data do not constrain spatial frequencies that the array did not measure. Models have artefacts there: faint lobes
broken into ripples narrower than the beam, and spurious extended emission along sidelobes. A network trained on
deconvolved simulated skies predicts a normal distribution for each pixel of the sky, with mean m and standard deviation
w [Jy/pixel]. With thermal noise s, dirty image D and convolution G with the PSF, the most probable sky, which is also
the mean of the posterior, is

    x = m + W z,    (W G W + s^2) z = W (D - G m),    W = diag(w),

`most_probable_sky` solves these equations by conjugate gradients. The data determine the sky where they constrain it,
and the prior elsewhere. Empty parts of a model stay empty. The change of the model is smoothed, as in the minor cycles,
since simulated skies consist of pixels and real skies do not. The network is trained through these conjugate gradients
(as MoDL, Aggarwal et al. 2019, IEEE TMI 38, 394), on the error of their result in decibels.
"""

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's documentation uses
from torch import nn

from radrim.errors import ConfigError
from radrim.geometry import FWHM_PER_SIGMA
from radrim.rim.network.blocks import UNet
from radrim.rim.network.features import CELL, CELLS, LAMBDAS, SINGLE, Units, asinh, local_peak
from radrim.rim.network.psf import TAPS, PsfConvolution, SmoothConvolution, blur, inner_products
from radrim.rim.network.windows import Window, bounding_region, cover, dilate, tiles, widen, within

STEPS = 160
"""Largest number of conjugate gradient steps in imaging."""
TOLERANCE = 1e-4
"""Norm of the equations' residual, over the initial one, at which conjugate gradients stop."""
SHIFT = 5.0
"""Largest change of a pixel's mean, in asinh of the brightness in units of the noise."""
SPREAD = 0.05
"""Standard deviation over mean if the network's output is 0."""
SPREAD_RANGE = 6.0
"""Largest change of the logarithm of the standard deviation by the network's output."""
LEAST = 0.1
"""Brightness in units of the noise, added to each pixel's before its standard deviation follows from it."""
NEAR = 1.5
"""Largest residual rms, in units of the noise, of the models in training and in the prior update."""
EMPTY = 0.03
"""Brightness near a pixel, in units of the noise, at which the largest change of the pixel is half of that in bright
emission."""
AGILE = 4.0
"""Factor between the network's last layer and its output; with 1 the network would learn slowly."""
HELD = 0.5
"""Fraction of a pixel's flux from points or CLEAN components above which the prior update does not change the pixel."""
ALIGNMENT = 16
"""Tiles begin at multiples of this number of pixels, so that the result does not depend on them."""
FAINT = 4.0
"""Flux of the model per beam, in units of the noise, of which `smooth_faint` smooths one half. It smooths a larger part
of fainter emission."""
COARSE = 1, 2
"""Widths n of the smoothing in beams, applied one after the other; for width n the level is `FAINT` / n^2."""
TINY = 1e-20
"""Lower limit of denominators."""
TILE = 1024
"""Largest side of the tiles of the network, without their halo [pixel]."""
FEATURES = 15 + 2 * len(LAMBDAS) + 2


Array = TypeVar("Array", np.ndarray, torch.Tensor)


@dataclass(frozen=True)
class PriorConfig:
    """The architecture; stored with every checkpoint.

    Parameters
    ----------
    widths : tuple of int
        Channels of the levels of the U-Net; the first level has cells of 2 x 2 pixels.
    """

    widths: tuple[int, ...] = (48, 64, 96, 128)

    def __post_init__(self) -> None:
        if not 1 <= len(self.widths) <= 4 or min(self.widths) < 1:
            raise ConfigError(f"widths = {list(self.widths)} of a prior must be one to four numbers from 1 on.")


class Prior(nn.Module):
    """The network of the prior update.

    Parameters
    ----------
    config : PriorConfig
    """

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.config = config
        self.unet = UNet(2, 4 * FEATURES, 8, config.widths)

    @property
    def reach(self) -> int:
        """Distance from an output to the farthest pixel of the images that it depends on, through `see` [pixel]."""
        return 2 * self.unet.reach + 1 + 4 * max(CELLS) - 1

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Outputs (batch, 2, y, x) for features (batch, feature, y, x); y and x even. `expect` converts the outputs."""
        ny, nx = features.shape[-2:]
        size = 2 * self.unet.alignment
        # A 2 x 2 convolution replaces the 1 x 1 convolution of cells of 2 x 2 pixels, to avoid a copy of all features.
        first = self.unet.first
        kernel = first.weight().reshape(-1, FEATURES, 2, 2)
        state = F.conv2d(F.pad(features, (0, -nx % size, 0, -ny % size)), kernel, first.bias, 2)
        answers = self.unet.levels(state.contiguous(memory_format=torch.channels_last))
        return AGILE * F.pixel_shuffle(answers, 2)[..., :ny, :nx].float()


@dataclass(frozen=True)
class GradientUnits(Units):
    """Units of the images of a deconvolution; `beam` is the thermal noise of the dirty image.

    Parameters
    ----------
    gradients : Tensor, (batch, lambda, 1, 1)
        Noise of each preconditioned gradient [Jy/pixel].
    facts : Tensor, (batch, fact, 1, 1)
        Gains of the preconditioned gradients, logarithms of dynamic range and area of the main lobe.
    """

    gradients: torch.Tensor
    facts: torch.Tensor


@dataclass(frozen=True)
class Finished:
    """Result of a deconvolution, of a whole image or of a tile.

    Parameters
    ----------
    model : Tensor, (batch, y, x)
        [Jy/pixel]
    residual : Tensor, (batch, y, x)
        [Jy/beam]
    gradients : Tensor, (batch, lambda, y, x)
        Preconditioned gradients of the residual [Jy/pixel].
    measured : Tensor, (batch, lambda, y, x)
        Wiener-filtered model [Jy/pixel]; its difference to the model is poorly constrained by the data.
    units : GradientUnits
    """

    model: torch.Tensor
    residual: torch.Tensor
    gradients: torch.Tensor
    measured: torch.Tensor
    units: GradientUnits

    def cut(self, window: Window) -> "Finished":
        """The images in a window."""
        part = (..., *window)
        return Finished(self.model[part], self.residual[part], self.gradients[part], self.measured[part], self.units)


def held_back(model: Array, others: Array) -> Array:
    """Pixels that the prior update does not change, since most of their flux comes from other solvers.

    Parameters
    ----------
    model : (y, x) array
        [Jy/pixel]
    others : (y, x) array
        Part of the model from other solvers, such as isolated points, whose fits are exact [Jy/pixel].
    """
    return abs(others) > HELD * abs(model)


def make_finished(
    model: torch.Tensor, residual: torch.Tensor, convolution: PsfConvolution, noise: torch.Tensor
) -> Finished:
    """The `Finished` for a model (batch, y, x) [Jy/pixel], its residual (batch, y, x) and noise (batch,) [Jy/beam]."""
    noise = noise.view(-1, 1, 1)
    gains = [convolution.gains(value) for value in LAMBDAS]
    one = torch.ones_like(noise)
    gradients = torch.stack([gain * noise for _, gain in gains], 1)
    pixel = gains[0][1] * torch.maximum(noise, SINGLE * residual.abs().amax((-2, -1), keepdim=True))
    peak = model.abs().amax((-2, -1), keepdim=True)
    area = torch.log10(convolution.widths().prod(-1)).view(-1, 1, 1)
    facts = [*(gain for pair in gains for gain in pair), torch.log10(peak / pixel + 1) / 3, area]
    return Finished(
        model,
        residual,
        convolution.wiener(residual, LAMBDAS),
        convolution.wiener(convolution.normal(model), LAMBDAS),
        GradientUnits(noise, pixel, gradients, torch.stack([fact * one for fact in facts], 1)),
    )


def see(finished: Finished) -> torch.Tensor:
    """Input features of the network, (batch, feature, y, x), all of order 1 and without a flux unit."""
    x, units = finished.model, finished.units
    pixel = units.pixel
    local = torch.hypot(local_peak(x, CELL), pixel.expand_as(x))
    unseen = x[:, None] - finished.measured
    sharp = x - _mean(x, 3)
    channels = [
        asinh(x / pixel) / 3,
        asinh(sharp / pixel) / 3,
        asinh(4 * x / local) / 2,
        asinh(4 * sharp / local) / 2,
        asinh(finished.residual / units.beam) / 3,
        *(asinh(finished.gradients / units.gradients) / 3).unbind(1),
        *(asinh(unseen / pixel[:, None]) / 3).unbind(1),
        asinh(4 * unseen[:, 0] / local) / 2,
        asinh(_mean(x, 5) / pixel) / 3,
        *(torch.log10(torch.hypot(local_peak(x, cell), pixel.expand_as(x)) / pixel) / 2 for cell in CELLS),
        *(fact.expand_as(x) for fact in units.facts.unbind(1)),
    ]
    return torch.stack(channels, 1)


def expect(answers: torch.Tensor, model: torch.Tensor, pixel: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The prior of a sky: mean and standard deviation of each pixel, (batch, y, x) [Jy/pixel].

    Parameters
    ----------
    answers : Tensor, (batch, 2, y, x)
        Outputs of a `Prior`. For outputs of 0 the mean is the model itself.
    model : Tensor, (batch, y, x)
        [Jy/pixel]
    pixel : Tensor, (batch, 1, 1)
        `Units.pixel`.
    """
    shift, spread = answers.unbind(1)
    # Without emission nearby the mean cannot change: an empty sky stays empty.
    nearby = pixel * torch.sinh(_mean(_mean(asinh(model.abs() / pixel), 5), 5))
    there = nearby / (nearby + EMPTY * pixel)
    mean = pixel * torch.sinh(asinh(model / pixel) + SHIFT * torch.tanh(shift / SHIFT) * there)
    factor = SPREAD * torch.exp(SPREAD_RANGE * torch.tanh(spread / SPREAD_RANGE))
    return mean, factor * (mean.abs() + LEAST * pixel * there)


def most_probable_sky(
    mean: torch.Tensor,
    spread: torch.Tensor,
    model: torch.Tensor,
    residual: torch.Tensor,
    convolution: PsfConvolution,
    noise: torch.Tensor,
    steps: int = STEPS,
) -> torch.Tensor:
    """The most probable sky under prior and data.

    The change of the model is smoothed by S, the finest detail of updates, so that G becomes S G S.

    Parameters
    ----------
    mean, spread : Tensor, (batch, y, x)
        The prior [Jy/pixel].
    model, residual : Tensor, (batch, y, x)
        The model [Jy/pixel] and its residual [Jy/beam].
    convolution : PsfConvolution
    noise : Tensor, (batch, 1, 1)
        Thermal noise [Jy/beam].
    steps : int
        Largest number of conjugate gradient steps; they start from the mean of the prior.

    Returns
    -------
    Tensor, (batch, y, x)
        [Jy/pixel]
    """
    smooth, change = SmoothConvolution(convolution), mean - model
    weight = spread / noise
    gradient = weight * (smooth.smooth(residual) - smooth.normal(change)) / noise
    found, direction, square = torch.zeros_like(gradient), gradient, inner_products(gradient, gradient)
    enough = TOLERANCE**2 * square
    for _ in range(steps):
        product = torch.addcmul(direction, weight, smooth.normal(weight * direction))
        length = square / inner_products(direction, product).clamp_min(TINY)
        found = torch.addcmul(found, length, direction)
        gradient = torch.addcmul(gradient, length, product, value=-1)
        square, last = inner_products(gradient, gradient), square
        if (square <= enough).all():
            break
        direction = torch.addcmul(gradient, square / last.clamp_min(TINY), direction)
    return model + smooth.smooth(change + spread * found)


@torch.inference_mode()
def update_by_prior(
    network: Prior,
    model: torch.Tensor,
    residual: torch.Tensor,
    convolution: PsfConvolution,
    noise: float,
    tile: int = TILE,
    allowed: torch.Tensor | None = None,
    steps: int = STEPS,
) -> torch.Tensor:
    """One round of the prior update of a finished model: `predict_sky`, then `combine`.

    Parameters
    ----------
    network : Prior
    model, residual : Tensor, (y, x)
        [Jy/pixel], [Jy/beam]
    convolution : PsfConvolution
    noise : float
        Thermal noise of the dirty image [Jy/beam].
    tile : int
        Largest tile of the network along y and x, without its halo [pixel].
    allowed : Tensor, (y, x) bool, optional
        Where the model may change.
    steps : int
        Largest number of conjugate gradient steps.

    Returns
    -------
    Tensor, (y, x)
        [Jy/pixel]
    """
    mean, spread = predict_sky(network, model, residual, convolution, noise, tile, allowed)
    return combine(mean, spread, model, residual, convolution, noise, allowed, steps)


@torch.inference_mode()
def predict_sky(
    network: Prior,
    model: torch.Tensor,
    residual: torch.Tensor,
    convolution: PsfConvolution,
    noise: float,
    tile: int = TILE,
    allowed: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of the sky by the network, (y, x) [Jy/pixel]; parameters as `update_by_prior`."""
    thermal = torch.full((1,), float(noise), device=model.device)
    finished = make_finished(model[None], residual[None], convolution, thermal)
    mean, spread = model[None].clone(), torch.zeros_like(model[None])
    size, halo = max(1, tile // ALIGNMENT) * ALIGNMENT, math.ceil(network.reach / ALIGNMENT) * ALIGNMENT
    shape = ny, nx = model.shape
    cores = [core for part, _, _ in tiles((ny, nx), size, halo) for core in cover(model != 0, part, halo, ALIGNMENT)]
    for core in cores:
        outer = widen(core, halo, shape)
        part = finished.cut(outer)
        answers = _answer(network, see(part))
        for image, found in zip((mean, spread), expect(answers, part.model, part.units.pixel), strict=True):
            image[(..., *core)] = found[(..., *within(core, outer))]
    if allowed is not None:
        mean, spread = torch.where(allowed, mean, model), spread * allowed
    return mean[0], spread[0]


@torch.inference_mode()
def combine(
    mean: torch.Tensor,
    spread: torch.Tensor,
    model: torch.Tensor,
    residual: torch.Tensor,
    convolution: PsfConvolution,
    noise: float,
    allowed: torch.Tensor | None = None,
    steps: int = STEPS,
) -> torch.Tensor:
    """The most probable sky (y, x) under data and prior; it differs from the model only where the prior does.

    Parameters
    ----------
    mean, spread : Tensor, (y, x)
        From `predict_sky` [Jy/pixel].
    model, residual, convolution, noise, allowed, steps
        As `update_by_prior`.
    """
    # The smoothing extends `TAPS` pixels. Beyond them the change consists of rounding errors of the Fourier transforms.
    differs = (mean != model) | (spread > 0)
    if not differs.any():
        return model
    window = widen(bounding_region(differs), 2 * TAPS, model.shape)
    touched = dilate(differs[window][None], TAPS)
    mean, spread, before, left = (image[None][(..., *window)] for image in (mean, spread, model, residual))
    thermal = torch.full((1, 1, 1), float(noise), device=model.device)
    narrow = convolution.narrowed(before.shape[-2:])
    found = most_probable_sky(mean, spread, before, left, narrow, thermal, steps)
    if allowed is not None:
        touched &= allowed[window]
    result = model.clone()
    result[window] = torch.where(touched, found, before)[0]
    return result


@torch.inference_mode()
def smooth_faint(
    model: torch.Tensor, convolution: PsfConvolution, noise: float, allowed: torch.Tensor | None = None
) -> torch.Tensor:
    """Smooth faint emission of a model to the beam, and fainter emission to twice the beam.

    The data do not constrain the detail of emission near the noise, where models have single pixels of both signs. The
    smoothing moves flux by about a beam. Bright emission does not change.

    Parameters
    ----------
    model : Tensor, (y, x)
        [Jy/pixel]
    convolution : PsfConvolution
    noise : float
        Thermal noise of the dirty image [Jy/beam].
    allowed : Tensor, (y, x) bool, optional
        Where the model may change.

    Returns
    -------
    Tensor, (y, x)
        [Jy/pixel]
    """
    if not (model != 0).any():
        return model
    beam = convolution.widths() / FWHM_PER_SIGMA
    area = 2 * math.pi * float(beam.prod())
    reach = math.ceil(3 * COARSE[-1] * float(beam.max()))
    # All emission, and all that may change, lies in this window: an empty sky around it costs nothing.
    window = widen(bounding_region(model != 0), reach, model.shape)
    part_of_sky = model[window]
    near = dilate(part_of_sky != 0, reach)
    if allowed is not None:
        near &= allowed[window]
    for scale in COARSE:
        sigma = scale * beam
        level = FAINT / scale**2 * noise / area
        part = part_of_sky / (1 + (blur(part_of_sky, sigma) / level) ** 2)
        part = torch.where(near, part, 0)
        part_of_sky = part_of_sky - part + torch.where(near, blur(part, sigma), 0)
    result = model.clone()
    result[window] = part_of_sky
    return result


def _answer(network: Prior, features: torch.Tensor) -> torch.Tensor:
    """Mean of the outputs for an image and for the same image turned by 180 degrees, whose errors differ."""
    ny, nx = features.shape[-2:]
    seen = F.pad(features, (0, -nx % ALIGNMENT, 0, -ny % ALIGNMENT))
    return ((network(seen) + network(seen.flip((-2, -1))).flip((-2, -1))) / 2)[..., :ny, :nx]


def _mean(image: torch.Tensor, size: int) -> torch.Tensor:
    """Mean over a box of `size` x `size` pixels around each pixel."""
    return F.avg_pool2d(image[:, None], size, 1, size // 2, count_include_pad=False)[:, 0]

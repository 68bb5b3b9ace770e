"""Plug and play: a denoiser and the data improve a model by turns.

With thermal noise s, dirty image D, convolution G with the PSF, and a denoiser that is told a noise n, each turn takes

    z = denoiser(x; n),    x = argmin <x - z, x - z> / n^2 + <x, G x - 2 D> / (c s^2),

and n falls from turn to turn (half-quadratic splitting). The second step is exact: conjugate gradients. It keeps
frequencies that the array has measured, and takes those that it has not from the denoiser. Both steps work on the
change of the model, so that the residual may come from exact visibilities.

References
----------
Zhang et al. (2022), IEEE TPAMI 44, 6360.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's documentation uses

from radrim.geometry import FWHM_PER_SIGMA
from radrim.rim.network.denoiser import Denoiser
from radrim.rim.network.precision import has_fast_bfloat16
from radrim.rim.network.psf import PsfConvolution, inner_product
from radrim.rim.network.windows import bounding_region, dilate


@dataclass(frozen=True)
class PlugAndPlaySettings:
    """How plug and play goes on from a finished model."""

    first: float = 30.0
    """Noise that the denoiser is told in the first turn [Jy/pixel], over the noise of the dirty image [Jy/beam]. The
    larger it is, the more of what no baseline measured is made anew; much larger values are unstable where baselines
    measured little."""
    last: float = 0.05
    """The same in the last turn."""
    turns: int = 20
    """Number of turns."""
    momentum: float = 0.6
    """How far the data step starts ahead of the denoised model, in the first turn, over the change that the denoiser
    made since the turn before; it falls to 0 in the last turn. What no baseline measured comes from the denoiser alone,
    a little in each turn: momentum makes up for twice the number of turns."""
    data_weight: float = 3.0
    """c: thermal variance that the data step counts with, over that of the data. The data step then leaves a fifth of
    the noise that the denoiser is told, and more where no baseline measured: it was trained with such images. With 1
    noise is fitted, with 8 detail is lost."""
    everywhere: bool = False
    """Whether the whole image changes, not only emission and what is near it. An array that does not measure the mean
    level may then fill an empty sky."""
    max_steps: int = 30
    """Largest number of conjugate gradient steps of a turn."""
    tolerance: float = 1e-2
    """Norm of the equations' residual, over the initial one, at which conjugate gradients stop."""
    closing_first: float = 1.0
    """`first` where the model of a finished run is fitted to further samples."""
    closing_turns: int = 5
    """`turns` of this fit."""
    min_flux: float = 3.0
    """Flux of the model per beam from which there is emission, in units of the noise; elsewhere the model stays."""
    min_peak: float = 5.0
    """Residual from which there is emission while the model is empty, in units of the noise."""
    reach: float = 1.0
    """Distance by which this region reaches beyond the emission, in widths of the PSF's main lobe."""
    tile: int = 1024
    """Largest side of the tiles of the network, without their halo [pixel]."""
    halo: int = 128
    """Pixels that a tile of the network sees around its own part."""

    def closing(self) -> "PlugAndPlaySettings":
        """Settings that fit a finished model to further samples."""
        return replace(self, first=self.closing_first, turns=self.closing_turns)

    def __str__(self) -> str:
        return "plug and play" + (" everywhere" if self.everywhere else "") + f", strength {self.data_weight:g}"


@torch.inference_mode()
def plug_and_play(
    network: Denoiser,
    model: torch.Tensor,
    residual: torch.Tensor,
    convolution: PsfConvolution,
    noise: float,
    settings: PlugAndPlaySettings = PlugAndPlaySettings(),
    allowed: torch.Tensor | None = None,
) -> torch.Tensor:
    """Improve a model by turns of denoiser and data.

    Parameters
    ----------
    network : Denoiser
    model, residual : Tensor, (y, x)
        [Jy/pixel], [Jy/beam]
    convolution : PsfConvolution
    noise : float
        Thermal noise of the dirty image [Jy/beam].
    settings : PlugAndPlaySettings
    allowed : Tensor, (y, x) bool, optional
        Where the model may change.

    Returns
    -------
    Tensor, (y, x)
        The last denoised model, without negative pixels where there is emission [Jy/pixel].
    """
    inside = region(model, residual, convolution, noise, settings)
    if allowed is not None:
        inside &= allowed
    if not inside.any():
        return model
    window = bounding_region(inside)
    narrow = convolution.narrowed(inside[window].shape)
    inside, before = inside[window], model[window]
    dirty = residual[window] + narrow.normal(before)
    variance = settings.data_weight * noise**2
    x = z = ahead = before
    levels = noise * np.geomspace(settings.first, settings.last, settings.turns)
    momenta = np.linspace(settings.momentum, 0, settings.turns)
    for turn, (level, momentum) in enumerate(zip(levels, momenta, strict=True)):
        ratio = variance / level**2
        x = _data_step(x, ahead, dirty, narrow, ratio, settings)
        seen = narrow.measured(x, ratio) if network.config.seen else None
        last, z = z, torch.where(inside, _denoised(network, x, seen, float(level), turn, settings), before)
        ahead = z + float(momentum) * (z - last)
    result = model.clone()
    result[window] = torch.where(inside, z.clamp_min(0), before)
    return result


def region(
    model: torch.Tensor,
    residual: torch.Tensor,
    convolution: PsfConvolution,
    noise: float,
    settings: PlugAndPlaySettings,
) -> torch.Tensor:
    """Where plug and play may change a model (y, x), bool: at emission and near it, or everywhere.

    The emission of an empty model is that of its residual.
    """
    if settings.everywhere:
        return torch.ones_like(model, dtype=torch.bool)
    beam = convolution.widths()
    area = 2 * math.pi * float(beam.prod()) / FWHM_PER_SIGMA**2
    seen = convolution.blur(model, beam / FWHM_PER_SIGMA) * area > settings.min_flux * noise
    if not model.any():
        seen = residual > settings.min_peak * noise
    reach = math.ceil(settings.reach * float(beam.max()))
    return dilate(seen, reach)


def _data_step(x, z, dirty, convolution, ratio, settings):
    """Solve (G + ratio) x = dirty + ratio z, from x on, by conjugate gradients.

    The inverse of (G + ratio) on a sky without edges is close to that on the image, and preconditions them.
    """
    left = dirty - convolution.normal(x) - ratio * (x - z)
    enough = settings.tolerance**2 * inner_product(left, left)
    inverse = (convolution.power + ratio).reciprocal_()
    step = direction = convolution.filtered(left, inverse)
    fall = inner_product(left, step)
    x = x.clone()
    for _ in range(settings.max_steps):
        if not inner_product(left, left) > enough:
            break
        product = convolution.normal(direction).add_(direction, alpha=ratio)
        length = fall / inner_product(direction, product)
        x.add_(direction, alpha=length)
        left.sub_(product, alpha=length)
        step = convolution.filtered(left, inverse)
        fall, last = inner_product(left, step), fall
        direction = step.add_(direction, alpha=fall / last)
    return x


TURNED: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-2, -1))
"""Axes along which the image is mirrored, one turn after the other: the errors of the network then do not add up."""


def _denoised(network, image, seen, noise, turn, settings):
    """The denoised image, tile by tile."""
    axes = TURNED[turn % len(TURNED)]
    planes = torch.stack([image / noise] if seen is None else [image / noise, seen / noise])
    planes = planes.flip(axes) if axes else planes
    ny, nx = image.shape
    out = torch.empty_like(image)
    for y in range(0, ny, settings.tile):
        for x in range(0, nx, settings.tile):
            core = slice(y, min(y + settings.tile, ny)), slice(x, min(x + settings.tile, nx))
            outer = tuple(
                slice(max(0, c.start - settings.halo), min(n, c.stop + settings.halo))
                for c, n in zip(core, (ny, nx), strict=True)
            )
            part = planes[:, outer[0], outer[1]]
            pad = (0, -part.shape[2] % network.alignment, 0, -part.shape[1] % network.alignment)
            padded = F.pad(part[:, None], pad, mode="replicate").to(memory_format=torch.channels_last)
            with torch.autocast(image.device.type, torch.bfloat16, enabled=has_fast_bfloat16(image.device)):
                found = network(*padded[:, None].unbind(0))[0, 0]
            inside = tuple(slice(c.start - o.start, c.stop - o.start) for c, o in zip(core, outer, strict=True))
            out[core] = found[inside]
    return noise * (out.flip(axes) if axes else out)

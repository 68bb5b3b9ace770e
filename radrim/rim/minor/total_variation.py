"""Total variation: the model of lowest chi^2 whose neighbouring pixels differ little.

With thermal noise s, dirty image D and convolution G with the PSF, the model x minimises

    <x, G x - 2 D> / (2 s^2) + strength * sum |grad x| / s,

by proximal gradients with momentum (FISTA). The corner of |grad x| at 0 is rounded. Skies of Stokes I have no
negative pixels. Nothing is learned: it is the
plainest method for extended emission.

References
----------
Rudin, Osher & Fatemi (1992), Physica D 60, 259. Beck & Teboulle (2009), SIAM J. Imaging Sci. 2, 183.
"""

import math
from dataclasses import dataclass

import torch

from radrim.rim.network.psf import PsfConvolution


@dataclass(frozen=True)
class TotalVariationSettings:
    """How strong total variation is, and how the model of lowest value is found."""

    strength: float = 1.0
    """Weight of total variation. With 1 a step between two pixels as high as the noise of the dirty image [Jy/beam]
    costs as much as a pixel that is off by the noise and alone in its beam."""
    positive: bool = True
    """Whether no pixel may be negative."""
    last: float = 0.05
    """Standard deviation of each pixel, in units of the noise, when the model is fitted to further samples."""
    rounding: float = 0.2
    """Step between pixels below which the corner is rounded, in units of the noise."""
    max_steps: int = 200
    """Largest number of steps."""
    tolerance: float = 1e-4
    """Relative change of the model in a step at which the steps end."""

    def __str__(self) -> str:
        return f"total variation of strength {self.strength:g}"


@torch.inference_mode()
def total_variation(
    model: torch.Tensor,
    residual: torch.Tensor,
    convolution: PsfConvolution,
    noise: float,
    settings: TotalVariationSettings = TotalVariationSettings(),
    allowed: torch.Tensor | None = None,
) -> torch.Tensor:
    """The model of lowest value, from a model on.

    Parameters
    ----------
    model, residual : Tensor, (y, x)
        [Jy/pixel], [Jy/beam]
    convolution : PsfConvolution
    noise : float
        Thermal noise of the dirty image [Jy/beam].
    settings : TotalVariationSettings
    allowed : Tensor, (y, x) bool, optional
        Where the model may change.

    Returns
    -------
    Tensor, (y, x)
        [Jy/pixel]
    """
    start, least = model / noise, 0.0 if settings.positive else -math.inf
    dirty = residual / noise + convolution.normal(start)
    # The largest eigenvalues of G and of the Laplacian over the rounding bound the curvature.
    step = 1 / (float(convolution.power.max()) + 8 * settings.strength / settings.rounding)
    found = ahead = start.clamp_min(least)
    momentum = 1.0
    for _ in range(settings.max_steps):
        slope = convolution.normal(ahead) - dirty + settings.strength * _slope(ahead, settings.rounding)
        new = (ahead - step * slope).clamp_min(least)
        if allowed is not None:
            new = torch.where(allowed, new, start)
        momentum, last = (1 + math.sqrt(1 + 4 * momentum**2)) / 2, momentum
        ahead = new + (last - 1) / momentum * (new - found)
        change, found = (new - found).norm(), new
        if change <= settings.tolerance * found.norm():
            break
    return noise * found


def _slope(image, rounding):
    """Derivative of the rounded total variation by each pixel."""
    along_y = torch.diff(image, dim=0, append=image[-1:])
    along_x = torch.diff(image, dim=1, append=image[:, -1:])
    size = torch.sqrt(along_y**2 + along_x**2 + rounding**2)
    along_y, along_x = along_y / size, along_x / size
    slope = -along_y - along_x
    slope[1:] += along_y[:-1]
    slope[:, 1:] += along_x[:, :-1]
    return slope

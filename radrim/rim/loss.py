"""The training loss: decibels of error, per pixel, at the scale of the beam, and of the flux."""

import math

import torch
import torch.nn.functional as F


def decibel_loss(
    estimates, truth, floor, smoothing=(2.0, 6.0), weights=(1.0, 0.5, 0.5), flux_weight=0.25, flux_tolerance=1e-3
):
    """Error relative to truth in decibels, so that every image counts the same whatever its flux.

    The mean over images and steps of ``10 log10(|error|^2 / |truth|^2)``, at the pixel scale and after smoothing error
    and truth by Gaussians, and of the same for the integrated flux; the terms are added by weight.

    Parameters
    ----------
    estimates : sequence of Tensor, (batch, [chan,] y, x)
        One per step [Jy/pixel].
    truth : Tensor, (batch, [chan,] y, x)
        [Jy/pixel]
    floor : Tensor, (batch,)
        Error per pixel, rms, that no longer matters [Jy/pixel], above 0; added to error and truth in quadrature, and
        smoothed as white noise is. It makes the loss of empty skies finite.
    smoothing : sequence of float
        Standard deviations of the Gaussians [pixel].
    weights : sequence of float
        Of the pixel scale and of each Gaussian.
    flux_weight : float
    flux_tolerance : float
        Relative error of flux that no longer matters.

    Returns
    -------
    Tensor, scalar
    """
    axes = tuple(range(1, truth.ndim))
    total = truth.new_zeros(())
    with torch.autocast(truth.device.type, enabled=False):
        for scale, weight in zip((0.0, *smoothing), weights, strict=True):
            # White noise keeps 1 / (2 sqrt(pi) s) of its rms under a Gaussian of standard deviation s.
            least = floor**2 * truth[0].numel() * min(1.0, 1 / (4 * math.pi * scale**2) if scale else 1.0)
            signal = smooth(truth, scale).square().sum(axes) + least
            for estimate in estimates:
                error = smooth(estimate - truth, scale).square().sum(axes) + least
                total = total + weight * torch.log10(error / signal).mean()
        flux = truth.abs().sum(axes)
        least = (flux_tolerance * flux) ** 2 + floor**2 * truth[0].numel()
        for estimate in estimates:
            error = (estimate - truth).sum(axes) ** 2 + least
            total = total + flux_weight * torch.log10(error / (flux**2 + least)).mean()
    return 10 * total / len(estimates)


def smooth(image, sigma):
    """An image (..., y, x) convolved with a Gaussian of unit sum, standard deviation `sigma` [pixel]; 0 outside."""
    if sigma == 0:
        return image
    radius = math.ceil(3.5 * sigma)
    offset = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
    kernel = torch.exp(-0.5 * (offset / sigma) ** 2)
    kernel = kernel / kernel.sum()
    flat = image.reshape(-1, 1, *image.shape[-2:])
    flat = F.conv2d(flat, kernel.view(1, 1, -1, 1), padding=(radius, 0))
    return F.conv2d(flat, kernel.view(1, 1, 1, -1), padding=(0, radius)).reshape(image.shape)

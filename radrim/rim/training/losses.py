"""The training loss: errors in decibels of the pixels, of images smoothed by the beam, and of the flux."""

import math
from collections.abc import Sequence

import torch

from radrim.rim.network.psf import beam_responses

WEIGHTS = (1.0, 0.5, 0.75, 0.25)
"""Weights in the loss of the error after each smoothing of `radrim.rim.network.psf.PARTS`."""
FLUX_WEIGHT = 0.25
"""Weight in the loss of the error of the integrated flux."""
FLUX_TOLERANCE = 1e-3
"""Relative error of the integrated flux below which the loss saturates."""
FLOOR = 0.5
"""Error at the scale of the beam, in units of the noise, below which the loss saturates."""


def error_floor(noise: torch.Tensor, beam: torch.Tensor) -> torch.Tensor:
    """Error per pixel (rms) below which the loss saturates [Jy/pixel], (batch,).

    Parameters
    ----------
    noise : Tensor, (batch,)
        Thermal noise of the dirty image [Jy/beam].
    beam : Tensor, (batch, 3)
        As for `decibel_loss`.
    """
    # White noise e per pixel is e sqrt(area / 2) after smoothing by a beam of peak 1 and that area.
    area = math.pi / (4 * math.log(2)) * beam[:, 0] * beam[:, 1]
    return FLOOR * noise / torch.sqrt(area / 2)


def decibel_loss(
    estimates: Sequence[torch.Tensor], truth: torch.Tensor, floor: torch.Tensor, beam: torch.Tensor, late: float = 0.0
) -> torch.Tensor:
    """Error relative to the truth in decibels, so that images of any flux have the same weight.

    It is the weighted sum of the means over images and steps of ``10 log10(|error|^2 / |truth|^2)``: without smoothing,
    after smoothing of error and truth by multiples of the beam, and for the integrated flux. The smoothing is periodic;
    by Parseval's theorem the spectra of error and truth suffice.

    Parameters
    ----------
    estimates : sequence of Tensor, (batch, [chan,] y, x)
        One per step [Jy/pixel].
    truth : Tensor, (batch, [chan,] y, x)
        [Jy/pixel]
    floor : Tensor, (batch,)
        From `error_floor`, above 0; added to error and truth in quadrature, and smoothed like white noise. It makes the
        loss of empty skies finite.
    beam : Tensor, (batch, 3)
        Major and minor axis (FWHM) [pixel] and position angle (north through east) [rad] of the restoring beam.
    late : float
        Step t of T has the weight (t / T)^late, divided by the sum of all.

    Returns
    -------
    Tensor, scalar
    """
    counts = [((step + 1) / len(estimates)) ** late for step in range(len(estimates))]
    with torch.autocast(truth.device.type, enabled=False):
        responses = beam_responses(beam, truth.shape[-2:])
        white = floor**2 * truth[0].numel()
        least = [white * _half_plane_mean(response, truth.shape[-1]) for response in responses]
        signal = _energies(truth, responses)
        flux = truth.abs().flatten(1).sum(1)
        flux_least = (FLUX_TOLERANCE * flux) ** 2 + white
        total = truth.new_zeros(())
        for count, estimate in zip(counts, estimates, strict=True):
            error = estimate - truth
            for weight, have, was, small in zip(WEIGHTS, _energies(error, responses), signal, least, strict=True):
                total = total + count * weight * torch.log10((have + small) / (was + small)).mean()
            missing = error.flatten(1).sum(1) ** 2
            lost = torch.log10((missing + flux_least) / (flux**2 + flux_least)).mean()
            total = total + count * FLUX_WEIGHT * lost
    return 10 * total / sum(counts)


def faint_loss(estimate: torch.Tensor, truth: torch.Tensor, floor: torch.Tensor, beam: torch.Tensor) -> torch.Tensor:
    """Error in decibels of compressed images at the scale of the beam, which gives faint structure a large weight.

    An image x, smoothed by the beam, becomes ``asinh(x / (2 f))``, where f is `floor` after smoothing: linear up to the
    noise, logarithmic above. The loss saturates for errors of a fifth of f over the whole image.

    Parameters
    ----------
    estimate, truth : Tensor, (batch, [chan,] y, x)
        [Jy/pixel]
    floor, beam
        As for `decibel_loss`.

    Returns
    -------
    Tensor, scalar
    """
    with torch.autocast(truth.device.type, enabled=False):
        batch, *_, ny, nx = truth.shape
        [response] = beam_responses(beam, (ny, nx), (1.0,))
        unit = 2 * floor * torch.sqrt(_half_plane_mean(response, nx))
        kernel = response.sqrt()
        seen, was = (
            torch.asinh(torch.fft.irfft2(kernel * torch.fft.rfft2(image.reshape(batch, -1, ny, nx)), s=(ny, nx))
                        / unit.view(-1, 1, 1, 1)).flatten(1)
            for image in (estimate, truth)
        )  # fmt: skip
        error, signal = ((image**2).mean(1) + 0.01 for image in (seen - was, was))
        return 10 * torch.log10(error / signal).mean()


def _energies(image: torch.Tensor, responses: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Sum of squares (batch,) of an image after smoothing by each response."""
    batch, *_, ny, nx = image.shape
    spectrum = torch.fft.rfft2(image.reshape(batch, -1, ny, nx))
    power = spectrum.real**2 + spectrum.imag**2
    pixels = ny * nx * power.shape[1]
    return [pixels * _half_plane_mean(response * power, nx) / (ny * nx) for response in responses]


def _half_plane_mean(values: torch.Tensor, width: int) -> torch.Tensor:
    """Mean (batch,) over all frequencies of values given on the half plane."""
    total = 2 * values.flatten(1).sum(1) - values[..., 0].flatten(1).sum(1)
    if width % 2 == 0:
        total = total - values[..., -1].flatten(1).sum(1)
    return total / (values[0, ..., 0].numel() * width)

"""Uncertainties of images, pixel by pixel, predicted by a small network that is trained on simulated skies.

The network runs after the last major cycle, on model, residual and PSF; the minor cycle may be the RIM or CLEAN. It
predicts two quantiles of the error's magnitude, 68.3 % and 95.4 %. For Gaussian errors these are one and two standard
deviations. Errors of a deconvolution have longer tails, so both are predicted. Errors are those of the restored image
against the sky in the restoring beam [Jy/beam], and of the model against the sky itself [Jy/pixel].

At spatial frequencies that the array did not measure, a model can be wrong without leaving a residual. The features
therefore include the part of the model that the data constrain poorly: the model in the restoring beam, R, minus its
Wiener filter, ``R - F^-1[B / (B + lambda) F[R]]``, for several lambda.

The training loss is the pinball loss (Koenker & Bassett 1978, Econometrica 46, 33) of the logarithm of the error. It
needs no assumption on the distribution and no flux unit: quantiles of a logarithm are logarithms of quantiles.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's documentation uses
from torch import nn

from radrim.errors import ConfigError
from radrim.rim.network.features import CELLS, LAMBDAS, Units, local_peak
from radrim.rim.network.psf import PsfConvolution, beam_responses

QUANTILES = 0.683, 0.954
KINDS = "beam", "pixel"
"""Errors of the restored image, and of the model."""
LEAST = 1e-4
"""Smallest error that the network distinguishes from 0, in its unit."""
CLEAR = 3.0
"""Brightness of the sky or the model in the restoring beam, in units of the noise, above which there is emission."""


@dataclass(frozen=True)
class UncertaintyConfig:
    """The architecture; stored with every checkpoint.

    Parameters
    ----------
    channels : int
        Of the hidden layers.
    dilations : tuple of int
        Of the 3 x 3 convolutions, one after the other.
    """

    channels: int = 32
    dilations: tuple[int, ...] = (1, 2, 4, 8, 1)

    def __post_init__(self) -> None:
        if self.channels < 1 or not self.dilations or min(self.dilations) < 1:
            raise ConfigError("An uncertainty network needs channels and dilations of at least 1.")


class Uncertainty(nn.Module):
    """The network: residual 3 x 3 convolutions of growing dilation.

    Parameters
    ----------
    config : UncertaintyConfig
    """

    corrections: torch.Tensor

    def __init__(self, config: UncertaintyConfig) -> None:
        super().__init__()
        self.config = config
        width = config.channels
        self.first = nn.Conv2d(FEATURES, width, 1)
        self.layers = nn.ModuleList(nn.Conv2d(width, width, 3, padding=d, dilation=d) for d in config.dilations)
        self.last = nn.Conv2d(width, 2 * len(KINDS), 1)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)
        # Corrections of the outputs, for pixels without and with emission in the model. They are found after the
        # training on other images, since the errors of the training images are underestimated.
        self.register_buffer("corrections", torch.zeros(2, len(KINDS), len(QUANTILES)))

    @property
    def reach(self) -> int:
        """Distance from an output to the farthest feature that it depends on [pixel]."""
        return sum(self.config.dilations)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Logarithms of the quantiles over their `Units`, (batch, kind, quantile, y, x), for (batch, feature, y, x)."""
        state = self.first(features)
        for layer in self.layers:
            state = state + F.relu(layer(state))
        middle, wider = self.last(F.relu(state)).unflatten(1, (len(KINDS), 2)).unbind(2)
        none, some = self.corrections[..., None, None]
        corrections = torch.where(shows(features)[:, None, None], some, none)
        middle, wider = (torch.stack([middle, middle + F.softplus(wider)], 2) + corrections).unbind(2)
        return torch.stack([middle, torch.maximum(middle, wider)], 2)


@dataclass(frozen=True)
class Outcome:
    """Result of the major cycles of a deconvolution.

    Parameters
    ----------
    model : Tensor, (batch, y, x)
        [Jy/pixel]
    residual : Tensor, (batch, y, x)
        [Jy/beam]
    convolution : PsfConvolution
    noise : Tensor, (batch,)
        Of the residual [Jy/beam].
    beam : Tensor, (batch, 3)
        Major and minor axis (FWHM) [pixel], position angle [rad] of the restoring beam.
    """

    model: torch.Tensor
    residual: torch.Tensor
    convolution: PsfConvolution
    noise: torch.Tensor
    beam: torch.Tensor


MODEL = 2
"""Index of the feature that is the model in the restoring beam over the noise, compressed."""
ODD = 6 + len(LAMBDAS)
"""Number of features that change sign with the image; they come first."""
FEATURES = ODD + len(CELLS) + 2 * len(LAMBDAS) + 2


def in_beam(image: torch.Tensor, beam: torch.Tensor) -> torch.Tensor:
    """Images (batch, y, x) [Jy/pixel] in the restoring beam [Jy/beam]; zero padding avoids wrapping."""
    ny, nx = image.shape[-2:]
    grid = 2 * ny, 2 * nx
    [power] = beam_responses(beam, grid, (1.0,))
    area = torch.pi * beam[:, 0] * beam[:, 1] / (4 * torch.log(torch.tensor(2.0)))
    spectrum = torch.fft.rfft2(image, s=grid) * power[:, 0].sqrt()
    return torch.fft.irfft2(spectrum, s=grid)[..., :ny, :nx] * area[:, None, None]


def see(outcome: Outcome) -> tuple[torch.Tensor, Units]:
    """Features of an outcome, (batch, feature, y, x), and the `Units` of the network's outputs."""
    noise = outcome.noise.view(-1, 1, 1)
    model = in_beam(outcome.model, outcome.beam)
    expected = outcome.convolution.normal(model)
    measured = outcome.convolution.wiener(expected, LAMBDAS)
    gains = [outcome.convolution.gains(value) for value in LAMBDAS]
    pixel = gains[0][1].expand_as(noise) * noise
    peak = torch.maximum(model.abs().amax((-2, -1), keepdim=True), noise)
    area = torch.log10(outcome.beam[:, 0] * outcome.beam[:, 1]).view(-1, 1, 1)
    channels = [
        _compress((model + outcome.residual) / noise),
        _compress(outcome.residual / noise),
        _compress(model / noise),
        _compress(100 * model / peak),
        _compress(outcome.model / pixel),
        _compress((outcome.model - F.avg_pool2d(outcome.model[:, None], 3, 1, 1)[:, 0]) / pixel),
        *(_compress((model - part) / noise) for part in measured.unbind(1)),
        *(torch.log10(torch.hypot(local_peak(model, cell), noise.expand_as(model)) / noise) / 2 for cell in CELLS),
    ]
    facts = [*(gain for pair in gains for gain in pair), torch.log10(peak / noise) / 3, area]
    channels += [fact.expand_as(model) for fact in facts]
    return torch.stack(channels, 1), Units(noise, pixel)


def shows(features: torch.Tensor) -> torch.Tensor:
    """Pixels in which the model has emission, (batch, y, x) bool, from the features of `see`."""
    return features[:, MODEL].abs() > _compress(torch.tensor(CLEAR))


def errors(outcome: Outcome, truth: torch.Tensor, units: Units) -> torch.Tensor:
    """Magnitudes of the errors over their units, (batch, kind, y, x), for true skies (batch, y, x) [Jy/pixel]."""
    error = outcome.model - truth
    beam = in_beam(error, outcome.beam) + outcome.residual
    return torch.stack([beam / units.beam, error / units.pixel], 1).abs()


def emission(outcome: Outcome, truth: torch.Tensor, units: Units) -> torch.Tensor:
    """Pixels in which model or true sky exceed `CLEAR` in the restoring beam, (batch, y, x) bool."""
    seen = torch.maximum(*(in_beam(image, outcome.beam).abs() for image in (outcome.model, truth)))
    return seen > CLEAR * units.beam


def weights(outcome: Outcome, truth: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    """Weight of each pixel in training, (batch, kind, y, x): larger where there is emission (`there`) than elsewhere.

    The sum of weights over the emission of an image, and over the rest, is proportional to the root of the number of
    pixels. With equal sums, the quantiles would be too low for large sources, which have most pixels; with sums in
    proportion to the pixels, small sources would not count. Where model and sky are both 0 the error of the model is 0
    and has no weight.
    """
    some = (outcome.model != 0) | (truth != 0)
    return torch.stack([_roots(there, ~there), _roots(some & there, some & ~there)], 1)


def pinball(answers: torch.Tensor, logs: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The pinball loss; at its minimum 68.3 % and 95.4 % of the errors are below the two outputs.

    Parameters
    ----------
    answers : Tensor, (batch, kind, quantile, y, x)
        Outputs of `Uncertainty`.
    logs, weight : Tensor, (batch, kind, y, x)
        Logarithms of the results of `errors`, and results of `weights`.

    Returns
    -------
    Tensor, scalar
    """
    over = logs.unsqueeze(2) - answers
    level = torch.tensor(QUANTILES, device=over.device).view(-1, 1, 1)
    loss = torch.maximum(level * over, (level - 1) * over) * weight.unsqueeze(2)
    return loss.sum() / weight.sum().clamp_min(1e-30)


def _roots(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Weights whose sum over each of two sets of pixels (batch, y, x) is the root of its fraction of the image."""
    return _root(first) + _root(second)


def _root(part: torch.Tensor) -> torch.Tensor:
    return part / torch.sqrt(part.sum((-2, -1), keepdim=True).clamp_min(1) * part[0].numel())


def _compress(value: torch.Tensor) -> torch.Tensor:
    return torch.asinh(value) / 3

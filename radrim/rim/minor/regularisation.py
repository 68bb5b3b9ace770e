"""Priors that improve a finished model: plug and play with a learned denoiser, or total variation, of some strength."""

from dataclasses import replace

import torch

from radrim.rim.minor.total_variation import TotalVariationSettings, total_variation
from radrim.rim.network.denoiser import Denoiser
from radrim.rim.network.plug_and_play import PlugAndPlaySettings, plug_and_play
from radrim.rim.network.psf import PsfConvolution

Method = PlugAndPlaySettings | TotalVariationSettings
"""A prior and its strength."""


def usable(method: Method, network: Denoiser | None) -> bool:
    """Whether a method has the network that it needs."""
    return network is not None or isinstance(method, TotalVariationSettings)


def improve(
    method: Method,
    network: Denoiser | None,
    model: torch.Tensor,
    residual: torch.Tensor,
    convolution: PsfConvolution,
    noise: float,
    allowed: torch.Tensor | None,
    tile: int,
) -> torch.Tensor:
    """The model that a method makes of another.

    Parameters
    ----------
    method : Method
    network : Denoiser or None
    model, residual : Tensor, (y, x)
        [Jy/pixel], [Jy/beam]
    convolution : PsfConvolution
    noise : float
        Thermal noise of the dirty image [Jy/beam].
    allowed : Tensor, (y, x) bool, or None
        Where the model may change; None: everywhere.
    tile : int
        Largest tile of the network [pixel].

    Returns
    -------
    Tensor, (y, x)
        [Jy/pixel]
    """
    if isinstance(method, TotalVariationSettings):
        return total_variation(model, residual, convolution, noise, method, allowed)
    if network is None:
        return model
    settings = replace(method, tile=min(method.tile, tile))
    return plug_and_play(network, model, residual, convolution, noise, settings, allowed)

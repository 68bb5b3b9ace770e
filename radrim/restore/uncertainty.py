"""Step 5, restore: the uncertainty of each pixel, from a trained network (`radrim.rim.network.uncertainty`)."""

from dataclasses import dataclass

import numpy as np
import torch

from radrim.beam import Beam
from radrim.products import UNCERTAINTIES
from radrim.result import Image
from radrim.rim.checkpoint import UNCERTAINTY_NETWORK, load_uncertainty
from radrim.rim.network.psf import PsfConvolution
from radrim.rim.network.uncertainty import Outcome, Uncertainty, see
from radrim.rim.network.windows import tiles


@dataclass(frozen=True)
class UncertaintySettings:
    """How the network is applied to large images."""

    tile: int = 1024
    """Largest side of the part of an image that the network sees at once [pixel]. It bounds the memory."""


def add_uncertainties(image: Image, psf: np.ndarray, scale: float) -> None:
    """Add the uncertainties to a deconvolved image.

    Parameters
    ----------
    image : Image
    psf : (y, x) float32
        Its PSF, of the size of the image, or better of twice the size.
    scale : float
        Pixel size [rad].
    """
    if image.model is None or image.residual is None:
        raise ValueError("only a deconvolved image has uncertainties")
    found = uncertainties(image.model, image.residual, psf, image.noise, image.beam, scale)
    for name, array in found.items():
        setattr(image, name, array)


def uncertainties(
    model: np.ndarray,
    residual: np.ndarray,
    psf: np.ndarray,
    noise: float,
    beam: Beam,
    scale: float,
    network: Uncertainty | None = None,
    settings: UncertaintySettings = UncertaintySettings(),
) -> dict[str, np.ndarray]:
    """Bounds of the errors of each pixel, from a trained network.

    Parameters
    ----------
    model : (y, x) float32
        [Jy/pixel]
    residual : (y, x) float32
        [Jy/beam]
    psf : (y, x) float32
        Peak 1 at (ny // 2, nx // 2); of the size of the image, or better of twice the size.
    noise : float
        Of the residual [Jy/beam].
    beam : Beam
        Restoring beam of the image.
    scale : float
        Pixel size [rad].
    network : Uncertainty, optional
        The network that comes with radrim if absent.
    settings : UncertaintySettings

    Returns
    -------
    dict of str to (y, x) float32
        By the names in `radrim.products.UNCERTAINTIES`.
    """
    network = load_uncertainty(UNCERTAINTY_NETWORK).model if network is None else network
    with torch.inference_mode():
        outcome = Outcome(
            torch.from_numpy(np.ascontiguousarray(model, np.float32))[None],
            torch.from_numpy(np.ascontiguousarray(residual, np.float32))[None],
            PsfConvolution(torch.from_numpy(np.ascontiguousarray(psf, np.float32)), model.shape),
            torch.tensor([noise], dtype=torch.float32),
            torch.tensor([[beam.major / scale, beam.minor / scale, beam.pa]], dtype=torch.float32),
        )
        features, units = see(outcome)
        found = np.empty((len(UNCERTAINTIES), *model.shape), np.float32)
        for core, outer, inside in tiles(model.shape, settings.tile, network.reach):
            seen = features[(..., *outer)].contiguous(memory_format=torch.channels_last)
            part = network(seen)[0].flatten(0, 1).exp()
            found[(slice(None), *core)] = part[(slice(None), *inside)].numpy()
    found[:2] *= float(units.beam)
    found[2:] *= float(units.pixel)
    return dict(zip(UNCERTAINTIES, found, strict=True))

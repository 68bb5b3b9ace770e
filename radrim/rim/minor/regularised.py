"""A solver without minor cycles of its own: methods of regularisation make the model, as final stages."""

import dataclasses
from typing import Any

import numpy as np
import torch

from radrim.deconvolve.minor import MinorCycle, OtherFacets, PartView
from radrim.rim.minor.convolver import Convolver
from radrim.rim.minor.refinement import Part, Refiner
from radrim.rim.minor.settings import RimSettings


class RegularisedSolver:
    """Carries out the stages of `radrim.rim.minor.stages.Trial`; see `radrim.deconvolve.minor.RefiningSolver`.

    Parameters
    ----------
    settings : RimSettings
        It uses `noise`, `positive`, `tile`, `mask` and `denoiser`.
    device : str
        'cpu' or 'cuda'.
    """

    begins_empty = True
    psf_factor = 2
    """Size of the PSF over that of the image. With 2 the convolution is exact."""

    def __init__(self, settings: RimSettings, device: str) -> None:
        self.settings = settings
        self._convolver = Convolver(torch.device(device), settings.tile)
        self._refiner = Refiner(settings, self._convolver)

    def __call__(
        self,
        residual: np.ndarray,
        psf: np.ndarray,  # noqa: ARG002 - as all minor cycles
        model: np.ndarray,  # noqa: ARG002
        noise: float,  # noqa: ARG002
        peak: float | None = None,  # noqa: ARG002
        others: OtherFacets | None = None,  # noqa: ARG002
    ) -> MinorCycle:
        """Nothing: the final stages follow at once."""
        highest = float(np.abs(residual).max())
        return MinorCycle(np.zeros_like(residual), 0, highest, "the last strength", converged=True, changes_pixels=True)

    def refine(
        self,
        action: str,
        seen: PartView,
        pixels: int,
        likelihood: tuple[PartView, float] | None = None,
        **values: Any,
    ) -> dict[str, Any]:
        """Carry out one action of a final stage; see `RefiningSolver.refine`."""
        settings, empty = self.settings, np.zeros_like(seen.model)
        self._convolver.set_psf(seen.psf, seen.residual.shape)
        self._convolver.set_sky(seen.residual, settings.mask)
        noise = settings.noise if settings.noise > 0 else seen.noise
        allowed = None if settings.mask is None else settings.mask > 0
        part = Part(seen.residual, seen.model, seen.core, noise, allowed, empty, seen.model, pixels)
        return self._refiner.act(action, part, likelihood, **values)

    def expect(self, noise: float) -> bool:
        """Replace the expected noise [Jy/beam]; the stages that have run stay."""
        self.settings = dataclasses.replace(self.settings, noise=noise)
        return False

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What later stages need; see `MinorCycleSolver.state`."""
        return {"tile": self._convolver.tile}, self._refiner.state()

    def resume(self, facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Continue from a `state`."""
        self._convolver.tile = facts["tile"]
        self._refiner.resume({name: np.array(array) for name, array in arrays.items()})

"""The interface of minor cycles: their arguments, their results, and the state that they keep between major cycles."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from radrim.deconvolve.tiles import Tile


@dataclass
class MinorCycle:
    """Result of one minor cycle.

    Parameters
    ----------
    update : (y, x) float32
        Added to the model [Jy/pixel]. Kernels centred in the mask may extend beyond it.
    components : int
        Number of components found; for the RIM and final stages, number of pixels changed.
    peak : float
        Largest |residual| after the update, by PSF convolution [Jy/beam]; for CLEAN, weighted by the scale bias.
    stop : str
        Why the cycle ended.
    converged : bool
        Whether further minor cycles would not change the model.
    diverged : bool
        Whether the cycle was given up because the residual rose.
    clean_stage : bool
        Whether the cycle belongs to the CLEAN stage of a learned minor cycle.
    max_rms_rise : float
        If above 0, the major cycle accepts the update as a whole or not at all: it undoes the update if the rms of the
        exact residual rises by more than this factor.
    changes_pixels : bool
        Whether `components` counts changed pixels, as of the RIM, and not components.
    whole : bool
        Whether the update is another model, no simpler than the one before: it is taken as a whole if kept-out
        visibilities prefer it, or not at all.
    """

    update: np.ndarray
    components: int
    peak: float
    stop: str
    converged: bool
    diverged: bool = False
    clean_stage: bool = False
    max_rms_rise: float = 0.0
    changes_pixels: bool = False
    whole: bool = False


class OtherFacets(NamedTuple):
    """What a minor cycle of one facet uses of the other facets.

    Parameters
    ----------
    bands : sequence of float
        Largest |residual| of all other facets in each of the `radrim.rim.minor.detection.bands` [Jy/beam]. Its
        sidelobes may reach this facet.
    wait : bool
        Whether the CLEAN stage must wait, since the network still finds emission in other facets. Its updates will
        remove sidelobes that CLEAN would take for sources.
    """

    bands: Sequence[float] = (0.0, 0.0, 0.0)
    wait: bool = False


class PartView(NamedTuple):
    """The images on which the minor cycle of one part of an image works.

    Parameters
    ----------
    residual, psf, model : (y, x) float32
        [Jy/beam], peak 1, [Jy/pixel]; the PSF is as large as the others or larger.
    noise : float
        Noise of the residual of the whole image [Jy/beam].
    core : (slice, slice)
        Pixels of these images that belong to this part alone; the others are its halo.
    """

    residual: np.ndarray
    psf: np.ndarray
    model: np.ndarray
    noise: float
    core: tuple[slice, slice]


class MinorCycleSolver(Protocol):
    """Runs the minor cycles of one tile or facet, of one term, and keeps its state between major cycles."""

    psf_factor: int
    """Size of the PSF that the solver needs, over the size of its tile."""

    def __call__(
        self,
        residual: np.ndarray,
        psf: np.ndarray,
        model: np.ndarray,
        noise: float,
        peak: float | None = None,
        others: OtherFacets | None = None,
    ) -> MinorCycle:
        """Run one minor cycle.

        Parameters
        ----------
        residual : (y, x) float32
            Residual of the tile with its halo [Jy/beam].
        psf : (y, x) float32
            Peak 1 at (ny // 2, nx // 2); as large as the tile or larger.
        model : (y, x) float32
            Current model [Jy/pixel].
        noise : float
            Noise of the residual of the whole image [Jy/beam]; an upper limit to the thermal noise.
        peak : float, optional
            Largest |residual| of the whole image [Jy/beam]; that of `residual` if absent.
        others : OtherFacets, optional
            Given if the tile is one of several facets.

        Returns
        -------
        MinorCycle

        Raises
        ------
        SolverError
            NaN in an input, or arrays of wrong shapes.
        """

    def expect(self, noise: float) -> bool:
        """Replace the expected noise [Jy/beam]; return whether a converged solver has more to do now."""

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What later minor cycles need of earlier ones: facts that JSON can hold, and arrays."""

    def resume(self, facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Continue from a `state`. The PSF of the next cycle must be that of the last one."""


class RefiningSolver(MinorCycleSolver, Protocol):
    """A minor cycle that takes part in final stages."""

    begins_empty: bool
    """Whether the final stages can begin with an empty model."""

    def refine(
        self,
        action: str,
        seen: PartView,
        pixels: int,
        likelihood: tuple[PartView, float] | None = None,
        **values: Any,
    ) -> dict[str, Any]:
        """Carry out one action of a final stage in one part of an image.

        Parameters
        ----------
        action : str
            Name of an action of `radrim.rim.minor.refinement.Refiner.act`; or 'change_method', which answers whether
            there is 'more': another way to find updates, which the next minor cycle takes.
        seen : PartView
        pixels : int
            Number of pixels of the whole image.
        likelihood : (PartView, float), optional
            The same with natural weights, and the ratio of its noise to that of `seen`.
        **values
            Decisions of the stage for the whole image.

        Returns
        -------
        dict
            Numbers that the stage adds up over the parts of the image. The action 'stage_update' also gives the
            "update", (y, x) [Jy/pixel].
        """


FinalStage = Callable[[Callable[..., list[dict[str, Any]]]], MinorCycle | None]
"""A stage that runs once, after the last minor cycle.

Its argument ``ask(action, **values)`` makes all parts of an image carry out an action. The stage decides for the whole
image and leaves a pending update, or returns None if it changes nothing.
"""


class SolverTarget(Protocol):
    """The properties of an image that its minor cycles need."""

    @property
    def stokes(self) -> str:
        """Stokes parameter."""

    @property
    def expected(self) -> float:
        """Expected noise of the dirty image [Jy/beam]."""


MakeSolver = Callable[[Tile, SolverTarget], MinorCycleSolver]
"""Makes the solver of the minor cycles of one tile of an image."""

"""The interface of minor cycles: what they are given, what they give back, and what they remember."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from radrim.deconvolve.tiles import Tile


@dataclass
class MinorCycle:
    """What one minor cycle found.

    Parameters
    ----------
    update : (y, x) float32
        To be added to the model [Jy/pixel]. Kernels centred in the window may reach beyond it.
    components : int
        Components found; the RIM's: pixels changed.
    peak : float
        Largest |residual| left by its own account [Jy/beam]; CLEAN's is weighted by the scale bias.
    stop : str
        Why the cycle ended.
    converged : bool
        Nothing left to do.
    finishing : bool
        Only CLEAN's finish is left to do, for a learned minor cycle.
    whole : float
        Above 0: the update is taken as a whole if the exact residual's rms then is at most so many times what it was,
        and undone otherwise; a part of it would make no sense.
    """

    update: np.ndarray
    components: int
    peak: float
    stop: str
    converged: bool
    finishing: bool = False
    whole: float = 0.0


class OtherFacets(NamedTuple):
    """What a minor cycle of one facet must know of the other facets.

    Parameters
    ----------
    bands : sequence of float
        Largest |residual| of all other facets in each of the `radrim.rim.minor.detection.bands` [Jy/beam]; its
        sidelobes may reach this facet.
    wait : bool
        The network still finds emission in some of them: sidelobes that it will remove must not be cleaned yet.
    """

    bands: Sequence[float] = (0.0, 0.0, 0.0)
    wait: bool = False


class PartView(NamedTuple):
    """What a minor cycle sees of an image.

    Parameters
    ----------
    residual, psf, model : (y, x) float32
        [Jy/beam], peak 1, [Jy/pixel]; the PSF is as large as the others or larger.
    noise : float
        Of the residual of the whole image [Jy/beam].
    core : (slice, slice)
        The part of it that no other part of the image has.
    """

    residual: np.ndarray
    psf: np.ndarray
    model: np.ndarray
    noise: float
    core: tuple[slice, slice]


class MinorCycleSolver(Protocol):
    """The minor cycles of one tile or facet of one image (of one term); keeps what it learns between major cycles."""

    psf_factor: int
    """Size of the PSF that it wants, over the size of its tile."""

    def __call__(
        self,
        residual: np.ndarray,
        psf: np.ndarray,
        model: np.ndarray,
        noise: float,
        window: np.ndarray | None = None,
        peak: float | None = None,
        others: OtherFacets | None = None,
    ) -> MinorCycle:
        """One minor cycle.

        Parameters
        ----------
        residual : (y, x) float32
            [Jy/beam]
        psf : (y, x) float32
            Peak 1 at (ny // 2, nx // 2); as large as the tile or larger.
        model : (y, x) float32
            [Jy/pixel]
        noise : float
            Of the residual of the whole image [Jy/beam].
        window : (y, x) bool, optional
            The model changes only here.
        peak : float, optional
            Largest |residual| of the whole image [Jy/beam].
        others : OtherFacets, optional
            Given for facets.
        """

    def expect(self, noise: float) -> bool:
        """Go on with another expected noise [Jy/beam]; True if there is more to do now."""

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What one cycle leaves to the next: facts that JSON holds, and arrays."""

    def resume(self, facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Go on from a `state`."""


class RefiningSolver(MinorCycleSolver, Protocol):
    """A minor cycle that takes part in final stages."""

    def refine(self, action: str, seen: PartView, pixels: int, **values: Any) -> dict[str, Any]:
        """Carry out one action of a final stage, such as `radrim.rim.minor.refinement` describes.

        Parameters
        ----------
        action : str
        seen : PartView
        pixels : int
            Of the whole image.
        **values
            What the stage has decided for the whole image.

        Returns
        -------
        dict
            Numbers that add up over the parts of the image. After 'finish' also the (y, x) "update" [Jy/pixel].
        """


FinalStage = Callable[[Callable[..., list[dict[str, Any]]]], MinorCycle | None]
"""A stage that is run once when the minor cycles have nothing left to do.

It asks all parts of an image, ``ask(action, **values)``, decides for the whole, and leaves a pending update; None if it
changes nothing.
"""


class SolverTarget(Protocol):
    """What the maker of a minor cycle must know of its image."""

    @property
    def stokes(self) -> str:
        """Stokes parameter."""

    @property
    def expected(self) -> float:
        """Expected noise of the dirty image [Jy/beam]."""


MakeSolver = Callable[[Tile, SolverTarget], MinorCycleSolver]
"""Makes the minor cycle of a tile of an image."""

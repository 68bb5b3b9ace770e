"""Makes the minor cycles of a run: CLEAN, or those of `radrim.imagers.learned_cycles`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from radrim.config.options import ImageConfig
from radrim.deconvolve.clean import CleanSettings, CleanSolver
from radrim.deconvolve.minor import FinalStage, MakeSolver, SolverTarget
from radrim.deconvolve.tiles import Tile, Tiles
from radrim.workdir.store import StoredArray


@dataclass(frozen=True)
class MinorCycleSettings:
    """Tuned numbers of the tiles of minor cycles."""

    clean_halo: int = 128
    """Halo of the tiles of CLEAN [pixel]."""
    max_cpu_tile: int = 512
    """Largest tile of the network on a CPU [pixel]. Larger ones are slower: the C library returns arrays of more than
    32 MB to the system, which fills them with zeros at the next allocation."""


Mask = np.ndarray | StoredArray | None
"""Mask of the whole image, (y, x) bool: pixels that may hold emission; None for all."""


class MinorCycles(Protocol):
    """A kind of minor cycle: it divides an image into tiles, and makes the solver of each tile."""

    name: str
    wide: bool
    """Whether the minor cycles need a PSF twice as large as the image."""
    notes: Sequence[str]
    """Sentences for the log."""
    stages: Sequence[FinalStage]
    """Final stages, which follow the last minor cycle."""
    trials: Sequence[FinalStage]
    """Further final stages, which run only where kept-out visibilities judge them."""
    closing: FinalStage | None
    """What fits the visibilities that were kept out; None: the minor cycle."""

    def tiles(self, shape: tuple[int, int]) -> Sequence[Tile]:
        """The tiles of an image (y, x)."""

    def factory(self, mask: Mask, threads: int, signed: bool = False) -> MakeSolver:
        """Return the function that makes the solver of a tile of an image.

        Parameters
        ----------
        mask : (y, x) bool or None
        threads : int
            Threads of one minor cycle.
        signed : bool
            Whether the sky can be negative even in Stokes I. CLEAN always allows negative components.
        """


class CleanCycles:
    """CLEAN, which works on each tile separately.

    Parameters
    ----------
    config : ImageConfig
    """

    name = "CLEAN"
    wide = False
    stages: Sequence[FinalStage] = ()
    trials: Sequence[FinalStage] = ()
    closing: FinalStage | None = None

    def __init__(self, config: ImageConfig):
        self._config = config
        self.notes: Sequence[str] = ["Minor cycle: CLEAN."]

    def tiles(self, shape: tuple[int, int]) -> Tiles:
        """Tiles of at most --tile pixels."""
        return Tiles(shape, self._config.tile, MinorCycleSettings.clean_halo)

    def factory(self, mask: Mask, threads: int, signed: bool = False) -> MakeSolver:  # noqa: ARG002 - CLEAN allows both signs
        """See `MinorCycles.factory`."""
        config = self._config

        def make(tile: Tile, image: SolverTarget) -> CleanSolver:  # noqa: ARG001 - CLEAN uses the residual's noise
            return CleanSolver(clean_settings(config, part_of(mask, tile)), threads)

        return make


class ClosureCycles:
    """Placeholder for the minor cycles of `--data closure`, whose imager has no minor cycles."""

    name = "closure"
    wide = False
    stages: Sequence[FinalStage] = ()
    trials: Sequence[FinalStage] = ()
    closing: FinalStage | None = None
    notes: Sequence[str] = (
        "The model is made from closure phases and log closure amplitudes alone, which do not depend on position and "
        "flux.",
    )

    def tiles(self, shape: tuple[int, int]) -> Tiles:
        """One tile."""
        return Tiles(shape, max(shape), 0)

    def factory(self, mask: Mask, threads: int, signed: bool = False) -> MakeSolver:
        """Not available, since there are no minor cycles."""
        raise NotImplementedError


class EntropyCycles(ClosureCycles):
    """Placeholder for the minor cycles of `--solver entropy`, whose imager has no minor cycles."""

    name = "entropy"
    notes: Sequence[str] = (
        "The model is fitted to the visibilities, with relative entropy to a Gaussian whose strength kept-out "
        "visibilities choose.",
    )


def clean_settings(config: ImageConfig, mask: Mask = None) -> CleanSettings:
    """The settings of CLEAN that the options say; `mask` is of one tile."""
    # The option --mask is a file; the solver takes its pixels.
    return CleanSettings(**config.fields_of(CleanSettings) | {"mask": mask})


def part_of(mask: Mask, tile: Tile) -> np.ndarray | None:
    """Part of the user's mask that covers a tile."""
    return None if mask is None else mask[tile.outer]

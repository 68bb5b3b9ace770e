"""Makes the minor cycles of a run: CLEAN, or the learned RIM."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from radrim.config.options import ImageConfig
from radrim.deconvolve.clean import CleanSettings, CleanSolver
from radrim.deconvolve.minor import FinalStage, MakeSolver, SolverTarget
from radrim.deconvolve.tiles import Tile, Tiles
from radrim.rim.checkpoint import DENOISER_NETWORK, PRIOR_NETWORK, find_model, load, load_prior
from radrim.rim.minor.regularised import RegularisedSolver
from radrim.rim.minor.settings import RimSettings
from radrim.rim.minor.solver import RimSolver
from radrim.rim.minor.stages import FINAL_STAGES, PLUG_AND_PLAY, TOTAL_VARIATION, TRIALS, fit_all_samples
from radrim.rim.network.denoiser import Denoiser
from radrim.rim.network.machine import InferenceMachine
from radrim.rim.network.prior import Prior
from radrim.runtime.files import fingerprint
from radrim.workdir.store import StoredArray


@dataclass(frozen=True)
class MinorCycleSettings:
    """Tuned numbers of the tiles of minor cycles."""

    clean_halo: int = 128
    """Halo of the tiles of CLEAN [pixel]."""
    max_cpu_tile: int = 512
    """Largest tile of the network on a CPU [pixel]. Larger ones are slower: the C library returns arrays of more than
    32 MB to the system, which fills them with zeros at the next allocation."""


CLEAN_ONLY = ("auto_mask", "auto_threshold")
"""Options that the RIM does not use."""

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
            return CleanSolver(_clean_settings(config, _part(mask, tile)), threads)

        return make


@functools.lru_cache(maxsize=2)
def load_machine(path: str, device: str, stamp: Any) -> InferenceMachine:  # noqa: ARG001 - a key of the cache
    """Load the trained machine of a file, once in each process; `stamp` is the fingerprint of the file."""
    return load(path, 2, device).model


@functools.lru_cache(maxsize=2)
def load_prior_network(device: str) -> Prior:
    """Load the network of the prior update, once in each process."""
    return load_prior(PRIOR_NETWORK, device).model


@functools.lru_cache(maxsize=2)
def load_denoiser(device: str) -> Denoiser:
    """The network of plug and play, loaded once by each process."""
    return load(DENOISER_NETWORK, device=device).model


class RimCycles:
    """The RIM, which works on the whole image; only its network works on tiles, which the RIM makes itself.

    Parameters
    ----------
    config : ImageConfig
    device : str
        'cpu' or 'cuda'.

    Raises
    ------
    InputError
        There is no model of this name, or it cannot be used.
    """

    name = "RIM"
    wide = True
    stages = FINAL_STAGES
    trials = TRIALS
    closing: FinalStage | None = staticmethod(fit_all_samples)

    def __init__(self, config: ImageConfig, device: str):
        path = find_model(config.model)
        self._config, self._source = config, (path, device, fingerprint(path))
        load_machine(*self._source)
        notes = [f"Minor cycle: RIM {path} on {device}."]
        changed = [name for name in CLEAN_ONLY if getattr(config, name) != getattr(ImageConfig, name)]
        if changed and config.solver == "rim":
            words = " and ".join("--" + name.replace("_", "-") for name in changed)
            notes.append(
                f"{words}: only CLEAN (--solver clean) uses this option; the RIM stops where the residual is noise, or "
                "at --threshold."
            )
        self.notes: Sequence[str] = notes

    def tiles(self, shape: tuple[int, int]) -> Tiles:
        """One tile: convolution and step length belong to the whole image."""
        return Tiles(shape, max(shape), 0)

    def factory(self, mask: Mask, threads: int, signed: bool = False) -> MakeSolver:
        """See `MinorCycles.factory`."""
        config, source = self._config, self._source

        def make(tile: Tile, image: SolverTarget) -> RimSolver:
            settings = RimSettings(
                noise=image.expected,
                threshold=config.threshold,
                # After continuum subtraction absorption lines are negative.
                positive=image.stokes == "I" and config.contsub is None and not signed,
                tile=min(config.tile, MinorCycleSettings.max_cpu_tile) if source[1] == "cpu" else config.tile,
                mask=_part(mask, tile),
                prior=load_prior_network(source[1]),
                denoiser=load_denoiser(source[1]) if config.holdout else None,
                sizes=not config.spectral_terms,
                clean=_clean_settings(config),
            )
            return RimSolver(load_machine(*source), settings, threads)

        return make


class RegularisedCycles:
    """Total variation or plug and play by itself, from an empty model on; its strength is found by the judge.

    Parameters
    ----------
    config : ImageConfig
        Its solver is one of `METHODS`.
    device : str
        'cpu' or 'cuda'.
    """

    METHODS: Mapping[str, tuple[str, Sequence[FinalStage], int]] = MappingProxyType(
        {"tv": ("total variation", TOTAL_VARIATION, 3), "pnp": ("plug and play", PLUG_AND_PLAY, 2)}
    )
    """Name of each solver in texts, its stages, and the number of those that run where nothing judges them."""

    wide = True
    closing: FinalStage | None = staticmethod(fit_all_samples)

    def __init__(self, config: ImageConfig, device: str):
        self._config, self._device = config, device
        self.name, stages, unjudged = self.METHODS[config.solver]
        self.stages, self.trials = stages[:unjudged], stages[unjudged:]
        self.notes: Sequence[str] = [f"Solver: {self.name} on {device}."]

    def tiles(self, shape: tuple[int, int]) -> Tiles:
        """One tile."""
        return Tiles(shape, max(shape), 0)

    def factory(self, mask: Mask, threads: int, signed: bool = False) -> MakeSolver:  # noqa: ARG002 - torch's threads
        """See `MinorCycles.factory`; models are positive in Stokes I alone, and there are no others."""
        config, device = self._config, self._device

        def make(tile: Tile, image: SolverTarget) -> RegularisedSolver:
            settings = RimSettings(
                noise=image.expected,
                positive=image.stokes == "I" and config.contsub is None and not signed,
                tile=min(config.tile, MinorCycleSettings.max_cpu_tile) if device == "cpu" else config.tile,
                mask=_part(mask, tile),
                denoiser=load_denoiser(device),
                regularised=True,
            )
            return RegularisedSolver(settings, device)

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


def _clean_settings(config, mask=None):
    # The option --mask is a file; the solver takes its pixels.
    return CleanSettings(**config.fields_of(CleanSettings) | {"mask": mask})


def _part(mask, tile):
    """Part of the user's mask that covers a tile."""
    return None if mask is None else mask[tile.outer]


def choose_solvers(config: ImageConfig, device: str) -> tuple[MinorCycles | None, MinorCycles | None]:
    """The minor cycles that make the images, and those of --compare; None for each that the run does not need."""
    if config.niter == 0:
        return None, None
    if config.data == "closure":
        return ClosureCycles(), CleanCycles(config) if config.compare else None
    if config.solver == "entropy":
        return EntropyCycles(), CleanCycles(config) if config.compare else None
    names = (config.solver, "rim" if config.solver == "clean" else "clean") if config.compare else (config.solver,)
    chosen = [_cycles(name, config, device) for name in names]
    return chosen[0], chosen[1] if config.compare else None


def _cycles(solver: str, config: ImageConfig, device: str) -> MinorCycles:
    if solver in RegularisedCycles.METHODS:
        return RegularisedCycles(config, device)
    return RimCycles(config, device) if solver == "rim" else CleanCycles(config)

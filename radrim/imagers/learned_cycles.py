"""The minor cycles that need torch: the learned RIM, total variation, and plug and play."""

import functools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch

from radrim.config.options import ImageConfig
from radrim.deconvolve.minor import FinalStage, MakeSolver, SolverTarget
from radrim.deconvolve.tiles import Tile, Tiles
from radrim.imagers.minor_cycles import Mask, MinorCycleSettings, clean_settings, part_of
from radrim.rim.checkpoint import DENOISER_NETWORK, PRIOR_NETWORK, find_model, load, load_prior
from radrim.rim.minor.regularised import RegularisedSolver
from radrim.rim.minor.settings import RimSettings
from radrim.rim.minor.solver import RimSolver
from radrim.rim.minor.stages import (
    JUDGED_STAGES,
    PLUG_AND_PLAY,
    TOTAL_VARIATION,
    TRIALS,
    UNJUDGED_STAGES,
    FitAllSamples,
)
from radrim.rim.network.denoiser import Denoiser
from radrim.rim.network.machine import InferenceMachine
from radrim.rim.network.prior import Prior
from radrim.runtime.files import fingerprint

CLEAN_ONLY = ("auto_mask", "auto_threshold")
"""Options that the RIM does not use."""


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
    return load(DENOISER_NETWORK, device=device).model.to(memory_format=torch.channels_last)


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
    stages: Sequence[FinalStage]
    trials = TRIALS
    closing: FinalStage | None = FitAllSamples(TRIALS)

    def __init__(self, config: ImageConfig, device: str):
        path = find_model(config.model)
        self._config, self._source = config, (path, device, fingerprint(path))
        self.stages = JUDGED_STAGES if config.holdout else UNJUDGED_STAGES
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
                mask=part_of(mask, tile),
                prior=None if config.holdout else load_prior_network(source[1]),
                denoiser=load_denoiser(source[1]) if config.holdout else None,
                sizes=not config.spectral_terms,
                clean=clean_settings(config),
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
    closing: FinalStage | None

    def __init__(self, config: ImageConfig, device: str):
        self._config, self._device = config, device
        self.name, stages, unjudged = self.METHODS[config.solver]
        self.stages, self.trials, self.closing = stages[:unjudged], stages[unjudged:], FitAllSamples(stages)
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
                mask=part_of(mask, tile),
                denoiser=load_denoiser(device),
                regularised=True,
            )
            return RegularisedSolver(settings, device)

        return make

"""Makes outcomes: results of whole deconvolutions of simulated problems, to train prior and uncertainties.

Outcome number k of a stream depends only on the seed, on k and on the minor cycle. To make one takes a hundred times as
long as to train on it, so outcomes are stored in files.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from radrim.deconvolve.clean import CleanSettings, CleanSolver
from radrim.deconvolve.major import deconvolve
from radrim.deconvolve.tiles import Tiles
from radrim.deconvolve.whole import WholeImage
from radrim.metrics import noise_mad
from radrim.rim.minor.settings import RimSettings
from radrim.rim.minor.solver import RimSolver
from radrim.rim.minor.stages import UNJUDGED_STAGES
from radrim.rim.network.machine import InferenceMachine
from radrim.rim.network.psf import PsfConvolution
from radrim.rim.training.problems import Problem, make_problem
from radrim.rim.training.recipe import Recipe

CLEANED = 0.25
"""Fraction of the problems that CLEAN deconvolves, since uncertainties are predicted for its images, too."""
CYCLES = 10
"""Largest number of major cycles."""


class _Convolved:
    """Replaces a measurement: residuals of a problem by convolution with its PSF."""

    left_noise = float("nan")

    def __init__(self, problem):
        self._dirty = problem.dirty
        self._convolution = PsfConvolution(torch.from_numpy(problem.psf), problem.dirty.shape)

    def residual(self, model):
        return self._dirty - self._convolution.normal(torch.from_numpy(model)).numpy()


def solve_problem(
    solver: RimSolver | CleanSolver, problem: Problem, cycles: int = CYCLES
) -> tuple[np.ndarray, np.ndarray]:
    """Model and residual after the major cycles of one problem, with residuals by PSF convolution.

    Parameters
    ----------
    solver : RimSolver or CleanSolver
        A new solver.
    problem : Problem
    cycles : int
        Largest number of major cycles.

    Returns
    -------
    model, residual : (y, x) float32
        [Jy/pixel], [Jy/beam]
    """
    shape = problem.dirty.shape
    image = WholeImage(
        label="", expected=problem.noise, quiet=True, measurement=_Convolved(problem), dirty=problem.dirty,
        psf=problem.psf, model=np.zeros_like(problem.dirty), residual=problem.dirty,
    )  # fmt: skip
    stages = UNJUDGED_STAGES if isinstance(solver, RimSolver) else ()
    image.cut(Tiles(shape, max(shape), 0), lambda *_: solver, stages=stages)
    deconvolve([image], cycles)
    return image.model, image.residual


def make_outcome(
    seed: int,
    number: int,
    recipe: Recipe,
    machine: InferenceMachine,
    stream_key: tuple[int, ...] = (),
    cleaned: float = CLEANED,
    larger: float = 0.0,
    **settings: Any,
) -> dict[str, Any]:
    """Problem `number` of a stream and the result of its deconvolution, as arrays for `numpy.savez`.

    Parameters
    ----------
    seed, number, recipe, stream_key
        As for `radrim.rim.training.problems.make_problem`.
    machine : InferenceMachine
    cleaned : float
        Fraction of the problems that CLEAN deconvolves.
    larger : float
        Fraction of the problems with twice the size of the recipe along each side.
    settings
        Fields of `RimSettings` for the other problems.

    Returns
    -------
    dict
        `model`, `points` (its isolated points), `truth` [Jy/pixel], `residual` [Jy/beam], `psf`,
        `noise` of the residual, `thermal` noise of the dirty image [Jy/beam], `beam` (major and minor axis [pixel],
        position angle [rad]), `sky`, `dynamic_range` and `solver`.
    """
    if np.random.default_rng([seed, number, 10, *stream_key]).random() < larger:
        recipe = replace(recipe, size=2 * recipe.size)
    problem = make_problem(seed, number, recipe, stream_key=stream_key)
    cleans = np.random.default_rng([seed, number, 9, *stream_key]).random() < cleaned
    chosen = RimSettings(noise=problem.noise, **settings)
    solver = CleanSolver(CleanSettings()) if cleans else RimSolver(machine, chosen)
    with torch.inference_mode():
        model, residual = solve_problem(solver, problem)
    points = solver.points(model) if isinstance(solver, RimSolver) else np.zeros_like(model)
    return {
        "model": model,
        "points": points,
        "residual": residual,
        "psf": problem.psf,
        "truth": problem.truth,
        "noise": np.float32(noise_mad(residual)),
        "thermal": np.float32(problem.noise),
        "beam": np.array([problem.beam.major, problem.beam.minor, problem.beam.pa], np.float32),
        "sky": problem.sky,
        "dynamic_range": problem.dynamic_range,
        "solver": "clean" if cleans else "rim",
    }

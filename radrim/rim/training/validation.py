"""Scores a network on problems that are not used for training: SNR of the model, error of its flux, residual."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from radrim.errors import InputError
from radrim.rim.network.psf import PsfConvolution, beam_responses
from radrim.rim.training.config import TrainingConfig
from radrim.rim.training.problems import Batch, Problem, make_problem, stack, validation_set
from radrim.rim.training.recipe import make_recipe

log = logging.getLogger("radrim")

SCORES = ("native", "half", "beam", "flux", "residual")
"""SNR [dB] of the model (as it is, at half the beam, at the beam), relative error of its flux, residual over noise."""

MEASURED = 0.99
"""Fraction of a tile's side that a truth image may fill; a border stays empty."""


def held_back(config: TrainingConfig) -> list[Problem]:
    """The problems for the scores of a training run.

    Parameters
    ----------
    config : TrainingConfig

    Returns
    -------
    list of Problem
        Of the recipe's classes in turn, and of the images of `config.truth`, named ``truth/NAME``.
    """
    problems = validation_set(config.seed, config.validation_problems, config.problems)
    if config.truth:
        try:
            problems += truth_problems(config.truth, config.problems)
        except (InputError, ImportError) as error:  # as on a training machine with few packages
            log.warning("The images of truth = %s are not scored: %s", config.truth, error)
    return problems


def truth_problems(folder: str | Path, mix: Mapping[str, Any] | None = None, seed: int = 0) -> list[Problem]:
    """Problems with the FITS images of a folder as skies, without gain errors or sources outside the tile.

    Parameters
    ----------
    folder : path-like
        Folder with ``*.fits`` files, two-dimensional except for axes of length 1. Their unit has no effect, since each
        problem has its own flux scale.
    mix : mapping, optional
        As in `make_recipe`; its skies are not used.
    seed : int
        Of coverages, noise and flux.

    Returns
    -------
    list of Problem
        In the order of the names, called ``truth/NAME``.

    Raises
    ------
    InputError
        The folder holds no FITS image, or one cannot be read.
    """
    from radrim.write.fits_input import read_fits, reading

    mix = {key: value for key, value in (mix or {}).items() if key != "skies"}
    recipe = make_recipe({**mix, "outside": 0.0, "gain_errors": 0.0})
    paths = sorted(Path(folder).glob("*.fits"))
    if not paths:
        raise InputError(f"There are no FITS images in {folder} to score the training on.")
    problems = []
    for number, path in enumerate(paths):
        with reading(str(path)):
            image = np.squeeze(read_fits(path, str(path), any_extension=True).data).astype(np.float32)
        if image.ndim != 2:
            raise InputError(f"{path} has the shape {image.shape}; images to score on are of one plane.")
        sky = shrink(np.nan_to_num(image).clip(0), recipe.size)
        problems.append(make_problem(seed, number, recipe, f"truth/{path.stem}", (2,), sky / sky.max()))
    return problems


def shrink(image: np.ndarray, size: int) -> np.ndarray:
    """An image averaged over blocks of pixels and padded, so that its sources fit into `size` x `size` pixels.

    Parameters
    ----------
    image : (y, x) array
        Without negative pixels, not empty.
    size : int

    Returns
    -------
    (size, size) float32
        In the unit of `image`: the mean of each block.
    """
    rows, columns = (np.flatnonzero((image > 0).any(axis)) for axis in (1, 0))
    image = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    factor = max(1, -(-max(image.shape) // int(MEASURED * size)))
    padded = np.pad(image, [(0, -n % factor) for n in image.shape])
    small = padded.reshape(padded.shape[0] // factor, factor, -1, factor).mean((1, 3))
    out = np.zeros((size, size), np.float32)
    top, left = ((size - n) // 2 for n in small.shape)
    out[top : top + small.shape[0], left : left + small.shape[1]] = small
    return out


@torch.no_grad()
def score(machine: nn.Module, problems: Sequence[Problem], cycles: int, batch: int = 8) -> np.ndarray:
    """Scores of each problem after several cycles of the machine; each cycle starts from the last residual.

    Parameters
    ----------
    machine : InferenceMachine
    problems : list of Problem
        Of one size.
    cycles : int
    batch : int
        Problems that are run together.

    Returns
    -------
    (problem, score) array
        The columns are `SCORES`.
    """
    device = next(machine.parameters()).device
    rows = []
    for first in range(0, len(problems), batch):
        part = stack(problems[first : first + batch])
        dirty, psf, noise = (tensor.to(device) for tensor in (part.dirty, part.psf, part.noise))
        convolution = PsfConvolution(psf, dirty.shape[-2:])
        estimate, residual = torch.zeros_like(dirty), dirty
        for _ in range(cycles):
            found = machine(convolution, residual, noise, estimate)
            estimate, residual = found.estimates[-1], found.residual
        rows += judge(estimate.cpu(), residual.cpu(), part)
    return np.array(rows)


def judge(estimate: torch.Tensor, residual: torch.Tensor, part: Batch) -> list[tuple[float, ...]]:
    """Score models against the truth.

    Parameters
    ----------
    estimate : Tensor, (batch, y, x)
        [Jy/pixel]
    residual : Tensor, (batch, y, x)
        [Jy/beam]
    part : Batch
        The same problems; all on the CPU.

    Returns
    -------
    list of tuple of float
        `SCORES` of each problem; for an empty sky the SNRs are NaN, and the error of the flux is in units of the noise.
    """
    rows = []
    error = estimate.double() - part.truth.double()
    for k, snrs in enumerate(decibels(estimate, part.truth, part.beam)):
        flux = part.truth[k].double().sum()
        off = float((error[k].sum() / flux).abs()) if flux > 0 else float(error[k].sum().abs() / part.noise[k])
        rows.append((*snrs, off, float(residual[k].std() / part.noise[k])))
    return rows


def decibels(estimate: torch.Tensor, truth: torch.Tensor, beam: torch.Tensor) -> list[list[float]]:
    """SNR of each model without smoothing, at half the beam and at the beam [dB]; NaN for empty skies.

    Parameters
    ----------
    estimate, truth : Tensor, (batch, y, x)
        [Jy/pixel]
    beam : Tensor, (batch, 3)
        Major and minor axis (FWHM) [pixel], position angle [rad].
    """
    truth, error = truth.double(), estimate.double() - truth.double()
    shape = truth.shape[-2:]
    responses = beam_responses(beam.double(), shape, (0.0, 0.5, 1.0))
    spectra = [torch.fft.rfft2(image).unsqueeze(1) for image in (truth, error)]
    found = []
    for k in range(len(truth)):
        row = []
        for response in responses:
            signal, wrong = (torch.fft.irfft2(spectrum[k] * response[k].sqrt(), s=shape).norm() for spectrum in spectra)
            row.append(float(20 * torch.log10(signal / wrong.clamp_min(1e-30))) if signal > 0 else np.nan)
        found.append(row)
    return found


def summarise(problems: Sequence[Problem], scores: np.ndarray) -> dict[str, dict[str, float]]:
    """Medians by class of sky.

    Parameters
    ----------
    problems : list of Problem
    scores : (problem, score) array
        From `score`.

    Returns
    -------
    dict of str to dict
        For each class, and 'all' except for truth images: `SCORES` by name.
    """
    classes: dict[str, list[np.ndarray]] = {}
    for problem, row in zip(problems, scores, strict=True):
        classes.setdefault(problem.sky, []).append(row)
    everything = [row for name, rows in classes.items() if not name.startswith("truth/") for row in rows]
    found = {"all": everything, **classes}
    return {
        name: {key: round(float(value), 4) for key, value in zip(SCORES, _medians(rows), strict=True)}
        for name, rows in found.items()
    }


def _medians(rows: Iterable[np.ndarray]) -> list[float]:
    rows = np.array(rows)
    return [np.median(column[np.isfinite(column)]) if np.isfinite(column).any() else 0.0 for column in rows.T]

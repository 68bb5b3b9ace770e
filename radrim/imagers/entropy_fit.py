"""Fits of relative entropy to the visibilities of an image, by `--solver entropy` and as a trial of ordinary runs.

Where few visibilities leave many images possible, relative entropy often predicts those that are kept out better than
learned minor cycles and CLEAN do. Ordinary runs therefore try it after all else. The strength of the entropy is found
from the fitted visibilities alone, and the kept-out ones judge the model as any other update.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from radrim.closure.cells import average_cells, least_cells
from radrim.closure.choice import Choice, EntropyImage, Prior
from radrim.closure.entropy import EntropySettings, EntropySolver
from radrim.closure.noise import Noise
from radrim.closure.read import field_of, size_in_pixels
from radrim.closure.solver import gaussian
from radrim.closure.transforms import largest_phase
from radrim.errors import ConfigError, SolverError
from radrim.geometry import C, ImageGrid
from radrim.imagers.context import RunContext
from radrim.visibilities import Visibilities


@dataclass(frozen=True)
class EntropyImagerSettings:
    """Which images relative entropy makes."""

    max_pixels: int = 300_000
    """Largest number of pixels that may hold emission. Hundreds of fits are made."""

    scales: float = 2.0
    """Width of the part of an image that is tried to hold all emission, before all of it is; in images of too many
    pixels nothing else is tried [largest scale that the baselines resolve]."""

    slow: int = 100_000
    """Number of averaged visibilities above which a warning says that the run takes long: the time of each of the
    dozens of fits grows with it."""

    max_systematic: float = 0.1
    """Error in proportion to the amplitude above which visibilities count as uncalibrated. Self-calibrated data of the
    VLBA and the EHT are far below it, network-calibrated data of the EHT above it."""


@dataclass(frozen=True)
class CandidateSettings:
    """When ordinary runs try relative entropy."""

    max_samples: int = 5000
    """Largest number of averaged visibilities. The EHT's observations of a night have some hundred, simulated ones
    without gaps some thousand. With more the search takes longer than all else of a run, and is seldom of use:
    `--solver entropy` has no such limit."""

    trial: int = 100
    """Number of this trial among `radrim.rim.minor.stages.TRIALS`, different from all of theirs."""

    halo: float = 1.5
    """Width (FWHM) of the Gaussian that holds flux which only neighbouring stations see [largest scale that the other
    baselines resolve]. On these baselines its amplitude is below 0.04 % of it."""

    halo_field: float = 3.0
    """Least width of an image that may hold this Gaussian [its FWHM]. At the edge it is at 0.2 % of its peak."""


log = logging.getLogger("radrim")

FACTS = ("strength", "systematic", "noise_factor", "chisq_visibilities", "extended_flux")
"""Facts in the FITS header, by the names of `radrim.write.fits.KEYWORDS`."""


def make_solver(
    blocks: Sequence[Visibilities],
    grid: ImageGrid,
    mask: np.ndarray | None,
    separate: bool = True,
) -> tuple[EntropySolver, tuple[slice, slice]]:
    """The solver of blocks of visibilities, and the part (y, x) of the image that it makes.

    `separate`: see `EntropySolver`.

    Raises
    ------
    ConfigError
        The part has too many pixels.
    DataError
        No sample has weight.
    """
    if len({tuple(block.pointing) for block in blocks}) > 1:
        raise ConfigError(
            "--solver entropy images one pointing, and the data have several: choose one with --field, or leave out "
            "--solver entropy."
        )
    region = region_of(blocks, grid)
    part = grid.region(*region)
    data = average_cells(blocks, part.width * part.scale, EntropySettings.folds)
    log.info("Relative entropy: %d samples averaged in uv cells, %d folds.", len(data), EntropySettings.folds)
    if len(data) > EntropyImagerSettings.slow:
        log.warning(
            "--solver entropy with %d averaged visibilities takes long: it is made for at most about %d. Use --solver "
            "rim, or fewer data (--chan-range, --time-range).", len(data), EntropyImagerSettings.slow,
        )  # fmt: skip
    allowed = None if mask is None else np.asarray(mask[region])
    field = EntropyImagerSettings.scales * field_of(blocks)[0]
    return EntropySolver(data, part, allowed, separate=separate, field=field), region


def region_of(blocks: Sequence[Visibilities], grid: ImageGrid) -> tuple[slice, slice]:
    """The part of an image that may hold emission: all of it, or the middle of one with too many pixels."""
    limit = EntropyImagerSettings.max_pixels
    width, height = _sides(blocks, grid)
    if width * height > limit:
        raise ConfigError(
            f"--solver entropy makes images of at most {limit} pixels, and this one needs {width} x {height}, up to "
            f"{EntropyImagerSettings.scales:g} times the largest scale that the baselines resolve. Choose a smaller "
            "--size or a larger --scale, or use --solver rim."
        )
    x, y = grid.width // 2 - width // 2, grid.height // 2 - height // 2
    return slice(y, y + height), slice(x, x + width)


def _sides(blocks, grid):
    """Width and height of the part of an image that may hold emission [pixel]."""
    if grid.width * grid.height <= EntropyImagerSettings.max_pixels:
        return grid.width, grid.height
    side = size_in_pixels(EntropyImagerSettings.scales * field_of(blocks)[0], grid.scale)
    return min(side, grid.width), min(side, grid.height)


def facts_of(choice: Choice, found: EntropyImage) -> dict[str, float]:
    """Numbers about a fit, by the names of `radrim.write.fits.KEYWORDS`."""
    return {
        "strength": choice.strength,
        "systematic": choice.noise.systematic,
        "noise_factor": choice.noise.factor,
        "chisq_visibilities": found.chi2,
        "extended_flux": found.flux * found.solution.extended,
    }


def in_words(facts: dict[str, float]) -> str:
    """The result of a fit in a sentence."""
    return (
        f"relative entropy of strength {facts['strength']:g}, chosen by visibilities kept out in turn; reduced "
        f"chi-square {facts['chisq_visibilities']:.3g} with {facts['noise_factor']:.2f} times the noise of the weights "
        f"and errors of {facts['systematic']:.2%} of the amplitudes"
    )


def warning_of(systematic: float) -> str:
    """What to do where visibilities are not calibrated, from their error over the amplitude; empty if they are."""
    limit = EntropyImagerSettings.max_systematic
    if systematic <= limit:
        return ""
    return (
        f"Visibilities that were kept out differ from their prediction by {systematic:.0%} of the amplitude, more than "
        f"{limit:.0%}: gains of the antennas are not calibrated, and the image is wrong in part or altogether. Use "
        "--data closure, which does not depend on gains, or calibrate with radrim selfcal."
    )


class EntropyCandidate:
    """The fit of relative entropy that an ordinary run tries after its other stages.

    Parameters
    ----------
    run : RunContext
    label : str
        Of the image; its choice is kept in the work directory, so that a resumed run makes the same images.
    blocks : sequence of Visibilities
        With kept-out samples.
    """

    def __init__(self, run: RunContext, label: str, blocks: Sequence[Visibilities]):
        self._run, self._label, self._blocks = run, label, blocks
        self._offered: tuple[np.ndarray, str] | None = None

    @property
    def possible(self) -> bool:
        """Whether samples and pixels are few enough, of one pointing and a field without a large w-term."""
        blocks, grid, limit = self._blocks, self._run.grid, CandidateSettings.max_samples
        if len({tuple(block.pointing) for block in blocks}) > 1:
            return False
        width, height = _sides(blocks, grid)
        if width * height > EntropyImagerSettings.max_pixels:
            return False
        field = width * grid.scale
        if least_cells(blocks, field, limit) > limit:
            return False
        wide = max(largest_phase(block.uvw * (block.freq.max() / C), grid) for block in blocks)
        if wide > EntropySettings.max_phase:
            return False
        return len(average_cells(blocks, field, EntropySettings.folds)) <= limit

    def facts(self, cycles: Sequence[dict[str, Any]]) -> dict[str, float]:
        """What the folds say of the errors of the visibilities, by the names of `FACTS`; empty if it is not known.

        Nor is it where another model predicts the kept-out samples better, by more than the error: the sky is then one
        that this fit does not describe. `cycles` are the records of the major cycles.
        """
        choice = self._known()
        judged = [cycle for cycle in cycles if cycle.get("offered")]
        if choice is None or not judged or judged[-1]["kept_change"] > judged[-1]["kept_error"]:
            return {}
        return {"systematic": choice.noise.systematic, "noise_factor": choice.noise.factor}

    def fitted(self, present: np.ndarray) -> tuple[np.ndarray, str] | None:
        """The model of the samples that are not kept out, (y, x) float32 [Jy/pixel], and a sentence on it.

        None if the fit failed, or predicts some samples far worse than the `present` model (y, x) fits them.
        """
        if self._offered is None:
            self._offered = self._fit(self._blocks, present)
        return self._offered

    def all_samples(self) -> tuple[np.ndarray, str] | None:
        """The same of all samples, with the choices that led to `fitted`."""
        return self._fit([replace(block, kept_out=None, watched=None) for block in self._blocks])

    def _fit(self, blocks, present=None):
        run = self._run
        try:
            solver, region = make_solver(blocks, run.grid, run.mask, self._holds_halo)
            choice = self._known()
            if choice is None:
                if present is not None and not solver.may_compete(present[region]):
                    return None
                choice = solver.choose()
                run.progress.keep_choice(self._label, _as_facts(choice))
            found = solver.fit(choice)
        except SolverError as error:
            log.debug("relative entropy: %s", error)
            return None
        model = np.zeros(run.grid.shape, np.float32)
        model[region] = found.flux * found.solution.image
        extended = found.flux * found.solution.extended
        if extended:
            model += (extended * gaussian(run.grid, self._halo, 0.0)).astype(np.float32)
        return model, in_words(facts_of(choice, found))

    @property
    def _halo(self):
        """Width of the Gaussian of the flux that only neighbouring stations see [rad]."""
        return CandidateSettings.halo * field_of(self._blocks)[0]

    @property
    def _holds_halo(self):
        """Whether the image may hold it. Without it the exact residual would lack flux that the solver found."""
        grid = self._run.grid
        wide = min(grid.shape) * grid.scale >= CandidateSettings.halo_field * self._halo
        return self._run.mask is None and wide

    def _known(self):
        """The choice that was made before; None if there is none."""
        facts = self._run.progress.choice(self._label)
        return facts and _choice_of(facts)


def _as_facts(choice):
    """Prior, strength and noise of a choice, as JSON holds them."""
    return {"prior": choice.prior._asdict(), "strength": choice.strength, "noise": choice.noise._asdict()}


def _choice_of(facts):
    """The choice that `_as_facts` described."""
    prior = facts["prior"] | {"centre": tuple(facts["prior"]["centre"])}
    return Choice(Prior(**prior), facts["strength"], Noise(**facts["noise"]))

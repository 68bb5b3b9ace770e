"""Steps 3 to 6 of images by relative entropy: `--solver entropy`.

There are no major cycles: `radrim.closure.entropy` fits visibilities, averaged in cells, with natural weights. Dirty
image, PSF and residual have the weighting of the run, as with other solvers.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from radrim.closure.cells import average_cells
from radrim.closure.entropy import Choice, EntropyImage, EntropySettings, EntropySolver
from radrim.closure.quantities import ClosureSettings
from radrim.closure.read import field_of, size_in_pixels
from radrim.closure.solver import Solution
from radrim.errors import ConfigError, SolverError
from radrim.geometry import ImageGrid, format_angle
from radrim.imagers.base import Target
from radrim.imagers.channels import ChannelImager
from radrim.measure.mosaic import make_measurement
from radrim.visibilities import Visibilities


@dataclass(frozen=True)
class EntropyImagerSettings:
    """Which images relative entropy makes."""

    max_pixels: int = 300_000
    """Largest number of pixels that may hold emission. A fit of 3e5 takes minutes, and dozens of fits are made."""

    scales: float = 2.0
    """Width of the part of a larger image that may hold emission [largest scale that the baselines resolve]."""

    slow: int = 100_000
    """Number of averaged visibilities above which a warning says that the run takes long."""

    max_systematic: float = 0.1
    """Error in proportion to the amplitude above which visibilities count as uncalibrated: 0.2 % in self-calibrated
    data of the VLBA and the EHT, 13 to 21 % in network-calibrated data of the EHT."""


log = logging.getLogger("radrim")

FACTS = ("strength", "systematic", "noise_factor", "chisq_visibilities", "extended_flux")
"""Facts in the FITS header, by the names of `radrim.write.fits.KEYWORDS`."""


class EntropyImager(ChannelImager):
    """A `ChannelImager` whose models are fitted to visibilities with relative entropy."""

    def begin(self, targets: Sequence[Target]) -> list:
        """See `Imager.begin`."""
        self._blocks = {
            target.label: [block.of(target.stokes) for block in target.channels[0].blocks] for target in targets
        }
        return super().begin(targets)

    def _deconvolve(self, states, minor):  # noqa: ARG002 - there is no minor cycle
        """Fit every image; return the error of a failed fit, or None."""
        with self.run.clock("deconvolve"):
            try:
                for state in states:
                    if not state.cycles:
                        self._fit(state, self._blocks[state.label])
                        state.keep()
                    state.facts |= {name: state.cycles[-1][name] for name in FACTS}
            except SolverError as error:
                return error
        return None

    def _fit(self, state, blocks):
        """Find model and residual of an image; changes its model, residual, cycles and stop."""
        start, run = time.perf_counter(), self.run
        before = state.model
        solver, region = make_solver(blocks, run.grid, run.mask, run.threads)
        choice = solver.choose()
        first = before[region].astype(float) if before.any() else None
        found = solver.fit(choice, Solution(first, 0.0) if first is not None and first.sum() > 0 else None)
        model = np.zeros(run.grid.shape, np.float32)
        model[region] = found.flux * found.solution.image
        state.model = model
        extended = found.flux * found.solution.extended
        state.residual = self._residual(state, blocks, extended)
        facts = facts_of(choice, found)
        state.stop = in_words(facts)
        state.cycles.append({
            "channel": state.label, "cycle": 1, "peak": state.peak, "rms": state.rms, "flux": state.flux,
            "components": int(np.count_nonzero(model > model.max() / 1000)), "changes_pixels": True,
            "seconds": time.perf_counter() - start, "stop": state.stop, **facts,
        })  # fmt: skip
        note = warning_of(facts)
        if note:
            run.observation.notes.append(note)
            log.warning("%s", note)

    def _residual(self, state, blocks, extended):
        """Exact residual of the model and of the extended flux, which neighbouring stations see."""
        if not extended:
            return state.measurement.residual(state.model)
        longest = max(float(block.uv_length.max() * block.freq.max()) for block in blocks)
        left = []
        for block in blocks:
            near = block.uv_length[:, None] * block.freq < ClosureSettings.colocated * longest
            left.append(replace(block, data=block.data - np.where(near & (block.data != 0), np.complex64(extended), 0)))
        run = self.run
        return make_measurement(left, run.grid, run.dishes, run.operator(run.threads)).residual(state.model)


def make_solver(
    blocks: Sequence[Visibilities], grid: ImageGrid, mask: np.ndarray | None, threads: int
) -> tuple[EntropySolver, tuple[slice, slice]]:
    """The solver of blocks of visibilities, and the part (y, x) of the image that it makes.

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
    log.info(
        "Relative entropy: %d samples averaged in uv cells, %d folds; emission within %s.",
        len(data), EntropySettings.folds, format_angle(part.width * part.scale, 3),
    )  # fmt: skip
    if len(data) > EntropyImagerSettings.slow:
        log.warning(
            "--solver entropy with %d averaged visibilities takes long: it is made for at most about %d. Use --solver "
            "rim, or fewer data (--chan-range, --time-range).", len(data), EntropyImagerSettings.slow,
        )  # fmt: skip
    allowed = None if mask is None else np.asarray(mask[region])
    return EntropySolver(data, part, allowed, threads), region


def region_of(blocks: Sequence[Visibilities], grid: ImageGrid) -> tuple[slice, slice]:
    """The part of an image that may hold emission: all of it, or the middle of a large one."""
    limit = EntropyImagerSettings.max_pixels
    side = size_in_pixels(EntropyImagerSettings.scales * field_of(blocks)[0], grid.scale)
    width, height = min(side, grid.width), min(side, grid.height)
    if width * height > limit:
        raise ConfigError(
            f"--solver entropy makes images of at most {limit} pixels, and this one needs {width} x {height}, up to "
            f"{EntropyImagerSettings.scales:g} times the largest scale that the baselines resolve. Choose a smaller "
            "--size or a larger --scale, or use --solver rim."
        )
    x, y = grid.width // 2 - width // 2, grid.height // 2 - height // 2
    return slice(y, y + height), slice(x, x + width)


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


def warning_of(facts: dict[str, float]) -> str:
    """What to do where the visibilities are not calibrated; empty if they are."""
    limit = EntropyImagerSettings.max_systematic
    if facts["systematic"] <= limit:
        return ""
    return (
        f"Visibilities that were kept out differ from their prediction by {facts['systematic']:.0%} of the amplitude, "
        f"more than {limit:.0%}: gains of the antennas are not calibrated, and the image is wrong in part or "
        "altogether. Use --data closure, which does not depend on gains, or calibrate with radrim selfcal."
    )

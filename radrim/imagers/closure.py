"""Steps 3 to 7 of an image from closure quantities: `--data closure`.

Dirty image and PSF are those of the visibilities as they were read. The model comes from closure quantities alone. The
residual is that of the visibilities without the gains that the model implies, solved for each integration: what no
error of the stations explains. Image = model with the restoring beam + residual, as ever.
"""

import logging
import time
from dataclasses import dataclass, replace

import numpy as np

from radrim.closure.gains import solve_gains
from radrim.closure.quantities import ClosureSettings
from radrim.closure.read import ClosureInput, size_in_pixels
from radrim.closure.scores import FACTS, chi_square_facts, in_words
from radrim.closure.solver import ClosureSolver, ClosureSolverSettings, Solution
from radrim.errors import SolverError
from radrim.geometry import format_angle
from radrim.imagers.channels import ChannelImager
from radrim.imagers.context import RunContext
from radrim.measure.mosaic import make_measurement


@dataclass(frozen=True)
class ClosureImagerSettings:
    """Which samples a closure image uses."""

    min_gain: float = 0.1
    """Smallest gain of a station, over the median. Below, it has lost its signal, and its samples have no residual."""


log = logging.getLogger("radrim")


class ClosureImager(ChannelImager):
    """As `ChannelImager`, of one image.

    Parameters
    ----------
    run : RunContext
    closures : ClosureInput
        Of the observation's blocks.
    """

    def __init__(self, run: RunContext, closures: ClosureInput):
        super().__init__(run)
        self.closures = closures

    def _deconvolve(self, states, minor):  # noqa: ARG002 - there is no minor cycle
        """Minimise in rounds; returns what failed, or None."""
        channel, data = states[0], self.closures.data
        window, grid = self._window()
        solver = ClosureSolver(data, grid, self.run.threads)
        self.run.observation.notes.append(
            f"Closure image: {len(data.phases)} closure phases and {len(data.amplitudes)} log closure amplitudes; "
            f"emission within {format_angle(grid.width * grid.scale, 3)}; prior a Gaussian of "
            f"{format_angle(solver.size, 3)} (FWHM). The centroid is put at the phase centre: closure quantities know "
            "no position. Its flux is from the amplitudes as they were read, or from --flux."
        )  # fmt: skip
        log.info("%s", self.run.observation.notes[-1])
        if not len(data.amplitudes):
            self.run.observation.notes.append("Fewer than four antennas observe together: closure phases alone.")
            log.warning("%s", self.run.observation.notes[-1])
        with self.run.clock("deconvolve"):
            try:
                while len(channel.cycles) < len(ClosureSolverSettings.rounds):
                    self._round(channel, solver, window)
                    channel.keep()
            except SolverError as error:
                return error
        channel.facts = {name: channel.cycles[-1][name] for name in FACTS}
        return None

    def _window(self):
        """Slices of the middle of the image that may hold emission, and their grid."""
        whole = self.run.grid
        wanted = size_in_pixels(self.closures.field, whole.scale)
        width, height = min(wanted, whole.width), min(wanted, whole.height)
        x, y = whole.width // 2 - width // 2, whole.height // 2 - height // 2
        window = slice(y, y + height), slice(x, x + width)
        return window, whole.window(*window)

    def _round(self, channel, solver, window):
        """One more round: changes the channel's model, residual, cycles and stop."""
        start, number = time.perf_counter(), len(channel.cycles)
        before = solver.start
        image = channel.model[window].astype(float)
        if image.sum() > 0:  # of the last round, or a start model
            before = Solution(image / image.sum(), channel.cycles[-1]["extended"] if number else 0.0)
        # Through the precision that is kept, so that a run which was killed here goes on with the same numbers.
        solution = solver.round(number, before)
        vis = solver.visibilities(solution)
        flux = self._flux(vis)
        model = np.zeros(self.run.grid.shape, np.float32)
        model[window] = flux * solution.image
        channel.model = model
        channel.residual = self._residual(channel, flux * vis, flux * solution.extended)
        facts = chi_square_facts(self.closures.data, vis, flux, solution.extended)
        channel.cycles.append({
            "cycle": number + 1, "peak": float(np.abs(channel.residual).max()), "rms": float(channel.residual.std()),
            "components": int(np.count_nonzero(model > model.max() / 1000)), "flux": float(model.sum()),
            "seconds": time.perf_counter() - start, "stop": "", "extended": solution.extended, **facts,
        })  # fmt: skip
        log.info("Round %d of %d: %s.", number + 1, len(ClosureSolverSettings.rounds), in_words(facts))
        if number + 1 == len(ClosureSolverSettings.rounds):
            channel.stop = channel.cycles[-1]["stop"] = (
                f"{in_words(facts)} after {len(ClosureSolverSettings.rounds)} rounds"
            )

    def _flux(self, vis):
        """Flux of the model [Jy]: as given, or from the amplitudes of model visibilities `vis` of flux 1."""
        if self.run.config.flux is not None:
            return self.run.config.flux
        data = self.closures.data
        # Gains average out over many baselines; the median does not mind a station that is far off.
        return float(np.median(np.abs(data.vis) / np.maximum(np.abs(vis), 1e-6)))

    def _residual(self, channel, vis, extended):
        """Dirty image of the data, freed of the gains that the model visibilities `vis` imply, less the model."""
        data = self.closures.data
        gains = solve_gains(data.vis, vis, data.sigma, data.station, data.group)
        size = np.abs(gains)
        # What a station hardly saw would show its noise, enlarged.
        seen = (np.abs(data.vis) > ClosureSettings.snr * data.sigma) & (
            size > ClosureImagerSettings.min_gain * np.median(size)
        )
        corrected = np.where(seen, data.vis / np.where(seen, gains, 1) - extended * data.colocated, 0)
        blocks, used = [], 0
        for block, (row, chan) in zip(self.run.observation.blocks, self.closures.places, strict=True):
            fresh, weight = np.zeros_like(block.data), np.zeros_like(block.weight)
            part = slice(used, used + len(row))
            fresh[row, chan], weight[row, chan] = corrected[part], block.weight[row, chan] * seen[part]
            used += len(row)
            blocks.append(replace(block, data=fresh, weight=weight))
        run = self.run
        return make_measurement(blocks, run.grid, run.dishes, run.operator(run.threads)).residual(channel.model)

"""Steps 3 to 6 of an image from closure quantities: `--data closure`.

Dirty image and PSF are those of the visibilities as they were read. The model follows from closure quantities alone.
For the residual, gains of the stations are solved for each integration from the model, and the visibilities are
corrected by them. It therefore shows what gain errors cannot explain. The restored image is the model, smoothed to the
restoring beam, plus the residual, as in other runs.
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
    """Smallest gain of a station, over the median. Samples of a station with a smaller gain, which has lost its signal,
    do not contribute to the residual."""


log = logging.getLogger("radrim")


class ClosureImager(ChannelImager):
    """A `ChannelImager` of one image whose model comes from closure quantities.

    Parameters
    ----------
    run : RunContext
    closures : ClosureInput
        Closure quantities of the observation's blocks.
    """

    def __init__(self, run: RunContext, closures: ClosureInput):
        super().__init__(run)
        self.closures = closures

    def _deconvolve(self, states, minor):  # noqa: ARG002 - there is no minor cycle
        """Fit the closure quantities in rounds; return the error of a failed round, or None."""
        channel, data = states[0], self.closures.data
        region, grid = self._region()
        solver = ClosureSolver(data, grid, self.run.threads)
        self.run.observation.notes.append(
            f"Closure image: {len(data.phases)} closure phases and {len(data.amplitudes)} log closure amplitudes; "
            f"emission within {format_angle(grid.width * grid.scale, 3)}; prior a Gaussian of "
            f"{format_angle(solver.size, 3)} (FWHM). The centroid is put at the phase centre, since closure "
            "quantities do not depend on position. The flux is from the amplitudes as they were read, or from --flux."
        )  # fmt: skip
        log.info("%s", self.run.observation.notes[-1])
        if not len(data.amplitudes):
            self.run.observation.notes.append("Fewer than four antennas observe together: closure phases alone.")
            log.warning("%s", self.run.observation.notes[-1])
        with self.run.clock("deconvolve"):
            try:
                while len(channel.cycles) < len(ClosureSolverSettings.rounds):
                    self._round(channel, solver, region)
                    channel.keep()
            except SolverError as error:
                return error
        channel.facts = {name: channel.cycles[-1][name] for name in FACTS}
        return None

    def _region(self):
        """Slices of the middle of the image that may hold emission, and their grid."""
        whole = self.run.grid
        wanted = size_in_pixels(self.closures.field, whole.scale)
        width, height = min(wanted, whole.width), min(wanted, whole.height)
        x, y = whole.width // 2 - width // 2, whole.height // 2 - height // 2
        region = slice(y, y + height), slice(x, x + width)
        return region, whole.region(*region)

    def _round(self, channel, solver, region):
        """Run the next round; changes the channel's model, residual, cycles and stop."""
        start, number = time.perf_counter(), len(channel.cycles)
        before = solver.start
        image = channel.model[region].astype(float)
        if image.sum() > 0:  # from the last round, or a start model
            before = Solution(image / image.sum(), channel.cycles[-1]["extended"] if number else 0.0)
        # The round starts from the saved float32 model, so that a resumed run continues with the same numbers.
        solution = solver.round(number, before)
        vis = solver.visibilities(solution)
        flux = self._flux(vis)
        model = np.zeros(self.run.grid.shape, np.float32)
        model[region] = flux * solution.image
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
        # Gain errors average out over many baselines, and the median is robust against a station with a wrong gain.
        return float(np.median(np.abs(data.vis) / np.maximum(np.abs(vis), 1e-6)))

    def _residual(self, channel, vis, extended):
        """Dirty image of the data, corrected by gains solved from the model visibilities `vis`, minus the model."""
        data = self.closures.data
        gains = solve_gains(data.vis, vis, data.sigma, data.station, data.group)
        size = np.abs(gains)
        # Division by a small gain would amplify the noise of a station without signal.
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

"""Steps 3 to 6 of images by relative entropy: `--solver entropy`.

There are no major cycles: `radrim.closure.entropy` fits visibilities, averaged in cells, with natural weights. Dirty
image, PSF and residual have the weighting of the run, as with other solvers.
"""

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from radrim.closure.quantities import ClosureSettings
from radrim.closure.solver import Solution
from radrim.errors import SolverError
from radrim.imagers.base import Target
from radrim.imagers.channels import ChannelImager
from radrim.imagers.entropy_fit import FACTS, facts_of, in_words, make_solver
from radrim.measure.mosaic import make_measurement


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
        solver, region = make_solver(blocks, run.grid, run.mask)
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

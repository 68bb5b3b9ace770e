"""The CLEAN stage: CLEAN follows the network, and models the sources that the network misses or cannot improve."""

import dataclasses
from typing import Any

import numpy as np

from radrim.deconvolve.clean import CleanSolver
from radrim.deconvolve.minor import MinorCycle
from radrim.geometry import crop_centre
from radrim.rim.minor.detection import level_for
from radrim.rim.minor.settings import RimSettings

LEVELS = 3.0, 1.5
"""Level of CLEAN's automatic mask, as `level_for` corrects it, and final threshold, in units of the noise. The prior
update models fainter emission inside the mask better than CLEAN components do."""
FREE = 0.95
"""CLEAN works without a mask until a major cycle leaves more than this fraction of the noise before it."""


class CleanStage:
    """Minor cycles of CLEAN after those of the network. The CLEAN solver is made for the first of them.

    Parameters
    ----------
    settings : RimSettings
    threads : int
    """

    def __init__(self, settings: RimSettings, threads: int) -> None:
        self._settings, self._threads = settings, threads
        self.on = False
        """Whether CLEAN runs the next minor cycle."""
        self._clean: CleanSolver | None = None
        self._resumed: tuple[dict, dict] | None = None

    @property
    def begun(self) -> bool:
        """Whether CLEAN has run a minor cycle."""
        return self._clean is not None or self._resumed is not None

    def begin(self) -> bool:
        """Let CLEAN run the next minor cycle, unless it has run one; return whether it will."""
        self.on |= not self.begun
        return not self.begun

    def __call__(
        self,
        residual: np.ndarray,
        psf: np.ndarray,
        model: np.ndarray,
        noise: float,
        expected: float,
        peak: float | None,
    ) -> MinorCycle:
        """Run one minor cycle of CLEAN; arguments as for `MinorCycleSolver`, and the `expected` noise [Jy/beam]."""
        if self._clean is None:
            self._clean = self._make(residual.size, expected)
        psf = np.ascontiguousarray(crop_centre(psf, residual.shape))
        minor = self._clean(residual, psf, model, noise, peak)
        # On very sparse arrays CLEAN can diverge far above the noise. Then the network runs the next minor cycle.
        self.on = not minor.diverged
        if self._settings.mask is not None:  # because kernels of large scales extend beyond the mask
            minor.update[~self._settings.mask] = 0
        stop = f"CLEAN stage: {minor.stop}"
        return dataclasses.replace(minor, stop=stop, clean_stage=True)

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Facts and arrays that later cycles need; see `MinorCycleSolver.state`."""
        clean, arrays = ({}, {}) if self._clean is None else self._clean.state()
        return {"clean_stage": self.on, "clean": clean}, arrays

    def resume(self, facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Continue from a `state`; `arrays` holds only those of CLEAN."""
        self.on = facts["clean_stage"]
        self._resumed = (facts["clean"], arrays) if facts["clean"] else None

    def _make(self, pixels: int, expected: float) -> CleanSolver:
        settings = self._settings
        clean = CleanSolver(
            dataclasses.replace(
                settings.clean,
                auto_mask=level_for(pixels, LEVELS[0]),
                auto_threshold=LEVELS[1],
                noise_fall=FREE,
                threshold=max(settings.threshold, LEVELS[1] * expected),
                mask=settings.mask,
            ),
            self._threads,
        )
        if self._resumed is not None:
            clean.resume(*self._resumed)
        return clean

"""CLEAN's finish: what the network leaves, since it takes it for empty sky, or cannot mend it any more."""

import dataclasses
from typing import Any

import numpy as np

from radrim.deconvolve.clean import CleanSolver
from radrim.deconvolve.minor import MinorCycle
from radrim.geometry import crop_centre
from radrim.rim.minor.detection import level_for
from radrim.rim.minor.settings import RimSettings

LEVELS = 3.0, 1.5
"""CLEAN's automatic mask, as `level_for` has it, and its final threshold, in units of the noise: what is
fainter in there the second look finds better than single components do."""
FREE = 0.95
"""It finds sources anywhere until a major cycle leaves more than this part of the noise: little is left to find."""


class Finish:
    """CLEAN after the network; it is made when it is needed first.

    Parameters
    ----------
    settings : RimSettings
    threads : int
    """

    def __init__(self, settings: RimSettings, threads: int) -> None:
        self._settings, self._threads = settings, threads
        self.on = False
        """Whether it is its turn."""
        self._clean: CleanSolver | None = None
        self._resumed: tuple[dict, dict] | None = None

    @property
    def begun(self) -> bool:
        """Whether CLEAN has worked on the image."""
        return self._clean is not None or self._resumed is not None

    def __call__(
        self,
        residual: np.ndarray,
        psf: np.ndarray,
        model: np.ndarray,
        noise: float,
        expected: float,
        window: np.ndarray | None,
        peak: float | None,
    ) -> MinorCycle:
        """A minor cycle of CLEAN; arguments as for `RimSolver`, with the noise that was expected [Jy/beam]."""
        if self._clean is None:
            self._clean = self._make(residual.size, expected)
        psf = np.ascontiguousarray(crop_centre(psf, residual.shape))
        minor = self._clean(residual, psf, model, noise, window, peak)
        # On very sparse arrays CLEAN can fail far above the noise; what it changed may be enough for the network.
        self.on = minor.stop != "rising peak"
        if self._settings.mask is not None:  # the kernels of large scales reach beyond it
            minor.update[~self._settings.mask] = 0
        stop = f"CLEAN of what the network leaves: {minor.stop}"
        return dataclasses.replace(minor, stop=stop, finishing=True)

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """As for the solver."""
        clean, arrays = ({}, {}) if self._clean is None else self._clean.state()
        return {"finishing": self.on, "clean": clean}, arrays

    def resume(self, facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Go on from a `state`; all of `arrays` is CLEAN's."""
        self.on = facts["finishing"]
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

"""Step 5, deconvolve: the one loop of major cycles, whatever the image is cut into and wherever it is kept.

A major cycle runs the minor cycles of all parts of an image, measures exactly what their update takes away from the
residual, takes the part of it that lowers chi^2 most (or nothing), and decides whether to go on. What a minor cycle
works on, how the exact residual is computed and where images are kept differs between images in memory
(`radrim.deconvolve.whole`) and images in facets (`radrim.facets.faceted`); it stands behind `ImageState`.
"""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from radrim.deconvolve.minor import FinalStage, MinorCycle
from radrim.errors import SolverError
from radrim.runtime.executors import Threads

log = logging.getLogger("radrim")

RISE_LIMIT = 1.02
"""A major cycle after which the residual's rms is larger than the best so far by this factor is undone."""

STALL_LIMIT = 0.995
"""Two major cycles in a row that leave more than this part of the residual's rms end the deconvolution."""

OVERSTATED = 0.8
"""Ratio of measured to expected noise below which the expected noise is replaced during the deconvolution."""

UNFINISHED = 0.9
"""The same ratio once the deconvolution has ended; measured against the residual's rms as well."""

BRIGHT = 8.0
"""Residual peak over its rms above which the rms is not taken for noise."""


@dataclass(kw_only=True)
class ImageState(ABC):
    """One image on its way through the major cycles.

    Parameters
    ----------
    label : str
        Label of the image, unique in the run.
    stokes : str
    expected : float
        Noise of the dirty image, from the weights and the scatter of the data [Jy/beam]; NaN if unknown. It falls where
        the data scatter less once the model is subtracted.
    cycles : list of dict
        One per major cycle, as `radrim.report.page.Report.cycles` wants them.
    stop : str
        Why the deconvolution ended; empty while it goes on.
    facts : dict
        More numbers for the FITS header, by the names of `radrim.write.fits.KEYWORDS`.
    ended : str
        Why the minor cycles ended; empty while they go on. Final stages may follow.
    stage : int
        Final stages that have been run.
    quiet : bool
        Whether the log shows each major cycle at debug level only.
    """

    label: str
    stokes: str = "I"
    expected: float = float("nan")
    cycles: list[dict] = field(default_factory=list)
    stop: str = ""
    facts: dict = field(default_factory=dict)
    ended: str = ""
    stage: int = 0
    quiet: bool = False
    stages: Sequence[FinalStage] = field(default=(), init=False, repr=False)
    """Run once each when the minor cycles have nothing left to do."""

    @property
    def components(self) -> int:
        """Components found so far."""
        return sum(cycle["components"] for cycle in self.cycles)

    @property
    def prefix(self) -> str:
        """What a log line about this image begins with."""
        return f"{self.label}, " if self.label else ""

    # What differs between images in memory and images in facets

    @property
    @abstractmethod
    def left_noise(self) -> float:
        """Noise of the dirty image, measured in what the model leaves of the visibilities [Jy/beam]; NaN if unknown."""

    @property
    @abstractmethod
    def rms(self) -> float:
        """Of the residual of the accepted model [Jy/beam]."""

    @property
    @abstractmethod
    def peak(self) -> float:
        """Largest |residual| of the accepted model [Jy/beam]."""

    @property
    @abstractmethod
    def flux(self) -> float:
        """Of the accepted model; of several terms that of the first [Jy]."""

    def propose(self) -> list[MinorCycle]:
        """Run the minor cycles, or the next final stage. Their update is pending until `settle`."""
        minors: list[MinorCycle] = []
        if not self.ended:
            minors = self.minor_cycles()
            if not (self.stages and all(minor.converged for minor in minors)):
                return minors
            self.ended = max(minors, key=lambda minor: minor.components).stop
            if self.pending:  # its exact residual is not known yet
                return [replace(minor, converged=False) for minor in minors]
        while self.stage < len(self.stages):
            self.stage += 1
            found = self.stages[self.stage - 1](self.ask)
            if found is not None:
                return [found]
        return minors or [MinorCycle(np.zeros((0, 0), np.float32), 0, self.peak, self.ended, converged=True)]

    def expect(self, noise: float) -> bool:
        """Tell all minor cycles of another expected noise [Jy/beam]; True if one of them has more to do now."""
        if not self.tell(noise):
            return False
        self.ended, self.stage = "", 0
        return True

    @property
    @abstractmethod
    def pending(self) -> bool:
        """Whether an update is pending."""

    @abstractmethod
    def minor_cycles(self) -> list[MinorCycle]:
        """Run the minor cycles of all parts of the image. Their update is pending until `settle`."""

    @abstractmethod
    def ask(self, action: str, **values: Any) -> list[dict[str, Any]]:
        """Ask every part of the image to carry out an action of a final stage; see `RefiningSolver.refine`.

        After 'stage_update' the update of the stage is pending.
        """

    @abstractmethod
    def measure(self) -> float:
        """Compute exactly what the pending update takes away from the residual.

        Returns
        -------
        float
            The part of the update that lowers chi^2 most: above 1 if it could go further, 0 if it leads the wrong way.
        """

    @abstractmethod
    def rms_after(self, part: float) -> float:
        """Rms of the residual if this part of the pending update is taken [Jy/beam]."""

    @abstractmethod
    def settle(self, part: float) -> None:
        """Take this part of the pending update; 0 drops it."""

    @abstractmethod
    def tell(self, noise: float) -> bool:
        """Tell all minor cycles of another expected noise [Jy/beam]; True if one of them has more to do now."""

    @abstractmethod
    def keep(self) -> None:
        """Keep the state on disk, if it is kept, so that an interrupted run goes on from here."""


def deconvolve(images: Sequence[ImageState], max_major: int) -> None:
    """Deconvolve images in step, each until its own end; changes their models, residuals, cycles and stop.

    Parameters
    ----------
    images : sequence of ImageState
    max_major : int
        Largest number of major cycles.

    Raises
    ------
    SolverError
        A minor cycle met numbers that it cannot work with. Every image then is as its last major cycle left it;
        `stop` says that a minor cycle failed, or is empty where there was no major cycle yet.
    """
    while active := [image for image in images if not image.stop and len(image.cycles) < max_major]:
        start = time.perf_counter()
        try:
            proposals = _in_parallel(_propose, active)
        except SolverError:
            for image in active:
                failed = f"a minor cycle failed in major cycle {len(image.cycles) + 1}"
                image.stop = failed if image.cycles else ""
            raise
        for image, (minors, best) in zip(active, proposals, strict=True):
            taken = accept(image, minors, best)
            describe(image, time.perf_counter() - start)
            if taken:
                _expect_less(image)
            if len(image.cycles) == max_major:
                image.stop = image.stop or f"{max_major} major cycles (--max-major)"
            image.keep()


def _in_parallel(function, images):
    if len(images) == 1:
        return [function(images[0])]
    return Threads(len(images)).run("major cycle", [(function, image) for image in images])


def _propose(image):
    minors = image.propose()
    return minors, image.measure()


def accept(image: ImageState, minors: Sequence[MinorCycle], best: float) -> bool:
    """Take a major cycle's update, or part of it, or undo it if it made things worse; decide whether to go on.

    Parameters
    ----------
    image : ImageState
        With a pending update that has been measured.
    minors : sequence of MinorCycle
        What made it; at least one.
    best : float
        From `ImageState.measure`.

    Returns
    -------
    bool
        False if it was undone.
    """
    whole = max(minor.whole for minor in minors)
    # The step is not stretched: its length is the minor cycle's choice. One that leads the wrong way shows in the rms.
    part = 1.0 if whole or not 0 < best < 1 else best
    before, rms = image.rms, image.rms_after(part)
    risen = not rms <= (whole or RISE_LIMIT) * before
    # The final stages may let the residual rise.
    slow = rms > STALL_LIMIT * before and not whole
    components = sum(minor.components for minor in minors)
    reason = max(minors, key=lambda minor: minor.components).stop
    last = image.cycles[-1] if image.cycles else {"stalled": False, "components": 1}
    if risen:
        image.stop = "the residual rose; the last cycle was undone"
    # A cycle without components can be the one that goes from the free stage to the masked one.
    elif (components == last["components"] == 0) or all(minor.converged for minor in minors):
        image.stop = reason
    elif slow and last.get("stalled", False):
        image.stop = "the residual no longer falls"
    if part < 1:
        reason = f"{reason}, step shortened to {part:.1%}"
    image.settle(0.0 if risen else part)
    image.cycles.append(
        {
            "channel": image.label,
            "cycle": len(image.cycles) + 1,
            "rms": rms,
            "components": components,
            "stop": image.stop or reason,
            "stalled": slow,
        }
    )
    return not risen


def _expect_less(image):
    """Lower the expected noise if the visibilities show less of it than before; the deconvolution then goes on.

    Where channels are few and wide and integrations long, the sky itself changes from sample to sample and counts as
    scatter until a model explains it.
    """
    seen, most = image.left_noise, OVERSTATED * image.expected
    if image.stop:
        bright = image.peak > BRIGHT * image.rms
        most = UNFINISHED * (image.expected if bright else min(image.expected, image.rms))
    if not seen < most:
        return
    log.info(
        "%sonce the model is subtracted, the data scatter less: expected noise %.3g instead of %.3g Jy/beam.",
        image.prefix,
        seen,
        image.expected,
    )
    image.expected = seen
    if image.expect(seen):
        image.stop = ""


def describe(image: ImageState, seconds: float) -> None:
    """Complete the record of the last major cycle and log it: the residual's peak, the model's flux, wall time."""
    cycle = image.cycles[-1]
    cycle |= {"peak": image.peak, "flux": image.flux, "seconds": seconds}
    log.log(
        logging.DEBUG if image.quiet else logging.INFO,
        "%smajor cycle %d: %d components, model flux %.4g Jy, residual peak %.4g, rms %.4g Jy/beam (%s, %.1f s)",
        image.prefix,
        cycle["cycle"],
        cycle["components"],
        cycle["flux"],
        cycle["peak"],
        cycle["rms"],
        cycle["stop"],
        seconds,
    )


def best_part(update: np.ndarray, before: np.ndarray, after: np.ndarray) -> float:
    """How much of an update lowers chi^2 most; above 1 if it could go further, 0 if it leads the wrong way.

    Along the update d chi^2 is the parabola -2 a <d, r> + a^2 <d, G d>, with r the exact residual before and G d what
    the update takes away from it.

    Parameters
    ----------
    update : (..., y, x) float32
        [Jy/pixel]
    before, after : (..., y, x) float32
        Exact residuals without the update and with all of it [Jy/beam].
    """
    update = update.astype(np.float64)
    fall, curve = np.vdot(update, before), np.vdot(update, before - after)
    return float(fall / curve) if fall > 0 and curve > 0 else 0.0

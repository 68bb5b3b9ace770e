"""Step 4, deconvolve: the loop of major cycles, the same for images in memory and in facets.

A major cycle runs the minor cycles of all parts of an image and computes the exact residual of their update. It accepts
the fraction of the update that lowers chi^2 most, or nothing, and decides whether the deconvolution continues. The
abstract class `ImageState` hides where the images are kept, and how residuals are computed: `radrim.deconvolve.whole`
implements it in memory, `radrim.facets.faceted` in files.
"""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from radrim.deconvolve.decision import REFUSED, by_judge, by_rms, given_up
from radrim.deconvolve.judge import Verdict
from radrim.deconvolve.minor import FinalStage, MinorCycle
from radrim.errors import SolverError
from radrim.runtime.executors import Threads
from radrim.runtime.progress_bar import ProgressBar

log = logging.getLogger("radrim")


@dataclass(frozen=True)
class MajorCycleSettings:
    """When the major cycles go on, and which noise they expect."""

    min_progress: float = 0.995
    """Largest ratio of the residual rms after a major cycle to that before it that counts as progress. Two successive
    major cycles without progress end the deconvolution."""
    overstated: float = 0.8
    """Ratio of measured to expected noise below which the measured noise replaces the expected one, while the
    deconvolution continues."""
    overstated_at_end: float = 0.9
    """The same ratio once the deconvolution has stopped. The residual rms replaces the expected noise in it if
    smaller."""
    max_noise_peak: float = 8.0
    """Ratio of residual peak to residual rms above which the rms does not count as noise."""


@dataclass(kw_only=True)
class ImageState(ABC):
    """One image, or the terms of one spectrum, during the major cycles.

    Parameters
    ----------
    label : str
        Label of the image, unique in the run.
    stokes : str
    expected : float
        Expected noise of the dirty image, from the weights and the scatter of the data [Jy/beam]; NaN if unknown. It is
        lowered if the data scatter less after subtraction of the model.
    cycles : list of dict
        Records of the major cycles, as in `radrim.report.page.Report.cycles`.
    stop : str
        Why the deconvolution stopped; empty while it continues.
    facts : dict
        Additional numbers for the FITS header, by the names of `radrim.write.fits.KEYWORDS`.
    ended : str
        Why the minor cycles ended; empty while they continue. Final stages may follow.
    stage : int
        Number of final stages that have been run.
    quiet : bool
        Whether the log shows each major cycle at debug level only.
    fitted : bool
        Whether some samples are kept out to judge the updates. They are let in for the last major cycle.
    fit_quality : dict
        How well the model fits samples that are fitted and samples that are kept out, just before these are let in; see
        `radrim.measure.fit_quality`. Empty without kept-out samples.
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
    fitted: bool = False
    fit_quality: dict[str, Any] = field(default_factory=dict)
    verdict: Verdict | None = field(default=None, init=False, repr=False)
    """What the kept-out samples say of the pending update; None where none are kept out."""
    stages: Sequence[FinalStage] = field(default=(), init=False, repr=False)
    """Final stages, each of which runs once after the last minor cycle."""
    trials: Sequence[FinalStage] = field(default=(), init=False, repr=False)
    """Further final stages, which run only where kept-out visibilities judge them."""
    closing: FinalStage | None = field(default=None, init=False, repr=False)
    """What fits the samples that were kept out, once all others are done; None: the minor cycle."""

    @property
    def components(self) -> int:
        """Number of components found so far."""
        return sum(cycle["components"] for cycle in self.cycles)

    @property
    def all_stages(self) -> Sequence[FinalStage]:
        """The final stages of this image: trials are among them where kept-out visibilities judge."""
        return (*self.stages, *self.trials) if self.fitted else self.stages

    @property
    def prefix(self) -> str:
        """Beginning of the log lines about this image."""
        return f"{self.label}, " if self.label else ""

    # What differs between images in memory and images in facets

    @property
    @abstractmethod
    def left_noise(self) -> float:
        """Noise of the dirty image, measured in the visibilities minus the model [Jy/beam]; NaN if unknown."""

    @property
    @abstractmethod
    def rms(self) -> float:
        """Rms of the residual of the accepted model [Jy/beam]."""

    @property
    @abstractmethod
    def peak(self) -> float:
        """Largest |residual| of the accepted model [Jy/beam]."""

    @property
    @abstractmethod
    def flux(self) -> float:
        """Flux of the accepted model [Jy]; of several terms the first."""

    def propose(self) -> list[MinorCycle]:
        """Run the minor cycles, or the next final stage. Their update is pending until `apply_update`."""
        minors: list[MinorCycle] = []
        if not self.ended:
            minors = self.minor_cycles()
            if not (self.stages and all(minor.converged for minor in minors)):
                return minors
            self.ended = max(minors, key=lambda minor: minor.components).stop
            # The exact residual of an update is not known yet. An update may also be that of an interrupted stage.
            if self.pending and any(minor.components for minor in minors):
                return [replace(minor, converged=False) for minor in minors]
        while self.stage < len(self.all_stages):
            self.stage += 1
            found = self.all_stages[self.stage - 1](self.ask)
            if found is not None:
                return [found]
        return minors or [MinorCycle(np.zeros((0, 0), np.float32), 0, self.peak, self.ended, converged=True)]

    def go_on_otherwise(self) -> bool:
        """Whether minor cycles have another way to find updates, which they then take, after one that was refused."""
        return bool(self.stages) and any(one["more"] for one in self.ask("change_method"))

    def expect(self, noise: float) -> bool:
        """Replace the expected noise of all minor cycles [Jy/beam].

        Returns
        -------
        bool
            Whether a minor cycle has more to do now. Minor cycles and final stages then start again.
        """
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
        """Run the minor cycles of all parts of the image. Their update is pending until `apply_update`."""

    @abstractmethod
    def ask(self, action: str, natural: bool = False, **values: Any) -> list[dict[str, Any]]:
        """Make every part of the image carry out an action of a final stage; see `RefiningSolver.refine`.

        After 'stage_update' the update of the stage is pending. With `natural` the parts also get the images with
        natural weights, where they are at hand.
        """

    @abstractmethod
    def measure(self) -> float:
        """Compute the exact residual of the model with the pending update.

        Returns
        -------
        float
            The fraction of the update that lowers chi^2 most; above 1 if a longer step would lower it further, 0 if
            every step raises it.
        """

    def use_all_samples(self) -> None:
        """Go on with all samples: nothing is kept out from now on, and nothing judges."""
        self.fitted = False

    @abstractmethod
    def rms_after(self, part: float) -> float:
        """Rms of the residual if the fraction `part` of the pending update is accepted [Jy/beam]."""

    @abstractmethod
    def apply_update(self, part: float) -> None:
        """Add the fraction `part` of the pending update to the model; 0 drops the update."""

    @abstractmethod
    def tell(self, noise: float) -> bool:
        """Give all minor cycles the new expected noise [Jy/beam]; return whether one of them has more to do now."""

    @abstractmethod
    def keep(self) -> None:
        """Save the state in the work directory, if there is one, so that an interrupted run can resume from it."""


def deconvolve(images: Sequence[ImageState], max_major: int, tolerant: bool = False) -> list[SolverError]:
    """Deconvolve images in parallel, cycle by cycle; changes their models, residuals, `cycles` and `stop`.

    Parameters
    ----------
    images : sequence of ImageState
    max_major : int
        Largest number of major cycles.
    tolerant : bool
        Whether the other images go on after a minor cycle of one has failed.

    Returns
    -------
    list of SolverError
        Why images failed, each of which keeps the model after its last major cycle; none unless `tolerant`.

    Raises
    ------
    SolverError
        A minor cycle failed, for instance on NaN, and `tolerant` is not set. Every image then is in the state after its
        last major cycle; `stop` says that a minor cycle failed, or is empty if there was no major cycle yet.
    """
    failures: list[SolverError] = []
    with ProgressBar("deconvolving, at most", max_major) as bar:
        while active := [image for image in images if not image.stop and len(image.cycles) < max_major]:
            start = time.perf_counter()
            proposals = _in_parallel(_propose, active)
            for image, found in zip(active, proposals, strict=True):
                if isinstance(found, SolverError):
                    image.stop = f"a minor cycle failed in major cycle {len(image.cycles) + 1}"
                    failures.append(found)
            if failures and not tolerant:
                for image in active:
                    failed = f"a minor cycle failed in major cycle {len(image.cycles) + 1}"
                    image.stop = failed if image.cycles else ""
                raise failures[0]
            for image, found in zip(active, proposals, strict=True):
                if isinstance(found, SolverError):
                    continue
                minors, best = found
                taken = accept(image, minors, best)
                describe(image, time.perf_counter() - start)
                if taken:
                    _expect_less(image)
                if len(image.cycles) == max_major:
                    image.stop = image.stop or f"{max_major} major cycles (--max-major)"
                if image.stop and image.fitted:
                    _fit_all(image)
                image.keep()
            bar.reach(min(len(one.cycles) for one in images))
    return failures


def _fit_all(image):
    """One more cycle of the minor cycle that was the last, with the samples that were kept out until now."""
    start = time.perf_counter()
    image.use_all_samples()
    log.info("%sall visibilities from here on: residual rms %.4g Jy/beam.", image.prefix, image.rms)
    found = image.closing(image.ask) if image.closing else None
    minors = [found] if found else []
    if image.closing is None and image.ended != REFUSED:  # else more minor cycles would fit noise
        minors = image.minor_cycles()
    if minors and image.pending:
        stop, image.stop = image.stop, ""
        accept(image, minors, image.measure())
        image.stop = stop
        describe(image, time.perf_counter() - start)


def _in_parallel(function, images):
    if len(images) == 1:
        return [function(images[0])]
    return Threads(len(images)).run("major cycle", [(function, image) for image in images])


def _propose(image):
    """Minor cycles and `ImageState.measure`, or the error of a minor cycle that failed."""
    try:
        minors = image.propose()
        return minors, image.measure()
    except SolverError as error:
        return error


def accept(image: ImageState, minors: Sequence[MinorCycle], best: float) -> bool:
    """Accept a major cycle's update or a fraction of it, or undo it; decide whether the deconvolution continues.

    Parameters
    ----------
    image : ImageState
        With a pending update, after `ImageState.measure`.
    minors : sequence of MinorCycle
        The minor cycles that found the update; at least one.
    best : float
        Result of `ImageState.measure`.

    Returns
    -------
    bool
        False if the update was undone.
    """
    if image.verdict is None:
        decision = by_rms(minors, best, image.rms, image.rms_after)
    else:
        decision = by_judge(image.verdict, minors, best, given_up(image.cycles))
    part = decision.part
    components = sum(minor.components for minor in minors)
    most = max(minors, key=lambda minor: minor.components)
    reason = most.stop
    last = image.cycles[-1] if image.cycles else {"stalled": False, "components": 1}
    before, rms = image.rms, image.rms_after(part)
    # The final stages may let the residual rise.
    slow = rms > MajorCycleSettings.min_progress * before
    slow &= not any(minor.max_rms_rise or minor.whole for minor in minors)
    if decision.refused and image.verdict is None:
        image.stop = decision.refused
    elif decision.refused:
        reason = f"{reason}; undone: {decision.refused}"
    # A single cycle without components does not end the deconvolution: CLEAN may have just closed its mask.
    elif components == last["components"] == 0 and image.fitted and image.stage < len(image.all_stages):
        image.ended = image.ended or reason
    elif (components == last["components"] == 0) or all(minor.converged for minor in minors):
        image.stop = reason
    elif slow and last.get("stalled", False) and image.verdict is None:
        image.stop = "the residual no longer falls"
    if 0 < part < 0.9995:  # otherwise the text would say 100.0%
        reason = f"{reason}, step shortened to {part:.1%}"
    cycle = {
        "channel": image.label,
        "cycle": len(image.cycles) + 1,
        "rms": rms,
        "components": components,
        "changes_pixels": most.changes_pixels,
        "stop": image.stop or reason,
        "stalled": slow,
    }
    if image.verdict is not None:
        cycle |= image.verdict.summary(part) | {"taken": part > 0, "offered": any(minor.whole for minor in minors)}
    image.apply_update(part)
    image.cycles.append(cycle)
    if image.trials and any(minor.max_rms_rise or minor.whole for minor in minors):
        image.ask("note_decision", taken=part > 0)
    if decision.refused and not image.stop and not image.ended and not image.go_on_otherwise():
        image.ended = decision.refused
    return part > 0


def _expect_less(image):
    """Lower the expected noise if the visibilities minus the model scatter less; the deconvolution then continues.

    With wide channels or long integrations the visibilities of the sky change from sample to sample. The first noise
    estimate includes this change; it disappears as the model improves.
    """
    seen, most = image.left_noise, MajorCycleSettings.overstated * image.expected
    if image.stop:
        bright = image.peak > MajorCycleSettings.max_noise_peak * image.rms
        most = MajorCycleSettings.overstated_at_end * (image.expected if bright else min(image.expected, image.rms))
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
    """Add residual peak, model flux and wall time to the record of the last major cycle, and log it."""
    cycle = image.cycles[-1]
    cycle |= {"peak": image.peak, "flux": image.flux, "seconds": seconds}
    line = _judged_line(cycle) if "kept_chi2" in cycle else _line(cycle)
    log.log(logging.DEBUG if image.quiet else logging.INFO, "%smajor cycle %d: %s", image.prefix, cycle["cycle"], line)


def _line(cycle):
    what = "pixel% changed" if cycle["changes_pixels"] else "component%"
    what = what.replace("%", "" if cycle["components"] == 1 else "s")
    return (
        f"{cycle['components']} {what}, model flux {cycle['flux']:.4g} Jy, residual peak {cycle['peak']:.4g}, "
        f"rms {cycle['rms']:.4g} Jy/beam ({cycle['stop']}, {cycle['seconds']:.1f} s)"
    )


def _judged_line(cycle):
    """Of a cycle that kept-out visibilities judged: chi^2 per datum, and how certain the change is."""
    fitted = f"{cycle['fitted_chi2']:.4g} fitted, " if "fitted_chi2" in cycle else ""
    certain = -cycle["kept_change"] / cycle["kept_error"] if cycle["kept_error"] > 0 else 0.0
    better = f"{'better' if certain > 0 else 'worse'} by {abs(certain):.2g} sigma" if certain else "unchanged"
    return (
        f"model flux {cycle['flux']:.4g} Jy, residual peak {cycle['peak']:.3g}, rms {cycle['rms']:.3g} Jy/beam; "
        f"chi^2 per datum: {fitted}{cycle['kept_chi2']:.4g} kept out, {better} ({cycle['stop']}, "
        f"{cycle['seconds']:.1f} s)"
    )

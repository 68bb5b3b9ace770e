"""How much of a pending update a major cycle takes: by the residual image, or by visibilities that were kept out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from radrim.deconvolve.judge import Verdict
from radrim.deconvolve.minor import MinorCycle

REFUSED = "the visibilities that were kept out are predicted no better"
"""Why the judge drops an update."""


@dataclass(frozen=True)
class DecisionSettings:
    """What is taken where nothing judges."""

    max_rms_rise: float = 1.02
    """Largest ratio of the residual rms after a major cycle to that before it. A cycle with a larger ratio is undone.
    """


class Decision(NamedTuple):
    """How much of an update is taken.

    Parameters
    ----------
    part : float
        0 to 1.
    refused : str
        Why nothing of it is taken; empty if some is.
    """

    part: float
    refused: str = ""


def by_rms(minors: Sequence[MinorCycle], best: float, rms: float, rms_after: Callable[[float], float]) -> Decision:
    """Take the length at which chi^2 of the fitted visibilities is lowest, unless the residual's rms rises.

    Parameters
    ----------
    minors : sequence of MinorCycle
        Those that found the update.
    best : float
        The fraction of the update that lowers chi^2 most.
    rms : float
        Of the residual without the update [Jy/beam].
    rms_after : callable
        The rms with a fraction of it.
    """
    max_rise = max(minor.max_rms_rise for minor in minors)
    # A best length above 1 is not used, since the minor cycle limits its step. A best length of 0 is left to the test
    # of the rms below.
    part = 1.0 if max_rise or not 0 < best < 1 else best
    if rms_after(part) <= (max_rise or DecisionSettings.max_rms_rise) * rms:
        return Decision(part)
    return Decision(0.0, "the residual rose; the last cycle was undone")


def by_judge(verdict: Verdict, minors: Sequence[MinorCycle], best: float, given_up: float) -> Decision:
    """Take what the kept-out visibilities support.

    A simpler model may predict them worse than the best one so far, by no more than the error of this change; all other
    updates must improve the prediction by more than the error. Final stages that simplify a model say so, and are not
    believed if the fitted samples are fitted better by more than that error: total variation once doubled the flux of a
    faint sky in this way. A model that does not follow from the present one is simpler if it fits the fitted samples
    less closely.

    Parameters
    ----------
    verdict : Verdict
    minors, best
        See `by_rms`.
    given_up : float
        Result of the function `given_up`.
    """
    part = 1.0 if not 0 < best < 1 else best
    whole = any(minor.whole for minor in minors)
    simpler = any(minor.max_rms_rise for minor in minors) and not verdict.fits_more(1.0)
    simpler = simpler or (whole and verdict.fits_less(1.0))
    if whole or any(minor.max_rms_rise for minor in minors):
        part = 1.0
    elif verdict.best + verdict.error < part:
        part = max(verdict.best, 0.0)
    error = verdict.change_error(part)
    if part and verdict.change(part) <= (error - given_up if simpler else -error):
        return Decision(part)
    return Decision(0.0, REFUSED)


def given_up(cycles: Sequence[dict[str, Any]]) -> float:
    """How much higher chi^2 of the kept-out visibilities is than that of the best model so far.

    Simpler models were taken since. `cycles` are the records of the major cycles.
    """
    total = 0.0
    for cycle in cycles:
        if cycle.get("taken"):
            total = max(0.0, total + cycle["kept_change"])
    return total

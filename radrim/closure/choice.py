"""What the search of `radrim.closure.entropy` works with: priors, paths of strengths, and its results."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from radrim.closure.noise import Noise
from radrim.closure.solver import ClosureSolverSettings, Solution


@dataclass(frozen=True)
class EntropyImage:
    """An image found by `EntropySolver`.

    Parameters
    ----------
    solution : Solution
        Its image has the pixels of the grid.
    flux : float
        Of the image [Jy].
    strength : float
        Of the entropy; see `radrim.closure.entropy.EntropySettings.strengths`.
    vis : (sample,) complex128
        Visibilities of the image with its extended flux [Jy].
    chi2 : float
        Reduced chi-square of the visibilities.
    """

    solution: Solution
    flux: float
    strength: float
    vis: np.ndarray
    chi2: float


class Prior(NamedTuple):
    """What the image is near to where the data are silent.

    Parameters
    ----------
    width : float
        Of the Gaussian (FWHM) [rad].
    centre : (float, float)
        Its place (l, m) [rad].
    separate : bool
        Whether flux that only colocated stations see may be missing in the image: it is larger than the field.
    extended : float
        The first guess of this flux [flux of the image].
    reach : float
        Largest |l| and |m| of emission [rad].
    floor : float
        Part of the flux that it spreads over the whole field.
    """

    width: float
    centre: tuple[float, float]
    separate: bool
    extended: float
    reach: float = np.inf
    floor: float = ClosureSolverSettings.floor


@dataclass(frozen=True)
class Choice:
    """Result of the search for the strength.

    Parameters
    ----------
    prior : Prior
    strength : float
    noise : Noise
    kept_chi2 : float
        Chi-square of the predicted visibilities, over their number.
    changes : list of (float, float, float)
        Each strength tried, the change of the chi-square of predicted visibilities, and its standard error.
    left : (sample,) complex128
        What the predictions leave of the visibilities [Jy].
    """

    prior: Prior
    strength: float
    noise: Noise
    kept_chi2: float = float("nan")
    changes: list[tuple[float, float, float]] = field(default_factory=list)
    left: np.ndarray = field(default_factory=lambda: np.zeros(0, complex), repr=False)


@dataclass
class Path:
    """Solutions of the folds for strengths from strong to weak, tried with one prior and noise.

    Parameters
    ----------
    prior : Prior
    noise : Noise
    states : list of Solution
        For each fold.
    left : (sample,) complex128
        What the predictions with the best strength leave [Jy].
    first, number, best : int
        Numbers of the strength that was tried first, of the one that is next, and of the best.
    history : list of list of Solution
        The states before each strength that was tried.
    changes : list of (float, float, float)
        As in `Choice`.
    """

    prior: Prior
    noise: Noise
    states: list[Solution]
    left: np.ndarray
    first: int = 0
    number: int = 0
    best: int = 0
    history: list[list[Solution]] = field(default_factory=list)
    changes: list[tuple[float, float, float]] = field(default_factory=list)

    def again(self, noise: Noise, vis: np.ndarray, patience: int) -> "Path":
        """A path of other noise that begins some strengths before the best; `vis` is what nothing predicts."""
        back = max(0, self.number - self.first - 2 * patience - 1)
        first = self.first + back
        return Path(self.prior, noise, self.history[back], vis, first, first, first)

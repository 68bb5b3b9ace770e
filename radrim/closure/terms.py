"""What images are fitted to: each kind of data gives a chi-square of model visibilities and its gradient.

A `DataTerm` takes the visibilities of an image whose pixels sum to 1. None of them depends on the flux of the model:
closure quantities do not measure it, and the term of visibilities finds the best flux itself.
"""

from typing import Protocol

import numpy as np

from radrim.closure.quantities import ClosureData, Closures


class DataTerm(Protocol):
    """Chi-square of one kind of data."""

    def __len__(self) -> int:
        """Number of real data."""

    def __call__(self, vis: np.ndarray) -> tuple[float, np.ndarray]:
        """Chi-square and its gradient.

        Parameters
        ----------
        vis : (sample,) complex128
            Visibilities of a model with flux 1.

        Returns
        -------
        float
        (sample,) complex128
            Derivative by ln|vis|, plus i times that by the phase.
        """


class PhaseTerm:
    """Closure phases; see `phase_chi_square`."""

    def __init__(self, phases: Closures):
        self._phases = phases

    def __len__(self) -> int:
        return len(self._phases)

    def __call__(self, vis: np.ndarray) -> tuple[float, np.ndarray]:
        """See `DataTerm`."""
        value, by_angle = phase_chi_square(self._phases, np.angle(vis))
        return value, 1j * by_angle


class AmplitudeTerm:
    """Log closure amplitudes; see `amplitude_chi_square`."""

    def __init__(self, amplitudes: Closures):
        self._amplitudes = amplitudes

    def __len__(self) -> int:
        return len(self._amplitudes)

    def __call__(self, vis: np.ndarray) -> tuple[float, np.ndarray]:
        """See `DataTerm`."""
        value, by_log = amplitude_chi_square(self._amplitudes, np.log(size_of(vis)))
        return value, by_log.astype(complex)


class VisibilityTerm:
    """Complex visibilities. The flux of the model is the one that fits them best.

    Parameters
    ----------
    vis : (sample,) complex128
        [Jy]
    sigma : (sample,) float64
        Noise of the real and of the imaginary part [Jy].
    """

    def __init__(self, vis: np.ndarray, sigma: np.ndarray):
        self._vis, self._weight = vis, sigma**-2.0

    def __len__(self) -> int:
        return 2 * len(self._vis)

    def flux(self, vis: np.ndarray) -> float:
        """Flux of the model [Jy] for which chi-square is lowest; at least 0."""
        power = float(self._weight @ np.abs(vis) ** 2)
        return max(float(self._weight @ (vis.conj() * self._vis).real), 0.0) / max(power, 1e-300)

    def __call__(self, vis: np.ndarray) -> tuple[float, np.ndarray]:
        """See `DataTerm`. At the best flux the derivative by the flux is 0."""
        flux = self.flux(vis)
        left = self._vis - flux * vis
        return float(self._weight @ np.abs(left) ** 2), -2 * flux * self._weight * left * vis.conj()


def closure_terms(data: ClosureData) -> list[DataTerm]:
    """The terms of closure phases and log closure amplitudes."""
    return [PhaseTerm(data.phases), AmplitudeTerm(data.amplitudes)]


def chi_squares(data: ClosureData, vis: np.ndarray) -> tuple[float, float]:
    """Chi-squares of closure phases and log closure amplitudes of model visibilities.

    Parameters
    ----------
    data : ClosureData
    vis : (sample,) complex128
        Colocated baselines include the flux on scales larger than the image.
    """
    phases, amplitudes = (term(vis)[0] for term in closure_terms(data))
    return phases, amplitudes


def phase_chi_square(phases: Closures, angle: np.ndarray) -> tuple[float, np.ndarray]:
    """Chi-square of closure phases and its gradient.

    With ``z = 1 - exp(i (model - data))`` it is ``z^H inverse z``: the usual chi-square where differences are small,
    without a jump where they pass pi (for one closure phase, 2 (1 - cos) / sigma^2; Chael et al. 2018, equation 21).

    Parameters
    ----------
    phases : Closures
    angle : (sample,) float64
        Phases of the model's visibilities [rad].

    Returns
    -------
    float
    (sample,) float64
        Derivative by `angle`.
    """
    turn = np.exp(1j * (phases.combine @ angle - phases.value))
    weighted = phases.inverse @ (1 - turn)
    value = float(np.vdot(1 - turn, weighted).real)
    return value, phases.combine.T @ (2 * (1j * turn.conj() * weighted).real)


def amplitude_chi_square(amplitudes: Closures, logarithm: np.ndarray) -> tuple[float, np.ndarray]:
    """Chi-square of log closure amplitudes, and its derivative by the logarithms of the model's (sample,)."""
    off = amplitudes.combine @ logarithm - amplitudes.value
    weighted = amplitudes.inverse @ off
    return float(off @ weighted), amplitudes.combine.T @ (2 * weighted)


def size_of(vis: np.ndarray) -> np.ndarray:
    """Amplitudes of visibilities, above 0, so that their logarithms are finite."""
    return np.maximum(np.abs(vis), 1e-12)

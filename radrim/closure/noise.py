"""Errors of visibilities, estimated from what predictions of them leave."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

from radrim.closure.cells import CellVisibilities


@dataclass(frozen=True)
class NoiseSettings:
    """What is assumed of the errors."""

    systematic: float = 0.01
    """Systematic error of a visibility before it is estimated [its amplitude]."""

    t_scale: float = 0.853
    """Scale of Student's t with 4 degrees of freedom that fits complex Gaussian noise of standard deviation 1 best."""


class Noise(NamedTuple):
    """Errors of visibilities, as predictions of them show.

    Parameters
    ----------
    factor : float
        Thermal noise, over that of the weights.
    systematic : float
        Error in proportion to the amplitude.
    """

    factor: float = 1.0
    systematic: float = NoiseSettings.systematic


def estimate_noise(data: CellVisibilities, left: np.ndarray) -> Noise:
    """Errors of visibilities by maximum likelihood, from what predictions leave of them.

    Parameters
    ----------
    data : CellVisibilities
    left : (sample,) complex128
        [Jy]
    """
    # The amplitude is that of the prediction: a measured one is large where its own noise is.
    power, thermal, signal = np.abs(left) ** 2 / 2, data.sigma**2, np.abs(data.vis - left) ** 2

    def unlikely(x):
        variance = np.exp(2 * x[0]) * thermal + np.exp(2 * x[1]) * signal
        # Few wild samples must not decide: the tails are those of Student's t with 4 degrees of freedom.
        return float(np.sum(np.log(variance) + 3.0 * np.log1p(power / (2.0 * variance))))

    level = 0.5 * np.log(max(float(np.median(power / thermal)) / np.log(2), 1e-6))
    starts = [(level, -6.0), (0.0, -3.0), (level / 2, -2.0)]
    found = min((minimize(unlikely, start, method="Nelder-Mead") for start in starts), key=lambda one: one.fun)
    factor, systematic = np.exp(found.x) / NoiseSettings.t_scale
    return Noise(float(factor), float(systematic))

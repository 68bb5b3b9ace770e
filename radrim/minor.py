"""What every minor cycle gives back."""

from dataclasses import dataclass

import numpy as np


@dataclass
class MinorCycle:
    """What one minor cycle found.

    Parameters
    ----------
    update : (y, x) float32
        To be added to the model [Jy/pixel]. Kernels centred in the window may reach beyond it.
    components : int
        Components found; the RIM's: pixels changed.
    peak : float
        Largest |residual| left by its own account [Jy/beam]; CLEAN's is weighted by the scale bias.
    stop : str
        Why the cycle ended.
    converged : bool
        Nothing left to do.
    """

    update: np.ndarray
    components: int
    peak: float
    stop: str
    converged: bool

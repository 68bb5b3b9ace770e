"""What every minor cycle gives back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

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
    finishing : bool
        Only CLEAN's finish is left to do, for a learned minor cycle.
    whole : float
        Above 0: the update is taken as a whole if the exact residual's rms then is at most so many times what it was,
        and undone otherwise; a part of it would make no sense.
    """

    update: np.ndarray
    components: int
    peak: float
    stop: str
    converged: bool
    finishing: bool = False
    whole: float = 0.0


class Others(NamedTuple):
    """What a minor cycle of a part of an image must know of the other parts.

    Parameters
    ----------
    bands : sequence of float
        Largest |residual| in each of the `radrim.rim.minor.detection.bands` [Jy/beam]; its sidelobes may be here.
    wait : bool
        In some of them the network finds emission: what it will leave here is not known yet, and not to be cleaned.
    """

    bands: Sequence[float] = (0.0, 0.0, 0.0)
    wait: bool = False

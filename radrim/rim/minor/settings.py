"""What the user decides about the learned minor cycle."""

from dataclasses import dataclass, field

import numpy as np

from radrim.deconvolve.clean import CleanSettings
from radrim.rim.network.prior import Prior


@dataclass(frozen=True)
class RimSettings:
    """What the user decides about the learned minor cycle.

    Parameters
    ----------
    noise : float
        Expected of the dirty image [Jy/beam]; NaN if unknown.
    threshold : float
        Stop when no residual is above this [Jy/beam].
    positive : bool
        Stokes I; other Stokes parameters have either sign.
    tile : int
        Largest tile of the network [pixel].
    mask : (y, x) bool or None
        The model is 0 elsewhere.
    tighten : bool
        At the end, what the data do not need goes from the model of a positive sky (`radrim.rim.minor.sparsify`).
    prior : Prior or None
        After that, it looks again at the model (`radrim.rim.network.prior`).
    sizes : bool
        Isolated points may be a little wider than points; not where spectra are fitted, for an index looks like a size.
    clean : CleanSettings
        Of the finish, but for its thresholds and its mask, which follow from `radrim.rim.minor.clean_finish` and from
        these.
    """

    noise: float = float("nan")
    threshold: float = 0.0
    positive: bool = True
    tile: int = 1024
    mask: np.ndarray | None = None
    tighten: bool = True
    prior: Prior | None = None
    sizes: bool = True
    clean: CleanSettings = field(default_factory=CleanSettings)

"""What natural weights in a cell of the uv plane are multiplied with: uniform and Briggs weights, as in WSClean.

Briggs (1995), PhD thesis, New Mexico Tech, chapter 3: W = w / (1 + S^2 D), S^2 = (5 * 10^-R)^2 / (sum D^2 / sum w),
w the natural weight and D its sum over the sample's uv cell.
"""

import numpy as np
from scipy.ndimage import uniform_filter

RANK_LEVEL, RANK_WINDOW = 3.0, 16
"""A cell's factor is at most RANK_LEVEL times the mean of those that are not 0 in a window of this many cells."""


def briggs_slope(robust: float, total: float, square: float) -> float:
    """Briggs's S^2, what the density is multiplied with, from the sums of the density and of its square."""
    return (5 * 10**-robust) ** 2 * total / square if square > 0 else 0.0


def cell_factors(density: np.ndarray, slope: float | None = None) -> np.ndarray:
    """Factors of the cells of a part of the uv plane.

    Parameters
    ----------
    density : (v, u) array
        Sum of the natural weights in each cell.
    slope : float, optional
        Of `briggs_slope`; uniform weights if absent.

    Returns
    -------
    (v, u) array
        In empty cells 0 (uniform) or 1 (Briggs).
    """
    if slope is not None:
        factors = 1 / (1 + slope * density)
    else:
        factors = np.divide(1.0, density, out=np.zeros_like(density), where=density > 0)
    # One poor sample alone in its cell would weigh as much as hundreds of good ones beside it.
    there = factors > 0
    limit = uniform_filter(factors, RANK_WINDOW, mode="constant")
    share = uniform_filter(there.astype(np.float32), RANK_WINDOW, mode="constant")
    np.divide(limit, share, out=limit, where=there)
    limit *= RANK_LEVEL
    return np.minimum(factors, limit, out=factors, where=there)

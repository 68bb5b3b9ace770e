"""Factors of uniform and Briggs weights: imaging weights over natural weights in each cell of the uv plane.

Briggs (1995), PhD thesis, New Mexico Tech, chapter 3: W = w / (1 + S^2 D), S^2 = (5 * 10^-R)^2 / (sum D^2 / sum w),
with the natural weight w of a sample and the sum D of these weights over its uv cell. Cells with much larger weights
than their surroundings are limited, as in WSClean (-weighting-rank-filter, which is on by default).
"""

import numpy as np
from scipy.ndimage import uniform_filter

RANK_LEVEL, RANK_WINDOW = 3.0, 16
"""WSClean's limit: the factor of a cell is at most 3 times the mean of the non-zero factors in 16 x 16 cells around."""


def briggs_slope(robust: float, total: float, square: float) -> float:
    """Briggs's S^2, the coefficient of the density, from the sums of the density and of its square."""
    return (5 * 10**-robust) ** 2 * total / square if square > 0 else 0.0


def cell_factors(density: np.ndarray, slope: float | None = None) -> np.ndarray:
    """Factors of the cells of a part of the uv plane.

    Parameters
    ----------
    density : (v, u) array
        Sum of the natural weights in each cell.
    slope : float, optional
        From `briggs_slope`; by default the factors are those of uniform weights.

    Returns
    -------
    (v, u) array
        The factors; 0 (uniform) or 1 (Briggs) in empty cells.
    """
    if slope is not None:
        factors = 1 / (1 + slope * density)
    else:
        factors = np.divide(1.0, density, out=np.zeros_like(density), where=density > 0)
    # Without the limit, a single noisy sample in its cell has the weight of hundreds of good samples in another.
    there = factors > 0
    limit = uniform_filter(factors, RANK_WINDOW, mode="constant")
    share = uniform_filter(there.astype(np.float32), RANK_WINDOW, mode="constant")
    np.divide(limit, share, out=limit, where=there)
    limit *= RANK_LEVEL
    return np.minimum(factors, limit, out=factors, where=there)

"""Step 2, weight: natural, uniform and Briggs imaging weights, and the Gaussian taper.

The density of samples is counted over all blocks and channels on the uv grid of the padded image (cell = 1 / padded
field of view), one half plane for both conjugates, u and v rounded down; with uniform weights, cells that would weigh
much more than their surroundings are limited. That is WSClean's definition to the last detail, as its -save-weights
shows, so that ``--weight briggs 0`` is the same weighting in both programs.

Briggs (1995), PhD thesis, New Mexico Tech, chapter 3: W = w / (1 + S^2 D), S^2 = (5 * 10^-R)^2 / (sum D^2 / sum w),
w the natural weight and D its sum over the sample's uv cell.
"""

import math

import numba
import numpy as np
from scipy.ndimage import uniform_filter

from radrim.errors import DataError
from radrim.geometry import FWHM_PER_SIGMA, C

RANK_LEVEL, RANK_WINDOW = 3.0, 16
"""A cell's factor is at most RANK_LEVEL times the mean of the filled cells in a window of this many cells."""


def apply_weights(blocks, grid, weighting, taper=None, padding=1.2):
    """Turn the natural weights of `blocks` into imaging weights, in place.

    Parameters
    ----------
    blocks : list of Visibilities
    grid : ImageGrid
        Its size and scale set the uv cell.
    weighting : radrim.config.Weighting
    taper : float, optional
        FWHM of the beam that the Gaussian taper makes [rad].
    padding : float
        Padded over true image size; sets the uv cell together with the grid.

    Returns
    -------
    sum_weight : float
        Sum of the imaging weights [Jy^-2].
    noise : float
        Noise of the dirty image if the natural weights are 1/sigma^2 [Jy/beam]: sqrt(sum W^2/w) / sum W.

    Raises
    ------
    DataError
        Every sample lies outside the uv grid.
    """
    # WSClean rounds the padded size up to a multiple of 4.
    nx, ny = (4 * math.ceil(n * padding / 4 - 1e-9) for n in (grid.width, grid.height))
    factors = np.zeros((ny // 2, nx) if weighting.kind != "natural" else (0, 0))
    u_cells, v_cells = nx * grid.scale, ny * grid.scale
    if weighting.kind != "natural":
        total = sum(_count(b.uvw, b.freq / C, b.weight, factors, u_cells, v_cells) for b in blocks)
        if total > 0:
            factors = _cell_factors(factors, total, weighting)
    sigma_uv = FWHM_PER_SIGMA / (2 * np.pi * taper) if taper else np.inf
    sum_weight = sum_variance = 0.0
    for block in blocks:
        part = _weigh(block.uvw, block.freq / C, block.weight, factors, u_cells, v_cells, 0.5 / sigma_uv**2)
        sum_weight += part[0]
        sum_variance += part[1]
    if not sum_weight > 0:
        raise DataError("No sample has weight inside the image's uv grid; use a smaller --scale or other weights.")
    return sum_weight, float(np.sqrt(sum_variance) / sum_weight)


def _cell_factors(density, total, weighting):
    """What the natural weights in each uv cell are multiplied with, (v, u); 0 in empty cells."""
    filled = density > 0
    if weighting.kind == "briggs":
        slope = (5 * 10**-weighting.robust) ** 2 / (float(np.vdot(density, density)) / total)
        return filled / (1 + slope * density)
    factors = np.divide(1.0, density, out=np.zeros_like(density), where=filled)
    # One poor sample alone in its cell would weigh as much as hundreds of good ones beside it.
    mean = uniform_filter(factors, RANK_WINDOW, mode="constant")
    share = uniform_filter(filled.astype(float), RANK_WINDOW, mode="constant")
    limit = RANK_LEVEL * np.divide(mean, share, out=np.full_like(mean, np.inf), where=filled)
    return np.minimum(factors, limit, out=factors)


@numba.njit(nogil=True, cache=True)
def _cell(u, v, u_cells, v_cells, nx, lines):
    """(line, column) of the uv cell, in the half plane v >= 0; line -1 outside the grid."""
    if v < 0:
        u, v = -u, -v
    x = int(np.floor(u * u_cells)) + nx // 2
    y = int(np.floor(v * v_cells))
    if x < 0 or x >= nx or y >= lines:
        return -1, 0
    return y, x


@numba.njit(nogil=True, cache=True)
def _count(uvw, inverse_wavelength, weight, cells, u_cells, v_cells):
    """Add the natural weights to their cells, in place; returns their sum."""
    lines, nx = cells.shape
    total = 0.0
    for row in range(weight.shape[0]):
        for chan in range(weight.shape[1]):
            w = weight[row, chan]
            if w > 0:
                k = inverse_wavelength[chan]
                y, x = _cell(uvw[row, 0] * k, uvw[row, 1] * k, u_cells, v_cells, nx, lines)
                if y >= 0:
                    cells[y, x] += w
                    total += w
    return total


@numba.njit(nogil=True, cache=True)
def _weigh(uvw, inverse_wavelength, weight, factors, u_cells, v_cells, taper):
    """Natural to imaging weights in place; returns sum W and sum W^2/w. An empty `factors` means natural."""
    lines, nx = factors.shape
    sum_weight = 0.0
    sum_variance = 0.0
    for row in range(weight.shape[0]):
        for chan in range(weight.shape[1]):
            w = weight[row, chan]
            if not w > 0:
                continue
            k = inverse_wavelength[chan]
            u, v = uvw[row, 0] * k, uvw[row, 1] * k
            factor = np.exp(-(u * u + v * v) * taper) if taper > 0 else 1.0
            if lines > 0:
                y, x = _cell(u, v, u_cells, v_cells, nx, lines)
                factor = factor * factors[y, x] if y >= 0 else 0.0
            weight[row, chan] = w * factor
            sum_weight += w * factor
            sum_variance += w * factor * factor
    return sum_weight, sum_variance

"""Step 2, weight: natural, uniform and Briggs imaging weights, and their tapers.

The density of natural weights is summed over all blocks and channels on the uv grid of the padded image (cell = 1 /
padded field of view), with both conjugates in one half plane, and u and v rounded down. Cells with much larger weights
than their surroundings are limited. This is WSClean's definition in every detail, as its -save-weights shows, so that
``--weight briggs 0`` is the same weighting in both programs. `radrim.weight.briggs` has the formulae.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numba
import numpy as np

from radrim.config.values import NO_TAPER, Taper, Weighting
from radrim.errors import DataError
from radrim.geometry import FWHM_PER_SIGMA, C, ImageGrid
from radrim.runtime.memory import MemorySettings
from radrim.weight.briggs import RANK_WINDOW, briggs_slope, cell_factors


class Samples(Protocol):
    """The attributes of `radrim.visibilities.Visibilities` that weighting uses.

    Attributes
    ----------
    uvw : (row, 3) float64
        [m]
    freq : (chan,) float64
        [Hz]
    weight : (row, chan) float32
        Natural weights [Jy^-2].
    """

    uvw: np.ndarray
    freq: np.ndarray
    weight: np.ndarray


def apply_weights(
    blocks: Sequence[Samples],
    grid: ImageGrid,
    weighting: Weighting,
    taper: Taper = NO_TAPER,
    padding: float = 1.2,
    outputs: list[np.ndarray] | None = None,
    grid_bytes: int = MemorySettings.max_grid,
    super_weight: float = 1.0,
) -> tuple[float, float]:
    """Convert the natural weights of `blocks` to imaging weights, in place unless there are `outputs`.

    Parameters
    ----------
    blocks : list of Visibilities
    grid : ImageGrid
        Its size and scale set the uv cell.
    weighting : radrim.config.values.Weighting
    taper : radrim.config.values.Taper
    padding : float
        Padded over true image size; sets the uv cell together with the grid.
    outputs : list of (row, chan) float32, optional
        Arrays of zeros, one per block, that receive the imaging weights; the blocks keep their natural weights.
    grid_bytes : int
        Largest part of the uv grid that is in memory at a time [bytes].
    super_weight : float
        Size of the uv cell over 1 / padded field of view.

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
    density = _Density(blocks, grid, padding, grid_bytes, super_weight)
    falls = _falls(taper)
    natural = [(0, np.zeros((0, 0)))]
    bands: Iterable[tuple[int, np.ndarray]] = natural if weighting.kind == "natural" else density.factors(weighting)
    to = outputs
    if to is None:  # with several bands, each needs the natural weights of all samples
        to = [block.weight if density.whole else np.zeros_like(block.weight) for block in blocks]
    sum_weight = sum_variance = 0.0
    for line, factors in bands:
        for block, out in zip(blocks, to, strict=True):
            part = _weigh(block.uvw, block.freq / C, block.weight, out, factors, line, density.cells, falls)
            sum_weight += part[0]
            sum_variance += part[1]
    if not sum_weight > 0:
        raise DataError("No sample has weight inside the image's uv grid; use a smaller --scale or other weights.")
    if outputs is None:
        for block, out in zip(blocks, to, strict=True):
            block.weight = out
    return sum_weight, float(np.sqrt(sum_variance) / sum_weight)


class _Density:
    """Sums of the natural weights in the cells of the uv grid, in bands of lines that fit into the memory."""

    def __init__(
        self, blocks: Sequence[Samples], grid: ImageGrid, padding: float, grid_bytes: int, super_weight: float
    ) -> None:
        # WSClean rounds the padded size up to a multiple of 4, and that over the super weight to an even number.
        nx, ny = (4 * math.ceil(n * padding / 4 - 1e-9) for n in (grid.width, grid.height))
        if super_weight != 1:
            nx, ny = (max(2, math.floor(n / super_weight + 0.5)) for n in (nx, ny))
            nx, ny = nx + nx % 2, ny + ny % 2
        self._blocks, self._nx, self._lines = blocks, nx, ny // 2
        self.cells = nx * grid.scale, ny * grid.scale
        """Number of cells per wavelength along u and v."""
        size = max(4 * RANK_WINDOW, int(grid_bytes // (8 * nx)))
        self._bands = [(line, min(line + size, self._lines)) for line in range(0, self._lines, size)]

    @property
    def whole(self) -> bool:
        """Whether the grid is summed as a whole, in one band."""
        return len(self._bands) == 1

    def factors(self, weighting: Weighting) -> Iterator[tuple[int, np.ndarray]]:
        """Bands of lines, each as its first line and its factors (line, u), one after the other."""
        counted = self._count(0, self._lines) if self.whole else None
        slope = self._slope(weighting.robust, counted) if weighting.kind == "briggs" else None
        for first, end in self._bands:
            start = max(0, first - RANK_WINDOW)
            density = counted if counted is not None else self._count(start, min(end + RANK_WINDOW, self._lines))
            yield first, cell_factors(density, slope)[first - start : end - start]

    def _slope(self, robust: float, counted: np.ndarray | None) -> float:
        """The slope of `briggs_slope`, from all bands."""
        total = square = 0.0
        for first, end in self._bands:
            density = counted if counted is not None else self._count(first, end)
            total += float(density.sum())
            square += float(np.vdot(density, density))
        return briggs_slope(robust, total, square)

    def _count(self, first: int, end: int) -> np.ndarray:
        density = np.zeros((end - first, self._nx))
        for block in self._blocks:
            _count(block.uvw, block.freq / C, block.weight, density, first, self.cells)
        return density


def _falls(taper: Taper) -> np.ndarray:
    """A taper in numbers: exponent of the Gaussian, then where the inner and the outer one are 0, and their widths."""
    sigma_uv = FWHM_PER_SIGMA / (2 * np.pi * taper.gaussian) if taper.gaussian else np.inf
    return np.array([0.5 / sigma_uv**2, *(taper.inner or (0.0, 0.0)), *(taper.outer or (np.inf, 0.0))])


@numba.njit(nogil=True, cache=True)
def _tapered(u, v, falls):
    """The factor of all tapers for a sample."""
    gaussian, inner, rise, outer, fall = falls
    square = u * u + v * v
    factor = np.exp(-square * gaussian) if gaussian > 0 else 1.0
    if rise > 0 or fall > 0:
        length = np.sqrt(square)
        for width, place in ((rise, length - inner), (fall, outer - length)):
            if width > 0 and place < width:
                factor *= 0.5 - 0.5 * np.cos(np.pi * place / width) if place > 0 else 0.0
    return factor


@numba.njit(nogil=True, cache=True)
def _cell(u, v, u_cells, v_cells, nx, first, lines):
    """Line and column of a uv cell in the half plane v >= 0. The line is -1 outside the band of lines from `first`."""
    if v < 0:
        u, v = -u, -v
    x = int(np.floor(u * u_cells)) + nx // 2
    y = int(np.floor(v * v_cells)) - first
    if x < 0 or x >= nx or y < 0 or y >= lines:
        return -1, 0
    return y, x


@numba.njit(nogil=True, cache=True)
def _count(uvw, inverse_wavelength, weight, density, first, cells):
    """Add the natural weights to their cells of `density`, in place."""
    lines, nx = density.shape
    u_cells, v_cells = cells
    for row in range(weight.shape[0]):
        for chan in range(weight.shape[1]):
            w = weight[row, chan]
            if w > 0:
                k = inverse_wavelength[chan]
                y, x = _cell(uvw[row, 0] * k, uvw[row, 1] * k, u_cells, v_cells, nx, first, lines)
                if y >= 0:
                    density[y, x] += w


@numba.njit(nogil=True, cache=True)
def _weigh(uvw, inverse_wavelength, weight, out, factors, first, cells, falls):
    """Write the imaging weights of the samples in a band of lines to `out`; returns sum W and sum W^2/w.

    With empty `factors` the weights are natural. If there is one band, `out` may be `weight` itself; the weights of
    samples outside the grid become 0.
    """
    lines, nx = factors.shape
    u_cells, v_cells = cells
    sum_weight = 0.0
    sum_variance = 0.0
    for row in range(weight.shape[0]):
        for chan in range(weight.shape[1]):
            w = weight[row, chan]
            if not w > 0:
                continue
            k = inverse_wavelength[chan]
            u, v = uvw[row, 0] * k, uvw[row, 1] * k
            factor = _tapered(u, v, falls)
            if lines > 0:
                y, x = _cell(u, v, u_cells, v_cells, nx, first, lines)
                if y < 0:
                    if out is weight:
                        out[row, chan] = 0
                    continue
                factor = factor * factors[y, x]
            out[row, chan] = w * factor
            sum_weight += w * factor
            sum_variance += w * factor * factor
    return sum_weight, sum_variance

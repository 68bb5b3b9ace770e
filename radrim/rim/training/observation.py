"""Simulates the observation of one tile: samples on the uv cells of a periodic frame.

The frame is `FRAME` tiles wide. Each sample is moved to the centre of the nearest uv cell, which is a quarter of the
cell of a tile. Therefore dirty image, PSF and noise are plain FFTs without gridding errors.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy import fft, ndimage

from radrim.rim.training.coverages import DAY, Coverage

FRAME = 4
"""Size of the periodic frame in tiles; it includes sidelobes of sources up to 1.5 tiles from the tile's edge."""


class PixelBeam(NamedTuple):
    """A Gaussian main lobe: widths at half maximum [pixel], position angle (north through east) [rad]."""

    major: float
    minor: float
    pa: float


class Samples:
    """Weighted samples in the uv cells of the frame; arrays are half planes (y, x), the cells of x >= 0.

    Parameters
    ----------
    coverage : Coverage
    u, v : (sample,) float64
        In cycles per pixel, below 0.5.
    weight : (sample,) float64
        Imaging weights.
    size : int
        Pixels of the tile along y and x.
    """

    def __init__(self, coverage: Coverage, u: np.ndarray, v: np.ndarray, weight: np.ndarray, size: int) -> None:
        self.tile, self.width = size, FRAME * size
        self.shape = (self.width, self.width // 2 + 1)
        # x grows to the west and y to the north, and the transform has the opposite sign.
        x, y = np.rint(u * self.width).astype(np.int32), np.rint(v * -self.width).astype(np.int32)
        self.folded = x < 0
        sign = np.where(self.folded, -1, 1)
        self.cell = (y * sign) % self.width * self.shape[1] + x * sign
        self.coverage, self.sample_weight = coverage, weight
        self.weight, self.weight_sum = self._grid(weight), float(weight.sum())
        self.natural, self.natural_sum = self._grid(coverage.weight), float(coverage.weight.sum())
        self.variance = self._grid(weight * weight / coverage.weight)
        """Variance of the sum of the weighted samples in each cell, for natural weights 1/sigma^2."""

    def _grid(self, values: np.ndarray) -> np.ndarray:
        return np.bincount(self.cell, values, self.shape[0] * self.shape[1]).reshape(self.shape)

    def transform(self, image: np.ndarray, origin: int = 0) -> np.ndarray:
        """Visibilities of an image in every cell, sampled or not.

        Parameters
        ----------
        image : (y, x) array
            [Jy/pixel], no larger than the frame.
        origin : int
            Position of its first pixel, from the tile's first pixel along y and x [pixel].

        Returns
        -------
        (y, x // 2 + 1) complex128
            [Jy], of the frame's half plane.
        """
        rows = np.flatnonzero(image.any(1))
        padded = np.zeros((len(rows), self.width))
        columns = (np.arange(image.shape[1]) + origin) % self.width
        padded[:, columns] = image[rows]
        half = np.zeros(self.shape, complex)
        half[(rows + origin) % self.width] = fft.rfft(padded, axis=1)
        return fft.fft(half, axis=0, overwrite_x=True)

    def image(self, grid: np.ndarray, count: int, origin: int = 0) -> np.ndarray:
        """Re sum of grid exp(2 pi i ...): the dirty image times the sum of weights.

        Parameters
        ----------
        grid : (y, x // 2 + 1) complex128
            Weighted visibilities, summed in their cells.
        count : int
            Pixels along y and x.
        origin : int
            Position of the first pixel, from the tile's first pixel along y and x [pixel].

        Returns
        -------
        (count, count) float64
        """
        rows = (np.arange(count) + origin) % self.width
        half = fft.ifft(grid, axis=0, norm="forward")[rows]
        # The real transform adds the other half plane, except for column 0. So this column is doubled, and all halved.
        half[:, 0] *= 2
        return fft.irfft(half, self.width, axis=1, norm="forward")[:, rows] / 2

    def psf(self) -> np.ndarray:
        """(2y, 2x) float32, 1 at (y, x)."""
        n = self.tile
        psf = self.image(self.weight.astype(complex), 2 * n, -n) / self.weight_sum
        psf[n, n] = 1  # exactly, not only to rounding
        return psf.astype(np.float32)

    def noise(self, rng: np.random.Generator, sigma: float) -> np.ndarray:
        """Weighted noise of all samples, summed in their cells.

        Parameters
        ----------
        rng : numpy.random.Generator
        sigma : float
            Of the real and of the imaginary part of a sample of natural weight 1 [Jy].

        Returns
        -------
        (y, x // 2 + 1) complex128
        """
        filled = np.flatnonzero(self.variance)
        grid = np.zeros(self.variance.size, complex)
        draw = rng.standard_normal((len(filled), 2)).view(complex)[:, 0]
        grid[filled] = sigma * np.sqrt(self.variance.ravel()[filled]) * draw
        return grid.reshape(self.shape)

    def gains(self, rng: np.random.Generator, error: float) -> np.ndarray:
        """Slowly drifting complex gains of both antennas of each sample, g_p conj(g_q).

        Parameters
        ----------
        rng : numpy.random.Generator
        error : float
            Phase error (rms) [rad]; the amplitude error is half as large.

        Returns
        -------
        (sample,) complex128
        """
        coverage = self.coverage
        antennas = int(coverage.second.max()) + 1
        knots = int(rng.integers(2, 8))
        amplitude, phase = rng.normal(0, [[[error / 2]], [[error]]], (2, antennas, knots))
        day = coverage.time % DAY
        place = day / (day.max() + 1) * (knots - 1)
        before = place.astype(np.int32)
        part = place - before

        def gain(antenna: np.ndarray) -> np.ndarray:
            a, p = (s[antenna, before] * (1 - part) + s[antenna, before + 1] * part for s in (amplitude, phase))
            return (1 + a) * np.exp(1j * p)

        return gain(coverage.first) * gain(coverage.second).conj()

    def miscalibrated(self, rng: np.random.Generator, spectrum: np.ndarray, error: float) -> np.ndarray:
        """Weighted visibilities, summed in their cells, with the `gains` of the antennas.

        Parameters
        ----------
        rng : numpy.random.Generator
        spectrum : (y, x // 2 + 1) complex128
            From `transform` [Jy].
        error : float
            As in `gains`.

        Returns
        -------
        (y, x // 2 + 1) complex128
        """
        factor = self.gains(rng, error)
        factor = np.where(self.folded, factor.conj(), factor) * self.sample_weight
        values = spectrum.ravel()[self.cell] * factor
        return self._grid(values.real) + 1j * self._grid(values.imag)


def fit_pixel_beam(psf: np.ndarray) -> PixelBeam:
    """Gaussian fit to the main lobe by linear least squares of log(psf), weighted by psf squared.

    It uses the pixels connected to the peak above half its height, or above a lower level if there are too few.

    Parameters
    ----------
    psf : (y, x) array
        Peak 1 at (height // 2, width // 2).

    Returns
    -------
    PixelBeam
    """
    cy, cx = psf.shape[0] // 2, psf.shape[1] // 2
    half = min(cy, cx, 48)
    box = psf[cy - half : cy + half + 1, cx - half : cx + half + 1]
    for level in (0.5, 0.35, 0.2, 0.1, 0.03):
        labels, _ = ndimage.label(box > level)
        y, x = np.nonzero(labels == labels[half, half])
        if len(y) >= 7 and np.ptp(y) >= 2 and np.ptp(x) >= 2:
            break
    value = box[y, x].astype(float)
    y, x = y - half, x - half
    terms = np.stack([x * x, x * y, y * y], -1) * (value**2)[:, None]
    a, b, c = np.linalg.lstsq(terms, -np.log(value) * value**2, rcond=None)[0]
    (low, high), axes = np.linalg.eigh([[a, b / 2], [b / 2, c]])
    # Limits for lobes that cannot be fitted well: one pixel, and the size of the box.
    minor, major = (math.sqrt(4 * math.log(2) / max(e, math.log(2) / half**2)) for e in (high, low))
    # x grows to the west: the major axis points along (x, y) = (-sin pa, cos pa).
    pa = math.atan2(-axes[0, 0], axes[1, 0]) % math.pi
    return PixelBeam(max(major, 1.0), max(minor, 1.0), pa)

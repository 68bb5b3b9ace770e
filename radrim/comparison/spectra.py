"""Power spectra of images, and of the expected noise.

A spatial frequency of an image is a baseline: a wave of period theta comes from baselines of 1/theta wavelengths.
"""

from collections.abc import Sequence

import numpy as np
from scipy import fft
from scipy.ndimage import convolve1d

from radrim.comparison.settings import ComparisonSettings
from radrim.geometry import C, ImageGrid
from radrim.visibilities import Visibilities, row_slices


def spectrum_bins(grid: ImageGrid) -> np.ndarray:
    """Edges of the bins, (bin + 1,) [wavelengths]: from the whole field to two pixels."""
    step = 1 / (max(grid.shape) * grid.scale)
    highest = 0.5 / (grid.scale * step)
    settings = ComparisonSettings
    edges = np.geomspace(settings.lowest_frequency, highest, settings.spectrum_bins + 1)
    kept = [edges[0]]
    for edge in edges[1:]:
        if edge - kept[-1] >= 1 or edge == edges[-1]:
            kept.append(edge)
    return np.array(kept) * step


def power_spectrum(image: np.ndarray, grid: ImageGrid, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Power of an image in rings of spatial frequency.

    Power is normalised so that white noise of rms sigma has the power sigma^2 at all scales. A Hann window prevents the
    power of large scales, which the edges of the image cut off, from leaking into small scales.

    Parameters
    ----------
    image : (y, x) array
        [Jy/beam]
    grid : ImageGrid
    edges : (bin + 1,) array
        From `spectrum_bins`.

    Returns
    -------
    power : (bin,) float64
        Mean over the modes of a ring [(Jy/beam)^2].
    modes : (bin,) int64
        Number of Fourier modes of a ring, conjugates included.
    """
    window = np.outer(*(np.hanning(n + 1)[:n] for n in image.shape)).astype(np.float32)
    power = np.abs(fft.fft2(np.asarray(image, np.float32) * window)) ** 2
    return _ring_means(power / (image.size * np.mean(window.astype(float) ** 2)), grid, edges)


def noise_spectrum(
    blocks: Sequence[Visibilities], natural: Sequence[np.ndarray], grid: ImageGrid, edges: np.ndarray
) -> np.ndarray:
    """Expected power of a dirty image of noise alone, normalised and windowed as in `power_spectrum`.

    Each sample contributes to the noise at its own baseline. Its share of the variance, W^2/w over (sum W)^2, is added
    to the Fourier mode of that baseline. No random noise is drawn.

    Parameters
    ----------
    blocks : sequence of Visibilities
        With imaging weights W.
    natural : sequence of (row, chan) array
        Natural weights w of the same samples [Jy^-2].
    grid : ImageGrid
    edges : (bin + 1,) array

    Returns
    -------
    (bin,) float64
        [(Jy/beam)^2]; 0 in rings without samples.
    """
    height, width = grid.shape
    variance, total = np.zeros(height * width), 0.0
    for block, weights in zip(blocks, natural, strict=True):
        for rows in row_slices(len(block.uvw)):
            used = (block.weight[rows] > 0) & (weights[rows] > 0)
            imaging = block.weight[rows][used].astype(float)
            u, v = ((block.uvw[rows, axis, None] * (block.freq / C))[used] for axis in (0, 1))
            x, y = (np.rint(c * n * grid.scale).astype(int) for c, n in ((u, width), (v, height)))
            inside = (2 * np.abs(x) < width) & (2 * np.abs(y) < height)
            share = (imaging**2 / weights[rows][used])[inside] / 2
            for sign in (1, -1):
                mode = (sign * y[inside] % height) * width + sign * x[inside] % width
                variance += np.bincount(mode, share, variance.size)
            total += imaging.sum()
    power = variance.reshape(grid.shape) / total**2 * variance.size
    for axis in (0, 1):  # the Hann window spreads a single wave over three modes
        power = convolve1d(power, [1 / 6, 2 / 3, 1 / 6], axis, mode="wrap")
    return _ring_means(power, grid, edges)[0]


def _ring_means(power, grid, edges):
    """Mean over the Fourier modes of each ring, and their number; `power` (y, x) is in the order of the transform.

    The frequency along x increases to the west, unlike u; rings are symmetric.
    """
    v, u = (np.fft.fftfreq(n, grid.scale) for n in power.shape)
    ring = np.digitize(np.hypot(v[:, None], u), edges) - 1
    inside = (ring >= 0) & (ring < len(edges) - 1)
    modes = np.bincount(ring[inside], minlength=len(edges) - 1)
    return np.bincount(ring[inside], power[inside], len(edges) - 1) / np.maximum(modes, 1), modes

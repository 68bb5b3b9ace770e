"""What an image holds at which angular scale: power spectra, and that of the noise to be expected.

Spatial frequencies of an image are baselines: a wave of the period theta comes from baselines of 1/theta wavelengths.
"""

import numpy as np
from scipy import fft

from radrim.geometry import C
from radrim.visibilities import ROWS

BINS = 28
"""At most so many, evenly spaced in the logarithm where they are wider than a Fourier mode."""
FIRST = 1.5
"""Lowest spatial frequency [periods per field]: below, the window's own width is all that is seen."""


def spectrum_bins(grid):
    """Edges of the bins, (bin + 1,) [wavelengths]: from the whole field to two pixels."""
    step = 1 / (max(grid.shape) * grid.scale)
    highest = 0.5 / (grid.scale * step)
    edges = np.geomspace(FIRST, highest, BINS + 1)
    kept = [edges[0]]
    for edge in edges[1:]:
        if edge - kept[-1] >= 1 or edge == edges[-1]:
            kept.append(edge)
    return np.array(kept) * step


def power_spectrum(image, grid, edges):
    """Power of an image in rings of spatial frequency.

    Power is normalised such that white noise of rms sigma has the power sigma^2 at all scales. A Hann window keeps
    the power of large scales, which an image cuts at its edges, from leaking into small ones.

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
    power /= image.size * np.mean(window.astype(float) ** 2)
    v, u = (np.fft.fftfreq(n, grid.scale) for n in image.shape)
    ring = np.digitize(np.hypot(v[:, None], u), edges) - 1
    inside = (ring >= 0) & (ring < len(edges) - 1)
    modes = np.bincount(ring[inside], minlength=len(edges) - 1)
    total = np.bincount(ring[inside], power[inside], len(edges) - 1)
    return total / np.maximum(modes, 1), modes


def noise_spectrum(blocks, natural, grid, edges, modes):
    """Power of a dirty image of nothing but noise, from the weights; normalised as in `power_spectrum`.

    The noise of an image is the sum of what samples contribute, each at its own baseline: their shares of the variance,
    W^2/w over (sum W)^2, are counted ring by ring. Nothing is gridded and no noise is drawn.

    Parameters
    ----------
    blocks : sequence of Visibilities
        With imaging weights W.
    natural : sequence of (row, chan) array
        Natural weights w of the same samples [Jy^-2].
    grid : ImageGrid
    edges, modes : arrays
        Of the bins.

    Returns
    -------
    (bin,) float64
        [(Jy/beam)^2]; 0 in rings without samples.
    """
    variance, total = np.zeros(len(edges) - 1), 0.0
    for block, weights in zip(blocks, natural, strict=True):
        for start in range(0, len(block.uvw), ROWS):  # blocks may be larger than the memory
            rows = slice(start, start + ROWS)
            used = (block.weight[rows] > 0) & (weights[rows] > 0)
            imaging = block.weight[rows][used].astype(float)
            length = (block.uv_length[rows, None] * (block.freq / C))[used]
            variance += np.histogram(length, edges, weights=imaging**2 / weights[rows][used])[0]
            total += imaging.sum()
    pixels = grid.width * grid.height
    return variance / total**2 * pixels / np.maximum(modes, 1)

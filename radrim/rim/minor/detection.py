"""Detects emission in a residual at several scales, and separates it from noise and from sidelobes.

The functions tell whether a residual is noise, and where it holds emission. They depend neither on the network nor on
CLEAN.
"""

import itertools
from collections.abc import Sequence

import numpy as np
import scipy.ndimage
import scipy.special

from radrim.beam import main_lobe
from radrim.metrics import noise_mad, scatter

CLEAR = 5.5
"""Detection threshold in units of the noise, as `level_for` corrects it: noise alone hardly ever exceeds it."""
FIELD = 1024 * 1024
"""Number of pixels for which `CLEAR` holds: the largest image on which it was tested."""
SCALES = (0, 2, 8)
"""Standard deviations [pixel] of the Gaussians by which the residual is smoothed to search for extended emission."""
EDGE = 4
"""Width of the border that detection ignores after smoothing, in standard deviations of the Gaussian."""
DEPTH = 1 / 300
"""Lowest detection level of one minor cycle, over the residual peak. A higher sidelobe of the PSF replaces it."""
ADDED = 2.0
"""Highest sidelobe of extended emission, over that of the PSF, in the bands of larger scale, where sidelobes add up."""
CELL = 32
"""Side of the cells in which the network runs or does not run [pixel]."""
REACH_CELLS = 2
"""Distance within which neighbours of a cell with a detection are active, too, as context for the network [cell]."""


def bands(image: np.ndarray) -> list[np.ndarray]:
    """Split an image into three bands of growing scale.

    The bands are the pixels minus the means of their 4 x 4 cells, these means minus those of 16 x 16 pixels, and the
    means of 16 x 16 pixels.

    Parameters
    ----------
    image : (y, x) array

    Returns
    -------
    list of (y, x) arrays
        Their sizes are (y, x), (y, x) / 4 and (y, x) / 16, with y and x rounded up to multiples of `CELL`.
    """
    image = np.pad(image, [(0, -n % CELL) for n in image.shape])
    levels = [image]
    for _ in range(2):
        y, x = (n // 4 for n in levels[-1].shape)
        levels.append(levels[-1].reshape(y, 4, x, 4).mean((1, 3)))
    finer = [a - b.repeat(4, 0).repeat(4, 1) for a, b in itertools.pairwise(levels)]
    return [*finer, levels[-1]]


def highest_sidelobe(psf: np.ndarray) -> float:
    """Largest |value| of a PSF (y, x), peak 1 at its centre, beyond its main lobe."""
    return float(np.abs(psf[~main_lobe(psf, 0)]).max(initial=0))


def highest_sidelobes(psf: np.ndarray) -> list[float]:
    """Highest sidelobe of a PSF in each of the `bands`, over the peak of its main lobe there; at most 1.

    In the two bands of larger scale the main lobe is widened by two cells.

    Parameters
    ----------
    psf : (y, x) array
        Peak at (height // 2, width // 2).

    Returns
    -------
    list of float
        One for each of the `bands`.
    """
    main, out = main_lobe(psf, 0), []
    for k, band in enumerate(bands(psf)):
        size = 4**k
        padded = np.pad(main, [(0, -n % CELL) for n in main.shape])
        inner = padded.reshape(band.shape[0], size, band.shape[1], size).any((1, 3))
        if k:
            inner = scipy.ndimage.binary_dilation(inner, np.ones((3, 3)), 2)
        inside, outside = np.abs(band[inner]).max(), np.abs(band[~inner]).max(initial=0.0)
        out.append(min(1.0, float(outside / max(inside, 1e-30))))
    return out


def level_for(pixels: int, level: float) -> float:
    """Correct a detection threshold for the number of pixels; the result is at least `level`.

    The rate of false detections in `pixels` pixels is the same as that of `level` in `FIELD` pixels. For an image of
    4096 x 4096 pixels a level of 5.5 becomes 6.0.

    Parameters
    ----------
    pixels : int
    level : float
        In units of the noise.

    Returns
    -------
    float
        In units of the noise.
    """
    return max(level, -float(scipy.special.ndtri(scipy.special.ndtr(-level) * FIELD / pixels)))


def describe_noise(residual: np.ndarray, most: float, sky: np.ndarray | None = None) -> str:
    """Describe a residual that is noise; return an empty text if it shows emission.

    A residual is noise if its rms is at most `most` and no peak exceeds the detection threshold, neither before nor
    after smoothing by the Gaussians of `SCALES`. Smoothed pixels near the edges do not count: noise without short
    spacings averages to 0 only away from the edges, where the Gaussian is not truncated.

    Parameters
    ----------
    residual : (y, x) array
        [Jy/beam]
    most : float
        Largest rms of a residual that is noise [Jy/beam].
    sky : (y, x) bool, optional
        Pixels above the horizon; all if absent.

    Returns
    -------
    str
    """
    rms, sky = scatter(residual), np.ones(residual.shape, bool) if sky is None else sky
    if not rms <= most:
        return ""
    highest = 0.0
    for scale in SCALES:
        image = scipy.ndimage.gaussian_filter(residual, scale, mode="constant")
        inner = _inner(image.shape, EDGE * scale)
        peak = np.abs(image[inner][sky[inner]]).max(initial=0.0)
        highest = max(highest, float(peak) / max(noise_mad(image[sky]), 1e-30))
    if highest > level_for(residual.size, CLEAR):
        return ""
    return f"the residual is noise (rms {rms:.3g} Jy/beam, no peak above {highest:.1f} sigma)"


def _inner(shape: Sequence[int], edge: int) -> tuple[slice, ...]:
    """Slices that leave out a border of `edge` pixels, but keep at least the inner half of the image."""
    return tuple(slice(width, n - width) for n in shape for width in [min(edge, n // 4)])


def brightest(residual: np.ndarray) -> list[float]:
    """Largest |value| of a residual (y, x) in each of its `bands`, a list of float."""
    return [float(np.abs(band).max()) for band in bands(residual)]


def sidelobes(depths: Sequence[float] = (0.0, 0.0, 0.0)) -> list[float]:
    """Level below which emission may be a sidelobe, over the peak of its band; `depths` from `highest_sidelobes`."""
    return [max(depth * (ADDED if k else 1), DEPTH) for k, depth in enumerate(depths)]


def _cells(sky, shape):
    """Pixels of a band that lie above the horizon with all that they are the mean of."""
    padded = np.pad(sky, [(0, -n % CELL) for n in sky.shape])
    y, x = (padded.shape[axis] // shape[axis] for axis in (0, 1))
    whole = padded.reshape(shape[0], y, shape[1], x).all((1, 3))
    return whole if whole.any() else np.ones(shape, bool)


def find_active(
    residual: np.ndarray,
    noise: float,
    depths: Sequence[float] = (0.0, 0.0, 0.0),
    above: Sequence[float] = (0.0, 0.0, 0.0),
    sky: np.ndarray | None = None,
) -> np.ndarray:
    """Pixels that the minor cycle works on: cells with a detection in any band, and their neighbours.

    Emission fainter than the sidelobes of the brightest emission of its band may itself be a sidelobe. A later minor
    cycle works on it.

    Parameters
    ----------
    residual : (y, x) array
        [Jy/beam]
    noise : float
        [Jy/beam]
    depths : sequence of float
        Highest sidelobe in each of the `bands`, over the peak; see `sidelobes`.
    above : sequence of float
        Level in each band below which emission may be a sidelobe of sources beyond this part of the image [Jy/beam].
    sky : (y, x) bool, optional
        Pixels above the horizon; all if absent.

    Returns
    -------
    (y, x) bool
    """
    sky = np.ones(residual.shape, bool) if sky is None else sky
    active, clear = np.zeros([-(-n // CELL) for n in residual.shape], bool), level_for(residual.size, CLEAR)
    for k, (band, own, other) in enumerate(zip(bands(residual), sidelobes(depths), above, strict=True)):
        cell = CELL // 4**k
        highest = np.abs(band).reshape(active.shape[0], cell, active.shape[1], cell).max((1, 3))
        # In the bands of larger scale, sidelobes of extended emission scatter more than the noise.
        spread = noise if k == 0 else max(noise_mad(band[_cells(sky, band.shape)]), noise / 4**k)
        active |= highest > max(clear * spread, own * float(highest.max()), other)
    if active.any():
        active = scipy.ndimage.binary_dilation(active, np.ones((3, 3)), REACH_CELLS)
    return active.repeat(CELL, 0).repeat(CELL, 1)[: residual.shape[0], : residual.shape[1]]

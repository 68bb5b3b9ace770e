"""Detection of emission in a residual at several scales, apart from noise and from sidelobes.

The minor cycle asks whether a residual is noise, and where it holds emission. Nothing here depends on the network or on
CLEAN.
"""

import itertools
from collections.abc import Sequence

import numpy as np
import scipy.ndimage
import scipy.special

from radrim.beam import main_lobe
from radrim.metrics import noise_mad

CLEAR = 5.5
"""Detection threshold in units of the noise, as `level_for` corrects it: noise alone hardly ever exceeds it."""
FIELD = 1024 * 1024
"""Pixels of the largest image on which these levels were tested."""
SCALES = (0, 2, 8)
"""Standard deviations [pixel] of the Gaussians by which the residual is smoothed to search for extended emission."""
EDGE = 4
"""Width of the image's edge that is left out after smoothing, in standard deviations of the Gaussian."""
DEPTH = 1 / 300
"""Depth of one minor cycle, over the residual peak, unless the PSF's highest sidelobe is higher."""
ADDED = 2.0
"""Highest sidelobe of extended emission, over that of the PSF, in bands of larger scale: sidelobes add up there."""
CELL = 32
"""Side of the cells that are active or not [pixel]."""
REACH = 2
"""Distance up to which the neighbours of an active cell become active [cell]: the network needs to see them."""


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
        Of (y, x), (y, x) / 4 and (y, x) / 16 cells, rounded up to whole cells of `CELL`.
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
    """In each band the largest |value| of a PSF away from its centre, over that at the centre; at most 1.

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
    """A threshold corrected for the number of pixels; at least `level`.

    Noise in the given number of pixels exceeds it as often as it exceeds `level` in an image of `FIELD` pixels: 5.5
    becomes 6.0 for 4096 x 4096 pixels.

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


def describe_noise(residual: np.ndarray, most: float) -> str:
    """Why a residual is noise, or an empty text if it is not.

    The rms must be small enough, and no peak may exceed the detection threshold, neither before nor after smoothing by
    the Gaussians of `SCALES`. Smoothed pixels near the edges are left out: the image is cut off there, and noise
    without short spacings averages to 0 only away from the edges.

    Parameters
    ----------
    residual : (y, x) array
        [Jy/beam]
    most : float
        Largest rms that is noise [Jy/beam].

    Returns
    -------
    str
    """
    rms = float(residual.std())
    if not rms <= most:
        return ""
    highest = 0.0
    for scale in SCALES:
        image = scipy.ndimage.gaussian_filter(residual, scale, mode="constant")
        peak = np.abs(image[_inner(image.shape, EDGE * scale)]).max()
        highest = max(highest, float(peak) / max(noise_mad(image), 1e-30))
    if highest > level_for(residual.size, CLEAR):
        return ""
    return f"the residual is noise (rms {rms:.3g} Jy/beam, no peak above {highest:.1f} sigma)"


def _inner(shape: Sequence[int], edge: int) -> tuple[slice, ...]:
    """The window of an image without an edge of `edge` pixels; of small images at least the inner half."""
    return tuple(slice(width, n - width) for n in shape for width in [min(edge, n // 4)])


def brightest(residual: np.ndarray) -> list[float]:
    """Largest |value| of a residual (y, x) in each of its `bands`, a list of float."""
    return [float(np.abs(band).max()) for band in bands(residual)]


def sidelobes(depths: Sequence[float] = (0.0, 0.0, 0.0)) -> list[float]:
    """Level below which emission may be a sidelobe, over the peak of each band, from `highest_sidelobes`."""
    return [max(depth * (ADDED if k else 1), DEPTH) for k, depth in enumerate(depths)]


def find_active(
    residual: np.ndarray,
    noise: float,
    depths: Sequence[float] = (0.0, 0.0, 0.0),
    above: Sequence[float] = (0.0, 0.0, 0.0),
) -> np.ndarray:
    """Where a minor cycle works: cells with a detection in any band, and their neighbours.

    Emission below the sidelobes of the peak of its band is left to the next cycle, since it may be a sidelobe.

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

    Returns
    -------
    (y, x) bool
    """
    active, clear = np.zeros([-(-n // CELL) for n in residual.shape], bool), level_for(residual.size, CLEAR)
    for k, (band, own, other) in enumerate(zip(bands(residual), sidelobes(depths), above, strict=True)):
        cell = CELL // 4**k
        highest = np.abs(band).reshape(active.shape[0], cell, active.shape[1], cell).max((1, 3))
        # Sidelobes of extended emission raise the scatter of a band, and with it the detection threshold.
        scatter = noise if k == 0 else max(noise_mad(band), noise / 4**k)
        active |= highest > max(clear * scatter, own * float(highest.max()), other)
    if active.any():
        active = scipy.ndimage.binary_dilation(active, np.ones((3, 3)), REACH)
    return active.repeat(CELL, 0).repeat(CELL, 1)[: residual.shape[0], : residual.shape[1]]

"""Signal or noise: what stands out of a residual, at which scale, and what only looks so.

Nothing here knows of networks or CLEAN: the minor cycle asks where there is something to do, and whether there is.
"""

import itertools
from collections.abc import Sequence

import numpy as np
import scipy.ndimage
import scipy.special

from radrim.beam import main_lobe
from radrim.metrics import noise_mad

CLEAR = 5.5
"""So many times the noise is signal, as `level_for` has it: noise alone hardly ever does."""
FIELD = 1024 * 1024
"""Pixels of the largest image on which these levels were tried."""
SCALES = (0, 2, 8)
"""Standard deviations [pixel] of the Gaussians under which the residual must look like noise, too."""
EDGE = 4
"""Standard deviations of such a Gaussian that are left out at the edges of the image."""
DEPTH = 1 / 300
"""One minor cycle looks for sources down to this part of the brightest residual, or to the PSF's highest sidelobe."""
ADDED = 2.0
"""Sidelobes of extended emission add up: in bands of larger scale, to so many times those of the PSF."""
CELL = 32
"""Pixels of the cells that are active or not."""
REACH = 2
"""Active cells make their neighbours active, up to this distance: the network sees what surrounds a source."""


def bands(image: np.ndarray) -> list[np.ndarray]:
    """An image as a sum of parts of growing scale, each given on its own cells.

    What single pixels add to the mean of 4 x 4, what these add to that of 16 x 16, and these themselves.

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

    In bands of larger scale two cells more belong to the main lobe.

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
    """The level that noise in so many pixels exceeds as often as `level` in `FIELD`; not lower than that.

    The more pixels, the higher is the highest of noise alone: 5.5 becomes 6.0 in 4096 x 4096.

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
    """Why a residual counts as noise, or an empty text if it does not.

    Its rms must be small enough, and at no scale may a peak stand out of it: as it is, and smoothed, so that faint
    extended emission counts. Smoothed pixels near the edges do not count: there the image is not all there to smooth,
    and noise without short spacings, which averages to 0 elsewhere, does not.

    Parameters
    ----------
    residual : (y, x) array
        [Jy/beam]
    most : float
        Largest rms of noise [Jy/beam].

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
    """All of an image but an edge of so many pixels, and of small images the inner half at least."""
    return tuple(slice(width, n - width) for n in shape for width in [min(edge, n // 4)])


def brightest(residual: np.ndarray) -> list[float]:
    """Largest |value| of a residual (y, x) in each of its `bands`, a list of float."""
    return [float(np.abs(band).max()) for band in bands(residual)]


def sidelobes(depths: Sequence[float] = (0.0, 0.0, 0.0)) -> list[float]:
    """In each band the part of what is brightest down to which sidelobes may come, from `highest_sidelobes`."""
    return [max(depth * (ADDED if k else 1), DEPTH) for k, depth in enumerate(depths)]


def find_active(
    residual: np.ndarray,
    noise: float,
    depths: Sequence[float] = (0.0, 0.0, 0.0),
    above: Sequence[float] = (0.0, 0.0, 0.0),
) -> np.ndarray:
    """Where a minor cycle has something to do: cells with something far above the noise at any scale, and around them.

    What is fainter than the sidelobes of the brightest at its scale is left to the next cycle: it may be nothing else.

    Parameters
    ----------
    residual : (y, x) array
        [Jy/beam]
    noise : float
        [Jy/beam]
    depths : sequence of float
        Of each of the `bands`: part of its largest value down to which cells are active, at least `DEPTH`.
    above : sequence of float
        Of each band: what is not above this may be a sidelobe of what lies beyond this part of the image; see
        `sidelobes`.

    Returns
    -------
    (y, x) bool
    """
    active, clear = np.zeros([-(-n // CELL) for n in residual.shape], bool), level_for(residual.size, CLEAR)
    for k, (band, own, other) in enumerate(zip(bands(residual), sidelobes(depths), above, strict=True)):
        cell = CELL // 4**k
        highest = np.abs(band).reshape(active.shape[0], cell, active.shape[1], cell).max((1, 3))
        # Sidelobes of extended emission raise the scatter of a band, and what stands out of it.
        scatter = noise if k == 0 else max(noise_mad(band), noise / 4**k)
        active |= highest > max(clear * scatter, own * float(highest.max()), other)
    if active.any():
        active = scipy.ndimage.binary_dilation(active, np.ones((3, 3)), REACH)
    return active.repeat(CELL, 0).repeat(CELL, 1)[: residual.shape[0], : residual.shape[1]]

"""Unresolved sources that stand by themselves, taken out of a residual before the network sees it.

A network adds nothing to a point that CLEAN finds in one pixel, and is less exact. So CLEAN, with points only, goes
through the residual for a trial; what it needs one pixel for, and leaves nothing around, is a point. Their fluxes then
follow together from linear equations, the rest of the trial is forgotten. In extended emission and among sidelobes that
nobody has explained yet CLEAN's components lie side by side, or leave much: the network comes first there.
"""

import numpy as np
import scipy.linalg
import scipy.ndimage

from radrim.clean import CleanSettings, CleanSolver
from radrim.tile import crop_centre

DEEP = 0.5
"""The trial goes down to this part of the PSF's highest sidelobe: deeper, it cleans its own errors."""
LEAST = 2.0
"""And not below so many times the noise."""
CLEAR = 3.0
"""A point is so many times brighter than what the trial leaves."""
ALONE = 0.7
"""Part of the flux of neighbouring components that a point has in its own pixel."""
WIDEST = 3
"""Largest extent [pixel] of neighbouring components that are one point."""
LIKE = 0.02
"""A point may leave so much of itself in the main lobe of its PSF,"""
SCATTER = 4.0
"""or so many times the noise,"""
CONFUSION = 0.25
"""or so much of what the trial leaves anywhere."""
LOBE = 0.5
"""The main lobe is the PSF above this."""
COMPONENTS = 20_000
"""Most components of a trial."""
POINTS = 2048
"""Most points at once: as many equations."""
ROUNDS = 3
"""Trials at most; each finds what the points of the last one outshone,"""
DEEPER = 0.8
"""if it goes down to this part of the last one's level at least."""
RIDGE = 1e-3
"""Added to the diagonal of the equations: near points must not take flux from each other without end."""


def take_points(residual, psf, sidelobe, noise, convolve, mask=None, threads=1, positive=True):
    """Find isolated points in a residual and take them out.

    Parameters
    ----------
    residual : (y, x) float32
        [Jy/beam]
    psf : (height, width) float32
        Peak 1 at (height // 2, width // 2); as large as the image or larger.
    sidelobe : float
        As `highest_sidelobe` gives it.
    noise : float
        [Jy/beam]
    convolve : callable
        An image [Jy/pixel] to psf * image [Jy/beam].
    mask : (y, x) bool, optional
        Points lie only here.
    threads : int
        Of the trial's Fourier transforms.
    positive : bool
        Stokes I: points are positive. In Q, U and V they have either sign.

    Returns
    -------
    points : (y, x) float32
        [Jy/pixel]
    rest : (y, x) float32
        Residual without them [Jy/beam].
    """
    narrow = np.ascontiguousarray(crop_centre(psf, residual.shape))
    lobe = _main_lobe(narrow)
    settings = CleanSettings(
        niter=COMPONENTS, mgain=1.0, auto_mask=None, auto_threshold=1.0, multiscale=False, negative=True, mask=mask
    )
    points, rest, before = np.zeros_like(residual), residual, np.inf
    for _ in range(ROUNDS):
        level = max(LEAST * noise, DEEP * sidelobe * float(np.abs(rest).max()))
        if level > DEEPER * before:
            break
        trial = CleanSolver(settings, threads)(rest, narrow, points, level).update
        found = _choose(rest, psf, trial, level, noise, lobe, convolve, positive)
        if found is None:
            break
        points, rest, before = points + found[0], rest - found[1], level
    return points, rest


def highest_sidelobe(psf):
    """Largest |value| of a PSF beyond its main lobe, which ends where it first falls to 0."""
    lobes, _ = scipy.ndimage.label(psf > 0)
    beyond = lobes != lobes[psf.shape[0] // 2, psf.shape[1] // 2]
    return float(np.abs(psf[beyond]).max(initial=0))


def _choose(residual, psf, trial, level, noise, lobe, convolve, positive):
    """The components of a trial that are points; None if there are none.

    Returns
    -------
    points, seen : (y, x) float32
        Their fluxes [Jy/pixel], and what these make of the residual [Jy/beam].
    """
    groups, count = scipy.ndimage.label(trial != 0, np.ones((3, 3)))
    if count == 0:
        return None
    y, x = np.nonzero(trial)
    value, group = trial[y, x], groups[y, x] - 1
    total = np.bincount(group, np.abs(value))
    order = np.lexsort((np.abs(value), group))
    last = order[np.cumsum(np.bincount(group)) - 1]  # the brightest of each group
    sign, best, place = np.sign(value[last]), np.abs(value[last]), np.stack([y[last], x[last]], 1)
    extent = np.array([[s.stop - s.start for s in window] for window in scipy.ndimage.find_objects(groups)])
    good = (sign > 0) | (not positive)
    good &= (extent.max(1) <= WIDEST) & (best >= ALONE * total) & (best >= (CLEAR - 1) * level)
    order = np.argsort(-best, kind="stable")
    good[order[np.cumsum(good[order]) > POINTS]] = False
    while good.any():
        y, x = place[good].T
        others = np.where(np.concatenate([[False], good])[groups], 0, trial).astype(np.float32)
        without = residual - convolve(others)
        flux = _fluxes(without, psf, y, x)
        points = np.zeros_like(residual)
        points[y, x] = flux
        seen = convolve(points)
        left = _largest_near(without - seen, y, x, lobe)
        keep = (left <= SCATTER * noise + LIKE * np.abs(flux) + CONFUSION * level) & (flux * sign[good] > 0)
        if keep.all():
            return points, seen
        good[np.flatnonzero(good)[~keep]] = False
    return None


def _fluxes(residual, psf, y, x):
    """Fluxes [Jy] of points in given pixels, (point,) each, that together leave nothing of the residual there."""
    rows, columns = y[:, None] - y + psf.shape[0] // 2, x[:, None] - x + psf.shape[1] // 2
    # Beyond its edges a PSF that is not twice as large as the image counts as 0, as in the convolution.
    inside = (rows >= 0) & (rows < psf.shape[0]) & (columns >= 0) & (columns < psf.shape[1])
    seen = np.where(inside, psf[np.where(inside, rows, 0), np.where(inside, columns, 0)], 0).astype(np.float64)
    seen[np.diag_indices(len(y))] += RIDGE
    return scipy.linalg.solve(0.5 * (seen + seen.T), residual[y, x].astype(np.float64), assume_a="sym")


def _main_lobe(psf):
    """Offsets from the peak (dy, dx) of the pixels of the main lobe."""
    middle = psf.shape[0] // 2, psf.shape[1] // 2
    lobes, _ = scipy.ndimage.label(psf > LOBE)
    y, x = np.nonzero(lobes == lobes[middle])
    return y - middle[0], x - middle[1]


def _largest_near(image, y, x, lobe):
    """Largest |value| in the main lobe around each point; the lobe is cut at the image's edge."""
    rows = np.clip(y[:, None] + lobe[0], 0, image.shape[0] - 1)
    columns = np.clip(x[:, None] + lobe[1], 0, image.shape[1] - 1)
    return np.abs(image[rows, columns]).max(1)

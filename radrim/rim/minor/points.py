"""Isolated point sources, subtracted from a residual before the network works on it.

CLEAN models an isolated point source more exactly than a network. The search has three steps:

1. A trial CLEAN with point components cleans the residual. Each component, or small group of neighbouring components,
   is a candidate.
2. A fit of all candidates together gives their fluxes, by linear equations, their positions between the pixels, and
   their sizes (`radrim.rim.minor.shapes`).
3. A candidate is an isolated point if its subtraction leaves almost no residual in the main lobe of the PSF. All other
   components are discarded.

Components of extended emission, and of sidelobes that are not yet modelled, have neighbours or leave a large residual.
The network models them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.ndimage

from radrim.beam import main_lobe
from radrim.deconvolve.clean import CleanSettings, CleanSolver
from radrim.geometry import crop_centre
from radrim.metrics import noise_mad
from radrim.rim.minor.convolver import Convolve
from radrim.rim.minor.detection import highest_sidelobe
from radrim.rim.minor.settings import PointFinderSettings
from radrim.rim.minor.shapes import TAPS, WIDEST, Lobe, Shapes, draw


class Points(NamedTuple):
    """Isolated points that were subtracted from a residual.

    Parameters
    ----------
    update : (y, x) float32
        [Jy/pixel]
    residual : (y, x) float32
        Residual after the subtraction [Jy/beam].
    number : int
        Number of points. A point between pixels fills several pixels of `update`.
    """

    update: np.ndarray
    residual: np.ndarray
    number: int


class PointFinder:
    """Finds isolated points in residuals of one PSF.

    Parameters
    ----------
    psf : (height, width) float32
        Peak 1 at (height // 2, width // 2); as large as the image or larger.
    shape : (int, int)
        (y, x) of the residuals.
    threads : int
        Threads of the Fourier transforms in the trial CLEAN.
    positive : bool
        Stokes I: points are positive. In Q, U and V they have either sign.
    sizes : bool
        Whether sources slightly wider than a point count as points.
    settings : PointFinderSettings, optional
    """

    def __init__(
        self,
        psf: np.ndarray,
        shape: Sequence[int],
        threads: int = 1,
        positive: bool = True,
        sizes: bool = True,
        settings: PointFinderSettings | None = None,
    ) -> None:
        self.settings = settings or PointFinderSettings()
        self.psf, self.positive, self.sizes = psf, positive, sizes
        self._narrow = np.ascontiguousarray(crop_centre(psf, shape))
        self.sidelobe = highest_sidelobe(self._narrow)
        self.lobe, self.curvature = _main_lobe(self._narrow, self.settings.lobe_level), _curvature(psf)
        self.near = Lobe(psf, self.lobe)
        self.apart = [_apart(along, self.settings.neighbour_distance) for along in self.lobe]
        clean = CleanSettings(
            niter=self.settings.max_components, mgain=1.0, auto_mask=None, auto_threshold=1.0, multiscale=False
        )
        self._trial = CleanSolver(clean, threads)

    def take(
        self,
        residual: np.ndarray,
        noise: float,
        convolve: Convolve,
        mask: np.ndarray | None = None,
        extended: np.ndarray | None = None,
        peak: float = 0.0,
    ) -> Points:
        """Find isolated points in a residual and subtract them.

        Parameters
        ----------
        residual : (y, x) float32
            [Jy/beam]
        noise : float
            [Jy/beam]
        convolve : callable
            An image [Jy/pixel] to psf * image [Jy/beam].
        mask : (y, x) bool, optional
            Pixels in which points may be found.
        extended : (y, x) float32, optional
            Extended emission that is already in the model [Jy/pixel].
        peak : float
            Largest |residual| of the whole image, if `residual` is a part of it [Jy/beam].

        Returns
        -------
        Points
        """
        # Once the network has changed the model, its errors are part of the residual's noise.
        least = noise if extended is None else max(noise, noise_mad(residual))
        limits, highest = self.settings, max(peak, float(np.abs(residual).max()))
        level = max(limits.min_trial_level * least, limits.min_sidelobe_fraction * self.sidelobe * highest)
        search = _Search(self, convolve, residual, noise, level, mask)
        faintest: float | np.ndarray = (limits.min_brightness - 1) * level
        if extended is not None:
            seen = scipy.ndimage.maximum_filter(np.abs(convolve(extended)), 2 * limits.extended_distance + 1)
            faintest = np.maximum(faintest, limits.min_extended_fraction * seen)
            # In extended emission a trial can be slow and find nothing, so a first one cleans only near bright pixels.
            near = self._may_be(residual, faintest, mask)
            if not near.any() or not search.choose(self._try(residual, level, near), faintest).number:
                return Points(np.zeros_like(residual), residual, 0)
        return search.choose(self._try(residual, level, mask), faintest)

    def _try(self, residual: np.ndarray, level: float, where: np.ndarray | None) -> np.ndarray:
        """Components of a trial CLEAN down to a level, (y, x) [Jy/pixel]."""
        self._trial.reset()
        self._trial.limit(where)
        return self._trial(residual, self._narrow, np.zeros_like(residual), level).update

    def _may_be(self, residual: np.ndarray, faintest: float | np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        """Pixels for a short trial: those bright enough for a point, and those whose components decide about it."""
        bright = (residual if self.positive else np.abs(residual)) >= self.settings.min_pixel_fraction * faintest
        reach = [self.settings.max_extent // 2 + apart for apart in self.apart]
        near = scipy.ndimage.maximum_filter(bright, [2 * r + 1 for r in reach])
        return near if mask is None else near & mask


def _apart(along: np.ndarray, distance: float) -> int:
    """Distance from a point within which other components count as its neighbours [pixel].

    Parameters
    ----------
    along : (lobe,) int
        Offsets of the main lobe's pixels from the peak along an axis.
    distance : float
        The distance, over the half width of the main lobe.
    """
    return round(distance * max(1, int(np.abs(along).max())))


class _Points(NamedTuple):
    pixel: np.ndarray  # (point, 2) int, y and x
    flux: np.ndarray  # (point,) [Jy]
    shapes: Shapes

    def take(self, which: np.ndarray) -> "_Points":
        return _Points(self.pixel[which], self.flux[which], self.shapes.take(which))


class _Search:
    """Selects the points of a residual among the components of a trial CLEAN down to a level."""

    def __init__(
        self,
        finder: PointFinder,
        convolve: Convolve,
        residual: np.ndarray,
        noise: float,
        level: float,
        mask: np.ndarray | None,
    ) -> None:
        self._psf, self._lobe, self._curvature, self._near = finder.psf, finder.lobe, finder.curvature, finder.near
        self._convolve, self._positive, self._sizes = convolve, finder.positive, finder.sizes
        self._residual, self._noise, self._mask = residual, noise, mask
        self._limits, self._apart = finder.settings, finder.apart
        self._confusion = finder.settings.max_leftover_confusion * level

    def choose(self, trial: np.ndarray, faintest: float | np.ndarray) -> Points:
        """Select the components that are points.

        `faintest` is the smallest flux of a point, one number for each pixel or for all [Jy].
        """
        limits = self._limits
        groups, count = scipy.ndimage.label(trial != 0, np.ones((3, 3)))
        if count == 0:
            return Points(np.zeros_like(self._residual), self._residual, 0)
        fresh, spread = _gather(trial, groups, count)
        extent = np.array([[s.stop - s.start for s in window] for window in scipy.ndimage.find_objects(groups)])
        bright = np.abs(fresh.flux) >= np.broadcast_to(faintest, trial.shape)[tuple(fresh.pixel.T)]
        good = bright & ((fresh.flux > 0) | (not self._positive))
        good &= (extent.max(1) <= limits.max_extent) & (
            spread.max(1) <= (limits.max_variance if self._sizes else limits.max_point_variance)
        )
        wide = spread.max(1) > limits.max_point_variance
        flux = np.abs(trial)
        around = self._around(flux, fresh.pixel) - scipy.ndimage.sum_labels(flux, groups, np.arange(1, count + 1))
        good &= around <= limits.max_neighbour_flux * np.abs(fresh.flux)
        order = np.argsort(-np.abs(fresh.flux), kind="stable")
        good[order[np.cumsum(good[order]) > limits.max_points]] = False
        while good.any():
            # The fit replaces the components of the good groups. `label` numbers groups from 1.
            others = np.where(np.append(False, good)[groups], 0, trial).astype(np.float32)
            without = self._residual - self._convolve(others)
            fit, points, seen = self._fit(without, fresh.take(good))
            left = np.abs((without - seen)[self._around_each(fit.pixel, self._lobe)]).max(1)
            size = np.abs(fit.flux)
            as_point = limits.max_leftover_fraction * size + self._confusion
            as_gaussian = limits.max_gaussian_leftover_fraction * size
            as_gaussian += limits.max_gaussian_leftover_confusion * self._confusion
            as_gaussian[fit.shapes.size.max(1) >= WIDEST] = 0
            keep = left <= limits.max_leftover_noise * self._noise + np.where(wide[good], as_gaussian, as_point)
            keep &= (fit.flux * np.sign(fresh.flux[good]) > 0) & (np.abs(fit.shapes.shift).max(1) <= limits.max_shift)
            if keep.all():
                return Points(points, self._residual - seen, len(fit.flux))
            good[np.flatnonzero(good)[~keep]] = False
        return Points(np.zeros_like(self._residual), self._residual, 0)

    def _around(self, size: np.ndarray, pixel: np.ndarray) -> np.ndarray:
        """Sum of an image [Jy/pixel] over a box around each of some pixels [Jy], (point,)."""
        reach = self._apart
        box = scipy.ndimage.uniform_filter(size, [2 * r + 1 for r in reach], output=np.float64, mode="constant")
        return box[tuple(pixel.T)] * np.prod([2 * r + 1 for r in reach])

    def _around_each(
        self, pixel: np.ndarray, offsets: Sequence[np.ndarray] | np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns, (point, offset) each, of the pixels at given offsets, clipped to the image."""
        ny, nx = self._residual.shape
        rows, columns = pixel[:, :1] + offsets[0], pixel[:, 1:] + offsets[1]
        return np.clip(rows, 0, ny - 1), np.clip(columns, 0, nx - 1)

    def _fit(self, residual: np.ndarray, start: _Points) -> tuple[_Points, np.ndarray, np.ndarray]:
        """Fit fluxes, positions and sizes of points, from start values.

        At the solution the residual is 0 at the points, and no other position or size lowers it in their main lobes.
        The fluxes account for the sidelobes of all points. The slopes of distant sidelobes are neglected.

        Returns
        -------
        _Points
        image : (y, x) float32
            [Jy/pixel]
        seen : (y, x) float32
            Dirty image of `image` [Jy/beam].
        """
        limits = self._limits
        pixel, flux, shapes = start
        y, x = pixel.T
        free = self._has_room(y, x)[:, None] & (self._curvature is not None)
        shapes = Shapes(
            np.where((np.abs(shapes.shift) > limits.min_shift) & free, shapes.shift, 0), np.zeros_like(shapes.size)
        )
        for fit in range(1, limits.max_fits + 1):
            points = draw(residual.shape, y, x, flux, shapes)
            seen = self._convolve(points)
            if fit == limits.max_fits:
                break
            left = residual - seen
            change, new = _fluxes(left, self._psf, y, x, limits.ridge), shapes
            change /= np.maximum(self._near.peak(shapes), limits.lobe_level)
            if free.any():
                near = left[self._around_each(pixel, self._near.offsets)]
                new = self._certain(self._near.improve(near, flux, shapes), flux, free, float(left.std()))
            if (
                (np.abs(change) <= self._noise).all()
                and (np.abs(new.shift - shapes.shift) <= limits.min_shift).all()
                and (np.abs(new.size - shapes.size) <= limits.min_size).all()
            ):
                break
            flux, shapes = flux + change, new
        return _Points(pixel, flux, shapes), points, seen

    def _certain(self, shapes: Shapes, flux: np.ndarray, free: np.ndarray, rest: float) -> Shapes:
        """Set shifts and sizes to 0 that noise, confusion or emission below the points can cause.

        `rest` is the rms of the residual of the fit [Jy/beam].
        """
        limits = self._limits
        noise, confusion = self._noise / np.abs(flux[:, None]), self._confusion / np.abs(flux[:, None])
        shift = np.clip(shapes.shift, -2 * limits.max_shift, 2 * limits.max_shift)
        # Without a curvature no shift is fitted, and the error is not used.
        curvature = np.eye(2) if self._curvature is None else self._curvature
        error = (limits.min_significance * noise + confusion) / np.sqrt(np.diag(curvature))
        shift[~free | (np.abs(shift) <= np.maximum(error, limits.min_shift))] = 0
        size = np.clip(shapes.size, 0, WIDEST)
        below = limits.size_background * rest / np.abs(flux[:, None])
        error = limits.min_significance * noise * self._near.scatter
        error = error + np.maximum(limits.size_confusion * confusion * self._near.worst, below * self._near.even)
        size[~(free & self._sizes) | (size <= np.maximum(error, limits.min_size))] = 0
        return Shapes(shift, size)

    def _has_room(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Whether all pixels that would represent a point between pixels are in the image and in the mask, (point,)."""
        ny, nx = self._residual.shape
        room = (y >= TAPS) & (y < ny - TAPS) & (x >= TAPS) & (x < nx - TAPS)
        if self._mask is not None:
            around = np.arange(-TAPS, TAPS + 1)
            rows, columns = np.clip(y[:, None] + around, 0, ny - 1), np.clip(x[:, None] + around, 0, nx - 1)
            room &= self._mask[rows[:, :, None], columns[:, None, :]].all((1, 2))
        return room


def _gather(trial: np.ndarray, groups: np.ndarray, count: int) -> tuple[_Points, np.ndarray]:
    """Flux and centre of each group of components, and its variances (group, 2) along y and x [pixel^2]."""
    y, x = np.nonzero(groups)
    group, value, at = groups[y, x] - 1, trial[y, x].astype(np.float64), np.stack([y, x]).astype(np.float64)
    size = np.maximum(np.bincount(group, np.abs(value), count), 1e-30)
    place = np.stack([np.bincount(group, np.abs(value) * along, count) / size for along in at], 1)
    flux = np.bincount(group, value, count)
    square = [np.bincount(group, value * (along - place[group, k]) ** 2, count) for k, along in enumerate(at)]
    pixel = np.rint(place).astype(int)
    spread = np.stack(square, 1) / np.where(flux == 0, 1e-30, flux)[:, None]
    return _Points(pixel, flux, Shapes(place - pixel, np.zeros_like(place))), spread


def _curvature(psf: np.ndarray) -> np.ndarray | None:
    """Minus the second derivatives of the PSF at its centre, (2, 2); None if the centre is no maximum."""
    y, x = psf.shape[0] // 2, psf.shape[1] // 2
    near = psf[y - 2 : y + 3, x - 2 : x + 3].astype(np.float64)
    if near.shape != (5, 5):
        return None
    along_y, along_x = 2 * near[2, 2] - near[4, 2] - near[0, 2], 2 * near[2, 2] - near[2, 4] - near[2, 0]
    mixed = near[3, 1] + near[1, 3] - near[3, 3] - near[1, 1]
    out = np.array([[along_y, mixed], [mixed, along_x]]) / 4
    return out if np.linalg.eigvalsh(out)[0] > 0 else None


def _fluxes(residual: np.ndarray, psf: np.ndarray, y: np.ndarray, x: np.ndarray, ridge: float) -> np.ndarray:
    """Fluxes [Jy] of points in given pixels, (point,) each, whose subtraction makes the residual 0 in these pixels."""
    rows, columns = y[:, None] - y + psf.shape[0] // 2, x[:, None] - x + psf.shape[1] // 2
    # A PSF smaller than twice the image counts as 0 beyond its edges, as in the convolution.
    inside = (rows >= 0) & (rows < psf.shape[0]) & (columns >= 0) & (columns < psf.shape[1])
    seen = np.where(inside, psf[np.where(inside, rows, 0), np.where(inside, columns, 0)], 0).astype(np.float64)
    seen[np.diag_indices(len(y))] += ridge
    return scipy.linalg.solve(0.5 * (seen + seen.T), residual[y, x].astype(np.float64), assume_a="sym")


def _main_lobe(psf: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Offsets (dy, dx) from the peak to the pixels of the main lobe [pixel]."""
    middle = psf.shape[0] // 2, psf.shape[1] // 2
    y, x = np.nonzero(main_lobe(psf, level))
    return y - middle[0], x - middle[1]

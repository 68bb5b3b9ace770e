"""Makes images from closure quantities alone, by regularised maximum likelihood.

The image is positive and its flux is fixed, ``I = x^2 / sum x^2``, because closure quantities do not determine the
flux. (With ``exp(x)``, pixels that begin faint hardly change, and jets far from a bright core were not found.) The
objective is half the chi-squares of closure phases and log closure amplitudes, plus their number times the relative
entropy of the image to a Gaussian, whose size follows from the closure amplitudes. The entropy also fixes the position
of the image, which closure quantities do not determine. The objective is minimised in rounds. Early rounds give the
data little weight and use coarse pixels. Between rounds the image is blurred by part of the resolution and moved to
the middle. Sizes are in units of the resolution; weights are the same for all observations.

Baselines between neighbouring stations measure the flux of all scales. The part of it that the image lacks is one more
unknown, `Solution.extended`. Closure amplitudes with these baselines then set the brightness on longer baselines.

References
----------
Chael et al. (2018), ApJ 857, 23: imaging with closure quantities, relative entropy.
Event Horizon Telescope Collaboration (2019), ApJL 875, L4: blurred restarts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter, shift, zoom
from scipy.optimize import minimize

from radrim.closure.quantities import ClosureData
from radrim.closure.terms import DataTerm, closure_terms, size_of
from radrim.closure.transforms import Transforms, one_thread
from radrim.errors import SolverError
from radrim.geometry import FWHM_PER_SIGMA, ImageGrid


@dataclass(frozen=True)
class ClosureSolverSettings:
    """How the image is found. Sizes are in units of the resolution, and the same for all observations."""

    rounds: tuple[float, ...] = (0.003, 0.03, 0.3, 1.0)
    """Weight of the data in each round. Early rounds trust the data little, so that the image can still change."""

    iterations: int = 130
    """Largest number of steps of the minimiser in a round."""

    blur: float = 0.5
    """Width (FWHM) of the Gaussian that blurs the image between rounds [resolution]."""

    entropy: float = 0.3
    """Weight of the relative entropy for each closure quantity."""

    coarse: float = 3.0
    """Number of coarse pixels per resolution. The last round has the pixels of the image."""

    smallest: int = 32
    """Least number of coarse pixels along a side. Below it, transforms are direct sums."""

    floor: float = 1e-3
    """Part of the flux that the prior spreads over the whole field."""

    faintest: float = 1e-13
    """Least part of the flux in a pixel, so that its logarithm is finite."""

    first_pixel: float = 1e-9
    """Least pixel with which a round begins [brightest pixel]. A pixel that begins at zero stays there."""

    first_extended: float = 0.1
    """Least extended flux with which a round begins [flux of the image]. If it begins at zero, it stays there."""

    tolerance: float = 1e7 * float(np.finfo(float).eps)
    """Relative change of the objective in one step at which the minimiser stops."""

    max_phase: float = 3e-4
    """Phase of the w-term at the edge of the field up to which it is left out [rad]."""

    epsilon: float = 1e-9
    """Accuracy of the transforms. The minimiser compares values that differ little."""


@dataclass
class Solution:
    """An image and its extended flux.

    Parameters
    ----------
    image : (y, x) float64
        Sums to 1.
    extended : float
        Flux that only baselines between neighbouring stations measure, over that of the image.
    """

    image: np.ndarray
    extended: float


class Objective:
    """The objective, a function of x: the square roots of the pixels and of the extended flux.

    Parameters
    ----------
    uvw : (sample, 3) float64
        [wavelengths]
    colocated : (sample,) bool
        Samples that hold the extended flux.
    terms : sequence of DataTerm
    grid : ImageGrid
    prior : (y, x) float64
        Sums to 1, positive.
    weight : float
        Weight of the data.
    threads : int
    settings : ClosureSolverSettings
    """

    def __init__(
        self,
        uvw: np.ndarray,
        colocated: np.ndarray,
        terms: Sequence[DataTerm],
        grid: ImageGrid,
        prior: np.ndarray,
        weight: float = 1.0,
        threads: int = 1,
        settings: ClosureSolverSettings = ClosureSolverSettings(),
    ):
        self._settings = settings
        self._terms, self._shape, self._colocated = terms, grid.shape, colocated
        self._prior, self._weight = np.log(prior), weight
        self._entropy = settings.entropy * sum(len(term) for term in terms)
        self._transforms = Transforms(uvw, grid, settings.epsilon, threads, settings.smallest, settings.max_phase)

    def visibilities(self, image: np.ndarray, extended: float) -> np.ndarray:
        """Visibilities of an image that sums to 1, (sample,) complex128."""
        return self._transforms.forward(image) + extended * self._colocated

    def unpack(self, x: np.ndarray) -> tuple[np.ndarray, float]:
        """Image and extended flux of x."""
        image = x[:-1].reshape(self._shape) ** 2
        return np.maximum(image / image.sum(), self._settings.faintest), float(x[-1] ** 2)

    def minimise(self, solution: Solution) -> Solution:
        """The image and extended flux of the lowest objective, searched from `solution`.

        Raises
        ------
        SolverError
            The objective is not finite.
        """
        settings = self._settings
        pixels = np.maximum(solution.image, settings.first_pixel * solution.image.max())
        x = np.sqrt(np.append(pixels, max(solution.extended, settings.first_extended)))
        limits = {"maxiter": settings.iterations, "maxfun": 2 * settings.iterations, "maxcor": 20,
                  "ftol": settings.tolerance}  # fmt: skip
        with one_thread():
            found = minimize(self, x, jac=True, method="L-BFGS-B", options=limits)
        if not np.isfinite(found.fun):
            raise SolverError("The data gave no finite chi-square; please report this observation.")
        image, extended = self.unpack(found.x)
        return Solution(image, extended if self._colocated.any() else 0.0)

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient."""
        image, extended = self.unpack(x)
        vis = self.visibilities(image, extended)
        found = [term(vis) for term in self._terms]
        by_vis = sum(gradient for _, gradient in found) * vis / size_of(vis) ** 2
        by_image = self._weight / 2 * self._transforms.adjoint(by_vis)
        by_extended = self._weight / 2 * float(by_vis.real @ self._colocated)
        relative = np.log(image) - self._prior
        value = self._weight / 2 * sum(chi2 for chi2, _ in found)
        value += self._entropy * float((image * relative).sum())
        by_image += self._entropy * (relative + 1)
        roots = x[:-1].reshape(self._shape)
        gradient = 2 * roots / (roots**2).sum() * (by_image - (image * by_image).sum())
        return value, np.append(gradient.ravel(), 2 * x[-1] * by_extended)


class ClosureSolver:
    """Rounds of minimisation; each starts from the solution of the previous round.

    Parameters
    ----------
    data : ClosureData
    grid : ImageGrid
    threads : int
    settings : ClosureSolverSettings

    Attributes
    ----------
    resolution : float
        1 / longest baseline [rad].
    size : float
        Width (FWHM) of the prior [rad].
    """

    def __init__(
        self,
        data: ClosureData,
        grid: ImageGrid,
        threads: int = 1,
        settings: ClosureSolverSettings = ClosureSolverSettings(),
    ):
        self._settings = settings
        self._data, self._grid, self._threads = data, grid, threads
        self.resolution = 1 / np.hypot(data.uvw[:, 0], data.uvw[:, 1]).max()
        fitted, extended = fit_gaussian(data, self.resolution, min(grid.shape) * grid.scale / 2)
        self.size = float(np.hypot(fitted, self.resolution))
        self._coarse = coarse(grid, self.resolution / settings.coarse, settings.smallest)
        self.start = Solution(gaussian(grid, self.size, settings.floor), extended)

    def round(self, number: int, solution: Solution) -> Solution:
        """Run one round.

        Parameters
        ----------
        number : int
            Of the round, from 0 to the number of `ClosureSolverSettings.rounds` less 1.
        solution : Solution
            `start`, or the solution of the previous round.

        Raises
        ------
        SolverError
            The objective is not finite.
        """
        settings = self._settings
        grid = self._grid if number + 1 == len(settings.rounds) else self._coarse
        image = resampled(solution.image, grid.shape)
        if number:
            image = centred(gaussian_filter(image, settings.blur * self.resolution / grid.scale / FWHM_PER_SIGMA))
        prior = gaussian(grid, self.size, settings.floor)
        found = self._objective(grid, prior, settings.rounds[number]).minimise(Solution(image, solution.extended))
        return Solution(resampled(found.image, self._grid.shape), found.extended)

    def visibilities(self, solution: Solution) -> np.ndarray:
        """Visibilities of a solution with flux 1, (sample,) complex128."""
        return self._objective(self._grid, self.start.image).visibilities(solution.image, solution.extended)

    def _objective(self, grid, prior, weight=1.0):
        data, terms = self._data, closure_terms(self._data)
        return Objective(data.uvw, data.colocated, terms, grid, prior, weight, self._threads, self._settings)


def fit_gaussian(data: ClosureData, smallest: float, largest: float) -> tuple[float, float]:
    """Fit a round Gaussian to the log closure amplitudes.

    Parameters
    ----------
    data : ClosureData
    smallest, largest : float
        Twice the smallest width that is tried, and the largest width [rad].

    Returns
    -------
    float
        Width (FWHM) [rad]; `smallest` if there are no closure amplitudes.
    float
        Flux that only colocated baselines measure, over that of the Gaussian.
    """
    amplitudes, colocated = data.amplitudes, data.colocated
    if not len(amplitudes):
        return smallest, 0.0
    length = np.hypot(data.uvw[:, 0], data.uvw[:, 1])
    best = np.inf, smallest, 0.0
    for width in np.geomspace(smallest / 2, largest, 40):
        # Real sources are not Gaussian far below their peak: the visibility does not fall below e^-6.
        log = np.maximum(-((np.pi * width * length) ** 2) / (4 * np.log(2)), -6)
        for extended in (0.0, 0.1, 0.3, 1.0, 3.0) if colocated.any() else (0.0,):
            off = amplitudes.combine @ np.where(colocated, np.log1p(extended), log) - amplitudes.value
            score = float(np.mean(np.abs(off) / np.hypot(amplitudes.sigma, 0.2)))
            if score < best[0]:
                best = score, width, extended
    return best[1], best[2]


def gaussian(grid: ImageGrid, width: float, floor: float, centre: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """A Gaussian (FWHM `width` [rad]) at `centre` (l, m) in a faint floor, (y, x), sum 1."""
    square = (grid.l()[None, :] - centre[0]) ** 2 + (grid.m()[:, None] - centre[1]) ** 2
    image = np.exp(-4 * np.log(2) * square / width**2)
    return (1 - floor) * image / image.sum() + floor / image.size


def coarse(grid: ImageGrid, scale: float, smallest: int) -> ImageGrid:
    """The same field in pixels of about `scale` [rad], no finer than those of `grid`."""
    factor = max(1.0, scale / grid.scale)
    width, height = (min(n, max(smallest, 2 * math.ceil(n / factor / 2))) for n in (grid.width, grid.height))
    return replace(grid, width=width, height=height, scale=grid.scale * grid.width / width)


def resampled(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """An image on other pixels of the same field, (y, x), sum 1."""
    if image.shape != shape:
        image = zoom(image, [new / old for new, old in zip(shape, image.shape, strict=True)], order=1,
                     mode="nearest", grid_mode=True)  # fmt: skip
    return image / image.sum()


def centred(image: np.ndarray) -> np.ndarray:
    """The image moved by whole pixels to centre its centroid, (y, x), sum 1; flux moved beyond the edges is lost."""
    y, x = (np.arange(n) - n // 2 for n in image.shape)
    total = image.sum()
    steps = -round(float(y @ image.sum(1) / total)), -round(float(image.sum(0) @ x / total))
    moved = shift(image, steps, order=0)
    return moved / moved.sum()

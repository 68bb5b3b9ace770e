"""Images of visibilities by relative entropy, of a strength that kept-out visibilities choose.

The objective is that of `radrim.closure.solver` with complex visibilities as the data: half their chi-square plus their
number times a strength times the relative entropy of the image to a Gaussian. The width of the Gaussian follows from
the amplitudes, the flux from the best fit. The Gaussian is in the middle of the field or at the brightest place.
Strengths are tried from strong to weak, each from the solution of the one before, so that the image goes from smooth to
detailed.

Which strength and which Gaussian are best, the visibilities say: they are divided into folds of whole stretches of
baselines, and each fold is predicted by the fit to all others. The strength falls as long as the prediction improves by
more than the error of the change. All visibilities are then fitted with the best strength.

The same predictions say how large the errors of the visibilities are (`radrim.closure.noise`). Gain errors are in
proportion to the amplitude, and weigh more than thermal noise where the signal is strong.
"""

import logging
from dataclasses import dataclass, replace

import numpy as np

from radrim.closure.cells import CellVisibilities
from radrim.closure.choice import Choice, EntropyImage, Path, Prior
from radrim.closure.noise import Noise, estimate_noise
from radrim.closure.solver import ClosureSolverSettings, Objective, Solution, coarse, gaussian, resampled
from radrim.closure.terms import VisibilityTerm
from radrim.closure.transforms import Transforms
from radrim.closure.width import amplitudes, fit_width
from radrim.deconvolve.judge import Cells, Verdict
from radrim.geometry import ImageGrid

log = logging.getLogger("radrim")


@dataclass(frozen=True)
class EntropySettings:
    """How the strength of the entropy is found."""

    strengths: tuple[float, ...] = (30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)
    """Weights of the relative entropy for each datum, from strong to weak. At the first the image is the Gaussian."""

    patience: int = 2
    """Number of strengths in a row that predict no better, after which no weaker ones are tried."""

    weakest_for_priors: float = 0.1
    """Strength down to which all priors are tried; weaker ones only with the best of them. Where the entropy is weak
    the prior matters less, and the search takes most of its time."""

    faint_floor: float = 1e-12
    """Part of the flux that a prior spreads over the field if it allows next to no emission far from the source. Of a
    source that all baselines resolve, the usual floor leaves a haze between the sidelobes."""

    wider: float = 3.0
    """Factor by which the Gaussian with this floor is made wider, as a further choice: extended emission around a
    bright core hardly changes the amplitudes from which the width follows."""

    max_chi2_ratio: float = 1.3
    """Chi-square of a predicted fold, over that of another model which was fitted to it, above which the search is not
    worth its time."""

    coarse: float = 2.0
    """Number of pixels per resolution while folds are fitted. The last fit has the pixels of the image."""

    max_phase: float = 0.1
    """Phase of the w-term at the edge of the field up to which it is left out while folds are fitted [rad]. All fits
    that are compared have the same error then. The last fit is exact."""

    folds: int = 5
    """Number of folds. Fits to four fifths of the data are nearly as good as fits to all."""

    max_change: float = 1.5
    """Largest factor between the assumed and the estimated noise of samples, relative to each other, that leaves the
    strength as it is. Otherwise it is chosen again."""

    total_error: float = 0.1
    """Error of the total flux, guessed as the largest amplitude, if no stations are neighbours [largest amplitude].
    Without the guess a source that all baselines resolve gets more flux than any of them measures."""

    iterations: int = 80
    """Largest number of steps of the minimiser for each strength."""

    tolerance: float = 1e-6
    """Relative change of the objective in one step at which the minimiser stops."""

    epsilon: float = 1e-7
    """Accuracy of the transforms."""


class EntropySolver:
    """Finds the image of visibilities.

    Parameters
    ----------
    data : CellVisibilities
    grid : ImageGrid
    allowed : (y, x) bool or None
        Pixels that may hold emission; None for all.
    settings : EntropySettings
    separate : bool
        Whether flux that only colocated stations see may be missing in the image.
    field : float
        Width of the part of the image that holds all emission, unless a larger one predicts better [rad].

    Attributes
    ----------
    priors : list of Prior
        Those that are tried.
    """

    def __init__(
        self,
        data: CellVisibilities,
        grid: ImageGrid,
        allowed: np.ndarray | None = None,
        settings: EntropySettings = EntropySettings(),
        separate: bool = True,
        field: float = np.inf,
    ):
        if not data.colocated.any():
            level = float(amplitudes(data, np.ones(len(data), bool))[1].max())
            data = data.with_total(level, settings.total_error * level) if level else data
        self._data, self._grid, self._settings = data, grid, settings
        self._minimiser = ClosureSolverSettings(
            iterations=settings.iterations,
            tolerance=settings.tolerance,
            epsilon=settings.epsilon,
        )
        resolution = 1 / np.hypot(data.uvw[:, 0], data.uvw[:, 1]).max()
        self._coarse = coarse(grid, resolution / settings.coarse, self._minimiser.smallest)
        self._allowed = allowed
        wide = max(grid.shape) * grid.scale / 2
        reach = min(field / 2, wide)
        self.priors = []
        for apart in (False, True) if separate and data.colocated.any() else (False,):
            widest = min(*(side * grid.scale / 2 for side in grid.shape), reach)
            fitted, extended = fit_width(data.part(data.fold >= 0), resolution, widest, apart)
            width = float(np.hypot(fitted, resolution))
            self.priors.append(Prior(width, (0.0, 0.0), apart, extended, reach))
            place = self._brightest(width, reach)
            if np.hypot(*place) > resolution:
                self.priors.append(Prior(width, place, apart, extended, reach))
        self._whole = reach < wide

    def may_compete(self, model: np.ndarray) -> bool:
        """Whether one fold is predicted about as well as a model fits it, with the first prior and any strength.

        Parameters
        ----------
        model : (y, x) float32
            [Jy/pixel]
        """
        data, settings = self._data.with_noise(*Noise()), self._settings
        vis = Transforms(data.uvw, self._grid, settings.epsilon, 1, self._minimiser.smallest).forward(
            model.astype(float)
        )
        kept, prior = data.fold == 0, self.priors[0]
        enough = settings.max_chi2_ratio * _chi2((data.vis - vis)[kept], data.sigma[kept])
        state, best, worse = self._start(self._coarse, prior), np.inf, 0
        for strength in (strength for strength in settings.strengths if strength >= settings.weakest_for_priors):
            state, left = self._predict_one(data, kept, state, strength, prior)
            found = _chi2(left, data.sigma[kept])
            if found <= enough:
                return True
            best, worse = min(best, found), 0 if found < best else worse + 1
            if worse > settings.patience:
                break
        log.debug("entropy: chi^2 of a predicted fold is %.3g, too far above %.3g", best, enough)
        return False

    def choose(self) -> Choice:
        """Find prior, strength and noise from predictions of the folds.

        Priors are tried in the middle of the field and at the brightest place, without and with flux that only
        colocated stations see, then the best of them with emission in the whole image, and then with next to no
        emission far from the source. Another than the first must predict better by more than the error of the change.
        """
        settings, vis = self._settings, self._data.vis
        first, *others = self.priors
        best = self._extended(self._begun(first))
        data = self._data.with_noise(*self._noise(best.left))
        further = min(best.best + settings.patience, len(settings.strengths) - 1)
        weakest = min(max(settings.strengths[further], settings.weakest_for_priors), settings.strengths[best.best])
        for prior in others:
            best = self._better(data, best, self._extended(self._begun(prior), weakest))
        if self._whole:
            wide = best.prior._replace(reach=np.inf)
            best = self._better(data, best, self._extended(self._begun(wide), weakest))
        faint = best.prior._replace(floor=settings.faint_floor)
        for prior in (faint, faint._replace(width=settings.wider * faint.width)):
            best = self._better(data, best, self._extended(self._begun(prior), weakest))
        best = self._extended(best)
        found = self._noise(best.left)
        ratio = self._data.with_noise(*found).sigma / self._data.with_noise(*Noise()).sigma
        if np.percentile(ratio, 95) / np.percentile(ratio, 5) > settings.max_change:
            best = self._extended(best.again(found, vis, settings.patience))
            found = self._noise(best.left)
        real = self._data.fold >= 0
        kept = _chi2(best.left[real], self._data.with_noise(*found).sigma[real])
        return Choice(best.prior, settings.strengths[best.best], found, kept, best.changes, best.left)

    def fit(self, choice: Choice, start: Solution | None = None) -> EntropyImage:
        """Fit all visibilities with a strength: from strong to weak, the last one with the pixels of the grid.

        Parameters
        ----------
        choice : Choice
        start : Solution, optional
            Where the search begins instead, with the pixels of the grid.
        """
        data = self._data.with_noise(*choice.noise)
        prior = choice.prior
        solution = start or self._start(self._coarse, prior)
        for strength in self._settings.strengths if start is None else ():
            if strength <= choice.strength:
                break
            solution = self._objective(data, self._coarse, strength, prior).minimise(solution)
        image = resampled(solution.image, self._grid.shape)
        solution = replace(solution, image=self._within(image, self._grid, prior.reach))
        objective = self._objective(data, self._grid, choice.strength, prior)
        solution = objective.minimise(solution)
        # The minimiser leaves next to nothing where no emission is allowed, and this is less.
        solution = replace(solution, image=self._within(solution.image, self._grid, prior.reach))
        vis = objective.visibilities(solution.image, solution.extended)
        flux = VisibilityTerm(data.vis, data.sigma).flux(vis)
        chi2 = _chi2(data.vis - flux * vis, data.sigma)
        return EntropyImage(solution, flux, choice.strength, flux * vis, chi2)

    def _begun(self, prior):
        """A path of a prior without any strength."""
        return Path(prior, Noise(), [self._start(self._coarse, prior)] * self._settings.folds, self._data.vis)

    def _better(self, data, path, other):
        """The second path if it predicts better by more than the error of the change, else the first."""
        verdict = self._verdict(data, path.left, other.left)
        change, error = verdict.change(1.0), verdict.change_error(1.0)
        log.debug("%s: chi^2 of folds changed by %.4g +- %.2g", other.prior, change, error)
        return other if change < -error else path

    def _extended(self, path, weakest=0.0):
        """The path with weaker strengths, down to `weakest`, as long as the folds are predicted better."""
        data, settings = self._data.with_noise(*path.noise), self._settings
        strengths = [strength for strength in settings.strengths if strength >= weakest]
        path = replace(path, history=[*path.history], changes=[*path.changes])
        while path.number < len(strengths) and path.number - path.best <= settings.patience:
            path.history.append(path.states)
            strength = strengths[path.number]
            path.states, after = self._predict(data, path.states, strength, path.prior)
            verdict = self._verdict(data, path.left, after)
            change, error = verdict.change(1.0), float(verdict.change_error(1.0))
            path.changes.append((strength, change, error))
            log.debug("entropy %g: chi^2 of folds changed by %.4g +- %.2g", strength, change, error)
            if change < -error or path.number == path.first:
                path.best, path.left = path.number, after
            path.number += 1
        return path

    def _noise(self, left):
        """Errors of the visibilities by what the predictions leave of them."""
        real = self._data.fold >= 0
        return estimate_noise(self._data.part(real), left[real])

    def _predict(self, data, states, strength, prior):
        """Fit all but one fold, for each fold; return the solutions, and what they leave of the fold kept out."""
        left, fits = data.vis.copy(), list(states)
        for fold, state in enumerate(states):
            kept = data.fold == fold
            if kept.any() and not kept.all():
                fits[fold], left[kept] = self._predict_one(data, kept, state, strength, prior)
        return fits, left

    def _predict_one(self, data, kept, state, strength, prior):
        """Fit what is not kept out; return the solution, and what it leaves of what is."""
        fitted = data.part(~kept)
        solution = self._objective(fitted, self._coarse, strength, prior).minimise(state)
        vis = self._objective(data, self._coarse, strength, prior).visibilities(solution.image, solution.extended)
        flux = VisibilityTerm(fitted.vis, fitted.sigma).flux(vis[~kept])
        return solution, data.vis[kept] - flux * vis[kept]

    def _objective(self, data, grid, strength, prior):
        phase = self._settings.max_phase if grid is self._coarse else self._minimiser.max_phase
        settings = replace(self._minimiser, entropy=strength, max_phase=phase)
        terms = [VisibilityTerm(data.vis, data.sigma)]
        near = data.colocated & prior.separate
        image = np.maximum(self._start(grid, prior).image, self._minimiser.faintest)
        return Objective(data.uvw, near, terms, grid, image, 1.0, settings=settings)

    def _start(self, grid, prior):
        image = gaussian(grid, prior.width, prior.floor, prior.centre)
        return Solution(self._within(image, grid, prior.reach), prior.extended)

    def _within(self, image, grid, reach):
        """An image, 0 outside the mask and where emission does not reach, with sum 1."""
        image = np.where(self._allowed_on(grid, reach), image, 0)
        return image / image.sum()

    def _allowed_on(self, grid, reach):
        """Pixels of a grid that may hold emission, (y, x) bool."""
        near = (np.abs(grid.m())[:, None] <= reach) & (np.abs(grid.l()) <= reach)
        return near if self._allowed is None else near & (resampled(self._allowed.astype(float), grid.shape) > 0)

    def _verdict(self, data, before, after):
        """What the samples say of two predictions, of which they leave `before` and `after`."""
        names, cells = np.unique(data.stretch, return_inverse=True)
        weight = data.sigma[:, None] ** -2.0
        return Verdict(Cells.of(cells, weight, before[:, None], after[:, None], len(names)))

    def _brightest(self, width, reach):
        """Place (l, m) [rad] at which a source of a width (FWHM) [rad] is brightest."""
        data, grid = self._data, self._coarse
        length = np.hypot(data.uvw[:, 0], data.uvw[:, 1])
        seen = (
            np.exp(-((np.pi * width * length) ** 2) / (4 * np.log(2)))
            * data.sigma**-2.0
            * ~data.colocated
            * (data.fold >= 0)
        )
        settings = self._minimiser
        operator = Transforms(data.uvw, grid, settings.epsilon, 1, settings.smallest)
        image = operator.adjoint(data.vis * seen)
        image = np.where(self._allowed_on(grid, reach), image, -np.inf)
        y, x = np.unravel_index(image.argmax(), image.shape)
        return float(grid.l()[x]), float(grid.m()[y])


def _chi2(left, sigma):
    """Mean chi-square of what is left of samples."""
    return float(np.mean(np.abs(left / sigma) ** 2) / 2)

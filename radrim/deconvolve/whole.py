"""An image in memory, of one or several terms; its minor cycles run on tiles."""

import dataclasses
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import numpy as np

from radrim.deconvolve.judge import Cells, Verdict
from radrim.deconvolve.major import ImageState
from radrim.deconvolve.minor import FinalStage, MakeSolver, MinorCycle, MinorCycleSolver, PartView, RefiningSolver
from radrim.deconvolve.step_length import best_part
from radrim.deconvolve.tiles import Tile, mosaic
from radrim.errors import SolverError
from radrim.geometry import crop_centre
from radrim.metrics import residual_noise, scatter
from radrim.runtime.executors import Threads

log = logging.getLogger("radrim")


class ExactResidual(Protocol):
    """Exact residuals of one pointing, of a mosaic, or of the terms of a spectrum."""

    left_noise: float
    """Noise of the dirty image, measured in the visibilities minus the last model [Jy/beam]; NaN if unknown."""

    def residual(self, model: np.ndarray) -> np.ndarray:
        """Exact residual [Jy/beam] of a model [Jy/pixel], both ([term,] y, x) float32."""


class LikelihoodImages(ExactResidual, Protocol):
    """Images with natural weights, whose chi^2 is that of the samples."""

    noise_factor: float
    """Noise of the dirty image over that with imaging weights."""

    def psf(self, wide: bool = False) -> np.ndarray:
        """Point-spread function; see `radrim.measure.measurement.Measurement.psf`."""


class JudgedResidual(ExactResidual, Protocol):
    """Exact residuals without the samples that are kept out to judge the updates."""

    def likelihood(self) -> LikelihoodImages:
        """The same samples with natural weights."""

    def holdout_residual(self) -> list[np.ndarray]:
        """What the last model left of the samples that judge; see `radrim.measure.measurement.Measurement`."""

    def judge(self, before: list[np.ndarray], after: list[np.ndarray]) -> Cells | None:
        """Compare two models by what they leave of the kept-out samples; None if there are none."""

    def watch(self, before: list[np.ndarray], after: list[np.ndarray]) -> Cells | None:
        """The same by as many samples that are fitted."""

    def inspect(self, model: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
        """Exact residual of a model, and how well it fits all samples."""


@dataclass(kw_only=True)
class WholeImage(ImageState):
    """An image whose arrays are in memory.

    Parameters
    ----------
    measurement : ExactResidual
    dirty : ([term,] y, x) float32
        [Jy/beam]
    psf : ([term,] y, x) float32
        As large as the image or larger.
    model : ([term,] y, x) float32
        [Jy/pixel]
    residual : ([term,] y, x) float32
        Exact residual of `model` [Jy/beam].
    remembered : list of (dict, dict)
        State of each solver (facts, arrays) from an interrupted run; empty for a new image.
    holdout_residual : list of (row, chan) complex64, optional
        What `model` leaves of the samples that are kept out of the deconvolution, and of as many that are fitted, block
        by block [Jy].
    keeper : callable, optional
        Saves the image in the work directory after each major cycle.
    """

    measurement: ExactResidual
    dirty: np.ndarray
    psf: np.ndarray
    model: np.ndarray
    residual: np.ndarray
    remembered: list = field(default_factory=list)
    holdout_residual: list[np.ndarray] | None = None
    left_noise: float = float("nan")
    keeper: Callable[["WholeImage"], None] | None = None

    def __post_init__(self):
        self.tiles: Sequence[Tile] = []
        self.solvers: list[MinorCycleSolver] = []
        """One solver for each tile of each term, term after term."""
        self._workers = 1
        self._pending: tuple[np.ndarray, np.ndarray] = self.model, self.residual
        """Model with the whole pending update, and its residual."""
        self._all_samples = self.measurement, self.dirty, self.psf
        self._judge: JudgedResidual | None = None
        self._noise_after = float("nan")
        """`left_noise` with all of the pending update."""
        self._kept_after: list[np.ndarray] = []
        """What all of the pending update leaves of the kept-out samples."""
        self._after: tuple[float, np.ndarray, np.ndarray] | None = None
        """A fraction, and model and residual with this fraction of the pending update."""
        self._natural: tuple[LikelihoodImages, np.ndarray] | None = None
        """Images with natural weights, and their PSF; None until they are needed."""

    def cut(
        self,
        tiles: Sequence[Tile],
        make: MakeSolver | Sequence[MakeSolver],
        workers: int = 1,
        stages: Sequence[FinalStage] = (),
        trials: Sequence[FinalStage] = (),
        closing: FinalStage | None = None,
    ) -> None:
        """Divide the image into tiles, and make their solvers, which continue from `remembered`.

        Parameters
        ----------
        tiles : sequence of Tile
        make : callable, or one for each term
        workers : int
            Number of minor cycles that run in parallel.
        stages, trials : sequence of FinalStage
        closing : FinalStage or None
        """
        self.tiles, self._workers, self.stages = tiles, workers, stages
        self.trials, self.closing = trials, closing
        makers = list(make) if isinstance(make, Sequence) else [make] * len(self._terms(self.model))
        self.solvers = [one(tile, self) for one in makers for tile in tiles]
        for solver, state in zip(self.solvers, self.remembered, strict=False):
            solver.resume(*state)

    @property
    def rms(self) -> float:
        """See `ImageState.rms`."""
        return scatter(self.residual)

    @property
    def peak(self) -> float:
        """See `ImageState.peak`."""
        return float(np.abs(self.residual).max())

    @property
    def flux(self) -> float:
        """See `ImageState.flux`."""
        return float(self._terms(self.model)[0].sum())

    @property
    def next_model(self) -> np.ndarray:
        """The model with the whole pending update; `model` itself if no update is pending."""
        return self._pending[0]

    @property
    def pending(self) -> bool:
        """See `ImageState.pending`."""
        return self._pending[0] is not self.model

    def minor_cycles(self) -> list[MinorCycle]:
        """Run the minor cycles of one term: the term with the highest residual in which they find emission.

        Residuals of the other terms may be sidelobes of its emission, and have to wait for the exact residual.
        """
        residuals, minors = self._terms(self.residual), []
        self._pending = self.model, self.residual
        peaks = [float(np.abs(residual).max()) for residual in residuals]
        for term in sorted(range(len(peaks)), key=lambda number: -peaks[number]):
            found = self._minor_cycles(term, peaks[term])
            if len(peaks) > 1:
                found = [dataclasses.replace(minor, stop=f"term {term}: {minor.stop}") for minor in found]
            minors += found
            if self._add(term, mosaic(residuals.shape[1:], self.tiles, [minor.update for minor in found])):
                break
        return minors

    def _minor_cycles(self, term, peak):
        """Run the minor cycles of all tiles of a term."""
        noise = residual_noise(self._terms(self.residual)[term])
        solvers = self.solvers[term * len(self.tiles) : (term + 1) * len(self.tiles)]
        calls = [
            (self._run_minor, term, solver, tile, noise, peak) for solver, tile in zip(solvers, self.tiles, strict=True)
        ]
        if len(calls) == 1:
            return [self._run_minor(*calls[0][1:])]
        return Threads(self._workers).run("minor cycles", calls)

    def _run_minor(self, term, solver, tile, noise, peak):
        """Run the minor cycle of one tile.

        The solver also cleans the halo, or sidelobes of sources in the halo would be cleaned as sources of the tile.
        The update of the halo is dropped, since the sources belong to other tiles.
        """
        seen = self._view(term, solver, tile, noise)
        try:
            minor = solver(seen.residual, seen.psf, seen.model, noise, peak)
        except SolverError as error:
            y, x = (f"{s.start}:{s.stop}" for s in tile.outer)
            which = [self.label] if self.model.ndim == 2 else [self.label, f"term {term}"]
            raise SolverError(f"{', '.join([*which, f'tile y {y}, x {x}'])}: {error}".removeprefix(", ")) from None
        return dataclasses.replace(minor, update=np.where(tile.window(), minor.update, 0))

    def _likelihood(self):
        """Residual, model and PSF with natural weights, and their noise over that with imaging weights."""
        if self._natural is None:
            images = cast("JudgedResidual", self.measurement).likelihood()
            if images is self.measurement:
                return None
            self._natural = images, images.psf(wide=self.psf.shape != self.model.shape)
        images, psf = self._natural
        return (images.residual(self.model), self.model, psf), images.noise_factor

    def _view(self, term, solver, tile, noise):
        """The images of a term on which a tile's minor cycle works."""
        images = (self._terms(image)[term] for image in (self.residual, self.model, self.psf))
        return self._part(images, solver, tile, noise)

    @staticmethod
    def _part(images: Iterable[np.ndarray], solver: MinorCycleSolver, tile: Tile, noise: float) -> PartView:
        """The part of residual, model and PSF that a tile's minor cycle sees."""
        residual, model, psf = images
        shape = [min(solver.psf_factor * n, have) for n, have in zip(tile.shape, psf.shape, strict=True)]
        near = np.ascontiguousarray(crop_centre(psf, shape))
        return PartView(np.ascontiguousarray(residual[tile.outer]), near, model[tile.outer], noise, tile.inner)

    def ask(self, action: str, natural: bool = False, **values: Any) -> list[dict[str, Any]]:
        """See `ImageState.ask`; of several terms only the first, whose sky is positive, is refined."""
        residual = self._terms(self.residual)[0]
        noise = residual_noise(residual)
        likelihood = self._likelihood() if natural and self.model.ndim == 2 else None
        answers = []
        for solver, tile in zip(self.solvers, self.tiles, strict=False):
            refining = cast("RefiningSolver", solver)
            seen = self._view(0, solver, tile, noise)
            if likelihood:
                images, factor = likelihood
                values["likelihood"] = self._part(images, solver, tile, noise * factor), factor
            answers.append(refining.refine(action, seen, residual.size, **values))
        if action == "stage_update":
            updates = [np.where(tile.window(), a["update"], 0) for tile, a in zip(self.tiles, answers, strict=True)]
            self._add(0, mosaic(residual.shape, self.tiles, updates))
        return answers

    def _add(self, term, update):
        """Make an update of a term pending; return whether it is not 0."""
        self._pending = self.model, self.residual
        if not update.any():
            return False
        model = self.model.copy()
        self._terms(model)[term] += update
        self._pending = model, self.residual
        return True

    def measure(self) -> float:
        """See `ImageState.measure`."""
        model, _ = self._pending
        self._after = self.verdict = None
        if np.array_equal(model, self.model):
            self._pending, self._kept_after = (self.model, self.residual), list(self.holdout_residual or [])
            self._noise_after = self.left_noise
            return 0.0
        start = time.perf_counter()
        judge = self._judge
        if judge and self.holdout_residual is None:
            self.holdout_residual = judge.holdout_residual()
        residual = self.measurement.residual(model)
        self._noise_after = self.measurement.left_noise
        if judge:
            self._kept_after = judge.holdout_residual()
            both = self.holdout_residual or [], self._kept_after
            cells = judge.judge(*both)
            self.verdict = None if cells is None else Verdict(cells, judge.watch(*both))
        log.debug("exact residual: %.2f s", time.perf_counter() - start)
        self._pending = model, residual
        return best_part(model - self.model, self.residual, residual)

    def keep_out(self, measurement: JudgedResidual, dirty: np.ndarray, psf: np.ndarray) -> None:
        """Go on with the samples that are not kept out: their measurement, dirty image and PSF."""
        self._all_samples = self.measurement, self.dirty, self.psf
        self.measurement, self.dirty, self.psf, self.residual = measurement, dirty, psf, dirty
        self._pending, self._judge, self.fitted = (self.model, self.residual), measurement, True

    def use_all_samples(self) -> None:
        """See `ImageState.use_all_samples`."""
        judged = self._judge is not None and bool(self.cycles)
        self.measurement, self.dirty, self.psf = self._all_samples
        if judged:  # the last moment at which the model knows nothing of the kept-out samples
            self.residual, self.fit_quality = cast("JudgedResidual", self.measurement).inspect(self.model)
        elif self.model.any():
            self.residual = self.measurement.residual(self.model)
        if not self.model.any():
            self.residual = self.dirty
        self._pending, self._judge = (self.model, self.residual), None
        self.holdout_residual, self.fitted, self._natural = None, False, None

    def restore(self, model: np.ndarray, residual: np.ndarray) -> None:
        """Go on from a model and its residual; nothing is pending."""
        self.model, self.residual = model, residual
        self._pending, self._after = (model, residual), None

    def rms_after(self, part: float) -> float:
        """See `ImageState.rms_after`."""
        return scatter(self._with_part(part)[1])

    def apply_update(self, part: float) -> None:
        """See `ImageState.apply_update`."""
        if part:
            self.model, self.residual = self._with_part(part)
            self.left_noise = self._noise_after
            if self.holdout_residual is not None:
                pairs = zip(self.holdout_residual, self._kept_after, strict=True)
                self.holdout_residual = [before + np.float32(part) * (after - before) for before, after in pairs]
        self._pending, self._after = (self.model, self.residual), None

    def _with_part(self, part):
        """Model and residual with the fraction `part` of the pending update."""
        if self._after is None or self._after[0] != part:
            model, residual = self._pending
            if part < 1:
                model = self.model + np.float32(part) * (model - self.model)
                residual = self.residual + np.float32(part) * (residual - self.residual)
            self._after = part, model, residual
        return self._after[1:]

    def tell(self, noise: float) -> bool:
        """See `ImageState.tell`."""
        heeded = [solver.expect(noise) for solver in self.solvers]  # every solver needs the new value
        return any(heeded)

    def keep(self) -> None:
        """See `ImageState.keep`."""
        if self.keeper is not None:
            self.keeper(self)

    @staticmethod
    def _terms(image: np.ndarray) -> np.ndarray:
        """An image of one or several terms as (term, y, x)."""
        return image if image.ndim == 3 else image[None]

"""The tasks of a deconvolution in facets; each works on files of one facet or of one window of facets.

A task returns at once if its result exists, and writes each result to a file of its own. So it does no harm if a task
was already done by an interrupted run, or is done twice. Major cycle c makes the files `residual/c+1` and `model/c+1`
from `residual/c` and `model/c`::

    minor(facet)               residual, model          ->  update     the minor cycle, if the facet has emission
    predict_nodes(window)      update                   ->  seen       visibilities of the update at the window's nodes
    predict(block)             seen of all windows      ->  predicted  visibilities of the update
    residual_decrease(window)  predicted of all blocks  ->  fall       A^H W A update
    judge(block)               left, predicted          ->  (sums) what kept-out samples say of the update
    apply_update(window)       all of these             ->  the next residual and model

A final stage that counts chi^2 of the samples also needs `natural-residual/c`, with natural weights, which
`FacetChannel.measure_residual` makes from what the model of cycle c left of the visibilities.

Dirty image, PSF, residual and fall belong to channels (`radrim.facets.channel`); those of the terms of a spectrum are
weighted sums of them. Models and updates belong to terms; those of channels are weighted sums. A single channel is a
spectrum of one term. A task runs on one thread, so that its result does not depend on the number of cores.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from functools import cached_property
from typing import Any, cast

import numpy as np

from radrim.deconvolve.minor import MakeSolver, MinorCycle, OtherFacets, PartView, RefiningSolver
from radrim.deconvolve.step_length import Change, Moments
from radrim.deconvolve.tiles import TileBlock, Tiles
from radrim.errors import SolverError
from radrim.facets.channel import FacetChannel, FacetPsfSettings, RegionSource
from radrim.facets.images import FacetImage, Mixture, Readable, facet_statistics
from radrim.geometry import ImageGrid, central_region
from radrim.restore.spectrum import Basis
from radrim.rim.minor.detection import find_active, highest_sidelobes, sidelobes
from radrim.rim.minor.settings import PointFinderSettings
from radrim.workdir.store import Store
from radrim.workdir.visibilities import Samples


class Idle(StrEnum):
    """Why a facet has no minor cycle, in the words of the log."""

    NOISE = "the residual is noise"
    SIDELOBES = "sidelobes of other facets"


@dataclass(frozen=True)
class FacetTasks:
    """The tasks of one image.

    Parameters
    ----------
    store : Store
        Store of the results.
    folder : str
        Folder of the image's results in the store.
    channels : tuple of FacetChannel
        One channel, or those of a spectrum.
    basis : Basis or None
        Polynomials of the spectrum; None for a single channel.
    expected : float
        Expected noise of the dirty image [Jy/beam].
    makers : tuple of MakeSolver
        Functions that make the solver of a facet, one for each term; empty for --niter 0.
    """

    store: Store
    folder: str
    channels: tuple[FacetChannel, ...]
    basis: Basis | None
    expected: float
    makers: tuple[MakeSolver, ...]

    def __getstate__(self) -> dict[str, Any]:
        """The fields only, without cached properties, to send little to workers."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def of(self, samples: Samples) -> "FacetTasks":
        """The same tasks on images of which these samples count; of channels without a judge all samples."""
        return replace(self, channels=tuple(one.of(samples) if one.judged else one for one in self.channels))

    @property
    def terms(self) -> int:
        """Number of terms."""
        return 1 if self.basis is None else self.basis.values.shape[1]

    @property
    def grid(self) -> ImageGrid:
        """Grid of the whole image."""
        return self.channels[0].grid

    @property
    def tiles(self) -> Tiles:
        """The facets (cores), and the rectangles with halos on which their minor cycles work (outer)."""
        return self.channels[0].tiles

    @property
    def stokes(self) -> str:
        """Stokes parameter."""
        return self.channels[0].stokes

    @cached_property
    def windows(self) -> list[TileBlock]:
        """The windows of facets that are measured as one image."""
        return self.channels[0].windows

    @property
    def blocks(self) -> list[tuple[int, int]]:
        """Index of the channel, and of the block within it, for every block of visibilities."""
        return [(c, number) for c, channel in enumerate(self.channels) for number in range(len(channel.blocks))]

    # Images

    def residual(self, cycle: int, term: int = 0) -> Readable:
        """The residual of a term with which a major cycle begins; cycles count from 0."""
        return self._mix([channel.residual(cycle) for channel in self.channels], term)

    def psf(self, term: int = 0) -> Readable:
        """The PSF of a source at the phase centre, peak 1."""
        return self._mix([channel.image("psf") for channel in self.channels], term, squares=True)

    def model(self, cycle: int, term: int = 0) -> FacetImage:
        """The model of a term with which a major cycle begins."""
        return self._image(f"model/{cycle}", term)

    def update(self, cycle: int, term: int = 0) -> FacetImage:
        """The update of a term that a major cycle has found."""
        return self._image(f"update/{cycle}", term)

    def channel_model(self, cycle: int, channel: int) -> Readable:
        """The model of a channel."""
        if self.basis is None:
            return self.model(cycle)
        models = [self.model(cycle, term) for term in range(self.terms)]
        return Mixture(models, self.basis.values[channel].tolist(), f"{self.folder}/model-{channel}")

    def start(self, models: Sequence[RegionSource], facet: int) -> None:
        """Write the start model of a facet, from the models of all channels, as the pending update of cycle 0."""
        core = self.tiles[facet].core
        images = [np.asarray(model.read(core)) for model in models]
        for term in range(self.terms):
            image = images[0] if self.basis is None else self._combine(images, term)
            if image.any():
                self.update(0, term).save(facet, image)

    def _combine(self, images, term):
        return sum(np.float32(factor) * image for factor, image in zip(self._factors(term), images, strict=True))

    def _factors(self, term, squares=False):
        """Factors of the channels in the weighted sum that is a term."""
        basis = cast("Basis", self.basis)
        values = basis.values[:, term]
        return (basis.weight * (values**2 if squares else values)).tolist()

    def _mix(self, images, term, squares=False):
        if self.basis is None:
            return images[0]
        return Mixture(images, self._factors(term, squares), f"{images[0].name}-term-{term}")

    def _image(self, name, term):
        return FacetImage(self.store, f"{self.folder}/{name}/{term}", self.tiles)

    def local_psf(self, facet: int, term: int = 0) -> np.ndarray:
        """The PSF of a term in the middle of a facet."""
        if self.basis is None:
            return self.channels[0].local_psf(facet)
        tag = max(channel.tag for channel in self.channels)
        name = f"{self.folder}/{tag}local-psf/{term}/{facet:05d}"
        if name not in self.store:
            psf = np.zeros([FacetPsfSettings.size_factor * n for n in self.tiles[facet].shape], np.float32)
            for factor, channel in zip(self._factors(term, squares=True), self.channels, strict=True):
                psf += np.float32(factor) * channel.local_psf(facet)
            self.store.save(name, psf)
        return self.store.load(name)

    def note_sidelobes(self) -> None:
        """Save the `sidelobes` of the PSF at the phase centre, within the size of a facet's PSF."""
        name = f"{self.channels[0].shared}/sidelobes"
        if name not in self.store:
            seen = self.tiles[len(self.tiles) // 2].shape
            near = central_region(self.grid.shape, [FacetPsfSettings.size_factor * n for n in seen])
            self.store.note(name, sidelobes(highest_sidelobes(self.psf().read(near))))

    # A major cycle

    def minor(self, facet: int, cycle: int, term: int, noise: float, peak: float, others: OtherFacets) -> MinorCycle:
        """Run the minor cycle of a facet.

        Parameters
        ----------
        facet, cycle, term : int
        noise : float
            Noise of the whole residual of the term [Jy/beam].
        peak : float
            Largest |residual| of the term [Jy/beam].
        others : OtherFacets

        Returns
        -------
        MinorCycle
            Its `update` is empty; the update itself is in a file, unless it is 0.
        """
        done = f"{self.folder}/minor/{cycle}/{term}/{facet:05d}"
        if done not in self.store:
            self.store.note(done, self._minor(facet, cycle, term, noise, peak, others))
        return MinorCycle(update=np.zeros((0, 0), np.float32), **self.store.facts(done))

    def _minor(self, facet, cycle, term, noise, peak, others):
        tile, before = self.tiles[facet], self._state(cycle, term, facet)
        residual, begun = self.residual(cycle, term).read(tile.outer), before in self.store
        if not begun and (idle := self._why_idle(residual, noise, others)):
            peak, converged = float(np.abs(residual).max()), idle is Idle.NOISE
            return {"components": 0, "peak": peak, "stop": idle.value, "converged": converged}
        solver = self._solver(before, facet, term)
        model, psf = self.model(cycle, term).read(tile.outer), np.asarray(self.local_psf(facet, term))
        try:
            minor = solver(residual, psf, model, noise, peak, others)
        except SolverError as error:
            y, x = (f"{s.start}:{s.stop}" for s in tile.outer)
            raise SolverError(f"facet {facet}, y {y}, x {x}: {error}") from None
        update = minor.update[tile.inner]
        if update.any():
            self.update(cycle, term).save(facet, update)
        self._keep_state(self._state(cycle + 1, term, facet), solver)
        return {
            "components": int(np.count_nonzero(update)) if minor.components else 0,
            "peak": minor.peak,
            "stop": minor.stop,
            "converged": minor.converged,
            "clean_stage": minor.clean_stage,
            "changes_pixels": True,
        }

    def _solver(self, state, facet, term):
        """The solver of a facet, in the state after its last minor cycle."""
        solver = self.makers[term](self.tiles[facet], self)
        if state in self.store:
            facts, names, expected = self.store.facts(state)
            solver.resume(facts, {name: self.store.load(f"{state}-{name}") for name in names})
            if expected != self.expected:  # the expected noise has changed since the state was saved
                solver.expect(self.expected)
        return solver

    def _keep_state(self, name, solver):
        facts, arrays = solver.state()
        for key, array in arrays.items():
            self.store.save(f"{name}-{key}", array)
        self.store.note(name, [facts, list(arrays), self.expected])

    def _why_idle(self, residual, noise, others):
        """Reason why a facet needs no minor cycle, found without its PSF; None if it needs one."""
        if not find_active(residual, noise).any():
            return Idle.NOISE
        # The point finder does not search so far below the sidelobes of brighter sources in other facets.
        known = self.store.facts(f"{self.channels[0].shared}/sidelobes")
        deep = PointFinderSettings().min_sidelobe_fraction
        above = [deep * part * bright for part, bright in zip(known, others.bands, strict=True)]
        return None if find_active(residual, noise, above=above).any() else Idle.SIDELOBES

    def refine(
        self,
        facet: int,
        cycle: int,
        number: int,
        action: str,
        noise: float,
        values: dict[str, Any],
        factor: float | None = None,
    ) -> dict[str, Any]:
        """Carry out one action of a final stage in a facet of the first term; see `RefiningSolver.refine`.

        Parameters
        ----------
        facet, cycle : int
        number : int
            Number of the action within the cycle.
        action : str
        noise : float
            Noise of the whole residual [Jy/beam].
        values : dict
        factor : float, optional
            Noise of the residual with natural weights, which the action also gets, over that with imaging weights.
        """
        folder = f"{self.folder}/refine/{cycle}"
        done = f"{folder}/{number:03d}/{facet:05d}"
        if done not in self.store:
            self.store.note(done, self._refine(folder, facet, cycle, number, action, noise, values, factor))
        return self.store.facts(done)

    def _refine(self, folder, facet, cycle, number, action, noise, values, factor):
        tile = self.tiles[facet]
        residual, model = self.residual(cycle).read(tile.outer), self.model(cycle).read(tile.outer)
        before = f"{folder}/{number - 1:03d}-state/{facet:05d}"
        solver = self._solver(before if before in self.store else self._state(cycle, 0, facet), facet, 0)
        if not (model.any() or cast("RefiningSolver", solver).begins_empty):
            return _idle(residual[tile.inner])
        seen = PartView(residual, np.asarray(self.local_psf(facet)), model, noise, tile.inner)
        likelihood = None
        if factor is not None:
            natural = self.channels[0].likelihood()
            images = natural.residual(cycle).read(tile.outer), np.asarray(natural.local_psf(facet))
            likelihood = PartView(*images, model, factor * noise, tile.inner), factor
        pixels = self.grid.width * self.grid.height
        answer = cast("RefiningSolver", solver).refine(action, seen, pixels, likelihood, **values)
        update = answer.pop("update", None)
        if update is not None and update[tile.inner].any():
            self.update(cycle).save(facet, update[tile.inner])
        after = f"{folder}/{number:03d}-state/{facet:05d}" if update is None else self._state(cycle + 1, 0, facet)
        self._keep_state(after, solver)
        return answer

    def tell(self, facet: int, cycle: int, action: str, values: dict[str, Any]) -> dict[str, Any]:
        """Make the solver of a facet carry out an action that needs no images; {} if the facet has no solver."""
        state = self._state(cycle, 0, facet)
        if state in self.store:
            solver, none = self._solver(state, facet, 0), np.zeros((0, 0), np.float32)
            seen = PartView(none, none, none, 0.0, self.tiles[facet].inner)  # it needs no images
            answer = cast("RefiningSolver", solver).refine(action, seen, 0, **values)
            self._keep_state(state, solver)
            return answer
        return {}

    def changed(self, cycle: int, term: int) -> list[int]:
        """The facets that have an update."""
        update = self.update(cycle, term)
        return [facet for facet in range(len(self.tiles)) if facet in update]

    def changed_windows(self, cycle: int) -> list[int]:
        """The windows that have a facet with an update of any term."""
        changed = {facet for term in range(self.terms) for facet in self.changed(cycle, term)}
        return [number for number, window in enumerate(self.windows) if not changed.isdisjoint(window.tiles)]

    def predict_nodes(self, channel: int, window: int, cycle: int) -> None:
        """Compute the visibilities of a window's updates at the nodes of all blocks of a channel."""
        updates = [self.update(cycle, term) for term in range(self.terms)]
        factors = [1.0] if self.basis is None else self.basis.values[channel].tolist()
        update = updates[0] if self.basis is None else Mixture(updates, factors, "")
        self.channels[channel].predict_nodes(window, cycle, update)

    def residual_decrease(self, window: int, cycle: int) -> dict[str, float]:
        """Compute by how much the updates lower a window's residuals; return sums for their best step length.

        Returns
        -------
        dict
            Sums of products of update u, residual r and fall f: 'ur', 'uf', 'rr', 'rf', 'ff'.
        """
        falls = [channel.residual_decrease(window, cycle) for channel in self.channels]
        total = dict.fromkeys(("ur", "uf", "rr", "rf", "ff"), 0.0)
        for term in range(self.terms):
            images = {"u": self.update(cycle, term), "r": self.residual(cycle, term), "f": self._mix(falls, term)}
            for facet in self.windows[window].tiles:
                values = {name: each.load(facet).astype(np.float64) for name, each in images.items()}
                for pair in total:
                    total[pair] += float(np.vdot(values[pair[0]], values[pair[1]]))
        return total

    def apply_update(self, window: int, cycle: int, part: float) -> list[dict[int, dict[str, Any]]]:
        """Write residuals and models of a window after a cycle of which the fraction `part` is accepted.

        Returns
        -------
        list of dict
            For each term the `statistics` of the facets.
        """
        facets = self.windows[window].tiles
        for facet in facets:
            for channel in self.channels:
                channel.update_residual(facet, cycle, part)
            for term in range(self.terms):
                self._update_model(facet, cycle, term, np.float32(part))
        return [self.statistics(window, cycle + 1, term) for term in range(self.terms)]

    def statistics(self, window: int, cycle: int, term: int) -> dict[int, dict[str, Any]]:
        """Residual statistics (`facet_statistics`) and model flux [Jy] of each facet of a window, for one term."""
        facets = self.windows[window].tiles
        found = facet_statistics(self.residual(cycle, term), facets, len(self.tiles))
        for facet, seen in found.items():
            seen["flux"] = float(self.model(cycle, term).load(facet).sum(dtype=np.float64))
        return found

    def _update_model(self, facet, cycle, term, part):
        after, before, update = self.model(cycle + 1, term), self.model(cycle, term), self.update(cycle, term)
        if facet not in after:
            if facet in update:
                after.save(facet, before.load(facet) + part * update.load(facet))
            elif facet in before:
                after.save(facet, before.load(facet))
        # A facet without a minor cycle in this cycle keeps the state of its solver.
        state, kept = self._state(cycle, term, facet), self._state(cycle + 1, term, facet)
        if state in self.store and kept not in self.store:
            facts, names, expected = self.store.facts(state)
            for name in names:
                self.store.save(f"{kept}-{name}", self.store.load(f"{state}-{name}"))
            self.store.note(kept, [facts, names, expected])

    def forget(self, cycle: int) -> None:
        """Delete the files of a cycle that later cycles do not need."""
        for name in ("minor", "update", "model", "state", "refine"):
            self.store.discard(f"{self.folder}/{name}/{cycle}")
        for channel in self.channels:
            channel.forget(cycle)

    def forget_likelihood(self, psf: bool) -> None:
        """Delete all images with natural weights, and their PSFs with `psf`."""
        for channel in self.channels:
            channel.forget_likelihood(psf)

    def _state(self, cycle, term, facet):
        return f"{self.folder}/state/{cycle}/{term}/{facet:05d}"


def _idle(core):
    """Answer to any action of a final stage in a facet with an empty model."""
    return {
        "moments": Moments.of(core),
        "change": Change.of(core, core),
        "flux": 0.0,
        "held": 0.0,
        "peak": 0.0,
        "changed": False,
        "any": False,
        "components": 0,
    }

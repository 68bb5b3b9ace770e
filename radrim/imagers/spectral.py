"""Steps 3 to 7 of output channels that are deconvolved together, with smooth spectra: `--spectral-terms`."""

import dataclasses
import logging
import time
from dataclasses import dataclass

import numpy as np
from dask import delayed

from radrim.deconvolve.major import ChannelState, accept, run_minor
from radrim.deconvolve.minor import MinorCycle
from radrim.deconvolve.tiles import mosaic
from radrim.errors import SolverError
from radrim.imagers.channels import ChannelImager, begin_with
from radrim.measure.mosaic import make_measurement
from radrim.metrics import noise_mad
from radrim.restore.spectrum import Basis, spectral_index
from radrim.result import Image
from radrim.runtime.executors import compute

log = logging.getLogger("radrim")

LABEL = "terms"
"""Of the terms together, among the channels of the work directory."""


class SpectralMeasurement:
    """The channels' measurements, seen as those of the terms; images are (term, y, x), otherwise as `Measurement`.

    Parameters
    ----------
    measurements : list of Measurement
    basis : Basis
    """

    def __init__(self, measurements, basis):
        self._measurements, self._basis = measurements, basis
        self.left_noise = float("nan")  # the terms have different ones

    def combine(self, images):
        """Images of the terms, (term, y, x) float32, from those of the channels, given one after the other.

        PSFs combine with the squares of the polynomials; see `combine_psf`.
        """
        return self._sum(images, self._basis)

    def combine_psf(self, psfs):
        """PSF of each term, peak 1, from those of the channels."""
        squares = dataclasses.replace(self._basis, values=self._basis.values**2)
        return self._sum(psfs, squares)

    def residual(self, model):
        """Exact residuals of the terms' models, all (term, y, x)."""
        return self.combine(self.residual_of(number, model) for number in range(len(self._measurements)))

    def residual_of(self, channel, model):
        """Exact residual of one channel (y, x), of the terms' models."""
        return self._measurements[channel].residual(self._basis.image(channel, model))

    @staticmethod
    def _sum(images, basis):
        total = None
        for number, image in enumerate(images):
            if total is None:
                total = np.zeros((basis.values.shape[1], *image.shape))
            basis.add(number, image, total)
        return total.astype(np.float32)


@dataclass
class SpectralImager(ChannelImager):
    """As `ChannelImager`; the model of each pixel is a polynomial of frequency."""

    def batches(self, groups):
        """All output channels at once."""
        return [self.name(groups)]

    def make(self, batch, stokes) -> list[Image]:
        """The images of all channels, from their files if an earlier run has written them."""
        images = {label: self.progress.image(label) for label, _ in batch}
        if all(images.values()):
            return list(images.values())
        with self.clock("measure"):
            how = self.config.operator, self.config.epsilon, self.threads, self.device
            measurements = [make_measurement(blocks, self.grid, self.dishes, *how) for _, blocks in batch]
            basis = self._basis([m.freq for m in measurements], [m.sum_weight for m in measurements])
            state = self._begin([label for label, _ in batch], measurements, basis, stokes)
        failure = self._deconvolve_terms(state)
        for number, (label, measurement) in enumerate(zip(images, measurements, strict=True)):
            if images[label] is None:
                images[label] = self._restore(self._channel(number, label, measurement, state, basis))
                if failure is None:
                    self.progress.keep_image(images[label])
        if failure is not None:
            self.give_up(failure, images.values())
        return list(images.values())

    def average(self, images) -> Image:
        """All channels together, and their spectral index; written."""
        with self.clock("restore"):
            image = self._average(images)
            image.stop = images.headers[0].stop
            weights = [one.facts["sum_weight"] for one in images.headers]
            basis = self._basis([one.freq for one in images.headers], weights)
            maps = spectral_index(images, basis, image.beam, self.grid.scale, self.threads)
        with self.clock("write"):
            self.output.write_images(image, self.grid, self.observation, self.thermal)
            for kind, array in zip(("alpha", "alpha-error"), maps, strict=True):
                self.output.write_map(image, kind, array, self.grid, self.observation)
        return image

    def _basis(self, freq, weight):
        return Basis.of(freq, weight, self.config.spectral_terms)

    def _begin(self, labels, measurements, basis, stokes) -> ChannelState:
        """Dirty images and PSFs of the terms, and how far an earlier run came with them."""
        terms = SpectralMeasurement(measurements, basis)
        if self.progress.measured(LABEL) is None:
            for label, measurement in zip(labels, measurements, strict=True):
                if self.progress.measured(label) is None:
                    self.progress.keep_measured(label, measurement.dirty(), measurement.psf(self.solver.wide))
            measured = [self.progress.measured(label) for label in labels]
            dirty, psf = terms.combine(one for one, _ in measured), terms.combine_psf(one for _, one in measured)
            self.progress.keep_measured(LABEL, dirty, psf)
        dirty, psf = self.progress.measured(LABEL)
        log.info(
            "%d channels, %d terms: peaks of their dirty images %s Jy/beam.", len(labels), len(dirty),
            ", ".join(f"{np.abs(term).max():.4g}" for term in dirty),
        )  # fmt: skip
        state = ChannelState(LABEL, terms, dirty, psf, np.zeros_like(dirty), dirty, stokes=stokes)
        state.expected = self.expected(stokes, sum(m.sum_weight for m in measurements))
        self.progress.resume(state)
        if self.start and not state.cycles:
            # What of the start model is no polynomial of frequency stays behind.
            begin_with(state, terms.combine(self.start.image(label) for label in labels))
        return state

    def _deconvolve_terms(self, state):
        """Deconvolve; returns what a minor cycle failed with, or None."""
        threads = max(1, self.threads // len(self.tiles))
        # The sky is positive; what its spectrum adds to a channel has either sign.
        make = [self.solver.factory(self.mask, threads, signed=term > 0) for term in range(len(state.dirty))]
        with self.clock("deconvolve"):
            try:
                deconvolve_terms(state, self.tiles, make, self.config.max_major, self.threads, self.progress.keep_cycle)
            except SolverError as error:
                return error
        return None

    def _channel(self, number, label, measurement, state, basis) -> ChannelState:
        """One channel as its files will have it."""
        dirty, psf = self.progress.measured(label)
        model, residual = basis.image(number, state.model), dirty
        if state.model.any():
            residual = state.measurement.residual_of(number, state.model)
        # The major cycles were common to all: they are told once.
        cycles = [] if number else state.cycles
        return ChannelState(label, measurement, dirty, psf, model, residual, cycles=cycles, stop=state.stop)


def deconvolve_terms(state, tiles, make_solvers, max_major, workers, keep=lambda state: None):
    """Deconvolve terms together; changes the state's model, residual, cycles and stop.

    Each major cycle improves one term, that with the highest residual in which the minor cycle finds anything: what
    the others show until then can be this one's sidelobes in them.

    Parameters
    ----------
    state : ChannelState
        Its images are (term, y, x), its measurement a `SpectralMeasurement`.
    tiles : sequence of Tile
    make_solvers : sequence of callable
        For each term, as `radrim.deconvolve.major.deconvolve` takes it.
    max_major : int
    workers : int
        Tasks at once.
    keep : callable
        Called with the state after each major cycle.

    Raises
    ------
    SolverError
        As `radrim.deconvolve.major.deconvolve`.
    """
    state.solvers = [make(tile, state) for make in make_solvers for tile in tiles]
    for solver, remembered in zip(state.solvers, state.remembered, strict=False):
        solver.resume(*remembered)
    while not state.stop and len(state.cycles) < max_major:
        start = time.perf_counter()
        try:
            model, minors = improve_term(state, tiles, workers)
        except SolverError:
            failed = f"a minor cycle failed in major cycle {len(state.cycles) + 1}"
            state.stop = failed if state.cycles else ""
            raise
        changed = model is not state.model
        residual = state.measurement.residual(model) if changed else state.residual
        accept(state, model, residual, minors, time.perf_counter() - start)
        if len(state.cycles) == max_major:
            state.stop = state.stop or f"{max_major} major cycles (--max-major)"
        keep(state)


def improve_term(state, tiles, workers):
    """Minor cycles of one term: the one with the highest residual in which they find anything.

    Parameters
    ----------
    state : ChannelState
        Of terms, with the minor cycles of each tile for one term after the other.
    tiles : sequence of Tile
    workers : int

    Returns
    -------
    model : (term, y, x) float32
        The state's own where nothing was found.
    minors : list of MinorCycle
        Of all terms that were tried.
    """
    peaks = [float(np.abs(residual).max()) for residual in state.residual]
    minors: list[MinorCycle] = []
    for term in sorted(range(len(peaks)), key=lambda i: -peaks[i]):
        found = _minor_cycles(state, term, tiles, workers)
        minors += [dataclasses.replace(minor, stop=f"term {term}: {minor.stop}") for minor in found]
        update = mosaic(state.model.shape[1:], tiles, [minor.update for minor in found])
        if update.any():
            model = state.model.copy()
            model[term] += update
            return model, minors
    return state.model, minors


def _minor_cycles(state, term, tiles, workers) -> list[MinorCycle]:
    """The minor cycles of all tiles of a term."""
    channel = dataclasses.replace(
        state, label=f"term {term}", psf=state.psf[term], model=state.model[term], residual=state.residual[term]
    )
    noise, peak = noise_mad(channel.residual), float(np.abs(channel.residual).max())
    solvers = state.solvers[term * len(tiles) : (term + 1) * len(tiles)]
    tasks = [
        delayed(run_minor, pure=False)(solver, tile, channel, noise, peak)
        for solver, tile in zip(solvers, tiles, strict=True)
    ]
    return compute(tasks, "minor cycles", workers)

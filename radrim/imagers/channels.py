"""Steps 3 to 6 of output channels whose images are kept in memory."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
from dask import delayed

from radrim.deconvolve.major import ImageState
from radrim.deconvolve.tiles import Tile
from radrim.deconvolve.whole import WholeImage
from radrim.errors import OutputError
from radrim.imagers.base import Imager, OutputChannel, Target
from radrim.imagers.context import RunContext
from radrim.imagers.minor_cycles import MinorCycles
from radrim.imagers.spectral import SpectralMeasurement
from radrim.measure.measurement import MeasuredChannel, Measurement
from radrim.measure.mosaic import JointMeasurement, effective_beam, make_measurement
from radrim.restore.channels import average_channels, restore_channel
from radrim.restore.spectrum import Basis, SpectralPlanes, spectral_index
from radrim.result import Channels, Image
from radrim.runtime.executors import compute

if TYPE_CHECKING:  # CLEAN and dirty images do without torch and scipy.optimize
    from radrim.imagers.entropy_fit import EntropyCandidate

log = logging.getLogger("radrim")

FITTED = "fitted-"
"""Marks images in the work directory that lack the samples which are kept out of the deconvolution."""


class ChannelImager(Imager):
    """Measures, deconvolves, restores and writes output channels in memory, several in parallel."""

    def __init__(self, run: RunContext):
        super().__init__(run)
        self._candidates: dict[str, EntropyCandidate] = {}
        """Fits of relative entropy that are tried after the other stages, by the label of the image."""

    @property
    def tiles(self) -> Sequence[Tile]:
        """The tiles of the minor cycle."""
        return self.run.minor.tiles(self.run.grid.shape) if self.run.minor else []

    @property
    def at_once(self) -> int:
        """As many channels as keep all processors busy; memory does not grow with the number of channels."""
        return max(1, self.run.threads // max(1, len(self.tiles)))

    def finished(self, label: str) -> Image | None:
        """See `Imager.finished`."""
        return self.run.progress.image(label)

    def begin(self, targets: Sequence[Target]) -> list[ImageState]:
        """See `Imager.begin`."""
        with self.run.clock("measure"):
            threads = max(1, self.run.threads // max(1, len(targets)))
            measurements = [
                [self._measurement(channel, target.stokes, threads) for channel in target.channels]
                for target in targets
            ]
            # One task per target computes dirty image and PSF of a channel in turn, so that they share memory.
            found = ((target.label, self._candidate(target)) for target in targets)
            self._candidates = {label: candidate for label, candidate in found if candidate}
            tasks = [delayed(self._measure, pure=False)(*pair) for pair in zip(targets, measurements, strict=True)]
            compute(tasks, "dirty images and PSFs", max(1, len(targets)))
            return [self._state(*pair) for pair in zip(targets, measurements, strict=True)]

    def _candidate(self, target):
        """The fit of relative entropy that is tried after the other stages; None where it is of no use."""
        run = self.run
        config = run.config
        ordinary = run.minor is not None and run.minor.name == "RIM" and target.stokes == "I" and config.contsub is None
        if not ordinary or not config.holdout or target.terms or config.channels_out > 1 or run.dishes:
            return None
        if run.mask is not None:  # entropy leaves a little in every pixel
            return None
        (channel,) = target.channels
        from radrim.imagers.entropy_fit import EntropyCandidate

        candidate = EntropyCandidate(run, target.label, [block.of(target.stokes) for block in channel.blocks])
        return candidate if candidate.possible else None

    def _measurement(self, channel, stokes, threads):
        blocks = [block.of(stokes) for block in channel.blocks]
        return make_measurement(blocks, self.run.grid, self.run.dishes, self.run.operator(threads))

    def _measure(self, target, measurements):
        """Compute and save dirty image and PSF of each channel of a target, unless an interrupted run has."""
        run = self.run
        wide = run.config.uncertainty or bool(run.minor and run.minor.wide)
        for channel, measurement in zip(target.channels, measurements, strict=True):
            for samples, one in (("", measurement), (FITTED, self._fitted(measurement))):
                if one is None or run.progress.measured(channel.label, channel.name, samples) is not None:
                    continue
                dirty, psf = one.dirty(), run.progress.psf(channel.name, samples)
                psf = one.psf(wide) if psf is None else psf
                run.progress.keep_measured(channel.label, dirty, psf, channel.name, samples)

    def _fitted(self, measurement):
        """A measurement without the samples that are kept out of the deconvolution; None if there are none."""
        fitted = measurement.fitted() if self.run.minor else measurement
        return None if fitted is measurement else fitted

    def _measured(self, channel, samples=""):
        """Dirty image and PSF of a channel."""
        return self._load(channel.label, channel.name, samples)

    def _load(self, label, name, samples=""):
        found = self.run.progress.measured(label, name, samples)
        if found is None:
            raise OutputError(f"The work directory of {self.run.output.prefix} has lost the dirty image of {label}.")
        return [np.asarray(image) for image in found]

    def _state(self, target: Target, measurements: Sequence[MeasuredChannel]) -> WholeImage:
        """The state of a measured target, from an interrupted run or with its first model."""
        run = self.run
        if target.terms:
            state = self._terms(target, measurements)
        else:
            (channel,), (measurement,) = target.channels, measurements
            dirty, psf = self._measured(channel)
            log.info(
                "%sdirty image: peak %.4g Jy/beam, %d visibilities, operator %s.",
                f"{channel.label}, " if channel.label else "",
                np.abs(dirty).max(),
                measurement.samples,
                measurement.kind,
            )
            fitted = self._fitted(measurement)
            state = self._empty(target, measurement, dirty, psf, measurement.sum_weight)
            if fitted is not None:
                state.keep_out(fitted, *self._measured(channel, FITTED))
        run.progress.resume(state)
        if run.start and run.start.has(target.stokes) and not state.cycles:
            models = (run.start.image(channel.name, target.stokes) for channel in target.channels)
            # The terms keep only the part of the start models that is a polynomial of frequency.
            begin_with(
                state, cast("SpectralMeasurement", state.measurement).combine(models) if target.terms else next(models)
            )
        return state

    def _empty(self, target, measurement, dirty, psf, sum_weight):
        return WholeImage(
            label=target.label,
            stokes=target.stokes,
            expected=self.run.expected(target.stokes, sum_weight),
            measurement=measurement,
            dirty=dirty,
            psf=psf,
            model=np.zeros_like(dirty),
            residual=dirty,
            keeper=self.run.progress.keep_cycle,
        )

    def _terms(self, target, measurements):
        """Dirty images and PSFs of the terms of a spectrum."""
        run = self.run
        basis = Basis.of([m.freq for m in measurements], [m.sum_weight for m in measurements], target.terms)
        terms = SpectralMeasurement(measurements, basis)
        fitted = self._fitted(terms)
        for samples in ("", FITTED) if fitted else ("",):
            if run.progress.measured(target.label, samples=samples) is None:
                measured = [self._measured(channel, samples) for channel in target.channels]
                dirty, psf = terms.combine(one for one, _ in measured), terms.combine_psf(one for _, one in measured)
                run.progress.keep_measured(target.label, dirty, psf, samples=samples)
        dirty, psf = self._load(target.label, target.label)
        log.info(
            "%d channels, %d terms: peaks of their dirty images %s Jy/beam.", len(target.channels), len(dirty),
            ", ".join(f"{np.abs(term).max():.4g}" for term in dirty),
        )  # fmt: skip
        state = self._empty(target, terms, dirty, psf, sum(m.sum_weight for m in measurements))
        if fitted:
            state.keep_out(fitted, *self._load(target.label, target.label, FITTED))
        return state

    def prepare(self, states: Sequence[ImageState], minor: MinorCycles) -> None:
        """See `Imager.prepare`."""
        tiles = minor.tiles(self.run.grid.shape)
        threads = max(1, self.run.threads // max(1, len(states) * len(tiles)))
        for state in cast("Sequence[WholeImage]", states):
            terms = len(state.model) if state.model.ndim == 3 else 1
            # Only the first term is positive, like the sky; the other terms of its spectrum have either sign.
            make = [minor.factory(self.run.mask, threads, signed=term > 0) for term in range(terms)]
            workers = max(1, self.run.threads // len(states))
            trials, closing = self._with_candidate(state, minor)
            state.cut(tiles, make, workers, minor.stages, trials, closing)

    def _with_candidate(self, state, minor):
        """Trials and closing stage of an image, with those of relative entropy where it is a candidate."""
        candidate = self._candidates.get(state.label)
        if not candidate or not state.fitted:
            return minor.trials, minor.closing
        from radrim.imagers.entropy_fit import CandidateSettings
        from radrim.rim.minor.stages import FitOffered, Offer

        number = CandidateSettings.trial
        return (
            [*minor.trials, Offer(number, lambda: candidate.fitted(state.model))],
            FitOffered(number, candidate.all_samples, minor.closing),
        )

    def restore(self, target: Target, state: ImageState) -> list[Image]:
        """See `Imager.restore`."""
        images = []
        if target.label in self._candidates:
            state.facts = self._candidates[target.label].facts(state.cycles) | state.facts
        for number, channel in enumerate(target.channels):
            image = self.finished(channel.label) if target.terms else None
            images.append(image or self._restore(self._channel(number, channel, target, cast("WholeImage", state))))
        return images

    def _channel(self, number: int, channel: OutputChannel, target: Target, state: WholeImage) -> WholeImage:
        """State of one channel of a target, for its files."""
        if not target.terms:
            return state
        dirty, psf = self._measured(channel)
        terms = cast("SpectralMeasurement", state.measurement)
        model, residual = terms.basis.image(number, state.model), dirty
        if state.model.any():
            residual = terms.residual_of(number, state.model)
        return WholeImage(
            label=channel.label,
            stokes=target.stokes,
            cycles=[] if number else state.cycles,  # all channels share them, and the first one records them
            fit_quality={} if number else state.fit_quality,
            stop=state.stop,
            measurement=terms.channels[number],
            dirty=dirty,
            psf=psf,
            model=model,
            residual=residual,
        )

    def _restore(self, state: WholeImage) -> Image:
        """Restore a channel, and write its images."""
        run = self.run
        with run.clock("restore"):
            width = run.observation.channel_width
            image = restore_channel(state, run.grid, width, run.config, run.threads)
            if run.config.uncertainty and state.stop:
                from radrim.restore.uncertainty import add_uncertainties

                add_uncertainties(image, state.psf, run.grid.scale)
            if run.dishes:
                run.dishes.add(
                    image,
                    effective_beam(cast("Measurement | JointMeasurement", state.measurement), run.grid, run.dishes),
                )
        with run.clock("write"):
            run.output.write_images(image, run.grid, run.observation, run.thermal_of(image))
        return image

    def average(self, images: Channels) -> Image:
        """See `Imager.average`."""
        run = self.run
        with run.clock("restore"):
            image = average_channels(images, run.observation, run.grid, run.config, run.threads)
            if run.config.uncertainty and image.stop:
                from radrim.restore.uncertainty import add_uncertainties

                add_uncertainties(image, image.psf, run.grid.scale)
            if run.dishes and image.pb is not None:
                run.dishes.add(image, image.pb)
        with run.clock("write"):
            run.output.write_images(image, run.grid, run.observation, run.thermal)
        if run.config.spectral_terms and image.stop:
            self._write_index(images, image)
        return image

    def _write_index(self, images, image):
        """Compute the spectral index of all channels and its error, and write them."""
        run = self.run
        with run.clock("restore"):
            image.stop = images.headers[0].stop
            basis = self._basis_of(images)
            planes = SpectralPlanes(images.plane, len(images), bool(run.dishes))
            maps = spectral_index(planes, basis, image.beam, run.grid.scale, run.threads)
        with run.clock("write"):
            for kind, array in zip(("alpha", "alpha-error"), maps, strict=True):
                run.output.write_map(image, kind, array, run.grid, run.observation)


def begin_with(state: WholeImage, model: np.ndarray) -> None:
    """Set the start model of an image, ([term,] y, x) float32 [Jy/pixel], and compute its exact residual."""
    if not model.any():  # the image has its residual already, to the last bit
        return
    state.model, state.residual = model, state.measurement.residual(model)
    log.info(
        "%sstart model: flux %.4g Jy, residual peak %.4g, rms %.4g Jy/beam.",
        state.prefix,
        state.flux,
        state.peak,
        state.rms,
    )

"""Steps 3 to 7 of one output channel, or of several at once: measure, deconvolve, restore, write."""

import dataclasses
import logging
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from dask import delayed

from radrim.deconvolve.major import ChannelState, deconvolve
from radrim.errors import SolverError
from radrim.imagers.base import Imager
from radrim.imagers.start_model import RunStartModel
from radrim.measure.mosaic import effective_beam, make_measurement
from radrim.restore.channels import average_channels, restore_channel
from radrim.restore.uncertainty import add_uncertainties
from radrim.result import Beside, Image
from radrim.runtime.executors import compute
from radrim.workdir.visibilities import release

log = logging.getLogger("radrim")


@dataclass
class ChannelImager(Imager):
    """Measures, deconvolves, restores and writes output channels, some at once.

    Parameters
    ----------
    rival
        Another minor cycle from `radrim.imagers.minor_cycles`, to compare `solver` with; or None.
    threads : int
    device : str
        'cpu' or 'cuda'.
    start : RunStartModel or None
        What the deconvolution begins with; None for empty models.
    """

    rival: Any
    threads: int
    device: str
    start: RunStartModel | None = None
    beside: Beside | None = None
    """What the rival made of the same data."""

    def __post_init__(self):
        self.tiles = self.solver.tiles(self.grid.shape) if self.solver else []

    def batches(self, groups):
        """Output channels in batches that keep the processors busy, so that memory does not grow with their number."""
        at_once = max(1, self.threads // max(1, len(self.tiles)))
        numbered = self.name(groups)
        return [numbered[first : first + at_once] for first in range(0, len(numbered), at_once)]

    def make(self, batch, stokes) -> list[Image]:
        """The images of a Stokes parameter of a batch of channels; those of an earlier run from their files.

        Parameters
        ----------
        batch : list of (str, list of Visibilities)
            Label and blocks of each channel.
        stokes : str
        """
        images = {label: self.progress.image(label) for label in (self.label(channel, stokes) for channel, _ in batch)}
        missing = [one for one, image in zip(batch, images.values(), strict=True) if image is None or self.rival]
        with self.clock("measure"):
            channels = self._measure(missing, stokes)
        failure = self._deconvolve(channels) if self.solver else None
        for channel in channels:
            images[channel.label] = self._restore(channel)
            if failure is None and not self.rival:
                self.progress.keep_image(images[channel.label])
        if failure is not None:
            self.give_up(failure, images.values())
        if self.rival:
            with self.clock("compare"):
                self.beside = self._deconvolve_beside(channels[0])
        self.forget(batch, stokes)
        for _, blocks in missing:  # or in the end the visibilities of all channels would be in memory
            release(blocks)
        return list(images.values())

    def average(self, images) -> Image:
        """All channels together, each counted by its weight; written."""
        with self.clock("restore"):
            image = self._average(images)
        with self.clock("write"):
            self.output.write_images(image, self.grid, self.observation, self.thermal)
        return image

    def _average(self, images):
        image = average_channels(images, self.observation, self.grid, self.config.beam_fit, self.threads)
        if self.config.uncertainty and image.stop:
            add_uncertainties(image, image.psf, self.grid.scale)
        if self.dishes:
            self.dishes.add(image, image.pb)
        return image

    def _measure(self, batch, stokes) -> list[ChannelState]:
        """Dirty image and PSF of each channel of a batch, and how far an earlier run came with it."""
        config, threads = self.config, max(1, self.threads // max(1, len(batch)))
        wide = config.uncertainty or any(minor is not None and minor.wide for minor in (self.solver, self.rival))
        how = self.grid, self.dishes, config.operator, config.epsilon, threads, self.device
        measurements = [make_measurement([block.of(stokes) for block in blocks], *how) for _, blocks in batch]

        def measure(channel, measurement):
            label = self.label(channel, stokes)
            found = self.progress.measured(label, channel)
            if found is None:
                dirty, psf = measurement.dirty(), self.progress.psf(channel)
                found = dirty, measurement.psf(wide) if psf is None else psf
                self.progress.keep_measured(label, *found, channel)
            return found

        # As many tasks as channels: dirty image and PSF of one channel follow each other and share the same memory.
        tasks = [delayed(measure, pure=False)(name, m) for (name, _), m in zip(batch, measurements, strict=True)]
        measured = compute(tasks, "dirty images and PSFs", max(1, len(batch)))
        channels = []
        for (name, _), measurement, (dirty, psf) in zip(batch, measurements, measured, strict=True):
            label = self.label(name, stokes)
            log.info(
                "%sdirty image: peak %.4g Jy/beam, %d visibilities, operator %s.",
                f"{label}, " if label else "",
                np.abs(dirty).max(),
                measurement.samples,
                measurement.kind,
            )
            channel = ChannelState(label, measurement, dirty, psf, np.zeros_like(dirty), dirty, stokes=stokes)
            channel.expected = self.expected(stokes, measurement.sum_weight)
            self.progress.resume(channel)
            if self.start and not channel.cycles:
                begin_with(channel, self.start.image(label))
            channels.append(channel)
        return channels

    def _deconvolve(self, channels):
        """Deconvolve; returns what a minor cycle failed with, or None."""
        threads = max(1, self.threads // max(1, len(channels) * len(self.tiles)))
        make_solver = self.solver.factory(self.mask, threads)
        with self.clock("deconvolve"):
            try:
                deconvolve(
                    channels, self.tiles, make_solver, self.config.max_major, self.threads, self.progress.keep_cycle
                )
            except SolverError as error:
                return error
        return None

    def _restore(self, channel):
        """Restored image of a channel, written."""
        width, beam_fit = self.observation.channel_width, self.config.beam_fit
        with self.clock("restore"):
            image = restore_channel(channel, self.grid, width, beam_fit, self.threads)
            if self.config.uncertainty and channel.stop:
                add_uncertainties(image, channel.psf, self.grid.scale)
            if self.dishes:
                self.dishes.add(image, effective_beam(channel.measurement, self.grid, self.dishes))
        with self.clock("write"):
            self.output.write_images(image, self.grid, self.observation, self.thermal_of(image))
        return image

    def _deconvolve_beside(self, channel):
        """The same channel by the other minor cycle: names, and what the report shows of it."""
        config, rival = self.config, self.rival
        log.info("Beside it, %s:", rival.name)
        nothing = np.zeros_like(channel.dirty)
        fresh = dataclasses.replace(
            channel, model=nothing, residual=channel.dirty, solvers=[], remembered=[], cycles=[], stop=""
        )
        start = time.perf_counter()
        tiles = rival.tiles(self.grid.shape)
        make_solver = rival.factory(self.mask, max(1, self.threads // len(tiles)))
        deconvolve([fresh], tiles, make_solver, config.max_major, self.threads)
        seconds = {
            self.solver.name: sum(cycle["seconds"] for cycle in channel.cycles),
            rival.name: time.perf_counter() - start,
        }
        image = restore_channel(fresh, self.grid, self.observation.channel_width, config.beam_fit, self.threads)
        return Beside((self.solver.name, rival.name), image, seconds)


def begin_with(channel: ChannelState, model):
    """Give a channel a model to begin with, and its exact residual."""
    if not model.any():  # what the channel has already, to the last bit
        return
    channel.model, channel.residual = model, channel.measurement.residual(model)
    log.info(
        "%sstart model: flux %.4g Jy, residual peak %.4g, rms %.4g Jy/beam.",
        f"{channel.label}, " if channel.label else "",
        (model[0] if model.ndim == 3 else model).sum(),
        np.abs(channel.residual).max(),
        channel.residual.std(),
    )

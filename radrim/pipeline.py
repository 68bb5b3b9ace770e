"""`radrim image` on one page: read, weight, measure, tile, deconvolve, mosaic, write."""

import logging
import os
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from dask import delayed

from radrim.cache import VisibilityCache, cached
from radrim.cluster import compute
from radrim.config import ImageConfig
from radrim.deconvolve import ChannelState, deconvolve
from radrim.errors import ConfigError, OutputError, RadrimError, SolverError
from radrim.measure import Measurement
from radrim.metrics import measured_scatter
from radrim.output import Output
from radrim.progress import Progress
from radrim.read import Selection
from radrim.restoration import ChannelAverage, restore_channel
from radrim.result import Beside, Result
from radrim.rim.checkpoint import find_model
from radrim.solvers import choose_solvers
from radrim.suggest import choose_grid
from radrim.version import __version__
from radrim.visibilities import split_channels
from radrim.workdir import WorkDir, fingerprint
from radrim.write import read_mask

log = logging.getLogger("radrim")

INDIFFERENT = ("ms", "name", "threads", "keep", "overwrite")
"""Options that change nothing in the images; the Measurement Sets count by their content."""
FITTED = 0.6
"""Noise of the residual over that expected from the data's scatter, below which noise counts as fitted."""


def run(config: ImageConfig, command: str = "radrim.image(...)") -> Result:
    """Image what `config` says and write the files; goes on where an unfinished run of the same left off.

    Parameters
    ----------
    config : ImageConfig
    command : str
        Noted in the headers and the report.

    Raises
    ------
    RadrimError
        Any fault that the user can mend; nothing half-written is left.
    """
    clock = _Clock()
    threads, device = _choose_machine(config)
    solver, rival = choose_solvers(config, device)
    output = Output(config.name or Path(config.ms[0]).absolute().stem, config, command)
    with WorkDir(output.prefix, describe_run(config), config.overwrite) as work:
        try:
            result = _image(config, work, output, solver, rival, clock, threads, device)
        except (RadrimError, MemoryError) as error:
            # The same command would fail again, and another one must find its way free; but a full disk can be mended.
            if not (isinstance(error, OutputError) and cached(work)):
                work.remove()
            raise
        if not config.keep:
            work.remove()
    log.info("Done in %.1f s: %s", clock.total, ", ".join(str(path) for path in result.paths.values()))
    return result


def _image(config, work, output, solver, rival, clock, threads, device) -> Result:
    """The steps, each of which looks first whether the work directory has its result."""
    cache, progress = VisibilityCache(work), Progress(work)
    with clock("read"):
        observation = cache.read(config.ms, _selection(config))
        _say_what_was_read(observation)
    with clock("choose"):
        grid, chosen = choose_grid(observation, config)
        for sentence in [*chosen, *(solver.notes if solver else [])]:
            log.info("%s", sentence)
        output.check_space(grid)
        mask = read_mask(config.mask, grid) if config.mask else None
    with clock("weight"):
        scatter = measured_scatter(observation.blocks)
        sum_weight, thermal = cache.weigh(observation, grid, config.weight, config.taper, config.padding)
        log.info("Weighting %s; expected noise %.3g Jy/beam if the weights are 1/sigma^2.", config.weight, thermal)

    groups = split_channels(observation, config.channels_out)
    images, channels = [], []
    bandwidth = float(np.ptp(observation.frequencies)) + observation.channel_width
    average = ChannelAverage(grid, bandwidth) if len(groups) > 1 else None
    tiles = solver.tiles(grid.shape) if solver else []
    for batch in _batches(groups, max(1, threads // max(1, len(tiles)))):
        finished = {label: progress.image(label) for label, _ in batch}
        batch = [(label, blocks) for label, blocks in batch if finished[label] is None or rival]
        with clock("measure"):
            wide = any(minor is not None and minor.wide for minor in (solver, rival))
            channels = _measure(batch, grid, config, wide, threads, device, progress)
        for channel in channels:
            # As if each channel's weights were alike: exact where all samples have the same noise.
            channel.expected = thermal * scatter * np.sqrt(sum_weight / channel.measurement.sum_weight)
        failure = None
        if solver:
            with clock("deconvolve"):
                make_solver = solver.factory(mask, max(1, threads // max(1, len(batch) * len(tiles))))
                try:
                    deconvolve(channels, tiles, make_solver, config.max_major, threads, progress.keep_cycle)
                except SolverError as error:
                    failure = error  # raised once what took hours to compute is written
        for channel in channels:
            with clock("restore"):
                image = restore_channel(channel, grid, observation.channel_width, config.beam_fit, threads)
            with clock("write"):
                # The noise expected from the weights is known for all channels together only.
                output.write_images(image, grid, observation, None if average else thermal)
                if failure is None and not rival:
                    progress.keep_image(image)
            finished[channel.label] = image
        for image in finished.values():
            images.append(image)
            if average is not None:
                average.add(image)
        if failure is not None:
            kept = ", ".join(str(path) for image in images for path in image.paths.values())
            log.warning("A minor cycle failed; what was finished before is there: %s", kept)
            raise failure
    whole = images[0]
    if average is not None:
        with clock("restore"):
            whole = average.image(observation.longest_baseline(), config.beam_fit, threads, config.niter > 0)
        with clock("write"):
            output.write_images(whole, grid, observation, thermal)
    _warn_of_fitted_noise(whole, thermal * scatter, observation.notes)
    beside = None
    if rival:
        with clock("compare"):
            beside = _deconvolve_beside(channels[0], rival, solver, config, mask, grid, observation, threads)
    with clock("report"):
        paths = output.write_summary(whole, images, grid, observation, thermal, chosen, clock.seconds, beside)
    return Result(**{**vars(whole), "paths": whole.paths | paths}, grid=grid, channels=images)


def describe_run(config):
    """What a run is of, for `radrim.workdir.WorkDir`: settings, versions and the state of all input files.

    Where and how fast it runs does not count.
    """
    settings = {name: value for name, value in config.as_text().items() if name not in INDIFFERENT}
    files = [str(Path(ms).absolute()) for ms in config.ms]
    files += [str(Path(path).absolute()) for path in (config.mask,) if path]
    if config.niter > 0 and (config.solver == "rim" or config.compare):
        files.append(str(find_model(config.model)))
    return {"radrim": __version__, "settings": settings,
            "files": {path: fingerprint(path) for path in files if os.path.exists(path)}}  # fmt: skip


class _Clock:
    """Seconds spent in each step."""

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self._start = time.perf_counter()

    @contextmanager
    def __call__(self, step):
        start = time.perf_counter()
        yield
        self.seconds[step] = self.seconds.get(step, 0) + time.perf_counter() - start
        log.debug("%s: %.2f s", step, time.perf_counter() - start)

    @property
    def total(self):
        """Seconds since the start of the run."""
        return time.perf_counter() - self._start


def _choose_machine(config):
    """(threads, device) of the run."""
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda was asked for, but torch sees no NVIDIA GPU here; use --device cpu or auto.")
    threads = config.threads or len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    return threads, "cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu"


def _selection(config):
    return Selection(
        column=config.data_column,
        field=config.field,
        spw=config.spw,
        chan_range=config.chan_range,
        uv_range=(config.minuv_l, config.maxuv_l),
        time_range=config.time_range,
        stokes=config.pol,
        abs_weights=config.abs_weights,
        flag_nonfinite=config.flag_nonfinite,
    )


def _say_what_was_read(observation):
    counts = observation.counts
    band = dict.fromkeys(f"{freq / 1e6:.6g}" for freq in observation.frequencies[[0, -1]])
    log.info(
        "Read %s, %s, %s: %d samples of Stokes %s, %.1f %% flagged, %s MHz.",
        observation.telescope,
        observation.object,
        observation.date_obs[:19],
        counts["samples"],
        observation.stokes,
        100 * counts["flagged"] / counts["samples"],
        " to ".join(band),
    )
    for note in observation.notes:
        log.warning("%s", note)


def _warn_of_fitted_noise(image, expected, notes):
    """A residual well below the noise in the data means that CLEAN went on into the noise."""
    if image.model is not None and image.noise < FITTED * expected:
        notes.append(
            f"The residual's noise, {image.noise:.3g} Jy/beam, is far below that of the data, {expected:.3g} Jy/beam "
            f"from their scatter: noise has been fitted, faint features are not real. Use --threshold {expected:.2g}."
        )
        log.warning("%s", notes[-1])


def _batches(groups, count):
    """Output channels in batches that keep the processors busy, so that memory does not grow with their number."""
    numbered = [(f"{k:04d}" if len(groups) > 1 else "", blocks) for k, blocks in enumerate(groups)]
    return [numbered[first : first + count] for first in range(0, len(numbered), count)]


def _deconvolve_beside(channel, rival, solver, config, mask, grid, observation, threads):
    """The same channel by the other minor cycle: names, and what the report shows of it."""
    log.info("Beside it, %s:", rival.name)
    fresh = ChannelState(
        channel.label,
        channel.measurement,
        channel.dirty,
        channel.psf,
        np.zeros_like(channel.dirty),
        channel.dirty,
        channel.expected,
    )
    start = time.perf_counter()
    tiles = rival.tiles(grid.shape)
    deconvolve([fresh], tiles, rival.factory(mask, max(1, threads // len(tiles))), config.max_major, threads)
    seconds = {solver.name: sum(c["seconds"] for c in channel.cycles), rival.name: time.perf_counter() - start}
    image = restore_channel(fresh, grid, observation.channel_width, config.beam_fit, threads)
    return Beside((solver.name, rival.name), image, seconds)


def _measure(batch, grid, config, wide, threads, device, progress) -> list[ChannelState]:
    """Dirty image and PSF of each output channel of a batch, and how far it came; the PSF twice as large if `wide`."""
    threads = max(1, threads // max(1, len(batch)))
    measurements = [Measurement(blocks, grid, config.operator, config.epsilon, threads, device) for _, blocks in batch]

    def measure(label, measurement):
        found = progress.measured(label)
        if found is None:
            found = measurement.dirty(), measurement.psf(wide)
            progress.keep_measured(label, *found)
        return found

    # As many tasks as channels: dirty image and PSF of one channel follow each other and share the same memory.
    tasks = [delayed(measure, pure=False)(label, m) for (label, _), m in zip(batch, measurements, strict=True)]
    measured = compute(tasks, "dirty images and PSFs", max(1, len(batch)))
    channels = []
    for (label, _), measurement, (dirty, psf) in zip(batch, measurements, measured, strict=True):
        log.info(
            "%sdirty image: peak %.4g Jy/beam, %d visibilities, operator %s.",
            f"{label}, " if label else "",
            np.abs(dirty).max(),
            measurement.samples,
            measurement.kind,
        )
        channel = ChannelState(label, measurement, dirty, psf, np.zeros_like(dirty), dirty)
        progress.resume(channel)
        channels.append(channel)
    return channels

"""`radrim plan`: what a run will take, before any work: facets, tasks, memory, disk and time.

Times are those of this machine: the transform of a part of the image with some of the tracks, two minor cycles and the
disk are tried for some seconds, on as many threads at once as in the run, which share the machine's memory and
caches; what depends on visibilities, pixels and facets is scaled to the whole. What the sky is like nobody knows before
the dirty image: the time is that for compact sources, in the part of the facets that `--active` says, and beside it
stands what extended emission in all of them would take.
"""

import math
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from radrim.config.options import ImageConfig
from radrim.deconvolve.tiles import Tiles
from radrim.errors import ConfigError
from radrim.facets.channel import FacetPsfSettings
from radrim.geometry import ImageGrid, crop_centre
from radrim.imagers.facets import FacetImagerSettings, on_one_thread
from radrim.imagers.learned_cycles import load_machine
from radrim.ms.inputs import open_inputs
from radrim.ms.opening import open_table
from radrim.operator import make_operator
from radrim.operator.gridder import estimate_seconds
from radrim.operator.tracks import Compressed
from radrim.products import count_kinds
from radrim.rim.minor.settings import RimSettings
from radrim.rim.minor.solver import RimSolver
from radrim.runtime.executors import ExecutionSettings
from radrim.runtime.memory import MemorySettings, block_bytes, measured_together, plan_memory
from radrim.visibilities import Visibilities
from radrim.workdir.store import Store


@dataclass(frozen=True)
class PlanSettings:
    """How the cost of a run is tried."""

    sample_rows: int = 200_000
    """Rows of the Measurement Set whose tracks are tried."""
    trial_facet: int = 512
    """Size of the facet on which a minor cycle is tried [pixel]."""
    trial_window: int = 256
    """Size of the part of the image in which the cost of samples is tried [pixel]."""
    sample_bytes: int = 16
    """Bytes of a visibility with its two weights."""
    start_seconds: float = 10.0
    """From the command to the first sample, and the report [s]."""
    passes: int = 4
    """Times that all samples pass through the memory before the dirty image: read, sort, weigh, count."""


@dataclass
class Plan:
    """What one run will take.

    Parameters
    ----------
    grid : ImageGrid
    channels : int
        Output channels.
    facets, side, workers : int
        Facets of the image, their largest size, and how many at once; one facet stands for an image made as a whole.
    samples : int
        Visibilities of all output channels.
    nodes : float
        What a window, some facets together, needs of those of one channel.
    tasks, known : int
        Of the whole run, and at most at once.
    memory, disk, moved : float
        Of this machine; on the disk at once; read from it and written to it, all in all [bytes].
    measure, cycle, rest : float
        Seconds for dirty images and PSFs, for one major cycle on compact sources, and for all else.
    extended : float
        Seconds that a major cycle takes where every facet is full of extended emission.
    cycles : int
    stokes : int
        Stokes parameters, whose images are made one after the other.
    """

    grid: ImageGrid
    channels: int
    facets: int
    side: int
    workers: int
    samples: int
    nodes: float
    tasks: int
    known: int
    memory: float
    disk: float
    moved: float
    measure: float
    cycle: float
    rest: float
    extended: float
    cycles: int
    stokes: int = 1

    @property
    def seconds(self) -> float:
        """Predicted wall time of the run [s]."""
        return self.measure + self.cycles * self.cycle + self.rest

    def __str__(self):
        g = self.grid
        cut = (
            f"{self.facets} facets of at most {self.side} pixels, {self.workers} at once" if self.side else "as a whole"
        )
        each = f", {self.stokes} Stokes parameters" if self.stokes > 1 else ""
        number = f"{self.channels} output channel{'s' * (self.channels > 1)}{each}"
        lines = {
            "image": f"{g.width} x {g.height} pixels, {number}; {cut}",
            "visibilities": f"{self.samples:.4g}; {self.nodes:.3g} values are as good for a part of a channel's image",
            "tasks": f"{self.tasks}, of which a scheduler knows at most {self.known} at once",
            "memory": f"{self.memory / 1e9:.2f} GB",
            "disk": f"{self.disk / 1e9:.3g} GB while it runs, {self._fits / 1e9:.3g} GB of FITS files in the end; "
            f"{self.moved / 1e9:.3g} GB are read and written",
            "time": f"{_span(self.seconds)}: dirty image and PSF {_span(self.measure)}, {self.cycles} major cycles of "
            f"{_span(self.cycle)}, all else {_span(self.rest)}",
        }  # fmt: skip
        if self.cycles:
            longest = self.seconds + self.cycles * (self.extended - self.cycle)
            lines["longest"] = f"{_span(longest)}, if extended emission fills every facet"
        return "\n".join(f"{name:<14}{text}" for name, text in lines.items())

    @property
    def _fits(self):
        kinds = 5 * self.stokes - (self.stokes - 1)  # one PSF for all
        return 4.0 * kinds * self.grid.width * self.grid.height * (self.channels + (self.channels > 1))


def make_plan(config: ImageConfig, workers: int | None = None, active: float = 0.5, cycles: int | None = None) -> Plan:
    """Predict a run.

    Parameters
    ----------
    config : ImageConfig
        Size and scale must be given.
    workers : int, optional
        Of a cluster of machines like this one; those of this machine if absent.
    active : float
        Part of the facets that hold compact sources; in the first cycles faint ones wait for the bright.
    cycles : int, optional
        Major cycles that will be needed; `max_major` if absent.

    Raises
    ------
    ConfigError
        No size or scale.
    InputError
        The Measurement Set cannot be read.
    """
    if config.data == "closure":
        raise ConfigError(
            "radrim plan is for images of visibilities; one of closure quantities (--data closure) takes minutes."
        )
    if config.size is None or config.scale is None:
        raise ConfigError(
            "radrim plan does not read the data: give --size and --scale. 'radrim info' proposes some; 'radrim image' "
            "without them looks for the sources first, and writes what it chose to NAME-run.toml."
        )
    with open_inputs(config.ms) as sets:
        blocks, samples, reading = _sample(sets, config)
    grid = ImageGrid(config.size[0], config.size[1], config.scale)
    threads = config.threads or len(os.sched_getaffinity(0))
    cut = plan_memory(grid.shape, config, threads)
    at_once = (workers or cut.workers) if cut.side else 1  # an image that is made as a whole uses all threads
    side = cut.side or max(grid.shape)
    tiles = Tiles(grid.shape, side, MemorySettings.halo if cut.side else 0)
    facets, cycles = len(tiles), 0 if config.niter == 0 else cycles or config.max_major
    of_channel = samples / config.channels_out
    share = min(1.0, sum(block.data.size for block in blocks) / of_channel)
    windows = [block.core for block in tiles.blocks(measured_together(config, side) if cut.side else 1)]
    trial = _Trial(config, threads, 0 if not cut.side else 1 if workers else cut.workers)
    fixed, each, nodes = _time_window(trial, blocks, grid, windows, share)
    outer = max(tiles[len(tiles) // 2].shape)
    psf = fixed * len(windows) * (FacetPsfSettings.size_factor * outer) ** 2 / (grid.width * grid.height) + each
    compact, full = _time_minor(trial, blocks, grid, config, outer) if cycles else (0.0, 0.0)
    pixels = grid.width * grid.height
    disk_speed = _time_disk(os.path.dirname(os.path.abspath(config.name or ".")) or ".")
    # Per channel: windows are measured, twice in every cycle; facets with sources have a minor cycle, and a PSF once.
    # A window is one worker's. All Stokes parameters share the PSFs.
    rounds, stokes = math.ceil(len(windows) / at_once), len(config.stokes)
    measure = rounds * (1 + stokes) * (fixed + each)
    cycle, extended = (
        stokes * (rounds * 2 * (fixed + each) + facets * part * minor / at_once)
        for part, minor in ((active, compact), (1.0, full))
    )
    psfs = active * facets * psf / at_once if cycles else 0.0
    kinds = count_kinds(config)
    # Each image is a file of facets before it is a FITS file; a cycle reads and writes some more of them.
    moved = 4.0 * pixels * (3 * kinds + 1 + stokes * cycles * (6 + 7 * active))
    # The disk of this machine is one for all; that of a cluster shall give each worker what one gets here.
    moving = moved / disk_speed / (workers or 1)
    rest = (
        PlanSettings.start_seconds
        + (PlanSettings.passes - 1 + stokes) * samples * reading
        + config.channels_out * (psfs + moving)
    )
    per_pixel = MemorySettings().minor_cycle("none" if not cycles else config.solver).facet
    memory = MemorySettings.base + cut.workers * (per_pixel * outer**2 + 2 * block_bytes(config))
    disk = 24.0 * (samples + pixels) + 8.0 * (stokes - 1) * samples + 4 * pixels * kinds * config.channels_out
    blocks_of = max(len(config.ms), math.ceil(of_channel * PlanSettings.sample_bytes / block_bytes(config)))
    judged = bool(cycles and config.holdout)
    steps = _steps(facets, len(windows), blocks_of, cycles, math.ceil(kinds / stokes), judged)
    return Plan(
        grid, config.channels_out, facets, cut.side, at_once, samples, nodes, config.channels_out * stokes * steps,
        min(ExecutionSettings.max_calls, facets), memory, disk, config.channels_out * moved,
        config.channels_out * measure, config.channels_out * cycle, rest, config.channels_out * extended, cycles,
        stokes,
    )  # fmt: skip


def _steps(facets, windows, blocks, cycles, kinds, judged):
    """Tasks of a channel, without final stages; `radrim.facets.faceted` says which.

    Where kept-out visibilities judge (`judged`), a last cycle fits all of them.
    """
    once = 3 * windows + kinds * windows + bool(cycles) * (1 + facets + windows)
    once += judged * (3 * facets + 3 * windows + blocks)
    return once + cycles * (facets + 3 * windows + (2 + judged) * blocks)


def _sample(sets, config):
    """Some tracks of the first Measurement Set, how many samples there are in all, and seconds to read one."""
    samples, reading = 0, 0.0
    blocks: list[Visibilities] = []
    for ms in sets:
        window = max(ms.windows, key=lambda w: len(w.freq))
        low, high = config.chan_range or (0, len(window.freq))
        freq = np.sort(window.freq[low:high])
        samples += ms.rows * len(freq)
        if blocks:
            continue
        # One output channel holds a part of the band.
        freq = np.array_split(freq, min(config.channels_out, len(freq)))[0]
        with open_table(ms.tables) as main:
            wanted = max(1, round(len(ms.antennas) * min(1.0, PlanSettings.sample_rows / ms.rows)))
            some = np.unique(np.linspace(0, len(ms.antennas) - 1, wanted).round().astype(int))
            with main.query(f"ANTENNA1 IN [{','.join(map(str, some))}] AND ANTENNA1 != ANTENNA2") as part:
                uvw, when = part.getcol("UVW"), part.getcol("TIME")
                antenna = np.stack([part.getcol("ANTENNA1"), part.getcol("ANTENNA2")], 1)
            begin = time.perf_counter()
            column = config.data_column or ("CORRECTED_DATA" if "CORRECTED_DATA" in ms.columns else "DATA")
            read = main.getcol(column, 0, min(ms.rows, 20_000))
            reading = (time.perf_counter() - begin) / max(read.shape[0] * read.shape[1], 1)
        order = np.lexsort((when, antenna[:, 1], antenna[:, 0]))
        shape = len(order), len(freq)
        blocks = [Visibilities(uvw[order], freq, np.ones(shape, np.complex64), np.ones(shape, np.float32), when[order],
                               antenna[order].astype(np.int32))]  # fmt: skip
    return blocks, samples, reading


@dataclass
class _Trial:
    """How things are tried: as in the run.

    Parameters
    ----------
    config : ImageConfig
    threads : int
        Of an image that is made as a whole.
    workers : int
        Facets at once, each on one thread; 0 for an image that is made as a whole.
    """

    config: Any
    threads: int
    workers: int

    def seconds(self, function: Callable, *arguments: Any) -> tuple[Any, float]:
        """What one call returns, and the seconds of the slowest of all."""

        def timed(_):
            begin = time.perf_counter()
            found = on_one_thread(function, *arguments) if self.workers else function(*arguments)
            return time.perf_counter() - begin, found

        if not self.workers:
            seconds, found = timed(0)
            return found, seconds
        with ThreadPoolExecutor(self.workers) as pool:
            every = list(pool.map(timed, range(self.workers)))
        return every[0][1], max(seconds for seconds, _ in every)

    def transform(self, blocks, window):
        """What stands for the samples in a transform of a window, and its seconds."""
        return self.seconds(self._through_nodes if self.workers else self._whole, blocks, window)

    def _through_nodes(self, blocks, window):
        through = Compressed(blocks, window, epsilon=FacetImagerSettings.epsilon_factor * self.config.epsilon)
        through.adjoint([block.data for block in blocks])
        return sum(len(nodes.uvw) for nodes in through.nodes)

    def _whole(self, blocks, window):
        for b in blocks:
            operator = make_operator(self.config.operator, b.uvw, b.freq, window, self.config.epsilon, self.threads)
            operator.adjoint(torch.from_numpy(b.data), torch.from_numpy(b.weight))
        return sum(b.data.size for b in blocks)


def _time_window(trial, blocks, grid, windows, share):
    """Seconds of a window's transform: what does not depend on samples, and what all of them take; nodes of all."""
    middle = grid.region(*windows[len(windows) // 2])
    # In a small part samples are all that counts; the window has more nodes for them, of known cost.
    small = replace(
        middle, width=min(PlanSettings.trial_window, middle.width), height=min(PlanSettings.trial_window, middle.height)
    )
    few, seconds = min((trial.transform(blocks, small) for _ in range(3)), key=lambda found: found[1])
    nodes, whole = trial.transform(blocks, middle)
    each = min(
        whole,
        seconds + estimate_seconds(small, 0.0, nodes - few, FacetImagerSettings.epsilon_factor * trial.config.epsilon),
    )
    return whole - each, each / share, nodes / share


def _time_minor(trial, blocks, grid, config, outer):
    """Seconds of the minor cycle of a facet with two compact sources, and of one that is full of extended emission."""
    size = min(PlanSettings.trial_facet, outer)
    psf = Compressed(blocks, replace(grid, width=2 * size, height=2 * size)).psf()
    psf /= psf[size, size]
    rng = np.random.default_rng(0)
    compact, full = np.zeros((2, size, size), np.float32)
    compact[size // 3, size // 3], compact[size // 2, 2 * size // 3] = 1.0, 0.1
    full[size // 4 : 3 * size // 4, size // 4 : 3 * size // 4] = rng.random((size // 2, size // 2)) ** 8
    _minor(trial, compact, psf, config, rng)  # compiles
    return [_minor(trial, sky, psf, config, rng) * (outer / size) ** 2 for sky in (compact, full)]


def _minor(trial, sky, psf, config, rng):
    """Seconds of a minor cycle on a sky."""
    size = len(sky)
    convolve = np.fft.irfft2(np.fft.rfft2(sky, psf.shape) * np.fft.rfft2(np.fft.ifftshift(psf)), psf.shape)
    residual = convolve[:size, :size].astype(np.float32)
    noise = 1e-3 * float(np.abs(residual).max())
    residual += rng.normal(0, noise, residual.shape).astype(np.float32)
    if config.solver == "clean":
        from radrim.deconvolve.clean import CleanSolver

        make: Callable[[], CleanSolver | RimSolver] = CleanSolver
        psf = np.ascontiguousarray(crop_centre(psf, residual.shape))
    else:
        from radrim.rim.checkpoint import find_model

        machine = load_machine(str(find_model(config.model)), "cpu", "")
        make = partial(RimSolver, machine, RimSettings(noise=noise))

    def solve():
        with torch.inference_mode():
            make()(residual, psf, np.zeros_like(residual), noise)

    return trial.seconds(solve)[1]


def _time_disk(folder):
    """Bytes per second that reach the disk."""
    import tempfile

    with tempfile.TemporaryDirectory(dir=folder, prefix=".radrim-plan-") as trial:
        data = np.zeros(16 * 2**20, np.float32)
        begin = time.perf_counter()
        Store(trial).save("trial", data)
        return data.nbytes / (time.perf_counter() - begin)


def _span(seconds):
    """A time in words."""
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"

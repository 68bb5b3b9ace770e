"""About how long a run will take, and how much memory, for the log before it begins; `radrim plan` is more exact.

What a transform takes is tried with some of the run's samples. How many there will be, and what minor cycles take,
nobody knows before: usual numbers stand for them.
"""

import math
import os
import time
from dataclasses import dataclass, replace

from radrim.config.options import ImageConfig
from radrim.geometry import ImageGrid
from radrim.measure.transforms import make_transform
from radrim.operator import choose_kind
from radrim.operator.gridder import supports
from radrim.operator.settings import WGridderSettings
from radrim.operator.w_term import max_w
from radrim.runtime.memory import whole_bytes
from radrim.units import duration, si
from radrim.visibilities import Observation


@dataclass(frozen=True)
class UsualRun:
    """What a run with one kind of minor cycle usually takes, on two cores of 2023.

    Parameters
    ----------
    base : float
        Start, reading and writing, without the report [s].
    pixel : float
        All minor cycles and final stages together [s per pixel].
    transforms : float
        Transforms between image and visibilities; one for a PSF twice as large as the image counts as four.
    """

    base: float
    pixel: float
    transforms: float


@dataclass(frozen=True)
class CostSettings:
    """Usual costs, and how a transform is tried."""

    rim: UsualRun = UsualRun(base=3.0, pixel=25e-6, transforms=30)
    """13 simulated observations of 256 to 1024 pixels took 0.5 to 1.6 times what follows from this, and those of the
    EHT three times: there relative entropy is fitted to many folds."""
    clean: UsualRun = UsualRun(base=2.0, pixel=5e-6, transforms=24)
    none: UsualRun = UsualRun(base=1.0, pixel=0.5e-6, transforms=2)
    report: float = 2.5
    """Time of the report [s]."""
    cores: int = 2
    """Threads that `UsualRun.pixel` is for. More make minor cycles faster by the square root of their number."""
    rows: int = 10_000
    """Largest number of rows of the trial."""
    size: int = 2048
    """Largest side of the trial's image [pixel]; the time for larger ones is taken to grow with the pixels."""


def expected_cost(
    observation: Observation,
    grid: ImageGrid,
    config: ImageConfig,
    threads: int,
    settings: CostSettings = CostSettings(),
) -> tuple[float, float]:
    """Seconds and bytes that a run is expected to take, with the machine as busy as it is now.

    Parameters
    ----------
    observation : Observation
    grid : ImageGrid
    config : ImageConfig
    threads : int
    settings : CostSettings
    """
    usual = settings.none if config.niter == 0 else settings.clean if config.solver == "clean" else settings.rim
    images = len(config.stokes) * config.channels_out
    samples = sum(block.data.size for block in observation.blocks) * len(config.stokes)
    fixed, sample = _transform_seconds(observation, grid, config, settings)
    transforms = usual.transforms * (fixed * images + sample * samples) / threads
    minor = usual.pixel * grid.width * grid.height * images * (settings.cores / threads) ** 0.5
    cores = len(os.sched_getaffinity(0))
    busy = max(1.0, (os.getloadavg()[0] + min(threads, cores)) / cores)
    base = usual.base + settings.report * config.report
    return (base + minor + transforms) * busy, whole_bytes(grid.shape, config)


def _transform_seconds(observation, grid, config, settings):
    """Processor seconds of a transform: what does not depend on samples, and per sample."""
    block = max(observation.blocks, key=lambda one: one.data.size)
    side = [min(n, settings.size) for n in grid.shape]
    part = replace(grid, height=side[0], width=side[1])
    rows = slice(None, None, max(1, len(block.uvw) // settings.rows))
    uvw, data, weight = block.uvw[rows], block.data[rows], block.weight[rows]
    chosen = choose_kind(block.data.size, grid, max_w(uvw, block.freq), "cpu", config.epsilon)
    sample = WGridderSettings.sample_seconds * math.log10(1 / config.epsilon)
    if chosen == "dft" or not supports(part):
        return 0.0, sample  # the direct sum is chosen where it takes hundredths of a second
    begin = time.process_time()
    make_transform("wgridder", uvw, block.freq, part, config.epsilon, 1, "cpu").adjoint(data, weight)
    seconds = time.process_time() - begin
    return max(seconds - sample * data.size, 0.0) * (grid.width * grid.height) / (side[0] * side[1]), sample


def describe_cost(seconds: float, memory: float) -> str:
    """A sentence for the log."""
    return f"The run will take about {duration(float(f'{seconds:.2g}'))} and {si(memory, 'B', 2)} of memory."

"""Memory as a budget: whether an image is made as a whole or in facets, of which size, and how many at once."""

import math
import os
from typing import NamedTuple, Protocol

from radrim.errors import ConfigError

PART = 0.6
"""Part of the machine's memory that a run may take if the user does not say how much."""
BASE = 0.9e9
"""What the program needs before it sees any data [bytes]."""
WHOLE = {"rim": 420, "clean": 64, "none": 48}
"""Peak memory per pixel of an image that is made as a whole, by its minor cycle [bytes]."""
AVERAGE = 52
"""What the average of several output channels adds [bytes per pixel]."""
TERM = 60
"""What each term of a spectrum adds: PSF, dirty image, model and residual, the last two twice [bytes per pixel]."""
BEAM = 24
"""What primary beams and the pointings of a mosaic add [bytes per pixel]."""
FACET = {"rim": 460, "clean": 230, "none": 60}
"""The same per pixel of what the minor cycle of a facet sees; its PSF is twice as large along each axis."""
BLOCKS = 1 / 16
"""Part of the memory for each block of visibilities that is at hand."""
LARGEST_BLOCK = 512 * 2**20
"""Larger blocks gain nothing [bytes]."""
GRID_BYTES = 2**30
"""Largest part of the uv grid that is counted at once, in four times the memory; a larger one is done in bands of v."""
HALO = 128
"""Pixels that the minor cycle of a facet sees around it."""
SHARED = 2048
"""Size of a facet that a worker of a cluster makes, if the user says nothing [pixel]."""
SMALLEST = 256
LARGEST = {"rim": 4096, "clean": 4096, "none": 6144}
"""Limits to the size of a facet [pixel]."""
TOGETHER = 3
"""Facets along an axis that are measured together, at most,"""
WINDOW = 8192
"""and how many pixels at most: more gain nothing."""


class MemoryOptions(Protocol):
    """The options of `radrim image` that decide how much memory a run takes."""

    @property
    def memory(self) -> float | None:
        """What the run may take [bytes]."""

    @property
    def facet(self) -> int | None:
        """Size of a facet, if the user asks for facets [pixel]."""

    @property
    def scheduler(self) -> str | None:
        """Address of a Dask scheduler."""

    @property
    def cluster(self) -> str | None:
        """Kind of cluster that is started."""

    @property
    def niter(self) -> int:
        """Number of CLEAN components; 0 for a dirty image alone."""

    @property
    def solver(self) -> str:
        """Minor cycle, a key of `WHOLE`."""

    @property
    def spectral_terms(self) -> int | None:
        """Terms of the spectra of a joint deconvolution."""

    @property
    def channels_out(self) -> int:
        """Number of output channels."""

    @property
    def pb(self) -> str:
        """Primary beam, or 'none'."""


class Cut(NamedTuple):
    """How an image is cut.

    Parameters
    ----------
    side : int
        Largest facet along an axis [pixel]; 0 for an image that is made as a whole.
    workers : int
        Facets at once.
    """

    side: int
    workers: int


def plan_memory(shape: tuple[int, int], config: MemoryOptions, threads: int) -> Cut:
    """Whether and how to cut an image so that it fits.

    Parameters
    ----------
    shape : (int, int)
        Of the image (y, x).
    config : ImageConfig
        Its `memory`, `facet`, minor cycle and number of channels count.
    threads : int

    Raises
    ------
    ConfigError
        Not even one facet of `SMALLEST` pixels fits.
    """
    memory, minor = _memory(config), _minor(config)
    shared = config.scheduler or config.cluster  # workers have their own memory; each has one facet at once
    if shared and config.facet is None and config.memory is None:
        return Cut(SHARED, threads)
    if config.facet is None and not shared and BASE + _whole(config) * shape[0] * shape[1] <= memory:
        return Cut(0, threads)
    if config.facet is not None:
        return Cut(config.facet, threads)
    for workers in range(threads, 0, -1):
        free = (memory - BASE) / workers - 2 * block_bytes(config)
        side = math.isqrt(int(free / FACET[minor])) - 2 * HALO if free > 0 else 0
        # Few large facets leave workers idle; small ones need their neighbours' pixels more often.
        if side >= (SMALLEST if workers == 1 else 4 * SMALLEST):
            return Cut(min(side, LARGEST[minor]) // 64 * 64, workers)
    needed = (BASE + 1.1 * FACET[minor] * (SMALLEST + 2 * HALO) ** 2) / (1 - 2 * BLOCKS)
    raise ConfigError(
        f"--memory {memory / 1e9:.3g}GB is not enough for an image of {shape[1]} x {shape[0]} pixels, even in facets "
        f"of {SMALLEST}: give at least --memory {math.ceil(needed / 1e8) / 10:.1f}GB."
    )


def is_small(shape: tuple[int, int], config: MemoryOptions) -> bool:
    """Whether an image of a shape (y, x), made as a whole, takes less than half of the memory that it may."""
    return BASE + _whole(config) * shape[0] * shape[1] <= _memory(config) / 2


def measured_together(config: MemoryOptions, side: int) -> int:
    """Facets along an axis that are measured together: the memory that the minor cycle of one takes is there anyway.

    Parameters
    ----------
    config : ImageConfig
    side : int
        Size of a facet [pixel].
    """
    fits = math.isqrt(int(FACET[_minor(config)] / FACET["none"] * (side + 2 * HALO) ** 2))
    return max(1, min(TOGETHER, fits // side, WINDOW // side))


def block_bytes(config: MemoryOptions) -> int:
    """Largest block of visibilities [bytes]."""
    return int(min(LARGEST_BLOCK, BLOCKS * _memory(config)))


def uv_bytes(config: MemoryOptions) -> int:
    """Largest part of the uv grid that is weighted at once [bytes]; weighting takes four times as much."""
    return int(min(GRID_BYTES, _memory(config) / 8))


def largest_whole(config: MemoryOptions) -> int:
    """Pixels along the side of the largest square image that is made as a whole."""
    return math.isqrt(int(max(_memory(config) - BASE, 0) / _whole(config))) // 2 * 2


def _memory(config: MemoryOptions) -> float:
    return config.memory or PART * total_memory()


def _minor(config: MemoryOptions) -> str:
    return "none" if config.niter == 0 else config.solver


def _whole(config: MemoryOptions) -> int:
    terms = config.spectral_terms or 0
    more = (config.channels_out > 1) * AVERAGE + terms * TERM + (config.pb != "none") * BEAM
    return WHOLE[_minor(config)] + more


def total_memory() -> int:
    """Memory of this machine, or of the control group that this process belongs to [bytes]."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            with open(path, encoding="ascii") as file:
                memory = min(memory, int(file.read()))
        except (OSError, ValueError):  # not there, or 'max'
            continue
    return memory

"""Plans the memory of a run: whether an image is made as a whole or in facets, their size, and how many at once."""

import math
import os
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from radrim.errors import ConfigError


@dataclass(frozen=True)
class MinorCycleMemory:
    """Memory that images take, by the minor cycle that deconvolves them.

    Parameters
    ----------
    whole : int
        Peak memory per pixel of an image that is made as a whole [bytes].
    facet : int
        Peak memory per pixel that the minor cycle of a facet sees [bytes]; the PSF is twice as large along each axis.
    largest_facet : int
        Largest facet along an axis [pixel].
    """

    whole: int
    facet: int
    largest_facet: int


@dataclass(frozen=True)
class MemorySettings:
    """Memory that a run takes, and the sizes of facets and blocks that keep it within the budget."""

    used_fraction: float = 0.6
    """Fraction of the machine's memory that a run may take if the user does not say how much."""
    base: float = 0.9e9
    """Memory of the program before it reads any data [bytes]."""
    base_without_torch: float = 0.25e9
    """The same of a dirty image or CLEAN [bytes]."""
    rim: MinorCycleMemory = MinorCycleMemory(whole=420, facet=460, largest_facet=4096)
    clean: MinorCycleMemory = MinorCycleMemory(whole=64, facet=230, largest_facet=4096)
    none: MinorCycleMemory = MinorCycleMemory(whole=48, facet=60, largest_facet=6144)
    """Without a minor cycle: the dirty image alone."""
    average: int = 52
    """Memory that the average of several output channels adds [bytes per pixel]."""
    spectral_term: int = 60
    """Memory that each term of the spectra adds [bytes per pixel]: PSF, dirty image, two models, two residuals."""
    primary_beam: int = 24
    """Memory that primary beams and the pointings of a mosaic add [bytes per pixel]."""
    block_fraction: float = 1 / 16
    """Fraction of the budget for one block of visibilities."""
    max_block: int = 512 * 2**20
    """Largest block of visibilities [bytes]. Larger ones gain nothing."""
    max_grid: int = 2**30
    """Largest part of the uv grid that is weighted at once [bytes]; weighting takes four times as much memory. Larger
    grids are weighted in bands of v."""
    halo: int = 128
    """Margin around a facet that its minor cycle sees [pixel]."""
    shared_facet: int = 2048
    """Facet that a worker of a cluster makes if the user gives neither its size nor the memory [pixel]."""
    smallest_facet: int = 256
    """Smallest facet along an axis [pixel]."""
    max_joined: int = 3
    """Largest number of facets along an axis that are measured together."""
    max_joined_pixels: int = 8192
    """Largest size of facets that are measured together [pixel]. Larger transforms gain nothing."""

    def minor_cycle(self, name: str) -> MinorCycleMemory:
        """The memory of images with a minor cycle: a solver, or 'none'; those without an entry take that of the RIM."""
        return {"clean": self.clean, "entropy": self.clean, "none": self.none}.get(name, self.rim)


class MemoryOptions(Protocol):
    """The options of `radrim image` that decide how much memory a run takes."""

    @property
    def memory(self) -> float | None:
        """Memory budget of the run [bytes]; None for the usual fraction of the machine's."""

    @property
    def facet(self) -> int | None:
        """Size of a facet [pixel]; None where the user has not asked for facets."""

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
        """Solver, 'rim', 'clean' or 'entropy'."""

    @property
    def spectral_terms(self) -> int | None:
        """Number of terms of the spectra in a joint deconvolution."""

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
        Number of facets at once.
    """

    side: int
    workers: int


def plan_memory(
    shape: tuple[int, int], config: MemoryOptions, threads: int, settings: MemorySettings = MemorySettings()
) -> Cut:
    """Whether and how an image is cut into facets so that it fits into the memory.

    Parameters
    ----------
    shape : (int, int)
        Shape of the image (y, x).
    config : ImageConfig
    threads : int
    settings : MemorySettings

    Raises
    ------
    ConfigError
        Not even one facet of the smallest size fits.
    """
    memory, minor = _memory(config, settings), settings.minor_cycle(_minor(config))
    shared = config.scheduler or config.cluster  # each worker has its own memory and makes one facet at a time
    if shared and config.facet is None and config.memory is None:
        return Cut(settings.shared_facet, threads)
    if config.facet is None and not shared and settings.base + _whole(config, settings) * shape[0] * shape[1] <= memory:
        return Cut(0, threads)
    if config.facet is not None:
        return Cut(config.facet, threads)
    smallest, halo = settings.smallest_facet, settings.halo
    for workers in range(threads, 0, -1):
        free = (memory - settings.base) / workers - 2 * block_bytes(config, settings)
        side = math.isqrt(int(free / minor.facet)) - 2 * halo if free > 0 else 0
        # Few large facets leave workers idle; small facets read more pixels of their neighbours.
        if side >= (smallest if workers == 1 else 4 * smallest):
            return Cut(min(side, minor.largest_facet) // 64 * 64, workers)
    needed = (settings.base + 1.1 * minor.facet * (smallest + 2 * halo) ** 2) / (1 - 2 * settings.block_fraction)
    raise ConfigError(
        f"--memory {memory / 1e9:.3g}GB is not enough for an image of {shape[1]} x {shape[0]} pixels, even in facets "
        f"of {smallest}: give at least --memory {math.ceil(needed / 1e8) / 10:.1f}GB."
    )


def is_small(shape: tuple[int, int], config: MemoryOptions, settings: MemorySettings = MemorySettings()) -> bool:
    """Whether an image of a shape (y, x), made as a whole, takes less than half of the memory budget."""
    return settings.base + _whole(config, settings) * shape[0] * shape[1] <= _memory(config, settings) / 2


def measured_together(config: MemoryOptions, side: int, settings: MemorySettings = MemorySettings()) -> int:
    """Number of facets along an axis that are measured together, in the memory that the minor cycle of one needs.

    Parameters
    ----------
    config : ImageConfig
    side : int
        Size of a facet [pixel].
    settings : MemorySettings
    """
    minor = settings.minor_cycle(_minor(config))
    fits = math.isqrt(int(minor.facet / settings.none.facet * (side + 2 * settings.halo) ** 2))
    return max(1, min(settings.max_joined, fits // side, settings.max_joined_pixels // side))


def block_bytes(config: MemoryOptions, settings: MemorySettings = MemorySettings()) -> int:
    """Largest block of visibilities [bytes]."""
    return int(min(settings.max_block, settings.block_fraction * _memory(config, settings)))


def uv_bytes(config: MemoryOptions, settings: MemorySettings = MemorySettings()) -> int:
    """Largest part of the uv grid that is weighted at once [bytes]; weighting takes four times as much memory."""
    return int(min(settings.max_grid, _memory(config, settings) / 8))


def largest_whole(config: MemoryOptions, settings: MemorySettings = MemorySettings()) -> int:
    """Side of the largest square image that is made as a whole [pixel]."""
    free = max(_memory(config, settings) - settings.base, 0)
    return math.isqrt(int(free / _whole(config, settings))) // 2 * 2


def whole_bytes(shape: tuple[int, int], config: MemoryOptions, settings: MemorySettings = MemorySettings()) -> float:
    """Memory that a run takes which makes an image of a shape (y, x) as a whole, at most its budget [bytes]."""
    base = settings.base if config.niter and config.solver != "clean" else settings.base_without_torch
    return min(base + _whole(config, settings) * shape[0] * shape[1], _memory(config, settings))


def _memory(config: MemoryOptions, settings: MemorySettings) -> float:
    return config.memory or settings.used_fraction * total_memory()


def _minor(config: MemoryOptions) -> str:
    return "none" if config.niter == 0 else config.solver


def _whole(config: MemoryOptions, settings: MemorySettings) -> int:
    """Memory per pixel of an image that is made as a whole [bytes]."""
    terms = (config.spectral_terms or 0) * settings.spectral_term
    more = (config.channels_out > 1) * settings.average + terms + (config.pb != "none") * settings.primary_beam
    return settings.minor_cycle(_minor(config)).whole + more


def total_memory() -> int:
    """Memory of this machine, or the limit of the control group of this process if that is lower [bytes]."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            with open(path, encoding="ascii") as file:
                memory = min(memory, int(file.read()))
        except (OSError, ValueError):  # not there, or 'max'
            continue
    return memory

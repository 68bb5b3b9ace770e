"""Steps 1 and 2 of a run: its data are read and weighted, its grid and facets chosen; `radrim.pipeline` calls it."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from radrim.config.options import ImageConfig
from radrim.errors import InputError
from radrim.geometry import ImageGrid
from radrim.imagers.context import RunContext
from radrim.imagers.expected_cost import describe_cost, expected_cost
from radrim.imagers.grid import choose_grid
from radrim.imagers.minor_cycles import MinorCycles
from radrim.imagers.start_model import find_start, take_start
from radrim.measure.holdout import each_kept_out, hold_out
from radrim.measure.mosaic import describe_mosaic, describe_shift, noise_of_all
from radrim.measure.primary_beam import choose_dishes
from radrim.metrics import measured_scatter
from radrim.output import Output
from radrim.read.mask import find_allowed
from radrim.read.pointings import each_at_its_pointing
from radrim.read.reader import read
from radrim.read.selection import selected_by
from radrim.restore.restoring import check_beam
from radrim.runtime.allocator import give_back_memory
from radrim.runtime.clock import Clock
from radrim.runtime.machine import Machine
from radrim.runtime.memory import block_bytes, is_small, plan_memory, uv_bytes
from radrim.units import band
from radrim.workdir.directory import WorkDir
from radrim.workdir.progress import Progress
from radrim.workdir.visibilities import VisibilityCache

if TYPE_CHECKING:  # what some runs do not need is imported where it is used
    from radrim.closure.read import ClosureInput

log = logging.getLogger("radrim")


@dataclass(frozen=True)
class Prepared:
    """A run that is ready to be imaged: its data are read and weighted, its grid is chosen.

    Parameters
    ----------
    run : RunContext
    side : int
        Largest facet along an axis [pixel]; 0 for images as a whole.
    workers : int
        Facets at once.
    closures : ClosureInput or None
        For --data closure.
    chosen : list of str
        Sentences on what was chosen for the user.
    """

    run: RunContext
    side: int
    workers: int
    closures: "ClosureInput | None"
    chosen: list[str]


def prepare(
    config: ImageConfig, work: WorkDir, output: Output, minor: MinorCycles | None, clock: Clock, machine: Machine
) -> Prepared:
    """Read, choose the grid, and weight: steps 1 and 2, each unless the work directory has its result."""
    _check_files(config, work, output)
    closure = config.data == "closure"
    if closure:
        from radrim.closure.read import prepare, read_hands
    cache = VisibilityCache(work, block_bytes(config), by_channel=config.channels_out > 1)
    with clock("read"):
        observation = cache.read(config.ms, selected_by(config), read_hands if closure else read)
        # Before imaging weights take the place of those that say how noisy a sample is.
        closures = prepare(observation.blocks) if closure else None
        if config.spectral_terms:
            from radrim.restore.spectrum import advise_terms

            band_ends = observation.frequencies[[0, -1]].tolist()
            more = advise_terms(band_ends[0], band_ends[1], config.spectral_terms)
            observation.notes += [more] if more else []
        if not closure and config.niter:
            from radrim.imagers.neighbour_phases import warning_of_phases

            uncalibrated = warning_of_phases(observation.blocks, observation.antennas)
            observation.notes[:0] = [uncalibrated] if uncalibrated else []
        _say_what_was_read(observation)
        dishes = _take_dishes(config, observation)
    with clock("choose"):
        grid, chosen = _grid(work, observation, config)
        check_beam(config, grid.scale)
        for sentence in [*chosen, *(minor.notes if minor else [])]:
            log.info("%s", sentence)
        plan = _plan(work, grid, config, machine.threads)
        if plan.side or not is_small(grid.shape, config):
            give_back_memory()
        if not (closure or config.solver == "entropy" or config.scheduler or config.cluster):
            log.info("%s", describe_cost(*expected_cost(observation, grid, config, machine.threads)))
        if plan.side:
            log.info("Facets of at most %d pixels, %d at once.", plan.side, plan.workers)
        describe_mosaic(observation, grid)
        describe_shift(observation, grid, dishes)
        output.check_space(grid)
        mask = find_allowed(config.mask, grid)
        start = take_start(config, output.prefix, grid, work)
    with clock("weight"):
        if config.niter and config.holdout and not (closure or config.solver == "entropy"):  # by natural weights
            if plan.side:
                cache.keep_out(each_kept_out(observation.blocks, config.holdout))
            else:
                both = zip(*hold_out(observation.blocks, config.holdout), strict=True)
                for block, (kept, watched) in zip(observation.blocks, both, strict=True):
                    block.kept_out, block.watched = kept, watched
        scatter = {
            name: measured_scatter(each_at_its_pointing(block.of(name) for block in observation.blocks))
            for name in config.stokes
        }
        sum_weight, thermal = cache.weigh(
            observation, grid, config.weight, config.tapers, config.padding, uv_bytes(config),
            config.channels_out if config.weighting_per_channel else 1, config.super_weight,
        )  # fmt: skip
        sum_weight, thermal = noise_of_all(observation, grid, dishes, sum_weight, thermal)
        _say_what_noise(config, thermal, scatter)
    run = RunContext(
        config=config, observation=observation, grid=grid, mask=mask, output=output, progress=Progress(work),
        clock=clock, minor=minor, start=start, thermal=thermal,
        scatter={name: thermal * factor * np.sqrt(sum_weight) for name, factor in scatter.items()},
        sum_weight=sum_weight, dishes=dishes, threads=machine.threads, device=machine.device,
    )  # fmt: skip
    return Prepared(run, plan.side, plan.workers, closures, chosen)


def _grid(work, observation, config):
    """The image grid, and why: as when the run began, which looked at the data if the user gave no size."""
    if "grid" not in work:
        grid, chosen = choose_grid(observation, config)
        work.note("grid", {"size": [grid.width, grid.height], "scale": grid.scale, "chosen": chosen})
    known = work.facts("grid")
    width, height = known["size"]
    return ImageGrid(width, height, known["scale"], observation.ra, observation.dec), known["chosen"]


def _plan(work, grid, config, threads):
    """How an image is cut: as when the run began, however many threads there are now."""
    plan = plan_memory(grid.shape, config, threads)
    # Emission fills a small part of these images: facets would gain nothing.
    if config.data == "closure" or config.solver == "entropy":
        plan = plan._replace(side=0)
    if "facets" not in work:
        work.note("facets", plan.side)
    plan = plan._replace(side=work.facts("facets"))
    if not plan.side and (config.scheduler or config.cluster):
        log.warning(
            "This run was begun without a cluster, its image as a whole, and goes on so, on this machine; --overwrite "
            "begins again with facets."
        )
    return plan


def _check_files(config, work, output):
    """Raise InputError at once for files that a later step would miss, when all data are read."""
    if config.mask and not Path(config.mask).exists():
        raise InputError(f"--mask {config.mask} cannot be read: No such file or directory.")
    if "start" not in work:
        find_start(config, output.prefix)
    if config.uncertainty and config.niter == 0 and not (config.start_model or config.continue_run):
        log.warning(
            "--uncertainty is not used: with --niter 0 and no start model there is no model to be uncertain of."
        )


def _take_dishes(config, observation):
    """Choose the primary beam, and note it in the observation, for the headers."""
    dishes = choose_dishes(config, observation)
    observation.dish_diameter = dishes.diameter if dishes else config.dish_diameter or observation.dish_diameter
    observation.beam = dishes.pattern if dishes else ""
    if dishes:
        log.info("Primary beam: %s.", dishes.describe())
    return dishes


def _say_what_was_read(observation):
    counts = observation.counts
    log.info(
        "Read %s, %s, %s: %d samples of Stokes %s, %.1f %% flagged, %s (%s), %d channel%s.",
        observation.telescope,
        observation.object,
        observation.date_obs[:19],
        counts["samples"],
        observation.stokes,
        100 * counts["flagged"] / counts["samples"],
        band(*observation.frequencies[[0, -1]]),
        observation.freq_frame,
        observation.channels,
        "" if observation.channels == 1 else "s",
    )
    for remark in observation.remarks:
        log.info("%s", remark)
    for note in observation.notes:
        log.warning("%s", note)


def _say_what_noise(config, thermal, scatter):
    """Log the expected noise, of which that from the scatter of the data counts, unless it is unknown."""
    counts = ", ".join(
        f"{thermal * factor:.3g}{f' ({name})' if len(scatter) > 1 else ''}" for name, factor in scatter.items()
    )
    log.info(
        "Weighting %s; expected noise %s Jy/beam from the scatter of the data, which counts; %.3g Jy/beam from the "
        "weights if these are 1/sigma^2.",
        config.weight,
        counts,
        thermal,
    )

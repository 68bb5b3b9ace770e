"""`radrim image` on one page: its six steps, each a package of `radrim`, in the order of the data.

1. read: from files to blocks of visibilities (`radrim.read`, called by `VisibilityCache.read`);
2. weight: imaging weights (`radrim.weight`, called by `VisibilityCache.weigh`);
3. measure: dirty image and PSF (`radrim.measure`);
4. deconvolve: major and minor cycles (`radrim.deconvolve`, `radrim.rim`);
5. restore: the model, smoothed to the beam, plus the residual (`radrim.restore`);
6. write: FITS files and the report (`radrim.write`, `radrim.report`).

`run` carries out 1 and 2 in `_prepare`, 3 to 6 in `_image`, which calls an imager for each image, and what remains of 6
in `_finish`. Steps 1 and 2 go through the work directory, where a resumed run finds their results.
"""

import logging
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from radrim.config.options import ImageConfig
from radrim.errors import ClusterError, InputError, OutputError
from radrim.geometry import ImageGrid
from radrim.imagers.base import Imager
from radrim.imagers.blank import BlankChannels
from radrim.imagers.channels import ChannelImager
from radrim.imagers.common_beam import restore_with_common_beam
from radrim.imagers.context import RunContext
from radrim.imagers.expected_cost import describe_cost, expected_cost
from radrim.imagers.grid import choose_grid
from radrim.imagers.minor_cycles import CleanCycles, MinorCycles
from radrim.imagers.solvers import choose_solvers
from radrim.imagers.start_model import find_start, take_start
from radrim.interactive.result import Result
from radrim.measure.holdout import each_kept_out, hold_out
from radrim.measure.mosaic import describe_mosaic, describe_shift, noise_of_all
from radrim.measure.primary_beam import choose_dishes
from radrim.metrics import measured_scatter
from radrim.output import Output, RunSummary
from radrim.read.mask import find_allowed
from radrim.read.pointings import each_at_its_pointing
from radrim.read.reader import read
from radrim.read.selection import selected_by
from radrim.report.diagnosis import diagnose
from radrim.report.draw_pool import Painters
from radrim.restore.polarisation import write_linear
from radrim.restore.restoring import check_beam
from radrim.result import Beside, Channels, Stokes
from radrim.runtime.allocator import give_back_memory
from radrim.runtime.clock import Clock
from radrim.runtime.executors import Cluster, Threads
from radrim.runtime.machine import Machine, choose_machine
from radrim.runtime.memory import block_bytes, is_small, plan_memory, uv_bytes
from radrim.units import band
from radrim.visibilities import split_channels
from radrim.workdir.directory import WorkDir
from radrim.workdir.manifest import describe_run
from radrim.workdir.progress import Progress
from radrim.workdir.visibilities import VisibilityCache, cached
from radrim.write.fits import open_image, read_image

if TYPE_CHECKING:  # what some runs do not need is imported where it is used
    from radrim.closure.read import ClosureInput

log = logging.getLogger("radrim")


@dataclass(frozen=True)
class WarningSettings:
    """When a run warns."""

    min_noise_ratio: float = 0.6
    """Smallest ratio of the residual's noise to that expected from the data's scatter. Below, noise has been fitted."""


def run(
    config: ImageConfig,
    command: str = "radrim.image(...)",
    report: bool = True,
    painters: Painters | None = None,
) -> Result:
    """Image what `config` says and write the files; goes on where an unfinished run of the same left off.

    Parameters
    ----------
    config : ImageConfig
    command : str
        Noted in the headers and the report.
    report : bool
        Whether to write more than the FITS files.
    painters : Painters, optional
        Who draws the report's pictures; this process if absent.

    Raises
    ------
    RadrimError
        Any fault that the user can mend; nothing half-written is left.
    """
    clock, machine = Clock(), choose_machine(config.device, config.threads)
    minor, rival = choose_solvers(config, machine.device)
    if config.update_model:
        from radrim.sky.prediction import check_writable, predict

        check_writable(config.ms)
    output = Output(config.name or Path(config.ms[0]).absolute().stem, config, command)
    with WorkDir(output.prefix, describe_run(config), config.overwrite) as work:
        if not work.resumed:
            output.say_what_is_replaced()
        try:
            prepared = _prepare(config, work, output, minor, clock, machine)
            images = _image(prepared, work)
            beside = _compare(prepared, work, rival, images) if rival else None
            result = _finish(prepared, images, beside, report, painters)
            if config.update_model:
                predict(config.ms, name=output.prefix, field=config.field, epsilon=config.epsilon,
                        threads=machine.threads)  # fmt: skip
        except Exception as error:
            # Whatever the error, the same command would fail again, and another one must find its way free; but a full
            # disk can be mended, and so can a cluster.
            if isinstance(error, OutputError | ClusterError) and cached(work):
                if isinstance(error, OutputError):
                    log.warning("What is finished is kept in %s: the same command goes on from there.", work.path)
            else:
                work.remove()
            raise
        if not config.keep:
            work.remove()
    maps = result.linear.paths.values() if result.linear else ()
    files = dict.fromkeys([*result.polarisations.paths, *maps, *result.paths.values()])
    log.info("Done in %.1f s: %s", clock.total, ", ".join(str(path) for path in files))
    return result


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


def _prepare(
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


def _image(prepared: Prepared, work: WorkDir) -> Stokes:
    """All images, written: each Stokes parameter of a batch of output channels, and in the end of all channels.

    Stokes parameters follow each other, so that their number takes no memory; those of a channel share its PSF.
    """
    run, config = prepared.run, prepared.run.config
    read_plane = open_image if prepared.side else read_image
    images = {name: Channels(read_plane) for name in config.stokes}
    wholes = Channels(read_plane)
    with ExitStack() as stack:
        imager: Imager
        if prepared.side:
            workers = _workers(config, prepared.workers)
            stack.enter_context(workers)
            from radrim.imagers.facets import FacetImager

            imager = FacetImager(run, work, prepared.side, workers)
        elif prepared.closures:
            from radrim.imagers.closure import ClosureImager

            imager = ClosureImager(run, prepared.closures)
        elif config.solver == "entropy" and run.minor:
            from radrim.imagers.entropy import EntropyImager

            imager = EntropyImager(run)
        else:
            imager = ChannelImager(run)
        groups = split_channels(run.observation, config.channels_out)
        blank = BlankChannels(run, [not group for group in groups])
        for batch in imager.batches(groups):
            for name in config.stokes:
                for image in imager.make(batch, name):
                    images[name].append(image)
        if config.common_beam:
            restore_with_common_beam(run, list(images.values()))
        for name in config.stokes:
            wholes.append(images[name].headers[0] if config.channels_out == 1 else imager.average(images[name]))
    return Stokes(wholes, {name: blank.among(found, name) for name, found in images.items()})


def _compare(prepared: Prepared, work: WorkDir, rival: MinorCycles, images: Stokes) -> Beside:
    """The same images by another minor cycle, in the work directory, for the report."""
    run, clock = prepared.run, Clock()
    log.info("The same by %s:", rival.name)
    solver = "clean" if isinstance(rival, CleanCycles) else "rim"
    config = replace(run.config, solver=solver, data="visibilities", uncertainty=False, cube=False)
    other = replace(
        run, config=config, output=Output(work.path / "rival", config, run.output.command), minor=rival, clock=clock,
        progress=Progress(work, "rival-"),
    )  # fmt: skip
    with run.clock("compare"):
        found = _image(replace(prepared, run=other, closures=None), work)
    names = run.minor.name if run.minor else "", rival.name
    shown = run.config.stokes[0]
    seconds = [sum(cycle["seconds"] for cycle in one[shown].cycles) for one in (images, found)]
    return Beside(names, found[shown], dict(zip(names, seconds, strict=True)))


def _finish(
    prepared: Prepared, stokes: Stokes, beside: Beside | None, report: bool, painters: Painters | None
) -> Result:
    """Cubes, polarisation, warnings and the report."""
    run = prepared.run
    config, output, clock = run.config, run.output, run.clock
    with clock("write"):
        if config.cube:
            output.join(list(stokes.channels.values()), run.progress, run.observation.channel_axis)
        linear = write_linear(stokes, output, run.grid, run.observation, config.cube)
    expected = {name: value / np.sqrt(run.sum_weight) for name, value in run.scatter.items()}
    for image in stokes.headers:
        expected[image.stokes] = image.facts.get("expected_noise", expected[image.stokes])
        if not prepared.closures and not image.fit_quality:  # solving for gains always fits part of the noise
            _warn_of_fitted_noise(image, expected[image.stokes], run.observation.notes)
    findings = _diagnose(stokes, run)
    whole = stokes[config.stokes[0]]
    paths = dict(whole.paths)
    if report:
        with clock("report"):
            summary = RunSummary(
                whole, stokes, linear, run.grid, run.observation, run.thermal, expected, prepared.chosen,
                clock.seconds, beside, findings,
            )  # fmt: skip
            paths |= output.write_summary(summary, painters)
    return Result(
        **{**vars(whole), "paths": paths},
        grid=run.grid,
        channels=stokes.channels[whole.stokes],
        polarisations=stokes,
        linear=linear,
        findings=[finding.as_dict() for finding in findings],
    )


def _diagnose(stokes, run):
    """What kept-out visibilities say of each Stokes parameter: warnings in the log and notes of the report."""
    found = []
    errors = [one.facts.get("systematic", 0.0) for images in stokes.channels.values() for one in images.headers]
    if any(errors):
        from radrim.imagers.entropy_fit import warning_of

        uncalibrated = warning_of(max(errors))
    else:
        uncalibrated = ""
    if uncalibrated and not any("not calibrated" in note for note in run.observation.notes):
        run.observation.notes.insert(0, uncalibrated)
        log.warning("%s", uncalibrated)
    for image in stokes.headers:
        named = image.stokes if len(stokes) > 1 else ""
        found += diagnose(image.fit_quality, run.observation.antennas, named)
    doubts = _doubt(stokes[run.config.stokes[0]], run.grid)
    notes = run.observation.notes
    first = int(bool(notes) and "not calibrated" in notes[0])  # the reason of false sources, where it is known
    notes[first:first] = [finding.text for finding in doubts]
    for finding in doubts:
        log.warning("%s", finding.text)
    for finding in found:
        run.observation.notes.append(finding.text)
        log.warning("%s", finding.text)
    return doubts + found


def _doubt(image, grid):
    """Findings on flux that may be false; of dishes and mosaics there is none, whose PSF varies, nor of Q, U and V."""
    if image.model is None or image.pb is not None or image.stokes != "I":
        return []
    from radrim.report.false_sources import find_false_sources

    return find_false_sources(image.model, image.psf, image.beam, grid.scale)


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


def _workers(config: ImageConfig, workers: int) -> Threads | Cluster:
    """Who makes the facets."""
    if address := config.scheduler or config.cluster:
        return Cluster(address, config.jobs)
    return Threads(workers)


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


def _warn_of_fitted_noise(image, expected, notes):
    """A residual well below the noise in the data means that CLEAN went on into the noise."""
    if image.stop and image.noise < WarningSettings.min_noise_ratio * expected:
        which = f" of {image.stokes}" if image.stokes in image.label.split("-") else ""
        notes.append(
            f"The residual's noise{which}, {image.noise:.3g} Jy/beam, is far below that of the data, {expected:.3g} "
            f"Jy/beam from their scatter: noise has been fitted, faint features are not real. Use --threshold "
            f"{expected:.2g}."
        )
        log.warning("%s", notes[-1])

"""`radrim image` on one page: its six steps, each a package of `radrim`, in the order of the data.

1. read: from files to blocks of visibilities (`radrim.read`, called by `VisibilityCache.read`);
2. weight: imaging weights (`radrim.weight`, called by `VisibilityCache.weigh`);
3. measure: dirty image and PSF (`radrim.measure`);
4. deconvolve: major and minor cycles (`radrim.deconvolve`, `radrim.rim`);
5. restore: the model, smoothed to the beam, plus the residual (`radrim.restore`);
6. write: FITS files and the report (`radrim.write`, `radrim.report`).

`run` carries out 1 and 2 in `prepare`, 3 to 6 in `_image`, which calls an imager for each image, and what remains of 6
in `_finish`. Steps 1 and 2 go through the work directory, where a resumed run finds their results.
"""

import logging
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from radrim.config.options import ImageConfig
from radrim.errors import ClusterError, OutputError
from radrim.imagers.base import Imager
from radrim.imagers.blank import BlankChannels
from radrim.imagers.channels import ChannelImager
from radrim.imagers.common_beam import restore_with_common_beam
from radrim.imagers.minor_cycles import CleanCycles, MinorCycles
from radrim.imagers.preparation import Prepared, prepare
from radrim.imagers.solvers import choose_solvers
from radrim.interactive.result import Result
from radrim.output import Output, RunSummary
from radrim.report.diagnosis import diagnose
from radrim.report.draw_pool import Painters
from radrim.restore.polarisation import write_linear
from radrim.result import Beside, Channels, Stokes
from radrim.runtime.clock import Clock
from radrim.runtime.executors import Cluster, Threads
from radrim.runtime.machine import choose_machine
from radrim.visibilities import split_channels
from radrim.workdir.directory import WorkDir
from radrim.workdir.manifest import describe_run
from radrim.workdir.progress import Progress
from radrim.workdir.visibilities import cached
from radrim.write.fits import open_image, read_image

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
            prepared = prepare(config, work, output, minor, clock, machine)
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


def _workers(config: ImageConfig, workers: int) -> Threads | Cluster:
    """Who makes the facets."""
    if address := config.scheduler or config.cluster:
        return Cluster(address, config.jobs)
    return Threads(workers)


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

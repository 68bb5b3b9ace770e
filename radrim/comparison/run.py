"""`radrim compare`: images the same data with radrim and with CLEAN, each in its own process, and compares the images.

CLEAN is run by WSClean if it is installed and supports the options, else by radrim (multi-scale CLEAN).
"""

import dataclasses
import logging
import os
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np

from radrim.angles import parse_angle
from radrim.comparison.images import Comparison, Expected, compare_images, read_side, to_common_beam
from radrim.comparison.spectra import noise_spectrum, spectrum_bins
from radrim.comparison.truth import read_truth
from radrim.config.files import load_toml
from radrim.config.options import ImageConfig
from radrim.errors import ConfigError, InputError, PeerError, RadrimError
from radrim.geometry import ImageGrid
from radrim.metrics import measured_scatter
from radrim.ms.inputs import open_inputs
from radrim.read.pointings import choose_target
from radrim.runtime import process as child
from radrim.runtime.files import check_writable
from radrim.version import __version__
from radrim.workdir.directory import discard, folder_of
from radrim.workdir.store import Store
from radrim.workdir.visibilities import VisibilityCache
from radrim.wsclean import command as wsclean

log = logging.getLogger("radrim")

PEERS = ("auto", "wsclean", "clean")


def run(
    config: ImageConfig,
    peer: str = "auto",
    peer_limit: float | None = None,
    truth: str | Path | None = None,
    command: str = "radrim.compare(...)",
) -> Comparison:
    """Image Measurement Sets with radrim and with CLEAN, and compare the images; see `radrim.compare`.

    Parameters
    ----------
    config : ImageConfig
    peer : {'auto', 'wsclean', 'clean'}
        Program that runs CLEAN.
    peer_limit : float, optional
        Time limit of CLEAN [s].
    truth : str or Path, optional
        The true sky, see `radrim.comparison.truth.read_truth`.
    command : str
        Shown by the report.
    """
    from radrim.comparison.page import write_comparison

    _check(config, peer, peer_limit, truth)
    notes: list[str] = []
    with open_inputs(config.ms) as sets:
        targets = [choose_target(ms, config.field) for ms in sets]
        version = _choose_peer(config, peer, targets, notes)
    if version and set(config.pol.split(",")) & {"Q", "U"}:
        config = dataclasses.replace(config, feed_angle="off")
        notes.append("Q and U are compared as the feeds measured them: WSClean does not turn them.")
    prefix = config.name or Path(config.ms[0]).absolute().stem
    check_writable(f"{prefix}-compare")
    threads = config.threads or len(os.sched_getaffinity(0))
    config = dataclasses.replace(config, threads=threads)

    ours, config = _run_radrim(config, f"{prefix}-radrim")
    try:
        grid, facts = _what_it_measured(config, f"{prefix}-radrim")
    finally:
        if not config.keep:
            discard(f"{prefix}-radrim")
    true_sky = read_truth(truth, grid, facts["freq"]) if truth else None
    if version:
        theirs = _run_wsclean(config, targets, f"{prefix}-wsclean", version, peer_limit, notes)
    else:
        theirs = _run_clean(config, f"{prefix}-clean", peer_limit)

    sides = ours, theirs
    beam, change = to_common_beam(sides, grid, notes, threads)
    sources, spectra, noise = compare_images(sides, grid, facts["expected"], true_sky, beam, change)
    comparison = Comparison(
        *sides, grid=grid, freq=facts["freq"], title=facts["title"], subtitle=facts["subtitle"], beam=beam, noise=noise,
        expected=facts["expected"], sources=sources, spectra=spectra, truth=true_sky[0] if true_sky else None,
        settings=config.as_text(), notes=notes + facts["notes"],
    )  # fmt: skip
    comparison.paths = write_comparison(comparison, f"{prefix}-compare", command)
    log.info("Compared: %s", ", ".join(str(path) for path in comparison.paths.values()))
    return comparison


def _check(config, peer, limit, truth):
    if peer not in PEERS:
        raise ConfigError(f"--peer '{peer}' is unknown: choose one of {', '.join(PEERS)}.")
    if limit is not None and not limit > 0:
        raise ConfigError(f"--peer-limit {limit:g} is out of range: it must be above 0 seconds.")
    if truth is not None and not Path(truth).is_file():
        raise InputError(f"--truth {truth} does not exist; give a FITS image in Jy/pixel or a CSV catalogue.")
    if config.niter == 0:
        raise ConfigError("radrim compare needs deconvolved images: leave out --niter 0.")
    if config.compare:
        raise ConfigError("radrim compare already runs CLEAN: leave out --compare.")
    if config.update_model:
        raise ConfigError("radrim compare changes no observation: leave out --update-model.")
    if len(config.stokes) > 1:
        raise ConfigError(f"radrim compare compares one image, not {config.pol}: choose one with --pol.")
    if config.data == "closure":
        raise ConfigError(
            "radrim compare needs visibilities, because CLEAN cannot image closure quantities: leave out --data."
        )
    if config.scheduler or config.cluster:
        raise ConfigError("radrim compare runs both programs on this machine: leave out --scheduler and --cluster.")
    if peer == "clean" and config.solver == "clean":
        raise ConfigError("--solver clean and --peer clean are the same; leave out one of them.")


def _choose_peer(config, peer, targets, notes):
    """Version of WSClean, or None if radrim's own CLEAN runs."""
    if peer == "clean":
        return None
    try:
        version = wsclean.find_wsclean()
        wsclean.translate_selection(config, targets)
    except PeerError as error:
        if peer == "wsclean" or config.solver == "clean":
            raise
        notes.append(f"CLEAN is radrim's own, not WSClean: {str(error).split(';')[0].split(' Use --peer')[0]}")
        log.warning("%s", notes[-1])
        return None
    return version


def _run_radrim(config, prefix):
    """Run radrim; returns its side, and the configuration with the size and scale that it chose."""
    done, line = _run_ours(config, prefix, keep=True)
    if done.status:
        raise _error_of(done, f"{prefix}.log")
    chosen = load_toml(f"{prefix}-run.toml")
    config = dataclasses.replace(config, size=tuple(chosen["size"]), scale=parse_angle(chosen["scale"]))
    what = "radrim" if config.solver == "rim" else "radrim's CLEAN"
    detail = f"{__version__}, " + (f"i-RIM '{Path(config.model).name}'" if config.solver == "rim" else "CLEAN")
    return read_side("radrim", what, detail, line, done, prefix, config.channels_out > 1), config


def _run_clean(config, prefix, limit):
    """Run radrim's own CLEAN on the same grid."""
    done, line = _run_ours(dataclasses.replace(config, solver="clean", keep=False), prefix, limit=limit)
    if done.stopped:
        if folder_of(prefix).exists():
            discard(prefix)
        raise PeerError(f"CLEAN was stopped after {limit:g} s: raise the limit with --peer-limit. "
                        f"radrim's own images are kept; the log of CLEAN is {prefix}.log.")  # fmt: skip
    if done.status:
        raise _error_of(done, f"{prefix}.log")
    return read_side("clean", "CLEAN", f"multi-scale, radrim {__version__}" if config.multiscale else
                     f"radrim {__version__}", line, done, prefix, config.channels_out > 1)  # fmt: skip


def _run_ours(config, prefix, keep=False, limit=None):
    """Run `radrim image` in a subprocess; returns the finished process and the command that repeats it."""
    words = ["image", *dataclasses.replace(config, name=prefix).as_arguments()]
    line = shlex.join(["radrim", *words])
    log.info("%s", line)
    # The expected noise is computed from the visibilities of the work directory.
    more = ["--keep"] if keep and not config.keep else []
    done = child.run([sys.executable, "-m", "radrim", *words, *more], f"{prefix}.log", limit)
    log.info("%.1f s, %.2f GB at most.", done.wall, done.memory / 1e9)
    return done, line


def _error_of(done, path):
    """The error with which the process of radrim ended."""
    said = [line for line in done.output.splitlines() if line.startswith("radrim: ")]
    if said:
        return RadrimError(done.output[done.output.index(said[-1]) + len("radrim: ") :].strip())
    last = [line for line in done.output.splitlines() if line.strip()][-1:]
    return RadrimError(f"radrim image ended with status {done.status}: {''.join(last)} Its log is {path}.")


def _run_wsclean(config, targets, prefix, version, limit, notes):
    """Run WSClean on the same grid."""
    words, remarks = wsclean.translate(config, targets, prefix)
    notes += remarks
    line = shlex.join(["wsclean", *words])
    log.info("%s", line)
    folder = Path(f"{prefix}.tmp")
    folder.mkdir(exist_ok=True)
    try:
        done = child.run(["wsclean", *words], f"{prefix}.log", limit)
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # a stopped run leaves its reordered data there
    log.info("%.1f s, %.2f GB at most.", done.wall, done.memory / 1e9)
    if done.stopped or done.status:
        raise wsclean.explain_failure(done, limit, f"{prefix}.log")
    return read_side("wsclean", "WSClean", version, line, done, prefix, config.channels_out > 1)


def _what_it_measured(config, prefix):
    """The grid, and numbers of the data, from the work directory that radrim's run has kept."""
    store = Store(folder_of(prefix))
    cache = VisibilityCache(store)
    observation = cache.read(config.ms, None)
    width, height = config.size
    grid = ImageGrid(width, height, config.scale, observation.ra, observation.dec)
    scatter, natural = measured_scatter(observation.blocks), [block.weight for block in observation.blocks]
    _, thermal = cache.weigh(observation, grid, config.weight, config.tapers, config.padding,
                              super_weight=config.super_weight)  # fmt: skip
    expected = None
    if len({tuple(block.pointing) for block in observation.blocks}) == 1:
        edges = spectrum_bins(grid)
        factor = scatter if np.isfinite(scatter) else 1.0
        power = noise_spectrum(observation.blocks, natural, grid, edges) * factor**2
        expected = Expected(thermal * factor, scatter, power)
    facts = {
        "freq": float(observation.frequencies[[0, -1]].mean()),
        "title": observation.object,
        "subtitle": f"{observation.telescope}, {observation.date_obs[:10]}",
        "notes": list(observation.notes),
        "expected": expected,
    }
    return grid, facts

"""Translates the options of radrim to those of WSClean, for comparisons. Manual: https://wsclean.readthedocs.io."""

import math
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from radrim.angles import exact_angle
from radrim.config.options import ImageConfig
from radrim.errors import PeerError
from radrim.read.pointings import Target
from radrim.read.region_mask import region_format
from radrim.runtime.process import Finished
from radrim.stokes import combination

ACCURATE = ("-use-wgridder", "-no-small-inversion")
"""Options that replace WSClean's default gridder and its "small inversion". Both are wrong by up to 10 % of the peak at
the edge of an image."""
TINY = ("-no-small-inversion", "-kernel-size", "15", "-oversampling", "4095")
"""Options for fields so small that 1 - n is lost in rounding. WSClean's w-gridder then gives NaN; w-stacking with a
wide kernel is accurate enough."""
MAJOR_VERSION = 3

REFUSED = {
    "time_range": "it selects by the number of the integration, not by time",
    "contsub": "it does not subtract the continuum",
    "outframe": "it does not change the frame of the frequencies",
    "start": "its output channels have nearly equal numbers of channels",
    "width": "its output channels have nearly equal numbers of channels",
    "scan": "it does not select scans",
    "antenna": "it does not select antennas",
    "intent": "it does not select intents",
    "array": "it does not select subarrays",
    "shift": "its -shift moves the image along the tangent plane of the old phase centre, onto other pixels",
    "phase_centre": "its -shift moves the image along the tangent plane of the old phase centre, onto other pixels",
    "abs_weights": "it takes negative weights as they are",
    "start_model": "it begins with an empty model",
    "continue_run": "its own images of that name are not those of radrim",
}
"""Options that WSClean lacks, and the reasons."""


@dataclass(frozen=True)
class WSCleanSettings:
    """Where WSClean's gridders are used."""

    smallest_field: float = 1.2e-8
    """Narrowest field for WSClean's w-gridder [rad]: 2.5 mas. Below it, 1 - n is not resolved in double precision."""


def find_wsclean() -> str:
    """Version of the program `wsclean` on the PATH, such as '3.1.0'.

    Raises
    ------
    PeerError
        The program is missing, or has another major version than 3.
    """
    program = shutil.which("wsclean")
    if program is None:
        raise PeerError("There is no wsclean on the PATH; install WSClean 3, or use --peer clean (radrim's own CLEAN).")
    try:
        text = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=60, check=False).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerError(f"{program} does not run ({error}); repair it, or use --peer clean.") from None
    found = re.search(r"WSClean version (\d+)\.([\d.]+)", text)
    if not found or int(found[1]) != MAJOR_VERSION:
        version = f"is version {found[1]}.{found[2]}" if found else "does not say its version"
        raise PeerError(f"{program} {version}; WSClean {MAJOR_VERSION}.x is needed. Or use --peer clean.")
    return f"{found[1]}.{found[2]}"


def translate(config: ImageConfig, targets: Sequence[Target], name: str | Path) -> tuple[list[str], list[str]]:
    """The options of WSClean that make the same image, and notes on differences that remain.

    Parameters
    ----------
    config : ImageConfig
        With size, scale and threads.
    targets : sequence of Target
        Fields of each Measurement Set that are imaged.
    name : str
        Prefix of its files; reordered data go to the folder ``NAME.tmp``, which must exist.

    Returns
    -------
    words : list of str
        Its arguments, without the name of the program. They include -reorder, because without it WSClean writes the
        model into MODEL_DATA of the Measurement Sets.
    notes : list of str
        Sentences.

    Raises
    ------
    PeerError
        WSClean lacks an option.
    """
    selection, notes = translate_selection(config, targets)
    if config.size is None or config.scale is None:
        raise ValueError("the configuration needs the size and the scale that radrim chose")
    width, height = config.size
    gridder = [*ACCURATE, "-wgridder-accuracy", f"{config.epsilon:g}"]
    if max(width, height) * config.scale < WSCleanSettings.smallest_field:
        gridder = list(TINY)
        notes.append("The field is too small for WSClean's w-gridder; its w-stacking ran, with a wide kernel. It is "
                     "accurate enough with --padding 4.")  # fmt: skip
    if config.beam_fit != "quadrant":
        part = {"box": "the whole box", "lobe": "its main lobe"}[config.beam_fit]
        notes.append(f"WSClean fits its restoring beam to one quadrant of the PSF, radrim here to {part}.")
    if config.common_beam:
        raise PeerError(_cannot("common_beam", "each of its output channels has its own beam"))
    words = ["-j", str(config.threads), "-no-update-model-required", "-reorder", "-temp-dir", f"{name}.tmp", *gridder]
    if config.memory is not None:
        words += ["-abs-mem", f"{config.memory / 1e9:.6g}"]
    words += ["-name", str(name), "-size", str(width), str(height), "-scale", _angle(config.scale)]
    words += ["-weight", *str(config.weight).split(), "-padding", f"{config.padding:g}"]
    words += _beam(config)
    if config.taper is not None:
        words += ["-taper-gaussian", _angle(config.taper)]
    for option, value in (("taper-tukey", config.taper_tukey), ("taper-inner-tukey", config.taper_inner_tukey)):
        words += [f"-{option}", f"{value:.9g}"] if value is not None else []
    if config.super_weight != 1:
        words += ["-super-weight", f"{config.super_weight:.9g}"]
    words += [*selection, *_spectral(config), *_deconvolution(config)]
    return [*words, *config.ms], notes


def translate_selection(config: ImageConfig, targets: Sequence[Target]) -> tuple[list[str], list[str]]:
    """The options that select data, and notes; see `translate`. Size and scale are not needed."""
    for option, reason in REFUSED.items():
        value = getattr(config, option)
        if value is not None and value is not False:  # 0 is an order of --contsub
            raise PeerError(_cannot(option, reason))
    if config.pb != "none":
        raise PeerError(_cannot("pb", "it knows the beams of some telescopes only, and other patterns"))
    if config.pol in ("XY", "YX", "RL", "LR"):
        raise PeerError(_cannot("pol", "of a complex correlation it makes two images"))
    for ms in (target.ms for target in targets):
        if ms.tables != ms.path:
            raise PeerError(f"WSClean reads Measurement Sets only, and {ms.path} has another format; write one with "
                            "radrim convert, or use --peer clean.")  # fmt: skip
    notes: list[str] = []
    windows = [w for t in targets for w in t.ms.windows if config.spw is None or w.spw in config.spw]
    if config.chan_range is not None and any(len({w.spw for w in t.ms.windows}) > 1 for t in targets):
        raise PeerError(_cannot("chan_range", "it counts the channels of all spectral windows together"))
    words = ["-pol", _stokes(config.pol, windows, notes)]
    if config.data_column is not None:
        words += ["-data-column", config.data_column]
    words += _fields(config, targets)
    if config.spw is not None:
        words += ["-spws", ",".join(map(str, config.spw))]
    if config.chan_range is not None:
        words += ["-channel-range", *map(str, config.chan_range)]
    if config.interval is not None:
        words += ["-interval", *map(str, config.interval)]
    return [*words, *_lengths(config, notes)], notes


def _beam(config):
    """The restoring beam, if it is not the fit."""
    if config.beam_shape is not None:
        major, minor, pa = config.beam_shape
        return ["-beam-shape", _angle(major), _angle(minor), f"{math.degrees(pa):.9g}deg"]
    if config.beam_size is not None:
        return ["-beam-size", _angle(config.beam_size)]
    return ["-circular-beam"] * config.circular_beam + ["-theoretic-beam"] * config.theoretic_beam


def _lengths(config, notes):
    """The limits of baselines."""
    words = []
    if config.minuv_l > 0:
        words += ["-minuv-l", f"{config.minuv_l:.12g}"]
        notes.append("--minuv-l drops samples in radrim, but whole cells of the weighting's uv grid in WSClean: "
                     "the two use slightly different data around the limit.")  # fmt: skip
    if config.maxuv_l < float("inf"):
        words += ["-maxuv-l", f"{config.maxuv_l:.12g}"]
    if config.minuvw_m > 0:
        words += ["-minuvw-m", f"{config.minuvw_m:.12g}"]
    if config.maxuvw_m < float("inf"):
        words += ["-maxuvw-m", f"{config.maxuvw_m:.12g}"]
    return words


def _cannot(option, reason):
    return (
        f"WSClean cannot do --{option.replace('_', '-')} in the same way: {reason}. Use --peer clean, or leave it out."
    )


def _stokes(pol, windows, notes):
    """The Stokes parameter, or the only hand if the data have one hand alone."""
    if pol != "I":
        return pol
    hands = set()
    for window in windows:
        terms, alone = combination(pol, window.correlations)
        hands.add(window.correlations[terms[0][0]] if alone else pol)
    if len(hands) > 1:
        raise PeerError(_cannot("pol", "some spectral windows have one hand only"))
    (hand,) = hands
    if hand != pol:
        notes.append(f"The data have one hand only: Stokes I is {hand} in both programs.")
    return hand


def _fields(config, targets):
    """`-field`: by default radrim takes the field with most rows, WSClean the first one."""
    fields = {tuple(target.fields) for target in targets}
    if len(fields) > 1:
        raise PeerError(_cannot("field", "the field has not the same number in all Measurement Sets"))
    (numbers,) = fields
    alone = config.field is None and all(len(target.ms.fields) == 1 for target in targets)
    return [] if alone else ["-field", ",".join(map(str, numbers))]


def _spectral(config):
    if config.channels_out == 1:
        return []
    words = ["-channels-out", str(config.channels_out)]
    if config.spectral_terms:
        return [*words, "-join-channels", "-fit-spectral-pol", str(config.spectral_terms)]
    if config.weighting_per_channel:
        return [*words, "-no-mf-weighting"]
    return [*words, "-mf-weighting"]  # weights of all channels together, as in radrim


def _deconvolution(config):
    words = ["-niter", str(config.niter), "-nmiter", str(config.max_major)]
    words += ["-gain", f"{config.gain:g}", "-mgain", f"{config.mgain:g}", "-auto-mask", f"{config.auto_mask:g}"]
    if config.auto_threshold > 0:
        words += ["-auto-threshold", f"{config.auto_threshold:g}"]
    if config.threshold > 0:
        words += ["-threshold", f"{config.threshold:.12g}"]
    if config.multiscale:
        words += ["-multiscale"]
    if config.mask is not None:
        if region_format(config.mask):
            raise PeerError(
                f"--mask {config.mask} is a region file, which WSClean does not read: give a FITS mask. Use --peer "
                "clean for radrim's own CLEAN."
            )
        words += ["-fits-mask", config.mask]
    return words


def _angle(radians):
    """An angle in units that WSClean reads; it lacks micro-arcseconds."""
    text = exact_angle(radians)
    if text.endswith("uasec"):
        return f"{float(text.removesuffix('uasec')) / 1000:.12f}".rstrip("0") + "masec"
    return text


def explain_failure(done: Finished, limit: float | None, log: str | Path) -> PeerError:
    """The PeerError for a run that failed or was stopped, with the last lines of its output.

    Parameters
    ----------
    done : radrim.runtime.process.Finished
    limit : float or None
        Time limit [s].
    log : Path
        File of its output.
    """
    lines = [line for line in done.output.splitlines() if line.strip()][-6:]
    quoted = "\n".join(f"  | {line}" for line in lines)
    if done.stopped:
        what = f"WSClean was stopped after {limit:g} s: raise the limit with --peer-limit"
    else:
        status = f"signal {-done.status}" if done.status < 0 else f"status {done.status}"
        what = f"WSClean failed ({status}): see {log}, or compare with --peer clean"
    return PeerError(f"{what}. radrim's own images are kept. Its last lines:\n{quoted}")

"""Which options of `radrim image` exclude or need each other; checked before any work begins.

`EXCLUSIONS` has the pairs of options that do not work together, with the reason, and `NEEDS` the options that need
another one, and so exclude what that one excludes; all other pairs work. `docs/option_pairs.md` shows them as a table.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from radrim.errors import ConfigError
from radrim.stokes import STOKES

Options = Any
"""An `ImageConfig`, which cannot be named here: radrim.config.options imports this module."""

ONE_HAND = ("I", "RR", "LL", "XX", "YY")
"""Stokes parameters whose visibilities are products of two antennas' gains and the sky."""


@dataclass(frozen=True)
class Use:
    """One way to use an option.

    Parameters
    ----------
    option : str
        As on the command line.
    given : callable
        Whether a configuration uses it so.
    """

    option: str
    given: Callable[[Options], bool]


@dataclass(frozen=True)
class Exclusion:
    """Two uses of options that exclude each other.

    Parameters
    ----------
    first, second : Use
    why : str
        The reason, as a sentence without its full stop.
    """

    first: Use
    second: Use
    why: str


CLOSURE = Use("--data closure", lambda config: config.data == "closure")
CHANNELS = Use("--channels-out", lambda config: config.channels_out > 1)
CONTSUB = Use("--contsub", lambda config: config.contsub is not None)
CLEAN = Use("--solver clean", lambda config: config.solver == "clean")
ENTROPY = Use("--solver entropy", lambda config: config.solver == "entropy")
MASK = Use("--mask", lambda config: config.mask is not None)
UNCERTAINTY = Use("--uncertainty", lambda config: config.uncertainty)
POL = Use("--pol", lambda config: config.pol != "I")
CROSSED = Use("--pol", lambda config: config.pol not in ONE_HAND)
PNP = Use("--solver pnp", lambda config: config.solver == "pnp")
REGULARISED = Use("--solver tv or pnp", lambda config: config.solver in ("tv", "pnp"))
SIGNED = Use("--pol", lambda config: any(stokes not in ONE_HAND for stokes in config.stokes))
TERMS = Use("--spectral-terms", lambda config: config.spectral_terms is not None)
START = Use("--start-model", lambda config: config.start_model is not None)
CONTINUE = Use("--continue", lambda config: config.continue_run)
SCHEDULER = Use("--scheduler", lambda config: config.scheduler is not None)
CLUSTER = Use("--cluster", lambda config: config.cluster is not None)
FACET = Use("--facet", lambda config: config.facet is not None)
CUBE = Use("--cube", lambda config: config.cube)
NO_MODEL = Use("--niter 0", lambda config: config.niter == 0)
COMPARE = Use("--compare", lambda config: config.compare)
UPDATE = Use("--update-model", lambda config: config.update_model)
PB = Use("--pb", lambda config: config.pb != "none")
BEAM = Use(
    "--beam-shape",
    lambda config: bool(config.beam_shape or config.beam_size or config.circular_beam or config.theoretic_beam),
)
GIVEN_BEAM = Use("--beam-shape", lambda config: bool(config.beam_shape or config.beam_size or config.theoretic_beam))
COMMON = Use("--common-beam", lambda config: config.common_beam)
LINE = Use("--start", lambda config: config.start is not None or config.width is not None)
CENTRE = Use("--phase-centre", lambda config: config.wanted_centre is not None)

_WHOLE = "emission fills a small part of a closure image, which is therefore made as a whole, on this machine"

_SMALL = "relative entropy is for small images, which are made as a whole, on this machine"

EXCLUSIONS = (
    Exclusion(CLOSURE, CHANNELS, "one channel has too few closure quantities for an image; choose a window with --spw"),
    Exclusion(CLOSURE, CONTSUB, "differences of channels do not close"),
    Exclusion(CLOSURE, CLEAN, "no minor cycle deconvolves closure quantities; --compare shows CLEAN beside them"),
    Exclusion(CLOSURE, ENTROPY, "closure quantities have the same entropy anyway; leave it out"),
    Exclusion(ENTROPY, SIGNED, "the model is positive, as Stokes I and sums of hands are"),
    Exclusion(ENTROPY, CONTSUB, "the model is positive, and absorption lines are not"),
    Exclusion(ENTROPY, TERMS, "the model of each channel is fitted by itself; use --channels-out alone"),
    Exclusion(ENTROPY, UNCERTAINTY, "the networks of uncertainties know the errors of other solvers"),
    Exclusion(ENTROPY, FACET, _SMALL),
    Exclusion(ENTROPY, SCHEDULER, _SMALL),
    Exclusion(ENTROPY, CLUSTER, _SMALL),
    Exclusion(CLOSURE, MASK, "closure quantities do not depend on position, and a mask does"),
    Exclusion(CLOSURE, LINE, "one channel has too few closure quantities for an image; choose a window with --spw"),
    Exclusion(CLOSURE, CENTRE, "closure quantities do not depend on position, and a phase centre does"),
    Exclusion(CLOSURE, CROSSED, "the gains of Q, U, V and of crossed hands do not cancel"),
    Exclusion(CLOSURE, UNCERTAINTY, "the networks of uncertainties know the errors of visibilities"),
    Exclusion(CLOSURE, FACET, _WHOLE),
    Exclusion(CLOSURE, SCHEDULER, _WHOLE),
    Exclusion(CLOSURE, CLUSTER, _WHOLE),
    Exclusion(PNP, SIGNED, "the denoiser of plug and play knows positive skies alone; --solver tv does not mind"),
    Exclusion(PNP, CONTSUB, "the denoiser of plug and play knows positive skies alone; --solver tv does not mind"),
    Exclusion(REGULARISED, TERMS, "total variation and plug and play make single images"),
    Exclusion(CLOSURE, REGULARISED, "total variation and plug and play fit visibilities"),
    Exclusion(UNCERTAINTY, BEAM, "the networks of uncertainties know the errors at the resolution of the PSF"),
    Exclusion(UNCERTAINTY, COMMON, "the networks of uncertainties know the errors at the resolution of the PSF"),
    Exclusion(GIVEN_BEAM, COMMON, "both say what the restoring beam is"),
    Exclusion(NO_MODEL, COMPARE, "without a deconvolution there is nothing to compare"),
    Exclusion(NO_MODEL, UPDATE, "without a deconvolution there is no model"),
    Exclusion(CLOSURE, UPDATE, "a closure image has no absolute position and flux; calibrate with radrim selfcal"),
    Exclusion(CONTSUB, UPDATE, "the model is that of the lines, without the continuum that the data have"),
    Exclusion(PB, UPDATE, "visibilities hold the sky as each pointing sees it; use radrim predict for each field"),
    Exclusion(
        TERMS,
        POL,
        "spectra are fitted to Stokes I alone; image the others, of which Q and U rotate with "
        "frequency, with --channels-out",
    ),
    Exclusion(START, CONTINUE, "both name the model with which the deconvolution begins"),
    Exclusion(SCHEDULER, CLUSTER, "the first is a cluster that is running, the second one that is to be started"),
)
"""Pairs of options that do not work together."""

NEEDS = ((CUBE, CHANNELS), (TERMS, CHANNELS), (COMMON, CHANNELS))
"""Options, each with the option that it needs."""


def exclusions() -> list[Exclusion]:
    """Every pair of options that do not work together: `EXCLUSIONS`, and those that follow from `NEEDS`."""
    implied = []
    for option, needed in NEEDS:
        for one in EXCLUSIONS:
            if needed in (one.first, one.second):
                other = one.second if needed == one.first else one.first
                implied.append(Exclusion(other, option, one.why))
    return [*EXCLUSIONS, *implied]


def check(config: Options) -> None:
    """Raise ConfigError for options that exclude each other, or that need another option."""
    for one in exclusions():
        if one.first.given(config) and one.second.given(config):
            raise ConfigError(
                f"{one.first.option} does not work with {one.second.option}: {one.why}. Leave out one of the two."
            )
    if not config.minuv_l < config.maxuv_l:
        raise ConfigError(f"--minuv-l {config.minuv_l:g} is not below --maxuv-l {config.maxuv_l:g}: nothing is left.")
    if not config.minuvw_m < config.maxuvw_m:
        raise ConfigError(
            f"--minuvw-m {config.minuvw_m:g} is not below --maxuvw-m {config.maxuvw_m:g}: nothing is left."
        )
    if config.taper_tukey is not None and config.maxuv_l == float("inf"):
        raise ConfigError(
            f"--taper-tukey {config.taper_tukey:g} needs --maxuv-l, the baseline at which the weights are 0: give both."
        )
    if config.shift is not None and config.phase_centre is not None:
        raise ConfigError("--shift does not work with --phase-centre: both name the phase centre. Leave out one.")
    if config.time_range is not None and config.interval is not None:
        raise ConfigError("--time-range does not work with --interval: both select times. Leave out one of the two.")
    if config.contsub_channels and config.contsub is None:
        raise ConfigError("--contsub-channels names the channels that --contsub ORDER fits: give both or none.")
    _check_beams(config)
    if config.common_beam and config.channels_out == 1:
        raise ConfigError("--common-beam needs several output channels: give their number with --channels-out.")
    if config.cube and config.channels_out == 1:
        raise ConfigError("--cube needs several output channels: give their number with --channels-out.")
    if config.cube and not _evenly_spaced(config):
        raise ConfigError(
            f"--cube cannot hold --pol {config.pol}: a FITS axis has equal steps. Choose other Stokes parameters, such "
            "as IQUV or I,V, or leave out --cube."
        )
    if config.spectral_terms is not None and config.channels_out < config.spectral_terms:
        raise ConfigError(
            f"--spectral-terms {config.spectral_terms} needs at least {config.spectral_terms} output channels, and "
            f"--channels-out is {config.channels_out}; some more, such as {3 * config.spectral_terms}, also average "
            "the noise."
        )
    if config.data != "closure" and config.flux is not None:
        raise ConfigError("--flux is for --data closure: visibilities determine the flux. Leave it out.")
    if config.auto_mask < config.auto_threshold:
        raise ConfigError(
            f"--auto-mask {config.auto_mask:g} is below --auto-threshold {config.auto_threshold:g}: the mask is "
            "made above the final threshold; raise one or lower the other."
        )


def _check_beams(config: Options) -> None:
    """Raise ConfigError for several options that say what the restoring beam is."""
    names = ("beam-shape", "beam-size", "theoretic-beam", "circular-beam", "common-beam")
    given = [f"--{name}" for name in names if getattr(config, name.replace("-", "_"))]
    if len(given) > 1 and given != ["--circular-beam", "--common-beam"]:
        raise ConfigError(
            f"{given[0]} does not work with {given[1]}: both say what the restoring beam is. Leave out one of the two."
        )


def _evenly_spaced(config: Options) -> bool:
    """Whether an axis with equal steps can number the Stokes parameters."""
    numbers = [STOKES.index(stokes) for stokes in config.stokes]
    return len({b - a for a, b in itertools.pairwise(numbers)}) <= 1

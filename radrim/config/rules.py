"""Checks options of `radrim image` that exclude or need each other, before any work begins."""

import itertools
from typing import Any

from radrim.errors import ConfigError
from radrim.stokes import STOKES

Options = Any
"""An `ImageConfig`, which cannot be named here: radrim.config.options imports this module."""


def check(config: Options) -> None:
    """Raise ConfigError for options that exclude each other, or that need another option."""
    if not config.minuv_l < config.maxuv_l:
        raise ConfigError(f"--minuv-l {config.minuv_l:g} is not below --maxuv-l {config.maxuv_l:g}: nothing is left.")
    if config.contsub_channels and config.contsub is None:
        raise ConfigError("--contsub-channels names the channels that --contsub ORDER fits: give both or none.")
    if config.compare and config.niter == 0:
        raise ConfigError("--compare deconvolves the image by two minor cycles: leave out --niter 0, or --compare.")
    if config.cube and config.channels_out == 1:
        raise ConfigError("--cube needs several output channels: give their number with --channels-out.")
    if config.cube and not _evenly_spaced(config):
        raise ConfigError(
            f"--cube cannot hold --pol {config.pol}: a FITS axis has equal steps. Choose other Stokes parameters, such "
            "as IQUV or I,V, or leave out --cube."
        )
    if config.uncertainty:
        _check_uncertainty(config)
    if config.spectral_terms is not None:
        _check_spectral_terms(config, config.spectral_terms)
    if config.data == "closure":
        _check_closure(config)
    elif config.flux is not None:
        raise ConfigError("--flux is for --data closure alone: visibilities measure the flux. Leave it out.")
    if config.scheduler and config.cluster:
        raise ConfigError("--scheduler uses a cluster that runs, --cluster starts one: give one of them.")
    _check_start(config)
    if config.auto_mask < config.auto_threshold:
        raise ConfigError(
            f"--auto-mask {config.auto_mask:g} is below --auto-threshold {config.auto_threshold:g}: the mask must be "
            "made above the final threshold; raise one or lower the other."
        )


def _check_closure(config: Options) -> None:
    """Refuse options that do not apply to images of closure quantities."""
    for option, given, why in (
        ("--channels-out", config.channels_out > 1, "one channel has too few of them; choose a window with --spw"),
        ("--contsub", config.contsub is not None, "gains do not cancel in differences of channels"),
        ("--pb", config.pb != "none", "the field is much smaller than the primary beam"),
        ("--facet", bool(config.facet), "the image is small"),
        ("--scheduler", bool(config.scheduler), "the image is small"),
        ("--cluster", bool(config.cluster), "the image is small"),
        ("--compare", config.compare, "it has no minor cycle"),
        ("--solver clean", config.solver == "clean", "it has no minor cycle"),
        ("--niter 0", config.niter == 0, "there is no dirty image"),
        ("--mask", config.mask is not None, "closure quantities do not measure the position of the image"),
        ("--start-model", config.start_model is not None, "it has no minor cycle"),
        ("--continue", config.continue_run, "it has no minor cycle"),
        ("--taper", config.taper is not None, "closure quantities have no imaging weights"),
        (f"--pol {config.pol}", config.pol not in ("I", "RR", "LL", "XX", "YY"), "gains do not cancel in it"),
    ):
        if given:
            raise ConfigError(f"{option} is not for --data closure: {why}. Leave out one of the two.")


def _check_uncertainty(config: Options) -> None:
    """Refuse --uncertainty with options for which the networks of uncertainties are not trained."""
    for option, given, why in (
        ("--niter 0", config.niter == 0, "the networks of uncertainties know errors of deconvolution"),
        ("--data closure", config.data == "closure", "the networks of uncertainties know errors of visibilities"),
    ):
        if given:
            raise ConfigError(f"--uncertainty is not for {option}: {why}. Leave out one of the two.")


def _check_start(config: Options) -> None:
    if config.start_model and config.continue_run:
        raise ConfigError("--start-model names a model, --continue uses that of this --name: give one of them.")
    asked = "--start-model" if config.start_model else "--continue"
    if (config.start_model or config.continue_run) and config.niter == 0:
        raise ConfigError(
            f"{asked} gives the model with which the deconvolution begins: leave out --niter 0, or {asked}."
        )


def _evenly_spaced(config: Options) -> bool:
    """Whether the numbers of the Stokes parameters have equal steps, as a FITS axis needs."""
    numbers = [STOKES.index(stokes) for stokes in config.stokes]
    return len({b - a for a, b in itertools.pairwise(numbers)}) <= 1


def _check_spectral_terms(config: Options, terms: int) -> None:
    if config.channels_out < terms:
        raise ConfigError(
            f"--spectral-terms {terms} needs at least {terms} output channels, and --channels-out is "
            f"{config.channels_out}; more channels, such as {3 * terms}, also average the noise."
        )
    if config.niter == 0 or config.pol != "I":
        raise ConfigError(
            "--spectral-terms is for deconvolved images of Stokes I: leave out --niter 0 and --pol, or "
            "--spectral-terms. Q and U rotate with frequency and have no smooth spectrum: image them with "
            "--channels-out alone."
        )

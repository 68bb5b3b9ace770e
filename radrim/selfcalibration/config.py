"""Options of `radrim selfcal` beside those of `radrim image`. The module imports nothing heavy."""

import math
import re
from dataclasses import dataclass, field

from radrim.config.options import ImageConfig
from radrim.config.values import choice, numeric
from radrim.errors import ConfigError

ROUNDS = "p,p,p,ap:inf,ap"
_SECONDS = {"s": 1.0, "sec": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class SelfcalSettings:
    """Limits of the rounds of self-calibration that users cannot set."""

    phase_snr: float = 10.0
    """Signal-to-noise ratio of the median antenna for which the solution interval of phases is chosen."""

    amplitude_snr: float = 30.0
    """Signal-to-noise ratio of the median antenna for which the solution interval of amplitudes is chosen."""

    pause: float = 60.0
    """Least time without data between scans [s], if all rows have one scan number; it is also at least five
    integrations."""

    kept_out: float = 0.1
    """Fraction of the cells of visibilities (`radrim.measure.holdout`) that no round sees and that judge all rounds. Of
    400 cells these are 40, from which the standard error is known to 11 %."""

    longer: float = 4.0
    """Factor by which a chosen solution interval grows after a round that did not predict these visibilities better:
    the noise of the gains falls to half."""

    max_major: int = 8
    """Largest number of major cycles of the images between rounds. The last image has as many as --max-major allows."""


@dataclass(frozen=True)
class Round:
    """One round: 'p' (phases) or 'ap' (amplitudes and phases), and its solution interval.

    `length` is in seconds, 0 for each integration, infinite for each scan; None lets radrim choose.
    """

    kind: str
    length: float | None = None


@dataclass(frozen=True, kw_only=True)
class SelfcalConfig:
    """How gains are solved for, and where the corrected data are written.

    Parameters
    ----------
    rounds : tuple of Round
    start_model : str or None
        See `radrim.selfcalibration.models.parse_start_model`; None starts from an image of the uncorrected data.
    gain_type : {'G', 'T'}
        Separate gains for each feed, or one gain for both.
    combine_spw : bool
        Whether all spectral windows have one solution.
    refant : str or None
        Name or number of the reference antenna.
    min_baselines : int or None
        Least number of baselines of an antenna; None for 2 (phases) and 3 (amplitudes).
    min_snr : float
        Least signal-to-noise ratio of a solution.
    normalise : bool
        Whether gains are divided by their mean amplitude.
    unsolved : {'flag', 'keep'}
        Treatment of data without a solution.
    in_place : bool
        Whether CORRECTED_DATA of the input is written, instead of a copy.
    """

    rounds: tuple[Round, ...] = field(default_factory=lambda: parse_rounds(ROUNDS))
    start_model: str | None = None
    gain_type: str = "G"
    combine_spw: bool = False
    refant: str | None = None
    min_baselines: int | None = None
    min_snr: float = 3.0
    normalise: bool = True
    unsolved: str = "flag"
    in_place: bool = False

    @classmethod
    def parse(  # noqa: PLR0913 - each argument is an option of `radrim selfcal`
        cls, *, rounds: str = ROUNDS, solint: str | None = None, solint_amp: str | None = None,
        start_model: str | None = None, gain_type: str = "G", combine_spw: bool = False,
        refant: str | int | None = None, min_baselines: str | int | None = None, min_snr: str | float = 3.0,
        normalise: bool = True, unsolved: str = "flag", in_place: bool = False,
    ) -> "SelfcalConfig":  # fmt: skip
        """A configuration from text and numbers, as the command line and Python give them.

        Raises
        ------
        ConfigError
            An option has an invalid value.
        """
        each = None if solint is None else parse_interval(solint, "solint")
        each_amp = None if solint_amp is None else parse_interval(solint_amp, "solint-amp")
        return cls(
            rounds=parse_rounds(rounds, each, each_amp),
            start_model=start_model,
            gain_type=choice("G", "T")("gain-type", gain_type),
            combine_spw=combine_spw,
            refant=None if refant is None else str(refant),
            min_baselines=None if min_baselines is None else numeric(int, 1)("min-baselines", min_baselines),
            min_snr=numeric(float, 0)("min-snr", min_snr),
            normalise=normalise,
            unsolved=choice("flag", "keep")("unsolved", unsolved),
            in_place=in_place,
        )


def parse_rounds(text: str, solint: float | None = None, solint_amp: float | None = None) -> tuple[Round, ...]:
    """Parse rounds such as 'p,p:60s,ap:inf'. The default interval is `solint`, or `solint_amp` for 'ap'.

    Raises
    ------
    ConfigError
        An unknown kind or interval, or no round.
    """
    rounds = []
    for word in str(text).replace(",", " ").split():
        kind, colon, length = word.partition(":")
        if kind not in ("p", "ap"):
            raise ConfigError(
                f"--rounds '{word}' is unknown: write p (phases) or ap (amplitudes and phases), each with an optional "
                f"interval, separated by commas, such as {ROUNDS} or p:inf,p:60s,ap:inf."
            )
        default = solint if kind == "p" else solint_amp
        rounds.append(Round(kind, parse_interval(length, "rounds") if colon else default))
    if not rounds:
        raise ConfigError(f"--rounds is empty; write for example {ROUNDS}.")
    return tuple(rounds)


def parse_interval(text: str, name: str) -> float:
    """Seconds from '30s', '2min', 'inf' (a scan: infinity) or 'int' (an integration: 0).

    Raises
    ------
    ConfigError
        The text is none of these.
    """
    word = str(text).strip().lower()
    if word in ("inf", "int"):
        return math.inf if word == "inf" else 0.0
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+)(s|sec|min|m|h)", word)
    seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
    if not seconds > 0:
        raise ConfigError(
            f"--{name}: '{text}' is no solution interval; write for example 30s, 2min, int (each integration) or inf "
            "(each scan)."
        )
    return seconds


def format_interval(seconds: float | None) -> str:
    """A length as `parse_interval` reads it."""
    if seconds is None:
        return "chosen"
    if math.isinf(seconds):
        return "scan"
    return "int" if seconds == 0 else f"{seconds:.4g}s"


def check_image_options(config: ImageConfig) -> None:
    """Raise ConfigError for options of `radrim image` that self-calibration does not support."""
    if len(config.ms) != 1:
        raise ConfigError(f"radrim selfcal takes one Measurement Set, got {len(config.ms)}; calibrate one by one.")
    refused = {
        f"--pol {config.pol}": config.pol != "I",
        "--niter 0": config.niter == 0,
        "--contsub": config.contsub is not None,
        "--compare": config.compare,
        "--update-model": config.update_model,
        "--continue": config.continue_run,
        "--data closure": config.data == "closure",
        "--start and --width": config.start is not None or config.width is not None,
    }
    for option, given in refused.items():
        if given:
            raise ConfigError(
                f"radrim selfcal needs deconvolved images of Stokes I with all emission: leave out {option}."
            )

"""What `radrim selfcal` can be told beside the options of `radrim image`; nothing heavy is imported here."""

import math
import re
from dataclasses import dataclass, field

from radrim.config.options import ImageConfig
from radrim.errors import ConfigError

ROUNDS = "p,p,p,ap:inf,ap"
_SECONDS = {"s": 1.0, "sec": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class SelfcalSettings:
    """Choices of the rounds of self-calibration that are no options."""

    phase_snr: float = 10.0
    """Signal-to-noise ratio of the median antenna for which the solution interval of phases is chosen."""

    amplitude_snr: float = 30.0
    """Signal-to-noise ratio of the median antenna for which the solution interval of amplitudes is chosen."""

    pause: float = 60.0
    """Least time without data between scans [s], if all rows have one scan number; it is also at least five
    integrations."""

    better: float = 1.01
    """Least ratio of the dynamic range to that of the best round so far for a round to count as better."""

    max_major: int = 8
    """Largest number of major cycles of the images between rounds. The last image has as many as --max-major allows."""


@dataclass(frozen=True)
class Round:
    """One round: 'p' (phases) or 'ap' (amplitudes and phases), and its solution interval.

    `length` is in seconds, 0 for each integration, infinite for each scan; None leaves it to radrim.
    """

    kind: str
    length: float | None = None


@dataclass(frozen=True, kw_only=True)
class SelfcalConfig:
    """How gains are solved for, and where the corrected data go.

    Parameters
    ----------
    rounds : tuple of Round
    start_model : str or None
        See `radrim.selfcalibration.models.parse_start_model`; None images the data as they are.
    gain_type : {'G', 'T'}
        Each feed by itself, or both together.
    combine_spw : bool
        One solution for all spectral windows.
    refant : str or None
        Name or number of the reference antenna.
    min_baselines : int or None
        Baselines that an antenna needs; None for 2 (phases) and 3 (amplitudes).
    min_snr : float
        Of a solution.
    normalise : bool
        Whether the mean amplitude of the gains is made 1.
    unsolved : {'flag', 'keep'}
        What happens to data without a solution.
    in_place : bool
        Whether CORRECTED_DATA of the input is written, in place of a copy.
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


def parse_rounds(text: str, solint: float | None = None, solint_amp: float | None = None) -> tuple[Round, ...]:
    """Rounds from 'p,p:60s,ap:inf'; those without an interval get `solint`, or `solint_amp` where they are 'ap'.

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
                f"--rounds '{word}' is unknown: write p (phases) or ap (amplitudes and phases), each with an interval "
                f"if need be, and commas between, such as {ROUNDS} or p:inf,p:60s,ap:inf."
            )
        default = solint if kind == "p" else solint_amp
        rounds.append(Round(kind, parse_interval(length, "rounds") if colon else default))
    if not rounds:
        raise ConfigError(f"--rounds is empty; write such as {ROUNDS}.")
    return tuple(rounds)


def parse_interval(text: str, name: str) -> float:
    """Seconds from '30s', '2min', 'inf' (a scan: infinity) or 'int' (an integration: 0).

    Raises
    ------
    ConfigError
        Something else.
    """
    word = str(text).strip().lower()
    if word in ("inf", "int"):
        return math.inf if word == "inf" else 0.0
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+)(s|sec|min|m|h)", word)
    seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
    if not seconds > 0:
        raise ConfigError(
            f"--{name}: '{text}' is no solution interval; write such as 30s, 2min, int (each integration) or inf "
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
    """Raise ConfigError for options of `radrim image` that self-calibration cannot go with."""
    if len(config.ms) != 1:
        raise ConfigError(f"radrim selfcal takes one Measurement Set, got {len(config.ms)}; calibrate one by one.")
    refused = {
        f"--pol {config.pol}": config.pol != "I",
        "--niter 0": config.niter == 0,
        "--contsub": config.contsub is not None,
        "--compare": config.compare,
        "--continue": config.continue_run,
        "--data closure": config.data == "closure",
    }
    for option, given in refused.items():
        if given:
            raise ConfigError(
                f"radrim selfcal needs deconvolved images of Stokes I with all emission: leave out {option}."
            )

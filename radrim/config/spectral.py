"""Frequencies, velocities and channels as users write them: for --start, --width and --restfreq."""

import re
from dataclasses import dataclass
from typing import Any, Literal

from radrim.config.values import to_text
from radrim.errors import ConfigError

HERTZ = {"Hz": 1.0, "kHz": 1e3, "MHz": 1e6, "GHz": 1e9}
"""Units of frequencies [Hz]."""
SPEEDS = {"m/s": 1.0, "km/s": 1e3}
"""Units of velocities [m/s]."""

_VALUE = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(\S*)")


@dataclass(frozen=True)
class SpectralValue:
    """A place or a width along the spectral axis.

    Parameters
    ----------
    value : float
        Number of channels, frequency [Hz] or velocity [m/s].
    kind : {'channels', 'Hz', 'm/s'}
    """

    value: float
    kind: Literal["channels", "Hz", "m/s"]


def parse_spectral(name: str, text: str) -> SpectralValue:
    """A number of channels such as 10, a frequency such as 1420.4MHz, or a velocity such as -20km/s.

    Raises
    ------
    ConfigError
        The text is none of these.
    """
    found = _VALUE.fullmatch(text.strip())
    number = float(found[1]) if found else 0.0
    unit = found[2].lower() if found else ""
    for kind, units in (("Hz", HERTZ), ("m/s", SPEEDS)):
        factor = next((factor for known, factor in units.items() if known.lower() == unit), None)
        if factor is not None:
            return SpectralValue(number * factor, "Hz" if kind == "Hz" else "m/s")
    if found and not unit and number == int(number):
        return SpectralValue(number, "channels")
    raise ConfigError(
        f"--{name} '{text}' is no channel, frequency or velocity: write a whole number of channels such as 10, or a "
        "number with a unit, such as 1420.4MHz or -20km/s."
    )


def to_start(name: str, value: Any) -> str:
    """Text of a place along the spectral axis, which `parse_spectral` reads."""
    text = to_text(name, value)
    parsed = parse_spectral(name, text)
    if parsed.kind != "m/s" and parsed.value < 0:
        raise ConfigError(f"--{name} {text} is below 0; only velocities can be.")
    return text


def to_width(name: str, value: Any) -> str:
    """Text of a width along the spectral axis, which `parse_spectral` reads; not 0."""
    text = to_text(name, value)
    if not parse_spectral(name, text).value:
        raise ConfigError(f"--{name} {text}: the width of channels cannot be 0.")
    return text

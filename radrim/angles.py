"""Parses and formats angles such as 1.5asec. This module does without numpy, so that help answers at once."""

import math
import re

from radrim.errors import ConfigError

# astropy reads "amin" as atto-minutes, so WSClean's spellings need a parser of their own.
_RADIANS = {
    "rad": 1.0,
    "deg": math.pi / 180,
    "amin": math.pi / 180 / 60,
    "arcmin": math.pi / 180 / 60,
    "asec": math.pi / 180 / 3600,
    "arcsec": math.pi / 180 / 3600,
    "masec": math.pi / 180 / 3600e3,
    "mas": math.pi / 180 / 3600e3,
    "uasec": math.pi / 180 / 3600e6,
    "uas": math.pi / 180 / 3600e6,
}
ARCSEC = _RADIANS["asec"]
_ANGLE = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([a-zA-Zµμ]*)\s*")


def parse_angle(text: str | float, name: str = "angle", default_unit: str | None = None) -> float:
    """Angle in radians from text such as ``1asec``, ``0.7amin``, ``2deg``, ``20uasec``.

    Parameters
    ----------
    text : str or float
        A number is accepted only together with `default_unit`.
    name : str
        Name of the angle in messages.
    default_unit : str, optional
        Unit of a number without one. By default such a number is refused.

    Raises
    ------
    ConfigError
        The text is not a number, has an unknown unit, or no unit.
    """
    match = _ANGLE.fullmatch(str(text))
    units = "deg, amin, asec, masec, uasec, rad"
    if match is None:
        raise ConfigError(f"{name} '{text}' is not an angle; write a number and a unit ({units}), such as 1.5asec.")
    unit = match[2].lower().replace("µ", "u").replace("μ", "u") or default_unit  # two characters that look alike
    if unit is None:
        raise ConfigError(f"{name} '{text}' has no unit; write one of {units}, such as {text}asec.")
    if unit not in _RADIANS:
        raise ConfigError(f"{name} '{text}' has the unknown unit '{match[2]}'; known are {units}.")
    return float(match[1]) * _RADIANS[unit]


def format_angle(radians: float, digits: int = 4) -> str:
    """An angle [rad] as text in a suitable unit, which `parse_angle` reads."""
    size = abs(radians)
    for unit, least in (("deg", 1.0), ("amin", 1.0), ("asec", 0.1), ("masec", 1.0)):
        # An angle that rounds to 1amin is written so, and not as 60asec.
        if size >= least * _RADIANS[unit] * (1 - 0.5 * 10.0**-digits):
            break
    else:
        unit = "uasec" if size else "asec"
    return f"{radians / _RADIANS[unit]:.{digits}g}{unit}"


def exact_angle(radians: float) -> str:
    """The shortest text that `parse_angle` reads as exactly this angle [rad]."""
    texts = [f"{radians / _RADIANS[unit]:.12g}{unit}" for unit in ("deg", "amin", "asec", "masec", "uasec")]
    return min((text for text in texts if parse_angle(text) == radians), key=len, default=f"{radians!r}rad")

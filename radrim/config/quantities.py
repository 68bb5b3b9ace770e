"""Parsers of numbers with units, for the command line, TOML files and Python.

A number without a unit is in the option's own, which its help names. Units of flux, length in wavelengths, time, length
and noise take metric prefixes, which are case-sensitive: mJy is a thousandth of a Jy, MJy a million.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from radrim.config.values import to_number
from radrim.errors import ConfigError

_PREFIXES = {"": 1.0, "n": 1e-9, "u": 1e-6, "µ": 1e-6, "μ": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9}

FLUX = {f"{prefix}{unit}": factor for prefix, factor in _PREFIXES.items() for unit in ("Jy", "Jy/beam")}
"""Units of flux [Jy], or [Jy/beam]."""
WAVELENGTHS = {
    f"{prefix}{unit}": _PREFIXES[prefix]
    for prefix in ("", "k", "M", "G")
    for unit in ("lambda", "λ", "l", "wavelengths")
}
"""Units of baselines [wavelengths]."""
METRES = {"m": 1.0, "km": 1e3, "cm": 1e-2}
"""Units of lengths [m]."""
SECONDS = {"s": 1.0, "sec": 1.0, "ms": 1e-3, "min": 60.0, "h": 3600.0}
"""Units of times [s]."""
HOURS = {unit: factor / 3600 for unit, factor in SECONDS.items()}
"""Units of times [h]."""
MINUTES = {unit: factor / 60 for unit, factor in SECONDS.items()}
"""Units of times [min]."""

_QUANTITY = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([^\d\s.+-]\S*)\s*")


def quantity(
    units: Mapping[str, float], low: float, high: float, example: str, *, open_low: bool = False
) -> Callable[[str, Any], float]:
    """The parser of a number within limits, with or without one of `units`.

    Parameters
    ----------
    units : mapping of str to float
        Each unit in the option's own.
    low, high : float
        Limits, in the option's own unit.
    example : str
        Value for the message about an unknown unit, such as '1mJy'.
    open_low : bool
        Whether `low` itself is refused.
    """

    def parse(name: str, value: Any) -> float:
        match = _QUANTITY.fullmatch(value) if isinstance(value, str) and not _is_number(value) else None
        if match is None:
            return to_number(name, value, float, low, high, open_low=open_low)
        if match[2] not in units:
            raise ConfigError(
                f"--{name} '{value}' has the unknown unit '{match[2]}'; write it such as {example}. Known are "
                f"{', '.join(unit for unit in units if unit.isascii() and '/' not in unit)}."
            )
        return to_number(name, float(match[1]) * units[match[2]], float, low, high, open_low=open_low)

    return parse


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

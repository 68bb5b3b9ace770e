"""Parsers of option values: from text, numbers or lists, as the command line, a TOML file or Python gives them.

Every parser takes the option's name and the raw value, and raises ConfigError with that name.
"""

import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from radrim.angles import parse_angle
from radrim.config.toml_file import nearest
from radrim.errors import ConfigError
from radrim.stokes import STOKES

BEAMS = (
    "none", "auto", "airy", "gauss", "vla", "meerkat", "atca", "gmrt", "alma", "askap", "wsrt", "vlba",
)  # fmt: skip
"""Patterns of the primary beam; those with the name of a telescope are in `radrim.measure.beams.telescopes`."""

Parser = Callable[[str, Any], Any]
"""Takes an option's name and its raw value; returns the parsed value."""
Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Weighting:
    """Scheme of the imaging weights: 'natural', 'uniform' or 'briggs'; `robust` is for 'briggs' alone."""

    kind: str = "briggs"
    robust: float = 0.0

    def __str__(self) -> str:
        return f"briggs {self.robust:.12g}" if self.kind == "briggs" else self.kind


@dataclass(frozen=True)
class Taper:
    """Factors of the imaging weights by the length of the baseline.

    Parameters
    ----------
    gaussian : float, optional
        Width (FWHM) of the beam that a Gaussian taper makes [rad].
    inner, outer : (float, float), optional
        Length at which the weight is 0, and over what length it rises to 1 from there, outwards or inwards, as half a
        period of a cosine (Tukey) [wavelengths].
    """

    gaussian: float | None = None
    inner: tuple[float, float] | None = None
    outer: tuple[float, float] | None = None


NO_TAPER = Taper()


def to_number(
    name: str, value: Any, kind: type[Number], low: float = -math.inf, high: float = math.inf, *, open_low: bool = False
) -> Number:
    """A number of a kind (int or float) within limits."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = kind(value)
        if kind is int and not isinstance(value, str) and number != value:
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        what = "a whole number" if kind is int else "a number"
        raise ConfigError(f"--{name} takes {what}, got '{value}'.") from None
    if not (low < number if open_low else low <= number) or not number <= high:
        left = f"{'above' if open_low else 'at least'} {low:g}" if low > -math.inf else ""
        right = f"at most {high:g}" if high < math.inf else ""
        limits = " and ".join(part for part in (left, right) if part)
        raise ConfigError(f"--{name} {value} is out of range: it must be {limits}.")
    return number


def numeric(
    kind: type[Number], low: float = -math.inf, high: float = math.inf, *, open_low: bool = False
) -> Callable[[str, Any], Number]:
    """The parser of a number of a kind (int or float) within limits."""
    return lambda name, value: to_number(name, value, kind, low, high, open_low=open_low)


def to_words(value: Any) -> list:
    """The words of text, separated by spaces or commas; the elements of a list; or the value alone."""
    if isinstance(value, str):
        return value.replace(",", " ").split()
    return list(value) if isinstance(value, Sequence) else [value]


def to_size(name: str, value: Any) -> tuple[int, ...]:
    """Width and height [pixel], both even; one number stands for both."""
    words = to_words(value)
    if len(words) == 1:
        words = words * 2
    if len(words) != 2:
        raise ConfigError(f"--{name} takes width and height in pixels, got '{value}'.")
    size = tuple(to_number(name, w, int, 32, 262144) for w in words)
    odd = [n for n in size if n % 2]
    if odd:
        raise ConfigError(
            f"--{name} {size[0]} {size[1]}: sizes must be even (the phase centre is pixel size/2); "
            f"use {odd[0] + 1} instead of {odd[0]}."
        )
    return size


def to_angle(name: str, value: Any) -> float:
    """An angle between 0 and 1 radian [rad]."""
    radians = parse_angle(value, f"--{name}")
    if not 0 < radians < 1:
        raise ConfigError(f"--{name} {value} is out of range: it must be above 0 and below 1 radian.")
    return radians


def to_beam(name: str, value: Any) -> tuple[float, float, float]:
    """Major and minor axis and position angle of a beam [rad]; without units arcsec and degrees, as in WSClean."""
    words = to_words(value)
    if len(words) != 3:
        raise ConfigError(f"--{name} takes major axis, minor axis and position angle, such as 5asec 4asec 30deg, "
                          f"got '{value}'.")  # fmt: skip
    major, minor = (parse_angle(word, f"--{name}", "asec") for word in words[:2])
    if not 0 < minor <= major < 1:
        raise ConfigError(f"--{name} {words[0]} {words[1]}: the major axis comes first, and both are above 0.")
    return major, minor, parse_angle(words[2], f"--{name}", "deg") % math.pi


def to_beam_size(name: str, value: Any) -> float:
    """The width of a circular beam [rad]; without a unit in arcsec, as in WSClean."""
    return to_angle(name, f"{value}asec" if re.fullmatch(r"\s*[\d.]+\s*", str(value)) else value)


def to_memory(name: str, value: Any) -> float:
    """A size such as 8GB, 8G or 500MiB, or 50% of the machine's memory; at least 100 MB [bytes]."""
    match = re.fullmatch(r"\s*([0-9.]+)\s*(|[kKMGT]?i?B?|%)\s*", str(value))
    if not match or match[2] in ("i", "iB") or isinstance(value, bool):
        raise ConfigError(f"--{name} takes a size such as 8GB or 500MB, or a part such as 50%, got '{value}'.")
    number = to_number(name, match[1], float)
    if match[2] == "%":
        size = to_number(name, number, float, 1, 100) / 100 * _whole_memory()
    else:
        unit = match[2].removesuffix("B")
        base = 1024 if unit.endswith("i") else 1000
        size = number * base ** ["", "K", "M", "G", "T"].index(unit.removesuffix("i").upper())
    if size < 1e8:
        raise ConfigError(f"--{name} {value} is out of range: it must be at least 100MB; write the unit, such as 8GB.")
    return size


def _whole_memory() -> int:
    """The machine's memory [bytes]."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def to_weight(name: str, value: Any) -> Weighting:
    """A `Weighting` from text such as 'natural' or 'briggs -0.5'."""
    if isinstance(value, Weighting):
        return value
    words = [str(w) for w in to_words(value)]
    kind = words[0].lower() if words else ""
    if kind in ("natural", "uniform") and len(words) == 1:
        return Weighting(kind)
    if kind == "briggs" and len(words) in (1, 2):
        return Weighting(kind, to_number("weight briggs", words[1] if len(words) == 2 else 0, float, -2, 2))
    raise ConfigError(
        f"--{name} '{value}' is unknown: write natural, uniform, or briggs with a robustness "
        "from -2 (nearly uniform) to 2 (nearly natural), such as briggs 0."
    )


def pair(kind: type, low: float = -math.inf) -> Parser:
    """The parser of a start and an end; numbers must rise."""

    def parse(name, value):
        words = to_words(value)
        if len(words) != 2:
            raise ConfigError(f"--{name} takes a start and an end, got '{value}'.")
        if kind is str:
            return str(words[0]), str(words[1])
        start, end = (to_number(name, word, kind, low) for word in words)
        if not start < end:
            raise ConfigError(f"--{name} {start} {end} is empty: the start must be below the end.")
        return start, end

    return parse


def to_integers(name: str, value: Any) -> tuple[int, ...]:
    """Numbers from 0 on, at least one."""
    if not to_words(value):
        raise ConfigError(f"--{name} is empty: write numbers such as 0,2.")
    return tuple(to_number(name, w, int, 0) for w in to_words(value))


def to_ranges(name: str, value: Any) -> tuple[int, ...]:
    """Channels: START and END (not included) of each range, one after the other."""
    numbers = [to_number(name, word, int, 0) for word in to_words(value)]
    if not numbers or len(numbers) % 2:
        raise ConfigError(f"--{name} takes a START and an END for each range of channels, got '{value}'.")
    for start, end in zip(numbers[::2], numbers[1::2], strict=True):
        if not start < end:
            raise ConfigError(f"--{name}: the range {start} {end} is empty: the start must be below the end.")
    return tuple(numbers)


def choice(*choices: str) -> "Choice":
    """The parser of one of several words, in any case."""
    return Choice(choices)


@dataclass(frozen=True)
class Choice:
    """Parser of one of several words, in any case; the help and the shell's completion list them."""

    choices: tuple[str, ...]

    def __call__(self, name: str, value: Any) -> str:
        """The word as it is spelled in `choices`."""
        for known in self.choices:
            if str(value).lower() == known.lower():
                return known
        raise ConfigError(f"--{name} '{value}' is unknown{_choose(value, self.choices)}")


def _choose(value: Any, choices: Sequence[str]) -> str:
    """The end of a message about a word that is none of the choices."""
    return f": choose one of {', '.join(choices)}{nearest(str(value).lower(), choices, '', '; ')}" + (
        "" if nearest(str(value).lower(), choices, "") else "."
    )


def to_pattern(name: str, value: Any) -> str:
    """The pattern of a primary beam; True stands for 'auto', False for 'none'."""
    if isinstance(value, bool):
        return "auto" if value else "none"
    if str(value).lower() not in BEAMS:
        raise ConfigError(f"--{name} '{value}' is an unknown pattern{_choose(value, BEAMS)}")
    return str(value).lower()


def to_stokes(name: str, value: Any) -> str:
    """Stokes parameters or correlations in FITS order, separated by commas: 'I,Q,U,V' from 'iquv'."""
    words = "".join(str(word).upper() for word in to_words(value))
    found = re.findall("[IQUV]|[XY]{2}|[RL]{2}", words)
    if not found or "".join(found) != words:
        raise ConfigError(
            f"--{name} '{value}' is unknown: choose from {', '.join(STOKES)}; several such as IQUV, I,V or XX,YY."
        )
    if len({len(stokes) for stokes in found}) > 1:
        raise ConfigError(
            f"--{name} '{value}' mixes Stokes parameters and correlations, which have different weights: image them "
            "one after the other."
        )
    return ",".join(sorted(set(found), key=STOKES.index))


def to_text(name: str, value: Any) -> str:
    """Text that is not empty, from text, a number or a path."""
    if not isinstance(value, (str, int, Path)) or isinstance(value, bool) or not str(value):
        raise ConfigError(f"--{name} takes text, got '{value}'.")
    return str(value)


def to_column(name: str, value: Any) -> str:
    """A column of visibilities; as in CASA, 'corrected', 'data' and 'model' in any case stand for three of them."""
    text = to_text(name, value)
    return {"corrected": "CORRECTED_DATA", "data": "DATA", "model": "MODEL_DATA"}.get(text.lower(), text)


def to_paths(name: str, value: Any) -> list[str | Path]:
    """A path, or a list of paths."""
    paths = [value] if isinstance(value, (str, Path)) else value
    if not isinstance(paths, Sequence) or not all(isinstance(path, (str, Path)) for path in paths):
        raise ConfigError(f"{name} takes the path of a Measurement Set or a list of paths, got '{value}'.")
    return list(paths)


def to_fields(name: str, value: Any) -> str:
    """Fields, as text separated by commas: from text, a number, or a list of both."""
    if isinstance(value, (list, tuple)) and value:
        return ",".join(to_text(name, word) for word in value)
    return to_text(name, value)


def to_flag(name: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise ConfigError(f"--{name} is on or off (true or false), got '{value}'.")
    return value

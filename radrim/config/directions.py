"""Directions on the sky as users write them: for --shift and --phase-centre. This module imports nothing heavy.

What a direction is in J2000 is found by `radrim.read.phase_centre`, when the data are read.
"""

import math
import re
from dataclasses import dataclass
from typing import Any

from radrim.angles import parse_angle
from radrim.config.values import to_text, to_words
from radrim.errors import ConfigError

FRAMES = {"J2000": "J2000", "FK5": "J2000", "ICRS": "ICRS", "GALACTIC": "GALACTIC", "GAL": "GALACTIC",
          "B1950": "B1950", "FK4": "B1950"}  # fmt: skip
"""Frames of directions by their spellings, in capitals."""
OFFSET = "OFFSET"
"""The frame of an offset from the phase centre of the data."""
BODIES = ("SUN", "MOON", "MERCURY", "VENUS", "MARS", "JUPITER", "SATURN", "URANUS", "NEPTUNE", "PLUTO", "TRACKFIELD")
"""Names that CASA takes for bodies that move."""

_NUMBER = r"(\d+(?:\.\d*)?|\.\d+)"
_REST = rf"(\d+)(?:[m'′:](?:{_NUMBER}[s\"″]?)?)?"
_HOURS = (rf"([-+]?)(\d+)h(?:{_REST})?", rf"([-+]?)(\d+):{_REST}")
# With dots, as CASA writes declinations, all three parts are needed: 12.5 could be a decimal number.
_DEGREES = (rf"([-+]?)(\d+)[d°](?:{_REST})?", rf"([-+]?)(\d+):{_REST}", rf"([-+]?)(\d+)\.(\d+)\.{_NUMBER}")


@dataclass(frozen=True)
class Direction:
    """A direction as it was written.

    Parameters
    ----------
    frame : str
        'J2000', 'ICRS', 'GALACTIC', 'B1950' or `OFFSET`.
    lon, lat : float
        Right ascension and declination, or galactic longitude and latitude [rad]; of an offset the angles towards the
        east and the north, measured along the tangent plane as pixels are.
    """

    frame: str
    lon: float
    lat: float


def parse_direction(name: str, text: str) -> Direction:
    """A direction such as 'J2000 12h30m49.4s +12d23m28s', 'galactic 283.78deg 74.49deg' or '+10arcmin -5arcmin'.

    Parameters
    ----------
    name : str
        The option, for messages.
    text : str

    Raises
    ------
    ConfigError
        The text is none of these.
    """
    words = text.replace(",", " ").split()
    frame = FRAMES.get(words[0].upper(), "") if words else ""
    if words and words[0].upper() in BODIES:
        raise ConfigError(
            f"--{name} {text}: bodies of the solar system are not followed. Shift the phases of the data to a fixed "
            "position first (CASA: fixplanets, phaseshift)."
        )
    places = words[1:] if frame else words
    if len(places) != 2:
        raise ConfigError(
            f"--{name} '{text}' is not a direction: write right ascension and declination, such as '12h30m49.4s "
            "+12d23m28s', after a frame if it is not J2000 (ICRS, galactic, B1950), or an offset from the phase centre "
            "with both signs, such as '+10arcmin -5arcmin'."
        )
    if not frame and all(_is_offset(place) for place in places):
        east, north = (parse_angle(place, f"--{name}") for place in places)
        return Direction(OFFSET, east, north)
    frame = frame or "J2000"
    lon, lat = _angle(name, places[0], frame != "GALACTIC"), _angle(name, places[1], False)
    if not abs(lat) <= math.pi / 2 * (1 + 1e-12):
        what = "latitude" if frame == "GALACTIC" else "declination"
        raise ConfigError(f"--{name} {text}: the {what} {places[1]} is not between -90 and +90 degrees.")
    return Direction(frame, lon % (2 * math.pi), lat)


def _is_offset(word: str) -> bool:
    """Whether a word is an angle with a sign, as offsets are written."""
    return re.fullmatch(r"[-+][\d.eE+-]+(deg|amin|arcmin|asec|arcsec|masec|mas|uasec|uas)", word.lower()) is not None


def _angle(name: str, word: str, hours: bool) -> float:
    """A coordinate [rad]: sexagesimal, in hours or in degrees, or a number with the unit deg or rad."""
    found = next(filter(None, (re.fullmatch(one, word.lower()) for one in (_HOURS if hours else _DEGREES))), None)
    if found:
        minutes, seconds = float(found[3] or 0), float(found[4] or 0)
        if minutes >= 60 or seconds >= 60:
            raise ConfigError(f"--{name}: {word} has minutes or seconds of 60 and more; correct it.")
        degrees = (float(found[2]) + minutes / 60 + seconds / 3600) * (15 if hours else 1)
        return math.radians(-degrees if found[1] == "-" else degrees)
    if re.fullmatch(rf"[-+]?{_NUMBER}(e[-+]?\d+)?(deg|rad)", word.lower()):
        return parse_angle(word, f"--{name}")
    example = "12h30m49.4s or 187.706deg" if hours else "+12d23m28s or 12.391deg"
    raise ConfigError(
        f"--{name}: '{word}' is not a coordinate; write it such as {example}. An offset from the phase centre has a "
        "sign and a unit in both parts, such as '+10arcmin -5arcmin'."
    )


def to_direction(name: str, value: Any) -> str:
    """Text of a direction, which `parse_direction` reads."""
    text = to_text(name, value)
    parse_direction(name, text)
    return text


def to_shift(name: str, value: Any) -> tuple[str, str]:
    """Right ascension and declination, J2000, as WSClean's -shift takes them."""
    words = [str(word) for word in to_words(value)]
    if len(words) != 2:
        raise ConfigError(
            f"--{name} takes right ascension and declination, such as 12h30m49.4s +12d23m28s, got '{value}'."
        )
    if parse_direction(name, " ".join(words)).frame == OFFSET:
        raise ConfigError(f"--{name} takes a position; an offset is written --phase-centre '{' '.join(words)}'.")
    return words[0], words[1]

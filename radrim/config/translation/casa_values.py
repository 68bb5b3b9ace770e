"""Converts values of tclean's parameters to words of `radrim image`."""

import math
import re
from collections.abc import Callable
from typing import Any

from radrim.config.translation.parameter import CannotTranslateError
from radrim.config.translation.row import Given

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
MOSAIC = ("mosaic", "mosaicft", "ftmosaic")
"""Gridders of joint mosaics."""
_WIDTHS = 2 * math.log(2) / math.pi
"""Width (FWHM) of a Gaussian [rad] times half that of its transform [wavelengths], in which tclean's tapers are."""


def items(value: Any) -> list[str]:
    """The elements of a list, or the value alone, as text without those that are empty."""
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    return [text for text in (str(one).strip() for one in values) if text]


def single(value: Any, what: str) -> str:
    """The only element; several equal ones count as one."""
    different = list(dict.fromkeys(items(value)))
    if len(different) != 1:
        raise CannotTranslateError(f"{what}: give one value")
    return different[0]


def option(name: str) -> Callable[[Any, Given], list[str]]:
    """The value unchanged, after an option."""
    return lambda value, _: [name, str(value)]


def angle(text: str) -> str:
    """An angle of CASA, by default in arcsec, as radrim reads it."""
    match = re.fullmatch(rf"({_NUMBER})\s*([a-zA-Z'\"]*)", text)
    if not match:
        raise CannotTranslateError(f"'{text}' is not an angle")
    return match[1] + {"": "asec", '"': "asec", "'": "amin"}.get(match[2], match[2])


def size(value: Any, _: Given) -> list[str]:
    """--size; radrim's images have even sides."""
    pixels = [int(float(text)) for text in items(value)]
    sides = [side + side % 2 for side in (pixels * 2 if len(pixels) == 1 else pixels)]
    if len(sides) != 2:
        raise CannotTranslateError("a width and a height are needed")
    return ["--size", *map(str, sides)]


def cell(value: Any, _: Given) -> list[str]:
    """--scale, for square pixels."""
    return ["--scale", angle(single(value, "pixels are square"))]


def windows(value: Any, _: Given) -> list[str]:
    """--spw and --chan-range, from '0,2', '0~3' and '0:10~19'."""
    text = single(value, "one selection for all Measurement Sets").replace(" ", "")
    chosen: list[int] = []
    ranges: set[str] = set()
    for part in text.split(","):
        spw, _colon, channels = part.partition(":")
        first, last = _range(spw) if spw != "*" else (-1, -1)
        chosen += range(first, last + 1)
        ranges.add(channels)
    if len(ranges) > 1 or any(";" in channels for channels in ranges):
        raise CannotTranslateError("one range of channels for all windows: --chan-range START END")
    words = ["--spw", ",".join(map(str, chosen))] if chosen != [-1] else []
    if channels := ranges.pop():
        first, last = _range(channels)
        words += ["--chan-range", str(first), str(last + 1)]
    return words


def _range(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)(?:~(\d+))?", text)
    if not match:
        raise CannotTranslateError("windows and channels are numbers: --spw 0,2 --chan-range START END")
    return int(match[1]), int(match[2] or match[1])


def times(value: Any, _: Given) -> list[str]:
    """--time-range, from '2010/04/24/08:00:00~2010/04/24/09:00:00'."""
    text = single(value, "one range of times")
    found = re.fullmatch(r"(\d{4})/(\d\d)/(\d\d)/([\d:.]+)~(?:(\d{4})/(\d\d)/(\d\d)/)?([\d:.]+)", text)
    if not found:
        raise CannotTranslateError("write --time-range START END in UTC, such as 2016-05-01T10:00:00")
    begin, end = "-".join(found.groups()[:3]), "-".join(found.groups()[4:7]) if found[5] else ""
    return ["--time-range", f"{begin}T{found[4]}", f"{end or begin}T{found[8]}"]


def uv_range(value: Any, _: Given) -> list[str]:
    """--minuv-l and --maxuv-l, from '>1klambda', '<10klambda', '1~10klambda'."""
    text = single(value, "one range of baselines").replace(" ", "")
    found = re.fullmatch(rf"([<>]?)({_NUMBER})(?:~({_NUMBER}))?(k|M|G)?lambda", text, re.IGNORECASE)
    if not found:
        raise CannotTranslateError("--minuv-l and --maxuv-l take wavelengths: divide metres by the wavelength")
    unit = f"{found[4] or ''}lambda"
    if found[3]:
        return ["--minuv-l", found[2] + unit, "--maxuv-l", found[3] + unit]
    if not found[1]:
        raise CannotTranslateError("write --minuv-l or --maxuv-l")
    return ["--maxuv-l" if found[1] == "<" else "--minuv-l", found[2] + unit]


def column(value: Any, _: Given) -> list[str]:
    """--data-column."""
    known = {"corrected": [], "data": ["--data-column", "DATA"]}
    if str(value).lower() not in known:
        raise CannotTranslateError("name the column: --data-column COLUMN")
    return known[str(value).lower()]


def direction(value: Any, _: Given) -> list[str]:
    """--phase-centre."""
    text = single(value, "one phase centre")
    if re.fullmatch(r"-?\d+", text):
        raise CannotTranslateError("write the position of that field: --phase-centre 'J2000 12h30m49.4s +12d23m28s'")
    if text.startswith("-"):  # argparse would read another option
        return [f"--phase-centre={text}"]
    return ["--phase-centre", text]


def restoring_beam(value: Any, given: Given) -> list[str]:
    """--common-beam, --beam-size or --beam-shape."""
    texts = items(value)
    if texts == ["common"]:
        return ["--common-beam"] if given["specmode"] in ("cube", "cubedata") else []
    if len(texts) == 1:
        return ["--beam-size", angle(texts[0])]
    if len(texts) not in (2, 3):
        raise CannotTranslateError("a restoring beam is 'common', a width, or major axis, minor axis, position angle")
    pa = texts[2] if len(texts) == 3 else "0deg"
    return ["--beam-shape", angle(texts[0]), angle(texts[1]), pa if re.search("[a-z]", pa) else f"{pa}deg"]


def stokes(value: Any, _: Given) -> list[str]:
    """--pol."""
    return ["--pol", "I" if str(value) == "pseudoI" else str(value)]


def taper(value: Any, _: Given) -> list[str]:
    """--taper, the width (FWHM) of a Gaussian in the image; also from half that in the uv plane, in wavelengths."""
    texts = items(value)
    if len(texts) > 1 and texts[0] != texts[1]:
        raise CannotTranslateError("tapers are circular: --taper ANGLE")
    if found := re.fullmatch(rf"({_NUMBER})\s*(?:(k|M)?lambda)?", texts[0]):
        wavelengths = float(found[1]) * {"k": 1e3, "M": 1e6}.get(found[2], 1.0)
        return ["--taper", f"{math.degrees(_WIDTHS / wavelengths) * 3600:.4g}asec"]
    return ["--taper", angle(texts[0])]


def weighting(value: Any, given: Given) -> list[str]:
    """--weight."""
    if value in ("natural", "uniform"):
        return ["--weight", value]
    if value in ("briggs", "briggsbwtaper"):
        return ["--weight", "briggs", f"{given['robust']:g}"]
    if value == "superuniform":
        return ["--weight", "uniform"]
    raise CannotTranslateError("--weight is natural, uniform or briggs ROBUST")


def mode(value: Any, given: Given) -> list[str]:
    """--channels-out and --cube."""
    if value in ("mfs", "mvc"):
        return []
    if value not in ("cube", "cubedata"):
        raise CannotTranslateError("moving sources are not followed; --channels-out N --cube images a cube")
    if int(given["nchan"]) < 2:
        raise CannotTranslateError("give the number of output channels: --channels-out N --cube")
    return ["--channels-out", str(int(given["nchan"])), "--cube"]


def _quantity(value: Any) -> str:
    """A quantity of CASA without blanks; empty for none."""
    return str(value).replace(" ", "")


def _option(name: str, text: str) -> list[str]:
    """An option with its value, which argparse would read as another option if it began with a minus sign."""
    return [f"{name}={text}"] if text.startswith("-") else [name, text]


def start(value: Any, given: Given) -> list[str]:
    """--start; of channels without a width in Hz or km/s --chan-range."""
    text, width, count = _quantity(value), _quantity(given["width"] or 1), int(given["nchan"])
    if given["specmode"] not in ("cube", "cubedata"):
        return []
    if not text.isdigit():
        return _option("--start", text)
    if re.fullmatch(r"\d+", width) and count > 0:
        return ["--chan-range", text, str(int(text) + int(width) * count)]
    return ["--start", text]


def width(value: Any, given: Given) -> list[str]:
    """--width, unless a number of channels of --chan-range says it."""
    text, begin = _quantity(value), _quantity(given["start"])
    if given["specmode"] not in ("cube", "cubedata"):
        return []
    if re.fullmatch(r"\d+", text) and begin.isdigit():
        return []
    return _option("--width", text)


def velocities(value: Any, _: Given) -> list[str]:
    """--veltype."""
    if value not in ("radio", "optical"):
        raise CannotTranslateError("--veltype is radio or optical")
    return ["--veltype", str(value)]


def rest_frequency(value: Any, _: Given) -> list[str]:
    """--restfreq; a number without a unit is in Hz."""
    return ["--restfreq", _quantity(single(value, "one rest frequency"))]


def channel_weights(value: Any, given: Given) -> list[str]:
    """--weighting-per-channel, which natural weights do not need."""
    cube = given["specmode"] in ("cube", "cubedata") and given["weighting"] != "natural"
    return ["--weighting-per-channel"] if value and cube else []


def frame(value: Any, given: Given) -> list[str]:
    """--outframe, which counts for cubes."""
    if given["specmode"] != "cube":
        return []
    if str(value).upper() not in ("TOPO", "LSRK", "BARY"):
        raise CannotTranslateError("--outframe is TOPO, LSRK or BARY")
    return ["--outframe", str(value).upper()]


def gridder(value: Any, given: Given) -> list[str]:
    """--pb for mosaics."""
    if value in ("", "standard", "gridft", "wproject", "wprojectft", "widefield"):
        return []
    if value in MOSAIC:
        return [] if given["pbcor"] else ["--pb", "auto"]
    raise CannotTranslateError("there is no A-projection; --pb auto corrects the image for the primary beam")


def primary_beam(value: Any, _: Given) -> list[str]:
    """--pb."""
    return ["--pb", "auto"] if value else []


def beam_limit(value: Any, given: Given) -> list[str]:
    """--pb-limit, if there is a primary beam."""
    return ["--pb-limit", f"{abs(value):g}"] if given["pbcor"] or given["gridder"] in MOSAIC else []


def deconvolver(value: Any, given: Given) -> list[str]:
    """--spectral-terms for mtmfs, --solver entropy for mem."""
    if value == "mem":
        return ["--solver", "entropy"]
    terms = int(given["nterms"])
    if value != "mtmfs" or terms < 2:
        return []
    return ["--channels-out", str(4 * terms), "--spectral-terms", str(terms)]


def cycles(value: Any, _: Given) -> list[str]:
    """--max-major."""
    return ["--max-major", str(value)] if int(value) > 0 else []


def threshold(value: Any, _: Given) -> list[str]:
    """--threshold, in Jy without a unit."""
    return ["--threshold", str(value).replace("/beam", "").replace(" ", "")]


def mask(value: Any, _: Given) -> list[str]:
    """--mask, of a file."""
    text = single(value, "one mask")
    if "[" in text:
        raise CannotTranslateError("write the region into a file that ends in .crtf: --mask FILE.crtf")
    return ["--mask", text]


def save_model(value: Any, _: Given) -> list[str]:
    """Predicted visibilities in MODEL_DATA; a virtual model is none that other programs read."""
    if value == "none":
        return []
    if value == "modelcolumn":
        return ["--update-model"]
    raise CannotTranslateError("--update-model writes MODEL_DATA, which all programs read; there are no virtual models")


def refuse(why: str) -> Callable[[Any, Given], list[str]]:
    """Raise CannotTranslateError for any value."""

    def convert(_value: Any, _given: Given) -> list[str]:
        raise CannotTranslateError(why)

    return convert

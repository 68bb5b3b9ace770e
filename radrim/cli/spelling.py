"""WSClean's spelling on radrim's command line: one dash, numbers of values that vary, and options that radrim lacks."""

import itertools
import os
from collections.abc import Sequence

from radrim.config.directions import FRAMES
from radrim.config.options import ImageConfig
from radrim.config.values import BEAMS

IMAGING = ("image", "plan", "compare", "selfcal")
"""Commands with the options of `radrim image`."""
CENTRES = ("--phase-centre", "--phase-center", "--phasecentre", "--phasecenter")
"""Spellings of an option whose value is often written without quotes."""


def wsclean_spelling(argv: Sequence[str]) -> list[str]:
    """Convert WSClean's spelling to argparse's: long options with one dash, options with a varying number of values."""
    known = known_options()
    out: list[str] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        if word.startswith("-") and not word.startswith("--") and word[1:].split("=")[0] in known:
            word = f"-{word}"
        if word == "--weight" or word.startswith("--weight="):
            scheme = word.removeprefix("--weight=") if "=" in word else "".join(words[:1])
            del words[: "=" not in word]
            # argparse would read a following file name as the robustness, or "-0.5" as an option.
            if scheme.lower() == "briggs" and words and _is_number(words[0]):
                scheme = f"{scheme} {words.pop(0)}"
            word = f"--weight={scheme}"
        elif word == "--shift" and len(words) > 1:  # argparse would read a southern declination as an option
            word = f"--shift={words.pop(0)} {words.pop(0)}"
        elif word == "--beam-shape" and len(words) > 2:
            word = f"--beam-shape={words.pop(0)} {words.pop(0)} {words.pop(0)}"
        elif word in CENTRES and len(words) > 2 and words[0].upper() in FRAMES:  # without quotes
            word = f"{word}={' '.join(words[:3])}"
            del words[:3]
        elif word in ("--start", "--width") and "".join(words[:1]).startswith("-") and words[0][1:2].isdigit():
            word = f"{word}={words.pop(0)}"  # a velocity, which argparse would read as an option
        elif word == "--contsub-channels":
            # All numbers that follow: argparse would read a following file name as one more.
            numbers = list(itertools.takewhile(_is_number, words))
            del words[: len(numbers)]
            word = f"{word}={' '.join(numbers)}"
        # Without a pattern it means auto; the next word is then another option or a Measurement Set.
        if word == "--pb" and not _is_pattern("".join(words[:1])):
            word = "--pb=auto"
        out.append(word)
    return out


def translate_flags(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Arguments of a command with WSClean's own options replaced, and notes; see `radrim.config.translation`.

    Raises
    ------
    ConfigError
        An option of WSClean that radrim does not have.
    """
    if not argv or argv[0] not in IMAGING:
        return list(argv), []
    from radrim.config.translation.wsclean import to_radrim_words

    return to_radrim_words(argv, known_options())


def known_options() -> set[str]:
    """Names of the options of `radrim image`, without dashes."""
    known = {"quiet", "debug", "config", "uv-range", "version", "log", "help"}
    for name, field in ImageConfig.options().items():
        prefixes = ("", "no-") if isinstance(field.default, bool) else ("",)
        known |= {prefix + spelling for spelling in (name, *field.metadata["aliases"]) for prefix in prefixes}
    return known


def _is_pattern(word: str) -> bool:
    """Whether a word after --pb is a pattern, though perhaps an unknown one, rather than an option or a file."""
    return word.lower() in BEAMS or (word.isalpha() and not os.path.exists(word))


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True

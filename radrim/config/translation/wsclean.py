"""Translates WSClean's options, within `radrim image` and as whole commands."""

import itertools
import re
import shlex
from collections.abc import Collection, Sequence
from pathlib import PurePath

from radrim.config.toml_file import nearest
from radrim.config.translation.result import Translation
from radrim.config.translation.row import Kind, Row
from radrim.config.translation.wsclean_rows import BY_NAME
from radrim.errors import ConfigError

PROGRAMS = ("wsclean", "wsclean-mp")
JOINED = ("fit-spectral-pol", "fit-spectral-log-pol", "spectral-terms")
"""Options that say how joined channels are fitted."""


def to_radrim_words(argv: Sequence[str], known: Collection[str]) -> tuple[list[str], list[str]]:
    """Replace the options that only WSClean has in arguments of `radrim image`.

    Parameters
    ----------
    argv : sequence of str
    known : collection of str
        Names of radrim's own options, without dashes.

    Returns
    -------
    words : list of str
        The same arguments with radrim's options.
    notes : list of str
        Sentences on what was translated and left out; at most one of each.

    Raises
    ------
    ConfigError
        An option of WSClean that radrim does not have; the message says how it is done here.
    """
    out: list[str] = []
    left: list[str] = []
    changed: list[str] = []
    words = list(argv)
    given = {name for name in map(_name_of, argv) if name}
    while words:
        word = words.pop(0)
        row = BY_NAME.get(_name_of(word))
        if row is None or (row.name in known and not row.kind.refused and not _lacks_unit(word, row)):
            out.append(word)
            continue
        values = _take_values(row, words)
        if row.kind.refused:
            raise ConfigError(f"{word} is an option of WSClean that radrim does not have: {row.note}.")
        new = [] if row.name == "join-channels" and not _joins(argv, given) else row.words(values)
        if new:
            out += new
            if new in ([f"-{word}", *values], [word, *values]):  # only the dash differs
                continue
            changed.append(f"{' '.join([word, *values])} as {' '.join(new)}")
        else:
            left.append(f"{word} ({row.note})")
    notes = [f"Of WSClean's options, read: {'; '.join(changed)}."] if changed else []
    if left:
        notes.append(f"Of WSClean's options, left out: {', '.join(left)}.")
    return out, notes


def translate_wsclean(text: str | Sequence[str]) -> Translation:
    """The command of radrim that does what a command of WSClean does.

    Parameters
    ----------
    text : str or sequence of str
        A command line, or its words; what stands before the program's name, such as `mpirun -np 4`, is dropped.

    Raises
    ------
    ConfigError
        The command has an option that WSClean does not have, or a value is missing.
    """
    words = _words_of(text)
    done = Translation()
    found: dict[str, list[str]] = {}
    while words:
        if not words[0].startswith("-"):
            break
        word = words.pop(0)
        name = _name_of(word)
        if name not in BY_NAME:
            raise ConfigError(f"{word} is not an option of WSClean 3.1; {nearest(name, BY_NAME, 'is it newer?')}")
        found[name] = _take_values(BY_NAME[name], words)
    done.inputs = words
    if "predict" in found:
        return _prediction(done, found)
    arguments = [word for name, values in found.items() for word in (f"-{name}", *values)]
    for name, values in found.items():
        row = BY_NAME[name]
        shown = " ".join([f"-{name}", *values])
        if row.kind.refused:
            done.missing.append(f"{shown}: {row.note}.")
            continue
        new = [] if name == "join-channels" and not _joins(arguments, set(found)) else row.words(values)
        done.options += new
        if row.kind is Kind.OTHER and new:
            done.notes.append(f"{shown} is {' '.join(new)}" + (f": {row.note}." if row.note else "."))
        elif row.kind is Kind.LEFT_OUT or not new:
            done.notes.append(f"{shown} is left out: {row.note}.")
    _add_defaults(done, found)
    return done


def _add_defaults(done: Translation, found: dict[str, list[str]]) -> None:
    """Write out WSClean's defaults where radrim has others, and say what else differs."""
    if "name" not in found:
        done.options += ["--name", "wsclean"]
    if "weight" not in found:
        done.options += ["--weight", "uniform"]
        done.notes.append("WSClean's default is --weight uniform; radrim's is briggs 0.")
    if found.get("niter", ["0"]) == ["0"]:
        if "niter" not in found and "make-psf-only" not in found:
            done.options += ["--niter", "0"]
            done.notes.append("WSClean makes a dirty image without -niter; radrim deconvolves: --niter 0.")
        return
    done.notes.append("The minor cycle is learned; --solver clean is multi-scale CLEAN.")
    if not {"no-update-model-required", "update-model-required"} & set(found):
        done.notes.append("WSClean also writes MODEL_DATA; here --update-model does.")


def _prediction(done: Translation, found: dict[str, list[str]]) -> Translation:
    done.command = "predict"
    done.options = ["--name", *(found.pop("name", None) or ["wsclean"])]
    found.pop("predict")
    for name, option in (("field", "--field"), ("j", "--threads"), ("wgridder-accuracy", "--epsilon")):
        if name in found:
            done.options += [option, *found.pop(name)]
    for name, values in found.items():
        done.notes.append(f"{' '.join([f'-{name}', *values])} is left out: the model's files say it.")
    return done


def _words_of(text: str | Sequence[str]) -> list[str]:
    """The words of a command after the program's name."""
    if isinstance(text, str):
        try:
            words = shlex.split(re.sub(r"\\\r?\n", " ", text), comments=True)
        except ValueError as error:
            raise ConfigError(f"The command cannot be read ({error}); close all quotes.") from None
    else:
        words = list(text)
    program = next((k for k, word in enumerate(words) if PurePath(word).name in PROGRAMS), None)
    if program is None:
        raise ConfigError("There is no wsclean in the command; write it as 'wsclean -size 1024 1024 ... obs.ms'.")
    return words[program + 1 :]


def _name_of(word: str) -> str:
    """The name of an option, without dashes; empty for other words."""
    return re.sub("^--?", "", word) if re.match("--?[a-z]", word) else ""


def _lacks_unit(word: str, row: Row) -> bool:
    """Whether an option of both programs is written as WSClean's, whose angles have default units."""
    return not word.startswith("--") and row.name in ("scale", "taper-gaussian")


def _take_values(row: Row, words: list[str]) -> list[str]:
    """Remove the values of an option from the words that follow it."""
    if len(words) < row.values:
        raise ConfigError(
            f"-{row.name} takes {row.values} value{'s' * (row.values > 1)} in WSClean; add what is missing."
        )
    values = [words.pop(0) for _ in range(row.values)]
    if row.name == "weight" and values[0].lower() == "briggs" and words and re.fullmatch(r"[-+]?[\d.]+", words[0]):
        values.append(words.pop(0))
    return values


def _joins(argv: Sequence[str], given: set[str]) -> bool:
    """Whether -join-channels says something: for several channels of Stokes I, unless another option says how."""

    def value(*names: str) -> str:
        return next((b for a, b in itertools.pairwise(argv) if _name_of(a) in names), "")

    several = value("channels-out") not in ("", "0", "1")
    return several and value("pol").upper() in ("", "I") and not given & set(JOINED)

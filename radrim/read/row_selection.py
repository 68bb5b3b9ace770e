"""Rows by scan, array, intent and antenna, in a simple form of CASA's syntax, as conditions of TaQL.

Elements of a list are separated by commas: numbers, ranges such as 1~5, names, names with * and ?, and any of these
with ! in front for all others. Antennas are selected with all their baselines; ``A&B`` names a baseline, ``A,B&``
those among the antennas of a list, and ; separates such groups.
"""

import fnmatch
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from radrim.errors import ConfigError, InputError
from radrim.ms.opening import open_table
from radrim.ms.tables import MeasurementSet
from radrim.read.selection import Selection


@dataclass(frozen=True)
class RowSelectionSettings:
    """How what there is is listed in messages."""

    listed: int = 40
    """Number of names: arrays have up to two hundred antennas, observations as many scans."""


@dataclass(frozen=True)
class _Names:
    """What a list can name.

    Parameters
    ----------
    option : str
    numbers : list of int
        Numbers that there are.
    match : callable
        Numbers with a name or a pattern; none if there is no such name.
    listed : list of str
        What there is, for messages.
    """

    option: str
    numbers: list[int]
    match: Callable[[str], list[int]]
    listed: list[str]


def row_condition(ms: MeasurementSet, selection: Selection) -> tuple[str, list[str]]:
    """TaQL condition of the rows that are selected, empty for all, and the parts that name nothing in this set.

    Raises
    ------
    InputError
        The Measurement Set has no column of that kind.
    """
    parts, unknown = [], []
    for option, column in (("scan", "SCAN_NUMBER"), ("array", "ARRAY_ID"), ("intent", "STATE_ID")):
        text = getattr(selection, option)
        if text is None:
            continue
        chosen, missing = _numbers(text, _names_of(ms, option, column))
        parts.append(f"{column} IN [{','.join(map(str, chosen))}]" if chosen else "False")
        unknown += missing
    if selection.antenna is not None:
        condition, missing = _baselines(selection.antenna, _antennas(ms))
        parts.append(condition)
        unknown += missing
    return " AND ".join(parts), unknown


def check_known(sets: Sequence[MeasurementSet], selection: Selection) -> None:
    """Raise ConfigError for scans, arrays, intents and antennas that no Measurement Set has."""
    if not any((selection.scan, selection.array, selection.intent, selection.antenna)):
        return
    found = [row_condition(ms, selection)[1] for ms in sets]
    nowhere = [text for text in found[0] if all(text in other for other in found)]
    if nowhere:
        raise ConfigError(f"{sets[0].path} {nowhere[0]}")


def _names_of(ms: MeasurementSet, option: str, column: str) -> _Names:
    with open_table(ms.tables) as main:
        if column not in main.colnames():
            raise InputError(f"{ms.path} has no column {column}, which --{option} needs; leave it out.")
        numbers = np.unique(main.getcol(column)).tolist() if main.nrows() else []
    if option != "intent":
        return _Names(option, numbers, lambda _name: [], [str(number) for number in numbers])
    states = {number: ms.states[number] for number in numbers if 0 <= number < len(ms.states)}
    intents = {number: [text, *text.split(",")] for number, text in states.items()}

    def match(name: str) -> list[int]:
        wanted = name.lower()
        return [n for n, texts in intents.items() if any(fnmatch.fnmatchcase(t.lower(), wanted) for t in texts)]

    listed = sorted({part for text in states.values() for part in text.split(",") if part})
    return _Names(option, [], match, listed)


def _antennas(ms: MeasurementSet) -> _Names:
    def match(name: str) -> list[int]:
        exact = [k for k, known in enumerate(ms.antennas) if known == name]
        return exact or [k for k, known in enumerate(ms.antennas) if fnmatch.fnmatchcase(known.lower(), name.lower())]

    listed = [f"{k} ({name})" for k, name in enumerate(ms.antennas)]
    return _Names("antenna", list(range(len(ms.antennas))), match, listed)


def _numbers(text: str, names: _Names) -> tuple[list[int], list[str]]:
    """Numbers that a list names, and a sentence on each element that names nothing."""
    included: set[int] = set()
    excluded: set[int] = set()
    words = [word.strip() for word in text.split(",") if word.strip()]
    missing = []
    for word in words:
        found = _named(word.removeprefix("!"), names)
        if not found:
            missing.append(_nothing(word.removeprefix("!"), names))
        (excluded if word.startswith("!") else included).update(found)
    if all(word.startswith("!") for word in words):
        included = set(names.numbers) if names.numbers else set(names.match("*"))
    return sorted(included - excluded), missing


def _named(word: str, names: _Names) -> list[int]:
    """Numbers of one element: a name first, then a number or a range."""
    if found := names.match(word):
        return found
    span = re.fullmatch(r"(\d+)(?:~(\d+))?", word)
    if not span:
        return []
    first, last = int(span[1]), int(span[2] or span[1])
    return [number for number in names.numbers if first <= number <= last]


def _nothing(word: str, names: _Names) -> str:
    """The end of a message about an element that names nothing."""
    few = RowSelectionSettings.listed
    more = f" and {len(names.listed) - few} more" if len(names.listed) > few else ""
    there = ", ".join(names.listed[:few]) + more if names.listed else "none"
    return f"has no {names.option} '{word}' (--{names.option}); it has {there}."


def _baselines(text: str, names: _Names) -> tuple[str, list[str]]:
    """TaQL condition of the baselines that --antenna names, and sentences on what names nothing."""
    included: list[str] = []
    excluded: list[str] = []
    missing: list[str] = []
    for group in (part.strip() for part in text.split(";") if part.strip()):
        if "&" in group:
            left, right = (side.strip() for side in group.split("&", 1))
            lists = [_numbers(side.removeprefix("!"), names) for side in (left, right or left)]
            missing += [sentence for _, sentences in lists for sentence in sentences]
            condition = _between(lists[0][0], lists[1][0])
            (excluded if left.startswith("!") else included).append(condition)
            continue
        for word in (part.strip() for part in group.split(",") if part.strip()):
            found = _named(word.removeprefix("!"), names)
            if not found:
                missing.append(_nothing(word.removeprefix("!"), names))
            (excluded if word.startswith("!") else included).append(_between(found, None))
    parts = [f"({' OR '.join(included)})"] if included else []
    parts += [f"NOT {condition}" for condition in excluded]
    return " AND ".join(parts) or "True", list(dict.fromkeys(missing))


def _between(left: Sequence[int], right: Sequence[int] | None) -> str:
    """TaQL condition of the baselines between antennas of two lists, or with any of one."""
    a = f"[{','.join(map(str, left))}]"
    if not left or (right is not None and not right):
        return "(False)"
    if right is None:
        return f"(ANTENNA1 IN {a} OR ANTENNA2 IN {a})"
    b = f"[{','.join(map(str, right))}]"
    return f"((ANTENNA1 IN {a} AND ANTENNA2 IN {b}) OR (ANTENNA1 IN {b} AND ANTENNA2 IN {a}))"

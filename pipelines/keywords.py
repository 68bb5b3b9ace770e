"""Writes radrim/config/keywords.py: the keyword arguments of `radrim.image` and their types, from the option tables.

    python pipelines/keywords.py > radrim/config/keywords.py

Run it after a change of `radrim.config.options.ImageConfig`; tests/config/test_keywords.py compares the two.
"""

import inspect

from radrim.config import directions, spectral, values
from radrim.config.options import ImageConfig

HEAD = '''"""Keyword arguments of `radrim.image` and of its relatives, with their types, for editors and type checkers.

Written by pipelines/keywords.py from the table of options, `radrim.config.options.ImageConfig`; do not edit it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypedDict
'''
SELECTING = (
    "data selection",
    {"pol", "pb", "outframe", "shift", "phase_centre", "start", "width", "restfreq", "veltype"},
)
"""Group of options that select data, and options of other groups that matter for reading."""

KNOWN = {
    values.to_text: "str | Path",
    values.to_column: "str",
    values.to_size: "int | tuple[int, int]",
    values.to_angle: "str",
    values.to_beam: "str | Sequence[str | float]",
    values.to_beam_size: "str | float",
    values.to_memory: "str | float",
    values.to_pattern: 'bool | Literal["none", "airy", "gauss"]',
    values.to_stokes: "str | Sequence[str]",
    values.to_weight: "str",
    values.to_fields: "str | int | Sequence[str | int]",
    values.to_integers: "int | Sequence[int]",
    values.to_ranges: "Sequence[int]",
    values.to_flag: "bool",
    spectral.to_start: "int | str",
    spectral.to_width: "int | str",
    directions.to_direction: "str",
    directions.to_shift: "tuple[str, str]",
}
"""What each parser takes from Python."""


def type_of(parse):
    """The type that a parser takes from Python, as source text."""
    if parse in KNOWN:
        return KNOWN[parse]
    if isinstance(parse, values.Choice):
        return f"Literal[{', '.join(repr(word) for word in parse.choices)}]".replace("'", '"')
    inner = inspect.getclosurevars(parse).nonlocals if parse.__closure__ else {}
    if parse.__qualname__.startswith("pair."):
        return "tuple[{0}, {0}]".format(inner["kind"].__name__)
    if isinstance(inner.get("kind"), type):
        return inner["kind"].__name__
    return "str | float"  # a number with a unit


def table(name, above, doc, options):
    """Source text of one TypedDict."""
    lines = [f"class {name}({above}, total=False):", f'    """{doc}"""', ""]
    lines += [f"    {option.name}: {type_of(option.metadata['parse'])} | None" for option in options]
    return "\n".join(lines)


def source():
    """Source text of radrim/config/keywords.py."""
    group, more = SELECTING
    options = list(ImageConfig.options().values())
    chosen = [one for one in options if one.metadata["group"] == group or one.name in more]
    others = [one for one in options if one not in chosen]
    tables = [
        table("SelectionOptions", "TypedDict", "Which data are read.", chosen),
        table("ImageOptions", "SelectionOptions", "All options of `radrim image`.", others),
    ]
    return "\n\n".join([HEAD, *(f"{one}\n" for one in tables)])


if __name__ == "__main__":
    print(source(), end="")

"""A field of `radrim.config.options.ImageConfig`: an option with its parser and its help."""

import dataclasses
from typing import Any

from radrim.config.values import Parser

GROUPS = ("image", "data selection", "weighting", "deconvolution", "computing")
"""Headings of the options in help texts."""


def option(
    group: str,
    parse: Parser,
    default: Any,
    help_text: str,
    metavar: str | tuple[str, str] | None = None,
    nargs: int | None = None,
    aliases: tuple[str, ...] = (),
) -> Any:
    """A field of ImageConfig; `aliases` are WSClean's spellings where they differ."""
    meta = {"group": group, "parse": parse, "help": help_text, "metavar": metavar, "nargs": nargs, "aliases": aliases}
    return dataclasses.field(default=default, metadata=meta)

"""One parameter of CASA's tclean."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from radrim.config.translation.row import Given, Kind


class CannotTranslateError(Exception):
    """A value that radrim has nothing for; the message says why, or what to do."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of tclean.

    Parameters
    ----------
    name : str
    default : object
        tclean's default. The default needs no translation, unless `always` is set.
    kind : Kind
    radrim : str
        What it is called in radrim, as shown to users.
    note : str
        As in `radrim.config.translation.row.Row`.
    convert : callable, optional
        The words of radrim for its value and all other parameters; raises CannotTranslateError.
    always : bool
        Whether the default is translated, too, because radrim has another.
    """

    name: str
    default: Any
    kind: Kind
    radrim: str = ""
    note: str = ""
    convert: Callable[[Any, Given], list[str]] | None = field(default=None, compare=False)
    always: bool = False

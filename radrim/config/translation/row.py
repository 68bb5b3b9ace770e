"""One row of the table of translations."""

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


class Kind(enum.Enum):
    """How an option of another program relates to radrim."""

    SAME = "same"
    """An option of the same name and meaning."""
    OTHER = "other name"
    """An option of another name, which the translation puts in its place."""
    LEFT_OUT = "not needed"
    """Has no effect on what radrim does, and is left out."""
    INSTEAD = "another way"
    """Refused: there is another way to do it, which the note names."""
    MISSING = "not there"
    """Refused: radrim cannot do it; the note says why, or what to use."""

    @property
    def refused(self) -> bool:
        """Whether a command with this option cannot be translated."""
        return self in (Kind.INSTEAD, Kind.MISSING)


Words = Sequence[str]
Values = Sequence[str]
Given = Mapping[str, Any]
"""All options of a command, by name."""


@dataclass(frozen=True)
class Row:
    """One option of WSClean or one parameter of tclean.

    Parameters
    ----------
    name : str
        Without dashes.
    kind : Kind
    radrim : str
        What it is called in radrim, as shown to users; empty if there is nothing to write.
    note : str
        What differs, why it is not needed or not there, or what to do instead. No full stop.
    values : int
        Number of values of WSClean's option.
    convert : callable or str, optional
        The words of radrim for its values: a template with {0}, or a function of the values.
    """

    name: str
    kind: Kind
    radrim: str = ""
    note: str = ""
    values: int = 0
    convert: Callable[[Values], list[str]] | str | None = field(default=None, compare=False)

    def words(self, values: Values) -> list[str]:
        """The words of radrim for values of WSClean's option."""
        if self.convert is None:
            return [f"--{self.name}", *values] if self.kind is Kind.SAME else []
        if isinstance(self.convert, str):
            return [word.format(*values) for word in self.convert.split()]
        return self.convert(values)

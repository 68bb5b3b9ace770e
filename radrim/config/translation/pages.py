"""The table of translations as pages of the documentation show it."""

import sys
from collections.abc import Mapping, Sequence

from radrim.config.translation.casa_rows import TCLEAN
from radrim.config.translation.parameter import Parameter
from radrim.config.translation.row import Kind, Row
from radrim.config.translation.wsclean_rows import WSCLEAN


def wsclean_tables() -> str:
    """All options of WSClean, as Markdown."""
    return _tables(WSCLEAN, "WSClean", "-")


def tclean_tables() -> str:
    """All parameters of tclean, as Markdown."""
    return _tables(TCLEAN, "tclean", "")


def _tables(headings: Mapping[str, Sequence[Row | Parameter]], program: str, dash: str) -> str:
    parts = []
    for heading, rows in headings.items():
        lines = [f"### {heading}", "", f"| {program} | radrim | |", "|---|---|---|"]
        lines += [f"| `{dash}{row.name}` | {_here(row)} | {row.note} |" for row in rows]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _here(row: Row | Parameter) -> str:
    """The middle column: the option of radrim, or how it relates."""
    shown = ", ".join(f"`{word}`" for word in row.radrim.split(", ")) if row.radrim else ""
    if row.kind in (Kind.SAME, Kind.OTHER):
        return shown
    return f"{row.kind.value}: {shown}" if shown else row.kind.value


if __name__ == "__main__":
    sys.stdout.write(tclean_tables() if sys.argv[1:] == ["tclean"] else wsclean_tables())

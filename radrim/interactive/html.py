"""Fragments of HTML that stand for an object in a notebook, in light and dark themes."""

import base64
import html
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

_FRAME = (
    "display:flex;flex-wrap:wrap;gap:1.2em;align-items:flex-start;font-size:0.95em;line-height:1.45;max-width:72em;"
)
_NAME = "text-align:left;opacity:0.65;padding:0.1em 1em 0.1em 0;font-weight:normal;white-space:nowrap;background:none"
_VALUE = "text-align:left;padding:0.1em 0;background:none"
_HEAD = "text-align:left;opacity:0.65;font-weight:normal;padding:0.1em 1em 0.1em 0;border-bottom:1px solid #8a97a5"
_CELL = "text-align:left;padding:0.1em 1em 0.1em 0;background:none"
_NOTE = "border-left:3px solid #c8452d;padding-left:0.6em;margin:0.3em 0"


def card(title: str, picture: bytes | None, *parts: str) -> str:
    """A picture with its facts beside it, or below it where there is little room.

    Parameters
    ----------
    title : str
        Plain text.
    picture : bytes or None
        PNG.
    *parts : str
        HTML.
    """
    drawn = (
        f'<div><img src="{_uri(picture)}" alt="{html.escape(title)}" style="max-width:100%"></div>' if picture else ""
    )
    head = f'<div style="font-weight:600;font-size:1.1em;margin-bottom:0.3em">{html.escape(title)}</div>'
    return f'<div style="{_FRAME}">{drawn}<div style="flex:1;min-width:18em">{head}{"".join(parts)}</div></div>'


def _uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def facts(rows: Mapping[str, str]) -> str:
    """A table of names and values, which are plain text."""
    lines = "".join(
        f'<tr style="background:none"><th style="{_NAME}">{html.escape(name)}</th>'
        f'<td style="{_VALUE}">{html.escape(value)}</td></tr>'
        for name, value in rows.items()
    )
    return f'<table style="border-collapse:collapse;margin:0">{lines}</table>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with a head; cells are plain text."""
    top = "".join(f'<th style="{_HEAD}">{html.escape(name)}</th>' for name in head)
    lines = "".join(
        '<tr style="background:none">' + "".join(f'<td style="{_CELL}">{html.escape(c)}</td>' for c in row) + "</tr>"
        for row in rows
    )
    return (
        f'<table style="border-collapse:collapse;margin:0.4em 0"><tr style="background:none">{top}</tr>{lines}</table>'
    )


def notes(texts: Sequence[str]) -> str:
    """Sentences that the reader should not miss."""
    return "".join(f'<div style="{_NOTE}">{html.escape(text)}</div>' for text in texts)


def links(paths: Mapping[str, Path]) -> str:
    """Links to files by what they are.

    They are relative to the current folder for files below it, which notebooks open; others are shown by their path.
    """
    return " · ".join(_link(what, path) for what, path in paths.items())


def _link(what: str, path: Path) -> str:
    relative = os.path.relpath(path)
    inside = not relative.startswith(os.pardir)
    target = relative if inside else Path(path).absolute().as_uri()
    name = html.escape(Path(path).name)
    return f'<a href="{html.escape(target)}" target="_blank" title="{name}">{html.escape(what)}</a>'

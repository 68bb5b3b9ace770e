"""The log of one call in a notebook: one block, updated in place, that folds up into a line when the call is done.

It needs IPython alone, which a notebook has. Bars of rich need ipywidgets in notebooks, and a saved notebook shows
nothing of a widget.
"""

import html
import logging
import sys
import time
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class NotebookLogSettings:
    """How often the block is updated, and how much of the log it shows."""

    interval: float = 0.3
    """Least time between two updates [s]: each sends the whole block to the browser."""

    last: int = 5
    """Number of lines that are shown while the call runs; later all are, when the block is opened."""


_SHELL = "font-size:0.86em;line-height:1.45;margin:0.2em 0"
_LINES = "margin:0.2em 0 0 1em;white-space:pre-wrap;font-size:0.95em;background:none;border:0;padding:0"
_BAR = "display:inline-block;width:11em;height:0.5em;border:1px solid #8a97a5;border-radius:0.3em;margin-right:0.6em"
_WARNING = "border-left:3px solid #c8452d;padding-left:0.6em;margin:0.25em 0"


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


def notebook_log() -> "NotebookLog | None":
    """The block that shows the log now, if there is one."""
    found = (one for one in logging.getLogger("radrim").handlers if isinstance(one, NotebookLog))
    return next(found, None)


@dataclass
class _Bar:
    """What is being done, and how far it is: 0 to 1, or None if unknown."""

    label: str
    part: float | None = None


@dataclass
class _Told:
    """What was logged: lines, and which of them are warnings."""

    lines: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class NotebookLog(logging.Handler):
    """Shows records in the output of the running cell.

    Parameters
    ----------
    settings : NotebookLogSettings

    Attributes
    ----------
    failed : bool
        Whether the call has raised an error; set it before `close`.
    """

    def __init__(self, settings: NotebookLogSettings = NotebookLogSettings()) -> None:
        super().__init__(logging.INFO)
        self.failed = False
        self._settings, self._told = settings, _Told()
        self._bar: _Bar | None = None
        self._start, self._shown = time.monotonic(), -1e9
        self._display: Any = None

    def emit(self, record: logging.LogRecord) -> None:
        """Add a record."""
        try:
            text = record.getMessage()
            self._told.lines.append(text)
            if record.levelno >= logging.WARNING:
                self._told.warnings.append(text)
            self._update()
        except Exception:  # noqa: BLE001 - as every logging handler does
            self.handleError(record)

    def progress(self, label: str, part: float | None) -> None:
        """Show how far something is: `part` is 0 to 1, or None if unknown. An empty label ends it."""
        self._bar = _Bar(label, part) if label else None
        self._update()

    def close(self) -> None:
        """Fold the block up."""
        if self._display is not None or self._told.lines:
            self._bar = None
            self._send(self._folded())
        super().close()

    def _update(self):
        now = time.monotonic()
        if now - self._shown >= self._settings.interval:
            self._shown = now
            self._send(self._running())

    def _send(self, page):
        from IPython.display import display

        data = {"text/html": page, "text/plain": "\n".join(self._told.lines)}
        if self._display is None:
            self._display = display(data, raw=True, display_id=True)
        else:
            self._display.update(data, raw=True)

    def _running(self):
        """The last lines, and a bar."""
        lines = html.escape("\n".join(self._told.lines[-self._settings.last :]))
        return f'<div style="{_SHELL}">{self._drawn_bar()}<pre style="{_LINES}">{lines}</pre></div>'

    def _drawn_bar(self):
        if self._bar is None:
            return f"radrim, {time.monotonic() - self._start:.0f} s"
        part = self._bar.part
        full = "" if part is None else f"{min(max(part, 0), 1):.0%}"
        inner = f'<span style="display:block;height:100%;width:{full or "0"};background:#2f6c9e"></span>'
        return f'<span style="{_BAR}">{inner}</span>{html.escape(self._bar.label)} {full}'

    def _folded(self):
        """One line that opens to all lines; warnings stay visible."""
        count, told = len(self._told.lines), self._told
        end = "stopped by an error" if self.failed else "done"
        head = f"radrim: {end} after {time.monotonic() - self._start:.1f} s, {count} line{'s' * (count != 1)} of log"
        warnings = "".join(f'<div style="{_WARNING}">{html.escape(text)}</div>' for text in told.warnings)
        lines = html.escape("\n".join(told.lines))
        return (
            f'<details style="{_SHELL}"><summary>{head}</summary><pre style="{_LINES}">{lines}</pre></details>'
            f'<div style="{_SHELL}">{warnings}</div>'
        )

"""Shows the log of a call from Python, in the way that suits where it is called from.

A library leaves the log to its caller. But someone who images at a prompt or in a notebook wants to see what happens,
and should not have to set up the logging module for it. `told` shows the log while its `with` block runs:

- in a notebook, in one block that is updated in place and folds up in the end (`radrim.runtime.notebook_log`);
- at a prompt, as lines on the standard output;
- in a script, only if asked. Python itself prints warnings.

Where the logger 'radrim' already has someone who gets its messages, nothing is added.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from radrim.runtime.notebook_log import NotebookLog, in_notebook

log = logging.getLogger("radrim")


@contextmanager
def told(quiet: bool | None = None) -> Iterator[logging.Logger]:
    """Show the log of the `with` block.

    Parameters
    ----------
    quiet : bool, optional
        True: warnings only. False: always. None: in notebooks and at prompts.

    Yields
    ------
    Logger
        The logger 'radrim'.
    """
    before, passes_on = log.level, log.propagate
    handler = None if quiet or _heard() else _handler(always=quiet is False)
    try:
        if quiet:
            log.setLevel(logging.WARNING)
        elif handler:
            log.setLevel(min(before or logging.INFO, logging.INFO))
            log.propagate = False  # a root logger that prints warnings would print them twice
            log.addHandler(handler)
        yield log
    except BaseException:
        if isinstance(handler, NotebookLog):
            handler.failed = True
        raise
    finally:
        if handler:
            log.removeHandler(handler)
            handler.close()
        log.setLevel(before)
        log.propagate = passes_on


def _heard() -> bool:
    """Whether someone already gets the messages."""
    return log.hasHandlers() and log.isEnabledFor(logging.INFO)


def _handler(always: bool) -> logging.Handler | None:
    """What shows the messages, or None in a script."""
    if in_notebook():
        return NotebookLog()
    if always or hasattr(sys, "ps1") or sys.flags.interactive:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(PlainLines())
        return handler
    return None


class PlainLines(logging.Formatter):
    """Formats records as plain lines; only warnings begin with their level."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        text = record.getMessage()
        return f"warning: {text}" if record.levelno >= logging.WARNING else text

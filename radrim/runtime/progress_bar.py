"""Progress bars, shown on a terminal, or in the block of the log in a notebook."""

import logging
import sys
from contextlib import suppress
from typing import Self

from rich.errors import LiveError
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from radrim.runtime.notebook_log import notebook_log

log = logging.getLogger("radrim")


class ProgressBar:
    """A progress bar that is shown while its `with` block runs.

    It is shown on a terminal where the log level is INFO or lower.

    Parameters
    ----------
    label : str
        What is being done.
    total : int, optional
        Number of steps, with which the bar shows the remaining time; without it, the elapsed time alone.
    """

    def __init__(self, label: str, total: int | None = None) -> None:
        columns: list[ProgressColumn] = [TextColumn("{task.description}", markup=False), BarColumn()]
        columns += [TimeElapsedColumn()] if total is None else [MofNCompleteColumn(), TimeElapsedColumn()]
        if total is not None:
            columns += [TextColumn("left"), TimeRemainingColumn()]
        self._progress = Progress(*columns, transient=True, disable=not (sys.stdout.isatty() and _wanted()))
        self._task = self._progress.add_task(label, total=total)
        self._label, self._notebook = label, notebook_log()

    def __enter__(self) -> Self:
        with suppress(LiveError):  # within another bar, older versions of rich show that one alone
            self._progress.start()
        self._tell()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()
        if self._notebook:
            self._notebook.progress("", None)

    def _tell(self) -> None:
        """Show the progress in a notebook."""
        if self._notebook:
            task = self._progress.tasks[0]
            self._notebook.progress(self._label, task.completed / task.total if task.total else None)

    def expect(self, steps: int) -> None:
        """Set the number of all steps."""
        self._progress.update(self._task, total=steps)
        self._tell()

    def reach(self, steps: int) -> None:
        """Set the number of steps that are done."""
        self._progress.update(self._task, completed=steps)
        self._tell()

    def advance(self, steps: int = 1) -> None:
        """Add to the number of steps that are done."""
        self._progress.advance(self._task, steps)
        self._tell()


def _wanted() -> bool:
    """Whether lines of the level INFO go to the terminal: --quiet --log FILE writes them to the file alone."""
    consoles = [handler for handler in log.handlers if not isinstance(handler, logging.FileHandler)]
    return log.isEnabledFor(logging.INFO) and (not consoles or any(one.level <= logging.INFO for one in consoles))

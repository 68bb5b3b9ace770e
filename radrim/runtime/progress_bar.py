"""Progress bars, shown on a terminal, or in the block of the log in a notebook."""

import logging
import sys
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

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
        Number of steps; without it the bar shows the elapsed time alone.
    """

    def __init__(self, label: str, total: int | None = None) -> None:
        columns = [TextColumn("{task.description}", markup=False), BarColumn()]
        if total is not None:
            columns.append(MofNCompleteColumn())
        shown = sys.stdout.isatty() and log.isEnabledFor(logging.INFO)
        self._progress = Progress(*columns, TimeElapsedColumn(), transient=True, disable=not shown)
        self._task = self._progress.add_task(label, total=total)
        self._label, self._notebook = label, notebook_log()

    def __enter__(self) -> Self:
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

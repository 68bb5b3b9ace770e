"""Progress bars, shown on a terminal only."""

import logging
import sys
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

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

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def expect(self, steps: int) -> None:
        """Set the number of all steps."""
        self._progress.update(self._task, total=steps)

    def reach(self, steps: int) -> None:
        """Set the number of steps that are done."""
        self._progress.update(self._task, completed=steps)

    def advance(self, steps: int = 1) -> None:
        """Add to the number of steps that are done."""
        self._progress.advance(self._task, steps)

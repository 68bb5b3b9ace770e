"""Progress bars: on a terminal they say what is being done and how much of it is done; elsewhere they are silent."""

import logging
import sys
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

log = logging.getLogger("radrim")


class ProgressBar:
    """A bar while its block runs, gone after it.

    Parameters
    ----------
    label : str
        What is being done. Shown on a terminal, and when the log level is INFO or lower.
    total : int, optional
        Steps; without it the bar only shows that something is going on, and for how long.
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
        """There are so many steps in all."""
        self._progress.update(self._task, total=steps)

    def reach(self, steps: int) -> None:
        """So many steps are done now."""
        self._progress.update(self._task, completed=steps)

    def advance(self, steps: int = 1) -> None:
        """So many more steps are done."""
        self._progress.advance(self._task, steps)

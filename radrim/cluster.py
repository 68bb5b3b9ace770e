"""Running Dask graphs: on the threads of this machine, with the progress shown."""

import logging
import sys
from collections.abc import Sequence

import dask
from dask.callbacks import Callback
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

log = logging.getLogger("radrim")


def compute(tasks: Sequence, label, workers):
    """Compute Dask delayed objects together, on threads.

    Parameters
    ----------
    tasks : sequence of Delayed
    label : str
        What is being done, for the progress bar; shown on a terminal and when the log level is INFO or lower.
    workers : int
        Tasks that run at once.

    Returns
    -------
    tuple
        Their results, in order.
    """
    # Fusing would hide the tasks from the progress bar, and each of ours is worth seeing.
    with dask.config.set({"optimization.fuse.active": False}), _ProgressBar(label):
        return dask.compute(*tasks, scheduler="threads", num_workers=workers)


class _ProgressBar(Callback):
    """A bar that counts the graph's tasks; silent where nobody watches."""

    def __init__(self, label):
        super().__init__()
        self._label = label
        self._shown = sys.stdout.isatty() and log.isEnabledFor(logging.INFO)
        self._progress = None

    def __enter__(self):
        if self._shown:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._progress = Progress(*columns, transient=True)
            self._progress.start()
            self._bar = self._progress.add_task(self._label, total=None)
        return super().__enter__()

    def __exit__(self, *error):
        if self._progress is not None:
            self._progress.stop()
        return super().__exit__(*error)

    def _start_state(self, dsk, state):
        if self._progress is not None:
            self._progress.update(self._bar, total=len(state["ready"]) + len(state["waiting"]))

    def _posttask(self, key, result, dsk, state, worker_id):
        if self._progress is not None:
            self._progress.advance(self._bar)

import logging
import sys
import threading

import pytest
from dask import delayed

from radrim.cluster import compute


def test_results_come_in_order():
    """Results stand in the order of the tasks, whichever ends first."""
    tasks = [delayed(pow, pure=False)(k, 2) for k in range(20)]
    assert compute(tasks, "squares", 4) == tuple(k * k for k in range(20))


def test_no_more_tasks_at_once_than_asked_for():
    """With one worker no two tasks overlap; memory is planned for that."""
    running = threading.Semaphore(1)

    def work(k):
        assert running.acquire(blocking=False), "two tasks at once"
        try:
            threading.Event().wait(0.01)  # long enough for another task to begin
            return k
        finally:
            running.release()

    assert len(compute([delayed(work, pure=False)(k) for k in range(10)], "one by one", 1)) == 10


def test_an_error_reaches_the_caller():
    """The error of a task is raised as it is."""

    def fail():
        raise ValueError("task 3")

    with pytest.raises(ValueError, match="task 3"):
        compute([delayed(fail)()], "failing", 2)


@pytest.mark.parametrize(("terminal", "level"), [(True, logging.INFO), (False, logging.INFO), (True, logging.WARNING)])
def test_progress_is_shown_on_a_terminal_only(monkeypatch, capsys, terminal, level):
    """A bar for somebody who watches; nothing in log files or with --quiet."""
    logging.getLogger("radrim").setLevel(level)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    compute([delayed(pow, pure=False)(k, 2) for k in range(3)], "squares of numbers", 1)
    assert ("squares of numbers" in capsys.readouterr().out) == (terminal and level == logging.INFO)

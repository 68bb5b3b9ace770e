"""Measures how long each step of a run takes."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger("radrim")


class Clock:
    """The time spent in each step [s]."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._start = time.perf_counter()

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        """Add the time that a `with` block takes to a step."""
        start = time.perf_counter()
        yield
        self.seconds[step] = self.seconds.get(step, 0) + time.perf_counter() - start
        log.debug("%s: %.2f s", step, time.perf_counter() - start)

    @property
    def total(self) -> float:
        """Time since the start of the run [s]."""
        return time.perf_counter() - self._start

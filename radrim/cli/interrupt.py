"""Answers Ctrl-C at once, also while a library computes and Python cannot raise KeyboardInterrupt."""

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

STATUS = 130
"""Exit status after an interrupt: 128 and the number of the signal."""


@dataclass(frozen=True)
class InterruptSettings:
    """How an interrupt is answered."""

    grace: float = 0.25
    """Time in which the run may end by itself [s]. An answer within half a second is felt as immediate."""


class Interrupts:
    """What is to be done after Ctrl-C.

    Attributes
    ----------
    say : callable
        Prints the message; called once.
    force : bool
        Whether the process ends after `InterruptSettings.grace`, whatever it does then. Only for commands whose files
        are complete at any time.
    """

    def __init__(self, say: Callable[[], None]) -> None:
        self._say, self._lock, self._said = say, threading.Lock(), False
        self.force = False

    def say(self) -> None:
        """Print the message unless this was done."""
        with self._lock:
            if not self._said:
                self._said = True
                self._say()


@contextmanager
def answered_at_once(say: Callable[[], None]) -> Iterator[Interrupts]:
    """Answer SIGINT within half a second during the block, which runs in the main thread.

    A thread waits for the signal's number, which the system's handler writes to a pipe while the main thread computes.

    Parameters
    ----------
    say : callable
        Prints the message.
    """
    interrupts = Interrupts(say)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    over = threading.Event()
    thread = threading.Thread(target=_watch, args=(reader, interrupts, over), daemon=True)
    thread.start()
    try:
        yield interrupts
    finally:
        over.set()
        signal.set_wakeup_fd(before)
        with contextlib.suppress(OSError):
            os.write(writer, b"\0")  # wakes the thread
        thread.join()
        os.close(reader)
        os.close(writer)


def _watch(reader: int, interrupts: Interrupts, over: threading.Event) -> None:
    """Wait for SIGINT; say so, and end the process if it does not end by itself."""
    while not over.is_set():
        select.select([reader], [], [])
        if signal.SIGINT not in os.read(reader, 64) or over.is_set():
            continue
        interrupts.say()
        if interrupts.force and not over.wait(InterruptSettings.grace):
            end_now()


def end_now() -> None:
    """End the process and what it has started, without waiting for anything."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            if stream.isatty():
                stream.write("\033[?25h")  # a progress bar hides the cursor
            stream.flush()
    for child in _children():
        with contextlib.suppress(OSError):
            os.kill(child, signal.SIGTERM)
    os._exit(STATUS)


def _children() -> list[int]:
    """Processes that this one has started, as far as the system tells."""
    found = []
    with contextlib.suppress(OSError, ValueError):
        for task in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{task}/children", encoding="ascii") as file:
                found += [int(word) for word in file.read().split()]
    return found

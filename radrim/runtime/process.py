"""Runs commands in their own subprocesses, with a time limit, and measures their time and memory."""

import io
import os
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ProcessSettings:
    """How a running process is watched and ended."""

    grace: float = 0.0
    """Time between SIGTERM, which asks a process to end, and SIGKILL [s]; 0 sends SIGKILL at once."""
    check_interval: float = 0.05
    """Time between two checks of its memory, the time limit and the stop event [s]."""


@dataclass(frozen=True)
class Finished:
    """One finished command.

    Parameters
    ----------
    wall, cpu : float
        Wall time, and processor time of all its threads [s].
    memory : int
        Largest resident memory of the process [bytes].
    status : int
        Exit status; negative for the signal that ended it.
    stopped : bool
        Whether it was ended at the time limit.
    output : str
        Its standard output and standard error.
    """

    wall: float
    cpu: float
    memory: int
    status: int
    stopped: bool
    output: str


def run(
    words: Sequence[str],
    log: str | Path,
    limit: float | None = None,
    *,
    stop: threading.Event | None = None,
    folder: str | Path | None = None,
    heading: str | None = None,
    settings: ProcessSettings = ProcessSettings(),
) -> Finished:
    """Run a command to its end, or until its time is up.

    Parameters
    ----------
    words : sequence of str
        Program and arguments.
    log : str or Path
        File that receives its output.
    limit : float, optional
        Time limit [s].
    stop : Event, optional
        When it is set, the command is asked to end. The command then has its own session: Ctrl-C on the terminal
        reaches the caller alone, who decides with this event what ends.
    folder : str or Path, optional
        Current folder of the command.
    heading : str, optional
        Line that begins the output of this command in a log that is continued; by default the log begins anew.
    settings : ProcessSettings

    Raises
    ------
    OSError
        The program or the log's folder does not exist.
    """
    with open(log, "wb" if heading is None else "ab") as out:
        if heading is not None:
            out.write(f"{heading}\n".encode())
            out.flush()
        first = out.tell()
        start = time.perf_counter()
        process = subprocess.Popen(
            list(words),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=folder,
            start_new_session=stop is not None,
        )
        watch = _Watch(process.pid, limit, stop, settings)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:  # an interrupt: nobody would wait for the process any more
            process.kill()
            process.wait()
            raise
        finally:
            watch.end()
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
    with open(log, "rb") as file:
        file.seek(first)
        with io.TextIOWrapper(file, errors="replace") as reader:
            text = reader.read()
    memory = watch.memory or usage.ru_maxrss * 1024
    return Finished(wall, usage.ru_utime + usage.ru_stime, memory, process.returncode, watch.late, text)


class _Watch(threading.Thread):
    """Follows a running process: measures its memory, and ends it at the time limit or when the stop event is set.

    Parameters
    ----------
    pid : int
    limit, stop, settings
        As `run` takes them.

    Attributes
    ----------
    memory : int
        Largest resident memory so far, as the kernel keeps it [bytes]. What the last moment adds can be missed;
        ru_maxrss would not miss it, but starts from what the parent had when it made the process.
    late : bool
        Whether the process was ended at the time limit.
    """

    def __init__(self, pid: int, limit: float | None, stop: threading.Event | None, settings: ProcessSettings) -> None:
        super().__init__(daemon=True)
        self.memory, self.late = 0, False
        self._pid, self._settings, self._stop_event = pid, settings, stop
        self._due = None if limit is None else time.monotonic() + limit
        self._kill_at: float | None = None
        self._ended = threading.Event()
        self.start()

    def run(self) -> None:
        """Check the process until it has ended."""
        while not self._ended.is_set():
            self._measure()
            self._end_process()
            self._ended.wait(self._settings.check_interval)

    def end(self) -> None:
        """End the thread: the process has ended."""
        self._ended.set()
        self.join()

    def _measure(self) -> None:
        with suppress(OSError), open(f"/proc/{self._pid}/status") as file:  # it may have ended
            for line in file:
                if line.startswith("VmHWM"):
                    self.memory = max(self.memory, int(line.split()[1]) * 1024)

    def _end_process(self) -> None:
        """Send SIGTERM, and SIGKILL when the grace is over, to a process that shall end."""
        now = time.monotonic()
        if self._kill_at is None:
            stopped = self._stop_event is not None and self._stop_event.is_set()
            late = self._due is not None and now > self._due
            if not (stopped or late):
                return
            self.late, self._kill_at = not stopped, now + self._settings.grace
            if self._settings.grace:
                self._send(signal.SIGTERM)
        if now >= self._kill_at:
            self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        """Signal the process, and what it has started where it has its own session."""
        with suppress(ProcessLookupError):  # it has ended in the meantime
            (os.kill if self._stop_event is None else os.killpg)(self._pid, number)

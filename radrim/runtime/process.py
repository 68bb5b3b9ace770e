"""A command as a process of its own, and what it took: measured in the same way whatever the program."""

import os
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

INTERVAL = 0.05
"""Between two looks at a process's memory [s]."""


@dataclass(frozen=True)
class Finished:
    """One finished command.

    Parameters
    ----------
    wall, cpu : float
        Wall time, and time of all its threads on processors [s].
    memory : int
        Largest resident memory of the process [bytes].
    status : int
        Exit status; negative for a signal.
    stopped : bool
        Whether it was stopped because its time was up.
    output : str
        What it printed.
    """

    wall: float
    cpu: float
    memory: int
    status: int
    stopped: bool
    output: str


def run(words, log, limit=None) -> Finished:
    """Run a command to its end, or for at most `limit` seconds.

    Parameters
    ----------
    words : sequence of str
        Program and arguments.
    log : str or Path
        File that receives what it prints.
    limit : float, optional
        [s]

    Raises
    ------
    OSError
        The program or the log's folder is not there.
    """
    with open(log, "w") as out:
        start = time.perf_counter()
        process = subprocess.Popen(list(words), stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        stopped = threading.Event()

        def stop():
            stopped.set()
            process.kill()

        timer = threading.Timer(limit or threading.TIMEOUT_MAX, stop)
        timer.daemon = True
        timer.start()
        peak = _Peak(process.pid)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:  # an interrupt: nobody would wait for the process any more
            process.kill()
            process.wait()
            raise
        finally:
            timer.cancel()
            memory = peak.stop()
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
    text = Path(log).read_text(errors="replace")
    cpu = usage.ru_utime + usage.ru_stime
    return Finished(wall, cpu, memory or usage.ru_maxrss * 1024, process.returncode, stopped.is_set(), text)


class _Peak(threading.Thread):
    """Largest resident memory of a process so far, as the kernel keeps it; what its last moment adds can be missed.

    ru_maxrss would not miss it, but starts from what the parent had when it made the process.
    """

    def __init__(self, pid):
        super().__init__(daemon=True)
        self._path, self._peak, self._end = f"/proc/{pid}/status", 0, threading.Event()
        self.start()

    def run(self):
        while not self._end.is_set():
            try:
                with open(self._path) as file:
                    for line in file:
                        if line.startswith("VmHWM"):
                            self._peak = max(self._peak, int(line.split()[1]) * 1024)
            except OSError:  # it has ended
                break
            self._end.wait(INTERVAL)

    def stop(self):
        """End the thread; returns bytes."""
        self._end.set()
        self.join()
        return self._peak

"""Running radrim and WSClean side by side: wall time, peak memory, and the images they wrote."""

import os
import shlex
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits

# WSClean 3.1's most accurate settings: its default gridder and its "small inversion" are off by up to 10 % of the peak
# at the edge of an image, far more than the agreement that is to be shown.
WSCLEAN_ACCURATE = "-use-wgridder -no-small-inversion -reorder"


@dataclass
class Run:
    """One finished command: wall time [s], CPU time [s], peak memory of its processes [bytes], what it printed."""

    wall: float
    cpu: float
    memory: int
    output: str


def run(command, log, limit=None):
    """Run a command to its end; its output goes to `log` and the exit status must be 0.

    After `limit` seconds it is stopped, and None is returned.
    """
    with open(log, "w") as out:
        start = time.perf_counter()
        process = subprocess.Popen(shlex.split(command), stdout=out, stderr=subprocess.STDOUT)
        peak = _Peak(process.pid)
        timer = threading.Timer(limit or 1e9, process.kill)
        timer.daemon = True
        timer.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        timer.cancel()
        memory = peak.stop()
    if limit and wall > limit:
        return None
    text = Path(log).read_text()
    if process.returncode:
        raise SystemExit(f"exit status {process.returncode} from: {command}\n{text[-2000:]}")
    return Run(wall, usage.ru_utime + usage.ru_stime, max(memory, usage.ru_maxrss * 1024), text)


class _Peak(threading.Thread):
    """Largest resident memory of a process, read every 50 ms; ru_maxrss alone would count the parent at the fork."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self._path, self._peak, self._go = f"/proc/{pid}/status", 0, True
        self.start()

    def run(self):
        while self._go:
            try:
                with open(self._path) as file:
                    for line in file:
                        if line.startswith("VmHWM"):
                            self._peak = max(self._peak, int(line.split()[1]) * 1024)
            except OSError:
                break
            time.sleep(0.05)

    def stop(self):
        self._go = False
        self.join()
        return self._peak


def radrim(arguments, log):
    """Run `radrim` of this checkout."""
    return run(f"{sys.executable} -m radrim.cli {arguments}", log)


def wsclean(arguments, log, threads=None, limit=None, memory=None):
    """Run WSClean, for at most `limit` seconds, with at most so many bytes of memory."""
    bounds = f"prlimit --as={memory:.0f} " if memory else ""
    return run(f"{bounds}wsclean -j {threads or os.cpu_count()} -no-update-model-required {arguments}", log, limit)


def load(prefix, kind):
    """(image (y, x) float64, header) of PREFIX-KIND.fits."""
    with fits.open(f"{prefix}-{kind}.fits") as hdus:
        return np.asarray(hdus[0].data, float).reshape(hdus[0].data.shape[-2:]), hdus[0].header


def mad(image):
    """Noise from the median absolute deviation."""
    return 1.4826 * float(np.median(np.abs(image - np.median(image))))


def table(columns, rows):
    """A Markdown table as text."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])

"""Draws the pictures of the report in subprocesses, which load the drawing libraries while the image is made.

Loading matplotlib and astropy's axes, and drawing, take seconds of processor time. Deconvolution leaves some idle.
"""

import contextlib
import logging
import pickle
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # help and errors need no numpy
    from radrim.report.specs import Picture

log = logging.getLogger("radrim")


@dataclass(frozen=True)
class PainterSettings:
    """How many processes draw."""

    number: int = 2
    """Largest number of painters. More would hold memory for the whole run to save about a second."""


class Painters:
    """A pool of drawing processes, which a `with` block stops at its end.

    Parameters
    ----------
    number : int
        Number of processes, at most `PainterSettings.number`. If it is 0, or if no process can be started, this
        process draws.
    """

    def __init__(self, number: int = 0):
        # -P keeps the current folder off the module path: a user's file numpy.py there must not be imported.
        words = [sys.executable, "-P", "-m", "radrim.report.draw_worker"]
        self._processes: list[subprocess.Popen[bytes]] = []
        with contextlib.suppress(OSError):
            for _ in range(min(number, PainterSettings.number)):
                self._processes.append(
                    subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
                )

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for process in self._processes:
            process.kill()  # it holds no results
            process.wait()
            for pipe in filter(None, (process.stdin, process.stdout)):
                with contextlib.suppress(OSError):  # unsent bytes in the buffer
                    pipe.close()
        self._processes = []

    def draw(self, pictures: Mapping[str, "Picture"]) -> dict[str, list[bytes]]:
        """Draw pictures; returns the PNGs of each, one for each of its palettes."""
        names, done = iter(list(pictures)), {}

        def ask(process):
            for name in names:  # all painters take names from one iterator
                try:
                    pickle.dump(pictures[name], process.stdin, pickle.HIGHEST_PROTOCOL)
                    process.stdin.flush()
                    done[name] = pickle.load(process.stdout)  # noqa: S301 - from radrim's own process
                except (OSError, EOFError, pickle.UnpicklingError) as error:
                    log.debug("A drawing process has ended (%r); this process draws its pictures.", error)
                    return

        threads = [threading.Thread(target=ask, args=(process,)) for process in self._processes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        left = [name for name in pictures if name not in done]
        if left:
            from radrim.report.draw_worker import draw

            done |= {name: draw(pictures[name]) for name in left}
        return {name: done[name] for name in pictures}

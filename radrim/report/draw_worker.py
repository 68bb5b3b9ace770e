"""Draws pictures, in this process or as the subprocess of `radrim.report.draw_pool`.

The subprocess (python -P -m radrim.report.draw_worker) reads pickled `Picture`s from stdin and answers each on stdout
with a list of PNGs.
"""

import os
import pickle
import signal
import sys
from dataclasses import dataclass

import numpy as np

from radrim.geometry import ImageGrid
from radrim.report.specs import FigureKind, Norm, Picture, SkyStyle


@dataclass(frozen=True)
class WorkerSettings:
    """The priority of a drawing process."""

    niceness: int = 10
    """Niceness above that of the run, so that figures are drawn when the run leaves a processor idle."""


FIRST = Picture((3, 3), FigureKind.SKY, (np.eye(16), ImageGrid(16, 16, 1e-5), None, SkyStyle(Norm(0, 1, 0.1))))
"""Drawn once before the first request, so that modules and fonts are loaded by then."""


def draw(picture: Picture) -> list[bytes]:
    """Draw a picture; returns a PNG for each of its palettes."""
    from radrim.report.figures import FIGURES
    from radrim.report.render import encode, paint

    painted = paint(picture.size, FIGURES[picture.kind], *picture.args, dpi=picture.dpi)
    return [encode(painted, picture.dpi, palette) for palette in picture.palettes]


def main() -> None:
    """Answer requests until stdin is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and then closes stdin
    os.nice(WorkerSettings.niceness)
    draw(FIRST)
    answers, sys.stdout = sys.stdout.buffer, sys.stderr  # prints of libraries must not mix with the answers
    while True:
        try:
            picture = pickle.load(sys.stdin.buffer)  # noqa: S301 - from radrim's own process
        except EOFError:
            return
        pickle.dump(draw(picture), answers, pickle.HIGHEST_PROTOCOL)
        answers.flush()


if __name__ == "__main__":
    main()

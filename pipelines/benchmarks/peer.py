"""Running radrim and WSClean side by side: wall time, peak memory, and the images they wrote."""

import argparse
import os
import shlex
import sys
from pathlib import Path

import numpy as np
from astropy.io import fits

from radrim.runtime import process as child
from radrim.wsclean.command import ACCURATE, TINY

WSCLEAN_ACCURATE, WSCLEAN_TINY = (" ".join([*words, "-reorder"]) for words in (ACCURATE, TINY))

LARGEST = 600_000
"""Largest picture of a page [byte]."""


def run(command, log, limit=None):
    """Run a command to its end; its output goes to `log` and the exit status must be 0.

    After `limit` seconds it is stopped, and None is returned.
    """
    done = child.run(shlex.split(command), log, limit)
    if done.stopped:
        return None
    if done.status:
        raise SystemExit(f"exit status {done.status} from: {command}\n{done.output[-2000:]}")
    return done


def radrim(arguments, log):
    """Run `radrim` of this checkout."""
    return run(f"{sys.executable} -m radrim {arguments}", log)


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


def case_parser(description, cases, work):
    """A parser for scripts that go through observations one by one: --data, --work and --only."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/obs"), help="folder of the observations")
    parser.add_argument("--work", type=Path, default=Path(work), help="folder for what is made")
    parser.add_argument("--only", nargs="*", default=list(cases), choices=list(cases), help="some of the observations")
    return parser


def table(columns, rows):
    """A Markdown table as text."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])


def save_small(figure, path, dpi=110):
    """Save as PNG of 128 colours, with fewer dots where it would be larger than `LARGEST`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    while True:
        figure.set_dpi(dpi)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        picture = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())
        picture.quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
        if path.stat().st_size <= LARGEST or dpi <= 40:
            return
        dpi -= 5

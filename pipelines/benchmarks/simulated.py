"""What scripts that simulate their own observations share: the benchmark's modules, weights, and runs that may fail.

The visibilities come from the benchmark's simulator (../shared/bench), which is kept apart from radrim's on purpose.
"""

import importlib
import json
import shlex
import sys

import ducc0
import numpy as np

from radrim.config.values import to_weight
from radrim.geometry import ImageGrid
from radrim.runtime import process as child
from radrim.visibilities import Visibilities
from radrim.weight.imaging import apply_weights

PADDING = 2
"""Padding of both imagers: it sets the uv cell of the weighting."""


def bench_modules(folder):
    """The benchmark's modules `run`, `score` and `simulate_ms`, from its folder."""
    sys.path.insert(0, str(folder))
    return [importlib.import_module(name) for name in ("run", "score", "simulate_ms")]


def claim(work, settings):
    """Make the folder `work`; what an earlier run left there is gone on with, if it was of the same settings."""
    path = work / "settings.json"
    if path.exists() and (other := json.loads(path.read_text())) != settings:
        raise SystemExit(f"{work} holds a run of {other}, this one is of {settings}: give another --work.")
    work.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(settings))


def unit_block(uvw, freqs, flag=None):
    """Visibilities (data 0) of natural weight 1, or 0 where flagged: what the weighting is made from.

    Parameters
    ----------
    uvw : (..., 3) float64
        [m]
    freqs : (chan,) float64
        [Hz]
    flag : (row, chan) bool, optional
    """
    uvw = uvw.reshape(-1, 3)
    weight = np.ones((len(uvw), len(freqs)), np.float32)
    if flag is not None:
        weight[flag] = 0
    empty = np.zeros(len(uvw))
    return Visibilities(uvw, freqs, np.zeros(weight.shape, np.complex64), weight, empty, np.zeros((len(uvw), 2), int))


def weigh(blocks, size, cell, weighting):
    """Turn the natural weights 1 of `blocks` into imaging weights, in place.

    Parameters
    ----------
    size : int
    cell : float
        Pixel size [rad].
    weighting : str
        As on the command line, such as 'briggs 0.5'.

    Returns
    -------
    float
        Noise of the dirty image for a noise of 1 in the real and the imaginary part of Stokes I.
    """
    grid = ImageGrid(size, size, cell)
    return apply_weights(blocks, grid, to_weight("weight", weighting), padding=PADDING)[1]


def back_project(blocks, values, size, cell, w_term=True):
    """Sum of the samples `values` times their phases, (y, x), as FITS has it: y to the north, x to the west.

    Parameters
    ----------
    blocks : list of Visibilities
    values : list of (row, chan) arrays
        Weights times visibilities, in the order of `blocks`.
    """
    image = 0.0
    for block, value in zip(blocks, values, strict=True):
        image = image + ducc0.wgridder.vis2dirty(
            uvw=block.uvw * np.array([-1, -1, 1.0]), freq=block.freq, vis=value.astype(np.complex128), npix_x=size,
            npix_y=size, pixsize_x=cell, pixsize_y=cell, epsilon=1e-6, do_wgridding=w_term, divide_by_n=False,
        )  # fmt: skip
    return np.roll(image.T, -1, axis=1)[:, ::-1]


def run_imager(program, options, sets, log, limit=None):
    """Image `sets` with 'radrim' or 'WSClean'; wall seconds, and what went wrong (None if nothing did).

    Parameters
    ----------
    options : str
        Everything but the Measurement Sets.
    limit : float, optional
        [s]
    """
    if program == "radrim":
        words = [sys.executable, "-m", "radrim", "image", *map(str, sets), *shlex.split(options)]
    else:
        words = ["wsclean", "-no-update-model-required", *shlex.split(options), *map(str, sets)]
    try:
        done = child.run(words, log, limit)
    except OSError as error:
        return {"wall_s": float("nan"), "error": str(error)}
    if done.stopped:
        return {"wall_s": done.wall, "error": f"stopped after {limit:g} s"}
    if done.status:
        last = (done.output.strip().splitlines() or [""])[-1]
        return {"wall_s": done.wall, "error": f"exit status {done.status}: {last[-200:]}"}
    return {"wall_s": done.wall, "error": None}


def mean_and_spread(values, form=".1f"):
    """'mean ± standard deviation' of what is finite; '' of nothing."""
    values = np.asarray(values, float)
    values = values[np.isfinite(values)]
    return f"{values.mean():{form}} ± {values.std():{form}}" if len(values) else ""

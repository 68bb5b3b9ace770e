"""What WSClean runs for -python-deconvolution: hands residual, model and PSF to radrim in a process of its own.

`radrim plugin` writes a copy of this file with its first lines filled in. The copy runs in the interpreter inside
WSClean, which is whatever Python WSClean was linked with, finds whatever packages the PATH leads to, and need not be
radrim's: so it imports nothing but the standard library and numpy, which WSClean itself needs.

WSClean calls `deconvolve` once per major cycle; images are float64 there, but hold single precision.
"""

import atexit
import json
import os
import subprocess
import sys
from typing import Any

import numpy as np

COMMAND: list[str] = []
"""Interpreter, module and options of radrim's process."""
ROOT = ""
"""Where that interpreter finds radrim."""

_process = None


def deconvolve(residual: np.ndarray, model: np.ndarray, psf: np.ndarray, meta: Any) -> dict[str, Any]:
    """One minor cycle.

    Parameters
    ----------
    residual, model : (chan, pol, y, x) float64
        [Jy/beam] and [Jy/pixel].
    psf : (chan, y, x) float64
    meta
        WSClean's settings and where it stands.

    Returns
    -------
    dict
        'residual', 'model', 'level' [Jy/beam] and 'continue'.
    """
    header = {
        "shape": list(residual.shape),
        "freq": [channel.frequency for channel in meta.channels],
        "weight": [channel.weight for channel in meta.channels],
        "squared": bool(meta.square_joined_channels),
        "threshold": float(meta.final_threshold),
        "gain": float(meta.gain),
        "mgain": float(meta.mgain),
    }
    answer, found = _ask(header, (residual, model, psf), residual.shape)
    if answer.get("error"):
        _fail(answer["error"])
    meta.iteration_number += 1  # radrim has no components to count: WSClean's -niter counts minor cycles here
    return {"residual": residual, "model": found, "level": answer["level"], "continue": answer["continue"]}


def _ask(header, arrays, shape):
    """Send a header, and arrays in single precision; returns the answer and its array, if there is one."""
    process = _start()
    try:
        process.stdin.write(json.dumps(header).encode() + b"\n")
        for array in arrays:
            process.stdin.write(np.ascontiguousarray(array, np.float32).data)
        process.stdin.flush()
        answer = json.loads(process.stdout.readline() or "null")
    except BrokenPipeError:
        answer = None
    if answer is None:
        _fail(f"the process that deconvolves ended with status {process.wait()}; was its memory not enough?")
    if answer.get("error"):
        return answer, None
    size = 4 * int(np.prod(shape))
    found = np.frombuffer(process.stdout.read(size), np.float32).reshape(shape)
    return answer, found.astype(np.float64)


def _start():
    """Radrim's process; started by the first cycle, ends with WSClean."""
    global _process  # noqa: PLW0603 - WSClean calls a function, and the process lives from call to call
    if _process is None:
        # What leads WSClean's interpreter to its packages would lead radrim's astray.
        environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONHOME", "PYTHONPATH")}
        environment["PYTHONPATH"] = ROOT
        try:
            _process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        except OSError as error:
            _fail(f"{COMMAND[0]} cannot be started ({error}); was radrim moved? Make the plug-in anew: radrim plugin")
        atexit.register(_stop)
    return _process


def _stop():
    global _process  # noqa: PLW0603 - see `_start`
    if _process is not None:
        _process.communicate()  # closes its input, which ends it
        _process = None


def _fail(message):
    # WSClean 3.1 does not get as far as to print what an exception says.
    print(f"radrim: {message}", file=sys.stderr, flush=True)  # noqa: T201 - no logging is set up in WSClean
    raise RuntimeError(message)

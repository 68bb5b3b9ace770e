"""The plug-in for -python-deconvolution of WSClean: passes residual, model and PSF to a process of radrim.

`radrim plugin` writes a copy of this file with `COMMAND` and `ROOT` filled in. The copy runs in the Python interpreter
that WSClean was linked with, which need not have the packages of radrim. It therefore imports only the standard library
and numpy, which WSClean itself needs.

WSClean calls `deconvolve` once per major cycle. Its images are float64, but hold single precision.
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
"""Folder from which that interpreter imports radrim."""

_process = None


def deconvolve(residual: np.ndarray, model: np.ndarray, psf: np.ndarray, meta: Any) -> dict[str, Any]:
    """One minor cycle.

    Parameters
    ----------
    residual, model : (chan, pol, y, x) float64
        [Jy/beam] and [Jy/pixel].
    psf : (chan, y, x) float64
    meta
        Settings and state of WSClean.

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
    meta.iteration_number += 1  # the RIM has no components: -niter of WSClean counts minor cycles
    return {"residual": residual, "model": found, "level": answer["level"], "continue": answer["continue"]}


def _ask(header, arrays, shape):
    """Send a header, and arrays in single precision; returns the answer, and its array unless it is an error."""
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
        _fail(f"the deconvolving process ended with status {process.wait()}; it may have run out of memory")
    if answer.get("error"):
        return answer, None
    size = 4 * int(np.prod(shape))
    found = np.frombuffer(process.stdout.read(size), np.float32).reshape(shape)
    return answer, found.astype(np.float64)


def _start():
    """The process of radrim. The first cycle starts it, and it ends with WSClean."""
    global _process  # noqa: PLW0603 - WSClean calls a function, and the process lives from call to call
    if _process is None:
        # The paths of WSClean's interpreter do not apply to that of radrim.
        environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONHOME", "PYTHONPATH")}
        environment["PYTHONPATH"] = ROOT
        try:
            _process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        except OSError as error:
            _fail(
                f"{COMMAND[0]} cannot be started ({error}); if radrim was moved, make the plug-in again: radrim plugin"
            )
        atexit.register(_stop)
    return _process


def _stop():
    global _process  # noqa: PLW0603 - WSClean calls a function, and the process lives from call to call
    if _process is not None:
        _process.communicate()  # closes its input, which ends it
        _process = None


def _fail(message):
    # WSClean 3.1 does not print the message of an exception.
    print(f"radrim: {message}", file=sys.stderr, flush=True)  # noqa: T201 - no logging is set up in WSClean
    raise RuntimeError(message)

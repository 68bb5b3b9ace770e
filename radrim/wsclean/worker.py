"""The process of `radrim.wsclean.plugin`: reads images from a pipe, deconvolves them, and returns models.

A request is a line of JSON and three arrays in single precision (residual, model, PSF). The answer is a line of JSON
and one array (the model), or an error alone. The process ends when its standard input is closed.
"""

import json
import logging
import os
import sys
from collections.abc import Sequence

import numpy as np
import torch

from radrim.errors import InputError, RadrimError
from radrim.write.fits_input import read_fits, reading
from radrim.wsclean.minor import Call, MinorCycles
from radrim.wsclean.options import PluginOptions


def main(argv: Sequence[str] | None = None) -> None:
    """Answer requests until standard input is closed; the argument is `PluginOptions` as JSON."""
    options = PluginOptions.from_json((sys.argv[1:] if argv is None else argv)[0])
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # prints of libraries must not mix with the answers
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.WARNING)
    logging.getLogger("radrim").setLevel(logging.INFO)
    cycles = None
    while line := requests.readline():
        header = json.loads(line)
        shape = header.pop("shape")
        images = [_receive(requests, shape), _receive(requests, shape), _receive(requests, [shape[0], *shape[2:]])]
        try:
            cycles = cycles or _begin(options)
            model, level, go_on = cycles(Call(**header), *images)
        except (RadrimError, MemoryError) as error:
            answers.write(json.dumps({"error": str(error) or "there is not enough memory."}).encode() + b"\n")
        else:
            answers.write(json.dumps({"level": level, "continue": go_on}).encode() + b"\n")
            answers.write(np.ascontiguousarray(model, np.float32).data)
        answers.flush()


def _receive(stream, shape):
    size = 4 * int(np.prod(shape))
    return np.frombuffer(stream.read(size), np.float32).reshape(shape)


def _begin(options):
    threads = options.threads or len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    cuda = options.device != "cpu" and torch.cuda.is_available()
    if options.device == "cuda" and not cuda:
        raise InputError("--device cuda was asked for, but torch sees no NVIDIA GPU here; use --device cpu or auto.")
    mask = None
    if options.mask:
        what = f"--mask {options.mask}"
        with reading(what):
            image = np.array(read_fits(options.mask, what, any_extension=True).data)
        if image.size != image.shape[-1] * image.shape[-2]:
            raise InputError(f"{what} has the shape {image.shape}; only the two axes of the sky may be longer than 1.")
        mask = np.nan_to_num(image.reshape(image.shape[-2:])) != 0
    return MinorCycles(options, "cuda" if cuda else "cpu", mask, threads)


if __name__ == "__main__":
    main()

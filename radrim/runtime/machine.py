"""Where a run computes: threads and device."""

import os
from dataclasses import dataclass

from radrim.errors import ConfigError
from radrim.runtime.late_torch import has_gpu, use_threads


@dataclass(frozen=True)
class Machine:
    """Where a run computes.

    Parameters
    ----------
    threads : int
    device : str
        'cpu' or 'cuda'.
    """

    threads: int
    device: str


def choose_machine(device: str, threads: int | None) -> Machine:
    """Threads and device of a run.

    Parameters
    ----------
    device : str
        'cpu', 'cuda', or 'auto': CUDA where torch sees a GPU.
    threads : int or None
        None or 0: all processors that this process may use.

    Raises
    ------
    ConfigError
        'cuda' without a GPU.
    """
    gpu = device != "cpu" and has_gpu()
    if device == "cuda" and not gpu:
        raise ConfigError("--device cuda was asked for, but torch sees no NVIDIA GPU here; use --device cpu or auto.")
    threads = threads or len(os.sched_getaffinity(0))
    use_threads(threads)
    return Machine(threads, "cuda" if gpu else "cpu")

"""Parallel work on several parts of an image, each with a share of the threads."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Part = TypeVar("Part")
Result = TypeVar("Result")


def parallel_map(work: Callable[[Part], Result], parts: Sequence[Part], device: torch.device) -> Iterator[Result]:
    """`work(part)` for each part, in order, without gradients.

    Most operations of a network on one tile are too short for several threads. On CPUs several tiles therefore run in
    parallel, with few threads each. On GPUs they run one after the other.

    Parameters
    ----------
    work : callable
    parts : sequence
    device : torch.device

    Yields
    ------
    The results of `work`.
    """
    threads, inference = torch.get_num_threads(), torch.is_inference_mode_enabled()
    together = min(threads, len(parts)) if device.type == "cpu" else 1

    def alone(part: Part) -> Result:
        with torch.inference_mode(inference), torch.no_grad():  # threads inherit neither
            return work(part)

    if together < 2:
        yield from map(alone, parts)
        return
    try:
        with ThreadPoolExecutor(together, initializer=torch.set_num_threads, initargs=(threads // together,)) as pool:
            yield from pool.map(alone, parts)
    finally:
        torch.set_num_threads(threads)  # the setting in the pool's threads applies to all later threads

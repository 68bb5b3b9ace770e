"""Runs work on several parts of an image in parallel, each with a share of the threads."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Part = TypeVar("Part")
Result = TypeVar("Result")


def parallel_map(work: Callable[[Part], Result], parts: Sequence[Part], device: torch.device) -> Iterator[Result]:
    """Call `work(part)` for each part, without gradients; yield the results in order.

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
        with torch.inference_mode(inference), torch.no_grad():  # new threads do not inherit these modes
            return work(part)

    if together < 2:
        yield from map(alone, parts)
        return
    try:
        with ThreadPoolExecutor(together, initializer=torch.set_num_threads, initargs=(threads // together,)) as pool:
            yield from pool.map(alone, parts)
    finally:
        torch.set_num_threads(threads)  # the pool has changed it for all later threads

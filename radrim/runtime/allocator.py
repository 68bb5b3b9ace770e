"""Sets how glibc's malloc gets memory from the system and returns it.

By default malloc returns large arrays to the system as soon as they are freed, and the system fills new ones with
zeros, page by page. Networks and Fourier transforms allocate and free arrays of megabytes all the time, which makes a
run slower on CPUs. The program `radrim` therefore keeps freed memory. It does so only while the memory in use is small
compared with the budget, because kept memory is fragmented. See malloc's manual page, mallopt(3).
"""

import contextlib
import ctypes

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -3, -4, -8
"""Parameters of mallopt."""
KEPT = 2**31 - 1
"""Free memory at the end of the heap that is kept [bytes]: the largest value that mallopt takes."""
LARGE = 2**25
"""Size from which arrays are returned as soon as they are freed [bytes]: the largest that malloc chooses by itself."""


class _State:
    """What `keep_memory` has done to this process."""

    keeps = False


def keep_memory() -> None:
    """Keep all freed memory until the process ends. Call it early, and only in the program `radrim`.

    All threads then share one heap: with a heap each, a thread would keep memory that the others could use.
    """
    _State.keeps = _set({ARENA_MAX: 1, MMAP_MAX: 0, TRIM_THRESHOLD: KEPT})


def give_back_memory() -> None:
    """Return freed arrays to the system again, if `keep_memory` was called before."""
    if _State.keeps:
        _set({MMAP_MAX: 2**16, MMAP_THRESHOLD: LARGE, TRIM_THRESHOLD: 2 * LARGE})
        _State.keeps = False


def _set(values: dict[int, int]) -> bool:
    """Whether mallopt accepts these values of its parameters. C libraries other than glibc have no mallopt."""
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        return all(mallopt(name, value) for name, value in values.items())
    return False

"""How this process gets memory from the system, where that is glibc's malloc.

It gives arrays back to the system as soon as they are free, and the system fills the next ones with zeros again, page
by page. Networks and Fourier transforms make and forget arrays of megabytes all the time, and on CPUs a run feels it.
So a process of our own keeps what it once had, as long as that is little beside what it may have: between pieces that
are in use there are some that fit nothing. See malloc's manual page, mallopt(3).
"""

import contextlib
import ctypes

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -3, -4, -8
"""Parameters of mallopt."""
KEPT = 2**31 - 1
"""Bytes at the end of the heap that stay: as many as mallopt takes."""
LARGE = 2**25
"""Bytes of an array that goes back as soon as it is free: what malloc comes to by itself."""


class _State:
    """What `keep_memory` has done to this process."""

    keeps = False


def keep_memory() -> None:
    """Give nothing back to the system before the process ends; a process of our own only, early.

    All threads share one heap then: one each would keep what the others could use.
    """
    _State.keeps = _set({ARENA_MAX: 1, MMAP_MAX: 0, TRIM_THRESHOLD: KEPT})


def give_back_memory() -> None:
    """Give arrays back again from now on, if `keep_memory` has ended that."""
    if _State.keeps:
        _set({MMAP_MAX: 2**16, MMAP_THRESHOLD: LARGE, TRIM_THRESHOLD: 2 * LARGE})
        _State.keeps = False


def _set(values: dict[int, int]) -> bool:
    """Whether mallopt knows these parameters, and has taken the values; other C libraries have none."""
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        return all(mallopt(name, value) for name, value in values.items())
    return False

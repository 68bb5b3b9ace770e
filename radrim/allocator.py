"""How this process gets memory from the system, where that is glibc's malloc.

It gives arrays back to the system as soon as they are free, and the system fills the next ones with zeros again, page
by page. Networks and Fourier transforms make and forget arrays of megabytes all the time: on CPUs a run spends a
tenth of its time on that. So the process keeps what it once had; see malloc's manual page, mallopt(3).
"""

import contextlib
import ctypes

TRIM_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -4, -8
"""Parameters of mallopt."""
KEPT = 2**31 - 1
"""Bytes at the end of the heap that stay: as many as mallopt takes."""


def keep_memory():
    """Give nothing back to the system before the process ends; a process of our own only, early.

    All threads share one heap then: one each would keep what the others could use.
    """
    with contextlib.suppress(OSError, AttributeError):  # other systems, and other C libraries, have no mallopt
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(ARENA_MAX, 1)
        mallopt(MMAP_MAX, 0)
        mallopt(TRIM_THRESHOLD, KEPT)

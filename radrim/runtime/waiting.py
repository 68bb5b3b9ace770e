"""How long threads wait busily for each other."""

import os

SPINS = 1000
"""Turns of the waiting loop of GNU's OpenMP before a thread sleeps, a few microseconds. Its own default is some
milliseconds, in which a thread that waits keeps the processor from whatever runs beside: on two cores with other work
the networks took four times as long; pipelines/benchmarks/waiting.py measures it."""


def wait_briefly() -> None:
    """Let waiting threads sleep soon, in this process and its children; before torch is loaded, or it has no effect."""
    os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))

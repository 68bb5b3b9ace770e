"""How long threads wait busily for each other."""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class WaitingSettings:
    """How long a thread of GNU's OpenMP waits busily."""

    spins: int = 1000
    """Turns of the waiting loop before a thread sleeps, some microseconds. The default of OpenMP is some milliseconds,
    in which a waiting thread keeps the processor from the thread that it waits for, where other work runs beside."""


def wait_briefly() -> None:
    """Let waiting threads sleep soon, in this process and its children; before torch is loaded, or it has no effect."""
    os.environ.setdefault("GOMP_SPINCOUNT", str(WaitingSettings.spins))

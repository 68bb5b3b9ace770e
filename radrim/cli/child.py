"""Runs `radrim` as a child of `radrim batch`: it ends with its parent, and cleans up on SIGTERM.

python -m radrim.cli.child image OBS.ms ...
"""

import contextlib
import ctypes
import signal
import sys
from typing import NoReturn

PR_SET_PDEATHSIG = 1
"""Number of the prctl of Linux that sets the signal which a process gets when its parent dies."""


def main(argv: list[str]) -> int:
    """Run the command with these arguments; returns the exit status."""
    signal.signal(signal.SIGTERM, _interrupt)
    with contextlib.suppress(OSError, AttributeError):  # other systems than Linux
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    from radrim.cli.main import program

    return program(argv)


def _interrupt(*_: object) -> NoReturn:
    """Act as on Ctrl-C, which leaves no incomplete files."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

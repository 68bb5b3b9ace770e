"""`radrim` as a child of `radrim batch`: it ends when its parent does, and tidies up when it is asked to end.

python -m radrim.cli.child image OBS.ms ...
"""

import contextlib
import ctypes
import signal
import sys
from typing import NoReturn

PR_SET_PDEATHSIG = 1
"""Of Linux's prctl: which signal the process gets when its parent dies, however that happens."""


def main(argv: list[str]) -> int:
    """Run the command with these words; returns the exit status."""
    signal.signal(signal.SIGTERM, _interrupt)
    with contextlib.suppress(OSError, AttributeError):  # other systems than Linux
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    from radrim.cli.main import program

    return program(argv)


def _interrupt(*_: object) -> NoReturn:
    """As Ctrl-C, after which nothing half-written stays."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

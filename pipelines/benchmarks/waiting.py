"""What busy waiting costs where other work runs: the same image with and without it, beside two idle loops.

    python pipelines/benchmarks/waiting.py obs.ms -- --size 512 512 --scale 0.1asec

Prints a Markdown table: wall and processor seconds of `radrim image` alone and beside loops that keep all processors
busy, with radrim's number of turns before a waiting thread sleeps, and with the default of GNU's OpenMP.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from peer import table

WAYS = {"radrim": {}, "default of OpenMP": {"GOMP_SPINCOUNT": "300000"}}
"""Environment of each way to wait."""


def image(words, environment):
    """Wall and processor seconds of one run."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "radrim", "image", *words, "--name", str(Path(folder) / "x"), "--quiet"]
        start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, env=os.environ | environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - start, after.ru_utime - before.ru_utime


def main():
    """Time all ways, alone and beside others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ms", nargs="+")
    parser.add_argument("--rounds", type=int, default=1)
    args, options = parser.parse_known_args()
    words = [*args.ms, *(word for word in options if word != "--")]
    rows = []
    for beside in (False, True):
        loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(beside * os.cpu_count())]
        try:
            for name, environment in WAYS.items():
                wall, busy = min(image(words, environment) for _ in range(args.rounds))
                rows.append((name, "busy machine" if beside else "alone", f"{wall:.1f}", f"{busy:.1f}"))
        finally:
            for loop in loops:
                loop.kill()
                loop.wait()
    print(table(("waiting as", "", "wall s", "processor s"), rows))


if __name__ == "__main__":
    main()

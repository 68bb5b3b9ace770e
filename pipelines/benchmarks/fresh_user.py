"""How long somebody new takes to a first image: an empty clone, the README's command, then an observation of their own.

    python pipelines/benchmarks/fresh_user.py --ms ../shared/data/obs/vla_3c391_4.6GHz.ms

Clones this repository as it is committed, sets it up, makes the demo and images --ms with no options. Nothing that
an earlier run left behind is used, but for what pip has downloaded before.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from peer import table

HERE = Path(__file__).resolve().parents[2]


def timed(words, folder, log):
    """Seconds that a command takes; its output goes to `log`."""
    begin = time.perf_counter()
    with log.open("a") as out:
        # Compiled functions and the Python of this script must not help.
        env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        done = subprocess.run(words, cwd=folder, stdout=out, stderr=subprocess.STDOUT, env=env, check=False)
    if done.returncode:
        raise SystemExit(f"exit status {done.returncode} from: {' '.join(map(str, words))}; see {log}")
    return time.perf_counter() - begin


def main():
    """Clone, run, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("bench-work/fresh"))
    parser.add_argument("--ms", type=Path, nargs="*", default=[], help="observations to image with no options")
    parser.add_argument("--python", default=sys.executable, help="interpreter for the new environment")
    args = parser.parse_args()
    work = args.work.absolute()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    clone, log = work / "radrim", work / "fresh.log"
    steps = [
        ("git clone", ["git", "clone", "--quiet", HERE, clone], work),
        ("`make setup`: environment, dependencies", ["make", "setup", f"PYTHON={args.python}"], clone),
        ("`make demo`: simulated observation, RIM, CLEAN, report", ["make", "demo"], clone),
    ]
    for ms in args.ms:
        radrim = clone / ".venv/bin/radrim"
        steps.append((f"`radrim info {ms.name}`", [radrim, "info", ms.absolute()], work))
        steps.append((f"`radrim image {ms.name}`", [radrim, "image", ms.absolute()], work))
    rows, total = [], 0.0
    for name, words, folder in steps:
        seconds = timed(list(map(str, words)), folder, log)
        total += seconds
        rows.append((name, f"{seconds:.0f}", f"{total:.0f}"))
        print(rows[-1], flush=True)
    print(table(("a fresh user", "s", "since the beginning"), rows))


if __name__ == "__main__":
    main()

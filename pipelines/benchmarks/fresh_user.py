"""How long somebody new takes from nothing to images, a comparison and a notebook.

    python pipelines/benchmarks/fresh_user.py

Installs this checkout, as it is committed, with pip into an empty environment, simulates a small observation, and goes
through the commands that the quickstart names; then it runs docs/notebooks/quickstart.ipynb. Nothing that an earlier
run left behind is used, but for what pip has downloaded before. `--ms` images an observation in place of the simulated
one, `--wheel` installs a wheel in place of the checkout, `--env` leaves the installation out.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

from peer import table

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "docs/notebooks/quickstart.ipynb"
EXECUTE = """
import sys, nbclient, nbformat
notebook = nbformat.read(sys.argv[1], as_version=4)
nbclient.NotebookClient(notebook, timeout=3600, kernel_name="python3").execute()
"""


def timed(words, folder, log):
    """Seconds, and seconds of processors, that a command takes; its output goes to `log`."""
    begin, used = time.perf_counter(), processors()
    with log.open("a") as out:
        print(f"$ {' '.join(map(str, words))}", file=out, flush=True)
        # Neither this checkout nor compiled functions of earlier runs may help.
        env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        env |= {"HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache"), "PIP_CACHE_DIR": pip_cache()}
        done = subprocess.run(words, cwd=folder, stdout=out, stderr=subprocess.STDOUT, env=env, check=False)
    if done.returncode:
        raise SystemExit(f"exit status {done.returncode} from: {' '.join(map(str, words))}; see {log}")
    return time.perf_counter() - begin, processors() - used


def processors():
    """Seconds of processors that finished processes have used; on a busy machine they say more than the clock."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def pip_cache():
    """The folder of what pip has downloaded before."""
    return subprocess.run(
        [sys.executable, "-m", "pip", "cache", "dir"], capture_output=True, text=True, check=True
    ).stdout.strip()


def steps(args, work):
    """(what, command) of each step."""
    bin_ = (args.env.absolute() if args.env else work / "env") / "bin"
    radrim, pip = bin_ / "radrim", [bin_ / "python", "-m", "pip", "install", "--quiet"]
    if args.env is None:
        yield "empty environment", [args.python, "-m", "venv", work / "env"]
        if args.wheel is None:
            yield "git clone", ["git", "clone", "--quiet", ROOT, work / "radrim"]
        yield "`pip install .`", [*pip, args.wheel.absolute() if args.wheel else work / "radrim"]
    if args.ms is None:
        ms, image = "demo.ms", ["--size", "512", "512", "--scale", "1asec"]
        yield "`radrim simulate demo.ms`", [radrim, "simulate", ms, "--array", "vla-b", "--sky", "demo"]
    else:
        ms, image = args.ms.absolute(), []
    yield "`radrim info`", [radrim, "info", ms]
    yield "`radrim image`: the first image", [radrim, "image", ms, *image, "--name", "first"]
    peer = "wsclean" if shutil.which("wsclean") else "clean"
    yield f"`radrim compare --peer {peer}`", [radrim, "compare", ms, *image, "--peer", peer, "--name", "both"]
    yield "`radrim view`: a page to explore", [radrim, "view", "first", "--no-browser"]
    yield "`pip install nbclient ipykernel`", [*pip, "nbclient", "ipykernel"]
    yield "quickstart.ipynb", [bin_ / "python", "-c", EXECUTE, NOTEBOOK]


def main():
    """Go through the steps and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("bench-work/fresh"))
    parser.add_argument("--ms", type=Path, help="observation to image with no options (default: a simulated one)")
    parser.add_argument("--wheel", type=Path, help="wheel to install (default: a clone of this checkout)")
    parser.add_argument("--env", type=Path, help="environment that has radrim (default: a new one)")
    parser.add_argument("--python", default=sys.executable, help="interpreter for the new environment")
    args = parser.parse_args()
    work = args.work.absolute()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    rows, total = [], 0.0
    for name, words in steps(args, work):
        seconds, used = timed(list(map(str, words)), work, work / "fresh.log")
        total += seconds
        rows.append((name, f"{seconds:.0f}", f"{used:.0f}", f"{total:.0f}"))
        print(rows[-1], flush=True)
    print(table(("step", "s", "processor s", "since the beginning"), rows))


if __name__ == "__main__":
    main()

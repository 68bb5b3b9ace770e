"""Random faults of inputs: no traceback, exit status 0, 2 or 3, and no work directory that blocks the next run.

    python pipelines/benchmarks/fuzz.py [--runs 2000] [--jobs 2] [--data ../shared/data] [--work bench-work/fuzz]
    python pipelines/benchmarks/fuzz.py --only 417 1203

Each run breaks a copy of a small good input (`fuzz_inputs.py`) in one random way (`mutations.py`) and gives it to
`radrim image`, `info`, `predict`, `selfcal`, `simulate` or `convert`. The seed of a run decides everything: --only
repeats runs, prints their output and keeps their folders. Each run is a forked process: an abort in C++ is seen as the
signal that it is. FITS-IDI and version 4 of the Measurement Set are tried if there are real ones in --data.

Prints a table, and writes the runs that failed, with what they printed, to failures.json. The exit status is 1 if any
did.
"""

import argparse
import contextlib
import ctypes
import gc
import importlib
import json
import multiprocessing
import os
import re
import resource
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from fuzz_inputs import make_inputs
from mutations import KINDS, pick
from peer import table

from radrim.cli.main import main as run_radrim

GRID = ("--size", "64", "64", "--scale", "4asec", "--threads", "1", "--name", "x")
CHEAP = ("--niter", "0")
CYCLE = ("--niter", "20", "--solver", "clean", "--max-major", "1")
"""One major cycle of CLEAN."""
IMAGE = (
    CHEAP, CHEAP, CYCLE, (*CHEAP, "--pol", "IQUV"), (*CHEAP, "--channels-out", "2", "--cube"),
    (*CHEAP, "--field", "all", "--pb"), ("--niter", "20", "--max-major", "1"), (*CHEAP, "--pol", "XX,YY"),
    (*CYCLE, "--data", "closure"), (*CHEAP, "--data-column", "CORRECTED_DATA"), (*CHEAP, "--quiet"),
)  # fmt: skip
READ_ALL = 0b110
"""Linux's capabilities CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, by which root reads files that nobody may read."""
ALLOWED = (0, 2, 3)


MODULES = (
    "casacore.tables", "pyuvdata", "radrim.inspection.describe", "radrim.pipeline", "radrim.selfcalibration.loop",
    "radrim.simulation", "radrim.sky.prediction", "radrim.imagers.channels",
)  # fmt: skip
"""Imported before the forks, so that no run waits for them."""


@dataclass(frozen=True)
class Limits:
    """What one run may take before it counts as failed."""

    seconds: int = 150
    """The slowest good run takes 10 s where two others run beside."""
    memory: int = 12 * 2**30
    """Address space [byte]; a header with huge axes must not take the whole machine."""


@dataclass(frozen=True)
class Outcome:
    """One run: what was broken, and what came of it. `problem` is empty if nothing is wrong."""

    seed: int
    input: str
    kind: str
    what: str
    command: str
    status: int | None
    problem: str
    output: str


def draw(seed, inputs):
    """Kind of mutation and generator of a seed. Kinds follow each other, so that a few runs have tried them all."""
    kinds = [kind for kind in KINDS if kind.input in inputs]
    kinds += [kind for kind in kinds for _ in range(1, kind.weight)]
    return kinds[seed % len(kinds)], np.random.default_rng(seed)


def words_of(kind, rng, bad, good):
    """The words of the command for a broken input at `bad`."""
    if kind.input == "mask":
        return ("image", good, *GRID, *pick(rng, (CHEAP, CYCLE)), "--mask", bad)
    if kind.input == "start model":
        return ("image", good, *GRID, *pick(rng, (CHEAP, CYCLE)), "--start-model", bad)
    if kind.input == "model":
        return pick(rng, (("predict", good, "--model-image", bad, "--threads", "1"),
                          ("simulate", "new.ms", "--array", "vla-d", "--sky", bad, "--hours", "0.1")))  # fmt: skip
    model = good.parent / "model.fits"
    number = rng.random()
    if number < 0.55:
        return ("image", bad, *GRID, *pick(rng, IMAGE))
    if number < 0.8:
        return ("info", bad, *pick(rng, ((), ("--antennas", "--baselines"))))
    if number < 0.92 and kind.input == "Measurement Set":
        return ("predict", bad, "--model-image", model, "--threads", "1")
    if number < 0.97 and kind.input == "Measurement Set":
        return ("selfcal", bad, *GRID, *CYCLE, "--start-model", "point", "--rounds", "p:900s")
    if kind.input == "Measurement Set":
        return ("image", bad, good, *GRID, *CHEAP)  # together with a good one
    return ("convert", bad, "new.ms")


def run_one(seed, inputs, folder):
    """Break an input and run a command on it; the outcome."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    kind, rng = draw(seed, inputs)
    source = inputs[kind.input]
    bad, good = folder / f"bad{source.suffix}", folder / "good" / "obs.ms"
    good.parent.mkdir()
    shutil.copytree(inputs["Measurement Set"], good)
    shutil.copyfile(inputs["model"], good.parent / "model.fits")
    shutil.copytree(source, bad, copy_function=shutil.copyfile) if source.is_dir() else shutil.copyfile(source, bad)
    log = folder / "log.txt"
    begin = time.monotonic()
    status = forked(lambda: kind.change(rng, bad), log, folder)
    if status:
        return Outcome(seed, kind.input, kind.name, "", "", status, "the mutation failed", log.read_text()[-3000:])
    what = json.loads((folder / "said.json").read_text())
    words = [str(word) for word in words_of(kind, np.random.default_rng([seed, 1]), bad, good)]
    powerless = "not readable" in what and os.geteuid() == 0
    log.unlink()
    status = forked(lambda: command(words), log, folder, powerless)
    output = log.read_text(errors="replace")
    problem = judge(status, output, words, folder)
    seconds = time.monotonic() - begin
    shown = re.sub(rf"{re.escape(str(folder))}/", "", f"radrim {' '.join(words)}")
    outcome = Outcome(seed, kind.input, kind.name, what, shown, status, problem, output[-4000:])
    if seconds > Limits.seconds / 3:
        print(f"seed {seed}: {seconds:.0f} s ({shown})", flush=True)
    return outcome


def run_seed(seed, inputs, work, keep):
    """`run_one` in a folder of its own, which is removed if nothing was wrong."""
    folder = work / f"{seed:05d}"
    outcome = run_one(seed, inputs, folder)
    if not (outcome.problem or keep):
        shutil.rmtree(folder)
    return outcome


def judge(status, output, words, folder):
    """What is wrong with a run, in words; empty if nothing is."""
    if status is None:
        return "not finished in time"
    if status < 0:
        return f"ended by signal {signal.Signals(-status).name}"
    if "Traceback" in output:
        return f"traceback: {output.strip().splitlines()[-1][:150]}"
    if status not in ALLOWED:
        return f"exit status {status}"
    if found := re.search(r"^.*\w+Warning: .*$", output, re.MULTILINE):
        return f"a warning of Python: {found[0][-150:]}"
    if status == 2 and "radrim: " not in output:
        return "exit status 2 without a message"
    if (folder / "x.radrim").exists():
        good = ["image", str(folder / "good" / "obs.ms"), *GRID, *CHEAP]
        again = forked(lambda: command(good), folder / "again.txt", folder)
        if again != 0:
            return f"the next run ends with {again}: {(folder / 'again.txt').read_text()[-200:]}"
    if status == 0 and words[0] == "image" and not list(folder.glob("x*-dirty.fits")):
        return "no image"
    return ""


def command(words):
    """Run `radrim` in this process, without pictures and report, which take longer than all the rest."""
    import radrim.output

    radrim.output.write_report = lambda *_: None
    try:
        return run_radrim(words)
    except SystemExit as stop:
        return stop.code


def forked(work, log, folder, powerless=False):
    """Call a function in a forked process, whose output goes to `log`.

    Returns the exit status, negative for a signal, None at the time limit.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _child(work, log, folder, powerless)
    until = time.monotonic() + Limits.seconds
    wait = 0.002
    while time.monotonic() < until:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(wait)
        wait = min(wait * 1.5, 0.1)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def _child(work, log, folder, powerless):
    """What the forked process does; does not return."""
    status = 70
    try:
        out = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.chdir(folder)
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (Limits.memory, Limits.memory))
        if powerless:
            _read_as_others()
        said = work()
        if isinstance(said, str):
            (folder / "said.json").write_text(json.dumps(said))
            said = 0
        status = said or 0
    except BaseException:  # noqa: BLE001 - it is reported as it would be by Python
        traceback.print_exc()
        status = 1
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _read_as_others():
    """Take from root its right to read everything, so that the modes of files count."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice 32 bits
    libc.capget(header, sets)
    for k in range(3):
        sets[k] &= ~READ_ALL
    if libc.capset(header, sets):
        raise OSError(ctypes.get_errno(), "capset")


def summarise(outcomes):
    """Rows of the table: input, kind of mutation, runs, runs of each status, failures."""
    rows = []
    for name, kind in dict.fromkeys((kind.input, kind.name) for kind in KINDS):
        those = [one for one in outcomes if (one.input, one.kind) == (name, kind)]
        if those:
            counts = Counter(one.status for one in those)
            rows.append(
                (
                    name,
                    kind,
                    len(those),
                    *(counts[status] for status in ALLOWED),
                    sum(map(bool, (one.problem for one in those))),
                )
            )
    total = ["all", "", *(sum(row[k] for row in rows) for k in range(2, 7))]
    return [*rows, tuple(total)]


def main():
    """Break, run, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="seed of the first run (default: 0)")
    parser.add_argument("--only", type=int, nargs="+", metavar="SEED", help="repeat these runs alone")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once (default: 2)")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of real data")
    parser.add_argument("--work", type=Path, default=Path("bench-work/fuzz"), help="folder for what is made")
    args = parser.parse_args()
    work = args.work.absolute()
    with warnings.catch_warnings(action="ignore"):
        for module in MODULES:
            importlib.import_module(module)
    gc.freeze()
    inputs = make_inputs(work / "good", args.data.absolute())
    seeds = args.only or range(args.first, args.first + args.runs)
    run = partial(run_seed, inputs=inputs, work=work, keep=bool(args.only))
    with multiprocessing.get_context("fork").Pool(args.jobs) as pool:
        outcomes = []
        for outcome in pool.imap_unordered(run, seeds):
            outcomes.append(outcome)
            if outcome.problem or args.only:
                print(f"seed {outcome.seed}: {outcome.input}, {outcome.what}\n  {outcome.command}\n  status "
                      f"{outcome.status}; {outcome.problem or 'nothing wrong'}", flush=True)  # fmt: skip
            if args.only:
                print(outcome.output)
    outcomes.sort(key=lambda one: one.seed)
    failed = [asdict(one) for one in outcomes if one.problem]
    (work / "failures.json").write_text(json.dumps(failed, indent=1))
    print()
    print(
        table(
            ("input", "mutation", "runs", *(f"status {status}" for status in ALLOWED), "failures"), summarise(outcomes)
        )
    )
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()

"""Runs that are killed at random moments go on and leave the same files: prints one row for each.

    python pipelines/benchmarks/kills.py [--kills 20] [--work bench-work/kills] OBS.ms [-- options of radrim image]

With ``-- --facet 256`` the image is made in facets; with --workers 2 as well, by the workers of a Dask cluster, and the
second kill, the fourth and so on are those of a worker: the run must go on by itself.

One unbroken run, then for each kill a new folder: the run is ended with SIGKILL at a random moment, started again with
the same command, and all FITS files are compared byte by byte (SOURCE_DATE_EPOCH fixes the date in their headers).
"""

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import time
from contextlib import nullcontext, suppress
from itertools import count
from pathlib import Path

from peer import table
from workers import add_worker, dask_workers

OVER = "all (it was over)"


def start(ms, folder, options):
    """Start `radrim image` in a folder."""
    command = [sys.executable, "-m", "radrim", "image", str(ms), "--name", "x", "--quiet", *options]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    return subprocess.Popen(command, cwd=folder, env=environment)


def files(folder):
    """Bytes of the FITS files, and the names of all others."""
    return (
        {path.name: path.read_bytes() for path in folder.glob("*.fits")},
        sorted(path.name for path in folder.rglob("*") if path.suffix != ".fits"),
    )


def finished(folder):
    """What the killed run left, in words."""
    work = folder / "x.radrim"
    names = [str(path.relative_to(work)) for path in work.rglob("*.*")] if work.exists() else []
    cycles = [name for name in names if "/cycle" in name or name.endswith("/state.json")]
    facets = [name for name in names if re.search(r"/(dirty|psf|minor|seen|predicted|fall|image)/.*npy", name)]
    for text, found in (
        ("images", any(name.endswith("-image.json") for name in names)),
        ("major cycles", cycles),
        (f"{len(facets)} files of facets", facets),
        ("dirty image and PSF", any(name.endswith("measured.json") for name in names)),
        ("weights", "vis/weights.json" in names),
        ("visibilities", "vis/observation.json" in names),
    ):
        if found:
            return text
    return "nothing"


def kill_and_repeat(ms, folder, options, moment, workers):
    """Kill a run, or the first of its workers, at a moment; until it is finished.

    Returns
    -------
    int, str, float
        Exit status in the end, what the killed run had finished, seconds from there to the end.
    """
    process = start(ms, folder, options)
    with suppress(subprocess.TimeoutExpired):
        process.wait(moment)
    if process.poll() is not None:
        return process.returncode, OVER, 0.0
    begin = time.perf_counter()
    if workers:
        workers[0].kill()
        workers[0].wait()
        left = f"worker killed; {finished(folder)}"
        return process.wait(), left, time.perf_counter() - begin
    process.kill()
    process.wait()
    left, begin = finished(folder), time.perf_counter()
    return start(ms, folder, options).wait(), left, time.perf_counter() - begin


def main():
    """Run, kill, run again, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ms", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path("bench-work/kills"))
    parser.add_argument("--workers", type=int, default=0, help="of a Dask cluster (default: none, this process)")
    parser.add_argument("options", nargs="*", help="options for radrim, after --")
    args = parser.parse_args()
    shutil.rmtree(args.work, ignore_errors=True)
    whole = args.work / "whole"
    whole.mkdir(parents=True)
    ms = args.ms.absolute()
    with dask_workers(args.work, args.workers) if args.workers else nullcontext((None, [])) as (address, workers):
        options = [*args.options, *(["--scheduler", address] if address else [])]
        begin = time.perf_counter()
        if start(ms, whole, options).wait():
            raise SystemExit("the unbroken run failed")
        lasted = time.perf_counter() - begin
        wanted, moments, rows = files(whole), random.Random(args.seed), []
        for number in count():
            if len(rows) == args.kills:
                break
            folder = args.work / f"{number:02d}"
            folder.mkdir()
            moment = moments.uniform(0, lasted)
            victims = workers if len(rows) % 2 else []
            status, left, again = kill_and_repeat(ms, folder, options, moment, victims)
            if left == OVER and status == 0 and files(folder) == wanted:
                continue  # another moment
            same = "same bytes" if status == 0 and files(folder) == wanted else "DIFFERENT"
            rows.append((f"{moment:.1f}", left, f"{again:.1f}", same))
            print(rows[-1], flush=True)
            if victims and victims[0].poll() is not None:
                workers[:] = [*workers[1:], add_worker(args.work, address)]
    print(f"\nunbroken: {lasted:.1f} s\n")
    print(table(("killed after s", "it had finished", "from there to the end s", "files"), rows))


if __name__ == "__main__":
    main()

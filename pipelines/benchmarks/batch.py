"""Twenty observations, three of them broken, as one batch: what became of them, and what the same command does again.

    python pipelines/benchmarks/batch.py [--sets 20] [--jobs 2] [--work bench-work/batch]

Small simulated sets (VLA C, one hour) go through `radrim batch` with two images at once. One is flagged altogether, one
has lost a subtable, and the files of one end too early. Then the same command again; again when the lost subtable is
back; and a last time. What was made is told by the times at which the files were written.
"""

import argparse
import csv
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from peer import table

import radrim.simulation

BROKEN = {"flagged": 3, "no subtable": 8, "truncated": 14}
"""What is wrong with which observation."""
CONFIG = """\
[batch]
inputs = ["obs"]
output = "images"

[image]
size = 256
scale = "3asec"
"""


def simulate(folder, number):
    """One observation after the other, each of another sky noise."""
    for k in range(number):
        path = folder / f"obs{k:02d}.ms"
        radrim.simulation.simulate(path, array="vla-c", hours=1, integration=300, seed=k, noise=0.02)
    import casacore.tables as casatables

    with casatables.table(str(folder / f"obs{BROKEN['flagged']:02d}.ms"), readonly=False, ack=False) as ms:
        ms.putcol("FLAG", ms.getcol("FLAG") | True)
    lost = folder / f"obs{BROKEN['no subtable']:02d}.ms" / "SPECTRAL_WINDOW"
    lost.rename(folder.parent / "SPECTRAL_WINDOW")
    files = sorted((folder / f"obs{BROKEN['truncated']:02d}.ms").glob("table.f*"), key=lambda file: file.stat().st_size)
    for file in files[-4:]:
        os.truncate(file, file.stat().st_size // 3)
    return lost


def written(images):
    """When each FITS file was written, by item."""
    out: dict[str, dict[str, int]] = {}
    for path in images.glob("*/*.fits"):
        out.setdefault(path.parent.name, {})[path.name] = path.stat().st_mtime_ns
    return out


def run(work, jobs):
    """The command: exit status, seconds, states by item, and items whose files are other than before."""
    before, begin = written(work / "images"), time.perf_counter()
    command = [sys.executable, "-m", "radrim", "batch", "batch.toml", "--jobs", str(jobs)]
    done = subprocess.run(command, cwd=work, stdout=subprocess.PIPE, text=True, check=False)
    seconds = time.perf_counter() - begin
    (work / "batch.log").open("a").write(done.stdout)
    with open(work / "images" / "summary.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    after = written(work / "images")
    return done.returncode, seconds, rows, sorted(name for name in after if after[name] != before.get(name))


def main():
    """Simulate, run four times, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("bench-work/batch"))
    args = parser.parse_args()
    if args.sets <= max(BROKEN.values()):
        parser.error(f"--sets must be more than {max(BROKEN.values())}")
    shutil.rmtree(args.work, ignore_errors=True)
    (args.work / "obs").mkdir(parents=True)
    lost = simulate(args.work / "obs", args.sets)
    (args.work / "batch.toml").write_text(CONFIG)
    rows, reasons = [], {}
    for what in ("first", "the same again", "subtable is back", "the same again"):
        if what == "subtable is back":
            shutil.move(args.work / "SPECTRAL_WINDOW", lost)
        status, seconds, items, made = run(args.work, args.jobs)
        states = [item["state"] for item in items]
        reasons |= {item["name"]: item["reason"] for item in items if item["state"] == "failed"}
        tried = len(made) + states.count("failed")
        rows.append([what, status, states.count("done"), states.count("failed"), len(made), tried, f"{seconds:.0f} s"])
    heads = ["run", "exit status", "images", "failed", "made now", "tried now", "time"]
    print(table(heads, rows))
    print()
    print(table(["item", "reason"], sorted(reasons.items())))
    first = items[0]
    print(f"\nAn image takes {float(first['time']):.0f} s and {float(first['peak_memory']):.0f} MB ({first['name']}).")


if __name__ == "__main__":
    main()

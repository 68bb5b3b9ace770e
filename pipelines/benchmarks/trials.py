"""Training runs side by side: how much lower is one's loss than another's, on the same problems?

    radrim train A.toml --output A
    radrim train B.toml --output B
    python pipelines/benchmarks/trials.py A B

Runs with the same seed and batch see the same problems in the same order, so that their losses differ by what was
changed and not by the luck of the draw. The mean difference to the first run is given with its standard error, for each
so many problems (--every), and what a problem cost.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from peer import table


def read(folder):
    """Loss [dB] by the number of problems seen, and the seconds that the run took."""
    with open(folder / "loss.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return {int(row["seen"]): float(row["loss_db"]) for row in rows}, float(rows[-1]["seconds"])


def main():
    """Read the runs and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of training runs; the first is compared with")
    parser.add_argument("--every", type=int, default=500)
    args = parser.parse_args()
    runs = {folder.name: read(folder) for folder in args.runs}
    first = next(iter(runs))
    common = np.array(sorted(set.intersection(*(set(losses) for losses, _ in runs.values()))))
    rows = []
    for low in range(0, common[-1], args.every):
        part = common[(common > low) & (common <= low + args.every)]
        if len(part) < 2:
            continue
        losses = {name: np.array([found[seen] for seen in part]) for name, (found, _) in runs.items()}
        cells = [f"{low} to {part[-1]}", f"{losses[first].mean():.2f}"]
        for name in list(runs)[1:]:
            difference = losses[name] - losses[first]
            cells.append(f"{difference.mean():+.2f} +- {difference.std() / np.sqrt(len(part)):.2f}")
        rows.append(cells)
    print(table(("problems", f"{first}, loss dB", *(f"{name}: more" for name in list(runs)[1:])), rows), "\n")
    costs = [(name, max(losses), f"{1e3 * seconds / max(losses):.0f}") for name, (losses, seconds) in runs.items()]
    print(table(("run", "problems", "ms per problem"), costs))


if __name__ == "__main__":
    main()

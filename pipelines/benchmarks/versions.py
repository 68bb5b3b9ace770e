"""Two versions of radrim on the simulated benchmark cases: how far their scores against the truth differ.

    git clone . ../before && git -C ../before checkout COMMIT
    python pipelines/benchmarks/versions.py --before "env PYTHONPATH=../before python -P -m radrim"

The cases are those of ../shared/bench, simulated by the benchmark itself; ../shared/bench/README.md explains the
columns. `--before` is the command of the other version, with -P, or Python finds this one in the current folder. Prints
a Markdown table: scores of the other version, what this version changes, and the largest difference of the two models
as a fraction of the model's peak.
"""

import argparse
import csv
import sys
from pathlib import Path

import numpy as np
from astropy.io import fits
from peer import table

COLUMNS = ("native", "half", "beam", "image", "lognative", "logbeam", "flux", "residual")


def main():
    """Simulate, image twice, score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", required=True, help="command of the other version, such as 'python -P -m radrim'")
    parser.add_argument("--bench", type=Path, default=Path("../shared/bench"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("bench-work/versions"))
    parser.add_argument("--only", help="names of cases, comma-separated")
    args = parser.parse_args()
    sys.path.insert(0, str(args.bench.resolve()))
    import run as bench
    from score import load, score

    with (args.bench / "dev_cases.csv").open() as file:
        cases = [case for case in csv.DictReader(file) if not args.only or case["name"] in args.only.split(",")]
    rows = []
    for case in cases:
        info = bench.build(case, args.data, args.work)
        folder, scores = args.work / case["name"], []
        truth, _ = load(folder / "truth.fits")
        for who, program in (("before", args.before), ("after", f"{sys.executable} -m radrim")):
            command = (
                f"{program} image {' '.join(info['ms'])} --size {info['size']} {info['size']} --overwrite "
                f"--scale {info['scale']:.9g}asec --weight {info['weight']} --name {folder / who}"
            )
            done = bench.run(command, folder / f"{who}.log")
            if done["exit"]:
                sys.exit(f"{command} ended with status {done['exit']}; see {folder / who}.log.")
            scores.append(score(str(folder / who), truth, info["noise"], info["dynamic_range"]) | done)
        before, after = scores
        cells = (f"{before[column]:.2f} {after[column] - before[column]:+.2f}" for column in COLUMNS)
        models = [fits.getdata(f"{folder / who}-model.fits").astype(float) for who in ("before", "after")]
        change = np.abs(models[1] - models[0]).max() / np.abs(models[0]).max()
        rows.append((case["name"], *cells, f"{change:.1g}", f"{after['wall_s'] / before['wall_s']:.2f}"))
        print(rows[-1], flush=True)
    print(table(("case", *COLUMNS, "models", "time, ratio"), rows))


if __name__ == "__main__":
    main()

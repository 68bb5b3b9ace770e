"""Decisions by kept-out visibilities beside those by the residual image, on the simulated benchmark cases.

    python pipelines/benchmarks/judge.py --bench ../shared/bench --data ../shared/data

Each case of ../shared/bench is imaged with `--holdout 0` and with the default. Prints Markdown tables: the scores
against the truth (../shared/bench/README.md explains them) and wall seconds; chi^2 per datum of the last judged model,
of fitted and of kept-out samples, over that of the noise, which is what the truth leaves; and the difference of the two
runs, with its median and its worst value.
"""

import argparse
import csv
import json
import sys
from pathlib import Path

import numpy as np
from peer import table

COLUMNS = ("native", "half", "beam", "lognative", "logbeam", "flux", "residual", "wall_s")
WAYS = {"residual image": "--holdout 0", "kept-out samples": ""}


def main():
    """Simulate, image twice, score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", type=Path, default=Path("../shared/bench"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("bench-work/judge"))
    parser.add_argument("--only", help="names of cases, comma-separated")
    parser.add_argument("--reuse", action="store_true", help="score the images that are there")
    args = parser.parse_args()
    sys.path.insert(0, str(args.bench.resolve()))
    import run as bench
    from score import load, score

    with (args.bench / "dev_cases.csv").open() as file:
        cases = [case for case in csv.DictReader(file) if not args.only or case["name"] in args.only.split(",")]
    rows, gains, levels = [], [], []
    for case in cases:
        info = bench.build(case, args.data, args.work)
        folder, scores = args.work / case["name"], []
        truth, _ = load(folder / "truth.fits")
        for way, options in WAYS.items():
            name = folder / way.replace(" ", "-")
            done = {"wall_s": float("nan")} if args.reuse else _image(bench, info, options, name)
            scores.append(score(str(name), truth, info["noise"], info["dynamic_range"]) | done)
            first = "" if rows and rows[-1][0] == case["name"] else case["name"]
            rows.append((first, way, *(f"{scores[-1][column]:.3g}" for column in COLUMNS)))
        gains.append([scores[1][column] - scores[0][column] for column in COLUMNS[:5]])
        levels.append((case["name"], *_levels(f"{name}-qa.json")))
        print(rows[-2:], levels[-1], flush=True)
    print(table(("case", "judged by", *COLUMNS), rows))
    print()
    medians, worst = np.median(gains, 0), np.min(gains, 0)
    print(table(("gain", *COLUMNS[:5]), [(name, *(f"{value:+.2f}" for value in values))
          for name, values in (("median", medians), ("worst", worst))]))  # fmt: skip
    print()
    shown = [(name, *(f"{value:.3f}" for value in values)) for name, *values in levels]
    middle = ("median", *(f"{value:.3f}" for value in np.median([values for _, *values in levels], 0)))
    print(table(("case", "fitted", "kept out"), [*shown, middle]))


def _image(bench, info, options, name):
    command = (
        f"{sys.executable} -m radrim image {' '.join(info['ms'])} --size {info['size']} {info['size']} --overwrite "
        f"--scale {info['scale']:.9g}asec --weight {info['weight']} {options} --name {name}"
    )
    done = bench.run(command, Path(f"{name}.log"))
    if done["exit"]:
        sys.exit(f"{command} ended with status {done['exit']}; see {name}.log.")
    return done


def _levels(path):
    """Chi^2 per datum of fitted and kept-out samples over that of the noise."""
    fit = json.loads(Path(path).read_text())["visibility_fit"]
    return fit["fitted"] / fit["noise"], fit["kept"] / fit["noise"]


if __name__ == "__main__":
    main()

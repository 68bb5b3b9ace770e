"""Simulated cases made as a whole and in four facets: scores against the truth, and times.

    python pipelines/benchmarks/facets.py --bench ../shared/bench --data ../shared/data --work bench-work/facets

The cases are those of ../shared/bench with 1024 x 1024 pixels that `CASES` names, simulated by the benchmark itself;
../shared/bench/README.md explains the columns. Options of radrim come after --. Prints a Markdown table: scores of both
images, facets minus whole, and the ratio of their times.
"""

import argparse
import csv
import shlex
import sys
from pathlib import Path

from peer import table

CASES = ("radio_galaxy_vla_ac", "cyga_vla_b", "m31_meerkat")
COLUMNS = ("native", "half", "beam", "lognative", "logbeam", "flux", "residual")


def main():
    """Simulate, image twice, score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", type=Path, default=Path("../shared/bench"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("bench-work/facets"))
    parser.add_argument("--only", default=",".join(CASES), help="names of cases, comma-separated")
    parser.add_argument("options", nargs="*", help="options for radrim, after --")
    args = parser.parse_args()
    sys.path.insert(0, str(args.bench.resolve()))
    import run as bench
    from score import load, score

    with (args.bench / "dev_cases.csv").open() as file:
        cases = {case["name"]: case for case in csv.DictReader(file)}
    rows = []
    for name in args.only.split(","):
        info = bench.build(cases[name], args.data, args.work)
        folder = args.work / name
        truth, _ = load(folder / "truth.fits")
        scores = []
        for way, more in (("whole", ""), ("facets", f"--facet {info['size'] // 2}")):
            prefix = folder / way
            command = (
                f"{sys.executable} -m radrim image {' '.join(info['ms'])} --size {info['size']} {info['size']} "
                f"--scale {info['scale']:.9g}asec --weight {info['weight']} --name {prefix} --overwrite {more} "
                f"{shlex.join(args.options)}"
            )
            done = bench.run(command, folder / f"{way}.log")
            scores.append(score(str(prefix), truth, info["noise"], info["dynamic_range"]) | done)
            rows.append((name if way == "whole" else "", way, *(f"{scores[-1][column]:.3g}" for column in COLUMNS),
                         f"{done['wall_s']:.0f}"))  # fmt: skip
        gain = (f"{scores[1][column] - scores[0][column]:+.2f}" for column in COLUMNS)
        rows.append(("", "difference", *gain, f"x {scores[1]['wall_s'] / scores[0]['wall_s']:.2f}"))
        print(rows[-1], flush=True)
    print(table(("case", "", *COLUMNS, "wall s"), rows))


if __name__ == "__main__":
    main()

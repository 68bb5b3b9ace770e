"""The simulated benchmark cases: runs ../shared/bench/run.py with radrim and prints its results as a Markdown table.

    python pipelines/benchmarks/dev_cases.py --bench ../shared/bench --data ../shared/data --work bench-work/dev
    python pipelines/benchmarks/dev_cases.py --cases pipelines/benchmarks/fields.csv --work bench-work/fields
    python pipelines/benchmarks/dev_cases.py --cases pipelines/benchmarks/few_stations.csv --work bench-work/few

Each case is simulated by the benchmark's own simulator, imaged by WSClean 3.1 with strong multi-scale settings and by
radrim, and scored against the truth; ../shared/bench/README.md explains the columns. Options of radrim come after --.
Draws dev_cases.png in the folder of --work: truth, models of both programs and radrim's residual of `DRAWN`.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
from astropy.io import fits
from matplotlib.figure import Figure
from peer import save_small, table

COLUMNS = ("native", "half", "beam", "image", "limit", "lognative", "logbeam", "flux", "residual", "wall_s")
SLOW = 10
"""Seconds of WSClean from which on times are asked to be compared."""
DRAWN = ("radio_galaxy_vla_ac", "m31_meerkat", "cyga_vla_b", "remnant_gmrt")
FAINT = 3e-4
"""Of the truth's peak: pictures of models are linear up to it, then logarithmic."""


def main():
    """Run the benchmark and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", type=Path, default=Path("../shared/bench"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cases", type=Path, help="CSV of cases; by default the benchmark's own, dev_cases.csv")
    parser.add_argument("--work", type=Path, default=Path("bench-work/dev"))
    parser.add_argument("--fresh", action="store_true", help="run WSClean again too, which a comparison of times needs")
    parser.add_argument("--only", help="names of cases, comma-separated")
    parser.add_argument("--print", action="store_true", help="print the results of the last run")
    parser.add_argument("options", nargs="*", help="options for radrim, after --")
    args = parser.parse_args()
    if not args.print:
        imager = (
            f"{sys.executable} -m radrim image {{ms}} --size {{size}} {{size}} --scale {{scale}}asec "
            f"--weight {{weight}} --name {{name}} {shlex.join(args.options)}"
        )
        command = [sys.executable, args.bench / "run.py", "--cases", args.cases or args.bench / "dev_cases.csv"]
        command += ["--data", args.data, "--work", args.work, "--imager", imager] + ["--fresh"] * args.fresh
        command += ["--only", args.only] if args.only else []
        # Python keeps what it has compiled, as it does for users.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        subprocess.run(command, check=True, env=environment)
    results = json.loads((args.work / "results.json").read_text())
    ours = {r["case"]: r for r in results if r["who"] == "imager"}
    theirs = {r["case"]: r for r in results if r["who"] == "wsclean"}
    rows = []
    for case, mine in ours.items():
        other = theirs[case]
        rows.append([case, "radrim", *(f"{mine[c]:.3g}" for c in COLUMNS)])
        rows.append(["", "WSClean", *(f"{other[c]:.3g}" for c in COLUMNS)])
    print(table(("case", "", *COLUMNS), rows), "\n")
    rows = [_difference(c, ours, theirs) for c in COLUMNS if c != "limit"]
    slow = {case: mine for case, mine in ours.items() if theirs[case]["wall_s"] > SLOW}
    if slow:
        _, median, worst = _difference("wall_s", slow, theirs)
        rows.append((f"wall_s (ratio), the {len(slow)} where WSClean needs more than {SLOW} s", median, worst))
    print(table(("radrim minus WSClean", "median", "worst"), rows))
    draw(args.work, [case for case in DRAWN if case in ours])


def draw(work, cases):
    """A line of pictures for each case."""
    if not cases:
        return
    figure = Figure((12, 3.2 * len(cases)), layout="constrained")
    for case, axes in zip(cases, figure.subplots(len(cases), 4, squeeze=False), strict=True):
        names = {"truth": "truth", "radrim": "imager-model", "WSClean": "wsclean-model", "residual": "imager-residual"}
        images = {title: fits.getdata(work / case / f"{name}.fits").squeeze() for title, name in names.items()}
        half = len(images["truth"]) // 2
        peak, noise = images["truth"].max(), images["residual"].std()
        for ax, (title, whole) in zip(axes, images.items(), strict=True):
            middle = len(whole) // 2
            image = whole[middle - half : middle + half, middle - half : middle + half]
            ax.axis("off")
            ax.set_title(f"{case}: {title}" if title == "truth" else title, fontsize=8)
            if title == "residual":
                ax.imshow(image, origin="lower", cmap="gray", vmin=-4 * noise, vmax=4 * noise)
            else:
                seen, highest = np.arcsinh(image / (FAINT * peak)), np.arcsinh(0.3 / FAINT)
                ax.imshow(seen, origin="lower", cmap="inferno", vmin=-0.5, vmax=highest)
    save_small(figure, work / "dev_cases.png")


def _difference(column, ours, theirs):
    a, b = (np.array([results[case][column] for case in ours]) for results in (ours, theirs))
    if column == "wall_s":
        return "wall_s (ratio)", f"{np.median(a / b):.2f}", f"{np.max(a / b):.2f}"
    if column in ("flux", "residual"):
        return f"{column} (radrim's own)", f"{np.median(a):.3f}", f"{a.min():.3f} to {a.max():.3f}"
    gain = (a - b)[np.isfinite(b)]  # WSClean may have diverged
    return f"{column} [dB]", f"{np.median(gain):+.2f}", f"{np.min(gain):+.2f}"


if __name__ == "__main__":
    main()

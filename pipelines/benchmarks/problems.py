"""How fast training problems are made, and what they look like.

    python pipelines/benchmarks/problems.py --work bench-work/problems [--first galaxy_data_h5.zip]

Prints problems per second and per CPU second of one process, per class of the sky, and the spread of what a stream
holds. Writes one picture per class (sky, PSF, dirty image) and one of the uv coverages. Give it a quiet machine.
"""

import argparse
import time
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from peer import table

from radrim.rim.training import coverages, skies
from radrim.rim.training.problems import make_problem
from radrim.rim.training.recipe import SKIES, make_recipe

COLUMNS = 8


def speed(mix, size, count, seed=0):
    """Problems of one mix, and how many are made per second of wall clock and of CPU time."""
    recipe = make_recipe(mix, size)
    make_problem(seed, 0, recipe)
    wall, cpu = time.perf_counter(), time.process_time()
    problems = [make_problem(seed, k, recipe) for k in range(count)]
    return problems, count / (time.perf_counter() - wall), count / (time.process_time() - cpu)


def sky_speed(name, size, count, galaxies):
    """Milliseconds of CPU time for one sky."""
    start = time.process_time()
    for k in range(count):
        skies.draw_sky(np.random.default_rng([9, k]), name, size, galaxies)
    return (time.process_time() - start) / count * 1e3


def montage(problems, path):
    """Sky (power 0.4), PSF (-0.2 to 1, its middle) and dirty image (asinh, 5 times the noise) of eight problems."""
    problems = problems[:COLUMNS]
    figure, panels = plt.subplots(3, len(problems), figsize=(2 * len(problems), 6.6), squeeze=False)
    for (top, middle, bottom), p in zip(panels.T, problems, strict=True):
        n = len(p.truth)
        top.imshow((p.truth / max(p.truth.max(), 1e-30)) ** 0.4, cmap="inferno", vmax=0.9)
        middle.imshow(p.psf[n // 2 : -n // 2, n // 2 : -n // 2], cmap="inferno", vmin=-0.2, vmax=1)
        bottom.imshow(np.arcsinh(p.dirty / (5 * p.noise)), cmap="inferno")
        robust = f"{p.robust:.1f}" if np.isfinite(p.robust) else "natural" if p.robust > 0 else "uniform"
        marks = ", outside" * p.outside + ", gains" * (p.gain_error > 0)
        top.set_title(f"{p.coverage}\n{robust}, DR {p.dynamic_range:.0f}{marks}", fontsize=6)
        for panel in (top, middle, bottom):
            panel.invert_yaxis()
            panel.axis("off")
    figure.subplots_adjust(0, 0, 1, 0.94, 0.03, 0.02)
    figure.savefig(path, dpi=70)
    plt.close(figure)


def coverage_montage(path):
    """The uv plane of eight coverages of each kind."""
    layouts = coverages.read_layouts()
    figure, panels = plt.subplots(len(coverages.KINDS), COLUMNS, figsize=(2 * COLUMNS, 2.2 * len(coverages.KINDS)))
    for row, kind in zip(panels, coverages.KINDS, strict=True):
        for k, panel in enumerate(row):
            c = coverages.draw_coverage(np.random.default_rng([1, k]), kind, layouts)
            panel.plot([*c.u, *-c.u], [*c.v, *-c.v], ",")
            panel.set_title(f"{c.kind}, {len(c.u)}", fontsize=7)
            panel.set_aspect("equal")
            panel.axis("off")
    figure.subplots_adjust(0, 0, 1, 0.97, 0.02, 0.12)
    figure.savefig(path, dpi=60)
    plt.close(figure)


def spread(problems):
    """Rows of percentiles of what a stream holds."""
    quantities = {
        "beam, mean width [pixel]": [np.sqrt(p.beam.major * p.beam.minor) for p in problems],
        "beam, axis ratio": [p.beam.major / p.beam.minor for p in problems],
        "PSF, lowest value": [p.psf.min() for p in problems],
        "log10 dynamic range": [np.log10(p.dynamic_range) for p in problems],
        "log10 (dirty peak / noise)": [np.log10(p.dirty.max() / p.noise) for p in problems],
        "empty part of the truth": [np.mean(p.truth == 0) for p in problems],
    }
    return [(name, *(f"{x:.3g}" for x in np.percentile(v, [0, 5, 50, 95, 100]))) for name, v in quantities.items()]


def main():
    """Make problems of every class, print the tables, write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("bench-work/problems"))
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--first", type=Path, help="also time the galaxies of the FIRST survey, from this file")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    paths = {"first": str(args.first)} if args.first else {}
    galaxies = skies.read_first(args.first) if args.first else []
    rows = []
    for name in [*SKIES, "empty", *paths]:
        problems, wall, cpu = speed({"skies": {name: 1}} | paths, args.size, args.count)
        montage(problems, args.work / f"{name}.png")
        rows.append((name, f"{sky_speed(name, args.size, args.count, galaxies):.1f}", f"{wall:.1f}", f"{cpu:.1f}"))
    everything, wall, cpu = speed({}, args.size, 4 * args.count)
    rows.append(("default mix", "", f"{wall:.1f}", f"{cpu:.1f}"))
    coverage_montage(args.work / "coverages.png")
    print(
        table((f"{args.size} x {args.size}, one process", "sky [CPU ms]", "problems / s", "problems / CPU s"), rows),
        "\n",
    )
    print(table(("default mix, percentiles", "0", "5", "50", "95", "100"), spread(everything)))


if __name__ == "__main__":
    main()

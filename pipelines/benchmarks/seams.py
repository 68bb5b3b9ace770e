"""The same data imaged at once and in facets: how far they differ, and whether the seams show.

    python pipelines/benchmarks/seams.py --work bench-work/seams

radrim's demo sky (a radio galaxy across four facets, and faint sources), VLA B. Prints the largest differences, and the
mean step of the difference from pixel to pixel across the seams over that elsewhere (1 where they do not show); draws
the images.
"""

import argparse
from pathlib import Path

import numpy as np
from gigapixel import radrim
from peer import table

from radrim.simulation import simulate
from radrim.write.fits import read_image

SIZE, FACET = 1024, 256


def main():
    """Image twice, compare, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("bench-work/seams"))
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    ms = args.work / "demo.ms"
    if not ms.exists():
        simulate(ms, array="vla-b", sky="demo", noise=0.02)
    for name, more in (("whole", ""), ("facets", f"--facet {FACET}")):
        radrim(
            f"image {ms} --size {SIZE} {SIZE} --scale 1asec --name {args.work / name} --overwrite {more}",
            args.work / "log",
        )
    rows, images = [], {}
    noise = None
    for kind in ("residual", "dirty", "psf", "image"):
        whole, facets = (read_image(args.work / f"{name}-{kind}.fits").astype(float) for name in ("whole", "facets"))
        if kind == "residual":
            noise = 1.4826 * np.median(np.abs(whole - np.median(whole)))
            images["residual in facets"] = facets
            continue
        gap = facets - whole
        seams = np.arange(FACET - 1, SIZE - 1, FACET)
        steps = [np.abs(np.diff(gap, axis=axis)).mean(1 - axis) for axis in (0, 1)]
        ratio = np.mean([step[seams].mean() / step.mean() for step in steps])
        in_noise = "" if kind == "psf" else f"{np.abs(gap).max() / noise:.2f}"
        rows.append((kind, f"{np.abs(gap).max() / np.abs(whole).max():.1e}", in_noise, f"{ratio:.2f}"))
        images[f"{kind} at once"], images[f"{kind}: facets minus at once"] = whole, gap
    print(table(("", "largest difference over peak", "over noise", "steps at seams / elsewhere"), rows))
    draw(images, noise, args.work / "seams.png")


def draw(images, noise, path):
    """Restored images on one scale."""
    from matplotlib.figure import Figure

    names = ["image at once", "image: facets minus at once", "residual in facets"]
    figure = Figure((10.5, 3.6), layout="constrained")
    for axes, name in zip(figure.subplots(1, 3), names, strict=True):
        shown = axes.imshow(images[name], origin="lower", cmap="RdBu_r", vmin=-10 * noise, vmax=10 * noise)
        axes.set_title(name)
        axes.set_xticks(range(0, SIZE + 1, FACET))
        axes.set_yticks(range(0, SIZE + 1, FACET))
    figure.colorbar(shown, label="Jy/beam, ±10 times the noise")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()

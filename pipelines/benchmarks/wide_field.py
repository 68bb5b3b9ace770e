"""The MWA's field of 37 degrees, at once and in facets: exact to the corners, and the sources where NVSS has them?

    python pipelines/benchmarks/wide_field.py --data ../shared/data --work bench-work/wide_field

The dirty image in facets is compared with the direct sum in a window of 16 pixels in each corner and in the middle of
each side, in units of epsilon times the image's peak (the limit is 10). In the restored images each source of NVSS
above --flux is looked for: a peak above ten times the noise within --reach pixels, placed at the vertex of the
parabola through the peak.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from astropy.io import fits
from astropy.wcs import WCS
from peer import table

import radrim
from radrim.config.options import ImageConfig
from radrim.operator import make_operator
from radrim.read.reader import Selection, read
from radrim.weight.imaging import apply_weights

EPSILON = 1e-4
WINDOW = 16
SIGMAS = 10


def exact(ms, result, weight):
    """Largest error of the dirty image over its peak and epsilon, in each of eight windows at its edge."""
    observation = read([str(ms)], Selection())
    grid = result.grid
    apply_weights(observation.blocks, grid, ImageConfig.parse(str(ms), {"weight": weight}).weight, None, 1.2)
    total = sum(float(block.weight.sum(dtype=np.float64)) for block in observation.blocks)
    starts = [(grid.height - WINDOW) * k // 2 for k in range(3)], [(grid.width - WINDOW) * k // 2 for k in range(3)]
    rows = []
    for j, y in enumerate(starts[0]):
        for i, x in enumerate(starts[1]):
            if (i, j) == (1, 1):
                continue
            window = slice(y, y + WINDOW), slice(x, x + WINDOW)
            part, image = grid.region(*window), 0.0
            for block in observation.blocks:
                operator = make_operator("dft", block.uvw, block.freq, part, 1e-9, 2, "cpu")
                image = image + operator.adjoint(torch.from_numpy(block.data), torch.from_numpy(block.weight)).numpy()
            error = np.abs(result.dirty[window] - image / total).max()
            rows.append((f"x {x}, y {y}", f"{error / np.abs(result.dirty).max() / EPSILON:.2g}"))
    return rows


def find(result, places, reach):
    """Offsets (source, 2) [pixel] of the peaks near places (source, 2) (x, y); NaN where there is none."""
    out = np.full((len(places), 2), np.nan)
    for number, (x, y) in enumerate(np.round(places).astype(int)):
        part = result.image[y - reach : y + reach + 1, x - reach : x + reach + 1]
        dy, dx = (int(k) for k in np.unravel_index(part.argmax(), part.shape))
        if part[dy, dx] < SIGMAS * result.noise or not (0 < dy < 2 * reach and 0 < dx < 2 * reach):
            continue
        for axis, three in enumerate((part[dy, dx - 1 : dx + 2], part[dy - 1 : dy + 2, dx])):
            vertex = (three[0] - three[2]) / (2 * (three[0] - 2 * three[1] + three[2]))
            out[number, axis] = (dx, dy)[axis] - reach + vertex - (places[number] - np.round(places[number]))[axis]
    return out


def main():
    """Image, compare, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("bench-work/wide_field"))
    parser.add_argument("--facet", type=int, default=768)
    parser.add_argument("--flux", type=float, default=1.5, help="of NVSS, at 1.4 GHz [Jy/beam]")
    parser.add_argument("--reach", type=int, default=4)
    parser.add_argument("--solver", default="rim")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    ms, weight = args.data / "obs" / "mwa_uvceti_154MHz_2015.ms", "briggs -0.5"
    options = {"size": 3000, "scale": "45asec", "weight": weight, "epsilon": EPSILON, "max_major": 6}
    results = {
        name: radrim.image(ms, name=args.work / name, overwrite=True, facet=facet, solver=args.solver, **options)
        for name, facet in (("at once", None), (f"facets of {args.facet}", args.facet))
    }
    print(table(("window in facets", "error / (epsilon x peak)"), exact(ms, list(results.values())[1], weight)))

    catalogue = fits.getdata(args.data / "catalogs" / "NVSSVZ.FIT", 1)
    bright = catalogue[catalogue["PEAK INT"] > args.flux]
    wcs = WCS(fits.getheader(results["at once"].paths["image"])).celestial
    places = np.stack(wcs.world_to_pixel_values(bright["RA(2000)"], bright["DEC(2000)"]), 1)
    places = places[np.isfinite(places).all(1)]
    edge = 2 * args.reach
    places = places[((places > edge) & (places < 3000 - edge)).all(1)]
    found, rows = {}, []
    for name, result in results.items():
        found[name] = offset = find(result, places, args.reach)
        there = np.isfinite(offset).all(1)
        middle = np.median(offset[there], 0)
        spread = np.hypot(*(offset[there] - middle).T)
        rows.append((
            name, f"{there.sum()} of {len(places)}", f"{middle[0]:.2f}, {middle[1]:.2f}", f"{np.median(spread):.2f}",
            f"{result.noise:.3g}",
        ))  # fmt: skip
    print(table(
        (f"NVSS sources above {args.flux:g} Jy", "found", "median offset x, y [pixel]", "scatter, median [pixel]",
         "noise Jy/beam"),
        rows,
    ))  # fmt: skip
    a, b = found.values()
    common = np.isfinite(a).all(1) & np.isfinite(b).all(1)
    apart = np.hypot(*(a - b)[common].T)
    print(f"{common.sum()} sources in both: places differ by {np.median(apart):.3f} pixel in the median, "
          f"{apart.max():.3f} at most")  # fmt: skip


if __name__ == "__main__":
    main()

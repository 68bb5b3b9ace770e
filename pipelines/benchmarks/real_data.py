"""radrim beside WSClean on real observations: dirty image, PSF, beam, and the image after cleaning.

    python pipelines/benchmarks/real_data.py --data ../shared/data/obs --work bench-work/real

Prints two Markdown tables, and draws real.png: the restored images, radrim's above WSClean's. Both programs get the
same Measurement Set, size, scale, weighting and CLEAN settings. Differences are the largest anywhere, over the
peak. Needs `wsclean` (3.1) on the PATH.
"""

import shutil

import casacore.tables as casatables
import numpy as np
from matplotlib.figure import Figure
from peer import WSCLEAN_ACCURATE, WSCLEAN_TINY, case_parser, load, mad, radrim, save_small, table, wsclean

CLEAN = "-multiscale -mgain 0.8 -gain 0.1 -auto-mask 3 -auto-threshold 0.5 -niter 2000000"

# For fields of point sources: WSClean's multi-scale is slow on the MWA's.
POINTS = CLEAN.replace("-multiscale ", "")

# The GMRT's snapshot has an antenna that is off in phase; cleaned deeper than 3 sigma, WSClean diverges.
SHALLOW = "-mgain 0.8 -gain 0.1 -niter 2000000"

EHT_CLEAN = "-gain 0.03 -mgain 0.5 -auto-mask 3 -auto-threshold 1 -niter 5000"

# name: size, scale, weighting and other options of both, WSClean's gridder and CLEAN settings, shortest baseline
# [wavelengths]. Both programs stop after 20 major cycles; WSClean needs a minute for one of the MWA's, hence 6 there.
CASES = {
    "vla_3c391_4.6GHz": (256, "4asec", "briggs 0", WSCLEAN_ACCURATE, CLEAN, 0),
    "alma_hd142527_b9_cont": (256, "0.025asec", "briggs 0.5", WSCLEAN_ACCURATE, CLEAN, 0),
    "eht_m87_2017_101_hilo_selfcal": (128, "0.002masec", "uniform -padding 4", WSCLEAN_TINY, EHT_CLEAN, 1e8),
    "vlba_m87_8.1GHz_2006": (512, "0.2masec", "uniform", WSCLEAN_ACCURATE, CLEAN, 0),
    "gmrt_1543+480_622MHz_2014": (2048, "1.5asec", "briggs 0 -auto-threshold 3", WSCLEAN_ACCURATE, SHALLOW, 0),
    "vlba_3c273_43GHz_2016": (512, "0.04masec", "uniform", WSCLEAN_ACCURATE, CLEAN, 0),
    "vlba_3c279_43GHz_2013a": (256, "0.04masec", "uniform", WSCLEAN_ACCURATE, CLEAN, 0),
    "mwa_uvceti_154MHz_2015": (3000, "45asec", "briggs -0.5 -nmiter 6", WSCLEAN_ACCURATE, POINTS, 0),
}
C = 299792458.0


def prepare(source, target, shortest):
    """A writable copy; baselines below `shortest` are flagged in it, so that both programs see the same data.

    WSClean's own -minuv-l cuts whole cells of its weighting grid and lets some of the EHT's zero baselines through.
    """
    if target.exists():
        return
    shutil.copytree(source, target, copy_function=shutil.copy)
    for path in (target, *target.rglob("*")):
        path.chmod(path.stat().st_mode | 0o200)
    if shortest:
        with casatables.table(str(target), readonly=False, ack=False) as main:
            with casatables.table(str(target / "SPECTRAL_WINDOW"), ack=False) as windows:
                freq = np.array([windows.getcell("CHAN_FREQ", k).mean() for k in range(windows.nrows())])
            length = np.hypot(*main.getcol("UVW")[:, :2].T) * freq[main.getcol("DATA_DESC_ID")] / C
            flag = main.getcol("FLAG")
            flag[length < shortest] = True
            main.putcol("FLAG", flag)


def compare(name, case, data, work, ours):
    """One row of each table."""
    size, scale, weighting, gridder, clean, shortest = case
    ms = work / f"{name}.ms"
    prepare(data / f"{name}.ms", ms, shortest)
    image = f"-nmiter 20 -size {size} {size} -scale {scale} -weight {weighting}"
    theirs, mine = work / f"{name}-wsclean", work / f"{name}-radrim"
    there = wsclean(f"{gridder} {image} {clean} -name {theirs} {ms}", work / f"{name}-wsclean.log")
    here = radrim(f"image {ms} {image} {ours} -name {mine}", work / f"{name}-radrim.log")
    dirty, psf = (difference(load(mine, kind)[0], load(theirs, kind)[0]) for kind in ("dirty", "psf"))
    beams = [load(prefix, "image")[1] for prefix in (mine, theirs)]
    axes = [beams[0][axis] / beams[1][axis] - 1 for axis in ("BMAJ", "BMIN")]
    agreement = (name, f"{dirty:.1e}", f"{psf:.1e}", f"{100 * axes[0]:+.2f} %", f"{100 * axes[1]:+.2f} %")
    scores = []
    for prefix in (mine, theirs):
        residual = load(prefix, "residual")[0]
        restored = load(prefix, "image")[0]
        scores.append((residual.std(), mad(residual), restored.max() / residual.std(), restored.max() / mad(residual)))
    ratios = [f"{a / b:.3f}" for a, b in zip(*scores, strict=True)]
    cleaned = (
        name,
        f"{scores[0][0]:.3g}",
        f"{scores[1][0]:.3g}",
        *ratios[:2],
        f"{scores[0][3]:.0f}",
        f"{scores[1][3]:.0f}",
        *ratios[2:],
        f"{here.wall:.1f}",
        f"{there.wall:.1f}",
    )
    return agreement, cleaned


def difference(ours, theirs):
    """Largest difference over the peak."""
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


def around(image, noise):
    """A square window (y, x) around what is brighter than 10 times the noise; all of the image if it is small."""
    size = len(image)
    highest = np.abs(image).max()
    bright = np.argwhere(np.abs(image) > np.clip(10 * noise, 0.01 * highest, 0.3 * highest))
    low, high = (np.percentile(bright, edge, 0) for edge in (1, 99))
    middle, half = (low + high) / 2, int(np.clip(0.7 * (high - low).max(), 48, size // 2))
    start = np.clip(middle - half, 0, size - 2 * half).astype(int)
    return tuple(slice(at, at + 2 * half) for at in start)


def draw(names, work, path):
    """Restored images of both programs, of each observation on one scale: linear up to the noise, then logarithmic."""
    columns = 4
    lines = -(-len(names) // columns)
    figure = Figure((3.2 * columns, 6.6 * lines), layout="constrained")
    panels = figure.subplots(2 * lines, columns, squeeze=False)
    for axes in panels.flat:
        axes.axis("off")
    for number, name in enumerate(names):
        line, column = divmod(number, columns)
        prefixes = {"radrim": work / f"{name}-radrim", "WSClean": work / f"{name}-wsclean"}
        images = {who: load(prefix, "image")[0] for who, prefix in prefixes.items()}
        noise = mad(load(prefixes["WSClean"], "residual")[0])
        window = around(images["radrim"], noise)
        highest = max(image[window].max() for image in images.values())
        for row, (who, image) in enumerate(images.items()):
            axes = panels[2 * line + row, column]
            seen = np.arcsinh(image[window] / noise)
            axes.imshow(seen, origin="lower", cmap="inferno", vmin=-2, vmax=np.arcsinh(highest / noise))
            axes.set_title(f"{who}: {name}" if who == "radrim" else who, fontsize=8)
    save_small(figure, path)


def main():
    """Run the cases and print the tables."""
    parser = case_parser(__doc__, CASES, "bench-work/real")
    parser.add_argument("--options", default="", help="more options for radrim, such as '--auto-mask 3'")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    results = []
    for name in args.only:
        results.append(compare(name, CASES[name], args.data, args.work, args.options))
        print(results[-1], flush=True)
    draw(args.only, args.work, args.work / "real.png")
    print()
    print(table(("observation", "dirty", "PSF", "BMAJ", "BMIN"), [r[0] for r in results]))
    print()
    print(
        table(
            (
                "observation",
                "rms radrim",
                "rms WSClean",
                "rms ratio",
                "MAD ratio",
                "peak/MAD radrim",
                "peak/MAD WSClean",
                "peak/rms ratio",
                "peak/MAD ratio",
                "radrim s",
                "WSClean s",
            ),
            [r[1] for r in results],
        )
    )


if __name__ == "__main__":
    main()

"""A large image beside WSClean: 4096 x 4096 pixels, 10.1 million visibilities of a VLA B track, 16 channels.

    python pipelines/benchmarks/large.py --truth ../shared/data/truth --work bench-work/large

Prints wall time and peak memory for the dirty image and PSF, and the time of one major cycle (predict and image).
The programs run in turn, several times; medians and the medians of the pairwise ratios are printed.
Needs `wsclean` (3.1) on the PATH. The sky is 3C353 among 3,000 point sources.

With --whole it runs each minor cycle to its end instead, once, and scores it against the sky; --wsclean adds WSClean's
multi-scale, which takes 10 minutes or more (--limit ends it).
"""

import argparse
import re
from pathlib import Path

import numpy as np
from astropy.io import fits
from peer import load, mad, radrim, table, wsclean

from radrim.metrics import snr_db
from radrim.simulation import simulate

SIZE, SCALE_ARCSEC = 4096, 1.3
IMAGE = f"-size {SIZE} {SIZE} -scale {SCALE_ARCSEC}asec -weight briggs 0"


def write_sky(path, truth, seed=1):
    """3C353 (2 Jy) in the middle of 3,000 point sources with power-law counts, as a FITS image [Jy/pixel]."""
    rng = np.random.default_rng(seed)
    size = SIZE * 3 // 4
    sky = np.zeros((size, size), np.float32)
    y, x = rng.integers(8, size - 8, (2, 3000))
    np.add.at(sky, (y, x), np.minimum(1e-3 * (rng.pareto(1.1, 3000) + 1), 1.0))
    galaxy = np.squeeze(fits.getdata(truth / "r2d2_3c353_gdth.fits")).astype(float).clip(0)
    top, left = (size - galaxy.shape[0]) // 2, (size - galaxy.shape[1]) // 2
    sky[top : top + galaxy.shape[0], left : left + galaxy.shape[1]] += 2 * galaxy / galaxy.sum()
    header = fits.Header(
        {
            "CTYPE1": "RA---SIN",
            "CTYPE2": "DEC--SIN",
            "CRPIX1": size // 2 + 1,
            "CRPIX2": size // 2 + 1,
            "CRVAL1": 299.0,
            "CRVAL2": 40.0,
            "CDELT1": -SCALE_ARCSEC / 3600,
            "CDELT2": SCALE_ARCSEC / 3600,
            "CUNIT1": "deg",
            "CUNIT2": "deg",
            "BUNIT": "Jy/pixel",
        }
    )
    fits.writeto(path, sky, header, overwrite=True)


def build(work, truth):
    """The Measurement Set: 351 baselines x 1,800 times x 16 channels."""
    ms = work / "large.ms"
    if not ms.exists():
        write_sky(work / "sky.fits", truth)
        simulate(
            ms,
            array="vla-b",
            sky=work / "sky.fits",
            ra=299.0,
            dec=40.0,
            freq=1.4e9,
            bandwidth=128e6,
            channels=16,
            hours=5.0,
            integration=10.0,
            noise=0.05,
            threads=2,
        )
    return ms


def dirty_and_psf(ms, work, rounds):
    """Wall time and memory of the dirty image and PSF: rows of the table."""
    ours, default, gridder = [], [], []
    for _ in range(rounds):
        ours.append(radrim(f"image {ms} {IMAGE} -niter 0 -name {work / 'r'}", work / "r.log"))
        default.append(wsclean(f"{IMAGE} -niter 0 -make-psf -name {work / 'w'} {ms}", work / "w.log"))
        gridder.append(wsclean(f"-use-wgridder {IMAGE} -niter 0 -make-psf -name {work / 'g'} {ms}", work / "g.log"))
    rows = []
    for name, runs in (
        ("radrim", ours),
        ("WSClean (its default, w-stacking)", default),
        ("WSClean -use-wgridder", gridder),
    ):
        wall = np.median([r.wall for r in runs])
        ratio = np.median([a.wall / b.wall for a, b in zip(ours, runs, strict=True)])
        rows.append(
            (
                name,
                f"{wall:.1f}",
                f"{np.median([r.cpu for r in runs]):.1f}",
                f"{max(r.memory for r in runs) / 1e9:.2f}",
                f"{ratio:.2f}",
            )
        )
    return rows


def major_cycle(ms, work, rounds):
    """Seconds of one major cycle, prediction and inversion, as each program logs them: rows of the table."""
    ours, theirs = [], []
    clean = "-niter 100 -mgain 0.5"
    for _ in range(rounds):
        ours_too = f"{clean} --solver clean -max-major 1 -debug"
        log = radrim(f"image {ms} {IMAGE} {ours_too} -name {work / 'r1'}", work / "r1.log").output
        ours.append(float(re.search(r"exact residual: ([0-9.]+) s", log)[1]))
        log = wsclean(f"{IMAGE} {clean} -nmiter 1 -name {work / 'w1'} {ms}", work / "w1.log").output
        spent = re.search(r"Inversion: ([0-9:.]+), prediction: ([0-9:.]+)", log)
        # WSClean inverts three times here: PSF, dirty image, residual.
        theirs.append(_seconds(spent[1]) / 3 + _seconds(spent[2]))
    ratio = np.median(np.array(ours) / np.array(theirs))
    return [("radrim", f"{np.median(ours):.1f}", f"{1:.2f}"), ("WSClean", f"{np.median(theirs):.1f}", f"{ratio:.2f}")]


def whole(ms, work, solvers, with_wsclean, limit):
    """Complete runs, one row of the table each, as they end: wall time, memory and scores."""
    truth = fits.getdata(work / "sky.fits").astype(float)
    sky, low = np.zeros((SIZE, SIZE)), (SIZE - len(truth)) // 2
    sky[low : low + len(truth), low : low + len(truth)] = truth
    for solver in solvers:
        prefix = work / solver
        done = radrim(f"image {ms} {IMAGE} --solver {solver} -name {prefix}", work / f"{solver}.log")
        yield (f"radrim --solver {solver}", *_score(sky, prefix, done))
    if with_wsclean:
        options = "-multiscale -mgain 0.8 -gain 0.1 -auto-threshold 0.5 -auto-mask 2.5 -nmiter 20 -niter 2000000"
        done = wsclean(f"{IMAGE} {options} -name {work / 'ws'} {ms}", work / "ws.log", limit=limit)
        if done is None:
            yield ("WSClean multi-scale, stopped", f"> {limit:.0f}", *[""] * 7)
        else:
            yield ("WSClean multi-scale", *_score(sky, work / "ws", done))


def _score(sky, prefix, done):
    model, image, residual = (load(prefix, kind)[0] for kind in ("model", "image", "residual"))
    kernel = _beam(load(prefix, "image")[1])
    seen, found = (np.fft.irfft2(np.fft.rfft2(a) * kernel, s=a.shape) for a in (sky, model))
    return (
        f"{done.wall:.0f}",
        f"{done.cpu:.0f}",
        f"{done.memory / 1e9:.2f}",
        f"{snr_db(sky, model):.1f}",
        f"{snr_db(seen, found):.1f}",
        f"{snr_db(seen, image):.1f}",
        f"{model.sum() / sky.sum():.4f}",
        f"{mad(residual):.3g}",
    )


def _beam(header):
    """Transform of the restoring beam, peak 1, on the half plane of frequencies."""
    cell = abs(header["CDELT2"])
    major, minor = (header[key] / cell for key in ("BMAJ", "BMIN"))
    angle = np.radians(header["BPA"])
    v, u = np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None, :]
    along, across = v * np.cos(angle) - u * np.sin(angle), v * np.sin(angle) + u * np.cos(angle)
    area = np.pi * major * minor / (4 * np.log(2))
    return area * np.exp(-(np.pi**2) / (4 * np.log(2)) * ((major * along) ** 2 + (minor * across) ** 2))


def _seconds(text):
    hours, minutes, seconds = text.split(":")
    return 3600 * int(hours) + 60 * int(minutes) + float(seconds)


def main():
    """Build the data, run both programs, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--truth", type=Path, default=Path("../shared/data/truth"))
    parser.add_argument("--work", type=Path, default=Path("bench-work/large"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--whole", action="store_true", help="complete runs, scored")
    parser.add_argument("--solvers", nargs="*", default=["rim", "clean"], help="with --whole: minor cycles to run")
    parser.add_argument("--wsclean", action="store_true", help="with --whole: WSClean, too")
    parser.add_argument("--limit", type=float, help="stop WSClean after so many seconds")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    ms = build(args.work, args.truth)
    if args.whole:
        columns = ("complete run", "wall s", "CPU s", "GB", "native", "beam", "image", "flux", "noise Jy/beam")
        rows = []
        for row in whole(ms, args.work, args.solvers, args.wsclean, args.limit):
            rows.append(row)
            print(row, flush=True)
        print("", table(columns, rows), sep="\n")
        return
    columns = ("dirty image and PSF", "wall s", "CPU s", "peak memory GB", "radrim / this")
    print(table(columns, dirty_and_psf(ms, args.work, args.rounds)), "\n", flush=True)
    print(table(("one major cycle", "s", "radrim / this"), major_cycle(ms, args.work, args.rounds)))


if __name__ == "__main__":
    main()

"""Stokes I, Q, U and V of simulated skies: signs, agreement with WSClean, errors of both minor cycles, and masks.

    python pipelines/benchmarks/polarisation.py --work bench-work/polarisation

Two points and three Gaussian sources with known Stokes parameters, seen by linear and by circular feeds of VLA C and by
the VLBA, whose coverage is sparse. The truth is the sky in the restoring beam. `mask` cleans Q, U and V only where
Stokes I of the run before it is above eight times its noise.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from astropy.io import fits
from peer import table, wsclean
from scipy.ndimage import binary_dilation

import radrim
from radrim.beam import restore
from radrim.geometry import ARCSEC
from radrim.simulation import simulate
from radrim.sky.catalogue import offset_position

RA, DEC, SIZE = 30.0, 40.0, 256
ARRAYS = {"vla-c": (3.5, 1.4e9, 300.0, 0.05), "vlba": (3e-4, 8.4e9, 300.0, 0.02)}
"""Pixel [arcsec], frequency [Hz], integration [s] and noise of a visibility [Jy]."""
FEEDS = {"linear": "XX,XY,YX,YY", "circular": "RR,RL,LR,LL"}
# x, y [pixel], I, Q, U, V [Jy], FWHM [pixel]
SOURCES = np.array([
    (0, 0, 1.0, 0.10, -0.06, 0.02, 0), (-16, 10, 0.5, -0.03, 0.04, -0.01, 0), (12, -15, 2.0, 0.25, 0.10, 0.0, 9),
    (20, -12, 0.6, -0.15, 0.10, 0.0, 6), (-8, -20, 0.3, 0.0, 0.0, 0.0, 9),
])  # fmt: skip
TITLES = ("data, minor cycle", "Stokes", "peak [Jy]", "true [Jy]", "error, on [uJy]", "error, off [uJy]",
          "residual [uJy]", "model off [mJy]", "s")  # fmt: skip
WEIGHT = "briggs 0"
LEVEL = 8
"""Of Stokes I over its noise, where the mask lets Q, U and V be cleaned."""


def build(work, array, feeds):
    """A Measurement Set."""
    ms, (pixel, freq, integration, noise) = work / f"{array}-{feeds}.ms", ARRAYS[array]
    if not ms.exists():
        x, y, *stokes, width = SOURCES.T
        places = offset_position(-x * pixel * ARCSEC, y * pixel * ARCSEC, np.radians(RA), np.radians(DEC))
        columns = np.transpose([*np.degrees(places), *stokes, width * pixel, width * pixel])
        lines = [",".join(f"{value:.12g}" for value in row) for row in columns]
        names = "ra_deg,dec_deg,i_jy,q_jy,u_jy,v_jy,major_arcsec,minor_arcsec"
        (work / f"{array}.csv").write_text("\n".join([names, *lines]) + "\n")
        simulate(ms, array=array, sky=work / f"{array}.csv", ra=RA, dec=DEC, freq=freq, bandwidth=freq / 40, channels=4,
                 hours=6.0, integration=integration, correlations=FEEDS[feeds], noise=noise)  # fmt: skip
    return ms, f"{pixel}asec"


def truth(name, beam, scale):
    """A Stokes parameter in the restoring beam [Jy/beam]."""
    y, x = np.indices((SIZE, SIZE)) - SIZE // 2
    sky = np.zeros((SIZE, SIZE), np.float32)
    for x0, y0, *stokes, width in SOURCES:
        flux = stokes["IQUV".index(name)]
        if width:
            shape = np.exp(-4 * np.log(2) * ((x - x0) ** 2 + (y - y0) ** 2) / width**2)
            sky += flux * shape / shape.sum()
        else:
            sky[SIZE // 2 + int(y0), SIZE // 2 + int(x0)] += flux
    return restore(sky, beam, scale)


def rows(label, result, seconds):
    """Lines of the table: peak error at the first point, errors where the sky is and where it is empty."""
    for name, image in result.polarisations.items():
        right = truth(name, image.beam, result.grid.scale)
        error, on = image.image - right, np.abs(truth("I", image.beam, result.grid.scale)) > 1e-3
        middle = image.image[SIZE // 2, SIZE // 2]
        yield (
            label, name, f"{middle:.4f}", f"{right[SIZE // 2, SIZE // 2]:.4f}", f"{1e6 * error[on].std():.0f}",
            f"{1e6 * error[~on].std():.0f}", f"{1e6 * image.noise:.0f}",
            f"{1e3 * np.abs(image.model[~on]).sum():.1f}", f"{seconds:.0f}",
        )  # fmt: skip


def compare_dirty(ms, scale, work, stem):
    """Largest difference of dirty images from WSClean's, over the peak of Stokes I."""
    line = f"-use-wgridder -no-small-inversion -reorder -pol iquv -size {SIZE} {SIZE} -scale {scale} -weight {WEIGHT} "
    wsclean(f"{line} -niter 0 -name {work / stem}-w {ms}", work / f"{stem}-w.log")
    mine = radrim.image(ms, pol="IQUV", size=SIZE, scale=scale, weight=WEIGHT, niter=0, name=work / f"{stem}-d")
    peak = np.abs(mine.dirty).max()
    return [
        np.abs(image.dirty - fits.getdata(f"{work / stem}-w-{name}-dirty.fits").squeeze()).max() / peak
        for name, image in mine.polarisations.items()
    ]


def main():
    """Simulate, image in several ways, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("bench-work/polarisation"))
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    cases = (("vlba", "circular"), ("vla-c", "linear"), ("vla-c", "circular"))
    built = {f"{array}-{feeds}": build(args.work, array, feeds) for array, feeds in cases}
    differences = [
        (stem, *(f"{d:.1e}" for d in compare_dirty(ms, scale, args.work, stem))) for stem, (ms, scale) in built.items()
    ]
    print(table(("data", "I", "Q", "U", "V"), differences), flush=True)
    print(table(TITLES, []))
    for stem, (ms, scale) in built.items():
        common, mask = {"size": SIZE, "scale": scale, "threads": args.threads}, args.work / f"{stem}-mask.fits"
        for solver, masked in (("rim", False), ("clean", False), ("rim", True), ("clean", True)):
            more = {"mask": mask, "pol": "QUV"} if masked else {"pol": "IQUV"}
            name, start = args.work / f"{stem}-{solver}{'-mask' * masked}", time.perf_counter()
            result = radrim.image(ms, solver=solver, name=name, **common, **more)
            lines = rows(f"{stem} {solver}{', mask' * masked}", result, time.perf_counter() - start)
            print(*table((), lines).splitlines()[2:], sep="\n", flush=True)
            if solver == "rim" and not masked:
                bright = binary_dilation(result.image > LEVEL * result.noise, iterations=3)
                header = fits.getheader(result.paths["image"])
                fits.writeto(mask, bright.astype(np.float32)[None, None], header, overwrite=True)


if __name__ == "__main__":
    main()

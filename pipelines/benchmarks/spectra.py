"""Spectral indices of sources in a wide band, beside WSClean: errors, residuals, time.

    python pipelines/benchmarks/spectra.py --work bench-work/spectra

VLA B, 1.2 to 1.8 GHz in 8 channels, 24 points and one Gaussian source with spectral indices from -1.2 to 0.8.
radrim's index is that of NAME-MFS-alpha.fits at the brightest pixel of each source; WSClean writes no map of it:
there it is that of its channels' models (joined, polynomials of two terms), summed within 6 arcsec of each source.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from astropy.io import fits
from peer import table, wsclean

import radrim
from radrim.geometry import ARCSEC
from radrim.simulation import simulate
from radrim.sky.catalogue import offset_position

RA, DEC = 30.0, 40.0
SIZE, CHANNELS, MIDDLE = 512, 8, 1.5e9
REACH = 6
"""Pixels of an arcsecond around a source that are its own."""


def build(work):
    """The Measurement Set, and places [pixel], fluxes [Jy] at `MIDDLE` and spectral indices of its sources."""
    rng = np.random.default_rng(7)
    x, y = rng.uniform(-200, 200, (2, 25)).round()
    flux, alpha = 10 ** rng.uniform(-2, 0.3, 25), rng.uniform(-1.2, 0.8, 25)
    shape = np.zeros((25, 3))
    x[0], y[0], flux[0], alpha[0], shape[0] = 60, -60, 1.0, -0.8, (14, 9, 30)
    ms = work / "wide.ms"
    if not ms.exists():
        places = offset_position(-x * ARCSEC, y * ARCSEC, np.radians(RA), np.radians(DEC))
        columns = [np.degrees(places[0]), np.degrees(places[1]), flux, alpha, *shape.T]
        lines = [",".join(f"{value:.9g}" for value in row) for row in np.transpose(columns)]
        catalogue = work / "wide.csv"
        catalogue.write_text("ra_deg,dec_deg,i_jy,alpha,major_arcsec,minor_arcsec,pa_deg\n" + "\n".join(lines) + "\n")
        simulate(
            ms, array="vla-b", sky=catalogue, ra=RA, dec=DEC, freq=MIDDLE, bandwidth=600e6, channels=CHANNELS,
            hours=4.0, noise=0.02,
        )  # fmt: skip
    return ms, x.astype(int), y.astype(int), flux, alpha


def row(name, seconds, residual, found, alpha):
    """A line of the table."""
    off = np.abs(found - alpha)
    return (
        name, f"{np.median(off):.3f}", f"{np.percentile(off, 90):.3f}", f"{off.max():.2f}",
        f"{1e6 * residual.std():.0f}", f"{1e6 * np.abs(residual).max():.0f}", f"{seconds:.0f}",
    )  # fmt: skip


def main():
    """Build the data, run both programs, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("bench-work/spectra"))
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    ms, x, y, flux, alpha = build(args.work)
    rows, middle = [], SIZE // 2
    for terms in (2, 3):
        begin = time.perf_counter()
        result = radrim.image(
            ms, size=SIZE, scale="1asec", channels_out=CHANNELS, spectral_terms=terms, name=args.work / f"t{terms}",
            overwrite=True,
        )  # fmt: skip
        seconds = time.perf_counter() - begin
        index, error = (fits.getdata(result.paths[name]).squeeze() for name in ("alpha", "alpha-error"))
        bright = [_brightest(result.image, middle + a, middle + b) for a, b in zip(x, y, strict=True)]
        found = np.array([index[place] for place in bright])
        off = (found - alpha) / np.array([error[place] for place in bright])
        rows.append(row(f"radrim, {terms} terms", seconds, result.residual, found, alpha))
        print(f"{terms} terms: (found - true) / error: median of |.| {np.median(np.abs(off)):.1f}", flush=True)
    done = wsclean(
        f"-size {SIZE} {SIZE} -scale 1asec -weight briggs 0 -channels-out {CHANNELS} -join-channels "
        f"-fit-spectral-pol 2 -multiscale -niter 1000000 -mgain 0.8 -auto-mask 3 -auto-threshold 0.5 "
        f"-name {args.work / 'ws'} {ms}",
        args.work / "ws.log",
    )
    sums = np.empty((CHANNELS, len(x)))
    freq = np.empty(CHANNELS)
    for k in range(CHANNELS):
        with fits.open(args.work / f"ws-{k:04d}-model.fits") as hdus:
            freq[k], model = hdus[0].header["CRVAL3"], hdus[0].data.squeeze()
        for number, (a, b) in enumerate(zip(x, y, strict=True)):
            part = (slice(middle + v - REACH, middle + v + REACH + 1) for v in (b, a))
            sums[k, number] = model[tuple(part)].sum()
    slope, value = np.polyfit(freq / MIDDLE - 1, sums, 1)
    residual = fits.getdata(args.work / "ws-MFS-residual.fits").squeeze()
    rows.append(row("WSClean, 2 terms", done.wall, residual, slope / value, alpha))
    columns = (
        f"{len(x)} sources of {flux.min():.2g} to {flux.max():.2g} Jy", "error of alpha: median", "90 %", "largest",
        "residual rms µJy/beam", "its peak", "s",
    )  # fmt: skip
    print(table(columns, rows))


def _brightest(image, x, y):
    part = image[y - REACH : y + REACH + 1, x - REACH : x + REACH + 1]
    dy, dx = np.unravel_index(part.argmax(), part.shape)
    return y - REACH + dy, x - REACH + dx


if __name__ == "__main__":
    main()

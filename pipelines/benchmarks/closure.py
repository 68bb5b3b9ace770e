"""Images from closure quantities alone, beside the truth and beside ordinary images: how alike are the structures?

    python pipelines/benchmarks/closure.py --work bench-work/closure [--data FOLDER] [--only NAME ...]

Simulated: the Event Horizon Telescope's stations look at two points, a Gaussian, a ring and a crescent, with gain
errors of 30 % and a random phase at each station in every scan. Real (--data): VLBA observations that are
self-calibrated, whose ordinary image by radrim stands for the truth. Score: the largest normalised cross-correlation
over all shifts, since closure quantities know no position, of both images seen with the same beam.
"""

import argparse
import time
from pathlib import Path

import numpy as np

import radrim
from radrim.beam import restore
from radrim.closure.ring import measure_ring
from radrim.geometry import ARCSEC, format_angle
from radrim.ms.tables import open_table
from radrim.simulation import make_sky, simulate
from radrim.sky.catalogue import offset_position

UAS = ARCSEC * 1e-6
RA, DEC = 187.7, 12.39
REAL = ("vlba_3c279_43GHz_2013a", "vlba_3c273_43GHz_2016", "vlba_m87_8.1GHz_2006")


def circle(diameter, fade):
    """Points of a ring, bright in the south: (x to the east, y to the north) [microarcsecond] and fluxes [Jy]."""
    angle = 2 * np.pi * np.arange(120) / 120
    places = np.column_stack([np.sin(angle), np.cos(angle)]) * diameter / 2
    return places, (1 - fade * np.cos(angle)) / 120


def cloud(width):
    """A Gaussian of many points."""
    places = np.random.default_rng(1).standard_normal((400, 2)) * width / np.sqrt(8 * np.log(2))
    return places, np.full(400, 1 / 400)


SKIES = {
    "two points": (np.array([[0, 0], [50, 30]]), np.array([0.7, 0.3])),
    "Gaussian": cloud(40),
    "ring": circle(42, 0.0),
    "crescent": circle(42, 0.8),
}


def scramble(ms, seed):
    """A random phase at each station for each hand and integration, as the atmosphere leaves them."""
    rng = np.random.default_rng(seed)
    with open_table(ms):  # imports casacore without its warnings
        import casacore.tables as tables
    with tables.table(str(ms), readonly=False, ack=False) as main:
        first, second, when = (main.getcol(name) for name in ("ANTENNA1", "ANTENNA2", "TIME"))
        _, moment = np.unique(when, return_inverse=True)
        data = main.getcol("DATA")
        phase = rng.uniform(0, 2 * np.pi, (moment.max() + 1, max(first.max(), second.max()) + 1, data.shape[2]))
        data *= np.exp(1j * (phase[moment, first] - phase[moment, second]))[:, None]
        main.putcol("DATA", data)


def likeness(a, b):
    """Largest normalised cross-correlation over all shifts of whole pixels."""
    shape = [2 * n for n in a.shape]
    product = np.fft.rfft2(a, shape) * np.fft.rfft2(b, shape).conj()
    return float(np.fft.irfft2(product, shape).max() / np.sqrt((a**2).sum() * (b**2).sum()))


def simulated(name, work):
    """(closure image, true image on its grid), both with the restoring beam, and the result."""
    places, fluxes = SKIES[name]
    ms = work / f"{name.replace(' ', '-')}.ms"
    sky = make_sky(*offset_position(*places.T * UAS, np.radians(RA), np.radians(DEC)), np.outer(fluxes, [1.0, 0, 0, 0]),
                   227e9)  # fmt: skip
    simulate(ms, array="eht2017", sky=sky, ra=RA, dec=DEC, freq=227e9, bandwidth=2e9, channels=1, hours=8,
             integration=600, noise=0.005, gain_error=0.3, overwrite=True)  # fmt: skip
    scramble(ms, 3)
    result = radrim.image(ms, name=work / ms.stem, data="closure", overwrite=True)
    grid = result.grid
    truth = np.zeros(grid.shape)
    y, x = (np.rint(at).astype(int) for at in grid.pixel(*(places * UAS).T))
    np.add.at(truth, (y, x), fluxes)
    return restore(result.model, result.beam, grid.scale), restore(truth, result.beam, grid.scale), result


def real(name, work, data):
    """(closure image, ordinary image), both with the same beam, and the result of closure quantities."""
    path = data / "obs" / f"{name}.ms"
    result = radrim.image(path, name=work / f"{name}-closure", data="closure", overwrite=True)
    grid = result.grid
    plain = radrim.image(path, name=work / f"{name}-plain", size=grid.shape[::-1], scale=format_angle(grid.scale, 12),
                         overwrite=True)  # fmt: skip
    return restore(result.model, plain.beam, grid.scale), plain.image, result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("bench-work/closure"))
    parser.add_argument("--data", type=Path, help="folder with obs/*.ms")
    parser.add_argument("--only", nargs="*", default=[*SKIES, *REAL])
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    print("| source | likeness | chi2 closure phase | chi2 log closure amplitude | chi2 amplitude | ring | time [s] |\n"
          "|---|---|---|---|---|---|---|", flush=True)  # fmt: skip
    for name in args.only:
        if name in REAL and args.data is None:
            continue
        start = time.perf_counter()
        mine, truth, result = simulated(name, args.work) if name in SKIES else real(name, args.work, args.data)
        ring = measure_ring(result.model, result.grid.scale)
        cells = [name, f"{likeness(mine, truth):.3f}",
                 *(f"{result.facts[key]:.3g}" for key in ("chisq_phase", "chisq_amplitude", "chisq_visibility")),
                 f"{ring.diameter / UAS:.1f} uas (thin {ring.thin / UAS:.1f})" if ring.found else "no ring",
                 f"{time.perf_counter() - start:.0f}"]  # fmt: skip
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()

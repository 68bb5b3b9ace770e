"""Calibrated VLBI observations with few visibilities: default options, and relative entropy by itself.

    python pipelines/benchmarks/sparse.py --data ../shared/data

Images each of `FILES` without any option but the solver. Prints a Markdown table: the ring in the model, if there is
one (diameter and scatter, width) [microarcsecond], flux of the model [Jy], its part beyond `FAR` of the
brightest pixel [Jy], chi^2 per datum of kept-out visibilities, seconds, and whether radrim says that the visibilities
are not calibrated. `--limit` ends a run that takes longer.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from astropy.io import fits
from peer import table

from radrim.closure.ring import measure_ring
from radrim.geometry import ARCSEC

FILES = (
    "uvfits/eht_m87_2017_101_lo_selfcal.uvfits",
    "uvfits/eht_m87_2017_101_lo_polarimetric.uvfits",
    "uvfits/eht_m87_2017_101_lo_netcal.uvfits",
    "more/L2V1_M87_2018_111_b3_hops_netcal_10s_StokesI.uvfits",
    "more/3C84_2010-11-01.UVP",
)
FAR = 4e-3
"""[arcsec]"""


def main():
    """Image and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("bench-work/sparse"))
    parser.add_argument("--only", help="part of the names of files")
    parser.add_argument("--limit", type=float, default=900.0, help="seconds for each image")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    rows = []
    for file in FILES:
        if args.only and args.only not in file:
            continue
        for solver in ("rim", "entropy"):
            rows.append((Path(file).stem, solver, *_measure(args.data / file, solver, args)))
            print(rows[-1], flush=True)
    print(table(("file", "solver", "ring", "width", "flux", "beyond 4 mas", "kept-out chi^2", "s", "says"), rows))


def _measure(path, solver, args):
    name = args.work / f"{path.stem}-{solver}"
    start = time.perf_counter()
    command = [sys.executable, "-m", "radrim", "image", path, "--solver", solver, "--name", name, "--overwrite"]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=args.limit)
    except subprocess.TimeoutExpired:
        return ("",) * 5 + (f"> {args.limit:.0f}", "not finished")
    seconds = f"{time.perf_counter() - start:.0f}"
    if done.returncode:
        return ("",) * 5 + (seconds, (done.stderr or done.stdout).strip().splitlines()[-1])
    model, header = fits.getdata(f"{name}-model.fits", header=True)
    model = np.squeeze(model).astype(float)
    pixel = header["CDELT2"] * 3600
    ring = measure_ring(model, pixel * ARCSEC)
    y, x = np.unravel_index(model.argmax(), model.shape)
    rows, columns = np.indices(model.shape)
    far = model[np.hypot(rows - y, columns - x) * pixel > FAR].sum()
    quality = json.loads(Path(f"{name}-qa.json").read_text())
    kept = (quality.get("visibility_fit") or {}).get("kept")
    size, scatter, width = (value / ARCSEC * 1e6 for value in (ring.diameter, ring.scatter, ring.width))
    says = "not calibrated" if any("not calibrated" in note for note in quality["notes"]) else ""
    return (
        f"{size:.1f} +- {scatter:.1f}" if ring.found else "none", f"{width:.1f}" if ring.found else "",
        f"{model.sum():.3f}", f"{far:.2f}", "" if kept is None else f"{kept:.2f}", seconds, says,
    )  # fmt: skip


if __name__ == "__main__":
    main()

"""Another group's problem: QuantifAI's M31 and other skies, imaged by radrim through ../shared/bench/external.

    python pipelines/benchmarks/quantifai.py --work bench-work/quantifai
    python pipelines/benchmarks/quantifai.py --skies ../shared/data/truth/W28_256.fits ../shared/data/truth/r2d2*.fits

256 x 256 pixels, MeerKAT for 1, 2, 4 and 8 hours, emission that fills the image, a beam two pixels wide. Prints a
Markdown table: native decibels of the model, chi^2 per datum of all visibilities, total variation (best of three
weights), what the authors publish of M31, and seconds. Larger skies are averaged to 256 x 256 pixels. Options of radrim
come after --.
"""

import argparse
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
from astropy.io import fits
from peer import table

SIDE = 256
"""Of all skies [pixel]."""

ROW = re.compile(
    r"(\S+) (\d) h: native (\S+) dB \((?:published (\S+), total variation (\S+))?\), chi\^2 per datum (\S+), (\S+) s"
)
VARIATION = re.compile(r"(\S+) (\d) h: total variation (\S+) dB")


def main():
    """Run the other group's script and print its results as a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", type=Path, default=Path("../shared/bench"))
    parser.add_argument("--work", type=Path, default=Path("bench-work/quantifai"))
    parser.add_argument("--skies", type=Path, nargs="+", help="other skies, FITS; by default M31")
    parser.add_argument("options", nargs="*", help="options for radrim, after --")
    args = parser.parse_args()
    imager = (
        f"{sys.executable} -m radrim image {{ms}} --size {{nx}} {{ny}} --scale 1asec --weight briggs 0 --overwrite "
        f"--name {{name}} {shlex.join(args.options)}"
    )
    command = [sys.executable, args.bench / "external" / "quantifai.py", "--work", args.work, "--imager", imager]
    rows = []
    args.work.mkdir(parents=True, exist_ok=True)
    for sky in args.skies or [None]:
        other = ["--image", _averaged(sky, args.work / sky.name), "--tv"] if sky else []
        done = subprocess.run([*command, *other], check=True, capture_output=True, text=True)
        measured = {(name, hours): found for name, hours, found in VARIATION.findall(done.stdout)}
        for name, hours, native, published, variation, chi2, seconds in ROW.findall(done.stdout):
            rows.append((name, hours, native, chi2, variation or measured[name, hours], published, seconds))
    print(table(("sky", "hours", "radrim", "chi^2 per datum", "total variation", "published", "s"), rows))


def _averaged(path, out):
    """Average a sky to 256 x 256 pixels in a new file; return its path."""
    sky = np.squeeze(fits.getdata(path)).astype(np.float32)
    factor = -(-max(sky.shape) // SIDE)
    missing = [factor * SIDE - n for n in sky.shape]
    sky = np.pad(sky, [(n // 2, n - n // 2) for n in missing])
    fits.writeto(out, sky.reshape(SIDE, factor, SIDE, factor).mean((1, 3)), overwrite=True)
    return out


if __name__ == "__main__":
    main()

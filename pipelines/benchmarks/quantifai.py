"""Another group's problem: QuantifAI's M31, imaged by radrim through the script of ../shared/bench/external.

    python pipelines/benchmarks/quantifai.py --work bench-work/quantifai

256 x 256 pixels, MeerKAT for 1, 2, 4 and 8 hours, emission that fills the image, a beam two pixels wide. Prints a
Markdown table: native decibels of the model, chi^2 per datum of all visibilities, and what the script quotes of total
variation and of the published method. Options of radrim come after --.
"""

import argparse
import re
import shlex
import subprocess
import sys
from pathlib import Path

from peer import table

ROW = re.compile(
    r"(\d) h: native (\S+) dB \(published (\S+), total variation (\S+)\), chi\^2 per datum (\S+), (\S+) s", re.MULTILINE
)


def main():
    """Run the other group's script and print its results as a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", type=Path, default=Path("../shared/bench"))
    parser.add_argument("--work", type=Path, default=Path("bench-work/quantifai"))
    parser.add_argument("options", nargs="*", help="options for radrim, after --")
    args = parser.parse_args()
    imager = (
        f"{sys.executable} -m radrim image {{ms}} --size {{nx}} {{ny}} --scale 1asec --weight briggs 0 --overwrite "
        f"--name {{name}} {shlex.join(args.options)}"
    )
    command = [sys.executable, args.bench / "external" / "quantifai.py", "--work", args.work, "--imager", imager]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    rows = [
        (hours, native, chi2, variation, published, seconds)
        for hours, native, published, variation, chi2, seconds in ROW.findall(done.stdout)
    ]
    if len(rows) < 4:
        sys.exit(f"Only {len(rows)} of four observations were imaged:\n{done.stdout}")
    print(table(("hours", "radrim", "chi^2 per datum", "total variation", "published", "s"), rows))


if __name__ == "__main__":
    main()

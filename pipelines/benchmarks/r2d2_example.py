"""R2D2's published example, rebuilt: 3C353, VLA, dynamic range 16430, imaged by radrim.

    python pipelines/benchmarks/r2d2_example.py --work bench-work/r2d2_example

The problem is made by ../shared/bench/external: 512 x 512 pixels, super-resolution 1.52, Briggs 0.253. Prints a
Markdown table: signal to noise of the model [dB], native and after x -> log_DR(DR x + 1), of radrim, of total variation
at the weight that is best for each (--tv), started from radrim's model, and what the authors publish for their data
(another uv coverage of the same recipe); seconds. Options of radrim come after --.
"""

import argparse
import re
import shlex
import subprocess
import sys
from pathlib import Path

from peer import table

ROW = re.compile(r"imager: native (\S+) dB, log (\S+) dB \(published for their data: (\S+), (\S+)\), (\S+) s")
VARIATION = re.compile(r"total variation, weight \S+: native (\S+) dB, log (\S+) dB")


def main():
    """Run the other group's problem and print its results as a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", type=Path, default=Path("../shared/bench"))
    parser.add_argument("--work", type=Path, default=Path("bench-work/r2d2_example"))
    parser.add_argument("--tv", action="store_true", help="total variation, too")
    parser.add_argument("options", nargs="*", help="options for radrim, after --")
    args = parser.parse_args()
    imager = (
        f"{sys.executable} -m radrim image {{ms}} --size 512 512 --scale {{scale}}asec --weight briggs 0.253 "
        f"--overwrite --name {{name}} {shlex.join(args.options)}"
    )
    script = args.bench / "external" / "r2d2_example.py"
    command = [sys.executable, script, "--work", args.work, "--imager", imager, *(["--tv"] if args.tv else [])]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    native, log, published, published_log, seconds = ROW.search(done.stdout).groups()
    rows = [("radrim", native, log, seconds), ("R2D2, published", published, published_log, "")]
    if found := [(float(a), float(b)) for a, b in VARIATION.findall(done.stdout)]:
        best = (max(column) for column in zip(*found, strict=True))
        rows.insert(1, ("total variation", *(f"{value:.2f}" for value in best), ""))
    print(table(("solver", "native", "log", "s"), rows))


if __name__ == "__main__":
    main()

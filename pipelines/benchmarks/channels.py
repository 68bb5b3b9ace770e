"""Many output channels of one Measurement Set: memory and time against their number, beside WSClean.

    python pipelines/benchmarks/channels.py --work bench-work/channels --channels 16 64 256

VLA D, 60 integrations, as many channels as the largest run has; each is imaged and deconvolved by itself, 1024 x 1024
pixels; with --dirty dirty images and PSFs only.
`GB` is the largest resident memory of all processes.
"""

import argparse
from pathlib import Path

import numpy as np
from gigapixel import radrim, watched
from peer import table

from radrim.simulation import simulate

IMAGE = "--size 1024 1024 --scale 3asec --weight briggs 0"
CLEAN = "-multiscale -mgain 0.8 -auto-mask 3 -auto-threshold 0.5 -niter 100000 -nmiter 10"


def build(work, channels):
    """The Measurement Set: radrim's demo sky, 1 MHz channels."""
    ms = work / f"channels{channels}.ms"
    if not ms.exists():
        simulate(ms, array="vla-d", sky="demo", channels=channels, bandwidth=1e6 * channels, freq=1.4e9, hours=2.0,
                 integration=120.0, noise=0.3, correlations="I", threads=2)  # fmt: skip
    return ms


def wsclean(arguments, log):
    """As `watched`, of WSClean."""
    return watched(["wsclean", "-j", "2", "-no-update-model-required", *arguments.split()], log)


def main():
    """Build the data, run both programs, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("bench-work/channels"))
    parser.add_argument("--channels", type=int, nargs="*", default=[16, 64, 256, 1024])
    parser.add_argument(
        "--wsclean", type=int, nargs="*", help="numbers of channels to run WSClean with (default: the smallest)"
    )
    parser.add_argument("--dirty", action="store_true")
    args = parser.parse_args()
    ours, theirs = ("--niter 0", "-niter 0") if args.dirty else ("", CLEAN)
    args.work.mkdir(parents=True, exist_ok=True)
    ms, rows = build(args.work, max(args.channels)), []
    for count in args.channels:
        part = f"--chan-range 0 {count}"
        wall, watch = radrim(
            f"image {ms} {IMAGE} {part} --channels-out {count} {ours} --name {args.work / 'r'} --overwrite --quiet",
            args.work / "r.log",
        )
        row = [count, f"{wall:.0f}", f"{wall / count:.2f}", f"{watch.highest / 1e9:.2f}", "", ""]
        if count in (args.wsclean or [min(args.channels)]):
            size = IMAGE.replace("--", "-")
            there, watch = wsclean(
                f"{size} -channel-range 0 {count} -channels-out {count} {theirs} -name {args.work / 'w'} {ms}",
                args.work / "w.log",
            )
            row[4:] = f"{there:.0f}", f"{watch.highest / 1e9:.2f}"
        rows.append(row)
        print(row, flush=True)
        for path in [*args.work.glob("r-*"), *args.work.glob("w-*")]:
            path.unlink()
    print(table(("output channels", "wall s", "s per channel", "GB", "WSClean s", "WSClean GB"), rows))
    times = np.array([float(row[2]) for row in rows])
    print(f"time per channel: largest over smallest {times.max() / times.min():.2f}")


if __name__ == "__main__":
    main()

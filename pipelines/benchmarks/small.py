"""Small and middle runs: processor seconds and memory of radrim beside WSClean's multi-scale CLEAN on real data.

    python pipelines/benchmarks/small.py --data ../shared/data/obs --work bench-work/small

Images observations of ../shared/data/obs at the sizes of `CASES` by `radrim info`, `radrim image --niter 0`,
`--solver clean` and the default, without pictures and reports (--no-report), and by WSClean with its dirty image alone
and with multi-scale CLEAN to the same depth. Processor seconds are user and system time of the whole command with all
its processes, which other work on the machine changes less than wall time; of `--repeat` runs the least counts. Needs
`wsclean` on the PATH.
"""

import shutil
from pathlib import Path

from peer import WSCLEAN_ACCURATE, case_parser, radrim, table, wsclean
from real_data import CASES as ALL
from real_data import CLEAN, prepare

CASES = {
    "vla_3c391_4.6GHz": ((256, "4asec"), (512, "4asec")),
    "alma_hd142527_b9_cont": ((256, "0.025asec"), (512, "0.025asec")),
    "vlba_3c279_43GHz_2013a": ((256, "0.04masec"), (512, "0.04masec")),
    "vlba_m87_8.1GHz_2006": ((256, "0.2masec"), (512, "0.2masec")),
}
THEIRS = {"WSClean, dirty": "-niter 0", "WSClean, multi-scale": CLEAN}
"""WSClean's runs, and their options."""
OURS = {
    "info": ("", ""),
    "--niter 0": ("--niter 0", "WSClean, dirty"),
    "--solver clean": (f"--solver clean {CLEAN}", "WSClean, multi-scale"),
    "default": ("", "WSClean, multi-scale"),
}
"""radrim's runs: options, and the run of WSClean that they are compared with."""


def main():
    """Run all cases, and print processor seconds, their ratio to WSClean's, and memory."""
    parser = case_parser(__doc__, CASES, "bench-work/small")
    parser.add_argument("--repeat", type=int, default=2)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in args.only:
        ms = args.work / f"{name}.ms"
        prepare(args.data / f"{name}.ms", ms, ALL[name][5])
        for size, scale in CASES[name]:
            rows += measure(name, ms, size, scale, args)
    print(table(("observation", "size", "program", "CPU s", "over WSClean's", "memory [MB]"), rows))


def measure(name, ms, size, scale, args):
    """The rows of one observation and size."""
    weight, out = ALL[name][2].split(" -")[0], args.work / f"{name}-{size}"
    image, log = f"-size {size} {size} -scale {scale} -weight {weight}", Path(f"{out}.log")
    found = {}
    for program, words in THEIRS.items():
        command = f"{WSCLEAN_ACCURATE} {image} {words} -name {out}-w {ms}"
        found[program] = least([wsclean(command, log) for _ in range(args.repeat)])
    for program, (words, rival) in OURS.items():
        # radrim takes WSClean's flags as they are.
        command = f"image {ms} {image} {words} --no-report --overwrite --name {out}" if rival else f"info {ms}"
        found[program] = least([radrim(command, log) for _ in range(args.repeat)])
    rows = []
    for program, done in found.items():
        rival = OURS.get(program, ("", ""))[1]
        ratio = f"{done.cpu / found[rival].cpu:.2f}" if rival else ""
        rows.append((name, size, program, f"{done.cpu:.2f}", ratio, f"{done.memory / 1e6:.0f}"))
    return rows


def least(runs):
    """The run with the least processor seconds."""
    return min(runs, key=lambda done: done.cpu)


if __name__ == "__main__":
    if shutil.which("wsclean") is None:
        raise SystemExit("wsclean is not on the PATH.")
    main()

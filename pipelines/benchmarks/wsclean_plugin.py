"""The RIM as WSClean's minor cycle beside WSClean's multi-scale CLEAN, on real observations.

    python pipelines/benchmarks/wsclean_plugin.py --data ../shared/data/obs --work bench-work/plugin

Both runs are WSClean's, with the same settings but for the minor cycle. Prints a Markdown table: rms and MAD of the
residual [Jy/beam], flux of the model, major cycles and wall time. Needs `wsclean` (3.1) with Python.
"""

import re
import shlex
import subprocess
import sys

from peer import WSCLEAN_ACCURATE, case_parser, load, mad, table, wsclean
from real_data import prepare

# name: size, scale, weighting.
CASES = {
    "vla_3c391_4.6GHz": (256, "4asec", "briggs 0"),
    "alma_hd142527_b9_cont": (256, "0.025asec", "briggs 0.5"),
    "vlba_m87_8.1GHz_2006": (512, "0.2masec", "uniform"),
    "vlba_3c279_43GHz_2013a": (256, "0.04masec", "uniform"),
}


def compare(name, case, data, work, threads):
    """One row of the table."""
    size, scale, weighting = case
    ms = work / f"{name}.ms"
    prepare(data / f"{name}.ms", ms, 0)
    common = f"{WSCLEAN_ACCURATE} -size {size} {size} -scale {scale} -weight {weighting} -mgain 0.8 -nmiter 20"
    command = [sys.executable, "-m", "radrim", "plugin", "--threads", str(threads)]
    plugin = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    minors = {
        "multi-scale": "-multiscale -gain 0.1 -niter 2000000 -auto-mask 3 -auto-threshold 0.5",
        "RIM": f"-niter 1000 -auto-threshold 0.5 -python-deconvolution {shlex.quote(plugin)}",
    }
    cells = [name]
    for kind, minor in minors.items():
        prefix = work / f"{name}-{kind}"
        run = wsclean(f"{common} {minor} -name {prefix} {ms}", f"{prefix}.log", threads)
        residual, model = load(prefix, "residual")[0], load(prefix, "model")[0]
        cycles = re.findall(r"(\d+) major iterations were performed", run.output)
        numbers = residual.std(), mad(residual), model.sum()
        cells += [*(f"{value:.3g}" for value in numbers), cycles[-1] if cycles else "?", f"{run.wall:.0f}"]
    return cells


def main():
    """Run the cases and print the table."""
    parser = case_parser(__doc__, CASES, "bench-work/plugin")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    results = []
    for name in args.only:
        results.append(compare(name, CASES[name], args.data, args.work, args.threads))
        print(results[-1], flush=True)
    columns = ["observation"]
    for kind in ("multi-scale", "RIM"):
        columns += [f"{kind}: rms", "MAD", "flux", "cycles", "s"]
    print()
    print(table(columns, results))


if __name__ == "__main__":
    main()

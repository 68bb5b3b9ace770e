"""An image larger than the memory: 32768 x 32768 pixels, 10 million visibilities of a wide low-frequency array.

    python pipelines/benchmarks/gigapixel.py --arrays ../shared/data/arrays --work bench-work/gigapixel

Dirty image, PSF, two major cycles and the restored image within --memory, on all cores; prints wall time, the largest
resident memory of all processes together, and what became of the sources, and draws memory over time.
With --sizes it makes images of growing size instead, and prints the time per pixel and what `radrim plan` said before;
with --speedup two Dask workers race one, on an image of --size; with --wsclean it is WSClean's turn (until --limit),
and with --sizes, its turn too.
"""

import argparse
import os
import re
import shlex
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from peer import table, wsclean
from workers import dask_workers

from radrim.cli.imaging import parse_config
from radrim.cli.parser import build_parser
from radrim.cli.spelling import wsclean_spelling
from radrim.config.values import Weighting
from radrim.geometry import ImageGrid
from radrim.operator.tracks import Compressed
from radrim.planning import make_plan
from radrim.read.reader import Selection
from radrim.runtime.memory import total_memory
from radrim.simulation import simulate
from radrim.sky.catalogue import offset_position
from radrim.workdir.directory import WorkDir
from radrim.workdir.visibilities import Blocks, VisibilityCache
from radrim.write.fits import open_image

SCALE_ARCSEC = 1.0
RA, DEC = 0.0, 52.0
SOURCES = 300
"""In the largest image; smaller ones have fewer, as densely, and none outside."""
LARGEST = 32768
GRIDDERS = {"w-gridder": "-use-wgridder", "default gridder": ""}
"""WSClean's, and how it is told."""
SMALL = 4096
"""Images up to this size are made three times."""


def build(work, arrays, size):
    """The Measurement Set, and the pixels and fluxes of its sources."""
    ms, catalogue = work / f"wide{size}.ms", work / f"wide{size}.csv"
    rng, count = np.random.default_rng(1), round(SOURCES * (size / LARGEST) ** 2)
    x, y = rng.uniform(-0.47 * size, 0.47 * size, (2, count)).round()
    flux = np.minimum(0.05 * (rng.pareto(1.1, count) + 1), 5.0)
    # A galaxy, as points that the beam cannot tell apart.
    gx, gy = rng.normal(0, 12, (2, 60))
    x, y, flux = np.append(x, gx + size // 8), np.append(y, gy - size // 8), np.append(flux, np.full(60, 0.05))
    if not ms.exists():
        arcsec = np.radians(SCALE_ARCSEC / 3600)
        places = [
            offset_position(-a * arcsec, b * arcsec, np.radians(RA), np.radians(DEC)) for a, b in zip(x, y, strict=True)
        ]
        lines = [
            f"{np.degrees(ra) % 360:.9f},{np.degrees(dec):.9f},{f:.6g}"
            for (ra, dec), f in zip(places, flux, strict=True)
        ]
        catalogue.write_text("ra_deg,dec_deg,i_jy\n" + "\n".join(lines) + "\n")
        simulate(
            ms, array=arrays / "real_lofar_hba_2015.csv", sky=catalogue, ra=RA, dec=DEC, freq=150e6,
            bandwidth=2e6, channels=16, hours=2.4, integration=24.0, noise=1.0, threads=2,
        )  # fmt: skip
    return ms, x[:count].astype(int), y[:count].astype(int), flux[:count]


class Watch(threading.Thread):
    """Resident memory of a process and all that it started: (seconds, bytes) twice a second, and the largest."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.seen, self.highest, self._begin = pid, [], 0, time.perf_counter()
        self.start()

    def run(self):
        while os.path.exists(f"/proc/{self.pid}"):
            self.seen.append((time.perf_counter() - self._begin, sum(_resident(pid) for pid in _family(self.pid))))
            self.highest = max(self.highest, self.seen[-1][1], _highest(self.pid))
            time.sleep(0.5)


def _family(pid):
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(p for child in children for p in _family(int(child)))]


def _resident(pid):
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _highest(pid):
    """What the kernel has seen of one process, between two samples, too [bytes]."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return 1024 * int(found[1]) if found else 0


def radrim(arguments, log):
    """As `watched`, of this checkout's radrim."""
    return watched([sys.executable, "-m", "radrim", *shlex.split(arguments)], log)


def watched(words, log):
    """Wall seconds of a command, and the `Watch` of its memory."""
    with open(log, "w") as out:
        begin = time.perf_counter()
        process = subprocess.Popen(words, stdout=out, stderr=out)
        watch = Watch(process.pid)
        if process.wait():
            raise SystemExit(Path(log).read_text()[-2000:])
    return time.perf_counter() - begin, watch


def plot(seen, memory, path):
    """Memory over time, with the budget."""
    from matplotlib.figure import Figure

    seconds, used = np.array(seen).T
    figure = Figure((7, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(seconds / 60, used / 1e9)
    axes.axhline(memory, color="0.5", linestyle="--", label="--memory")
    axes.set(xlabel="minutes", ylabel="resident memory of all processes [GB]", ylim=(0, None))
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)


def check_sources(prefix, x, y, flux, size):
    """Restored peak over true flux of the sources that stand by themselves, and the noise."""
    image, half = open_image(f"{prefix}-image.fits"), size // 2
    inside = (np.abs(x) < half - 8) & (np.abs(y) < half - 8)
    x, y, flux = x[inside], y[inside], flux[inside]
    found = np.array(
        [
            np.abs(image[half + b - 1 : half + b + 2, half + a - 1 : half + a + 2]).max()
            for a, b in zip(x, y, strict=True)
        ]
    )
    noise = 1.4826 * np.median(np.abs(image[::61, ::7]))
    bright = flux > 20 * noise
    return found[bright] / flux[bright], noise


def image(args, ms, size, name, more=""):
    """Arguments of `radrim image`."""
    return (
        f"image {ms} --size {size} {size} --scale {SCALE_ARCSEC}asec --weight briggs 0 --max-major {args.cycles} "
        f"--memory {args.memory:g}GB --name {args.work / name} --overwrite {more}"
    )


def whole(args, ms, *sources):
    """The large image."""
    wall, watch = radrim(image(args, ms, args.size, "image", args.options), args.work / "image.log")
    log = (args.work / "image.log").read_text()
    ratio, noise = check_sources(args.work / "image", *sources, args.size)
    plot(watch.seen, args.memory, args.work / "memory.png")
    facets = re.search(r"Facets of at most (\d+) pixels, (\d+) at once", log)
    rows = [
        ("pixels", f"{args.size} x {args.size}"),
        ("facets", f"at most {facets[1]} pixels, {facets[2]} at once" if facets else "none"),
        ("wall", f"{wall:.0f} s"),
        ("largest resident memory of all processes", f"{watch.highest / 1e9:.2f} GB (budget {args.memory:g} GB)"),
        ("noise", f"{noise:.3g} Jy/beam"),
        (
            f"restored peak over true flux of {len(ratio)} sources above 20 sigma: median, 16 %, 84 %",
            ", ".join(f"{value:.4f}" for value in np.percentile(ratio, (50, 16, 84))),
        ),
    ]
    print(table((f"one image, {args.cycles} major cycles", ""), rows), flush=True)
    print(*re.findall(r"(?:major cycle|\d+ of \d+ facets) .*", log), sep="\n")


def beside(args, ms):
    """What becomes of WSClean."""
    clean = f"-niter 100000 -mgain 0.8 -auto-mask 3 -auto-threshold 1 -nmiter {args.cycles}"
    rows = []
    for gridder in args.gridders:
        rows.append((gridder, *_wsclean(args, ms, args.size, f"{GRIDDERS[gridder]} {clean}")))
        print(rows[-1], flush=True)
    print(table(("WSClean", "s", "", "its last line"), rows))


def _wsclean(args, ms, size, options):
    """Seconds, what became of it, and its last line; it may have 0.9 of this machine's memory, whatever it is told."""
    log = args.work / "ws.log"
    view = f"-size {size} {size} -scale {SCALE_ARCSEC}asec -weight briggs 0"
    line = f"{options} -abs-mem {args.memory} {view} -name {args.work / 'ws'} {ms}"
    begin = time.perf_counter()
    try:
        done = wsclean(line, log, limit=args.limit, memory=0.9 * total_memory())
        found = "not finished" if done is None else f"done, {done.memory / 1e9:.2f} GB"
    except SystemExit:
        found = "failed"
    return f"{time.perf_counter() - begin:.0f}", found, log.read_text().strip().splitlines()[-1]


def facet(args):
    """The option."""
    return f"--facet {args.facet}" if args.facet else ""


def sizes(args, ms):
    """Dirty image and PSF of growing size; what `radrim plan` says before."""
    rows = []
    log = args.work / "size.log"
    start, _ = _median(image(args, ms, 512, "start", f"--niter 0 {facet(args)}"), log)
    print(f"512 x 512: {start:.1f} s, for starting, reading and weighting", flush=True)
    for size in args.sizes:
        command = image(args, ms, size, f"size{size}", f"--niter 0 {facet(args)}")
        seconds = predicted(command)
        wall, watch = _median(command, log) if size <= SMALL else radrim(command, log)
        per_pixel = f"{(wall - start) / size**2 * 1e6:.2f}"
        memory = f"{watch.highest / 1e9:.2f}"
        row = [f"{size} x {size}", f"{wall:.0f}", per_pixel, memory, f"{seconds:.0f}", f"{seconds / wall:.2f}"]
        if args.wsclean:
            row += _wsclean(args, ms, size, f"{GRIDDERS[args.gridders[0]]} -niter 0 -make-psf")[:2]
        rows.append(row)
        print(rows[-1], flush=True)
    columns = (
        "dirty image and PSF",
        "wall s",
        "µs per pixel beyond start",
        "GB",
        "predicted s",
        "predicted / measured",
        *(["WSClean s", "WSClean"] if args.wsclean else []),
    )
    print(table(columns, rows))


def _median(command, log):
    """The run of three that is neither the fastest nor the slowest: start-up varies by seconds."""
    return sorted((radrim(command, log) for _ in range(3)), key=lambda run: run[0])[1]


def windows(args, ms):
    """CPU time of dirty image and PSF of a part of the image, by its size."""
    torch.set_num_threads(1)
    grid = ImageGrid(LARGEST, LARGEST, np.radians(SCALE_ARCSEC / 3600), np.radians(RA), np.radians(DEC))
    rows = []
    with WorkDir(args.work / "windows", {}, overwrite=True) as work:
        cache = VisibilityCache(work)
        cache.weigh(cache.read([str(ms)], Selection()), grid, Weighting())
        blocks = Blocks(work, (0.0, np.inf))
        Compressed(blocks, grid.region(slice(0, 64), slice(0, 64))).psf()  # compiles
        for size in args.windows:
            part = grid.region(slice(size, 2 * size), slice(size, 2 * size))
            begin = time.process_time()
            through = Compressed(blocks, part, epsilon=3e-5)
            through.adjoint(block.data for block in blocks)
            through.psf()
            seconds = time.process_time() - begin
            values = sum(len(nodes.uvw) for nodes in through.nodes)
            rows.append((f"{size} x {size}", f"{values:.3g}", f"{seconds:.1f}", f"{seconds / size**2 * 1e6:.2f}"))
            print(rows[-1], flush=True)
        work.remove()
    print(table(("window", "values that stand for the samples", "CPU s", "µs per pixel"), rows))


def predicted(command):
    """Seconds that `radrim plan` expects of a command for `radrim image`."""
    words = shlex.split(command)[1:]
    config = parse_config(build_parser().parse_args(wsclean_spelling(["plan", *words])))
    return make_plan(config).seconds


def speedup(args, ms):
    """One Dask worker and two, a thread each, in turn; and what two of anything gain on this machine."""
    options = f"--niter 0 {facet(args)}"

    def shared(workers):
        with dask_workers(args.work, workers) as (address, _):
            line = image(args, ms, args.size, f"workers{workers}", f"{options} --scheduler {address}")
            return radrim(line, args.work / f"workers{workers}.log")[0]

    def beside():
        """Seconds of two runs that share nothing, at once."""
        lines = [image(args, ms, args.size, f"beside{k}", f"{options} --threads 1") for k in range(2)]
        begin = time.perf_counter()
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(radrim, lines, [args.work / f"beside{k}.log" for k in range(2)]))
        return time.perf_counter() - begin

    rounds = []
    for _ in range(args.rounds):
        rounds.append((shared(1), shared(2), beside() if args.beside else np.nan))
        print(*(f"{seconds:.1f}" for seconds in rounds[-1]), flush=True)
    one, two, both = np.array(rounds).T
    size = f"{args.size} x {args.size}"
    rows = [
        ("one worker", f"{np.median(one):.1f}", ""),
        ("two workers", f"{np.median(two):.1f}", f"{np.median(one / two):.2f}"),
    ]
    if args.beside:
        rows.append(
            ("two such runs at once, a thread each", f"{np.median(both):.1f}", f"{np.median(2 * one / both):.2f}")
        )
    print(table((f"dirty image and PSF, {size}, whole command", "s", "work per time"), rows))


def main():
    """Build the data, run, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arrays", type=Path, default=Path("../shared/data/arrays"))
    parser.add_argument("--work", type=Path, default=Path("bench-work/gigapixel"))
    parser.add_argument("--size", type=int, default=LARGEST)
    parser.add_argument("--cycles", type=int, default=2)
    parser.add_argument("--memory", type=float, default=8.0, help="[GB]")
    parser.add_argument("--options", default="", help="more options for radrim")
    parser.add_argument("--wsclean", action="store_true", help="WSClean instead; with --sizes, too")
    parser.add_argument("--gridders", nargs="*", default=list(GRIDDERS), choices=list(GRIDDERS), help="WSClean's")
    parser.add_argument("--limit", type=float, help="stop WSClean after so many seconds")
    parser.add_argument("--sizes", type=int, nargs="*", help="cost against size instead")
    parser.add_argument("--windows", type=int, nargs="*", help="cost of parts of the image instead, by their size")
    parser.add_argument("--speedup", action="store_true", help="two Dask workers against one instead")
    parser.add_argument("--rounds", type=int, default=2, help="with --speedup")
    parser.add_argument("--beside", action="store_true", help="with --speedup: two runs that share nothing, too")
    parser.add_argument(
        "--facet", type=int, help="with --sizes and --speedup: of the facets (default: as --memory says)"
    )
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    ms, *sources = build(args.work, args.arrays, LARGEST if args.sizes or args.windows or args.speedup else args.size)
    if args.sizes:
        sizes(args, ms)
    elif args.windows:
        windows(args, ms)
    elif args.speedup:
        speedup(args, ms)
    elif args.wsclean:
        beside(args, ms)
    else:
        whole(args, ms, *sources)


if __name__ == "__main__":
    main()

"""How a run of 14.4 gigapixels and 1,000 channels is laid out: what `radrim plan` says, and what its graphs need.

    python pipelines/benchmarks/layout.py --arrays ../shared/data/arrays --work bench-work/layout

The data are eight hours of SKA-Mid in Measurement Sets of five minutes, all the same: a plan needs no others. Then
the Dask graphs of the whole run are built, batch after batch as the run would, and not carried out: prints how long
that takes, the largest memory, and what a batch weighs when it is sent to a cluster.
"""

import argparse
import resource
import shlex
import time
from pathlib import Path

import cloudpickle
from peer import table

from radrim.cli.imaging import parse_config
from radrim.cli.parser import build_parser
from radrim.cli.spelling import wsclean_spelling
from radrim.deconvolve.minor import OtherFacets
from radrim.deconvolve.tiles import Tiles
from radrim.facets.channel import FacetChannel
from radrim.facets.faceted import on_one_thread
from radrim.facets.images import restore_facet, write_facets
from radrim.facets.pointing import Pointing
from radrim.facets.tasks import FacetTasks
from radrim.geometry import ImageGrid
from radrim.imagers.solvers import choose_solvers
from radrim.planning import make_plan
from radrim.products import KINDS
from radrim.runtime.executors import ExecutionSettings, graphs
from radrim.runtime.memory import MemorySettings, measured_together
from radrim.simulation import simulate
from radrim.workdir.store import Store
from radrim.write.fits import FitsPixels

SIZE, SCALE, CHANNELS = 120_000, "0.1asec", 1000
PIECES = 96
CYCLES = 2
STEPS = 8 + 7 * CYCLES
"""Of a channel."""


def build(work, arrays):
    """A Measurement Set of five minutes, under as many names as there are of them in eight hours."""
    ms, sky = work / "piece.ms", work / "sky.csv"
    if not ms.exists():
        sky.write_text("ra_deg,dec_deg,i_jy\n60.0,-30.0,1.0\n")
        simulate(
            ms, array=arrays / "karabo_SKA-MID-AA4.csv", sky=sky, ra=60.0, dec=-30.0, freq=1.4e9, bandwidth=300e6,
            channels=CHANNELS, hours=8 / PIECES, integration=10.0, noise=0.01, correlations="I",
            threads=2,
        )  # fmt: skip
    names = [work / f"piece{k:02d}.ms" for k in range(PIECES)]
    for name in names:
        if not name.exists():
            name.symlink_to(ms.name)
    return names


def configuration(names, work, more):
    """What the command line says."""
    words = f"plan {' '.join(map(str, names))} --size {SIZE} {SIZE} --scale {SCALE} --channels-out {CHANNELS}"
    words += f" --max-major {CYCLES} --facet 2048 --name {work / 'image'} {more}"
    return parse_config(build_parser().parse_args(wsclean_spelling(shlex.split(words))))


def calls(config, work):
    """(function, argument, ...) calls of a whole run, step after step, as `FacetImager` makes them."""
    grid = ImageGrid(SIZE, SIZE, config.scale)
    tiles = Tiles(grid.shape, config.facet, MemorySettings.halo)
    facets, others = range(len(tiles)), OtherFacets()
    make = choose_solvers(config, "cpu")[0].factory(None, 1)
    for channel in range(CHANNELS):
        store, folder = Store(work), f"channel-{channel:04d}"
        measured = FacetChannel(
            store, folder, folder, grid, tiles, measured_together(config, config.facet), (1e9, 1e9), "I", "auto", 3e-5,
            (Pointing(None, 1.0),),
        )  # fmt: skip
        tasks = FacetTasks(store, folder, (measured,), None, 1.0, (make,))
        windows = range(len(tasks.windows))
        yield ((measured.measure, window) for window in windows)
        yield ((tasks.statistics, window, 0, 0) for window in windows)
        for cycle in range(CYCLES):
            yield [(tasks.note_sidelobes,)]
            yield ((tasks.minor, facet, cycle, 0, 1.0, 1.0, others) for facet in facets)
            yield ((tasks.predict_nodes, 0, window, cycle) for window in windows)
            yield ((measured.predict, number, cycle, list(windows)) for number in range(PIECES))
            yield ((tasks.residual_decrease, window, cycle) for window in windows)
            yield ((measured.subtract, number, cycle, 1.0) for number in range(PIECES))
            yield ((tasks.apply_update, window, cycle, 1.0) for window in windows)
        parts = {kind: measured.image(kind) for kind in KINDS[:5]}
        images = [parts[kind] for kind in ("image", "model", "residual")]
        yield ((restore_facet, *images, tiles, facet, None, grid.scale, (64, 64)) for facet in facets)
        for kind, image in parts.items():
            pixels = FitsPixels(work / f"image-{channel:04d}-{kind}.fits", 2880, SIZE)
            yield ((write_facets, pixels, image, tiles, window.tiles) for window in tasks.windows)


def build_graphs(config, work):
    """Seconds, tasks, largest memory [bytes] while all graphs are built, and the bytes of the heaviest batch."""
    begin, tasks, heaviest = time.perf_counter(), 0, 0
    sent = 0.0
    for number, step in enumerate(calls(config, work)):
        for graph in graphs((on_one_thread, *call) for call in step):
            tasks += len(graph)
            if number < STEPS:  # every kind of step once
                start = time.perf_counter()
                heaviest = max(heaviest, sum(len(cloudpickle.dumps(call.args)) for (call,) in graph.values()))
                sent += time.perf_counter() - start
    seconds = time.perf_counter() - begin - sent
    return seconds, tasks, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, heaviest


def main():
    """Plan, build, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arrays", type=Path, default=Path("../shared/data/arrays"))
    parser.add_argument("--work", type=Path, default=Path("bench-work/layout"))
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 500])
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    names = build(args.work, args.arrays)
    config = configuration(names, args.work, "--threads 1")
    seconds, tasks, memory, heaviest = build_graphs(config, args.work)
    rows = [
        ("tasks", f"{tasks}"),
        ("time to build all their graphs", f"{seconds:.0f} s"),
        ("largest memory meanwhile", f"{memory / 1e9:.2f} GB"),
        (f"largest batch ({ExecutionSettings.max_calls} tasks) as sent to a cluster", f"{heaviest / 1e6:.1f} MB"),
    ]
    print(table((f"{SIZE} x {SIZE} pixels, {CHANNELS} channels", ""), rows), flush=True)
    for workers in args.workers:
        begin = time.perf_counter()
        plan = make_plan(config, workers)
        seconds = time.perf_counter() - begin
        each = "One worker" if workers == 1 else f"{workers} workers"
        print(f"\n{each} of one thread (planned in {seconds:.0f} s):\n{plan}", flush=True)


if __name__ == "__main__":
    main()

"""Where `radrim image` loses to CLEAN: both on groups of simulated observations, each with one difficulty.

    python pipelines/benchmarks/losses.py --work bench-work/losses [--model NAME=MODEL ...] [--count 16] [--workers 2]

Each problem is a small Measurement Set: every sample has its own u and v, visibilities are those of the sky at just
these, with gains of antennas and noise of their own. Both solvers are whole runs of `radrim image` with its defaults:
visibilities that are kept out judge what each does, learned stages and trials included. Images have 128 x 128 pixels,
and the weighting of the problem.

The groups differ from the easy case, a sky on a tile of 128 x 128 pixels seen by a well-filled array, calibrated, with
nothing outside the tile and a dynamic range of 300 to 30,000, in what their name says; `GROUPS` has the numbers. Where
a group is not of one class of sky, the classes take turns. The problems have seeds of their own: no training and no
other benchmark has seen them. Scores are those of minor_cycles.py, and `logbeam`: the score at the scale of the beam
with both images on a logarithmic scale, on which faint sources count, too.

Prints three tables.

- Medians of the scores (decibels; relative error of the flux; residual over noise), and the difference of each model to
  CLEAN at the scale of the beam: median, worst, and in how many problems the model loses by more than 0.1 dB.
- The sky's power, and the error's, by spatial scale, in per cent (means over the problems) of three kinds of scales:
  measured well (the data hold 10 times more power of the sky than of noise and calibration errors), measured, but not
  well, and unmeasured (no sample within about a uv cell of the tile). Then the decibels of the first kind (median).
- The same of error and sky smoothed to the beam.

The kinds of scales are told by the problem in uv cells of `radrim.rim.training.problems`, which has the same samples,
sky and noise: its errors of the data at each scale are those of the dirty image minus PSF * truth.

Draws losses.png (losses-NAME.png of several models): the problems in which a model loses most to CLEAN at the scale of
the beam, at most two of a group. What is in --work is not done again, unless a model, --seed, --size or --cycles is
another; --fresh does all of it again.
"""

import argparse
import hashlib
import itertools
import json
import math
import multiprocessing
import shutil
import sys
import zlib
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from astropy.io import fits
from peer import save_small, table
from scipy import fft, ndimage
from scipy.signal import windows

import radrim
from radrim.geometry import ARCSEC, C, ImageGrid
from radrim.metrics import log_snr_db
from radrim.ms.creation import Description, SkyField, Station, Window, appending, write_subtables
from radrim.operator import make_operator
from radrim.rim.checkpoint import PRIOR_NETWORK, find_model
from radrim.rim.network.psf import PsfConvolution, beam_responses
from radrim.rim.training.brushes import add_spots, log_uniform, unit
from radrim.rim.training.coverages import draw_coverage
from radrim.rim.training.observation import PixelBeam
from radrim.rim.training.problems import draw_scene, make_problem, stack
from radrim.rim.training.recipe import COVERAGES, SKIES, make_recipe
from radrim.rim.training.skies import draw_sky
from radrim.rim.training.validation import SCORES, judge
from radrim.write.fits import read_image

CLEAN = "CLEAN"
SCALE = 1 * ARCSEC
"""Pixel of the images, an arcsecond [rad]; problems are in pixels and do not depend on it."""
FREQUENCY, DIRECTION, INTEGRATION = 1.4e9, (1.0, 0.5), 10.0
"""Of the observations [Hz], [rad] and [s]; nor do they depend on these."""
EASY = {"outside": 0.0, "gain_errors": 0.0, "dynamic_range": (300.0, 3e4)}
FILLED = 0.5
"""A well-filled array has samples in so much of the uv plane, out to its longest baseline;"""
SNAPSHOT = 0.25, 3
"""a snapshot in no more than so much, from at most so many integrations."""
UV_CELLS = 32
"""The uv plane is counted in cells of 1/32 of the longest baseline: about those of a tile of 128 pixels."""
LARGE = 1 / 3
"""A large source has a diameter (twice the rms distance from its centre) of more than so much of the tile."""
SHORTEST = 0.04, 0.15
"""Baselines shorter than so much of the longest are missing, drawn evenly in the logarithm."""
CONTRAST = 10.0, 300.0
"""Flux of a bright source over that of all others together."""
WELL = 10.0
"""Scales are measured well if the data hold so many times more power of the sky than of errors."""
SAMPLED = 0.03
"""Scales are measured where the transform of the PSF, of mean 1, is above this."""
LOST = 0.1
"""A model loses if it is worse than CLEAN by so many decibels."""
SIMILAR = 2
"""At most so many problems of a group are drawn."""


# Arrays and skies of the groups


def filled(coverage):
    """Share of the uv plane, out to the longest baseline, in which an array has samples."""
    u, v = (np.concatenate([c, -c]) * UV_CELLS for c in (coverage.u, coverage.v))
    x, y = (np.clip(np.floor(c).astype(int), -UV_CELLS, UV_CELLS - 1) + UV_CELLS for c in (u, v))
    sampled = np.zeros((2 * UV_CELLS, 2 * UV_CELLS), bool)
    sampled[y, x] = True
    middle = np.arange(2 * UV_CELLS) + 0.5 - UV_CELLS
    return float(sampled[np.hypot(middle[:, None], middle) < UV_CELLS].mean())


def any_of(kinds, wanted=lambda _: True):
    """A function of (rng, recipe): a coverage of these kinds (of equal chance), drawn until it is as wanted."""

    def draw(rng, recipe):
        for _ in range(1000):
            coverage = draw_coverage(rng, str(rng.choice(kinds)), recipe.arrays, recipe.samples)
            if wanted(coverage):
                return coverage
        raise SystemExit(f"no array of the kinds {', '.join(kinds)} was as wanted in 1000 draws")

    return draw


TWO_DIMENSIONAL = [kind for kind in COVERAGES if kind not in ("east_west", "sparse")]
well_filled = any_of(TWO_DIMENSIONAL, lambda c: filled(c) > FILLED)
snapshot = any_of(TWO_DIMENSIONAL, lambda c: filled(c) < SNAPSHOT[0] and len(np.unique(c.time)) <= SNAPSHOT[1])


def no_short_spacings(rng, recipe):
    """A well-filled array without its shortest baselines."""
    coverage = well_filled(rng, recipe)
    return coverage.select(np.hypot(coverage.u, coverage.v) > log_uniform(rng, *SHORTEST))


def large_source(rng, name, size):
    """A sky of the class that fills much of the tile."""
    for _ in range(1000):
        sky = draw_sky(rng, name, size)
        share, (y, x) = unit(sky.astype(float)), np.indices(sky.shape)
        away = (y - (share * y).sum()) ** 2 + (x - (share * x).sum()) ** 2
        if 2 * np.sqrt((share * away).sum()) > LARGE * size:
            return sky
    raise SystemExit(f"no sky of the class {name} was large in 1000 draws")


def beside_bright(rng, _name, size):
    """Compact sources and a field of points beside a bright point, on the middle of a pixel or off it."""
    sky = unit(draw_sky(rng, "compact", size).astype(float)) + unit(draw_sky(rng, "points", size).astype(float))
    place = rng.uniform(0.2, 0.8, 2) * size
    on_pixel = rng.random() < 0.5
    add_spots(sky, *(np.rint(place) if on_pixel else place), 2 * log_uniform(rng, *CONTRAST), 0 if on_pixel else 0.5)
    return sky / sky.max()


@dataclass(frozen=True)
class Group:
    """Problems with one difficulty.

    Parameters
    ----------
    skies : tuple of str
        Classes of the sky, which take turns.
    mix : dict
        Of `make_recipe`, where it is not that of `EASY`.
    array : callable
        (rng, recipe) to a coverage.
    sky : callable
        (rng, class, size) to a sky of peak 1.
    """

    skies: tuple = tuple(SKIES)
    mix: dict = field(default_factory=dict)
    array: object = well_filled
    sky: object = draw_sky


GROUPS = {
    "sparse": Group(array=any_of(["sparse"])),
    "snapshot": Group(array=snapshot),
    "point_field": Group(("points",), array=any_of(list(COVERAGES))),
    "beside_bright": Group(("beside_bright",), {"dynamic_range": (3e4, 3e5)}, sky=beside_bright),
    "short_spacings": Group(("radio_galaxy", "disc", "shell", "texture"), array=no_short_spacings, sky=large_source),
    "gain_errors": Group(mix={"gain_errors": 1.0, "phase_error_deg": (2.0, 5.0)}),
    "low_range": Group(mix={"dynamic_range": (30.0, 100.0)}),
    "high_range": Group(mix={"dynamic_range": (1e5, 5e5)}),
    "outside": Group(mix={"outside": 1.0}),
    **{name: Group((name,)) for name in SKIES},
}
"""point_field has arrays of all kinds, points, compact and so on well-filled ones only."""


def arguments_of(name, number, seed, size):
    """Arguments of `make_problem` and `draw_scene` for problem `number` of a group."""
    group, key = GROUPS[name], zlib.crc32(name.encode())
    recipe = make_recipe(EASY | group.mix, size)
    rng = np.random.default_rng([seed, number, key, 1])
    sky, coverage = group.skies[number % len(group.skies)], group.array(rng, recipe)
    # Drawn here, no sky is cut by the tile's edge, which would be another difficulty.
    return seed, number, recipe, sky, (key,), group.sky(rng, sky, size), coverage


def problem_of(name, number, seed, size):
    """Problem `number` of a group, observed in uv cells."""
    return make_problem(*arguments_of(name, number, seed, size))


def write_observation(scene, path):
    """The Measurement Set of a scene: a row for each sample, with visibilities at its own u and v."""
    coverage, rng = scene.samples.coverage, scene.rng
    frame = scene.beyond.copy()
    at = (len(frame) - len(scene.truth)) // 2
    frame[at : at + len(scene.truth), at : at + len(scene.truth)] = scene.truth
    uvw = np.stack([scene.u, scene.v, 0 * scene.u], 1) * (C / FREQUENCY / SCALE)
    grid = ImageGrid(*frame.shape, SCALE, *DIRECTION)
    operator = make_operator("auto", uvw, np.array([FREQUENCY]), grid, 1e-7, 1)
    seen = operator.forward(torch.from_numpy(frame).double()).numpy()[:, 0]
    if scene.gain_error:
        seen = seen * scene.samples.gains(rng, scene.gain_error)
    noise = scene.sigma / np.sqrt(coverage.weight)
    seen = seen + noise * rng.standard_normal((len(noise), 2)).view(complex)[:, 0]
    order = np.lexsort((coverage.second, coverage.first, coverage.time))
    values = {
        "TIME": 5e9 + INTEGRATION * coverage.time[order].astype(float),
        "INTERVAL": np.full(len(order), INTEGRATION), "UVW": uvw[order], "ANTENNA1": coverage.first[order],
        "ANTENNA2": coverage.second[order], "FIELD_ID": np.zeros(len(order), np.int32),
        "SCAN_NUMBER": np.zeros(len(order), np.int32), "FLAG": np.zeros((len(order), 1, 1), bool),
        "DATA": seen[order][:, None, None], "WEIGHT": (noise[order] ** -2.0)[:, None].astype(np.float32),
    }  # fmt: skip
    with appending(path, len(order), [(1, 1)], ("DATA",)) as rows:
        rows.append(0, values)
        span = rows.span
    number = 1 + int(max(coverage.first.max(), coverage.second.max()))
    stations = [Station(f"A{k}", np.array([6e6, 10.0 * k, 1e5]), 25.0) for k in range(number)]
    window = Window(np.array([FREQUENCY]), np.array([1e5]), ("I",))
    write_subtables(path, Description("SIMULATED", stations, [SkyField("SKY", *DIRECTION)], [window], span))


# Solving and judging one problem


def smoothed(image, beam, part=1.0):
    """An image smoothed to a part of the beam, as `judge` does it."""
    response = beam_responses(torch.tensor([beam], dtype=torch.float64), image.shape, (part,))[0][0, 0].sqrt()
    return torch.fft.irfft2(torch.fft.rfft2(torch.from_numpy(image).double()) * response, s=image.shape).numpy()


def power(image):
    """Power of an image at the scales of `kinds_of_scales`."""
    return np.abs(fft.fft2(image, [2 * n for n in image.shape])) ** 2


def kinds_of_scales(problem):
    """Masks of the uv plane, each (2y, 2x): measured well, measured but not well, unmeasured."""
    psf, truth = problem.psf, torch.from_numpy(problem.truth)
    seen = PsfConvolution(torch.from_numpy(psf), truth.shape).normal(truth).numpy()
    # The PSF ends at twice the tile: without a window its edge would put power into all scales.
    window = [windows.blackman(n, sym=False) for n in psf.shape]
    sampled = fft.fft2(fft.ifftshift(psf * np.outer(*window))).real > SAMPLED
    # Means over neighbouring scales, or the zeros of a sky's transform would count as noisy.
    signal, errors = (ndimage.gaussian_filter(power(p), 2, mode="wrap") for p in (seen, problem.dirty - seen))
    well = sampled & (signal > WELL * errors)
    return well, sampled & ~well, ~sampled


def result_of(problem, model, residual):
    """Scores of a model, and its error by scale."""
    scores = judge(torch.from_numpy(model)[None], torch.from_numpy(residual)[None], stack([problem]))[0]
    result = {"scores": dict(zip(SCORES, map(float, scores), strict=True))}
    error = model - problem.truth
    kinds = kinds_of_scales(problem)
    sky, wrong = smoothed(problem.truth, problem.beam), smoothed(error, problem.beam)
    result["scores"]["logbeam"] = log_snr_db(sky, sky + wrong, problem.dynamic_range)
    for scale, images in (("native", (problem.truth, error)), ("beam", (sky, wrong))):
        powers = [power(image) for image in images]
        shares = [[float(p[kind].sum() / p.sum()) for kind in kinds] for p in powers]
        well = [max(float(p[kinds[0]].sum()), 1e-30) for p in powers]
        result[scale] = {"sky": shares[0], "error": shares[1], "well": 10 * float(np.log10(well[0] / well[1]))}
    return result


def image_by(model, ms, problem, cycles, folder):
    """Model and residual (y, x) of a run of `radrim image` (CLEAN: no model), its beam [pixel] and noise [Jy/beam]."""
    height, width = problem.truth.shape
    chosen = {"solver": "clean"} if model is None else {"model": str(model)}
    weight = {math.inf: "natural", -math.inf: "uniform"}.get(problem.robust, f"briggs {problem.robust:.6g}")
    result = radrim.image(
        ms, size=(width, height), scale="1asec", weight=weight, max_major=cycles, name=folder / "image", threads=1,
        report=False, quiet=True, overwrite=True, **chosen,
    )  # fmt: skip
    beam = PixelBeam(max(result.beam.major / SCALE, 1.0), max(result.beam.minor / SCALE, 1.0), result.beam.pa)
    noise = fits.getheader(result.paths["residual"])["RRTHERM"]
    return *(read_image(result.paths[kind]) for kind in ("model", "residual")), beam, noise


def examine(name, number, seed, size, cycles, solvers):
    """One problem of a group, by all solvers of which there is no result yet.

    Parameters
    ----------
    solvers : dict of str to (Path or None, Path)
        Name to the file of the model and to that of the result, beside which the images are kept.

    Returns
    -------
    list of str
        What went wrong.
    """
    torch.set_num_threads(1)
    if all(out.exists() for _, out in solvers.values()):
        return []
    failures = []
    arguments = arguments_of(name, number, seed, size)
    problem = make_problem(*arguments)
    with TemporaryDirectory(dir=next(iter(solvers.values()))[1].parent) as folder:
        ms = Path(folder) / "problem.ms"
        write_observation(draw_scene(*arguments), ms)
        for solver, (path, out) in solvers.items():
            if out.exists():
                continue
            try:
                model, residual, beam, noise = image_by(path, ms, problem, cycles, Path(folder))
                result = result_of(replace(problem, beam=beam, noise=noise), model, residual)
            except Exception as error:  # noqa: BLE001 - one failure is a result; the others must go on
                failures.append(f"{solver}: {type(error).__name__}: {error}")
                continue
            np.savez(out.with_suffix(".npz"), model=model, residual=residual)
            part = out.with_suffix(".part")
            part.write_text(json.dumps(result))
            part.replace(out)
    return failures


# The report


def score_table(results, names):
    """The first table: a row for each group, and one for all of them."""
    rows = []
    keys = ("native", "half", "beam", "logbeam", "flux", "residual")
    for group, numbers in (results | {"all": list(itertools.chain.from_iterable(results.values()))}).items():
        row = [group]
        row += [
            " / ".join(_median([n[who]["scores"][key] for n in numbers if who in n]) for who in names) for key in keys
        ]
        for name in names[1:]:
            gain = np.array([difference(n, name) for n in numbers if name in n and CLEAN in n])
            failed = sum(name not in n for n in numbers)
            lost = f"{np.count_nonzero(gain < -LOST)} of {len(gain)}" + (f", {failed} failed" if failed else "")
            row += [f"{np.median(gain):+.1f}", f"{gain.min():+.1f}", lost] if len(gain) else ["", "", lost]
        rows.append(row)
    order = " / ".join(names)
    more = [text for name in names[1:] for text in (f"{name} - {CLEAN}, beam: median", "worst", "loses")]
    return table([f"medians: {order}", *keys, *more], rows)


def scale_table(results, names, scale):
    """The second table (`scale` 'native') or the third ('beam')."""
    rows = []
    for group, numbers in results.items():
        every = [n[who][scale]["sky"] for n in numbers for who in n]
        row = [group, _shares(every)]
        row += [_shares([n[who][scale]["error"] for n in numbers if who in n]) for who in names]
        row.append(" / ".join(_median([n[who][scale]["well"] for n in numbers if who in n]) for who in names))
        rows.append(row)
    what = "at the beam" if scale == "beam" else "as it is"
    columns = [f"{what}: measured well / not well / unmeasured", "sky %", *(f"error of {name} %" for name in names)]
    return table([*columns, f"dB of the well measured: {' / '.join(names)}"], rows)


def difference(result, name):
    """Decibels of a model minus those of CLEAN, at the scale of the beam."""
    return result[name]["scores"]["beam"] - result[CLEAN]["scores"]["beam"]


def _median(values):
    return f"{np.nanmedian(values):.3g}" if len(values) else "failed"


def _shares(values):
    return " / ".join(f"{100 * share:.0f}" for share in np.mean(values, 0)) if len(values) else "failed"


def worst_problems(results, name, count):
    """(group, number) of those in which a model loses most to CLEAN, at most `SIMILAR` of a group."""
    gains = [
        (difference(result, name), group, number)
        for group, numbers in results.items()
        for number, result in enumerate(numbers)
        if name in result and CLEAN in result
    ]
    chosen = []
    for _, group, number in sorted(gains):
        if sum(other == group for other, _ in chosen) < SIMILAR and len(chosen) < count:
            chosen.append((group, number))
    return chosen


def draw(problems, answers, results, name, path):
    """One row for each problem.

    Parameters
    ----------
    problems : dict of (str, int) to Problem
    answers : dict of (str, int) to list of (model, residual)
        Of the learned minor cycle and of CLEAN.
    results : dict
        As `score_table` takes it.
    name : str
        Of the learned model.
    path : Path
    """
    from matplotlib.figure import Figure

    figure = Figure((13.6, 2.05 * len(problems)))
    panels = figure.subplots(len(problems), 8, squeeze=False)
    for row, (key, problem) in zip(panels, problems.items(), strict=True):
        scores = [results[key[0]][key[1]][who]["scores"] for who in (name, CLEAN)]
        (model, left), (other, other_left) = answers[key]
        peak, depth = problem.truth.max(), np.clip(problem.dynamic_range / 10, 10, 1e4)
        errors = [smoothed(image - problem.truth, problem.beam) for image in (model, other)]
        most = max(float(np.quantile(np.abs(error), 0.999)) for error in errors)
        at_beam = float(smoothed(problem.truth, problem.beam).max())
        images = [
            ("truth", _stretch(problem.truth, peak, depth), (0, 1)),
            ("dirty", _stretch(problem.dirty, problem.dirty.max(), 10), (-0.5, 1)),
            (f"{name}: native {scores[0]['native']:.1f} dB", _stretch(model, peak, depth), (0, 1)),
            (f"{CLEAN}: native {scores[1]['native']:.1f} dB", _stretch(other, peak, depth), (0, 1)),
            (f"{name}, error: beam {scores[0]['beam']:.1f} dB", errors[0], (-most, most)),
            (f"{CLEAN}, error: beam {scores[1]['beam']:.1f} dB", errors[1], (-most, most)),
            (f"{name}, residual: {scores[0]['residual']:.2f} noise", left / problem.noise, (-5, 5)),
            (f"{CLEAN}, residual: {scores[1]['residual']:.2f} noise", other_left / problem.noise, (-5, 5)),
        ]
        for panel, (title, image, (low, high)) in zip(row, images, strict=True):
            colours = "RdBu_r" if low == -high else "inferno"
            panel.imshow(image, origin="lower", cmap=colours, vmin=low, vmax=high, interpolation="nearest")
            panel.set_title(title, fontsize=7.5, pad=3)
            panel.set_axis_off()
        text = f"{key[0]} {key[1]}: {describe(problem)}; errors ±{100 * most / at_beam:.2g} % of the peak at the beam"
        row[0].text(0, 1.16, text, transform=row[0].transAxes, fontsize=8.5, weight="bold")
    top = 0.42 / figure.get_figheight()
    figure.subplots_adjust(0.005, 0.005, 0.995, 1 - top, 0.03, 0.24)
    save_small(figure, path)


def _stretch(image, peak, depth):
    """0 to 1 at the peak, linear up to a part 1 / depth of it, logarithmic from there (asinh)."""
    return np.arcsinh(image * (depth / peak)) / np.arcsinh(depth)


def describe(problem):
    """Sky, array and noise of a problem in words."""
    robust = (
        f"robust {problem.robust:.1f}"
        if np.isfinite(problem.robust)
        else "natural"
        if problem.robust > 0
        else "uniform"
    )
    beam = problem.beam
    text = f"{problem.sky}, {problem.coverage}, {robust}, beam {beam.major:.1f} x {beam.minor:.1f} pixels"
    text += f", dynamic range {problem.dynamic_range:.2g}"
    text += f", phase errors {np.degrees(problem.gain_error):.1f} deg" if problem.gain_error else ""
    return text + (", sources outside" if problem.outside else "")


# The run


def parse_model(text):
    """(name, path) of NAME=MODEL, or of MODEL alone."""
    name, _, path = text.partition("=")
    return name, find_model(path or name)


def _kept(out):
    """(model, residual) of a result."""
    with np.load(out.with_suffix(".npz")) as found:
        return found["model"], found["residual"]


def _digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def main():
    """Solve what is missing, print the tables, draw the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model",
        action="append",
        metavar="NAME=MODEL",
        help="a trained model (base)",
    )
    parser.add_argument("--work", type=Path, default=Path("bench-work/losses"))
    parser.add_argument("--only", nargs="*", default=list(GROUPS), choices=list(GROUPS), help="some of the groups")
    parser.add_argument("--count", type=int, default=16, help="problems of each group")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--cycles", type=int, default=20)
    parser.add_argument("--seed", type=int, default=7000)
    parser.add_argument("--worst", type=int, default=6, help="problems drawn for each model")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--fresh", action="store_true", help="forget earlier results")
    args = parser.parse_args()
    torch.set_num_threads(1)
    folder = args.work / f"seed{args.seed}-size{args.size}-cycles{args.cycles}"
    if args.fresh:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {CLEAN: None} | dict(map(parse_model, args.model or ["base"]))
    # A model is known by its bytes: trained further, it is another one.
    labels = {name: "".join(map(_digest, (path, PRIOR_NETWORK))) if path else CLEAN for name, path in paths.items()}
    names = list(paths)

    def solvers(group, number):
        return {name: (paths[name], folder / f"{group}-{number:03d}-{labels[name]}.json") for name in names}

    items = [(group, number) for number in range(args.count) for group in args.only]  # stopped early, all have some
    context = multiprocessing.get_context("spawn")  # threads of torch and numba do not survive a fork
    with ProcessPoolExecutor(args.workers, context) as pool:
        jobs = {pool.submit(examine, *k, args.seed, args.size, args.cycles, solvers(*k)): k for k in items}
        for job in as_completed(jobs):
            for failure in [f"{job.exception()}"] if job.exception() else job.result():
                print(*jobs[job], failure, file=sys.stderr, flush=True)
    results = {group: [] for group in args.only}
    for group, number in items:
        files = {name: out for name, (_, out) in solvers(group, number).items() if out.exists()}
        results[group].append({name: json.loads(out.read_text()) for name, out in files.items()})
    print(score_table(results, names), "\n")
    print(scale_table(results, names, "native"), "\n")
    print(scale_table(results, names, "beam"))
    for name in names[1:]:
        keys = worst_problems(results, name, args.worst)
        problems = {key: problem_of(*key, args.seed, args.size) for key in keys}
        answers = {key: [_kept(solvers(*key)[who][1]) for who in (name, CLEAN)] for key in keys}
        if problems:
            draw(problems, answers, results, name, args.work / f"losses{f'-{name}' * (len(names) > 2)}.png")


if __name__ == "__main__":
    main()

"""Does the learned minor cycle put things into images that the data do not support? radrim beside WSClean.

    python pipelines/benchmarks/invention.py --bench ../shared/bench --data ../shared/data --work bench-work/invention

Measurement Sets are simulated by radrim, imaged by the command `radrim image` and by WSClean with the strong settings
of ../shared/bench (`--padding 2` in both), and scored by its score.py. Sigma is the rms of the dirty image of the noise
alone, with the same weighting. Four parts, which --parts selects:

noise    Skies with nothing but noise, seen by several arrays. A source is an island of the restored image with a peak
         above 5 sigma; it is invented if the dirty image is nowhere above 5 sigma within a beam of that peak. The flux
         of a model is the sum of its components' absolute values.
removal  Points and Gaussians (1.5 beams wide) with peaks of 5 to 100 sigma, several at once, added to a radio galaxy
         and to a field of points. Recovered: the amplitude of each source, seen with the beam, in the restored image
         minus the one made without sources, by least squares; median, smallest and largest. Left: the same of the error
         of the restored image made without the sources, in sigma, at their places and at random places of that kind.
strange  Skies of kinds that no training has (strange_skies.py), with a peak of 1000 sigma, and pictures of them; also
         what the models have where nothing is: their largest |value|, seen with the beam, and the sum of all |values|,
         more than a beam away from where the truth, seen with the beam, is above sigma.
support  Features of the models of the two parts before, which are made first where they are missing. The model, seen
         with the beam, is cut at 5 sigma; each connected region is a feature. Where a region falls apart at a higher
         level (in steps of 1.5), each part is one, as far as it rises above that level, if that is by 5 sigma. A
         feature is supported if the residual, with the feature put back through the dirty PSF, is above 4 sigma at the
         feature's peak. Sigma is here that of PREFIX-uncertainty.fits where there is one. What no visibility measures
         the residual cannot show to be wrong; part `strange` does.

Options of radrim come after --. A second run goes on from what --work holds, which is of one model and one set of
options.
"""

import argparse
import dataclasses
import time
from pathlib import Path

import numpy as np
from invention_bench import DYNAMIC_RANGE, PROGRAMS, SIZE, Bench, Setup, successes
from matplotlib.figure import Figure
from peer import save_small, table
from scipy import ndimage, signal
from strange_skies import SKIES

NOISE = (
    Setup("vla-a", 40, 1.4e9, 1), Setup("vla-b", 40, 5e9, 4), Setup("meerkat", -35, 1.3e9, 2),
    Setup("gmrt", -23, 6e8, 5), Setup("alma-5", -23, 2.3e11, 1), Setup("lofar-hba-nl", 55, 1.5e8, 2),
    Setup("eht2017", 12.4, 2.27e11, 8),
)  # fmt: skip
WEIGHTS = ("briggs 0", "natural", "uniform")
"""Of the skies of noise, in turn."""
REMOVAL = Setup("vla-b", 40, 1.4e9, 4)
STRANGE = Setup("meerkat", -35, 1.3e9, 2), Setup("vla-b", 40, 1.4e9, 4)

CUT, STEP, SUPPORTED = 5.0, 1.5, 4.0
"""Peaks of sources and features [sigma], steps of levels, and what the data must show [sigma]."""
LEVELS = (5, 10, 30, 100)
"""Peaks of the sources that are put in and taken out [sigma]."""
PLACES, APART, ELSEWHERE = 8, 6, 400
"""Sources of one kind of place in an image, their least distance [beams], and random places to compare with."""
SCORES = ("native", "half", "beam", "image", "limit", "flux", "residual")
TOUCHING = np.ones((3, 3))


# Noise alone


def noise_part(bench, args):
    """A row for each array and program."""
    found = {}
    for k in range(args.count):
        setup = NOISE[k % len(NOISE)]
        hours = setup.hours * np.random.default_rng([args.seed, k]).uniform(0.3, 1)
        setup = dataclasses.replace(setup, hours=hours, weight=WEIGHTS[k // len(NOISE) % len(WEIGHTS)])
        folder = bench.work / "noise" / f"{k:03d}-{setup.array}"
        result = bench.image(folder, setup, args.seed + k, lambda prefix: judge_noise(bench, prefix))
        for path in (path for who in PROGRAMS for path in folder.glob(f"{who}-*")):  # a hundred of these are 3 GB
            path.unlink()
        found.setdefault(setup.array, []).append(result)
    found["all"] = [result for several in found.values() for result in several]
    columns = ("array", "fields", "", "with a source above 5 sigma", "with an invented one", "with a model",
               "model flux / sigma: median", "largest", "largest peak / sigma: restored", "dirty", "failed",
               "s, median")  # fmt: skip
    rows = [
        [array, sum(who in result for result in several), who, *noise_cells(several, who)]
        for array, several in found.items()
        for who in PROGRAMS
    ]
    print(table(columns, rows), "\n", flush=True)


def judge_noise(bench, prefix):
    """What one program makes of noise."""
    dirty, model = bench.load(prefix, "dirty"), bench.load(prefix, "model")
    image, header = bench.score.load(f"{prefix}-image.fits")
    sigma = dirty.std()
    islands, count = ndimage.label(image > CUT * sigma, TOUCHING)
    beam = round(header["BMAJ"] / abs(header["CDELT2"]))
    near = ndimage.maximum_filter(dirty, 2 * beam + 1)
    peaks = ndimage.maximum_position(image, islands, np.arange(1, count + 1))
    return {
        "sources": count,
        "invented": sum(bool(near[peak] <= CUT * sigma) for peak in peaks),
        "flux": float(np.abs(model).sum() / sigma),
        "peak": float(image.max() / sigma),
        "dirty": float(dirty.max() / sigma),
    }


def noise_cells(results, who):
    """The numbers of a row."""
    good, failed = successes(results, who)
    if not good:
        return [*[""] * 7, failed, ""]
    fields = [sum(one[key] > 0 for one in good) for key in ("sources", "invented", "flux")]
    flux = [one["flux"] for one in good]
    peaks = [max(one[key] for one in good) for key in ("peak", "dirty")]
    return [*fields, f"{np.median(flux):.3g}", f"{max(flux):.3g}", *(f"{peak:.3g}" for peak in peaks), failed,
            f"{np.median([one['wall'] for one in good]):.1f}"]  # fmt: skip


# Sources put in and taken out


class Removal:
    """One sky with and without sources.

    Attributes
    ----------
    sky, seen : (y, x) float64
        Without sources [Jy/pixel], and with the beam [Jy/beam].
    places, elsewhere : dict of str to (place, 2) int
        Of the sources, and random ones to compare with, for each kind of place: y and x in the sky.
    shapes : dict of str to (array, array)
        A source in Jy/pixel, and as the beam shows it, with peak 1, in the middle of an array of odd size.
    results : dict of str to dict
        What `Bench.image` returned, by what is in the sky.
    """

    def __init__(self, bench, name, truth, args):
        self.bench, self.name = bench, name
        rng = np.random.default_rng(args.seed)
        self.sigma, beam = bench.calibrate(REMOVAL, args.seed)
        sky = bench.run.truth_image({"size": SIZE, "truth": truth, "sources": 60}, args.data, rng)
        self.sky = bench.scaled(sky, self.sigma, beam)
        self.seen = bench.score.smooth(self.sky, beam)
        width = beam["BMAJ"] / beam["CDELT2"]
        self.half = round(4 * width)
        self.shapes = {"points": self._shape(0, beam), "Gaussians": self._shape(1.5 * width, beam)}
        empty = ndimage.maximum_filter(self.seen, self.half) < self.sigma
        bright = self.seen > 2 * CUT * self.sigma
        kinds = {"between points": empty} if name == "field" else {"in a galaxy": bright, "beside a galaxy": empty}
        self.places, self.elsewhere = {}, {}
        for kind, where in kinds.items():
            self.places[kind] = self._draw(rng, where, PLACES, APART * width)
            self.elsewhere[kind] = self._draw(rng, where, ELSEWHERE, 1)
        self.results = {"without": self._image("without", self.sky, args.seed)}
        for shape in self.shapes:
            for level in LEVELS:
                key = f"{shape}-{level}"
                self.results[key] = self._image(key, self._with(shape, level), args.seed)

    def _shape(self, width, beam):
        source = np.zeros((2 * self.half + 1,) * 2)
        source[self.half, self.half] = 1
        if width:
            source = ndimage.gaussian_filter(source, width / 2.3548)
        seen = self.bench.score.smooth(source, beam)
        return source / seen.max(), seen / seen.max()

    def _draw(self, rng, where, count, apart):
        """At most so many places of a mask, away from the edge and from each other."""
        inner = np.zeros_like(where)
        inner[self.half : -self.half, self.half : -self.half] = True
        found = []
        others = [place for several in self.places.values() for place in several]
        for place in rng.permutation(np.argwhere(where & inner)):
            if len(found) < count and all(np.hypot(*(place - other)) >= apart for other in found + others):
                found.append(place)
        return np.array(found, int).reshape(-1, 2)

    def _with(self, shape, level):
        sky = self.sky.copy()
        for y, x in np.concatenate(list(self.places.values())):
            part = slice(y - self.half, y + self.half + 1), slice(x - self.half, x + self.half + 1)
            sky[part] += level * self.sigma * self.shapes[shape][0]
        return sky

    def _image(self, key, sky, seed):
        def judge(prefix):
            return {"sigma": self.sigma, "peak": float(self.bench.load(prefix, "image").max())}

        return self.bench.image(self.folder(key), REMOVAL, seed, judge, sky)

    def folder(self, key):
        """Where the images of one sky are."""
        return self.bench.work / "removal" / f"{self.name}-{key}"

    def restored(self, key, who):
        """The restored image within the sky, None if the program failed."""
        if "error" in self.results[key][who]:
            return None
        return middle(self.bench.load(self.folder(key) / who, "image"))

    def amplitudes(self, image, shape):
        """Amplitude of a source at each pixel, by least squares, over sigma."""
        seen = self.shapes[shape][1]
        return signal.fftconvolve(image, seen[::-1, ::-1], "same") / (seen**2).sum() / self.sigma

    def row(self, shape, kind, who):
        """What is recovered and what is left at places of one kind."""
        without = self.restored("without", who)
        if without is None:
            return ["failed"] * (len(LEVELS) + 4)
        at, random = (tuple(places[kind].T) for places in (self.places, self.elsewhere))
        cells = []
        for level in LEVELS:
            image = self.restored(f"{shape}-{level}", who)
            if image is None:
                cells.append("failed")
                continue
            part = self.amplitudes(image - without, shape)[at] / level
            cells.append(f"{np.median(part):.2f} ({part.min():.2f} to {part.max():.2f})")
        error = self.amplitudes(without - self.seen, shape)
        for measure in (lambda values: np.sqrt(np.mean(values**2)), lambda values: np.abs(values).max()):
            cells += [f"{measure(error[at]):.2f}", f"{measure(error[random]):.2f}"]
        return cells


def middle(image):
    """The part of an image in which the sky is."""
    return image[SIZE // 4 : -SIZE // 4, SIZE // 4 : -SIZE // 4]


def removals(bench, args):
    """Both skies, imaged."""
    return [Removal(bench, *sky, args) for sky in (("galaxy", "r2d2_3c353_gdth"), ("field", "field"))]


def removal_part(bench, args):
    """A row for each kind of place and source, and program."""
    rows = []
    for test in removals(bench, args):
        for kind, places in test.places.items():
            for shape in test.shapes:
                label = f"{len(places)} {shape} {kind}"
                rows += [[label, who, *test.row(shape, kind, who)] for who in PROGRAMS]
    columns = ("sources", "", *(f"recovered of {level} sigma" for level in LEVELS), "left / sigma: rms",
               "rms at random places", "largest", f"largest of {ELSEWHERE} random places")  # fmt: skip
    print(table(columns, rows), "\n", flush=True)


# Skies that no training has


def strange(bench, args):
    """For each array the truths, and results of `Bench.image`, by name of the sky."""
    found = {}
    for setup in STRANGE:
        sigma, beam = bench.calibrate(setup, args.seed)
        for name, draw in SKIES.items():
            truth = bench.scaled(draw(np.random.default_rng(args.seed), SIZE // 2), sigma, beam)

            def judge(prefix, truth=truth, sigma=sigma):
                scores = bench.score.score(str(prefix), truth, sigma, DYNAMIC_RANGE)
                return {key: float(value) for key, value in scores.items()} | {"sigma": sigma}

            folder = bench.work / "strange" / f"{setup.array}-{name}"
            result = bench.image(folder, setup, args.seed, judge, truth)
            found.setdefault(setup.array, {})[name] = truth, result
    return found


def strange_part(bench, args):
    """A row for each array, sky and program, and a picture for each array."""
    rows = []
    for array, skies in strange(bench, args).items():
        for name, (truth, result) in skies.items():
            for who, one in result.items():
                if "error" in one:
                    rows.append([f"{name}, {array}", who, one["error"], *[""] * (len(SCORES) + 2)])
                    continue
                beyond = where_nothing_is(bench, bench.work / "strange" / f"{array}-{name}" / who, truth, one["sigma"])
                numbers = [*(one[score] for score in SCORES), *beyond]
                rows.append([f"{name}, {array}", who, *(f"{x:.3g}" for x in numbers), f"{one['wall']:.1f}"])
        draw_strange(bench, array, skies)
    columns = ("sky, array", "", *SCORES, "where nothing is: largest / sigma", "flux / true flux", "wall_s")
    print(table(columns, rows), "\n", flush=True)


def where_nothing_is(bench, prefix, truth, sigma):
    """Of a model, where the truth is below sigma out to a beam around: largest |value| with the beam, and flux."""
    model, header = bench.load(prefix, "model"), bench.score.load(f"{prefix}-image.fits")[1]
    beam = round(header["BMAJ"] / abs(header["CDELT2"]))
    around = ndimage.maximum_filter(bench.score.smooth(np.pad(truth, SIZE // 4), header), 2 * beam + 1)
    empty = around < sigma
    largest = np.abs(bench.score.smooth(model, header))[empty].max() / sigma
    return float(largest), float(np.abs(model[empty]).sum() / truth.sum())


def draw_strange(bench, array, skies):
    """Truths, models and residuals."""
    figure = Figure((13, 2.6 * len(skies)), layout="constrained")
    for line, (name, (truth, result)) in zip(figure.subplots(len(skies), 5, squeeze=False), skies.items(), strict=True):
        pictures = {"truth": truth}
        for kind in ("model", "residual"):
            for who in PROGRAMS:
                if "error" not in result[who]:
                    image = bench.load(bench.work / "strange" / f"{array}-{name}" / who, kind)
                    pictures[f"{who}: {kind}"] = middle(image)
        for axes in line:
            axes.set_axis_off()
        sigma = next((one["sigma"] for one in result.values() if "error" not in one), 0.0)
        for axes, (title, image) in zip(line, pictures.items(), strict=False):
            if "residual" in title:
                axes.imshow(image, origin="lower", cmap="RdBu_r", vmin=-5 * sigma, vmax=5 * sigma)
            else:
                axes.imshow(np.sqrt(image.clip(0, truth.max())), origin="lower", cmap="inferno")
            axes.set_title(f"{name}: {title}" if title == "truth" else title, fontsize=9)
    figure.suptitle(
        f"{array}; models: square root of brightness up to the truth's peak, residuals: ±5 sigma", fontsize=9
    )
    save_small(figure, bench.work / f"strange-{array}.png", dpi=90)


# Do the data support the features?


def support_part(bench, args):
    """A row for each sky and program."""
    groups = {}
    for test in removals(bench, args):
        label = f"{test.name}, with and without sources"
        groups[label] = [(test.folder(key), result) for key, result in test.results.items()]
    for array, skies in strange(bench, args).items():
        for name, (_, result) in skies.items():
            groups[f"{name}, {array}"] = [(bench.work / "strange" / f"{array}-{name}", result)]
    rows, totals = [], {who: [] for who in PROGRAMS}
    for label, items in groups.items():
        for who in PROGRAMS:
            found = [feature for folder, result in items if "error" not in result[who]
                     for feature in features(bench, folder / who, result[who]["sigma"])]  # fmt: skip
            totals[who] += found
            failed = sum("error" in result[who] for _, result in items)
            rows.append([label, who, *support_cells(found), failed])
    rows += [["all", who, *support_cells(found), ""] for who, found in totals.items()]
    columns = ("sky", "", "features", "supported", "part", "strongest that is not / sigma", "failed")
    print(table(columns, rows), "\n", flush=True)


def support_cells(found):
    """Features, supported ones, their part and the strongest other one."""
    others = [strength for strength, evidence in found if evidence <= SUPPORTED]
    good = len(found) - len(others)
    return [len(found), good, f"{good / len(found):.3f}" if found else "", f"{max(others):.1f}" if others else ""]


def features(bench, prefix, sigma):
    """Features of a model.

    Returns
    -------
    list of (float, float)
        Of each its peak, seen with the beam, and what the residual shows there if it is put back, in sigma.
    """
    model, residual, psf = (bench.load(prefix, kind) for kind in ("model", "residual", "psf"))
    header = bench.score.load(f"{prefix}-image.fits")[1]
    known = Path(f"{prefix}-uncertainty.fits").exists()
    sigma = bench.load(prefix, "uncertainty") if known else np.full(model.shape, sigma)
    beam = np.fft.fftshift(bench.score.beam_kernel(header, len(model))[0])
    height = bench.score.smooth(model, header) / sigma
    found = []
    for region, level in branches(height):
        place = np.unravel_index(np.where(region, height, -np.inf).argmax(), height.shape)
        feature = np.where(region, model * (1 - level / np.maximum(height, CUT)), 0)
        strength = seen_at(place, feature, beam) / sigma[place]
        if strength > CUT:
            found.append((strength, (residual[place] + seen_at(place, feature, psf)) / sigma[place]))
    return found


def branches(height):
    """Regions above `CUT`, with level 0, and each part into which one falls, with the level at which it does."""
    level, outer = CUT, np.ones(height.shape, int)
    while True:
        inner, count = ndimage.label(height > level, TOUCHING)
        if not count:
            return
        numbers = np.arange(1, count + 1)
        parents = ndimage.maximum(outer, inner, numbers)
        for number, parent in zip(numbers, parents, strict=True):
            if level == CUT:
                yield inner == number, 0
            elif np.count_nonzero(parents == parent) > 1:
                yield inner == number, level
        level, outer = level * STEP, inner


def seen_at(place, feature, response):
    """The value at one pixel of a feature [Jy/pixel] convolved with a PSF or beam that has its peak in the middle."""
    y, x = np.nonzero(feature)
    dy, dx = place[0] - y + len(response) // 2, place[1] - x + len(response) // 2
    inside = (dy >= 0) & (dy < len(response)) & (dx >= 0) & (dx < len(response))
    return float((feature[y, x] * inside * response[dy * inside, dx * inside]).sum())


def main():
    """Run the parts and print their tables."""
    parts = {"noise": noise_part, "removal": removal_part, "strange": strange_part, "support": support_part}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", type=Path, default=Path("../shared/bench"), help="folder of run.py and score.py")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with truth/")
    parser.add_argument("--work", type=Path, default=Path("bench-work/invention"))
    parser.add_argument("--parts", nargs="+", default=list(parts), choices=list(parts))
    parser.add_argument("--count", type=int, default=100, help="skies with nothing but noise")
    parser.add_argument("--no-wsclean", action="store_true", help="for skies not yet imaged; with --parts noise")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("options", nargs="*", help="options for radrim, after --")
    args = parser.parse_args()
    if args.no_wsclean and args.parts != ["noise"]:
        parser.error("--no-wsclean is for --parts noise: the other parts compare the two programs")
    bench = Bench(args.bench, args.work, args.options, PROGRAMS[:1] if args.no_wsclean else PROGRAMS)
    for name in args.parts:
        start = time.perf_counter()
        parts[name](bench, args)
        print(f"{name}: {(time.perf_counter() - start) / 60:.1f} minutes\n", flush=True)


if __name__ == "__main__":
    main()

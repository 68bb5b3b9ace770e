"""Photometry and astrometry of point sources: fluxes and positions in images of radrim and WSClean, and their limit.

    python pipelines/benchmarks/photometry.py --bench ../shared/bench --data ../shared/data --work bench-work/photometry

Fields of 512 x 512 pixels with 40 point sources each, anywhere between pixels and well apart, of 5, 7, 10, 20, 50 and
100 times the noise (half of them of 10), observed with VLA B, MeerKAT, LOFAR and ALMA, several fields each, with the
weighting Briggs 0 (LOFAR: -1, since its core would make a beam of 20 pixels). Their visibilities are the direct sum.
Asked for: fluxes at 10 sigma with a bias below 1 % and a scatter of at most 1.2 times the limit; positions without bias
to 0.02 pixel. Options of radrim come after --; a run that was interrupted goes on from what is in --work. WSClean has
the benchmark's strong multi-scale settings and its accurate gridder.

The noise is that of the weighting: what the noise alone would leave in the dirty image. A source is looked for within
half a beam of its place: `found` if the restored image has a peak of 4 sigma there, `in the model` if the model has at
least half of its flux within a beam of it. Its flux is fitted: the restoring beam, with free place and amplitude, to
the pixels around that peak where the beam is above a quarter of its own. (`model flux` is the model summed within a
beam instead.)

`limit` is the same fit of the ideal image: that of the noise alone, made by the benchmark's transforms with the same
weights, plus the restoring beam at each source's place. It has a bias of its own, since a free place follows the noise
up: (noise / flux)^2 in theory. So the bias is given as it is, and beyond the limit's: the mean of the differences
between two fits with the same noise, which scatter far less. The bias of positions is that beyond the limit's (the
limit's own is in its row). Theory of their scatter, for noise that is correlated like the beam, is FWHM / (2.35 flux /
noise), along x and y as the beam is. Errors (±) are standard errors of the mean. `false` are peaks of 5 sigma farther
than two beams from all sources.
"""

# l and m are the direction cosines of the measurement equation.

import argparse
import json
import os
import shlex
import shutil
from pathlib import Path

import numpy as np
from peer import WSCLEAN_ACCURATE, table
from scipy import ndimage, optimize
from simulated import PADDING, back_project, bench_modules, claim, run_imager, unit_block, weigh

from radrim.geometry import FWHM_PER_SIGMA, C

ARRAYS = {
    # name: layout, declination [degree], hours, integrations, frequency [Hz], part of it that the band has, channels,
    # weighting, and the pixel as a part of 1 / (2 x longest baseline), from and to: beams of 3 to 7 pixels (FWHM)
    "VLA B": ("simms_vla-b", 40, 4.0, 120, 1.4e9, 0.02, 2, "briggs 0", (1.6, 2.2)),
    "MeerKAT": ("real_meerkat62", -35, 4.0, 40, 1.28e9, 0.02, 1, "briggs 0", (1.3, 1.8)),
    "LOFAR": ("real_lofar_hba_2015", 55, 6.0, 40, 1.5e8, 0.02, 1, "briggs -1", (1.3, 1.8)),
    "ALMA": ("karabo_alma_cycle11_5", -23, 2.0, 60, 2.3e11, 0.01, 2, "briggs 0", (1.6, 2.2)),
}
SIZE = 512
LEVELS = {5: 4, 7: 4, 10: 20, 20: 4, 50: 4, 100: 4}
"""Sources in a field of each flux over noise."""
APART, BORDER = 40, 24
"""Between sources, and from the edge [pixel]."""
FOUND, NEAR = 4.0, 0.5
"""Peak over noise of a source that counts as found, within so many beams (FWHM) of its place."""
FALSE = 5.0
"""Peak over noise of a peak that would count as a source, farther than two beams from all of them."""
EDGE = 0.25
"""The fit takes pixels where the beam is above this part of its peak."""


# The observation


def place_sources(rng, count, size):
    """Places (x, y) [pixel], anywhere between pixels, at least APART from each other, (count, 2)."""
    places = np.empty((0, 2))
    for _ in range(100000):
        one = rng.uniform(BORDER, size - 1 - BORDER, 2)
        if not len(places) or np.hypot(*(places - one).T).min() >= APART:
            places = np.vstack([places, one])
        if len(places) == count:
            return places
    raise SystemExit(f"{count} sources do not fit into {size} x {size} pixels, {APART} apart.")


def predict(block, places, flux, size, cell):
    """Visibilities (row, chan) complex128 of point sources at `places` [pixel]: the direct sum."""
    l, m = -(places[:, 0] - size // 2) * cell, (places[:, 1] - size // 2) * cell
    cosines = np.stack([l, m, np.sqrt(1 - l**2 - m**2) - 1])
    vis = np.empty(block.weight.shape, complex)
    for start in range(0, len(vis), 16384):
        rows = slice(start, start + 16384)
        metres = block.uvw[rows] @ cosines
        for chan, freq in enumerate(block.freq):
            vis[rows, chan] = np.exp(2j * np.pi * freq / C * metres) @ flux
    return vis


def build(args, simulator, array, number):
    """Write a field's Measurement Set; its sources and noise, the image of the noise alone, and the set's path."""
    layout, dec, hours, times, freq, band, channels, weighting, fine = ARRAYS[array]
    rng = np.random.default_rng([args.seed, list(ARRAYS).index(array), number])
    folder = args.work / f"{layout}-{number:02d}"
    folder.mkdir(parents=True, exist_ok=True)
    ms = folder / "field.ms"
    xyz, dish = simulator.read_array(args.data / "arrays" / f"{layout}.csv")
    dec = np.deg2rad(dec + rng.uniform(-5, 5))
    hour_angle = np.linspace(-hours / 2, hours / 2, times) * np.pi / 12
    uvw, i, j = simulator.uvw_tracks(xyz, dec, hour_angle)
    freqs = freq * (1 + np.linspace(-band / 2, band / 2, channels) * (channels > 1))
    block = unit_block(uvw, freqs)
    longest = np.hypot(block.uvw[:, 0], block.uvw[:, 1]).max() * freqs.max() / C
    scale = f"{np.rad2deg(1 / (2 * longest * rng.uniform(*fine))) * 3600:.9g}"
    cell = np.deg2rad(float(scale) / 3600)
    unit_noise = weigh([block], args.size, cell, weighting)
    levels = np.repeat(list(LEVELS), list(LEVELS.values()))
    places = place_sources(rng, len(levels), args.size)
    noise = unit_noise / np.sqrt(2)  # Stokes I is the mean of both hands, whose noise is 1
    thermal = rng.normal(size=(*block.weight.shape, 2)) + 1j * rng.normal(size=(*block.weight.shape, 2))
    weights = block.weight.astype(float)
    alone = back_project([block], [weights * thermal.mean(2)], args.size, cell) / weights.sum()
    vis = predict(block, places, levels * noise, args.size, cell)[:, :, None] + thermal
    step = (hour_angle[1] - hour_angle[0]) * 12 / np.pi * 3600
    simulator.write_ms(
        ms, uvw, i, j, 5.1e9 + np.arange(times) * step, freqs, vis, 1.0, 0.7, dec, xyz, dish, step, layout
    )  # fmt: skip
    return {"ms": ms, "scale": scale, "noise": noise, "levels": levels, "places": places, "alone": alone}


# The measurement


def beam_of(header):
    """Inverse covariance (x, y) of the restoring beam [pixel^-2], and its covariance."""
    cell = abs(header["CDELT2"])
    sigma = np.array([header["BMAJ"], header["BMIN"]]) / cell / FWHM_PER_SIGMA
    angle = np.deg2rad(header["BPA"])
    major = np.array([-np.sin(angle), np.cos(angle)])  # x is to the west
    minor = np.array([np.cos(angle), np.sin(angle)])
    covariance = sigma[0] ** 2 * np.outer(major, major) + sigma[1] ** 2 * np.outer(minor, minor)
    return np.linalg.inv(covariance), covariance


def gaussian(x, y, inverse):
    """The beam, of peak 1, at offsets x, y [pixel]."""
    return np.exp(-0.5 * (inverse[0, 0] * x * x + 2 * inverse[0, 1] * x * y + inverse[1, 1] * y * y))


def box(image, place, reach):
    """Index of the pixels within `reach` of `place` along x and y, and their x and y offsets from it."""
    x0, y0 = np.rint(place).astype(int)
    rows = np.arange(max(y0 - reach, 0), min(y0 + reach + 1, image.shape[0]))
    columns = np.arange(max(x0 - reach, 0), min(x0 + reach + 1, image.shape[1]))
    y, x = np.meshgrid(rows - place[1], columns - place[0], indexing="ij")
    return np.ix_(rows, columns), x, y


def fit(image, place, inverse, fwhm):
    """Peak near `place`, and flux and offset (x, y) [pixel] from it of the beam fitted around that peak."""
    index, x, y = box(image, place, int(np.ceil(2 * fwhm)))
    part = image[index]
    near = np.where(np.hypot(x, y) <= max(NEAR * fwhm, 1), part, -np.inf)
    top = np.unravel_index(near.argmax(), near.shape)
    peak, x0, y0 = part[top], x[top], y[top]
    use = gaussian(x - x0, y - y0, inverse) > EDGE
    value, x, y = part[use] / peak, x[use], y[use]

    def excess(p):
        return p[0] * gaussian(x - p[1], y - p[2], inverse) - value

    flux, dx, dy = optimize.least_squares(excess, [1.0, x0, y0], method="lm").x
    return [float(peak), float(flux * peak), float(dx), float(dy)]


def measure(score, prefix, field, size):
    """Every source in the restored image, the ideal one and the model; the residual, and peaks that are no source."""
    (image, header), (model, _), (residual, _) = (
        score.load(f"{prefix}-{kind}.fits") for kind in ("image", "model", "residual")
    )
    inverse, covariance = beam_of(header)
    fwhm = float(FWHM_PER_SIGMA * np.sqrt(np.linalg.eigvalsh(covariance).max()))
    noise, flux = field["noise"], field["levels"] * field["noise"]
    ideal, other = field["alone"].copy(), np.ones((size, size), bool)
    inside = []
    for place, true in zip(field["places"], flux, strict=True):
        index, x, y = box(image, place, int(np.ceil(4 * fwhm)))
        ideal[index] += true * gaussian(x, y, inverse)
        other[index] &= np.hypot(x, y) > 2 * fwhm
        inside.append(float(model[index][np.hypot(x, y) <= fwhm].sum()))

    def false(picture):
        peaks = (picture == ndimage.maximum_filter(picture, 3)) & (picture > FALSE * noise)
        return int(np.count_nonzero(peaks & other))

    return {
        "levels": field["levels"].tolist(),
        "noise": noise,
        "fit": [fit(image, place, inverse, fwhm) for place in field["places"]],
        "ideal": [fit(ideal, place, inverse, fwhm) for place in field["places"]],
        "model": inside,
        "sigma": np.sqrt(np.diag(covariance)).tolist(),
        "fwhm": fwhm,
        "residual": float(residual.std() / noise),
        "false": false(image),
        "ideal_false": false(ideal),
    }


def solve(args, bench, array, number):
    """Results of each imager for one field; those that are there from an earlier run stay."""
    _, score, simulator = bench
    folder = args.work / f"{ARRAYS[array][0]}-{number:02d}"
    results, field = {}, None
    for program, options in programs(args, bench[0]).items():
        done = folder / f"{program}.json"
        if done.exists() and json.loads(done.read_text())["options"] == options:
            results[program] = json.loads(done.read_text())
            continue
        field = field or build(args, simulator, array, number)
        prefix = folder / program
        shutil.rmtree(f"{prefix}.radrim", ignore_errors=True)  # a run that goes on would seem too fast
        line = options.format(scale=field["scale"], weight=ARRAYS[array][7], name=prefix)
        result = {"options": options} | run_imager(program, line, [field["ms"]], f"{prefix}.log", args.limit)
        if not result["error"]:
            try:
                result |= measure(score, prefix, field, args.size)
            except (OSError, KeyError, ValueError) as error:
                result["error"] = f"{type(error).__name__}: {error}"
        done.write_text(json.dumps(result))
        results[program] = result
    if field and not args.keep:
        shutil.rmtree(field["ms"], ignore_errors=True)
        for path in folder.glob("*.fits"):
            path.unlink()
    return results


def programs(args, bench):
    """Options of the imagers, with places for what a field brings."""
    image = f"--size {args.size} {args.size} --scale {{scale}}asec --weight {{weight}} --name {{name}}"
    found = {"radrim": f"{image} --padding {PADDING} --threads {args.threads} {shlex.join(args.options)}"}
    if not args.no_wsclean:
        found["WSClean"] = f"-j {args.threads} {image.replace('--', '-')} {bench.CLEAN} {WSCLEAN_ACCURATE}"
    return found


# What is printed


class Sources:
    """All sources of some fields in the images of one imager, as arrays.

    Parameters
    ----------
    results : list of dict
        Of `measure`.
    """

    def __init__(self, results):
        def joined(make):
            parts = [np.asarray(make(result), float) for result in results]
            return np.concatenate(parts) if parts else np.zeros(0)

        self.level = joined(lambda r: r["levels"])
        self.peak = joined(lambda r: np.array(r["fit"])[:, 0] / r["noise"])
        self.ideal_peak = joined(lambda r: np.array(r["ideal"])[:, 0] / r["noise"])
        # Of the fits: flux over noise less the true one, and offsets in pixels.
        self.fit = joined(lambda r: self._errors(r, "fit")).reshape(-1, 3)
        self.ideal = joined(lambda r: self._errors(r, "ideal")).reshape(-1, 3)
        self.model = joined(lambda r: np.array(r["model"]) / r["noise"]) - self.level
        self.fwhm = joined(lambda r: np.full(len(r["levels"]), r["fwhm"]))
        sigma = joined(lambda r: np.full(len(r["levels"]), np.sqrt(np.mean(np.square(r["sigma"])))))
        self.theory = sigma / self.level
        self.good = np.all(np.hypot(self.fit[:, 1:], self.ideal[:, 1:]) < self.fwhm[:, None], 1)

    @staticmethod
    def _errors(result, key):
        flux, dx, dy = np.array(result[key])[:, 1:].T
        return np.stack([flux / result["noise"] - result["levels"], dx, dy], 1)

    def of(self, level):
        """Index of the sources of one flux that both fits found near their place."""
        return (self.level == level) & self.good


def plus_minus(values, form=".2f"):
    """Mean and its standard error."""
    if len(values) < 2:
        return ""
    return f"{np.mean(values):{form}} ± {np.std(values, ddof=1) / np.sqrt(len(values)):{form}}"


def cells(sources, level, who):
    """A line of the first table; `who` is 'fit' or 'ideal'."""
    here, use = sources.level == level, sources.of(level)
    errors, ideal = getattr(sources, who)[use], sources.ideal[use]
    peak = sources.peak if who == "fit" else sources.ideal_peak
    line = [use.sum(), f"{100 * np.mean(peak[here] >= FOUND):.1f}"]
    spread, least = errors[:, 0].std(), ideal[:, 0].std()
    places, least_places = (np.sqrt(np.mean(np.var(e[:, 1:], axis=0))) for e in (errors, ideal))
    model = sources.model[use]
    if who == "fit":
        line += [f"{100 * np.mean(sources.model[here] >= -level / 2):.1f}"]
        line += [plus_minus(100 / level * errors[:, 0]), plus_minus(100 / level * (errors - ideal)[:, 0])]
        line += [f"{spread:.2f}", f"{spread / least:.2f}", plus_minus(100 / level * model), f"{model.std():.2f}"]
    else:
        line += ["", plus_minus(100 / level * errors[:, 0]), "", f"{spread:.2f}", "", "", ""]
    off = errors - ideal if who == "fit" else errors
    line += [plus_minus(off[:, 1], ".3f"), plus_minus(off[:, 2], ".3f"), f"{places:.3f}"]
    return [*line, f"{places / least_places:.2f}" if who == "fit" else "", f"{sources.theory[use].mean():.3f}"]


def by_array(results, level):
    """Lines of the second table: each array by itself."""
    lines = []
    for array, fields in results.items():
        for who in fields[0]:
            good = [field[who] for field in fields if not field[who]["error"]]
            count = f"{len(good)} of {len(fields)}" if len(good) < len(fields) else len(fields)
            if not good:
                lines.append([array, who, count] + [""] * 10)
                continue
            sources = Sources(good)
            line = cells(sources, level, "fit")
            beam = f"{np.mean(sources.fwhm):.1f}"
            means = [
                np.mean([result[key] for result in good]) for key in ("residual", "false", "ideal_false", "wall_s")
            ]
            numbers = [line[k] for k in (4, 6, 9, 10, 12)]
            means = [f"{mean:{form}}" for mean, form in zip(means, (".2f", ".2f", ".2f", ".1f"), strict=True)]
            lines.append([array, who, count, beam, *numbers, *means])
    return lines


def show(everything, path):
    """Bias and scatter of the flux beyond the limit's, against flux over noise."""
    from matplotlib.figure import Figure

    figure = Figure((10, 4), layout="constrained")
    bias, scatter = figure.subplots(1, 2)
    for shift, (who, sources) in zip((0.98, 1.02), everything.items(), strict=False):
        level = np.array([level for level in LEVELS if sources.of(level).sum() > 1])
        use = [sources.of(k) for k in level]
        beyond = [100 / k * (sources.fit - sources.ideal)[u, 0] for k, u in zip(level, use, strict=True)]
        error = [values.std(ddof=1) / np.sqrt(len(values)) for values in beyond]
        bias.errorbar(level * shift, [values.mean() for values in beyond], error, fmt="o", capsize=3, label=who)
        ratio = [sources.fit[u, 0].std() / sources.ideal[u, 0].std() for u in use]
        scatter.plot(level, ratio, "o-", label=who)
    bias.axhspan(-1, 1, color="0.9", zorder=0)
    bias.set_ylabel("bias of the flux beyond the limit's [%]")
    scatter.axhline(1.2, color="0.8", zorder=0)
    scatter.set_ylabel("scatter of the flux over the limit's")
    for axes in (bias, scatter):
        axes.set_xscale("log")
        axes.set_xticks(list(LEVELS), list(LEVELS))
        axes.minorticks_off()
        axes.set_xlabel("flux over noise")
        axes.legend()
    figure.savefig(path, dpi=110)


def main():
    """Make the fields, image them, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", type=Path, default=Path("../shared/bench"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("bench-work/photometry"))
    parser.add_argument("--only", nargs="*", default=list(ARRAYS), choices=list(ARRAYS), help="some of the arrays")
    parser.add_argument("--fields", type=int, default=12, help="of each array")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-wsclean", action="store_true")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--limit", type=float, default=1800.0, help="longest run of an imager [s]")
    parser.add_argument("--size", type=int, default=SIZE, help="of the images; other than 512 for a trial only")
    parser.add_argument("--keep", action="store_true", help="keep the Measurement Sets and images")
    parser.add_argument("options", nargs="*", help="options for radrim, after --")
    args = parser.parse_args()
    bench = bench_modules(args.bench)
    claim(args.work, {"seed": args.seed, "size": args.size})
    results = {array: [] for array in args.only}
    for number in range(args.fields):  # so that an early end has something of each array
        for array in args.only:
            found = solve(args, bench, array, number)
            results[array].append(found)
            told = (f"{who}: {r['error'] or format(r['wall_s'], '.0f') + ' s'}" for who, r in found.items())
            print(array, number, *told, flush=True)
    everything = {}
    for who in programs(args, bench[0]):
        everything[who] = Sources(
            [field[who] for fields in results.values() for field in fields if not field[who]["error"]]
        )
    everything = {who: sources for who, sources in everything.items() if len(sources.level)}
    if not everything:
        raise SystemExit("No imager made an image of any field; their logs are in the fields' folders.")
    lines = []
    for level in LEVELS:
        for number, (who, sources) in enumerate(everything.items()):
            if number == 0:
                lines.append([level, "limit", *cells(sources, level, "ideal")])
            lines.append(["", who, *cells(sources, level, "fit")])
    head = [
        "flux / noise", "", "sources", "found %", "in the model %", "flux bias %", "beyond the limit's",
        "scatter / noise", "/ limit's", "model flux bias %", "its scatter / noise", "x bias [pixel]", "y bias",
        "scatter [pixel]", "/ limit's", "theory",
    ]  # fmt: skip
    print()
    print(table(head, lines), "\n")
    head = [
        "10 sigma", "", "fields", "beam [pixel]", "flux bias beyond the limit's %", "scatter / limit's",
        "x bias [pixel]", "y bias", "scatter / limit's", "residual / noise", "false per field", "limit's", "s",
    ]  # fmt: skip
    print(table(head, by_array(results, 10)))
    show(everything, args.work / "photometry.png")
    print("\nPicture:", args.work / "photometry.png")


if __name__ == "__main__":
    main()

"""A rebuild of the test set of R2D2, the learned imager: `radrim image`, end to end, beside what its authors published.

    python pipelines/benchmarks/r2d2.py --bench ../shared/bench --data ../shared/data --work bench-work/r2d2 --wsclean

The authors' own 200 problems are not used here: these are made anew by their recipe, as far as it is public, and ours
are named a rebuild everywhere. Rows of the rebuild can be compared with each other, with the published ones only
loosely: other skies, other noise, another machine. Options of radrim come after --; a run that was interrupted goes on
from what is in --work. WSClean has the benchmark's strong multi-scale settings and its accurate gridder.

The published figures are of the authors' benchmarking page (basp-group.github.io/BASPLib), for the networks of the
second R2D2 paper (Aghabiglou et al. 2025, arXiv:2503.02554), and so is the recipe: pixel size and robustness vary
there. In the first paper (Aghabiglou et al. 2024, arXiv:2403.05452) the super-resolution is 1.5 and the weighting
Briggs 0 throughout; the page still describes its problems so, beside the newer figures, so that what these were
measured with is not certain.

- uv coverage: VLA A (5 to 10 hours) and C (1 to 3 hours) around transit, declination 5 to 60 degrees, a sample every 30
  seconds, 1 to 3 frequencies from 1 GHz up to a ratio of 2, the uv plane turned by any angle, up to a fifth of the
  samples of each frequency flagged: as in the authors' script sim_vla_ms.py (basp-group/RI-measurement-operator). The
  sky is the same at all frequencies. How the second paper varies integration times is not public code: not rebuilt.
- imaging: 512 x 512 pixels of 1 / (2 x longest baseline x super-resolution), super-resolution 1.5 to 2.5, Briggs -1 to
  1 with uv cells of half the field of view's.
- dynamic range DR: log-uniform from 1e3 to 5e5. Sky and noise both follow it. The sky (peak 1) is exponentiated, x to
  (a^x - 1) / a, a from DR and the dynamic range of the picture it is made from (see `exponentiate`). The noise is the
  authors' definition, not the benchmark's: tau = sqrt(2 |A(W)|) / (eta DR), where tau is the standard deviation of the
  complex visibilities, A(W) what the weights W make of an image, transform and back, |.| its largest eigenvalue and
  eta^2 = |A(W^2)| / |A(W)|. (In the benchmark peak / DR is the noise of the naturally weighted image in Jy/beam: 33 and
  3 times as much for the first two problems.)
- skies: in every other problem 3C353 as the authors' repository has it (it is exponentiated already, which is undone
  first, taking the 16430 of the benchmark's case for its dynamic range: the file does not say); else a galaxy of the
  FIRST survey: one of those with at least `--least` pixels above the noise, in at most 120 x 120 of the survey's
  pixels; smoothed with a Gaussian of one survey pixel (rms), enlarged by a cubic spline until its longer side is 0.4 to
  0.7 of the image, and cut at 0, so that no noise of the survey is in the truth. The authors used 3C353, M106, A2034
  and PSZ2 G165.68+44.01.

radrim's network has never been trained on 3C353 (it was scored on it during training). The FIRST galaxies are one
class of skies of its training, turned, resized and not exponentiated, and `radrim.rim.training.skies` holds none of
them back:
the rows of 3C353 are the test, and those of FIRST stand beside them because these galaxies were seen in training.

`native` and `logSNR` are the authors' SNR and logSNR: of the model as it is, and after x -> log_DR(DR x + 1).
`restored` is the SNR of the restored image over the area of its beam; `beam` that of the model at the beam's scale;
`flux` model over true flux; `residual` the rms of the residual over the thermal noise; `RDR` its norm over the dirty
image's. The authors do not say which of its images CLEAN is scored by. Seconds are those of the whole command.
"""

import argparse
import json
import os
import shlex
import shutil
from pathlib import Path

import numpy as np
from astropy.io import fits
from peer import WSCLEAN_ACCURATE, table
from scipy import fft, ndimage, optimize
from simulated import PADDING, back_project, bench_modules, claim, mean_and_spread, run_imager, unit_block, weigh

from radrim.rim.training.skies import read_first

SIZE = 512
MODEL_RANGE = 16430.0
"""Dynamic range of the authors' picture of 3C353, as the benchmark's case has it."""
FIRST_RANGE = 255.0
"""Of the pictures of the FIRST galaxies: they have so many steps."""
EXTENT = 120
"""Largest extent of a FIRST galaxy [survey pixel]: larger ones are fields of several sources."""
COLUMNS = ("native", "lognative", "restored", "beam", "flux", "residual", "rdr", "wall_s")
PUBLISHED = [
    # Method, SNR, logSNR, RDR / 1e-3, seconds: authors' means and standard deviations over their 200 problems.
    ("CLEAN (WSClean, multi-scale)", "12.0 ± 19.3", "9.4 ± 18.9", "3.3 ± 28", "106 ± 82"),
    ("uSARA", "28.1 ± 3.4", "20.4 ± 3.4", "2.2 ± 28", "88 to 369"),
    ("AIRI", "28.3 ± 3.1", "21.0 ± 3.8", "2.2 ± 28", "114 to 937"),
    ("R2D2, U-Net", "30.0 ± 3.0", "23.4 ± 4.2", "4.1 ± 92", "3.3 to 7.2"),
    ("R2D2, U-WDSR", "31.2 ± 2.4", "24.6 ± 4.2", "2.2 ± 28", "5.6 to 9.0"),
]


# The sky


def exponentiate(picture, old, new):
    """A picture (0 to 1) of dynamic range `old` stretched to `new`: (a^x - 1) / a with a = (1 + a / new)^old.

    Then what was 1 / `old` of the peak is 1 / `new` of it. A picture of a range above `new` stays as it is.
    """

    def excess(log_a):
        return old * np.log1p(np.exp(log_a) / new) - log_a

    # Two values of a solve it, one on each side of where this is least; the lower one, near 1, stretches nothing.
    least = np.log(new / (old - 1))
    if not excess(least) < 0:
        return picture
    log_a = optimize.brentq(excess, least, 60)
    return np.expm1(log_a * picture) / np.expm1(log_a)


def stretch_log(picture, old, new):
    """A picture that was exponentiated to the range `old`, for the range `new`: the same picture on its log scale."""
    level = np.log1p(old * picture) / np.log1p(old)
    return np.expm1(level * np.log1p(new)) / new


def model_sky(data, size, dynamic_range):
    """3C353, (size, size)."""
    sky = np.squeeze(fits.getdata(data / "truth" / "r2d2_3c353_gdth.fits")).astype(float)
    step = len(sky) // size
    sky = sky[: size * step, : size * step].reshape(size, step, size, step).mean((1, 3))
    return stretch_log(sky / sky.max(), MODEL_RANGE, dynamic_range)


def first_sky(galaxy, rng, size, dynamic_range):
    """One of the FIRST galaxies, (size, size)."""
    zoom = rng.uniform(0.4, 0.7) * size / max(galaxy.shape)
    margin = 4  # for the smoothing
    smooth = ndimage.gaussian_filter(np.pad(galaxy.astype(float), margin), 1.0)
    middle = (np.array(smooth.shape) - 1) / 2
    sky = ndimage.affine_transform(smooth, np.full(2, 1 / zoom), middle - size / 2 / zoom, (size, size), order=3)
    sky = sky.clip(0) / sky.max()
    return exponentiate(sky, FIRST_RANGE, dynamic_range)


# The observation


def draw(seed, number, galaxies):
    """What is random about a problem, and its generator."""
    rng = np.random.default_rng([seed, number])
    ratio = rng.uniform(1, 2)
    settings = {
        "number": number,
        "sky": "FIRST" if number % 2 else "3C353",
        "galaxy": int(rng.integers(galaxies)),
        "dynamic_range": float(10 ** rng.uniform(np.log10(1e3), np.log10(5e5))),
        "super_resolution": float(rng.uniform(1.5, 2.5)),
        "weight": f"briggs {rng.uniform(-1, 1):.3f}",
        "dec_deg": float(rng.uniform(5, 60)),
        "hours": {"simms_vla-a": float(rng.uniform(5, 10)), "simms_vla-c": float(rng.uniform(1, 3))},
        "freqs": list(np.linspace(1e9, ratio * 1e9, max(1, int(rng.uniform(0, 4))) if ratio > 1.1 else 1)),
        "rotation_deg": float(rng.uniform(0, 360)),
    }
    settings["flagged"] = [float(part) for part in rng.uniform(0, 0.2, len(settings["freqs"]))]
    return settings, rng


def track(simulator, data, array, settings, step):
    """Antennas, hour angles, and the turned uvw (time, baseline, 3) [m] of one configuration."""
    xyz, dish = simulator.read_array(data / "arrays" / f"{array}.csv")
    hours = settings["hours"][array]
    hour_angle = np.linspace(-hours / 2, hours / 2, round(hours * 3600 / step)) * np.pi / 12
    uvw, i, j = simulator.uvw_tracks(xyz, np.deg2rad(settings["dec_deg"]), hour_angle)
    cos, sin = np.cos(angle := np.deg2rad(settings["rotation_deg"])), np.sin(angle)
    return xyz, dish, hour_angle, uvw @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]]), i, j


def spectral_norm(psf, size, accuracy=1e-4, most=500):
    """Largest eigenvalue of the convolution of `size` x `size` images with a PSF of twice that size."""
    transfer = fft.rfft2(fft.ifftshift(psf))
    image = np.random.default_rng(0).normal(1, 1, (size, size))
    norm = 0.0
    for _ in range(most):
        image = image / np.linalg.norm(image)
        image = fft.irfft2(fft.rfft2(image, psf.shape) * transfer, psf.shape)[:size, :size]
        before, norm = norm, float(np.linalg.norm(image))
        if abs(norm - before) < accuracy * norm:
            break
    return norm


def data_noise(blocks, size, cell, dynamic_range):
    """tau of the module's docstring for a sky of peak 1; `blocks` have the imaging weights of natural ones of 1."""
    flat = [unit_block(block.uvw * np.array([1, 1, 0]), block.freq) for block in blocks]
    norms = [
        spectral_norm(back_project(flat, [b.weight.astype(float) ** k for b in blocks], 2 * size, cell, False), size)
        for k in (1, 2)
    ]
    return np.sqrt(2) * norms[0] / np.sqrt(norms[1]) / dynamic_range


def build(args, simulator, galaxies, number):
    """Write the Measurement Sets and the truth of a problem; its settings, with what the imagers need."""
    folder = args.work / f"{number:03d}"
    settings, rng = draw(args.seed, number, len(galaxies))
    paths = [folder / f"{array}.ms" for array in settings["hours"]]
    done = folder / "problem.json"
    if done.exists() and all(path.exists() for path in paths):
        return json.loads(done.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    done.unlink(missing_ok=True)
    if settings["sky"] == "3C353":
        sky = model_sky(args.data, args.size, settings["dynamic_range"])
    else:
        sky = first_sky(galaxies[settings["galaxy"]], rng, args.size, settings["dynamic_range"])
    fits.writeto(folder / "truth.fits", sky.astype(np.float32), overwrite=True)
    sky = fits.getdata(folder / "truth.fits").astype(float)
    freqs = np.array(settings["freqs"])
    tracks = [track(simulator, args.data, array, settings, args.step) for array in settings["hours"]]
    longest = max(np.hypot(uvw[..., 0], uvw[..., 1]).max() for _, _, _, uvw, _, _ in tracks) * freqs.max() / simulator.C
    scale = f"{np.rad2deg(1 / (2 * longest * settings['super_resolution'])) * 3600:.9g}"
    cell = np.deg2rad(float(scale) / 3600)
    flags = [rng.random((uvw[..., 0].size, len(freqs))) < settings["flagged"] for _, _, _, uvw, _, _ in tracks]
    blocks = [unit_block(t[3], freqs, flag) for t, flag in zip(tracks, flags, strict=True)]
    count = int(sum(np.count_nonzero(block.weight) for block in blocks))
    unit_noise = weigh(blocks, args.size, cell, settings["weight"])
    tau = data_noise(blocks, args.size, cell, settings["dynamic_range"])
    for path, (xyz, dish, hour_angle, uvw, i, j), flag in zip(paths, tracks, flags, strict=True):
        vis = np.repeat(simulator.predict(uvw, freqs, sky, cell)[:, :, None], 2, 2)
        # Stokes I is the mean of both hands: tau / sqrt(2) in its real part needs tau in that of each hand.
        vis += tau * (rng.normal(size=vis.shape) + 1j * rng.normal(size=vis.shape))
        times = 5.1e9 + np.arange(len(hour_angle)) * args.step
        place = 0.7, np.deg2rad(settings["dec_deg"])
        simulator.write_ms(path, uvw, i, j, times, freqs, vis, tau, *place, xyz, dish, args.step, path.stem)
        flag_samples(path, flag)
    settings |= {"ms": [str(path) for path in paths], "scale": scale, "tau": float(tau), "visibilities": count}
    settings["noise"] = float(unit_noise * tau / np.sqrt(2))
    done.write_text(json.dumps(settings, indent=1))
    return settings


def flag_samples(path, flag):
    """Write the flags (row, chan) of both hands."""
    import casacore.tables as casatables

    with casatables.table(str(path), readonly=False, ack=False) as main:
        main.putcol("FLAG", np.repeat(flag[:, :, None], 2, 2))


# The imagers


def programs(args, bench):
    """Options of the imagers, with places for what a problem brings."""
    image = f"--size {args.size} {args.size} --scale {{scale}}asec --weight {{weight}} --name {{name}}"
    found = {"radrim": f"{image} --padding {PADDING} --threads {args.threads} {shlex.join(args.options)}"}
    if args.wsclean:
        found["WSClean"] = f"-j {args.threads} {image.replace('--', '-')} {bench.CLEAN} {WSCLEAN_ACCURATE}"
    return found


def solve(args, bench, galaxies, number):
    """Settings of a problem, and results of each imager; those that are there from an earlier run stay."""
    _, score, simulator = bench
    folder = args.work / f"{number:03d}"
    results = {}
    for program, options in programs(args, bench[0]).items():
        done = folder / f"{program}.json"
        if done.exists() and json.loads(done.read_text())["options"] == options:
            results[program] = json.loads(done.read_text())
            continue
        settings = build(args, simulator, galaxies, number)
        prefix = folder / program
        shutil.rmtree(f"{prefix}.radrim", ignore_errors=True)  # a run that goes on would seem too fast
        line = options.format(scale=settings["scale"], weight=settings["weight"], name=prefix)
        result = {"options": options} | run_imager(program, line, settings["ms"], f"{prefix}.log", args.limit)
        if not result["error"]:
            try:
                result |= scores(score, folder, prefix, settings)
            except (OSError, KeyError, ValueError) as error:
                result["error"] = f"{type(error).__name__}: {error}"
        done.write_text(json.dumps(result, indent=1))
        results[program] = result
    settings = json.loads((folder / "problem.json").read_text())
    if not args.keep:
        for path in settings["ms"]:
            shutil.rmtree(path, ignore_errors=True)
    return settings, results


def scores(score, folder, prefix, settings):
    """The benchmark's scores, and two more."""
    truth, _ = score.load(folder / "truth.fits")
    found = score.score(str(prefix), truth, settings["noise"], settings["dynamic_range"])
    image, header = score.load(f"{prefix}-image.fits")
    residual, dirty = (score.load(f"{prefix}-{kind}.fits")[0] for kind in ("residual", "dirty"))
    found["restored"] = score.snr(truth, image / score.beam_kernel(header, 4)[1])
    found["rdr"] = 1e3 * np.linalg.norm(residual) / np.linalg.norm(dirty)
    return {key: float(value) for key, value in found.items()}


# What is printed


def rows(results, who, title):
    """Lines of the table: of all problems, and of each kind of sky."""
    lines = []
    kinds = sorted({settings["sky"] for settings, _ in results})
    for kind in [*kinds, "all"] if len(kinds) > 1 else kinds:
        mine = [found[who] for settings, found in results if kind in ("all", settings["sky"])]
        good = [result for result in mine if not result["error"]]
        count = f"{len(good)} of {len(mine)}" if len(good) < len(mine) else str(len(mine))
        cells = [mean_and_spread([r[c] for r in good], ".3f" if c in ("flux", "residual") else ".1f") for c in COLUMNS]
        lines.append((title, kind, count, *cells))
    return lines


def show(results, score, work, path):
    """Best, median and worst problem by the native SNR: truth, model, error and residual."""
    from matplotlib.colors import LogNorm, SymLogNorm
    from matplotlib.figure import Figure

    order = sorted((found["radrim"]["native"], s["number"], s) for s, found in results if not found["radrim"]["error"])
    if not order:
        return False
    chosen = {"best": order[-1], "median": order[len(order) // 2], "worst": order[0]}
    figure = Figure((15, 3.6 * len(chosen)), layout="constrained")
    for line, (name, (snr, number, settings)) in zip(
        figure.subplots(len(chosen), 4, squeeze=False), chosen.items(), strict=True
    ):
        truth, _ = score.load(work / f"{number:03d}" / "truth.fits")
        model, residual = (score.load(work / f"{number:03d}" / f"radrim-{k}.fits")[0] for k in ("model", "residual"))
        low, noise = 1 / settings["dynamic_range"], settings["noise"]
        sky = {"cmap": "inferno", "norm": LogNorm(low, 1)}
        error = {"cmap": "RdBu_r", "norm": SymLogNorm(low, vmin=-0.1, vmax=0.1)}
        panels = (
            (truth.clip(low), sky, f"{name}: {settings['sky']}, DR {settings['dynamic_range']:.3g}"),
            (model.clip(low), sky, f"model, {snr:.1f} dB"),
            (model - truth, error, "model - truth"),
            (residual / noise, {"cmap": "gray", "vmin": -5, "vmax": 5}, "residual / noise"),
        )
        for axes, (picture, style, title) in zip(line, panels, strict=True):
            shown = axes.imshow(picture, origin="lower", **style)
            ticks = [-0.1, -0.01, 0, 0.01, 0.1] if style is error else None
            axes.set_title(title, fontsize=10)
            axes.set_xticks([])
            axes.set_yticks([])
            figure.colorbar(shown, ax=axes, shrink=0.85, ticks=ticks)
    figure.savefig(path, dpi=100)
    return True


def main():
    """Make the problems, image them, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", type=Path, default=Path("../shared/bench"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("bench-work/r2d2"))
    parser.add_argument("--count", type=int, default=50, help="problems; every other one is 3C353")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--wsclean", action="store_true", help="image with WSClean, too (multi-scale, strong settings)")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--limit", type=float, default=3600.0, help="longest run of an imager [s]")
    parser.add_argument("--least", type=int, default=400, help="pixels above the noise of a FIRST galaxy")
    parser.add_argument("--size", type=int, default=SIZE, help="of the images; smaller for a trial only")
    parser.add_argument("--step", type=float, default=30.0, help="between two samples [s]; longer for a trial only")
    parser.add_argument("--keep", action="store_true", help="keep the Measurement Sets")
    parser.add_argument("options", nargs="*", help="options for radrim, after --")
    args = parser.parse_args()
    bench = bench_modules(args.bench)
    claim(args.work, {key: getattr(args, key) for key in ("seed", "size", "step", "least")})
    galaxies = [
        galaxy
        for galaxy in read_first(args.data / "truth" / "galaxy_data_h5.zip", args.least)
        if max(galaxy.shape) <= EXTENT
    ]
    results = []
    for number in range(args.count):
        settings, found = solve(args, bench, galaxies, number)
        results.append((settings, found))
        scores_now = (
            f"{name} {r['error'] or '{native:.1f} dB, log {lognative:.1f} dB, {wall_s:.0f} s'.format(**r)}"
            for name, r in found.items()
        )
        print(
            f"{number:3d} {settings['sky']:5s} DR {settings['dynamic_range']:.3g}:", "; ".join(scores_now), flush=True
        )
    lines = [line for name in programs(args, bench[0]) for line in rows(results, name, f"{name}, rebuild")]
    for method, snr, log_snr, rdr, seconds in PUBLISHED:
        lines.append((method, "authors' four", "200", snr, log_snr, "", "", "", "", rdr, seconds))
    print()
    head = (
        "",
        "sky",
        "problems",
        "native dB",
        "logSNR dB",
        "restored dB",
        "beam dB",
        "flux",
        "residual",
        "RDR / 1e-3",
        "s",
    )
    print(table(head, lines))
    if show(results, bench[1], args.work, args.work / "r2d2.png"):
        print("\nPicture:", args.work / "r2d2.png")


if __name__ == "__main__":
    main()

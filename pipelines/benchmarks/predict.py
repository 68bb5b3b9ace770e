"""`radrim predict` beside `wsclean -predict`: the same model of a real observation, against the direct sum.

    python pipelines/benchmarks/predict.py --data ../shared/data/obs --work bench-work/predict

For each observation radrim makes a model (a major cycle of CLEAN, of points; one with several channels), and each
program predicts it into its own copy. Printed are rms differences over the rms of the visibilities: of each program
from the direct sum in double precision, over some rows, and of one from the other, over all unflagged samples; wall
time and peak memory of both. WSClean runs as it does by default, and with its most accurate gridder. Needs `wsclean`.
"""

# l and m are the direction cosines of the measurement equation.

from pathlib import Path

import casacore.tables as casatables
import numpy as np
from astropy.io import fits
from peer import WSCLEAN_ACCURATE, case_parser, radrim, run, table
from real_data import prepare

from radrim.geometry import C, n_minus_1
from radrim.ms.tables import read_subtables

# name: size, scale and weighting of the model, output channels.
CASES = {
    "vla_3c391_4.6GHz": (256, "4asec", "briggs 0", 1),
    "alma_hd142527_b9_cont": (256, "0.025asec", "briggs 0.5", 1),
    "gmrt_1543+480_622MHz_2014": (2048, "1.5asec", "briggs 0", 5),
    "mwa_uvceti_154MHz_2015": (3000, "45asec", "briggs -0.5", 1),
    "vlba_m87_8.1GHz_2006": (512, "0.2masec", "uniform", 1),
}
ROWS = 300
"""Rows of the direct sum."""


def visibilities(ms):
    """MODEL_DATA, flags and what the direct sum needs to know of each row."""
    with casatables.table(str(ms), ack=False) as main:
        return {name: main.getcol(name) for name in ("MODEL_DATA", "FLAG", "UVW", "DATA_DESC_ID", "FLAG_ROW")}


def direct(paths, columns, rows, ms):
    """Stokes I of some rows by the sum over pixels, (row, chan) complex128, every channel from its nearest model."""
    model = [components(path) for path in paths]
    centres = np.array([fits.getheader(path)["CRVAL3"] for path in paths])
    windows = read_subtables(ms).windows
    out = []
    for row in rows:
        freq = windows[columns["DATA_DESC_ID"][row]].freq
        nearest = np.abs(freq[:, None] - centres).argmin(1)
        seen = []
        for channel, number in zip(freq, nearest, strict=True):
            places, flux = model[number]
            turns = places @ columns["UVW"][row] * (channel / C)
            seen.append(np.sum(flux * np.exp(2j * np.pi * turns)))
        out.append(seen)
    return np.array(out)


def components(path):
    """(l, m, n - 1) and flux of the pixels of a model that are not 0, (pixel, 3) and (pixel,)."""
    with fits.open(path) as hdus:
        header, image = hdus[0].header, np.asarray(hdus[0].data, float).reshape(hdus[0].data.shape[-2:])
    y, x = np.nonzero(image)
    l = np.radians(header["CDELT1"]) * (x + 1 - header["CRPIX1"])
    m = np.radians(header["CDELT2"]) * (y + 1 - header["CRPIX2"])
    return np.stack([l, m, n_minus_1(l, m)], -1), image[y, x]


def compare(name, case, data, work, threads, epsilon):
    """One row of the table."""
    size, scale, weighting, channels = case
    image = f"-size {size} {size} -scale {scale}"
    ours, theirs = work / f"{name}-ours.ms", work / f"{name}-theirs.ms"
    for ms in (ours, theirs):
        prepare(data / f"{name}.ms", ms, 0)
    prefix = work / name
    if not Path(f"{prefix}-run.toml").exists():
        clean = (
            f"--solver clean --no-multiscale --max-major 1 --niter 3000 --channels-out {channels} --threads {threads}"
        )
        radrim(f"image {ours} {image} --weight {weighting} {clean} --name {prefix}", f"{prefix}-image.log")
    here = radrim(f"predict {ours} --name {prefix} --epsilon {epsilon} -j {threads}", f"{prefix}-predict.log")
    mine = visibilities(ours)
    paths = [f"{prefix}-{k:04d}-model.fits" for k in range(channels)] if channels > 1 else [f"{prefix}-model.fits"]
    usable = np.flatnonzero(~mine["FLAG"].any((1, 2)) & ~mine["FLAG_ROW"] & (mine["UVW"] != 0).any(1))
    rows = np.sort(np.random.default_rng(0).choice(usable, min(ROWS, len(usable)), replace=False))
    truth = direct(paths, mine, rows, ours)
    cells = [name, len(mine["UVW"]), error(mine["MODEL_DATA"][rows][:, :, 0], truth)]
    unflagged = ~mine["FLAG"] & ~mine["FLAG_ROW"][:, None, None]
    runs = []
    for options in ("-reorder", WSCLEAN_ACCURATE):
        more = f"{options} -channels-out {channels} -predict -name {prefix} {theirs}"
        runs.append(run(f"wsclean -j {threads} {more}", f"{prefix}-wsclean.log"))
        there = visibilities(theirs)["MODEL_DATA"]
        same = unflagged[..., 0]
        cells += [error(there[rows][:, :, 0], truth), error(there[..., 0][same], mine["MODEL_DATA"][..., 0][same])]
    for one in (here, *runs):
        cells += [f"{one.wall:.1f}", f"{one.memory / 1e6:.0f}"]
    return cells


def error(found, truth):
    """Rms difference over rms."""
    return f"{np.sqrt(np.mean(np.abs(found - truth) ** 2) / np.mean(np.abs(truth) ** 2)):.1e}"


def main():
    """Run the cases and print the table."""
    parser = case_parser(__doc__, CASES, "bench-work/predict")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--epsilon", type=float, default=1e-4, help="of radrim predict")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    results = []
    for name in args.only:
        results.append(compare(name, CASES[name], args.data, args.work, args.threads, args.epsilon))
        print(results[-1], flush=True)
    columns = [
        "observation", "rows", "radrim - direct", "WSClean - direct", "WSClean - radrim", "w-gridder - direct",
        "w-gridder - radrim", "radrim s", "MB", "WSClean s", "MB", "w-gridder s", "MB",
    ]  # fmt: skip
    print()
    print(table(columns, results))


if __name__ == "__main__":
    main()

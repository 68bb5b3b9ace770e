"""Self-calibration of simulated and real observations: residual and dynamic range before and after.

    python pipelines/benchmarks/selfcal.py --data ../shared/data --work bench-work/selfcal

Prints Markdown tables: the rounds of each case, what they did altogether, gains of simulations against those that were
put in, and antennas of the GMRT. The first column of the second table is the image of the data as they came, with the
options of the last one. The EHT's data are converted from UVFITS with pyuvdata, which must be installed for that case.
"""

import argparse
import dataclasses
import shlex
import shutil
import time
import warnings
from pathlib import Path

import numpy as np
from astropy.io import fits
from peer import mad, table

from radrim.cli.imaging import parse_config
from radrim.cli.parser import build_parser
from radrim.cli.selfcal import parse_options
from radrim.cli.spelling import wsclean_spelling
from radrim.gains.table import read_gains
from radrim.pipeline import run as image
from radrim.selfcalibration.loop import selfcal

EHT = "--size 128 128 --scale 0.002masec --weight uniform --minuv-l 1e8 --gain 0.05 --mgain 0.5 --auto-mask 1 "
EHT += "--auto-threshold 0.3 --gain-type T --rounds p:inf,p:60s,p:int,p:int,ap:inf,ap:inf --mask {work}/mask.fits "
# name: Measurement Set, and what stands on the command line of radrim selfcal
CASES = {
    "simulated VLA B, errors 0.3": (
        "{work}/vla.ms",
        "--size 128 128 --scale 1asec --no-multiscale --max-major 6 --rounds p,p,ap,ap",
    ),
    "simulated VLBA, errors 0.3": (
        "{work}/vlba.ms",
        "--size 128 128 --scale 0.2masec --no-multiscale --rounds p,p,ap,ap",
    ),
    "VLBA M87 8.1 GHz": ("{data}/obs/vlba_m87_8.1GHz_2006.ms", "--size 512 512 --scale 0.2masec --weight uniform"),
    "VLBA 3C279 43 GHz": ("{data}/obs/vlba_3c279_43GHz_2013a.ms", "--size 256 256 --scale 0.04masec --weight uniform"),
    "GMRT 1543+480 622 MHz": (
        "{data}/obs/gmrt_1543+480_622MHz_2014.ms",
        "--size 1024 1024 --scale 1.5asec --auto-threshold 3 --no-multiscale",
    ),
    "VLA J1008+0730, raw": (
        "{data}/reader/vla_j1008_36GHz_64ch_raw.ms",
        "--size 128 128 --no-multiscale --start-model point",
    ),
    "EHT M87*, from a point": ("{work}/eht.ms", EHT + "--start-model point"),
    "EHT M87*, from a disc": ("{work}/eht.ms", EHT + "--start-model disc:40uasec"),
    "EHT M87*, from a Gaussian": ("{work}/eht.ms", EHT + "--start-model gauss:40uasec"),
}
SIMULATED = {
    "vla": "--sky {work}/field.csv --gain-error 0.3 --hours 1 --integration 120 --channels 2 --noise 0.05",
    "vlba": "--array vlba --freq 8.4GHz --sky {work}/jet.csv --gain-error 0.3 --hours 8 --integration 120 --noise 0.02",
}
RADIUS = 35.0
"""Of the mask for M87* [microarcsecond]."""


def simulate(work):
    """The two simulated observations, and their gains: DATA over what the same command writes without errors."""
    from radrim.cli.main import main as command

    (work / "jet.csv").write_text(
        "ra_deg,dec_deg,i_jy,major_arcsec,minor_arcsec,pa_deg\n299.8666667,40.7338889,1.0,0,0,0\n"
        "299.8666673,40.7338895,0.3,0.002,0.001,30\n299.8666681,40.7338901,0.1,0.003,0.002,30\n"
    )
    rng = np.random.default_rng(5)
    places = np.array([299.8666667, 40.7338889]) + rng.uniform(-0.012, 0.012, (10, 2))
    fluxes = 0.7 ** np.arange(10)
    rows = [f"{ra},{dec},{flux}" for (ra, dec), flux in zip(places, fluxes, strict=True)]
    (work / "field.csv").write_text("\n".join(["ra_deg,dec_deg,i_jy", *rows]) + "\n")
    for name, options in SIMULATED.items():
        if not (work / f"{name}.ms").exists():
            words = shlex.split(options.format(work=work))
            for end, changed in (
                ("", {}),
                ("-errors", {"--noise": "0"}),
                ("-none", {"--noise": "0", "--gain-error": "0"}),
            ):
                pairs = dict(zip(words[::2], words[1::2], strict=True)) | changed
                flat = [word for pair in pairs.items() for word in pair]
                command(["simulate", str(work / f"{name}{end}.ms"), *flat, "--overwrite", "--quiet"])


def convert_eht(data, work):
    """The network-calibrated data of M87* as a Measurement Set, the mask, and the image of the self-calibrated data."""
    if not (work / "eht.ms").exists():
        from pyuvdata import UVData

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            uv = UVData.from_file(str(data / "uvfits/eht_m87_2017_101_lo_netcal.uvfits"), run_check=False)
            uv.write_ms(str(work / "eht.ms"), run_check=False)
    name = work / "published"
    options = EHT.partition(" --gain-type")[0]
    published = data / "obs/eht_m87_2017_101_hilo_selfcal.ms"
    parsed = parse(["image", str(published), "--name", str(name), *shlex.split(options), *OURS])
    result = image(parse_config(parsed))
    y, x = np.indices(result.image.shape) - np.array(result.image.shape)[:, None, None] // 2
    mask = (np.hypot(x, y) * np.degrees(result.grid.scale) * 3.6e9 <= RADIUS).astype(np.float32)
    fits.writeto(work / "mask.fits", mask[None, None], fits.getheader(f"{name}-dirty.fits"), overwrite=True)
    parsed = parse(["image", str(published), "--name", str(name), *shlex.split(options), *OURS,
                    "--mask", str(work / "mask.fits")])  # fmt: skip
    return image(parse_config(parsed)).image


OURS = ["--solver", "clean", "--threads", "1"]


def parse(words):
    """Parsed arguments of a radrim command."""
    args = build_parser().parse_args(wsclean_spelling(words))
    args.line = shlex.join(["radrim", *words])
    return args


def calibrate(label, case, data, work):
    """Run one case; its result, the data's image as they came, and the wall time [s]."""
    ms, options = (text.format(data=data, work=work) for text in case)
    name = work / "".join(c if c.isalnum() else "-" for c in label)
    words = ["selfcal", ms, "--name", str(name), "--overwrite", *shlex.split(options), *OURS]
    args = parse(words)
    config = parse_config(args)
    settings = parse_options(args, config.start_model)
    config = dataclasses.replace(config, start_model=None)  # images begin without a model
    start = time.perf_counter()
    result = selfcal(config, settings, args.line)
    seconds = time.perf_counter() - start
    grid = result.image.grid
    before = image(dataclasses.replace(config.resolved(grid, f"{name}-before"), data_column="DATA"), report=False)
    return result, before, seconds


def rounds(label, result):
    """Rows of the table of rounds."""
    return [
        (label, row.label, row.kind, row.interval, f"{row.flagged:.1%}" if row.kind else "", f"{row.rms:.3g}",
         f"{row.dynamic_range:.0f}" if row.dynamic_range >= 100 else f"{row.dynamic_range:.1f}",
         f"{row.fitted:.3g}", f"{row.kept:.3g}", ("yes" if row.taken else "no") if row.kind else "")
        for row in result.rounds
    ]  # fmt: skip


def summary(label, result, before, seconds):
    """A row of the table of before and after."""
    a, b = before, result.image
    cells = [label]
    for one in (a, b):
        cells += [f"{one.residual.std():.3g}", f"{mad(one.residual):.3g}", f"{np.abs(one.image).max():.3g}",
                  f"{np.abs(one.image).max() / one.residual.std():.3g}"]  # fmt: skip
    return (*cells, f"{seconds:.0f}")


def gain_errors(name, result, work):
    """A row: differences of g_p conj(g_q) from those of the simulation, scatter of amplitude and phase."""
    from radrim.ms.tables import open_table

    def column(ms, *names):
        with open_table(ms) as main:
            return [main.getcol(each) for each in names]

    first, second, time, flag = column(work / f"{name}.ms", "ANTENNA1", "ANTENNA2", "TIME", "FLAG")
    truth = column(work / f"{name}-errors.ms", "DATA")[0] / column(work / f"{name}-none.ms", "DATA")[0]
    gains = read_gains(result.paths["gains"])
    slot = np.abs(time[:, None] - gains.time).argmin(1)
    found = gains.gain[slot, 0, 0, first] * gains.gain[slot, 0, 0, second].conj()
    good = ~(flag.any((1, 2)) | gains.flag[slot, 0, 0, first] | gains.flag[slot, 0, 0, second])
    ratio = found[good] / truth[good, 0, 0]
    scale = np.median(np.abs(ratio))
    snr = 1 / np.sqrt(gains.snr[slot, 0, 0, first][good] ** -2.0 + gains.snr[slot, 0, 0, second][good] ** -2.0)
    amplitude, phase = np.abs(ratio) / scale - 1, np.angle(ratio)
    return (name, f"{np.std(np.angle(truth[good, 0, 0])):.3f}", f"{np.std(phase):.4f}", f"{np.median(1 / snr):.4f}",
            f"{np.std(amplitude):.4f}", f"{scale:.4f}")  # fmt: skip


def likeness(one, other):
    """Normalised cross-correlation of two images at the best shift: 1 for the same."""
    a, b = (np.fft.fft2((image - image.mean()) / image.std()) for image in (one, other))
    return float(np.fft.ifft2(a * b.conj()).real.max() / one.size)


def main():
    """Run the cases and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("bench-work/selfcal"))
    parser.add_argument("--only", nargs="*", default=[], help="beginnings of names of cases")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    chosen = [label for label in CASES if not args.only or label.startswith(tuple(args.only))]
    if any(label.startswith("simulated") for label in chosen):
        simulate(args.work)
    published = convert_eht(args.data, args.work) if any(label.startswith("EHT") for label in chosen) else None
    steps, sums, errors, found, alike = [], [], [], [], []
    for label in chosen:
        result, before, seconds = calibrate(label, CASES[label], args.data, args.work)
        steps += rounds(label, result)
        sums.append(summary(label, result, before, seconds))
        print(sums[-1], flush=True)
        if label.startswith("simulated"):
            errors.append(gain_errors(Path(CASES[label][0]).stem, result, args.work))
        if label.startswith("GMRT"):
            found = antennas(result)
        if label.startswith("EHT"):
            alike.append(
                (label, f"{likeness(before.image, published):.2f}", f"{likeness(result.image.image, published):.2f}")
            )
        shutil.rmtree(result.ms)
    print()
    print(
        table(
            (
                "observation",
                "",
                "kind",
                "interval",
                "flagged",
                "residual rms",
                "dynamic range",
                "chi2 fitted",
                "chi2 kept out",
                "taken",
            ),
            steps,
        )
    )
    print()
    print(table(("observation", "rms before", "MAD before", "peak before", "range before", "rms after", "MAD after",
                 "peak after", "range after", "seconds"), sums))  # fmt: skip
    for head, rows in (
        (("simulation", "phase errors", "phases after", "expected", "amplitudes after", "flux scale"), errors),
        (("GMRT antenna", "feed", "phase [deg]", "amplitude", "S/N"), found),
        (("EHT", "likeness before", "likeness after"), alike),
    ):
        if rows:
            print()
            print(table(head, rows))


def antennas(result):
    """Rows: antennas of the GMRT more than 10 degrees or 25 % from the median antenna, and S04."""
    gains, rows = result.gains, []
    for feed, label in enumerate(gains.feeds):
        good = ~gains.flag[:, 0, feed]
        gain = np.where(good, gains.gain[:, 0, feed], np.nan)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # antennas without data
            mean, size = np.nanmean(gain, 0), np.nanmean(np.abs(gain), 0)
        mean = mean * np.exp(-1j * np.nanmedian(np.angle(mean)))
        for k, name in enumerate(gains.antennas):
            turn = np.degrees(np.angle(mean[k]))
            if name == "S04" or abs(turn) > 10 or abs(size[k] - 1) > 0.25:
                rows.append(
                    (name, label, f"{turn:.0f}", f"{size[k]:.2f}", f"{np.median(gains.snr[:, 0, feed, k]):.0f}")
                )
    return rows


if __name__ == "__main__":
    main()

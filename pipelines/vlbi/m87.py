"""M87* from the Event Horizon Telescope's public data: images, the ring's diameter and the chi-squares.

    python pipelines/vlbi/m87.py SELFCAL NETCAL [--out FOLDER]

SELFCAL: self-calibrated visibilities, NETCAL: network-calibrated ones (a Measurement Set or whatever else `radrim
image` reads; eventhorizontelescope.org, data product 2019-D01-01). Prints a table and writes m87.png. The closure model
of NETCAL is also the start of its self-calibration, after which the i-RIM sees the ring, too. WSClean's row needs
`wsclean` on the PATH and a Measurement Set; its mask is the one thing here that knows where the source is.

To compare with another program, give its image: --other "NAME=FILE.fits"; for eht-imaging m87_ehtim.py makes one.
"""

import argparse
import math
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from astropy.io import fits

import radrim
from radrim.closure.ring import measure_ring
from radrim.config.files import load_toml
from radrim.geometry import ARCSEC

mpl.use("Agg")
import matplotlib.pyplot as plt

UAS = ARCSEC * 1e-6
CONFIG = Path(__file__).parent / "eht.toml"
PLAIN = {"size": 128, "scale": "2uasec", "weight": "uniform", "minuv_l": 1e8}
SHOWN = 60
"""Half the width of the figure's panels [microarcsecond],"""
ACROSS = 5
"""and how many are side by side."""


def wsclean(ms, out):
    """WSClean's restored image of the self-calibrated data, or None if it cannot be run."""
    if shutil.which("wsclean") is None or not (Path(ms) / "table.dat").exists():
        print("WSClean is left out: it is not on the PATH, or the data are no Measurement Set.")
        return None
    mask, copy, prefix = out / "mask.fits", out / "copy.ms", out / "wsclean"
    y, x = np.indices((128, 128)) - 64
    shutil.copytree(ms, copy, dirs_exist_ok=True, copy_function=shutil.copyfile)
    fits.writeto(mask, (np.hypot(y, x) < 30).astype(np.float32)[None, None], overwrite=True)
    words = "wsclean -quiet -reorder -no-update-model-required -j 1 -size 128 128 -scale 0.000002asec -weight uniform "
    words += f"-minuv-l 1e8 -niter 5000 -gain 0.02 -fits-mask {mask} -name {prefix} {copy}"
    subprocess.run(words.split(), check=True)
    shutil.rmtree(copy)
    return f"{prefix}-image.fits"


def self_calibrated(path, model, out):
    """Prefix of the i-RIM's images of data that are self-calibrated from a model: phases, then amplitudes, by scan."""
    ms, prefix = Path(path), out / "selfcal"
    if not (ms / "table.dat").exists():
        ms = out / "netcal.ms"
        radrim_command("convert", path, ms, "--overwrite")
    field = load_toml(CONFIG)
    radrim_command(
        "selfcal", ms, "--start-model", model, "--size", *field["size"], "--scale", field["scale"],
        "--weight", PLAIN["weight"], "--minuv-l", PLAIN["minuv_l"], "--rounds", "p:inf,ap:inf", "--gain-type", "T",
        "--name", prefix, "--overwrite",
    )  # fmt: skip
    return prefix


def radrim_command(*words):
    subprocess.run([sys.executable, "-m", "radrim", *map(str, words), "--quiet"], check=True)


def row(name, image, scale, facts):
    """A line of the table, printed."""
    ring = measure_ring(image, scale)
    cells = [f"{name:42s}"]
    if ring.found:
        cells += [f"{ring.diameter / UAS:4.1f} +- {ring.scatter / UAS:3.1f}", f"{ring.thin / UAS:4.1f}",
                  f"{ring.width / UAS:4.1f}", f"{math.degrees(ring.angle):3.0f}", f"{ring.central:4.2f}"]  # fmt: skip
    else:
        cells += ["no ring    ", " -  ", " -  ", " - ", " -  "]
    for key in ("chisq_phase", "chisq_amplitude", "chisq_visibility"):
        cells.append(f"{facts[key]:.3g}" if key in facts else "-")
    print("| " + " | ".join(cells) + " |", flush=True)
    return image, scale


def measured_row(name, path):
    """The line of a FITS image."""
    return row(name, fits.getdata(path).squeeze(), math.radians(fits.getheader(path)["CDELT2"]), {})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("selfcal")
    parser.add_argument("netcal")
    parser.add_argument("--out", type=Path, default=Path("m87"))
    parser.add_argument("--other", action="append", default=[], metavar="NAME=FILE", help="FITS image to compare with")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    print("| image | diameter [uas] | thin | width | bright at [deg] | centre / ring | chi2 closure phase | chi2 log "
          "closure amplitude | chi2 amplitude |\n|---|---|---|---|---|---|---|---|---|", flush=True)  # fmt: skip
    shown = {}
    for kind, path in (("self-calibrated", args.selfcal), ("network-calibrated", args.netcal)):
        prefix = args.out / kind
        plain = radrim.image(path, name=f"{prefix}-plain", overwrite=True, **PLAIN)
        shown[f"{kind}, i-RIM"] = row(f"{kind}, i-RIM", plain.image, plain.grid.scale, {})
        result = radrim.image(path, name=f"{prefix}-closure", overwrite=True, **load_toml(CONFIG))
        shown[f"{kind}, closure"] = row(f"{kind}, closure, model", result.model, result.grid.scale, result.facts)
        row(f"{kind}, closure, restored image", result.image, result.grid.scale, result.facts)
    prefix = self_calibrated(args.netcal, result.paths["model"], args.out)
    for what in ("model", "image"):
        name = f"network-calibrated, self-calibrated, {what}"
        shown[name] = measured_row(name, f"{prefix}-{what}.fits")
    others = {"self-calibrated, WSClean with a mask": wsclean(args.selfcal, args.out)}
    others |= dict(other.rsplit("=", 1) for other in args.other)
    for name, path in others.items():
        if path:
            shown[name] = measured_row(name, path)
    figure(shown, args.out / "m87.png")
    print(f"Figure: {args.out / 'm87.png'}")


def figure(shown, path):
    """All images, north up, each on its own scale."""
    lines = math.ceil(len(shown) / ACROSS)
    fig, axes = plt.subplots(lines, ACROSS, figsize=(2.6 * ACROSS, 2.9 * lines), layout="constrained", squeeze=False)
    for ax in axes.flat[len(shown) :]:
        ax.set_axis_off()
    for ax, (name, (image, scale)) in zip(axes.flat, shown.items(), strict=False):
        half_x, half_y = (n / 2 * scale / UAS for n in image.shape[::-1])
        extent = (half_x, -half_x, -half_y, half_y)
        ax.imshow(image, origin="lower", extent=extent, cmap="afmhot", vmin=0)
        y, x = np.unravel_index(gaussian_peak(image, scale), image.shape)
        at = half_x - (x + 0.5) * scale / UAS, (y + 0.5) * scale / UAS - half_y
        ax.set(xlim=(at[0] + SHOWN, at[0] - SHOWN), ylim=(at[1] - SHOWN, at[1] + SHOWN), facecolor="black")
        ax.set_title(name.replace(", ", "\n", 1), fontsize=8)
        ax.tick_params(labelsize=6)
    axes[-1, 0].set_xlabel("microarcseconds", fontsize=7)
    fig.savefig(path, dpi=110)


def gaussian_peak(image, scale):
    """Index of the brightest point of an image at the resolution of a ring, so that panels are centred on it."""
    from scipy.ndimage import gaussian_filter

    return int(gaussian_filter(image, 15 * UAS / scale).argmax())


if __name__ == "__main__":
    main()

"""The gallery: real observations imaged by radrim and by WSClean with the same grid and weighting.

    python pipelines/gallery.py --data ../shared/data --work bench-work/gallery

Makes docs/images/gallery/*.png and docs/images/compare_3c391.png, and puts the commands into docs/gallery.md. Finished
images are kept in the work folder, and made again only if their command has changed. Needs `wsclean` (3.1) on the PATH;
about 15 minutes on two cores, most of them WSClean's on the MWA's and LOFAR's fields. `--only vela 3c391` makes some of
the pictures.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from PIL import Image

from radrim.beam import Beam
from radrim.geometry import ImageGrid
from radrim.report.figures import colour_bar, draw_beam, draw_image, draw_scale_bar, offset_ticks, sky_axes
from radrim.report.render import INK, render
from radrim.report.specs import Norm

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs/images/gallery"
ACCURATE = "-use-wgridder -no-small-inversion -no-update-model-required -reorder"
TINY = "-no-small-inversion -kernel-size 15 -oversampling 4095 -no-update-model-required -reorder"
CLEAN = "-multiscale -mgain 0.8 -niter 2000000 -auto-mask 3 -auto-threshold 0.5 -nmiter 20"


DOTS = 340
"""Width of an image in the pictures [dot]."""


@dataclass(frozen=True)
class Window:
    """The part of an image that is shown: its centre (y, x) and width [pixel]."""

    centre: tuple
    width: int
    recentred: bool = False

    @property
    def part(self):
        """Index of the part."""
        return tuple(slice(at - self.width // 2, at + self.width // 2) for at in self.centre)


@dataclass(frozen=True)
class Panel:
    """One image of a picture.

    Parameters
    ----------
    title : str
    source : str
        Observation, relative to the folder of the data; a tar archive holds one Measurement Set.
    local : str
        Its name in the work folder and in the commands.
    command : str
        `radrim image ...` or `wsclean ...`; the prefix of what it writes follows `--name` or `-name`.
    """

    title: str
    source: str
    local: str
    command: str

    @property
    def prefix(self):
        """Prefix of the FITS files."""
        words = shlex.split(self.command)
        return words[words.index("--name" if "--name" in words else "-name") + 1]


@dataclass(frozen=True)
class Entry:
    """One picture of the gallery.

    Parameters
    ----------
    title : str
        Heading on the page.
    panels : tuple of Panel
    window : int
        Width of the part that is shown [pixel].
    low, high : float
        Ends of the colour scale, over the brightest pixel of the first panel.
    linear : float
        Brightness up to which the colours are linear, over the same.
    separate : bool
        Each panel has a colour scale of its own, for images whose beams differ, and shows its brightest part.
    east, north : int
        Where the centre of the part is, from the phase centre [pixel].
    """

    title: str
    panels: tuple
    window: int
    low: float
    linear: float
    high: float = 1.0
    separate: bool = False
    east: int = 0
    north: int = 0


def pair(source, local, image, ours="", theirs=f"{ACCURATE} {CLEAN}"):
    """The panels of radrim and WSClean: `image` has the options of both in WSClean's spelling."""
    name = Path(local).stem
    words = re.sub(r"(?<!\S)-(?=[a-z])", "--", image)
    return (
        Panel("radrim", source, local, f"radrim image {local} {words} {ours}--name {name}-radrim"),
        Panel("WSClean, multi-scale CLEAN", source, local, f"wsclean {theirs} {image} -name {name}-wsclean {local}"),
    )


COMPARISON = "radrim compare 3c391.ms --size 256 256 --scale 4asec --weight briggs 0 --name compare-3c391"
ENTRIES = {
    "vela": Entry(
        "Vela and Puppis A with the MWA",
        pair("more/mwa_pupa_148MHz.ms.tar.gz", "vela.ms", "-size 1200 1200 -scale 1.2amin -weight briggs 0"),
        600,
        -0.03,
        0.03,
        east=100,
        north=-100,
    ),
    "3c391": Entry(
        "3C391 with the VLA",
        pair("obs/vla_3c391_4.6GHz.ms", "3c391.ms", "-size 256 256 -scale 4asec -weight briggs 0"),
        180,
        -0.04,
        0.06,
    ),
    "hd142527": Entry(
        "HD 142527 with ALMA",
        pair("obs/alma_hd142527_b9_cont.ms", "hd142527.ms", "-size 256 256 -scale 0.025asec -weight briggs 0.5"),
        190,
        -0.12,
        0.2,
    ),
    "m87": Entry(
        "M87* with the Event Horizon Telescope",
        (
            Panel(
                "radrim, 2017, closure quantities",
                "uvfits/eht_m87_2017_101_lo_netcal.uvfits",
                "m87_2017_netcal.uvfits",
                "radrim image m87_2017_netcal.uvfits --data closure --size 128 128 --scale 2uasec --name m87-2017",
            ),
            Panel(
                "radrim, 2018, closure quantities",
                "more/L2V1_M87_2018_111_b3_hops_netcal_10s_StokesI.uvfits",
                "m87_2018_netcal.uvfits",
                "radrim image m87_2018_netcal.uvfits --data closure --size 128 128 --scale 2uasec --name m87-2018",
            ),
            Panel(
                "WSClean, 2017, self-calibrated data",
                "uvfits/eht_m87_2017_101_lo_selfcal.uvfits",
                "m87_2017_selfcal.ms",
                f"wsclean {TINY} -padding 4 -minuv-l 6e8 -size 128 128 -scale 2e-6asec -weight uniform -mgain 0.5 "
                "-gain 0.02 -niter 5000 -fits-mask circle.fits -name m87-wsclean "
                "m87_2017_selfcal.ms",
            ),
        ),
        70,
        0.0,
        0.0,
        separate=True,
    ),
    "3c279": Entry(
        "3C279 with the VLBA",
        pair("obs/vlba_3c279_43GHz_2013a.ms", "3c279.ms", "-size 256 256 -scale 0.04masec -weight uniform"),
        100,
        -0.01,
        0.01,
    ),
    "a1775": Entry(
        "Abell 1775 with LOFAR",
        pair("more/lofar_a1775_142MHz_dysco.ms.tar.gz", "a1775.ms", "-size 800 800 -scale 1.7asec -weight briggs 0"),
        440,
        -0.01,
        0.01,
        east=30,
        north=110,
    ),
}


def prepare(panel, data, work):
    """Put the observation under its local name: a copy, an unpacked archive, or UVFITS converted for WSClean."""
    target, source = work / panel.local, data / panel.source
    if target.exists():
        return
    if source.name.endswith(".tar.gz"):
        folder = work / f"{panel.local}.unpacked"
        with tarfile.open(source) as archive:
            archive.extractall(folder, filter="data")
        next(folder.iterdir()).rename(target)
        folder.rmdir()
    elif source.is_dir():
        shutil.copytree(source, target, copy_function=shutil.copyfile)
    elif target.suffix == ".ms":
        carry_out(f"radrim convert {source} {target}", work)
    else:
        shutil.copyfile(source, target)


def carry_out(command, work):
    """Run a command of radrim (of this checkout) or WSClean in the work folder."""
    words = shlex.split(command)
    if words[0] == "radrim":
        words[:1] = [sys.executable, "-P", "-m", "radrim"]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=work, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise SystemExit(f"exit status {done.returncode} from: {command}\n{done.stdout.decode()[-2000:]}")


def make(panel, work):
    """Carry out the command of a panel, unless its images are there from the same command."""
    record = work / f"{panel.prefix}.command"
    if record.exists() and record.read_text() == panel.command:
        return
    for old in work.glob(f"{panel.prefix}-*.fits"):
        old.unlink()
    print(panel.command, flush=True)
    carry_out(f"{panel.command} --overwrite" if panel.command.startswith("radrim") else panel.command, work)
    record.write_text(panel.command)


def write_circle(work, size=128, scale=2.0, radius=35.0):
    """circle.fits, the mask of WSClean for M87*: 1 within `radius` of the centre; `scale` in the same unit."""
    y, x = np.indices((size, size)) - size // 2
    mask = (np.hypot(x, y) * scale <= radius).astype(np.float32)
    fits.writeto(work / "circle.fits", mask[None, None], overwrite=True)


def read(prefix, kind):
    """(image (y, x), its grid, its beam)."""
    with fits.open(f"{prefix}-{kind}.fits") as hdus:
        header = hdus[0].header
        image = np.asarray(hdus[0].data, float).reshape(hdus[0].data.shape[-2:])
    angles = [np.radians(header[key]) for key in ("CDELT2", "CRVAL1", "CRVAL2")]
    beam = Beam(*(np.radians(header.get(key, 0.0)) for key in ("BMAJ", "BMIN", "BPA")))
    return image, ImageGrid(image.shape[1], image.shape[0], *angles), beam


def brightest_place(image, width):
    """The centre (y, x) of the emission above half of the peak, kept `width` / 2 away from the edges."""
    bright = np.argwhere(image > 0.3 * image.max())
    return [int(np.clip(round(place), width // 2, size - width // 2))
            for place, size in zip(bright.mean(0), image.shape, strict=True)]  # fmt: skip


def draw(entry, work, path):
    """Draw the panels of an entry beside each other."""
    highest, panels = None, []
    for panel in entry.panels:
        image, grid, beam = read(work / panel.prefix, "image")
        centre = (grid.height // 2 + entry.north, grid.width // 2 - entry.east)
        # A closure image has no position, and a calibrated one that of its own calibration.
        centre = brightest_place(image, entry.window) if entry.separate else centre
        window = Window(centre, entry.window, recentred=entry.separate)
        if highest is None or entry.separate:
            highest = image[window.part].max()
        norm = Norm(entry.low * highest, entry.high * highest, entry.linear * highest)
        panels.append((image, grid, beam, window, norm, panel.title))
    save([panels], path)


def draw_comparison(work, width=180):
    """The picture of README.md: images and residuals that `COMPARISON` made."""
    rows, highest = [], None
    for kind in ("image", "residual"):
        panels = []
        for who, title in (("radrim", "radrim"), ("wsclean", "WSClean, multi-scale CLEAN")):
            image, grid, beam = read(work / f"compare-3c391-{who}", kind)
            window = Window((grid.height // 2, grid.width // 2), width)
            if kind == "image":
                highest = highest or image.max()
                panels.append((image, grid, beam, window, Norm(-0.04 * highest, highest, 0.06 * highest), title))
            else:
                panels.append((image, grid, beam, window, Norm(-3e-3, 3e-3), f"{title}: residual"))
        rows.append(panels)
    save(rows, ROOT / "docs/images/compare_3c391.png")
    found = json.loads((work / "compare-3c391-compare.json").read_text())
    rms = {who: f"{1e3 * values['rms']:.3g}" for who, values in found["programs"].items()}
    print(
        f"3C391, rms of the residual [mJy/beam]: {rms}; noise of the data: {1e3 * found['expected_noise_jy_beam']:.3g}"
    )


def save(rows, path, dpi=100):
    """Save rows of panels, each the arguments of `draw_panel`, as PNG with a palette."""
    path.parent.mkdir(parents=True, exist_ok=True)
    size = (5.4 * len(rows[0]), 4.3 * len(rows))
    path.write_bytes(render(size, draw_rows, rows, dpi=dpi, palette=("inferno", "RdBu_r")[: len(rows)]))
    Image.open(path).save(path, optimize=True)


def draw_rows(figure, rows):
    """Draw panels in rows and columns."""
    figure.set_layout_engine("none")
    parts = figure.subfigures(len(rows), len(rows[0]), wspace=0, hspace=0, squeeze=False)
    for part, panel in zip(parts.flat, (panel for row in rows for panel in row), strict=True):
        draw_panel(part, *panel)


def draw_panel(figure, image, grid, beam, window, norm, title):
    """Draw the window of an image with axes, colour bar, beam and scale bar; linear colours are those of residuals."""
    residual = not norm.linear and norm.low == -norm.high
    colour = INK if residual else "white"
    axes = sky_axes(figure, grid, colour)
    # Noise narrower than a dot of the picture would look stronger than it is, hence means of blocks of pixels.
    shown = len(image) // max(1, round(window.width / DOTS))
    artist = draw_image(axes, image, norm, "RdBu_r" if residual else "inferno", shown)
    (y, x), half = window.centre, window.width // 2
    axes.set(xlim=(x - half - 0.5, x + half - 0.5), ylim=(y - half - 0.5, y + half - 0.5))
    if not hasattr(axes, "coords"):
        offset_ticks(axes, grid.scale, (x, y) if window.recentred else (grid.width // 2, grid.height // 2))
    colour_bar(figure, axes, artist, "Jy/beam")
    draw_beam(axes, beam, grid.scale, colour)
    draw_scale_bar(axes, grid.scale, colour)
    axes.set_title(title)


def numbers(entry, work):
    """One line: the residual's rms of each panel, from the median absolute deviation, and the image's lowest pixel."""
    words = []
    for panel in entry.panels:
        if "--data closure" not in panel.command:
            residual, restored = read(work / panel.prefix, "residual")[0], read(work / panel.prefix, "image")[0]
            rms = 1.4826 * np.median(np.abs(residual - np.median(residual)))
            words.append(f"{panel.title.split(',')[0]} {rms * 1e3:.3g} and {restored.min() * 1e3:.3g} mJy/beam")
    return f"Rms of the residual and lowest pixel: {'; '.join(words)}." if len(words) > 1 else ""


def update_page(name, entry, work):
    """Put numbers and commands of an entry between its marks in docs/gallery.md."""
    page = ROOT / "docs/gallery.md"
    lines = ["", "```", *(folded(panel.command) for panel in entry.panels), "```", ""]
    if line := numbers(entry, work):
        lines[:0] = ["", line]
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, rest = page.read_text().split(begin)
    page.write_text(before + begin + "\n".join(lines) + "\n" + end + rest.split(end)[1])


def folded(command, width=110):
    """A command over several lines of a shell, broken before options."""
    lines = [""]
    for words in re.split(r" (?=-)", command):
        if len(lines[-1]) + len(words) > width:
            lines[-1] += " \\"
            lines.append("   ")
        lines[-1] += f" {words}" if lines[-1] else words
    return "\n".join(lines)


def main():
    """Image, draw, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the observations")
    parser.add_argument("--work", type=Path, default=Path("bench-work/gallery"), help="folder for what is made")
    parser.add_argument("--only", nargs="*", default=list(ENTRIES), choices=list(ENTRIES), help="some of the pictures")
    args = parser.parse_args()
    data, work = args.data.absolute(), args.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    write_circle(work)
    for name in args.only:
        for panel in ENTRIES[name].panels:
            prepare(panel, data, work)
            make(panel, work)
        draw(ENTRIES[name], work, PICTURES / f"{name}.png")
        update_page(name, ENTRIES[name], work)
    if "3c391" in args.only:
        if not (work / "compare-3c391-compare.json").exists():
            carry_out(COMPARISON, work)
        draw_comparison(work)


if __name__ == "__main__":
    main()

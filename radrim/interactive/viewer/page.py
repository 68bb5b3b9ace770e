"""NAME-view.html: a page to explore the images of a run, in one file that needs no network.

`templates/sky.js` has the functions that need no browser: coordinates, numbers, colours. `templates/view.js` is the
page's behaviour.
"""

import base64
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

import numpy as np
from markupsafe import Markup

from radrim.beam import Beam
from radrim.errors import InputError
from radrim.geometry import ImageGrid, format_angle
from radrim.interactive.pictures import style_of
from radrim.interactive.viewer.layers import VIEWED, ViewSettings, encode, find_images, open_layer, reduce, unit_of
from radrim.metrics import noise_mad
from radrim.report.page import write_page
from radrim.report.sources import brightest
from radrim.units import si
from radrim.version import __version__
from radrim.write.fits_input import FitsImage

TITLES = {"image": "Image", "dirty": "Dirty image", "psf": "PSF", "pb": "Primary beam",
          "image_pb": "Image / primary beam", "model": "Model", "residual": "Residual", "uncertainty": "Uncertainty",
          "uncertainty_95": "Uncertainty, 95 %", "model_uncertainty": "Uncertainty of the model",
          "model_uncertainty_95": "Uncertainty of the model, 95 %"}  # fmt: skip
COLOURS = ("inferno", "viridis", "gray", "RdBu_r", "afmhot", "cubehelix")
"""Colour maps of matplotlib that a page offers."""
PEAKS = ("image", "image_pb", "model", "dirty", "psf")
"""Kinds of images whose reduced pixels are the peaks of cells; those of others are means."""


@dataclass(frozen=True)
class _Run:
    """What a page says of a run: pixels by kind (y, x), grid, beam or None, noise [Jy/beam], header of one image."""

    paths: dict[str, Path]
    pixels: dict[str, np.ndarray]
    units: dict[str, str]
    grid: ImageGrid
    beam: Beam | None
    noise: float
    header: FitsImage
    notes: list[str]


def write_viewer(name: str | Path, kinds: Sequence[str] = VIEWED, settings: ViewSettings | None = None) -> Path:
    """Write NAME-view.html from the FITS images of a run.

    Parameters
    ----------
    name : str or Path
        See `radrim.interactive.viewer.layers.find_images`.
    kinds : sequence of str
        Of `radrim.products.KINDS`; those that the run has are shown, in this order.
    settings : ViewSettings, optional

    Returns
    -------
    Path
        Of the page.

    Raises
    ------
    InputError
        There are no such images, or one cannot be read.
    OutputError
        The page cannot be written.
    """
    settings = settings or ViewSettings()
    prefix, paths = find_images(name)
    run = _read(paths, kinds)
    layers, texts = _layers(run, settings)
    data = {
        "grid": _grid(run.grid),
        "beam": None if run.beam is None else [math.degrees(a) for a in (run.beam.major, run.beam.minor, run.beam.pa)],
        "noise": run.noise,
        "layers": layers,
        "colours": {name: _colours(name) for name in COLOURS},
        "sources": _sources(run, settings),
    }
    out = prefix.parent / f"{prefix.name}-view.html"
    write_page(
        out, "view.html.j2", package="radrim.interactive.viewer", title=_title(run, prefix), subtitle=_subtitle(run),
        notes=_notes(run, layers, settings), data=_script(data), texts=texts, beam=_beam_text(run.beam),
        noise=run.noise, grid=run.grid, scale=format_angle(run.grid.scale), version=__version__,
        style=_static("view.css"), code=_static("sky.js") + _static("view.js"),
    )  # fmt: skip
    return out


def _read(paths, kinds):
    """The images of the asked kinds, and what their headers say."""
    chosen = {kind: paths[kind] for kind in kinds if kind in paths}
    if not chosen:
        there = ", ".join(kind.replace("_", "-") for kind in paths)
        raise InputError(f"The run has none of the images asked for, but {there}; choose with --kinds.")
    opened = {kind: open_layer(path) for kind, path in chosen.items()}
    header, first, grid, _ = next(iter(opened.values()))
    pixels, units, notes = {}, {}, []
    for kind, (file, image, own, planes) in opened.items():
        if own.shape != grid.shape:
            notes.append(
                f"{chosen[kind].name} is left out: it has {own.width} × {own.height} pixels, not those of the others."
            )
            continue
        if planes > 1:
            notes.append(f"{chosen[kind].name} is a cube; the first of its {planes} planes is shown.")
        pixels[kind], units[kind] = image, unit_of(file.header, kind)
    noise = header.number("RRNOISE", 0.0)
    if not noise > 0:
        noise = noise_mad(open_layer(paths["residual"])[1] if "residual" in paths else first)
    return _Run(chosen, pixels, units, grid, _beam(header), noise, header, notes)


def _beam(file):
    major, minor, pa = (math.radians(file.number(key, 0.0)) for key in ("BMAJ", "BMIN", "BPA"))
    return Beam(major, minor, pa) if major > 0 and minor > 0 else None


def _layers(run, settings):
    """What the page says of each image, and their pixels as text."""
    layers, texts = [], []
    for kind, image in run.pixels.items():
        reduced = reduce(image, kind in PEAKS, settings.shown, settings.rows)
        pixels = reduced.pixels
        known = np.isfinite(pixels).any()
        style = style_of(kind, np.nan_to_num(pixels) if not known else pixels, run.noise, TITLES[kind])
        low, high, linear = (float(value) for value in style.norm)
        packed = encode(pixels, settings.rounding)
        layers.append(
            {
                "kind": kind, "title": TITLES[kind], "file": run.paths[kind].name, "unit": run.units[kind],
                "width": pixels.shape[1], "height": pixels.shape[0], "cell": reduced.cell, "scale": packed.scale,
                "peaks": kind in PEAKS, "low": low, "high": high, "linear": linear, "colours": style.cmap,
                "min": float(np.nanmin(pixels)) if known else 0.0, "max": float(np.nanmax(pixels)) if known else 0.0,
            }
        )  # fmt: skip
        texts.append(packed.text)
    return layers, texts


def _grid(grid):
    """Coordinates of the image: degrees, and pixels counted from 0."""
    return {
        "width": grid.width, "height": grid.height, "ra": math.degrees(grid.ra), "dec": math.degrees(grid.dec),
        "step": math.degrees(grid.scale), "x": grid.width // 2 - grid.x0, "y": grid.height // 2 - grid.y0,
    }  # fmt: skip


def _sources(run, settings):
    """Sources of the restored image, the brightest first: pixels, Jy/beam, Jy; the page computes their coordinates."""
    if "image" not in run.pixels or run.beam is None or not run.noise > 0:
        return []
    image = run.pixels["image"]
    if image.size > settings.measured:
        found, _ = brightest(image, run.grid, run.noise, run.beam, settings.sources)
        return [{"x": s.x, "y": s.y, "peak": s.peak, "flux": s.flux} for s in found]
    from astropy.wcs import WCS

    from radrim.interactive.sources import source_table

    wcs = WCS(run.header.coordinates()).celestial
    pb = np.asarray(run.pixels["pb"], np.float32) if "pb" in run.pixels else None
    centred = replace(run.grid, x0=0, y0=0)  # sources are measured in pixels
    table = source_table(np.asarray(image, np.float32), run.noise, run.beam, centred, wcs, pb)[: settings.sources]
    names = ("x", "y", "peak", "peak_error", "flux", "flux_error")
    columns = {name: np.asarray(table[name], float).tolist() for name in names}
    return [{name: column[k] for name, column in columns.items()} for k in range(len(table))]


def _notes(run, layers, settings):
    """What the reader must know of the numbers."""
    notes = list(run.notes)
    cell = layers[0]["cell"]
    if cell > 1:
        means = ", ".join(layer["title"].lower() for layer in layers if not layer["peaks"])
        notes.append(
            f"The image has {run.grid.width} × {run.grid.height} pixels, too many for a page: each pixel shown stands "
            f"for {cell} × {cell} of the files, and has the value of largest magnitude among them"
            + (f", in {means} their mean." if means else ".")
        )
    notes.append(
        f"Values are rounded to 1/{settings.rounding:g} of the scatter of their image or 0.05 %, whichever is more; "
        "the FITS files have all digits."
    )
    notes.append("Pixels are counted from 0, as in numpy; FITS counts from 1. Coordinates are J2000.")
    if "pb" in run.pixels:
        notes.append("Fluxes of sources are divided by the primary beam at their peak.")
    return notes


def _title(run, prefix):
    return run.header.text("OBJECT") or prefix.name


def _subtitle(run):
    file = run.header
    freq = file.number("CRVAL3", 0.0)
    parts = [file.text("TELESCOP"), file.text("DATE-OBS")[:10], si(freq, "Hz", 4) if freq > 0 else ""]
    return " · ".join(part for part in parts if part)


def _beam_text(beam):
    return "" if beam is None else str(beam).replace(" x ", " × ")


def _colours(name):
    """256 colours, base64 of RGB bytes."""
    import matplotlib as mpl

    table = mpl.colormaps[name](np.linspace(0, 1, 256))[:, :3]
    return base64.b64encode(np.round(table * 255).astype(np.uint8).tobytes()).decode("ascii")


def _script(data):
    """JSON that is safe within a script element."""
    return Markup(json.dumps(data, allow_nan=False).replace("<", "\\u003c"))  # noqa: S704 - nothing in it ends the element


def _static(name):
    """A file of the templates as it is."""
    folder = resources.files("radrim.interactive.viewer") / "templates"
    return Markup((folder / name).read_text("utf-8"))  # noqa: S704 - files of this package

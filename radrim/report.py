"""Step 8, report: one HTML page that shows what a run did, and the restored image as a PNG.

The page needs no network and no scripts; its figures are embedded as PNG. It is laid out for a desk and for a phone.
"""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.colors import AsinhNorm, Normalize

from radrim import canvas, figures
from radrim.beam import Beam
from radrim.figures import si
from radrim.files import atomic_write
from radrim.geometry import ImageGrid, format_angle

SHOWN = 1024
"""Most pixels on a side that the restored image shows, and half as many in the small panels: no more than the figures
have dots, or matplotlib would leave some out."""

BEST_DPI = 220
"""Dots per inch of the picture of the restored image."""
CHANNELS = 12
"""Most channels whose restored images the report shows."""


@dataclass
class ImageSet:
    """The images of one output channel, or of all channels together (MFS).

    Parameters
    ----------
    label : str
        Such as 'MFS' or 'channel 0003'; may be empty.
    freq : float
        Centre of the band [Hz].
    dirty, psf : (y, x) float32
        [Jy/beam]
    noise : float
        Noise of the residual, or of the dirty image if there is no residual [Jy/beam].
    beam : Beam
    model : (y, x) float32, optional
        [Jy/pixel]; None if nothing was deconvolved, as `residual` and `image`.
    residual, image : (y, x) float32, optional
        [Jy/beam]
    """

    label: str
    freq: float
    dirty: np.ndarray
    psf: np.ndarray
    noise: float
    beam: Beam
    model: np.ndarray | None = None
    residual: np.ndarray | None = None
    image: np.ndarray | None = None

    @property
    def best(self):
        """The restored image, or the dirty one if nothing was deconvolved."""
        return self.dirty if self.image is None else self.image


@dataclass
class Comparison:
    """Another minor cycle on the same data, shown beside the first.

    Parameters
    ----------
    names : (str, str)
        Of the minor cycle that made the images, and of the other.
    images : ImageSet
        The other's.
    rows : mapping of str to mapping of str to str
        Name to quantity to value.
    """

    names: tuple[str, str]
    images: ImageSet
    rows: Mapping[str, Mapping[str, str]]


@dataclass
class Polarisation:
    """Stokes parameters beside the first, and maps of linear polarisation.

    Parameters
    ----------
    images : mapping of str to (y, x) array
        Restored images by Stokes parameter, or dirty ones [Jy/beam].
    noise : mapping of str to float
        Of each [Jy/beam].
    intensity, angle : (y, x) float32, optional
        `radrim.linear`'s [Jy/beam] and [degrees].
    linear_noise : float
        Of Q and U [Jy/beam].
    """

    images: Mapping[str, np.ndarray]
    noise: Mapping[str, float]
    intensity: np.ndarray | None = None
    angle: np.ndarray | None = None
    linear_noise: float = 0.0


@dataclass
class Report:
    """What the report of one run shows.

    Parameters
    ----------
    title : str
        The object imaged.
    command : str
        Command line of the run.
    grid : ImageGrid
    images : sequence of ImageSet
        The first is shown in full; of the others, up to `CHANNELS`, the restored image.
    uv : (sample, 2) array
        A few thousand of the imaged (u, v), one of each conjugate pair [wavelengths].
    subtitle : str
        Telescope, date and the like.
    stokes : str
    facts : mapping of str to str
        More key numbers for the head of the page, such as 'visibilities'.
    chosen, notes : sequence of str
        What radrim chose on its own and why; warnings and remarks. In sentences.
    cycles : sequence of mappings
        One per major cycle: cycle (int), peak and rms of the residual [Jy/beam], components (int), flux of the
        model [Jy], stop (str), seconds (float), and channel (str) if there are several.
    timings : mapping of str to float
        Step to seconds.
    settings, versions : mapping of str to anything printable
    beside : Comparison, optional
    polarisation : Polarisation, optional
    files : sequence of str
        Files written.
    """

    title: str
    command: str
    grid: ImageGrid
    images: Sequence[ImageSet]
    uv: np.ndarray
    subtitle: str = ""
    stokes: str = "I"
    facts: Mapping[str, object] = field(default_factory=dict)
    chosen: Sequence[str] = ()
    notes: Sequence[str] = ()
    cycles: Sequence[Mapping] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)
    versions: Mapping[str, object] = field(default_factory=dict)
    beside: Comparison | None = None
    polarisation: Polarisation | None = None
    files: Sequence[str] = ()


def write_report(path, report, png=None):
    """Write the page, atomically.

    Parameters
    ----------
    path : str or Path
        Such as NAME-report.html.
    report : Report
    png : str or Path, optional
        The restored image is written here, too, by itself and in all its colours: it is drawn once for both.

    Raises
    ------
    OutputError
        The folder is missing or read-only, or the disk is full.
    """
    best = _best(report)
    if png is not None:
        with atomic_write(png) as file:
            file.write(canvas.encode(best, BEST_DPI))
    write_page(path, "report.html.j2", report=report, facts=_facts(report), figures=_figures(report, best),
               reduction=_reduction(report), total=sum(report.timings.values()))  # fmt: skip


def write_page(path, template, **values):
    """Fill in a template of this package and write the page, atomically; see `write_report`."""
    loader = PackageLoader("radrim", "")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    page = environment.get_template(template).render(**values, si=si)
    with atomic_write(path) as file:
        file.write(page.encode("utf-8"))


def data_uri(png):
    """A PNG as it is embedded in a page."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _facts(report):
    """The key numbers at the head of the page, in reading order."""
    first, grid = report.images[0], report.grid
    peak = float(np.nanmax(np.abs(first.best)))
    facts = {
        "Peak": si(peak, "Jy/beam", 4),
        "Noise": si(first.noise, "Jy/beam"),
        "Dynamic range": f"{peak / first.noise:,.0f}" if first.noise > 0 else "∞",
        "Beam": str(first.beam).replace(" x ", " × "),
        "Image": f"{grid.width} × {grid.height} pixels of {format_angle(grid.scale)}",
        "Frequency": si(first.freq, "Hz", 5),
    }
    if first.model is not None:
        facts["Model flux"] = si(float(first.model.sum(dtype=np.float64)), "Jy", 4)
    return facts | dict(report.facts)


def _best(report):
    """The restored image as a picture: pixel by pixel up to `SHOWN` on a side, larger ones as the peaks of blocks."""
    first, grid = report.images[0], report.grid
    detail = " · ".join(text for text in (first.label, si(first.freq, "Hz", 4), f"Stokes {report.stokes}") if text)
    norm = figures.brightness_norm(first.best, first.noise)
    return canvas.paint(figures.sky_size(grid, 6.6), figures.sky_figure, first.best, grid, first.beam, norm,
                         report.title, detail, "Jy/beam", "inferno", SHOWN, dpi=BEST_DPI)  # fmt: skip


def _figures(report, best):
    """name -> data URI of each figure; `best` is the picture of the restored image."""
    first, grid, render, half = report.images[0], report.grid, canvas.render, (4.5, 3.5)
    left, name = (first.dirty, "Dirty image") if first.residual is None else (first.residual, "Residual")
    pngs = {
        "image": canvas.encode(best, BEST_DPI, ["inferno"]),
        "psf_centre": render(half, figures.psf_figure, first.psf, first.beam, grid.scale, palette=["RdBu_r"]),
        "psf_cuts": render(half, figures.cuts_figure, first.psf, first.beam, grid.scale),
        "uv": render(half, figures.uv_figure, report.uv),
        "histogram": render(half, figures.histogram_figure, left, first.noise, name),
    }  # fmt: skip
    for key, image, norm, *style in _panels(first):
        pngs[key] = render(figures.sky_size(grid, 4.5), figures.sky_figure, image, grid, first.beam, norm, *style,
                           SHOWN // 2, key != "residual", palette=[style[-1]])  # fmt: skip
    if report.beside:
        pngs |= _beside(report)
    if report.polarisation:
        pngs |= _polarisation(report)
    if report.cycles:
        size = (4.5, 3.2)
        pngs["convergence"] = render(size, figures.cycles_figure, report.cycles, ("peak", "rms"), "Residual", "Jy/beam")
        pngs["flux"] = render(size, figures.cycles_figure, report.cycles, ("flux",), "Model flux", "Jy")
    if len(report.images) > 1:
        sets = _spread(report.images[1:])
        size = 9, -(-len(sets) // 4) * (2.1 * grid.height / grid.width + 0.3)
        pngs["channels"] = render(size, figures.channels_figure, sets, grid, palette=["inferno"])
    return {name: data_uri(png) for name, png in pngs.items()}


def _beside(report):
    """Restored images, models and residuals of both minor cycles, each pair on one scale."""
    first, other, grid = report.images[0], report.beside.images, report.grid
    peak, limit = max(float(first.model.max()), 0) or 1.0, 5 * first.noise or 1.0
    kinds = {
        "image": ("Jy/beam", figures.brightness_norm(first.image, first.noise), "inferno"),
        "model": ("Jy/pixel", AsinhNorm(peak / 300, 0, peak), "inferno"),
        "residual": ("Jy/beam", Normalize(-limit, limit), "RdBu_r"),
    }
    pngs = {}
    for kind, (unit, norm, cmap) in kinds.items():
        for place, name, images in zip(("left", "right"), report.beside.names, (first, other), strict=True):
            pngs[f"{kind}_{place}"] = canvas.render(
                figures.sky_size(grid, 4.5), figures.sky_figure, getattr(images, kind), grid, images.beam, norm,
                f"{name}, {kind}", "", unit, cmap, SHOWN // 2, kind != "residual", palette=[cmap],
            )  # fmt: skip
    return pngs


def _polarisation(report):
    """Vectors on the first image, intensity and angle; the other Stokes parameters on one scale each."""
    first, grid, of = report.images[0], report.grid, report.polarisation
    pngs, size = {}, figures.sky_size(grid, 4.5)
    if of.intensity is not None:
        norm = figures.brightness_norm(first.best, first.noise)
        pngs["vectors"] = canvas.render(
            figures.sky_size(grid, 6.6), figures.vectors_figure, first.best, of.intensity, of.angle, grid, first.beam,
            norm, f"Stokes {report.stokes} and the electric vector", dpi=220, palette=["inferno"],
        )  # fmt: skip
        norm = figures.brightness_norm(of.intensity, of.linear_noise)
        maps = {
            "intensity": (of.intensity, norm, "Polarised intensity", "Jy/beam", "inferno", True),
            "angle": (of.angle, Normalize(-90, 90), "Angle, north through east", "°", "twilight", None),
        }
        for key, (image, norm, name, unit, cmap, peaks) in maps.items():
            pngs[key] = canvas.render(size, figures.sky_figure, image, grid, first.beam, norm, name, "", unit, cmap,
                                       SHOWN // 2, peaks, palette=[cmap])  # fmt: skip
    for stokes, image in of.images.items():
        limit = max(float(np.nanmax(np.abs(image))), 5 * of.noise[stokes]) or 1.0
        norm = AsinhNorm(3 * of.noise[stokes] or limit, -limit, limit)
        pngs[f"stokes_{stokes}"] = canvas.render(
            size, figures.sky_figure, image, grid, first.beam, norm, f"Stokes {stokes}", "", "Jy/beam", "RdBu_r",
            SHOWN // 2, True, palette=["RdBu_r"],
        )  # fmt: skip
    return pngs


def _panels(images):
    """(key, image, norm, title, detail, unit, colour map) of the smaller pictures of the sky."""
    # Sidelobes, not noise, fill a dirty image: the median of |pixels| keeps them within the colours.
    dirty = figures.brightness_norm(images.dirty, max(images.noise, float(np.nanmedian(np.abs(images.dirty)))))
    panels = [
        ("dirty", images.dirty, dirty, "Dirty image", "", "Jy/beam", "inferno"),
        ("psf", images.psf, figures.psf_norm(), "PSF", "", "", "RdBu_r"),
    ]
    if images.model is not None:
        peak, limit = max(float(images.model.max()), 0) or 1.0, 5 * images.noise or 1.0
        panels += [
            ("model", images.model, AsinhNorm(peak / 300, 0, peak), "Model", "", "Jy/pixel", "inferno"),
            ("residual", images.residual, Normalize(-limit, limit), "Residual", "", "Jy/beam", "RdBu_r"),
        ]
    return panels


def _spread(sets):
    """At most `CHANNELS` of the sets, evenly over the band, with both ends."""
    count = min(len(sets), CHANNELS)
    return [sets[round(i * (len(sets) - 1) / max(count - 1, 1))] for i in range(count)]


def _reduction(report):
    """How many pixels of the image one shown pixel stands for, in the large picture and in the panels."""
    return tuple(math.ceil(max(report.grid.shape) / shown) for shown in (SHOWN, SHOWN // 2))

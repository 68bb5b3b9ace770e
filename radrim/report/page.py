"""Step 6, write: the report, an HTML page about a run, and the restored image as a PNG.

The page needs no network and no scripts; its figures are embedded as PNG. Its layout fits wide and narrow screens.
"""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from radrim.beam import Beam
from radrim.geometry import ImageGrid, format_angle
from radrim.report.draw_pool import Painters
from radrim.report.expectation import at_bright_sources, tell
from radrim.report.specs import (
    PSF_NORM,
    FigureKind,
    Norm,
    Picture,
    ReportSettings,
    SkyStyle,
    brightness_norm,
    even_norm,
    model_norm,
    sky_size,
)
from radrim.runtime.files import atomic_write
from radrim.units import si


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
        Noise of the residual, or of the dirty image if nothing was deconvolved [Jy/beam].
    beam : Beam
    model : (y, x) float32, optional
        [Jy/pixel]; None if nothing was deconvolved, as `residual` and `image`.
    residual, image : (y, x) float32, optional
        [Jy/beam]
    uncertainty, model_uncertainty : (y, x) float32, optional
        68 % errors of `image` [Jy/beam] and of `model` [Jy/pixel].
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
    uncertainty: np.ndarray | None = None
    model_uncertainty: np.ndarray | None = None

    @property
    def best(self) -> np.ndarray:
        """The restored image, or the dirty one if nothing was deconvolved."""
        return self.dirty if self.image is None else self.image


@dataclass
class RivalPanel:
    """Images of a second minor cycle on the same data, shown beside those of the run.

    Parameters
    ----------
    names : (str, str)
        Name of the minor cycle that made the images of the run, and of the second one.
    images : ImageSet
        From the second minor cycle.
    rows : mapping of str to mapping of str to str
        Name to quantity to value.
    """

    names: tuple[str, str]
    images: ImageSet
    rows: Mapping[str, Mapping[str, str]]


@dataclass
class FitPanel:
    """Chi^2 per datum of fitted and of kept-out visibilities; see `radrim.measure.fit_quality`.

    Parameters
    ----------
    cycles : sequence of mappings
        Major cycles that kept-out visibilities judged, with 'cycle', 'kept_chi2', 'fitted_chi2' and, if there are
        several, 'channel'.
    lengths, antennas : sequence of mappings
        By baseline length ('length_m') and by antenna ('name'): 'kept', 'fitted', 'noise' and the error of each.
    level : mapping
        The same of all visibilities.
    """

    cycles: Sequence[Mapping[str, Any]]
    lengths: Sequence[Mapping[str, Any]]
    antennas: Sequence[Mapping[str, Any]]
    level: Mapping[str, float]


@dataclass
class Polarisation:
    """Images of further Stokes parameters, and maps of linear polarisation.

    Parameters
    ----------
    images : mapping of str to (y, x) array
        Images by Stokes parameter, restored, or dirty if nothing was deconvolved [Jy/beam].
    noise : mapping of str to float
        Of each [Jy/beam].
    intensity, angle : (y, x) float32, optional
        From `radrim.restore.polarisation` [Jy/beam] and [degrees].
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
    """Contents of the report of one run.

    Parameters
    ----------
    title : str
        The object imaged.
    command : str
        Command line of the run.
    grid : ImageGrid
    images : sequence of ImageSet
        The first is shown in full; of the others, up to 12 (`ReportSettings.channels`), the restored image.
    uv : (sample, 2) array
        A few thousand of the imaged (u, v) points, one of each conjugate pair [wavelengths].
    subtitle : str
        Telescope, date and the like.
    stokes : str
    facts : mapping of str to str
        Further key numbers for the head of the page, such as 'visibilities'.
    chosen, notes : sequence of str
        Choices of radrim and their reasons; warnings and remarks. In sentences.
    cycles : sequence of mappings
        One per major cycle: cycle (int), peak and rms of the residual [Jy/beam], components (int), flux of the
        model [Jy], stop (str), seconds (float), and channel (str) if there are several.
    timings : mapping of str to float
        Step to seconds.
    settings, versions : mapping of str to anything printable
    beside : RivalPanel, optional
    polarisation : Polarisation, optional
    fit : FitPanel, optional
    files : sequence of str
        Files written.
    show_model : bool
        Whether the model stands beside the restored image at the top: where it resolves more than the beam, as in
        closure imaging.
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
    cycles: Sequence[Mapping[str, Any]] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)
    versions: Mapping[str, object] = field(default_factory=dict)
    beside: RivalPanel | None = None
    polarisation: Polarisation | None = None
    fit: FitPanel | None = None
    files: Sequence[str] = ()
    show_model: bool = False


def write_report(
    path: str | Path, report: Report, png: str | Path | None = None, painters: Painters | None = None
) -> None:
    """Write the page, atomically.

    Parameters
    ----------
    path : str or Path
        Such as NAME-report.html.
    report : Report
    png : str or Path, optional
        File of the restored image alone, in all its colours; it is drawn once for the page and this file.
    painters : Painters, optional
        Drawing processes; this process draws if absent.

    Raises
    ------
    OutputError
        The folder is missing or read-only, or the disk is full.
    """
    drawn = (painters or Painters()).draw(_pictures(report))
    if png is not None:
        with atomic_write(png) as file:
            file.write(drawn["image"][1])
    figures = {name: data_uri(pngs[0]) for name, pngs in drawn.items()}
    write_page(path, "report.html.j2", report=report, facts=_facts(report), figures=figures,
               reduction=_reduction(report), residual=_about_residual(report),
               total=sum(report.timings.values()))  # fmt: skip


def write_page(path: str | Path, template: str, package: str = "radrim.report", **values: object) -> None:
    """Fill in a template of a package and write the page, atomically. Raises as `write_report`.

    Templates of other packages can include those of this package, such as its style.
    """
    loader = ChoiceLoader([PackageLoader(package), PackageLoader("radrim.report")])
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    page = environment.get_template(template).render(**values, si=si)
    with atomic_write(path) as file:
        file.write(page.encode("utf-8"))


def data_uri(png: bytes) -> str:
    """A PNG as a data URI, to embed it in a page."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _about_residual(report):
    """Sentences on the residual at bright sources; none without a restored image or without bright sources."""
    first = report.images[0]
    if first.image is None or first.residual is None or report.stokes != "I":
        return []
    found = at_bright_sources(
        first.image, first.residual, first.psf, first.noise, first.beam, report.grid.scale, first.uncertainty
    )
    return [] if found is None else tell(found, report.fit.level if report.fit else None)


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


def _pictures(report):
    """Name -> Picture of each figure."""
    first, grid, half = report.images[0], report.grid, (4.5, 3.5)
    left, name = (first.dirty, "Dirty image") if first.residual is None else (first.residual, "Residual")
    pictures = {
        "image": _best(report),
        **({"beside_model": _with_model(report)} if report.show_model and first.model is not None else {}),
        **_panels(first, grid),
        **_zoom(first, grid),
        "psf_centre": Picture(half, FigureKind.PSF, (first.psf, first.beam, grid.scale), palettes=(("RdBu_r",),)),
        "psf_cuts": Picture(half, FigureKind.CUTS, (first.psf, first.beam, grid.scale)),
        "uv": Picture(half, FigureKind.UV, (report.uv,)),
        "histogram": Picture(half, FigureKind.HISTOGRAM, (left, first.noise, name)),
    }
    if report.beside:
        pictures |= _beside(report)
    if report.polarisation:
        pictures |= _polarisation(report)
    if report.fit:
        fit = report.fit
        shown = fit.cycles, fit.lengths, fit.antennas, fit.level
        pictures["fit"] = Picture((9, 5.6), FigureKind.FIT, shown)
    if report.cycles:
        size, cycles = (4.5, 3.2), report.cycles
        pictures["convergence"] = Picture(size, FigureKind.CYCLES, (cycles, ("peak", "rms"), "Residual", "Jy/beam"))
        pictures["flux"] = Picture(size, FigureKind.CYCLES, (cycles, ("flux",), "Model flux", "Jy"))
    if len(report.images) > 1:
        sets = _spread(report.images[1:])
        channels = [(s.best, s.beam, f"{s.label} · {si(s.freq, 'Hz', 5)}") for s in sets]
        size = 9, -(-len(sets) // 4) * (2.1 * grid.height / grid.width + 0.3)
        args = channels, float(np.median([s.noise for s in sets])), grid
        pictures["channels"] = Picture(size, FigureKind.CHANNELS, args, palettes=(("inferno",),))
    return pictures


def _best(report):
    """The restored image: pixel by pixel up to `ReportSettings.shown` on a side, larger ones as the peaks of blocks.

    It is encoded twice: with few colours for the page, and with all colours.
    """
    first, grid = report.images[0], report.grid
    detail = " · ".join(text for text in (first.label, si(first.freq, "Hz", 4), f"Stokes {report.stokes}") if text)
    norm = brightness_norm(first.best, first.noise)
    args = first.best, grid, first.beam, SkyStyle(norm, report.title, detail, shown=ReportSettings.shown)
    return Picture(sky_size(grid, 6.6), FigureKind.SKY, args, ReportSettings.best_dpi, (("inferno",), ()))


def _with_model(report):
    """The restored image and the model, each over its peak, with the colours of images of black holes."""
    first, grid = report.images[0], report.grid
    sides = []
    for title, image in (("Restored", first.best), ("Model", first.model)):
        peak = max(float(image.max()), 0) or 1.0
        style = SkyStyle(Norm(0, 1), title, unit="", cmap="afmhot", shown=ReportSettings.shown // 2)
        sides.append((image / np.float32(peak), grid, first.beam, style))
    width, height = sky_size(grid, 4.6)
    return Picture((2 * width, height), FigureKind.PAIR, tuple(sides), palettes=(("afmhot",),))


def _sky(grid, image, beam, norm, title, unit, cmap, keep_peaks):
    """One of the smaller pictures of the sky."""
    style = SkyStyle(norm, title, unit=unit, cmap=cmap, shown=ReportSettings.shown // 2, keep_peaks=keep_peaks)
    return Picture(sky_size(grid, 4.5), FigureKind.SKY, (image, grid, beam, style), palettes=((cmap,),))


def _panels(images, grid):
    """Dirty image, PSF, model and residual of one channel, and its uncertainties."""
    # A dirty image is full of sidelobes: the median of |pixels| keeps them within the colour map.
    dirty = brightness_norm(images.dirty, max(images.noise, float(np.nanmedian(np.abs(images.dirty)))))
    panels = {
        "dirty": (images.dirty, dirty, "Dirty image", "Jy/beam", "inferno", True),
        "psf": (images.psf, PSF_NORM, "PSF", "", "RdBu_r", True),
    }
    if images.model is not None:
        panels["model"] = images.model, model_norm(images.model), "Model", "Jy/pixel", "inferno", True
        panels["residual"] = images.residual, even_norm(5 * images.noise), "Residual", "Jy/beam", "RdBu_r", False
    for kind, title, unit in (("uncertainty", "Uncertainty of the image, 68 %", "Jy/beam"),
                              ("model_uncertainty", "Uncertainty of the model, 68 %", "Jy/pixel")):  # fmt: skip
        image = getattr(images, kind)
        if image is not None and np.isfinite(image).any():
            peak = float(np.nanmax(image)) or 1.0
            panels[kind] = image, Norm(0, peak, peak / 30), title, unit, "viridis", False
    return {name: _sky(grid, image, images.beam, *rest) for name, (image, *rest) in panels.items()}


def _zoom(images, grid):
    """Restored image and residual around the brightest pixel, if the field is wide."""
    wide = max(grid.shape) * grid.scale / images.beam.major
    if images.image is None or wide < ReportSettings.wide or not np.isfinite(images.image).any():
        return {}
    y, x = np.unravel_index(np.nanargmax(images.image), images.image.shape)
    side = 2 * round(max(ReportSettings.zoom * images.beam.major / grid.scale, ReportSettings.zoom_pixels) / 2)
    height, width = (min(side, n) for n in grid.shape)
    # At an edge the window is shifted, not cut: both panels keep their shape.
    top, left = (
        min(max(int(at) - part // 2, 0), n - part)
        for at, part, n in zip((y, x), (height, width), grid.shape, strict=True)
    )
    rows, columns = slice(top, top + height), slice(left, left + width)
    part, half = grid.region(rows, columns), ReportSettings.shown // 2
    sides = (
        (images.image, SkyStyle(brightness_norm(images.image[rows, columns], images.noise), "Brightest", shown=half)),
        (images.residual, SkyStyle(even_norm(5 * images.noise), "Residual there", cmap="RdBu_r", shown=half,
                                   keep_peaks=False)),
    )  # fmt: skip
    args = tuple((image[rows, columns], part, images.beam, style) for image, style in sides)
    width_inch, height_inch = sky_size(part, 4.6)
    return {"zoom": Picture((2 * width_inch, height_inch), FigureKind.PAIR, args, palettes=(("inferno", "RdBu_r"),))}


def _beside(report):
    """Restored images, models and residuals of both minor cycles, each pair on one scale."""
    first, other, grid = report.images[0], report.beside.images, report.grid
    kinds = {
        "image": (brightness_norm(first.image, first.noise), "Jy/beam", "inferno"),
        "model": (model_norm(first.model), "Jy/pixel", "inferno"),
        "residual": (even_norm(5 * first.noise), "Jy/beam", "RdBu_r"),
    }
    pictures = {}
    for kind, (norm, unit, cmap) in kinds.items():
        for place, name, images in zip(("left", "right"), report.beside.names, (first, other), strict=True):
            title, image = f"{name}, {kind}", getattr(images, kind)
            pictures[f"{kind}_{place}"] = _sky(grid, image, images.beam, norm, title, unit, cmap, kind != "residual")
    return pictures


def _polarisation(report):
    """Vectors on the first image, intensity and angle; each further Stokes parameter on its own scale."""
    first, grid, of = report.images[0], report.grid, report.polarisation
    pictures = {}
    if of.intensity is not None:
        norm = brightness_norm(first.best, first.noise)
        title = f"Stokes {report.stokes} and the electric vector"
        args = first.best, of.intensity, of.angle, grid, first.beam, SkyStyle(norm, title)
        pictures["vectors"] = Picture(
            sky_size(grid, 6.6), FigureKind.VECTORS, args, ReportSettings.best_dpi, (("inferno",),)
        )
        norm, title = brightness_norm(of.intensity, of.linear_noise), "Polarised intensity"
        pictures["intensity"] = _sky(grid, of.intensity, first.beam, norm, title, "Jy/beam", "inferno", True)
        title = "Angle, north through east"
        pictures["angle"] = _sky(grid, of.angle, first.beam, even_norm(90), title, "°", "twilight", None)
    for stokes, image in of.images.items():
        limit = max(float(np.nanmax(np.abs(image))), 5 * of.noise[stokes]) or 1.0
        norm, title = Norm(-limit, limit, 3 * of.noise[stokes] or limit), f"Stokes {stokes}"
        pictures[f"stokes_{stokes}"] = _sky(grid, image, first.beam, norm, title, "Jy/beam", "RdBu_r", True)
    return pictures


def _spread(sets):
    """At most `ReportSettings.channels` of the sets, evenly over the band, with both ends."""
    count = min(len(sets), ReportSettings.channels)
    return [sets[round(i * (len(sets) - 1) / max(count - 1, 1))] for i in range(count)]


def _reduction(report):
    """Pixels along a side of the image that one shown pixel covers, in the large picture and in the panels."""
    return tuple(
        math.ceil(max(report.grid.shape) / shown) for shown in (ReportSettings.shown, ReportSettings.shown // 2)
    )

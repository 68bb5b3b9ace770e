"""Draws images as the report does, in figures that a notebook shows or in PNGs."""

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from radrim.beam import Beam
from radrim.geometry import ImageGrid
from radrim.report.specs import PSF_NORM, Norm, SkyStyle, brightness_norm, even_norm, model_norm, sky_size

Drawn = TypeVar("Drawn")


@dataclass(frozen=True)
class PlotSettings:
    """Sizes of the pictures in notebooks."""

    width: float = 6.6
    """Width of a figure of one image [inch]."""

    inline: float = 4.9
    """Width of the picture that stands for a result in a notebook [inch]."""

    dpi: float = 110
    """Dots per inch of that picture; with `inline` some 100 kB."""

    shown: int = 1024
    """Largest number of pixels along a side of a drawn image."""

    page: int = 760
    """Width of a reduced picture of several images [pixel]."""

    inline_shown: int = 320
    """The same of the picture that stands for a result; it has as many dots."""


def figure_of(size: tuple[float, float], draw: Callable[..., Drawn], *args: Any, figure: Any = None) -> Drawn:
    """Draw into a figure of pyplot, or into one that is given, in the style of the report.

    Parameters
    ----------
    size : (float, float)
        Width and height of a new figure [inch].
    draw : callable
        Called with the figure and `args`; see `radrim.report.figures`.
    figure : Figure or SubFigure, optional
        By default a new one.

    Returns
    -------
    What `draw` returns.
    """
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    from radrim.report.render import STYLE

    with mpl.rc_context(STYLE):
        if figure is None:
            figure = plt.figure(figsize=size, layout="constrained", facecolor="white")
        return draw(figure, *args)


def style_of(kind: str, image: np.ndarray, noise: float, title: str, detail: str = "") -> SkyStyle:
    """How the report draws a kind of image.

    Parameters
    ----------
    kind : str
        Of `radrim.products.KINDS`.
    image : (y, x) array
    noise : float
        Of the residual, or of the dirty image if nothing was deconvolved [Jy/beam].
    title, detail : str
        Above the image, to the left and to the right.
    """
    sky = ("inferno", True)
    looks: dict[str, tuple[Norm, str, tuple[str, bool]]] = {
        "psf": (PSF_NORM, "", ("RdBu_r", True)),
        "pb": (Norm(0, 1), "", ("inferno", False)),
    }
    if kind in looks:
        norm, unit, (cmap, peaks) = looks[kind]
    elif kind == "model":
        norm, unit, (cmap, peaks) = model_norm(image), "Jy/pixel", sky
    elif kind == "residual":
        norm, unit, (cmap, peaks) = even_norm(5 * noise), "Jy/beam", ("RdBu_r", False)
    elif "uncertainty" in kind:
        unit = "Jy/pixel" if kind.startswith("model") else "Jy/beam"
        norm, (cmap, peaks) = Norm(0, float(np.nanmax(image)) or 1.0), ("viridis", False)
    else:
        level = max(noise, float(np.nanmedian(np.abs(image)))) if kind == "dirty" else noise
        norm, unit, (cmap, peaks) = brightness_norm(image, level), "Jy/beam", sky
    return SkyStyle(norm, title, detail, unit, cmap, PlotSettings.shown, peaks)


def plot_sky(image: np.ndarray, grid: ImageGrid, beam: Beam | None, style: SkyStyle, figure: Any = None) -> Any:
    """Draw an image of the sky with axes, colour bar, beam and scale bar; returns the axes."""
    from radrim.report.figures import sky_figure

    return figure_of(sky_size(grid, PlotSettings.width), sky_figure, image, grid, beam, style, figure=figure)


def sky_png(image: np.ndarray, grid: ImageGrid, beam: Beam, style: SkyStyle) -> bytes:
    """The same as a small PNG, without any change of a figure of the caller."""
    from radrim.report.figures import sky_figure
    from radrim.report.render import render

    size, style = sky_size(grid, PlotSettings.inline), replace(style, shown=PlotSettings.inline_shown)
    return render(size, sky_figure, image, grid, beam, style, dpi=PlotSettings.dpi, palette=(style.cmap,))


def small_picture(path: str | Path) -> bytes:
    """A picture from a PNG file, reduced to the width of a notebook and to 256 colours."""
    from PIL import Image

    with Image.open(path) as whole:
        height = round(whole.height * PlotSettings.page / whole.width)
        part = whole.convert("RGB").resize((PlotSettings.page, height), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    part.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue()

"""Specifications of the report's pictures. The module needs no matplotlib, so that imaging does not load it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from radrim.geometry import ImageGrid, parse_angle


@dataclass(frozen=True)
class ReportSettings:
    """Sizes of the report's pictures, and how much of a run they show."""

    dpi: float = 190
    """Dots per inch of a picture."""

    best_dpi: float = 220
    """Dots per inch of the picture of the restored image."""

    shown: int = 1024
    """Largest number of pixels along a side of the restored image; panels have half as many. It is no more than the
    figures have dots, because matplotlib would leave pixels out."""

    channels: int = 12
    """Largest number of channels whose restored images the page shows."""

    output_channels: int = 8
    """Number of channels, evenly spaced, that a run passes to its report."""

    overview: int = 4096
    """Largest side of an image that is drawn from all its pixels [pixel]. Larger images are reduced first."""

    overview_rows: int = 64
    """Rows of a reduced image after which the file is opened anew, so that read pages leave the memory."""

    rows: int = 1024
    """Rows of an image, or of the data, that are read at once."""

    offsets_below: float = parse_angle("30asec")
    """Field below which axes show offsets from the centre [rad]: hours and degrees would need too many digits."""

    small_beam: float = 0.02
    """Beam, over the width of the image, below which its ellipse shows little, and its size is written beside it."""

    wide: float = 150.0
    """Width of a field from which its brightest source is also shown enlarged [beam]: a beam is then below 7 of the
    1024 pixels of the large picture."""

    zoom: float = 40.0
    """Width of the enlarged part [beam]."""

    zoom_pixels: int = 64
    """The same, at least [pixel]."""

    antennas: int = 40
    """Largest number of antennas whose fit is shown; of more, those with the worst."""

    far: float = 30.0
    """Ratio of chi^2 per datum to 1 from which a panel does not reach down, or up, to the noise of the weights."""

    compression: int = 3
    """zlib level of PNGs: half the time of the usual level 6 for 2 % more bytes."""


MARGINS = {"left": 1.0, "right": 0.98, "bottom": 0.5, "top": 0.32}
"""Margins for labels and colour bar around an image [inch]. They are fixed, so that images of one grid line up."""


class Norm(NamedTuple):
    """Mapping of brightness to colour.

    Parameters
    ----------
    low, high : float
        Brightness at both ends of the colour map.
    linear : float
        Brightness up to which colours are linear; beyond, they are logarithmic (inverse hyperbolic sine). 0: linear
        everywhere.
    """

    low: float
    high: float
    linear: float = 0.0


@dataclass(frozen=True)
class SkyStyle:
    """How an image of the sky is drawn.

    Parameters
    ----------
    norm : Norm
    title, detail : str
        Above the image, to the left and to the right.
    unit : str
        Of the brightness.
    cmap : str
        Colour map of matplotlib.
    shown : int
        Largest number of pixels along a side.
    keep_peaks : bool or None
        How more pixels than `shown` are reduced, see `radrim.report.figures.reduce_image`.
    """

    norm: Norm
    title: str = ""
    detail: str = ""
    unit: str = "Jy/beam"
    cmap: str = "inferno"
    shown: int = 1024
    keep_peaks: bool | None = True


class FigureKind(StrEnum):
    """The figures of the report; `radrim.report.figures.FIGURES` has the function that draws each."""

    SKY = "sky"
    PAIR = "pair"
    VECTORS = "vectors"
    CHANNELS = "channels"
    PSF = "psf"
    CUTS = "cuts"
    UV = "uv"
    HISTOGRAM = "histogram"
    CYCLES = "cycles"
    FIT = "fit"


class Picture(NamedTuple):
    """One figure, and the PNGs that are made of it.

    Parameters
    ----------
    size : (float, float)
        Width and height [inch].
    kind : FigureKind
    args : tuple
        Arguments of the drawing function, after the figure.
    dpi : float
    palettes : tuple of tuple of str
        Colour maps of each PNG, whose colours it is reduced to; an empty tuple keeps all colours. See
        `radrim.report.render.encode`.
    """

    size: tuple[float, float]
    kind: FigureKind
    args: tuple
    dpi: float = ReportSettings.dpi
    palettes: tuple[tuple[str, ...], ...] = ((),)


def brightness_norm(image: np.ndarray, noise: float) -> Norm:
    """Linear up to three times the noise, logarithmic above, so that faint emission and bright cores are visible."""
    peak = float(np.nanmax(image)) if np.isfinite(image).any() else 0.0
    sigma = noise if noise > 0 else (peak if peak > 0 else 1.0) / 1000
    return Norm(-4 * sigma, max(peak, 12 * sigma), 3 * sigma)


def model_norm(model: np.ndarray) -> Norm:
    """From 0 to the brightest pixel; logarithmic above 1/300 of the brightest pixel."""
    peak = max(float(model.max()), 0) or 1.0
    return Norm(0, peak, peak / 300)


def even_norm(limit: float) -> Norm:
    """Linear from -limit to limit; a limit of 0 counts as 1."""
    return Norm(-(limit or 1.0), limit or 1.0)


PSF_NORM = Norm(-1, 1, 0.05)
"""Shows sidelobes of a few per cent beside the peak of 1."""


def sky_size(grid: ImageGrid, width: float) -> tuple[float, float]:
    """Width and height [inch] of a figure of an image of the grid; the aspect ratio of the image is limited."""
    room = width - MARGINS["left"] - MARGINS["right"]
    height = min(max(room * grid.height / grid.width, 0.8), 2.5 * room)
    return width, height + MARGINS["bottom"] + MARGINS["top"]

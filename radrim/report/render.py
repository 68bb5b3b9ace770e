"""Renders figures to PNGs in the style of the report.

It uses matplotlib's Agg canvas without pyplot, so that the figures of a caller are not affected.
"""

import io
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from radrim.report.specs import ReportSettings

INK, RED, BLUE, GREY, MIST = "#1d2733", "#c8452d", "#2f6c9e", "#8a97a5", "#e6eaee"
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans", "font.size": 9, "mathtext.fontset": "dejavusans", "axes.unicode_minus": True,
    "axes.edgecolor": INK, "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.linewidth": 0.8, "axes.titlesize": 10, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "xtick.direction": "in", "ytick.direction": "in", "xtick.top": True, "ytick.right": True,
    "legend.frameon": False, "legend.fontsize": 8.5, "lines.linewidth": 1.3,
}  # fmt: skip


def render(
    size: tuple[float, float],
    draw: Callable[..., object],
    *args: Any,
    dpi: float = ReportSettings.dpi,
    palette: Sequence[str] = (),
) -> bytes:
    """PNG of the figure that `draw(fig, *args)` draws."""
    return encode(paint(size, draw, *args, dpi=dpi), dpi, palette)


def paint(
    size: tuple[float, float], draw: Callable[..., object], *args: Any, dpi: float = ReportSettings.dpi
) -> Image.Image:
    """Pixels of the figure that `draw(fig, *args)` draws.

    Parameters
    ----------
    size : (float, float)
        Width and height [inch].
    draw : callable
        A function such as those in `radrim.report.figures.FIGURES`. `fig` is an empty Figure with constrained layout.

    Returns
    -------
    PIL.Image.Image
    """
    with mpl.rc_context(STYLE):
        fig = Figure(size, dpi=dpi, layout="constrained", facecolor="white")
        canvas = FigureCanvasAgg(fig)
        draw(fig, *args)
        canvas.draw()
        return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def encode(picture: Image.Image, dpi: float = ReportSettings.dpi, palette: Sequence[str] = ()) -> bytes:
    """Encode pixels from `paint` as PNG.

    Parameters
    ----------
    picture : PIL.Image.Image
    dpi : float
    palette : sequence of str
        Colour maps in the figure. If given, the file has 256 colours, from the maps and the shades from ink to white.
        Its size is a third, which keeps the page small.

    Returns
    -------
    bytes
    """
    if palette:
        picture = picture.quantize(palette=_palette(palette), dither=Image.Dither.NONE)
    file = io.BytesIO()
    picture.save(file, "PNG", dpi=(dpi, dpi), compress_level=ReportSettings.compression)
    return file.getvalue()


def _palette(maps):
    """A PIL image with 256 colours: equal parts of each map, and 32 shades from ink to white."""
    ink, white = np.array(mpl.colors.to_rgb(INK)), np.ones(3)
    colours = [ink + (white - ink) * t for t in np.linspace(0, 1, 32)]
    for name in maps:
        colours += list(mpl.colormaps[name](np.linspace(0, 1, 224 // len(maps)))[:, :3])
    holder = Image.new("P", (1, 1))
    holder.putpalette(np.round(np.ravel(colours) * 255).astype(np.uint8).tobytes())
    return holder

"""Figures of the report: images on the sky, PSF, uv coverage, residual histogram, convergence.

Images of the sky are drawn in pixel coordinates; only tick labels are angles.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from astropy.visualization.wcsaxes import WCSAxes
from astropy.wcs import WCS
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import AsinhNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Ellipse
from matplotlib.ticker import MaxNLocator, NullLocator
from scipy.ndimage import map_coordinates

from radrim.beam import Beam
from radrim.geometry import ARCSEC, FWHM_PER_SIGMA, ImageGrid, parse_angle
from radrim.metrics import sky_pixels
from radrim.report.fit_figure import fit_figure
from radrim.report.render import BLUE, GREY, INK, MIST, RED
from radrim.report.specs import MARGINS, PSF_NORM, FigureKind, Norm, ReportSettings, SkyStyle, brightness_norm
from radrim.units import prefix, si

_DEG = parse_angle("1deg")
_ANGLES = {"deg": _DEG, "arcmin": _DEG / 60, "arcsec": ARCSEC, "mas": ARCSEC / 1e3, "µas": ARCSEC / 1e6}


def angle_unit(angle: float) -> tuple[str, float]:
    """(name, radians) of the largest unit that does not exceed `angle`."""
    return next(((w, u) for w, u in _ANGLES.items() if angle >= u), ("µas", _ANGLES["µas"]))


def reduce_image(image: np.ndarray, shown: int, keep_peaks: bool | None) -> tuple[np.ndarray, int]:
    """Reduce an image to blocks of k x k pixels, with the smallest k that leaves at most `shown` blocks per side.

    Parameters
    ----------
    image : (y, x) array
    shown : int
    keep_peaks : bool or None
        True: a block shows its largest |value|, so that point sources stay visible. False: its mean, which keeps the
        noise level. None: its middle pixel, for angles, which cannot be averaged.

    Returns
    -------
    reduced : (y // k, x // k) array
    k : int
    """
    k = -(-max(image.shape) // shown)
    if k == 1:
        return image, 1
    height, width = (n // k for n in image.shape)
    blocks = image[: height * k, : width * k].reshape(height, k, width, k)
    # Reducing one axis after the other, rows first, reads memory in order and is several times faster.
    if keep_peaks is None:
        return image[k // 2 :: k, k // 2 :: k][:height, :width], k
    if not keep_peaks:
        return blocks.mean(1).mean(-1), k
    high, low = blocks.max(1).max(-1), blocks.min(1).min(-1)
    return np.where(high >= -low, high, low), k


def _image_box(fig):
    """(left, bottom, width, height) of the image in the figure, as fractions; turns automatic layout off."""
    fig.figure.set_layout_engine("none")
    width, height = fig.bbox.width / fig.dpi, fig.bbox.height / fig.dpi
    left, bottom = MARGINS["left"] / width, MARGINS["bottom"] / height
    return left, bottom, 1 - left - MARGINS["right"] / width, 1 - bottom - MARGINS["top"] / height


def sky_axes(fig: Figure, grid: ImageGrid, ticks: str = "white") -> Axes:
    """Axes in image pixels with ticks in right ascension and declination, or in offsets from the centre.

    Offsets serve fields below `ReportSettings.offsets_below`, and fields near a pole, where the circles of right
    ascension meet.
    """
    field = max(grid.shape) * grid.scale
    if field < ReportSettings.offsets_below or math.pi / 2 - abs(grid.dec) < 1.5 * field:
        ax = fig.add_axes(_image_box(fig))
        ax.set(xlim=(-0.5, grid.width - 0.5), ylim=(-0.5, grid.height - 0.5), aspect="equal")
        offset_ticks(ax, grid.scale, (grid.width // 2, grid.height // 2))
        ax.tick_params(color=ticks)
        return ax
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---SIN", "DEC--SIN"]
    wcs.wcs.crpix = [grid.width // 2 + 1, grid.height // 2 + 1]
    wcs.wcs.crval = [math.degrees(grid.ra), math.degrees(grid.dec)]
    wcs.wcs.cdelt = [-math.degrees(grid.scale), math.degrees(grid.scale)]
    wcs.wcs.radesys = "FK5"
    ax = WCSAxes(fig, _image_box(fig), wcs=wcs)
    fig.add_axes(ax)
    ax.set(xlim=(-0.5, grid.width - 0.5), ylim=(-0.5, grid.height - 0.5), aspect="equal")
    names, sides = ("Right ascension (J2000)", "Declination (J2000)"), "bl"
    for coordinate, name, side in zip(ax.coords, names, sides, strict=True):
        coordinate.set_axislabel(name, minpad=0.6)
        # By default astropy puts labels on the side with most ticks, which can be the top, where the title is.
        coordinate.set_axislabel_position(side)
        coordinate.set_ticklabel_position(side)
        coordinate.set_ticks(number=5, color=ticks, size=4)
        coordinate.set_ticklabel(exclude_overlapping=True, size=8)
        coordinate.display_minor_ticks(True)
        coordinate.set_minor_frequency(5)
    return ax


def offset_ticks(ax: Axes, scale: float, centre: tuple[float, float]) -> None:
    """Ticks of axes in pixels as offsets from `centre` (x, y), east to the left."""
    for axis, limits, origin, sign, name in (
        (ax.xaxis, ax.get_xlim(), centre[0], -1, "R.A."), (ax.yaxis, ax.get_ylim(), centre[1], 1, "Dec.")):  # fmt: skip
        word, unit = angle_unit(max(abs(n - origin) for n in limits) * scale / 1.5)
        ticks = round_ticks(*sorted(sign * (n - origin) * scale / unit for n in limits))
        axis.set_ticks([origin + sign * t * unit / scale for t in ticks], [plain_number(t) for t in ticks])
        axis.set_label_text(f"Relative {name} ({word})")


def _made(norm):
    """The normalisation of matplotlib for a `radrim.report.specs.Norm`."""
    return AsinhNorm(norm.linear, norm.low, norm.high) if norm.linear else Normalize(norm.low, norm.high)


def draw_image(
    ax: Axes, image: np.ndarray, norm: Norm, cmap: str, shown: int, keep_peaks: bool | None = False
) -> AxesImage:
    """Draw an image, reduced to `shown` pixels per side; returns the artist for a colour bar."""
    reduced, k = reduce_image(image, shown, keep_peaks)
    extent = (-0.5, reduced.shape[1] * k - 0.5, -0.5, reduced.shape[0] * k - 0.5)
    colours = mpl.colormaps[cmap].with_extremes(bad="#d0d0d0")
    return ax.imshow(reduced, norm=_made(norm), cmap=colours, extent=extent, origin="lower", interpolation="nearest")


def colour_bar(fig: Figure, ax: Axes, artist: AxesImage, unit: str) -> None:
    """Colour bar of the height of the image, with a metric prefix; arrows mark brightness beyond its ends."""
    norm = artist.norm
    shown = np.ma.asarray(artist.get_array())
    beyond = (bool(shown.min() < norm.vmin), bool(shown.max() > norm.vmax))
    extend = {(True, True): "both", (True, False): "min", (False, True): "max"}.get(beyond, "neither")
    # An inset has the height of the image, whose aspect ratio is fixed.
    bar = fig.colorbar(artist, cax=ax.inset_axes((1.02, 0, 0.035, 1)), extend=extend, extendfrac=0.03)
    ax.apply_aspect()
    _label_bar(bar, unit, ax.get_window_extent().height / fig.dpi)


def _label_bar(bar, unit, height):
    """Ticks at least 0.2 inch apart on a bar of `height` [inch], with the metric prefix of the largest tick."""
    norm = bar.norm
    low, high = float(norm.vmin), float(norm.vmax)
    if isinstance(norm, AsinhNorm):
        ticks, middle = _asinh_ticks(norm, 0.2 / height), high
    else:
        ticks, middle = round_ticks(low, high), high
    largest = max((abs(t) for t in ticks), default=middle)
    factor, sign = prefix(largest) if unit else (1, "")
    bar.set_ticks(ticks, labels=[plain_number(t / factor) for t in ticks], minor=False)
    bar.minorlocator = NullLocator()
    bar.set_label(f"{sign}{unit}")
    bar.outline.set_linewidth(0.8)


def plain_number(value: float) -> str:
    """A number as a tick label, with a minus sign as wide as a plus sign; 2e−4 in place of 0.0002."""
    text = f"{value:.0e}" if 0 < abs(value) < 0.999e-3 else f"{value:.6g}"
    return text.replace("e-0", "e-").replace("-", "−")


def round_ticks(low: float, high: float) -> list[float]:
    """At most seven round values from `low` to `high`."""
    return [t for t in MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(low, high) if low <= t <= high]


def _asinh_ticks(norm, gap):
    """0 and round values on both sides, at least `gap` apart [length of the bar]."""
    ticks = [0.0]
    low, high = (math.floor(math.log10(v)) for v in (norm.linear_width, max(norm.vmax, -norm.vmin)))
    for sign in (1, -1):
        last = float(norm(0.0))
        for value in (sign * m * 10.0**d for d in range(low - 1, high + 1) for m in (1, 2, 5)):
            if norm.vmin <= value <= norm.vmax and abs(float(norm(value)) - last) > gap:
                ticks.append(value)
                last = float(norm(value))
    return sorted(ticks)


def draw_beam(ax: Axes, beam: Beam, scale: float, colour: str = "white", label: bool = True) -> None:
    """Draw the beam's ellipse in the lower left corner, unless it is too large; a small one with its size in words."""
    (x0, x1), y0 = ax.get_xlim(), ax.get_ylim()[0]
    major, minor = beam.major / scale, beam.minor / scale
    if not major < 0.5 * (x1 - x0):
        return
    pad = 0.035 * (x1 - x0) + major / 2
    # Angles increase counter-clockwise, as position angles do with east to the left.
    ax.add_patch(Ellipse((x0 + pad, y0 + pad), minor, major, angle=math.degrees(beam.pa), facecolor="white",
                         edgecolor="black", linewidth=0.8, alpha=0.95))  # fmt: skip
    if label and major < ReportSettings.small_beam * (x1 - x0):
        size = str(beam).split(",")[0].replace(" x ", " × ")
        ax.text(x0 + pad + major / 2 + 0.012 * (x1 - x0), y0 + pad, f"beam {size}", color=colour, va="center",
                fontsize=7.5)  # fmt: skip


def draw_scale_bar(ax: Axes, scale: float, colour: str = "white") -> None:
    """Draw a bar of a round angle in the lower right corner, about a fifth of the width long."""
    (x0, x1), (y0, y1) = ax.get_xlim(), ax.get_ylim()
    field = (x1 - x0) * scale
    sign = {"deg": "°", "arcmin": "′", "arcsec": "″", "mas": " mas", "µas": " µas"}
    word, unit = angle_unit(field / 4)
    length = max(m * 10.0**d for d in range(-2, 5) for m in (1, 2, 5) if m * 10.0**d <= field / 4 / unit)
    right, y = x1 - 0.04 * (x1 - x0), y0 + 0.045 * (y1 - y0)
    ax.plot([right - length * unit / scale, right], [y, y], color=colour, linewidth=1.6, solid_capstyle="butt")
    ax.text(right - length * unit / scale / 2, y + 0.012 * (y1 - y0), f"{length:g}{sign[word]}", color=colour,
            ha="center", va="bottom", fontsize=8.5)  # fmt: skip


def sky_figure(fig: Figure, image: np.ndarray, grid: ImageGrid, beam: Beam | None, style: SkyStyle) -> Axes:
    """Draw one image with axes, colour bar, beam and scale bar; returns the axes."""
    colour = INK if style.cmap == "RdBu_r" else "white"
    ax = sky_axes(fig, grid, colour)
    colour_bar(fig, ax, draw_image(ax, image, style.norm, style.cmap, style.shown, style.keep_peaks), style.unit)
    if beam is not None:
        draw_beam(ax, beam, grid.scale, colour)
    draw_scale_bar(ax, grid.scale, colour)
    detail = ax.set_title(style.detail, loc="right", fontsize=8.5, weight="normal", parse_math=False)
    _fit_title(ax, style.title, detail)
    return ax


def pair_figure(fig: Figure, left: tuple[Any, ...], right: tuple[Any, ...]) -> None:
    """Draw two images beside each other; each is (image, grid, beam, style) of `sky_figure`."""
    fig.set_layout_engine("none")
    for part, args in zip(fig.subfigures(1, 2, wspace=0, squeeze=False)[0], (left, right), strict=True):
        sky_figure(part, *args)


def _fit_title(ax, text, detail):
    """Set the title; a title that would run into the detail to its right is cut, and ends in an ellipsis."""
    title = ax.set_title(text, parse_math=False)  # a name may hold a dollar sign
    ax.apply_aspect()
    width = [one.get_window_extent().width for one in (title, detail)]
    room = ax.get_window_extent().width - width[1] - (0.1 * ax.figure.dpi if detail.get_text() else 0)
    if width[0] > room:
        title.set_text(text[: max(1, int(len(text) * room / width[0]) - 1)] + "…")
        while title.get_window_extent().width > room and len(title.get_text()) > 2:
            title.set_text(title.get_text()[:-2] + "…")


def vectors_figure(
    fig: Figure,
    image: np.ndarray,
    intensity: np.ndarray,
    angle: np.ndarray,
    grid: ImageGrid,
    beam: Beam,
    style: SkyStyle,
    across: int = 48,
) -> None:
    """Draw an image with lines along the electric vector. Their length grows with the polarised intensity.

    Parameters
    ----------
    image, intensity, angle : (y, x) array
        Angle in degrees, north through east; NaN where it is unknown.
    across : int
        Largest number of lines along a side of the polarised region.
    """
    ax = sky_axes(fig, grid)
    colour_bar(fig, ax, draw_image(ax, image, style.norm, style.cmap, style.shown, style.keep_peaks), style.unit)
    known = np.isfinite(angle)
    if known.any():
        rows, columns = np.flatnonzero(known.any(1)), np.flatnonzero(known.any(0))
        part = max(np.ptp(rows), np.ptp(columns)) + 1
        # Lines less than half a beam apart are not independent.
        step = max(1, round(part / across), round(0.5 * beam.minor / grid.scale))
        y, x = np.mgrid[rows[0] : rows[-1] + 1 : step, columns[0] : columns[-1] + 1 : step]
        y, x = (n[known[y, x]] for n in (y, x))
        turn, strength = np.radians(angle[y, x]), intensity[y, x]
        length = step * (0.5 + 0.9 * np.sqrt(strength / max(float(np.nanmax(intensity)), 1e-30)))
        # East is to the left.
        dx, dy = -np.sin(turn) * length / 2, np.cos(turn) * length / 2
        lines = np.stack([np.stack([x - dx, y - dy], -1), np.stack([x + dx, y + dy], -1)], 1)
        ax.add_collection(LineCollection(list(lines), colors="white", linewidths=0.7))
    draw_beam(ax, beam, grid.scale)
    draw_scale_bar(ax, grid.scale)
    ax.set_title(style.title, parse_math=False)


def channels_figure(
    fig: Figure,
    channels: Sequence[tuple[np.ndarray, Beam, str]],
    noise: float,
    grid: ImageGrid,
    columns: int = 4,
    shown: int = 320,
) -> None:
    """Draw the images (image, beam, title) of several channels with one scale of brightness."""
    specs = fig.add_gridspec(-(-len(channels) // columns), columns)
    norm = brightness_norm(np.array([np.nanmax(image) for image, *_ in channels]), noise)
    for n, (image, beam, title) in enumerate(channels):
        ax = fig.add_subplot(specs[n // columns, n % columns])
        artist = draw_image(ax, image, norm, "inferno", shown, keep_peaks=True)
        ax.set(xlim=(-0.5, grid.width - 0.5), ylim=(-0.5, grid.height - 0.5), aspect="equal", xticks=[], yticks=[])
        draw_beam(ax, beam, grid.scale, label=False)
        ax.set_title(title, fontsize=8, weight="normal")
    _label_bar(fig.colorbar(artist, ax=fig.axes, pad=0.01, fraction=0.02, aspect=40), "Jy/beam", fig.get_figheight())


def _psf_reach(psf, beam, scale):
    """Half the width of the part of the PSF that is shown [pixel]."""
    return int(min(max(3.5 * beam.major / scale, 14), *(n // 2 for n in psf.shape)))


def psf_figure(fig: Figure, psf: np.ndarray, beam: Beam, scale: float) -> None:
    """Draw the centre of the PSF with the half-power ellipse of the beam."""
    y0, x0 = (n // 2 for n in psf.shape)
    half = _psf_reach(psf, beam, scale)
    part = psf[y0 - half : y0 + half, x0 - half : x0 + half]
    ax = fig.add_axes(_image_box(fig))
    artist = ax.imshow(part, norm=_made(PSF_NORM), cmap="RdBu_r", origin="lower", interpolation="nearest")
    ax.add_patch(Ellipse((half, half), beam.minor / scale, beam.major / scale, angle=math.degrees(beam.pa), fill=False,
                         edgecolor="black", linewidth=1.2))  # fmt: skip
    offset_ticks(ax, scale, (half, half))
    colour_bar(fig, ax, artist, "")
    ax.set_title("Centre of the PSF")


def cuts_figure(fig: Figure, psf: np.ndarray, beam: Beam, scale: float) -> None:
    """Plot cuts through the PSF along both axes of the beam, with the fitted Gaussian."""
    y0, x0 = (n // 2 for n in psf.shape)
    half = _psf_reach(psf, beam, scale)
    # Only the centre is interpolated, with a margin for the spline.
    edge = [min(half + 8, n // 2) for n in psf.shape]
    part = psf[y0 - edge[0] : y0 + edge[0], x0 - edge[1] : x0 + edge[1]]
    word, unit = angle_unit(half * scale / 1.5)
    distance = np.linspace(-half, half, 401)
    offset = distance * scale / unit
    ax = fig.add_subplot()
    cuts = ((beam.pa, beam.major, RED, "major"), (beam.pa + math.pi / 2, beam.minor, BLUE, "minor"))
    for angle, width, colour, name in cuts:
        east, north = distance * math.sin(angle), distance * math.cos(angle)
        cut = map_coordinates(part, [edge[0] + north, edge[1] - east], order=3, mode="nearest")
        ax.plot(offset, cut, color=colour, label=f"{name} axis")
        gaussian = np.exp(-0.5 * (distance * scale * FWHM_PER_SIGMA / width) ** 2)
        ax.plot(offset, gaussian, "--", color=colour, linewidth=1)
    ax.plot([], [], "--", color=INK, linewidth=1, label="fitted beam")
    ax.axhline(0, color=GREY, linewidth=0.6)
    ax.set(xlim=(offset[0], offset[-1]), ylim=(None, 1.05), ylabel="PSF", xlabel=f"Distance from the centre ({word})")
    ax.legend(loc="upper right")
    ax.set_title("Cuts along the beam's axes")


def uv_figure(fig: Figure, uv: np.ndarray) -> Axes:
    """Plot the uv coverage with conjugate points; returns the axes."""
    uv = np.asarray(uv, np.float64).reshape(-1, 2)
    reach = 1.05 * float(np.abs(uv).max(initial=0)) or 2.0
    factor, sign = prefix(reach / 2)
    both = np.concatenate([uv, -uv]) / factor
    ax = fig.add_subplot()
    size = min(3.0, max(0.8, 150 / math.sqrt(max(len(both), 1))))
    ax.plot(both[:, 0], both[:, 1], "o", color=BLUE, markersize=size, markeredgewidth=0, alpha=0.6)
    limits = (-reach / factor, reach / factor)
    # East is to the left, as in the image.
    ax.set(xlim=limits[::-1], ylim=limits, aspect="equal", xlabel=f"u ({sign}λ)", ylabel=f"v ({sign}λ)")
    ax.set_title("uv coverage")
    return ax


def histogram_figure(fig: Figure, residual: np.ndarray, noise: float, title: str = "Residual") -> None:
    """Plot the histogram of the residual with the Gaussian of its noise; wings show remaining signal or artefacts."""
    values = sky_pixels(residual[np.isfinite(residual)])
    factor, sign = prefix(noise)
    reach = max(6 * noise, float(np.abs(values).max(initial=0)) * 1.02) or 1.0
    counts, edges = np.histogram(values, 161, (-reach, reach))
    middle = (edges[1:] + edges[:-1]) / 2
    ax = fig.add_subplot()
    ax.stairs(counts, edges / factor, fill=True, color=BLUE, alpha=0.3)
    ax.stairs(counts, edges / factor, color=BLUE, linewidth=1, label=title.lower())
    if noise > 0:
        gaussian = np.exp(-0.5 * (middle / noise) ** 2) / (noise * math.sqrt(2 * math.pi))
        gaussian *= values.size * (edges[1] - edges[0])
        ax.plot(middle / factor, gaussian, "--", color=RED, label=f"Gaussian, σ = {si(noise, 'Jy/beam')}")
    limits = (-reach / factor, reach / factor)
    ax.set(yscale="log", xlim=limits, xticks=round_ticks(*limits), ylim=(0.5, 12 * max(counts.max(initial=1), 1)),
           xlabel=f"{sign}Jy/beam", ylabel="Pixels")  # fmt: skip
    ax.legend(loc="upper right")
    ax.set_title(title)


def cycles_figure(fig: Figure, cycles: Sequence[Mapping[str, Any]], keys: Sequence[str], title: str, unit: str) -> None:
    """Plot the quantities `keys` against the major cycle, one line for each and for each channel."""
    ax = fig.add_subplot()
    for n, channel in enumerate(dict.fromkeys(c.get("channel") for c in cycles)):
        rows = [c for c in cycles if c.get("channel") == channel]
        for key, colour in zip(keys, (RED, BLUE), strict=False):
            ax.plot([c["cycle"] for c in rows], [c[key] for c in rows], "o-", color=colour, markersize=3.5,
                    label=key if n == 0 else None)  # fmt: skip
    if len(keys) > 1:
        ax.legend(loc="upper right")
    log = len(keys) > 1 and any(c[key] > 0 for c in cycles for key in keys)
    ax.set(yscale="log" if log else "linear", xlabel="Major cycle", ylabel=unit)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(color=MIST, linewidth=0.7)
    ax.set_axisbelow(True)
    ax.set_title(title)


FIGURES: dict[FigureKind, Callable[..., object]] = {
    FigureKind.SKY: sky_figure,
    FigureKind.PAIR: pair_figure,
    FigureKind.VECTORS: vectors_figure,
    FigureKind.CHANNELS: channels_figure,
    FigureKind.PSF: psf_figure,
    FigureKind.CUTS: cuts_figure,
    FigureKind.UV: uv_figure,
    FigureKind.HISTOGRAM: histogram_figure,
    FigureKind.CYCLES: cycles_figure,
    FigureKind.FIT: fit_figure,
}
"""The function that draws each kind of figure."""

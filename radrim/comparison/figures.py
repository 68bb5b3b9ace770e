"""Figures of a comparison: power spectra and histograms of residuals, fluxes and positions of sources."""

import math
from collections.abc import Sequence

import numpy as np
from astropy.table import Table
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from radrim.beam import Beam
from radrim.comparison.images import Side
from radrim.comparison.settings import ComparisonSettings
from radrim.geometry import ARCSEC
from radrim.report.figures import angle_unit, plain_number, round_ticks
from radrim.report.render import BLUE, GREY, INK, MIST, RED
from radrim.units import prefix, si

COLOURS = RED, BLUE
"""Colours of radrim and of its peer."""


def measured_rings(spectra: Table) -> np.ndarray:
    """Rings with enough samples to be compared with the noise, (bin,) bool."""
    expected = np.asarray(spectra["expected"])
    if not np.isfinite(expected).any():
        return np.zeros(len(expected), bool)
    return expected > ComparisonSettings.least_noise * np.nanmax(expected)


def spectra_figure(fig: Figure, spectra: Table, sides: Sequence[Side], beam: Beam) -> None:
    """Plot the amplitude of the residuals, the square root of their power, against angular scale.

    Parameters
    ----------
    fig : Figure
    spectra : Table
        `spectra` of a `radrim.comparison.images.Comparison`.
    sides : sequence of Side
    beam : Beam
    """
    scale, used = np.asarray(spectra["scale"]) * ARCSEC, measured_rings(spectra)
    amplitude = {name: np.sqrt(np.asarray(spectra[name])) for name in ("expected", *(side.key for side in sides))}
    word, unit = angle_unit(math.sqrt(scale[0] * scale[-1]))
    values = np.concatenate([amplitude[side.key] for side in sides])
    factor, sign = prefix(float(values.max()) / 10)
    ax = fig.add_subplot()
    for number, (side, colour) in enumerate(zip(sides, COLOURS, strict=True)):
        # Different styles keep both lines visible where they coincide.
        ax.plot(scale / unit, amplitude[side.key] / factor, "-o" if number == 0 else "--s", color=colour,
                markersize=3, label=side.name)  # fmt: skip
    if used.any():
        ax.plot(scale[used] / unit, amplitude["expected"][used] / factor, color=INK, linewidth=2.2, alpha=0.45,
                label="noise expected from the data", zorder=1)  # fmt: skip
        _shade_unmeasured(ax, scale / unit, used)
    width = math.sqrt(beam.major * beam.minor) / unit
    ax.axvline(width, color=GREY, linewidth=0.9, linestyle=":")
    ax.text(width, 0.99, " beam", color=GREY, fontsize=8, va="top", transform=ax.get_xaxis_transform())
    low = [*values, *amplitude["expected"][used]]
    floor = max(min(v for v in low if v > 0), 1e-3 * max(low)) if max(low) > 0 else 1
    ax.set(xscale="log", yscale="log", xlim=(scale[0] / unit * 1.1, scale[-1] / unit / 1.1),
           ylim=(floor / factor / 1.5, max(low) / factor * 1.8), xlabel=f"Angular scale ({word})",
           ylabel=f"√power ({sign}Jy/beam)")  # fmt: skip
    _plain_ticks(ax, ax.xaxis, ax.yaxis)
    ax.grid(color=MIST, linewidth=0.7)
    ax.set_axisbelow(True)
    ax.legend(loc="lower left")
    ax.set_title("Residual by angular scale")


def _shade_unmeasured(ax, scale, used):
    """Shade scales at which the array has no samples."""
    edges = np.sqrt(scale[1:] * scale[:-1])
    edges = np.concatenate([[scale[0] * 1.2], edges, [scale[-1] / 1.2]])
    for number in np.flatnonzero(~used):
        ax.axvspan(edges[number + 1], edges[number], color=MIST, linewidth=0, zorder=0)


def _plain_ticks(ax, *axes):
    """Ticks at 1, 2, 5 on logarithmic axes, as plain numbers."""
    for axis in axes:
        low, high = sorted(ax.get_xlim() if axis is ax.xaxis else ax.get_ylim())
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 300 else (1,)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: plain_number(value)))
        axis.set_minor_formatter(NullFormatter())


def histograms_figure(fig: Figure, sides: Sequence[Side], noise: float) -> None:
    """Plot the histograms of both residuals on one scale, with the Gaussian of the expected noise."""
    residuals = [side.residual[np.isfinite(side.residual)] for side in sides]
    reach = max(6 * noise, 1.02 * max(float(np.abs(values).max()) for values in residuals))
    factor, sign = prefix(reach / 3)
    ax = fig.add_subplot()
    highest = 1
    for number, (side, values, colour) in enumerate(zip(sides, residuals, COLOURS, strict=True)):
        counts, edges = np.histogram(values, 161, (-reach, reach))
        highest = max(highest, counts.max())
        ax.stairs(counts, edges / factor, color=colour, linewidth=1.2, fill=False, label=side.name,
                  linestyle="-" if number == 0 else "--")  # fmt: skip
    middle = (edges[1:] + edges[:-1]) / 2
    gaussian = np.exp(-0.5 * (middle / noise) ** 2) / (noise * math.sqrt(2 * math.pi))
    gaussian *= residuals[0].size * (edges[1] - edges[0])
    ax.plot(middle / factor, gaussian, color=INK, linewidth=2.2, alpha=0.45, zorder=1,
            label=f"Gaussian, σ = {si(noise, 'Jy/beam')}")  # fmt: skip
    limits = (-reach / factor, reach / factor)
    ax.set(yscale="log", xlim=limits, xticks=round_ticks(*limits), ylim=(0.5, 30 * highest),
           xlabel=f"{sign}Jy/beam", ylabel="Pixels")  # fmt: skip
    ax.legend(loc="upper right")
    ax.set_title("Residuals")


def fluxes_figure(fig: Figure, table: Table, sides: Sequence[Side], reference: tuple[str, str]) -> None:
    """Plot the ratios of fluxes to those of the reference, with errors from noise.

    Parameters
    ----------
    fig : Figure
    table : Table
        Sources.
    sides : sequence of Side
        Sides whose fluxes are shown.
    reference : (str, str)
        Column prefix and name of the image whose fluxes are the denominator.
    """
    key, name = reference
    ax = fig.add_subplot()
    flux, error = np.asarray(table[f"{key}_flux"]), np.asarray(table["flux_error"])
    factor, sign = prefix(float(np.nanmedian(flux)) if np.isfinite(flux).any() else 1.0)
    ax.axhline(1, color=INK, linewidth=1, alpha=0.6)
    highest = 0.05
    for side, marker in zip(sides, "os", strict=False):
        ratio = np.asarray(table[f"{side.key}_flux"]) / flux
        good = np.isfinite(ratio)
        if not good.any():
            continue
        colour = COLOURS[0] if side.key == "radrim" else COLOURS[1]
        ax.errorbar(flux[good] / factor, ratio[good], (error / np.abs(flux))[good], fmt=marker, color=colour,
                    markersize=3.5, linewidth=0.8, label=side.name)  # fmt: skip
        highest = max(highest, float(np.percentile(np.abs(ratio[good] - 1), 95)) * 1.6)
    low = max(1 - highest, 0)
    ax.set(xscale="log", ylim=(low, 1 + highest), xlabel=f"Flux, {name} ({sign}Jy)",
           ylabel=f"Flux over that of {name}")  # fmt: skip
    _plain_ticks(ax, ax.xaxis)
    ax.grid(color=MIST, linewidth=0.7)
    ax.set_axisbelow(True)
    if len(sides) > 1:
        ax.legend(loc="best")
    ax.set_title("Integrated fluxes")


def positions_figure(fig: Figure, table: Table, sides: Sequence[Side], reference: tuple[str, str], beam: Beam) -> None:
    """Plot offsets of centroids from those of the reference, east to the left, with a circle of a tenth of the beam."""
    key, name = reference
    ax = fig.add_subplot()
    offsets = []
    for side, marker in zip(sides, "os", strict=False):
        east, north = (
            np.asarray(table[f"{side.key}_{axis}"]) - np.asarray(table[f"{key}_{axis}"]) for axis in ("dra", "ddec")
        )
        good = np.isfinite(east)
        offsets.append((side, marker, east[good], north[good], good))
    far = [float(np.percentile(np.hypot(e, n), 95)) for _, _, e, n, _ in offsets if len(e)]
    tenth = math.sqrt(beam.major * beam.minor) / ARCSEC / 10
    reach = max([1.4 * tenth, *(1.3 * r for r in far)])
    word, unit = angle_unit(reach * ARCSEC / 1.5)
    unit /= ARCSEC
    for side, marker, east, north, good in offsets:
        colour = COLOURS[0] if side.key == "radrim" else COLOURS[1]
        north_error, east_error = (np.asarray(table[f"{axis}_error"])[good] / unit for axis in ("dec", "ra"))
        ax.errorbar(east / unit, north / unit, north_error, east_error, fmt=marker, color=colour, markersize=3.5,
                    linewidth=0.8, label=side.name)  # fmt: skip
    turn = np.linspace(0, 2 * np.pi, 200)
    ax.plot(tenth / unit * np.cos(turn), tenth / unit * np.sin(turn), color=GREY, linestyle=":", label="beam / 10")
    limits = (-reach / unit, reach / unit)
    ax.set(xlim=limits[::-1], ylim=limits, aspect="equal", xlabel=f"Relative R.A. ({word})",
           ylabel=f"Relative Dec. ({word})")  # fmt: skip
    ax.axhline(0, color=MIST, linewidth=0.8, zorder=0)
    ax.axvline(0, color=MIST, linewidth=0.8, zorder=0)
    ax.legend(loc="upper right")
    ax.set_title(f"Positions, from {name}'s" if name != "truth" else "Positions, from the true ones")

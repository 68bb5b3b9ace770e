"""Figures of an observation: uv coverage and antennas."""

import math
from dataclasses import dataclass

import erfa
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from radrim.earth import SURFACE, WGS84
from radrim.report.figures import uv_figure
from radrim.report.render import GREY, MIST, RED
from radrim.units import prefix


@dataclass(frozen=True)
class AntennaFigureSettings:
    """How the positions of antennas are drawn."""

    earth: float = 1e6
    """Extent of an array beyond which antennas are drawn by longitude and latitude, not by east and north [m]."""

    named: int = 40
    """Largest number of antennas that are named."""

    label: tuple[float, float] = (0.11, 0.045)
    """Width and height of a name [extent of the array]. A name that would cover another is left out."""


def antennas_figure(
    fig: Figure, positions: np.ndarray, names: list[str], settings: AntennaFigureSettings = AntennaFigureSettings()
) -> Axes:
    """Plot the antennas from above: east and north of their middle, or longitude and latitude of a large array.

    Parameters
    ----------
    fig : Figure
    positions : (antenna, 3) float64
        ITRF [m]; antennas without a position on the Earth are left out.
    names : list of str
    settings : AntennaFigureSettings

    Returns
    -------
    Axes
    """
    ax = fig.add_subplot()
    distance = np.linalg.norm(positions, axis=1)
    known = np.flatnonzero((distance > SURFACE[0]) & (distance < SURFACE[1]))
    ax.set_title("Antennas")
    if not len(known):
        ax.text(0.5, 0.5, "positions unknown", ha="center", va="center", color=GREY, transform=ax.transAxes)
        ax.set(xticks=[], yticks=[])
        return ax
    places = positions[known]
    extent = float(np.ptp(places, axis=0).max())
    if extent > settings.earth:
        x, y = _on_the_globe(places)
        ax.set(xlabel="Longitude (°)", ylabel="Latitude (°)")
        ax.set_aspect(1 / max(math.cos(math.radians(float(np.mean(y)))), 0.2), adjustable="datalim")
    else:
        x, y = _from_above(places)
        factor, sign = prefix(max(extent / 2, 1.0))
        x, y = x / factor, y / factor
        ax.set(xlabel=f"East ({sign}m)", ylabel=f"North ({sign}m)")
        ax.set_aspect("equal", adjustable="datalim")
    ax.plot(x, y, "o", color=RED, markersize=5, markeredgecolor="white", markeredgewidth=0.6)
    ax.margins(0.14)
    ax.grid(color=MIST, linewidth=0.7)
    ax.set_axisbelow(True)
    if len(known) <= settings.named:
        for k in _apart(x, y, settings.label):
            ax.annotate(names[known[k]], (x[k], y[k]), (4, 3), textcoords="offset points", fontsize=7, parse_math=False)
    return ax


def _apart(x, y, label):
    """Places that can be named without a name on another, the outer ones first."""
    extent = max(float(np.ptp(x)), float(np.ptp(y))) or 1.0
    chosen: list[int] = []
    for k in np.argsort(-np.hypot(x - np.median(x), y - np.median(y)), kind="stable"):
        near = [abs(x[k] - x[j]) < label[0] * extent and abs(y[k] - y[j]) < label[1] * extent for j in chosen]
        if not any(near):
            chosen.append(int(k))
    return chosen


def _on_the_globe(places):
    """Longitude and latitude [degrees]; arrays across the date line have no gap."""
    longitude, latitude, _ = erfa.gc2gd(WGS84, places)
    degrees = np.degrees(np.stack([longitude, latitude]))
    middle = math.degrees(float(np.angle(np.exp(1j * longitude).mean())))
    return (degrees[0] - middle + 180) % 360 - 180 + middle, degrees[1]


def _from_above(places):
    """East and north of the middle of the array [m]."""
    middle = places.mean(0)
    longitude, latitude, _ = erfa.gc2gd(WGS84, middle)
    east = np.array([-math.sin(longitude), math.cos(longitude), 0])
    up = np.array([math.cos(latitude) * math.cos(longitude), math.cos(latitude) * math.sin(longitude),
                   math.sin(latitude)])  # fmt: skip
    return (places - middle) @ east, (places - middle) @ np.cross(up, east)


def both_figure(fig: Figure, uv: np.ndarray, positions: np.ndarray, names: list[str]) -> None:
    """The uv coverage and the antennas beside each other."""
    left, right = fig.subfigures(1, 2, squeeze=False)[0]
    uv_figure(left, uv)
    antennas_figure(right, positions, names)

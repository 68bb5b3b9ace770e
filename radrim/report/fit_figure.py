"""Figure of the report: chi^2 per datum of fitted and of kept-out visibilities."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from radrim.report.render import BLUE, GREY, INK, MIST, RED
from radrim.report.specs import ReportSettings
from radrim.units import prefix

SETS = (("kept", RED, "D", 5.0, 0.13), ("fitted", BLUE, "o", 4.2, -0.13))
"""Key, colour, marker and its size, and offset in a panel of antennas; the first is drawn below the other."""


def fit_figure(
    fig: Figure,
    cycles: Sequence[Mapping[str, Any]],
    lengths: Sequence[Mapping[str, Any]],
    antennas: Sequence[Mapping[str, Any]],
    level: Mapping[str, float],
) -> None:
    """Plot chi^2 per datum by major cycle, by baseline length and by antenna.

    Parameters are those of `radrim.report.page.FitPanel`.
    """
    fig.get_layout_engine().set(hspace=0.06, wspace=0.05)  # type: ignore[union-attr, call-arg]
    grid = fig.add_gridspec(2, 2)
    by_cycle, by_length = fig.add_subplot(grid[0, 0]), fig.add_subplot(grid[0, 1])
    by_antenna = fig.add_subplot(grid[1, :])
    _draw_cycles(by_cycle, cycles)
    _draw_lengths(by_length, lengths)
    _draw_antennas(by_antenna, antennas)
    for ax in (by_cycle, by_length, by_antenna):
        _finish(ax, level["noise"], "y" if ax is by_antenna else "both")
    by_cycle.set_ylabel("χ² per datum")
    by_antenna.set_ylabel("χ² per datum")
    shown = any(low < 1 < high for low, high in (ax.get_ylim() for ax in fig.axes))
    _legend(fig, level["noise"] > 0, shown)


def _draw_cycles(ax, cycles):
    """One line for each output channel."""
    several = len({cycle.get("channel") for cycle in cycles}) > 1
    for channel in dict.fromkeys(cycle.get("channel") for cycle in cycles):
        rows = [cycle for cycle in cycles if cycle.get("channel") == channel]
        for key, colour, marker, size, _ in SETS:
            values = [row.get(f"{key}_chi2", np.nan) for row in rows]
            style = {"alpha": 0.6, "linewidth": 0.8} if several else {"marker": marker, "markersize": size}
            ax.plot([row["cycle"] for row in rows], values, color=colour, **style)
    numbers = [cycle["cycle"] for cycle in cycles] or [1]
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.set(xlabel="Major cycle", xlim=(min(numbers) - 0.3, max(numbers) + 0.3))
    ax.set_title("By major cycle")


def _draw_lengths(ax, lengths):
    longest = max((entry["length_m"] for entry in lengths), default=1.0)
    factor, sign = prefix(min(longest, 1e5))  # nobody says megametre
    place = np.array([entry["length_m"] for entry in lengths]) / factor
    for one in SETS:
        _points(ax, place + one[-1] * 0.04 * longest / factor, lengths, *one[:-1])
    ax.plot(place, [entry["noise"] for entry in lengths], color=GREY, linewidth=1, zorder=1)
    ax.set(xlabel=f"Baseline length, projected ({sign}m)", xlim=(0, None))
    ax.set_title("By baseline length")


def _draw_antennas(ax, antennas):
    """The worst antennas, in order of their numbers; names upright where they are many or long."""
    count = len(antennas)
    worst = sorted(range(count), key=lambda k: -_worst(antennas[k]))[: ReportSettings.antennas]
    shown = [antennas[k] for k in sorted(worst)]
    place = np.arange(len(shown))
    for one in SETS:
        _points(ax, place + one[-1], shown, *one[:-1])
    noise = [entry["noise"] for entry in shown]
    ax.hlines(noise, place - 0.33, place + 0.33, color=GREY, linewidth=1, zorder=1)
    names = [entry["name"] for entry in shown]
    upright = sum(len(name) + 2 for name in names) > 100
    ax.set_xticks(place, names, rotation=90 if upright else 0, fontsize=8 if count < 30 else 7, parse_math=False)
    ax.tick_params(axis="x", length=0)
    ax.set(xlim=(-0.7, len(shown) - 0.3))
    ax.set_title("By antenna" if len(shown) == count else f"By antenna, the worst {len(shown)} of {count}")


def _worst(entry):
    """What an antenna is sorted by; unknown values count as the best."""
    values = [entry[key] for key, *_ in SETS if np.isfinite(entry[key])]
    return max(values, default=0.0)


def _points(ax, place, entries, key, colour, marker, size):
    """Points with error bars, where known."""
    values = np.array([entry[key] for entry in entries], float)
    errors = np.nan_to_num([entry[f"{key}_error"] for entry in entries])
    known = np.isfinite(values)
    below = np.minimum(errors, 0.9 * values)  # a logarithmic axis has no 0
    bars = np.stack([below, errors])[:, known]
    ax.errorbar(place[known], values[known], bars, fmt=marker, color=colour, markersize=size, elinewidth=1)
    ax.update_datalim(np.column_stack([np.tile(place[known], 2), (values[known] + [[-1], [1]] * bars).ravel()]))


def _finish(ax: Axes, noise: float, grid: str) -> None:
    """Levels of noise and weights, and an axis that holds both; logarithmic over more than a factor of 5."""
    low, high = ax.dataLim.intervaly
    ax.axhline(1, color=INK, linewidth=0.8, linestyle=":", zorder=1)
    if noise > 0:
        ax.axhline(noise, color=GREY, linewidth=1, linestyle="--", zorder=1)
        low, high = min(low, noise), max(high, noise)
    low = max(low, 1e-12)
    if low / ReportSettings.far < 1 < high * ReportSettings.far:  # relative weights can be anywhere
        low, high = min(low, 1.0), max(high, 1.0)
    if high > 5 * low:
        room = (high / low) ** 0.07
        ax.set(yscale="log", ylim=(low / room, high * room))
        ax.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5) if high < 300 * low else (1,), numticks=12))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))
        ax.yaxis.set_minor_formatter(NullFormatter())
    else:
        room = max(0.12 * (high - low), 0.02 * high)
        ax.set_ylim(max(low - room, 0), high + room)
        ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    ax.grid(axis=grid, color=MIST, linewidth=0.7)  # type: ignore[arg-type]
    ax.set_axisbelow(True)


def _legend(fig, noise, weights):
    """One legend for all panels, above them; with the levels of noise and weights where they are seen."""
    handles = [
        Line2D([], [], color=BLUE, marker="o", markersize=4.2, label="fitted visibilities"),
        Line2D([], [], color=RED, marker="D", markersize=5, label="kept-out visibilities"),
    ]
    if noise:
        handles.append(Line2D([], [], color=GREY, linestyle="--", label="noise, from neighbouring samples"))
    if weights:
        handles.append(Line2D([], [], color=INK, linewidth=0.8, linestyle=":", label="1: noise of the weights"))
    fig.legend(handles=handles, loc="outside upper center", ncols=len(handles), fontsize=8.5)

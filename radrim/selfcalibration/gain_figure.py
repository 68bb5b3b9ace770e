"""Plots gains: phase and amplitude against time, with a panel for each antenna with data."""

import math

import numpy as np

from radrim.gains.table import Gains
from radrim.report.render import BLUE, GREY, INK, RED, render

COLOURS = (BLUE, RED, "#3f8f5f", "#8a5fa8")


def draw_gains(gains: Gains, columns: int = 4) -> bytes:
    """PNG of the gains: two panels for each antenna, phase [deg] above amplitude; a colour for each feed.

    Parameters
    ----------
    gains : Gains
    columns : int
        Largest number of antennas beside each other.

    Returns
    -------
    bytes
    """
    # Antennas without data get no panel.
    shown = np.flatnonzero((gains.snr > 0).any((0, 1, 2)))
    count = max(1, len(shown))
    across = min(columns, count)
    down = math.ceil(count / across)
    return render((2.9 * across, 1.9 * down + 0.4), _gains_figure, gains, shown, across, down, dpi=110)


def _gains_figure(fig, gains, shown, across, down):
    hours = (gains.time - gains.time[0]) / 3600
    unit, scale = ("h", 1.0) if np.ptp(hours) > 0.5 else ("min", 60.0)
    usable = ~gains.flag
    # All antennas have one range, wide enough for all phases and all but 0.5 % of the amplitudes.
    turn = np.degrees(np.abs(np.angle(gains.gain[usable]))).max(initial=0)
    sizes = np.abs(gains.gain[usable])
    change = np.percentile(np.abs(sizes - 1), 99.5) if sizes.size else 0.0
    limit = next((limit for limit in (10, 30, 90) if 1.1 * turn < limit), 180)
    low, high = max(0, 1 - 1.2 * max(change, 0.08)), 1 + 1.2 * max(change, 0.08)
    margin = 0.04 * (np.ptp(hours) * scale or 1.0)
    grid = fig.add_gridspec(2 * down, across, height_ratios=[3, 2] * down)
    for place, number in enumerate(shown):
        name = gains.antennas[number]
        row, column = divmod(place, across)
        phase, amplitude = (fig.add_subplot(grid[2 * row + k, column]) for k in (0, 1))
        for feed, label in enumerate(gains.feeds):
            for window in range(len(gains.windows)):
                good = usable[:, window, feed, number]
                values = gains.gain[good, window, feed, number]
                style = {"ls": "", "marker": "o", "ms": 2.2, "mew": 0, "color": COLOURS[feed], "alpha": 0.8}
                phase.plot(hours[good] * scale, np.degrees(np.angle(values)), **style, label=None if window else label)
                amplitude.plot(hours[good] * scale, np.abs(values), **style)
        phase.set(ylim=(-1.06 * limit, 1.06 * limit), yticks=[-limit, -limit / 2, 0, limit / 2, limit], xticklabels=[])
        amplitude.set(ylim=(low, high))
        amplitude.axhline(1, color=GREY, lw=0.5)
        phase.axhline(0, color=GREY, lw=0.5)
        for axes in (phase, amplitude):
            axes.set_xlim(-margin, hours[-1] * scale + margin)
            axes.tick_params(labelsize=6.5)
        reference = ", reference" if name == gains.refant else ""
        if not usable[:, :, :, number].any():
            reference = ", no solution"
        phase.set_title(f"{name}{reference}", fontsize=8, color=INK)
        if column == 0:
            phase.set_ylabel("phase [deg]", fontsize=7)
            amplitude.set_ylabel("amplitude", fontsize=7)
        if place >= len(shown) - across:
            amplitude.set_xlabel(f"time [{unit}]", fontsize=7)
        if place == 0 and len(gains.feeds) > 1:
            phase.legend(fontsize=6.5, ncols=len(gains.feeds), loc="upper left", handletextpad=0.1)

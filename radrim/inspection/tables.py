"""The tables of `radrim info`: antennas, with the elevations at which they observed, and baselines."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from radrim.earth import elevations
from radrim.geometry import C
from radrim.ms.opening import open_table
from radrim.ms.tables import MeasurementSet, rows_per_id
from radrim.units import prefix
from radrim.visibilities import Observation, Visibilities, row_slices


@dataclass(frozen=True)
class TableSettings:
    """How much the tables list by default."""

    max_antennas: int = 15
    """Largest number of antennas that are listed."""
    max_baselines: int = 45
    """Largest number of baselines that have a line each; more are put together in groups of similar length."""
    groups: int = 10
    """Number of these groups."""
    elevation_step: float = 10.0
    """Times closer together than this have one elevation, which changes by at most 0.04 degrees [s]."""


def row_counts(ms: MeasurementSet) -> tuple[np.ndarray, np.ndarray]:
    """Number of rows of each field and of each data description."""
    with open_table(ms.tables) as main:
        return rows_per_id(main, "FIELD_ID", len(ms.fields)), rows_per_id(main, "DATA_DESC_ID", ms.descriptions)


def antenna_table(
    ms: MeasurementSet,
    observation: Observation | None,
    full: bool = False,
    settings: TableSettings = TableSettings(),
) -> list[str]:
    """Lines about the antennas: number, name, mount, diameter, elevation, rows with data.

    Parameters
    ----------
    ms : MeasurementSet
    observation : Observation or None
        None if the data could not be read.
    full : bool
        Whether to list all antennas, however many there are.
    settings : TableSettings
    """
    number = len(ms.antennas)
    if number > settings.max_antennas and not full:
        return [f"  antennas       {number}; --antennas lists them"]
    rows, low, high = _observed(ms, observation, settings.elevation_step)
    table = [("no.", "name", "mount", "diameter", "elevation", "rows")]
    for k, name in enumerate(ms.antennas):
        diameter = f"{ms.dish_diameters[k]:g} m" if ms.dish_diameters[k] > 0 else "unknown"
        elevation = "unknown" if np.isnan(low[k]) else f"{low[k]:.1f} to {high[k]:.1f} deg"
        elevation = elevation if rows[k] else "-"
        table.append((str(k), name, ms.mounts[k] or "unknown", diameter, elevation, str(rows[k])))
    lines = _aligned("antennas", table, "rlllrr")
    seen = rows > 0
    lost = [ms.antennas[k] for k in np.flatnonzero(seen & np.isnan(low))]
    if lost:
        which = "all antennas" if len(lost) == seen.sum() else ", ".join(lost)
        lines.append(f"  note           Without a position on the Earth: {which}; elevations need it, images do not.")
    if (low[seen] < 0).any():
        below = ", ".join(ms.antennas[k] for k in np.flatnonzero(seen & (low < 0)))
        lines.append(f"  note           The field was below the horizon of {below}: positions or times are wrong.")
    return lines


def _observed(
    ms: MeasurementSet, observation: Observation | None, step: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows with data of each antenna, and the lowest and highest elevation in them [degrees], in steps of time [s]."""
    number = len(ms.antennas)
    rows, low, high = np.zeros(number, int), np.full(number, np.nan), np.full(number, np.nan)
    seen = []
    for block in observation.blocks if observation else []:
        rows += np.bincount(block.antenna.ravel(), minlength=number)
        steps = np.round(np.asarray(block.time) / step).astype(np.int64)
        seen.append(np.unique(np.stack([np.repeat(steps, 2), block.antenna.ravel()]), axis=1))
    if observation is None or not seen:
        return rows, low, high
    steps, antenna = np.unique(np.concatenate(seen, 1), axis=1)
    times, inverse = np.unique(steps, return_inverse=True)
    degrees = np.degrees(elevations(ms.positions, observation.ra, observation.dec, times * step))[inverse, antenna]
    low[antenna], high[antenna] = np.inf, -np.inf
    with np.errstate(invalid="ignore"):  # the elevation of an antenna without position stays NaN
        np.minimum.at(low, antenna, degrees)
        np.maximum.at(high, antenna, degrees)
    return rows, low, high


@dataclass
class Pairs:
    """Sums over the unflagged samples of each pair of antennas, or of each group of pairs, (pair,) arrays.

    Parameters
    ----------
    first, second : int
        Antennas; those of the first pair for a group.
    count : int
        Number of pairs in a group.
    shortest, longest, length : float
        Shortest, longest and summed projected length of the samples [wavelengths].
    samples : int
        Number of samples.
    weight, amplitude : float
        Sum of the weights, and of the weights times |visibility|.
    power : float
        Sum of the weights times |visibility|^2.
    """

    first: np.ndarray
    second: np.ndarray
    count: np.ndarray
    shortest: np.ndarray
    longest: np.ndarray
    length: np.ndarray
    samples: np.ndarray
    weight: np.ndarray
    amplitude: np.ndarray
    power: np.ndarray

    def signal_to_noise(self, scatter: float) -> np.ndarray:
        """Root mean square of the amplitude of a sample over the noise of its real part; the noise is subtracted."""
        return np.sqrt(np.maximum(self.power / (self.samples * scatter**2) - 2, 0))

    def grouped(self, groups: int) -> "Pairs":
        """Groups of pairs of similar length, with the same number of pairs in each."""
        order = np.argsort(self.length / self.samples)
        parts = np.array_split(order, min(groups, len(order)))

        def each(values, gather):
            return np.array([gather(values[part]) for part in parts])

        sums = {name: each(getattr(self, name), np.sum) for name in
                ("count", "length", "samples", "weight", "amplitude", "power")}  # fmt: skip
        return Pairs(
            each(self.first, lambda v: v[0]), each(self.second, lambda v: v[0]),
            shortest=each(self.shortest, np.min), longest=each(self.longest, np.max), **sums,
        )  # fmt: skip


def gather_pairs(blocks: list[Visibilities], number: int) -> Pairs:
    """Sums over the samples of each pair of antennas, in the order of their numbers.

    Parameters
    ----------
    blocks : list of Visibilities
        With natural weights.
    number : int
        Number of antennas.
    """
    size = number * number
    shortest, longest = np.full(size, np.inf), np.zeros(size)
    sums = np.zeros((5, size))
    for block in blocks:
        for rows in row_slices(len(block.time)):
            pair = np.sort(block.antenna[rows], 1) @ [number, 1]
            weight = np.asarray(block.weight[rows], float)
            used = weight > 0
            length = block.uv_length[rows, None] * (block.freq / C)
            np.minimum.at(shortest, pair, np.where(used, length, np.inf).min(1))
            np.maximum.at(longest, pair, np.where(used, length, 0).max(1))
            size_of = np.abs(block.data[rows]).astype(float)
            of_samples = (used, length * used, weight, weight * size_of, weight * size_of**2)
            for k, values in enumerate(of_samples):
                sums[k] += np.bincount(pair, values.sum(1), size)
    there = np.flatnonzero(sums[0])
    samples, length, weight, amplitude, power = sums[:, there]
    first, second = np.divmod(there, number)
    return Pairs(first, second, np.ones(len(there), int), shortest[there], longest[there], length, samples, weight,
                 amplitude, power)  # fmt: skip


def baseline_table(
    ms: MeasurementSet,
    observation: Observation,
    scatter: float,
    full: bool = False,
    settings: TableSettings = TableSettings(),
) -> list[str]:
    """Lines about the baselines: lengths, samples, mean amplitude and signal-to-noise ratio of a sample.

    Parameters
    ----------
    ms : MeasurementSet
    observation : Observation
    scatter : float
        Noise of the data over that of the weights, NaN if unknown; see `radrim.metrics.measured_scatter`.
    full : bool
        Whether each baseline has a line, however many there are.
    settings : TableSettings
    """
    pairs = gather_pairs(observation.blocks, len(ms.antennas))
    number = len(pairs.samples)
    grouped = number > settings.max_baselines and not full
    if grouped:
        pairs = pairs.grouped(settings.groups)
        names = [f"{count} pairs" for count in pairs.count]
    else:
        names = [f"{ms.antennas[a]}-{ms.antennas[b]}" for a, b in zip(pairs.first, pairs.second, strict=True)]
    amplitude = pairs.amplitude / pairs.weight
    length_unit, jansky = prefix(pairs.longest.max()), prefix(np.median(amplitude))
    ratio = pairs.signal_to_noise(scatter if np.isfinite(scatter) and scatter > 0 else 1.0)
    table = [("pair", f"{length_unit[1]}λ", "samples", f"mean {jansky[1]}Jy", "S/N")]
    for k, name in enumerate(names):
        span = f"{pairs.shortest[k] / length_unit[0]:.4g} to {pairs.longest[k] / length_unit[0]:.4g}"
        strength = f"{ratio[k]:.3g}" if ratio[k] >= 1 else "below 1"
        table.append((name, span, f"{pairs.samples[k]:.0f}", f"{amplitude[k] / jansky[0]:.4g}", strength))
    lines = _aligned("baselines", table, "lrrrr")
    if grouped:
        lines.append(f"                 {number} pairs in groups of similar length; --baselines lists each")
    return lines


def _aligned(title: str, table: Sequence[tuple[str, ...]], sides: str) -> list[str]:
    """Lines of a table; `sides` aligns each column to the left (l) or right (r). The first row is the head."""
    widths = [max(len(row[k]) for row in table) for k in range(len(sides))]
    lines = []
    for row in table:
        cells = (
            cell.ljust(w) if side == "l" else cell.rjust(w) for cell, w, side in zip(row, widths, sides, strict=True)
        )
        lines.append(f"  {title:<14} {'  '.join(cells)}".rstrip())
        title = ""
    return lines

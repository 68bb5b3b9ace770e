"""How well a model fits the visibilities: those that it was fitted to, and those that were kept out.

All numbers are chi^2 per datum, the mean of w |V - A x|^2 / 2 with w = 1/sigma^2: 1 where only noise of the stated
sigma is left. Three of them tell what is wrong:

- `fitted`: of the samples that the model was fitted to. Fitted noise lowers it.
- `kept`: of the samples that were kept out. Fitted noise raises it. So do calibration errors, and sky that the model
  lacks, in both.
- `noise`: of the differences between each sample and its neighbours, in time or in channel. Model, calibration errors
  and sky cancel in them, so it is the noise alone, and 1 if the weights are right.

Sums are made for each baseline of each block. Means of squares are limited where a sample is far above the others of
its baseline, so that one wild sample does not decide. Errors come from the scatter over baselines, since samples of one
share their calibration errors; they are at least those of the noise of the samples.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from radrim.visibilities import Visibilities


@dataclass(frozen=True)
class FitQualitySettings:
    """How samples are summed."""

    max_samples: int = 1 << 20
    """Samples that are in memory at a time, and the most of one group: about 30 bytes each."""

    max_deviation: float = 5.0
    """Deviation at which the square of a sample no longer grows, in units of the scatter of its group (Huber 1964). Of
    10^5 samples of noise less than one is beyond it."""

    wild: float = 10.0
    """Deviation from which a sample is wild, in the same units. Noise alone: one in e^50."""

    noise_samples: int = 2048
    """Samples of a group from which its noise and its scatter are measured: right to 3 %, those of all baselines
    together to far less."""

    min_group: int = 8
    """Samples from which the scatter of a group is its own; smaller groups have that of all in memory with them."""

    far_channels: int = 3
    """Distance of neighbours in channel: Hanning smoothing makes the noise of the two nearest ones alike."""

    min_far_channels: int = 14
    """Channels from which `far_channels` are the neighbours; with fewer, the next ones are: broad, averaged channels
    are independent, and the sky may change over more of them."""

    length_bins: int = 8
    """Ranges of baseline length, of equal numbers of samples."""

    worst: int = 10
    """Wild samples that are listed one by one."""


@dataclass
class _Groups:
    """Sums of the inspected groups, one entry of each list for one group."""

    pair: list[tuple[int, int]] = field(default_factory=list)
    kept: list[bool] = field(default_factory=list)
    window: list[int] = field(default_factory=list)
    length: list[float] = field(default_factory=list)
    count: list[int] = field(default_factory=list)
    chi2: list[float] = field(default_factory=list)
    by_time: list[float] = field(default_factory=list)
    by_channel: list[float] = field(default_factory=list)


class FitInspector:
    """Looks at what a model leaves of all samples, block by block, during the computation of an exact residual.

    Parameters
    ----------
    settings : FitQualitySettings
    """

    def __init__(self, settings: FitQualitySettings = FitQualitySettings()):
        self._settings = settings
        self.groups = _Groups()
        self.windows: list[tuple[float, float]] = []
        self.wild: list[dict[str, Any]] = []
        self.wild_count = 0
        self.wild_at: dict[str, dict[int, int]] = {"antennas": {}, "windows": {}}

    def see(self, block: Visibilities, rest: np.ndarray) -> None:
        """Add a block.

        Parameters
        ----------
        block : Visibilities
            With `natural` weights; a block without them does not count. Rows are sorted by baseline and time.
        rest : ndarray, (row, chan) complex64
            What the model leaves of the data [Jy].
        """
        if block.natural is None:
            return
        kept = np.zeros(len(block.uvw), bool)
        if block.kept_out is not None:
            kept[block.kept_out.rows] = True
        start = 0
        for freq, weight in block.natural.parts:
            rows = slice(start, start + len(weight))
            part = _Part(block, rows, freq, weight, kept[rows], self._window(freq))
            for some in part.pieces(self._settings.max_samples):
                self._see(part, some, rest[start + some[0] : start + some[-1]])
            start += len(weight)

    def add(self, other: "FitInspector") -> None:
        """Take over what another one has seen, of other blocks."""
        numbers = [self._window(np.array(band)) for band in other.windows]
        for name, values in vars(other.groups).items():
            getattr(self.groups, name).extend([numbers[k] for k in values] if name == "window" else values)
        self.wild_count += other.wild_count
        for key, count in other.wild_at["antennas"].items():
            self.wild_at["antennas"][key] = self.wild_at["antennas"].get(key, 0) + count
        for key, count in other.wild_at["windows"].items():
            self.wild_at["windows"][numbers[key]] = self.wild_at["windows"].get(numbers[key], 0) + count
        self.wild = self._worst(self.wild + other.wild)

    def _worst(self, wild):
        return sorted(wild, key=lambda one: -one["deviation"])[: self._settings.worst]

    def _window(self, freq):
        """Number of the window with these channels."""
        band = float(freq.min()), float(freq.max())
        if band not in self.windows:
            self.windows.append(band)
        return self.windows.index(band)

    def _see(self, part, edges, rest):
        """Add the groups between successive `edges` (rows of a part); `rest` is of the rows from first to last."""
        settings, groups = self._settings, self.groups
        weight = np.asarray(part.weight[edges[0] : edges[-1]])
        power = weight * (rest.real**2 + rest.imag**2)
        used = weight > 0
        if not used.any():
            return
        common = self._median(power[used])
        for first, last in pairwise(edges):
            inside = slice(first - edges[0], last - edges[0])
            values = power[inside][used[inside]]
            if not values.size:
                continue
            limit = self._limit(values, common)
            row = first + part.first
            groups.pair.append((int(part.block.antenna[row, 0]), int(part.block.antenna[row, 1])))
            groups.kept.append(bool(part.kept[first]))
            groups.window.append(part.window)
            groups.length.append(float(np.hypot(*part.block.uvw[row : last + part.first, :2].T).mean()))
            groups.count.append(values.size)
            groups.chi2.append(float(np.minimum(values, limit).mean()) / 2)
            groups.by_time.append(self._noise(rest[inside], weight[inside], 1))
            far = rest.shape[1] >= settings.min_far_channels
            groups.by_channel.append(self._noise(rest[inside].T, weight[inside].T, settings.far_channels if far else 1))
            wild = limit * (settings.wild / settings.max_deviation) ** 2
            if values.max() > wild:
                self._note_wild(part, first, power[inside], wild)

    def _limit(self, power, common):
        """Largest square that counts: of noise, the median of w |r|^2 is 2 ln 2."""
        median = self._median(power) if power.size >= self._settings.min_group else common
        return self._settings.max_deviation**2 * max(median, 1e-300) / (2 * np.log(2))

    def _median(self, power):
        """Of some thousand of the samples."""
        return float(np.median(power[:: -(-power.size // self._settings.noise_samples)]))

    def _noise(self, rest, weight, reach, every=1):
        """Chi^2 per datum of samples less the mean of their neighbours along the first axis; NaN without any.

        Only every so many of the samples count.
        """
        if len(rest) <= 2 * reach:
            return float("nan")
        before, middle, after = (slice(k * reach, len(rest) - (2 - k) * reach, every) for k in range(3))
        used = (weight[before] > 0) & (weight[middle] > 0) & (weight[after] > 0)
        if not used.any():
            return float("nan")
        left = (rest[middle] - (rest[before] + rest[after]) / 2)[used]
        variance = 1 / weight[middle][used] + (1 / weight[before][used] + 1 / weight[after][used]) / 4
        power = (left.real**2 + left.imag**2) / variance
        common = float(power.mean())  # of a group that is too small to have outliers
        return float(np.minimum(power, self._limit(power, common)).mean()) / 2

    def _note_wild(self, part, first, power, limit):
        settings = self._settings
        unit = limit / settings.wild**2  # of a deviation of 1, for real and imaginary part
        rows, channels = np.nonzero(power > limit)
        self.wild_count += len(rows)
        antennas = part.block.antenna[first + part.first]
        for kind, keys in (("antennas", antennas.tolist()), ("windows", [part.window])):
            for key in keys:
                self.wild_at[kind][key] = self.wild_at[kind].get(key, 0) + len(rows)
        worst = np.argsort(-power[rows, channels], kind="stable")[: settings.worst]
        for row, channel in zip(rows[worst].tolist(), channels[worst].tolist(), strict=True):
            self.wild.append({
                "deviation": float(np.sqrt(power[row, channel] / unit)), "antennas": antennas.tolist(),
                "time_mjd_s": float(part.block.time[first + part.first + row]),
                "frequency_hz": float(part.freq[channel]),
            })  # fmt: skip
        self.wild = self._worst(self.wild)

    def summary(self) -> dict[str, Any]:
        """What was seen, as JSON holds it; empty if nothing was.

        Returns
        -------
        dict
            'all', and lists 'lengths', 'antennas' and 'windows', of entries with 'samples', and with 'fitted', 'kept'
            and 'noise' (chi^2 per datum) and the error of each, such as 'kept_error'. NaN where there are no such
            samples. 'all' also has 'kept_excess' and 'fitted_excess', chi^2 above the noise, and their errors.
            'lengths' have 'length_m', 'antennas' an 'antenna' (its number), 'windows' their band 'frequencies_hz'.
            'wild' has the 'count' of wild samples, their counts by antenna and window, and the 'worst'.
        """
        if not self.groups.count:
            return {}
        table = _Table(self.groups)
        antennas = np.unique(table.pair).tolist()
        wild = {
            "count": self.wild_count,
            "samples": int(table.count.sum()),
            "antennas": [[number, count] for number, count in self.wild_at["antennas"].items()],
            "windows": [[*self.windows[number], count] for number, count in self.wild_at["windows"].items()],
            "worst": self.wild,
        }
        return {
            "all": table.baselines.total(),
            "lengths": [
                {"length_m": length, **table.baselines.mean(which)}
                for length, which in table.baselines.ranges(self._settings.length_bins)
            ],
            "antennas": [
                {"antenna": number, **table.baselines.typical((table.baselines.pair == number).any(1))}
                for number in antennas
            ],
            "windows": [
                {"frequencies_hz": list(band), **table.typical(table.window == number)}
                for number, band in enumerate(self.windows)
            ],
            "wild": wild,
        }


class _Part:
    """Rows of a block with the same channels before blocks were joined."""

    def __init__(self, block, rows, freq, weight, kept, window):
        self.block, self.first, self.freq, self.weight, self.kept = block, rows.start, freq, weight, kept
        self.window = window
        pair = block.antenna[rows]
        changes = np.any(pair[1:] != pair[:-1], 1) | (kept[1:] != kept[:-1])
        self._starts = np.concatenate([[0], 1 + np.flatnonzero(changes), [len(pair)]])

    def pieces(self, samples: int) -> Iterator[np.ndarray]:
        """Edges of successive groups, each a baseline or a piece of one, that together have about so many samples."""
        most = max(1, samples // len(self.freq))
        cuts = [np.arange(a, b, most) for a, b in pairwise(self._starts)]
        edges = np.append(np.concatenate(cuts), self._starts[-1]) if cuts else self._starts
        first = 0
        while first < len(edges) - 1:
            last = max(first + 1, int(np.searchsorted(edges, edges[first] + most, side="right")) - 1)
            yield edges[first : last + 1]
            first = last


class _Table:
    """Arrays over groups, (group,), from their lists."""

    def __init__(self, groups: _Groups):
        self.pair = np.array(groups.pair).reshape(-1, 2)
        self.kept, self.window, self.length = (np.array(a) for a in (groups.kept, groups.window, groups.length))
        self.count, self.chi2 = np.array(groups.count, float), np.array(groups.chi2)
        ways = np.array([groups.by_time, groups.by_channel])
        levels = [_mean(way[np.isfinite(way)], self.count[np.isfinite(way)]) for way in ways]
        # What else changes from sample to sample adds to one of them: the smaller one is the noise.
        self.noise = ways[int(np.nanargmin(levels))] if np.isfinite(levels).any() else ways[0]

    @property
    def baselines(self) -> "_Table":
        """The same with all groups of a baseline together, those kept out apart."""
        keys, which = np.unique(np.column_stack([self.pair, self.kept]), axis=0, return_inverse=True)
        which = which.ravel()
        out = object.__new__(_Table)
        out.pair, out.kept = keys[:, :2], keys[:, 2].astype(bool)
        out.window = np.zeros(len(keys), int)
        out.count = np.bincount(which, self.count)
        out.length, out.chi2 = (np.bincount(which, self.count * a) / out.count for a in (self.length, self.chi2))
        known = np.isfinite(self.noise)
        counts = np.bincount(which, self.count * known)
        with np.errstate(invalid="ignore"):
            out.noise = np.bincount(which, np.where(known, self.count * self.noise, 0)) / counts
        return out

    def total(self) -> dict[str, float]:
        """Means over all, and what kept and fitted have above the noise."""
        found = self.mean(np.ones(len(self.count), bool))
        for name, these in (("kept", self.kept), ("fitted", ~self.kept)):
            which = these & np.isfinite(self.noise)
            excess = (self.chi2 - self.noise)[which]
            found[f"{name}_excess"], found[f"{name}_excess_error"] = _with_error(excess, self.count[which])
        return found

    def mean(self, which: np.ndarray) -> dict[str, float]:
        """Means of the groups of a mask, each counted by its samples, and their errors by the scatter of groups."""
        return self._entry(which, _with_error)

    def typical(self, which: np.ndarray) -> dict[str, float]:
        """Medians of the groups of a mask: one bad antenna does not show at the others."""
        return self._entry(which, lambda values, _: _median_with_error(values))

    def _entry(
        self, which: np.ndarray, centre: Callable[[np.ndarray, np.ndarray], tuple[float, float]]
    ) -> dict[str, float]:
        found: dict[str, float] = {"samples": int(self.count[which].sum())}
        columns = (("fitted", self.chi2, ~self.kept), ("kept", self.chi2, self.kept), ("noise", self.noise, True))
        for name, values, of in columns:
            some = which & of & np.isfinite(values)
            found[name], scatter = centre(values[some], self.count[some])
            # Few baselines can scatter little by chance; chi^2 of a datum of noise scatters by its mean.
            least = found[name] / np.sqrt(max(self.count[some].sum(), 1.0))
            found[f"{name}_error"] = float(np.fmax(scatter, least))
        return found

    def ranges(self, most: int) -> Iterator[tuple[float, np.ndarray]]:
        """Mean length [m] and mask of ranges of baseline length with about equal numbers of samples."""
        order = np.argsort(self.length, kind="stable")
        middle = np.cumsum(self.count[order]) - self.count[order] / 2
        number = np.empty(len(order), int)
        number[order] = np.minimum(middle / self.count.sum() * most, most - 1).astype(int)
        for k in np.unique(number):
            which = number == k
            yield float(np.average(self.length[which], weights=self.count[which])), which


def _mean(values, count):
    return float(np.average(values, weights=count)) if values.size else float("nan")


def _with_error(values, count):
    """Weighted mean, and its error from the scatter; NaN where there are too few."""
    mean, n = _mean(values, count), len(values)
    if n < 2:
        return mean, float("nan")
    scatter = float(np.sqrt((count**2 * (values - mean) ** 2).sum()) / count.sum())
    return mean, scatter * float(np.sqrt(n / (n - 1)))


def _median_with_error(values):
    """Median, and its error from the median absolute deviation; NaN where there are too few."""
    if not values.size:
        return float("nan"), float("nan")
    median = float(np.median(values))
    if values.size < 3:
        return median, float("nan")
    deviation = 1.4826 * float(np.median(np.abs(values - median)))
    return median, 1.25 * deviation / float(np.sqrt(values.size))


def merge(summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What several output channels together show, from the `summary` of each: means counted by their samples."""
    if len(summaries) <= 1:
        return dict(summaries[0]) if summaries else {}
    antennas: dict[int, list[dict]] = {}
    windows: dict[tuple, list[dict]] = {}
    for one in summaries:
        for entry in one["antennas"]:
            antennas.setdefault(entry["antenna"], []).append(entry)
        for entry in one["windows"]:
            windows.setdefault(tuple(entry["frequencies_hz"]), []).append(entry)
    lengths = [
        [one["lengths"][k] for one in summaries if k < len(one["lengths"])]
        for k in range(max(len(one["lengths"]) for one in summaries))
    ]
    return {
        "all": _merged([one["all"] for one in summaries]),
        "lengths": [_merged(entries) for entries in lengths],
        "antennas": [{**_merged(entries), "antenna": number} for number, entries in sorted(antennas.items())],
        "windows": [{**_merged(entries), "frequencies_hz": list(band)} for band, entries in windows.items()],
        "wild": _merged_wild([one["wild"] for one in summaries]),
    }


def _merged(entries):
    """Means of numbers counted by samples. Errors are not independent, since channels share baselines: their mean."""
    count = np.array([entry["samples"] for entry in entries], float)
    found = {"samples": int(count.sum())}
    for key in entries[0]:
        values = entries[0][key]
        if key == "samples" or not isinstance(values, int | float):
            continue
        numbers = np.array([entry[key] for entry in entries], float)
        known = np.isfinite(numbers)
        found[key] = _mean(numbers[known], count[known])
    return found


def _merged_wild(parts):
    worst = sorted((one for part in parts for one in part["worst"]), key=lambda one: -one["deviation"])
    antennas: dict[int, int] = {}
    for part in parts:
        for number, count in part["antennas"]:
            antennas[number] = antennas.get(number, 0) + count
    windows: dict[tuple, int] = {}
    for part in parts:
        for low, high, count in part["windows"]:
            windows[low, high] = windows.get((low, high), 0) + count
    return {
        "count": sum(part["count"] for part in parts),
        "samples": sum(part["samples"] for part in parts),
        "antennas": [[number, count] for number, count in antennas.items()],
        "windows": [[*band, count] for band, count in windows.items()],
        "worst": worst[: FitQualitySettings.worst],
    }

"""Solves for the gains of one Measurement Set against a model of the sky, and corrects its data, in chunks of rows."""

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from radrim.errors import ConfigError, DataError
from radrim.gains.stefcal import Normal, Solution, group_times, normalise, solve
from radrim.gains.table import Gains
from radrim.geometry import C
from radrim.metrics import measured_scatter
from radrim.ms import rows as ms_rows
from radrim.ms.inputs import require_measurement_set
from radrim.ms.opening import open_table
from radrim.ms.subtables import SpectralWindow, require_sound
from radrim.read.pointings import choose_target
from radrim.read.row_selection import check_known, row_condition
from radrim.read.selection import Selection, choose_channels, choose_column, choose_times, choose_windows
from radrim.read.settings import ReadSettings
from radrim.selfcalibration.config import Round, SelfcalConfig, SelfcalSettings, format_interval
from radrim.selfcalibration.kept import KeptRows
from radrim.selfcalibration.models import SourceModel
from radrim.visibilities import Visibilities

log = logging.getLogger("radrim")

MIN_ANTENNAS = {"p": 3, "ap": 4}
OTHERS = ("Q", "U", "V")
"""Stokes parameters that do not contain the total power; gains are not solved from them."""


@dataclass(frozen=True)
class Budget:
    """S/N of the median antenna in one integration, and noise of the data over that of the weights."""

    snr: float
    scatter: float


class Calibrator:
    """One field of one Measurement Set.

    Parameters
    ----------
    selection : Selection
        Gains are solved from its column, field, windows, channels, uv range and times. All channels and baselines of
        its field, windows and times are corrected.
    path : str or Path
    config : SelfcalConfig

    Raises
    ------
    InputError, ConfigError, DataError
        The Measurement Set cannot be read; the selection or the reference antenna does not exist; no data are usable.
    """

    def __init__(self, path: str | Path, selection: Selection, config: SelfcalConfig):
        self.ms, self.selection, self.config = require_measurement_set(path), selection, config
        check_known([self.ms], selection)
        condition = row_condition(self.ms, selection)[0]
        target = choose_target(self.ms, selection.field, condition)
        if len(target.fields) > 1:
            raise ConfigError("radrim selfcal calibrates one field at a time; name one with --field.")
        self.field = self.ms.fields[target.fields[0]]
        self.column = choose_column(self.ms, selection, [])
        self._where = f"FIELD_ID=={target.fields[0]}" + (f" AND {condition}" if condition else "")
        with open_table(self.ms.path) as main:
            span = choose_times(self.ms.path, main, selection)
        if span is not None:
            self._where += f" AND TIME>={span[0]!r} AND TIME<={span[1]!r}"
        self._read_times()
        self.spws = list(dict.fromkeys(window.spw for window in self.windows))
        self.feeds = tuple(sorted({feed for w in self.windows for name in w.correlations for feed in _feeds(name)}))
        self.names = _labels(self.ms.antennas)
        self._reference = self._named_reference(config.refant)
        self.order: np.ndarray | None = None
        self.kept: KeptRows | None = None

    def _read_times(self):
        """Read the windows that have rows, all times with their scans, and the length of an integration."""
        windows = choose_windows(self.ms, self.selection)
        times, scans, lengths = [], [], []
        self.windows = []
        with open_table(self.ms.path) as main:
            chosen = self.selection.spw
            require_sound(main, [one for one in self.ms.faulty if chosen is None or one.spw in chosen], self._where)
            for window in windows:
                rows = main.query(f"{self._where} AND DATA_DESC_ID=={window.data_desc}")
                if rows.nrows():
                    self.windows.append(window)
                    times.append(rows.getcol("TIME"))
                    known = "SCAN_NUMBER" in self.ms.columns
                    scans.append(rows.getcol("SCAN_NUMBER") if known else np.zeros(len(times[-1]), int))
                    lengths.append(rows.getcol("INTERVAL") if "INTERVAL" in self.ms.columns else times[-1] * 0)
                rows.close()
        if not self.windows:
            raise DataError(f"{self.ms.path} has no rows of field {self.field.name} in this selection; choose more.")
        early, late = ReadSettings.times
        self.times, first = np.unique(np.concatenate(times), return_index=True)
        usable = (self.times >= early) & (self.times <= late)
        if not usable.any():
            raise DataError(f"{self.ms.path}: TIME is NaN or beyond any calendar; repair it (seconds, MJD).")
        self.times, first = self.times[usable], first[usable]
        self.scans = np.concatenate(scans)[first]
        self.integration = float(np.median(np.concatenate(lengths)))
        if not self.integration > 0:
            self.integration = self._step() or 1.0
        if len(np.unique(self.scans)) == 1:  # as in all data from UVFITS files
            pause = max(SelfcalSettings.pause, 5 * max(self.integration, self._step()))
            self.scans = np.cumsum(np.diff(self.times, prepend=self.times[0]) > pause)

    def _step(self):
        """Median time between integrations [s]."""
        return float(np.median(np.diff(self.times))) if len(self.times) > 1 else 0.0

    def _named_reference(self, wanted):
        """Number of the requested reference antenna, or None."""
        names = self.names
        if wanted is None:
            return None
        found = [k for k, name in enumerate(names) if name.lower() == wanted.lower()]
        found += [int(wanted)] if wanted.isdigit() and int(wanted) < len(names) else []
        if not found:
            listed = ", ".join(names[:40]) + (", ..." if len(names) > 40 else "")
            raise ConfigError(f"--refant {wanted} is not in {self.ms.path}; its antennas are {listed}.")
        return found[0]

    def check_interval(self, length: float | None) -> None:
        """Raise ConfigError for a solution interval that is shorter than an integration, other than None and 0."""
        if length and length < 0.9 * self.integration:
            raise ConfigError(
                f"A solution interval of {length:g} s is shorter than an integration of {self.ms.path} "
                f"({self.integration:.4g} s); write int for one solution in each integration, or a longer interval."
            )

    def survey(self, model: SourceModel) -> tuple[Budget, SourceModel]:
        """Measure the signal-to-noise ratio of the data for a model, and scale a model without a flux to the data.

        The first call also chooses the reference antenna of all rounds: the one with most signal among those in nearly
        all integrations.

        Raises
        ------
        DataError
            No usable data, or fewer than three antennas with data.
        """
        slots = group_times(self.times, self.scans, math.inf, self.integration)
        scatters: list[float] = []
        normal = self._sums(self.windows, model, slots, scatters).joined(1)
        total = Normal(*(part.sum((0, 1)) for part in vars(normal).values()))
        self.check_antennas(total.count > 0)
        self.with_data = [self.names[k] for k in np.flatnonzero(total.count.sum(1))]
        scatter = float(np.nanmedian(scatters)) if np.isfinite(scatters).any() else 1.0
        power = np.maximum(total.z - 2 * scatter**2 * total.count, 0)
        # The power of the data is known only if it exceeds the noise.
        known = power.sum() > 0.05 * total.z.sum()
        flux = math.sqrt(power.sum() / total.y.sum()) if known and total.y.any() else 1.0
        model = model.scaled(flux)
        signal = (np.minimum(total.y, power) if known else total.y).sum(-1)
        seen = signal > 0
        ways = 1 if self.config.gain_type == "T" else len(self.feeds)
        ways *= 1 if self.config.combine_spw else len(self.spws)
        snr = math.sqrt(np.median(signal[seen]) / len(self.times) / ways) / scatter if seen.any() else 0.0
        if self.order is None:
            self.order = self._prefer(signal, normal.count.any((1, 3)))
        return Budget(snr, scatter), model

    def check_antennas(self, baselines: np.ndarray) -> None:
        """Raise DataError if (antenna, antenna) bool, which pairs have data, are too few antennas."""
        antennas = int(baselines.any(1).sum())
        if antennas == 0:
            raise DataError(
                f"{self.ms.path}: all samples of field {self.field.name} in this selection are flagged or have no "
                "weight; there is nothing to calibrate."
            )
        kind = "ap" if all(one.kind == "ap" for one in self.config.rounds) else "p"
        if antennas < MIN_ANTENNAS[kind]:
            raise DataError(
                f"{self.ms.path} has unflagged data of {antennas} antennas; phases need at least 3, amplitudes 4."
            )

    def _prefer(self, signal, present):
        """Antennas in the order of preference as reference; `present` is (scan, antenna)."""
        often = present.sum(0) >= 0.95 * present.sum(0).max()
        order = np.argsort(-(signal + often * signal.max()), kind="stable")
        if self._reference is not None:
            order = np.concatenate([[self._reference], order[order != self._reference]])
        return order

    @property
    def refant(self) -> str:
        """Name of the preferred reference antenna, after `survey`."""
        return "" if self.order is None else self.names[self.order[0]]

    def _reference_of(self, flag):
        """Name of the antenna whose phase is 0: the first in order of preference with a solution."""
        solved = ~flag.all((0, 1, 2))
        found = [] if self.order is None else [self.names[k] for k in self.order if solved[k]]
        return found[0] if found else self.refant

    def unity(self) -> Gains:
        """Gains of 1 for all antennas at all times, those of data that are not calibrated."""
        time, interval = self._spans(np.zeros(len(self.times), int))
        shape = 1, len(self.spws), len(self.feeds), len(self.names)
        return Gains(
            time, interval, self.spws, self.feeds, self.names, np.ones(shape, complex), np.zeros(shape, bool),
            np.zeros(shape), self.refant, self.field.name, self.column,
        )  # fmt: skip

    def choose_length(self, kind: str, budget: Budget, growth: float = 1.0) -> float:
        """Shortest interval [s] in which the median antenna has enough signal: 0 for an integration, or infinity.

        With `growth`, so many times as long.
        """
        wanted = SelfcalSettings.phase_snr if kind == "p" else SelfcalSettings.amplitude_snr
        count = math.ceil(growth * math.ceil((wanted / max(budget.snr, 1e-6)) ** 2))
        longest = max(np.ptp(self.times[self.scans == scan]) for scan in np.unique(self.scans)) + self.integration
        if count == 1:
            return 0.0
        length = count * max(self.integration, self._step())
        return math.inf if length >= longest else length

    def solve(
        self, model: SourceModel, one: Round, phase_length: float | None, budget: Budget, every: bool = False
    ) -> tuple[Gains, float, float]:
        """Gains of one round.

        If amplitudes have longer intervals than phases had, the phases of the shorter intervals are solved for first,
        with the same model, and removed.

        Parameters
        ----------
        model : object with `predict`
        one : Round
            With a length.
        phase_length : float or None
            Interval of the last round of phases [s].
        budget : Budget
        every : bool
            Whether rows that are kept out are used, too.

        Returns
        -------
        Gains
        float
            chi2 per degree of freedom, two for each complex sample, with the weights as given.
        float
            Mean amplitude by which the gains were divided.
        """
        if one.length is None:
            raise ValueError("the round has no solution interval")
        both = one.kind == "ap" and phase_length is not None and phase_length < one.length
        length = phase_length if both and phase_length is not None else one.length
        fine = group_times(self.times, self.scans, length, self.integration)
        coarse = None
        if both:  # a fine interval belongs to the coarse one in which it begins
            coarse = group_times(self.times, self.scans, one.length, self.integration)
            coarse = coarse[np.unique(fine, return_index=True)[1]]
        groups = [self.windows]
        if not self.config.combine_spw:  # data descriptions of one window have the same gains
            groups = [[window for window in self.windows if window.spw == spw] for spw in self.spws]
        means, solutions = [], []
        for windows in groups:
            normal = self._sums(windows, model, fine, None, every)
            shape = normal.x.shape[:-2]
            solution = self._solve_group(normal, one, coarse, budget.scatter, self._spared(every))
            gain, flag, snr = (np.broadcast_to(part, (*shape, len(self.ms.antennas))) for part in
                               (solution.gain, solution.flag, solution.snr))  # fmt: skip
            mean = 1.0
            if one.kind == "ap" and self.config.normalise:
                gain, mean = normalise(gain, flag)
            means.append(mean)
            solutions.append((gain, flag, snr, solution.chi2.sum(), solution.samples.sum()))
        copies = len(self.spws) if self.config.combine_spw else 1
        gain, flag, snr = (np.stack([s[k] for s in solutions] * copies, 1) for k in range(3))
        chi2 = sum(s[3] for s in solutions) / max(1, 2 * sum(s[4] for s in solutions))
        time, interval = self._spans(fine)
        labels = self._reference_of(flag), self.field.name, self.column
        gains = Gains(time, interval, self.spws, self.feeds, self.names, gain, flag, snr, *labels)
        if flag.all():
            raise DataError(
                f"No solution of {one.kind}:{format_interval(one.length)} reaches a signal-to-noise ratio of "
                f"{self.config.min_snr:g} (--min-snr), the best has {snr.max():.2g}; solve in longer intervals "
                "(--solint), with --gain-type T or --combine-spw."
            )
        return gains, float(chi2), float(np.mean(means))

    def _spared(self, every):
        """Baselines that an antenna may lack in an interval because they are kept out."""
        return int(self.kept is not None and not every)

    def _solve_group(
        self, normal: Normal, one: Round, coarse: np.ndarray | None, scatter: float, spared: int
    ) -> Solution:
        """Solve for the gains, given the sums (interval, feed, antenna, antenna) of one group of windows."""
        if self.config.gain_type == "T":
            normal = normal.joined(1)
        least = self.config.min_baselines
        how: dict[str, Any] = {"min_snr": self.config.min_snr, "scatter": scatter, "order": self.order}
        few = {kind: max(2, MIN_ANTENNAS[kind] - 1 - spared) if least is None else least for kind in MIN_ANTENNAS}
        if coarse is None:
            return solve(normal, one.kind == "p", few[one.kind], **how)
        phases = solve(normal, True, few["p"], **how)
        left = normal.corrected(np.where(phases.flag, 0, phases.gain)).merged(coarse, coarse.max() + 1)
        slow = solve(left, False, few["ap"], **how)
        flag = phases.flag | slow.flag[coarse]
        gain = np.where(flag, 1, phases.gain * slow.gain[coarse])
        return replace(slow, gain=gain, flag=flag, snr=np.where(slow.flag[coarse], slow.snr[coarse], phases.snr))

    def _spans(self, slots):
        """Middle and length of the intervals [s]."""
        first = np.unique(slots, return_index=True)[1]
        last = np.append(first[1:], len(slots)) - 1
        begin, end = self.times[first] - self.integration / 2, self.times[last] + self.integration / 2
        # Integrations of averaged VLBI data can overlap, but `apply` needs intervals that do not.
        between = (self.times[last[:-1]] + self.times[first[1:]]) / 2
        begin[1:], end[:-1] = np.maximum(begin[1:], between), np.minimum(end[:-1], between)
        return (begin + end) / 2, end - begin

    def chunks(self, windows: list[SpectralWindow] | None = None) -> Iterator[tuple[int, SpectralWindow, ms_rows.Rows]]:
        """(place of its gains, data description, chunk) of all rows of the selection."""
        with open_table(self.ms.path) as main:
            chosen = self.selection.spw
            require_sound(main, [one for one in self.ms.faulty if chosen is None or one.spw in chosen], self._where)
            for window in self.windows:
                if windows is not None and window not in windows:
                    continue
                with main.query(f"{self._where} AND DATA_DESC_ID=={window.data_desc}") as rows:
                    for chunk in ms_rows.chunks(self.ms, rows, self.column, window):
                        yield self.spws.index(window.spw), window, chunk

    def usable(self, chunk: ms_rows.Rows) -> np.ndarray:
        """Rows (row,) bool with coordinates, of two antennas, at usable times."""
        usable = np.isfinite(chunk.uvw).all(1) & chunk.uvw.any(1) & (chunk.antenna[:, 0] != chunk.antenna[:, 1])
        return usable & np.isin(chunk.time, self.times)

    def _sums(self, windows, model, slots, scatters, every=False):
        """`Normal` of (interval, feed) over the selected samples; a list `scatters` receives the scatter of chunks."""
        normal = Normal.empty((slots.max() + 1, len(self.feeds)), len(self.ms.antennas))
        for _, window, chunk in self.chunks(windows):
            usable = self.usable(chunk)
            if self.kept is not None and not every:
                usable[usable] = ~self.kept.hidden(chunk.time[usable], chunk.antenna[usable])
            self._add(normal, window, chunk, np.flatnonzero(usable), model, slots, scatters)
        return normal

    def _add(self, normal, window, chunk, usable, model, slots, scatters):
        if not len(usable):
            return
        uvw = chunk.uvw[usable]
        predicted = model.predict(uvw, window.freq)
        slot = slots[np.searchsorted(self.times, chunk.time[usable])]
        for feed, data, weight in self.parallel(window, chunk, usable):
            normal.add((slot, np.full(len(slot), feed)), chunk.antenna[usable], data, predicted, weight)
            if scatters is not None and weight.any():
                block = Visibilities(uvw, window.freq, data, weight, chunk.time[usable], chunk.antenna[usable])
                scatters.append(measured_scatter([block]))

    def parallel(
        self, window: SpectralWindow, chunk: ms_rows.Rows, rows: np.ndarray
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Number of the feed, data and weight (row, chan) of each parallel hand; weight 0 where not selected."""
        first, last = choose_channels(self.ms, window, self.selection)
        low, high = self.selection.uv_range
        length = np.hypot(chunk.uvw[rows, 0], chunk.uvw[rows, 1])[:, None] * (window.freq / C)
        chosen = (length >= low) & (length <= high)
        chosen[:, :first] = chosen[:, last:] = False
        for index, name in enumerate(window.correlations):
            feed, other = _feeds(name)
            if feed != other or name in OTHERS:
                continue
            data, weight = chunk.data[rows, :, index], chunk.weight[rows, :, index]
            weight = np.abs(weight) if self.selection.abs_weights else weight
            good = chosen & ~chunk.flag[rows, :, index] & np.isfinite(data) & (weight > 0) & np.isfinite(weight)
            yield self.feeds.index(feed), data, np.where(good, weight, 0)

    def apply(self, gains: Gains, path: str | Path, hide: bool = False) -> int:
        """Write the corrected data, their flags and weights into a copy of the Measurement Set (CORRECTED_DATA).

        The weights become w |g_p g_q|^2, because correction divides noise and signal by |g_p g_q|. Data without a
        solution are flagged, or kept unchanged if the configuration says so.

        Parameters
        ----------
        gains : Gains
            From `solve`.
        path : str or Path
            A copy, with CORRECTED_DATA (`radrim.ms.rows.copy`).
        hide : bool
            Whether rows that are kept out are flagged.

        Returns
        -------
        int
            Number of unflagged samples without a solution.
        """
        keep = self.config.unsolved == "keep" or self.config.in_place
        lost = 0
        with open_table(self.ms.path) as source, ms_rows.open_for_writing(path) as target:
            for window in self.windows:
                number = self.spws.index(window.spw)
                query = f"{self._where} AND DATA_DESC_ID=={window.data_desc}"
                feeds = np.array([[self.feeds.index(f) for f in _feeds(name)] for name in window.correlations]).T
                with source.query(query) as rows, target.query(query) as into:
                    for chunk in ms_rows.chunks(self.ms, rows, self.column, window):
                        start, count = chunk.start, len(chunk.time)
                        pair, bad = gains.pairs(number, chunk.time, chunk.antenna, feeds)
                        into.putcol(
                            ms_rows.CORRECTED, (chunk.data / pair[:, None, :]).astype(np.complex64), start, count
                        )
                        lost += int(np.count_nonzero(bad[:, None, :] & ~chunk.flag))
                        flag = chunk.flag if keep else chunk.flag | bad[:, None, :]
                        if hide and self.kept is not None:
                            flag = flag | self.kept.hidden(chunk.time, chunk.antenna)[:, None, None]
                        if hide or not self.config.in_place:
                            into.putcol("FLAG", flag, start, count)
                        if self.config.in_place:
                            continue
                        power = (pair.real**2 + pair.imag**2).astype(np.float32)
                        into.putcol("WEIGHT", rows.getcol("WEIGHT", start, count) * power, start, count)
                        if "WEIGHT_SPECTRUM" in self.ms.columns:
                            spectrum = np.broadcast_to(chunk.weight, chunk.data.shape) * power[:, None, :]
                            into.putcol("WEIGHT_SPECTRUM", spectrum.astype(np.float32), start, count)
        return lost


def _labels(names):
    """Names of antennas; names that are empty or occur twice are completed by the antenna number."""
    return [name if name and names.count(name) == 1 else f"{name}#{k}" for k, name in enumerate(names)]


def _feeds(correlation):
    """Feeds of the two antennas: R and L for 'RL'; I and I for a Stokes parameter."""
    return (correlation[0], correlation[1]) if len(correlation) == 2 else ("I", "I")

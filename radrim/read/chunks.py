"""Reads the rows of one spectral window of a Measurement Set in chunks."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from radrim.errors import ConfigError, InputError
from radrim.geometry import C
from radrim.ms.columns import check_finished
from radrim.ms.opening import DAMAGED, explain
from radrim.ms.subtables import SpectralWindow
from radrim.ms.tables import MeasurementSet
from radrim.ms.weights import Part, WeightReader
from radrim.read.continuum import Continuum, line_free
from radrim.read.counts import Counts
from radrim.read.joined import JoinedRows
from radrim.read.selection import Selection
from radrim.read.settings import ReadSettings
from radrim.runtime.progress_bar import ProgressBar
from radrim.stokes import Terms
from radrim.visibilities import ChannelAxis, Visibilities

if TYPE_CHECKING:
    import casacore.tables as casatables


@dataclass(frozen=True)
class Source:
    """One Measurement Set, and how it is read.

    Parameters
    ----------
    ms : MeasurementSet
    main : casacore table
        Its main table.
    column : str
        Column of the visibilities.
    selection : Selection
    counts : Counts
        Numbers of the samples that are read and dropped, updated by the reader.
    notes : list of str
        Receives the automatic choices.
    settings : ReadSettings
    span : (float, float), optional
        First and last time of the selected rows [MJD s].
    centre : (float, float), optional
        Phase centre of the image (ra, dec) [rad], if it is not that of the data.
    axis : ChannelAxis, optional
        Output channels outside which nothing is read.
    """

    ms: MeasurementSet
    main: "casatables.table"
    column: str
    selection: Selection
    counts: Counts
    notes: list[str]
    settings: ReadSettings
    span: tuple[float, float] | None = None
    centre: tuple[float, float] | None = None
    axis: ChannelAxis | None = None


class ChunkReader:
    """Reads one spectral window chunk by chunk into arrays that are allocated once."""

    def __init__(
        self,
        source: Source,
        table: "casatables.table | JoinedRows",
        window: SpectralWindow,
        channels: tuple[int, int],
        recipes: list[Terms],
    ) -> None:
        ms, column, selection = source.ms, source.column, source.selection
        self.settings = source.settings
        self.ms, self.table, self.column, self.window = ms, table, column, window
        self.first, self.last = channels
        self.recipes, self.selection, self.counts = recipes, selection, source.counts
        freq = window.freq[self.first : self.last]
        # Frequencies of lower sidebands fall; the operators need rising ones.
        self.order = np.argsort(freq, kind="stable")
        self.freq = freq[self.order]
        self.channel_width = float(np.median(window.width[self.first : self.last]))
        self.sorted = bool((np.diff(freq) >= 0).all())
        self.imaged = slice(None)
        self.usable: dict[int, int] = {}
        self.continuum = None if selection.contsub is None else self._prepare_continuum(selection.contsub)
        self.weights = WeightReader(ms.path, table, "WEIGHT_SPECTRUM" in ms.columns)
        check_finished(ms.path, table, column)
        if not table.iscelldefined(column, 0):
            raise InputError(
                f"{ms.path}: column {column} is empty (no array in its first row); choose another with --data-column."
            )

    def _prepare_continuum(self, order: int) -> Continuum:
        """The fit of the continuum; the channels that only the fit needs are read, too."""
        first, last, window = self.first, self.last, self.window
        free = line_free(self.ms.path, window.spw, len(window.freq), order, self.selection.contsub_channels)
        fitted = np.flatnonzero(free)
        self.first, self.last = min(first, int(fitted[0])), max(last, int(fitted[-1]) + 1)
        self.imaged = slice(first - self.first, last - self.first)
        around = slice(self.first, self.last)
        return Continuum(window.freq[around], free[around], order, self.settings.continuum)

    def read(self, begin: int, total: int, bar: ProgressBar) -> Visibilities | None:
        """The rows with samples among `total` rows from `begin` on; None if there are none. The bar counts all rows."""
        freq = self.freq
        uvw = np.empty((total, 3))
        time = np.empty(total)
        antenna = np.empty((total, 2), np.int32)
        planes = np.empty((len(self.recipes), total, len(freq)), np.complex64)
        weight = np.empty((total, len(freq)), np.float32)
        step = max(1, self.settings.chunk_bytes // (8 * len(self.window.correlations) * len(self.window.freq)))
        filled = 0
        for start in range(begin, begin + total, step):
            count = min(step, begin + total - start)
            try:
                chunk = self._chunk(start, count)
            except RuntimeError as error:
                raise InputError(
                    explain(self.ms.path, f"cannot be read in rows {start} to {start + count}", error)
                ) from None
            end = filled + len(chunk[0])
            for target, part in zip((uvw, time, antenna, weight, *planes), chunk, strict=True):
                target[filled:end] = part
            filled = end
            bar.advance(count)
        if filled == 0:
            return None
        uvw, time, antenna, weight, data, *rest = (a[:filled] for a in (uvw, time, antenna, weight, *planes))
        stokes, *names = self.selection.stokes.split(",")
        others = dict(zip(names, rest, strict=True))
        return Visibilities(
            uvw, freq, data, weight, time, antenna, stokes=stokes, others=others, channel_width=self.channel_width
        )

    @property
    def notes(self) -> list[str]:
        """What was read in another way than usual."""
        if not self.weights.replaced:
            return []
        what = "is missing or 0 there" if self.weights.spectral else "is 0 throughout"
        return [
            f"WEIGHT is used in {self.weights.replaced} rows of {self.ms.path.name}, spectral window "
            f"{self.window.spw}: WEIGHT_SPECTRUM {what}."
        ]

    def only_hand(self) -> int | None:
        """Index of the one correlation of two that has usable samples; None unless the other has none."""
        alive = [index for index, number in self.usable.items() if number]
        return alive[0] if len(self.usable) == 2 and len(alive) == 1 else None

    def note_of(self, hand: int) -> str:
        """A note on Stokes I from one correlation."""
        other = next(self.window.correlations[index] for index in self.usable if index != hand)
        return (
            f"Stokes I of {self.ms.path.name}, spectral window {self.window.spw}, is taken from "
            f"{self.window.correlations[hand]} alone, as if unpolarised: {other} has no usable samples."
        )

    def count_hands(self) -> None:
        """Add the usable samples of each correlation to the counts."""
        for index, number in self.usable.items():
            name = self.window.correlations[index]
            self.counts.usable_hands[name] = self.counts.usable_hands.get(name, 0) + number

    def _chunk(self, start: int, count: int) -> tuple[np.ndarray, ...]:
        """(uvw, time, antenna, weight, data, ...) of the rows with samples in one chunk."""
        table = self.table
        uvw = np.asarray(table.getcol("UVW", start, count), float)
        correlated = self._slice(self.column, start, count)
        if correlated.dtype.kind not in "cf":
            raise ConfigError(f"--data-column {self.column} of {self.ms.path} holds no visibilities; try DATA.")
        flag = self._slice("FLAG", start, count)
        flag |= table.getcol("FLAG_ROW", start, count)[:, None, None]
        part = Part(start, count, self.first, self.last, len(self.window.correlations))
        natural = self.weights.read(part, correlated, flag)
        planes, weight = self._form_stokes(correlated, flag, natural)
        time = np.asarray(table.getcol("TIME", start, count), float)
        self._drop_unusable(planes, weight, uvw, time)
        if self.continuum is not None:
            before = weight.copy()
            for data in planes:
                weight[:] = before
                lost = self.continuum.subtract(data, weight)
            self.counts.no_continuum += int(np.count_nonzero(lost[:, self.imaged]))
            planes, weight = planes[:, :, self.imaged], weight[:, self.imaged]
        if not self.sorted:
            planes, weight = planes[:, :, self.order], weight[:, self.order]
        self._drop_outside(weight, uvw)
        planes[:, weight == 0] = 0
        self.counts.largest = max(self.counts.largest, _largest(planes))
        keep = weight.any(1)
        antennas = np.stack([table.getcol("ANTENNA1", start, count), table.getcol("ANTENNA2", start, count)], 1)
        self._check_antennas(antennas[keep])
        chunk = (uvw, time, antennas, weight, *planes)
        return chunk if keep.all() else tuple(part[keep] for part in chunk)

    def _check_antennas(self, antennas: np.ndarray) -> None:
        number = len(self.ms.antennas)
        if antennas.size and not (antennas.min() >= 0 and antennas.max() < number):
            raise InputError(
                f"{self.ms.path}: ANTENNA1 and ANTENNA2 are {antennas.min()} to {antennas.max()}, but the table "
                f"ANTENNA has {number} rows. {DAMAGED}"
            )

    def _slice(self, column: str, start: int, count: int) -> np.ndarray:
        """Selected channels of an array column, (row, chan, corr)."""
        pols = len(self.window.correlations)
        if (self.first, self.last) == (0, len(self.window.freq)):
            part = self.table.getcol(column, start, count)
        else:
            part = self.table.getcolslice(column, [self.first, 0], [self.last - 1, pols - 1], [], start, count)
        return self._check_shape(column, np.asarray(part), (self.last - self.first, pols))

    def _check_shape(self, column: str, part: np.ndarray, expected: tuple[int, int]) -> np.ndarray:
        if part.shape[1:] != expected:
            raise InputError(
                f"{self.ms.path}: {column} has cells of shape {part.shape[1:]}, but spectral window {self.window.spw} "
                f"has {len(self.window.freq)} channels and {len(self.window.correlations)} correlations."
            )
        return part

    def _form_stokes(
        self, correlated: np.ndarray, flag: np.ndarray, natural: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The Stokes parameters, (pol, row, chan), and the weight of all, 0 where any term of any is missing.

        The weight is that of the correlation with the lowest weight, min(w) / sum |c|^2. This is 1/sigma^2 for equal
        weights and at most that for unequal ones. For one Stokes parameter it is what WSClean uses, so that both
        programs weight the same data in the same way. Samples are used for all Stokes parameters or for none, so that
        all have the same PSF.
        """
        shape = correlated.shape[:2]
        planes = np.zeros((len(self.recipes), *shape), np.complex64)
        good, partly = np.ones(shape, bool), np.zeros(shape, bool)
        weight = np.full(shape, np.inf, np.float32)
        for plane, terms in enumerate(self.recipes):
            data, whole = planes[plane], np.ones(shape, bool)
            for index, factor in terms:
                whole &= ~flag[:, :, index]
                with np.errstate(invalid="ignore", over="ignore"):  # flagged samples can have any value
                    data += np.complex64(factor) * correlated[:, :, index]
                hand = natural[:, :, index]
                self._count_usable(index, correlated, flag, hand)
                weight = np.minimum(weight, np.abs(hand) if self.selection.abs_weights else hand)
            good &= whole
            partly |= whole
        usable = good & (weight > 0) & np.isfinite(weight)
        negative = good & (weight < 0)
        total, kept, used, below = (int(a[:, self.imaged].sum()) for a in (np.ones_like(good), good, usable, negative))
        self.counts.samples += total
        self.counts.flagged += total - kept
        self.counts.incomplete += int((partly & ~good)[:, self.imaged].sum())
        self.counts.negative += below
        self.counts.zero_weight += kept - used - below
        weight *= np.float32(1 / max(sum(abs(factor) ** 2 for _, factor in terms) for terms in self.recipes))
        weight[~usable] = 0
        return planes, weight

    def _count_usable(self, index: int, correlated: np.ndarray, flag: np.ndarray, weight: np.ndarray) -> None:
        """Count the unflagged finite samples of a correlation with weight."""
        usable = ~flag[:, :, index] & (weight != 0) & np.isfinite(weight) & np.isfinite(correlated[:, :, index])
        self.usable[index] = self.usable.get(index, 0) + int(usable[:, self.imaged].sum())

    def _drop_unusable(self, planes: np.ndarray, weight: np.ndarray, uvw: np.ndarray, time: np.ndarray) -> None:
        """Set the weight of samples without finite data, without UVW or without time to 0."""
        early, late = self.settings.times
        self.counts.bad_time += _drop(weight, ~((time >= early) & (time <= late))[:, None], self.imaged)
        # Rows that are absent from the correlator's output can have zero or NaN coordinates.
        absent = ~np.isfinite(uvw).all(1)[:, None] | (uvw == 0).all(1)[:, None]
        self.counts.bad_uvw += _drop(weight, absent, self.imaged)
        self.counts.nonfinite += _drop(weight, ~np.isfinite(planes).all(0), self.imaged)
        limit = self.settings.amplitudes[1]
        if not _largest(planes) <= limit:
            with np.errstate(invalid="ignore"):
                above = (np.maximum(np.abs(planes.real), np.abs(planes.imag)) > limit).any(0)
            self.counts.too_large += _drop(weight, above, self.imaged)

    def _drop_outside(self, weight: np.ndarray, uvw: np.ndarray) -> None:
        """Set the weight of samples of the imaged channels outside the uv range to 0."""
        low, high = self.selection.uv_range
        if low > 0 or high < np.inf:
            length = np.hypot(uvw[:, :1], uvw[:, 1:2]) * (self.freq / C)
            self.counts.outside_uv += _drop(weight, ~((length >= low) & (length <= high)))
        low, high = self.selection.minuvw_m, self.selection.maxuvw_m
        if low > 0 or high < np.inf:
            length = np.linalg.norm(uvw, axis=1)[:, None]
            self.counts.outside_uv += _drop(weight, ~((length >= low) & (length <= high)))


def _largest(planes: np.ndarray) -> float:
    """Largest real or imaginary part; NaN if one is."""
    return float(max((np.abs(part).max(initial=0) for part in (planes.real, planes.imag)), default=0.0))


def _drop(weight: np.ndarray, bad: np.ndarray, counted: slice = slice(None)) -> int:
    """Set the weight of samples to 0 where `bad`, broadcast, is true.

    Returns the number of these samples that had weight, in the counted channels.
    """
    bad = bad & (weight > 0)
    weight[bad] = 0
    return int(bad[:, counted].sum())

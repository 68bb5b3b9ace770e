"""Reads the visibilities of one or several Stokes parameters from Measurement Sets, in chunks of rows."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from radrim.errors import ConfigError, DataError, InputError
from radrim.geometry import C, format_angle
from radrim.ms.columns import check_finished
from radrim.ms.inputs import open_inputs
from radrim.ms.tables import (
    DAMAGED,
    MeasurementSet,
    SpectralWindow,
    open_table,
)
from radrim.read.continuum import Continuum, line_free
from radrim.read.counts import Counts
from radrim.read.frames import SPECSYS, find_shift
from radrim.read.pointings import Target, bring_to, choose_centre, choose_target
from radrim.read.settings import DEFAULTS, ReadSettings
from radrim.runtime.progress_bar import ProgressBar
from radrim.stokes import Terms, combinations
from radrim.visibilities import Observation, Visibilities

if TYPE_CHECKING:
    import casacore.tables as casatables

log = logging.getLogger("radrim")


_MJD_EPOCH = datetime(1858, 11, 17, tzinfo=UTC)


@dataclass(frozen=True)
class Selection:
    """The data to read; see the options of the same names in `radrim.config.options.ImageConfig`."""

    column: str | None = None
    field: str | None = None
    spw: tuple[int, ...] | None = None
    chan_range: tuple[int, int] | None = None
    uv_range: tuple[float, float] = (0.0, np.inf)
    time_range: tuple[str, str] | None = None
    stokes: str = "I"
    """One or several Stokes parameters or correlations, separated by commas: 'I,Q,U,V'."""
    abs_weights: bool = False
    flag_nonfinite: bool = False
    contsub: int | None = None
    contsub_channels: tuple[int, ...] | None = None
    outframe: str | None = None
    joint: bool = False
    """Whether several pointings may be shifted to one phase centre."""


def read(
    paths: Sequence[str | Path],
    selection: Selection = Selection(),
    keep: Callable[[Visibilities], Visibilities] | None = None,
    block_bytes: int | None = None,
    folder: str | Path | None = None,
    settings: ReadSettings = DEFAULTS,
) -> Observation:
    """Read the selected visibilities of one or several Measurement Sets or UVFITS files.

    Parameters
    ----------
    paths : sequence of str or Path
        Measurement Sets (version 2) and UVFITS files, of the same phase centre unless `selection.joint` is set.
    selection : Selection
    keep : callable, optional
        Called with each block that is read; returns the block to use, such as one that is stored on the disk.
    block_bytes : int, optional
        Largest block [bytes of data and weights]; by default one block for each spectral window.
    folder : Path, optional
        See `radrim.ms.inputs.open_inputs`.
    settings : ReadSettings

    Returns
    -------
    Observation
        With natural weights; flagged samples have weight 0 and data 0, rows without any sample are dropped.

    Raises
    ------
    InputError
        A path is neither a Measurement Set nor a UVFITS file, or a table or column is missing or cannot be read.
    ConfigError
        The selection names something that does not exist.
    DataError
        No sample is left to image, or phase centres differ and `selection.joint` is not set.
    """
    with open_inputs(paths, folder) as sets:
        targets = [choose_target(ms, selection.field) for ms in sets]
        centre = choose_centre(targets, selection.joint, settings)
        keep = keep or (lambda block: block)
        parts = [_read_one(target, centre, selection, keep, block_bytes, settings) for target in targets]
    first = parts[0]
    for path, part in zip(paths[1:], parts[1:], strict=True):
        _same_phase_centre(paths[0], first, path, part)
    counts = {key: sum(part.counts[key] for part in parts) for key in first.counts}
    return Observation(
        blocks=[block for part in parts for block in part.blocks],
        ra=first.ra,
        dec=first.dec,
        stokes=selection.stokes,
        telescope="+".join(dict.fromkeys(part.telescope for part in parts)),
        object=first.object,
        observer=first.observer,
        date_obs=min(part.date_obs for part in parts),
        dish_diameter=min((p.dish_diameter for p in parts if p.dish_diameter > 0), default=float("nan")),
        dishes=sorted({diameter for part in parts for diameter in part.dishes}),
        data_column=first.data_column,
        freq_frame=first.freq_frame,
        channel_width=first.channel_width,
        notes=[note for part in parts for note in part.notes],
        counts=counts,
    )


def _same_phase_centre(path_a: str | Path, a: Observation, path_b: str | Path, b: Observation) -> None:
    dra = (a.ra - b.ra + np.pi) % (2 * np.pi) - np.pi
    apart = np.hypot(dra * np.cos(a.dec), a.dec - b.dec)
    # A hundredth of the resolution is invisible in the image.
    limit = 0.01 / max(a.longest_baseline(), b.longest_baseline())
    if apart > limit:
        raise DataError(
            f"{path_a} and {path_b} have phase centres {format_angle(apart)} apart (limit "
            f"{format_angle(limit)}); shift one to the other first (CASA phaseshift, chgcentre), "
            "image them one by one, or all as a joint mosaic with --pb."
        )


def _read_one(
    target: Target,
    centre: tuple[float, float] | None,
    selection: Selection,
    keep: Callable[[Visibilities], Visibilities],
    block_bytes: int | None,
    settings: ReadSettings,
) -> Observation:
    """Read one Measurement Set, and shift it to the phase centre `centre` unless that is None."""
    ms = target.ms
    notes = list(ms.notes)
    column = choose_column(ms, selection, notes)
    notes += target.notes
    ra, dec = centre or target.positions[0]
    counts = Counts()
    with open_table(ms.tables) as main:
        blocks: list[Visibilities] = []
        used: list[SpectralWindow] = []
        for field, window in product(target.fields, choose_windows(ms, selection)):
            source = _Source(ms, main, column, selection, counts, notes, settings)
            before = len(blocks)
            for block in _read_window(source, window, field, block_bytes):
                position = ms.fields[field].ra, ms.fields[field].dec
                blocks.append(keep(bring_to(block, position, centre) if centre else block))
            if len(blocks) > before:
                used.append(window)
    left = sum(int((block.weight > 0).sum()) for block in blocks)
    counts.check(ms.path, left, selection.flag_nonfinite, settings.max_nonfinite)
    notes += counts.notes(ms.path.name, selection.abs_weights)
    start = min(block.time.min() for block in blocks)
    dishes = ms.dish_diameters[ms.dish_diameters > 0]
    return Observation(
        blocks=blocks,
        ra=ra,
        dec=dec,
        stokes=selection.stokes,
        telescope=ms.telescope,
        object="+".join(target.names),
        observer=ms.observer,
        date_obs=(_MJD_EPOCH + timedelta(seconds=float(start))).strftime("%Y-%m-%dT%H:%M:%S.%f"),
        dish_diameter=float(np.median(dishes)) if dishes.size else float("nan"),
        dishes=_dishes_with_data(ms, blocks),
        data_column=column,
        freq_frame=SPECSYS[selection.outframe] if selection.outframe else used[0].frame,
        channel_width=float(np.median(np.concatenate([w.width for w in used]))) * blocks[0].doppler,
        notes=notes,
        counts=vars(counts),
    )


def _dishes_with_data(ms: MeasurementSet, blocks: list[Visibilities]) -> list[float]:
    """Sorted known diameters of the antennas with data, without repeats [m]."""
    seen = np.zeros(len(ms.dish_diameters), bool)
    for block in blocks:
        seen[block.antenna] = True
    return np.unique(ms.dish_diameters[seen & (ms.dish_diameters > 0)]).tolist()


def choose_column(ms: MeasurementSet, selection: Selection, notes: list[str]) -> str:
    """Name of the column to read; an automatic choice is appended to the notes."""
    available = [name for name in ("CORRECTED_DATA", "DATA") if name in ms.columns]
    column = selection.column or (available[0] if available else None)
    if column is None:
        raise InputError(f"{ms.path} has neither DATA nor CORRECTED_DATA; name the column to image with --data-column.")
    if column not in ms.columns:
        known = [name for name in ms.columns if "DATA" in name and "ID" not in name]
        raise ConfigError(f"{ms.path} has no column {column}; its data columns are {', '.join(known) or 'none'}.")
    if selection.column is None and len(available) == 2:
        notes.append(f"Imaging CORRECTED_DATA of {ms.path.name}; use --data-column DATA for the uncalibrated data.")
    return column


def choose_windows(ms: MeasurementSet, selection: Selection) -> list[SpectralWindow]:
    """The spectral windows to read."""
    if selection.spw is None:
        return ms.windows
    known = sorted({w.spw for w in ms.windows})
    for spw in selection.spw:
        if spw not in known:
            raise ConfigError(f"{ms.path} has no data of spectral window {spw}; it has {', '.join(map(str, known))}.")
    return [w for w in ms.windows if w.spw in selection.spw]


def choose_channels(ms: MeasurementSet, window: SpectralWindow, selection: Selection) -> tuple[int, int]:
    """First channel to read of a spectral window, and the first channel after the last."""
    if selection.chan_range is None:
        return 0, len(window.freq)
    start, end = selection.chan_range
    if end > len(window.freq):
        raise ConfigError(
            f"--chan-range {start} {end} does not exist in {ms.path}: spectral window {window.spw} has "
            f"{len(window.freq)} channels, so END is at most {len(window.freq)}; choose windows with --spw."
        )
    return start, end


@dataclass(frozen=True)
class _Source:
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
    """

    ms: MeasurementSet
    main: "casatables.table"
    column: str
    selection: Selection
    counts: Counts
    notes: list[str]
    settings: ReadSettings


def _read_window(
    source: _Source, window: SpectralWindow, field: int, block_bytes: int | None
) -> Iterator[Visibilities]:
    """All selected rows with data of one spectral window, block by block."""
    ms, main, selection = source.ms, source.main, source.selection
    query = f"DATA_DESC_ID=={window.data_desc} AND FIELD_ID=={field} AND ANTENNA1!=ANTENNA2"
    if selection.time_range is not None:
        start, end = (mjd_seconds(text) for text in selection.time_range)
        query += f" AND TIME>={start!r} AND TIME<={end!r}"
    rows = main.query(query)
    try:
        total = rows.nrows()
        if total == 0:
            return
        first, last = choose_channels(ms, window, selection)
        shift = find_shift(ms, window, ms.fields[field], selection.outframe, source.settings)
        recipes = _recipes(ms, window, selection, source.notes)
        # If all rows are selected, the table itself is read, which avoids the list of row numbers.
        reader = _ChunkReader(source, main if total == main.nrows() else rows, window, (first, last), recipes)
        size = max(1, block_bytes // ((8 * len(recipes) + 4) * (last - first))) if block_bytes else total
        with ProgressBar(f"reading {ms.path.name}, spectral window {window.spw}", total) as bar:
            for start in range(0, total, size):
                block = reader.read(start, min(size, total - start), bar)
                if block is not None:
                    yield from shift.cut(block) if shift else [block]
    finally:
        rows.close()


def _recipes(ms: MeasurementSet, window: SpectralWindow, selection: Selection, notes: list[str]) -> list[Terms]:
    """Indices and coefficients of the correlations that make each Stokes parameter."""
    wanted = selection.stokes.split(",")
    try:
        recipes, one_hand = combinations(wanted, window.correlations)
    except DataError as error:
        others = [w.spw for w in choose_windows(ms, selection) if _has_all(w, wanted)]
        advice = f" Or image the windows that have all, --spw {','.join(map(str, others))}." if others else ""
        raise DataError(f"{ms.path}, spectral window {window.spw}: {error}{advice}") from None
    found = [f"The image of {s} is complex; this is its real part." for s in wanted if s in ("RL", "LR", "XY", "YX")]
    if one_hand:
        hand = window.correlations[recipes[0][0][0]]
        found.append(f"Stokes I of {ms.path.name} is taken from {hand} alone, as if unpolarised.")
    notes += [note for note in found if note not in notes]
    return recipes


def _has_all(window: SpectralWindow, wanted: Sequence[str]) -> bool:
    try:
        return not combinations(wanted, window.correlations)[1]
    except DataError:
        return False


def mjd_seconds(text: str) -> float:
    """A time in the format of --time-range as Modified Julian Date, UTC [s]."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"--time-range '{text}' is not a time; write UTC such as 2016-05-01T10:00:00.") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - _MJD_EPOCH).total_seconds()


class _ChunkReader:
    """Reads one spectral window chunk by chunk into arrays that are allocated once."""

    def __init__(
        self,
        source: _Source,
        table: "casatables.table",
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
        self.sorted = bool((np.diff(freq) >= 0).all())
        self.imaged = slice(None)
        self.continuum = None if selection.contsub is None else self._prepare_continuum(selection.contsub)
        self.weights = "WEIGHT_SPECTRUM" if "WEIGHT_SPECTRUM" in ms.columns else "WEIGHT"
        if self.weights == "WEIGHT_SPECTRUM" and not table.iscelldefined("WEIGHT_SPECTRUM", 0):
            self.weights = "WEIGHT"
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
                reason = str(error).strip().splitlines()[0]
                raise InputError(
                    f"{self.ms.path}: rows {start} to {start + count} cannot be read: {reason}. {DAMAGED}"
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
        return Visibilities(uvw, freq, data, weight, time, antenna, stokes=stokes, others=others)

    def _chunk(self, start: int, count: int) -> tuple[np.ndarray, ...]:
        """(uvw, time, antenna, weight, data, ...) of the rows with samples in one chunk."""
        table = self.table
        uvw = np.asarray(table.getcol("UVW", start, count), float)
        correlated = self._slice(self.column, start, count)
        if correlated.dtype.kind not in "cf":
            raise ConfigError(f"--data-column {self.column} of {self.ms.path} holds no visibilities; try DATA.")
        flag = self._slice("FLAG", start, count)
        if self.weights == "WEIGHT_SPECTRUM":
            natural = self._slice("WEIGHT_SPECTRUM", start, count)
        else:
            natural = np.asarray(table.getcol("WEIGHT", start, count))[:, None, :]
            self._check_shape("WEIGHT", natural, (1, flag.shape[2]))
        flag |= table.getcol("FLAG_ROW", start, count)[:, None, None]
        planes, weight = self._form_stokes(correlated, flag, natural)
        self._drop_unusable(planes, weight, uvw)
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
        keep = weight.any(1)
        antennas = np.stack([table.getcol("ANTENNA1", start, count), table.getcol("ANTENNA2", start, count)], 1)
        chunk = (uvw, np.asarray(table.getcol("TIME", start, count)), antennas, weight, *planes)
        return chunk if keep.all() else tuple(part[keep] for part in chunk)

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

    def _drop_unusable(self, planes: np.ndarray, weight: np.ndarray, uvw: np.ndarray) -> None:
        """Set the weight of samples without finite data or without UVW to 0."""
        # Rows that are absent from the correlator's output can have zero or NaN coordinates.
        absent = ~np.isfinite(uvw).all(1)[:, None] | (uvw == 0).all(1)[:, None]
        self.counts.bad_uvw += _drop(weight, absent, self.imaged)
        self.counts.nonfinite += _drop(weight, ~np.isfinite(planes).all(0), self.imaged)

    def _drop_outside(self, weight: np.ndarray, uvw: np.ndarray) -> None:
        """Set the weight of samples of the imaged channels outside the uv range to 0."""
        low, high = self.selection.uv_range
        if low > 0 or high < np.inf:
            length = np.hypot(uvw[:, :1], uvw[:, 1:2]) * (self.freq / C)
            self.counts.outside_uv += _drop(weight, ~((length >= low) & (length <= high)))


def _drop(weight: np.ndarray, bad: np.ndarray, counted: slice = slice(None)) -> int:
    """Set the weight of samples to 0 where `bad`, broadcast, is true.

    Returns the number of these samples that had weight, in the counted channels.
    """
    bad = bad & (weight > 0)
    weight[bad] = 0
    return int(bad[:, counted].sum())

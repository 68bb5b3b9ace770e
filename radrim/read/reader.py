"""Reads the visibilities of one or several Stokes parameters from Measurement Sets, in chunks of rows."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from itertools import product, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from radrim.earth import mean_position
from radrim.errors import DataError, NothingLeftError
from radrim.geometry import format_angle
from radrim.ms.inputs import open_inputs
from radrim.ms.opening import open_table
from radrim.ms.subtables import SpectralWindow, require_sound
from radrim.ms.tables import MeasurementSet
from radrim.read.chunks import ChunkReader, Source
from radrim.read.counts import Counts
from radrim.read.feeds import turned
from radrim.read.frames import SPECSYS, FrameShift, find_shift
from radrim.read.joined import group_windows, has_all, join_rows, joined_window
from radrim.read.phase_centre import distance
from radrim.read.pointings import (
    Target,
    bring_to,
    choose_centre,
    choose_target,
    mean_direction,
    named_few,
    pointings_of,
)
from radrim.read.row_index import RowIndex
from radrim.read.row_selection import check_known, row_condition
from radrim.read.selection import (
    EVERYTHING,
    MJD_EPOCH,
    Selection,
    choose_channels,
    choose_column,
    choose_times,
    choose_windows,
)
from radrim.read.settings import DEFAULTS, ReadSettings
from radrim.read.spectral_axis import choose_axis, choose_rest_frequency, describe_axis
from radrim.read.together import check_columns, without_repeats
from radrim.runtime.progress_bar import ProgressBar
from radrim.stokes import Terms, combinations
from radrim.visibilities import ChannelAxis, Observation, Visibilities

if TYPE_CHECKING:
    import casacore.tables as casatables


@dataclass(frozen=True)
class Wanted:
    """What the image is to be, if the user says so: phase centre (ra, dec) [rad], and output channels."""

    centre: tuple[float, float] | None
    axis: ChannelAxis | None


def read(
    paths: Sequence[str | Path],
    selection: Selection = EVERYTHING,
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
        No sample of any file is left to image, or phase centres differ and `selection.joint` is not set.
    """
    with open_inputs(paths, folder) as named:
        check_columns(named, selection)
        sets, repeats = without_repeats(named, selection, settings)
        check_known(sets, selection)
        targets = [choose_target(ms, selection.field, row_condition(ms, selection)[0]) for ms in sets]
        centre = choose_centre(targets, selection.joint, settings, selection.phase_centre)
        rest, remark = choose_rest_frequency(targets, selection)
        axis = choose_axis(targets, selection, centre, rest, settings)
        keep = keep or (lambda block: block)
        found, skipped = _read_each(targets, Wanted(centre, axis), selection, keep, block_bytes, settings)
    parts = list(found.values())
    (first_path, first), *others = found.items()
    if not selection.joint:
        for path, part in others:
            _same_phase_centre(first_path, first, path, part)
    remarks = [remark] if remark and (rest > 0 or selection.channels_out > 1) else []
    if axis:
        remarks.append(describe_axis(axis, rest, selection.veltype, first.freq_frame))
    counts = {key: sum(part.counts[key] for part in parts) for key in first.counts}
    return Observation(
        blocks=[block for part in parts for block in part.blocks],
        ra=first.ra,
        dec=first.dec,
        pointing=list(mean_direction(pointings_of(targets))) if selection.phase_centre else [],
        stokes=selection.stokes,
        telescope="+".join(dict.fromkeys(part.telescope for part in parts)),
        object=first.object,
        observer=first.observer,
        date_obs=min(part.date_obs for part in parts),
        position=first.position,
        dish_diameter=min((p.dish_diameter for p in parts if p.dish_diameter > 0), default=float("nan")),
        dishes=sorted({diameter for part in parts for diameter in part.dishes}),
        antennas=_antenna_names([part.antennas for part in parts]),
        data_column=first.data_column,
        freq_frame=first.freq_frame,
        channel_width=first.channel_width,
        rest_frequency=rest,
        velocities=selection.veltype,
        axis=[axis.first, axis.width, axis.count] if axis else [],
        remarks=remarks,
        notes=[*repeats, *skipped, *(note for part in parts for note in part.notes)],
        counts=counts,
    )


def _read_each(
    targets: list[Target],
    wanted: Wanted,
    selection: Selection,
    keep: Callable[[Visibilities], Visibilities],
    block_bytes: int | None,
    settings: ReadSettings,
) -> tuple[dict[Path, Observation], list[str]]:
    """Read Measurement Sets one by one; those without samples in the selection are skipped, with a note on each.

    Raises
    ------
    NothingLeftError
        None has samples.
    """
    found: dict[Path, Observation] = {}
    failures = []
    for target in targets:
        try:
            found[target.ms.path] = _read_one(target, wanted, selection, keep, block_bytes, settings)
        except NothingLeftError as error:
            failures.append(error)
    if not found:
        raise failures[0]
    return found, [f"Skipped {error}" for error in failures]


def _same_phase_centre(path_a: str | Path, a: Observation, path_b: str | Path, b: Observation) -> None:
    apart = distance(a.pointing_position, b.pointing_position)
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
    wanted: Wanted,
    selection: Selection,
    keep: Callable[[Visibilities], Visibilities],
    block_bytes: int | None,
    settings: ReadSettings,
) -> Observation:
    """Read one Measurement Set, and shift it to the phase centre that is wanted, if there is one."""
    ms, centre = target.ms, wanted.centre
    notes = list(ms.notes)
    column = choose_column(ms, selection, notes)
    notes += target.notes
    ra, dec = centre or target.positions[0]
    counts = Counts()
    with ExitStack() as stack:
        whole = main = stack.enter_context(open_table(ms.tables))
        if condition := row_condition(ms, selection)[0]:
            main = stack.enter_context(whole.query(condition))
            if not main.nrows():
                raise NothingLeftError(f"{ms.path}: no row is of the scans, antennas, intents and arrays selected.")
        blocks: list[Visibilities] = []
        used: list[SpectralWindow] = []
        faulty = [window for window in ms.faulty if selection.spw is None or window.spw in selection.spw]
        require_sound(main, faulty, f"FIELD_ID IN [{','.join(map(str, target.fields))}]")
        groups = group_windows(choose_windows(ms, selection), selection.stokes.split(","))
        pairs = list(product(target.fields, groups))
        span = choose_times(ms.path, whole, selection)
        index = RowIndex(main, settings.index_rows, span) if len(pairs) > settings.most_queries else None
        for field, group in pairs:
            source = Source(ms, main, column, selection, counts, notes, settings, span, centre, wanted.axis)
            before = len(blocks)
            for block in _read_window(source, group, field, block_bytes, index):
                position = ms.fields[field].ra, ms.fields[field].dec
                blocks.append(keep(bring_to(block, position, centre) if centre else block))
            if len(blocks) > before:
                used += group
    if not blocks and counts.samples == 0 and wanted.axis:
        raise NothingLeftError(f"{ms.path}: no channel lies in the output channels of --start and --width.")
    left = sum(int((block.weight > 0).sum()) for block in blocks)
    counts.check(ms.path, left, selection.flag_nonfinite, settings)
    notes += counts.notes(ms.path.name, selection.abs_weights)
    width = float(np.median(np.concatenate([w.width for w in used]))) * blocks[0].doppler
    if not width > 0:
        width = settings.unknown_width
        notes.append(f"The channel width of {ms.path.name} is unknown; headers say {width:g} Hz for a single channel.")
    start = min(block.time.min() for block in blocks)
    dishes = ms.dish_diameters[ms.dish_diameters > 0]
    return Observation(
        blocks=blocks,
        ra=ra,
        dec=dec,
        pointing=list(mean_direction(target.positions)) if selection.phase_centre else [],
        stokes=selection.stokes,
        telescope=ms.telescope,
        object=named_few(target.names, "+"),
        observer=ms.observer,
        date_obs=(MJD_EPOCH + timedelta(seconds=float(start))).strftime("%Y-%m-%dT%H:%M:%S.%f"),
        position=mean_position(ms.positions),
        dish_diameter=float(np.median(dishes)) if dishes.size else float("nan"),
        dishes=_dishes_with_data(ms, blocks),
        antennas=list(ms.antennas),
        data_column=column,
        freq_frame=SPECSYS[selection.outframe] if selection.outframe else used[0].frame,
        channel_width=width,
        notes=notes,
        counts=counts.numbers,
    )


def _antenna_names(lists: list[list[str]]) -> list[str]:
    """Names by the numbers of antennas; where Measurement Sets differ, all names of a number."""
    return ["/".join(dict.fromkeys(name for name in names if name)) for names in zip_longest(*lists, fillvalue="")]


def _dishes_with_data(ms: MeasurementSet, blocks: list[Visibilities]) -> list[float]:
    """Sorted known diameters of the antennas with data, without repeats [m]."""
    seen = np.zeros(len(ms.dish_diameters), bool)
    for block in blocks:
        seen[block.antenna] = True
    return np.unique(ms.dish_diameters[seen & (ms.dish_diameters > 0)]).tolist()


def _read_window(
    source: Source, group: Sequence[SpectralWindow], field: int, block_bytes: int | None, index: RowIndex | None = None
) -> Iterator[Visibilities]:
    """All selected rows with data of one spectral window, block by block; from `index`, if there is one.

    A group of several data descriptions of one window is read together.
    """
    ms, main, selection = source.ms, source.main, source.selection
    rows, window = _rows_of(source, group, field, index)
    try:
        total = rows.nrows()
        if total == 0:
            return
        position = ms.fields[field].ra, ms.fields[field].dec
        shift = find_shift(ms, window, source.centre or position, selection.outframe, source.settings)
        first, last = _limit_channels(choose_channels(ms, window, selection), source, window, shift, rows)
        if first == last:
            return
        recipes = _recipes(ms, window, selection, source.notes)
        # If all rows are selected, the table itself is read, which avoids the list of row numbers.
        table = main if total == main.nrows() else rows
        size = max(1, block_bytes // ((8 * len(recipes) + 4) * (last - first))) if block_bytes else total
        before, found = Counts(), False
        before.take(source.counts)
        reader = ChunkReader(source, table, window, (first, last), recipes)
        for block in _blocks(reader, total, size):
            found = True
            yield from _within(source.axis, shift.cut(block) if shift else [block])
        hand = None if found or selection.stokes != "I" else reader.only_hand()
        if hand is None:
            reader.count_hands()
        else:
            source.counts.take(before)
            source.notes.append(reader.note_of(hand))
            reader = ChunkReader(source, table, window, (first, last), [[(hand, 1 + 0j)]])
            for block in _blocks(reader, total, size):
                yield from _within(source.axis, shift.cut(block) if shift else [block])
        source.notes.extend(reader.notes)
    finally:
        rows.close()


def _rows_of(
    source: Source, group: Sequence[SpectralWindow], field: int, index: RowIndex | None
) -> tuple[Any, SpectralWindow]:
    """The rows of a group of data descriptions, and the spectral window with the correlations of all."""
    parts = []
    for window in group:
        query = f"DATA_DESC_ID=={window.data_desc} AND FIELD_ID=={field} AND ANTENNA1!=ANTENNA2"
        if source.span is not None:
            query += f" AND TIME>={source.span[0]!r} AND TIME<={source.span[1]!r}"
        parts.append(index.select(window.data_desc, field) if index else source.main.query(query))
    if len(parts) == 1 or not any(part.nrows() for part in parts):
        return parts[0], group[0]
    rows, alone = join_rows(source.ms, group, parts, source.column)
    if alone:
        numbers = " and ".join(str(window.data_desc) for window in group)
        source.notes.append(
            f"{alone} rows of data descriptions {numbers} of {source.ms.path.name} were left out: they have no "
            "counterpart of the same time and baseline in the other."
        )
    return rows, joined_window(group)


def _limit_channels(
    channels: tuple[int, int],
    source: Source,
    window: SpectralWindow,
    shift: FrameShift | None,
    rows: "casatables.table",
) -> tuple[int, int]:
    """First and last channel of those that lie in an output channel at any time; the same number twice for none."""
    first, last = channels
    if source.axis is None:
        return first, last
    factor = np.ones(1)
    if shift is not None:
        times = np.unique(rows.getcol("TIME"))
        early, late = source.settings.times
        usable = times[(times >= early) & (times <= late)]
        factor = shift.factor(usable) if usable.size else factor
    freq = window.freq[first:last]
    seen = np.flatnonzero((freq * factor.max() >= source.axis.low) & (freq * factor.min() <= source.axis.high))
    return (first + int(seen[0]), first + int(seen[-1]) + 1) if seen.size else (first, first)


def _within(axis: ChannelAxis | None, blocks: list[Visibilities]) -> Iterator[Visibilities]:
    """Blocks without the channels that lie outside the output channels."""
    for block in blocks:
        part = block if axis is None else block.select_channels(axis.inside(block.output_freq))
        if part is not None:
            yield part


def _blocks(reader: ChunkReader, total: int, size: int) -> Iterator[Visibilities]:
    """All rows with samples of a reader, `size` rows at a time."""
    with ProgressBar(f"reading {reader.ms.path.name}, spectral window {reader.window.spw}", total) as bar:
        for start in range(0, total, size):
            block = reader.read(start, min(size, total - start), bar)
            if block is not None:
                yield block


def _recipes(ms: MeasurementSet, window: SpectralWindow, selection: Selection, notes: list[str]) -> list[Terms]:
    """Indices and coefficients of the correlations that make each Stokes parameter."""
    wanted = selection.stokes.split(",")
    try:
        recipes, one_hand = combinations(wanted, window.correlations)
    except DataError as error:
        others = [w.spw for w in choose_windows(ms, selection) if has_all(w.correlations, wanted)]
        advice = f" Or image the windows that have all, --spw {','.join(map(str, others))}." if others else ""
        raise DataError(f"{ms.path}, spectral window {window.spw}: {error}{advice}") from None
    found = [f"The image of {s} is complex; this is its real part." for s in wanted if s in ("RL", "LR", "XY", "YX")]
    if one_hand:
        hand = window.correlations[recipes[0][0][0]]
        found.append(f"Stokes I of {ms.path.name} is taken from {hand} alone, as if unpolarised.")
    notes += [note for note in found if note not in notes]
    return turned(recipes, window.correlations, ms, selection, notes)

"""Reads the visibilities of one or several Stokes parameters from Measurement Sets, in chunks of rows."""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from itertools import product, zip_longest
from pathlib import Path

import numpy as np

from radrim.errors import DataError
from radrim.geometry import format_angle
from radrim.ms.inputs import open_inputs
from radrim.ms.tables import MeasurementSet, SpectralWindow, open_table
from radrim.read.chunks import ChunkReader, Source
from radrim.read.counts import Counts
from radrim.read.feeds import turned
from radrim.read.frames import SPECSYS, find_shift
from radrim.read.pointings import Target, bring_to, choose_centre, choose_target
from radrim.read.selection import (
    EVERYTHING,
    MJD_EPOCH,
    Selection,
    choose_channels,
    choose_column,
    choose_windows,
    mjd_seconds,
)
from radrim.read.settings import DEFAULTS, ReadSettings
from radrim.runtime.progress_bar import ProgressBar
from radrim.stokes import Terms, combinations
from radrim.visibilities import Observation, Visibilities


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
        antennas=_antenna_names([part.antennas for part in parts]),
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
            source = Source(ms, main, column, selection, counts, notes, settings)
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
        date_obs=(MJD_EPOCH + timedelta(seconds=float(start))).strftime("%Y-%m-%dT%H:%M:%S.%f"),
        dish_diameter=float(np.median(dishes)) if dishes.size else float("nan"),
        dishes=_dishes_with_data(ms, blocks),
        antennas=list(ms.antennas),
        data_column=column,
        freq_frame=SPECSYS[selection.outframe] if selection.outframe else used[0].frame,
        channel_width=float(np.median(np.concatenate([w.width for w in used]))) * blocks[0].doppler,
        notes=notes,
        counts=vars(counts),
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


def _read_window(source: Source, window: SpectralWindow, field: int, block_bytes: int | None) -> Iterator[Visibilities]:
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
        reader = ChunkReader(source, main if total == main.nrows() else rows, window, (first, last), recipes)
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
    return turned(recipes, window.correlations, ms, selection, notes)


def _has_all(window: SpectralWindow, wanted: Sequence[str]) -> bool:
    try:
        return not combinations(wanted, window.correlations)[1]
    except DataError:
        return False

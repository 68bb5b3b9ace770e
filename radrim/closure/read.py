"""Step 1 for `--data closure`: reads the visibilities of each hand, averages them, and forms closure quantities.

The receivers of the two hands of polarisation have different gains. The sum of both hands, Stokes I, therefore does not
close, and closure quantities are formed for each hand separately. Both hands measure the same Stokes I if the source is
unpolarised in them. For RR and LL this means no circular polarisation, which holds for nearly all sources.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from radrim.closure.quantities import ClosureData, ClosureSettings, closures_of
from radrim.earth import ROTATION_RATE
from radrim.errors import DataError
from radrim.geometry import C, format_angle
from radrim.read.averaging import average, choose_interval, in_one_direction
from radrim.read.reader import Selection, read
from radrim.visibilities import Observation, Visibilities

HANDS = (("RR", "LL"), ("XX", "YY"))


@dataclass(frozen=True)
class AveragingSettings:
    """How far visibilities are averaged before closure quantities are formed, and how uncertain they are."""

    systematic: float = 0.01
    """Systematic error of a visibility [its amplitude]: errors that do not close, such as leakage and bandpasses."""

    smearing: float = 0.15
    """Largest change of phase within an average at the edge of the field [turns]: it loses 4 % of the flux there."""


def read_hands(
    paths: Sequence[str | Path],
    selection: Selection,
    keep: Callable[[Visibilities], Visibilities] | None = None,
    block_bytes: int | None = None,
    folder: str | Path | None = None,
) -> Observation:
    """Read as `radrim.read.reader.read`, with separate blocks for each hand and rows averaged in time.

    Parameters
    ----------
    paths, selection, keep, block_bytes, folder
        As in `read`. Stokes I is read as RR and LL, or XX and YY, if the data have both and they differ.

    Returns
    -------
    Observation

    Raises
    ------
    InputError, ConfigError, DataError
        As `read`.
    """
    parts = _read_each(paths, selection, block_bytes, folder)
    first = parts[0]
    blocks = [in_one_direction(block) for part in parts for block in part.blocks]
    field, longest = field_of(blocks)
    limit = AveragingSettings.smearing / (ROTATION_RATE * longest * field / 2)
    interval, kept = choose_interval(blocks, ClosureSettings.colocated, limit)
    notes = list(dict.fromkeys(note for part in parts for note in part.notes))
    remark = (
        f"Closure quantities of {' and '.join(part.stokes for part in parts)}, "
        + (f"averaged over at most {interval:g} s, which keeps {100 * min(kept, 1):.1f} % of the power."
           if interval else "not averaged in time.")
    )  # fmt: skip
    keep = keep or (lambda block: block)
    # Hands differ only in their gains: both measure the requested Stokes parameter.
    averaged = [keep(replace(average(block, interval), stokes=selection.stokes)) for block in blocks]
    counts = {key: sum(part.counts[key] for part in parts) for key in first.counts}
    return replace(first, blocks=averaged, notes=notes, remarks=[remark], counts=counts, stokes=selection.stokes)


def _read_each(paths, selection, block_bytes, folder):
    """Observations of each hand, or of `selection.stokes` if the data have no hands."""
    for hands in HANDS if selection.stokes == "I" else ():
        found = []
        for hand in hands:
            try:
                found.append(read(paths, replace(selection, stokes=hand), block_bytes=block_bytes, folder=folder))
            except DataError:  # not correlated, or all flagged
                continue
        if len(found) == 2 and _same(*found):
            break  # both hands hold Stokes I, as in files of the Event Horizon Telescope
        if found:
            return found
    return [read(paths, selection, block_bytes=block_bytes, folder=folder)]


def _same(a, b):
    """Whether two hands hold the same numbers, and are not independent measurements."""
    if len(a.blocks) != len(b.blocks):
        return False
    return all(np.array_equal(p.data, q.data) for p, q in zip(a.blocks, b.blocks, strict=True))


def field_of(blocks: Sequence[Visibilities]) -> tuple[float, float]:
    """Width of the field that closure quantities can constrain [rad], and the longest baseline [wavelengths].

    The width is 1 / the length of the shortest baseline, without baselines between neighbouring stations.
    """
    lengths = np.concatenate([b.uv_length[(b.weight > 0).any(1)] * (b.freq.mean() / C) for b in blocks])
    longest = float(lengths.max())
    return 1 / float(lengths[lengths > ClosureSettings.colocated * longest].min()), longest


@dataclass
class ClosureInput:
    """Input of images of closure quantities.

    Parameters
    ----------
    data : ClosureData
    places : list of (row, chan)
        Rows and channels of the samples of `data` in each block, two integer arrays (sample,).
    field : float
        Width of the part of the sky that can have emission [rad].
    """

    data: ClosureData
    places: list
    field: float


def prepare(blocks: Sequence[Visibilities]) -> ClosureInput:
    """Closure quantities of the unflagged samples of blocks.

    Parameters
    ----------
    blocks : list of Visibilities
        From `read_hands`, with natural weights. Gains differ between channels and blocks.

    Raises
    ------
    DataError
        Fewer than three antennas were ever measured together.
    """
    columns: list[list] = [[], [], [], [], []]
    places, number = [], 0
    for block in blocks:
        row, chan = np.nonzero(block.weight > 0)
        times, moment = np.unique(block.time, return_inverse=True)
        vis = block.data[row, chan].astype(complex)
        noise = block.weight[row, chan].astype(float) ** -0.5
        sigma = np.hypot(noise, AveragingSettings.systematic * np.abs(vis))
        parts = (block.uvw[row] * (block.freq[chan] / C)[:, None], vis, sigma,
                 block.antenna[row], number + moment[row] * len(block.freq) + chan)  # fmt: skip
        number += len(times) * len(block.freq)
        places.append((row, chan))
        for column, part in zip(columns, parts, strict=True):
            column.append(part)
    data = closures_of(*(np.concatenate(column) for column in columns))
    return ClosureInput(data, places, field_of(blocks)[0])


def choose_field(observation: Observation) -> tuple[float, str]:
    """Width of the image of closure quantities [rad], and the reason for it."""
    field, _ = field_of(observation.blocks)
    why = f"{format_angle(field, 3)}, the largest scale that baselines between distant stations resolve"
    return field, why


def size_in_pixels(field: float, scale: float) -> int:
    """Pixels along a side of a field [rad], even and at least 32."""
    return max(32, 2 * math.ceil(field / scale / 2))

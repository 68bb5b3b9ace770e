"""Writes a Measurement Set, version 2, with python-casacore: all required tables, tiled columns, rows in chunks.

The Measurement Set is written under a temporary name and renamed when it is complete.

References
----------
Kemball & Wieringa (2000), MeasurementSet definition version 2.0, casacore note 229.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from radrim.arrays import Layout
from radrim.earth import uvw_tracks
from radrim.ms.creation import COMPLEX, CONSTANT, Description, SkyField, Station, Window, create_main, write_subtables
from radrim.ms.settings import DEFAULTS, StorageSettings
from radrim.runtime.files import new_measurement_set, writing
from radrim.runtime.progress_bar import ProgressBar


@dataclass(frozen=True)
class ObservedWindow:
    """A spectral window: channel frequencies (chan,) and width [Hz], and its correlations, such as ('XX', 'YY')."""

    freq: np.ndarray
    width: float
    correlations: tuple[str, ...]


@dataclass(frozen=True)
class ObservedField:
    """A phase centre [rad, J2000] and the midpoints of its integrations (time,), MJD seconds UTC."""

    name: str
    ra: float
    dec: float
    times: np.ndarray


@dataclass(frozen=True)
class ObservationPlan:
    """An observation: every field in every window with every baseline.

    Parameters
    ----------
    layout : Layout
    fields : list of ObservedField
    windows : list of ObservedWindow
    integration : float
        Length of one integration [s].
    autocorrelations : bool
        Whether each antenna is also correlated with itself.
    """

    layout: Layout
    fields: list[ObservedField]
    windows: list[ObservedWindow]
    integration: float
    autocorrelations: bool = False

    @property
    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Antenna 1 and antenna 2 of each baseline, two (baseline,) arrays."""
        return np.triu_indices(len(self.layout.stations), 0 if self.autocorrelations else 1)

    @property
    def rows(self) -> int:
        """Number of rows of the main table."""
        return sum(len(f.times) for f in self.fields) * len(self.windows) * len(self.pairs[0])


@dataclass(frozen=True)
class Block:
    """Consecutive rows of one field and one window. The baseline changes fastest, then the time.

    Parameters
    ----------
    field, window : int
    times : (time,) float64
        MJD seconds, UTC.
    uvw : (row, 3) float64
        [m].
    antenna1, antenna2 : (row,) int
    """

    field: int
    window: int
    times: np.ndarray
    uvw: np.ndarray
    antenna1: np.ndarray
    antenna2: np.ndarray


Observe = Callable[[Block], dict[str, np.ndarray]]


def write_ms(
    path: str | Path,
    plan: ObservationPlan,
    observe: Observe,
    columns: Sequence[str] = ("DATA",),
    *,
    overwrite: bool = False,
    history: str = "",
    settings: StorageSettings = DEFAULTS,
) -> Path:
    """Write the Measurement Set of `plan`, block by block.

    Parameters
    ----------
    path : str or Path
    plan : ObservationPlan
    observe : callable
        Called with each `Block` in the order of the rows; returns the columns of the block by name: data columns
        (row, chan, corr) complex, FLAG (row, chan, corr) bool, WEIGHT and SIGMA (row, corr), FLAG_ROW (row,),
        WEIGHT_SPECTRUM (row, chan, corr).
    columns : sequence of str
        Columns that `observe` returns beside the required ones.
    overwrite : bool
        Whether a Measurement Set of that name may be replaced.
    history : str
        A line for the HISTORY table.
    settings : StorageSettings

    Returns
    -------
    Path

    Raises
    ------
    OutputError
        The path exists, its folder is missing or cannot be written, or the disk is full. Nothing is left behind.
    """
    path = Path(path)
    smaller = "simulate fewer channels, hours or antennas"
    with new_measurement_set(path, _bytes(plan, columns), overwrite, smaller) as part:
        _write_main(part, plan, observe, columns, settings)
        with writing(path):
            write_subtables(part, _described(plan, history))
    return path


def _bytes(plan: ObservationPlan, columns: Sequence[str]) -> int:
    """Size of the finished Measurement Set [bytes]: samples, rows, and the small tables."""
    samples = sum(len(w.freq) * len(w.correlations) for w in plan.windows) * plan.rows // len(plan.windows)
    per_sample = 1 / 8 + sum(8 if name in COMPLEX else 4 for name in columns)
    return int(samples * per_sample + plan.rows * 100 + 5e6)


def _blocks(plan: ObservationPlan, chunk_samples: int) -> Iterator[Block]:
    first, second = plan.pairs
    for f, field in enumerate(plan.fields):
        for w, window in enumerate(plan.windows):
            samples = len(first) * len(window.freq) * len(window.correlations)
            step = max(1, chunk_samples // samples)
            for start in range(0, len(field.times), step):
                times = field.times[start : start + step]
                uvw = uvw_tracks(plan.layout.positions, field.ra, field.dec, times, (first, second))
                yield Block(f, w, times, uvw.reshape(-1, 3), np.tile(first, len(times)), np.tile(second, len(times)))


def _write_main(
    path: Path, plan: ObservationPlan, observe: Observe, columns: Sequence[str], settings: StorageSettings
) -> None:
    table = create_main(path, [(len(w.freq), len(w.correlations)) for w in plan.windows], columns, settings)
    try:
        with writing(path):
            table.addrows(plan.rows)
        start = 0
        with ProgressBar("simulating", plan.rows) as bar:
            for block in _blocks(plan, settings.chunk_samples):
                values = _bookkeeping(plan, block) | observe(block)
                count = len(block.uvw)
                with writing(path):
                    for name, value in values.items():
                        table.putcol(name, value.astype(np.complex64) if name in COMPLEX else value, start, count)
                start += count
                bar.advance(count)
    finally:
        with writing(path):
            table.close()


def _bookkeeping(plan: ObservationPlan, block: Block) -> dict[str, np.ndarray]:
    """The index columns of a block: times, antennas, field, window and the like."""
    rows = len(block.uvw)
    time = np.repeat(block.times, rows // len(block.times))
    whole = {name: np.zeros(rows, np.int32) for name in CONSTANT[6:]}
    whole |= {"DATA_DESC_ID": np.full(rows, block.window, np.int32), "FIELD_ID": np.full(rows, block.field, np.int32)}
    whole |= {"SCAN_NUMBER": np.full(rows, block.field + 1, np.int32)}
    interval = np.full(rows, float(plan.integration))
    return whole | {
        "TIME": time, "TIME_CENTROID": time, "EXPOSURE": interval, "INTERVAL": interval, "UVW": block.uvw,
        "ANTENNA1": block.antenna1.astype(np.int32), "ANTENNA2": block.antenna2.astype(np.int32),
        "FLAG_ROW": np.zeros(rows, bool),
    }  # fmt: skip


def _described(plan: ObservationPlan, history: str) -> Description:
    layout = plan.layout
    circular = any(name[0] in "RL" for window in plan.windows for name in window.correlations)
    return Description(
        telescope=layout.telescope,
        stations=[
            Station(name, position, float(diameter), feeds=("R", "L") if circular else ("X", "Y"))
            for name, position, diameter in zip(layout.stations, layout.positions, layout.diameters, strict=True)
        ],
        fields=[SkyField(f.name, f.ra, f.dec) for f in plan.fields],
        windows=[Window(w.freq, np.full(len(w.freq), w.width), w.correlations) for w in plan.windows],
        span=(
            min(f.times[0] for f in plan.fields) - plan.integration / 2,
            max(f.times[-1] for f in plan.fields) + plan.integration / 2,
        ),
        observer="simulated",
        project="simulated",
        history=history or "simulated",
        program="radrim simulate",
        field_times=[float(f.times[0]) for f in plan.fields],
    )

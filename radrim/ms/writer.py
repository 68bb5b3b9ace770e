"""Writes a Measurement Set, version 2, with python-casacore: all required tables, tiled columns, rows in chunks.

The Measurement Set is written under a temporary name and renamed when it is complete.

References
----------
Kemball & Wieringa (2000), MeasurementSet definition version 2.0, casacore note 229.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import casacore.tables as ct
import numpy as np

from radrim.arrays import Layout
from radrim.earth import uvw_tracks
from radrim.ms.settings import DEFAULTS, StorageSettings
from radrim.runtime.files import new_measurement_set, writing
from radrim.runtime.progress_bar import ProgressBar
from radrim.stokes import NUMBERS
from radrim.version import __version__

TOPOCENTRIC = 5

COMPLEX = ("DATA", "CORRECTED_DATA", "MODEL_DATA")
_CONSTANT = ("TIME", "TIME_CENTROID", "EXPOSURE", "INTERVAL", "DATA_DESC_ID", "FIELD_ID", "ARRAY_ID", "OBSERVATION_ID",
             "PROCESSOR_ID", "STATE_ID", "SCAN_NUMBER", "FEED1", "FEED2")  # fmt: skip
_PRODUCT = {"I": (0, 0), "Q": (0, 0), "U": (0, 0), "V": (0, 0)}
_RECEPTOR = {"R": 0, "L": 1, "X": 0, "Y": 1}


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
            _write_subtables(part, plan, history)
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
    description, managers = _main_description(plan, columns, settings.tile_samples)
    with writing(path):
        table = ct.default_ms(str(path), description, managers)
        table.addrows(plan.rows)
    try:
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


def _main_description(plan: ObservationPlan, columns: Sequence[str], tile_samples: int) -> tuple[dict, dict]:
    """Table description and data managers: tiled arrays, and incremental storage of values that rarely change."""
    description = ct.required_ms_desc("MAIN")
    for name in columns:
        value, kind = (0j, "complex") if name in COMPLEX else (0.0, "float")
        description.update(ct.maketabdesc(ct.makearrcoldesc(name, value, ndim=2, valuetype=kind)))
    managers = {}

    def tile(name, manager, shape):
        description[name].update(dataManagerType=manager, dataManagerGroup=f"Tiled{name}")
        managers[f"Tiled{name}"] = {"DEFAULTTILESHAPE": np.array(shape, np.int32)}

    correlations = max(len(w.correlations) for w in plan.windows)
    channels = min(max(len(w.freq) for w in plan.windows), 64)
    rows = max(1, tile_samples // (correlations * channels))
    for name in (*columns, "FLAG"):
        tile(name, "TiledShapeStMan", (correlations, channels, rows))
    for name in ("WEIGHT", "SIGMA"):
        tile(name, "TiledShapeStMan", (correlations, tile_samples // correlations))
    tile("UVW", "TiledColumnStMan", (3, tile_samples // 3))
    for name in _CONSTANT:
        description[name].update(dataManagerType="IncrementalStMan", dataManagerGroup="Constant")
    return description, ct.makedminfo(description, managers)


def _bookkeeping(plan: ObservationPlan, block: Block) -> dict[str, np.ndarray]:
    """The index columns of a block: times, antennas, field, window and the like."""
    rows = len(block.uvw)
    time = np.repeat(block.times, rows // len(block.times))
    whole = {name: np.zeros(rows, np.int32) for name in _CONSTANT[6:]}
    whole |= {"DATA_DESC_ID": np.full(rows, block.window, np.int32), "FIELD_ID": np.full(rows, block.field, np.int32)}
    whole |= {"SCAN_NUMBER": np.full(rows, block.field + 1, np.int32)}
    interval = np.full(rows, float(plan.integration))
    return whole | {
        "TIME": time, "TIME_CENTROID": time, "EXPOSURE": interval, "INTERVAL": interval, "UVW": block.uvw,
        "ANTENNA1": block.antenna1.astype(np.int32), "ANTENNA2": block.antenna2.astype(np.int32),
        "FLAG_ROW": np.zeros(rows, bool),
    }  # fmt: skip


def _write_subtables(path: Path, plan: ObservationPlan, history: str) -> None:
    for name, rows in _subtables(plan, history).items():
        table = ct.table(f"{path}::{name}", readonly=False, ack=False)
        try:
            table.addrows(len(rows))
            for k, row in enumerate(rows):
                for column, value in row.items():
                    table.putcell(column, k, value)
        finally:
            table.close()


def _subtables(plan: ObservationPlan, history: str) -> dict[str, list[dict[str, Any]]]:
    """Rows of every subtable, as dictionaries of column and value."""
    start = min(f.times[0] for f in plan.fields) - plan.integration / 2
    end = max(f.times[-1] for f in plan.fields) + plan.integration / 2
    layout, sets = plan.layout, list(dict.fromkeys(w.correlations for w in plan.windows))
    receptors = np.array(["R", "L"] if any(c[0] in "RL" for s in sets for c in s) else ["X", "Y"])
    return {
        "ANTENNA": [
            {"NAME": name, "STATION": name, "TYPE": "GROUND-BASED", "MOUNT": "ALT-AZ", "POSITION": position,
             "OFFSET": np.zeros(3), "DISH_DIAMETER": float(diameter)}
            for name, position, diameter in zip(layout.stations, layout.positions, layout.diameters, strict=True)
        ],
        "DATA_DESCRIPTION": [
            {"SPECTRAL_WINDOW_ID": k, "POLARIZATION_ID": sets.index(w.correlations)} for k, w in enumerate(plan.windows)
        ],
        "FEED": [
            {"ANTENNA_ID": k, "FEED_ID": 0, "SPECTRAL_WINDOW_ID": -1, "TIME": (start + end) / 2,
             "INTERVAL": end - start, "NUM_RECEPTORS": 2, "BEAM_ID": -1, "BEAM_OFFSET": np.zeros((2, 2)),
             "POLARIZATION_TYPE": receptors, "POL_RESPONSE": np.eye(2, dtype=np.complex64), "POSITION": np.zeros(3),
             "RECEPTOR_ANGLE": np.zeros(2)}
            for k in range(len(layout.stations))
        ],
        "FIELD": [
            {"NAME": f.name, "CODE": "", "TIME": float(f.times[0]), "NUM_POLY": 0, "SOURCE_ID": -1}
            | {column: np.array([[f.ra, f.dec]]) for column in ("PHASE_DIR", "DELAY_DIR", "REFERENCE_DIR")}
            for f in plan.fields
        ],
        "HISTORY": [{"TIME": end, "OBSERVATION_ID": 0, "MESSAGE": history or "simulated", "PRIORITY": "INFO",
                     "ORIGIN": f"radrim {__version__}", "APPLICATION": "radrim simulate", "OBJECT_ID": -1}],
        "OBSERVATION": [{"TELESCOPE_NAME": layout.telescope, "TIME_RANGE": np.array([start, end]),
                         "OBSERVER": "simulated", "PROJECT": "simulated", "SCHEDULE_TYPE": "", "RELEASE_DATE": end}],
        "POLARIZATION": [
            {"NUM_CORR": len(s), "CORR_TYPE": np.array([NUMBERS[c] for c in s], np.int32),
             "CORR_PRODUCT": np.array([_PRODUCT.get(c) or [_RECEPTOR[h] for h in c] for c in s], np.int32)}
            for s in sets
        ],
        "PROCESSOR": [{"TYPE": "CORRELATOR", "SUB_TYPE": "", "TYPE_ID": -1, "MODE_ID": -1}],
        "SPECTRAL_WINDOW": [
            {"NAME": f"SPW{k}", "NUM_CHAN": len(w.freq), "CHAN_FREQ": w.freq, "REF_FREQUENCY": float(w.freq[0]),
             "TOTAL_BANDWIDTH": w.width * len(w.freq), "MEAS_FREQ_REF": TOPOCENTRIC, "NET_SIDEBAND": 1,
             "IF_CONV_CHAIN": 0, "FREQ_GROUP": 0, "FREQ_GROUP_NAME": ""}
            | {column: np.full(len(w.freq), w.width) for column in ("CHAN_WIDTH", "EFFECTIVE_BW", "RESOLUTION")}
            for k, w in enumerate(plan.windows)
        ],
        "STATE": [{"SIG": True, "REF": False, "CAL": 0.0, "LOAD": 0.0, "SUB_SCAN": 0, "OBS_MODE": "OBSERVE_TARGET"}],
    }  # fmt: skip

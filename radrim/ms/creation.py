"""Creates a Measurement Set, version 2: the description of its main table, rows in any order, and all subtables.

References
----------
Kemball & Wieringa (2000), MeasurementSet definition version 2.0, casacore note 229.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from radrim.ms.settings import DEFAULTS, StorageSettings
from radrim.runtime.files import writing
from radrim.stokes import NUMBERS
from radrim.version import __version__

if TYPE_CHECKING:
    import casacore.tables as casatables

GEOCENTRIC, TOPOCENTRIC = 4, 5
"""Codes of MEAS_FREQ_REF."""

COMPLEX = ("DATA", "CORRECTED_DATA", "MODEL_DATA")
CONSTANT = ("TIME", "TIME_CENTROID", "EXPOSURE", "INTERVAL", "DATA_DESC_ID", "FIELD_ID", "ARRAY_ID", "OBSERVATION_ID",
            "PROCESSOR_ID", "STATE_ID", "SCAN_NUMBER", "FEED1", "FEED2")  # fmt: skip
"""Columns of the main table whose values rarely change from row to row."""
_DIRECTIONS = ("PHASE_DIR", "DELAY_DIR", "REFERENCE_DIR")
_PRODUCT = {"I": (0, 0), "Q": (0, 0), "U": (0, 0), "V": (0, 0)}
_RECEPTOR = {"R": 0, "L": 1, "X": 0, "Y": 1}


@dataclass(frozen=True)
class Station:
    """An antenna: ITRF position and axis offset (3,) [m], diameter [m], and its feeds with their angles [rad]."""

    name: str
    position: np.ndarray
    diameter: float
    station: str = ""
    mount: str = "ALT-AZ"
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    feeds: tuple[str, str] = ("X", "Y")
    angles: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class SkyField:
    """A name and a phase centre [rad]."""

    name: str
    ra: float
    dec: float


@dataclass(frozen=True)
class Window:
    """A spectral window: frequencies and widths of channels (chan,) [Hz], correlations, code of the frequency frame."""

    freq: np.ndarray
    width: np.ndarray
    correlations: tuple[str, ...]
    frame: int = TOPOCENTRIC
    sideband: int = 1
    name: str = ""


@dataclass(frozen=True)
class Description:
    """What the subtables say. Each window has one row of DATA_DESCRIPTION, of the same number.

    Parameters
    ----------
    telescope, observer, project : str
    stations : list of Station
    fields : list of SkyField
    windows : list of Window
    span : (float, float)
        Start and end of the observation, MJD seconds UTC.
    history, program : str
        A line for the HISTORY table, and the command that wrote it.
    field_times : sequence of float
        Times of the fields' positions, MJD seconds UTC; by default the start.
    direction_frame : str
        Frame of the fields' positions, as casacore names it.
    """

    telescope: str
    stations: Sequence[Station]
    fields: Sequence[SkyField]
    windows: Sequence[Window]
    span: tuple[float, float]
    observer: str = "UNKNOWN"
    project: str = ""
    history: str = ""
    program: str = "radrim convert"
    field_times: Sequence[float] = field(default_factory=list)
    direction_frame: str = "J2000"


class Registry:
    """Antennas, fields and spectral windows of the parts of an observation, each once, by their numbers.

    Attributes
    ----------
    stations, fields, windows : list
    """

    def __init__(self) -> None:
        self.stations: list[Station] = []
        self.fields: list[SkyField] = []
        self.windows: list[Window] = []
        self._keys: list[tuple] = []

    def station(self, station: Station) -> int:
        """Number of an antenna, which is added unless one of its name stands there already."""
        for k, known in enumerate(self.stations):
            if known.name == station.name and np.abs(known.position - station.position).max() < 1:
                return k
        self.stations.append(station)
        return len(self.stations) - 1

    def field(self, field: SkyField) -> int:
        """Number of a field, which is added if it is new."""
        if field not in self.fields:
            self.fields.append(field)
        return self.fields.index(field)

    def window(self, window: Window) -> int:
        """Number of a spectral window, which is added if it is new."""
        key = window.freq.tobytes(), window.width.tobytes(), window.correlations, window.frame
        if key not in self._keys:
            self._keys.append(key)
            self.windows.append(window)
        return self._keys.index(key)


def create_main(
    path: str | Path, shapes: Sequence[tuple[int, int]], columns: Sequence[str], settings: StorageSettings = DEFAULTS
) -> "casatables.table":
    """An empty Measurement Set with tiled data columns; the caller closes it.

    Parameters
    ----------
    path : str or Path
    shapes : sequence of (int, int)
        Number of channels and of correlations of each spectral window.
    columns : sequence of str
        Columns beside the required ones: data, WEIGHT_SPECTRUM.
    settings : StorageSettings
    """
    import casacore.tables as ct

    description = ct.required_ms_desc("MAIN")
    for name in columns:
        value, kind = (0j, "complex") if name in COMPLEX else (0.0, "float")
        description.update(ct.maketabdesc(ct.makearrcoldesc(name, value, ndim=2, valuetype=kind)))
    managers = {}

    def tile(name, manager, shape):
        description[name].update(dataManagerType=manager, dataManagerGroup=f"Tiled{name}")
        managers[f"Tiled{name}"] = {"DEFAULTTILESHAPE": np.array(shape, np.int32)}

    correlations = max(corr for _, corr in shapes)
    channels = min(max(chan for chan, _ in shapes), 64)
    samples = settings.tile_samples
    for name in (*columns, "FLAG"):
        tile(name, "TiledShapeStMan", (correlations, channels, max(1, samples // (correlations * channels))))
    for name in ("WEIGHT", "SIGMA"):
        tile(name, "TiledShapeStMan", (correlations, samples // correlations))
    tile("UVW", "TiledColumnStMan", (3, samples // 3))
    for name in CONSTANT:
        description[name].update(dataManagerType="IncrementalStMan", dataManagerGroup="Constant")
    with writing(path):
        return ct.default_ms(str(path), description, ct.makedminfo(description, managers))


@contextmanager
def appending(
    path: str | Path,
    rows: int,
    shapes: Sequence[tuple[int, int]],
    columns: Sequence[str],
    settings: StorageSettings = DEFAULTS,
) -> Iterator["Appender"]:
    """A new Measurement Set of this many rows, which the block must fill; as `create_main`."""
    table = create_main(path, shapes, columns, settings)
    try:
        # Rows that are added after others were written take over their shapes.
        with writing(path):
            table.addrows(rows)
        yield Appender(table, path)
    finally:
        with writing(path):
            table.close()


class Appender:
    """Fills the rows of the main table of a new Measurement Set one after the other; made by `appending`.

    Attributes
    ----------
    span : (float, float)
        Start of the first and end of the last integration, MJD seconds UTC; (inf, -inf) without rows.
    rows : int
        Number of rows that are filled.
    """

    def __init__(self, table: "casatables.table", path: str | Path) -> None:
        self._table, self._path = table, path
        self.span, self.rows = (np.inf, -np.inf), 0

    def append(self, window: int, values: dict[str, np.ndarray]) -> None:
        """Fill the next rows, which are of one spectral window.

        Parameters
        ----------
        window : int
        values : dict
            TIME, INTERVAL (row,); UVW (row, 3); ANTENNA1, ANTENNA2, FIELD_ID, SCAN_NUMBER (row,); FLAG (row, chan,
            corr); the data columns; WEIGHT (row, corr), or WEIGHT_SPECTRUM (row, chan, corr), of which WEIGHT is then
            the median. TIME_CENTROID and EXPOSURE are TIME and INTERVAL if they are not given.
        """
        count = len(values["TIME"])
        if not count:
            return
        whole: dict[str, np.ndarray] = {name: np.zeros(count, np.int32) for name in CONSTANT[6:]}
        whole["TIME_CENTROID"], whole["EXPOSURE"] = values["TIME"], values["INTERVAL"]
        whole["FLAG_ROW"] = np.all(values["FLAG"], axis=(1, 2))
        whole["DATA_DESC_ID"] = np.full(count, window, np.int32)
        for name, value in values.items():
            whole[name] = value.astype(np.complex64) if name in COMPLEX else value
        if "WEIGHT" not in whole:
            whole["WEIGHT"] = np.median(values["WEIGHT_SPECTRUM"], axis=1).astype(np.float32)
        size = np.abs(whole["WEIGHT"])
        usable = np.isfinite(size) & (size > 0)
        whole["SIGMA"] = np.where(usable, 1 / np.sqrt(np.where(usable, size, 1)), 0).astype(np.float32)
        with writing(self._path):
            for name, value in whole.items():
                self._table.putcol(name, value, self.rows, count)
        self.rows += count
        time, half = values["TIME"], values["INTERVAL"] / 2
        self.span = min(self.span[0], float((time - half).min())), max(self.span[1], float((time + half).max()))

    def keyword(self, name: str, value: object) -> None:
        """Set a keyword of the main table."""
        with writing(self._path):
            self._table.putkeyword(name, value)


def write_subtables(path: str | Path, description: Description) -> None:
    """Fill the subtables of a Measurement Set of `create_main`, which must be closed."""
    import casacore.tables as ct

    for name, rows in _subtables(description).items():
        table = ct.table(f"{path}::{name}", readonly=False, ack=False)
        try:
            table.addrows(len(rows))
            for k, row in enumerate(rows):
                for column, value in row.items():
                    table.putcell(column, k, value)
            if name == "FIELD":
                for column in _DIRECTIONS:
                    info = {"type": "direction", "Ref": description.direction_frame}
                    table.putcolkeyword(column, "MEASINFO", info)
        finally:
            table.close()


def _subtables(about: Description) -> dict[str, list[dict[str, Any]]]:
    """Rows of every subtable, as dictionaries of column and value."""
    start, end = about.span
    sets = list(dict.fromkeys(w.correlations for w in about.windows))
    times = about.field_times or [start] * len(about.fields)
    return {
        "ANTENNA": [
            {"NAME": s.name, "STATION": s.station or s.name, "TYPE": "GROUND-BASED", "MOUNT": s.mount,
             "POSITION": s.position, "OFFSET": np.asarray(s.offset, float), "DISH_DIAMETER": float(s.diameter)}
            for s in about.stations
        ],
        "DATA_DESCRIPTION": [
            {"SPECTRAL_WINDOW_ID": k, "POLARIZATION_ID": sets.index(w.correlations)}
            for k, w in enumerate(about.windows)
        ],
        "FEED": [
            {"ANTENNA_ID": k, "FEED_ID": 0, "SPECTRAL_WINDOW_ID": -1, "TIME": (start + end) / 2,
             "INTERVAL": end - start, "NUM_RECEPTORS": 2, "BEAM_ID": -1, "BEAM_OFFSET": np.zeros((2, 2)),
             "POLARIZATION_TYPE": np.array(s.feeds), "POL_RESPONSE": np.eye(2, dtype=np.complex64),
             "POSITION": np.zeros(3), "RECEPTOR_ANGLE": np.array(s.angles, float)}
            for k, s in enumerate(about.stations)
        ],
        "FIELD": [
            {"NAME": f.name, "CODE": "", "TIME": float(time), "NUM_POLY": 0, "SOURCE_ID": -1}
            | {column: np.array([[f.ra, f.dec]]) for column in _DIRECTIONS}
            for f, time in zip(about.fields, times, strict=True)
        ],
        "HISTORY": [{"TIME": end, "OBSERVATION_ID": 0, "MESSAGE": about.history, "PRIORITY": "INFO",
                     "ORIGIN": f"radrim {__version__}", "APPLICATION": about.program, "OBJECT_ID": -1}],
        "OBSERVATION": [{"TELESCOPE_NAME": about.telescope, "TIME_RANGE": np.array([start, end]),
                         "OBSERVER": about.observer, "PROJECT": about.project, "SCHEDULE_TYPE": "",
                         "RELEASE_DATE": end}],
        "POLARIZATION": [
            {"NUM_CORR": len(s), "CORR_TYPE": np.array([NUMBERS[c] for c in s], np.int32),
             "CORR_PRODUCT": np.array([_PRODUCT.get(c) or [_RECEPTOR[h] for h in c] for c in s], np.int32)}
            for s in sets
        ],
        "PROCESSOR": [{"TYPE": "CORRELATOR", "SUB_TYPE": "", "TYPE_ID": -1, "MODE_ID": -1}],
        "SPECTRAL_WINDOW": [
            {"NAME": w.name or f"SPW{k}", "NUM_CHAN": len(w.freq), "CHAN_FREQ": w.freq,
             "REF_FREQUENCY": float(w.freq[0]), "TOTAL_BANDWIDTH": float(w.width.sum()), "MEAS_FREQ_REF": w.frame,
             "NET_SIDEBAND": w.sideband, "IF_CONV_CHAIN": 0, "FREQ_GROUP": 0, "FREQ_GROUP_NAME": ""}
            | {column: np.asarray(w.width, float) for column in ("CHAN_WIDTH", "EFFECTIVE_BW", "RESOLUTION")}
            for k, w in enumerate(about.windows)
        ],
        "STATE": [{"SIG": True, "REF": False, "CAL": 0.0, "LOAD": 0.0, "SUB_SCAN": 0, "OBS_MODE": "OBSERVE_TARGET"}],
    }  # fmt: skip

"""Reads the subtables of a Measurement Set: spectral windows, fields, antennas and names.

A subtable is where the keyword of the main table says: a selection of rows (reference table) has none in its folder.
Rows that no visibility refers to may be empty.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from radrim.errors import InputError
from radrim.ms.definition import check_columns
from radrim.ms.opening import open_table
from radrim.stokes import MIXED_NAMES, NAMES

if TYPE_CHECKING:
    import casacore.tables as casatables

FREQ_FRAMES = ("SOURCE", "LSRK", "LSRD", "BARYCENT", "GEOCENTR", "TOPOCENT", "GALACTOC", "LOCALGRP", "CMBDIPOL")
"""FITS SPECSYS of the MS's MEAS_FREQ_REF codes 0 to 8 (REST, LSRK, LSRD, BARY, GEO, TOPO, GALACTO, LGROUP, CMB)."""


@dataclass(frozen=True)
class SpectralWindow:
    """One row of DATA_DESCRIPTION: channel frequencies and widths (chan,) [Hz], frequency frame and correlations."""

    data_desc: int
    spw: int
    freq: np.ndarray
    width: np.ndarray
    frame: str
    correlations: list[str]


@dataclass(frozen=True)
class FaultyWindow:
    """One row of DATA_DESCRIPTION that cannot be used, and why, as the beginning of a sentence with what to do."""

    data_desc: int
    spw: int
    fault: str


@dataclass(frozen=True)
class Field:
    """One row of FIELD.

    Name, phase centre [rad] and its frame, whether it is an offset from an ephemeris, and the number of its source in
    the table SOURCE (-1: none).
    """

    name: str
    ra: float
    dec: float
    frame: str
    ephemeris: bool = False
    source: int = -1


@dataclass(frozen=True)
class Antennas:
    """The ANTENNA table: names and mounts, positions (antenna, 3), ITRF [m], and diameters (antenna,) [m]."""

    names: list[str]
    mounts: list[str]
    positions: np.ndarray
    diameters: np.ndarray


_APART = "the subtables do not fit together. Copy or export the Measurement Set again."


class Subtables:
    """The subtables of one Measurement Set.

    Parameters
    ----------
    path : Path
        Folder of the main table.
    keywords : mapping
        Keywords of the main table.
    """

    def __init__(self, path: Path, keywords: Mapping[str, object]):
        self._path = path
        prefix = "Table: "
        self._linked = {
            name: Path(value.removeprefix(prefix))
            for name, value in keywords.items()
            if isinstance(value, str) and value.startswith(prefix)
        }

    def path_of(self, name: str) -> Path:
        """Folder of a subtable: that which the keyword names, or the one in the main table's folder."""
        inside = self._path / name
        linked = self._linked.get(name, inside)
        return linked if linked.exists() or not inside.exists() else inside

    @contextmanager
    def open(self, name: str) -> "Iterator[casatables.table]":
        """A subtable, as `radrim.ms.opening.open_table`, whose columns are of the types that they must be."""
        path = self.path_of(name)
        with open_table(path) as table:
            check_columns(table, name, path)
            yield table

    def windows(self) -> tuple[list[SpectralWindow], list[FaultyWindow]]:
        """The rows of DATA_DESCRIPTION, and those that cannot be used."""
        with self.open("POLARIZATION") as table:
            correlations = [_correlations(table, row) for row in range(table.nrows())]
        with self.open("DATA_DESCRIPTION") as table:
            described = list(zip(table.getcol("SPECTRAL_WINDOW_ID"), table.getcol("POLARIZATION_ID"), strict=True))
        windows, faulty = [], []
        with self.open("SPECTRAL_WINDOW") as table:
            for data_desc, (spw, pol) in enumerate(described):
                fault = self._fault(table, int(spw), correlations[pol] if 0 <= pol < len(correlations) else None, pol)
                if fault:
                    faulty.append(FaultyWindow(data_desc, int(spw), f"{self._path}: {fault}"))
                else:
                    windows.append(_window(table, data_desc, int(spw), correlations[int(pol)]))
        return windows, faulty

    def _fault(self, table: "casatables.table", spw: int, correlations: list[str] | None, pol: int) -> str:
        """Why a window cannot be used; empty if it can."""
        if not 0 <= spw < table.nrows():
            return f"DATA_DESCRIPTION refers to row {spw} of SPECTRAL_WINDOW, which has {table.nrows()} rows: {_APART}"
        if correlations is None:
            return f"spectral window {spw} has the polarisation setup {pol}, which POLARIZATION lacks: {_APART}"
        if not correlations:
            return (
                f"spectral window {spw} has no correlations: row {pol} of POLARIZATION is empty; repair its CORR_TYPE."
            )
        if not table.iscelldefined("CHAN_FREQ", spw) or not np.size(table.getcell("CHAN_FREQ", spw)):
            return f"spectral window {spw} has no channels; repair its CHAN_FREQ."
        freq = np.asarray(table.getcell("CHAN_FREQ", spw), float)
        bad = ~((freq > 0) & np.isfinite(freq))
        if bad.any():
            return f"spectral window {spw} has a channel at {freq[bad][0]:g} Hz; repair its CHAN_FREQ."
        return ""

    def fields(self) -> list[Field]:
        """The rows of FIELD."""
        with self.open("FIELD") as table:
            info = table.getcolkeywords("PHASE_DIR").get("MEASINFO", {})
            fields = []
            for row, name in enumerate(read_texts(table, "NAME")):
                frame = info.get("Ref", "J2000")
                if "VarRefCol" in info:
                    codes = dict(zip(info["TabRefCodes"], info["TabRefTypes"], strict=True))
                    frame = codes.get(table.getcell(info["VarRefCol"], row), "unknown")
                if not _has_cell(table, "PHASE_DIR", row):
                    fields.append(Field(name, float("nan"), float("nan"), "no frame (its PHASE_DIR is empty)"))
                    continue
                # The first row is the position at the reference time; further rows are its polynomial in time.
                ra, dec = np.asarray(table.getcell("PHASE_DIR", row)).reshape(-1, 2)[0]
                follows = "EPHEMERIS_ID" in table.colnames() and int(table.getcell("EPHEMERIS_ID", row)) >= 0
                source = int(table.getcell("SOURCE_ID", row)) if "SOURCE_ID" in table.colnames() else -1
                fields.append(Field(name, float(ra) % (2 * np.pi), float(dec), str(frame), follows, source))
        return fields

    def rest_frequencies(self) -> list[tuple[int, int, list[float]]]:
        """Source, spectral window (-1: all) and rest frequencies [Hz] of each row of SOURCE that has some."""
        if not self.path_of("SOURCE").exists():
            return []
        found = []
        with self.open("SOURCE") as table:
            if not {"SOURCE_ID", "SPECTRAL_WINDOW_ID", "REST_FREQUENCY"} <= set(table.colnames()):
                return []
            for row in range(table.nrows()):
                if not table.iscelldefined("REST_FREQUENCY", row):
                    continue
                values = np.asarray(table.getcell("REST_FREQUENCY", row), float).ravel()
                known = [float(value) for value in values if value > 0 and np.isfinite(value)]
                if known:
                    found.append((int(table.getcell("SOURCE_ID", row)), int(table.getcell("SPECTRAL_WINDOW_ID", row)),
                                  known))  # fmt: skip
        return found

    def states(self) -> list[str]:
        """The intents of each row of STATE, separated by commas; none if there is no such table."""
        if not self.path_of("STATE").exists():
            return []
        with self.open("STATE") as table:
            return read_texts(table, "OBS_MODE")

    def antennas(self) -> Antennas:
        """The ANTENNA table."""
        with self.open("ANTENNA") as table:
            return Antennas(
                read_texts(table, "NAME"),
                read_texts(table, "MOUNT"),
                np.asarray(table.getcol("POSITION"), float).reshape(-1, 3),
                np.asarray(table.getcol("DISH_DIAMETER"), float),
            )

    def observation(self) -> tuple[str, str]:
        """Telescope and observer, 'UNKNOWN' where OBSERVATION does not say."""
        if not self.path_of("OBSERVATION").exists():
            return "UNKNOWN", "UNKNOWN"
        with self.open("OBSERVATION") as table:
            if table.nrows() == 0:
                return "UNKNOWN", "UNKNOWN"
            telescope, observer = (read_text(table, name, 0) for name in ("TELESCOPE_NAME", "OBSERVER"))
            return telescope or "UNKNOWN", observer or "UNKNOWN"


def read_texts(table: "casatables.table", column: str) -> list[str]:
    """A column of texts, in UTF-8 or Latin-1."""
    try:
        return [str(text) for text in table.getcol(column)] if table.nrows() else []
    except UnicodeDecodeError:
        return [read_text(table, column, row) for row in range(table.nrows())]


def read_text(table: "casatables.table", column: str, row: int) -> str:
    """One text of a table, in UTF-8 or Latin-1, which older archives have."""
    try:
        return str(table.getcell(column, row))
    except UnicodeDecodeError:
        pass
    # python-casacore decodes as UTF-8; only its export to a file leaves the bytes as they are.
    with tempfile.TemporaryDirectory(prefix="radrim-") as folder, table.selectrows([row]) as part:
        part.toascii(f"{folder}/text", f"{folder}/header", [column])
        text = Path(f"{folder}/text").read_bytes()
    return text.strip().removeprefix(b'"').removesuffix(b'"').decode("latin-1")


def _correlations(table: "casatables.table", row: int) -> list[str]:
    """Names of the correlations of a row of POLARIZATION; none if it is empty."""
    if not table.iscelldefined("CORR_TYPE", row):
        return []
    return [(NAMES | MIXED_NAMES).get(int(code), f"type {code}") for code in table.getcell("CORR_TYPE", row)]


def _window(table: "casatables.table", data_desc: int, spw: int, correlations: list[str]) -> SpectralWindow:
    freq = np.asarray(table.getcell("CHAN_FREQ", spw), float)
    width = _widths(table, spw, freq)
    code = int(table.getcell("MEAS_FREQ_REF", spw))
    frame = FREQ_FRAMES[code] if 0 <= code < len(FREQ_FRAMES) else "TOPOCENT"
    return SpectralWindow(data_desc, spw, freq, width, frame, correlations)


def _widths(table: "casatables.table", spw: int, freq: np.ndarray) -> np.ndarray:
    """Widths of the channels of a window (chan,) [Hz], from their spacing where CHAN_WIDTH has none; 0 if unknown."""
    known = ("CHAN_WIDTH", "EFFECTIVE_BW", "RESOLUTION")
    cells = [np.abs(np.asarray(table.getcell(name, spw), float)) for name in known if _has_cell(table, name, spw)]
    cells.insert(1, np.abs(np.gradient(freq)) if len(freq) > 1 else np.zeros(1))
    if _has_cell(table, "TOTAL_BANDWIDTH", spw):
        cells.append(np.full(len(freq), abs(float(table.getcell("TOTAL_BANDWIDTH", spw))) / len(freq)))
    width = np.zeros(len(freq))
    for cell in cells:
        if cell.shape in (freq.shape, (1,)):
            width = np.where((width == 0) & (cell > 0) & np.isfinite(cell), cell, width)
    return width


def _has_cell(table: "casatables.table", name: str, row: int) -> bool:
    return name in table.colnames() and table.iscelldefined(name, row)


def require_sound(table: "casatables.table", faulty: list[FaultyWindow], where: str = "") -> None:
    """Raise InputError if rows of a main table belong to a window that cannot be used.

    Parameters
    ----------
    table : casacore table
    faulty : list of FaultyWindow
    where : str
        TaQL condition of the rows that count.
    """
    for window in faulty:
        with table.query(" AND ".join([f"DATA_DESC_ID=={window.data_desc}", *([where] if where else [])])) as rows:
            if rows.nrows():
                raise InputError(window.fault)

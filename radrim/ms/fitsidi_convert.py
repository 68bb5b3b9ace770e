"""Converts the FITS-IDI files of one observation to one Measurement Set, some rows at a time.

The signs are those of CASA's importfitsidi. A visibility of FITS-IDI is the complex conjugate of the Measurement Set's
with the same (u, v, w), times the speed of light. Where the first antenna has the larger place in the antenna table,
the antennas change places: (u, v, w) then change their signs, the visibility is conjugated once more, and RL and LR (XY
and YX) change places.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from radrim.errors import InputError
from radrim.geometry import C
from radrim.ms.creation import Appender, Description, Registry, appending, write_subtables
from radrim.ms.fitsidi import (
    CALIBRATION,
    IDIFile,
    Layout,
    layout_of,
    opened,
    sources_of,
    stations_of,
    windows_of,
)
from radrim.ms.fitsidi_flags import Flag, apply_flags, flags_of
from radrim.ms.settings import DEFAULTS, StorageSettings
from radrim.ms.tables import NOTES
from radrim.runtime.files import new_measurement_set, writing

if TYPE_CHECKING:
    from astropy.io.fits import BinTableHDU

JULIAN = 2400000.5
"""Julian date of MJD 0."""
COLUMNS = ("DATA", "WEIGHT_SPECTRUM")


def convert(
    paths: str | Path | Sequence[str | Path],
    out: str | Path,
    negative: str = "keep",
    overwrite: bool = False,
    settings: StorageSettings = DEFAULTS,
    companions: Sequence[str | Path] = (),
) -> list[str]:
    """Convert FITS-IDI files of one observation to a Measurement Set.

    Parameters
    ----------
    paths : str, Path or sequence of them
    out : str or Path
    negative : {'keep', 'flag', 'abs'}
        What is done with negative weights: keep them for the reader, flag the samples, or take the absolute value.
    overwrite : bool
        Whether a Measurement Set of that name may be replaced.
    settings : StorageSettings
    companions : sequence of str or Path
        Other files of the observation, from which tables are taken that these files lack.

    Returns
    -------
    list of str
        What was done and what was left alone, in sentences; they are also stored in the Measurement Set.

    Raises
    ------
    InputError
        A path is not a FITS-IDI file, or cannot be converted.
    OutputError
        `out` exists or cannot be written; nothing is left behind.
    """
    paths = [paths] if isinstance(paths, str | Path) else list(paths)
    with opened([*paths, *companions]) as found:
        files = found[: len(paths)]
        _check_data(files)
        whole = _Observation(files)
        size = sum(table.size for file in files for table in file.data)
        needed = 2.2 * size + 500 * sum(len(table.data) for file in files for table in file.data)
        with new_measurement_set(out, needed, overwrite, "convert fewer files at a time") as target:
            shapes = [(len(w.freq), len(w.correlations)) for w in whole.windows]
            total = sum(len(table.data) * layout_of(table, file.path).bands for file in files for table in file.data)
            with appending(target, total, shapes, COLUMNS, settings) as rows:
                for number, file in enumerate(files):
                    _convert_file(file, number, whole, rows, negative, settings)
                notes = _notes(files, whole)
                rows.keyword(NOTES, notes)
                span = rows.span
            with writing(out):
                write_subtables(target, whole.described(span))
    return notes


def _check_data(files: list[IDIFile]) -> None:
    for file in files:
        if not any(len(table.data) for table in file.data):
            raise InputError(f"{file.path} is a FITS-IDI file without visibilities: it has no rows in a table UV_DATA.")


class _Observation(Registry):
    """Antennas, sources and spectral windows of all files, and where those of a file are among them."""

    def __init__(self, files: list[IDIFile]) -> None:
        super().__init__()
        self.files = files
        self.station_of: list[dict[int, int]] = []
        self.field_of: list[dict[int, int]] = []
        self.flagged, self.scan = 0, 0
        for file in files:
            self.station_of.append({k: self.station(v) for k, v in stations_of(file).items()})
            self.field_of.append({k: self.field(v) for k, v in sources_of(file).items()})
            for table in file.data:
                for windows in windows_of(file, layout_of(table, file.path)).values():
                    for window in windows:
                        self.window(window)

    def described(self, span: tuple[float, float]) -> Description:
        """What the subtables say."""
        first = self.files[0]
        header = first.data[0].header
        telescope = str(header.get("TELESCOP") or first.table("ARRAY_GEOMETRY").header.get("ARRNAM") or "UNKNOWN")
        names = ", ".join(file.path.name for file in self.files)
        return Description(
            telescope.strip(), self.stations, self.fields, self.windows, span,
            observer=str(header.get("OBSERVER", "")).strip() or "UNKNOWN",
            project=str(header.get("OBSCODE", "")).strip(), history=f"Converted from {names}.",
        )  # fmt: skip


def _convert_file(
    file: IDIFile, number: int, whole: _Observation, rows: Appender, negative: str, settings: StorageSettings
) -> None:
    for table in file.data:
        layout = layout_of(table, file.path)
        windows = {k: [whole.window(w) for w in v] for k, v in windows_of(file, layout).items()}
        flags = flags_of(file, layout)
        step = max(1, settings.part_bytes // max(1, table.header["NAXIS1"]))
        last = -1
        for start in range(0, len(table.data), step):
            part = _Part(file, table, layout, start, min(start + step, len(table.data)))
            fields = part.numbers(("SOURCE_ID", "SOURCE", "ID_NO."), whole.field_of[number], "SOURCE")
            changes = np.diff(fields, prepend=last) != 0
            scan, last = whole.scan + np.cumsum(changes), int(fields[-1])
            whole.scan = int(scan[-1])
            part.write(rows, whole, (fields, scan, whole.station_of[number]), windows, flags, negative)


class _Part:
    """Some rows of a table UV_DATA."""

    def __init__(self, file: IDIFile, table: "BinTableHDU", layout: Layout, start: int, end: int) -> None:
        self.file, self.layout = file, layout
        self.rows, self.names, self.header = table.data[start:end], table.columns.names, table.header
        self.units = {name: str(table.columns[name].unit or "").upper() for name in self.names}

    def column(self, *names: str, default: float | None = None) -> np.ndarray:
        """The first of some columns that exists, (row, ...)."""
        for name in names:
            if name in self.names:
                return np.asarray(self.rows[name])
        if default is not None:
            return np.full(len(self.rows), default)
        raise InputError(f"{self.file.path}: its table UV_DATA has no column {' or '.join(names)}.")

    def numbers(self, names: tuple[str, ...], places: dict[int, int], table: str) -> np.ndarray:
        """Places of the antennas or sources that a column names, (row,) int32; without it, of the only one."""
        if len(places) == 1 and not set(names) & set(self.names):
            return np.full(len(self.rows), next(iter(places.values())), np.int32)
        return self._places(self.column(*names), places, table)

    def _places(self, values: np.ndarray, places: dict[int, int], table: str) -> np.ndarray:
        different, inverse = np.unique(np.rint(values).astype(int), return_inverse=True)
        lost = [str(value) for value in different if value not in places]
        if lost:
            raise InputError(
                f"{self.file.path} has data of number {', '.join(lost)}, which its table {table} does not know. Name "
                "all files of the observation together, or fetch it again."
            )
        return np.array([places[int(value)] for value in different], np.int32)[inverse.reshape(-1)]

    def uvw(self) -> np.ndarray:
        """Baseline coordinates (row, 3) [m], with the signs of the file."""
        values = []
        for axis in ("UU", "VV", "WW"):
            names = [name for name in self.names if name.startswith(axis)]
            if not names:
                raise InputError(f"{self.file.path}: its table UV_DATA has no baseline coordinate {axis}.")
            unit = self.units[names[0]]
            if unit.startswith("M"):
                scale = 1.0
            elif unit.startswith(("LAMBDA", "WAVE")) or "-L" in names[0]:
                scale = C / float(self.header["REF_FREQ"])
            else:
                scale = C
            values.append(np.asarray(self.rows[names[0]], float) * scale)
        return np.stack(values, 1)

    def days(self) -> np.ndarray:
        """Times as MJD, in the time system of the file (row,)."""
        date = self.column("DATE", default=self.file.reference_date + JULIAN) - JULIAN
        return np.asarray(date, float) + self.column("TIME")

    def samples(self) -> tuple[np.ndarray, np.ndarray]:
        """Visibilities, conjugated, and weights (row, band, chan, corr), in the Measurement Set's order of corr."""
        shape, order = self.layout.shape, self.layout.order
        flux = np.asarray(self.rows["FLUX"]).reshape(len(self.rows), *shape)
        others = [k for k in range(len(shape)) if k not in order]
        flux = flux.transpose(0, *(k + 1 for k in others), *(k + 1 for k in order))
        flux = flux.reshape(len(self.rows), *(shape[k] for k in order))[..., self.layout.pick, :]
        data = (flux[..., 0] - 1j * flux[..., 1]).astype(np.complex64)
        if flux.shape[-1] == 3:
            return data, flux[..., 2].astype(np.float32)
        weight = np.ones(data.shape, np.float32)
        if "WEIGHT" in self.names:
            # One weight for all channels.
            per_band = np.asarray(self.rows["WEIGHT"]).reshape(len(self.rows), self.layout.bands, 1, -1)
            weight *= per_band[..., self.layout.pick]
        return data, weight

    def write(
        self,
        rows: Appender,
        whole: _Observation,
        places: tuple[np.ndarray, np.ndarray, dict[int, int]],
        windows: dict[int, list[int]],
        flags: list[Flag],
        negative: str,
    ) -> None:
        """Append these rows to a Measurement Set, band by band."""
        fields, scan, stations = places
        baseline = np.rint(self.column("BASELINE")).astype(int)
        many = baseline > 65536
        numbers = np.where(many, (baseline - 65536) // 2048, baseline // 256), \
            np.where(many, (baseline - 65536) % 2048, baseline % 256)  # fmt: skip
        first, second = (self._places(values, stations, "ARRAY_GEOMETRY") for values in numbers)
        freqid = np.rint(self.column("FREQID", default=next(iter(windows)))).astype(int)
        self._places(freqid, dict.fromkeys(windows, 0), "FREQUENCY")
        days, uvw = self.days(), self.uvw()
        data, weight = self.samples()
        flagged = np.zeros(weight.shape, bool)
        if flags:
            source = np.rint(self.column("SOURCE_ID", "SOURCE", "ID_NO.")).astype(int)
            in_file = np.zeros(weight.shape, bool)
            apply_flags(flags, in_file, days - self.file.reference_date, np.stack(numbers, 1), source, freqid)
            # Flags have the order of the file, these samples that of the Measurement Set.
            flagged |= in_file[..., self.layout.pick]
            whole.flagged += int(flagged.sum())
        interval = np.asarray(self.column("INTTIM", default=1.0), float)
        turned = first > second
        if -1 in self.layout.swap and turned.any():
            weight[turned] *= [[[k >= 0 for k in self.layout.swap]]]
        else:
            for values in (data, weight, flagged):
                values[turned] = values[turned][..., self.layout.swap]
        data[turned] = data[turned].conj()
        uvw[turned] *= -1
        first, second = np.where(turned, second, first), np.where(turned, first, second)
        if negative == "abs":
            weight = np.abs(weight)
        flagged |= ~np.isfinite(weight) | ((weight <= 0) if negative == "flag" else (weight == 0))
        weight[~np.isfinite(weight)] = 0
        time = days * 86400 - self.file.ahead_of_utc
        for chosen, here in windows.items():
            pick = freqid == chosen
            for band, window in enumerate(here):
                scale = np.ones(int(pick.sum()))
                if self.file.uncalibrated:
                    # The noise of correlation coefficients: 1 / sqrt(2 bandwidth time) of two antennas.
                    samples = np.where(first == second, 1, 2) * interval
                    scale = samples[pick] * whole.windows[window].width[0]
                rows.append(
                    window,
                    {
                        "TIME": time[pick], "INTERVAL": interval[pick], "UVW": uvw[pick], "ANTENNA1": first[pick],
                        "ANTENNA2": second[pick], "FIELD_ID": fields[pick],
                        "SCAN_NUMBER": scan[pick].astype(np.int32), "FLAG": flagged[pick, band],
                        "DATA": data[pick, band],
                        "WEIGHT_SPECTRUM": (weight[pick, band] * scale[:, None, None]).astype(np.float32),
                    },
                )  # fmt: skip


def _notes(files: list[IDIFile], whole: _Observation) -> list[str]:
    names = ", ".join(file.path.name for file in files)
    notes = []
    tables = sorted({name for file in files for name in file.tables if name in CALIBRATION})
    if tables or any(file.uncalibrated for file in files):
        left = f"; its tables {', '.join(tables)} were left alone" if tables else ""
        notes.append(
            f"The visibilities of {names} are not calibrated, as correlators deliver them{left}. Calibrate them before "
            "you image them (CASA: importfitsidi, gencal, fringefit; AIPS: FITLD, APCAL, FRING)."
        )
    if whole.flagged:
        notes.append(f"{whole.flagged} samples of {names} were flagged by the table FLAG.")
    return notes

"""Converts a Measurement Set of version 4 to one of version 2, some integrations at a time."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from radrim.errors import InputError
from radrim.ms import creation
from radrim.ms.creation import Appender, Registry, SkyField, Station, Window
from radrim.ms.msv4 import COPY_AGAIN, Array, Part, array_of, parts_of
from radrim.ms.settings import DEFAULTS, StorageSettings
from radrim.ms.tables import NOTES
from radrim.runtime.files import new_measurement_set, writing
from radrim.stokes import NUMBERS

_UNIX = 40587 * 86400.0
"""MJD of the epoch of Unix times [s]."""
_FREQ_FRAMES = ("REST", "LSRK", "LSRD", "BARY", "GEO", "TOPO", "GALACTO", "LGROUP", "CMB")
_SKY_FRAMES = {"fk5": "J2000", "icrs": "ICRS", "j2000": "J2000"}


def convert(
    path: str | Path,
    out: str | Path,
    negative: str = "keep",
    overwrite: bool = False,
    settings: StorageSettings = DEFAULTS,
) -> list[str]:
    """Convert a Measurement Set of version 4, or a processing set, to a Measurement Set of version 2.

    Parameters
    ----------
    path, out : str or Path
    negative : {'keep', 'flag', 'abs'}
        What is done with negative weights: keep them for the reader, flag the samples, or take the absolute value.
    overwrite : bool
        Whether a Measurement Set of that name may be replaced.
    settings : StorageSettings

    Returns
    -------
    list of str
        Notes, in sentences; they are also stored in the Measurement Set.

    Raises
    ------
    InputError
        `path` is not of the schema, or lacks something.
    OutputError
        `out` exists or cannot be written; nothing is left behind.
    """
    path = Path(path)
    with _explained(path):
        parts = parts_of(path)
        registry = Registry()
        windows = [registry.window(_window(part)) for part in parts]
        names = {name for part in parts for name in part.arrays}
        columns = [name for name in ("DATA", "CORRECTED_DATA") if all(name in part.arrays for part in parts)]
        notes = [
            f"{path.name} has {name} in some of its parts only; it was left out."
            for name in sorted(names - set(columns))
        ]
        notes += [note for part in parts for note in _missing(part)]
        if not columns:
            raise InputError(
                f"{path} has visibilities of different kinds in its parts, and none in all; convert them one by one."
            )
        samples = sum(int(np.prod(part.data.shape)) for part in parts)
        rows = sum(_count(part, settings) for part in parts)
        needed = samples * (8 * len(columns) + 5) + 500 * rows
        with new_measurement_set(out, needed, overwrite, "convert fewer of its parts") as target:
            shapes = [(len(w.freq), len(w.correlations)) for w in registry.windows]
            frames: set[str] = set()
            with creation.appending(target, rows, shapes, (*columns, "WEIGHT_SPECTRUM"), settings) as appender:
                for part, window in zip(parts, windows, strict=True):
                    frames.add(_convert_part(part, window, columns, registry, (appender, negative, settings)))
                appender.keyword(NOTES, notes)
            if len(frames) > 1:
                raise InputError(
                    f"{path} has positions of the frames {', '.join(sorted(frames))}; convert its parts one by one."
                )
            about = creation.Description(
                _telescope(parts), registry.stations, registry.fields, registry.windows, appender.span,
                observer=_observer(parts), history=f"Converted from {path.name}.", direction_frame=next(iter(frames)),
            )  # fmt: skip
            with writing(out):
                creation.write_subtables(target, about)
    return notes


def _missing(part: Part) -> list[str]:
    """Notes about chunks of visibilities that are missing: zarr gives zeros for these without a word.

    Flags that are all false, and the like, are never written.
    """
    notes = []
    for name in dict.fromkeys(names["data"] for names in part.arrays.values()):
        count, there = part.main[name].nchunks, part.main[name].nchunks_initialized
        if there < count:
            notes.append(
                f"{count - there} of {count} chunks of {name} of {part.path.name} are not there. Unless nothing was "
                "observed then, the copy is incomplete: copy or export it again."
            )
    return notes


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Suppress zarr's warnings about its formats, and convert the exceptions of damaged stores into InputError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except OSError as error:  # of files that are written, `writing` has made an OutputError
        advice = f"chmod -R u+rX {path}" if isinstance(error, PermissionError) else COPY_AGAIN
        raise InputError(f"{path} cannot be read: {error.strerror or error} ({error.filename}). {advice}") from error
    except (KeyError, ValueError, IndexError, TypeError, AttributeError, RuntimeError, SystemError) as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise InputError(
            f"{path} cannot be read as a Measurement Set of version 4 ({type(error).__name__}: {reason}). {COPY_AGAIN}"
        ) from error


def _window(part: Part) -> Window:
    frequency = part.array("frequency")
    freq = np.asarray(frequency[:], float)
    width = frequency.attrs.get("channel_width", {})
    width = width.get("data", width) if isinstance(width, dict) else width
    if isinstance(width, int | float | list):
        widths = np.abs(np.broadcast_to(np.asarray(width, float), freq.shape)).copy()
    else:
        widths = np.abs(np.gradient(freq)) if len(freq) > 1 else np.ones(1)
    frame = str(frequency.attrs.get("observer", frequency.attrs.get("frame", "TOPO"))).upper()
    correlations = tuple(str(name) for name in part.array("polarization")[:])
    unknown = [name for name in correlations if name not in NUMBERS]
    if unknown:
        raise InputError(f"{part.path} has the polarization {', '.join(unknown)}; read are {', '.join(NUMBERS)}.")
    code = _FREQ_FRAMES.index(frame) if frame in _FREQ_FRAMES else creation.TOPOCENTRIC
    name = str(frequency.attrs.get("spectral_window_name", ""))
    return Window(freq, widths, correlations, code, name=name)


def _stations(part: Part) -> tuple[list[str], list[Station]]:
    """Names or numbers of the antennas, as the baselines refer to them, and the antennas."""
    group = part.antennas
    names = [str(name) for name in array_of(group, part.path, "antenna_name", "name")[:]]
    positions = np.asarray(array_of(group, part.path, "ANTENNA_POSITION", "POSITION")[:], float)

    def value(k: int, default: Any, *arrays: str) -> Any:
        found = next((name for name in arrays if name in group), None)
        return default if found is None else np.asarray(group[found][:])[k]

    stations = [
        Station(
            name,
            positions[k],
            float(value(k, 0.0, "ANTENNA_DISH_DIAMETER", "DISH_DIAMETER")),
            str(value(k, "", "station_name", "station")),
            str(value(k, "ALT-AZ", "mount")).upper(),
            feeds=_two(value(k, ("?", "?"), "polarization_type"), str),
            angles=_two(value(k, (0.0, 0.0), "ANTENNA_RECEPTOR_ANGLE"), float),
        )
        for k, name in enumerate(names)
    ]
    labels = names if "baseline_antenna1_name" in part.main else [str(n) for n in group["antenna_id"][:]]
    return labels, stations


def _two(values: Any, kind: type) -> Any:
    return kind(values[0]), kind(values[-1])


def _fields(part: Part) -> tuple[dict[str, SkyField], str]:
    """The fields by their names, and the frame of their positions."""
    group = part.fields
    if "ephemeris" in str(group.attrs.get("type", "")) or group.attrs.get("is_ephemeris", False):
        raise InputError(
            f"{part.path} follows a body of the solar system, whose ephemeris is not applied yet. Shift its "
            "phases to a fixed position first (CASA: phaseshift, fixplanets)."
        )
    place = array_of(group, part.path, "FIELD_PHASE_CENTER_DIRECTION", "FIELD_PHASE_CENTER")
    names = np.ravel(np.asarray(array_of(group, part.path, "field_name")[...]))
    units, frame = np.ravel(place.attrs.get("units", "rad"))[0], str(place.attrs.get("frame", "fk5")).lower()
    if frame not in _SKY_FRAMES:
        raise InputError(f"{part.path} has positions of the frame {frame}; read are {', '.join(_SKY_FRAMES)}.")
    values = np.asarray(place[...], float).reshape(-1, 2)
    values = np.radians(values) if str(units).startswith("deg") else values
    return {
        str(name): SkyField(str(name), float(ra) % (2 * np.pi), float(dec))
        for name, (ra, dec) in zip(names, values, strict=True)
    }, _SKY_FRAMES[frame]


def _convert_part(
    part: Part,
    window: int,
    columns: Sequence[str],
    registry: Registry,
    output: tuple[Appender, str, StorageSettings],
) -> str:
    """Append the rows of one Measurement Set; the frame of its positions."""
    appender, negative, settings = output
    labels, stations = _stations(part)
    numbers = {label: registry.station(s) for label, s in zip(labels, stations, strict=True)}
    ends = [part.array(f"baseline_antenna{k}_name", f"baseline_antenna{k}_id")[:] for k in (1, 2)]
    pair = [np.array([numbers[str(label)] for label in end], np.int32) for end in ends]
    fields, frame = _fields(part)
    places = {name: registry.field(field) for name, field in fields.items()}
    time = part.array("time")
    if str(time.attrs.get("scale", "utc")).lower() != "utc" or str(time.attrs.get("format", "unix")).lower() != "unix":
        raise InputError(f"{part.path} has times of the scale {time.attrs.get('scale')} and format "
                         f"{time.attrs.get('format')}; read are utc, unix.")  # fmt: skip
    times = np.asarray(time[:], float) + _UNIX
    if "field_name" in part.main:
        field = np.array([places[str(name)] for name in np.ravel(part.main["field_name"][...])], np.int32)
    else:
        field = np.full(1, next(iter(places.values())), np.int32)
    field = np.broadcast_to(field, times.shape)
    scans = _scans(part, len(times))
    interval = time.attrs.get("integration_time", {})
    interval = float(interval["data"]) if isinstance(interval, dict) and "data" in interval else float("nan")
    for some in _steps(part.data, settings):
        _append(part, window, columns, (appender, negative), some, (times, field, scans, pair, interval))
    return frame


def _steps(array: Array, settings: StorageSettings) -> Iterator[slice]:
    """Parts of the first axis of an array that fit into memory."""
    step = max(1, settings.part_bytes // max(1, int(np.prod(array.shape[1:])) * 16))
    if step > array.chunks[0]:
        step -= step % array.chunks[0]  # so that no chunk is decompressed twice
    for start in range(0, array.shape[0], step):
        yield slice(start, min(start + step, array.shape[0]))


def _count(part: Part, settings: StorageSettings) -> int:
    """Number of times and baselines that were observed."""
    uvw = part.main[next(iter(part.arrays.values()))["uvw"]]
    return sum(int(np.isfinite(uvw[some]).all(-1).sum()) for some in _steps(uvw, settings))


def _scans(part: Part, count: int) -> np.ndarray:
    """Scan numbers (time,), from the names of the scans."""
    if "scan_name" not in part.main:
        return np.ones(count, np.int32)
    names = [str(name) for name in np.ravel(part.main["scan_name"][...])]
    known = list(dict.fromkeys(names))
    return np.broadcast_to([int(n) if n.isdigit() else known.index(n) + 1 for n in names], count).astype(np.int32)


def _append(
    part: Part, window: int, columns: Sequence[str], output: tuple[Appender, str], times: slice, rows: Any
) -> None:
    """Append some integrations. Baselines that were not observed then have no (u, v, w), and become no rows."""
    appender, negative = output
    time, field, scans, (one, two), interval = rows
    names = next(iter(part.arrays.values()))
    uvw = np.asarray(part.main[names["uvw"]][times], float)
    shape = uvw.shape[:2]
    keep = np.isfinite(uvw).all(-1)

    def each(values: np.ndarray, axis: int) -> np.ndarray:
        return np.broadcast_to(values[:, None] if axis == 0 else values, shape)[keep]

    weight = np.asarray(part.main[names["weight"]][times], np.float32)
    data = {name: np.asarray(part.main[part.arrays[name]["data"]][times])[keep] for name in columns}
    example = data[columns[0]]
    weight = np.broadcast_to(weight.reshape(*weight.shape, *(1,) * (4 - weight.ndim)), (*shape, *example.shape[1:]))[
        keep
    ]
    flag = np.asarray(part.main[names["flag"]][times]).astype(bool)[keep] | ~np.isfinite(weight)
    weight = np.abs(weight) if negative == "abs" else weight
    if negative == "flag":
        flag |= weight <= 0
    exposure = np.full(shape, interval)
    if "EFFECTIVE_INTEGRATION_TIME" in part.main:
        exposure = np.asarray(part.main["EFFECTIVE_INTEGRATION_TIME"][times], float)
    exposure = exposure[keep]
    length = np.full(len(exposure), interval) if np.isfinite(interval) else exposure
    exposure = np.where(np.isfinite(exposure), exposure, length)
    appender.append(
        window,
        {
            "TIME": each(time[times], 0), "INTERVAL": length, "EXPOSURE": exposure, "UVW": uvw[keep],
            "ANTENNA1": each(one, 1), "ANTENNA2": each(two, 1), "FIELD_ID": each(field[times], 0),
            "SCAN_NUMBER": each(scans[times], 0), "FLAG": flag,
            "WEIGHT_SPECTRUM": np.where(np.isfinite(weight), weight, 0).astype(np.float32), **data,
        },
    )  # fmt: skip


def _telescope(parts: Sequence[Part]) -> str:
    for part in parts:
        name = part.antennas.attrs.get("overall_telescope_name")
        if name:
            return str(name)
        if "telescope_name" in part.antennas:
            return "+".join(dict.fromkeys(str(n) for n in np.ravel(part.antennas["telescope_name"][...])))
    return "UNKNOWN"


def _observer(parts: Sequence[Part]) -> str:
    names = parts[0].main.attrs.get("observation_info", {}).get("observer", [])
    return ", ".join(map(str, np.ravel(names))) or "UNKNOWN"

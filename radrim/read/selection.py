"""The selection of data: columns, spectral windows, channels and times."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from radrim.config.options import ImageConfig
from radrim.errors import ConfigError, InputError
from radrim.ms.subtables import SpectralWindow
from radrim.ms.tables import MeasurementSet

if TYPE_CHECKING:
    import casacore.tables as casatables

MJD_EPOCH = datetime(1858, 11, 17, tzinfo=UTC)


@dataclass(frozen=True)
class Selection:
    """The data to read; see the options of the same names in `radrim.config.options.ImageConfig`."""

    column: str | None = None
    field: str | None = None
    spw: tuple[int, ...] | None = None
    chan_range: tuple[int, int] | None = None
    uv_range: tuple[float, float] = (0.0, np.inf)
    minuvw_m: float = 0.0
    maxuvw_m: float = np.inf
    time_range: tuple[str, str] | None = None
    interval: tuple[int, int] | None = None
    """Numbers of the first integration of each Measurement Set and of the first after the last."""
    scan: str | None = None
    antenna: str | None = None
    intent: str | None = None
    array: str | None = None
    stokes: str = "I"
    """One or several Stokes parameters or correlations, separated by commas: 'I,Q,U,V'."""
    abs_weights: bool = False
    feed_angle: str = "auto"
    flag_nonfinite: bool = False
    contsub: int | None = None
    contsub_channels: tuple[int, ...] | None = None
    outframe: str | None = None
    restfreq: float | None = None
    start: str | None = None
    width: str | None = None
    veltype: str = "radio"
    channels_out: int = 1
    joint: bool = False
    """Whether several pointings may be shifted to one phase centre."""
    phase_centre: str | None = None
    """Direction of the phase centre of the image, see `radrim.config.directions`; None for that of the data."""


EVERYTHING = Selection()


def selected_by(config: ImageConfig) -> Selection:
    """What the options of `config` say about the data to be read."""
    return Selection(
        column=config.data_column,
        uv_range=(config.minuv_l, config.maxuv_l),
        stokes=config.pol,
        joint=config.pb != "none",
        **config.fields_of(Selection) | {"phase_centre": config.wanted_centre},
    )


def choose_column(ms: MeasurementSet, selection: Selection, notes: list[str]) -> str:
    """Name of the column to read; an automatic choice is appended to the notes."""
    single = [name for name in ("FLOAT_DATA",) if name in ms.columns and "DATA" not in ms.columns]
    if single or selection.column == "FLOAT_DATA":
        raise InputError(
            f"{ms.path} holds FLOAT_DATA, the spectra of single dishes, and no visibilities; radrim images "
            "interferometers. Single-dish data are imaged with CASA's tsdimaging."
        )
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
        for faulty in ms.faulty:
            if spw == faulty.spw and spw not in known:
                raise InputError(faulty.fault)
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


def choose_times(path: str | Path, main: "casatables.table", selection: Selection) -> tuple[float, float] | None:
    """First and last time of the selected rows of a Measurement Set [MJD s], or None for all.

    Integrations are counted over the whole Measurement Set, whatever else is selected, as in WSClean.

    Raises
    ------
    ConfigError
        The Measurement Set has fewer integrations, or a time cannot be read.
    """
    if selection.time_range is not None:
        start, end = (mjd_seconds(text) for text in selection.time_range)
        return start, end
    if selection.interval is None:
        return None
    times = np.unique(main.getcol("TIME"))
    first, after = selection.interval
    if after > times.size:
        raise ConfigError(
            f"--interval {first} {after} does not exist in {path}, which has {times.size} integrations: END is at most "
            f"{times.size}. Times are chosen with --time-range."
        )
    return float(times[first]), float(times[after - 1])


def mjd_seconds(text: str) -> float:
    """A time in the format of --time-range as Modified Julian Date, UTC [s]."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"--time-range '{text}' is not a time; write UTC such as 2016-05-01T10:00:00.") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - MJD_EPOCH).total_seconds()

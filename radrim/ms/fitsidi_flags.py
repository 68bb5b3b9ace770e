"""Applies the FLAG table of FITS-IDI files."""

from dataclasses import dataclass

import numpy as np

from radrim.ms.fitsidi import IDIFile, Layout


@dataclass(frozen=True)
class Flag:
    """One row of a FLAG table.

    Parameters
    ----------
    source, freqid : int
        0 or negative for all.
    antennas : (int, int)
        Numbers of two antennas; 0 for all.
    time : (float, float)
        Days after the reference date.
    bands : (band,) bool
    channels : (int, int)
        First and last, counted from 1; 0, 0 for all.
    stokes : (stokes,) bool
        In the order of the file.
    """

    source: int
    freqid: int
    antennas: tuple[int, int]
    time: tuple[float, float]
    bands: np.ndarray
    channels: tuple[int, int]
    stokes: np.ndarray


def flags_of(file: IDIFile, layout: Layout) -> list[Flag]:
    """The rows of the FLAG table of a file, of every severity; none if it has no such table."""
    if "FLAG" not in file.tables:
        return []
    table = file.tables["FLAG"]
    names = set(table.columns.names)

    def value(row, name, default):
        return np.ravel(row[name]) if name in names else np.asarray(default)

    found = []
    for row in table.data:
        ants, span, channels = (value(row, n, d) for n, d in (("ANTS", [0, 0]), ("TIMERANG", [-1e9, 1e9]),
                                                             ("CHANS", [0, 0])))  # fmt: skip
        stokes = value(row, "PFLAGS", [1] * len(layout.pick)).astype(bool)
        found.append(
            Flag(
                int(value(row, "SOURCE_ID", [0])[0]),
                int(value(row, "FREQID", [0])[0]),
                (int(ants[0]), int(ants[1]) if len(ants) > 1 else 0),
                (float(span[0]), float(span[1])) if span[1] > span[0] or span[0] > 0 else (-np.inf, np.inf),
                np.resize(value(row, "BANDS", [1]).astype(bool), layout.bands),
                (int(channels[0]), int(channels[1])),
                np.concatenate([stokes, np.zeros(4, bool)])[: len(layout.pick)],
            )
        )
    return found


def apply_flags(
    flags: list[Flag],
    flagged: np.ndarray,
    time: np.ndarray,
    antenna: np.ndarray,
    source: np.ndarray,
    freqid: np.ndarray,
) -> None:
    """Mark samples as flagged.

    Parameters
    ----------
    flags : list of Flag
    flagged : (row, band, chan, stokes) bool
        Changed in place.
    time : (row,) float64
        Days after the reference date.
    antenna : (row, 2) int
    source, freqid : (row,) int
    """
    for flag in flags:
        rows = (time >= flag.time[0]) & (time <= flag.time[1])
        first, second = flag.antennas
        if first > 0 and second > 0:
            rows &= ((antenna == (first, second)).all(1)) | ((antenna == (second, first)).all(1))
        elif first > 0 or second > 0:
            rows &= (antenna == max(first, second)).any(1)
        if flag.source > 0:
            rows &= source == flag.source
        if flag.freqid > 0:
            rows &= freqid == flag.freqid
        if not rows.any():
            continue
        start, end = flag.channels
        channels = slice(max(start, 1) - 1, end if end > 0 else None)
        bands, stokes = np.flatnonzero(flag.bands), np.flatnonzero(flag.stokes)
        for band in bands:
            part = flagged[:, band, channels]
            part[np.ix_(rows, np.ones(part.shape[1], bool), stokes)] = True

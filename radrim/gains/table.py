"""Gains of a run, in memory as `Gains` and on disk as a FITS file that other programs can read.

The file has two binary tables. GAINS has a row for each interval, spectral window, feed and antenna:

    TIME      double   s        middle of the solution interval, Modified Julian Date in seconds, UTC
    INTERVAL  double   s        length, from the beginning of its first integration to the end of its last
    ANTENNA   short             number in the Measurement Set and in the table ANTENNAS
    FEED      char              R, L, X, Y, or I where the correlations are Stokes parameters
    SPW       short             spectral window
    GAIN      complex           g of V_pq = g_p conj(g_q) M_pq; data are divided by g_p conj(g_q). 1 where flagged
    FLAG      logical           whether there is no solution
    SNR       float             |g| over its error

ANTENNAS has the columns NUMBER and NAME. The header of GAINS has REFANT, FIELD, COLUMN (to which the gains belong) and
ORIGIN.
"""

import io
import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from radrim.errors import InputError
from radrim.runtime.files import atomic_write
from radrim.version import __version__

FORMAT = "radrim gains 1"


@dataclass(frozen=True)
class OutlierSettings:
    """When the mean gain of an antenna counts as an outlier."""

    phase: float = math.radians(30)
    """Largest difference of phase from the median antenna [rad]."""

    amplitude: float = 0.3
    """Largest relative difference of amplitude from the median antenna."""


@dataclass
class Gains:
    """Gains of all antennas.

    Parameters
    ----------
    time, interval : (time,) float64
        Middle and length of the solution intervals [s], MJD, UTC.
    windows : list of int
        Numbers of the spectral windows.
    feeds : tuple of str
        'R', 'L', 'X', 'Y', 'I'.
    antennas : list of str
        Names, in the order of the Measurement Set.
    gain : (time, window, feed, antenna) complex128
        1 where flagged.
    flag : (time, window, feed, antenna) bool
    snr : (time, window, feed, antenna) float64
    refant, field, column : str
        Reference antenna; field and column of the Measurement Set to which the gains belong.
    """

    time: np.ndarray
    interval: np.ndarray
    windows: list[int]
    feeds: tuple[str, ...]
    antennas: list[str]
    gain: np.ndarray
    flag: np.ndarray
    snr: np.ndarray
    refant: str = ""
    field: str = ""
    column: str = "DATA"

    def pairs(
        self, window: int, time: np.ndarray, antenna: np.ndarray, feeds: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """g_p conj(g_q) of rows, 1 where either has no solution, and where that is; both (row, corr).

        Parameters
        ----------
        window : int
            Its place in `windows`.
        time : (row,) float64
            [s]
        antenna : (row, 2) int
        feeds : (2, corr) int
            Feeds of both antennas, by their places in `feeds`.
        """
        slot = np.searchsorted(self.time - self.interval / 2, time, side="right") - 1
        place = [(slot[:, None], window, feeds[end], antenna[:, end][:, None]) for end in (0, 1)]
        bad = self.flag[place[0]] | self.flag[place[1]]
        return np.where(bad, 1, self.gain[place[0]] * self.gain[place[1]].conj()), bad

    @property
    def flagged(self) -> float:
        """Fraction of flagged solutions, over antennas with data."""
        seen = self.snr > 0
        return float((self.flag & seen).sum() / max(1, seen.sum()))


def write_gains(path: str | Path, gains: Gains) -> None:
    """Write gains as FITS; the file appears when it is complete.

    Raises
    ------
    OutputError
        See `radrim.runtime.files.atomic_write`.
    """
    from astropy.io import fits

    t, w, f, a = (index.ravel() for index in np.indices(gains.gain.shape))
    columns = [
        fits.Column("TIME", "D", unit="s", array=gains.time[t]),
        fits.Column("INTERVAL", "D", unit="s", array=gains.interval[t]),
        fits.Column("ANTENNA", "I", array=a),
        fits.Column("FEED", "1A", array=np.array(gains.feeds)[f]),
        fits.Column("SPW", "I", array=np.array(gains.windows)[w]),
        fits.Column("GAIN", "M", array=gains.gain.ravel()),
        fits.Column("FLAG", "L", array=gains.flag.ravel()),
        fits.Column("SNR", "E", array=gains.snr.ravel()),
    ]
    table = fits.BinTableHDU.from_columns(columns, name="GAINS")
    cards = (
        ("FORMAT", FORMAT, "V(p,q) = g(p) conj(g(q)) M(p,q)"), ("REFANT", gains.refant, "antenna of phase 0"),
        ("FIELD", gains.field, ""), ("COLUMN", gains.column, "that the gains belong to"),
        ("ORIGIN", f"radrim {__version__}", ""), ("TIMESYS", "UTC", "TIME is MJD in seconds"),
    )  # fmt: skip
    for keyword, value, comment in cards:
        table.header[keyword] = (value.encode("ascii", "replace").decode()[:60], comment)
    names = [name.encode("ascii", "replace").decode() for name in gains.antennas]
    antennas = fits.BinTableHDU.from_columns(
        [
            fits.Column("NUMBER", "I", array=np.arange(len(names))),
            fits.Column("NAME", f"{max(map(len, names))}A", array=names),
        ],
        name="ANTENNAS",
    )
    content = io.BytesIO()  # astropy cannot write to a file in the mode of atomic_write
    fits.HDUList([fits.PrimaryHDU(), table, antennas]).writeto(content)
    with atomic_write(path) as file:
        file.write(content.getbuffer())


def read_gains(path: str | Path) -> Gains:
    """Read gains from a file of `write_gains`.

    Raises
    ------
    InputError
        The file cannot be read, or has another format.
    """
    from astropy.io import fits

    try:
        with fits.open(path, memmap=False) as hdus:
            header, table = hdus["GAINS"].header, hdus["GAINS"].data
            antennas = [str(name) for name in hdus["ANTENNAS"].data["NAME"]]
            if header.get("FORMAT") != FORMAT:
                raise InputError(f"{path} is of the format '{header.get('FORMAT')}', not '{FORMAT}'.")
            time, windows = np.unique(table["TIME"]), list(dict.fromkeys(int(w) for w in table["SPW"]))
            feeds = tuple(dict.fromkeys(str(feed) for feed in table["FEED"]))
            shape = len(time), len(windows), len(feeds), len(antennas)
            gain, flag, snr = (np.array(table[name]).reshape(shape) for name in ("GAIN", "FLAG", "SNR"))
            interval = np.array(table["INTERVAL"]).reshape(len(time), -1)[:, 0]
            words = (str(header[key]) for key in ("REFANT", "FIELD", "COLUMN"))
            return Gains(time, interval, windows, feeds, antennas, gain, flag.astype(bool), snr.astype(float), *words)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path} holds no gains that radrim wrote ({error}); give a file NAME-gains.fits.") from None


def describe_unsolved(gains: Gains, names: Collection[str]) -> list[str]:
    """The named antennas that have no solution at all."""
    solved = (~gains.flag).sum((0, 1, 2))
    return [name for name, count in zip(gains.antennas, solved, strict=True) if not count and name in names]


def find_outliers(gains: Gains, settings: OutlierSettings = OutlierSettings()) -> list[str]:
    """Antennas whose mean gain is far from that of the median antenna, in sentences; empty if many are far."""
    good = ~gains.flag
    seen = good.any((0, 1, 2))
    count = np.maximum(good.sum((0, 1, 2)), 1)
    unit = np.where(good, gains.gain / np.maximum(np.abs(gains.gain), 1e-300), 0).sum((0, 1, 2)) / count
    size = np.where(good, np.abs(gains.gain), 0).sum((0, 1, 2)) / count
    middle = np.median(unit[seen].real) + 1j * np.median(unit[seen].imag)
    angle = np.angle(unit * np.conj(middle))
    ratio = size / np.median(size[seen]) - 1
    sentences = []
    for values, limit, what in ((angle, settings.phase, "phase"), (ratio, settings.amplitude, "amplitude")):
        far = np.flatnonzero(seen & (np.abs(values) > limit))
        if 0 < len(far) <= seen.sum() // 4:
            rest = np.abs(np.delete(values, far)[np.delete(seen, far)]).max()
            scale, unit_name = (180 / math.pi, "deg") if what == "phase" else (100, "%")
            names = ", ".join(f"{gains.antennas[k]} {scale * values[k]:+.0f} {unit_name}" for k in far)
            sentences.append(f"Off in {what}: {names}; all others are within {scale * rest:.0f} {unit_name}.")
    return sentences

"""Primary beams as they were measured, by telescope: round power patterns, from the tables beside this file."""

import csv
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import j1

from radrim.geometry import C

MHZ, GHZ = 1e6, 1e9


@dataclass(frozen=True)
class Band:
    """A band of a telescope.

    Parameters
    ----------
    name : str
    low, high : float
        Frequencies for which its beam is known [Hz].
    """

    name: str
    low: float
    high: float


@dataclass(frozen=True)
class Telescope:
    """The primary beam of a telescope.

    Parameters
    ----------
    name : str
        As in --pb.
    names : tuple of str
        Beginnings of TELESCOPE_NAME in the data, in capitals.
    diameter : float
        [m]
    bands : tuple of Band
    pattern : callable
        Power (n,) at a frequency [Hz], in a `Band`, and sines of angles (n,), and for a diameter [m].
    source : str
        Where the beam comes from.
    """

    name: str
    names: tuple[str, ...]
    diameter: float
    bands: tuple[Band, ...]
    pattern: Callable[[float, Band, np.ndarray, float], np.ndarray]
    source: str

    def power(self, freq: float, sine: np.ndarray, diameter: float) -> np.ndarray:
        """Power, 1 in the middle.

        Parameters
        ----------
        freq : float
            Of one of the bands [Hz].
        sine : (n,) float64
            Sines of the angles from the middle.
        diameter : float
            Of the antennas [m].
        """
        return self.pattern(freq, self._band(freq), sine, diameter)

    def covers(self, freq: np.ndarray) -> bool:
        """Whether the beam is known at all frequencies [Hz]."""
        return all(any(band.low <= f <= band.high for band in self.bands) for f in np.atleast_1d(freq))

    def describe_bands(self) -> str:
        """The bands and their frequencies, for messages."""
        return ", ".join(f"{band.name} ({band.low / MHZ:g} to {band.high / MHZ:g} MHz)" for band in self.bands)

    def _band(self, freq):
        return next(band for band in self.bands if band.low <= freq <= band.high)


@functools.cache
def _table(name: str) -> dict[str, np.ndarray]:
    """Rows of a table by band, (row, column) float64, with frequencies in Hz, ascending."""
    rows: dict[str, list[list[float]]] = {}
    with (Path(__file__).parent / f"{name}.csv").open() as stream:
        for row in csv.DictReader(stream):
            band = row.pop("band")
            rows.setdefault(band, []).append([float(value) for value in row.values()])
    return {band: np.array(found) * [MHZ, *[1.0] * (len(found[0]) - 1)] for band, found in rows.items()}


def _neighbours(table, freq):
    """The two rows around a frequency, without it, and their shares."""
    place = float(np.interp(freq, table[:, 0], np.arange(len(table))))
    below = min(int(place), len(table) - 1)
    above = min(below + 1, len(table) - 1)
    return (table[below, 1:], 1 - (place - below)), (table[above, 1:], place - below)


def _scaled(freq, sine):
    """Angle [arcmin] times frequency [GHz]."""
    return np.degrees(np.arcsin(np.minimum(sine, 1))) * 60 * freq / GHZ


def _first_turn(series):
    """The least positive argument at which a polynomial has an extremum."""
    turns = np.atleast_1d(series.deriv().roots())
    real = turns.real[np.abs(turns.imag) < 1e-12 * np.abs(turns)]
    return float(np.min(real[real > 0], initial=math.inf))


def _polynomial(coefficients, x):
    """1 + c1 x^2 + c2 x^4 + ..., up to its first minimum, and 0 from there on."""
    series = np.polynomial.Polynomial([1, *coefficients])  # in x^2
    end = _first_turn(series)
    return np.where(x**2 < end, np.maximum(series(np.minimum(x**2, end)), 0), 0)


def _inverse(coefficients, x):
    """1 / (1 + c1 x^2 + c2 x^4 + ...), up to the first maximum of the polynomial, and 0 from there on."""
    series = np.polynomial.Polynomial([1, *coefficients])
    end = _first_turn(series)
    return np.where(x**2 < end, 1 / series(np.minimum(x**2, end)), 0)


def _tabled(name, shape):
    """The pattern of a table of coefficients: linear between its frequencies, at equal angle times frequency."""

    def pattern(freq: float, band: Band, sine: np.ndarray, diameter: float) -> np.ndarray:  # noqa: ARG001
        x = _scaled(freq, sine)
        return sum(share * shape(row, x) for row, share in _neighbours(_table(name)[band.name], freq) if share > 0)

    return pattern


def cosine_taper(r: np.ndarray) -> np.ndarray:
    """Power of an aperture with a cosine taper, 1/2 at r = 1/2 (Condon & Ransom 2016, eq. 3.95)."""
    t = 1.18896478 * np.asarray(r)
    t = np.where(np.abs(1 - 4 * t**2) < 1e-9, t + 1e-6, t)  # the limit there is finite
    return (np.cos(np.pi * t) / (1 - 4 * t**2)) ** 2


def _meerkat(freq, band, sine, diameter):  # noqa: ARG001 - as all patterns
    table = _table("meerkat")[band.name]
    scaled = float(np.interp(freq, table[:, 0], table[:, 1] * table[:, 0]))  # width times frequency varies little
    return cosine_taper(np.degrees(np.arcsin(np.minimum(sine, 1))) * 60 * freq / scaled)


def _airy(part: float, hole: float = 0.0) -> Callable[[float, Band, np.ndarray, float], np.ndarray]:
    """Airy's pattern of an aperture of `part` times the diameter with a hole of `hole` times it."""

    def pattern(freq: float, band: Band, sine: np.ndarray, diameter: float) -> np.ndarray:  # noqa: ARG001
        x = np.pi * np.maximum(sine, 1e-12) * part * diameter * freq / C
        voltage = 2 * j1(x) / x
        if hole:
            ratio = hole / part
            y = x * ratio
            voltage = (voltage - ratio**2 * 2 * j1(y) / y) / (1 - ratio**2)
        return voltage**2

    return pattern


def _gauss(width: float) -> Callable[[float, Band, np.ndarray, float], np.ndarray]:
    """A Gaussian with a width at half power of `width` wavelengths over the diameter."""

    def pattern(freq: float, band: Band, sine: np.ndarray, diameter: float) -> np.ndarray:  # noqa: ARG001
        return np.exp(-4 * np.log(2) * (sine * diameter * freq / C / width) ** 2)

    return pattern


def _wsrt(freq, band, sine, diameter):  # noqa: ARG001 - as all patterns
    angle = np.minimum(68 * freq / GHZ * np.arcsin(np.minimum(sine, 1)), np.pi / 2)
    return np.cos(angle) ** 6


def _bands(*bands):
    return tuple(Band(name, low * MHZ, high * MHZ) for name, low, high in bands)


TELESCOPES = {
    one.name: one
    for one in (
        Telescope(
            "vla", ("VLA", "EVLA", "JVLA"), 25.0,
            _bands(("P", 224, 480), ("L", 950, 2016), ("S", 2016, 4000), ("C", 4000, 8000), ("X", 8000, 12000),
                   ("Ku", 12000, 18200), ("K", 18200, 26500), ("Ka", 26500, 39500), ("Q", 39500, 50000)),
            _tabled("vla", _polynomial), "EVLA Memo 195 (Perley 2016)",
        ),
        Telescope(
            "meerkat", ("MEERKAT",), 13.5, _bands(("UHF", 540, 856), ("L", 856, 1712), ("S", 1712, 3510)), _meerkat,
            "katbeam 0.1 (SARAO 2020), S band by the wavelength",
        ),
        Telescope(
            "atca", ("ATCA",), 22.0,
            _bands(("16 cm", 1100, 3150), ("C", 4000, 7000), ("X", 7000, 12500), ("K", 15000, 26000),
                   ("W", 80000, 120000)),
            _tabled("atca", _inverse), "ATNF: 16 cm of CABB, AT Memo 39.3/024, MIRIAD",
        ),
        Telescope(
            "gmrt", ("GMRT", "UGMRT"), 45.0,
            _bands(("2", 120, 250), ("3", 250, 500), ("4", 550, 900), ("5", 980, 1500)),
            _tabled("gmrt", _polynomial), "Lal & Chengalur (2022), upgraded GMRT",
        ),
        Telescope(
            "alma", ("ALMA", "ACA"), 12.0, _bands(("all", 30000, 960000)), _airy(10.7 / 12, 0.75 / 12),
            "CASA: Airy's pattern of 10.7 m with a hole of 0.75 m for the 12 m dishes, and in proportion for others",
        ),
        Telescope(
            "askap", ("ASKAP",), 12.0, _bands(("all", 700, 1800)), _gauss(1.09),
            "Hotan et al. (2021): each formed beam as a Gaussian of 1.09 wavelengths over 12 m",
        ),
        Telescope(
            "wsrt", ("WSRT",), 25.0, _bands(("all", 300, 9000)), _wsrt, "WSRT guide: cos^6(68 nu [GHz] theta)",
        ),
        Telescope(
            "vlba", ("VLBA",), 25.0, _bands(("all", 300, 96000)), _airy(25.47 / 25),
            "Middelberg et al. (2013): Airy's pattern of 25.47 m",
        ),
    )
}  # fmt: skip
"""Telescopes by the name in --pb."""

DIPOLES = (
    "LOFAR",
    "MWA",
    "LWA",
    "OVRO_LWA",
    "OVRO-LWA",
    "SKA1-LOW",
    "SKA-LOW",
    "AAVS",
    "NENUFAR",
    "HERA",
    "PAPER",
    "EDA",
)
"""Beginnings of TELESCOPE_NAME of arrays of dipoles, whose beam changes with time and is not round."""


def find_telescope(name: str) -> Telescope | None:
    """The telescope of a TELESCOPE_NAME; None if its beam is not here."""
    plain = name.upper().strip()
    return next((one for one in TELESCOPES.values() if plain.startswith(one.names)), None)

"""Antenna layouts, and the tracks their baselines draw in the uv plane.

Baselines are turned from the rotating Earth into the celestial frame of the phase centre (GCRS, J2000 to within
0.02 arcsec) by the IAU 2006/2000A precession-nutation matrix of ERFA, so that TIME, antenna positions and UVW of a
simulated Measurement Set belong together. Left out: polar motion, UT1 - UTC (below 0.9 s) and aberration (20 arcsec),
none of which an image of the simulated data can show.
"""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import erfa
import numpy as np

from radrim.errors import ConfigError, InputError

LAYOUTS = Path(__file__).parent / "arrays"

MJD_ZERO = 2_400_000.5
TT_MINUS_UTC = 37 + 32.184
"""Leap seconds since 2017, and TT - TAI [s]."""
SIDEREAL_RATE = 2 * math.pi * 1.00273790935 / 86400
"""Turn of the Earth [rad/s]."""


@dataclass(frozen=True)
class Layout:
    """The antennas of an array.

    Parameters
    ----------
    name, telescope : str
        Name of the layout, and of the telescope as OBSERVATION::TELESCOPE_NAME gives it.
    stations : list of str
    positions : (antenna, 3) float64
        ITRF [m].
    diameters : (antenna,) float64
        Dish diameters [m].
    """

    name: str
    telescope: str
    stations: list[str]
    positions: np.ndarray
    diameters: np.ndarray

    @property
    def longitude(self):
        """Of the mean position, east positive [rad]."""
        x, y, _ = self.positions.mean(0)
        return math.atan2(y, x)

    @property
    def longest_baseline(self):
        """[m]."""
        return max(float(np.linalg.norm(self.positions - p, axis=1).max()) for p in self.positions)


def known_layouts():
    """Names of the shipped layouts, sorted."""
    return sorted(path.stem for path in LAYOUTS.glob("*.csv"))


def read_layout(name_or_path):
    """A shipped layout by its name, or any CSV file of the same form.

    Parameters
    ----------
    name_or_path : str or Path
        Such as 'vla-b', or a CSV file with the columns name, x_itrf_m, y_itrf_m, z_itrf_m, diameter_m.
        A first line '# telescope: NAME' is optional.

    Returns
    -------
    Layout

    Raises
    ------
    ConfigError
        Neither a shipped layout nor a file.
    InputError
        The file is not of that form, or holds fewer than two antennas.
    """
    path = LAYOUTS / f"{str(name_or_path).lower()}.csv"
    if not path.is_file():
        path = Path(name_or_path)
    if not path.is_file():
        raise ConfigError(
            f"The array '{name_or_path}' is unknown, and no file of that name exists; known arrays: "
            f"{', '.join(known_layouts())}. Name one of them, or a CSV file of antenna positions."
        )
    lines = path.read_text().splitlines()
    telescope = path.stem
    for line in lines:
        if line.startswith("#") and line[1:].strip().startswith("telescope:"):
            telescope = line.split(":", 1)[1].strip()
    try:
        rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
        positions = np.array([[float(row[f"{axis}_itrf_m"]) for axis in "xyz"] for row in rows])
        diameters = np.array([float(row["diameter_m"]) for row in rows])
        stations = [row["name"] for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not an antenna layout ({error}): it must be a CSV file with the columns name, "
                         "x_itrf_m, y_itrf_m, z_itrf_m and diameter_m.") from None  # fmt: skip
    if len(rows) < 2:
        raise InputError(f"{path} holds {len(rows)} antennas; an interferometer needs at least 2.")
    return Layout(path.stem, telescope, stations, positions, diameters)


def directions(ra, dec):
    """Unit vectors towards the east, the north and the source at `ra`, `dec` [rad]: rows of a (3, 3) matrix."""
    sin_ra, cos_ra, sin_dec, cos_dec = math.sin(ra), math.cos(ra), math.sin(dec), math.cos(dec)
    return np.array([
        [-sin_ra, cos_ra, 0],
        [-sin_dec * cos_ra, -sin_dec * sin_ra, cos_dec],
        [cos_dec * cos_ra, cos_dec * sin_ra, sin_dec],
    ])  # fmt: skip


def celestial_to_terrestrial(times):
    """Rotation matrices from GCRS to ITRS, (time, 3, 3), at `times` (time,), MJD seconds UTC."""
    times = np.atleast_1d(np.asarray(times, float))
    day, tt_day = times / 86400, (times + TT_MINUS_UTC) / 86400
    return erfa.c2t06a(MJD_ZERO, tt_day, MJD_ZERO, day, 0.0, 0.0)


def uvw_tracks(positions, ra, dec, times, pairs=None):
    """UVW of every baseline, antenna 2 minus antenna 1.

    Parameters
    ----------
    positions : (antenna, 3) float64
        ITRF [m].
    ra, dec : float
        Phase centre [rad], J2000.
    times : (time,) float64
        MJD seconds, UTC.
    pairs : (array, array), optional
        Antenna 1 and antenna 2 of each baseline; by default every pair once.

    Returns
    -------
    (time, baseline, 3) float64
        u towards the east, v towards the north, w towards the phase centre [m].

    References
    ----------
    Thompson, Moran & Swenson (2017), Interferometry and Synthesis in Radio Astronomy, section 4.1.
    """
    first, second = np.triu_indices(len(positions), 1) if pairs is None else pairs
    # Rows of `axes` are the unit vectors u, v, w in the terrestrial frame of each time.
    axes = np.einsum("ai,tji->taj", directions(ra, dec), celestial_to_terrestrial(times))
    antennas = np.einsum("taj,nj->tna", axes, positions)
    return antennas[:, second] - antennas[:, first]


def hour_angles(layout, ra, dec, times):
    """Hour angle of `ra`, `dec` at the array's mean longitude, (time,) in (-pi, pi] [rad]."""
    x, y, _ = (celestial_to_terrestrial(times) @ directions(ra, dec)[2]).T
    return -((math.pi - (layout.longitude - np.arctan2(y, x))) % (2 * math.pi) - math.pi)


def elevations(layout, ra, dec, times):
    """Elevation of `ra`, `dec` above each antenna's geocentric horizon, (time, antenna) [rad]."""
    up = layout.positions / np.linalg.norm(layout.positions, axis=1, keepdims=True)
    return np.arcsin(np.clip((celestial_to_terrestrial(times) @ directions(ra, dec)[2]) @ up.T, -1, 1))


def track_times(layout, ra, dec, hour_angle, hours, integration, date=61041.0):
    """Midpoints of the integrations of one track.

    Parameters
    ----------
    layout : Layout
    ra, dec : float
        Phase centre [rad].
    hour_angle : float
        Hour angle in the middle of the track [rad].
    hours : float
        Length of the track [h].
    integration : float
        Length of one integration [s].
    date : float
        The middle of the track is within half a day of the transit that follows this MJD; by default 2026-01-01.

    Returns
    -------
    (time,) float64
        MJD seconds, UTC.
    """
    start = date * 86400.0
    middle = start + (-hour_angles(layout, ra, dec, start)[0] % (2 * math.pi)) / SIDEREAL_RATE
    # The rate is that of the mean Earth; precession makes the true one differ in the eighth digit.
    middle -= hour_angles(layout, ra, dec, middle)[0] / SIDEREAL_RATE
    middle += hour_angle / SIDEREAL_RATE
    number = max(1, round(hours * 3600 / integration))
    return middle + (np.arange(number) - (number - 1) / 2) * integration

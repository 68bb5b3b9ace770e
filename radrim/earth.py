"""Hour angles, elevations and the tracks of baselines in the uv plane, from the rotation of the Earth.

Baselines are rotated from the terrestrial frame to the celestial frame of the phase centre (GCRS, J2000 to within
0.02 arcsec) by the IAU 2006/2000A precession-nutation matrix of ERFA, so that TIME, antenna positions and UVW of a
simulated Measurement Set are consistent. Polar motion, UT1 - UTC (below 0.9 s) and aberration (20 arcsec) are left out:
they do not change an image of the simulated data.
"""

import math

import erfa
import numpy as np

from radrim.arrays import Layout
from radrim.geometry import axes

MJD_ZERO = 2_400_000.5
TT_MINUS_UTC = 37 + 32.184
"""Leap seconds since 2017, and TT - TAI [s]."""
ROTATION_RATE = 7.292115855e-5
"""Angular velocity of the Earth against the stars [rad/s]."""
# All digits: with the ten above, the times of simulated observations would change by a microsecond.
SIDEREAL_RATE = 2 * math.pi * 1.00273790935 / 86400
"""`ROTATION_RATE` from the sidereal days in a solar day [rad/s]."""
SURFACE = 6.3e6, 6.4e6
"""Range of the distance of antennas from the Earth's centre [m]."""
WGS84 = 1
"""ERFA's number of the reference ellipsoid."""


def celestial_to_terrestrial(times: float | np.ndarray) -> np.ndarray:
    """Rotation matrices from GCRS to ITRS, (time, 3, 3), at `times` (time,), MJD seconds UTC."""
    times = np.atleast_1d(np.asarray(times, float))
    day, tt_day = times / 86400, (times + TT_MINUS_UTC) / 86400
    return erfa.c2t06a(MJD_ZERO, tt_day, MJD_ZERO, day, 0.0, 0.0)


def uvw_tracks(
    positions: np.ndarray, ra: float, dec: float, times: np.ndarray, pairs: tuple[np.ndarray, np.ndarray] | None = None
) -> np.ndarray:
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
    # The rows are the unit vectors of u, v and w in the terrestrial frame at each time.
    frames = np.einsum("ai,tji->taj", axes(ra, dec), celestial_to_terrestrial(times))
    antennas = np.einsum("taj,nj->tna", frames, positions)
    return antennas[:, second] - antennas[:, first]


def hour_angles(layout: Layout, ra: float, dec: float, times: float | np.ndarray) -> np.ndarray:
    """Hour angle of `ra`, `dec` at the array's mean longitude, (time,) in (-pi, pi] [rad]."""
    x, y, _ = (celestial_to_terrestrial(times) @ axes(ra, dec)[2]).T
    return -((math.pi - (layout.longitude - np.arctan2(y, x))) % (2 * math.pi) - math.pi)


def elevations(positions: np.ndarray, ra: float, dec: float, times: float | np.ndarray) -> np.ndarray:
    """Elevation of a source above the horizon of each antenna, without refraction.

    The horizon is that of the WGS84 ellipsoid.

    Parameters
    ----------
    positions : (antenna, 3) float64
        ITRF [m].
    ra, dec : float
        J2000 [rad].
    times : (time,) float64
        MJD seconds, UTC.

    Returns
    -------
    (time, antenna) float64
        [rad]; NaN for an antenna that is not on the Earth's surface, such as one without a position.
    """
    distance = np.linalg.norm(positions, axis=1)
    known = (distance > SURFACE[0]) & (distance < SURFACE[1])
    longitude, latitude, _ = erfa.gc2gd(WGS84, np.where(known[:, None], positions, [SURFACE[0], 0, 0]))
    up = erfa.s2c(longitude, latitude)
    source = celestial_to_terrestrial(times) @ axes(ra, dec)[2]
    out = np.arcsin(np.clip(source @ up.T, -1, 1))
    out[:, ~known] = np.nan
    return out


def track_times(
    layout: Layout, ra: float, dec: float, hour_angle: float, hours: float, integration: float, date: float = 61041.0
) -> np.ndarray:
    """Midpoints of the integrations of one continuous observation.

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
        MJD; the middle of the track is within half a day of the next transit. By default 2026-01-01.

    Returns
    -------
    (time,) float64
        MJD seconds, UTC.
    """
    start = date * 86400.0
    middle = start + (-hour_angles(layout, ra, dec, start)[0] % (2 * math.pi)) / SIDEREAL_RATE
    # This is the mean rate; because of precession the true rate differs in the eighth digit.
    middle -= hour_angles(layout, ra, dec, middle)[0] / SIDEREAL_RATE
    middle += hour_angle / SIDEREAL_RATE
    number = max(1, round(hours * 3600 / integration))
    return middle + (np.arange(number) - (number - 1) / 2) * integration


def mean_position(positions: np.ndarray) -> list[float]:
    """Mean of the positions (antenna, 3) [m], as three numbers; none if it is not on the Earth's surface.

    So it is for arrays that span continents, and for positions that are not geocentric.
    """
    known = positions[np.isfinite(positions).all(-1)]
    mean = known.mean(0) if len(known) else np.zeros(3)
    return [float(x) for x in mean] if SURFACE[0] < np.linalg.norm(mean) < SURFACE[1] else []

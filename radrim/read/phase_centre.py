"""The phase centre that --shift or --phase-centre names, in J2000."""

import math

import erfa
import numpy as np

from radrim.config.directions import OFFSET, Direction
from radrim.errors import ConfigError
from radrim.geometry import axes, n_minus_1


def position_of(direction: Direction, reference: tuple[float, float]) -> tuple[float, float]:
    """A direction in J2000, which radrim does not distinguish from ICRS (they differ by 0.02 arcsec).

    Parameters
    ----------
    direction : Direction
    reference : (float, float)
        Phase centre of the data (ra, dec) [rad], from which an offset counts.

    Returns
    -------
    (float, float)
        (ra, dec) [rad]

    Raises
    ------
    ConfigError
        An offset leads below the horizon of the phase centre.
    """
    lon, lat = direction.lon, direction.lat
    if direction.frame == OFFSET:
        n = 1 + float(n_minus_1(lon, lat))
        if not n > 0:
            raise ConfigError("--phase-centre: the offset is longer than a radian, the radius of the tangent plane.")
        x, y, z = np.array([lon, lat, n]) @ axes(*reference)
        lon, lat = math.atan2(y, x), math.atan2(z, math.hypot(x, y))
    elif direction.frame == "GALACTIC":
        lon, lat = erfa.g2icrs(lon, lat)
    elif direction.frame == "B1950":
        lon, lat = erfa.fk45z(lon, lat, 1950.0)
    return float(lon) % (2 * math.pi), float(lat)


def distance(first: tuple[float, float], second: tuple[float, float]) -> float:
    """Angle between two positions (ra, dec) [rad], exact for small ones."""
    a, b = axes(*first)[2], axes(*second)[2]
    return 2 * math.asin(min(1.0, float(np.linalg.norm(a - b)) / 2))

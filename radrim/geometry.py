"""The image grid, and the one place where the signs of the measurement equation stand.

One Stokes parameter and channel, UVW as stored in a Measurement Set (antenna 2 minus antenna 1)::

    V(u, v, w) = sum_p I_p exp(SIGN * 2 pi i (u l_p + v m_p + w (n_p - 1)))

with l towards the east, m towards the north, n = sqrt(1 - l^2 - m^2), I in Jy/pixel and no 1/n factor.
Images are indexed (y, x): y grows to the north, x to the west, and the phase centre is at
(height // 2, width // 2). The sign was checked against WSClean 3.1 with sources in the corners of a
6-degree field; ``tests/test_geometry.py`` fails when any of the three terms flips.
"""

import math
from dataclasses import dataclass

import numpy as np

from radrim.angles import ARCSEC, format_angle, parse_angle

__all__ = ["ARCSEC", "C", "FWHM_PER_SIGMA", "SIGN", "ImageGrid", "format_angle", "n_minus_1", "parse_angle"]

SIGN = +1
C = 299_792_458.0
"""Speed of light [m/s]."""

FWHM_PER_SIGMA = math.sqrt(8 * math.log(2))


def n_minus_1(l, m):  # noqa: E741 - the field's own name
    """n - 1 for direction cosines l and m, without the cancellation of sqrt(1 - l^2 - m^2) - 1 at small angles.

    NaN beyond the horizon (l^2 + m^2 > 1).
    """
    r2 = l * l + m * m
    with np.errstate(invalid="ignore"):
        return -r2 / (1 + np.sqrt(1 - r2))


@dataclass(frozen=True)
class ImageGrid:
    """The pixels of an image: size, scale and phase centre.

    Parameters
    ----------
    width, height : int
        Pixels along x (right ascension) and y (declination); both even.
    scale : float
        Pixel size [rad], the same along x and y.
    ra, dec : float
        Phase centre [rad], J2000/ICRS.
    """

    width: int
    height: int
    scale: float
    ra: float = 0.0
    dec: float = 0.0

    @property
    def shape(self):
        """(y, x)."""
        return (self.height, self.width)

    def l(self):  # noqa: E743 - the field's own name
        """Direction cosine towards the east of each column, (x,) float64."""
        return -(np.arange(self.width) - self.width // 2) * self.scale

    def m(self):
        """Direction cosine towards the north of each row, (y,) float64."""
        return (np.arange(self.height) - self.height // 2) * self.scale

    @property
    def max_n_term(self):
        """Largest |n - 1| on the image: with the largest |w|, the largest w-term phase in turns."""
        lmax, mmax = self.width / 2 * self.scale, self.height / 2 * self.scale
        r2 = lmax * lmax + mmax * mmax
        return r2 / (1 + math.sqrt(1 - r2)) if r2 < 1 else 1.0

    def pixel(self, l, m):  # noqa: E741
        """Pixel (y, x), fractional and counted from 0, of direction cosines l and m."""
        return m / self.scale + self.height // 2, -l / self.scale + self.width // 2

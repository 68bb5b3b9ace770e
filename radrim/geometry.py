"""The image grid, and the signs of the measurement equation, which are defined only here.

One Stokes parameter and channel, UVW as stored in a Measurement Set (antenna 2 minus antenna 1)::

    V(u, v, w) = sum_p I_p exp(SIGN * 2 pi i (u l_p + v m_p + w (n_p - 1)))

with l towards the east, m towards the north, n = sqrt(1 - l^2 - m^2), I in Jy/pixel and no 1/n factor.
Images are indexed (y, x): y grows to the north, x to the west, and the phase centre is at
(height // 2, width // 2). The sign was checked against WSClean 3.1 with sources in the corners of a
6-degree field; ``tests/test_geometry.py`` fails if the sign of any of the three terms changes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np

from radrim.angles import ARCSEC, format_angle, parse_angle

__all__ = ["ARCSEC", "FWHM_PER_SIGMA", "SIGN", "C", "ImageGrid", "axes", "format_angle", "n_minus_1", "parse_angle"]

SIGN = +1
C = 299_792_458.0
"""Speed of light [m/s]."""

FWHM_PER_SIGMA = math.sqrt(8 * math.log(2))


@overload
def n_minus_1(l: float, m: float) -> float: ...
@overload
def n_minus_1(l: np.ndarray, m: np.ndarray) -> np.ndarray: ...
def n_minus_1(l: Any, m: Any) -> Any:
    """N - 1 for direction cosines l and m, without the cancellation of sqrt(1 - l^2 - m^2) - 1 at small angles.

    NaN below the horizon (l^2 + m^2 > 1).
    """
    r2 = l * l + m * m
    with np.errstate(invalid="ignore"):
        return -r2 / (1 + np.sqrt(1 - r2))


def axes(ra: float, dec: float) -> np.ndarray:
    """Unit vectors towards the east, the north and the direction (ra, dec) [rad] itself, the rows of (3, 3) float64.

    For a phase centre in this direction, ``axes @ baseline`` is (u, v, w), and ``axes @ direction`` is (l, m, n).
    """
    sin_ra, cos_ra, sin_dec, cos_dec = math.sin(ra), math.cos(ra), math.sin(dec), math.cos(dec)
    return np.array(
        [
            [-sin_ra, cos_ra, 0.0],
            [-sin_dec * cos_ra, -sin_dec * sin_ra, cos_dec],
            [cos_dec * cos_ra, cos_dec * sin_ra, sin_dec],
        ]
    )


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
    x0, y0 : int
        Position of the centre pixel (height // 2, width // 2) relative to the phase centre [pixel]. It is not 0 for a
        part of a larger image (`window`).
    """

    width: int
    height: int
    scale: float
    ra: float = 0.0
    dec: float = 0.0
    x0: int = 0
    y0: int = 0

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the image (y, x)."""
        return (self.height, self.width)

    def l(self) -> np.ndarray:
        """Direction cosine towards the east of each column, (x,) float64."""
        return -(np.arange(self.width) - self.width // 2 + self.x0) * self.scale

    def m(self) -> np.ndarray:
        """Direction cosine towards the north of each row, (y,) float64."""
        return (np.arange(self.height) - self.height // 2 + self.y0) * self.scale

    @property
    def max_n_term(self) -> float:
        """Largest ``|n - 1|`` on the image; times the largest ``|w|`` it is the largest w-term phase in turns."""
        r2 = ((self.width / 2 + abs(self.x0)) ** 2 + (self.height / 2 + abs(self.y0)) ** 2) * self.scale**2
        return r2 / (1 + math.sqrt(1 - r2)) if r2 < 1 else 1.0

    def above_horizon(self) -> np.ndarray | None:
        """Pixels on the sky (l^2 + m^2 < 1), (y, x) bool; None if all are."""
        if self.max_n_term < 1:
            return None
        seen = self.l() ** 2 + self.m()[:, None] ** 2 < 1
        return None if seen.all() else seen

    @property
    def has_sky(self) -> bool:
        """Whether any pixel lies above the horizon."""
        l, m = (0.0 if a[0] * a[-1] <= 0 else np.abs(a).min() for a in (self.l(), self.m()))
        return bool(l * l + m * m <= 1)

    @property
    def middle(self) -> tuple[float, float, float]:
        """l, m and n - 1 of the centre pixel; n - 1 is NaN below the horizon."""
        l, m = -self.x0 * self.scale, self.y0 * self.scale
        return l, m, float(n_minus_1(l, m))

    def region(self, rows: slice, columns: slice) -> "ImageGrid":
        """The grid of a rectangle of this grid, with the same phase centre and scale.

        Parameters
        ----------
        rows, columns : slice
            Start and stop, which may lie outside the image; the lengths must be even.
        """
        width, height = columns.stop - columns.start, rows.stop - rows.start
        return replace(
            self,
            width=width,
            height=height,
            x0=self.x0 + columns.start + width // 2 - self.width // 2,
            y0=self.y0 + rows.start + height // 2 - self.height // 2,
        )

    @overload
    def pixel(self, l: float, m: float) -> tuple[float, float]: ...
    @overload
    def pixel(self, l: np.ndarray, m: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...
    def pixel(self, l: Any, m: Any) -> Any:
        """Pixel (y, x), fractional and counted from 0, of direction cosines l and m."""
        return m / self.scale + self.height // 2 - self.y0, -l / self.scale + self.width // 2 - self.x0


def central_region(shape: Sequence[int], size: Sequence[int]) -> tuple[slice, slice]:
    """Rows and columns of the middle of an image, of even size: at most `size` and at most the `shape` of the image."""
    half = [min(want, full) // 2 for want, full in zip(size, shape, strict=True)]
    y, x = (slice(full // 2 - n, full // 2 + n) for full, n in zip(shape, half, strict=True))
    return y, x


def crop_centre(image: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """The central part of an image with an even shape (y, x); the centre pixel, size // 2, stays the centre."""
    cut = []
    for have, want in zip(image.shape, shape, strict=True):
        start = have // 2 - want // 2
        cut.append(slice(start, start + want))
    return image[tuple(cut)]

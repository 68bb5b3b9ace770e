"""Measures the size and shape of a ring in an image.

Profiles of brightness are measured along rays from a centre; on each ray the ring is at the brightest point. The centre
is the point from which the radii of these points have the least scatter. The diameter is twice their mean, the width
the mean width (FWHM) of the profiles. Asymmetry and position angle are the first Fourier mode of the brightness around
the ring. The central brightness is that of the middle over that of the ring.

A beam makes a ring appear smaller: a thin ring of diameter d, observed with a round beam of width b (FWHM), is
brightest at a diameter of about ``d - b^2 / (4 ln 2 d)``. `Ring.thin` inverts this with the measured width.

References
----------
Event Horizon Telescope Collaboration (2019), ApJL 875, L4, section 9: the definitions; L6, appendix G: the bias.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates, spline_filter
from scipy.optimize import minimize

from radrim.geometry import format_angle


@dataclass(frozen=True)
class RingSettings:
    """How a ring is sampled, and what counts as one."""

    rays: int = 72
    """Number of rays from the centre."""

    steps: int = 2
    """Number of points on a ray for each pixel."""

    max_spread: float = 0.2
    """Largest scatter of the radii of a ring [mean radius]."""

    min_radius: float = 1.5
    """Smallest radius of a ring [pixel]."""

    max_central: float = 0.9
    """Largest brightness of the middle of a ring [mean brightness of the ring]."""

    centre: float = 0.12
    """Radius of the disc whose mean is the central brightness [diameter]: 5 of the 42 microarcseconds of M87*."""


@dataclass(frozen=True)
class Ring:
    """A ring measured by `measure_ring`.

    Parameters
    ----------
    found : bool
        Whether the image has a ring. If not, the other numbers have no meaning.
    diameter, scatter : float
        Twice the mean of the radii and twice their standard deviation [rad].
    width : float
        Mean FWHM of the profiles along the rays [rad]; NaN if no profile falls to half on both sides.
    asymmetry : float
        0 for an even ring; it approaches 1 for a ring that is bright on one side only.
    angle : float
        Position angle of the bright side, north through east [rad].
    central : float
        Brightness of the middle over that of the ring.
    x, y : float
        Centre [pixel].
    """

    found: bool
    diameter: float
    scatter: float
    width: float
    asymmetry: float
    angle: float
    central: float
    x: float
    y: float

    @property
    def thin(self) -> float:
        """Diameter of a thin ring that has the measured diameter when blurred to the measured width [rad]."""
        return self.diameter + self.width**2 / (4 * math.log(2) * self.diameter) if self.diameter else 0.0

    def __str__(self):
        if not self.found:
            return "no ring"
        return (
            f"ring of diameter {format_angle(self.diameter, 3)} +- {format_angle(self.scatter, 2)}, width "
            f"{format_angle(self.width, 3)}, brightest at {math.degrees(self.angle) % 360:.0f} deg, asymmetry "
            f"{self.asymmetry:.2f}, centre at {self.central:.2f} of its brightness"
        )


def measure_ring(image: np.ndarray, scale: float, settings: RingSettings = RingSettings()) -> Ring:
    """Find a ring and measure it.

    Parameters
    ----------
    image : (y, x) array
        Brightness, in any unit; y to the north, x to the west.
    scale : float
        Pixel size [rad].
    settings : RingSettings

    Returns
    -------
    Ring

    Raises
    ------
    ValueError
        The image has no positive pixel, or values that are not finite.
    """
    image = np.asarray(image, float)
    if not (np.isfinite(image).all() and image.max() > 0):
        raise ValueError("rings can only be measured in finite images with positive pixels")
    spline = spline_filter(image, order=3)
    y, x = _centre(image, spline, settings)
    radius, profile = _profiles(spline, y, x, settings)
    peak = _peaks(radius, profile)
    mean, spread = float(peak.mean()), float(peak.std())
    ridge = profile.max(1)
    mode = np.vdot(np.exp(1j * _angles(settings.rays)), ridge) / ridge.sum()
    disc = radius <= max(settings.centre * 2 * mean, 0.5)
    # Points on the rays are weighted by the area that they represent in the disc.
    central = float(np.average(profile[:, disc].mean(0), weights=radius[disc] + radius[1] / 2) / ridge.mean())
    found = mean > settings.min_radius and spread < settings.max_spread * mean and central < settings.max_central
    return Ring(found, 2 * mean * scale, 2 * spread * scale, scale * _width(radius, profile), float(abs(mode)),
                float(np.angle(mode.conj()) % (2 * np.pi)), central, x, y)  # fmt: skip


def _angles(rays):
    """Position angles of the rays, north through east."""
    return 2 * np.pi * np.arange(rays) / rays


def _profiles(spline, y, x, settings):
    """Radii (point,) [pixel] and brightness along the rays (ray, point); 0 outside the image."""
    radius = np.arange(int(settings.steps * max(spline.shape) / 2)) / settings.steps
    angle = _angles(settings.rays)[:, None]
    places = np.stack([y + radius * np.cos(angle), x - radius * np.sin(angle)])
    return radius, map_coordinates(spline, places, order=3, prefilter=False)


def _peaks(radius, profile):
    """Radius of the brightest point of each ray, (ray,) [pixel], interpolated by a parabola."""
    at = profile.argmax(1)
    rays, inner = np.arange(len(at)), np.clip(at, 1, len(radius) - 2)
    left, middle, right = (profile[rays, inner + k] for k in (-1, 0, 1))
    bend = left - 2 * middle + right
    offset = np.where(bend < 0, 0.5 * (left - right) / np.where(bend < 0, bend, 1), 0).clip(-0.5, 0.5)
    return np.where(at == inner, radius[inner] + offset * radius[1], radius[at])


def _width(radius, profile):
    """Mean width (FWHM) of the profiles [pixel], of those that fall to half their peak on both sides."""
    widths = []
    for row in profile:
        at = int(row.argmax())
        below = row < row[at] / 2
        inner, outer = np.flatnonzero(below[:at]), np.flatnonzero(below[at:])
        if inner.size and outer.size:
            widths.append(radius[at + outer[0]] - radius[inner[-1]])
    return float(np.mean(widths)) if widths else float("nan")


def _centre(image, spline, settings):
    """The point (y, x) [pixel] from which the radii of the brightest points have the least scatter."""

    def uneven(place):
        y, x = place
        peak = _peaks(*_profiles(spline, y, x, settings))
        # From the brightest point of the image all radii are 0, without scatter.
        return peak.std() / peak.mean() if peak.mean() > settings.min_radius else 10.0

    bright = image * (image > image.max() / 5)
    rows, columns = (np.arange(n) for n in image.shape)
    y, x = (float(rows @ bright.sum(1) / bright.sum()), float(bright.sum(0) @ columns / bright.sum()))
    reach = math.sqrt(float(((rows[:, None] - y) ** 2 + (columns - x) ** 2).ravel() @ bright.ravel() / bright.sum()))
    offsets = reach * np.linspace(-1.5, 1.5, 13)
    start = min(((y + dy, x + dx) for dy in offsets for dx in offsets), key=uneven)
    simplex = np.array(start) + reach / 8 * np.array([[0, 0], [1, 0], [0, 1]])
    return tuple(minimize(uneven, start, method="Nelder-Mead",
                          options={"initial_simplex": simplex, "xatol": 0.02, "fatol": 1e-4}).x)  # fmt: skip

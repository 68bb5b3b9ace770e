"""Step 5, restore: fits a Gaussian restoring beam to the PSF, and convolves the model with it.

Lengths are widths at half maximum (FWHM) in radians; position angles go from north through east.

The fit repeats that of WSClean 3.1, because the beam area sets flux densities and users compare both programs: least
squares over a box of ten beams, sidelobes included. WSClean's loops count pixels with unsigned integers, so that the
Gaussian vanishes at every negative offset and the fit uses only the quadrant north-west of the centre. In three of
eight observations the major axis from this quadrant is 10 to 50 % longer than that from the full box, which follows
the main lobe more closely. ``region="box"`` fits the full box, ``region="lobe"`` the main lobe alone, as CASA does.
The default follows WSClean, see docs/decisions.md.
"""

import logging
import math
import string
from dataclasses import dataclass

import numpy as np

from radrim.errors import DataError
from radrim.geometry import FWHM_PER_SIGMA, crop_centre, format_angle

log = logging.getLogger("radrim")


@dataclass(frozen=True)
class BeamSettings:
    """How restoring beams are fitted and applied."""

    box: int = 10
    """Width of the fitting box [first estimate of the beam], as in WSClean."""

    window: int = 1024
    """Largest width of the fitting box [pixel]. It stops a fit that grows without end on a PSF with a pedestal."""

    lobe: float = 0.35
    """Level at which the main lobe ends [peak], as CASA's ``psfcutoff``."""

    runaway: float = 2.0
    """Largest ratio of the fitted major axis to that of the main lobe. A longer beam is replaced by the lobe's."""

    cutoff: float = 1e-9
    """Level below which the restoring Gaussian is cut off [peak]: far below the resolution of float32."""


@dataclass(frozen=True)
class Beam:
    """An elliptical Gaussian beam.

    Parameters
    ----------
    major, minor : float
        Widths at half maximum [rad].
    pa : float
        Position angle of the major axis, north through east [rad].
    """

    major: float
    minor: float
    pa: float

    def area(self, scale: float) -> float:
        """Integral of the beam (peak 1) in pixels of size `scale` [rad]; Jy/beam divided by it is Jy/pixel."""
        return math.pi * self.major * self.minor / (4 * math.log(2) * scale * scale)

    def __str__(self):
        text = format_angle(self.major)
        number = text.rstrip(string.ascii_letters)  # both axes in the unit of the major axis
        minor = float(number) * self.minor / self.major
        return f"{number} x {minor:.4g} {text[len(number) :]}, PA {math.degrees(self.pa):.1f} deg"


def theoretical_beam(longest_baseline: float) -> float:
    """First estimate of the beam, 1 / longest baseline [rad], as WSClean's "theoretical beam".

    Parameters
    ----------
    longest_baseline : float
        [wavelengths]

    Raises
    ------
    DataError
        The baseline is not a positive number.
    """
    if not 0 < longest_baseline < math.inf:
        raise DataError(f"The longest baseline is {longest_baseline:g} wavelengths; an image needs one above 0.")
    return 1 / longest_baseline


def fit_beam(
    psf: np.ndarray,
    scale: float,
    estimate: float,
    region: str = "quadrant",
    settings: BeamSettings = BeamSettings(),
) -> Beam:
    """The elliptical Gaussian closest to the centre of the PSF.

    Three parameters (peak 1 at the centre pixel), least squares over a box of 10 times the estimate
    (`BeamSettings.box`). While 8 times the fitted major axis exceeds the box, the fit is repeated in a box of 10 times
    that axis, but at most `BeamSettings.window` pixels wide.

    A fit that fails, or whose major axis is longer by `BeamSettings.runaway` than that of a fit to the main lobe alone,
    is replaced by the latter. If that fails too, the beam is a circle of width `estimate` (at least one pixel, at most
    the image); an axis below one pixel becomes one pixel. Both are logged as warnings.

    Parameters
    ----------
    psf : (y, x) array
        Peak 1 at (height // 2, width // 2).
    scale : float
        Pixel size [rad].
    estimate : float
        First estimate of the width, see `theoretical_beam` [rad].
    region : {'quadrant', 'box', 'lobe'}
        Pixels of the box that are fitted. 'quadrant': the centre and those north-west of it, as in WSClean. 'box': all.
        'lobe': the main lobe down to `BeamSettings.lobe` of its peak, and one pixel further, as in CASA.
    settings : BeamSettings

    Returns
    -------
    Beam
        With pa in [0, pi).
    """
    psf = crop_centre(psf, [min(n, settings.window) for n in psf.shape])
    size = max(psf.shape)
    start = box = estimate / scale
    lobe = major, minor, pa = _fit_gaussian(psf, [n // 2 for n in psf.shape], start, settings, "lobe")
    for _ in range(5 * (region != "lobe")):
        pixels = max(settings.box, math.ceil(settings.box * box))
        pixels += pixels % 2  # as WSClean, and the window stays centred
        half = [min(pixels, n) // 2 for n in psf.shape]
        major, minor, pa = _fit_gaussian(psf, half, start, settings, region)
        enough = all(0.8 * settings.box * major < 2 * h or h == n // 2 for h, n in zip(half, psf.shape, strict=True))
        if enough or not math.isfinite(major):
            break
        box = min(major, size)
        start = max(box, start)
    if lobe[0] <= size and not major < settings.runaway * lobe[0]:  # also true for NaN
        # A pedestal, as in short tracks of LOFAR, and sidelobes of few stations widen the fit, even without bound.
        log.info("The %s of the PSF is no Gaussian: the restoring beam is fitted to its main lobe.", region)
        major, minor, pa = lobe
    if not major <= size:
        circle = min(max(estimate, scale), scale * min(psf.shape))
        why = (
            f"the fit is wider, {major:.4g} pixels, than the image" if major > size else "not a peak of finite numbers"
        )
        log.warning("No restoring beam fits the PSF (%s); using a circle of %s, from the longest baseline.",
                    why, format_angle(circle))  # fmt: skip
        return Beam(circle, circle, 0.0)
    if minor < 1:
        log.warning("The PSF is only %.2g pixels wide, so the restoring beam is widened to one pixel (%s); "
                    "use a smaller --scale.", minor, format_angle(scale))  # fmt: skip
    return Beam(max(major, 1) * scale, max(minor, 1) * scale, pa)


def _fit_gaussian(psf, half, start, settings, region):
    """(major, minor, pa) in pixels and radians, NaN if there is no fit.

    The exponent is -((a e + b n)^2 + (c n)^2) / 2, with e pixels to the east and n to the north. Any a, b, c describe
    an ellipse, so that the fit always finds a Gaussian that falls off in all directions.
    """
    y0, x0 = (n // 2 for n in psf.shape)
    back = (0, 0) if region == "quadrant" else half
    part = np.asarray(psf[y0 - back[0] : y0 + half[0], x0 - back[1] : x0 + half[1]], np.float64)
    if part.size < 3 or not (psf[y0, x0] > 0 and np.isfinite(part).all()):
        return (math.nan,) * 3
    part = part / psf[y0, x0]
    within = _wide_lobe(part, settings.lobe) if region == "lobe" else np.ones(part.shape, bool)
    values = part[within]
    north, east = (g[within] for g in np.mgrid[-back[0] : half[0], back[1] : -half[1] : -1].astype(np.float64))

    def gaussian(p):
        along, across = p[0] * east + p[1] * north, p[2] * north
        return np.exp(-0.5 * (along * along + across * across)), along, across

    def jacobian(p):
        g, along, across = gaussian(p)
        return np.stack([-g * along * east, -g * along * north, -g * across * north], axis=1)

    first = np.array([FWHM_PER_SIGMA / start, 0.0, FWHM_PER_SIGMA / start])
    if region == "lobe":  # a lobe of few pixels needs a good first estimate
        first = _ellipse(values, east, north, first)
    from scipy.optimize import least_squares

    a, b, c = least_squares(lambda p: gaussian(p)[0] - values, first, jacobian, method="lm", x_scale=first[0]).x
    inverse_variance, axes = np.linalg.eigh([[a * a, a * b], [a * b, b * b + c * c]])
    with np.errstate(divide="ignore"):
        major, minor = FWHM_PER_SIGMA / np.sqrt(inverse_variance.clip(min=0))
    return float(major), float(minor), math.atan2(axes[0, 0], axes[1, 0]) % math.pi


def _ellipse(values, east, north, otherwise):
    """(a, b, c) of `_fit_gaussian` from a parabola fitted to the logarithms of the values; `otherwise` if it fails."""
    high = values > 0.1
    points = np.stack([east**2, 2 * east * north, north**2], 1)[high]
    q, _, rank, _ = np.linalg.lstsq(points, -2 * np.log(values[high]))
    if rank < 3 or not (q[0] > 0 and q[2] > q[1] ** 2 / q[0]):
        return otherwise
    return np.array([math.sqrt(q[0]), q[1] / math.sqrt(q[0]), math.sqrt(q[2] - q[1] ** 2 / q[0])])


def _wide_lobe(psf, threshold):
    """The main lobe above a threshold, and the pixels next to it, without which a narrow lobe has no width."""
    from scipy import ndimage

    return ndimage.binary_dilation(main_lobe(psf, threshold), np.ones((3, 3), bool))


def main_lobe(psf: np.ndarray, threshold: float) -> np.ndarray:
    """Pixels of the main lobe, (y, x) bool: above `threshold` and connected with the centre by their edges."""
    from scipy import ndimage

    labels, _ = ndimage.label(psf > threshold)
    return labels == labels[psf.shape[0] // 2, psf.shape[1] // 2]


def restore(model: np.ndarray, beam: Beam, scale: float, threads: int = 1) -> np.ndarray:
    """Convolve the model with the restoring beam.

    The Gaussian is sampled in the image plane, so that a pixel of 1 Jy becomes a peak of 1 Jy/beam for beams of any
    width. Its closed form in the uv plane, cut off at the resolution of the image, would lower the peak of a beam of
    two pixels or less. WSClean also samples the Gaussian, but lets sources wrap around the edges.

    Parameters
    ----------
    model : (y, x) float32
        [Jy/pixel]
    beam : Beam
    scale : float
        Pixel size [rad].
    threads : int
        Threads of the transforms.

    Returns
    -------
    (y, x) float32
        [Jy/beam]; nothing wraps around the edges.
    """
    from scipy import fft

    model = np.asarray(model, np.float32)
    if not model.any():
        return np.zeros_like(model)
    sin, cos = math.sin(beam.pa), math.cos(beam.pa)
    major, minor = (axis / scale / FWHM_PER_SIGMA for axis in (beam.major, beam.minor))
    radius = [min(r, n - 1) for r, n in zip(reach(beam, scale), model.shape, strict=True)]
    # The kernel extends over `radius` pixels. The same padding keeps emission from wrapping around the edges.
    shape = tuple(fft.next_fast_len(n + r, real=True) for n, r in zip(model.shape, radius, strict=True))
    north = np.arange(-radius[0], radius[0] + 1)[:, None]
    east = -np.arange(-radius[1], radius[1] + 1)[None, :]
    along, across = (east * sin + north * cos) / major, (east * cos - north * sin) / minor
    kernel = np.zeros(shape, np.float32)
    kernel[: 2 * radius[0] + 1, : 2 * radius[1] + 1] = np.exp(-0.5 * (along * along + across * across))
    kernel = np.roll(kernel, (-radius[0], -radius[1]), (0, 1))
    spectrum = fft.rfft2(kernel, workers=threads)
    spectrum *= fft.rfft2(model, shape, workers=threads)
    image = fft.irfft2(spectrum, shape, overwrite_x=True, workers=threads)
    return np.ascontiguousarray(image[: model.shape[0], : model.shape[1]])


def reach(beam: Beam, scale: float, settings: BeamSettings = BeamSettings()) -> list[int]:
    """Distances along y and x [pixel] beyond which the restoring beam is below `BeamSettings.cutoff`."""
    sin, cos = math.sin(beam.pa), math.cos(beam.pa)
    sigma = math.sqrt(-2 * math.log(settings.cutoff)) / FWHM_PER_SIGMA / scale
    extent = math.hypot(beam.major * cos, beam.minor * sin), math.hypot(beam.major * sin, beam.minor * cos)
    return [math.ceil(sigma * axis) for axis in extent]


def common_beam(first: Beam, second: Beam) -> Beam:
    """The smallest beam that both images can be smoothed to.

    In coordinates in which one beam is a circle, axes of the other beam shorter than the circle are stretched to it.

    Parameters
    ----------
    first, second : Beam

    Returns
    -------
    Beam
    """
    half = np.linalg.cholesky(covariance_of(first))
    inverse = np.linalg.inv(half)
    ratio, axes = np.linalg.eigh(inverse @ covariance_of(second) @ inverse.T)
    both = half @ axes @ np.diag(np.maximum(ratio, 1)) @ axes.T @ half.T
    return beam_of(both)


def smooth(image: np.ndarray, beam: Beam, target: Beam, scale: float, threads: int = 1) -> np.ndarray:
    """Smooth a restored image to a larger beam.

    Parameters
    ----------
    image : (y, x) float32
        [Jy/beam]
    beam, target : Beam
        Beam of the image, and the larger beam, from `common_beam`.
    scale : float
        Pixel size [rad].
    threads : int

    Returns
    -------
    (y, x) float32
        [Jy per beam of `target`]; beyond the edges the image counts as 0.
    """
    from scipy import fft

    # The uv plane also represents kernels that have no width along one axis.
    east, north = covariance_of(target) - covariance_of(beam)
    margin = math.ceil(3 * math.sqrt(max(east[0] + north[1], 0)) / scale)
    shape = tuple(fft.next_fast_len(n + margin, real=True) for n in image.shape)
    v, u = np.fft.fftfreq(shape[0], scale)[:, None], -np.fft.rfftfreq(shape[1], scale)
    exponent = east[0] * u * u + 2 * east[1] * u * v + north[1] * v * v
    spectrum = fft.rfft2(np.asarray(image, np.float32), shape, workers=threads)
    spectrum *= np.exp(-2 * np.pi**2 * exponent.clip(min=0)) * (target.area(scale) / beam.area(scale))
    out = fft.irfft2(spectrum, shape, workers=threads)
    return np.ascontiguousarray(out[: image.shape[0], : image.shape[1]].astype(np.float32))


def covariance_of(beam: Beam) -> np.ndarray:
    """Covariance of the Gaussian along east and north, (2, 2) [rad^2]."""
    along = np.array([math.sin(beam.pa), math.cos(beam.pa)])
    across = np.array([along[1], -along[0]])
    major, minor = ((axis / FWHM_PER_SIGMA) ** 2 for axis in (beam.major, beam.minor))
    return major * np.outer(along, along) + minor * np.outer(across, across)


def beam_of(covariance: np.ndarray) -> Beam:
    """The beam of a covariance along east and north, (2, 2) [rad^2]."""
    variance, vectors = np.linalg.eigh(covariance)
    minor, major = FWHM_PER_SIGMA * np.sqrt(variance)
    return Beam(float(major), float(minor), math.atan2(vectors[0, 1], vectors[1, 1]) % math.pi)

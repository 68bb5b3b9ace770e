"""What a residual should look like where the image has a bright source, in numbers of the run.

A residual is quieter at a bright source than elsewhere, and readers take this hole for fitted noise. Part of it always
is: noise that looks like the PSF cannot be told from a source, whatever program fits. For one point of free flux at a
known place, fitted with the weights of the image, the residual at the distance x has the variance
sigma^2 (1 - PSF(x)^2), and the flux the error sigma; exactly so with natural weights, whose noise is correlated as the
PSF. Emission over many beams takes more. What was fitted beyond that
is seen by visibilities that were kept out of the fit (`radrim.measure.fit_quality`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from radrim.beam import Beam, main_lobe
from radrim.units import si


@dataclass(frozen=True)
class ExpectationSettings:
    """What counts as a bright source."""

    bright: float = 10.0
    """Brightness of the restored image from which pixels belong to bright sources [noise]. Below, peaks of noise would
    be among them, at which the residual is not quiet."""

    lobe: float = 0.5
    """Level at which the main lobe of the PSF ends [peak]: its width is then that of the beam."""

    sigmas: float = 3.0
    """Excess of the residual over the noise from which it is called louder, in the error that the rms of noise has."""


@dataclass(frozen=True)
class BrightResidual:
    """The residual at bright sources.

    Parameters
    ----------
    rms : float
        Of the residual at bright pixels [Jy/beam].
    beams : float
        Area of these pixels [beam].
    noise : float
        Of the residual in the whole image [Jy/beam].
    expected : float
        Rms within the main lobe around one fitted point [Jy/beam].
    error : float
        Of the image at its brightest pixel, 68 %: from the map of uncertainties, or the noise [Jy/beam].
    mapped : bool
        Whether `error` is from the map.
    """

    rms: float
    beams: float
    noise: float
    expected: float
    error: float
    mapped: bool

    @property
    def rms_error(self) -> float:
        """Error of `rms`: a beam is about one independent value [Jy/beam]."""
        return self.rms / math.sqrt(2 * max(self.beams, 1.0))


def lobe_factor(psf: np.ndarray, settings: ExpectationSettings = ExpectationSettings()) -> float:
    """Rms of the residual within the main lobe around one fitted point, over the noise.

    Parameters
    ----------
    psf : (y, x) array
        Peak 1 at (height // 2, width // 2).
    """
    lobe = main_lobe(psf, settings.lobe)
    left = 1 - np.minimum(np.asarray(psf[lobe], np.float64), 1.0) ** 2
    return math.sqrt(float(left.mean())) if lobe.any() else math.nan


def at_bright_sources(
    image: np.ndarray,
    residual: np.ndarray,
    psf: np.ndarray,
    noise: float,
    beam: Beam,
    scale: float,
    uncertainty: np.ndarray | None = None,
    settings: ExpectationSettings = ExpectationSettings(),
) -> BrightResidual | None:
    """Measure the residual at bright sources; None if there are none.

    Parameters
    ----------
    image, residual, psf : (y, x) array
        [Jy/beam]
    noise : float
        Of the residual [Jy/beam].
    beam : Beam
    scale : float
        Pixel size [rad].
    uncertainty : (y, x) array, optional
        68 % error of the image [Jy/beam].
    settings : ExpectationSettings
    """
    if not noise > 0:
        return None
    bright = np.isfinite(residual) & (np.nan_to_num(image, nan=0.0) > settings.bright * noise)
    if not bright.any():
        return None
    there = np.asarray(residual[bright], np.float64)
    peak = np.unravel_index(np.argmax(np.where(bright, image, -np.inf)), image.shape)
    mapped = uncertainty is not None and bool(np.isfinite(uncertainty[peak]))
    error = float(uncertainty[peak]) if uncertainty is not None and mapped else noise
    beams = float(bright.sum()) / beam.area(scale)
    expected = noise * lobe_factor(psf, settings)
    return BrightResidual(math.sqrt(float((there**2).mean())), beams, noise, expected, error, mapped)


def tell(
    found: BrightResidual,
    level: Mapping[str, float] | None = None,
    settings: ExpectationSettings = ExpectationSettings(),
) -> list[str]:
    """Sentences for the caption of the residual.

    Parameters
    ----------
    found : BrightResidual
    level : mapping, optional
        Chi^2 per datum: 'kept', 'fitted', 'noise', and 'kept_error', 'fitted_error'.
    settings : ExpectationSettings
    """
    area = f"{found.beams:,.0f} beams" if found.beams >= 1.5 else "about one beam"
    rms, noise = si(found.rms, "Jy/beam"), si(found.noise, "Jy/beam")
    gap = settings.sigmas * found.noise / math.sqrt(2 * max(found.beams, 1.0))
    text = [
        f"Where the image is above {settings.bright:g} times the noise ({area}), the residual has an rms of {rms} "
        f"(± {si(found.rms_error, 'Jy/beam', 2)}), elsewhere a noise of {noise}.",
        f"A hole there is to be expected, since noise that looks like the PSF cannot be told from a source: one fitted "
        f"point leaves {si(found.expected, 'Jy/beam')} within its beam, extended emission less.",
    ]
    if found.rms > found.noise + gap:
        text.append("Here it is louder there, not quieter: calibration errors, or structure that the model lacks.")
    elif found.rms < found.noise:
        text.append("The noise that the hole lacks is in the image.")
    source = "by the map of uncertainties, 68 %" if found.mapped else "the noise; --uncertainty maps it"
    text.append(f"The error of its brightest pixel is {si(found.error, 'Jy/beam')} ({source}).")
    if level and math.isfinite(level["kept"]) and math.isfinite(level["fitted"]):
        text.append(
            "Whether more noise was fitted is told by the visibilities that were kept out: χ² per datum is "
            f"{_with_error(level, 'kept')} for them, {_with_error(level, 'fitted')} for fitted ones"
            + (f", {level['noise']:.3g} for noise alone." if math.isfinite(level["noise"]) else ".")
        )
    return text


def _with_error(level, name):
    error = level.get(f"{name}_error", math.nan)
    return f"{level[name]:.3g}" + (f" ± {error:.1g}" if math.isfinite(error) else "")

"""The local noise of an image: a map of the rms in windows, without the sources in them.

Near bright sources an image has errors of calibration and of deconvolution that are no sources, and at the edge of a
mosaic it has more noise. One rms for all pixels is then too low at one place and too high at another.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from radrim.errors import ConfigError

METHODS = ("rms", "rms-with-min")
"""Names as in WSClean: the rms; or at least what the deepest negative pixel of the window tells of the artefacts."""


@dataclass(frozen=True)
class LocalNoiseSettings:
    """How the noise in a window is measured."""

    steps: int = 4
    """Windows along each axis that overlap at one place; the map is linear between their centres."""

    samples: int = 4096
    """About the number of pixels of a window that are looked at; of larger windows every second, third, ... row and
    column. The error of the rms is then about 1 %."""

    clip: float = 3.0
    """Pixels further from the median than so many times the scatter do not count [scatter]."""

    rounds: int = 3
    """How often pixels are left out."""

    least: float = 0.2
    """Fraction of a window's pixels that must be finite; the noise of other windows is that of the nearest one."""

    deepest: float = 5.0
    """Depth of negative pixels that noise alone explains, in units of the noise, in 'rms-with-min'."""


def local_noise(
    image: np.ndarray, window: float, method: str = "rms", settings: LocalNoiseSettings = LocalNoiseSettings()
) -> np.ndarray:
    """Rms of the noise around each pixel.

    Parameters
    ----------
    image : (y, x) array
        Pixels that are not finite do not count.
    window : float
        Side of the square windows [pixel], at least 8.
    method : {'rms', 'rms-with-min'}
        With 'rms-with-min' the noise is at least a fifth of the depth of the window's most negative pixel.
    settings : LocalNoiseSettings

    Returns
    -------
    (y, x) float32
        In the unit of the image; 0 everywhere if no window has enough finite pixels.

    Raises
    ------
    ConfigError
        A window of less than 8 pixels, or an unknown method.

    References
    ----------
    Offringa et al. (2014), MNRAS 444, 606: WSClean, whose option -local-rms this follows.
    """
    if window < 8:
        raise ConfigError(f"The window of the local rms is {window:.3g} pixels wide; it must be at least 8 pixels.")
    if method not in METHODS:
        raise ConfigError(f"The method of the local rms is '{method}'; it must be one of {', '.join(METHODS)}.")
    rows, columns = (_centres(n, window, settings.steps) for n in image.shape)
    found = np.array([[_measure(_cut(image, y, x, window), method, settings) for x in columns] for y in rows])
    known = np.isfinite(found)
    if not known.any():
        return np.zeros(image.shape, np.float32)
    if not known.all():
        nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
        found = found[tuple(nearest)]
    along_x = np.stack([np.interp(np.arange(image.shape[1]), columns, row) for row in found])
    out = np.empty(image.shape, np.float32)
    place = np.interp(np.arange(image.shape[0]), rows, np.arange(len(rows)))
    below = np.minimum(place.astype(int), len(rows) - 1)
    part = (place - below)[:, None]
    above = np.minimum(below + 1, len(rows) - 1)
    for start in range(0, len(out), 1024):  # no second image in float64
        block = slice(start, start + 1024)
        out[block] = (1 - part[block]) * along_x[below[block]] + part[block] * along_x[above[block]]
    return out


def _centres(length, window, steps):
    """Centres of the windows along an axis; the first and the last window touch the edges."""
    if length <= window:
        return np.array([(length - 1) / 2])
    count = 1 + int(np.ceil((length - window) * steps / window))
    return np.linspace((window - 1) / 2, length - 1 - (window - 1) / 2, count)


def _cut(image, y, x, window):
    half = window / 2
    rows, columns = (slice(max(0, round(c - half + 0.5)), max(1, round(c + half + 0.5))) for c in (y, x))
    return image[rows, columns]


def _measure(part, method, settings):
    """Noise of the pixels of one window; NaN if too few are finite."""
    apart = max(1, int(np.sqrt(part.size / settings.samples)))
    values = part[::apart, ::apart]
    finite = values[np.isfinite(values)].astype(np.float64)
    if finite.size < max(8, settings.least * values.size):
        return np.nan
    kept = finite
    for _ in range(settings.rounds):
        middle = np.median(kept)
        scatter = 1.4826 * np.median(np.abs(kept - middle))
        kept = kept[np.abs(kept - middle) <= settings.clip * scatter]
    if method == "rms-with-min":
        deepest = np.nanmin(np.where(np.isfinite(part), part, np.nan))
        scatter = max(scatter, -deepest / settings.deepest)
    return scatter

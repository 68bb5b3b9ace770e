"""Draws elements of simulated skies: random fields, filaments, spots, ellipses and soft edges."""

from collections.abc import Callable
from typing import overload

import numpy as np
from scipy import fft, ndimage

from radrim.geometry import FWHM_PER_SIGMA

Numbers = float | np.ndarray
ToPixels = Callable[[Numbers, Numbers], tuple[Numbers, Numbers]]
"""Coordinates along and across an axis to rows and columns."""


@overload
def log_uniform(rng: np.random.Generator, low: float, high: float, size: None = None) -> float: ...


@overload
def log_uniform(rng: np.random.Generator, low: float, high: float, size: int | np.integer) -> np.ndarray: ...


def log_uniform(rng: np.random.Generator, low: float, high: float, size: int | np.integer | None = None) -> Numbers:
    """Random numbers between `low` and `high`, uniform in the logarithm: a float, or an array of `size`."""
    return np.exp(rng.uniform(np.log(low), np.log(high), size))


def field(rng: np.random.Generator, size: int, slope: float) -> np.ndarray:
    """A Gaussian random field with the power spectrum k ** -slope, mean 0 and rms 1, (y, x) float32."""
    ky, kx = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)
    power = ky * ky + kx * kx
    power[0, 0] = np.inf
    white = rng.standard_normal((size, size // 2 + 1, 2), np.float32).view(np.complex64)[..., 0]
    field = fft.irfft2(white * (power ** (-slope / 4)).astype(np.float32), s=(size, size))
    return field / field.std()


def filaments(rng: np.random.Generator, size: int, width: float, slope: float = 3.0) -> np.ndarray:
    """Filaments along the zero lines of a random field, 0 to 1; `width` is their thickness in rms of the field."""
    return np.exp(-np.abs(field(rng, size, slope)) / width)


def axes(
    rng: np.random.Generator, size: int, length: float, spread: float = 0.15, warp: float = 0.0
) -> tuple[np.ndarray, np.ndarray, ToPixels]:
    """Coordinates along and across a random axis, in units of `length` [pixel], and the map back to pixels.

    `spread` is the rms distance of the origin from the middle, over the size of the tile. `warp` is the rms
    displacement of the coordinates, in units of `length`.
    """
    centre = size * (0.5 + np.clip(rng.normal(0, spread, 2), -0.45, 0.45))
    angle = rng.uniform(0, 2 * np.pi)
    cos, sin = np.cos(angle), np.sin(angle)
    grid = np.arange(size, dtype=np.float32)
    y, x = ((grid - c) / length for c in centre)
    y, x = np.broadcast_arrays(y[:, None], x[None, :])
    if warp > 0:
        y, x = y + warp * field(rng, size, 4.0), x + warp * field(rng, size, 4.0)

    def pixels(along: Numbers, across: Numbers) -> tuple[Numbers, Numbers]:
        return centre[0] + length * (along * sin + across * cos), centre[1] + length * (along * cos - across * sin)

    return y * sin + x * cos, y * cos - x * sin, pixels


def add_spots(sky: np.ndarray, y: Numbers, x: Numbers, flux: Numbers, sigma: Numbers) -> None:
    """Add round Gaussians of the total `flux` at fractional pixels, in place; `sigma` [pixel] at least about 0.4.

    Each spot is truncated at 5 sigma of the widest one and at the edge of the tile. A spot of sigma 0 is the nearest
    pixel.
    """
    size = len(sky)
    y, x, flux, sigma = np.broadcast_arrays(*(np.atleast_1d(a).astype(np.float32) for a in (y, x, flux, sigma)))
    near = (y > -40) & (y < size + 40) & (x > -40) & (x < size + 40)
    y, x, flux, sigma = y[near], x[near], flux[near], sigma[near]
    half = int(np.ceil(5 * sigma.max(initial=0.0)))
    steps = np.arange(-half, half + 1)
    profile = []
    for place in (y, x):
        pixel = np.rint(place).astype(int)[:, None] + steps
        offset = np.where(sigma[:, None] > 0, pixel - place[:, None], steps) / np.maximum(sigma, 1e-3)[:, None]
        shape = np.exp(-0.5 * offset**2)
        shape /= shape.sum(1, keepdims=True)
        shape[(pixel < 0) | (pixel >= size)] = 0
        profile.append((np.clip(pixel, 0, size - 1), shape))
    (rows, down), (columns, across) = profile
    index = rows[:, :, None] * size + columns[:, None, :]
    values = (flux[:, None] * down)[:, :, None] * across[:, None, :]
    sky += np.bincount(index.ravel(), values.ravel(), size * size).reshape(size, size)


def add_ellipse(sky: np.ndarray, y: float, x: float, flux: float, major: float, minor: float, angle: float) -> None:
    """Add one elliptical Gaussian of the total `flux`, widths at half maximum [pixel], in place."""
    grid = np.arange(len(sky), dtype=np.float32)
    dy, dx = (grid - y)[:, None], grid - x
    a = (dy * np.sin(angle) + dx * np.cos(angle)) * (FWHM_PER_SIGMA / major)
    b = (dy * np.cos(angle) - dx * np.sin(angle)) * (FWHM_PER_SIGMA / minor)
    sky += flux * FWHM_PER_SIGMA**2 / (2 * np.pi * major * minor) * np.exp(-0.5 * (a * a + b * b))


def soft_edge(distance: np.ndarray, width: float) -> np.ndarray:
    """Smooth step from 0 outside (negative distance) to 1 inside, over about `width`."""
    return 1 / (1 + np.exp(np.clip(-distance / width, -30, 30)))


def finish(rng: np.random.Generator, sky: np.ndarray, most: float = 1.3) -> np.ndarray:
    """Blur an extended sky by a random width up to `most` pixels (rms), usually much less, to hide its pixels."""
    sigma = most * rng.random() ** 2
    return ndimage.gaussian_filter(sky, sigma, mode="constant", truncate=4) if sigma > 0.3 else sky


def unit(image: np.ndarray) -> np.ndarray:
    """`image` scaled to a total flux of 1; an empty image stays empty."""
    return image / max(float(image.sum()), 1e-30)

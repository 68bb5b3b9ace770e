"""The largest fraction of an update that keeps the residual rms within a limit.

It follows from sums over pixels, which add up over the parts of an image.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np


class Moments(NamedTuple):
    """Sums over the pixels of an image, from which its rms follows; sums of parts add up to those of the whole image.

    Parameters
    ----------
    pixels : float
        Number of pixels above the horizon; all others are 0.
    total, square : float
        Sums of the values, and of their squares.
    """

    pixels: float
    total: float
    square: float

    @classmethod
    def of(cls, image: np.ndarray) -> "Moments":
        """Sums of an image (y, x)."""
        values = image.astype(np.float64)
        return cls(_count(values), float(values.sum()), float(np.vdot(values, values)))

    @classmethod
    def sum(cls, parts: Iterable[Sequence[float]]) -> "Moments":
        """Sums of a whole image from those of its parts."""
        return cls(*map(math.fsum, zip(*parts, strict=True)))

    @property
    def std(self) -> float:
        """Standard deviation."""
        return math.sqrt(max(self.square / self.pixels - (self.total / self.pixels) ** 2, 0.0))


class Change(NamedTuple):
    """Sums over the pixels of a residual before an update, b, and of the change of the residual by the update, d.

    Here rms means the scatter around the mean, since the mean of a residual is not 0 where diffuse flux is missing.

    Parameters
    ----------
    pixels : float
        Number of pixels above the horizon.
    b, d, bb, bd, dd : float
        Sums of b, d and their products.
    """

    pixels: float
    b: float
    d: float
    bb: float
    bd: float
    dd: float

    @classmethod
    def of(cls, before: np.ndarray, after: np.ndarray) -> "Change":
        """Sums from the residuals without the update and with the whole update, (y, x) float32 [Jy/beam]."""
        b = before.astype(np.float64)
        d = np.where(b == 0, 0, after - b) if (b == 0).any() and b.any() else after - b
        products = (float(np.vdot(b, b)), float(np.vdot(b, d)), float(np.vdot(d, d)))
        return cls(_count(b), float(b.sum()), float(d.sum()), *products)

    @classmethod
    def sum(cls, parts: Iterable[Sequence[float]]) -> "Change":
        """Sums of a whole image from those of its parts."""
        return cls(*map(math.fsum, zip(*parts, strict=True)))

    def at(self, part: float) -> Moments:
        """Sums of the residual with the fraction `part` of the update."""
        square = self.bb + 2 * part * self.bd + part**2 * self.dd
        return Moments(self.pixels, self.b + part * self.d, square)

    def part_above(self, least: float) -> float:
        """Largest fraction, at most 1, for which the residual rms is at least `least` [Jy/beam]."""
        square, slope, curve = self._parabola(least)
        if square + 2 * slope + curve >= 0:
            return 1.0
        return float((-slope - np.sqrt(slope**2 - curve * square)) / curve)

    def part_below(self, most: float) -> float:
        """Largest fraction, at most 1, for which a residual rms that was below `most` stays below it [Jy/beam]."""
        square, slope, curve = self._parabola(most)
        if square + 2 * slope + curve <= 0:
            return 1.0
        return float((-slope + np.sqrt(slope**2 - curve * square)) / curve)

    def _parabola(self, level):
        """Coefficients of the mean square of the residual minus `level`^2, as a parabola in the fraction."""
        b, d = self.b / self.pixels, self.d / self.pixels
        square = self.bb / self.pixels - b**2 - level**2
        return square, self.bd / self.pixels - b * d, self.dd / self.pixels - d**2


def _count(residual):
    """Number of pixels above the horizon: beyond it operators give exactly 0."""
    return float(np.count_nonzero(residual) or residual.size)


def best_part(update: np.ndarray, before: np.ndarray, after: np.ndarray) -> float:
    """The fraction of an update that lowers chi^2 most; see `ImageState.measure`.

    Along the update d, chi^2 is the parabola -2 a <d, r> + a^2 <d, G d>. Here r is the exact residual before the
    update, and G d is the difference of the residuals before and after it.

    Parameters
    ----------
    update : (..., y, x) float32
        [Jy/pixel]
    before, after : (..., y, x) float32
        Exact residuals without the update and with all of it [Jy/beam].
    """
    update = update.astype(np.float64)
    fall, curve = np.vdot(update, before), np.vdot(update, before - after)
    return float(fall / curve) if fall > 0 and curve > 0 else 0.0

"""How much of an update may be taken, by the rms of the residual that it leaves; from sums, so that parts add up."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np


class Moments(NamedTuple):
    """Sums over pixels, from which the rms of an image follows; those of its parts add up to those of the whole.

    Parameters
    ----------
    pixels : float
        Pixels.
    total, square : float
        Sums of the values, and of their squares.
    """

    pixels: float
    total: float
    square: float

    @classmethod
    def of(cls, image: np.ndarray) -> "Moments":
        """Of an image (y, x)."""
        values = image.astype(np.float64)
        return cls(float(values.size), float(values.sum()), float(np.vdot(values, values)))

    @classmethod
    def sum(cls, parts: Iterable[Sequence[float]]) -> "Moments":
        """Of a whole from its parts."""
        return cls(*map(math.fsum, zip(*parts, strict=True)))

    @property
    def std(self) -> float:
        """Standard deviation."""
        return math.sqrt(max(self.square / self.pixels - (self.total / self.pixels) ** 2, 0.0))


class Change(NamedTuple):
    """Sums over pixels of a residual before an update, b, and of what the update changes, d.

    The mean of both does not count: where diffuse flux is missing, residuals scatter around another value than 0.

    Parameters
    ----------
    pixels : float
        Pixels.
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
        """From residuals without the update and with all of it, (y, x) float32 [Jy/beam]."""
        b = before.astype(np.float64)
        d = after - b
        products = (float(np.vdot(b, b)), float(np.vdot(b, d)), float(np.vdot(d, d)))
        return cls(float(b.size), float(b.sum()), float(d.sum()), *products)

    @classmethod
    def sum(cls, parts: Iterable[Sequence[float]]) -> "Change":
        """Of a whole from its parts."""
        return cls(*map(math.fsum, zip(*parts, strict=True)))

    def at(self, part: float) -> Moments:
        """Of the residual with this part of the update."""
        square = self.bb + 2 * part * self.bd + part**2 * self.dd
        return Moments(self.pixels, self.b + part * self.d, square)

    def part_above(self, least: float) -> float:
        """Largest part, at most 1, that leaves a residual with an rms of at least `least` [Jy/beam]."""
        square, slope, curve = self._parabola(least)
        if square + 2 * slope + curve >= 0:
            return 1.0
        return float((-slope - np.sqrt(slope**2 - curve * square)) / curve)

    def part_below(self, most: float) -> float:
        """Largest part, at most 1, that leaves a residual with an rms of at most `most`, from below it [Jy/beam]."""
        square, slope, curve = self._parabola(most)
        if square + 2 * slope + curve <= 0:
            return 1.0
        return float((-slope + np.sqrt(slope**2 - curve * square)) / curve)

    def _parabola(self, level):
        """Coefficients of the mean square of the residual less `level`^2, as a function of the part."""
        b, d = self.b / self.pixels, self.d / self.pixels
        square = self.bb / self.pixels - b**2 - level**2
        return square, self.bd / self.pixels - b * d, self.dd / self.pixels - d**2

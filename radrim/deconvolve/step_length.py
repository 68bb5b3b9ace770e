"""How much of an update may be taken, by what it leaves: the residual's rms has a lower and an upper limit."""

import numpy as np


def part_above(before, after, least):
    """How much of an update may be taken: all, or so much that the residual's rms does not fall below a limit.

    Parameters
    ----------
    before, after : (y, x) float32
        Residuals without the update and with all of it [Jy/beam].
    least : float
        [Jy/beam]

    Returns
    -------
    float
        At most 1.
    """
    square, slope, curve = _parabola(before, after, least)
    if square + 2 * slope + curve >= 0:
        return 1.0
    return float((-slope - np.sqrt(slope**2 - curve * square)) / curve)


def part_below(before, after, most):
    """The same if the residual's rms may not rise above `most`, from below it."""
    square, slope, curve = _parabola(before, after, most)
    if square + 2 * slope + curve <= 0:
        return 1.0
    return float((-slope + np.sqrt(slope**2 - curve * square)) / curve)


def _parabola(before, after, level):
    """Coefficients of the residual's mean square over `level`^2 when a part of an update is taken.

    With the residual r before and d = after - before, the mean of (r + a d)^2 is a parabola in a; r and d without their
    means, which are no noise: where diffuse flux is missing, residuals lie beside 0.
    """
    before = before.astype(np.float64)
    change = after - before
    before, change = before - before.mean(), change - change.mean()
    return np.mean(before**2) - level**2, np.mean(before * change), np.mean(change**2)

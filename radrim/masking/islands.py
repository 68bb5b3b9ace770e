"""Masks of emission: islands of pixels above a threshold."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage


@dataclass(frozen=True)
class IslandThresholds:
    """What counts as emission.

    Parameters
    ----------
    peak : float
        Least brightness of the brightest pixel of an island [noise].
    edge : float
        Brightness above which pixels belong to an island [noise].
    min_area : float
        Least area of an island [pixel].
    grow : float
        Distance by which islands are widened [pixel].
    negative : bool
        Whether negative emission counts, too.
    """

    peak: float = 5.0
    edge: float = 3.0
    min_area: float = 1.0
    grow: float = 0.0
    negative: bool = False


def find_mask(image: np.ndarray, noise: np.ndarray | float, limits: IslandThresholds) -> tuple[np.ndarray, int]:
    """Pixels of an image that belong to emission.

    Pixels above the edge that touch each other, also by their corners, are an island; it counts if its brightest pixel
    is above the peak's threshold and its area is large enough.

    Parameters
    ----------
    image : (y, x) array
    noise : (y, x) array or float
        In the unit of the image; where it is 0 there is no emission.
    limits : IslandThresholds

    Returns
    -------
    mask : (y, x) bool
    count : int
        Number of islands, before they are widened.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        height = np.where(np.asarray(noise) > 0, image / noise, 0)
    height = np.where(np.isfinite(height), height, 0)
    if limits.negative:
        height = np.abs(height)
    labels, total = ndimage.label(height > limits.edge, np.ones((3, 3), bool))
    if not total:
        return np.zeros(image.shape, bool), 0
    numbers = np.arange(1, total + 1)
    bright = ndimage.maximum(height, labels, numbers) > limits.peak
    large = np.bincount(labels.ravel(), minlength=total + 1)[1:] >= limits.min_area
    counts = np.concatenate([[False], bright & large])
    return widened(counts[labels], limits.grow), int(counts.sum())


def widened(mask: np.ndarray, distance: float) -> np.ndarray:
    """A mask (y, x) bool with all pixels that are not further than a distance [pixel] from it."""
    if distance < 1 or not mask.any():
        return mask
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    reach = math.ceil(distance)
    window = tuple(slice(max(0, found[0] - reach), found[-1] + 1 + reach) for found in (rows, columns))
    out = np.zeros_like(mask)
    out[window] = ndimage.distance_transform_edt(~mask[window]) <= distance
    return out

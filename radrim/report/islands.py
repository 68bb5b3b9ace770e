"""The brightest sources of an image, each an island of connected pixels: what a quality check needs, no catalogue.

An island is all pixels above `EDGE` times the noise that touch each other, also by their corners, with a peak above
`PEAK` times the noise, as in Hales et al. (2012, MNRAS 425, 979). Only pixels above the edge are held in memory, so
that a gigapixel image takes no more than a small one.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from radrim.geometry import ImageGrid, axes

PEAK, EDGE = 5.0, 3.0
"""What the brightest pixel of an island is at least above, and all of its pixels [times the noise]."""
STRIP = 1 << 22
"""Pixels that are looked at together."""
MOST = 1 << 23
"""Pixels above the edge that are held at once; where there are more, the edge is raised."""


@dataclass(frozen=True)
class Island:
    """One source.

    Parameters
    ----------
    ra, dec : float
        Of the centre of brightness [rad].
    x, y : float
        The same, in pixels of the image, counted from 0.
    peak : float
        Brightest pixel [Jy/beam].
    peak_x, peak_y : int
        Where that is [pixel].
    flux : float
        Sum of the pixels over the beam's area, and what an unresolved source has below the edge [Jy].
    pixels : int
    """

    ra: float
    dec: float
    x: float
    y: float
    peak: float
    peak_x: int
    peak_y: int
    flux: float
    pixels: int


def brightest(image, grid: ImageGrid, noise, beam, count=10, signed=False):
    """The sources with the largest peaks.

    Parameters
    ----------
    image : (y, x) array
        Restored [Jy/beam]; read strip by strip. Pixels that are not finite are left out.
    grid : ImageGrid
    noise : float
        [Jy/beam]
    beam : Beam
    count : int
        Most sources.
    signed : bool
        Whether negative pixels can be sources, as in Stokes Q, U and V.

    Returns
    -------
    list of Island
        From the largest |peak| on.
    edge : float
        Brightness of an island's faintest pixel, at least [Jy/beam].
    """
    index, value, edge = _bright_pixels(image, EDGE * noise, signed)
    if not noise > 0 or not len(index):
        return [], edge
    width = grid.width
    number, island = _connected(index, width, value < 0)
    strength = np.abs(value)
    # Within an island the last of rising strength is the peak.
    order = np.lexsort((strength, island))
    last = np.searchsorted(island[order], np.arange(number), side="right") - 1
    peaks = order[last]
    peaks = peaks[strength[peaks] >= PEAK * noise]
    peaks = peaks[np.argsort(-strength[peaks], kind="stable")][:count]
    area = beam.area(grid.scale)
    return [
        _measure(index, value, np.flatnonzero(island == island[peak]), peak, grid, edge, area) for peak in peaks
    ], edge


def _bright_pixels(image, edge, signed):
    """Flat index and value of the pixels above the edge, and the edge, raised where they would be too many."""
    height, width = image.shape
    rows = max(1, STRIP // width)
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for start in range(0, height, rows):
        strip = np.asarray(image[start : start + rows], np.float32).ravel()
        inside = np.flatnonzero((np.abs(strip) if signed else strip) > edge)  # NaN is not
        inside = inside[np.isfinite(strip[inside])]
        found.append((inside + start * width, strip[inside].astype(np.float64)))
        while sum(len(index) for index, _ in found) > MOST:
            edge *= 2
            keep = [np.abs(value) > edge for _, value in found]
            found = [(index[k], value[k]) for k, (index, value) in zip(keep, found, strict=True)]
    index, value = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return index, value, edge


def _connected(index, width, negative):
    """Number of islands, and the island of each pixel; pixels of different sign do not touch."""
    pairs = []
    for dy, dx in ((0, 1), (1, -1), (1, 0), (1, 1)):
        column = index % width + dx
        there = index + dy * width + dx
        place = np.searchsorted(index, there).clip(max=len(index) - 1)
        touch = (index[place] == there) & (column >= 0) & (column < width) & (negative[place] == negative)
        pairs.append(np.stack([np.flatnonzero(touch), place[touch]]))
    first, second = np.concatenate(pairs, axis=1)
    links = coo_array((np.ones(len(first), bool), (first, second)), shape=(len(index),) * 2)
    return connected_components(links, directed=False)


def _measure(index, value, pixels, peak, grid, edge, area):
    """The island of these pixels."""
    weight = value[pixels]
    rows, columns = np.divmod(index[pixels], grid.width)
    y, x = (float(np.average(place, weights=weight)) for place in (rows, columns))
    l = -(x - grid.width // 2 + grid.x0) * grid.scale  # noqa: E741
    m = (y - grid.height // 2 + grid.y0) * grid.scale
    n = math.sqrt(max(0.0, 1 - l * l - m * m))
    east, north, up = np.array([l, m, n]) @ axes(grid.ra, grid.dec)
    # A Gaussian of volume S and peak A has S (1 - T/A) where it is above the level T: an unresolved source lacks T.
    flux = weight.sum() / area + math.copysign(edge, value[peak])
    return Island(
        ra=math.atan2(north, east) % (2 * math.pi),
        dec=math.asin(max(-1.0, min(1.0, up))),
        x=x,
        y=y,
        peak=float(value[peak]),
        peak_x=int(index[peak] % grid.width),
        peak_y=int(index[peak] // grid.width),
        flux=float(flux),
        pixels=len(pixels),
    )

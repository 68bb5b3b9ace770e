"""Sources in a restored image: found as islands of bright pixels, and measured without a fit.

An island is a set of pixels above an edge that touch each other, also by their corners, with a peak above a higher
threshold, as in Hales et al. (2012, MNRAS 425, 979). There is no deblending: an extended source is one source,
whatever program made the image. Islands are measured in two ways:

- `brightest` measures the few brightest islands of an image of any size, for the quality file;
- `find_sources` measures all islands with errors, so that two images can be compared.

`find_sources` measures

- the peak: the brightest pixel;
- the flux: the sum over the island widened by one beam (its FWHM, an ellipse), which holds faint wings; where two
  widened islands overlap, the pixels count for the brighter source;
- the position: the centroid of the island, weighted by brightness.

Its errors follow from noise that is correlated over one beam: sigma for the peak, sigma times the square root of the
number of beams for the flux, and sigma propagated through the centroid. They exclude errors of calibration and
deconvolution, and sidelobes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from radrim.beam import Beam
from radrim.geometry import ImageGrid, axes


@dataclass(frozen=True)
class IslandSettings:
    """What counts as a source, and how much of an image is held in memory."""

    peak: float = 5.0
    """Least brightness of the brightest pixel of an island [noise]."""

    edge: float = 3.0
    """Brightness above which pixels belong to an island [noise]."""

    strip: int = 1 << 22
    """Pixels of the image that are read at once."""

    held: int = 1 << 23
    """Largest number of pixels above the edge; the edge is doubled until no more are left."""


@dataclass(frozen=True)
class Islands:
    """The islands of an image.

    Parameters
    ----------
    index : (pixel,) int64
        Flat indices of all pixels above the edge, ascending.
    value : (pixel,) float64
        Their brightness [Jy/beam].
    members : list of (n,) int64
        Places in `index` of the pixels of each island, ascending; the island of the largest |peak| first.
    peaks : list of int
        Place in `index` of the peak of each island.
    edge : float
        Brightness of an island's faintest pixel, at least [Jy/beam].
    """

    index: np.ndarray
    value: np.ndarray
    members: list[np.ndarray]
    peaks: list[int]
    edge: float


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
        Its place [pixel].
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


SOURCE = np.dtype([(name, float) for name in (
    "x", "y", "l", "m", "l_peak", "m_peak", "peak", "flux", "peak_error", "flux_error", "l_error", "m_error",
    "pixels")])  # fmt: skip
"""Columns: pixel and direction cosines [rad] of the centroid, direction cosines of the brightest pixel, Jy/beam, Jy,
errors, and pixels of the island."""


def find_islands(
    image: np.ndarray,
    noise: float,
    signed: bool = False,
    count: int | None = None,
    settings: IslandSettings = IslandSettings(),
) -> Islands:
    """Islands of an image, which is read in strips.

    Parameters
    ----------
    image : (y, x) array
        [Jy/beam]; pixels that are not finite are left out.
    noise : float
        [Jy/beam]
    signed : bool
        Whether negative pixels can form islands, as in Stokes Q, U and V.
    count : int, optional
        Largest number of islands.
    settings : IslandSettings
    """
    index, value, edge = _bright_pixels(image, settings.edge * noise, signed, settings)
    if not len(index):
        return Islands(index, value, [], [], edge)
    number, island = _connected(index, image.shape[1], value < 0)
    strength = np.abs(value)
    # Sorted by island and strength, the last pixel of each island is its peak.
    order = np.lexsort((strength, island))
    ends = np.searchsorted(island[order], np.arange(number), side="right")
    peaks = order[ends - 1]
    bright = np.flatnonzero(strength[peaks] >= settings.peak * noise)
    bright = bright[np.argsort(-strength[peaks[bright]], kind="stable")][:count]
    starts = np.concatenate([[0], ends[:-1]])
    members = [np.sort(order[starts[k] : ends[k]]) for k in bright]
    return Islands(index, value, members, [int(peaks[k]) for k in bright], edge)


def _bright_pixels(image, edge, signed, settings):
    """Flat index and value of the pixels above the edge, and the edge, which is raised if there are too many."""
    height, width = image.shape
    rows = max(1, settings.strip // width)
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for start in range(0, height, rows):
        strip = np.asarray(image[start : start + rows], np.float32).ravel()
        inside = np.flatnonzero((np.abs(strip) if signed else strip) > edge)  # false for NaN
        inside = inside[np.isfinite(strip[inside])]
        found.append((inside + start * width, strip[inside].astype(np.float64)))
        while sum(len(index) for index, _ in found) > settings.held:
            edge *= 2
            keep = [np.abs(value) > edge for _, value in found]
            found = [(index[k], value[k]) for k, (index, value) in zip(keep, found, strict=True)]
    index, value = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return index, value, edge


def _connected(index, width, negative):
    """Number of islands, and the island of each pixel; pixels of different sign do not touch."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

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


def brightest(
    image: np.ndarray,
    grid: ImageGrid,
    noise: float,
    beam: Beam,
    count: int = 10,
    signed: bool = False,
    settings: IslandSettings = IslandSettings(),
) -> tuple[list[Island], float]:
    """The islands with the largest peaks.

    Parameters
    ----------
    image : (y, x) array
        Restored [Jy/beam]; read strip by strip. Pixels that are not finite are left out.
    grid : ImageGrid
    noise : float
        [Jy/beam]
    beam : Beam
    count : int
        Largest number of islands.
    signed : bool
        Whether negative pixels can be sources, as in Stokes Q, U and V.
    settings : IslandSettings

    Returns
    -------
    list of Island
        From the largest |peak| on.
    edge : float
        Brightness of an island's faintest pixel, at least [Jy/beam].
    """
    if not noise > 0:
        return [], settings.edge * noise
    found = find_islands(image, noise, signed, count, settings)
    area = beam.area(grid.scale)
    pairs = zip(found.members, found.peaks, strict=True)
    return [_measure(found, members, peak, grid, area) for members, peak in pairs], found.edge


def _measure(found, members, peak, grid, area):
    """The island of these pixels."""
    weight = found.value[members]
    rows, columns = np.divmod(found.index[members], grid.width)
    y, x = (float(np.average(place, weights=weight)) for place in (rows, columns))
    l = -(x - grid.width // 2 + grid.x0) * grid.scale
    m = (y - grid.height // 2 + grid.y0) * grid.scale
    n = math.sqrt(max(0.0, 1 - l * l - m * m))
    east, north, up = np.array([l, m, n]) @ axes(grid.ra, grid.dec)
    # The part of a Gaussian of volume S and peak A above the level T has the volume S (1 - T/A). For an unresolved
    # source S = A, so that T is missing.
    flux = weight.sum() / area + math.copysign(found.edge, found.value[peak])
    return Island(
        ra=math.atan2(north, east) % (2 * math.pi),
        dec=math.asin(max(-1.0, min(1.0, up))),
        x=x,
        y=y,
        peak=float(found.value[peak]),
        peak_x=int(found.index[peak] % grid.width),
        peak_y=int(found.index[peak] // grid.width),
        flux=float(flux),
        pixels=len(members),
    )


def find_sources(
    image: np.ndarray, noise: float, beam: Beam, grid: ImageGrid, settings: IslandSettings = IslandSettings()
) -> np.ndarray:
    """Islands above the noise, the brightest first.

    Parameters
    ----------
    image : (y, x) array
        [Jy/beam]; negative islands do not count, see `count_holes`.
    noise : float
        [Jy/beam]
    beam : Beam
    grid : ImageGrid
    settings : IslandSettings

    Returns
    -------
    array of SOURCE
    """
    from scipy import ndimage

    islands = find_islands(image, noise, settings=settings)
    ellipse, area = _ellipse(beam, grid.scale), beam.area(grid.scale)
    owner = np.zeros(image.shape, np.int32)
    found = np.zeros(len(islands.members), SOURCE)
    for number in reversed(range(len(found))):  # the brighter island overwrites fainter ones where they overlap
        _claim(owner, number + 1, islands.index[islands.members[number]], ellipse)
    fluxes = ndimage.sum_labels(image, owner, np.arange(1, len(found) + 1)) if len(found) else []
    sizes = np.bincount(owner.ravel(), minlength=len(found) + 1)[1:]
    for number, (source, members, peak) in enumerate(zip(found, islands.members, islands.peaks, strict=True)):
        _centroid(source, islands, members, noise, area, grid)
        source["peak"], source["peak_error"] = islands.value[peak], noise
        source["flux"] = fluxes[number] / area
        source["flux_error"] = noise * math.sqrt(max(sizes[number], area) / area)
    found["l"] = -(found["x"] - grid.width // 2) * grid.scale
    found["m"] = (found["y"] - grid.height // 2) * grid.scale
    y, x = np.divmod(islands.index[islands.peaks], grid.width) if len(found) else (0, 0)
    found["l_peak"] = -(x - grid.width // 2) * grid.scale
    found["m_peak"] = (y - grid.height // 2) * grid.scale
    return found


def count_holes(image: np.ndarray, noise: float, settings: IslandSettings = IslandSettings()) -> int:
    """Number of islands below minus the peak threshold; total intensity has no real source there."""
    from scipy import ndimage

    return int(ndimage.label(image < -settings.peak * noise, np.ones((3, 3)))[1])


def _claim(owner, number, pixels, ellipse):
    """Mark an island (flat indices), widened by an ellipse around each of its pixels, with its number."""
    from scipy import signal

    rows, columns = np.divmod(pixels, owner.shape[1])
    window = tuple(
        slice(max(0, int(place.min()) - n // 2), min(size, int(place.max()) + 1 + n // 2))
        for place, n, size in zip((rows, columns), ellipse.shape, owner.shape, strict=True)
    )
    island = np.zeros([part.stop - part.start for part in window], np.float32)
    island[rows - window[0].start, columns - window[1].start] = 1
    owner[window][signal.fftconvolve(island, ellipse, "same") > 0.5] = number


def _centroid(source, islands, members, noise, area, grid):
    """Centroid of an island, its error, and its pixels."""
    y, x = np.divmod(islands.index[members], grid.width)
    weight = islands.value[members]
    total = weight.sum()
    source["x"], source["y"] = (weight * x).sum() / total, (weight * y).sum() / total
    for name, axis, centre in (("l_error", x, source["x"]), ("m_error", y, source["y"])):
        source[name] = noise * math.sqrt(area * max(((axis - centre) ** 2).sum(), 1 / 12)) / total * grid.scale
    source["pixels"] = len(members)


def _ellipse(beam, scale):
    """Pixels within one FWHM of the middle, (y, x) float32 of odd sizes."""
    reach = max(1, math.ceil(beam.major / scale))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    along, across = _in_beams(-x * scale, y * scale, beam)
    ellipse = along**2 + across**2 <= 1
    return ellipse[np.ix_(ellipse.any(1), ellipse.any(0))].astype(np.float32)


def _in_beams(east, north, beam):
    """Offsets along and across the beam, in its widths."""
    sin, cos = math.sin(beam.pa), math.cos(beam.pa)
    return (east * sin + north * cos) / beam.major, (east * cos - north * sin) / beam.minor


def match(reference: np.ndarray, others: np.ndarray, beam: Beam) -> np.ndarray:
    """Match each source of `others` with the nearest source of `reference` within one beam; each matches once.

    Sources are matched by their centroids first, and the remaining ones by their brightest pixels: if one image shows
    a larger part of an extended source than the other, the peaks agree where the centroids do not.

    Parameters
    ----------
    reference, others : arrays of SOURCE
    beam : Beam
        Matched sources are at most one FWHM apart along its axes.

    Returns
    -------
    (other,) int64
        Indices into `reference`, -1 where there is none.
    """
    from scipy.spatial import cKDTree

    found = np.full(len(others), -1)
    if len(reference) == 0 or len(others) == 0:
        return found
    for l, m in (("l", "m"), ("l_peak", "m_peak")):
        near, far = (np.stack(_in_beams(s[l], s[m], beam), 1) for s in (reference, others))
        distance, index = cKDTree(near).query(far, distance_upper_bound=1.0)
        for k in np.argsort(distance):
            if found[k] < 0 and np.isfinite(distance[k]) and index[k] not in found:
                found[k] = index[k]
    return found


def join(lists: Mapping[str, np.ndarray], beam: Beam) -> dict[str, np.ndarray]:
    """Match the sources of several images.

    Parameters
    ----------
    lists : dict of str to array of SOURCE
        Sources of each list are matched with those of the lists before it.
    beam : Beam

    Returns
    -------
    dict of str to (source,) int64
        Indices into each list, -1 where an image lacks the source. Sources are in the order of the first list; sources
        that only later lists have follow.
    """
    groups: list[dict[str, int]] = []
    places = np.zeros(0, SOURCE)
    for name, sources in lists.items():
        found = match(places, sources, beam)
        for number, group in enumerate(found):
            if group >= 0:
                groups[group][name] = number
            else:
                groups.append({name: number})
        places = np.concatenate([places, sources[found < 0]])
    return {name: np.array([group.get(name, -1) for group in groups], int) for name in lists}

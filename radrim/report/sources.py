"""Sources in a restored image, found and measured in one simple way, so that two images can be compared.

A source is an island: pixels above `EDGE` times the noise that touch each other, one of them above `THRESHOLD` times.
There is no fit and no deblending, so an extended source is one source, whatever made the image:

- peak: brightest pixel;
- flux: sum over the island widened by one beam (its FWHM, an ellipse), where faint wings are; where two of these areas
  meet, the pixels count for the brighter source;
- position: centroid of the island, weighted by brightness.

Errors are those from noise that is correlated over one beam: sigma for the peak, sigma times the square root of the
number of beams for the flux, and sigma propagated through the centroid. Calibration, sidelobes and the errors of a
deconvolution are not in them.
"""

import math
from collections.abc import Mapping

import numpy as np
from scipy import ndimage, signal
from scipy.spatial import cKDTree

from radrim.beam import Beam
from radrim.geometry import ImageGrid

THRESHOLD, EDGE = 5.0, 3.0
SOURCE = np.dtype([(name, float) for name in (
    "x", "y", "l", "m", "l_peak", "m_peak", "peak", "flux", "peak_error", "flux_error", "l_error", "m_error",
    "pixels")])  # fmt: skip
"""Columns: pixel and direction cosines [rad] of the centroid, direction cosines of the brightest pixel, Jy/beam, Jy,
errors, and pixels of the island."""


def find_sources(image: np.ndarray, noise: float, beam: Beam, grid: ImageGrid) -> np.ndarray:
    """Islands above the noise, the brightest first.

    Parameters
    ----------
    image : (y, x) array
        [Jy/beam]; negative islands do not count, see `count_holes`.
    noise : float
        [Jy/beam]
    beam : Beam
    grid : ImageGrid

    Returns
    -------
    array of SOURCE
    """
    labels, _ = ndimage.label(image > EDGE * noise, np.ones((3, 3)))
    boxes = ndimage.find_objects(labels)
    peaks = ndimage.maximum(image, labels, np.arange(1, len(boxes) + 1)) if boxes else np.zeros(0)
    bright = [k for k in np.argsort(-peaks) if peaks[k] > THRESHOLD * noise]
    ellipse = _ellipse(beam, grid.scale)
    owner = np.zeros(image.shape, np.int32)
    found = np.zeros(len(bright), SOURCE)
    area = beam.area(grid.scale)
    for number, k in reversed(list(enumerate(bright))):  # where two meet, the brighter comes last and has it
        window = _grow(boxes[k], [n // 2 for n in ellipse.shape], image.shape)
        owner[window][_widen(labels[window] == k + 1, ellipse)] = number + 1
    fluxes = ndimage.sum_labels(image, owner, np.arange(1, len(bright) + 1)) if bright else []
    sizes = np.bincount(owner.ravel(), minlength=len(bright) + 1)[1:]
    for number, k in enumerate(bright):
        source = found[number]
        _centroid(source, image, labels, k, boxes[k], noise, area, grid.scale)
        source["peak"], source["peak_error"] = peaks[k], noise
        source["flux"] = fluxes[number] / area
        source["flux_error"] = noise * math.sqrt(max(sizes[number], area) / area)
    found["l"] = -(found["x"] - grid.width // 2) * grid.scale
    found["m"] = (found["y"] - grid.height // 2) * grid.scale
    if bright:
        y, x = np.array(ndimage.maximum_position(image, labels, np.array(bright) + 1)).T
        found["l_peak"] = -(x - grid.width // 2) * grid.scale
        found["m_peak"] = (y - grid.height // 2) * grid.scale
    return found


def count_holes(image: np.ndarray, noise: float) -> int:
    """How many islands lie below `-THRESHOLD` times the noise: in total intensity nothing real does."""
    return int(ndimage.label(image < -THRESHOLD * noise, np.ones((3, 3)))[1])


def _centroid(source, image, labels, k, box, noise, area, scale):
    """Centroid of an island, its error, and its pixels."""
    inside = labels[box] == k + 1
    y, x = (c[inside] + part.start for c, part in zip(np.indices(inside.shape), box, strict=True))
    weight = image[box][inside].astype(float)
    total = weight.sum()
    source["x"], source["y"] = (weight * x).sum() / total, (weight * y).sum() / total
    for name, axis, centre in (("l_error", x, source["x"]), ("m_error", y, source["y"])):
        source[name] = noise * math.sqrt(area * max(((axis - centre) ** 2).sum(), 1 / 12)) / total * scale
    source["pixels"] = inside.sum()


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


def _grow(box, margin, shape):
    """A box of slices, wider by `margin`, within the image."""
    return tuple(
        slice(max(0, part.start - m), min(n, part.stop + m)) for part, m, n in zip(box, margin, shape, strict=True)
    )


def _widen(island, ellipse):
    """An island and all that an ellipse around any of its pixels covers."""
    return signal.fftconvolve(island.astype(np.float32), ellipse, "same") > 0.5


def match(reference: np.ndarray, others: np.ndarray, beam: Beam) -> np.ndarray:
    """For each of `others` the source of `reference` within one beam that is nearest, and nearest to nothing else.

    First by their centroids; then, of what is left, by their brightest pixels: extended sources, of which one image
    shows a larger part than the other, have these in common.

    Parameters
    ----------
    reference, others : arrays of SOURCE
    beam : Beam
        Within: at most one FWHM apart along its axes.

    Returns
    -------
    (other,) int64
        Indices into `reference`, -1 where there is none.
    """
    found = np.full(len(others), -1)
    if len(reference) == 0 or len(others) == 0:
        return found
    for l, m in (("l", "m"), ("l_peak", "m_peak")):  # noqa: E741
        near, far = (np.stack(_in_beams(s[l], s[m], beam), 1) for s in (reference, others))
        distance, index = cKDTree(near).query(far, distance_upper_bound=1.0)
        for k in np.argsort(distance):
            if found[k] < 0 and np.isfinite(distance[k]) and index[k] not in found:
                found[k] = index[k]
    return found


def join(lists: Mapping[str, np.ndarray], beam: Beam) -> dict[str, np.ndarray]:
    """Sources of several images in one table.

    Parameters
    ----------
    lists : dict of str to array of SOURCE
        The first decides which sources are the same where images disagree; what only others have follows.
    beam : Beam

    Returns
    -------
    dict of str to (source,) int64
        Indices into each list, -1 where an image does not have the source; the first list's order, then the others'.
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

"""Facets of an image in which the w-term is nearly a plane, and how many are fastest. Needs no torch."""

from dataclasses import dataclass, replace

import numpy as np

from radrim.geometry import ImageGrid, n_minus_1
from radrim.operator.settings import NufftSettings

SETTINGS = NufftSettings()


@dataclass(frozen=True)
class Facet:
    """Rectangle of an image in which n - 1 is the plane ``level + dl (l - l0) + dm (m - m0)``, to within `half`.

    Parameters
    ----------
    y, x : int
        First row and column.
    l0, m0 : float
        Direction cosines of the centre pixel.
    level, dl, dm, half : float
        The plane, and the largest distance from it over the facet's pixels.
    """

    y: int
    x: int
    l0: float
    m0: float
    level: float
    dl: float
    dm: float
    half: float


def choose_facets(grid: ImageGrid, max_w: float, samples: int, epsilon: float) -> tuple[int, float]:
    """Number of facets along each axis for which the operator is fastest, and its estimated time.

    Small facets need fewer terms of the w-term; with large facets the samples are processed fewer times.

    Parameters
    ----------
    grid : ImageGrid
    max_w : float
        Largest |w| [wavelengths].
    samples : int
    epsilon : float

    Returns
    -------
    int, float
        Facets along each axis; seconds on one CPU core of 2023 (measured with pipelines/benchmarks/operators.py).
    """
    seconds, chosen = np.inf, 1
    for count in SETTINGS.facet_counts:
        # At least half of the facets are above the horizon, and each processes all samples. So more facets are slower.
        if count**2 / 2 * SETTINGS.visit_seconds * samples > seconds:
            break
        (rows, columns), facets = split_facets(grid, count, coarse=True)
        if min(rows, columns) < SETTINGS.min_facet_pixels and count > 1:
            break
        terms = count_terms(4 * max_w * max(facet.half for facet in facets), epsilon)
        pixels = rows * columns
        # A transform has two terms. Its time is that of an FFT with oversampling of 1.25, and of each sample twice.
        # Each term adds a factor image and its product; each facet adds the phase and the coordinates of the samples.
        transforms = terms / 2 * (SETTINGS.fft_seconds * pixels + SETTINGS.sample_seconds * samples)
        cost = len(facets) * (transforms + terms * SETTINGS.factor_seconds * pixels + SETTINGS.visit_seconds * samples)
        if cost < seconds and (terms * pixels <= SETTINGS.max_factor_elements or count == 1):
            seconds, chosen = cost, count
    return chosen, seconds


def count_terms(turns: float, epsilon: float) -> float:
    """Estimated number of products for a w-term whose phase range is `turns` turns."""
    return 1 + turns + np.log10(1 / epsilon) * (1 + 0.5 * np.log(1 + turns))


def split_facets(grid: ImageGrid, count: int, coarse: bool = False) -> tuple[tuple[int, int], list[Facet]]:
    """Cover `grid` with count x count facets of one shape; facets below the horizon are left out.

    With `coarse`, `half` is estimated from some of the pixels.
    """
    rows, columns = -(-grid.height // count), -(-grid.width // count)
    facets = []
    for y in range(0, grid.height, rows):
        for x in range(0, grid.width, columns):
            centre = (y + rows // 2 - grid.height // 2 + grid.y0, x + columns // 2 - grid.width // 2 + grid.x0)
            flat = Facet(y, x, -centre[1] * grid.scale, centre[0] * grid.scale, 0.0, 0.0, 0.0, 0.0)
            facet = _fit_plane(grid, flat, (rows, columns), coarse)
            if facet is not None:
                facets.append(facet)
    return (rows, columns), facets


def _fit_plane(grid: ImageGrid, facet: Facet, shape: tuple[int, int], coarse: bool) -> Facet | None:
    """`facet` with the best-fitting plane of n - 1; None if no pixel is above the horizon."""
    step = [max(1, (size - 1) // 8) for size in shape]
    l, m = _directions(grid, facet, shape)
    n1 = n_minus_1(l[:, :: step[1]], m[:: step[0]])
    seen = np.isfinite(n1)
    if not seen.any():
        return None if not np.isfinite(n_minus_1(l, m)).any() else _with_plane(facet, grid, shape, np.zeros(3))
    dm, dl = np.broadcast_arrays(m[:: step[0]] - facet.m0, l[:, :: step[1]] - facet.l0)
    design = np.stack([np.ones(seen.sum()), dl[seen], dm[seen]], axis=1)
    plane = np.linalg.lstsq(design, n1[seen], rcond=None)[0]
    if coarse:
        half = np.ptp(n1[seen] - design @ plane) / 2
        return replace(facet, level=plane[0], dl=plane[1], dm=plane[2], half=half)
    return _with_plane(facet, grid, shape, plane)


def _with_plane(facet: Facet, grid: ImageGrid, shape: tuple[int, int], plane: np.ndarray) -> Facet:
    """`facet` with this plane, shifted to the middle of the range of n - 1 minus the plane."""
    facet = replace(facet, level=plane[0], dl=plane[1], dm=plane[2])
    rest = distance_from_plane(grid, facet, shape)
    low, high = rest.min(), rest.max()
    return replace(facet, level=facet.level + (low + high) / 2, half=(high - low) / 2)


def _directions(grid: ImageGrid, facet: Facet, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Direction cosines l (1, x) and m (y, 1) of a facet's pixels."""
    l = facet.l0 - (np.arange(shape[1]) - shape[1] // 2) * grid.scale
    m = facet.m0 + (np.arange(shape[0]) - shape[0] // 2) * grid.scale
    return l[None, :], m[:, None]


def distance_from_plane(grid: ImageGrid, facet: Facet, shape: tuple[int, int]) -> np.ndarray:
    """Values of n - 1 minus the facet's plane, (y, x); 0 below the horizon."""
    l, m = _directions(grid, facet, shape)
    # Pixels of a facet beyond the image are clipped to it, so that they need no additional terms.
    l = np.clip(l, grid.l().min(), grid.l().max())
    m = np.clip(m, grid.m().min(), grid.m().max())
    plane = facet.level + facet.dl * (l - facet.l0) + facet.dm * (m - facet.m0)
    return np.nan_to_num(n_minus_1(l, m) - plane)

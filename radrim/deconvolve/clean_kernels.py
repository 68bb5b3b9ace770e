"""The pixel loops of CLEAN, compiled with numba.

Arrays are (y, x); `allowed` marks the pixels in which components may be found. All functions release the interpreter's
lock, so that several threads can clean tiles in parallel.
"""

import numba
import numpy as np

WATCHED = 4096
"""Number of pixels up to which Clark's loop also works on pixels below its level."""


@numba.njit(nogil=True, cache=True)
def largest(image: np.ndarray, allowed: np.ndarray, negative: bool) -> np.float32:
    """Largest allowed value of a (y, x) image, with its sign; of |image| if `negative`; 0 where nothing is allowed."""
    best, value = np.float32(0), np.float32(0)
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            v = image[y, x]
            size = abs(v) if negative else v
            if size > best and allowed[y, x]:
                best, value = size, v
    return value


@numba.njit(nogil=True, cache=True)
def _watch_level(image, allowed, level, negative):
    """Lowest fraction k / 8 of `level` that at most `WATCHED` pixels exceed; `level` itself if there is none."""
    parts = 8
    counts = np.zeros(parts, np.int64)
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            v = image[y, x]
            size = abs(v) if negative else v
            if size * parts > level and allowed[y, x]:
                counts[min(int(size / level * parts), parts) - 1] += 1
    total = counts[parts - 1]
    for k in range(parts - 2, -1, -1):
        total += counts[k]
        if total > WATCHED:
            return level * (k + 2) / parts
    return level / parts


@numba.njit(nogil=True, cache=True)
def _select(image, allowed, level, negative):
    """Pixels above `level` in raster order: index of the first one of each row, columns, values."""
    height, width = image.shape
    first = np.zeros(height + 1, np.int64)
    for y in range(height):
        count = 0
        for x in range(width):
            v = image[y, x]
            if (abs(v) if negative else v) > level and allowed[y, x]:
                count += 1
        first[y + 1] = first[y] + count
    columns = np.empty(first[height], np.int64)
    values = np.empty(first[height], np.float32)
    for y in range(height):
        k = first[y]
        for x in range(width):
            v = image[y, x]
            if (abs(v) if negative else v) > level and allowed[y, x]:
                columns[k] = x
                values[k] = v
                k += 1
    return first, columns, values


@numba.njit(nogil=True, cache=True)
def _row_peaks(first, values, negative):
    """Rows with selected pixels, largest brightness in each of them, and its index."""
    rows = np.flatnonzero(np.diff(first))
    best, at = np.zeros(rows.size, np.float32), np.zeros(rows.size, np.int64)
    for i in range(rows.size):
        for k in range(first[rows[i]], first[rows[i] + 1]):
            size = abs(values[k]) if negative else values[k]
            if size > best[i]:
                best[i], at[i] = size, k
    return rows, best, at


@numba.njit(nogil=True, cache=True)
def _subtract(values, first, columns, rows, row_best, row_at, y, x, flux, psf, negative):  # noqa: PLR0913, PLR0917 - numba takes no objects
    """Subtract a source at (y, x) from the selected pixels, and find the new peak of each row."""
    for i in range(rows.size):
        yy = rows[i]
        dy = yy - y if yy >= y else yy - y + psf.shape[0]
        best, at = np.float32(0), first[yy]
        for k in range(first[yy], first[yy + 1]):
            dx = columns[k] - x
            if dx < 0:
                dx += psf.shape[1]
            v = values[k] - flux * psf[dy, dx]
            values[k] = v
            size = abs(v) if negative else v
            if size > best:
                best, at = size, k
        row_best[i], row_at[i] = best, at


@numba.njit(nogil=True, cache=True)
def subminor(
    image: np.ndarray,
    allowed: np.ndarray,
    psf: np.ndarray,
    components: np.ndarray,
    level: float,
    gain: float,
    limit: int,
    negative: bool,
) -> tuple[int, float, float]:
    """Clark's inner loop: CLEAN only the pixels above `level`, with the PSF evaluated only there.

    Parameters
    ----------
    image : (y, x) float32
        Residual, convolved once with the scale's kernel; not changed.
    allowed : (y, x) bool
    psf : (height, width) float32
        PSF convolved twice with the kernel, on the padded periodic grid, peak at [0, 0].
    components : (y, x) float32
        Image of the fluxes at the kernels' centres, to which new components are added.
    level : float
        The loop stops when no selected pixel exceeds this level.
    gain : float
        Loop gain: fraction of the peak that is subtracted per component.
    limit : int
        Largest number of components.
    negative : bool
        Whether negative components may be found.

    Returns
    -------
    count : int
        Number of components found.
    projection, curvature : float
        Inner products <d, r> and <d, G d> of the components d with the residual r, and with their convolution by the
        PSF, G d. Along a d, chi^2 changes by -2 a <d, r> + a^2 <d, G d>.

    References
    ----------
    Clark (1980), A&A 89, 377; Offringa & Smirnov (2017), MNRAS 471, 301, section 2.2.
    """
    watched = _watch_level(image, allowed, level, negative)
    first, columns, values = _select(image, allowed, watched, negative)
    start = values.copy()
    fluxes = np.zeros(values.size, np.float32)
    rows, row_best, row_at = _row_peaks(first, values, negative)
    count, stop_above = 0, np.float32(np.inf)
    while count < limit:
        best, r = np.float32(0), 0
        for i in range(rows.size):
            if row_best[i] > best:
                best, r = row_best[i], i
        if count == 0:
            stop_above = best * np.float32(1.5)
        # With the PSF of a real array on this grid peaks do not rise. The components found so far are kept.
        if best <= level or best > stop_above:
            break
        at = row_at[r]
        flux = np.float32(gain) * values[at] / psf[0, 0]
        fluxes[at] += flux
        _subtract(values, first, columns, rows, row_best, row_at, rows[r], columns[at], flux, psf, negative)
        count += 1
    projection, curvature = 0.0, 0.0
    for y in rows:
        for k in range(first[y], first[y + 1]):
            if fluxes[k] != 0:
                components[y, columns[k]] += fluxes[k]
                projection += np.float64(fluxes[k]) * start[k]
                curvature += np.float64(fluxes[k]) * (start[k] - values[k])
    return count, projection, curvature


@numba.njit(nogil=True, cache=True)
def stamp(image: np.ndarray, components: np.ndarray, kernel: np.ndarray, step: int) -> None:
    """Add `kernel` (odd size, centred) times each component to `image`; component [j, i] sits at [j step, i step]."""
    height, width = image.shape
    radius = kernel.shape[0] // 2
    for j in range(components.shape[0]):
        for i in range(components.shape[1]):
            flux = components[j, i]
            if flux == 0:
                continue
            y0, x0 = j * step - radius, i * step - radius
            left, right = max(0, -x0), min(kernel.shape[1], width - x0)
            for dy in range(max(0, -y0), min(kernel.shape[0], height - y0)):
                for dx in range(left, right):
                    image[y0 + dy, x0 + dx] += flux * kernel[dy, dx]

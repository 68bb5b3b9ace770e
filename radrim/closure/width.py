"""The width of a source, from the amplitudes of its visibilities."""

from dataclasses import dataclass

import numpy as np

from radrim.closure.cells import CellVisibilities


@dataclass(frozen=True)
class WidthSettings:
    """How a Gaussian is fitted to amplitudes."""

    ranges: int = 20
    """Number of ranges of baseline lengths, a factor apart, whose amplitudes give the width of the Gaussian."""

    max_flux: float = 1.5
    """Largest flux of the Gaussian [largest amplitude]. It matters where all baselines resolve the source."""


def fit_width(data: CellVisibilities, smallest: float, largest: float, separate: bool) -> tuple[float, float]:
    """Fit a round Gaussian to the amplitudes.

    Parameters
    ----------
    data : CellVisibilities
    smallest, largest : float
        Twice the smallest width that is tried, and the largest width [rad].
    separate : bool
        Whether colocated baselines see more flux than the Gaussian's.

    Returns
    -------
    float
        Width (FWHM) [rad].
    float
        Flux that only colocated baselines measure, over that of the Gaussian.
    """
    far = ~(data.colocated & separate)
    if not far.any():
        return smallest, 0.0
    length, level = amplitudes(data, far)
    best = np.inf, smallest, float(level.max())
    for width in np.geomspace(smallest / 2, largest, 60):
        shape = np.exp(-((np.pi * width * length) ** 2) / (4 * np.log(2)))
        # No source is much brighter than its brightest visibility.
        flux = min(float(shape @ level / (shape @ shape)), WidthSettings.max_flux * float(level.max()))
        score = float(((level - flux * shape) ** 2).sum())
        if score < best[0]:
            best = score, width, flux
    near = data.vis[~far]
    extended = float(np.median(np.abs(near))) / best[2] - 1 if len(near) and best[2] else 0.0
    return best[1], max(extended, 0.0)


def amplitudes(data: CellVisibilities, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean lengths of baselines [wavelengths] and amplitudes without noise [Jy], each of ranges of lengths.

    `which` is a mask (sample,) bool.
    """
    length = np.hypot(data.uvw[which, 0], data.uvw[which, 1])
    shortest = length[~data.colocated[which]].min(initial=length.max())
    edges = np.geomspace(shortest, length.max(), WidthSettings.ranges)
    place = np.searchsorted(edges, length)
    count = np.bincount(place)
    used = count > 0
    power = np.bincount(place, np.abs(data.vis[which]) ** 2 - 2 * data.sigma[which] ** 2)
    mean = np.bincount(place, length)[used] / count[used]
    return mean, np.sqrt(np.maximum(power[used] / count[used], 0))

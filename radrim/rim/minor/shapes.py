"""Represents sources between pixels, or slightly wider than a point, by a few pixels of the model.

A source fills `TAPS` pixels along each axis; some of their values are negative. The pixels have the same moments as the
source, so their visibilities agree to the order of the last moment. A resolved source has the second and fourth moments
of a Gaussian.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

TAPS = 6
"""Number of pixels along an axis that represent a source."""
WIDEST = 0.5
"""Largest variance along an axis [pixel^2]: `TAPS` pixels cannot represent wider Gaussians."""
REACH_PIXELS = 6
"""Largest distance from the peak, along an axis, of a pixel that the fit uses [pixel]; more distant ones add little."""
STEP = 0.01
"""Step of the finite differences [pixel, pixel^2]."""
RIDGE = 1e-9
"""Regularisation of the equations, over their largest diagonal element, for arrays that do not resolve one axis."""


class Shapes(NamedTuple):
    """Sources, (source, 2) each, along y and x.

    Parameters
    ----------
    shift : array
        Offset from the centre of the source's pixel [pixel].
    size : array
        Variance [pixel^2]; 0 for a point.
    """

    shift: np.ndarray
    size: np.ndarray

    def take(self, which: np.ndarray) -> "Shapes":
        """The sources selected by a (source,) bool array."""
        return Shapes(*(array[which] for array in self))


class Lobe:
    """Dirty images of sources in the main lobe of a PSF, and the fit of their shapes to a residual.

    Parameters
    ----------
    psf : (y, x) float32
        Peak 1 at (ny // 2, nx // 2).
    offsets : (array, array)
        Offsets of the lobe's pixels from the peak, along y and x [pixel]; the neighbours of the peak are added.

    Attributes
    ----------
    offsets : (2, lobe) array
    scatter : (2,) array
        Standard errors along y and x of the fitted size of a point of 1 Jy, for noise of 1 Jy/beam with this PSF.
    worst : (2,) array
        Largest size that errors of at most 1 Jy/beam can cause.
    even : (2,) array
        Size that a constant error of 1 Jy/beam causes.
    """

    def __init__(self, psf: np.ndarray, offsets: Sequence[np.ndarray]) -> None:
        lobe = np.stack(offsets)
        lobe = lobe[:, np.abs(lobe).max(0) <= REACH_PIXELS]
        near = {(j, i) for j in (-1, 0, 1) for i in (-1, 0, 1)} | {*zip(*lobe.tolist(), strict=True)}
        self.offsets = np.array(sorted(near)).T
        # The margin leaves room for shifts of two pixels and for the taps. Beyond its edges the PSF counts as 0.
        margin = int(np.abs(self.offsets).max()) + TAPS
        y, x = (np.arange(-margin, margin + 1) + n // 2 for n in psf.shape)
        inside = ((y >= 0) & (y < psf.shape[0]))[:, None] & ((x >= 0) & (x < psf.shape[1]))
        near = psf[np.clip(y, 0, psf.shape[0] - 1)[:, None], np.clip(x, 0, psf.shape[1] - 1)]
        self._near, self._margin = np.where(inside, near, 0).astype(np.float64), margin
        answers = self._sizes()
        dy, dx = (np.clip(along[:, None] - along, -margin, margin) + margin for along in self.offsets)
        self.scatter = np.sqrt(np.maximum(np.einsum("ka,ab,kb->k", answers, self._near[dy, dx], answers), 0))
        self.worst, self.even = np.abs(answers).sum(1), np.abs(answers.sum(1))

    def peak(self, shapes: Shapes) -> np.ndarray:
        """Brightness of sources of 1 Jy at the centre of their pixels [Jy/beam], (source,)."""
        low = np.floor(shapes.shift).astype(int)
        wy, wx = _both_weights(shapes, low)
        return np.einsum("pi,pj,plij->p", wy, wx, self._taps(low, np.zeros((2, 1), int)), optimize=True)

    def improve(self, left: np.ndarray, flux: np.ndarray, shapes: Shapes) -> Shapes:
        """Improve shapes by one Gauss-Newton step towards a residual of 0.

        Parameters
        ----------
        left : (source, lobe) array
            Residual after subtraction of the sources [Jy/beam].
        flux : (source,) array
            [Jy]
        shapes : Shapes

        Returns
        -------
        Shapes
            Without limits: shifts may be large, and sizes negative.
        """
        low = np.floor(shapes.shift).astype(int)
        seen, (wy, wx) = self._taps(low, self.offsets), _both_weights(shapes, low)
        by_row, by_column = np.einsum("plij,pj->pli", seen, wx), np.einsum("plij,pi->plj", seen, wy)
        columns = [np.einsum("pli,pi->pl", by_row, wy)]
        for shift, size in ((STEP, 0.0), (0.0, STEP)):
            ends = [
                _both_weights(Shapes(shapes.shift + sign * shift, shapes.size + sign * size), low) for sign in (1, -1)
            ]
            along_y, along_x = ((up - down) / (2 * STEP) for up, down in zip(*ends, strict=True))
            columns += [np.einsum("pli,pi->pl", by_row, along_y), np.einsum("plj,pj->pl", by_column, along_x)]
        change = _solve(np.stack(columns, -1), left) / np.where(flux == 0, 1e-30, flux)[:, None]
        return Shapes(shapes.shift + change[:, 1:3], shapes.size + change[:, 3:])

    def _taps(self, low: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """Value of the PSF of each pixel that represents a source, at each offset, (source, offset, tap, tap)."""
        y, x = (along + self._margin - low[:, k, None] for k, along in enumerate(offsets))
        rows, columns = y[:, :, None] - _AT, x[:, :, None] - _AT
        return self._near[rows[:, :, :, None], columns[:, :, None, :]]

    def _sizes(self) -> np.ndarray:
        """Size that a residual in one of the lobe's pixels adds to a point of 1 Jy, (2, lobe) [pixel^2 per Jy/beam]."""
        point, unit = Shapes(np.zeros((1, 2)), np.zeros((1, 2))), np.eye(self.offsets.shape[1])
        return np.stack([self.improve(one[None], np.ones(1), point).size[0] for one in unit], 1)


def draw(shape: Sequence[int], y: np.ndarray, x: np.ndarray, flux: np.ndarray, shapes: Shapes) -> np.ndarray:
    """Image [Jy/pixel] of sources in or near the pixels (y, x); a point at the centre of its pixel fills one pixel."""
    low = np.floor(shapes.shift).astype(int)
    wy, wx = _both_weights(shapes, low)
    rows, columns = (y + low[:, 0])[:, None] + _AT, (x + low[:, 1])[:, None] + _AT
    value = flux[:, None, None] * wy[:, :, None] * wx[:, None, :]
    used = value != 0
    rows, columns = (np.broadcast_to(a, value.shape)[used] for a in (rows[:, :, None], columns[:, None, :]))
    image = np.zeros(shape)
    np.add.at(image, (rows, columns), value[used])
    return image.astype(np.float32)


_AT = np.arange(1 - TAPS // 2, TAPS // 2 + 1)


def _both_weights(shapes: Shapes, low: np.ndarray) -> list[np.ndarray]:
    """Weights along y and x, (source, tap) each, of the pixels at `low` + `_AT` from the source's pixel."""
    return [_weights(*along) for along in zip((shapes.shift - low).T, shapes.size.T, strict=True)]


def _weights(at: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Weights (source, tap) of the integers `_AT`, with the moments of Gaussians centred at `at`.

    For variance 0 they are Lagrange polynomials, which are exactly 0 and 1 at integers.
    """
    out = np.ones((len(at), TAPS))
    for k, tap in enumerate(_AT):
        for other in _AT:
            if other != tap:
                out[:, k] *= (at - other) / (tap - other)
    wide = variance != 0
    if wide.any():
        v = variance[wide]
        powers = (_AT - at[wide, None])[:, None, :] ** np.arange(TAPS)[:, None]
        moments = np.zeros((len(v), TAPS))
        moments[:, 0], moments[:, 2], moments[:, 4] = 1, v, 3 * v**2
        out[wide] = np.linalg.solve(powers, moments[:, :, None])[:, :, 0]
    return out


def _solve(design: np.ndarray, left: np.ndarray) -> np.ndarray:
    """Least-squares solution for each source of its (lobe, unknown) equations, (source, unknown)."""
    normal = np.einsum("pla,plb->pab", design, design)
    largest = np.einsum("paa->pa", normal).max(1)
    normal += RIDGE * largest[:, None, None] * np.eye(design.shape[2])
    return np.linalg.solve(normal, np.einsum("pla,pl->pa", design, left)[:, :, None])[:, :, 0]

"""The w-term of a field: whether it matters, and its expansion. Needs torch only to evaluate the expansion."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.polynomial import legendre

from radrim.geometry import C, ImageGrid
from radrim.operator.settings import DftSettings, WTermSettings

if TYPE_CHECKING:
    import torch

SETTINGS = WTermSettings()


def max_w(uvw: np.ndarray, freq: np.ndarray) -> float:
    """Largest ``|w|`` of the samples [wavelengths], 0 without samples."""
    if len(uvw) == 0 or len(freq) == 0:
        return 0.0
    return float(np.abs(uvw[:, 2]).max() * freq.max() / C)


def w_matters(largest_w: float, grid: ImageGrid, epsilon: float) -> bool:
    """Whether an image without the w-term would have errors above a tenth of `epsilon` anywhere."""
    return 2 * np.pi * largest_w * grid.max_n_term > SETTINGS.max_neglected_phase * epsilon


class ProlateExpansion:
    """Expansion of exp(i c x y) on [-1, 1]^2 in a short sum of products: sum_k factor_k i^odd_k p_k(x) p_k(y).

    The p_k are prolate spheroidal wave functions, the basis with the fewest terms: about 2 c / pi + log(1/tolerance).
    For the w-term, x is the w of a sample and y is n - 1 of a pixel, each scaled to its range.

    Parameters
    ----------
    c : float
        Half of the largest phase difference: the largest ``|phase|`` [rad].
    tolerance : float
        Largest absolute error.

    Attributes
    ----------
    factor : ndarray, (term,) float64
    odd : ndarray, (term,) bool
        Whether the term has a factor i.

    References
    ----------
    Slepian & Pollak (1961), Bell System Technical Journal 40, 43.
    """

    def __init__(self, c: float, tolerance: float) -> None:
        # At Gauss-Legendre nodes the integral operator becomes a symmetric matrix, whose eigenvectors are the p_k.
        order = int(SETTINGS.quadrature_order + 2 * c)
        x, weight = legendre.leggauss(order)
        to_legendre = (np.arange(order) + 0.5)[:, None] * legendre.legvander(x, order - 1).T
        root = np.sqrt(weight)
        factor, odd, coefficient, size = [], [], [], []
        for parity, kernel in enumerate((np.cos, np.sin)):
            value, vector = np.linalg.eigh(root[:, None] * kernel(c * np.outer(x, x)) * root)
            factor.append(value)
            odd.append(np.full(order, bool(parity)))
            coefficient.append(to_legendre @ (root[:, None] * vector))
            size.append(np.abs(value) * np.abs(vector / root[:, None]).max(0) ** 2)
        order_by_size = np.argsort(-np.concatenate(size))
        left_out = np.cumsum(np.concatenate(size)[order_by_size][::-1])[::-1]
        keep = order_by_size[: max(1, int((left_out > tolerance).sum()))]
        self.factor = np.concatenate(factor)[keep]
        self.odd = np.concatenate(odd)[keep]
        self._coefficient = np.concatenate(coefficient, axis=1)[:, keep]
        # The series converge fast; coefficients far below the tolerance are dropped.
        used = np.flatnonzero(np.abs(self._coefficient).max(1) > SETTINGS.min_coefficient * tolerance)
        self._coefficient = self._coefficient[: used[-1] + 1]

    def __len__(self) -> int:
        return len(self.factor)

    def __call__(self, x: "torch.Tensor") -> "torch.Tensor":
        """p_k(x), (term, ...) float64, for a float64 tensor x within [-1, 1]."""
        import torch

        out = torch.empty((len(self), x.numel()), dtype=x.dtype, device=x.device)
        coefficient = torch.from_numpy(self._coefficient.T.copy()).to(x.device)
        for part, block in zip(out.split(SETTINGS.block, dim=1), x.reshape(-1).split(SETTINGS.block), strict=True):
            torch.matmul(coefficient, _legendre(block, coefficient.shape[1]), out=part)
        return out.reshape(len(self), *x.shape)


def _legendre(x: "torch.Tensor", count: int) -> "torch.Tensor":
    """Legendre polynomials P_0 ... P_(count-1) of x, (count, x)."""
    import torch

    out = torch.empty((count, x.numel()), dtype=x.dtype, device=x.device)
    out[0] = 1
    if count > 1:
        out[1] = x
    for j in range(2, count):
        torch.mul(x, out[j - 1], out=out[j])
        out[j].mul_((2 * j - 1) / j).sub_(out[j - 2], alpha=(j - 1) / j)
    return out


def separable_terms(grid: ImageGrid, largest_w: float, epsilon: float) -> int:
    """Number of matrix products of the direct sum; 0 where the w-term needs too many."""
    expansion = expand_w_term(grid, largest_w, epsilon)
    return 0 if expansion is None else len(expansion)


def expand_w_term(grid: ImageGrid, largest_w: float, epsilon: float) -> ProlateExpansion | None:
    """Expansion of the w-term over the whole image; None if it has more than `DftSettings.max_terms` terms."""
    phase = np.pi * largest_w * grid.max_n_term
    if phase > DftSettings.max_phase:
        return None
    expansion = ProlateExpansion(phase, DftSettings.expansion_tolerance * epsilon)
    return expansion if len(expansion) <= DftSettings.max_terms else None

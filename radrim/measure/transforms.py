"""Step 3, measure: the operators of `radrim.operator` for arrays. The w-gridder alone needs no torch."""

from typing import TYPE_CHECKING, Protocol

import numpy as np

from radrim.geometry import ImageGrid
from radrim.operator import make_operator
from radrim.operator.gridder import Gridder

if TYPE_CHECKING:
    import torch

    from radrim.operator.base import Operator


class Transform(Protocol):
    """An operator for arrays; see `radrim.operator.base.Operator`."""

    def forward(self, image: np.ndarray) -> np.ndarray:
        """Visibilities, (row, chan) complex64 [Jy], of an image, (y, x) float32 [Jy/pixel]."""

    def adjoint(self, data: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Re A^H (weight data), (y, x) float32, not normalised."""

    def psf(self, weight: np.ndarray) -> np.ndarray:
        """Response to 1 Jy in the middle pixel, (y, x) float32, not normalised."""

    def normal(self, model: "torch.Tensor", weight: np.ndarray) -> "torch.Tensor":
        """Re A^H (weight A model), (y, x) float32, for a tensor on the operator's device."""


def make_transform(
    kind: str,
    uvw: np.ndarray,
    freq: np.ndarray,
    grid: ImageGrid,
    epsilon: float,
    threads: int,
    device: str,
) -> Transform:
    """The transform of a kind that `radrim.operator.choose_kind` has chosen; arguments as of `make_operator`."""
    if kind == "wgridder" and device == "cpu":
        return _Gridded(uvw, freq, grid, epsilon, threads)
    return _Wrapped(make_operator(kind, uvw, freq, grid, epsilon, threads, device))


class _Gridded(Gridder):
    """The w-gridder, which works on arrays."""

    def normal(self, model: "torch.Tensor", weight: np.ndarray) -> "torch.Tensor":
        import torch

        return torch.from_numpy(self.adjoint(self.forward(model.numpy()), weight))


class _Wrapped:
    """An operator for tensors."""

    def __init__(self, operator: "Operator") -> None:
        self._operator = operator

    def forward(self, image: np.ndarray) -> np.ndarray:
        return self._operator.forward(self._tensor(image)).cpu().numpy()

    def adjoint(self, data: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return self._operator.adjoint(self._tensor(data), self._tensor(weight)).cpu().numpy()

    def psf(self, weight: np.ndarray) -> np.ndarray:
        return self._operator.psf(self._tensor(weight)).cpu().numpy()

    def normal(self, model: "torch.Tensor", weight: np.ndarray) -> "torch.Tensor":
        return self._operator.adjoint(self._operator.forward(model), self._tensor(weight))

    def _tensor(self, array: np.ndarray) -> "torch.Tensor":
        import torch

        return torch.from_numpy(array).to(self._operator.device)

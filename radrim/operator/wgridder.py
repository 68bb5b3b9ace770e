"""Wide-field operator on the CPU: ducc0's w-gridder (improved w-stacking), for tensors."""

import numpy as np
import torch

from radrim.errors import ConfigError
from radrim.geometry import ImageGrid
from radrim.operator.base import COMPLEX, REAL, Operator
from radrim.operator.gridder import Gridder, estimate_seconds


class WGridder(Operator):
    """`Operator` by ducc0.wgridder; see there for parameters, and `radrim.operator.gridder` for the work.

    Images must have even sizes of at least 32 pixels. Samples of weight 0 take no time.
    """

    kind = "wgridder"

    def __init__(
        self,
        uvw: np.ndarray,
        freq: np.ndarray,
        grid: ImageGrid,
        epsilon: float = 1e-5,
        threads: int = 1,
        device: str | torch.device = "cpu",
    ) -> None:
        super().__init__(uvw, freq, grid, epsilon, threads, device)
        if self.device.type != "cpu":
            raise ConfigError(f"Operator 'wgridder' works on the CPU: got device {device}, expected cpu; use 'nufft'.")
        self._gridder = Gridder(np.asarray(uvw, np.float64), self._freq, grid, self.epsilon, self.threads)

    def _forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self._gridder.forward(image.numpy()))

    def _adjoint(self, data: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
        return torch.from_numpy(self._gridder.adjoint(data.numpy(), None if weight is None else weight.numpy()))


class PairedWGridder(WGridder):
    """A w-gridder whose adjoint is the transpose of its forward map to rounding, whatever the accuracy of both.

    `WGridder` splits the adjoint among threads, and ducc0 leaves out samples that are 0. So the planes along w, and
    with them the errors within epsilon, differ between the two directions. Here both have the same samples in one call.
    The last digits differ between runs with several threads.

    Parameters
    ----------
    uvw, freq, grid, epsilon, threads
        See `Operator`.
    used : (row, chan) bool
        Samples that take part; the visibilities of the others are 0.
    """

    def __init__(
        self, uvw: np.ndarray, freq: np.ndarray, grid: ImageGrid, epsilon: float, threads: int, used: np.ndarray
    ) -> None:
        super().__init__(uvw, freq, grid, epsilon, threads)
        self._used = np.asarray(used, bool)

    def _forward(self, image: torch.Tensor) -> torch.Tensor:
        out = self._gridder.paired_forward(image.double().numpy(), self._used)
        return torch.from_numpy(out).to(COMPLEX[image.dtype])

    def _adjoint(self, data: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
        values = data.to(torch.complex128)
        if weight is not None:
            values = values * weight
        return torch.from_numpy(self._gridder.paired_adjoint(values.numpy(), self._used)).to(REAL[data.dtype])


__all__ = ["PairedWGridder", "WGridder", "estimate_seconds"]

"""Wide-field operator on the CPU: ducc0's w-gridder (improved w-stacking), for tensors."""

import numpy as np
import torch

from radrim.errors import ConfigError
from radrim.geometry import ImageGrid
from radrim.operator.base import Operator
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


__all__ = ["WGridder", "estimate_seconds"]

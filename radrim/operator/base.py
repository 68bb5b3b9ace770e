"""Base class of all measurement operators: interface, checks of arguments, autograd, and expansion of the w-term.

The operator A maps an image of real fluxes to visibilities (the measurement equation of `radrim.geometry`). Its
adjoint, restricted to real images, is ``Re A^H``. Both are linear, so each of them gives the gradient of the other.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from radrim.errors import ConfigError, DataError
from radrim.geometry import SIGN, C, ImageGrid, n_minus_1
from radrim.operator.w_term import max_w

COMPLEX = {torch.float32: torch.complex64, torch.float64: torch.complex128}
REAL = {torch.complex64: torch.float32, torch.complex128: torch.float64}
EPSILON_LIMITS = (1e-12, 0.1)


class _Forward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: torch.Tensor, operator: "Operator") -> torch.Tensor:
        ctx.operator = operator
        return operator.compute_forward(image)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return _Adjoint.apply(gradient, ctx.operator, None), None


class _Adjoint(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, data: torch.Tensor, operator: "Operator", weight: torch.Tensor | None) -> torch.Tensor:
        ctx.operator, ctx.weight = operator, weight
        return operator.compute_adjoint(data, weight)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        data = _Forward.apply(gradient, ctx.operator)
        return (data if ctx.weight is None else data * ctx.weight), None, None


class Operator:
    """Visibilities of an image, and the image of visibilities, for one set of samples and one grid.

    Parameters
    ----------
    uvw : (row, 3) array
        Baseline coordinates as stored in a Measurement Set [m].
    freq : (chan,) array
        Channel frequencies [Hz].
    grid : ImageGrid
    epsilon : float
        Largest relative error against the direct sum; between 1e-12 and 0.1.
    threads : int
        CPU threads. The direct sum uses torch's own number (``torch.set_num_threads``).
    device : str
        Device of images and visibilities: ``cpu`` or ``cuda``.

    Attributes
    ----------
    kind : str
        Name of the method, one of `radrim.operator.KINDS`.
    image_shape : tuple
        (y, x).
    data_shape : tuple
        (row, chan).
    epsilon : float
    max_w : float
        Largest ``|w|`` [wavelengths].

    Raises
    ------
    ConfigError
        Arguments of the wrong shape, or that this kind does not support.
    DataError
        UVW or frequencies that are not finite.
    """

    kind: str = ""

    def __init__(
        self,
        uvw: np.ndarray,
        freq: np.ndarray,
        grid: ImageGrid,
        epsilon: float = 1e-5,
        threads: int = 1,
        device: str | torch.device = "cpu",
    ) -> None:
        uvw, freq = np.asarray(uvw, np.float64), np.asarray(freq, np.float64)
        _check_samples(uvw, freq)
        if not EPSILON_LIMITS[0] <= epsilon <= EPSILON_LIMITS[1]:
            raise ConfigError(f"epsilon: got {epsilon:g}, expected 1e-12 to 0.1.")
        if threads < 1:
            raise ConfigError(f"threads: got {threads}, expected at least 1.")
        self.device = torch.device(device)
        if self.device.type == "cuda" and not torch.cuda.is_available():
            raise ConfigError("Device 'cuda' was asked for, but torch sees no NVIDIA GPU; use --device cpu.")
        self.grid, self.epsilon, self.threads = grid, float(epsilon), int(threads)
        self._uvw, self._freq = SIGN * uvw, freq
        self.image_shape = grid.shape
        self.data_shape = (uvw.shape[0], freq.size)
        self.max_w = max_w(uvw, freq)
        self._visible: torch.Tensor | None = None
        if grid.max_n_term >= 1:  # some pixels are beyond the horizon
            seen = np.isfinite(n_minus_1(grid.l()[None, :], grid.m()[:, None]))
            self._visible = torch.from_numpy(seen).to(self.device)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Visibilities of `image`.

        Parameters
        ----------
        image : Tensor, (y, x) float32 or float64
            Flux per pixel [Jy/pixel]. Pixels beyond the horizon are ignored.

        Returns
        -------
        Tensor, (row, chan) complex64 or complex128
            Visibilities [Jy], in the precision of `image`; differentiable.
        """
        self._check("image", image, self.image_shape, COMPLEX)
        return _Forward.apply(image, self)

    def adjoint(self, data: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
        """Re A^H (weight data), not normalised.

        Parameters
        ----------
        data : Tensor, (row, chan) complex64 or complex128
            Visibilities [Jy].
        weight : Tensor, (row, chan) float32 or float64, optional
            Imaging weights; 0 excludes a sample. The argument saves the memory of a weighted copy of the data.

        Returns
        -------
        Tensor, (y, x) float32 or float64
            The image, in the precision of `data`; 0 beyond the horizon; differentiable with respect to `data`.
            Divided by the sum of weights it is the dirty image [Jy/beam].
        """
        self._check("data", data, self.data_shape, REAL)
        if weight is not None:
            self._check("weight", weight, self.data_shape, COMPLEX)
            weight = weight.detach().to(REAL[data.dtype])
        return _Adjoint.apply(data, self, weight)

    def psf(self, weight: torch.Tensor) -> torch.Tensor:
        """Response to 1 Jy in the middle pixel, not normalised; the peak is the sum of the weights.

        Parameters
        ----------
        weight : Tensor, (row, chan) float32 or float64
            Imaging weights.

        Returns
        -------
        Tensor, (y, x)
            In the precision of `weight`.
        """
        self._check("weight", weight, self.data_shape, COMPLEX)
        if self.grid.x0 or self.grid.y0:
            seen = self.phase().to(COMPLEX[weight.dtype])
        else:  # an expanded view of one number needs no memory
            seen = torch.ones((), dtype=COMPLEX[weight.dtype], device=self.device).expand(self.data_shape)
        return self.compute_adjoint(seen, weight.detach())

    def phase(self) -> torch.Tensor:
        """Visibilities of 1 Jy in the middle pixel, (row, chan) complex128."""
        turns = torch.from_numpy(np.multiply.outer(self._uvw @ self.grid.middle, self._freq / C)).to(self.device)
        turns = (turns - turns.round()) * (2 * np.pi)
        return torch.polar(torch.ones_like(turns), turns)

    def _forward(self, image: torch.Tensor) -> torch.Tensor:
        """Map (y, x) real to (row, chan) complex of the same precision; `image` is contiguous, and neither is empty."""
        raise NotImplementedError

    def _adjoint(self, data: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
        """Map (row, chan) complex to (y, x) real of the same precision; `weight` may be None."""
        raise NotImplementedError

    def compute_forward(self, image: torch.Tensor) -> torch.Tensor:
        """`forward` without autograd and without checks."""
        image = image.detach()
        if 0 in self.data_shape:
            return torch.zeros(self.data_shape, dtype=COMPLEX[image.dtype], device=self.device)
        image = image if self._visible is None else torch.where(self._visible, image, 0)
        return self._forward(image.contiguous())

    def compute_adjoint(self, data: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
        """`adjoint` without autograd and without checks."""
        data = data.detach().resolve_conj()
        if 0 in self.data_shape:
            return torch.zeros(self.image_shape, dtype=REAL[data.dtype], device=self.device)
        image = self._adjoint(data, weight)
        return image if self._visible is None else torch.where(self._visible, image, 0)

    def _wavelengths(self) -> list[torch.Tensor]:
        """u, v, w of every sample [wavelengths], with the sign of the measurement equation; (sample,) float64."""
        return [
            torch.from_numpy(np.multiply.outer(self._uvw[:, k], self._freq / C).ravel()).to(self.device)
            for k in range(3)
        ]

    def _check(
        self, name: str, tensor: object, shape: tuple[int, int], dtypes: Mapping[torch.dtype, torch.dtype]
    ) -> None:
        if not isinstance(tensor, torch.Tensor):
            raise ConfigError(f"{name}: got {type(tensor).__name__}, expected a torch.Tensor (torch.from_numpy).")
        if tuple(tensor.shape) != shape:
            raise ConfigError(f"{name} has the wrong shape: got {tuple(tensor.shape)}, expected {shape}.")
        if tensor.dtype not in dtypes:
            expected = " or ".join(str(d).removeprefix("torch.") for d in dtypes)
            raise ConfigError(f"{name} has the wrong type: got {str(tensor.dtype)[6:]}, expected {expected}.")
        if tensor.device.type != self.device.type:
            raise ConfigError(f"{name} is on the wrong device: got {tensor.device}, expected {self.device}.")


def _check_samples(uvw: np.ndarray, freq: np.ndarray) -> None:
    if uvw.ndim != 2 or uvw.shape[1] != 3:
        raise ConfigError(f"uvw has the wrong shape: got {uvw.shape}, expected (row, 3).")
    if freq.ndim != 1:
        raise ConfigError(f"freq has the wrong shape: got {freq.shape}, expected (chan,).")
    bad = int((~np.isfinite(uvw)).any(1).sum())
    if bad:
        raise DataError(f"{bad} of {len(uvw)} rows have UVW that is not finite; drop these rows before imaging.")
    if not (np.isfinite(freq) & (freq > 0)).all():
        raise DataError(f"Channel frequencies must be positive [Hz]; the lowest is {freq.min():g}.")

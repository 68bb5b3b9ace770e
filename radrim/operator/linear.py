"""The measurement equation of an observation as a matrix: for scipy's solvers, for torch, and for solvers of your own.

The matrix A maps an image to the visibilities divided by their noise, A = sqrt(W) F: W are the weights, F is the
measurement equation (`radrim.geometry`). So the chi-square of an image x is ``|A x - y|^2``, where y are the measured
visibilities divided by their noise, and flagged samples, whose weight is 0, have rows of zeros.

Images are real and visibilities are complex. scipy's solvers mix the two badly, and the adjoint of a map from real to
complex numbers is a matter of definition. Here a visibility is two real numbers, its real and imaginary part, one after
the other: A is an ordinary real matrix, and its adjoint is its transpose. ``y.view(complex)`` is the complex form.
"""

import os
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator

from radrim.errors import DataError
from radrim.geometry import ImageGrid
from radrim.operator import choose_kind, make_operator
from radrim.operator.base import Operator, max_w
from radrim.operator.settings import WGridderSettings


class Samples(Protocol):
    """A block of samples that share their channels; see `radrim.visibilities.Visibilities`."""

    @property
    def uvw(self) -> np.ndarray:
        """Baseline coordinates (row, 3) [m]."""

    @property
    def freq(self) -> np.ndarray:
        """Channel frequencies (chan,) [Hz]."""

    @property
    def data(self) -> np.ndarray:
        """Visibilities (row, chan) complex [Jy]."""

    @property
    def weight(self) -> np.ndarray:
        """Weights (row, chan) [Jy^-2]; 0 marks a flagged sample."""


class HasSamples(Protocol):
    """An observation: `radrim.Observation`, or what `radrim.read.read` returns."""

    @property
    def blocks(self) -> Sequence[Samples]:
        """Its samples."""


def make(
    observation: HasSamples,
    grid: ImageGrid,
    *,
    kind: str = "auto",
    epsilon: float = 1e-6,
    threads: int | None = None,
    device: str = "cpu",
) -> "MeasurementMatrix":
    """The measurement equation of an observation as a real matrix.

    Parameters
    ----------
    observation : radrim.Observation
        Its weights divide the visibilities by their noise; see `radrim.Observation.weigh` for imaging weights.
    grid : ImageGrid
        Pixels of the image, such as ``observation.grid(size=256)``.
    kind : {'auto', 'wgridder', 'nufft', 'dft'}
        Method of the transform; all have the same result.
    epsilon : float
        Accuracy of the transform against the direct sum. The transpose is exact in any case.
    threads : int, optional
        All processors if absent.
    device : str
        'cpu' or 'cuda', for `MeasurementMatrix.torch`.

    Returns
    -------
    MeasurementMatrix
        A `scipy.sparse.linalg.LinearOperator` of shape (2 * samples, pixels).

    Raises
    ------
    ConfigError
        An unknown kind, or a grid that it does not support.
    DataError
        The observation has no samples.

    Examples
    --------
    >>> obs = radrim.Observation("obs.ms")  # doctest: +SKIP
    >>> A = radrim.operator.make(obs, obs.grid(size=256))  # doctest: +SKIP
    >>> x = scipy.sparse.linalg.lsqr(A, A.data, damp=10)[0].reshape(A.grid.shape)  # doctest: +SKIP
    """
    return MeasurementMatrix(observation.blocks, grid, kind, epsilon, threads, device)


class MeasurementMatrix(LinearOperator):
    """Real matrix from the pixels of an image [Jy/pixel] to visibilities divided by their noise; see `make`.

    Parameters
    ----------
    blocks : sequence of Samples
    grid : ImageGrid
    kind, epsilon, threads, device
        See `make`.

    Attributes
    ----------
    data : (2 * samples,) float64
        Measured visibilities divided by their noise: real and imaginary part of each, one after the other; 0 where
        flagged. Samples are in the order block, row, channel.
    grid : ImageGrid
    sum_weight : float
        Sum of the weights [Jy^-2].
    torch_data : Tensor, (sample,) complex128
        `data` in complex form, on the device.
    """

    def __init__(
        self,
        blocks: Sequence[Samples],
        grid: ImageGrid,
        kind: str = "auto",
        epsilon: float = 1e-6,
        threads: int | None = None,
        device: str = "cpu",
    ) -> None:
        threads = threads or len(os.sched_getaffinity(0))
        self.grid = grid
        self._parts = [_operator_of(one, grid, kind, epsilon, threads, device) for one in blocks]
        self._root = [torch.from_numpy(np.sqrt(np.asarray(one.weight, np.float64))).to(device) for one in blocks]
        self.sum_weight = float(sum((root**2).sum() for root in self._root))
        if not self.sum_weight > 0:
            raise DataError("The observation has no sample with a weight: all are flagged. Select other data.")
        seen = [torch.from_numpy(np.asarray(one.data, np.complex128)).to(device) for one in blocks]
        self.torch_data = torch.cat(
            [torch.where(root > 0, root * one, 0).flatten() for root, one in zip(self._root, seen, strict=True)]
        )
        self.data = torch.view_as_real(self.torch_data).flatten().cpu().numpy()
        super().__init__(np.dtype(np.float64), (len(self.data), grid.height * grid.width))

    def torch(self, image: torch.Tensor) -> torch.Tensor:
        """Visibilities of an image divided by their noise, as a function that torch differentiates.

        The chi-square of the image is ``(A.torch(image) - A.torch_data).abs().square().sum()``, and its gradient uses
        the transpose.

        Parameters
        ----------
        image : Tensor, (y, x) float64 or float32
            [Jy/pixel]

        Returns
        -------
        Tensor, (sample,) complex128 or complex64
        """
        parts = [
            (root.to(image.dtype) * one.forward(image)).flatten()
            for root, one in zip(self._root, self._parts, strict=True)
        ]
        return torch.cat(parts)

    def dirty(self) -> np.ndarray:
        """The dirty image, (y, x) float64 [Jy/beam]: ``A.T @ A.data`` over the sum of the weights."""
        return self.image(self.rmatvec(self.data)) / self.sum_weight

    def image(self, pixels: np.ndarray) -> np.ndarray:
        """A vector of pixels as an image (y, x)."""
        return np.reshape(pixels, self.grid.shape)

    def _matvec(self, x: np.ndarray) -> np.ndarray:
        image = torch.from_numpy(np.array(x, np.float64).reshape(self.grid.shape)).to(self.torch_data.device)
        with torch.no_grad():
            return torch.view_as_real(self.torch(image)).flatten().cpu().numpy()

    def _rmatvec(self, x: np.ndarray) -> np.ndarray:
        values = torch.view_as_complex(torch.from_numpy(np.array(x, np.float64).reshape(-1, 2)))
        values = values.to(self.torch_data.device)
        image = torch.zeros(self.grid.shape, dtype=torch.float64, device=values.device)
        start = 0
        for root, one in zip(self._root, self._parts, strict=True):
            part = values[start : start + root.numel()].reshape(root.shape)
            start += root.numel()
            image += one.compute_adjoint(part, root)
        return image.flatten().cpu().numpy()


def _operator_of(samples: Samples, grid: ImageGrid, kind: str, epsilon: float, threads: int, device: str) -> Operator:
    """The operator of one block; its adjoint is exact.

    For 'auto' it is the w-gridder where a single transform would be made by the direct sum: a solver makes hundreds of
    transforms, of which one by the direct sum may take a second.
    """
    uvw, freq = np.asarray(samples.uvw, np.float64), np.asarray(samples.freq, np.float64)
    if kind == "auto":
        limits = WGridderSettings()
        possible = (
            device == "cpu"
            and not (grid.width % 2 or grid.height % 2)
            and min(grid.shape) >= limits.min_pixels
            and min(grid.shape) * grid.scale > limits.min_field
        )
        kind = choose_kind(len(uvw) * len(freq), grid, max_w(uvw, freq), device, epsilon)
        kind = "wgridder" if kind == "dft" and possible else kind
    if kind == "wgridder" and device == "cpu":
        from radrim.operator.wgridder import PairedWGridder

        return PairedWGridder(uvw, freq, grid, epsilon, threads, np.asarray(samples.weight) > 0)
    return make_operator(kind, uvw, freq, grid, epsilon, threads, device)

"""Transforms between small images and few visibilities, thousands of times for one image.

Two kinds have the same interface: the operators of `radrim.operator` by gridding, and sums over precomputed phases,
which have less overhead where samples times pixels are few.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import torch

from radrim.geometry import C, ImageGrid
from radrim.operator import make_operator


class Transforms(Protocol):
    """Visibilities of an image, and the adjoint."""

    def forward(self, image: np.ndarray) -> np.ndarray:
        """Visibilities (sample,) complex128 of an image (y, x) float64."""

    def adjoint(self, vis: np.ndarray) -> np.ndarray:
        """Real part of the adjoint of `forward`, (y, x) float64."""


class Gridded:
    """By an operator of `radrim.operator`; arguments as of `make_transforms`."""

    def __init__(self, kind: str, uvw: np.ndarray, grid: ImageGrid, epsilon: float, threads: int):
        self._operator = make_operator(kind, uvw * C, np.ones(1), grid, epsilon, threads)

    def forward(self, image: np.ndarray) -> np.ndarray:
        """See `Transforms`."""
        return self._operator.forward(torch.from_numpy(np.ascontiguousarray(image))).numpy()[:, 0]

    def adjoint(self, vis: np.ndarray) -> np.ndarray:
        """See `Transforms`."""
        return self._operator.adjoint(torch.from_numpy(vis[:, None])).numpy()


class Separable:
    """Direct sums without the w-term: phases are products of those of rows and columns, which are computed once."""

    def __init__(self, uvw: np.ndarray, grid: ImageGrid):
        self._columns = torch.from_numpy(np.exp(2j * np.pi * np.outer(uvw[:, 0], grid.l())))
        self._rows = torch.from_numpy(np.exp(2j * np.pi * np.outer(uvw[:, 1], grid.m())))

    def forward(self, image: np.ndarray) -> np.ndarray:
        """See `Transforms`."""
        with one_thread():
            partly = self._rows @ torch.from_numpy(image.astype(np.complex128))
            return (partly * self._columns).sum(1).numpy()

    def adjoint(self, vis: np.ndarray) -> np.ndarray:
        """See `Transforms`."""
        with one_thread():
            rows = self._rows * torch.from_numpy(vis.conj())[:, None]
            return (rows.T @ self._columns).real.numpy()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread: for small matrices others cost more than they bring."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def make_transforms(
    uvw: np.ndarray, grid: ImageGrid, epsilon: float, threads: int, smallest: int, direct: float = 0.0
) -> Transforms:
    """The transforms between an image and visibilities.

    Parameters
    ----------
    uvw : (sample, 3) float64
        [wavelengths]
    grid : ImageGrid
    epsilon : float
        Accuracy.
    threads : int
    smallest : int
        Least side of an image for which samples are gridded [pixel].
    direct : float
        Largest number of samples times pixels for sums over precomputed phases. They need a negligible w-term.
    """
    largest_w = float(np.abs(uvw[:, 2]).max(initial=0))
    few = len(uvw) * grid.width * grid.height <= direct
    if few and 2 * np.pi * largest_w * grid.max_n_term < epsilon**0.5:
        return Separable(uvw, grid)
    return Gridded("wgridder" if min(grid.shape) >= smallest else "dft", uvw, grid, epsilon, threads)

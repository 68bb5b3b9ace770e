"""Transforms between small images and few visibilities, thousands of times for one image."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from radrim.geometry import C, ImageGrid
from radrim.operator import make_operator


class Transforms:
    """Visibilities of an image, and the adjoint.

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
    max_phase : float
        Phase of the w-term at the edge of the field up to which it is left out [rad]. Planes of w take most of the
        time.
    """

    def __init__(
        self, uvw: np.ndarray, grid: ImageGrid, epsilon: float, threads: int, smallest: int, max_phase: float = 3e-4
    ):
        kind = "wgridder" if min(grid.shape) >= smallest else "dft"
        flat = largest_phase(uvw, grid) < max_phase
        self._operator = make_operator(
            kind, uvw * C * (1.0, 1.0, 0.0 if flat else 1.0), np.ones(1), grid, epsilon, threads
        )

    def forward(self, image: np.ndarray) -> np.ndarray:
        """Visibilities (sample,) complex128 of an image (y, x) float64."""
        return self._operator.forward(torch.from_numpy(np.ascontiguousarray(image))).numpy()[:, 0]

    def adjoint(self, vis: np.ndarray) -> np.ndarray:
        """Real part of the adjoint of `forward`, (y, x) float64."""
        return self._operator.adjoint(torch.from_numpy(vis[:, None])).numpy()


def largest_phase(uvw: np.ndarray, grid: ImageGrid) -> float:
    """Phase of the w-term at the edge of the field, of baselines (sample, 3) [wavelengths]; in radians."""
    return 2 * np.pi * float(np.abs(uvw[:, 2]).max(initial=0)) * grid.max_n_term


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch and BLAS use one thread: for small matrices others cost more than they bring."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(threads)

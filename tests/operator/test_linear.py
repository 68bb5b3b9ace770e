"""The measurement equation as a real matrix: for scipy and for torch."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import lsqr

from radrim import operator
from radrim.errors import ConfigError, DataError
from radrim.geometry import ImageGrid
from radrim.operator import KINDS, make, make_operator


@pytest.fixture
def observed(small_uv, small_grid):
    """Two blocks of different channels, with uneven weights, flagged samples and visibilities of noise."""
    uvw, freq = small_uv
    rng = np.random.default_rng(0)

    def block(rows, channels):
        shape = len(uvw[rows]), len(freq[channels])
        weight = rng.uniform(0.1, 4, shape).astype(np.float32)
        weight[rng.random(shape) < 0.2] = 0
        data = (rng.standard_normal((*shape, 2)).astype(np.float32)).view(np.complex64)[..., 0]
        return SimpleNamespace(uvw=uvw[rows], freq=freq[channels], data=data, weight=weight)

    return SimpleNamespace(blocks=[block(slice(0, 50), slice(0, 2)), block(slice(30, 90), slice(2, 3))])


def test_is_part_of_the_operators():
    """`radrim.operator.make` is there without an import of its module."""
    assert operator.make is make


@pytest.mark.parametrize("kind", ["auto", *KINDS])
def test_transpose_is_exact(kind, observed, small_grid):
    """<y, A x> == <A^T y, x> to rounding, with weights and flags, although the transform itself is approximate."""
    matrix = make(observed, small_grid, kind=kind, epsilon=1e-3)
    rng = np.random.default_rng(1)
    x, y = (rng.standard_normal(n) for n in (matrix.shape[1], matrix.shape[0]))
    ax = matrix @ x
    assert abs(y @ ax - (matrix.T @ y) @ x) < 1e-11 * np.linalg.norm(ax) * np.linalg.norm(y)
    few = np.zeros_like(y)  # a single sample that is not 0
    few[np.flatnonzero(ax)[7]] = 1.0
    assert abs(few @ ax - (matrix.T @ few) @ x) < 1e-11 * np.linalg.norm(ax)


def test_rows_are_visibilities_over_their_noise(observed, small_grid):
    """Real and imaginary part of sqrt(weight) times the operator's visibilities, block by block."""
    matrix = make(observed, small_grid, kind="dft", epsilon=1e-10)
    image = np.random.default_rng(2).random(small_grid.shape)
    expected = [
        np.sqrt(one.weight.astype(float))
        * make_operator("dft", one.uvw, one.freq, small_grid, 1e-10).forward(torch.from_numpy(image)).numpy()
        for one in observed.blocks
    ]
    found = (matrix @ image.ravel()).view(complex)
    np.testing.assert_allclose(found, np.concatenate([one.ravel() for one in expected]), rtol=1e-6, atol=1e-6)
    data = [np.sqrt(one.weight.astype(float)) * one.data for one in observed.blocks]
    np.testing.assert_allclose(matrix.data.view(complex), np.concatenate([one.ravel() for one in data]), rtol=1e-6)


def test_flagged_samples_do_not_count(observed, small_grid):
    """Rows of samples without weight are 0, whatever their data are, also where these are NaN."""
    for one in observed.blocks:
        one.data[one.weight == 0] = np.nan
    matrix = make(observed, small_grid)
    flagged = np.concatenate([one.weight.ravel() == 0 for one in observed.blocks])
    assert flagged.any()
    assert not (matrix @ np.ones(matrix.shape[1])).view(complex)[flagged].any()
    assert np.isfinite(matrix.data).all()
    assert np.isfinite(matrix.dirty()).all()


def test_torch_gradient_is_the_transpose(observed, small_grid):
    """The gradient of chi^2 by autograd is 2 A^T (A x - y), and the values are those of the matrix."""
    matrix = make(observed, small_grid)
    x = np.random.default_rng(3).random(small_grid.shape)
    image = torch.from_numpy(x).requires_grad_()
    residual = matrix.torch(image) - matrix.torch_data
    residual.abs().square().sum().backward()
    left = matrix @ x.ravel() - matrix.data
    np.testing.assert_allclose(torch.view_as_real(residual.detach()).flatten(), left, atol=1e-9)
    expected = matrix.image(2 * matrix.T @ left)
    np.testing.assert_allclose(image.grad, expected, atol=1e-9 * np.abs(expected).max())


def test_torch_gradient_by_differences(observed, small_uv):
    """torch's own check of the function's derivative, on a few pixels."""
    grid = ImageGrid(6, 4, 1e-3, ra=1.0, dec=0.5)
    matrix = make(observed, grid, kind="dft", epsilon=1e-10)
    image = torch.rand(grid.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(4), requires_grad=True)
    assert torch.autograd.gradcheck(matrix.torch, (image,), atol=1e-5)


def test_solver_of_scipy_finds_the_sky(observed, small_grid):
    """lsqr takes the matrix as it is, and what it finds fits noiseless visibilities."""
    matrix = make(observed, small_grid)
    sky = np.zeros(small_grid.shape)
    sky[20, 30] = 1.0
    seen = matrix @ sky.ravel()
    found = lsqr(matrix, seen, iter_lim=60)[0]
    assert np.linalg.norm(matrix @ found - seen) < 0.02 * np.linalg.norm(seen)
    assert np.unravel_index(np.argmax(found), sky.shape) == (20, 30)


def test_nothing_to_measure(observed, small_grid):
    """An observation without weights is refused, as is an unknown kind."""
    with pytest.raises(ConfigError, match="Unknown operator"):
        make(observed, small_grid, kind="fft")
    for one in observed.blocks:
        one.weight[:] = 0
    with pytest.raises(DataError, match="all are flagged"):
        make(observed, small_grid)

"""Power by angular scale: of white noise, of waves, and of the noise that weights promise."""

import numpy as np
import pytest
import torch

from radrim.comparison.spectra import noise_spectrum, power_spectrum, spectrum_bins
from radrim.config.values import Weighting
from radrim.geometry import ARCSEC, C, ImageGrid
from radrim.operator import make_operator
from radrim.visibilities import Visibilities
from radrim.weight.imaging import apply_weights

GRID = ImageGrid(160, 128, 2 * ARCSEC)


def test_white_noise_is_flat_at_its_variance():
    """White noise of rms sigma has the power sigma^2 at every scale, within the scatter of so many modes."""
    edges = spectrum_bins(GRID)
    draws = [power_spectrum(np.random.default_rng(k).normal(0, 3e-3, GRID.shape), GRID, edges) for k in range(20)]
    power, modes = np.mean([p for p, _ in draws], axis=0), draws[0][1]
    # Real images: half of the modes are independent, and the window couples neighbours (a factor of about 2).
    tolerance = 5 * np.sqrt(4 / (20 * modes))
    assert (np.abs(power / 3e-3**2 - 1) < tolerance).all()
    assert tolerance[-1] < 0.05


def test_a_wave_has_its_power_at_its_own_scale():
    """A wave of 20 arcsec shows at 20 arcsec, whatever its direction, and nothing of it two bins away."""
    edges = spectrum_bins(GRID)
    y, x = np.indices(GRID.shape) * 2.0
    for angle in (0.0, 0.6, 1.5):
        wave = np.cos(2 * np.pi / 20 * (x * np.cos(angle) + y * np.sin(angle)))
        power, _ = power_spectrum(wave, GRID, edges)
        best = int(power.argmax())
        assert edges[best] <= 1 / (20 * ARCSEC) <= edges[best + 1]
        assert power[: best - 1].max(initial=0) < 1e-3 * power[best] > power[best + 2 :].max()


@pytest.mark.parametrize("weighting", [Weighting("natural"), Weighting("briggs", 0.0)])
def test_expected_noise_is_that_of_noise_images(small_uv, weighting):
    """The mean power of dirty images of pure noise is what `noise_spectrum` says, ring by ring, for unequal weights."""
    uvw, freq = small_uv
    rng = np.random.default_rng(5)
    grid = ImageGrid(64, 64, C / freq.max() / np.hypot(*uvw[:, :2].T).max() / 3)
    weight = rng.uniform(0.2, 3, (len(uvw), len(freq))).astype(np.float32)
    antenna, time = np.zeros((len(uvw), 2), np.int32), np.zeros(len(uvw))
    block = Visibilities(uvw, freq, np.zeros_like(weight, np.complex64), weight.copy(), time, antenna)
    sum_weight, thermal = apply_weights([block], grid, weighting)
    edges = spectrum_bins(grid)
    operator = make_operator("dft", uvw, freq, grid, epsilon=1e-6)
    total = 0.0
    for _ in range(30):
        real, imaginary = rng.normal(size=(2, *weight.shape)) / np.sqrt(weight)
        data = torch.as_tensor(block.weight * (real + 1j * imaginary), dtype=torch.complex128)
        power, modes = power_spectrum(operator.adjoint(data).numpy() / sum_weight, grid, edges)
        total = total + power / 30
    expected = noise_spectrum([block], [weight], grid, edges)
    assert expected.sum() > 0
    filled = expected > 0.1 * expected.max()
    assert filled.sum() >= 5
    np.testing.assert_allclose(total[filled], expected[filled], rtol=0.35)
    # Summed over all modes, it is the variance of the image but for what lies outside the rings.
    assert (expected * modes).sum() / grid.width / grid.height == pytest.approx(thermal**2, rel=0.1)

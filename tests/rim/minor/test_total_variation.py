"""Total variation: what it makes of extended emission and of noise."""

import numpy as np
import pytest
import torch

from radrim.rim.minor.total_variation import TotalVariationSettings, total_variation
from radrim.rim.network.psf import PsfConvolution

SIZE, NOISE = 64, 0.2


@pytest.fixture(scope="module")
def observed():
    """A disc, its dirty image with noise of the PSF's correlation, and the convolution with the PSF."""
    y, x = np.mgrid[-SIZE:SIZE, -SIZE:SIZE]
    psf = torch.from_numpy(np.exp(-(x**2 + y**2) / (2 * 1.5**2)).astype(np.float32))
    convolution = PsfConvolution(psf, (SIZE, SIZE))
    rows, columns = np.mgrid[:SIZE, :SIZE] - SIZE // 2
    sky = torch.from_numpy((np.hypot(rows, columns) < 14).astype(np.float32))
    rng = np.random.default_rng(3)
    white = np.fft.rfft2(rng.normal(0, NOISE, psf.shape))
    noise = np.fft.irfft2(white * np.sqrt(np.maximum(np.fft.rfft2(np.fft.ifftshift(psf.numpy())).real, 0)))
    dirty = convolution.normal(sky) + torch.from_numpy(noise[:SIZE, :SIZE].astype(np.float32))
    return sky, dirty, convolution


def error(found, sky):
    """Norm of the error, over that of the sky."""
    return float((found - sky).norm() / sky.norm())


def solve(observed, strength, **more):
    """The model of a strength, from an empty one on."""
    _, dirty, convolution = observed
    return total_variation(
        torch.zeros_like(dirty), dirty, convolution, NOISE, TotalVariationSettings(strength, **more)
    )  # fmt: skip


def test_a_disc_is_found(observed):
    """With the default strength the disc comes out nearly flat, with its flux, and without negative pixels."""
    sky = observed[0]
    found = solve(observed, 1.0)
    assert error(found, sky) < 0.2
    assert float(found.sum() / sky.sum()) == pytest.approx(1, abs=0.08)
    assert float(found.min()) >= 0


def test_too_weak_fits_noise_and_too_strong_flattens(observed):
    """There is a best strength: much weaker and much stronger ones are worse."""
    errors = [error(solve(observed, strength), observed[0]) for strength in (0.001, 1.0, 300.0)]
    assert errors[1] < 0.8 * min(errors[0], errors[2])


def test_pixels_that_may_not_change_stay(observed):
    """Outside the allowed pixels the model is the one it began with."""
    sky, dirty, convolution = observed
    allowed = sky > 0
    start = torch.full_like(sky, 0.01)
    found = total_variation(start, dirty - convolution.normal(start), convolution, NOISE, allowed=allowed)
    torch.testing.assert_close(found[~allowed], start[~allowed])
    assert float(found[allowed].mean()) > 0.5


def test_a_signed_sky(observed):
    """Without positivity the model of the negative dirty image is the negative model."""
    _, dirty, convolution = observed
    settings = TotalVariationSettings(positive=False)
    empty = torch.zeros_like(dirty)
    plus = total_variation(empty, dirty, convolution, NOISE, settings)
    minus = total_variation(empty, -dirty, convolution, NOISE, settings)
    torch.testing.assert_close(minus, -plus, atol=1e-3, rtol=1e-3)
    assert float(minus.min()) < -0.5

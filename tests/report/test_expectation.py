"""What the report says of the residual at bright sources."""

import numpy as np
import pytest

from radrim.beam import Beam, restore
from radrim.report.expectation import at_bright_sources, lobe_factor, tell

SIZE, NOISE, BEAM = 128, 1e-3, Beam(6.0, 6.0, 0.0)
"""Pixels of 1 rad stand for any scale."""


def psf_and_noise(draws):
    """A Gaussian PSF of natural weights, and dirty images of noise that is correlated as it, (draw, y, x)."""
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(SIZE), np.fft.fftfreq(SIZE)))
    weights = np.exp(-((np.pi * 6.0 * frequency) ** 2) / (4 * np.log(2)))
    psf = np.fft.ifft2(weights).real
    white = np.random.default_rng(8).normal(size=(draws, SIZE, SIZE))
    noise = np.fft.ifft2(np.fft.fft2(white) * np.sqrt(weights)).real
    return np.fft.fftshift(psf / psf[0, 0]), NOISE * noise / noise.std()


def test_one_fitted_point_leaves_what_is_expected():
    """In simulated noise, a point whose flux is fitted leaves the stated rms within the main lobe."""
    psf, noise = psf_and_noise(400)
    left = noise - noise[:, SIZE // 2, SIZE // 2, None, None] * psf
    rms = np.sqrt((left[:, psf > 0.5] ** 2).mean())
    assert rms == pytest.approx(NOISE * lobe_factor(psf), rel=0.05)
    assert rms < 0.8 * NOISE


@pytest.fixture
def run():
    """PSF, restored image with one bright point, and the residual that its fit left, each (y, x)."""
    psf, (noise,) = psf_and_noise(1)
    model = np.zeros((SIZE, SIZE), np.float32)
    model[SIZE // 2, SIZE // 2] = 1 + noise[SIZE // 2, SIZE // 2]
    residual = noise - noise[SIZE // 2, SIZE // 2] * psf
    return psf, restore(model, BEAM, 1.0) + residual, residual


def test_hole_is_measured_and_explained(run):
    """The residual is quieter at the point; the error is the noise, or that of the map of uncertainties."""
    psf, image, residual = run
    found = at_bright_sources(image, residual, psf, NOISE, BEAM, 1.0)
    assert found.error == NOISE
    assert not found.mapped
    assert found.beams > 1
    mapped = at_bright_sources(image, residual, psf, NOISE, BEAM, 1.0, np.full(image.shape, 2e-3))
    assert mapped.error == 2e-3
    text = " ".join(tell(mapped, {"kept": 1.034, "kept_error": 0.02, "fitted": 0.97, "noise": 1.0}))
    for part in ("to be expected", "2 mJy/beam (by the map", "1.03 ± 0.02 for them", "0.97 for fitted", "1 for noise"):
        assert part in text


def test_loud_residual_is_not_called_a_hole(run):
    """Where calibration errors dominate, the text says so."""
    psf, image, residual = run
    loud = np.where(image > 10 * NOISE, 8 * NOISE, residual)
    assert "louder there, not quieter" in " ".join(tell(at_bright_sources(image, loud, psf, NOISE, BEAM, 1.0)))


def test_nothing_is_said_without_bright_sources(run):
    """Noise alone has no hole; an image without noise has no scale."""
    psf, _, residual = run
    assert at_bright_sources(residual, residual, psf, NOISE, BEAM, 1.0) is None
    assert at_bright_sources(residual, residual, psf, 0.0, BEAM, 1.0) is None

"""Signal or noise: what stands out of a residual at which scale, and what is left to a later cycle."""

import numpy as np
import pytest
import scipy.stats

from radrim.rim.minor.detection import (
    FIELD,
    bands,
    describe_noise,
    find_active,
    highest_sidelobe,
    highest_sidelobes,
    level_for,
)


def test_faint_extended_emission_is_seen():
    """Emission below the noise in every pixel, but above it in the mean of a cell, makes its cell active."""
    rng = np.random.default_rng(1)
    residual = rng.standard_normal((512, 512)).astype(np.float32)
    residual[128:192, 128:192] += 1.0
    active = find_active(residual, 1.0)
    assert active[160, 160]
    assert not active[400, 400]


def test_faint_extended_emission_is_no_noise():
    """The same residual does not pass for noise; without the emission it does."""
    rng = np.random.default_rng(1)
    residual = rng.standard_normal((512, 512)).astype(np.float32)
    assert "noise" in describe_noise(residual, 1.0)
    residual[128:160, 128:160] += 1.5
    assert describe_noise(residual, 1.0) == ""


def test_noise_without_short_spacings_is_noise():
    """What an array without short spacings makes of noise averages to 0, but not where the image is cut off."""
    rng = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(512)[:, None], np.fft.rfftfreq(512))
    for _ in range(3):
        spectrum = np.fft.rfft2(rng.standard_normal((512, 512))) * ((frequency > 0.04) & (frequency < 0.3))
        residual = np.fft.irfft2(spectrum)[:400, :400].astype(np.float32)
        assert "noise" in describe_noise(residual, 1.0)


def test_what_sidelobes_may_explain_waits():
    """With high sidelobes a source of a tenth of the brightest is left to a later cycle, with low ones not."""
    residual = np.random.default_rng(0).standard_normal((512, 512)).astype(np.float32)
    residual[64, 64], residual[448, 448] = 1000, 100
    assert find_active(residual, 1.0, (0.2, 0.2, 0.2))[64, 64]
    assert not find_active(residual, 1.0, (0.2, 0.2, 0.2))[448, 448]
    assert find_active(residual, 1.0, (0.05, 0.05, 0.05))[448, 448]


def test_sidelobes_of_extended_emission_are_left_alone():
    """They add up: in means over 16 pixels what is below twice the PSF's highest sidelobe waits for the next cycle."""
    residual = np.zeros((512, 512), np.float32)
    residual[32:96, 32:96] = 100.0
    for level, active in ((15.0, False), (25.0, True)):
        residual[416:480, 416:480] = level
        assert find_active(residual, 1e-3, (1.0, 1.0, 0.1))[448, 448] == active


def test_levels_grow_with_the_image():
    """Noise exceeds the level as often in a large image as the one asked for in a small one; small ones keep it."""
    assert level_for(256 * 256, 5.5) == 5.5
    for level in (3.0, 5.5):
        higher = level_for(16 * FIELD, level)
        assert 16 * scipy.stats.norm.sf(higher) == pytest.approx(scipy.stats.norm.sf(level), rel=1e-6)


def test_bands_add_up():
    """The bands of an image, each brought to full size, add up to the image."""
    image = np.random.default_rng(0).standard_normal((64, 96))
    parts = bands(image)
    total = sum(np.kron(part, np.ones((4**k, 4**k))) for k, part in enumerate(parts))
    np.testing.assert_allclose(total, image, atol=1e-12)


def test_sidelobes_of_a_psf():
    """A main lobe alone has no sidelobes; a ring of a fifth of the peak has one of about that height."""
    y, x = np.indices((256, 256)) - 128
    radius = np.hypot(y, x)
    lobe = np.exp(-(radius**2) / 8) - 1e-9
    assert max(highest_sidelobes(lobe)) < 1e-3
    ring = lobe + 0.2 * np.exp(-((radius - 60) ** 2) / 8) - 1e-6
    assert highest_sidelobes(ring)[0] == pytest.approx(0.2, rel=0.3)


def test_highest_sidelobe():
    """Beyond the first null, of either sign; a shoulder of the main lobe is none."""
    psf = np.zeros((33, 33), np.float32)
    psf[12:21, 12:21], psf[16, 16], psf[16, 28], psf[3, 3] = 0.4, 1.0, 0.1, -0.2
    assert highest_sidelobe(psf) == pytest.approx(0.2)
    assert highest_sidelobe(np.abs(psf)[10:23, 10:23]) == 0

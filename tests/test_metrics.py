import math

import numpy as np
import pytest

from radrim.errors import DataError
from radrim.metrics import NoiseSettings, dynamic_range, log_snr_db, noise_mad, snr_db


@pytest.fixture
def rng():
    return np.random.default_rng(1)


def test_noise_is_the_sigma_of_a_gaussian(rng):
    """The factor 1.4826 turns the MAD of Gaussian noise into its standard deviation, whatever its mean."""
    image = rng.normal(0.7, 3e-4, (512, 512)).astype(np.float32)
    assert noise_mad(image) == pytest.approx(3e-4, rel=0.01)


def test_noise_ignores_sources(rng):
    """One pixel in a hundred holding a bright source changes the noise by a few per cent, not by factors."""
    image = rng.normal(0, 1, (512, 512)).astype(np.float32)
    image.flat[::100] = 1e5
    assert noise_mad(image) == pytest.approx(1, rel=0.03)


def test_subsample_sees_every_column(rng):
    """Above the largest number of pixels the step shares no factor with the width: striped noise keeps its noise."""
    size = 2048
    stripes = np.where(np.arange(size) % 2, 5.0, 0.0)  # a step of 4 would see the silent columns only
    image = (rng.normal(0, 1, (size, size)) + stripes).astype(np.float32)
    assert image.size > NoiseSettings.pixels
    whole = 1.4826 * np.median(np.abs(image - np.median(image)))
    assert noise_mad(image) == pytest.approx(whole, rel=0.01)


def test_noise_leaves_out_what_is_not_finite(rng):
    """Pixels beyond the horizon are NaN; they do not make the noise NaN."""
    image = rng.normal(0, 1, (64, 64))
    image[:20] = np.nan
    image[20] = np.inf
    assert noise_mad(image) == pytest.approx(1, rel=0.05)


def test_noise_of_nothing_is_refused():
    """An image without a finite pixel has no noise, and the message says so."""
    with pytest.raises(DataError, match="no finite pixel"):
        noise_mad(np.full((8, 8), np.nan))


def test_dynamic_range_is_peak_over_noise(rng):
    """The largest |pixel| of the image over the noise of the residual."""
    residual = rng.normal(0, 1e-3, (256, 256))
    image = residual.copy()
    image[3, 5] = -2
    assert dynamic_range(image, residual) == pytest.approx(2000, rel=0.02)


def test_snr_counts_decibels_of_amplitude():
    """An error of a tenth of the truth is 20 dB, and equal images are infinitely good."""
    truth = np.arange(1.0, 13.0).reshape(3, 4)
    assert snr_db(truth, 1.1 * truth) == pytest.approx(20)
    assert snr_db(truth, truth) == math.inf


def test_snr_refuses_other_shapes():
    """Broadcasting one column over an image would give a number without meaning."""
    with pytest.raises(ValueError, match=r"\(4, 1\)"):
        snr_db(np.ones((4, 4)), np.ones((4, 1)))


def test_log_snr_weighs_faint_structure():
    """Losing a halo of 1e-3 of the peak hardly shows in dB, but does in the logarithmic scale."""
    truth = np.full((64, 64), 1e-3)
    truth[32, 32] = 1
    without_halo = np.where(truth == 1, 1.0, 0.0)
    assert snr_db(truth, without_halo) > 20
    assert log_snr_db(truth, without_halo, 1e4) < 1

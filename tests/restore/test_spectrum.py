"""Spectra as polynomials of frequency, and the spectral index."""

from types import SimpleNamespace

import numpy as np
import pytest

from radrim.beam import Beam, restore
from radrim.geometry import ARCSEC
from radrim.restore.spectrum import Basis, SpectralPlanes, SpectrumSettings, advise_terms, fit_index, spectral_index

FREQ = np.array([1.0e9, 1.1e9, 1.35e9, 1.4e9, 1.9e9])
WEIGHT = np.array([3.0, 1.0, 2.0, 0.5, 4.0])


@pytest.mark.parametrize("terms", [1, 2, 3, 5])
def test_orthonormal(terms):
    """Under the weights; the first polynomial is 1."""
    basis = Basis.of(FREQ, WEIGHT, terms)
    gram = (basis.values * basis.weight[:, None]).T @ basis.values
    np.testing.assert_allclose(gram, np.eye(terms), atol=1e-10)
    np.testing.assert_allclose(basis.values[:, 0], 1)


@pytest.mark.parametrize("terms", [2, 3, 4])
def test_value_and_slope(terms):
    """Of any polynomial of that degree, at the weighted mean of the frequencies."""
    rng = np.random.default_rng(terms)
    basis, middle = Basis.of(FREQ, WEIGHT, terms), np.average(FREQ, weights=WEIGHT)
    spectrum = np.polynomial.Polynomial(rng.normal(size=terms))
    channels = spectrum(FREQ / middle - 1)
    found = (basis.weight * channels) @ basis.values
    np.testing.assert_allclose(basis.values @ found, channels, rtol=1e-9)
    assert basis.value @ found == pytest.approx(spectrum(0.0))
    assert basis.slope @ found == pytest.approx(spectrum.deriv()(0.0))


def test_images_and_back():
    """The channels' images of some terms, added up again, are the terms."""
    rng, basis = np.random.default_rng(1), Basis.of(FREQ, WEIGHT, 3)
    terms, back = rng.normal(size=(3, 4, 6)).astype(np.float32), np.zeros((3, 4, 6))
    for channel in range(len(FREQ)):
        basis.add(channel, basis.image(channel, terms), back)
    np.testing.assert_allclose(back, terms, atol=1e-5)


class Sky:
    """Channels with a model of one pixel and noise in their residuals, and a primary beam with a spectrum if wanted."""

    def __init__(self, seed, noise, alpha, beam=None):
        rng = np.random.default_rng(seed)
        self.weight = WEIGHT / WEIGHT.sum()
        self.middle = np.average(FREQ, weights=WEIGHT)
        self._images = []
        for freq, weight in zip(FREQ, self.weight, strict=True):
            model = np.zeros((64, 64), np.float32)
            model[32, 32] = (freq / self.middle) ** alpha
            residual = rng.normal(0, noise / np.sqrt(weight), (64, 64)).astype(np.float32)
            self._images.append({"model": model, "residual": residual})
            if beam is not None:
                pb = np.full((64, 64), (freq / self.middle) ** beam, np.float32)
                self._images[-1] = {"model": pb * model, "residual": residual, "pb": pb}
        self.headers = [SimpleNamespace(paths=dict.fromkeys(images)) for images in self._images]

    def __len__(self):
        return len(FREQ)

    def plane(self, number, kind):
        return self._images[number][kind]


def planes(sky):
    """What `spectral_index` reads."""
    return SpectralPlanes(sky.plane, len(sky), "pb" in sky.headers[0].paths)


def test_spectral_index_and_its_error():
    """Over many realisations of the noise the error says how far the index is off; faint pixels have none."""
    beam, noise, alpha = Beam(6 * ARCSEC, 4 * ARCSEC, 0.3), 0.02, -0.7
    off, error = [], []
    for seed in range(60):
        index, spread = spectral_index(planes(Sky(seed, noise, alpha)), Basis.of(FREQ, WEIGHT, 2), beam, ARCSEC)
        off.append((index[32, 32] - alpha) / spread[32, 32])
        error.append(spread[32, 32])
    assert abs(np.mean(off)) < 0.4
    assert 0.75 < np.std(off) < 1.3
    assert 0.02 < np.mean(error) < 0.3
    shape = np.zeros((64, 64), np.float32)
    shape[32, 32] = 1
    bright = restore(shape, beam, ARCSEC) > 2 * SpectrumSettings.significant * noise
    assert np.isfinite(index[bright]).all()
    assert np.isfinite(spread[bright]).all()
    assert np.isnan(index[:8]).all()
    assert np.isnan(spread[:8]).all()


def test_the_spectrum_of_the_primary_beam_is_not_the_sources():
    """A beam that falls with frequency makes sources look steeper; their index is what they have without it."""
    beam, basis = Beam(6 * ARCSEC, 4 * ARCSEC, 0.3), Basis.of(FREQ, WEIGHT, 4)
    plain, _ = spectral_index(planes(Sky(1, 1e-5, -0.7)), basis, beam, ARCSEC)
    seen, _ = spectral_index(planes(Sky(1, 1e-5, -0.7, beam=-0.5)), basis, beam, ARCSEC)
    assert plain[32, 32] == pytest.approx(-0.7, abs=0.01)
    assert seen[32, 32] == pytest.approx(-0.7, abs=0.03)


@pytest.mark.parametrize("alpha", [-1.5, -0.7, 0.0, 0.8])
@pytest.mark.parametrize("terms", [2, 3])
@pytest.mark.parametrize("beam", [None, -2.0])
def test_power_laws_over_a_wide_band_are_exact(alpha, terms, beam):
    """However few terms there are, and behind a primary beam."""
    spectrum = (FREQ / np.average(FREQ, weights=WEIGHT)) ** alpha
    basis = Basis.of(FREQ, WEIGHT, terms)
    pb = np.ones((5, 1)) if beam is None else ((FREQ / FREQ.mean()) ** beam)[:, None]
    seen = (basis.weight * spectrum * pb[:, 0]) @ basis.values
    index, error = fit_index(seen[:, None], basis, 1e-3, pb)
    assert index[0] == pytest.approx(alpha, abs=1e-4)
    assert 1e-4 < error[0] < 0.1


def test_curved_spectra_have_their_index_at_the_reference():
    """Of three terms, that of a parabola of ln I over ln nu."""
    log = np.log(FREQ / np.average(FREQ, weights=WEIGHT))
    basis = Basis.of(FREQ, WEIGHT, 3)
    seen = (basis.weight * np.exp(-0.8 * log - 0.3 * log**2)) @ basis.values
    index, _ = fit_index(seen[:, None], basis, 1e-3, np.ones((5, 1)))
    assert index[0] == pytest.approx(-0.8, abs=1e-4)


def test_noise_without_a_power_law_is_bounded():
    """Terms that no spectrum has, give finite indices with large errors."""
    basis = Basis.of(FREQ, WEIGHT, 3)
    terms = np.random.default_rng(3).normal(0, 1, (3, 500)) + np.array([[5], [0], [0]])
    index, error = fit_index(terms, basis, 1.0, np.ones((5, 1)))
    assert np.isfinite(index).all()
    assert np.abs(index).max() <= SpectrumSettings.max_index
    assert np.median(error) > 0.1


def test_advice_on_terms():
    """Two terms over a wide band are advised against, with the number to use; three, or a narrow band, are not."""
    assert "--spectral-terms 3" in advise_terms(0.95e9, 1.65e9, 2)
    assert "950 to 1650 MHz" in advise_terms(0.95e9, 1.65e9, 2)
    assert advise_terms(0.95e9, 1.65e9, 3) == advise_terms(1.3e9, 1.5e9, 2) == ""

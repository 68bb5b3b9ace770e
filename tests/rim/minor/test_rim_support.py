"""What the data need of a model stays, haze goes, and the fit of what stays is no worse."""

import numpy as np
import pytest
import scipy.ndimage

from radrim.geometry import FWHM_PER_SIGMA
from radrim.rim.minor.settings import RimSettings, SparsifySettings
from radrim.rim.minor.solver import RimSolver

SOURCES = ((40, 60, 100.0), (90, 110, 40.0))
NOISE = 1e-3


@pytest.fixture
def spread(seen_sky):
    """A sky, and a model of it with haze all around its sources, as deep as the noise: the residual is noise, too."""
    sky = seen_sky((128, 160), SOURCES, noise=NOISE, width=3.0)
    sigma = lobe_of(sky) / FWHM_PER_SIGMA
    grains = scipy.ndimage.gaussian_filter(np.random.default_rng(3).standard_normal(sky.truth.shape), sigma)
    y, x = np.indices(sky.truth.shape)
    haze = np.maximum(grains, 0) * (np.hypot(y - 64, x - 80) < 50)
    haze *= NOISE / (2 * np.pi * sigma.prod() * scipy.ndimage.gaussian_filter(haze, sigma).max())
    return sky, sky.truth + haze.astype(np.float32)


def lobe_of(sky):
    """Width of the PSF's main lobe along y and x [pixel]."""
    return sky.convolution.widths().numpy()


class Done:
    """A machine that is never asked."""

    def parameters(self):
        """On the CPU."""
        import torch

        yield torch.zeros(1)


@pytest.fixture
def empty(propose):
    """The update of a model that is emptied: ``empty(sky, model, residual)``."""

    def run(sky, model, residual, allowed=None):
        solver = RimSolver(Done(), RimSettings(noise=NOISE, mask=allowed))
        return propose(solver, residual, sky.psf, model, NOISE).update

    return run


def test_haze_goes_and_the_model_is_better(spread, empty):
    """Beside the sources the model is nearer to the sky, hardly any flux of these goes, and the data fit as well."""
    sky, model = spread
    residual = sky.residual(model)
    after = model + empty(sky, model, residual)
    emptied = (model > 0) & (after == 0)
    assert emptied.mean() > 0.1
    assert sky.truth[emptied].sum() < 1e-3 * sky.truth.sum()
    beside = sky.truth < 1e-4 * sky.truth.max()
    assert np.abs(after - sky.truth)[beside].sum() < 0.5 * np.abs(model - sky.truth)[beside].sum()
    assert after.sum() == pytest.approx(sky.truth.sum(), rel=1e-3)
    exact = sky.residual(after)
    assert exact.std() <= SparsifySettings.max_rms_rise * max(residual.std(), NOISE)


def test_a_faint_source_that_the_data_show_stays(spread, empty):
    """A source of 15 times the noise is in the model before and after, also where brighter haze would go."""
    sky, model = spread
    at = slice(29, 32), slice(119, 122)
    source = np.zeros_like(model)
    source[at] = 1 / 9
    source *= np.float32(15 * NOISE / sky.see(source).max())
    sky.dirty = sky.dirty + sky.see(source)
    model = model + source
    after = model + empty(sky, model, sky.residual(model))
    assert after[at].sum() == pytest.approx(source.sum(), rel=0.2)


def test_nothing_goes_where_all_is_needed(seen_sky, empty):
    """A model that is empty but for its sources is left alone."""
    sky = seen_sky((128, 160), SOURCES, noise=NOISE, width=3.0)
    model = np.where(sky.truth > 1e-2 * sky.truth.max(), sky.truth, 0)
    rest = (sky.dirty - sky.see(sky.truth)).astype(np.float32)
    assert not ((model > 0) & (model + empty(sky, model, rest) == 0)).any()


def test_nothing_appears_where_it_is_not_allowed(spread, empty):
    """A mask holds: the model is 0 outside it before and after."""
    sky, model = spread
    allowed = np.zeros(model.shape, bool)
    allowed[15:115, 20:140] = True
    model = np.where(allowed, model, 0)
    assert not (model + empty(sky, model, sky.residual(model), allowed))[~allowed].any()


def test_an_empty_model_is_left_alone(seen_sky, empty):
    """There is nothing to take away."""
    sky = seen_sky(sources=())
    assert not empty(sky, np.zeros_like(sky.dirty), sky.dirty).any()


@pytest.fixture
def ended(spread):
    """A solver, the residual at its end, and the model."""
    sky, model = spread
    sky.dirty = sky.dirty.astype(np.float32)
    return RimSolver(Done(), RimSettings(noise=NOISE)), sky, model


def test_the_end_of_a_deconvolution(ended, propose):
    """Once the residual is noise the model is emptied, once, as a whole, and that is all."""
    solver, sky, model = ended
    found = propose(solver, sky.residual(model), sky.psf, model, NOISE)
    assert found.update.any()
    assert not found.minor.converged
    assert 1 < found.minor.max_rms_rise < 1.1
    assert "removed model emission fainter than" in found.minor.stop
    model = model + found.update
    after = propose(solver, sky.residual(model), sky.psf, model, NOISE, of=found.image)
    assert after.minor.converged
    assert not after.update.any()


@pytest.mark.parametrize("settings", [{"positive": False}, {"noise": NOISE / 3}])
def test_where_it_does_not_apply(ended, settings, propose):
    """Skies of both signs are left alone, and so is a model whose residual is not noise."""
    solver, sky, model = ended
    solver = RimSolver(Done(), RimSettings(**{"noise": NOISE, "threshold": 1.0} | settings))
    found = propose(solver, sky.residual(model), sky.psf, model, NOISE / 3)
    assert found.minor.converged
    assert not found.update.any()

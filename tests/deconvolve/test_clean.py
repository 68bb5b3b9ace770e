"""CLEAN: flux, position, masks and limits, and that it never makes things worse."""

import numpy as np
import pytest
from scipy.signal import fftconvolve

from radrim.deconvolve.clean import CleanSettings, CleanSolver
from radrim.errors import ConfigError, SolverError

SIZE = 96


def gaussian_psf(size=SIZE, width=(3.0, 2.0), ripple=0.0):
    """A Gaussian main lobe with rings of sidelobes, peak 1 at the centre; its transform is not negative."""
    y, x = np.mgrid[:size, :size] - size // 2
    lobe = np.exp(-0.5 * ((x / width[0]) ** 2 + (y / width[1]) ** 2))
    radius = np.hypot(x, y)
    return ((1 - ripple) * lobe + ripple * np.sinc(radius / 9.0) ** 2).astype(np.float32)


def observe(sky, psf):
    return fftconvolve(sky, psf, mode="full")[
        psf.shape[0] // 2 : psf.shape[0] // 2 + sky.shape[0], psf.shape[1] // 2 : psf.shape[1] // 2 + sky.shape[1]
    ].astype(np.float32)


def run(sky, psf, noise=1e-3, cycles=8, seed=None, **options):
    """Major cycles with the exact residual; returns model, residual and the minor cycles."""
    dirty = observe(sky, psf)
    if seed is not None:
        thermal = observe(np.random.default_rng(seed).normal(size=sky.shape), psf)
        dirty = dirty + (noise * thermal / thermal.std()).astype(np.float32)
    model, residual, minors = np.zeros_like(dirty), dirty, []
    solver = CleanSolver(CleanSettings(**options))
    for _ in range(cycles):
        minors.append(solver(residual, psf, model, noise))
        model = model + minors[-1].update
        residual = dirty - observe(model, psf)
        if minors[-1].converged:
            break
    return model, residual, minors


def point(y=40, x=55, flux=1.0):
    sky = np.zeros((SIZE, SIZE), np.float32)
    sky[y, x] = flux
    return sky


@pytest.mark.parametrize("flux", [1.0, -1.0])
def test_point_source_is_recovered(flux):
    """A point source keeps its flux to 1 % and its pixel, whatever its sign."""
    model, _, _ = run(point(flux=flux), gaussian_psf(ripple=0.1))
    assert model.sum() == pytest.approx(flux, rel=0.01)
    assert np.unravel_index(np.abs(model).argmax(), model.shape) == (40, 55)


def test_negative_components_can_be_forbidden():
    """With negative=False no component is negative."""
    model, _, _ = run(point(flux=-1.0) + point(20, 20), gaussian_psf(), negative=False, multiscale=False)
    assert model.min() >= 0


def test_noise_alone_gives_almost_nothing():
    """Noise without a source yields a model of no more than a few noise peaks."""
    model, _, _ = run(np.zeros((SIZE, SIZE), np.float32), gaussian_psf(), noise=1.0, seed=1, auto_mask=5.0)
    assert np.count_nonzero(model) < 0.01 * model.size


def test_multiscale_beats_points_on_extended_emission():
    """A wide Gaussian leaves less residual with extended components than with points alone, for the same components."""
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE // 2
    sky = np.exp(-0.5 * (x**2 + y**2) / 8.0**2).astype(np.float32) / 100
    left = [np.abs(run(sky, gaussian_psf(ripple=0.05), niter=300, multiscale=m)[1]).max() for m in (True, False)]
    assert left[0] < 0.5 * left[1]


def test_components_stay_in_the_mask():
    """Points are found only where the mask allows them."""
    sky = point(40, 55) + point(20, 20) + point(70, 70)
    mask = np.zeros(sky.shape, bool)
    mask[:60, 30:] = True
    solver = CleanSolver(CleanSettings(mask=mask, multiscale=False))
    update = solver(observe(sky, gaussian_psf()), gaussian_psf(), np.zeros_like(sky), 1e-3).update
    assert update[40, 55] > 0
    assert not update[60:].any()
    assert not update[:, :30].any()


@pytest.mark.parametrize("width", [(3.0, 2.0), (8.0, 1.2)])
def test_chi_squared_never_rises(width):
    """No minor cycle raises chi^2 = -2 <m, d> + <m, PSF * m>, for round and for elongated beams."""
    psf = gaussian_psf(width=width, ripple=0.3)
    sky = point() + point(60, 30, 0.5) + point(44, 58, 0.2)
    dirty = observe(sky, psf).astype(float)
    model, last = np.zeros_like(dirty), 0.0
    solver = CleanSolver(CleanSettings())
    for _ in range(6):
        residual = (dirty - observe(model, psf)).astype(np.float32)
        model = model + solver(residual, psf, model.astype(np.float32), 1e-4).update
        chi2 = -2 * (model * dirty).sum() + (model * observe(model, psf)).sum()
        assert chi2 <= last + 1e-6 * abs(last)
        last = chi2


def test_strong_sidelobes_do_not_diverge():
    """With sidelobes of 60 % the residual still falls."""
    sky = point() + point(60, 30, 0.5)
    psf = gaussian_psf(ripple=0.6)
    _, residual, _ = run(sky, psf, cycles=12)
    assert residual.std() < 0.05 * observe(sky, psf).std()


def test_source_at_the_edge():
    """A bright source two pixels from the edge is recovered as one in the middle is."""
    model, _, _ = run(point(2, SIZE - 3), gaussian_psf(ripple=0.1), multiscale=False)
    assert model.sum() == pytest.approx(1.0, rel=0.02)


def test_component_limit_holds():
    """No more than niter components over all calls."""
    _, _, minors = run(point() + point(60, 30), gaussian_psf(), niter=7)
    assert sum(minor.components for minor in minors) == 7
    assert minors[-1].converged


def test_same_input_same_output():
    """Two runs give the same bytes."""
    first, second = (run(point(), gaussian_psf(ripple=0.2), seed=3)[0] for _ in range(2))
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("width", [(3.0, 2.0), (3.1, 2.0), (9.0, 7.0)])
def test_resumed_with_the_same_psf_or_another(width):
    """A solver that goes on from a saved state does what the solver that was saved does, whatever the next PSF is."""
    sky, psf, other = point(), gaussian_psf(), gaussian_psf(width=width)
    solver, model, dirty = CleanSolver(CleanSettings()), np.zeros_like(sky), observe(sky, psf)
    for _ in range(8):
        model = model + solver(dirty - observe(model, psf), psf, model, 1e-3).update
    resumed = CleanSolver(CleanSettings())
    resumed.resume(*solver.state())
    one, same = (some(observe(sky, other), other, model, 1e-3).update for some in (solver, resumed))
    np.testing.assert_array_equal(one, same)


@pytest.mark.parametrize("name", ["residual", "psf"])
def test_nan_is_named(name):
    """NaN in an input is refused by name."""
    arrays = {"residual": observe(point(), gaussian_psf()), "psf": gaussian_psf()}
    arrays[name][3, 4] = np.nan
    with pytest.raises(SolverError, match=name):
        CleanSolver()(arrays["residual"], arrays["psf"], np.zeros((SIZE, SIZE), np.float32), 1e-3)


def test_psf_smaller_than_the_tile_is_refused():
    """A PSF that does not cover the tile is refused with both shapes."""
    with pytest.raises(SolverError, match=r"\(64, 64\).*\(96, 96\)"):
        CleanSolver()(observe(point(), gaussian_psf()), gaussian_psf(64), np.zeros((SIZE, SIZE), np.float32), 1e-3)


@pytest.mark.parametrize("option", [{"gain": 0}, {"mgain": 1.5}, {"auto_mask": 0.1}, {"scales": ()}])
def test_settings_out_of_range(option):
    """Settings that cannot work are refused when they are made, by name."""
    with pytest.raises(ConfigError, match=next(iter(option))):
        CleanSettings(**option)

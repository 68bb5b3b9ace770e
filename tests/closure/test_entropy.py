"""`--solver entropy`: images of visibilities by relative entropy, whose strength kept-out visibilities choose."""

import numpy as np
import pytest
from astropy.io import fits

import radrim
from radrim.closure.cells import CellVisibilities, average_cells
from radrim.closure.entropy import EntropySettings, EntropySolver
from radrim.closure.noise import estimate_noise
from radrim.closure.solver import Objective
from radrim.closure.terms import VisibilityTerm
from radrim.closure.width import fit_width
from radrim.errors import ConfigError
from radrim.geometry import ARCSEC, ImageGrid
from radrim.imagers.entropy_fit import warning_of
from radrim.visibilities import Visibilities

UAS = ARCSEC * 1e-6
NOISE = 0.01
GRID = ImageGrid(40, 40, 5 * UAS)


def seen(uv):
    """Visibilities of 1.5 Jy in two Gaussians."""
    near = np.exp(-((np.pi * 20 * UAS * np.hypot(*uv.T)) ** 2) / (4 * np.log(2)))
    return 1.5 * near * (0.65 + 0.35 * np.exp(2j * np.pi * (uv @ (np.array([40, -25]) * UAS))))


def observed(samples=400, noise=NOISE, systematic=0.0, seed=1):
    """A sparse array with baselines up to 8 Gigawavelengths."""
    rng = np.random.default_rng(seed)
    length, angle = rng.uniform(2e8, 8e9, samples), rng.uniform(0, np.pi, samples)
    uv = length[:, None] * np.column_stack([np.sin(angle), np.cos(angle)])
    true = seen(uv)
    error = np.hypot(noise, systematic * np.abs(true))
    vis = true + error * (rng.standard_normal(samples) + 1j * rng.standard_normal(samples))
    number = np.arange(samples)
    uvw = np.column_stack([uv, np.zeros(samples)])
    return CellVisibilities(uvw, vis, np.full(samples, noise), number // 4, number // 4 % 5)


@pytest.fixture(scope="module")
def fitted():
    """The image of two Gaussians, with the choice that led to it."""
    solver = EntropySolver(observed(), GRID)
    choice = solver.choose()
    return choice, solver.fit(choice)


def test_flux_and_place_are_those_of_the_sky(fitted):
    """The flux is free, and visibilities measure it; the position is theirs, too: nothing is centred."""
    _, found = fitted
    image = found.solution.image
    assert found.flux == pytest.approx(1.5, rel=0.05)
    place = image.sum(0) @ GRID.l(), image.sum(1) @ GRID.m()
    assert np.allclose(np.array(place) / UAS, [14, -8.75], atol=3)
    y, x = np.unravel_index(image.argmax(), image.shape)
    assert np.hypot(GRID.l()[x], GRID.m()[y]) < 8 * UAS


def test_nothing_is_outside_a_mask(fitted):
    """Pixels that a mask leaves out are 0, though the sky has emission there; the others sum to 1."""
    choice, _ = fitted
    allowed = np.zeros(GRID.shape, bool)
    allowed[8:32, 18:36] = True
    image = EntropySolver(observed(), GRID, allowed).fit(choice).solution.image
    assert not image[~allowed].any()
    assert image.sum() == pytest.approx(1)


def test_a_resolved_source_has_no_haze():
    """Where all baselines resolve the source, folds choose a prior that allows next to no emission far from it."""
    rng, noise = np.random.default_rng(1), 0.005
    length, angle = rng.uniform(3e9, 8e9, 200), rng.uniform(0, np.pi, 200)
    uv = length[:, None] * np.column_stack([np.sin(angle), np.cos(angle)])
    parts = ((1.0, 15, 0, 0), (1.0, 40, -40, -30), (0.5, 30, 35, 20))  # Jy, and width and place [microarcsecond]
    vis = sum(
        flux
        * np.exp(-((np.pi * width * UAS * length) ** 2) / (4 * np.log(2)))
        * np.exp(2j * np.pi * (uv @ (np.array([l, m]) * UAS)))
        for flux, width, l, m in parts
    ) + noise * (rng.standard_normal(200) + 1j * rng.standard_normal(200))
    number = np.arange(200)
    data = CellVisibilities(
        np.column_stack([uv, np.zeros(200)]), vis, np.full(200, noise), number // 4, number // 4 % 5
    )
    grid = ImageGrid(96, 96, 5 * UAS)
    far = np.hypot(grid.l()[None, :], grid.m()[:, None]) > 110 * UAS
    haze = []
    for settings in (EntropySettings(), EntropySettings(faint_floor=1e-3, wider=1.0)):
        solver = EntropySolver(data, grid, settings=settings)
        choice = solver.choose()
        found = solver.fit(choice)
        haze.append(found.flux * found.solution.image[far].sum())
        assert choice.prior.floor == settings.faint_floor
    assert haze[0] < 0.05 < 0.1 < haze[1]


def test_noise_is_not_fitted(fitted):
    """At the strength that the folds choose, chi-square is near 1, and so is that of the prediction."""
    choice, found = fitted
    assert 0.75 < found.chi2 < 1.25
    assert 0.8 < choice.kept_chi2 < 1.6
    assert choice.noise.systematic < 0.03


def test_gradient_is_that_of_finite_differences():
    """Of the objective with complex visibilities, whose flux is the best one at each point."""
    data, rng = observed(30), np.random.default_rng(1)
    prior = rng.random(GRID.shape) + 0.1
    near = np.arange(30) == 0
    term = VisibilityTerm(data.vis, data.sigma)
    objective = Objective(data.uvw, near, [term], GRID, prior / prior.sum(), 0.7)
    x = np.append(rng.random(GRID.width * GRID.height) + 0.2, 0.4)
    _, gradient = objective(x)
    for direction in (rng.standard_normal(len(x)), np.eye(len(x))[-1]):
        step = 1e-5
        slope = (objective(x + step * direction)[0] - objective(x - step * direction)[0]) / (2 * step)
        assert slope == pytest.approx(gradient @ direction, rel=1e-4)


@pytest.mark.parametrize("factor, systematic", [(1.0, 0.0), (2.0, 0.0), (1.0, 0.2)])
def test_errors_of_visibilities_are_estimated(factor, systematic):
    """Noise that differs from the weights', and gain errors in proportion to the amplitude, are told apart."""
    data = observed(3000, NOISE * factor, systematic)
    data = CellVisibilities(data.uvw, data.vis, np.full(3000, NOISE), data.stretch, data.fold)
    found = estimate_noise(data, data.vis - seen(data.uvw[:, :2]))
    # Where gain errors are large, samples with little thermal noise alone are few.
    assert found.factor == pytest.approx(factor, rel=0.8 if systematic else 0.15)
    assert found.systematic == pytest.approx(systematic, rel=0.15, abs=0.02)


def test_noise_alone_is_no_error_in_proportion():
    """Samples that are large because their noise is large do not make the data seem uncalibrated."""
    data = observed(3000, 100 * NOISE)
    data = CellVisibilities(data.uvw, data.vis, np.full(3000, 100 * NOISE), data.stretch, data.fold)
    found = estimate_noise(data, data.vis - seen(data.uvw[:, :2]))
    assert found.factor == pytest.approx(1, rel=0.1)
    assert found.systematic < 0.2


def test_width_follows_the_amplitudes():
    """Of a Gaussian, within a tenth."""
    data = observed()
    shape = np.exp(-((np.pi * 60 * UAS * np.hypot(*data.uvw[:, :2].T)) ** 2) / (4 * np.log(2)))
    data.vis = 2 * shape + 0j
    data.sigma = np.full(len(data), 1e-4)
    assert fit_width(data, 10 * UAS, 200 * UAS, False)[0] / UAS == pytest.approx(60, rel=0.1)


def test_cells_keep_weight_and_mean():
    """Samples of one cell become their mean with the sum of their weights; kept-out rows do not count."""
    rows = 40
    uvw = np.tile([[100.0, 50, 0], [-100, -50, 0]], (rows // 2, 1))
    data = np.tile([[1 + 1j], [1 - 1j]], (rows // 2, 1)).astype(np.complex64)
    antenna = np.tile([0, 1], (rows, 1)).astype(np.int32)
    block = Visibilities(uvw, np.array([3e8]), data, np.full(data.shape, 4.0, np.float32), np.zeros(rows), antenna)
    found = average_cells([block], 1e-3, 5)
    assert len(found) == 1
    assert found.vis[0] == pytest.approx(1 + 1j)
    assert found.sigma[0] == pytest.approx((4.0 * rows) ** -0.5)


def test_uncalibrated_data_are_named():
    """Errors of a fifth of the amplitude lead to a warning that says what to do."""
    assert "--data closure" in warning_of(0.2)
    assert not warning_of(0.02)


def test_files_and_header(simulated_ring, tmp_path, no_report):
    """A run writes all images, and the header says which solver made them, with which strength."""
    result = radrim.image(simulated_ring, name=tmp_path / "ring", solver="entropy", scale="5uasec", size=40, threads=1)
    for kind in ("dirty", "psf", "model", "residual", "image"):
        assert result.paths[kind].exists()
    header = fits.getheader(result.paths["image"])
    assert header["RRSOLVER"] == "entropy"
    assert header["RRENTROP"] == result.facts["strength"]
    assert result.model.sum() == pytest.approx(1, rel=0.1)
    assert result.residual.std() < 0.05 * result.dirty.std()


@pytest.mark.parametrize("option", [{"data": "closure"}, {"pol": "Q"}, {"facet": 64}])
def test_what_makes_no_sense_is_refused(option):
    """With the reason."""
    with pytest.raises(ConfigError, match=r"--solver entropy|--data closure"):
        radrim.image("x.ms", solver="entropy", **option)

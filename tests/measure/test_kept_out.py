"""Which visibilities are kept out of the deconvolution, and what is measured without them."""

from dataclasses import replace

import numpy as np
import pytest

from radrim.geometry import ARCSEC, ImageGrid
from radrim.measure.holdout import HoldoutSettings, keep_out
from radrim.measure.measurement import Measurement
from radrim.visibilities import NaturalWeights, Visibilities

GRID = ImageGrid(64, 64, 1 * ARCSEC, 0.3, 0.7)


def observe(antennas, times, channels=2, seed=5):
    """Random visibilities of an array, sorted by baseline and time as in a run."""
    rng = np.random.default_rng(seed)
    place = rng.normal(0, 5e3, (antennas, 2))
    first, second = np.triu_indices(antennas, 1)
    pair = np.repeat(np.stack([first, second], 1), times, 0).astype(np.int32)
    when = np.tile(np.arange(times) * 60.0, len(first))
    angle = when / 1e4
    base = place[pair[:, 1]] - place[pair[:, 0]]
    u, v = (
        base[:, 0] * np.cos(angle) - base[:, 1] * np.sin(angle),
        base[:, 0] * np.sin(angle) + base[:, 1] * np.cos(angle),
    )
    shape = len(pair), channels
    data = (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)
    weight = rng.uniform(0.5, 2, shape).astype(np.float32)
    return Visibilities(np.stack([u, v, 0 * u], 1), 1.4e9 + 1e6 * np.arange(channels), data, weight, when, pair)


def test_whole_baselines_are_kept_out():
    """With many baselines each is kept out with all its samples, or not at all, and about as many as asked for."""
    block = observe(30, 10)
    (kept,) = keep_out([block], 0.05)
    inside = np.zeros(len(block.uvw), bool)
    inside[kept.rows] = True
    number = block.antenna[:, 0] * 100 + block.antenna[:, 1]
    for pair in np.unique(number):
        assert inside[number == pair].all() or not inside[number == pair].any()
    assert 0.04 < inside.mean() < 0.06
    assert kept.cells == len(np.unique(number[inside]))
    np.testing.assert_array_equal(kept.weight, block.weight[kept.rows])


def test_lengths_are_drawn_evenly():
    """Each quarter of the baselines by length has its part of the kept-out ones: the coverage stays whole."""
    block = observe(41, 4)
    (kept,) = keep_out([block], 0.1)
    order = np.argsort(np.argsort(block.uv_length)) / len(block.uvw)
    shares = np.histogram(order[kept.rows], 4, (0, 1))[0] / len(kept.rows)
    assert shares.min() > 0.15
    assert shares.max() < 0.35


def test_few_baselines_are_cut_into_stretches_of_time():
    """With six antennas cells are stretches of neighbouring integrations of one baseline."""
    block = observe(6, 400)
    (kept,) = keep_out([block], 0.05)
    assert kept.cells >= 15
    for cell in range(kept.cells):
        rows = kept.rows[kept.cell == cell]
        assert len(np.unique(block.antenna[rows], axis=0)) == 1
        assert np.ptp(rows) == len(rows) - 1


def test_blocks_share_their_cells():
    """A spectral window more does not change which baselines are kept out, and its samples are of the same cells."""
    block = observe(30, 10)
    other = replace(block, freq=block.freq + 1e9, data=block.data[::-1].copy())
    alone, (first, second) = keep_out([block], 0.05), keep_out([block, other], 0.05)
    np.testing.assert_array_equal(first.rows, alone[0].rows)
    np.testing.assert_array_equal(second.rows, first.rows)
    np.testing.assert_array_equal(second.cell, first.cell)


def test_choice_depends_on_the_seed_alone():
    """The same seed keeps out the same samples, another one others."""
    block = observe(30, 10)
    first, again, other = (keep_out([block], 0.05, HoldoutSettings(seed=seed))[0].rows for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_nothing_is_kept_out_if_not_asked_for():
    """With a fraction of 0 the measurement without kept-out samples is the measurement itself."""
    block = observe(30, 10)
    block.kept_out = keep_out([block], 0.0)[0]
    assert len(block.kept_out.rows) == 0
    measurement = Measurement([block], GRID)
    assert measurement.fitted() is measurement
    assert measurement.judge(measurement.holdout_residual(), measurement.holdout_residual()) is None


@pytest.fixture
def measured():
    """A block of which a tenth is kept out, its measurement, and the block with weights of 0 there."""
    block = observe(30, 4)
    block.kept_out = keep_out([block], 0.1)[0]
    without = replace(block, weight=block.weight.copy(), kept_out=None)
    without.weight[block.kept_out.rows] = 0
    return block, Measurement([block], GRID), Measurement([without], GRID)


def test_fitted_images_lack_the_kept_out_samples(measured):
    """Dirty image, PSF and residual of the fitted samples are those of a measurement whose other weights are 0."""
    _, measurement, without = measured
    fitted = measurement.fitted()
    model = np.zeros(GRID.shape, np.float32)
    model[30, 20] = 2.0
    assert fitted.sum_weight == pytest.approx(without.sum_weight)
    for name, values in (("dirty", ()), ("psf", ()), ("residual", (model,))):
        mine, theirs = getattr(fitted, name)(*values), getattr(without, name)(*values)
        np.testing.assert_allclose(mine, theirs, atol=1e-5 * np.abs(theirs).max())


def test_all_samples_count_in_the_measurement_itself(measured):
    """Dirty image and residual of all samples do not depend on what is kept out."""
    block, measurement, _ = measured
    whole = Measurement([replace(block, kept_out=None)], GRID)
    model = np.ones(GRID.shape, np.float32)
    np.testing.assert_array_equal(measurement.dirty(), whole.dirty())
    np.testing.assert_array_equal(measurement.residual(model), whole.residual(model))


def test_kept_out_samples_less_the_model(measured):
    """`holdout_residual` is the data of the kept-out rows, less what the model predicts for them."""
    block, measurement, _ = measured
    fitted = measurement.fitted()
    (before,) = fitted.holdout_residual()
    np.testing.assert_array_equal(before, block.data[block.kept_out.rows])
    model = np.zeros(GRID.shape, np.float32)
    model[32, 32] = 3.0  # at the phase centre: 3 Jy in every sample
    fitted.residual(model)
    np.testing.assert_allclose(fitted.holdout_residual()[0], before - 3.0, atol=1e-3)


def test_likelihood_has_natural_weights():
    """Its dirty image and PSF are those of natural weights, of the fitted rows alone; its noise is the least one."""
    block = observe(30, 10)
    (kept,) = keep_out([block], 0.1)
    imaging = (block.weight / (1 + block.uv_length[:, None] / 1e3)).astype(np.float32)
    measured = Measurement(
        [replace(block, weight=imaging, kept_out=kept, natural=NaturalWeights(((block.freq, block.weight),)))], GRID
    )
    fitted = measured.fitted()
    found = fitted.likelihood()
    without = block.weight.copy()
    without[kept.rows] = 0
    expected = Measurement([replace(block, weight=without)], GRID)
    np.testing.assert_allclose(found.dirty(), expected.dirty(), atol=1e-6)
    np.testing.assert_allclose(found.psf(), expected.psf(), atol=1e-6)
    model = np.zeros(GRID.shape, np.float32)
    model[20, 30] = 1.0
    np.testing.assert_allclose(found.residual(model), expected.residual(model), atol=1e-6)
    used = np.delete(imaging, kept.rows, 0).astype(float), np.delete(block.weight, kept.rows, 0).astype(float)
    of_imaging = np.sqrt((used[0] ** 2 / used[1]).sum()) / used[0].sum()
    assert found.noise_factor == pytest.approx(used[1].sum() ** -0.5 / of_imaging, rel=1e-5)
    assert found.noise_factor < 1
    assert fitted.noise_factor == 1
    assert Measurement([block], GRID).likelihood().noise_factor == 1

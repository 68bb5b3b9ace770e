# l and m are the direction cosines of the measurement equation.

from dataclasses import replace

import numpy as np
import pytest

from radrim.errors import DataError
from radrim.geometry import SIGN, C, ImageGrid, n_minus_1
from radrim.measure.measurement import Measurement, OperatorChoice, merge_blocks, uv_samples
from radrim.measure.transforms import make_transform
from radrim.operator.w_term import separable_terms
from radrim.visibilities import Observation, Visibilities, channel_bands, split_channels

GRID = ImageGrid(96, 64, 2e-3)
SOURCES = [(32, 48, 1.0), (10, 80, 0.5), (60, 5, 0.25)]  # y, x, flux [Jy]
WINDOWS = [(1.0e9, 1.05e9, 1.1e9), (1.2e9,), (1.0e9, 1.05e9, 1.1e9), (0.9e9,), (1.3e9, 1.4e9)]


def model():
    image = np.zeros(GRID.shape, np.float32)
    for y, x, flux in SOURCES:
        image[y, x] = flux
    return image


def make_block(freq, seed, rows=200):
    """Samples of `SOURCES` by the direct sum, of uneven weights, some flagged; w up to half of the baseline."""
    rng = np.random.default_rng(seed)
    uvw = rng.uniform(-40, 40, (rows, 3)) * [1, 1, 0.5]
    freq = np.array(freq)
    data = np.zeros((rows, len(freq)), complex)
    for y, x, flux in SOURCES:
        l, m = GRID.l()[x], GRID.m()[y]
        path = uvw @ np.array([l, m, n_minus_1(l, m)])
        data += flux * np.exp(SIGN * 2j * np.pi * np.multiply.outer(path, freq / C))
    weight = rng.uniform(0.5, 2, data.shape).astype(np.float32)
    weight[rng.random(data.shape) < 0.2] = 0
    data[weight == 0] = 0
    return Visibilities(uvw, freq, data.astype(np.complex64), weight, np.zeros(rows), np.zeros((rows, 2), np.int32))


@pytest.fixture(scope="module")
def blocks():
    return [make_block(freq, seed) for seed, freq in enumerate(WINDOWS)]


def direct_dirty(blocks):
    """D = Re sum W V exp(-i phase) / sum W, sample by sample."""
    l, m = np.meshgrid(GRID.l(), GRID.m())
    total, weights = np.zeros(GRID.shape), 0.0
    for b in blocks:
        for f, data, weight in zip(b.freq, b.data.T, b.weight.T, strict=True):
            u, v, w = (b.uvw * f / C).T[:, :, None, None]
            phase = 2 * np.pi * (u * l + v * m + w * n_minus_1(l, m))
            total += np.einsum("r,ryx->yx", weight * data, np.exp(-SIGN * 1j * phase)).real
            weights += weight.sum(dtype=float)
    return total / weights


def test_dirty_image_of_several_windows(blocks):
    """Windows of different channels image together as the sum over all their samples."""
    dirty = Measurement(blocks, GRID, OperatorChoice(epsilon=1e-6)).dirty()
    np.testing.assert_allclose(dirty, direct_dirty(blocks), atol=1e-5)


@pytest.mark.parametrize("kind", ["auto", "wgridder", "nufft", "dft"])
def test_residual_of_the_true_model_is_zero(blocks, kind):
    """Noise-free data minus the model they were made from leave nothing, by every operator."""
    residual = Measurement(blocks, GRID, OperatorChoice(kind, 1e-6)).residual(model())
    assert np.abs(residual).max() < 1e-5


def test_residual_of_no_model_is_the_dirty_image(blocks):
    """An empty model takes nothing away."""
    measurement = Measurement(blocks, GRID)
    np.testing.assert_allclose(measurement.residual(np.zeros(GRID.shape)), measurement.dirty(), atol=1e-6)


def test_psf_peak_is_exactly_one(blocks):
    """Exactly 1, not about 1, at the phase centre, and nowhere more."""
    for part in (blocks, blocks[:1], blocks[1:2]):
        psf = Measurement(part, GRID).psf()
        assert psf[32, 48] == 1
        assert psf.max() == 1


def test_psf_is_the_response_to_one_jansky(blocks):
    """The dirty image of 1 Jy at the phase centre is the PSF."""
    ones = [replace(b, data=(b.weight > 0).astype(np.complex64)) for b in blocks]
    measurement = Measurement(ones, GRID, OperatorChoice(epsilon=1e-6))
    np.testing.assert_allclose(measurement.dirty(), measurement.psf(), atol=1e-5)


def test_merged_blocks_are_the_same_data(blocks):
    """Fewer blocks, the same image and number of samples: one-channel blocks take any frequency by scaling uvw."""
    merged = merge_blocks(blocks)
    assert [len(b.freq) for b in merged] == [3, 1, 2]
    assert sum(b.data.size for b in merged) == sum(b.data.size for b in blocks)
    np.testing.assert_allclose(direct_dirty(merged), direct_dirty(blocks), atol=1e-6)


def test_a_single_block_is_not_copied(blocks):
    """Nothing to merge, nothing copied: visibilities can fill most of the memory."""
    assert merge_blocks(blocks[:1])[0] is blocks[0]


def test_frequency_is_weighted(blocks):
    """The band's centre counts each channel by its weight; flagged samples do not count."""
    measurement = Measurement(blocks, GRID)
    weight = sum(b.weight.sum(dtype=float) for b in blocks)
    assert measurement.freq == pytest.approx(sum((b.weight * b.freq).sum(dtype=float) for b in blocks) / weight)
    assert measurement.samples == sum(np.count_nonzero(b.weight) for b in blocks)
    assert measurement.sum_weight == pytest.approx(weight)


def test_no_weight_is_refused(blocks):
    """An output channel without any weight cannot be imaged."""
    with pytest.raises(DataError, match="no unflagged visibility; use fewer --channels-out"):
        Measurement([replace(blocks[0], weight=0 * blocks[0].weight)], GRID)


def test_uv_samples_are_unflagged_samples(blocks):
    """The uv plot's points are (u, v) of samples with weight, about as many as asked for, the same each time."""
    points = uv_samples(blocks, 500)
    assert 300 < len(points) <= 505
    every = {
        tuple(uv) for b in blocks for k, f in enumerate(b.freq) for uv in (b.uvw[b.weight[:, k] > 0, :2] * (f / C))
    }
    assert all(tuple(uv) in every for uv in points)
    np.testing.assert_array_equal(points, uv_samples(blocks, 500))


def test_channels_are_split_by_frequency(blocks):
    """Output channels hold neighbouring frequencies, nearly equally many, every sample once."""
    observation = Observation(blocks, 0.0, 0.0)
    groups = split_channels(observation, 3)
    spans = [(min(b.freq.min() for b in g), max(b.freq.max() for b in g)) for g in groups]
    assert spans == [(0.9e9, 1.05e9), (1.1e9, 1.2e9), (1.3e9, 1.4e9)]
    assert sum(b.data.size for g in groups for b in g) == sum(b.data.size for b in blocks)
    assert split_channels(observation, 1) == [blocks]


def test_split_channels_share_memory(blocks):
    """A contiguous run of channels is a view of the data."""
    groups = split_channels(Observation(blocks[:1], 0.0, 0.0), 3)
    assert all(np.shares_memory(g[0].weight, blocks[0].weight) for g in groups)


def test_output_channel_without_data(blocks):
    """An output channel that is flagged throughout has no blocks, and keeps its place and its band."""
    weight = blocks[0].weight.copy()
    weight[:, 0] = 0
    observation = Observation([replace(blocks[0], weight=weight)], 0.0, 0.0)
    groups = split_channels(observation, 3)
    assert [len(group) for group in groups] == [0, 1, 1]
    assert channel_bands(observation, 3)[0] == (1e9, 1e9)


def narrow_block(largest_w, rows=200):
    """Small data, as of VLBI, whose w reaches `largest_w` wavelengths."""
    rng = np.random.default_rng(7)
    uvw = rng.uniform(-1, 1, (rows, 3)) * [500, 500, largest_w]
    uvw[0, 2] = largest_w
    ones = np.ones((rows, 1), np.float32)
    return Visibilities(uvw, np.array([C]), ones + 0j, ones, np.zeros(rows), np.zeros((rows, 2), np.int32))


def test_direct_sum_is_chosen_for_the_accuracy_asked_for():
    """Where matrix products reach --epsilon; where only every single phase would do, another operator is faster."""
    block = narrow_block(2 * C / 1e9)
    grid = next(
        grid
        for grid in (ImageGrid(64, 64, scale) for scale in np.geomspace(1e-4, 1e-2, 200))
        if separable_terms(grid, block.uvw[0, 2], 1e-4) and not separable_terms(grid, block.uvw[0, 2], 1e-8)
    )
    assert Measurement([block], grid, OperatorChoice(epsilon=1e-4)).kind == "dft"
    assert Measurement([block], grid, OperatorChoice(epsilon=1e-8)).kind == "wgridder"


def test_wide_psf_has_the_operator_of_its_own_field(monkeypatch):
    """Where the image's field is just narrow enough for matrix products, one twice as wide is not."""
    block = narrow_block(0.6)
    scales = np.geomspace(1e-4, 1.2e-2, 400)
    grid = [ImageGrid(64, 64, s) for s in scales if separable_terms(ImageGrid(64, 64, s), 0.6, 1e-4)][-1]
    measurement, used = Measurement([block], grid, OperatorChoice(epsilon=1e-4)), []
    monkeypatch.setattr(
        "radrim.measure.measurement.make_transform", lambda kind, *a: used.append(kind) or make_transform(kind, *a)
    )
    wide = measurement.psf(wide=True)
    assert (measurement.kind, used) == ("dft", ["wgridder"])
    np.testing.assert_allclose(wide[32:96, 32:96], measurement.psf(), atol=1e-3)

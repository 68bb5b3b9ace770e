"""The noise of an image from what a model leaves of the visibilities, seen from neighbours."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

import radrim
from radrim.config.values import Weighting
from radrim.geometry import ARCSEC, ImageGrid
from radrim.measure.measurement import Measurement
from radrim.measure.neighbours import Neighbours
from radrim.metrics import measured_scatter
from radrim.read.reader import Selection, read
from radrim.weight.imaging import apply_weights

GRID = ImageGrid(128, 128, 3 * ARCSEC, 2.0, 0.6)
NO_MODEL = np.zeros(GRID.shape, np.float32)


def measure(path, weighting="natural"):
    blocks = read([path], Selection()).blocks
    apply_weights(blocks, GRID, Weighting(weighting))
    return Measurement(blocks, GRID)


@pytest.mark.parametrize("weighting", ["natural", "uniform", "briggs"])
@pytest.mark.parametrize("windows", [((1.38e9, 4),), ((1.38e9, 1),), ((1.38e9, 2), (1.4e9, 1))])
def test_noise_of_an_empty_field(make_ms, edit_ms, windows, weighting):
    """It is that of the image, whatever the weights promise."""
    path = make_ms(noise=0.1, times=48, windows=windows, stokes=(0.0, 0.0, 0.0, 0.0))
    path = edit_ms(source=path, WEIGHT=lambda weight: weight * 9)
    m = measure(path, weighting)
    assert np.isnan(m.left_noise)
    dirty = m.residual(NO_MODEL)
    assert m.left_noise == pytest.approx(dirty.std(), rel=0.15)  # some hundreds of independent pixels


def test_a_source_counts_until_it_is_in_the_model(make_ms):
    """From one long integration to the next a source scatters as noise does, but not once it is in the model."""
    path = make_ms(noise=0.01, times=24, windows=((1.38e9, 1),))
    m, (block,) = measure(path), read([path], Selection()).blocks
    dirty = m.residual(NO_MODEL)
    overstated = m.left_noise
    truth = NO_MODEL.copy()
    y, x = np.unravel_index(dirty.argmax(), dirty.shape)
    truth[y, x] = dirty.max()
    residual = m.residual(truth)
    assert m.left_noise < 0.5 * overstated
    assert m.left_noise < 1.5 * residual.std()
    assert m.left_noise >= 0.7 * 0.01 / np.sqrt(2 * block.data.size)


def test_flagged_samples_and_other_baselines_are_no_neighbours(make_ms):
    """Values under flags, and differences between baselines, do not count."""
    path = make_ms(noise=0.1, times=24, flagged=0.3, windows=((1.38e9, 1),), stokes=(0.0, 0.0, 0.0, 0.0))
    block = read([path], Selection()).blocks[0]
    rest = block.data.copy()
    clean = Neighbours(block).power(rest)
    pair = 1000.0 * (40 * block.antenna[:, 0] + block.antenna[:, 1])[:, None]
    rest = np.where(block.weight == 0, 1e6, rest + pair).astype(np.complex64)
    assert Neighbours(block).power(rest) == pytest.approx(clean, rel=1e-2)


def test_no_neighbours(make_ms):
    """A single integration of one channel says nothing."""
    block = read([make_ms(times=1, windows=((1.38e9, 1),))], Selection()).blocks[0]
    assert Neighbours(block).power(block.data) == float("inf")


def test_many_samples_are_judged_by_some_baselines(make_ms, monkeypatch):
    """Of a large block a part is looked at, and stands for all."""
    block = read([make_ms(noise=0.1, times=48, stokes=(0.0, 0.0, 0.0, 0.0))], Selection()).blocks[0]
    rest = block.data
    every = Neighbours(block).power(rest)
    monkeypatch.setattr("radrim.measure.neighbours.NeighbourSettings.max_samples", block.data.size // 3)
    assert Neighbours(block).power(rest) == pytest.approx(every, rel=0.1)
    # The same samples in another order are the same noise.
    order = np.random.default_rng(0).permutation(len(block.data))
    shuffled = replace(block, **{k: getattr(block, k)[order] for k in ("uvw", "data", "weight", "time", "antenna")})
    assert Neighbours(shuffled).power(shuffled.data) == pytest.approx(Neighbours(block).power(rest))


def test_a_sky_that_changes_from_sample_to_sample_is_imaged_to_the_noise(crowded_ms, tmp_path, without_reports, caplog):
    """Taken for noise at first, what scatters is found to be sky, and no warning says that noise was fitted."""
    scatter = measured_scatter(read([crowded_ms], Selection()).blocks)
    assert scatter > 10
    with without_reports():
        result = radrim.image(crowded_ms, size=128, scale="3asec", weight="natural", name=tmp_path / "x")
    overstated = scatter * fits.getheader(result.paths["image"])["RRTHERM"]
    assert result.facts["expected_noise"] < 0.2 * overstated
    assert fits.getheader(result.paths["image"])["RREXPECT"] == pytest.approx(result.facts["expected_noise"])
    assert result.residual.std() < 0.3 * overstated
    assert "noise has been fitted" not in caplog.text

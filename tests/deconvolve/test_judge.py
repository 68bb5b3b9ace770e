"""The judge: what kept-out visibilities say of an update."""

import numpy as np
import pytest

from radrim.deconvolve.judge import Cells, Verdict

CELLS, ROWS, CHANNELS = 20, 400, 4


class Samples:
    """Noise of unit weight in cells, and an update that predicts something in each sample."""

    def __init__(self, rng, size=0.3):
        self.rng = rng
        self.cell = np.repeat(np.arange(CELLS), ROWS // CELLS)
        self.weight = np.ones((ROWS, CHANNELS), np.float32)
        self.noise, self.update = self.draw(), size * self.draw()

    def draw(self):
        """Complex noise of unit variance of each part."""
        parts = self.rng.standard_normal((2, ROWS, CHANNELS))
        return (parts[0] + 1j * parts[1]).astype(np.complex64)

    def verdict(self, before, after):
        return Verdict(Cells.of(self.cell, self.weight, before, after, CELLS))


@pytest.fixture
def samples(rng):
    return Samples(rng)


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def test_a_right_update_lowers_chi2_and_is_taken_as_a_whole(samples):
    """What is left is the update and noise: the best part is 1 within its error, and chi^2 falls significantly."""
    verdict = samples.verdict(samples.noise + samples.update, samples.noise)
    assert abs(verdict.best - 1) < 4 * verdict.error
    assert verdict.change(1) < -5 * verdict.change_error(1)
    assert abs(verdict.noise - 1) < 0.1


def test_an_update_that_fits_other_noise_raises_chi2(samples):
    """An update that has nothing to do with what is left: the best part is 0 within its error, and chi^2 rises."""
    verdict = samples.verdict(samples.noise, samples.noise - samples.update)
    assert abs(verdict.best) < 4 * verdict.error
    assert verdict.change(1) > 5 * verdict.change_error(1)


def test_change_is_that_of_chi2(samples):
    """Without wild samples `change` is the difference of the two sums of squares, for every part."""
    before = samples.noise + samples.update
    verdict = samples.verdict(before, samples.noise)
    for part in (0.3, 1.0):
        after = before - np.float32(part) * samples.update
        change = (np.abs(after) ** 2).sum() - (np.abs(before) ** 2).sum()
        assert verdict.change(part) == pytest.approx(change, rel=1e-3)


def test_error_is_the_scatter_of_repeated_observations(rng):
    """The standard error agrees with the scatter of the best part over many drawings of the noise."""
    found = []
    for _ in range(100):
        samples = Samples(rng)
        verdict = samples.verdict(samples.noise + samples.update, samples.noise)
        found.append((verdict.best - 1) / verdict.error)
    assert 0.7 < np.std(found) < 1.3


def test_errors_common_to_a_cell_count(samples):
    """Errors that all samples of a cell share make the judge less certain, as they should: they are one error."""
    gain = 1 + 2 * np.random.default_rng(3).standard_normal(CELLS)[samples.cell, None]
    before = samples.noise + gain * samples.update
    shared = samples.verdict(before, before - samples.update)
    alone = samples.verdict(samples.noise + samples.update, samples.noise)
    assert shared.error > 3 * alone.error


def test_one_wild_sample_does_not_decide(samples):
    """A sample that is off by ten thousand times its noise changes the verdict by less than its error."""
    before = samples.noise + samples.update
    calm = samples.verdict(before, samples.noise)
    before[7, 1] += 1e4
    wild = samples.verdict(before, before - samples.update)
    assert abs(wild.best - calm.best) < calm.error


def test_parts_add_up(samples):
    """Sums of two halves of the samples are those of all."""
    before, after = samples.noise + samples.update, samples.noise
    half = ROWS // 2
    parts = [
        Cells.of(samples.cell[rows], samples.weight[rows], before[rows], after[rows], CELLS)
        for rows in (slice(half), slice(half, None))
    ]
    whole, joined = samples.verdict(before, after), Verdict(Cells.sum(parts))
    assert joined.best == pytest.approx(whole.best, rel=1e-3)
    assert joined.error == pytest.approx(whole.error, rel=1e-2)


def test_flagged_samples_do_not_count(samples):
    """Samples of weight 0 change nothing, whatever they hold."""
    before = samples.noise + samples.update
    samples.weight[::3] = 0
    first = samples.verdict(before, samples.noise)
    before[::3] = 1e6
    second = samples.verdict(before, before - samples.update)
    assert second.best == pytest.approx(first.best, rel=1e-5)
    assert second.noise == pytest.approx(first.noise, rel=1e-5)


def test_wild_samples_hardly_raise_the_level(samples):
    """Three samples of ten thousand times the noise in 1600: chi^2 per datum rises by less than a tenth of itself."""
    before = samples.noise + samples.update
    calm = samples.verdict(before, samples.noise).summary(1.0)["kept_chi2"]
    assert calm == pytest.approx(1, abs=0.1)
    before[[7, 90, 300], 1] += 1e4
    wild = samples.verdict(before, before - samples.update).summary(1.0)["kept_chi2"]
    assert wild == pytest.approx(calm, abs=0.15)


def test_watched_samples_have_a_level_of_their_own(samples):
    """The record of a cycle has chi^2 per datum of fitted samples, too, of the part of the update that was taken."""
    before = samples.noise + samples.update
    cells = Cells.of(samples.cell, samples.weight, before, samples.noise, CELLS)
    twice = Cells.of(samples.cell, samples.weight, 2 * before, 2 * samples.noise, CELLS)
    record = Verdict(cells, twice).summary(0.5)
    after = before - np.float32(0.5) * samples.update
    assert record["kept_chi2"] == pytest.approx((np.abs(after) ** 2).mean() / 2, rel=1e-3)
    assert record["fitted_chi2"] == pytest.approx(4 * record["kept_chi2"], rel=1e-3)
    assert "fitted_chi2" not in Verdict(cells).summary(0.5)


def test_the_level_of_a_bright_first_model_is_that_of_what_it_leaves(samples):
    """All samples are far above the noise before, some count as wild: chi^2 per datum after is still the noise's."""
    sky = 300 * samples.draw()
    level = samples.verdict(samples.noise + sky, samples.noise).summary(1.0)["kept_chi2"]
    assert level == pytest.approx((np.abs(samples.noise) ** 2).mean() / 2, rel=0.02)

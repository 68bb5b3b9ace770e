"""The solver of radrim.gains.stefcal, intervals, and the table of gains."""

import re

import numpy as np
import pytest
from astropy.io import fits

from radrim.errors import InputError
from radrim.gains.stefcal import Normal, group_times, normalise, solve
from radrim.gains.table import Gains, find_outliers, read_gains, write_gains

SLOTS, CHANNELS = 3, 4


def random_gains(antennas, seed, spread=np.pi, amplitude=0.3):
    """(slot, antenna) complex gains with phases up to `spread` [rad]; antenna 0 has phase 0."""
    rng = np.random.default_rng(seed)
    size = 1 + amplitude * rng.uniform(-1, 1, (SLOTS, antennas))
    phase = rng.uniform(-spread, spread, (SLOTS, antennas))
    return size * np.exp(1j * (phase - phase[:, :1]))


def observe(gain, seed=0, noise=0.0, model=None, times=2):
    """(slot, antenna pairs, data, model, weight) of a source seen with gains, some integrations in each slot."""
    rng = np.random.default_rng(seed)
    first, second = np.triu_indices(gain.shape[1], 1)
    pairs = np.tile(np.stack([first, second], 1), (SLOTS * times, 1))
    slot = np.repeat(np.arange(SLOTS), times * len(first))
    shape = (len(pairs), CHANNELS)
    if model is None:
        model = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    seen = gain[slot, pairs[:, 0]] * gain[slot, pairs[:, 1]].conj()
    data = seen[:, None] * model + noise * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape))
    return slot, pairs, data, model, np.full(shape, 1 / max(noise, 1e-3) ** 2)


def sums(antennas, slot, pairs, *samples):
    normal = Normal.empty((SLOTS,), antennas)
    normal.add((slot,), pairs, *samples)
    return normal


@pytest.mark.parametrize("antennas", [4, 5, 9, 27])
@pytest.mark.parametrize("seed", range(3))
def test_gains_without_noise_are_exact(antennas, seed):
    """Amplitudes and phases come back to rounding, up to the reference's phase, however large the phases are."""
    truth = random_gains(antennas, seed)
    found = solve(sums(antennas, *observe(truth, seed)), phase_only=False)
    assert not found.flag.any()
    np.testing.assert_allclose(found.gain, truth, atol=1e-7)


@pytest.mark.parametrize("antennas", [3, 4, 10])
@pytest.mark.parametrize("seed", range(3))
def test_phase_solutions_leave_amplitudes(antennas, seed):
    """Phases are exact although the data's amplitudes are wrong by one factor, and every amplitude is exactly 1."""
    truth = random_gains(antennas, seed, amplitude=0)
    found = solve(sums(antennas, *observe(0.05 * truth, seed)), phase_only=True, min_baselines=2)
    np.testing.assert_allclose(np.abs(found.gain), 1, rtol=1e-12)
    np.testing.assert_allclose(found.gain, truth, atol=1e-7)


def test_phase_solutions_are_the_best_phases():
    """With errors in amplitude too, no small change of any phase makes chi^2 smaller."""
    truth = random_gains(8, 1, amplitude=0.5)
    normal = sums(8, *observe(truth, noise=0.3))
    gain = solve(normal, phase_only=True).gain

    def fit(g):
        return np.einsum("sp,spq,sq->s", g.conj(), normal.x, g).real

    for antenna in range(8):
        for step in (-0.01, 0.01):
            other = gain.copy()
            other[:, antenna] *= np.exp(1j * step)
            assert (fit(other) < fit(gain)).all()


def test_flagged_samples_do_not_count():
    """Rubbish, also NaN, with weight 0 changes nothing."""
    truth = random_gains(6, 2)
    slot, pairs, data, model, weight = observe(truth)
    data[::3, 1], weight[::3, 1] = 1e9, 0
    data[5, 2], weight[5, 2] = np.nan, 0
    found = solve(sums(6, slot, pairs, data, model, weight), phase_only=False)
    np.testing.assert_allclose(found.gain, truth, atol=1e-7)


def test_antennas_with_few_baselines_are_left_out():
    """An antenna with one baseline is flagged and gets 1, and the other antennas' gains do not depend on it."""
    truth = random_gains(6, 3)
    slot, pairs, data, model, weight = observe(truth)
    weight[(pairs == 5).any(1) & (pairs[:, 0] != 0)] = 0
    data[(pairs == 5).any(1)] *= 7
    found = solve(sums(6, slot, pairs, data, model, weight), phase_only=False, min_baselines=3)
    assert found.flag[:, 5].all()
    assert not found.flag[:, :5].any()
    np.testing.assert_array_equal(found.gain[:, 5], 1)
    np.testing.assert_allclose(found.gain[:, :5], truth[:, :5], atol=1e-7)


def test_leaving_out_goes_on_until_all_have_enough():
    """Antennas whose baselines lead to antennas that were left out are left out, too."""
    normal = sums(4, *observe(random_gains(4, 0)))
    seen = np.zeros((4, 4), bool)
    for p, q in ((0, 1), (1, 2), (2, 3)):  # a chain: no antenna can have two baselines to others that do
        seen[p, q] = seen[q, p] = True
    for part in vars(normal).values():
        np.multiply(part, seen, out=part)
    assert solve(normal, phase_only=True, min_baselines=2).flag.all()


@pytest.mark.parametrize("phase_only", [True, False])
def test_signal_to_noise_is_that_of_the_scatter(phase_only):
    """Errors of gains, times their S/N, scatter by 1: the error is not off by more than 15 %, for any antenna."""
    antennas, errors = 15, []
    for seed in range(40):
        truth = random_gains(antennas, seed, amplitude=0 if phase_only else 0.5)
        found = solve(sums(antennas, *observe(truth, seed, noise=1.0, model=np.full((630, CHANNELS), 2.0))), phase_only)
        # Free of the reference: its error would be in all others.
        error = found.gain / truth
        error *= np.exp(-1j * np.angle(error.mean(1, keepdims=True)))
        part = error.imag if phase_only else error.real - 1
        errors.append(part * found.snr)
    # Amplitudes' common factor takes a part of the errors of all antennas together.
    assert np.std(errors) == pytest.approx(1, abs=0.15)


def test_signal_to_noise_does_not_depend_on_the_model_flux():
    """A point of 1 Jy or of 1 mJy is the same model for phases."""
    slot, pairs, data, model, weight = observe(random_gains(7, 1, amplitude=0), noise=0.5)
    one, other = (solve(sums(7, slot, pairs, data, f * model, weight), True) for f in (1, 1e-3))
    np.testing.assert_allclose(one.snr, other.snr, rtol=1e-6)


def test_weak_solutions_are_flagged():
    """Data of noise alone have no solution; with `min_snr` 0 they have one."""
    gain = np.zeros((SLOTS, 6), complex)
    noise = sums(6, *observe(gain, noise=1.0))
    assert solve(noise, True, min_snr=8).flag.all()
    assert not solve(noise, True, min_snr=0).flag.any()


def test_chi2_is_that_of_the_residual():
    """chi2 equals the sum of w |V - g_p conj(g_q) M|^2, and is about twice the samples if the weights are right."""
    truth = random_gains(10, 4)
    slot, pairs, data, model, weight = observe(truth, noise=0.1)
    found = solve(sums(10, slot, pairs, data, model, weight), False)
    left = data - (found.gain[slot, pairs[:, 0]] * found.gain[slot, pairs[:, 1]].conj())[:, None] * model
    direct = np.bincount(slot, (weight * np.abs(left) ** 2).sum(1))
    np.testing.assert_allclose(found.chi2, direct, rtol=1e-6)
    assert found.chi2.sum() / (2 * found.samples.sum()) == pytest.approx(1, abs=0.1)


def test_reference_is_the_first_with_a_solution():
    """The preferred antenna has phase 0; in a slot where it has no data, the next one does."""
    truth = random_gains(5, 6)
    slot, pairs, data, model, weight = observe(truth)
    weight[(pairs == 3).any(1) & (slot == 1)] = 0
    found = solve(sums(5, slot, pairs, data, model, weight), True, order=[3, 1, 0, 2, 4])
    np.testing.assert_allclose(np.angle(found.gain[[0, 2], 3]), 0, atol=1e-9)
    np.testing.assert_allclose(np.angle(found.gain[1, 1]), 0, atol=1e-9)


def test_corrected_sums_are_those_of_corrected_data():
    """Correcting the sums is correcting the data, with the weights w |g_p g_q|^2, and merging is adding."""
    gain = random_gains(5, 7)
    slot, pairs, data, model, weight = observe(random_gains(5, 8))
    pair = (gain[slot, pairs[:, 0]] * gain[slot, pairs[:, 1]].conj())[:, None]
    direct = sums(5, slot, pairs, data / pair, model, weight * np.abs(pair) ** 2)
    indirect = sums(5, slot, pairs, data, model, weight).corrected(gain)
    for one, other in zip(vars(direct).values(), vars(indirect).values(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)
    merged = indirect.merged(np.array([0, 1, 1]), 2)
    np.testing.assert_allclose(merged.x[1], direct.x[1:].sum(0))


def test_intervals_keep_to_scans_and_begin_after_gaps():
    """30 s of 10 s integrations: three each, none across a scan or reaching back before a gap; times may jitter."""
    times = np.array([0, 10.2, 19.9, 29.7, 40, 50, 60, 500, 510, 520, 530])
    scans = np.array([1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2])
    assert group_times(times, scans, 30, 10).tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 3, 3, 4]
    assert group_times(times, scans, np.inf, 10).tolist() == [0] * 5 + [1] * 6
    assert group_times(times, scans, 0, 10).tolist() == list(range(11))


def test_normalising_makes_the_mean_amplitude_one():
    """Flagged gains do not count and do not change."""
    gain, flag = np.array([2.0, 4j, 9]), np.array([False, False, True])
    scaled, mean = normalise(gain, flag)
    assert mean == 3
    np.testing.assert_allclose(scaled, [2 / 3, 4j / 3, 9])


@pytest.fixture
def gains():
    """Two intervals, one window, two feeds, six antennas; one is off in phase."""
    gain = np.exp(1j * np.random.default_rng(0).uniform(-0.1, 0.1, (2, 1, 2, 6)))
    gain[..., 2] *= 1j
    flag = np.zeros(gain.shape, bool)
    flag[0, 0, 1, 4] = True
    names = [f"A{k}" for k in range(6)]
    return Gains(np.array([5e9, 5e9 + 60]), np.array([60.0, 50.0]), [3], ("R", "L"), names, gain, flag,
                 np.full(gain.shape, 8.0), "A1", "3C48", "DATA")  # fmt: skip


def test_gains_come_back_from_their_file(gains, tmp_path):
    """Everything that was written is read; the table has a row for each gain."""
    write_gains(tmp_path / "g.fits", gains)
    back = read_gains(tmp_path / "g.fits")
    for name, value in vars(gains).items():
        np.testing.assert_array_equal(getattr(back, name), value)
    rows = fits.getdata(tmp_path / "g.fits", "GAINS")
    one = rows[(rows["ANTENNA"] == 2) & (rows["FEED"] == "L") & (rows["TIME"] == 5e9 + 60)]
    assert one["GAIN"][0] == gains.gain[1, 0, 1, 2]
    assert one["SPW"][0] == 3


def test_other_files_are_no_gains(tmp_path):
    """A FITS image is refused with a sentence that names it."""
    fits.PrimaryHDU(np.zeros((2, 2))).writeto(tmp_path / "image.fits")
    with pytest.raises(InputError, match=r"image\.fits holds no gains that radrim wrote"):
        read_gains(tmp_path / "image.fits")


def test_an_antenna_far_from_all_others_is_named(gains):
    """A right angle in phase of one antenna is reported, in degrees, with what the others have; nobody else is."""
    gains.gain[..., 2] = 1j
    (sentence,) = find_outliers(gains)
    assert re.fullmatch(r"Off in phase: A2 \+(8[5-9]|9[0-5]) deg; all others are within [0-6] deg\.", sentence)

"""How well a model fits fitted and kept-out visibilities: levels, errors, and who differs."""

from dataclasses import replace

import numpy as np
import pytest

from radrim.geometry import ARCSEC, ImageGrid
from radrim.measure.fit_quality import FitInspector, FitQualitySettings, _Groups, _Table, merge
from radrim.measure.holdout import hold_out
from radrim.measure.measurement import Measurement, merge_blocks
from radrim.visibilities import NaturalWeights, Visibilities

GRID = ImageGrid(64, 64, 1 * ARCSEC, 0.3, 0.7)


def observe(antennas=12, times=30, channels=8, seed=5, freq=1.4e9):
    """Noise of the sigma that uneven weights state, sorted by baseline and time, after imaging weights were set."""
    rng = np.random.default_rng(seed)
    place = rng.normal(0, 5e3, (antennas, 2))
    first, second = np.triu_indices(antennas, 1)
    pair = np.repeat(np.stack([first, second], 1), times, 0).astype(np.int32)
    when = np.tile(np.arange(times) * 60.0, len(first))
    base = place[pair[:, 1]] - place[pair[:, 0]]
    shape = len(pair), channels
    weight = rng.uniform(0.5, 2, shape).astype(np.float32)
    data = ((rng.normal(size=shape) + 1j * rng.normal(size=shape)) / np.sqrt(weight)).astype(np.complex64)
    uvw = np.column_stack([base, 0 * base[:, 0]])
    block = Visibilities(uvw, freq + 1e6 * np.arange(channels), data, weight, when, pair)
    ((block.kept_out,), (block.watched,)) = hold_out([block], 0.1)
    block.natural = NaturalWeights(((block.freq, weight),))
    block.weight = (weight * rng.uniform(0.1, 1, shape)).astype(np.float32)
    return block


def look_at(*blocks):
    """What an inspector says of the data of blocks as they are."""
    inspector = FitInspector()
    for block in blocks:
        inspector.see(block, block.data)
    return inspector.summary()


def test_noise_alone_is_one_per_datum():
    """Kept-out, fitted, and the differences of neighbours are all 1 within three of the errors that they state."""
    every = look_at(observe())["all"]
    for name in ("kept", "fitted", "noise"):
        assert abs(every[name] - 1) < 3 * every[f"{name}_error"] < 0.1
    for name in ("kept_excess", "fitted_excess"):
        assert abs(every[name]) < 3 * every[f"{name}_error"]


def test_levels_are_those_of_a_plain_sum():
    """Without outliers kept and fitted chi^2 per datum are the mean of w |r|^2 / 2 over their rows."""
    block = observe()
    power = block.natural.parts[0][1] * np.abs(block.data) ** 2 / 2
    kept = np.zeros(len(power), bool)
    kept[block.kept_out.rows] = True
    every = look_at(block)["all"]
    assert every["kept"] == pytest.approx(power[kept].mean(), rel=2e-3)
    assert every["fitted"] == pytest.approx(power[~kept].mean(), rel=2e-3)


def test_an_error_common_to_neighbours_is_above_the_noise():
    """What is alike in time and channel adds to kept and fitted, and not to the noise."""
    block = observe()
    block.data += np.float32(1.0)
    every = look_at(block)["all"]
    assert every["noise"] == pytest.approx(1, abs=0.03)
    for name in ("kept", "fitted"):
        assert every[f"{name}_excess"] > 4 * every[f"{name}_excess_error"]


def test_noise_of_one_antenna_shows_at_that_antenna():
    """Three times the noise on the baselines of one antenna: 9 there, and 1 at all others, which share one with it."""
    block = observe()
    block.data[(block.antenna == 4).any(1)] *= 3
    levels = {entry["antenna"]: entry for entry in look_at(block)["antennas"]}
    for number, entry in levels.items():
        for name in ("fitted", "noise"):
            assert entry[name] == pytest.approx(9 if number == 4 else 1, rel=0.15)


def test_windows_keep_their_names_where_blocks_are_joined():
    """Blocks of one channel are joined for imaging; their windows are told apart all the same."""
    blocks = [observe(times=100, channels=1, freq=freq, seed=seed) for freq, seed in ((1e9, 1), (2e9, 2))]
    blocks[1].data *= 2
    (joined,) = merge_blocks(blocks)
    levels = {entry["frequencies_hz"][0]: entry["noise"] for entry in look_at(joined)["windows"]}
    assert levels[1e9] == pytest.approx(1, rel=0.1)
    assert levels[2e9] == pytest.approx(4, rel=0.1)


def test_wild_samples_are_found_and_do_not_count():
    """A wild sample is told with its antennas, time and channel; chi^2 hardly changes."""
    block = observe()
    before = look_at(block)
    assert before["wild"]["count"] == 0
    block.data[1000, 3] += 1e3
    after = look_at(block)
    (worst,) = after["wild"]["worst"]
    assert worst["antennas"] == block.antenna[1000].tolist()
    assert (worst["time_mjd_s"], worst["frequency_hz"]) == (block.time[1000], block.freq[3])
    assert worst["deviation"] == pytest.approx(1e3 * np.sqrt(block.natural.parts[0][1][1000, 3]), rel=0.2)
    assert after["all"]["fitted"] == pytest.approx(before["all"]["fitted"], abs=0.01)


def test_inspectors_of_blocks_add_up_to_one_of_all():
    """Blocks of two windows with wild samples, each seen by an inspector of its own, as the tasks of facets do."""
    blocks = [observe(freq=freq, seed=seed) for freq, seed in ((1e9, 1), (2e9, 2), (1e9, 3))]
    for block in blocks[:2]:
        block.data[1000, 3] += 1e3
    whole = FitInspector()
    for block in reversed(blocks):
        part = FitInspector()
        part.see(block, block.data)
        whole.add(part)
    found, expected = whole.summary(), look_at(*blocks)
    assert found["all"] == pytest.approx(expected["all"])
    for kind in ("windows", "lengths", "antennas"):
        for one, other in zip(found[kind], sorted_as(found[kind], expected[kind]), strict=True):
            assert {k: v for k, v in one.items() if k != "frequencies_hz"} == pytest.approx(
                {k: v for k, v in other.items() if k != "frequencies_hz"}
            )
    assert found["wild"]["count"] == expected["wild"]["count"] == 2
    for kind in ("antennas", "windows"):
        assert sorted(found["wild"][kind]) == sorted(expected["wild"][kind])
    assert [one["antennas"] for one in found["wild"]["worst"]] == [one["antennas"] for one in expected["wild"]["worst"]]


def sorted_as(entries, others):
    """The `others` in the order of the windows of `entries`; as they are without windows."""
    if "frequencies_hz" not in entries[0]:
        return others
    return [next(o for o in others if o["frequencies_hz"] == entry["frequencies_hz"]) for entry in entries]


def test_pieces_change_nothing():
    """Where only part of a block is in memory at a time, levels are the same within the noise of medians."""
    block = observe(times=60)
    inspector = FitInspector(replace(FitQualitySettings(), max_samples=200))
    inspector.see(block, block.data)
    small, large = inspector.summary()["all"], look_at(block)["all"]
    for name in ("kept", "fitted", "noise"):
        assert small[name] == pytest.approx(large[name], rel=0.02)


def test_ranges_of_length_hold_all_samples_in_order():
    """The ranges of baseline length rise, have similar numbers of samples, and together all of them."""
    block = observe()
    lengths = look_at(block)["lengths"]
    assert len(lengths) == FitQualitySettings.length_bins
    assert np.all(np.diff([entry["length_m"] for entry in lengths]) > 0)
    counts = np.array([entry["samples"] for entry in lengths])
    assert counts.sum() == block.data.size
    assert counts.max() < 1.5 * counts.min()


def test_channels_are_merged_by_their_samples():
    """Output channels together: means counted by samples, and all wild samples."""
    first, second = observe(), observe(channels=4, seed=6)
    second.data *= 2
    second.data[7, 0] += 1e3
    parts = look_at(first), look_at(second)
    both = merge(parts)
    counts = [part["all"]["samples"] for part in parts]
    assert both["all"]["fitted"] == pytest.approx(np.average([p["all"]["fitted"] for p in parts], weights=counts))
    assert both["all"]["samples"] == sum(counts)
    assert both["wild"]["count"] == 1
    assert merge(parts[:1]) == parts[0]
    assert merge([]) == {}


def test_without_neighbours_the_noise_is_unknown():
    """One integration and one channel: NaN, not an error."""
    every = look_at(observe(times=1, channels=1))["all"]
    assert np.isnan(every["noise"])
    assert np.isfinite(every["fitted"])


def test_inspection_is_an_exact_residual():
    """`inspect` gives the residual of `residual` to the last bit, and the levels of that model."""
    block = observe()
    block.data += np.float32(2.0)
    measurement = Measurement([block], GRID)
    model = np.zeros(GRID.shape, np.float32)
    model[32, 32] = 2.0
    residual, levels = measurement.inspect(model)
    np.testing.assert_array_equal(residual, measurement.residual(model))
    assert levels["all"]["fitted"] == pytest.approx(1, abs=0.05)


def test_watched_cells_are_fitted_cells_of_the_same_strata():
    """As many cells as are kept out are watched; none is both, and their lengths are spread alike."""
    block = observe(30, 10, 2)
    ((kept,), (watched,)) = hold_out([block], 0.1)
    assert watched.cells == kept.cells
    assert not set(watched.rows) & set(kept.rows)
    lengths = [np.sort(block.uv_length[rows]) for rows in (kept.rows, watched.rows)]
    assert np.median(lengths[0]) == pytest.approx(np.median(lengths[1]), rel=0.2)


def test_few_baselines_have_the_error_of_their_noise():
    """Two baselines that agree by chance, or a single one, are no more certain than their samples allow."""
    for pairs in ([(0, 1), (0, 2)], [(0, 1)]):
        groups = _Groups()
        for pair in pairs:
            for name, value in (
                ("pair", pair), ("kept", False), ("window", 0), ("length", 1.0), ("count", 100), ("chi2", 1.2),
                ("by_time", 1.0), ("by_channel", 1.0),
            ):  # fmt: skip
                getattr(groups, name).append(value)
        found = _Table(groups).mean(np.ones(len(pairs), bool))
        assert found["fitted"] == pytest.approx(1.2)
        assert found["fitted_error"] == pytest.approx(1.2 / np.sqrt(100 * len(pairs)))

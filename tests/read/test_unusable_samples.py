"""One hand without samples, amplitudes that single precision cannot hold, and times that no calendar has."""

import numpy as np
import pytest

from radrim.errors import DataError, InputError
from radrim.read import Selection, read


@pytest.mark.parametrize(
    "change",
    [
        {"FLAG": lambda flag: flag | np.array([False, True])},
        {"WEIGHT": lambda weight: weight * np.array([1, 0])},
        {"DATA": lambda data: np.where([True, False], data, np.nan)},
    ],
)
@pytest.mark.parametrize("hands", [("XX", "YY"), ("RR", "LL")])
def test_one_hand_has_no_samples(make_ms, edit_ms, change, hands):
    """Stokes I is that of the hand with data, with its weight; the note names both hands."""
    source = make_ms(correlations=hands)
    found, alone = read([edit_ms(source=source, **change)]), read([source], Selection(stokes=hands[0]))
    np.testing.assert_array_equal(found.blocks[0].data, alone.blocks[0].data)
    np.testing.assert_array_equal(found.blocks[0].weight, alone.blocks[0].weight)
    assert found.counts["samples"] == alone.counts["samples"]
    (note,) = found.notes
    assert f"is taken from {hands[0]} alone" in note
    assert f"{hands[1]} has no usable samples" in note


def test_one_hand_in_one_window(make_ms, edit_ms):
    """Only the window that lacks a hand takes the other alone."""
    source = make_ms(windows=((1.38e9, 4), (1.6e9, 4)))

    def drop(flag):
        flag[flag.shape[0] // 2 :, :, 1] = True  # rows of the second window
        return flag

    found = read([edit_ms(source=source, FLAG=drop)])
    assert [round(float(block.weight.max()), -1) for block in found.blocks] == [800, 400]
    assert "spectral window 1, is taken from XX" in found.notes[0]


def test_dead_hand_is_named_where_it_is_needed(edit_ms):
    """Stokes Q needs both hands: the message says which has none, and what can be imaged."""
    path = edit_ms(FLAG=lambda flag: flag | np.array([False, True]))
    with pytest.raises(DataError, match=r"YY has no usable samples, but XX has \(--pol XX\)"):
        read([path], Selection(stokes="Q"))


@pytest.mark.parametrize(
    "factor, says",
    [
        (1e-26, r"below 1e-15.*Are the data in Jy\?.*1e26"),
        (1e-18, "below 1e-15"),
        (1e20, r"all 864 unflagged samples are above 1e\+15"),
        (1e32, "single precision cannot image"),
    ],
)
def test_other_units_than_jansky(edit_ms, factor, says):
    """Amplitudes that single precision cannot square are refused, with the likely reason."""
    with pytest.raises(DataError, match=says):
        read([edit_ms(DATA=lambda data: data * np.float32(factor))])


@pytest.mark.parametrize("factor", [1e-12, 1e12])
def test_wide_range_of_amplitudes(small_ms, edit_ms, factor):
    """Other units within single precision are read as they are."""
    found = read([edit_ms(DATA=lambda data: data * np.float32(factor))])
    np.testing.assert_allclose(found.blocks[0].data, read([small_ms]).blocks[0].data * factor, rtol=1e-5)
    assert found.notes == []


def test_a_few_huge_samples(edit_ms):
    """Interference beyond any flux density is treated as flagged, as NaN is."""

    def spoil(data):
        data[:2, 1] = 1e25
        return data

    found = read([edit_ms(DATA=spoil)])
    assert found.notes == ["2 samples of edited.ms above 1e+15 were treated as flagged."]
    assert np.abs(found.blocks[0].data).max() < 10
    with pytest.raises(DataError, match=r"samples \(limit 1%\) are above"):
        read([edit_ms(DATA=lambda data: np.where(np.arange(4)[:, None] == 1, np.complex64(1e25), data))])


@pytest.mark.parametrize("time", [np.nan, np.inf, 5e12, -1e15])
def test_rows_without_time(edit_ms, time):
    """Rows with a time that no calendar has are dropped, with a note; the date is that of the others."""
    path = edit_ms(TIME=lambda times: np.where(np.arange(len(times)) == 5, time, times))
    found = read([path])
    assert len(found.blocks[0].time) == 215
    assert np.isfinite(found.blocks[0].time).all()
    assert found.notes == ["4 samples of edited.ms with a TIME of NaN or beyond any calendar were dropped."]


def test_times_in_other_units(edit_ms):
    """Milliseconds in place of seconds are refused, naming TIME."""
    with pytest.raises(InputError, match=r"TIME that is NaN or beyond any calendar; repair it \(seconds"):
        read([edit_ms(TIME=lambda times: times * 1e3)])

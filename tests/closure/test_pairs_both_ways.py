"""Closure quantities of data in which a pair of antennas is stored both as (1, 2) and as (2, 1)."""

import numpy as np
import pytest

from radrim.closure.quantities import minimal_set
from radrim.closure.read import prepare, read_hands
from radrim.ms.tables import open_table
from radrim.read.averaging import in_one_direction
from radrim.read.reader import Selection, read


@pytest.fixture
def both_ways(make_ms, edit_ms):
    """A Measurement Set, and one of the same data in which every second row names its antennas the other way round."""
    ms = make_ms(correlations=("RR", "LL"))
    with open_table(ms) as table:
        turned = np.arange(table.nrows()) % 2 == 1
        one, two = table.getcol("ANTENNA1"), table.getcol("ANTENNA2")
    mixed = edit_ms(
        ms,
        ANTENNA1=lambda _: np.where(turned, two, one),
        ANTENNA2=lambda _: np.where(turned, one, two),
        UVW=lambda uvw: np.where(turned[:, None], -uvw, uvw),
        DATA=lambda data: np.where(turned[:, None, None], data.conj(), data),
    )
    return ms, mixed


def test_rows_in_one_direction(both_ways):
    """The other direction is the complex conjugate at the opposite (u, v, w): all rows are those of the original."""
    ms, mixed = both_ways
    for ours, theirs in zip(read([mixed]).blocks, read([ms]).blocks, strict=True):
        assert (ours.antenna[:, 0] > ours.antenna[:, 1]).any()
        block = in_one_direction(ours)
        for name in ("uvw", "data", "antenna", "weight"):
            np.testing.assert_array_equal(getattr(block, name), getattr(theirs, name))


def test_closures_are_those_of_one_direction(both_ways):
    """Which way round a row names its antennas changes no closure quantity, and no number of them."""
    ours, theirs = (prepare(read_hands([ms], Selection()).blocks).data for ms in both_ways[::-1])
    for kind in ("phases", "amplitudes"):
        assert len(getattr(ours, kind)) == len(getattr(theirs, kind)) > 0
        np.testing.assert_allclose(getattr(ours, kind).value, getattr(theirs, kind).value, atol=1e-6)


def test_a_pair_measured_twice_counts_once():
    """Of two baselines of the same stations in one integration, the better one is in the triangle."""
    pairs = np.array([(0, 1), (1, 2), (2, 0), (1, 0)])
    for better in (0, 3):
        error = np.full(4, 0.2)
        error[better] = 0.1
        (triangle,) = minimal_set("triangle", pairs, error)
        expected = np.array([1, 1, 1, 0]) if better == 0 else np.array([0, 1, 1, -1])
        assert abs(triangle @ expected) == 3
        assert triangle[3 - better] == 0

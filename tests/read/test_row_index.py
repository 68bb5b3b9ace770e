"""Sets of many fields: one pass over the table, and messages that name a few of them."""

import numpy as np
import pytest

from radrim.ms.tables import open_table, read_subtables
from radrim.read.pointings import Target, choose_target, named_few
from radrim.read.reader import Selection, read
from radrim.read.row_index import RowIndex
from radrim.read.settings import ReadSettings


@pytest.mark.parametrize("step", [7, 10_000])
@pytest.mark.parametrize("span", [None, "first"])
def test_same_rows_as_by_queries(make_ms, step, span):
    """For every field and window the rows of the query, in its order, however many rows are looked at together."""
    ms = make_ms(fields=3, windows=((1.38e9, 2), (1.5e9, 2)), autocorrelations=True, times=3)
    with open_table(ms) as main:
        times = main.getcol("TIME")
        limits = None if span is None else (float(times.min()), float(np.median(times)))
        index = RowIndex(main, step, limits)
        total = 0
        for window in range(2):
            for field in range(3):
                query = f"DATA_DESC_ID=={window} AND FIELD_ID=={field} AND ANTENNA1!=ANTENNA2"
                if limits:
                    query += f" AND TIME>={limits[0]!r} AND TIME<={limits[1]!r}"
                found = main.query(query)
                assert index.numbers(window, field).tolist() == list(found.rownumbers())
                total += found.nrows()
                found.close()
        assert total > 0
        assert index.numbers(5, 0).size == 0


def test_mosaics_read_alike_by_index_and_by_queries(make_ms):
    """Blocks, counts and names do not depend on how rows are found."""
    ms = make_ms(fields=3, windows=((1.38e9, 2), (1.5e9, 2)))
    both = [
        read([ms], Selection(field="all", joint=True), settings=ReadSettings(most_queries=most)) for most in (0, 100)
    ]
    assert len(both[0].blocks) == len(both[1].blocks) == 6
    for one, other in zip(both[0].blocks, both[1].blocks, strict=True):
        assert np.array_equal(one.data, other.data)
        assert np.array_equal(one.uvw, other.uvw)
        assert tuple(one.pointing) == tuple(other.pointing)
    assert both[0].counts == both[1].counts


def test_few_of_many_names():
    """A list of a thousand names ends in their number; a short one is whole."""
    names = [f"0{k:05d}" for k in range(1000)]
    assert named_few(names) == f"{', '.join(names[:12])} and 988 more"
    assert named_few(names[:13], "+") == "+".join(names[:13])


def test_one_short_warning_for_many_fields(make_ms):
    """The note on the chosen field does not name all the others."""
    ms = read_subtables(make_ms(fields=20, times=1))
    (note,) = choose_target(ms).notes
    assert "and 7 more" in note
    assert len(note) < 300
    assert isinstance(choose_target(ms, "all"), Target)

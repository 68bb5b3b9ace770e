"""Weights that are in WEIGHT_SPECTRUM for some rows and in WEIGHT for the others."""

import numpy as np
import pytest

from radrim.read import Selection, read
from radrim.read.settings import ReadSettings


@pytest.fixture
def partly(make_ms, edit_ms):
    """A Measurement Set whose WEIGHT_SPECTRUM is twice WEIGHT in the rows of `known` (row,), and the folder's path."""
    import casacore.tables as ct

    def make(known, shape=(4, 2)):
        path = edit_ms(source=make_ms())
        with ct.table(str(path), readonly=False, ack=False) as table:
            table.addcols(ct.maketabdesc(ct.makearrcoldesc("WEIGHT_SPECTRUM", 0.0, ndim=2, valuetype="float")))
            weight = table.getcol("WEIGHT")
            for row in np.flatnonzero(known(table.nrows())):
                table.putcell("WEIGHT_SPECTRUM", row, np.full(shape, 2 * weight[row, 0], np.float32))
        return path

    return make


@pytest.mark.parametrize("chunk", [2**26, 1000])
@pytest.mark.parametrize(
    "known",
    [
        lambda rows: np.arange(rows) < 100,
        lambda rows: np.arange(rows) >= 100,
        lambda rows: np.arange(rows) % 2 == 0,
        lambda rows: (np.arange(rows) > 10) & (np.arange(rows) < 90),
        lambda rows: np.arange(rows) % 10 != 5,
    ],
)
@pytest.mark.parametrize("channels", [None, (1, 3)])
def test_spectrum_in_some_rows(partly, small_ms, known, chunk, channels):
    """Rows without WEIGHT_SPECTRUM have the weight of WEIGHT, the others their own; a note counts them."""
    selection = Selection(chan_range=channels)
    found = read([partly(known)], selection, settings=ReadSettings(chunk_bytes=chunk))
    plain = read([small_ms], selection)
    rows = known(len(plain.blocks[0].uvw))
    factor = found.blocks[0].weight / plain.blocks[0].weight
    np.testing.assert_allclose(factor, np.broadcast_to(np.where(rows, 2, 1)[:, None], factor.shape))
    assert found.notes == [
        f"WEIGHT is used in {(~rows).sum()} rows of edited.ms, spectral window 0: WEIGHT_SPECTRUM is missing or 0 "
        "there."
    ]


def test_spectrum_of_another_shape(partly, small_ms):
    """WEIGHT_SPECTRUM whose cells do not fit the data counts as missing."""
    found = read([partly(lambda rows: np.arange(rows) < 100, shape=(3, 2))])
    np.testing.assert_array_equal(found.blocks[0].weight, read([small_ms]).blocks[0].weight)


@pytest.mark.parametrize("zero", [slice(None), slice(50)])
def test_spectrum_of_zeros(make_ms, edit_ms, zero):
    """Where WEIGHT_SPECTRUM is 0 and WEIGHT is not, WEIGHT counts; rows without data stay without weight."""
    source = make_ms(weight_spectrum=True)

    def empty(spectrum):
        spectrum[zero] = 0
        return spectrum

    def absent(data):
        data[3] = 0
        return data

    found = read([edit_ms(source=source, WEIGHT_SPECTRUM=empty, DATA=absent)])
    whole = read([edit_ms(source=source, WEIGHT_SPECTRUM=lambda old: old * 0 + 1 / 0.05**2)])
    rows = np.delete(np.arange(216), 3)
    np.testing.assert_allclose(found.blocks[0].weight[:40], whole.blocks[0].weight[rows][:40], rtol=1e-5)
    assert any("WEIGHT is used in" in note for note in found.notes)


def test_single_zeros_stay_zeros(make_ms, edit_ms):
    """A sample with weight 0 in a row that has others is dropped as ever."""

    def some(spectrum):
        spectrum[:, 2] = 0
        return spectrum

    found = read([edit_ms(source=make_ms(weight_spectrum=True), WEIGHT_SPECTRUM=some)])
    assert not found.blocks[0].weight[:, 2].any()
    assert found.blocks[0].weight[:, :2].all()
    assert found.notes == []

"""Damage is what cannot be read from the files; of intact tables the message says what they lack."""

import os

import numpy as np
import pytest

from radrim.errors import InputError
from radrim.ms.opening import DAMAGED
from radrim.read import read


@pytest.fixture
def sparse_data(small_ms, edit_ms):
    """A Measurement Set whose DATA column has no cell in one row."""
    import casacore.tables as ct

    path = edit_ms()
    with ct.table(str(path), readonly=False, ack=False) as table:
        values = table.getcol("DATA")
        table.removecols("DATA")
        table.addcols(ct.maketabdesc(ct.makearrcoldesc("DATA", 0j, ndim=2, valuetype="complex")))
        for row in np.delete(np.arange(len(values)), 100):
            table.putcell("DATA", row, values[row])
    return path


def test_row_without_data(sparse_data):
    """A row without a cell is no damage: column and row are named, and what to do."""
    with pytest.raises(InputError, match=r"column DATA has no value in row 100.*drop these rows") as found:
        read([sparse_data])
    assert DAMAGED not in str(found.value)


def test_files_that_end_too_early(edit_ms):
    """A column file without its second half is damage."""
    path = edit_ms()
    file = max(path.glob("table.f*"), key=lambda file: file.stat().st_size)
    os.truncate(file, file.stat().st_size // 3)
    with pytest.raises(InputError) as found:
        read([path])
    assert str(found.value).endswith(DAMAGED)


def test_field_without_a_position(make_ms, edit_ms):
    """An empty row of FIELD matters only if it is the one to image."""
    import casacore.tables as ct

    path = edit_ms()
    with ct.table(str(path / "FIELD"), readonly=False, ack=False) as table:
        table.addrows(1)
    assert read([path]).object == "FIELD0"
    with ct.table(str(path), readonly=False, ack=False) as table:
        table.putcol("FIELD_ID", np.ones(table.nrows(), np.int32))
    with pytest.raises(InputError, match="PHASE_DIR is empty"):
        read([path])

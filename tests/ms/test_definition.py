"""Columns of another type, shape or range than the definition of the Measurement Set has."""

import os
import shutil

import numpy as np
import pytest

from radrim.errors import InputError
from radrim.inspection.describe import describe
from radrim.ms.tables import open_table, read_subtables
from radrim.read import Selection, read


@pytest.fixture
def with_column(edit_ms):
    """Factory of copies in which a column of the main table or a subtable is made anew with other values."""

    def make(subtable, name, value, dimensions):
        path = edit_ms()
        with open_table(path):
            import casacore.tables as ct
        with ct.table(str(path / subtable), readonly=False, ack=False) as table:
            table.renamecol(name, "OTHER")
            kind = {"f": "double", "i": "int", "U": "string", "b": "boolean"}[np.asarray(value).dtype.kind]
            about = ct.makearrcoldesc(name, None, ndim=dimensions, valuetype=kind)
            table.addcols(ct.maketabdesc(about if dimensions else ct.makescacoldesc(name, None, valuetype=kind)))
            for row in range(table.nrows()):
                table.putcell(name, row, value)
        return path

    return make


@pytest.mark.parametrize(
    "subtable, name, value, dimensions, words",
    [
        ("", "TIME", "noon", 0, "TIME holds single values of type string; in a Measurement Set it is numbers"),
        ("", "ANTENNA1", 1.5, 0, "ANTENNA1 holds single values of type double; in a Measurement Set it is whole"),
        ("", "FLAG_ROW", np.zeros(2, bool), 1, "FLAG_ROW holds arrays of type boolean"),
        ("", "UVW", np.zeros(2), 1, r"UVW has cells of shape \(2,\), not \(3,\)"),
        ("ANTENNA", "POSITION", np.zeros(4), 1, r"POSITION has cells of shape \(4,\), not \(3,\)"),
        ("ANTENNA", "NAME", 5, 0, "NAME holds single values of type int; in a Measurement Set it is text"),
        ("FIELD", "PHASE_DIR", 1.0, 0, "PHASE_DIR holds single values of type double; .* arrays of numbers"),
        ("POLARIZATION", "CORR_TYPE", 9.5, 0, "CORR_TYPE holds single values"),
    ],
)
def test_columns_of_another_type(with_column, subtable, name, value, dimensions, words):
    """The message names the column, what it holds, and what it should hold."""
    with pytest.raises(InputError, match=words):
        read_subtables(with_column(subtable, name, value, dimensions))


def test_antennas_that_the_table_lacks(edit_ms):
    """Numbers of antennas beyond the table ANTENNA."""
    path = edit_ms(ANTENNA2=lambda number: number + 1000)
    with pytest.raises(InputError, match=r"ANTENNA1 and ANTENNA2 are 0 to 1008, but the table ANTENNA has 9 rows"):
        read([path])
    assert "has 9 rows" in describe(path)


def test_no_rows(edit_ms):
    """All fields of a set without rows."""
    import casacore.tables as ct

    path = edit_ms()
    empty = path.with_name("empty.ms")
    with ct.table(str(path), ack=False) as table:
        table.selectrows([]).copy(str(empty), deep=True).close()
    for selection in (Selection(field="all"), Selection(field="all", joint=True), Selection()):
        with pytest.raises(InputError, match=r"no rows|no cross-correlation rows"):
            read([empty], selection)


def test_bytes_that_are_no_text(small_ms, tmp_path):
    """A damaged table file, whose names casacore repeats in its message."""
    path = tmp_path / "bad.ms"
    shutil.copytree(small_ms, path)
    file = path / "table.dat"
    data = file.read_bytes()
    file.write_bytes(data.replace(b"StandardStMan", b"St\xa6\xb7\xc8ardStMan"))
    with pytest.raises(InputError, match="cannot be opened"):
        read([path])


def test_file_without_right_to_read(tmp_path, monkeypatch):
    """A file that may not be read is not called empty."""
    from radrim.ms.recognition import check_known

    path = tmp_path / "obs.uvfits"
    path.write_bytes(b"")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read everything
    with pytest.raises(InputError, match="you may not read: chmod u"):
        check_known(path)

"""Columns of concatenations, selections and virtual columns, and columns of shapes that other programs chose."""

import shutil

import numpy as np
import pytest

from radrim.errors import InputError, OutputError
from radrim.ms import columns
from radrim.ms import rows as ms_rows
from radrim.ms.columns import BORN, MARK, writing_column
from radrim.ms.opening import open_table
from radrim.ms.tables import read_subtables
from radrim.read import Selection, read


@pytest.fixture
def tables():
    """The module casacore.tables, imported without its warnings."""
    import casacore.tables as ct

    return ct


@pytest.fixture
def parts(make_ms, tmp_path):
    """Two Measurement Sets with different noise, in a folder."""
    paths = [tmp_path / "parts" / f"{name}.ms" for name in "ab"]
    for seed, path in enumerate(paths):
        shutil.copytree(make_ms(seed=seed + 1), path)
    return paths


def concatenation(parts, path, tables):
    """casacore's ConcatTable, of which CASA's multi-MS is one."""
    tables.table([str(part) for part in parts], ack=False).rename(str(path))
    return path


def forwarded(parts, path, tables):
    """A concatenation by casacore's msconcat, whose columns are those of other tables."""
    tables.msconcat([str(part) for part in parts], str(path))
    return path


@pytest.mark.parametrize("make", [concatenation, forwarded])
def test_column_of_a_concatenation(parts, tmp_path, tables, make):
    """A new column is complete in all parts and holds what was written, across the border between the parts."""
    path = make(parts, tmp_path / "both.ms", tables)
    values = np.arange(432 * 8, dtype=np.complex64).reshape(432, 4, 2)
    rows = np.arange(432)
    with writing_column(path, "MODEL_DATA", "the test") as column:
        assert column.fresh
        column.put(rows[:200], values[:200])
        column.put(rows[200:], values[200:])
        np.testing.assert_array_equal(column.get(rows[210:220]), values[210:220])
    with open_table(path) as table:
        np.testing.assert_array_equal(table.getcol("MODEL_DATA"), values)
    read([path], Selection(column="MODEL_DATA"))
    for one in parts if make is concatenation else [path]:
        with open_table(one) as table:
            assert MARK not in table.getcolkeywords("MODEL_DATA")


def test_column_that_one_part_has(parts, tmp_path, tables):
    """What a part has of other rows is kept; only parts without complete columns must be filled."""
    for part in parts:
        with writing_column(part, "MODEL_DATA", "before") as column:
            column.put(np.arange(216), np.ones((216, 4, 2)))
    path = concatenation(parts, tmp_path / "both.ms", tables)
    with tables.table(str(parts[0]), readonly=False, ack=False) as table:
        table.putcolkeyword("MODEL_DATA", BORN, "killed")
        table.putcolkeyword("MODEL_DATA", MARK, "killed")
    with pytest.raises(InputError, match="'killed' is writing it"):
        read([path], Selection(column="MODEL_DATA"))
    with writing_column(path, "MODEL_DATA", "the test") as column:
        np.testing.assert_array_equal(column.in_fresh(np.arange(210, 220)), np.arange(210, 216))
        column.put(np.arange(216), np.full((216, 4, 2), 2))
    for part, value in zip(parts, (2, 1), strict=True):
        with open_table(part) as table:
            assert (table.getcol("MODEL_DATA") == value).all()
            assert {MARK, BORN}.isdisjoint(table.getcolkeywords("MODEL_DATA"))


def test_failure_leaves_a_concatenation_whole(parts, tmp_path, tables, monkeypatch):
    """Parts must have the same columns: if one cannot get the new one, none has it."""
    path = concatenation(parts, tmp_path / "both.ms", tables)
    add, added = columns._add, []

    def add_once(table, *args):
        if added:
            raise RuntimeError("no space")
        added.append(table.name())
        add(table, *args)

    monkeypatch.setattr(columns, "_add", add_once)
    with pytest.raises(OutputError, match="no space"), writing_column(path, "MODEL_DATA", "the test"):
        pass
    assert len(added) == 1
    with open_table(path) as table:
        assert "MODEL_DATA" not in table.colnames()


def test_column_of_a_selection(small_ms, tmp_path, tables):
    """A selection has no columns of its own: refused, naming the whole."""
    path = tmp_path / "some.ms"
    tables.taql(f"select from {small_ms} where ANTENNA1<4 giving {path}").close()
    with pytest.raises(OutputError, match=r"selection of rows of .*small.ms"), writing_column(path, "X", "the test"):
        pass


@pytest.mark.parametrize("make", [concatenation, forwarded, None])
def test_copies_have_their_own_rows(parts, small_ms, tmp_path, tables, make):
    """A copy for self-calibration shares nothing with the parts, and holds CORRECTED_DATA of all rows."""
    if make is None:
        path = tmp_path / "some.ms"
        tables.taql(f"select from {small_ms} where ANTENNA1<4 giving {path}").close()
    else:
        path = make(parts, tmp_path / "both.ms", tables)
    copy = tmp_path / "copy.ms"
    ms_rows.copy(read_subtables(path), "DATA", copy)
    with open_table(path) as before, open_table(copy) as after:
        data = before.getcol("DATA")
        np.testing.assert_array_equal(after.getcol("CORRECTED_DATA"), data)
        assert after.partnames() == [str(copy)]
    with ms_rows.open_for_writing(copy) as table:
        for name in ("DATA", "CORRECTED_DATA", "FLAG", "WEIGHT"):
            table.putcol(name, np.zeros_like(table.getcol(name)))
    with open_table(path) as before:
        np.testing.assert_array_equal(before.getcol("DATA"), data)
        assert before.getcol("WEIGHT").all()


def add_fixed(path, name, tables, shape=(4, 4), kind="complex"):
    """Add a column of cells with a fixed shape."""
    description = tables.makearrcoldesc(name, 0j if kind == "complex" else 0.0, ndim=2, shape=list(shape), options=5,
                                        valuetype=kind)  # fmt: skip
    with tables.table(str(path), readonly=False, ack=False) as table:
        table.addcols(tables.maketabdesc(description))


@pytest.mark.parametrize("name", ["MODEL_DATA", "CORRECTED_DATA"])
@pytest.mark.parametrize(
    "cells, says",
    [({}, r"fixed shape \(4, 4\), but .* 4 channels and 2 corr"), ({"kind": "float", "shape": (4, 2)}, "holds float")],
)
def test_column_of_another_shape(edit_ms, tables, name, cells, says):
    """A column that cannot hold the visibilities is named, with the way to remove it; nothing is changed."""
    path = edit_ms()
    add_fixed(path, name, tables, **cells)
    message = rf"{name} of .*{says}.*removecols\('{name}'\)"
    with pytest.raises(OutputError, match=message), writing_column(path, name, "the test"):
        pass
    with open_table(path) as table:
        assert MARK not in table.getcolkeywords(name)


def test_column_of_the_right_shape(edit_ms, tables):
    """A fixed shape that fits is no obstacle."""
    path = edit_ms()
    add_fixed(path, "MODEL_DATA", tables, shape=(4, 2))
    with writing_column(path, "MODEL_DATA", "the test") as column:
        column.put(np.arange(216), np.ones((216, 4, 2)))
    with open_table(path) as table:
        assert (table.getcol("MODEL_DATA") == 1).all()


@pytest.mark.parametrize("kind", ["complex", "float"])
def test_copy_replaces_a_column_of_another_shape(edit_ms, tables, tmp_path, kind):
    """In a copy the column is made anew, and the original keeps its own."""
    path = edit_ms()
    add_fixed(path, "CORRECTED_DATA", tables, kind=kind)
    ms_rows.copy(read_subtables(path), "DATA", tmp_path / "copy.ms")
    with open_table(tmp_path / "copy.ms") as table:
        np.testing.assert_array_equal(table.getcol("CORRECTED_DATA"), table.getcol("DATA"))
    with open_table(path) as table:
        assert table.getcell("CORRECTED_DATA", 0).shape == (4, 4)


def test_whole_runs_on_a_concatenation(parts, tmp_path, tables, command, monkeypatch):
    """Predict and self-calibration work on a concatenation; predict refuses a selection before any work."""
    monkeypatch.chdir(tmp_path)
    path = concatenation(parts, tmp_path / "both.ms", tables)
    grid = ["--size", 64, 64, "--scale", "4asec", "--niter", 20, "--solver", "clean"]
    assert command("image", path, *grid, "--name", "first").status == 0
    done = command("predict", path, "--model-image", "first-model.fits")
    assert done.status == 0, done.err
    again = command("image", path, *grid, "--data-column", "MODEL_DATA", "--name", "again")
    assert again.status == 0, again.err
    tables.taql(f"select from {parts[0]} where ANTENNA1<4 giving some.ms").close()
    refused = command("predict", "some.ms", "--model-image", "first-model.fits")
    assert refused.status == 2
    assert "selection of rows of" in refused.err
    solved = command("selfcal", path, *grid, "--start-model", "point", "--rounds", "p:inf", "--name", "solved")
    assert solved.status == 0, solved.err
    with open_table("solved.ms") as table:
        assert table.nrows() == 432
        assert table.getcol("CORRECTED_DATA").any()

"""Subtables where the main table says, names in any encoding, and rows of subtables that no visibility uses."""

import shutil

import numpy as np
import pytest

from radrim.errors import ConfigError, DataError, InputError
from radrim.inspection.describe import describe
from radrim.ms.tables import read_subtables
from radrim.read import Selection, read


@pytest.fixture(autouse=True)
def tables():
    """The module casacore.tables, imported without its warnings."""
    import casacore.tables as ct

    return ct


@pytest.fixture
def editable(edit_ms, tables):
    """Factory of copies, and of their tables opened for changes: `editable(subtable) -> path, table`."""

    def make(subtable="", **options):
        path = edit_ms(**options)
        return path, tables.table(str(path / subtable), readonly=False, ack=False)

    return make


def selection_of(path, where, out, tables):
    """A reference table, as TaQL's `giving` makes it."""
    tables.taql(f"select from {path} where {where} giving {out}").close()
    return out


def test_reference_table(small_ms, tmp_path, tables):
    """A selection of rows has no subtables of its own; its rows are those of the whole that it selects."""
    path = selection_of(small_ms, "ANTENNA1<4", tmp_path / "some.ms", tables)
    some, whole = read([path]), read([small_ms])
    chosen = whole.blocks[0].antenna[:, 0] < 4
    np.testing.assert_array_equal(some.blocks[0].data, whole.blocks[0].data[chosen])
    assert (some.ra, some.telescope, some.antennas) == (whole.ra, whole.telescope, whole.antennas)
    assert "VLA" in describe(path)


@pytest.mark.parametrize("where, says", [("ANTENNA1<4", "same data"), ("ANTENNA1>=0", "same data")])
def test_selection_beside_its_whole(small_ms, tmp_path, tables, where, says):
    """Rows that a selection shares with its whole count once."""
    path = selection_of(small_ms, where, tmp_path / "some.ms", tables)
    both, whole = read([path, small_ms]), read([small_ms])
    assert sum(b.weight.sum() for b in both.blocks) == pytest.approx(whole.blocks[0].weight.sum())
    assert any(says in note for note in both.notes)


def test_selections_of_one_whole(small_ms, tmp_path, tables):
    """Two selections without common rows are read together; those with some are refused, naming the whole."""
    low = selection_of(small_ms, "ANTENNA1<4", tmp_path / "low.ms", tables)
    high = selection_of(small_ms, "ANTENNA1>=4", tmp_path / "high.ms", tables)
    mixed = selection_of(small_ms, "ANTENNA1>=3", tmp_path / "mixed.ms", tables)
    assert sum(len(block.uvw) for block in read([low, high]).blocks) == len(read([small_ms]).blocks[0].uvw)
    with pytest.raises(ConfigError, match=r"share rows of .*small.ms.*would count twice"):
        read([low, mixed])


@pytest.mark.parametrize("where", ["elsewhere", "gone"])
def test_concatenation_without_links(make_ms, tmp_path, tables, where):
    """A multi-MS whose links to subtables are lost is read by the keywords of its parts."""
    parts = [make_ms(seed=seed) for seed in (1, 2)]
    path = tmp_path / "both.ms"
    tables.table([str(part) for part in parts], ack=False).rename(str(path))
    assert not (path / "ANTENNA").exists()
    together = read([path])
    assert sum(len(block.uvw) for block in together.blocks) == 2 * 216
    if where == "gone":
        shutil.rmtree(parts[0] / "ANTENNA")
        with pytest.raises(InputError, match=r"ANTENNA cannot be opened.*damaged or incomplete"):
            read([path])


@pytest.mark.parametrize(
    "place", ["OBSERVATION:OBSERVER", "OBSERVATION:TELESCOPE_NAME", "FIELD:NAME", "ANTENNA:NAME", "ANTENNA:MOUNT"]
)
def test_names_in_latin_1(editable, place):
    """Names with accents in Latin-1, as of older archives, are read with their accents."""
    subtable, column = place.split(":")
    path, table = editable(subtable)
    table.putcell(column, 0, "Andr~ Test")
    table.close()
    for file in (path / subtable).glob("table.f*"):
        file.write_bytes(file.read_bytes().replace(b"Andr~ Test", b"Andr\xe9 Test"))
    ms = read_subtables(path)
    known = [ms.observer, ms.telescope, ms.fields[0].name, ms.antennas[0], ms.mounts[0]]
    assert known.count("André Test") == 1
    read([path])


def unused_window(path, tables, **cells):
    """Add a row to DATA_DESCRIPTION and to SPECTRAL_WINDOW, with these cells in the latter."""
    for name in ("DATA_DESCRIPTION", "SPECTRAL_WINDOW"):
        with tables.table(str(path / name), readonly=False, ack=False) as table:
            if name == "SPECTRAL_WINDOW" and not cells:
                table.addrows(1)
                continue
            table.copyrows(table, 0, 1, 1)
            for column, value in ({"SPECTRAL_WINDOW_ID": 1} if name == "DATA_DESCRIPTION" else cells).items():
                table.putcell(column, 1, value)


@pytest.mark.parametrize("cells", [{"CHAN_FREQ": np.zeros(4)}, {"CHAN_FREQ": np.full(4, np.nan)}, {}])
def test_window_without_frequencies(edit_ms, tables, cells):
    """A window without frequencies is an error only where rows of the selection belong to it."""
    path = edit_ms()
    unused_window(path, tables, **cells)
    assert len(read([path]).blocks) == 1
    assert "window 0" in describe(path)
    with tables.table(str(path), readonly=False, ack=False) as table:
        table.putcell("DATA_DESC_ID", 5, 1)
    with pytest.raises(InputError, match=r"spectral window 1 has (a channel at|no channels)"):
        read([path])
    assert len(read([path], Selection(spw=(0,))).blocks) == 1


def test_empty_row_of_polarization(edit_ms, tables):
    """A row of POLARIZATION without correlations, which no window uses, does not matter."""
    path = edit_ms()
    with tables.table(str(path / "POLARIZATION"), readonly=False, ack=False) as table:
        table.addrows(1)
    assert len(read([path]).blocks) == 1
    with tables.table(str(path / "DATA_DESCRIPTION"), readonly=False, ack=False) as table:
        table.putcell("POLARIZATION_ID", 0, 1)
    with pytest.raises(InputError, match="row 1 of POLARIZATION is empty"):
        read([path])


@pytest.mark.parametrize("stokes", ["I", "V", "RR", "Q", "RL", "I,Q", "I,Q,U,V"])
def test_window_in_two_data_descriptions(make_ms, split_by_hands, stokes):
    """Stokes parameters are the same whether a window is stored in one data description or in two."""
    ms = make_ms(correlations=("RR", "RL", "LR", "LL"), flagged=0.1, noise=0.1)
    one, two = (read([path], Selection(stokes=stokes)) for path in (ms, split_by_hands(ms)))
    blocks = [by_time(observation.blocks) for observation in (one, two)]
    for expected, found in zip(*blocks, strict=True):
        np.testing.assert_array_equal(found, expected)


def by_time(blocks):
    """Times, antennas, coordinates, weights and all visibilities of blocks, in the order of time and baseline."""
    (block,) = blocks
    order = np.lexsort([*block.antenna.T, block.time])
    parts = block.time, block.antenna, block.uvw, block.weight, block.data, *block.others.values()
    return [part[order] for part in parts]


def test_rows_of_one_data_description_alone(make_ms, split_by_hands, tables):
    """Rows without a counterpart are left out and counted; without any counterpart the message names both."""
    path = split_by_hands(make_ms(correlations=("RR", "RL", "LR", "LL")))
    with tables.table(str(path), readonly=False, ack=False) as table:
        rows = table.nrows() // 2
        table.putcol("TIME", table.getcol("TIME", 0, 10) + 1000, 0, 10)
    observation = read([path], Selection(stokes="I,Q"))
    assert len(observation.blocks[0].time) == rows - 10
    assert any("20 rows of data descriptions 0 and 1" in note for note in observation.notes)
    with tables.table(str(path), readonly=False, ack=False) as table:
        later = table.query("DATA_DESC_ID==1")
        later.putcol("TIME", later.getcol("TIME") + 1e4)
        later.close()
    with pytest.raises(DataError, match=r"0 \(RR, LL\) and data description 1 \(RL, LR\) .* no time .*--pol RR"):
        read([path], Selection(stokes="I,Q"))

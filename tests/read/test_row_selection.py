"""--scan, --antenna, --intent, --array and lengths of baselines: a simple form of CASA's syntax."""

import shutil

import numpy as np
import pytest

import radrim
from radrim.errors import ConfigError
from radrim.ms.tables import open_table
from radrim.read.reader import Selection, read

SCANS = [1, 2, 3, 5, 6, 8]


@pytest.fixture(scope="module")
def scans_ms(make_ms, tmp_path_factory):
    """Six integrations, each with its own scan, of two intents and two subarrays; antennas with VLA's names."""
    import casacore.tables as casatables

    path = tmp_path_factory.mktemp("scans") / "scans.ms"
    shutil.copytree(make_ms(), path)
    table = casatables.table(str(path), readonly=False, ack=False)
    integration = np.unique(table.getcol("TIME"), return_inverse=True)[1].ravel()
    table.putcol("SCAN_NUMBER", np.array(SCANS, np.int32)[integration])
    table.putcol("STATE_ID", (integration % 2).astype(np.int32))
    table.putcol("ARRAY_ID", (integration // 3).astype(np.int32))
    state = casatables.default_ms_subtable("STATE", str(path / "STATE"))
    state.addrows(2)
    state.putcol("OBS_MODE", ["OBSERVE_TARGET#ON_SOURCE,OBSERVE_TARGET#UNSPECIFIED", "CALIBRATE_PHASE#ON_SOURCE"])
    state.close()
    table.putkeyword("STATE", f"Table: {path / 'STATE'}")
    table.close()
    return path


def names_of(ms):
    """Names of the antennas."""
    from radrim.ms.tables import read_subtables

    return read_subtables(ms).antennas


def integrations(ms, **selection):
    """Numbers of the integrations that are read."""
    with open_table(ms) as main:
        times = np.unique(main.getcol("TIME"))
    return sorted({int(np.searchsorted(times, t)) for b in read([ms], Selection(**selection)).blocks for t in b.time})


def pairs(ms, antenna):
    """Baselines that are read, as pairs of antenna numbers."""
    found = read([ms], Selection(antenna=antenna)).blocks
    return {tuple(sorted(map(int, pair))) for block in found for pair in block.antenna}


@pytest.mark.parametrize(
    "selection, expected",
    [
        ({"scan": "2"}, [1]),
        ({"scan": "1~3,8"}, [0, 1, 2, 5]),
        ({"scan": "!5"}, [0, 1, 2, 4, 5]),
        ({"scan": "1~8,!2,!3"}, [0, 3, 4, 5]),
        ({"array": "1"}, [3, 4, 5]),
        ({"intent": "*TARGET*"}, [0, 2, 4]),
        ({"intent": "CALIBRATE_PHASE#ON_SOURCE"}, [1, 3, 5]),
        ({"intent": "!*target*"}, [1, 3, 5]),
        ({"intent": "*ON_SOURCE", "scan": "1~3", "array": "0"}, [0, 1, 2]),
        ({"scan": "3~6", "interval": (0, 4)}, [2, 3]),
    ],
)
def test_rows_are_selected(scans_ms, selection, expected):
    """All conditions together; integrations are counted over the whole set."""
    assert integrations(scans_ms, **selection) == expected


def test_antennas_are_selected_with_their_baselines(scans_ms):
    """Numbers, names, ranges, patterns, ! and &."""
    every = {(a, b) for a in range(9) for b in range(a + 1, 9)}
    names = names_of(scans_ms)
    assert pairs(scans_ms, "3") == {pair for pair in every if 3 in pair}
    assert pairs(scans_ms, names[3]) == pairs(scans_ms, "3")
    assert pairs(scans_ms, "0~2&") == {(0, 1), (0, 2), (1, 2)}
    assert pairs(scans_ms, f"{names[0]}&{names[4]}") == {(0, 4)}
    assert pairs(scans_ms, "!3,!4") == {pair for pair in every if not {3, 4} & set(pair)}
    assert pairs(scans_ms, "!0&1") == every - {(0, 1)}
    assert pairs(scans_ms, "1,2;!5") == {pair for pair in every if {1, 2} & set(pair) and 5 not in pair}
    wanted = {k for k, name in enumerate(names) if name.startswith("W")}
    assert wanted
    assert pairs(scans_ms, "W*&") == {pair for pair in every if set(pair) <= wanted}


@pytest.mark.parametrize(
    "selection, message",
    [
        ({"scan": "4"}, r"has no scan '4' \(--scan\); it has 1, 2, 3, 5, 6, 8\."),
        ({"scan": "first"}, "has no scan 'first'"),
        ({"antenna": "ea99"}, r"has no antenna 'ea99' \(--antenna\); it has 0 \("),
        ({"antenna": "0&9"}, "has no antenna '9'"),
        ({"intent": "*POINTING*"}, r"it has CALIBRATE_PHASE#ON_SOURCE, OBSERVE_TARGET#ON_SOURCE"),
        ({"array": "7"}, "it has 0, 1"),
    ],
)
def test_what_is_not_there_is_refused(scans_ms, selection, message):
    """With the list of what there is."""
    with pytest.raises(ConfigError, match=message):
        read([scans_ms], Selection(**selection))


def test_one_of_several_sets_may_lack_it(scans_ms, make_ms):
    """A scan that only one of two sets has selects its rows, and the other is skipped with a note."""
    other = make_ms(seed=2)
    found = read([scans_ms, other], Selection(scan="8"))
    assert len({t for block in found.blocks for t in block.time}) == 1
    assert any("Skipped" in note and "no row is of the scans" in note for note in found.notes)


def test_the_default_field_is_one_that_is_selected(make_ms):
    """With --scan the field with most rows among those of the scan."""
    import casacore.tables as casatables

    ms = make_ms(fields=2, seed=3)
    table = casatables.table(str(ms), readonly=False, ack=False)
    table.putcol("SCAN_NUMBER", table.getcol("FIELD_ID") + 1)
    table.close()
    assert read([ms], Selection(scan="2")).object == "FIELD1"


def test_lengths_in_metres(small_ms):
    """--minuvw-m and --maxuvw-m limit the length of (u, v, w)."""
    found = read([small_ms], Selection(minuvw_m=300.0, maxuvw_m=1500.0))
    for block in found.blocks:
        length = np.linalg.norm(block.uvw, axis=1)
        assert ((length >= 300) & (length <= 1500))[block.weight.any(1)].all()
    with pytest.raises(ConfigError, match="--minuvw-m 300 is not below --maxuvw-m 200"):
        radrim.image("a.ms", minuvw_m=300, maxuvw_m="0.2km")


def test_the_command_selects(command, scans_ms, tmp_path):
    """As typed, with WSClean's single dashes for lengths."""
    options = ["--size", 64, 64, "--scale", "6asec", "--niter", 0, "--no-report", "--scan", "1~3", "--antenna", "!0"]
    options += ["-minuvw-m", 100]
    done = command("image", scans_ms, *options, "--name", tmp_path / "x")
    assert done.status == 0
    assert f"{3 * 28 * 4} samples" in done.out + done.err

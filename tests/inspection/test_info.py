import itertools
import re

import numpy as np
import pytest

from radrim.angles import parse_angle
from radrim.earth import elevations
from radrim.inspection.describe import describe
from radrim.metrics import measured_scatter
from radrim.ms.opening import open_table
from radrim.ms.tables import read_subtables
from radrim.read.reader import read

# What each real observation must be described by: telescope, field, phase centre, windows, correlations.
OBS = {
    "alma_hd142527_b9_cont.ms": ["ALMA, 20 antennas", "HD 142527", "15h56m41.89s -42d19m23.34s", "window 2", "XX, YY"],
    "eht_m87_2017_101_hilo_selfcal.ms": ["8 antennas, diameters 8 to 50 m", "M87", "227.071 GHz", "LL, RR"],
    "gmrt_1543+480_622MHz_2014.ms": ["GMRT, 30 antennas, diameter 45 m", "1543+480", "10 channels", "RR, LL"],
    "mwa_uvceti_154MHz_2015.ms": [
        "MWA, 128 antennas",
        "UVCeti",
        "11 channels, 153.875 to 154.675 MHz",
        "XX, XY, YX, YY",
    ],
    "vla_3c391_4.6GHz.ms": ["EVLA, 26 antennas, diameter 25 m", "3C391", "18h49m24.24s -00d55m40.58s", "4600 MHz"],
    "vlba_3c273_43GHz_2016.ms": ["VLBA, 10 antennas", "3C273", "window 3", "RR, RL, LR, LL"],
    "vlba_3c279_43GHz_2013a.ms": ["VLBA", "3C279", "43.1339 GHz", "2081 rows"],
    "vlba_m87_8.1GHz_2006.ms": ["VLBA", "1228+126", "8104.46 MHz", "8112.46 MHz", "3150 rows"],
}


@pytest.mark.parametrize("name", OBS)
def test_real_observations(shared_data, name):
    """The page of each real set has telescope, fields, windows, uv range, flags, noise, suggestion and a command."""
    path = shared_data / "obs" / name
    text = describe(path)
    for words in OBS[name]:
        assert words in text
    for line in (
        "telescope ",
        "field 0 ",
        "window 0 ",
        "data columns   DATA",
        "uv range ",
        " flagged",
        "noise ",
        "start ",
    ):
        assert line in text
    assert re.search(r"noise +\S+ Jy/beam at briggs 0", text)
    assert len(re.findall(r"^  suggested ", text, re.MULTILINE)) == 2
    assert re.search(
        rf"^  command +radrim image {re.escape(str(path))}( --size \d+ \d+ --scale \S+)?$", text, re.MULTILINE
    )
    assert "cannot be imaged" not in text


def test_uv_range_is_that_of_the_data(small_ms):
    """The shortest and longest baseline with data, in wavelengths, and the angles that they stand for."""
    text = describe(small_ms)
    low, high, small, large = re.search(
        r"uv range +(\S+) to (\S+) wavelengths \(scales (\S+) to (\S+)\)", text
    ).groups()
    (block,) = read([small_ms]).blocks
    length = block.uv_length[:, None] * block.freq / 299792458
    assert float(low) == pytest.approx(length.min(), rel=1e-3)
    assert float(high) == pytest.approx(length.max(), rel=1e-3)
    assert parse_angle(small) == pytest.approx(1 / length.max(), rel=1e-3)
    assert parse_angle(large) == pytest.approx(1 / length.min(), rel=1e-3)


def test_all_flagged_cannot_be_imaged(shared_data):
    """The page of a set without usable data ends with the reason, and no command is suggested."""
    text = describe(shared_data / "reader" / "meerkat_allflagged.MS")
    assert "MeerKAT" in text
    assert text.endswith("all 700 samples are flagged; nothing is left to image.")
    assert "cannot be imaged as it is:" in text
    assert "suggested" not in text


def test_fields_and_flags(make_ms):
    """Every field stands there with its rows; the flagged fraction is that of the field that would be imaged."""
    text = describe(make_ms(fields=2, flagged=0.2))
    assert re.search(r"field 0 +FIELD0, .* 216 rows", text)
    assert re.search(r"field 1 +FIELD1, .* 216 rows", text)
    assert "Imaging field FIELD0, the one with most rows" in text
    # Either hand flagged: 1 - 0.8**2.
    assert float(re.search(r"samples +864 of Stokes I, (\S+?) ?% flagged", text)[1]) == pytest.approx(36, abs=5)


@pytest.mark.parametrize("factor", [1, 3])
@pytest.mark.parametrize("windows", [((1.38e9, 4),), ((1.38e9, 1),)])
def test_scatter_tells_wrong_weights(make_ms, edit_ms, windows, factor):
    """Weights that promise too much are found out by the scatter of the data, with one channel or several."""
    path = make_ms(noise=0.1, times=24, windows=windows, stokes=(0.0, 0.0, 0.0, 0.0))
    path = edit_ms(source=path, WEIGHT=lambda weight: weight * factor**2)
    # Some 800 differences at least: 4 %.
    assert measured_scatter(read([path]).blocks) == pytest.approx(factor, rel=0.15)


def test_a_strong_source_is_not_taken_for_noise(make_ms):
    """A source that turns quickly from one time to the next is steady from channel to channel."""
    assert measured_scatter(read([make_ms(noise=0.01, times=24)]).blocks) < 1.5


def test_scatter_without_neighbours(small_ms):
    """One sample per baseline says nothing about the noise."""
    (block,) = read([small_ms]).blocks
    block = block.select_channels(np.array([True, False, False, False]))
    first = block.time == block.time.min()
    for name in ("uvw", "data", "weight", "time", "antenna"):
        setattr(block, name, getattr(block, name)[first])
    assert np.isnan(measured_scatter([block]))


def test_command_prints_the_page(command, small_ms):
    """`radrim info` prints what `describe` says, for each file."""
    done = command("info", small_ms, small_ms)
    assert done.status == 0
    assert done.out == 2 * (describe(small_ms) + "\n")


def read_column(path, name):
    """A column of the main table."""
    with open_table(path) as main:
        return main.getcol(name)


def table(text, title):
    """Cells of a table of the page, row by row, without its head."""
    rows = text.split(f"  {title}")[1].splitlines()[1:]
    return [re.split(r"  +", row.strip()) for row in itertools.takewhile(lambda row: row.startswith(" " * 17), rows)]


def test_antenna_table(small_ms):
    """Each antenna has its number, name, mount, diameter, rows, and the range of elevations in which it observed."""
    rows = table(describe(small_ms), "antennas")
    ms = read_subtables(small_ms)
    (block,) = read([small_ms]).blocks
    field = ms.fields[0]
    degrees = np.degrees(elevations(ms.positions, field.ra, field.dec, np.unique(block.time)))
    assert [row[0] for row in rows] == [str(k) for k in range(9)]
    assert [row[1] for row in rows] == ms.antennas
    for k, row in enumerate(rows):
        assert row[2:4] == ["ALT-AZ", "25 m"]
        low, high = re.fullmatch(r"(\S+) to (\S+) deg", row[4]).groups()
        assert float(low) == pytest.approx(degrees[:, k].min(), abs=0.1)
        assert float(high) == pytest.approx(degrees[:, k].max(), abs=0.1)
        assert row[5] == "48"


def test_antennas_without_data_or_position(small_ms, edit_ms):
    """An antenna that is flagged throughout has no elevation; one without a position, an unknown one, and a note."""

    def flag_last(flag):
        flag[read_column(small_ms, "ANTENNA2") == 8] = True
        return flag

    text = describe(edit_ms(FLAG=flag_last))
    assert table(text, "antennas")[8][4:] == ["-", "0"]
    assert table(text, "antennas")[7][5] == "42"
    assert "note" not in text

    def lose_first(positions):
        positions[0] = 0
        return positions

    text = describe(edit_ms(subtable="ANTENNA", POSITION=lose_first))
    assert table(text, "antennas")[0][4] == "unknown"
    assert f"Without a position on the Earth: {read_subtables(small_ms).antennas[0]};" in text
    text = describe(edit_ms(subtable="ANTENNA", POSITION=lambda positions: 0 * positions))
    assert "Without a position on the Earth: all antennas;" in text


def test_below_the_horizon(small_ms, edit_ms):
    """A source that was below the horizon tells of wrong positions or times."""
    assert "below the horizon of" in describe(edit_ms(subtable="ANTENNA", POSITION=lambda positions: -positions))


def test_many_antennas_are_listed_on_request(shared_data, command):
    """Of a large array the page has the number of antennas and groups of baselines, with the options all of them."""
    path = shared_data / "obs" / "gmrt_1543+480_622MHz_2014.ms"
    text = command("info", path).out
    assert "30; --antennas lists them" in text
    groups = table(text, "baselines")
    assert groups[-1] == ["319 pairs in groups of similar length; --baselines lists each"]
    assert sum(int(row[0].split()[0]) for row in groups[:-1]) == 319
    text = command("info", path, "--antennas", "--baselines").out
    assert len(table(text, "antennas")) == 30
    pairs = table(text, "baselines")
    assert len(pairs) == 319
    assert sum(int(row[2]) for row in pairs) == sum(int(row[2]) for row in groups[:-1])


def test_baseline_table(make_ms):
    """A point source of 1 Jy: every baseline has its lengths, samples, amplitude and signal-to-noise ratio."""
    path = make_ms(noise=0.1, times=24)
    (block,) = read([path]).blocks
    text = describe(path)
    rows = table(text, "baselines")
    names = read_subtables(path).antennas
    assert "kλ" in text
    assert "mean Jy" in text
    assert len(rows) == 36
    for row in rows:
        a, b = (names.index(name) for name in row[0].split("-"))
        of = (block.antenna == [a, b]).all(1)
        length = block.uv_length[of, None] * block.freq / 299792458
        low, high = re.fullmatch(r"(\S+) to (\S+)", row[1]).groups()
        assert float(low) == pytest.approx(length.min() / 1e3, rel=1e-3)
        assert float(high) == pytest.approx(length.max() / 1e3, rel=1e-3)
        assert int(row[2]) == of.sum() * 4
        # The noise of Stokes I is that of one hand over the root of 2, and the mean amplitude a bit above 1 Jy.
        assert float(row[3]) == pytest.approx(1, abs=0.05)
        assert float(row[4]) == pytest.approx(np.sqrt(2) / 0.1, rel=0.2)


def test_no_signal(make_ms):
    """On noise alone the signal-to-noise ratio stays small, because the noise's own power is taken out."""
    rows = table(describe(make_ms(noise=0.1, times=24, stokes=(0.0, 0.0, 0.0, 0.0))), "baselines")
    assert len(rows) == 36
    # Without that it would be 1.4 and more.
    assert all(row[4] == "below 1" or float(row[4]) < 1.2 for row in rows)


def test_page_of_a_uvfits_file(small_ms, make_uvfits):
    """Same data, same page, but for the name: the file's own, also in the suggested command."""
    path = make_uvfits(small_ms)
    ours, theirs = describe(path).splitlines(), describe(small_ms).splitlines()
    assert f"radrim image {path}" in ours[-1]
    start = [next(k for k, line in enumerate(page) if line.startswith("  start")) for page in (ours, theirs)]
    for a, b in zip(ours[start[0] : -1], theirs[start[1] : -1], strict=True):
        assert re.findall("[a-z]+", a) == re.findall("[a-z]+", b)


@pytest.mark.parametrize("dec, found", [(np.nan, "Dec nan"), (2.0, "Dec 114.592 degrees")])
def test_phase_centre_that_is_no_position(edit_ms, dec, found):
    """A declination beyond the pole or NaN is shown as it is, with the reason why nothing can be imaged."""
    page = describe(edit_ms(subtable="FIELD", PHASE_DIR=lambda old: old * [1, 0] + [0, dec]))
    assert "cannot be imaged as it is" in page
    assert "which is no position. Correct PHASE_DIR" in page
    assert page.count(found) == 2

from functools import partial

import numpy as np
import pytest
from astropy.io import fits

from radrim.errors import DataError, InputError, OutputError
from radrim.ms.inputs import open_inputs
from radrim.ms.settings import StorageSettings
from radrim.ms.tables import open_table, read_subtables
from radrim.ms.uvfits import is_fits
from radrim.ms.uvfits_convert import convert
from radrim.read.reader import Selection, read


def sorted_block(block):
    """Rows of a block in the order of time and baseline: uvw, data, weight, time, and its antennas, smaller first."""
    antenna = np.sort(block.antenna, 1)
    order = np.lexsort((antenna[:, 1], antenna[:, 0], np.round(block.time, 1)))
    return [*(getattr(block, name)[order] for name in ("uvw", "data", "weight", "time")), antenna[order]]


ALL = Selection()


def assert_same(path, ms, selection=ALL):
    """Both give the same visibilities, to the accuracy of the file's single precision."""
    ours, theirs = read([path], selection), read([ms], selection)
    assert np.hypot((ours.ra - theirs.ra) * np.cos(ours.dec), ours.dec - theirs.dec) < 1e-9
    assert len(ours.blocks) == len(theirs.blocks)
    for a, b in zip(ours.blocks, theirs.blocks, strict=True):
        np.testing.assert_allclose(a.freq, b.freq, rtol=1e-9)
        for x, y, atol in zip(sorted_block(a), sorted_block(b), (1e-3, 1e-6, 0, 0.01, 0), strict=True):
            np.testing.assert_allclose(x, y, rtol=0 if atol == 0.01 else 1e-6, atol=atol)


@pytest.fixture(scope="module")
def circular_ms(make_ms):
    """Two windows of two channels, four circular correlations, polarised, some flagged."""
    return make_ms(correlations=("RR", "RL", "LR", "LL"), windows=((1.38e9, 2), (1.6e9, 2)), flagged=0.1,
                   stokes=(1.0, 0.3, -0.2, 0.1))  # fmt: skip


@pytest.mark.parametrize("stokes", ["I", "Q", "U", "V"])
def test_same_data_as_the_measurement_set(circular_ms, make_uvfits, stokes):
    """Every Stokes parameter of a file is that of the Measurement Set that it was made from: signs, order, weights."""
    assert_same(make_uvfits(circular_ms), circular_ms, Selection(stokes=stokes))


def test_one_hand_and_linear_correlations(make_ms, make_uvfits):
    """One hand alone, and XX, XY, YX, YY whose order in the file is another than in a Measurement Set."""
    for correlations in (("LL",), ("XX", "XY", "YX", "YY")):
        ms = make_ms(correlations=correlations)
        assert_same(make_uvfits(ms), ms)


@pytest.mark.parametrize("name", ["vlba_m87_8.1GHz_2006", "vlba_3c279_43GHz_2013a", "mwa_uvceti_154MHz_2015"])
def test_real_files_equal_their_measurement_sets(shared_data, name):
    """Rows that both have unflagged are the same; of the MWA's 5460 cross-correlations the set lacks 104."""
    selection = Selection(abs_weights=True)
    ours = read([shared_data / "uvfits" / f"{name}.uvfits"], selection)
    theirs = read([shared_data / "obs" / f"{name}.ms"], selection)
    assert (ours.telescope, ours.object, ours.date_obs) == (theirs.telescope, theirs.object, theirs.date_obs)
    for a, b in zip(ours.blocks, theirs.blocks, strict=True):
        rows = {(round(t * 10), *pair): k for k, (t, pair) in enumerate(zip(a.time, a.antenna.tolist(), strict=True))}
        same = [rows[(round(t * 10), *pair)] for t, pair in zip(b.time, b.antenna.tolist(), strict=True)]
        assert len(a.time) - len(b.time) == (104 if "mwa" in name else 0)
        for field in ("uvw", "data", "weight", "time"):
            np.testing.assert_array_equal(getattr(a, field)[same], getattr(b, field))


def test_dirty_image_equals_that_of_the_measurement_set(shared_data, command, tmp_path, no_report):
    """`radrim image` makes the same image of M87's jet from either; nothing but the products is left."""
    images = []
    for kind, suffix in (("obs", "ms"), ("uvfits", "uvfits")):
        path = shared_data / kind / f"vlba_m87_8.1GHz_2006.{suffix}"
        done = command(
            "image", path, "--size", 128, 128, "--scale", "0.2masec", "--niter", 0, "--name", tmp_path / kind
        )
        assert done.status == 0, done.err
        images.append(fits.getdata(tmp_path / f"{kind}-dirty.fits"))
    assert np.abs(images[0] - images[1]).max() < 1e-4 * images[0].max()
    assert not [path for path in tmp_path.iterdir() if path.suffix not in (".fits", ".png", ".html", ".toml", ".json")]


def test_event_horizon_telescope(shared_data, command, tmp_path, no_report):
    """Micro-arcseconds from the option to the header, by the direct sum; the file calls its frame ????."""
    path = shared_data / "uvfits" / "eht_m87_2017_101_lo_selfcal.uvfits"
    done = command("image", path, "--size", 128, 128, "--scale", "2uasec", "--niter", 0, "--name", tmp_path / "m87")
    assert done.status == 0, done.err
    assert "operator dft" in done.out
    assert "warning" not in done.out
    header = fits.getheader(tmp_path / "m87-dirty.fits")
    assert header["CDELT2"] == pytest.approx(2e-6 / 3600)
    assert 10e-6 / 3600 < header["BMIN"] < header["BMAJ"] < 40e-6 / 3600


def test_infinite_weights(shared_data):
    """Samples of infinite weight, here all of the cross-hands, are left out."""
    path = shared_data / "uvfits" / "eht_m87_2017_101_lo_netcal.uvfits"
    with pytest.raises(DataError, match="all 5876 unflagged samples have weights of zero, NaN or infinity"):
        read([path], Selection(stokes="RL"))
    assert all(np.isfinite(block.weight).all() for block in read([path]).blocks)


def test_mixed_with_measurement_sets(small_ms, make_uvfits):
    """A file and a Measurement Set are read together."""
    together = read([make_uvfits(small_ms), small_ms])
    assert together.counts["samples"] == 2 * read([small_ms]).counts["samples"]


def test_recognised_by_content(small_ms, make_uvfits):
    """The name of a file means nothing."""
    path = make_uvfits(small_ms, name="data.ms")
    assert is_fits(path)
    assert not is_fits(small_ms)
    assert_same(path, small_ms)


def test_negative_weights(small_ms, make_uvfits):
    """AIPS flags by the sign: all negative is refused with the option that takes them, and that option gives them."""
    path = make_uvfits(small_ms, weight=np.negative)
    with pytest.raises(DataError, match="864 unflagged samples have negative weights; use --abs-weights"):
        read([path])
    assert_same(path, small_ms, Selection(abs_weights=True))


def test_antenna_names_and_diameters(small_ms, make_uvfits):
    """Antenna 1 of the file is the first of the Measurement Set; names, places and diameters are kept."""
    with open_inputs([make_uvfits(small_ms)]) as (ms,):
        there = read_subtables(small_ms)
        assert ms.antennas == there.antennas
        np.testing.assert_allclose(ms.positions, there.positions, atol=1e-3)
        np.testing.assert_allclose(ms.dish_diameters, there.dish_diameters)
        assert set(ms.mounts) == {"ALT-AZ"}


def test_weight_and_sigma_follow_the_correlations(make_ms, make_uvfits, tmp_path):
    """WEIGHT is the median of WEIGHT_SPECTRUM, correlation by correlation, SIGMA its inverse root."""
    ms = make_ms(correlations=("RR", "RL", "LR", "LL"), windows=((1.38e9, 2),), flagged=0.1)
    path = make_uvfits(ms, weight=lambda w: w * np.arange(1, 5))
    convert(path, tmp_path / "a.ms")
    with open_table(tmp_path / "a.ms") as table:
        weight, sigma, spectrum = (table.getcol(name) for name in ("WEIGHT", "SIGMA", "WEIGHT_SPECTRUM"))
    np.testing.assert_array_equal(weight, np.median(spectrum, 1))
    used = weight > 0
    np.testing.assert_allclose(sigma[used], weight[used] ** -0.5, rtol=1e-6)
    assert not sigma[~used].any()
    ratio = spectrum[(spectrum > 0).all((1, 2))][:, 0]
    np.testing.assert_allclose(ratio / ratio[:, :1], np.broadcast_to([1, 2, 3, 4], ratio.shape), rtol=1e-6)


def mirrored(tables):
    tables["AIPS AN"].data["STABXYZ"][:, 1] *= -1
    return tables


def test_left_handed_positions(small_ms, make_uvfits):
    """Positions with the y-axis to the west, as old files have them, are told by (u, v), and a note says so."""
    with open_inputs([make_uvfits(small_ms, tables=mirrored)]) as (ms,):
        np.testing.assert_allclose(ms.positions, read_subtables(small_ms).positions, atol=1e-3)
        assert "mirrored" in ms.notes[0]


def test_array_centre(small_ms, make_uvfits):
    """Positions about an array centre: turned to its meridian, as AIPS has them, or not."""
    there = read_subtables(small_ms).positions
    centre = there.mean(0)
    angle = np.arctan2(centre[1], centre[0])
    turn = np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    for local in ((there - centre) @ turn.T, there - centre):

        def about_centre(tables, local=local):
            tables["AIPS AN"].data["STABXYZ"] = local
            tables["AIPS AN"].header.update(zip(("ARRAYX", "ARRAYY", "ARRAYZ"), centre, strict=True))
            return tables

        with open_inputs([make_uvfits(small_ms, tables=about_centre)]) as (ms,):
            np.testing.assert_allclose(ms.positions, there, atol=1e-3)


def test_channels_that_run_downwards(make_ms, make_uvfits):
    """Each IF has its own channel width, negative for a lower sideband, about the reference channel."""

    def downwards(tables):
        tables["AIPS FQ"].data["CH WIDTH"] = [[10e6, -10e6]]
        return tables

    ms = make_ms(windows=((1.38e9, 3), (1.6e9, 3)))
    path = make_uvfits(ms, tables=downwards, header={"CRPIX4": 2.0})
    with open_inputs([path]) as (found,):
        np.testing.assert_allclose(found.windows[0].freq, [1.37e9, 1.38e9, 1.39e9])
        np.testing.assert_allclose(found.windows[1].freq, [1.61e9, 1.6e9, 1.59e9])
        np.testing.assert_allclose(found.windows[1].width, 10e6)


def test_times_in_atomic_time(small_ms, make_uvfits):
    """Times in IAT are brought to UTC with the file's IATUTC."""

    def atomic(tables):
        tables["AIPS AN"].header.update({"TIMSYS": "IAT", "IATUTC": 33.0})
        return tables

    late = read([make_uvfits(small_ms, tables=atomic)]).blocks[0].time
    np.testing.assert_allclose(np.sort(late) + 33, np.sort(read([small_ms]).blocks[0].time), rtol=0, atol=0.01)


def test_equinox_1950(small_ms, make_uvfits):
    """A position of 1950 is that of J2000 after the conversion, and (u, v) is turned with it."""
    from astropy.coordinates import FK4, SkyCoord

    there = read_subtables(small_ms)
    field = there.fields[0]
    place = SkyCoord(field.ra, field.dec, unit="rad", frame="fk5")
    old = place.transform_to(FK4(equinox="B1950", obstime="J2026"))
    north = SkyCoord(old.ra, old.dec + 1e-4 * old.dec.unit, frame=old.frame).transform_to("fk5")
    turn = place.position_angle(north).rad
    header = {"EPOCH": 1950.0, "CRVAL6": old.ra.deg, "CRVAL7": old.dec.deg}
    path = make_uvfits(small_ms, header=header, turned=-turn)
    observation = read([path])
    assert np.hypot((observation.ra - field.ra) * np.cos(field.dec), observation.dec - field.dec) < 1e-8
    found = sorted_block(observation.blocks[0])[0]
    np.testing.assert_allclose(found, sorted_block(read([small_ms]).blocks[0])[0], atol=0.05)
    assert any("from the equinox 1950" in note for note in observation.notes)
    assert np.abs(turn) > 1e-3  # or the test would see nothing


@pytest.mark.parametrize("when", [-20000, 20000])
def test_dates_without_a_table_of_the_earths_rotation(small_ms, make_uvfits, when):
    """Observations of 1971 and 2080 are read; nothing is fetched for them."""
    path = make_uvfits(small_ms)
    fits.setval(path, "PZERO5", value=fits.getval(path, "PZERO5") + when)
    assert read([path]).counts["samples"] == 864


def test_several_sources(make_ms, make_uvfits):
    """Each source of the table AIPS SU is a field for --field, with its own data."""
    ms = make_ms(fields=3)
    path = make_uvfits(ms, sources=True)
    for field in ("0", "FIELD1", "2"):
        assert_same(path, ms, Selection(field=field))


def test_one_subarray_and_one_setup_of_many(small_ms, make_uvfits):
    """Tables of several subarrays and frequency setups do not matter if the data are of one."""

    def several(tables):
        other = tables["AIPS AN"].copy()
        other.data["STABXYZ"] += 1000.0
        other.header["EXTVER"] = 1
        tables["AIPS AN"].header["EXTVER"] = 2
        setups = tables["AIPS FQ"]
        data = np.concatenate([setups.data, setups.data])
        data["FRQSEL"], data["IF FREQ"] = [1, 2], np.reshape([5e8, 0.0], data["IF FREQ"].shape)
        header = setups.header
        tables["AIPS FQ"] = fits.BinTableHDU(data, header)
        return {"other": other, **tables}

    groups = read_subtables(small_ms).rows
    more = {"SUBARRAY": np.full(groups, 2.0), "FREQSEL": np.full(groups, 2.0)}
    path = make_uvfits(small_ms, tables=several, parameters=more)
    assert_same(path, small_ms)
    with open_inputs([path]) as (ms,):
        np.testing.assert_allclose(ms.positions, read_subtables(small_ms).positions, atol=1e-3)


def group_of(row):
    """Integration and baseline of a row of the main table."""
    return round(row["TIME"] / 4), frozenset((row["ANTENNA1"], row["ANTENNA2"]))


@pytest.mark.parametrize("part_bytes", [2000, 2**26])
def test_each_frequency_setup_has_windows_of_its_own(make_ms, make_uvfits, tmp_path, part_bytes):
    """Every group has the frequencies of its own FREQSEL, however setups follow each other and the file is cut."""
    ms = make_ms(windows=((1.38e9, 2), (1.6e9, 2)))
    offsets, widths = {1: [0.0, 2.2e8], 4: [5e8, 6e8], 9: [-3e8, 1e8], 11: [5e8, 6e8]}, {1: 2e6, 4: -1e6, 9: 4e6}

    def several(tables):
        setups = tables["AIPS FQ"]
        data = np.concatenate([setups.data] * 4)
        for row, number in zip(data, (1, 11, 4, 9), strict=True):
            row["FRQSEL"], row["IF FREQ"] = number, offsets[number]
            row["CH WIDTH"] = widths[4 if number == 11 else number]
        tables["AIPS FQ"] = fits.BinTableHDU(data, setups.header)
        return tables

    groups = read_subtables(ms).rows // 2
    selected = np.array([1, 4, 9, 11])[np.arange(groups) // 3 % 4]
    path = make_uvfits(ms, tables=several, parameters={"FREQSEL": selected.astype(float)})
    base = fits.getheader(path)["CRVAL4"]
    convert(path, tmp_path / "out.ms", settings=StorageSettings(part_bytes=part_bytes, rows=50))
    info, before = read_subtables(tmp_path / "out.ms"), read_subtables(ms)
    assert len(info.windows) == 6  # those of setups 4 and 11 are the same
    with open_table(ms) as main:
        rows = main.query("DATA_DESC_ID==0")
        keys = [group_of(row) for row in rows]
        setup = dict(zip(keys, selected, strict=True))
        uvw = dict(zip(keys, rows.getcol("UVW"), strict=True))
    with open_table(tmp_path / "out.ms") as main:
        assert main.nrows() == before.rows
        windows = {window.data_desc: window for window in info.windows}
        for row in main:
            key = group_of(row)
            number = setup[key]
            starts = base + np.array(offsets[number])
            steps = widths[4 if number == 11 else number] * np.arange(2)
            freq = windows[row["DATA_DESC_ID"]].freq
            assert min(np.abs(np.sort(start + steps) - np.sort(freq)).max() for start in starts) < 1
            np.testing.assert_allclose(np.abs(row["UVW"]), np.abs(uvw[key]), atol=0.1)


def test_parts_are_joined(circular_ms, make_uvfits, monkeypatch):
    """A file that is converted a few groups at a time gives the same."""
    parts = StorageSettings(part_bytes=20_000, rows=50)
    monkeypatch.setattr("radrim.ms.uvfits_convert.convert", partial(convert, settings=parts))
    path = make_uvfits(circular_ms)
    assert_same(path, circular_ms)
    with open_inputs([path]) as (ms,), open_table(ms.tables) as table:
        assert len(np.unique(table.getcol("SCAN_NUMBER"))) > 2


def test_illegible_header_cards(small_ms, make_uvfits):
    """Cards that are no FITS, and that nobody needs, do not stop the reading."""
    path = make_uvfits(small_ms, header={"BADCARD": "x" * 20})
    raw = path.read_bytes().replace(b"BADCARD = 'xxxxxxxxxxxxxxxxxxxx'", b"BADCARD =  04:14:37.767426 / x  ")
    path.write_bytes(raw)
    assert_same(path, small_ms)
    assert read([path]).notes == []


def test_vlba_file_of_one_hand_and_eight_ifs(shared_data):
    """An AIPS file of 1999 with illegible cards, LL alone and mirrored positions is read."""
    observation = read([shared_data / "reader" / "vlba_j0414_LLonly_8if16ch.uvfits"])
    assert (len(observation.blocks), observation.channels) == (8, 128)
    assert observation.counts["negative"] == 11184
    assert any("from LL alone" in note for note in observation.notes)


def without(*names):
    return lambda tables: {name: table for name, table in tables.items() if name not in names}


def emptied(name, column):
    def change(tables):
        tables[name].data[column] = 99
        return tables

    return change


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"tables": without("AIPS AN")}, ["no antenna table (AIPS AN)", "FITTP"]),
        ({"tables": without("AIPS FQ")}, ["2 IFs", "AIPS FQ", "FITTP"]),
        ({"tables": without("AIPS SU"), "sources": True}, ["2 sources", "AIPS SU", "FITTP"]),
        ({"tables": emptied("AIPS SU", "ID. NO."), "sources": True}, ["AIPS SU has no source 1, 2"]),
        ({"tables": emptied("AIPS SU", "DECEPO"), "sources": True}, ["Dec 99 degrees (RAEPO, DECEPO)", "no position"]),
        ({"tables": emptied("AIPS AN", "NOSTA")}, ["data of antenna 1", "AIPS AN does not know"]),
        ({"header": {"CTYPE6": "GLON-SIN", "CTYPE7": "GLAT-SIN"}}, ["GLON-SIN 1, GLAT-SIN 1", "RA, DEC"]),
        ({"header": {"CRVAL7": 100.0}}, ["RA 114.592, Dec 100 degrees", "CRVAL7", "no position"]),
        ({"header": {"CRVAL3": -9.0}}, ["Stokes parameters -9, -10"]),
        ({"header": {"GCOUNT": 200}}, ["GCOUNT is 200", "432 groups are there", "FITTP"]),
        ({"header": {"CTYPE3": "FREQ", "CTYPE4": "STOKES"}}, ["COMPLEX 3, FREQ", "read are COMPLEX 3"]),
        ({"header": {"PTYPE1": "UU-L", "PTYPE2": "VV-L", "PTYPE3": "WW-L"}}, ["baseline coordinates UU-L, VV-L, WW-L"]),
        ({"parameters": {"SUBARRAY": "halves"}}, ["no antenna table (AIPS AN) for its subarray 2", "FITTP"]),
        ({"parameters": {"FREQSEL": "halves"}}, ["data with FREQSEL 2", "frequency setups 1", "FITTP"]),
        ({"parameters": {"WEIGHT": "halves", "SCALE": "halves"}}, ["compressed", "DOUVCOMP -1"]),
    ],
)  # fmt: skip
def test_what_cannot_be_read(make_ms, make_uvfits, changes, words):
    """What a file lacks, and what to do, stands in the message."""
    ms = make_ms(windows=((1.38e9, 2), (1.6e9, 2)), fields=2)
    groups = read_subtables(ms).rows // 2
    if "parameters" in changes:
        halves = np.where(np.arange(groups) < groups // 2, 1.0, 2.0)
        changes = {"parameters": dict.fromkeys(changes["parameters"], halves)}
    path = make_uvfits(ms, **changes)
    with pytest.raises(InputError) as error:
        read([path])
    for word in [str(path), *words]:
        assert word in str(error.value)


@pytest.mark.parametrize("hdu", [0, 1, 2])
@pytest.mark.parametrize("place", ["hdrLoc", "datLoc"])
def test_truncated(small_ms, make_uvfits, hdu, place):
    """A file that ends too early is called so, wherever it ends: in a header or in data."""
    path = make_uvfits(small_ms)
    with fits.open(path) as hdus:
        end = hdus[hdu].fileinfo()[place] + 20
    path.write_bytes(path.read_bytes()[:end])
    words = "is truncated" if (hdu, place) != (0, "hdrLoc") else "cannot be read as a FITS file"
    with pytest.raises(InputError, match=rf"{words}.*Copy or fetch it again"):
        read([path])


def test_other_fits_files(tmp_path):
    """An image, FITS-IDI and visibilities in a table are told apart, each with its way out."""
    column = fits.ColDefs([fits.Column("A", "1E", array=[1.0])])
    for name, hdus, words in (
        ("image", [fits.PrimaryHDU(np.zeros((4, 4)))], "is a FITS image without visibilities"),
        ("empty", [fits.PrimaryHDU()], "is a FITS file without visibilities"),
        ("idi", [fits.PrimaryHDU(), fits.BinTableHDU.from_columns(column, name="UV_DATA")], "no table ARRAY_GEOMETRY"),
        ("table", [fits.PrimaryHDU(), fits.BinTableHDU.from_columns(column, name="AIPS UV")], "importuvfits"),
    ):
        path = tmp_path / f"{name}.fits"
        fits.HDUList(hdus).writeto(path)
        with pytest.raises(InputError, match=words):
            read([path])


def test_damaged_header(tmp_path):
    """What only begins like FITS is refused with one sentence."""
    (tmp_path / "a.uvfits").write_bytes(b"SIMPLE  =                    T" + bytes(5000))
    with pytest.raises(InputError, match=r"a\.uvfits .*Copy or fetch it again"):
        read([tmp_path / "a.uvfits"])


def test_changed_file_is_another_run(small_ms, make_uvfits, command, tmp_path, no_report, monkeypatch):
    """An unfinished run goes on without converting again; with another file of that name it does not go on."""
    path = make_uvfits(small_ms)
    words = ["image", path, "--size", 64, 64, "--scale", "4asec", "--niter", 0, "--name", tmp_path / "a"]

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("radrim.read.reader._read_window", interrupt)
        assert command(*words).status == 130
    assert (tmp_path / "a.radrim" / "converted" / "0000.ms" / "table.dat").exists()
    with monkeypatch.context() as patch:
        patch.setattr("radrim.ms.uvfits_convert.convert", interrupt)
        patch.setattr("radrim.imagers.preparation.choose_grid", interrupt)
        assert command(*words).status == 130
    assert not (tmp_path / "a.radrim" / "converted").exists()
    fits.setval(path, "OBJECT", value="another")
    done = command(*words)
    assert done.status == 2
    assert "unfinished run of something else" in done.err
    assert command(*words, "--overwrite").status == 0


def test_convert_command(small_ms, make_uvfits, command, tmp_path):
    """`radrim convert` writes a Measurement Set with the same data, and does not overwrite unless told."""
    path, out = make_uvfits(small_ms), tmp_path / "out.ms"
    assert command("convert", path, out).status == 0
    assert_same(out, small_ms)
    done = command("convert", path, out)
    assert done.status == 2
    assert "out.ms exists already" in done.err
    assert command("convert", path, out, "--overwrite").status == 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.ms"]


def test_convert_takes_files_only(small_ms, command, tmp_path):
    """What needs no conversion is not converted."""
    assert f"{small_ms} is a Measurement Set already" in command("convert", small_ms, tmp_path / "a.ms").err
    assert "nowhere does not exist" in command("convert", "nowhere", tmp_path / "a.ms").err


@pytest.mark.parametrize("take", [False, True])
def test_convert_flags_negative_weights(small_ms, make_uvfits, command, tmp_path, take):
    """For other programs negative weights are flags, unless --abs-weights takes them."""
    path = make_uvfits(small_ms, weight=lambda w: np.where(np.arange(len(w))[:, None, None, None] < 100, -w, w))
    command("convert", path, tmp_path / "a.ms", *(["--abs-weights"] if take else []))
    with open_table(tmp_path / "a.ms") as table:
        flag, weight = table.getcol("FLAG"), table.getcol("WEIGHT_SPECTRUM")
    assert (weight > 0).all()
    assert flag.any((1, 2)).sum() == (0 if take else 100)


def test_nothing_half_written(small_ms, make_uvfits, tmp_path, monkeypatch):
    """A conversion that fails on its way leaves nothing."""

    def fail(*args):
        raise RuntimeError("disk")

    monkeypatch.setattr("radrim.ms.pyuvdata_write._mend_tables", fail)
    with pytest.raises(OutputError, match="cannot be written"):
        convert(make_uvfits(small_ms), tmp_path / "a.ms")
    assert not list(tmp_path.iterdir())


def test_plan_takes_uvfits(make_uvfits, small_ms, command):
    """`radrim plan` counts the samples of a UVFITS file."""
    done = command("plan", make_uvfits(small_ms), "--size", 64, 64, "--scale", "4asec", "--niter", 0)
    assert done.status == 0, done.err
    assert "864" in done.out

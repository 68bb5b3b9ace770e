"""FITS-IDI files, written here by astropy alone as AIPS Memo 114r has them, and two real ones."""

from contextlib import suppress
from functools import partial

import numpy as np
import pytest
from astropy.io import fits

from radrim.errors import ConfigError, DataError, InputError, RadrimError
from radrim.geometry import C
from radrim.ms.fitsidi_convert import convert
from radrim.ms.formats import convert as convert_any
from radrim.ms.formats import format_of
from radrim.ms.settings import StorageSettings
from radrim.ms.tables import open_table, read_subtables
from radrim.read.reader import Selection, read

STOKES = {"RR": -1, "LL": -2, "RL": -3, "LR": -4, "XX": -5, "YY": -6, "XY": -7, "YX": -8}
SWAPPED = {"RL": "LR", "LR": "RL", "XY": "YX", "YX": "XY"}


def column(path, name):
    with open_table(path) as table:
        return np.asarray(table.getcol(name))


def write_idi(
    ms, path, *, tables=None, header=None, unit="JY", frequency_first=False, weights_apart=False, turned=(), rows=None,
    uv_tables=1, seconds=True, weight=None,
):  # fmt: skip
    """A FITS-IDI file with the data of a Measurement Set, whose windows become bands.

    `turned` are pairs whose antennas change places, `rows` selects integrations and baselines, `tables` changes the
    tables, a dictionary by name, and `header` the header of UV_DATA.
    """
    info = read_subtables(ms)
    get = partial(column, ms)
    windows = [get("DATA_DESC_ID") == k for k in range(len(info.windows))]
    first = np.flatnonzero(windows[0])
    keep = slice(None) if rows is None else rows
    uvw, time, one, two, field = (
        get(name)[first][keep] for name in ("UVW", "TIME", "ANTENNA1", "ANTENNA2", "FIELD_ID")
    )
    data = np.stack([get("DATA")[w][keep] for w in windows], 1).conj()  # row, band, chan, stokes
    weights = np.stack([get("WEIGHT")[w][keep][:, None] * ~get("FLAG")[w][keep] for w in windows], 1)
    weights = weights if weight is None else weight(weights)
    names = info.windows[0].correlations
    change = np.isin(one * 100 + two, [a * 100 + b for a, b in turned])
    data[change] = data[change][..., [names.index(SWAPPED.get(n, n)) for n in names]].conj()
    uvw = np.where(change[:, None], -uvw, uvw)
    one, two = np.where(change, two, one), np.where(change, one, two)
    order = sorted(range(len(names)), key=lambda k: -STOKES[names[k]])
    parts = [data.real, data.imag] + ([] if weights_apart else [np.broadcast_to(weights, data.shape)])
    flux = np.stack(parts, -1)[..., order, :]
    chans, bands = data.shape[2], data.shape[1]
    axes = [("COMPLEX", len(parts), 1.0, 1.0), ("STOKES", len(names), STOKES[names[order[0]]], -1.0),
            ("FREQ", chans, 0.0, 0.0), ("BAND", bands, 1.0, 1.0), ("RA", 1, 0.0, 1.0)]  # fmt: skip
    if frequency_first:
        flux, axes[1], axes[2] = flux.swapaxes(2, 3), axes[2], axes[1]
    freq = np.array([w.freq for w in info.windows])
    common = {"OBSCODE": "TEST", "REF_FREQ": freq[0, 0], "CHAN_BW": freq[0, 1] - freq[0, 0], "REF_PIXL": 1.0}

    def table(name, columns, **keys):
        made = fits.BinTableHDU.from_columns(
            [fits.Column(n, f, array=np.asarray(a), unit=u) for n, f, a, u in columns], name=name
        )
        made.header.update({**common, **keys})
        return made

    numbers = np.arange(len(info.antennas)) + 1
    blank = np.zeros((1, bands))
    days = np.floor(time.min() / 86400)
    scale = C if seconds else 1.0
    units = "SECONDS" if seconds else "METERS"
    found = {
        "ARRAY_GEOMETRY": table("ARRAY_GEOMETRY", [
            ("ANNAME", "8A", info.antennas, None), ("STABXYZ", "3D", info.positions, "METERS"),
            ("NOSTA", "1J", numbers, None), ("MNTSTA", "1J", numbers * 0, None),
            ("STAXOF", "3E", np.zeros((len(numbers), 3)), "METERS"), ("DIAMETER", "1E", info.dish_diameters, "METERS"),
        ], RDATE=str(np.datetime64("1858-11-17") + int(days)), TIMSYS="UTC", ARRAYX=0.0, ARRAYY=0.0, ARRAYZ=0.0,
            ARRNAM="VLA"),
        "SOURCE": table("SOURCE", [
            ("SOURCE_ID", "1J", np.arange(len(info.fields)) + 5, None),
            ("SOURCE", "16A", [f.name for f in info.fields], None),
            ("RAEPO", "1D", np.degrees([f.ra for f in info.fields]), "DEGREES"),
            ("DECEPO", "1D", np.degrees([f.dec for f in info.fields]), "DEGREES"),
            ("EQUINOX", "8A", ["J2000"] * len(info.fields), None),
        ]),
        "FREQUENCY": table("FREQUENCY", [
            ("FREQID", "1J", [1], None), ("BANDFREQ", f"{bands}D", freq[None, :, 0] - freq[0, 0], "HZ"),
            ("CH_WIDTH", f"{bands}E", (freq[:, 1] - freq[:, 0])[None], "HZ"),
            ("TOTAL_BANDWIDTH", f"{bands}E", blank, "HZ"),
            ("SIDEBAND", f"{bands}J", blank + 1, None),
        ]),
        "ANTENNA": table("ANTENNA", [
            ("ANTENNA_NO", "1J", numbers, None), ("POLTYA", "1A", [names[0][0]] * len(numbers), None),
            ("POLAA", "1E", numbers * 0.0 + 15, "DEGREES"), ("POLTYB", "1A", [names[-1][0]] * len(numbers), None),
            ("POLAB", "1E", numbers * 0.0 + 105, "DEGREES"),
        ]),
    }  # fmt: skip
    found = tables(found) if tables else found
    uv = []
    for piece in np.array_split(np.arange(len(time)), uv_tables):
        columns = [
            (name, "1D", uvw[piece, k] / scale, units) for k, name in enumerate(("UU--SIN", "VV--SIN", "WW--SIN"))
        ] + [
            ("DATE", "1D", np.full(len(piece), days + 2400000.5), "DAYS"),
            ("TIME", "1D", (time[piece] - days * 86400) / 86400, "DAYS"),
            ("BASELINE", "1J", (one[piece] + 1) * 256 + two[piece] + 1, None),
            ("SOURCE_ID", "1J", field[piece] + 5, None), ("FREQID", "1J", np.ones(len(piece)), None),
            ("INTTIM", "1E", np.full(len(piece), 60.0), "SECONDS"),
        ]  # fmt: skip
        if weights_apart:
            per_band = weights[piece][:, :, 0][..., order]
            columns.append(("WEIGHT", f"{per_band[0].size}E", per_band.reshape(len(piece), -1), None))
        columns.append(("FLUX", f"{flux[0].size}E", flux[piece].reshape(len(piece), -1), unit))
        keys = {"MAXIS": len(axes), "TELESCOP": info.telescope}
        for k, (name, length, start, step) in enumerate(axes, 1):
            keys |= {f"CTYPE{k}": name, f"MAXIS{k}": length, f"CRVAL{k}": start, f"CDELT{k}": step, f"CRPIX{k}": 1.0}
        uv.append(table("UV_DATA", columns, **keys))
        uv[-1].header.update(header or {})
    fits.HDUList([fits.PrimaryHDU(), *found.values(), *uv]).writeto(path, overwrite=True)
    return path


def sorted_block(block):
    order = np.lexsort((block.antenna[:, 1], block.antenna[:, 0], np.round(block.time, 1)))
    return [np.asarray(getattr(block, name))[order] for name in ("uvw", "data", "weight", "time", "antenna")]


ALL = Selection()


def assert_same(path, ms, selection=ALL):
    """Both give the same visibilities, to the file's single precision."""
    ours, theirs = read([path], selection), read([ms], selection)
    assert np.hypot((ours.ra - theirs.ra) * np.cos(ours.dec), ours.dec - theirs.dec) < 1e-12
    assert len(ours.blocks) == len(theirs.blocks)
    for a, b in zip(ours.blocks, theirs.blocks, strict=True):
        np.testing.assert_allclose(a.freq, b.freq, rtol=1e-12)
        for x, y, atol in zip(sorted_block(a), sorted_block(b), (1e-6, 1e-6, 0, 1e-4, 0), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-6, atol=atol)


@pytest.fixture(scope="module")
def circular(make_ms):
    """Two windows of three channels, four circular correlations, polarised, some flagged."""
    return make_ms(correlations=("RR", "RL", "LR", "LL"), windows=((1.38e9, 3), (1.6e9, 3)), flagged=0.1,
                   stokes=(1.0, 0.3, -0.2, 0.1))  # fmt: skip


PAIRS = ((0, 1), (2, 5), (3, 4))


@pytest.mark.parametrize("stokes", ["I", "Q", "U", "V"])
def test_same_data_as_the_measurement_set(circular, tmp_path, stokes):
    """Every Stokes parameter, with antennas in either order: signs, order of correlations, times, frequencies."""
    path = write_idi(circular, tmp_path / "a.idi", turned=PAIRS)
    assert format_of(path) == "FITS-IDI"
    assert_same(path, circular, Selection(stokes=stokes))


@pytest.mark.parametrize(
    "how", [{"frequency_first": True}, {"weights_apart": True}, {"uv_tables": 3}, {"seconds": False}]
)
def test_layouts(make_ms, tmp_path, how):
    """Axes in another order, weights in their own column, several UV_DATA tables, (u, v, w) in metres."""
    ms = make_ms(correlations=("XX", "XY", "YX", "YY"), windows=((1.38e9, 3), (1.6e9, 3)), fields=2)
    path = write_idi(ms, tmp_path / "a.idi", turned=PAIRS, **how)
    for field in ("0", "1"):
        assert_same(path, ms, Selection(field=field, stokes="U"))


def test_parts_are_joined(circular, tmp_path):
    """A few rows at a time give the same."""
    path = write_idi(circular, tmp_path / "a.idi")
    convert(path, tmp_path / "a.ms", settings=StorageSettings(part_bytes=5000))
    assert_same(tmp_path / "a.ms", circular)


def test_several_files_of_one_observation(circular, tmp_path, command):
    """Files whose tables stand in the first alone are read together, and become one Measurement Set."""
    rows = len(column(circular, "TIME")) // 2
    halves = [np.arange(rows) < rows // 2, np.arange(rows) >= rows // 2]
    whole = write_idi(circular, tmp_path / "a.IDI1", rows=halves[0])
    rest = write_idi(circular, tmp_path / "a.IDI2", rows=halves[1],
                     tables=lambda t: {k: v for k, v in t.items() if k == "ARRAY_GEOMETRY"})  # fmt: skip
    with pytest.raises(InputError, match=r"a\.IDI2 has no table SOURCE.*name all of them together"):
        read([rest])
    ours, theirs = read([whole, rest]), read([circular])
    assert ours.counts["samples"] == theirs.counts["samples"]
    assert command("convert", whole, rest, tmp_path / "out.ms").status == 0
    assert_same(tmp_path / "out.ms", circular)
    with pytest.raises(ConfigError, match="only if all are FITS-IDI files"):
        convert_any([whole, circular], tmp_path / "b.ms")


def test_files_of_different_setups(make_ms, tmp_path):
    """Each setup, with other frequencies and channels, has windows of its own; antennas and sources stand once."""
    sets = [
        make_ms(correlations=("XX", "YY"), windows=windows) for windows in (((1.38e9, 3),), ((1.6e9, 2), (1.7e9, 2)))
    ]
    files = [write_idi(ms, tmp_path / f"a.IDI{k}") for k, ms in enumerate(sets)]
    convert(files, tmp_path / "a.ms")
    found = read_subtables(tmp_path / "a.ms")
    assert [len(window.freq) for window in found.windows] == [3, 2, 2]
    assert (len(found.antennas), len(found.fields)) == (9, 1)
    together = read([tmp_path / "a.ms"])
    apart = [block for ms in sets for block in read([ms]).blocks]
    for ours, theirs in zip(together.blocks, apart, strict=True):
        np.testing.assert_allclose(sorted_block(ours)[1], sorted_block(theirs)[1], rtol=1e-6)


def with_flags(**row):
    def change(tables):
        formats = {"SOURCE_ID": "1J", "ANTS": "2J", "TIMERANG": "2E", "BANDS": "2J", "CHANS": "2J", "PFLAGS": "4J"}
        values = {"SOURCE_ID": 0, "ANTS": [0, 0], "TIMERANG": [0, 5], "BANDS": [1, 1], "CHANS": [0, 0],
                  "PFLAGS": [1, 1, 1, 1], **row}  # fmt: skip
        columns = [fits.Column(name, form, array=np.array([values[name]])) for name, form in formats.items()]
        return tables | {"FLAG": fits.BinTableHDU.from_columns(columns, name="FLAG")}

    return change


def test_flag_table(make_ms, tmp_path):
    """Antennas, times, bands, channels and Stokes parameters of the table FLAG, and a note with the count."""
    ms = make_ms(correlations=("RR", "RL", "LR", "LL"), windows=((1.38e9, 3), (1.6e9, 3)))
    one, two, time = (column(ms, name) for name in ("ANTENNA1", "ANTENNA2", "TIME"))
    first_half = (np.median(time) - np.floor(time.min() / 86400) * 86400) / 86400
    for row, expected in (
        ({"ANTS": [3, 0]}, lambda rows, t: (rows == 2).any(1)),
        ({"ANTS": [4, 2]}, lambda rows, t: (rows == (1, 3)).all(1)),
        ({"TIMERANG": [0, first_half]}, lambda rows, t: t <= np.median(time) + 0.1),
    ):
        notes = convert(write_idi(ms, tmp_path / "a.idi", tables=with_flags(**row)), tmp_path / "a.ms", overwrite=True)
        rows = np.stack([column(tmp_path / "a.ms", name) for name in ("ANTENNA1", "ANTENNA2")], 1)
        flag = column(tmp_path / "a.ms", "FLAG")
        want = expected(rows, column(tmp_path / "a.ms", "TIME"))
        np.testing.assert_array_equal(flag, np.broadcast_to(want[:, None, None], flag.shape))
        assert f"{flag.sum()} samples of a.idi were flagged by the table FLAG." in notes
    path = write_idi(ms, tmp_path / "a.idi",
                     tables=with_flags(BANDS=[0, 1], CHANS=[2, 2], PFLAGS=[0, 1, 1, 0]))  # fmt: skip
    convert(path, tmp_path / "a.ms", overwrite=True)
    flag = column(tmp_path / "a.ms", "FLAG")
    second = column(tmp_path / "a.ms", "DATA_DESC_ID") == 1
    want = np.zeros(flag.shape, bool)
    want[np.ix_(second, [1], [1, 3])] = True  # LL and RL: the second and third of the file
    np.testing.assert_array_equal(flag, want)
    assert len(one) == len(two)


def test_uncalibrated_data_are_noted(make_ms, tmp_path):
    """Tables of calibration are named and left alone; weights are those of correlation coefficients."""

    def calibration(tables):
        empty = fits.BinTableHDU.from_columns([fits.Column("TIME", "1D", array=[0.0])], name="GAIN_CURVE")
        return tables | {"GAIN_CURVE": empty}

    ms = make_ms(correlations=("RR", "LL"), autocorrelations=True)
    path = write_idi(ms, tmp_path / "a.idi", unit="UNCALIB", tables=calibration, weight=lambda w: w * 0 + 0.5)
    notes = convert(path, tmp_path / "a.ms")
    assert "not calibrated" in notes[0]
    assert "GAIN_CURVE were left alone" in notes[0]
    assert read([path]).notes[0] == notes[0]
    auto = column(tmp_path / "a.ms", "ANTENNA1") == column(tmp_path / "a.ms", "ANTENNA2")
    weight = column(tmp_path / "a.ms", "WEIGHT")
    np.testing.assert_allclose(weight[auto], 0.5 * 10e6 * 60)
    np.testing.assert_allclose(weight[~auto], 2 * 0.5 * 10e6 * 60)


def test_negative_weights(make_ms, tmp_path):
    """They flag, as in UVFITS."""
    ms = make_ms()
    path = write_idi(ms, tmp_path / "a.idi", weight=np.negative)
    with pytest.raises(DataError, match="negative weights; use --abs-weights"):
        read([path])
    assert_same(path, ms, Selection(abs_weights=True))
    convert(path, tmp_path / "a.ms", "flag")
    assert column(tmp_path / "a.ms", "FLAG").all()


def test_antennas_and_feeds(circular, tmp_path):
    """Names, positions, diameters, mounts; types and angles of the feeds."""
    convert(write_idi(circular, tmp_path / "a.idi"), tmp_path / "a.ms")
    ours, theirs = read_subtables(tmp_path / "a.ms"), read_subtables(circular)
    assert ours.antennas == theirs.antennas
    np.testing.assert_allclose(ours.positions, theirs.positions)
    np.testing.assert_allclose(ours.dish_diameters, theirs.dish_diameters)
    assert ours.windows[0].frame == "GEOCENTR"
    np.testing.assert_allclose(np.degrees(column(tmp_path / "a.ms::FEED", "RECEPTOR_ANGLE")[0]), [15, 105])
    with open_table(f"{tmp_path / 'a.ms'}::FEED") as table:
        assert list(table.getcell("POLARIZATION_TYPE", 0)) == ["R", "L"]


def changed(name, **values):
    def change(tables):
        for key, value in values.items():
            if key.isupper() and key in tables[name].columns.names:
                tables[name].data[key] = value
            else:
                tables[name].header[key] = value
        return tables

    return change


def without_card(name, key):
    def change(tables):
        del tables[name].header[key]
        return tables

    return change


@pytest.mark.parametrize(
    "how, words",
    [
        ({"tables": lambda t: {k: v for k, v in t.items() if k != "FREQUENCY"}}, ["no table FREQUENCY", "IDI1"]),
        ({"tables": changed("SOURCE", SOURCE_ID=9)}, ["data of number 5", "table SOURCE does not know"]),
        ({"tables": changed("ARRAY_GEOMETRY", NOSTA=99)}, ["data of number 1", "ARRAY_GEOMETRY does not know"]),
        ({"tables": changed("FREQUENCY", FREQID=3)}, ["data of number 1", "table FREQUENCY does not know"]),
        ({"tables": changed("SOURCE", EQUINOX="B1950")}, ["equinox B1950", "EPOSWTCH"]),
        ({"tables": changed("ARRAY_GEOMETRY", RDATE="?")}, ["RDATE", "2009-11-12"]),
        ({"tables": without_card("FREQUENCY", "REF_FREQ")}, ["a.idi cannot be read as FITS-IDI", "REF_FREQ"]),
        ({"header": {"MAXIS2": 7}}, ["values", "axes COMPLEX 3, STOKES 7"]),
        ({"header": {"CTYPE2": "SHAPE"}}, ["read are COMPLEX 2 or 3, STOKES, FREQ, BAND"]),
    ],
)
def test_what_cannot_be_read(make_ms, tmp_path, how, words):
    """What a file lacks, and what to do, stands in the message."""
    path = write_idi(make_ms(windows=((1.38e9, 2), (1.6e9, 2))), tmp_path / "a.idi", **how)
    with pytest.raises(InputError) as error:
        read([path])
    for word in words:
        assert word in str(error.value)


def test_truncated(make_ms, tmp_path):
    """A file shorter than its headers say is refused with its length."""
    path = write_idi(make_ms(), tmp_path / "a.idi")
    path.write_bytes(path.read_bytes()[:-6000])
    with pytest.raises(InputError, match=r"truncated|cannot be read as FITS-IDI"):
        read([path])


def test_damaged_files(make_ms, tmp_path):
    """Whatever has happened to a file, it is converted or refused with a message; nothing is left behind."""
    path = write_idi(make_ms(times=2), tmp_path / "a.idi")
    whole, rng = path.read_bytes(), np.random.default_rng(3)
    cards = [at for at in range(0, len(whole), 80) if whole[at + 8 : at + 9] == b"="]
    for number in range(60):
        damaged, at = bytearray(whole), int(rng.choice(cards))
        if number % 3 == 0:
            damaged[at + 10 : at + 30] = bytes(rng.choice(list(b"0123456789-. TF'"), 20).tolist())
        elif number % 3 == 1:
            damaged[at : at + 80] = b" " * 80
        else:
            for place in rng.integers(0, len(whole), 30):
                damaged[place] = rng.integers(256)
        path.write_bytes(bytes(damaged))
        with suppress(RadrimError):
            convert(path, tmp_path / "a.ms", overwrite=True)
        assert {inside.name for inside in tmp_path.iterdir()} <= {"a.idi", "a.ms"}


# As CASA 6.7's importfitsidi has them: rows, sum of |DATA|, flagged samples; and of the first row in the second band of
# a pair of antennas: TIME, UVW [m], DATA of the sixth channel, WEIGHT.
CASA = {
    "n09q2_1_1-shortened.IDI1": (
        8496,
        68462.82212322789,
        1536,
        ("ON", "NT"),
        4764708361.0,
        (-1359970.7137920717, 1807768.289704036, 285586.2150770696),
        0.0018653747 + 0.0027090528j,
        1.8600026e6,
    ),
    "emerlin_multiuv.IDI1": (
        504,
        8801.656575719486,
        24576,
        ("Kn", "Cm"),
        4800864138.00025,
        (-209506.4679379274, 52529.395395651736, 25469.929770057206),
        -0.0002695645 - 0.00028465013j,
        500000.0,
    ),
}


@pytest.mark.parametrize("name", CASA)
def test_real_files_are_as_casa_reads_them(shared_data, tmp_path, name):
    """Visibilities, (u, v, w), times, weights and flags of importfitsidi, to rounding."""
    rows, total, flagged, pair, time, uvw, data, weight = CASA[name]
    notes = convert(shared_data / "more" / name, tmp_path / "a.ms", "flag")
    assert "not calibrated" in notes[0]
    ms = read_subtables(tmp_path / "a.ms")
    assert ms.rows == rows
    get = partial(column, tmp_path / "a.ms")
    assert np.abs(get("DATA")).sum(dtype=float) == pytest.approx(total, rel=1e-6)
    assert get("FLAG").sum() == flagged
    one, two = (ms.antennas.index(antenna) for antenna in pair)
    row = np.flatnonzero((get("ANTENNA1") == one) & (get("ANTENNA2") == two) & (get("DATA_DESC_ID") == 1))[0]
    assert get("TIME")[row] == pytest.approx(time, abs=1e-4)
    np.testing.assert_allclose(get("UVW")[row], uvw, rtol=1e-12)
    np.testing.assert_allclose(get("DATA")[row, 5, 0], data, rtol=1e-6)
    assert get("WEIGHT")[row, 0] == pytest.approx(weight, rel=1e-6)


def test_real_file_agrees_with_its_antennas(shared_data, tmp_path):
    """(u, v, w) of the EVN file are those of the antennas' positions at the times of the file, the middle of the
    integrations: half an integration away they differ four times as much."""
    from radrim.earth import uvw_tracks

    convert(shared_data / "more" / "n09q2_1_1-shortened.IDI1", tmp_path / "a.ms")
    ms = read_subtables(tmp_path / "a.ms")
    one, two, time, uvw = (column(tmp_path / "a.ms", name) for name in ("ANTENNA1", "ANTENNA2", "TIME", "UVW"))
    chosen = np.flatnonzero(one != two)[:40]
    field = ms.fields[column(tmp_path / "a.ms", "FIELD_ID")[0]]
    off = []
    for late in (-1.0, 0.0, 1.0):
        expected = np.array([
            uvw_tracks(ms.positions, field.ra, field.dec, time[[k]] + late, (one[[k]], two[[k]]))[0, 0] for k in chosen
        ])  # fmt: skip
        off.append(np.median(np.linalg.norm(expected + uvw[chosen], axis=1) / np.linalg.norm(expected, axis=1)))
    assert off[1] < 2e-5
    assert min(off[0], off[2]) > 4 * off[1]


def test_commands(shared_data, command, tmp_path, no_report):
    """`radrim info` and `radrim image` on a real file; a file name says nothing about its format."""
    path = shared_data / "more" / "n09q2_1_1-shortened.IDI1"
    done = command("info", path)
    assert done.status == 0
    for words in ("EVN, 3 antennas", "3C84", "8496 rows", "not calibrated"):
        assert words in done.out
    done = command("image", path, "--field", "3C84", "--size", 64, 64, "--scale", "20uasec", "--niter", 0, "--name",
                   tmp_path / "a")  # fmt: skip
    assert done.status == 0, done.err
    assert np.isfinite(fits.getdata(tmp_path / "a-dirty.fits")).all()


def test_folders_of_batches(make_ms, tmp_path):
    """Of a folder, a batch takes FITS-IDI files by their content, and leaves other files out."""
    from radrim.batch.items import expand

    path = write_idi(make_ms(), tmp_path / "a.IDI1")
    (tmp_path / "c.txt").write_text("notes")
    assert expand([tmp_path]) == [str(path)]

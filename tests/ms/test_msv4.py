"""Measurement Sets of version 4, written here with zarr alone in xradio's schema 4.0, and a real one of 2024."""

from contextlib import suppress

import numpy as np
import pytest
import zarr
from astropy.io import fits

from radrim.errors import DataError, InputError, RadrimError
from radrim.ms.formats import convert, format_of
from radrim.ms.settings import StorageSettings
from radrim.ms.tables import open_table, read_subtables
from radrim.read.reader import Selection, read

MJD_OF_1970 = 40587 * 86400

pytestmark = pytest.mark.filterwarnings("ignore::Warning:zarr")  # texts have no codec that every version reads


def column(path, name):
    with open_table(path) as table:
        return np.asarray(table.getcol(name))


def write_part(ms, path, window, field, *, lost=None, weight=None, frame="fk5", attrs=None, kind="field_and_source"):
    """A Measurement Set of version 4 with the rows of one window and field; `lost` (time, baseline) have no data."""
    info = read_subtables(ms)
    rows = np.flatnonzero((column(ms, "DATA_DESC_ID") == window) & (column(ms, "FIELD_ID") == field))
    with open_table(ms) as table:
        part = table.selectrows(rows)
        get = {n: part.getcol(n) for n in ("TIME", "ANTENNA1", "ANTENNA2", "UVW", "DATA", "WEIGHT", "FLAG")}
    times = np.unique(get["TIME"])
    shape = len(times), len(get["TIME"]) // len(times)
    get = {name: values.reshape(*shape, *values.shape[1:]) for name, values in get.items()}
    weights = np.broadcast_to(get["WEIGHT"][:, :, None], get["DATA"].shape).copy()
    weights = weights if weight is None else weight(weights)
    for cell in lost or []:
        get["UVW"][cell], weights[cell], get["DATA"][cell], get["FLAG"][cell] = np.nan, np.nan, np.nan, True
    main = zarr.create_group(path)
    groups = {"correlated_data": "VISIBILITY", "flag": "FLAG", "weight": "WEIGHT", "uvw": "UVW",
              "field_and_source": "field_and_source_base_xds"}  # fmt: skip
    main.attrs.update({"type": "visibility", "schema_version": "4.0.0", "data_groups": {"base": groups},
                       "observation_info": {"observer": ["Jansky"]}, **(attrs or {})})  # fmt: skip
    described = info.windows[window]

    def put(group, name, values, **about):
        array = group.create_array(name, data=np.asarray(values))
        array.attrs.update(about)

    put(main, "time", times - MJD_OF_1970, units="s", scale="utc", format="unix",
        integration_time={"data": 60.0, "dims": [], "attrs": {"units": "s"}})  # fmt: skip
    put(main, "frequency", described.freq, units="Hz", observer="TOPO",
        channel_width={"data": float(described.width[0]), "dims": [], "attrs": {"units": "Hz"}})  # fmt: skip
    put(main, "polarization", np.array(described.correlations))
    names = np.array(info.antennas)
    put(main, "baseline_antenna1_name", names[get["ANTENNA1"][0]])
    put(main, "baseline_antenna2_name", names[get["ANTENNA2"][0]])
    put(main, "field_name", np.full(len(times), info.fields[field].name))
    put(main, "scan_name", np.full(len(times), str(field + 7)))
    for name, values in (("VISIBILITY", get["DATA"]), ("UVW", get["UVW"]), ("FLAG", get["FLAG"]), ("WEIGHT", weights)):
        put(main, name, values)
    antennas = main.create_group("antenna_xds")
    antennas.attrs["overall_telescope_name"] = info.telescope
    put(antennas, "antenna_name", names)
    put(antennas, "ANTENNA_POSITION", info.positions, units="m")
    put(antennas, "ANTENNA_DISH_DIAMETER", info.dish_diameters, units="m")
    put(antennas, "ANTENNA_RECEPTOR_ANGLE", np.full((len(names), 2), 0.25))
    put(antennas, "polarization_type", np.full((len(names), 2), ["X", "Y"]))
    fields = main.create_group("field_and_source_base_xds")
    fields.attrs["type"] = kind
    put(fields, "field_name", np.array([info.fields[field].name]))
    put(fields, "FIELD_PHASE_CENTER_DIRECTION", np.array([[info.fields[field].ra, info.fields[field].dec]]),
        units="rad", frame=frame)  # fmt: skip


def write_set(ms, path, **how):
    """A processing set with a part for each window and field."""
    info = read_subtables(ms)
    zarr.create_group(path).attrs["type"] = "processing_set"
    for window in range(len(info.windows)):
        for field in range(len(info.fields)):
            write_part(ms, path / f"part_{window}_{field}", window, field, **how)
    return path


def sorted_block(block):
    order = np.lexsort((block.antenna[:, 1], block.antenna[:, 0], np.round(block.time, 1)))
    return [np.asarray(getattr(block, name))[order] for name in ("uvw", "data", "weight", "time", "antenna")]


ALL = Selection()


def assert_same(path, ms, selection=ALL):
    ours, theirs = read([path], selection), read([ms], selection)
    assert (ours.ra, ours.dec, len(ours.blocks)) == (theirs.ra, theirs.dec, len(theirs.blocks))
    for a, b in zip(ours.blocks, theirs.blocks, strict=True):
        np.testing.assert_array_equal(a.freq, b.freq)
        for x, y in zip(sorted_block(a), sorted_block(b), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-15)  # Unix times are rounded elsewhere than MJD


@pytest.fixture(scope="module")
def two_by_two(make_ms):
    """Two windows of different correlations, two fields, some samples flagged."""
    return make_ms(correlations=(("XX", "XY", "YX", "YY"), ("XX", "YY")), windows=((1.38e9, 3), (1.6e9, 2)), fields=2,
                   flagged=0.1)  # fmt: skip


@pytest.mark.parametrize("field", ["0", "FIELD1"])
def test_same_data_as_the_measurement_set(two_by_two, tmp_path, field):
    """Windows, correlations, fields, flags and weights of the Measurement Set that it was made from."""
    path = write_set(two_by_two, tmp_path / "a.ps")
    assert format_of(path) == "MSv4"
    assert_same(path, two_by_two, Selection(field=field))


def test_subtables(two_by_two, tmp_path):
    """Antennas and feeds, observer, scans; parts share their antennas."""
    convert([write_set(two_by_two, tmp_path / "a.ps")], tmp_path / "a.ms")
    ours, theirs = read_subtables(tmp_path / "a.ms"), read_subtables(two_by_two)
    assert (ours.antennas, ours.telescope, ours.observer) == (theirs.antennas, theirs.telescope, "Jansky")
    np.testing.assert_array_equal(ours.positions, theirs.positions)
    np.testing.assert_array_equal(ours.dish_diameters, theirs.dish_diameters)
    np.testing.assert_allclose(column(tmp_path / "a.ms::FEED", "RECEPTOR_ANGLE"), 0.25)
    assert set(column(tmp_path / "a.ms", "SCAN_NUMBER")) == {7, 8}
    np.testing.assert_array_equal(column(tmp_path / "a.ms", "INTERVAL"), 60)


def test_one_part_alone(make_ms, tmp_path):
    """The folder of a single Measurement Set of version 4 is read, too."""
    ms = make_ms()
    write_part(ms, tmp_path / "a.zarr", 0, 0)
    assert_same(tmp_path / "a.zarr", ms)


def test_baselines_that_were_not_observed(make_ms, tmp_path):
    """They have no (u, v, w), and become no rows."""
    ms = make_ms()
    convert([write_set(ms, tmp_path / "a.ps", lost=[(0, 3), (2, 5)])], tmp_path / "a.ms")
    assert len(column(tmp_path / "a.ms", "TIME")) == len(column(ms, "TIME")) - 2
    assert np.isfinite(column(tmp_path / "a.ms", "UVW")).all()
    assert read([tmp_path / "a.ms"]).counts["samples"] == read([ms]).counts["samples"] - 2 * 4


def test_missing_chunks_are_noted(make_ms, tmp_path):
    """zarr reads a chunk that was not copied as a fixed value; a note says that it is not there."""
    path = write_set(make_ms(), tmp_path / "a.ps")
    chunks = [
        file for file in (path / "part_0_0" / "VISIBILITY").rglob("*") if file.is_file() and "json" not in file.name
    ]
    chunks[0].unlink()
    (note,) = convert([path], tmp_path / "a.ms")
    assert note.startswith(f"1 of {len(chunks)} chunks of VISIBILITY of part_0_0 are not there")


def test_damaged_stores(make_ms, tmp_path):
    """Whatever has happened to a store, it is converted or refused with a message; nothing is left behind."""
    path, rng = write_set(make_ms(times=2), tmp_path / "a.ps"), np.random.default_rng(5)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    for number, file in enumerate(rng.choice(files, 24, replace=False)):
        content = file.read_bytes()
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), 4):
            damaged[place] = rng.integers(32, 127)
        file.write_bytes((damaged, content[: len(content) // 2], b"")[number % 3])
        with suppress(RadrimError):
            convert([path], tmp_path / "a.ms", overwrite=True)
        assert {inside.name for inside in tmp_path.iterdir()} <= {"a.ps", "a.ms"}
        file.write_bytes(content)


def test_chunk_that_may_not_be_read(make_ms, tmp_path):
    """The message names the chunk; a link to itself, since root may read every file."""
    path = write_set(make_ms(times=2), tmp_path / "a.ps")
    chunk = next(file for file in sorted(path.rglob("polarization/c/*")) if file.is_file())
    chunk.unlink()
    chunk.symlink_to(chunk.name)
    with pytest.raises(InputError, match=r"cannot be read: .*polarization"):
        convert([path], tmp_path / "a.ms")


def test_parts_in_memory(two_by_two, tmp_path):
    """One integration at a time gives the same."""
    from radrim.ms import msv4_convert

    path = write_set(two_by_two, tmp_path / "a.ps")
    msv4_convert.convert(path, tmp_path / "a.ms", settings=StorageSettings(part_bytes=1))
    assert_same(tmp_path / "a.ms", two_by_two)


def test_negative_weights(make_ms, tmp_path):
    """They flag, as in UVFITS."""
    ms = make_ms()
    path = write_set(ms, tmp_path / "a.ps", weight=np.negative)
    with pytest.raises(DataError, match="negative weights; use --abs-weights"):
        read([path])
    assert_same(path, ms, Selection(abs_weights=True))


def test_frame(make_ms, tmp_path):
    """Positions may be ICRS, and stay it."""
    with_icrs = write_set(make_ms(), tmp_path / "a.ps", frame="icrs")
    convert([with_icrs], tmp_path / "a.ms")
    assert read_subtables(tmp_path / "a.ms").fields[0].frame == "ICRS"


@pytest.mark.parametrize(
    "how, words",
    [
        ({"frame": "galactic"}, ["frame galactic", "read are fk5, icrs"]),
        ({"kind": "field_and_source_ephemeris"}, ["body of the solar system", "phaseshift"]),
        ({"attrs": {"data_groups": {"base": {"spectrum": "SPECTRUM"}}}}, ["only spectra of single dishes"]),
        ({"attrs": {"data_groups": {"base": {"correlated_data": "VISIBILITY", "uvw": "OTHER"}}}}, ["OTHER"]),
    ],
)
def test_what_cannot_be_read(make_ms, tmp_path, how, words):
    """What is not of the kind, and what to do, stands in the message."""
    with pytest.raises(InputError) as error:
        read([write_set(make_ms(), tmp_path / "a.ps", **how)])
    for word in words:
        assert word in str(error.value)


def test_other_zarr_stores(tmp_path):
    """A store without visibilities is told from a Measurement Set."""
    zarr.create_group(tmp_path / "a.zarr").create_array("image", data=np.zeros(4))
    with pytest.raises(InputError, match="a zarr store with no Measurement Set of version 4 with visibilities"):
        read([tmp_path / "a.zarr"])


def test_folders_of_batches(make_ms, tmp_path):
    """Of a folder, a batch takes each processing set; the folder is none itself."""
    from radrim.batch.items import expand

    path = write_set(make_ms(), tmp_path / "a.ps")
    assert format_of(tmp_path) == ""
    assert expand([tmp_path]) == expand([path]) == [str(path)]


def test_real_set_equals_version_2(shared_data, tmp_path, command, no_report):
    """LOFAR data in the schema of 2024: every sample, and the dirty image, are those of the same data as version 2."""
    new, old = (shared_data / "reader" / name for name in ("lofar_hba_3c48_msv4.ps", "lofar_hba_3c48_8stations.MS"))
    convert([new], tmp_path / "a.ms")
    order = [
        np.lexsort((column(ms, "ANTENNA2"), column(ms, "ANTENNA1"), np.round(column(ms, "TIME"), 1)))
        for ms in (tmp_path / "a.ms", old)
    ]
    for name in (
        "TIME",
        "EXPOSURE",
        "UVW",
        "DATA",
        "CORRECTED_DATA",
        "WEIGHT_SPECTRUM",
        "FLAG",
        "ANTENNA1",
        "ANTENNA2",
    ):
        ours, theirs = (column(ms, name)[rows] for ms, rows in zip((tmp_path / "a.ms", old), order, strict=True))
        np.testing.assert_array_equal(ours, theirs)
    images = []
    for name, path in (("new", new), ("old", old)):
        done = command("image", path, "--size", 64, 64, "--scale", "4asec", "--niter", 0, "--name", tmp_path / name)
        assert done.status == 0, done.err
        images.append(fits.getdata(tmp_path / f"{name}-dirty.fits"))
    assert np.abs(images[0] - images[1]).max() <= 1e-6 * np.abs(images[1]).max()
    assert "168 rows" in command("info", new).out

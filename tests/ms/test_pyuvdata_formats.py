"""UVH5 and MIRIAD through pyuvdata, compressed files, and names for what is not read."""

import bz2
import gzip
import io
import lzma
import tarfile
import warnings
import zipfile

import numpy as np
import pytest
from astropy.io import fits

from radrim.errors import InputError
from radrim.geometry import ARCSEC, C, axes, n_minus_1
from radrim.ms.formats import convert, format_of
from radrim.ms.inputs import open_inputs
from radrim.ms.pyuvdata_convert import convert as convert_with_pyuvdata
from radrim.ms.pyuvdata_write import quiet
from radrim.ms.settings import StorageSettings
from radrim.ms.tables import open_table, read_subtables
from radrim.read.reader import read
from radrim.sky.catalogue import offset_position


def rows(path):
    """Visibilities, (u, v, w) and weights of a file by time and baseline, each turned so that v is positive."""
    (block,) = read([path]).blocks
    order = np.lexsort((*np.sort(block.antenna, 1).T, np.round(block.time)))
    turned = np.where(block.uvw[:, 1] < 0, -1, 1)[:, None]
    data = block.data.real + 1j * turned * block.data.imag
    return data[order], (turned * block.uvw)[order], block.weight[order]


@pytest.fixture(scope="module")
def uvdata(small_ms, make_uvfits):
    """Factory of pyuvdata's objects with the visibilities of `small_ms`."""
    from pyuvdata import UVData

    path = make_uvfits(small_ms)
    with fits.open(path, mode="update") as hdus:  # keywords that pyuvdata needs
        for key in ("ARRAYX", "ARRAYY", "ARRAYZ", "UT1UTC", "DATUTC", "GSTIA0"):
            hdus["AIPS AN"].header.setdefault(key, 0.0)
        hdus["AIPS AN"].header.update({"RDATE": "2026-01-01", "DEGPDY": 360.98, "TIMSYS": "UTC", "FRAME": "ITRF"})
        hdus["AIPS FQ"].header["NO_IF"] = 1

    def make():
        with quiet():
            data = UVData.from_file(str(path), file_type="uvfits", run_check=False)
        data.integration_time = np.full(data.Nblts, 900.0)
        data.vis_units, data.telescope.instrument = "Jy", "VLA"
        return data

    return make


def write(data, kind, path):
    with quiet():
        getattr(data, f"write_{kind}")(str(path), run_check=False)
    return path


@pytest.mark.parametrize("kind, name", [("uvh5", "UVH5"), ("miriad", "MIRIAD")])
def test_same_data_as_the_measurement_set(small_ms, uvdata, tmp_path, kind, name):
    """Visibilities, (u, v, w), frequencies and antennas are those of the Measurement Set they were made from."""
    path = write(uvdata(), kind, tmp_path / "obs")
    assert format_of(path) == name
    ours, theirs = rows(path), rows(small_ms)
    np.testing.assert_allclose(ours[0], theirs[0], atol=1e-5)
    np.testing.assert_allclose(ours[1], theirs[1], atol=0.01)
    a, b = read([path]), read([small_ms])
    np.testing.assert_allclose(a.blocks[0].freq, b.blocks[0].freq, rtol=1e-9)
    assert np.hypot((a.ra - b.ra) * np.cos(a.dec), a.dec - b.dec) < 1e-8
    with open_inputs([path]) as (ms,):
        np.testing.assert_allclose(ms.positions, read_subtables(small_ms).positions, atol=0.05)


def test_unphased_data_are_phased(uvdata, point_source, tmp_path):
    """A drift scan is phased to the zenith; the source is where it is in the sky, with its flux."""
    data = uvdata()
    with quiet():
        data.unproject_phase()
    observation = read([write(data, "uvh5", tmp_path / "drift.uvh5")])
    assert any("phased to the zenith in the middle" in note for note in observation.notes)
    place = offset_position(point_source.l, point_source.m, 2.0, 0.6)
    l, m, _ = axes(observation.ra, observation.dec) @ axes(*place)[2]
    (block,) = observation.blocks
    # Differential aberration, which the fixture leaves out, moves the source by some arcseconds against the zenith.
    shifts = np.arange(-30, 31, 2) * ARCSEC
    l, m = (grid.ravel() for grid in np.meshgrid(l + shifts, m + shifts))
    delay = block.uvw @ [l, m, n_minus_1(l, m)]
    fluxes = [
        (block.data[..., None] * np.exp(2j * np.pi * sign * delay[:, None] * block.freq[:, None] / C)).mean((0, 1)).real
        for sign in (1, -1)
    ]
    assert np.max(fluxes) == pytest.approx(point_source.stokes[0], abs=0.1)


def test_weights_follow_time_and_counts(uvdata, tmp_path):
    """The weight of a sample is in proportion to the integrations that it counts and their length; 0 is no data."""
    data = uvdata()
    data.nsample_array[:] = 1.0
    data.nsample_array[::2] = 3.0
    data.nsample_array[1] = 0.0
    data.integration_time[::4] *= 2
    path = write(data, "uvh5", tmp_path / "obs.uvh5")
    convert([path], tmp_path / "obs.ms")
    with open_table(tmp_path / "obs.ms") as table:
        weight, flag = table.getcol("WEIGHT_SPECTRUM"), table.getcol("FLAG")
    found, counts = np.unique(weight, return_counts=True)
    np.testing.assert_allclose(found, [0, 1, 3, 6])
    assert counts[0] == 8
    np.testing.assert_array_equal(flag, weight == 0)


def test_parts_of_uvh5_are_joined(uvdata, small_ms, tmp_path):
    """A file that is converted a few rows at a time gives the same."""
    path = write(uvdata(), "uvh5", tmp_path / "obs.uvh5")
    convert_with_pyuvdata(path, "UVH5", tmp_path / "obs.ms", settings=StorageSettings(part_bytes=5000, rows=50))
    for ours, theirs in zip(rows(tmp_path / "obs.ms")[:2], rows(small_ms)[:2], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=0.01)


def test_damaged_uvh5(uvdata, tmp_path):
    """A file cut short or without its antennas is refused in one sentence, and nothing is left."""
    path = write(uvdata(), "uvh5", tmp_path / "obs.uvh5")
    import h5py

    with h5py.File(path, "a") as file:
        del file["Header/antenna_positions"]
    with pytest.raises(InputError, match=r"obs\.uvh5"):
        convert([path], tmp_path / "a.ms")
    assert not (tmp_path / "a.ms").exists()


@pytest.mark.parametrize("module, suffix", [(gzip, "gz"), (bz2, "bz2"), (lzma, "xz")])
def test_compressed_files(small_ms, make_uvfits, tmp_path, module, suffix):
    """Compressed UVFITS is read as UVFITS is; nothing is left of the unpacked file."""
    path = tmp_path / f"obs.uvfits.{suffix}"
    path.write_bytes(module.compress(make_uvfits(small_ms).read_bytes()))
    for ours, theirs in zip(rows(path), rows(small_ms), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-3)
    assert list(tmp_path.iterdir()) == [path]


def test_damaged_compressed_file(small_ms, make_uvfits, tmp_path):
    """A compressed file that ends too early is called so."""
    path = tmp_path / "obs.uvfits.gz"
    whole = gzip.compress(make_uvfits(small_ms).read_bytes())
    for raw in (whole[: len(whole) // 2], whole[:200] + b"\xff" * 200 + whole[400:]):
        path.write_bytes(raw)
        with pytest.raises(InputError, match=r"obs\.uvfits\.gz cannot be unpacked .*Copy or fetch it again"):
            read([path])


def test_miriad_that_its_library_gives_up(uvdata, tmp_path):
    """The C library ends its process; radrim goes on, with a message."""
    path = write(uvdata(), "miriad", tmp_path / "obs")
    (path / "vartable").write_text("not what you expect\n")
    with pytest.raises(InputError, match=r"cannot be read as MIRIAD \(.*Copy it again"):
        convert_with_pyuvdata(path, "MIRIAD", tmp_path / "a.ms")
    assert [inside.name for inside in tmp_path.iterdir()] == ["obs"]


@pytest.mark.parametrize("name", ["Header/Nfeeds", "Header/uvw_array", "Header/phase_center_catalog"])
def test_uvh5_whose_parts_do_not_fit(uvdata, tmp_path, name):
    """Missing or shorter arrays are refused with a message, and nothing is left behind."""
    import h5py

    path = write(uvdata(), "uvh5", tmp_path / "obs")
    with h5py.File(path, "r+") as file:
        shorter = file[name][:-1] if name.endswith("array") else None
        del file[name]
        if shorter is not None:
            file[name] = shorter
    with pytest.raises(InputError, match="cannot be read as UVH5"):
        convert_with_pyuvdata(path, "UVH5", tmp_path / "a.ms")
    assert [inside.name for inside in tmp_path.iterdir()] == ["obs"]


def archive(kind):
    raw = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(raw, "w") as file:
            file.writestr("a", "b")
    else:
        with tarfile.open(fileobj=raw, mode="w:gz" if kind == "tar.gz" else "w") as file:
            file.addfile(tarfile.TarInfo("a"))
    return raw.getvalue()


@pytest.mark.parametrize(
    "content, words",
    [
        (archive("tar"), "a tar archive; unpack it with: tar xf "),
        (archive("tar.gz"), "a tar archive; unpack it with: tar xf "),
        (archive("zip"), "a zip archive; unpack it with: unzip "),
        (b"\x28\xb5\x2f\xfd123", "compressed with zstd; unpack it with: unzstd "),
        (b"\x89PNG\r\n\x1a\n", "a PNG picture, which holds no visibilities"),
        (b"u v w re im\n1 2 3 4 5\n", "a text file, which holds no visibilities"),
        (bytes(range(256)), "a file of an unknown format"),
        (b"", "an empty file"),
    ],
    ids=["tar", "tar.gz", "zip", "zstd", "PNG", "text", "unknown", "empty"],
)
def test_other_files_are_named(tmp_path, content, words):
    """What a file is, and what to do or what is read, stands in the message."""
    path = tmp_path / "obs.dat"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read([path])
    assert str(error.value).startswith(f"{path} is {words}")


def test_other_folders_and_hdf5_are_named(tmp_path, small_ms):
    """HDF5 that is not UVH5, raw data of ALMA, images of MIRIAD, and a folder around a Measurement Set."""
    import h5py

    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["sol000"] = 1.0
    for name, content in (("asdm", "ASDM.xml"), ("map", "image")):
        (tmp_path / name).mkdir()
        (tmp_path / name / content).touch()
        (tmp_path / name / "header").touch()
    for path, words in (
        (tmp_path / "a.h5", "an HDF5 file, but not UVH5"),
        (tmp_path / "asdm", "importasdm"),
        (tmp_path / "map", "an image of MIRIAD"),
        (small_ms.parent, f"give the Measurement Set itself: {small_ms}"),
    ):
        with pytest.raises(InputError) as error:
            read([path])
        assert words in str(error.value)


def test_public_uvh5(shared_data):
    """A drift scan of HERA: phased, and (u, v) agrees with the antennas."""
    path = shared_data / "more" / "zen.2458098.45361.HH_downselected.uvh5"
    if not path.exists():
        pytest.skip(f"{path} is missing")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        observation = read([path])
    assert observation.counts["samples"] == 17920
    assert np.degrees(observation.dec) == pytest.approx(-30.73, abs=0.01)


def test_public_miriad(shared_data, tmp_path):
    """CARMA: three sources, fifteen windows; nothing is fetched for the observatory's place."""
    packed = shared_data / "more" / "carma_miriad.tar.gz"
    if not packed.exists():
        pytest.skip(f"{packed} is missing")
    with tarfile.open(packed) as file:
        file.extractall(tmp_path, filter="data")
    with open_inputs([tmp_path / "carma_miriad"]) as (ms,):
        assert [field.name for field in ms.fields] == ["NOISE", "3C273", "1159+292"]
        assert np.degrees(ms.fields[1].ra) == pytest.approx(187.27792, abs=1e-4)

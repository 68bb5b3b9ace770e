"""`--cube`: all output channels in one file of each kind."""

import logging

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

import radrim
from radrim.errors import ConfigError
from radrim.products import KINDS
from radrim.result import Channels
from radrim.write.cube import write_cube
from radrim.write.fits import open_image, read_image

OPTIONS = {
    "size": 64, "scale": "6asec", "channels_out": 4, "max_major": 2, "threads": 1, "pb": "gauss", "uncertainty": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def both(make_ms, tmp_path_factory, without_reports):
    """The same four channels as files of their own, and as cubes."""
    folder, ms = tmp_path_factory.mktemp("cube"), make_ms(noise=0.02, seed=5)
    with without_reports() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "1700000000")
        return [radrim.image(ms, name=folder / name, cube=name == "cube", **OPTIONS) for name in ("files", "cube")]


def test_files(both):
    """One for each kind, and those of all channels together; none of single channels."""
    folder = both[1].paths["image"].parent
    endings = [kind.replace("_", "-") for kind in KINDS]
    names = {f"cube-{ending}.fits" for ending in endings} | {f"cube-MFS-{ending}.fits" for ending in endings}
    assert {path.name for path in folder.glob("cube*.fits")} == names
    assert set(both[1].channels.paths) == {folder / f"cube-{ending}.fits" for ending in endings}


@pytest.mark.parametrize("kind", KINDS)
def test_planes_are_the_channels(both, kind):
    """Axes (STOKES, FREQ, DEC, RA); the planes are what the channels' own files hold, and what the result gives."""
    files, cube = both
    with fits.open(cube.channels.headers[0].paths[kind]) as hdus:
        assert hdus[0].data.shape == (1, 4, 64, 64)
        for number, own in enumerate(files.channels):
            np.testing.assert_array_equal(hdus[0].data[0, number], read_image(own.paths[kind]))
            np.testing.assert_array_equal(getattr(cube.channels[number], kind), getattr(own, kind))


@pytest.mark.parametrize("kind", KINDS)
def test_headers(both, kind):
    """Valid FITS; each plane's frequency follows from the WCS; what belongs to one channel is not in the header."""
    files, cube = both
    path = cube.channels.headers[0].paths[kind]
    with fits.open(path) as hdus:
        hdus.verify("exception")
        header = hdus[0].header
        assert path.stat().st_size % 2880 == 0
    found = WCS(header).pixel_to_world_values(32, 32, np.arange(4), 0)[2]
    np.testing.assert_allclose(found, [image.freq for image in files.channels.headers], rtol=1e-9)
    own = fits.getheader(files.channels.headers[0].paths[kind])
    assert header["BUNIT"] == own["BUNIT"]
    assert header["OBJECT"] == own["OBJECT"]
    assert not {"BMAJ", "BMIN", "BPA", "RRNOISE", "RRVWSUM"} & set(header)


@pytest.mark.parametrize("kind", KINDS)
def test_beams(both, kind):
    """The table BEAMS as CASA writes it, one row for each channel; images in Jy/pixel, and pb, have none."""
    files, cube = both
    with fits.open(cube.channels.headers[0].paths[kind]) as hdus:
        if kind.startswith("model") or kind == "pb":
            assert len(hdus) == 1
            assert "CASAMBM" not in hdus[0].header
            return
        assert hdus[0].header["CASAMBM"] is True
        table = hdus["BEAMS"]
        assert (table.header["NCHAN"], table.header["NPOL"]) == (4, 1)
        assert [table.columns[name].unit for name in ("BMAJ", "BMIN", "BPA")] == ["arcsec", "arcsec", "deg"]
        assert [table.columns[name].format for name in ("BMAJ", "BMIN", "BPA", "CHAN")] == ["1E", "1E", "1E", "1J"]
        for row, image in zip(table.data, files.channels.headers, strict=True):
            own = fits.getheader(image.paths["image"])
            np.testing.assert_allclose(
                [row["BMAJ"] / 3600, row["BMIN"] / 3600, row["BPA"]], [own["BMAJ"], own["BMIN"], own["BPA"]], rtol=1e-6
            )
            assert row["FREQ"] == image.freq
        assert list(table.data["CHAN"]) == [0, 1, 2, 3]
    assert len({image.beam.major for image in files.channels.headers}) == 4  # they do differ


def test_average(both):
    """All channels together are the same either way."""
    for kind in KINDS:
        np.testing.assert_array_equal(getattr(both[1], kind), getattr(both[0], kind))


def test_uneven_frequencies_are_named(both, tmp_path, caplog):
    """The FREQ axis counts evenly: channels off it are warned of, and the table has the truth."""
    files, _ = both
    with caplog.at_level(logging.WARNING, "radrim"):
        write_cube(tmp_path / "even.fits", "dirty", files.channels)
    assert not caplog.records
    some = Channels(open_image)
    for number in (0, 1, 3):
        some.append(files.channels[number])
    with caplog.at_level(logging.WARNING, "radrim"):
        write_cube(tmp_path / "uneven.fits", "dirty", some)
    assert "up to 5 MHz off the even FREQ axis" in caplog.text
    rows = fits.getdata(tmp_path / "uneven.fits", "BEAMS")
    assert list(rows["FREQ"]) == [image.freq for image in some.headers]


def test_one_channel_is_no_cube(make_ms):
    with pytest.raises(ConfigError, match=r"--cube needs several output channels.*--channels-out"):
        radrim.image(make_ms(), cube=True)

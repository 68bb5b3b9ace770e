import errno
import logging
import math
import os
import shutil
import subprocess
import tomllib
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import EarthLocation, SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import example, given, settings
from hypothesis import strategies as st

from radrim.beam import Beam
from radrim.errors import InputError, OutputError
from radrim.geometry import ARCSEC, ImageGrid
from radrim.read.mask import read_mask
from radrim.runtime import files
from radrim.runtime.files import check_writable
from radrim.visibilities import Observation
from radrim.write.fits import image_header, write_fits
from radrim.write.run_toml import write_run_toml

OBS = Path(__file__).parents[3] / "shared" / "data" / "obs"
GRID = ImageGrid(64, 48, 2 * ARCSEC, ra=4.92, dec=-0.0162)


@pytest.fixture
def observation():
    return Observation([], GRID.ra, GRID.dec, telescope="EVLA", object="3C391", observer="A. N. Other",
                       date_obs="2010-04-24T08:24:53.5")  # fmt: skip


@pytest.fixture
def header(observation):
    return image_header(GRID, 4.6e9, 2e6, observation, "I", "Jy/beam", Beam(8 * ARCSEC, 6 * ARCSEC, 0.5))


def test_header_reads_in_astropy(header, observation, tmp_path):
    """Units parse, and the position of the telescope is taken without a warning."""
    vla = EarthLocation.from_geodetic(-107.618, 34.079, 2111)
    observation.position = [vla.x.value, vla.y.value, vla.z.value]
    for unit, parsed in (("Jy/beam", u.Jy / u.beam), ("Jy/pixel", u.Jy / u.pix)):
        path = tmp_path / f"{unit[3:]}.fits"
        write_fits(path, np.ones(GRID.shape), image_header(GRID, 4.6e9, 2e6, observation, "I", unit))
        assert u.Unit(fits.getheader(path)["BUNIT"], format="fits") == parsed
        with warnings.catch_warnings(action="error"):
            wcs = WCS(fits.getheader(path))
        assert wcs.wcs.obsgeo[:3] == pytest.approx(observation.position)


@settings(max_examples=60, deadline=None)
@given(
    ra=st.floats(0, 2 * math.pi),
    dec=st.floats(-math.pi / 2, math.pi / 2),
    y=st.floats(-40, 90),
    x=st.floats(-40, 100),
    scale_deg=st.floats(1e-4, 0.2),
)
@example(ra=1.0, dec=math.pi / 2, y=40, x=50, scale_deg=0.01)  # the pole itself, where WCS has another default
def test_pixel_lies_where_the_sky_is(ra, dec, y, x, scale_deg):
    """The WCS puts a pixel's (l, m) at the RA/Dec that distance and bearing from the phase centre give."""
    grid = ImageGrid(64, 48, math.radians(scale_deg), ra=ra, dec=dec)
    wcs = WCS(image_header(grid, 1e9, 1e6, Observation([], ra, dec), "I", "Jy/beam")).celestial
    ell, m = -(x - 32) * grid.scale, (y - 24) * grid.scale
    centre = SkyCoord(ra, dec, unit="rad")
    # Definition of l and m: sine of the distance, split by the bearing from north through east.
    expected = centre.directional_offset_by(math.atan2(ell, m) * u.rad, math.asin(math.hypot(ell, m)) * u.rad)
    found = SkyCoord(*wcs.all_pix2world([[x, y]], 0)[0], unit="deg")
    assert found.separation(expected).rad < 1e-3 * grid.scale + 1e-12


@pytest.mark.skipif(shutil.which("wsclean") is None, reason="wsclean is not installed")
def test_header_equals_wsclean(tmp_path):
    """Same Measurement Set, size and scale: the axes of both programs' images are the same."""
    if not (OBS / "vla_3c391_4.6GHz.ms").exists():
        pytest.skip(f"vla_3c391_4.6GHz.ms is not in {OBS}")
    shutil.copytree(OBS / "vla_3c391_4.6GHz.ms", tmp_path / "obs.ms", copy_function=shutil.copyfile)
    command = "wsclean -quiet -j 2 -niter 0 -make-psf-only -name out -size 250 256 -scale 4asec obs.ms"
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    theirs = fits.getheader(tmp_path / "out-psf.fits")
    grid = ImageGrid(250, 256, 4 * ARCSEC, ra=math.radians(theirs["CRVAL1"]), dec=math.radians(theirs["CRVAL2"]))
    ours = image_header(grid, 4.6e9, 2e6, Observation([], grid.ra, grid.dec), "I", "Jy/beam")
    for key in [k for k in theirs if k.startswith(("CTYPE", "CRPIX", "CDELT", "CUNIT", "EQUINOX", "SPECSYS", "BTYPE"))]:
        assert ours[key] == (pytest.approx(theirs[key], rel=1e-12) if not isinstance(theirs[key], str) else theirs[key])
    for axis in (1, 2, 3, 4):
        assert (ours[f"CRVAL{axis}"] - theirs[f"CRVAL{axis}"]) % 360 == pytest.approx(0, abs=1e-9)


def test_file_reads_back(tmp_path, header):
    """astropy finds the same pixels in the order (stokes, freq, y, x), float32, and the header's beam and unit."""
    image = np.arange(48 * 64, dtype=np.float32).reshape(48, 64)
    write_fits(tmp_path / "a.fits", image, header)
    with fits.open(tmp_path / "a.fits") as hdus:
        hdus.verify("exception")
        assert hdus[0].data.dtype == ">f4"
        assert np.array_equal(hdus[0].data, image[None, None])
        assert hdus[0].header["BMAJ"] == pytest.approx(8 / 3600)
        assert hdus[0].header["BPA"] == pytest.approx(math.degrees(0.5))
        assert hdus[0].header["BUNIT"] == "Jy/beam"
    assert (tmp_path / "a.fits").stat().st_size % 2880 == 0


def test_callers_array_is_not_touched(tmp_path, header):
    """Writing big-endian bytes does not swap those of the image in memory, nor ask for a contiguous one."""
    image = np.arange(64 * 48, dtype=np.float32).reshape(64, 48).T
    image.flags.writeable = False
    write_fits(tmp_path / "a.fits", image, header)
    assert np.array_equal(fits.getdata(tmp_path / "a.fits")[0, 0], image)


def test_file_is_readable_by_the_group(tmp_path, header):
    """The umask decides who may read the image, as for every other file; temporary files are often private."""
    old = os.umask(0o022)
    try:
        write_fits(tmp_path / "a.fits", np.zeros(GRID.shape), header)
    finally:
        os.umask(old)
    assert (tmp_path / "a.fits").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("stokes, code", [("I", 1), ("V", 4), ("RR", -1), ("LR", -4), ("XX", -5), ("YX", -8)])
def test_stokes_axis_has_the_standards_code(observation, stokes, code):
    """Table 7 of WCS paper I."""
    assert image_header(GRID, 1e9, 1e6, observation, stokes, "Jy/beam")["CRVAL4"] == code


def test_settings_and_history_are_kept(observation):
    """Settings get radrim's keywords; NaN, which FITS cannot hold, is left out; every history line is there."""
    header = image_header(GRID, 1e9, 1e6, observation, "I", "Jy/beam",
                          settings={"weighting": "briggs 0", "visibilities": 68699, "noise": math.nan, "taper": None},
                          history=["radrim image " + "obs.ms " * 30, "line 2"])  # fmt: skip
    assert (header["RRWEIGHT"], header["RRNVIS"]) == ("briggs 0", 68699)
    assert "RRNOISE" not in header
    assert "RRTAPER" not in header
    assert " ".join(header["HISTORY"]).endswith("radrim image " + "obs.ms " * 30 + "line 2")


def test_text_that_fits_forbids_is_replaced(observation, tmp_path):
    """Accents, line breaks and overlong names from the Measurement Set or the command line make no invalid file."""
    observation.object, observation.observer = "étoile\n1", "x" * 100
    header = image_header(GRID, 1e9, 1e6, observation, "I", "Jy/beam", history=["radrim image données.ms\n--size 64"])
    write_fits(tmp_path / "a.fits", np.zeros(GRID.shape), header)
    with fits.open(tmp_path / "a.fits") as hdus:
        hdus.verify("exception")
        assert hdus[0].header["OBJECT"] == "?toile?1"
        assert hdus[0].header["OBSERVER"] == "x" * 68


def test_date_has_its_mjd(observation):
    """MJD-OBS belongs to DATE-OBS (the MJD of J2000.0 is 51544.5); an unknown date gives neither."""
    observation.date_obs = "2000-01-01T12:00:00.0"
    assert image_header(GRID, 1e9, 1e6, observation, "I", "Jy/beam")["MJD-OBS"] == 51544.5
    observation.date_obs = ""
    assert "DATE-OBS" not in image_header(GRID, 1e9, 1e6, observation, "I", "Jy/beam")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_failed_write_leaves_nothing(tmp_path, header, monkeypatch, code):
    """When the disk is full, the old file stays, no new or temporary one is there, and the message names the folder."""
    (tmp_path / "a.fits").write_text("old")

    def full(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OutputError, match=f"{tmp_path}.*--name"):
        write_fits(tmp_path / "a.fits", np.zeros(GRID.shape), header)
    assert [p.name for p in tmp_path.iterdir()] == ["a.fits"]
    assert (tmp_path / "a.fits").read_text() == "old"


def test_missing_folder_says_how_to_make_it(tmp_path, header):
    """The message gives the command that mends it."""
    with pytest.raises(OutputError, match=f"mkdir -p {tmp_path}/none"):
        write_fits(tmp_path / "none" / "a.fits", np.zeros(GRID.shape), header)


@pytest.mark.parametrize(
    "prefix, message",
    [
        ("none/out", "mkdir -p"),
        ("file/out", "is a file, not a folder"),
        ("folder/", "is a folder: .*folder/image"),
        ("x" * 300, "too long"),
    ],
)
def test_unusable_prefix_is_refused_early(tmp_path, monkeypatch, prefix, message):
    """Before any work, check_writable says what is wrong with --name and what to do."""
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("folder").mkdir()
    with pytest.raises(OutputError, match=message):
        check_writable(prefix)


def test_read_only_folder_is_refused_early():
    """A folder where even the administrator cannot make files: the message gives the system's reason."""
    if not Path("/proc/self").is_dir():
        pytest.skip("no /proc to serve as a read-only folder")
    with pytest.raises(OutputError, match=r"/proc.*--name FOLDER/prefix"):
        check_writable("/proc/out")


def test_full_disk_is_refused_early(tmp_path):
    """Less free space than needed: the message gives both, and nothing is left behind."""
    with pytest.raises(OutputError, match=r"need 1e[+]09 GB, but .* GB free"):
        check_writable(tmp_path / "out", needed_bytes=10**18)
    check_writable(tmp_path / "out", needed_bytes=10**4)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("axes", [(), (1,), (1, 1, 1)])
def test_mask_may_have_degenerate_axes(tmp_path, axes):
    """Non-zero is clean here, zero and NaN are not, whatever number of axes of length 1 there is."""
    mask = np.zeros(GRID.shape)
    mask[3, 4], mask[5, 6], mask[7, 8] = 1, -2.5, np.nan
    fits.writeto(tmp_path / "m.fits", mask.reshape(*axes, *GRID.shape))
    assert np.argwhere(read_mask(tmp_path / "m.fits", GRID)).tolist() == [[3, 4], [5, 6]]


@pytest.mark.parametrize(
    "data, message",
    [
        (np.ones((48, 48)), "the mask is 48 x 48, the image 64 x 48: .*--size 48 48"),
        (np.ones((2, 48, 64)), "axes 64 x 48 x 2"),
        (np.zeros((48, 64)), "0 everywhere"),
        (None, "no image"),
    ],
    ids=["shape", "cube", "empty", "no_image"],
)
def test_unusable_mask_is_refused(tmp_path, data, message):
    """The message gives both sizes, or what else is wrong."""
    fits.PrimaryHDU(data).writeto(tmp_path / "m.fits")
    with pytest.raises(InputError, match=message):
        read_mask(tmp_path / "m.fits", GRID)


def test_unreadable_mask_is_refused(tmp_path):
    """A missing file and one that is not FITS have different messages."""
    with pytest.raises(InputError, match="No such file"):
        read_mask(tmp_path / "m.fits", GRID)
    (tmp_path / "m.fits").write_text("no FITS at all")
    with pytest.raises(InputError, match="not a FITS file"):
        read_mask(tmp_path / "m.fits", GRID)


def test_mask_of_another_phase_centre_is_moved(tmp_path, header, caplog):
    """A mask two pixels off on the sky is moved, and the log says so; the image's own mask is taken silently."""
    mask = np.zeros(GRID.shape)
    mask[10, 20] = 1
    write_fits(tmp_path / "m.fits", mask, header)
    with caplog.at_level(logging.INFO, "radrim"):
        assert np.argwhere(read_mask(tmp_path / "m.fits", GRID)).tolist() == [[10, 20]]
        assert not caplog.records
        moved = ImageGrid(64, 48, GRID.scale, GRID.ra, GRID.dec + 2 * GRID.scale)
        assert np.argwhere(read_mask(tmp_path / "m.fits", moved)).tolist() == [[8, 20]]
    assert "transformed" in caplog.text


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALAR = TEXT | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)
TABLE = st.dictionaries(TEXT, SCALAR | st.lists(SCALAR))


@settings(max_examples=40, deadline=None)
@given(mapping=st.dictionaries(TEXT, SCALAR | st.lists(SCALAR) | TABLE | st.dictionaries(TEXT, TABLE)))
def test_toml_reads_back(tmp_path_factory, mapping):
    """Any text, number, list and table comes back from the standard library's reader."""
    path = tmp_path_factory.getbasetemp() / "run.toml"
    write_run_toml(path, mapping)
    assert tomllib.loads(path.read_text(encoding="utf-8")) == mapping


def test_toml_refuses_what_it_cannot_hold(tmp_path):
    """None has no spelling in TOML; nothing is written."""
    with pytest.raises(TypeError, match="None"):
        write_run_toml(tmp_path / "run.toml", {"a": None})
    assert not list(tmp_path.iterdir())

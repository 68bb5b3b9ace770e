"""Broken FITS files as model, mask, sky and start model: one message, and a free work directory."""

import gzip

import numpy as np
import pytest
from astropy.io import fits

import radrim.imagers.preparation
from radrim.errors import InputError, RadrimError
from radrim.geometry import ARCSEC, ImageGrid
from radrim.read.mask import read_mask
from radrim.selfcalibration.models import parse_start_model
from radrim.sky.catalogue import read_sky
from radrim.sky.images import read_planes
from radrim.visibilities import Observation
from radrim.write.fits import image_header, write_fits
from radrim.write.fits_input import read_fits

GRID = ImageGrid(64, 48, 5 * ARCSEC, 2.0, 0.6)


@pytest.fixture
def model(tmp_path):
    """A good model image."""
    image = np.zeros(GRID.shape, np.float32)
    image[20, 30] = 1
    path = tmp_path / "good-model.fits"
    write_fits(path, image, image_header(GRID, 1.4e9, 1e7, Observation([], GRID.ra, GRID.dec), "I", "Jy/pixel"))
    return path


@pytest.fixture
def broken(model, tmp_path):
    """Factory of copies with one card replaced, byte by byte."""

    def make(key, value):
        data = model.read_bytes()
        start = data.index(key.ljust(8).encode() + b"=")
        path = tmp_path / "bad-model.fits"
        path.write_bytes(data[:start] + f"{key:8}= {value}".ljust(80).encode() + data[start + 80 :])
        return path

    return make


def test_folder_as_model(command, small_ms, tmp_path):
    """A folder is no model image, and there must be one."""
    done = command("predict", small_ms, "--model-image", tmp_path)
    assert (done.status, done.err) == (2, f"radrim: --model-image {tmp_path} is a folder, not a FITS file.\n")


def readers(path):
    """What reads images of other programs."""
    return {
        "model": lambda: [plane.image() for plane in read_planes([path])],
        "mask": lambda: read_mask(path, GRID),
        "sky": lambda: read_sky(str(path), GRID.ra, GRID.dec, 1.4e9, 1.0),
        "start": lambda: parse_start_model(str(path)).at(GRID.ra, GRID.dec),
    }


BREAKS = {
    "CDELT2": ("'0.0027  '", "0,00277777", "T", "", "1e999", "0"),
    "CDELT1": ("''", "-1 2"),
    "CRPIX1": ("'65.     '", "1e30"),
    "CRVAL1": ("'12:00:00'", "(1.0, 2.0)"),
    "CRVAL3": ("1.4 GHz", "'x'"),
    "CDELT3": ("", "'1 MHz'"),
    "EQUINOX": ("'J2000   '", "'never'", "F"),
    "RADESYS": ("2000", "'FK9'"),
    "BUNIT": ("'Jy/pixel", "5", ""),
    "CTYPE1": ("1", "'RA", "'RA---XYZ'"),
    "CTYPE3": ("7", "'FREQ"),
    "CUNIT1": ("'parsec'", "1"),
    "LONPOLE": ("'x'",),
    "NAXIS1": ("65", "-3", "'x'", "0"),
    "NAXIS": ("0", "9", "'2'"),
    "BITPIX": ("-33", "'x'", "-64"),
}


@pytest.mark.parametrize("key, value", [(key, value) for key, values in BREAKS.items() for value in values])
def test_no_reader_ends_in_a_traceback(broken, key, value):
    """Each reader either reads the file, or raises an error that names it."""
    path = broken(key, value)
    for read in readers(path).values():
        said = None
        try:
            read()
        except RadrimError as error:
            said = str(error)
        assert said is None or path.name in said


@pytest.mark.parametrize("kind", ["model", "mask", "sky", "start"])
@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.7])
def test_truncated_files_are_refused(model, tmp_path, kind, part):
    """A file that ends too early, wherever, cannot be read; in part 0 it is empty."""
    path = tmp_path / "cut.fits"
    data = model.read_bytes()
    path.write_bytes(data[: int(part * len(data))])
    with pytest.raises(InputError, match=r"cut\.fits cannot be read: .*damaged"):
        readers(path)[kind]()


def test_message_names_the_card(broken):
    """The message has the file, the card and its value."""
    with pytest.raises(InputError, match=r"bad-model\.fits has CDELT2 = '0\.0027', which is not a number"):
        read_planes([broken("CDELT2", "'0.0027  '")])


def test_tables_are_no_images(tmp_path):
    """A FITS file without an image has a message of its own."""
    fits.BinTableHDU.from_columns([fits.Column("A", "E", array=np.ones(3))]).writeto(tmp_path / "t.fits")
    with pytest.raises(InputError, match="holds no image"):
        read_fits(tmp_path / "t.fits", "The model t.fits")


@pytest.mark.parametrize("cards", [{"EPOCH": 1950.0}, {"RADESYS": "FK4"}, {"EPOCH": 2024.5}])
def test_models_of_other_equinoxes_are_refused(model, cards):
    """EPOCH, which AIPS writes, counts where there is no EQUINOX; such a model would lie elsewhere."""
    with fits.open(model, mode="update") as hdus:
        for key in ("EQUINOX", "RADESYS"):
            hdus[0].header.remove(key, ignore_missing=True)
        hdus[0].header.update(cards)
    with pytest.raises(InputError, match="only J2000 and ICRS are understood"):
        read_planes([model])
    with pytest.raises(InputError, match="only J2000 and ICRS are understood"):
        parse_start_model(str(model)).at(GRID.ra, GRID.dec)


def test_units_of_axes_count(model):
    """CUNIT in GHz and arcsec gives the same plane as Hz and degrees."""
    (before,) = read_planes([model])
    with fits.open(model, mode="update") as hdus:
        header = hdus[0].header
        header["CUNIT3"], header["CRVAL3"] = "GHz", header["CRVAL3"] / 1e9
        for axis in (1, 2):
            header[f"CUNIT{axis}"] = "arcsec"
            header[f"CRVAL{axis}"] *= 3600
            header[f"CDELT{axis}"] *= 3600
    (after,) = read_planes([model])
    assert after.freq == pytest.approx(before.freq)
    assert (after.grid.scale, after.grid.ra, after.grid.dec) == pytest.approx(
        (before.grid.scale, before.grid.ra, before.grid.dec)
    )


def test_any_error_frees_the_work_directory(small_ms, tmp_path, monkeypatch):
    """An error that nobody thought of leaves no work directory that would block another command."""

    def fail(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(radrim.imagers.preparation, "choose_grid", fail)
    with pytest.raises(ZeroDivisionError):
        radrim.image(small_ms, name=tmp_path / "x", niter=0)
    assert not (tmp_path / "x.radrim").exists()


def test_gzipped_models_are_read(model, tmp_path):
    """A compressed file is as good as a plain one."""
    path = tmp_path / "good-model.fits.gz"
    path.write_bytes(gzip.compress(model.read_bytes()))
    for read in readers(path).values():
        read()
    path.write_bytes(gzip.compress(model.read_bytes())[:-300])
    for read in readers(path).values():
        with pytest.raises(InputError, match="damaged"):
            read()

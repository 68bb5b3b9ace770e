"""Masks of other programs: other frames, projections, sizes and orders of axes."""

import numpy as np
import pytest
from astropy.coordinates import FK5, SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import wcs_to_celestial_frame

from radrim.errors import InputError
from radrim.geometry import ARCSEC, ImageGrid
from radrim.read.mask import read_mask

GRID = ImageGrid(80, 64, 10 * ARCSEC, np.radians(83.6), np.radians(22.0))
PLACE = SkyCoord(83.63, 22.02, unit="deg", frame=FK5(equinox="J2000"))
"""A direction in the upper left quarter of the image."""


def image_of(path, kinds, centre, cards=None, shape=(90, 90), scale=10.0):
    """Write a mask with one pixel, at `PLACE`; `centre` is in the frame of the mask [deg]."""
    header = fits.Header()
    for axis, kind in enumerate(kinds, 1):
        header[f"CTYPE{axis}"] = kind
        lon = kind[:2] in ("RA", "GL") and not kind.startswith("GLAT")
        header[f"CRPIX{axis}"] = 46.0
        header[f"CRVAL{axis}"] = centre[0 if lon else 1]
        header[f"CDELT{axis}"] = (-1 if lon else 1) * scale / 3600
    header.update(cards or {})
    plain = header.copy()
    if "EPOCH" in plain and "EQUINOX" not in plain:
        plain["EQUINOX"] = plain["EPOCH"]
    wcs = WCS(plain)
    there = PLACE.transform_to(wcs_to_celestial_frame(wcs))
    world = [0.0, 0.0]
    world[wcs.wcs.lng], world[wcs.wcs.lat] = there.spherical.lon.deg, there.spherical.lat.deg
    x, y = wcs.wcs_world2pix([world], 0)[0]
    mask = np.zeros(shape, np.int16)
    mask[round(y), round(x)] = 1
    fits.writeto(path, mask, header)


CENTRE_1950 = (82.85, 21.97)
GALACTIC = (184.45, -5.9)


@pytest.mark.parametrize(
    "kinds, centre, cards",
    [
        (("RA---SIN", "DEC--SIN"), CENTRE_1950, {"EPOCH": 1950.0}),
        (("RA---SIN", "DEC--SIN"), CENTRE_1950, {"EQUINOX": 1950.0, "RADESYS": "FK4"}),
        (("RA---TAN", "DEC--TAN"), (83.6, 22.0), {"EPOCH": 2000.0}),
        (("GLON-CAR", "GLAT-CAR"), GALACTIC, {}),
        (("GLAT-TAN", "GLON-TAN"), GALACTIC, {}),
        (("DEC--SIN", "RA---SIN"), (83.6, 22.0), {"EQUINOX": 2000.0}),
        (("RA---SIN", "DEC--SIN"), (83.6, 22.0), {"EQUINOX": 2000.0, "CROTA2": 30.0}),
        (("RA---SIN", "DEC--SIN"), (83.6, 22.0), {"CDELT1": 10 / 3600}),
    ],
    ids=["aips_epoch", "b1950", "tan", "galactic", "galactic_swapped", "declination_first", "rotated", "mirrored"],
)
def test_masks_are_transformed(tmp_path, kinds, centre, cards):
    """Whatever the frame, the marked pixel of the image is the one in which the marked direction lies."""
    image_of(tmp_path / "m.fits", kinds, centre, cards)
    found = np.argwhere(read_mask(tmp_path / "m.fits", GRID))
    l = np.cos(PLACE.dec.rad) * np.sin(PLACE.ra.rad - GRID.ra)
    m = np.sin(PLACE.dec.rad) * np.cos(GRID.dec) - np.cos(PLACE.dec.rad) * np.sin(GRID.dec) * np.cos(
        PLACE.ra.rad - GRID.ra
    )
    # Half a pixel is lost twice, in the mask and in the image; turned pixels cover one or two.
    assert 1 <= len(found) <= 3
    assert np.abs(found - np.array(GRID.pixel(l, m))).max() <= 1.3


@pytest.mark.parametrize("shape", [(1, 1, 64, 80), (1, 64, 80), (64, 1, 80)])
def test_axes_of_length_one_may_stand_anywhere(tmp_path, shape):
    """The axes of the sky are found by CTYPE, also around a frequency axis of length 1."""
    header = fits.Header()
    lengths = shape[::-1]
    sky = [axis for axis, length in enumerate(lengths, 1) if length > 1]
    for axis in range(1, len(shape) + 1):
        header[f"CTYPE{axis}"] = {sky[0]: "RA---SIN", sky[1]: "DEC--SIN"}.get(axis, "FREQ" if axis < 4 else "STOKES")
        header[f"CRVAL{axis}"] = {sky[0]: 83.6, sky[1]: 22.0}.get(axis, 1.4e9)
        header[f"CDELT{axis}"] = {sky[0]: -10 / 3600, sky[1]: 10 / 3600}.get(axis, 1e6)
        header[f"CRPIX{axis}"] = {sky[0]: 41, sky[1]: 33}.get(axis, 1)
    mask = np.zeros(shape, np.float32)
    mask.reshape(64, 80)[7, 9] = 1
    fits.writeto(tmp_path / "m.fits", mask, header)
    assert np.argwhere(read_mask(tmp_path / "m.fits", GRID)).tolist() == [[7, 9]]


def test_mask_of_another_source_is_refused(tmp_path):
    """A mask that has nothing within the image would leave nothing to clean."""
    image_of(tmp_path / "m.fits", ("RA---SIN", "DEC--SIN"), (83.6, 22.0))
    with pytest.raises(InputError, match="lie elsewhere on the sky"):
        read_mask(tmp_path / "m.fits", ImageGrid(80, 64, 10 * ARCSEC, 1.0, -0.5))


def test_unknown_axes_are_refused(tmp_path):
    """One axis of the sky alone says nothing on where the pixels lie."""
    fits.writeto(tmp_path / "m.fits", np.ones((64, 80), np.int16), fits.Header({"CTYPE1": "RA---SIN"}))
    with pytest.raises(InputError, match="remove CTYPE1 and CTYPE2"):
        read_mask(tmp_path / "m.fits", GRID)

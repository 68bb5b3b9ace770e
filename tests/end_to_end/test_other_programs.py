"""What radrim writes opens in the programs that astronomers use, with the right positions, units and beams.

Each test goes by what the other program reports, not by the headers.
"""

# l and m are the direction cosines of the measurement equation.

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS

import radrim
from radrim.geometry import ARCSEC

FREQUENCIES = 1.38e9 + 10e6 * np.arange(4)


@pytest.fixture(scope="module")
def made(make_ms, tmp_path_factory, without_reports):
    """One observation as an image and as a cube of four channels."""
    folder, ms = tmp_path_factory.mktemp("other"), make_ms(noise=0.01, seed=3)
    options = {"size": (96, 80), "scale": "4asec", "max_major": 2, "threads": 1}
    with without_reports():
        return (
            radrim.image(ms, name=folder / "image", **options),
            radrim.image(ms, name=folder / "cube", channels_out=4, cube=True, **options),
        )


@pytest.fixture(scope="module")
def source(made, point_source):
    """Right ascension and declination of the source [deg]."""
    ra, dec = made[0].grid.ra, made[0].grid.dec
    l, m = point_source.l, point_source.m
    n = np.sqrt(1 - l * l - m * m)
    return (
        np.degrees(ra + np.arctan2(l, n * np.cos(dec) - m * np.sin(dec))),
        np.degrees(np.arcsin(m * np.cos(dec) + n * np.sin(dec))),
    )


def test_astropy(made, source):
    """By astropy's WCS the brightest pixel is within half a pixel of the source; frequency and Stokes are right."""
    header = fits.getheader(made[0].paths["image"])
    y, x = np.unravel_index(made[0].image.argmax(), made[0].image.shape)
    ra, dec, freq, stokes = WCS(header).all_pix2world(x, y, 0, 0, 0)
    assert abs(ra - source[0]) * np.cos(np.radians(dec)) < 2 / 3600 + 1e-6
    assert abs(dec - source[1]) < 2 / 3600 + 1e-6
    assert freq == pytest.approx(made[0].freq, rel=1e-9)
    assert stokes == 1
    assert u.Unit(header["BUNIT"].replace("JY", "Jy").replace("BEAM", "beam")) == u.Jy / u.beam


def test_radio_beam(made):
    """radio_beam finds the restoring beam in the header of an image; the model has none."""
    from radio_beam import Beam
    from radio_beam.beam import NoBeamException

    beam = Beam.from_fits_header(str(made[0].paths["image"]))
    assert beam.major.to_value(u.rad) == pytest.approx(made[0].beam.major, rel=1e-6)
    assert beam.minor.to_value(u.rad) == pytest.approx(made[0].beam.minor, rel=1e-6)
    assert beam.pa.to_value(u.rad) == pytest.approx(made[0].beam.pa, rel=1e-6)
    with pytest.raises(NoBeamException):
        Beam.from_fits_header(str(made[0].paths["model"]))


@pytest.mark.filterwarnings("ignore:COPY_IF_NEEDED")  # spectral-cube's own import
@pytest.mark.filterwarnings("ignore:Cube is a Stokes cube")
def test_spectral_cube(made):
    """spectral-cube reads frequencies, each channel's beam and values of a cube, in Jy/beam."""
    from spectral_cube import SpectralCube

    cube = SpectralCube.read(made[1].channels.headers[0].paths["image"], format="fits")
    assert cube.shape == (4, 80, 96)
    assert cube.unit == u.Jy / u.beam
    np.testing.assert_allclose(cube.spectral_axis.to_value(u.Hz), FREQUENCIES, rtol=1e-9)
    for number, image in enumerate(made[1].channels):
        assert cube.beams[number].major.to_value(u.rad) == pytest.approx(image.beam.major, rel=1e-6)
        np.testing.assert_array_equal(cube.unmasked_data[number].value, image.image)


def test_reproject(made, source):
    """reproject puts the source where the sky has it, on a finer grid in galactic coordinates."""
    from astropy.coordinates import SkyCoord
    from reproject import reproject_interp

    place = SkyCoord(*source, unit="deg").galactic
    target = WCS(naxis=2)
    target.wcs.ctype, target.wcs.crpix, target.wcs.cdelt = ["GLON-SIN", "GLAT-SIN"], [33, 33], [-5e-4, 5e-4]
    target.wcs.crval = [place.l.deg, place.b.deg]
    moved, _ = reproject_interp((made[0].image, made[0].wcs), target, shape_out=(65, 65))
    y, x = np.unravel_index(np.nanargmax(moved), moved.shape)
    assert np.hypot(y - 32, x - 32) * 5e-4 * 3600 < 3  # less than a pixel of the image, 4 arcsec


CASA = """
import json, sys
import casatools
image = casatools.image()
image.open(sys.argv[1])
y, x = int(sys.argv[2]), int(sys.argv[3])
system = image.coordsys()
print(json.dumps({
    "shape": image.shape().tolist(), "unit": image.brightnessunit(), "axes": list(system.names()),
    "beam": image.restoringbeam(), "world": image.toworld([x, y, 0, 0])["numeric"].tolist(),
    "value": float(image.getchunk([x, y, 0, 0], [x, y, 0, 0]).ravel()[0]),
    "stokes": system.stokes(), "frame": system.referencecode("spectral"),
}))
"""


def test_casa_image(made, source, casa):
    """CASA reads the unit, beam, position and values of an image."""
    y, x = np.unravel_index(made[0].image.argmax(), made[0].image.shape)
    found = casa(CASA, made[0].paths["image"], y, x)
    assert found["unit"] == "Jy/beam"
    assert sorted(found["shape"]) == [1, 1, 80, 96]
    assert found["value"] == pytest.approx(float(made[0].image[y, x]), rel=1e-6)
    np.testing.assert_allclose(np.degrees(found["world"][:2]) % 360, source, atol=2.5 / 3600)
    assert found["beam"]["major"]["value"] * ARCSEC == pytest.approx(made[0].beam.major, rel=1e-6)
    assert found["beam"]["positionangle"]["value"] == pytest.approx(np.degrees(made[0].beam.pa), rel=1e-5)
    assert found["frame"] == ["TOPO"] or found["frame"] == "TOPO"
    assert casa(CASA, made[0].paths["model"], y, x)["unit"] == "Jy/pixel"


def test_casa_cube(made, casa):
    """CASA reads the beam of each channel of a cube."""
    found = casa(CASA, made[1].channels.headers[0].paths["image"], 40, 48)
    beams = found["beam"]["beams"]
    assert len(beams) == 4
    for number, image in enumerate(made[1].channels.headers):
        beam = beams[f"*{number}"]["*0"]
        assert beam["major"]["value"] * ARCSEC == pytest.approx(image.beam.major, rel=1e-5)

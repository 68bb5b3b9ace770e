"""--shift and --phase-centre: visibilities and uvw are rotated exactly, and sources stay where they are on the sky."""

import math
import shutil
import subprocess
import warnings

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

import radrim
from radrim.config.directions import OFFSET, parse_direction
from radrim.errors import ConfigError, DataError, InputError
from radrim.geometry import ARCSEC, ImageGrid, axes
from radrim.ms.tables import open_table
from radrim.read.phase_centre import distance, position_of
from radrim.read.reader import Selection, read
from radrim.selfcalibration.models import ImageModel
from radrim.simulation import make_sky
from radrim.sky.catalogue import offset_position, predict

CENTRE = 2.0, 0.6
"""Phase centre of the simulated observations."""


def written(ra, dec):
    """A position [rad] as the options take it."""
    return f"{math.degrees(ra):.10f}deg {math.degrees(dec):.10f}deg"


def moved(east, north):
    """A position at an offset along the tangent plane [deg]."""
    ra, dec = offset_position(math.radians(east), math.radians(north), *CENTRE)
    return float(ra), float(dec)


def celestial(header):
    """The WCS of the sky axes."""
    with warnings.catch_warnings(action="ignore"):
        return WCS(header).celestial


def centre_of(image, y, x):
    """The brightest place around a pixel, from a Gaussian through its neighbours, (y, x)."""
    y, x = round(float(y)) - 2, round(float(x)) - 2
    y, x = np.add((y, x), np.unravel_index(image[y : y + 5, x : x + 5].argmax(), (5, 5)))
    patch = np.log(image[y - 1 : y + 2, x - 1 : x + 2].astype(float))
    north, east = np.mgrid[-1:2, -1:2]
    terms = [np.ones(9), east.ravel(), north.ravel(), east.ravel() ** 2, north.ravel() ** 2, (east * north).ravel()]
    _, b, c, d, e, f = np.linalg.lstsq(np.stack(terms, 1), patch.ravel(), rcond=None)[0]
    dx, dy = np.linalg.solve([[2 * d, f], [f, 2 * e]], [-b, -c])
    return np.array([y + dy, x + dx])


# Directions


@pytest.mark.parametrize(
    "text, expected",
    [
        ("12h30m49.4s +12d23m28s", SkyCoord("12h30m49.4s +12d23m28s", frame="fk5")),
        ("J2000 12:30:49.4 12.23.28", SkyCoord("12h30m49.4s +12d23m28s", frame="fk5")),
        ("187.7deg -12.39deg", SkyCoord(187.7, -12.39, unit="deg", frame="fk5")),
        ("ICRS 00h00m10s -00d30m00s", SkyCoord("00h00m10s -00d30m00s", frame="icrs")),
        ("galactic 283.78deg 74.49deg", SkyCoord(283.78, 74.49, unit="deg", frame="galactic")),
        ("B1950 12h28m17.57s +12d40m01.7s", SkyCoord("12h28m17.57s +12d40m01.7s", frame="fk4")),
    ],
)
def test_directions_are_those_of_astropy(text, expected):
    """Within 0.05 arcsec: J2000 and ICRS count as the same."""
    found = position_of(parse_direction("phase-centre", text), CENTRE)
    there = expected.transform_to("fk5")
    assert distance(found, (there.ra.rad, there.dec.rad)) < 0.05 * ARCSEC


def test_an_offset_is_along_the_tangent_plane():
    """Signs and units in both parts: towards the east and the north, as pixels of the unshifted image."""
    direction = parse_direction("phase-centre", "+10arcmin -5arcmin")
    assert direction.frame == OFFSET
    l, m, _ = axes(*CENTRE) @ axes(*position_of(direction, CENTRE))[2]
    assert (l, m) == pytest.approx((600 * ARCSEC, -300 * ARCSEC), abs=1e-12)


@pytest.mark.parametrize(
    "text, message",
    [
        ("10arcmin 5arcmin", "An offset from the phase centre has a sign"),
        ("sun", "bodies of the solar system are not followed"),
        ("12h61m00s 3d4m", "60 and more"),
        ("12h30m 95d0m", "not between -90 and"),
        ("12h30m", "is not a direction"),
        ("12h30m 12.5", "'12.5' is not a coordinate"),
        ("12.5 12d0m", "'12.5' is not a coordinate"),
        ("galactic 12h30m 4d4m", "is not a coordinate"),
    ],
)
def test_what_is_no_direction_is_refused(text, message):
    """With what to write instead."""
    with pytest.raises(ConfigError, match=message):
        radrim.image("a.ms", phase_centre=text)


def test_both_options_at_once_are_refused():
    """They say the same."""
    with pytest.raises(ConfigError, match="--shift does not work with --phase-centre"):
        radrim.image("a.ms", phase_centre="+1deg +1deg", shift=("12h30m", "1d0m"))


# Visibilities


@pytest.mark.parametrize("offset", [(0.05, -0.02), (1.0, 2.0), (-50.0, 20.0)], ids=["near", "degrees", "far"])
def test_rotated_visibilities_are_those_of_the_sky_there(make_ms, offset):
    """They are the direct sum over the sky from the new phase centre, with its w-term, up to the horizon."""
    new = moved(*offset) if abs(offset[0]) < 10 else (CENTRE[0] - 1.3, CENTRE[1] + 0.4)
    sky = make_sky(*np.array([offset_position(40 * ARCSEC, -25 * ARCSEC, *CENTRE)]).T, [(1.0, 0, 0, 0)], 1.4e9)
    ms = make_ms(sky=sky, noise=0.0)
    found, (old,) = read([ms], Selection(phase_centre=written(*new))), read([ms]).blocks
    assert distance((found.ra, found.dec), new) < 1e-3 * ARCSEC
    (block,) = found.blocks
    direct = predict(sky, block.uvw, block.freq, *new)[..., 0]
    assert np.abs(block.data - direct).max() < 1e-5
    np.testing.assert_allclose(np.linalg.norm(block.uvw, axis=1), np.linalg.norm(old.uvw, axis=1), rtol=1e-9)


def test_beyond_the_horizon_is_refused(small_ms):
    """The pointing has no place on that tangent plane."""
    with pytest.raises(ConfigError, match="from the pointing of the antennas"):
        read([small_ms], Selection(phase_centre=written(CENTRE[0] + math.pi, -0.2)))


# Images


@pytest.fixture(scope="module")
def triple(make_ms):
    """Three points, 3 arcminutes apart, and no noise; with their positions."""
    offsets = np.array([(120.0, 60.0), (-60.0, -30.0), (30.0, -170.0)]) * ARCSEC
    places = np.array([offset_position(*offset, *CENTRE) for offset in offsets])
    sky = make_sky(*places.T, [(1.0, 0, 0, 0), (1.0, 0, 0, 0), (0.8, 0, 0, 0)], 1.4e9)
    return make_ms(sky=sky, noise=1e-4, times=24), places


@pytest.mark.parametrize("options", [{}, {"facet": 64}, {"channels_out": 2}], ids=["whole", "facets", "channels"])
def test_sources_stay_where_they_are(triple, tmp_path, no_report, options):
    """Each at its position to 0.01 pixel of the image without --shift; the header has the new centre."""
    ms, places = triple
    new = moved(0.01, -0.025)
    common = {"size": 256, "scale": "4asec", "solver": "clean", "niter": 2000, "max_major": 6} | options
    old = radrim.image(ms, name=tmp_path / "old", **common)
    result = radrim.image(ms, shift=written(*new).split(), name=tmp_path / "new", **common)
    label = "-MFS" if "channels_out" in options else ""
    header = fits.getheader(tmp_path / f"new{label}-image.fits")
    assert (header["CRVAL1"], header["CRVAL2"]) == pytest.approx(np.degrees(new), abs=1e-8)
    assert (header["OBSRA"], header["OBSDEC"]) == pytest.approx(np.degrees(CENTRE), abs=1e-8)
    for image, name in ((old, "old"), (result, "new")):
        wcs = celestial(fits.getheader(tmp_path / f"{name}{label}-image.fits"))
        for place in places:
            x, y = wcs.wcs_world2pix(*np.degrees(place), 0)
            assert centre_of(image.image, y, x) == pytest.approx(np.array([y, x]), abs=0.01)


def test_the_image_of_shifted_data_is_the_shifted_image(triple, tmp_path, no_report):
    """The same dirty image, to 1e-4 of the peak, as WSClean makes of data whose phases were shifted before."""
    if shutil.which("wsclean") is None:
        pytest.skip("WSClean is not installed")
    ms, _ = triple
    new = moved(0.6, -0.8)
    with warnings.catch_warnings(action="ignore"):
        shifted = shift_ms(ms, new, tmp_path / "shifted.ms")
    words = "-size 256 256 -scale 4asec -niter 0 -weight briggs 0 -use-wgridder -no-small-inversion -padding 1.2 -quiet"
    subprocess.run(
        ["wsclean", *words.split(), "-wgridder-accuracy", "1e-6", "-name", str(tmp_path / "w"), str(shifted)],
        check=True,
    )
    ours = radrim.image(
        ms, shift=written(*new).split(), size=256, scale="4asec", niter=0, epsilon=1e-6, name=tmp_path / "x"
    )
    theirs = fits.getdata(tmp_path / "w-dirty.fits").squeeze()
    assert np.abs(ours.dirty - theirs).max() < 1e-4 * np.abs(theirs).max()
    header = fits.getheader(tmp_path / "w-dirty.fits")
    assert np.degrees(new) % 360 == pytest.approx((header["CRVAL1"] % 360, header["CRVAL2"]), abs=1e-8)


def shift_ms(ms, new, path):
    """A copy of a Measurement Set with another phase centre, written without radrim's reader."""
    shutil.copytree(ms, path)
    turn = axes(*new) @ axes(*CENTRE).T
    with open_table(ms) as main:
        uvw, data, freq = main.getcol("UVW"), main.getcol("DATA"), 1.38e9 + 10e6 * np.arange(4)
    import casacore.tables as casatables

    turned = uvw @ turn.T
    phase = np.exp(2j * np.pi * np.multiply.outer(uvw[:, 2] - turned[:, 2], freq / 299_792_458.0))
    table = casatables.table(str(path), readonly=False, ack=False)
    table.putcol("UVW", turned)
    table.putcol("DATA", (data * phase[..., None]).astype(np.complex64))
    table.close()
    table = casatables.table(str(path / "FIELD"), readonly=False, ack=False)
    for column in ("PHASE_DIR", "DELAY_DIR", "REFERENCE_DIR"):
        table.putcol(column, np.broadcast_to(np.array(new), table.getcol(column).shape).copy())
    table.close()
    return path


def test_sources_are_where_wsclean_has_them(triple, tmp_path, no_report):
    """By the coordinates of both headers, to 0.01 pixel; the pixels differ, since -shift keeps the tangent point."""
    if shutil.which("wsclean") is None:
        pytest.skip("WSClean is not installed")
    ms, places = triple
    new = moved(0.01, -0.025)
    sky = SkyCoord(*new, unit="rad")
    words = "-size 256 256 -scale 4asec -niter 2000 -mgain 0.8 -auto-threshold 3 -weight briggs 0 -use-wgridder"
    shift = [sky.ra.to_string(unit="hour", sep="hms", precision=6), sky.dec.to_string(sep="dms", precision=5)]
    name = tmp_path / "w"
    subprocess.run(
        ["wsclean", *words.split(), "-no-small-inversion", "-quiet", "-no-update-model-required", "-shift", *shift,
         "-name", str(name), str(ms)], check=True,
    )  # fmt: skip
    ours = radrim.image(
        ms, shift=shift, size=256, scale="4asec", solver="clean", niter=2000, max_major=6, name=tmp_path / "x"
    )
    theirs = fits.getdata(f"{name}-image.fits").squeeze()
    for place in places:
        x, y = celestial(fits.getheader(f"{name}-image.fits")).wcs_world2pix(*np.degrees(place), 0)
        there = centre_of(theirs, y, x) - (y, x)
        x0, y0 = celestial(fits.getheader(tmp_path / "x-image.fits")).wcs_world2pix(*np.degrees(place), 0)
        assert centre_of(ours.image, y0, x0) - (y0, x0) == pytest.approx(there, abs=0.01)


def test_the_primary_beam_stays_at_the_pointing(make_ms, tmp_path, no_report):
    """The beam image is that of the unshifted image, at the same places of the sky."""
    ms = make_ms()
    new = moved(0.1, 0.05)
    common = {"size": 256, "scale": "6asec", "niter": 0, "pb": "airy"}
    old = radrim.image(ms, name=tmp_path / "old", **common)
    result = radrim.image(ms, phase_centre="+0.1deg +0.05deg", name=tmp_path / "new", **common)
    peak = np.unravel_index(result.pb.argmax(), result.pb.shape)
    x, y = celestial(fits.getheader(tmp_path / "new-pb.fits")).wcs_world2pix(*np.degrees(CENTRE), 0)
    assert np.array(peak) == pytest.approx(np.array([y, x]), abs=1)
    there = celestial(fits.getheader(tmp_path / "new-pb.fits")).wcs_pix2world(128, 128, 0)
    x, y = celestial(fits.getheader(tmp_path / "old-pb.fits")).wcs_world2pix(*there, 0)
    assert result.pb[128, 128] == pytest.approx(old.pb[round(float(y)), round(float(x))], abs=0.01)
    assert distance(new, tuple(np.radians(there))) < 0.01 * ARCSEC


def test_no_primary_beam_left_is_said(small_ms, tmp_path, no_report):
    """An image far out of the beam is NaN after the correction; a note says so."""
    options = {"size": 64, "scale": "6asec", "niter": 0, "pb": "airy", "name": tmp_path / "x"}
    radrim.image(small_ms, phase_centre="+2deg +0deg", **options)
    assert "is below --pb-limit" in (tmp_path / "x-qa.json").read_text()


def test_masks_and_start_models(triple, tmp_path, no_report):
    """A mask of the unshifted image is transformed; a start model needs the same centre, and the message names it."""
    ms, places = triple
    common = {"size": 256, "scale": "4asec", "solver": "clean", "niter": 500, "max_major": 2}
    radrim.image(ms, name=tmp_path / "old", **common)
    mask = np.zeros((256, 256), np.float32)
    wcs = celestial(fits.getheader(tmp_path / "old-image.fits"))
    x, y = (round(float(k)) for k in wcs.wcs_world2pix(*np.degrees(places[0]), 0))
    mask[y - 4 : y + 5, x - 4 : x + 5] = 1
    fits.writeto(tmp_path / "mask.fits", mask, wcs.to_header())
    result = radrim.image(
        ms, phase_centre="+0.01deg -0.02deg", mask=tmp_path / "mask.fits", name=tmp_path / "new", **common
    )
    place = celestial(fits.getheader(tmp_path / "new-model.fits")).wcs_world2pix(*np.degrees(places[0]), 0)
    ys, xs = np.nonzero(result.model)
    assert len(ys)
    assert max(np.hypot(ys - place[1], xs - place[0])) < 9
    with pytest.raises(InputError, match=r"--phase-centre '114\.59"):
        radrim.image(ms, start_model=tmp_path / "old-model.fits", phase_centre="+0.01deg -0.02deg", **common)
    again = radrim.image(
        ms, start_model=tmp_path / "new-model.fits", phase_centre="+0.01deg -0.02deg", name=tmp_path / "again",
        mask=tmp_path / "mask.fits", **common,
    )  # fmt: skip
    assert again.noise <= 1.05 * result.noise


@pytest.mark.parametrize("pb", ["none", "gauss"])
def test_predictions_are_of_the_data_as_they_are(triple, tmp_path, no_report, pb):
    """The model of a shifted image predicts the unshifted data; with a primary beam, too."""
    ms, _ = triple
    copy = tmp_path / "copy.ms"
    shutil.copytree(ms, copy)
    new = written(*moved(0.01, -0.025))
    radrim.image(copy, phase_centre=new, size=256, scale="4asec", solver="clean", pb=pb, name=tmp_path / "x")
    radrim.predict(copy, name=tmp_path / "x")
    with open_table(copy) as main:
        data, model = main.getcol("DATA")[..., 0], main.getcol("MODEL_DATA")[..., 0]
    assert np.abs(data - model).std() < 0.02 * np.abs(data).std()


def test_a_mosaic_is_centred_where_it_is_wanted(make_ms, tmp_path, no_report):
    """The same sky in a joint mosaic with another phase centre."""
    place = offset_position(0.0, math.radians(0.5), *CENTRE)
    sky = make_sky(*np.array([place]).T, [(1.0, 0, 0, 0)], 1.4e9)
    ms = make_ms(sky=sky, fields=2, noise=1e-3)
    common = {"size": 256, "scale": "6asec", "niter": 0, "pb": "airy", "field": "all", "dish_diameter": 15}
    old = radrim.image(ms, name=tmp_path / "old", **common)
    result = radrim.image(ms, name=tmp_path / "new", phase_centre="+0.05deg -0.03deg", **common)
    seen = []
    for image, name in ((old, "old"), (result, "new")):
        x, y = celestial(fits.getheader(tmp_path / f"{name}-dirty.fits")).wcs_world2pix(*np.degrees(place), 0)
        assert centre_of(image.dirty, y, x) == pytest.approx(np.array([y, x]), abs=0.05)
        y, x = round(float(y)), round(float(x))
        seen.append((image.dirty / image.pb)[y - 2 : y + 3, x - 2 : x + 3].max())
    assert seen[1] == pytest.approx(seen[0], rel=0.03)


def test_pointings_without_primary_beam_are_still_refused(make_ms, edit_ms, small_ms):
    """A common phase centre does not make them one pointing, be they in one Measurement Set or in two."""
    pair = make_ms(fields=2)
    other = edit_ms(subtable="FIELD", PHASE_DIR=lambda column: column + 1e-3)
    with pytest.raises(DataError, match=r"phase centres 4\.457amin apart"):
        read([small_ms, other], Selection(phase_centre="+1deg +0deg"))
    with pytest.raises(ConfigError, match="a joint mosaic needs the primary beam"):
        radrim.image(pair, field="all", phase_centre="+1deg +0deg", size=64)


def test_self_calibration_predicts_the_data_as_they_are(small_uv):
    """A model image around another centre gives the visibilities of its sources at the centre of the data."""
    uvw, freq = small_uv
    new = moved(0.3, -0.2)
    grid = ImageGrid(64, 48, 20 * ARCSEC, *new)
    image = np.zeros(grid.shape, np.float32)
    image[30, 20] = 1.0
    place = offset_position(float(grid.l()[20]), float(grid.m()[30]), *new)
    sky = make_sky(*np.array([place]).T, [(1.0, 0, 0, 0)], 1.4e9)
    model = ImageModel([(1.4e9, image)], grid, epsilon=1e-6, position=CENTRE)
    direct = predict(sky, uvw, freq, *CENTRE)[..., 0]
    assert np.abs(model.predict(uvw, freq) - direct).max() < 1e-4


def test_closure_quantities_have_no_position():
    """--data closure refuses a phase centre."""
    with pytest.raises(ConfigError, match="do not depend on position"):
        radrim.image("a.ms", data="closure", phase_centre="+1deg +0deg")


def test_the_command_takes_southern_declinations(command, small_ms, tmp_path):
    """WSClean's spelling with a declination that begins with a minus sign, and a direction without quotes."""
    options = ("--size", 64, 64, "--scale", "6asec", "--niter", 0, "--no-report")
    done = command("image", small_ms, "-shift", "7h38m21.9s", "-34d22m39s", *options, "--name", tmp_path / "x")
    assert done.status == 0
    assert fits.getheader(tmp_path / "x-dirty.fits")["CRVAL2"] == pytest.approx(-34.3775)
    words = "--phase-centre", "galactic", "190deg", "23deg"
    assert command("image", small_ms, *words, *options, "--name", tmp_path / "y").status == 0
    sky = SkyCoord(190, 23, unit="deg", frame="galactic").icrs
    assert fits.getheader(tmp_path / "y-dirty.fits")["CRVAL1"] == pytest.approx(sky.ra.to_value(units.deg), abs=1e-5)

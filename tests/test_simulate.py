"""The simulator: layouts, uv tracks, skies, and the Measurement Sets it writes."""

# l and m are the direction cosines of the measurement equation.

import csv
import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import casacore.tables as ct
import numpy as np
import pytest
from astropy.io import fits
from astropy.time import Time
from astropy.wcs import WCS

from radrim.earth import celestial_to_terrestrial, hour_angles, track_times, uvw_tracks
from radrim.errors import ConfigError, InputError, OutputError
from radrim.geometry import ARCSEC, C, axes
from radrim.ms import writer as simulate_ms
from radrim.ms.settings import StorageSettings
from radrim.runtime import files
from radrim.simulation import (
    known_layouts,
    make_sky,
    parse_correlations,
    parse_direction,
    parse_frequency,
    predict,
    read_layout,
    read_sky,
    simulate,
    write_ms,
)
from radrim.sky.catalogue import demo_sky, direction_cosines, offset_position

RA, DEC = 2.0, 0.6
SHORT = {"array": "vla-d", "hours": 0.5, "integration": 300.0, "channels": 2, "sky": "point"}


def column(ms, name):
    with ct.table(str(ms), ack=False) as table:
        return table.getcol(name)


# Layouts and tracks


@pytest.mark.parametrize("name", known_layouts())
def test_shipped_layouts_are_on_earth(name):
    """Every antenna stands on the Earth's surface, none twice, each with a dish."""
    layout = read_layout(name)
    radius = np.linalg.norm(layout.positions, axis=1)
    apart = np.linalg.norm(layout.positions[:, None] - layout.positions, axis=-1)[np.triu_indices(len(radius), 1)]
    assert np.all((radius > 6.355e6) & (radius < 6.385e6))
    assert apart.min() > 5
    assert layout.diameters.min() > 5
    assert len(set(layout.stations)) == len(radius)


@pytest.mark.parametrize("name", [n for n in known_layouts() if n not in ("vlba", "eht2017")])
def test_connected_arrays_are_flat(name):
    """Antennas of a connected array lie near one plane: positions in another frame than the rest would stick out."""
    positions = read_layout(name).positions
    thickness = np.linalg.svd(positions - positions.mean(0))[1]
    assert thickness[2] < 0.03 * thickness[0]
    up = np.linalg.svd(positions - positions.mean(0))[2][2]
    assert abs(up @ positions.mean(0)) > 0.999 * np.linalg.norm(positions.mean(0))


def test_unknown_array_lists_the_known_ones():
    """The message names what could be meant."""
    with pytest.raises(ConfigError, match=r"'vla-x' is unknown.*vla-a.*Name one"):
        read_layout("vla-x")


@pytest.mark.parametrize("text, message", [
    ("name,x\nA,1\n", "columns name"),
    ("name,x_itrf_m,y_itrf_m,z_itrf_m,diameter_m\nA,1,2,3,4\n", "1 antennas"),
])  # fmt: skip
def test_bad_layout_file_is_refused(tmp_path, text, message):
    """A file that is no layout says which columns a layout has."""
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_layout(tmp_path / "a.csv")


def test_uvw_matches_hour_angle_formula():
    """UVW is that of the textbook's hour angle and declination of date, but for the turn of north since J2000.

    The formula is written out here for the local meridian; w has no freedom, u and v may turn together by the angle
    between the celestial poles of date and of J2000, the same for every baseline and all but the same for every time.
    """
    layout = read_layout("vla-a")
    times = track_times(layout, RA, DEC, 0.4, 6.0, 1200.0)
    uvw = uvw_tracks(layout.positions, RA, DEC, times)

    lon = layout.longitude
    local = layout.positions @ np.array([[np.cos(lon), -np.sin(lon), 0], [np.sin(lon), np.cos(lon), 0], [0, 0, 1]])
    i, j = np.triu_indices(len(local), 1)
    x, y, z = (local[j] - local[i]).T
    h = hour_angles(layout, RA, DEC, times)[:, None]
    d = np.arcsin((celestial_to_terrestrial(times) @ axes(RA, DEC)[2])[:, 2])[:, None]
    u = np.sin(h) * x + np.cos(h) * y
    v = -np.sin(d) * np.cos(h) * x + np.sin(d) * np.sin(h) * y + np.cos(d) * z
    w = np.cos(d) * np.cos(h) * x - np.cos(d) * np.sin(h) * y + np.sin(d) * z

    np.testing.assert_allclose(uvw[..., 2], w, atol=1e-6)
    turn = (u + 1j * v) / (uvw[..., 0] + 1j * uvw[..., 1])
    np.testing.assert_allclose(np.abs(turn), 1, atol=1e-7)
    assert np.ptp(np.angle(turn)) < 1e-5
    assert np.abs(np.angle(turn)).max() < np.radians(0.2)


def test_track_is_centred_on_the_hour_angle():
    """TIME belongs to the hour angle asked for: sidereal time minus right ascension, but for 26 years of precession."""
    layout = read_layout("meerkat")
    times = track_times(layout, RA, -0.5, np.radians(15 * 1.5), 3.0, 60.0)
    assert len(times) == 180
    clock = Time(times[[89, 90]].mean() / 86400, format="mjd", scale="utc")
    clock.delta_ut1_utc = 0.0
    sidereal = clock.sidereal_time("mean", longitude=np.degrees(layout.longitude)).radian
    assert (sidereal - RA) % (2 * np.pi) == pytest.approx(np.radians(22.5), abs=np.radians(0.4))
    assert hour_angles(layout, RA, -0.5, times[[89, 90]]).mean() == pytest.approx(np.radians(22.5), abs=1e-5)


# Skies


def test_direction_cosines_are_the_sin_projection():
    """l and m are those of the SIN projection in FITS, and `offset_position` is their inverse."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---SIN", "DEC--SIN"]
    wcs.wcs.crval = np.degrees([RA, DEC])
    wcs.wcs.crpix, wcs.wcs.cdelt = [0, 0], [1, 1]
    l, m = np.array([0.1, -0.2, 0.0]), np.array([0.05, 0.15, -0.3])
    ra, dec = offset_position(l, m, RA, DEC)
    expected = np.radians(wcs.wcs_pix2world(np.degrees(np.stack([l, m], 1)), 1))
    np.testing.assert_allclose(np.stack([ra % (2 * np.pi), dec], 1), expected, atol=1e-12)
    np.testing.assert_allclose(direction_cosines(ra, dec, RA, DEC)[:2], (l, m), atol=1e-12)


def test_point_source_has_the_phases_of_the_measurement_equation(make_ms, point_source):
    """V = I exp(+2 pi i (u l + v m + w (n - 1))), UVW as stored, u = U f / c: written out, signs and all."""
    ms = make_ms(noise=0.0)
    u, v, w = column(ms, "UVW").T[..., None] * column(f"{ms}::SPECTRAL_WINDOW", "CHAN_FREQ")[0] / C
    l, m = 300 * point_source.l, 300 * point_source.m
    wide = make_ms(noise=0.0, sky=make_sky(*offset_position(l, m, RA, DEC), 0.7, 1.4e9))
    phase = u * l + v * m + w * (np.sqrt(1 - l**2 - m**2) - 1)
    assert np.abs(w * (np.sqrt(1 - l**2 - m**2) - 1)).max() > 1
    np.testing.assert_allclose(column(wide, "DATA")[..., 0], 0.7 * np.exp(2j * np.pi * phase), atol=1e-5)


def test_gaussian_is_the_sum_of_its_points():
    """A Gaussian equals the sum over a fine grid of points with its brightness, turned by its position angle."""
    freq = np.array([1.4e9])
    uvw = np.array([[300.0, 0, 0], [0, 300, 0], [250, 250, 0], [250, -250, 0]])
    major, minor, pa = 60 * ARCSEC, 25 * ARCSEC, np.radians(30)
    s = np.linspace(-2.5, 2.5, 81)
    a, b = np.meshgrid(s * major, s * minor)
    weight = np.exp(-4 * np.log(2) * ((a / major) ** 2 + (b / minor) ** 2))
    # Position angle is from north through east: along the major axis is (sin pa, cos pa) in (l, m).
    l, m = a * np.sin(pa) + b * np.cos(pa), a * np.cos(pa) - b * np.sin(pa)
    position = offset_position(l.ravel(), m.ravel(), RA, DEC)
    points = make_sky(*position, 2.0 * weight.ravel() / weight.sum(), 1.4e9)
    gaussian = make_sky(RA, DEC, 2.0, 1.4e9, shape=(major, minor, pa))
    expected = predict(points, uvw, freq, RA, DEC)[..., 0]
    assert 0.1 < abs(expected).min() < 1.5
    np.testing.assert_allclose(predict(gaussian, uvw, freq, RA, DEC)[..., 0], expected, atol=1e-3)


def test_spectral_index_scales_the_flux():
    """The flux at f is that at the reference frequency times (f / f0) ** alpha."""
    sky = make_sky(RA, DEC, 3.0, 1e9, alpha=-0.7)
    flux = predict(sky, np.ones((1, 3)), np.array([1e9, 2e9]), RA, DEC)[0, :, 0]
    np.testing.assert_allclose(flux, [3.0, 3.0 * 2**-0.7])


def test_sources_behind_the_observer_are_not_seen():
    """The SIN projection maps the far hemisphere onto the near one; a source there must not show."""
    sky = make_sky(RA + np.pi, -DEC, 1.0, 1e9)
    assert not predict(sky, np.ones((1, 3)), np.array([1e9]), RA, DEC).any()


@pytest.mark.parametrize("names", [("XX", "XY", "YX", "YY"), ("RR", "RL", "LR", "LL")])
def test_correlations_carry_all_stokes(make_ms, names):
    """I, Q, U and V come back from linear and from circular feeds by the usual combinations."""
    stokes = np.array([1.0, 0.3, -0.2, 0.1])
    ms = make_ms(correlations=names, noise=0.0, stokes=tuple(stokes), times=1)
    data = column(ms, "DATA")
    phase = (data[..., 0] + data[..., 3]) / 2
    p, pq, qp, q = np.moveaxis(data / phase[..., None], -1, 0)
    sums = [p + q, p - q, pq + qp, (pq - qp) / 1j]
    order = (0, 1, 2, 3) if names[0] == "XX" else (0, 2, 3, 1)
    got = [np.mean(sums[k]) / 2 for k in order]
    np.testing.assert_allclose(got, stokes, atol=1e-5)


def test_fits_sky_equals_its_pixels_as_points(tmp_path):
    """A FITS image (odd size, padded) gives the visibilities of point sources at its pixels."""
    pixels = np.zeros((1, 31, 33), np.float32)
    pixels[0, 15, 16], pixels[0, 20, 4] = 1.0, 0.5
    header = fits.Header({"CDELT1": -20 / 3600, "CDELT2": 20 / 3600, "BUNIT": "Jy/pixel"})
    fits.writeto(tmp_path / "sky.fits", pixels, header)
    image = read_sky(tmp_path / "sky.fits", RA, DEC, 1.4e9, 1.0)
    position = offset_position(np.array([0, 12 * 20 * ARCSEC]), np.array([0, 5 * 20 * ARCSEC]), RA, DEC)
    points = make_sky(*position, [1.0, 0.5], 1.4e9)
    uvw = np.random.default_rng(3).uniform(-500, 500, (50, 3))
    freq = np.array([1.38e9, 1.42e9])
    np.testing.assert_allclose(predict(image, uvw, freq, RA, DEC), predict(points, uvw, freq, RA, DEC), atol=1e-5)


def test_catalogue_gives_its_sources(tmp_path):
    """Degrees, Jy and arcseconds of a CSV catalogue arrive as radians and Jy; what is left out is a flat point."""
    rows = [{"ra_deg": 10, "dec_deg": -5, "i_jy": 2, "v_jy": 0.1, "major_arcsec": 30, "minor_arcsec": 10, "pa_deg": 45}]
    with open(tmp_path / "sky.csv", "w") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    sky = read_sky(tmp_path / "sky.csv", RA, DEC, 1.4e9, 1.0)
    np.testing.assert_allclose(np.degrees([sky.ra[0], sky.dec[0], sky.shape[0, 2]]), [10, -5, 45])
    np.testing.assert_allclose(sky.stokes, [[2, 0, 0, 0.1]])
    np.testing.assert_allclose(sky.shape[0, :2] / ARCSEC, [30, 10])
    assert sky.alpha == 0


@pytest.mark.parametrize("name, text, error, message", [
    ("no.fits", None, ConfigError, "no file of that name"),
    ("sky.csv", "ra,dec\n1,2\n", InputError, "ra_deg, dec_deg and i_jy"),
    ("sky.fits", "SIMPLE? no", InputError, "it is not a FITS file, or damaged"),
])  # fmt: skip
def test_bad_sky_is_refused(tmp_path, name, text, error, message):
    """The message says what a sky must be."""
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(error, match=message):
        read_sky(tmp_path / name, RA, DEC, 1.4e9, 1.0)


@pytest.mark.parametrize("change, message", [
    ({"BUNIT": "Jy/beam"}, "must be in Jy/pixel"),
    ({"CDELT1": 0.0}, "square pixels"),
])  # fmt: skip
def test_unusable_fits_sky_is_refused(tmp_path, change, message):
    """A restored image, or one without a pixel size, has no fluxes to simulate."""
    header = fits.Header({"CDELT1": -0.01, "CDELT2": 0.01} | change)
    fits.writeto(tmp_path / "sky.fits", np.ones((4, 4), np.float32), header)
    with pytest.raises(InputError, match=message):
        read_sky(tmp_path / "sky.fits", RA, DEC, 1.4e9, 1.0)


def test_demo_fits_every_array():
    """The demo's size is a number of beams, so that one picture serves every array."""
    small, large = (demo_sky(RA, DEC, 1e9, beam) for beam in (1e-9, 1e-5))
    l, m, _ = direction_cosines(large.ra, large.dec, RA, DEC)
    assert 50 < max(np.abs(l).max(), np.abs(m).max()) / 1e-5 < 60
    # The sources at 1e-9 lie 1e-4 of the distance from the centre; their absolute positions are good to 1e-16 only.
    np.testing.assert_allclose(direction_cosines(small.ra, small.dec, RA, DEC)[0] * 1e4, l, atol=1e-10)
    np.testing.assert_array_equal(small.stokes, large.stokes)


# Receivers


def test_noise_has_the_stated_level(make_ms):
    """Real and imaginary parts scatter by `noise`, independently in each correlation, and WEIGHT and SIGMA say so."""
    clean, noisy = make_ms(noise=0.0), make_ms(noise=0.05)
    noise = column(noisy, "DATA") - column(clean, "DATA")
    for part in (noise.real, noise.imag):
        assert part.std() == pytest.approx(0.05, rel=0.05)
    cross = np.mean(noise[..., 0] * noise[..., 1].conj())
    assert abs(cross) < 0.1 * 2 * 0.05**2
    np.testing.assert_allclose(column(noisy, "SIGMA"), 0.05)
    np.testing.assert_allclose(column(noisy, "WEIGHT"), 400, rtol=1e-6)


def test_gain_errors_belong_to_antennas(make_ms):
    """Gain errors change every baseline, drift, and leave the closure phase; CORRECTED_DATA has none of them."""
    sky = make_sky(RA, DEC, 1.0, 1.4e9)
    ms = make_ms(noise=0.0, gain_error=0.1, corrected=True, sky=sky)
    data = column(ms, "DATA")[:, 0, 0].reshape(6, -1)
    np.testing.assert_allclose(column(ms, "CORRECTED_DATA"), 1, atol=1e-6)
    assert np.abs(data - 1).std() > 0.03
    assert np.abs(data[0] - data[-1]).min() > 1e-4
    pair = {p: k for k, p in enumerate(zip(*np.triu_indices(9, 1), strict=True))}
    closure = data[:, pair[0, 1]] * data[:, pair[1, 2]] * data[:, pair[0, 2]].conj()
    np.testing.assert_allclose(np.angle(closure), 0, atol=1e-5)


def test_flagged_samples_hold_rubbish(make_ms):
    """The stated fraction is flagged, and an imager that forgets the flags will see it."""
    ms = make_ms(flagged=0.2, noise=0.05)
    flag, data = column(ms, "FLAG"), column(ms, "DATA")
    assert flag.mean() == pytest.approx(0.2, abs=0.03)
    assert np.abs(data[flag]).min() > 100 > np.abs(data[~flag]).max()


def test_same_seed_same_bytes_whatever_the_block(tmp_path, monkeypatch):
    """Data depend on the seed and not on how many rows are in memory."""
    arguments = SHORT | {"noise": 0.1, "flagged": 0.1, "gain_error": 0.1}
    first = simulate(tmp_path / "a.ms", **arguments)
    other = simulate(tmp_path / "c.ms", **arguments, seed=1)
    in_parts = partial(simulate_ms.write_ms, settings=StorageSettings(chunk_samples=1))
    monkeypatch.setattr("radrim.simulation.write_ms", in_parts)
    second = simulate(tmp_path / "b.ms", **arguments)
    for name in ("DATA", "FLAG", "UVW", "TIME", "ANTENNA1"):
        np.testing.assert_array_equal(column(first, name), column(second, name))
    assert not np.array_equal(column(first, "DATA"), column(other, "DATA"))


def test_antennas_below_the_horizon_are_flagged(tmp_path):
    """Where one antenna of a VLBI baseline cannot see the source, the rows are flagged; the rest are not."""
    ms = simulate(tmp_path / "v.ms", array="vlba", sky="point", dec=-10, hours=10.0, integration=3600.0, channels=1)
    flagged = column(ms, "FLAG_ROW").reshape(10, -1)
    np.testing.assert_array_equal(column(ms, "FLAG").all((1, 2)), flagged.ravel())
    assert flagged[0].mean() > 0.3
    assert flagged[4].mean() < 0.3


def test_source_that_never_rises_is_refused(tmp_path):
    """The message says how high the source gets and what to change."""
    with pytest.raises(ConfigError, match=r"declination -80\.0 degrees.*above the horizon of vla-b.*Change --dec"):
        simulate(tmp_path / "a.ms", dec=-80)


# The Measurement Set


def test_ms_is_complete_and_consistent(make_ms):
    """Every key of the main table points into its subtable, shapes agree, and positions, times and frames are there."""
    correlations = (("XX", "XY", "YX", "YY"), ("XX", "YY"), ("XX", "YY"))
    ms = make_ms(
        correlations=correlations, windows=((1.3e9, 4), (1.4e9, 7), (1.5e9, 1)), fields=2, autocorrelations=True
    )
    with ct.table(str(ms), ack=False) as main:
        rows = {
            name: ct.table(f"{ms}::{name}", ack=False).nrows() for name in main.keywordnames() if name != "MS_VERSION"
        }
        expected = {
            "ANTENNA": 9,
            "FEED": 9,
            "FIELD": 2,
            "SPECTRAL_WINDOW": 3,
            "DATA_DESCRIPTION": 3,
            "POLARIZATION": 2,
        }
        assert {name: rows[name] for name in expected} == expected
        assert main.nrows() == 2 * 3 * 6 * 45
        keys = {"ANTENNA1": "ANTENNA", "ANTENNA2": "ANTENNA", "DATA_DESC_ID": "DATA_DESCRIPTION"}
        keys |= {f"{name}_ID": name for name in ("FIELD", "STATE", "OBSERVATION", "PROCESSOR")}
        for key, name in keys.items():
            assert set(main.getcol(key)) <= set(range(rows[name])), key
        setup = column(f"{ms}::DATA_DESCRIPTION", "POLARIZATION_ID")
        assert list(column(f"{ms}::POLARIZATION", "NUM_CORR")[setup]) == [4, 2, 2]
        for window, shape in enumerate([(4, 4), (7, 2), (1, 2)]):
            part = main.query(f"DATA_DESC_ID == {window}")
            for name in ("DATA", "FLAG"):
                assert part.getcol(name).shape == (2 * 6 * 45, *shape)
            assert part.getcol("WEIGHT").shape == (2 * 6 * 45, shape[1])
        assert main.getcolkeyword("UVW", "MEASINFO")["type"] == "uvw"
    start, end = column(f"{ms}::OBSERVATION", "TIME_RANGE")[0]
    time = column(ms, "TIME")
    assert start < time.min() < time.max() < end
    np.testing.assert_allclose(column(f"{ms}::FIELD", "PHASE_DIR")[:, 0], [(RA, DEC), (RA, DEC + np.radians(1))])


def test_fields_share_one_sky(make_ms):
    """A second field sees the same source at another offset: its phases turn to it."""
    ms = make_ms(noise=0.0, fields=2, sky=make_sky(RA, DEC, 1.0, 1.4e9))
    field, data = column(ms, "FIELD_ID"), column(ms, "DATA")
    np.testing.assert_allclose(data[field == 0], 1, atol=1e-6)
    assert np.abs(data[field == 1] - 1).mean() > 0.5


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failed_write_leaves_nothing(tmp_path, monkeypatch, error):
    """Whatever stops the simulation half-way, no file is left; a Measurement Set to be replaced is still there."""
    path = simulate(tmp_path / "a.ms", **SHORT)
    before = column(path, "DATA")

    def fail(*_):
        raise error("stop")

    monkeypatch.setattr(simulate_ms, "write_subtables", fail)
    with pytest.raises(error):
        simulate(path, **SHORT, seed=5, overwrite=True)
    with pytest.raises(error):
        simulate(tmp_path / "b.ms", **SHORT)
    assert [p.name for p in tmp_path.iterdir()] == ["a.ms"]
    np.testing.assert_array_equal(column(path, "DATA"), before)


def test_leftover_of_a_killed_run_is_replaced(tmp_path):
    """What a killed run left under the temporary name does not stop the next one."""
    (tmp_path / "a.ms.part").mkdir()
    (tmp_path / "a.ms.part" / "table.f99").write_text("half")
    simulate(tmp_path / "a.ms", **SHORT)
    assert [p.name for p in tmp_path.iterdir()] == ["a.ms"]
    assert not (tmp_path / "a.ms" / "table.f99").exists()


def test_output_is_not_overwritten_unasked(tmp_path):
    """An existing Measurement Set needs --overwrite, and a folder that is none is never removed."""
    path = simulate(tmp_path / "a.ms", **SHORT)
    with pytest.raises(OutputError, match=r"exists already.*--overwrite"):
        simulate(path, **SHORT)
    simulate(path, **SHORT, overwrite=True)
    (tmp_path / "thesis").mkdir()
    with pytest.raises(OutputError, match="not a Measurement Set"):
        simulate(tmp_path / "thesis", **SHORT, overwrite=True)
    assert (tmp_path / "thesis").is_dir()


def test_missing_folder_is_named(tmp_path):
    """The message says which folder to make."""
    with pytest.raises(OutputError, match=r"mkdir -p .*/no"):
        simulate(tmp_path / "no" / "a.ms", **SHORT)


def test_full_disk_is_seen_before_writing(tmp_path, monkeypatch):
    """What will not fit is refused with both sizes, because casacore does not survive a full disk."""
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000))
    with pytest.raises(OutputError, match=r"needs \d+ MB, and only 1 MB are free"):
        simulate(tmp_path / "a.ms", **SHORT)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("columns", [("DATA",), ("DATA", "CORRECTED_DATA")])
def test_size_is_foreseen(tmp_path, columns):
    """The size that is checked against the free disk is at least that of the Measurement Set, and not much more."""
    layout = read_layout("vla-d")
    fields = [simulate_ms.ObservedField("A", RA, DEC, track_times(layout, RA, DEC, 0.0, 4.0, 60.0))]
    window = simulate_ms.ObservedWindow(1e9 + 1e6 * np.arange(8), 1e6, ("XX", "YY"))
    plan = simulate_ms.ObservationPlan(layout, fields, [window], 60.0)

    def zeros(block):
        data = np.zeros((len(block.uvw), 8, 2), complex)
        weight = np.ones(data.shape[::2], np.float32)
        return dict.fromkeys(columns, data) | {"FLAG": data != 0, "WEIGHT": weight, "SIGMA": weight}

    path = write_ms(tmp_path / "a.ms", plan, zeros, columns)
    size = sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
    assert size <= simulate_ms._bytes(plan, columns) < 1.5 * size + 5e6


# Arguments


def test_directions_and_frequencies_are_parsed():
    """The usual spellings of right ascension, declination and frequency."""
    assert parse_direction("19h59m28s", "ra", hours=True) == pytest.approx(np.radians(15 * (19 + 59 / 60 + 28 / 3600)))
    assert parse_direction("19:59:28", "ra", hours=True) == parse_direction("19h59m28s", "ra", hours=True)
    assert parse_direction("299.5deg", "ra", hours=True) == pytest.approx(np.radians(299.5))
    assert (
        parse_direction("299.5", "ra", hours=True) == parse_direction(299.5, "ra") == pytest.approx(np.radians(299.5))
    )
    assert parse_direction("-00d30m", "dec") == pytest.approx(np.radians(-0.5))
    assert [parse_frequency(t, "freq") for t in ("1.4GHz", "64 MHz", "1.4e9", 5)] == [1.4e9, 64e6, 1.4e9, 5]
    assert parse_correlations("xx, YY") == ("XX", "YY")


@pytest.mark.parametrize("argument, message", [
    ({"ra": "north"}, "--ra 'north' is not an angle"),
    ({"ra": "nan"}, "--ra nan is not an angle"),
    ({"dec": 100}, "--dec 100 is beyond the pole"),
    ({"dec": "-90d00m01s"}, "--dec -90.0003 is beyond the pole"),
    ({"freq": "1.4parsec"}, "--freq '1.4parsec' is not a frequency"),
    ({"bandwidth": "3GHz"}, "--bandwidth 3e\\+09 Hz reaches below zero"),
    ({"correlations": "RR,PP"}, "unknown or repeated name 'PP'"),
    ({"channels": 0}, "--channels 0 is out of range"),
    ({"noise": -1.0}, "--noise -1.0 is out of range"),
    ({"integration": 0.0}, "--integration 0.0 is out of range"),
    ({"array": "vla-z"}, "'vla-z' is unknown"),
    ({"sky": "galaxy"}, "sky 'galaxy' is unknown"),
])  # fmt: skip
def test_bad_arguments_are_refused(tmp_path, argument, message):
    """Each message names the option and the value; nothing is written."""
    with pytest.raises(ConfigError, match=message):
        simulate(tmp_path / "a.ms", **(SHORT | argument))
    assert not list(tmp_path.iterdir())


def test_parser_needs_nothing_heavy():
    """`radrim --help` builds the parser of simulate without numpy."""
    code = ("import argparse, sys; from radrim.cli.simulate import add_arguments; p = argparse.ArgumentParser();"
            "add_arguments(p); p.parse_args(['a.ms']); print('numpy' in sys.modules)")  # fmt: skip
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"

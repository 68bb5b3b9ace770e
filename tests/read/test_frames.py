"""Frequency frames: the factor against astropy and the sky, and lines that stay in their output channel."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import FK5, EarthLocation, SkyCoord, SpectralCoord, solar_system_ephemeris
from astropy.io import fits
from astropy.time import Time
from astropy.utils import iers

import radrim
from radrim.errors import ConfigError, InputError
from radrim.geometry import ARCSEC, C
from radrim.read.frames import SUN, FrameShift, frame_factor
from radrim.read.reader import Selection, read
from radrim.read.settings import ReadSettings
from radrim.visibilities import Observation, Visibilities, split_channels
from radrim.workdir.directory import WorkDir
from radrim.workdir.visibilities import Blocks, VisibilityCache

VLA = np.array([-1601185.4, -5041977.5, 3554875.9])
ALMA = np.array([2225142.2, -5440307.4, -2481029.9])
RA, DEC = 2.0, 0.6
# Half a sidereal year apart: mid-April and mid-October of 2025, when the Earth moves from and towards this direction.
SPRING = 60780.0 * 86400
AUTUMN = SPRING + 183 * 86164.0905


@pytest.fixture
def offline(monkeypatch):
    """astropy's own tables, nothing from the network."""
    monkeypatch.setattr(iers.conf, "auto_download", False)


def velocity(factor):
    """Of the telescope towards the source [km/s], away from it negative."""
    return (1 - factor) * C / 1e3


# The factor


@pytest.mark.parametrize("place", [VLA, ALMA], ids=["VLA", "ALMA"])
@pytest.mark.parametrize("direction", [(0.0, 0.0), (2.0, 0.6), (4.5, -1.2)])
def test_barycentre_against_astropy(offline, place, direction):
    """`radial_velocity_correction`, over two years and within a day, but for the redshift of the Sun's field (1e-8)."""
    day = np.concatenate([np.linspace(58000, 58730, 9), 58000 + np.linspace(0, 1, 5)])
    location, time = EarthLocation.from_geocentric(*place, unit="m"), Time(day, format="mjd", scale="utc")
    sky = SkyCoord(*direction, unit="rad")
    expected = 1 / (1 + (sky.radial_velocity_correction("barycentric", time, location) / C).to_value("m/s"))
    np.testing.assert_allclose(frame_factor("BARY", *direction, place, day * 86400), expected, rtol=0, atol=1.5e-8)


@pytest.mark.parametrize("direction", [(0.0, 0.0), (2.0, 0.6), (4.5, -1.2)])
def test_local_standard_of_rest_against_astropy(offline, direction):
    """`SpectralCoord` in astropy's LSRK, to its neglect of motion across the line of sight (1e-8)."""
    time = Time(58000 + 100 * np.arange(4), format="mjd", scale="utc")
    location = EarthLocation.from_geocentric(*VLA, unit="m")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that the source has no distance and no velocity
        target = SkyCoord(*direction * units.rad, distance=10 * units.kpc)
        expected = [
            SpectralCoord(1e9 * units.Hz, observer=location.get_itrs(one), target=target)
            .with_observer_stationary_relative_to("lsrk")
            .to_value("GHz")
            for one in time
        ]
    np.testing.assert_allclose(frame_factor("LSRK", *direction, VLA, time.mjd * 86400), expected, rtol=0, atol=2e-8)


def test_published_barycentric_velocity():
    """The example in astropy's documentation: 20.077 km/s at Keck on 2016-06-04."""
    place = [-5464487.8, -2492806.6, 2151240.2]  # of latitude 19.8283, longitude -155.4783 deg, height 4160 m
    time = Time("2016-06-04", scale="utc").mjd * 86400
    factor = frame_factor("BARY", np.radians(4.88375), np.radians(35.0436389), place, [time])
    assert (1 / factor - 1) * C / 1e3 == pytest.approx(20.077, abs=0.005)


def test_a_year_on_the_ecliptic():
    """Towards ecliptic longitude 90 deg: 30 km/s away in March, towards in September, none in June and December;
    towards the ecliptic's pole what the Moon and the planets make of it."""
    obliquity, day = np.radians(23.439), 58849.0 + np.arange(366)  # from 2020-01-01
    towards = velocity(frame_factor("BARY", np.pi / 2, obliquity, np.zeros(3), day * 86400))
    assert towards.max() == pytest.approx(29.8, abs=0.6)
    assert towards.min() == pytest.approx(-29.8, abs=0.6)
    assert day[towards.argmax()] == pytest.approx(58849 + 265, abs=6)  # 22 September
    assert day[towards.argmin()] == pytest.approx(58849 + 79, abs=6)  # 20 March
    crossings = np.flatnonzero(np.diff(np.sign(towards)))
    np.testing.assert_allclose(day[crossings], [58849 + 171, 58849 + 355], atol=2)  # 20 June, 21 December
    pole = velocity(frame_factor("BARY", 1.5 * np.pi, np.pi / 2 - obliquity, np.zeros(3), day * 86400))
    assert np.abs(pole).max() < 0.03


def test_a_day_on_the_equator():
    """The Earth's rotation: 0.465 km/s towards what rises, the same away from what sets."""
    time = 58000 * 86400 + np.linspace(0, 86164, 200)
    still, turning = (frame_factor("BARY", 0.0, 0.0, place, time) for place in (np.zeros(3), [6378137.0, 0, 0]))
    change = velocity(turning / still)
    assert change.max() == pytest.approx(0.465, abs=0.001)
    assert change.min() == pytest.approx(-0.465, abs=0.001)


def test_the_sun_among_its_neighbours():
    """20 km/s towards 18h, +30 deg of 1900: a source there is bluer for the Sun than for the local standard of rest."""
    apex = SkyCoord(18, 30, unit=("hourangle", "deg"), frame=FK5(equinox="B1900")).icrs
    towards = apex.cartesian.xyz.value
    np.testing.assert_allclose(SUN, 20e3 * towards, atol=30)  # FK4 is a bit elsewhere than FK5
    bary, local = (frame_factor(frame, apex.ra.rad, apex.dec.rad, VLA, [SPRING]) for frame in ("BARY", "LSRK"))
    assert velocity(local / bary) == pytest.approx(20, abs=0.01)


def test_no_table_is_needed(monkeypatch):
    """Dates beyond all tables of the Earth's rotation are no reason for a warning or a download."""
    monkeypatch.setattr("socket.socket", lambda *_: pytest.fail("asked the network"))
    factor = frame_factor("LSRK", RA, DEC, VLA, [62500 * 86400.0])  # 2029
    assert abs(velocity(factor)) < 60


# Blocks


def many_rows(times):
    """A block of two baselines and three channels of 10 kHz."""
    rows = 2 * len(times)
    freq = 1.42e9 + 1e4 * np.arange(3)
    data = np.arange(3 * rows).reshape(rows, 3).astype(np.complex64)
    antenna = np.tile([[0, 1], [0, 2]], (len(times), 1)).astype(np.int32)
    weight = np.ones(data.shape, np.float32)
    return Visibilities(np.ones((rows, 3)), freq, data, weight, np.repeat(times, 2), antenna)


def test_blocks_have_one_factor():
    """No row is more than a tenth of a channel from where its block's factor puts it; no row is lost or cut in two."""
    times = np.concatenate([SPRING + 600.0 * np.arange(48), AUTUMN + 600.0 * np.arange(48)])
    block = many_rows(np.random.default_rng(1).permutation(times))
    parts = FrameShift("LSRK", RA, DEC, VLA, 1e4).cut(block)
    drift = np.ptp(frame_factor("LSRK", RA, DEC, VLA, times[:48])) * 1.42e9
    assert 2 * drift / (ReadSettings.max_drift * 1e4) / 3 < len(parts) < 2 * drift / (ReadSettings.max_drift * 1e4) + 4
    for part in parts:
        truth = frame_factor("LSRK", RA, DEC, VLA, part.time)
        assert np.abs(truth - part.doppler).max() * part.freq.max() <= ReadSettings.max_drift * 1e4
        np.testing.assert_array_equal(part.freq, block.freq)
        assert part.data.shape == part.weight.shape == (len(part.uvw), 3)
        assert len(part.antenna) == len(part.time) == len(part.uvw)
    samples = np.concatenate([part.data for part in parts])
    np.testing.assert_array_equal(samples[np.argsort(samples[:, 0].real)], block.data)


def test_wide_channels_stay_in_one_block():
    """Nothing is cut where nothing drifts: the block, with the mean factor."""
    block = many_rows(SPRING + 600.0 * np.arange(48))
    (part,) = FrameShift("BARY", RA, DEC, VLA, 1e6).cut(block)
    assert part.data is block.data
    assert part.doppler == pytest.approx(frame_factor("BARY", RA, DEC, VLA, block.time).mean(), abs=1e-12)


def observation_of(*dopplers, channels=4, width=1e4):
    """An observation of one row for each factor, 1.42 GHz."""
    block = many_rows(np.array([SPRING]))
    freq = 1.42e9 + width * np.arange(channels)
    shape = (2, channels)
    blocks = [
        replace(block, freq=freq, data=np.ones(shape, np.complex64), weight=np.ones(shape, np.float32), doppler=doppler)
        for doppler in dopplers
    ]
    return Observation(blocks, RA, DEC, channel_width=width)


def test_output_channels_follow_the_sky():
    """Blocks two channels apart: six output channels, of which the outer ones have one block and the others two."""
    shift = 2.2e4 / 1.42e9
    observation = observation_of(1.0, 1 + shift)
    assert observation.channels == 6
    groups = split_channels(observation, 6)
    assert [len(group) for group in groups] == [1, 1, 2, 2, 1, 1]
    for group in groups:
        assert np.ptp([block.output_freq[0] for block in group]) < 0.5e4
    with pytest.raises(ConfigError, match="--channels-out 7 is more than the 6 channels there are"):
        split_channels(observation, 7)


def test_a_small_drift_makes_no_channels():
    """A drift of 0.8 channels around the middle leaves as many channels as there were."""
    observation = observation_of(*(1 + np.linspace(-0.4, 0.4, 9) * 1e4 / 1.42e9))
    assert observation.channels == 4
    assert [len(group) for group in split_channels(observation, 4)] == [9] * 4


def test_one_factor_changes_no_output_channel():
    """All samples with the same factor, and channels that are not evenly spaced: as without it."""
    still, moving = observation_of(1.0), observation_of(1.0001, 1.0001)
    for observation in (still, moving):
        for block in observation.blocks:
            block.freq = block.freq[0] + np.array([0, 1e4, 1.1e4, 9e4])
    assert [list(one.freq - 1.42e9) for (one,) in split_channels(still, 3)] == [[0, 1e4], [1.1e4], [9e4]]
    for one, other in zip(split_channels(still, 3), split_channels(moving, 3), strict=True):
        np.testing.assert_array_equal(one[0].freq, other[0].freq)
        assert len(other) == 2


def test_channels_without_a_width():
    """A single channel, whose width nobody wrote down: each frequency is a channel."""
    observation = observation_of(1.0, 1.00001, channels=1, width=0.0)
    assert observation.channels == 2
    assert [len(group) for group in split_channels(observation, 2)] == [1, 1]


# Measurement Sets

WIDTH = 4.58e4
LOWEST = 1.42e9
LINE = (LOWEST + 20 * WIDTH) * 1.0001214
"""Of the line [Hz], in the local standard of rest: channel 20 in spring, and 26 in autumn."""


@pytest.fixture(scope="module")
def write_line(tmp_path_factory):
    """Factory of Measurement Sets with a point source of 1 Jy, only in a line that is fixed in the LSRK.

    The line is a channel wide; each sample has the part of it that its channel covers, by astropy.
    """
    from radrim.simulation import (
        ObservationPlan,
        ObservedField,
        ObservedWindow,
        Receivers,
        make_sky,
        observe,
        read_layout,
        write_ms,
    )
    from radrim.sky.catalogue import offset_position

    solar_system_ephemeris.set("builtin")
    vla = read_layout("vla-c")
    few = slice(1, None, 3)
    layout = replace(vla, stations=vla.stations[few], positions=vla.positions[few], diameters=vla.diameters[few])
    location = EarthLocation.from_geocentric(*VLA, unit="m")

    def write(starts, channels=28, noise=0.005):
        from radrim.earth import track_times

        tracks = [track_times(layout, RA, DEC, 0.1, 1.0, 900.0, start / 86400) for start in starts]
        field = ObservedField("LINE", RA, DEC, np.concatenate(tracks))
        window = ObservedWindow(LOWEST + WIDTH * np.arange(channels), WIDTH, ("XX", "YY"))
        source = make_sky(*offset_position(-24 * ARCSEC, 36 * ARCSEC, RA, DEC), [[1.0, 0, 0, 0]], 1.4e9)
        seen = observe(ObservationPlan(layout, [field], [window], 900.0), source, Receivers(0.0, seed=1))
        rng = np.random.default_rng(1)

        def measure(block):
            columns = seen(block)
            time = Time(block.times / 86400, format="mjd", scale="utc")
            sky = SkyCoord(RA, DEC, unit="rad")
            to_sun = sky.radial_velocity_correction("barycentric", time, location).to_value("m/s")
            # To the LSRK by adding velocities, which is 1e-8 off.
            factor = 1 / (1 + to_sun / C) * (1 - SUN @ sky.cartesian.xyz.value / C)
            away = np.abs(window.freq * factor[:, None] - LINE) / WIDTH
            rows = len(block.uvw) // len(block.times)
            columns["DATA"] *= np.repeat(np.maximum(0, 1 - away), rows, 0)[:, :, None]
            shape = (*columns["DATA"].shape, 2)
            columns["DATA"] += noise * rng.standard_normal(shape).view(complex)[..., 0]
            return columns

        path = tmp_path_factory.mktemp("frames") / "line.ms"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(iers.conf, "auto_download", False)
            return write_ms(path, ObservationPlan(layout, [field], [window], 900.0), measure)

    return write


@pytest.fixture(scope="module")
def two_epochs(write_line):
    """Half a year apart, in one Measurement Set."""
    return write_line([SPRING, AUTUMN])


def spectrum(result):
    """Of the source [Jy/beam], and the frequencies [Hz]."""
    y, x = (round(place) for place in result.grid.pixel(-24 * ARCSEC, 36 * ARCSEC))
    return np.array([c.dirty[y, x] for c in result.channels]), np.array([c.freq for c in result.channels])


OPTIONS = {"size": 64, "scale": "4asec", "niter": 0, "weight": "natural", "threads": 1}


@pytest.fixture(scope="module")
def cubes(two_epochs, tmp_path_factory, without_reports):
    """The same data in both frames, channel by channel."""
    folder = tmp_path_factory.mktemp("cubes")
    with without_reports():
        many = read([two_epochs], Selection(outframe="LSRK")).channels
        return {
            "TOPO": radrim.image(two_epochs, **OPTIONS, channels_out=28, name=folder / "t"),
            "LSRK": radrim.image(two_epochs, **OPTIONS, channels_out=many, outframe="LSRK", name=folder / "l"),
        }


def test_a_line_lands_in_one_output_channel(cubes):
    """Two epochs half a year apart: one line in the LSRK, at its frequency; two as observed."""
    flux, freq = spectrum(cubes["LSRK"])
    assert len(flux) == 34
    peak = flux.argmax()
    assert flux[peak] == pytest.approx(1, abs=0.03)
    assert freq[peak] == pytest.approx(LINE, abs=0.05 * WIDTH)
    assert np.abs(np.delete(flux, peak)).max() < 0.03
    flux, freq = spectrum(cubes["TOPO"])
    lines = np.flatnonzero(flux > 0.25)
    assert list(lines) == [20, 26]
    np.testing.assert_allclose(flux[lines], 0.5, atol=0.1)
    assert np.abs(np.delete(flux, lines)).max() < 0.03


def test_headers_are_in_the_output_frame(cubes):
    """SPECSYS, SSYSOBS, frequency and width; nothing new where nothing was converted."""
    result = cubes["LSRK"]
    for image in (*result.channels, result):
        header = fits.getheader(image.paths["dirty"])
        assert (header["SPECSYS"], header["SSYSOBS"]) == ("LSRK", "TOPOCENT")
        assert header["CRVAL3"] == image.freq
        assert header["CDELT3"] == image.bandwidth
    np.testing.assert_allclose([image.bandwidth for image in result.channels], WIDTH, rtol=0.05)
    assert result.bandwidth == pytest.approx(34 * WIDTH, rel=0.01)
    assert result.freq == pytest.approx((LOWEST + 13.5 * WIDTH) * (1.0001214 + 0.9999279) / 2, abs=0.3 * WIDTH)
    plain = fits.getheader(cubes["TOPO"].paths["dirty"])
    assert plain["SPECSYS"] == "TOPOCENT"
    assert "SSYSOBS" not in plain
    assert plain["CDELT3"] == pytest.approx(28 * WIDTH)


def test_the_whole_band_does_not_depend_on_the_frame(cubes):
    """All samples are in some output channel, with their true uv: the average over the channels is the same image."""
    assert cubes["LSRK"].facts["visibilities"] == cubes["TOPO"].facts["visibilities"]
    np.testing.assert_allclose(cubes["LSRK"].dirty, cubes["TOPO"].dirty, atol=1e-5)
    np.testing.assert_allclose(cubes["LSRK"].psf, cubes["TOPO"].psf, atol=2e-4)


def test_facets_select_the_same_samples(two_epochs, tmp_path, no_report, caplog):
    """In facets, blocks are found again by the output frequency: the same images and headers."""
    options = OPTIONS | {"channels_out": 4, "outframe": "LSRK", "chan_range": (18, 28)}
    caplog.set_level("INFO", "radrim")
    whole = radrim.image(two_epochs, **options, name=tmp_path / "w")
    facets = radrim.image(two_epochs, **options, facet=64, memory="4GB", name=tmp_path / "f")
    for one, other in zip([*whole.channels, whole], [*facets.channels, facets], strict=True):
        assert one.facts["visibilities"] == other.facts["visibilities"]
        assert one.freq == pytest.approx(other.freq, rel=1e-12)
        assert one.bandwidth == pytest.approx(other.bandwidth)
        np.testing.assert_allclose(other.dirty, one.dirty, atol=1e-3)
    # Ten channels, six of them beyond those of the other half year: 16, of which the middle four count twice.
    assert [image.facts["visibilities"] for image in whole.channels] == [4 * 144, 6 * 144, 6 * 144, 4 * 144]
    assert caplog.text.count("Facets of at most 64 pixels") == 1


def test_the_cache_keeps_the_factor(two_epochs, tmp_path):
    """Blocks in the work directory, read for the first time or found there, know their factor; bands follow it."""
    selection = Selection(outframe="BARY")
    plain = read([two_epochs], selection)
    assert len({block.doppler for block in plain.blocks}) == len(plain.blocks) > 1
    with WorkDir(tmp_path / "run", {}) as work:
        store = VisibilityCache(work)
        for found in (store.read([two_epochs], selection), VisibilityCache(work).read([two_epochs], selection)):
            assert [block.doppler for block in found.blocks] == [block.doppler for block in plain.blocks]
            assert found.freq_frame == "BARYCENT"
        store.weigh(found, radrim.geometry.ImageGrid(64, 64, 4 * ARCSEC), radrim.config.values.Weighting("natural"))
        first = plain.blocks[0]
        (part, *rest) = Blocks(work, tuple(first.output_freq[[3, 5]]))
        np.testing.assert_array_equal(part.freq, first.freq[3:6])
        assert all(len(block.freq) < 5 for block in rest)
        assert len(Blocks(work, (0, first.output_freq[0] - 100 * WIDTH))) == 0


def test_several_measurement_sets(write_line, tmp_path, no_report):
    """Each file has the factor of its own times; together they make one line."""
    paths = [write_line([SPRING]), write_line([AUTUMN])]
    together = read(paths, Selection(outframe="LSRK"))
    assert together.freq_frame == "LSRK"
    for block in together.blocks:
        truth = frame_factor("LSRK", RA, DEC, VLA, block.time)
        assert np.abs(truth / block.doppler - 1).max() * LOWEST < ReadSettings.max_drift * WIDTH
    result = radrim.image(paths, **OPTIONS, channels_out=together.channels, outframe="LSRK", name=tmp_path / "a")
    flux, freq = spectrum(result)
    assert freq[flux.argmax()] == pytest.approx(LINE, abs=0.05 * WIDTH)
    assert flux.max() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("field", [0, 1])
def test_each_field_has_its_own_factor(make_ms, field):
    """That of the phase centre that is imaged, at its times."""
    (block,) = read([make_ms(fields=2, times=2)], Selection(field=str(field), outframe="BARY")).blocks
    expected = frame_factor("BARY", 2.0, 0.6 + np.radians(field), VLA, block.time).mean()
    assert block.doppler == pytest.approx(expected, abs=1e-8)


def stored_in(edit_ms, source, code):
    return edit_ms(source=source, subtable="SPECTRAL_WINDOW", MEAS_FREQ_REF=lambda old: 0 * old + code)


def test_other_frames_are_kept_or_refused(small_ms, edit_ms):
    """Data in the frame that is asked for stay as they are; in another but TOPO they are refused, with both names."""
    local = stored_in(edit_ms, small_ms, 1)
    for outframe in (None, "LSRK"):
        observation = read([local], Selection(outframe=outframe))
        assert observation.freq_frame == "LSRK"
        assert [block.doppler for block in observation.blocks] == [1.0]
    for outframe in ("TOPO", "BARY"):
        message = rf"--outframe {outframe} needs topocentric .* window 0 of .*edited.ms are in the frame LSRK; leave"
        with pytest.raises(ConfigError, match=message):
            read([local], Selection(outframe=outframe))
    (block,) = read([small_ms], Selection(outframe="TOPO")).blocks
    assert block.doppler == 1.0


def test_a_single_channel_without_a_width(make_ms, edit_ms):
    """A CHAN_WIDTH of 0 is no reason to fail, or to cut."""
    path = make_ms(windows=((1.38e9, 1),))
    path = edit_ms(source=path, subtable="SPECTRAL_WINDOW", CHAN_WIDTH=lambda old: 0 * old)
    (block,) = read([path], Selection(outframe="BARY")).blocks
    assert abs(velocity(block.doppler)) < 31
    assert block.doppler != 1


def test_antennas_elsewhere_are_refused(small_ms, edit_ms):
    """Positions that are not on the Earth's surface, such as local ones, are named."""
    path = edit_ms(subtable="ANTENNA", POSITION=lambda old: old - VLA)
    with pytest.raises(
        InputError, match=r"--outframe LSRK needs the position of the array, but the antennas of .*edited.ms"
    ):
        read([path], Selection(outframe="LSRK"))
    read([path])


def test_the_command_says_the_frame(command, small_ms, tmp_path, no_report):
    """--outframe lsrk: frame and number of channels in the log."""
    words = ["image", small_ms, "--outframe", "lsrk", "--niter", 0, "--size", 64, 64, "--name", tmp_path / "a"]
    done = command(*words)
    assert done.status == 0
    assert "MHz (LSRK), 4 channels" in done.out

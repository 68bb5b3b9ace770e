"""--start, --width, --nchan, --restfreq and --veltype: which channels a cube has, and its velocities."""

import shutil
import warnings

import numpy as np
import pytest
from astropy import units
from astropy.io import fits
from astropy.wcs import WCS

import radrim
from radrim.config.spectral import parse_spectral
from radrim.errors import ConfigError
from radrim.geometry import C
from radrim.read.reader import Selection, read
from radrim.read.spectral_axis import frequency_of, velocity_of
from radrim.visibilities import split_channels

LOWEST, NATIVE, COUNT = 1.38e9, 10e6, 16
LINE = 9
"""Channel with the line."""
REST = 1.5e9


@pytest.fixture(scope="module")
def line_ms(make_ms, tmp_path_factory):
    """Sixteen channels of 10 MHz; the source is seen in one of them alone."""
    import casacore.tables as casatables

    path = tmp_path_factory.mktemp("line") / "line.ms"
    shutil.copytree(make_ms(windows=((LOWEST, COUNT),), noise=1e-3), path)
    table = casatables.table(str(path), readonly=False, ack=False)
    data = table.getcol("DATA")
    data *= np.where(np.arange(COUNT) == LINE, 1, 1e-3)[:, None].astype(np.float32)
    table.putcol("DATA", data)
    table.close()
    return path


def with_source(ms, path, frequencies):
    """A copy of a Measurement Set whose table SOURCE has these rest frequencies [Hz] in one row."""
    import casacore.tables as casatables

    shutil.copytree(ms, path)
    source = casatables.default_ms_subtable("SOURCE", str(path / "SOURCE"))
    source.addcols(casatables.maketabdesc(casatables.makearrcoldesc("REST_FREQUENCY", 0.0, 1)))
    source.addrows(1)
    source.putcell("SOURCE_ID", 0, 0)
    source.putcell("SPECTRAL_WINDOW_ID", 0, -1)
    source.putcell("REST_FREQUENCY", 0, np.array(frequencies))
    source.close()
    main = casatables.table(str(path), readonly=False, ack=False)
    main.putkeyword("SOURCE", f"Table: {path / 'SOURCE'}")
    main.close()
    field = casatables.table(str(path / "FIELD"), readonly=False, ack=False)
    field.putcol("SOURCE_ID", np.zeros(field.nrows(), np.int32))
    field.close()
    return path


def channels_of(ms, count, **options):
    """Channels of the data in each output channel, counted from 0."""
    found = read([ms], Selection(channels_out=count, **options))
    groups = split_channels(found, count)
    return [sorted(round((f - LOWEST) / NATIVE) for block in group for f in block.output_freq) for group in groups]


@pytest.mark.parametrize(
    "text, value, kind",
    [
        ("12", 12, "channels"),
        ("1420.4MHz", 1420.4e6, "Hz"),
        ("1.4204e9 Hz", 1420.4e6, "Hz"),
        ("-20km/s", -2e4, "m/s"),
        ("1500 m/s", 1500, "m/s"),
    ],
)
def test_values_have_units(text, value, kind):
    """Whole numbers are channels."""
    found = parse_spectral("start", text)
    assert (found.value, found.kind) == (pytest.approx(value), kind)


@pytest.mark.parametrize("convention", ["radio", "optical"])
def test_velocities_are_those_of_astropy(convention):
    """In both conventions, there and back."""
    equivalency = {"radio": units.doppler_radio, "optical": units.doppler_optical}[convention](REST * units.Hz)
    for velocity in (-3e5, 0.0, 2e6):
        there = (velocity * units.m / units.s).to_value(units.Hz, equivalency)
        assert frequency_of(velocity, REST, convention) == pytest.approx(there, rel=1e-12)
        assert velocity_of(there, REST, convention) == pytest.approx(velocity, abs=1e-3)


@pytest.mark.parametrize(
    "options, expected",
    [
        ({"start": "4"}, [[4], [5], [6]]),
        ({"start": "4", "width": "2"}, [[4, 5], [6, 7], [8, 9]]),
        ({"width": "3"}, [[0, 1, 2], [3, 4, 5], [6, 7, 8]]),
        ({"start": "1.40GHz", "width": "20MHz"}, [[1, 2], [3, 4], [5, 6]]),
        ({"start": "1.42GHz", "width": "-10MHz"}, [[2], [3], [4]]),
        ({"start": "1.40GHz"}, [[2], [3], [4]]),
        ({"start": "1.52GHz", "width": "10MHz"}, [[14], [15], []]),
        ({"start": "6", "width": "-1"}, [[4], [5], [6]]),
    ],
)
def test_output_channels_are_where_they_are_wanted(line_ms, options, expected):
    """Each channel of the data belongs to the output channel that it lies in, and nothing else is read."""
    assert channels_of(line_ms, 3, **options) == expected
    assert read([line_ms], Selection(channels_out=3, **options)).channels == len([k for k in expected if k])


@pytest.mark.parametrize("convention", ["radio", "optical"])
def test_velocities_choose_channels(line_ms, convention):
    """The velocity of a channel selects it; a width above 0 goes to higher velocities, that is lower frequencies."""
    start = velocity_of(LOWEST + 10 * NATIVE, REST, convention)
    width = velocity_of(LOWEST + 9 * NATIVE, REST, convention) - start
    options = {"restfreq": REST, "veltype": convention, "width": f"{width:.6f}m/s"}
    assert channels_of(line_ms, 3, start=f"{start:.6f}m/s", **options) == [[8], [9], [10]]
    assert channels_of(line_ms, 3, start=f"{start / 1e3:.9f}km/s", **options | {"width": None}) == [[8], [9], [10]]
    down = options | {"width": f"-{width:.6f}m/s"}
    assert channels_of(line_ms, 3, start=f"{start:.6f}m/s", **down) == [[10], [11], [12]]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"start": "5km/s"}, "needs the rest frequency"),
        ({"width": "1MHz"}, r"is narrower \(1000 kHz\) than the channels of the data \(10000 kHz\)"),
        ({"start": "16"}, "the data that are selected have 16 channels"),
        ({"start": "2GHz"}, "the data have 1380 to 1530 MHz"),
        ({"start": "-5km/s", "restfreq": 3e9}, r"the data have 1380 to 1530 MHz \(146898 to 161888 km/s\)"),
    ],
)
def test_what_cannot_be_is_refused(line_ms, options, message):
    """With what there is."""
    with pytest.raises(ConfigError, match=message):
        read([line_ms], Selection(channels_out=3, **options))


@pytest.mark.parametrize("option, value", [("start", "5foo"), ("width", "0"), ("start", "-3"), ("restfreq", "5km")])
def test_values_without_sense_are_refused(option, value):
    """At once, before anything is read."""
    with pytest.raises(ConfigError, match=f"--{option}"):
        radrim.image("a.ms", **{option: value})


@pytest.mark.parametrize("facet", [None, 64])
def test_a_cube_has_the_velocities_of_the_line(line_ms, tmp_path, no_report, facet):
    """By astropy and spectral-cube the line is at its velocity."""
    common = {"size": 96, "scale": "6asec", "niter": 0, "facet": facet, "name": tmp_path / "x"}
    radrim.image(line_ms, start=6, width=1, channels_out=10, restfreq="1.5GHz", cube=True, **common)
    header = fits.getheader(tmp_path / "x-dirty.fits")
    assert (header["RESTFRQ"], header["VELREF"], header["SPECSYS"]) == (REST, 259, "TOPOCENT")
    assert (header["CRVAL3"], header["CDELT3"], header["NAXIS3"]) == (LOWEST + 6 * NATIVE, NATIVE, 10)
    cube = fits.getdata(tmp_path / "x-dirty.fits")[0]
    brightest = int(np.nanargmax(cube[:, 46:50, 40:46].max((1, 2))))
    assert brightest == LINE - 6
    with warnings.catch_warnings(action="ignore"):
        axis = WCS(header).spectral
        expected = C * (1 - (LOWEST + LINE * NATIVE) / REST)
        there = axis.pixel_to_world(brightest).to(
            units.m / units.s, doppler_convention="radio", doppler_rest=header["RESTFRQ"] * units.Hz
        )
        assert there.to_value() == pytest.approx(expected, rel=1e-9)
        spectral_cube = pytest.importorskip("spectral_cube")
        found = spectral_cube.SpectralCube.read(tmp_path / "x-dirty.fits").with_spectral_unit(
            units.km / units.s, velocity_convention="radio"
        )
    assert found.spectral_axis[brightest].to_value(units.m / units.s) == pytest.approx(expected, rel=1e-9)


def test_channels_beyond_the_data_are_blank(line_ms, tmp_path, no_report):
    """The cube has all channels that were asked for."""
    options = {"start": "1.51GHz", "width": "10MHz", "channels_out": 5, "cube": True}
    radrim.image(line_ms, size=64, scale="6asec", niter=0, name=tmp_path / "x", **options)
    cube = fits.getdata(tmp_path / "x-dirty.fits")[0]
    assert [bool(np.isnan(plane).all()) for plane in cube] == [False, False, False, True, True]
    assert fits.getheader(tmp_path / "x-dirty.fits")["CRVAL3"] == 1.51e9


def test_one_channel_is_an_image_of_that_range(line_ms, tmp_path, no_report):
    """Without --nchan there is one output channel."""
    result = radrim.image(line_ms, start=8, width=3, size=96, scale="6asec", niter=0, name=tmp_path / "x")
    assert result.freq == pytest.approx(LOWEST + 9 * NATIVE, rel=1e-3)
    assert result.bandwidth == pytest.approx(3 * NATIVE)


# Rest frequencies


def test_without_a_rest_frequency_the_header_has_none(line_ms, tmp_path, no_report):
    """The frequency of an image is no rest frequency; a cube says that it is missing."""
    radrim.image(line_ms, channels_out=2, size=64, scale="6asec", niter=0, name=tmp_path / "x")
    for path in ("x-MFS-dirty.fits", "x-0000-dirty.fits"):
        header = fits.getheader(tmp_path / path)
        assert "RESTFRQ" not in header
        assert "VELREF" not in header
    assert "RESTFRQ is left out" in (tmp_path / "x-qa.json").read_text()


@pytest.mark.parametrize("frequencies, expected", [([REST], REST), ([REST, 1.6e9], None)])
def test_the_table_source_knows_the_rest_frequency(line_ms, tmp_path, no_report, frequencies, expected):
    """If there is a single one; several are named."""
    ms = with_source(line_ms, tmp_path / "source.ms", frequencies)
    radrim.image(ms, channels_out=2, size=64, scale="6asec", niter=0, name=tmp_path / "x")
    assert fits.getheader(tmp_path / "x-MFS-dirty.fits").get("RESTFRQ") == expected
    said = (tmp_path / "x-qa.json").read_text()
    assert ("from the table SOURCE" if expected else "has several (1.5 GHz, 1.6 GHz)") in said
    if expected:
        start = velocity_of(LOWEST + 10 * NATIVE, REST)
        assert channels_of(ms, 2, start=f"{start / 1e3:.6f}km/s") == [[9], [10]]


def test_an_optical_cube_says_so(line_ms, tmp_path, no_report):
    """VELREF without the 256 of the radio convention."""
    radrim.image(line_ms, restfreq=REST, veltype="optical", size=64, scale="6asec", niter=0, name=tmp_path / "x")
    assert fits.getheader(tmp_path / "x-dirty.fits")["VELREF"] == 3


def test_frames(line_ms):
    """In another frame a channel of the data belongs where its shifted frequency lies."""
    found = read([line_ms], Selection(channels_out=4, start="3", width="1", outframe="LSRK", restfreq=REST))
    factor = found.blocks[0].doppler
    assert found.axis[0] == pytest.approx((LOWEST + 3 * NATIVE) * factor, abs=1e-3 * NATIVE)
    groups = split_channels(found, 4)
    assert [round((group[0].freq[0] - LOWEST) / NATIVE) for group in groups] == [3, 4, 5, 6]


# Weights


def test_channels_are_weighted_by_themselves(line_ms, tmp_path, no_report):
    """--weighting-per-channel gives each channel the weights that it has alone."""
    common = {"size": 96, "scale": "6asec", "niter": 0, "weight": "briggs -1"}
    cube = radrim.image(line_ms, channels_out=4, weighting_per_channel=True, name=tmp_path / "cube", **common)
    other = radrim.image(line_ms, channels_out=4, name=tmp_path / "other", **common)
    alone = radrim.image(line_ms, chan_range=(4, 8), name=tmp_path / "alone", **common)
    assert np.abs(cube.channels[1].psf - alone.psf).max() < 1e-5
    assert np.abs(other.channels[1].psf - alone.psf).max() > 1e-3
    assert cube.noise == pytest.approx(other.noise, rel=0.5)


def test_weights_of_channels_agree_with_wsclean(line_ms, tmp_path, no_report):
    """As WSClean's -no-mf-weighting."""
    if shutil.which("wsclean") is None:
        pytest.skip("WSClean is not installed")
    import subprocess

    words = "-size 96 96 -scale 6asec -niter 0 -weight briggs -1 -channels-out 4 -no-mf-weighting -make-psf -quiet"
    subprocess.run(
        ["wsclean", *words.split(), "-use-wgridder", "-no-small-inversion", "-wgridder-accuracy", "1e-6", "-name",
         str(tmp_path / "w"), str(line_ms)], check=True,
    )  # fmt: skip
    ours = radrim.image(
        line_ms, channels_out=4, weighting_per_channel=True, size=96, scale="6asec", niter=0, weight="briggs -1",
        epsilon=1e-6, name=tmp_path / "x",
    )  # fmt: skip
    for number in range(4):
        theirs = fits.getdata(tmp_path / f"w-{number:04d}-psf.fits").squeeze()
        assert np.abs(ours.channels[number].psf - theirs).max() < 1e-4

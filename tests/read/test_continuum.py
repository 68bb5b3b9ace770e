"""Continuum subtraction: what is smooth in frequency goes, row by row; lines and noise stay."""

from dataclasses import replace

import numpy as np
import pytest

import radrim
from radrim.errors import ConfigError, DataError
from radrim.geometry import ARCSEC
from radrim.read.continuum import Continuum, line_free
from radrim.read.reader import Selection, read
from radrim.read.settings import ContinuumSettings, ReadSettings

FREQ = 1.4e9 + 1e5 * np.arange(64)
LINE = slice(30, 34)


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def smooth(rows, order, rng):
    """A polynomial of that order of each row, as large at one end of the band as at the other, (row, chan) [Jy]."""
    x = np.linspace(-1, 1, len(FREQ))
    coefficients = rng.standard_normal((rows, order + 1)) + 1j * rng.standard_normal((rows, order + 1))
    return 10 * coefficients @ np.vander(x, order + 1).T


def flagged(rows, rng, part=0.5):
    """Weights (row, chan), uneven, some of them 0; the first row has none."""
    weight = rng.uniform(0.1, 10, (rows, len(FREQ))) * rng.uniform(0.01, 100, (rows, 1))
    weight[1:][rng.random((rows - 1, len(FREQ))) < part] = 0
    return weight.astype(np.float32)


def outside(part):
    free = np.ones(len(FREQ), bool)
    free[part] = False
    return free


@pytest.mark.parametrize("order", range(6))
def test_the_continuum_goes(order, rng):
    """A polynomial of the fitted order leaves less than 1e-5 of itself, whatever is flagged and whatever that holds."""
    several_parts = ContinuumSettings(samples=64 * 7)
    truth = smooth(50, order, rng)
    weight = flagged(50, rng)
    data = np.where(weight > 0, truth, np.nan).astype(np.complex64)
    left, before = data.copy(), weight.copy()
    lost = Continuum(FREQ, outside(LINE), order, several_parts).subtract(left, weight)
    assert not lost.any()
    np.testing.assert_array_equal(weight, before)
    # complex64 itself has 6e-8 of the largest.
    assert np.abs(left[weight > 0]).max() < 1e-5 * np.abs(truth).max()


def test_a_higher_order_stays(rng):
    """Curvature is not taken by a straight line: what is left is orthogonal to it, and is not small."""
    truth = smooth(5, 2, rng)
    data, weight = truth.astype(np.complex64), np.ones(truth.shape, np.float32)
    Continuum(FREQ, outside(slice(0)), 1).subtract(data, weight)
    assert np.abs(data).max() > 1
    for moment in (np.ones(64), np.arange(64) - 31.5):
        assert np.abs(data @ moment).max() < 1e-4 * np.abs(moment).sum()


def test_a_line_stays(rng):
    """What is in channels that are not fitted keeps its visibilities; the fit does not see it."""
    truth, weight = smooth(20, 1, rng), flagged(20, rng, 0.3)
    line = np.zeros_like(truth)
    line[:, LINE] = rng.standard_normal((20, 4)) * np.exp(1j)
    data = (truth + line).astype(np.complex64)
    Continuum(FREQ, outside(LINE), 1).subtract(data, weight)
    assert np.abs(data - line)[weight > 0].max() < 1e-4


def test_uneven_weights_make_the_best_fit(rng):
    """The continuum is that of numpy's weighted polynomial fit, real and imaginary part each for itself."""
    weight = flagged(6, rng)
    data = (rng.standard_normal((6, 64)) + 1j * rng.standard_normal((6, 64))).astype(np.complex64)
    left = data.copy()
    Continuum(FREQ, outside(LINE), 3).subtract(left, weight)
    x = np.linspace(-1, 1, 64)
    for row in range(6):
        used = (weight[row] > 0) & outside(LINE)
        fits = [
            np.polyval(np.polyfit(x[used], part[used], 3, w=np.sqrt(weight[row, used].astype(float))), x)
            for part in (data[row].real.astype(float), data[row].imag.astype(float))
        ]
        np.testing.assert_allclose(data[row] - left[row], fits[0] + 1j * fits[1], atol=1e-5)


def test_noise_stays_noise(rng):
    """Data of noise alone keep mean zero, with the variance that the docstring promises: less where it was fitted."""
    rows, order, free = 4000, 2, outside(slice(20, 44))
    noise = rng.standard_normal((2, rows, 64))
    data, weight = (noise[0] + 1j * noise[1]).astype(np.complex64), np.ones((rows, 64), np.float32)
    assert not Continuum(FREQ, free, order).subtract(data, weight).any()
    assert np.abs(data.mean(0)).max() < 5 * np.sqrt(2 / rows)
    variance = data.real.var(0)
    assert variance[free].mean() == pytest.approx(1 - (order + 1) / free.sum(), abs=0.01)
    x = np.linspace(-1, 1, 64)
    design = np.vander(x, order + 1)
    added = np.einsum("ci,ij,cj->c", design, np.linalg.inv(design[free].T @ design[free]), design)
    np.testing.assert_allclose(variance[~free], 1 + added[~free], atol=6 * np.sqrt(2 / rows))
    assert (variance[~free] > 1.01).all()


@pytest.mark.parametrize("order", [0, 1, 3])
def test_rows_with_few_channels_lose_their_weight(order, rng):
    """As many good line-free channels as coefficients are enough; with one less the row is dropped, and no other."""
    weight = np.zeros((3, 64), np.float32)
    places = [0, 63, 20, 45]
    weight[0, places[: order + 1]] = weight[1, places[:order]] = weight[2] = 1
    weight[:, 31] = 1  # in the line, and of no use to the fit
    before, truth = weight.copy(), smooth(3, order, rng)
    data = truth.astype(np.complex64)
    lost = Continuum(FREQ, outside(LINE), order).subtract(data, weight)
    np.testing.assert_array_equal(lost[1], before[1] > 0)
    assert not weight[1].any()
    assert not lost[[0, 2]].any()
    assert np.abs(data[[0, 2]])[weight[[0, 2]] > 0].max() < 1e-4 * np.abs(truth).max()


def test_far_extrapolations_lose_their_weight(rng):
    """Where good channels are left at one end only, samples far from them are dropped: those with much more noise."""
    weight = np.ones((4000, 64), np.float32)
    weight[:, 8:20] = 0
    noise = rng.standard_normal((2, *weight.shape))
    data = (noise[0] + 1j * noise[1]).astype(np.complex64)
    lost = Continuum(FREQ, outside(slice(20, 64)), 1).subtract(data, weight)
    assert (lost == lost[0]).all()
    spread, lost = data.real.std(0), lost[0]
    assert not lost[:21].any()
    assert lost[-1]
    limit = ContinuumSettings.max_noise_increase
    assert spread[lost].min() == pytest.approx(limit, rel=0.08)
    assert spread[20:][~lost[20:]].max() == pytest.approx(limit, rel=0.08)
    assert not weight[:, lost].any()


@pytest.mark.parametrize(
    "order, ranges, words",
    [
        (1, (0, 4, 60, 65), ["--contsub-channels 60 65", "64 channels", "END is at most 64"]),
        (2, (0, 2), ["--contsub 2 needs at least 3", "has 2 in --contsub-channels", "lower order"]),
    ],
)
def test_channels_that_cannot_do(order, ranges, words):
    """Channels that are not there, or too few of them, are named with what there is."""
    with pytest.raises(ConfigError) as error:
        line_free("a.ms", 3, 64, order, ranges)
    for word in ["a.ms", "spectral window 3", *words]:
        assert word in str(error.value)


def test_line_free_channels():
    """Ranges add up, also where they overlap; without any every channel counts."""
    np.testing.assert_array_equal(np.flatnonzero(line_free("a.ms", 0, 8, 1, (0, 2, 1, 3, 7, 8))), [0, 1, 2, 7])
    assert line_free("a.ms", 0, 8, 1).all()


# In a Measurement Set

CHANNEL = 9
FLUX = 0.4
NOISE = 0.02


def write_line(path, flux):
    """16 channels: continuum sources with slopes, 5 Jy together, and a line of a flux [Jy] in channel 9 beside them."""
    from radrim.earth import track_times
    from radrim.simulation import (
        ObservationPlan,
        ObservedField,
        ObservedWindow,
        Receivers,
        make_sky,
        observe,
        predict,
        read_layout,
        write_ms,
    )
    from radrim.sky.catalogue import offset_position

    vla = read_layout("vla-c")
    few = slice(1, None, 3)
    layout = replace(vla, stations=vla.stations[few], positions=vla.positions[few], diameters=vla.diameters[few])
    ra, dec = 2.0, 0.6
    window = ObservedWindow(1.4e9 + 1e5 * np.arange(16), 1e5, ("XX", "YY"))
    field = ObservedField("LINE", ra, dec, track_times(layout, ra, dec, 0.1, 6.0, 900.0))
    places = [offset_position(x * ARCSEC, y * ARCSEC, ra, dec) for x, y in ((90, 30), (-60, -45))]
    sky = make_sky(*np.transpose(places), [[3.0, 0, 0, 0], [2.0, 0, 0, 0]], 1.4e9, alpha=[-0.8, 1.2])
    line = make_sky(*offset_position(-30 * ARCSEC, 45 * ARCSEC, ra, dec), [[flux, 0, 0, 0]], 1.4e9)
    plan = ObservationPlan(layout, [field], [window], 900.0)
    seen = observe(plan, sky, Receivers(NOISE, flagged=0.05, seed=1))

    def measure(block):
        columns = seen(block)
        columns["DATA"][:, CHANNEL] += predict(line, block.uvw, window.freq[CHANNEL : CHANNEL + 1], ra, dec)[:, :, 0]
        return columns

    return write_ms(path, plan, measure)


@pytest.fixture(scope="module")
def line_ms(tmp_path_factory):
    """With a line in emission."""
    return write_line(tmp_path_factory.mktemp("line") / "line.ms", FLUX)


def test_image_of_a_line(line_ms, tmp_path, no_report):
    """The line's channel has the line with its flux, within 2 %, and the others have noise, at the noise's level."""
    options = {"size": 128, "scale": "3asec", "weight": "natural", "solver": "clean", "contsub": 1}
    options["contsub_channels"] = [0, CHANNEL, CHANNEL + 1, 16]
    cube = radrim.image(line_ms, **options, channels_out=16, niter=0, name=tmp_path / "cube")
    line = radrim.image(line_ms, **options, chan_range=(CHANNEL, CHANNEL + 1), name=tmp_path / "line")
    y, x = (round(place) for place in cube.grid.pixel(-30 * ARCSEC, 45 * ARCSEC))
    assert cube.channels[CHANNEL].dirty[y, x] == pytest.approx(FLUX, rel=0.02)
    assert line.image[y, x] == pytest.approx(FLUX, rel=0.02)
    assert line.model.sum() == pytest.approx(FLUX, rel=0.02)
    for number, channel in enumerate(cube.channels):
        if number != CHANNEL:
            thermal = NOISE / np.sqrt(2 * channel.facts["visibilities"])  # of two hands
            assert channel.dirty.std() == pytest.approx(thermal, rel=0.15)
            assert np.abs(channel.dirty).max() < 6 * thermal


def test_absorption(tmp_path, no_report):
    """What is left of a line in absorption is negative, and the learned minor cycle finds that, too."""
    ms = write_line(tmp_path / "line.ms", -FLUX)
    options = {"size": 128, "scale": "3asec", "weight": "natural", "contsub": 1, "chan_range": (CHANNEL, CHANNEL + 1)}
    options["contsub_channels"] = [0, CHANNEL, CHANNEL + 1, 16]
    line = radrim.image(ms, **options, name=tmp_path / "line")
    y, x = (round(place) for place in line.grid.pixel(-30 * ARCSEC, 45 * ARCSEC))
    assert line.image[y, x] == pytest.approx(-FLUX, rel=0.02)
    assert line.model.sum() == pytest.approx(-FLUX, rel=0.1)


def test_channels_outside_the_range_are_fitted(line_ms):
    """--chan-range keeps its channels of what the whole window gives, to the last bit, counted alone."""
    order = {"contsub": 1, "contsub_channels": (1, 8, 11, 15)}
    (whole,) = read([line_ms], Selection(**order)).blocks
    observation = read([line_ms], Selection(**order, chan_range=(8, 11)))
    (part,) = observation.blocks
    np.testing.assert_array_equal(part.freq, whole.freq[8:11])
    rows = whole.weight[:, 8:11].any(1)
    np.testing.assert_array_equal(part.data, whole.data[rows, 8:11])
    np.testing.assert_array_equal(part.weight, whole.weight[rows, 8:11])
    plain = read([line_ms], Selection(chan_range=(8, 11)))
    assert observation.counts == plain.counts
    assert observation.counts["flagged"] > 0


@pytest.mark.parametrize("range_", [None, (0, 3)])
def test_frequencies_that_count_down(line_ms, edit_ms, range_):
    """A lower sideband: the same samples, with the channels' numbers of the file."""
    path = edit_ms(
        source=line_ms,
        DATA=lambda data: data[:, ::-1],
        FLAG=lambda flag: flag[:, ::-1],
    )
    path = edit_ms(source=path, subtable="SPECTRAL_WINDOW", CHAN_FREQ=lambda freq: freq[:, ::-1])
    turned_range = None if range_ is None else (16 - range_[1], 16 - range_[0])
    (straight,) = read([line_ms], Selection(contsub=2, contsub_channels=(0, 5, 12, 16), chan_range=range_)).blocks
    turned = Selection(contsub=2, contsub_channels=(0, 4, 11, 16), chan_range=turned_range)
    (turned,) = read([path], turned).blocks
    np.testing.assert_array_equal(turned.freq, straight.freq)
    np.testing.assert_array_equal(turned.weight, straight.weight)
    np.testing.assert_allclose(turned.data, straight.data, atol=1e-5)


def test_chunks_change_nothing(line_ms):
    """Each row is fitted by itself."""
    selection = Selection(contsub=1, contsub_channels=(0, CHANNEL, CHANNEL + 1, 16))
    (whole,) = read([line_ms], selection).blocks
    (pieces,) = read([line_ms], selection, settings=ReadSettings(chunk_bytes=8 * 2 * 16 * 50)).blocks
    np.testing.assert_allclose(pieces.data, whole.data, atol=1e-6)


def test_rubbish_is_not_fitted(line_ms, edit_ms):
    """NaN, and samples without weight, do not spoil the rest of their row; the uv range does not narrow the fit."""
    selection = Selection(contsub=1, flag_nonfinite=True)

    def rubbish(data):
        data[::3, 4] = np.nan
        return data

    (broken,) = read([edit_ms(source=line_ms, DATA=rubbish)], selection).blocks
    assert np.isfinite(broken.data).all()
    assert np.abs(broken.data).max() < 1
    (whole,) = read([line_ms], selection).blocks
    longest = whole.uv_length.max() * whole.freq[8] / 299792458.0
    (short,) = read([line_ms], replace(selection, uv_range=(0, longest))).blocks
    cut = (short.weight == 0) & (whole.weight > 0)
    assert cut.any()
    np.testing.assert_array_equal(short.data, np.where(cut, 0, whole.data))


def test_dropped_rows_are_said(line_ms, edit_ms):
    """Rows without enough good channels are counted, of the channels that are imaged; if none is left, why."""
    few = edit_ms(
        source=line_ms,
        FLAG=lambda flag: np.zeros_like(flag) | ((np.arange(len(flag)) < 5)[:, None] & (np.arange(16) > 2))[..., None],
    )
    observation = read([few], Selection(contsub=3, chan_range=(0, 2)))
    assert observation.counts["no_continuum"] == 10
    assert sum(len(block.uvw) for block in observation.blocks) == 864 - 5
    (note,) = observation.notes
    assert note.startswith("10 samples of edited.ms were dropped because too few good line-free channels")
    none = edit_ms(source=line_ms, FLAG=lambda flag: flag | (np.arange(16) > 2)[:, None])
    with pytest.raises(DataError, match=r"unflagged samples have too few good channels for --contsub"):
        read([none], Selection(contsub=3))


def test_the_command_takes_ranges(command, line_ms, tmp_path, no_report):
    """Numbers after --contsub-channels belong to it, what follows is the Measurement Set."""
    ranges = ["--contsub", 1, "--contsub-channels", 0, 9, 10, 16]
    done = command(
        "image", *ranges, line_ms, "--niter", 0, "--size", 64, 64, "--scale", "6asec", "--name", tmp_path / "a"
    )
    assert done.status == 0
    text = (tmp_path / "a-run.toml").read_text()
    assert "contsub = 1\n" in text
    assert "contsub-channels = [0, 9, 10, 16]\n" in text

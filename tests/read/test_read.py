# l and m are the direction cosines of the measurement equation.

import numpy as np
import pytest

from radrim.errors import ConfigError, DataError, InputError
from radrim.geometry import SIGN, C, n_minus_1
from radrim.ms.opening import open_table
from radrim.ms.tables import read_subtables
from radrim.read.chunks import ChunkReader
from radrim.read.reader import Selection, read
from radrim.read.settings import ReadSettings

LINEAR, CIRCULAR, STOKES = ("XX", "XY", "YX", "YY"), ("RR", "RL", "LR", "LL"), ("I", "Q", "U", "V")
ARRAYS = ("uvw", "freq", "data", "weight", "time", "antenna")

# Telescope, correlations, samples of Stokes I, those unflagged, sum over them of the poorer hand's weight: counted
# from the tables by hand (flags, FLAG_ROW, weights above 0, cross-correlations of the field with most rows).
REAL = {
    "obs/alma_hd142527_b9_cont.ms": ("ALMA", "XX YY", 78375, 34546, 1.19181e6),
    "obs/eht_m87_2017_101_hilo_selfcal.ms": ("VLBA", "LL RR", 439, 439, 3.52972e8),
    "obs/gmrt_1543+480_622MHz_2014.ms": ("GMRT", "RR LL", 65250, 41460, 41460),
    "obs/mwa_uvceti_154MHz_2015.ms": ("MWA", "XX XY YX YY", 60060, 58916, 286418),
    "obs/vla_3c391_4.6GHz.ms": ("EVLA", "I", 105580, 68699, 1.35319e6),
    "obs/vlba_3c273_43GHz_2016.ms": ("VLBA", "RR RL LR LL", 7652, 7648, 658983),
    "obs/vlba_3c279_43GHz_2013a.ms": ("VLBA", "RR RL LR LL", 2081, 2081, 98118.9),
    "obs/vlba_m87_8.1GHz_2006.ms": ("VLBA", "RR RL LR LL", 6300, 5946, 1.81565e6),
    "reader/alma_multispw_mixedpol_raw.ms": ("ALMA", "XX XY YX YY", 23920, 22423, 5.05056e12),
    "reader/lofar_hba_3c48_8stations.MS": ("LOFAR", "XX XY YX YY", 1344, 928, 1.93375e12),
    "reader/test_adp4_0_00300673800807520000_58342_05_00_14.ms": ("LWASV", "XX XY YX YY", 24, 24, 24),
    "reader/vla_j1008_36GHz_64ch_raw.ms": ("EVLA", "RR RL LR LL", 87040, 87040, 13277),
    "reader/wsrt_3c343.1_5ants.MS": ("WSRT", "XX XY YX YY", 1728, 1728, 1728),
}


def stokes_visibilities(block, source):
    """What a point source of 1 Jy gives in each sample of a block, (row, chan)."""
    l, m = source.l, source.m
    path = block.uvw @ np.array([l, m, n_minus_1(l, m)])
    return np.exp(SIGN * 2j * np.pi * np.multiply.outer(path, block.freq / C))


def assert_same(a, b):
    """Two observations hold the same blocks, bit by bit."""
    assert len(a.blocks) == len(b.blocks)
    for x, y in zip(a.blocks, b.blocks, strict=True):
        for name in ARRAYS:
            np.testing.assert_array_equal(getattr(x, name), getattr(y, name), err_msg=name)


@pytest.mark.parametrize("name", REAL)
def test_real_observations(shared_data, name):
    """Each real Measurement Set gives the samples and weights that counting in its tables gives."""
    telescope, correlations, samples, used, weight = REAL[name]
    path = shared_data / name
    observation = read([path])
    assert observation.telescope == telescope
    assert " ".join(read_subtables(path).windows[-1].correlations) == correlations
    assert observation.counts["samples"] == samples
    assert sum(int((b.weight > 0).sum()) for b in observation.blocks) == used
    hands = 1 if correlations == "I" else 2
    assert sum(float(b.weight.sum(dtype=float)) for b in observation.blocks) == pytest.approx(hands * weight, rel=1e-5)
    for block in observation.blocks:
        assert np.isfinite(block.data).all()
        assert np.isfinite(block.uvw).all()
        assert block.weight.any(1).all()
        assert (np.diff(block.freq) > 0).all()


@pytest.mark.parametrize("stokes", "IQUV")
@pytest.mark.parametrize("feeds", [LINEAR, CIRCULAR, STOKES])
def test_stokes_of_a_polarised_source(make_ms, point_source, feeds, stokes):
    """Linear, circular and already combined correlations give the Stokes parameters that were put in."""
    path = make_ms(correlations=feeds, stokes=(1.0, 0.1, -0.2, 0.05), noise=0.0, times=2)
    flux = dict(zip("IQUV", (1.0, 0.1, -0.2, 0.05), strict=True))[stokes]
    (block,) = read([path], Selection(stokes=stokes)).blocks
    np.testing.assert_allclose(block.data, flux * stokes_visibilities(block, point_source), atol=2e-6)


@pytest.mark.parametrize("feeds", [LINEAR, CIRCULAR, STOKES])
def test_several_stokes_share_their_samples(make_ms, point_source, feeds):
    """I,Q,U,V in one reading: each as it is alone, with one weight for all."""
    fluxes = (1.0, 0.1, -0.2, 0.05)
    path = make_ms(correlations=feeds, stokes=fluxes, noise=0.01, times=2)
    (block,) = read([path], Selection(stokes="I,Q,U,V")).blocks
    assert list(block.planes) == list("IQUV")
    for stokes in "IQUV":
        (alone,) = read([path], Selection(stokes=stokes)).blocks
        of = block.of(stokes)
        assert of.stokes == stokes
        assert not of.others
        for name in ARRAYS:
            np.testing.assert_array_equal(getattr(of, name), getattr(alone, name), err_msg=name)


def test_one_flagged_correlation_takes_all_stokes(make_ms, edit_ms):
    """A flagged XY counts for U and V, and so for I and Q of the same run, which says how many; not for I alone."""
    linear = make_ms(correlations=LINEAR, noise=0.01, times=2)

    def flag_some(flag):
        flag[3:7, 1, 1] = True
        return flag

    path = edit_ms(linear, FLAG=flag_some)
    whole, observation = read([path]), read([path], Selection(stokes="I,Q,U,V"))
    (block,) = observation.blocks
    lost = np.zeros(block.weight.shape, bool)
    lost[3:7, 1] = True
    np.testing.assert_array_equal(block.weight == 0, lost)
    assert (whole.blocks[0].weight > 0).all()
    assert not any("flagged in a correlation" in note for note in whole.notes)
    assert all((data[lost] == 0).all() for data in block.planes.values())
    assert any(note.startswith(f"4 of {lost.size} samples of edited.ms were dropped") for note in observation.notes)


def test_the_poorest_correlation_weighs_all_stokes(make_ms, edit_ms):
    """WEIGHT of XY a quarter of the others': twice that is the weight of I, Q, U and V together."""

    def poorer(weight):
        weight[:, 1] /= 4
        return weight

    path = edit_ms(make_ms(correlations=LINEAR, noise=0.5, times=2), WEIGHT=poorer)
    (block,) = read([path], Selection(stokes="I,Q,U,V")).blocks
    np.testing.assert_allclose(block.weight, 2 * (1 / 0.5**2) / 4, rtol=1e-6)
    np.testing.assert_allclose(read([path]).blocks[0].weight, 2 / 0.5**2, rtol=1e-6)


def test_all_cross_hands_flagged(make_ms, edit_ms):
    """Nothing is left for I and U together: the message says that one alone can be imaged."""

    def crossed(flag):
        flag[:, :, 1:3] = True
        return flag

    path = edit_ms(make_ms(correlations=LINEAR, times=2), FLAG=crossed)
    with pytest.raises(DataError, match=r"no sample has all the correlations.*--pol I"):
        read([path], Selection(stokes="I,U"))


def test_windows_without_cross_hands_are_named(make_ms):
    """Some windows have all correlations, one has not: the message says which of both can be imaged."""
    path = make_ms(windows=((1.38e9, 2), (1.6e9, 1), (1.2e9, 1)), correlations=(LINEAR, ("XX", "YY"), LINEAR))
    with pytest.raises(DataError) as error:
        read([path], Selection(stokes="I,Q,U,V"))
    for words in ("spectral window 1", "Stokes U and V", "XX, YY", "Use --pol I,Q.", "--spw 0,2"):
        assert words in str(error.value)
    assert read([path], Selection(stokes="I,Q,U,V", spw=(0, 2))).channels == 3


def test_several_stokes_of_real_data(shared_data):
    """ALMA, where the window of XX alone has no rows of the target: what all share is at most what I alone has."""
    path = shared_data / "reader/alma_multispw_mixedpol_raw.ms"
    alone, together = read([path]), read([path], Selection(stokes="I,Q,U,V"))
    assert [block.data.shape[1] for block in together.blocks] == [64, 1]
    for one, all_four in zip(alone.blocks, together.blocks, strict=True):
        assert set(all_four.planes) == set("IQUV")
        assert np.count_nonzero(all_four.weight) <= np.count_nonzero(one.weight)
        assert all(np.isfinite(data).all() for data in all_four.planes.values())


def test_each_stokes_loses_its_continuum(make_ms):
    """--contsub on I and V together is that on each alone."""
    path = make_ms(correlations=LINEAR, windows=((1.38e9, 8),), stokes=(1.0, 0.1, 0.2, 0.3), flagged=0.1, times=3)
    (both,) = read([path], Selection(stokes="U,V", contsub=1)).blocks
    for stokes in "UV":
        (alone,) = read([path], Selection(stokes=stokes, contsub=1)).blocks
        np.testing.assert_array_equal(both.of(stokes).data, alone.data)
        np.testing.assert_array_equal(both.weight, alone.weight)


def test_pointings_and_frames_of_each_stokes(make_ms):
    """Brought to one phase centre and another frame, cut by rows and channels: I and V together as each alone."""
    path = make_ms(correlations=LINEAR, stokes=(1.0, 0.1, 0.2, 0.3), fields=2, times=2)
    how = {"field": "all", "joint": True, "outframe": "LSRK"}
    together = read([path], Selection(stokes="I,V", **how)).blocks
    rows, keep = np.array([3, 5, 8]), np.array([False, True, True, False])
    for stokes in "IV":
        alone = read([path], Selection(stokes=stokes, **how)).blocks
        assert len(alone) == len(together) == 2
        for one, both in zip(alone, together, strict=True):
            assert both.doppler == one.doppler != 1
            assert (both.pointing == one.pointing).all()
            np.testing.assert_array_equal(both.of(stokes).data, one.data)
            np.testing.assert_array_equal(both.select_rows(rows).of(stokes).data, one.data[rows])
            np.testing.assert_array_equal(both.select_channels(keep).of(stokes).data, one.data[:, keep])


def test_windows_of_different_shapes(make_ms, point_source):
    """Each spectral window keeps its own channels and correlations; together they are one observation."""
    path = make_ms(
        windows=((1.38e9, 4), (1.6e9, 1), (1.2e9, 3)), correlations=(("XX", "YY"), LINEAR, ("YY",)), noise=0.0
    )
    observation = read([path])
    assert [block.data.shape[1] for block in observation.blocks] == [4, 1, 3]
    assert [block.freq[0] for block in observation.blocks] == pytest.approx([1.38e9, 1.6e9, 1.2e9])
    for block in observation.blocks:
        np.testing.assert_allclose(block.data, stokes_visibilities(block, point_source), atol=2e-6)
    assert any("taken from YY alone" in note for note in observation.notes)


def test_row_chunks_change_nothing(make_ms):
    """Seven rows at a time or all at once: the same arrays."""
    path = make_ms(
        correlations=(LINEAR, ("RR", "LL")), windows=((1.38e9, 4), (1.6e9, 3)), flagged=0.3, autocorrelations=True
    )
    whole = read([path])
    assert_same(read([path], settings=ReadSettings(chunk_bytes=8 * 4 * 4 * 7)), whole)


def test_row_chunks_change_nothing_in_real_data(shared_data):
    """The same with a real observation, where whole rows are flagged."""
    path = shared_data / "obs" / "gmrt_1543+480_622MHz_2014.ms"
    whole = read([path])
    assert_same(read([path], settings=ReadSettings(chunk_bytes=8 * 2 * 10 * 500)), whole)


def test_no_column_is_read_at_once(small_ms, monkeypatch):
    """No request for visibilities is larger than a chunk, so that memory does not grow with the file."""
    rows = []
    chunk = ChunkReader._chunk
    monkeypatch.setattr(
        ChunkReader, "_chunk", lambda self, start, count: rows.append(count) or chunk(self, start, count)
    )
    read([small_ms], settings=ReadSettings(chunk_bytes=8 * 2 * 4 * 10))
    assert max(rows) == 10
    assert sum(rows) == 216


def test_corrected_data_come_first(make_ms, point_source):
    """CORRECTED_DATA is imaged where it exists, and the reader says so; --data-column chooses DATA."""
    path = make_ms(corrected=True, gain_error=0.3, noise=0.0)
    observation = read([path])
    (block,) = observation.blocks
    np.testing.assert_allclose(block.data, stokes_visibilities(block, point_source), atol=2e-6)
    assert any("Imaging CORRECTED_DATA" in note for note in observation.notes)
    raw = read([path], Selection(column="DATA"))
    assert np.abs(raw.blocks[0].data - block.data).max() > 0.1
    assert not raw.notes


def test_weight_spectrum_comes_first(make_ms):
    """WEIGHT_SPECTRUM counts where it exists, else WEIGHT; two equal hands double the weight of Stokes I."""
    plain = read([make_ms(noise=0.1)]).blocks[0].weight
    np.testing.assert_allclose(plain, 2 / 0.1**2, rtol=1e-5)
    rising = read([make_ms(noise=0.1, weight_spectrum=True)]).blocks[0].weight
    np.testing.assert_allclose(rising, np.broadcast_to(2 / 0.1**2 * np.linspace(0.5, 1.5, 4), rising.shape), rtol=1e-5)


def test_empty_weight_spectrum_is_passed_over(edit_ms):
    """A WEIGHT_SPECTRUM column without arrays in it, which CASA leaves behind, means WEIGHT."""
    import casacore.tables as casatables

    path = edit_ms()
    with casatables.table(str(path), readonly=False, ack=False) as table:
        table.addcols(casatables.makearrcoldesc("WEIGHT_SPECTRUM", 0.0, ndim=2, valuetype="float"))
    np.testing.assert_allclose(read([path]).blocks[0].weight, 2 / 0.05**2, rtol=1e-5)


def test_the_poorer_hand_decides_the_weight(edit_ms):
    """Hands of weight 1 and 3 give Stokes I 2 times the smaller, as in WSClean."""
    path = edit_ms(WEIGHT=lambda weight: np.ones_like(weight) * [1, 3])
    np.testing.assert_array_equal(read([path]).blocks[0].weight, 2)


def test_flags_of_either_hand_drop_the_sample(edit_ms):
    """FLAG of one hand or FLAG_ROW: weight 0 and data 0; rows without any sample are gone."""

    def flag(old):
        new = np.zeros_like(old)
        new[0, 1, 0] = new[1, 2, 1] = new[2] = True
        return new

    path = edit_ms(
        FLAG=flag,
        FLAG_ROW=lambda old: np.arange(len(old)) == 3,
        DATA=lambda data: np.where(flag(data.real > 9), 1e30, data),
    )
    observation = read([path])
    (block,) = observation.blocks
    assert len(block.uvw) == 216 - 2
    assert block.weight[0, 1] == block.weight[1, 2] == 0
    assert block.data[0, 1] == block.data[1, 2] == 0
    assert np.count_nonzero(block.weight) == 214 * 4 - 2
    assert observation.counts["flagged"] == 2 + 8


def test_flagged_rubbish_warns_nobody(edit_ms):
    """NaN and infinity in flagged samples are no reason for a warning (the tests turn warnings into errors)."""

    def rubbish(data):
        data[0], data[1], data[2] = np.nan, np.inf, 3e38 * (1 + 1j)
        return data

    path = edit_ms(DATA=rubbish, FLAG=lambda flag: flag | (np.arange(len(flag)) < 3)[:, None, None])
    observation = read([path])
    assert len(observation.blocks[0].uvw) == 213
    assert observation.notes == []


def test_autocorrelations_are_dropped(make_ms):
    """Rows of an antenna with itself are not read, nor counted."""
    observation = read([make_ms(autocorrelations=True)])
    (block,) = observation.blocks
    assert (block.antenna[:, 0] != block.antenna[:, 1]).all()
    assert observation.counts["samples"] == 6 * 36 * 4


def test_rows_without_uvw_are_dropped(edit_ms):
    """UVW of NaN or exactly 0, as absent rows have it, drops the row, with a note."""

    def change(uvw):
        uvw[0], uvw[5] = np.nan, 0
        return uvw

    observation = read([edit_ms(UVW=change)])
    assert len(observation.blocks[0].uvw) == 214
    assert observation.notes == ["8 samples of edited.ms with a UVW of zero or NaN were dropped."]


def test_frequencies_that_count_down(edit_ms, small_ms):
    """A lower sideband is turned round, data and weights with it; --chan-range counts in the file's order."""
    path = edit_ms(DATA=lambda data: data[:, ::-1], FLAG=lambda flag: flag | (np.arange(4) == 0)[:, None])
    path = edit_ms(source=path, subtable="SPECTRAL_WINDOW", CHAN_FREQ=lambda freq: freq[:, ::-1])
    (turned,), (straight,) = read([path]).blocks, read([small_ms]).blocks
    np.testing.assert_array_equal(turned.freq, straight.freq)
    np.testing.assert_array_equal(turned.weight, straight.weight * [1, 1, 1, 0])
    np.testing.assert_array_equal(turned.data, straight.data * [1, 1, 1, 0])
    (part,) = read([path], Selection(chan_range=(1, 3))).blocks
    np.testing.assert_array_equal(part.freq, straight.freq[1:3])
    np.testing.assert_array_equal(part.data, straight.data[:, 1:3])


def test_the_table_is_not_touched(edit_ms):
    """Reading changes neither bytes nor times of any file of the Measurement Set."""
    path = edit_ms()

    def state():
        return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in path.rglob("*") if p.is_file()}

    before = state()
    read([path], Selection(chan_range=(0, 2), stokes="XX"))
    assert state() == before


def test_channel_range(small_ms):
    """--chan-range 1 3 reads channels 1 and 2."""
    (part,), (whole,) = read([small_ms], Selection(chan_range=(1, 3))).blocks, read([small_ms]).blocks
    np.testing.assert_array_equal(part.freq, whole.freq[1:3])
    np.testing.assert_array_equal(part.data, whole.data[:, 1:3])
    np.testing.assert_array_equal(part.weight, whole.weight[:, 1:3])


def test_uv_range(small_ms):
    """Samples outside the range, in wavelengths of their own channel, have no weight."""
    (whole,) = read([small_ms]).blocks
    length = whole.uv_length[:, None] * whole.freq / C
    # Both limits lie between the channels of one row.
    low, high = length[np.abs(whole.uv_length - 600).argmin(), 1:3].mean(), length[whole.uv_length.argmax(), 1:3].mean()
    inside = (length >= low) & (length <= high)
    (block,) = read([small_ms], Selection(uv_range=(low, high))).blocks
    np.testing.assert_array_equal(block.weight > 0, inside[inside.any(1)])
    assert np.count_nonzero(inside[inside.any(1)].sum(1) == 2) > 0


def test_time_range(small_ms):
    """Both ends count, in UTC, with or without a time zone."""
    (whole,) = read([small_ms]).blocks
    times = np.unique(whole.time)
    texts = [str(np.datetime64("1858-11-17T00:00:00") + np.timedelta64(round(t * 1e6), "us")) for t in times]
    (part,) = read([small_ms], Selection(time_range=(texts[1], texts[3]))).blocks
    np.testing.assert_allclose(np.unique(part.time), times[1:4])
    (same,) = read([small_ms], Selection(time_range=(texts[1] + "+00:00", texts[3] + "Z"))).blocks
    np.testing.assert_array_equal(same.time, part.time)


@pytest.mark.parametrize("text", ["yesterday", "2016-13-01T00:00:00"])
def test_bad_time_is_refused(small_ms, text):
    """A time that is none is named, with the form that is wanted."""
    with pytest.raises(ConfigError, match=f"--time-range '{text}' is not a time; write UTC such as"):
        read([small_ms], Selection(time_range=(text, "2030-01-01")))


def test_spectral_windows_by_number(make_ms):
    """--spw 0,2 reads these two, in the order of the file."""
    path = make_ms(windows=((1.38e9, 4), (1.6e9, 1), (1.2e9, 3)))
    observation = read([path], Selection(spw=(2, 0)))
    assert [block.data.shape[1] for block in observation.blocks] == [4, 3]


def test_fields_by_number_and_name(make_ms):
    """--field takes either; without it the field with most rows is imaged, with a note that names the others."""
    path = make_ms(fields=3)
    by_number, by_name = read([path], Selection(field="2")), read([path], Selection(field="FIELD2"))
    assert_same(by_number, by_name)
    assert by_number.object == "FIELD2"
    assert by_number.dec == pytest.approx(0.6 + np.radians(2))
    chosen = read([path])
    assert chosen.object == "FIELD0"
    assert chosen.notes == ["Imaging field FIELD0, the one with most rows; choose with --field (FIELD1, FIELD2)."]


def test_several_measurement_sets(make_ms):
    """Blocks of all files stand side by side; counts and notes add up; the first start is the date."""
    first, second = make_ms(seed=1), make_ms(seed=2, windows=((1.6e9, 2),))
    together = read([first, second])
    assert [block.data.shape for block in together.blocks] == [(216, 4), (216, 2)]
    assert together.counts["samples"] == 216 * 6
    assert together.telescope == "VLA"
    assert together.date_obs == read([first]).date_obs


def test_one_hand_alone(make_ms, point_source):
    """Stokes I of RR alone is RR, with its own weight, and a note says that this assumes an unpolarised source."""
    observation = read([make_ms(correlations=("RR",), noise=0.1)])
    assert observation.notes == ["Stokes I of small.ms is taken from RR alone, as if unpolarised."]
    np.testing.assert_allclose(observation.blocks[0].weight, 1 / 0.1**2, rtol=1e-5)


def test_cross_hand_image_is_said_to_be_the_real_part(make_ms):
    """RL of a polarised sky is complex; the note says what the image shows."""
    observation = read([make_ms(correlations=CIRCULAR)], Selection(stokes="RL"))
    assert observation.notes == ["The image of RL is complex; this is its real part."]


def test_stokes_error_names_file_and_window(make_ms):
    """Where a Stokes parameter cannot be formed, the file and the spectral window are named."""
    path = make_ms(windows=((1.38e9, 4), (1.6e9, 1)), correlations=(LINEAR, ("XX", "YY")))
    with pytest.raises(DataError, match=r"small.ms, spectral window 1: Stokes V cannot be formed from .* XX, YY"):
        read([path], Selection(stokes="V"))


def test_weights_match_the_noise(make_ms):
    """The weight is 1/sigma^2 of the real and of the imaginary part: data times sqrt(weight) scatter by 1."""
    path = make_ms(noise=0.3, stokes=(0.0, 0.0, 0.0, 0.0), times=20)
    (block,) = read([path]).blocks
    score = block.data * np.sqrt(block.weight)
    # 2880 samples: the standard deviation is known to 1.3 %.
    assert score.real.std() == pytest.approx(1, abs=0.05)
    assert score.imag.std() == pytest.approx(1, abs=0.05)


def test_header_facts(small_ms, shared_data):
    """Telescope, object, dish, frame, channel width and start are those of the tables."""
    observation = read([small_ms])
    assert (observation.telescope, observation.object, observation.freq_frame) == ("VLA", "FIELD0", "TOPOCENT")
    assert observation.dish_diameter == 25
    assert observation.channel_width == pytest.approx(10e6)
    real = read([shared_data / "obs" / "vla_3c391_4.6GHz.ms"])
    assert real.object == "3C391"
    assert real.date_obs.startswith("2010-04-24T08:25:13")


def test_unknown_dish_diameters(edit_ms):
    """Diameters of 0 mean unknown, alone and with another file; no warning escapes."""
    path = edit_ms(subtable="ANTENNA", DISH_DIAMETER=lambda old: 0 * old)
    assert np.isnan(read([path]).dish_diameter)
    assert np.isnan(read([path, path]).dish_diameter)


def test_open_table_is_read_only(small_ms):
    """Even by mistake nothing can be written through `open_table`."""
    with open_table(small_ms) as table:
        assert not table.iswritable()


def test_trouble_while_reading_names_the_table(small_ms):
    """Whatever casacore stumbles over inside an open table becomes a message with the table's path."""
    what = r"small.ms cannot be read: .*NOTHING.* damaged or incomplete"
    with pytest.raises(InputError, match=what), open_table(small_ms) as table:
        table.getcol("NOTHING")

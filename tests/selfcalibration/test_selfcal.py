"""`radrim selfcal`: known gains come back, what it writes, and what it says when it cannot."""

# l and m are the direction cosines of the measurement equation.

import re
import shutil

import numpy as np
import pytest
from astropy.io import fits

from radrim.config.options import ImageConfig
from radrim.errors import ConfigError, DataError, InputError, OutputError
from radrim.gains.table import read_gains
from radrim.geometry import ARCSEC, C
from radrim.ms.columns import Column
from radrim.ms.opening import open_table
from radrim.ms.rows import CORRECTED, copy, fill_corrected
from radrim.ms.settings import StorageSettings
from radrim.ms.tables import read_subtables
from radrim.read.reader import Selection, read
from radrim.selfcalibration.calibrator import Calibrator
from radrim.selfcalibration.config import Round, SelfcalConfig, parse_interval, parse_rounds
from radrim.selfcalibration.judge import Prediction, compare, keep_out
from radrim.selfcalibration.loop import selfcal
from radrim.selfcalibration.models import ImageModel, parse_start_model
from radrim.sky.catalogue import make_sky, offset_position, predict

OPTIONS = {"size": (64, 64), "scale": "3asec", "solver": "clean", "multiscale": False, "threads": 1, "max_major": 4}
ERROR = 0.3


@pytest.fixture(scope="module")
def sky():
    """A source in the phase centre and a weaker one, in the field of `make_ms`."""
    places = [offset_position(l, m, 2.0, 0.6) for l, m in ((0.0, 0.0), (40 * ARCSEC, -25 * ARCSEC))]
    return make_sky(*np.transpose(places), [1.0, 0.3], 1.4e9)


@pytest.fixture(scope="module")
def bad_ms(make_ms, sky):
    """Nine antennas with gain errors of 0.3, four correlations, ten percent flagged; CORRECTED_DATA without errors."""
    return make_ms(
        correlations=("RR", "RL", "LR", "LL"),
        sky=sky,
        gain_error=ERROR,
        corrected=True,
        noise=0.02,
        flagged=0.1,
        times=8,
    )


def options(rounds="p:int,ap:int", **more):
    return SelfcalConfig(rounds=parse_rounds(rounds), **more)


def calibrate(ms, name, config, **image):
    return selfcal(ImageConfig.parse(ms, {**OPTIONS, "data_column": "DATA", "name": name, **image}), config)


@pytest.fixture(scope="module")
def calibrated(bad_ms, tmp_path_factory, without_reports):
    """The result of `selfcal` on `bad_ms`, the flux scale left to the model."""
    with without_reports():
        return calibrate(
            bad_ms,
            tmp_path_factory.mktemp("sc") / "a",
            options("p:int,ap:int,ap:int,ap:int", normalise=False),
            max_major=20,
        )


def column(ms, *names):
    with open_table(ms) as table:
        return [table.getcol(name) for name in names]


def files(path):
    """Content of all files of a Measurement Set but the locks."""
    return {f.relative_to(path): f.read_bytes() for f in path.rglob("*") if f.is_file() and f.name != "table.lock"}


def test_known_gain_errors_are_removed(bad_ms, calibrated):
    """Corrected data differ from those without errors by noise alone: gains of 30 % are known to 1 %."""
    truth, flag = column(bad_ms, CORRECTED, "FLAG")
    corrected, still = column(calibrated.ms, CORRECTED, "FLAG")
    assert still.mean() < 1.05 * flag.mean() + 0.01
    good = ~flag & ~still
    good[..., 1:3] = False  # cross hands hold noise only
    # The flux scale is that of the first images, of data with errors, which lack flux: an error of all gains together.
    ratio = np.median((corrected[good] / truth[good]).real)
    assert ratio == pytest.approx(1, abs=0.25)
    # The errors also scale the noise, 0.02 Jy, by 1 / |g_p g_q|.
    assert np.abs(corrected / ratio - truth)[good].std() < 0.05
    data = column(bad_ms, "DATA")[0]
    assert np.abs(data - truth)[good].std() > 0.2


def test_gains_are_those_of_the_simulation(make_ms, sky):
    """With the sky known, g_p conj(g_q) of every row is what multiplied the data, within the noise and no better."""
    common = {"correlations": ("RR", "LL"), "sky": sky, "gain_error": ERROR, "times": 8}
    ms, silent = (make_ms(noise=noise, corrected=True, **common) for noise in (0.02, 0.0))
    data, clean, first, second, time = column(silent, "DATA", CORRECTED, "ANTENNA1", "ANTENNA2", "TIME")
    truth = (data / clean)[:, 0, 0]
    calibrator = Calibrator(ms, Selection(column="DATA"), options())
    budget, model = calibrator.survey(TrueSky(sky))
    gains, chi2, _ = calibrator.solve(model, Round("ap", 0.0), None, budget)
    slot, right = np.abs(time[:, None] - gains.time).argmin(1), gains.feeds.index("R")
    found = gains.gain[slot, 0, right, first] * gains.gain[slot, 0, right, second].conj()
    snr = gains.snr[slot, 0, right]
    rows = np.arange(len(slot))
    expected = np.hypot(1 / snr[rows, first], 1 / snr[rows, second])
    assert np.std(np.angle(found / truth) / expected) == pytest.approx(1, abs=0.3)
    assert np.std(np.abs(found / truth)) < 0.02
    assert np.abs(np.angle(truth)).mean() > 0.2
    assert chi2 == pytest.approx(1, abs=0.1)


def test_two_data_descriptions_of_a_window_have_the_same_gains(bad_ms, split_by_hands, sky, tmp_path):
    """With RL and LR in a data description of their own, gains and corrected data are those of a single one."""
    corrected = []
    for number, path in enumerate((bad_ms, split_by_hands(bad_ms))):
        calibrator = Calibrator(path, Selection(column="DATA"), options())
        budget, model = calibrator.survey(TrueSky(sky))
        gains = calibrator.solve(model, Round("ap", 0.0), None, budget)[0]
        assert gains.gain.shape[1] == 1
        out = tmp_path / f"{number}.ms"
        copy(read_subtables(path), "DATA", out)
        calibrator.apply(gains, out)
        block = read([out], Selection(column=CORRECTED, stokes="I,Q,U,V")).blocks[0]
        order = np.lexsort([*block.antenna.T, block.time])
        corrected.append([part[order] for part in (block.data, block.weight, *block.others.values())])
    for expected, found in zip(*corrected, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


class TrueSky:
    """A sky as the model of a calibration."""

    def __init__(self, sky, factor=1.0):
        self.sky, self.factor = sky, factor

    def predict(self, uvw, freq):
        return self.factor * predict(self.sky, uvw, freq, 2.0, 0.6)[..., 0]

    def scaled(self, flux):
        return self


def test_every_round_is_better_and_reported(calibrated):
    """The table begins with the data as they are; phases help, and amplitudes help once more."""
    rows = calibrated.rounds
    assert [row.label for row in rows] == ["start", "round 1", "round 2", "round 3", "round 4"]
    assert rows[1].dynamic_range > 1.1 * rows[0].dynamic_range
    assert rows[2].dynamic_range > 1.5 * rows[1].dynamic_range
    assert all(row.taken and row.change < -row.error for row in rows[1:])
    assert rows[-1].kept < 0.01 * rows[0].kept
    assert rows[-1].chi2 < 0.05 * rows[1].chi2


def test_reference_antenna_has_one_name(bad_ms, calibrated, caplog, tmp_path, no_report):
    """Log, table and file name the same reference antenna, whose phases are 0, whatever later models are like."""
    with caplog.at_level("INFO", logger="radrim"):
        result = calibrate(bad_ms, tmp_path / "r", options("p:inf,ap:inf"))
    header = fits.getheader(result.paths["gains"], "GAINS")["REFANT"]
    named = set(re.findall(r"Reference antenna (\S+?)[. ]", caplog.text))
    assert named == {header} == {result.gains.refant}
    number = result.gains.antennas.index(header)
    np.testing.assert_allclose(np.angle(result.gains.gain[..., number]), 0, atol=1e-9)


def test_calibrated_noisy_data_take_no_round(make_ms, sky, tmp_path, caplog, no_report):
    """Of data without errors, gains fit noise alone: chi2 falls where it is fitted only, and the data stay."""
    ms = make_ms(correlations=("RR", "LL"), sky=sky, noise=0.3, times=12)
    with caplog.at_level("INFO", logger="radrim"):
        result = calibrate(ms, tmp_path / "s", options("p:int,ap:int", min_snr=0), max_major=8)
    assert [row.taken for row in result.rounds] == [True, False, False]
    assert result.rounds[2].fitted < result.rounds[0].fitted
    assert result.rounds[2].change > 0
    assert "it is not taken, gains of 1 stay" in caplog.text
    assert "No round was taken" in caplog.text
    np.testing.assert_array_equal(result.gains.gain, 1)
    np.testing.assert_array_equal(*(column(path, name)[0] for path, name in ((ms, "DATA"), (result.ms, CORRECTED))))
    assert column(result.ms, "FLAG")[0].sum() == column(ms, "FLAG")[0].sum()


def test_amplitudes_that_fit_noise_are_not_taken(make_ms, edit_ms, sky, tmp_path, no_report):
    """Of noisy data with errors of phases, a round of phases is taken, one of amplitudes of each integration is not."""
    ms = make_ms(correlations=("RR", "LL"), sky=sky, noise=1.0, times=12)
    turn = np.exp(1j * np.random.default_rng(4).uniform(-1, 1, 9))
    first, second = column(ms, "ANTENNA1", "ANTENNA2")
    raw = edit_ms(ms, DATA=lambda data: data * (turn[first] * turn[second].conj())[:, None, None])
    result = calibrate(raw, tmp_path / "t", options("p:inf,ap:int", min_snr=0), max_major=8)
    assert [row.taken for row in result.rounds] == [True, True, False]
    np.testing.assert_allclose(np.abs(result.gains.gain), 1)
    errors = np.angle(result.gains.gain[0, 0, 0] / result.gains.gain[0, 0, 0, 0] / turn * turn[0])
    assert errors.std() < 0.7 * np.angle(turn).std()


def test_gains_that_shrink_the_noise_do_not_win(make_ms, sky):
    """Half the gains with four times the model predict the same data: the judge sees no difference."""
    ms = make_ms(correlations=("RR", "LL"), sky=sky, noise=0.02, times=8)
    calibrator = Calibrator(ms, Selection(column="DATA"), options())
    calibrator.kept = keep_out(calibrator)
    one, small = calibrator.unity(), calibrator.unity()
    small.gain[:] = 0.5
    true, bright = TrueSky(sky), TrueSky(sky, 4.0)
    same = compare(calibrator, Prediction(one, true), Prediction(small, bright))
    assert same.change(1.0) == pytest.approx(0, abs=1e-2)
    assert same.cells.per_datum(1.0) == pytest.approx(1, abs=0.1)
    worse = compare(calibrator, Prediction(one, true), Prediction(small, true))
    assert worse.change(1.0) > 10 * worse.change_error(1.0) > 0


def test_input_is_not_touched(bad_ms, calibrated, tmp_path, no_report):
    """No file of the input changes, and the copy has the same DATA and SIGMA."""
    before = files(bad_ms)
    calibrate(bad_ms, tmp_path / "b", options("p:inf"))
    assert files(bad_ms) == before
    for name in ("DATA", "SIGMA", "UVW", "TIME"):
        np.testing.assert_array_equal(*(column(ms, name)[0] for ms in (bad_ms, calibrated.ms)))


def test_weights_and_all_correlations_follow_the_gains(bad_ms, calibrated):
    """V / (g_p conj(g_q)) and w |g_p g_q|^2, where RL takes R of the first antenna and L of the second."""
    gains = read_gains(calibrated.paths["gains"])
    data, weight, first, second, time = column(bad_ms, "DATA", "WEIGHT", "ANTENNA1", "ANTENNA2", "TIME")
    corrected, scaled = column(calibrated.ms, CORRECTED, "WEIGHT")
    slot = np.abs(time[:, None] - gains.time).argmin(1)
    for index, (p, q) in enumerate(("RR", "RL", "LR", "LL")):
        one, other = gains.feeds.index(p), gains.feeds.index(q)
        pair = gains.gain[slot, 0, one, first] * gains.gain[slot, 0, other, second].conj()
        bad = gains.flag[slot, 0, one, first] | gains.flag[slot, 0, other, second]
        np.testing.assert_allclose(corrected[~bad, :, index], (data[..., index] / pair[:, None])[~bad], rtol=1e-4)
        np.testing.assert_allclose(scaled[~bad, index], (weight[:, index] * np.abs(pair) ** 2)[~bad], rtol=1e-4)


def test_flux_scale_stays(bad_ms, tmp_path, no_report):
    """With a start model of 7 Jy in place of 1 Jy, normalised gains have a mean amplitude of 1 all the same."""
    result = calibrate(bad_ms, tmp_path / "c", options("ap:int", start_model="point:7"))
    size = np.abs(result.gains.gain[~result.gains.flag])
    assert size.mean() == pytest.approx(1, abs=1e-9)
    assert np.abs(result.image.image).max() == pytest.approx(1, rel=0.2)


def test_phases_alone_leave_amplitudes(bad_ms, tmp_path, no_report):
    """|CORRECTED_DATA| is |DATA|, weights and flags are as they were; with T both feeds have the same gains."""
    result = calibrate(bad_ms, tmp_path / "d", options("p:int", gain_type="T", unsolved="keep"))
    (data, weight, flag), (corrected, scaled, still) = (
        column(ms, name, "WEIGHT", "FLAG") for ms, name in ((bad_ms, "DATA"), (result.ms, CORRECTED))
    )
    np.testing.assert_allclose(np.abs(corrected), np.abs(data), rtol=1e-5)
    np.testing.assert_allclose(scaled, weight, rtol=1e-6)
    np.testing.assert_array_equal(still, flag)
    np.testing.assert_array_equal(result.gains.gain[:, :, 0], result.gains.gain[:, :, 1])


def test_uncalibrated_phases_with_a_point_to_start_from(make_ms, edit_ms, sky, tmp_path, no_report):
    """Phases that are random leave no source in the image; from a point the source and its neighbour come out."""
    ms = make_ms(correlations=("RR", "LL"), sky=sky, noise=0.02, times=4)
    rng = np.random.default_rng(3)
    turn = np.exp(1j * rng.uniform(-np.pi, np.pi, 9))
    first, second = column(ms, "ANTENNA1", "ANTENNA2")
    raw = edit_ms(ms, DATA=lambda data: data * (turn[first] * turn[second].conj())[:, None, None])
    result = calibrate(raw, tmp_path / "e", options("p:inf,p:int,p:int", start_model="point"))
    assert result.image.image.max() == pytest.approx(1, rel=0.05)
    y, x = (round(float(v)) for v in result.image.grid.pixel(40 * ARCSEC, -25 * ARCSEC))
    assert result.image.image[y - 1 : y + 2, x - 1 : x + 2].max() == pytest.approx(0.3, rel=0.2)


def test_antennas_without_solution(make_ms, edit_ms, sky, tmp_path, no_report):
    """An antenna that is flagged gets no solution and stays flagged; one that is noise is flagged, with a sentence."""
    ms = make_ms(correlations=("RR", "LL"), sky=sky, gain_error=ERROR, noise=0.02, times=4)
    first, second = column(ms, "ANTENNA1", "ANTENNA2")
    dead, noisy = ((first == k) | (second == k) for k in (2, 5))
    broken = edit_ms(
        ms,
        FLAG=lambda flag: flag | dead[:, None, None],
        DATA=lambda data: np.where(noisy[:, None, None], 1e-3 * data, data),
    )
    result = calibrate(broken, tmp_path / "f", options("p:int", start_model="point", min_snr=5))
    flag = column(result.ms, "FLAG")[0]
    assert result.gains.flag[..., [2, 5]].all()
    assert flag[dead | noisy].all()
    assert not flag[~(dead | noisy)].all()


def test_two_windows_alone_and_together(make_ms, sky, tmp_path, no_report):
    """Each spectral window has gains of its own, or all have the same with `combine_spw`."""
    ms = make_ms(correlations=("RR", "LL"), windows=((1.3e9, 2), (1.4e9, 3)), sky=sky, gain_error=0.2, times=4)
    alone = calibrate(ms, tmp_path / "g", options("p:int", start_model="point")).gains
    both = calibrate(ms, tmp_path / "h", options("p:int", start_model="point", combine_spw=True)).gains
    assert alone.windows == both.windows == [0, 1]
    assert not np.allclose(alone.gain[:, 0], alone.gain[:, 1])
    np.testing.assert_array_equal(both.gain[:, 0], both.gain[:, 1])


def test_amplitudes_in_longer_intervals_than_phases(bad_ms, tmp_path, no_report):
    """After phases of every integration, amplitudes of the scan: one amplitude for all times, phases of each."""
    gains = calibrate(bad_ms, tmp_path / "i", options("p:int,ap:inf")).gains
    size, good = np.abs(gains.gain), ~gains.flag
    assert len(gains.time) == 8
    for index in np.ndindex(size.shape[1:]):
        np.testing.assert_allclose(size[(slice(None), *index)][good[(slice(None), *index)]].std(), 0, atol=1e-9)
    assert np.angle(gains.gain).std(0).max() > 0.05


def test_in_place_writes_corrected_data_alone(make_ms, sky, tmp_path, no_report):
    """CORRECTED_DATA appears in the input; DATA, FLAG and WEIGHT stay, there is no copy, and it can be done again."""
    ms = make_ms(correlations=("RR", "LL"), sky=sky, gain_error=0.2, noise=0.02, times=4)
    before = column(ms, "DATA", "FLAG", "WEIGHT")
    for _ in range(2):
        result = calibrate(ms, tmp_path / "j", options("p:int", start_model="point", in_place=True))
        assert result.ms == ms
        assert not (tmp_path / "j.ms").exists()
        for one, other in zip(before, column(ms, "DATA", "FLAG", "WEIGHT"), strict=True):
            np.testing.assert_array_equal(one, other)
        corrected = column(ms, CORRECTED)[0]
        assert not np.allclose(corrected, before[0])
        np.testing.assert_allclose(np.abs(corrected), np.abs(before[0]), rtol=1e-5)


def test_a_column_that_is_not_complete_is_not_imaged(bad_ms, edit_ms, monkeypatch):
    """Stopped while writing CORRECTED_DATA in place: the column is refused until the next time goes through."""
    ms = edit_ms(bad_ms)
    windows, put = read_subtables(ms).windows, Column.put
    row_by_row = StorageSettings(chunk_bytes=1)

    def stopping(self, rows, values):
        if rows[0] > 10:
            raise KeyboardInterrupt
        put(self, rows, values)

    with monkeypatch.context() as patch:
        patch.setattr(Column, "put", stopping)
        with pytest.raises(KeyboardInterrupt):
            fill_corrected(ms, windows, "DATA", bad_ms, row_by_row)
    with pytest.raises(InputError, match="CORRECTED_DATA is unfinished: 'radrim selfcal'"):
        read([ms])
    fill_corrected(ms, windows, "DATA", bad_ms)
    corrected, data = column(ms, CORRECTED, "DATA")
    np.testing.assert_array_equal(corrected, data)
    assert read([ms]).data_column == CORRECTED


def test_a_killed_run_goes_on(bad_ms, tmp_path, monkeypatch, no_report):
    """Killed in the second round, the same command does not solve the first again, and ends as an unbroken run does."""
    unbroken = calibrate(bad_ms, tmp_path / "k", options())
    solved = []
    original = Calibrator.solve

    def solve(self, model, one, *rest):
        solved.append(one.kind)
        if len(solved) == 2:
            raise KeyboardInterrupt
        return original(self, model, one, *rest)

    monkeypatch.setattr(Calibrator, "solve", solve)
    with pytest.raises(KeyboardInterrupt):
        calibrate(bad_ms, tmp_path / "l", options())
    assert not list(tmp_path.glob("l.*"))
    assert not list(tmp_path.glob("l-*.fits"))
    result = calibrate(bad_ms, tmp_path / "l", options())
    assert solved == ["p", "ap", "ap", "ap"]  # the last with all visibilities
    np.testing.assert_array_equal(result.image.image, unbroken.image.image)
    np.testing.assert_array_equal(column(result.ms, CORRECTED)[0], column(unbroken.ms, CORRECTED)[0])


def test_command_writes_all_files(bad_ms, command, tmp_path):
    """The command writes gains, plot, copy and images, prints the table, and leaves no work directory."""
    done = command(
        "selfcal", bad_ms, "--data-column", "DATA", "--rounds", "p:int", "--name", tmp_path / "m", "--size", 64, 64,
        "--scale", "3asec", "--solver", "clean", "--no-multiscale", "--refant", "1", "--threads", 1,
    )  # fmt: skip
    assert done.status == 0, done.err
    names = {path.name for path in tmp_path.iterdir()}
    assert {"m-gains.fits", "m-gains.png", "m.ms", "m-image.fits", "m-residual.fits", "m-report.html"} <= names
    assert not any(".radrim" in name or name.endswith(".part") for name in names)
    assert "residual rms" in done.out
    assert "round 1" in done.out
    antennas = fits.getdata(tmp_path / "m-gains.fits", "ANTENNAS")["NAME"]
    assert fits.getheader(tmp_path / "m-gains.fits", "GAINS")["REFANT"] == antennas[1]


@pytest.mark.parametrize(
    "more, image, message",
    [
        ({"refant": "XY99"}, {}, r"--refant XY99 is not in .* its antennas are "),
        ({"rounds": (Round("p", 5.0),)}, {}, r"interval of 5 s is shorter than an integration .*\(900 s\)"),
        ({"in_place": True}, {"data_column": CORRECTED}, r"--in-place overwrites CORRECTED_DATA"),
        ({"start_model": "blob"}, {}, r"--start-model 'blob' is unknown: write point"),
        ({}, {"pol": "Q"}, r"leave out --pol Q"),
        ({}, {"niter": 0}, r"leave out --niter 0"),
        ({}, {"continue_run": True}, r"leave out --continue"),
        ({}, {"data": "closure", "solver": "rim"}, r"leave out --data closure"),
        ({}, {"data_column": "MODEL_DATA"}, r"has no column MODEL_DATA"),
    ],
)
def test_what_cannot_be_done_is_said_first(bad_ms, tmp_path, more, image, message):
    """Wrong options are refused before anything is written."""
    with pytest.raises(ConfigError, match=message):
        calibrate(bad_ms, tmp_path / "n", options(**more) if "rounds" not in more else SelfcalConfig(**more), **image)
    assert not list(tmp_path.iterdir())


def test_existing_results_are_not_replaced(bad_ms, tmp_path):
    """NAME.ms that exists is refused without --overwrite, and the input never is the output."""
    shutil.copytree(bad_ms, tmp_path / "o.ms")
    with pytest.raises(ConfigError, match=r"o\.ms exists; give another --name, or --overwrite"):
        calibrate(bad_ms, tmp_path / "o", options())
    with pytest.raises(ConfigError, match="would replace the input"):
        calibrate(tmp_path / "o.ms", tmp_path / "o", options(), overwrite=True)


def test_read_only_input_in_place(bad_ms, tmp_path, monkeypatch):
    """A Measurement Set that cannot be written is refused in place, before any work."""
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(OutputError, match="is read-only; leave out --in-place"):
        calibrate(bad_ms, tmp_path / "p", options(in_place=True))


def keep_antennas(ms, edit_ms, count):
    """A copy with unflagged data of the first so many antennas."""
    last = np.maximum(*column(ms, "ANTENNA1", "ANTENNA2"))
    return edit_ms(ms, FLAG=lambda flag: flag | (last >= count)[:, None, None])


@pytest.mark.parametrize(
    "antennas, rounds, message",
    [
        (0, "p", "all samples of field .* are flagged or have no weight"),
        (2, "p", "unflagged data of 2 antennas; phases need at least 3, amplitudes 4"),
        (3, "ap", "unflagged data of 3 antennas; phases need at least 3, amplitudes 4"),
    ],
)
def test_too_few_antennas(bad_ms, edit_ms, tmp_path, antennas, rounds, message):
    """Data that cannot determine gains are refused, with the numbers."""
    ms = keep_antennas(bad_ms, edit_ms, antennas)
    with pytest.raises(DataError, match=message):
        calibrate(ms, tmp_path / "q", options(rounds, start_model="point"))
    assert not list(tmp_path.iterdir())


def test_no_source_in_the_image(make_ms, tmp_path, no_report):
    """Noise alone: the image shows nothing, and the message says what to start from; nothing is left."""
    empty = make_sky(2.0, 0.6, 0.0, 1.4e9)
    ms = make_ms(correlations=("RR", "LL"), sky=empty, noise=0.1, times=4)
    with pytest.raises(DataError, match=r"shows no source.*--start-model point"):
        calibrate(ms, tmp_path / "r", options(), auto_mask=20, auto_threshold=20)
    assert not list(tmp_path.iterdir())


def test_one_hand_is_enough(make_ms, sky, tmp_path, no_report):
    """Data of one hand are calibrated as others are."""
    ms = make_ms(correlations=("LL",), sky=sky, gain_error=0.3, noise=0.02, times=4)
    result = calibrate(ms, tmp_path / "s", options("p:int,ap:int"))
    assert result.gains.feeds == ("L",)
    assert result.rounds[-1].dynamic_range > 2 * result.rounds[0].dynamic_range


def test_pauses_are_scans_where_there_is_one_scan_number(make_ms, edit_ms):
    """Data that came as UVFITS have one scan number: a pause of more than five integrations ends a scan there."""
    ms = make_ms(times=6)
    later = edit_ms(ms, TIME=lambda time: np.where(time > np.median(time), time + 7200, time))
    scans = [Calibrator(path, Selection(), options()).scans for path in (ms, later)]
    assert len(np.unique(scans[0])) == 1
    assert len(np.unique(scans[1])) == 2


@pytest.mark.parametrize("text", ["disc:20asec:2", "gauss:20asec:2", "point:2"])
def test_start_models_are_what_they_say(text):
    """Flux at zero spacing, and the visibility of the same shape summed pixel by pixel at others."""
    model = parse_start_model(text).at(0.0, 0.0)
    size = parse_start_model(text).size
    uvw, freq = np.array([[0, 0, 0], [300.0, 0, 0], [900.0, -500, 0]]), np.array([1.4e9, 2e9])
    found = model.predict(uvw, freq)
    y, x = np.mgrid[-200:201, -200:201] * 0.2 * ARCSEC
    radius = np.hypot(x, y)
    if "gauss" in text:
        pixels = np.exp(-4 * np.log(2) * (radius / size) ** 2)
    else:
        pixels = (radius <= max(size / 2, 1e-9)).astype(float)
    pixels *= 2 / pixels.sum()
    turns = (uvw[:, None, 0] * freq / C)[..., None, None] * x + (uvw[:, None, 1] * freq / C)[..., None, None] * y
    np.testing.assert_allclose(found, (pixels * np.exp(2j * np.pi * turns)).sum((2, 3)), atol=0.02)


@pytest.mark.parametrize("text, seconds", [("30s", 30), ("2min", 120), ("0.5h", 1800), ("int", 0), ("INF", np.inf)])
def test_intervals(text, seconds):
    """Times with units, an integration, a scan."""
    assert parse_interval(text, "solint") == seconds


@pytest.mark.parametrize("text", ["30", "-5s", "0s", "p", "5parsec"])
def test_wrong_intervals(text):
    """What is no time is refused, with examples."""
    with pytest.raises(ConfigError, match="is no solution interval; write for example 30s"):
        parse_interval(text, "solint")


def test_model_images_are_predicted_channel_by_channel(small_uv, small_grid):
    """Each channel takes the image nearest in frequency, also where frequencies fall: fluxes of a point are its."""
    uvw, freq = small_uv
    images = [np.zeros(small_grid.shape, np.float32) for _ in range(2)]
    for flux, image in zip((1.0, 3.0), images, strict=True):
        image[small_grid.height // 2, small_grid.width // 2] = flux
    model = ImageModel([(1.3e9, images[0]), (1.45e9, images[1])], small_grid)
    found = model.predict(uvw, freq[::-1])
    np.testing.assert_allclose(found, np.broadcast_to([3.0, 3.0, 1.0], found.shape), atol=1e-3)
    assert model.flux == 4


def test_rounds_are_read_with_their_intervals():
    """Intervals stand with the rounds, or come from --solint and --solint-amp."""
    assert parse_rounds("p:inf,p,ap", 30.0, 60.0) == (Round("p", np.inf), Round("p", 30.0), Round("ap", 60.0))
    with pytest.raises(ConfigError, match="--rounds 'a' is unknown"):
        parse_rounds("p,a")

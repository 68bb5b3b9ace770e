"""Simulated observations with one fault each: kept-out visibilities say which, and where."""

import json
import logging

import numpy as np
import pytest

import radrim
from radrim.simulation import read_layout

SIZE = {"size": 48, "scale": "5asec", "threads": 1, "solver": "clean", "holdout": 0.05}
"""The source lies on a pixel, so that CLEAN leaves nothing but noise."""
NOISE, TIMES, CHANNELS = 0.05, 40, 8
"""Of each correlation [Jy]; Stokes I is the mean of two."""
FIRST, SECOND = np.triu_indices(9, 1)
NAMES = read_layout("vla-c").stations[1::3]


@pytest.fixture(scope="module")
def observed(make_ms):
    """A point source and noise, as the weights say: nine antennas, hours of a track."""
    return make_ms(noise=NOISE, times=TIMES, windows=((1.38e9, CHANNELS),))


@pytest.fixture
def make_image(tmp_path, without_reports):
    """`make_image(ms) -> Result`, without a report."""

    def make(ms, **options):
        with without_reports():
            return radrim.image(ms, name=tmp_path / "image", **SIZE | options)

    return make


def kinds(result):
    return [finding["kind"] for finding in result.findings]


def of_antenna(number, data):
    """Rows of an antenna, (row, 1, 1) bool, and the sign with which its phase counts."""
    times = len(data) // len(FIRST)
    sign = np.tile((number == FIRST).astype(int) - (number == SECOND), times)[:, None, None]
    return sign != 0, sign


def test_a_good_observation_has_no_findings(observed, make_image, tmp_path, caplog):
    """Chi^2 per datum of fitted and kept-out visibilities is 1; nothing is said. The numbers are in NAME-qa.json.

    The line of each major cycle has both.
    """
    with caplog.at_level(logging.INFO, "radrim"):
        result = make_image(observed)
    assert result.findings == []
    for name in ("fitted", "kept", "noise"):
        assert result.fit_quality["all"][name] == pytest.approx(1, abs=0.1)
    judged = [cycle for cycle in result.cycles if "kept_chi2" in cycle]
    assert judged[-1]["fitted_chi2"] == pytest.approx(1, abs=0.1)
    for cycle in judged:
        words = f"chi^2 per datum: {cycle['fitted_chi2']:.4g} fitted, {cycle['kept_chi2']:.4g} kept out, "
        assert f"major cycle {cycle['cycle']}: model flux" in caplog.text
        assert words in caplog.text
    told = json.loads((tmp_path / "image-qa.json").read_text())
    assert told["findings"] == []
    assert told["visibility_fit"]["kept"] == result.fit_quality["all"]["kept"]
    assert sorted(entry["antenna"] for entry in told["visibility_fit"]["by_antenna"]) == sorted(NAMES)
    assert len(told["visibility_fit"]["major_cycles"]) == len(judged)


def test_noise_alone(make_ms, make_image):
    """Nothing is in the model, and nothing is said."""
    result = make_image(make_ms(noise=NOISE, times=TIMES, stokes=(0.0, 0.0, 0.0, 0.0)))
    assert not result.model.any()
    assert result.findings == []


def test_weights_too_high(observed, edit_ms, make_image, caplog):
    """All weights four times too high: the factor is said in result, log and notes, and nothing else."""
    ms = edit_ms(observed, WEIGHT=lambda weight: 4 * weight)
    with caplog.at_level(logging.WARNING, "radrim"):
        result = make_image(ms)
    (finding,) = result.findings
    assert finding["kind"] == "weights"
    assert finding["value"] == pytest.approx(4, rel=0.1)
    assert finding["text"] in caplog.text


def test_an_antenna_with_more_noise_than_stated(observed, edit_ms, make_image):
    """Noise three times the stated one on the baselines of one antenna: its name."""

    def worse(data):
        bad, _ = of_antenna(4, data)
        more = np.random.default_rng(5).normal(0, NOISE * np.sqrt(8), (*data.shape, 2)).view(complex)[..., 0]
        return data + np.where(bad, more, 0)

    (finding,) = make_image(edit_ms(observed, DATA=worse)).findings
    assert finding["kind"] == "antenna_weights"
    assert finding["antennas"] == [NAMES[4]]
    assert np.sqrt(finding["value"]) == pytest.approx(3, rel=0.1)


def test_an_antenna_with_wrong_gains(observed, edit_ms, make_image):
    """Phase errors of one antenna that vary over hours: calibration errors, and its name."""

    def turn(data):
        hours = np.repeat(np.arange(len(data) // len(FIRST)) * 0.25, len(FIRST))[:, None, None]
        _, sign = of_antenna(4, data)
        return data * np.exp(0.5j * sign * np.cos(2 * np.pi * hours / 5))

    result = make_image(edit_ms(observed, DATA=turn))
    assert kinds(result) == ["calibration"]
    assert result.findings[0]["antennas"] == [NAMES[4]]


def test_wild_samples(make_ms, edit_ms, make_image, point_source):
    """Ten samples of 1000 sigma in 46,000: their number, nothing else, and a model that keeps its flux."""
    observed = make_ms(noise=NOISE, times=TIMES, windows=((1.38e9, 32),))

    def wilder(data):
        rng = np.random.default_rng(7)
        row, channel = rng.integers(len(data), size=10), rng.integers(data.shape[1], size=10)
        data[row, channel] += 1e3 * NOISE / np.sqrt(2) * np.exp(2j * np.pi * rng.random((10, 1)))
        return data

    result = make_image(edit_ms(observed, DATA=wilder))
    (finding,) = result.findings
    assert finding["kind"] == "wild_samples"
    assert finding["value"] == 10
    assert result.fit_quality["wild"]["worst"][0]["deviation"] == pytest.approx(1000, rel=0.15)
    assert result.model.sum() == pytest.approx(point_source.stokes[0], rel=0.02)


def test_channels_and_stokes_are_told_together(make_ms, make_image):
    """Several output channels: one set of levels for all; of several Stokes parameters each has its own."""
    ms = make_ms(noise=NOISE, times=TIMES, correlations=("XX", "XY", "YX", "YY"))
    result = make_image(ms, channels_out=2, pol="I,Q")
    for image in result.polarisations.headers:
        assert image.fit_quality["all"]["kept"] == pytest.approx(1, abs=0.1)
        assert len(image.fit_quality["windows"]) == 2


def test_without_kept_out_visibilities_there_are_no_levels(observed, make_image, tmp_path):
    """--holdout 0: no findings, no levels, and no chi^2 in the records."""
    result = make_image(observed, holdout=0.0)
    assert (result.findings, result.fit_quality) == ([], {})
    assert json.loads((tmp_path / "image-qa.json").read_text())["visibility_fit"] is None

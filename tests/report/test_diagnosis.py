"""What kept-out visibilities say: each finding where it is true, and only there."""

import math

import pytest

from radrim.report.diagnosis import band_name, diagnose, name_of

NAMES = [f"ea{k:02d}" for k in range(10)]


def entry(**levels):
    """Levels of a part of the data; all at the noise of the weights unless given."""
    known = {"samples": 10_000, "fitted": 1.0, "kept": 1.0, "noise": 1.0} | levels
    return known | {f"{name}_error": known.get(f"{name}_error", 0.01) for name in ("fitted", "kept", "noise")}


def quality(antennas=None, windows=(), wild=None, error=0.01, **levels):
    """A summary of `FitInspector` with these levels of all data, and those of some antennas (number: levels)."""
    every = entry(**levels)
    for name in ("kept", "fitted"):
        every |= {f"{name}_excess": every[name] - every["noise"], f"{name}_excess_error": error}
    others = {"kept": every["kept"], "fitted": every["fitted"], "noise": every["noise"]} if not antennas else {}
    nothing = {"count": 0, "samples": 10_000, "antennas": [], "windows": [], "worst": []}
    return {
        "all": every,
        "lengths": [],
        "antennas": [{**entry(**others | (antennas or {}).get(k, {})), "antenna": k} for k in range(len(NAMES))],
        "windows": [{**entry(noise=noise), "frequencies_hz": [1e9 + k * 1e8] * 2} for k, noise in enumerate(windows)],
        "wild": nothing | (wild or {}),
    }


def kinds(found):
    return [finding.kind for finding in found]


def test_a_good_image_has_no_findings():
    """All levels at the noise of the weights: nothing is said, nor without kept-out visibilities."""
    assert diagnose(quality(), NAMES) == []
    assert diagnose({}, NAMES) == []


@pytest.mark.parametrize("factor", [4.0, 0.25])
def test_weights_that_are_wrong_by_a_factor(factor):
    """The factor is said, with its direction; that all levels are away from 1 is nothing else's fault."""
    (finding,) = diagnose(quality(noise=factor, kept=factor, fitted=factor), NAMES)
    assert finding.kind == "weights"
    assert finding.value == pytest.approx(factor)
    assert f"4 times too {'high' if factor > 1 else 'low'}" in finding.text
    assert "statwt" in finding.text


def test_an_insignificant_factor_is_not_said():
    """A factor of 1.6 within 4 of its errors is no finding."""
    assert kinds(diagnose(quality(noise=1.6, kept=1.6, fitted=1.6, noise_error=0.3), NAMES)) == []


def test_an_antenna_with_more_noise_than_its_weights_say():
    """Its name and the ratio of sigmas are said."""
    (finding,) = diagnose(quality(antennas={4: {"noise": 9.0, "fitted": 9.0, "kept": 9.0}}), NAMES)
    assert finding.kind == "antenna_weights"
    assert finding.antennas == ["ea04"]
    assert "ea04 3" in finding.text


def test_a_window_with_more_noise_than_its_weights_say():
    """It is named by its frequency."""
    (finding,) = diagnose(quality(windows=(1.0, 1.02, 4.0, 0.98)), NAMES)
    assert finding.kind == "window_weights"
    assert finding.windows == ["1200 MHz"]


def test_calibration_errors_of_one_antenna():
    """Kept out and fitted are above the noise, one antenna most: it is named."""
    bad = {4: {"fitted": 20.0, "kept": 15.0}}
    (finding,) = diagnose(quality(antennas=bad, kept=3.0, fitted=4.0, error=1.0), NAMES)
    assert finding.kind == "calibration"
    assert finding.antennas == ["ea04"]


def test_calibration_errors_of_all_antennas():
    """No antenna is named, and that the model may lack emission is said, too."""
    (finding,) = diagnose(quality(kept=2.0, fitted=1.8), NAMES)
    assert finding.kind == "calibration"
    assert finding.antennas == []
    assert "emission" in finding.text


def test_fitted_noise():
    """Fitted below the noise, kept out above it by no more than that explains: noise was fitted, and how much."""
    (finding,) = diagnose(quality(kept=1.43, fitted=0.7), NAMES)
    assert finding.kind == "fitted_noise"
    assert finding.value == pytest.approx(0.3)
    assert "6,000 of 20,000" in finding.text


def test_fitted_noise_and_calibration_errors():
    """Kept out above the noise by far more than fitted noise explains: both are said."""
    assert kinds(diagnose(quality(kept=4.0, fitted=0.7), NAMES)) == ["fitted_noise", "calibration"]


def test_differences_within_their_errors_say_nothing():
    """Levels as of fitted noise, with errors as large: no finding."""
    assert diagnose(quality(kept=1.43, fitted=0.7, error=0.2), NAMES) == []


def test_wild_samples():
    """Their number, and antennas, time, frequency and deviation of the worst."""
    worst = {"deviation": 1000.0, "antennas": [3, 7], "time_mjd_s": 57388.5 * 86400, "frequency_hz": 1.4e9}
    wild = {"count": 10, "antennas": [[3, 10], [7, 10]], "windows": [[1.3e9, 1.5e9, 10]], "worst": [worst]}
    (finding,) = diagnose(quality(wild=wild), NAMES)
    assert finding.kind == "wild_samples"
    for part in ("10 wild samples in 10,000", "ea03-ea07, 2016-01-01 12:00:00 UTC, 1.4 GHz, 1e+03 sigma"):
        assert part in finding.text


def test_unknown_noise_says_nothing():
    """Without neighbouring samples there is nothing to compare with."""
    assert diagnose(quality(noise=math.nan, noise_error=math.nan, kept=3.0, fitted=3.0), NAMES) == []


def test_names():
    """Antennas without a name are told by their number, bands of one channel by one frequency."""
    assert name_of(["ea01", ""], 0) == "ea01"
    assert (name_of(["ea01", ""], 1), name_of([], 2)) == ("1", "2")
    assert band_name([1.4e9, 1.4e9]) == "1400 MHz"
    assert band_name([1.4e9, 1.5e9]) == "1400 to 1500 MHz"
    (finding,) = diagnose(quality(kept=2.0, fitted=1.8), NAMES, "Q")
    assert finding.text.startswith("Stokes Q: ")


def test_antennas_without_noise():
    """Where neighbouring samples are equal, their noise is 0, and no antenna stands out by a ratio to it."""
    from radrim.report.diagnosis import DiagnosisSettings, _bad_antennas

    entry = {"fitted": 1.0, "noise": 0.0, "fitted_error": 0.1, "noise_error": 0.0}
    far, above = _bad_antennas([entry] * 5, DiagnosisSettings())
    assert not len(far)
    assert not above.any()

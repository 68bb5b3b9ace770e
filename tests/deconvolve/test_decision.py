"""How much of an update is taken, by what kept-out visibilities say of it."""

from dataclasses import replace

import numpy as np
import pytest

from radrim.deconvolve.decision import REFUSED, by_judge, given_up
from radrim.deconvolve.judge import Cells, Verdict
from radrim.deconvolve.minor import MinorCycle

MINOR = MinorCycle(np.zeros((1, 1), np.float32), 1, 0.0, "test", converged=False)
SIMPLER = replace(MINOR, max_rms_rise=1.03)


def verdict(best, cells=400, noise=1.0):
    """What samples say of an update of which this part is best; noise is its error times 20."""
    power = np.ones(cells)
    slope = best + noise * np.tile([1.0, -1.0], cells // 2)
    return Verdict(Cells(np.ones(cells), power, slope, np.full(cells, 2.0), np.full(cells, 2.0)))


def test_a_right_update_is_taken_as_a_whole():
    """Its part of lowest chi^2 is 1."""
    assert by_judge(verdict(1.0), [MINOR], 1.0, 0.0) == (1.0, "")


def test_half_of_an_update_that_goes_too_far():
    """The part that the kept-out visibilities support, where it is less than 1 by more than its error."""
    part, refused = by_judge(verdict(0.5), [MINOR], 1.0, 0.0)
    assert part == pytest.approx(0.5)
    assert not refused


def test_fitted_noise_is_refused():
    """Nothing of an update that predicts nothing, or less than its error."""
    assert by_judge(verdict(0.0), [MINOR], 1.0, 0.0) == (0.0, REFUSED)
    assert by_judge(verdict(0.04), [MINOR], 1.0, 0.0) == (0.0, REFUSED)


def test_a_simpler_model_may_cost_its_error_once():
    """A loss within the error is accepted, but not again where simpler models have cost as much before."""
    seen = verdict(0.48)
    loss, error = seen.change(1.0), seen.change_error(1.0)
    assert 0 < loss < error
    assert by_judge(seen, [SIMPLER], 1.0, 0.0) == (1.0, "")
    assert by_judge(seen, [SIMPLER], 1.0, error) == (0.0, REFUSED)
    assert by_judge(seen, [replace(MINOR, whole=True)], 1.0, 0.0) == (0.0, REFUSED)


def test_of_models_that_predict_alike_the_less_closely_fitted_is_taken():
    """A model of its own, where kept-out samples cannot tell: if it leaves more of the fitted samples."""
    seen, offer = verdict(0.48), replace(MINOR, whole=True)
    closer, looser = (replace(seen, watched=verdict(best).cells) for best in (0.6, 0.4))
    assert by_judge(closer, [offer], 1.0, 0.0) == (0.0, REFUSED)
    assert by_judge(looser, [offer], 1.0, 0.0) == (1.0, "")
    assert by_judge(looser, [MINOR], 1.0, 0.0) == (pytest.approx(0.48), "")
    assert by_judge(replace(verdict(0.3), watched=verdict(0.4).cells), [offer], 1.0, 0.0) == (0.0, REFUSED)


def test_what_fits_its_own_samples_much_better_is_no_simplification():
    """It must predict the others better by more than the error, as all updates."""
    seen = verdict(0.52)
    assert -seen.change_error(1.0) < seen.change(1.0) < 0
    closer, alike = (replace(seen, watched=verdict(best).cells) for best in (0.9, 0.52))
    assert by_judge(closer, [SIMPLER], 1.0, 0.0) == (0.0, REFUSED)
    assert by_judge(alike, [SIMPLER], 1.0, 0.0) == (1.0, "")
    assert by_judge(replace(verdict(0.9), watched=verdict(0.95).cells), [SIMPLER], 1.0, 0.0) == (1.0, "")


def test_losses_count_from_the_best_model():
    """What was refused does not count, and gains make up for losses, but not for later ones."""
    cycles = [
        {"taken": True, "kept_change": -100.0}, {"taken": True, "kept_change": 3.0},
        {"taken": False, "kept_change": 50.0}, {"taken": True, "kept_change": 2.0}, {"stop": "without a judge"},
    ]  # fmt: skip
    assert given_up(cycles) == 5.0
    assert given_up([*cycles, {"taken": True, "kept_change": -4.0}]) == 1.0

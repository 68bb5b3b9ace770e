"""Which methods of regularisation are tried, one after the other."""

import numpy as np
import pytest

from radrim.deconvolve.decision import by_rms
from radrim.deconvolve.step_length import Change, Moments
from radrim.rim.minor.stages import PLUG_AND_PLAY, TOTAL_VARIATION, TRIALS, UNJUDGED_STAGES, FitAllSamples, Trial


class Part:
    """Answers a stage, and notes which methods were asked for."""

    def __init__(self, refuse=(), rms=1.0):
        self.refuse, self.rms, self.taken, self.tried, self.priors = refuse, rms, 0, [], 0

    def __call__(self, action, natural=False, **values):
        residual = self.rms * np.random.default_rng(1).normal(size=(8, 8))
        one = {"moments": Moments.of(residual), "components": 1}
        if action == "begin":
            one |= {"regularises": True, "updates": True, "held": 0.0, "noise": 1.0, "flux": 1.0, "trial": self.taken}
        elif action == "update_prior":
            self.priors += 1
            one |= {"any": False, "change": Change.of(residual, 0.9 * residual)}
        elif action == "regularise":
            assert natural
            self.tried.append(values["number"])
            one["any"] = True
        return [one]

    def run(self, stages):
        """Run the stages, and take or refuse what they find."""
        for stage in stages:
            if stage(self) is not None and self.tried[-1] not in self.refuse:
                self.taken = self.tried[-1]
        return self.tried


def test_a_stronger_prior_follows_a_weaker_one():
    """Total variation is tried only where plug and play was refused, near emission and everywhere."""
    assert Part().run(TRIALS) == [1, 2, 3]
    assert Part(refuse=(2,)).run(TRIALS) == [1, 2, 3]
    assert Part(refuse=(1,)).run(TRIALS) == [1, 2, 3]
    assert Part(refuse=(1, 2)).run(TRIALS) == [1, 2, 4]


@pytest.mark.parametrize("stages", [PLUG_AND_PLAY, TOTAL_VARIATION])
def test_strengths_rise_until_one_is_refused(stages):
    """After a refused strength none is tried."""
    assert Part().run(stages) == list(range(1, len(stages) + 1))
    assert Part(refuse=(3,)).run(stages) == [1, 2, 3]


def test_numbers_are_different():
    """The last prior that was taken is known by its number."""
    for stages in (TRIALS, PLUG_AND_PLAY, TOTAL_VARIATION):
        numbers = [stage.number for stage in stages if isinstance(stage, Trial)]
        assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("rms", [1.0, 30.0])
def test_far_from_the_noise_priors_are_tried_where_something_judges_them(rms):
    """Without a judge the prior update runs near the noise only; trials, which a judge sees, run anywhere."""
    unjudged, judged = Part(rms=rms), Part(rms=rms)
    unjudged.run(UNJUDGED_STAGES[1:])
    judged.run(TRIALS)
    assert (unjudged.priors, judged.priors) == ((1, 0) if rms == 1 else (0, 0))
    assert judged.tried == [1, 2, 3]


@pytest.mark.parametrize("taken, action", [(0, "fit_all_samples"), (1, "regularise"), (4, "fit_all_samples")])
def test_plug_and_play_goes_on_with_all_visibilities(taken, action):
    """The closing fit uses the prior that was taken last: plug and play itself, or else a Gaussian."""
    asked, part = [], Part()
    part.taken = taken

    def ask(name, **values):
        asked.append(name)
        return [one | {"any": True} for one in part(name, **values)]

    FitAllSamples(TRIALS)(ask)
    assert asked == ["begin", action, "stage_update"]


@pytest.mark.parametrize("rise, taken", [(1.0, True), (1.02, True), (1.2, False), (2.5, False)])
def test_a_closing_fit_must_fit_all_visibilities(rise, taken):
    """No visibilities are left to judge it; what the exact residual says counts, not what the PSF predicted."""
    answers = {
        "begin": {"trial": 0, "flux": 1.0, "held": 0.0, "moments": Moments(100, 0.0, 100.0)},
        "fit_all_samples": {"any": True, "moments": Moments(100, 0.0, 900.0)},
        "stage_update": {"components": 50},
    }
    found = FitAllSamples(TRIALS)(lambda action, **_: [answers[action]])
    decision = by_rms([found], 1.0, 1.0, lambda part: 1 + part * (rise - 1))
    assert (decision.part == 1) == taken
    assert bool(decision.refused) != taken

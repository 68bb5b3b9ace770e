"""The field of VLBI data: what the baselines resolve, what is predicted, and whether gains are calibrated."""

import math
from dataclasses import replace

import numpy as np
import pytest

from radrim.closure.read import field_of
from radrim.geometry import C
from radrim.imagers.vlbi_field import VlbiFieldSettings, largest_field, look, warning_of_look
from radrim.visibilities import Observation, Visibilities

FREQ, NOISE = 43e9, 0.02


def track(sources, phases=0.0, times=60):
    """Ten stations within 8000 km that turn for twelve hours, two of them 250 km apart; sources (l, m, flux)."""
    rng = np.random.default_rng(2)
    place = rng.uniform(-4e6, 4e6, (10, 2))
    place[1] = place[0] + [2e5, 1.5e5]
    first, second = np.triu_indices(10, 1)
    hour = np.linspace(0, math.pi, times)
    turn = np.stack([np.cos(hour), np.sin(hour), -np.sin(hour), np.cos(hour)], 1).reshape(-1, 2, 2)
    turn[:, :, 1] *= 0.6
    uv = np.einsum("tij,bj->tbi", turn, place[second] - place[first]).reshape(-1, 2)
    uvw = np.concatenate([uv, np.zeros((len(uv), 1))], 1)
    vis = sum(flux * np.exp(2j * np.pi * (uv @ [l, m]) * FREQ / C) for l, m, flux in sources)
    error = phases * rng.normal(size=(times, 10))
    vis = vis * np.exp(1j * (error[:, first] - error[:, second])).ravel()
    vis = vis + NOISE * (rng.normal(size=vis.shape) + 1j * rng.normal(size=vis.shape))
    antenna = np.tile(np.stack([first, second], 1), (times, 1)).astype(np.int32)
    when = 5e9 + np.repeat(hour / math.pi * 43200, len(first))
    weight = np.full((len(uv), 1), NOISE**-2, np.float32)
    return Visibilities(uvw, np.array([FREQ]), vis[:, None].astype(np.complex64), weight, when, antenna)


def scale_of(block):
    return field_of([block])[0]


def test_compact_source_gets_the_narrowest_field():
    """A point source needs no more than twice the largest scale, although the array could see more."""
    block = track([(0.0, 0.0, 1.0)])
    scale = scale_of(block)
    seen = look([block], 100 * scale)
    assert seen.width == pytest.approx(2 * scale)
    assert warning_of_look(seen.error) == ""


@pytest.mark.parametrize("factor", [1.6, 3.0])
def test_field_holds_what_predicts_visibilities(factor):
    """A second source outside a narrow field leaves visibilities unpredicted, and the field grows to hold it."""
    scale = scale_of(track([(0.0, 0.0, 1.0)]))
    block = track([(0.0, 0.0, 1.0), (factor * scale, -0.3 * scale, 0.2)])
    width = look([block], 100 * scale).width
    assert width / 2 > factor * scale
    assert width <= 4 * factor * scale


def test_field_is_never_wider_than_allowed():
    """The limit counts, wherever sources are."""
    block = track([(0.0, 0.0, 1.0)])
    scale = scale_of(block)
    assert look([block], 1.3 * scale).width == pytest.approx(1.3 * scale)


def test_uncalibrated_phases_are_told():
    """With random phases of the stations no image predicts other visibilities, and the sentence says what to do."""
    block = track([(0.0, 0.0, 1.0)], phases=1.5)
    text = warning_of_look(look([block], 8 * scale_of(block)).error)
    assert "not calibrated" in text
    assert "--data closure" in text


def test_wide_channels_and_long_integrations_limit_the_field():
    """At the edge the phase changes by half a turn within a channel, or an integration, whichever is worse."""
    block = track([(0.0, 0.0, 1.0)])
    observation = Observation([block], 0.0, 0.0, channel_width=0.0)
    longest, settings = observation.longest_baseline(), VlbiFieldSettings()
    step = 43200 / 59
    in_time = 2 * settings.smearing / (7.292115855e-5 * step * longest)
    assert largest_field(observation) == pytest.approx(in_time, rel=1e-3)
    wide = replace(observation, blocks=[replace(block, channel_width=FREQ / 2)])
    assert largest_field(wide) == pytest.approx(2 * settings.smearing * 2 / longest)

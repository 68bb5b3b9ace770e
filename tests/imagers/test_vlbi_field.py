"""The default field of VLBI data: a few times what the baselines resolve, and no wider than averaging allows."""

import numpy as np
import pytest

from radrim.closure.read import field_of
from radrim.geometry import C
from radrim.imagers.vlbi_field import VlbiFieldSettings, largest_field, vlbi_field
from radrim.visibilities import Observation, Visibilities

FREQ = 43e9
SHORT, LONG = 250e3, 8000e3


def observe(lengths, step=10.0, channel_width=1e6):
    """An observation of baselines of these lengths [m], two integrations of each."""
    uvw = np.zeros((2 * len(lengths), 3))
    uvw[:, 0] = np.repeat(lengths, 2)
    rows = len(uvw)
    antenna = np.repeat(np.arange(1, len(lengths) + 1), 2)
    block = Visibilities(
        uvw, np.array([FREQ]), np.ones((rows, 1), np.complex64), np.ones((rows, 1), np.float32),
        np.tile([5e9, 5e9 + step], len(lengths)), np.stack([0 * antenna, antenna], 1), channel_width=channel_width,
    )  # fmt: skip
    return Observation([block], 0.0, 0.0)


def test_field_is_some_times_what_the_shortest_baseline_resolves():
    """It grows with the fringe spacing of the shortest baseline, and the reason says so."""
    observation = observe([SHORT, 2000e3, LONG])
    width, why = vlbi_field(observation)
    assert width == pytest.approx(VlbiFieldSettings.scales / (SHORT * FREQ / C))
    assert "baselines between distant stations" in why


def test_neighbouring_stations_do_not_widen_the_field_to_their_scale():
    """A baseline of 200 m makes room for flux that only it sees, but does not set the field."""
    scale = field_of(observe([SHORT, LONG]).blocks)[0]
    assert vlbi_field(observe([200.0, SHORT, LONG]))[0] == pytest.approx(VlbiFieldSettings.halo * scale)


@pytest.mark.parametrize("step, channel_width", [(3000.0, 1e6), (10.0, 2e9)])
def test_long_integrations_and_wide_channels_limit_the_field(step, channel_width):
    """At the edge the phase changes by at most half a turn within an integration and within a channel."""
    observation = observe([SHORT, LONG], step, channel_width)
    width, why = vlbi_field(observation)
    longest = LONG * FREQ / C
    turns = [width / 2 * longest * part for part in (7.292115855e-5 * step, channel_width / FREQ)]
    assert max(turns) == pytest.approx(VlbiFieldSettings.smearing)
    assert width == largest_field(observation)
    assert "smear" in why

"""Uncalibrated phases of VLBI data are told before anything is imaged."""

import numpy as np
import pytest

from radrim.imagers.neighbour_phases import warning_of_phases
from radrim.visibilities import Visibilities

NAMES = ["AA", "AP", "PV"]
PAIRS = np.array([[0, 1], [0, 2], [1, 2]])


def observe(rng, phase=0.0, noise=0.1, near=200.0, far=6e6):
    """Two neighbouring stations and a distant one, phase errors (rms) of each at 50 times; flux 1 Jy."""
    times = 50
    station = np.array([[0.0, 0.0, 0.0], [near, 0.0, 0.0], [far, 0.5 * far, 0.0]])
    antenna = np.tile(PAIRS, (times, 1))
    uvw = (station[antenna[:, 1]] - station[antenna[:, 0]]) * np.repeat(np.linspace(0.9, 1.1, times), 3)[:, None]
    gain = np.exp(1j * phase * rng.standard_normal((times, 3)))
    which = np.repeat(np.arange(times), 3)
    data = gain[which, antenna[:, 0]] * gain[which, antenna[:, 1]].conj()
    data = data + noise * rng.standard_normal((len(data), 2)).view(complex)[:, 0]
    weight = np.full((len(data), 1), noise**-2, np.float32)
    return Visibilities(uvw, np.array([230e9]), data[:, None].astype(np.complex64), weight, 5e9 + 10.0 * which, antenna)


@pytest.mark.parametrize("noise", [0.01, 0.4])
def test_errors_of_phase_are_found_and_noise_is_not_one(noise):
    """Phase errors of 1 rad are named with the stations; noise alone is none."""
    generator = np.random.default_rng(1)
    assert warning_of_phases([observe(generator, noise=noise)], NAMES) == ""
    found = warning_of_phases([observe(generator, phase=1.0, noise=noise)], NAMES)
    assert "AA-AP" in found
    assert "--data closure" in found


def test_only_neighbours_of_very_long_baselines_tell():
    """Stations that resolve the field, and arrays on one site, have phases of their sources."""
    generator = np.random.default_rng(1)
    for lengths in ({"near": 1e5}, {"near": 2.0, "far": 6e3}):
        assert warning_of_phases([observe(generator, phase=1.0, **lengths)], NAMES) == ""


def test_real_data(shared_data):
    """The EHT's data as they were released without calibration of phases, and after it."""
    from radrim.read.reader import read

    for kind, wrong in (("netcal", True), ("selfcal", False)):
        observation = read([shared_data / "uvfits" / f"eht_m87_2017_101_lo_{kind}.uvfits"])
        assert bool(warning_of_phases(observation.blocks, observation.antennas)) == wrong

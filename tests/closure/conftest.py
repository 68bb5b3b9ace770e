"""Observations of the Event Horizon Telescope's stations."""

import numpy as np
import pytest

from radrim.geometry import ARCSEC
from radrim.simulation import make_sky, simulate
from radrim.sky.catalogue import offset_position

UAS = ARCSEC * 1e-6
RA, DEC = 3.2758, 0.2163


def observe(folder, flux, noise):
    """A ring of points, 42 microarcseconds wide and 14 thick, as a Measurement Set; `flux` and `noise` in Jy."""
    angle = 2 * np.pi * np.arange(400) / 40
    radius = 21 + 6 * np.random.default_rng(1).standard_normal(len(angle))
    places = np.array([np.sin(angle), np.cos(angle)]) * radius * UAS
    bright = flux * (1 + 0.5 * np.cos(angle - np.pi)) / len(angle)
    sky = make_sky(*offset_position(*places, RA, DEC), np.outer(bright, [1.0, 0, 0, 0]), 227e9)
    return simulate(
        folder / "eht.ms", array="eht2017", sky=sky, ra=np.degrees(RA), dec=np.degrees(DEC), freq=227e9,
        bandwidth=2e9, channels=1, hours=8, integration=600, noise=noise,
    )  # fmt: skip


@pytest.fixture(scope="session")
def simulated_ring(tmp_path_factory):
    """A ring of 1 Jy."""
    return observe(tmp_path_factory.mktemp("vlbi"), 1.0, 0.01)


@pytest.fixture(scope="session")
def simulated_noise(tmp_path_factory):
    """Noise, and nothing else."""
    return observe(tmp_path_factory.mktemp("noise"), 1e-9, 0.1)

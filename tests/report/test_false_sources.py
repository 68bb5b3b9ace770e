"""Flux far from the main source, where few baselines leave high sidelobes."""

import numpy as np
import pytest

from radrim.beam import Beam
from radrim.geometry import ARCSEC
from radrim.report.false_sources import find_false_sources

BEAM = Beam(4 * ARCSEC, 4 * ARCSEC, 0.0)


def psf(level):
    """A Gaussian with two sidelobes, 40 pixels to the east and west."""
    y, x = np.mgrid[:128, :128] - 64
    lobe = lambda at: np.exp(-4 * np.log(2) * (y**2 + (x - at) ** 2) / 4.0**2)  # noqa: E731
    return (lobe(0) + level * (lobe(40) + lobe(-40))).astype(np.float32)


def model(*points):
    image = np.zeros((128, 128), np.float32)
    for y, x, flux in points:
        image[y, x] = flux
    return image


@pytest.mark.parametrize(
    "level, points, found",
    [
        (0.4, [(64, 64, 1.0), (64, 104, 0.3)], True),  # on a sidelobe
        (0.4, [(64, 64, 1.0), (30, 64, 0.3)], False),  # beside it
        (0.4, [(64, 64, 1.0), (64, 104, 0.05)], False),  # little
        (0.05, [(64, 64, 1.0), (64, 104, 0.3)], False),  # a good array
        (0.7, [(64, 64, 1.0), (30, 64, 0.3)], True),  # hardly an array
        (0.4, [(64, 64, 1.0), (66, 64, 0.5)], False),  # part of the main source
        (0.4, [], False),
    ],
)
def test_flux_on_sidelobes_is_doubtful(level, points, found):
    """It must be much, far away, and on sidelobes of the main source; or these are nearly as high as the source."""
    findings = find_false_sources(model(*points), psf(level), BEAM, ARCSEC)
    assert bool(findings) == found


def test_finding_says_how_much_and_what_to_try():
    """The fraction of the flux, and other options."""
    (finding,) = find_false_sources(model((64, 64, 1.0), (64, 104, 0.3)), psf(0.4), BEAM, ARCSEC)
    assert finding.kind == "false_sources"
    assert finding.value == pytest.approx(0.3 / 1.3, rel=1e-6)
    assert finding.text.startswith("23% of the model's flux")
    assert "--mask" in finding.text

"""Rings are measured, and what is none is said to be none."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift

from radrim.closure.ring import measure_ring
from radrim.geometry import ARCSEC, FWHM_PER_SIGMA

UAS = ARCSEC * 1e-6
SCALE = 2.0
"""[microarcsecond]"""


def ring(diameter, beam, fade=0.0, angle=0.0, size=96):
    """A thin ring, brighter towards `angle`, seen with a round beam [microarcsecond]; drawn on finer pixels."""
    fine = SCALE / 4
    y, x = (np.indices((4 * size, 4 * size)) - 2 * size + 0.5) * fine
    radius, position = np.hypot(x, y), np.arctan2(-x, y)
    image = np.exp(-0.5 * ((radius - diameter / 2) / fine) ** 2) * (1 + fade * np.cos(position - angle))
    return gaussian_filter(image, beam / FWHM_PER_SIGMA / fine).reshape(size, 4, size, 4).mean((1, 3))


@pytest.mark.parametrize("diameter, beam", [(42, 10), (42, 20), (60, 15), (30, 12)])
def test_diameter_as_the_beam_makes_it(diameter, beam):
    """The ring of largest brightness is smaller than the thin ring by the beam's bias, which `thin` takes away."""
    found = measure_ring(ring(diameter, beam), SCALE * UAS)
    assert found.found
    assert found.diameter / UAS == pytest.approx(diameter - beam**2 / (4 * np.log(2) * diameter), rel=0.03)
    assert found.thin / UAS == pytest.approx(diameter, rel=0.04)
    assert found.width / UAS == pytest.approx(beam, rel=0.25)
    assert found.scatter < 0.03 * found.diameter
    assert found.asymmetry < 0.02


@pytest.mark.parametrize("angle", [20, 110, 200, 300])
def test_bright_side(angle):
    """North through east: the brighter side of a crescent is where it was put, with half its fade as asymmetry."""
    found = measure_ring(ring(42, 10, 0.6, np.radians(angle)), SCALE * UAS)
    assert found.found
    assert np.degrees(found.angle) == pytest.approx(angle, abs=3)
    assert found.asymmetry == pytest.approx(0.3, abs=0.03)


def test_place_does_not_matter():
    """The centre is found wherever the ring is, and with faint noise around."""
    rng = np.random.default_rng(0)
    image = shift(ring(42, 12, 0.5), (9.3, -6.6))
    found = measure_ring(image + 0.01 * image.max() * rng.standard_normal(image.shape), SCALE * UAS)
    assert found.found
    assert (found.x, found.y) == pytest.approx((47.5 - 6.6, 47.5 + 9.3), abs=0.7)
    assert found.diameter / UAS == pytest.approx(42 - 12**2 / (4 * np.log(2) * 42), rel=0.05)


def gaussian(y, x, major, minor):
    rows, columns = np.indices((96, 96))
    return np.exp(-4 * np.log(2) * (((rows - y) / major) ** 2 + ((columns - x) / minor) ** 2))


@pytest.mark.parametrize(
    "image",
    [gaussian(50, 46, 20, 20), gaussian(50, 40, 30, 9), gaussian(50, 36, 9, 9) + gaussian(50, 58, 9, 9), ring(18, 30)],
    ids=["gaussian", "jet", "double", "unresolved ring"],
)
def test_what_is_no_ring(image):
    """A Gaussian, a jet, a double source and a ring smaller than its beam have no ring, and the text says so."""
    found = measure_ring(image, SCALE * UAS)
    assert not found.found
    assert str(found) == "no ring"


def test_text():
    """Diameter, scatter and position angle in the units that an astronomer reads."""
    assert "ring of diameter 41" in str(measure_ring(ring(42, 10, 0.6, np.pi), SCALE * UAS))
    assert "brightest at 180 deg" in str(measure_ring(ring(42, 10, 0.6, np.pi), SCALE * UAS))


def test_nothing_to_measure():
    """An image without positive or with non-finite pixels is refused."""
    with pytest.raises(ValueError, match="positive"):
        measure_ring(np.zeros((32, 32)), UAS)
    with pytest.raises(ValueError, match="finite"):
        measure_ring(np.full((32, 32), np.nan), UAS)

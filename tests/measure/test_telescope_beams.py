"""Measured primary beams of telescopes: against katbeam, published widths, and what --pb auto chooses."""

from types import SimpleNamespace

import numpy as np
import pytest

from radrim.config.options import ImageConfig
from radrim.config.values import BEAMS
from radrim.errors import ConfigError
from radrim.geometry import C
from radrim.measure.beams.telescopes import TELESCOPES, find_telescope
from radrim.measure.primary_beam import Dishes, choose_dishes


def middle(band):
    return (band.low * band.high) ** 0.5


def full_width(name, freq, diameter=None):
    """Width at half power [rad]."""
    telescope = TELESCOPES[name]
    diameter = diameter or telescope.diameter
    sine = np.linspace(0, 2 * C / freq / diameter, 20001)
    power = telescope.power(freq, sine, diameter)
    return 2 * np.arcsin(sine[np.argmax(power < 0.5)])


def test_options_name_the_telescopes():
    """Each telescope is a value of --pb, and each value is a pattern."""
    assert set(BEAMS) == {"none", "auto", "airy", "gauss", *TELESCOPES}


@pytest.mark.parametrize("name", TELESCOPES)
def test_beams_fall_from_one(name):
    """In each band the power is 1 in the middle, falls to one half and stays within 0 and 1."""
    telescope = TELESCOPES[name]
    for band in telescope.bands:
        for freq in (band.low, middle(band), band.high):
            sine = np.minimum(np.linspace(0, 4 * C / freq / telescope.diameter, 4001), 1)
            power = telescope.power(freq, sine, telescope.diameter)
            assert power[0] == pytest.approx(1, abs=1e-9)
            assert power.min() >= 0
            assert power.max() <= 1 + 1e-9
            half = np.argmax(power < 0.5)
            assert (np.diff(power[:half]) < 0).all()
            assert 0.9 < 2 * sine[half] * freq * telescope.diameter / C < 1.4


@pytest.mark.parametrize("name", TELESCOPES)
def test_beams_have_no_steps_in_frequency(name):
    """Between the frequencies of a table the width changes by little."""
    for band in TELESCOPES[name].bands:
        freq = np.linspace(band.low, band.high, 60)
        width = [full_width(name, f) * f for f in freq]
        assert np.abs(np.diff(np.log(width))).max() < 0.06


@pytest.mark.parametrize(
    "name, freq, arcmin, within",
    [
        ("vla", 1.5e9, 42 / 1.5, 0.03),  # the VLA's status summary: 42 arcmin at 1 GHz
        ("vla", 43.3e9, 42 / 43.3, 0.04),
        ("gmrt", 0.375e9, 75, 0.1),  # NCRA's table of the upgraded GMRT: 75 +- 5 in band 3
        ("gmrt", 1.25e9, 23, 0.1),
        ("atca", 5.5e9, 8.9, 0.05),  # ATCA users guide: 9 arcmin
        ("alma", 230e9, 0.43, 0.03),  # 26 arcsec
        ("wsrt", 1.4e9, 34.1, 0.05),
        ("meerkat", 1.284e9, 67, 0.03),  # Mauch et al. (2020)
    ],
)
def test_widths_are_the_published_ones(name, freq, arcmin, within):
    """Width at half power."""
    assert np.degrees(full_width(name, freq)) * 60 == pytest.approx(arcmin, rel=within)


def test_meerkats_beam_is_katbeams():
    """The mean of katbeam's Stokes I beam around the circle; values of version 0.1."""
    found = TELESCOPES["meerkat"].power(1.1e9, np.sin(np.radians([0.331, 0.6626, 0.9])), 13.5)
    np.testing.assert_allclose(found, [0.8462, 0.4997, 0.2615], atol=0.002)


def test_katbeam_itself():
    """The same against the package, at other frequencies and in the UHF band."""
    katbeam = pytest.importorskip("katbeam")

    around = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    for name, freq in (("L", 900), ("L", 1420), ("L", 1600), ("UHF", 600), ("UHF", 750)):
        beam = katbeam.JimBeam(f"MKAT-AA-{name}-JIM-2020")
        angle = np.linspace(0, 1.2 * 1300 / freq, 40)
        theirs = np.mean([beam.I(angle * np.cos(p), angle * np.sin(p), freq) for p in around], 0)
        ours = TELESCOPES["meerkat"].power(freq * 1e6, np.sin(np.radians(angle)), 13.5)
        np.testing.assert_allclose(ours, theirs, atol=1e-3)


def choose(telescope, freq=(1.3e9, 1.5e9), dishes=(25.0,), **values):
    observation = SimpleNamespace(telescope=telescope, frequencies=np.array(freq), dishes=list(dishes))
    return choose_dishes(ImageConfig.parse("obs.ms", {"pb": "auto", **values}), observation)


@pytest.mark.parametrize(
    "telescope, name",
    [("EVLA", "vla"), ("VLA", "vla"), ("VLBA", "vlba"), ("MeerKAT", "meerkat"), ("uGMRT", "gmrt"), ("ASKAP", "askap")],
)
def test_auto_is_the_telescopes_beam(telescope, name):
    """By the name in the data."""
    assert choose(telescope).pattern == name
    assert find_telescope(telescope).name == name


def test_auto_of_other_telescopes_is_airys():
    """Unknown telescopes, and all whose diameter is given."""
    assert choose("MY-ARRAY") == Dishes("airy", 25.0, 0.2)
    assert choose("EVLA", dish_diameter=26) == Dishes("airy", 26.0, 0.2)


def test_almas_beam_goes_with_the_diameter():
    """Dishes of 7 m have a wider beam than those of 12 m; both together have none."""
    freq = (230e9, 231e9)
    assert choose("ALMA", freq, (7.0,)).diameter == 7
    assert full_width("alma", 230e9, 7.0) == pytest.approx(full_width("alma", 230e9, 12.0) * 12 / 7, rel=1e-3)
    with pytest.raises(ConfigError, match="7, 12 m"):
        choose("ALMA", freq, (7.0, 12.0))


def test_beams_that_are_not_known():
    """Frequencies outside of the bands are refused with the bands, arrays of dipoles with what they are."""
    with pytest.raises(ConfigError, match=r"16 cm \(1100 to 3150 MHz\)"):
        choose("ATCA", (3.5e9, 3.6e9))
    with pytest.raises(ConfigError, match="dipoles"):
        choose("LOFAR", (1.4e8, 1.5e8))

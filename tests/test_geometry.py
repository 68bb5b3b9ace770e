"""Angles, the grid, and the three signs of the measurement equation."""

# l and m are the direction cosines of the measurement equation.

import cmath
import math

import numpy as np
import pytest
import torch

from radrim.errors import ConfigError
from radrim.geometry import ARCSEC, C, ImageGrid, format_angle, n_minus_1, parse_angle
from radrim.operator import KINDS, make_operator

TURN = 2j * math.pi


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "baseline, turns",
    [
        # The source lies 8 pixels east (small x) and 4 north (large y): l = 0.08, m = 0.04, n - 1 = -0.0040080...
        ((3.0, 0.0, 0.0), 3.0 * 0.08),
        ((0.0, 3.0, 0.0), 3.0 * 0.04),
        ((0.0, 0.0, 50.0), 50.0 * (math.sqrt(1 - 0.08**2 - 0.04**2) - 1)),
    ],
    ids=["u", "v", "w"],
)
def test_signs(kind, baseline, turns):
    """V = exp(+2 pi i (u l + v m + w (n - 1))), l to the east, m to the north, for a source of 1 Jy off the centre.

    With the opposite sign of any of u, v, w, or of an axis of the image, the phase would be the opposite.
    """
    grid = ImageGrid(64, 48, 0.01)
    image = torch.zeros(grid.shape, dtype=torch.float64)
    image[48 // 2 + 4, 64 // 2 - 8] = 1.0
    uvw = np.array([baseline]) * C / 1e9
    value = complex(make_operator(kind, uvw, np.array([1e9]), grid, 1e-8).forward(image)[0, 0])
    assert value == pytest.approx(cmath.exp(TURN * turns), abs=1e-6)
    assert abs(value - cmath.exp(-TURN * turns)) > 0.1


def test_grid_follows_the_sky():
    """The phase centre is pixel (height // 2, width // 2); l falls along x, m grows along y, `pixel` inverts both."""
    grid = ImageGrid(8, 6, 0.01)
    assert grid.shape == (6, 8)
    assert grid.l()[4] == 0
    assert grid.m()[3] == 0
    assert grid.l()[3] == pytest.approx(0.01)
    assert grid.m()[4] == pytest.approx(0.01)
    assert grid.pixel(grid.l()[1], grid.m()[5]) == pytest.approx((5, 1))


def test_n_minus_1_keeps_small_angles():
    """n - 1 of micro-arcsecond fields is -(l^2 + m^2) / 2, not 0; beyond the horizon it is NaN."""
    assert n_minus_1(np.array(3e-10), np.array(4e-10)) == pytest.approx(-12.5e-20, rel=1e-12)
    assert n_minus_1(np.array(0.6), np.array(0.0)) == pytest.approx(-0.2)
    assert np.isnan(n_minus_1(np.array(0.8), np.array(0.8)))


def test_largest_n_term():
    """The largest |n - 1| is that of the corner, and 1 once the grid reaches beyond the horizon."""
    grid = ImageGrid(64, 48, 0.01)
    assert grid.max_n_term == pytest.approx(np.abs(n_minus_1(grid.l()[None, :], grid.m()[:, None])).max())
    assert ImageGrid(200, 200, 0.01).max_n_term == 1.0


@pytest.mark.parametrize(
    "text, radians",
    [
        ("1asec", ARCSEC),
        ("1.5 arcsec", 1.5 * ARCSEC),
        ("0.7amin", 42 * ARCSEC),
        ("2deg", 7200 * ARCSEC),
        ("-.5ARCMIN", -30 * ARCSEC),
        ("3mas", 3e-3 * ARCSEC),
        ("2e1masec", 20e-3 * ARCSEC),
        ("20uasec", 20e-6 * ARCSEC),
        ("20µas", 20e-6 * ARCSEC),
        ("0.1rad", 0.1),
    ],
)
def test_parse_angle(text, radians):
    """Every unit that WSClean's users write, in any case, with or without a space."""
    assert parse_angle(text) == pytest.approx(radians, rel=1e-12)


def test_parse_angle_bare_number():
    """A bare number counts only where a unit was agreed on."""
    assert parse_angle(3, default_unit="asec") == pytest.approx(3 * ARCSEC)


@pytest.mark.parametrize(
    "text, message",
    [
        ("big", "scale 'big' is not an angle; write a number and a unit"),
        ("", "scale '' is not an angle"),
        ("1asec 2", "scale '1asec 2' is not an angle"),
        ("1.5", "scale '1.5' has no unit; write one of .*, such as 1.5asec"),
        ("1foot", "scale '1foot' has the unknown unit 'foot'; known are deg, amin"),
    ],
)
def test_parse_angle_refuses(text, message):
    """What is not an angle is refused with the text found and what to write instead."""
    with pytest.raises(ConfigError, match=message):
        parse_angle(text, "scale")


@pytest.mark.parametrize(
    "radians, text",
    [
        (2 * 3600 * ARCSEC, "2deg"),
        (90 * ARCSEC, "1.5amin"),
        (1.25 * ARCSEC, "1.25asec"),
        (0.2e-3 * ARCSEC, "200uasec"),
        (45e-3 * ARCSEC, "45masec"),
        (-3 * ARCSEC, "-3asec"),
        (0.0, "0asec"),
        (ARCSEC * (1 - 1e-12), "1asec"),
        (ARCSEC * 0.9999, "0.9999asec"),
        (ARCSEC * 0.73, "0.73asec"),
        (ARCSEC * 0.0999999999, "0.1asec"),
        (60 * ARCSEC * (1 - 1e-12), "1amin"),
    ],
)
def test_format_angle(radians, text):
    """An angle is written in the unit an astronomer would choose, and `parse_angle` reads it back."""
    assert format_angle(radians) == text
    assert parse_angle(format_angle(radians)) == pytest.approx(radians, rel=1e-3)


def test_a_window_has_the_same_pixels():
    """A part of an image keeps l and m of its pixels, and so does a part of the part; `pixel` inverts them."""
    grid = ImageGrid(200, 120, 1e-3)
    part = grid.region(slice(100, 130), slice(-10, 60))
    assert part.shape == (30, 70)
    assert np.array_equal(part.m()[:20], grid.m()[100:])
    assert np.array_equal(part.l()[10:], grid.l()[:60])
    again = part.region(slice(4, 14), slice(20, 40))
    assert np.array_equal(again.m(), grid.m()[104:114])
    assert np.array_equal(again.l(), grid.l()[10:30])
    assert again.pixel(again.l()[3], again.m()[5]) == pytest.approx((5, 3))
    l, m, n1 = again.middle
    assert (l, m) == (again.l()[10], again.m()[5])
    assert n1 == n_minus_1(l, m)
    assert part.max_n_term >= np.abs(n_minus_1(part.l()[None, :], part.m()[:, None])).max()


def test_has_sky():
    """Windows above, across and below the horizon."""
    grid = ImageGrid(256, 256, 0.02)
    assert grid.has_sky
    assert grid.region(slice(64, 128), slice(64, 128)).has_sky
    assert grid.region(slice(56, 120), slice(56, 120)).has_sky
    assert not grid.region(slice(0, 64), slice(0, 64)).has_sky
    assert not grid.region(slice(96, 160), slice(0, 64)).has_sky

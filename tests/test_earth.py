"""radrim.earth: where the sky is above the antennas of an array."""

import numpy as np
from astropy.coordinates import AltAz, EarthLocation, SkyCoord
from astropy.time import Time
from astropy.utils import iers

from radrim.earth import elevations, mean_position


def test_elevations_agree_with_astropy():
    """Within 0.1 degree of astropy's AltAz, at all latitudes, above and below the horizon; NaN off the Earth."""
    rng = np.random.default_rng(1)
    places = EarthLocation.from_geodetic(rng.uniform(-180, 180, 12), rng.uniform(-90, 90, 12), rng.uniform(0, 5000, 12))
    positions = np.stack([getattr(places, axis).to_value("m") for axis in "xyz"], 1)
    times = 61041 * 86400.0 + np.array([0.0, 30_000.0, 9e6])
    source = SkyCoord(2.0, -0.7, unit="rad", frame="fk5")
    found = np.degrees(elevations(np.concatenate([positions, np.zeros((1, 3))]), 2.0, -0.7, times))
    assert np.isnan(found[:, -1]).all()
    with iers.conf.set_temp("auto_download", False):
        for time, row in zip(times, found, strict=True):
            frame = AltAz(obstime=Time(time / 86400, format="mjd"), location=places)
            np.testing.assert_allclose(row[:-1], source.transform_to(frame).alt.deg, atol=0.1)


def test_mean_position_is_on_the_ground():
    """An array in one place has a mean position; one that spans continents, or is not geocentric, has none."""
    place = np.array([-1601185.0, -5041977.0, 3554876.0])
    shift = np.array([300.0, 0, 0])
    array = np.stack([place, place + shift, np.full(3, np.nan)])
    assert mean_position(array) == (place + shift / 2).tolist()
    assert mean_position(np.stack([place, -place])) == []
    assert mean_position(np.zeros((0, 3))) == []

"""An observation that fills facets."""

import numpy as np
import pytest

from radrim.geometry import ARCSEC


@pytest.fixture(scope="session")
def extended(make_ms):
    """A point in the first quadrant's middle and an extended source across all four, nine antennas of VLA C."""
    from radrim.simulation import make_sky
    from radrim.sky.catalogue import offset_position

    x, y = (a.ravel() for a in np.meshgrid(*[np.arange(-30.0, 31, 3)] * 2))
    flux = np.exp(-(x**2 + y**2) / 18**2)
    x, y, flux = np.append(x, 150.0), np.append(y, 120.0), np.append(3 * flux / flux.sum(), 1.0)
    places = [offset_position(a * ARCSEC, b * ARCSEC, 2.0, 0.6) for a, b in zip(x, y, strict=True)]
    ra, dec = (np.array([place[k] for place in places]) for k in (0, 1))
    return make_ms(sky=make_sky(ra, dec, flux[:, None] * [[1.0, 0, 0, 0]], 1.4e9), noise=0.02, times=24)

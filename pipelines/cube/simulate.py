"""A small observation of a rotating HI disc among continuum sources, for cube.toml.

    python pipelines/cube/simulate.py line.ms

VLA D, one hour, 16 channels of 100 kHz around 1.4195 GHz. `radrim simulate` knows no lines: each side of the disc is
simulated as a continuum source, and its visibilities, times its profile, are added to those of the continuum.
"""

import argparse
import math
import tempfile
from pathlib import Path

import numpy as np

from radrim.simulation import simulate

RA, DEC = 150.0, 30.0
CHANNELS, WIDTH = 16, 1e5
CONTINUUM = ((0.10, 0.05, 1.0), (-0.08, 0.11, 0.5), (0.02, -0.12, 0.3))
"""Degrees to the east and the north, and flux [Jy]: brighter than the line."""
SIDES = ((0.012, 6.0), (-0.012, 9.0))
"""Of the disc: degrees to the east, and channel of the middle of its line."""
FLUX, SPREAD, SIZE = 0.1, 1.0, 60.0
"""Of each side: flux in that channel [Jy], width of the line (sigma) [channel], of the disc (FWHM) [arcsec]."""


def catalogue(path, sources):
    """A list of sources for `radrim simulate`: degrees to the east and the north, flux, size [arcsec]."""
    rows = [
        f"{RA + east / math.cos(math.radians(DEC))},{DEC + north},{flux},{size},{size}"
        for east, north, flux, size in sources
    ]
    path.write_text("\n".join(["ra_deg,dec_deg,i_jy,major_arcsec,minor_arcsec", *rows]) + "\n")
    return path


def observation(path, sky, noise):
    """One simulated set; all of them have the same uvw."""
    return simulate(path, array="vla-d", sky=sky, ra=RA, dec=DEC, freq=1.4195e9, bandwidth=CHANNELS * WIDTH,
                    channels=CHANNELS, hours=1, integration=300, noise=noise, overwrite=True)  # fmt: skip


def main():
    """Simulate the continuum and both sides, and add."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as folder:
        continuum = [(*source, 0.0) for source in CONTINUUM]
        observation(out, catalogue(Path(folder, "continuum.csv"), continuum), noise=0.1)
        import casacore.tables as casatables

        for east, centre in SIDES:
            sky = catalogue(Path(folder, "side.csv"), [(east, 0.0, FLUX, SIZE)])
            side = observation(Path(folder, "side.ms"), sky, noise=0.0)
            profile = np.exp(-0.5 * ((np.arange(CHANNELS) - centre) / SPREAD) ** 2)
            with (
                casatables.table(str(side), ack=False) as line,
                casatables.table(str(out), readonly=False, ack=False) as ms,
            ):
                ms.putcol("DATA", ms.getcol("DATA") + profile[:, None] * line.getcol("DATA"))


if __name__ == "__main__":
    main()

"""The sources of a restored image as a table of astropy."""

import numpy as np
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.table import QTable
from astropy.wcs import WCS

from radrim.beam import Beam
from radrim.geometry import ImageGrid
from radrim.report.sources import IslandSettings, find_sources


def source_table(
    image: np.ndarray, noise: float, beam: Beam, grid: ImageGrid, wcs: WCS, pb: np.ndarray | None = None
) -> QTable:
    """Islands of a restored image, the brightest first.

    Parameters
    ----------
    image : (y, x) array
        [Jy/beam]
    noise : float
        [Jy/beam]
    beam : Beam
    grid : ImageGrid
    wcs : WCS
        Celestial.
    pb : (y, x) array, optional
        Primary beam, by whose value at the peak fluxes are divided.

    Returns
    -------
    QTable
        See `radrim.interactive.Result.sources`.
    """
    found = find_sources(image, noise, beam, grid)
    table = QTable()
    table["coord"] = wcs.pixel_to_world(found["x"], found["y"]) if len(found) else SkyCoord([], [], unit="deg")
    for name, column in (("ra_error", "l_error"), ("dec_error", "m_error")):
        table[name] = (found[column] * units.rad).to(units.arcsec)
    gain = np.ones(len(found))
    if pb is not None and len(found):
        rows, columns = grid.pixel(found["l_peak"], found["m_peak"])
        gain = np.asarray(pb)[np.rint(rows).astype(int), np.rint(columns).astype(int)]
    for name in ("peak", "peak_error", "flux", "flux_error"):
        unit = units.Jy / units.beam if name.startswith("peak") else units.Jy
        table[name] = found[name] / gain * unit
    table["pixels"] = found["pixels"].astype(int)
    table["x"], table["y"] = found["x"], found["y"]
    if pb is not None:
        table["pb"] = gain
    formats = {"ra_error": ".3g", "dec_error": ".3g", "peak": ".4g", "peak_error": ".2g", "flux": ".4g",
               "flux_error": ".2g", "x": ".2f", "y": ".2f", "pb": ".3f"}  # fmt: skip
    for name in table.colnames:
        if name in formats:
            table[name].info.format = formats[name]
    settings = IslandSettings()
    table.meta["selection"] = f"islands above {settings.edge:g} sigma with a peak above {settings.peak:g} sigma"
    table.meta["noise"] = noise * units.Jy / units.beam
    return table

"""Output channels as a cube of the package spectral-cube, an optional dependency."""

import math

import numpy as np
from astropy import units
from astropy.io import fits
from astropy.wcs import WCS
from radio_beam import Beams
from spectral_cube import SpectralCube, VaryingResolutionSpectralCube

from radrim.result import Channels, Image


def cube_of(channels: Channels, kind: str) -> SpectralCube:
    """All output channels of one Stokes parameter.

    Parameters
    ----------
    channels : Channels
    kind : str
        Of `radrim.products.KINDS`.
    """
    headers = channels.headers
    paths = {image.paths[kind] for image in headers}
    if len(paths) == 1 and len(headers) > 1 and not any(image.plane >= len(headers) for image in headers):
        (path,) = paths
        if fits.getheader(path)["NAXIS4"] == 1:
            return SpectralCube.read(path)  # mapped, not in memory
    data = np.stack([channels.plane(number, kind) for number in range(len(headers))])
    header = fits.getheader(headers[0].paths[kind])
    wcs = WCS(header).sub([1, 2, 3])
    freq = np.array([image.freq for image in headers])
    wcs.wcs.crpix[2], wcs.wcs.crval[2] = 1, freq[0]
    wcs.wcs.cdelt[2] = (freq[-1] - freq[0]) / (len(freq) - 1) if len(freq) > 1 else headers[0].bandwidth or 1.0
    unit = units.Unit(header["BUNIT"].replace("JY", "Jy").replace("BEAM", "beam").replace("PIXEL", "pixel"))
    if unit == units.Jy / units.beam and not any(math.isnan(image.beam.major) for image in headers):
        return VaryingResolutionSpectralCube(data * unit, wcs, beams=_beams(headers))
    return SpectralCube(data * unit, wcs)


def _beams(headers: list[Image]) -> Beams:
    columns = {name: [getattr(image.beam, name) for image in headers] * units.rad for name in ("major", "minor", "pa")}
    return Beams(**columns)

"""Reads the CLEAN mask of --mask."""

import logging
import math
import warnings
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from radrim.errors import InputError
from radrim.geometry import ImageGrid

log = logging.getLogger("radrim")


def read_mask(path: str | Path, grid: ImageGrid) -> np.ndarray:
    """Read a CLEAN mask: components are allowed where the image is not 0.

    Parameters
    ----------
    path : str or Path
        FITS image, also gzipped; axes of length 1 are ignored.
    grid : ImageGrid
        Grid of the image.

    Returns
    -------
    (y, x) bool

    Raises
    ------
    InputError
        The file is not a FITS image, its size is not that of the grid, or it is 0 everywhere.
    """
    try:
        # astropy warns of a truncated file before it raises; the message below is enough.
        with warnings.catch_warnings(action="ignore", category=AstropyWarning), fits.open(path, memmap=False) as hdus:
            image = next((hdu for hdu in hdus if hdu.is_image and hdu.data is not None), None)
            if image is None:
                raise InputError(f"--mask {path} holds no image.")
            data, header = image.data, image.header
    except (OSError, TypeError, ValueError) as error:  # the latter two where the pixels are cut off
        reason = getattr(error, "strerror", None) or "it is not a FITS file, or damaged"
        raise InputError(f"--mask {path} cannot be read: {reason}.") from error
    shape = data.shape[-2:]
    if data.ndim < 2 or math.prod(data.shape) != math.prod(shape):
        axes = " x ".join(str(n) for n in reversed(data.shape))
        raise InputError(f"--mask {path} has the axes {axes}; only the two of the sky may be longer than 1.")
    if shape != grid.shape:
        raise InputError(
            f"--mask {path}: the mask is {shape[1]} x {shape[0]}, the image {grid.width} x {grid.height}: "
            f"make the mask from an image of the same --size and --scale, or use --size {shape[1]} {shape[0]}."
        )
    _warn_other_sky(path, header, grid)
    mask = np.isfinite(data.reshape(shape)) & (data.reshape(shape) != 0)
    if not mask.any():
        raise InputError(f"--mask {path} is 0 everywhere, so nothing can be cleaned. Set the pixels to clean to 1.")
    return mask


def _warn_other_sky(path: str | Path, header: fits.Header, grid: ImageGrid) -> None:
    """Log a warning if the pixels of the mask and the image lie at different positions on the sky.

    Masks without coordinates are not checked.
    """
    if "CDELT2" not in header or "CRVAL2" not in header:
        return
    cell = math.degrees(grid.scale)
    ra_offset = (header.get("CRVAL1", 0.0) - math.degrees(grid.ra) + 180) % 360 - 180
    offset = math.hypot(ra_offset * math.cos(grid.dec), header["CRVAL2"] - math.degrees(grid.dec)) / cell
    if offset > 1 or abs(header["CDELT2"] / cell - 1) > 1e-3:
        log.warning("--mask %s lies elsewhere on the sky: its pixels are %.6g arcsec wide, the image's %.6g, and the "
                    "centres are %.3g pixels apart. It is applied pixel by pixel.",
                    path, header["CDELT2"] * 3600, cell * 3600, offset)  # fmt: skip

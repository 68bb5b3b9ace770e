"""Masks from region files: DS9 (.reg) and CASA (.crtf), read with the package `regions` of astropy."""

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from radrim.errors import InputError
from radrim.geometry import ImageGrid

if TYPE_CHECKING:
    from astropy.wcs import WCS

log = logging.getLogger("radrim")

ENDINGS = {".reg": "ds9", ".ds9": "ds9", ".crtf": "crtf"}
"""Formats by the ending of the file's name."""


def region_format(path: str | Path) -> str | None:
    """Format of a region file, 'ds9' or 'crtf', by its first line or its ending; None for other files."""
    path = Path(path)
    try:
        with open(path, "rb") as stream:
            start = stream.read(64).lstrip()
    except OSError:
        return None
    if start.startswith(b"SIMPLE"):
        return None
    if start.startswith(b"#CRTF"):
        return "crtf"
    return "ds9" if b"DS9" in start.split(b"\n")[0] else ENDINGS.get(path.suffix.lower())


def read_regions(path: str | Path, kind: str, grid: ImageGrid) -> np.ndarray:
    """The pixels of an image within regions.

    A pixel belongs to a region if its centre lies in it. Regions that are excluded (a minus sign in front of them) are
    taken out of those before them; if the first one is excluded, all else is included.

    Parameters
    ----------
    path : str or Path
    kind : str
        From `region_format`.
    grid : ImageGrid

    Returns
    -------
    (y, x) bool

    Raises
    ------
    InputError
        The package `regions` is missing, the file cannot be read, or it has no region with an area.
    """
    from astropy.utils.exceptions import AstropyWarning

    try:
        from regions import PixelRegion, Regions
    except ImportError:
        raise InputError(
            f"--mask {path} is a region file, and the package 'regions' that reads it is not installed: pip install "
            "regions. Or give a FITS image that is 1 where components are allowed."
        ) from None
    wcs = wcs_of(grid)
    try:
        with warnings.catch_warnings(action="ignore", category=AstropyWarning):
            found = Regions.read(str(path), format=kind)
            shapes = [one if isinstance(one, PixelRegion) else one.to_pixel(wcs) for one in found]
    except Exception as error:  # noqa: BLE001 - the parsers raise errors of many kinds
        reason = str(error).strip().splitlines()[:1]
        raise InputError(f"--mask {path} cannot be read as a {kind.upper()} region file: {''.join(reason)}.") from None
    mask, areas = None, 0
    for shape in shapes:
        try:
            cut = shape.to_mask(mode="center")
        except NotImplementedError:  # points, lines and texts have no area
            continue
        areas += 1
        image = cut.to_image(grid.shape)
        inside = np.zeros(grid.shape, bool) if image is None else image > 0
        included = bool(shape.meta.get("include", True))
        if mask is None:
            mask = np.full(grid.shape, not included)
        mask = mask | inside if included else mask & ~inside
    if mask is None:
        raise InputError(f"--mask {path} has no region with an area (circle, ellipse, box, polygon, annulus).")
    log.info("--mask %s: %d regions, %d pixels of the image.", path, areas, np.count_nonzero(mask))
    return mask


def wcs_of(grid: ImageGrid) -> "WCS":
    """Coordinates of an image's pixels."""
    from astropy.wcs import WCS

    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---SIN", "DEC--SIN"]
    wcs.wcs.crpix = [grid.width // 2 + 1 - grid.x0, grid.height // 2 + 1 - grid.y0]
    wcs.wcs.crval = [np.degrees(grid.ra) % 360, np.degrees(grid.dec)]
    wcs.wcs.cdelt = [-np.degrees(grid.scale), np.degrees(grid.scale)]
    wcs.wcs.radesys, wcs.wcs.equinox = "FK5", 2000.0
    return wcs

"""Reads the CLEAN mask of --mask."""

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from radrim.errors import InputError
from radrim.geometry import ImageGrid, axes, n_minus_1
from radrim.read.region_mask import read_regions, region_format
from radrim.write.fits_input import CELESTIAL, FAULTS, FitsImage, read_fits

if TYPE_CHECKING:
    from astropy.wcs import WCS

log = logging.getLogger("radrim")


@dataclass(frozen=True)
class MaskSettings:
    """How the pixels of a mask are found."""

    same_pixel: float = 0.1
    """Largest offset from the image's pixels with which a mask is taken pixel by pixel [pixel]."""

    probes: int = 9
    """Places along each axis at which the offset is measured."""

    rows: int = 256
    """Rows of the image whose coordinates are computed at once."""


def read_mask(path: str | Path, grid: ImageGrid) -> np.ndarray:
    """Read a CLEAN mask: components are allowed where the image is not 0.

    A mask with coordinates that are not those of the image's pixels is transformed: each pixel of the image takes the
    value of that pixel of the mask in which its centre lies.

    Parameters
    ----------
    path : str or Path
        FITS image, also gzipped, whose axes of length 1 are ignored; or a region file of DS9 or CASA.
    grid : ImageGrid
        Grid of the image.

    Returns
    -------
    (y, x) bool

    Raises
    ------
    InputError
        The file is not a FITS image, it has neither the grid's size nor coordinates, or the mask is 0 everywhere.
    """
    if Path(path).is_dir():
        raise InputError(
            f"--mask {path} is a folder, such as an image of CASA: write it as FITS with CASA's exportfits(imagename="
            f"'{path}', fitsimage='mask.fits'), and give --mask mask.fits."
        )
    kind = region_format(path)
    if kind:
        mask = read_regions(path, kind, grid)
        if not mask.any():
            raise InputError(f"--mask {path} has no region within the image. Is it of another field?")
        return mask
    file = read_fits(path, f"--mask {path}", memmap=False, any_extension=True)
    wcs, sky_axes = coordinates(file)
    lengths = {axis: file.data.shape[file.data.ndim - axis] for axis in range(1, file.data.ndim + 1)}
    if any(length > 1 for axis, length in lengths.items() if axis not in sky_axes):
        shape = " x ".join(str(n) for n in lengths.values())
        raise InputError(f"--mask {path} has the axes {shape}; only the two of the sky may be longer than 1.")
    pixels = file.data.reshape([lengths[axis] for axis in sorted(sky_axes, reverse=True)])
    pixels = pixels if sky_axes[0] < sky_axes[1] else pixels.T  # (latitude, longitude)
    mask = np.isfinite(pixels) & (pixels != 0)
    if not mask.any():
        raise InputError(f"--mask {path} is 0 everywhere, so nothing can be cleaned. Set the pixels to clean to 1.")
    if wcs is None or _is_same(wcs, grid, mask.shape):
        if mask.shape != grid.shape:
            height, width = mask.shape
            raise InputError(
                f"--mask {path}: the mask is {width} x {height}, the image {grid.width} x {grid.height}: without "
                "coordinates it cannot be transformed. Make the mask from an image of the same --size and --scale, or "
                f"use --size {width} {height}."
            )
        return mask
    log.info("--mask %s has other pixels than the image (%s): it is transformed to those of the image.", path,
             _describe(wcs, mask.shape))  # fmt: skip
    mask = _transform(wcs, mask, grid)
    if not mask.any():
        raise InputError(
            f"--mask {path} has nothing within the image: by their coordinates, all its pixels that are not 0 lie "
            "elsewhere on the sky. Is it of another field?"
        )
    return mask


def find_allowed(path: str | Path | None, grid: ImageGrid) -> np.ndarray | None:
    """Pixels that may hold emission: those of the mask, if there is one, above the horizon.

    Parameters
    ----------
    path : str, Path or None
        The mask.
    grid : ImageGrid

    Returns
    -------
    (y, x) bool or None
        None for all pixels.

    Raises
    ------
    InputError
        See `read_mask`, or the mask lies beyond the horizon.
    """
    sky, mask = grid.above_horizon(), read_mask(path, grid) if path else None
    if sky is None or mask is None:
        return sky if mask is None else mask
    if not (mask & sky).any():
        raise InputError(f"--mask {path} is 0 everywhere above the horizon, so nothing can be cleaned.")
    return mask & sky


def coordinates(file: FitsImage) -> "tuple[WCS | None, tuple[int, int]]":
    """Coordinates of an image, and the numbers of its axes of longitude and latitude; None without coordinates.

    Raises
    ------
    InputError
        The coordinates cannot be understood.
    """
    from astropy.utils.exceptions import AstropyWarning
    from astropy.wcs import WCS, WCSSUB_LATITUDE, WCSSUB_LONGITUDE
    from astropy.wcs.utils import wcs_to_celestial_frame

    kinds = [file.text(f"CTYPE{axis}") for axis in range(1, file.data.ndim + 1)]
    if not any(CELESTIAL.match(kind) for kind in kinds):
        return None, (1, 2)
    try:
        with warnings.catch_warnings(action="ignore", category=AstropyWarning):
            whole = WCS(file.coordinates())
            wcs = whole.sub([WCSSUB_LONGITUDE, WCSSUB_LATITUDE])  # in this order
            wcs_to_celestial_frame(wcs)
    except FAULTS as error:  # wcslib's are ValueErrors
        reason = str(error).strip().splitlines()[-1:]
        raise InputError(
            f"{file.what} has coordinates that cannot be understood ({''.join(reason)}); correct the header, or remove "
            "CTYPE1 and CTYPE2 if its pixels are those of the image."
        ) from None
    if not wcs.has_celestial:
        raise InputError(
            f"{file.what} has the axes {', '.join(kinds)}, not two of the sky; correct the header, or remove CTYPE1 "
            "and CTYPE2 if its pixels are those of the image."
        )
    return wcs, (whole.wcs.lng + 1, whole.wcs.lat + 1)


def _is_same(wcs, grid, shape):
    """Whether the mask's pixels are those of the image, measured at a few places above the horizon."""
    if shape != grid.shape:
        return False
    y, x = (np.unique(np.linspace(0, n - 1, MaskSettings.probes).astype(int)) for n in shape)
    row, column = places(wcs, grid, y, x)
    seen = np.isfinite(n_minus_1(grid.l()[x], grid.m()[y][:, None]))
    apart = np.hypot(row - y[:, None], column - x)[seen]
    return bool((apart <= MaskSettings.same_pixel).all())


def _transform(wcs, mask, grid):
    out = np.zeros(grid.shape, bool)
    columns = np.arange(grid.width)
    for start in range(0, grid.height, MaskSettings.rows):
        rows = np.arange(start, min(start + MaskSettings.rows, grid.height))
        y, x = (np.nan_to_num(np.rint(place), nan=-1) for place in places(wcs, grid, rows, columns))
        inside = (y >= 0) & (y < mask.shape[0]) & (x >= 0) & (x < mask.shape[1])
        out[rows[0] : rows[-1] + 1][inside] = mask[y[inside].astype(int), x[inside].astype(int)]
    return out


def places(wcs: "WCS", grid: ImageGrid, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row and column, in an image with other coordinates, of pixels of a grid; NaN below the horizon.

    Parameters
    ----------
    wcs : WCS
        Of the other image, in any frame.
    grid : ImageGrid
    rows, columns : (row,), (column,) int

    Returns
    -------
    row, column : (row, column) float64
        Counted from 0.
    """
    from astropy.coordinates import FK5, SkyCoord
    from astropy.wcs.utils import wcs_to_celestial_frame

    l, m = np.broadcast_arrays(grid.l()[columns], grid.m()[rows][:, None])
    direction = np.stack([l, m, 1 + n_minus_1(l, m)], -1) @ axes(grid.ra, grid.dec)
    lon, lat = np.arctan2(direction[..., 1], direction[..., 0]), np.arcsin(np.clip(direction[..., 2], -1, 1))
    frame = wcs_to_celestial_frame(wcs)
    if not (frame.name == "icrs" or (frame.name == "fk5" and frame.equinox.jyear == 2000)):
        there = SkyCoord(lon, lat, unit="rad", frame=FK5(equinox="J2000")).transform_to(frame)
        lon, lat = there.spherical.lon.rad, there.spherical.lat.rad
    column, row = wcs.wcs_world2pix(np.degrees(lon).ravel() % 360, np.degrees(lat).ravel(), 0)
    return row.reshape(l.shape), column.reshape(l.shape)


def _describe(wcs, shape):
    from astropy.wcs.utils import wcs_to_celestial_frame

    frame = wcs_to_celestial_frame(wcs)
    equinox = f" {frame.equinox.value}" if hasattr(frame, "equinox") else ""
    return f"{shape[1]} x {shape[0]}, {'/'.join(wcs.wcs.ctype)}, {frame.name.upper()}{equinox}"

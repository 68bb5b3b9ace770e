"""The images of a run as a browser decodes them: found by the run's name, reduced, rounded and compressed.

A page of one file must be small enough for a phone. Pixels are numbers of 16 bits (binary16 of IEEE 754) times a power
of two, which keeps the dynamic range of an image; noise is not stored to more digits than it has.
"""

import base64
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from radrim.errors import ConfigError, DataError, InputError
from radrim.geometry import ImageGrid
from radrim.metrics import noise_mad
from radrim.products import KINDS
from radrim.sky.images import grid_of
from radrim.write.fits_input import FitsImage, read_fits

VIEWED = ("image", "model", "residual", "uncertainty", "model_uncertainty", "dirty", "image_pb", "pb", "psf")
"""Kinds of images that a page shows by default, in the order of its buttons. Those of 95 % look like those of 68 %."""


@dataclass(frozen=True)
class ViewSettings:
    """How much of a run a page holds."""

    shown: int = 2048
    """Largest number of pixels along a side; larger images are reduced. An image of this size takes 3 to 6 MB."""

    rounding: float = 16.0
    """Parts into which the noise is divided: pixels are rounded to the noise over this number, or 0.05 % if that is
    more. Rounding adds 0.02 % to the noise."""

    measured: int = 1 << 26
    """Largest number of pixels of an image whose sources are measured with errors, which takes 12 bytes per pixel. Of
    larger images the brightest sources are listed without errors."""

    sources: int = 500
    """Largest number of sources in the table."""

    rows: int = 1 << 23
    """Pixels of an image that are read at once."""


@dataclass(frozen=True)
class Reduced:
    """An image of at most `ViewSettings.shown` pixels along a side.

    Parameters
    ----------
    pixels : (y, x) float32
    cell : int
        Pixels of the file along each side of one of them. Up to ``cell - 1`` rows and columns at the upper and the
        right edge are left out.
    """

    pixels: np.ndarray
    cell: int


@dataclass(frozen=True)
class Encoded:
    """Pixels as text.

    Parameters
    ----------
    text : str
        Base64 of a zlib stream: the lower bytes of all binary16 numbers, then the upper ones, row by row from below.
    scale : float
        Numbers are pixels times this power of two.
    """

    text: str
    scale: float


def find_images(name: str | Path) -> tuple[Path, dict[str, Path]]:
    """The images of a run, or of a run of WSClean, whose files have the same names.

    Parameters
    ----------
    name : str or Path
        The run's --name; a file of the run means the same. Of several channels those of all together are taken, of
        several Stokes parameters the first; 'NAME-0003' and 'NAME-Q' name others.

    Returns
    -------
    prefix : Path
        The name without the end of a file's name.
    paths : dict of str to Path
        By kind, in the order of `radrim.products.KINDS`.

    Raises
    ------
    InputError
        There are none.
    """
    prefix = _prefix(str(name))
    endings = {kind: f"-{kind.replace('_', '-')}.fits" for kind in KINDS}
    labels = ("-MFS", "-MFS-I", "", "-I")  # before those without label, which may be cubes
    for label in labels:
        paths = {kind: Path(f"{prefix}{label}{ending}") for kind, ending in endings.items()}
        found = {kind: path for kind, path in paths.items() if path.is_file()}
        if {"image", "dirty"} & set(found):
            shared = {kind: Path(f"{prefix}{label.removesuffix('-I')}{endings[kind]}") for kind in ("psf", "pb")}
            return Path(prefix), {kind: path for kind, path in shared.items() if path.is_file()} | found
    folder = Path(prefix).parent
    there = sorted(str(path).removesuffix("-dirty.fits") for path in folder.glob("*-dirty.fits"))[:3]
    more = f" Runs in this folder: {', '.join(there)}." if there else ""
    raise InputError(
        f"There is neither {prefix}-image.fits nor {prefix}-dirty.fits. Give the --name of a run of radrim image.{more}"
    )


def _prefix(name):
    """The name of the run that a file belongs to."""
    ends = [f"-{kind.replace('_', '-')}.fits" for kind in KINDS]
    ends += ["-report.html", "-view.html", "-run.toml", "-qa.json", ".radrim", ".png"]
    # The longest first: '-model-uncertainty.fits' ends like '-uncertainty.fits'.
    end = next((end for end in sorted(ends, key=len, reverse=True) if name.endswith(end)), "")
    return name.removesuffix(end)


def parse_kinds(text: str) -> tuple[str, ...]:
    """Kinds of images from words separated by commas, such as 'image,residual,uncertainty-95'.

    Raises
    ------
    ConfigError
        One of them is unknown.
    """
    kinds = tuple(word.strip().replace("-", "_") for word in text.split(",") if word.strip())
    for kind in kinds:
        if kind not in KINDS:
            known = ", ".join(name.replace("_", "-") for name in KINDS)
            raise ConfigError(f"--kinds has '{kind.replace('_', '-')}', which is no kind of image; choose of {known}.")
    if not kinds:
        raise ConfigError("--kinds names no image; write, for example, --kinds image,residual.")
    return kinds


def open_layer(path: Path) -> tuple[FitsImage, np.ndarray, ImageGrid, int]:
    """One image of a run: its file, pixels, grid, and the number of planes of the file.

    Returns
    -------
    file : FitsImage
    pixels : (y, x) array
        The first plane, mapped from the file, columns to the west.
    grid : ImageGrid
    planes : int

    Raises
    ------
    InputError
        The file is damaged, or not in the projection SIN.
    """
    file = read_fits(path, f"The image {path}")
    planes = file.data.reshape(-1, *file.data.shape[-2:])
    grid, mirrored = grid_of(file, planes.shape[-2:])
    return file, planes[0][:, ::-1] if mirrored else planes[0], grid, len(planes)


def reduce(image: np.ndarray, keep_peaks: bool, shown: int, rows: int = ViewSettings.rows) -> Reduced:
    """Reduce an image to square cells, with the smallest cell that leaves at most `shown` of them along a side.

    Parameters
    ----------
    image : (y, x) array
        Read in strips.
    keep_peaks : bool
        Whether a cell shows its pixel of largest magnitude, so that sources stay visible; else their mean. Pixels that
        are not finite do not count.
    shown : int
    rows : int
        Pixels that are read at once.
    """
    cell = -(-max(image.shape) // shown)
    if cell == 1:
        return Reduced(np.asarray(image, np.float32), 1)
    height, width = (n // cell for n in image.shape)
    out = np.empty((height, width), np.float32)
    strip = max(1, rows // (image.shape[1] * cell))
    for first in range(0, height, strip):
        last = min(first + strip, height)
        part = np.asarray(image[first * cell : last * cell, : width * cell], np.float32)
        cells = part.reshape(last - first, cell, width, cell).swapaxes(1, 2).reshape(last - first, width, cell * cell)
        out[first:last] = _peaks(cells) if keep_peaks else _means(cells)
    return Reduced(out, cell)


def _peaks(cells):
    """The value of largest magnitude of each cell (y, x, pixel); NaN where there is none."""
    size = np.where(np.isfinite(cells), np.abs(cells), -1)
    best = np.take_along_axis(cells, size.argmax(-1)[..., None], -1)[..., 0]
    return np.where(size.max(-1) < 0, np.nan, best)


def _means(cells):
    """The mean of each cell (y, x, pixel); NaN where there is none."""
    good = np.isfinite(cells)
    count = good.sum(-1)
    total = np.where(good, cells, 0).sum(-1, dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def encode(image: np.ndarray, rounding: float = ViewSettings.rounding) -> Encoded:
    """Pixels as text for a page.

    Parameters
    ----------
    image : (y, x) float32
        Infinite pixels become NaN.
    rounding : float
        See `ViewSettings.rounding`. The noise is that of this image (`radrim.metrics.noise_mad`).
    """
    image = np.where(np.isfinite(image), image, np.nan).astype(np.float64)
    peak = float(np.nanmax(np.abs(image))) if np.isfinite(image).any() else 0.0
    # Powers of two keep the digits; numbers of 16 bits reach 65504, and have all their digits down to 6e-5.
    scale = 2.0 ** (14 - math.floor(math.log2(peak))) if peak > 0 else 1.0
    try:
        step = noise_mad(image) * scale / rounding
    except DataError:
        step = 0.0
    scaled = image * scale
    if step > 0:
        unit = 2.0 ** math.floor(math.log2(step))
        scaled = np.round(scaled / unit) * unit
    halves = np.ascontiguousarray(scaled.astype("<f2"))
    # Upper bytes, signs and exponents, are much alike and compress well apart from the lower ones.
    split = halves.view(np.uint8).reshape(-1, 2).T
    return Encoded(base64.b64encode(zlib.compress(split.tobytes(), 6)).decode("ascii"), scale)


def decode(text: str, scale: float, shape: tuple[int, int]) -> np.ndarray:
    """Pixels (y, x) float32 from the text of `encode`, as the page's script computes them."""
    split = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).reshape(2, -1)
    halves = np.ascontiguousarray(split.T).view("<f2").reshape(shape)
    return (halves.astype(np.float64) / scale).astype(np.float32)


def unit_of(header: Mapping, kind: str) -> str:
    """Unit of the pixels as it is written here: 'Jy/beam' also for 'JY/BEAM'; none for PSF and primary beam."""
    unit = str(header.get("BUNIT", "") or "").strip()
    if kind in ("psf", "pb"):
        return ""
    return {"JY/BEAM": "Jy/beam", "JY/PIXEL": "Jy/pixel"}.get(unit.upper(), unit)

"""`radrim feather`: an interferometer's image with the short spacings of a single dish.

An interferometer does not measure spatial frequencies below its shortest baseline, a single dish only those below its
diameter. In the Fourier plane the single dish's image counts as it is, with the transform of its beam, and the
interferometer's with what is missing to 1.

References
----------
Cotton (2017), PASP 129, 094501: feathering; Rau, Naik & Braun (2019), AJ 158, 3: its limits.
"""

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from scipy import fft, ndimage

from radrim.beam import Beam, covariance_of
from radrim.errors import ConfigError, InputError, OutputError
from radrim.geometry import ImageGrid
from radrim.read.mask import coordinates, places
from radrim.sky.images import grid_of
from radrim.sky.restoring import beams_of, is_per_beam
from radrim.write.fits import write_hdus
from radrim.write.fits_input import FitsImage, read_fits

log = logging.getLogger("radrim")


@dataclass(frozen=True)
class FeatherSettings:
    """What can be feathered."""

    missing: float = 0.01
    """Part of the interferometer's pixels that may lie outside of the single dish's image."""

    ratio: float = 1.5
    """Least ratio of the beams' widths."""

    rows: int = 512
    """Rows that are regridded at once."""


def feathered_name(image: str | Path) -> str:
    """Path of the feathered image by default: NAME-feathered.fits for NAME-image.fits."""
    path = Path(image)
    stem = path.name.removesuffix(".fits").removesuffix("-image")
    return str(path.with_name(f"{stem}-feathered.fits"))


def feather_files(
    high: str | Path, low: str | Path, output: str | Path, factor: float = 1.0, pb: str | Path | None = None,
    overwrite: bool = False, settings: FeatherSettings = FeatherSettings(), threads: int = 1,
) -> float:  # fmt: skip
    """Write the sum of an interferometer's image and a single dish's, each where it measures.

    Parameters
    ----------
    high, low : str or Path
        Restored images or cubes [Jy/beam] with their beams. `low` may have other pixels, coordinates and frame, and one
        plane for all of `high`.
    output : str or Path
        FITS file to write, with the header of `high`.
    factor : float
        By which `low` is multiplied, to correct its flux scale.
    pb : str or Path, optional
        Primary beam of `high`, by which `low` is multiplied if `high` is not corrected for it.
    overwrite : bool
        Whether an existing file may be replaced.
    settings : FeatherSettings
    threads : int

    Returns
    -------
    float
        Total flux of the first plane of the result [Jy].

    Raises
    ------
    ConfigError
        A factor that is not above 0.
    InputError
        A file cannot be read, has no beam or no coordinates, or the two do not fit together.
    OutputError
        `output` exists or cannot be written.
    """
    if not 0 < factor < math.inf:
        raise ConfigError(f"--factor {factor:g} must be above 0.")
    if Path(output).exists() and not overwrite:
        raise OutputError(f"{output} exists; give another name with --name, or --overwrite to replace it.")
    fine = read_fits(high, f"The interferometer's image {high}", tables=("BEAMS",))
    coarse = read_fits(low, f"The single dish's image {low}", tables=("BEAMS",))
    grid, mirrored = grid_of(fine, fine.data.shape[-2:])
    if mirrored:
        raise InputError(f"{fine.what} has columns that run to the east, which is not supported: flip it first.")
    count, other = (math.prod(one.data.shape[:-2]) for one in (fine, coarse))
    if other not in (1, count):
        raise InputError(f"{coarse.what} has {other} planes, and {fine.what} {count}: they must be the same, or one.")
    for one in (fine, coarse):
        _check_unit(one)
    beams = [_known(found, fine.what) for found in beams_of(fine, count)]
    wide = [_known(found, coarse.what) for found in beams_of(coarse, other)] * (count // other)
    gain = None if pb is None else _primary_beam(pb, grid)
    data = np.empty(fine.data.shape, np.float32)
    planes = data.reshape(-1, *data.shape[-2:])
    for number, (own, its) in enumerate(zip(beams, wide, strict=True)):
        if math.isnan(own.major):  # a blank channel
            planes[number] = np.nan
            continue
        if its.minor < settings.ratio * own.major:
            raise InputError(
                f"{coarse.what} has the beam {its}, and {fine.what} {own}: the single dish's must be at least "
                f"{settings.ratio:g} times as wide."
            )
        dish = _regridded(coarse, number if other > 1 else 0, grid, settings)
        dish *= factor if gain is None else factor * gain
        image = np.asarray(fine.data.reshape(-1, *grid.shape)[number], np.float32)
        planes[number] = feathered(image, dish, own, its, grid.scale, threads)
    _write(output, fine, data, coarse, factor)
    first = next((k for k, beam in enumerate(beams) if not math.isnan(beam.major)), 0)
    return float(np.nansum(planes[first], dtype=np.float64) / beams[first].area(grid.scale))


def feathered(
    high: np.ndarray, low: np.ndarray, beam: Beam, low_beam: Beam, scale: float, threads: int = 1
) -> np.ndarray:
    """One image of two, on the same pixels.

    Parameters
    ----------
    high, low : (y, x) float32
        [Jy/beam], each of its own beam; what is not finite counts as 0.
    beam, low_beam : Beam
    scale : float
        Pixel size [rad].
    threads : int

    Returns
    -------
    (y, x) float32
        [Jy/beam], of `beam`; NaN where `high` is not finite.
    """
    # Zeros around the images, as wide as the single dish's beam, keep opposite edges apart.
    margin = math.ceil(2 * low_beam.major / scale)
    shape = tuple(fft.next_fast_len(n + margin, real=True) for n in high.shape)
    v, u = np.fft.fftfreq(shape[0], scale)[:, None], -np.fft.rfftfreq(shape[1], scale)
    east, north = covariance_of(low_beam)
    share = np.exp(-2 * np.pi**2 * (east[0] * u * u + 2 * east[1] * u * v + north[1] * v * v)).astype(np.float32)
    known = np.isfinite(high)
    spectrum = fft.rfft2(np.where(known, high, 0), shape, workers=threads) * (1 - share)
    there = np.where(np.isfinite(low), low, 0)
    spectrum += fft.rfft2(there, shape, workers=threads) * np.float32(beam.area(scale) / low_beam.area(scale))
    out = fft.irfft2(spectrum, shape, workers=threads)[: high.shape[0], : high.shape[1]]
    return np.where(known, out, np.nan).astype(np.float32)


def _known(beam, what):
    if beam is None:
        raise InputError(f"{what} has no beam: its header needs BMAJ, BMIN and BPA, or it needs a table BEAMS.")
    return beam


def _check_unit(file):
    if not is_per_beam(file):
        raise InputError(
            f"{file.what} is in '{file.text('BUNIT')}', and must be in Jy/beam; of brightness temperatures astropy's "
            "units.brightness_temperature makes it."
        )


def _primary_beam(path: str | Path, grid: ImageGrid) -> np.ndarray:
    file = read_fits(path, f"The primary beam {path}")
    if file.data.shape[-2:] != grid.shape:
        shapes = " x ".join(map(str, file.data.shape[-2:])), " x ".join(map(str, grid.shape))
        raise InputError(f"{file.what} has {shapes[0]} pixels, and the image {shapes[1]}: give that of the same run.")
    first = np.asarray(file.data.reshape(-1, *grid.shape)[0], np.float32)
    return np.where(np.isfinite(first), first, 0)


def _regridded(file: FitsImage, plane: int, grid: ImageGrid, settings: FeatherSettings) -> np.ndarray:
    """A plane of an image on the pixels of a grid, by cubic splines; 0 where it does not reach."""
    wcs, axes = coordinates(file)
    if wcs is None:
        raise InputError(f"{file.what} has no coordinates (CTYPE1, CTYPE2).")
    if sorted(axes) != [1, 2]:
        raise InputError(f"{file.what} has the sky on the axes {axes[0]} and {axes[1]}; they must be the first two.")
    image = np.asarray(file.data.reshape(-1, *file.data.shape[-2:])[plane], np.float64)
    image = image if axes == (1, 2) else image.T
    there = np.isfinite(image)
    smooth = ndimage.spline_filter(np.where(there, image, 0), 3)
    out, outside = np.empty(grid.shape, np.float32), 0
    for start in range(0, grid.height, settings.rows):
        rows = np.arange(start, min(start + settings.rows, grid.height))
        y, x = (np.nan_to_num(one, nan=-1e6) for one in places(wcs, grid, rows, np.arange(grid.width)))
        inside = (y >= -0.5) & (y <= image.shape[0] - 0.5) & (x >= -0.5) & (x <= image.shape[1] - 0.5)
        nearest = tuple(np.clip(np.rint(one), 0, n - 1).astype(int) for one, n in zip((y, x), image.shape, strict=True))
        inside &= there[nearest]
        values = ndimage.map_coordinates(smooth, [y, x], order=3, mode="nearest", prefilter=False)
        out[rows[0] : rows[-1] + 1] = np.where(inside, values, 0)
        outside += int(np.count_nonzero(~inside))
    if outside > settings.missing * out.size:
        raise InputError(
            f"{file.what} has no pixels for {outside / out.size:.0%} of the interferometer's image (limit "
            f"{settings.missing:.0%}): a larger one is needed, or a smaller image of the interferometer."
        )
    return out


def _write(output, fine, data, coarse, factor):
    header = fine.header.copy()
    for keyword in ("BSCALE", "BZERO", "BLANK", "DATAMIN", "DATAMAX"):
        header.remove(keyword, ignore_missing=True)
    header.add_history(f"radrim feather with {coarse.path.name}, times {factor:g}"[:72])
    hdus = fits.HDUList([fits.PrimaryHDU(data, header)])
    if "BEAMS" in fine.tables:
        hdus.append(fits.BinTableHDU(fine.tables["BEAMS"], name="BEAMS"))
    write_hdus(output, hdus)

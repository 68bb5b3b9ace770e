"""The command `radrim mask`: a CLEAN mask from a FITS image."""

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits

from radrim.errors import ConfigError, InputError, OutputError
from radrim.masking.islands import IslandThresholds, find_mask
from radrim.masking.noise import METHODS, local_noise
from radrim.metrics import noise_mad
from radrim.version import __version__
from radrim.write.fits import write_hdus
from radrim.write.fits_input import FitsImage, read_fits

log = logging.getLogger("radrim")


@dataclass(frozen=True)
class MaskOptions:
    """What the mask of an image holds; lengths in beams are in widths (FWHM) of the restoring beam.

    Parameters
    ----------
    peak, edge : float
        Least brightness of an island's peak, and of its other pixels [noise].
    local_rms : bool
        Whether the noise is that around each pixel, not that of the whole image.
    window : float
        Side of the windows of the local noise [beam].
    method : {'rms', 'rms-with-min'}
        Of the local noise.
    noise : float, optional
        Noise [Jy/beam]; None measures it.
    min_area : float
        Least area of an island [area of the beam].
    grow : float
        Distance by which islands are widened [beam].
    negative : bool
        Whether negative emission counts, too.
    """

    peak: float = 5.0
    edge: float = 3.0
    local_rms: bool = False
    window: float = 25.0
    method: str = "rms"
    noise: float | None = None
    min_area: float = 0.5
    grow: float = 0.0
    negative: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.edge <= self.peak < math.inf:
            raise ConfigError(f"--edge {self.edge:g} and --sigma {self.peak:g}: 0 < edge <= sigma must hold.")
        for name, value in (("--min-area", self.min_area), ("--grow", self.grow)):
            if not 0 <= value < math.inf:
                raise ConfigError(f"{name} {value:g} must be 0 or more, in beams.")
        if not 0 < self.window < math.inf:
            raise ConfigError(f"--local-rms-window {self.window:g} must be above 0, in beams.")
        if self.method not in METHODS:
            raise ConfigError(f"--local-rms-method {self.method}: choose one of {', '.join(METHODS)}.")
        if self.noise is not None and not 0 < self.noise < math.inf:
            raise ConfigError(f"--noise {self.noise:g} Jy/beam must be above 0.")
        if self.noise is not None and self.local_rms:
            raise ConfigError("--noise and --local-rms exclude each other: one noise for all pixels, or a map of it.")


def make_mask(
    image: str | Path, name: str | Path | None = None, options: MaskOptions = MaskOptions(), overwrite: bool = False
) -> Path:
    """Write a CLEAN mask, a FITS image that is 1 where an image has emission and 0 elsewhere.

    Of a cube the mask holds what is emission in any of its planes, since --mask of `radrim image` is for all channels.

    Parameters
    ----------
    image : str or Path
        Restored image, FITS, 2 to 4 axes.
    name : str or Path, optional
        File of the mask; by default that of the image with '-mask.fits' instead of '-image.fits' or '.fits'.
    options : MaskOptions
    overwrite : bool
        Whether an existing file is replaced.

    Returns
    -------
    Path
        Of the mask.

    Raises
    ------
    InputError
        The image cannot be read, or has no emission above the thresholds.
    OutputError
        The mask exists, or cannot be written.
    """
    path = Path(image)
    out = Path(name) if name else default_name(path)
    if out.exists() and not overwrite:
        raise OutputError(f"{out} exists: give another --name, or --overwrite to replace it.")
    file = read_fits(path, f"The image {path}", any_extension=True)
    planes = file.data.reshape(-1, *file.data.shape[-2:])
    width, area = _beam(file)
    limits = IslandThresholds(
        options.peak, options.edge, max(1.0, options.min_area * area), options.grow * width, options.negative
    )
    mask, islands, shown = np.zeros(planes.shape[-2:], bool), 0, []
    for plane in planes:
        pixels = np.asarray(plane, np.float32)
        if not np.isfinite(pixels).any():
            continue  # a blank channel
        noise = _noise(pixels, options, width)
        found, count = find_mask(pixels, noise, limits)
        mask |= found
        islands += count
        shown.append(float(np.median(noise)))
    if not shown:
        raise InputError(f"The image {path} has no finite pixel.")
    if not mask.any():
        raise InputError(
            f"The image {path} has no emission above {options.peak:g} times its noise of {np.median(shown):.3g} in an "
            f"area of {options.min_area:g} beams; lower --sigma or --min-area."
        )
    _write(out, mask, file, options)
    log.info(
        "%s: %d islands, %.2g %% of the pixels, noise %.3g Jy/beam%s. Use it with: radrim image ... --mask %s",
        out, islands, 100 * mask.mean(), np.median(shown), " in the median" if options.local_rms else "", out,
    )  # fmt: skip
    return out


def default_name(image: Path) -> Path:
    """File of the mask of an image: NAME-mask.fits for NAME-image.fits."""
    name = image.name.removesuffix(".gz").removesuffix(".fits").removesuffix("-image")
    return image.with_name(f"{name}-mask.fits")


def _noise(pixels, options, width):
    if options.noise is not None:
        return options.noise
    if options.local_rms:
        return local_noise(pixels, max(8.0, options.window * width), options.method)
    return noise_mad(pixels)


def _beam(file: FitsImage) -> tuple[float, float]:
    """Width [pixel] and area [pixel] of the restoring beam; of one pixel if the image has none."""
    scale = abs(file.number("CDELT2", 0.0))
    major, minor = (abs(file.number(key, 0.0)) for key in ("BMAJ", "BMIN"))
    if not (scale > 0 and major > 0 and minor > 0):
        log.warning(
            "%s has no restoring beam (BMAJ, BMIN, CDELT2): --min-area, --grow and --local-rms-window count in pixels.",
            file.what,
        )
        return 1.0, 1.0
    return math.sqrt(major * minor) / scale, math.pi * major * minor / scale**2 / (4 * math.log(2))


def _write(path, mask, file, options):
    header = file.coordinates()
    kept = fits.Header()
    for key in header:
        if not key.startswith("NAXIS"):
            kept[key] = header[key]
    shape = (1,) * (file.data.ndim - 2) + mask.shape
    kept["BTYPE"] = "mask"
    kept["ORIGIN"] = f"radrim {__version__}"
    noise = "local noise" if options.local_rms else "noise"
    kept["HISTORY"] = f"radrim mask {file.path.name}: peak {options.peak:g}, edge {options.edge:g} times the {noise}"
    write_hdus(path, fits.HDUList([fits.PrimaryHDU(mask.astype(np.uint8).reshape(shape), kept)]))

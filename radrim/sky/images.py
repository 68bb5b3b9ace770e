"""Reads model images: finds the FITS files of a model, and checks their headers.

A model is a list of planes, each of one Stokes parameter (or correlation) at one frequency, in Jy/pixel.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from radrim.errors import InputError
from radrim.geometry import ARCSEC, ImageGrid
from radrim.stokes import STOKES_CODE
from radrim.write.fits_input import FitsImage, read_fits, reading

STOKES = {code: name for name, code in STOKES_CODE.items()}
HERTZ = {"hz": 1.0, "khz": 1e3, "mhz": 1e6, "ghz": 1e9}
ANGLES = {"deg": math.radians(1), "degree": math.radians(1), "degrees": math.radians(1), "rad": 1.0,
          "arcmin": math.radians(1 / 60), "arcsec": ARCSEC}  # fmt: skip


@dataclass(frozen=True)
class ModelImageSettings:
    """Which pixels of model images are used."""

    off_centre: float = 1e-3
    """Largest distance of the phase centre from the middle of a pixel [pixel]; headers are rounded to about that."""

    smallest: int = 32
    """Least side of the part of an image that is transformed [pixel]."""


@dataclass(frozen=True)
class Plane:
    """One plane of a model image.

    Parameters
    ----------
    path : Path
    index : tuple of int
        Index of the plane in the array of the file, without the last two axes.
    stokes : str
        A key of `radrim.stokes.STOKES_CODE`.
    freq : float
        [Hz]; NaN if the file has no frequency.
    frame : str
        SPECSYS, or empty.
    grid : ImageGrid
        Of the whole plane.
    mirrored : bool
        Whether columns run to the east, and not to the west as in `grid`.
    attenuated : bool
        Whether the model was made with a primary beam.
    pointing : (float, float) or None
        Where the antennas pointed (ra, dec) [rad], if the header says so.
    """

    path: Path
    index: tuple[int, ...]
    stokes: str
    freq: float
    frame: str
    grid: ImageGrid
    mirrored: bool
    attenuated: bool
    pointing: tuple[float, float] | None = None

    def image(self) -> np.ndarray:
        """Read the whole plane, (y, x) float32 [Jy/pixel]."""
        what = f"The model {self.path}"
        file = read_fits(self.path, what)
        with reading(what):
            image = file.data[self.index].astype(np.float32)
        return image[:, ::-1] if self.mirrored else image

    def part(self) -> tuple[ImageGrid, np.ndarray] | None:
        """Grid and pixels of the smallest part of even size with all pixels that are not 0; None if all are 0."""
        image = self.image()
        found = [np.flatnonzero(image.any(axis)) for axis in (1, 0)]
        if found[0].size == 0:
            return None
        spans = [slice(int(at[0]), int(at[-1]) + 1) for at in found]
        spans = [
            slice(s.start, s.start + max(ModelImageSettings.smallest, -(-(s.stop - s.start) // 2) * 2)) for s in spans
        ]
        cut = image[spans[0], spans[1]]
        pixels = np.zeros([s.stop - s.start for s in spans], np.float32)
        pixels[: cut.shape[0], : cut.shape[1]] = cut
        return self.grid.region(*spans), pixels


def find_models(name: str | Path, option: str = "--model-image") -> list[Path]:
    """Find the model images of a run: NAME-model.fits, NAME-0000-model.fits, NAME-I-model.fits and so on.

    NAME-MFS-model.fits is used only if there are no others, because channels also hold the spectra.

    Parameters
    ----------
    name : str or Path
        The run's --name.
    option : str
        The option that names other files, for the advice in messages.

    Raises
    ------
    InputError
        There are no images, channels are missing, or there are both a single image and channels.
    """
    prefix = Path(name)
    folder = prefix.parent
    wanted = re.compile(rf"{re.escape(prefix.name)}(-\d{{4,}}|-MFS)?(-({'|'.join(STOKES_CODE)}))?-model\.fits")
    found = {path: wanted.fullmatch(path.name) for path in sorted(folder.glob("*-model.fits"))}
    kinds: dict[str, list[Path]] = {"one": [], "MFS": [], "channels": []}
    numbers: dict[str, list[int]] = {}
    for path, match in found.items():
        if match:
            label = match[1] or ""
            kinds[{"": "one", "-MFS": "MFS"}.get(label, "channels")].append(path)
            if label not in ("", "-MFS"):
                numbers.setdefault(match[3] or "", []).append(int(label[1:]))
    if kinds["one"] and kinds["channels"]:
        raise InputError(
            f"{kinds['one'][0]} and {kinds['channels'][0]} are of different runs called {name}; name the files that "
            f"you mean with {option}."
        )
    for some in numbers.values():
        gaps = sorted(set(range(max(some) + 1)) - set(some))
        if gaps:
            raise InputError(
                f"{name}-{gaps[0]:04d}-model.fits is missing, and the model has channels up to {max(some):04d}; name "
                f"the files that you mean with {option}."
            )
    paths = kinds["one"] or kinds["channels"] or kinds["MFS"]
    if not paths:
        raise InputError(
            f"There is no {name}-model.fits, and no {name}-0000-model.fits either: --name is that of the run which "
            f"made the model. Other files are named with {option} FILE.fits."
        )
    return paths


def read_planes(paths: Sequence[str | Path]) -> list[Plane]:
    """Read the planes of model images from their headers.

    Parameters
    ----------
    paths : sequence of str or Path
        FITS files of two to four axes: RA and DEC, and FREQ and STOKES of any length.

    Raises
    ------
    InputError
        A file is not such an image, not in Jy/pixel, or of another projection.
    """
    return [plane for path in paths for plane in _planes_of(Path(path))]


def _planes_of(path):
    what = f"The model {path}"
    file = read_fits(path, what, tables=("BEAMS",))
    shape = file.data.shape
    with reading(what):
        beams = file.tables.get("BEAMS")
        tabulated = np.array(beams["FREQ"] if beams is not None and "FREQ" in beams.names else [], float)
        bad = not all(np.isfinite(plane).all() for plane in file.data.reshape(-1, *shape[-2:]))
    if bad:
        raise InputError(
            f"The model {path} has pixels that are not numbers (NaN); set them to 0 where there is no sky."
        )
    check_unit(file)
    grid, mirrored = grid_of(file, shape[-2:])
    ra, dec = (math.radians(file.number(name, math.nan)) for name in ("OBSRA", "OBSDEC"))
    pointing = None if math.isnan(ra + dec) else (ra, dec)
    planes = []
    for index in np.ndindex(shape[:-2]):
        at = {len(shape) - axis: position for axis, position in enumerate(index)}  # by number of the FITS axis
        freq, stokes = float("nan"), "I"
        for axis, position in at.items():
            kind = file.text(f"CTYPE{axis}").upper()
            length = shape[len(shape) - axis]
            if kind == "STOKES":
                stokes = _stokes(path, _value_at(file, axis, position))
            elif kind.startswith("FREQ"):
                freq = float(tabulated[position]) if len(tabulated) == length else _frequency(file, axis, position)
            elif length > 1:
                raise InputError(
                    f"The model {path} has an axis '{kind}' of length {length}; only FREQ [Hz] and STOKES are "
                    "understood besides the two of the sky."
                )
        planes.append(
            Plane(path, index, stokes, freq, file.text("SPECSYS"), grid, mirrored, "RRPB" in file.header, pointing)
        )
    return planes


def _value_at(file, axis, position):
    """World coordinate of a plane along an axis, in the unit of the axis."""
    step = file.number(f"CD{axis}_{axis}", file.number(f"CDELT{axis}", 1.0))
    return file.number(f"CRVAL{axis}", 0.0) + step * (position + 1 - file.number(f"CRPIX{axis}", 1.0))


def _frequency(file, axis, position):
    freq = _value_at(file, axis, position) * file.unit(axis, "hz", HERTZ)
    if not freq > 0:
        raise InputError(f"{file.what} has a plane at {freq:g} Hz (axis {axis}); correct CRVAL{axis} or CDELT{axis}.")
    return freq


def _stokes(path, value):
    name = STOKES.get(round(value), "")
    if name not in ("I", "Q", "U", "V", "XX", "YY", "RR", "LL"):
        raise InputError(
            f"The model {path} is of {name or f'STOKES {value:g}'}, of which an image holds the real part only; give "
            "Stokes I, Q, U, V, or parallel hands."
        )
    return name


def check_unit(file: FitsImage) -> None:
    """Raise InputError for an image that is not in Jy/pixel."""
    unit = re.sub(r"[\s.*]", "", file.text("BUNIT")).upper()
    if unit in ("JY/PIXEL", "JY/PIX", "JYPIXEL-1", "JYPIX-1"):
        return
    if "BEAM" in unit:
        advice = "it is a restored or dirty image. Give the model, NAME-model.fits"
    elif unit:
        advice = "convert it to Jy/pixel"
    else:
        advice = "if its pixels are in Jy, write BUNIT = 'Jy/pixel' into its header"
    raise InputError(f"{file.what} is in '{file.text('BUNIT')}', and a model must be in Jy/pixel: {advice}.")


def grid_of(file: FitsImage, shape: tuple[int, ...]) -> tuple[ImageGrid, bool]:
    """The grid of a FITS image, and whether its columns run to the east instead of to the west.

    Parameters
    ----------
    file : FitsImage
    shape : (int, int)
        Of the image (y, x).

    Raises
    ------
    InputError
        The image has another projection, a rotation, oblong pixels, or a phase centre away from the centre of a pixel.
    """
    kind = [file.text(f"CTYPE{axis}") for axis in (1, 2)]
    if kind != ["RA---SIN", "DEC--SIN"]:
        raise InputError(
            f"{file.what} has the axes '{kind[0]}' and '{kind[1]}', and not RA---SIN and DEC--SIN, the projection "
            "in which interferometers image. Reproject it first (CASA imregrid, or reproject.reproject_exact)."
        )
    if not file.is_j2000:
        raise InputError(
            f"{file.what} has coordinates of {file.frame} {file.equinox:g}, which turns north and moves the phase "
            "centre; only J2000 and ICRS are understood. Reproject it first (CASA imregrid, or "
            "reproject.reproject_exact)."
        )
    steps = _steps(file)
    height, width = shape
    mirrored = steps[0] > 0
    column = file.number("CRPIX1", 0.0) - 1
    reference = np.array([file.number("CRPIX2", 0.0) - 1, width - 1 - column if mirrored else column])
    whole = np.rint(reference)
    if np.abs(reference - whole).max() > ModelImageSettings.off_centre:
        raise InputError(
            f"{file.what} has its phase centre between pixels (CRPIX {file.value('CRPIX1')}, "
            f"{file.value('CRPIX2')}); make it with the phase centre on a pixel."
        )
    y0, x0 = height // 2 - int(whole[0]), width // 2 - int(whole[1])
    ra, dec = (file.number(f"CRVAL{axis}", 0.0) * file.unit(axis, "deg", ANGLES) for axis in (1, 2))
    return ImageGrid(width, height, steps[1], ra % (2 * math.pi), dec, x0, y0), mirrored


def _steps(file):
    """Pixel sizes along x and y [rad]; InputError for pixels that are turned, slanted or not square."""
    turned = any(
        abs(file.number(name, plain) - plain) > 1e-9
        for name, plain in {"CROTA1": 0, "CROTA2": 0, "PC1_1": 1, "PC1_2": 0, "PC2_1": 0, "PC2_2": 1, "PC001001": 1,
                            "PC001002": 0, "PC002001": 0, "PC002002": 1, "CD1_2": 0, "CD2_1": 0, "PV2_1": 0,
                            "PV2_2": 0, "LONPOLE": 180}.items()
    )  # fmt: skip
    steps = [
        file.number(f"CD{axis}_{axis}", file.number(f"CDELT{axis}", 0.0)) * file.unit(axis, "deg", ANGLES)
        for axis in (1, 2)
    ]
    if turned or not steps[1] > 0 or not math.isclose(abs(steps[0]), steps[1], rel_tol=1e-6):
        raise InputError(
            f"{file.what} has pixels that are turned, slanted or not square (CDELT {np.degrees(steps)} degrees); "
            "north must be up, and both axes have the same step. Reproject it first."
        )
    return steps

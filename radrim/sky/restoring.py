"""`radrim restore`: a restored image from the FITS files of a model and of a residual, with any beam."""

import io
import logging
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits

from radrim.beam import Beam
from radrim.errors import ConfigError, InputError, OutputError
from radrim.geometry import ImageGrid, format_angle
from radrim.restore.restoring import RestoredRows, circle, common_beam_of, contains
from radrim.runtime.files import atomic_write
from radrim.sky.images import check_unit, grid_of
from radrim.write.fits_input import FitsImage, read_fits

log = logging.getLogger("radrim")


@dataclass(frozen=True)
class RestoringSettings:
    """How files are restored."""

    rows: int = 1024
    """Rows of a plane that are restored at once."""

    same_pixel: float = 0.01
    """Largest offset between the pixels of model and residual [pixel]."""


@dataclass(frozen=True)
class WantedBeam:
    """The restoring beam that is asked for; by default that of each plane of the residual.

    Parameters
    ----------
    given : Beam or None
    circular : bool
        Widen the beams of the residual to circles.
    common : bool
        Take the smallest beam that contains those of all planes.
    """

    given: Beam | None = None
    circular: bool = False
    common: bool = False

    def of(self, fitted: Sequence[Beam | None], what: str) -> list[Beam]:
        """The restoring beam of each plane, from the beams of the residual; blank planes have NaN there.

        Raises
        ------
        InputError
            The residual has no beam, and none is given.
        """
        if self.given is not None:
            return [self.given] * len(fitted)
        known = [beam for beam in fitted if beam is not None]
        if len(known) < len(fitted):
            raise InputError(
                f"{what} has no beam (BMAJ, BMIN and BPA, or the table BEAMS): give one, such as --beam-size 5asec."
            )
        some = [beam for beam in known if not math.isnan(beam.major)]
        if self.common and some:
            one = common_beam_of(some)
            return [circle(one) if self.circular else one] * len(known)
        return [circle(beam) if self.circular else beam for beam in known]


def restore_files(
    model: str | Path,
    residual: str | Path,
    output: str | Path,
    wanted: WantedBeam = WantedBeam(),
    command: str = "radrim restore",
    overwrite: bool = False,
    threads: int = 1,
) -> list[Beam]:
    """Write the model, smoothed to a beam, plus the residual.

    Parameters
    ----------
    model, residual : str or Path
        FITS images or cubes [Jy/pixel] and [Jy/beam], with the same pixels and planes.
    output : str or Path
        FITS image to write [Jy/beam], with the header of the residual.
    wanted : WantedBeam
    command : str
        For HISTORY.
    overwrite : bool
        Whether an existing file may be replaced.
    threads : int

    Returns
    -------
    list of Beam
        Of each plane.

    Raises
    ------
    InputError
        A file cannot be read, has another unit, or the two do not fit together.
    OutputError
        `output` exists or cannot be written.
    """
    if Path(output).exists() and not overwrite:
        raise OutputError(f"{output} exists; give another name with --name, or --overwrite to replace it.")
    left = read_fits(residual, f"The residual {residual}", tables=("BEAMS",))
    source = read_fits(model, f"The model {model}")
    grid = _check_pair(source, left)
    fitted = beams_of(left, math.prod(source.data.shape[:-2]))
    beams = wanted.of(fitted, left.what)
    _check_beams(beams, grid.scale)
    header = _header(left, beams, command)
    images = (one.data.reshape(-1, *one.data.shape[-2:]) for one in (source, left))
    with atomic_write(output) as file:
        file.write(header.tostring().encode("ascii"))
        for image, rest, beam, own in zip(*images, beams, fitted, strict=True):
            rows = RestoredRows(image, rest, beam, own or beam, grid.scale, threads)
            for start in range(0, grid.height, RestoringSettings.rows):
                part = slice(start, min(start + RestoringSettings.rows, grid.height))
                # A blank plane of a cube has no beam, and is NaN throughout.
                pixels = rest[part] if math.isnan((own or beam).major) else rows[part]
                file.write(np.ascontiguousarray(pixels, ">f4").data)
        file.write(bytes(-4 * source.data.size % 2880))
        if "CASAMBM" in header:
            file.write(_table(left, beams))
    return beams


def _check_pair(source: FitsImage, left: FitsImage) -> ImageGrid:
    """The grid of a model and its residual; InputError unless they have the same pixels and the right units."""
    check_unit(source)
    if not is_per_beam(left):
        raise InputError(f"{left.what} is in '{left.text('BUNIT')}', and a residual is in Jy/beam; name the residual.")
    if source.data.shape != left.data.shape:
        shapes = [" x ".join(map(str, reversed(one.data.shape))) for one in (source, left)]
        raise InputError(f"{source.what} has the axes {shapes[0]}, and {left.what} {shapes[1]}: they must be the same.")
    (grid, mirrored), (here, turned) = (grid_of(one, one.data.shape[-2:]) for one in (left, source))
    corner = max(here.shape) / 2
    apart = math.hypot(math.remainder(grid.ra - here.ra, 2 * math.pi) * math.cos(here.dec), grid.dec - here.dec)
    apart = apart / here.scale + abs(grid.scale / here.scale - 1) * corner
    if (grid.x0, grid.y0) != (here.x0, here.y0) or apart > RestoringSettings.same_pixel:
        raise InputError(f"{source.what} and {left.what} have other coordinates: they must be of one image.")
    if mirrored or turned:
        raise InputError(f"{source.what} has columns that run to the east, which is not supported: flip it first.")
    return grid


def is_per_beam(file: FitsImage) -> bool:
    """Whether the pixels of an image are in Jy/beam."""
    return file.text("BUNIT").replace(" ", "").upper() in ("JY/BEAM", "JYBEAM-1", "BEAM-1JY")


def _check_beams(beams: Sequence[Beam], scale: float) -> None:
    narrow = [beam for beam in beams if beam.minor < scale * (1 - 1e-6)]
    if narrow:
        raise ConfigError(f"The beam {narrow[0]} is narrower than a pixel ({format_angle(scale)}): give a wider one.")


def beams_of(left: FitsImage, count: int) -> list[Beam | None]:
    """The beam of each of `count` planes of an image, from its table BEAMS or its header; None if it has none."""
    table = left.tables.get("BEAMS")
    if table is not None and len(table) in (1, count):
        asec = math.radians(1 / 3600)
        found = [Beam(row["BMAJ"] * asec, row["BMIN"] * asec, math.radians(row["BPA"])) for row in table]
        return [Beam(*map(float, vars(beam).values())) for beam in found * (count // len(found))]
    major, minor, pa = (math.radians(left.number(key, math.nan)) for key in ("BMAJ", "BMIN", "BPA"))
    return [None if math.isnan(major + minor) else Beam(major, minor, 0.0 if math.isnan(pa) else pa)] * count


def _header(left: FitsImage, beams: Sequence[Beam], command: str) -> fits.Header:
    """The header of the residual with other beams."""
    header = left.header.copy()
    for keyword in ("BMAJ", "BMIN", "BPA", "CASAMBM", "RRNOISE"):
        with suppress(KeyError):
            del header[keyword]
    header["BITPIX"] = -32
    for keyword in ("BSCALE", "BZERO", "BLANK"):
        header.remove(keyword, ignore_missing=True)
    header["BUNIT"] = "Jy/beam"
    some = {(beam.major, beam.minor, beam.pa) for beam in beams if not math.isnan(beam.major)}
    if len(some) == 1:
        ((major, minor, pa),) = some
        header["BMAJ"], header["BMIN"], header["BPA"] = (math.degrees(value) for value in (major, minor, pa))
    else:
        header["EXTEND"], header["CASAMBM"] = True, (True, "beams in the table BEAMS")
    header.add_history(command[:72])
    return header


def _table(left: FitsImage, beams: Sequence[Beam]) -> bytes:
    """The table BEAMS of the residual with other beams, as the bytes of an extension."""
    held = left.tables["BEAMS"]
    columns = [
        fits.Column("BMAJ", "1E", "arcsec", array=[3600 * math.degrees(beam.major) for beam in beams]),
        fits.Column("BMIN", "1E", "arcsec", array=[3600 * math.degrees(beam.minor) for beam in beams]),
        fits.Column("BPA", "1E", "deg", array=[math.degrees(beam.pa) for beam in beams]),
    ]
    columns += [column for column in held.columns if column.name not in ("BMAJ", "BMIN", "BPA")]
    table = fits.BinTableHDU.from_columns(columns, name="BEAMS")
    numbers = [held["CHAN"].max() + 1, held["POL"].max() + 1] if {"CHAN", "POL"} <= set(held.names) else [len(beams), 1]
    table.header["NCHAN"], table.header["NPOL"] = map(int, numbers)
    whole, nothing = io.BytesIO(), io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(whole)
    fits.PrimaryHDU().writeto(nothing)
    return whole.getvalue()[len(nothing.getvalue()) :]


def say_what_was_restored(output: str | Path, beams: Sequence[Beam], fitted: bool) -> None:
    """Log the file and its beams."""
    known = [beam for beam in beams if not math.isnan(beam.major)]
    alike = all(contains(known[0], beam) and contains(beam, known[0]) for beam in known)
    each = "beams of the residual" if fitted else f"{len(known)} beams"
    log.info("%s is written, with %s.", output, f"the beam {known[0]}" if known and alike else each)

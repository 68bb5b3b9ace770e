"""Step 6, write: `--cube` joins output channels and Stokes parameters in one 4-D FITS file for each kind of image.

Channels have different beams. The table BEAMS has a row for each, as CASA writes it (BMAJ and BMIN in arcsec, BPA in
degrees, CHAN, POL; the header has `CASAMBM`). It also has a column FREQ, because the FREQ axis of the image must be
evenly spaced.
"""

import io
import logging
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Protocol

import numpy as np
from astropy.io import fits

from radrim.runtime.files import atomic_write
from radrim.write.fits import BeamShape, Rows

log = logging.getLogger("radrim")

OF_ONE = ("BMAJ", "BMIN", "BPA", "RRNVIS", "RRVWSUM", "RRNOISE", "RRMAJOR", "RRMINOR")
"""Header keywords that describe a single channel; cubes omit them."""


@dataclass(frozen=True)
class CubeSettings:
    """How cubes are written."""

    uneven: float = 0.1
    """Largest distance of a frequency from an even axis that is not warned of [channel]."""

    rows: int = 1024
    """Rows of a plane that are copied at once."""


class ChannelFacts(Protocol):
    """What the header and the table BEAMS say of one channel; see `radrim.result.Image`."""

    freq: float
    paths: dict[str, Path]

    @property
    def beam(self) -> BeamShape:
        """Restoring beam."""

    def beam_of(self, kind: str) -> BeamShape:
        """Beam of one kind of image."""


class Axis(Protocol):
    """Evenly spaced channels; see `radrim.visibilities.ChannelAxis`."""

    @property
    def first(self) -> float:
        """Centre of the first channel [Hz]."""

    @property
    def width(self) -> float:
        """From channel to channel [Hz]."""


class ChannelFiles(Protocol):
    """Images of all output channels, each read when it is asked for; see `radrim.result.Channels`."""

    @property
    def headers(self) -> Sequence[ChannelFacts]:
        """The channels without their arrays."""

    def plane(self, index: int, kind: str) -> np.ndarray:
        """One kind of image of one channel, (y, x)."""


def write_cube(
    path: str | Path, kind: str, channels: ChannelFiles, *others: ChannelFiles, axis: Axis | None = None
) -> None:
    """Join one kind of image of all output channels and Stokes parameters, atomically.

    Parameters
    ----------
    path : str or Path
        Replaced if it exists.
    kind : str
        Of `radrim.products.KINDS`.
    channels, others : Channels
        Images of each Stokes parameter, in the order of FITS; read one after the other. The header is that of the
        first channel with a beam: blank channels have none.
    axis : ChannelAxis, optional
        The channels that the user asked for.

    Raises
    ------
    OutputError
        See `radrim.runtime.files.atomic_write`.
    """
    stokes = [channels, *others]
    known = (image for image in channels.headers if not math.isnan(image.beam.major))
    header = fits.getheader(next(known, channels.headers[0]).paths[kind])
    if others:
        step = fits.getheader(others[0].headers[0].paths[kind])["CRVAL4"] - header["CRVAL4"]
        header["CRVAL4"], header["CDELT4"] = (header["CRVAL4"], "the first Stokes parameter"), (step, "to the next")
    planes = (one.plane(number, kind) for one in stokes for number in range(len(one.headers)))
    write_planes(path, header, channels.headers, len(stokes), planes, axis, kind)


def write_planes(
    path: str | Path,
    header: fits.Header,
    facts: Sequence[ChannelFacts],
    count: int,
    planes: Iterable[Rows],
    axis: Axis | None = None,
    kind: str = "image",
) -> None:
    """Write a cube, atomically.

    Parameters
    ----------
    path : str or Path
        Replaced if it exists.
    header : Header
        Header of the first plane as a single image.
    facts : sequence of Image
        Of the channels.
    count : int
        Number of Stokes parameters.
    planes : iterable of (y, x) array
        All channels of the first Stokes parameter, then of the next one, ...; each is read in blocks of rows.
    axis : ChannelAxis, optional
        The channels that the user asked for; by default the header has the mean frequencies of the first and the last.
    kind : str
        Of `radrim.products.KINDS`, for the beams.
    """
    planes = iter(planes)
    first = next(planes)
    beams = [image.beam_of(kind) for image in facts]
    header = _cube_header(header, facts, beams, count, first.shape, axis)
    table = _beams(facts, beams, count) if "CASAMBM" in header else b""
    header = header.tostring().encode("ascii")
    size = 4 * count * len(facts) * first.shape[0] * first.shape[1]
    with atomic_write(path) as file:
        os.posix_fallocate(file.fileno(), 0, len(header) + size + -size % 2880)
        file.write(header)
        for plane in chain([first], planes):
            for row in range(0, plane.shape[0], CubeSettings.rows):
                file.write(np.ascontiguousarray(plane[row : row + CubeSettings.rows], ">f4").data)
        file.write(bytes(-size % 2880))
        file.write(table)


def _cube_header(header, facts, found, count, shape, axis):
    """The header of the cube, from that of the first plane: an even FREQ axis, and beams in the table alone."""
    freq = np.array([image.freq for image in facts])
    first, step = (axis.first, axis.width) if axis else (freq[0], (freq[-1] - freq[0]) / (len(freq) - 1))
    off = float(np.abs(freq - (first + step * np.arange(len(freq)))).max())
    if off > CubeSettings.uneven * step:
        log.warning(
            "--cube: the frequencies of the output channels are up to %.4g MHz off the even FREQ axis of the cubes, of "
            "steps of %.4g MHz; the column FREQ of their table BEAMS is right.", off / 1e6, step / 1e6
        )  # fmt: skip
    header = header.copy()
    beams = "BMAJ" in header or "CASAMBM" in header
    # One beam for all belongs into the header, where all programs find it; the table also has uneven frequencies.
    common = beams and off <= CubeSettings.uneven * step and len({_axes(beam) for beam in found} - {None}) == 1
    for keyword in OF_ONE[3 * common :]:
        header.remove(keyword, ignore_missing=True)
    header["NAXIS1"], header["NAXIS2"], header["NAXIS3"], header["NAXIS4"] = shape[1], shape[0], len(freq), count
    header["CRVAL3"], header["CDELT3"] = (first, "centre of the first channel"), (step, "from channel to channel")
    header["EXTEND"] = True
    if common:
        one = next(beam for beam in found if _axes(beam))
        for keyword, value in zip(OF_ONE, (one.major, one.minor, one.pa), strict=False):
            header[keyword] = math.degrees(value)
    elif beams:
        header["CASAMBM"] = (True, "beams in the table BEAMS")
    return header


def _axes(beam):
    """Major and minor axis and position angle; None for a blank channel."""
    return None if math.isnan(beam.major) else (beam.major, beam.minor, beam.pa)


def _beams(facts, beams, stokes):
    """The table BEAMS as the bytes of an extension: all channels of the first Stokes parameter, of the next, ..."""
    count, facts, beams = len(facts), [*facts] * stokes, [*beams] * stokes
    table = fits.BinTableHDU.from_columns(
        [
            fits.Column("BMAJ", "1E", "arcsec", array=[3600 * math.degrees(beam.major) for beam in beams]),
            fits.Column("BMIN", "1E", "arcsec", array=[3600 * math.degrees(beam.minor) for beam in beams]),
            fits.Column("BPA", "1E", "deg", array=[math.degrees(beam.pa) for beam in beams]),
            fits.Column("CHAN", "1J", array=np.arange(len(facts)) % count),
            fits.Column("POL", "1J", array=np.arange(len(facts)) // count),
            fits.Column("FREQ", "1D", "Hz", array=[image.freq for image in facts]),
        ],
        name="BEAMS",
    )
    table.header["NCHAN"], table.header["NPOL"] = count, stokes
    whole, nothing = io.BytesIO(), io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(whole)
    fits.PrimaryHDU().writeto(nothing)
    return whole.getvalue()[len(nothing.getvalue()) :]

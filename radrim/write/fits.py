"""Step 6, write: writes and reads FITS images.

A file appears under its name only when it is complete (`radrim.runtime.files`). Headers follow FITS 4.0 (Pence et al.
2010 and later) and WCS papers I to III. Where the standard leaves a choice, they follow AIPS and CASA (BMAJ, BMIN, BPA
in degrees; BUNIT 'Jy/beam').
"""

import io
import logging
import math
import os
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import erfa
import numpy as np
from astropy.io import fits

from radrim.runtime.files import atomic_write
from radrim.stokes import STOKES_CODE
from radrim.version import __version__

log = logging.getLogger("radrim")


class BeamShape(Protocol):
    """Axes of a restoring beam; see `radrim.beam.Beam`."""

    @property
    def major(self) -> float:
        """Major axis, FWHM [rad]."""

    @property
    def minor(self) -> float:
        """Minor axis, FWHM [rad]."""

    @property
    def pa(self) -> float:
        """Position angle of the major axis, north through east [rad]."""


class PixelGrid(Protocol):
    """Pixels of an image; see `radrim.geometry.ImageGrid`."""

    @property
    def width(self) -> int:
        """Pixels along x."""

    @property
    def height(self) -> int:
        """Pixels along y."""

    @property
    def scale(self) -> float:
        """Pixel size [rad]."""

    @property
    def ra(self) -> float:
        """Right ascension of the phase centre [rad]."""

    @property
    def dec(self) -> float:
        """Declination of the phase centre [rad]."""


class ShiftedBlock(Protocol):
    """A block of visibilities, of which the header needs the Doppler factor alone."""

    doppler: float


class ObservationFacts(Protocol):
    """What the header says of an observation; see `radrim.visibilities.Observation`."""

    telescope: str
    object: str
    observer: str
    date_obs: str
    freq_frame: str
    rest_frequency: float
    velocities: str
    position: list[float]

    @property
    def blocks(self) -> Sequence[ShiftedBlock]:
        """Blocks of visibilities."""

    @property
    def pointing_position(self) -> tuple[float, float]:
        """Where the antennas point, (ra, dec) [rad]."""


class Rows(Protocol):
    """An image (y, x) whose rows are computed or read when they are asked for; an array is one, too."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(y, x)."""

    def __getitem__(self, rows: slice, /) -> np.ndarray: ...


IAU_1976 = 6378140.0, 1 / 298.2577
"""Equatorial radius [m] and flattening of the reference ellipsoid."""

VELREF = {"LSRK": 1, "BARYCENT": 2, "TOPOCENT": 3}
"""AIPS's numbers of the frames of velocities; 256 is added for the radio convention."""

KEYWORDS = {
    "weighting": ("RRWEIGHT", "imaging weights"),
    "taper": ("RRTAPER", "[deg] FWHM of the beam of the Gaussian taper"),
    "data_column": ("RRDATAC", "column of the Measurement Set"),
    "visibilities": ("RRNVIS", "number of visibilities imaged"),
    "sum_weight": ("RRVWSUM", "[Jy**-2] sum of the imaging weights"),
    "noise": ("RRNOISE", "[Jy/beam] noise of the residual, from its MAD"),
    "debias": ("RRDEBIAS", "Wardle & Kronberg 1974, s is RRNOISE"),
    "certain": ("RRPSIGMA", "[sigma] intensity below which the angle is NaN"),
    "thermal_noise": ("RRTHERM", "[Jy/beam] noise expected from the weights"),
    "expected_noise": ("RREXPECT", "[Jy/beam] noise expected from the data"),
    "data": ("RRDATA", "what the model was made from"),
    "chisq_phase": ("RRCHICP", "reduced chi-square of closure phases"),
    "closure_phases": ("RRNCP", "number of closure phases"),
    "chisq_amplitude": ("RRCHICA", "reduced chi-square of log closure amplitudes"),
    "closure_amplitudes": ("RRNCA", "number of log closure amplitudes"),
    "chisq_visibility": ("RRCHIAM", "reduced chi-square of amplitudes as read"),
    "chisq_visibilities": ("RRCHIVIS", "reduced chi-square of visibilities"),
    "strength": ("RRENTROP", "weight of the entropy for each datum"),
    "systematic": ("RRSYSTEM", "error of visibilities over their amplitude"),
    "noise_factor": ("RRNOISEF", "noise of visibilities over that of weights"),
    "extended_flux": ("RREXTFL", "[Jy] seen between neighbours, not in the image"),
    "solver": ("RRSOLVER", "minor cycle"),
    "model": ("RRMODEL", "trained model of the RIM"),
    "niter": ("RRNITER", "most components allowed"),
    "gain": ("RRGAIN", "part of a peak that a component takes"),
    "mgain": ("RRMGAIN", "part of the peak that a major cycle takes"),
    "auto_mask": ("RRAUTOM", "[sigma] free cleaning down to this"),
    "auto_threshold": ("RRAUTOT", "[sigma] end of cleaning"),
    "threshold": ("RRTHRESH", "[Jy/beam] end of cleaning"),
    "major_cycles": ("RRMAJOR", "major cycles done"),
    "components": ("RRMINOR", "components found"),
    "pb": ("RRPB", "pattern of the primary beam"),
    "dish_diameter": ("RRDISH", "[m] diameter of the antennas"),
    "pb_limit": ("RRPBLIM", "primary beam below which image-pb is NaN"),
    "operator": ("RROPER", "transform between image and visibilities"),
    "epsilon": ("RREPS", "relative accuracy of the transform"),
}
"""Keyword and comment of each setting that `image_header` accepts. 'RR' marks keywords of radrim."""


def image_header(  # noqa: PLR0913, PLR0917 - the public interface
    grid: PixelGrid,
    freq: float,
    bandwidth: float,
    observation: ObservationFacts,
    stokes: str,
    unit: str,
    beam: BeamShape | None = None,
    settings: Mapping[str, object] | None = None,
    history: Sequence[str] = (),
) -> fits.Header:
    """Header of one image, with four axes: RA---SIN, DEC--SIN, FREQ, STOKES.

    Parameters
    ----------
    grid : ImageGrid
    freq, bandwidth : float
        Mean of the frequencies, weighted as the visibilities in the image, and width of the image's band [Hz].
    observation : Observation
        Telescope and its position, object, observer, date, frequency frame.
    stokes : str
        A key of `STOKES_CODE`.
    unit : {'Jy/beam', 'Jy/pixel', ''}
    beam : Beam, optional
        For BMAJ, BMIN, BPA.
    settings : mapping, optional
        Names from `KEYWORDS` to text or number; None and NaN are left out.
    history : sequence of str
        Lines such as the command line, for HISTORY records; long lines are wrapped at blanks.

    Returns
    -------
    astropy.io.fits.Header
        Angles in degrees.
    """
    cards: list[tuple] = [("BUNIT", unit, "brightness"), ("BTYPE", "Intensity")]
    if beam is not None:
        cards += [("BMAJ", math.degrees(beam.major), "[deg] restoring beam, FWHM"),
                  ("BMIN", math.degrees(beam.minor), "[deg]"),
                  ("BPA", math.degrees(beam.pa), "[deg] north through east")]  # fmt: skip
    cards += _sky_cards(grid, freq, bandwidth, stokes) + _observation_cards(observation)
    for name, value in (settings or {}).items():
        keyword, comment = KEYWORDS[name]
        cards.append((keyword, value, comment))
    header = fits.Header()
    for keyword, value, *rest in cards:
        if isinstance(value, str):
            header[keyword] = (_fits_text(value)[:68], *rest)
        elif value is not None and not math.isnan(value):  # a FITS number cannot be NaN
            header[keyword] = (value, *rest)
    for line in (f"radrim {__version__}", *history):
        # astropy would cut within words and drop the blank at a cut.
        for part in textwrap.wrap(_fits_text(line), 72, break_on_hyphens=False):
            header.add_history(part)
    return header


def _sky_cards(grid, freq, bandwidth, stokes):
    """The four axes, in degrees and Hz. CRPIX counts from 1, the grid from 0."""
    return [
        ("CTYPE1", "RA---SIN"), ("CRPIX1", grid.width // 2 + 1.0), ("CRVAL1", math.degrees(grid.ra) % 360),
        ("CDELT1", -math.degrees(grid.scale), "x grows to the west"), ("CUNIT1", "deg"),
        ("CTYPE2", "DEC--SIN"), ("CRPIX2", grid.height // 2 + 1.0), ("CRVAL2", math.degrees(grid.dec)),
        ("CDELT2", math.degrees(grid.scale)), ("CUNIT2", "deg"),
        ("CTYPE3", "FREQ"), ("CRPIX3", 1.0), ("CRVAL3", float(freq), "mean of the frequencies, weighted"),
        ("CDELT3", float(bandwidth), "width of the band"), ("CUNIT3", "Hz"),
        ("CTYPE4", "STOKES"), ("CRPIX4", 1.0), ("CRVAL4", float(STOKES_CODE[stokes]), stokes), ("CDELT4", 1.0),
        ("CUNIT4", ""),
        # 180 is what readers assume, except at a declination of exactly 90 deg.
        ("LONPOLE", 180.0), ("LATPOLE", math.degrees(grid.dec)), ("RADESYS", "FK5"), ("EQUINOX", 2000.0, "J2000"),
    ]  # fmt: skip


def _observation_cards(observation):
    # SSYSOBS is the frame of the observed frequencies, if the output frame differs.
    shifted = any(block.doppler != 1 for block in observation.blocks)
    ra, dec = observation.pointing_position
    return [
        *_line_cards(observation), ("SPECSYS", observation.freq_frame),
        *([("SSYSOBS", "TOPOCENT")] if shifted else []), ("OBJECT", observation.object),
        ("TELESCOP", observation.telescope), ("INSTRUME", observation.telescope), ("OBSERVER", observation.observer),
        ("OBSRA", math.degrees(ra) % 360, "[deg] pointing"), ("OBSDEC", math.degrees(dec), "[deg] pointing"),
        *_date_cards(observation.date_obs), *_position_cards(observation.position), ("ORIGIN", f"radrim {__version__}"),
        ("DATE", _now().strftime("%Y-%m-%dT%H:%M:%S"), "when this file was made (UTC)"),
    ]  # fmt: skip


def _line_cards(observation):
    """The rest frequency, and the convention of AIPS for velocities; empty if the rest frequency is unknown.

    Programs take the frequency axis for velocities if RESTFRQ is there: it must be that of a line.
    """
    if not observation.rest_frequency > 0:
        return []
    cards = [("RESTFRQ", float(observation.rest_frequency), "[Hz] rest frequency of the line")]
    frame = VELREF.get(observation.freq_frame)
    if frame is not None:
        radio = observation.velocities == "radio"
        cards.append(("VELREF", frame + 256 * radio, f"{observation.freq_frame}, {observation.velocities}"))
    return cards


def _fits_text(text):
    """`text` in the characters that FITS allows, with '?' for the others."""
    return re.sub(r"[^ -~]", "?", text)


def _now():
    """The time, or SOURCE_DATE_EPOCH [s] if it is set (reproducible-builds.org), for reproducible files."""
    fixed = os.environ.get("SOURCE_DATE_EPOCH", "")
    return datetime.fromtimestamp(int(fixed), UTC) if fixed.isdigit() else datetime.now(UTC)


def _date_cards(date_obs):
    """DATE-OBS with its MJD, without which astropy warns whenever it opens the file; empty if the date is unknown."""
    try:
        start = datetime.fromisoformat(date_obs).replace(tzinfo=UTC)
    except ValueError:
        return []
    mjd = (start - datetime(1858, 11, 17, tzinfo=UTC)).total_seconds() / 86400
    return [
        ("DATE-OBS", start.replace(tzinfo=None).isoformat(), "start of the observation"),
        ("MJD-OBS", mjd),
        ("TIMESYS", "UTC"),
    ]


def _position_cards(position):
    """The telescope's place on the Earth; empty if it is unknown."""
    if not position:
        return []
    # wcslib computes longitude, latitude and height with this ellipsoid, and warns where a header lacks them.
    east, north, height = erfa.gc2gde(*IAU_1976, np.array(position))
    names = zip("XYZ", position, strict=True)
    return [
        *((f"OBSGEO-{name}", float(value), "[m] mean position of the antennas, ITRF") for name, value in names),
        ("OBSGEO-L", math.degrees(east), "[deg] longitude"), ("OBSGEO-B", math.degrees(north), "[deg] latitude"),
        ("OBSGEO-H", float(height), "[m] height, IAU 1976 ellipsoid"),
    ]  # fmt: skip


def write_fits(path: str | Path, image: np.ndarray, header: fits.Header) -> None:
    """Write one image as float32 with the axes (STOKES, FREQ, DEC, RA), atomically.

    Parameters
    ----------
    path : str or Path
        Replaced if it exists.
    image : (y, x) array
    header : Header
        From `image_header`.

    Raises
    ------
    OutputError
        See `atomic_write`.
    """
    data = np.ascontiguousarray(image, ">f4")  # FITS is big-endian
    header = fits.PrimaryHDU(data[np.newaxis, np.newaxis], header).header
    # Not written by astropy, which swaps the bytes of the caller's array temporarily and hides the cause of a failure.
    with atomic_write(path) as file:
        file.write(header.tostring().encode("ascii"))
        file.write(data.view(np.uint8).data)
        file.write(bytes(-data.nbytes % 2880))


def write_hdus(path: str | Path, hdus: fits.HDUList) -> None:
    """Write a FITS file of any extensions, whole or not at all.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    held = io.BytesIO()  # astropy does not write to files that are open for new content only
    hdus.writeto(held, output_verify="silentfix")
    with atomic_write(path) as stream:
        stream.write(held.getbuffer())


def whole_header(shape: tuple[int, ...], header: fits.Header) -> fits.Header:
    """A header from `image_header`, completed by the mandatory keywords of FITS for an image (y, x)."""
    return fits.PrimaryHDU(np.broadcast_to(np.zeros((), ">f4"), (1, 1, *shape)), header).header


@contextmanager
def fits_file(path: str | Path, shape: tuple[int, ...], header: fits.Header) -> Iterator["FitsPixels"]:
    """A FITS file as `write_fits` makes it, for filling in pixels; it appears at the end of the block.

    Parameters
    ----------
    path : str or Path
    shape : (int, int)
        Of the image (y, x).
    header : Header
        From `image_header`.

    Yields
    ------
    FitsPixels
        The pixels, which are 0 until they are filled in.

    Raises
    ------
    OutputError
        See `atomic_write`.
    """
    header = whole_header(shape, header).tostring().encode("ascii")
    size = 4 * shape[0] * shape[1]
    with atomic_write(path) as file:
        os.posix_fallocate(file.fileno(), 0, len(header) + size + -size % 2880)
        file.write(header)
        file.flush()
        yield FitsPixels(Path(file.name).absolute(), len(header), shape[1])


def write_rows(path: str | Path, image: Rows, header: fits.Header, rows: int = 1024) -> None:
    """Write an image as `write_fits`, reading blocks of its rows, so that it need not be in memory."""
    with fits_file(path, image.shape, header) as pixels:
        for start in range(0, image.shape[0], rows):
            part = slice(start, min(start + rows, image.shape[0]))
            pixels.put((part, slice(0, image.shape[1])), image[part])


@dataclass(frozen=True)
class FitsPixels:
    """The pixels of an unfinished FITS file, which several processes can fill in at once.

    Parameters
    ----------
    path : Path
    start : int
        Offset of the first pixel [bytes].
    width : int
        Length of a row [pixel].
    """

    path: Path
    start: int
    width: int

    def put(self, window: tuple[slice, slice], image: np.ndarray) -> None:
        """Fill in rows and columns (slices) with their pixels (y, x)."""
        rows, columns = window
        with open(self.path, "r+b") as file:
            for row, values in zip(range(rows.start, rows.stop), image.astype(">f4"), strict=True):
                file.seek(self.start + 4 * (row * self.width + columns.start))
                file.write(values.data)


def open_image(path: str | Path, plane: int = 0) -> np.ndarray:
    """An image that radrim wrote, (y, x) big-endian float32, memory-mapped.

    Parameters
    ----------
    path : str or Path
    plane : int
        Number of the plane in a cube, counted over the channels of the first Stokes parameter, then of the next one. In
        cubes that all Stokes parameters share, the number counts modulo the number of planes.
    """
    with fits.open(path, memmap=True) as hdus:
        data = hdus[0].data
        planes = data.reshape(-1, *data.shape[-2:])
        return planes[plane % len(planes)]


def read_image(path: str | Path, plane: int = 0) -> np.ndarray:
    """Read an image that radrim wrote into memory, (y, x) float32; see `open_image`."""
    return open_image(path, plane).astype(np.float32)

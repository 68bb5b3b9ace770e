"""What the images are: their grid, frequencies, Stokes parameters, beam and primary beam."""

import functools
import math
from dataclasses import dataclass

from radrim.config.directions import to_direction, to_shift
from radrim.config.groups.option import GROUPS, option
from radrim.config.quantities import FLUX, METRES, quantity
from radrim.config.spectral import HERTZ, to_start, to_width
from radrim.config.values import (
    choice,
    numeric,
    to_angle,
    to_beam,
    to_beam_size,
    to_flag,
    to_pattern,
    to_size,
    to_stokes,
    to_text,
)

_option = functools.partial(option, GROUPS[0])


@dataclass(frozen=True, kw_only=True)
class ImageGroup:
    """The options of this group; see `radrim.config.options.ImageConfig`."""

    name: str | None = _option(
        to_text, None, "prefix of the output files (default: name of the first Measurement Set)", "PREFIX"
    )
    size: tuple[int, int] | None = _option(
        to_size,
        None,
        "width and height in pixels (default: as large as the sources need that a quick look finds, at most out to the "
        "primary beam's first null)",
        ("W", "H"),
        2,
    )
    scale: float | None = _option(
        to_angle, None, "pixel size, such as 1asec, 0.5amin, 20uasec (default: a 4.5th of the PSF's width)", "ANGLE"
    )
    shift: tuple[str, str] | None = _option(
        to_shift, None, "phase centre of the image, J2000, such as 12h30m49.4s +12d23m28s", "RA DEC"
    )
    phase_centre: str | None = _option(
        to_direction,
        None,
        "phase centre of the image, such as 'J2000 12h30m49.4s +12d23m28s' (or ICRS, galactic, B1950), or an offset "
        "to the east and the north, such as '+10arcmin -5arcmin'",
        "DIRECTION",
        aliases=("phase-center", "phasecentre", "phasecenter"),
    )
    channels_out: int = _option(
        numeric(int, 1), 1, "number of output channels; more than one also writes NAME-MFS-*", "N", aliases=("nchan",)
    )
    start: str | None = _option(
        to_start,
        None,
        "centre of the first output channel, such as 1420.4MHz or -20km/s, or number of its first channel of the data "
        "(default: the lowest)",
        "PLACE",
    )
    width: str | None = _option(
        to_width,
        None,
        "width of output channels, in channels of the data, or such as 100kHz or 5km/s (default: one channel with "
        "--start, else all channels evenly)",
        "WIDTH",
    )
    restfreq: float | None = _option(
        quantity(HERTZ, 0, math.inf, "1420.405752MHz", open_low=True),
        None,
        "rest frequency of the line, such as 1420.405752MHz (default: from the table SOURCE)",
        "FREQUENCY",
    )
    veltype: str = _option(
        choice("radio", "optical"), "radio", "convention of the velocities of --start and --width, and of headers"
    )
    cube: bool = _option(
        to_flag, False, "write all output channels into one file of each kind, with a table of their beams"
    )
    spectral_terms: int | None = _option(
        numeric(int, 2, 5),
        None,
        "deconvolve output channels together, with spectra that are polynomials of N terms; writes the spectral index",
        "N",
        aliases=("fit-spectral-pol",),
    )
    outframe: str | None = _option(
        choice("TOPO", "LSRK", "BARY"),
        None,
        "frame of the frequencies of output channels and headers: TOPO, LSRK or BARY (default: as stored)",
        "FRAME",
    )
    pol: str = _option(
        to_stokes,
        "I",
        "Stokes parameters or correlations to image, such as IQUV, I,V or XX,YY; Q and U also give NAME-P-image and "
        "NAME-angle",
        "LIST",
    )
    beam_fit: str = _option(
        choice("quadrant", "box", "lobe"),
        "quadrant",
        "part of the PSF that the beam is fitted to; quadrant is WSClean's, lobe CASA's",
    )
    beam_shape: tuple[float, float, float] | None = _option(
        to_beam,
        None,
        "restoring beam in place of the fit: axes (FWHM) and position angle, such as 5asec 4asec 30deg",
        "BMAJ BMIN BPA",
    )
    beam_size: float | None = _option(
        to_beam_size, None, "width (FWHM) of a circular restoring beam, such as 5asec", "ANGLE"
    )
    circular_beam: bool = _option(to_flag, False, "widen the fitted restoring beam to a circle")
    theoretic_beam: bool = _option(
        to_flag, False, "restoring beam from the longest baseline alone, a circle, in place of the fit"
    )
    common_beam: bool = _option(
        to_flag, False, "restore all output channels with the smallest beam that contains those of all"
    )
    pb: str = _option(
        to_pattern,
        "none",
        "primary beam: auto (also --pb alone), the telescope's where it is known, else airy; airy, gauss, a name of "
        "a telescope, or none; writes NAME-pb and NAME-image-pb, and joins the pointings of a mosaic",
        "PATTERN",
    )
    pb_limit: float = _option(
        numeric(float, 0, 1, open_low=True),
        0.2,
        "primary beam below which NAME-image-pb is NaN",
        aliases=("primary-beam-limit",),
    )
    dish_diameter: float | None = _option(
        quantity(METRES, 0, math.inf, "25m", open_low=True),
        None,
        "diameter of the antennas in metres (default: DISH_DIAMETER)",
        "METRES",
    )
    data: str = _option(
        choice("visibilities", "closure"),
        "visibilities",
        "data that the image is made from: visibilities, or closure phases and log closure amplitudes alone, which do "
        "not depend on the antennas' gains (VLBI)",
        "KIND",
    )
    flux: float | None = _option(
        quantity(FLUX, 0, math.inf, "600mJy", open_low=True),
        None,
        "total flux of the image with --data closure, which does not measure it (default: from the amplitudes)",
        "JY",
    )

"""Models of the sky for simulations: point sources and Gaussians, summed exactly, and FITS images."""

import csv
import logging
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from radrim.errors import ConfigError, InputError
from radrim.geometry import ARCSEC, SIGN, C, ImageGrid, n_minus_1

log = logging.getLogger("radrim")


@dataclass(frozen=True)
class SkyImage:
    """An image whose centre pixel (y // 2, x // 2) lies at the phase centre of each field.

    Parameters
    ----------
    pixels : (y, x) float64
        Stokes I [Jy/pixel], even sizes, y to the north, x to the west.
    scale : float
        Pixel size [rad].
    """

    pixels: np.ndarray
    scale: float


@dataclass(frozen=True)
class Sky:
    """Sources with position, flux, spectrum and shape, and an optional image.

    Parameters
    ----------
    ra, dec : (source,) float64
        Positions [rad], J2000.
    stokes : (source, 4) float64
        I, Q, U, V at `freq` [Jy].
    alpha : (source,) float64
        Spectral index: the flux is proportional to frequency ** alpha.
    shape : (source, 3) float64
        Major and minor axis (FWHM) and position angle, north through east [rad]; zeros for a point.
        The Gaussian lies in the plane of the direction cosines (l, m).
    freq : float
        Frequency of the fluxes [Hz].
    image : SkyImage, optional
        Added to the sources, with a flat spectrum.
    """

    ra: np.ndarray
    dec: np.ndarray
    stokes: np.ndarray
    alpha: np.ndarray
    shape: np.ndarray
    freq: float
    image: SkyImage | None = None


def make_sky(
    ra: ArrayLike,
    dec: ArrayLike,
    stokes: ArrayLike,
    freq: float,
    alpha: ArrayLike = 0.0,
    shape: ArrayLike = (0.0, 0.0, 0.0),
    image: SkyImage | None = None,
) -> Sky:
    """A `Sky` from scalars, lists or arrays; `stokes` may be Stokes I alone, (source,), or (source, 4)."""
    east, north = np.broadcast_arrays(np.atleast_1d(np.asarray(ra, float)), np.atleast_1d(np.asarray(dec, float)))
    flux = np.asarray(stokes, float)
    if flux.ndim < 2:
        flux = np.broadcast_to(flux, east.shape)[:, None] * np.array([1.0, 0, 0, 0])
    return Sky(east, north, flux, np.broadcast_to(np.asarray(alpha, float), east.shape),
               np.broadcast_to(np.asarray(shape, float), (east.size, 3)), float(freq), image)  # fmt: skip


def direction_cosines(
    ra: np.ndarray, dec: np.ndarray, ra0: float, dec0: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(l, m, cosine of the distance) of positions seen from the phase centre `ra0`, `dec0` [rad] (SIN projection)."""
    step = ra - ra0
    l = np.cos(dec) * np.sin(step)
    m = np.sin(dec) * math.cos(dec0) - np.cos(dec) * math.sin(dec0) * np.cos(step)
    return l, m, np.sin(dec) * math.sin(dec0) + np.cos(dec) * math.cos(dec0) * np.cos(step)


def offset_position(l: np.ndarray, m: np.ndarray, ra0: float, dec0: float) -> tuple[np.ndarray, np.ndarray]:
    """(ra, dec) [rad] of the direction cosines `l`, `m` around the phase centre: the inverse of `direction_cosines`."""
    n = np.sqrt(1 - l**2 - m**2)
    ra = ra0 + np.arctan2(l, n * math.cos(dec0) - m * math.sin(dec0))
    return ra, np.arcsin(m * math.cos(dec0) + n * math.sin(dec0))


def predict(sky: Sky, uvw: np.ndarray, freq: np.ndarray, ra0: float, dec0: float, threads: int = 1) -> np.ndarray:
    """Noise-free visibilities of `sky` with the phase centre at `ra0`, `dec0`.

    Sources are summed in double precision. A Gaussian has its analytic transform, with the w-term of its centre.
    Sources more than 90 degrees from the phase centre are left out.

    Parameters
    ----------
    sky : Sky
    uvw : (row, 3) float64
        Antenna 2 minus antenna 1 [m].
    freq : (chan,) float64
        [Hz].
    ra0, dec0 : float
        Phase centre [rad].
    threads : int
        Threads for the image.

    Returns
    -------
    (row, chan, 4) complex128
        Stokes I, Q, U, V [Jy].
    """
    out = np.zeros((len(uvw), len(freq), 4), complex)
    waves = uvw[:, None, :] * (freq / C)[:, None]
    l, m, distance = direction_cosines(sky.ra, sky.dec, ra0, dec0)
    for k in np.flatnonzero(distance > 0):
        turns = waves @ np.array([l[k], m[k], n_minus_1(l[k], m[k])])
        term = np.exp(SIGN * 2j * np.pi * turns) * (freq / sky.freq) ** sky.alpha[k]
        if sky.shape[k, 0] > 0:
            term *= _gaussian(waves[..., 0], waves[..., 1], *sky.shape[k])
        for p in np.flatnonzero(sky.stokes[k]):
            out[..., p] += sky.stokes[k, p] * term
    if sky.image is not None:
        out[..., 0] += _predict_image(sky.image, uvw, freq, threads)
    return out


def _gaussian(u, v, major, minor, pa):
    """Transform of a Gaussian of unit flux: FWHM theta becomes exp(-(pi theta b)^2 / (4 ln 2)) at b wavelengths."""
    along, across = u * math.sin(pa) + v * math.cos(pa), u * math.cos(pa) - v * math.sin(pa)
    return np.exp(-((math.pi * major * along) ** 2 + (math.pi * minor * across) ** 2) / (4 * math.log(2)))


def _predict_image(image, uvw, freq, threads):
    import torch

    from radrim.operator import make_operator

    height, width = image.pixels.shape
    grid = ImageGrid(width, height, image.scale)
    operator = make_operator("wgridder", uvw, freq, grid, epsilon=1e-7, threads=threads)
    return operator.forward(torch.as_tensor(image.pixels, dtype=torch.float64)).numpy()


def demo_sky(ra: float, dec: float, freq: float, beam: float) -> Sky:
    """A radio galaxy with core, one-sided jet, hot spots and lobes, and twenty background sources.

    Parameters
    ----------
    ra, dec : float
        Of the core [rad].
    freq : float
        Frequency of the fluxes [Hz].
    beam : float
        Resolution of the array [rad]. The galaxy is 60 beams long and the field 110 beams wide, so that images look
        alike for all arrays.

    Returns
    -------
    Sky
    """
    # Columns: offset along and across the jet, flux [Jy], spectral index, FWHM along and across, angle to the jet
    # [deg]; lengths in beams.
    galaxy = np.array([
        (0, 0, 0.060, 0.0, 0, 0, 0),
        *((4 + 3.2 * k, 0.035 * k**2, 0.016 - 0.0012 * k, -0.5, 1.6, 0.6, 2 * k) for k in range(7)),
        *((-6 - 5.5 * k, -0.1 * k**2, 0.003, -0.5, 1.6, 0.6, 0) for k in range(3)),
        (28, 1.8, 0.110, -0.6, 1.3, 0.8, 70), (26.3, 0.2, 0.060, -0.6, 2.6, 1.4, 40),
        (-28.5, -1.6, 0.080, -0.6, 1.5, 1.0, 80), (-26.8, -3.4, 0.050, -0.6, 2.4, 1.5, 120),
        (24, 0.5, 0.28, -0.8, 7, 6, 0), (19, 2.2, 0.25, -0.9, 10, 7, 20), (14, -1.5, 0.18, -1.0, 12, 7, -10),
        (-24.5, -1, 0.26, -0.8, 7, 6.5, 0), (-19, -3, 0.24, -0.9, 10, 7, 15), (-14, 0.8, 0.18, -1.0, 12, 7, -15),
        (6, -0.5, 0.08, -1.2, 14, 6, 0), (-6, 0.5, 0.08, -1.2, 14, 6, 0),
    ])  # fmt: skip
    along, across, flux, alpha, major, minor, turn = galaxy.T
    jet = math.radians(112)  # position angle, north through east
    east = along * math.sin(jet) + across * math.cos(jet)
    north = along * math.cos(jet) - across * math.sin(jet)
    shape = np.stack([major * beam, minor * beam, jet + np.radians(turn)], -1)

    rng = np.random.default_rng(11)
    count = 20
    # Euclidean counts, N(>S) ~ S^-1.5, from 1.5 mJy: a few bright sources, and sources near the noise.
    background = np.minimum(1.5e-3 * (1 - rng.random(count)) ** (-1 / 1.5), 0.05)
    offsets = rng.uniform(-55, 55, (2, count))
    l, m = np.concatenate([[east, north], offsets], 1) * beam
    positions = offset_position(l, m, ra, dec)
    flux, alpha = np.concatenate([flux, background]), np.concatenate([alpha, np.full(count, -0.7)])
    return make_sky(*positions, flux, freq, alpha, np.concatenate([shape, np.zeros((count, 3))]))


def read_sky(name_or_path: str | Path, ra: float, dec: float, freq: float, beam: float) -> Sky:
    """Read the sky that `radrim simulate --sky` names.

    Parameters
    ----------
    name_or_path : str or Path
        'demo' (see `demo_sky`), 'point' (1 Jy at the phase centre), a FITS image [Jy/pixel], or a CSV catalogue with
        the columns ra_deg, dec_deg, i_jy and optionally q_jy, u_jy, v_jy, alpha, major_arcsec, minor_arcsec, pa_deg.
    ra, dec : float
        Phase centre [rad].
    freq : float
        Frequency of the fluxes [Hz].
    beam : float
        Resolution of the array [rad], the unit of the demo.

    Returns
    -------
    Sky

    Raises
    ------
    ConfigError
        The name is neither a known sky nor a file.
    InputError
        The file is neither an image nor a catalogue of this kind.
    """
    if name_or_path == "demo":
        return demo_sky(ra, dec, freq, beam)
    if name_or_path == "point":
        return make_sky(ra, dec, 1.0, freq)
    path = Path(name_or_path)
    if not path.is_file():
        raise ConfigError(f"The sky '{name_or_path}' is unknown, and no file of that name exists; write demo, point, "
                          "or name a FITS image in Jy/pixel or a CSV catalogue.")  # fmt: skip
    if path.suffix.lower() == ".csv":
        return _read_catalogue(path, freq)
    none = np.zeros(0)
    return make_sky(none, none, none, freq, image=_read_image(path))


def _read_catalogue(path, freq):
    try:
        with open(path, newline="") as stream:
            rows = list(csv.DictReader(line for line in stream if not line.startswith("#")))

        def column(name, default=None):
            return np.array([float(row[name] if default is None else row.get(name) or default) for row in rows])

        stokes = np.stack([column("i_jy"), *(column(f"{s}_jy", 0.0) for s in "quv")], -1)
        major = column("major_arcsec", 0.0) * ARCSEC
        minor = column("minor_arcsec", 0.0) * ARCSEC
        shape = np.stack([major, minor, np.radians(column("pa_deg", 0.0))], -1)
        ra, dec = np.radians(column("ra_deg")), np.radians(column("dec_deg"))
        return make_sky(ra, dec, stokes, freq, column("alpha", 0.0), shape)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not a catalogue of sources ({error}): it must be a CSV file with the columns "
                         "ra_deg, dec_deg and i_jy, all numbers.") from None  # fmt: skip


def _read_image(path):
    from radrim.write.fits_input import read_fits, reading

    file = read_fits(path, str(path))
    with reading(str(path)):
        pixels = np.squeeze(np.array(file.data, float))
    steps = [math.radians(file.number(f"CD{axis}_{axis}", file.number(f"CDELT{axis}", 0.0))) for axis in (1, 2)]
    if pixels.ndim != 2 or not all(steps) or not math.isclose(*np.abs(steps), rel_tol=1e-6):
        raise InputError(f"{path} has the shape {pixels.shape} and pixels of {np.degrees(steps)} degrees; a sky must "
                         "be one plane of square pixels, whose size CDELT1 and CDELT2 give in degrees.")  # fmt: skip
    if "BEAM" in file.text("BUNIT").upper():
        raise InputError(
            f"{path} is in {file.text('BUNIT')}; a sky must be in Jy/pixel: give a model, not a restored image."
        )
    _check_axes(file)
    if steps[0] > 0:
        pixels = pixels[:, ::-1]
    if steps[1] < 0:
        pixels = pixels[::-1]
    # Padding an odd size at its beginning keeps the centre pixel at size // 2.
    pad = [(size % 2, 0) for size in pixels.shape]
    return SkyImage(np.pad(np.nan_to_num(pixels), pad), abs(steps[0]))


def _check_axes(file):
    """Refuse images whose rows are not of one declination; say where other coordinates than J2000 are not used."""
    kinds = [file.text(f"CTYPE{axis}").upper() for axis in (1, 2)]
    if kinds[0].startswith("DEC") or kinds[1].startswith("RA-"):
        raise InputError(
            f"{file.what} has the axes '{kinds[0]}' and '{kinds[1]}'; right ascension must be the first one."
        )
    equatorial = all(kind.startswith(("RA-", "DEC-")) for kind in kinds)
    if any(kinds) and not (equatorial and file.is_j2000):
        named = f"{file.frame} {file.equinox:g}" if equatorial else " and ".join(kinds)
        log.warning(
            "%s has coordinates of %s, which are not used: its middle is put at the phase centre, and its columns "
            "along the meridian of J2000.", file.what, named,
        )  # fmt: skip

"""Models for self-calibration: predicts the visibilities of model images, or of a simple source as a start."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from scipy.special import j1

from radrim.angles import parse_angle
from radrim.errors import ConfigError, InputError
from radrim.geometry import C, ImageGrid, axes
from radrim.read.pointings import lengthen
from radrim.sky.catalogue import Sky, predict, read_sky

SHAPES = ("point", "gauss", "disc")


class SourceModel(Protocol):
    """A model of the sky that gains are solved against."""

    def predict(self, uvw: np.ndarray, freq: np.ndarray) -> np.ndarray:
        """Visibilities (row, chan) [Jy] of baselines (row, 3) [m] at frequencies (chan,) [Hz]."""

    def scaled(self, flux: float) -> "SourceModel":
        """The model with the flux of the data [Jy], if the model leaves its flux open; else the model itself."""


class ImageModel:
    """Model images, one for each output channel.

    Parameters
    ----------
    planes : list of (float, (y, x) float32)
        Frequency in the output frame [Hz] and model [Jy/pixel].
    grid : ImageGrid
    kind : str
        Operator, see `radrim.operator.make_operator`.
    epsilon : float
    threads : int
    position : (float, float), optional
        Phase centre of the visibilities (ra, dec) [rad], if it is not that of the grid.
    """

    def __init__(
        self,
        planes: Sequence[tuple[float, np.ndarray]],
        grid: ImageGrid,
        kind: str = "auto",
        epsilon: float = 1e-4,
        threads: int = 1,
        position: tuple[float, float] | None = None,
    ):
        self._freq = np.array([freq for freq, _ in planes])
        self._images = [np.ascontiguousarray(image, np.float32) for _, image in planes]
        self._grid, self._kind, self._how = grid, kind, (epsilon, threads)
        self._turn = None if position in (None, (grid.ra, grid.dec)) else axes(grid.ra, grid.dec) @ axes(*position).T

    @property
    def flux(self) -> float:
        """Sum of the absolute pixels, of all planes [Jy]: 0 for an empty model."""
        return float(sum(np.abs(image).sum(dtype=np.float64) for image in self._images))

    def predict(self, uvw: np.ndarray, freq: np.ndarray) -> np.ndarray:
        """Visibilities (row, chan) complex64 [Jy]; each channel uses the nearest plane."""
        import torch

        from radrim.operator import make_operator

        out = np.empty((len(uvw), len(freq)), np.complex64)
        nearest = np.abs(freq[:, None] - self._freq).argmin(1)
        turned = uvw if self._turn is None else uvw @ self._turn.T
        for number in np.unique(nearest):
            channels = np.flatnonzero(nearest == number)
            channels = channels[np.argsort(freq[channels], kind="stable")]  # operators need ascending channels
            operator = make_operator(self._kind, turned, freq[channels], self._grid, *self._how)
            out[:, channels] = operator.forward(torch.from_numpy(self._images[number])).numpy()
        if self._turn is not None:
            lengthen(out, turned[:, 2] - uvw[:, 2], freq)
        return out

    def scaled(self, flux: float) -> "ImageModel":  # noqa: ARG002 - an image has its own flux
        """The model itself, whose flux is known."""
        return self


@dataclass(frozen=True)
class CalibratorModel:
    """A source at the phase centre.

    Parameters
    ----------
    kind : str
        'point', 'gauss', 'disc', or 'image' (see `path`).
    size : float
        FWHM or diameter [rad].
    flux : float or None
        [Jy]; None takes the flux from the data.
    path : str
        FITS image [Jy/pixel].
    """

    kind: str
    size: float = 0.0
    flux: float | None = None
    path: str = ""

    def at(self, ra: float, dec: float) -> SourceModel:
        """The source at a phase centre [rad].

        Raises
        ------
        InputError
            The FITS image cannot be read, is empty, or belongs to another phase centre.
        """
        if self.kind != "image":
            return _Unscaled(self.kind, self.size) if self.flux is None else _Shape(self.kind, self.size, self.flux)
        _check_centre(self.path, ra, dec)
        sky = read_sky(self.path, ra, dec, 1.0, 1.0)
        if sky.image is None or not np.any(sky.image.pixels):
            raise InputError(f"--start-model {self.path} is 0 everywhere; give an image with a source, or point.")
        return _Sky(sky, ra, dec)


@dataclass(frozen=True)
class _Shape:
    kind: str
    size: float
    flux: float = 1.0

    def predict(self, uvw: np.ndarray, freq: np.ndarray) -> np.ndarray:
        radius = np.hypot(uvw[:, 0], uvw[:, 1])[:, None] * (freq / C)
        if self.kind == "disc":
            turn = math.pi * self.size * radius
            shape = np.where(turn > 0, 2 * j1(turn) / np.where(turn > 0, turn, 1), 1)
        else:  # a point is a Gaussian of width 0
            shape = np.exp(-((math.pi * self.size * radius) ** 2) / (4 * math.log(2)))
        return (self.flux * shape).astype(np.complex64)

    def scaled(self, flux: float) -> "_Shape":  # noqa: ARG002 - the flux is given
        return self


class _Unscaled(_Shape):
    """A shape whose flux follows from the data."""

    def scaled(self, flux: float) -> _Shape:
        """The shape with a flux [Jy]."""
        return _Shape(self.kind, self.size, flux)


@dataclass(frozen=True)
class _Sky:
    sky: Sky
    ra: float
    dec: float

    def predict(self, uvw: np.ndarray, freq: np.ndarray) -> np.ndarray:
        rising = np.argsort(freq, kind="stable")
        out = np.empty((len(uvw), len(freq)), np.complex64)
        out[:, rising] = predict(self.sky, uvw, freq[rising], self.ra, self.dec)[..., 0]
        return out

    def scaled(self, flux: float) -> "_Sky":  # noqa: ARG002 - an image has its own flux
        return self


def parse_start_model(text: str) -> CalibratorModel:
    """A `CalibratorModel` from its description.

    Parameters
    ----------
    text : str
        'point', 'point:2.5' (Jy), 'gauss:40uasec', 'disc:40uasec:0.6', or the name of a FITS image.

    Raises
    ------
    ConfigError
        The text is none of these.
    """
    kind, *rest = str(text).split(":")
    if kind not in SHAPES:
        if not str(text).lower().endswith((".fits", ".fit", ".fits.gz")):
            raise ConfigError(
                f"--start-model '{text}' is unknown: write point, point:2.5 (in Jy), gauss:40uasec, disc:40uasec:0.6, "
                "or name a FITS image in Jy/pixel."
            )
        return CalibratorModel("image", path=str(text))
    model = CalibratorModel(kind)
    if kind != "point":
        if not rest:
            raise ConfigError(f"--start-model {kind} needs its size, such as {kind}:40uasec.")
        model = replace(model, size=parse_angle(rest.pop(0), "--start-model"))
    try:
        flux = float(rest.pop(0)) if rest else None
    except ValueError:
        flux = math.nan
    if rest or (flux is not None and not 0 < flux < math.inf) or model.size < 0:
        raise ConfigError(f"--start-model '{text}': size and flux must be positive, such as {kind}:40uasec:0.6 (Jy).")
    return replace(model, flux=flux)


def _check_centre(path, ra, dec):
    """Raise InputError if the header of a FITS image gives another phase centre. Images without one are accepted."""
    from radrim.write.fits_input import read_fits

    file = read_fits(path, f"--start-model {path}")
    if file.value("CRVAL1") is None or file.value("CRVAL2") is None or not file.text("CTYPE1").upper().startswith("RA"):
        return
    if not file.is_j2000:
        raise InputError(
            f"--start-model {path} has coordinates of {file.frame} {file.equinox:g}; only J2000 and ICRS are "
            "understood. Reproject it first, or remove CTYPE1 and CTYPE2 if its middle is the phase centre."
        )
    there = [math.radians(file.number(f"CRVAL{axis}", 0.0)) for axis in (1, 2)]
    east = (there[0] - ra + math.pi) % (2 * math.pi) - math.pi
    apart = math.hypot(east * math.cos(dec), there[1] - dec)
    pixel = math.radians(abs(file.number("CDELT2", 0.0)))
    if apart > pixel:
        raise InputError(
            f"--start-model {path} is centred {apart / max(pixel, 1e-300):.3g} of its pixels away from the phase "
            "centre; make it around the phase centre of the field."
        )

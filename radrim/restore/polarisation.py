"""Step 5, restore: intensity and angle of linear polarisation, from images of Stokes Q and U.

The intensity sqrt(Q^2 + U^2) is positive even for noise alone. The estimate of Wardle & Kronberg,
sqrt(Q^2 + U^2 - sigma^2) with sigma the noise of Q and of U, is right to a few per cent above three times the noise.
Below, it remains biased, and it is 0 where the root is of a negative number. The angle is that of the electric vector,
1/2 atan2(U, Q), north through east (IAU 1973), where the intensity is above 3 times the noise.

References
----------
Wardle & Kronberg (1974), ApJ 194, 249; Simmons & Stewart (1985), A&A 142, 100 (its error); IAU (1973), Trans. IAU 15B,
166 (Stokes parameters).
"""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import DTypeLike

from radrim.geometry import ImageGrid
from radrim.products import label_of
from radrim.result import Channels, Image, Linear, Stokes
from radrim.visibilities import Observation

KINDS = ("image", "image_pb", "angle")
"""Maps, in the order of their files NAME-P-image, NAME-P-image-pb and NAME-angle."""


@dataclass(frozen=True)
class PolarisationSettings:
    """Where angles of polarisation are given."""

    certain: float = 3.0
    """Least intensity at which the angle is given [noise]. The angle is uncertain by 10 degrees there."""


def polarised_intensity(q: np.ndarray, u: np.ndarray, noise: float | np.ndarray) -> np.ndarray:
    """Polarised intensity, corrected for its bias (Wardle & Kronberg 1974), float32.

    Parameters
    ----------
    q, u : (y, x) array
        [Jy/beam]
    noise : float
        Noise of each [Jy/beam].
    """
    square = np.asarray(q, np.float64) ** 2 + np.asarray(u, np.float64) ** 2 - noise**2
    return np.sqrt(np.maximum(square, 0)).astype(np.float32)  # NaN stays NaN


def polarisation_angle(q: np.ndarray, u: np.ndarray, noise: float) -> np.ndarray:
    """Angle of the electric vector, north through east, float32 [degrees], above -90 and at most 90.

    NaN where the intensity is below 3 times the noise (`PolarisationSettings.certain`); parameters as in
    `polarised_intensity`.
    """
    angle = np.degrees(0.5 * np.arctan2(np.asarray(u, np.float64), np.asarray(q, np.float64)))
    known = polarised_intensity(q, u, noise) >= PolarisationSettings.certain * noise
    return np.where(known, angle, np.nan).astype(np.float32)


class LinearMap:
    """A map of polarisation whose rows are computed on access, so that it can be larger than the memory.

    Parameters
    ----------
    kind : str
        Of `KINDS`.
    q, u : (y, x) array
        Images of the same kind; for 'angle' those that are not divided by the primary beam [Jy/beam].
    noise : float
        Noise of each before any division by the primary beam [Jy/beam].
    pb : (y, x) array, optional
        Primary beam, for 'image_pb', by which the noise is divided.
    """

    def __init__(self, kind: str, q: np.ndarray, u: np.ndarray, noise: float, pb: np.ndarray | None = None):
        self._kind, self._q, self._u, self._noise, self._pb = kind, q, u, noise, pb
        self.shape = q.shape

    def __getitem__(self, rows: slice) -> np.ndarray:
        q, u = self._q[rows], self._u[rows]
        if self._kind == "angle":
            return polarisation_angle(q, u, self._noise)
        if self._pb is None:
            return polarised_intensity(q, u, self._noise)
        # Where the beam is 0 the images are NaN.
        return polarised_intensity(q, u, self._noise / np.maximum(self._pb[rows], 1e-9))

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)


class LinearChannels:
    """Maps of polarisation from images of Stokes Q and U; it reads like `Channels`.

    Parameters
    ----------
    q, u : Channels
        Deconvolved.

    Attributes
    ----------
    headers : list of Image
        One for each of `q`, without arrays and paths; the noise is the rms of that of Q and U.
    kinds : list of str
        The `KINDS` that the images allow.
    """

    def __init__(self, q: Channels, u: Channels):
        self._q, self._u = q, u
        self.headers = [self._join(*pair) for pair in zip(q.headers, u.headers, strict=True)]
        self.kinds = [kind for kind in KINDS if kind == "angle" or kind in q.headers[0].paths]

    def plane(self, number: int, kind: str) -> LinearMap:
        """One kind of map of one channel."""
        of = "image" if kind == "angle" else kind
        pb = self._q.plane(number, "pb") if kind == "image_pb" else None
        planes = self._q.plane(number, of), self._u.plane(number, of)
        return LinearMap(kind, *planes, self.headers[number].noise, pb)

    @staticmethod
    def _join(q: Image, u: Image) -> Image:
        noise = float(np.sqrt((q.noise**2 + u.noise**2) / 2))
        facts = {**q.facts, "debias": "sqrt(Q^2+U^2-s^2)", "certain": PolarisationSettings.certain}
        return replace(q, label=label_of(q.channel, "P"), stokes="P", noise=noise, facts=facts, paths={}, plane=0)


class LinearWriter(Protocol):
    """Writes maps of linear polarisation; see `radrim.output.Output`."""

    def write_linear(
        self, channels: LinearChannels, grid: ImageGrid, observation: Observation, together: bool = False
    ) -> None:
        """Write the maps of each channel, or all channels in one cube."""


def write_linear(
    stokes: Stokes, output: LinearWriter, grid: ImageGrid, observation: Observation, together: bool
) -> Linear | None:
    """Write the maps of a run; None unless it has deconvolved Stokes Q and U.

    Parameters
    ----------
    stokes : Stokes
    output : Output
    grid, observation
        As `Output.write_images` takes them.
    together : bool
        Write the maps of output channels into one cube of each kind.
    """
    if not {"Q", "U"} <= set(stokes) or not stokes.headers[0].stop:
        return None
    whole = LinearChannels(stokes.pick("Q"), stokes.pick("U"))
    output.write_linear(whole, grid, observation)
    if whole.headers[0].channel:
        output.write_linear(LinearChannels(stokes.channels["Q"], stokes.channels["U"]), grid, observation, together)
    return Linear(whole.headers[0].noise, whole.headers[0].paths)

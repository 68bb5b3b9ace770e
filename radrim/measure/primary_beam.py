"""The primary beam: how much of a source the antennas see, by how far from its direction they point.

All antennas are alike and round, and the beam is real: the power pattern of one is what a baseline sees. ``airy`` is a
dish that is illuminated evenly and has no hole, (2 J1(pi x) / (pi x))^2 with x = D sin(theta) / wavelength: half as
strong at a width of 1.029 wavelength / D, first null at 1.22. ``gauss`` is a Gaussian with a width (FWHM) of 1.13
wavelength / D, which ALMA measured for its tapered dishes. The other patterns were measured for one telescope each
(`radrim.measure.beams.telescopes`); ``auto`` is that of the data's telescope, or ``airy`` if it is not there.

References
----------
Born & Wolf (1999), Principles of Optics, section 8.5.2 (Airy's pattern); ALMA Technical Handbook, "Single-dish
Response" (1.13, and 10.7 m in CASA).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from radrim.config.options import ImageConfig
from radrim.errors import ConfigError
from radrim.geometry import C, ImageGrid, n_minus_1
from radrim.measure.beams.telescopes import DIPOLES, TELESCOPES, find_telescope
from radrim.units import band
from radrim.visibilities import Observation, Visibilities


class RestoredImage(Protocol):
    """An image that is given its primary beam, such as `radrim.result.Image`."""

    image: np.ndarray | None
    pb: np.ndarray | None
    image_pb: np.ndarray | None


@dataclass(frozen=True)
class PrimaryBeamSettings:
    """How primary beams are computed."""

    gauss_width: float = 1.13
    """FWHM of the Gaussian [wavelength / D]."""
    step: float = 5e-4
    """Step of the table of a pattern [wavelength / D]: linear interpolation is then exact to 2e-7."""
    max_parts: int = 32
    """Parts of a band within which the pattern's width counts as constant."""
    strip: int = 1 << 20
    """Pixels that are computed at once. Larger strips gain no time."""
    max_diameter_ratio: float = 1.01
    """Largest ratio of the diameters of one kind of antenna."""


def airy(x: np.ndarray) -> np.ndarray:
    """Power of an evenly illuminated dish; `x` is sin(theta) in units of wavelength / D, an array."""
    turned = np.pi * np.maximum(x, 1e-9)
    from scipy.special import j1

    return (2 * j1(turned) / turned) ** 2


def gauss(x: np.ndarray) -> np.ndarray:
    """Gaussian power with a FWHM of `PrimaryBeamSettings.gauss_width`; `x` as in `airy`."""
    return np.exp(-4 * np.log(2) * (np.asarray(x) / PrimaryBeamSettings.gauss_width) ** 2)


PATTERNS = {"airy": airy, "gauss": gauss}
"""Patterns that depend on sin(theta) in units of wavelength / D alone."""


@dataclass(frozen=True)
class Dishes:
    """What the antennas are taken for.

    Parameters
    ----------
    pattern : str
        A key of `PATTERNS` or of `TELESCOPES`.
    diameter : float
        [m]
    limit : float
        Primary beam below which a corrected image is NaN.
    """

    pattern: str
    diameter: float
    limit: float

    def power(self, freq: float, sine: np.ndarray) -> np.ndarray:
        """Power, 1 in the middle, at a frequency [Hz] and sines of angles from there (n,)."""
        if self.pattern in PATTERNS:
            return PATTERNS[self.pattern](sine * (self.diameter * freq / C))
        return TELESCOPES[self.pattern].power(freq, sine, self.diameter)

    def describe(self) -> str:
        """The pattern and its source, for the log."""
        if self.pattern in PATTERNS:
            return f"{self.pattern}, of antennas of {self.diameter:g} m"
        return f"{self.pattern}, {TELESCOPES[self.pattern].source}"

    def beam(self, blocks: Sequence[Visibilities]) -> "PrimaryBeam":
        """The `PrimaryBeam` of blocks of one pointing, each channel counted by its imaging weight."""
        freq = np.concatenate([block.freq for block in blocks])
        weight = np.concatenate([block.weight.sum(0, dtype=np.float64) for block in blocks])
        return PrimaryBeam(self, freq, weight, tuple(blocks[0].pointing.tolist()))

    def correct(self, image: np.ndarray, pb: np.ndarray) -> np.ndarray:
        """Image over primary beam, (y, x) float32; NaN where the beam is below the limit."""
        seen = pb >= self.limit
        return np.where(seen, image / np.where(seen, pb, 1), np.nan).astype(np.float32)

    def add(self, image: RestoredImage, pb: np.ndarray) -> None:
        """Give an `Image` its primary beam, (y, x) float32, and where it was deconvolved the corrected image."""
        image.pb = pb
        if image.image is not None:
            image.image_pb = self.correct(image.image, pb)


@dataclass(frozen=True)
class PrimaryBeam:
    """The primary beam of one pointing, averaged over a band: what a source with a flat spectrum loses.

    Parameters
    ----------
    dishes : Dishes
    freq, weight : (chan,) float64
        Channels [Hz], and how much each counts.
    pointing : (float, float)
        Direction cosines (l, m) of where the antennas point, from the phase centre.
    """

    dishes: Dishes
    freq: np.ndarray
    weight: np.ndarray
    pointing: tuple[float, float] = (0.0, 0.0)

    def at(self, sine: np.ndarray) -> np.ndarray:
        """Power, 1 in the middle, of the sines of angles from there; an array of any shape, float64."""
        diameter = self.dishes.diameter
        table = (
            np.arange(int(sine.max(initial=0.0) * diameter * self.freq.max() / C / PrimaryBeamSettings.step) + 2)
            * PrimaryBeamSettings.step
        )
        table *= C / self.freq.max() / diameter
        power = sum(weight * self.dishes.power(freq, table) for freq, weight in self._parts)
        return np.interp(sine, table, power)

    @property
    def _parts(self):
        """A few frequencies that stand for all, each with its share of the weight."""
        order = np.argsort(self.freq)
        total = self.weight.sum(dtype=np.float64)
        for part in np.array_split(order, min(PrimaryBeamSettings.max_parts, len(order))):
            if (weight := self.weight[part].sum(dtype=np.float64)) > 0:
                yield np.average(self.freq[part], weights=self.weight[part]), weight / total

    def image(self, grid: ImageGrid) -> np.ndarray:
        """The beam on a grid, (y, x) float32; 0 from 90 degrees on.

        Parameters
        ----------
        grid : ImageGrid
            Also a window of a larger one.
        """
        out = np.empty(grid.shape, np.float32)
        l, m = grid.l()[None, :], grid.m()[:, None]
        l0, m0 = self.pointing
        rows = max(1, PrimaryBeamSettings.strip // grid.width)
        for start in range(0, grid.height, rows):
            part = m[start : start + rows]
            # The chord between two directions is exact also where the cosine of a small angle is not.
            step = n_minus_1(l, part) - n_minus_1(l0, m0)
            chord = (l - l0) ** 2 + (part - m0) ** 2 + step**2
            ahead = chord < 2  # below the horizon the chord is NaN
            sine = np.sqrt(np.where(ahead, chord * (1 - chord / 4), 0))
            out[start : start + rows] = np.where(ahead, self.at(sine), 0)
        return out


def choose_dishes(config: ImageConfig, observation: Observation) -> Dishes | None:
    """What the options and the data say about the antennas; None without --pb.

    Raises
    ------
    ConfigError
        The diameter is unknown, or there are several, and the options do not say it; the telescope's beam is not known
        at the data's frequencies; or the telescope is an array of dipoles.
    """
    if config.pb == "none":
        return None
    pattern = config.pb
    if pattern == "auto":
        pattern = _pattern_of(observation, config.dish_diameter)
    if pattern in TELESCOPES:
        telescope, freq = TELESCOPES[pattern], observation.frequencies
        if not telescope.covers(freq):
            raise ConfigError(
                f"--pb {config.pb}: the beam of {pattern} is known for {telescope.describe_bands()}, and these data "
                f"are at {band(*freq[[0, -1]])}. Use --pb airy, or select what it covers with --spw or --chan-range."
            )
        diameter = config.dish_diameter or telescope.diameter
        if pattern == "alma" and config.dish_diameter is None:
            diameter = _one_diameter(config, observation)
        return Dishes(pattern, diameter, config.pb_limit)
    return Dishes(pattern, _one_diameter(config, observation), config.pb_limit)


def _pattern_of(observation, diameter):
    """The pattern of --pb auto."""
    if observation.telescope.upper().startswith(DIPOLES):
        raise ConfigError(
            f"--pb auto: {observation.telescope} is an array of dipoles, whose beam is not round and changes with "
            "time; radrim has none. Image without --pb, and correct with the observatory's tool."
        )
    telescope = find_telescope(observation.telescope) if diameter is None else None
    return telescope.name if telescope else "airy"


def _one_diameter(config, observation):
    """Diameter of the antennas, if there is one for all [m]."""
    if config.dish_diameter is None and not observation.dishes:
        raise ConfigError(
            f"--pb {config.pb} needs the diameter of the antennas, and DISH_DIAMETER in the Measurement Set is 0: "
            "give it with --dish-diameter METRES."
        )
    if config.dish_diameter is None and max(observation.dishes) > PrimaryBeamSettings.max_diameter_ratio * min(
        observation.dishes
    ):
        raise ConfigError(
            f"--pb {config.pb} needs antennas that are all alike, and these have diameters of "
            f"{', '.join(f'{d:g}' for d in observation.dishes)} m: give one for all with --dish-diameter METRES, or "
            "image a Measurement Set of one kind of antenna."
        )
    return config.dish_diameter or float(np.median(observation.dishes))

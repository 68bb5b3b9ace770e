"""Step 5, restore: which beam an image is restored with, and the restored image.

By default the beam is the fit to the PSF. Other beams can be asked for: a given one, a circle, the theoretical one, or
one that is common to all output channels. The residual is in units of the PSF's beam. Where the other beam contains
that beam, the residual is smoothed to it, as CASA does, so that flux that was not deconvolved keeps its value; where it
does not, the residual is added as it is, as WSClean does for all.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol

import numpy as np

from radrim.beam import Beam, beam_of, covariance_of, fit_beam, reach, restore, smooth
from radrim.errors import ConfigError
from radrim.geometry import format_angle

log = logging.getLogger("radrim")


@dataclass(frozen=True)
class CommonBeamSettings:
    """How the common beam of many is found."""

    tolerance: float = 1e-9
    """Relative excess of a beam over the common one at which it counts as contained."""
    rounds: int = 200
    """Largest number of rounds. Each adds the beams that stick out most; a few dozen are enough for thousands."""
    margin: float = 1e-6
    """Relative excess of one beam over another at which the other still counts as containing it."""


class BeamOptions(Protocol):
    """The options on the restoring beam; see `radrim.config.options.ImageConfig`."""

    @property
    def beam_fit(self) -> str:
        """Part of the PSF that is fitted."""

    @property
    def beam_shape(self) -> tuple[float, float, float] | None:
        """Major and minor axis and position angle [rad]."""

    @property
    def beam_size(self) -> float | None:
        """Width of a circle [rad]."""

    @property
    def circular_beam(self) -> bool:
        """Whether the minor axis becomes the major one."""

    @property
    def theoretic_beam(self) -> bool:
        """Whether the beam is that of the longest baseline."""


def given_beam(options: BeamOptions) -> Beam | None:
    """The beam that the options give in full; None without one."""
    if options.beam_shape is not None:
        return Beam(*options.beam_shape)
    return Beam(options.beam_size, options.beam_size, 0.0) if options.beam_size is not None else None


def check_beam(options: BeamOptions, scale: float) -> None:
    """Raise ConfigError for a given beam that is narrower than a pixel of `scale` [rad]."""
    beam = given_beam(options)
    if beam is not None and beam.minor < scale:
        raise ConfigError(
            f"The beam {beam} is narrower than a pixel ({format_angle(scale)}), which cannot show it: give a wider one "
            "with --beam-shape or --beam-size, or a smaller --scale."
        )


def choose_beam(options: BeamOptions, psf: np.ndarray, scale: float, estimate: float) -> tuple[Beam, Beam]:
    """The restoring beam, and the beam of the PSF.

    Parameters
    ----------
    options : ImageConfig
    psf : (y, x) array
        See `radrim.beam.fit_beam`.
    scale : float
        Pixel size [rad].
    estimate : float
        See `radrim.beam.theoretical_beam` [rad].
    """
    fitted = fit_beam(psf, scale, estimate, options.beam_fit)
    beam = given_beam(options)
    if beam is None and options.theoretic_beam:
        beam = Beam(max(estimate, scale), max(estimate, scale), 0.0)
    if beam is None:
        return circle(fitted) if options.circular_beam else fitted, fitted
    if not contains(beam, fitted):
        log.warning(
            "The restoring beam %s does not contain that of the PSF, %s: the residual is added as it is, and what was "
            "not deconvolved has another resolution than the model.", beam, fitted
        )  # fmt: skip
    return beam, fitted


def circle(beam: Beam) -> Beam:
    """The smallest circle that contains a beam."""
    return Beam(beam.major, beam.major, 0.0)


def contains(beam: Beam, other: Beam, margin: float = CommonBeamSettings.margin) -> bool:
    """Whether an image with the beam `other` can be smoothed to `beam`."""
    half = np.linalg.inv(np.linalg.cholesky(covariance_of(beam)))
    return bool(np.linalg.eigvalsh(half @ covariance_of(other) @ half.T)[-1] <= 1 + margin)


def restored(
    model: np.ndarray, residual: np.ndarray, beam: Beam, fitted: Beam, scale: float, threads: int = 1
) -> np.ndarray:
    """The model, smoothed to a beam, plus the residual, smoothed as far as it can be.

    Parameters
    ----------
    model : (y, x) float32
        [Jy/pixel]
    residual : (y, x) float32
        [Jy/beam of `fitted`]
    beam, fitted : Beam
        Restoring beam, and that of the PSF.
    scale : float
        Pixel size [rad].
    threads : int

    Returns
    -------
    (y, x) float32
        [Jy/beam]
    """
    if beam != fitted and contains(beam, fitted):
        residual = smooth(residual, fitted, beam, scale, threads)
    return residual + restore(model, beam, scale, threads)


@dataclass(frozen=True)
class RestoredRows:
    """A restored image that is computed when its rows are asked for; see `radrim.write.fits.Rows`.

    Parameters
    ----------
    model, residual : (y, x) array
        Also memory-mapped.
    beam, fitted, scale, threads
        As `restored` takes them.
    """

    model: np.ndarray
    residual: np.ndarray
    beam: Beam
    fitted: Beam
    scale: float
    threads: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """(y, x)."""
        return self.model.shape

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Some rows, from those within reach of the beam."""
        start, stop, _ = rows.indices(self.shape[0])
        margin = reach(self.beam, self.scale)[0]
        low, high = max(0, start - margin), min(self.shape[0], stop + margin)
        model, residual = (np.asarray(one[low:high], np.float32) for one in (self.model, self.residual))
        found = restored(model, residual, self.beam, self.fitted, self.scale, self.threads)
        return found[start - low : stop - low]


def common_beam_of(beams: Sequence[Beam], settings: CommonBeamSettings = CommonBeamSettings()) -> Beam:
    """The beam of smallest area that all images can be smoothed to.

    Beams are ellipses around one centre, and a beam can be smoothed to another one if its ellipse lies within. The
    smallest ellipse around all of them touches them at two or three points (and their opposites). These are found by
    adding, round by round, the point of all ellipses that lies furthest outside: the area rises until none does.

    Parameters
    ----------
    beams : sequence of Beam
        At least one.
    settings : CommonBeamSettings

    Returns
    -------
    Beam

    References
    ----------
    Boyd & Vandenberghe (2004), Convex Optimization, section 8.4.1 (the ellipsoid of least volume around a set).
    """
    shapes = np.unique([covariance_of(beam) for beam in beams], axis=0)
    unit = float(shapes.max())
    shapes = shapes / unit
    widest = shapes[np.linalg.det(shapes).argmax()]
    points = np.linalg.cholesky(widest).T  # ends of conjugate diameters: their smallest ellipse is the widest beam
    found = widest
    for _ in range(settings.rounds):
        half = np.linalg.inv(np.linalg.cholesky(found))
        excess, axes = np.linalg.eigh(half @ shapes @ half.T)
        worst = int(excess[:, -1].argmax())
        if excess[worst, -1] <= 1 + settings.tolerance:
            break
        # The point of the ellipse that lies furthest outside, back in the coordinates of the sky.
        direction = half.T @ axes[worst, :, -1]
        point = shapes[worst] @ direction / math.sqrt(direction @ shapes[worst] @ direction)
        found, points = _smallest_around(np.vstack([points, point]))
    half = np.linalg.inv(np.linalg.cholesky(found))
    found = found * max(1.0, float(np.linalg.eigvalsh(half @ shapes @ half.T).max()))
    return beam_of(found * unit)


def _smallest_around(points):
    """Covariance (2, 2) of the smallest centred ellipse around points (n, 2), and the points that it touches."""
    best, chosen = None, points
    for number in (2, 3):
        for some in combinations(range(len(points)), number):
            part = points[list(some)]
            if number == 2:
                inside = part.T @ part
            else:  # the ellipse x' A x = 1 through three points
                x, y = part.T
                terms = np.stack([x * x, 2 * x * y, y * y], 1)
                if abs(np.linalg.det(terms)) < 1e-14:
                    continue
                a, b, c = np.linalg.solve(terms, np.ones(3))
                if not (a > 0 and a * c > b * b):
                    continue
                inside = np.linalg.inv([[a, b], [b, c]])
            if np.linalg.det(inside) < 1e-14 or (best is not None and np.linalg.det(inside) >= np.linalg.det(best)):
                continue
            reached = np.einsum("ni,ij,nj->n", points, np.linalg.inv(inside), points)
            if reached.max() <= 1 + 1e-12:
                best, chosen = inside, part
    return (points.T @ points if best is None else best), chosen

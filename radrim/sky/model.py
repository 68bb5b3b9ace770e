"""Computes the visibilities of a model, whose planes can have several Stokes parameters and frequencies.

Visibilities are exact to the accuracy of the operators: each pixel is a point source at its direction, even if the
model and the field have different phase centres. Planes are not interpolated in frequency: each channel uses the plane
of the nearest frequency, as in the major cycles of `radrim image --channels-out` and in WSClean.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from radrim.errors import DataError, InputError
from radrim.geometry import axes
from radrim.operator import make_operator
from radrim.read.pointings import lengthen
from radrim.sky.images import Plane
from radrim.stokes import MIXTURES


@dataclass(frozen=True)
class ModelSettings:
    """How models are transformed."""

    single: float = 1e-5
    """Best accuracy of transforms in single precision. For better ones models are transformed in double precision."""


class SkyModel:
    """The planes of a model.

    Parameters
    ----------
    planes : sequence of Plane
        At least one.

    Raises
    ------
    InputError
        The model has both Stokes parameters and correlations, or the same plane twice.
    """

    def __init__(self, planes: Sequence[Plane]):
        self.planes = list(planes)
        self._parts: dict[Plane, tuple | None] = {}
        seen: dict[tuple, Plane] = {}
        for plane in planes:
            other = seen.setdefault((plane.stokes, plane.freq), plane)
            if other is not plane:
                raise InputError(
                    f"{other.path} and {plane.path} are both Stokes {plane.stokes} at {plane.freq / 1e6:.6g} MHz; "
                    "give only one of them."
                )
        self.stokes = list(dict.fromkeys(plane.stokes for plane in planes))
        physical = [name for name in self.stokes if name in "IQUV"]
        if physical and len(physical) < len(self.stokes):
            raise InputError(
                f"The model has Stokes {', '.join(physical)} and the correlations "
                f"{', '.join(name for name in self.stokes if name not in physical)}; give the one or the other."
            )

    def missing(self, correlations: Sequence[str]) -> list[str]:
        """The parallel hands among `correlations` that the model lacks."""
        return [name for name in correlations if name in ("XX", "YY", "RR", "LL", "I") and not self._mixture(name)]

    def _mixture(self, correlation, feed_angle=0.0):
        """The Stokes parameters of the model that contribute to a correlation, with their coefficients."""
        if correlation not in MIXTURES:
            raise DataError(f"Correlations {correlation}, of mixed feeds, cannot be predicted from Stokes parameters.")
        i, q, u, v = map(complex, MIXTURES[correlation])
        if feed_angle and correlation[0] in "XY":
            turn = 2 * feed_angle
            q, u = q * math.cos(turn) - u * math.sin(turn), q * math.sin(turn) + u * math.cos(turn)
        known = {"I": i, "Q": q, "U": u, "V": v} | {correlation: 1}
        return {name: known[name] for name in self.stokes if known.get(name)}

    def visibilities(
        self,
        uvw: np.ndarray,
        freq: np.ndarray,
        correlations: Sequence[str],
        position: tuple[float, float],
        epsilon: float = 1e-4,
        threads: int = 1,
        feed_angle: float = 0.0,
    ) -> np.ndarray:
        """Visibilities of the model.

        Parameters
        ----------
        uvw : (row, 3) float64
            [m]; finite.
        freq : (chan,) float64
            [Hz], in any order.
        correlations : sequence of str
            Such as 'XX', 'XY', or Stokes parameters.
        position : (float, float)
            Phase centre (ra, dec) [rad].
        epsilon : float
            Accuracy relative to the direct sum, see `radrim.operator.make_operator`.
        threads : int
        feed_angle : float
            Angle of the X receptors of linear feeds from north through east [rad].

        Returns
        -------
        (row, chan, corr) complex64
            [Jy]
        """
        out = np.zeros((len(uvw), len(freq), len(correlations)), np.complex64)
        mixtures = [self._mixture(name, feed_angle) for name in correlations]
        for stokes in self.stokes:
            planes = [plane for plane in self.planes if plane.stokes == stokes]
            nearest = _nearest(freq, np.array([plane.freq for plane in planes]))
            for number in np.unique(nearest):
                channels = np.flatnonzero(nearest == number)
                channels = channels[np.argsort(freq[channels])]  # operators need ascending channels
                seen = self._see(planes[number], uvw, freq[channels], position, epsilon, threads)
                if seen is None:
                    continue
                for index, mixture in enumerate(mixtures):
                    if stokes in mixture:
                        out[:, channels, index] += np.complex64(mixture[stokes]) * seen
        return out

    def _see(self, plane, uvw, freq, position, epsilon, threads):
        """Visibilities of a plane, (row, chan) complex; None if the plane is 0."""
        found = self._part(plane)
        if found is None:
            return None
        grid, pixels = found
        image = torch.from_numpy(pixels)
        turned = uvw
        if (grid.ra, grid.dec) != position:
            turned = uvw @ (axes(grid.ra, grid.dec) @ axes(*position).T).T
        operator = make_operator("auto", turned, freq, grid, epsilon, threads)
        seen = operator.forward(image.double() if epsilon < ModelSettings.single else image).numpy()
        if turned is not uvw:
            lengthen(seen, turned[:, 2] - uvw[:, 2], freq)
        return seen

    def _part(self, plane):
        """`Plane.part`, with the last plane cached, because successive chunks of rows use the same planes."""
        if plane not in self._parts:
            self._parts = {plane: plane.part()}
        return self._parts[plane]


def _nearest(freq, centres):
    """Index of the centre nearest to each frequency, (chan,); the lower one of two at the same distance."""
    if len(centres) == 1:
        return np.zeros(len(freq), int)
    order = np.argsort(centres)
    edges = (centres[order][1:] + centres[order][:-1]) / 2
    return order[np.searchsorted(edges, freq)]

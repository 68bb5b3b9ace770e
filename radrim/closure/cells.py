"""Visibilities averaged in cells of the uv plane, for images by relative entropy.

Samples of one baseline, in one stretch of time and one uv cell, are averaged. Cells are narrow enough that sources at
the edge of the field hardly lose flux. Whole stretches form folds, each of which can be kept out of a fit
(`radrim.measure.holdout`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from radrim.closure.quantities import colocated_of
from radrim.errors import DataError
from radrim.geometry import C
from radrim.measure.holdout import folds_of
from radrim.visibilities import Visibilities, row_slices


@dataclass(frozen=True)
class CellSettings:
    """How visibilities are averaged."""

    per_field: float = 4.0
    """Number of cells in 1 / field. A source at the edge of the field, half a field from the middle, loses 3 %."""


@dataclass
class CellVisibilities:
    """Averaged visibilities.

    Parameters
    ----------
    uvw : (sample, 3) float64
        [wavelengths]
    vis : (sample,) complex128
        [Jy]
    sigma : (sample,) float64
        Noise of the real and of the imaginary part [Jy].
    stretch : (sample,) int
        Number of the baseline's stretch of time: samples of different stretches do not share calibration errors.
    fold : (sample,) int
        Fold of the stretch; negative for the guess of `with_total`, which is never kept out.
    """

    uvw: np.ndarray
    vis: np.ndarray
    sigma: np.ndarray
    stretch: np.ndarray
    fold: np.ndarray

    def __len__(self) -> int:
        return len(self.vis)

    @property
    def colocated(self) -> np.ndarray:
        """Samples of baselines between neighbouring stations, (sample,) bool."""
        return colocated_of(self.uvw) & (self.fold >= 0)

    def with_noise(self, factor: float, systematic: float) -> "CellVisibilities":
        """The same with a noise of `factor` times the given one and `systematic` times the amplitude, in quadrature."""
        return replace(self, sigma=np.hypot(factor * self.sigma, systematic * np.abs(self.vis)))

    def with_total(self, flux: float, error: float) -> "CellVisibilities":
        """The same with a guess of the total flux and its error [Jy], as a visibility at u = v = 0."""
        values = (np.zeros((1, 3)), [flux + 0j], [error], [self.stretch.max() + 1], [-1])
        names = ("uvw", "vis", "sigma", "stretch", "fold")
        pairs = zip(names, values, strict=True)
        return CellVisibilities(*(np.concatenate([getattr(self, name), value]) for name, value in pairs))

    def part(self, which: np.ndarray) -> "CellVisibilities":
        """Some of the samples, by a mask (sample,) bool."""
        return CellVisibilities(*(getattr(self, name)[which] for name in ("uvw", "vis", "sigma", "stretch", "fold")))


def average_cells(
    blocks: Sequence[Visibilities], field: float, folds: int, settings: CellSettings = CellSettings()
) -> CellVisibilities:
    """Average the visibilities of blocks that are not kept out of the deconvolution.

    Parameters
    ----------
    blocks : sequence of Visibilities
        With natural weights, in `natural` or in `weight`.
    field : float
        Width of the field [rad].
    folds : int

    Raises
    ------
    DataError
        No sample has weight.
    """
    keys, sums = [], []
    for block, (stretch, fold) in zip(blocks, folds_of(blocks, folds), strict=True):
        out = np.zeros(len(block.uvw), bool)
        if block.kept_out is not None:
            out[block.kept_out.rows] = True
        weights = block.weight if block.natural is None else block.natural.weight
        for rows in row_slices(len(block.uvw)):
            weight = np.where(out[rows, None], 0, weights[rows]).astype(float)
            row, chan = np.nonzero(weight > 0)
            w = weight[row, chan]
            uvw = block.uvw[rows][row] * (block.freq[chan] / C)[:, None]
            vis = block.data[rows][row, chan].astype(complex)
            # Baselines in either direction are the same cell.
            turned = (uvw[:, 0] < 0) | ((uvw[:, 0] == 0) & (uvw[:, 1] < 0))
            uvw[turned], vis[turned] = -uvw[turned], vis[turned].conj()
            place = np.rint(uvw[:, :2] * field * settings.per_field).astype(np.int64)
            key = np.column_stack([stretch[rows][row], place, fold[rows][row]])
            found, which = np.unique(key, axis=0, return_inverse=True)
            keys.append(found)
            sums.append(_sums(which.ravel(), len(found), w, uvw, vis))
    found, which = np.unique(np.concatenate(keys), axis=0, return_inverse=True)
    total = np.zeros((len(found), 6))
    np.add.at(total, which.ravel(), np.concatenate(sums))
    if not len(total):
        raise DataError("No visibility has weight: nothing can be imaged.")
    weight = total[:, 0]
    mean = total[:, 1:] / weight[:, None]
    return CellVisibilities(mean[:, :3], mean[:, 3] + 1j * mean[:, 4], weight**-0.5, found[:, 0], found[:, 3])


def _sums(which, count, weight, uvw, vis):
    """Sums of weights, and of weighted u, v, w, real and imaginary part, (cell, 6)."""
    values = np.column_stack([np.ones(len(weight)), uvw, vis.real, vis.imag])
    return np.column_stack([np.bincount(which, weight * column, count) for column in values.T])


def least_cells(
    blocks: Sequence[Visibilities], field: float, enough: int, settings: CellSettings = CellSettings()
) -> int:
    """Number of uv cells of the rows of blocks at the middle of their bands, no larger than that of `average_cells`.

    Counting ends above `enough`: of large observations only the first rows are visited.
    """
    found = np.zeros((0, 2), np.int64)
    for block in blocks:
        for rows in row_slices(len(block.uvw)):
            used = (block.weight[rows] > 0).any(1)
            uv = block.uvw[rows][used, :2] * (block.freq[len(block.freq) // 2] / C)
            place = np.rint(np.where(uv[:, :1] < 0, -uv, uv) * field * settings.per_field).astype(np.int64)
            found = np.unique(np.concatenate([found, place]), axis=0)
            if len(found) > enough:
                return len(found)
    return len(found)

"""Step 3, measure, for a mosaic: several pointings, each behind its primary beam, as one linear problem.

Pointing p sees the sky I through its beam B_p: V_p = A_p B_p I. With W_p the sum of its weights, what all pointings
together know of a pixel is S = sum_p W_p B_p^2, and the effective primary beam is pb = sqrt(S / max S). The images are
those of the flat-noise sky pb I, as with a single pointing (where pb = B): with h_p = B_p / pb,

    D = sum_p h_p A_p^H W_p V_p / max S          dirty image
    V_p = A_p h_p M                              visibilities of a model M

M and D belong to pb I, noise is the same everywhere, a source of flux pb I has a peak of pb I, and D / pb is the sky.
Predictions are exact for each pointing, and so is every major cycle. The PSF of the minor cycle is the mean over
pointings, each counted by its weight.

References
----------
Cornwell, Holdaway & Uson (1993), A&A 271, 697; Sault, Staveley-Smith & Brouw (1996), A&AS 120, 375 (flat noise).
"""

import copy
import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from radrim.deconvolve.judge import Cells
from radrim.geometry import ImageGrid, format_angle, n_minus_1
from radrim.measure.fit_quality import FitInspector
from radrim.measure.measurement import DEFAULT, Measurement, OperatorChoice, judge_parts
from radrim.measure.primary_beam import Dishes
from radrim.visibilities import Observation, Visibilities

if TYPE_CHECKING:  # a dirty image needs no torch
    import torch

log = logging.getLogger("radrim")


@dataclass(frozen=True)
class MosaicSettings:
    """How pointings are combined."""

    min_beam: float = 1e-6
    """Smallest primary beam. Where no pointing sees anything they count alike, instead of 0 / 0."""


def pointings(blocks: Iterable[Visibilities]) -> list[tuple[float, float]]:
    """Different pointings (l, m) of blocks."""
    return list(dict.fromkeys(tuple(block.pointing.tolist()) for block in blocks))


def by_pointing(blocks: list[Visibilities]) -> list[list[Visibilities]]:
    """Blocks in groups of one pointing; pointings without any weight are left out."""
    groups: dict[tuple, list] = {pointing: [] for pointing in pointings(blocks)}
    if len(groups) == 1:
        return [blocks]
    for block in blocks:
        groups[tuple(block.pointing.tolist())].append(block)
    return [group for group in groups.values() if any(block.weight.any() for block in group)] or [blocks]


class Coverage:
    """How well the pointings of a mosaic see each pixel.

    Parameters
    ----------
    groups : list of list of Visibilities
        From `by_pointing`, with imaging weights.
    grid : ImageGrid
    dishes : Dishes

    Attributes
    ----------
    weights : list of float
        Sum of the weights of each pointing [Jy^-2].
    peak : float
        What the best pixel has of them, max S [Jy^-2].
    pb : (y, x) float32
        Effective primary beam, 1 at that pixel.
    """

    def __init__(self, groups, grid, dishes):
        self.weights = [float(sum(block.weight.sum(dtype=np.float64) for block in group)) for group in groups]
        self._beams, self._grid = [dishes.beam(group) for group in groups], grid
        square = sum(weight * self._beam(k).astype(np.float64) ** 2 for k, weight in enumerate(self.weights))
        self.peak = float(square.max())
        self.pb = np.sqrt(square / self.peak).astype(np.float32)

    def share(self, k: int) -> np.ndarray:
        """h_p of one pointing, (y, x) float32: its beam over the effective one."""
        return self._beam(k) / self.pb

    def _beam(self, k):
        return np.maximum(self._beams[k].image(self._grid), np.float32(MosaicSettings.min_beam))


class JointMeasurement:
    """The weighted visibilities of one output channel of a mosaic, as `radrim.measure.measurement.Measurement`.

    Parameters
    ----------
    groups, grid, dishes
        As `Coverage` takes them.
    operator : OperatorChoice
    """

    def __init__(
        self,
        groups: list[list[Visibilities]],
        grid: ImageGrid,
        dishes: Dishes | None,
        operator: OperatorChoice = DEFAULT,
    ):
        self.parts = [Measurement(group, grid, operator) for group in groups]
        self.coverage = Coverage(groups, grid, dishes)
        self.sum_weight = self.coverage.peak
        """What the best pixel has of the weights [Jy^-2]: the noise follows from it as from that of one pointing."""
        self.blocks = [block for part in self.parts for block in part.blocks]
        self.kind = " ".join(dict.fromkeys(part.kind for part in self.parts))
        self.device, self.left_noise, self.noise_factor = self.parts[0].device, float("nan"), 1.0
        self.channels = np.concatenate([part.channels for part in self.parts])
        self.freq = float(np.average([part.freq for part in self.parts], weights=self.coverage.weights))

    @property
    def samples(self) -> int:
        """Number of unflagged visibilities."""
        return sum(part.samples for part in self.parts)

    def psf(self, wide: bool = False) -> np.ndarray:
        """Mean point-spread function, (y, x) float32, exactly 1 in the middle; see `Measurement.psf`."""
        total = sum(self.coverage.weights)
        psf, *others = (np.float32(part.sum_weight / total) * part.psf(wide) for part in self.parts)
        for other in others:
            psf = psf + other
        return psf / psf[psf.shape[0] // 2, psf.shape[1] // 2]

    def dirty(self) -> np.ndarray:
        """Dirty image of the flat-noise sky, (y, x) float32 [Jy/beam]."""
        return sum(part.dirty() * self._back(k) for k, part in enumerate(self.parts))

    def residual(self, model: np.ndarray, inspector: FitInspector | None = None) -> np.ndarray:
        """Exact residual, (y, x) float32 [Jy/beam], of a model (y, x) of the flat-noise sky [Jy/pixel]."""
        total = np.zeros(model.shape, np.float32)
        for k, part in enumerate(self.parts):
            share = self.coverage.share(k)
            total += part.residual(share * model, inspector) * (share * np.float32(part.sum_weight / self.sum_weight))
        # The noise of the flat-noise sky is the same everywhere: that of the best pixel.
        power = sum((part.sum_weight * part.left_noise) ** 2 for part in self.parts)
        self.left_noise = math.sqrt(power / sum(self.coverage.weights) / self.sum_weight)
        return total

    def fitted(self) -> "JointMeasurement":
        """See `Measurement.fitted`; the effective primary beam stays that of all samples."""
        parts = [part.fitted() for part in self.parts]
        if all(one is part for one, part in zip(parts, self.parts, strict=True)):
            return self
        view = copy.copy(self)
        view.parts = parts
        view.sum_weight *= sum(part.sum_weight for part in parts) / sum(self.coverage.weights)
        return view

    def likelihood(self) -> "JointMeasurement":
        """See `Measurement.likelihood`; the sky stays that of flat noise with imaging weights."""
        parts = [part.likelihood() for part in self.parts]
        if all(one is part for one, part in zip(parts, self.parts, strict=True)):
            return self
        view = copy.copy(self)
        view.parts = parts
        weights = [sum(part.sum_weight for part in some) for some in (parts, self.parts)]
        view.sum_weight *= weights[0] / weights[1]
        view.noise_factor = float(np.average([part.noise_factor for part in parts], weights=self.coverage.weights))
        return view

    def holdout_residual(self) -> list[np.ndarray]:
        """See `Measurement.holdout_residual`; the blocks of all pointings."""
        return [block for part in self.parts for block in part.holdout_residual()]

    def judge(self, before: list[np.ndarray], after: list[np.ndarray]) -> Cells | None:
        """See `Measurement.judge`."""
        return judge_parts(self.parts, before, after)

    def watch(self, before: list[np.ndarray], after: list[np.ndarray]) -> Cells | None:
        """See `Measurement.watch`."""
        return judge_parts(self.parts, before, after, watched=True)

    def inspect(self, model: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
        """See `Measurement.inspect`."""
        inspector = FitInspector()
        return self.residual(model, inspector), inspector.summary()

    def normal(self, model: "torch.Tensor") -> "torch.Tensor":
        """Dirty image of what a model predicts; tensors as `Measurement.normal` takes and gives."""
        total = model.new_zeros(model.shape)
        for k, part in enumerate(self.parts):
            share = model.new_tensor(self.coverage.share(k))
            total += part.normal(share * model) * share * (part.sum_weight / self.sum_weight)
        return total

    def _back(self, k):
        """What a part's dirty image is multiplied with, (y, x) float32."""
        return self.coverage.share(k) * np.float32(self.parts[k].sum_weight / self.sum_weight)


def make_measurement(
    blocks: list[Visibilities], grid: ImageGrid, dishes: Dishes | None, operator: OperatorChoice = DEFAULT
) -> Measurement | JointMeasurement:
    """The measurement of an output channel of one or several pointings."""
    groups = by_pointing(blocks)
    if len(groups) == 1:
        return Measurement(blocks, grid, operator)
    return JointMeasurement(groups, grid, dishes, operator)


def effective_beam(measurement: Measurement | JointMeasurement, grid: ImageGrid, dishes: Dishes) -> np.ndarray:
    """Primary beam of a measurement, (y, x) float32."""
    if isinstance(measurement, JointMeasurement):
        return measurement.coverage.pb
    return dishes.beam(measurement.blocks).image(grid)


def noise_of_all(
    observation: Observation, grid: ImageGrid, dishes: Dishes | None, sum_weight: float, thermal: float
) -> tuple[float, float]:
    """Sum of weights and noise [Jy/beam] of the best pixel, from those of all samples taken as one pointing."""
    groups = by_pointing(observation.blocks)
    if len(groups) == 1:
        return sum_weight, thermal
    peak = Coverage(groups, grid, dishes).peak
    return peak, thermal * float(np.sqrt(sum_weight / peak))


def describe_mosaic(observation: Observation, grid: ImageGrid) -> None:
    """Say what the mosaic is; a warning and a note about pointings that are not on the image."""
    places = pointings(observation.blocks)
    if len(places) == 1:
        return
    widest = 2 * float(np.abs(places).max())
    log.info("Joint mosaic of %d pointings, %s wide.", len(places), format_angle(widest))
    pixels = [grid.pixel(*place) for place in places]
    outside = sum(not (0 <= y < grid.height and 0 <= x < grid.width) for y, x in pixels)
    if outside:
        observation.notes.append(
            f"{outside} of {len(places)} pointings lie outside the image: make it wider with --size, or leave them out "
            "with --field if they are calibrators or another target."
        )
        log.warning("%s", observation.notes[-1])


def describe_shift(observation: Observation, grid: ImageGrid, dishes: Dishes | None) -> None:
    """Say how far the image is from the pointing of a single field; a warning if the antennas hardly see it."""
    places = pointings(observation.blocks)
    (l, m), single = places[0], len(places) == 1
    if not single or not (l or m):
        return
    apart = format_angle(math.atan2(math.hypot(l, m), 1 + n_minus_1(l, m)))
    log.info("The image is centred %s from the pointing of the antennas.", apart)
    if dishes is None:
        return
    # The pixels next to the pointing; primary beams of round dishes fall from there.
    y, x = (int(np.clip(p, 0, n - 2)) for p, n in zip(grid.pixel(l, m), grid.shape, strict=True))
    nearest = grid.region(slice(y, y + 2), slice(x, x + 2))
    if float(dishes.beam(observation.blocks[:1]).image(nearest).max()) < dishes.limit:
        observation.notes.append(
            f"The primary beam is below --pb-limit {dishes.limit:g} all over the image, {apart} from the pointing, so "
            "that NAME-image-pb is NaN everywhere: lower the limit."
        )
        log.warning("%s", observation.notes[-1])

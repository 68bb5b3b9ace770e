"""Step 3, measure: dirty image, PSF and residual of one output channel, over all its visibilities."""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from radrim.deconvolve.judge import Cells
from radrim.errors import DataError
from radrim.geometry import C, ImageGrid
from radrim.measure.fit_quality import FitInspector
from radrim.measure.neighbours import Neighbours
from radrim.measure.transforms import make_transform
from radrim.operator import choose_kind
from radrim.operator.w_term import max_w
from radrim.visibilities import KeptOut, NaturalWeights, Visibilities

if TYPE_CHECKING:  # CLEAN, and dirty images, need no torch
    import torch


@dataclass(frozen=True)
class OperatorChoice:
    """Which operators evaluate the measurement equation, and how.

    Parameters
    ----------
    kind : str
        One of `radrim.operator.KINDS`, or 'auto'.
    epsilon : float
        Accuracy.
    threads : int
    device : str
        'cpu' or 'cuda'.
    """

    kind: str = "auto"
    epsilon: float = 1e-4
    threads: int = 1
    device: str = "cpu"


DEFAULT = OperatorChoice()


class MeasuredChannel(Protocol):
    """A measured output channel, of one or several pointings."""

    blocks: list[Visibilities]
    kind: str
    """Operator."""
    sum_weight: float
    """Weights of the best pixel [Jy^-2]."""
    freq: float
    """Centre of the band, each channel of the data counted by its weight [Hz]."""
    channels: np.ndarray
    """Frequencies of the channels of the data in the output frame [Hz]."""
    left_noise: float
    """Noise of the dirty image, measured in what the last model left of the visibilities [Jy/beam]; NaN if unknown."""

    @property
    def samples(self) -> int:
        """Number of unflagged visibilities."""

    def psf(self, wide: bool = False) -> np.ndarray:
        """Point-spread function, (y, x) float32, exactly 1 in the middle; `wide`: twice as large as the image."""

    def dirty(self) -> np.ndarray:
        """Dirty image, (y, x) float32 [Jy/beam]."""

    def residual(self, model: np.ndarray, inspector: FitInspector | None = None) -> np.ndarray:
        """Exact residual [Jy/beam] of a model [Jy/pixel], both (y, x) float32."""

    def fitted(self) -> "MeasuredChannel":
        """The same without the samples that are kept out of the deconvolution."""

    def likelihood(self) -> "MeasuredChannel":
        """The same with natural weights; see `Measurement.likelihood`."""

    def holdout_residual(self) -> list[np.ndarray]:
        """What the last model left of the kept-out samples, (row, chan) complex64 of each block [Jy]."""

    def judge(self, before: list[np.ndarray], after: list[np.ndarray]) -> Cells | None:
        """Compare two models by what they leave of the kept-out samples; None if there are none."""

    def watch(self, before: list[np.ndarray], after: list[np.ndarray]) -> Cells | None:
        """The same by as many samples that are fitted."""


class Measurement:
    """The weighted visibilities of one output channel and the operators that image and predict them.

    Parameters
    ----------
    blocks : list of Visibilities
        With imaging weights.
    grid : ImageGrid
    operator : OperatorChoice

    Raises
    ------
    DataError
        No sample has weight.
    """

    def __init__(self, blocks: list[Visibilities], grid: ImageGrid, operator: OperatorChoice = DEFAULT):
        self.blocks = merge_blocks(blocks)
        self.sum_weight = float(sum(b.weight.sum(dtype=np.float64) for b in self.blocks))
        if not self.sum_weight > 0:
            raise DataError("An output channel has no unflagged visibility; use fewer --channels-out.")
        self.device = operator.device
        self._grid, self._operator = grid, operator
        self.kind = self._choose_kind(grid)
        self._operators = self._make_operators(grid)
        self.channels = freq = np.concatenate([b.output_freq for b in blocks])
        """Frequencies of the channels of the data in the output frame, block by block [Hz]."""
        weight = np.concatenate([b.weight.sum(0, dtype=np.float64) for b in blocks])
        self.freq = float(np.average(freq, weights=weight))
        """Centre of the band, each channel counted by its weight [Hz]."""
        self.left_noise = float("nan")
        """Of the dirty image [Jy/beam], as what the last model left of the visibilities shows it; NaN before."""
        self._neighbours: list[Neighbours] = []
        self._left_out: list[np.ndarray] = []
        """Rows of each block that do not count in any image; empty if all do."""
        self._holdout_residual: list[np.ndarray] = []
        self._natural, self._share = False, 1.0
        self.noise_factor = 1.0
        """Noise of the dirty image over that with imaging weights."""

    @property
    def _kept(self):
        return [block.kept_out or KeptOut.none(len(block.freq)) for block in self.blocks]

    @property
    def _watched(self):
        return [block.watched or KeptOut.none(len(block.freq)) for block in self.blocks]

    def fitted(self) -> "Measurement":
        """The same without the samples that are kept out of the deconvolution; itself if there are none."""
        if self._left_out or not any(len(kept.rows) for kept in self._kept):
            return self
        view = copy.copy(self)
        view.leave_out([kept.rows for kept in self._kept])
        return view if view.sum_weight > 0 else self

    def leave_out(self, rows: list[np.ndarray]) -> None:
        """Count these rows of each block in no image from now on."""
        every = self.sum_weight
        self._left_out = rows
        self.sum_weight = self._sum_weight()
        self._share = self.sum_weight / every

    def likelihood(self) -> "Measurement":
        """The same with natural weights 1/sigma^2, whose images say all that the samples know of the sky.

        With them chi^2 of a model is ``<x, G x - 2 D>`` over the variance of the noise; other weights count samples of
        dense parts of the uv plane too little. Itself if the natural weights are not at hand.
        """
        if self._natural or any(block.natural is None for block in self.blocks):
            return self
        view = copy.copy(self)
        view.use_natural_weights()
        return view

    def use_natural_weights(self) -> None:
        """Count samples by their natural weights from now on; see `likelihood`."""
        sum_weight, variance = self.sum_weight, 0.0
        imaging = [self._weight(k) for k in range(len(self.blocks))]
        self._natural = True
        for k, weight in enumerate(imaging):
            natural = np.maximum(self._weight(k).astype(np.float64), np.finfo(np.float32).tiny)
            variance += float((weight.astype(np.float64) ** 2 / natural).sum())
        self.sum_weight = self._sum_weight()
        if variance > 0:
            self.noise_factor = self.sum_weight**-0.5 * sum_weight / variance**0.5

    def _sum_weight(self):
        return sum(float(self._weight(k).sum(dtype=np.float64)) for k in range(len(self.blocks)))

    def holdout_residual(self) -> list[np.ndarray]:
        """What the last model of `residual` left of some samples, (row, chan) complex64 of each block [Jy].

        First the kept-out rows, then those that are fitted and watched. Before any model the samples themselves.
        """
        if self._holdout_residual:
            return self._holdout_residual
        return [block.data[self._seen_rows(k)] for k, block in enumerate(self.blocks)]

    def judge(self, before: list[np.ndarray], after: list[np.ndarray]) -> Cells | None:
        """Compare two models by what they leave of the kept-out samples; None if there are none.

        Parameters
        ----------
        before, after : list of (row, chan) complex64
            From `holdout_residual` [Jy].
        """
        ends = [len(kept.rows) for kept in self._kept]
        parts = [[rest[:end] for rest, end in zip(side, ends, strict=True)] for side in (before, after)]
        return _sums_of(self._kept, *parts)

    def watch(self, before: list[np.ndarray], after: list[np.ndarray]) -> Cells | None:
        """`judge` by the samples that are fitted and watched."""
        starts = [len(kept.rows) for kept in self._kept]
        parts = [[rest[start:] for rest, start in zip(side, starts, strict=True)] for side in (before, after)]
        return _sums_of(self._watched, *parts)

    @property
    def samples(self) -> int:
        """Number of unflagged visibilities."""
        return sum(int(np.count_nonzero(b.weight)) for b in self.blocks)

    def psf(self, wide: bool = False) -> np.ndarray:
        """Point-spread function, (y, x) float32, exactly 1 at the phase centre.

        Parameters
        ----------
        wide : bool
            Twice as large as the image along each axis, if the sky is: every pixel's response on the whole image.
        """
        operators = self._operators
        if wide:
            grid = replace(self._grid, width=2 * self._grid.width, height=2 * self._grid.height)
            operators = self._make_operators(grid) if grid.max_n_term < 1 else operators
        psf = _sum(op.psf(self._weight(k)) for k, op in enumerate(operators))
        return psf / psf[psf.shape[0] // 2, psf.shape[1] // 2]

    def dirty(self) -> np.ndarray:
        """Dirty image D = A^H W V / sum W, (y, x) float32 [Jy/beam]."""
        image = _sum(
            op.adjoint(block.data, self._weight(k))
            for k, (op, block) in enumerate(zip(self._operators, self.blocks, strict=True))
        )
        return image / np.float32(self.sum_weight)

    def residual(self, model: np.ndarray, inspector: FitInspector | None = None) -> np.ndarray:
        """Exact residual A^H W (V - A model) / sum W, (y, x) float32 [Jy/beam], of a model (y, x) [Jy/pixel].

        Says in `left_noise` and `holdout_residual` what it saw on the way, and shows all to an inspector.
        """
        image = np.ascontiguousarray(model, np.float32)
        if not self._neighbours and not self._natural:
            self._neighbours = [Neighbours(block) for block in self.blocks]
        total, power = np.zeros_like(image), 0.0
        self._holdout_residual = []
        for k, (op, block) in enumerate(zip(self._operators, self.blocks, strict=True)):
            rest = op.forward(image)
            np.subtract(block.data, rest, out=rest)
            if not self._natural:
                power += self._neighbours[k].power(rest)
            self._holdout_residual.append(rest[self._seen_rows(k)])
            if inspector is not None:
                inspector.see(block, rest)
            if self._left_out:
                rest[self._left_out[k]] = 0
            total += op.adjoint(rest, self._weight(k) if self._natural else block.weight)
            del rest
        self.left_noise = (power * self._share) ** 0.5 / self.sum_weight  # the power is of all rows
        return total / np.float32(self.sum_weight)

    def normal(self, model: "torch.Tensor") -> "torch.Tensor":
        """Dirty image of what a model predicts, A^H W A model / sum W: the exact psf * model.

        Parameters
        ----------
        model : Tensor, (y, x) float32
            [Jy/pixel], on the measurement's device.

        Returns
        -------
        Tensor, (y, x) float32
            [Jy/beam]
        """
        total = model * 0
        for k, op in enumerate(self._operators):
            total += op.normal(model, self._weight(k))
        return total / self.sum_weight

    def inspect(self, model: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
        """Exact residual of a model, and how well it fits all samples; see `radrim.measure.fit_quality`."""
        inspector = FitInspector()
        return self.residual(model, inspector), inspector.summary()

    def _seen_rows(self, k):
        """Rows of `holdout_residual`."""
        return np.concatenate([self._kept[k].rows, self._watched[k].rows])

    def _weight(self, k):
        """Weights of a block; 0 in rows that are left out."""
        weight, natural = self.blocks[k].weight, self.blocks[k].natural
        if self._natural and natural is not None:
            weight = np.where(weight > 0, natural.weight, np.float32(0))
        if self._left_out and len(self._left_out[k]):
            weight = weight.copy()
            weight[self._left_out[k]] = 0
        return weight

    def _make_operators(self, grid):
        kind = self._choose_kind(grid)  # matrix products that do for the image may not do for the PSF of twice its size
        how = self._operator
        return [make_transform(kind, b.uvw, b.freq, grid, how.epsilon, how.threads, how.device) for b in self.blocks]

    def _choose_kind(self, grid):
        how = self._operator
        if how.kind != "auto":
            return how.kind
        samples = sum(b.data.size for b in self.blocks)
        return choose_kind(samples, grid, max(max_w(b.uvw, b.freq) for b in self.blocks), how.device, how.epsilon)


def _sum(images: Iterable[np.ndarray]) -> np.ndarray:
    """The sum of some images, at least one."""
    first, *others = images
    for image in others:
        first += image
    return first


def _sums_of(rows, before, after):
    """Sums over the cells of some rows of all blocks; None if there are none."""
    triples = zip(rows, before, after, strict=True)
    sums = [Cells.of(of.cell, of.weight, one, other, of.cells) for of, one, other in triples if of.cells]
    return Cells.sum(sums) if sums else None


def judge_parts(
    parts: Sequence[MeasuredChannel], before: list[np.ndarray], after: list[np.ndarray], watched: bool = False
) -> Cells | None:
    """`Measurement.judge`, or `Measurement.watch`, of several measurements, whose blocks follow each other."""
    sums, first = [], 0
    for part in parts:
        end = first + len(part.holdout_residual())
        sums.append((part.watch if watched else part.judge)(before[first:end], after[first:end]))
        first = end
    found = [cells for cells in sums if cells is not None]
    return Cells.sum(found) if found else None


def merge_blocks(blocks: list[Visibilities]) -> list[Visibilities]:
    """The same samples in fewer blocks, because every block costs a transform of the whole image.

    Blocks with the same channels are joined; a block of one channel joins any other, its uvw scaled to the other's
    frequency (only uvw * freq enters the measurement equation).
    """
    groups: dict[tuple, list] = {}
    for block in blocks:
        key = tuple(block.freq) if len(block.freq) > 1 else ("one channel",)
        groups.setdefault(key, []).append(block)
    return [_join(group) for group in groups.values()]


def _join(group):
    first = group[0]
    if len(group) == 1:
        return first
    uvw = np.concatenate([b.uvw * (b.freq[0] / first.freq[0]) for b in group])
    parts = {name: np.concatenate([getattr(b, name) for b in group]) for name in ("data", "weight", "time", "antenna")}
    watched, natural = KeptOut.join_watched(group), NaturalWeights.join(group)
    return replace(first, uvw=uvw, kept_out=KeptOut.join(group), watched=watched, natural=natural, **parts)


def uv_samples(blocks: list[Visibilities], count: int = 20000, seed: int = 0) -> np.ndarray:
    """At most about `count` of the unflagged (u, v), drawn evenly, (sample, 2) [wavelengths]; for plots."""
    rng = np.random.default_rng(seed)
    total = sum(b.data.size for b in blocks)
    out = []
    for block in blocks:
        take = min(block.data.size, int(np.ceil(count * block.data.size / total)))
        index = np.sort(rng.choice(block.data.size, take, replace=False))
        row, chan = np.divmod(index, len(block.freq))
        used = block.weight[row, chan] > 0
        out.append((block.uvw[row, :2] * (block.freq[chan] / C)[:, None])[used])
    return np.concatenate(out)

"""Step 3, measure: dirty image, PSF and residual of one output channel, over all its visibilities."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch

from radrim.deconvolve.judge import Cells
from radrim.errors import DataError
from radrim.geometry import C, ImageGrid
from radrim.measure.neighbours import Neighbours
from radrim.operator import choose_kind, make_operator
from radrim.operator.base import max_w
from radrim.visibilities import KeptOut, Visibilities


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

    def residual(self, model: np.ndarray) -> np.ndarray:
        """Exact residual [Jy/beam] of a model [Jy/pixel], both (y, x) float32."""

    def fitted(self) -> "MeasuredChannel":
        """The same without the samples that are kept out of the deconvolution."""

    def holdout_residual(self) -> list[np.ndarray]:
        """What the last model left of the kept-out samples, (row, chan) complex64 of each block [Jy]."""

    def judge(self, before: list[np.ndarray], after: list[np.ndarray]) -> Cells | None:
        """Compare two models by what they leave of the kept-out samples; None if there are none."""


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
        self.device = torch.device(operator.device)
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
        self._left_out: list[torch.Tensor] = []
        """Rows of each block that do not count in any image; empty if all do."""
        self._holdout_residual: list[np.ndarray] = []

    @property
    def _kept(self):
        return [block.kept_out or KeptOut.none(len(block.freq)) for block in self.blocks]

    def fitted(self) -> "Measurement":
        """The same without the samples that are kept out of the deconvolution; itself if there are none."""
        if self._left_out or not any(len(kept.rows) for kept in self._kept):
            return self
        view = copy.copy(self)
        view.leave_out([torch.from_numpy(kept.rows).to(self.device) for kept in self._kept])
        return view if view.sum_weight > 0 else self

    def leave_out(self, rows: list[torch.Tensor]) -> None:
        """Count these rows of each block in no image from now on."""
        self._left_out = rows
        self.sum_weight = sum(float(self._weight(k).sum(dtype=torch.float64)) for k in range(len(self.blocks)))

    def holdout_residual(self) -> list[np.ndarray]:
        """What the last model of `residual` left of the kept-out samples, (row, chan) complex64 of each block [Jy].

        Before any model the samples themselves.
        """
        if self._holdout_residual:
            return self._holdout_residual
        return [block.data[kept.rows] for block, kept in zip(self.blocks, self._kept, strict=True)]

    def judge(self, before: list[np.ndarray], after: list[np.ndarray]) -> Cells | None:
        """Compare two models by what they leave of the kept-out samples; None if there are none.

        Parameters
        ----------
        before, after : list of (row, chan) complex64
            From `holdout_residual` [Jy].
        """
        triples = zip(self._kept, before, after, strict=True)
        sums = [Cells.of(kept.cell, kept.weight, one, other, kept.cells) for kept, one, other in triples if kept.cells]
        return Cells.sum(sums) if sums else None

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
        image = sum(op.psf(self._weight(k)) for k, op in enumerate(operators))
        psf = image.cpu().numpy()
        return psf / psf[psf.shape[0] // 2, psf.shape[1] // 2]

    def dirty(self) -> np.ndarray:
        """Dirty image D = A^H W V / sum W, (y, x) float32 [Jy/beam]."""
        image = sum(
            op.adjoint(self._tensor(block.data), self._weight(k))
            for k, (op, block) in enumerate(zip(self._operators, self.blocks, strict=True))
        )
        return (image / self.sum_weight).cpu().numpy()

    def residual(self, model: np.ndarray) -> np.ndarray:
        """Exact residual A^H W (V - A model) / sum W, (y, x) float32 [Jy/beam], of a model (y, x) [Jy/pixel].

        Says in `left_noise` and `holdout_residual` what it saw on the way.
        """
        image = self._tensor(np.ascontiguousarray(model, np.float32))
        if not self._neighbours:
            self._neighbours = [Neighbours(block, self.device) for block in self.blocks]
        total, power = torch.zeros_like(image), 0.0
        self._holdout_residual = []
        for k, (op, block) in enumerate(zip(self._operators, self.blocks, strict=True)):
            rest = op.forward(image)
            torch.sub(self._tensor(block.data), rest, out=rest)
            power += self._neighbours[k].power(rest)
            self._holdout_residual.append(rest[self._rows(k)].cpu().numpy())
            if self._left_out:
                rest[self._left_out[k]] = 0
            total += op.adjoint(rest, self._tensor(block.weight))
            del rest
        self.left_noise = power**0.5 / self.sum_weight
        return (total / self.sum_weight).cpu().numpy()

    def normal(self, model: torch.Tensor) -> torch.Tensor:
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
        total = torch.zeros_like(model)
        for k, op in enumerate(self._operators):
            total += op.adjoint(op.forward(model), self._weight(k))
        return total / self.sum_weight

    def _rows(self, k):
        return torch.from_numpy(self._kept[k].rows).to(self.device)

    def _weight(self, k):
        """Weights of a block; 0 in rows that are left out."""
        weight = self._tensor(self.blocks[k].weight)
        if self._left_out and len(self._left_out[k]):
            weight = weight.clone()
            weight[self._left_out[k]] = 0
        return weight

    def _make_operators(self, grid):
        kind = self._choose_kind(grid)  # matrix products that do for the image may not do for the PSF of twice its size
        how = self._operator
        return [make_operator(kind, b.uvw, b.freq, grid, how.epsilon, how.threads, how.device) for b in self.blocks]

    def _choose_kind(self, grid):
        how = self._operator
        if how.kind != "auto":
            return how.kind
        samples = sum(b.data.size for b in self.blocks)
        return choose_kind(samples, grid, max(max_w(b.uvw, b.freq) for b in self.blocks), how.device, how.epsilon)

    def _tensor(self, array):
        return torch.from_numpy(array).to(self.device)


def judge_parts(parts: Sequence[MeasuredChannel], before: list[np.ndarray], after: list[np.ndarray]) -> Cells | None:
    """`Measurement.judge` of several measurements, whose blocks follow each other."""
    sums, first = [], 0
    for part in parts:
        end = first + len(part.holdout_residual())
        sums.append(part.judge(before[first:end], after[first:end]))
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
    return replace(first, uvw=uvw, kept_out=KeptOut.join(group), natural=None, **parts)


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

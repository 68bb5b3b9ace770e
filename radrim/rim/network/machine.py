"""The common part of all Recurrent Inference Machines: the loop of steps, the link function and the tiles.

Each step computes the preconditioned gradients of the residual (`radrim.rim.network.features`), runs the network, turns
its fields into an update by the link, finds the step length, and updates the residual by the PSF convolution.

- The link gates the gradients: ``2 hardsigmoid(m) (sum_lambda (1/L + g_lambda) w_lambda + h p + envelope o)`` for the
  fields (g, h, m, o) of the network and the L gradients w_lambda; p are the point sources at the peaks of the residual.
  If all fields are 0, the update is the mean of the w_lambda. If m <= -3, it is exactly 0, so that empty sky can stay
  empty.
- The update is smoothed by a Gaussian with 0.38 of the width of the PSF's main lobe (`psf.FINEST`). Arrays measure
  little finer detail, and networks usually predict it wrongly. An optional field d reduces the width to one half
  (`psf.SHARPEST`) where the network chooses, since bright sources show more detail.
- Stokes I is positive. The proposal is projected, ``d = max(x + proposal, 0) - x``, *before* the step length is found.
  Then ``x + alpha d`` is positive for every alpha in [0, 1].
- alpha in [0, 1] minimises chi^2 along d, so that chi^2 never rises, whatever the network proposes.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's documentation uses
from torch import nn

from radrim.errors import ConfigError, SolverError
from radrim.rim.network.features import (
    CELL,
    StepImages,
    envelope,
    features,
    highest_in_cells,
    measure_scales,
    point_sources,
)
from radrim.rim.network.psf import FINEST, SHARPEST, TAPS, PsfConvolution, smooth
from radrim.rim.network.threads import parallel_map
from radrim.rim.network.windows import Window, changed, cover, widen, within


class MachineConfig(Protocol):
    """The fields that the configurations of all machines have; `IRIMConfig` describes them."""

    @property
    def dims(self) -> int:
        """2 for images, 3 for cubes."""

    @property
    def channels(self) -> int:
        """Channels of the state."""

    @property
    def steps(self) -> int:
        """Steps in training."""

    @property
    def shared(self) -> bool:
        """Whether all steps have the same weights."""

    @property
    def lambdas(self) -> tuple[float, ...]:
        """Regularisations of the preconditioned gradients."""

    @property
    def squeeze(self) -> int:
        """Pixels along each side of a cell of the state."""


def check_machine(config: MachineConfig) -> None:
    """Check the fields of `MachineConfig`.

    Parameters
    ----------
    config : IRIMConfig or PlainConfig

    Raises
    ------
    ConfigError
        A value outside its range.
    """
    if config.dims not in (2, 3):
        raise ConfigError(f"dims is {config.dims!r}; it must be 2 (images) or 3 (cubes).")
    for name, value, most in (
        ("channels", config.channels, 4096),
        ("steps", config.steps, 1024),
        ("squeeze", config.squeeze, 16),
    ):
        check_range(name, value, 1, most)
    if not config.lambdas or not all(math.isfinite(value) and value > 0 for value in config.lambdas):
        raise ConfigError(f"lambdas is {config.lambdas!r}; it must hold positive numbers.")


def check_range(name: str, value: object, least: int, most: int) -> None:
    """Check that a configured number is whole and within its range.

    Raises
    ------
    ConfigError
    """
    if not isinstance(value, int) or not least <= value <= most:
        raise ConfigError(f"{name} is {value!r}; it must be a whole number from {least} to {most}.")


def field_count(config: MachineConfig) -> int:
    """Channels of eta: gates of each lambda and of the points, mask and free part, for each pixel of a cell."""
    return (len(config.lambdas) + 3) * config.squeeze**2


@dataclass(frozen=True)
class Inference:
    """Result of a machine.

    Parameters
    ----------
    estimates : list of Tensor, (batch, [chan,] y, x)
        Estimate after each step [Jy/pixel].
    residual : Tensor, (batch, [chan,] y, x)
        Residual after the last step, by PSF convolution [Jy/beam].
    lengths : list of Tensor, (batch, [chan,] 1, 1)
        Step lengths; 0 where the proposal did not lower chi^2.
    """

    estimates: list[torch.Tensor]
    residual: torch.Tensor
    lengths: list[torch.Tensor]


@dataclass(frozen=True)
class InferenceOptions:
    """Options of a machine's run.

    Parameters
    ----------
    steps : int, optional
        Number of steps; as in training if absent. Without shared weights it cannot be larger than in training.
    positive : bool
        Whether estimates are positive: for Stokes I, not for Q, U, V.
    detach : bool
        In training: whether gradients stop between the images of successive steps. Gradients of the state never stop.
    tile : int, optional
        Side of the tiles on which the network runs, to save memory [pixel]; the whole image if absent. With tiles there
        are no gradients.
    active : Tensor, (y, x) bool, optional
        Pixels in which the estimate may change. Tiles without an active pixel are skipped.
    halo : int, optional
        Halo of the tiles [pixel], a multiple of `alignment`. If absent it is `InferenceMachine.halo`, with which the
        result does not depend on the tiles.
    least : float, optional
        Relative change of the residual rms by a step, below which the machine stops. It also stops if the next step is
        expected to change the rms by less, by extrapolation of the last two steps. With `active`, later steps skip the
        pixels whose residual changed by less.
    """

    steps: int | None = None
    positive: bool = True
    detach: bool = True
    tile: int | None = None
    active: torch.Tensor | None = None
    halo: int | None = None
    least: float | None = None


class InferenceMachine(nn.Module):
    """The loop of steps of all machines; a subclass supplies `advance`, the network of one step.

    **Tiles.** A step has a local part, `propose`, and a global part: convolution and step length. `propose` depends on
    `receptive_field` pixels around each pixel. Tiles therefore give the result of the whole image, to rounding, under
    three conditions: they begin at multiples of `alignment`; they have a halo of `halo` pixels on every side that is
    not the image's edge; and they use the scales of the whole image. `forward` with ``tile`` meets these conditions.

    Parameters
    ----------
    config : IRIMConfig or PlainConfig
        With `dims`, `lambdas`, `squeeze`, `steps` and `shared`.
    """

    def __init__(self, config: MachineConfig) -> None:
        super().__init__()
        self.config = config

    def advance(
        self, step: int, inputs: torch.Tensor, context: torch.Tensor, state: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One step of the network.

        Parameters
        ----------
        step : int
        inputs : Tensor, (batch, feature, [chan,] y, x)
            Both sides multiples of `squeeze`.
        context : Tensor, (batch, 1 + 2 lambda, [chan,] 1, 1)
        state : Tensor or None, (batch, any, [chan,] y / squeeze, x / squeeze)
            None before the first step.

        Returns
        -------
        eta : Tensor, (batch, (lambda + 3 or + 4) * squeeze^2, [chan,] y / squeeze, x / squeeze)
        state : Tensor
        """
        raise NotImplementedError

    @property
    def cell_reach(self) -> int:
        """Distance from an output of `advance` to the farthest input that it depends on [cell]."""
        raise NotImplementedError

    @property
    def cell_alignment(self) -> int:
        """Translations by multiples of this number of cells commute with `advance`."""
        raise NotImplementedError

    @property
    def receptive_field(self) -> int:
        """Distance along y and x from an output of one step to the farthest input that it depends on [pixel]."""
        return 4 * CELL - 1 + (self.cell_reach + 1) * self.config.squeeze - 1 + TAPS

    @property
    def alignment(self) -> int:
        """Translations by multiples of this number of pixels commute with a step."""
        return math.lcm(CELL, self.cell_alignment * self.config.squeeze)

    @property
    def halo(self) -> int:
        """`receptive_field`, rounded up to a multiple of `alignment`."""
        return -(-self.receptive_field // self.alignment) * self.alignment

    def propose(
        self, step: int, images: StepImages, state: torch.Tensor | None = None, active: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the update that the network proposes: the local part of a step.

        Parameters
        ----------
        step : int
            From 0.
        images : StepImages
            Of the whole image or of a tile.
        state : Tensor, optional
            State after the step before, for the same tile.
        active : Tensor, (y, x) bool, optional
            Proposal and state are 0 in all other pixels; see `InferenceOptions`.

        Returns
        -------
        proposal : Tensor, (batch, [chan,] y, x)
            [Jy/pixel]
        state : Tensor, (batch, any, [chan,] y / squeeze, x / squeeze), rounded up
        """
        ny, nx = images.residual.shape[-2:]
        inputs = features(images)
        if ny % self.config.squeeze or nx % self.config.squeeze:
            inputs = F.pad(inputs, (0, -nx % self.config.squeeze, 0, -ny % self.config.squeeze))
        eta, state = self.advance(step, inputs, images.scales.context, state)
        eta = _unsqueeze(eta, self.config.squeeze)[..., :ny, :nx].to(images.residual.dtype)
        proposal = link(eta, images)
        if active is None:
            return proposal, state
        return torch.where(active, proposal, 0), torch.where(self._active_cells(active), state, 0)

    def forward(
        self,
        psf: PsfConvolution,
        residual: torch.Tensor,
        noise: float | torch.Tensor,
        estimate: torch.Tensor | None = None,
        peak: float | torch.Tensor | None = None,
        options: InferenceOptions | None = None,
    ) -> Inference:
        """Deconvolve: run several steps, which start from a residual.

        Parameters
        ----------
        psf : PsfConvolution
        residual : Tensor, (batch, [chan,] y, x)
            Of `estimate` [Jy/beam].
        noise, peak : float or Tensor, (batch,) or (batch, chan)
            Of the whole residual image [Jy/beam]; the peak of `residual` if absent.
        estimate : Tensor, (batch, [chan,] y, x), optional
            [Jy/pixel]; 0 if absent.
        options : InferenceOptions, optional

        Returns
        -------
        Inference

        Raises
        ------
        SolverError
            Wrong shapes, or too many steps.
        """
        options = options or InferenceOptions()
        steps = self._check(psf, residual, estimate, options.steps)
        least, active = options.least, options.active
        scales = measure_scales(psf, residual, self.config.lambdas, noise, peak)
        estimate = torch.zeros_like(residual) if estimate is None else estimate
        halo = self.halo if options.halo is None else options.halo
        estimates: list[torch.Tensor] = []
        lengths: list[torch.Tensor] = []
        state: torch.Tensor | None = None
        spare: torch.Tensor | None = None
        norm, fall = (float(torch.linalg.vector_norm(residual)) if least is not None else 0.0), 0.0
        for step in range(steps):
            images = StepImages(psf.wiener(residual, self.config.lambdas), residual, estimate, scales)
            if options.tile is None:
                proposal, state = self.propose(step, images, state, active)
            else:
                proposal, new = self._propose_tiled(step, images, state, spare, options.tile, active, halo)
                state, spare = new, state
            direction = (estimate + proposal).clamp_min(0) - estimate if options.positive else proposal
            length, product = psf.step_length(direction, residual)
            estimate, before = estimate + length * direction, residual
            residual = residual - length * product
            estimates.append(estimate)
            lengths.append(length.detach())
            if least is not None:
                high, norm = norm, float(torch.linalg.vector_norm(residual))
                last, fall = fall, high - norm
                if abs(fall) < least * high or (min(last, fall) > 0 and fall * fall < least * norm * last):
                    break
                if active is not None:
                    active = active & changed(before, residual, least)
            if options.detach:
                estimate, residual = estimate.detach(), residual.detach()
        return Inference(estimates, residual, lengths)

    def _check(
        self, psf: PsfConvolution, residual: torch.Tensor, estimate: torch.Tensor | None, steps: int | None
    ) -> int:
        config = self.config
        steps = config.steps if steps is None else steps
        if steps < 1 or (steps > config.steps and not config.shared):
            raise SolverError(
                f"{steps} steps are not possible: at least 1, and at most {config.steps} without shared weights."
            )
        if residual.shape[-2:] != psf.shape:
            shapes = tuple(residual.shape[-2:]), psf.shape
            raise SolverError("The residual has {} pixels, the PSF convolution was made for {}.".format(*shapes))
        if residual.ndim != config.dims + 1:
            shape = tuple(residual.shape)
            raise SolverError(
                f"The residual has the shape {shape}; a model for {config.dims}-D needs {config.dims + 1} axes."
            )
        if estimate is not None and estimate.shape != residual.shape:
            raise SolverError(
                f"The estimate's shape {tuple(estimate.shape)} is not the residual's, {tuple(residual.shape)}."
            )
        return steps

    @torch.no_grad()
    def _propose_tiled(
        self,
        step: int,
        images: StepImages,
        state: torch.Tensor | None,
        new: torch.Tensor | None,
        tile: int,
        active: torch.Tensor | None,
        halo: int,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Run `propose` on tiles with halos.

        The new state needs its own memory, because later tiles read the old state. `new` provides the memory: it is the
        state of two steps before.
        """
        proposal = torch.zeros_like(images.residual)
        if new is not None:
            new.zero_()
        size = max(1, round(tile / self.alignment)) * self.alignment
        shape = ny, nx = proposal.shape[-2:]
        tiles = [(slice(y, min(y + size, ny)), slice(x, min(x + size, nx)))
                 for y in range(0, ny, size) for x in range(0, nx, size)]  # fmt: skip
        if active is not None:
            tiles = [part for window in tiles for part in cover(active, window, halo, self.alignment)]

        def one(core: Window) -> tuple[torch.Tensor, torch.Tensor]:
            outer = widen(core, halo, shape)
            before = None if state is None else state[(..., *self._cells(outer))]
            return self.propose(step, images.cut(outer), before, None if active is None else active[outer])

        for core, (update, after) in zip(tiles, parallel_map(one, tiles, proposal.device), strict=True):
            if new is None:
                cells = [-(-n // self.config.squeeze) for n in shape]
                last = torch.channels_last_3d if after.ndim == 5 else torch.channels_last
                new = torch.empty(
                    (*after.shape[:-2], *cells), dtype=after.dtype, device=after.device, memory_format=last
                ).zero_()
            inner = within(core, widen(core, halo, shape))
            proposal[(..., *core)] = update[(..., *inner)]
            new[(..., *self._cells(core))] = after[(..., *self._cells(inner))]
        return proposal, new

    def _active_cells(self, active: torch.Tensor) -> torch.Tensor:
        """Whether each cell of the state contains an active pixel."""
        return highest_in_cells(active.float(), self.config.squeeze) > 0

    def _cells(self, window: Window) -> Window:
        """A window of pixels as a window of the state's cells."""
        squeeze = self.config.squeeze
        y, x = (slice(part.start // squeeze, -(-part.stop // squeeze)) for part in window)
        return y, x


def link(eta: torch.Tensor, images: StepImages) -> torch.Tensor:
    """The proposed update: gated and smoothed preconditioned gradients (see the top of this file).

    Parameters
    ----------
    eta : Tensor, (batch, lambda + 3 or + 4, [chan,] y, x)
        Gate of each lambda, gate of the points, mask, free part; and optionally the fraction of finer detail to keep.
    images : StepImages

    Returns
    -------
    Tensor, (batch, [chan,] y, x)
        [Jy/pixel]
    """
    count = images.wiener.shape[1]
    gates, points, mask, free = eta[:, :count], eta[:, count], eta[:, count + 1], eta[:, count + 2]
    gated = ((1 / gates.shape[1] + gates) * images.wiener).sum(1)
    sharp = 2 * F.hardsigmoid(mask) * (gated + points * point_sources(images.residual) + envelope(images) * free)
    with torch.autocast(sharp.device.type, enabled=False):
        blurred = smooth(sharp, images.scales.finest)
        if eta.shape[1] == count + 3:
            return blurred
        finer = smooth(sharp, images.scales.finest * (SHARPEST / FINEST))
        return blurred + F.hardtanh(eta[:, -1]) * (finer - blurred)


def _unsqueeze(cells: torch.Tensor, factor: int) -> torch.Tensor:
    """(batch, field * factor^2, [chan,] y, x) to (batch, field, [chan,] y * factor, x * factor), contiguous."""
    blocks = cells.unflatten(1, (-1, factor, factor)).movedim(2, -2).movedim(2, -1)
    return blocks.flatten(-2).flatten(-3, -2)

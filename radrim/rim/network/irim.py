"""The invertible Recurrent Inference Machine for images (Putzky & Welling 2019, arXiv:1911.10914).

Each step follows equation 10 of the paper. The data enter the state (eta, s) additively, and invertible layers h mix
the state::

    s' = s + g(inputs(x, r)),    (eta, s) <- h(eta, s'),    x <- x + alpha d(Psi(eta)).

It departs from the paper in four points:

- The gradient r = D - psf * x enters preconditioned and normalised, through a linear g (`radrim.rim.network.features`).
- eta is not the estimate. The link Psi turns it into gates of the preconditioned gradients.
- The step length alpha is the one that lowers chi^2 most (`radrim.rim.network.machine`).
- The couplings start as identities, so that a fresh machine already gives a useful estimate.
"""

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's documentation uses
from torch import nn

from radrim.errors import ConfigError
from radrim.rim.network.blocks import Convolution, Kernel, ResidualBlock, UNet
from radrim.rim.network.features import LAMBDAS, feature_count
from radrim.rim.network.machine import InferenceMachine, check_machine, check_range, field_count
from radrim.rim.network.reversible import Coupling, ReversibleSequence

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class IRIMConfig:
    """The architecture of the i-RIM, stored in every checkpoint.

    Parameters
    ----------
    dims : int
        2 for images, 3 for cubes (channel, y, x).
    channels : int
        Channels of the state, eta and s together.
    hidden : int or tuple of int
        Channels inside the residual functions. Several numbers are used in turn, like `factors`. At half of the
        resolution a 3 x 3 convolution costs the same with twice the channels.
    depth : int
        Number of couplings per step, before those with U-Nets.
    factors : tuple of int
        Factors of down-sampling inside the couplings, used in turn.
    steps : int
        Number of steps in training; with shared weights any number can be run.
    shared : bool
        Whether all steps have the same weights.
    lambdas : tuple of float
        Regularisations of the preconditioned gradients.
    squeeze : int
        The state has one cell per `squeeze` x `squeeze` pixels, whose features become channels. With 2, time and memory
        are a quarter of those with 1.
    groups : int
        Groups of channels in the 3 x 3 convolutions.
    reflections : int
        Householder reflections per coupling; 0 means as many as channels.
    unets : int
        Number of couplings with U-Nets as residual functions, after the others. A U-Net depends on a large part of a
        tile. U-Nets can be added to a trained network (`TrainingConfig.start`).
    widths : tuple of int
        Channels of the levels of each U-Net.
    detail : bool
        Whether the network decides where updates have finer detail (see `radrim.rim.network.machine`).

    Raises
    ------
    ConfigError
        A value outside its range, or too few channels to hold eta.
    """

    dims: int = 2
    channels: int = 64
    hidden: int | tuple[int, ...] = 64
    depth: int = 8
    factors: tuple[int, ...] = (1, 2, 4, 2)
    steps: int = 5
    shared: bool = True
    lambdas: tuple[float, ...] = LAMBDAS
    squeeze: int = 2
    groups: int = 1
    reflections: int = 0
    unets: int = 0
    widths: tuple[int, ...] = ()
    detail: bool = False

    def __post_init__(self) -> None:
        check_machine(self)
        check_range("groups", self.groups, 1, 4096)
        for name in ("depth", "unets"):
            check_range(name, getattr(self, name), 0, 4096)
        if self.depth + self.unets == 0:
            raise ConfigError("depth and unets are both 0; a step needs at least one coupling.")
        if bool(self.unets) != bool(self.widths):
            raise ConfigError(f"unets is {self.unets} and widths {self.widths!r}; U-Nets need both, others neither.")
        for hidden in self.hidden if isinstance(self.hidden, tuple) and self.hidden else (self.hidden,):
            check_range("hidden", hidden, 1, 4096)
        check_range("reflections", self.reflections, 0, 4096)
        if not self.factors:
            raise ConfigError("factors is empty; it needs at least one down-sampling factor, 1 for none.")
        for width in self.widths:
            check_range("each of widths", width, 1, 4096)
        for factor in self.factors:
            check_range("each of factors", factor, 1, 64)
        least = field_count(self) + 1
        if self.channels < least:
            raise ConfigError(f"channels is {self.channels}; lambdas and squeeze need at least {least}.")


class IRIM(InferenceMachine):
    """The invertible machine; its memory in training does not depend on the number of couplings per step.

    With fresh weights eta stays 0, and the first estimate is ``x + alpha d``, where d is the mean w_lambda.

    Parameters
    ----------
    config : IRIMConfig
    """

    config: IRIMConfig

    def __init__(self, config: IRIMConfig) -> None:
        super().__init__(config)
        self.eta = field_count(config)
        weights = 1 if config.shared else config.steps
        inputs, memory, cell = feature_count(config.lambdas), config.channels - self.eta, config.squeeze
        # 3 x 3 cells around each cell.
        self.gradients = nn.ModuleList(
            Convolution(config.dims, inputs, memory, Kernel(3 * cell, cell, cell, depth=3)) for _ in range(weights)
        )
        self.contexts = nn.ModuleList(
            Convolution(config.dims, 1 + 2 * len(config.lambdas), memory, Kernel(1), bias=False) for _ in range(weights)
        )
        self.layers = nn.ModuleList(self._couplings(config) for _ in range(weights))
        self.details = nn.ModuleList(
            Convolution(config.dims, config.channels, cell**2, Kernel(1), gain=0.0)
            for _ in range(weights * config.detail)
        )

    @staticmethod
    def _couplings(config: IRIMConfig) -> ReversibleSequence:
        read, write = config.channels // 2, config.channels - config.channels // 2
        hidden = config.hidden if isinstance(config.hidden, tuple) else (config.hidden,)
        blocks = (
            ResidualBlock(
                config.dims,
                read,
                write,
                hidden[layer % len(hidden)],
                config.factors[layer % len(config.factors)],
                config.groups,
            )
            for layer in range(config.depth)
        )
        unets = (UNet(config.dims, read, write, config.widths) for _ in range(config.unets))
        # Generators keep the order in which initial weights are drawn.
        residuals: Iterable[ResidualBlock | UNet] = itertools.chain(blocks, unets)
        return ReversibleSequence(
            Coupling(config.channels, residual, config.reflections or config.channels) for residual in residuals
        )

    def advance(
        self, step: int, inputs: torch.Tensor, context: torch.Tensor, state: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `InferenceMachine.advance`; the state is (eta, s), 0 before the first step."""
        index = 0 if self.config.shared else step
        added = (self.gradients[index](inputs) + self.contexts[index](context)).to(inputs.dtype)
        if state is None:
            state = F.pad(added, (0, 0) * self.config.dims + (self.eta, 0))
        else:
            state = torch.cat([state[:, : self.eta], state[:, self.eta :] + added], 1)
        state = self.layers[index](state)
        eta = state[:, : self.eta]
        if self.details:
            eta = torch.cat([eta, self.details[index](state).to(eta.dtype)], 1)
        return eta, state

    @property
    def cell_reach(self) -> int:
        """See `InferenceMachine.cell_reach`."""
        return 1 + sum(residual.reach for residual in self._residuals())

    @property
    def cell_alignment(self) -> int:
        """See `InferenceMachine.cell_alignment`."""
        return math.lcm(*(residual.alignment for residual in self._residuals()))

    def _residuals(self) -> list[ResidualBlock | UNet]:
        """The residual functions of one step, in order."""
        return [coupling.residual for coupling in cast("ReversibleSequence", self.layers[0]).couplings]

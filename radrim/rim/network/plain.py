"""The plain Recurrent Inference Machine (Putzky & Welling 2017, arXiv:1706.04008), the baseline of the i-RIM.

The layers are: convolution, gated recurrent unit, convolution, gated recurrent unit, convolution. Autograd stores their
activations. Kernels are those of later work by the paper's authors: 5, 3 dilated by 2, and 3 pixels; 1 pixel in the
recurrent units. Inputs, link and step length are those of the i-RIM, so that comparisons show the network's effect.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's documentation uses
from torch import nn

from radrim.rim.network.blocks import Convolution, Kernel
from radrim.rim.network.features import LAMBDAS, feature_count
from radrim.rim.network.machine import InferenceMachine, check_machine, field_count

_CONVOLUTION = {2: nn.Conv2d, 3: nn.Conv3d}


@dataclass(frozen=True)
class PlainConfig:
    """The architecture of the plain RIM, stored in every checkpoint. All steps share their weights.

    Parameters
    ----------
    dims : int
        2 for images, 3 for cubes (channel, y, x).
    channels : int
        Channels of each layer and of each of the two recurrent states.
    steps : int
        Number of steps in training; any number can be run.
    lambdas : tuple of float
        Regularisations of the preconditioned gradients.
    squeeze : int
        The states have one cell per `squeeze` x `squeeze` pixels.

    Raises
    ------
    ConfigError
        A value outside its range.
    """

    dims: int = 2
    channels: int = 64
    steps: int = 5
    lambdas: tuple[float, ...] = LAMBDAS
    squeeze: int = 2

    def __post_init__(self) -> None:
        check_machine(self)

    @property
    def shared(self) -> bool:
        """Whether all steps have the same weights: always True, so that any number of steps can be run."""
        return True


class RecurrentUnit(nn.Module):
    """Convolutional gated recurrent unit (Cho et al. 2014) with kernels of 1 pixel.

    Parameters
    ----------
    dims : int
        2, or 3 for cubes.
    channels : int
        Of input and state.
    """

    def __init__(self, dims: int, channels: int) -> None:
        super().__init__()
        convolution = _CONVOLUTION[dims]
        self.gates = convolution(2 * channels, 2 * channels, 1)
        self.candidate = convolution(2 * channels, channels, 1)

    def forward(self, x: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        """The new state, (batch, channels, *space) like both arguments."""
        keep, reset = torch.sigmoid(self.gates(torch.cat([x, state], 1))).chunk(2, 1)
        candidate = torch.tanh(self.candidate(torch.cat([x, reset * state], 1)))
        return keep * state + (1 - keep) * candidate


class PlainRIM(InferenceMachine):
    """The plain machine; with fresh weights its first estimate is that of the i-RIM.

    Parameters
    ----------
    config : PlainConfig
    """

    config: PlainConfig
    cell_reach = 2 + 2 + 1
    cell_alignment = 1

    def __init__(self, config: PlainConfig) -> None:
        super().__init__(config)
        convolution, channels, cell = _CONVOLUTION[config.dims], config.channels, config.squeeze
        kernel = Kernel(5 * cell, cell, 2 * cell, depth=5)
        self.first = Convolution(config.dims, feature_count(config.lambdas), channels, kernel)
        self.context = convolution(1 + 2 * len(config.lambdas), channels, 1, bias=False)
        self.second = convolution(channels, channels, 3, padding=2, dilation=2)
        self.last = convolution(channels, field_count(config), 3, padding=1)
        self.units = nn.ModuleList(RecurrentUnit(config.dims, channels) for _ in range(2))
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def advance(
        self,
        step: int,  # noqa: ARG002 - all steps share their weights
        inputs: torch.Tensor,
        context: torch.Tensor,
        state: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `InferenceMachine.advance`; the state holds both recurrent units, 0 before the first step."""
        hidden = F.relu(self.first(inputs) + self.context(context))
        if state is None:
            state = torch.cat([torch.zeros_like(hidden)] * 2, 1)
        before = state.chunk(2, 1)
        first = self.units[0](hidden, before[0])
        second = self.units[1](F.relu(self.second(first)), before[1])
        return self.last(second), torch.cat([first, second], 1)

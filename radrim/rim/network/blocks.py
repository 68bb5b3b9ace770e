"""Residual functions of a coupling: gated convolutional blocks and U-Nets (Putzky & Welling 2019, arXiv:1911.10914).

Convolutions are weight-normalised (Salimans & Kingma 2016, arXiv:1602.07868). All blocks work on images (batch,
channel, y, x) and on cubes (batch, channel, chan, y, x). Cubes are down-sampled in y and x only, since they may have
few channels. The memory layout with channels last is kept: transposed convolutions on CPUs are several times faster
with it.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's documentation uses
from torch import Tensor, nn

from radrim.errors import ConfigError

AGILE = 0.2
"""Initial standard deviation of weights whose norm has no effect on the result."""
_CONVOLVE = {2: F.conv2d, 3: F.conv3d}
_CONVOLVE_UP = {2: F.conv_transpose2d, 3: F.conv_transpose3d}


def draw(scale: float, *shape: int) -> Tensor:
    """Normal random numbers; on the device 'meta' an empty tensor, since drawing there would load torch's compiler."""
    numbers = torch.empty(shape)
    return numbers if numbers.is_meta else numbers.normal_(0, scale)


@dataclass(frozen=True)
class Kernel:
    """Geometry of a convolution.

    Parameters
    ----------
    size, step, padding : int
        Along y and x [pixel].
    depth : int
        Size along the channels of a cube, odd; their number stays the same.
    """

    size: int
    step: int = 1
    padding: int = 0
    depth: int = 1


class Convolution(nn.Module):
    """Weight-normalised convolution.

    Parameters
    ----------
    dims : int
        2, or 3 for cubes.
    inputs, outputs : int
        Channels.
    kernel : Kernel
    up : bool
        Whether the convolution is transposed, which makes the image `kernel.step` times larger.
    groups : int
        Groups of channels that are convolved separately.
    gain : float
        Initial standard deviation of the output for uncorrelated input of unit variance.
    bias : bool
    """

    def __init__(
        self,
        dims: int,
        inputs: int,
        outputs: int,
        kernel: Kernel,
        *,
        up: bool = False,
        groups: int = 1,
        gain: float = 1.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.dims, self.up, self.groups = dims, up, groups
        cube = dims == 3
        size = (kernel.depth,) * cube + (kernel.size, kernel.size)
        self.step = (1,) * cube + (kernel.step, kernel.step)
        self.padding = (kernel.depth // 2,) * cube + (kernel.padding, kernel.padding)
        self.kernel = (outputs, inputs // groups, *size)
        # One row per output channel. Its length has no effect on the kernel, only on how fast the optimiser turns it.
        self.direction = nn.Parameter(draw(AGILE, outputs, math.prod(self.kernel[1:])))
        self.gain = nn.Parameter(torch.full((outputs,), float(gain)))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self._made: tuple[list, Tensor] | None = None

    def weight(self) -> Tensor:
        """The kernel: `direction` scaled to the norm `gain` for each output channel; cached without gradients."""
        if torch.is_grad_enabled() or self.direction.is_inference():  # inference tensors have no version counter
            return self._weight()
        # The version counts changes in place, which keep the address; torch has no public name for it.
        state = [(part.data_ptr(), part._version) for part in (self.direction, self.gain)]  # noqa: SLF001 - see above
        if self._made is None or self._made[0] != state:
            self._made = state, self._weight()
        return self._made[1]

    def _weight(self) -> Tensor:
        norm = torch.linalg.vector_norm(self.direction, dim=1)
        scale = self.gain / norm.clamp_min(torch.finfo(norm.dtype).tiny)
        weight = (self.direction * scale[:, None]).view(self.kernel)
        return weight.transpose(0, 1) if self.up else weight

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, *space) to (batch, outputs, *space)."""
        if self.up:
            return _CONVOLVE_UP[self.dims](x, self.weight(), self.bias, self.step, self.padding)
        return _CONVOLVE[self.dims](x, self.weight(), self.bias, self.step, self.padding, groups=self.groups)


AROUND = Kernel(3, padding=1, depth=3)
"""A pixel and its neighbours."""


class ResidualBlock(nn.Module):
    """G of a coupling: convolutions down by `factor`, 3 x 3, and up, the last one gated by a fourth (GLU).

    The last convolution of the value starts at 0, so that a new coupling is the identity. Value and gate are separate
    convolutions, since gating is several times faster with two contiguous arrays than with the halves of one array.

    Parameters
    ----------
    dims : int
        2, or 3 for cubes.
    inputs, outputs : int
        Channels of the state that are read and written.
    hidden : int
        Channels of the layers between.
    factor : int
        Down-sampling in y and x. Images of any size are padded with zeros and cut again.
    groups : int
        Groups of channels in the 3 x 3 convolution.

    Raises
    ------
    ConfigError
        `hidden` is not a multiple of `groups`.
    """

    def __init__(self, dims: int, inputs: int, outputs: int, hidden: int, factor: int = 1, groups: int = 1) -> None:
        super().__init__()
        if hidden % groups:
            raise ConfigError(
                f"{hidden} hidden channels do not split into {groups} groups; make hidden a multiple of it."
            )
        self.factor = factor
        up = factor > 1  # a transposed convolution of 1 x 1 is slow on CPUs
        scaling = Kernel(factor, factor)
        self.down = Convolution(dims, inputs, hidden, scaling)
        self.middle = Convolution(dims, hidden, hidden, AROUND, groups=groups, gain=2**0.5)
        self.value = Convolution(dims, hidden, outputs, scaling, up=up, gain=0.0, bias=False)
        self.gate = Convolution(dims, hidden, outputs, scaling, up=up)

    @property
    def alignment(self) -> int:
        """Translations by multiples of this number of pixels commute with the block."""
        return self.factor

    @property
    def reach(self) -> int:
        """Distance along y and x from an output to the farthest input that it depends on [pixel]."""
        return 2 * self.factor - 1

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, *space) to (batch, outputs, *space)."""
        ny, nx = x.shape[-2:]
        missing = -ny % self.factor, -nx % self.factor
        if any(missing):
            x = F.pad(x, (0, missing[1], 0, missing[0]))
        hidden = F.relu(self.middle(F.relu(self.down(x), inplace=True)), inplace=True)
        out = self.value(hidden) * torch.sigmoid(self.gate(hidden))
        return out[..., :ny, :nx]


class UNet(nn.Module):
    """G of a coupling: a small U-Net (Ronneberger et al. 2015), gated at its end like `ResidualBlock`.

    Each level has half of the resolution of the one before. It applies a residual pair of 3 x 3 convolutions on the way
    down and one on the way up. The states of both ways are added.

    Parameters
    ----------
    dims : int
        2, or 3 for cubes.
    inputs, outputs : int
        Channels of the state that are read and written.
    widths : sequence of int
        Channels of each level.
    """

    def __init__(self, dims: int, inputs: int, outputs: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.widths = tuple(widths)
        steps = list(itertools.pairwise(self.widths))
        self.first = Convolution(dims, inputs, self.widths[0], Kernel(1))
        self.falling = nn.ModuleList(_Pair(dims, width) for width in self.widths)
        self.rising = nn.ModuleList(_Pair(dims, width) for width in self.widths[:-1])
        self.down = nn.ModuleList(Convolution(dims, fine, coarse, Kernel(2, 2)) for fine, coarse in steps)
        self.up = nn.ModuleList(Convolution(dims, coarse, fine, Kernel(2, 2), up=True) for fine, coarse in steps)
        self.value = Convolution(dims, self.widths[0], outputs, Kernel(1), gain=0.0, bias=False)
        self.gate = Convolution(dims, self.widths[0], outputs, Kernel(1))

    @property
    def alignment(self) -> int:
        """Translations by multiples of this number of pixels commute with the block."""
        return 2 ** (len(self.widths) - 1)

    @property
    def reach(self) -> int:
        """Distance along y and x from an output to the farthest input that it depends on [pixel]."""
        levels = len(self.widths)
        return sum(2**level * (4 if level < levels - 1 else 2) for level in range(levels)) + self.alignment - 1

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, *space) to (batch, outputs, *space)."""
        ny, nx = x.shape[-2:]
        missing = -ny % self.alignment, -nx % self.alignment
        if any(missing):
            x = F.pad(x, (0, missing[1], 0, missing[0]))
        return self.levels(self.first(x))[..., :ny, :nx]

    def levels(self, state: Tensor) -> Tensor:
        """All layers after the first convolution; y and x are multiples of `alignment`."""
        passed = []
        for pair, down in zip(self.falling, self.down, strict=False):
            state = pair(state)
            passed.append(state)
            state = down(state)
        state = self.falling[-1](state)
        for pair, up, before in reversed(list(zip(self.rising, self.up, passed, strict=True))):
            state = pair(before + up(state))
        state = F.relu(state)
        return self.value(state) * torch.sigmoid(self.gate(state))


class _Pair(nn.Module):
    """Two 3 x 3 convolutions of x, added to x."""

    def __init__(self, dims: int, width: int) -> None:
        super().__init__()
        self.first = Convolution(dims, width, width, AROUND, gain=2**0.5)
        self.second = Convolution(dims, width, width, AROUND, gain=0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(F.relu(x)), inplace=True))

"""A network that removes white noise from skies: the prior of plug and play (`radrim.rim.network.plug_and_play`).

It learned from images alone, with no array, weighting or pixel scale in the training, so that one network serves all
observations. It is a U-Net of residual blocks. Its input is a pyramid of the image in units of the noise, each level
compressed by asinh, so that five decades of brightness are of order one; its output is the correction of the image in
units of the noise.

References
----------
Venkatakrishnan, Bouman & Wohlberg (2013), IEEE GlobalSIP, 945: plug and play. Zhang et al. (2022), IEEE TPAMI 44, 6360:
denoisers of all noise levels in half-quadratic splitting.
"""

import itertools
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's documentation uses
from torch import nn

from radrim.errors import ConfigError


@dataclass(frozen=True)
class DenoiserConfig:
    """The architecture; stored with every checkpoint.

    Parameters
    ----------
    widths : tuple of int
        Channels of the levels of the U-Net.
    blocks : tuple of int
        Residual blocks of each level.
    levels : int
        Smoothed images that the network sees beside the image.
    seen : bool
        Whether it sees that part of the image, too, which data determine.
    """

    widths: tuple[int, ...] = (24, 48, 96, 96)
    blocks: tuple[int, ...] = (1, 1, 2, 2)
    levels: int = 4
    seen: bool = False

    def __post_init__(self) -> None:
        if len(self.widths) != 4 or len(self.blocks) != 4 or min(self.widths + self.blocks) < 1 or self.levels < 1:
            raise ConfigError(
                f"widths = {list(self.widths)} and blocks = {list(self.blocks)} of a denoiser must be four numbers "
                "from 1 on each."
            )


class Denoiser(nn.Module):
    """Removes white Gaussian noise of unit standard deviation from skies.

    Parameters
    ----------
    config : DenoiserConfig
    """

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        self.config = config
        widths, blocks = config.widths, config.blocks
        self.first = nn.Conv2d(config.levels + 2 + 2 * config.seen, widths[0], 3, padding=1)
        pairs = list(itertools.pairwise(widths))
        self.down = nn.ModuleList(_stack(width, count) for width, count in zip(widths, blocks, strict=True))
        self.up = nn.ModuleList(_stack(width, count) for width, count in zip(widths[:-1], blocks[:-1], strict=True))
        self.shrink = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairs)
        self.grow = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairs)
        self.last = nn.Conv2d(widths[0], 1, 3, padding=1)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    @property
    def alignment(self) -> int:
        """Number of pixels of which the sides of images are multiples: each level but the first halves the image."""
        return 2 ** len(self.shrink)

    def begin_with(self, other: "Denoiser") -> None:
        """Take the weights of a network that may not see what data determine: it begins by not looking at it."""
        weights = dict(other.state_dict())
        first = torch.zeros_like(self.first.weight)
        first[:, : weights["first.weight"].shape[1]] = weights["first.weight"]
        self.load_state_dict(weights | {"first.weight": first})

    def forward(self, image: torch.Tensor, seen: torch.Tensor | None = None) -> torch.Tensor:
        """The sky of an image.

        Parameters
        ----------
        image : Tensor, (batch, 1, y, x)
            In units of the noise; sides are multiples of `alignment`.
        seen : Tensor, (batch, 1, y, x), optional
            That part of the image which data determine, for networks that see it.

        Returns
        -------
        Tensor, (batch, 1, y, x)
            In units of the noise.
        """
        planes = _pyramid(image, self.config.levels)
        if self.config.seen:
            known = image if seen is None else seen
            planes = torch.cat([planes, torch.asinh(known), torch.asinh(image - known)], 1)
        x, kept = self.first(planes), []
        for level, stack in enumerate(self.down):
            x = stack(x)
            if level < len(self.shrink):
                kept.append(x)
                x = self.shrink[level](x)
        for level in reversed(range(len(self.up))):
            x = kept[level] + F.interpolate(self.grow[level](x), scale_factor=2)
            x = self.up[level](x)
        return image + self.last(x).float()


class _Block(nn.Module):
    """Two convolutions, and what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        for parameter in self.second.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(F.silu(self.first(x)))


def _stack(width: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(_Block(width) for _ in range(count)))


def _pyramid(image: torch.Tensor, levels: int) -> torch.Tensor:
    """The image, its differences from smoother and smoother images, and the smoothest, all compressed."""
    parts, smooth = [torch.asinh(image)], image
    for level in range(levels):
        window = 2 ** (level + 1) + 1
        below = F.avg_pool2d(F.pad(smooth, (window // 2,) * 4, mode="reflect"), window, 1)
        parts.append(torch.asinh(smooth - below))
        smooth = below
    parts.append(torch.asinh(smooth))
    return torch.cat(parts, 1)

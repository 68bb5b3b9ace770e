"""Windows of an image on which a network works: tiles with halos, restricted to the pixels that change."""

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's documentation uses

Window = tuple[slice, slice]
"""Rows and columns of a part of an image; both slices have start and stop."""

AROUND = 32
"""Side of the cells in which changes are measured [pixel]."""


def changed(before: torch.Tensor, after: torch.Tensor, least: float) -> torch.Tensor:
    """Cells in which a step changed the residual.

    Parameters
    ----------
    before, after : Tensor, (batch, [chan,] y, x)
        [Jy/beam]
    least : float
        Smallest relative change of the rms over a cell and its neighbours.

    Returns
    -------
    (y, x) bool Tensor
        Whole cells of `AROUND` pixels.
    """
    ny, nx = before.shape[-2:]
    was, now = (
        F.avg_pool2d(
            F.avg_pool2d(image.reshape(-1, 1, ny, nx) ** 2, AROUND, AROUND, ceil_mode=True, count_include_pad=False),
            3, 1, 1, count_include_pad=False,
        ).sqrt()
        for image in (before, after)
    )  # fmt: skip
    cells = ((now - was).abs() >= least * was).any(0, keepdim=True)
    cells = F.max_pool2d(cells.float(), 3, 1, 1)[0, 0] > 0
    return cells.repeat_interleave(AROUND, 0).repeat_interleave(AROUND, 1)[:ny, :nx]


def widen(window: Window, halo: int, shape: Sequence[int]) -> Window:
    """A window extended by a halo on each side, clipped to the image.

    Parameters
    ----------
    window : (slice, slice)
        Along y and x.
    halo : int
        [pixel]
    shape : (int, int)
        (y, x) of the image.

    Returns
    -------
    (slice, slice)
    """
    y, x = (slice(max(0, c.start - halo), min(c.stop + halo, n)) for c, n in zip(window, shape, strict=True))
    return y, x


def within(window: Window, outer: Window) -> Window:
    """A window relative to one that contains it."""
    y, x = (slice(c.start - o.start, c.stop - o.start) for c, o in zip(window, outer, strict=True))
    return y, x


def tiles(shape: Sequence[int], size: int, halo: int) -> Iterator[tuple[Window, Window, Window]]:
    """Tiles that cover an image, with their halos.

    Parameters
    ----------
    shape : (int, int)
        (y, x) of the image.
    size, halo : int
        [pixel]

    Yields
    ------
    core, outer, inside : (slice, slice)
        The tile; the tile with its halo; and the position of the tile within the latter.
    """
    for y in range(0, shape[0], size):
        for x in range(0, shape[1], size):
            core = slice(y, min(y + size, shape[0])), slice(x, min(x + size, shape[1]))
            outer = widen(core, halo, shape)
            yield core, outer, within(core, outer)


def cover(active: torch.Tensor, window: Window, halo: int, alignment: int) -> list[Window]:
    """Divide a window into smaller ones that cover its active pixels, with few pixels including their halos.

    Parameters
    ----------
    active : Tensor, (y, x) bool
    window : (slice, slice)
        Begins at multiples of `alignment`.
    halo, alignment : int
        [pixel]

    Returns
    -------
    list of (slice, slice)
        Disjoint; begin at multiples of `alignment`.
    """
    found = [torch.nonzero(active[window].any(axis)).flatten() for axis in (1, 0)]
    if not len(found[0]):
        return []
    rows, columns = (
        slice(
            c.start + int(f[0]) // alignment * alignment,
            min(c.stop, c.start + (int(f[-1]) // alignment + 1) * alignment),
        )
        for c, f in zip(window, found, strict=True)
    )
    core = rows, columns
    axis = 0 if core[0].stop - core[0].start >= core[1].stop - core[1].start else 1
    length = core[axis].stop - core[axis].start
    middle = core[axis].start + length // 2 // alignment * alignment
    # Without inactive pixels, or with halos larger than the window, two parts cost more than one.
    if middle == core[axis].start or length <= halo or bool(active[core].all()):
        return [core]
    halves = [slice(core[axis].start, middle), slice(middle, core[axis].stop)]
    parts = [
        part
        for half in halves
        for part in cover(active, (half, core[1]) if axis == 0 else (core[0], half), halo, alignment)
    ]
    apart = sum(_pixels(part, halo, active.shape) for part in parts)
    return parts if apart < _pixels(core, halo, active.shape) else [core]


def _pixels(window: Window, halo: int, shape: Sequence[int]) -> int:
    return math.prod(part.stop - part.start for part in widen(window, halo, shape))


def dilate(mask: torch.Tensor, reach: int) -> torch.Tensor:
    """Where a mask (..., y, x) is true within `reach` pixels along y and x."""
    wide = F.max_pool2d(mask.float().reshape(-1, 1, *mask.shape[-2:]), (2 * reach + 1, 1), 1, (reach, 0))
    return (F.max_pool2d(wide, (1, 2 * reach + 1), 1, (0, reach)) > 0).reshape(mask.shape)


def bounding_region(mask: torch.Tensor) -> Window:
    """The smallest window that contains all true pixels of a mask (y, x)."""
    found = [torch.nonzero(mask.any(axis)).flatten() for axis in (1, 0)]
    y, x = (slice(int(f[0]), int(f[-1]) + 1) for f in found)
    return y, x

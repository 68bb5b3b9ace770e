"""Step 4, deconvolve: divides an image into tiles with halos, on one common pixel grid."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True)
class Tile:
    """A rectangle of the image on which one minor cycle works.

    Parameters
    ----------
    core : (slice, slice)
        The rectangle (y, x) that belongs to this tile alone; the cores of all tiles cover the image exactly.
    outer : (slice, slice)
        The rectangle (y, x) of core and halo, clipped to the image, on which the solver works.
    """

    core: tuple[slice, slice]
    outer: tuple[slice, slice]

    @property
    def shape(self) -> tuple[int, int]:
        """(y, x) of the outer rectangle."""
        return tuple(s.stop - s.start for s in self.outer)

    @property
    def inner(self) -> tuple[slice, slice]:
        """The core within the outer rectangle: (slice, slice)."""
        y, x = (slice(c.start - o.start, c.stop - o.start) for c, o in zip(self.core, self.outer, strict=True))
        return y, x

    def window(self) -> np.ndarray:
        """(y, x) bool on the outer rectangle: True in the core."""
        out = np.zeros(self.shape, bool)
        out[self.inner] = True
        return out


@dataclass(frozen=True)
class Tiles(Sequence):
    """Tiles of about equal size that cover an image, row after row; a small image is one tile without halo.

    A tile is made when it is indexed, so that only a few numbers are sent to workers for any number of tiles.

    Parameters
    ----------
    shape : (int, int)
        (y, x) of the image.
    largest : int
        Largest core along an axis [pixel].
    halo : int
        Width of the halo around the core [pixel]; even, so that the sizes of outer rectangles are even.
    """

    shape: tuple[int, int]
    largest: int
    halo: int

    def __len__(self):
        rows, columns = self._cuts
        return len(rows) * len(columns)

    def __getitem__(self, number):
        rows, columns = self._cuts
        if not 0 <= number < len(self):
            raise IndexError(f"tile {number} of {len(self)}")
        core = rows[number // len(columns)], columns[number % len(columns)]
        y, x = (_widen(part, self.halo, size) for part, size in zip(core, self.shape, strict=True))
        return Tile(core, (y, x))

    @cached_property
    def _cuts(self):
        """Rows and columns: lists of slice."""
        return tuple(_cuts(size, self.largest) for size in self.shape)

    def __getstate__(self):
        return {name: getattr(self, name) for name in ("shape", "largest", "halo")}

    def blocks(self, along: int) -> list["TileBlock"]:
        """Group the tiles into rectangles of at most `along` x `along` tiles, row after row.

        Returns
        -------
        list of TileBlock
        """
        rows, columns = self._cuts
        return [
            TileBlock(
                (_join(rows[j : j + along]), _join(columns[i : i + along])),
                tuple(len(columns) * y + x for y in range(len(rows))[j : j + along]
                      for x in range(len(columns))[i : i + along]),
            )
            for j in range(0, len(rows), along) for i in range(0, len(columns), along)
        ]  # fmt: skip


class TileBlock(NamedTuple):
    """Neighbouring tiles.

    Parameters
    ----------
    core : (slice, slice)
        The rectangle (y, x) of the image that their cores cover.
    tiles : tuple of int
        Numbers of the tiles.
    """

    core: tuple[slice, slice]
    tiles: tuple[int, ...]

    def within(self, core: tuple[slice, slice]) -> tuple[slice, slice]:
        """Position of the core of one of the tiles within the rectangle: (slice, slice)."""
        y, x = (slice(c.start - s.start, c.stop - s.start) for c, s in zip(core, self.core, strict=True))
        return y, x


def _cuts(size, largest):
    count = -(-size // largest)
    edges = [2 * round(size * k / count / 2) for k in range(count)] + [size]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def _join(parts):
    return slice(parts[0].start, parts[-1].stop)


def _widen(part, halo, size):
    return slice(max(0, part.start - halo), min(size, part.stop + halo))


def mosaic(shape: tuple[int, int], tiles: Sequence[Tile], images: Sequence[np.ndarray]) -> np.ndarray:
    """Sum of the tiles' images, each at its position; overlaps are summed.

    Outside its tile's core an image is 0, or holds the contribution of sources in the core.

    Parameters
    ----------
    shape : (int, int)
        (y, x) of the result.
    tiles : sequence of Tile
    images : sequence of (y, x) arrays
        On the tiles' outer rectangles.

    Returns
    -------
    (y, x) float32
    """
    out = np.zeros(shape, np.float32)
    for tile, image in zip(tiles, images, strict=True):
        out[tile.outer] += image
    return out

"""Step 4, tile: cut the image into tiles with halos on one common pixel grid."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Tile:
    """A rectangle of the image that is deconvolved as one.

    Parameters
    ----------
    core : (slice, slice)
        The part of the image (y, x) that belongs to this tile alone; the cores of all tiles cover it exactly.
    outer : (slice, slice)
        Core and halo, cut at the image's edges; what the solver sees.
    """

    core: tuple[slice, slice]
    outer: tuple[slice, slice]

    @property
    def shape(self):
        """(y, x) of the outer rectangle."""
        return tuple(s.stop - s.start for s in self.outer)

    @property
    def inner(self):
        """The core within the outer rectangle: (slice, slice)."""
        return tuple(slice(c.start - o.start, c.stop - o.start) for c, o in zip(self.core, self.outer, strict=True))

    def window(self):
        """(y, x) bool on the outer rectangle: True in the core."""
        out = np.zeros(self.shape, bool)
        out[self.inner] = True
        return out


def make_tiles(shape, largest, halo):
    """Tiles of about equal size covering an image.

    Parameters
    ----------
    shape : (int, int)
        (y, x) of the image.
    largest : int
        Largest core along an axis [pixel].
    halo : int
        Pixels around the core that the solver also sees; even, so that outer sizes stay even.

    Returns
    -------
    list of Tile
        One tile without halo if the image is no larger than `largest`.
    """
    rows, columns = (_cuts(n, largest) for n in shape)
    return [Tile((y, x), (_widen(y, halo, shape[0]), _widen(x, halo, shape[1]))) for y in rows for x in columns]


def _cuts(size, largest):
    count = -(-size // largest)
    edges = [2 * round(size * k / count / 2) for k in range(count)] + [size]
    return [slice(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def _widen(part, halo, size):
    return slice(max(0, part.start - halo), min(size, part.stop + halo))


def crop_centre(image, shape):
    """The central part (y, x) of an image, with the centre pixel size // 2 kept; `shape` even."""
    cut = []
    for have, want in zip(image.shape, shape, strict=True):
        start = have // 2 - want // 2
        cut.append(slice(start, start + want))
    return image[tuple(cut)]

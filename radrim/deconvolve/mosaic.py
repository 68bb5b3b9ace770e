"""Step 6, mosaic: the tiles back into one image. All tiles share one pixel grid, so nothing is resampled."""

import numpy as np


def mosaic(shape, tiles, images):
    """Sum of the tiles' images, each in its place.

    Each image is 0 outside its tile's core, or holds there what the core's sources add; overlaps are summed.

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

"""A gigapixel image small enough to be looked at: what the report and the picture show of it."""

from dataclasses import replace
from typing import Any

import numpy as np

from radrim.geometry import ImageGrid
from radrim.products import KINDS
from radrim.report.specs import ReportSettings
from radrim.result import Image
from radrim.write.fits import open_image

STANDS_OUT = ("psf", "image")
"""Of these each shown pixel is the one of largest magnitude: a point source stays visible. Others are means, the model
is summed, so that it keeps its flux."""


def overview(image: Image, grid: ImageGrid) -> tuple[Image, ImageGrid, int]:
    """Image and grid with fewer, larger pixels, if an axis has more than `ReportSettings.overview` of them.

    The image is read strip by strip.

    Returns
    -------
    Image, ImageGrid, int
        The last is how many pixels one stands for along each axis.
    """
    factor, (height, width), first = _cells(grid.shape)
    if factor == 1:
        return image, grid, 1
    arrays: dict[str, Any] = {}
    for kind in KINDS:
        whole = getattr(image, kind)
        if whole is None:
            continue
        out = np.empty((height, width), np.float32)
        for row in range(height):
            if row % ReportSettings.overview_rows == 0 and kind in image.paths:
                whole = open_image(image.paths[kind], image.plane)  # anew, or the file would be in memory in the end
            start = first[0] + row * factor
            strip = whole[start : start + factor, first[1] : first[1] + width * factor].astype(np.float32)
            cells = strip.reshape(factor, width, factor).transpose(1, 0, 2).reshape(width, -1)
            if kind in STANDS_OUT:
                out[row] = cells[np.arange(width), np.abs(cells).argmax(1)]
            else:
                out[row] = cells.sum(1) if kind == "model" else cells.mean(1)
        arrays[kind] = out
    return replace(image, **arrays), replace(grid, width=width, height=height, scale=factor * grid.scale), factor


def thin_out(image: np.ndarray) -> np.ndarray:
    """As many pixels of an array (y, x) as `overview` leaves: for angles, of which there is no mean."""
    factor, (height, width), (y, x) = _cells(image.shape)
    return np.asarray(image[y + factor // 2 :: factor, x + factor // 2 :: factor][:height, :width], np.float32)


def _cells(shape):
    """Size of the cells of which one pixel is shown, their number (y, x), and where the first one begins."""
    factor = -(-max(shape) // ReportSettings.overview)
    if factor == 1:
        return 1, shape, (0, 0)
    number = [n // factor // 2 * 2 for n in shape]
    # The middle pixel stays the middle: cells are counted from there.
    return factor, number, [n // 2 - factor * (m // 2) for n, m in zip(shape, number, strict=True)]

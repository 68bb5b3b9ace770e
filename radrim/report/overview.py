"""Reduces images that are too large to be drawn, for the report and the picture."""

from dataclasses import replace
from typing import Any

import numpy as np

from radrim.geometry import ImageGrid
from radrim.products import KINDS
from radrim.report.specs import ReportSettings
from radrim.result import Image
from radrim.write.fits import open_image

STANDS_OUT = ("psf", "image")
"""Kinds of images whose cells show the pixel of largest magnitude, so that point sources stay visible. Cells of the
model are sums, which keep the flux; those of other kinds are means."""


def overview(image: Image, grid: ImageGrid) -> tuple[Image, ImageGrid, int]:
    """Image and grid with fewer, larger pixels, if an axis has more than `ReportSettings.overview` of them.

    The image is read strip by strip.

    Returns
    -------
    Image, ImageGrid, int
        The last is the number of pixels along each axis that one pixel of the result covers.
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
                whole = open_image(
                    image.paths[kind], image.plane
                )  # opened anew, because pages of the file that were read stay in memory
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
    """The middle pixels of the cells of `overview`, for arrays (y, x) of angles, which cannot be averaged."""
    factor, (height, width), (y, x) = _cells(image.shape)
    return np.asarray(image[y + factor // 2 :: factor, x + factor // 2 :: factor][:height, :width], np.float32)


def _cells(shape):
    """Size of the cells, their number (y, x), and the first pixel of the first cell."""
    factor = -(-max(shape) // ReportSettings.overview)
    if factor == 1:
        return 1, shape, (0, 0)
    number = [n // factor // 2 * 2 for n in shape]
    # Cells are counted from the middle pixel, so that it stays in the middle.
    return factor, number, [n // 2 - factor * (m // 2) for n, m in zip(shape, number, strict=True)]

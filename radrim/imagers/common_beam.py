"""`--common-beam`: restores all output channels again, with one beam that contains those of all.

The beams of all channels are known once all are measured. Then the restored image of each is made again from the files
of its model and its residual, rows by rows, so that images of any size need little memory.
"""

import logging
import math
from collections.abc import Sequence

import numpy as np

from radrim.beam import Beam
from radrim.imagers.context import RunContext
from radrim.measure.primary_beam import Dishes
from radrim.restore.restoring import RestoredRows, circle, common_beam_of
from radrim.result import Channels, Image
from radrim.write.fits import open_image, write_rows

log = logging.getLogger("radrim")


def restore_with_common_beam(run: RunContext, stokes: Sequence[Channels]) -> None:
    """Write the restored images of all output channels and Stokes parameters with their common beam, and note it.

    Parameters
    ----------
    run : RunContext
    stokes : sequence of Channels
        Of each Stokes parameter; their headers receive the beam.
    """
    images = [image for channels in stokes for image in channels.headers if not math.isnan(image.beam.major)]
    beam = common_beam_of([image.fitted for image in images])
    if run.config.circular_beam:
        beam = circle(beam)
    log.info("Common beam of %d output channels: %s.", len(stokes[0]), beam)
    for image in images:
        if image.psf_beam is None or image.beam != beam:
            _restore(run, image, beam)


def _restore(run: RunContext, image: Image, beam: Beam) -> None:
    """Replace the restored image of a channel, unless nothing was deconvolved."""
    fitted = image.fitted
    # A channel whose beam is the common one has rounding errors between the two.
    image.psf_beam, image.beam = fitted, beam
    if image.stop and "image" in image.paths:
        model, residual = (open_image(image.paths[kind], image.plane) for kind in ("model", "residual"))
        rows = RestoredRows(model, residual, beam, fitted, run.grid.scale, run.threads)
        path, header = run.output.file(image, "image", run.grid, run.observation, None)
        write_rows(path, rows, header)
        if run.dishes and "image_pb" in image.paths:
            path, header = run.output.file(image, "image_pb", run.grid, run.observation, None)
            seen = _CorrectedRows(run.dishes, open_image(image.paths["image"]), open_image(image.paths["pb"]))
            write_rows(path, seen, header)
    run.progress.keep_image(image)


class _CorrectedRows:
    """An image that is corrected for its primary beam when its rows are asked for."""

    def __init__(self, dishes: Dishes, image: np.ndarray, pb: np.ndarray) -> None:
        self._dishes, self._image, self._pb = dishes, image, pb

    @property
    def shape(self) -> tuple[int, ...]:
        """(y, x)."""
        return self._image.shape

    def __getitem__(self, rows: slice) -> np.ndarray:
        return self._dishes.correct(np.asarray(self._image[rows], np.float32), np.asarray(self._pb[rows], np.float32))

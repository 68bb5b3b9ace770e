"""Images of output channels without data: planes of NaN, so that the channels of a cube stay evenly numbered."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from radrim.beam import Beam
from radrim.imagers.context import RunContext
from radrim.products import KINDS
from radrim.result import Channels, Image
from radrim.visibilities import channel_bands
from radrim.write.fits import open_image

log = logging.getLogger("radrim")

NOTHING = "no unflagged data"
"""Why the deconvolution of a blank channel ended."""


class BlankChannels:
    """The output channels of a run that have no data.

    Parameters
    ----------
    run : RunContext
    blank : sequence of bool
        Of each output channel, whether it has no data.
    """

    def __init__(self, run: RunContext, blank: Sequence[bool]):
        self._run, self._blank = run, list(blank)
        self._bands = channel_bands(run.observation, len(self._blank)) if any(self._blank) else []
        if any(self._blank):
            self._warn()

    def _warn(self):
        listed = [
            f"{number} ({low / 1e6:.6g} to {high / 1e6:.6g} MHz)"
            for number, ((low, high), blank) in enumerate(zip(self._bands, self._blank, strict=True))
            if blank
        ]
        more = f" and {len(listed) - 8} more" if len(listed) > 8 else ""
        which = (
            f"Output channel {listed[0]} has"
            if len(listed) == 1
            else f"Output channels {', '.join(listed[:8])}{more} have"
        )
        note = f"{which} no unflagged data, and the images are blank (NaN). Fewer --channels-out join them to others."
        log.warning("%s", note)
        if note not in self._run.observation.notes:
            self._run.observation.notes.append(note)

    def among(self, measured: Channels, stokes: str) -> Channels:
        """All output channels of a Stokes parameter in their order, given those with data; blank ones are written."""
        if not any(self._blank):
            return measured
        images, others = Channels(measured.read), iter(measured.headers)
        for number, blank in enumerate(self._blank):
            images.append(self._write(number, stokes, measured.headers[0]) if blank else next(others))
        return images

    def _write(self, number: int, stokes: str, like: Image) -> Image:
        """Write the files of a blank channel, of the kinds that another one has, unless an interrupted run has."""
        run = self._run
        label = run.label(f"{number:04d}", stokes)
        if (image := run.progress.image(label, open_image)) is not None:
            return image
        low, high = self._bands[number]
        nan = float("nan")
        plane = np.broadcast_to(np.float32(nan), run.grid.shape)
        kinds: dict[str, Any] = {kind: plane if kind in like.paths else None for kind in KINDS}
        facts = {"visibilities": 0, "sum_weight": 0.0}
        image = Image(
            label, (low + high) / 2, high - low + run.observation.channel_width, Beam(nan, nan, nan), nan,
            stop=NOTHING if like.stop else "", stokes=stokes, facts=facts, **kinds,
        )  # fmt: skip
        run.output.write_images(image, run.grid, run.observation, None)
        run.progress.keep_image(image)
        return image

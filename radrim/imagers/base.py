"""What images are made from, however they are cut: the common part of `radrim.imagers.channels` and
`radrim.imagers.facets`.
"""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np

from radrim.config.options import ImageConfig
from radrim.geometry import ImageGrid
from radrim.measure.primary_beam import Dishes
from radrim.output import Output
from radrim.products import label_of
from radrim.runtime.clock import Clock
from radrim.visibilities import Observation
from radrim.workdir.progress import Progress

log = logging.getLogger("radrim")


@dataclass
class Imager:
    """Steps 3 to 7 of output channels.

    Parameters
    ----------
    config : ImageConfig
    observation : Observation
    grid : ImageGrid
    mask : (y, x) bool or None
    output : Output
    progress : Progress
    solver
        Minor cycle from `radrim.imagers.minor_cycles`, or None.
    clock : Clock
    thermal : float
        Noise expected of all channels together if the weights are 1/sigma^2 [Jy/beam].
    scatter : dict of str to float
        That from the scatter of the data of each Stokes parameter, times the root of the sum of weights.
    dishes : Dishes or None
        For primary beams; None where none were asked for.
    """

    config: ImageConfig
    observation: Observation
    grid: ImageGrid
    mask: np.ndarray | None
    output: Output
    progress: Progress
    solver: Any
    clock: Clock
    thermal: float
    scatter: dict[str, float]
    dishes: Dishes | None

    def name(self, groups):
        """(label, blocks) of each channel: a single one needs no number."""
        labels = [f"{k:04d}" for k in range(len(groups))] if self.config.channels_out > 1 else [""]
        return list(zip(labels, groups, strict=True))

    def label(self, channel, stokes):
        """Label of an image; the Stokes parameter is part of it where there are several."""
        return label_of(channel, stokes if len(self.config.stokes) > 1 else "")

    def thermal_of(self, image):
        """The noise expected of an image from the weights: known for all channels together only."""
        return None if image.channel else self.thermal

    def expected(self, stokes, sum_weight):
        """Noise of a dirty image from the scatter [Jy/beam], as if the weights of all channels were alike."""
        return self.scatter[stokes] / np.sqrt(sum_weight)  # exact where all samples have the same noise

    def forget(self, batch, stokes):
        """Drop what the Stokes parameters of a batch of channels share, after the last of them."""
        if stokes == self.config.stokes[-1] and len(self.config.stokes) > 1:
            for channel, _ in batch:
                self.progress.forget(channel)

    def give_up(self, failure, images):
        """Raise what a minor cycle failed with, once what took hours to compute is written."""
        kept = ", ".join(str(path) for image in images for path in image.paths.values())
        log.warning("A minor cycle failed; what was finished before is there: %s", kept)
        raise failure

"""The context of a run: settings, data and outputs that its steps share, in one object."""

from dataclasses import dataclass

import numpy as np

from radrim.config.options import ImageConfig
from radrim.geometry import ImageGrid
from radrim.imagers.minor_cycles import MinorCycles
from radrim.imagers.start_model import RunStartModel
from radrim.measure.measurement import OperatorChoice
from radrim.measure.primary_beam import Dishes
from radrim.output import Output
from radrim.products import label_of
from radrim.result import Image
from radrim.runtime.clock import Clock
from radrim.visibilities import Observation
from radrim.workdir.progress import Progress


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """Settings, data and outputs of one run.

    Parameters
    ----------
    config : ImageConfig
    observation : Observation
    grid : ImageGrid
        Grid of the image.
    mask : (y, x) bool or None
        Pixels that may hold emission; None for all.
    output : Output
    progress : Progress
    clock : Clock
    minor : MinorCycles or None
        Kind of minor cycle; None for --niter 0.
    start : RunStartModel or None
        Start models of the deconvolution; None for empty ones.
    thermal : float
        Noise of the image of all channels, if the natural weights are 1/sigma^2 [Jy/beam].
    sum_weight : float
        Sum of the weights in the most sensitive pixel, over all channels [Jy^-2].
    scatter : dict of str to float
        For each Stokes parameter the noise that follows from the scatter of the data, times the root of the sum of
        weights.
    dishes : Dishes or None
        Antennas, for primary beams; None without --pb.
    threads : int
    device : str
        'cpu' or 'cuda'.
    """

    config: ImageConfig
    observation: Observation
    grid: ImageGrid
    mask: np.ndarray | None
    output: Output
    progress: Progress
    clock: Clock
    minor: MinorCycles | None
    start: RunStartModel | None
    thermal: float
    sum_weight: float
    scatter: dict[str, float]
    dishes: Dishes | None
    threads: int
    device: str

    def label(self, channel: str, stokes: str) -> str:
        """Label of an image; it includes the Stokes parameter if the run has several."""
        return label_of(channel, stokes if len(self.config.stokes) > 1 else "")

    def thermal_of(self, image: Image) -> float | None:
        """Noise of an image that follows from the weights [Jy/beam]; known only for the image of all channels."""
        return None if image.channel else self.thermal

    def expected(self, stokes: str, sum_weight: float) -> float:
        """Noise of a dirty image from the scatter of the data [Jy/beam]; exact if all samples have the same noise."""
        return self.scatter[stokes] / np.sqrt(sum_weight)

    def operator(self, threads: int) -> OperatorChoice:
        """The operators of the run, with this number of threads."""
        return OperatorChoice(self.config.operator, self.config.epsilon, threads, self.device)

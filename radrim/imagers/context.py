"""What every step of a run may need to know of it, in one object."""

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
    """One run: its settings, its data and who writes down its results.

    Parameters
    ----------
    config : ImageConfig
    observation : Observation
    grid : ImageGrid
        Of the image.
    mask : (y, x) bool or None
        The model is 0 elsewhere.
    output : Output
    progress : Progress
    clock : Clock
    minor : MinorCycles or None
        Kind of minor cycle; None for --niter 0.
    start : RunStartModel or None
        Models that the deconvolution begins with; None for empty ones.
    thermal : float
        Noise of all channels together if the weights are 1/sigma^2 [Jy/beam].
    sum_weight : float
        Weights of the best pixel, of all channels together [Jy^-2].
    scatter : dict of str to float
        The noise from the scatter of the data of each Stokes parameter, times the root of the sum of weights.
    dishes : Dishes or None
        For primary beams; None without --pb.
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
        """Label of an image; the Stokes parameter is part of it where there are several."""
        return label_of(channel, stokes if len(self.config.stokes) > 1 else "")

    def thermal_of(self, image: Image) -> float | None:
        """Noise of an image expected from the weights; known for all channels together only."""
        return None if image.channel else self.thermal

    def expected(self, stokes: str, sum_weight: float) -> float:
        """Noise of a dirty image from the scatter [Jy/beam]; exact where all samples have the same noise."""
        return self.scatter[stokes] / np.sqrt(sum_weight)

    def operator(self, threads: int) -> OperatorChoice:
        """The operators of the run, with this number of threads."""
        return OperatorChoice(self.config.operator, self.config.epsilon, threads, self.device)

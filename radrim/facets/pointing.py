"""One pointing of a channel that is made in facets."""

from dataclasses import dataclass

from radrim.measure.primary_beam import PrimaryBeam
from radrim.workdir.visibilities import Samples


@dataclass(frozen=True)
class Pointing:
    """One pointing of a channel.

    Parameters
    ----------
    direction : (float, float) or None
        Direction cosines (l, m) relative to the phase centre; None for a single pointing.
    sum_weight : float
        Sum of the imaging weights [Jy^-2].
    beam : PrimaryBeam or None
        Primary beam; None without --pb.
    kept_weight : float
        The part of `sum_weight` that is kept out of the deconvolution [Jy^-2].
    """

    direction: tuple[float, float] | None
    sum_weight: float
    beam: PrimaryBeam | None = None
    kept_weight: float = 0.0

    def weight_of(self, samples: Samples) -> float:
        """Sum of the imaging weights of some of the samples [Jy^-2]."""
        kept = self.kept_weight
        return {Samples.ALL: self.sum_weight, Samples.FITTED: self.sum_weight - kept, Samples.KEPT: kept}[samples]

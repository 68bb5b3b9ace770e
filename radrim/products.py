"""The kinds of images that a run writes, and their names."""

from typing import Protocol

UNCERTAINTIES = ("uncertainty", "uncertainty_95", "model_uncertainty", "model_uncertainty_95")


KINDS = ("dirty", "psf", "model", "residual", "image", "pb", "image_pb", *UNCERTAINTIES)
"""Kinds of images of one channel, in the order of processing; with - for _ also the ends of their file names."""


SHARED = ("psf", "pb")
"""Kinds with one file for all Stokes parameters, which have the same samples and weights: that of the first."""


class ImageKinds(Protocol):
    """The options that determine which images a run writes."""

    @property
    def pb(self) -> str:
        """Primary beam, or 'none'."""

    @property
    def niter(self) -> int:
        """Number of CLEAN components; 0 for a dirty image alone."""

    @property
    def stokes(self) -> tuple[str, ...]:
        """Stokes parameters or correlations."""

    @property
    def uncertainty(self) -> bool:
        """Whether images of the uncertainty are written."""


def label_of(channel: str, stokes: str) -> str:
    """Label of an image such as '0000-Q': its channel and, if a run has several, its Stokes parameter."""
    return "-".join(part for part in (channel, stokes) if part)


def count_kinds(config: ImageKinds) -> int:
    """Number of images of all kinds and Stokes parameters that are written for each output channel."""
    beams, deconvolved = config.pb != "none", config.niter > 0
    shared = 1 + beams
    linear = (2 + beams) if deconvolved and {"Q", "U"} <= set(config.stokes) else 0
    more = beams + config.uncertainty * len(UNCERTAINTIES)
    return shared + len(config.stokes) * (1 + deconvolved * (3 + more)) + linear

"""The kinds of images that a run leaves, and how they are named."""

from typing import Protocol

UNCERTAINTIES = ("uncertainty", "uncertainty_95", "model_uncertainty", "model_uncertainty_95")


KINDS = ("dirty", "psf", "model", "residual", "image", "pb", "image_pb", *UNCERTAINTIES)
"""Images of one channel, in the order of the data; with - for _ also the endings of their files."""


SHARED = ("psf", "pb")
"""Of these there is one file for all Stokes parameters, whose samples and weights are the same: the first one's."""


class ImageKinds(Protocol):
    """The options that decide which images there are."""

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
    """Label of an image, '0000-Q', of its channel and, where a run has several, of its Stokes parameter."""
    return "-".join(part for part in (channel, stokes) if part)


def count_kinds(config: ImageKinds) -> int:
    """Images of all kinds and Stokes parameters that each output channel leaves as files."""
    beams, deconvolved = config.pb != "none", config.niter > 0
    shared = 1 + beams
    linear = (2 + beams) if deconvolved and {"Q", "U"} <= set(config.stokes) else 0
    more = beams + config.uncertainty * len(UNCERTAINTIES)
    return shared + len(config.stokes) * (1 + deconvolved * (3 + more)) + linear

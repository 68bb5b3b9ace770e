"""What tests of the RIM share."""

from types import SimpleNamespace

import numpy as np
import pytest

from radrim.deconvolve.tiles import Tiles
from radrim.deconvolve.whole import WholeImage
from radrim.rim.minor.stages import UNJUDGED_STAGES


@pytest.fixture
def propose():
    """One cycle of a solver, final stages included: ``propose(solver, residual, psf, model, noise, of=image)``.

    Gives the image, which `of` goes on with, what the cycle was (`minor`), and its update [Jy/pixel].
    """

    def run(solver, residual, psf, model, noise, of=None):
        image = WholeImage(
            label="", expected=noise, measurement=None, dirty=residual, psf=psf, model=model, residual=residual,
        )  # fmt: skip
        if of is not None:
            image.ended, image.stage = of.ended, of.stage
        image.cut(Tiles(residual.shape, max(residual.shape), 0), lambda tile, image: solver, stages=UNJUDGED_STAGES)
        (minor,) = image.propose()
        return SimpleNamespace(image=image, minor=minor, update=np.asarray(image.next_model - model))

    return run

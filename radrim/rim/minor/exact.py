"""The gradient of a minor cycle from the visibilities themselves, by any operator of radrim."""

import torch

from radrim.rim.network.psf import PsfConvolution


class ExactConvolution(PsfConvolution):
    """`PsfConvolution` whose step lengths and residuals are exact, w-term and all; for one image at a time.

    Every step then costs a prediction and an image of all visibilities: right for few of them (VLBI), or where the PSF
    changes over the field. The preconditioned images, which are only what the network looks at, stay convolutions.

    Parameters
    ----------
    measurement : Measurement
        Anything with ``normal(model)``, (y, x) tensor [Jy/pixel] to (y, x) tensor [Jy/beam].
    psf : Tensor, (y, x)
        Peak 1 at (ny // 2, nx // 2), as large as the image or larger.
    shape : (int, int)
        (y, x) of the images.
    padding : float
        Grid over image, of the preconditioned images.

    Raises
    ------
    SolverError
        The PSF is smaller than the image.
    """

    def __init__(self, measurement, psf, shape, padding=2.0):
        super().__init__(psf, shape, padding)
        self._measurement = measurement

    def normal(self, image):
        """A^H W A image / sum W [Jy/beam] of images (batch, y, x) [Jy/pixel]; without gradients."""
        with torch.no_grad():
            return torch.stack([self._measurement.normal(one.contiguous()) for one in image])

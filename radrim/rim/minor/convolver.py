"""Convolution with the current PSF on a CPU or GPU; the tiles are halved when the memory of the GPU is too small."""

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch

from radrim.errors import SolverError
from radrim.rim.network.psf import PsfConvolution

log = logging.getLogger("radrim")

Result = TypeVar("Result")
Convolve = Callable[[np.ndarray], np.ndarray]
"""An image [Jy/pixel] to psf * image [Jy/beam], both (y, x) float32."""

SMALLEST = 128
"""Smallest tile that is tried when the GPU runs out of memory [pixel]."""


class Convolver:
    """Runs work that needs the convolution with the current PSF.

    Parameters
    ----------
    device : torch.device
    tile : int
        Largest tile of the network [pixel]; halved whenever the GPU runs out of memory.
    """

    def __init__(self, device: torch.device, tile: int) -> None:
        self.device, self.tile = device, tile
        self._psf: np.ndarray | None = None
        self._finest: torch.Tensor | None = None
        self._shape: tuple[int, ...] = (0, 0)
        self._convolution: PsfConvolution | None = None
        self.sky: np.ndarray | None = None
        """Pixels above the horizon, (y, x) bool; None if all are."""

    def set_psf(self, psf: np.ndarray, shape: Sequence[int], finest: torch.Tensor | None = None) -> bool:
        """Set the PSF (y, x), the shape (y, x) of the images, and `PsfConvolution.finest` if it is not this PSF's.

        Returns
        -------
        bool
            Whether PSF or shape have changed.
        """
        if self._psf is not None and self._shape == tuple(shape) and np.array_equal(self._psf, psf):
            return False
        self._psf, self._shape, self._finest, self._convolution = psf.copy(), tuple(shape), finest, None
        return True

    def set_sky(self, residual: np.ndarray, mask: np.ndarray | None) -> None:
        """Learn from an exact residual (y, x) which pixels lie beyond the horizon: it is exactly 0 there.

        The mask of pixels that may hold emission excludes them; without one, all pixels are on the sky.
        """
        seen = None if mask is None else (residual != 0) | mask
        self.sky = None if seen is None or seen.all() else seen

    def on_sky(self, image: np.ndarray) -> np.ndarray:
        """An image (y, x), set to 0 beyond the horizon; convolution with a PSF knows of none."""
        return image if self.sky is None else np.where(self.sky, image, np.float32(0))

    def run(self, work: Callable[[PsfConvolution], Result]) -> Result:
        """Call `work` with the `PsfConvolution` and return its result; on a full GPU repeat it with smaller tiles.

        Raises
        ------
        SolverError
            The memory is too small even for the smallest tile, or no PSF was set.
        """
        while True:
            try:
                if self._convolution is None:
                    if self._psf is None:
                        raise SolverError("The convolution was asked for before a PSF was given.")
                    self._convolution = PsfConvolution(self.tensor(self._psf), self._shape, finest=self._finest)
                with torch.inference_mode():
                    return work(self._convolution)
            except RuntimeError as error:
                # cuFFT raises a plain RuntimeError when memory runs out.
                if not isinstance(error, torch.OutOfMemoryError) and "CUFFT_ALLOC_FAILED" not in str(error):
                    raise
                self._convolution = None
                torch.cuda.empty_cache()
                if self.tile // 2 < SMALLEST:
                    ny, nx = self._shape
                    raise SolverError(
                        f"The memory of the GPU is too small for an image of {nx} x {ny} pixels, even with tiles of "
                        f"{self.tile} pixels; use --device cpu, or a smaller --size."
                    ) from None
                self.tile //= 2
                log.warning("the memory of the GPU is too small; continuing with tiles of %d pixels", self.tile)

    def convolve(self, image: np.ndarray) -> np.ndarray:
        """Convolve an image [Jy/pixel] with the PSF, to [Jy/beam] above the horizon; (y, x) float32."""
        return self.on_sky(self.run(lambda convolution: convolution.normal(self.tensor(image)).cpu().numpy()))

    def lobe(self) -> np.ndarray:
        """Width (FWHM) of the PSF's main lobe along y and x [pixel], (2,) float32."""
        return self.run(lambda convolution: convolution.widths().cpu().numpy())

    def tensor(self, array: np.ndarray) -> torch.Tensor:
        """Copy an array to the device."""
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

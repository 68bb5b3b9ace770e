"""Images of a run: of each output channel, and of all output channels together."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, overload

import numpy as np

from radrim.beam import Beam
from radrim.products import KINDS
from radrim.write.fits import read_image

PlaneReader = Callable[[Path, int], np.ndarray]
"""Reads the image (y, x) of a FITS file, given its path and the number of a plane."""


@dataclass
class Image:
    """One Stokes parameter of one output channel, or of all of them together (MFS).

    Parameters
    ----------
    label : str
        '' for a single image, '0000', '0001', ... for channels, 'MFS' for all channels together; with several Stokes
        parameters 'Q', '0000-Q', 'MFS-Q'.
    freq, bandwidth : float
        [Hz]
    beam : Beam
        Restoring beam.
    psf_beam : Beam or None
        Beam of dirty image, PSF and residual; None if it is the restoring beam.
    noise : float
        Of the residual, from its median absolute deviation [Jy/beam].
    dirty, psf : (y, x) float32
        [Jy/beam]
    model : (y, x) float32 or None
        [Jy/pixel]; None with --niter 0, like `residual` and `image`.
    residual, image : (y, x) float32 or None
        [Jy/beam]
    pb : (y, x) float32 or None
        Primary beam, 1 at its maximum; None without --pb.
    image_pb : (y, x) float32 or None
        `image` / `pb` [Jy/beam], NaN where `pb` is below --pb-limit.
    uncertainty, uncertainty_95 : (y, x) float32 or None
        Bounds of 68.3 and 95.4 % of the errors of `image` [Jy/beam]; None without --uncertainty.
    model_uncertainty, model_uncertainty_95 : (y, x) float32 or None
        The same bounds for `model` [Jy/pixel].
    stop : str
        Why the deconvolution ended.
    cycles : list of dict
        Numbers of each major cycle; see `radrim.report.page.Report`.
    facts : dict
        Numbers for the FITS header, by the names of `radrim.write.fits.KEYWORDS`.
    fit_quality : dict
        How well the model fits visibilities that were fitted and visibilities that were kept out; see
        `radrim.measure.fit_quality`. Empty with `--holdout 0`.
    paths : dict of str to Path
        'dirty', 'psf', 'model', 'residual', 'image', 'pb', 'image_pb' to FITS file.
    stokes : str
    plane : int
        Number of the image's plane, if its file is a cube.
    """

    label: str
    freq: float
    bandwidth: float
    beam: Beam
    noise: float
    dirty: np.ndarray
    psf: np.ndarray
    model: np.ndarray | None = None
    residual: np.ndarray | None = None
    image: np.ndarray | None = None
    pb: np.ndarray | None = None
    image_pb: np.ndarray | None = None
    uncertainty: np.ndarray | None = None
    uncertainty_95: np.ndarray | None = None
    model_uncertainty: np.ndarray | None = None
    model_uncertainty_95: np.ndarray | None = None
    stop: str = ""
    cycles: list[dict] = field(default_factory=list)
    facts: dict = field(default_factory=dict)
    fit_quality: dict = field(default_factory=dict)
    paths: dict[str, Path] = field(default_factory=dict)
    stokes: str = "I"
    plane: int = 0
    psf_beam: Beam | None = None

    @property
    def fitted(self) -> Beam:
        """The beam of the PSF."""
        return self.psf_beam or self.beam

    def beam_of(self, kind: str) -> Beam:
        """The beam of one kind of image."""
        return self.fitted if kind in ("dirty", "psf", "residual") else self.beam

    @property
    def channel(self) -> str:
        """Label without the Stokes parameter: '', '0000', 'MFS'."""
        return self.label.removesuffix(self.stokes).removesuffix("-")

    @property
    def blank(self) -> bool:
        """Whether it is an output channel without data: its pixels and its beam are NaN."""
        return math.isnan(self.beam.major)

    @property
    def best(self) -> np.ndarray:
        """The restored image, or the dirty one if nothing was deconvolved."""
        return self.dirty if self.image is None else self.image


class Channels(Sequence[Image]):
    """Images of the output channels. The arrays of a channel are read from its files when the channel is requested.

    The memory therefore does not grow with the number of channels.

    Parameters
    ----------
    read : callable
        Reads an image, given the path of a FITS file and the number of a plane if the file is a cube.
    """

    def __init__(self, read: PlaneReader = read_image):
        self._images: list[Image] = []
        self.read = read

    def append(self, image: Image) -> None:
        """Add a channel whose files have been written."""
        nothing: dict[str, Any] = dict.fromkeys(KINDS)
        self._images.append(replace(image, **nothing))

    def __len__(self):
        return len(self._images)

    @overload
    def __getitem__(self, index: int) -> Image: ...

    @overload
    def __getitem__(self, index: slice) -> list[Image]: ...

    def __getitem__(self, index: int | slice) -> Image | list[Image]:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        image = self._images[index]
        paths = {kind: path for kind, path in image.paths.items() if kind in KINDS}
        arrays: dict[str, Any] = {kind: self.read(path, image.plane) for kind, path in paths.items()}
        return replace(image, **arrays)

    def plane(self, index: int, kind: str) -> np.ndarray:
        """One kind of image of one channel, (y, x)."""
        image = self._images[index]
        return self.read(image.paths[kind], image.plane)

    @property
    def headers(self) -> list[Image]:
        """The channels without their arrays."""
        return list(self._images)

    @property
    def paths(self) -> list[Path]:
        """All files, channel by channel; cubes once."""
        return list(dict.fromkeys(path for image in self._images for path in image.paths.values()))


class Stokes(Mapping[str, Image]):
    """Images by the name of the Stokes parameter. Arrays are read from the files when an image is requested.

    Parameters
    ----------
    wholes : Channels
        Of all channels together, one image for each Stokes parameter.
    channels : dict of str to Channels
        Output channels of each.

    Attributes
    ----------
    channels : dict of str to Channels
    """

    def __init__(self, wholes: Channels, channels: dict[str, Channels]):
        self._wholes, self.channels = wholes, channels

    def __getitem__(self, name: str) -> Image:
        if name not in self.channels:
            raise KeyError(name)
        return self._wholes[list(self.channels).index(name)]

    def __iter__(self):
        return iter(self.channels)

    def __len__(self):
        return len(self.channels)

    @property
    def headers(self) -> list[Image]:
        """The images without their arrays."""
        return self._wholes.headers

    @property
    def paths(self) -> list[Path]:
        """Files of all channels together, each once."""
        return self._wholes.paths

    def pick(self, name: str) -> Channels:
        """The image of one Stokes parameter as a sequence of length 1, without reading its arrays."""
        one = Channels(self._wholes.read)
        one.append(self._wholes.headers[list(self.channels).index(name)])
        return one


@dataclass
class Linear:
    """Maps of linear polarisation (`radrim.restore.polarisation`), read from their files on access.

    Parameters
    ----------
    noise : float
        Of Q and of U [Jy/beam].
    paths : dict of str to Path
        'image', 'image_pb' and 'angle'.
    """

    noise: float
    paths: dict[str, Path]

    @property
    def intensity(self) -> np.ndarray:
        """Polarised intensity, corrected for its bias, (y, x) float32 [Jy/beam]."""
        return read_image(self.paths["image"])

    @property
    def angle(self) -> np.ndarray:
        """Angle of the electric vector, (y, x) float32 [degrees], north through east; NaN where it is uncertain."""
        return read_image(self.paths["angle"])


@dataclass
class Beside:
    """Images of a second minor cycle on the same data.

    Parameters
    ----------
    names : (str, str)
        Name of the minor cycle that made the images of the run, and of the second one.
    image : Image
        From the second minor cycle.
    seconds : dict of str to float
        Wall time of each deconvolution, by name.
    """

    names: tuple[str, str]
    image: Image
    seconds: dict[str, float]

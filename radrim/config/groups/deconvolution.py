"""How the sky is found in the images."""

import functools
import math
from dataclasses import dataclass

from radrim.config.groups.option import GROUPS, option
from radrim.config.quantities import FLUX, quantity
from radrim.config.values import choice, numeric, to_flag, to_text

_option = functools.partial(option, GROUPS[3])


@dataclass(frozen=True, kw_only=True)
class DeconvolutionGroup:
    """The options of this group; see `radrim.config.options.ImageConfig`."""

    solver: str = _option(
        choice("rim", "clean", "entropy", "tv", "pnp"),
        "rim",
        "learned minor cycle, or CLEAN; entropy: for sparse arrays and small images; tv (total variation) and pnp "
        "(plug and play with a denoiser): for extended emission",
    )
    model: str = _option(
        to_text, "base", "trained model of the RIM: a name from 'radrim model list', or a file", "NAME"
    )
    compare: bool = _option(
        to_flag, False, "deconvolve with the other minor cycle as well; the report shows both side by side"
    )
    niter: int = _option(
        numeric(int, 0), 2_000_000, "largest number of CLEAN components; 0 writes dirty image and PSF only", "N"
    )
    gain: float = _option(
        numeric(float, 0, 1, open_low=True), 0.1, "loop gain: fraction of a peak that one component subtracts"
    )
    mgain: float = _option(
        numeric(float, 0, 1, open_low=True), 0.8, "fraction of the residual peak that one major cycle subtracts"
    )
    auto_mask: float = _option(
        numeric(float, 0, open_low=True),
        3.0,
        "clean everywhere down to this many times the noise, below it only where there are components",
        "SIGMA",
    )
    auto_threshold: float = _option(numeric(float, 0), 0.5, "stop at this many times the noise", "SIGMA")
    threshold: float = _option(
        quantity(FLUX, 0, math.inf, "1mJy"), 0.0, "stop at this residual peak [Jy/beam], such as 1mJy", "JY"
    )
    multiscale: bool = _option(to_flag, True, "CLEAN with extended components, too")
    mask: str | None = _option(
        to_text,
        None,
        "clean only where this image is not zero, or within these regions",
        "FILE",
        aliases=("fits-mask",),
    )
    holdout: float = _option(
        numeric(float, 0, 0.5),
        0.05,
        "keep this fraction of the visibilities out of the deconvolution, to judge what it does; 0 keeps none out; not "
        "used by --data closure, and by --solver entropy, which keeps parts out in turn",
        "FRACTION",
    )
    start_model: str | None = _option(
        to_text,
        None,
        "begin with this model [Jy/pixel] instead of an empty one; it has the pixels of the image",
        "FITS",
    )
    continue_run: bool = _option(
        to_flag,
        False,
        "begin with the model of the finished run of this --name, and replace its results",
        aliases=("continue",),
    )
    uncertainty: bool = _option(
        to_flag,
        False,
        "write the uncertainty of each pixel of image and model: NAME-uncertainty.fits, NAME-model-uncertainty.fits",
    )
    update_model: bool = _option(
        to_flag,
        False,
        "write the visibilities of the model to MODEL_DATA when the image is done, as radrim predict",
        aliases=("update-model-required",),
    )
    max_major: int = _option(numeric(int, 1), 20, "largest number of major cycles", "N", aliases=("nmiter",))
    tile: int = _option(numeric(int, 64), 2048, "largest tile of the minor cycle", "PIXELS")

"""Finished images in Python: `radrim.mask` and `feather`."""

import os
from pathlib import Path
from typing import Literal

from radrim.config.keyword_call import takes
from radrim.config.quantities import FLUX, quantity
from radrim.runtime.told import told


@takes()
def mask(  # noqa: PLR0913 - public: each argument is an option of `radrim mask`
    image: str | Path, *,
    name: str | Path | None = None, sigma: float = 5.0, edge: float = 3.0, noise: float | str | None = None,
    local_rms: bool = False, local_rms_window: float = 25.0, local_rms_method: Literal["rms", "rms-with-min"] = "rms",
    min_area: float = 0.5, grow: float = 0.0, negative: bool = False, overwrite: bool = False,
    quiet: bool | None = None,
) -> Path:  # fmt: skip
    """Write a CLEAN mask of the emission in an image, for ``mask`` of `radrim.image`, as the command `radrim mask`.

    Parameters
    ----------
    image : str or Path
        Restored image; of a cube all planes together.
    name : str or Path, optional
        File of the mask; NAME-mask.fits for NAME-image.fits by default.
    sigma, edge : float
        Least brightness of an island's peak, and of its other pixels [noise].
    noise : float or str, optional
        Noise [Jy/beam], or with a unit, such as '30uJy'; measured in the image by default.
    local_rms : bool
        Measure the noise around each pixel.
    local_rms_window : float
        Side of its windows [beam].
    local_rms_method : {'rms', 'rms-with-min'}
        With 'rms-with-min' the noise is at least a fifth of the depth of the window's most negative pixel.
    min_area : float
        Least area of an island [area of the beam].
    grow : float
        Distance by which islands are widened [beam].
    negative : bool
        Negative emission counts, too, as in Q, U and V.
    overwrite : bool
        Whether a file of that name may be replaced.
    quiet : bool, optional
        As in `radrim.image`.

    Returns
    -------
    Path
        Of the mask.

    Raises
    ------
    RadrimError
        The image cannot be read, or has no emission; or the mask exists or cannot be written.
    """
    parse = quantity(FLUX, 0, float("inf"), "30uJy", open_low=True)
    level = None if noise is None else parse("noise", noise)
    with told(quiet):
        from radrim.masking.make import MaskOptions, make_mask

        options = MaskOptions(
            sigma, edge, local_rms, local_rms_window, local_rms_method, level, min_area, grow, negative
        )
        return make_mask(image, name, options, overwrite)


@takes()
def feather(
    image: str | Path, dish: str | Path, *,
    name: str | Path | None = None, factor: float = 1.0, pb: str | Path | None = None,
    overwrite: bool = False, threads: int | None = None, quiet: bool | None = None,
) -> Path:  # fmt: skip
    """Combine an interferometer's image with that of a single dish, as the command `radrim feather`.

    Parameters
    ----------
    image : str or Path
        Restored image or cube of the interferometer [Jy/beam].
    dish : str or Path
        Image or cube of the single dish [Jy/beam], on pixels of its own.
    name : str or Path, optional
        File to write; NAME-feathered.fits for NAME-image.fits by default.
    factor : float
        The single dish's image is multiplied by it.
    pb : str or Path, optional
        Primary beam of `image`, if that is not corrected for it.
    overwrite : bool
        Whether a file of that name may be replaced.
    threads : int, optional
        Processor threads; all by default.
    quiet : bool, optional
        As in `radrim.image`.

    Returns
    -------
    Path
        Of the combined image.

    Raises
    ------
    RadrimError
        An image cannot be read or has no beam or unit; or the file exists or cannot be written.
    """
    with told(quiet):
        from radrim.sky.feathering import feather_files, feathered_name

        out = feathered_name(image) if name is None else str(name)
        beam = None if pb is None else str(pb)
        count = threads or len(os.sched_getaffinity(0))
        feather_files(str(image), str(dish), out, factor, beam, overwrite, threads=count)
        return Path(out)

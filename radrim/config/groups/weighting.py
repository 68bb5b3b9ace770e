"""Weights of the visibilities in the images."""

import functools
import math
from dataclasses import dataclass

from radrim.config.groups.option import GROUPS, option
from radrim.config.quantities import WAVELENGTHS, quantity
from radrim.config.values import Weighting, numeric, to_angle, to_flag, to_weight

_option = functools.partial(option, GROUPS[2])


@dataclass(frozen=True, kw_only=True)
class WeightingGroup:
    """The options of this group; see `radrim.config.options.ImageConfig`."""

    weight: Weighting = _option(  # noqa: RUF009 - Weighting is frozen
        to_weight, Weighting(), "natural, uniform, or briggs ROBUST (default: briggs 0)", "SCHEME"
    )
    weighting_per_channel: bool = _option(
        to_flag,
        False,
        "weights of each output channel from its own visibilities, not from those of all (CASA: perchanweightdensity)",
    )
    taper: float | None = _option(
        to_angle, None, "Gaussian taper: width (FWHM) of the beam it makes", "ANGLE", aliases=("taper-gaussian",)
    )
    taper_tukey: float | None = _option(
        quantity(WAVELENGTHS, 0, math.inf, "2klambda", open_low=True),
        None,
        "let the weights fall to 0 over this length below --maxuv-l (Tukey window) [wavelengths]",
        "LENGTH",
    )
    taper_inner_tukey: float | None = _option(
        quantity(WAVELENGTHS, 0, math.inf, "500lambda", open_low=True),
        None,
        "let the weights fall to 0 over this length above --minuv-l (Tukey window) [wavelengths]",
        "LENGTH",
    )
    super_weight: float = _option(
        numeric(float, 0, 100, open_low=True),
        1.0,
        "size of the uv cell of uniform and briggs weights over 1 / field of view (superuniform above 1)",
        "FACTOR",
    )
    padding: float = _option(numeric(float, 1, 4), 1.2, "padded over true image size; sets the uv cell, as in WSClean")

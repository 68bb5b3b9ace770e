"""Which data are imaged, and what is done to them first."""

import functools
import math
from dataclasses import dataclass

from radrim.config.groups.option import GROUPS, option
from radrim.config.quantities import METRES, WAVELENGTHS, quantity
from radrim.config.values import choice, numeric, pair, to_column, to_fields, to_flag, to_integers, to_ranges

_option = functools.partial(option, GROUPS[1])


@dataclass(frozen=True, kw_only=True)
class SelectionGroup:
    """The options of this group; see `radrim.config.options.ImageConfig`."""

    data_column: str | None = _option(
        to_column,
        None,
        "column to image; corrected and data stand for CORRECTED_DATA and DATA (default: the first that is present)",
        "COLUMN",
    )
    field: str | None = _option(
        to_fields,
        None,
        "field to image, by number or name (default: the one with most rows); with --pb several, such as 0,3 or 2~24, "
        "or all, as a joint mosaic",
    )
    spw: tuple[int, ...] | None = _option(
        to_integers, None, "spectral windows, such as 0,2 (default: all)", "LIST", aliases=("spws",)
    )
    chan_range: tuple[int, int] | None = _option(
        pair(int, 0),
        None,
        "channels of each spectral window, START included, END not",
        ("START", "END"),
        2,
        ("channel-range",),
    )
    minuv_l: float = _option(
        quantity(WAVELENGTHS, 0, math.inf, "1klambda"),
        0.0,
        "drop baselines shorter than this many wavelengths, such as 1klambda",
        "L",
    )
    maxuv_l: float = _option(
        quantity(WAVELENGTHS, 0, math.inf, "100klambda", open_low=True),
        math.inf,
        "drop baselines longer than this many wavelengths, such as 100klambda",
        "L",
    )
    time_range: tuple[str, str] | None = _option(
        pair(str), None, "first and last time, UTC, such as 2016-05-01T10:00:00", ("START", "END"), 2
    )
    interval: tuple[int, int] | None = _option(
        pair(int, 0), None, "numbers of the first integration and of the first one after the last", ("START", "END"), 2
    )
    scan: str | None = _option(to_fields, None, "scans, such as 3,5~9 or !4 (all others)", "LIST")
    antenna: str | None = _option(
        to_fields,
        None,
        "antennas by number or name, such as ea01,ea05 (all their baselines), 0~9& (among these), ea01&ea02, '!ea03', "
        "'CM*&'; groups are separated by ;",
        "LIST",
    )
    intent: str | None = _option(
        to_fields, None, "intents of the scans, such as '*TARGET*' or OBSERVE_TARGET#ON_SOURCE", "LIST"
    )
    array: str | None = _option(to_fields, None, "subarrays by ARRAY_ID, such as 0,2~3", "LIST")
    minuvw_m: float = _option(
        quantity(METRES, 0, math.inf, "100m"), 0.0, "drop baselines with (u, v, w) shorter than this", "METRES"
    )
    maxuvw_m: float = _option(
        quantity(METRES, 0, math.inf, "3km", open_low=True),
        math.inf,
        "drop baselines with (u, v, w) longer than this",
        "METRES",
    )
    abs_weights: bool = _option(to_flag, False, "take the absolute value of negative weights")
    feed_angle: str = _option(
        choice("auto", "on", "off"),
        "auto",
        "turn Q and U of linear feeds by the angle in the table FEED; auto: of equatorial mounts only",
    )
    flag_nonfinite: bool = _option(to_flag, False, "accept any number of NaN or infinite samples, as flagged")
    contsub: int | None = _option(
        numeric(int, 0, 5), None, "subtract the continuum of each row, a polynomial of this order in frequency", "ORDER"
    )
    contsub_channels: tuple[int, ...] | None = _option(
        to_ranges,
        None,
        "line-free channels of each spectral window for --contsub, END not included (default: all)",
        "START END ...",
    )

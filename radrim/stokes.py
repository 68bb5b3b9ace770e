"""Stokes parameters as sums of correlations.

Correlation numbers are the MS's (casacore Stokes::StokesTypes). The combinations follow Hamaker & Bregman (1996,
A&AS 117, 161): RL = Q + iU, LR = Q - iU, XY = U + iV, YX = U - iV.
"""

from collections.abc import Sequence

from radrim.errors import DataError

NAMES = {1: "I", 2: "Q", 3: "U", 4: "V", 5: "RR", 6: "RL", 7: "LR", 8: "LL", 9: "XX", 10: "XY", 11: "YX", 12: "YY"}
NUMBERS = {name: number for number, name in NAMES.items()}
MIXED_NAMES = {13: "RX", 14: "RY", 15: "LX", 16: "LY", 17: "XR", 18: "XL", 19: "YR", 20: "YL",
               21: "PP", 22: "PQ", 23: "QP", 24: "QQ"}  # fmt: skip
"""Correlations of feeds of different kinds: none gives a Stokes parameter without the calibration of both."""
MIXED = tuple(MIXED_NAMES.values())

MIXTURES = {"I": (1, 0, 0, 0), "Q": (0, 1, 0, 0), "U": (0, 0, 1, 0), "V": (0, 0, 0, 1),
            "RR": (1, 0, 0, 1), "RL": (0, 1, 1j, 0), "LR": (0, 1, -1j, 0), "LL": (1, 0, 0, -1),
            "XX": (1, 1, 0, 0), "XY": (0, 0, 1, 1j), "YX": (0, 0, 1, -1j), "YY": (1, -1, 0, 0)}  # fmt: skip
"""Coefficients of I, Q, U and V in each correlation."""

Terms = list[tuple[int, complex]]
"""Index of a correlation and its coefficient, for each term of a sum of correlations."""

_COMBINATIONS: dict[str, list[dict[str, complex]]] = {
    "I": [{"I": 1}, {"RR": 0.5, "LL": 0.5}, {"XX": 0.5, "YY": 0.5}],
    "Q": [{"Q": 1}, {"RL": 0.5, "LR": 0.5}, {"XX": 0.5, "YY": -0.5}],
    "U": [{"U": 1}, {"RL": -0.5j, "LR": 0.5j}, {"XY": 0.5, "YX": 0.5}],
    "V": [{"V": 1}, {"RR": 0.5, "LL": -0.5}, {"XY": -0.5j, "YX": 0.5j}],
}


def combinations(wanted: Sequence[str], correlations: Sequence[str]) -> tuple[list[Terms], bool]:
    """How several Stokes parameters are formed from the correlations of a spectral window.

    Parameters
    ----------
    wanted : sequence of str
    correlations : list of str
        The correlations of a spectral window, in order.

    Returns
    -------
    list of list of (int, complex)
        Terms of each Stokes parameter, as from `combination`.
    bool
        As from `combination`; always false for several Stokes parameters, which one hand cannot give.

    Raises
    ------
    DataError
        The correlations do not give all of these Stokes parameters.
    """
    if len(wanted) == 1:
        terms, one_hand = combination(wanted[0], correlations)
        return [terms], one_hand
    found = [_find_recipe(stokes, correlations) for stokes in wanted]
    missing = [stokes for stokes, recipe in zip(wanted, found, strict=True) if recipe is None]
    if missing:
        possible = [stokes for stokes in wanted if stokes not in missing]
        hands = [name for name in ("RR", "LL", "XX", "YY") if name in correlations]
        advice = ",".join(possible or hands[:1])
        raise DataError(
            f"Stokes {' and '.join(missing)} cannot be formed from the correlations {', '.join(correlations)}: "
            f"{missing[0]} needs {_needed(missing[0])}." + (f" Use --pol {advice}." if advice else "")
        )
    return [_terms(recipe, correlations) for recipe in found if recipe is not None], False


def combination(stokes: str, correlations: Sequence[str]) -> tuple[Terms, bool]:
    """How a Stokes parameter is formed from the correlations of a spectral window.

    Parameters
    ----------
    stokes : str
        'I', 'Q', 'U', 'V' or a correlation such as 'XX'.
    correlations : list of str
        The correlations of a spectral window, in order.

    Returns
    -------
    list of (int, complex)
        Index into `correlations` and coefficient of each term.
    bool
        Whether Stokes I is formed from one hand alone, which assumes that the source is unpolarised.

    Raises
    ------
    DataError
        The correlations do not give this Stokes parameter.
    """
    recipe = _find_recipe(stokes, correlations)
    if recipe is not None:
        return _terms(recipe, correlations), False
    mixed = [name for name in correlations if name in MIXED]
    if mixed and (len(mixed) == len(correlations) or stokes in MIXED):
        raise DataError(
            f"The correlations {', '.join(mixed)} are of mixed feeds (circular with linear, or of unknown kind), from "
            f"which Stokes {stokes} cannot be formed: convert the linear feeds to circular ones first (PolConvert), or "
            "leave out these antennas."
        )
    hands = [name for name in ("RR", "LL", "XX", "YY") if name in correlations]
    if stokes == "I" and hands:
        return [(correlations.index(hands[0]), 1 + 0j)], True
    instead = [*hands, *(name for name in correlations if name in NUMBERS)][:1]
    raise DataError(
        f"Stokes {stokes} cannot be formed from the correlations {', '.join(correlations)}: it needs {_needed(stokes)}."
        + "".join(f" Use --pol {name}." for name in instead)
    )


def _recipes(stokes: str) -> list[dict[str, complex]]:
    return _COMBINATIONS.get(stokes, [{stokes: 1}])


def _find_recipe(stokes: str, correlations: Sequence[str]) -> dict[str, complex] | None:
    """The first recipe whose correlations all exist, or None."""
    return next((r for r in _recipes(stokes) if all(name in correlations for name in r)), None)


def _terms(recipe: dict[str, complex], correlations: Sequence[str]) -> Terms:
    return [(correlations.index(name), complex(factor)) for name, factor in recipe.items()]


def _needed(stokes: str) -> str:
    return " or ".join(" and ".join(recipe) for recipe in _recipes(stokes))


STOKES_CODE = {
    "I": 1, "Q": 2, "U": 3, "V": 4, "RR": -1, "LL": -2, "RL": -3, "LR": -4, "XX": -5, "YY": -6, "XY": -7, "YX": -8,
    "P": 129, "angle": 132,
}  # fmt: skip
"""FITS numbers of the STOKES axis (Greisen & Calabretta 2002, table 7).

FITS has none for the intensity and angle of linear polarisation: 129 and 132 are 100 + casacore's Plinear and Pangle.
"""

STOKES = ("I", "Q", "U", "V", "XX", "YY", "XY", "YX", "RR", "LL", "RL", "LR")
"""Stokes parameters and correlations, in FITS order."""

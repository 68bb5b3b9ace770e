"""Recipe of the training problems: proportions and ranges of their properties, checked, from a TOML table."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from radrim.errors import ConfigError
from radrim.rim.training.coverages import KINDS, SAMPLES, read_layouts
from radrim.rim.training.skies import GENERATORS, read_first

SKIES = {
    "points": 0.26, "compact": 0.24, "radio_galaxy": 0.13, "disc": 0.05, "crescent": 0.04, "shell": 0.07,
    "texture": 0.06, "jet": 0.07, "mixture": 0.08,
}  # fmt: skip
"""Default proportions: half of the skies are point fields and compact sources, on which learned imagers often fail."""

COVERAGES = {
    "y_shaped": 0.15, "core_halo": 0.15, "spiral": 0.08, "scattered": 0.08, "east_west": 0.06, "sparse": 0.2,
    "real": 0.28,
}  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """Distributions of the problems, checked; made by `make_recipe`.

    Parameters
    ----------
    size : int
        Pixels of the tile along y and x; even, at least 32.
    skies, coverages : dict of str to float
        Proportions, which need not add up to 1.
    dynamic_range, pixels_per_beam, phase_error_deg : (float, float)
        Ranges, drawn uniformly in the logarithm. Pixels are smaller where the longest baseline requires it.
    samples : int
        Largest number of visibilities of one problem; fewer are faster, and leave gaps along the tracks.
    gain_errors, outside, stretched : float
        Fractions of problems with residual gain errors, of those with sources outside the tile, and of those with an
        extended sky whose dynamic range is stretched (`skies.stretch`).
    first, layouts : str, optional
        Path of the FIRST galaxies (see `skies.read_first`), and of a folder of additional layouts.
    """

    size: int = 128
    skies: Mapping[str, float] = field(default_factory=lambda: dict(SKIES))
    coverages: Mapping[str, float] = field(default_factory=lambda: dict(COVERAGES))
    dynamic_range: tuple[float, float] = (10**1.5, 5e5)
    pixels_per_beam: tuple[float, float] = (1.5, 6.0)
    phase_error_deg: tuple[float, float] = (0.1, 5.0)
    samples: int = SAMPLES
    gain_errors: float = 0.2
    outside: float = 0.4
    stretched: float = 0.0
    first: str | None = None
    layouts: str | None = None
    galaxies: list = field(default_factory=list, repr=False)
    arrays: dict = field(default_factory=dict, repr=False)


def make_recipe(mix: Mapping[str, Any] | None = None, size: int = 128) -> Recipe:
    """Check a mix from a TOML table, and load its galaxies and layouts.

    Parameters
    ----------
    mix : mapping, optional
        Parameters of `Recipe`; missing ones keep their defaults. `skies` has classes of `skies.GENERATORS`, 'first' and
        'empty'; `coverages` has kinds of `coverages.KINDS`.
    size : int
        Of the tile, if it is not in the mix.

    Returns
    -------
    Recipe

    Raises
    ------
    ConfigError
        An unknown name, an invalid proportion or range, or 'first' without a path.
    InputError
        The FIRST galaxies or the layouts cannot be read.
    """
    mix = {"size": size, **(mix or {})}
    known = [f.name for f in fields(Recipe) if f.name not in ("galaxies", "arrays")]
    unknown = sorted(set(mix) - set(known))
    if unknown:
        raise ConfigError(f"The training mix has the unknown key '{unknown[0]}'; known: {', '.join(known)}.")
    if not (isinstance(mix["size"], int) and mix["size"] >= 32 and mix["size"] % 2 == 0):
        raise ConfigError(f"size = {mix['size']} in the training mix must be an even number of pixels from 32 on.")
    mix["skies"] = _proportions("skies", mix.get("skies", SKIES), [*GENERATORS, "first", "empty"])
    mix["coverages"] = _proportions("coverages", mix.get("coverages", COVERAGES), list(KINDS))
    for name, low, high in (("dynamic_range", 1, math.inf), ("pixels_per_beam", 1, 40), ("phase_error_deg", 1e-6, 180)):
        if name in mix:
            mix[name] = _range(name, mix[name], low, high)
    if "samples" in mix and not (isinstance(mix["samples"], int) and mix["samples"] >= 1000):
        raise ConfigError(f"samples = {mix['samples']!r} in the training mix must be a whole number from 1000 on.")
    for name in ("gain_errors", "outside", "stretched"):
        if name in mix and not (_is_number(mix[name]) and 0 <= mix[name] <= 1):
            raise ConfigError(f"{name} = {mix[name]!r} in the training mix must be a fraction from 0 to 1.")
    if "first" in mix["skies"] and not mix.get("first"):
        raise ConfigError("The training mix asks for skies of the class 'first'; give the path of the FIRST galaxies "
                          "(galaxy_data_h5.zip) as first = PATH.")  # fmt: skip
    galaxies = read_first(mix["first"]) if "first" in mix["skies"] else []
    arrays = read_layouts() if "real" in mix["coverages"] else {}
    if mix.get("layouts") and arrays:
        arrays |= read_layouts(mix["layouts"])
    return Recipe(**mix, galaxies=galaxies, arrays=arrays)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _proportions(what: str, given: object, known: list[str]) -> dict[str, float]:
    """The positive proportions, in the order of `known`, so that their order in a file does not matter."""
    if not isinstance(given, Mapping):
        raise ConfigError(f"{what} in the training mix is {given!r}; it must be a table of names and proportions.")
    for name, value in given.items():
        if name not in known:
            raise ConfigError(f"{what} in the training mix has the unknown name '{name}'; known: {', '.join(known)}.")
        if not (_is_number(value) and value >= 0):
            raise ConfigError(f"{what}.{name} = {value!r} in the training mix must be a number from 0 on.")
    out = {name: float(given[name]) for name in known if given.get(name, 0) > 0}
    if not out:
        raise ConfigError(f"{what} in the training mix are all 0; give at least one of them a positive proportion.")
    return out


def _range(name: str, given: Any, low: float, high: float) -> tuple[float, float]:
    try:
        a, b = (float(x) for x in given)
    except (TypeError, ValueError):
        a, b = math.nan, math.nan
    if not low <= a <= b <= high:
        raise ConfigError(f"{name} = {given!r} in the training mix must be two rising numbers from {low} to {high}.")
    return a, b

"""The options of `radrim image`: one table for the command line, the TOML file and the Python call.

Each field of `ImageConfig` carries its parser, its help text and its WSClean spelling; the groups of fields are in
`radrim.config.groups`. A parser takes text, a number or
a list from any of these sources, and raises ConfigError with the option's name. This module imports nothing heavy, so
that `radrim --help` answers at once.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from radrim.angles import exact_angle
from radrim.config.groups.computing import ComputingGroup
from radrim.config.groups.deconvolution import DeconvolutionGroup
from radrim.config.groups.image import ImageGroup
from radrim.config.groups.selection import SelectionGroup
from radrim.config.groups.weighting import WeightingGroup
from radrim.config.rules import check
from radrim.config.toml_file import nearest
from radrim.config.values import Taper, Weighting, to_angle, to_beam, to_beam_size, to_paths
from radrim.errors import ConfigError

ALL_OPTIONS = "radrim image --help lists them all."
INDIFFERENT = ("ms", "name", "threads", "scheduler", "cluster", "jobs", "keep", "overwrite", "report")
"""Options that do not change the images. A change of the Measurement Sets is detected from their content."""


SEVERAL = ("contsub-channels", "shift", "beam-shape")
"""Options of several values, which the command line takes as words."""


@dataclass(frozen=True, kw_only=True)
class ImageConfig(ComputingGroup, DeconvolutionGroup, WeightingGroup, SelectionGroup, ImageGroup):
    """The settings of one run of `radrim image`. None means that radrim chooses the value and prints it.

    Values are in radians, wavelengths and Jy. `ImageConfig.parse` reads text such as ``scale="1asec"``.
    """

    ms: tuple[str, ...] = dataclasses.field(metadata={})

    @classmethod
    def options(cls) -> dict[str, dataclasses.Field]:
        """Every option by its long name with dashes; `ms` is not among them."""
        return {f.name.replace("_", "-"): f for f in dataclasses.fields(cls) if f.name != "ms"}

    @classmethod
    def parse(cls, ms: Any, values: Mapping[str, Any], where: str = "") -> "ImageConfig":
        """A configuration from raw values.

        Parameters
        ----------
        ms : str, Path or sequence of them
            Measurement Sets.
        values : mapping
            Option (with - or _) to text, number or list; None stands for the default.
        where : str
            Source of the values, for the message about an unknown option.

        Raises
        ------
        ConfigError
            Unknown option, wrong type, or a value out of range.
        """
        options = cls.options()
        parsed: dict[str, Any] = {}
        for key, value in values.items():
            name = str(key).replace("_", "-")
            if name not in options:
                raise ConfigError(f"{where}unknown option '{key}'; {nearest(name, options, ALL_OPTIONS)}")
            if value is not None:
                parse: Callable = options[name].metadata["parse"]
                parsed[name.replace("-", "_")] = parse(name, value)
        paths = to_paths("ms", ms)
        if not paths:
            raise ConfigError("No Measurement Set given; write radrim image OBS.ms.")
        # With --auto-threshold 5 alone, as people write it for WSClean, there is nothing to clean within a mask.
        if "auto_mask" not in parsed and "auto_threshold" in parsed:
            parsed["auto_mask"] = max(cls.auto_mask, parsed["auto_threshold"])
        config = cls(ms=tuple(str(p) for p in paths), **parsed)
        check(config)
        return config

    @property
    def tapers(self) -> Taper:
        """The tapers of the imaging weights."""
        inner, outer = self.taper_inner_tukey, self.taper_tukey
        return Taper(
            self.taper,
            None if inner is None else (self.minuv_l, inner),
            None if outer is None else (self.maxuv_l, outer),
        )

    @property
    def stokes(self) -> tuple[str, ...]:
        """The Stokes parameters or correlations of `pol`."""
        return tuple(self.pol.split(","))

    @property
    def wanted_centre(self) -> str | None:
        """The direction of --shift or --phase-centre."""
        return " ".join(self.shift) if self.shift else self.phase_centre

    def fields_of(self, settings: type) -> dict[str, Any]:
        """The options that a dataclass has as fields of the same names, by name."""
        shared = {f.name for f in dataclasses.fields(settings)} & {f.name for f in dataclasses.fields(self)}
        return {name: getattr(self, name) for name in shared}

    def resolved(self, size: tuple[int, int], scale: float, name: str | None) -> "ImageConfig":
        """The configuration with width and height [pixel], pixel size [rad] and name that the run has chosen."""
        return dataclasses.replace(self, size=size, scale=scale, name=name)

    def as_arguments(self) -> list[str]:
        """The arguments of `radrim image` that give this configuration; options at their defaults are left out.

        Returns
        -------
        list of str
            Measurement Sets, then options.
        """
        words, values = [], self.as_text()
        for name, option in self.options().items():
            if name not in values or getattr(self, option.name) == option.default:
                continue
            value = values[name]
            if isinstance(value, bool):
                words.append(f"--{name}" if value else f"--no-{name}")
            elif isinstance(getattr(self, option.name), Weighting):
                words += [f"--{name}", *value.split()]
            elif isinstance(value, list):
                several = option.metadata["nargs"] == 2 or name in SEVERAL
                words += [f"--{name}", *map(str, value)] if several else [f"--{name}", ",".join(map(str, value))]
            elif str(value).startswith("-"):  # argparse would read it as another option
                words.append(f"--{name}={value}")
            else:
                words += [f"--{name}", str(value)]
        # Options come last: argparse could read a Measurement Set after an option as its value.
        return [*self.ms, *words]

    def as_text(self) -> dict[str, Any]:
        """The options as TOML values, which `parse` reads back; options that are None or infinite are left out."""
        out: dict[str, Any] = {"ms": list(self.ms)}
        for name, f in self.options().items():
            value = getattr(self, f.name)
            if value is None or value == math.inf:
                continue
            if f.metadata["parse"] in (to_angle, to_beam_size):
                value = exact_angle(value)
            elif f.metadata["parse"] is to_beam:
                value = [exact_angle(angle) for angle in value]
            elif isinstance(value, Weighting):
                value = str(value)
            elif isinstance(value, tuple):
                value = list(value)
            out[name] = value
        return out

"""Options of the plug-in of WSClean, as `radrim plugin` passes them to the process of the plug-in."""

import argparse
import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from radrim.config.values import numeric
from radrim.errors import ConfigError
from radrim.stokes import STOKES


@dataclass(frozen=True)
class PluginOptions:
    """Options of the plug-in that WSClean lacks.

    Parameters
    ----------
    model : str
        Trained model of the RIM: a name, or the absolute path of a file.
    mask : str or None
        Absolute path of a FITS image.
    pol : list of str
        Polarisations that WSClean images, in its order; all but Stokes I and parallel hands may be negative.
    spectral_terms : int
        Number of terms of the spectrum of joined channels.
    noise : float
        Noise of the image [Jy/beam]; NaN if unknown.
    tile : int
    threads : int or None
        All processors if None.
    device : str
        'auto', 'cpu' or 'cuda'.
    """

    model: str = "base"
    mask: str | None = None
    pol: tuple[str, ...] = ("I",)
    spectral_terms: int = 2
    noise: float = math.nan
    tile: int = 2048
    threads: int | None = None
    device: str = "auto"

    @classmethod
    def parse(cls, args: argparse.Namespace) -> Self:
        """Options from the parsed command line.

        Raises
        ------
        RadrimError
            A value is out of range, or a file does not exist.
        """
        from radrim.rim.checkpoint import find_model

        pol = tuple(word.strip().upper() for word in args.pol.split(","))
        unknown = [name for name in pol if name not in STOKES]
        if unknown:
            raise ConfigError(f"--pol {args.pol}: '{unknown[0]}' is none of {', '.join(STOKES)}.")
        if args.mask is not None and not Path(args.mask).is_file():
            raise ConfigError(f"--mask {args.mask} does not exist.")
        path = find_model(args.model)
        values = {
            "model": str(path.absolute()),
            "mask": str(Path(args.mask).absolute()) if args.mask else None,
            "pol": pol,
            "device": args.device,
        }
        numbers = {"spectral_terms": numeric(int, 1, 5), "tile": numeric(int, 64), "threads": numeric(int, 1),
                   "noise": numeric(float, 0, open_low=True)}  # fmt: skip
        for name, parse in numbers.items():
            if getattr(args, name) is not None:
                values[name] = parse(name.replace("_", "-"), getattr(args, name))
        return cls(**values)

    def as_json(self) -> str:
        """The options as JSON, for the command line of the process."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Options from `as_json`."""
        values = json.loads(text)
        return cls(**values | {"pol": tuple(values["pol"])})

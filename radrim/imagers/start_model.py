"""Start models of the deconvolution: `--start-model` and `--continue`.

The models are copied into the work directory at the beginning of a run. A resumed run therefore uses the same models,
even if the interrupted run has already overwritten their files.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from radrim.config.options import ImageConfig
from radrim.errors import ConfigError, InputError
from radrim.geometry import ImageGrid, format_angle
from radrim.products import label_of
from radrim.sky.images import Plane, find_models, read_planes
from radrim.workdir.directory import WorkDir

log = logging.getLogger("radrim")


@dataclass(frozen=True)
class StartModelSettings:
    """Tolerance for the pixels of start models."""

    max_offset: float = 0.01
    """Largest offset between pixels of start model and image, anywhere on the image [pixel]."""


class RunStartModel:
    """Start models of the output channels; made by `take_start`.

    Parameters
    ----------
    work : WorkDir
        Work directory that holds the images.
    counts : dict of str to int
        Number of models of each Stokes parameter that has any: 1 for all output channels, or one for each.
    """

    def __init__(self, work: WorkDir, counts: dict[str, int]):
        self._work, self._counts = work, counts

    def has(self, stokes: str) -> bool:
        """Whether a Stokes parameter has a start model."""
        return stokes in self._counts

    def name(self, channel: str, stokes: str) -> str:
        """Name of a model in the work directory.

        Parameters
        ----------
        channel : str
            '' for a single channel, else '0000', '0001', ...
        stokes : str
        """
        return _name(stokes, int(channel) if channel and self._counts[stokes] > 1 else 0)

    def image(self, channel: str, stokes: str) -> np.ndarray:
        """A model, (y, x) float32 [Jy/pixel]; arguments as for `name`."""
        return np.array(self._work.load(self.name(channel, stokes)), np.float32)


def find_start(config: ImageConfig, prefix: str | Path) -> list[Path]:
    """The files of the start model that the user gave; empty without one.

    Raises
    ------
    InputError
        There is no such file.
    ConfigError
        --start-model is a file that the run will replace.
    """
    if config.continue_run:
        return find_models(prefix, "--start-model")
    if not config.start_model:
        return []
    path = Path(config.start_model)
    if path.absolute() in _own(prefix, config):
        raise ConfigError(f"--start-model {path} will be replaced by this run: give --continue in its place.")
    if not path.exists():
        raise InputError(f"--start-model {path} cannot be read: No such file or directory.")
    return [path]


def take_start(config: ImageConfig, prefix: str | Path, grid: ImageGrid, work: WorkDir) -> RunStartModel | None:
    """Copy the start models that the user gave into the work directory; None if there are none.

    Parameters
    ----------
    config : ImageConfig
    prefix : str or Path
        Beginning of the names of the run's files (--name).
    grid : ImageGrid
        Grid of the run's images.
    work : WorkDir

    Raises
    ------
    InputError
        There is no model file, or it has other pixels, another Stokes parameter or other output channels than the run.
    ConfigError
        --start-model is a file that the run will replace.
    """
    if not (config.start_model or config.continue_run):
        return None
    if "start" not in work:
        found = _choose(read_planes(find_start(config, prefix)), config)
        for stokes, planes in found.items():
            for number, plane in enumerate(planes):
                _check_grid(plane, grid)
                work.save(_name(stokes, number), plane.image())
        work.note("start", {stokes: len(planes) for stokes, planes in found.items()})
    counts = work.facts("start")
    for stokes in config.stokes:
        if stokes not in counts:
            log.info("The start model has no Stokes %s, which begins with an empty model.", stokes)
        elif counts[stokes] < config.channels_out:
            log.info("One start model of Stokes %s for all output channels.", stokes)
    return RunStartModel(work, counts)


def _name(stokes, number):
    return f"start-{stokes}-{number:04d}"


def _own(prefix, config):
    """Paths of the models that a run writes."""
    channels = [""] if config.channels_out == 1 else ["MFS", *(f"{k:04d}" for k in range(config.channels_out)), ""]
    labels = [label_of(channel, one) for channel in channels for one in ("", *config.stokes)]
    return [Path(f"{prefix}-{label}-model.fits" if label else f"{prefix}-model.fits").absolute() for label in labels]


def _choose(planes: Sequence[Plane], config: ImageConfig) -> dict[str, list[Plane]]:
    """Select the planes of each of the run's Stokes parameters, in order of frequency."""
    path, found = planes[0].path, {}
    for stokes in config.stokes:
        chosen = sorted((plane for plane in planes if plane.stokes == stokes), key=lambda plane: plane.freq)
        if len(chosen) not in (0, 1, config.channels_out):
            raise InputError(
                f"The start model {path} has {len(chosen)} frequencies, and the run {config.channels_out} output "
                f"channels: give --channels-out {len(chosen)}, or a model of one frequency, such as "
                "NAME-MFS-model.fits."
            )
        if chosen:
            found[stokes] = chosen
    if not found:
        there = ", ".join(dict.fromkeys(plane.stokes for plane in planes))
        raise InputError(f"The start model {path} is of Stokes {there}, and the run of {config.pol}; change --pol.")
    return found


def _check_grid(plane, grid):
    """Raise InputError if a start model has other pixels than the run; an interpolated model would not fit the data."""
    there = plane.grid
    corner = max(grid.shape) / 2
    apart = math.hypot((there.ra - grid.ra + math.pi) % (2 * math.pi) - math.pi, 0) * math.cos(grid.dec)
    apart = math.hypot(apart, there.dec - grid.dec) / grid.scale + abs(there.scale / grid.scale - 1) * corner
    if (
        there.shape == grid.shape
        and (there.x0, there.y0) == (grid.x0, grid.y0)
        and apart < StartModelSettings.max_offset
    ):
        return
    options = f"--size {there.width} {there.height} --scale {format_angle(there.scale)}"
    if math.hypot((there.ra - grid.ra + math.pi) % (2 * math.pi) - math.pi, there.dec - grid.dec) > grid.scale / 100:
        options += f" --phase-centre '{math.degrees(there.ra):.9f}deg {math.degrees(there.dec):.9f}deg'"
    raise InputError(
        f"The start model {plane.path} is {_describe(there)}, and the run's image {_describe(grid)}: they must have "
        f"the same pixels. Give {options}, or run without a start model."
    )


def _describe(grid):
    at = f"({math.degrees(grid.ra):.6f}, {math.degrees(grid.dec):+.6f}) deg"
    return f"{grid.width} x {grid.height} pixels of {format_angle(grid.scale)} around {at}"

"""Where the deconvolution begins, if not with an empty model: `--start-model` and `--continue`.

The models are copied into the work directory before anything else. What a killed run goes on from then is what it began
with, though it may have written some of its own results over the files.
"""

import logging
import math
from pathlib import Path

import numpy as np

from radrim.errors import ConfigError, InputError
from radrim.geometry import ImageGrid, format_angle
from radrim.sky.images import Plane, find_models, read_planes
from radrim.workdir.directory import WorkDir

log = logging.getLogger("radrim")

SAME = 0.01
"""Largest distance between pixels that count as the same, anywhere on the image [pixel]."""


class RunStartModel:
    """The models that the output channels begin with; made by `take_start`.

    Parameters
    ----------
    work : WorkDir
        Holds their images.
    count : int
        Their number: 1 for all channels, or one for each.
    """

    def __init__(self, work: WorkDir, count):
        self._work, self._count = work, count

    def image(self, label):
        """Model of an output channel, (y, x) float32 [Jy/pixel]; `label` as `radrim.result.Image` has it."""
        number = int(label) if label and self._count > 1 else 0
        return np.array(self._work.load(_name(number)), np.float32)


def take_start(config, prefix, grid: ImageGrid, work: WorkDir) -> RunStartModel | None:
    """The start model that was asked for, kept in the work directory; None if none was.

    Parameters
    ----------
    config : ImageConfig
    prefix : str or Path
        Beginning of the names of the run's files.
    grid : ImageGrid
        Of the run.
    work : WorkDir

    Raises
    ------
    InputError
        There is no such model, or it is of other pixels, another Stokes parameter, or other output channels.
    ConfigError
        --start-model is a file that the run is going to replace.
    """
    if not (config.start_model or config.continue_run):
        return None
    if "start" not in work:
        paths = find_models(prefix) if config.continue_run else [Path(config.start_model)]
        if config.start_model and paths[0].absolute() in _own(prefix, config.channels_out):
            raise ConfigError(f"--start-model {paths[0]} will be replaced by this run: give --continue in its place.")
        planes = _choose(read_planes(paths), config)
        for number, plane in enumerate(planes):
            _check_grid(plane, grid)
            work.save(_name(number), plane.image())
        work.note("start", len(planes))
    count = work.facts("start")
    if count < config.channels_out:
        log.info("One start model for all output channels.")
    return RunStartModel(work, count)


def _name(number):
    return f"start-{number:04d}"


def _own(prefix, channels):
    """The models that a run writes."""
    labels = [""] if channels == 1 else ["-MFS", *(f"-{k:04d}" for k in range(channels)), ""]
    return [Path(f"{prefix}{label}-model.fits").absolute() for label in labels]


def _choose(planes, config) -> list[Plane]:
    """The planes of the run's Stokes parameter, in order of frequency."""
    path = planes[0].path
    chosen = sorted((plane for plane in planes if plane.stokes == config.pol), key=lambda plane: plane.freq)
    if not chosen:
        there = ", ".join(dict.fromkeys(plane.stokes for plane in planes))
        raise InputError(f"The start model {path} is of Stokes {there}, and the run of {config.pol}; change --pol.")
    if len(chosen) not in (1, config.channels_out):
        raise InputError(
            f"The start model {path} has {len(chosen)} frequencies, and the run {config.channels_out} output channels: "
            f"give --channels-out {len(chosen)}, or a model of one frequency, such as NAME-MFS-model.fits."
        )
    return chosen


def _check_grid(plane, grid):
    """The pixels of a start model must be those of the run: interpolated ones would not fit the data."""
    there = plane.grid
    corner = max(grid.shape) / 2
    apart = math.hypot((there.ra - grid.ra + math.pi) % (2 * math.pi) - math.pi, 0) * math.cos(grid.dec)
    apart = math.hypot(apart, there.dec - grid.dec) / grid.scale + abs(there.scale / grid.scale - 1) * corner
    if there.shape == grid.shape and (there.x0, there.y0) == (grid.x0, grid.y0) and apart < SAME:
        return
    options = f"--size {there.width} {there.height} --scale {format_angle(there.scale)}"
    raise InputError(
        f"The start model {plane.path} is {_describe(there)}, and the run's image {_describe(grid)}: they must have "
        f"the same pixels. Give {options}, or begin without."
    )


def _describe(grid):
    at = f"({math.degrees(grid.ra):.6f}, {math.degrees(grid.dec):+.6f}) deg"
    return f"{grid.width} x {grid.height} pixels of {format_angle(grid.scale)} around {at}"

"""Describes a Measurement Set or UVFITS file, and how to image it or why it cannot be imaged (`radrim info`)."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from radrim.config.options import ImageConfig
from radrim.errors import RadrimError
from radrim.geometry import C, format_angle
from radrim.imagers.grid import choose_grid, will_look
from radrim.inspection.tables import antenna_table, baseline_table, row_counts
from radrim.metrics import measured_scatter
from radrim.ms.inputs import open_inputs
from radrim.ms.tables import MeasurementSet
from radrim.read.reader import read
from radrim.units import band, duration
from radrim.visibilities import Observation
from radrim.weight.imaging import apply_weights


def describe(path: str | Path, antennas: bool = False, baselines: bool = False) -> str:
    """A page of text about the Measurement Set or UVFITS file at `path`.

    Parameters
    ----------
    path : str or Path
    antennas, baselines : bool
        Whether to list all of them, however many there are.

    Raises
    ------
    InputError
        The file is neither a Measurement Set nor a UVFITS file.
    """
    with TemporaryDirectory(prefix="radrim-") as folder, open_inputs([path], Path(folder)) as (ms,):
        lines = _contents(ms)
        try:
            observation = read([ms.path], folder=Path(folder))
            scatter = measured_scatter(observation.blocks)
            lines += antenna_table(ms, observation, antennas) + baseline_table(ms, observation, scatter, baselines)
            lines += _imaging(ms, observation, scatter)
        except RadrimError as error:
            lines.append(f"  cannot be imaged as it is: {error}")
    return "\n".join(lines)


def _contents(ms: MeasurementSet) -> list[str]:
    """Lines about the contents, from the subtables."""
    lines = [
        f"{ms.path}",
        f"  telescope      {ms.telescope}, {len(ms.antennas)} antennas, {_dishes(ms.dish_diameters)}",
        f"  rows           {ms.rows}",
        f"  data columns   {', '.join(name for name in ms.columns if name.endswith('DATA')) or 'none'}",
    ]
    field_rows, window_rows = row_counts(ms)
    for index, field in enumerate(ms.fields):
        lines.append(
            f"  field {index:<8} {field.name}, phase centre {_direction(field.ra, field.dec)} {field.frame}, "
            f"{field_rows[index]} rows"
        )
    for window in ms.windows:
        freq = window.freq
        span = band(float(freq[0]), float(freq[-1]))
        plural = "channel" if len(freq) == 1 else "channels"
        lines.append(
            f"  window {window.spw:<7} {len(freq)} {plural}, {span} ({window.frame}), "
            f"{', '.join(window.correlations)}, {window_rows[window.data_desc]} rows"
        )
    return lines


def _dishes(diameters: np.ndarray) -> str:
    known = np.unique(diameters[diameters > 0].round(1))
    if known.size == 0:
        return "diameters unknown"
    return f"diameter {known[0]:g} m" if known.size == 1 else f"diameters {known[0]:g} to {known[-1]:g} m"


def _direction(ra: float, dec: float) -> str:
    if not (np.isfinite(ra) and abs(dec) <= np.pi / 2):
        return f"RA {np.degrees(ra):g}, Dec {np.degrees(dec):g} degrees"
    hours = _sexagesimal(np.degrees(ra) % 360 / 15, "hms")
    return f"{hours} {'-' if dec < 0 else '+'}{_sexagesimal(abs(np.degrees(dec)), 'dms')}"


def _sexagesimal(value: float, units: str) -> str:
    """A number above 0 in units, sixtieths and sixtieths of these, to a hundredth of the last: '18h49m24.24s'."""
    hundredths = round(value * 360000)
    whole, rest = divmod(hundredths, 360000)
    minutes, rest = divmod(rest, 6000)
    whole %= 24 if units[0] == "h" else 360
    return f"{whole:02d}{units[0]}{minutes:02d}{units[1]}{rest / 100:05.2f}{units[2]}"


def _imaging(ms: MeasurementSet, observation: Observation, scatter: float) -> list[str]:
    """Lines about the data of the default selection, and about the settings that `radrim image` would choose."""
    blocks = observation.blocks
    times = np.concatenate([block.time for block in blocks])
    # The shortest and longest baseline that carry data, in wavelengths.
    lengths = [block.uv_length[:, None] * (block.freq / C) for block in blocks]
    shortest = min(float(length[block.weight > 0].min()) for length, block in zip(lengths, blocks, strict=True))
    longest = observation.longest_baseline()
    counts = observation.counts
    config = ImageConfig.parse(ms.path, {})
    grid, reasons = choose_grid(observation, config, look=False)
    _, noise = apply_weights(blocks, grid, config.weight, config.tapers, config.padding)
    lines = [
        f"  start          {observation.date_obs[:19]} UTC, {duration(float(np.ptp(times)))}",
        f"  samples        {counts['samples']} of Stokes I, {counts['flagged'] / counts['samples']:.1%} flagged",
        f"  uv range       {shortest:.4g} to {longest:.4g} wavelengths "
        f"(scales {format_angle(1 / longest)} to {format_angle(1 / shortest)})",
        f"  noise          {noise:.3g} Jy/beam at briggs 0 if the weights are 1/sigma^2",
    ]
    if np.isfinite(scatter):
        lines.append(
            f"                 {noise * scatter:.3g} Jy/beam from the scatter of the data, "
            f"{scatter:.3g} times what the weights say"
        )
    lines += [f"  note           {note}" for note in observation.notes]
    lines += [f"  suggested      {reason}" for reason in reasons]
    command = f"radrim image {ms.path}"
    if not will_look(observation, config):
        command += f" --size {grid.width} {grid.height} --scale {format_angle(grid.scale)}"
    return [*lines, f"  command        {command}"]

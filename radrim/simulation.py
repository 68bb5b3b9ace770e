"""Simulates observations of a sky with an array, adds noise and gain errors, and writes a Measurement Set.

Visibilities are sums over the sky by the measurement equation of `radrim.geometry`. Feeds stay aligned with the sky (no
parallactic rotation), and there is no primary beam and no smearing within a channel or an integration.
"""

import logging
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy import units
from astropy.coordinates import Angle

from radrim.arrays import known_layouts, read_layout
from radrim.earth import elevations, track_times, uvw_tracks
from radrim.errors import ConfigError
from radrim.geometry import C
from radrim.ms.writer import Block, ObservationPlan, Observe, ObservedField, ObservedWindow, write_ms
from radrim.sky.catalogue import Sky, demo_sky, make_sky, predict, read_sky
from radrim.stokes import MIXTURES, NUMBERS

__all__ = ["ObservationPlan", "ObservedField", "ObservedWindow", "Receivers", "Sky", "demo_sky",
           "known_layouts", "make_sky", "observe", "predict",
           "read_layout", "read_sky", "simulate", "uvw_tracks", "write_ms"]  # fmt: skip

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Receivers:
    """Noise, errors and flags that the instrument adds to the visibilities.

    Parameters
    ----------
    noise : float
        Standard deviation of the real and of the imaginary part of each correlation [Jy]. WEIGHT is 1/noise**2.
    gain_error : float
        Standard deviation of each antenna's gain error, in amplitude (relative) and phase [rad]; it varies with time.
    flagged : float
        Fraction of the samples that are flagged at random; they have wrong values, as in real data.
    corrected : bool
        Whether CORRECTED_DATA, without the gain errors, is also written.
    seed : int
        Seed of the random numbers.
    min_elevation : float
        Elevation below which the samples of an antenna are flagged [rad].
    gain_drift : float
        Time over which gain errors change [s].
    """

    noise: float = 0.0
    gain_error: float = 0.0
    flagged: float = 0.0
    corrected: bool = False
    seed: int = 0
    min_elevation: float = math.radians(8)
    gain_drift: float = 600.0

    @property
    def columns(self) -> tuple[str, ...]:
        """Data columns beside the required columns of a Measurement Set."""
        return ("DATA", "CORRECTED_DATA") if self.corrected else ("DATA",)


def observe(plan: ObservationPlan, sky: Sky, receivers: Receivers, threads: int = 1) -> Observe:
    """The function that `write_ms` calls for each block. The numbers depend on the seed, not on the size of blocks."""
    seeds = np.random.SeedSequence(receivers.seed).spawn(2 + len(plan.fields))
    noise_rng, flag_rng, *gain_rngs = (np.random.default_rng(seed) for seed in seeds)
    gains = [_gains(field.times, len(plan.layout.stations), receivers, rng)
             for field, rng in zip(plan.fields, gain_rngs, strict=True)]  # fmt: skip

    def block_columns(block):
        field, window = plan.fields[block.field], plan.windows[block.window]
        stokes = predict(sky, block.uvw, window.freq, field.ra, field.dec, threads)
        clean = stokes @ np.array([MIXTURES[c] for c in window.correlations]).T
        thermal = receivers.noise * noise_rng.standard_normal((*clean.shape, 2)).view(complex)[..., 0]
        data = clean + thermal
        if receivers.gain_error:
            gain = gains[block.field](block.times)
            baselines = len(block.uvw) // len(block.times)
            pair = gain[:, block.antenna1[:baselines]] * gain[:, block.antenna2[:baselines]].conj()
            data = clean * pair.reshape(-1, 1, 1) + thermal
        flag = _below_horizon(plan, field, block, receivers.min_elevation) | (
            flag_rng.random(clean.shape) < receivers.flagged
        )
        # Flagged samples have a large value, so that their use would show in an image.
        data[flag] = 1e3
        sigma = np.full((len(clean), clean.shape[-1]), receivers.noise or 1.0, np.float32)
        columns = {"DATA": data, "FLAG": flag, "FLAG_ROW": flag.all((1, 2)), "SIGMA": sigma, "WEIGHT": sigma**-2}
        if receivers.corrected:
            columns["CORRECTED_DATA"] = np.where(flag, 1e3, clean + thermal)
        return columns

    return block_columns


def _gains(
    times: np.ndarray, antennas: int, receivers: Receivers, rng: np.random.Generator
) -> Callable[[np.ndarray], np.ndarray]:
    """The function from times (time,) to the complex gains of the antennas (time, antenna), which vary with time."""
    drift = receivers.gain_drift
    knots = np.arange(times[0], times[-1] + 2 * drift, drift)
    amplitude, phase = receivers.gain_error * rng.standard_normal((2, antennas, len(knots)))

    def at(t):
        return np.stack([(1 + np.interp(t, knots, a)) * np.exp(1j * np.interp(t, knots, p))
                         for a, p in zip(amplitude, phase, strict=True)], 1)  # fmt: skip

    return at


def _below_horizon(plan: ObservationPlan, field: ObservedField, block: Block, limit: float) -> np.ndarray:
    """Rows in which one of the antennas saw the source below the elevation `limit` [rad], (row, 1, 1) bool."""
    low = elevations(plan.layout.positions, field.ra, field.dec, block.times) < limit
    baselines = len(block.uvw) // len(block.times)
    either = low[:, block.antenna1[:baselines]] | low[:, block.antenna2[:baselines]]
    return either.reshape(-1, 1, 1)


def simulate(  # noqa: PLR0913 - public: each argument is an option of `radrim simulate`
    out: str | Path, *,
    array: str | Path = "vla-b", sky: str | Path | Sky = "demo", ra: str | float = "19h59m28s",
    dec: str | float = "+40d44m02s", freq: str | float = 1.4e9, bandwidth: str | float = 100e6, channels: int = 4,
    hours: float = 4.0, hour_angle: float = 0.0, integration: float = 180.0, correlations: str = "RR,LL",
    noise: float = 0.02, gain_error: float = 0.0, flagged: float = 0.0, seed: int = 0, overwrite: bool = False,
    threads: int = 1,
) -> Path:  # fmt: skip
    """Simulate one track of one field and write it as a Measurement Set; `radrim.api.simulate` explains the arguments.

    Raises
    ------
    ConfigError, InputError, OutputError
        An argument is out of range, a layout or sky cannot be read, or the path cannot be written.
    """
    layout = read_layout(array)
    ra, dec = parse_direction(ra, "ra", hours=True), parse_direction(dec, "dec")
    if not abs(dec) <= math.pi / 2:
        raise ConfigError(f"--dec {math.degrees(dec):g} is beyond the pole: declinations are -90 to 90 degrees.")
    freq, bandwidth = parse_frequency(freq, "freq"), parse_frequency(bandwidth, "bandwidth")
    limits = (("channels", channels, 1), ("hours", hours, 0), ("integration", integration, 1e-3), ("noise", noise, 0),
              ("gain-error", gain_error, 0), ("flagged", flagged, 0))  # fmt: skip
    for name, value, low in limits:
        if not low <= value < math.inf:
            raise ConfigError(f"--{name} {value} is out of range: it must be at least {low:g}.")
    if bandwidth >= 2 * freq:
        raise ConfigError(
            f"--bandwidth {bandwidth:g} Hz reaches below zero around --freq {freq:g} Hz; it must be below {2 * freq:g}."
        )
    width = bandwidth / channels
    freqs = freq + (np.arange(channels) - (channels - 1) / 2) * width
    window = ObservedWindow(freqs, width, parse_correlations(correlations))
    times = track_times(layout, ra, dec, hour_angle * math.pi / 12, hours, integration)
    plan = ObservationPlan(layout, [ObservedField(_field_name(sky), ra, dec, times)], [window], integration)
    seen = sky if isinstance(sky, Sky) else read_sky(sky, ra, dec, freq, C / freq / layout.longest_baseline)
    receivers = Receivers(noise, gain_error, flagged, seed=seed)
    _check_visible(plan, receivers.min_elevation)
    path = write_ms(out, plan, observe(plan, seen, receivers, threads), receivers.columns, overwrite=overwrite)
    _describe(path, plan, receivers)
    return path


def _field_name(sky: str | Path | Sky) -> str:
    return "SIMULATED" if isinstance(sky, Sky) else Path(sky).stem.upper()


def _check_visible(plan: ObservationPlan, limit: float) -> None:
    field = plan.fields[0]
    highest = elevations(plan.layout.positions, field.ra, field.dec, field.times).max()
    if highest < limit:
        raise ConfigError(f"At declination {math.degrees(field.dec):.1f} degrees and this hour angle the source is at "
                          f"most {math.degrees(highest):.1f} degrees above the horizon of {plan.layout.name}; "
                          f"the limit is {math.degrees(limit):.0f}. Change --dec or --hour-angle.")  # fmt: skip


def _describe(path: Path, plan: ObservationPlan, receivers: Receivers) -> None:
    window = plan.windows[0]
    size = sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
    image_noise = receivers.noise / math.sqrt(plan.rows * len(window.freq) * len(window.correlations))
    layout = plan.layout
    track = f"{len(plan.fields[0].times)} integrations of {plan.integration:g} s"
    band = f"{len(window.freq)} channels of {window.width / 1e6:.4g} MHz around {window.freq.mean() / 1e9:.6g} GHz"
    longest = f"longest baseline {layout.longest_baseline / 1e3:.4g} km"
    log.info("%s: %d antennas, %s; %s, %s", layout.name, len(layout.stations), longest, track, band)
    log.info(
        "noise %g Jy per visibility, %.3g uJy/beam in a naturally weighted image", receivers.noise, image_noise * 1e6
    )
    rows, correlations = f"{plan.rows:,}", " ".join(window.correlations)
    log.info("Wrote %s: %s rows, correlations %s, %.3g MB", path, rows, correlations, size / 1e6)


def parse_direction(value: str | float, name: str, hours: bool = False) -> float:
    """An angle [rad] from '19h59m28s', '19:59:28' (hours if `hours`), '40d44m02s', or a number of degrees."""
    try:
        degrees = float(value)
    except ValueError:
        degrees = None
    if degrees is not None:
        if not math.isfinite(degrees):
            raise ConfigError(f"--{name} {value} is not an angle; write a number of degrees.")
        return math.radians(degrees)
    try:
        angle = Angle(value, unit=units.hourangle if hours else units.deg).radian
    except (ValueError, units.UnitsError) as error:
        example = "19h59m28s, 19:59:28" if hours else "+40d44m02s, 40:44:02"
        raise ConfigError(
            f"--{name} '{value}' is not an angle ({error}); write {example}, or a number of degrees."
        ) from None
    return float(angle)


def parse_frequency(value: str | float, name: str) -> float:
    """A frequency [Hz] from '1.4GHz', '64 MHz' or a number of Hz."""
    match = re.fullmatch(r"\s*([\d.]+(?:e[+-]?\d+)?)\s*([kMG]?Hz)?\s*", str(value), re.IGNORECASE)
    scale = {"khz": 1e3, "mhz": 1e6, "ghz": 1e9}
    try:
        hertz = float(match[1]) * scale.get((match[2] or "Hz").lower(), 1.0) if match else math.nan
    except ValueError:
        hertz = math.nan
    if not 0 < hertz < math.inf:
        raise ConfigError(
            f"--{name} '{value}' is not a frequency; write a number of Hz, or one with a unit, such as 1.4GHz."
        )
    return hertz


def parse_correlations(text: str) -> tuple[str, ...]:
    """The names of correlations, such as ('RR', 'LL') from 'RR,LL'."""
    names = tuple(word.strip().upper() for word in text.split(","))
    unknown = [name for name in names if name not in NUMBERS]
    if unknown or len(set(names)) < len(names):
        raise ConfigError(f"--correlations '{text}' has the unknown or repeated name '{(unknown or names)[0]}'; known "
                          f"are {', '.join(NUMBERS)}, separated by commas, such as XX,XY,YX,YY.")  # fmt: skip
    return names

"""Random uv coverages for training: antennas on a site, a source above the horizon, tracks, channels, flags, weights.

Lengths are relative to the longest unflagged baseline. The pixel scale (see `problems`) relates a tile to an array.
There is no w coordinate, since the imager removes it on the scale of a tile (coplanar facets).
Conventions are those of `radrim.geometry`: antenna 2 minus antenna 1, u to the east, v to the north.
Thompson, Moran & Swenson (2017), Interferometry and Synthesis in Radio Astronomy, section 4.1.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from radrim.arrays import FOLDER, is_layout, read_layout
from radrim.errors import DataError, InputError
from radrim.weight.briggs import briggs_slope, cell_factors

SAMPLES = 60_000
"""Largest number of visibilities of one problem; longer integrations and fewer channels keep it below this limit."""

CELLS = 200
"""Largest number of integrations per radian of hour angle: the longest baseline then moves by about one cell of a tile
of 128 x 128 pixels."""

DAY = 10_000
"""Number of the first integration of the second configuration."""

WEIGHT_PADDING = 1.2
"""As in `radrim.weight.imaging`."""

LONGEST_BEAM = 8.0
"""Largest axis ratio of the beam; coverages with a longer one are drawn again."""


@dataclass(frozen=True)
class Coverage:
    """Samples of an array.

    Parameters
    ----------
    kind : str
        A key of `KINDS`; for a real array followed by a slash and the name of the layout.
    u, v : (sample,) float64
        In units of the longest baseline in wavelengths.
    weight : (sample,) float64
        Natural weights 1/sigma^2, mean about 1; all above 0.
    first, second, time : (sample,) int32
        Antennas and number of the integration.
    """

    kind: str
    u: np.ndarray
    v: np.ndarray
    weight: np.ndarray
    first: np.ndarray
    second: np.ndarray
    time: np.ndarray

    def select(self, good: np.ndarray) -> "Coverage":
        """The samples selected by `good`, (sample,) bool."""
        names = ("u", "v", "weight", "first", "second", "time")
        return replace(self, **{name: getattr(self, name)[good] for name in names})


Layouts = Mapping[str, np.ndarray]
"""Antenna positions (antenna, 3), ITRF [m], by the name of the array."""


class Array(NamedTuple):
    """Antennas in the Earth's frame turned to their own meridian: x to the meridian, y to the east, z to the north."""

    positions: np.ndarray  # (antenna, 3), any unit
    up: np.ndarray  # (antenna, 3), unit vectors to the zenith
    shortest: float  # track [h]


def draw_coverage(
    rng: np.random.Generator, kind: str, layouts: Layouts | None = None, samples: int = SAMPLES
) -> Coverage:
    """One coverage.

    Parameters
    ----------
    rng : numpy.random.Generator
    kind : str
        A key of `KINDS`.
    layouts : dict of str to (antenna, 3) array, optional
        The real arrays, ITRF [m], from `read_layouts`; needed for the kind 'real'.
    samples : int
        Largest number of visibilities.

    Returns
    -------
    Coverage

    Raises
    ------
    DataError
        Fifty draws gave no usable coverage, for instance since the layouts have no baselines.
    """
    for _ in range(50):
        name, array = _real(rng, layouts or {}) if kind == "real" else (kind, DRAWN[kind](rng))
        array = _lose_antennas(rng, array, samples)
        coverage = _observe(rng, name, array, samples)
        if coverage is not None and len(coverage.u) >= 40 and _elongation(coverage) < LONGEST_BEAM:
            return coverage
    raise DataError(f"No usable coverage in 50 draws of the kind '{kind}'; check the layouts it draws from.")


def read_layouts(folder: str | Path = FOLDER) -> dict[str, np.ndarray]:
    """Antenna positions (antenna, 3) [m] of all antenna layouts among the CSV files of a folder, by name."""
    out = {path.stem: read_layout(path).positions for path in sorted(Path(folder).glob("*.csv")) if is_layout(path)}
    if not out:
        raise InputError(f"The folder {folder} holds no antenna layout (CSV with x_itrf_m, y_itrf_m, z_itrf_m).")
    return out


# Arrays


def _on_site(rng: np.random.Generator, east: np.ndarray, north: np.ndarray, shortest: float = 0.0) -> Array:
    """An array on flat ground at a random latitude."""
    latitude = math.asin(rng.uniform(-0.75, 0.85))
    sin, cos = math.sin(latitude), math.cos(latitude)
    height = rng.normal(0, 0.002 * np.abs(east).max(), len(east))
    positions = np.stack([height * cos - north * sin, east, north * cos + height * sin], -1)
    return Array(positions, np.tile([cos, 0.0, sin], (len(east), 1)), shortest)


def _polar(rng: np.random.Generator, radius: np.ndarray, angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """East and north components of radius and angle, with a random rotation."""
    angle = angle + rng.uniform(0, 2 * np.pi)
    return radius * np.cos(angle), radius * np.sin(angle)


def y_shaped(rng: np.random.Generator) -> Array:
    """Three arms with stations at k ** 1.2 to 2.2 along them (the VLA: 1.716), slightly displaced."""
    arm = rng.integers(4, 13)
    radius = (np.arange(1, arm + 1) / arm) ** rng.uniform(1.2, 2.2)
    angle = 2 * np.pi / 3 * np.arange(3) + rng.normal(0, 0.08, 3)
    radius = np.tile(radius, 3) * (1 + rng.normal(0, rng.uniform(0, 0.08), 3 * arm))
    return _on_site(rng, *_polar(rng, radius, np.repeat(angle, arm)))


def core_halo(rng: np.random.Generator) -> Array:
    """A dense core and a sparse halo, as of MeerKAT, SKA or LOFAR."""
    count = rng.integers(18, 90)
    core = int(count * rng.uniform(0.3, 0.8))
    size = math.exp(rng.uniform(math.log(0.01), math.log(0.2)))
    radius = np.abs(np.concatenate([rng.normal(0, size, core), size * (1 / size) ** rng.random(count - core)]))
    return _on_site(rng, *_polar(rng, radius, rng.uniform(0, 2 * np.pi, count)))


def spiral(rng: np.random.Generator) -> Array:
    """Logarithmic spiral arms around a small core."""
    arms, arm = int(rng.integers(3, 7)), int(rng.integers(4, 14))
    inner = math.exp(rng.uniform(math.log(0.01), math.log(0.15)))
    step = np.tile(np.linspace(0, 1, arm), arms) + rng.normal(0, 0.02, arm * arms)
    angle = np.repeat(2 * np.pi / arms * np.arange(arms), arm) + rng.uniform(0.5, 2 * np.pi) * step
    return _on_site(rng, *_polar(rng, inner ** (1 - step), angle))


def scattered(rng: np.random.Generator) -> Array:
    """Antennas at random in a disc, more or less concentrated."""
    count = rng.integers(8, 60)
    return _on_site(rng, *_polar(rng, rng.random(count) ** rng.uniform(0.5, 1.5), rng.uniform(0, 2 * np.pi, count)))


def east_west(rng: np.random.Generator) -> Array:
    """A line from east to west, which needs hours of the Earth's rotation."""
    count = rng.integers(5, 15)
    east = np.cumsum(rng.integers(1, 12, count)).astype(float)
    return _on_site(rng, east - east.mean(), rng.normal(0, 1e-3, count), shortest=7.0)


def sparse(rng: np.random.Generator) -> Array:
    """VLBI: 5 to 16 stations over a country, a continent or the globe, some of them close together."""
    count = rng.integers(5, 17)
    reach = math.exp(rng.uniform(math.log(0.03), math.log(1.3)))  # [rad]
    latitude = math.asin(rng.uniform(-0.7, 0.85))
    distance, azimuth = reach * rng.random(count) ** 0.6, rng.uniform(0, 2 * np.pi, count)
    if rng.random() < 0.4:  # neighbours, as ALMA and APEX
        distance[-1], azimuth[-1] = distance[0] * (1 + 1e-4), azimuth[0] + 1e-4
    local = np.stack([np.cos(distance), np.sin(distance) * np.cos(azimuth), np.sin(distance) * np.sin(azimuth)], -1)
    sin, cos = math.sin(latitude), math.cos(latitude)
    up = np.stack([local[:, 0] * cos - local[:, 2] * sin, local[:, 1], local[:, 2] * cos + local[:, 0] * sin], -1)
    return Array(up, up, 1.5)


def _real(rng: np.random.Generator, layouts: Layouts) -> tuple[str, Array]:
    name = str(rng.choice(sorted(layouts)))
    positions = layouts[name]
    x, y, _ = positions.mean(0)
    cos, sin = x / math.hypot(x, y), y / math.hypot(x, y)
    positions = positions @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    up = positions / np.linalg.norm(positions, axis=1, keepdims=True)
    wide = np.ptp(positions, axis=0).max() > 5e5  # VLBI: a snapshot has too few baselines
    return f"real/{name}", Array(positions, up, 1.5 if wide or len(positions) < 10 else 0.0)


DRAWN: dict[str, Callable[[np.random.Generator], Array]] = {
    "y_shaped": y_shaped,
    "core_halo": core_halo,
    "spiral": spiral,
    "scattered": scattered,
    "east_west": east_west,
    "sparse": sparse,
}
"""Kinds of arrays that are drawn at random."""
KINDS = (*DRAWN, "real")
"""Kinds of coverages; 'real' stands for the layouts of real arrays."""


def _lose_antennas(rng: np.random.Generator, array: Array, samples: int) -> Array:
    """Remove antennas at random, as for maintenance, and from arrays that are too large for `samples`."""
    count = len(array.positions)
    most = max(4, int(math.sqrt(samples / 2)))
    keep = min(most, max(4, count - rng.binomial(count, rng.choice([0.0, 0.03, 0.15]))))
    if keep >= count:
        return array
    chosen = np.sort(rng.choice(count, keep, replace=False))
    return Array(array.positions[chosen], array.up[chosen], array.shortest)


# Observations


def _observe(rng: np.random.Generator, name: str, array: Array, samples: int) -> Coverage | None:
    """Tracks of one array, or of two configurations of it, on one source; None without any sample."""
    zenith = array.up.mean(0)
    latitude = math.atan2(zenith[2], math.hypot(zenith[0], zenith[1]))
    lowest = math.radians(rng.uniform(10, 22))
    reach = math.pi / 2 - lowest - 0.1
    dec = math.asin(rng.uniform(*np.sin(np.clip([latitude - reach, latitude + reach], -1.57, 1.57))))
    if array.shortest > 5:  # an east-west line does not resolve north-south structure near the equator
        dec = math.copysign(max(abs(dec), rng.uniform(0.5, 1.3)), latitude)
    freq = _channels(rng)
    sizes = [1.0, 1 / rng.uniform(2, 6)] if array.shortest == 0 and rng.random() < 0.15 else [1.0]
    parts = []
    for number, size in enumerate(sizes):
        ha = _hour_angles(rng, latitude, dec, lowest, array.shortest)
        scaled = array._replace(positions=size * array.positions)
        parts.append(_tracks(rng, scaled, dec, ha, freq, lowest, samples // len(sizes), number))
    u, v, weight, first, second, time = (np.concatenate(p) for p in zip(*parts, strict=True))
    if not len(u):
        return None
    length = np.hypot(u, v)
    longest = length.max()
    out = Coverage(name, u / longest, v / longest, weight / weight.mean(), first, second, time)
    if rng.random() < 0.25:  # missing short spacings, as by shadowing or interference
        out = out.select(length > longest * math.exp(rng.uniform(math.log(0.01), math.log(0.12))))
    return out


def _channels(rng: np.random.Generator) -> np.ndarray:
    """Frequencies relative to the middle of the band: a single one, up to a quarter of it to either side."""
    width = math.exp(rng.uniform(math.log(0.005), math.log(0.5)))
    count = int(rng.choice([1, 2, 4, 8, 16])) if width > 0.03 else int(rng.choice([1, 2]))
    return 1 + width * (np.arange(count) - (count - 1) / 2) / count


def _hour_angles(rng: np.random.Generator, latitude: float, dec: float, lowest: float, shortest: float) -> np.ndarray:
    """Centres of the integrations [rad]: a snapshot, or a track of up to the time above the horizon, or scans."""
    cosine = (math.sin(lowest) - math.sin(latitude) * math.sin(dec)) / (math.cos(latitude) * math.cos(dec) + 1e-9)
    limit = math.acos(max(-1.0, min(1.0, cosine)))
    if shortest >= 1:
        limit = max(limit, math.pi / 2)  # the source rises at different times for stations far apart
    hour = math.pi / 12
    full = 2 * limit
    if shortest == 0 and rng.random() < 0.25:
        length = min(full, hour * math.exp(rng.uniform(math.log(0.02), math.log(0.5))))
    else:
        length = rng.uniform(min(full, max(shortest, 0.5) * hour), full)
    start = rng.uniform(-limit, limit - length)
    count = max(1, math.ceil(length * CELLS))
    ha = start + length * (np.arange(count) + 0.5) / count
    if count > 20 and rng.random() < 0.4:
        period, duty = rng.uniform(0.03, 0.3), rng.uniform(0.25, 0.9)
        ha = ha[((ha - start) / period) % 1 < duty]
    return ha


def project(vectors: np.ndarray, dec: float, ha: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Components towards east, north and the source, three arrays (time, vector), of `vectors` in the frame of `Array`.

    The source has the declination `dec` and, at the array's own meridian, the hour angles `ha` (time,) [rad].
    """
    sin, cos, (x, y, z) = np.sin(ha)[:, None], np.cos(ha)[:, None], vectors.T
    sd, cd = math.sin(dec), math.cos(dec)
    return sin * x + cos * y, sd * (sin * y - cos * x) + cd * z, cd * (cos * x - sin * y) + sd * z


def _tracks(
    rng: np.random.Generator,
    array: Array,
    dec: float,
    ha: np.ndarray,
    freq: np.ndarray,
    lowest: float,
    samples: int,
    number: int,
) -> tuple[np.ndarray, ...]:
    """Unflagged samples of one configuration: u, v, weight, antennas, integration, each (sample,)."""
    count = len(array.positions)
    i, j = np.triu_indices(count, 1)
    freq = freq[: max(1, samples // len(i))]
    times = max(1, samples // (len(i) * len(freq)))
    if len(ha) > times:  # fewer integrations, spread over the track
        ha = ha[np.linspace(0, len(ha) - 1, times).round().astype(int)] if times > 1 else ha[len(ha) // 2 :][:1]
    u, v, _ = project(array.positions, dec, ha)
    seen = project(array.up, dec, ha)[2] > math.sin(lowest)  # the third is the sine of the elevation
    seen &= rng.random(seen.shape) >= rng.choice([0.0, 0.02, 0.2])
    weak = rng.uniform(0, 0.15) if len(array.positions) > 12 else rng.uniform(0.1, 0.8)
    sensitivity = np.exp(rng.normal(0, weak, count))
    weight = (sensitivity[i] * sensitivity[j])[None, :, None] * (seen[:, i] & seen[:, j])[:, :, None]
    weight = weight * (rng.random((*weight.shape[:2], len(freq)), np.float32) >= rng.choice([0.0, 0.05, 0.3]))
    good = np.flatnonzero(weight)
    row, chan = np.divmod(good, len(freq))
    time, pair = np.divmod(row, len(i))
    first, second = i[pair].astype(np.int32), j[pair].astype(np.int32)
    stretch = freq[chan]
    u, v = ((c[time, second] - c[time, first]) * stretch for c in (u, v))
    offset = number * count  # antennas of another configuration have other gain errors
    return u, v, weight.ravel()[good], first + offset, second + offset, (time + number * DAY).astype(np.int32)


def _elongation(coverage: Coverage) -> float:
    """Axis ratio of the beam, from its curvature at the centre."""
    u, v, w = coverage.u, coverage.v, coverage.weight
    moments = np.array([[np.vdot(w, u * u), np.vdot(w, u * v)], [np.vdot(w, u * v), np.vdot(w, v * v)]])
    low, high = np.linalg.eigvalsh(moments)
    return math.sqrt(high / low) if low > 0 else math.inf


# Weighting


def imaging_weights(u: np.ndarray, v: np.ndarray, weight: np.ndarray, robust: float, size: int) -> np.ndarray:
    """Natural, Briggs or uniform weights, as by `radrim.weight.imaging` for one channel and a square image.

    Parameters
    ----------
    u, v : (sample,) float64
        In cycles per pixel, below 0.5.
    weight : (sample,) float64
        Natural weights.
    robust : float
        From -2 to 2; `inf` means natural, `-inf` uniform.
    size : int
        Pixels along each side of the image that the weights are made for, which sets the uv cell. It may be much larger
        than the tile.

    Returns
    -------
    (sample,) float64
        Imaging weights, not normalised.
    """
    if robust == math.inf:
        return weight
    cells = 4 * math.ceil(size * WEIGHT_PADDING / 4 - 1e-9)
    sign = np.where(v < 0, -cells, cells)
    x, y = np.floor(u * sign).astype(np.int32) + cells // 2, np.floor(v * sign).astype(np.int32)
    cell = y * cells + x
    density = np.bincount(cell, weight, cells // 2 * cells)
    slope = briggs_slope(robust, float(weight.sum()), float(np.vdot(density, density))) if robust > -math.inf else None
    return weight * cell_factors(density.reshape(cells // 2, cells), slope).ravel()[cell]

"""Limits of the step `read`: how much is read at once, and which data are refused or dropped."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class ContinuumSettings:
    """How the continuum of a row is fitted."""

    max_noise_increase: float = 3.0
    """Largest noise of a sample after the subtraction over that before. Above it the sample loses its weight: an
    extrapolation from few channels would put more noise into the image than the sample takes out of it."""
    min_eigenvalue_ratio: float = 1e-10
    """Smallest over largest eigenvalue of a row's normal equations for which float64 solves them."""
    samples: int = 2**18
    """Samples that are fitted together. Their intermediate arrays stay in the processor's cache, about."""


@dataclass(frozen=True)
class ReadSettings:
    """How visibilities are read."""

    chunk_bytes: int = 64 * 2**20
    """Size of one chunk of the data column [bytes]. A few chunks are in memory at once: data, flags, weights."""
    max_nonfinite: float = 0.01
    """Largest fraction of the unflagged samples that may be NaN or infinite. Above it the data count as broken."""
    amplitudes: tuple[float, float] = (1e-15, 1e15)
    """Range of amplitudes [Jy]. A larger sample counts as not finite, and a Measurement Set whose largest sample is
    below is refused: outside, squares and their sums over- or underflow in single precision. Other units than Jy are
    far outside (W m^-2 Hz^-1: 1e-26)."""
    times: tuple[float, float] = (-5.8e10, 2.5e11)
    """Range of TIME [s, Modified Julian Date]: the years 21 to 9781, within those that calendars of computers have."""
    unknown_width: float = 1.0
    """Width of a channel of which the Measurement Set says none [Hz]. A header needs one above 0, and no receiver has
    one as narrow, so that it misleads nobody."""
    max_drift: float = 0.1
    """Range of the frequencies within a block in the output frame [channels]. No sample lies further from where the
    factor of its block puts it, and few would belong to another output channel. The Earth's rotation shifts frequencies
    by at most 0.12 km/s in an hour: about one block an hour for channels of 1 km/s, twelve for 0.1 km/s."""
    max_pointing_distance: float = math.radians(60)
    """Largest distance of a pointing from the centre of the mosaic [rad]. Further out the tangent plane is compressed
    too much."""
    max_shift: float = math.radians(89.9)
    """Largest distance of the phase centre from the pointing of a single field [rad]: almost the horizon, where the
    pointing has no place on the tangent plane."""
    compared_rows: int = 32
    """Rows, evenly spread, in which two Measurement Sets must agree to count as copies. The noise of two observations
    already differs in one."""
    most_queries: int = 8
    """Number of pairs of field and spectral window above which their rows are found in one pass. A query for each reads
    the table each time, but keeps no row numbers."""
    index_rows: int = 2**20
    """Rows that are looked at together in this pass."""
    continuum: ContinuumSettings = ContinuumSettings()


DEFAULTS = ReadSettings()

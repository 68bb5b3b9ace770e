"""What the readers hand on: the samples of one Stokes parameter, and what the observation was."""

from dataclasses import dataclass, field, replace

import numpy as np

from radrim.errors import ConfigError, DataError
from radrim.geometry import C

ROWS = 65536
"""Rows looked at together where a block may be larger than the memory."""


@dataclass
class Visibilities:
    """One block of samples that share their channels: a spectral window of a Measurement Set.

    Parameters
    ----------
    uvw : (row, 3) float64
        Baseline coordinates, antenna 2 minus antenna 1 [m].
    freq : (chan,) float64
        Channel frequencies [Hz].
    data : (row, chan) complex64
        Visibilities of one Stokes parameter [Jy]; 0 where flagged.
    weight : (row, chan) float32
        Natural weights 1/sigma^2, sigma the noise of the real and of the imaginary part [Jy^-2]; 0 marks a flagged
        sample. After `radrim.weight.apply_weights`, imaging weights.
    time : (row,) float64
        Centre of the integration [s], Modified Julian Date, UTC.
    antenna : (row, 2) int32
        Numbers of the two antennas.
    pointing : (2,) float64
        Direction cosines (l, m), from the phase centre, of where the antennas point.
    """

    uvw: np.ndarray
    freq: np.ndarray
    data: np.ndarray
    weight: np.ndarray
    time: np.ndarray
    antenna: np.ndarray
    pointing: np.ndarray = field(default_factory=lambda: np.zeros(2))

    @property
    def uv_length(self):
        """Length of each row's (u, v), (row,) [m]."""
        return np.hypot(self.uvw[:, 0], self.uvw[:, 1])

    def select_channels(self, keep):
        """The same rows with the channels of the boolean array `keep` (chan,); None if there are none.

        A contiguous run of channels is a view, nothing is copied.
        """
        index = np.flatnonzero(keep)
        if index.size == 0:
            return None
        part = slice(index[0], index[-1] + 1) if index[-1] - index[0] + 1 == index.size else index
        return replace(self, freq=self.freq[part], data=self.data[:, part], weight=self.weight[:, part])


@dataclass
class Observation:
    """Everything read from the Measurement Sets of one run.

    Parameters
    ----------
    blocks : list of Visibilities
    ra, dec : float
        Phase centre [rad], J2000.
    stokes : str
        'I', 'Q', 'U', 'V' or a correlation such as 'XX'.
    telescope, object, observer, date_obs : str
        For the FITS header; date_obs in ISO format, UTC, start of the first integration.
    dish_diameter : float
        Median over antennas [m]; NaN when unknown.
    dishes : list of float
        Different diameters of the antennas that have data [m], from the smallest; without unknown ones.
    data_column : str
        Column that was read.
    freq_frame : str
        FITS SPECSYS of the channel frequencies, such as TOPOCENT.
    channel_width : float
        Median channel width [Hz].
    notes : list of str
        What the reader decided on its own, in sentences; printed and kept in the report.
    counts : dict
        rows, samples, flagged and the like, for the log and the report.
    """

    blocks: list[Visibilities]
    ra: float
    dec: float
    stokes: str = "I"
    telescope: str = "UNKNOWN"
    object: str = "UNKNOWN"
    observer: str = "UNKNOWN"
    date_obs: str = ""
    dish_diameter: float = float("nan")
    dishes: list[float] = field(default_factory=list)
    data_column: str = "DATA"
    freq_frame: str = "TOPOCENT"
    channel_width: float = float("nan")
    notes: list[str] = field(default_factory=list)
    counts: dict = field(default_factory=dict)

    @property
    def frequencies(self):
        """All channel frequencies, sorted, without repeats [Hz]."""
        return np.unique(np.concatenate([b.freq for b in self.blocks]))

    def longest_baseline(self):
        """Longest unflagged (u, v) [wavelengths]."""
        longest = 0.0
        for block in self.blocks:
            for start in range(0, len(block.uvw), ROWS):  # blocks may be larger than the memory
                rows = slice(start, start + ROWS)
                length = np.hypot(block.uvw[rows, :1], block.uvw[rows, 1:2]) * (block.freq / C)
                longest = max(longest, float(length.max(where=block.weight[rows] > 0, initial=0.0)))
        return longest


def split_channels(observation, count) -> list[list[Visibilities]]:
    """The blocks of each output channel: all channel frequencies in order, cut into `count` nearly equal groups.

    Raises
    ------
    ConfigError
        More output channels than there are channels.
    DataError
        An output channel without unflagged data.
    """
    if count == 1:
        return [observation.blocks]
    freq = observation.frequencies
    if count > len(freq):
        raise ConfigError(f"--channels-out {count} is more than the {len(freq)} channels there are.")
    groups = []
    for number, part in enumerate(np.array_split(freq, count)):
        cut = [
            block.select_channels((block.freq >= part[0]) & (block.freq <= part[-1])) for block in observation.blocks
        ]
        group = [block for block in cut if block is not None and block.weight.any()]
        if not group:
            raise DataError(
                f"Output channel {number} ({part[0] / 1e6:.6g} to {part[-1] / 1e6:.6g} MHz) has no unflagged "
                "data; use fewer --channels-out, or leave it out with --chan-range."
            )
        groups.append(group)
    return groups

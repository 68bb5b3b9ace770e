"""Visibilities of one or several Stokes parameters, and the facts about their observation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from radrim.errors import ConfigError
from radrim.geometry import C


@dataclass(frozen=True)
class BlockSettings:
    """How blocks of visibilities that may be larger than the memory are processed."""

    rows: int = 65536
    """Rows that are in memory at a time."""


def row_slices(count: int, settings: BlockSettings = BlockSettings()) -> Iterator[slice]:
    """Slices of `count` rows, one after the other, each with the rows that may be in memory at a time."""
    for start in range(0, count, settings.rows):
        yield slice(start, start + settings.rows)


@dataclass(frozen=True)
class KeptOut:
    """Rows of a block in cells whose natural weights are kept; see `radrim.measure.holdout`.

    Either those that are kept out of the deconvolution to judge it, or as many that it fits, for comparison.

    Parameters
    ----------
    rows : (kept,) int64
        Their numbers, rising.
    cell : (kept,) int64
        Cell of each: samples of different cells do not share calibration errors.
    weight : (kept, chan) float32
        Natural weights 1/sigma^2 [Jy^-2]; 0 marks a flagged sample.
    cells : int
        Number of cells of the whole observation.
    """

    rows: np.ndarray
    cell: np.ndarray
    weight: np.ndarray
    cells: int

    @classmethod
    def none(cls, channels: int) -> "KeptOut":
        """No rows at all."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, channels), np.float32), 0)

    @classmethod
    def join(cls, blocks: "Sequence[Visibilities]") -> "KeptOut":
        """Rows kept out of blocks that are joined, one after the other; they have the same channels."""
        return cls._join(blocks, [block.kept_out or cls.none(len(block.freq)) for block in blocks])

    @classmethod
    def join_watched(cls, blocks: "Sequence[Visibilities]") -> "KeptOut":
        """The same of the rows that are fitted and watched."""
        return cls._join(blocks, [block.watched or cls.none(len(block.freq)) for block in blocks])

    @classmethod
    def _join(cls, blocks: "Sequence[Visibilities]", parts: "list[KeptOut]") -> "KeptOut":
        starts = np.cumsum([0, *(len(block.uvw) for block in blocks)])
        rows = np.concatenate([part.rows + start for part, start in zip(parts, starts, strict=False)])
        cell, weight = (np.concatenate([getattr(part, name) for part in parts]) for name in ("cell", "weight"))
        return cls(rows, cell, weight, max(part.cells for part in parts))


@dataclass(frozen=True)
class NaturalWeights:
    """Natural weights of the rows of a block after imaging weights have taken their place.

    They stay in their files, memory-mapped, also where blocks are joined.

    Parameters
    ----------
    parts : tuple of (freq, weight)
        Channel frequencies (chan,) float64 [Hz], and weights (row, chan) float32 [Jy^-2], of successive rows.
    """

    parts: tuple[tuple[np.ndarray, np.ndarray], ...]

    @property
    def weight(self) -> np.ndarray:
        """Of all rows, (row, chan) float32 [Jy^-2]; a copy if blocks were joined."""
        weights = [weight for _, weight in self.parts]
        return weights[0] if len(weights) == 1 else np.concatenate(weights)

    def select_channels(self, part: "slice | np.ndarray") -> "NaturalWeights":
        """Those of some of the channels."""
        return NaturalWeights(tuple((freq[part], weight[:, part]) for freq, weight in self.parts))

    @classmethod
    def join(cls, blocks: "Sequence[Visibilities]") -> "NaturalWeights | None":
        """Of blocks that are joined, one after the other; None unless all have them."""
        known = [block.natural for block in blocks if block.natural is not None]
        return cls(tuple(part for one in known for part in one.parts)) if len(known) == len(blocks) else None


@dataclass
class Visibilities:
    """One block of samples that share their channels: a spectral window of a Measurement Set.

    Parameters
    ----------
    uvw : (row, 3) float64
        Baseline coordinates, antenna 2 minus antenna 1 [m].
    freq : (chan,) float64
        Channel frequencies at the telescope [Hz].
    data : (row, chan) complex64
        Visibilities of one Stokes parameter [Jy]; 0 where flagged.
    weight : (row, chan) float32
        Natural weights 1/sigma^2, sigma the noise of the real and of the imaginary part [Jy^-2]; 0 marks a flagged
        sample. After `radrim.weight.imaging.apply_weights`, imaging weights.
    time : (row,) float64
        Centre of the integration [s], Modified Julian Date, UTC.
    antenna : (row, 2) int32
        Numbers of the two antennas.
    doppler : float
        Frequencies in the output frame over those at the telescope; see `radrim.read.frames`.
    pointing : (2,) float64
        Direction cosines (l, m) of the pointing of the antennas, from the phase centre.
    stokes : str
        Stokes parameter of `data`: 'I', 'Q', 'U', 'V' or a correlation such as 'XX'.
    others : dict of str to (row, chan) complex64
        Visibilities of the other Stokes parameters of the run [Jy]: the same samples, with the same weights.
    kept_out : KeptOut or None
        Rows that the deconvolution does not see; None: it sees all.
    watched : KeptOut or None
        As many rows that it sees, to compare the fit of both.
    natural : NaturalWeights or None
        Of all rows, where imaging weights have taken their place and rows are kept out.
    channel_width : float
        Median width of its channels at the telescope [Hz]; 0 if unknown.
    """

    uvw: np.ndarray
    freq: np.ndarray
    data: np.ndarray
    weight: np.ndarray
    time: np.ndarray
    antenna: np.ndarray
    doppler: float = 1.0
    pointing: np.ndarray = field(default_factory=lambda: np.zeros(2))
    stokes: str = "I"
    others: dict[str, np.ndarray] = field(default_factory=dict)
    kept_out: KeptOut | None = None
    watched: KeptOut | None = None
    natural: NaturalWeights | None = None
    channel_width: float = 0.0

    @property
    def planes(self) -> dict[str, np.ndarray]:
        """Visibilities of each Stokes parameter, by its name."""
        return {self.stokes: self.data, **self.others}

    def of(self, stokes: str) -> "Visibilities":
        """The block with one of its Stokes parameters only."""
        return replace(self, data=self.planes[stokes], stokes=stokes, others={})

    @property
    def output_freq(self) -> np.ndarray:
        """Channel frequencies in the output frame, that of output channels and headers, (chan,) [Hz]."""
        return self.freq * self.doppler

    @property
    def uv_length(self) -> np.ndarray:
        """Length of each row's (u, v), (row,) [m]."""
        return np.hypot(self.uvw[:, 0], self.uvw[:, 1])

    def select_channels(self, keep: np.ndarray) -> "Visibilities | None":
        """The block with the channels where `keep` (chan,) bool is true; None if there are none.

        The arrays of contiguous channels are views, not copies.
        """
        index = np.flatnonzero(keep)
        if index.size == 0:
            return None
        part = slice(index[0], index[-1] + 1) if index[-1] - index[0] + 1 == index.size else index
        kept, watched = (one and replace(one, weight=one.weight[:, part]) for one in (self.kept_out, self.watched))
        return replace(
            self,
            freq=self.freq[part],
            data=self.data[:, part],
            weight=self.weight[:, part],
            kept_out=kept,
            watched=watched,
            natural=self.natural and self.natural.select_channels(part),
            others={stokes: data[:, part] for stokes, data in self.others.items()},
        )

    def select_rows(self, rows: np.ndarray) -> "Visibilities":
        """The block with the rows of an array of row numbers."""
        arrays = {name: getattr(self, name)[rows] for name in ("uvw", "data", "weight", "time", "antenna")}
        others = {stokes: data[rows] for stokes, data in self.others.items()}
        return replace(self, **arrays, others=others, kept_out=None, watched=None, natural=None)


@dataclass
class Observation:
    """The data and facts that were read from the Measurement Sets of one run.

    Parameters
    ----------
    blocks : list of Visibilities
    ra, dec : float
        Phase centre [rad], J2000.
    pointing : list of float
        Where the antennas point, (ra, dec) [rad]; empty if that is the phase centre.
    stokes : str
        Stokes parameters or correlations of the samples, such as 'I', 'I,Q,U,V' or 'XX,YY'.
    telescope, object, observer, date_obs : str
        Values of the FITS header; date_obs is the first time in ISO format, UTC.
    position : list of float
        Mean position of the antennas, ITRF [m]; empty if it is not on the Earth's surface, as of an array that spans
        continents.
    dish_diameter : float
        Median diameter of the antennas [m]; NaN if unknown.
    beam : str
        Pattern of the primary beam; empty if the image has none.
    dishes : list of float
        Sorted known diameters of the antennas with data, without repeats [m].
    antennas : list of str
        Names of the antennas, by their numbers.
    data_column : str
        Column that was read.
    freq_frame : str
        FITS SPECSYS of the output frequencies, such as TOPOCENT.
    channel_width : float
        Median channel width [Hz].
    rest_frequency : float
        Of the line [Hz]; 0 if unknown.
    velocities : str
        Convention of velocities, 'radio' or 'optical'.
    axis : list of float
        Fields of the `ChannelAxis` that the user asked for; empty if all channels are divided evenly.
    notes : list of str
        Automatic choices of the reader that the user should check, in sentences, for the log and the report.
    remarks : list of str
        What else the reader did, in sentences.
    counts : dict
        Numbers of samples, flagged samples and the like, for the log and the report.
    """

    blocks: list[Visibilities]
    ra: float
    dec: float
    pointing: list[float] = field(default_factory=list)
    stokes: str = "I"
    telescope: str = "UNKNOWN"
    object: str = "UNKNOWN"
    observer: str = "UNKNOWN"
    date_obs: str = ""
    position: list[float] = field(default_factory=list)
    dish_diameter: float = float("nan")
    beam: str = ""
    dishes: list[float] = field(default_factory=list)
    antennas: list[str] = field(default_factory=list)
    data_column: str = "DATA"
    freq_frame: str = "TOPOCENT"
    channel_width: float = float("nan")
    rest_frequency: float = 0.0
    velocities: str = "radio"
    axis: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    counts: dict = field(default_factory=dict)

    @property
    def pointing_position(self) -> tuple[float, float]:
        """Where the antennas point, (ra, dec) [rad]; of a mosaic its middle."""
        ra, dec = self.pointing or (self.ra, self.dec)
        return ra, dec

    @property
    def channel_axis(self) -> "ChannelAxis | None":
        """The output channels that the user asked for; None if all channels are divided evenly."""
        return ChannelAxis(self.axis[0], self.axis[1], int(self.axis[2])) if self.axis else None

    @property
    def frequencies(self) -> np.ndarray:
        """All channel frequencies in the output frame, sorted, without repeats [Hz]."""
        return np.unique(np.concatenate([b.output_freq for b in self.blocks]))

    @property
    def channels(self) -> int:
        """Number of the channels that `split_channels` distinguishes."""
        return len(np.unique(np.concatenate(_number_channels(self))))

    def longest_baseline(self) -> float:
        """Largest length of unflagged (u, v) [wavelengths]."""
        return self._largest(lambda uv: np.hypot(uv[:, :1], uv[:, 1:]))

    def largest_uv(self) -> float:
        """Largest absolute value of u or v of unflagged samples [wavelengths]; pixels must sample both (Nyquist)."""
        return self._largest(lambda uv: np.abs(uv).max(1, keepdims=True))

    def _largest(self, length):
        largest = 0.0
        for block in self.blocks:
            for rows in row_slices(len(block.uvw)):
                lengths = length(block.uvw[rows, :2]) * (block.freq / C)
                largest = max(largest, float(lengths.max(where=block.weight[rows] > 0, initial=0.0)))
        return largest


@dataclass(frozen=True)
class ChannelAxis:
    """Output channels that are evenly spaced in frequency.

    Parameters
    ----------
    first, width : float
        Centre of the first channel and width of each, in the output frame [Hz].
    count : int
    """

    first: float
    width: float
    count: int

    @property
    def low(self) -> float:
        """Lower edge of the lowest channel [Hz]."""
        return self.first - self.width / 2

    @property
    def high(self) -> float:
        """Upper edge of the highest channel [Hz]."""
        return self.low + self.count * self.width

    def numbers(self, freq: np.ndarray) -> np.ndarray:
        """Number of the output channel of each frequency, int64; outside it is below 0 or from `count` on."""
        # A frequency on an edge belongs to the upper channel, whatever its last digit.
        return np.floor((freq - self.low) / self.width + 1e-6).astype(np.int64)

    def inside(self, freq: np.ndarray) -> np.ndarray:
        """Whether frequencies lie in an output channel, bool."""
        number = self.numbers(freq)
        return (number >= 0) & (number < self.count)


def bandwidth_of(blocks: Sequence[Visibilities], channel_width: float) -> float:
    """Frequency from the lower edge of the lowest to the upper edge of the highest channel, in the output frame [Hz].

    Parameters
    ----------
    blocks : sequence of Visibilities
    channel_width : float
        Width of the channels of blocks that do not know theirs [Hz].
    """
    low, high = np.inf, -np.inf
    for block in blocks:
        freq, half = block.output_freq, (block.channel_width * block.doppler or channel_width) / 2
        low, high = min(low, float(freq.min()) - half), max(high, float(freq.max()) + half)
    return high - low


def split_channels(observation: Observation, count: int) -> list[list[Visibilities]]:
    """The blocks of each output channel: all channels in order of frequency, divided into `count` nearly equal groups.

    If blocks have different Doppler factors, channels that differ by less than half a channel are counted as one.

    Returns
    -------
    list of list of Visibilities
        Blocks with unflagged data; none for an output channel that is flagged throughout.

    Raises
    ------
    ConfigError
        There are more output channels than channels.
    """
    if count == 1:
        return [observation.blocks]
    numbers = _number_channels(observation)
    groups = []
    for part in _parts(numbers, count, observation.channel_axis):
        inside = [(k >= part[0]) & (k <= part[-1]) for k in numbers]
        cut = [block.select_channels(keep) for block, keep in zip(observation.blocks, inside, strict=True)]
        groups.append([block for block in cut if block is not None and block.weight.any()])
    return groups


def channel_bands(observation: Observation, count: int) -> list[tuple[float, float]]:
    """Lowest and highest frequency in the output frame [Hz] of each output channel of `split_channels`."""
    axis = observation.channel_axis
    if axis:
        half = (axis.width - observation.channel_width) / 2
        centres = axis.first + axis.width * np.arange(count)
        return [(float(centre - half), float(centre + half)) for centre in centres]
    numbers = np.concatenate(_number_channels(observation))
    freq = np.concatenate([block.output_freq for block in observation.blocks])
    found = []
    for part in _parts([numbers], count):
        inside = freq[(numbers >= part[0]) & (numbers <= part[-1])]
        found.append((float(inside.min()), float(inside.max())))
    return found


def _parts(numbers: Sequence[np.ndarray], count: int, axis: ChannelAxis | None = None) -> list[np.ndarray]:
    """Channel numbers of each output channel; with an axis these are the numbers of output channels."""
    if axis:
        return [np.array([number]) for number in range(count)]
    known = np.unique(np.concatenate(numbers))
    if count > len(known):
        raise ConfigError(f"--channels-out {count} is more than the {len(known)} channels there are.")
    return np.array_split(known, count)


def _number_channels(observation: Observation) -> list[np.ndarray]:
    """Channel numbers of each block, (chan,) each; equal for equal output frequencies, and rising with them."""
    blocks, freq, axis = observation.blocks, observation.frequencies, observation.channel_axis
    if axis:
        return [axis.numbers(block.output_freq) for block in blocks]
    # With several Doppler factors, channels are cells of one channel's width, centred on a block with a median factor.
    most = max(len(block.freq) for block in blocks)
    widest = sorted((block for block in blocks if len(block.freq) == most), key=lambda block: block.doppler)
    centre = widest[len(widest) // 2].output_freq
    width = float(np.median(np.diff(centre))) if most > 1 else observation.channel_width
    if len({block.doppler for block in blocks}) == 1 or not width > 0:
        return [np.searchsorted(freq, block.output_freq) for block in blocks]
    return [np.rint((block.output_freq - centre[0]) / width).astype(np.int64) for block in blocks]

"""Output channels of a line cube: --start, --width and --nchan, and the rest frequency of the line.

Visibilities are not interpolated. Each channel of the data belongs to the output channel in which its frequency lies,
in the frame of --outframe, so that an output channel is at least as wide as one of the data.
"""

from collections.abc import Sequence

import numpy as np

from radrim.config.spectral import SpectralValue, parse_spectral
from radrim.errors import ConfigError
from radrim.geometry import C
from radrim.ms.opening import open_table
from radrim.read.frames import find_shift
from radrim.read.pointings import Target
from radrim.read.selection import Selection, choose_channels, choose_windows
from radrim.read.settings import DEFAULTS, ReadSettings
from radrim.visibilities import ChannelAxis


def frequency_of(velocity: float, rest: float, convention: str = "radio") -> float:
    """Frequency [Hz] of a line at a velocity [m/s]; `convention` is 'radio' or 'optical'."""
    return rest * (1 - velocity / C) if convention == "radio" else rest / (1 + velocity / C)


def velocity_of(freq: float, rest: float, convention: str = "radio") -> float:
    """Velocity [m/s] of a line that is seen at a frequency [Hz]."""
    return C * (1 - freq / rest) if convention == "radio" else C * (rest / freq - 1)


def choose_rest_frequency(targets: Sequence[Target], selection: Selection) -> tuple[float, str]:
    """The rest frequency of the line [Hz], 0 if it is unknown, and a sentence that says where it comes from.

    It is that of --restfreq, or the one that the tables SOURCE have for all fields and windows that are imaged.
    """
    if selection.restfreq is not None:
        return selection.restfreq, ""
    found: set[float] = set()
    for target in targets:
        sources = {target.ms.fields[index].source for index in target.fields}
        windows = {window.spw for window in choose_windows(target.ms, selection)}
        for source, spw, frequencies in target.ms.rest_frequencies:
            if source in sources and (spw in windows or spw < 0):
                found.update(frequencies)
    if len(found) == 1:
        (rest,) = found
        return rest, f"RESTFRQ is {rest / 1e9:.9g} GHz, from the table SOURCE; another is given with --restfreq."
    if found:
        listed = ", ".join(f"{rest / 1e9:.9g} GHz" for rest in sorted(found)[:8])
        return 0.0, f"RESTFRQ is left out: the table SOURCE has several ({listed}); choose with --restfreq."
    return 0.0, "RESTFRQ is left out, so that no program takes the frequency for a velocity; --restfreq gives it."


def choose_axis(
    targets: Sequence[Target],
    selection: Selection,
    centre: tuple[float, float] | None,
    rest: float,
    settings: ReadSettings = DEFAULTS,
) -> ChannelAxis | None:
    """The output channels that --start, --width and --nchan ask for; None without them.

    Parameters
    ----------
    targets : sequence of Target
    selection : Selection
    centre : (float, float), optional
        Phase centre of the image (ra, dec) [rad], if it is not that of the data.
    rest : float
        Rest frequency [Hz]; 0 if it is unknown.
    settings : ReadSettings

    Raises
    ------
    ConfigError
        Velocities without a rest frequency, channels narrower than those of the data, or none of the data.
    """
    if selection.start is None and selection.width is None:
        return None
    freq, width = _data_channels(targets, selection, centre, settings)
    return _Request(selection, rest, freq, width).axis()


def _data_channels(targets, selection, centre, settings):
    """Frequencies of the channels of the data in the output frame, rising, and their widths (chan,) [Hz]."""
    freqs, widths = [], []
    for target in targets:
        ms = target.ms
        for window in choose_windows(ms, selection):
            first, last = choose_channels(ms, window, selection)
            field = ms.fields[target.fields[0]]
            shift = find_shift(ms, window, centre or (field.ra, field.dec), selection.outframe, settings)
            factor = 1.0
            if shift is not None and ms.rows:
                with open_table(ms.tables) as main:
                    factor = float(shift.factor(np.asarray(main.getcol("TIME", 0, 1), float))[0])
            freqs.append(window.freq[first:last] * factor)
            widths.append(window.width[first:last] * factor)
    freq, order = np.unique(np.concatenate(freqs), return_index=True)
    return freq, np.concatenate(widths)[order]


class _Request:
    """What the options ask for, given the channels of the data."""

    def __init__(self, selection: Selection, rest: float, freq: np.ndarray, width: np.ndarray) -> None:
        self.selection, self.rest, self.freq, self.width = selection, rest, freq, width
        self.native = float(np.median(width))
        self.start = self._value("start", selection.start)
        self.step = self._value("width", selection.width)

    def _value(self, name: str, text: str | None) -> SpectralValue | None:
        value = None if text is None else parse_spectral(name, text)
        if value is not None and value.kind == "m/s" and not self.rest > 0:
            raise ConfigError(
                f"--{name} {text} needs the rest frequency of the line: give it with --restfreq, such as "
                "--restfreq 1420.405752MHz."
            )
        return value

    def axis(self) -> ChannelAxis:
        """The channels, in order of rising frequency."""
        count = self.selection.channels_out
        step = self._step()
        first = self._first(step)
        if step < 0:
            first += step * (count - 1)
        axis = ChannelAxis(first, abs(step), count)
        inside = axis.inside(self.freq)
        widest = float(self.width[inside].max()) if inside.any() else self.native
        if axis.width < widest * (1 - 1e-3):
            raise ConfigError(
                f"--width {self.selection.width or ''} is narrower ({axis.width / 1e3:.6g} kHz) than the channels of "
                f"the data ({widest / 1e3:.6g} kHz), which are not interpolated: use --width 1 for channels as they "
                "are, or a wider one."
            )
        if not inside.any():
            raise ConfigError(
                f"--start and --width ask for {self._range(axis.low, axis.high)}, and the data have "
                f"{self._range(self.freq[0], self.freq[-1])}: choose channels within."
            )
        return axis

    def _range(self, low: float, high: float) -> str:
        text = f"{low / 1e6:.7g} to {high / 1e6:.7g} MHz"
        if not self.rest > 0:
            return text
        ends = (velocity_of(freq, self.rest, self.selection.veltype) / 1e3 for freq in (high, low))
        return text + " ({:.6g} to {:.6g} km/s)".format(*ends)

    def _step(self) -> float:
        """From channel to channel [Hz]; below 0 towards higher velocities."""
        start, step, convention = self.start, self.step, self.selection.veltype
        if step is not None and step.kind == "Hz":
            return step.value
        if step is not None and step.kind == "m/s":
            freq = self._place(start) if start is not None else float(self.freq.mean())
            speed = velocity_of(freq, self.rest, convention)
            return frequency_of(speed + step.value, self.rest, convention) - freq
        number = 1.0 if step is None else step.value
        return number * self.native * (-1 if start is not None and start.kind == "m/s" else 1)

    def _place(self, start: SpectralValue) -> float:
        """Frequency of --start [Hz]."""
        if start.kind == "Hz":
            return start.value
        if start.kind == "m/s":
            return frequency_of(start.value, self.rest, self.selection.veltype)
        if start.value >= len(self.freq):
            raise ConfigError(
                f"--start {self.selection.start} does not exist: the data that are selected have {len(self.freq)} "
                "channels, counted from 0 in order of frequency."
            )
        return float(self.freq[int(start.value)])

    def _first(self, step: float) -> float:
        """Centre of the first output channel [Hz]."""
        if self.start is not None and self.start.kind != "channels":
            return self._place(self.start)
        # The edge of the first output channel is that of a channel of the data.
        sign = 1 if step > 0 else -1
        edge = self.freq[0 if step > 0 else -1] if self.start is None else self._place(self.start)
        return float(edge - sign * self.native / 2 + step / 2)


def describe_axis(axis: ChannelAxis, rest: float, convention: str, frame: str) -> str:
    """One sentence on the output channels, with their velocities if the rest frequency is known."""
    last = axis.first + (axis.count - 1) * axis.width
    text = f"{axis.count} output channel{'s' * (axis.count > 1)} of {axis.width / 1e3:.6g} kHz"
    text += f" from {axis.first / 1e6:.9g} to {last / 1e6:.9g} MHz ({frame})"
    if rest > 0:
        ends = [velocity_of(freq, rest, convention) / 1e3 for freq in (axis.first, last)]
        text += f", velocities ({convention}) from {ends[0]:.6g} to {ends[1]:.6g} km/s"
    return text + "."

"""`radrim.Observation`: what is in a Measurement Set, as numbers, tables and pictures."""

import copy
import shutil
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any, Literal, Unpack

import numpy as np

from radrim.config.keyword_call import takes
from radrim.config.keywords import SelectionOptions
from radrim.config.options import ImageConfig
from radrim.errors import RadrimError
from radrim.geometry import C, ImageGrid, format_angle
from radrim.inspection.tables import row_counts
from radrim.ms.inputs import open_inputs
from radrim.ms.tables import MeasurementSet
from radrim.read.reader import read
from radrim.read.selection import selected_by
from radrim.units import band, duration, si
from radrim.visibilities import Observation as Data
from radrim.visibilities import Visibilities, row_slices

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from astropy.table import QTable
    from astropy.time import Time
    from astropy.units import Quantity
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure


@dataclass(frozen=True)
class CardSettings:
    """What a notebook shows of an observation."""

    rows: int = 6
    """Number of fields and of windows that are listed."""


class Observation:
    """Measurement Sets or files of other formats: what `radrim info` says of them, as numbers, tables and pictures.

    Tables are read at once, visibilities when something needs them. A notebook shows the observation as a page with the
    uv coverage and the antennas. `radrim.operator.make` makes the measurement equation of it.

    Parameters
    ----------
    ms : str, Path or sequence of them
        Several are taken together.
    **selection
        Which data: the options of `radrim.image` for it, such as ``field="3C286"``, ``spw=0``, ``maxuv_l=1e5``.

    Raises
    ------
    InputError
        A path is neither a Measurement Set nor a file of another format that is read.

    Examples
    --------
    >>> obs = radrim.Observation("obs.ms")  # doctest: +SKIP
    >>> obs.fields, obs.windows, obs.uv_range, obs.plot_uv()  # doctest: +SKIP
    """

    @takes(SelectionOptions)
    def __init__(self, ms: str | Path | Sequence[str | Path], **selection: Unpack[SelectionOptions]) -> None:
        self._config = ImageConfig.parse(ms, selection)
        self.paths = [Path(path) for path in self._config.ms]
        # Converted files live as long as the object.
        self._folder = Path(mkdtemp(prefix="radrim-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        with open_inputs(self.paths, self._folder) as sets:
            self._sets: list[MeasurementSet] = list(sets)
            self._counts = [row_counts(one) for one in sets]

    @property
    def telescope(self) -> str:
        """Name of the telescope."""
        return "+".join(dict.fromkeys(one.telescope for one in self._sets))

    @property
    def rows(self) -> int:
        """Rows of all Measurement Sets, before any selection."""
        return sum(one.rows for one in self._sets)

    @property
    def columns(self) -> list[str]:
        """Columns with visibilities, such as DATA and CORRECTED_DATA."""
        return [name for name in self._sets[0].columns if name.endswith("DATA")]

    @cached_property
    def fields(self) -> "QTable":
        """Fields: ``number``, ``name``, ``coord`` (phase centre, SkyCoord), ``rows``; with several sets ``ms``."""
        from astropy.coordinates import SkyCoord

        rows = [
            (one.path.name, number, field.name, field.ra, field.dec, int(counts[number]))
            for one, (counts, _) in zip(self._sets, self._counts, strict=True)
            for number, field in enumerate(one.fields)
        ]
        table = self._table(rows, ("number", "name", "ra", "dec", "rows"))
        good = np.isfinite(table["ra"]) & (np.abs(table["dec"]) <= np.pi / 2)
        ra, dec = (np.where(good, table[name], 0.0) for name in ("ra", "dec"))
        table.replace_column("ra", SkyCoord(ra, dec, unit="rad"))
        table.rename_column("ra", "coord")
        table.remove_column("dec")
        return table

    @cached_property
    def windows(self) -> "QTable":
        """Spectral windows.

        ``number``, ``channels``, ``low``, ``high``, ``width`` [Hz], ``frame``, ``correlations``, ``rows``; with several
        sets ``ms``.
        """
        from astropy import units

        rows = [
            (one.path.name, w.spw, len(w.freq), w.freq.min(), w.freq.max(), float(np.median(np.abs(w.width))), w.frame,
             ",".join(w.correlations), int(counts[w.data_desc]))
            for one, (_, counts) in zip(self._sets, self._counts, strict=True)
            for w in one.windows
        ]  # fmt: skip
        names = ("number", "channels", "low", "high", "width", "frame", "correlations", "rows")
        table = self._table(rows, names)
        for name in ("low", "high", "width"):
            table[name] = table[name] * units.Hz
        return table

    @cached_property
    def antennas(self) -> "QTable":
        """Antennas.

        ``number``, ``name``, ``position`` (ITRF [m], three numbers), ``diameter`` [m], ``mount``; with several sets
        ``ms``.
        """
        from astropy import units

        rows = [
            (one.path.name, number, name, one.positions[number], one.dish_diameters[number], one.mounts[number])
            for one in self._sets
            for number, name in enumerate(one.antennas)
        ]
        table = self._table(rows, ("number", "name", "position", "diameter", "mount"))
        for name in ("position", "diameter"):
            table[name] = np.asarray(table[name], float) * units.m
        return table

    def _table(self, rows: list[tuple], names: tuple[str, ...]) -> "QTable":
        """A table of rows that begin with the name of the Measurement Set, which is left out if there is one only."""
        from astropy.table import QTable

        table = QTable(rows=rows, names=("ms", *names))
        if len(self._sets) == 1:
            table.remove_column("ms")
        return table

    @cached_property
    def data(self) -> Data:
        """The selected visibilities of Stokes I, or of `pol`, with natural weights; read on first access.

        Raises
        ------
        DataError
            All samples are flagged or have no weight.
        ConfigError
            The selection names something that does not exist.
        """
        return read(self.paths, selected_by(self._config), folder=self._folder)

    @property
    def blocks(self) -> list[Visibilities]:
        """The visibilities: uvw, frequencies, data and weights of one spectral window each."""
        return self.data.blocks

    @property
    def coord(self) -> "SkyCoord":
        """Phase centre of the selected field."""
        from astropy.coordinates import SkyCoord

        return SkyCoord(self.data.ra, self.data.dec, unit="rad")

    @property
    def start(self) -> "Time":
        """First time of the selected data, UTC."""
        from astropy.time import Time

        return Time(self.data.date_obs, scale="utc")

    @property
    def duration(self) -> "Quantity":
        """From the first to the last integration [s]."""
        from astropy import units

        times = [(float(block.time.min()), float(block.time.max())) for block in self.blocks]
        return (max(last for _, last in times) - min(first for first, _ in times)) * units.s

    @property
    def frequencies(self) -> np.ndarray:
        """Channel frequencies of the selected data, sorted, (chan,) float64 [Hz]."""
        return self.data.frequencies

    @property
    def samples(self) -> int:
        """Number of selected samples, flagged ones among them."""
        return int(self.data.counts["samples"])

    @property
    def flagged(self) -> float:
        """Fraction of the samples that are flagged."""
        return self.data.counts["flagged"] / max(self.samples, 1)

    @cached_property
    def uv_range(self) -> tuple[float, float]:
        """Length of the shortest and of the longest baseline with unflagged data [wavelengths]."""
        shortest = np.inf
        for block in self.blocks:
            for rows in row_slices(len(block.time)):
                length = block.uv_length[rows, None] * (block.freq / C)
                shortest = min(shortest, float(length.min(where=block.weight[rows] > 0, initial=np.inf)))
        return shortest, self.data.longest_baseline()

    @cached_property
    def scatter(self) -> float:
        """Noise of the data over that of their weights; 1 if the weights are 1/sigma^2, NaN if it is unknown."""
        from radrim.metrics import measured_scatter

        return measured_scatter(self.blocks)

    @cached_property
    def noise(self) -> float:
        """Noise of a naturally weighted image, from the scatter of the data or, if it is unknown, the weights [Jy]."""
        total = sum(float(np.sum(block.weight, dtype=np.float64)) for block in self.blocks)
        return (self.scatter if np.isfinite(self.scatter) else 1.0) / float(np.sqrt(total))

    def uv(self, count: int = 20000) -> np.ndarray:
        """About `count` of the unflagged (u, v), drawn evenly, for plots, (sample, 2) float64 [wavelengths]."""
        from radrim.measure.measurement import uv_samples

        return uv_samples(self.blocks, count)

    def grid(
        self,
        size: int | tuple[int, int] | None = None,
        scale: str | None = None,
        weight: str | None = None,
    ) -> ImageGrid:
        """The pixels of an image; what is not given is what `radrim.image` would choose.

        Parameters
        ----------
        size : int or (int, int), optional
            Width and height [pixel].
        scale : str, optional
            Pixel size, such as '1asec'.
        weight : str, optional
            Weighting, on which the chosen pixel size depends.
        """
        from radrim.imagers.grid import choose_grid

        config = ImageConfig.parse(self._config.ms, {"size": size, "scale": scale, "weight": weight})
        return choose_grid(self.data, config)[0]

    def weigh(self, grid: ImageGrid, weight: str = "briggs 0", taper: str | None = None) -> "Observation":
        """The same observation with imaging weights for images of a grid; the object itself keeps its own.

        Parameters
        ----------
        grid : ImageGrid
        weight : str
            'natural', 'uniform' or 'briggs R'.
        taper : str, optional
            Width (FWHM) of the beam that a Gaussian taper makes, such as '10asec'.
        """
        from radrim.weight.imaging import apply_weights

        config = ImageConfig.parse(self._config.ms, {"weight": weight, "taper": taper})
        other = copy.copy(self)
        # The copy needs the folder of conversions as long as it lives.
        other._whole = self  # type: ignore[attr-defined] # noqa: SLF001 - of the same class
        blocks = [replace(block, weight=np.array(block.weight)) for block in self.blocks]
        apply_weights(blocks, grid, config.weight, config.tapers, config.padding)
        other.data = replace(self.data, blocks=blocks)
        return other

    def plot_uv(self, *, figure: "Figure | SubFigure | None" = None) -> "Axes":
        """Plot the uv coverage, with conjugate points, as the report does; returns the axes."""
        from radrim.interactive.pictures import figure_of
        from radrim.report.figures import uv_figure

        return figure_of((4.5, 4.3), uv_figure, self.uv(), figure=figure)

    def plot_antennas(self, *, figure: "Figure | SubFigure | None" = None) -> "Axes":
        """Plot the antennas from above, or on the globe for arrays of continents; returns the axes."""
        from radrim.inspection.figures import antennas_figure
        from radrim.interactive.pictures import figure_of

        return figure_of((4.5, 4.3), antennas_figure, *self._places(), figure=figure)

    def describe(self, antennas: bool = False, baselines: bool = False) -> str:
        """The page of `radrim info` about each file, without the selection.

        Parameters
        ----------
        antennas, baselines : bool
            Whether to list all of them, however many there are.
        """
        from radrim.inspection.describe import describe

        return "\n".join(describe(path, antennas, baselines) for path in self.paths)

    def __str__(self) -> str:
        return self.describe()

    def __repr__(self) -> str:
        """One line, from the tables alone."""
        files = ", ".join(path.name for path in self.paths)
        names = list(dict.fromkeys(self.fields["name"]))
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        low, high = self._band()
        return (
            f"<radrim.Observation {files}: {self.telescope}, {shown}, {len(self.antennas)} antennas, "
            f"{band(low, high)}, {self.rows:,} rows>"
        )

    def _repr_html_(self) -> str:
        from radrim.interactive import html

        low, high = self._band()
        facts = {"Antennas": str(len(self.antennas)), "Rows": f"{self.rows:,}", "Band": band(low, high),
                 "Columns": ", ".join(self.columns) or "none"}  # fmt: skip
        picture, faults = None, []
        try:
            facts |= self._measured()
            picture = self._picture()
        except RadrimError as error:
            faults = [f"Cannot be imaged as it is: {error}"]
        fields = [
            (str(row["number"]), row["name"], row["coord"].to_string("hmsdms", precision=1), f"{row['rows']:,}")
            for row in self.fields[: CardSettings.rows]
        ]
        windows = [
            (str(row["number"]), str(row["channels"]), band(row["low"].value, row["high"].value), row["correlations"],
             f"{row['rows']:,}")
            for row in self.windows[: CardSettings.rows]
        ]  # fmt: skip
        names = ", ".join(path.name for path in self.paths)
        return html.card(
            f"{names}, {self.telescope}",
            picture,
            html.facts(facts),
            html.table(("field", "name", "phase centre", "rows"), fields) + self._more(self.fields, "fields"),
            html.table(("window", "channels", "band", "correlations", "rows"), windows)
            + self._more(self.windows, "windows"),
            html.notes(faults or self.data.notes),
        )

    @staticmethod
    def _more(table: Any, what: Literal["fields", "windows"]) -> str:
        more = len(table) - CardSettings.rows
        return f"<div>and {more} more {what}</div>" if more > 0 else ""

    def _measured(self) -> dict[str, str]:
        """Facts about the visibilities."""
        shortest, longest = self.uv_range
        return {
            "Start": f"{self.data.date_obs[:19]} UTC, {duration(self.duration.value)}",
            "Samples": f"{self.samples:,} of Stokes {self.data.stokes}, {self.flagged:.1%} flagged",
            "Baselines": f"{si(shortest, 'λ')} to {si(longest, 'λ')}, scales {format_angle(1 / longest)} to "
            f"{format_angle(1 / shortest)}",
            "Noise": f"{si(self.noise, 'Jy/beam')} with natural weights",
        }

    def _picture(self) -> bytes:
        from radrim.inspection.figures import both_figure
        from radrim.interactive.pictures import PlotSettings
        from radrim.report.render import render

        return render((6.4, 3.1), both_figure, self.uv(4000), *self._places(), dpi=PlotSettings.dpi)

    def _places(self) -> tuple[np.ndarray, list[str]]:
        """Positions of the antennas (antenna, 3) [m], and their names; each once."""
        found = dict(zip(self.antennas["name"], self.antennas["position"].value, strict=True))
        return np.array(list(found.values())).reshape(-1, 3), [str(name) for name in found]

    def _band(self) -> tuple[float, float]:
        """Lowest and highest frequency of all windows [Hz]; NaN without windows."""
        table = self.windows
        return (float(table["low"].value.min()), float(table["high"].value.max())) if len(table) else (np.nan, np.nan)

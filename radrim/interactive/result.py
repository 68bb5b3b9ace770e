"""What `radrim.image` returns: the images, and what Python and notebooks do with them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from radrim.angles import format_angle, parse_angle
from radrim.errors import ConfigError, MissingPackageError
from radrim.geometry import ImageGrid
from radrim.products import KINDS
from radrim.result import Image, Linear, Stokes
from radrim.units import si

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from astropy.io.fits import PrimaryHDU
    from astropy.nddata import Cutout2D
    from astropy.table import QTable
    from astropy.units import Quantity
    from astropy.wcs import WCS
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from spectral_cube import SpectralCube

Kind = Literal[
    "dirty", "psf", "model", "residual", "image", "pb", "image_pb", "uncertainty", "uncertainty_95",
    "model_uncertainty", "model_uncertainty_95",
]  # fmt: skip
"""A kind of image; see `radrim.result.Image`."""

TITLES = {"dirty": "Dirty image", "psf": "PSF", "model": "Model", "residual": "Residual", "pb": "Primary beam",
          "image_pb": "Restored image / primary beam", "uncertainty": "Uncertainty, 68 %",
          "uncertainty_95": "Uncertainty, 95 %", "model_uncertainty": "Uncertainty of the model, 68 %",
          "model_uncertainty_95": "Uncertainty of the model, 95 %"}  # fmt: skip
LINKS = {"report": "report", "png": "picture", "image": "image", "model": "model", "residual": "residual",
         "dirty": "dirty image", "psf": "PSF", "run": "settings"}  # fmt: skip
"""Files that a notebook links to, by their keys in `Result.paths`."""


@dataclass(repr=False)
class Result(Image):
    """What `radrim.image` returns: the image of all channels together, and each output channel.

    It is the image of the first Stokes parameter; `polarisations` has all of them. A notebook shows it as a picture
    with the key numbers and links to the files.

    Parameters
    ----------
    grid : ImageGrid
    channels : sequence of Image
        One per output channel; with ``channels_out`` 1 the image itself. Several are read from their files on access.
    paths : dict of str to Path
        Besides the FITS files: 'png', 'report' and 'run' (the settings, as TOML).
    polarisations : Stokes
        Images by Stokes parameter: ``result.polarisations["Q"].image``.
    linear : Linear or None
        Maps of polarised intensity and angle, where Q and U were deconvolved.
    findings : list of dict
        What the kept-out visibilities say about data and image, of all Stokes parameters: 'kind', 'text' and what else
        `radrim.report.diagnosis.Finding` has. Empty with `--holdout 0`.
    """

    grid: ImageGrid = field(kw_only=True)
    channels: Sequence[Image] = field(kw_only=True)
    polarisations: Stokes = field(kw_only=True)
    linear: Linear | None = field(kw_only=True, default=None)
    findings: list[dict] = field(kw_only=True, default_factory=list)

    @cached_property
    def wcs(self) -> "WCS":
        """Celestial WCS of the images (astropy.wcs.WCS, two axes)."""
        from astropy.wcs import WCS

        return WCS(self._header()).celestial

    @cached_property
    def sources(self) -> "QTable":
        """Sources in the restored image, the brightest first.

        A source is an island of touching pixels above 3 times the noise with a peak above 5 times the noise
        (`radrim.report.sources`); there is no deblending. Errors are those of the noise alone. With a primary beam,
        fluxes are divided by its value at the peak.

        Returns
        -------
        astropy.table.QTable
            ``coord`` (SkyCoord of the centroid), ``ra_error``, ``dec_error`` [arcsec], ``peak``, ``peak_error``
            [Jy/beam], ``flux``, ``flux_error`` [Jy], ``pixels``, ``x``, ``y`` (centroid [pixel]), and ``pb``.

        Raises
        ------
        ConfigError
            Nothing was deconvolved.
        """
        from radrim.interactive.sources import source_table

        if self.image is None:
            raise ConfigError("There are no sources in a dirty image: sidelobes count as such. Leave out niter=0.")
        return source_table(self.image, self.noise, self.beam, self.grid, self.wcs, self.pb)

    def plot(
        self,
        kind: Kind | None = None,
        *,
        stokes: str | None = None,
        channel: int | None = None,
        figure: "Figure | SubFigure | None" = None,
    ) -> "Axes":
        """Draw one of the images as the report does, with colour bar, beam and scale bar.

        Parameters
        ----------
        kind : str, optional
            Such as 'residual'; by default the restored image, or the dirty one if nothing was deconvolved.
        stokes : str, optional
            Stokes parameter; by default the first.
        channel : int, optional
            Number of an output channel; by default all channels together.
        figure : Figure or SubFigure, optional
            Where to draw; by default a new figure of matplotlib's pyplot.

        Returns
        -------
        Axes
            In pixels, with the image's WCS (`astropy.visualization.wcsaxes.WCSAxes`). Fields below 30 arcsec and those
            near a pole have plain axes with offsets from the centre, as in the report.

        Raises
        ------
        ConfigError
            The run has no such image.
        """
        from radrim.interactive.pictures import plot_sky, style_of

        image, chosen, array = self._find(kind, stokes, channel)
        title = TITLES.get(chosen, self._title())
        style = style_of(chosen, array, image.noise, title, self._detail(image))
        return plot_sky(array, self.grid, image.beam, style, figure)

    def cutout(
        self,
        coord: "SkyCoord | str",
        size: "Quantity | str | float",
        kind: Kind | None = None,
        *,
        stokes: str | None = None,
        channel: int | None = None,
    ) -> "Cutout2D":
        """A part of an image around a position on the sky, with its WCS.

        Parameters
        ----------
        coord : SkyCoord or str
            Centre; text such as '19h59m28s +40d44m02s' is ICRS.
        size : Quantity, str or float
            Width and height: an angle, also as text such as '30asec', or a number of pixels.
        kind, stokes, channel
            As in `plot`.

        Returns
        -------
        astropy.nddata.Cutout2D
            Its `data` are a copy; parts outside of the image are NaN.

        Raises
        ------
        ConfigError
            The run has no such image, or the position lies outside of it.
        """
        from astropy import units
        from astropy.coordinates import SkyCoord
        from astropy.nddata import Cutout2D, NoOverlapError

        _, _, array = self._find(kind, stokes, channel)
        centre = SkyCoord(coord) if isinstance(coord, str) else coord
        if isinstance(size, str):
            size = parse_angle(size, "size") * units.rad
        try:
            return Cutout2D(array, centre, size, self.wcs, mode="partial", fill_value=np.nan, copy=True)
        except (NoOverlapError, ValueError) as error:
            middle = SkyCoord(self.grid.ra, self.grid.dec, unit="rad").to_string("hmsdms", precision=1)
            wide = format_angle(max(self.grid.shape) * self.grid.scale)
            raise ConfigError(
                f"The cutout around {centre.to_string('hmsdms', precision=1)} lies outside of the image, which is "
                f"{wide} wide around {middle} ({error})."
            ) from None

    def to_hdu(
        self, kind: Kind | None = None, *, stokes: str | None = None, channel: int | None = None
    ) -> "PrimaryHDU":
        """One of the images as a FITS HDU in memory, with the header of its file.

        Parameters
        ----------
        kind, stokes, channel
            As in `plot`.

        Returns
        -------
        astropy.io.fits.PrimaryHDU
            (STOKES, FREQ, y, x) float32, with one channel and Stokes parameter unless the file is a cube.
        """
        from astropy.io import fits

        image, chosen, _ = self._find(kind, stokes, channel)
        with fits.open(image.paths[chosen], memmap=False) as file:
            return fits.PrimaryHDU(file[0].data, file[0].header)

    def spectral_cube(self, kind: Kind | None = None, *, stokes: str | None = None) -> "SpectralCube":
        """All output channels as a cube of the package spectral-cube.

        Parameters
        ----------
        kind, stokes
            As in `plot`.

        Returns
        -------
        SpectralCube
            With a beam for each channel (`VaryingResolutionSpectralCube`), except the model.

        Raises
        ------
        MissingPackageError
            spectral-cube is not installed.
        """
        import warnings

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it asks for widgets in notebooks
                import spectral_cube  # noqa: F401 - looked for here, to say what to do
        except ImportError:
            raise MissingPackageError(
                "Result.spectral_cube needs the package spectral-cube, which is not installed: pip install "
                "'radrim[cubes]' or pip install spectral-cube. Without it, result.channels has the same images."
            ) from None
        from radrim.interactive.cubes import cube_of

        image, chosen, _ = self._find(kind, stokes, None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the Stokes axis of length 1 is left out
            return cube_of(self.polarisations.channels[image.stokes], chosen)

    def view(self, browser: bool = True) -> Path:
        """Write NAME-view.html, a page to explore the images, and open it in the browser.

        Parameters
        ----------
        browser : bool
            Whether the page is opened.

        Returns
        -------
        Path
            Of the page, which needs no network.
        """
        import webbrowser

        from radrim.interactive.viewer import write_viewer

        page = write_viewer(self.paths["dirty"])
        if browser:
            webbrowser.open(page.absolute().as_uri())
        return page

    def __repr__(self) -> str:
        """One line: the object, its pixels, beam, noise and peak."""
        grid = self.grid
        return (
            f"<radrim.Result {self._title()}: {grid.width} x {grid.height} pixels of {format_angle(grid.scale)}, "
            f"beam {self.beam}, peak {si(self._peak(), 'Jy/beam')}, noise {si(self.noise, 'Jy/beam')}>"
        )

    def _repr_html_(self) -> str:
        from radrim.interactive import html
        from radrim.interactive.pictures import sky_png, style_of

        _, kind, array = self._find(None, None, None)
        style = style_of(kind, array, self.noise, TITLES.get(kind, self._title()), self._detail(self))
        picture = sky_png(array, self.grid, self.beam, style)
        files = {what: self.paths[key] for key, what in LINKS.items() if key in self.paths}
        return html.card(
            f"{self._title()}, {self._header().get('TELESCOP', '')}",
            picture,
            html.facts(self._facts()),
            html.notes([finding["text"] for finding in self.findings]),
            f'<div style="margin-top:0.6em">{html.links(files)}</div>',
        )

    def _facts(self):
        """The key numbers, by name."""
        grid, noise = self.grid, self.noise
        facts = {
            "Image": f"{grid.width} × {grid.height} pixels of {format_angle(grid.scale)}, Stokes {self.stokes}",
            "Frequency": f"{si(self.freq, 'Hz', 5)}, {si(self.bandwidth, 'Hz')} wide"
            + (f", {len(self.channels)} output channels" if len(self.channels) > 1 else ""),
            "Beam": str(self.beam).replace(" x ", " × "),
            "Peak": si(self._peak(), "Jy/beam", 4),
            "Noise": si(noise, "Jy/beam") + (" (residual)" if self.image is not None else " (dirty image)"),
            "Dynamic range": f"{self._peak() / noise:,.0f}" if noise > 0 else "∞",
        }
        if self.model is not None:
            facts["Model flux"] = si(float(np.sum(self.model, dtype=np.float64)), "Jy", 4)
            facts["Stopped because"] = self.stop
            facts["Major cycles"] = str(len(self.cycles))
        return facts

    def _find(
        self, kind: str | None, stokes: str | None, channel: int | None
    ) -> tuple[Image, str, np.ndarray]:  # fmt: skip
        """One of the images: the object it belongs to, its kind, and its pixels (y, x)."""
        of = self.polarisations
        if stokes is not None and stokes not in of:
            raise ConfigError(f"The run has no Stokes {stokes}, but {', '.join(of)}; see the option pol.")
        name = self.stokes if stokes is None else stokes
        if channel is None:
            image: Image = self if name == self.stokes else of[name]
        elif -len(self.channels) <= channel < len(self.channels):
            image = of.channels[name][channel]
        else:
            raise ConfigError(f"The run has no channel {channel}: it has {len(self.channels)}, counted from 0.")
        kind = kind or ("dirty" if image.image is None else "image")
        if kind not in KINDS:
            raise ConfigError(f"'{kind}' is no kind of image; choose one of {', '.join(KINDS)}.")
        array = getattr(image, kind)
        if array is None:
            there = [one for one in KINDS if getattr(image, one) is not None]
            raise ConfigError(f"The run has no image of the kind '{kind}'; it has {', '.join(there)}.")
        return image, kind, array

    def _header(self) -> Any:
        from astropy.io import fits

        return fits.getheader(self.paths["dirty"])

    def _title(self) -> str:
        path = Path(self.paths["dirty"])
        return str(self._header().get("OBJECT", "")) or path.name

    def _detail(self, image: Image) -> str:
        several = image.stokes if len(self.polarisations) == 1 else f"Stokes {image.stokes}"
        parts = (image.channel if len(self.channels) > 1 else "", si(image.freq, "Hz", 4), several)
        return " · ".join(part if part != image.stokes else f"Stokes {part}" for part in parts if part)

    def _peak(self) -> float:
        return float(np.nanmax(self.best))

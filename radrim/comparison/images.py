"""Compares two images of the same data: sources, residuals by angular scale, and scores against the true sky."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

from radrim.beam import Beam, common_beam, restore, smooth
from radrim.comparison.settings import ComparisonSettings
from radrim.comparison.spectra import power_spectrum, spectrum_bins
from radrim.comparison.truth import score
from radrim.errors import PeerError
from radrim.geometry import ARCSEC, ImageGrid
from radrim.interactive.pictures import small_picture
from radrim.metrics import noise_mad, residual_noise
from radrim.report import sources
from radrim.runtime.process import Finished
from radrim.sky.catalogue import offset_position
from radrim.units import si
from radrim.write.fits import read_image

KINDS = ("dirty", "psf", "model", "residual", "image")


@dataclass
class Side:
    """One program's run and its images.

    Parameters
    ----------
    key, name, detail : str
        Name in columns and file names ('radrim', 'wsclean', 'clean'), name in texts, and version or solver.
    command : str
        Command that repeats the run.
    done : Finished
        Time and memory.
    paths : dict of str to Path
        Kind to FITS file.
    dirty, psf, model, residual, image : (y, x) float32
        [Jy/beam], the model [Jy/pixel]; the image is restored with the beam of this side.
    beam : Beam
    cycles : int or None
        Major cycles.
    smoothed : (y, x) float32
        `image`, smoothed to the common beam of both sides.
    noise : float
        Noise of the residual, from its median absolute deviation [Jy/beam].
    holes : int
        Number of islands below -5 times the noise in `smoothed`.
    scores : dict of str to float
        Against the truth, see `radrim.comparison.truth.score`; empty without one.
    """

    key: str
    name: str
    detail: str
    command: str
    done: Finished
    paths: dict[str, Path]
    dirty: np.ndarray
    psf: np.ndarray
    model: np.ndarray
    residual: np.ndarray
    image: np.ndarray
    beam: Beam
    cycles: int | None = None
    smoothed: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    noise: float = math.nan
    holes: int = 0
    scores: dict[str, float] = field(default_factory=dict)


@dataclass
class Expected:
    """The noise expected from the data.

    Parameters
    ----------
    noise : float
        Noise of the dirty image [Jy/beam]: from the weights, times the scatter.
    scatter : float
        Noise of the samples over that of their weights; NaN if it could not be measured (1 is used).
    power : (bin,) array
        [(Jy/beam)^2], see `radrim.comparison.spectra.noise_spectrum`.
    """

    noise: float
    scatter: float
    power: np.ndarray


@dataclass(repr=False)
class Comparison:
    """What `radrim.compare` returns.

    Parameters
    ----------
    radrim, peer : Side
    grid : ImageGrid
    freq : float
        [Hz]
    title, subtitle : str
        Object; telescope and date.
    beam : Beam
        Beam of both `smoothed` images, in which sources are measured.
    noise : float
        Noise that sets the thresholds of sources in both images: the largest of the expected noise and that of both
        residuals, in the common beam [Jy/beam].
    expected : Expected or None
        None for a joint mosaic.
    sources : astropy.table.Table
        One row for each source, see `source_table`.
    spectra : astropy.table.Table
        Power of the residuals by angular scale: columns `scale` [arcsec], `baseline` [wavelengths], `modes`,
        `expected`, `radrim` and the peer's key [(Jy/beam)^2].
    truth : (y, x) float32 or None
        [Jy/pixel]
    settings : dict
        Resolved settings of radrim's run.
    notes : list of str
        Differences between both runs, in sentences.
    paths : dict of str to Path
        'report', 'png', 'json', 'csv'.
    """

    radrim: Side
    peer: Side
    grid: ImageGrid
    freq: float
    title: str
    subtitle: str
    beam: Beam
    noise: float
    expected: Expected | None
    sources: Table
    spectra: Table
    truth: np.ndarray | None
    settings: Mapping[str, object]
    notes: list[str]
    paths: dict[str, Path] = field(default_factory=dict)

    @property
    def sides(self) -> tuple[Side, Side]:
        """Both sides; radrim is first."""
        return self.radrim, self.peer

    def __repr__(self) -> str:
        """One line: the object, and the residual of both sides."""
        left = " and ".join(f"{si(side.noise, 'Jy/beam')} ({side.name})" for side in self.sides)
        return f"<radrim.Comparison {self.title}: noise of the residuals {left}>"

    def _repr_html_(self) -> str:
        from radrim.interactive import html

        head = ("", *(side.name for side in self.sides))
        rows = [
            ("version", *(side.detail for side in self.sides)),
            ("beam", *(str(side.beam) for side in self.sides)),
            ("peak", *(si(float(np.nanmax(side.image)), "Jy/beam", 4) for side in self.sides)),
            ("noise of the residual", *(si(side.noise, "Jy/beam") for side in self.sides)),
            ("largest residual", *(si(float(np.nanmax(np.abs(side.residual))), "Jy/beam") for side in self.sides)),
            ("model flux", *(si(float(np.sum(side.model, dtype=float)), "Jy", 4) for side in self.sides)),
            ("wall time", *(f"{side.done.wall:.1f} s" for side in self.sides)),
            ("processor time", *(f"{side.done.cpu:.1f} s" for side in self.sides)),
            ("memory", *(f"{side.done.memory / 1e9:.2f} GB" for side in self.sides)),
        ]
        files = {what: self.paths[key] for key, what in
                 (("report", "report"), ("png", "picture"), ("csv", "sources")) if key in self.paths}  # fmt: skip
        return html.card(
            f"{self.title}, {self.subtitle}",
            small_picture(self.paths["png"]) if "png" in self.paths else None,
            html.table(head, rows),
            html.notes(self.notes),
            f'<div style="margin-top:0.6em">{html.links(files)}</div>',
        )


def read_side(
    key: str, name: str, detail: str, command: str, done: Finished, prefix: str | Path, several: bool
) -> Side:
    """Read the images that a run wrote.

    Parameters
    ----------
    key, name, detail, command, done
        As in `Side`.
    prefix : str or Path
        Beginning of the file names.
    several : bool
        Whether there are several output channels. If so, their average is read.

    Raises
    ------
    PeerError
        An image is missing, or not finite, or has no beam.
    """
    middle = "-MFS" if several else ""
    paths = {kind: Path(f"{prefix}{middle}-{kind}.fits") for kind in KINDS}
    try:
        images = {kind: read_image(path) for kind, path in paths.items()}
        header = fits.getheader(paths["image"])
        beam = Beam(*(math.radians(header[axis]) for axis in ("BMAJ", "BMIN", "BPA")))
    except (OSError, KeyError) as error:
        raise PeerError(f"{name} ran, but its images cannot be used: {error}. See {prefix}.log.") from None
    for kind in ("residual", "image"):
        if not np.isfinite(images[kind]).all():
            raise PeerError(f"{name} ran, but {paths[kind]} is not finite: it diverged. See {prefix}.log.")
    cycles = header.get("RRMAJOR", header.get("WSCMAJOR"))
    return Side(key, name, detail, command, done, paths, images["dirty"], images["psf"], images["model"],
                images["residual"], images["image"], beam,
                cycles=None if cycles is None else int(cycles), noise=residual_noise(images["residual"]))  # fmt: skip


def to_common_beam(sides: Sequence[Side], grid: ImageGrid, notes: list[str], threads: int = 1) -> tuple[Beam, float]:
    """Set the `smoothed` image of each side.

    Residuals are not smoothed: both have the same dirty beam, whatever the restoring beam.

    Returns
    -------
    Beam
        Of the smoothed images.
    float
        Factor by which smoothing changed the noise, at least 1.
    """
    beams = [side.beam for side in sides]
    beam = common_beam(*beams)
    if beam.area(1) < ComparisonSettings.same_beam * min(b.area(1) for b in beams):
        for side in sides:
            side.smoothed = side.image
        return beams[0], 1.0
    notes.append("The restoring beams differ: " + ", ".join(f"{side.name} {side.beam}" for side in sides) +
                 f". Restored images are compared after smoothing both to {beam}.")  # fmt: skip
    change = 1.0
    for side in sides:
        side.smoothed = smooth(side.image, side.beam, beam, grid.scale, threads)
        seen = noise_mad(smooth(side.residual, side.beam, beam, grid.scale, threads))
        change = max(change, seen / side.noise if side.noise > 0 else 1.0)
    return beam, change


def compare_images(
    sides: Sequence[Side],
    grid: ImageGrid,
    expected: Expected | None,
    truth: tuple[np.ndarray, bool] | None,
    beam: Beam,
    change: float,
) -> tuple[Table, Table, float]:
    """Find sources and measure spectra of two runs.

    Parameters
    ----------
    sides : (Side, Side)
        After `to_common_beam`; `holes` and `scores` are set.
    grid : ImageGrid
    expected : Expected or None
    truth : ((y, x) float32, bool) or None
        From `radrim.comparison.truth.read_truth`.
    beam : Beam
    change : float
        Both from `to_common_beam`.

    Returns
    -------
    sources : Table
    spectra : Table
    noise : float
    """
    levels = [side.noise for side in sides] + ([expected.noise] if expected else [])
    noise = change * max(levels)
    found = {side.key: sources.find_sources(side.smoothed, noise, beam, grid) for side in sides}
    if truth is not None:
        model, exact = truth
        found = {"truth": sources.find_sources(restore(model, beam, grid.scale), noise, beam, grid)} | found
        for side in sides:
            side.scores = score(model, exact, side.model, side.smoothed, beam, grid.scale, noise)
    for side in sides:
        side.holes = sources.count_holes(side.smoothed, noise)
    edges = spectrum_bins(grid)
    spectra = Table()
    middle = np.sqrt(edges[1:] * edges[:-1])
    spectra["scale"] = 1 / middle / ARCSEC
    spectra["baseline"] = middle
    for side in sides:
        spectra[side.key], spectra["modes"] = power_spectrum(side.residual, grid, edges)
    spectra["expected"] = expected.power if expected else np.nan
    spectra["scale"].unit = "arcsec"
    for name in ("expected", *(side.key for side in sides)):
        spectra[name].unit = "Jy2 / beam2"
    spectra = spectra["scale", "baseline", "modes", "expected", *(side.key for side in sides)]
    return source_table(found, grid, beam), spectra, noise


def source_table(found: Mapping[str, np.ndarray], grid: ImageGrid, beam: Beam) -> Table:
    """Table of all sources.

    Parameters
    ----------
    found : dict of str to array of SOURCE
        Sources by image. The first image that has a source is its reference.
    grid : ImageGrid
    beam : Beam

    Returns
    -------
    Table
        Columns `source` (number), `ra`, `dec` [deg] of the reference; errors from noise in one image, `peak_error`
        [Jy/beam], `flux_error` [Jy], `ra_error`, `dec_error` [arcsec]; `pixels`; and for each image NAME the columns
        `NAME_peak`, `NAME_flux`, `NAME_dra`, `NAME_ddec`, the last two offsets from the reference to the east and north
        [arcsec]. They are NaN where the image lacks the source.
    """
    indices = sources.join(found, beam)
    rows = len(next(iter(indices.values())))
    reference = np.zeros(rows, sources.SOURCE)
    for name in reversed(list(found)):
        has = indices[name] >= 0
        reference[has] = found[name][indices[name][has]]
    ra, dec = offset_position(reference["l"], reference["m"], grid.ra, grid.dec)
    table = Table()
    table["source"] = np.arange(1, rows + 1)
    table["ra"], table["dec"] = np.degrees(ra) % 360, np.degrees(dec)
    table["peak_error"], table["flux_error"] = reference["peak_error"], reference["flux_error"]
    table["ra_error"], table["dec_error"] = reference["l_error"] / ARCSEC, reference["m_error"] / ARCSEC
    table["pixels"] = reference["pixels"].astype(int)
    units = {"ra": "deg", "dec": "deg", "peak_error": "Jy / beam", "flux_error": "Jy",
             "ra_error": "arcsec", "dec_error": "arcsec"}  # fmt: skip
    for name, index in indices.items():
        mine = np.full(rows, np.nan, sources.SOURCE)
        mine[index >= 0] = found[name][index[index >= 0]]
        table[f"{name}_peak"], table[f"{name}_flux"] = mine["peak"], mine["flux"]
        table[f"{name}_dra"] = (mine["l"] - reference["l"]) / ARCSEC
        table[f"{name}_ddec"] = (mine["m"] - reference["m"]) / ARCSEC
        units |= {f"{name}_{column}": unit for column, unit in
                  (("peak", "Jy / beam"), ("flux", "Jy"), ("dra", "arcsec"), ("ddec", "arcsec"))}  # fmt: skip
    for column, unit in units.items():
        table[column].unit = unit
    return table

"""Images larger than the memory: rectangular facets of one pixel grid on a common tangent plane, each in a file.

A whole image is never in memory. A task reads a region of the image, which may span several facets. The functions of
this module are tasks on one or some facets, which any worker can carry out. They skip results that exist already.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from radrim.beam import Beam, reach, restore
from radrim.deconvolve.tiles import Tile
from radrim.geometry import central_region
from radrim.products import UNCERTAINTIES
from radrim.restore.restoring import restored
from radrim.restore.spectrum import Basis, SpectralPlanes, spectral_index
from radrim.restore.uncertainty import uncertainties
from radrim.rim.minor.detection import brightest
from radrim.workdir.store import Store
from radrim.write.fits import FitsPixels, open_image


@dataclass(frozen=True)
class FacetSettings:
    """Tuned numbers of images in facets."""

    max_noise_pixels: int = 1_000_000
    """Largest number of pixels of the whole image from which its noise is measured."""


class FacetImage:
    """An image whose facets are files; a facet without a file is 0.

    Parameters
    ----------
    store : Store
    name : str
        Folder of the files.
    tiles : sequence of Tile
        Their cores are the facets.
    """

    def __init__(self, store: Store, name: str, tiles: Sequence[Tile]):
        self._store, self.name, self._tiles = store, name, tiles

    def __contains__(self, facet: int) -> bool:
        return self._name(facet) in self._store

    def save(self, facet: int, core: np.ndarray) -> None:
        """Write the core of a facet, (y, x)."""
        self._store.save(self._name(facet), np.asarray(core, np.float32))

    def load(self, facet: int) -> np.ndarray:
        """Core of a facet, (y, x) float32."""
        if facet in self:
            return self._store.load(self._name(facet))
        return np.zeros([s.stop - s.start for s in self._tiles[facet].core], np.float32)

    def read(self, region: tuple[slice, slice]) -> np.ndarray:
        """A region of the image, (y, x) float32; beyond the image's edges it is 0.

        Parameters
        ----------
        region : (slice, slice)
            Rows and columns.
        """
        out = np.zeros([s.stop - s.start for s in region], np.float32)
        for facet, tile in enumerate(self._tiles):
            here, there = [], []
            for want, have in zip(region, tile.core, strict=True):
                start, stop = max(want.start, have.start), min(want.stop, have.stop)
                here.append(slice(start - want.start, stop - want.start))
                there.append(slice(start - have.start, stop - have.start))
            if all(s.start < s.stop for s in here) and facet in self:
                out[tuple(here)] = self._store.load(self._name(facet))[tuple(there)]
        return out

    def discard(self) -> None:
        """Delete the files of all facets."""
        self._store.discard(self.name)

    def _name(self, facet):
        return f"{self.name}/{facet:05d}"


class Readable(Protocol):
    """An image in facets, read from files or computed on demand."""

    @property
    def name(self) -> str:
        """Name of the image."""

    def load(self, facet: int) -> np.ndarray:
        """Core of a facet, (y, x) float32."""

    def read(self, region: tuple[slice, slice]) -> np.ndarray:
        """A region of the image, (y, x) float32."""

    def discard(self) -> None:
        """Delete the files of the image, if there are any."""


@dataclass(frozen=True)
class Mixture:
    """A weighted sum of images in facets, computed on demand.

    Parameters
    ----------
    images : sequence of Readable
    factors : sequence of float
    name : str
    """

    images: Sequence[Readable]
    factors: Sequence[float]
    name: str

    def load(self, facet: int) -> np.ndarray:
        """Core of a facet, (y, x) float32."""
        return self._sum(image.load(facet) for image in self.images)

    def read(self, region: tuple[slice, slice]) -> np.ndarray:
        """A region of the image, (y, x) float32; beyond the image's edges it is 0."""
        return self._sum(image.read(region) for image in self.images)

    def discard(self) -> None:
        """Do nothing, since nothing is stored."""

    def _sum(self, images):
        return sum(np.float32(factor) * image for factor, image in zip(self.factors, images, strict=True))


def facet_statistics(image: Readable, facets: Iterable[int], count: int) -> dict[int, dict[str, Any]]:
    """Statistics of some facets, from which those of the whole image follow.

    Parameters
    ----------
    image : Readable
    facets : iterable of int
    count : int
        Number of facets of the whole image.

    Returns
    -------
    dict
        For each facet: its largest |value| and that of each of the `radrim.rim.minor.detection.bands`, the number of
        pixels, the sum of their squares, and a sample of them (float32).
    """
    return {facet: _statistics(np.asarray(image.load(facet)), count) for facet in facets}


def _statistics(core, count):
    step = max(1, core.size * count // FacetSettings.max_noise_pixels)
    step += step % 2 == 0  # an even step would sample only few of the columns
    return {
        "peak": float(np.abs(core).max()),
        "bands": brightest(core),
        "size": max(1, np.count_nonzero(core)),  # beyond the horizon all are 0
        "square": float(np.vdot(core.astype(np.float64), core)),
        "pixels": core.ravel()[::step].copy(),
    }


def restore_facet(
    image: FacetImage,
    model: Readable,
    residual: Readable,
    tiles: Sequence[Tile],
    facet: int,
    beams: tuple[Beam, Beam],
    scale: float,
    margin: tuple[int, int],
) -> None:
    """Make a facet of the restored image; sources within `margin` pixels (y, x) of it contribute to it.

    `beams` are the restoring beam and that of the residual.
    """
    if facet in image:
        return
    core, (beam, fitted) = tiles[facet].core, beams
    y, x = (slice(s.start - m, s.stop + m) for s, m in zip(core, margin, strict=True))
    inner = tuple(slice(m, m + s.stop - s.start) for s, m in zip(core, margin, strict=True))
    if beam == fitted:
        image.save(facet, residual.load(facet) + restore(model.read((y, x)), beam, scale)[inner])
    else:
        image.save(facet, restored(model.read((y, x)), residual.read((y, x)), beam, fitted, scale)[inner])


def uncertain_facet(
    maps: Sequence["FacetImage"],
    seen: Sequence["Readable"],
    tiles: Sequence[Tile],
    shape: tuple[int, int],
    facet: int,
    noise: float,
    beam: Beam,
    scale: float,
) -> None:
    """Predict the uncertainties of a facet of the restored image and of the model.

    Parameters
    ----------
    maps : sequence of FacetImage
        The images of `radrim.products.UNCERTAINTIES`, to which the results are written.
    seen : sequence of Readable
        Model [Jy/pixel], residual [Jy/beam], and the PSF around the phase centre.
    tiles : sequence of Tile
    shape : (int, int)
        (y, x) of the whole image.
    facet : int
    noise : float
        Noise of the residual of the whole image [Jy/beam].
    beam : Beam
        Restoring beam of the image.
    scale : float
        Pixel size [rad].
    """
    if all(facet in image for image in maps):
        return
    tile, (model, residual, psf) = tiles[facet], seen
    near = psf.read(central_region(shape, [2 * n for n in tile.shape]))
    found = uncertainties(model.read(tile.outer), residual.read(tile.outer), near, noise, beam, scale)
    for name, image in zip(UNCERTAINTIES, maps, strict=True):
        image.save(facet, found[name][tile.inner])


def index_facet(
    maps: Sequence["FacetImage"],
    files: Sequence[dict[str, tuple[str, int]]],
    core: tuple[slice, slice],
    facet: int,
    basis: Basis,
    beam: Beam,
    scale: float,
    noise: float,
) -> None:
    """Compute the spectral index of a facet, and its error.

    Parameters
    ----------
    maps : sequence of FacetImage
        Images of the index and of its error, to which the results are written.
    files : sequence of dict
        For each channel the FITS file and plane of its 'model', 'residual' and, with --pb, 'pb'.
    core : (slice, slice)
        Rows and columns of the facet.
    facet : int
    basis : Basis
    beam : Beam
        Restoring beam of all channels together.
    scale : float
        Pixel size [rad].
    noise : float
        Noise of the residual of all channels together [Jy/beam].
    """
    if all(facet in image for image in maps):
        return
    margin = reach(beam, scale)  # sources within it contribute to the facet

    def plane(number, kind):
        image = open_image(*files[number][kind])
        y, x = (slice(max(0, s.start - m), s.stop + m) for s, m in zip(core, margin, strict=True))
        return np.asarray(image[y, x], np.float32)

    found = spectral_index(SpectralPlanes(plane, len(files), "pb" in files[0]), basis, beam, scale, noise=noise)
    starts = [min(m, s.start) for s, m in zip(core, margin, strict=True)]
    y, x = (slice(start, start + s.stop - s.start) for start, s in zip(starts, core, strict=True))
    for image, pixels in zip(maps, found, strict=True):
        image.save(facet, pixels[y, x])


def average_facets(store: Store, listed: str, image: FacetImage, tiles: Sequence[Tile], facets: Iterable[int]) -> None:
    """Average some facets of images in FITS files; the store lists them as [file, plane, weight] under `listed`."""
    missing = [facet for facet in facets if facet not in image]
    total = {facet: np.zeros([s.stop - s.start for s in tiles[facet].core]) for facet in missing}
    for file, plane, weight in store.facts(listed) if missing else ():
        channel = open_image(file, plane)
        for facet in missing:
            total[facet] += weight * channel[tiles[facet].core]
    for facet in missing:
        image.save(facet, total[facet])


def write_facets(pixels: FitsPixels, image: Readable, tiles: Sequence[Tile], facets: Iterable[int]) -> None:
    """Write some facets of an image to a FITS file that is being made."""
    for facet in facets:
        pixels.put(tiles[facet].core, image.load(facet))

"""Measures one output channel in facets, with one or several pointings, as tasks over files for any worker.

Images are measured in windows of several facets, since a larger part of the sky costs less per pixel. With several
pointings the images are of the sky times the effective primary beam; `radrim.measure.mosaic` has the formulae.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from radrim.deconvolve.tiles import TileBlock, Tiles
from radrim.errors import ConfigError
from radrim.facets.images import FacetImage
from radrim.facets.natural import NotedSums, WeightSums
from radrim.facets.pointing import Pointing
from radrim.geometry import ImageGrid
from radrim.measure.mosaic import MosaicSettings
from radrim.measure.neighbours import Neighbours
from radrim.operator.tracks import Compressed, Track, find_nodes
from radrim.visibilities import Visibilities
from radrim.workdir.store import Store
from radrim.workdir.visibilities import Blocks, Samples


@dataclass(frozen=True)
class FacetPsfSettings:
    """Size and position of the PSF for the minor cycle of a facet."""

    size_factor: int = 2
    """Size of the PSF over that of the facet with its halo. With 2 the convolution is exact."""
    max_distance: float = 0.95
    """Largest distance from the phase centre at which a PSF is computed, as a direction cosine; 1 is the horizon."""


class RegionSource(Protocol):
    """An image that can be read region by region."""

    def read(self, region: tuple[slice, slice]) -> np.ndarray:
        """Read a region, (y, x) float32."""


@dataclass(frozen=True)
class FacetChannel:
    """The visibilities of one output channel, and their images in facets.

    Parameters
    ----------
    store : Store
        Store of visibilities and results.
    folder, shared : str
        Folders in the store: of the channel's results, and of its PSFs, which all Stokes parameters share.
    grid : ImageGrid
        Grid of the whole image.
    tiles : Tiles
        The facets: their cores, and with their halos the outer rectangles on which the minor cycles work.
    together : int
        Number of facets along an axis of a window. A window is measured as one image.
    band : (float, float)
        First and last frequency of the channel in the output frame [Hz].
    stokes : str
    kind : str
        Kind of the operator that computes the nodes; see `radrim.operator.make_operator`.
    epsilon : float
    pointings : tuple of Pointing
    samples : Samples
        Which samples count in the images. Weights of pointings and primary beams are always those of all samples.
    natural : bool
        Whether they count by their natural weights; see `radrim.measure.measurement.Measurement.likelihood`. Weights of
        pointings and primary beams are always imaging weights.
    """

    store: Store
    folder: str
    shared: str
    grid: ImageGrid
    tiles: Tiles
    together: int
    band: tuple[float, float]
    stokes: str
    kind: str
    epsilon: float
    pointings: tuple[Pointing, ...]
    samples: Samples = Samples.ALL
    natural: bool = False

    def of(self, samples: Samples) -> "FacetChannel":
        """The same channel, of which these samples count."""
        return replace(self, samples=samples)

    def likelihood(self) -> "FacetChannel":
        """The same channel with natural weights, once their sums are noted."""
        return replace(self, natural=True)

    def __getstate__(self) -> dict[str, Any]:
        """The fields only: workers open the blocks of visibilities themselves."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @cached_property
    def parts(self) -> list[Blocks]:
        """The visibilities of each pointing."""
        return [
            Blocks(self.store, self.band, self.stokes, pointing.direction, self.samples, self.natural)
            for pointing in self.pointings
        ]

    @cached_property
    def blocks(self) -> list[tuple[int, int]]:
        """Index of the pointing, and of the block within it, for every block of visibilities."""
        return [(k, number) for k, part in enumerate(self.parts) for number in range(len(part))]

    @property
    def visibilities(self) -> Iterator[Visibilities]:
        """All blocks, one after the other."""
        return (self.parts[k][number] for k, number in self.blocks)

    @cached_property
    def windows(self) -> list[TileBlock]:
        """The windows of facets that are measured as one image."""
        return self.tiles.blocks(self.together)

    @property
    def sum_weight(self) -> float:
        """Sum of the weights in the most sensitive pixel [Jy^-2]; of a single pointing, the sum of all weights."""
        if len(self.pointings) == 1:
            return self.pointings[0].sum_weight
        return self.store.facts(f"{self.shared}/most")

    @property
    def fraction(self) -> float:
        """The weights that count over all imaging weights; if they are imaging weights, the part that counts."""
        return sum(self.weights) / sum(pointing.sum_weight for pointing in self.pointings)

    @property
    def weights(self) -> list[float]:
        """Sum of the weights that count, of each pointing [Jy^-2]."""
        if self.natural:
            return [sums.natural for sums in self.sums.of(self.samples)]
        return [pointing.weight_of(self.samples) for pointing in self.pointings]

    @property
    def judged(self) -> bool:
        """Whether some samples are kept out of the deconvolution, and others are not."""
        return 0 < replace(self, samples=Samples.FITTED, natural=False).fraction < 1

    @property
    def tag(self) -> str:
        """What names of images begin with."""
        weights = "natural-" if self.natural else ""
        return weights if self.samples is Samples.ALL else f"{weights}{self.samples}-"

    def image(self, name: str) -> FacetImage:
        """An image of the channel by name: 'dirty', 'psf', 'residual/3', ..."""
        folder = self.shared if name == "psf" else self.folder
        return FacetImage(self.store, f"{folder}/{self.tag}{name}", self.tiles)

    def residual(self, cycle: int) -> FacetImage:
        """The residual with which a major cycle begins; cycles count from 0."""
        return self.image(f"residual/{cycle}" if cycle or self.natural else "dirty")

    # Natural weights

    @property
    def sums(self) -> NotedSums:
        """Sums of the natural weights of each pointing."""
        return NotedSums(self.store, f"{self.shared}/natural-weights")

    def sum_weights(self, number: int) -> dict[str, WeightSums]:
        """Sums of imaging and natural weights of a block, of all samples and of those that are fitted."""
        k, within = self.blocks[number]
        both = replace(self, natural=False), self.likelihood()
        return {
            samples: WeightSums.of(*(channel.of(samples).parts[k][within].weight for channel in both))
            for samples in (Samples.ALL, Samples.FITTED)
        }

    @property
    def noise_factor(self) -> float:
        """Noise of the dirty image with natural weights over that with imaging weights; of pointings the mean."""
        factors = [sums.noise_factor for sums in self.sums.of(self.samples)]
        return float(np.average(factors, weights=[pointing.sum_weight for pointing in self.pointings]))

    def measure_residual(self, window: int, cycle: int) -> None:
        """Compute the residual of a window, at the start of a major cycle, from what the model left of the data."""
        image = self.residual(cycle)
        if not self.has(image, window):
            groups = [[n for n, (k, _) in enumerate(self.blocks) if k == part] for part in range(len(self.parts))]
            data = [(self.left(number, cycle) for number in numbers) for numbers in groups]
            self._save(image, window, self.adjoint(window, {"residual": data})["residual"])

    def forget_likelihood(self, psf: bool) -> None:
        """Delete all images with natural weights, and their PSFs with `psf`."""
        for channel in (self.likelihood().of(Samples.ALL), self.likelihood().of(Samples.FITTED)):
            channel.image("residual").discard()
            if psf:
                self.store.discard(f"{channel.shared}/{channel.tag}local-psf")

    # Several pointings

    def survey(self, window: int) -> float:
        """Sum of the weights in the most sensitive pixel of a window [Jy^-2]."""
        return float(self._square(self._grid(window)).max())

    def pb(self, grid: ImageGrid) -> np.ndarray:
        """Primary beam on a part of the image's grid, (y, x) float32; of several pointings the effective one."""
        if len(self.pointings) == 1:
            return self._beam(self.pointings[0], grid)
        return np.sqrt(self._square(grid) / self.sum_weight).astype(np.float32)

    def _square(self, grid):
        return sum(one.sum_weight * self._floored(one, grid).astype(np.float64) ** 2 for one in self.pointings)

    def _floored(self, pointing, grid):
        return np.maximum(self._beam(pointing, grid), np.float32(MosaicSettings.min_beam))

    @staticmethod
    def _beam(pointing: Pointing, grid: ImageGrid) -> np.ndarray:
        """The primary beam of a pointing, (y, x) float32."""
        if pointing.beam is None:
            raise ConfigError("Several pointings are imaged with their primary beams: give --pb.")
        return pointing.beam.image(grid)

    def _share(self, pointing, grid):
        """The beam of a pointing over the effective one, (y, x) float32; 1 for a single pointing."""
        if len(self.pointings) == 1:
            return np.float32(1)
        return self._floored(pointing, grid) / self.pb(grid)

    # Measuring

    def measure(self, window: int) -> None:
        """Compute dirty image and PSF of a window; the PSF is that of a source at the phase centre."""
        data = {
            "dirty": [(block.data for block in part) for part in self.parts],
            "psf": [(np.ones(block.data.shape, np.complex64) for block in part) for part in self.parts],
        }
        missing = [name for name in data if not self.has(self.image(name), window)]
        images = self.adjoint(window, {name: data[name] for name in missing})
        for name, image in images.items():
            self._save(self.image(name), window, image)

    def psf_at(self, y: int, x: int, shape: tuple[int, int]) -> np.ndarray:
        """PSF of a source `y` and `x` pixels from the phase centre, (y, x) float32; `size_factor` times `shape`."""
        height, width = (FacetPsfSettings.size_factor * n for n in shape)
        grid = replace(self.grid, height=height, width=width, y0=y, x0=x)
        total = np.zeros(grid.shape, np.float32)
        for power, part in zip(self._powers(grid), self.parts, strict=True):
            if len(part):
                total += Compressed(part, grid, self.kind, self.epsilon).psf() * np.float32(power)
        return total / total[height // 2, width // 2]

    def _powers(self, grid):
        """Share of each pointing in the middle of a grid, squared: the beam applies to a source and to its image."""
        if len(self.pointings) == 1:
            return [np.float32(1)]
        middle = replace(grid, height=2, width=2)
        return [self._share(pointing, middle)[1, 1] ** 2 for pointing in self.pointings]

    def local_psf(self, facet: int) -> np.ndarray:
        """PSF in the middle of a facet, (y, x) float32; `size_factor` times the facet with its halo."""
        name = f"{self.shared}/{self.tag}local-psf/{facet:05d}"
        if name not in self.store:
            self.store.save(name, self._local_psf(facet))
        return self.store.load(name)

    def _local_psf(self, facet):
        grid = self.grid.region(*self.tiles[facet].outer)
        # A facet with its middle near or below the horizon gets the PSF of a position above the horizon.
        radius = np.hypot(grid.x0, grid.y0) * grid.scale
        nearer = min(1.0, FacetPsfSettings.max_distance / radius) if radius else 1.0
        place = round(nearer * grid.y0), round(nearer * grid.x0)
        if self.samples is not Samples.ALL or not self.judged:
            return self.psf_at(*place, grid.shape)
        # The deconvolution has made that of the fitted samples; those that were kept out cost little.
        powers = self._powers(replace(grid, y0=place[0], x0=place[1]))
        weights = [
            sum(power * weight for power, weight in zip(powers, self.of(samples).weights, strict=True))
            for samples in (Samples.FITTED, Samples.KEPT)
        ]
        parts = [np.float32(weight / sum(weights)) for weight in weights]
        kept = self.of(Samples.KEPT).psf_at(*place, grid.shape)
        return parts[0] * self.of(Samples.FITTED).local_psf(facet) + parts[1] * kept

    # A major cycle

    def predict_nodes(self, window: int, cycle: int, update: RegionSource) -> None:
        """Compute the visibilities of a window's update at the nodes of all blocks."""
        name = f"{self.folder}/seen/{cycle}/{window:05d}"
        if name in self.store:
            return
        image, grid = update.read(self.windows[window].core), self._grid(window)
        values: list[np.ndarray] = []
        for pointing, part in zip(self.pointings, self.parts, strict=True):
            values += self._through(part, grid).forward(image * self._share(pointing, grid))
        self.store.note(f"{name}-ends", [0, *np.cumsum([len(v) for v in values])])
        self.store.save(name, np.concatenate(values))

    def predict(self, number: int, cycle: int, windows: Iterable[int]) -> None:
        """Interpolate the visibilities of a block from the nodes of all windows with an update."""
        name = f"{self.folder}/predicted/{cycle}/{number:04d}"
        if name in self.store:
            return
        block = self.block(number)
        out = np.zeros(block.data.shape, np.complex64)
        for window in windows:
            seen = f"{self.folder}/seen/{cycle}/{window:05d}"
            start, end = self.store.facts(f"{seen}-ends")[number : number + 2]
            grid = self._grid(window)
            nodes = find_nodes(block.uvw, block.freq, block.time, block.antenna, grid, self.epsilon)
            Track(block.uvw, block.freq, grid, nodes).distribute(self.store.load(seen)[start:end], out)
        self.store.save(name, out)

    def residual_decrease(self, window: int, cycle: int) -> FacetImage:
        """Compute the image, in a window, by which the whole update lowers the residual [Jy/beam]."""
        image = self.image(f"fall/{cycle}")
        if not self.has(image, window):
            numbers = iter(range(len(self.blocks)))
            data = [[self.predicted(cycle, next(numbers)) for _ in range(len(part))] for part in self.parts]
            self._save(image, window, self.adjoint(window, {"fall": data})["fall"])
        return image

    def subtract(self, number: int, cycle: int, part: float) -> float:
        """Subtract the fraction `part` of an update from the visibilities of a block, and measure the remaining noise.

        Returns
        -------
        float
            Sum of the squares of weight times noise [Jy^-2]; see `Neighbours`.
        """
        name, block = f"{self.folder}/left/{cycle + 1}/{number:04d}", self.block(number)
        if name not in self.store:
            left = self.left(number, cycle)
            if f"{self.folder}/predicted/{cycle}/{number:04d}" in self.store:
                left = left - np.complex64(part) * self.predicted(cycle, number)
            self.store.save(name, left)
        return Neighbours(block).power(np.asarray(self.store.load(name)))

    def update_residual(self, facet: int, cycle: int, part: float) -> None:
        """Write the residual of a facet after a cycle of which the fraction `part` is accepted."""
        after = self.residual(cycle + 1)
        if facet not in after:
            fall = self.image(f"fall/{cycle}").load(facet)
            after.save(facet, self.residual(cycle).load(facet) - np.float32(part) * fall)
        natural = self.likelihood()
        before, after = natural.residual(cycle), natural.residual(cycle + 1)
        if not part and facet in before and facet not in after:  # the next stage needs that of the same model
            after.save(facet, before.load(facet))

    def forget(self, cycle: int) -> None:
        """Delete the files of a cycle that later cycles do not need."""
        for name in ("seen", "predicted", "left"):
            self.store.discard(f"{self.folder}/{name}/{cycle}")
        for channel in (self.of(Samples.ALL), self.of(Samples.FITTED)):
            for name in ("fall", "residual"):
                channel.image(f"{name}/{cycle}").discard()
            channel.likelihood().image(f"residual/{cycle}").discard()

    def left(self, number: int, cycle: int) -> np.ndarray:
        """What the model leaves of a block, (row, chan) complex64 [Jy]."""
        name = f"{self.folder}/left/{cycle}/{number:04d}"
        return self.store.load(name) if name in self.store else self.block(number).data

    def block(self, number: int) -> Visibilities:
        """A block of visibilities by its number."""
        k, within = self.blocks[number]
        return self.parts[k][within]

    def _grid(self, window):
        return self.grid.region(*self.windows[window].core)

    def _through(self, part, grid):
        return Compressed(part, grid, self.kind, self.epsilon)

    def predicted(self, cycle: int, number: int) -> np.ndarray:
        """What an update predicts of a block, (row, chan) complex64 [Jy]."""
        return self.store.load(f"{self.folder}/predicted/{cycle}/{number:04d}")

    def adjoint(self, window: int, data: Mapping[str, Sequence[Iterable[np.ndarray]]]) -> dict[str, np.ndarray]:
        """Images of a window by name [Jy/beam]; `data` gives one array of visibilities per block and pointing.

        A window below the horizon is 0. The PSF is the mean over the pointings, without their beams.
        """
        grid = self._grid(window)
        totals = {name: np.zeros(grid.shape, np.float32) for name in data}
        norms = dict.fromkeys(data, self.sum_weight * self.fraction)
        norms["psf"] = sum(self.weights)
        for k, (pointing, part) in enumerate(zip(self.pointings, self.parts, strict=True)):
            if data and len(part) and grid.has_sky:
                through, share = self._through(part, grid), self._share(pointing, grid)
                for name in totals:
                    image = through.adjoint(data[name][k])
                    totals[name] += image if name == "psf" else image * share
        return {name: total / np.float32(norms[name]) for name, total in totals.items()}

    def has(self, image: FacetImage, window: int) -> bool:
        """Whether an image has all facets of a window."""
        return all(facet in image for facet in self.windows[window].tiles)

    def _save(self, image, window, pixels):
        """Write the facets of a window of an image."""
        block = self.windows[window]
        for facet in block.tiles:
            image.save(facet, pixels[block.within(self.tiles[facet].core)])

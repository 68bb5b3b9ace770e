"""Steps 3 to 6 of output channels whose images are larger than the memory, facet by facet in files."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from radrim.beam import BeamSettings, reach, theoretical_beam
from radrim.deconvolve.major import ImageState
from radrim.deconvolve.tiles import Tiles
from radrim.facets.beam import BeamFacets, CorrectedFacets
from radrim.facets.channel import FacetChannel
from radrim.facets.faceted import FacetedImage, Summary, on_one_thread
from radrim.facets.images import (
    FacetImage,
    Readable,
    average_facets,
    facet_statistics,
    index_facet,
    restore_facet,
    uncertain_facet,
    write_facets,
)
from radrim.facets.pointing import Pointing
from radrim.facets.tasks import FacetTasks
from radrim.geometry import central_region
from radrim.imagers.base import Imager, OutputChannel, Target
from radrim.imagers.context import RunContext
from radrim.imagers.minor_cycles import MinorCycles
from radrim.measure.mosaic import by_pointing
from radrim.products import KINDS, SHARED, UNCERTAINTIES
from radrim.restore.channels import average_of, log_restored
from radrim.restore.restoring import choose_beam
from radrim.restore.spectrum import Basis
from radrim.result import Channels, Image
from radrim.runtime.executors import Executor
from radrim.runtime.memory import MemorySettings, measured_together
from radrim.visibilities import bandwidth_of
from radrim.workdir.progress import opened
from radrim.workdir.store import Store, StoredArray
from radrim.workdir.visibilities import Blocks, Samples, release
from radrim.write.fits import fits_file, open_image

log = logging.getLogger("radrim")


@dataclass(frozen=True)
class FacetImagerSettings:
    """Accuracy of images in facets."""

    epsilon_factor: float = 0.3
    """Epsilon of the facets over --epsilon. It is below 1, because errors of neighbouring facets differ and would show
    as steps at the edges of facets."""


class FacetImager(Imager):
    """Measures, deconvolves, restores and writes output channels in facets.

    Parameters
    ----------
    run : RunContext
    store : Store
    side : int
        Largest facet along an axis [pixel].
    workers : Executor
        Executor of the tasks.
    """

    at_once = 1  # each channel keeps all workers busy

    def __init__(self, run: RunContext, store: Store, side: int, workers: Executor):
        super().__init__(run)
        self.store, self.workers = store, workers
        self.tiles = Tiles(run.grid.shape, side, MemorySettings.halo)
        self.together = measured_together(run.config, side)
        self._windows = self.tiles.blocks(self.together)
        self.files = Store(store.path.absolute())  # workers may be in another folder
        self._mask = None if run.mask is None else StoredArray(self.files, "mask", run.mask)

    def finished(self, label: str) -> Image | None:
        """See `Imager.finished`."""
        return self.run.progress.image(label, open_image)

    def begin(self, targets: Sequence[Target]) -> list[ImageState]:
        """See `Imager.begin`."""
        return [self._begin(target) for target in targets]

    def _begin(self, target):
        """The state of a target, from an interrupted run or with its first model."""
        run = self.run
        channels = tuple(self._channel(channel, target.stokes) for channel in target.channels)
        weights = [float(sum(one.sum_weight for one in channel.pointings)) for channel in channels]
        basis = None
        if target.terms:
            basis = Basis.of([_frequency(one.blocks) for one in target.channels], weights, target.terms)
        # Only the first term is positive, like the sky; the other terms of its spectrum have either sign.
        terms = range(target.terms or 1)
        makers = tuple(run.minor.factory(self._mask, 1, signed=term > 0) for term in terms) if run.minor else ()
        tasks = FacetTasks(self.files, run.progress.folder(target.label), channels, basis, float("nan"), makers)
        image = FacetedImage(
            label=target.label, stokes=target.stokes, tasks=tasks, workers=self.workers, gpu=run.device == "cuda",
            fitted=run.minor is not None and any(channel.judged for channel in channels),
            last=target.stokes == run.config.stokes[-1],
        )  # fmt: skip
        if run.minor:
            image.stages, image.trials, image.closing = run.minor.stages, run.minor.trials, run.minor.closing
        if image.stop and run.progress.partly(target.channels[0].label):
            return image  # an interrupted run was already writing its files
        with run.clock("measure"):
            starts: list[StartImage] = []
            if run.start and run.start.has(target.stokes):
                starts = [StartImage(self.files, run.start.name(one.name, target.stokes)) for one in target.channels]
            image.survey()
            if not image.cycles:
                image.set_expected(run.expected(target.stokes, sum(one.sum_weight for one in channels)))
            image.begin(starts)
            if not image.cycles:
                log.info("%sresidual: peak %.4g Jy/beam, %d facets.", image.prefix, image.peak, len(self.tiles))
        return image

    def _channel(self, channel: OutputChannel, stokes: str) -> FacetChannel:
        run, groups = self.run, by_pointing(channel.blocks)
        freq = np.concatenate([block.output_freq for block in channel.blocks])
        band = float(freq.min()), float(freq.max())
        pointings = []
        for group in groups:
            several = len(groups) > 1
            direction = tuple(group[0].pointing.tolist()) if several else None
            weight = float(sum(block.weight.sum(dtype=np.float64) for block in group))
            kept = Blocks(self.files, band, stokes, direction, Samples.KEPT)
            kept_weight = float(sum(block.weight.sum(dtype=np.float64) for block in kept))
            beam = run.dishes.beam(group) if run.dishes else None
            pointings.append(Pointing(direction, weight, beam, kept_weight))
        release(channel.blocks)
        folders = run.progress.folder(channel.label), run.progress.folder(channel.name)
        epsilon = max(FacetImagerSettings.epsilon_factor * run.config.epsilon, 1e-12)
        return FacetChannel(
            self.files, *folders, run.grid, self.tiles, self.together, band, stokes, run.config.operator, epsilon,
            tuple(pointings),
        )  # fmt: skip

    def prepare(self, states: Sequence[ImageState], minor: MinorCycles) -> None:
        """Do nothing: the tasks make the minor cycles of facets."""

    def restore(self, target: Target, state: ImageState) -> list[Image]:
        """See `Imager.restore`."""
        image = cast("FacetedImage", state)
        if image.fitted:  # a minor cycle failed
            image.use_all_samples()
        found = [self.finished(channel.label) if target.terms else None for channel in target.channels]
        return [
            done or self._restore(number, channel, image)
            for number, (channel, done) in enumerate(zip(target.channels, found, strict=True))
        ]

    def _restore(self, number, channel, image):
        run, measured = self.run, image.tasks.channels[number]
        parts = self._parts(number, image)
        if partly := run.progress.partly(channel.label):
            return self._write(partly, parts, run.thermal_of(partly))
        with run.clock("restore"):
            beam, fitted = self._choose_beam(parts["psf"])
            out = Image(
                channel.label, _frequency(channel.blocks),
                bandwidth_of(channel.blocks, run.observation.channel_width), beam,
                self._noise(parts["residual" if image.stop else "dirty"]), np.zeros((0, 0)), np.zeros((0, 0)),
                stop=image.stop, cycles=[] if number else image.cycles, stokes=measured.stokes,
                fit_quality={} if number else image.fit_quality, psf_beam=fitted if fitted != beam else None,
            )  # fmt: skip
            out.facts = {
                "visibilities": sum(int(np.count_nonzero(block.weight)) for block in channel.blocks),
                "sum_weight": measured.sum_weight,
                "operator": run.config.operator,
            }
            if image.stop:
                out.facts |= {"major_cycles": len(image.cycles), "components": image.components}
                if image.tasks.basis is None:
                    out.facts["expected_noise"] = image.expected
                self._restore_facets(parts, out)
                log_restored(out, self._summary(parts["image"]).peak)
            run.progress.keep_partly(out)
        return self._write(out, parts, run.thermal_of(out))

    def _run(self, label: str, calls: Iterable[tuple]) -> list:
        """Let the workers carry out (function, argument, ...) calls; return the results."""
        return self.workers.run(label, ((on_one_thread, *call) for call in calls))

    def _parts(self, number, image):
        """The images of a channel by kind, as facets."""
        tasks, channel = image.tasks, image.tasks.channels[number]
        parts: dict[str, Readable] = {"dirty": channel.image("dirty"), "psf": channel.image("psf")}
        if image.stop:
            parts |= {"model": tasks.channel_model(image.at, number), "residual": channel.residual(image.at)}
            parts |= {kind: channel.image(kind) for kind in ("image", *self._uncertainties)}
        if self.run.dishes:
            parts["pb"] = BeamFacets(channel)
        return parts

    @property
    def _uncertainties(self):
        return UNCERTAINTIES if self.run.config.uncertainty else ()

    def _noise(self, image):
        """Noise of an image in facets, from its median absolute deviation [Jy/beam]."""
        return self._summary(image).noise

    def _summary(self, image):
        """Statistics of an image in facets."""
        return Summary(self._run("noise", ((facet_statistics, image, w.tiles, len(self.tiles)) for w in self._windows)))

    def average(self, images: Channels) -> Image:
        """See `Imager.average`; works facet by facet on the FITS files of the channels."""
        run = self.run
        weights = np.array([image.facts["sum_weight"] for image in images.headers])
        weights /= weights.sum()
        made = [kind for kind in images.headers[0].paths if kind != "image_pb"]  # computed from the other averages
        image = average_of(images.headers, run.observation)
        folder = f"average-{run.progress.folder(image.label)}"
        parts = {kind: FacetImage(self.files, f"{folder}/{kind}", self.tiles) for kind in made}
        kinds = [kind for kind in parts if kind not in ("image", *UNCERTAINTIES)]
        if partly := run.progress.partly(image.label):
            return self._write(partly, parts, run.thermal)
        with run.clock("restore"):
            for kind in kinds:
                made_of = f"{folder}/{kind}-of"
                pairs = zip(images.headers, weights, strict=True)
                listed = [(str(one.paths[kind].absolute()), one.plane, weight) for one, weight in pairs]
                self.files.note(made_of, listed)
                common = self.files, made_of, parts[kind], self.tiles
                self._run("average", ((average_facets, *common, window.tiles) for window in self._windows))
            image.beam, fitted = self._choose_beam(parts["psf"])
            image.psf_beam = fitted if fitted != image.beam else None
            image.noise = self._noise(parts["residual" if "residual" in parts else "dirty"])
            if "model" in parts:
                self._restore_facets(parts, image)
                log_restored(image, self._summary(parts["image"]).peak, len(images.headers))
            run.progress.keep_partly(image)
        whole = self._write(image, parts, run.thermal)
        if run.config.spectral_terms and whole.stop:
            whole.stop = images.headers[0].stop
            self._write_index(images, whole)
        return whole

    def _write_index(self, images, image):
        """Compute the spectral index of all channels and its error, and write them."""
        run, facets = self.run, range(len(self.tiles))
        basis = self._basis_of(images)
        kinds = ("model", "residual", "pb") if run.dishes else ("model", "residual")
        files = [{kind: (str(one.paths[kind].absolute()), one.plane) for kind in kinds} for one in images.headers]
        maps = {
            kind: FacetImage(self.files, f"average-{run.progress.folder(image.label)}/{kind}", self.tiles)
            for kind in ("alpha", "alpha-error")
        }
        how = basis, image.beam, run.grid.scale, image.noise
        calls = ((index_facet, list(maps.values()), files, self.tiles[f].core, f, *how) for f in facets)
        with run.clock("restore"):
            self._run("spectral index", calls)
        with run.clock("write"):
            for kind, parts in maps.items():
                image.paths[kind], header = run.output.map_file(image, kind, run.grid, run.observation)
                with fits_file(image.paths[kind], run.grid.shape, header) as pixels:
                    common = write_facets, pixels, parts, self.tiles
                    self._run("write", ((*common, window.tiles) for window in self._windows))

    def _choose_beam(self, psf):
        """The restoring beam and that of the PSF, for a PSF in facets."""
        psf = psf.read(central_region(self.run.grid.shape, [BeamSettings.window] * 2))
        longest = theoretical_beam(self.run.observation.longest_baseline())
        return choose_beam(self.run.config, psf, self.run.grid.scale, longest)

    def _restore_facets(self, parts, image):
        """Make the restored image, and the uncertainties of it and of the model."""
        scale, facets = self.run.grid.scale, range(len(self.tiles))
        images = [parts[kind] for kind in ("image", "model", "residual")]
        how = (image.beam, image.fitted), scale, reach(image.beam, scale)
        self._run("restore", ((restore_facet, *images, self.tiles, f, *how) for f in facets))
        if self._uncertainties:
            maps = [parts[kind] for kind in UNCERTAINTIES]
            seen = parts["model"], parts["residual"], parts["psf"]
            common = maps, seen, self.tiles, self.run.grid.shape
            more = image.noise, image.beam, scale
            self._run("uncertainty", ((uncertain_facet, *common, f, *more) for f in facets))

    def _write(self, image, parts, thermal):
        """Write the FITS files of an image, one kind after the other, and delete facets that are no longer needed.

        Returns
        -------
        Image
            With its arrays memory-mapped.
        """
        run = self.run
        if run.dishes and image.stop:
            files = (run.output.path_of(image, kind).absolute() for kind in ("image", "pb"))
            parts = parts | {"image_pb": CorrectedFacets(run.dishes, self.tiles, *files)}
        with run.clock("write"):
            for kind in KINDS:
                if kind in parts and not run.output.writes(image, kind):
                    image.paths[kind] = run.output.path_of(image, kind)  # written with the first Stokes parameter
                if kind in parts and kind not in image.paths:
                    path, header = run.output.file(image, kind, run.grid, run.observation, thermal)
                    with fits_file(path, run.grid.shape, header) as pixels:
                        common = write_facets, pixels, parts[kind], self.tiles
                        self._run("write", ((*common, window.tiles) for window in self._windows))
                    image.paths[kind] = path
                    run.progress.keep_partly(image)
                    # If the first major cycle was undone, residual and dirty image are the same files.
                    needed = any(parts[other].name == parts[kind].name for other in parts if other not in image.paths)
                    if not needed and (len(run.config.stokes) == 1 or kind not in SHARED):
                        parts[kind].discard()
        return opened(image, open_image)


class StartImage:
    """A start model in the work directory, read in parts.

    Parameters
    ----------
    store : Store
    name : str
    """

    def __init__(self, store: Store, name: str):
        self._store, self.name = store, name

    def read(self, region: tuple[slice, slice]) -> np.ndarray:
        """A part (y, x) float32 [Jy/pixel]."""
        return np.array(self._store.load(self.name)[region], np.float32)


def _frequency(blocks):
    """Mean frequency of the data's channels, weighted by their imaging weights [Hz]."""
    freq = np.concatenate([block.output_freq for block in blocks])
    weight = np.concatenate([block.weight.sum(0, dtype=np.float64) for block in blocks])
    return float(np.average(freq, weights=weight))

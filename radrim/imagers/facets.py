"""Steps 3 to 7 of output channels whose images are larger than the memory: facet by facet, in files."""

import logging
from collections.abc import Iterable, Sequence
from typing import cast

import numpy as np

from radrim.beam import BeamSettings, fit_beam, reach, theoretical_beam
from radrim.deconvolve.major import ImageState
from radrim.deconvolve.tiles import Tiles
from radrim.facets.beam import BeamFacets, CorrectedFacets
from radrim.facets.faceted import FacetedImage, on_one_thread, summarise
from radrim.facets.images import FacetImage, average_facets, restore_facet, write_facets
from radrim.facets.tasks import FacetTasks
from radrim.imagers.base import Imager, Target
from radrim.imagers.context import RunContext
from radrim.imagers.minor_cycles import MinorCycles
from radrim.products import KINDS, SHARED
from radrim.restore.channels import average_of
from radrim.result import Beside, Channels, Image
from radrim.runtime.executors import Cluster, Threads
from radrim.runtime.memory import MemorySettings, measured_together
from radrim.workdir.progress import opened
from radrim.workdir.store import Store, StoredArray
from radrim.workdir.visibilities import release
from radrim.write.fits import fits_file, open_image

log = logging.getLogger("radrim")

FINER = 0.3
"""Part of the accuracy asked for that facets use: their errors differ, and a step at a seam shows sooner."""


class FacetImager(Imager):
    """Measures, deconvolves, restores and writes output channels in facets.

    Parameters
    ----------
    run : RunContext
    store : Store
    side : int
        Largest facet along an axis [pixel].
    workers : Threads or Cluster
        Who carries out the tasks.
    """

    at_once = 1  # each channel keeps all workers busy

    def __init__(self, run: RunContext, store: Store, side: int, workers: Threads | Cluster):
        super().__init__(run)
        self.store, self.workers = store, workers
        self.tiles = Tiles(run.grid.shape, side, MemorySettings.halo)
        self.together = measured_together(run.config, side)
        self._windows = self.tiles.blocks(self.together)
        self.files = Store(store.path.absolute())  # workers may be in another folder
        self._mask = None if run.mask is None else StoredArray(self.files, "mask", run.mask)

    def finished(self, label: str) -> Image | None:
        return self.run.progress.image(label, open_image)

    def begin(self, targets: Sequence[Target]) -> list[ImageState]:
        return [self._begin(target) for target in targets]

    def _begin(self, target):
        """A target as an earlier run left it, or with an empty model."""
        run, (channel,) = self.run, target.channels
        freq = np.concatenate([block.output_freq for block in channel.blocks])
        sum_weight = float(sum(block.weight.sum(dtype=np.float64) for block in channel.blocks))
        expected = run.expected(target.stokes, sum_weight)
        tasks = FacetTasks(
            self.files,
            f"channel-{channel.label or 'all'}",
            run.grid,
            self.tiles,
            self.together,
            (float(freq.min()), float(freq.max())),
            run.config.operator,
            max(FINER * run.config.epsilon, 1e-12),
            sum_weight,
            expected,
            run.minor.factory(self._mask, 1) if run.minor else None,
            target.stokes,
            f"channel-{channel.name or 'all'}",
        )
        release(channel.blocks)
        image = FacetedImage(
            label=target.label, stokes=target.stokes, expected=expected, tasks=tasks, workers=self.workers,
            gpu=run.device == "cuda",
        )  # fmt: skip
        if run.progress.partly(channel.label):  # an earlier run came as far as to its files
            return image
        with run.clock("measure"):
            image.measure_dirty()
            log.info("%sdirty image: peak %.4g Jy/beam, %d facets.", image.prefix, image.peak, len(self.tiles))
        return image

    def prepare(self, states: Sequence[ImageState], minor: MinorCycles) -> None:
        """Minor cycles of facets are made by their tasks."""

    def restore(self, target: Target, state: ImageState) -> list[Image]:
        """Beam and restored image of a channel, written."""
        run, image, (channel,) = self.run, cast("FacetedImage", state), target.channels
        tasks = image.tasks
        parts = self._parts(image)
        if partly := run.progress.partly(channel.label):
            return [self._write(partly, parts, run.thermal_of(partly))]
        with run.clock("restore"):
            beam = self._fit_beam(parts["psf"])
            freq = np.concatenate([block.output_freq for block in channel.blocks])
            weight = np.concatenate([block.weight.sum(0, dtype=np.float64) for block in channel.blocks])
            out = Image(
                channel.label, float(np.average(freq, weights=weight)),
                float(np.ptp(freq)) + run.observation.channel_width, beam, image.summary.noise,
                np.zeros((0, 0)), np.zeros((0, 0)), stop=image.stop, cycles=image.cycles, stokes=tasks.stokes,
            )  # fmt: skip
            out.facts = {
                "visibilities": sum(int(np.count_nonzero(block.weight)) for block in channel.blocks),
                "sum_weight": tasks.sum_weight,
                "operator": run.config.operator,
            }
            if image.stop:
                out.facts |= {"major_cycles": len(image.cycles), "components": image.components}
                self._restore_facets(parts, beam)
            run.progress.keep_partly(out)
        return [self._write(out, parts, run.thermal_of(out))]

    def _run(self, label: str, calls: Iterable[tuple]):
        """Results of (function, argument, ...) calls, by the workers."""
        return self.workers.run(label, ((on_one_thread, *call) for call in calls))

    def _parts(self, image):
        """The images of a channel by their kinds, before they are FITS files."""
        tasks = image.tasks
        parts = {"dirty": tasks.image("dirty"), "psf": tasks.image("psf")}
        if image.stop:
            parts |= {"model": tasks.model(image.at), "residual": tasks.residual(image.at)}
            parts["image"] = tasks.image("image")
        if self.run.dishes:
            parts["pb"] = BeamFacets(self.run.dishes.beam(tasks.blocks), self.run.grid, self.tiles)
        return parts

    def average(self, images: Channels) -> Image:
        """All channels together, each counted by its weight, facet by facet from their files; written."""
        run = self.run
        weights = np.array([image.facts["sum_weight"] for image in images.headers])
        weights /= weights.sum()
        made = [kind for kind in images.headers[0].paths if kind != "image_pb"]  # that follows from the others
        image = average_of(images.headers, run.observation)
        folder = f"average-{image.label}"
        parts = {kind: FacetImage(self.files, f"{folder}/{kind}", self.tiles) for kind in made}
        kinds = [kind for kind in parts if kind != "image"]
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
            image.beam = self._fit_beam(parts["psf"])
            image.noise = summarise(self._run, parts["residual" if "residual" in parts else "dirty"], self).noise
            if "model" in parts:
                self._restore_facets(parts, image.beam)
            run.progress.keep_partly(image)
        return self._write(image, parts, run.thermal)

    @property
    def windows(self):
        """The rectangles of facets that are worked at together."""
        return self._windows

    def _fit_beam(self, psf):
        """The beam of a PSF, a `FacetImage`."""
        shape = self.run.grid.shape
        half = [min(n, BeamSettings.window) // 2 for n in shape]
        rows, columns = (slice(n // 2 - m, n // 2 + m) for n, m in zip(shape, half, strict=True))
        psf = psf.read((rows, columns))
        longest = theoretical_beam(self.run.observation.longest_baseline())
        return fit_beam(psf, self.run.grid.scale, longest, self.run.config.beam_fit)

    def _restore_facets(self, parts, beam):
        images = [parts[kind] for kind in ("image", "model", "residual")]
        scale = self.run.grid.scale
        how = beam, scale, reach(beam, scale)
        self._run("restore", ((restore_facet, *images, self.tiles, f, *how) for f in range(len(self.tiles))))

    def _write(self, image, parts, thermal):
        """The FITS files of an image from its facets, which are dropped one kind after the other.

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
                    # Where the first cycle was undone, the residual is the dirty image.
                    if all(parts[other].name != parts[kind].name for other in parts if other not in image.paths):
                        if len(run.config.stokes) == 1 or kind not in SHARED:
                            parts[kind].discard()
        return opened(image, open_image)

    def _deconvolve_beside(self, target: Target, state: ImageState) -> Beside:
        raise NotImplementedError

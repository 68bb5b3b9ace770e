"""Steps 3 to 7 of an output channel whose image is larger than the memory: as `radrim.imagers.channels`, facet by
facet.
"""

import ctypes
import logging
import time
from dataclasses import dataclass, field
from operator import itemgetter

import numpy as np
import torch

from radrim.beam import BeamSettings, fit_beam, reach, theoretical_beam
from radrim.deconvolve.major import conclude, describe
from radrim.deconvolve.minor import Others
from radrim.deconvolve.tiles import Tiles
from radrim.errors import SolverError
from radrim.facets.beam import BeamFacets, CorrectedFacets
from radrim.facets.images import FacetImage, average_facets, look, restore_facet, write_facets
from radrim.facets.tasks import FacetTasks
from radrim.imagers.base import Imager
from radrim.metrics import noise_mad
from radrim.products import KINDS, SHARED
from radrim.restore.channels import average_of
from radrim.result import Image
from radrim.runtime.executors import Cluster, Threads
from radrim.runtime.memory import HALO, measured_together
from radrim.workdir.progress import opened
from radrim.workdir.store import Store, StoredArray
from radrim.workdir.visibilities import release
from radrim.write.fits import fits_file, open_image

log = logging.getLogger("radrim")

FINER = 0.3
"""Part of the accuracy asked for that facets use: their errors differ, and a step at a seam shows sooner."""


@dataclass
class FacetedChannel:
    """An output channel on its way; its images are files."""

    label: str
    tasks: FacetTasks
    cycles: list[dict] = field(default_factory=list)
    stop: str = ""
    at: int = 0
    """Which cycle's residual and model are the present ones."""
    wait: bool = True
    """The network may find something in other facets: what it leaves is not to be cleaned yet."""
    flux: float = 0.0
    """Of the present model [Jy]."""
    looks: "_Looks" = field(init=False)
    """Of the present residual."""

    @property
    def components(self):
        """Components found so far."""
        return sum(cycle["components"] for cycle in self.cycles)


@dataclass
class FacetImager(Imager):
    """Measures, deconvolves, restores and writes output channels in facets.

    Parameters
    ----------
    store : Store
    side : int
        Largest facet along an axis [pixel].
    workers : Threads or Cluster
        Who carries out the tasks.
    device : str
        Of the minor cycles.
    """

    store: Store
    side: int
    workers: Threads | Cluster
    device: str
    beside = None

    def __post_init__(self):
        self.tiles = Tiles(self.grid.shape, self.side, HALO)
        self.together = measured_together(self.config, self.side)
        self._windows = self.tiles.blocks(self.together)
        self.files = Store(self.store.path.absolute())  # workers may be in another folder
        self._mask = None if self.mask is None else StoredArray(self.files, "mask", self.mask)

    def batches(self, groups):
        """Output channels one by one: each keeps all workers busy."""
        return [[one] for one in self.name(groups)]

    def make(self, batch, stokes) -> list[Image]:
        """The images of a Stokes parameter of a batch of channels; their arrays are memory-mapped FITS files."""
        labels = [self.label(name, stokes) for name, _ in batch]
        found = [
            self.progress.image(label, open_image) or self._make(label, name, blocks, stokes)
            for label, (name, blocks) in zip(labels, batch, strict=True)
        ]
        self.forget(batch, stokes)
        return found

    def _make(self, label, name, blocks, stokes):
        channel = self._begin(label, name, blocks, stokes)
        tasks = channel.tasks
        if partly := self.progress.partly(label):  # an earlier run came as far as to its files
            image = self._write(partly, self._parts(channel), self.thermal_of(partly))
            self.progress.keep_image(image)
            return image
        with self.clock("measure"):
            self._run("dirty image and PSF", ((tasks.measure, window) for window in range(len(self._windows))))
            channel.looks = self._look(tasks.residual(channel.at))
            prefix = f"{label}, " if label else ""
            log.info("%sdirty image: peak %.4g Jy/beam, %d facets.", prefix, channel.looks.peak, len(self.tiles))
        failure = None
        if self.solver:
            with self.clock("deconvolve"):
                try:
                    self._deconvolve(channel)
                except SolverError as error:
                    failure = error
                    failed = f"a minor cycle failed in major cycle {len(channel.cycles) + 1}"
                    channel.stop = failed if channel.cycles else ""
        image = self._restore(channel, blocks)
        if failure is not None:
            self.give_up(failure, [image])
        self.progress.keep_image(image)
        return image

    @property
    def _facets(self):
        return range(len(self.tiles))

    def _begin(self, label, name, blocks, stokes):
        """A channel as an earlier run left it, or at its beginning."""
        freq = np.concatenate([block.output_freq for block in blocks])
        sum_weight = float(sum(block.weight.sum(dtype=np.float64) for block in blocks))
        tasks = FacetTasks(
            self.files,
            f"channel-{label or 'all'}",
            self.grid,
            self.tiles,
            self.together,
            (float(freq.min()), float(freq.max())),
            self.config.operator,
            max(FINER * self.config.epsilon, 1e-12),
            sum_weight,
            self.expected(stokes, sum_weight),
            self.solver.factory(self._mask, 1) if self.solver else None,
            stokes,
            f"channel-{name or 'all'}",
        )
        release(blocks)
        channel = FacetedChannel(label, tasks)
        if f"{tasks.folder}/cycles" in self.store:
            for fact, value in self.store.facts(f"{tasks.folder}/cycles").items():
                setattr(channel, fact, value)
            tasks.forget(channel.at - 1)  # in case the earlier run was killed before it could
        return channel

    def _run(self, label, calls, gpu=False):
        """Results of (function, argument, ...) calls, by the workers."""
        return self.workers.run(label, ((on_one_thread, *call) for call in calls), gpu)

    def _look(self, image):
        """What a whole image is like."""
        calls = ((look, image, window.tiles, len(self.tiles)) for window in self._windows)
        return _Looks(self._run("noise", calls))

    def _deconvolve(self, channel):
        """Major cycles until there is nothing left to do."""
        tasks = channel.tasks
        self._run("sidelobes", [(tasks.note_sidelobes,)])
        while not channel.stop and len(channel.cycles) < self.config.max_major:
            start, cycle, looks = time.perf_counter(), channel.at, channel.looks
            seen = looks.noise, looks.peak
            minors = self._run(
                "minor cycles",
                ((tasks.minor, f, cycle, *seen, Others(looks.bands_without(f), channel.wait)) for f in self._facets),
                gpu=self.device == "cuda",
            )
            changed = tasks.changed(cycle)
            part, before, rms = 1.0, looks.rms, looks.rms
            if changed:
                self._run("predict", ((tasks.see, window, cycle) for window in tasks.changed_windows(cycle)))
                self._run("predict", ((tasks.predict, number, cycle) for number in range(len(tasks.blocks))))
                part, rms = self._measure_fall(tasks, cycle)
            if not conclude(channel, minors, part, before, rms):
                settled = ((tasks.settle, window, cycle, part) for window in range(len(self._windows)))
                channel.looks = _Looks(self._run("update", settled))
                channel.at, channel.flux = cycle + 1, channel.looks.flux
            if len(channel.cycles) == self.config.max_major:
                channel.stop = channel.stop or f"{self.config.max_major} major cycles (--max-major)"
            describe(channel, channel.looks.peak, channel.flux, time.perf_counter() - start)
            log.info("%d of %d facets changed.", len(changed), len(self.tiles))
            # CLEAN finishes when the network has nothing left to do anywhere, or does not get on with it.
            found = any(minor.components and not minor.finishing for minor in minors)
            channel.wait = found and not channel.cycles[-1]["stalled"]
            facts = {name: getattr(channel, name) for name in ("cycles", "stop", "at", "wait", "flux")}
            self.store.note(f"{tasks.folder}/cycles", facts)
            if channel.at > cycle:
                tasks.forget(cycle)

    def _measure_fall(self, tasks, cycle):
        """How much of a cycle's update to take, at most all, and the residual's rms after that."""
        sums = self._run("residual", ((tasks.fall, window, cycle) for window in range(len(self._windows))))
        total = {key: sum(one[key] for one in sums) for key in sums[0]}
        best = total["ur"] / total["uf"] if total["ur"] > 0 and total["uf"] > 0 else 0.0
        part = min(best, 1.0) or 1.0  # one that leads the wrong way shows in the rms
        square = total["rr"] - 2 * part * total["rf"] + part**2 * total["ff"]
        return part, float(np.sqrt(max(square, 0.0) / (self.grid.width * self.grid.height)))

    def _restore(self, channel, blocks):
        """Beam and restored image of a channel, written."""
        tasks, config = channel.tasks, self.config
        with self.clock("restore"):
            parts = self._parts(channel)
            beam = self._fit_beam(parts["psf"])
            freq = np.concatenate([block.output_freq for block in blocks])
            weight = np.concatenate([block.weight.sum(0, dtype=np.float64) for block in blocks])
            image = Image(
                channel.label, float(np.average(freq, weights=weight)),
                float(np.ptp(freq)) + self.observation.channel_width, beam, channel.looks.noise,
                np.zeros((0, 0)), np.zeros((0, 0)), stop=channel.stop, cycles=channel.cycles, stokes=tasks.stokes,
            )  # fmt: skip
            image.facts = {
                "visibilities": sum(int(np.count_nonzero(block.weight)) for block in blocks),
                "sum_weight": tasks.sum_weight,
                "operator": config.operator,
            }
            if channel.stop:
                image.facts |= {"major_cycles": len(channel.cycles), "components": channel.components}
                self._restore_facets(parts, beam)
            self.progress.keep_partly(image)
        return self._write(image, parts, self.thermal_of(image))

    def _parts(self, channel):
        """The images of a channel by their kinds, before they are FITS files."""
        tasks = channel.tasks
        parts = {"dirty": tasks.image("dirty"), "psf": tasks.image("psf")}
        if channel.stop:
            parts |= {"model": tasks.model(channel.at), "residual": tasks.residual(channel.at)}
            parts["image"] = tasks.image("image")
        if self.dishes:
            parts["pb"] = BeamFacets(self.dishes.beam(tasks.blocks), self.grid, self.tiles)
        return parts

    def average(self, images) -> Image:
        """All channels together, each counted by its weight, facet by facet from their files; written."""
        weights = np.array([image.facts["sum_weight"] for image in images.headers])
        weights /= weights.sum()
        made = [kind for kind in images.headers[0].paths if kind != "image_pb"]  # that follows from the others
        image = average_of(images.headers, self.observation)
        folder = f"average-{image.label}"
        parts = {kind: FacetImage(self.files, f"{folder}/{kind}", self.tiles) for kind in made}
        kinds = [kind for kind in parts if kind != "image"]
        if partly := self.progress.partly(image.label):
            return self._write(partly, parts, self.thermal)
        with self.clock("restore"):
            for kind in kinds:
                made_of = f"{folder}/{kind}-of"
                pairs = zip(images.headers, weights, strict=True)
                listed = [(str(one.paths[kind].absolute()), one.plane, weight) for one, weight in pairs]
                self.files.note(made_of, listed)
                common = self.files, made_of, parts[kind], self.tiles
                self._run("average", ((average_facets, *common, window.tiles) for window in self._windows))
            image.beam = self._fit_beam(parts["psf"])
            image.noise = self._look(parts["residual" if "residual" in parts else "dirty"]).noise
            if "model" in parts:
                self._restore_facets(parts, image.beam)
            self.progress.keep_partly(image)
        return self._write(image, parts, self.thermal)

    def _fit_beam(self, psf):
        """The beam of a PSF, a `FacetImage`."""
        half = [min(n, BeamSettings.window) // 2 for n in self.grid.shape]
        rows, columns = (slice(n // 2 - m, n // 2 + m) for n, m in zip(self.grid.shape, half, strict=True))
        psf = psf.read((rows, columns))
        longest = theoretical_beam(self.observation.longest_baseline())
        return fit_beam(psf, self.grid.scale, longest, self.config.beam_fit)

    def _restore_facets(self, parts, beam):
        images = [parts[kind] for kind in ("image", "model", "residual")]
        how = beam, self.grid.scale, reach(beam, self.grid.scale)
        self._run("restore", ((restore_facet, *images, self.tiles, f, *how) for f in self._facets))

    def _write(self, image, parts, thermal):
        """The FITS files of an image from its facets, which are dropped one kind after the other.

        Returns
        -------
        Image
            With its arrays memory-mapped.
        """
        if self.dishes and image.stop:
            files = (self.output.path_of(image, kind).absolute() for kind in ("image", "pb"))
            parts = parts | {"image_pb": CorrectedFacets(self.dishes, self.tiles, *files)}
        with self.clock("write"):
            for kind in KINDS:
                if kind in parts and not self.output.writes(image, kind):
                    image.paths[kind] = self.output.path_of(image, kind)  # written with the first Stokes parameter
                if kind in parts and kind not in image.paths:
                    path, header = self.output.file(image, kind, self.grid, self.observation, thermal)
                    with fits_file(path, self.grid.shape, header) as pixels:
                        common = write_facets, pixels, parts[kind], self.tiles
                        self._run("write", ((*common, window.tiles) for window in self._windows))
                    image.paths[kind] = path
                    self.progress.keep_partly(image)
                    # Where the first cycle was undone, the residual is the dirty image.
                    if all(parts[other].name != parts[kind].name for other in parts if other not in image.paths):
                        if len(self.config.stokes) == 1 or kind not in SHARED:
                            parts[kind].discard()
        return opened(image, open_image)


def on_one_thread(function, *arguments):
    """A task whose result does not depend on the machine: sums of several threads differ in their last digits.

    What it leaves free goes back to the system: the C library keeps it for each worker, where the others cannot use it.
    """
    before = torch.get_num_threads()  # of this worker: each has its own number
    torch.set_num_threads(1)
    try:
        return function(*arguments)
    finally:
        torch.set_num_threads(before)
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
        if trim:
            trim(0)


class _Looks:
    """A whole image, from `look` at each of its facets, in any order."""

    def __init__(self, seen):
        looks = [look for _, look in sorted((item for some in seen for item in some.items()), key=itemgetter(0))]
        pixels = np.concatenate([look["pixels"] for look in looks])
        self.noise = noise_mad(pixels[None])
        self.peak = max(look["peak"] for look in looks)
        self.rms = float(np.sqrt(sum(look["square"] for look in looks) / sum(look["size"] for look in looks)))
        self.flux = sum(look.get("flux", 0.0) for look in looks)
        bands = np.array([look["bands"] for look in looks])
        self._brightest = bands.argmax(0)
        self._bands = bands.max(0)
        bands[self._brightest, np.arange(len(self._bands))] = 0.0
        self._second = bands.max(0)

    def bands_without(self, facet):
        """Largest |value| in each of the bands, of all facets but one."""
        return tuple(np.where(self._brightest == facet, self._second, self._bands).tolist())

"""An image in facets that the major cycles improve: its arrays are files, its steps are tasks of workers."""

import ctypes
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
import torch

from radrim.deconvolve.major import ImageState
from radrim.deconvolve.minor import MinorCycle, OtherFacets
from radrim.facets.images import FacetImage, look
from radrim.facets.tasks import FacetTasks
from radrim.metrics import noise_mad
from radrim.runtime.executors import Cluster, Threads


@dataclass(kw_only=True)
class FacetedImage(ImageState):
    """An image whose arrays are files, a facet each.

    Parameters
    ----------
    tasks : FacetTasks
    workers : Threads or Cluster
        Who carries out the tasks.
    gpu : bool
        Whether a minor cycle needs a GPU to itself.
    """

    tasks: FacetTasks
    workers: Threads | Cluster
    gpu: bool = False
    at: int = 0
    """Which cycle's residual and model are the present ones."""
    wait: bool = True
    """The network may still find emission in other facets: sidelobes that it will remove are not to be cleaned yet."""
    model_flux: float = 0.0

    def __post_init__(self):
        store, name = self.tasks.store, f"{self.tasks.folder}/cycles"
        if name in store:
            for fact, value in store.facts(name).items():
                setattr(self, fact, value)
            self.tasks.forget(self.at - 1)  # in case the earlier run was killed before it could
        self._summary: Summary | None = None
        self._changed: list[int] = []
        self._sums: dict[str, float] = {}

    @property
    def summary(self) -> "Summary":
        """What the present residual is like."""
        if self._summary is None:
            self._summary = summarise(self.run, self.tasks.residual(self.at), self.tasks)
        return self._summary

    def run(self, label: str, calls: Iterable[tuple], gpu: bool = False) -> list:
        """Results of (function, argument, ...) calls, by the workers."""
        return self.workers.run(label, ((on_one_thread, *call) for call in calls), gpu)

    @property
    def left_noise(self) -> float:
        return float("nan")

    @property
    def rms(self) -> float:
        return self.summary.rms

    @property
    def peak(self) -> float:
        return self.summary.peak

    @property
    def flux(self) -> float:
        return self.model_flux

    def measure_dirty(self) -> None:
        """Compute dirty image and PSF, where they are not there yet."""
        self.run("dirty image and PSF", ((self.tasks.measure, window) for window in range(len(self.tasks.windows))))

    def propose(self) -> list[MinorCycle]:
        tasks, seen = self.tasks, self.summary
        self.run("sidelobes", [(tasks.note_sidelobes,)])
        minors = self.run(
            "minor cycles",
            (
                (tasks.minor, f, self.at, seen.noise, seen.peak, OtherFacets(seen.bands_without(f), self.wait))
                for f in range(len(tasks.tiles))
            ),
            gpu=self.gpu,
        )
        # CLEAN begins when the network has nothing left to do anywhere, or makes no progress.
        self._found = any(minor.components and not minor.finishing for minor in minors)
        return minors

    def measure(self) -> float:
        tasks, cycle = self.tasks, self.at
        self._changed, self._sums = tasks.changed(cycle), {}
        if not self._changed:
            return 0.0
        self.run("predict", ((tasks.see, window, cycle) for window in tasks.changed_windows(cycle)))
        self.run("predict", ((tasks.predict, number, cycle) for number in range(len(tasks.blocks))))
        sums = self.run("residual", ((tasks.fall, window, cycle) for window in range(len(tasks.windows))))
        self._sums = {key: sum(one[key] for one in sums) for key in sums[0]}
        rises = self._sums["ur"] > 0 and self._sums["uf"] > 0
        return self._sums["ur"] / self._sums["uf"] if rises else 0.0

    def rms_after(self, part: float) -> float:
        if not self._sums:
            return self.rms
        s = self._sums
        square = s["rr"] - 2 * part * s["rf"] + part**2 * s["ff"]
        return float(np.sqrt(max(square, 0.0) / (self.tasks.grid.width * self.tasks.grid.height)))

    def settle(self, part: float) -> None:
        if part:
            settled = ((self.tasks.settle, window, self.at, part) for window in range(len(self.tasks.windows)))
            self._summary = Summary(self.run("update", settled))
            self.at, self.model_flux = self.at + 1, self._summary.flux

    def expect(self, noise: float) -> bool:
        return False

    def keep(self) -> None:
        self.wait = self._found and not self.cycles[-1]["stalled"]
        facts = {name: getattr(self, name) for name in ("cycles", "stop", "at", "wait", "model_flux")}
        self.tasks.store.note(f"{self.tasks.folder}/cycles", facts)
        self.tasks.forget(self.at - 1)


def on_one_thread(function: Callable, *arguments: Any) -> Any:
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


def summarise(run: Callable, image: FacetImage, tasks: FacetTasks) -> "Summary":
    """What a whole image is like; `run` as `FacetedImage.run`."""
    return Summary(run("noise", ((look, image, window.tiles, len(tasks.tiles)) for window in tasks.windows)))


class Summary:
    """Noise, peak, rms and flux of a whole image, from `look` at each of its facets, in any order."""

    def __init__(self, seen: Sequence[dict[int, dict]]):
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

    def bands_without(self, facet: int) -> tuple[float, ...]:
        """Largest |value| in each of the bands, of all facets but one."""
        return tuple(np.where(self._brightest == facet, self._second, self._bands).tolist())

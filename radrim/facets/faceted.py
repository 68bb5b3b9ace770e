"""An image in facets: its arrays are files, and the steps of its major cycles are tasks of workers."""

import ctypes
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

import numpy as np
import torch

from radrim.deconvolve.judge import Cells, Verdict
from radrim.deconvolve.major import ImageState
from radrim.deconvolve.minor import MinorCycle, OtherFacets
from radrim.facets.channel import RegionSource
from radrim.facets.kept_out import add_kept, inspect, judge
from radrim.facets.tasks import FacetTasks
from radrim.measure.fit_quality import FitInspector
from radrim.metrics import residual_noise
from radrim.runtime.executors import Executor
from radrim.workdir.visibilities import Samples

KEPT = (
    "cycles", "stop", "ended", "stage", "expected", "fitted", "at", "wait", "found", "flux", "left_noise",
    "fit_quality",
)  # fmt: skip
"""Attributes of an image that are saved after each major cycle."""


@dataclass(kw_only=True)
class FacetedImage(ImageState):
    """An image whose arrays are files, one for each facet.

    Parameters
    ----------
    tasks : FacetTasks
        Of all samples.
    workers : Executor
        Executor of the tasks.
    gpu : bool
        Whether each minor cycle needs a GPU of its own.
    last : bool
        Whether no other Stokes parameter will need the same PSFs.
    """

    tasks: FacetTasks
    workers: Executor
    gpu: bool = False
    last: bool = True
    at: int = 0
    """Number of the cycle to which the current residual and model belong."""
    wait: bool = True
    """Whether the CLEAN stage must wait, since the network may still find emission in other facets, whose sidelobes
    CLEAN would take for sources."""
    found: bool = False
    """Whether the network found emission in the last minor cycles."""
    flux: float = 0.0
    left_noise: float = float("nan")

    def __post_init__(self):
        store, name = self.tasks.store, f"{self.tasks.folder}/cycles"
        if name in store:
            for fact, value in store.facts(name).items():
                setattr(self, fact, value)
            self.tasks = replace(self.tasks, expected=self.expected)
        if self.fitted:
            self.tasks = self.tasks.of(Samples.FITTED)
        self._kept_at = self.at - 2  # an interrupted run may have left files, of two cycles after the last one
        self._forget()
        self._summaries: list[Summary] = []
        self._sums: dict[str, float] = {}
        self._asked = 0

    @property
    def summaries(self) -> "list[Summary]":
        """Statistics of the current residual of each term."""
        if not self._summaries:
            tasks = self.tasks
            self._summaries = [
                Summary(self.run("noise", ((tasks.statistics, w, self.at, term) for w in range(len(tasks.windows)))))
                for term in range(tasks.terms)
            ]
        return self._summaries

    def run(self, label: str, calls: Iterable[tuple], gpu: bool = False) -> list:
        """Let the workers carry out (function, argument, ...) calls; return the results."""
        return self.workers.run(label, ((on_one_thread, *call) for call in calls), gpu)

    @property
    def rms(self) -> float:
        """See `ImageState.rms`."""
        return float(np.sqrt(np.mean([one.rms**2 for one in self.summaries])))

    @property
    def peak(self) -> float:
        """See `ImageState.peak`."""
        return max(one.peak for one in self.summaries)

    @property
    def pending(self) -> bool:
        """See `ImageState.pending`."""
        return any(self.tasks.changed(self.at, term) for term in range(self.tasks.terms))

    def survey(self) -> None:
        """Find the sum of the weights in the most sensitive pixel of a mosaic."""
        tasks, windows = self.tasks, range(len(self.tasks.windows))
        for channel in tasks.channels:
            name = f"{channel.shared}/most"
            if len(channel.pointings) > 1 and name not in tasks.store:
                tasks.store.note(name, max(self.run("pointings", ((channel.survey, window) for window in windows))))

    def set_expected(self, noise: float) -> None:
        """Set the expected noise of the dirty image [Jy/beam]."""
        self.expected, self.tasks = noise, replace(self.tasks, expected=noise)

    def begin(self, models: Sequence[RegionSource] = ()) -> None:
        """Compute dirty image and PSF, unless they exist, and subtract the start models, one for each channel."""
        tasks, windows = self.tasks, range(len(self.tasks.windows))
        measured = ((channel.measure, window) for channel in tasks.channels for window in windows)
        self.run("dirty image and PSF", measured)
        if models and not self.at:
            self.run("start model", ((tasks.start, models, facet) for facet in range(len(tasks.tiles))))
            self.measure()
            self.apply_update(1.0)
            self.keep()

    def minor_cycles(self) -> list[MinorCycle]:
        """See `WholeImage.minor_cycles`."""
        tasks, minors = self.tasks, []
        self.run("sidelobes", [(tasks.note_sidelobes,)])
        seen = self.summaries
        for term in sorted(range(tasks.terms), key=lambda number: -seen[number].peak):
            found = self._minor_cycles(term, seen[term])
            if tasks.terms > 1:
                found = [replace(minor, stop=f"term {term}: {minor.stop}") for minor in found]
            minors += found
            if tasks.changed(self.at, term):
                break
        # The CLEAN stage starts when the network finds no emission in any facet, or makes no progress.
        self.found = any(minor.components and not minor.clean_stage for minor in minors)
        return minors

    def _minor_cycles(self, term, seen):
        calls = (
            (self.tasks.minor, facet, self.at, term, seen.noise, seen.peak, self._others(seen, facet))
            for facet in range(len(self.tasks.tiles))
        )
        return self.run("minor cycles", calls, gpu=self.gpu)

    def _others(self, seen, facet):
        return OtherFacets(seen.bands_without(facet), self.wait)

    def _likelihood(self):
        """Compute the residual with natural weights; return its noise over that with imaging weights.

        None if both are the same, and for terms of a spectrum, which have no images with natural weights in memory
        either.
        """
        if self.tasks.basis is not None:
            return None
        channel = self.tasks.channels[0].likelihood()
        if not channel.sums.noted:
            found = self.run("natural weights", ((channel.sum_weights, n) for n in range(len(channel.blocks))))
            channel.sums.note([pointing for pointing, _ in channel.blocks], found)
        factor = channel.noise_factor
        if math.isclose(factor, 1.0):
            return None
        windows = range(len(self.tasks.windows))
        self.run("residual", ((channel.measure_residual, window, self.at) for window in windows))
        return factor

    def ask(self, action: str, natural: bool = False, **values: Any) -> list[dict[str, Any]]:
        """See `ImageState.ask`."""
        tasks = self.tasks
        if action in ("note_decision", "change_method"):
            calls = ((tasks.tell, facet, self.at, action, values) for facet in range(len(tasks.tiles)))
            return [one for one in self.run("final stage", calls, gpu=self.gpu) if one]
        noise = self.summaries[0].noise
        self._asked += 1
        how = self.at, self._asked, action, noise, values, self._likelihood() if natural else None
        return self.run("final stage", ((tasks.refine, facet, *how) for facet in range(len(tasks.tiles))), gpu=self.gpu)

    def measure(self) -> float:
        """See `ImageState.measure`."""
        tasks, cycle = self.tasks, self.at
        self._sums, windows, self.verdict = {}, tasks.changed_windows(cycle), None
        if not windows:
            return 0.0
        channels = range(len(tasks.channels))
        self.run(
            "predict", ((tasks.predict_nodes, channel, window, cycle) for channel in channels for window in windows)
        )
        blocks = ((tasks.channels[channel].predict, number, cycle, windows) for channel, number in tasks.blocks)
        self.run("predict", blocks)
        if self.fitted:
            cells = self.run("judge", ((judge, tasks.channels[channel], k, cycle) for channel, k in tasks.blocks))
            self.verdict = Verdict(Cells.sum(cells))
        sums = self.run("residual", ((tasks.residual_decrease, window, cycle) for window in range(len(tasks.windows))))
        self._sums = {key: sum(one[key] for one in sums) for key in sums[0]}
        rises = self._sums["ur"] > 0 and self._sums["uf"] > 0
        return self._sums["ur"] / self._sums["uf"] if rises else 0.0

    def use_all_samples(self) -> None:
        """See `ImageState.use_all_samples`."""
        if self.fitted and self.cycles:  # the last moment at which the model knows nothing of the kept-out samples
            blocks = ((inspect, self.tasks.channels[channel], k, self.at) for channel, k in self.tasks.blocks)
            inspector = FitInspector()
            for seen in self.run("fit quality", blocks):
                inspector.add(seen)
            self.fit_quality = inspector.summary()
        self.tasks = tasks = self.tasks.of(Samples.ALL)
        windows = range(len(tasks.windows))
        self.run("all samples", ((add_kept, one, window, self.at) for one in tasks.channels for window in windows))
        self.fitted, self._sums, self._summaries = False, {}, []

    def rms_after(self, part: float) -> float:
        """See `ImageState.rms_after`."""
        if not self._sums:
            return self.rms
        s, grid = self._sums, self.tasks.grid
        square = s["rr"] - 2 * part * s["rf"] + part**2 * s["ff"]
        return float(np.sqrt(max(square, 0.0) / (grid.width * grid.height * self.tasks.terms)))

    def apply_update(self, part: float) -> None:
        """See `ImageState.apply_update`."""
        tasks, self._asked = self.tasks, 0
        if not part and not self.fitted:
            return  # the image stops here
        # With a judge others follow, so that an update that is undone counts as a cycle of length 0.
        powers = self.run("noise", ((tasks.channels[c].subtract, k, self.at, part) for c, k in tasks.blocks))
        if self._sums:
            self.left_noise = _noise(tasks, powers)
        updated = self.run(
            "update", ((tasks.apply_update, window, self.at, part) for window in range(len(tasks.windows)))
        )
        self._summaries = [Summary([one[term] for one in updated]) for term in range(tasks.terms)]
        self.at, self.flux = self.at + 1, self._summaries[0].flux

    def tell(self, noise: float) -> bool:
        """See `ImageState.tell`."""
        self.tasks = replace(self.tasks, expected=noise)
        return bool(self.stages)

    def keep(self) -> None:
        """See `ImageState.keep`."""
        if self.cycles:
            last = self.cycles[-1]
            self.wait = self.found and last.get("taken", True) and not last["stalled"]
        self.tasks.store.note(f"{self.tasks.folder}/cycles", {name: getattr(self, name) for name in KEPT})
        self._forget()

    def _forget(self):
        """Delete files of cycles that are over."""
        for cycle in range(max(self._kept_at, 0), self.at):
            self.tasks.forget(cycle)
        self._kept_at = self.at
        if self.stop:
            self.tasks.forget_likelihood(psf=self.last)


def _noise(tasks, powers):
    """Noise of the dirty image [Jy/beam], from the noise power of each block [Jy^-2].

    In a mosaic it is the noise of the most sensitive pixel; by construction all other pixels have the same noise.
    """
    total = dict.fromkeys(range(len(tasks.channels)), 0.0)
    for (channel, _), power in zip(tasks.blocks, powers, strict=True):
        total[channel] += power
    variance, weights = 0.0, 0.0
    for number, channel in enumerate(tasks.channels):
        whole = sum(pointing.sum_weight for pointing in channel.pointings)
        # The power is that of all samples as one pointing; the ratio of weights converts it to the most sensitive
        # pixel.
        variance += total[number] * channel.sum_weight / whole
        weights += channel.sum_weight * channel.fraction
    return float(np.sqrt(variance) / weights)


def on_one_thread(function: Callable, *arguments: Any) -> Any:
    """Call a function on one thread, so that its result does not depend on the number of cores.

    Sums of several threads differ in their last digits. Afterwards freed memory is returned to the system, since the C
    library would keep it in this worker, where the other workers cannot use it.
    """
    before = torch.get_num_threads()  # each worker has its own number
    torch.set_num_threads(1)
    try:
        return function(*arguments)
    finally:
        torch.set_num_threads(before)
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
        if trim:
            trim(0)


class Summary:
    """Noise, peak, rms and flux of a whole image, from the `facet_statistics` of its facets, in any order."""

    def __init__(self, seen: Sequence[dict[int, dict]]):
        facets = [one for _, one in sorted((item for some in seen for item in some.items()), key=itemgetter(0))]
        pixels = np.concatenate([one["pixels"] for one in facets])
        self.noise = residual_noise(pixels[None])
        self.peak = max(one["peak"] for one in facets)
        self.rms = float(np.sqrt(sum(one["square"] for one in facets) / sum(one["size"] for one in facets)))
        self.flux = sum(one.get("flux", 0.0) for one in facets)
        bands = np.array([one["bands"] for one in facets])
        self._brightest = bands.argmax(0)
        self._bands = bands.max(0)
        bands[self._brightest, np.arange(len(self._bands))] = 0.0
        self._second = bands.max(0)

    def bands_without(self, facet: int) -> tuple[float, ...]:
        """Largest |value| in each of the bands, over all facets except one."""
        return tuple(np.where(self._brightest == facet, self._second, self._bands).tolist())

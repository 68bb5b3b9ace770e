"""Keeps the visibilities of a run in its work directory: read once, sorted, weighted, then memory-mapped."""

import dataclasses
import math
import mmap
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from enum import StrEnum
from pathlib import Path

import numpy as np

from radrim.config.values import NO_TAPER, Taper, Weighting
from radrim.geometry import ImageGrid
from radrim.read.reader import Selection, read
from radrim.runtime.memory import MemorySettings
from radrim.runtime.progress_bar import ProgressBar
from radrim.visibilities import KeptOut, NaturalWeights, Observation, Visibilities, split_channels
from radrim.weight.imaging import apply_weights
from radrim.workdir.store import Store, WorkDirSettings

SAMPLES = ("data", "weight")
"""Arrays of the shape (row, chan)."""
CONVERTED = "converted"
"""Folder of Measurement Sets converted from UVFITS files; it is deleted once all data are read."""
BY_CHANNEL = "-by-channel"
"""Suffix of the names of their files that hold (chan, row)."""
FACTS = ("doppler", "channel_width", "pointing", "stokes", "others", "kept_out", "watched", "natural")
"""Fields of `Visibilities` without a file. Each further Stokes parameter has a file such as `data-Q`."""
ARRAYS = tuple(f.name for f in dataclasses.fields(Visibilities) if f.name not in FACTS)
"""Fields of `Visibilities` with a file of their own."""


KEPT_OUT = "vis/kept-out"
"""Name of the number of cells of samples that are kept out of the deconvolution; noted once their rows are saved."""


class Samples(StrEnum):
    """Which samples of an observation count in an image."""

    ALL = "all"
    FITTED = "fitted"
    """All but those that are kept out of the deconvolution to judge it; see `radrim.measure.holdout`."""
    KEPT = "kept"
    """Those that are kept out."""


class VisibilityCache:
    """Blocks of visibilities as files of a work directory.

    Rows of a block are sorted by baseline, then by time, as `radrim.operator.tracks` needs them. Each step is kept: a
    run that was interrupted while reading resumes with the first missing block.

    Parameters
    ----------
    work : Store
        The work directory of the run.
    block_bytes : int
        Largest block of data and weights [bytes].
    by_channel : bool
        Whether files hold one channel after the other, so that single channels can be read.
    """

    def __init__(self, work: Store, block_bytes: int = WorkDirSettings.block_bytes, by_channel: bool = False):
        self._work, self._block_bytes, self._by_channel = work, block_bytes, by_channel

    def read(
        self, paths: Sequence[str | Path], selection: Selection | None, reader: Callable[..., Observation] = read
    ) -> Observation:
        """Read visibilities with `reader`, such as `radrim.read.reader.read`, unless they are already kept.

        The blocks are memory-mapped.

        Returns
        -------
        Observation
        """
        work = self._work
        if "vis/observation" not in work:
            number = 0

            def keep(block):
                nonlocal number
                self._keep(f"vis/{number:04d}", block)
                number += 1
                return _load(work, number - 1)

            observation = reader(paths, selection, keep, self._block_bytes, work.path / CONVERTED)
            facts = {
                f.name: getattr(observation, f.name) for f in dataclasses.fields(observation) if f.name != "blocks"
            }
            work.note("vis/observation", {**facts, "blocks": number})
        work.discard(CONVERTED)
        facts = work.facts("vis/observation")
        return Observation(**{**facts, "blocks": [_load(work, k) for k in range(facts["blocks"])]})

    def weigh(
        self,
        observation: Observation,
        grid: ImageGrid,
        weighting: Weighting,
        taper: Taper = NO_TAPER,
        padding: float = 1.2,
        grid_bytes: int = MemorySettings.max_grid,
        channels: int = 1,
        super_weight: float = 1.0,
    ) -> tuple[float, float]:
        """Set the imaging weights of an observation; returns the results of `radrim.weight.imaging.apply_weights`.

        With several `channels` each output channel is weighted by itself, from its own visibilities.
        """
        work, blocks = self._work, observation.blocks
        if not cached(work):
            suffix = BY_CHANNEL if self._by_channel else ""
            names = [f"vis/{k:04d}/imaging{suffix}" for k in range(len(blocks))]
            with ExitStack() as stack:
                outputs = []
                for name, block in zip(names, blocks, strict=True):
                    shape = block.weight.shape[::-1] if self._by_channel else block.weight.shape
                    output = stack.enter_context(work.create(name, shape, np.float32))
                    outputs.append(output.T if self._by_channel else output)
                stack.enter_context(ProgressBar("weighting"))
                parts = _by_channel(observation, outputs, channels)
                sums = [
                    apply_weights(part, grid, weighting, taper, padding, to, grid_bytes, super_weight)
                    for part, to in parts
                ]
                sum_weight = sum(weight for weight, _ in sums)
                found = sum_weight, math.hypot(*(weight * noise for weight, noise in sums)) / sum_weight
            work.note("vis/weights", found)
        for k, block in enumerate(blocks):
            block.natural = NaturalWeights(((block.freq, block.weight),))
            block.weight = _samples(work, f"vis/{k:04d}/imaging")
        sum_weight, noise = work.facts("vis/weights")
        return sum_weight, noise

    def keep_out(self, kept: Iterable[KeptOut]) -> None:
        """Keep the rows of each block that are kept out of the deconvolution, for `Blocks`."""
        if KEPT_OUT in self._work:
            return
        cells = 0
        for number, one in enumerate(kept):
            self._work.save(f"vis/{number:04d}/kept-out", np.stack([one.rows, one.cell]))
            cells = one.cells
        self._work.note(KEPT_OUT, cells)

    def _keep(self, name, block):
        """Write a block, sorted by baseline and time."""
        if f"{name}/complete" in self._work:
            return
        order = np.lexsort((block.time, block.antenna[:, 1], block.antenna[:, 0]))
        arrays = {array: getattr(block, array) for array in ARRAYS}
        arrays |= {_other(stokes): data for stokes, data in block.others.items()}
        for array, values in arrays.items():
            ordered = values if array == "freq" else values[order]
            if self._by_channel and array.startswith(SAMPLES):
                self._work.save(f"{name}/{array}{BY_CHANNEL}", ordered.T)
            else:
                self._work.save(f"{name}/{array}", ordered)
        facts = {"pointing": block.pointing.tolist(), "doppler": block.doppler, "channel_width": block.channel_width}
        self._work.note(f"{name}/complete", {**facts, "stokes": block.stokes, "others": list(block.others)})


class Blocks(Sequence):
    """The weighted visibilities of a band, block by block from the work directory of their run.

    A block is memory-mapped on access, so that the data can be larger than the memory.

    Parameters
    ----------
    store : Store
    band : (float, float)
        First and last frequency in the output frame [Hz].
    stokes : str
    pointing : (float, float), optional
        Only the blocks of this pointing (l, m).
    samples : Samples
        With `FITTED`, samples that are kept out have the weight 0; with `KEPT`, there are only their rows, and only
        blocks that have any.
    natural : bool
        Whether the weights are natural ones; they are 0 where the imaging weights are.
    """

    def __init__(
        self,
        store: Store,
        band: tuple[float, float],
        stokes: str = "I",
        pointing: tuple[float, float] | None = None,
        samples: Samples = Samples.ALL,
        natural: bool = False,
    ):
        self._store, self._band, self._stokes, self._samples = store, band, stokes, samples
        self._natural = natural
        self._judged = KEPT_OUT in store
        count = store.facts("vis/observation")["blocks"]
        self._numbers = [
            k
            for k in range(count)
            if self._inside(_freq(store, k) * _doppler(store, k)).any()
            and pointing in (None, tuple(store.facts(f"vis/{k:04d}/complete")["pointing"]))
            and (samples is not Samples.KEPT or self._kept(k).size)
        ]

    def __len__(self):
        return len(self._numbers)

    def __getitem__(self, index):
        name = f"vis/{self._numbers[index]:04d}"
        block = _load(self._store, self._numbers[index])
        if self._natural:
            block.natural = NaturalWeights(((block.freq, block.weight),))
        block.weight = _samples(self._store, f"{name}/imaging")
        block = block.of(self._stokes).select_channels(self._inside(block.output_freq))
        if block.natural is not None:
            imaging, block.weight, block.natural = block.weight, block.natural.weight, None
            # Only pages that change are copied: most samples without imaging weight are flagged.
            block.weight[(imaging == 0) & (block.weight != 0)] = 0
        if self._samples is Samples.KEPT:
            return block.select_rows(self.kept_rows(index))
        if self._samples is Samples.FITTED:
            # The file does not change, and only the pages of these rows are copied: they are those of whole baselines.
            block.weight[self.kept_rows(index)] = 0
        return block

    def kept_rows(self, index: int) -> np.ndarray:
        """Numbers of the rows of a block that are kept out of the deconvolution, (kept,) int64."""
        return self._kept(self._numbers[index])[0]

    def kept_out(self, index: int) -> KeptOut:
        """The rows of a block that are kept out of the deconvolution, with their natural weights."""
        block = _load(self._store, self._numbers[index])
        weight = block.select_channels(self._inside(block.output_freq)).weight
        rows, cell = self._kept(self._numbers[index])
        return KeptOut(rows, cell, np.array(weight[rows]), self._store.facts(KEPT_OUT) if self._judged else 0)

    def _kept(self, number):
        """The rows of a block of the run that are kept out, and their cells, (2, kept) int64."""
        if not self._judged:
            return np.zeros((2, 0), np.int64)
        return np.array(self._store.load(f"vis/{number:04d}/kept-out"))

    def _inside(self, freq):
        return (freq >= self._band[0]) & (freq <= self._band[1])


def release(blocks: Iterable[Visibilities]) -> None:
    """Drop pages of unchanged memory-mapped blocks from memory; they are read again on access."""
    for block in blocks:
        natural = [weight for _, weight in block.natural.parts] if block.natural else []
        for array in (*vars(block).values(), *block.others.values(), *natural):
            mapped = vars(array).get("_mmap") if isinstance(array, np.memmap) else None
            if mapped is not None:
                mapped.madvise(mmap.MADV_DONTNEED)


def _load(store, number):
    arrays = {array: store.load(f"vis/{number:04d}/{array}") for array in ARRAYS if array not in SAMPLES}
    for array in SAMPLES:
        arrays[array] = _samples(store, f"vis/{number:04d}/{array}")
    facts = store.facts(f"vis/{number:04d}/complete")
    more = {"doppler": facts["doppler"], "pointing": np.array(facts["pointing"]), "stokes": facts["stokes"]}
    more["channel_width"] = facts["channel_width"]
    more["others"] = {other: _samples(store, f"vis/{number:04d}/{_other(other)}") for other in facts["others"]}
    return Visibilities(**{**arrays, "freq": _freq(store, number)}, **more)


def _by_channel(observation, outputs, count):
    """Blocks of each output channel, and the parts of the outputs that receive their imaging weights."""
    if count == 1:
        return [(observation.blocks, outputs)]
    whole = [replace(block, data=output) for block, output in zip(observation.blocks, outputs, strict=True)]
    groups = split_channels(replace(observation, blocks=whole), count)
    return [(group, [block.data for block in group]) for group in groups if group]


def _other(stokes):
    """Name of the file of a further Stokes parameter."""
    return f"data-{stokes}"


def _freq(store, number):
    return np.array(store.load(f"vis/{number:04d}/freq"))


def _doppler(store, number):
    return store.facts(f"vis/{number:04d}/complete")["doppler"]


def _samples(store, name):
    """An array (row, chan), from a file in either order."""
    return store.load(f"{name}{BY_CHANNEL}").T if f"{name}{BY_CHANNEL}" in store else store.load(name)


def cached(work: Store) -> bool:
    """Whether a work directory has all weighted visibilities of its run."""
    return "vis/weights" in work

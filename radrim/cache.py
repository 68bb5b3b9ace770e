"""The visibilities of a run in its work directory: read once, sorted, weighted, and memory-mapped from then on."""

import dataclasses
from contextlib import ExitStack
from dataclasses import replace

import numpy as np

from radrim.read import read
from radrim.visibilities import Observation, Visibilities
from radrim.weight import GRID_BYTES, apply_weights
from radrim.workdir import WorkDir

BLOCK_BYTES = 512 * 2**20
"""Data and weights of one block, at most [bytes]: what sorting has in memory twice."""
ARRAYS = tuple(f.name for f in dataclasses.fields(Visibilities))


class VisibilityCache:
    """Blocks of visibilities as files of a work directory.

    Rows of a block are sorted by baseline, then by time, as `radrim.operator.tracks` wants them. Every step is kept:
    a run that was killed while reading goes on with the first block that is missing.

    Parameters
    ----------
    work : WorkDir
    block_bytes : int
        Largest block of data and weights [bytes].
    """

    def __init__(self, work: WorkDir, block_bytes=BLOCK_BYTES):
        self._work, self._block_bytes = work, block_bytes

    def read(self, paths, selection):
        """As `radrim.read.read`; the blocks are memory-mapped, read-only.

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

            observation = read(paths, selection, keep, self._block_bytes)
            facts = {
                f.name: getattr(observation, f.name) for f in dataclasses.fields(observation) if f.name != "blocks"
            }
            work.note("vis/observation", {**facts, "blocks": number})
        facts = work.facts("vis/observation")
        return Observation(**{**facts, "blocks": [_load(work, k) for k in range(facts["blocks"])]})

    def weigh(self, observation, grid, weighting, taper=None, padding=1.2, grid_bytes=GRID_BYTES):
        """Give an observation imaging weights; see `radrim.weight.apply_weights`, whose results it returns."""
        work, blocks = self._work, observation.blocks
        if not cached(work):
            names = [f"vis/{k:04d}/imaging" for k in range(len(blocks))]
            with ExitStack() as stack:
                outputs = [
                    stack.enter_context(work.create(name, block.weight.shape, np.float32))
                    for name, block in zip(names, blocks, strict=True)
                ]
                found = apply_weights(blocks, grid, weighting, taper, padding, outputs, grid_bytes)
            work.note("vis/weights", found)
        for k, block in enumerate(blocks):
            block.weight = work.load(f"vis/{k:04d}/imaging")
        sum_weight, noise = work.facts("vis/weights")
        return sum_weight, noise

    def _keep(self, name, block):
        """Write a block, sorted by baseline and time."""
        if f"{name}/complete" in self._work:
            return
        order = np.lexsort((block.time, block.antenna[:, 1], block.antenna[:, 0]))
        for array in ARRAYS:
            values = getattr(block, array)
            self._work.save(f"{name}/{array}", values if array == "freq" else values[order])
        self._work.note(f"{name}/complete", True)


def load_blocks(store):
    """All blocks of visibilities of a run, weighted, as they lie in its work directory: memory-mapped."""
    count = store.facts("vis/observation")["blocks"]
    return [replace(_load(store, k), weight=store.load(f"vis/{k:04d}/imaging")) for k in range(count)]


def _load(store, number):
    arrays = {array: store.load(f"vis/{number:04d}/{array}") for array in ARRAYS}
    return Visibilities(**{**arrays, "freq": np.array(arrays["freq"])})


def cached(work):
    """Whether a work directory has all visibilities of its run, weighted."""
    return "vis/weights" in work

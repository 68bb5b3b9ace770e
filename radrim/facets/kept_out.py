"""The samples of a channel that are kept out of the deconvolution: what they say of updates, and their images."""

import numpy as np

from radrim.deconvolve.judge import Cells
from radrim.facets.channel import FacetChannel
from radrim.measure.fit_quality import FitInspector
from radrim.visibilities import NaturalWeights
from radrim.workdir.visibilities import Samples


def add_kept(channel: FacetChannel, window: int, cycle: int) -> None:
    """Make dirty image, PSF and residual of a window, at the start of a major cycle, from those of fitted samples.

    This takes little more than one transform for each: only the samples that were kept out are summed.
    """
    names = ["dirty", "psf"] + ([f"residual/{cycle}"] if cycle else [])
    names = [name for name in names if not channel.has(channel.image(name), window)]
    if not names:
        return
    fitted, kept = channel.of(Samples.FITTED), channel.of(Samples.KEPT)
    found = kept.adjoint(window, {name: _kept_data(channel, name, kept, cycle) for name in names})
    parts = np.float32(fitted.fraction), np.float32(kept.fraction)
    block = channel.windows[window]
    for name, image in found.items():
        for facet in block.tiles:
            core = image[block.within(channel.tiles[facet].core)]
            channel.image(name).save(facet, parts[0] * fitted.image(name).load(facet) + parts[1] * core)


def _kept_data(channel, name, kept, cycle):
    """What an image of the samples that are kept out is made of: arrays of visibilities, for each pointing."""
    if name == "dirty":
        return [(block.data for block in part) for part in kept.parts]
    if name == "psf":
        return [(np.ones(block.data.shape, np.complex64) for block in part) for part in kept.parts]
    left = iter(range(len(channel.blocks)))
    return [_kept_rows(channel, part, [next(left) for _ in range(len(part))], cycle) for part in channel.parts]


def _kept_rows(channel, part, numbers, cycle):
    """What the model leaves of the rows that are kept out, for the blocks of a pointing that have any."""
    for within, number in enumerate(numbers):
        rows = part.kept_rows(within)
        if len(rows):
            yield channel.left(number, cycle)[rows]


def judge(channel: FacetChannel, number: int, cycle: int) -> Cells:
    """What the kept-out samples of a block say of a predicted update."""
    k, within = channel.blocks[number]
    kept = channel.parts[k].kept_out(within)
    before = np.array(channel.left(number, cycle)[kept.rows])
    after = before - channel.predicted(cycle, number)[kept.rows]
    return Cells.of(kept.cell, kept.weight, before, after, kept.cells)


def inspect(channel: FacetChannel, number: int, cycle: int) -> FitInspector:
    """How well the model fits the samples of a block, fitted and kept-out ones."""
    k, within = channel.blocks[number]
    block = channel.of(Samples.ALL).likelihood().parts[k][within]
    block.natural, block.kept_out = NaturalWeights(((block.freq, block.weight),)), channel.parts[k].kept_out(within)
    inspector = FitInspector()
    inspector.see(block, np.array(channel.left(number, cycle)))
    return inspector

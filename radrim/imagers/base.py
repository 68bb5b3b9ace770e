"""Steps 3 to 6 of output channels: the base class of imagers, which measure, deconvolve, restore and write.

An imager makes the images of all output channels and Stokes parameters. A `Target` is deconvolved as one: an output
channel, or with --spectral-terms all output channels. `radrim.imagers.channels` keeps images in memory,
`radrim.imagers.facets` in files.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from radrim.deconvolve.major import ImageState, deconvolve
from radrim.errors import SolverError
from radrim.imagers.context import RunContext
from radrim.imagers.minor_cycles import MinorCycles
from radrim.restore.spectrum import Basis
from radrim.result import Channels, Image
from radrim.visibilities import Visibilities
from radrim.workdir.visibilities import release

log = logging.getLogger("radrim")

TERMS = "terms"
"""Label of the terms of a spectrum among the channels of the work directory."""


@dataclass(frozen=True)
class OutputChannel:
    """One output channel of one Stokes parameter.

    Parameters
    ----------
    name : str
        '' for a single channel, else '0000', '0001', ... It names the files that all Stokes parameters share.
    label : str
        The name with the Stokes parameter, if the run has several.
    blocks : list of Visibilities
    """

    name: str
    label: str
    blocks: list[Visibilities]


@dataclass(frozen=True)
class Target:
    """An output channel, or the terms of the spectrum of several output channels, to be deconvolved as one.

    Parameters
    ----------
    label : str
    stokes : str
    channels : list of OutputChannel
    terms : int
        Number of terms; 0 for a single channel.
    """

    label: str
    stokes: str
    channels: list[OutputChannel]
    terms: int = 0


Batch = Sequence[tuple[str, list[Visibilities]]]
"""Output channels that are made in parallel: name and blocks of each."""


class Imager(ABC):
    """Makes the images of output channels.

    Parameters
    ----------
    run : RunContext
    """

    def __init__(self, run: RunContext):
        self.run = run
        self._succeeded = False
        """Whether any image has been deconvolved without a failure."""

    def batches(self, groups: Sequence[list[Visibilities]]) -> list[Batch]:
        """Divide the output channels into batches, whose channels are made in parallel.

        Parameters
        ----------
        groups : sequence of list of Visibilities
            The blocks of each output channel; those without blocks are left out.
        """
        names = [f"{k:04d}" for k in range(len(groups))] if self.run.config.channels_out > 1 else [""]
        named = [(name, blocks) for name, blocks in zip(names, groups, strict=True) if blocks]
        at_once = len(named) if self.run.config.spectral_terms else self.at_once
        return [named[first : first + at_once] for first in range(0, len(named), at_once)]

    def make(self, batch: Batch, stokes: str) -> list[Image]:
        """Make the images of a batch of channels, for one Stokes parameter; reuse those of an interrupted run."""
        run = self.run
        images: dict[str, Image | None] = {}
        missing = []
        for target in self._targets(batch, stokes):
            found = {channel.label: self.finished(channel.label) for channel in target.channels}
            images |= found
            if any(image is None for image in found.values()):
                missing.append(target)
        states = self.begin(missing)
        if run.start and not run.minor:
            for state in states:
                state.stop = state.stop or "nothing was deconvolved (--niter 0): the start model alone"
        failure = self._deconvolve(states, run.minor) if run.minor else None
        for target, state in zip(missing, states, strict=True):
            for channel, image in zip(target.channels, self.restore(target, state), strict=True):
                if failure is None and images[channel.label] is None:
                    run.progress.keep_image(image)
                images[channel.label] = image
        if failure is not None:
            self._give_up(failure, images.values())
        if stokes == run.config.stokes[-1] and len(run.config.stokes) > 1:
            for name, _ in batch:
                run.progress.forget(name)
        for target in missing:  # otherwise the visibilities of all channels would accumulate in memory
            for channel in target.channels:
                release(channel.blocks)
        return [image for image in images.values() if image is not None]

    @property
    @abstractmethod
    def at_once(self) -> int:
        """Number of output channels that are made in parallel."""

    @abstractmethod
    def finished(self, label: str) -> Image | None:
        """The image of a channel, if an interrupted run has finished it."""

    @abstractmethod
    def begin(self, targets: Sequence[Target]) -> list[ImageState]:
        """Measure targets. They continue from an interrupted run, or begin with the start model or empty models."""

    @abstractmethod
    def prepare(self, states: Sequence[ImageState], minor: MinorCycles) -> None:
        """Make the minor cycles of every state."""

    @abstractmethod
    def restore(self, target: Target, state: ImageState) -> list[Image]:
        """Restore the images of the channels of a target, and write them."""

    @abstractmethod
    def average(self, images: Channels) -> Image:
        """Average the images of all channels, each multiplied by its weight, and write the result."""

    def _targets(self, batch, stokes):
        label = self.run.label
        channels = [OutputChannel(name, label(name, stokes), blocks) for name, blocks in batch]
        terms = self.run.config.spectral_terms
        if terms:
            return [Target(label(TERMS, stokes), stokes, channels, terms)]
        return [Target(channel.label, stokes, [channel]) for channel in channels]

    def _basis_of(self, images: Channels) -> Basis:
        """The polynomials of the spectrum of all channels."""
        weights = [one.facts["sum_weight"] for one in images.headers]
        return Basis.of([one.freq for one in images.headers], weights, self.run.config.spectral_terms or 1)

    def _deconvolve(self, states, minor):
        """Deconvolve; return the error of a failed minor cycle, or None.

        One of several output channels that fails keeps its last model, and is noted, unless none has succeeded yet.
        """
        config = self.run.config
        several = config.channels_out > 1 and not config.spectral_terms
        with self.run.clock("deconvolve"):
            self.prepare(states, minor)
            try:
                failures = deconvolve(states, config.max_major, several)
            except SolverError as error:
                return error
        self._succeeded |= len(failures) < len(states)
        if failures and not self._succeeded:
            return failures[0]
        for state in (one for one in states if one.stop.startswith("a minor cycle failed")):
            note = f"Output channel {state.label}: {state.stop}; it holds the model of the cycle before."
            self.run.observation.notes.append(note)
            log.warning("%s (%s)", note, failures[0])
        return None

    def _give_up(self, failure, images):
        """Raise the error of a failed minor cycle, after the log has named the files that were written before."""
        kept = ", ".join(str(path) for image in images if image for path in image.paths.values())
        log.warning("A minor cycle failed. What was finished before is in %s", kept)
        raise failure

"""The progress of the channels of a run, kept in its work directory.

For each channel the work directory keeps dirty image and PSF; after each major cycle model, residual and the state of
the minor cycles; and at the end the facts that the FITS files lack. The folder of a cycle replaces the previous one
only when it is complete.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from radrim.beam import Beam
from radrim.deconvolve.whole import WholeImage
from radrim.products import KINDS
from radrim.result import Image, PlaneReader
from radrim.workdir.directory import WorkDir
from radrim.write.fits import read_image

RESTORED = ("cycles", "stop", "ended", "stage", "expected", "left_noise", "fit_quality")
"""Attributes of an image that an interrupted run takes up again."""


class Progress:
    """The channels of one run.

    Parameters
    ----------
    work : WorkDir
    tag : str
        What the names of these channels begin with; of another minor cycle that is compared with the first.
    """

    def __init__(self, work: WorkDir, tag: str = ""):
        self._work, self._tag = work, tag

    def folder(self, label: str) -> str:
        """Folder of an image or a channel in the work directory."""
        return f"{self._tag}channel-{label or 'all'}"

    def measured(
        self, label: str, channel: str | None = None, samples: str = ""
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Dirty image of an image and PSF of its channel, or None unless both have been kept.

        `samples` is "fitted-" for those without the samples that are kept out of the deconvolution.
        """
        psf = self.psf(label if channel is None else channel, samples)
        if f"{self.folder(label)}/{samples}measured" not in self._work or psf is None:
            return None
        return self._work.load(f"{self.folder(label)}/{samples}dirty"), psf

    def psf(self, channel: str, samples: str = "") -> np.ndarray | None:
        """The PSF of a channel, or None if it has not been kept."""
        name = f"{self.folder(channel)}/{samples}psf"
        return self._work.load(name) if name in self._work else None

    def keep_measured(
        self, label: str, dirty: np.ndarray, psf: np.ndarray, channel: str | None = None, samples: str = ""
    ) -> None:
        """Keep the dirty image of an image, and the PSF of its channel, which all Stokes parameters share."""
        self._work.save(f"{self.folder(label)}/{samples}dirty", dirty)
        name = f"{self.folder(label if channel is None else channel)}/{samples}psf"
        if name not in self._work:
            self._work.save(name, psf)
        self._work.note(f"{self.folder(label)}/{samples}measured", True)

    def forget(self, channel: str) -> None:
        """Delete the results that Stokes parameters of a channel share, once all are written."""
        self._work.discard(self.folder(channel))

    def keep_cycle(self, channel: WholeImage) -> None:
        """Keep the state of a channel after a major cycle."""
        folder, number = self.folder(channel.label), len(channel.cycles)
        cycle = f"{folder}/cycle{number:04d}"
        self._work.save(f"{cycle}/model", channel.model)
        self._work.save(f"{cycle}/residual", channel.residual)
        for k, left in enumerate(channel.holdout_residual or []):
            self._work.save(f"{cycle}/kept{k:04d}", left)
        remembered = []
        for tile, solver in enumerate(channel.solvers):
            facts, arrays = solver.state()
            for name, array in arrays.items():
                self._work.save(f"{cycle}/tile{tile}-{name}", array)
            remembered.append({"facts": facts, "arrays": list(arrays)})
        progress = {name: getattr(channel, name) for name in (*RESTORED, "fitted")}
        kept = None if channel.holdout_residual is None else len(channel.holdout_residual)
        state = {**progress, "kept": kept, "remembered": remembered}
        self._work.note(f"{folder}/state", state)
        self._work.discard(f"{folder}/cycle{number - 1:04d}")

    def resume(self, channel: WholeImage) -> None:
        """Restore the state of a channel after its last complete major cycle."""
        folder = self.folder(channel.label)
        if f"{folder}/state" not in self._work:
            return
        state = self._work.facts(f"{folder}/state")
        cycle = f"{folder}/cycle{len(state['cycles']):04d}"
        if channel.fitted and not state["fitted"]:
            channel.use_all_samples()
        for name in RESTORED:
            setattr(channel, name, state[name])
        if state["kept"] is not None:
            channel.holdout_residual = [
                np.asarray(self._work.load(f"{cycle}/kept{k:04d}")) for k in range(state["kept"])
            ]
        channel.restore(self._work.load(f"{cycle}/model"), self._work.load(f"{cycle}/residual"))
        channel.remembered = [
            (one["facts"], {name: self._work.load(f"{cycle}/tile{tile}-{name}") for name in one["arrays"]})
            for tile, one in enumerate(state["remembered"])
        ]

    def keep_choice(self, label: str, facts: dict[str, Any]) -> None:
        """Keep the choices that led to an image by relative entropy, for a run that goes on."""
        self._work.note(f"{self.folder(label)}/choice", facts)

    def choice(self, label: str) -> dict[str, Any] | None:
        """The facts of `keep_choice`, or None."""
        name = f"{self.folder(label)}/choice"
        return self._work.facts(name) if name in self._work else None

    def keep_image(self, image: Image) -> None:
        """Note the facts of an image whose files are written, and delete its other results."""
        folder = self.folder(image.label)
        self._work.note(f"{folder}-image", _facts_of(image))
        self._work.discard(folder)

    def image(self, label: str, read: PlaneReader = read_image) -> Image | None:
        """The finished image of a channel, from its files, each opened by `read`; None if it is not finished."""
        name = f"{self.folder(label)}-image"
        if name not in self._work:
            return None
        image = _image_of(self._work.facts(name))
        if not all(path.exists() for path in image.paths.values()):
            return None
        return opened(image, read)

    def keep_partly(self, image: Image) -> None:
        """Note the facts of a finished image, of whose files only those in `paths` are written."""
        self._work.note(f"{self.folder(image.label)}-partly", _facts_of(image))

    def partly(self, label: str) -> Image | None:
        """The image that `keep_partly` noted, without arrays, or None."""
        name = f"{self.folder(label)}-partly"
        return _image_of(self._work.facts(name)) if name in self._work else None


def opened(image: Image, read: PlaneReader) -> Image:
    """The image with arrays from its files, each opened by `read`."""
    arrays: dict[str, Any] = {kind: read(path, image.plane) for kind, path in image.paths.items()}
    return dataclasses.replace(image, **arrays)


def _facts_of(image):
    """The image without its arrays, as JSON holds it."""
    facts = {f.name: getattr(image, f.name) for f in dataclasses.fields(image) if f.name not in KINDS}
    psf_beam = image.psf_beam and dataclasses.asdict(image.psf_beam)
    return facts | {
        "beam": dataclasses.asdict(image.beam),
        "psf_beam": psf_beam,
        "paths": {k: str(path) for k, path in image.paths.items()},
    }


def _image_of(facts):
    nothing: dict[str, Any] = dict.fromkeys(KINDS)
    paths = {kind: Path(path) for kind, path in facts["paths"].items()}
    psf_beam = facts["psf_beam"] and Beam(**facts["psf_beam"])
    return Image(**{**facts, "beam": Beam(**facts["beam"]), "psf_beam": psf_beam, "paths": paths, **nothing})

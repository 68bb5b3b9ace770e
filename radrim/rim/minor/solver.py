"""The learned minor cycle: isolated points, then a recurrent inference machine, and at last the CLEAN stage.

PSF convolution and step length belong to the whole image. Only the network works on tiles, so the result does not
depend on how the image is tiled. In tiles without emission the network does not run, and the model does not change.
"""

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from radrim.deconvolve.minor import MinorCycle, OtherFacets, PartView
from radrim.deconvolve.step_length import Change
from radrim.errors import SolverError
from radrim.geometry import crop_centre
from radrim.metrics import scatter
from radrim.rim.minor.clean_stage import CleanStage
from radrim.rim.minor.convolver import Convolver
from radrim.rim.minor.detection import CLEAR, describe_noise, find_active, highest_sidelobes, level_for, sidelobes
from radrim.rim.minor.points import PointFinder, Points
from radrim.rim.minor.refinement import Part, Refiner
from radrim.rim.minor.settings import HALO, RimSettings
from radrim.rim.network.machine import Inference, InferenceMachine, InferenceOptions
from radrim.rim.network.psf import PsfConvolution

log = logging.getLogger("radrim")

MAX_EXPECTED_RATIO = 1.5, 2.0
"""Maximum ratio of expected to observed noise, for the first residual and for later ones, where the model may have
fitted part of the noise. Above it the expected noise is discarded."""
MAX_NOISE_RMS = 1.05
"""Maximum rms of a residual that counts as noise, in units of the expected noise."""
MAX_FIRST_NOISE_RMS = 1.3
"""The same maximum while the model is empty. It is larger since the expected noise is not exact, and small images have
few independent pixels."""
MIN_FITTED_RMS = 0.92
"""Minimum residual rms after an update, in units of the expected noise. An update that fits more noise is shortened."""
STOP_RMS = 0.94
"""Residual rms, in units of the expected noise, at which deconvolution stops."""
CLEAN_STOP_RMS = 0.995
"""The same in the CLEAN stage. It is higher, since models become worse when CLEAN goes deeper."""
MIN_FALL = 0.1
"""Minimum relative fall of the residual rms in a minor cycle of the network. Below it the CLEAN stage begins."""
FAR_RMS, MIN_FALL_WHEN_FAR = 3.0, 0.03
"""Above `FAR_RMS` times the expected noise, `MIN_FALL_WHEN_FAR` replaces `MIN_FALL`, since CLEAN would need many cycles
there."""
MAX_POINTS_FALL = 0.2
"""Relative fall of the residual rms by isolated points above which the network waits for the next minor cycle. The PSF
varies across the field, so a major cycle must first subtract bright points exactly, or the network would model their
remaining sidelobes."""
MIN_STEP_CHANGE = 0.008
"""Relative change of the residual rms by a step of the network below which the minor cycle has no further step."""


class Found(NamedTuple):
    """An update [Jy/pixel], the residual after it by PSF convolution [Jy/beam], and a description for the log."""

    update: np.ndarray
    residual: np.ndarray
    stop: str


Inferred = tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]
"""Estimate and residual after the steps of the network, and their lengths."""


class RimSolver:
    """Minor cycles of one output channel; see `MinorCycleSolver`. Every call works on the whole image.

    Parameters
    ----------
    machine : InferenceMachine
        A machine for images, on the device on which it runs.
    settings : RimSettings
    threads : int
        Threads of CLEAN; the network uses torch's number of threads.
    """

    begins_empty = False
    psf_factor = 2
    """Size of the PSF over that of the image. With 2, convolution and scales of the features are exact."""

    def __init__(self, machine: InferenceMachine, settings: RimSettings | None = None, threads: int = 1) -> None:
        self._threads = threads
        self.machine = machine
        self.settings = settings or RimSettings()
        self._trusted = True
        self._convolver = Convolver(next(machine.parameters()).device, self.settings.tile)
        self._clean_stage = CleanStage(self.settings, threads)
        self._refiner = Refiner(self.settings, self._convolver)
        self._depths: list[float] = []
        self._far_depths: list[float] = []
        self._finder: PointFinder | None = None
        self._converged_at: tuple[np.ndarray, np.ndarray] | None = None
        self._extended: np.ndarray | None = None
        self._points: np.ndarray | None = None

    def __call__(
        self,
        residual: np.ndarray,
        psf: np.ndarray,
        model: np.ndarray,
        noise: float,
        peak: float | None = None,
        others: OtherFacets | None = None,
    ) -> MinorCycle:
        """Run one minor cycle; see `MinorCycleSolver`.

        Raises
        ------
        SolverError
            NaN in an input, arrays of wrong shapes, or too little memory on the GPU even for the smallest tile.
        """
        _check(residual, psf, model, noise)
        # A residual with far less noise than expected shows that the expected noise is wrong. It is not used again.
        self._trusted &= bool(0 < self.settings.noise <= MAX_EXPECTED_RATIO[int(model.any())] * noise)
        expected = self.settings.noise if self._trusted else noise
        return self._improve(residual, psf, model, noise, expected, peak, others)

    def refine(
        self,
        action: str,
        seen: PartView,
        pixels: int,
        likelihood: tuple[PartView, float] | None = None,
        **values: Any,
    ) -> dict[str, Any]:
        """Carry out one action of a final stage; see `RefiningSolver.refine`."""
        if action == "change_method":
            return {"more": self._clean_stage.begin()}
        if action != "note_decision":  # it needs no PSF
            self._take_psf(seen.psf, seen.residual.shape)
            self._convolver.set_sky(seen.residual, self.settings.mask)
        noise = self.settings.noise if self._trusted else seen.noise
        extended = np.zeros_like(seen.model) if self._extended is None else self._extended
        part = Part(
            seen.residual, seen.model, seen.core, noise, self._allowed, self.points(seen.model), extended, pixels
        )
        return self._refiner.act(action, part, likelihood, **values)

    def _improve(
        self,
        residual: np.ndarray,
        psf: np.ndarray,
        model: np.ndarray,
        noise: float,
        expected: float,
        peak: float | None,
        others: OtherFacets | None,
    ) -> MinorCycle:
        """Run one minor cycle: isolated points and the network, or CLEAN."""
        self._convolver.set_sky(residual, self.settings.mask)
        reason = self._why_done(residual, expected, bool(model.any()))
        if reason:
            return _nothing(residual, reason)
        if self._clean_stage.on and not (others and others.wait):
            return self._clean_stage(residual, psf, model, noise, expected, peak)
        self._take_psf(psf, residual.shape)
        allowed, told = self._allowed, min(expected, noise)
        points = self._take_points(residual, told, allowed, peak or 0.0)
        found = Found(points.update, points.residual, f"isolated points: {points.number}")
        # After subtraction of the points the residual may be noise, or too close to it for the network to improve.
        near = scatter(points.residual) < MAX_NOISE_RMS * expected
        clean_next = near and not (
            points.number and describe_noise(points.residual, MAX_NOISE_RMS * expected, self._convolver.sky)
        )
        others = others or OtherFacets()
        above = [part * bright for part, bright in zip(sidelobes(self._far_depths), others.bands, strict=True)]
        active = find_active(points.residual, told, self._depths, above, self._convolver.sky)
        if allowed is not None:
            active &= allowed
        converged, self._converged_at = self._has_converged(residual, active), None
        alone = scatter(points.residual) < (1 - MAX_POINTS_FALL) * scatter(residual)
        if active.any() and not (near or converged or alone):
            brightest = peak if peak is not None and not points.number else float(np.abs(points.residual).max())
            found, converged = self._ask_network(points, model, told, brightest, active)
        part = Change.of(residual, found.residual).part_above(MIN_FITTED_RMS * expected)
        least = MIN_FALL if scatter(residual) < FAR_RMS * expected else MIN_FALL_WHEN_FAR
        slow = not near and part * (1 - scatter(found.residual) / scatter(residual)) < least
        if not others.wait and (clean_next or slow):
            return self._begin_clean_stage(points, psf, model, noise, expected)
        left = residual + np.float32(part) * (found.residual - residual)
        if converged:
            self._converged_at = active, left
        stop = found.stop + (f", {part:.0%} of it: beyond is noise" if part < 1 else "")
        update = np.float32(part) * found.update
        # Later cycles need the extended emission, because errors of the network on it must not count as points.
        taken = np.float32(part) * points.update
        self._extended = _sum(self._extended, update - taken)
        self._points = _sum(self._points, taken)
        return MinorCycle(
            update, int(np.count_nonzero(update)), float(np.abs(left).max()), stop, False, changes_pixels=True
        )

    def _why_done(self, residual: np.ndarray, expected: float, begun: bool) -> str:
        """Reason to stop the deconvolution; empty if there is none."""
        threshold, rms = self.settings.threshold, scatter(residual)
        if float(np.abs(residual).max()) <= threshold:
            return f"no residual above the threshold of {threshold:.3g} Jy/beam"
        # CLEAN stops at its own threshold, which is below the level at which a single peak differs from noise.
        cleaned = self._clean_stage.begun
        if not cleaned and (
            noise := describe_noise(
                residual, (MAX_NOISE_RMS if begun else MAX_FIRST_NOISE_RMS) * expected, self._convolver.sky
            )
        ):
            return noise
        if rms <= (CLEAN_STOP_RMS if cleaned else STOP_RMS) * expected:
            origin = "expected from the scatter of the data" if self._trusted else "in the residual"
            return f"the residual rms is {rms / expected:.2f} times the noise {origin}"
        return ""

    def _ask_network(
        self, points: Points, model: np.ndarray, noise: float, peak: float, active: np.ndarray
    ) -> tuple[Found, bool]:
        """Update by points and network together, and whether the network stopped before its last step."""
        # Points between pixels have negative pixels, but the network is trained on positive models.
        known = model + points.update
        start = np.maximum(known, 0) if self.settings.positive else known
        estimate, seen, lengths = self._infer(points.residual, start, noise, peak, active)
        update = estimate[0].cpu().numpy() - start + points.update
        shown = ", ".join(f"{float(length):.2f}" for length in lengths)
        log.debug("rim: noise %.3g, %.0f %% active, steps %s", noise, 100 * active.mean(), shown)
        stop = f"{len(lengths)} steps" + (f", isolated points: {points.number}" if points.number else "")
        left = self._convolver.on_sky(seen[0].cpu().numpy())
        return Found(update, left, stop), len(lengths) < self.machine.config.steps

    @property
    def _allowed(self) -> np.ndarray | None:
        """Pixels that may change, bool; None for all."""
        return None if self.settings.mask is None else self.settings.mask > 0

    def points(self, model: np.ndarray) -> np.ndarray:
        """Part of the model (y, x) that consists of isolated points, if all updates were accepted [Jy/pixel]."""
        return np.zeros_like(model) if self._points is None else self._points

    def expect(self, noise: float) -> bool:
        """Replace the expected noise [Jy/beam]; True, since CLEAN stage and final stages then start again."""
        self.settings = dataclasses.replace(self.settings, noise=noise)
        self._clean_stage = CleanStage(self.settings, self._threads)
        self._refiner = Refiner(self.settings, self._convolver)
        self._trusted, self._converged_at = True, None
        return True

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Facts and arrays that later cycles need; see `MinorCycleSolver.state`."""
        facts, arrays = self._clean_stage.state()
        facts |= {"trusted": self._trusted, "tile": self._convolver.tile}
        arrays |= self._refiner.state()
        if self._converged_at is not None:
            arrays |= dict(zip(("active", "left"), self._converged_at, strict=True))
        images = {"extended": self._extended, "points": self._points}
        return facts, arrays | {name: image for name, image in images.items() if image is not None}

    def resume(self, facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Continue from a `state`; the PSF must be the same as when it was saved."""
        arrays = {name: np.array(array) for name, array in arrays.items()}
        self._trusted, self._convolver.tile = facts["trusted"], facts["tile"]
        if "active" in arrays:
            self._converged_at = arrays.pop("active"), arrays.pop("left")
        self._extended, self._points = (arrays.pop(name, None) for name in ("extended", "points"))
        self._refiner.resume(arrays)
        self._clean_stage.resume(facts, arrays)

    def _has_converged(self, residual: np.ndarray, active: np.ndarray) -> bool:
        """Whether the network converged in the previous cycle, on nearly the same residual and active pixels."""
        if self._converged_at is None:
            return False
        before, left = self._converged_at
        new = np.count_nonzero(active & ~before)
        return bool(
            new <= MIN_FALL * np.count_nonzero(active) and scatter(residual - left) <= MIN_FALL * scatter(residual)
        )

    def _take_psf(self, psf: np.ndarray, shape: Sequence[int]) -> None:
        """Derive sidelobe levels and point finder from the PSF, if it has changed."""
        if self._convolver.set_psf(psf, shape):
            self._depths, self._far_depths = highest_sidelobes(crop_centre(psf, shape)), highest_sidelobes(psf)
            self._finder = PointFinder(psf, shape, self._threads, self.settings.positive, sizes=self.settings.sizes)

    def _take_points(self, residual: np.ndarray, noise: float, allowed: np.ndarray | None, peak: float) -> Points:
        """Isolated points, if the peak of the residual is above the detection threshold."""
        highest = (residual if self.settings.positive else np.abs(residual)).max()
        if self._finder is None or highest < level_for(residual.size, CLEAR) * noise:
            return Points(np.zeros_like(residual), residual, 0)
        return self._finder.take(residual, noise, self._convolver.convolve, allowed, self._extended, peak)

    def _begin_clean_stage(
        self,
        points: Points,
        psf: np.ndarray,
        model: np.ndarray,
        noise: float,
        expected: float,
    ) -> MinorCycle:
        """Run the first cycle of the CLEAN stage, after subtraction of isolated points."""
        minor = self._clean_stage(points.residual, psf, model + points.update, noise, expected, None)
        if not points.number:
            return minor
        self._points = _sum(self._points, points.update)
        text = f"{minor.stop}, isolated points: {points.number}"
        update, components = minor.update + points.update, minor.components + points.number
        return dataclasses.replace(minor, update=update, components=components, stop=text)

    def _infer(
        self, residual: np.ndarray, model: np.ndarray, noise: float, peak: float, active: np.ndarray
    ) -> Inferred:
        def steps(convolution: PsfConvolution) -> Inferred:
            residuals, models, where = (
                self._convolver.tensor(image) for image in (residual[None], model[None], active)
            )
            return self._run(convolution, residuals, models, where, noise, peak)

        return self._convolver.run(steps)

    def _run(
        self,
        convolution: PsfConvolution,
        residual: torch.Tensor,
        model: torch.Tensor,
        active: torch.Tensor,
        noise: float,
        peak: float,
    ) -> Inferred:
        """Estimate and residual after the steps of the network, and their lengths.

        The network is trained on positive skies. A sky of both signs is treated as the difference of two positive ones:
        first the positive part is updated, then the negative part, with the sign of the residual reversed.
        """
        if self.settings.positive:
            found = self._steps(convolution, residual, model, noise, peak, active)
            return found.estimates[-1], found.residual, found.lengths
        plus = self._steps(convolution, residual, model.clamp_min(0), noise, peak, active)
        minus = self._steps(convolution, -plus.residual, (-model).clamp_min(0), noise, peak, active)
        return plus.estimates[-1] - minus.estimates[-1], -minus.residual, plus.lengths + minus.lengths

    def _steps(
        self,
        convolution: PsfConvolution,
        residual: torch.Tensor,
        estimate: torch.Tensor,
        noise: float,
        peak: float,
        active: torch.Tensor,
    ) -> Inference:
        halo = min(self.machine.halo, HALO // self.machine.alignment * self.machine.alignment)
        options = InferenceOptions(tile=self._convolver.tile, active=active, halo=halo, least=MIN_STEP_CHANGE)
        found = self.machine(convolution, residual, noise, estimate, peak, options)
        if not torch.isfinite(found.estimates[-1]).all():
            image = found.estimates[-1][0].cpu().numpy()
            raise SolverError(
                f"The network's image has {_bad(image)}; the checkpoint may be faulty, try another --model."
            )
        return found


def _nothing(residual: np.ndarray, stop: str) -> MinorCycle:
    """A minor cycle without an update, for the reason `stop`."""
    return MinorCycle(np.zeros_like(residual), 0, float(np.abs(residual).max()), stop, True, changes_pixels=True)


def _sum(image: np.ndarray | None, update: np.ndarray) -> np.ndarray:
    return update if image is None else image + update


def _check(residual: np.ndarray, psf: np.ndarray, model: np.ndarray, noise: float) -> None:
    if residual.ndim != 2 or psf.ndim != 2 or any(p < r for p, r in zip(psf.shape, residual.shape, strict=True)):
        raise SolverError(f"The PSF has the shape {psf.shape}; it must cover the residual, {residual.shape}.")
    if model.shape != residual.shape:
        raise SolverError(f"The model has the shape {model.shape}; it must be the residual's, {residual.shape}.")
    for name, image in (("residual", residual), ("psf", psf), ("model", model), ("noise", np.asarray(noise))):
        if not np.isfinite(image).all():
            raise SolverError(f"The {name} has {_bad(image)}; the RIM needs finite values.")


def _bad(image: np.ndarray) -> str:
    """Text with the number of non-finite values of an image, and the smallest rectangle that contains them."""
    bad = ~np.isfinite(image)
    text = f"{np.count_nonzero(bad)} of {image.size} values NaN or infinite"
    if image.ndim == 2:
        y, x = (np.flatnonzero(bad.any(axis)) for axis in (1, 0))
        text += f" (rows y {y[0]}:{y[-1] + 1}, columns x {x[0]}:{x[-1] + 1})"
    return text

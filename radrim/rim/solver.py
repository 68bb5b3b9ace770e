"""The learned minor cycle: a trained machine on the residual of a whole image, its network on tiles with signal.

Convolution and step length belong to the whole image, only the network works tile by tile: the answer does not depend
on how the image was cut. Where there is nothing above the noise the network does not run, and the model stays as it is.
"""

import dataclasses
import logging
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch

from radrim.clean import CleanSettings, CleanSolver
from radrim.errors import SolverError
from radrim.minor import MinorCycle, Others
from radrim.rim.detection import CLEAR, describe_noise, find_active, highest_sidelobes, level_for, sidelobes
from radrim.rim.inputs import PsfConvolution
from radrim.rim.points import PointFinder, Points
from radrim.rim.prior import Prior, held_back, look_again
from radrim.rim.support import LOUDER, QUIET, tighten
from radrim.tile import crop_centre

log = logging.getLogger("radrim")

TRUST = 1.5, 2.0
"""More noise expected than so many times what the first residual shows, or a later one, from which some noise may have
been fitted, is not believed."""
FLOOR = 1.05
"""A residual with less than so many times the noise that was expected can be noise."""
LOOSE = 1.3
"""The same while nothing has been found: expectations are not exact, and small images have few independent pixels."""
LEAST = 0.92
"""No update may bring the rms of the residual below so many times the noise that was expected: it would fit noise."""
FITTED = 0.94
"""A residual with an rms of less than so many times the noise that was expected is left alone."""
DONE = 0.995
"""The same once CLEAN finishes: it goes deeper than the network, with less to show for it."""
SLOW = 0.1
"""A minor cycle that takes less than this part from the residual's rms was the network's last; CLEAN finishes."""
POINTS_FIRST = 0.2
"""Points that take more than this part from the residual's rms go alone: what their sidelobes, which are not the same
everywhere, leave of them is seen once they are subtracted exactly, and the network would take it for something."""
LITTLE = 0.008
"""A step of the network that changes the residual's rms by less than this part is the last one of its cycle."""
FINISH = 3.0, 0.7
"""CLEAN's automatic mask, as `level_for` has it, and its final threshold, in units of the noise."""
NEAR, LOOK_NEAR = 1.2, 2.0
"""A model is tightened at the end if the rms of its residual is at most so many times the noise that was expected; and
looked at again after that."""
LEAST_PART = 0.1
"""If the data bear less than this part of what a second look changes, nothing is changed."""
FREE = 0.95
"""It finds sources anywhere until a major cycle leaves more than this part of the noise: little is left to find."""
HALO = 56
"""Largest halo of a tile [pixel]. Networks of several blocks could see farther, but trained ones do not look."""
LOOK_TILE = 1024
"""Largest tile of the network that looks again [pixel]; what it sees around each is 176 pixels wide."""
SMALLEST = 128
"""Smallest tile that is tried when the memory of the GPU is not enough."""


@dataclass(frozen=True)
class RimSettings:
    """What the user decides about the learned minor cycle.

    Parameters
    ----------
    noise : float
        Expected of the dirty image [Jy/beam]; NaN if unknown.
    threshold : float
        Stop when no residual is above this [Jy/beam].
    positive : bool
        Stokes I; other Stokes parameters have either sign.
    tile : int
        Largest tile of the network [pixel].
    mask : (y, x) bool or None
        The model is 0 elsewhere.
    tighten : bool
        At the end, what the data do not need goes from the model of a positive sky (`radrim.rim.support`).
    prior : Prior or None
        After that, it looks again at the model (`radrim.rim.prior`).
    clean : CleanSettings
        Of the finish, but for its thresholds and its mask, which follow from `FINISH` and from these.
    """

    noise: float = float("nan")
    threshold: float = 0.0
    positive: bool = True
    tile: int = 1024
    mask: np.ndarray | None = None
    tighten: bool = True
    prior: Prior | None = None
    clean: CleanSettings = field(default_factory=CleanSettings)


class Found(NamedTuple):
    """An update [Jy/pixel], the residual after it by the PSF [Jy/beam], and what found it."""

    update: np.ndarray
    residual: np.ndarray
    stop: str


class RimSolver:
    """Minor cycles of one channel; every call sees the whole image.

    Parameters
    ----------
    machine : InferenceMachine
        For images, on the device it shall run on.
    settings : RimSettings
    threads : int
        Of CLEAN's finish; the network's are torch's.
    """

    psf_factor = 2
    """PSF over image: twice as large, the convolution is exact, and so is the noise that the network is told of."""

    def __init__(self, machine, settings=None, threads=1):
        self._threads = threads
        self.machine = machine
        self.settings = settings or RimSettings()
        self.tile = self.settings.tile
        self.device = next(machine.parameters()).device
        self._trusted = True
        self._psf: np.ndarray | None = None
        self._convolution: PsfConvolution | None = None
        self._shape = (0, 0)
        self._depths: list[float] = []
        self._far_depths: list[float] = []
        self._finder: PointFinder | None = None
        self._finishing = False
        self._settled: tuple[np.ndarray, np.ndarray] | None = None
        self._extended: np.ndarray | None = None
        self._clean: CleanSolver | None = None
        self._end, self._closed = "", 0
        self._held: np.ndarray | None = None
        self._resumed: tuple[dict, dict] | None = None

    def __call__(self, residual, psf, model, noise, window=None, peak=None, others=None):
        """One minor cycle.

        Parameters
        ----------
        residual : (y, x) float32
            [Jy/beam]
        psf : (y, x) float32
            Peak 1 at (ny // 2, nx // 2); as large as the image or larger.
        model : (y, x) float32
            Current model [Jy/pixel].
        noise : float
            Noise of the residual image [Jy/beam]; an upper limit to the thermal noise.
        window : (y, x) bool or float, optional
            The model changes only where it is above 0.
        peak : float, optional
            Largest |residual| of the whole image [Jy/beam]; that of `residual` if absent.
        others : Others, optional
            If this is a part of an image: what the other parts hold.

        Returns
        -------
        MinorCycle

        Raises
        ------
        SolverError
            NaN in an input, or arrays that do not fit; the memory of the GPU is not enough for any tile.
        """
        _check(residual, psf, model, noise)
        # A residual with far less noise than was expected shows that the expectation was wrong, for ever.
        self._trusted &= bool(0 < self.settings.noise <= TRUST[int(model.any())] * noise)
        expected = self.settings.noise if self._trusted else noise
        if self._end:
            minor = _nothing(residual, self._end)
        else:
            minor = self._improve(residual, psf, model, noise, expected, window, peak, others)
        # A part of an image cannot tell what is haze of the others.
        if not minor.converged or others is not None:
            return minor
        self._end = minor.stop
        if minor.update.any():  # whose exact residual is not known yet
            return dataclasses.replace(minor, converged=False)
        if self._held is None:
            self._held = held_back(model, self.extended(model))
        for close in (self._tighten, self._look_again)[self._closed :]:
            self._closed += 1
            found = close(residual, psf, model, expected, window)
            if found is not None:
                return found
        return minor

    def _improve(self, residual, psf, model, noise, expected, window, peak, others):
        """Points, network or CLEAN, whichever it is the turn of."""
        reason = self._why_done(residual, expected, model.any())
        if reason:
            return _nothing(residual, reason)
        if self._finishing and not (others and others.wait):
            return self._finish(residual, psf, model, noise, expected, window, peak)
        self._take_psf(psf, residual.shape)
        allowed, told = _both(self.settings.mask, window), min(expected, noise)
        points = self._take_points(residual, told, allowed, peak or 0.0)
        found = Found(points.update, points.residual, f"isolated points: {points.number}")
        # Without the points a residual can be noise, or so near to it that the network is not worth its while.
        near = points.residual.std() < FLOOR * expected
        finish = near and not (points.number and describe_noise(points.residual, FLOOR * expected))
        others = others or Others()
        above = [part * bright for part, bright in zip(sidelobes(self._far_depths), others.bands, strict=True)]
        active = find_active(points.residual, told, self._depths, above)
        if allowed is not None:
            active &= allowed
        settled, self._settled = self._has_settled(residual, active), None
        alone = points.residual.std() < (1 - POINTS_FIRST) * residual.std()
        if active.any() and not (near or settled or alone):
            brightest = peak if peak is not None and not points.number else float(np.abs(points.residual).max())
            found, settled = self._ask_network(points, model, told, brightest, active)
        part = _part_above(residual, found.residual, LEAST * expected)
        if not others.wait and (
            finish or not near and part * (1 - float(found.residual.std() / residual.std())) < SLOW
        ):
            self._finishing = True
            return self._finish_after(points, psf, model, noise, expected, window)
        left = residual + np.float32(part) * (found.residual - residual)
        if settled:
            self._settled = active, left
        stop = found.stop + (f", {part:.0%} of it: beyond is noise" if part < 1 else "")
        update = np.float32(part) * found.update
        # What the network found of a source is not perfect, and its errors are no points.
        extended = update - np.float32(part) * points.update
        self._extended = extended if self._extended is None else self._extended + extended
        return MinorCycle(update, int(np.count_nonzero(update)), float(np.abs(left).max()), stop, False)

    def _why_done(self, residual, expected, begun):
        """Why nothing is left to do, or an empty text."""
        threshold, rms = self.settings.threshold, float(residual.std())
        if float(np.abs(residual).max()) <= threshold:
            return f"no residual above the threshold of {threshold:.3g} Jy/beam"
        # CLEAN, once it has begun, stops by itself, below the level at which single peaks can be told from noise.
        cleaned = self._clean is not None or self._resumed is not None
        if not cleaned and (noise := describe_noise(residual, (FLOOR if begun else LOOSE) * expected)):
            return noise
        if rms <= (DONE if cleaned else FITTED) * expected:
            return f"the residual's rms is {rms / expected:.2f} of the noise expected"
        return ""

    def _ask_network(self, points, model, noise, peak, active):
        """What points and network together found, and whether the network left off by itself."""
        # Points between pixels have negative pixels, too, which are none of the network's business.
        known = model + points.update
        start = np.maximum(known, 0) if self.settings.positive else known
        estimate, seen, lengths = self._infer(points.residual, start, noise, peak, active)
        update = estimate[0].cpu().numpy() - start + points.update
        shown = ", ".join(f"{float(length):.2f}" for length in lengths)
        log.debug("rim: noise %.3g, %.0f %% active, steps %s", noise, 100 * active.mean(), shown)
        stop = f"{len(lengths)} steps" + (f", isolated points: {points.number}" if points.number else "")
        return Found(update, seen[0].cpu().numpy(), stop), len(lengths) < self.machine.config.steps

    def _tighten(self, residual, psf, model, noise, window):
        """The end of a deconvolution: what the data do not need goes from the model. None if that is nothing."""
        settings = self.settings
        if not (settings.tighten and self._near(residual, model, NEAR * noise)):
            return None
        self._take_psf(psf, residual.shape)
        lobe = self._on_device(lambda: self._convolution.widths().cpu().numpy())
        found = tighten(model, residual, self._convolve, lobe, noise, _both(settings.mask, window))
        if found is None:
            return None
        emptied = int(np.count_nonzero(found.update))
        stop = f"emptied what is below {found.level / noise:.1f} times the noise, and the data do not need"
        most = LOUDER * max(1.0, float(found.residual.std() / residual.std()))
        return MinorCycle(found.update, emptied, float(np.abs(found.residual).max()), stop, False, whole=most)

    def _look_again(self, residual, psf, model, noise, window):
        """Then the model that a prior of skies and the data make of this one, if they agree."""
        network, settings = self.settings.prior, self.settings
        if network is None or not self._near(residual, model, LOOK_NEAR * noise):
            return None
        self._take_psf(psf, residual.shape)
        allowed, seen = _both(settings.mask, window), model * ~self._held
        if not seen.any():
            return None

        def look():
            limit = None if allowed is None else self._tensor(allowed)
            tile = min(LOOK_TILE, 2 * self.tile)  # one step keeps less than the five of the minor cycle
            return look_again(
                network, self._tensor(seen), self._tensor(residual), self._convolution, noise, tile, limit
            )

        update = self._on_device(look).cpu().numpy() - seen
        left = residual - self._convolve(update)
        part = _part_below(residual, left, LOUDER * max(float(residual.std()), QUIET * noise))
        log.debug("a second look: the residual's rms is %.3f of what it was", left.std() / residual.std())
        if not part >= LEAST_PART:
            return None
        left = residual + np.float32(part) * (left - residual)
        update *= np.float32(part)
        stop = "a second look" + (f", {part:.0%} of it: the data bear no more" if part < 1 else "")
        most = LOUDER * max(1.0, float(left.std() / residual.std()))
        return MinorCycle(update, int(np.count_nonzero(update)), float(np.abs(left).max()), stop, False, whole=most)

    def extended(self, model):
        """What of the model (y, x) the network made, if no update was cut [Jy/pixel]."""
        return np.zeros_like(model) if self._extended is None else self._extended

    def _near(self, residual, model, most):
        """Whether a model of a positive sky leaves a residual of at most that rms."""
        return self.settings.positive and model.any() and 0 < residual.std() <= most

    def state(self):
        """What one cycle leaves to the next, for a run that goes on later: facts as JSON holds them, and arrays."""
        clean, arrays = ({}, {}) if self._clean is None else self._clean.state()
        if self._settled is not None:
            arrays = arrays | dict(zip(("active", "left"), self._settled, strict=True))
        if self._extended is not None:
            arrays = arrays | {"extended": self._extended}
        if self._held is not None:
            arrays = arrays | {"held": self._held}
        facts = {
            "trusted": self._trusted,
            "finishing": self._finishing,
            "tile": self.tile,
            "clean": clean,
            "end": self._end,
            "closed": self._closed,
        }
        return facts, arrays

    def resume(self, facts, arrays):
        """Go on from a `state`; the PSF of the next cycle must be that of the last."""
        arrays = {name: np.array(array) for name, array in arrays.items()}
        self._trusted, self._finishing, self.tile = (facts[name] for name in ("trusted", "finishing", "tile"))
        self._end, self._closed = facts["end"], facts["closed"]
        if "active" in arrays:
            self._settled = arrays.pop("active"), arrays.pop("left")
        self._extended, self._held = arrays.pop("extended", None), arrays.pop("held", None)
        self._resumed = (facts["clean"], arrays) if facts["clean"] else None

    def _has_settled(self, residual, active):
        """Whether the network has just left off by itself, here, at this residual: it would not do more."""
        if self._settled is None:
            return False
        before, left = self._settled
        new = np.count_nonzero(active & ~before)
        return new <= SLOW * np.count_nonzero(active) and (residual - left).std() <= SLOW * residual.std()

    def _take_psf(self, psf, shape):
        """What follows from the PSF, again only when it changes; its convolution is made where it is used."""
        if self._psf is None or not np.array_equal(self._psf, psf):
            self._psf, self._convolution, self._shape = psf.copy(), None, shape
            self._depths, self._far_depths = highest_sidelobes(crop_centre(psf, shape)), highest_sidelobes(psf)
            self._finder = PointFinder(psf, shape, self._threads, self.settings.positive)

    def _convolve(self, image):
        return self._on_device(lambda: self._convolution.normal(self._tensor(image)).cpu().numpy())

    def _take_points(self, residual, noise, allowed, peak):
        """Isolated points, if anything is bright enough to be one."""
        highest = (residual if self.settings.positive else np.abs(residual)).max()
        if highest < level_for(residual.size, CLEAR) * noise:
            return Points(np.zeros_like(residual), residual, 0)
        return self._finder.take(residual, noise, self._convolve, allowed, self._extended, peak)

    def _finish(self, residual, psf, model, noise, expected, window, peak):
        """CLEAN for what the network leaves: what it takes for empty sky, and what it cannot mend any more."""
        if self._clean is None:
            settings = self.settings
            self._clean = CleanSolver(
                dataclasses.replace(
                    settings.clean,
                    auto_mask=level_for(residual.size, FINISH[0]),
                    auto_threshold=FINISH[1],
                    noise_fall=FREE,
                    threshold=max(settings.threshold, FINISH[1] * expected),
                    mask=settings.mask,
                ),
                self._threads,
            )
            if self._resumed is not None:
                self._clean.resume(*self._resumed)
        psf = np.ascontiguousarray(crop_centre(psf, residual.shape))
        minor = self._clean(residual, psf, model, noise, window, peak)
        # On very sparse arrays CLEAN can fail far above the noise; what it changed may be enough for the network.
        self._finishing = minor.stop != "rising peak"
        if self.settings.mask is not None:  # the kernels of large scales reach beyond it
            minor.update[~self.settings.mask] = 0
        stop = f"CLEAN of what the network leaves: {minor.stop}"
        return dataclasses.replace(minor, stop=stop, finishing=True)

    def _finish_after(self, points, psf, model, noise, expected, window):
        """The first cycle of CLEAN's finish: of what isolated points leave."""
        minor = self._finish(points.residual, psf, model + points.update, noise, expected, window, None)
        if not points.number:
            return minor
        text = f"{minor.stop}, isolated points: {points.number}"
        update, components = minor.update + points.update, minor.components + points.number
        return dataclasses.replace(minor, update=update, components=components, stop=text)

    def _infer(self, residual, model, noise, peak, active):
        return self._on_device(
            lambda: self._run(self._tensor(residual)[None], self._tensor(model)[None], noise, peak, active)
        )

    def _on_device(self, work):
        """What `work` gives, with the PSF's convolution at hand; smaller tiles if the GPU's memory is not enough."""
        while True:
            try:
                if self._convolution is None:
                    self._convolution = PsfConvolution(self._tensor(self._psf), self._shape)
                with torch.inference_mode():
                    return work()
            except RuntimeError as error:
                # The Fourier transforms' library has no class of its own for that.
                if not isinstance(error, torch.OutOfMemoryError) and "CUFFT_ALLOC_FAILED" not in str(error):
                    raise
                self._convolution = None
                torch.cuda.empty_cache()
                if self.tile // 2 < SMALLEST:
                    ny, nx = self._shape
                    raise SolverError(
                        f"The GPU's memory is not enough for an image of {nx} x {ny} pixels, even with tiles of "
                        f"{self.tile}; use --device cpu, or a smaller --size."
                    ) from None
                self.tile //= 2
                log.warning("the GPU's memory is not enough; going on with tiles of %d pixels", self.tile)

    def _run(self, residual, model, noise, peak, active):
        """Estimate and residual after the steps of the network, and their lengths.

        The network knows positive skies only. A sky of both signs is the difference of two: first the positive one is
        improved, then the other, on the residual turned over.
        """
        active = self._tensor(active)
        if self.settings.positive:
            found = self._steps(residual, model, noise, peak, active)
            return found.estimates[-1], found.residual, found.lengths
        plus = self._steps(residual, model.clamp_min(0), noise, peak, active)
        minus = self._steps(-plus.residual, (-model).clamp_min(0), noise, peak, active)
        return plus.estimates[-1] - minus.estimates[-1], -minus.residual, plus.lengths + minus.lengths

    def _steps(self, residual, estimate, noise, peak, active):
        halo = min(self.machine.halo, HALO // self.machine.alignment * self.machine.alignment)
        found = self.machine(
            self._convolution,
            residual,
            noise,
            estimate,
            peak,
            positive=True,
            tile=self.tile,
            active=active,
            halo=halo,
            least=LITTLE,
        )
        if not torch.isfinite(found.estimates[-1]).all():
            image = found.estimates[-1][0].cpu().numpy()
            raise SolverError(f"The network's image has {_bad(image)}; is this checkpoint sound?")
        return found

    def _tensor(self, array):
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)


def _nothing(residual, stop):
    """The minor cycle that has nothing to do, and why."""
    return MinorCycle(np.zeros_like(residual), 0, float(np.abs(residual).max()), stop, True)


def _both(mask, window):
    """Where both allow it; None if neither is given."""
    given = [limit > 0 for limit in (mask, window) if limit is not None]
    return np.logical_and.reduce(given) if given else None


def _part_above(before, after, least):
    """How much of an update may be taken: all, or so much that the residual's rms does not fall below `least`."""
    square, slope, curve = _parabola(before, after, least)
    if square + 2 * slope + curve >= 0:
        return 1.0
    return float((-slope - np.sqrt(slope**2 - curve * square)) / curve)


def _part_below(before, after, most):
    """The same if its rms may not rise above `most`, from below it."""
    square, slope, curve = _parabola(before, after, most)
    if square + 2 * slope + curve <= 0:
        return 1.0
    return float((-slope + np.sqrt(slope**2 - curve * square)) / curve)


def _parabola(before, after, level):
    """Coefficients of the residual's mean square over `level`^2 when a part of an update is taken.

    With the residual r before and d = after - before, the mean of (r + a d)^2 is a parabola in a; r and d without their
    means, which are no noise: where diffuse flux is missing, residuals lie beside 0.
    """
    before = before.astype(np.float64)
    change = after - before
    before, change = before - before.mean(), change - change.mean()
    return np.mean(before**2) - level**2, np.mean(before * change), np.mean(change**2)


def _check(residual, psf, model, noise):
    if residual.ndim != 2 or psf.ndim != 2 or any(p < r for p, r in zip(psf.shape, residual.shape, strict=True)):
        raise SolverError(f"The PSF has the shape {psf.shape}; it must cover the residual, {residual.shape}.")
    if model.shape != residual.shape:
        raise SolverError(f"The model has the shape {model.shape}; it must be the residual's, {residual.shape}.")
    for name, image in (("residual", residual), ("psf", psf), ("model", model), ("noise", np.asarray(noise))):
        if not np.isfinite(image).all():
            raise SolverError(f"The {name} has {_bad(image)}; the RIM needs finite ones.")


def _bad(image):
    """How many values of an image are not finite, and the smallest rectangle that holds them."""
    bad = ~np.isfinite(image)
    text = f"{np.count_nonzero(bad)} of {image.size} values NaN or infinite"
    if image.ndim == 2:
        y, x = (np.flatnonzero(bad.any(axis)) for axis in (1, 0))
        text += f" (rows y {y[0]}:{y[-1] + 1}, columns x {x[0]}:{x[-1] + 1})"
    return text

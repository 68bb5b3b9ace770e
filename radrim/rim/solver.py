"""The learned minor cycle: a trained machine on the residual of a whole image, its network on tiles with signal.

Convolution and step length belong to the whole image, only the network works tile by tile: the answer does not depend
on how the image was cut. Where there is nothing above the noise the network does not run, and the model stays as it is.
"""

import dataclasses
import logging
from dataclasses import dataclass, field

import numpy as np
import scipy.ndimage
import scipy.special
import torch

from radrim.clean import CleanSettings, CleanSolver
from radrim.errors import SolverError
from radrim.metrics import noise_mad
from radrim.minor import MinorCycle
from radrim.rim.inputs import PsfConvolution
from radrim.rim.points import highest_sidelobe, take_points
from radrim.tile import crop_centre

log = logging.getLogger("radrim")

CLEAR = 5.5
"""So many times the noise is signal, as `level_for` has it: noise alone hardly ever does."""
TRUST = 1.5
"""More noise expected than so many times what the residual shows is not believed."""
DEPTH = 1 / 300
"""One minor cycle looks for sources down to this part of the brightest residual, or to the PSF's highest sidelobe."""
ADDED = 2.0
"""Sidelobes of extended emission add up: in bands of larger scale, to so many times those of the PSF."""
CELL = 32
"""Pixels of the cells that are active or not."""
REACH = 2
"""Active cells make their neighbours active, up to this distance: the network sees what surrounds a source."""
FLOOR = 1.05
"""A residual with less than so many times the noise that was expected can be noise."""
LOOSE = 1.3
"""The same while nothing has been found: expectations are not exact, and small images have few independent pixels."""
LEAST = 0.92
"""No update may bring the rms of the residual below so many times the noise that was expected: it would fit noise."""
FITTED = 0.94
"""A residual with an rms of less than so many times the noise that was expected is left alone."""
DONE = 0.99
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
FIELD = 1024 * 1024
"""Pixels of the largest image on which these levels were tried."""
FREE = 0.95
"""It finds sources anywhere until a major cycle leaves more than this part of the noise: little is left to find."""
SCALES = (0, 2, 8)
"""Standard deviations [pixel] of the Gaussians under which the residual must look like noise, too."""
HALO = 56
"""Largest halo of a tile [pixel]. Networks of several blocks could see farther, but trained ones do not look."""
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
    clean : CleanSettings
        Of the finish, but for its thresholds and its mask, which follow from `FINISH` and from these.
    """

    noise: float = float("nan")
    threshold: float = 0.0
    positive: bool = True
    tile: int = 1024
    mask: np.ndarray | None = None
    clean: CleanSettings = field(default_factory=CleanSettings)


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
        self._psf: np.ndarray | None = None
        self._convolution: PsfConvolution | None = None
        self._shape = (0, 0)
        self._depths: list[float] = []
        self._sidelobe = 0.0
        self._finishing = False
        self._settled: tuple[np.ndarray, np.ndarray] | None = None
        self._clean: CleanSolver | None = None

    def __call__(self, residual, psf, model, noise, window=None, peak=None):
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
            Largest |residual| [Jy/beam]; that of `residual` if absent.

        Returns
        -------
        MinorCycle

        Raises
        ------
        SolverError
            NaN in an input, or arrays that do not fit; the memory of the GPU is not enough for any tile.
        """
        settings = self.settings
        _check(residual, psf, model, noise)
        # A residual with far less noise than was expected shows that the expectation was wrong.
        expected = settings.noise if 0 < settings.noise <= TRUST * noise else noise
        told = min(expected, noise)
        highest = float(np.abs(residual).max())
        # CLEAN, once it has begun, stops by itself, below the level at which single peaks can be told from noise.
        quiet = "" if self._finishing else describe_noise(residual, (FLOOR if model.any() else LOOSE) * expected)
        if highest <= settings.threshold:
            quiet = f"no residual above the threshold of {settings.threshold:.3g} Jy/beam"
        elif not quiet and residual.std() <= (DONE if self._finishing else FITTED) * expected:
            quiet = f"the residual's rms is {residual.std() / expected:.2f} of the noise expected"
        if quiet:
            return MinorCycle(np.zeros_like(residual), 0, highest, quiet, True)
        if self._finishing:
            return self._finish(residual, psf, model, noise, expected, window, peak)
        self._take_psf(psf, residual.shape)
        allowed = None
        for limit in (settings.mask, window):
            if limit is not None:
                allowed = limit > 0 if allowed is None else allowed & (limit > 0)
        points, rest, count = self._take_points(residual, psf, told, allowed)
        # Without the points a residual can be noise, or so near to it that the network is not worth its while.
        near = rest.std() < FLOOR * expected
        self._finishing = near and not (points.any() and describe_noise(rest, FLOOR * expected))
        update, after, stop = points, rest, f"isolated points: {count}"
        active = find_active(rest, told, self._depths)
        if allowed is not None:
            active &= allowed
        settled, self._settled = self._has_settled(residual, active), None
        alone = rest.std() < (1 - POINTS_FIRST) * residual.std()
        if active.any() and not (near or settled or alone):
            brightest = float(np.abs(rest).max()) if points.any() or peak is None else peak
            # Points between pixels have negative pixels, too, which are none of the network's business.
            known = model + points
            start = np.maximum(known, 0) if settings.positive else known
            estimate, seen, lengths = self._infer(rest, psf, start, told, brightest, active)
            update, after = estimate[0].cpu().numpy() - start + points, seen[0].cpu().numpy()
            shown = ", ".join(f"{float(length):.2f}" for length in lengths)
            log.debug("rim: noise %.3g, %.0f %% active, steps %s", expected, 100 * active.mean(), shown)
            stop = f"{len(lengths)} steps" + (f", {stop}" if points.any() else "")
            settled = len(lengths) < self.machine.config.steps
        if not np.isfinite(update).all():
            raise SolverError("The network's update has NaN or infinite values; is this checkpoint sound?")
        part = _part_above(residual, after, LEAST * expected)
        if part < 1:
            stop += f", {part:.0%} of it: beyond is noise"
        if self._finishing or (not near and part * (1 - float(after.std() / residual.std())) < SLOW):
            self._finishing = True
            minor = self._finish(rest, psf, model + points, noise, expected, window, None)
            text = f"{minor.stop}, isolated points: {count}" if count else minor.stop
            return dataclasses.replace(
                minor, update=minor.update + points, components=minor.components + count, stop=text
            )
        left = residual + np.float32(part) * (after - residual)
        if settled:
            self._settled = active, left
        highest = float(np.abs(left).max())
        return MinorCycle(np.float32(part) * update, int(np.count_nonzero(update)), highest, stop, False)

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
            narrow = crop_centre(psf, shape)
            self._depths, self._sidelobe = highest_sidelobes(narrow), highest_sidelobe(narrow)

    def _take_points(self, residual, psf, noise, allowed):
        """Isolated points, the residual without them, and how many they are."""
        positive = self.settings.positive
        if (residual if positive else np.abs(residual)).max() < level_for(residual.size, CLEAR) * noise:
            return np.zeros_like(residual), residual, 0

        def convolve(image):
            return self._on_device(psf, lambda: self._convolution.normal(self._tensor(image)).cpu().numpy())

        return take_points(residual, psf, self._sidelobe, noise, convolve, allowed, self._threads, positive)

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
        psf = np.ascontiguousarray(crop_centre(psf, residual.shape))
        minor = self._clean(residual, psf, model, noise, window, peak)
        if self.settings.mask is not None:  # the kernels of large scales reach beyond it
            minor.update[~self.settings.mask] = 0
        return dataclasses.replace(minor, stop=f"CLEAN of what the network leaves: {minor.stop}")

    def _infer(self, residual, psf, model, noise, peak, active):
        return self._on_device(
            psf, lambda: self._run(self._tensor(residual)[None], self._tensor(model)[None], noise, peak, active)
        )

    def _on_device(self, psf, work):
        """What `work` gives, with the PSF's convolution at hand; smaller tiles if the GPU's memory is not enough."""
        while True:
            try:
                if self._convolution is None:
                    self._convolution = PsfConvolution(self._tensor(psf), self._shape)
                with torch.inference_mode():
                    return work()
            except torch.OutOfMemoryError:
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
        return self.machine(
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

    def _tensor(self, array):
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)


def _part_above(before, after, least):
    """How much of an update may be taken: all, or so much that the residual's rms does not fall below `least`.

    With the residual r before and d = after - before, the mean of (r + a d)^2 is a parabola in a.
    """
    before = before.astype(np.float64)
    change = after.astype(np.float64) - before
    if np.mean((before + change) ** 2) >= least**2:
        return 1.0
    square, slope, curve = np.mean(before**2) - least**2, np.mean(before * change), np.mean(change**2)
    return float((-slope - np.sqrt(slope**2 - curve * square)) / curve)


def bands(image):
    """An image as a sum of parts of growing scale, each given on its own cells.

    What single pixels add to the mean of 4 x 4, what these add to that of 16 x 16, and these themselves.

    Parameters
    ----------
    image : (y, x) array

    Returns
    -------
    list of (y, x) arrays
        Of (y, x), (y, x) / 4 and (y, x) / 16 cells, rounded up to whole cells of `CELL`.
    """
    image = np.pad(image, [(0, -n % CELL) for n in image.shape])
    levels = [image]
    for _ in range(2):
        y, x = (n // 4 for n in levels[-1].shape)
        levels.append(levels[-1].reshape(y, 4, x, 4).mean((1, 3)))
    finer = [a - b.repeat(4, 0).repeat(4, 1) for a, b in zip(levels[:-1], levels[1:], strict=True)]
    return [*finer, levels[-1]]


def highest_sidelobes(psf):
    """In each band the largest |value| of a PSF away from its centre, over that at the centre; at most 1.

    The main lobe ends where it first falls to 0; in bands of larger scale two cells more belong to it.
    """
    lobes, _ = scipy.ndimage.label(psf > 0)
    main = lobes == lobes[psf.shape[0] // 2, psf.shape[1] // 2]
    out = []
    for k, band in enumerate(bands(psf)):
        size = 4**k
        padded = np.pad(main, [(0, -n % CELL) for n in main.shape])
        inner = padded.reshape(band.shape[0], size, band.shape[1], size).any((1, 3))
        if k:
            inner = scipy.ndimage.binary_dilation(inner, np.ones((3, 3)), 2)
        inside, outside = np.abs(band[inner]).max(), np.abs(band[~inner]).max(initial=0.0)
        out.append(min(1.0, float(outside / max(inside, 1e-30))))
    return out


def level_for(pixels, level):
    """The level that noise in so many pixels exceeds as often as `level` in `FIELD`; not lower than that.

    The more pixels, the higher is the highest of noise alone: 5.5 becomes 6.0 in 4096 x 4096.

    Parameters
    ----------
    pixels : int
    level : float
        In units of the noise.
    """
    return max(level, -float(scipy.special.ndtri(scipy.special.ndtr(-level) * FIELD / pixels)))


def describe_noise(residual, most):
    """Why a residual counts as noise, or an empty text if it does not.

    Its rms must be small enough, and at no scale may a peak stand out of it: as it is, and smoothed, so that faint
    extended emission counts.

    Parameters
    ----------
    residual : (y, x) array
        [Jy/beam]
    most : float
        Largest rms of noise [Jy/beam].
    """
    rms = float(residual.std())
    if not rms <= most:
        return ""
    highest = 0.0
    for scale in SCALES:
        image = scipy.ndimage.gaussian_filter(residual, scale, mode="constant") if scale else residual
        highest = max(highest, float(np.abs(image).max()) / max(noise_mad(image), 1e-30))
    if highest > level_for(residual.size, CLEAR):
        return ""
    return f"the residual is noise (rms {rms:.3g} Jy/beam, no peak above {highest:.1f} sigma)"


def find_active(residual, noise, depths=(0.0, 0.0, 0.0)):
    """Where a minor cycle has something to do: cells with something far above the noise at any scale, and around them.

    What is fainter than the sidelobes of the brightest at its scale is left to the next cycle: it may be nothing else.

    Parameters
    ----------
    residual : (y, x) array
        [Jy/beam]
    noise : float
        [Jy/beam]
    depths : sequence of float
        Of each of the `bands`: part of its largest value down to which cells are active, at least `DEPTH`.

    Returns
    -------
    (y, x) bool
    """
    active, clear = np.zeros([-(-n // CELL) for n in residual.shape], bool), level_for(residual.size, CLEAR)
    for k, (band, depth) in enumerate(zip(bands(residual), depths, strict=True)):
        cell = CELL // 4**k
        highest = np.abs(band).reshape(active.shape[0], cell, active.shape[1], cell).max((1, 3))
        # Sidelobes of extended emission raise the scatter of a band, and what stands out of it.
        scatter = noise if k == 0 else max(noise_mad(band), noise / 4**k)
        active |= highest > max(clear * scatter, max(depth * (ADDED if k else 1), DEPTH) * float(highest.max()))
    if active.any():
        active = scipy.ndimage.binary_dilation(active, np.ones((3, 3)), REACH)
    return active.repeat(CELL, 0).repeat(CELL, 1)[: residual.shape[0], : residual.shape[1]]


def _check(residual, psf, model, noise):
    if residual.ndim != 2 or psf.ndim != 2 or any(p < r for p, r in zip(psf.shape, residual.shape, strict=True)):
        raise SolverError(f"The PSF has the shape {psf.shape}; it must cover the residual, {residual.shape}.")
    if model.shape != residual.shape:
        raise SolverError(f"The model has the shape {model.shape}; it must be the residual's, {residual.shape}.")
    for name, image in (("residual", residual), ("psf", psf), ("model", model), ("noise", np.asarray(noise))):
        if not np.isfinite(image).all():
            bad = np.count_nonzero(~np.isfinite(image))
            raise SolverError(
                f"The {name} has {bad} of {image.size} values NaN or infinite; the RIM needs finite ones."
            )

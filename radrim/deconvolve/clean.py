"""The reference minor cycle: Hogbom and multi-scale CLEAN with automatic masks and thresholds.

Multi-scale CLEAN is that of Cornwell (2008, IEEE JSTSP 2, 793) in the fast form of Offringa & Smirnov (2017, MNRAS 471,
301). It repeats three steps: select the scale whose biased peak is largest; clean only the bright pixels of this scale
(Clark's loop) until they have fallen by a fifth; subtract all new components at once by FFT. It departs from the papers
in three points:

- The residual stays in Fourier space, and each scale uses only its own band of frequencies: a kernel of 64 pixels needs
  only every eighth pixel. All large scales together cost about one FFT of the full image.
- The components of each step are scaled by the factor that lowers chi^2 most, at most 1 (see `CleanSolver._subtract`),
  so that chi^2 cannot rise within a minor cycle.
- Components of a scale are found only where its kernel fits inside the tile.
"""

import logging
import zlib
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import ducc0
import numpy as np

from radrim.deconvolve.clean_kernels import largest, stamp, subminor
from radrim.deconvolve.minor import MinorCycle, OtherFacets
from radrim.errors import ConfigError, SolverError

log = logging.getLogger("radrim")

# Smallest and largest side of the periodic grid, over that of the tile; between them it is that of the PSF. Beyond 1.5
# the accuracy does not improve.
PADDING = (1.2, 1.5)
# Fraction by which the peak falls in one run of Clark's loop (Offringa & Smirnov's sub-minor gain).
SUBMINOR_GAIN = 0.2
# Lowest level of a source outside the mask that opens the mask again, in units of the noise.
RISING_PEAK = "rising peak"
"""Why a minor cycle ended that diverged."""
CLEAR = 5.0
# Attributes of a solver that belong to its state, beside the masks.
REMEMBERED = ("found", "masked", "mask_reached", "reopened", "noise")


@dataclass(frozen=True)
class CleanSettings:
    """Options of CLEAN.

    Parameters
    ----------
    niter : int
        Largest total number of components of a tile.
    gain : float
        Loop gain: fraction of the peak that is subtracted per component, in (0, 1].
    mgain : float
        Fraction of the peak that one minor cycle may remove before the exact residual is computed again, in (0, 1].
    auto_mask : float or None
        Level of the automatic mask, in units of the noise. CLEAN works without a mask down to this level, and below it
        only in pixels where it found components before. None for no mask.
    auto_threshold : float
        Final threshold, in units of the noise.
    threshold : float
        Final threshold [Jy/beam]; the higher one of both thresholds counts.
    multiscale : bool
        Whether there are extended kernels. False is Hogbom's CLEAN, with points only.
    scales : tuple of float or None
        Full widths of the kernels [pixel], 0 for points. None for 0, four times the beam's width, and further
        doublings. The half-power width of a kernel is 0.45 of its full width.
    scale_bias : float
        Bias towards large scales: the peak of the n-th doubling is multiplied by scale_bias**-n, as in WSClean. A
        smaller value prefers larger scales.
    negative : bool
        Whether components may be negative.
    mask : (y, x) bool or None
        Pixels in which components may be found: the part of the user's mask that covers the tile.
    noise_fall : float
        Ratio of the noise after a major cycle to that before, above which the automatic mask is closed.

    Raises
    ------
    ConfigError
        A value outside its range.
    """

    niter: int = 1_000_000
    gain: float = 0.1
    mgain: float = 0.8
    auto_mask: float | None = 3.0
    auto_threshold: float = 0.5
    threshold: float = 0.0
    multiscale: bool = True
    scales: tuple[float, ...] | None = None
    scale_bias: float = 0.6
    negative: bool = True
    mask: np.ndarray | None = None
    noise_fall: float = 0.7

    def __post_init__(self):
        for name in ("gain", "mgain", "scale_bias"):
            value = getattr(self, name)
            if not 0 < value <= 1:
                raise ConfigError(f"CLEAN's {name} is {value:g}; it must be above 0 and at most 1.")
        for name in ("niter", "auto_threshold", "threshold"):
            value = getattr(self, name)
            if not value >= 0:
                raise ConfigError(f"CLEAN's {name} is {value:g}; it must not be negative.")
        if self.auto_mask is not None and not self.auto_mask >= self.auto_threshold:
            raise ConfigError(
                f"auto_mask is {self.auto_mask:g} sigma, below auto_threshold, {self.auto_threshold:g} sigma; "
                "the mask is made above the final threshold: raise auto_mask, or switch it off."
            )
        if self.scales is not None and (len(self.scales) == 0 or min(self.scales) < 0):
            raise ConfigError(f"CLEAN's scales are {self.scales}; give at least one width in pixels, 0 for points.")


def _kernel(size):
    """Kernel of one scale, with unit sum: (1 - r^2/R^2)^3 of the full width 2R = `size` pixels; one pixel for size 0.

    The kernel is smooth at its edge, so that its transform is negligible beyond the band of the coarse grid.
    """
    radius = int(np.ceil(size / 2))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    shape = np.clip(1 - (x * x + y * y) / max(size / 2, 0.5) ** 2, 0, None) ** 3
    return (shape / shape.sum()).astype(np.float32)


def _around_origin(image, shape):
    """`image` on a periodic grid of `shape`, with its centre pixel (ny // 2, nx // 2) moved to [0, 0]."""
    out = np.zeros(shape, np.float32)
    (ny, nx), (height, width) = image.shape, shape
    rows, columns = min(ny, height), min(nx, width)
    y0, x0 = ny // 2 - rows // 2, nx // 2 - columns // 2
    out[:rows, :columns] = image[y0 : y0 + rows, x0 : x0 + columns]
    return np.roll(out, (-(rows // 2), -(columns // 2)), (0, 1))


def _rfft2(image, threads):
    return ducc0.fft.r2c(image, nthreads=threads)


def _irfft2(ft, width, threads):
    return ducc0.fft.c2r(ft, lastsize=width, forward=False, inorm=2, nthreads=threads, allow_overwriting_input=True)


def _band(ft, shape):
    """The low frequencies of the half-plane transform `ft` that fit on a grid of `shape`."""
    height, width = shape
    if height == ft.shape[0]:
        return ft
    columns = width // 2 + 1
    return np.concatenate([ft[: height // 2, :columns], ft[ft.shape[0] - height // 2 :, :columns]])


def beam_width(psf: np.ndarray) -> float:
    """Width of the PSF's main lobe [pixel]: diameter of a circle with the area in which the PSF exceeds one half."""
    import scipy.ndimage

    lobes, _ = scipy.ndimage.label(psf > 0.5 * psf.max())
    centre = lobes[psf.shape[0] // 2, psf.shape[1] // 2]
    return float(np.sqrt(4 / np.pi * np.count_nonzero(lobes == centre)))


class _Peak(NamedTuple):
    size: float  # weighted by the scale's bias
    scale: "_Scale"
    image: np.ndarray


class _Scale:
    """One scale: its kernel, its coarse periodic grid, and its PSF on this grid."""

    def __init__(self, size, step, bias, transfer, grid, threads):
        self.size, self.step, self.threads = size, step, threads
        self.grid = (grid[0] // step, grid[1] // step)
        self.kernel = _kernel(size)
        kernel_ft = _band(_rfft2(_around_origin(self.kernel, grid), threads).real, self.grid)
        if step > 1:  # the highest frequency of a coarse grid is not its own conjugate on the fine one
            kernel_ft[self.grid[0] // 2] = 0
            kernel_ft[:, -1] = 0
        self.kernel_ft = kernel_ft.astype(np.float32)
        self.transfer = self.kernel_ft * _band(transfer, self.grid)
        self.psf = self.image(self.transfer.astype(np.complex64))
        # |residual| / sqrt(peak of this PSF) ranks scales by the fall of chi^2. If short spacings dominate, this factor
        # grows more slowly with the scale than the bias, which alone would always select the largest scale.
        self.bias = min(bias, max(float(self.psf[0, 0]), 1e-12) ** -0.5)
        self.allowed = None
        self.mask = None
        self.components = None

    def image(self, ft_band):
        """Inverse transform of a band times the kernel, on the coarse grid."""
        ft = ft_band * (self.kernel_ft / np.float32(self.step**2))
        return _irfft2(ft, self.grid[1], self.threads)


class CleanSolver:
    """Minor cycles of CLEAN on one tile of one channel; keeps its automatic masks between major cycles.

    Parameters
    ----------
    settings : CleanSettings
    threads : int
        Threads of the Fourier transforms.
    """

    psf_factor = 1

    def __init__(self, settings=None, threads=1):
        self.settings = settings or CleanSettings()
        self.threads = threads
        self._psf = None
        self._scales = []
        self._masks: dict = {}
        self._stamp: int | None = None
        """Checksum of the PSF to which the masks belong."""
        self.reset()

    def reset(self) -> None:
        """Reset masks and counts, to clean another residual; keeps scales and grids, which depend on the PSF alone."""
        self._found = 0
        self._masked = False
        self._mask_reached = False
        self._reopened = False
        self._noise = np.inf
        for scale in self._scales:
            scale.mask[:] = False

    def limit(self, mask: np.ndarray | None) -> None:
        """Set the mask of the next minor cycles, (y, x) bool: pixels that may hold components; None for all."""
        self.settings = replace(self.settings, mask=mask)

    def expect(self, noise: float) -> bool:  # noqa: ARG002 - CLEAN uses the residual's noise
        """See `MinorCycleSolver.expect`. False: CLEAN uses the noise of the residual, not the expected noise."""
        return False

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """See `MinorCycleSolver.state`."""
        facts = {name: getattr(self, f"_{name}") for name in REMEMBERED}
        facts["psf"] = self._stamp
        return facts, {f"mask{k}": scale.mask for k, scale in enumerate(self._scales)}

    def resume(self, facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """See `MinorCycleSolver.resume`."""
        for name in REMEMBERED:
            setattr(self, f"_{name}", facts[name])
        self._masks, self._stamp = dict(arrays), facts["psf"]

    def __call__(
        self,
        residual: np.ndarray,
        psf: np.ndarray,
        model: np.ndarray,  # noqa: ARG002 - CLEAN does not use it
        noise: float,
        peak: float | None = None,
        others: OtherFacets | None = None,  # noqa: ARG002 - CLEAN does not use it
    ) -> MinorCycle:
        """Run one minor cycle; see `MinorCycleSolver`."""
        settings = self.settings
        _check(residual, psf, noise, settings.mask)
        self._prepare(psf, residual.shape)
        ft = _rfft2(_padded(residual, self._grid), self.threads)
        self._choose_stage(noise, self._peaks(ft, masked=False)[0].size)
        free = settings.auto_mask if not self._masked else None
        final = max((settings.auto_threshold if free is None else free) * noise, settings.threshold)
        brightest = self._peaks(ft, self._masked)[0].size
        if peak is not None and not self._masked and settings.mask is None:
            # With a mask, the brightest pixels of the image may lie outside it, where they are not cleaned.
            brightest = max(brightest, peak)
        level = max(final, (1 - settings.mgain) * brightest)
        for scale in self._scales:
            scale.components = np.zeros(scale.allowed.shape, np.float32)
        count, left, stop = self._minor(ft, level)
        self._found += count
        update = np.zeros(residual.shape, np.float32)
        for scale in self._scales:
            stamp(update, scale.components, scale.kernel, scale.step)
            if free:
                scale.mask |= scale.components != 0
        reached = stop == "" and level == final
        self._mask_reached = bool(free and reached)
        hidden = self._masked and self._hides_sources(noise, self._peaks(ft, masked=False)[0].size)
        if stop == "":
            stop = ("mask threshold" if free else "final threshold") if reached else "major-cycle threshold"
        converged = (reached and not free and not hidden) or self._found >= settings.niter
        return MinorCycle(update, count, left, stop, converged, diverged=stop == RISING_PEAK)

    def _choose_stage(self, noise, peak):
        """Close the automatic mask, or open it again; `peak` is the largest of the whole tile.

        The first estimates of the noise contain sidelobes, so the mask is closed when the noise no longer falls. It is
        opened once if there are sources outside it. Repeated opening would fit the noise, since cleaning noise lowers
        the measured noise.
        """
        if self._masked:
            if self._hides_sources(noise, peak):
                self._masked, self._reopened = False, True
        else:
            quiet = noise > self.settings.noise_fall * self._noise or self._reopened
            self._masked = bool(self._mask_reached and quiet)
            self._noise = float(noise)

    def _hides_sources(self, noise, peak):
        level = max(CLEAR, self.settings.auto_mask or 0.0)
        return not self._reopened and noise < 0.8 * self._noise and peak > level * noise

    def _minor(self, ft, level):
        """Clean the residual with the transform `ft` down to `level`; changes `ft` in place.

        Returns the number of components, the largest remaining peak, and why the loop ended; empty if at `level`.
        """
        settings = self.settings
        count, lowest = 0, np.inf
        since: list[tuple] = []
        while True:
            peaks = self._peaks(ft, self._masked)
            best, scale, image = peaks[0]
            if best < lowest:
                lowest, since = best, []
            elif best > 2 * lowest:  # impossible with a real PSF: return to the lowest peak
                for scale, new, found in since:
                    scale.components -= new
                    count -= found
                return count, lowest, RISING_PEAK
            if best <= level:
                return count, best, ""
            left = settings.niter - self._found - count
            if left <= 0:
                return count, best, "component limit"
            inner = max((1 - SUBMINOR_GAIN) * best, level) / scale.bias
            new = np.zeros(scale.allowed.shape, np.float32)
            found, projection, curvature = subminor(
                image, self._where(scale, self._masked), scale.psf, new, inner, settings.gain, left, settings.negative
            )
            log.debug("clean: scale %g px, peak %.4g, %d components", scale.size, best, found)
            self._subtract(ft, scale, new, projection, curvature)
            since.append((scale, new, found))
            count += found

    def _peaks(self, ft, masked):
        """The peak of each scale, largest first; `image` is the residual convolved with the scale's kernel."""
        found = []
        for scale in self._scales:
            image = scale.image(_band(ft, scale.grid))[: scale.allowed.shape[0], : scale.allowed.shape[1]]
            value = largest(image, self._where(scale, masked), self.settings.negative)
            found.append(_Peak(scale.bias * abs(value), scale, image))
        return sorted(found, key=lambda peak: -peak.size)

    def _where(self, scale, masked):
        return scale.allowed & scale.mask if masked else scale.allowed

    def _subtract(self, ft, scale, components, projection, curvature):
        """Subtract the components of one scale from the residual, at the step length that lowers chi^2 most.

        With components d, residual r and PSF convolution G, chi^2 changes by -2 a <d, r> + a^2 <d, G d> along a d. It
        is lowest at a = <d, r> / <d, G d>. The loop gain usually makes a larger than 1, and a is clipped to 1. It is
        below 1 if Clark's loop has found too much flux.
        """
        length = np.float32(min(1.0, projection / curvature) if curvature > 0 else 1.0)
        components *= length
        spectrum = _rfft2(_padded(components, scale.grid), self.threads)
        spectrum *= scale.transfer
        if scale.step == 1:
            ft -= spectrum
        else:
            half, columns = scale.grid[0] // 2, scale.grid[1] // 2 + 1
            ft[:half, :columns] -= spectrum[:half]
            ft[ft.shape[0] - half :, :columns] -= spectrum[half:]
        scale.components += components

    def _prepare(self, psf, shape):
        """Set up the scales and their grids if the PSF has changed, and the pixels that may hold components."""
        import scipy.fft

        if self._psf is None or self._psf.shape != psf.shape or not np.array_equal(self._psf, psf):
            self._psf = psf.copy()
            stamp = zlib.crc32(self._psf)
            if stamp != self._stamp:  # the grids of the scales may be other ones
                self._masks, self._stamp = {}, stamp
            sizes = self._sizes(psf, shape)
            steps = [int(2 ** np.clip(np.floor(np.log2(max(size, 1) / 6.5)), 0, 4)) for size in sizes]
            unit = 2 * max(steps)
            least = [min(max(p, PADDING[0] * n), PADDING[1] * n) for p, n in zip(psf.shape, shape, strict=True)]
            self._grid = tuple(unit * scipy.fft.next_fast_len(int(np.ceil(n / unit)), real=True) for n in least)
            transfer = _rfft2(_around_origin(psf, self._grid), self.threads).real
            first = min((size for size in sizes if size > 0), default=1)
            self._scales = []
            for size, step in zip(sizes, steps, strict=True):
                bias = self.settings.scale_bias ** -(1 + np.log2(size / first)) if size > 0 else 1.0
                scale = _Scale(size, step, bias, transfer, self._grid, self.threads)
                kept = self._masks.get(f"mask{len(self._scales)}")
                scale.mask = np.zeros(tuple(-(-n // step) for n in shape), bool) if kept is None else np.array(kept)
                self._scales.append(scale)
            self._masks = {}
        for scale in self._scales:
            scale.allowed = _allowed(shape, scale, self.settings.mask)

    def _sizes(self, psf, shape):
        if not self.settings.multiscale:
            return (0,)
        if self.settings.scales is not None:
            return tuple(s for s in self.settings.scales if s < min(shape) / 2)
        sizes, size = [0.0], 4 * beam_width(psf)
        while size < min(shape) / 2:
            sizes.append(size)
            size *= 2
        return tuple(sizes)


def _allowed(shape, scale, mask):
    """Pixels of a scale's grid that may hold the centre of a component, bool."""
    allowed = np.ones(shape, bool)
    if mask is not None:
        allowed &= mask
    border = scale.kernel.shape[0] // 2
    inside = np.zeros(shape, bool)
    inside[border : shape[0] - border, border : shape[1] - border] = True
    return np.ascontiguousarray((allowed & inside)[:: scale.step, :: scale.step])


def _padded(image, shape):
    out = np.zeros(shape, np.float32)
    out[: image.shape[0], : image.shape[1]] = image
    return out


def _check(residual, psf, noise, mask):
    if residual.ndim != 2 or psf.ndim != 2 or any(p < r for p, r in zip(psf.shape, residual.shape, strict=True)):
        raise SolverError(f"The PSF has the shape {psf.shape}; it must cover the residual, {residual.shape}.")
    if mask is not None and mask.shape != residual.shape:
        raise SolverError(f"The mask has the shape {mask.shape}; it must be the residual's, {residual.shape}.")
    for name, image in (("residual", residual), ("psf", psf), ("noise", np.asarray(noise))):
        if not np.isfinite(image).all():
            bad = np.count_nonzero(~np.isfinite(image))
            raise SolverError(
                f"The {name} has {bad} of {image.size} values NaN or infinite; CLEAN needs finite values."
            )

"""A quick look at the whole primary beam, which says how much of it an image must hold.

Shorter baselines make a coarse dirty image out to the first null of the primary beam. A few cycles of CLEAN take its
sidelobes away; what then stands above the noise are the sources. The field is the smallest square around the phase
centre that holds them. Sources far out may stay outside if they are faint beside the others and their sidelobes inside
lie below the noise of the image.

The result is the same in every run of the same data: no random numbers but those of a fixed seed, and a fixed number of
threads.
"""

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from radrim.beam import Beam, fit_beam, restore, theoretical_beam
from radrim.config.values import Weighting
from radrim.deconvolve.clean import CleanSettings, CleanSolver
from radrim.geometry import C, ImageGrid, axes, format_angle, n_minus_1
from radrim.measure.measurement import Measurement, OperatorChoice
from radrim.metrics import residual_noise
from radrim.operator.gridder import estimate_seconds
from radrim.operator.w_term import max_w
from radrim.units import si
from radrim.visibilities import Observation, Visibilities
from radrim.weight.imaging import apply_weights

log = logging.getLogger("radrim")


@dataclass(frozen=True)
class LookSettings:
    """How a quick look is made."""

    sizes: tuple[int, ...] = (1152, 768)
    """Sizes of the look, the first of which is taken that is quick enough [pixel]. Baselines that need smaller pixels
    are left out."""
    pixels_per_fringe: float = 3.0
    """Pixels of the look across a fringe of its longest baseline."""
    seconds: float = 6.0
    """Longest estimated time of the look's transforms on one core [s]; measured ones are 0.1 to 0.6 of it."""
    min_share: float = 0.2
    """Least part of the weight of all samples that a look has, whatever its time: it sees sources twice as bright as
    the faintest that all samples show."""
    max_samples: int = 8_000_000
    """Largest number of samples. Of more, rows are drawn."""
    cycles: int = 3
    """Largest number of major cycles of CLEAN."""
    progress: float = 0.9
    """Ratio of the noise after a major cycle to that before it, above which it was the last."""
    components: int = 5000
    """Largest number of components of CLEAN."""
    depth: float = 4.0
    """Threshold of CLEAN [noise of the look]."""
    epsilon: float = 1e-3
    """Accuracy of the transforms."""
    threads: int = 2
    """Threads of the transforms. Their number sets the order of sums, hence their last digits."""
    seed: int = 0
    """Of the rows that are drawn."""


@dataclass(frozen=True)
class SourceSettings:
    """What counts as a source of the look."""

    scales: tuple[float, ...] = (0.0, 6.0, 24.0)
    """Widths (sigma) of Gaussians with which the image is smoothed before sources are sought [pixel of the look]:
    faint extended emission stands out in smoothed images."""
    peak: float = 5.0
    """Least peak [noise of the look]. Noise alone reaches 5 in one look of twenty."""
    edge: float = 3.0
    """Brightness down to which a source extends [noise of the look]."""
    over_negative: float = 1.2
    """Least peak over the deepest negative at its distance from the centre and beyond: errors of calibration have both
    signs."""
    outer: float = 0.8
    """Fraction of the distance of a source from which on negatives count."""
    cleaned: float = 0.3
    """Least part of the peak that CLEAN has found in an image that is not smoothed; the rest is noise, or a sidelobe
    that CLEAN did not take for a source."""

    left_of_sidelobes: float = 0.2
    """Part of the sidelobes of brighter sources that a few cycles of CLEAN may leave, or take for sources: with nine
    antennas, a source of 1 Jy left false ones of 4 mJy where its sidelobes have an rms of 50 mJy."""


@dataclass(frozen=True)
class FieldSettings:
    """How the field follows from the sources."""

    margin: float = 1.25
    """Width of the field over that of the smallest square with all sources."""
    beams: float = 100.0
    """Least width of the field [FWHM of the final PSF]: around a point there must be room to measure noise."""
    min_pixels: int = 512
    """Fields that need fewer pixels than this are not looked at: they cost less than a look."""
    gain: float = 0.7
    """Largest width over that of the primary beam with which the smaller field is taken, and largest ratio of a field
    without distant sources to one with them: half of the pixels. Faint edges of emission that fills the primary beam
    are not seen by a look, and shall not be cut."""
    distance: float = 20.0
    """Least distance of a source outside from the field [FWHM of the look's PSF]."""
    flux: float = 0.05
    """Largest flux of all sources outside, over that of those inside."""
    brightness: float = 50.0
    """Largest flux of a source outside [noise of the image]. Brighter ones are worth an image, and errors of
    calibration around them reach far."""
    sidelobes: float = 0.5
    """Largest rms of the sidelobes of sources outside on the field [noise of the image]."""
    most_inside: int = 10
    """Largest number of sources inside with which any may stay outside. Those around more belong to the same
    population: a survey's field, or the Galaxy's."""
    named: int = 3
    """Number of sources outside that are named."""


@dataclass(frozen=True)
class Source:
    """A source of the look.

    Parameters
    ----------
    flux : float
        [Jy]
    l, m : float
        Direction cosines of its peak.
    reach : float
        Largest ``|l|`` or ``|m|`` of any of its pixels.
    """

    flux: float
    l: float
    m: float
    reach: float


@dataclass(frozen=True)
class Look:
    """What a quick look saw.

    Parameters
    ----------
    grid : ImageGrid
    beam : Beam
    sources : list of Source
        By their reach, the nearest first.
    noise : float
        Noise of an image of all samples, as what the look shows suggests [Jy/beam].
    sidelobes : (pixel,) float64
        Rms of the PSF at a distance of so many pixels of the look and beyond it.
    """

    grid: ImageGrid
    beam: Beam
    sources: list[Source]
    noise: float
    sidelobes: np.ndarray


def look_at(observation: Observation, width: float, settings: LookSettings = LookSettings()) -> Look:
    """Look at a field of a width [rad] around the phase centre.

    Parameters
    ----------
    observation : Observation
        With natural weights; not changed.
    width : float
    settings : LookSettings

    Raises
    ------
    RadrimError
        Too few data for an image.
    """
    begin = time.perf_counter()
    blocks, grid, share = _coarse(observation, width, settings)
    _, thermal = apply_weights(blocks, grid, Weighting())
    how = OperatorChoice("wgridder", settings.epsilon, settings.threads)
    measured = Measurement(blocks, grid, how)
    wide = replace(grid, width=grid.width * 3 // 2, height=grid.height * 3 // 2)
    psf = (Measurement(blocks, wide, how) if wide.max_n_term < 1 else measured).psf()
    model, residual = _clean(measured, psf, settings)
    beam = fit_beam(psf, grid.scale, theoretical_beam(observation.longest_baseline()) * max(1.0, _coarseness(
        grid, observation, settings)), "lobe")  # fmt: skip
    noise = residual_noise(residual)
    image = restore(model, beam, grid.scale, settings.threads)
    sidelobes = _sidelobes(psf)
    found = _believed(find_sources(image, residual, model, grid), grid, sidelobes, SourceSettings())
    every = sum(float(block.weight.sum(dtype=np.float64)) for block in observation.blocks)
    log.debug(
        "Quick look: %d x %d pixels of %s, %.0f %% of the weight, %d samples, noise %.3g Jy/beam, %d sources, %.1f s.",
        grid.width, grid.height, format_angle(grid.scale), 100 * share, measured.samples, noise, len(found),
        time.perf_counter() - begin,
    )  # fmt: skip
    return Look(grid, beam, found, noise * min(1.0, every**-0.5 / thermal), sidelobes)


def _coarseness(grid, observation, settings):
    """Length of the longest baseline over that of the look's longest."""
    return settings.pixels_per_fringe * grid.scale * observation.longest_baseline()


def _coarse(observation, width, settings):
    """The samples of a look, its grid, and its part of the weight of all samples."""
    longest = observation.longest_baseline()
    finest = math.ceil(width * settings.pixels_per_fringe * longest / 32) * 32
    every = sum(float(block.weight.sum(dtype=np.float64)) for block in observation.blocks)
    largest_w = max(max_w(block.uvw, block.freq) for block in observation.blocks)
    rng = np.random.default_rng(settings.seed)
    wanted = sorted({min(size, finest) for size in settings.sizes}, reverse=True)
    for k, pixels in enumerate(wanted):
        scale = width / pixels
        fewer, part = _shorter(observation.blocks, 1 / (settings.pixels_per_fringe * scale), every)
        if k and part < settings.min_share:
            break
        blocks, share, grid = fewer, part, ImageGrid(pixels, pixels, scale, observation.ra, observation.dec)
        samples = min(sum(block.data.size for block in blocks), settings.max_samples)
        seconds = 2 * (1 + settings.cycles) * estimate_seconds(grid, largest_w, samples, settings.epsilon)
        if seconds <= settings.seconds:
            break
    total = sum(block.data.size for block in blocks)
    if total > settings.max_samples:
        drawn = [np.flatnonzero(rng.random(len(block.uvw)) < settings.max_samples / total) for block in blocks]
        blocks = [block.select_rows(rows) for block, rows in zip(blocks, drawn, strict=True) if len(rows)]
    return blocks, grid, share


def _shorter(blocks: Sequence[Visibilities], longest: float, every: float) -> tuple[list[Visibilities], float]:
    """Samples of baselines up to `longest` wavelengths, and their part of the weight of `every`."""
    found, sum_weight = [], 0.0
    for block in blocks:
        near = block.uv_length * (float(block.freq.min()) / C) <= longest
        rows = np.flatnonzero(near)
        part = replace(block.select_rows(rows), others={})
        lengths = part.uv_length[:, None] * (part.freq / C)
        part.weight = np.where(lengths <= longest, part.weight, np.float32(0))
        sum_weight += float(part.weight.sum(dtype=np.float64))
        if part.weight.any():
            found.append(part)
    return found, sum_weight / every


def _clean(measured, psf, settings):
    """Model [Jy/pixel] and residual [Jy/beam] after some cycles of CLEAN."""
    solver = CleanSolver(
        CleanSettings(niter=settings.components, mgain=0.9, auto_mask=settings.depth, auto_threshold=settings.depth),
        settings.threads,
    )
    residual = measured.dirty()
    model, noise = np.zeros_like(residual), residual_noise(residual)
    for _ in range(settings.cycles):
        cycle = solver(residual, psf, model, noise)
        if not cycle.components:
            break
        candidate = model + cycle.update
        left = measured.residual(candidate)
        if left.std() > residual.std():
            break
        before, noise = noise, residual_noise(left)
        model, residual = candidate, left
        if cycle.converged or noise > settings.progress * before:
            break
    return model, residual


def _sidelobes(psf):
    """Rms of the PSF at a distance [pixel] and beyond it."""
    y, x = np.ogrid[: psf.shape[0], : psf.shape[1]]
    distance = np.hypot(y - psf.shape[0] // 2, x - psf.shape[1] // 2).astype(np.int64).ravel()
    power, count = np.bincount(distance, psf.ravel().astype(np.float64) ** 2), np.bincount(distance)
    return np.sqrt(np.cumsum(power[::-1])[::-1] / np.cumsum(count[::-1])[::-1])


def find_sources(
    restored: np.ndarray,
    residual: np.ndarray,
    model: np.ndarray,
    grid: ImageGrid,
    settings: SourceSettings = SourceSettings(),
) -> list[Source]:
    """The sources of a cleaned image.

    Parameters
    ----------
    restored : (y, x) float32
        The model, smoothed to the beam [Jy/beam].
    residual : (y, x) float32
        [Jy/beam]
    model : (y, x) float32
        [Jy/pixel]
    grid : ImageGrid
    settings : SourceSettings

    Returns
    -------
    list of Source
        By their reach.
    """
    from scipy import ndimage

    found, taken = [], np.zeros(restored.shape, bool)
    for width in settings.scales:
        # What is found already must not be found again, with the wings of the Gaussian around it.
        smooth, left = np.where(taken, 0, restored), np.where(taken, 0, residual)
        if width:
            smooth, left = (
                ndimage.gaussian_filter(image, width, mode="constant", truncate=3.0) for image in (smooth, left)
            )
        cleaned = 0.0 if width else settings.cleaned
        found += _islands(smooth, left, np.where(taken, 0, model), grid, settings, cleaned, taken)
    return sorted(found, key=lambda source: source.reach)


def _believed(sources, grid, sidelobes, settings):
    """The sources that cannot be what CLEAN left of the sidelobes of brighter ones."""
    kept = []
    for one in sources:
        power = 0.0
        for other in sources:
            if other.flux > one.flux:
                distance = math.hypot(one.l - other.l, one.m - other.m) / grid.scale
                power += (other.flux * float(sidelobes[min(int(distance), len(sidelobes) - 1)])) ** 2
        if one.flux >= settings.left_of_sidelobes * math.sqrt(power):
            kept.append(one)
    return kept


def _islands(restored, residual, model, grid, settings, cleaned, taken):
    """Sources of an image, smoothed or not, whose pixels are marked in `taken`; see `find_sources`."""
    from scipy import ndimage

    image, noise = restored + residual, residual_noise(residual)
    l, m = grid.l(), grid.m()
    reach = np.maximum(np.abs(l)[None, :], np.abs(m)[:, None])
    negative = _deepest_beyond(image, reach, grid.scale)
    labels, _ = ndimage.label(image > settings.edge * noise)
    found = []
    for label, box in enumerate(ndimage.find_objects(labels), 1):
        inside = labels[box] == label
        values = np.where(inside, image[box], 0)
        y, x = np.unravel_index(int(values.argmax()), values.shape)
        peak, where = float(values[y, x]), (box[0].start + int(y), box[1].start + int(x))
        deep = negative[min(int(settings.outer * reach[where] / grid.scale), len(negative) - 1)]
        significant = peak >= max(settings.peak * noise, settings.over_negative * deep)
        if significant and restored[where] >= cleaned * peak:
            flux = float(model[box][inside].sum())
            found.append(Source(flux, float(l[where[1]]), float(m[where[0]]), float(reach[box][inside].max())))
            taken[box] |= inside
    return found


def _deepest_beyond(image, reach, scale):
    """Depth of the deepest negative at a reach [pixel], or beyond it; 0 if there is none."""
    ring = (reach / scale).astype(np.int64)
    deepest = np.zeros(int(ring.max()) + 1)
    np.maximum.at(deepest, ring.ravel(), -image.ravel())
    return np.maximum.accumulate(deepest[::-1])[::-1]


def choose_width(seen: Look, beam: float, settings: FieldSettings = FieldSettings()) -> tuple[float, list[Source]]:
    """Width of the field that holds the sources of a look.

    Parameters
    ----------
    seen : Look
    beam : float
        Width (FWHM) of the final PSF [rad].
    settings : FieldSettings

    Returns
    -------
    width : float
        [rad]; that of the look if there are no sources, or if they fill it.
    outside : list of Source
        Sources beyond it.
    """
    whole = seen.grid.width * seen.grid.scale
    if not seen.sources:
        return whole, []
    least = settings.beams * beam
    widths = [max(2 * settings.margin * source.reach, least) for source in seen.sources]
    last = len(widths) - 1
    for k, width in enumerate(widths):
        outside = [source for source in seen.sources[k + 1 :] if source.reach > width / 2]
        if width > settings.gain * widths[last] or (outside and not _negligible(seen, width, outside, settings)):
            continue
        break
    else:
        width, outside = widths[last], []
    return (whole, []) if width > settings.gain * whole else (width, outside)


def _negligible(seen, width, outside, settings):
    """Whether sources outside of a field do not matter to it."""
    inside = [source for source in seen.sources if source not in outside]
    away = [max(abs(source.l), abs(source.m)) - width / 2 for source in outside]
    if len(inside) > settings.most_inside or min(away) < settings.distance * seen.beam.major:
        return False
    if sum(abs(source.flux) for source in outside) > settings.flux * sum(abs(source.flux) for source in inside):
        return False
    if max(source.flux for source in outside) > settings.brightness * seen.noise:
        return False
    far = [min(int(distance / seen.grid.scale), len(seen.sidelobes) - 1) for distance in away]
    power = sum((source.flux * float(seen.sidelobes[k])) ** 2 for source, k in zip(outside, far, strict=True))
    return math.sqrt(power) <= settings.sidelobes * seen.noise


def describe_outside(outside: list[Source], grid: ImageGrid, settings: FieldSettings = FieldSettings()) -> str:
    """A sentence on sources that stay outside, with flux and position; empty if there are none.

    Parameters
    ----------
    outside : list of Source
    grid : ImageGrid
        For its phase centre.
    settings : FieldSettings
    """
    if not outside:
        return ""
    brightest = sorted(outside, key=lambda source: -source.flux)
    named = [f"{si(source.flux, 'Jy')} at {_position(source, grid)}" for source in brightest[: settings.named]]
    more = len(outside) - len(named)
    names = "; ".join(named) + (f"; and {more} fainter" if more else "")
    return (
        f"Outside of the image {'is a distant source' if len(outside) == 1 else f'are {len(outside)} distant sources'} "
        f"whose sidelobes in it lie below the noise: {names}. To have them in the image, give --size and --scale."
    )


def describe_outermost(seen: Look) -> str:
    """Flux and position of the source that reaches farthest from the phase centre."""
    last = seen.sources[-1]
    return f"the outermost has {si(last.flux, 'Jy')} at {_position(last, seen.grid)}"


def _position(source, grid):
    """RA and Dec [degrees], as text."""
    n = 1 + float(n_minus_1(source.l, source.m))
    x, y, z = np.array([source.l, source.m, n]) @ axes(grid.ra, grid.dec)
    return (
        f"RA {math.degrees(math.atan2(y, x)) % 360:.4f}, Dec {math.degrees(math.asin(max(-1.0, min(1.0, z)))):+.4f} deg"
    )

"""Chooses pixel scale and image size if the user does not, and gives the reasons for the log."""

import copy
import logging
import math
from dataclasses import dataclass, replace

import numpy as np

from radrim.beam import fit_beam, theoretical_beam
from radrim.config.options import ImageConfig
from radrim.config.rules import ONE_HAND
from radrim.errors import ConfigError, RadrimError
from radrim.geometry import ARCSEC, C, ImageGrid, format_angle, parse_angle
from radrim.imagers.quick_look import FieldSettings, choose_width, describe_outermost, describe_outside, look_at
from radrim.imagers.vlbi_field import vlbi_field
from radrim.measure.measurement import Measurement, OperatorChoice
from radrim.runtime.memory import largest_whole
from radrim.visibilities import Observation
from radrim.weight.imaging import apply_weights

log = logging.getLogger("radrim")


@dataclass(frozen=True)
class GridSettings:
    """Tuned numbers for the choice of image size and pixel scale."""

    nyquist_tolerance: float = 1e-5
    """Relative excess of the pixel size over Nyquist's limit that passes: u and v may have been stored in float32."""

    narrowest_psf: float = 0.5
    """Least width (FWHM) of a PSF [1 / longest baseline in wavelengths]. Narrower fits were misled by sidelobes."""
    usual_psf: float = 1.2
    """Width (FWHM) that a PSF is expected to have before it is measured [1 / longest baseline in wavelengths]."""
    pixels_per_beam: float = 4.5
    """Pixels across the narrow side (FWHM) of the restoring beam."""
    vlbi_baseline: float = 300e3
    """Longest baseline for which the default image covers the primary beam [m]; otherwise it needs too many pixels."""
    vlbi_size: int = 1024
    """Largest default size of images with longer baselines [pixel]."""
    not_looked: int = 1024
    """Size of the image that `radrim info` describes where only a quick look would choose it [pixel]."""
    entropy_scales: float = 2.0
    """Default width of images by relative entropy [largest scale that the baselines resolve]."""
    max_size: int = 8192
    """Largest default size [pixel]."""
    min_size: int = 128
    """Smallest default size [pixel]."""
    trial_size: int = 256
    """Size of the PSF from which the beam is estimated [pixel]."""
    min_kept: float = 0.1
    """Smallest fraction of the longest baseline that a message about a coarse scale advises to keep."""


def choose_grid(observation: Observation, config: ImageConfig, look: bool = True) -> tuple[ImageGrid, list[str]]:
    """The image grid for an observation.

    Parameters
    ----------
    observation : Observation
        The data with natural weights; not changed.
    config : ImageConfig
    look : bool
        Whether to carry out the quick look that chooses the field where `will_look` says so. Without it the grid is one
        of about `GridSettings.not_looked` pixels, and a sentence says what the look will do.

    Returns
    -------
    ImageGrid
    list of str
        Sentences with each choice and its reason.

    Raises
    ------
    ConfigError
        The scale is too coarse for the longest baseline, or the image smaller than the PSF.
    """
    longest = observation.longest_baseline()
    reasons: list[str] = []
    scale = config.scale
    field = _choose_field(observation, config)
    if will_look(observation, config):
        field = _looked(observation, field) if look else _not_looked(observation, field)
    if scale is None:
        scale, why_scale = _choose_scale(_trial_beam(observation, config, longest, field.width), longest)
        reasons.append(why_scale)
    check_scale(scale, observation.largest_uv())
    size = config.size
    if size is None:
        pixels, note = field.pixels(scale, largest_whole(config))
        size = (pixels, pixels)
        say = "Image size" if look or not will_look(observation, config) else "Image size, for example,"
        reasons.append(f"{say} {pixels} x {pixels} pixels, {format_angle(pixels * scale)}: {note or field.why}.")
        reasons += field.more
    check_extent(max(size), scale, longest)
    return ImageGrid(size[0], size[1], scale, observation.ra, observation.dec), reasons


def will_look(observation: Observation, config: ImageConfig) -> bool:
    """Whether a quick look at the data chooses the field.

    It does where the user gives neither size nor scale, the primary beam is more pixels wide than a look is worth, and
    the data are of one pointing and of a Stokes parameter in which all sources are seen.
    """
    if config.size is not None or config.scale is not None or config.contsub is not None:
        return False
    field = _choose_field(observation, config)
    if field.kind != "beam" or config.stokes[0] not in ONE_HAND:
        return False
    pointings = {tuple(block.pointing.tolist()) for block in observation.blocks}
    wanted = field.width / _finest(observation.longest_baseline())
    return len(pointings) == 1 and wanted * FieldSettings.gain > FieldSettings.min_pixels


@dataclass(frozen=True)
class _Field:
    """The field of an image: its width [rad], the reason for it, its kind, and further sentences.

    Kinds are 'beam' (out to the first null of the primary beam), 'vlbi', and 'sparse' (closure quantities, entropy).
    """

    width: float
    why: str
    kind: str
    more: tuple[str, ...] = ()

    def pixels(self, scale, largest):
        """Number of pixels along a side, and the reason if it is another one than the width's."""
        if self.kind == "sparse":
            from radrim.closure.read import size_in_pixels

            return size_in_pixels(self.width, scale), ""
        width = min(self.width, GridSettings.vlbi_size * scale) if self.kind == "vlbi" else self.width
        return _size(width / scale, 2 / scale, largest)


def _choose_field(observation, config):
    """The field that the kind of data suggests."""
    if config.data == "closure":
        from radrim.closure.read import choose_field

        width, why = choose_field(observation)
        return _Field(width, why, "sparse")
    width, why = _field_of_view(observation)
    if config.solver == "entropy":
        width, why = _resolved(observation, width, why)
        return _Field(width, why, "sparse")
    if _is_vlbi(observation, width / (config.scale or _finest(observation.longest_baseline()))):
        width, why = vlbi_field(observation)
        return _Field(width, why, "vlbi")
    return _Field(width, why, "beam")


def _looked(observation, field):
    """The part of a field that holds the sources which a quick look finds."""
    finest = _finest(observation.longest_baseline())
    widest = min(field.width, GridSettings.max_size * finest, 2.0)
    try:
        seen = look_at(observation, widest)
    except RadrimError as error:
        log.info("No quick look at the field: %s", error)
        return field
    width, outside = choose_width(seen, finest * GridSettings.pixels_per_beam)
    where = f"A quick look at {format_angle(widest, 3)} around the phase centre"
    if not seen.sources:
        return replace(field, more=(f"{where} found no source; choose a smaller field with --size.",))
    if width >= widest:
        return replace(field, more=(f"{where} found sources that need it: {describe_outermost(seen)}.",))
    inside = len(seen.sources) - len(outside)
    holds = "the source" if inside == 1 else f"the {inside} sources"
    why = f"holds {holds} that a quick look at {format_angle(widest, 3)} found; choose with --size"
    left = describe_outside(outside, seen.grid)
    return _Field(width, why, field.kind, (left,) if left else ())


def _not_looked(observation, field):
    """A field of a usual size in place of the one that a quick look will choose."""
    width = GridSettings.not_looked * _finest(observation.longest_baseline())
    why = (
        f"radrim image without --size and --scale looks for the sources first, up to {format_angle(field.width, 3)}, "
        f"{field.why}, and makes the image as large as they need"
    )
    return _Field(min(width, field.width), why, field.kind)


def _finest(longest):
    """Pixel scale that data with baselines up to `longest` wavelengths are expected to get [rad]."""
    return GridSettings.usual_psf * theoretical_beam(longest) / GridSettings.pixels_per_beam


def _choose_scale(beam, longest):
    """Choose the pixel scale [rad] for a restoring beam; return it with a sentence that gives the reason."""
    minor = max(beam.minor, GridSettings.narrowest_psf / longest)
    scale = _round_down(min(minor / GridSettings.pixels_per_beam, 1 / (2 * longest)))
    why = f"{minor / scale:.1f} pixels across the narrow side of the PSF, {format_angle(minor)}"
    if minor / GridSettings.pixels_per_beam > 1 / (2 * longest):
        why = f"required by the longest baseline ({longest:.3g} wavelengths); the PSF ({beam}) is wider"
    return scale, f"Pixel scale {format_angle(scale)}: {why}."


def check_scale(scale: float, largest: float) -> None:
    """Raise ConfigError if pixels of `scale` [rad] cannot sample u and v up to `largest` wavelengths (Nyquist)."""
    limit = 1 / (2 * largest)
    if scale > limit * (1 + GridSettings.nyquist_tolerance):
        # The printed values are slightly inside the limits, so that they are still valid after rounding.
        kept = 0.995 / (2 * scale)
        drop = f", or drop long baselines with --maxuv-l {kept:.3g}" if kept > GridSettings.min_kept * largest else ""
        raise ConfigError(
            f"--scale {format_angle(scale)} is too coarse for the longest baseline (u or v of {largest:.3g} "
            f"wavelengths): it must be at most {format_angle(0.9995 * limit)}. Use --scale "
            f"{format_angle(limit / 1.5, 2)}{drop}."
        )


def check_extent(pixels: int, scale: float, longest: float) -> None:
    """Raise ConfigError if an image is smaller than the narrowest PSF of baselines up to `longest` wavelengths."""
    narrowest = GridSettings.narrowest_psf / longest
    if pixels * scale < narrowest:
        proposed = format_angle(narrowest / GridSettings.pixels_per_beam)
        raise ConfigError(
            f"--scale {format_angle(scale)} makes an image of {format_angle(pixels * scale)}, smaller than any PSF of "
            f"these data, which is at least {format_angle(narrowest)} wide. Use --scale {proposed}, or more pixels."
        )


def _field_of_view(observation):
    """Width of the field between the first nulls of the primary beam [rad], and a text that describes its origin."""
    wavelength = C / float(np.mean(observation.frequencies))
    dish = observation.dish_diameter
    places = {tuple(block.pointing.tolist()) for block in observation.blocks}
    # A single field keeps its width around whatever phase centre the user names.
    mosaic = 2 * float(np.abs(list(places)).max()) if len(places) > 1 else 0.0
    if not dish > 0:
        return math.radians(1), "the antennas' diameters are unknown; choose with --size"
    width = min(mosaic + 2 * 1.22 * wavelength / dish, math.radians(90))
    return width, f"out to the first null of the primary beam of {dish:.3g} m antennas"


def _resolved(observation, width, why):
    """A field of view, or the smaller one of twice the largest scale that the baselines resolve, and the reason."""
    from radrim.closure.read import field_of

    largest, _ = field_of(observation.blocks)
    if GridSettings.entropy_scales * largest >= width:
        return width, why
    return (
        GridSettings.entropy_scales * largest,
        f"{GridSettings.entropy_scales:g} times {format_angle(largest, 3)}, the largest scale that baselines between "
        "distant stations resolve; choose with --size",
    )


def _is_vlbi(observation, wanted):
    """Whether the primary beam, `wanted` pixels wide, is far wider than an image of such long baselines."""
    longest = max(float(block.uv_length.max()) for block in observation.blocks)
    return wanted > GridSettings.max_size and longest > GridSettings.vlbi_baseline


def _size(wanted, sky, largest):
    """Number of pixels along a side for a field of `wanted` pixels, and the reason if another number was chosen.

    The image is no larger than `largest` pixels, and no larger than `sky` pixels, the whole hemisphere above the
    horizon (direction cosines from -1 to 1).
    """
    largest = min(GridSettings.max_size, largest)
    if wanted > largest:
        return largest, f"the primary beam's first null would need {wanted:.0f} pixels; choose with --size"
    pixels = _smooth(max(GridSettings.min_size, math.ceil(wanted / 2))) * 2
    if pixels > sky:
        return max(32, int(sky) // 2 * 2), "the whole sky above the horizon"
    return pixels, ""


def _smooth(least):
    """The smallest number from `least` on without prime factors above 5, for which Fourier transforms are fast."""
    while True:
        rest = least
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return least
        least += 1


def _trial_beam(observation, config, longest, field):
    """Fit the restoring beam for the run's weighting, from a small PSF with finer pixels."""
    scale = theoretical_beam(longest) / 5
    trial = copy.copy(observation)
    trial.blocks = [copy.copy(block) for block in observation.blocks]
    for block in trial.blocks:
        block.weight = block.weight.copy()
    # The weighting depends on the field of view of the final image, not on that of the trial.
    if config.size is not None:
        field = config.size[0] * scale
    pixels = int(np.clip(field / scale, GridSettings.min_size, GridSettings.max_size)) // 2 * 2
    apply_weights(trial.blocks, ImageGrid(pixels, pixels, scale), config.weight, config.tapers, config.padding,
                  super_weight=config.super_weight)  # fmt: skip
    grid = ImageGrid(GridSettings.trial_size, GridSettings.trial_size, scale, observation.ra, observation.dec)
    psf = Measurement(trial.blocks, grid, OperatorChoice("wgridder", epsilon=1e-3)).psf()
    return fit_beam(psf, scale, theoretical_beam(longest))


def _round_down(angle):
    """Round `angle` [rad] down to two digits in arc seconds, so that the printed scale is the one used."""
    step = ARCSEC * 10.0 ** (math.floor(math.log10(angle / ARCSEC)) - 1)
    return parse_angle(format_angle(math.floor(angle / step) * step))

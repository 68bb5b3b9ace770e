"""Field of images of very long baselines, whose primary beams are a thousand times as wide as any image.

The shortest baseline between distant stations says up to which scale there is any information; channels and
integrations say how far from the phase centre they do not smear it. Between these, visibilities that are kept out
decide: small non-negative images of several widths are fitted to the others, and the narrowest one is taken than which
no wider one predicts better.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from radrim.closure.cells import CellVisibilities, average_cells
from radrim.closure.read import field_of, size_in_pixels
from radrim.earth import ROTATION_RATE
from radrim.geometry import C, ImageGrid
from radrim.operator import make_operator
from radrim.visibilities import Observation, Visibilities


@dataclass(frozen=True)
class VlbiFieldSettings:
    """Which widths are tried, and how."""

    scales: tuple[float, ...] = (2.0, 4.0, 8.0)
    """Widths [largest scale that baselines between distant stations resolve]."""

    halo: float = 4.5
    """Least width if there are neighbouring stations, in the same unit: the image then may hold a Gaussian of flux that
    only they see (`radrim.imagers.entropy_fit.CandidateSettings`)."""

    smearing: float = 0.5
    """Largest change of phase within a channel or an integration at the edge of the field [turns]: a source there keeps
    64 % of its peak on the longest baseline."""

    samples: int = 1_000_000
    """Largest number of samples that are looked at; of more, every so manyth row is."""

    pixels: float = 2.5
    """Pixels in 1 / longest baseline: the least number that represents any image is 2."""

    iterations: int = 60
    """Of the fit. The image of the EHT's self-calibrated M87* leaves 1 % of the power of kept-out visibilities after
    60."""

    epsilon: float = 1e-4
    """Accuracy of the transforms."""

    folds: int = 5
    """Into which stretches of baselines are divided; one is kept out."""

    error: float = 0.03
    """Error of visibilities in proportion to their amplitude that the fit allows for."""

    uncalibrated: float = 0.07
    """Error in proportion to the amplitude, from kept-out visibilities, above which gains count as not calibrated. It
    is 0.046 for the EHT's self-calibrated M87* and 0.03 for the VLBA's 3C84; it is 0.10 and 0.20 for network-calibrated
    M87* of 2018 and 2017, and 0.3 for an EVN observation as it was correlated."""


@dataclass(frozen=True)
class QuickLook:
    """What the data say of their field.

    Parameters
    ----------
    width : float
        Of the field [rad].
    error : float
        Error of the visibilities that were kept out, in proportion to their amplitude.
    """

    width: float
    error: float


def largest_field(observation: Observation, settings: VlbiFieldSettings = VlbiFieldSettings()) -> float:
    """Width within which neither channels nor integrations smear a source [rad]."""
    longest = observation.longest_baseline()
    widths = [math.inf]
    for block in observation.blocks:
        steps = np.diff(np.unique(block.time))
        if steps.size:
            widths.append(2 * settings.smearing / (ROTATION_RATE * float(np.median(steps)) * longest))
        channel = block.channel_width or observation.channel_width
        if channel > 0:
            widths.append(2 * settings.smearing * float(block.freq.mean()) / (channel * longest))
    return min(widths)


def look(
    blocks: Sequence[Visibilities], most: float, settings: VlbiFieldSettings = VlbiFieldSettings()
) -> QuickLook | None:
    """The field of blocks of visibilities, at most `most` wide [rad]; None if nothing can be kept out.

    Parameters
    ----------
    blocks : sequence of Visibilities
        With natural weights.
    most : float
    settings : VlbiFieldSettings
    """
    scale, longest = field_of(blocks)
    least = settings.halo * scale if _has_neighbours(blocks, scale) else 0.0
    widths = sorted({min(factor * scale, most) for factor in settings.scales})
    data = average_cells(_fewer(blocks, settings.samples), widths[-1], settings.folds)
    data = data.with_noise(1.0, settings.error)
    kept = data.fold == 0
    if not kept.any() or kept.all():
        return None
    best, left = widths[0], _left(data, kept, widths[0], longest, settings)
    for width in widths[1:]:
        other = _left(data, kept, width, longest, settings)
        changes = np.bincount(data.stretch[kept], (other - left)[kept])
        if changes.sum() < -math.sqrt(float((changes**2).sum())):
            best, left = width, other
    return QuickLook(
        min(max(best, least), most), settings.error * math.sqrt(float(left[kept].sum()) / (2 * np.count_nonzero(kept)))
    )


def _has_neighbours(blocks, scale):
    """Whether there are baselines that no source of the largest scale [rad] shows any structure on."""
    lengths = ((block.uv_length, block.weight.any(1), float(block.freq.mean())) for block in blocks)
    return any(bool((used & (length * freq / C < 0.5 / scale)).any()) for length, used, freq in lengths)


def _fewer(blocks, samples):
    """Blocks with every so manyth row, if they have more samples."""
    step = math.ceil(sum(block.weight.size for block in blocks) / samples)
    if step < 2:
        return blocks
    return [replace(block.select_rows(np.arange(0, len(block.uvw), step)), others={}) for block in blocks]


def _left(data: CellVisibilities, kept, width, longest, settings):
    """Chi^2 of each sample (sample,) with the image of a field that predicts the kept-out ones best.

    The image is non-negative, fitted by accelerated gradients (Beck & Teboulle 2009, SIAM J. Imaging Sci. 2, 183).
    """
    pixel = 1 / (settings.pixels * longest)
    size = size_in_pixels(width, pixel)
    operator = make_operator(
        "auto", data.uvw, np.array([C]), ImageGrid(size, size, pixel), 1e-4, torch.get_num_threads()
    )
    full = data.sigma**-2
    weight = torch.from_numpy(np.where(kept, 0, full)[:, None].astype(np.float32))
    vis = torch.from_numpy(data.vis[:, None].astype(np.complex64))
    step = 1 / _curvature(operator, weight, size)
    image = ahead = torch.zeros(size, size)
    pace, best, found = 1.0, math.inf, full * np.abs(data.vis) ** 2
    for number in range(1, settings.iterations + 1):
        new = torch.clamp(ahead + step * operator.adjoint(vis - operator.forward(ahead), weight), min=0)
        faster = (1 + math.sqrt(1 + 4 * pace**2)) / 2
        ahead, image, pace = new + (pace - 1) / faster * (new - image), new, faster
        if number % 5 == 0:
            left = full * np.abs(data.vis - operator.forward(image).numpy()[:, 0]) ** 2
            if left[kept].sum() < best:
                best, found = left[kept].sum(), left
    return found


def _curvature(operator, weight, size, tries=6, margin=1.1):
    """Largest eigenvalue of the normal operator, by power iteration, with a margin."""
    image = torch.from_numpy(np.random.default_rng(0).normal(size=(size, size)).astype(np.float32))
    for _ in range(tries):
        image = operator.adjoint(operator.forward(image / image.norm()), weight)
    return margin * float(image.norm())


def warning_of_look(error: float, settings: VlbiFieldSettings = VlbiFieldSettings()) -> str:
    """What to do where phases are not calibrated, from `QuickLook.error`; empty if they are."""
    if error <= settings.uncalibrated:
        return ""
    return (
        "The gains of the antennas are not calibrated (no image predicts visibilities that are kept out better than to "
        f"{error:.0%} of the amplitude): use --data closure, which does not depend on gains, or calibrate with radrim "
        "selfcal. The image of these visibilities will be wrong in part or altogether."
    )

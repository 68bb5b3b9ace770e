"""Field of images of very long baselines, whose primary beams are a thousand times as wide as any image.

The shortest baseline between distant stations says up to which scale there is any information; channels and
integrations say how far from the phase centre they do not smear it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from radrim.closure.read import field_of
from radrim.earth import ROTATION_RATE
from radrim.geometry import C, format_angle
from radrim.visibilities import Observation, Visibilities


@dataclass(frozen=True)
class VlbiFieldSettings:
    """How wide images of VLBI data are if the user does not say."""

    scales: float = 3.0
    """Width [largest scale that baselines between distant stations resolve]. Jets are chains of knots that can be
    longer than this scale: that of 3C273 at 43 GHz reaches 8 mas from the core, where the scale is 10 mas."""

    halo: float = 4.5
    """The same if there are neighbouring stations: the image then may hold a Gaussian of flux that only they see
    (`radrim.imagers.entropy_fit.CandidateSettings`)."""

    smearing: float = 0.5
    """Largest change of phase within a channel or an integration at the edge of the field [turns]: a source there keeps
    64 % of its peak on the longest baseline."""


def vlbi_field(observation: Observation, settings: VlbiFieldSettings = VlbiFieldSettings()) -> tuple[float, str]:
    """Width of the default image of VLBI data [rad], and the reason for it."""
    scale, _ = field_of(observation.blocks)
    factor = settings.halo if _has_neighbours(observation.blocks, scale) else settings.scales
    most = largest_field(observation, settings)
    if factor * scale > most:
        return most, "in wider ones, channels or integrations would smear sources; choose with --size"
    return factor * scale, (
        f"{factor:g} times {format_angle(scale, 3)}, the largest scale that baselines between distant "
        "stations resolve; "
        "choose with --size"
    )


def largest_field(observation: Observation, settings: VlbiFieldSettings = VlbiFieldSettings()) -> float:
    """Width within which neither channels nor integrations smear a source [rad]; infinity if nothing is known."""
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


def _has_neighbours(blocks: Sequence[Visibilities], scale: float) -> bool:
    """Whether any stations are so near each other that a source of the largest scale [rad] is a point for them."""
    for block in blocks:
        lengths = block.uv_length[(block.weight > 0).any(1)] * float(block.freq.mean()) / C
        if (lengths < 0.5 / scale).any():
            return True
    return False

"""Tells uncalibrated phases of VLBI data from baselines between neighbouring stations, before anything is imaged.

Stations that are some hundred metres apart, in arrays that span the Earth, see any source of the field as a point in
its middle: their phase is 0. Where it is not, no antenna's phase is known. Calibrated data of the EHT have phases of
0.04 rad there, those without calibration of phases 0.4 to 1.6 rad.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from radrim.closure.quantities import ClosureSettings
from radrim.closure.read import field_of
from radrim.geometry import C
from radrim.visibilities import Visibilities


@dataclass(frozen=True)
class NeighbourPhaseSettings:
    """When the phases of neighbouring stations show that data are not calibrated."""

    vlbi_baseline: float = 1e5
    """Least length of the longest baseline [m]. The fields of shorter ones hold sources far from their middle."""

    max_turn: float = 0.02
    """Largest phase of a source at the edge of the field [turns]; the phases of longer baselines say something of the
    source."""

    min_coherence: float = 0.95
    """Least mean cosine of the phases: that of errors of 0.32 rad."""

    certain: float = 5.0
    """Least difference from it [standard errors]."""


def warning_of_phases(
    blocks: Sequence[Visibilities],
    antennas: Sequence[str],
    settings: NeighbourPhaseSettings = NeighbourPhaseSettings(),
) -> str:
    """A sentence on phases that are not calibrated, and what to do; empty where nothing shows it.

    Parameters
    ----------
    blocks : sequence of Visibilities
        With natural weights 1/sigma^2.
    antennas : sequence of str
        Names.
    settings : NeighbourPhaseSettings
    """
    if max(float(block.uv_length.max()) for block in blocks) < settings.vlbi_baseline:
        return ""
    field, longest = field_of(blocks)
    limit = min(ClosureSettings.colocated * longest, 2 * settings.max_turn / field)
    sums: dict[tuple[int, int], np.ndarray] = {}
    for block in blocks:
        rows = np.flatnonzero(block.uv_length * float(block.freq.max()) / C < limit)
        for pair in np.unique(block.antenna[rows], axis=0):
            one = rows[(block.antenna[rows] == pair).all(1)]
            key = int(pair.min()), int(pair.max())
            sums[key] = sums.get(key, np.zeros(4)) + _sums(block.data[one], block.weight[one])
    worst, least = None, settings.min_coherence
    for pair, (along, length, variance, count) in sums.items():
        if not count or not length > 0:
            continue
        coherence, error = along / length, math.sqrt(variance) / length
        if coherence < least and settings.min_coherence - coherence > settings.certain * error:
            worst, least = pair, coherence
    if worst is None:
        return ""
    names = "-".join(antennas[number] if number < len(antennas) else str(number) for number in worst)
    turn = math.degrees(math.acos(max(-1.0, least)))
    return (
        f"Phases are not calibrated: those of {names}, neighbouring stations for which any source of the field is a "
        f"point, are off by some {turn:.0f} deg. An image of the visibilities would be wrong in part or altogether. "
        "Use --data closure, which does not depend on gains, or calibrate with radrim selfcal."
    )


def _sums(data: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Sums over samples: real part, length without its noise, variance of the first, and their number."""
    used = weight > 0
    seen, variance = data[used].astype(complex), 1 / weight[used].astype(float)
    power = np.abs(seen) ** 2 - 2 * variance
    # Single samples can be below the noise; lengths are those of the mean power.
    length = len(seen) * math.sqrt(max(float(power.mean()), 0.0)) if len(seen) else 0.0
    return np.array([seen.real.sum(), length, variance.sum(), len(seen)])

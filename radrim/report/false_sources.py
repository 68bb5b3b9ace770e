"""Finds flux of a model that lies where the main source has sidelobes: with few baselines much of it can be false."""

from dataclasses import dataclass

import numpy as np
import scipy.ndimage
import scipy.signal

from radrim.beam import Beam, restore
from radrim.report.diagnosis import Finding


@dataclass(frozen=True)
class FalseSourceSettings:
    """When flux far from the main source is called doubtful."""

    min_fraction: float = 0.1
    """Least part of the model's flux that is worth a warning."""

    island: float = 0.02
    """Level, over the peak of the smoothed model, above which pixels connected with the peak are the main source."""

    margin: float = 2.0
    """Distance from the main source from which flux is far [major axis of the beam]."""

    excess: float = 1.3
    """Mean sidelobe of the main source where the far flux is, over that anywhere, from which it is no chance."""

    min_sidelobe: float = 0.2
    """Highest sidelobe below which CLEAN and networks seldom take one for a source."""

    certain_sidelobe: float = 0.5
    """Highest sidelobe above which all far flux is doubtful, wherever it lies: too few baselines saw it."""

    pixels: int = 4096 * 4096
    """Largest image that is looked at."""


def find_false_sources(
    model: np.ndarray,
    psf: np.ndarray,
    beam: Beam,
    scale: float,
    settings: FalseSourceSettings = FalseSourceSettings(),
) -> list[Finding]:
    """A finding if much of the model's flux lies far from the main source, on its sidelobes.

    Parameters
    ----------
    model : (y, x) float32
        [Jy/pixel]
    psf : (y, x) float32
        Of the same size; its peak, 1, is at (height // 2, width // 2).
    beam : Beam
    scale : float
        Pixel size [rad].
    settings : FalseSourceSettings
    """
    total = float(np.abs(model).sum(dtype=np.float64))
    if model.size > settings.pixels or not total > 0 or psf.shape != model.shape:
        return []
    seen = restore(model, beam, scale)
    peak = np.unravel_index(int(seen.argmax()), seen.shape)
    labels, _ = scipy.ndimage.label(seen > settings.island * seen[peak])
    main = labels == labels[peak]
    far = scipy.ndimage.distance_transform_edt(~main) > settings.margin * beam.major / scale
    flux = np.abs(model)
    part = float(flux[far].sum(dtype=np.float64)) / total
    if not part > 0 or part < settings.min_fraction:
        return []
    response = scipy.signal.fftconvolve(np.where(far, 0, model), psf, mode="same")
    if not response.max() > 0:  # a negative source
        return []
    lobes = np.maximum(response, 0)[far] / float(response.max())
    highest, level = float(lobes.max()), float(lobes.mean())
    # The mean sidelobe where the far flux is, over that anywhere.
    excess = float(np.average(lobes, weights=flux[far])) / max(level, 1e-30)
    doubtful = highest >= settings.certain_sidelobe or (highest >= settings.min_sidelobe and excess >= settings.excess)
    if not doubtful:
        return []
    return [
        Finding(
            "false_sources",
            f"{part:.0%} of the model's flux lies more than {settings.margin:g} beams from the main source, where that "
            f"has sidelobes of up to {highest:.0%} in the dirty image (on average {excess:.1f} times as high as "
            "elsewhere): much of it may be false, although the residual is small. Try --mask around the source, a "
            "smaller --size, --solver entropy, or, for uncalibrated phases, --data closure or radrim selfcal, and "
            "compare.",
            part,
        )
    ]

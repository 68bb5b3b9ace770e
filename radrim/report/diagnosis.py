"""What the kept-out visibilities say about data and image, in sentences that say what to do.

Three levels of chi^2 per datum (`radrim.measure.fit_quality`) decide: that of the noise, from differences of
neighbouring samples, that of fitted and that of kept-out visibilities. A finding needs a difference that matters and
that is several times its error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from radrim import units
from radrim.measure.fit_quality import FitQualitySettings
from radrim.units import si


@dataclass(frozen=True)
class DiagnosisSettings:
    """When something is said. All levels are chi^2 per datum."""

    min_sigma: float = 4.0
    """Significance of a finding, from the scatter over baselines: one false alarm in 10^4."""

    min_weight_factor: float = 1.5
    """Ratio of the noise to that of the weights, or its inverse, from which the weights are called wrong. Weights from
    system temperatures are right to some 20 to 30 %."""

    min_other_factor: float = 1.4
    """The same between one antenna, or spectral window, and all others."""

    min_excess: float = 0.1
    """Excess of kept-out or fitted visibilities over the noise that matters, as a part of the noise."""

    min_antenna_excess: float = 0.2
    """Excess of an antenna over the typical one from which it is named, as a part of the noise."""

    outlier: float = 5.0
    """Deviation from the median from which an antenna or a window differs, in robust standard deviations of all."""

    uneven: float = 2.0
    """Excess of the shortest quarter of baselines over that of the longest one, or its inverse, that is worth a word.
    """

    named: int = 5
    """Antennas and windows that a sentence names."""


@dataclass(frozen=True)
class Finding:
    """One finding.

    Parameters
    ----------
    kind : str
        'weights', 'antenna_weights', 'window_weights', 'calibration', 'fitted_noise', 'wild_samples' or
        'false_sources'.
    text : str
        What was found, and what to do.
    value : float
        Factor of the variance, excess over the noise, part of the data that was spent, or number of samples.
    antennas, windows : list of str
        Those that it is about; empty: all.
    """

    kind: str
    text: str
    value: float
    antennas: list[str] = field(default_factory=list)
    windows: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The finding as JSON holds it."""
        return asdict(self)


def diagnose(quality: Mapping[str, Any], antennas: Sequence[str], stokes: str = "") -> list[Finding]:
    """Everything significant that the fit of an image shows.

    Parameters
    ----------
    quality : mapping
        Of `radrim.measure.fit_quality.FitInspector.summary`; empty if no visibilities were kept out.
    antennas : sequence of str
        Names of the antennas by their numbers.
    stokes : str
        Stokes parameter, if the run has several.
    """
    if not quality:
        return []
    names = [name_of(antennas, entry["antenna"]) for entry in quality["antennas"]]
    found = [
        *_weights(quality),
        *_other_weights(quality, names),
        *_fitted_noise(quality["all"]),
        *_calibration(quality, names),
        *_wild(quality["wild"], antennas),
    ]
    if not stokes:
        return found
    return [Finding(**{**asdict(one), "text": f"Stokes {stokes}: {one.text}"}) for one in found]


def name_of(antennas: Sequence[str], number: int) -> str:
    """Name of an antenna; its number if it has none."""
    return (antennas[number] if number < len(antennas) else "") or str(number)


def band_name(band: Sequence[float]) -> str:
    """A spectral window by its frequencies."""
    return units.band(*band)


def _weights(quality, settings=DiagnosisSettings()):
    """All weights are off by a factor."""
    factor, error = quality["all"]["noise"], quality["all"]["noise_error"]
    if not factor > 0:  # no neighbours
        return
    # Where antennas differ, the typical one says what is wrong with all.
    typical = float(np.nanmedian([entry["noise"] for entry in quality["antennas"]]))
    off = max(typical, 1 / typical) > settings.min_weight_factor
    if not off or not abs(factor - 1) > settings.min_sigma * error:
        return
    words = f"{typical:.3g} times too high" if typical > 1 else f"{1 / typical:.3g} times too low"
    yield Finding(
        "weights",
        f"The weights of the data are not 1/sigma^2, but {words}: differences of neighbouring samples scatter with "
        f"{np.sqrt(typical):.3g} times the sigma that the weights state (kept-out residuals, which hold "
        f"errors of model and calibration, too: {np.sqrt(quality['all']['kept']):.3g} times). A common factor changes "
        f"no image. For weights that state the noise, run CASA's statwt, or multiply all weights by {1 / typical:.3g}.",
        typical,
    )


def _other_weights(quality, names, settings=DiagnosisSettings()):
    """Antennas or windows whose noise is not that of the others."""
    labels = names, [band_name(entry["frequencies_hz"]) for entry in quality["windows"]]
    for kind, entries, known in zip(
        ("antenna", "window"), (quality["antennas"], quality["windows"]), labels, strict=True
    ):
        noise = np.array([entry["noise"] for entry in entries])
        usable = np.isfinite(noise) & (noise > 0)
        if usable.sum() < 2:
            continue
        ratio = np.where(usable, noise, np.nan) / np.median(noise[usable])
        far = np.flatnonzero(_outlying(np.log(ratio), np.log(settings.min_other_factor), settings.outlier))
        far = far[np.argsort(-np.abs(np.log(ratio[far])), kind="stable")]
        if not len(far):
            continue
        shown = far[: settings.named]
        listed = ", ".join(f"{known[k]} {np.sqrt(ratio[k]):.2g}" for k in shown) + _more(len(far) - len(shown))
        things = "antennas" if kind == "antenna" else "spectral windows"
        yield Finding(
            f"{kind}_weights",
            f"The noise of some {things} is not what their weights say, measured by all others (sigma over that of the "
            f"typical one): {listed}. They count too much where the number is above 1, too little where it is below. "
            "Run CASA's statwt, or flag them.",
            float(ratio[far[0]]),
            **{"antennas" if kind == "antenna" else "windows": [known[k] for k in far]},
        )


def _fitted_noise(every, settings=DiagnosisSettings()):
    """Fitted visibilities are below the noise, and kept-out ones above it."""
    noise, lack, excess = every["noise"], -every["fitted_excess"], every["kept_excess"]
    if not (lack > settings.min_excess * noise and excess > settings.min_excess * noise):
        return
    errors = every["fitted_excess_error"], every["kept_excess_error"]
    if lack > settings.min_sigma * errors[0] and excess > settings.min_sigma * errors[1]:
        spent, count = lack / noise, 2 * every["samples"]
        yield Finding(
            "fitted_noise",
            f"Noise was fitted: chi^2 per datum is {every['fitted']:.3g} for fitted and {every['kept']:.3g} for "
            f"kept-out visibilities, {noise:.3g} for noise alone. The model has spent {spent:.0%} of the degrees of "
            f"freedom of the data ({spent * count:,.0f} of {count:,}). Faint features are "
            "uncertain: use a mask (--mask), a smaller image, or stop earlier with --threshold.",
            spent,
        )


def _calibration(quality, names, settings=DiagnosisSettings()):
    """Kept-out visibilities are above the noise by more than fitted noise explains, of all antennas or of a few."""
    every = quality["all"]
    noise = every["noise"]
    lack = max(0.0, -every["fitted_excess"])
    # A fit with p of n degrees of freedom lowers fitted chi^2 by p / n and raises kept-out chi^2 by p / (n - p).
    explained = lack / max(1 - lack / noise, 0.1) if noise > 0 else 0.0
    excess = every["kept_excess"] - explained
    certain = excess > settings.min_sigma * every["kept_excess_error"]
    # Few cells are kept out: where one antenna is bad their scatter is large, and the fitted ones say it, too.
    certain |= every["fitted_excess"] > max(
        settings.min_excess * noise, settings.min_sigma * every["fitted_excess_error"]
    )
    everywhere = certain and excess > settings.min_excess * noise
    far, above = _bad_antennas(quality["antennas"], settings)
    if not everywhere and not len(far):
        return
    worst = ", ".join(f"{names[k]} ({1 + above[k]:.3g})" for k in far[: settings.named])
    level = (
        f"chi^2 per datum of kept-out visibilities is {every['kept']:.3g}, of fitted ones {every['fitted']:.3g}, of "
        f"noise alone {noise:.3g} (from differences of neighbouring samples)."
    )
    if len(far):
        text = (
            f"Calibration errors limit the image, not noise: {level} Antennas that stand out (chi^2 over that of their "
            f"noise): {worst}{_more(len(far) - settings.named)}. Self-calibrate (radrim selfcal), or flag them."
        )
    else:
        text = (
            f"Calibration errors, or emission that the model lacks, limit the image, not noise: {level} No antenna "
            f"stands out{_where(quality['lengths'])}. Self-calibrate (radrim selfcal); if that changes nothing, look "
            "for sources outside the image, and for emission in the residual."
        )
    yield Finding("calibration", text, excess / noise, [names[k] for k in far])


def _where(lengths, settings=DiagnosisSettings()):
    """Whether the shortest or the longest baselines have most of the excess."""
    quarter = len(lengths) // 4
    if not quarter:
        return ""
    above = np.array([entry["fitted"] / entry["noise"] - 1 if entry["noise"] > 0 else 0.0 for entry in lengths])
    short, long = float(above[:quarter].mean()), float(above[-quarter:].mean())
    if short > settings.uneven * max(long, settings.min_excess):
        return "; the excess is largest on the shortest baselines, which see extended emission"
    if long > settings.uneven * max(short, settings.min_excess):
        return (
            "; the excess is largest on the longest baselines, which see phase errors and bright points between pixels"
        )
    return ""


def _bad_antennas(entries, settings):
    """Antennas whose fitted visibilities are above their noise, and above those of the others; worst first."""
    fitted, noise, *errors = (
        np.array([entry[key] for entry in entries], float) for key in ("fitted", "noise", "fitted_error", "noise_error")
    )
    known = noise > 0  # it is 0 where neighbouring samples are equal, as in noise-free data that were averaged
    level = np.where(known, noise, 1.0)
    above = np.where(known, (fitted - noise) / level, 0.0)
    error = np.where(known, np.hypot(*errors) / level, np.inf)
    far = _outlying(above, settings.min_antenna_excess, settings.outlier, upper=True)
    far &= above > settings.min_sigma * np.nan_to_num(error, nan=np.inf, posinf=np.inf)
    numbers = np.flatnonzero(far)
    return numbers[np.argsort(-above[numbers], kind="stable")], above


def _wild(wild, antennas, settings=DiagnosisSettings()):
    """Samples far beyond the scatter of their baseline."""
    count = wild["count"]
    if not count:
        return
    counts = sorted(wild["antennas"], key=lambda one: -one[1])[: settings.named]
    windows = sorted(wild["windows"], key=lambda one: -one[2])[: settings.named]
    first = wild["worst"][0]
    pair = "-".join(name_of(antennas, number) for number in first["antennas"])
    by_antenna = ", ".join(f"{name_of(antennas, number)} {n}" for number, n in counts)
    by_window = "; ".join(f"{band_name(band)} {n}" for *band, n in windows)
    yield Finding(
        "wild_samples",
        f"{count:,} wild sample{'s' if count > 1 else ''} in {wild['samples']:,}, more than "
        f"{FitQualitySettings.wild:.0f} times the scatter of their baseline away from the model. The worst: {pair}, "
        f"{mjd_text(first['time_mjd_s'])} UTC, {si(first['frequency_hz'], 'Hz', 6)}, {first['deviation']:.3g} sigma. "
        f"By antenna: {by_antenna}; by spectral window: {by_window}. Flag them (radio interference, or a bad "
        "integration): they make stripes in the image. NAME-qa.json lists the worst.",
        float(count),
        [name_of(antennas, number) for number, _ in counts],
        [band_name(band) for *band, _ in windows],
    )


def mjd_text(seconds: float) -> str:
    """A time [s], Modified Julian Date, as text."""
    return str(np.datetime64("1858-11-17T00:00:00", "s") + np.timedelta64(round(seconds), "s")).replace("T", " ")


def _outlying(values, least, sigmas, upper=False):
    """Which values are away from the median by `least` and by `sigmas` robust standard deviations of all."""
    known = np.isfinite(values)
    middle = np.median(values[known]) if known.any() else 0.0
    away = values - middle
    scatter = 1.4826 * float(np.median(np.abs(away[known]))) if known.any() else 0.0
    size = away if upper else np.abs(away)
    return known & (size > max(least, sigmas * scatter if known.sum() > 2 else 0.0))


def _more(count):
    return f" and {count} more" if count > 0 else ""

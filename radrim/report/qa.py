"""NAME-qa.json: numbers that judge the quality of an image automatically.

A run writes this file last. Its keys name the units; unknown and infinite values are null; docs/batch.md describes each
key. The module also checks the limits of an image, so that `radrim image` and `radrim batch` use the same checks.
"""

import json
import math
import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from radrim.config.options import ImageConfig
from radrim.errors import InputError
from radrim.geometry import ImageGrid
from radrim.report.diagnosis import Finding, band_name, mjd_text, name_of
from radrim.report.sources import Island, IslandSettings, brightest
from radrim.report.specs import ReportSettings
from radrim.result import Image, Stokes
from radrim.runtime.files import atomic_write
from radrim.visibilities import Observation

SCHEMA, VERSION = "radrim-qa", 1
"""The version increases when a key changes its meaning or is removed, but not when a key is added."""


@dataclass(frozen=True)
class Limits:
    """Limits that an image must meet to pass; None: not checked.

    Parameters
    ----------
    max_rms : float
        Noise of the residual [Jy/beam].
    max_noise_ratio : float
        Noise of the residual over the noise expected from the scatter of the data.
    min_dynamic_range : float
        Peak over noise; below 5 no source is significant.
    max_flagged : float
        Fraction of flagged visibilities.
    max_beam_arcsec : float
        Major axis of the restoring beam.
    """

    max_rms: float | None = None
    max_noise_ratio: float | None = None
    min_dynamic_range: float | None = 5.0
    max_flagged: float | None = 0.9
    max_beam_arcsec: float | None = None


MEASURED = {
    "max_rms": ("noise", "residual_rms_jy_per_beam"),
    "max_noise_ratio": ("noise", "ratio_to_scatter"),
    "min_dynamic_range": ("dynamic_range",),
    "max_flagged": ("data", "flagged_fraction"),
    "max_beam_arcsec": ("beam", "major_arcsec"),
}
"""Keys of the quantity of each limit in the file."""


def measure(
    image: Image,
    channels: int,
    grid: ImageGrid,
    observation: Observation,
    config: ImageConfig,
    thermal: float,
    scatter: float,
) -> dict[str, Any]:
    """Numbers of a run from its images and data; `finish` adds times, memory and files.

    Parameters
    ----------
    image : Image
        All output channels together, if there are several.
    channels : int
        Output channels.
    grid : ImageGrid
    observation : Observation
    config : ImageConfig
    thermal, scatter : float
        Noise expected from the weights (1/sigma^2), and from the scatter of the data [Jy/beam].

    Returns
    -------
    dict
    """
    peak = _peak(image.best)
    limits = IslandSettings()
    sources: list[Island] = []
    edge = limits.edge * image.noise
    if image.image is not None:  # the brightest islands of a dirty image can be sidelobes
        sources, edge = brightest(image.image, grid, image.noise, image.beam, signed=image.stokes in ("Q", "U", "V"))
    return {
        "inputs": list(config.ms),
        "object": observation.object,
        "telescope": observation.telescope,
        "date_obs": observation.date_obs,
        "stokes": image.stokes,
        "image": {
            "width_pixels": grid.width,
            "height_pixels": grid.height,
            "scale_arcsec": _arcsec(grid.scale),
            "ra_deg": math.degrees(grid.ra),
            "dec_deg": math.degrees(grid.dec),
            "frequency_hz": image.freq,
            "bandwidth_hz": image.bandwidth,
            "output_channels": channels,
        },
        "noise": {
            "residual_rms_jy_per_beam": image.noise,
            "expected_from_weights_jy_per_beam": thermal,
            "expected_from_scatter_jy_per_beam": scatter,
            "ratio_to_weights": image.noise / thermal if thermal else None,
            "ratio_to_scatter": image.noise / scatter if scatter else None,
        },
        "peak_jy_per_beam": peak,
        "dynamic_range": abs(peak) / image.noise if image.noise else None,
        "model_flux_jy": None if image.model is None else _total(image.model),
        "beam": {
            "major_arcsec": _arcsec(image.beam.major),
            "minor_arcsec": _arcsec(image.beam.minor),
            "pa_deg": math.degrees(image.beam.pa),
        },
        "sources": [_source(one, image.pb) for one in sources],
        "source_limits": {"peak_jy_per_beam": limits.peak * image.noise, "edge_jy_per_beam": edge},
        "data": _data(observation),
        "deconvolution": {
            "solver": config.solver if image.stop else None,
            "stop": image.stop or None,
            "major_cycles": len(image.cycles),
            "components": sum(cycle["components"] for cycle in image.cycles),
        },
    }


def measure_others(stokes: Stokes, first: str, scatter: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Noise and peak of all Stokes parameters but the first, which `measure` describes.

    Parameters
    ----------
    stokes : Stokes
    first : str
    scatter : dict of str to float
        Noise expected of each from the scatter of the data [Jy/beam].

    Returns
    -------
    dict of str to dict
    """
    return {
        name: {
            "residual_rms_jy_per_beam": facts.noise,
            "expected_from_scatter_jy_per_beam": scatter[name],
            "peak_jy_per_beam": _peak(stokes[name].best),
        }
        for name, facts in zip(stokes, stokes.headers, strict=True)
        if name != first
    }


def measure_fit(image: Image, antennas: Sequence[str], findings: Sequence[Finding]) -> dict[str, Any]:
    """How well the model fits fitted and kept-out visibilities, in chi^2 per datum, and what that says.

    Parameters
    ----------
    image : Image
    antennas : sequence of str
        Their names.
    findings : sequence of Finding

    Returns
    -------
    dict
        'visibility_fit' is None if no visibilities were kept out.
    """
    found = [finding.as_dict() for finding in findings]
    fit = image.fit_quality
    if not fit:
        return {"visibility_fit": None, "findings": found}
    wild = {
        **fit["wild"],
        "antennas": {name_of(antennas, number): count for number, count in fit["wild"]["antennas"]},
        "windows": {band_name(band): count for *band, count in fit["wild"]["windows"]},
        "worst": [_named(one, antennas) for one in fit["wild"]["worst"]],
    }
    judged = [cycle for cycle in image.cycles if "kept_chi2" in cycle]
    keys = ("channel", "cycle", "fitted_chi2", "kept_chi2", "kept_change", "kept_error")
    return {
        "visibility_fit": {
            "unit": "chi^2 per datum",
            **fit["all"],
            "major_cycles": [{key: cycle[key] for key in keys if key in cycle} for cycle in judged],
            "by_baseline_length": fit["lengths"],
            "by_antenna": [{**one, "antenna": name_of(antennas, one["antenna"])} for one in fit["antennas"]],
            "by_window": fit["windows"],
            "wild_samples": wild,
        },
        "findings": found,
    }


def _named(sample, antennas):
    """A wild sample with the names of its antennas and its time as text."""
    names = [name_of(antennas, number) for number in sample["antennas"]]
    return {**sample, "antennas": names, "time_utc": mjd_text(sample["time_mjd_s"])}


def finish(
    quality: dict[str, Any],
    command: str,
    seconds: Mapping[str, float],
    notes: Sequence[str],
    versions: Mapping[str, str],
    files: Sequence[str | Path],
) -> dict[str, Any]:
    """The complete content of the file: numbers of `measure`, of the run, and the checks of the default limits.

    Parameters
    ----------
    quality : dict
    command : str
    seconds : mapping of str to float
        Time of each step [s].
    notes : list of str
        Warnings and remarks.
    versions : mapping of str to str
    files : list of Path
        Files that the run has written.
    """
    quality = {"schema": SCHEMA, "schema_version": VERSION, "state": "complete", **quality}
    quality["checks"] = judge(quality, Limits())
    return quality | {
        "notes": list(notes),
        "times_s": {**seconds, "total": sum(seconds.values())},
        "peak_memory_bytes": peak_memory(),
        "command": command,
        "versions": versions,
        "files": [Path(path).name for path in files],
    }


def judge(quality: Mapping[str, Any], limits: Limits) -> list[dict[str, Any]]:
    """Check whether an image meets its limits.

    Parameters
    ----------
    quality : mapping
        From `read_qa`.
    limits : Limits

    Returns
    -------
    list of dict
        'check', 'value', 'limit' and 'state' ('pass' or 'warn') of each limit. An unknown value does not pass.
    """
    checks = []
    for field in fields(limits):
        limit = getattr(limits, field.name)
        if limit is None:
            continue
        value = quality
        for key in MEASURED[field.name]:
            value = value[key]
        kept = value is not None and (value >= limit if field.name.startswith("min") else value <= limit)
        checks.append({"check": field.name, "value": value, "limit": limit, "state": "pass" if kept else "warn"})
    return checks


def complaint(checks: Sequence[Mapping[str, Any]]) -> str:
    """The failed checks, in words; empty if all pass."""
    words = []
    for check in checks:
        if check["state"] == "warn":
            side, what = check["check"].split("_", 1)
            found = "unknown" if check["value"] is None else f"{check['value']:.3g}"
            relation = "below" if side == "min" else "above"
            words.append(f"{what.replace('_', ' ')} {found}, {relation} {check['check']} = {check['limit']:g}")
    return "; ".join(words)


def write_qa(path: str | Path, quality: Mapping[str, Any]) -> None:
    """Write the file, atomically.

    Raises
    ------
    OutputError
        The folder is missing or read-only, or the disk is full.
    """
    text = json.dumps(_plain(quality), indent=1, allow_nan=False, ensure_ascii=False)
    with atomic_write(path) as file:
        file.write(f"{text}\n".encode())


def read_qa(path: str | Path) -> dict[str, Any]:
    """The content of a NAME-qa.json.

    Raises
    ------
    InputError
        The file cannot be read, or is not of this version.
    """
    try:
        quality = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}.") from None
    if not isinstance(quality, dict) or (quality.get("schema"), quality.get("schema_version")) != (SCHEMA, VERSION):
        raise InputError(f"{path} is not a quality file of version {VERSION} of radrim; make the image again.")
    return quality


def peak_memory() -> int:
    """Peak memory of this process or of one of its finished children, whichever is larger [bytes]."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return 1024 * max(_own_peak(), children)


def _own_peak():
    """Peak memory of this process [KiB]."""
    try:
        # ru_maxrss would start from the memory of the parent process.
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0])
    except (OSError, IndexError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _source(island, pb):
    """One source, as an entry of the file."""
    facts = {
        "ra_deg": math.degrees(island.ra),
        "dec_deg": math.degrees(island.dec),
        "x_pixel": island.x,
        "y_pixel": island.y,
        "peak_jy_per_beam": island.peak,
        "flux_jy": island.flux,
        "pixels": island.pixels,
    }
    if pb is not None:
        facts["primary_beam"] = float(pb[island.peak_y, island.peak_x])
    return facts


def _data(observation):
    """Numbers of visibilities read, used and dropped."""
    counts, used = observation.counts, 0
    for block in observation.blocks:
        for start in range(0, len(block.weight), ReportSettings.rows):  # blocks may be larger than the memory
            used += int(np.count_nonzero(block.weight[start : start + ReportSettings.rows] > 0))
    dropped = {f"dropped_{name}": number for name, number in counts.items() if name not in ("samples", "flagged")}
    return {
        "visibilities": counts["samples"],
        "visibilities_used": used,
        "flagged_fraction": counts["flagged"] / counts["samples"],
        **dropped,
    }


def _peak(image):
    """The finite pixel of largest magnitude, with its sign."""
    parts = (
        np.asarray(image[row : row + ReportSettings.rows]) for row in range(0, image.shape[0], ReportSettings.rows)
    )
    extremes = [value for part in parts for value in (np.nanmin(part), np.nanmax(part))]
    return float(max(extremes, key=abs))


def _total(image):
    return float(
        sum(
            np.asarray(image[row : row + ReportSettings.rows]).sum(dtype=np.float64)
            for row in range(0, len(image), ReportSettings.rows)
        )
    )


def _arcsec(angle):
    return math.degrees(angle) * 3600


def _plain(value):
    """A value as JSON holds it: numbers that are not finite become null."""
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)

"""Writes the results of `radrim compare`: a page, a picture, and numbers for other programs."""

import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from radrim.beam import restore
from radrim.comparison import figures as compare_figures
from radrim.comparison.images import Comparison, Side
from radrim.comparison.settings import ComparisonSettings
from radrim.geometry import ARCSEC, format_angle
from radrim.metrics import scatter
from radrim.report.figures import sky_figure
from radrim.report.page import data_uri, write_page
from radrim.report.render import render
from radrim.report.sources import IslandSettings
from radrim.report.specs import ReportSettings, SkyStyle, brightness_norm, even_norm, model_norm, sky_size
from radrim.runtime.files import atomic_write
from radrim.units import si
from radrim.version import versions

UNITS = ("arcsec", 1.0), ("mas", 1e-3), ("µas", 1e-6)
"""Units of offsets [arcsec]; the page uses the largest unit that does not exceed the beam."""


def write_comparison(comparison: Comparison, prefix: str | Path, command: str) -> dict[str, Path]:
    """Write the page, the picture and the numbers.

    Parameters
    ----------
    comparison : Comparison
    prefix : str or Path
        Beginning of the file names.
    command : str
        Command that made the comparison.

    Returns
    -------
    dict of str to Path
        'report', 'png', 'json', 'csv'.

    Raises
    ------
    OutputError
        The folder is missing or read-only, or the disk is full.
    """
    paths = {kind: Path(f"{prefix}.{end}") for kind, end in
             (("report", "html"), ("png", "png"), ("json", "json"), ("csv", "csv"))}  # fmt: skip
    rows, pngs = glance(comparison), _figures(comparison)
    write_page(
        paths["report"], "compare.html.j2", c=comparison, command=command, facts=_facts(comparison), rows=rows,
        listed=_listed(comparison), total=len(comparison.sources), figures={k: data_uri(v) for k, v in pngs.items()},
        limit=residual_limit(comparison),
        agreement=agreement(comparison), scores=_scores(comparison),
        threshold=IslandSettings.peak, edge=IslandSettings.edge,
        versions=versions(), reduction=math.ceil(max(comparison.grid.shape) / (ReportSettings.shown // 2)),
        files=[str(p) for p in [*comparison.radrim.paths.values(), *comparison.peer.paths.values(), *paths.values()]],
    )  # fmt: skip
    with atomic_write(paths["png"]) as file:
        file.write(_mosaic([[pngs[f"{kind}_{place}"] for place in ("left", "right")] for kind in ("image", "residual")]
                           + [[pngs["spectra"], pngs["histogram"]]]))  # fmt: skip
    with atomic_write(paths["json"]) as file:
        file.write((json.dumps(_plain(as_dict(comparison, rows, command)), indent=1) + "\n").encode())
    with atomic_write(paths["csv"]) as file:
        text = io.StringIO()
        comparison.sources.write(text, format="ascii.ecsv", delimiter=",")
        file.write(text.getvalue().encode())
    return paths


def glance(comparison: Comparison) -> list[dict[str, Any]]:
    """The rows of the table of key numbers.

    Returns
    -------
    list of dict
        'quantity', 'key', 'values' (two numbers), 'texts' (two), and 'better': the index of the better side, or None.
    """
    sides, expected = comparison.sides, comparison.expected
    rows = [
        _row("Noise of the residual (MAD)", "noise", [s.noise for s in sides], "Jy/beam", expected and expected.noise),
        _row("Rms of the residual", "rms", [scatter(s.residual) for s in sides], "Jy/beam",
             expected and expected.noise),
        _row("Largest |residual|", "peak_residual", [float(np.abs(s.residual).max()) for s in sides], "Jy/beam"),
    ]  # fmt: skip
    excess = [found for side in sides if (found := excess_of(comparison, side)) is not None]
    if excess:
        texts = [f"{value:.2f} × at {si_angle(scale)}" for value, scale in excess]
        at_least = [max(1.0, value) for value, _ in excess]
        rows.append(_row("Residual over expected noise, worst scale", "excess", [v for v, _ in excess], texts=texts,
                         better=_lower(at_least)))  # fmt: skip
    rows += [
        _row("Peak of the image", "peak", [float(s.smoothed.max()) for s in sides], "Jy/beam"),
        _row("Peak / noise", "dynamic_range", [float(np.abs(s.smoothed).max()) / max(s.noise, 1e-30) for s in sides]),
        _row("Flux of the model", "model_flux", [float(s.model.sum(dtype=float)) for s in sides], "Jy"),
    ]
    if comparison.settings.get("pol", "I") == "I":
        holes = [s.holes for s in sides]
        rows.append(_row(f"Negative islands (below −{IslandSettings.peak:g} σ)", "negative_islands", holes,
                         better=_lower(holes)))  # fmt: skip
    texts = [str(s.beam) for s in sides]
    rows.append(_row("Restoring beam", "beam", [s.beam.major for s in sides], texts=texts))
    for title, key, values in (
        ("Wall time", "wall_s", [s.done.wall for s in sides]),
        ("Processor time", "cpu_s", [s.done.cpu for s in sides]),
    ):
        rows.append(_row(title, key, values, texts=[f"{v:.1f} s" for v in values], better=_lower(values)))
    memory = [s.done.memory for s in sides]
    rows.append(_row("Peak memory", "memory_bytes", memory, texts=[f"{v / 1e9:.2f} GB" for v in memory],
                     better=_lower(memory)))  # fmt: skip
    cycles = [s.cycles for s in sides]
    if None not in cycles:  # None with several channels, which stop at different numbers
        rows.append(_row("Major cycles", "major_cycles", cycles, texts=[str(n) for n in cycles]))
    return rows


def _row(quantity, key, values, unit="", ideal=None, texts=None, better=None):
    """One row. With an `ideal`, the value whose ratio to it is nearer to 1 is better."""
    if texts is None:
        texts = [si(v, unit) if unit else f"{v:,.0f}" for v in values]
    if ideal:
        texts = [f"{text} ({v / ideal:.2f} × expected)" for text, v in zip(texts, values, strict=True)]
        better = _lower([math.exp(abs(math.log(max(v, 1e-30) / ideal))) for v in values])
    return {"quantity": quantity, "key": key, "values": list(values), "texts": texts, "better": better}


def _lower(values):
    """Index of the lower of two values; None if they differ by 2 % of the larger or less."""
    a, b = values
    if abs(a - b) <= 0.02 * max(abs(a), abs(b)):
        return None
    return 0 if a < b else 1


def excess_of(comparison: Comparison, side: Side) -> tuple[float, float] | None:
    """Largest ratio of residual to expected noise, and its angular scale [rad]; None if the noise is unknown."""
    spectra = comparison.spectra
    used = compare_figures.measured_rings(spectra)
    if not used.any():
        return None
    ratio = np.sqrt(np.asarray(spectra[side.key])[used] / np.asarray(spectra["expected"])[used])
    worst = int(ratio.argmax())
    return float(ratio[worst]), math.radians(float(np.asarray(spectra["scale"])[used][worst]) / 3600)


def si_angle(angle: float) -> str:
    """An angle as text, with three digits."""
    return format_angle(angle, 3)


def _scores(comparison):
    """Rows of the scores against the truth; empty without a truth."""
    names = {
        "native": "Model, pixel by pixel [dB]", "half": "Model at half the beam [dB]", "beam": "Model at the beam [dB]",
        "image": "Restored image [dB]", "logimage": "Restored image, logarithmic [dB]",
        "flux": "Model flux / true flux",
    }  # fmt: skip
    rows = []
    for key, title in names.items():
        values = [side.scores.get(key) for side in comparison.sides]
        if None in values:
            continue
        far = [abs(v - 1) if key == "flux" else -v for v in values]
        texts = [f"{v:.4g}" if key == "flux" else f"{v:.1f}" for v in values]
        better = None if texts[0] == texts[1] else int(far[1] < far[0])
        rows.append({"quantity": title, "key": key, "values": values, "texts": texts, "better": better})
    return rows


def agreement(comparison: Comparison) -> list[dict[str, Any]]:
    """Agreement of the sources of each pair of images.

    Returns
    -------
    list of dict
        For each pair: 'names'; 'both' and 'only' (numbers of sources in both images, and in each alone); 'flux_ratio'
        (median); 'flux_sigma' and 'position_sigma' (medians of |difference| over the error from noise in one image).
    """
    table, keys = comparison.sources, {side.key: side.name for side in comparison.sides}
    pairs = [tuple(keys)] if comparison.truth is None else [(key, "truth") for key in keys]
    keys["truth"] = "the truth"
    found = []
    for first, second in pairs:
        has = [np.isfinite(np.asarray(table[f"{key}_flux"])) for key in (first, second)]
        both = has[0] & has[1]
        numbers = {"flux_ratio": math.nan, "flux_sigma": math.nan, "position_sigma": math.nan}
        if both.any():
            part = table[both]
            ratio = np.asarray(part[f"{first}_flux"]) / np.asarray(part[f"{second}_flux"])
            off = np.abs(np.asarray(part[f"{first}_flux"]) - np.asarray(part[f"{second}_flux"]))
            apart = [(np.asarray(part[f"{first}_d{axis}"]) - np.asarray(part[f"{second}_d{axis}"]))
                     / np.asarray(part[f"{axis}_error"]) for axis in ("ra", "dec")]  # fmt: skip
            numbers = {
                "flux_ratio": float(np.median(ratio)),
                "flux_sigma": float(np.median(off / np.asarray(part["flux_error"]))),
                "position_sigma": float(np.median(np.hypot(*apart))),
            }
        found.append({"names": [keys[first], keys[second]], "both": int(both.sum()),
                      "only": [int((has[0] & ~has[1]).sum()), int((has[1] & ~has[0]).sum())], **numbers})  # fmt: skip
    return found


def _facts(comparison):
    """The key numbers at the head of the page."""
    grid, settings, expected = comparison.grid, comparison.settings, comparison.expected
    facts = {
        "Image": f"{grid.width} × {grid.height} pixels of {format_angle(grid.scale)}",
        "Frequency": si(comparison.freq, "Hz", 5),
        "Weighting": str(settings["weight"]),
        "Beam": str(comparison.beam).replace(" x ", " × "),
        "Expected noise": si(expected.noise, "Jy/beam") if expected else "not known",
        "Sources": f"{len(comparison.sources)} above {IslandSettings.peak:g} σ",
    }
    if settings.get("pol", "I") != "I":
        facts["Stokes"] = settings["pol"]
    return facts


def _listed(comparison):
    """The brightest sources as texts for the page, and the unit of their offsets."""
    table = comparison.sources
    if len(table) == 0:
        return [], ""
    keys = [*(["truth"] if comparison.truth is not None else []), *(side.key for side in comparison.sides)]
    peak = np.nanmax([np.asarray(table[f"{key}_peak"]) for key in keys], axis=0)
    # Offsets are small fractions of a beam.
    unit, per = next(((u, p) for u, p in UNITS if comparison.beam.minor / ARCSEC >= p), UNITS[-1])
    digits = max(0, math.ceil(-math.log10(comparison.beam.minor / ARCSEC / 100)))  # a hundredth of the beam
    rows = []
    for source in table[np.argsort(-peak)[: ComparisonSettings.listed]]:
        cells = {}
        for key in keys:
            if math.isfinite(source[f"{key}_flux"]):
                cells[key] = {
                    "peak": si(source[f"{key}_peak"], "Jy/beam"),
                    "flux": si(source[f"{key}_flux"], "Jy"),
                    "off": f"{source[f'{key}_dra'] / per:+.3g}, {source[f'{key}_ddec'] / per:+.3g}",
                }
        rows.append({
            "number": int(source["source"]), "cells": cells,
            "position": _sexagesimal(source["ra"], source["dec"], digits),
            "flux_error": si(source["flux_error"], "Jy", 2), "peak_error": si(source["peak_error"], "Jy/beam", 2),
            "position_error": f"{source['ra_error'] / per:.2g}, {source['dec_error'] / per:.2g}",
        })  # fmt: skip
    return rows, unit


def _sexagesimal(ra, dec, digits):
    """A position [deg] as text, with `digits` decimals of an arcsecond."""
    from astropy.coordinates import Angle

    hours = Angle(ra, "deg").to_string("hourangle", sep=":", precision=digits + 1, pad=True)
    return f"{hours} {Angle(dec, 'deg').to_string('deg', sep=':', precision=digits, pad=True, alwayssign=True)}"


def _figures(comparison):
    """PNG of each figure, by its name."""
    sides, grid, noise, beam = comparison.sides, comparison.grid, comparison.noise, comparison.beam
    brightest = max((side.smoothed for side in sides), key=np.max)
    expected = comparison.expected.noise if comparison.expected else max(side.noise for side in sides)
    limit = residual_limit(comparison)
    kinds = {
        "image": ("smoothed", "Jy/beam", brightness_norm(brightest, noise), "inferno"),
        "residual": ("residual", "Jy/beam", even_norm(limit), "RdBu_r"),
        "model": ("model", "Jy/pixel", model_norm(max((side.model for side in sides), key=np.max)), "inferno"),
    }
    pngs = {}
    for kind, (name, unit, norm, cmap) in kinds.items():
        for place, side in zip(("left", "right"), sides, strict=True):
            pngs[f"{kind}_{place}"] = _sky(comparison, getattr(side, name), norm, f"{side.name}, {kind}", unit, cmap)
    if comparison.truth is not None:
        seen = restore(comparison.truth, beam, grid.scale)
        wrong = _wide_norm([side.smoothed - seen for side in sides], limit)
        pngs["truth"] = _sky(comparison, seen, kinds["image"][2], "Truth, with the same beam", "Jy/beam", "inferno")
        for place, side in zip(("left", "right"), sides, strict=True):
            title = f"{side.name}, image − truth"
            pngs[f"error_{place}"] = _sky(comparison, side.smoothed - seen, wrong, title, "Jy/beam", "RdBu_r")
    difference = sides[0].smoothed - sides[1].smoothed
    pngs["difference"] = _sky(comparison, difference, _wide_norm([difference], limit),
                              f"{sides[0].name} − {sides[1].name}, image", "Jy/beam", "RdBu_r")  # fmt: skip
    half = (ComparisonSettings.panel, 3.5)
    pngs["spectra"] = render(half, compare_figures.spectra_figure, comparison.spectra, sides, beam)
    pngs["histogram"] = render(half, compare_figures.histograms_figure, sides, expected)
    if max(pair["both"] for pair in agreement(comparison)) >= ComparisonSettings.plotted:
        reference = (sides[1].key, sides[1].name) if comparison.truth is None else ("truth", "truth")
        shown = sides[:1] if comparison.truth is None else sides
        pngs["fluxes"] = render(half, compare_figures.fluxes_figure, comparison.sources, shown, reference)
        pngs["positions"] = render(half, compare_figures.positions_figure, comparison.sources, shown, reference,
                                           beam)  # fmt: skip
    return pngs


def residual_limit(comparison: Comparison) -> float:
    """Limit of the colours of both residuals [Jy/beam]: five times the lower noise."""
    noise = min(side.noise for side in comparison.sides)
    return 5 * max(noise, comparison.expected.noise if comparison.expected else 0) or 1.0


def _wide_norm(images, least):
    """Norm around 0 that few pixels exceed."""
    limit = max(least, *(float(np.percentile(np.abs(image), 99.5)) for image in images))
    return even_norm(limit)


def _sky(comparison, image, norm, title, unit, cmap):
    """One picture of the sky."""
    grid = comparison.grid
    style = SkyStyle(norm, title, unit=unit, cmap=cmap, shown=ReportSettings.shown // 2, keep_peaks=cmap != "RdBu_r")
    return render(
        sky_size(grid, ComparisonSettings.panel), sky_figure, image, grid, comparison.beam, style, palette=[cmap]
    )


def _mosaic(rows):
    """Join rows of PNGs into one PNG."""
    pictures = [[Image.open(io.BytesIO(png)).convert("RGB") for png in row] for row in rows]
    width = max(sum(p.width for p in row) for row in pictures)
    height = sum(max(p.height for p in row) for row in pictures)
    whole, y = Image.new("RGB", (width, height), "white"), 0
    for row in pictures:
        x = 0
        for picture in row:
            whole.paste(picture, (x, y))
            x += picture.width
        y += max(p.height for p in row)
    file = io.BytesIO()
    whole.quantize(256, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue()


def as_dict(comparison: Comparison, rows: Sequence[Mapping[str, Any]], command: str) -> dict[str, Any]:
    """All numbers, for JSON."""
    expected = comparison.expected
    programs = {}
    for number, side in enumerate(comparison.sides):
        programs[side.key] = {
            "name": side.name, "version": side.detail, "command": side.command,
            "files": {kind: str(path) for kind, path in side.paths.items()},
            "beam_arcsec": [math.degrees(side.beam.major) * 3600, math.degrees(side.beam.minor) * 3600],
            "beam_pa_deg": math.degrees(side.beam.pa),
            **{row["key"]: row["values"][number] for row in rows if row["key"] != "beam"},
            "scores": side.scores,
        }  # fmt: skip
    table = comparison.sources
    return {
        "command": command,
        "programs": programs,
        "noise_jy_beam": comparison.noise,
        "expected_noise_jy_beam": expected.noise if expected else None,
        "scatter": expected.scatter if expected else None,
        "agreement": agreement(comparison),
        "spectra": {name: comparison.spectra[name].tolist() for name in comparison.spectra.colnames},
        "spectra_units": _units(comparison.spectra),
        "sources": [dict(zip(table.colnames, (v.item() for v in row), strict=True)) for row in table.as_array()],
        "sources_units": _units(table),
        "settings": dict(comparison.settings),
        "notes": comparison.notes,
        "versions": versions(),
    }


def _units(table):
    return {name: str(table[name].unit) for name in table.colnames if table[name].unit is not None}


def _plain(value):
    """A value as JSON holds it: NaN becomes null."""
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value

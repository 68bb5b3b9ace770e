"""Summaries of a batch: summary.csv and summary.ecsv for programs, index.html and a printed table for people."""

import fcntl
import io
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radrim.batch.items import DONE, FAILED, RUNNING, STOPPED, SUSPECT, WAITING, Item
from radrim.beam import Beam
from radrim.errors import InputError
from radrim.geometry import ARCSEC
from radrim.report.qa import Limits, complaint, judge, read_qa, write_qa
from radrim.runtime.files import atomic_write
from radrim.units import si

if TYPE_CHECKING:
    from astropy.table import Table

ORDER = (FAILED, SUSPECT, STOPPED, RUNNING, WAITING, DONE)
"""Order of the states on the page: those that need attention come first."""
COLUMNS: dict[str, tuple[type, str | None]] = {
    "name": (str, None),
    "state": (str, None),
    "reason": (str, None),
    "rms": (float, "Jy/beam"),
    "noise_ratio": (float, None),
    "peak": (float, "Jy/beam"),
    "dynamic_range": (float, None),
    "beam_major": (float, "arcsec"),
    "beam_minor": (float, "arcsec"),
    "beam_pa": (float, "deg"),
    "flagged": (float, None),
    "time": (float, "s"),
    "peak_memory": (float, "MB"),
    "attempts": (int, None),
    "finished": (str, None),
    "inputs": (str, None),
}
"""Type and unit of the columns of the summary."""
LOCK = ".summary.lock"


def judged(item: Item, limits: Limits) -> dict[str, Any]:
    """The quality file of a finished image, with checks for these limits. If the checks change, the file is rewritten.

    Raises
    ------
    InputError
        The file cannot be read.
    """
    quality = read_qa(item.file("-qa.json"))
    checks = judge(quality, limits)
    if checks != quality["checks"]:
        quality["checks"] = checks
        write_qa(item.file("-qa.json"), quality)
    return quality


def summarise(item: Item, limits: Limits) -> dict[str, Any]:
    """One row of the summary; unknown numbers are None.

    Parameters
    ----------
    item : Item
    limits : Limits
        An image outside the limits is 'suspect'.
    """
    state = item.state()
    row: dict[str, Any] = dict.fromkeys(COLUMNS) | {
        "name": item.name,
        "state": state["state"],
        "reason": state.get("reason") or "",
        "time": state.get("seconds"),
        "peak_memory": state["peak_memory_bytes"] / 1e6 if "peak_memory_bytes" in state else None,
        "attempts": state.get("attempts"),
        "finished": state.get("finished") or "",
        "inputs": " ".join(item.config.ms),
    }
    if row["state"] != DONE:
        return row
    try:
        quality = judged(item, limits)
    except InputError as error:
        return row | {"state": WAITING, "reason": str(error)}
    wrong = complaint(quality["checks"])
    beam, noise = quality["beam"], quality["noise"]
    return row | {
        "state": SUSPECT if wrong else DONE,
        "reason": wrong,
        "rms": noise["residual_rms_jy_per_beam"],
        "noise_ratio": noise["ratio_to_scatter"],
        "peak": quality["peak_jy_per_beam"],
        "dynamic_range": quality["dynamic_range"],
        "beam_major": beam["major_arcsec"],
        "beam_minor": beam["minor_arcsec"],
        "beam_pa": beam["pa_deg"],
        "flagged": quality["data"]["flagged_fraction"],
        "peak_memory": quality["peak_memory_bytes"] / 1e6,
    }


def write_summaries(items: Sequence[Item], limits: Limits, output: str | Path) -> list[dict[str, Any]]:
    """Write summary.csv, summary.ecsv and index.html from the files of the items; returns the rows.

    Tasks of one batch may call this at the same time: they take turns, and the last one writes the summary of all.

    Raises
    ------
    OutputError
        The folder is read-only or the disk is full.
    """
    output = Path(output)
    with open(output / LOCK, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        rows = [summarise(item, limits) for item in items]
        for name, style in (("summary.csv", "ascii.csv"), ("summary.ecsv", "ascii.ecsv")):
            text = io.StringIO()
            _table(rows).write(text, format=style)
            with atomic_write(output / name) as out:
                out.write(text.getvalue().encode())
        with atomic_write(output / "index.html") as out:
            out.write(_page(rows, items, output).encode())
    return rows


def _table(rows: list[dict[str, Any]]) -> "Table":
    """The rows as an astropy table; unknown values are masked."""
    from astropy.table import MaskedColumn, Table

    columns = []
    for name, (kind, unit) in COLUMNS.items():
        values = [row[name] for row in rows]
        data = [kind() if value is None else kind(value) for value in values]
        columns.append(MaskedColumn(data, name, dtype=kind, unit=unit, mask=[value is None for value in values]))
    return Table(columns)


def _page(rows: list[dict[str, Any]], items: Sequence[Item], output: Path) -> str:
    from jinja2 import Environment, StrictUndefined

    source = resources.files("radrim.report").joinpath("templates/batch.html.j2").read_text(encoding="utf-8")
    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(source)
    shown = [row | _links(row, item, output) | {"cells": _cells(row)} for row, item in zip(rows, items, strict=True)]
    shown.sort(key=lambda row: ORDER.index(row["state"]))
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return template.render(title=output.absolute().name, rows=shown, counts=_counts(rows), heads=HEADS, now=now)


def _links(row: dict[str, Any], item: Item, output: Path) -> dict[str, str | None]:
    """Paths from the page to the files of an item; None for files that do not exist."""
    made = row["state"] in (DONE, SUSPECT)
    files = {"picture": ".png", "report": "-report.html", "quality": "-qa.json", "log": ".log"}
    paths = {name: item.file(ending) for name, ending in files.items()}
    return {
        name: path.relative_to(output.absolute()).as_posix() if path.exists() and (made or name == "log") else None
        for name, path in paths.items()
    }


HEADS = ("Rms", "Dynamic range", "Beam", "Time", "Memory")


def _cells(row: dict[str, Any]) -> list[tuple[str, Any]]:
    """(text, sort value) of the columns with numbers."""
    beam = ""
    if row["beam_major"] is not None:
        major, minor = (row[f"beam_{name}"] * ARCSEC for name in ("major", "minor"))
        beam = str(Beam(major, minor, 0.0)).split(",")[0].replace(" x ", " × ")
    texts: tuple[tuple[Any, Callable[[Any], str]], ...] = (
        (row["rms"], lambda value: si(value, "Jy/beam")),
        (row["dynamic_range"], lambda value: f"{value:,.0f}"),
        (row["beam_major"], lambda _: beam),
        (row["time"], duration),
        (row["peak_memory"], lambda value: f"{value / 1e3:.2f} GB"),
    )
    return [("", "") if value is None else (text(value), value) for value, text in texts]


def duration(seconds: float) -> str:
    """A time as text, such as '12 s', '3 min 20 s' or '2 h 05 min'."""
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _counts(rows: list[dict[str, Any]]) -> dict[str, int]:
    """Number of items in each state, in order; states without items are left out."""
    counts = Counter(row["state"] for row in rows)
    return {state: counts[state] for state in ORDER if counts[state]}


def summary_text(rows: list[dict[str, Any]]) -> str:
    """The rows as a table for a terminal; those that need attention come last."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="")
    for head in ("name", "state", *(head.lower() for head in HEADS)):
        table.add_column(head, justify="left" if head in ("name", "state") else "right", no_wrap=True)
    table.add_column("reason", overflow="fold")
    for row in sorted(rows, key=lambda row: -ORDER.index(row["state"])):
        table.add_row(row["name"], row["state"], *(text for text, _ in _cells(row)), row["reason"])
    # Reasons are wrapped on a terminal only, so that a line of a log is one item.
    console = Console(width=None if sys.stdout.isatty() else 10_000, highlight=False, markup=False)
    with console.capture() as text:
        console.print(table)
    states = ", ".join(f"{count} {state}" for state, count in reversed(_counts(rows).items()))
    return "\n".join([*(line.rstrip() for line in text.get().splitlines()), f"{len(rows)} images: {states}"])

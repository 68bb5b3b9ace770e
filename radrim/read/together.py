"""What Measurement Sets that are read together must share: the kind of data, and no sample twice."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from radrim.errors import ConfigError
from radrim.ms.opening import open_table
from radrim.ms.tables import MeasurementSet
from radrim.read.selection import Selection, choose_column
from radrim.read.settings import DEFAULTS, ReadSettings

if TYPE_CHECKING:
    import casacore.tables as casatables


def check_columns(sets: Sequence[MeasurementSet], selection: Selection) -> None:
    """Check that the automatic choice of the column reads the same kind of data from all Measurement Sets.

    Raises
    ------
    ConfigError
        Calibrated data of one and raw data of another would be averaged.
    InputError
        A Measurement Set has no data column.
    """
    if selection.column is not None:
        return
    chosen = [choose_column(ms, selection, []) for ms in sets]
    if len(set(chosen)) == 1:
        return
    named = {column: [ms for ms, one in zip(sets, chosen, strict=True) if one == column] for column in set(chosen)}
    calibrated, raw = named["CORRECTED_DATA"], named["DATA"]
    raise ConfigError(
        f"{_few(calibrated)} CORRECTED_DATA, and {_few(raw)} only DATA: calibrated and uncalibrated data would be "
        "averaged. Image DATA of all with --data-column DATA, or calibrate those that lack CORRECTED_DATA first; if "
        "their DATA are calibrated, split the corrected data of the others into new Measurement Sets."
    )


def _few(sets: Sequence[MeasurementSet]) -> str:
    """The names of some Measurement Sets as the subject of a sentence, with 'has' or 'have'."""
    if len(sets) == 1:
        return f"{sets[0].path} has"
    return f"{sets[0].path} and {len(sets) - 1} more have"


def without_repeats(
    sets: Sequence[MeasurementSet], selection: Selection, settings: ReadSettings = DEFAULTS
) -> tuple[list[MeasurementSet], list[str]]:
    """Measurement Sets without those whose samples are in an earlier one, and a note on each that is left out.

    The same noise counted twice would look like an average of two. Repeats are the same folder under another path, a
    copy, or a selection of rows that another one has as well.

    Parameters
    ----------
    sets : sequence of MeasurementSet
    selection : Selection
        Its column is compared.
    settings : ReadSettings

    Returns
    -------
    list of MeasurementSet
    list of str

    Raises
    ------
    ConfigError
        Two share some of their rows only.
    """
    if len(sets) == 1:
        return list(sets), []
    contents = [_Contents(ms, choose_column(ms, selection, []), settings) for ms in sets]
    kept: list[_Contents] = []
    notes = []
    # Sets with most rows first: one that is part of another is left out, whatever their order.
    for one in sorted(contents, key=lambda contents: -contents.rows):
        whole = next((other for other in kept if one.is_part_of(other)), None)
        if whole is None:
            kept.append(one)
        elif whole.ms.path == one.ms.path:
            notes.append(f"{one.ms.path} is named twice; it is read once.")
        else:
            notes.append(f"{one.ms.path} holds the same data as {whole.ms.path}, and is left out.")
    chosen = {id(one.ms) for one in kept}
    return [ms for ms in sets if id(ms) in chosen], notes


class _Contents:
    """What tells whether two Measurement Sets have samples in common."""

    def __init__(self, ms: MeasurementSet, column: str, settings: ReadSettings):
        self.ms, self.rows = ms, ms.rows
        with open_table(ms.tables) as main:
            # Files and row numbers of the tables that hold the rows: those of selections and concatenations are others.
            self.parts = {_identity(name): name for name in main.partnames(True)} if ms.rows else {}
            here = _identity(ms.tables)
            self.numbers = None if here in self.parts or len(self.parts) != 1 else np.asarray(main.rownumbers())
            self.digest = _digest(ms, main, column, settings.compared_rows) if ms.rows else ""

    def is_part_of(self, other: "_Contents") -> bool:
        """Whether all rows of this one are rows of the other. Raises ConfigError if some of them are."""
        if self.digest and self.digest == other.digest:
            return True
        shared = self.parts.keys() & other.parts.keys()
        if not shared:
            return False
        some, all_of_them = True, shared == self.parts.keys()
        if other.numbers is not None:
            if self.numbers is None:
                some, all_of_them = True, False
            else:
                common = np.isin(self.numbers, other.numbers)
                some, all_of_them = bool(common.any()), bool(common.all())
        if some and not all_of_them:
            raise ConfigError(
                f"{self.ms.path} and {other.ms.path} share rows of {next(self.parts[key] for key in shared)}, which "
                "would count twice: name the Measurement Set that holds all of them, or selections without overlap."
            )
        return some


def _identity(path: str | Path) -> tuple[int, int] | str:
    """What two paths of the same folder have in common."""
    try:
        state = os.stat(path)
    except OSError:
        return os.path.realpath(path)
    return state.st_dev, state.st_ino


def _digest(ms: MeasurementSet, main: "casatables.table", column: str, count: int) -> str:
    """A text that is the same for copies, from some rows; empty if these cannot be compared or hold no signal."""
    digest = hashlib.sha256(f"{ms.rows} {[(f.ra, f.dec) for f in ms.fields]}".encode())
    for window in ms.windows:
        digest.update(window.freq.tobytes() + " ".join(window.correlations).encode())
    signal = False
    step = max(1, ms.rows // count)
    for start in range(0, ms.rows, step):
        for name in ("TIME", "ANTENNA1", "ANTENNA2", "FLAG_ROW", "FLAG", column):
            try:
                cell = np.asarray(main.getcell(name, start))
            except RuntimeError:  # empty or broken: the reader says what is wrong
                return ""
            digest.update(cell.tobytes())
            signal |= name == column and bool(cell.any())
    return digest.hexdigest() if signal else ""

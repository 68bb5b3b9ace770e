"""Reads the tables of frequencies (AIPS FQ) and sources (AIPS SU) of a UVFITS file, and checks them."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from radrim.errors import InputError
from radrim.ms.uvfits_parameters import EXPORT_AGAIN

if TYPE_CHECKING:
    from astropy.io.fits import BinTableHDU, HDUList, Header


def tables_named(hdus: "HDUList", name: str) -> "list[BinTableHDU]":
    """The tables of a name, in the order of the file."""
    return [hdu for hdu in hdus[1:] if hdu.name == name]


def read_frequencies(
    path: Path, header: "Header", hdus: "HDUList", numbers: np.ndarray | None
) -> "tuple[list[BinTableHDU | None], np.ndarray]":
    """The frequency setups of the data.

    Parameters
    ----------
    path : Path
        Name for messages.
    header : Header
        Header of the visibilities.
    hdus : HDUList
    numbers : ndarray, (group,) int, or None
        FREQSEL of each usable group; None if the file has no such parameter.

    Returns
    -------
    list of (BinTableHDU or None)
        AIPS FQ with the row of one setup alone, for each setup in use; None of a file without that table. Setups of
        the same frequencies are one.
    ndarray, (group,) int
        Which of them each group has.

    Raises
    ------
    InputError
        Groups whose frequencies the table does not give, or a table of another number of IFs.
    """
    tables = tables_named(hdus, "AIPS FQ")
    number = header["NAXIS5"] if header["NAXIS"] == 7 else 1
    groups = np.zeros(header["GCOUNT"] if numbers is None else len(numbers), int)
    if not tables:
        if number > 1:
            raise InputError(
                f"{path} has {number} IFs, but no table of their frequencies (AIPS FQ). It was lost when the file was "
                f"made or copied: {EXPORT_AGAIN}"
            )
        return [None], groups
    known = np.asarray(tables[0].data["FRQSEL"])
    wanted, groups = (np.array([1]), groups) if numbers is None else np.unique(numbers, return_inverse=True)
    rows = [_row_of(one, known, numbers is None) for one in wanted]
    missing = [str(one) for one, row in zip(wanted, rows, strict=True) if row is None]
    if missing:
        found = "no FREQSEL" if numbers is None else f"FREQSEL {', '.join(missing)}"
        raise InputError(
            f"{path} has data with {found}, and its table AIPS FQ has the frequency setups "
            f"{', '.join(map(str, known)) or '(none)'}: nothing gives the frequencies of the data. {EXPORT_AGAIN}"
        )
    if np.size(tables[0].data["IF FREQ"][:1]) != number:
        raise InputError(
            f"{path} has {number} IFs, and its table AIPS FQ the frequencies of "
            f"{np.size(tables[0].data['IF FREQ'][:1])}. {EXPORT_AGAIN}"
        )
    names = ("IF FREQ", "CH WIDTH")
    setups: dict[tuple[float, ...], BinTableHDU] = {}
    which = []
    for row in [row for row in rows if row is not None]:
        table = tables[0].copy()
        table.data = table.data[row : row + 1]
        table.header["NO_IF"] = number
        key = tuple(float(value) for name in names for value in np.ravel(table.data[name]))
        which.append(list(setups).index(key) if key in setups else len(setups))
        setups.setdefault(key, table)
    return list(setups.values()), np.array(which, int)[groups]


def _row_of(setup: int, known: np.ndarray, left_out: bool) -> int | None:
    """Row of a frequency setup in AIPS FQ; None if it has none."""
    rows = np.flatnonzero(known == setup)
    if not rows.size and len(known) == 1 and (left_out or setup <= 0):
        return 0  # FREQSEL is left out or not set, and there is one setup
    return int(rows[0]) if rows.size else None


def read_sources(path: Path, hdus: "HDUList", found: np.ndarray) -> "BinTableHDU | None":
    """AIPS SU of a file with the sources `found` (SOURCE); None if the file has no such table, or needs none."""
    tables = tables_named(hdus, "AIPS SU")
    if len(found) > 1 and not tables:
        raise InputError(
            f"{path} has {len(found)} sources, but no table of their positions (AIPS SU). It was lost when the file "
            f"was made or copied: {EXPORT_AGAIN}"
        )
    if not tables or not len(found):
        return None
    known = np.asarray(tables[0].data["ID. NO."])
    missing = [str(number) for number in found if number not in known]
    if missing:
        raise InputError(f"{path}: the table AIPS SU has no source {', '.join(missing)}. {EXPORT_AGAIN}")
    table = tables[0].copy()
    keys = ["RAEPO", "DECEPO"]
    places = np.array([np.asarray(table.data[key], float) for key in keys]).T
    for place in places[np.isin(known, found)]:
        check_position(path, keys, *place)
    wrong = ~np.isfinite(places[:, 0]) | ~(np.abs(places[:, 1]) <= 90)
    if wrong.any():  # of sources without data; pyuvdata reads all
        for key, values in zip(keys, np.where(wrong, 0.0, places.T), strict=True):
            table.data[key] = values
    return table


def check_position(path: Path, keys: list[str], ra: float, dec: float) -> None:
    """Raise InputError if a position in degrees, with its keywords or columns, is none."""
    if not (math.isfinite(ra) and abs(dec) <= 90):
        raise InputError(f"{path} gives its position as RA {ra:g}, Dec {dec:g} degrees ({', '.join(keys)}), which is "
                         f"no position. Correct it, or: {EXPORT_AGAIN}")  # fmt: skip

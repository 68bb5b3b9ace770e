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


def read_frequencies(path: Path, header: "Header", hdus: "HDUList", setups: np.ndarray) -> "BinTableHDU | None":
    """AIPS FQ with the row of the only frequency setup (FREQSEL) of the data; None if the file has no such table."""
    tables = tables_named(hdus, "AIPS FQ")
    number = header["NAXIS5"] if header["NAXIS"] == 7 else 1
    if not tables:
        if number > 1:
            raise InputError(
                f"{path} has {number} IFs, but no table of their frequencies (AIPS FQ). It was lost when the file was "
                f"made or copied: {EXPORT_AGAIN}"
            )
        return None
    if len(setups) > 1:
        raise InputError(
            f"{path} has the frequency setups (FREQSEL) {', '.join(map(str, setups))}, and radrim reads files of one. "
            "Separate them in AIPS (UVCOP or SPLIT with FREQID), or convert it with CASA's importuvfits."
        )
    table = tables[0].copy()
    known = np.asarray(table.data["FRQSEL"])
    rows = np.flatnonzero(known == (setups[0] if len(setups) else 1))
    if not rows.size and len(known) == 1 and (not len(setups) or setups[0] <= 0):
        rows = np.array([0])  # FREQSEL is left out or not set, and there is one setup
    if not rows.size:
        found = f"FREQSEL {setups[0]}" if len(setups) else "no FREQSEL"
        raise InputError(
            f"{path} has data with {found}, and its table AIPS FQ has the frequency setups "
            f"{', '.join(map(str, known)) or '(none)'}: nothing gives the frequencies of the data. {EXPORT_AGAIN}"
        )
    table.data = table.data[rows[:1]]
    if np.size(table.data["IF FREQ"]) != number:
        raise InputError(
            f"{path} has {number} IFs, and its table AIPS FQ the frequencies of {np.size(table.data['IF FREQ'])}. "
            f"{EXPORT_AGAIN}"
        )
    table.header["NO_IF"] = number
    return table


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

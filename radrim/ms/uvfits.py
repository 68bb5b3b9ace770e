"""Recognises UVFITS files, and cuts them into standard parts that pyuvdata reads.

A UVFITS file is a FITS file of random groups: each group has parameters (UU, VV, WW, BASELINE, DATE, ...) and one
array of real part, imaginary part and weight for every Stokes parameter, channel and IF. The tables after the groups
describe the antennas (AIPS AN), frequencies (AIPS FQ) and sources (AIPS SU). In thirty years a dozen programs have
written such files with different conventions; this module converts all of them to one.

References
----------
Greisen (2020), AIPS Memo 117, the AIPS FITS file format.
"""

import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from radrim.errors import InputError

if TYPE_CHECKING:
    from astropy.io.fits import BinTableHDU, GroupData, GroupsHDU, HDUList, Header


EXPORT_AGAIN = "Export it again (AIPS: FITTP; CASA: exportuvfits; DIFMAP: wobs)."
COPY_AGAIN = "Copy or fetch it again."

_KEPT = ("BITPIX", "BSCALE", "BZERO", "OBJECT", "TELESCOP", "INSTRUME", "OBSERVER", "DATE-OBS", "SPECSYS")
_POSITION = ("EPOCH", "EQUINOX", "RADESYS")
_AXES = ("CTYPE", "CRVAL", "CDELT", "CRPIX", "CROTA")
_ANTENNA_KEYS = {
    "ARRAYX": 0.0, "ARRAYY": 0.0, "ARRAYZ": 0.0, "GSTIA0": 0.0, "DEGPDY": 360.9856449733, "UT1UTC": 0.0, "DATUTC": 0.0,
    "RDATE": "2000-01-01", "ARRNAM": "UNKNOWN",
}  # fmt: skip
"""Keywords that pyuvdata needs in an antenna table, and their values for files that leave them out."""


def is_fits(path: str | Path) -> bool:
    """Whether a file begins as every FITS file does."""
    with suppress(OSError), open(path, "rb") as file:
        return file.read(9) == b"SIMPLE  ="
    return False


@dataclass(frozen=True)
class UVFits:
    """The header and the tables of a UVFITS file.

    Parameters
    ----------
    path : Path
    header : Header
        Header of the visibilities, with standard keywords only.
    start, group_bytes : int
        Start of the first group in the file, and the length of a group [bytes].
    groups : int
        Number of groups.
    antennas, frequencies, sources : BinTableHDU or None
        The tables AIPS AN, FQ and SU; of FQ only the row in use.
    offset : float
        Times of the file minus UTC [s].
    notes : list of str
        Corrections of the header, in sentences.
    """

    path: Path
    header: "Header"
    start: int
    group_bytes: int
    groups: int
    antennas: "BinTableHDU"
    frequencies: "BinTableHDU | None"
    sources: "BinTableHDU | None"
    offset: float
    notes: list[str]

    @property
    def size(self) -> int:
        """Size of the visibilities [bytes]."""
        return self.groups * self.group_bytes

    def parts(self, folder: str | Path, size: int) -> Iterator[Path]:
        """The groups as standard UVFITS files of about `size` bytes in `folder`; each is deleted before the next."""
        from astropy.io import fits

        step = max(1, size // self.group_bytes)
        path = Path(folder) / "part.uvfits"
        for first in range(0, self.groups, step):
            count = min(step, self.groups - first)
            header = self.header.copy()
            header["GCOUNT"] = count
            with open(self.path, "rb") as source, open(path, "wb") as part:
                part.write(header.tostring().encode("ascii"))
                source.seek(self.start + first * self.group_bytes)
                part.write(source.read(count * self.group_bytes))
                part.write(b"\0" * (-part.tell() % 2880))
            for table in (self.antennas, self.frequencies, self.sources):
                if table is not None:
                    fits.append(path, table.data, table.header)
            yield path
            path.unlink()


def read_header(path: str | Path) -> UVFits:
    """Read the header of a UVFITS file, and check that it can be converted.

    Raises
    ------
    InputError
        The file is another kind of FITS file, is truncated, lacks a table, or has a format that cannot be read; the
        message says what to do.
    """
    path = Path(path)
    if not is_fits(path):
        fault = "is no FITS file" if os.path.exists(path) else "does not exist"
        raise InputError(f"{path} {fault}; give the path of a UVFITS file.")
    with _opened(path) as hdus:
        header, notes = _legible(hdus[0].header, path)
        _check_kind(path, header, hdus)
        _check_whole(path, hdus)
        _check_axes(path, header)
        table = _Parameters(path, hdus[0].data)
        antennas = _antennas(path, hdus, table)
        values = header["PCOUNT"] + math.prod(header[f"NAXIS{k}"] for k in range(2, header["NAXIS"] + 1))
        return UVFits(
            path,
            _clean(path, header),
            hdus[0].fileinfo()["datLoc"],
            values * abs(header["BITPIX"]) // 8,
            header["GCOUNT"],
            antennas,
            _frequencies(path, header, hdus, table),
            _sources(path, hdus, table),
            _ahead_of_utc(antennas.header),
            notes,
        )


@contextmanager
def _opened(path: Path) -> Iterator["HDUList"]:
    from astropy.io import fits

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # errors of the file are raised with a message below
        try:
            with fits.open(path, memmap=True) as hdus:
                yield hdus
        except (OSError, TypeError, ValueError, KeyError, IndexError, fits.VerifyError) as error:
            raise InputError(f"{path} cannot be read as a FITS file ({first_line(error)}). {COPY_AGAIN}") from error


def first_line(error: Exception) -> str:
    """The first line of an error's message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _legible(header: "Header", path: Path) -> "tuple[Header, list[str]]":
    """The header without cards that are not valid FITS, and notes about those that are left out."""
    from astropy.io.fits import VerifyError

    header = header.copy()
    bad = []
    for index in reversed(range(len(header.cards))):
        try:
            header.cards[index].value  # noqa: B018 - invalid cards raise an error when they are read
        except VerifyError:
            bad.append(header.cards[index].keyword)
            del header[index]
    # Other cards do not matter for the image.
    words = ", ".join(key for key in reversed(bad) if key in (*_KEPT, *_POSITION))
    return header, [f"Header cards of {path.name} that are not FITS were left out: {words}."] if words else []


def _check_kind(path: Path, header: "Header", hdus: "HDUList") -> None:
    names = {hdu.name for hdu in hdus}
    if "UV_DATA" in names or "ARRAY_GEOMETRY" in names:
        raise InputError(
            f"{path} is a FITS-IDI file, not UVFITS; `radrim convert` and `radrim image` read it (from Python: "
            "radrim.ms.formats)."
        )
    if "AIPS UV" in names:
        raise InputError(
            f"{path} holds its visibilities in a table (AIPS UV), which is not read. Load it into AIPS (UVLOD) and "
            "write it with FITTP, or convert it with CASA's importuvfits."
        )
    parameters = {str(header.get(f"PTYPE{k}", ""))[:2] for k in range(1, header.get("PCOUNT", 0) + 1)}
    if not header.get("GROUPS", False) or header.get("NAXIS1", -1) != 0 or not {"UU", "VV"} <= parameters:
        what = (
            "a FITS image" if any(hdu.header.get("NAXIS", 0) >= 2 and hdu.is_image for hdu in hdus) else "a FITS file"
        )
        raise InputError(f"{path} is {what} without visibilities; give a UVFITS file or a Measurement Set.")


def _check_whole(path: Path, hdus: "HDUList") -> None:
    """Raise InputError if the file is shorter than its headers say."""
    length = os.path.getsize(path)
    for hdu in hdus:
        end = hdu.fileinfo()["datLoc"] + hdu.size
        if end > length:
            raise InputError(f"{path} is truncated: it has {length} bytes, and its {_table_name(hdu)} end at {end}. "
                             f"{COPY_AGAIN}")  # fmt: skip
    info = hdus[-1].fileinfo()
    with open(path, "rb") as file:
        file.seek(info["datLoc"] + info["datSpan"])
        if file.read(8) == b"XTENSION":  # astropy leaves out a table whose header is incomplete
            raise InputError(f"{path} is truncated: it has {length} bytes and ends within the header of a table. "
                             f"{COPY_AGAIN}")  # fmt: skip


def _table_name(hdu: "BinTableHDU | GroupsHDU") -> str:
    return "visibilities" if hdu.name in ("", "PRIMARY") else f"data of the table {hdu.name}"


def _check_axes(path: Path, header: "Header") -> None:
    parameters = [str(header.get(f"PTYPE{k}", "")) for k in range(1, header["PCOUNT"] + 1)]
    if "WEIGHT" in parameters and "SCALE" in parameters:
        raise InputError(f"{path} is compressed (AIPS: DOUVCOMP 1), which is not read. Write it with DOUVCOMP -1.")
    axes = [str(header.get(f"CTYPE{k}", "")).strip() for k in range(2, header["NAXIS"] + 1)]
    if header["NAXIS"] not in (6, 7) or axes[:2] != ["COMPLEX", "STOKES"] or axes[2][:4] != "FREQ" \
            or header["NAXIS2"] != 3:  # fmt: skip
        listed = ", ".join(f"{name or '?'} {header[f'NAXIS{k}']}" for k, name in enumerate(axes, 2))
        raise InputError(
            f"{path} has the axes {listed}; read are COMPLEX 3 (with weights), STOKES, FREQ, IF, RA, DEC. "
            f"{EXPORT_AGAIN}"
        )
    suffixes = {name[2:] for name in parameters if name[:2] in ("UU", "VV", "WW")}
    if len(suffixes) != 1 or not suffixes <= {"", "--", "---SIN", "---NCP"}:
        found = ", ".join(name for name in parameters if name[:2] in ("UU", "VV", "WW"))
        raise InputError(f"{path} has the baseline coordinates {found}; read are UU, VV, WW, alone or with --, ---SIN, "
                         f"---NCP. {EXPORT_AGAIN}")  # fmt: skip
    if "DATE" not in parameters or not {"BASELINE", "ANTENNA1"} & set(parameters):
        raise InputError(f"{path} does not say which baseline and time a group is of (DATE, BASELINE). {EXPORT_AGAIN}")


class _Parameters:
    """Values of the random parameters of a file."""

    def __init__(self, path: Path, data: "GroupData") -> None:
        self._path, self._data, self.names = path, data, data.parnames

    def different(self, name: str) -> np.ndarray:
        """Sorted values of a parameter without repeats; an empty array if the file has no such parameter."""
        return np.unique(np.rint(self._data.par(name))).astype(int) if name in self.names else np.empty(0, int)

    def only(self, name: str, what: str, default: int, split: str) -> int:
        """The single value of a parameter; several are refused."""
        found = self.different(name)
        if len(found) > 1:
            raise InputError(
                f"{self._path} has {what} {', '.join(map(str, found))}, and radrim reads files of one. {split}"
            )
        return int(found[0]) if len(found) else default

    def subarray(self) -> int:
        """Number of the single subarray, from SUBARRAY or from the hundredths of BASELINE."""
        split = "Separate them in AIPS (UVCOP or SPLIT with SUBARRAY), or convert it with CASA's importuvfits."
        if "SUBARRAY" in self.names:
            return max(1, self.only("SUBARRAY", "the subarrays", 1, split))
        found = np.unique(np.rint(self._data.par("BASELINE") % 1 * 100)).astype(int) + 1
        if len(found) > 1:
            raise InputError(
                f"{self._path} has the subarrays {', '.join(map(str, found))}, and radrim reads files of one. {split}"
            )
        return int(found[0])


def _tables(hdus: "HDUList", name: str) -> "list[BinTableHDU]":
    return [hdu for hdu in hdus[1:] if hdu.name == name]


def _antennas(path: Path, hdus: "HDUList", parameters: _Parameters) -> "BinTableHDU":
    tables = _tables(hdus, "AIPS AN")
    subarray = parameters.subarray()
    chosen = [hdu for hdu in tables if hdu.ver == subarray] or (tables if len(tables) == 1 else [])
    if not chosen:
        raise InputError(
            f"{path} has no antenna table (AIPS AN) for its subarray {subarray}. It was lost when the file was made or "
            f"copied: {EXPORT_AGAIN}"
        )
    table = chosen[0].copy()
    header = table.header
    for key, value in _ANTENNA_KEYS.items():
        header.setdefault(key, value)
    # Files have question marks and the like as the frame; the handedness of the positions is found from (u, v).
    header["FRAME"], header["EXTVER"] = "ITRF", 1
    header["TIMSYS"] = str(header.get("TIMESYS", header.get("TIMSYS", "UTC"))).strip() or "UTC"
    header.remove("TIMESYS", ignore_missing=True)
    if not {"POLTYA", "POLTYB", "POLAA", "POLAB"} <= set(table.columns.names):
        header["HASFEED"] = False
    return table


def _ahead_of_utc(header: "Header") -> float:
    """Times of a file minus UTC, from the header of its antenna table [s]."""
    if header["TIMSYS"].upper()[:3] in ("IAT", "TAI"):
        return float(header.get("IATUTC", 0.0)) or _leap_seconds(header["RDATE"])
    return float(header["DATUTC"])


def _leap_seconds(date: object) -> float:
    from astropy.time import Time

    try:
        moment = Time(str(date)[:10], scale="utc")
    except ValueError:
        return 0.0
    return float((moment.tai.jd1 - moment.utc.jd1 + moment.tai.jd2 - moment.utc.jd2) * 86400)


def _frequencies(path: Path, header: "Header", hdus: "HDUList", parameters: _Parameters) -> "BinTableHDU | None":
    tables = _tables(hdus, "AIPS FQ")
    number = header["NAXIS5"] if header["NAXIS"] == 7 else 1
    if not tables:
        if number > 1:
            raise InputError(
                f"{path} has {number} IFs, but no table of their frequencies (AIPS FQ). It was lost when the file was "
                f"made or copied: {EXPORT_AGAIN}"
            )
        return None
    table = tables[0].copy()
    split = "Separate them in AIPS (UVCOP or SPLIT with FREQID), or convert it with CASA's importuvfits."
    chosen = parameters.only("FREQSEL", "the frequency setups (FREQSEL)", 1, split)
    rows = np.flatnonzero(np.asarray(table.data["FRQSEL"]) == chosen)
    rows = rows if rows.size else np.arange(len(table.data))
    table.data = table.data[rows[:1]]
    if np.size(table.data["IF FREQ"]) != number or len(rows) == 0:
        raise InputError(
            f"{path} has {number} IFs, and its table AIPS FQ the frequencies of {np.size(table.data['IF FREQ'])}. "
            f"{EXPORT_AGAIN}"
        )
    table.header["NO_IF"] = number
    return table


def _sources(path: Path, hdus: "HDUList", parameters: _Parameters) -> "BinTableHDU | None":
    found = parameters.different("SOURCE")
    tables = _tables(hdus, "AIPS SU")
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
    return tables[0].copy()


def _clean(path: Path, header: "Header") -> "Header":
    """A header with the keywords of the standard only."""
    from astropy.io import fits

    clean = fits.Header()
    clean["SIMPLE"], clean["BITPIX"], clean["NAXIS"] = True, header["BITPIX"], header["NAXIS"]
    for k in range(1, header["NAXIS"] + 1):
        clean[f"NAXIS{k}"] = header[f"NAXIS{k}"]
    clean["EXTEND"], clean["GROUPS"] = True, True
    clean["PCOUNT"], clean["GCOUNT"] = header["PCOUNT"], header["GCOUNT"]
    for k in range(1, header["PCOUNT"] + 1):
        clean[f"PTYPE{k}"] = header[f"PTYPE{k}"]
        clean[f"PSCAL{k}"], clean[f"PZERO{k}"] = header.get(f"PSCAL{k}", 1.0), header.get(f"PZERO{k}", 0.0)
    for k in range(2, header["NAXIS"] + 1):
        for key in _AXES:
            if f"{key}{k}" in header:
                clean[f"{key}{k}"] = header[f"{key}{k}"]
    for key in _KEPT:
        if key in header:
            clean[key] = header[key]
    clean["BUNIT"] = "Jy"
    system = str(header.get("RADESYS", "")).strip().upper()
    equinox = _equinox(path, header)
    if system in ("ICRS", "FK5", "FK4") and (system == "FK4") == (equinox == 1950.0):
        clean["RADESYS"] = system
    clean["EPOCH"] = equinox
    return clean


def _equinox(path: Path, header: "Header") -> float:
    """Equinox, 1950 or 2000, from EPOCH or EQUINOX, which may be text."""
    text = str(header.get("EPOCH", header.get("EQUINOX", 2000.0))).strip().upper().lstrip("JB")
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if value not in (1950.0, 2000.0):
        raise InputError(
            f"{path} gives its position for the equinox {text or 'unknown'}, and 1950 and 2000 are read. Write the "
            "equinox into its header (EPOCH), or precess it in AIPS (EPOSWTCH)."
        )
    return value

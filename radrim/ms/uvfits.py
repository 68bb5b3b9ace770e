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
from radrim.ms.uvfits_antennas import Antennas, read_antennas
from radrim.ms.uvfits_parameters import EXPORT_AGAIN, Parameters
from radrim.ms.uvfits_position import header_equinox
from radrim.ms.uvfits_tables import check_position, read_frequencies, read_sources, tables_named

if TYPE_CHECKING:
    from astropy.io.fits import BinTableHDU, GroupsHDU, HDUList, Header


COPY_AGAIN = "Copy or fetch it again."

_KEPT = ("BITPIX", "BSCALE", "BZERO", "OBJECT", "TELESCOP", "INSTRUME", "OBSERVER", "DATE-OBS", "SPECSYS")
_POSITION = ("EPOCH", "EQUINOX", "RADESYS")
_PAIRS = ("BASELINE", "ANTENNA1", "ANTENNA2", "SUBARRAY")
_AXES = ("CTYPE", "CRVAL", "CDELT", "CRPIX", "CROTA")


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
    antennas : Antennas
    frequencies : list of (BinTableHDU or None)
        For each frequency setup in use, the table AIPS FQ with its row alone.
    setups : ndarray, (usable group,) int
        Which of them each group has.
    sources : BinTableHDU or None
        The table AIPS SU.
    usable : ndarray, (group,) bool
        Groups with a valid date and baseline; the others are left out.
    system, equinox : str, float
        Of the positions: fk4, fk5 or icrs, and a year.
    notes : list of str
        Corrections, in sentences.
    """

    path: Path
    header: "Header"
    start: int
    group_bytes: int
    groups: int
    antennas: Antennas
    frequencies: "list[BinTableHDU | None]"
    setups: np.ndarray
    sources: "BinTableHDU | None"
    usable: np.ndarray
    system: str
    equinox: float
    notes: list[str]

    @property
    def size(self) -> int:
        """Size of the visibilities [bytes]."""
        return self.groups * self.group_bytes

    def parts(self, folder: str | Path, size: int) -> "Iterator[tuple[Path, np.ndarray, int]]":
        """The usable groups as standard UVFITS files of about `size` bytes in `folder`; each is deleted after use.

        Every group is of antenna 1 with itself; its true antennas are those of `antennas` in the rows that come with
        the file. All groups of a file have one frequency setup, the number of which comes last.
        """
        step = max(1, size // self.group_bytes)
        path = Path(folder) / "part.uvfits"
        kind = np.dtype({8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}[self.header["BITPIX"]])
        pairs = [k - 1 for k in range(1, self.header["PCOUNT"] + 1) if self.header[f"PTYPE{k}"].startswith("BASELINE")]
        done = 0
        for first in range(0, self.groups, step):
            usable = self.usable[first : first + step]
            rows = np.arange(done, done + usable.sum())
            done += len(rows)
            if not len(rows):
                continue
            with open(self.path, "rb") as source:
                source.seek(self.start + first * self.group_bytes)
                block = np.frombuffer(source.read(len(usable) * self.group_bytes), kind).reshape(len(usable), -1)
            block = block[usable]
            block[:, pairs] = 0
            for setup in np.unique(self.setups[rows]):
                among = self.setups[rows] == setup
                self._write_part(path, block[among], int(setup))
                yield path, rows[among], int(setup)
                path.unlink()

    def _write_part(self, path: Path, block: np.ndarray, setup: int) -> None:
        """A standard UVFITS file of some groups (group, value) of one frequency setup."""
        from astropy.io import fits

        header = self.header.copy()
        header["GCOUNT"] = len(block)
        with open(path, "wb") as part:
            part.write(header.tostring().encode("ascii"))
            part.write(block.tobytes())
            part.write(b"\0" * (-part.tell() % 2880))
        for table in (self.antennas.table, self.frequencies[setup], self.sources):
            if table is not None:
                fits.append(path, table.data, table.header)


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
        parameters = Parameters(path, hdus[0].data, header)
        usable = parameters.usable()
        if not usable.all():
            notes.append(f"{(~usable).sum()} of {len(usable)} groups of {path.name} have no valid date or baseline and "
                         "were left out.")  # fmt: skip
        antennas = read_antennas(path, tables_named(hdus, "AIPS AN"), parameters, usable)
        sources = read_sources(path, hdus, parameters.different("SOURCE", usable))
        if sources is None:
            keys = [f"CRVAL{header['NAXIS'] - k}" for k in (1, 0)]
            check_position(path, keys, *(float(header.get(key, math.nan)) for key in keys))
        frequencies, setups = read_frequencies(path, header, hdus, parameters.numbers("FREQSEL", usable))
        system, equinox, more = header_equinox(path, header)
        return UVFits(
            path,
            _clean(header, system, equinox),
            hdus[0].fileinfo()["datLoc"],
            _group_bytes(header),
            header["GCOUNT"],
            antennas,
            frequencies,
            setups,
            sources,
            usable,
            system,
            equinox,
            notes + more,
        )


def _group_bytes(header: "Header") -> int:
    values = header["PCOUNT"] + math.prod(header[f"NAXIS{k}"] for k in range(2, header["NAXIS"] + 1))
    return int(values * abs(header["BITPIX"]) // 8)


@contextmanager
def _opened(path: Path) -> Iterator["HDUList"]:
    from astropy.io import fits

    from radrim.write.fits_input import FAULTS

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # errors of the file are raised with a message below
        try:
            with fits.open(path, memmap=True) as hdus:
                yield hdus
        except FAULTS as error:
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
    _check_count(path, hdus[0], length)
    info = hdus[-1].fileinfo()
    with open(path, "rb") as file:
        file.seek(info["datLoc"] + info["datSpan"])
        if file.read(8) == b"XTENSION":  # astropy leaves out a table whose header is incomplete
            raise InputError(f"{path} is truncated: it has {length} bytes and ends within the header of a table. "
                             f"{COPY_AGAIN}")  # fmt: skip


def _check_count(path: Path, hdu: "GroupsHDU", length: int) -> None:
    """Raise InputError if more data than those of the groups stand before the first table."""
    info, size = hdu.fileinfo(), hdu.size
    start, end = info["datLoc"], info["datLoc"] + info["datSpan"]
    with open(path, "rb") as file:
        file.seek(start + size)
        padding = any(file.read(end - start - size))
        while end < length and file.read(8) != b"XTENSION":
            end += 2880
            file.seek(end)
    if padding or (end < length and end > start + info["datSpan"]):
        end = min(end, length)
        with open(path, "rb") as file:
            file.seek(end - 2880)
            used = end - start - 2880 + len(file.read(2880).rstrip(b"\0"))  # without the zeros that fill the last block
        there = -(-used // _group_bytes(hdu.header))
        raise InputError(f"{path} has data beyond its last group: GCOUNT is {hdu.header['GCOUNT']}, and {there} groups "
                         f"are there before the first table. Set GCOUNT right, or: {EXPORT_AGAIN}")  # fmt: skip


def _table_name(hdu: "BinTableHDU | GroupsHDU") -> str:
    return "visibilities" if hdu.name in ("", "PRIMARY") else f"data of the table {hdu.name}"


def _check_axes(path: Path, header: "Header") -> None:
    parameters = [str(header.get(f"PTYPE{k}", "")) for k in range(1, header["PCOUNT"] + 1)]
    if "WEIGHT" in parameters and "SCALE" in parameters:
        raise InputError(f"{path} is compressed (AIPS: DOUVCOMP 1), which is not read. Write it with DOUVCOMP -1.")
    axes = [str(header.get(f"CTYPE{k}", "")).strip() for k in range(2, header["NAXIS"] + 1)]
    words = ("COMPLEX", "STOKES", "FREQ", *(["IF"] if header["NAXIS"] == 7 else []), "RA", "DEC")
    if header["NAXIS"] == 7 and axes[3] == "" and header["NAXIS5"] == 1:
        axes[3] = "IF"
    right = len(axes) == len(words) and all(axis.startswith(word) for axis, word in zip(axes, words, strict=True))
    if not right or header["NAXIS2"] != 3:
        listed = ", ".join(f"{name or '?'} {header[f'NAXIS{k}']}" for k, name in enumerate(axes, 2))
        raise InputError(
            f"{path} has the axes {listed}; read are COMPLEX 3 (with weights), STOKES, FREQ, IF, RA, DEC. "
            f"{EXPORT_AGAIN}"
        )
    stokes = header.get("CRVAL3", 0.0) + header.get("CDELT3", 1.0) * (
        np.arange(header["NAXIS3"]) + 1 - header.get("CRPIX3", 1.0)
    )
    if not any(np.isin(stokes, kinds).all() for kinds in (range(1, 5), range(-4, 0), range(-8, -4))):
        raise InputError(
            f"{path} has the Stokes parameters {', '.join(f'{code:g}' for code in stokes)} (CRVAL3, CDELT3); read are "
            f"1 to 4 (IQUV), -1 to -4 (RR to LR) and -5 to -8 (XX to YX). {EXPORT_AGAIN}"
        )
    suffixes = {name[2:] for name in parameters if name[:2] in ("UU", "VV", "WW")}
    if len(suffixes) != 1 or not suffixes <= {"", "--", "---SIN", "---NCP"}:
        found = ", ".join(name for name in parameters if name[:2] in ("UU", "VV", "WW"))
        raise InputError(f"{path} has the baseline coordinates {found}; read are UU, VV, WW, alone or with --, ---SIN, "
                         f"---NCP. {EXPORT_AGAIN}")  # fmt: skip
    if "DATE" not in parameters or not {"BASELINE", "ANTENNA1"} & set(parameters):
        raise InputError(f"{path} does not say which baseline and time a group is of (DATE, BASELINE). {EXPORT_AGAIN}")


def _clean(header: "Header", system: str, equinox: float) -> "Header":
    """A header with the keywords of the standard only; one parameter, of zeros, stands for the antennas."""
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
    pairs = [k for k in range(1, header["PCOUNT"] + 1) if str(header[f"PTYPE{k}"]).strip() in _PAIRS]
    for number, k in enumerate(pairs):
        clean[f"PTYPE{k}"] = f"BASELINE{number}" if number else "BASELINE"
        clean[f"PSCAL{k}"], clean[f"PZERO{k}"] = 1.0, 257.0
    for k in range(2, header["NAXIS"] + 1):
        for key in _AXES:
            if f"{key}{k}" in header:
                clean[f"{key}{k}"] = header[f"{key}{k}"]
    for key in _KEPT:
        if key in header:
            clean[key] = header[key]
    if header.get("BZERO"):
        clean["BZEROS"] = header["BZERO"]  # the name under which astropy 7 looks for that of groups
    clean["BUNIT"] = "Jy"
    clean["RADESYS"], clean["EPOCH"] = system, equinox  # pyuvdata knows the systems in small letters only
    return clean

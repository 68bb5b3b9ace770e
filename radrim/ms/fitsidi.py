"""Reads FITS-IDI, the format in which the correlators of the EVN, VLBA, e-MERLIN and LBA deliver visibilities.

A FITS-IDI file has only binary tables. UV_DATA, of which there may be several, has a row for each baseline and
integration, with an array of real and imaginary parts (and weights) for every Stokes parameter, channel and band. The
bands' frequencies are in FREQUENCY, the sources in SOURCE, the antennas in ARRAY_GEOMETRY and ANTENNA. One observation
is often several files, of which some may lack tables that the others have.

References
----------
Greisen (2011), AIPS Memo 114r, the FITS Interferometry Data Interchange Convention.
"""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from radrim.errors import InputError
from radrim.ms.creation import GEOCENTRIC, SkyField, Station, Window

if TYPE_CHECKING:
    from astropy.io.fits import BinTableHDU, HDUList

COPY_AGAIN = "Copy or fetch it again."
CALIBRATION = ("GAIN_CURVE", "SYSTEM_TEMPERATURE", "PHASE-CAL", "BANDPASS", "CALIBRATION")
"""Tables of calibration, which are not applied."""

_MOUNTS = ("ALT-AZ", "EQUATORIAL", "ORBITING", "X-Y", "ALT-AZ+NASMYTH-R", "ALT-AZ+NASMYTH-L")
_STOKES = {1: "I", 2: "Q", 3: "U", 4: "V", -1: "RR", -2: "LL", -3: "RL", -4: "LR", -5: "XX", -6: "YY", -7: "XY",
           -8: "YX"}  # fmt: skip
_AXES = ("COMPLEX", "STOKES", "FREQ", "BAND")


def is_fits_idi(path: str | Path) -> bool:
    """Whether a FITS file is FITS-IDI: no data in the primary header, and tables of that format."""
    from astropy.io import fits

    with suppress(InputError), explained([path]), fits.open(path, memmap=True) as hdus:
        if hdus[0].header.get("GCOUNT", 0) > 0 and hdus[0].header.get("GROUPS", False):
            return False
        return any(hdu.name in ("UV_DATA", "ARRAY_GEOMETRY") for hdu in hdus[1:])
    return False


@contextmanager
def explained(paths: Sequence[str | Path]) -> Iterator[None]:
    """Suppress astropy's warnings, and convert the exceptions of damaged or unusual tables into InputError."""
    from astropy.io.fits import VerifyError

    damages = (
        VerifyError, OSError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError, NameError,
        AssertionError,
    )  # fmt: skip
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except damages as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        names = ", ".join(map(str, paths))
        raise InputError(
            f"{names} cannot be read as FITS-IDI ({type(error).__name__}: {reason}). {COPY_AGAIN}"
        ) from error


@dataclass
class IDIFile:
    """The tables of a FITS-IDI file, with those of its companions where it has none of a kind.

    Parameters
    ----------
    path : Path
    data : list of BinTableHDU
        The tables UV_DATA.
    tables : dict
        The first table of each other kind, by name.
    """

    path: Path
    data: "list[BinTableHDU]"
    tables: "dict[str, BinTableHDU]"

    def table(self, name: str) -> "BinTableHDU":
        """A table that every observation must have.

        Raises
        ------
        InputError
            Neither this file nor a companion has it.
        """
        if name not in self.tables:
            raise InputError(
                f"{self.path} has no table {name}. It may be in another file of the observation (.IDI1): name all of "
                "them together."
            )
        return self.tables[name]

    @property
    def observation(self) -> str:
        """The code of the observation."""
        headers = [table.header for table in (*self.data, *self.tables.values())]
        return next((str(header["OBSCODE"]).strip() for header in headers if "OBSCODE" in header), "")

    @property
    def reference_date(self) -> float:
        """MJD of the reference date, 0 h."""
        return _mjd(str(self.table("ARRAY_GEOMETRY").header.get("RDATE", "")), self.path)

    @property
    def ahead_of_utc(self) -> float:
        """Times of the file minus UTC [s]."""
        header = self.table("ARRAY_GEOMETRY").header
        atomic = str(header.get("TIMSYS", header.get("TIMESYS", "UTC"))).strip().upper()[:3] in ("IAT", "TAI")
        return float(header.get("IATUTC", 0.0)) if atomic else 0.0

    @property
    def uncalibrated(self) -> bool:
        """Whether the visibilities are correlation coefficients."""
        return any("UNCALIB" in str(table.columns["FLUX"].unit or "").upper() for table in self.data)


@contextmanager
def opened(paths: Sequence[str | Path]) -> Iterator[list[IDIFile]]:
    """The tables of the files of one observation.

    Raises
    ------
    InputError
        A file is not FITS-IDI, is truncated, or cannot be read.
    """
    with ExitStack() as stack:
        stack.enter_context(explained(paths))
        files = [_read(Path(path), stack) for path in paths]
        shared: dict = {}
        for file in files:
            shared[file.observation] = file.tables | shared.get(file.observation, {})
        for file in files:
            # A flag table is of the file's own antennas and times; the others are the same in all files.
            file.tables = {k: v for k, v in shared[file.observation].items() if k != "FLAG"} | file.tables
        yield files


def _read(path: Path, stack: ExitStack) -> IDIFile:
    from astropy.io import fits

    hdus = stack.enter_context(fits.open(path, memmap=True))
    _check_whole(path, hdus)
    for hdu in hdus[1:]:
        hdu.columns  # noqa: B018 - a damaged table raises an error here
    data = [hdu for hdu in hdus[1:] if hdu.name == "UV_DATA"]
    tables: dict = {}
    for hdu in hdus[1:]:
        if hdu.name != "UV_DATA":
            tables.setdefault(hdu.name, hdu)
    arrays = [hdu for hdu in hdus[1:] if hdu.name == "ARRAY_GEOMETRY"]
    if len(arrays) > 1:
        raise InputError(
            f"{path} has the subarrays {', '.join(str(hdu.ver) for hdu in arrays)}, and FITS-IDI files of one are "
            "read. Separate them in AIPS (FITLD, then UVCOP with SUBARRAY, then FITTP)."
        )
    return IDIFile(path, data, tables)


def _check_whole(path: Path, hdus: "HDUList") -> None:
    length = os.path.getsize(path)
    for hdu in hdus:
        end = hdu.fileinfo()["datLoc"] + hdu.size
        if end > length:
            raise InputError(
                f"{path} is truncated: it has {length} bytes, and its table {hdu.name} ends at {end}. {COPY_AGAIN}"
            )


def _mjd(date: str, path: Path) -> float:
    """MJD of a date in the form 2009-11-12 or 12/11/09."""
    text = date.strip()
    if text[2:3] == "/":
        day, month, year = text.split("/")
        text = f"{1900 + int(year)}-{month}-{day}"
    try:
        return float((np.datetime64(text[:10]) - np.datetime64("1858-11-17")) / np.timedelta64(1, "D"))
    except ValueError:
        raise InputError(
            f"{path}: the reference date (RDATE) of its table ARRAY_GEOMETRY is {date!r}, and must be like 2009-11-12."
        ) from None


@dataclass(frozen=True)
class Layout:
    """How the data of a table UV_DATA are laid out.

    Parameters
    ----------
    shape : tuple of int
        Lengths of the axes of the array FLUX of one row, slowest first.
    order : tuple of int
        Axes of `shape` that are BAND, FREQ, STOKES and COMPLEX.
    correlations : tuple of str
        In the order of a Measurement Set.
    pick : list of int
        For each of these, its number on the axis STOKES.
    swap : list of int
        For each of these, the number of the one that it becomes when the antennas change places.
    """

    shape: tuple[int, ...]
    order: tuple[int, ...]
    correlations: tuple[str, ...]
    pick: list[int]
    swap: list[int]

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.shape[self.order[1]]

    @property
    def bands(self) -> int:
        """Number of bands."""
        return self.shape[self.order[0]]


def layout_of(table: "BinTableHDU", path: Path) -> Layout:
    """The layout of a table UV_DATA, from the keywords MAXIS and CTYPE.

    Raises
    ------
    InputError
        Axes are missing or unknown, or the table has no column FLUX.
    """
    header = table.header
    count = int(header.get("MAXIS", 0))
    names = [str(header.get(f"CTYPE{k}", "?")).strip().upper() for k in range(1, count + 1)]
    names = ["BAND" if name == "IF" else name.partition("-")[0] for name in names]
    lengths = [int(header.get(f"MAXIS{k}", 0)) for k in range(1, count + 1)]
    listed = ", ".join(f"{name} {length}" for name, length in zip(names, lengths, strict=True)) or "none"
    extra = [n for name, n in zip(names, lengths, strict=True) if name not in _AXES]
    known = "FLUX" in table.columns.names and {"COMPLEX", "STOKES", "FREQ"} <= set(names)
    if not known or any(n > 1 for n in extra) or lengths[names.index("COMPLEX")] not in (2, 3):
        raise InputError(
            f"{path}: its table UV_DATA has the axes {listed}; read are COMPLEX 2 or 3, STOKES, FREQ, BAND, and others "
            "of length 1, in a column FLUX."
        )
    if "BAND" not in names:
        names, lengths = [*names, "BAND"], [*lengths, 1]
    if _width(table, "FLUX") != int(np.prod(lengths)):
        raise InputError(
            f"{path}: a row of its table UV_DATA has {_width(table, 'FLUX')} values, and its axes {listed} have "
            f"{int(np.prod(lengths))}. {COPY_AGAIN}"
        )
    number = names.index("STOKES") + 1
    first, step = float(header[f"CRVAL{number}"]), float(header.get(f"CDELT{number}", -1.0))
    codes = np.rint(first + (np.arange(lengths[number - 1]) + 1 - float(header.get(f"CRPIX{number}", 1.0))) * step)
    found = [_STOKES.get(int(code), "?") for code in codes]
    if "?" in found or len(set(found)) < len(found):
        raise InputError(f"{path}: the axis STOKES of its table UV_DATA has the codes {codes.astype(int).tolist()}.")
    sets = ("I", "Q", "U", "V"), ("RR", "RL", "LR", "LL"), ("XX", "XY", "YX", "YY")
    ours = tuple(name for names in sets for name in names if name in found)
    turned = [name[::-1] for name in ours]
    swap = [ours.index(name) if name in ours else -1 for name in turned]
    lengths.reverse()
    names.reverse()
    return Layout(tuple(lengths), tuple(names.index(a) for a in ("BAND", "FREQ", "STOKES", "COMPLEX")), ours,
                  [found.index(name) for name in ours], swap)  # fmt: skip


def _width(table: "BinTableHDU", name: str) -> int:
    """Number of values of a column in one row."""
    return int(np.prod(table.columns.dtype[name].shape, dtype=int))


def windows_of(file: IDIFile, layout: Layout) -> dict[int, list[Window]]:
    """The spectral windows of each FREQID, one for each band. Correlators refer frequencies to the Earth's centre."""
    table = file.table("FREQUENCY")
    reference, pixel = float(table.header["REF_FREQ"]), float(table.header.get("REF_PIXL", 1.0))
    steps = np.arange(layout.channels) + 1 - pixel
    found = {}
    for row in table.data:
        offset, width, sideband = (np.ravel(row[name]) for name in ("BANDFREQ", "CH_WIDTH", "SIDEBAND"))
        if len(offset) != layout.bands:
            raise InputError(
                f"{file.path} has data of {layout.bands} bands, and its table FREQUENCY describes {len(offset)}."
            )
        found[int(row["FREQID"])] = [
            Window(
                reference + float(offset[b]) + steps * float(width[b] or table.header["CHAN_BW"]),
                np.full(layout.channels, abs(float(width[b] or table.header["CHAN_BW"]))),
                layout.correlations, GEOCENTRIC, int(sideband[b]), f"BAND{b + 1}",
            )
            for b in range(layout.bands)
        ]  # fmt: skip
    return found


def sources_of(file: IDIFile) -> dict[int, SkyField]:
    """The sources by their numbers.

    Raises
    ------
    InputError
        Positions are of another equinox than J2000.
    """
    table = file.table("SOURCE")
    number = "SOURCE_ID" if "SOURCE_ID" in table.columns.names else "ID_NO."
    found = {}
    for row in table.data:
        equinox = str(row["EQUINOX"]).strip().upper() if "EQUINOX" in table.columns.names else "J2000"
        if equinox.lstrip("J") not in ("2000", "2000.0", ""):
            raise InputError(
                f"{file.path} gives the position of {str(row['SOURCE']).strip()} for the equinox {equinox}, and J2000 "
                "is read. Precess it in AIPS (FITLD, EPOSWTCH, FITTP)."
            )
        ra, dec = np.radians([float(row["RAEPO"]), float(row["DECEPO"])])
        found[int(row[number])] = SkyField(str(row["SOURCE"]).strip(), float(ra) % (2 * np.pi), float(dec))
    return found


def stations_of(file: IDIFile) -> dict[int, Station]:
    """The antennas by their numbers."""
    table = file.table("ARRAY_GEOMETRY")
    centre = np.array([float(table.header.get(f"ARRAY{axis}", 0.0)) for axis in "XYZ"])
    feeds = {int(row["ANTENNA_NO"]): row for row in file.tables["ANTENNA"].data} if "ANTENNA" in file.tables else {}
    found = {}
    for row in table.data:
        number, mount = int(row["NOSTA"]), int(row["MNTSTA"])
        kinds, angles = _feeds(feeds.get(number))
        found[number] = Station(
            str(row["ANNAME"]).strip() or f"ANT{number}",
            centre + np.asarray(row["STABXYZ"], float),
            float(row["DIAMETER"]) if "DIAMETER" in table.columns.names else 0.0,
            mount=_MOUNTS[mount] if 0 <= mount < len(_MOUNTS) else "ALT-AZ",
            offset=tuple(np.resize(np.asarray(row["STAXOF"], float), 3))
            if "STAXOF" in table.columns.names
            else (0,) * 3,
            feeds=kinds,
            angles=angles,
        )
    return found


def _feeds(row: Any) -> tuple[tuple[str, str], tuple[float, float]]:
    """Types and angles [rad] of the two feeds of an antenna; ? where the file has none."""
    if row is None:
        return ("?", "?"), (0.0, 0.0)
    kinds = [str(row[f"POLTY{feed}"]).strip().upper() or "?" for feed in "AB"]
    angles = [float(np.radians(np.ravel(row[f"POLA{feed}"])[0])) if f"POLA{feed}" in row.array.names else 0.0
              for feed in "AB"]  # fmt: skip
    return (kinds[0], kinds[1]), (angles[0], angles[1])

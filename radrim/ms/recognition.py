"""Tells from the content what a file or folder is, and unpacks compressed files."""

import bz2
import gzip
import lzma
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from radrim.errors import InputError
from radrim.runtime.files import writing

READ = "Measurement Sets (folders), UVFITS, FITS-IDI, UVH5, MIRIAD and SMA MIR"

_PACKED: dict[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}
_DAMAGED = (OSError, EOFError, lzma.LZMAError, zlib.error, ValueError)
_HDF5 = b"\x89HDF\r\n\x1a\n"
_LONGEST_HEADER = 2**20
"""Bytes within which the first header of a FITS file ends; histories of AIPS fill some hundred KiB."""
PACKED_SUFFIXES = (".gz", ".bz2", ".xz")
_ARCHIVES = {b"PK\x03\x04": "a zip archive; unpack it with: unzip",
             b"7z\xbc\xaf": "a 7z archive; unpack it with: 7z x", b"Rar!": "a rar archive; unpack it with: unrar x",
             b"\x28\xb5\x2f\xfd": "compressed with zstd; unpack it with: unzstd",
             b"\x1f\x9d": "compressed; unpack it with: uncompress"}  # fmt: skip
_OTHERS = {b"\x89PNG": "a PNG picture", b"\xff\xd8\xff": "a JPEG picture", b"%PDF": "a PDF document",
           b"<?xml": "an XML document", b"\x93NUMPY": "a numpy array", b"SQLite": "a database"}  # fmt: skip


def is_packed(path: str | Path) -> bool:
    """Whether a file is compressed by gzip, bzip2 or xz."""
    return _start(path).startswith(tuple(_PACKED))


def packed_format(path: str | Path) -> str:
    """Format of what a compressed file holds, by its first bytes: 'FITS', 'HDF5', or '' for what holds no visibilities.

    FITS are only UVFITS and FITS-IDI; a FITS image is ''. An HDF5 file may be another than UVH5, which its first bytes
    do not tell.
    """
    start = _start(path)
    for magic, opener in _PACKED.items():
        if start.startswith(magic):
            with suppress(*_DAMAGED), opener(Path(path)) as source:
                head = source.read(_LONGEST_HEADER)
                return "HDF5" if head.startswith(_HDF5) else "FITS" if _declares_groups(head) else ""
    return ""


def has_random_groups(path: str | Path) -> bool:
    """Whether a FITS file declares random groups in its first header, as UVFITS files do and images do not."""
    with suppress(OSError), open(path, "rb") as file:
        return _declares_groups(file.read(_LONGEST_HEADER))
    return False


def _declares_groups(head: bytes) -> bool:
    """Whether the first header of a FITS file has GROUPS = T; FITS-IDI has, too."""
    if not head.startswith(b"SIMPLE  ="):
        return False
    cards = [head[place : place + 80] for place in range(0, len(head), 80)]
    end = next((k for k, card in enumerate(cards) if card[:8] == b"END     "), len(cards))
    return any(card[:10] == b"GROUPS  = " and card[10:].split(b"/")[0].strip() == b"T" for card in cards[:end])


@contextmanager
def unpacked(path: str | Path, folder: str | Path) -> Iterator[Path]:
    """The content of a compressed file, in a file in `folder` that is deleted at the end of the block.

    Raises
    ------
    InputError
        The file is damaged, or a compressed archive.
    OutputError
        The disk is full.
    """
    path = Path(path)
    opened = next(opener for start, opener in _PACKED.items() if _start(path).startswith(start))
    inner = Path(folder) / (path.stem if path.suffix else f"{path.name}.unpacked")
    if inner.exists() or inner.name == path.name:
        inner = inner.with_name(f"{inner.name}.unpacked")
    try:
        with opened(path) as source:
            try:
                if _is_tar(source.read(512)):
                    raise InputError(f"{path} is a tar archive; unpack it with: tar xf {path}")
                source.seek(0)
            except _DAMAGED as error:
                raise InputError(f"{path} cannot be unpacked ({error}). Copy or fetch it again.") from error
            with writing(inner), open(inner, "wb") as file:
                while block := _block(source, path):
                    file.write(block)
        yield inner
    finally:
        with suppress(OSError):
            inner.unlink()


def is_other_table(path: str | Path) -> bool:
    """Whether a folder is a casacore table that says it is no Measurement Set: an image, or a table of gains."""
    with suppress(OSError):
        for line in (Path(path) / "table.info").read_text(errors="replace").splitlines():
            name, _, kind = line.partition("=")
            if name.strip() == "Type":
                return kind.strip() not in ("", "Measurement Set")
    return False


def pyuvdata_format(path: str | Path) -> str:
    """'UVH5', 'MIRIAD' or 'SMA MIR'; '' for all other files and folders."""
    path = Path(path)
    with suppress(OSError):
        if all((path / name).is_file() for name in ("visdata", "vartable", "header")):
            return "MIRIAD"
        if all((path / name).is_file() for name in ("in_read", "bl_read", "sp_read")):
            return "SMA MIR"
    if _start(path).startswith(_HDF5):
        import h5py

        with suppress(OSError), h5py.File(path, "r") as file:
            if "Header" in file and "visdata" in file.get("Data", {}):
                return "UVH5"
    return ""


def check_known(path: str | Path) -> None:
    """Raise InputError if a file or folder is of a kind that is not read, with what it is and the way.

    Folders of casacore tables pass.
    """
    path = Path(path)
    folder = path.is_dir()
    if folder and (path / "table.dat").exists():
        return
    what = _kind_of_folder(path) if folder else _kind_of_file(path)
    if what:
        raise InputError(f"{path} is {what}")


def _kind_of_folder(path: Path) -> str:
    names = {entry.name for entry in path.iterdir()}
    if {"image", "header"} <= names:
        return "an image of MIRIAD without visibilities; give the data set of visibilities."
    if "ASDM.xml" in names or "Main.xml" in names:
        return f"an ASDM, the raw format of ALMA and the VLA; convert it with CASA: importasdm('{path}')"
    inside = sorted(name for name in names if (path / name / "table.dat").exists())
    if inside:
        more = f" and {len(inside) - 1} more" if len(inside) > 1 else ""
        return f"a folder with {inside[0]}{more} in it; give the Measurement Set itself: {path / inside[0]}"
    return ""


def _kind_of_file(path: Path) -> str:
    start = _start(path)
    if not os.access(path, os.R_OK):
        return f"a file that you may not read: chmod u+r {path}"
    if not start:
        return f"an empty file. radrim reads {READ}."
    if _is_tar(start):
        return f"a tar archive; unpack it with: tar xf {path}"
    for magic, words in _ARCHIVES.items():
        if start.startswith(magic):
            return f"{words} {path}"
    if start.startswith(_HDF5):
        return f"an HDF5 file, but not UVH5, which has Header and Data/visdata. radrim reads {READ}."
    kind = next((words for magic, words in _OTHERS.items() if start.startswith(magic)), "")
    if not kind:
        text = all(byte in b"\t\n\r\f" or 32 <= byte < 127 for byte in start)
        kind = "a text file" if text else "a file of an unknown format"
    return f"{kind}, which holds no visibilities that radrim reads. It reads {READ}."


def _start(path: str | Path) -> bytes:
    with suppress(OSError), open(path, "rb") as file:
        return file.read(512)
    return b""


def _is_tar(start: bytes) -> bool:
    return start[257:262] == b"ustar"


def _block(source: IO[bytes], path: Path) -> bytes:
    try:
        return source.read(2**20)
    except _DAMAGED as error:
        raise InputError(f"{path} cannot be unpacked ({error}). Copy or fetch it again.") from error

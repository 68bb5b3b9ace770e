"""Files that appear under their names only when they are complete, and what to say where they cannot.

They are written beside the name that they shall have, under a hidden one that ends in `.part`, synchronised, and
renamed. What a killed run leaves half-written keeps its hidden name.
"""

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from radrim.errors import OutputError


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """A binary file to write to, which becomes `path` at the end of the block, or leaves nothing if the block fails.

    Raises
    ------
    OutputError
        The folder is missing or read-only, or the disk is full.
    """
    path = Path(path)
    with _part(path) as part, open(part, "xb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def atomic_array(path: str | Path, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Iterator[np.memmap]:
    """An array in a file, larger than the memory if need be; it becomes `path` (.npy) at the end of the block.

    Parameters
    ----------
    path : str or Path
    shape : tuple of int
    dtype : dtype

    Yields
    ------
    memmap
        Of zeros, to be filled in.

    Raises
    ------
    OutputError
        The folder is missing or read-only, or the disk is full.
    """
    path = Path(path)
    with _part(path) as part:
        array = np.lib.format.open_memmap(part, "w+", dtype, shape)
        # A file with holes would stop the process with a signal, not an error, where the disk is full.
        with open(part, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
        yield array
        array.flush()


@contextmanager
def _part(path: Path) -> Iterator[Path]:
    """The hidden name of a file to be, which takes its own name at the end of the block."""
    # Not tempfile: its files are private to the user whatever the umask says.
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield part
        os.replace(part, path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {advice(error, path.parent)}") from error
    finally:
        with suppress(OSError):  # already renamed, or never made
            part.unlink()


@contextmanager
def new_measurement_set(path: str | Path, size: float, overwrite: bool, smaller: str) -> Iterator[Path]:
    """A path for a Measurement Set to be written, which becomes `path` at the end of the block, or leaves nothing.

    Parameters
    ----------
    path : str or Path
    size : float
        Of what the block will write, also into the folder of the path that it is given [bytes].
    overwrite : bool
        Whether a Measurement Set of that name may be replaced.
    smaller : str
        What makes it smaller, for the message where the disk is too full.

    Raises
    ------
    OutputError
        The path is taken, its folder is missing or cannot be written, or the disk is full.
    """
    path = Path(path)
    _check_room(path, size, overwrite, smaller)
    folder = path.with_name(f"{path.name}.part")
    try:
        with writing(path):
            shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
            folder.mkdir()
        yield folder / path.name
        with writing(path):
            if path.exists():
                shutil.rmtree(path)
            (folder / path.name).rename(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Turn what casacore and the system raise where `path` cannot be written into OutputError."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # casacore reports every failure of the file system as RuntimeError
        raise OutputError(f"{path} cannot be written ({error}); is the disk full, or the folder not yours?") from error


def _check_room(path: Path, size: float, overwrite: bool, smaller: str) -> None:
    folder = path.absolute().parent
    if not folder.is_dir():
        raise OutputError(f"{path} cannot be written: there is no folder {folder}; make it with: mkdir -p {folder}")
    if not os.access(folder, os.W_OK):
        raise OutputError(f"{path} cannot be written: the folder {folder} is read-only for you; choose another.")
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists already; choose another name, or replace it with --overwrite.")
    if path.exists() and not (path / "table.dat").is_file():
        raise OutputError(f"{path} exists and is not a Measurement Set, so it is not overwritten; choose another name.")
    # casacore ends the process when the disk is full, so that must be known before.
    free = shutil.disk_usage(folder).free
    if free < size:
        raise OutputError(f"{path} needs {size / 1e6:.0f} MB, and only {free / 1e6:.0f} MB are free in {folder}; "
                          f"make room, or {smaller}.")  # fmt: skip


def advice(error: OSError, folder: Path) -> str:
    """What went wrong in a folder and what to do, as the end of a sentence.

    Parameters
    ----------
    error : OSError
    folder : Path
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no space is left in {folder.absolute()}. Free some, or write elsewhere with --name FOLDER/prefix."
    if not folder.exists():
        return f"the folder {folder} does not exist. Make it with: mkdir -p {folder}"
    if not folder.is_dir():
        return f"{folder} is a file, not a folder. Choose another prefix with --name."
    if error.errno == errno.ENAMETOOLONG:
        return "the name is too long for this file system. Choose a shorter prefix with --name."
    return f"{error.strerror or error} ({folder.absolute()}). Write elsewhere with --name FOLDER/prefix."


def check_writable(prefix: str | Path, needed_bytes: float = 0) -> None:
    """Find out before any work whether files beginning with `prefix` can be written.

    Parameters
    ----------
    prefix : str or Path
        As given to --name: a folder, if any, and the beginning of the file names.
    needed_bytes : int
        Size of all files together.

    Raises
    ------
    OutputError
        The prefix ends in a folder, the folder is missing, not a folder or not writable, or the disk too full.
    """
    if str(prefix).endswith(("/", os.sep)) or Path(prefix).name in ("", ".."):
        raise OutputError(f"--name {prefix} is a folder: add how files shall begin, such as {Path(prefix) / 'image'}.")
    folder = Path(prefix).parent
    # Only writing tells: permissions say nothing to root, or about quotas and read-only mounts.
    probe = Path(f"{prefix}-{secrets.token_hex(4)}.part")
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise OutputError(f"--name {prefix} cannot be used: {advice(error, folder)}") from error
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise OutputError(
            f"--name {prefix}: the images need {needed_bytes / 1e9:.3g} GB, but {folder.absolute()} has only "
            f"{free / 1e9:.3g} GB free. Free some space, reduce --size, or write elsewhere with --name FOLDER/prefix."
        )


def fingerprint(path: str | Path) -> str:
    """A short text that changes with the content of a file, or of any file in a folder (such as a Measurement Set).

    By names, sizes and times of change; the files are not read. Lock files do not count.
    """
    path = Path(path)
    files = sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        if file.name != "table.lock":
            state = file.stat()
            digest.update(f"{file.relative_to(path)} {state.st_size} {state.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]

"""Writes files so that they appear under their names only when they are complete, and explains failures to write.

A file is written under a hidden name that ends in `.part`, synchronised to the disk, and renamed. Incomplete files of a
killed run keep the hidden name.
"""

import errno
import hashlib
import os
import secrets
import shutil
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from radrim.errors import OutputError
from radrim.runtime.mapping import map_array


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """Open a binary file that becomes `path` at the end of the block; if the block fails, it is deleted.

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
    """Open an array in a file that becomes `path` (.npy) at the end of the block. It can be larger than the memory.

    Parameters
    ----------
    path : str or Path
    shape : tuple of int
    dtype : dtype

    Yields
    ------
    memmap
        Zeros, to be filled.

    Raises
    ------
    OutputError
        The folder is missing or read-only, or the disk is full.
    """
    path = Path(path)
    with _part(path) as part:
        np.lib.format.open_memmap(part, "w+", dtype, shape)
        # On a full disk, writing to a sparse file ends the process with a signal; allocating it raises an error.
        with open(part, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
        array = map_array(part, shared=True)
        yield array
        vars(array)["_mmap"].flush()  # numpy has no public name for it


@contextmanager
def _part(path: Path) -> Iterator[Path]:
    """The hidden name of a file, which is renamed to `path` at the end of the block."""
    # The files of tempfile would be private to the user, whatever the umask.
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
    """A temporary path for a Measurement Set, which is renamed to `path` at the end of the block.

    If the block fails, the Measurement Set is deleted.

    Parameters
    ----------
    path : str or Path
    size : float
        Size of all files that the block writes to the temporary path and its folder [bytes].
    overwrite : bool
        Whether a Measurement Set of that name may be replaced.
    smaller : str
        How the user can make it smaller, for the message about a full disk.

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
            shutil.rmtree(folder, ignore_errors=True)  # left by a killed run
            folder.mkdir()
        yield folder / path.name
        with writing(path):
            if path.exists():
                shutil.rmtree(path)
            (folder / path.name).rename(path)
    except BaseException as error:
        _let_go(error)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _let_go(error: BaseException | None) -> None:
    """Clear the variables of the functions that an exception has left, so that casacore closes their tables.

    A table that is closed when its folder is gone aborts the process.
    """
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Convert the exceptions of casacore and the system about writing `path` into OutputError."""
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
    # casacore ends the process when the disk is full, so the space is checked first.
    free = shutil.disk_usage(folder).free
    if free < size:
        raise OutputError(f"{path} needs {size / 1e6:.0f} MB, and only {free / 1e6:.0f} MB are free in {folder}; "
                          f"make room, or {smaller}.")  # fmt: skip


def advice(error: OSError, folder: Path) -> str:
    """What went wrong in a folder and what the user can do, as the end of a sentence.

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
    """Check before any work that files beginning with `prefix` can be written.

    Parameters
    ----------
    prefix : str or Path
        Value of --name: a folder, if any, and the beginning of the file names.
    needed_bytes : float
        Size of all files together [bytes].

    Raises
    ------
    OutputError
        The prefix ends in a folder; the folder is missing, not a folder or not writable; or the disk is too full.
    """
    if str(prefix).endswith(("/", os.sep)) or Path(prefix).name in ("", ".."):
        raise OutputError(
            f"--name {prefix} is a folder: add the beginning of the file names, such as {Path(prefix) / 'image'}."
        )
    folder = Path(prefix).parent
    # Permissions are not enough: they do not limit root, and they do not show quotas and read-only mounts.
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
    """A short text that changes when a file changes, or any file in a folder such as a Measurement Set.

    It is made from names, sizes and modification times; the files are not read. Lock files are left out.
    """
    path = Path(path)
    files = sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        if file.name != "table.lock":
            state = file.stat()
            digest.update(f"{file.relative_to(path)} {state.st_size} {state.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]

"""Files that appear under their names only when they are complete, and what to say where they cannot.

They are written beside the name that they shall have, under a hidden one that ends in `.part`, synchronised, and
renamed. What a killed run leaves half-written keeps its hidden name.
"""

import errno
import os
import secrets
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from radrim.errors import OutputError


@contextmanager
def atomic_write(path):
    """A binary file to write to, which becomes `path` at the end of the block, or leaves nothing if the block fails.

    Raises
    ------
    OutputError
        The folder is missing or read-only, or the disk is full.
    """
    path = Path(path)
    with _part(path) as part:
        with open(part, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def atomic_array(path, shape, dtype):
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
def _part(path):
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


def advice(error, folder):
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


def check_writable(prefix, needed_bytes=0):
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

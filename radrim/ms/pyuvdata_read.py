"""Reads UVH5, MIRIAD and SMA MIR with pyuvdata.

The C library for MIRIAD ends the process where a file is damaged. Such files are read in a subprocess
(python -P -m radrim.ms.pyuvdata_read MIRIAD OUT.uvh5), which writes what it has read as UVH5.
"""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from radrim.errors import InputError, RadrimError
from radrim.ms.pyuvdata_write import quiet
from radrim.ms.uvfits import first_line
from radrim.runtime import process

if TYPE_CHECKING:
    from pyuvdata import UVData

FORMATS = {"UVH5": "uvh5", "MIRIAD": "miriad", "SMA MIR": "mir"}
"""Formats that are read here, and pyuvdata's names of them."""


def read_file(path: Path, kind: str, **words: object) -> "UVData":
    """The visibilities of a file.

    Parameters
    ----------
    path : Path
    kind : str
        One of `FORMATS`.
    **words : object
        What else `pyuvdata.UVData.from_file` takes for this format.

    Raises
    ------
    InputError
        The file cannot be read as this format, or is empty.
    """
    from pyuvdata import UVData

    with quiet(), understood(path, kind):
        data = UVData.from_file(
            str(path), file_type=FORMATS[kind], run_check=False, background_lsts=False, fix_autos=False,
            check_autos=False, **words,
        )  # fmt: skip
    if not data.Nblts:
        raise InputError(f"{path} has no visibilities.")
    _check_shapes(data, path, kind)
    return data


def _check_shapes(data: "UVData", path: Path, kind: str) -> None:
    """Raise InputError if an array has another shape than the numbers of rows, channels and antennas say."""
    for holder in (data, data.telescope):
        for name in holder.required():
            parameter = getattr(holder, name)
            with understood(path, kind):
                expected = parameter.expected_shape(holder)
            found = np.shape(parameter.value)
            if isinstance(parameter.value, np.ndarray) and isinstance(expected, tuple) and found != expected:
                raise InputError(unreadable(path, kind, f"{parameter.name} has the shape {found}, not {expected}"))


@contextmanager
def understood(path: Path, kind: str) -> Iterator[None]:
    """Raise an `InputError` that names the file for whatever pyuvdata raises in the block."""
    try:
        yield
    except (RadrimError, MemoryError):
        raise
    except ImportError as error:
        raise InputError(f"{path} is {kind}, and needs a package that is not there: {first_line(error)}.") from error
    except Exception as error:  # unusual files raise many kinds of exceptions in pyuvdata
        raise InputError(unreadable(path, kind, f"{type(error).__name__}: {first_line(error)}")) from error


def miriad_as_uvh5(path: Path, folder: Path) -> Path:
    """The visibilities of a MIRIAD data set as UVH5, in a new file in `folder`.

    Raises
    ------
    InputError
        The data set cannot be read.
    """
    out = folder / "miriad.uvh5"
    words = [sys.executable, "-P", "-m", "radrim.ms.pyuvdata_read", str(path), str(out)]
    done = process.run(words, folder / "miriad.log")
    if done.status == 2:
        raise InputError(done.output.rpartition("radrim: ")[2].strip())
    if done.status or not out.exists():
        fatal = re.search(r"### Fatal Error:\s*(.+)", done.output)
        raise InputError(
            unreadable(path, "MIRIAD", fatal[1].strip() if fatal else f"the reader ended with {done.status}")
        )
    return out


def unreadable(path: Path, kind: str, reason: str) -> str:
    """The message about a file that cannot be read."""
    return (
        f"{path} cannot be read as {kind} ({reason}). Copy it again, or convert it with the program that wrote it: "
        "to UVFITS (MIRIAD: fits op=uvout) or to a Measurement Set."
    )


def main(path: str, out: str) -> int:
    """Write a MIRIAD data set as UVH5; the exit status is 2 if it cannot be read, with the message on stderr."""
    try:
        data = read_file(Path(path), "MIRIAD")
    except InputError as error:
        sys.stderr.write(f"radrim: {error}\n")
        return 2
    with quiet():
        data.write_uvh5(out, run_check=False)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""Opens casacore tables read-only, and says in plain words what is wrong with one."""

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from radrim.errors import InputError

if TYPE_CHECKING:
    import casacore.tables as casatables

DAMAGED = "The Measurement Set is damaged or incomplete: copy or export it again."
_READ_ERRORS = re.compile(
    r"does not exist|no such file|cannot be opened|read error|readblock|fileio|filebuf|bucket|aipsio|canonical|"
    r"magic|truncat|too short|end of file|eof|cannot read|invalid version|no data manager|sparse|read past",
    re.IGNORECASE,
)
"""What casacore says where files are missing, cut off or overwritten."""


@contextmanager
def open_table(path: str | Path) -> Iterator["casatables.table"]:
    """A casacore table, opened read-only and without waiting for locks; closed at the end of the block.

    Raises
    ------
    InputError
        The table is missing, is not a table, or cannot be read.
    """
    with warnings.catch_warnings():
        # casacore's bindings warn at import that they are compiled against an older numpy.
        warnings.simplefilter("ignore")
        import casacore.tables as casatables
    try:
        table = casatables.table(str(path), readonly=True, ack=False, lockoptions="autonoread")
    except (RuntimeError, UnicodeDecodeError) as error:
        # Whatever the words, a table that does not open lacks a file, or casacore cannot make sense of one.
        raise InputError(
            f"{path} cannot be opened as a casacore table: {reason_of(error)}. {_forbidden(path) or DAMAGED}"
        ) from None
    try:
        yield table
    except (RuntimeError, UnicodeDecodeError) as error:
        raise InputError(explain(path, "cannot be read", error)) from None
    finally:
        table.close()


def explain(path: str | Path, what: str, error: Exception) -> str:
    """A message about a table or rows that cannot be read.

    Parameters
    ----------
    path : str or Path
    what : str
        What cannot be done, such as 'cannot be read'.
    error : RuntimeError
        From casacore.
    """
    reason = reason_of(error)
    empty = re.search(
        r"no array in row (\d+) in column (\S+)|(?:column|COLUMN) (\S+).*row (\d+).*(?:undefined|no array)", reason
    )
    if empty:
        row, column = (empty[1], empty[2]) if empty[1] else (empty[4], empty[3])
        return (
            f"{path} {what}: column {column} has no value in row {row}, and nothing can take its "
            "place. Fill the column, or drop these rows (CASA split, mstransform)."
        )
    if forbidden := _forbidden(path):
        return f"{path} {what}: {reason}. {forbidden}"
    if _READ_ERRORS.search(reason):
        return f"{path} {what}: {reason}. {DAMAGED}"
    return f"{path} {what}: {reason}."


def _forbidden(path: str | Path) -> str:
    """What to do about files that may not be read; empty if all may."""
    for folder, _, files in os.walk(path):
        for name in ("", *files):
            if not os.access(os.path.join(folder, name), os.R_OK):
                return f"You may not read {os.path.join(folder, name)}: chmod -R u+rX {path}"
    return ""


def reason_of(error: Exception) -> str:
    """Casacore's message without its stack trace."""
    if isinstance(error, UnicodeDecodeError):  # casacore's message, or a name, has bytes of a damaged file
        return "it holds bytes that are no text, where text must be"
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__

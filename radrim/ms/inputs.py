"""Opens input files as Measurement Sets; files of other formats are converted."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from radrim.errors import InputError
from radrim.ms.formats import convert, format_of
from radrim.ms.tables import MeasurementSet, read_subtables
from radrim.runtime.progress_bar import ProgressBar

log = logging.getLogger("radrim")


@contextmanager
def open_inputs(paths: Sequence[str | Path], folder: str | Path | None = None) -> Iterator[list[MeasurementSet]]:
    """The contents of the subtables of input files. Converted files exist until the end of the context.

    Parameters
    ----------
    paths : sequence of str or Path
        Measurement Sets and files of the formats of `radrim.ms.formats`; the type is detected from the content.
    folder : Path, optional
        Folder of the conversions. Those that exist there, from the same files, are used. By default a temporary folder.

    Yields
    ------
    list of MeasurementSet

    Raises
    ------
    InputError
        A path is neither a Measurement Set nor a file of another format that is read, or it cannot be read.
    OutputError
        The disk has no room for a conversion.
    """
    with ExitStack() as stack:
        sets = []
        for number, path in enumerate(paths):
            if not format_of(path):
                sets.append(read_subtables(path))
                continue
            if folder is None:
                folder = stack.enter_context(TemporaryDirectory(prefix="radrim-"))
            sets.append(read_subtables(path, _converted(path, Path(folder) / f"{number:04d}.ms", paths)))
        yield sets


def require_measurement_set(path: str | Path) -> MeasurementSet:
    """The subtables of an input that must be a Measurement Set, to write columns or for other programs.

    Raises
    ------
    InputError
        The input has another format, or cannot be read.
    """
    kind = format_of(path)
    if kind:
        out = Path(path).with_suffix(".ms").name
        raise InputError(
            f"{path} is {kind}, and this needs a Measurement Set of version 2: radrim convert {path} {out}"
        )
    return read_subtables(path)


def _converted(path: str | Path, out: Path, together: Sequence[str | Path]) -> Path:
    """The Measurement Set of a file of another format, converted unless an interrupted run has left it."""
    if not out.exists():
        log.info("Converting %s to a Measurement Set.", path)
        out.parent.mkdir(parents=True, exist_ok=True)
        with ProgressBar("converting"):
            convert([path], out, companions=together)
    return out

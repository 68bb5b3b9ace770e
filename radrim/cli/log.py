"""The log of the command: plain lines on standard output, warnings in colour on a terminal, and --log FILE."""

import logging
import os
import sys
from typing import TextIO

from radrim.errors import OutputError

YELLOW, RED = "\033[33m", "\033[31m"
RESET = "\033[0m"


def set_up_log(debug: bool = False, quiet: bool = False, path: str | None = None) -> None:
    """Let the logger of radrim write to standard output, and to a file if one is named.

    Parameters
    ----------
    debug : bool
        Write every step.
    quiet : bool
        Write warnings only to standard output.
    path : str, optional
        File that receives all lines with times, behind what it has.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    logger = logging.getLogger("radrim")
    close_file()
    logger.handlers.clear()
    level = logging.DEBUG if debug else logging.INFO
    console = _Console()
    console.setLevel(logging.WARNING if quiet and not debug else level)
    logger.addHandler(console)
    if path is not None:
        logger.addHandler(_file(path))
    logger.setLevel(console.level if path is None else level)


def close_file() -> None:
    """Close the file of --log, if there is one."""
    logger = logging.getLogger("radrim")
    for handler in list(logger.handlers):
        if isinstance(handler, logging.FileHandler):
            logger.removeHandler(handler)
            handler.close()


def coloured(text: str, colour: str, stream: TextIO) -> str:
    """The text in a colour if the stream is a terminal whose user wants colours (https://no-color.org)."""
    wanted = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return f"{colour}{text}{RESET}" if wanted else text


def say_error(message: object) -> None:
    """Print an error on standard error, and write it to the log's file."""
    print(f"{coloured('radrim:', RED, sys.stderr)} {message}", file=sys.stderr)
    for handler in logging.getLogger("radrim").handlers:
        if isinstance(handler, logging.FileHandler):
            record = logging.LogRecord("radrim", logging.ERROR, "", 0, str(message), None, None)
            handler.handle(record)


def _file(path: str) -> logging.Handler:
    try:
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"--log {path} cannot be written: {error.strerror}. Name a file in a folder that exists and is yours."
        ) from None
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    return handler


class _Console(logging.StreamHandler):
    """Writes to what `sys.stdout` is at the time, so that lines appear above a progress bar."""

    def __init__(self) -> None:
        super().__init__(sys.stdout)
        self.setFormatter(_Formatter())

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stdout
        super().emit(record)


class _Formatter(logging.Formatter):
    """Formats records as plain lines; only warnings begin with their level."""

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.levelno < logging.WARNING:
            return text
        return coloured(f"warning: {text}", YELLOW, sys.stdout)

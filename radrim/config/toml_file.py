"""Reads TOML files written by users; errors name file and line."""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from radrim.errors import ConfigError, InputError


class TomlFile:
    """A TOML file: its values, and the line of each value.

    Parameters
    ----------
    path : str or Path
    name : str
        Name of the file in messages, such as '--config run.toml'; by default the path.

    Attributes
    ----------
    values : dict

    Raises
    ------
    InputError
        The file is missing, is not text or is not TOML.
    """

    def __init__(self, path: str | Path, name: str = "") -> None:
        self.name = name or str(path)
        try:
            self._text = Path(path).read_bytes().decode("utf-8")
            self.values = tomllib.loads(self._text.replace("\r\n", "\n"))
        except OSError as error:
            raise InputError(f"{self.name} cannot be read: {error.strerror}.") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{self.name} is not valid TOML: {error}.") from None

    def where(self, *keys: str | int) -> str:
        """File and line of a value, such as 'run.toml, line 3'; numbers are places in arrays of tables."""
        return f"{self.name}, line {line_of(self._text, keys)}"

    def fault(self, keys: Sequence[str | int], message: object) -> ConfigError:
        """The error about the value that these keys lead to, with file and line."""
        return ConfigError(f"{self.where(*keys)}: {message}")

    def check_keys(self, table: Mapping, known: Iterable[str], *above: str | int, more: str = "") -> None:
        """Refuse unknown keys of a table; - and _ are the same, as in all of radrim's options.

        Parameters
        ----------
        table : mapping
        known : iterable of str
            Known keys, spelled with -.
        *above : str or int
            The keys that lead to the table.
        more : str
            Advice about a key that resembles no known key; by default, the list of known keys.

        Raises
        ------
        ConfigError
            An unknown key; the message names file, line and the most similar known key.
        """
        for key in table:
            if key.replace("_", "-") not in known:
                hint = nearest(key.replace("_", "-"), known, more or f"known are {', '.join(known)}.")
                raise self.fault((*above, key), f"unknown key '{key}'; {hint}")


def nearest(word: str, known: Iterable[str], otherwise: str, before: str = "") -> str:
    """'did you mean ...?' with the known word most similar to `word`, or `otherwise` if no word is similar.

    `before` stands before the question.
    """
    import difflib

    close = difflib.get_close_matches(word, list(known), 1)
    return f"{before}did you mean '{close[0]}'?" if close else otherwise


def line_of(text: str, keys: Sequence[str | int]) -> int:
    """The line, counted from 1, where the value that `keys` lead to begins in a valid TOML document.

    tomllib does not give line numbers. But the first lines of a document, cut after a complete statement, are again a
    document. The statement of the value ends at the first cut whose document contains the value, and begins after the
    previous cut.
    """
    lines = text.replace("\r\n", "\n").split("\n")  # splitlines cuts at more than TOML calls a new line
    begin = 0
    for end in range(1, len(lines) + 1):
        try:
            values = tomllib.loads("\n".join(lines[:end]))
        except tomllib.TOMLDecodeError:
            continue
        if _leads(values, keys):
            # Comments and empty lines are documents, too, so `begin` is the line before the statement.
            return begin + 1
        begin = end
    raise KeyError(keys)


def _leads(values: Any, keys: Sequence[str | int]) -> bool:
    for key in keys:
        try:
            values = values[key]
        except (KeyError, IndexError, TypeError):
            return False
    return True

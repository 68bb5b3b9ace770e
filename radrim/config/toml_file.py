"""TOML files that people write: what is wrong in them is said with the file and the line."""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from radrim.errors import ConfigError, InputError


class TomlFile:
    """A TOML file: its values, and where each of them stands.

    Parameters
    ----------
    path : str or Path
    name : str
        How messages call the file, such as '--config run.toml'; by default the path.

    Attributes
    ----------
    values : dict

    Raises
    ------
    InputError
        The file is missing, is no text or is not TOML.
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
        """File and line of the value that these keys (and numbers, in arrays of tables) lead to: 'run.toml, line 3'."""
        return f"{self.name}, line {line_of(self._text, keys)}"

    def fault(self, keys: Sequence[str | int], message: object) -> ConfigError:
        """The error that says what is wrong with the value that these keys lead to."""
        return ConfigError(f"{self.where(*keys)}: {message}")

    def check_keys(self, table: Mapping, known: Iterable[str], *above: str | int, more: str = "") -> None:
        """Refuse keys of a table that are not known; as in all of radrim's options, - and _ are the same.

        Parameters
        ----------
        table : mapping
        known : iterable of str
            Spelled with -.
        *above : str or int
            The keys that lead to the table.
        more : str
            What to say of a key that resembles none of them; by default, what there is.

        Raises
        ------
        ConfigError
            Names file and line, and the nearest known key.
        """
        for key in table:
            if key.replace("_", "-") not in known:
                hint = nearest(key.replace("_", "-"), known, more or f"known are {', '.join(known)}.")
                raise self.fault((*above, key), f"unknown key '{key}'; {hint}")


def nearest(word: str, known: Iterable[str], otherwise: str) -> str:
    """'did you mean ...?' with the known word that is most like `word`, or `otherwise` if none is."""
    import difflib

    close = difflib.get_close_matches(word, list(known), 1)
    return f"did you mean '{close[0]}'?" if close else otherwise


def line_of(text: str, keys: Sequence[str | int]) -> int:
    """The line, counted from 1, where the value begins to which `keys` lead in a valid TOML document.

    tomllib does not tell. But the first lines of a document, cut behind a complete statement, are a document again:
    the statement sought ends where the value first appears, and begins behind the document before it.
    """
    lines = text.replace("\r\n", "\n").split("\n")  # splitlines cuts at more than TOML calls a new line
    begin = 0
    for end in range(1, len(lines) + 1):
        try:
            values = tomllib.loads("\n".join(lines[:end]))
        except tomllib.TOMLDecodeError:
            continue
        if _leads(values, keys):
            # Comments and empty lines are documents, too, so that `begin` is the first line of the statement.
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

"""Keeps finished results in a folder, one file each: arrays (.npy, memory-mapped) and facts (.json).

A file appears under its name only when it is complete (`radrim.runtime.files`), so that any process can use it.
"""

import json
import shutil
import threading
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from radrim.runtime.files import atomic_array, atomic_write
from radrim.runtime.mapping import map_array


@dataclass(frozen=True)
class WorkDirSettings:
    """Limits of a work directory."""

    block_bytes: int = 512 * 2**20
    """Largest size of the data and weights of one block of visibilities [bytes]. Sorting holds it in memory twice."""

    differences: int = 3
    """Largest number of differences from an earlier run that a message lists."""


_PARSING = threading.Lock()
"""Serialises the reading of headers: numpy uses `ast`, which in Python 3.11 sometimes fails if two threads use it."""


class Store:
    """A folder of results by name; names can have folders. Any process with access to the folder can use it.

    Parameters
    ----------
    path : str or Path
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)

    def __contains__(self, name: str) -> bool:
        return any((self.path / f"{name}{suffix}").exists() for suffix in (".npy", ".json"))

    def save(self, name: str, array: np.ndarray) -> None:
        """Keep an array.

        Raises
        ------
        OutputError
            The disk is full or read-only.
        """
        array = np.asarray(array)
        with self.create(name, array.shape, array.dtype) as file:
            file[...] = array

    def create(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> AbstractContextManager[np.ndarray]:
        """A context that yields a new array to be filled in, and keeps it at the end (`radrim.runtime.files`)."""
        path = self.path / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        return atomic_array(path, shape, dtype)

    def load(self, name: str) -> np.ndarray:
        """An array, memory-mapped from its file, which does not stay open; changes to it do not reach the file."""
        with _PARSING:
            return map_array(self.path / f"{name}.npy")

    def note(self, name: str, facts: Any) -> None:
        """Keep facts: numbers (including NaN and infinity), texts, and lists and mappings of them.

        Raises
        ------
        OutputError
            The disk is full or read-only.
        """
        path = self.path / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(json.dumps(facts, default=_plain).encode())

    def facts(self, name: str) -> Any:
        """Facts that `note` has kept."""
        return json.loads((self.path / f"{name}.json").read_text())

    def discard(self, *names: str) -> None:
        """Delete results, and folders of the same name."""
        for name in names:
            for suffix in (".npy", ".json"):
                with suppress(FileNotFoundError):
                    (self.path / f"{name}{suffix}").unlink()
            shutil.rmtree(self.path / name, ignore_errors=True)


class StoredArray:
    """An array whose windows are read from its file. Workers receive its name, not its pixels.

    Parameters
    ----------
    store : Store
    name : str
    array : array
        Kept under that name, unless the store already has the name.
    """

    def __init__(self, store: Store, name: str, array: np.ndarray):
        self._store, self._name = store, name
        if name not in store:
            store.save(name, array)

    def __getitem__(self, window):
        return np.array(self._store.load(self._name)[window])


def _plain(value):
    """A number of numpy as a number of Python."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be noted")

"""The items of a batch: their Measurement Sets, options and the state of their images from earlier runs.

An item is one Measurement Set, or several that are imaged together. It has its own folder OUTPUT/NAME with the files of
`radrim image`, a log, and its state in NAME-batch.json. The same command reads these states, and makes the images that
are missing, that failed, or that had other input or settings.
"""

import glob
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from radrim.batch.config import BatchConfig
from radrim.config.options import INDIFFERENT, ImageConfig
from radrim.errors import ConfigError, InputError
from radrim.ms.formats import is_observation, plain_name
from radrim.ms.recognition import PACKED_SUFFIXES
from radrim.runtime.files import atomic_write, fingerprint
from radrim.workdir.directory import differences

LISTS = (".txt", ".list", ".lst")
"""Suffixes of text files with one input per line."""
DONE, SUSPECT, FAILED, RUNNING, STOPPED, WAITING = "done", "suspect", "failed", "running", "interrupted", "waiting"
"""States of an item. The image of a suspect item exists, but is not within the limits."""


@dataclass(frozen=True)
class Item:
    """One image of a batch.

    Parameters
    ----------
    name : str
    folder : Path
        OUTPUT/NAME, absolute.
    root : Path
        Folder that other paths are relative to; a worker of a cluster may run in another folder.
    options : mapping
        Options given for this item, by their names with -.
    config : ImageConfig
        The parsed options.
    """

    name: str
    folder: Path
    root: Path
    options: dict[str, Any]
    config: ImageConfig

    @property
    def prefix(self) -> Path:
        """Value of --name for its images."""
        return self.folder / self.name

    def file(self, ending: str) -> Path:
        """One of its files, such as NAME-qa.json, by the end of the name."""
        return Path(f"{self.prefix}{ending}")

    def describe(self) -> dict[str, Any]:
        """The settings of the image and the fingerprints of its input files; an image is made again when they change.

        Options that do not change images are left out, and so is the version of radrim: a new version does not mean
        that all images are made again.
        """
        settings = {
            name: value for name, value in self.config.as_text().items() if name not in (*INDIFFERENT, "memory")
        }
        inputs = [*self.config.ms, self.config.model, *([self.config.mask] if self.config.mask else [])]
        paths = [str(self.root / path) for path in inputs]  # a model that comes with radrim is not a path
        files = {path: fingerprint(path) for path in paths if os.path.exists(path)}
        return json.loads(json.dumps({"settings": settings, "files": files}))

    def state(self) -> dict[str, Any]:
        """The state from its file; {'state': 'waiting'} without one."""
        try:
            state = json.loads(self.file("-batch.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            state = None
        return state if isinstance(state, dict) and "state" in state else {"state": WAITING}

    def keep_state(self, state: Mapping[str, Any]) -> None:
        """Write the state to its file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.file("-batch.json")) as file:
            file.write(f"{json.dumps(state, indent=1)}\n".encode())

    def to_do(self) -> str:
        """The reason why the image must be made, or made again; empty if there is nothing to do."""
        state = self.state()
        if state["state"] in (FAILED, STOPPED, RUNNING):
            reason = f": {state['reason']}" if state.get("reason") else ""
            return {FAILED: "failed before", STOPPED: "was interrupted", RUNNING: "was not finished"}[
                state["state"]
            ] + reason
        if state["state"] == WAITING:
            return "not made yet"
        missing = [name for name in state["files"] if not (self.folder / name).exists()]
        if missing:
            return f"{missing[0]} is missing"
        now = self.describe()
        return "" if state["of"] == now else f"changed: {differences(state['of'], now)}"


def make_items(config: BatchConfig, inputs: Sequence[str] = ()) -> list[Item]:
    """The items of a batch: its groups, then its inputs in the order of their paths.

    Parameters
    ----------
    config : BatchConfig
    inputs : sequence of str
        Inputs that replace those of the configuration.

    Raises
    ------
    ConfigError
        Nothing to image, two items of one name, or options that contradict each other.
    InputError
        An input that matches nothing.
    """
    sets = {group.name: group.ms for group in config.groups} if not inputs else {}
    grouped = {os.path.abspath(path) for paths in sets.values() for path in paths}
    single = [path for path in expand(inputs or config.inputs) if os.path.abspath(path) not in grouped]
    for name, path in zip(_names(single), single, strict=True):
        if name in sets:
            raise ConfigError(f"{path} would be called '{name}', as a group is; give the group another name.")
        sets[name] = (path,)
    if not sets:
        raise ConfigError(
            "No input given; write inputs = ['FOLDER/*.ms'] below [batch], or radrim batch CONFIG.toml OBS.ms."
        )
    return [_item(name, paths, config) for name, paths in sets.items()]


def choose_item(items: Sequence[Item], which: str) -> Item:
    """One item by its name or number; numbers begin with 1.

    Raises
    ------
    ConfigError
        There is no such item.
    """
    names = [item.name for item in items]
    if which in names:
        return items[names.index(which)]
    if which.isdecimal() and 1 <= int(which) <= len(items):
        return items[int(which) - 1]
    raise ConfigError(
        f"--item {which}: there is no item of that name or number; the {len(items)} items are counted from 1, and "
        "--dry-run lists them."
    )


def expand(inputs: Iterable[str | Path]) -> list[str]:
    """Paths of observations from paths, patterns, folders and lists, in order and without repeats.

    A path that does not exist is kept: a missing observation is a failure of one image, not of the batch.

    Raises
    ------
    InputError
        A pattern or folder without observations, or a list that cannot be read.
    """
    out: list[str] = []
    for given in inputs:
        path = Path(given)
        if glob.has_magic(str(given)) and not path.exists():
            found = sorted(glob.glob(str(given), recursive=True))
            if not found:
                raise InputError(f"The input {given} matches nothing; give patterns in quotes, such as 'obs/*.ms'.")
            out += found
        elif path.is_file() and path.suffix.lower() in LISTS:
            out += expand(_read_list(path))
        elif path.is_dir() and not is_observation(path):
            found = _inside(path)
            if not found:
                raise InputError(
                    f"The input {given} is no observation that radrim reads and holds none; for folders further down "
                    f"give a pattern, such as '{given}/**/*.ms'."
                )
            out += found
        else:
            out.append(str(given))
    once: dict[str, str] = {}
    for found_path in out:
        once.setdefault(os.path.abspath(found_path), found_path)
    return list(once.values())


def _inside(folder: Path) -> list[str]:
    """Observations in a folder, in the order of their names; of a file and its compressed copy only the file."""
    found = sorted(str(path) for path in folder.iterdir() if is_observation(path))
    there = set(found)
    return [
        path for path in found if not (path.endswith(PACKED_SUFFIXES) and path[: path.rindex(".")] in there)
    ]  # fmt: skip


def _read_list(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The list {path} cannot be read: {error}.") from None
    lines = [line.strip() for line in lines]
    # Paths in a list are relative to the list, which is kept with the data.
    return [os.path.join(path.parent, line) for line in lines if line and not line.startswith("#")]


def _names(paths: Sequence[str]) -> list[str]:
    """A name for each path: the file name without its suffix, with as many folders in front as make it unique."""
    wholes = [Path(os.path.abspath(path)) for path in paths]
    # A name such as 3c391_4.6GHz has no suffix.
    parts = [(*path.parts[1:-1], plain_name(path)) for path in wholes]
    names = [part[-1] for part in parts]
    deep = 1
    while len(set(names)) < len(names):
        deep += 1
        alike = {name for name in names if names.count(name) > 1}
        longer = ["-".join(p[-deep:]) if name in alike else name for name, p in zip(names, parts, strict=True)]
        if longer == names:
            raise ConfigError(f"Two inputs would be called '{min(alike)}'; rename one, or make them [[group]]s.")
        names = longer
    return names


def _item(name: str, paths: Sequence[str], config: BatchConfig) -> Item:
    """The item of these Measurement Sets, with the common options and those of its overrides."""
    options = dict(config.image)
    for override in config.overrides:
        if any(fnmatchcase(text, override.match) for text in (name, *paths)):
            options |= override.image
    folder = config.output.absolute() / name
    try:
        parsed = ImageConfig.parse(paths, {**options, "name": str(folder / name)})
    except ConfigError as error:
        raise ConfigError(f"Item {name}: {error}") from None
    return Item(name, folder, Path.cwd(), options, parsed)

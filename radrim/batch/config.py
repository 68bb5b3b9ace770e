"""Reads and checks the TOML file of a batch, with the tables batch, image, quality, slurm, group and override.

Paths in the file are relative to the current folder, as on the command line, so that one file can be used in several
folders.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from radrim.config.files import check_options
from radrim.config.toml_file import TomlFile
from radrim.config.values import Parser, numeric, to_memory, to_paths, to_text
from radrim.errors import ConfigError

SET_BY_THE_BATCH = ("name", "overwrite")
TABLES = ("batch", "image", "quality", "slurm", "group", "override")


@dataclass(frozen=True)
class Group:
    """Measurement Sets that are imaged together, and the name of their image."""

    name: str
    ms: tuple[str, ...]


@dataclass(frozen=True)
class Override:
    """Options of `radrim image` for the items whose name or one of whose paths matches a pattern."""

    match: str
    image: dict[str, Any]


@dataclass(frozen=True)
class BatchConfig:
    """The configuration of one batch.

    Parameters
    ----------
    inputs : list of str
        Measurement Sets, folders of them, patterns, or lists in a file.
    output : Path
    jobs : int
        Number of images at once.
    retries : int
        Number of further tries for an image whose process was killed or crashed.
    time_limit : float
        Time limit of one image [s].
    memory : float or None
        Memory of all images at once [bytes]; None for the usual fraction of the machine's.
    image : dict
        Options of `radrim image` for all items, by their names with -.
    groups, overrides : list
    quality : dict
        Limits, as `radrim.report.qa.Limits` has them.
    slurm : dict
        'partition', 'account', 'time', 'mem', 'cpus' as sbatch takes them; 'at_once': largest number of tasks that run
        together; 'options': more options of sbatch; 'setup': lines of shell before the command.
    path : Path or None
        The TOML file of the configuration.
    """

    inputs: list[str] = field(default_factory=list)
    output: Path = Path("images")
    jobs: int = 1
    retries: int = 1
    time_limit: float = math.inf
    memory: float | None = None
    image: dict[str, Any] = field(default_factory=dict)
    groups: list[Group] = field(default_factory=list)
    overrides: list[Override] = field(default_factory=list)
    quality: dict[str, float | None] = field(default_factory=dict)
    slurm: dict[str, Any] = field(default_factory=dict)
    path: Path | None = None

    def with_options(self, **given: str | None) -> "BatchConfig":
        """The configuration with options of the command line, which are text or None.

        Raises
        ------
        ConfigError
            A value that an option does not accept.
        """
        values = {name: BATCH[name.replace("_", "-")](name, text) for name, text in given.items() if text is not None}
        return replace(self, **values)


def to_duration(name: str, value: Any) -> float:
    """A time such as 90, '90s', '45min', '2h', '1.5d' or '01:30:00' [s]."""
    text = str(value).strip()
    if match := re.fullmatch(r"(?:(\d+)-)?(\d+):(\d{2}):(\d{2})", text):
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        number = 86400.0 * days + 3600 * hours + 60 * minutes + seconds
    elif (match := re.fullmatch(r"([\d.]+)\s*(s|min|h|d|)", text)) and not isinstance(value, bool):
        factor = {"": 1, "s": 1, "min": 60, "h": 3600, "d": 86400}[match[2]]
        number = numeric(float)(name, match[1]) * factor
    else:
        raise ConfigError(f"--{name} takes a time such as 90s, 45min, 2h or 01:30:00, got '{value}'.")
    if not number > 0:
        raise ConfigError(f"--{name} {value} is out of range: it must be above 0.")
    return number


def _to_folder(name: str, value: Any) -> Path:
    return Path(to_text(name, value))


def _to_limit(name: str, value: Any) -> float | None:
    """A number; None for false, which means no limit."""
    return None if value is False else numeric(float, 0)(name, value)


def _to_texts(name: str, value: Any) -> list[str]:
    return [to_text(name, word) for word in (value if isinstance(value, list) else [value])]


BATCH: dict[str, Callable] = {
    "inputs": to_paths,
    "output": _to_folder,
    "jobs": numeric(int, 1),
    "retries": numeric(int, 0),
    "time-limit": to_duration,
    "memory": to_memory,
}
SLURM: dict[str, Callable] = {
    "partition": to_text, "account": to_text, "time": to_text, "mem": to_text, "cpus": numeric(int, 1),
    "at-once": numeric(int, 1), "options": _to_texts, "setup": _to_texts,
}  # fmt: skip


def load_batch(path: str | Path) -> BatchConfig:
    """Read a batch from its TOML file.

    Raises
    ------
    InputError
        The file is missing or is not TOML.
    ConfigError
        An unknown table or key, or a value of the wrong kind; file and line are named.
    """
    from radrim.report.qa import Limits

    file = TomlFile(path)
    values = file.values
    file.check_keys(values, TABLES)
    for name in TABLES:
        many = name in ("group", "override")
        table = values.setdefault(name, [] if many else {})
        if not isinstance(table, list if many else dict) or not all(isinstance(one, dict) for one in table if many):
            raise file.fault(
                [name], f"'{name}' must be a table: write {f'[[{name}]]' if many else f'[{name}]'} above it."
            )
    image = _image_options(file, values["image"], "image")
    limits = {limit.name.replace("_", "-"): _to_limit for limit in fields(Limits)}
    groups = [_group(file, number, table) for number, table in enumerate(values["group"])]
    names = [group.name for group in groups]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise file.fault(["group", number, "name"], f"two groups are called '{name}'.")
    return BatchConfig(
        **_parsed(file, values["batch"], BATCH, "batch"),
        image=image,
        groups=groups,
        overrides=[_override(file, number, table) for number, table in enumerate(values["override"])],
        quality=_parsed(file, values["quality"], limits, "quality"),
        slurm=_parsed(file, values["slurm"], SLURM, "slurm"),
        path=Path(path),
    )


def _parsed(
    file: TomlFile, table: Mapping[str, Any], parsers: Mapping[str, Parser], *above: str | int
) -> dict[str, Any]:
    """The parsed values of a table, by their names with _."""
    file.check_keys(table, parsers, *above)
    out = {}
    for key, value in table.items():
        try:
            out[key.replace("-", "_")] = parsers[key.replace("_", "-")](key, value)
        except ConfigError as error:
            raise file.fault((*above, key), str(error).replace("--", "", 1)) from None
    return out


def _image_options(file: TomlFile, table: Mapping[str, Any], *above: str | int) -> dict[str, Any]:
    """Options of `radrim image` from a table, by their names with -."""
    check_options(file, table, *above)
    for key in table:
        if key in SET_BY_THE_BATCH:
            raise file.fault((*above, key), f"{key} is set by the batch, for each image; leave it out.")
    return {key.replace("_", "-"): value for key, value in table.items()}


def _group(file: TomlFile, number: int, table: Mapping[str, Any]) -> Group:
    file.check_keys(table, ("name", "ms"), "group", number)
    for key in ("name", "ms"):
        if not table.get(key):
            raise file.fault(["group", number], f"a group needs its {key}, such as {_EXAMPLE[key]}.")
    name = _parsed(file, {"name": table["name"]}, {"name": to_text}, "group", number)["name"]
    if name != Path(name).name or name.startswith("."):
        raise file.fault(
            ["group", number, "name"], f"'{name}' cannot be the name of files; leave out / and a dot in front."
        )
    return Group(name, tuple(_parsed(file, {"ms": table["ms"]}, {"ms": to_paths}, "group", number)["ms"]))


_EXAMPLE = {"name": "name = 'field1'", "ms": "ms = ['a.ms', 'b.ms']"}


def _override(file: TomlFile, number: int, table: Mapping[str, Any]) -> Override:
    if not isinstance(table.get("match"), str):
        raise file.fault(
            ["override", number], "an override needs a pattern of names or paths, such as match = '*_L_*'."
        )
    options = {key: value for key, value in table.items() if key != "match"}
    return Override(table["match"], _image_options(file, options, "override", number))

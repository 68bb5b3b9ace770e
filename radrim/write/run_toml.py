"""Step 6, write: writes the resolved configuration of a run as TOML."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from radrim.runtime.files import atomic_write


def write_run_toml(path: str | Path, mapping: Mapping[str, object]) -> None:
    """Write the resolved configuration as TOML, atomically.

    Parameters
    ----------
    path : str or Path
    mapping : mapping
        Values are text, bool, int, float, lists of these, or mappings (TOML tables). Tables are written last.

    Raises
    ------
    TypeError
        A value has another type.
    OutputError
        See `atomic_write`.
    """
    text = "\n".join(_toml_lines(mapping, "")) + "\n"
    with atomic_write(path) as file:
        file.write(text.encode("utf-8", errors="replace"))


def _toml_lines(mapping, table):
    lines = [f"{_toml_key(k)} = {_toml_value(v)}" for k, v in mapping.items() if not isinstance(v, Mapping)]
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            name = f"{table}.{_toml_key(key)}" if table else _toml_key(key)
            lines += ["", f"[{name}]", *_toml_lines(value, name)]
    return lines


def _toml_key(key):
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _toml_value(key)


def _toml_value(value):
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)  # also inf and nan, which TOML spells as Python does
    if isinstance(value, str | Path):
        # JSON and TOML escape strings alike, except for the control character 0x7f.
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml_value(v) for v in value) + "]"
    raise TypeError(f"TOML cannot hold {value!r} of type {type(value).__name__}")

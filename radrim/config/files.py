"""Reads options of `radrim image` from TOML files; errors name file and line."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from radrim.config.options import ALL_OPTIONS, ImageConfig
from radrim.config.toml_file import TomlFile
from radrim.config.values import to_paths
from radrim.errors import ConfigError


def load_toml(path: str | Path) -> dict[str, Any]:
    """Options from a TOML file, as raw values for `ImageConfig.parse`. Tables other than [run] are refused.

    Raises
    ------
    InputError
        The file is missing or is not TOML.
    ConfigError
        An unknown key, or a value that its option does not take; file and line are named.
    """
    file = TomlFile(path, f"--config {path}")
    values = file.values
    values.pop("run", None)  # facts about the run that wrote this file
    check_options(file, {key: value for key, value in values.items() if key != "ms"})
    try:
        to_paths("ms", values.get("ms", []))
    except ConfigError as error:
        raise file.fault(["ms"], error) from None
    return values


def check_options(file: TomlFile, table: Mapping[str, Any], *above: str | int) -> None:
    """Check that a table of a TOML file holds options of `radrim image` only; the keys `above` lead to the table.

    Raises
    ------
    ConfigError
        An unknown key, or a value that its option does not take; file and line are named.
    """
    options = ImageConfig.options()
    file.check_keys(table, options, *above, more=ALL_OPTIONS)
    for key, value in table.items():
        name = key.replace("_", "-")
        try:
            options[name].metadata["parse"](name, value)
        except ConfigError as error:
            raise file.fault((*above, key), error) from None

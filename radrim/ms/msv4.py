"""Opens Measurement Sets of version 4 (zarr, xradio's schema).

A processing set is a folder of Measurement Sets of version 4, each with one spectral window and one set of
correlations. The visibilities of each are one array (time, baseline, frequency, polarization), and its antennas and
fields are groups beside or below it. Names have changed while the schema was made; those of 2024 (group MAIN, antennas
by number) and those of version 4.0 (antennas by name) are read.

References
----------
https://xradio.readthedocs.io/en/latest/measurement_set/schema_and_api/measurement_set_schema.html
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from radrim.errors import InputError

# A group and an array of zarr, whose own types allow either wherever one is meant.
Group: TypeAlias = Any
Array: TypeAlias = Any

COPY_AGAIN = "Copy or export it again."
_FIELDS = ("field_and_source_base_xds", "field_and_source_xds", "FIELD_AND_SOURCE_BASE", "FIELD_AND_SOURCE_CORRECTED")
_MARKS = (".zgroup", "zarr.json", ".zmetadata")


def is_msv4(path: str | Path) -> bool:
    """Whether a folder is a zarr group, or holds Measurement Sets of version 4, as a processing set does."""
    if not os.path.isdir(path):  # not Path.is_dir, which fails for names that are too long
        return False
    path = Path(path)
    if (path / "table.dat").exists():
        return False
    if any((path / mark).exists() for mark in _MARKS):
        return True
    # A folder of processing sets is none: its parts have data themselves.
    return any(
        "data_groups" in about.read_text(errors="replace")
        for level in ("*/", "*/MAIN/", "MAIN/")
        for name in ("zarr.json", ".zattrs")
        for about in path.glob(level + name)
    )


@dataclass
class Part:
    """One Measurement Set of version 4: its data, antennas and fields, and the names of its arrays by data column."""

    path: Path
    main: Group
    antennas: Group
    fields: Group
    arrays: dict[str, dict[str, str]]

    def array(self, *names: str) -> Array:
        """The first of some arrays that exists."""
        return array_of(self.main, self.path, *names)

    @property
    def data(self) -> Array:
        """The visibilities of DATA, or of CORRECTED_DATA if there are no others."""
        return self.main[next(iter(self.arrays.values()))["data"]]


def parts_of(path: Path) -> list[Part]:
    """The Measurement Sets of a processing set, or the one at `path`."""
    import zarr

    found, others = [], []
    for folder in (path, path / "MAIN", *sorted(path.glob("*")), *sorted(path.glob("*/MAIN"))):
        if not any((folder / mark).exists() for mark in _MARKS):
            continue
        node = zarr.open(str(folder), mode="r")
        if not isinstance(node, zarr.Group) or "data_groups" not in node.attrs:
            continue
        arrays = _columns(node)
        if not arrays:
            others.append(folder)
            continue
        home = folder.parent if folder.name == "MAIN" else folder
        antennas = _group(home, path, "antenna_xds", "ANTENNA")
        named = [columns["fields"] for columns in arrays.values() if "fields" in columns]
        fields = _group(home, path, *named, *_FIELDS)
        found.append(Part(folder, node, antennas, fields, arrays))
    if not found:
        what = "only spectra of single dishes" if others else "no Measurement Set of version 4 with visibilities"
        raise InputError(
            f"{path} is a zarr store with {what}; give the folder of a processing set (.ps, .zarr) or of one of its "
            "Measurement Sets."
        )
    return found


def _columns(main: Group) -> dict[str, dict[str, str]]:
    """Names of the arrays that become DATA and CORRECTED_DATA, and of their flags, weights, (u, v, w) and fields."""
    groups: dict[str, Any] = main.attrs["data_groups"]
    found: dict[str, dict[str, str]] = {}
    for name, group in sorted(groups.items(), key=lambda item: item[0] != "base"):
        data = group.get("correlated_data", group.get("visibility"))
        if data is None or data not in main or "model" in name.lower():
            continue
        column = "CORRECTED_DATA" if "corrected" in f"{name} {data}".lower() else "DATA"
        arrays = {"data": data, "flag": group.get("flag", "FLAG"), "weight": group.get("weight", "WEIGHT"),
                  "uvw": group.get("uvw", "UVW")}  # fmt: skip
        if "field_and_source" in group:
            arrays["fields"] = group["field_and_source"]
        found.setdefault(column, arrays)
    return dict(sorted(found.items(), reverse=True))


def _group(home: Path, path: Path, *names: str) -> Group:
    import zarr

    for name in names:
        if any((home / name / mark).exists() for mark in _MARKS):
            return zarr.open_group(str(home / name), mode="r")
    raise InputError(f"{path}: {home.name} has no group {' or '.join(names)}. {COPY_AGAIN}")


def array_of(group: Group, path: Path, *names: str) -> Array:
    """The first of some arrays of a group that exists.

    Raises
    ------
    InputError
        There is none of them.
    """
    for name in names:
        if name in group:
            return group[name]
    raise InputError(f"{path}: the group {group.name or '/'} has no array {' or '.join(names)}. {COPY_AGAIN}")

"""Antenna positions of known arrays, one CSV file each, and of other arrays in files of the same form.

Numpy is imported only where it is used, so that the help of the command can list the arrays at once.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from radrim.errors import ConfigError, InputError

if TYPE_CHECKING:
    import numpy as np


FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Layout:
    """The antennas of an array.

    Parameters
    ----------
    name, telescope : str
        Name of the layout, and of the telescope as OBSERVATION::TELESCOPE_NAME gives it.
    stations : list of str
    positions : (antenna, 3) float64
        ITRF [m].
    diameters : (antenna,) float64
        Dish diameters [m].
    """

    name: str
    telescope: str
    stations: list[str]
    positions: np.ndarray
    diameters: np.ndarray

    @property
    def longitude(self) -> float:
        """Longitude of the mean position, east positive [rad]."""
        x, y, _ = self.positions.mean(0)
        return math.atan2(y, x)

    @property
    def longest_baseline(self) -> float:
        """Length of the longest baseline [m]."""
        import numpy as np

        return max(float(np.linalg.norm(self.positions - p, axis=1).max()) for p in self.positions)


def known_layouts() -> list[str]:
    """Names of the shipped layouts, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.csv"))


def is_layout(path: str | Path) -> bool:
    """Whether a CSV file has the columns of antenna positions."""
    with open(path, newline="") as stream:
        first = next((line for line in stream if not line.startswith("#")), "")
    return "x_itrf_m" in first


def read_layout(name_or_path: str | Path) -> Layout:
    """A shipped layout by its name, or any CSV file of the same form.

    Parameters
    ----------
    name_or_path : str or Path
        A name such as 'vla-b', or a CSV file with the columns name, x_itrf_m, y_itrf_m, z_itrf_m, diameter_m.
        A first line '# telescope: NAME' is optional.

    Returns
    -------
    Layout

    Raises
    ------
    ConfigError
        The name is neither a shipped layout nor a file.
    InputError
        The file does not have this form, or has fewer than two antennas.
    """
    import numpy as np

    path = FOLDER / f"{str(name_or_path).lower()}.csv"
    if not path.is_file():
        path = Path(name_or_path)
    if not path.is_file():
        raise ConfigError(
            f"The array '{name_or_path}' is unknown, and no file of that name exists; known arrays: "
            f"{', '.join(known_layouts())}. Name one of them, or a CSV file of antenna positions."
        )
    lines = path.read_text().splitlines()
    telescope = path.stem
    for line in lines:
        if line.startswith("#") and line[1:].strip().startswith("telescope:"):
            telescope = line.split(":", 1)[1].strip()
    try:
        rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
        positions = np.array([[float(row[f"{axis}_itrf_m"]) for axis in "xyz"] for row in rows])
        diameters = np.array([float(row["diameter_m"]) for row in rows])
        stations = [row["name"] for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not an antenna layout ({error}): it must be a CSV file with the columns name, "
                         "x_itrf_m, y_itrf_m, z_itrf_m and diameter_m.") from None  # fmt: skip
    if len(rows) < 2:
        raise InputError(f"{path} holds {len(rows)} antennas; an interferometer needs at least 2.")
    return Layout(path.stem, telescope, stations, positions, diameters)

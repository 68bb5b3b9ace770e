"""What the columns of a Measurement Set hold by its definition, and a check that those of a table do.

References
----------
Kemball & Wieringa (2000), MeasurementSet definition version 2.0, casacore note 229.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from radrim.errors import InputError

if TYPE_CHECKING:
    import casacore.tables as casatables

WHOLE, NUMBER, TRUTH, TEXT = "whole numbers", "numbers", "true or false", "text"
TYPES = {
    WHOLE: ("int", "uint", "short", "ushort", "uchar", "int64"),
    NUMBER: ("int", "uint", "short", "ushort", "uchar", "int64", "float", "double"),
    TRUTH: ("boolean",),
    TEXT: ("string",),
}
"""casacore's names of the types that can stand for each kind."""

COLUMNS = {
    "MAIN": {
        "ANTENNA1": (WHOLE, 0), "ANTENNA2": (WHOLE, 0), "DATA_DESC_ID": (WHOLE, 0), "FIELD_ID": (WHOLE, 0),
        "SCAN_NUMBER": (WHOLE, 0), "FEED1": (WHOLE, 0), "FEED2": (WHOLE, 0), "TIME": (NUMBER, 0),
        "INTERVAL": (NUMBER, 0), "EXPOSURE": (NUMBER, 0), "FLAG_ROW": (TRUTH, 0), "UVW": (NUMBER, 1),
        "WEIGHT": (NUMBER, 1), "FLAG": (TRUTH, 1),
        "WEIGHT_SPECTRUM": (NUMBER, 1),
    },
    "ANTENNA": {"NAME": (TEXT, 0), "MOUNT": (TEXT, 0), "POSITION": (NUMBER, 1), "DISH_DIAMETER": (NUMBER, 0)},
    "DATA_DESCRIPTION": {"SPECTRAL_WINDOW_ID": (WHOLE, 0), "POLARIZATION_ID": (WHOLE, 0)},
    "FIELD": {"NAME": (TEXT, 0), "PHASE_DIR": (NUMBER, 1), "EPHEMERIS_ID": (WHOLE, 0)},
    "OBSERVATION": {"TELESCOPE_NAME": (TEXT, 0), "OBSERVER": (TEXT, 0)},
    "POLARIZATION": {"CORR_TYPE": (WHOLE, 1)},
    "SPECTRAL_WINDOW": {
        "CHAN_FREQ": (NUMBER, 1), "CHAN_WIDTH": (NUMBER, 1), "EFFECTIVE_BW": (NUMBER, 1), "RESOLUTION": (NUMBER, 1),
        "TOTAL_BANDWIDTH": (NUMBER, 0), "MEAS_FREQ_REF": (WHOLE, 0),
    },
    "FEED": {"ANTENNA_ID": (WHOLE, 0), "SPECTRAL_WINDOW_ID": (WHOLE, 0), "POLARIZATION_TYPE": (TEXT, 1),
             "RECEPTOR_ANGLE": (NUMBER, 1)},
}  # fmt: skip
"""What the columns that are read hold, and whether a cell is an array (1) or a single value (0)."""

VECTORS = ("UVW", "POSITION")
"""Columns whose cells have the three coordinates x, y and z."""


def check_columns(table: "casatables.table", name: str, path: str | Path) -> None:
    """Raise InputError if a column holds something else than the definition of the Measurement Set says.

    Parameters
    ----------
    table : casacore table
    name : str
        Its name, such as those in `COLUMNS`; others are not checked.
    path : str or Path
        Path of the table, for the message.
    """
    there = set(table.colnames())
    for column, (kind, array) in COLUMNS.get(name, {}).items():
        if column not in there:
            continue
        is_array, found = not table.isscalarcol(column), table.coldatatype(column)
        if found not in TYPES[kind] or is_array != bool(array):
            raise InputError(
                f"{path}: column {column} holds {'arrays' if is_array else 'single values'} of type {found}; in a "
                f"Measurement Set it is {'arrays of ' if array else ''}{kind}. Export it again, or repair the column."
            )
        if column in VECTORS and table.nrows() and table.iscelldefined(column, 0):
            shape = np.shape(table.getcell(column, 0))
            if shape != (3,):
                raise InputError(
                    f"{path}: {column} has cells of shape {shape}, not (3,). Export it again, or repair it."
                )

"""How large the parts are in which Measurement Sets and UVFITS files are read and written."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StorageSettings:
    """Sizes of tiles on the disk, and of the parts of a file that are in memory at a time."""

    tile_samples: int = 2**17
    """Samples in one tile of a new data column: 1 MB of complex64."""
    chunk_samples: int = 2**20
    """Samples (row x chan x corr) of a simulation that are in memory at a time."""
    chunk_bytes: int = 32 * 2**20
    """Data of the rows that are in memory at a time when a column is copied or calibrated [bytes]."""
    part_bytes: int = 64 * 2**20
    """Groups of a UVFITS file that are converted together [bytes]; pyuvdata takes several times that."""
    rows: int = 2**16
    """Rows that are in memory at a time when a column of a converted Measurement Set is written."""
    index_rows: int = 2**20
    """Rows of an index column, such as FIELD_ID, that are in memory at a time."""


DEFAULTS = StorageSettings()

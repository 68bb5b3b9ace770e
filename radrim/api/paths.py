"""What the functions of this package take as input files."""

from collections.abc import Sequence
from pathlib import Path

Paths = str | Path | Sequence[str | Path]
"""One path or several."""

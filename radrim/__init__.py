"""radrim: visibilities of any radio interferometer in, science-grade FITS images out."""

import importlib
import os
from typing import TYPE_CHECKING, Any

from radrim.errors import ConfigError, DataError, InputError, OutputError, RadrimError, SolverError
from radrim.version import __version__

if TYPE_CHECKING:
    from radrim import operator
    from radrim.api import compare, convert, feather, image, info, mask, plan, predict, selfcal, simulate
    from radrim.inspection.observation import Observation
    from radrim.interactive.result import Result

# Torch asks for huge pages then, and networks spend less time on CPUs waiting for memory. It looks when it is loaded.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

__all__ = [
    "ConfigError",
    "DataError",
    "InputError",
    "Observation",
    "OutputError",
    "RadrimError",
    "Result",
    "SolverError",
    "__version__",
    "compare",
    "convert",
    "feather",
    "image",
    "info",
    "mask",
    "operator",
    "plan",
    "predict",
    "selfcal",
    "simulate",
]


def __getattr__(name: str) -> Any:
    # torch and the rest load when they are needed, not with `import radrim`.
    if name in ("compare", "convert", "feather", "image", "info", "mask", "plan", "predict", "selfcal", "simulate"):
        found = getattr(importlib.import_module("radrim.api"), name)
    elif name == "Observation":
        found = importlib.import_module("radrim.inspection.observation").Observation
    elif name == "Result":
        found = importlib.import_module("radrim.interactive.result").Result
    elif name == "operator":
        found = importlib.import_module("radrim.operator")
    else:
        raise AttributeError(f"module 'radrim' has no attribute '{name}'")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)

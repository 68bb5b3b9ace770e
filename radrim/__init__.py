"""radrim: visibilities of any radio interferometer in, science-grade FITS images out."""

import os

from radrim.errors import ConfigError, DataError, InputError, OutputError, RadrimError, SolverError
from radrim.version import __version__

# Torch asks for huge pages then, and networks spend less time on CPUs waiting for memory. It looks when it is loaded.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

__all__ = [
    "ConfigError",
    "DataError",
    "InputError",
    "OutputError",
    "RadrimError",
    "SolverError",
    "__version__",
    "compare",
    "image",
    "predict",
]


def __getattr__(name):
    # torch and the rest load when the first image is asked for, not with `import radrim`.
    if name == "image":
        from radrim.api import image

        return image
    if name == "compare":
        from radrim.comparison.run import compare

        return compare
    if name == "predict":
        from radrim.sky.prediction import predict

        return predict
    raise AttributeError(f"module 'radrim' has no attribute '{name}'")

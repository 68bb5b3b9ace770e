"""The version of radrim, and those of the packages that results depend on."""

__version__ = "0.1.0"


def versions() -> dict[str, str]:
    """Versions of radrim and of the packages that its results depend on, by name."""
    import platform

    import astropy
    import ducc0
    import finufft
    import numpy as np
    import torch

    return {
        "radrim": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "astropy": astropy.__version__,
        "ducc0": ducc0.__version__,
        "finufft": finufft.__version__,
    }

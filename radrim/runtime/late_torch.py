"""What must be known of torch before it is imported. Importing it takes more than a second."""

import os
import sys

DRIVERS = ("/dev/nvidiactl", "/dev/dxg")
"""Devices of NVIDIA's driver on Linux, and on Linux within Windows."""


def has_gpu() -> bool:
    """Whether torch can use an NVIDIA GPU; torch is asked only where a driver is."""
    if "torch" not in sys.modules and not any(os.path.exists(path) for path in DRIVERS):
        return False
    import torch

    return torch.cuda.is_available()


def use_threads(threads: int) -> None:
    """Let torch use this number of threads, now or when it is imported."""
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(threads)
    else:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # libgomp reads it when torch loads it

"""Half precision where the processor multiplies it fast."""

import functools
from pathlib import Path

import torch

FAST = ("amx_bf16", "avx512_bf16")
"""Flags of processors whose bfloat16 is faster than their float32; on others it is slower."""


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether networks run faster in bfloat16 on a device."""
    return torch.cuda.is_bf16_supported() if device.type == "cuda" else _processor_has_bfloat16()


@functools.cache
def _processor_has_bfloat16():
    try:
        words = Path("/proc/cpuinfo").read_text().split()
    except OSError:  # not Linux
        return False
    return any(flag in words for flag in FAST)

"""radrim.runtime.allocator: what a program of its own does with memory that it no longer needs."""

import subprocess
import sys

import pytest

RESIDENT = """
import sys
from radrim.runtime.allocator import give_back_memory, keep_memory
if sys.argv[1] != "never":
    keep_memory()
if sys.argv[1] == "no longer":
    give_back_memory()
import numpy as np
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096
before = resident()
for _ in range(20):
    array = np.ones(64 * 2**20, np.uint8)
    del array
print(resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's, /proc is Linux's")
def test_memory_stays_and_is_used_again():
    """An array of 64 MiB, made and freed twenty times: once as much stays, nothing if memory is not kept (any more)."""
    left = {}
    for how in ("keep", "no longer", "never"):
        run = subprocess.run([sys.executable, "-c", RESIDENT, how], capture_output=True, text=True, check=True)
        left[how] = int(run.stdout) / 2**20
    assert max(left["no longer"], left["never"]) < 16
    assert 60 < left["keep"] < 80

"""A small part of the random faults of pipelines/benchmarks/fuzz.py."""

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[2] / "pipelines" / "benchmarks"


def test_no_fault_ends_in_a_traceback(tmp_path):
    """Each kind of fault once: exit status 0, 2 or 3, no traceback, and the next run is not blocked.

    In a process of its own, since forks of one that has started threads can hang.
    """
    words = [sys.executable, str(BENCHMARKS / "fuzz.py"), "--runs", "36", "--jobs", "2", "--work", str(tmp_path),
             "--data", str(tmp_path)]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| all |  | 36 |" in done.stdout

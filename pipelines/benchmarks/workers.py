"""A Dask cluster of processes of this machine, for benchmarks."""

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager

from distributed import Client

LINE = [sys.executable, "-m", "dask"]


def _start(*words):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*LINE, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)


@contextmanager
def dask_workers(folder, count):
    """A scheduler with so many workers of one thread.

    Yields
    ------
    str, list of Popen
        The scheduler's address, and the workers; these may be killed.
    """
    file = folder / "scheduler.json"
    file.unlink(missing_ok=True)
    scheduler = _start("scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
    workers = []
    try:
        while not file.exists():
            time.sleep(0.1)
        address = json.loads(file.read_text())["address"]
        workers.extend(add_worker(folder, address) for _ in range(count))
        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(count)
        yield address, workers
    finally:
        for process in [*workers, scheduler]:
            process.kill()
            process.wait()


def add_worker(folder, address):
    """Another worker, a Popen; nobody restarts it when it is killed."""
    options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", "0"]
    return _start("worker", address, *options, "--local-directory", str(folder))

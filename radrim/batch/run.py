"""Makes the images of a batch, each in its own subprocess, so that one crash cannot stop the batch."""

import fcntl
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from radrim.batch.config import BatchConfig
from radrim.batch.items import DONE, FAILED, RUNNING, STOPPED, Item
from radrim.errors import ConfigError, OutputError, RadrimError
from radrim.report.qa import read_qa
from radrim.runtime.files import advice
from radrim.runtime.memory import MemorySettings, total_memory
from radrim.runtime.process import Finished, ProcessSettings, run

log = logging.getLogger("radrim")

CHILD = (sys.executable, "-m", "radrim.cli.child")
"""Command that runs `radrim` for one image."""

LOCK = ".batch.lock"
STATUS_INPUT, STATUS_INTERRUPTED = 2, 130
"""Exit statuses of `radrim image`: an error that the user can correct, and an interrupted run."""


@dataclass(frozen=True)
class Terms:
    """How each image of a batch is made.

    Parameters
    ----------
    retries : int
        Number of further tries after a crash.
    time_limit : float
        [s]
    threads : int or None
        Threads of one image, unless its options give them; None for all.
    memory : float or None
        Memory of one image, unless its options give it [bytes]; None for the usual fraction of the machine's.
    grace : float
        Time between asking a process to end and killing it [s].
    pause : float
        Time before an image whose process was killed is tried again, doubled each time: others may free memory
        meanwhile [s].
    """

    retries: int
    time_limit: float
    threads: int | None
    memory: float | None
    grace: float = 20.0
    pause: float = 10.0


def terms_of(config: BatchConfig, alone: bool = False) -> Terms:
    """How images are made on this machine: threads and memory are divided among the images at once.

    Parameters
    ----------
    config : BatchConfig
    alone : bool
        Whether one image is made at a time, whatever `config.jobs` is, with the processors and memory of a SLURM job.
    """
    jobs = 1 if alone else config.jobs
    cpus = int(os.environ.get("SLURM_CPUS_PER_TASK", "0")) if alone else len(os.sched_getaffinity(0))
    memory = config.memory
    if memory is None and jobs > 1:
        memory = MemorySettings.used_fraction * total_memory()
    elif memory is None and alone and os.environ.get("SLURM_MEM_PER_NODE", "").isdecimal():
        memory = MemorySettings.used_fraction * float(os.environ["SLURM_MEM_PER_NODE"]) * 2**20
    threads = max(1, cpus // jobs) if cpus else None
    return Terms(config.retries, config.time_limit, threads, memory and memory / jobs)


def make_images(items: Sequence[Item], terms: Terms, jobs: int, seen: Callable[[Item, dict], None]) -> None:
    """Make the images of these items on this machine.

    Parameters
    ----------
    items : sequence of Item
    terms : Terms
    jobs : int
        Number of images at once.
    seen : callable
        Called with each item and its state as soon as it is finished.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(make_image, item, terms, stop): item for item in items}
        try:
            for future in as_completed(futures):
                seen(futures[future], future.result())
        except BaseException:  # after an interrupt or an error of `seen`, the processes must end, too
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise


def make_on_cluster(items: Sequence[Item], terms: Terms, address: str, seen: Callable[[Item, dict], None]) -> None:
    """Make the images of these items on the workers of a Dask cluster; each worker makes one image per thread at once.

    Raises
    ------
    ConfigError, ClusterError
        As `radrim.runtime.executors.Cluster`.
    """
    from radrim.runtime.executors import Cluster

    with Cluster(address) as cluster:
        calls = [(_make_on_worker, item, terms) for item in items]
        cluster.run("images", calls, done=lambda number: seen(items[number], items[number].state()))


def _make_on_worker(item: Item, terms: Terms) -> dict[str, Any]:
    """Make one image on a worker, whose memory is divided among its threads."""
    from distributed import get_worker

    worker = get_worker()
    memory = (worker.memory_manager.memory_limit or total_memory()) / worker.state.nthreads
    return make_image(item, replace(terms, threads=1, memory=MemorySettings.used_fraction * memory))


def make_image(item: Item, terms: Terms, stop: threading.Event | None = None) -> dict[str, Any]:
    """Make one image, with further tries if its process is killed, and write its state.

    Parameters
    ----------
    item : Item
    terms : Terms
    stop : Event
        When it is set, the process is asked to end; the image is then 'interrupted'.

    Returns
    -------
    dict
        The state of the item, as in its file (docs/batch.md).
    """
    stop = stop or threading.Event()
    state: dict = {"name": item.name, "state": RUNNING, "reason": ""}
    try:
        item.folder.mkdir(parents=True, exist_ok=True)
        with lock(item.folder, f"Item {item.name}"):
            command = _command(item, terms)
            state |= {"started": _now(), "host": socket.gethostname(), "command": ["radrim", *command]}
            before = item.state().get("files", [])
            state |= {"of": item.describe(), "files": before}
            item.keep_state(state)
            state |= _try(item, command, terms, stop) | {"finished": _now()}
            for name in set(before) - set(state["files"]):  # made with other settings, such as more channels
                (item.folder / name).unlink(missing_ok=True)
            item.keep_state(state)
    except (RadrimError, OSError) as error:
        state |= {"state": FAILED, "reason": str(error)}
    return state


def _command(item: Item, terms: Terms) -> list[str]:
    """The words of `radrim image` for an item."""
    words = ["image", *item.config.as_arguments()]
    if terms.threads is not None and "threads" not in item.options:
        words += ["--threads", str(terms.threads)]
    if terms.memory is not None and "memory" not in item.options:
        words += ["--memory", f"{terms.memory / 1e6:.0f}MB"]
    # An unfinished run with the same settings is resumed, with others it is replaced: the folder belongs to the batch.
    return [*words, "--overwrite"]


def _try(item: Item, command: list[str], terms: Terms, stop: threading.Event) -> dict[str, Any]:
    """Run the process until it succeeds, fails finally or is stopped; returns the changes of the item's state."""
    seconds, memory = 0.0, 0
    for attempt in range(1, terms.retries + 2):
        heading = f"--- {_now()} {' '.join(command)}"
        end = run(
            [*CHILD, *command],
            item.file(".log"),
            terms.time_limit,
            stop=stop,
            folder=item.root,
            heading=heading,
            settings=ProcessSettings(grace=terms.grace),
        )
        seconds, memory = seconds + end.wall, max(memory, end.memory)
        facts = {"status": end.status, "attempts": attempt, "seconds": round(seconds, 3), "peak_memory_bytes": memory}
        if end.status == 0:
            return facts | {"state": DONE, "reason": "", "files": read_qa(item.file("-qa.json"))["files"]}
        if stop.is_set() or (end.status == STATUS_INTERRUPTED and not end.stopped):
            return facts | {"state": STOPPED, "reason": ""}
        reason = explain(end, terms.time_limit)
        # A further try would end in the same way after bad input or at the time limit.
        if end.stopped or end.status == STATUS_INPUT or attempt > terms.retries:
            break
        wait = terms.pause * 2 ** (attempt - 1) if end.status == -signal.SIGKILL else 0.0
        log.warning("%s: %s; it is tried again%s.", item.name, reason, f" in {wait:.0f} s" if wait else "")
        stop.wait(wait)
    return facts | {"state": FAILED, "reason": reason}


def explain(end: Finished, time_limit: float) -> str:
    """Why a process failed, in one line."""
    if end.stopped:
        return f"ended at the time limit of {time_limit:.0f} s; the same command goes on with what is finished"
    if end.status == -signal.SIGKILL:
        return (
            f"killed (SIGKILL) with {end.memory / 1e9:.2g} GB: the system does so when the memory runs out; give "
            "fewer --jobs or less --memory"
        )
    message = _last_words(end.output)
    if end.status < 0:
        return f"crashed ({signal.Signals(-end.status).name}): {message}"
    if end.status == STATUS_INPUT:
        return message
    return f"failed unexpectedly (exit status {end.status}): {message}"


def _last_words(output: str) -> str:
    """The error message in the output of `radrim`, or its last line if there is none."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    messages = [line.removeprefix("radrim: ") for line in lines if line.startswith("radrim: ")]
    return (messages or lines or [""])[-1]


@contextmanager
def lock(folder: str | Path, what: str, shared: bool = False) -> Iterator[None]:
    """Lock a folder during the block. The lock is released when the process ends, even after a crash.

    Parameters
    ----------
    folder : Path
    what : str
        What is locked, for the message.
    shared : bool
        Whether other processes may hold a shared lock at the same time.

    Raises
    ------
    ConfigError
        Another process holds it.
    OutputError
        The folder cannot be written.
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(open(Path(folder) / LOCK, "a+"))
        except OSError as error:
            raise OutputError(f"{what} cannot be written: {advice(error, Path(folder))}") from error
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise ConfigError(
                f"{what} is being worked on by another radrim batch ({holder}); wait for it, or end it."
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

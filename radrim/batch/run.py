"""Making the images of a batch: each in a process of its own, whose end, whatever it is, ends nothing else."""

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
"""What runs `radrim` for one image."""

LOCK = ".batch.lock"
STATUS_INPUT, STATUS_INTERRUPTED = 2, 130
"""Exit statuses of `radrim image`: what the user can mend, and what was interrupted."""


@dataclass(frozen=True)
class Terms:
    """How each image of a batch is made.

    Parameters
    ----------
    retries : int
    time_limit : float
        [s]
    threads : int or None
        Of one image, unless its options say; None: all.
    memory : float or None
        Of one image, unless its options say [bytes]; None: the usual part of the machine's.
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
    """How images are made on this machine: threads and memory are divided among those at once.

    Parameters
    ----------
    config : BatchConfig
    alone : bool
        One image, whatever `config.jobs` says; of what SLURM has given to the job, where it has.
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
    """Make the images of these items, so many at once, on this machine.

    Parameters
    ----------
    items : sequence of Item
    terms : Terms
    jobs : int
    seen : callable
        Told each item and what became of it, as soon as that is known.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(make_image, item, terms, stop): item for item in items}
        try:
            for future in as_completed(futures):
                seen(futures[future], future.result())
        except BaseException:  # an interrupt, or no room for the state of an item: the processes must end, too
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise


def make_on_cluster(items: Sequence[Item], terms: Terms, address: str, seen: Callable[[Item, dict], None]) -> None:
    """Make the images of these items by the workers of a Dask cluster, each as many at once as it has threads.

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
    """One image, with the worker's memory divided among its threads."""
    from distributed import get_worker

    worker = get_worker()
    memory = (worker.memory_manager.memory_limit or total_memory()) / worker.state.nthreads
    return make_image(item, replace(terms, threads=1, memory=MemorySettings.used_fraction * memory))


def make_image(item: Item, terms: Terms, stop: threading.Event | None = None) -> dict[str, Any]:
    """Make one image, again if its process is killed, and note what became of it.

    Parameters
    ----------
    item : Item
    terms : Terms
    stop : Event
        When it is set, the process is asked to end; the image is then 'interrupted'.

    Returns
    -------
    dict
        The item's state (docs/batch.md), as its file has it.
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
            for name in set(before) - set(state["files"]):  # of other settings, such as more channels
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
    # Of the same run this goes on with what is finished, of another it begins again: the folder is the batch's own.
    return [*words, "--overwrite"]


def _try(item: Item, command: list[str], terms: Terms, stop: threading.Event) -> dict[str, Any]:
    """Run the process until it succeeds, fails for good or is stopped; what became of it."""
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
        # Bad input and what is too slow would be so again.
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
    """The message of `radrim` in what it printed, or else the last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    messages = [line.removeprefix("radrim: ") for line in lines if line.startswith("radrim: ")]
    return (messages or lines or [""])[-1]


@contextmanager
def lock(folder: str | Path, what: str, shared: bool = False) -> Iterator[None]:
    """While a folder is worked on; several can share it if all say so. It ends with the process, however that ends.

    Parameters
    ----------
    folder : Path
    what : str
        What is locked, for the message.
    shared : bool

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

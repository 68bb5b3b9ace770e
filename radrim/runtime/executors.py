"""Runs Dask graphs on the threads of this machine or on the workers of a cluster, and shows the progress."""

import gc
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, NoReturn, Protocol, Self

import dask
from dask.callbacks import Callback
from dask.threaded import get

from radrim.errors import ClusterError, ConfigError
from radrim.runtime.progress_bar import ProgressBar

if TYPE_CHECKING:
    from dask_jobqueue import SLURMCluster
    from distributed import Future

log = logging.getLogger("radrim")


@dataclass(frozen=True)
class ExecutionSettings:
    """How calls are handed to threads and clusters."""

    max_calls: int = 4096
    """Largest number of calls that a scheduler knows of at once, so that graphs stay small for any size of image: 18 MB
    for a cluster (pipelines/benchmarks/layout.py)."""
    retries: int = 3
    """Number of times that a cluster repeats a call whose worker was lost."""
    patience: float = 60.0
    """Time without any worker after which a cluster is given up [s]."""


def compute(tasks: Sequence, label: str, workers: int) -> tuple:
    """Compute Dask delayed objects together, on threads.

    Parameters
    ----------
    tasks : sequence of Delayed
    label : str
        Label of the progress bar, shown on a terminal where the log level is INFO or lower.
    workers : int
        Number of tasks that run at once.

    Returns
    -------
    tuple
        Their results, in order.
    """
    # Fusing would hide single tasks from the progress bar.
    with (
        dask.config.set({"optimization.fuse.active": False}),
        ProgressBar(label, 0) as bar,
        _TaskBar(bar),
        _pool(workers) as pool,
    ):
        return dask.compute(*tasks, scheduler=get, pool=pool)


def _pool(workers: int) -> ThreadPoolExecutor:
    """New threads, in which torch uses as many threads as here. Old threads would keep the number of an earlier run."""
    torch = sys.modules.get("torch")
    if torch is None:  # nothing that needs it runs in them
        return ThreadPoolExecutor(workers)
    return ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(torch.get_num_threads(),))


def graphs(calls: Iterable[tuple], max_calls: int = ExecutionSettings.max_calls) -> Iterator[dict[int, tuple[partial]]]:
    """Dask graphs of at most `max_calls` (function, argument, ...) calls each, made one after the other.

    Returns
    -------
    iterator of dict
        Number of the call to its task. The graphs are written directly in Dask's format: `dask.delayed` searches every
        argument, which takes a hundred times as long.
    """
    numbered = enumerate(calls)
    while True:
        with _no_collection():
            graph = {number: (partial(call[0], *call[1:]),) for number, call in islice(numbered, max_calls)}
        if not graph:
            return
        yield graph


@contextmanager
def _no_collection() -> Iterator[None]:
    """Suspend garbage collection while many objects are made that are all in use."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class Executor(Protocol):
    """Runs calls, here or elsewhere."""

    def run(self, label: str, calls: Iterable[tuple], gpu: bool = False) -> list:
        """Results of (function, argument, ...) calls, in order; see `Threads.run`."""


class Threads:
    """Runs calls on the threads of this machine.

    Parameters
    ----------
    workers : int
        Number of calls at once.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def run(self, label: str, calls: Iterable[tuple], gpu: bool = False) -> list:  # noqa: ARG002 - as `Cluster.run`
        """Results of (function, argument, ...) calls, in order.

        Parameters
        ----------
        label : str
            Label of the progress bar.
        calls : iterable of tuple
        gpu : bool
            Whether each call needs a GPU to itself; only clusters take it into account.
        """
        results: list = []
        for graph in graphs(calls):
            with ProgressBar(label, len(graph)) as bar, _TaskBar(bar), _pool(self.workers) as pool:
                results += get(graph, list(graph), pool=pool)
        return results


class _Once:
    """Calls a function of a number until it has succeeded once for each number; other threads wait meanwhile."""

    def __init__(self, function: Callable[[int], object]) -> None:
        self._function, self._lock = function, threading.Lock()
        self._seen: set[int] = set()

    def __call__(self, number: int) -> None:
        with self._lock:
            if number not in self._seen:
                self._function(number)
                self._seen.add(number)


class Cluster:
    """Runs calls on the workers of a Dask cluster, which see the same files under the same names.

    The calls of a lost worker are repeated by other workers.

    Parameters
    ----------
    address : str
        Address of a running scheduler, such as tcp://node1:8786; or 'slurm' to start jobs as
        ~/.config/dask/jobqueue.yaml describes them.
    jobs : int
        Number of jobs, with 'slurm'.
    settings : ExecutionSettings

    Raises
    ------
    ConfigError
        dask.distributed or dask-jobqueue is not installed, or jobs cannot be described.
    ClusterError
        The scheduler cannot be reached, or has no workers.
    """

    def __init__(self, address: str, jobs: int = 1, settings: ExecutionSettings = ExecutionSettings()) -> None:
        self._settings, patience = settings, settings.patience
        try:
            from distributed import Client
        except ImportError:
            raise ConfigError(
                "--scheduler and --cluster need dask.distributed: pip install 'radrim[cluster]'."
            ) from None
        self._jobs = start_jobs(jobs) if address == "slurm" else None
        if self._jobs is None:
            log.info("Connecting to the Dask scheduler %s (at most %.0f s).", address, patience)
        try:
            self._client = Client(self._jobs or address, timeout=patience, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ClusterError(
                f"No Dask scheduler answers at {address} ({error}); start one with 'dask scheduler'."
            ) from None
        scheduler = self._client.scheduler
        log.info(
            "Dask scheduler %s, dashboard %s",
            scheduler.address if scheduler else address,
            self._client.dashboard_link,
        )
        try:
            self._client.wait_for_workers(1, timeout=None if self._jobs else patience)
        except TimeoutError:
            self._client.close()
            raise ClusterError(
                f"The scheduler {address} had no workers for {patience:.0f} s; start some with 'dask worker {address}'."
            ) from None
        self.workers = sum(self._client.nthreads().values())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._client.close()
        if self._jobs is not None:
            self._jobs.close()

    def run(
        self, label: str, calls: Iterable[tuple], gpu: bool = False, done: Callable[[int], object] | None = None
    ) -> list:
        """Results of (function, argument, ...) calls, in order, as `Threads.run`.

        Calls and results are sent over the network and should be small.

        `done` is called once with the number of each finished call, and has been called for all before this method
        returns. Most calls come from another thread, one at a time. Its exceptions in that thread are only logged; then
        it is called again from this thread, where they propagate.
        """
        results: list = []
        tell = _Once(done) if done else None
        common = {"pure": False, "retries": self._settings.retries, "resources": {"GPU": 1} if gpu else None}
        for graph in graphs(calls, self._settings.max_calls):
            futures = [self._client.submit(call.func, *call.args, **common, key=None) for (call,) in graph.values()]
            for number, future in zip(graph, futures, strict=True):
                if tell:
                    future.add_done_callback(lambda future, number=number: future.status == "finished" and tell(number))
            results += self._results(futures, label)
            if tell:  # results can arrive before distributed has called all callbacks
                for number in graph:
                    tell(number)
        return results

    def _results(self, futures: "list[Future]", label: str) -> list:
        """Results of calls. A result that is lost with its worker is computed again."""
        from distributed.utils import sync

        while True:
            self._wait(futures, label)
            with suppress(TimeoutError):
                return sync(
                    self._client.loop,  # type: ignore[arg-type] # a client that has connected has a loop
                    self._client.gather,
                    futures,
                    asynchronous=True,
                    callback_timeout=self._settings.patience,
                )

    def _wait(self, futures: "list[Future]", label: str) -> None:
        """Wait until all calls are finished; raises when one has failed or no worker is left."""
        from distributed import wait

        seen = time.monotonic()
        while True:
            with self._client.as_current(), suppress(TimeoutError):
                wait(futures, timeout=1)
            failed = next((future for future in futures if future.status in ("error", "cancelled")), None)
            if failed is not None:
                self._explain(failed, label)
            # A call that is lost with its worker is repeated by another worker.
            if not any(future.status in ("pending", "lost") for future in futures):
                return
            if self._client.scheduler_info(n_workers=1).get("workers"):
                seen = time.monotonic()
            elif time.monotonic() - seen > self._settings.patience:
                raise ClusterError(
                    f"{label}: all workers of the cluster have been gone for {self._settings.patience:.0f} s. What is "
                    "finished is kept; the same command goes on when there are workers again."
                )

    def _explain(self, future: "Future", label: str) -> NoReturn:
        from distributed import KilledWorker

        error = future.exception() if future.status == "error" else None
        if error is None or isinstance(error, KilledWorker):
            raise ClusterError(
                f"{label}: {self._settings.retries + 1} workers died of the same task ({error or future.status}). What "
                "is finished is kept. They may need more memory than they have: their logs say, and a smaller --facet "
                "helps."
            ) from None
        raise error


def start_jobs(jobs: int) -> "SLURMCluster":
    """Start workers as SLURM jobs with dask-jobqueue."""
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError:
        raise ConfigError("--cluster slurm needs dask-jobqueue: pip install 'radrim[cluster]'.") from None
    try:
        cluster = SLURMCluster()
    except ValueError as error:
        raise ConfigError(
            f"--cluster slurm: the jobs are not described ({error}); give the cores and the memory of a job in "
            "~/.config/dask/jobqueue.yaml (https://jobqueue.dask.org)."
        ) from None
    cluster.scale(jobs=jobs)
    return cluster


class _TaskBar(Callback):
    """Shows the finished tasks of a graph in a progress bar."""

    def __init__(self, bar: ProgressBar) -> None:
        super().__init__()
        self._bar = bar

    def _start_state(self, _, state):
        self._bar.expect(len(state["ready"]) + len(state["waiting"]))

    def _posttask(self, *_):
        self._bar.advance()

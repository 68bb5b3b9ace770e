"""Facets made by the workers of a Dask cluster: the same bytes, even if workers are killed."""

import errno
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from functools import partial

import numpy as np
import pytest
import torch
from dask import delayed

import radrim
from radrim.deconvolve.tiles import Tiles
from radrim.errors import ClusterError, ConfigError
from radrim.facets.channel import FacetChannel
from radrim.facets.pointing import Pointing
from radrim.facets.tasks import FacetTasks
from radrim.geometry import ImageGrid
from radrim.products import KINDS
from radrim.runtime import executors as cluster
from radrim.runtime.executors import Cluster, ExecutionSettings, Threads, compute
from radrim.workdir.store import Store

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # distributed's own
    pytest.mark.usefixtures("no_report"),
]


class Dask:
    """A scheduler and its workers, as processes."""

    def __init__(self, folder, workers):
        self.file = folder / "scheduler.json"
        self.processes = []
        self.scheduler = self._start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
                                     "--scheduler-file", str(self.file))  # fmt: skip
        while not self.file.exists():
            time.sleep(0.1)
        import json

        self.address = json.loads(self.file.read_text())["address"]
        self.workers = [self.add_worker(folder) for _ in range(workers)]

    def add_worker(self, folder):
        return self._start("worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard",
                           "--death-timeout", "60", "--local-directory", str(folder))  # fmt: skip

    def _start(self, what, *words):
        process = subprocess.Popen([sys.executable, "-m", "dask", what, *words], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"})  # fmt: skip
        self.processes.append(process)
        return process

    def stop(self):
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def dask(tmp_path):
    """Two workers."""
    folder = tmp_path / "dask"
    folder.mkdir()
    running = Dask(folder, 2)
    from distributed import Client

    with Client(running.address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=120)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def sky_ms(make_ms):
    """A point source, seen by nine antennas of VLA C."""
    return make_ms(noise=0.01, times=12)


def image(ms, name, **options):
    common = {"size": 256, "scale": "3asec", "facet": 128, "max_major": 2, "name": name}
    return radrim.image(ms, **common | options)


def test_the_same_bytes_although_a_worker_is_killed(sky_ms, dask, tmp_path, monkeypatch):
    """One of the two workers is killed on the way; the other does its work, and all is as on this machine's threads."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    monkeypatch.chdir(tmp_path)  # workers are elsewhere
    options = {"pb": "airy", "dish_diameter": 250, "channels_out": 2, "max_major": 1}
    here = image(sky_ms, "here", threads=2, **options)

    def kill():
        while not (tmp_path / "there.radrim" / "channel-0000" / "psf").exists():
            time.sleep(0.01)
        dask.workers[0].send_signal(signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    there = image(sky_ms, "there", scheduler=dask.address, **options)
    killer.join()
    assert dask.workers[0].wait() == -signal.SIGKILL
    for kind in KINDS:
        np.testing.assert_array_equal(getattr(there, kind), getattr(here, kind))
    assert not (tmp_path / "there.radrim").exists()


def test_all_workers_lost(sky_ms, dask, tmp_path, monkeypatch):
    """A clear message; what is finished is kept, and the same command goes on without the cluster."""
    monkeypatch.setattr("radrim.pipeline.Cluster", partial(Cluster, settings=ExecutionSettings(patience=3.0)))

    def kill():
        while not (tmp_path / "lost.radrim" / "channel-all" / "psf" / "00000.npy").exists():
            time.sleep(0.01)
        for worker in dask.workers:
            worker.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(ClusterError, match=r"(all workers of the cluster have been gone|workers died).*kept"):
        image(sky_ms, tmp_path / "lost", scheduler=dask.address)
    killer.join()
    dirty = tmp_path / "lost.radrim" / "channel-all" / "dirty" / "00000.npy"
    made = dirty.stat().st_mtime_ns
    seen = []
    monkeypatch.setattr(FacetChannel, "adjoint", _counting(FacetChannel.adjoint, seen))
    assert image(sky_ms, tmp_path / "lost").image.max() > 0.9
    made_again = [window for _, window, data in seen if data]
    assert made
    assert len(made_again) < 4 + 2 * 4


def _counting(function, seen):
    def counted(*arguments):
        seen.append(arguments)
        return function(*arguments)

    return counted


def test_results_lost_with_their_worker(dask, monkeypatch):
    """All workers die when all is done, before anybody has fetched it: said, not waited for without end."""
    with Cluster(dask.address, settings=ExecutionSettings(patience=3.0)) as crew:
        original = crew._wait

        def wait(futures, label):
            original(futures, label)
            for worker in dask.workers:
                worker.kill()
                worker.wait()

        monkeypatch.setattr(crew, "_wait", wait)
        with pytest.raises(ClusterError, match="all workers of the cluster have been gone"):
            crew.run("numbers", [(divmod, n, 3) for n in range(7)])


def test_no_scheduler(sky_ms, tmp_path, monkeypatch):
    """Nobody at that address: said at once, and nothing is lost."""
    monkeypatch.setattr("radrim.pipeline.Cluster", partial(Cluster, settings=ExecutionSettings(patience=2.0)))
    with pytest.raises(ClusterError, match=r"No Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        image(sky_ms, tmp_path / "x", scheduler="tcp://127.0.0.1:9")
    with pytest.raises(ConfigError, match="--scheduler does not work with --cluster"):
        image(sky_ms, tmp_path / "x", scheduler="tcp://127.0.0.1:9", cluster="slurm")


def test_no_workers(dask):
    """A scheduler without workers."""
    for worker in dask.workers:
        worker.kill()
        worker.wait()
    with pytest.raises(ClusterError, match="had no workers for 3 s; start some with 'dask worker"):
        Cluster(dask.address, settings=ExecutionSettings(patience=3.0))


def test_errors_come_through(dask):
    """What a task raises is raised here, by threads and by clusters."""
    for workers in (Threads(2), Cluster(dask.address)):
        with workers as crew:
            assert crew.run("numbers", [(divmod, n, 3) for n in range(7)]) == [divmod(n, 3) for n in range(7)]
            with pytest.raises(ZeroDivisionError):
                crew.run("numbers", [(divmod, 1, 1), (divmod, 1, 0)])


def test_slurm_jobs(tmp_path, monkeypatch):
    """The script of a job starts a worker with what the user's file says; without that file, the message names it."""
    import dask
    from dask_jobqueue import SLURMCluster

    monkeypatch.setattr(SLURMCluster, "scale", lambda self, jobs: scaled.append(jobs))
    scaled: list[int] = []
    with pytest.raises(ConfigError, match=r"jobqueue\.yaml"):
        cluster.start_jobs(2)
    described = {"cores": 4, "memory": "16GB", "walltime": "02:00:00", "queue": "astro"}
    with dask.config.set({f"jobqueue.slurm.{key}": value for key, value in described.items()}):
        jobs = cluster.start_jobs(3)
        script = jobs.job_script()
        jobs.close()
    assert scaled[0] == 3
    assert "#SBATCH -p astro" in script
    assert "#SBATCH -t 02:00:00" in script
    assert "--mem=15G" in script
    assert "dask_worker" in script or "dask worker" in script


def test_tasks_are_small(tmp_path):
    """A task of a 14.4-gigapixel sky is sent in some kilobytes, and graphs hold no more than a batch of them."""
    shape = 120_000, 120_000
    tiles = Tiles(shape, 1024, 128)
    store, folder = Store(tmp_path), "channel-0001"
    channel = FacetChannel(
        store, folder, folder, ImageGrid(*shape, 0.1), tiles, 1, (1e9, 1.1e9), "I", "auto", 1e-4, (Pointing(None, 1.0),)
    )  # fmt: skip
    tasks = FacetTasks(store, folder, (channel,), None, 1.0, ())
    facets = range(len(tasks.tiles))
    for task in (channel.measure, tasks.apply_update):
        assert len(pickle.dumps((task, facets[-1]))) < 2000
    sizes = [len(graph) for graph in cluster.graphs([(channel.measure, facet) for facet in facets])]
    assert sum(sizes) == len(facets) > 13_000
    assert max(sizes) == ExecutionSettings.max_calls


def test_what_is_done_is_told_before_the_end(dask):
    """Each finished call is told once, by one thread at a time, and all are told when the results are there."""
    told, telling = [], threading.Lock()

    def done(number):
        assert telling.acquire(blocking=False)
        time.sleep(0.05)  # longer than the calls take
        told.append(number)
        telling.release()

    with Cluster(dask.address) as crew:
        crew.run("numbers", [(divmod, n, 3) for n in range(9)], done=done)
        assert sorted(told) == list(range(9))


def test_errors_of_telling_come_through(dask):
    """A full disk, met while a finished call is noted, ends the run; it is not lost in another thread."""

    def done(number):
        raise OSError(errno.ENOSPC, "no room")

    with Cluster(dask.address) as crew, pytest.raises(OSError, match="no room"):
        crew.run("numbers", [(divmod, n, 3) for n in range(3)], done=done)


def test_threads_do_not_remember_an_earlier_run():
    """Torch uses the caller's number of threads in every task, whatever another run in this process has set."""
    torch.set_num_threads(2)
    compute([delayed(torch.set_num_threads, pure=False)(1) for _ in range(4)], "earlier", 2)
    assert compute([delayed(torch.get_num_threads, pure=False)() for _ in range(4)], "later", 2) == (2,) * 4

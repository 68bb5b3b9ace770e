"""What a run will take, told before it."""

import re

import pytest

import radrim
from radrim.config.options import ImageConfig
from radrim.deconvolve.tiles import Tiles
from radrim.errors import ConfigError
from radrim.planning import make_plan
from radrim.runtime.executors import Threads


def plan(ms, how=None, **options):
    return make_plan(ImageConfig.parse(str(ms), {"size": 256, "scale": "3asec", "threads": 2} | options), **how or {})


def test_what_is_printed(small_ms, command, tmp_path):
    """Facets, tasks, memory, disk and time, each in a line; no file is left."""
    done = command("plan", small_ms, "--size", 256, 256, "--scale", "3asec", "--facet", 128, "--name", tmp_path / "x")
    assert done.status == 0, done.err
    lines = dict(line.split(None, 1) for line in done.out.splitlines())
    assert set(lines) == {"image", "visibilities", "tasks", "memory", "disk", "time", "longest"}
    assert "4 facets of at most 128 pixels" in lines["image"]
    assert float(re.match(r"[\d.]+", lines["memory"])[0]) > 0.5
    assert not list(tmp_path.iterdir())


def test_facets_are_those_of_the_run(small_ms):
    """As many as the imager makes."""
    assert plan(small_ms, facet=100).facets == len(Tiles((256, 256), 100, 128))
    whole = plan(small_ms)
    assert (whole.facets, whole.side) == (1, 0)
    assert "as a whole" in str(whole)


def test_tasks_are_those_of_the_run(small_ms, tmp_path, no_report, monkeypatch):
    """As many as are carried out; where nothing was found some are not needed."""
    done = []
    run = Threads.run

    def counted(self, label, calls, gpu=False):
        calls = list(calls)
        done.extend([label] * len(calls))
        return run(self, label, calls, gpu)

    monkeypatch.setattr(Threads, "run", counted)
    common = {"facet": 64, "pb": "airy", "dish_diameter": 25}
    for options, unneeded in (({"niter": 0}, 0), ({"max_major": 1}, 4), ({"max_major": 1, "holdout": 0}, 4)):
        done.clear()
        radrim.image(small_ms, size=256, scale="3asec", threads=2, name=tmp_path / "x", **common, **options)
        assert len(done) <= plan(small_ms, **common, **options).tasks <= len(done) + unneeded


def test_threads_share_the_work(small_ms, monkeypatch):
    """An image made as a whole is measured by all threads together, facets by as many workers as there are windows."""
    monkeypatch.setattr("radrim.planning._time_window", lambda *_: (3.0, 1.0, 1000.0))
    assert plan(small_ms, niter=0).measure == 8
    monkeypatch.setattr("radrim.planning._time_minor", lambda *_: (10.0, 20.0))  # what all threads together take
    minor = [plan(small_ms, {"active": 1, "cycles": 1}, threads=n).cycle for n in (1, 4)]
    assert minor[0] == minor[1] == 18
    assert [plan(small_ms, {"workers": n}, niter=0, facet=64).measure for n in (1, 2, 3, 16, 99)] == [32, 16, 16, 8, 8]


def test_more_work_takes_longer(small_ms):
    """Channels, cycles and active facets add time, and workers take some away."""
    some = plan(small_ms, {"active": 0.5, "cycles": 2}, facet=64)
    assert some.cycles == 2
    assert plan(small_ms, facet=64, niter=0).cycles == 0
    assert plan(small_ms, facet=64, channels_out=2).tasks > plan(small_ms, facet=64).tasks
    assert some.seconds == pytest.approx(some.measure + 2 * some.cycle + some.rest)
    assert some.extended > some.cycle
    assert some.disk > 4 * 256**2 * 5


def test_gigapixels(small_ms):
    """14.4 gigapixels in a thousand channels are planned in seconds, and no scheduler ever knows all their tasks."""
    large = plan(small_ms, {"workers": 512}, size=120_000, scale="0.5asec", channels_out=1000, facet=1024, niter=0)
    assert large.grid.width * large.grid.height == 14_400_000_000
    assert large.tasks > 1e6
    assert large.known <= 4096
    assert large.memory < 4e9
    assert "days" in str(large) or " h" in str(large) or "min" in str(large)


def test_size_and_scale_are_needed(small_ms):
    """The data are not read: what depends on them must be given."""
    with pytest.raises(ConfigError, match=r"give --size and --scale\. 'radrim info' proposes some"):
        make_plan(ImageConfig.parse(str(small_ms), {"size": 256}))


def test_several_stokes_take_more(small_ms):
    """Four Stokes parameters: four times the cycles, and more on the disk; less than four times the measuring."""
    one, four = (plan(small_ms, {"cycles": 2}, pol=pol, niter=100) for pol in ("I", "IQUV"))
    assert "4 Stokes parameters" in str(four)
    assert "Stokes" not in str(one)
    assert four.tasks == 4 * one.tasks
    assert one.disk < four.disk < 4 * one.disk

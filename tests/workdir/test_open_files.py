"""Blocks of visibilities stay mapped without open files, so that their number has no limit of that kind."""

import os
import resource

import numpy as np
import pytest

from radrim.config.values import Weighting
from radrim.geometry import ARCSEC, ImageGrid
from radrim.read.reader import Selection
from radrim.runtime.mapping import map_array
from radrim.workdir.directory import WorkDir
from radrim.workdir.visibilities import VisibilityCache, release


@pytest.fixture
def few_files():
    """No more than twenty files can be opened beside those that are open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 20, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="only Linux lists open files there")
@pytest.mark.parametrize("by_channel", [False, True])
def test_more_blocks_than_open_files(small_ms, tmp_path, few_files, by_channel):
    """A run with more arrays than files may be open reads and weights all of them."""
    with WorkDir(tmp_path / "run", {}) as work:
        store = VisibilityCache(work, 200, by_channel)
        observation = store.read([small_ms], Selection())
        assert len(observation.blocks) > 20
        total, _ = store.weigh(observation, ImageGrid(64, 64, 4 * ARCSEC), Weighting("natural"))
        assert total == pytest.approx(sum(float(block.weight.sum()) for block in observation.blocks))
        release(observation.blocks)


@pytest.mark.parametrize("shared", [False, True])
def test_changes_reach_the_file_if_shared(tmp_path, shared):
    """A private mapping is a copy as far as it changes, a shared one is the file; views outlive the array."""
    path = tmp_path / "a.npy"
    np.save(path, np.asfortranarray(np.arange(12.0).reshape(3, 4)))
    array = map_array(path, shared)
    array[0, 0] = 5
    view = array[:, 1:]
    del array
    np.testing.assert_array_equal(view, np.arange(12.0).reshape(3, 4)[:, 1:])
    view._mmap.flush()
    assert np.load(path)[0, 0] == (5 if shared else 0)


def test_missing_file(tmp_path):
    """As with any other file."""
    with pytest.raises(FileNotFoundError):
        map_array(tmp_path / "none.npy")

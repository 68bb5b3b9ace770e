"""The visibilities in the work directory: the same samples, sorted, whatever the size of the blocks."""

import dataclasses

import numpy as np
import pytest

from radrim.config.values import Weighting
from radrim.geometry import ARCSEC, ImageGrid
from radrim.read.reader import Selection, read
from radrim.weight.imaging import apply_weights
from radrim.workdir import visibilities as cache
from radrim.workdir.directory import WorkDir
from radrim.workdir.visibilities import VisibilityCache

GRID = ImageGrid(256, 256, 0.5 * ARCSEC)


def sorted_rows(blocks):
    """All samples of blocks with the same channels, by baseline and time."""
    joined = {name: np.concatenate([getattr(b, name) for b in blocks]) for name in cache.ARRAYS if name != "freq"}
    order = np.lexsort((joined["time"], joined["antenna"][:, 1], joined["antenna"][:, 0]))
    return {name: values[order] for name, values in joined.items()}


@pytest.mark.parametrize("by_channel", [False, True])
@pytest.mark.parametrize("block_bytes", [10_000, 2**30])
def test_the_same_samples(small_ms, tmp_path, block_bytes, by_channel):
    """Every sample and fact of the observation, and weights as without the cache; rows of a baseline are neighbours."""
    plain = read([small_ms])
    with WorkDir(tmp_path / "run", {}) as work:
        store = VisibilityCache(work, block_bytes, by_channel)
        observation = store.read([small_ms], Selection())
        blocks = observation.blocks
        assert (len(blocks) > 1) == (block_bytes < 2**20)
        for field in dataclasses.fields(plain):
            if field.name != "blocks":
                assert getattr(observation, field.name) == getattr(plain, field.name), field.name
        assert observation.longest_baseline() == pytest.approx(plain.longest_baseline())
        for block in blocks:
            assert isinstance(block.data, np.memmap)
            changes = (np.diff(block.antenna, axis=0) != 0).any(1)
            assert changes.sum() < len(np.unique(block.antenna, axis=0))
            assert (np.diff(block.time)[~changes] > 0).all()
        expected = apply_weights(plain.blocks, GRID, Weighting())
        assert store.weigh(observation, GRID, Weighting()) == pytest.approx(expected)
        here, there = sorted_rows(plain.blocks), sorted_rows(blocks)
        for name in here:
            np.testing.assert_allclose(there[name], here[name], rtol=1e-6, err_msg=name)
        for block in (*blocks, *cache.Blocks(work, (0, np.inf))):
            assert block.data.flags.c_contiguous != by_channel or 1 in block.data.shape
            assert block.weight.shape == block.data.shape


def test_nothing_is_read_twice(small_ms, tmp_path, monkeypatch):
    """After the first time neither the Measurement Set nor the uv grid is needed; the bytes are the same."""
    with WorkDir(tmp_path / "run", {}) as work:
        store = VisibilityCache(work)
        first = store.read([small_ms], Selection())
        sums = store.weigh(first, GRID, Weighting())
        for name in ("read", "apply_weights"):
            monkeypatch.setattr(cache, name, lambda *_: pytest.fail("done again"))
        again = VisibilityCache(work).read(["moved.ms"], Selection())
        assert VisibilityCache(work).weigh(again, GRID, Weighting()) == sums
        for one, two in zip(first.blocks, again.blocks, strict=True):
            for name in cache.ARRAYS:
                assert np.array_equal(getattr(one, name), getattr(two, name))


def test_an_interrupted_reading_goes_on(small_ms, tmp_path, monkeypatch):
    """Blocks that were complete stay as they are, and the observation is that of an unbroken reading."""
    save, count = WorkDir.save, 0

    def fail_later(self, name, array):
        nonlocal count
        count += 1
        if count > 8:
            raise KeyboardInterrupt
        save(self, name, array)

    with WorkDir(tmp_path / "run", {}) as work:
        monkeypatch.setattr(WorkDir, "save", fail_later)
        with pytest.raises(KeyboardInterrupt):
            VisibilityCache(work, 10_000).read([small_ms], Selection())
        monkeypatch.setattr(WorkDir, "save", save)
        stamps = {path: path.stat().st_mtime_ns for path in (work.path / "vis/0000").iterdir()}
        observation = VisibilityCache(work, 10_000).read([small_ms], Selection())
        assert stamps == {path: path.stat().st_mtime_ns for path in (work.path / "vis/0000").iterdir()}
        plain = read([small_ms])
        assert sum(b.data.size for b in observation.blocks) == plain.blocks[0].data.size
        assert observation.counts == plain.counts


@pytest.mark.parametrize("by_channel", [False, True])
def test_several_stokes(make_ms, tmp_path, by_channel):
    """Each Stokes parameter comes back, from the observation and block by block; weights are there once."""
    ms = make_ms(correlations=("XX", "XY", "YX", "YY"), stokes=(1.0, 0.1, -0.2, 0.3), times=2)
    plain = read([ms], Selection(stokes="I,Q,V")).blocks
    with WorkDir(tmp_path / "run", {}) as work:
        store = VisibilityCache(work, by_channel=by_channel)
        observation = store.read([ms], Selection(stokes="I,Q,V"))
        store.weigh(observation, GRID, Weighting())
        for stokes in "IQV":
            expected = sorted_rows([block.of(stokes) for block in plain])["data"]
            for blocks in (observation.blocks, [block.of(stokes) for block in observation.blocks]):
                found = np.concatenate([block.planes[stokes] for block in blocks])
                np.testing.assert_array_equal(found, expected)
            (one,) = cache.Blocks(work, (0, np.inf), stokes)
            np.testing.assert_array_equal(one.data, expected)
            assert one.stokes == stokes
            assert not one.others
        assert len(list((work.path / "vis/0000").glob("imaging*"))) == 1

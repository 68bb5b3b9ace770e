import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from radrim.deconvolve.tiles import Tiles, mosaic
from radrim.geometry import crop_centre

even = st.integers(16, 400).map(lambda n: 2 * n)
shapes = st.tuples(even, even)
largest = st.integers(64, 900)
halo = st.integers(0, 100).map(lambda n: 2 * n)


@given(shapes, largest, halo)
def test_cores_cover_the_image_once(shape, largest, halo):
    """Every pixel belongs to the core of one tile and of no other."""
    count = np.zeros(shape, int)
    for tile in Tiles(shape, largest, halo):
        count[tile.core] += 1
    assert (count == 1).all()


@given(shapes, largest, halo)
def test_halos_stay_inside(shape, largest, halo):
    """What a tile sees reaches the halo's width beyond its core, or the image's edge; its size is even."""
    for tile in Tiles(shape, largest, halo):
        for core, outer, size in zip(tile.core, tile.outer, shape, strict=True):
            assert outer.start == max(0, core.start - halo)
            assert outer.stop == min(size, core.stop + halo)
            assert (outer.stop - outer.start) % 2 == 0
            # Edges lie on even pixels, which costs at most two.
            assert core.stop - core.start <= largest + 2
        assert tile.shape == tuple(s.stop - s.start for s in tile.outer)


@given(shapes, largest, halo)
def test_windowed_crops_make_the_image_again(shape, largest, halo):
    """Crops of an image, each kept in its window only, add up to the image, bit by bit."""
    image = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    tiles = Tiles(shape, largest, halo)
    crops = [np.where(tile.window(), image[tile.outer], 0) for tile in tiles]
    np.testing.assert_array_equal(mosaic(shape, tiles, crops), image)


def test_what_reaches_into_the_halo_is_added():
    """A component found in one core that reaches over the border is not cut there."""
    tiles = Tiles((64, 128), 64, 16)
    updates = [np.zeros(tile.shape, np.float32) for tile in tiles]
    updates[0][30, 60:70] = 1
    updates[1][30, 10:20] = 1
    expected = np.zeros((64, 128))
    expected[30, 60:70] = 1
    expected[30, 58:68] += 1
    np.testing.assert_array_equal(mosaic((64, 128), tiles, updates), expected)


def test_small_image_is_one_tile():
    """An image no larger than a tile is one tile without halo."""
    (tile,) = Tiles((100, 64), 128, 32)
    assert tile.core == tile.outer == (slice(0, 100), slice(0, 64))
    assert tile.window().all()


@pytest.mark.parametrize("shape", [(4, 6), (2, 2), (8, 10)])
def test_crop_keeps_the_centre(shape):
    """The centre pixel, size // 2, of a PSF is the centre pixel of its crop."""
    image = np.zeros((8, 10))
    image[4, 5] = 1
    cut = crop_centre(image, shape)
    assert cut.shape == shape
    assert cut[shape[0] // 2, shape[1] // 2] == 1


@given(shapes, st.integers(64, 200), st.integers(1, 4))
def test_blocks_hold_every_tile_once(shape, largest, along):
    """Rectangles of neighbouring tiles: their cores cover each of them exactly."""
    tiles = Tiles(shape, largest, 16)
    blocks = tiles.blocks(along)
    assert sorted(number for block in blocks for number in block.tiles) == list(range(len(tiles)))
    for block in blocks:
        count = np.zeros([s.stop - s.start for s in block.core], int)
        for number in block.tiles:
            count[block.within(tiles[number].core)] += 1
        assert (count == 1).all()
        assert len(block.tiles) <= along**2


def test_tiles_travel_light():
    """What workers get of a gigapixel sky's tiles says no more than how it is cut; theirs are the same tiles."""
    tiles = Tiles((120_000, 120_000), 1024, 128)
    assert len(list(tiles)) == len(tiles) == 118**2
    sent = pickle.dumps(tiles)
    assert len(sent) < 300
    there = pickle.loads(sent)
    assert there == tiles
    assert there[117 * 118 + 5] == tiles[117 * 118 + 5]
    with pytest.raises(IndexError, match="tile 13924 of 13924"):
        tiles[len(tiles)]

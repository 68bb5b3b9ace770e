from dataclasses import replace

import pytest

from radrim.config.options import ImageConfig
from radrim.geometry import ARCSEC, ImageGrid
from radrim.imagers.expected_cost import describe_cost, expected_cost
from radrim.read.reader import read


@pytest.fixture(scope="module")
def observation(small_ms):
    return read([small_ms])


def cost(observation, pixels=128, **values):
    grid = ImageGrid(pixels, pixels, 4 * ARCSEC, observation.ra, observation.dec)
    return expected_cost(observation, grid, ImageConfig.parse("obs.ms", values), 2)


def test_more_pixels_and_more_work_cost_more(observation):
    """Time and memory grow with the pixels, from a dirty image to CLEAN to the RIM, and time with the channels."""
    small, large = cost(observation), cost(observation, 1024)
    assert large[0] > 2 * small[0]
    assert large[1] > small[1]
    dirty, clean = cost(observation, 1024, niter=0), cost(observation, 1024, solver="clean")
    assert dirty[0] < clean[0] < large[0]
    assert dirty[1] <= clean[1] < large[1]
    assert cost(observation, 1024, channels_out=4)[0] > 2 * large[0]


def test_memory_stays_within_the_budget(observation):
    """An image that is made in facets takes what the user gives."""
    assert cost(observation, 4096, memory="2GB")[1] == 2e9


def test_observation_is_not_changed(observation):
    """The trial transform leaves the data as they are."""
    before = replace(observation.blocks[0], weight=observation.blocks[0].weight.copy())
    cost(observation)
    assert (observation.blocks[0].weight == before.weight).all()


def test_sentence():
    """Rounded to what is known: two digits."""
    assert describe_cost(137.3, 1.234e9) == "The run will take about 2.33 min and 1.2 GB of memory."

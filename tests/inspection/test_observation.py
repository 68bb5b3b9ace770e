"""`radrim.Observation`: what `radrim info` says, as numbers, tables and plots."""

import gc
import re

import numpy as np
import pytest
from matplotlib import pyplot as plt

import radrim
from radrim.errors import DataError, InputError, KeywordError
from radrim.geometry import C
from radrim.read.reader import read


@pytest.fixture(scope="module")
def observation(small_ms):
    """The small observation."""
    return radrim.Observation(small_ms)


@pytest.fixture(autouse=True)
def figures_closed():
    """Figures of a test do not stay in memory."""
    yield
    plt.close("all")


def test_tables(observation):
    """Fields, windows and antennas are those that the simulator wrote, with their units."""
    assert observation.telescope == "VLA"
    assert len(observation.antennas) == 9
    assert observation.antennas["diameter"].to_value("m") == pytest.approx([25.0] * 9)
    assert observation.antennas["position"].shape == (9, 3)
    assert list(observation.fields["name"]) == ["FIELD0"]
    assert observation.fields["coord"][0].ra.rad == pytest.approx(2.0)
    assert observation.fields["rows"].sum() == observation.rows == 36 * 6
    (window,) = observation.windows
    assert (window["channels"], window["correlations"]) == (4, "XX,YY")
    assert window["low"].to_value("MHz") == pytest.approx(1380)
    assert window["high"].to_value("MHz") == pytest.approx(1410)


def test_numbers_are_those_of_the_data(observation, small_ms):
    """uv range, flags, noise and times agree with the visibilities themselves."""
    data = read([small_ms])
    (block,) = data.blocks
    length = np.hypot(*block.uvw.T[:2])[:, None] * block.freq / C
    assert observation.uv_range == pytest.approx((length.min(), length.max()))
    assert observation.samples == block.data.size
    assert observation.flagged == 0
    assert observation.duration.to_value("s") == pytest.approx(np.ptp(block.time))
    assert observation.start.isot[:10] == data.date_obs[:10]
    # 0.05 Jy for each of XX and YY, whose mean is Stokes I
    assert observation.noise == pytest.approx(0.05 / np.sqrt(2 * block.data.size), rel=0.2)
    assert observation.coord.ra.rad == pytest.approx(2.0)


def test_selection(make_ms):
    """The options of `radrim.image` that select data apply to the visibilities; the tables have everything."""
    path = make_ms(windows=((1.38e9, 4), (1.5e9, 2)))
    observation = radrim.Observation(path, spw=1, maxuv_l=5000)
    assert list(observation.frequencies) == [1.5e9, 1.51e9]
    assert observation.uv_range[1] <= 5000
    assert len(observation.windows) == 2


def test_unknown_selection(small_ms):
    """A misspelt option is refused with the right one; options of imaging are none of reading."""
    with pytest.raises(KeywordError, match=r"radrim.Observation has no argument 'fild'; did you mean 'field'\?"):
        radrim.Observation(small_ms, fild=0)
    with pytest.raises(KeywordError, match="no argument 'niter'"):
        radrim.Observation(small_ms, niter=0)


def test_several_sets(make_ms):
    """Several Measurement Sets are one observation, and the tables say which row is whose."""
    first, second = make_ms(seed=1), make_ms(seed=2)
    both = radrim.Observation([first, second])
    assert len(both.fields) == 2
    assert "ms" in both.fields.colnames
    assert both.rows == 2 * 36 * 6
    assert len(both.blocks) == 2


def test_conversion_lives_as_long_as_the_object(small_ms, make_uvfits):
    """A UVFITS file is converted once, and what was converted goes with the object."""
    observation = radrim.Observation(make_uvfits(small_ms))
    folder = observation._folder
    assert observation.samples
    assert any(folder.iterdir())
    del observation
    gc.collect()
    assert not folder.exists()


def test_grid_is_that_of_an_image(observation, small_ms, tmp_path, no_report):
    """Without arguments the grid is what `radrim.image` chooses; size and scale are taken."""
    grid = observation.grid(size=64)
    result = radrim.image(small_ms, size=64, niter=0, name=tmp_path / "a")
    assert grid == result.grid
    assert observation.grid(size=(32, 64), scale="2asec").shape == (64, 32)


@pytest.mark.parametrize("weight", ["natural", "uniform", "briggs 0"])
def test_weights_are_those_of_an_image(weight, observation, small_ms, tmp_path, no_report):
    """The dirty image from the matrix of the weighed observation is that of `radrim.image`."""
    result = radrim.image(small_ms, size=64, scale="4asec", niter=0, weight=weight, name=tmp_path / "a")
    natural = np.array(observation.blocks[0].weight)
    dirty = radrim.operator.make(observation.weigh(result.grid, weight), result.grid).dirty()
    np.testing.assert_allclose(dirty, result.dirty, atol=1e-3 * result.dirty.max())
    np.testing.assert_array_equal(observation.blocks[0].weight, natural)


def test_plots(observation):
    """Both plots return their axes; uv coverage has each point and its conjugate, antennas their names."""
    uv = observation.plot_uv()
    points = uv.lines[0].get_xydata()
    assert len(points) == 2 * observation.samples
    assert "u (" in uv.get_xlabel()
    antennas = observation.plot_antennas()
    assert len(antennas.lines[0].get_xydata()) == 9
    assert {text.get_text() for text in antennas.texts} <= set(observation.antennas["name"])
    assert "East" in antennas.get_xlabel()


def test_antennas_of_a_continent(tmp_path):
    """An array that spans continents is drawn by longitude and latitude."""
    path = radrim.simulate(tmp_path / "eht.ms", array="eht2017", sky="point", ra=187.7, dec=12.4, hours=1, channels=1)
    axes = radrim.Observation(path).plot_antennas()
    assert axes.get_xlabel().startswith("Longitude")
    assert np.abs(axes.lines[0].get_xydata()[:, 1]).max() <= 90


def test_figure_of_the_caller(observation):
    """A plot goes where the caller wants it, and nowhere else."""
    figure = plt.figure()
    left, _ = figure.subfigures(1, 2)
    assert observation.plot_uv(figure=left).figure is left
    assert plt.get_fignums() == [figure.number]


def test_words(observation, small_ms):
    """`repr` is one line; `print` and `radrim.info` give the page of the command; a notebook gets pictures."""
    assert "\n" not in repr(observation)
    assert "small.ms: VLA, FIELD0, 9 antennas, 1380 to 1410 MHz" in repr(observation)
    page = radrim.info(small_ms)
    assert str(observation) == page == repr(page)
    assert "command        radrim image" in page
    html = observation._repr_html_()
    assert "data:image/png;base64," in html
    for words in ("FIELD0", "XX,YY", "216", "0.0% flagged"):
        assert words in html
    assert not re.search(r"<script|https?://", html)


def test_unusable_data(edit_ms):
    """With all samples flagged the tables are there, the data are refused, and a notebook says why."""
    observation = radrim.Observation(edit_ms(FLAG=lambda flag: flag | True))
    assert len(observation.fields) == 1
    with pytest.raises(DataError):
        _ = observation.samples
    assert "Cannot be imaged as it is" in observation._repr_html_()


def test_nothing_there(tmp_path):
    """A path that does not exist is refused at once."""
    with pytest.raises(InputError, match="does not exist"):
        radrim.Observation(tmp_path / "none.ms")

"""NAME-qa.json: numbers that a person who knows the sky would write down, and limits that mean what they say."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

import radrim
from radrim.beam import Beam, restore
from radrim.errors import InputError
from radrim.geometry import ARCSEC, ImageGrid
from radrim.report import qa
from radrim.report.sources import IslandSettings, brightest
from radrim.sky.catalogue import offset_position

pytestmark = pytest.mark.usefixtures("no_report")

GRID = ImageGrid(160, 128, 2 * ARCSEC, ra=0.001, dec=1.2)
BEAM = Beam(9 * ARCSEC, 6 * ARCSEC, 0.5)
NOISE = 1e-3


def sky(sources, noise=NOISE, seed=1):
    """A restored image: (y, x, flux) points and Gaussian noise of no correlation."""
    model = np.zeros(GRID.shape, np.float32)
    for y, x, flux in sources:
        model[y, x] = flux
    random = np.random.default_rng(seed).standard_normal(GRID.shape)
    return restore(model, BEAM, GRID.scale) + (noise * random).astype(np.float32)


def test_flux_and_position_of_points():
    """Points from 8 to 1000 times the noise: fluxes within three times their errors, centres within a third of a
    pixel, in right ascension across 0 h, too; ordered by their peaks."""
    points = [(20, 30, 1.0), (100, 120, 0.1), (64, 80, 0.05), (70, 20, 0.02), (30, 140, 0.008)]
    found, _ = brightest(sky(points), GRID, NOISE, BEAM)
    assert len(found) == len(points)
    for island, (y, x, flux) in zip(found, points, strict=True):
        assert math.hypot(island.x - x, island.y - y) < 0.34
        assert (island.peak_x, island.peak_y) == pytest.approx((x, y), abs=1)
        error = NOISE * math.sqrt(island.pixels) / BEAM.area(GRID.scale)
        assert abs(island.flux - flux) < 3 * error + 0.5 * NOISE
        ra, dec = offset_position(GRID.l()[x], GRID.m()[y], GRID.ra, GRID.dec)
        apart = math.hypot(((island.ra - ra + np.pi) % (2 * np.pi) - np.pi) * math.cos(dec), island.dec - dec)
        assert apart < 0.5 * GRID.scale
        assert 0 <= island.ra < 2 * math.pi


def test_an_unresolved_source_keeps_its_flux_however_faint():
    """What lies below the edge is added exactly: without noise, the flux of a point is right from 6 to 1000 sigma."""
    for flux in (0.006, 0.01, 0.1, 1.0):
        (island,), edge = brightest(sky([(64, 80, flux)], noise=0), GRID, NOISE, BEAM)
        assert edge == pytest.approx(3 * NOISE)
        assert island.flux == pytest.approx(flux, rel=0.03)


def test_islands_touch_by_corners_and_not_around_the_edge():
    """Pixels that meet at a corner are one source; the last of a row and the first of the next are two."""
    image = np.zeros(GRID.shape, np.float32)
    image[10, 10] = image[11, 11] = image[12, 10] = image[13, 9] = 1
    image[50, -1] = image[51, 0] = 0.5
    found, _ = brightest(image, GRID, 0.01, BEAM)
    assert sorted(island.pixels for island in found) == [1, 1, 4]


def test_negative_sources_only_where_they_can_be():
    """In Stokes Q, U and V negative sources count, with their sign, and do not join positive ones beside them."""
    image = sky([(40, 40, -0.5), (90, 100, 0.2)])
    image[60, 60:62] = 0.3, -0.3
    assert [island.peak > 0 for island in brightest(image, GRID, NOISE, BEAM)[0]] == [True, True]
    found, _ = brightest(image, GRID, NOISE, BEAM, signed=True)
    assert found[0].flux == pytest.approx(-0.5, rel=0.05)
    assert sorted(np.sign(island.peak) for island in found) == [-1, -1, 1, 1]


@pytest.mark.parametrize("change", [{"strip": 700}, {"held": 200}])
def test_large_images_are_looked_at_in_strips(change):
    """Strips change nothing; where too many pixels are bright, the edge rises and the brightest sources remain."""
    image = sky([(20, 30, 1.0), (100, 120, 0.1), (64, 80, 0.05)])
    image[70] = np.nan
    whole, edge = brightest(image, GRID, NOISE, BEAM)
    found, raised = brightest(image, GRID, NOISE, BEAM, settings=IslandSettings(**change))
    if "strip" in change:
        assert (found, raised) == (whole, edge)
    else:
        assert raised > edge
        for one, other in zip(found, whole, strict=True):
            assert one.flux == pytest.approx(other.flux, rel=0.02)
            assert one.pixels < other.pixels


def test_an_empty_image_has_no_sources():
    """Noise alone, and no noise at all."""
    assert brightest(sky([]) * 0.9, GRID, NOISE, BEAM)[0] == []
    assert brightest(np.zeros(GRID.shape, np.float32), GRID, 0.0, BEAM)[0] == []


@pytest.fixture(scope="module")
def made(make_ms, tmp_path_factory, without_reports):
    """A point of 1 Jy seen by nine antennas, a tenth flagged: the result and its NAME-qa.json."""
    folder = tmp_path_factory.mktemp("qa")
    with without_reports():
        ms = make_ms(noise=0.01, times=12, flagged=0.1)
        result = radrim.image(ms, size=128, scale="3asec", solver="clean", pb="airy", name=folder / "x", threads=1)
    return result, qa.read_qa(folder / "x-qa.json"), folder


def test_the_file_says_what_the_run_found(made, point_source):
    """Noise, peak, beam, the source's flux and place, samples and files are those of the result."""
    result, quality, folder = made
    assert (quality["schema"], quality["schema_version"], quality["state"]) == ("radrim-qa", 1, "complete")
    assert quality["noise"]["residual_rms_jy_per_beam"] == pytest.approx(result.noise)
    assert 0.5 < quality["noise"]["ratio_to_scatter"] < 2
    assert quality["peak_jy_per_beam"] == pytest.approx(float(result.image.max()))
    assert quality["dynamic_range"] == pytest.approx(result.image.max() / result.noise)
    assert quality["model_flux_jy"] == pytest.approx(float(result.model.sum()), rel=1e-5)
    assert quality["beam"]["major_arcsec"] == pytest.approx(result.beam.major / ARCSEC)
    source = quality["sources"][0]
    assert source["flux_jy"] == pytest.approx(1, abs=0.03)
    ra, dec = np.degrees(offset_position(point_source.l, point_source.m, 2.0, 0.6))
    assert (source["ra_deg"], source["dec_deg"]) == pytest.approx((ra, dec), abs=0.5 / 3600)
    x, y = result.wcs.world_to_pixel_values(source["ra_deg"], source["dec_deg"])
    assert (source["x_pixel"], source["y_pixel"]) == pytest.approx((float(x), float(y)), abs=0.02)
    assert source["primary_beam"] == pytest.approx(float(result.pb[round(float(y)), round(float(x))]))
    data = quality["data"]
    assert data["flagged_fraction"] == pytest.approx(0.19, abs=0.03)  # either of two hands
    assert data["visibilities_used"] == round(data["visibilities"] * (1 - data["flagged_fraction"]))
    assert quality["deconvolution"]["stop"]
    assert quality["deconvolution"]["major_cycles"] == len(result.cycles)
    assert {"read", "measure", "deconvolve", "total"} <= set(quality["times_s"])
    assert quality["peak_memory_bytes"] > 1e8
    files = {path.name for path in folder.glob("x*.fits")} | {"x-run.toml", "x-qa.json"}
    assert files <= set(quality["files"])
    assert quality["versions"]["radrim"] == radrim.__version__
    assert quality["command"].startswith("radrim.image('")
    assert "solver='clean'" in quality["command"]


def test_a_dirty_image_has_no_sources_and_no_model(small_ms, tmp_path):
    """Sidelobes are no sources, and what was not measured is null."""
    radrim.image(small_ms, size=64, scale="4asec", niter=0, name=tmp_path / "d", threads=1)
    quality = qa.read_qa(tmp_path / "d-qa.json")
    assert quality["sources"] == []
    assert quality["model_flux_jy"] is None
    assert quality["deconvolution"]["solver"] is None
    assert quality["noise"]["residual_rms_jy_per_beam"] > 0


def test_channels_share_one_file(small_ms, tmp_path):
    """Output channels are judged by their average, and all files are listed once."""
    radrim.image(small_ms, size=64, scale="4asec", solver="clean", channels_out=2, name=tmp_path / "c", threads=1)
    quality = qa.read_qa(tmp_path / "c-qa.json")
    assert quality["image"]["output_channels"] == 2
    assert len(set(quality["files"])) == len(quality["files"])
    assert {"c-MFS-image.fits", "c-0000-image.fits", "c-0001-psf.fits"} <= set(quality["files"])


@pytest.mark.parametrize(
    "limit, kept, broken",
    [
        ("max_rms", 0.1, 1e-6),
        ("max_noise_ratio", 5.0, 0.01),
        ("min_dynamic_range", 5.0, 1e6),
        ("max_flagged", 0.5, 0.1),
        ("max_beam_arcsec", 100.0, 1.0),
    ],
)
def test_limits(made, limit, kept, broken):
    """Each limit passes above or below its value, and says which value broke it."""
    quality = made[1]
    nothing = qa.Limits(min_dynamic_range=None, max_flagged=None)
    for value, state in ((kept, "pass"), (broken, "warn")):
        (check,) = qa.judge(quality, replace(nothing, **{limit: value}))
        assert (check["check"], check["limit"], check["state"]) == (limit, value, state)
        words = qa.complaint([check])
        assert words == "" if state == "pass" else limit in words and f"{check['value']:.3g}" in words
    assert qa.judge(quality, nothing) == []


def test_what_is_unknown_does_not_pass(made):
    """An expected noise that cannot be told is no reason to trust the image."""
    quality = made[1] | {"noise": {"ratio_to_scatter": None}}
    (check,) = qa.judge(quality, qa.Limits(max_noise_ratio=3, min_dynamic_range=None, max_flagged=None))
    assert check["state"] == "warn"
    assert "unknown" in qa.complaint([check])


def test_numbers_are_plain_json(tmp_path):
    """NaN and infinity, which JSON does not have, become null; numpy's numbers become plain ones."""
    head = {"schema": "radrim-qa", "schema_version": 1}
    values = {"a": float("nan"), "b": np.float32(0.5), "c": [math.inf, np.int64(3)], "d": {"e": "µ"}}
    qa.write_qa(tmp_path / "a-qa.json", head | values)
    text = (tmp_path / "a-qa.json").read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=pytest.fail)["a"] is None
    plain = {"a": None, "b": 0.5, "c": [None, 3], "d": {"e": "µ"}}
    assert qa.read_qa(tmp_path / "a-qa.json") == head | plain


@pytest.mark.parametrize("text", ["", "[1]", '{"schema": "radrim-qa", "schema_version": 99}'])
def test_other_files_are_refused(tmp_path, text):
    """What is no quality file, or one of another version, is not guessed at."""
    (tmp_path / "a-qa.json").write_text(text)
    with pytest.raises(InputError, match=r"a-qa\.json"):
        qa.read_qa(tmp_path / "a-qa.json")

"""radrim and CLEAN side by side: both runs, the numbers, the page, and what happens when CLEAN fails."""

import base64
import hashlib
import io
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from PIL import Image

import radrim
from radrim.beam import Beam, restore
from radrim.comparison.images import Expected, Side, compare_images, to_common_beam
from radrim.comparison.page import glance, write_comparison
from radrim.comparison.run import _run_clean, _run_wsclean
from radrim.comparison.spectra import spectrum_bins
from radrim.config.files import load_toml
from radrim.config.options import ImageConfig
from radrim.errors import PeerError
from radrim.geometry import ARCSEC, ImageGrid
from radrim.metrics import noise_mad
from radrim.ms.tables import read_subtables
from radrim.read.pointings import choose_target
from radrim.runtime.process import Finished
from radrim.wsclean import command as wsclean

EXAMPLE = Path(__file__).resolve().parents[2] / "pipelines" / "compare"
GRID = ImageGrid(96, 64, 2 * ARCSEC, ra=1.0, dec=0.3)
NOISE = 1e-3


@pytest.fixture(scope="module")
def observed(tmp_path_factory):
    """The example of pipelines/compare with fewer samples."""
    from radrim.simulation import simulate

    path = tmp_path_factory.mktemp("observed") / "sim.ms"
    simulate(path, array="vla-c", sky=str(EXAMPLE / "sky.csv"), hours=1, integration=300, channels=1, noise=0.03)
    return path


@pytest.fixture(scope="module")
def comparison(observed, tmp_path_factory):
    """`radrim.compare` of the example where there is no WSClean on the PATH."""
    folder = tmp_path_factory.mktemp("compare")
    options = load_toml(EXAMPLE / "compare.toml") | {"name": folder / "a", "threads": 1}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(folder))
        return radrim.compare(observed, truth=EXAMPLE / "sky.csv", **options)


@pytest.fixture(scope="module")
def page(comparison):
    return comparison.paths["report"].read_text(encoding="utf-8")


def test_without_wsclean_radrims_own_clean_is_the_peer(comparison):
    """It is said, both ran on the same grid with the same weights, and the dirty images are the same."""
    assert (comparison.radrim.key, comparison.peer.key) == ("radrim", "clean")
    assert any("no wsclean on the PATH" in note for note in comparison.notes)
    np.testing.assert_array_equal(comparison.radrim.dirty, comparison.peer.dirty)
    assert np.abs(comparison.radrim.model - comparison.peer.model).max() > 0
    assert "--solver clean" in comparison.peer.command
    assert "--solver" not in comparison.radrim.command


def test_noise_of_both_is_the_expected_one(comparison):
    """Calibrated data of a simple sky: both residuals are the noise that the data promise, at all measured scales."""
    for side in comparison.sides:
        assert side.noise == pytest.approx(comparison.expected.noise, rel=0.15)
    assert comparison.expected.scatter == pytest.approx(1, abs=0.1)
    rows = {row["key"]: row for row in glance(comparison)}
    assert max(rows["excess"]["values"]) < 3


def test_sources_agree_with_the_truth(comparison):
    """All ten sources, in both; fluxes and positions within five times the errors that the table gives."""
    table = comparison.sources
    assert np.isfinite(table["truth_flux"]).sum() == 10
    for key in ("radrim", "clean"):
        found = table[np.isfinite(table["truth_flux"])]
        assert np.isfinite(found[f"{key}_flux"]).all()
        assert (np.abs(found[f"{key}_flux"] - found["truth_flux"]) < 5 * found["flux_error"]).all()
        assert (np.abs(found[f"{key}_dra"]) < 5 * found["ra_error"]).all()
        assert (np.abs(found[f"{key}_ddec"]) < 5 * found["dec_error"]).all()
    assert comparison.radrim.scores["beam"] > 15 < comparison.peer.scores["beam"]


def test_both_runs_are_measured(comparison):
    """Time and memory of each, in the object and in the JSON file; threads are the same."""
    numbers = json.loads(comparison.paths["json"].read_text())
    for side in comparison.sides:
        assert side.done.cpu > 0
        assert 1e8 < side.done.memory < 4e9
        assert numbers["programs"][side.key]["wall_s"] == side.done.wall
        assert "--threads 1" in side.command


def test_files_for_other_programs(comparison):
    """JSON without NaN; the CSV file is the table, with its units."""
    numbers = json.loads(comparison.paths["json"].read_text(), parse_constant=pytest.fail)
    assert len(numbers["sources"]) == len(comparison.sources)
    assert numbers["spectra"]["radrim"] == comparison.spectra["radrim"].tolist()
    table = Table.read(comparison.paths["csv"], format="ascii.ecsv")
    np.testing.assert_array_equal(table["radrim_flux"], comparison.sources["radrim_flux"])
    assert str(table["ra_error"].unit) == "arcsec"
    with Image.open(comparison.paths["png"]) as png:
        assert min(png.size) > 1000


def test_page_has_all_panels_and_fetches_nothing(comparison, page):
    """Images, residuals, models, spectra, histogram, sources, truth: embedded, described; no address, no script."""
    assert not re.search(r"https?:|url\(|@import|<script|<link|<iframe", page)
    images = dict(re.findall(r'<img src="([^"]+)" alt="([^"]+)"', page))
    described = " | ".join(images.values())
    for panel in ("Restored image, radrim", "Restored image, CLEAN", "Difference", "Residual image, radrim",
                  "Residual image, CLEAN", "Power spectra", "Histograms", "Model, radrim", "Model, CLEAN",
                  "fluxes", "positions", "true sky", "Image minus truth, CLEAN"):  # fmt: skip
        assert panel in described
    for source in images:
        kind, data = source.split(",")
        assert kind == "data:image/png;base64"
        assert min(Image.open(io.BytesIO(base64.b64decode(data))).size) > 200


def test_page_has_the_commands(comparison, page):
    """Word for word, so that the reader can repeat both."""
    text = page.replace("&#39;", "'")
    assert comparison.radrim.command in text
    assert comparison.peer.command in text


def test_bare_page(comparison, tmp_path):
    """No truth, no expected noise, no sources, as of a joint mosaic of nothing: no word of them, no plots, no error."""
    spectra = comparison.spectra.copy()
    spectra["expected"] = np.nan
    sides = {"radrim": replace(comparison.radrim, scores={}), "peer": replace(comparison.peer, scores={})}
    bare = replace(comparison, truth=None, expected=None, spectra=spectra, sources=comparison.sources[:0], **sides)
    paths = write_comparison(bare, tmp_path / "b", "radrim compare")
    text = paths["report"].read_text(encoding="utf-8")
    assert "truth" not in re.sub('base64,[^"]*', "", text).lower()
    assert len(re.findall("<img ", text)) == 9


def test_work_directories_are_gone(comparison):
    """What is left is images, logs, reports and numbers."""
    folder = comparison.paths["json"].parent
    assert not list(folder.glob("*.radrim"))
    assert not list(folder.glob("*.tmp"))


@pytest.mark.skipif(shutil.which("wsclean") is None, reason="wsclean is not installed")
def test_wsclean_makes_the_same_dirty_image_and_leaves_the_data_alone(comparison, observed, tmp_path):
    """The translated command: same pixels, same weights, same beam; not a byte of the Measurement Set changes."""
    before = digest(observed)
    settings = {**comparison.settings, "name": str(tmp_path / "w")}
    config = ImageConfig.parse(settings.pop("ms"), settings)
    targets = [choose_target(read_subtables(path), None) for path in config.ms]
    side = _run_wsclean(config, targets, tmp_path / "w", wsclean.find_wsclean(), None, [])
    ours = comparison.radrim
    assert np.abs(side.dirty - ours.dirty).max() < 1e-3 * np.abs(ours.dirty).max()
    assert np.abs(side.psf - ours.psf).max() < 1e-3
    assert (side.beam.major, side.beam.minor) == pytest.approx((ours.beam.major, ours.beam.minor), rel=5e-3)
    assert side.cycles >= 1
    assert digest(observed) == before
    assert not (tmp_path / "w.tmp").exists()


def digest(folder):
    """Of all files and their names."""
    sums = {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}
    return hashlib.sha256(json.dumps(sums).encode()).hexdigest()


def pretend_wsclean(folder, monkeypatch, script):
    """A program of that name and version on the PATH, which runs a shell script."""
    program = folder / "bin" / "wsclean"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\n[ "$1" = -version ] && echo "WSClean version 3.1.0" && exit 0\n{script}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")


def test_failing_wsclean_keeps_radrims_images(small_ms, tmp_path, monkeypatch, command):
    """Status 2, its last lines in the message, radrim's files there, nothing half-made beside them."""
    pretend_wsclean(tmp_path, monkeypatch, "echo 'No luck today'; exit 1")
    done = command("compare", small_ms, "--solver", "clean", "--size", 64, 64, "--scale", "4asec", "--threads", 1,
                   "--name", tmp_path / "a")  # fmt: skip
    assert done.status == 2
    for words in ("status 1", "| No luck today", "radrim's own images are kept", "a-wsclean.log"):
        assert words in done.err
    assert (tmp_path / "a-radrim-image.fits").is_file()
    assert not list(tmp_path.glob("a-compare*"))
    assert not list(tmp_path.glob("*.tmp"))
    assert not list(tmp_path.glob("*.radrim"))


def test_slow_wsclean_is_stopped(small_ms, tmp_path, monkeypatch):
    """After --peer-limit, with what it said last; its reordered data are removed."""
    pretend_wsclean(tmp_path, monkeypatch, f"echo Thinking; touch {tmp_path}/w.tmp/part; exec sleep 60")
    config = ImageConfig.parse(small_ms, {"size": 64, "scale": "4asec", "threads": 1})
    targets = [choose_target(read_subtables(small_ms), None)]
    with pytest.raises(PeerError, match=r"stopped after 1 s.*--peer-limit(.|\n)*\| Thinking"):
        _run_wsclean(config, targets, tmp_path / "w", "3.1.0", 1.0, [])
    assert not (tmp_path / "w.tmp").exists()


def test_slow_clean_of_radrims_own_is_stopped(small_ms, tmp_path):
    """As WSClean; the work directory of what was stopped is removed."""
    config = ImageConfig.parse(small_ms, {"size": 64, "scale": "4asec", "threads": 1})
    with pytest.raises(PeerError, match=r"stopped after 0\.2 s.*--peer-limit.*kept"):
        _run_clean(config, str(tmp_path / "c"), 0.2)
    assert [path.name for path in tmp_path.iterdir()] == ["c.log"]


@pytest.mark.parametrize(
    "words, message",
    [
        (["none.ms"], "none.ms does not exist"),
        (["{ms}", "--niter", "0"], "leave out --niter 0"),
        (["{ms}", "--compare"], "leave out --compare"),
        (["{ms}", "--pol", "I,Q"], "compares one image, not I,Q: choose one with --pol"),
        (["{ms}", "--data", "closure"], "leave out --data"),
        (["{ms}", "--peer", "wsclean", "--start-model", "{out}/m.fits"], "cannot do --start-model"),
        (["{ms}", "--scheduler", "tcp://a:1"], "leave out --scheduler"),
        (["{ms}", "--solver", "clean", "--peer", "clean"], "are the same"),
        (["{ms}", "--truth", "none.fits"], "--truth none.fits does not exist"),
        (["{ms}", "--peer-limit", "0"], "above 0 seconds"),
        (["{ms}", "--peer", "wsclean", "--contsub", "0"], "cannot do --contsub"),
        (["{ms}", "--name", "{out}/none/a"], "mkdir -p"),
    ],
)
def test_faults_are_found_before_anything_runs(words, message, small_ms, tmp_path, monkeypatch, command):
    """Status 2 and one sentence; no process is started for it."""
    monkeypatch.setattr("radrim.runtime.process.run", lambda *args, **more: pytest.fail("a process was started"))
    monkeypatch.setattr("radrim.wsclean.command.find_wsclean", lambda: "3.1.0")
    (tmp_path / "m.fits").touch()
    done = command("compare", *(word.format(ms=small_ms, out=tmp_path) for word in words))
    assert done.status == 2
    assert message in done.err


def side(key, model, beam, seed):
    """A run that found `model`, with noise of its own."""
    grains = restore(np.random.default_rng(seed).normal(size=GRID.shape).astype(np.float32), beam, GRID.scale)
    residual = (NOISE * grains / grains.std()).astype(np.float32)
    image = restore(model, beam, GRID.scale) + residual
    done = Finished(1.0, 1.0, 10**8, 0, False, "")
    return Side(key, key, "1.0", key, done, {}, image, image, model, residual, image, beam, noise=noise_mad(residual))


def test_different_beams_are_made_equal_before_sources_are_compared():
    """Peaks of an extended source differ by a half with beams of different sizes, and agree once these are equal."""
    model = np.zeros(GRID.shape, np.float32)
    model[30:36, 40:46] = 0.01
    small, large = Beam(6 * ARCSEC, 5 * ARCSEC, 0.2), Beam(9 * ARCSEC, 6 * ARCSEC, 1.0)
    sides, notes = (side("radrim", model, small, 1), side("clean", model, large, 2)), []
    expected = Expected(NOISE, 1.0, np.ones(len(spectrum_bins(GRID)) - 1))
    beam, change = to_common_beam(sides, GRID, notes)
    table, spectra, noise = compare_images(sides, GRID, expected, None, beam, change)
    assert "restoring beams differ" in notes[0]
    assert sides[0].image.max() < 0.7 * sides[1].image.max()
    assert len(table) == 1
    assert table["radrim_peak"][0] == pytest.approx(table["clean_peak"][0], abs=4 * noise)
    assert table["radrim_flux"][0] == pytest.approx(model.sum(), abs=4 * table["flux_error"][0])
    assert np.isfinite(spectra["radrim"]).all()


def test_equal_beams_leave_the_images_alone():
    """Beams that differ in the fourth digit, as two fits do, are no reason to smooth."""
    model = np.zeros(GRID.shape, np.float32)
    model[30, 40] = 0.1
    beam = Beam(9 * ARCSEC, 6 * ARCSEC, 1.0)
    sides, notes = (side("radrim", model, beam, 1), side("clean", model, replace(beam, pa=1.001), 1)), []
    assert to_common_beam(sides, GRID, notes) == (beam, 1.0)
    assert notes == []
    assert sides[0].smoothed is sides[0].image

"""The configurations in pipelines/ run as their pages say, on small simulated data."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

import radrim
from radrim.batch.config import load_batch
from radrim.batch.items import make_items
from radrim.simulation import simulate

PIPELINES = Path(__file__).resolve().parents[2] / "pipelines"


def test_batch(command, tmp_path, monkeypatch):
    """pipelines/batch: an image of chosen size with its primary beam, judged by the limits of the file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "obs").mkdir()
    for k in (1, 2):
        simulate(tmp_path / "obs" / f"field{k}.ms", array="vla-d", hours=0.5, integration=300, channels=1, seed=k)
    config = PIPELINES / "batch" / "batch.toml"
    (tmp_path / "obs" / "field2.ms").rename(tmp_path / "obs" / "field2_low.ms")
    low = make_items(load_batch(config))[1]
    assert (low.name, low.config.max_major) == ("field2_low", 20)
    done = command("batch", config, "--item", "field1")
    assert done.status == 0, done.out + done.err
    folder = tmp_path / "images" / "field1"
    shape = fits.getdata(folder / "field1-image-pb.fits").shape
    assert shape[2] == shape[3] > 256  # out to the first null
    quality = json.loads((folder / "field1-qa.json").read_text())
    limits = {check["check"]: check["limit"] for check in quality["checks"]}
    assert limits == {"max_noise_ratio": 3.0, "min_dynamic_range": 20, "max_flagged": 0.7}
    assert (tmp_path / "images" / "index.html").exists()
    assert command("batch", config, "--slurm").status == 0
    script = (tmp_path / "images" / "slurm.sh").read_text()
    assert "#SBATCH --mem=32G" in script
    assert "items=(field2_low)" in script


@pytest.fixture
def cube(command, tmp_path, monkeypatch, no_report):
    """The cube of pipelines/cube: (channel, y, x), and its header."""
    monkeypatch.setattr(sys, "argv", ["simulate.py", str(tmp_path / "line.ms")])
    runpy.run_path(str(PIPELINES / "cube" / "simulate.py"), run_name="__main__")
    config = PIPELINES / "cube" / "cube.toml"
    done = command("image", "--config", config, tmp_path / "line.ms", "--name", tmp_path / "line", "--threads", 1)
    assert done.status == 0, done.err
    return fits.getdata(tmp_path / "line-image.fits")[0], fits.getheader(tmp_path / "line-image.fits")


def test_cube(cube):
    """pipelines/cube: the disc's sides are where and in the channels where they were put, and the continuum is gone."""
    channels, header = cube
    assert channels.shape == (16, 128, 128)
    assert header["SPECSYS"] == "LSRK"
    noise = np.median([1.48 * np.median(np.abs(channel)) for channel in channels])
    lines = channels[6], channels[9]
    for image, side in zip(lines, (-1, 1), strict=True):
        y, x = np.unravel_index(image.argmax(), image.shape)
        assert image.max() > 20 * noise
        assert abs(y - 64) <= 2
        assert 2 <= side * (x - 64) <= 7
    # Sources of 0.3 to 1 Jy were there; without subtraction they would be thousands of times the noise.
    for channel in (0, 1, 14, 15):
        assert np.abs(channels[channel]).max() < 8 * noise


def test_vlba(command, tmp_path, no_report):
    """pipelines/vlbi/vlba.toml: a core and a knot 4 milliarcseconds away are where and as bright as they were put."""
    sky = tmp_path / "jet.csv"
    sky.write_text("ra_deg,dec_deg,i_jy\n187.7059300,12.3911200,1.0\n187.7059292,12.3911208,0.2\n")
    simulate(
        tmp_path / "jet.ms", array="vlba", sky=sky, ra=187.70593, dec=12.39112, freq=8.4e9, bandwidth=64e6, channels=2,
        hours=6, integration=600, noise=0.02,
    )  # fmt: skip
    done = command(
        "image", tmp_path / "jet.ms", "--config", PIPELINES / "vlbi" / "vlba.toml", "--name", tmp_path / "jet"
    )
    assert done.status == 0, done.err
    image, header = fits.getdata(tmp_path / "jet-image.fits").squeeze(), fits.getheader(tmp_path / "jet-image.fits")
    assert image.shape == (512, 512)
    sky = WCS(header).celestial
    for ra, dec, flux in ((187.70593, 12.39112, 1.0), (187.7059292, 12.3911208, 0.2)):
        x, y = sky.all_world2pix(ra, dec, 0)
        near = image[round(float(y)) - 2 : round(float(y)) + 3, round(float(x)) - 2 : round(float(x)) + 3]
        assert near.max() == pytest.approx(flux, rel=0.05)


def test_observations_of_losses_are_the_problems(tmp_path, monkeypatch):
    """The Measurement Set of a problem has its dirty image, but for the noise and the rounding to uv cells."""
    monkeypatch.syspath_prepend(PIPELINES / "benchmarks")
    losses = runpy.run_path(str(PIPELINES / "benchmarks" / "losses.py"), run_name="losses")
    drawn = (losses["arguments_of"]("compact", number, 5, 64) for number in range(40))
    scene, arguments = next(
        (scene, one) for one in drawn if np.isposinf((scene := losses["draw_scene"](*one)).robust)
    )  # natural weights, which do not depend on the image
    losses["write_observation"](scene, tmp_path / "one.ms")
    found = radrim.image(
        tmp_path / "one.ms", size=64, scale="1asec", weight="natural", niter=0, name=tmp_path / "one", report=False
    ).dirty
    expected = losses["make_problem"](*arguments)
    assert found.max() == pytest.approx(expected.dirty.max(), rel=0.02)
    assert np.abs(found - expected.dirty).max() < 0.02 * expected.dirty.max() + 10 * expected.noise

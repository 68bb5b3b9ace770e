"""A run that is killed, at any moment, goes on with the same command and leaves the same bytes."""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from astropy.io import fits

from radrim.cli.main import main
from radrim.errors import ConfigError
from radrim.workdir.directory import WorkDir
from radrim.workdir.progress import Progress

KINDS = ("dirty", "psf", "model", "residual", "image")
WORDS = ["--size", "128", "128", "--scale", "3asec", "--max-major", "4", "--threads", "2"]
DATE = {"SOURCE_DATE_EPOCH": "1700000000"}


@pytest.fixture(scope="module")
def sky_ms(make_ms):
    """A point source, seen by nine antennas of VLA C."""
    return make_ms(noise=0.01, times=12)


def command(ms, *more):
    """The command line; files appear in the current folder, since headers hold the command."""
    return ["image", str(ms), *WORDS, "--name", "x", "--quiet", *more]


def outputs(folder):
    """Bytes of all FITS files, by the end of their names."""
    return {path.name.split("-", 1)[1]: path.read_bytes() for path in folder.glob("*.fits")}


@pytest.mark.parametrize("more", [["--solver", "clean"], ["--channels-out", "2"]], ids=["clean", "channels"])
def test_killed_at_any_moment(sky_ms, tmp_path, more, monkeypatch):
    """Killed at random moments until it gets through: the files of an unbroken run, and nothing else."""
    monkeypatch.setenv(*next(iter(DATE.items())))
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    start = time.monotonic()
    line = [sys.executable, "-m", "radrim"]
    subprocess.run([*line, *command(sky_ms, *more)], check=True, cwd=whole)
    # Starting takes most of the time; each attempt gets a little farther into the rest.
    lasted, moments = time.monotonic() - start, random.Random(more[0])
    kills = 0
    for share in (0.4, 0.6, 0.75, 0.9, None):
        process = subprocess.Popen([*line, *command(sky_ms, *more)], cwd=broken)
        try:
            status = process.wait(None if share is None else lasted * (share + moments.uniform(-0.05, 0.05)))
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        kills += status == -signal.SIGKILL
        if status == 0:
            break
        assert status == -signal.SIGKILL
    assert status == 0
    assert kills >= 1
    assert outputs(broken) == outputs(whole)
    assert {path.name for path in broken.iterdir()} == {path.name for path in whole.iterdir()}


def interrupt(monkeypatch, step):
    """Stop a run with KeyboardInterrupt after so many steps that the work directory keeps."""
    count, original = 0, WorkDir.note

    def note(self, name, facts):
        nonlocal count
        original(self, name, facts)
        count += 1
        if count == step:
            raise KeyboardInterrupt

    monkeypatch.setattr(WorkDir, "note", note)


@pytest.fixture
def no_report(monkeypatch, tmp_path):
    """In an empty folder, without pictures and reports, which take longer than all else."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("radrim.output.write_report", lambda *args: None)


@pytest.mark.parametrize(
    "more",
    [[], ["--cube"], ["--spectral-terms", "2"], ["--holdout", "0.1"]],
    ids=["files", "cube", "joint", "holdout"],
)
def test_interrupted_after_every_step(sky_ms, tmp_path, monkeypatch, no_report, capsys, more):
    """Two channels, interrupted after each thing that is kept: status 130, and in the end the same files."""
    monkeypatch.setenv(*next(iter(DATE.items())))
    more = ["--channels-out", "2", "--solver", "clean", *more]
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "whole")
    assert main(command(sky_ms, *more)) == 0
    monkeypatch.chdir(tmp_path / "broken")
    for _ in range(60):
        with monkeypatch.context() as patch:
            interrupt(patch, 1)
            status = main(command(sky_ms, *more))
        if status == 0:
            break
        assert status == 130
        assert "the same command goes on" in capsys.readouterr().err
    assert status == 0
    assert outputs(tmp_path / "broken") == outputs(tmp_path / "whole")
    assert not list(tmp_path.rglob("*.radrim"))


def test_the_noise_expected_is_remembered(crowded_ms, tmp_path, monkeypatch, no_report):
    """Interrupted after each major cycle, a run that learns of less noise leaves the files of an unbroken one."""
    monkeypatch.setenv(*next(iter(DATE.items())))
    keep, resume, seen = Progress.keep_cycle, Progress.resume, []

    def interrupted(self, channel):
        keep(self, channel)
        seen.append((channel.expected, channel.left_noise))
        raise KeyboardInterrupt

    def resumed(self, channel):
        resume(self, channel)
        if seen:
            assert (channel.expected, channel.left_noise) == seen[-1]

    words = command(crowded_ms, "--max-major", "20")
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "whole")
    assert main(words) == 0
    monkeypatch.chdir(tmp_path / "broken")
    with monkeypatch.context() as patch:
        patch.setattr(Progress, "keep_cycle", interrupted)
        patch.setattr(Progress, "resume", resumed)
        stops = 0
        while main(words) == 130:
            stops += 1
    assert stops > 5
    assert outputs(tmp_path / "broken") == outputs(tmp_path / "whole")


def test_finished_steps_are_not_done_again(sky_ms, tmp_path, monkeypatch, no_report):
    """After an interruption the Measurement Set is not read and the dirty image not computed again."""

    def interrupted(self, channel):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "keep_cycle", interrupted)
        assert main(command(sky_ms)) == 130
    monkeypatch.setattr("radrim.workdir.visibilities.read", lambda *_: pytest.fail("read again"))
    monkeypatch.setattr("radrim.measure.measurement.Measurement.dirty", lambda *_: pytest.fail("measured again"))
    assert main(command(sky_ms)) == 0


def test_another_run_is_refused(make_ms, tmp_path, monkeypatch, no_report, capsys):
    """A changed setting or Measurement Set is named; --overwrite begins again; threads do not count."""
    ms = make_ms(noise=0.01, seed=77)
    with monkeypatch.context() as patch:
        interrupt(patch, 3)
        assert main(command(ms)) == 130
    assert main(command(ms, "--weight", "natural")) == 2
    assert "settings.weight: briggs 0 there, natural now" in capsys.readouterr().err
    table = next(ms.glob("table.f1*"))
    os.utime(table, (1, 1))
    assert main(command(ms)) == 2
    message = capsys.readouterr().err
    assert f"files.{ms}: " in message
    assert "--overwrite" in message
    assert not list(tmp_path.glob("*.fits"))
    assert main([*command(ms, "--overwrite"), "--threads", "1", "--keep"]) == 0
    assert main(["discard", "x"]) == 0
    assert "removed x.radrim" in capsys.readouterr().out
    assert not (tmp_path / "x.radrim").exists()
    assert main(["discard", "x"]) == 2


def test_a_faulty_command_leaves_no_work_directory(sky_ms, tmp_path, no_report):
    """The corrected command must not find itself refused."""
    fits.writeto(tmp_path / "mask.fits", np.ones((5, 5), np.float32))
    assert main(command(sky_ms, "--mask", str(tmp_path / "mask.fits"))) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mask.fits"]


def test_a_kept_directory_of_the_same_run_makes_the_same_files(sky_ms, tmp_path, monkeypatch, no_report):
    """With --keep a second run only writes; without its FITS files it computes them again."""
    monkeypatch.setenv(*next(iter(DATE.items())))
    assert main(command(sky_ms, "--keep")) == 0
    first = outputs(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("radrim.imagers.base.deconvolve", lambda images, *_: pytest.fail("again") if images else [])
        assert main(command(sky_ms, "--keep")) == 0
    (tmp_path / "x-model.fits").unlink()
    assert main(command(sky_ms, "--keep")) == 0
    assert outputs(tmp_path) == first


def test_a_run_without_a_cluster_goes_on_without_one(sky_ms, tmp_path, monkeypatch, no_report, capsys):
    """How the image is cut stays; that the scheduler is not asked is said."""
    with monkeypatch.context() as patch:
        interrupt(patch, 4)
        assert main(command(sky_ms)) == 130
    capsys.readouterr()
    assert main(command(sky_ms, "--scheduler", "tcp://127.0.0.1:9")) == 0
    assert "begun without a cluster" in capsys.readouterr().out


def test_two_runs_of_one_name(sky_ms, tmp_path, no_report):
    """The second is refused while the first runs."""
    from radrim.config.options import ImageConfig
    from radrim.pipeline import run
    from radrim.workdir.manifest import describe_run

    config = ImageConfig.parse(str(sky_ms), {"name": str(tmp_path / "x"), "size": 64})
    with WorkDir(tmp_path / "x", describe_run(config)), pytest.raises(ConfigError, match="in use by another run"):
        run(config)

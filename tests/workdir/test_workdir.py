"""The work directory: nothing half-written, nothing of another run, nothing that two runs share."""

import multiprocessing
import os
import signal
import subprocess

import numpy as np
import pytest

from radrim.errors import ConfigError, OutputError
from radrim.runtime.files import atomic_array, fingerprint
from radrim.workdir.directory import WorkDir, discard, folder_of

MANIFEST = {"settings": {"size": [64, 64], "scale": "1asec"}, "ms": {"a.ms": "0123"}}


def test_results_come_back(tmp_path):
    """Arrays and facts, with NaN and folders in names, are what was kept; they can be discarded."""
    work = WorkDir(tmp_path / "run", MANIFEST)
    image = np.arange(12, dtype=np.float32).reshape(3, 4)
    work.save("0000/dirty", image)
    work.note("0000/cycle", {"rms": float("nan"), "stop": "noise", "parts": [1, 2]})
    assert "0000/dirty" in work
    assert "0000/cycle" in work
    assert "0000/psf" not in work
    assert np.array_equal(work.load("0000/dirty"), image)
    work.load("0000/dirty")[:] = 0
    assert np.array_equal(work.load("0000/dirty"), image)
    facts = work.facts("0000/cycle")
    assert np.isnan(facts["rms"])
    assert facts["stop"] == "noise"
    assert facts["parts"] == [1, 2]
    work.discard("0000/dirty")
    assert "0000/dirty" not in work
    work.discard("0000")
    assert "0000/cycle" not in work
    work.remove()
    assert list(tmp_path.iterdir()) == []


def test_an_array_is_kept_only_when_complete(tmp_path):
    """A task that fails leaves nothing; one that was killed leaves a hidden part, which the next run removes."""
    work = WorkDir(tmp_path / "run", MANIFEST)

    def fail():
        with work.create("0000/image", (4, 4), np.float32) as image:
            image[0] = 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert "0000/image" not in work
    assert list((work.path / "0000").iterdir()) == []
    work.close()
    process = multiprocessing.get_context("spawn").Process(target=_die_while_writing, args=(tmp_path / "run",))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(list(work.path.rglob("*.part"))) == 1
    with WorkDir(tmp_path / "run", MANIFEST) as again:
        assert again.resumed
        assert "0000/image" not in again
        assert list(work.path.rglob("*.part")) == []


def _die_while_writing(prefix):
    work = WorkDir(prefix, MANIFEST)
    with work.create("0000/image", (4, 4), np.float32):
        os.kill(os.getpid(), signal.SIGKILL)


def test_the_same_command_goes_on_and_another_is_refused(tmp_path):
    """What differs is named; --overwrite begins again."""
    work = WorkDir(tmp_path / "run", MANIFEST)
    assert not work.resumed
    work.save("dirty", np.ones(3))
    work.close()
    work = WorkDir(tmp_path / "run", MANIFEST)
    assert work.resumed
    assert "dirty" in work
    work.close()
    other = {"settings": {"size": [64, 64], "scale": "2asec"}, "ms": {"a.ms": "4567"}}
    with pytest.raises(ConfigError, match=r"settings.scale: 1asec there, 2asec now; ms.a.ms: .*--overwrite"):
        WorkDir(tmp_path / "run", other)
    with WorkDir(tmp_path / "run", other, overwrite=True) as work:
        assert not work.resumed
        assert "dirty" not in work


def test_killed_while_removing(tmp_path, monkeypatch):
    """Half-removed results are never taken for results, nor is the folder refused; it can be cleaned, too."""

    def killed(path, *rest):
        raise KeyboardInterrupt

    for use in (lambda: WorkDir(tmp_path / "run", {"other": 1}), lambda: discard(tmp_path / "run")):
        work = WorkDir(tmp_path / "run", MANIFEST)
        work.save("vis/data", np.ones(3))
        with monkeypatch.context() as patch:
            patch.setattr("radrim.workdir.directory.shutil.rmtree", killed)
            with pytest.raises(KeyboardInterrupt):
                work.remove()
        work.close()
        assert "vis/data" in work
        found = use()
        assert "vis/data" not in work
        if isinstance(found, WorkDir):
            assert not found.resumed
            found.remove()
    assert list(tmp_path.iterdir()) == []


def test_two_runs_at_once(tmp_path):
    """The second is refused, and so is cleaning, as long as the first goes on."""
    work = WorkDir(tmp_path / "run", MANIFEST)
    for second in (lambda: WorkDir(tmp_path / "run", MANIFEST), lambda: discard(tmp_path / "run")):
        with pytest.raises(ConfigError, match=f"in use by another run .process {os.getpid()}"):
            second()
    work.close()
    WorkDir(tmp_path / "run", MANIFEST).close()


def test_only_radrims_own_folders(tmp_path):
    """A folder that only looks like a work directory is neither used nor removed."""
    folder = folder_of(tmp_path / "run")
    folder.mkdir()
    (folder / "thesis.tex").touch()
    for use in (lambda: WorkDir(tmp_path / "run", MANIFEST, overwrite=True), lambda: discard(tmp_path / "run")):
        with pytest.raises(ConfigError, match="is not a work directory of radrim"):
            use()
    assert (folder / "thesis.tex").exists()
    with pytest.raises(ConfigError, match="There is no work directory"):
        discard(tmp_path / "other")
    WorkDir(tmp_path / "mine", MANIFEST).close()
    assert discard(tmp_path / "mine.radrim") == folder_of(tmp_path / "mine")
    assert not folder_of(tmp_path / "mine").exists()


def test_fingerprint(tmp_path):
    """It changes with a file's content, with new files and with lost ones, not with locks."""
    (tmp_path / "a.ms").mkdir()
    table, lock = tmp_path / "a.ms" / "table.f0", tmp_path / "a.ms" / "table.lock"
    table.write_bytes(b"1")
    seen = [fingerprint(tmp_path / "a.ms")]
    lock.write_bytes(b"1")
    assert fingerprint(tmp_path / "a.ms") == seen[0]
    table.write_bytes(b"22")
    seen.append(fingerprint(tmp_path / "a.ms"))
    (tmp_path / "a.ms" / "table.f1").touch()
    seen.append(fingerprint(tmp_path / "a.ms"))
    os.utime(table, (1, 1))
    seen.append(fingerprint(tmp_path / "a.ms"))
    seen.append(fingerprint(table))
    assert len(set(seen)) == len(seen)


def test_full_disk(tmp_path):
    """A full disk is a message, not a signal that kills the process; what was kept stays."""
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], capture_output=True, check=False
    ).returncode:
        pytest.skip("no right to mount a small file system")
    try:
        work = WorkDir(small / "run", MANIFEST)
        work.save("first", np.ones(1000))
        with pytest.raises(OutputError, match="no space is left"):
            work.save("second", np.ones(1_000_000))
        with pytest.raises(OutputError, match="no space is left"), atomic_array(small / "a.npy", (10**6,), "f4") as a:
            a[:] = 1
        assert "second" not in work
        assert np.array_equal(work.load("first"), np.ones(1000))
        assert list(small.rglob("*.part")) == []
        work.close()
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_what_a_killed_run_left_beside_its_folder(tmp_path):
    """Half-written images of this run go when it goes on or is cleaned, and no others."""
    half = [
        ".x-dirty.fits",
        ".x-0003-image-pb.fits",
        ".x-MFS-alpha-error.fits",
        ".x-V-image.fits",
        ".x-0003-XX-model.fits",
        ".x-MFS-P-image-pb.fits",
        ".x-angle.fits",
        ".x.png",
        ".x-report.html",
        ".x-run.toml",
        ".x-qa.json",
    ]
    (tmp_path / "x-Q.radrim").mkdir()  # another run, that of Stokes Q alone
    others = [".x-Q-dirty.fits", ".x-low-dirty.fits", ".xy-dirty.fits", ".x-low.png", ".x-2-psf.fits"]
    for way in (lambda: WorkDir(tmp_path / "x", {"size": 1}).close(), lambda: discard(tmp_path / "x.radrim")):
        for name in half + others:
            (tmp_path / f"{name}.0123abcd.part").touch()
        (tmp_path / ".x-dirty.fits.part").touch()
        way()
        assert {p.name for p in tmp_path.glob(".*")} == {f"{n}.0123abcd.part" for n in others} | {".x-dirty.fits.part"}

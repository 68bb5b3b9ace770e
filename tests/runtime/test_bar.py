"""Progress bars: on a terminal every step that takes long shows one; in a log there is none."""

import os
import pty
import subprocess
import sys

import pytest

IMAGE = ["--size", "64", "64", "--scale", "5asec", "--niter", "0"]


def on_terminal(words, folder):
    """(exit status, what a terminal of 100 columns gets to see) of a radrim command."""
    master, slave = pty.openpty()
    try:
        run = subprocess.Popen(
            [sys.executable, "-m", "radrim", *map(str, words)], cwd=folder, stdout=slave, stderr=slave,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "100", "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    finally:
        os.close(slave)
    seen = b""
    try:
        while part := os.read(master, 65536):
            seen += part
    except OSError:  # EIO: the command has ended, and nobody holds the other end any more
        pass
    finally:
        os.close(master)
    return run.wait(60), seen.decode()


@pytest.mark.parametrize("quiet", [False, True])
def test_steps_have_a_bar_on_a_terminal(small_ms, tmp_path, quiet):
    """Reading, weighting and measuring, but for --quiet."""
    words = ["image", small_ms, *IMAGE, "--name", "bars", *(["--quiet"] if quiet else [])]
    status, seen = on_terminal(words, tmp_path)
    assert status == 0, seen
    for step in (f"reading {small_ms.name}", "weighting", "dirty images and PSFs"):
        assert (step in seen) != quiet
    assert ("━" in seen) != quiet


def test_other_commands_have_bars(edit_ms, tmp_path):
    """Simulating, predicting."""
    ms = edit_ms()
    status, seen = on_terminal(["simulate", "new.ms", "--array", "vla-d", "--hours", 0.1], tmp_path)
    assert status == 0
    assert "simulating" in seen
    status, seen = on_terminal(["image", ms, *IMAGE[:-1], 50, "--solver", "clean", "--name", "model"], tmp_path)
    assert status == 0, seen
    status, seen = on_terminal(["predict", ms, "--name", "model"], tmp_path)
    assert status == 0, seen
    assert "predicting" in seen


def test_a_log_has_no_bars(small_ms, tmp_path, command):
    """Plain lines only, where the output goes elsewhere."""
    run = command("image", small_ms, *IMAGE, "--name", tmp_path / "plain")
    assert run.status == 0
    assert "Done in" in run.out
    assert not {"━", "\x1b"} & set(run.out + run.err)
    assert "weighting" not in run.out

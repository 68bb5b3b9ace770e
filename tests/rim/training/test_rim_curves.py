"""The curves of a training run: lines that survive kills and appear once, and full disks that are named."""

import pytest

from radrim.errors import OutputError
from radrim.rim.training.curves import Curve, plot


@pytest.fixture
def curve(tmp_path):
    return Curve(tmp_path / "loss.csv", ("update", "seen", "loss_db"))


def test_lines_are_appended_under_one_heading(curve):
    """Whoever writes next, the names of the columns stand in the first line only."""
    curve.add([(1, 2, -0.5)])
    Curve(curve.path, curve.columns).add([(2, 4, -0.6), (3, 6, -0.7)])
    assert curve.path.read_text() == "update,seen,loss_db\n1,2,-0.5\n2,4,-0.6\n3,6,-0.7\n"


def test_no_file_has_no_lines(curve):
    """Before the first lines there is nothing to read or to forget, and no file is made."""
    curve.forget(0)
    assert curve.read() == []
    assert not curve.path.exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "upda",
        "update,seen,loss_db",
        "update,seen,loss_db\r\n",
        "update,seen,loss_db\n3,6,-0.7\n",
        "update,seen,loss_db\n2,4",
        "\0\0\0\0",
    ],
)
def test_what_a_kill_leaves_is_forgotten(curve, text):
    """A file that is empty, cut off anywhere, or ahead of the state reads as one with the lines up to the state."""
    curve.path.write_text(text)
    curve.forget(2)
    curve.add([(3, 6, -0.8)])
    assert curve.read() == [{"update": "3", "seen": "6", "loss_db": "-0.8"}]


def test_lines_up_to_the_state_stay(curve):
    """Forgetting keeps what the state knows of, names with commas included."""
    curve.add([(1, "a, b", 1.5), (2, "c", 2.5), (3, "d", 3.5)])
    curve.forget(2)
    assert [(row["update"], row["seen"]) for row in curve.read()] == [("1", "a, b"), ("2", "c")]


def test_a_full_disk_is_named(curve, tmp_path):
    """Lines or a picture for which there is no room end in an error with the path and the reason."""
    curve.path.symlink_to("/dev/full")
    with pytest.raises(OutputError, match=r"loss.csv cannot be written: No space left"):
        curve.add([(1, 2, -0.5)])
    (tmp_path / "loss.png").symlink_to("/dev/full")
    with pytest.raises(OutputError, match=r"loss.png cannot be written: No space left"):
        plot(tmp_path / "loss.png", [], [])


def test_a_folder_that_is_no_longer_there(curve):
    """So does a folder that has been removed meanwhile."""
    gone = Curve(curve.path.parent / "gone" / "loss.csv", curve.columns)
    with pytest.raises(OutputError, match=r"gone/loss.csv cannot be written: No such file"):
        gone.add([(1, 2, -0.5)])


def test_a_rewrite_that_fails_leaves_the_file(curve):
    """Where the shortened file finds no room, the long one stays as it was, with nothing beside it."""
    curve.add([(1, 2, -0.5), (2, 4, -0.6)])
    before = curve.path.read_bytes()
    curve.path.with_suffix(".part").symlink_to("/dev/full")
    with pytest.raises(OutputError, match=r"loss.csv cannot be read or written: No space left"):
        curve.forget(1)
    assert curve.path.read_bytes() == before
    assert list(curve.path.parent.iterdir()) == [curve.path]


def test_a_picture_without_any_line(tmp_path):
    """A run killed before its first line still gets its picture."""
    plot(tmp_path / "loss.png", [], [])
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")

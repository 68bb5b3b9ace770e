"""The angle of linear feeds in the table FEED, by which Q and U are turned."""

import numpy as np
import pytest

from radrim.ms.tables import open_table
from radrim.read.reader import Selection, read

ANGLE = np.radians(20.0)
LINEAR = ("XX", "XY", "YX", "YY")


def change(path, table, column, value):
    """Write a value, or one for each row, into a column of a subtable."""
    with open_table(path):
        import casacore.tables as casatables
    table = casatables.table(str(path / table), readonly=False, ack=False)
    for row in range(table.nrows()):
        table.putcell(column, row, value(row) if callable(value) else value)
    table.close()


@pytest.fixture
def rotated(make_ms, edit_ms):
    """A Measurement Set, and one of the same sky seen with feeds at an angle: `rotated(mount=..., angle=...) -> paths`.

    X is at that angle from north through east, where it sees cos(angle) of the north and sin(angle) of the east.
    """

    def make(mount="EQUATORIAL", angle=lambda row: [ANGLE, ANGLE + np.pi / 2], telescope=None):
        ms = make_ms(correlations=LINEAR, stokes=(1.0, 0.3, -0.2, 0.1))
        jones_of_feed = np.array([[np.cos(ANGLE), np.sin(ANGLE)], [-np.sin(ANGLE), np.cos(ANGLE)]])

        def through_feeds(data):
            jones = data.reshape(*data.shape[:2], 2, 2)
            return (jones_of_feed @ jones @ jones_of_feed.T).reshape(data.shape)

        path = edit_ms(ms, DATA=through_feeds)
        change(path, "FEED", "RECEPTOR_ANGLE", lambda row: np.array(angle(row)))
        change(path, "ANTENNA", "MOUNT", mount)
        if telescope:
            change(path, "OBSERVATION", "TELESCOPE_NAME", telescope)
        return ms, path

    return make


def seen(path, stokes, feed_angle="auto"):
    found = read([path], Selection(stokes=stokes, feed_angle=feed_angle))
    return np.concatenate([block.data for block in found.blocks]), found.notes


@pytest.mark.parametrize("stokes", ["I", "Q", "U", "V"])
def test_all_stokes_parameters_are_those_of_the_sky(rotated, stokes):
    """Of an equatorial mount; I and V without a note, Q and U with one that names the angle and the switch."""
    ms, path = rotated()
    (ours, notes), (theirs, _) = seen(path, stokes), seen(ms, stokes)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert any("turned by the angle of the linear feeds, 20 deg" in n and "--feed-angle off" in n for n in notes) == (
        stokes in "QU"
    )


def test_together_and_alone(rotated):
    """Q and U in one run are those of runs of their own, with the same weights."""
    _, path = rotated()
    (together,) = read([path], Selection(stokes="I,Q,U")).blocks
    (alone,) = read([path], Selection(stokes="Q")).blocks
    np.testing.assert_allclose(together.others["Q"], alone.data, rtol=1e-6)


def test_switch(rotated):
    """off never turns; on turns other mounts, too, which auto leaves with a note that says why."""
    ms, path = rotated(mount="ALT-AZ")
    sky, (left, notes), (off, silent), (on, _) = (
        seen(ms, "Q")[0], seen(path, "Q"), seen(path, "Q", "off"), seen(path, "Q", "on"),
    )  # fmt: skip
    np.testing.assert_allclose(on, sky, atol=1e-6)
    np.testing.assert_array_equal(left, off)
    assert np.abs(off - sky).mean() > 0.05
    assert any("mounts are ALT-AZ" in note and "--feed-angle on" in note for note in notes)
    assert not any("feed" in note for note in silent)


def test_what_is_left_with_a_note(rotated, make_ms, edit_ms):
    """Antennas at different angles, and data without cross-hands."""
    _, path = rotated(angle=lambda row: [ANGLE * (row % 2), 0.0])
    assert any("antennas differ" in note for note in seen(path, "U")[1])
    plain = edit_ms(make_ms(correlations=("XX", "YY")))
    change(plain, "FEED", "RECEPTOR_ANGLE", np.array([ANGLE, 0]))
    change(plain, "ANTENNA", "MOUNT", "equatorial")
    assert any("needs XX, XY, YX and YY; the data have XX, YY" in note for note in seen(plain, "Q")[1])


@pytest.mark.parametrize("angle", [0.0, np.pi, -np.pi])
def test_no_angle_no_note(rotated, angle):
    """A dipole that is upside down sees the same."""
    _, path = rotated(angle=lambda row: [angle, angle])
    np.testing.assert_array_equal(seen(path, "Q")[0], seen(path, "Q", "off")[0])
    assert not any("feed" in note for note in seen(path, "Q")[1])


def test_circular_feeds_are_left_alone(make_ms, edit_ms):
    """Their angle is a phase between the hands, which calibration removes."""
    path = edit_ms(make_ms(correlations=("RR", "RL", "LR", "LL")))
    change(path, "FEED", "RECEPTOR_ANGLE", np.array([ANGLE, 0]))
    change(path, "ANTENNA", "MOUNT", "EQUATORIAL")
    assert not any("feed" in note for note in seen(path, "Q", "on")[1])


def test_askap(shared_data, tmp_path):
    """The Vela pulsar as ASKAP's software has it: I, |Q|, |U| of 3.05, 0.56, 2.10, of which radrim's are half."""
    import tarfile

    with tarfile.open(shared_data / "more" / "askap_vela_799MHz_pa30.ms.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    (path,) = tmp_path.glob("*.ms")
    found = {}
    for stokes in "IQU":
        observation = read([path], Selection(stokes=stokes))
        weight = sum(block.weight.sum() for block in observation.blocks)
        found[stokes] = 2 * sum((block.weight * block.data).sum() for block in observation.blocks).real / weight
    assert found["I"] == pytest.approx(3.05, rel=0.02)
    assert abs(found["Q"]) == pytest.approx(0.56, rel=0.02)
    assert abs(found["U"]) == pytest.approx(2.10, rel=0.02)
    assert any("XX + YY" in note for note in observation.notes)

"""Fields whose phase centre is an offset from an ephemeris: planets and the Sun."""

import numpy as np
import pytest

from radrim.errors import InputError
from radrim.ms.tables import open_table
from radrim.read.reader import Selection, read


@pytest.fixture
def planet(make_ms, edit_ms):
    """Two fields: FIELD0 follows an ephemeris, as CASA writes it, FIELD1 does not."""
    path = edit_ms(make_ms(fields=2), PHASE_DIR=np.zeros_like, subtable="FIELD")
    with open_table(path):
        import casacore.tables as casatables
    table = casatables.table(str(path / "FIELD"), readonly=False, ack=False)
    table.addcols(casatables.maketabdesc(casatables.makescacoldesc("EPHEMERIS_ID", 0)))
    table.putcol("EPHEMERIS_ID", [0, -1])
    table.close()
    return path


def test_refused_with_the_reason(planet):
    """RA 0, Dec 0 is not where the planet is."""
    with pytest.raises(InputError, match=r"FIELD0 follows a body of the solar system \(EPHEMERIS_ID\).*phaseshift"):
        read([planet], Selection(field="0"))


def test_other_fields_are_read(planet):
    """The calibrator of such an observation is imaged as ever."""
    assert read([planet], Selection(field="1")).counts["samples"] > 0


def test_info_says_it(planet, command):
    """`radrim info` gives the reason, and the rest of the contents."""
    done = command("info", planet)
    assert done.status == 0
    assert "cannot be imaged as it is" in done.out
    assert "EPHEMERIS_ID" in done.out

import numpy as np
import pytest

from radrim.errors import DataError
from radrim.stokes import NAMES, NUMBERS, combination

LINEAR, CIRCULAR = ["XX", "XY", "YX", "YY"], ["RR", "RL", "LR", "LL"]
SOURCE = {"I": 5.0, "Q": 0.7, "U": -0.4, "V": 0.2}


def correlations_of(source):
    """What ideal feeds see: the coherency matrix <e e^H>, in the IEEE/IAU frame of Hamaker & Bregman (1996)."""
    i, q, u, v = (source[s] for s in "IQUV")
    linear = np.array([[i + q, u + 1j * v], [u - 1j * v, i - q]])
    # R = (x + i y) / sqrt 2 and L = (x - i y) / sqrt 2 turn linear coherencies into circular ones.
    turn = np.array([[1, 1j], [1, -1j]]) / np.sqrt(2)
    circular = turn @ linear @ turn.conj().T
    return dict(zip(LINEAR, linear.ravel(), strict=True)) | dict(zip(CIRCULAR, circular.ravel(), strict=True))


@pytest.mark.parametrize("feeds", [LINEAR, CIRCULAR, CIRCULAR[::-1], ["LL", "RR", "LR", "RL"], ["I", "Q", "U", "V"]])
@pytest.mark.parametrize("stokes", "IQUV")
def test_stokes_of_a_polarised_source(feeds, stokes):
    """Each Stokes parameter comes back from the coherency matrix, in whatever order the correlations stand."""
    seen = correlations_of(SOURCE) | SOURCE
    terms, one_hand = combination(stokes, feeds)
    assert not one_hand
    assert sum(factor * seen[feeds[index]] for index, factor in terms) == pytest.approx(SOURCE[stokes])


@pytest.mark.parametrize("name", [*LINEAR, *CIRCULAR])
def test_a_correlation_is_itself(name):
    """--pol RL images RL as it was recorded."""
    assert combination(name, LINEAR + CIRCULAR) == ([((LINEAR + CIRCULAR).index(name), 1)], False)


@pytest.mark.parametrize("hand", ["RR", "LL", "XX", "YY"])
def test_one_hand_stands_for_stokes_i(hand):
    """With one parallel hand alone Stokes I is that hand, and the reader is told."""
    assert combination("I", [hand]) == ([(0, 1)], True)


@pytest.mark.parametrize(
    "stokes, feeds, words",
    [
        ("V", ["XX", "YY"], ["Stokes V", "XX, YY", "XY and YX", "Use --pol XX."]),
        ("Q", ["RR", "LL"], ["Stokes Q", "RL and LR", "Use --pol RR."]),
        ("U", ["I"], ["Stokes U", "Use --pol I."]),
        ("RR", ["XX", "YY"], ["Stokes RR", "XX, YY", "Use --pol XX."]),
        ("I", ["RL", "LR"], ["Stokes I", "RR and LL", "Use --pol RL."]),
    ],
)
def test_what_cannot_be_formed_is_refused(stokes, feeds, words):
    """The message names what is there, what it would need, and what can be imaged."""
    with pytest.raises(DataError) as error:
        combination(stokes, feeds)
    for word in words:
        assert word in str(error.value)


def test_unknown_correlations_are_not_suggested():
    """A correlation that radrim has no name for cannot be given to --pol either."""
    with pytest.raises(DataError) as error:
        combination("I", ["type 17"])
    assert "--pol" not in str(error.value)


def test_numbers_are_casacores():
    """Stokes::StokesTypes of casacore: I to V are 1 to 4, circular 5 to 8, linear 9 to 12."""
    assert [NUMBERS[name] for name in ["I", "Q", "U", "V", *CIRCULAR, *LINEAR]] == list(range(1, 13))
    assert all(NUMBERS[name] == number for number, name in NAMES.items())

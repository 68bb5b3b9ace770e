"""Several Measurement Sets in one image: no sample counts twice, and calibrated data meet no raw data."""

import os
import shutil

import numpy as np
import pytest

from radrim.errors import ConfigError, DataError
from radrim.read import Selection, read


def sum_of_weights(observation):
    """All weights of an observation [Jy^-2]."""
    return sum(float(block.weight.sum()) for block in observation.blocks)


@pytest.mark.parametrize("swapped", [False, True])
def test_calibrated_and_raw_data_are_not_mixed(make_ms, swapped):
    """CORRECTED_DATA in one set and only DATA in another is refused, naming both; --data-column decides."""
    paths = [make_ms(corrected=True, seed=1), make_ms(seed=2)]
    paths = paths[::-1] if swapped else paths
    with pytest.raises(ConfigError, match=r"CORRECTED_DATA, and .* only DATA.*--data-column DATA") as found:
        read(paths)
    for path in paths:
        assert str(path) in str(found.value)
    assert len(read(paths, Selection(column="DATA")).blocks) == 2


def test_sets_that_all_have_corrected_data(make_ms):
    """Nothing is refused where all have the same columns."""
    assert len(read([make_ms(corrected=True, seed=seed) for seed in (1, 2)]).blocks) == 2


def same_path(path, folder):
    """The path itself."""
    return path


def other_path(path, folder):
    """Another way to write it."""
    return path.parent / ".." / path.parent.name / path.name


def link(path, folder):
    """A symbolic link to the folder."""
    (folder / "link.ms").symlink_to(path)
    return folder / "link.ms"


def copy(path, folder):
    """A copy of the folder."""
    shutil.copytree(path, folder / "copy.ms")
    return folder / "copy.ms"


def hard_links(path, folder):
    """Another folder with the same files."""
    shutil.copytree(path, folder / "linked.ms", copy_function=os.link)
    return folder / "linked.ms"


@pytest.mark.parametrize("again", [same_path, other_path, link, copy, hard_links])
def test_the_same_set_twice_counts_once(small_ms, tmp_path, again):
    """Samples that are named twice keep the weight of one, and a note says so."""
    together = read([small_ms, again(small_ms, tmp_path)])
    assert sum_of_weights(together) == sum_of_weights(read([small_ms]))
    assert any("named twice" in note or "same data" in note for note in together.notes)


def test_other_noise_is_another_observation(make_ms):
    """Sets that differ in their noise alone are both read, without a note."""
    together = read([make_ms(seed=1), make_ms(seed=2)])
    assert len(together.blocks) == 2
    assert together.notes == []


def test_empty_data_are_not_copies(make_ms, edit_ms):
    """Two sets without any signal may be two observations."""
    first, second = (edit_ms(source=make_ms(), DATA=lambda data: 0 * data) for _ in range(2))
    assert len(read([first, second]).blocks) == 2
    assert np.all([not block.data.any() for block in read([first, second]).blocks])


@pytest.mark.parametrize(
    "change, says",
    [
        ({"FLAG": lambda flag: flag | True}, "all 864 samples are flagged"),
        ({"FLAG_ROW": lambda flag: flag | True}, "all 864 samples are flagged"),
        ({"WEIGHT": lambda weight: 0 * weight}, "weights of zero"),
        ({"DATA": lambda data: data * np.nan}, "NaN or infinite"),
    ],
)
@pytest.mark.parametrize("swapped", [False, True])
def test_a_set_without_samples_is_skipped(make_ms, edit_ms, change, says, swapped):
    """Of several sets those with data are imaged; the note names the one that is left out, and why."""
    good, bad = make_ms(seed=1), edit_ms(source=make_ms(seed=2), name="bad.ms", **change)
    together = read([bad, good] if swapped else [good, bad])
    assert sum_of_weights(together) == sum_of_weights(read([good]))
    (note,) = together.notes
    assert note.startswith(f"Skipped {bad}: ")
    assert says in note


def test_no_set_with_samples(edit_ms, make_ms):
    """Nothing is imaged where all sets are flagged."""
    with pytest.raises(DataError, match="samples are flagged"):
        read([edit_ms(source=make_ms(seed=seed), FLAG=lambda flag: flag | True) for seed in (1, 2)])

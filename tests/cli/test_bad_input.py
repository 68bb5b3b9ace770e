"""Whatever is wrong with the input: one message that helps, exit status 2, and nothing left behind."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits

GRID = ("--size", 64, 64, "--scale", "4asec", "--niter", 0)

# Files of ../shared/data/reader, and what the command does with them: the size and scale that they can be imaged with,
# or the words of the refusal.
READER = {
    "alma_multispw_mixedpol_raw.ms": "0.05asec",
    "lofar_hba_3c48_8stations.MS": "4asec",
    "test_adp4_0_00300673800807520000_58342_05_00_14.ms": "1.5deg",
    "vla_j1008_36GHz_64ch_raw.ms": "0.4asec",
    "wsrt_3c343.1_5ants.MS": "12asec",
    "meerkat_allflagged.MS": ["all 700 samples are flagged"],
    "lofar_hba_3c48_msv4.ps": "4asec",
    "vlba_j0414_LLonly_8if16ch.uvfits": "0.4masec",
}


@pytest.fixture
def folder(tmp_path):
    """An empty folder for the output."""
    path = tmp_path / "out"
    path.mkdir()
    return path


@pytest.fixture
def refused(command, folder):
    """Run `radrim image` and check that it refuses: status 2, one line on stderr with these words, nothing written."""

    def check(*words, says, name=None):
        done = command("image", *GRID, "--name", name or folder / "x", *words)
        assert done.status == 2, done
        assert done.err.startswith("radrim: ")
        assert done.err.count("\n") == 1, done.err
        for part in says:
            assert part in done.err
        assert list(folder.iterdir()) == []
        return done.err

    return check


@pytest.fixture
def accepted(command, folder, no_report):
    """Run `radrim image` and check that it makes a finite dirty image; what it printed."""

    def check(*words):
        done = command("image", *GRID, "--name", folder / "x", *words)
        assert done.status == 0, done.err
        dirty = fits.getdata(folder / "x-dirty.fits")
        assert np.isfinite(dirty).all()
        assert dirty.any()
        return done.out

    return check


# Not a Measurement Set


def test_missing_path(refused, tmp_path):
    """A path that is not there."""
    refused(tmp_path / "none.ms", says=["none.ms does not exist", "give the path of a Measurement Set"])


def test_overlong_path(refused):
    """A name longer than the file system takes does not exist either."""
    refused("x" * 300, says=["does not exist"])


def test_plain_file(refused, tmp_path):
    """A file where a folder should be."""
    (tmp_path / "obs.ms").write_text("x")
    refused(tmp_path / "obs.ms", says=["obs.ms is a text file, which holds no visibilities", "UVFITS"])


def test_empty_folder(refused, tmp_path):
    """A folder without a casacore table."""
    (tmp_path / "obs.ms").mkdir()
    refused(tmp_path / "obs.ms", says=["is not a Measurement Set", "no table.dat in it"])


def test_another_table(refused, small_ms):
    """A casacore table, but none of visibilities."""
    says = ["not a complete Measurement Set", "UVW", "SPECTRAL_WINDOW", "missing", "calibration table"]
    refused(small_ms / "ANTENNA", says=says)


def test_table_dat_of_rubbish(refused, edit_ms):
    """A table.dat that casacore cannot make sense of."""
    path = edit_ms()
    (path / "table.dat").write_bytes(b"rubbish" * 100)
    refused(path, says=["edited.ms cannot be opened as a casacore table"])


@pytest.mark.parametrize("name", READER)
def test_reader_files(shared_data, name, request, tmp_path):
    """Each odd file that a reader meets is imaged, or refused with the reason."""
    if isinstance(READER[name], list):
        request.getfixturevalue("refused")(shared_data / "reader" / name, says=READER[name])
    else:
        request.getfixturevalue("accepted")(shared_data / "reader" / name, "--scale", READER[name])


# Tables and columns


@pytest.mark.parametrize("name", ["ANTENNA", "DATA_DESCRIPTION", "FIELD", "POLARIZATION", "SPECTRAL_WINDOW"])
def test_missing_subtable(refused, edit_ms, name):
    """A subtable whose folder is gone."""
    path = edit_ms()
    shutil.rmtree(path / name)
    refused(path, says=[f"edited.ms/{name} cannot be opened", "does not exist"])


def test_observation_can_do_without(accepted, edit_ms):
    """OBSERVATION only holds names: without it they are unknown."""
    path = edit_ms()
    shutil.rmtree(path / "OBSERVATION")
    assert "Read UNKNOWN, FIELD0" in accepted(path)


@pytest.mark.parametrize("column", ["UVW", "FLAG", "WEIGHT", "FLAG_ROW", "DATA"])
def test_missing_column(refused, edit_ms, column):
    """A column of the main table that imaging needs."""
    import casacore.tables as casatables

    path = edit_ms()
    with casatables.table(str(path), readonly=False, ack=False) as table:
        table.removecols(column)
    refused(
        path, says=["neither DATA nor CORRECTED_DATA", "--data-column"] if column == "DATA" else [f"{column} missing"]
    )


@pytest.mark.parametrize("left", [0.3, 0.0])
def test_truncated_column_files(refused, edit_ms, left):
    """Column files that end too early, as after a broken copy."""
    path = edit_ms()
    files = sorted(path.glob("table.f*"), key=lambda file: file.stat().st_size)
    for file in files[-4:]:
        os.truncate(file, int(left * file.stat().st_size))
    refused(path, says=["edited.ms", "cannot be", "damaged or incomplete: copy or export it again"])


def test_missing_column_file(refused, edit_ms):
    """A column file that is gone."""
    path = edit_ms()
    max(path.glob("table.f*"), key=lambda file: file.stat().st_size).unlink()
    refused(path, says=["edited.ms", "cannot be", "damaged or incomplete: copy or export it again"])


def test_rows_that_refer_to_nothing(refused, make_ms, edit_ms):
    """FIELD_ID beyond the FIELD table."""
    path = edit_ms(source=make_ms(fields=2), FIELD_ID=lambda old: old + 7)
    refused(path, says=["FIELD_ID is 7 to 8", "2 rows", "damaged"])


def test_description_that_refers_to_nothing(refused, edit_ms):
    """DATA_DESCRIPTION with a polarisation setup that is not there."""
    refused(
        edit_ms(subtable="DATA_DESCRIPTION", POLARIZATION_ID=lambda old: old + 3),
        says=["subtables do not fit together"],
    )


def test_cells_of_the_wrong_shape(refused, make_ms, tmp_path):
    """Data with other channels than their spectral window says."""
    path, other = make_ms(), make_ms(windows=((1.38e9, 3),))
    shutil.copytree(path, tmp_path / "mixed.ms")
    shutil.rmtree(tmp_path / "mixed.ms" / "SPECTRAL_WINDOW")
    shutil.copytree(other / "SPECTRAL_WINDOW", tmp_path / "mixed.ms" / "SPECTRAL_WINDOW")
    refused(
        tmp_path / "mixed.ms", says=["DATA has cells of shape (4, 2)", "window 0 has 3 channels and 2 correlations"]
    )


def test_frequency_of_zero(refused, edit_ms):
    """A channel at 0 Hz."""
    refused(
        edit_ms(subtable="SPECTRAL_WINDOW", CHAN_FREQ=lambda f: 0 * f),
        says=["window 0 has a channel at 0 Hz", "CHAN_FREQ"],
    )


def test_moving_phase_centre(refused, small_ms, edit_ms):
    """A phase centre in a frame that moves over the sky."""
    import casacore.tables as casatables

    path = edit_ms()
    with casatables.table(str(path / "FIELD"), readonly=False, ack=False) as table:
        table.putcolkeyword("PHASE_DIR", "MEASINFO", {"type": "direction", "Ref": "AZEL"})
    refused(path, says=["field FIELD0 is given in AZEL", "only J2000 and ICRS", "phaseshift"])


# Data that cannot be imaged


@pytest.mark.parametrize("column", ["FLAG", "FLAG_ROW"])
def test_everything_flagged(refused, edit_ms, column):
    """All samples flagged, one by one or by rows."""
    refused(
        edit_ms(**{column: lambda flag: flag | True}), says=["all 864 samples are flagged", "nothing is left to image"]
    )


def test_all_weights_zero(refused, edit_ms):
    """Weights that are 0 throughout."""
    path = edit_ms(WEIGHT=lambda weight: 0 * weight)
    refused(path, says=["all 864 unflagged samples have weights of zero", "CASA statwt"])


def test_all_weights_negative(refused, accepted, edit_ms):
    """Negative weights are refused with the option that accepts them; with it they count by their size."""
    path = edit_ms(WEIGHT=lambda weight: -weight)
    refused(path, says=["all 864 unflagged samples have negative weights", "--abs-weights"])
    assert "864 samples" in accepted(path, "--abs-weights")


def test_some_weights_negative(accepted, edit_ms):
    """A few negative weights drop their samples, with a warning."""
    path = edit_ms(WEIGHT=lambda weight: np.where(np.arange(len(weight))[:, None] < 5, -weight, weight))
    assert "warning: 20 samples of edited.ms with negative weights were dropped" in accepted(path)


def with_nan(count, value=np.nan):
    def change(data):
        data.reshape(-1, data.shape[-1])[:count] = value
        return data

    return change


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_few_nan_are_dropped(accepted, edit_ms, value):
    """A few NaN or infinite samples count as flagged, with a warning."""
    out = accepted(edit_ms(DATA=with_nan(8, value)))
    assert "warning: 8 NaN or infinite samples of edited.ms were treated as flagged" in out


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_many_nan_are_refused(refused, accepted, edit_ms, value):
    """Above 1 % the data count as broken, unless the user accepts that."""
    path = edit_ms(DATA=with_nan(9, value))
    refused(path, says=["9 of 864 unflagged samples are NaN or infinite", "limit 1%", "--flag-nonfinite"])
    assert "9 NaN or infinite samples" in accepted(path, "--flag-nonfinite")


@pytest.mark.parametrize("words", [(), ("--flag-nonfinite",)])
def test_only_nan_is_refused(refused, edit_ms, words):
    """Nothing but NaN cannot be imaged in any case."""
    refused(edit_ms(DATA=with_nan(864)), *words, says=["all 864 unflagged samples are NaN or infinite"])


@pytest.mark.parametrize("value", [0, np.nan])
def test_no_uvw(refused, edit_ms, value):
    """UVW of zero or NaN in every row."""
    refused(
        edit_ms(UVW=lambda uvw: np.full_like(uvw, value)),
        says=["all 864 unflagged samples have a UVW of zero or NaN", "fixvis"],
    )


def test_the_main_reason_is_given(refused, edit_ms):
    """Where several things are wrong, the one that costs most samples is named with its share."""
    path = edit_ms(DATA=with_nan(64), WEIGHT=lambda w: np.where(np.arange(len(w))[:, None] < 16, w, -w))
    refused(path, says=["800 of 864 unflagged samples have negative weights"])


@pytest.mark.parametrize("path", ["small", "reader/meerkat_allflagged.MS"])
def test_message_and_status_of_the_real_program(shared_data, edit_ms, folder, path):
    """As its own process: nothing but the message on stderr, status 2."""
    ms = edit_ms(FLAG=lambda flag: flag | True) if path == "small" else shared_data / path
    line = [sys.executable, "-m", "radrim", "image", str(ms), "--name", "x"]
    root = Path(__file__).parents[2]
    env = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run(line, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert (
        done.stderr
        == f"radrim: {ms}: all {864 if path == 'small' else 700} samples are flagged; nothing is left to image.\n"
    )
    assert list(folder.iterdir()) == []


# Selections of what is not there


@pytest.mark.parametrize(
    "words, says",
    [
        (["--field", 3], ["no field '3'", "it has 0 (FIELD0)"]),
        (["--field", "M31"], ["no field 'M31'", "FIELD0"]),
        (["--spw", "0,2"], ["no data of spectral window 2", "it has 0"]),
        (["--chan-range", 2, 9], ["--chan-range 2 9", "4 channels", "END is at most 4"]),
        (["--chan-range", 3, 3], ["--chan-range 3 3", "empty"]),
        (["--contsub", 4], ["--contsub 4 needs at least 5", "spectral window 0", "has 4;", "lower order"]),
        (["--contsub", 0, "--contsub-channels", 2, 9], ["--contsub-channels 2 9", "4 channels", "END is at most 4"]),
        (["--data-column", "CORRECTED_DATA"], ["no column CORRECTED_DATA", "its data columns are DATA"]),
        (["--data-column", "FLAG"], ["--data-column FLAG", "holds no visibilities"]),
        (["--data-column", "UVW"], ["UVW"]),
        (["--uv-range", "1e6", "1e7"], ["all 864 unflagged samples are outside the uv range", "radrim info"]),
        (["--time-range", "2001-01-01", "2001-01-02"], ["no cross-correlation rows", "radrim info"]),
        (["--time-range", "soon", "later"], ["--time-range 'soon'", "2016-05-01T10:00:00"]),
        (["--pol", "V"], ["Stokes V cannot be formed", "XX, YY", "XY and YX", "--pol XX"]),
        (["--pol", "RR"], ["Stokes RR", "XX, YY"]),
        (["--channels-out", 5], ["--channels-out 5", "4 channels"]),
    ],
)
def test_selection_of_what_is_not_there(refused, small_ms, words, says):
    """The message names what was asked for and what there is."""
    refused(small_ms, *words, says=says)


def test_different_phase_centres(refused, make_ms, edit_ms):
    """Two Measurement Sets that look at different places are not put into one image."""
    first = make_ms()
    second = edit_ms(subtable="FIELD", name="second.ms", PHASE_DIR=lambda old: old + 1e-4)
    message = refused(first, second, says=["small.ms", "second.ms", "phase centres", "apart (limit", "phaseshift"])
    assert "26.7" in message  # arcsec: 1e-4 rad along both, cos(dec) along RA


def test_same_phase_centre_written_differently(accepted, make_ms, edit_ms):
    """A whole turn more of right ascension is the same place."""
    second = edit_ms(subtable="FIELD", name="second.ms", PHASE_DIR=lambda old: old + np.array([2 * np.pi, 0]))
    accepted(make_ms(), second)


# Options that cannot be carried out


@pytest.mark.parametrize(
    "words, says",
    [
        (["--size", 63, 64], ["--size 63 64", "even", "use 64 instead of 63"]),
        (["--scale", "4"], ["--scale '4' has no unit", "4asec"]),
        (["--scale", "4parsec"], ["unknown unit 'parsec'"]),
        (["--scale", "30asec"], ["--scale 30asec is too coarse", "1.3e+04 wavelengths", "at most 7.9", "--maxuv-l"]),
        (["--scale", "10deg"], ["--scale 10deg is too coarse"]),
        (["--scale", "1uasec"], ["--scale 1uasec makes an image of 64uasec", "PSF", "Use --scale"]),
        (["--pb", "foo"], ["--pb 'foo' is an unknown pattern", "none, auto, airy, gauss"]),
        (["--pb", "foo.ms"], ["foo.ms"]),
        (["--niter", 0, "--compare"], ["--niter 0 does not work with --compare"]),
        (["--continue"], ["--start-model FILE.fits"]),
        (["--taper", "0asec"], ["--taper 0asec", "above 0"]),
        (["--weight", "briggs", "4"], ["at most 2"]),
        (["--solver", "rim", "--model", "nosuch"], ["no model 'nosuch'", "this package are: base, small."]),
        (["--niter", "-5"], ["--niter -5", "at least 0"]),
        (["--auto-mask", 1, "--auto-threshold", 2], ["--auto-mask 1 is below --auto-threshold 2"]),
    ],
)
def test_options_that_cannot_be(command, small_ms, folder, words, says):
    """The message names the option, the value and what is allowed."""
    done = command("image", small_ms, *GRID[:-2], *words, "--name", folder / "x")
    assert done.status == 2
    assert done.err.count("\n") == 1
    for part in says:
        assert part in done.err
    assert list(folder.iterdir()) == []


def test_suggested_scale_works(command, accepted, small_ms, folder):
    """What the message about a coarse scale suggests is accepted, and so is its uv limit."""
    message = command("image", small_ms, *GRID, "--scale", "30asec", "--name", folder / "x").err
    assert "--maxuv-l" not in command("image", small_ms, *GRID, "--scale", "10deg", "--name", folder / "x").err
    accepted(small_ms, "--scale", message.split("Use --scale ")[1].split(",")[0])
    accepted(small_ms, "--scale", "30asec", "--maxuv-l", message.split("--maxuv-l ")[1].rstrip(".\n"))


def test_memory_that_is_not_enough(refused, accepted, small_ms):
    """Too little for a single facet: what was given, for which image, and what works."""
    message = refused(small_ms, "--memory", "500MB", says=["--memory 0.5GB", "64 x 64 pixels", "at least --memory"])
    accepted(small_ms, "--memory", message.split("at least --memory ")[1].rstrip(".\n"))


def test_no_gpu(refused, small_ms, monkeypatch):
    """--device cuda on a machine without one."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    refused(small_ms, "--device", "cuda", says=["--device cuda", "no NVIDIA GPU", "--device cpu"])


# Masks


def test_masks(refused, small_ms, tmp_path):
    """A mask that is missing, no FITS file, of another size, or empty."""
    refused(small_ms, "--mask", tmp_path / "none.fits", says=["none.fits cannot be read", "No such file"])
    (tmp_path / "text.fits").write_text("not FITS")
    refused(small_ms, "--mask", tmp_path / "text.fits", says=["text.fits cannot be read", "not a FITS file"])
    fits.writeto(tmp_path / "cut.fits", np.ones((64, 64), np.float32))
    (tmp_path / "cut.fits").write_bytes((tmp_path / "cut.fits").read_bytes()[:5000])
    refused(small_ms, "--mask", tmp_path / "cut.fits", says=["cut.fits cannot be read", "damaged"])
    fits.writeto(tmp_path / "small.fits", np.ones((32, 48), np.float32))
    refused(
        small_ms, "--mask", tmp_path / "small.fits", says=["the mask is 48 x 32, the image 64 x 64", "--size 48 32"]
    )
    fits.writeto(tmp_path / "zero.fits", np.zeros((64, 64), np.float32))
    refused(small_ms, "--mask", tmp_path / "zero.fits", says=["zero.fits is 0 everywhere"])


# The settings' file


@pytest.mark.parametrize(
    "text, says",
    [
        ("wieght = 'natural'", ["run.toml", "unknown key 'wieght'", "did you mean 'weight'"]),
        ("niter = 'many'", ["--niter takes a whole number, got 'many'"]),
        ("size = true", ["--size takes a whole number", "True"]),
        ("scale = 4", ["--scale '4' has no unit"]),
        ("weight = 0.5", ["--weight '0.5' is unknown"]),
        ("multiscale = 1", ["--multiscale is on or off"]),
        ("gain = [0.1]", ["--gain takes a number"]),
        ("field = {a = 1}", ["--field takes text"]),
        ("ms = 5", ["path of a Measurement Set or a list of paths, got '5'"]),
        ("niter = ", ["run.toml is not valid TOML"]),
        ("", ["No Measurement Set given"]),
    ],
)
def test_settings_file(command, small_ms, tmp_path, folder, text, says):
    """Unknown keys and values of the wrong type in the TOML file."""
    (tmp_path / "run.toml").write_text(text)
    ms = [] if text.startswith("ms") or not text else [small_ms]
    done = command("image", *ms, "--config", tmp_path / "run.toml", "--name", folder / "x")
    assert done.status == 2
    for part in says:
        assert part in done.err
    assert list(folder.iterdir()) == []


# The output


def test_output_folder_is_missing(refused, small_ms, folder):
    """The message says how to make it."""
    refused(small_ms, name=folder / "sub" / "x", says=["does not exist", "mkdir -p"])


def test_output_name_is_a_folder(refused, small_ms, folder):
    """A prefix that ends in a slash is a folder, not a name."""
    refused(small_ms, name=f"{folder}/", says=[f"--name {folder}/ is a folder", "add the beginning of the file names"])


def test_output_below_a_file(refused, small_ms, tmp_path):
    """A file in the place of the folder cannot be written into, even by root."""
    (tmp_path / "file").write_text("x")
    refused(small_ms, name=tmp_path / "file" / "x", says=["is a file, not a folder", "--name"])


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EDQUOT])
def test_output_folder_cannot_be_written(refused, small_ms, monkeypatch, code):
    """Read-only, forbidden or full: found out by a trial before anything is read (permissions do not stop root)."""

    def touch(self, *args, **kwargs):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "touch", touch)
    monkeypatch.setattr("radrim.workdir.visibilities.read", lambda *args: pytest.fail("data were read first"))
    full = code in (errno.ENOSPC, errno.EDQUOT)
    refused(small_ms, says=["no space is left" if full else os.strerror(code), "--name FOLDER/prefix"])


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not stop root")
def test_output_folder_is_read_only(refused, small_ms, tmp_path):
    """A folder without write permission."""
    (tmp_path / "locked").mkdir(mode=0o555)
    refused(small_ms, name=tmp_path / "locked" / "x", says=["Permission denied"])


def test_too_little_space(refused, small_ms, monkeypatch):
    """The disk is checked against the size of all images before the work begins."""
    usage = SimpleNamespace(total=10**9, used=10**9 - 30000, free=30000)
    monkeypatch.setattr("radrim.runtime.files.shutil.disk_usage", lambda path: usage)
    monkeypatch.setattr("radrim.workdir.visibilities.apply_weights", lambda *args: pytest.fail("work was begun"))
    refused(small_ms, says=["the images need 0.000115 GB", "has only 3e-05 GB free"])


def is_image(descriptor):
    """Whether an open file is to become a FITS file."""
    return ".fits." in os.readlink(f"/proc/self/fd/{descriptor}")


def left(folder):
    """Names of what a run left, and of parts of files."""
    return sorted(path.name for path in folder.iterdir()), list(folder.rglob("*.part"))


def test_disk_full_at_once(refused, small_ms, monkeypatch):
    """A disk on which not even the work directory can begin."""

    def fail(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("radrim.runtime.files.os.fsync", fail)
    refused(small_ms, says=["manifest.json cannot be written", "no space is left"])


def test_disk_full_later_leaves_whole_files_only(command, small_ms, folder, monkeypatch):
    """What was complete before the disk was full stays and is whole; with space again the same command goes on."""
    synchronise = os.fsync
    done = []

    def fail_third(descriptor):
        if is_image(descriptor):
            if len(done) == 2:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            done.append(descriptor)
        synchronise(descriptor)

    words = ["image", small_ms, *GRID[:-1], 10, "--name", folder / "x"]
    with monkeypatch.context() as patch:
        patch.setattr("radrim.runtime.files.os.fsync", fail_third)
        result = command(*words)
    assert result.status == 2
    assert "x-model.fits cannot be written" in result.err
    assert left(folder) == (["x-dirty.fits", "x-psf.fits", "x.radrim"], [])
    for path in folder.glob("*.fits"):
        assert fits.getdata(path).shape == (1, 1, 64, 64)
    assert command(*words).status == 0
    assert "x-image.fits" in left(folder)[0]
    assert "x.radrim" not in left(folder)[0]


def test_interrupted_run_leaves_nothing_half_written(command, small_ms, folder, monkeypatch):
    """Ctrl-C while an image is written: no part of it stays, only what the same command needs to go on."""

    def interrupt(descriptor):
        if is_image(descriptor):
            raise KeyboardInterrupt

    monkeypatch.setattr("radrim.runtime.files.os.fsync", interrupt)
    done = command("image", small_ms, *GRID, "--name", folder / "x")
    assert done.status == 130
    assert left(folder) == (["x.radrim"], [])

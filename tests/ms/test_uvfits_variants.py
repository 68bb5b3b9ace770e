"""Conventions in which UVFITS files differ: encodings of the antennas, subarrays, equinoxes, Stokes parameters."""

import itertools
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import FK4, FK5, SkyCoord
from astropy.io import fits

from radrim.errors import DataError, InputError
from radrim.ms.inputs import open_inputs
from radrim.ms.tables import open_table, read_subtables
from radrim.ms.uvfits import read_header
from radrim.ms.uvfits_parameters import Parameters
from radrim.read.reader import Selection, read


def edit_groups(path, **changes):
    """Change stored numbers of random parameters in place; each function gets those of all groups, (group,) float64."""
    with fits.open(path) as hdus:
        header, start = hdus[0].header, hdus[0].fileinfo()["datLoc"]
        names = [header[f"PTYPE{k}"] for k in range(1, header["PCOUNT"] + 1)]
        values = header["PCOUNT"] + int(np.prod([header[f"NAXIS{k}"] for k in range(2, header["NAXIS"] + 1)]))
        shape = (header["GCOUNT"], values)
    groups = np.memmap(path, ">f4", "r+", start, shape)
    for name, change in changes.items():
        groups[:, names.index(name)] = change(groups[:, names.index(name)].astype(float))
    groups.flush()
    return path


def rows(path, stokes="I"):
    """Visibilities and (u, v, w) of a file in the order of time and baseline, and the antennas' names, smaller first.

    Every baseline is turned so that v is positive, since (u, v) and the complex conjugate at -(u, v) are the same.
    """
    (block,) = read([path], Selection(stokes=stokes)).blocks
    with open_inputs([path]) as (ms,):
        names = np.array(ms.antennas)[np.sort(block.antenna, 1)]
    order = np.lexsort((names[:, 1], names[:, 0], np.round(block.time, 1)))
    turned = np.where(block.uvw[:, 1] < 0, -1, 1)[:, None]
    return (block.data.real + 1j * turned * block.data.imag)[order], (turned * block.uvw)[order], names[order]


def assert_same_rows(path, other, stokes="I"):
    for ours, theirs in zip(rows(path, stokes), rows(other, stokes), strict=True):
        if ours.dtype.kind == "U":
            np.testing.assert_array_equal(ours, theirs)
        else:
            np.testing.assert_allclose(ours, theirs, atol=2e-3)


def high(baseline):
    return 2**16 + 2048 * (baseline // 256) + baseline % 256


@pytest.mark.parametrize("encode", [high, lambda b: np.where(np.arange(len(b)) % 3 == 0, high(b), b)])
def test_encodings_of_baselines(small_ms, make_uvfits, encode):
    """BASELINE may count the first antenna by 2048, also in some rows only, as MIRIAD writes it."""
    assert_same_rows(edit_groups(make_uvfits(small_ms), BASELINE=encode), small_ms)


def test_scaled_data(small_ms, make_uvfits):
    """BSCALE and BZERO hold for visibilities and weights alike."""
    path = make_uvfits(small_ms, header={"BSCALE": 2.0, "BZERO": 0.5})
    with fits.open(path) as hdus:
        header, start = hdus[0].header, hdus[0].fileinfo()["datLoc"]
    groups = np.memmap(path, ">f4", "r+", start, (header["GCOUNT"], header["PCOUNT"] + 2 * 4 * 3))
    groups[:, header["PCOUNT"] :] = (groups[:, header["PCOUNT"] :] - 0.5) / 2
    groups.flush()
    assert_same_rows(path, small_ms)


def test_baselines_not_quite_integers(small_ms, make_uvfits):
    """Scaled integers come back a little off; their fraction is no subarray."""
    assert_same_rows(edit_groups(make_uvfits(small_ms), BASELINE=lambda b: b - 6e-5), small_ms)


def test_baselines_too_coarse():
    """A number format that does not tell antennas apart is refused with the reason."""
    data = fits.GroupData(np.zeros((2, 1)), bitpix=16, parnames=["BASELINE"], pardata=[np.array([258, 259])])
    header = fits.Header({"BITPIX": 16, "PCOUNT": 1, "PTYPE1": "BASELINE", "PSCAL1": 2.0})
    parameters = Parameters(Path("a.uvfits"), data, header)
    with pytest.raises(InputError, match=r"stores BASELINE to 2, .*BITPIX -32"):
        parameters.antennas(np.ones(2, bool), 1)


def with_two_subarrays(tables):
    """The antenna table twice; the second in reverse order, about a centre that differs by 100 m, 10 s late."""
    first = tables["AIPS AN"]
    second = first.copy()
    for name in ("ANNAME", "STABXYZ"):
        second.data[name] = np.array(first.data[name])[::-1]
    second.header.update({"ARRAYX": 100.0, "ARRAYY": 0.0, "DATUTC": 10.0, "EXTVER": 2})
    second.data["STABXYZ"] -= [100.0, 0, 0]
    return {"AIPS AN": first, "second": second, **{k: v for k, v in tables.items() if k != "AIPS AN"}}


def test_subarrays(small_ms, make_uvfits):
    """Each pair of subarray and antenna is an antenna of the Measurement Set, in its own place."""
    number = len(read_subtables(small_ms).antennas)

    def halves(baseline):
        late = np.arange(len(baseline)) >= len(baseline) // 2
        first, second = baseline // 256, baseline % 256
        return np.where(late, 256 * (number + 1 - first) + number + 1 - second + 0.01, baseline)

    path = make_uvfits(small_ms, tables=with_two_subarrays)
    with fits.open(path, mode="update") as hdus:
        hdus[2].name, hdus[2].ver = "AIPS AN", 2
    edit_groups(path, BASELINE=halves)
    there = read_subtables(small_ms)
    with open_inputs([path]) as (ms,), open_table(ms.tables) as table:
        assert len(ms.antennas) == 2 * number
        assert len(set(ms.antennas)) == 2 * number
        assert [name.removesuffix(":2") for name in ms.antennas[number:]] == there.antennas[::-1]
        np.testing.assert_allclose(ms.positions[:number], there.positions, atol=1e-3)
        np.testing.assert_allclose(ms.positions[number:], there.positions[::-1], atol=1e-3)
        used = [table.getcol(name) for name in ("ANTENNA1", "ANTENNA2")]
        first, second = np.array(used) >= number
        np.testing.assert_array_equal(first, second)  # no baseline between subarrays
    ours, theirs = (np.sort(read([name]).blocks[0].time) for name in (path, small_ms))
    assert set(np.round(theirs - ours)) == {0, 10}
    np.testing.assert_allclose(np.sort(np.abs(rows(path)[0]), 0), np.sort(np.abs(rows(small_ms)[0]), 0), atol=1e-5)


@pytest.mark.parametrize("equinox", [1950.0, 1975.0, 1987.3, 2291.34])
def test_equinoxes(small_ms, make_uvfits, equinox):
    """Positions and (u, v) of any equinox are brought to J2000: FK4 before 1984, FK5 later."""
    field = read_subtables(small_ms).fields[0]
    frame = FK4(equinox=f"B{equinox}", obstime="J2026") if equinox < 1984 else FK5(equinox=f"J{equinox}")
    place = SkyCoord(field.ra, field.dec, unit="rad", frame="fk5")
    old = place.transform_to(frame)
    north = SkyCoord(old.ra, old.dec + 1e-4 * old.dec.unit, frame=frame).transform_to("fk5")
    turn = place.position_angle(north).rad
    header = {"EPOCH": equinox, "CRVAL6": old.ra.deg, "CRVAL7": old.dec.deg}
    path = make_uvfits(small_ms, header=header, turned=-turn)
    observation = read([path])
    assert np.hypot((observation.ra - field.ra) * np.cos(field.dec), observation.dec - field.dec) < 1e-8
    np.testing.assert_allclose(rows(path)[1], rows(small_ms)[1], atol=0.05)
    assert any(f"from the equinox {equinox:g} to J2000" in note for note in observation.notes)


@pytest.mark.parametrize("header", [{"RADESYS": "icrs"}, {"RADESYS": "ICRS"}, {"RADESYS": "FK5"}, {"EPOCH": "J2000"}])
def test_names_of_frames(small_ms, make_uvfits, header):
    """Systems in capitals, as FITS has them, and in small letters, as pyuvdata writes them."""
    path = make_uvfits(small_ms, header=header)
    assert_same_rows(path, small_ms)
    assert read([path]).notes == []


def test_equinox_that_is_no_year(make_ms, make_uvfits):
    """EPOCH -1, of planets, stands for the equinox of the header; a header without any for J2000. A note says so."""
    ms = make_ms(fields=2)

    def planet(tables):
        tables["AIPS SU"].data["EPOCH"] = -1.0
        return tables

    place = read([ms])
    observation = read([make_uvfits(ms, sources=True, tables=planet)])
    assert observation.ra == pytest.approx(place.ra, abs=1e-9)
    assert any("gives the equinox -1 for FIELD0" in note for note in observation.notes)
    observation = read([make_uvfits(ms, header={"EPOCH": -1.0})])
    assert observation.ra == pytest.approx(place.ra, abs=1e-9)
    assert any("no year as its equinox (EPOCH -1.0); its positions were taken for 2000" in n for n in observation.notes)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30, -1e7])
def test_rows_without_a_time(small_ms, make_uvfits, value):
    """Groups whose time is no time are left out, with a note; the others are read as they are."""
    bad = np.arange(216) % 9 == 0
    path = edit_groups(make_uvfits(small_ms), DATE=lambda d: np.where(bad, value, d))
    observation = read([path])
    assert observation.counts["samples"] == 4 * (~bad).sum()
    assert any("24 of 216 groups" in note and "left out" in note for note in observation.notes)


def test_no_time_at_all(small_ms, make_uvfits):
    """A file without any valid time is refused."""
    path = edit_groups(make_uvfits(small_ms), DATE=lambda d: d + np.nan)
    with pytest.raises(InputError, match="no group with a valid date: DATE is nan"):
        read([path])


@pytest.mark.parametrize("numbers", ["other", "nan"])
def test_frequency_setups_without_a_table(small_ms, make_uvfits, numbers):
    """Data of a frequency setup that the table AIPS FQ lacks have no frequency: refused, never guessed."""
    groups = read_subtables(small_ms).rows
    path = make_uvfits(small_ms, parameters={"FREQSEL": np.full(groups, 7.0 if numbers == "other" else np.nan)})
    with pytest.raises(InputError, match=r"FREQSEL 7.*frequency setups 1|FREQSEL is nan"):
        read([path])


def test_frequency_setup_not_set(small_ms, make_uvfits):
    """FREQSEL -1 means the only setup that there is."""
    assert_same_rows(make_uvfits(small_ms, parameters={"FREQSEL": np.full(216, -1.0)}), small_ms)


@pytest.mark.parametrize("names, pols", [(("I",), "I"), (("I", "Q", "U", "V"), "IQUV")])
@pytest.mark.parametrize("swap", [False, True])
def test_stokes_parameters(make_ms, make_uvfits, names, pols, swap):
    """Files of Stokes parameters, also where some baselines run backwards, give those of the Measurement Set."""
    ms = make_ms(correlations=("RR", "RL", "LR", "LL"), stokes=(1.0, 0.3, -0.2, 0.1))
    path = make_uvfits(ms)
    with fits.open(path) as hdus:
        header, start = hdus[0].header, hdus[0].fileinfo()["datLoc"]
        shape = (header["GCOUNT"], header["PCOUNT"] + 4 * 4 * 3)
    groups = np.memmap(path, ">f4", "r+", start, shape)
    cube = groups[:, header["PCOUNT"] :].reshape(-1, 4, 4, 3)  # group, channel, Stokes, complex
    rr, ll, rl, lr = np.moveaxis(cube[..., 0] + 1j * cube[..., 1], -1, 0)
    stokes = np.stack([(rr + ll) / 2, (rl + lr) / 2, (rl - lr) / 2j, (rr - ll) / 2], -1)
    cube[..., 0], cube[..., 1] = stokes.real, stokes.imag
    if swap:
        backwards = np.arange(len(groups)) % 2 == 0
        cube[backwards, ..., 1] *= -1
        groups[backwards, :3] *= -1
        groups[backwards, 3] = 256 * (groups[backwards, 3] % 256) + groups[backwards, 3] // 256
    groups[:, header["PCOUNT"] :] = cube.reshape(len(groups), -1)
    groups.flush()
    if names == ("I",):
        keep = np.concatenate([groups[:, : header["PCOUNT"]], cube[:, :, 0].reshape(len(groups), -1)], 1)
        rest = path.read_bytes()[start + -(-groups.nbytes // 2880) * 2880 :]
        raw = keep.astype(">f4").tobytes()
        header["NAXIS3"] = 1
        head = header.tostring().encode()
        path.write_bytes(head + raw + b"\0" * (-len(raw) % 2880) + rest)
    fits.setval(path, "CRVAL3", value=1.0)
    fits.setval(path, "CDELT3", value=1.0)
    with open_inputs([path]) as (found,):
        assert found.windows[0].correlations == list(names)
    for name in pols:
        assert_same_rows(path, ms, name)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # astropy leaves half-read tables
def test_damaged_cards(small_ms, make_uvfits):
    """Any card of any header may hold nonsense: the file is read, or refused in a sentence."""
    raw = make_uvfits(small_ms).read_bytes()
    cards = [k for k in range(0, len(raw), 80) if raw[k + 8 : k + 10] == b"= " and raw[k : k + 8].strip().isascii()]
    path = make_uvfits(small_ms, name="damaged.uvfits")
    rng = np.random.default_rng(1)
    for card, value in zip(
        rng.choice(cards, 30, replace=False), itertools.cycle(["-1", "1E30", "NAN", "'x'"]), strict=False
    ):
        changed = raw[card : card + 10] + value.rjust(20).ljust(70).encode()
        path.write_bytes(raw[:card] + changed + raw[card + 80 :])
        with suppress(InputError, DataError):
            read_header(path)


@pytest.mark.parametrize(
    "name, samples, antennas",
    [("J1256-0547_X_2020_10_18_pet_vis.fits", 13584, 27), ("3C273DEC16.stokesI.uvfits", 7652, 10)],
)
def test_public_files(shared_data, name, samples, antennas):
    """Three subarrays of astrogeo's VLBA archive, and Stokes I alone from SMILI."""
    path = shared_data / "more" / name
    if not path.exists():
        pytest.skip(f"{path} is missing")
    observation = read([path], Selection(abs_weights=True))
    assert observation.counts["samples"] == samples
    with open_inputs([path]) as (ms,):
        assert len(ms.antennas) == antennas

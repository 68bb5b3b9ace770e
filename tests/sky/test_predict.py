"""`radrim predict`: models in FITS files to visibilities in a column."""

# l and m are the direction cosines of the measurement equation.

import signal
import subprocess
import sys

import numpy as np
import pytest
from astropy.io import fits

import radrim
from radrim.errors import ConfigError, InputError, OutputError
from radrim.geometry import ARCSEC, SIGN, C, ImageGrid, axes, n_minus_1
from radrim.ms.columns import BORN, MARK, WRITTEN, writing_column
from radrim.ms.opening import open_table
from radrim.ms.tables import read_subtables
from radrim.read.reader import Selection, read
from radrim.sky.images import find_models, read_planes
from radrim.sky.model import SkyModel
from radrim.stokes import MIXTURES
from radrim.visibilities import Observation
from radrim.write.fits import image_header, write_fits

RA, DEC = 2.0, 0.6
"""Phase centre of `make_ms`."""
GRID = ImageGrid(64, 48, 5 * ARCSEC, RA, DEC)
POINTS = ((30, 40, 1.0), (11, 7, 0.5), (24, 32, -0.2))
"""y, x, flux [Jy]: off the middle, both signs."""


@pytest.fixture
def write_model(tmp_path):
    """Factory of model images: `write_model("m", points=..., grid=..., stokes="I", freq=1.4e9, **cards) -> Path`."""

    def write(name="m", points=POINTS, grid=GRID, stokes="I", freq=1.4e9, unit="Jy/pixel", **cards):
        image = np.zeros(grid.shape, np.float32)
        for y, x, flux in points:
            image[y, x] += flux
        header = image_header(grid, freq, 1e7, Observation([], grid.ra, grid.dec), stokes, unit)
        for key, value in cards.items():
            header[key.upper()] = value
        path = tmp_path / f"{name}-model.fits"
        write_fits(path, image, header)
        return path

    return write


def column(path, name="MODEL_DATA"):
    with open_table(path) as table:
        return table.getcol(name)


def direct(path, points, grid, field=0):
    """Stokes I of points by the sum, (row, chan), seen from the field's phase centre; of windows of one length."""
    ms = read_subtables(path)
    with open_table(path) as table:
        uvw, which = table.getcol("UVW"), table.getcol("DATA_DESC_ID")
    freq = np.stack([ms.windows[k].freq for k in which])
    turn = axes(ms.fields[field].ra, ms.fields[field].dec) @ axes(grid.ra, grid.dec).T
    total = np.zeros(freq.shape, complex)
    for y, x, flux in points:
        l, m = grid.l()[x], grid.m()[y]
        l, m, n = turn @ [l, m, 1 + n_minus_1(l, m)]
        turns = (uvw @ [l, m, n - 1])[:, None] * freq / C
        total += flux * np.exp(SIGN * 2j * np.pi * turns)
    return total


def rms(values):
    return np.sqrt(np.mean(np.abs(values) ** 2))


@pytest.mark.parametrize("epsilon", [1e-3, 1e-7])
def test_as_accurate_as_asked(make_ms, write_model, epsilon):
    """MODEL_DATA is the direct sum to epsilon, in every window, channel and parallel hand, flagged or not."""
    ms = make_ms(windows=((1.38e9, 4), (1.5e9, 4)), flagged=0.1)
    radrim.predict(ms, model_image=write_model(), epsilon=epsilon, threads=1)
    truth = direct(ms, POINTS, GRID)
    # complex64 holds seven digits.
    assert rms(column(ms) - truth[:, :, None]) <= (epsilon + 1e-7) * rms(truth)


@pytest.mark.parametrize("correlations", [("XX", "XY", "YX", "YY"), ("RR", "RL", "LR", "LL"), ("RR",), ("I", "V")])
def test_stokes_parameters_make_correlations(make_ms, write_model, correlations):
    """Images of I, Q, U and V give all correlations; a Stokes parameter without an image is 0."""
    ms = make_ms(correlations=correlations)
    fluxes = {"I": 1.0, "Q": 0.1, "V": -0.02}
    models = [write_model(f"m-{name}", [(30, 40, flux)], stokes=name) for name, flux in fluxes.items()]
    radrim.predict(ms, model_image=models, epsilon=1e-6, threads=1)
    unit = direct(ms, [(30, 40, 1.0)], GRID)
    mixed = [np.dot(MIXTURES[name], [fluxes.get(stokes, 0.0) for stokes in "IQUV"]) for name in correlations]
    assert np.abs(column(ms) - unit[:, :, None] * np.array(mixed)).max() < 3e-6


@pytest.mark.parametrize("mount, switch", [("EQUATORIAL", "auto"), ("ALT-AZ", "auto"), ("ALT-AZ", "on")])
@pytest.mark.parametrize("telescope", ["WSRT", "ASKAP"])
def test_images_of_predictions_are_the_model(make_ms, edit_ms, write_model, mount, switch, telescope):
    """Whatever the angle of linear feeds, `radrim image` makes the same I, Q, U and V of what is predicted."""
    from casacore.tables import table

    path, angle = edit_ms(make_ms(correlations=("XX", "XY", "YX", "YY"))), np.radians(33.0)
    for name, key, value in (("FEED", "RECEPTOR_ANGLE", np.array([angle, angle + np.pi / 2])),
                             ("ANTENNA", "MOUNT", mount), ("OBSERVATION", "TELESCOPE_NAME", telescope)):  # fmt: skip
        with table(str(path / name), readonly=False, ack=False) as opened:
            for row in range(opened.nrows()):
                opened.putcell(key, row, value)
    fluxes = {"I": 1.0, "Q": 0.3, "U": -0.2, "V": 0.05}
    models = [write_model(f"m-{name}", [(30, 40, flux)], stokes=name) for name, flux in fluxes.items()]
    radrim.predict(path, model_image=models, epsilon=1e-6, threads=1, feed_angle=switch)
    selection = {"column": "MODEL_DATA", "feed_angle": switch}
    found = {name: read([path], Selection(stokes=name, **selection)).blocks[0].data for name in fluxes}
    for name, flux in fluxes.items():
        np.testing.assert_allclose(found[name], flux * found["I"], atol=3e-6)
    raw = column(path)
    turned = np.abs(raw[..., 1] + raw[..., 2] - 2 * fluxes["U"] * found["I"]).max() > 0.1
    assert turned == (mount == "EQUATORIAL" or switch == "on")


def test_parallel_hands_by_themselves(make_ms, write_model):
    """Images of XX and YY go into these, and XY and YX are 0; XX alone is refused, since YY would be 0."""
    ms = make_ms(correlations=("XX", "XY", "YX", "YY"))
    models = [write_model(f"m-{name}", [(30, 40, flux)], stokes=name) for name, flux in (("XX", 1.0), ("YY", 2.0))]
    radrim.predict(ms, model_image=models, threads=1)
    assert np.abs(column(ms)).mean((0, 1)) == pytest.approx([1, 0, 0, 2], rel=1e-3)
    with pytest.raises(InputError, match="also YY: give a model of each, or of Stokes I"):
        radrim.predict(ms, model_image=models[0], threads=1)


def test_each_channel_sees_the_nearest_frequency(make_ms, write_model):
    """With several frequencies every channel has the flux of the nearest, also beyond the first and last."""
    ms = make_ms(windows=((1.30e9, 9),))
    for number, freq in enumerate((1.32e9, 1.35e9)):
        write_model(f"m-{number:04d}", [(24, 32, 1.0 + number)], freq=freq)
    radrim.predict(ms, name=str(write_model("unused").parent / "m"), threads=1)
    assert np.abs(column(ms)[:, :, 0]).mean(0) == pytest.approx([1, 1, 1, 1, 2, 2, 2, 2, 2], rel=1e-3)


def test_cubes_are_as_good_as_files(make_ms, write_model, tmp_path):
    """A cube with FREQ and STOKES axes gives what its planes give as files."""
    ms = make_ms(correlations=("XX", "XY", "YX", "YY"))
    planes = [
        write_model(f"m-{k}{s}", [(30, 40, flux * (k + 1))], stokes=s, freq=1.38e9 + 2e7 * k)
        for s, flux in (("I", 1.0), ("Q", 0.2)) for k in range(2)
    ]  # fmt: skip
    radrim.predict(ms, model_image=planes, threads=1)
    one_by_one = column(ms)
    header = fits.getheader(planes[0])
    header["CDELT3"] = 2e7
    cube = np.concatenate([fits.getdata(path) for path in planes]).reshape(2, 2, *GRID.shape)
    fits.writeto(tmp_path / "cube.fits", cube, header)
    radrim.predict(ms, model_image=tmp_path / "cube.fits", threads=1)
    assert np.array_equal(column(ms), one_by_one)


@pytest.mark.parametrize("distance", [0.0, 0.5, 20.0])
def test_any_phase_centre(make_ms, write_model, distance):
    """A model around another position is predicted exactly, with that position's own tangent plane."""
    ms = make_ms()
    grid = ImageGrid(64, 48, 5 * ARCSEC, RA + np.radians(distance), DEC - np.radians(distance / 2))
    radrim.predict(ms, model_image=write_model(grid=grid), epsilon=1e-6, threads=1)
    truth = direct(ms, POINTS, grid)
    assert rms(column(ms) - truth[:, :, None]) < 3e-6 * rms(truth)


@pytest.mark.parametrize("odd", [False, True])
@pytest.mark.parametrize("mirrored", [False, True])
def test_pixels_where_the_header_says(make_ms, write_model, odd, mirrored):
    """Odd sizes, columns that run to the east, and a phase centre away from the middle change no position."""
    ms = make_ms()
    grid = ImageGrid(63 if odd else 64, 47 if odd else 48, 5 * ARCSEC, RA, DEC, x0=5, y0=-3)
    cards = {"CRPIX1": grid.width // 2 + 1 - 5, "CRPIX2": grid.height // 2 + 1 + 3}
    path = write_model(grid=grid, **cards)
    if mirrored:
        with fits.open(path, mode="update") as hdus:
            hdus[0].data = hdus[0].data[..., ::-1].copy()
            hdus[0].header["CDELT1"] *= -1
            hdus[0].header["CRPIX1"] = grid.width + 1 - hdus[0].header["CRPIX1"]
    radrim.predict(ms, model_image=path, epsilon=1e-6, threads=1)
    truth = direct(ms, POINTS, grid)
    assert rms(column(ms) - truth[:, :, None]) < 3e-6 * rms(truth)


def test_round_trip_of_an_image(make_ms, no_report, tmp_path):
    """DATA - MODEL_DATA of a run with channels, imaged, is the residual that the run itself wrote."""
    ms = make_ms(windows=((1.38e9, 6),), noise=0.01)
    how = {"size": 64, "scale": "5asec", "channels_out": 3, "weight": "natural", "threads": 1}
    run = radrim.image(ms, name=tmp_path / "run", solver="clean", max_major=2, epsilon=1e-6, **how)
    radrim.predict(ms, name=tmp_path / "run", epsilon=1e-6, threads=1)
    with writing_column(ms, "RESIDUAL", "test") as out:
        rest = column(ms, "DATA") - column(ms)
        out.put(np.arange(len(rest)), rest)
    left = radrim.image(ms, name=tmp_path / "left", niter=0, data_column="RESIDUAL", epsilon=1e-6, **how)
    for one, other in zip(left.channels, run.channels, strict=True):
        assert np.abs(one.dirty - other.residual).max() < 1e-5 * np.abs(other.dirty).max()


def test_nothing_else_is_changed(make_ms, write_model):
    """All columns but the new one are what they were; the new one has DATA's shapes, and is marked as complete."""
    ms = make_ms(correlations=("RR", "LL"), windows=((1.3e9, 2), (1.4e9, 2)), weight_spectrum=True)
    with open_table(ms) as table:
        names = table.colnames()
        before = {name: table.getcol(name) for name in names if table.iscelldefined(name, 0)}
    radrim.predict(ms, model_image=write_model(), threads=1)
    with open_table(ms) as table:
        assert set(table.colnames()) == {*names, "MODEL_DATA"}
        assert all(np.array_equal(table.getcol(name), value) for name, value in before.items())
        assert table.getcol("MODEL_DATA").shape == table.getcol("DATA").shape
        keywords = table.getcolkeywords("MODEL_DATA")
        assert set(keywords) == {WRITTEN}
        assert "m-model.fits" in keywords[WRITTEN]


def test_other_fields_are_untouched(make_ms, write_model):
    """Rows of fields that were not chosen are 0 in a new column, and in an old one what they were."""
    ms = make_ms(fields=2)
    with open_table(ms) as table:
        field = table.getcol("FIELD_ID")
    radrim.predict(ms, model_image=write_model(), field=0, threads=1)
    first = column(ms)
    assert np.all(first[field == 1] == 0)
    assert np.all(first[field == 0] != 0)
    grid = ImageGrid(64, 48, 5 * ARCSEC, RA, DEC + np.radians(1))
    radrim.predict(ms, model_image=write_model("other", grid=grid), field="FIELD1", threads=1)
    second = column(ms)
    assert np.array_equal(second[field == 0], first[field == 0])
    assert np.all(second[field == 1] != 0)


def test_an_empty_model_is_zero(make_ms, write_model):
    """A model of zeros predicts zeros."""
    ms = make_ms()
    radrim.predict(ms, model_image=write_model(points=()), threads=1)
    assert not column(ms).any()


def test_rows_without_coordinates_are_zero(edit_ms, write_model):
    """A row whose UVW are not numbers gets 0, and does no harm to the others."""

    def spoil(uvw):
        uvw[3] = np.nan
        return uvw

    ms = edit_ms(UVW=spoil)
    radrim.predict(ms, model_image=write_model(), threads=1)
    model = column(ms)
    assert np.isfinite(model).all()
    assert not model[3].any()
    assert model[4].all()


def test_chunks_change_nothing(make_ms, write_model, monkeypatch):
    """Rows in small chunks give what all rows at once give."""
    ms = make_ms()
    path = write_model()
    radrim.predict(ms, model_image=path, epsilon=1e-6, threads=1)
    whole = column(ms)
    monkeypatch.setattr("radrim.sky.prediction.PredictionSettings.chunk", 100)
    monkeypatch.setattr("radrim.sky.prediction._Prediction._largest", lambda self: 100)
    radrim.predict(ms, model_image=path, column="PARTS", epsilon=1e-6, threads=1)
    assert rms(column(ms, "PARTS") - whole) < 3e-6 * rms(whole)


KILLED = """
import os, signal, sys
from radrim.sky.model import SkyModel
seen = SkyModel.visibilities
calls = []
def visibilities(*args):
    calls.append(1)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return seen(*args)
SkyModel.visibilities = visibilities
from radrim.cli.main import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize("old", [False, True])
def test_killed_half_way(make_ms, write_model, command, old):
    """A killed run leaves a mark; imaging from the column is refused until the same command has written it anew."""
    ms = make_ms(windows=((1.38e9, 4), (1.5e9, 4)), fields=2)
    path = write_model()
    words = ["predict", str(ms), "--model-image", str(path), "--field", "0"]
    if old:
        radrim.predict(ms, model_image=path, field="0", threads=1)
    killed = subprocess.run([sys.executable, "-c", KILLED, *words], check=False)
    assert killed.returncode == -signal.SIGKILL
    with open_table(ms) as table:
        assert set(table.getcolkeywords("MODEL_DATA")) == ({MARK, WRITTEN} if old else {MARK, BORN})
    refused = command(
        "image", ms, "--data-column", "MODEL_DATA", "--field", 0, "--niter", 0, "--name", path.parent / "x"
    )
    assert refused.status == 2
    assert "column MODEL_DATA is unfinished: 'predict of m-model.fits'" in refused.err
    assert command(*words).status == 0
    whole = make_ms(windows=((1.38e9, 4), (1.5e9, 4)), fields=2)
    radrim.predict(whole, model_image=path, field="0")
    assert np.array_equal(column(ms), column(whole))


def test_not_into_what_was_measured(small_ms, write_model, command):
    """DATA and the like are refused as targets."""
    answer = command("predict", small_ms, "--model-image", write_model(), "--column", "DATA")
    assert answer.status == 2
    assert "--column DATA is no column for a model" in answer.err


def test_read_only(edit_ms, write_model, monkeypatch):
    """A Measurement Set that cannot be written is named, and what to do; nothing is changed."""
    import casacore.tables as casatables

    ms = edit_ms()
    real = casatables.table

    def refuse(path, *args, readonly=True, **kwargs):
        if not readonly:
            raise RuntimeError(f"Table {path} is not writable\ncall chain")
        return real(path, *args, readonly=readonly, **kwargs)

    monkeypatch.setattr(casatables, "table", refuse)
    with pytest.raises(OutputError, match=r"MODEL_DATA cannot be written to .*is not writable\. Close .*chmod -R u\+w"):
        radrim.predict(ms, model_image=write_model())
    with open_table(ms) as table:
        assert "MODEL_DATA" not in table.colnames()


def test_full_disk(edit_ms, write_model, monkeypatch):
    """Too little space is found before the column is made: casacore would end the process."""
    ms = edit_ms()
    monkeypatch.setattr("radrim.ms.columns.shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(OutputError, match=r"needs 0 MB, and only 0 MB are free in .* Make room"):
        radrim.predict(ms, model_image=write_model())
    with open_table(ms) as table:
        assert "MODEL_DATA" not in table.colnames()


@pytest.mark.parametrize(
    "cards, message",
    [
        ({"BUNIT": "Jy/beam"}, "is in 'Jy/beam', and a model must be in Jy/pixel: .* NAME-model.fits"),
        ({"BUNIT": ""}, "write BUNIT = 'Jy/pixel' into its header"),
        ({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}, "'RA---TAN' and 'DEC--TAN', and not RA---SIN .* Reproject"),
        ({"CDELT2": 0.001}, "turned, slanted or not square"),
        ({"CROTA2": 10.0}, "turned, slanted or not square"),
        ({"CRPIX1": 32.5}, "phase centre between pixels"),
        ({"EQUINOX": 1950.0, "RADESYS": "FK4"}, "coordinates of FK4 1950"),
        ({"CTYPE3": "VRAD", "CRPIX3": 1.0}, None),
        ({"CRVAL4": -7.0}, "is of XY, of which an image holds the real part only"),
        ({"CRVAL2": -50.0}, "from field FIELD0 .*is it of another source"),
    ],
)  # fmt: skip
def test_what_is_no_model(small_ms, write_model, cards, message):
    """A file whose pixels would land elsewhere, or mean something else, is refused in words; one that cannot is not."""
    path = write_model(**cards)
    if message is None:
        assert len(read_planes([path])) == 1
        return
    with pytest.raises(InputError, match=message):
        radrim.predict(small_ms, model_image=path)
    with open_table(small_ms) as table:
        assert "MODEL_DATA" not in table.colnames()


def test_pixels_that_are_no_numbers(small_ms, write_model):
    """NaN in a model is refused: whether it stands for no sky is not known."""
    path = write_model(points=[(3, 3, np.nan)])
    with pytest.raises(InputError, match="pixels that are not numbers"):
        radrim.predict(small_ms, model_image=path)


def test_coarse_pixels(make_ms, write_model, caplog):
    """Pixels too coarse for most baselines are refused, with the scale that would do; for a few they are warned of."""
    ms = make_ms()
    with open_table(ms) as table:
        longest = np.sort(np.abs(table.getcol("UVW")[:, :2]).max(1))[-2] * 1.41e9 / C
    slightly = ImageGrid(64, 48, 1 / (2 * longest), RA, DEC)
    radrim.predict(ms, model_image=write_model(grid=slightly), threads=1)
    assert "too coarse for 0." in caplog.text
    assert "Predictions for these rows are wrong" in caplog.text
    coarse = ImageGrid(64, 48, 10 / longest, RA, DEC)
    with pytest.raises(InputError, match=r"too coarse for .* Make the model with that --scale"):
        radrim.predict(ms, model_image=write_model(grid=coarse), threads=1)


@pytest.mark.parametrize(
    "files, found",
    [
        (["m"], ["m"]),
        (["m-MFS", "m-0000", "m-0001"], ["m-0000", "m-0001"]),
        (["m-MFS"], ["m-MFS"]),
        (["m-I", "m-Q"], ["m-I", "m-Q"]),
        (["m-0000-I", "m-0001-I", "m-0000-Q", "m-0001-Q"], ["m-0000-I", "m-0000-Q", "m-0001-I", "m-0001-Q"]),
        (["m", "m-two", "mm", "m-0000-pb"], ["m"]),
    ],
)
def test_names_of_a_run(tmp_path, files, found):
    """--name finds the models of that run and of no other; channels before their average."""
    for name in files:
        (tmp_path / f"{name}-model.fits").touch()
    assert [path.name.removesuffix("-model.fits") for path in find_models(tmp_path / "m")] == found


@pytest.mark.parametrize(
    "files, message",
    [
        ([], "There is no .*m-model.fits"),
        (["m-0000", "m-0002"], "m-0001-model.fits is missing"),
        (["m", "m-0000"], "are of different runs"),
    ],
)
def test_names_that_do_not_do(tmp_path, files, message):
    """Missing and ambiguous models are named."""
    for name in files:
        (tmp_path / f"{name}-model.fits").touch()
    with pytest.raises(InputError, match=message):
        find_models(tmp_path / "m")


def test_planes_that_exclude_each_other(write_model):
    """The same plane twice, and Stokes parameters beside correlations, are refused."""
    twice = [write_model("a"), write_model("b")]
    with pytest.raises(InputError, match="are both Stokes I at 1400 MHz"):
        SkyModel(read_planes(twice))
    with pytest.raises(InputError, match="Stokes I and the correlations XX"):
        SkyModel(read_planes([write_model("a"), write_model("b", stokes="XX")]))


def test_one_model_is_named(small_ms, write_model):
    """Neither and both of --model-image and --name are refused."""
    with pytest.raises(ConfigError, match="either as --model-image"):
        radrim.predict(small_ms)
    with pytest.raises(ConfigError, match="either as --model-image"):
        radrim.predict(small_ms, model_image=write_model(), name="m")


def test_command_line(edit_ms, write_model, command):
    """The Measurement Set may follow the files; WSClean's single dash works."""
    ms = edit_ms()
    answer = command("predict", "--model-image", write_model(), ms)
    assert answer.status == 0
    assert "Model: " in answer.out
    assert "field FIELD0, spectral window 0" in answer.out
    answer = command("predict", "-name", write_model("m").parent / "m", "-j", 1, ms)
    assert answer.status == 0
    assert command("predict", "--model-image", write_model()).err.startswith("radrim: No Measurement Set given")


def test_uvfits_has_no_columns(make_ms, make_uvfits):
    """MODEL_DATA of a UVFITS file is refused with the command that makes a Measurement Set of it."""
    path = make_uvfits(make_ms())
    expected = pytest.raises(
        InputError, match=r"this needs a Measurement Set of version 2: radrim convert .*obs.uvfits obs.ms"
    )
    with expected, writing_column(path, "MODEL_DATA", "a test"):
        pytest.fail("there is a column")


def test_image_updates_the_model(make_ms, tmp_path, no_report):
    """--update-model writes what predict writes for the finished image; without it nothing is written."""
    ms = make_ms()
    how = {"size": 64, "scale": "6asec", "solver": "clean", "threads": 1}
    radrim.image(ms, name=tmp_path / "a", **how)
    with open_table(ms) as table:
        assert "MODEL_DATA" not in table.colnames()
    radrim.image(ms, name=tmp_path / "b", update_model=True, **how)
    written = column(ms).copy()
    assert np.abs(written).max() > 0
    radrim.predict(ms, name=tmp_path / "b", column="MINE")
    np.testing.assert_allclose(column(ms, "MINE"), written, atol=1e-6 * np.abs(written).max())


def test_update_needs_a_measurement_set(make_ms, make_uvfits, tmp_path):
    """Inputs without columns are refused before anything is made."""
    path = make_uvfits(make_ms())
    with pytest.raises(InputError, match="needs a Measurement Set of version 2"):
        radrim.image(path, name=tmp_path / "a", size=64, scale="6asec", update_model=True)
    assert not list(tmp_path.glob("a-*"))

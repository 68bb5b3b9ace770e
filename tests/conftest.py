"""What several tests share: small simulated observations, small uv sets, and the folder of real data."""

import importlib.util
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.ndimage
import torch
from hypothesis import settings

import radrim
from radrim.errors import ConfigError, InputError
from radrim.geometry import ARCSEC, C, ImageGrid

settings.register_profile("untimed", deadline=None)  # other work on the machine must not fail a test
settings.load_profile("untimed")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def one_thread():
    """Networks as small as the tests' gain nothing from threads, and lose much where other work runs beside."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def rng():
    """A seeded torch.Generator, new for each test, so that the order of tests changes nothing."""
    return torch.Generator().manual_seed(20260101)


@pytest.fixture(scope="session")
def shared_data():
    """Folder of real observations (see its README.md); read only."""
    if not SHARED.is_dir():
        pytest.skip(f"real data are not there: {SHARED} is missing")
    return SHARED


@pytest.fixture(scope="session")
def small_uv():
    """(uvw (row, 3) [m], freq (chan,) [Hz]): nine antennas within 34 m, so that the w-term counts on a small grid."""
    from radrim.arrays import read_layout
    from radrim.earth import track_times, uvw_tracks

    layout = read_layout("vla-c")
    times = track_times(layout, 1.0, 0.5, 0.2, 6.0, 3600.0)
    uvw = uvw_tracks(layout.positions[1::3] / 100, 1.0, 0.5, times)
    return uvw.reshape(-1, 3), np.array([1.30e9, 1.40e9, 1.45e9])


@pytest.fixture(scope="session")
def small_grid(small_uv):
    """An `ImageGrid`, not square, with three pixels per beam of `small_uv`; the w-term reaches a third of a turn."""
    uvw, freq = small_uv
    longest = np.hypot(uvw[:, 0], uvw[:, 1]).max() * freq.max() / C
    return ImageGrid(64, 48, 1 / (3 * longest), ra=1.0, dec=0.5)


@pytest.fixture(scope="session")
def point_source():
    """The source in `small_ms` and, by default, in `make_ms`: direction cosines, and Stokes I, Q, U, V [Jy]."""
    return SimpleNamespace(l=40 * ARCSEC, m=-25 * ARCSEC, stokes=(1.0, 0.0, 0.0, 0.0))


@pytest.fixture(scope="session")
def make_ms(tmp_path_factory, point_source):
    """Factory of small Measurement Sets, nine antennas of VLA C: `make_ms(correlations=("RR",), ...) -> Path`.

    Every argument has a default: correlations (one tuple, or one for each window), windows (pairs of lowest frequency
    [Hz] and number of channels, 10 MHz wide), fields (their number; each lies 1 degree north of the one before), times,
    noise [Jy], flagged (fraction), gain_error, corrected (write CORRECTED_DATA too), weight_spectrum (write it, rising
    with the channel), autocorrelations, stokes of the source, sky (a `Sky`, in place of the source), seed.
    """
    from radrim.earth import track_times
    from radrim.simulation import (
        ObservationPlan,
        ObservedField,
        ObservedWindow,
        Receivers,
        make_sky,
        observe,
        read_layout,
        write_ms,
    )
    from radrim.sky.catalogue import offset_position

    ra, dec = 2.0, 0.6

    def make(
        *, correlations=("XX", "YY"), windows=((1.38e9, 4),), fields=1, times=6, noise=0.05, flagged=0.0,
        gain_error=0.0, corrected=False, weight_spectrum=False, autocorrelations=False, stokes=None, sky=None, seed=1,
    ):  # fmt: skip
        if isinstance(correlations[0], str):
            correlations = (correlations,) * len(windows)
        vla = read_layout("vla-c")
        few = slice(1, None, 3)
        layout = replace(vla, stations=vla.stations[few], positions=vla.positions[few], diameters=vla.diameters[few])
        start = track_times(layout, ra, dec, 0.1, times * 0.25, 900.0)
        targets = [ObservedField(f"FIELD{k}", ra, dec + np.radians(k), start + 86400.0 * k) for k in range(fields)]
        bands = [
            ObservedWindow(low + 10e6 * np.arange(channels), 10e6, names)
            for (low, channels), names in zip(windows, correlations, strict=True)
        ]
        plan = ObservationPlan(layout, targets, bands, 900.0, autocorrelations)
        if sky is None:
            position = offset_position(point_source.l, point_source.m, ra, dec)
            sky = make_sky(*position, [stokes or point_source.stokes], 1.4e9)
        receivers = Receivers(noise, gain_error, flagged, corrected, seed)
        columns = receivers.columns
        measure = observe(plan, sky, receivers)
        if weight_spectrum:
            columns += ("WEIGHT_SPECTRUM",)
            inner = measure

            def measure(block):
                values = inner(block)
                rising = np.linspace(0.5, 1.5, values["DATA"].shape[1])[:, None]
                return values | {"WEIGHT_SPECTRUM": (rising * values["WEIGHT"][:, None, :]).astype(np.float32)}

        return write_ms(tmp_path_factory.mktemp("ms") / "small.ms", plan, measure, columns)

    return make


@pytest.fixture(scope="session")
def small_ms(make_ms):
    """Path of a Measurement Set: nine antennas, six times, four channels, XX and YY, a source and noise. Read only."""
    return make_ms()


@pytest.fixture(scope="session")
def crowded_ms(make_ms):
    """Forty points all over a field of 6 arcminutes, one channel, little noise: integrations lie far apart."""
    from radrim.simulation import make_sky
    from radrim.sky.catalogue import offset_position

    rng = np.random.default_rng(5)
    places = [offset_position(*offset, 2.0, 0.6) for offset in rng.uniform(-170, 170, (40, 2)) * ARCSEC]
    ra, dec = np.array(places).T
    flux = 0.05 * (1 + rng.pareto(1.2, 40)).clip(max=20)
    sky = make_sky(ra, dec, flux[:, None] * [[1.0, 0, 0, 0]], 1.4e9)
    return make_ms(sky=sky, noise=0.01, times=48, windows=((1.38e9, 1),))


@pytest.fixture
def edit_ms(small_ms, tmp_path_factory):
    """Factory of changed copies of a Measurement Set: `edit_ms(FLAG=lambda flag: flag | True) -> Path`.

    Each keyword names a column of the main table, or of `subtable`; its function gets the column and returns the new
    one. `source` is copied in place of `small_ms`, `name` is the copy's.
    """
    import shutil

    from radrim.ms.tables import open_table

    def edit(source=small_ms, subtable="", name="edited.ms", **columns):
        path = tmp_path_factory.mktemp("edited") / name
        shutil.copytree(source, path, copy_function=shutil.copyfile)  # the files of real data are read-only
        with open_table(path):  # imports casacore without its warnings
            import casacore.tables as casatables
        table = casatables.table(str(path / subtable), readonly=False, ack=False)
        for column, change in columns.items():
            table.putcol(column, change(table.getcol(column)))
        table.close()
        return path

    return edit


class SeenSky:
    """Stands for a measurement: sources seen through the PSF of a few thousand uv cells, with noise.

    `shape` (y, x) [pixel], `sources` (y, x, flux [Jy]), `noise` [Jy/beam], `width` of the sources (rms) [pixel].
    """

    def __init__(self, shape=(128, 160), sources=((40, 60, 1.0), (90, 110, -0.5)), noise=1e-3, seed=0, width=0.0):
        from radrim.rim.network.psf import PsfConvolution

        self.noise = noise
        rng = np.random.default_rng(seed)
        wide = [2 * n for n in shape]
        v, u = (np.fft.fftfreq(n) for n in wide)
        radius = np.hypot(v[:, None], u)
        weight = np.where((radius < 0.15) & (rng.random(wide) < 0.3), 1.0, 0.0)
        weight = weight + np.roll(weight[::-1, ::-1], (1, 1), (0, 1))  # a real image
        psf = np.fft.fftshift(np.fft.ifft2(weight).real)
        self.psf = (psf / psf.max()).astype(np.float32)
        self.transfer = weight / psf.max()
        white = np.fft.fft2(rng.standard_normal(wide))
        grains = np.fft.ifft2(white * np.sqrt(weight)).real[: shape[0], : shape[1]]
        self.truth = np.zeros(shape, np.float32)
        for y, x, flux in sources:
            self.truth[y, x] = flux
        if width:  # sources of that rms width [pixel]: what is no point goes through the network
            self.truth = scipy.ndimage.gaussian_filter(self.truth, width)
        self.convolution = PsfConvolution(torch.from_numpy(self.psf), shape)
        self.dirty = self.see(self.truth) + (noise * grains / grains.std()).astype(np.float32)

    def see(self, model):
        """psf * model [Jy/beam] of an image [Jy/pixel]."""
        return self.convolution.normal(torch.from_numpy(model)).numpy()

    def point(self, y, x):
        """What a point of flux 1 anywhere, also between pixels, looks like."""
        ny, nx = self.transfer.shape
        phase = np.exp(-2j * np.pi * (np.fft.fftfreq(ny)[:, None] * y + np.fft.fftfreq(nx) * x))
        seen = np.fft.ifft2(self.transfer * phase).real[: self.truth.shape[0], : self.truth.shape[1]]
        return seen.astype(np.float32)

    left_noise = float("nan")
    """There are no visibilities that would show it."""

    def residual(self, model):
        """What the imager asks of a measurement [Jy/beam]."""
        return self.dirty - self.see(model)

    def state(self, expected=None):
        """Where `deconvolve` starts; `expected` [Jy/beam] is what it is told of the noise, by default the truth."""
        from radrim.deconvolve.whole import WholeImage

        expected = self.noise if expected is None else expected
        return WholeImage(
            label="", expected=expected, measurement=self, dirty=self.dirty, psf=self.psf,
            model=np.zeros_like(self.dirty), residual=self.dirty,
        )  # fmt: skip


@pytest.fixture(scope="session")
def seen_sky():
    """Factory of observations without a Measurement Set: `seen_sky(shape, sources, noise, seed, width) -> SeenSky`."""
    return SeenSky


@pytest.fixture
def command(capfd):
    """Run `radrim` with these words, in this process: `command("image", path, "--niter", 0)`; status, out and err."""
    from radrim.cli.main import main

    def run(*words):
        try:
            status = main([str(word) for word in words])
        except SystemExit as stop:  # argparse's way out
            status = stop.code
        out, err = capfd.readouterr()  # also what libraries below Python print
        return SimpleNamespace(status=status, out=out, err=err)

    return run


@pytest.fixture
def shown_after_training(command):
    """`radrim train` with a recipe whose training in a folder is complete; gives what `radrim model show` prints."""

    def run(recipe, folder):
        trained = command("train", recipe, "--output", folder)
        assert trained.status == 0
        assert "Done" in trained.out
        return command("model", "show", folder / "model.safetensors").out

    return run


@pytest.fixture
def refused_as_minor_cycle(small_ms, tmp_path):
    """Check that `radrim.image` refuses a trained network for another purpose, with this message."""

    def check(path, message):
        with pytest.raises(InputError, match=message):
            radrim.image(small_ms, size=64, scale="4asec", model=path, name=tmp_path / "x")

    return check


@pytest.fixture
def refused_training_file(tmp_path):
    """Check that a loader of training files refuses this text, with this message."""

    def check(load, text, message):
        path = tmp_path / "bad.toml"
        path.write_text(text)
        with pytest.raises((ConfigError, InputError), match=message):
            load(path)

    return check


@pytest.fixture(scope="session")
def without_reports():
    """A context without the picture and the report, which take longer than all the rest of a small run."""

    @contextmanager
    def context():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("radrim.output.write_report", lambda *args: None)
            yield patch

    return context


@pytest.fixture
def no_report(without_reports):
    """The whole test within that context."""
    with without_reports():
        yield


@pytest.fixture(autouse=True)
def log_as_before():
    """The command sets the log up for its own output; the next test gets it back as it was."""
    import logging

    logger = logging.getLogger("radrim")
    handlers, level = list(logger.handlers), logger.level
    yield
    logger.handlers[:], logger.level = handlers, level
    logger.setLevel(level)


@pytest.fixture(scope="session")
def split_by_hands(make_ms, tmp_path_factory):
    """Function (ms) -> Path: the same data with RR and LL in one data description, RL and LR in another.

    `ms` must have one window of RR, RL, LR and LL. The second half of the rows is that of RL and LR, last rows first.
    """
    import shutil

    from casacore.tables import table

    def split(ms):
        path = tmp_path_factory.mktemp("split") / "split.ms"
        with table(str(ms), ack=False) as whole:
            rows = whole.nrows()
            columns = {name: np.asarray(whole.getcol(name)) for name in whole.colnames() if name != "FLAG_CATEGORY"}
        shutil.copytree(make_ms(correlations=("RR", "LL"), times=len(np.unique(columns["TIME"]))), path)
        for name, column, value in (("POLARIZATION", "CORR_TYPE", np.array([6, 7], np.int32)),
                                    ("DATA_DESCRIPTION", "POLARIZATION_ID", 1)):  # fmt: skip
            with table(str(path / name), readonly=False, ack=False) as one:
                one.copyrows(one, 0, 1, 1)
                one.putcell(column, 1, value)
        with table(str(path), readonly=False, ack=False) as main:
            main.addrows(2 * rows - main.nrows())
            for name in set(main.colnames()) & set(columns):
                values = columns[name]
                wide = name in ("DATA", "FLAG", "WEIGHT", "SIGMA", "WEIGHT_SPECTRUM")
                main.putcol(name, values[..., [0, 3]] if wide else values, 0, rows)
                main.putcol(name, (values[..., [1, 2]] if wide else values)[::-1], rows, rows)
            main.putcol("DATA_DESC_ID", np.ones(rows, np.int32), rows, rows)
        return path

    return split


@pytest.fixture(scope="session")
def make_uvfits(tmp_path_factory, make_ms):
    """Factory of UVFITS files with the data of a Measurement Set: `make_uvfits(ms, header={}, ...) -> Path`.

    Written by astropy alone, as AIPS Memo 117 has it. `header` is added to that of the visibilities, `weight` (weights
    to weights) changes these, `tables` (dictionary of the tables by name) may change or drop some, `parameters` adds
    random parameters by name, values (group,); `sources` writes SOURCE and the table AIPS SU; `turned` is an angle by
    which (u, v) is turned [rad].
    """
    from astropy.io import fits

    from radrim.ms.tables import open_table, read_subtables

    stokes = {"RR": -1, "LL": -2, "RL": -3, "LR": -4, "XX": -5, "YY": -6, "XY": -7, "YX": -8, "I": 1}

    def make(ms, name="obs.uvfits", header=None, weight=None, tables=None, parameters=None, sources=False,
             turned=None):  # fmt: skip
        info = read_subtables(ms)
        with open_table(ms) as main:
            column = {key: np.asarray(main.getcol(key)) for key in main.colnames() if key != "FLAG_CATEGORY"}
        windows = [column["DATA_DESC_ID"] == k for k in range(len(info.windows))]
        row = {key: column[key][windows[0]] for key in ("UVW", "TIME", "ANTENNA1", "ANTENNA2", "FIELD_ID")}
        data = np.stack([column["DATA"][rows] for rows in windows], 1)  # group, IF, channel, Stokes
        weights = np.stack([column["WEIGHT"][rows][:, None] * ~column["FLAG"][rows] for rows in windows], 1)
        weights = weights if weight is None else weight(weights)
        names = info.windows[0].correlations
        order = sorted(range(len(names)), key=lambda k: -stokes[names[k]])
        array = np.stack([data.real, data.imag, weights], -1)[:, None, None][..., order, :].astype(np.float32)
        day = np.floor(row["TIME"].min() / 86400)
        if turned:
            row["UVW"] = row["UVW"] @ [
                [np.cos(turned), -np.sin(turned), 0],
                [np.sin(turned), np.cos(turned), 0],
                [0, 0, 1],
            ]
        # (u, v, w) is antenna 1 minus antenna 2 here, in a Measurement Set 2 minus 1.
        pardata = [*(row["UVW"] / C).T, 256 * (row["ANTENNA2"] + 1) + row["ANTENNA1"] + 1.0,
                   np.zeros(len(array)), row["TIME"] / 86400 - day]  # fmt: skip
        parnames = ["UU---SIN", "VV---SIN", "WW---SIN", "BASELINE", "DATE", "DATE"]
        for key, values in {**({"SOURCE": row["FIELD_ID"] + 1.0} if sources else {}), **(parameters or {})}.items():
            parnames, pardata = [*parnames, key], [*pardata, values]
        groups = fits.GroupData(array, bitpix=-32, parnames=parnames, pardata=pardata)
        primary = fits.GroupsHDU(groups)
        first, field = info.windows[0], info.fields[0]
        step = stokes[names[order[1]]] - stokes[names[order[0]]] if len(names) > 1 else -1
        axes = [("COMPLEX", 1.0, 1.0), ("STOKES", stokes[names[order[0]]], step),
                ("FREQ", first.freq[0], first.width[0]), ("IF", 1.0, 1.0), ("RA", np.degrees(field.ra), 1.0),
                ("DEC", np.degrees(field.dec), 1.0)]  # fmt: skip
        for k, (kind, value, increment) in enumerate(axes, 2):
            primary.header.update({f"CTYPE{k}": kind, f"CRVAL{k}": value, f"CDELT{k}": increment, f"CRPIX{k}": 1.0})
        primary.header.update({"OBJECT": field.name, "TELESCOP": info.telescope, "EPOCH": 2000.0})
        known = _aips_tables(info, sources)
        for key, table in known.items():
            table.name = key
        known = tables(known) if tables else known
        path = tmp_path_factory.mktemp("uvfits") / name
        fits.HDUList([primary, *known.values()]).writeto(path)
        for key, value in {"PZERO5": 2400000.5 + day, **(header or {})}.items():
            fits.setval(path, key, value=value)
        return path

    return make


def _aips_tables(info, sources):
    """The tables AIPS AN and FQ, and SU if asked for, of what `read_subtables` gives."""
    from astropy.io import fits

    def table(values):
        return fits.BinTableHDU.from_columns([fits.Column(name, form, array=v) for name, (form, v) in values.items()])

    number, many, first = len(info.antennas), len(info.windows), info.windows[0].freq[0]
    zeros = np.zeros(number)
    known = {
        "AIPS AN": table({
            "ANNAME": ("8A", info.antennas), "STABXYZ": ("3D", info.positions), "NOSTA": ("1J", np.arange(number) + 1),
            "MNTSTA": ("1J", zeros), "STAXOF": ("1E", zeros), "DIAMETER": ("1E", info.dish_diameters),
            "POLTYA": ("1A", ["R"] * number), "POLAA": ("1E", zeros), "POLTYB": ("1A", ["L"] * number),
            "POLAB": ("1E", zeros),
        }),
        "AIPS FQ": table({
            "FRQSEL": ("1J", [1]), "IF FREQ": (f"{many}D", [[w.freq[0] - first for w in info.windows]]),
            "CH WIDTH": (f"{many}E", [[w.width[0] for w in info.windows]]),
            "TOTAL BANDWIDTH": (f"{many}E", [[w.width.sum() for w in info.windows]]),
            "SIDEBAND": (f"{many}J", [[1] * many]),
        }),
    }  # fmt: skip
    known["AIPS FQ"].header["NO_IF"] = many
    if sources:
        fields = info.fields
        known["AIPS SU"] = table({
            "ID. NO.": ("1J", np.arange(len(fields)) + 1), "SOURCE": ("16A", [f.name for f in fields]),
            "RAEPO": ("1D", np.degrees([f.ra for f in fields])), "DECEPO": ("1D", np.degrees([f.dec for f in fields])),
            "EPOCH": ("1D", [2000.0] * len(fields)),
        })  # fmt: skip
    return known


@pytest.fixture
def casa(tmp_path):
    """Runs Python code with CASA in a process of its own, because casacore is in this one; what it prints, as JSON."""
    if importlib.util.find_spec("casatools") is None:
        pytest.skip("casatools is not installed (there are wheels for Linux on x86_64)")
    # CASA asks for tables of the Earth's rotation when it is imported, and images need none.
    (tmp_path / "data" / "geodetic" / "IERSeop2000").mkdir(parents=True)
    (tmp_path / ".casa").mkdir()
    (tmp_path / ".casa" / "config.py").write_text(
        f"measures_auto_update = data_auto_update = False\ndatapath = [{str(tmp_path / 'data')!r}]\n"
        f"logfile = {str(tmp_path / 'casa.log')!r}\n"
    )

    def run(code, *arguments):
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            cwd=tmp_path, env=os.environ | {"HOME": str(tmp_path)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run

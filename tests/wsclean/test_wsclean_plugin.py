"""The RIM as WSClean's minor cycle: called as WSClean calls it, and by WSClean itself."""

import importlib.util
import logging
import os
import shutil
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits

from radrim.errors import ConfigError
from radrim.geometry import crop_centre
from radrim.rim.checkpoint import find_model
from radrim.wsclean.minor import Call, MinorCycles
from radrim.wsclean.options import PluginOptions

SOURCES = ((40, 60, 1.0), (90, 110, 0.3), (70, 30, 0.05))


def make_call(channels=1, squared=False, threshold=0.0, mgain=0.8):
    return Call([1.4e9 + 1e8 * k for k in range(channels)], [100.0] * channels, squared, threshold, 0.1, mgain)


def cycles(**options):
    return MinorCycles(PluginOptions(model=str(find_model("base")), **options), "cpu", None, 1)


def run(minor, skies, call, most=12, rounding=0.0):
    """WSClean's part: exact residuals of (chan, pol) skies until the minor cycle wants no more; models, number."""
    psf = np.stack([crop_centre(chan[0].psf, chan[0].truth.shape) for chan in skies])
    model = np.zeros((len(skies), len(skies[0]), *skies[0][0].truth.shape), np.float32)
    for number in range(1, most + 1):
        residual = np.array(
            [[sky.residual(m) for sky, m in zip(c, mc, strict=True)] for c, mc in zip(skies, model, strict=True)]
        )
        before = model
        model, level, go_on = minor(call, residual, before, psf)
        assert level >= 0
        assert model.shape == before.shape
        if not go_on:
            return model, number
        model = model * np.float32(1 - rounding)
    pytest.fail(f"no end after {most} major cycles")


def rest(sky, model):
    return sky.residual(model).std() / sky.noise


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("width", [0.0, 4.0])
def test_converges_to_the_noise(seen_sky, known, width):
    """Points and extended emission go down to the noise, whether it is told or not, and the flux comes out right.

    WSClean multiplies the model with the PSF's peak, 1 up to rounding, between two calls.
    """
    sky = seen_sky((128, 160), SOURCES, noise=1e-3, width=width)
    minor = cycles(noise=sky.noise) if known else cycles()
    model, number = run(minor, [[sky]], make_call(), rounding=1e-7)
    assert 0.75 < rest(sky, model[0, 0]) < 1.1
    assert number > 1
    assert model.sum() == pytest.approx(sky.truth.sum(), rel=0.1)


def test_state_lives_from_call_to_call(seen_sky, caplog):
    """The minor cycle begins once in a run, and anew for another PSF or a model that is not its own."""
    sky = seen_sky((128, 160), SOURCES)
    minor = cycles(noise=sky.noise)
    with caplog.at_level(logging.INFO, "radrim"):
        run(minor, [[sky]], make_call())
        assert caplog.text.count("radrim deconvolves I") == 1
        run(minor, [[sky]], make_call())
        assert caplog.text.count("radrim deconvolves I") == 2


def test_an_update_that_does_harm_is_undone(seen_sky):
    """An update after which the exact residual is higher is taken back by the next call, which ends the run."""
    sky = seen_sky((128, 160), SOURCES)
    minor = cycles(noise=sky.noise)
    psf = crop_centre(sky.psf, sky.truth.shape)[None]
    nothing = np.zeros((1, 1, *sky.truth.shape), np.float32)
    model, _, go_on = minor(make_call(), sky.dirty[None, None], nothing, psf)
    assert go_on
    assert model.any()
    worse = 3 * sky.dirty[None, None]
    model, _, go_on = minor(make_call(), worse, model, psf)
    assert not go_on
    assert not model.any()


def test_noise_alone_is_left_alone(seen_sky):
    """Without any source nothing is found, though nobody says what the noise is."""
    sky = seen_sky((128, 160), ())
    model, number = run(cycles(), [[sky]], make_call())
    assert number == 1
    assert not model.any()


def test_threshold(seen_sky):
    """No residual above WSClean's threshold: nothing is done; it may change from call to call."""
    sky = seen_sky((128, 160), SOURCES)
    psf = crop_centre(sky.psf, sky.truth.shape)[None]
    nothing = np.zeros((1, 1, *sky.truth.shape), np.float32)
    minor = cycles(noise=sky.noise)
    model, _, go_on = minor(make_call(threshold=10.0), sky.dirty[None, None], nothing, psf)
    assert not go_on
    assert not model.any()


def test_mask(seen_sky):
    """The model stays 0 outside the mask."""
    sky = seen_sky((128, 160), SOURCES)
    mask = np.zeros(sky.truth.shape, bool)
    mask[20:60, 40:80] = True
    options = PluginOptions(model=str(find_model("base")), noise=sky.noise)
    model, _ = run(MinorCycles(options, "cpu", mask, 1), [[sky]], make_call())
    assert model[0, 0][mask].sum() == pytest.approx(1.0, rel=0.1)
    assert not model[0, 0][~mask].any()


def test_joined_channels(seen_sky):
    """Joined channels get a common spectrum, and all their residuals end near the noise."""
    spectrum = (1.2, 1.0, 0.8)
    skies = [[seen_sky((128, 160), [(y, x, s * f) for y, x, s in SOURCES], seed=0)] for f in spectrum]
    model, _ = run(cycles(noise=skies[0][0].noise / np.sqrt(3)), skies, make_call(3), most=20)
    assert [m.sum() for m in model[:, 0]] == pytest.approx([1.35 * f for f in spectrum], rel=0.1)
    assert all(rest(sky[0], m[0]) < 1.5 for sky, m in zip(skies, model, strict=True))


def test_squared_channels_by_themselves(seen_sky):
    """Channels that are joined by their squares need not have smooth spectra."""
    skies = [[seen_sky((128, 160), [(40, 60, f)])] for f in (1.0, 0.1, 0.9)]
    minor = cycles(noise=skies[0][0].noise)
    model, _ = run(minor, skies, make_call(3, squared=True), most=20)
    assert [m.sum() for m in model[:, 0]] == pytest.approx([1.0, 0.1, 0.9], rel=0.1)


def test_polarisations(seen_sky):
    """Stokes I is positive; Q beside it may be negative."""
    skies = [[seen_sky((128, 160), SOURCES), seen_sky((128, 160), ((40, 60, -0.2),))]]
    minor = cycles(noise=skies[0][0].noise, pol=("I", "Q"))
    model, _ = run(minor, skies, make_call(), most=20)
    assert model[0, 0].sum() == pytest.approx(1.35, rel=0.1)
    assert model[0, 1].sum() == pytest.approx(-0.2, rel=0.1)


@pytest.mark.parametrize(
    "call, pol, message",
    [
        ({"mgain": 1.0}, ("I",), "-mgain is 1: .* -mgain 0.8"),
        ({}, ("I", "Q"), "WSClean deconvolves 1 polarisations .* was made for I,Q: .* --pol"),
    ],
)
def test_settings_that_do_not_do(seen_sky, call, pol, message):
    """What WSClean was told and the RIM cannot do is said, with what to change."""
    sky = seen_sky((128, 160), SOURCES)
    with pytest.raises(ConfigError, match=message):
        run(cycles(pol=pol), [[sky]], make_call(**call))


@pytest.fixture
def plugin(command, tmp_path):
    """Path of a plug-in as `radrim plugin` writes it."""
    answer = command("plugin", "--output", tmp_path / "plugin.py", "--threads", 1)
    assert answer.status == 0
    assert answer.out.strip() == str(tmp_path / "plugin.py")
    return tmp_path / "plugin.py"


def test_as_wsclean_calls_it(plugin, seen_sky, monkeypatch):
    """The file works by itself: it starts radrim, which answers, says what is wrong, and ends."""
    monkeypatch.setenv("PYTHONHOME", "/nowhere")  # of WSClean's interpreter
    spec = importlib.util.spec_from_file_location("plugin", plugin)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sky = seen_sky((128, 160), SOURCES)
    channel = SimpleNamespace(frequency=1.4e9, weight=1.0)
    meta = SimpleNamespace(
        channels=[channel], square_joined_channels=False, final_threshold=0.0, gain=0.1, mgain=0.8, iteration_number=0
    )
    images = sky.dirty[None, None].astype(float), np.zeros((1, 1, *sky.truth.shape)), np.asarray(sky.psf[None], float)
    psf = crop_centre(sky.psf, sky.truth.shape)[None].astype(float)
    answer = module.deconvolve(*images[:2], psf, meta)
    assert set(answer) == {"residual", "model", "level", "continue"}
    assert answer["continue"] is True
    assert answer["model"].dtype == np.float64
    assert answer["model"].max() > 0.1
    assert meta.iteration_number == 1
    meta.mgain = 1.0
    with pytest.raises(RuntimeError, match="-mgain is 1"):
        module.deconvolve(*images[:2], psf, meta)
    process = module._process
    module._stop()
    assert process.returncode == 0


def test_one_file_for_one_set_of_options(command, tmp_path, monkeypatch):
    """Without --output the file lies in the cache; the same options give the same file, others another."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    one, same, other = (command("plugin", *words).out.strip() for words in ((), (), ("--pol", "I,Q")))
    assert one == same != other
    assert os.path.exists(one)
    assert one.startswith(str(tmp_path))


@pytest.mark.parametrize(
    "words, message",
    [
        (("--pol", "I,P"), "--pol I,P: 'P' is none of"),
        (("--mask", "none.fits"), "--mask none.fits does not exist"),
        (("--model", "none"), "There is no model 'none'"),
        (("--threads", "0"), "--threads"),
    ],
)
def test_options_that_do_not_do(command, words, message):
    """Wrong options are found when the plug-in is made, not within WSClean."""
    answer = command("plugin", *words)
    assert answer.status == 2
    assert message in answer.err


def test_through_wsclean(plugin, make_ms, tmp_path):
    """WSClean itself, with the RIM as its minor cycle, finds the source and leaves the noise."""
    if shutil.which("wsclean") is None:
        pytest.skip("wsclean is not on the PATH")
    ms = make_ms(noise=0.05)
    words = "-j 1 -no-update-model-required -size 128 128 -scale 4asec -weight natural -niter 100 -mgain 0.8"
    process = subprocess.run(
        ["wsclean", *words.split(), "-python-deconvolution", str(plugin), "-name", str(tmp_path / "w"), str(ms)],
        capture_output=True, text=True, check=False, env={**os.environ, "PATH": f"/usr/bin:/bin:{os.environ['PATH']}"},
    )  # fmt: skip
    if "No module named 'numpy'" in process.stdout + process.stderr:
        pytest.skip("the Python inside this wsclean has no numpy")
    assert process.returncode == 0, process.stdout + process.stderr
    assert "radrim deconvolves I" in process.stderr
    residual, model = (fits.getdata(tmp_path / f"w-{kind}.fits").squeeze() for kind in ("residual", "model"))
    dirty = fits.getdata(tmp_path / "w-dirty.fits").squeeze()
    assert model.sum() == pytest.approx(1.0, rel=0.1)
    assert np.abs(residual).max() < 0.1 * dirty.max()

"""radrim's options in WSClean's words, and what it cannot do in the same way."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from radrim.config.options import ImageConfig
from radrim.errors import PeerError
from radrim.runtime.process import Finished
from radrim.wsclean import command as wsclean


def target(fields=(0,), names=("A",), correlations=(("XX", "YY"),), tables="obs.ms"):
    """What `radrim.read.pointings.choose_target` gives, as far as the translation looks."""
    windows = [SimpleNamespace(spw=k, correlations=list(c)) for k, c in enumerate(correlations)]
    ms = SimpleNamespace(path="obs.ms", tables=tables, fields=names, windows=windows)
    return SimpleNamespace(fields=list(fields), ms=ms)


def words(*targets, ms="obs.ms", **options):
    """The translation as one text."""
    config = ImageConfig.parse(ms, {"size": 256, "scale": "4asec", "threads": 2, **options})
    return " ".join(wsclean.translate(config, targets or [target()], "out/a")[0])


def test_defaults_are_said_explicitly():
    """radrim's defaults are not WSClean's: Briggs, all CLEAN settings, the accurate gridder, equal threads."""
    assert words() == (
        "-j 2 -no-update-model-required -reorder -temp-dir out/a.tmp -use-wgridder -no-small-inversion "
        "-wgridder-accuracy 0.0001 -name out/a -size 256 256 -scale 4asec -weight briggs 0 -padding 1.2 -pol I "
        "-niter 2000000 -nmiter 20 -gain 0.1 -mgain 0.8 -auto-mask 3 -auto-threshold 0.5 -multiscale obs.ms"
    )


def test_uvfits_is_refused():
    """WSClean does not read what radrim converted for itself."""
    with pytest.raises(PeerError, match="radrim convert"):
        words(target(tables="obs.radrim/converted/0000.ms"))


@pytest.mark.parametrize(
    "options, expected",
    [
        ({"weight": "uniform", "taper": "2amin"}, "-weight uniform -padding 1.2 -taper-gaussian 2amin"),
        ({"data_column": "DATA", "spw": "0,2", "pol": "V"}, "-pol V -data-column DATA -spws 0,2"),
        ({"minuv_l": 100, "maxuv_l": 2.5e4}, "-minuv-l 100 -maxuv-l 25000"),
        ({"chan_range": (2, 7)}, "-channel-range 2 7"),
        ({"channels_out": 4}, "-channels-out 4 -mf-weighting"),
        ({"channels_out": 4, "spectral_terms": 2}, "-channels-out 4 -join-channels -fit-spectral-pol 2"),
        ({"niter": 500, "max_major": 7, "gain": 0.05, "mgain": 0.6}, "-niter 500 -nmiter 7 -gain 0.05 -mgain 0.6"),
        ({"auto_threshold": 2}, "-auto-mask 3 -auto-threshold 2 -multiscale"),
        ({"auto_threshold": 0, "threshold": 1e-3}, "-auto-mask 3 -threshold 0.001"),
        ({"mask": "m.fits", "multiscale": False}, "-auto-threshold 0.5 -fits-mask m.fits obs.ms"),
        ({"memory": "2GB"}, "-abs-mem 2 "),
        ({"scale": "4masec"}, "-scale 4masec"),
        ({"scale": "250uasec", "size": 1024}, "-scale 0.25masec"),
    ],
)
def test_options_have_their_counterparts(options, expected):
    """Each option of radrim becomes WSClean's, with the same value."""
    assert expected in words(**options)


def test_multiscale_is_off_where_it_is_off():
    """--no-multiscale is WSClean's default, which has no word."""
    assert "-multiscale" not in words(multiscale=False)


@pytest.mark.parametrize(
    "targets, options, expected",
    [
        ([target(names=("A", "B"), fields=(1,))], {}, "-field 1"),  # the one with most rows, not the first
        ([target(names=("A", "B"), fields=(0, 1))], {"field": "A,B"}, "-field 0,1"),
        ([target()], {}, None),
    ],
)
def test_fields_are_said_by_their_numbers(targets, options, expected):
    """WSClean takes the first field and knows no names; radrim's choice is passed on."""
    text = words(*targets, **options)
    assert expected in text if expected else "-field" not in text


def test_one_hand_alone_is_stokes_i_in_both():
    """WSClean refuses Stokes I of LL alone; it gets -pol LL, and a note says so."""
    config = ImageConfig.parse("obs.ms", {"size": 256, "scale": "4asec", "threads": 1})
    text, notes = wsclean.translate(config, [target(correlations=(("LL",), ("LL",)))], "a")
    assert "-pol LL" in " ".join(text)
    assert "one hand only" in notes[0]


@pytest.mark.parametrize(
    "targets, options, named",
    [
        ([target()], {"time_range": ("2020-01-01", "2020-01-02")}, "--time-range"),
        ([target()], {"contsub": 0}, "--contsub"),
        ([target()], {"outframe": "LSRK"}, "--outframe"),
        ([target()], {"abs_weights": True}, "--abs-weights"),
        ([target()], {"pb": "airy"}, "--pb"),
        ([target()], {"pol": "XY"}, "--pol"),
        ([target(correlations=(("XX", "YY"),) * 2)], {"chan_range": (0, 2)}, "--chan-range"),
        ([target(correlations=(("LL",), ("RR", "LL")))], {}, "--pol"),
        ([target(names=("A", "B"), fields=(0,)), target(names=("A", "B"), fields=(1,))], {}, "--field"),
    ],
)
def test_what_it_cannot_do_is_refused(targets, options, named):
    """The message names the option and the way out."""
    with pytest.raises(PeerError, match=f"cannot do {named} .*--peer clean"):
        words(*targets, ms=["a.ms"] * len(targets), **options)


def test_tiny_fields_use_another_gridder():
    """Below 2.5 mas its w-gridder makes NaN: w-stacking instead, with a note."""
    config = ImageConfig.parse("obs.ms", {"size": 128, "scale": "0.002masec", "threads": 1})
    text, notes = wsclean.translate(config, [target()], "a")
    assert "-use-wgridder" not in text
    assert "-kernel-size" in text
    assert any("w-stacking" in note for note in notes)
    wider = replace(config, scale=20 * config.scale)
    assert "-use-wgridder" in wsclean.translate(wider, [target()], "a")[0]


def install(folder, monkeypatch, script):
    """A program called wsclean, alone on the PATH."""
    path = folder / "bin" / "wsclean"
    path.parent.mkdir()
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(path.parent))


@pytest.mark.parametrize(
    "script, message",
    [("echo 'WSClean version 2.9.1 (2020)'", "version 2.9.1; WSClean 3.x"), ("exit 1", "does not say its version")],
)
def test_other_versions_are_refused(tmp_path, monkeypatch, script, message):
    """Older ones lack options that are needed; something else of that name is told from it."""
    install(tmp_path, monkeypatch, script)
    with pytest.raises(PeerError, match=message):
        wsclean.find_wsclean()


def test_version_is_found(tmp_path, monkeypatch):
    """As it prints it."""
    install(tmp_path, monkeypatch, "echo; echo 'WSClean version 3.4.1 (2025)'")
    assert wsclean.find_wsclean() == "3.4.1"


def test_missing_program_says_what_to_do(tmp_path, monkeypatch):
    """Neither a traceback nor a shell's message."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PeerError, match=r"no wsclean on the PATH.*--peer clean"):
        wsclean.find_wsclean()


def test_failure_quotes_the_last_lines():
    """Of a long output the end; status or time, and that radrim's images are kept."""
    text = "\n".join(f"line {k}" for k in range(100)) + "\nToo bad!\n\n"
    failed = str(wsclean.explain_failure(Finished(1, 1, 1, 134, False, text), None, "a.log"))
    assert "status 134" in failed
    assert "a.log" in failed
    assert "kept" in failed
    assert "| Too bad!" in failed
    assert "| line 98" in failed
    assert "line 50" not in failed
    stopped = str(wsclean.explain_failure(Finished(9, 1, 1, -9, True, text), 9.0, "a.log"))
    assert "stopped after 9 s" in stopped
    assert "--peer-limit" in stopped

"""Options of WSClean and parameters of tclean: each has a row, and commands of both are translated."""

import itertools
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from radrim.cli.imaging import parse_config
from radrim.cli.parser import build_parser
from radrim.cli.spelling import known_options, wsclean_spelling
from radrim.config.options import ImageConfig
from radrim.config.translation import casa_rows, pages, wsclean_rows
from radrim.config.translation.casa import translate_tclean
from radrim.config.translation.row import Kind
from radrim.config.translation.wsclean import to_radrim_words, translate_wsclean
from radrim.config.values import Weighting
from radrim.errors import ConfigError

DOCS = Path(__file__).resolve().parents[2] / "docs"
WSCLEAN = list(wsclean_rows.BY_NAME.values())
TCLEAN = list(casa_rows.BY_NAME.values())


def config_of(translation):
    """What `radrim image` understands of a translated command."""
    return parse_config(build_parser().parse_args(wsclean_spelling(translation.words[1:])))


def test_every_option_of_wsclean_has_a_row():
    """The table has the options of WSClean's help, and no others."""
    if shutil.which("wsclean") is None:
        pytest.skip("WSClean is not installed")
    text = subprocess.run(["wsclean"], capture_output=True, text=True, check=False).stdout
    lines = [line for line in text.splitlines() if re.match("-[a-z]", line)]
    names = {name for line in lines for name in re.findall(r"(?:^|and |/ |or )-([a-z][a-z0-9-]*)", line)}
    assert names == set(wsclean_rows.BY_NAME)


def test_every_parameter_of_tclean_has_a_row():
    """The table has tclean's parameters in its order, with its defaults."""
    casatasks = pytest.importorskip("casatasks")
    import inspect

    known = inspect.signature(type(casatasks.tclean).__call__).parameters
    defaults = {name: one.default for name, one in known.items() if name != "self"}
    assert {row.name: row.default for row in TCLEAN} == defaults


@pytest.mark.parametrize("row", [*WSCLEAN, *TCLEAN], ids=lambda row: row.name)
def test_rows_say_what_to_do(row):
    """What is left out or refused has a reason; other options name radrim's."""
    if row.kind in (Kind.SAME, Kind.OTHER):
        assert row.radrim
    else:
        assert row.note
    assert not row.note.endswith(".")


@pytest.mark.parametrize("row", [*WSCLEAN, *TCLEAN], ids=lambda row: row.name)
def test_rows_name_options_that_exist(row):
    """Options that a row names are options of some radrim command."""
    known = {f"--{name}" for name in known_options()} | {"--noise"}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", f"{row.radrim} {row.note}")) <= known


@pytest.mark.parametrize("row", WSCLEAN, ids=lambda row: row.name)
def test_each_option_alone(row):
    """Within `radrim image` each option of WSClean is read, left out with a note, or refused with its reason."""
    values = ["1"] * row.values
    words = ["image", f"-{row.name}", *values, "obs.ms"]
    if row.kind.refused:
        with pytest.raises(ConfigError, match=re.escape(row.note)):
            to_radrim_words(words, known_options())
        return
    out, notes = to_radrim_words(words, known_options())
    assert out[0] == "image"
    assert out[-1] == "obs.ms"
    if row.kind is Kind.LEFT_OUT:
        assert out == ["image", "obs.ms"]
        assert row.note in notes[0]


def test_many_flags_of_wsclean_give_one_note_each():
    """Harmless flags are named in one note, translated ones in another; the rest of the command stays as it is."""
    flags = "-abs-mem 8 -reorder -no-reorder -use-wgridder -parallel-gridding 4 -mem 50"
    words = ["image", *flags.split(), "-niter", "0", "obs.ms"]
    out, notes = to_radrim_words(words, known_options())
    assert out == ["image", "--memory", "8GB", "--memory", "50%", "-niter", "0", "obs.ms"]
    assert len(notes) == 2
    assert all(word in notes[1] for word in ("-reorder", "-no-reorder", "-use-wgridder", "-parallel-gridding"))


def test_radrims_own_options_are_left_alone():
    """Without WSClean's options nothing changes and nothing is said."""
    words = ["image", "obs.ms", "--size", "64", "64", "--scale", "1asec", "--weight", "briggs", "-0.5", "--no-cube"]
    assert to_radrim_words(words, known_options()) == (words, [])


def test_angles_without_a_unit_have_wscleans():
    """WSClean's -scale is in degrees and its taper in arcsec; radrim's --scale needs a unit."""
    out, _ = to_radrim_words(["image", "-scale", "0.001", "-taper-gaussian", "5"], known_options())
    assert out == ["image", "--scale", "0.001deg", "--taper-gaussian", "5asec"]
    double = ["image", "--scale", "0.001"]
    assert to_radrim_words(double, known_options())[0] == double


@pytest.mark.parametrize(
    "flags, terms",
    [
        ("-join-channels -channels-out 6", "2"),
        ("-join-channels -channels-out 6 -fit-spectral-pol 3", "3"),
        ("-join-channels", None),
        ("-join-channels -channels-out 6 -pol Q", None),
    ],
)
def test_joined_channels(flags, terms):
    """Joined channels become spectra of two terms, unless another option says how many or there is nothing to join."""
    options = translate_wsclean(f"wsclean {flags} -niter 10 a.ms").options
    found = [b for a, b in itertools.pairwise(options) if a in ("--spectral-terms", "--fit-spectral-pol")]
    assert found == ([] if terms is None else [terms])


def test_a_command_of_wsclean():
    """A usual command gives the same settings, with WSClean's defaults where radrim's differ."""
    done = translate_wsclean(
        "mpirun -np 2 wsclean -abs-mem 8 -size 1024 512 -scale 2asec \\\n -niter 1000 -mgain 0.9 -channels-out 4 "
        "-interval 3 9 -minuv-l 100 -data-column DATA -shift 1h -2d -save-uv -no-update-model-required a.ms b.ms "
        "# twice"
    )
    config = config_of(done)
    assert config == ImageConfig.parse(
        ["a.ms", "b.ms"],
        {"memory": "8GB", "size": (1024, 512), "scale": "2asec", "niter": 1000, "mgain": 0.9, "channels_out": 4,
         "interval": (3, 9), "minuv_l": 100, "data_column": "DATA", "weight": "uniform", "name": "wsclean",
         "shift": ("1h", "-2d")},
    )  # fmt: skip
    assert len(done.missing) == 1
    assert "uv plane" in done.missing[0]


def test_a_dirty_image_of_wsclean():
    """Without -niter WSClean makes a dirty image."""
    assert config_of(translate_wsclean("wsclean -size 64 64 a.ms")).niter == 0


def test_a_prediction_of_wsclean():
    """-predict becomes radrim predict."""
    done = translate_wsclean("wsclean -predict -name sky -j 4 -channels-out 8 a.ms")
    assert done.words == ["radrim", "predict", "a.ms", "--name", "sky", "--threads", "4"]


def test_a_call_of_tclean():
    """A usual call gives the same settings, with tclean's defaults where radrim's differ."""
    config = config_of(
        translate_tclean(
            "mine = 'a.ms'\n"
            "tclean(vis=[mine, 'b.ms'], imagename='m51', imsize=511, cell=['2arcsec'], niter=100,"
            "threshold='1mJy', weighting='briggs', robust=-0.5, spw='2~3', uvrange='>1klambda', datacolumn='data',"
            "timerange='2010/04/24/08:00:00~09:30:00', pbcor=True, pblimit=-0.1, nsigma=4, stokes='IV')"
        )
    )
    assert config == ImageConfig.parse(
        ["a.ms", "b.ms"],
        {"name": "m51", "size": 512, "scale": "2asec", "niter": 100, "threshold": 0.001, "weight": "briggs -0.5",
         "spw": "2,3", "minuv_l": 1000, "data_column": "DATA", "pb": "auto", "pb_limit": 0.1, "auto_threshold": 4,
         "time_range": ("2010-04-24T08:00:00", "2010-04-24T09:30:00"), "pol": "I,V"},
    )  # fmt: skip


def test_defaults_of_tclean():
    """tclean alone makes a dirty image with natural weights."""
    config = config_of(translate_tclean("from casatasks import tclean\ntclean('a.ms')"))
    assert (config.niter, config.weight) == (0, Weighting("natural"))


@pytest.mark.parametrize(
    "parameter, words",
    [
        ("specmode='cube', nchan=64, start=10, width=2", "--chan-range 10 138 --channels-out 64 --cube"),
        ("deconvolver='mtmfs', niter=5", "--channels-out 8 --spectral-terms 2"),
        ("spw='1:10~19'", "--spw 1 --chan-range 10 20"),
        ("uvtaper=['91klambda']", "--taper 1asec"),
        ("uvtaper=['5arcsec', '5arcsec', '0deg']", "--taper 5arcsec"),
        ("uvrange='1~5klambda'", "--minuv-l 1klambda --maxuv-l 5klambda"),
        ("gridder='mosaic', field='2~24'", "--field 2~24"),
        ("gridder='mosaic'", "--pb auto"),
        ("deconvolver='mem'", "--solver entropy"),
        ("nmajor=3", "--max-major 3"),
    ],
)
def test_parameters_of_tclean(parameter, words):
    """Values are converted to radrim's units and ranges."""
    options = " ".join(translate_tclean(f"tclean(vis='a.ms', {parameter})").options)
    assert all(part in options for part in re.findall("--.*?(?= --|$)", words))


@pytest.mark.parametrize(
    "text, message",
    [
        ("tclean(vis='a.ms', nitre=5)", "did you mean 'niter'"),
        ("tclean(vis=open('x').read())", "is not written out"),
        ("tclean(vis='a.ms'", "not valid Python"),
        ("tclean(**p)", "write them out"),
        ("print(1)", "no call of tclean"),
        ("tclean(vis={})", "not a value that tclean takes"),
    ],
)
def test_calls_that_cannot_be_read(text, message):
    """The call is parsed and never run, and what cannot be read is named."""
    with pytest.raises(ConfigError, match=re.escape(message)):
        translate_tclean(text)


@pytest.mark.parametrize(
    "text, message",
    [
        ("wsclean -nitre 5 a.ms", "did you mean 'niter'"),
        ("wsclean -size 5", "takes 2 values"),
        ("casa a.ms", "no wsclean"),
        ("wsclean -name 'a", "close all quotes"),
    ],
)
def test_commands_that_cannot_be_read(text, message):
    """Options that WSClean does not have, and values that are missing, are named."""
    with pytest.raises(ConfigError, match=re.escape(message)):
        translate_wsclean(text)


@pytest.mark.parametrize("page, tables", [("from_wsclean", pages.wsclean_tables), ("from_casa", pages.tclean_tables)])
def test_pages_show_the_tables(page, tables):
    """The pages end with the tables, as `python -m radrim.config.translation.pages` prints them."""
    assert (DOCS / f"{page}.md").read_text().endswith(tables())

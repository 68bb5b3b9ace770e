import dataclasses
import inspect
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radrim.angles import ARCSEC
from radrim.api import image
from radrim.config.files import load_toml
from radrim.config.options import ImageConfig
from radrim.config.values import Weighting
from radrim.errors import ConfigError, InputError
from radrim.write.run_toml import write_run_toml


def parse(**values):
    return ImageConfig.parse("obs.ms", values)


def test_defaults_are_briggs_0_and_stokes_i():
    """Nothing given: Briggs 0, Stokes I, the RIM, and what radrim chooses itself stays open."""
    config = parse()
    assert (config.weight, config.pol, config.solver) == (Weighting("briggs", 0.0), "I", "rim")
    assert (config.size, config.scale, config.name, config.data_column) == (None,) * 4


@pytest.mark.parametrize(
    "text, expected",
    [
        ("natural", Weighting("natural")),
        ("UNIFORM", Weighting("uniform")),
        ("briggs", Weighting("briggs", 0.0)),
        ("briggs -0.5", Weighting("briggs", -0.5)),
        (["briggs", 1], Weighting("briggs", 1.0)),
    ],
)
def test_weight_spellings(text, expected):
    """Text and lists, in any case, mean the same weighting."""
    assert parse(weight=text).weight == expected


@pytest.mark.parametrize(
    "value, expected", [(512, (512, 512)), ("512 256", (512, 256)), ([512, 256], (512, 256)), ("64,32", (64, 32))]
)
def test_size_spellings(value, expected):
    """One number is a square; text, lists and commas do."""
    assert parse(size=value).size == expected


@pytest.mark.parametrize(
    "option, value, words",
    [
        ("size", "511 512", ["--size 511 512", "even", "use 512 instead of 511"]),
        ("size", "16", ["--size 16", "at least 32"]),
        ("size", "1 2 3", ["width and height", "1 2 3"]),
        ("size", 64.5, ["whole number", "64.5"]),
        ("size", math.inf, ["whole number", "inf"]),
        ("scale", "1", ["no unit", "1asec"]),
        ("scale", 1.0, ["no unit"]),
        ("scale", "1parsec", ["unknown unit", "parsec", "asec"]),
        ("scale", "-1asec", ["-1asec", "above 0"]),
        ("scale", "90deg", ["below 1 radian"]),
        ("scale", "wide", ["wide", "not an angle"]),
        ("weight", "robust 0", ["robust 0", "natural, uniform, or briggs"]),
        ("weight", "briggs 3", ["3", "at least -2 and at most 2"]),
        ("weight", "briggs x", ["number", "x"]),
        ("niter", "1e3", ["--niter", "whole number", "1e3"]),
        ("niter", -1, ["-1", "at least 0"]),
        ("niter", True, ["whole number", "True"]),
        ("gain", 0, ["--gain 0", "above 0 and at most 1"]),
        ("mgain", 1.5, ["1.5", "at most 1"]),
        ("threshold", math.nan, ["--threshold", "at least 0"]),
        ("pol", "W", ["W", "I, Q, U, V"]),
        ("solver", "magic", ["magic", "rim, clean"]),
        ("multiscale", "yes", ["true or false", "yes"]),
        ("chan_range", "5 5", ["5 5", "start must be below the end"]),
        ("chan_range", "5", ["start and an end"]),
        ("contsub", 6, ["--contsub 6", "at most 5"]),
        ("contsub_channels", "1 2 3", ["a START and an END", "1 2 3"]),
        ("contsub_channels", "1 2 4 4", ["the range 4 4 is empty"]),
        ("contsub_channels", "1 2", ["--contsub-channels names the channels that --contsub"]),
        ("spw", "", ["--spw", "0,2"]),
        ("epsilon", 1, ["at most 0.01"]),
        ("mask", 1.5, ["--mask", "1.5"]),
        ("name", "", ["--name"]),
    ],
)
def test_wrong_values_are_named(option, value, words):
    """What is wrong, the value found and what is allowed stand in the message."""
    with pytest.raises(ConfigError) as error:
        parse(**{option: value})
    for word in words:
        assert word in str(error.value)


def test_unknown_option_suggests_the_nearest():
    """A slip of the pen gets the right name back."""
    with pytest.raises(ConfigError, match="unknown option 'wieght'; did you mean 'weight'"):
        parse(wieght="natural")


@pytest.mark.parametrize("ms", [5, ["a.ms", 3], {"a.ms": 1}])
def test_measurement_sets_are_paths(ms):
    """Anything but a path or a list of paths is refused, as a TOML file can hold anything."""
    with pytest.raises(ConfigError, match="path of a Measurement Set"):
        ImageConfig.parse(ms, {})


def test_no_measurement_set_is_refused():
    """An empty list says how to give one."""
    with pytest.raises(ConfigError, match=r"No Measurement Set given; write radrim image OBS\.ms"):
        ImageConfig.parse([], {})


def test_uv_limits_must_leave_something():
    """The lower limit above the upper one leaves nothing."""
    with pytest.raises(ConfigError, match="--minuv-l 100 is not below --maxuv-l 50"):
        parse(minuv_l=100, maxuv_l=50)


def test_auto_threshold_alone_raises_the_mask():
    """`--auto-threshold 5`, WSClean's habit, cleans down to 5 sigma; a mask asked for below it is a contradiction."""
    assert parse(auto_threshold=5).auto_mask == 5
    assert parse(auto_threshold=1).auto_mask == ImageConfig.auto_mask
    with pytest.raises(ConfigError, match="--auto-mask 3 is below --auto-threshold 5"):
        parse(auto_threshold=5, auto_mask=3)


@given(
    scale=st.floats(1e-12, 0.5),
    robust=st.floats(-2, 2),
    size=st.tuples(st.integers(16, 1000), st.integers(16, 1000)),
    gain=st.floats(1e-6, 1),
)
def test_settings_survive_text(scale, robust, size, gain):
    """Written out and parsed again, the settings are the same to the last bit, or a repeated run would differ."""
    config = ImageConfig.parse(
        "a.ms",
        {"scale": f"{scale!r}rad", "weight": f"briggs {robust:.6g}", "size": [2 * n for n in size], "gain": gain},
    )
    text = config.as_text()
    assert ImageConfig.parse(text.pop("ms"), text) == config


def test_resolved_settings_survive_a_file(tmp_path):
    """Every kind of option comes back from the TOML file that a run leaves."""
    config = parse(
        weight="uniform", taper="5asec", field=1, spw="0,2", chan_range="1 3", minuv_l=10, multiscale=False,
        time_range="2020-01-01T00:00:00 2020-01-02T00:00:00", mask="m.fits", auto_threshold=3, threads=2,
        contsub=0, contsub_channels="0 3 5 9",
    )  # fmt: skip
    config = config.resolved((64, 32), 3 * ARCSEC, "out/x")
    write_run_toml(tmp_path / "run.toml", config.as_text() | {"run": {"command": "radrim image"}})
    values = load_toml(tmp_path / "run.toml")
    assert ImageConfig.parse(values.pop("ms"), values) == config
    assert values["scale"] == "3asec"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"size": (128, 64), "scale": "1.2345678901asec", "weight": "briggs -0.5", "multiscale": False, "pb": "gauss"},
        {"spw": (0, 2), "chan_range": (1, 5), "contsub": 1, "contsub_channels": (0, 2, 4, 6), "field": "2~4"},
        {"time_range": ("2020-01-01T00:00:00", "2020-01-02"), "memory": "2GB", "channels_out": 3, "solver": "clean"},
        {"field": "-1", "model": "-m", "maxuv_l": 1e5, "auto_threshold": 5},
    ],
)
def test_arguments_say_what_the_configuration_says(options):
    """The command line of a configuration, read again, is the same configuration."""
    from radrim.cli.imaging import parse_config
    from radrim.cli.parser import build_parser
    from radrim.cli.spelling import wsclean_spelling

    config = ImageConfig.parse(["a.ms", "b.ms"], {"name": "x", "threads": 2, **options})
    args = build_parser().parse_args(wsclean_spelling(["image", *config.as_arguments()]))
    assert parse_config(args) == config


@pytest.mark.parametrize("text", ["0.2masec", "20uasec", "4asec", "0.7amin", "2deg", "59masec", "44asec"])
def test_angles_are_written_as_they_were_given(text):
    """No "9.7e-10rad" in the settings where the user wrote 0.2masec."""
    assert parse(scale=text).as_text()["scale"] == text


def test_toml_times_without_quotes(tmp_path):
    """TOML has times of its own; they mean what the same text means."""
    (tmp_path / "a.toml").write_text("time-range = [2020-01-01T00:00:00, 2020-01-02T00:00:00]")
    config = ImageConfig.parse("a.ms", load_toml(tmp_path / "a.toml"))
    assert config.time_range == ("2020-01-01 00:00:00", "2020-01-02 00:00:00")


@pytest.mark.parametrize(
    "text, kind, words",
    [
        ("robust = 0", ConfigError, ["unknown key 'robust'", "a.toml"]),
        ("wieght = 'natural'", ConfigError, ["unknown key 'wieght'", "did you mean 'weight'"]),
        ("[versions]\ntorch = '2'", ConfigError, ["unknown key 'versions'"]),
        ("size = [", InputError, ["a.toml", "not valid TOML"]),
    ],
)
def test_bad_toml_is_refused(tmp_path, text, kind, words):
    """Unknown keys, tables and broken files are named together with the file."""
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(kind) as error:
        load_toml(tmp_path / "a.toml")
    for word in words:
        assert word in str(error.value)


def test_missing_toml_is_refused(tmp_path):
    """A file that is not there is said to be missing."""
    with pytest.raises(InputError, match=r"none.toml cannot be read: No such file"):
        load_toml(tmp_path / "none.toml")


def test_toml_takes_dashes_and_underscores(tmp_path):
    """`channels-out` and `channels_out` are the same key."""
    (tmp_path / "a.toml").write_text("channels_out = 2\ndata-column = 'DATA'")
    config = ImageConfig.parse("a.ms", load_toml(tmp_path / "a.toml"))
    assert (config.channels_out, config.data_column) == (2, "DATA")


def test_python_call_has_every_option():
    """`radrim.image` takes exactly the options of the command, all of them optional."""
    parameters = dict(inspect.signature(image).parameters)
    assert parameters.pop("ms").default is inspect.Parameter.empty
    assert set(parameters) == {field.name for field in ImageConfig.options().values()} | {"quiet"}
    assert all(p.default is None and p.kind is p.KEYWORD_ONLY for p in parameters.values())


def test_fields_of_another_dataclass():
    """Options of the same names are taken, other fields keep their defaults."""

    @dataclasses.dataclass(frozen=True)
    class Some:
        gain: float = 0.5
        threshold: float = 1.0
        other: int = 3

    assert parse(gain=0.2).fields_of(Some) == {"gain": 0.2, "threshold": 0.0}

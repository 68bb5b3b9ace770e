"""Every pair of options either works or is refused with its reason, as docs/option_pairs.md says."""

import io
import itertools
import sys
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import radrim
from radrim.config.options import ImageConfig
from radrim.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "pipelines"))
import option_pairs  # noqa: E402 - a script, not part of the package

VALUES = {
    "facet": 64, "channels_out": 2, "spectral_terms": 2, "cube": True, "pol": "Q", "pb": "airy", "solver": "clean",
    "niter": 0, "compare": True, "start_model": "start-model.fits", "continue_run": True, "mask": "mask.fits",
    "uncertainty": True, "contsub": 0, "data": "closure", "scheduler": "tcp://127.0.0.1:1", "cluster": "slurm",
    "holdout": 0.1, "update_model": True, "phase_centre": "+24asec -12asec",
    "beam_shape": "40asec 36asec 20deg", "common_beam": True,
}  # fmt: skip
"""How each mode is used."""

NEEDS = {"cube": {"channels_out": 2}, "common_beam": {"channels_out": 2}, "spectral_terms": {"channels_out": 4}}
"""What an option needs beside it."""

ELSEWHERE = ("--scheduler", "--cluster", "--data closure", "--solver entropy")
"""Modes that need a cluster or VLBI data, or take long: their pairs are checked without being run."""

SOLVERS = {"--solver clean", "--solver entropy"}

PAIRS = [pair for pair in itertools.combinations(option_pairs.MODES, 2) if set(pair) != SOLVERS]


def value_of(mode):
    """Value of the option of a mode."""
    return "entropy" if mode == "--solver entropy" else VALUES[option_pairs.MODES[mode]]


def options_of(*modes):
    """The options of modes, and what these need."""
    chosen = {}
    for mode in modes:
        name = option_pairs.MODES[mode]
        chosen |= NEEDS.get(name, {}) | {name: value_of(mode)}
    if "spectral_terms" in chosen:
        chosen["channels_out"] = 4
    return chosen


def why_excluded(*modes):
    """The reason why modes, with what they need, do not work together; empty if they do."""
    options = options_of(*modes)
    used = {mode for mode, name in option_pairs.MODES.items() if options.get(name) == value_of(mode)}
    used |= {"--channels-out"} if "channels_out" in options else set()
    reasons = option_pairs.excluded()
    return next((why for pair, why in reasons.items() if pair <= used), "")


def test_the_page_is_up_to_date():
    """docs/option_pairs.md is what its script prints."""
    out = io.StringIO()
    with redirect_stdout(out):
        option_pairs.main()
    assert (ROOT / "docs/option_pairs.md").read_text() == out.getvalue()


def test_few_pairs_are_excluded():
    """Fewer than one in six, each with a reason."""
    assert len(option_pairs.excluded()) < len(PAIRS) / 6
    assert all(len(why) > 20 for why in option_pairs.excluded().values())


def test_needs_imply_exclusions():
    """What needs an option is excluded by whatever excludes that option."""
    reasons = option_pairs.excluded()
    for option in ("--cube", "--spectral-terms"):
        assert frozenset(("--data closure", option)) in reasons
        with pytest.raises(ConfigError, match=f"--data closure does not work with {option}: one channel has too few"):
            ImageConfig.parse(
                "a.ms", {"data": "closure", option.removeprefix("--"): VALUES[option[2:].replace("-", "_")]}
            )


@pytest.mark.parametrize("pair", PAIRS, ids="+".join)
def test_pairs_are_accepted_or_refused(pair):
    """A configuration with both is refused exactly if the table says so, with both options and the reason."""
    options = options_of(*pair)
    if why := why_excluded(*pair):
        with pytest.raises(ConfigError) as found:
            ImageConfig.parse("a.ms", options)
        assert why in str(found.value)
    else:
        ImageConfig.parse("a.ms", options)


def test_values_go_with_every_mode():
    """Options that are no modes are accepted beside each mode."""
    values = {
        "size": 64, "scale": "1asec", "name": "x", "outframe": "LSRK", "beam_fit": "lobe", "pb_limit": 0.2,
        "dish_diameter": 20.0, "data_column": "DATA", "field": "0", "spw": "0", "chan_range": "0 4", "minuv_l": 1.0,
        "maxuv_l": 1e6, "time_range": "2026-01-01 2026-01-02", "interval": "0 4", "abs_weights": True,
        "feed_angle": "on", "flag_nonfinite": True, "restfreq": "1420.4MHz", "veltype": "optical", "scan": "1",
        "array": "0", "antenna": "!3", "intent": "*TARGET*", "minuvw_m": 10.0, "maxuvw_m": "5km",
        "weighting_per_channel": True, "weight": "natural", "taper": "5asec", "taper_inner_tukey": 10,
        "super_weight": 2, "padding": 1.5, "model": "base", "gain": 0.2, "mgain": 0.7,
        "auto_mask": 6.0, "auto_threshold": 2.0, "threshold": 1e-3, "multiscale": False, "max_major": 3, "tile": 256,
        "operator": "wgridder", "epsilon": 1e-5, "threads": 1, "memory": "2GB", "jobs": 2, "keep": True,
        "overwrite": True, "report": False, "device": "cpu",
    }  # fmt: skip
    known = {field.name for field in ImageConfig.options().values()}
    alike = {"shift", "start", "width", "beam_size", "circular_beam", "theoretic_beam"}  # as modes that are tried
    needy = {"contsub_channels", "flux", "taper_tukey"}
    assert known == set(values) | set(option_pairs.MODES.values()) | needy | alike
    for mode in option_pairs.MODES:
        for name, value in values.items():
            ImageConfig.parse("a.ms", options_of(mode) | {name: value})


@pytest.fixture(scope="module")
def field(make_ms, tmp_path_factory, without_reports):
    """A small observation, and a folder without reports that has a start model and a mask."""
    folder = tmp_path_factory.mktemp("pairs")
    ms = make_ms(windows=((1.38e9, 4),), noise=0.05, times=4, correlations=("XX", "XY", "YX", "YY"),
                 stokes=(1.0, 0.2, 0.0, 0.0))  # fmt: skip
    with without_reports():
        first = radrim.image(ms, name=folder / "start", size=128, scale="6asec", max_major=1, threads=1)
        with fits.open(first.paths["model"]) as hdus:
            hdus[0].data = np.ones_like(hdus[0].data)
            hdus.writeto(folder / "mask.fits")
        yield ms, folder


@pytest.mark.parametrize(
    "pair",
    [pair for pair in PAIRS if not set(pair) & set(ELSEWHERE) and not why_excluded(*pair)],
    ids="+".join,
)
def test_pairs_run(pair, field, tmp_path):
    """Each pair that should work makes an image with the source in it, of the kinds that were asked for."""
    ms, folder = field
    options = options_of(*pair)
    for name in ("start_model", "mask"):
        if name in options:
            options[name] = folder / VALUES[name]
    if "continue_run" in options:
        for path in folder.glob("start-model.fits"):
            (tmp_path / "x-model.fits").write_bytes(path.read_bytes())
    if {"start_model", "continue_run"} & set(options) and {"pol", "phase_centre"} & set(options):
        with fits.open(folder / "start-model.fits") as hdus:
            if "pol" in options:
                hdus[0].header["CRVAL4"] = 2.0
            else:  # as the value says, in pixels of 6 arcsec
                found = radrim.image(ms, name=tmp_path / "new", niter=0, phase_centre=VALUES["phase_centre"], size=128,
                                     scale="6asec")  # fmt: skip
                hdus[0].header["CRVAL1"], hdus[0].header["CRVAL2"] = np.degrees([found.grid.ra, found.grid.dec])
                hdus[0].data = np.roll(hdus[0].data, (2, 4), (-2, -1))
            hdus.writeto(tmp_path / "q-model.fits")
        if "start_model" in options:
            options["start_model"] = tmp_path / "q-model.fits"
        else:
            (tmp_path / "x-model.fits").unlink()
            (tmp_path / "q-model.fits").rename(tmp_path / "x-model.fits")
    if "pb" in options:
        options["dish_diameter"] = 25.0
    more = {"size": 128, "scale": "6asec", "max_major": 1, "threads": 1, "overwrite": True}
    result = radrim.image(ms, name=tmp_path / "x", **more, **options)
    assert np.isfinite(result.dirty).all()
    assert len(result.channels) == options.get("channels_out", 1)
    begun = {"start_model", "continue_run"} & set(options)
    assert (result.model is None) == ("niter" in options and not begun)
    assert (result.uncertainty is not None) == ("uncertainty" in options and result.model is not None)
    assert (result.pb is not None) == ("pb" in options)

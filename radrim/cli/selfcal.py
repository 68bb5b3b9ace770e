"""The arguments of `radrim selfcal` beside those of `radrim image`. Only `run` imports heavy modules."""

import argparse
import dataclasses

from radrim.config.options import ImageConfig
from radrim.selfcalibration.config import ROUNDS, SelfcalConfig

EXAMPLES = """\
examples:
  radrim selfcal obs.ms                                        image, then phases, then amplitudes, imaging in between
  radrim selfcal obs.ms --rounds p:inf,p:60s,p:int,ap:inf      choose the solutions and their intervals
  radrim selfcal vlbi.ms --start-model point                   uncalibrated data, in which no source can be seen yet
"""
START_MODEL = "begin with point, point:JY, gauss:SIZE, disc:SIZE or an image in Jy/pixel, not with an image of the data"
"""Help of --start-model for this command."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments to an argparse parser."""
    group = parser.add_argument_group("self-calibration")
    group.add_argument(
        "--rounds", default=ROUNDS, metavar="LIST",
        help="p (phases) and ap (amplitudes and phases) separated by commas, each with its interval if needed, such as "
        f"p:inf,p:60s,ap:inf (default: {ROUNDS})",
    )  # fmt: skip
    group.add_argument(
        "--solint", metavar="TIME",
        help="interval of phase solutions: 30s, 2min, int (each integration) or inf (each scan) (default: the shortest "
        "in which the median antenna has a signal-to-noise ratio of 10)",
    )  # fmt: skip
    group.add_argument(
        "--solint-amp",
        metavar="TIME",
        help="interval of amplitude solutions (default: as for phases, with a ratio of 30)",
    )
    group.add_argument(
        "--gain-type", default="G", metavar="TYPE", help="G: each feed separately; T: both together (default: G)"
    )
    group.add_argument("--combine-spw", action="store_true", help="one solution for all spectral windows")
    group.add_argument("--refant", metavar="ANTENNA", help="reference antenna, name or number (default: chosen)")
    group.add_argument(
        "--min-baselines", metavar="N", help="baselines that an antenna needs (default: 2 for phases, 3 for amplitudes)"
    )
    group.add_argument("--min-snr", default="3", metavar="X", help="flag solutions below this (default: 3)")
    group.add_argument(
        "--no-normalise",
        action="store_true",
        help="do not make the mean amplitude 1: the model sets the flux scale",
    )
    group.add_argument(
        "--unsolved", default="flag", metavar="HOW",
        help="data without a solution: flag them, or keep them uncorrected (default: flag)",
    )  # fmt: skip
    group.add_argument(
        "--in-place", action="store_true",
        help="write CORRECTED_DATA of the input, and nothing else of it (default: in a copy, NAME.ms)",
    )  # fmt: skip


def parse_options(args: argparse.Namespace, start_model: str | None = None) -> SelfcalConfig:
    """The configuration of the self-calibration from the parsed arguments.

    Raises
    ------
    ConfigError
        An option has an invalid value.
    """
    return SelfcalConfig.parse(
        rounds=args.rounds, solint=args.solint, solint_amp=args.solint_amp, start_model=start_model,
        gain_type=args.gain_type, combine_spw=args.combine_spw, refant=args.refant, min_baselines=args.min_baselines,
        min_snr=args.min_snr, normalise=not args.no_normalise, unsolved=args.unsolved, in_place=args.in_place,
    )  # fmt: skip


def run(args: argparse.Namespace, config: ImageConfig) -> None:
    """Run `radrim selfcal` with the parsed arguments, and `config` from the options of `radrim image` among them."""
    options = parse_options(args, config.start_model)
    from radrim.cli.imaging import check_inputs

    check_inputs(config)
    from radrim.selfcalibration.loop import selfcal

    # The images of the rounds begin without a model.
    selfcal(dataclasses.replace(config, start_model=None), options, args.line)

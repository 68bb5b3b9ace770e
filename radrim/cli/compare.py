"""The arguments of `radrim compare` beside those of `radrim image`. Only `run` imports heavy modules."""

import argparse
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from radrim.errors import InputError

if TYPE_CHECKING:
    from radrim.config.options import ImageConfig


def add_arguments(parser: argparse.ArgumentParser, seconds: Callable[[str], float]) -> None:
    """Add the arguments of `radrim compare` that `radrim image` does not have; `seconds` parses a time."""
    group = parser.add_argument_group("comparison")
    group.add_argument(
        "--peer",
        choices=("auto", "wsclean", "clean"),
        default="auto",
        help="program that runs CLEAN: WSClean 3, radrim's own multi-scale CLEAN, or WSClean where it is on the PATH "
        "and can do the same (default: auto)",
    )
    group.add_argument("--peer-limit", type=seconds, metavar="TIME", help="stop CLEAN after this time, such as 10min")
    group.add_argument(
        "--truth", metavar="FILE", help="true sky of simulated data: a FITS image in Jy/pixel or a CSV catalogue"
    )


def run(args: argparse.Namespace, config: "ImageConfig") -> None:
    """Run `radrim compare` with the parsed arguments."""
    from radrim.cli.imaging import check_inputs

    check_inputs(config, config.start_model)
    if args.truth is not None and not os.path.exists(args.truth):
        raise InputError(f"--truth {args.truth} does not exist; give a FITS image in Jy/pixel or a CSV catalogue.")
    from radrim.comparison.run import run

    run(config, args.peer, args.peer_limit, args.truth, command=args.line)

"""The arguments of `radrim compare` beside those of `radrim image`. Only `run` imports heavy modules."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from radrim.config.options import ImageConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `radrim compare` that `radrim image` does not have to an argparse parser."""
    group = parser.add_argument_group("comparison")
    group.add_argument(
        "--peer",
        choices=("auto", "wsclean", "clean"),
        default="auto",
        help="program that runs CLEAN: WSClean 3, radrim's own multi-scale CLEAN, or WSClean where it is on the PATH "
        "and can do the same (default: auto)",
    )
    group.add_argument("--peer-limit", type=float, metavar="SECONDS", help="stop CLEAN after this time")
    group.add_argument(
        "--truth", metavar="FILE", help="true sky of simulated data: a FITS image in Jy/pixel or a CSV catalogue"
    )


def run(args: argparse.Namespace, config: "ImageConfig") -> None:
    """Run `radrim compare` with the parsed arguments."""
    from radrim.comparison.run import run

    run(config, args.peer, args.peer_limit, args.truth, command=args.line)

"""The command `radrim convert`. Only `run` imports heavy modules, so that help answers at once."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `radrim convert` to an argparse parser."""
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="OBS.uvfits",
        help="UVFITS file, folder of version 4, or FITS-IDI files of one observation",
    )
    parser.add_argument("out", metavar="OBS.ms", help="Measurement Set to write")
    parser.add_argument(
        "--abs-weights", action="store_true", help="take the absolute value of negative weights (default: flagged)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a Measurement Set of that name")


def run(args: argparse.Namespace) -> None:
    """Run `radrim convert` with the parsed arguments."""
    import logging

    from radrim.cli.imaging import require_input

    for path in args.inputs:
        require_input(path)
    from radrim.ms.formats import convert

    log = logging.getLogger("radrim")
    for note in convert(args.inputs, args.out, "abs" if args.abs_weights else "flag", args.overwrite):
        log.warning("%s", note)
    log.info("%s is written.", args.out)

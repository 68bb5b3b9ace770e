"""The command `radrim feather`. Only `run` imports heavy modules, so that help answers at once."""

import argparse

EXAMPLES = """\
examples:
  radrim feather field-image.fits dish.fits --name field-feathered.fits
  radrim feather field-image.fits dish.fits --pb field-pb.fits --factor 1.05
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `radrim feather` to an argparse parser."""
    parser.add_argument("image", metavar="IMAGE.fits", help="restored image or cube of the interferometer [Jy/beam]")
    parser.add_argument("dish", metavar="DISH.fits", help="image or cube of the single dish [Jy/beam], other pixels")
    parser.add_argument("--name", metavar="FITS", help="file to write (default: NAME-feathered.fits)")
    parser.add_argument("--factor", type=float, default=1.0, metavar="X", help="multiply the single dish's image by X")
    parser.add_argument("--pb", metavar="FITS", help="primary beam, if IMAGE is not corrected for it")
    parser.add_argument("--overwrite", action="store_true", help="replace a file of that name")
    parser.add_argument("--threads", "--j", type=int, metavar="N", help="processor threads (default: all)")


def run(args: argparse.Namespace) -> None:
    """Run `radrim feather` with the parsed arguments."""
    import logging
    import os

    from radrim.cli.imaging import require_input

    for path in filter(None, (args.image, args.dish, args.pb)):
        require_input(path)
    from radrim.sky.feathering import feather_files, feathered_name

    output = args.name or feathered_name(args.image)
    threads = args.threads or len(os.sched_getaffinity(0))
    flux = feather_files(args.image, args.dish, output, args.factor, args.pb, args.overwrite, threads=threads)
    logging.getLogger("radrim").info("%s is written; its flux is %.6g Jy.", output, flux)

"""The command `radrim mask`. Only `run` imports heavy modules, so that help answers at once."""

import argparse

EXAMPLES = """\
examples:
  radrim image obs.ms --name field
  radrim mask field-image.fits                       writes field-mask.fits
  radrim image obs.ms --name deep --mask field-mask.fits
  radrim mask field-image.fits --local-rms           higher thresholds near bright sources and at the edge
  radrim mask cube-image.fits --sigma 4 --edge 2 --grow 1
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `radrim mask` to an argparse parser."""
    parser.add_argument("image", metavar="IMAGE.fits", help="restored image; of a cube all planes together")
    parser.add_argument("--name", metavar="MASK.fits", help="file to write (default: NAME-mask.fits)")
    parser.add_argument(
        "--sigma", type=float, default=5.0, metavar="N", help="least peak of an island, in noise (default: 5)"
    )
    parser.add_argument(
        "--edge", type=float, default=3.0, metavar="N", help="least brightness of its pixels, in noise (default: 3)"
    )
    parser.add_argument("--noise", metavar="JY", help="noise, such as 30uJy (default: measured in the image)")
    parser.add_argument("--local-rms", action="store_true", help="measure the noise around each pixel")
    parser.add_argument(
        "--local-rms-window", type=float, default=25.0, metavar="BEAMS", help="side of its windows (default: 25)"
    )
    parser.add_argument(
        "--local-rms-method",
        choices=("rms", "rms-with-min"),
        default="rms",
        help="rms-with-min: at least a fifth of the deepest negative pixel (default: rms)",
    )
    parser.add_argument(
        "--min-area", type=float, default=0.5, metavar="BEAMS", help="least area of an island (default: 0.5)"
    )
    parser.add_argument(
        "--grow", type=float, default=0.0, metavar="BEAMS", help="widen islands by this distance (default: 0)"
    )
    parser.add_argument("--negative", action="store_true", help="negative emission counts, too, as in Q, U and V")
    parser.add_argument("--overwrite", action="store_true", help="replace a mask of that name")


def run(args: argparse.Namespace) -> None:
    """Run `radrim mask` with the parsed arguments."""
    from radrim.cli.imaging import require_input
    from radrim.config.quantities import FLUX, quantity

    require_input(args.image)
    noise = None if args.noise is None else quantity(FLUX, 0, float("inf"), "30uJy", open_low=True)("noise", args.noise)
    from radrim.masking.make import MaskOptions, make_mask

    options = MaskOptions(
        peak=args.sigma, edge=args.edge, local_rms=args.local_rms, window=args.local_rms_window,
        method=args.local_rms_method, noise=noise, min_area=args.min_area, grow=args.grow, negative=args.negative,
    )  # fmt: skip
    make_mask(args.image, args.name, options, args.overwrite)

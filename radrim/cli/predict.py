"""The command `radrim predict`. Only `run` imports heavy modules, so that help answers at once."""

import argparse
from pathlib import Path

EXAMPLES = """\
examples:
  radrim predict obs.ms --name field                    with the model of: radrim image obs.ms --name field
  radrim predict obs.ms --model-image field-model.fits
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `radrim predict` to an argparse parser."""
    parser.add_argument("ms", nargs="*", metavar="OBS.ms", help="Measurement Sets to write to")
    parser.add_argument(
        "--model-image",
        nargs="+",
        metavar="FITS",
        help="model in Jy/pixel; several images for several frequencies or Stokes parameters",
    )
    parser.add_argument(
        "--name", metavar="PREFIX", help="or the --name of the run that made the model; all its channels are used"
    )
    parser.add_argument("--field", help="fields to predict for, by number or name (default: the one with most rows)")
    parser.add_argument("--column", default="MODEL_DATA", help="column to write (default: MODEL_DATA)")
    parser.add_argument(
        "--epsilon",
        type=float,
        default=1e-4,
        metavar="X",
        help="error against the direct sum, as a fraction of the rms of the visibilities (default: 1e-4)",
    )
    parser.add_argument(
        "--feed-angle",
        choices=("auto", "on", "off"),
        default="auto",
        help="turn Q and U to linear feeds at the angle in the table FEED, as radrim image turns them back; auto: of "
        "equatorial mounts only (default: auto)",
    )
    parser.add_argument("--threads", "--j", type=int, metavar="N", help="processor threads (default: all)")


def run(args: argparse.Namespace) -> None:
    """Run `radrim predict` with the parsed arguments."""
    from radrim.cli.imaging import require_input, similar
    from radrim.errors import ConfigError, InputError

    images = args.model_image
    # argparse reads a Measurement Set after --model-image as one of its images.
    ms = args.ms + [path for path in images or [] if Path(path).is_dir()]
    if images:
        images = [path for path in images if not Path(path).is_dir()]
    if args.model_image and not images:
        raise ConfigError(f"--model-image {args.model_image[0]} is a folder, not a FITS file.")
    if not ms:
        raise ConfigError("No Measurement Set given; write radrim predict OBS.ms --name PREFIX.")
    for path in ms:
        require_input(path)
    for path in images or []:
        if not Path(path).exists():
            raise InputError(f"--model-image {path} does not exist{similar(path)}.")
    from radrim.sky.prediction import predict

    predict(
        ms, model_image=images, name=args.name, field=args.field, column=args.column, epsilon=args.epsilon,
        threads=args.threads, feed_angle=args.feed_angle,
    )  # fmt: skip

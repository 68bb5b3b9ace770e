"""The command `radrim restore`. Only `run` imports heavy modules, so that help answers at once."""

import argparse

EXAMPLES = """\
examples:
  radrim restore field-model.fits field-residual.fits --beam-size 8asec --name field-8asec.fits
  radrim restore cube-model.fits cube-residual.fits --common-beam --name cube-common.fits
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `radrim restore` to an argparse parser."""
    parser.add_argument("model", metavar="MODEL.fits", help="model in Jy/pixel, an image or a cube")
    parser.add_argument("residual", metavar="RESIDUAL.fits", help="residual in Jy/beam, with the same pixels")
    parser.add_argument("--name", metavar="FITS", help="file to write (default: that of the model with -restored)")
    parser.add_argument(
        "--beam-shape", metavar="BMAJ BMIN BPA", help="axes (FWHM) and position angle of the beam, 5asec 4asec 30deg"
    )
    parser.add_argument("--beam-size", metavar="ANGLE", help="width (FWHM) of a circular beam, such as 5asec")
    parser.add_argument("--circular-beam", action="store_true", help="widen the beam of the residual to a circle")
    parser.add_argument("--common-beam", action="store_true", help="one beam for all planes of a cube")
    parser.add_argument("--overwrite", action="store_true", help="replace a file of that name")
    parser.add_argument("--threads", "--j", type=int, metavar="N", help="processor threads (default: all)")


def run(args: argparse.Namespace) -> None:
    """Run `radrim restore` with the parsed arguments."""
    import os
    from pathlib import Path

    from radrim.cli.imaging import require_input
    from radrim.config.values import to_beam, to_beam_size
    from radrim.errors import ConfigError

    for path in (args.model, args.residual):
        require_input(path)
    given = [bool(args.beam_shape), bool(args.beam_size), args.circular_beam or args.common_beam]
    if sum(given) > 1:
        raise ConfigError("Give one of --beam-shape, --beam-size, and --circular-beam or --common-beam.")
    from radrim.beam import Beam
    from radrim.sky.restoring import WantedBeam, restore_files, say_what_was_restored

    beam = Beam(*to_beam("beam-shape", args.beam_shape)) if args.beam_shape else None
    if args.beam_size:
        size = to_beam_size("beam-size", args.beam_size)
        beam = Beam(size, size, 0.0)
    stem = Path(args.model).name.removesuffix(".fits").removesuffix("-model")
    output = args.name or str(Path(args.model).with_name(f"{stem}-restored.fits"))
    command = f"radrim restore {args.model} {args.residual}"
    threads = args.threads or len(os.sched_getaffinity(0))
    wanted = WantedBeam(beam, args.circular_beam, args.common_beam)
    beams = restore_files(args.model, args.residual, output, wanted, command, args.overwrite, threads)
    say_what_was_restored(output, beams, beam is None and not (args.circular_beam or args.common_beam))

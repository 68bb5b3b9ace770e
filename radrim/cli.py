"""The command `radrim`. Everything heavy is imported by the subcommand that needs it, so that help answers at once."""

import argparse
import itertools
import logging
import shlex
import sys

from radrim.config import GROUPS, ImageConfig, load_toml
from radrim.errors import ConfigError, RadrimError
from radrim.option_values import BEAMS
from radrim.version import __version__

EXAMPLES = """\
examples:
  radrim info obs.ms                         what is in it, and how to image it
  radrim image obs.ms                        choose everything, say what was chosen
  radrim image obs.ms --size 4096 4096 --scale 1asec --weight briggs -0.5 --name field
  radrim image a.ms b.ms --niter 0           dirty image and PSF of both together
  radrim selfcal obs.ms                      find the errors of the antennas with the image itself
  radrim simulate demo.ms --array vla-b      a small observation to try things on
"""


def main(argv=None) -> int:
    """Run the command; returns the exit status: 0 done, 2 for what the user can mend, 130 when interrupted."""
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = build_parser()
    args, rest = parser.parse_known_args(wsclean_spelling(argv))
    unknown = [word for word in rest if word.startswith("-") or "ms" not in args]
    if unknown:
        parser.prog = " ".join(filter(None, ["radrim", args.command]))
        parser.error(f"unknown option {unknown[0]}")
    if args.command is None:
        parser.print_help()
        return 0
    if rest:  # argparse leaves a Measurement Set that follows an option
        args.ms += rest
    args.line = shlex.join(["radrim", *argv])
    _set_up_log(args)
    try:
        args.run(args)
    except RadrimError as error:
        if args.debug:
            raise
        print(f"radrim: {error}", file=sys.stderr)
        return 2
    except MemoryError as error:
        if args.debug:
            raise
        print(f"radrim: the memory is not enough: {error}. Select less data (--spw, --chan-range, --time-range), "
              "or image a smaller --size.", file=sys.stderr)  # fmt: skip
        return 2
    except RuntimeError as error:
        if args.debug or type(error).__name__ != "OutOfMemoryError":  # torch's; not imported for its name alone
            raise
        print("radrim: the GPU's memory is not enough. Use --device cpu, a smaller --size, or in training a smaller "
              "batch or problems.size.", file=sys.stderr)  # fmt: skip
        return 2
    except KeyboardInterrupt:
        more = ", and the same command goes on" if args.command in ("image", "selfcal", "train") else ""
        print(f"radrim: interrupted; nothing was half-written{more}.", file=sys.stderr)
        return 130
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = _Parser(
        "radrim",
        description="Visibilities of any radio interferometer in, science-grade FITS images out.",
        epilog=EXAMPLES,
        formatter_class=raw,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"radrim {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    image = commands.add_parser(
        "image",
        help="image Measurement Sets",
        formatter_class=raw,
        allow_abbrev=False,
        description="Image one or several Measurement Sets together.",
        epilog=EXAMPLES,
    )
    image.add_argument("ms", nargs="*", metavar="OBS.ms", help="Measurement Sets; imaged together")
    _add_image_options(image)
    image.set_defaults(run=_image)

    plan = commands.add_parser(
        "plan",
        help="what imaging will take: facets, tasks, memory, disk and time",
        formatter_class=raw,
        allow_abbrev=False,
        description="Predict a run of radrim image with the same options, from a few seconds of trial on this machine.",
    )
    plan.add_argument("ms", nargs="*", metavar="OBS.ms", help="Measurement Sets; imaged together")
    plan.add_argument("--workers", type=int, metavar="N", help="of a cluster of such machines (default: this one)")
    plan.add_argument(
        "--active",
        type=float,
        default=0.5,
        metavar="PART",
        help="part of the facets with compact sources (default: 0.5)",
    )
    plan.add_argument("--cycles", type=int, metavar="N", help="major cycles it will need (default: --max-major)")
    _add_image_options(plan)
    plan.set_defaults(run=_plan)

    clean = commands.add_parser("clean", help="remove the work directory of a run that shall not go on")
    clean.add_argument("name", nargs="+", metavar="NAME", help="the run's --name, or its folder NAME.radrim")
    clean.set_defaults(run=_clean)

    from radrim import selfcal_cli

    selfcal = commands.add_parser(
        "selfcal",
        help="self-calibrate a Measurement Set, imaging in between",
        formatter_class=raw,
        allow_abbrev=False,
        description="Alternate imaging with solving for the gains of the antennas. Takes the options of radrim image.",
        epilog=selfcal_cli.EXAMPLES,
    )
    selfcal.add_argument("ms", nargs="*", metavar="OBS.ms", help="Measurement Set")
    selfcal_cli.add_arguments(selfcal)
    _add_image_options(selfcal)
    selfcal.set_defaults(run=lambda args: selfcal_cli.run(args, parse_config(args)))

    info = commands.add_parser("info", help="what is in a Measurement Set, and how to image it", allow_abbrev=False)
    info.add_argument("ms", nargs="+", metavar="OBS.ms")
    info.set_defaults(run=_info)

    simulate = commands.add_parser(
        "simulate", help="write a simulated Measurement Set", formatter_class=raw, allow_abbrev=False
    )
    from radrim import simulate_cli

    simulate_cli.add_arguments(simulate)
    simulate.set_defaults(run=simulate_cli.run)

    from radrim import train_cli

    train = commands.add_parser("train", help="train a model of the RIM", allow_abbrev=False)
    train_cli.add_train_arguments(train)
    train.set_defaults(run=train_cli.train)

    model = commands.add_parser("model", help="list the trained models, or show one", allow_abbrev=False)
    train_cli.add_model_arguments(model)
    model.set_defaults(run=train_cli.model)

    for command in (image, plan, selfcal, clean, info, simulate, train, model):
        command.add_argument("--debug", action="store_true", help="log every step and show the traceback of an error")
        command.add_argument("--quiet", action="store_true", help="print warnings only")
    return parser


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line; argparse would print the usage, a page of options, first."""

    def error(self, message):
        print(f"radrim: {message}; {self.prog} --help lists what there is.", file=sys.stderr)
        self.exit(2)


def _add_image_options(parser):
    groups = {name: parser.add_argument_group(name) for name in GROUPS}
    groups["image"].add_argument("--config", metavar="FILE.toml", help="read options from here; the command line wins")
    for name, field in ImageConfig.options().items():
        meta = field.metadata
        flags = [f"--{spelling}" for spelling in (name, *meta["aliases"])]
        text = meta["help"]
        default = field.default
        if "default" not in text and default is not None and default is not False and default != float("inf"):
            text += f" (default: {'on' if default is True else default})"
        # The parsers of config.py check the values; here every value stays text and None means "not given".
        if isinstance(default, bool):
            groups[meta["group"]].add_argument(*flags, action=argparse.BooleanOptionalAction, default=None, help=text)
        else:
            groups[meta["group"]].add_argument(
                *flags, dest=field.name, metavar=meta["metavar"], nargs=meta["nargs"], help=text
            )
    groups["data selection"].add_argument(
        "--uv-range", nargs=2, metavar=("MIN", "MAX"), help="both limits at once, in wavelengths"
    )


def wsclean_spelling(argv):
    """WSClean's habits in argparse's terms: one dash for long options, and options of as many words as there are."""
    known = {"quiet", "debug", "config", "uv-range", "version"}
    for name, field in ImageConfig.options().items():
        prefixes = ("", "no-") if isinstance(field.default, bool) else ("",)
        known |= {prefix + spelling for spelling in (name, *field.metadata["aliases"]) for prefix in prefixes}
    out: list[str] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        if word.startswith("-") and not word.startswith("--") and word[1:].split("=")[0] in known:
            word = f"-{word}"
        if word == "--weight" or word.startswith("--weight="):
            scheme = word.removeprefix("--weight=") if "=" in word else "".join(words[:1])
            del words[: "=" not in word]
            # argparse would take a following file name for the robustness, or "-0.5" for an option.
            if scheme.lower() == "briggs" and words and _is_number(words[0]):
                scheme = f"{scheme} {words.pop(0)}"
            word = f"--weight={scheme}"
        elif word == "--contsub-channels":
            # As many numbers as there are: argparse would take a following file name for one more.
            numbers = list(itertools.takewhile(_is_number, words))
            del words[: len(numbers)]
            word = f"{word}={' '.join(numbers)}"
        # Alone it is Airy's: what follows is another option or a Measurement Set.
        if word == "--pb" and "".join(words[:1]).lower() not in BEAMS:
            word = "--pb=airy"
        out.append(word)
    return out


def _is_number(word):
    try:
        float(word)
    except ValueError:
        return False
    return True


def _set_up_log(args):
    logger = logging.getLogger("radrim")
    logger.handlers.clear()
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Formatter())
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if args.debug else logging.WARNING if args.quiet else logging.INFO)


class _Formatter(logging.Formatter):
    """Plain lines; only warnings say what they are."""

    def format(self, record):
        text = record.getMessage()
        return f"warning: {text}" if record.levelno >= logging.WARNING else text


def parse_config(args):
    """The configuration of `radrim image` that the parsed arguments say."""
    values = {f.name: getattr(args, f.name) for f in ImageConfig.options().values()}
    if args.uv_range is not None:
        if args.minuv_l is not None or args.maxuv_l is not None:
            raise ConfigError("--uv-range was given together with --minuv-l or --maxuv-l; use one or the other.")
        values["minuv_l"], values["maxuv_l"] = args.uv_range
    ms = args.ms
    if args.config is not None:
        stored = load_toml(args.config)
        ms = ms or stored.pop("ms", [])
        stored.pop("ms", None)
        given = {name: value for name, value in values.items() if value is not None}
        values = {key.replace("-", "_"): value for key, value in stored.items()} | given
    return ImageConfig.parse(ms, values)


def _image(args):
    config = parse_config(args)
    from radrim.pipeline import run

    run(config, command=args.line)


def _plan(args):
    config = parse_config(args)
    from radrim.plan import make_plan

    print(make_plan(config, args.workers, args.active, args.cycles))


def _clean(args):
    from radrim.workdir import clean

    for name in args.name:
        print(f"removed {clean(name)}")


def _info(args):
    from radrim.info import describe

    for path in args.ms:
        print(describe(path))


if __name__ == "__main__":
    sys.exit(main())

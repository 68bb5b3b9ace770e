"""The command `radrim`. Subcommands import heavy modules when they run, so that help answers at once."""

import argparse
import gc
import itertools
import logging
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NoReturn

from radrim.config.files import load_toml
from radrim.config.options import GROUPS, ImageConfig
from radrim.config.values import BEAMS
from radrim.errors import ConfigError, RadrimError
from radrim.report.draw_pool import Painters
from radrim.runtime.allocator import keep_memory
from radrim.runtime.waiting import wait_briefly
from radrim.version import __version__

EXAMPLES = """\
examples:
  radrim info obs.ms                         what is in it, and how to image it
  radrim image obs.ms                        choose all settings, and print them
  radrim image obs.ms --size 4096 4096 --scale 1asec --weight briggs -0.5 --name field
  radrim image a.ms b.ms --niter 0           dirty image and PSF of both together
  radrim compare obs.ms                      image with radrim and with CLEAN, with the same settings
  radrim predict obs.ms --name field         write the visibilities of a model to MODEL_DATA
  radrim selfcal obs.ms                      solve for the antennas' gains with the image itself
  radrim simulate demo.ms --array vla-b      write a small observation for trials
"""


def program(argv: Sequence[str] | None = None) -> int:
    """Run `main` in its own process; returns the exit status."""
    keep_memory()
    wait_briefly()
    gc.set_threshold(50_000)  # new objects before a collection; by default there are many while modules load
    status = main(argv, alone=True)
    gc.freeze()  # a collection at the end would take a second, and the system frees the memory at once
    return status


def main(argv: Sequence[str] | None = None, alone: bool = False) -> int:
    """Run the command; returns the exit status.

    The status is 0 if the command succeeded, 2 after an error that the user can correct, 130 after an interrupt, and
    3 if `radrim batch` could not make some images.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; by default those of the process.
    alone : bool
        Whether the process does nothing else. Then the command may start helper processes.
    """
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
    if rest:  # argparse does not assign a Measurement Set that follows an option
        args.ms += rest
    args.line, args.alone = shlex.join(["radrim", *argv]), alone
    _set_up_log(args)
    try:
        status = args.run(args) or 0
        sys.stdout.flush()  # here, where a broken pipe is handled
    except BrokenPipeError:
        if args.command not in ("info", "plan", "model"):  # it may be the pipe of a worker
            raise
        # After `radrim info obs.ms | head` Python would print an error when it closes the output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
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
        if args.debug or type(error).__name__ != "OutOfMemoryError":  # by name, so that torch is not imported
            raise
        print("radrim: the GPU's memory is not enough. Use --device cpu, a smaller --size, or in training a smaller "
              "batch or problems.size.", file=sys.stderr)  # fmt: skip
        return 2
    except KeyboardInterrupt:
        more = ", and the same command goes on" if args.command in ("image", "batch", "selfcal", "train") else ""
        what = "nothing was half-written"
        if args.command == "predict":
            what = f"if {args.column} was begun it is marked as unfinished, and the same command writes it anew"
        print(f"radrim: interrupted; {what}{more}.", file=sys.stderr)
        return 130
    else:
        return status


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command."""
    parser = _Parser(
        "radrim",
        usage="radrim COMMAND [OBS.ms ...] [options]",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"radrim {__version__}")
    commands = _Commands(parser)
    _add_imaging(commands)
    _add_calibration(commands)
    _add_making(commands)
    parser.description = commands.describe()
    return parser


def _add_imaging(commands: "_Commands") -> None:
    """Add the commands that describe or image observations."""
    from radrim.cli import batch as batch_cli
    from radrim.cli import compare as compare_cli

    commands.begin("imaging")
    info = commands.add("info", _info, "what is in a Measurement Set or a file of another format, and how to image it")
    info.add_argument("ms", nargs="+", metavar="OBS.ms", help="Measurement Sets, UVFITS or FITS-IDI files")
    info.add_argument("--antennas", action="store_true", help="list all antennas, however many there are")
    info.add_argument("--baselines", action="store_true", help="list all baselines, however many there are")

    image = commands.add(
        "image", _image, "image Measurement Sets, UVFITS and FITS-IDI files, several together", EXAMPLES
    )
    image.add_argument(
        "ms", nargs="*", metavar="OBS.ms", help="Measurement Sets, UVFITS and FITS-IDI files; imaged together"
    )
    _add_image_options(image)

    what = "predict memory, disk and time of radrim image with the same options, from a few seconds of trial"
    plan = commands.add("plan", _plan, what)
    plan.add_argument(
        "ms", nargs="*", metavar="OBS.ms", help="Measurement Sets, UVFITS and FITS-IDI files; imaged together"
    )
    plan.add_argument("--workers", type=int, metavar="N", help="of a cluster of such machines (default: this one)")
    active = "fraction of the facets with compact sources (default: 0.5)"
    plan.add_argument("--active", type=float, default=0.5, metavar="PART", help=active)
    plan.add_argument("--cycles", type=int, metavar="N", help="major cycles it will need (default: --max-major)")
    _add_image_options(plan)

    what = "image with radrim and with CLEAN (WSClean) with the same settings, and write a report of both"
    compare = commands.add("compare", lambda args: compare_cli.run(args, parse_config(args)), what)
    compare.add_argument("ms", nargs="*", metavar="OBS.ms", help="Measurement Sets; imaged together, not changed")
    compare_cli.add_arguments(compare)
    _add_image_options(compare)

    batch = commands.add("batch", batch_cli.run, "image many observations, one after the other or at once",
                         batch_cli.EXAMPLES, batch_cli.DESCRIPTION)  # fmt: skip
    batch_cli.add_arguments(batch)

    clean = commands.add("clean", _clean, "delete the work directory of an interrupted run")
    clean.add_argument("name", nargs="+", metavar="NAME", help="the run's --name, or its folder NAME.radrim")


def _add_calibration(commands: "_Commands") -> None:
    """Add the commands that write data or pass models to other programs."""
    from radrim.cli import convert as convert_cli
    from radrim.cli import plugin as plugin_cli
    from radrim.cli import predict as predict_cli
    from radrim.cli import selfcal as selfcal_cli

    commands.begin("calibration and models")
    selfcal = commands.add("selfcal", lambda args: selfcal_cli.run(args, parse_config(args)),
                           "self-calibrate a Measurement Set with images of it", selfcal_cli.EXAMPLES)  # fmt: skip
    selfcal.add_argument("ms", nargs="*", metavar="OBS.ms", help="Measurement Set")
    selfcal_cli.add_arguments(selfcal)
    _add_image_options(selfcal, {"start-model": selfcal_cli.START_MODEL})

    what = "write the visibilities of a model image to MODEL_DATA, and change nothing else"
    predict_cli.add_arguments(commands.add("predict", predict_cli.run, what, predict_cli.EXAMPLES))

    what = "write a file for WSClean's -python-deconvolution, with which it uses the RIM, and print the path"
    plugin_cli.add_arguments(commands.add("plugin", plugin_cli.run, what, plugin_cli.EXAMPLES))

    convert_cli.add_arguments(
        commands.add(
            "convert", convert_cli.run, "write UVFITS, FITS-IDI or version 4 as a Measurement Set of version 2"
        )
    )


def _add_making(commands: "_Commands") -> None:
    """Add the commands that simulate observations and train models."""
    from radrim.cli import simulate as simulate_cli
    from radrim.cli import train as train_cli

    commands.begin("simulation and training")
    simulate_cli.add_arguments(commands.add("simulate", simulate_cli.run, "write a simulated Measurement Set"))
    train_cli.add_train_arguments(commands.add("train", train_cli.train, "train a model of the RIM"))
    train_cli.add_model_arguments(commands.add("model", train_cli.model, "list the trained models, or show one"))


class _Commands:
    """The subcommands of a parser, listed in groups, which argparse does not support."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._parsers = parser.add_subparsers(dest="command", prog="radrim", help=argparse.SUPPRESS)
        self._lines = ["Visibilities of any radio interferometer in, science-grade FITS images out."]

    def begin(self, group: str) -> None:
        """Begin a group, which the following subcommands belong to."""
        self._lines += ["", f"{group}:"]

    def add(
        self,
        name: str,
        run: Callable[[argparse.Namespace], int | None],
        summary: str,
        epilog: str | None = None,
        description: str | None = None,
    ) -> argparse.ArgumentParser:
        """Add a subcommand that calls `run` with its parsed arguments; returns its parser."""
        self._lines.append(f"  {name:10}{summary}")
        parser = self._parsers.add_parser(
            name,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            description=description or f"{summary[0].upper()}{summary[1:]}.",
            epilog=epilog,
        )
        parser.add_argument("--debug", action="store_true", help="log every step and show the traceback of an error")
        parser.add_argument("--quiet", action="store_true", help="print warnings only")
        parser.set_defaults(run=run)
        return parser

    def describe(self) -> str:
        """The list of all subcommands, as text."""
        return "\n".join([*self._lines, "", "radrim COMMAND --help lists the options of one."])


class _Parser(argparse.ArgumentParser):
    """Prints errors in one line; argparse would print the usage first, which is a page of options."""

    def error(self, message: str) -> NoReturn:
        print(f"radrim: {message}; {self.prog} --help lists what there is.", file=sys.stderr)
        self.exit(2)


def _add_image_options(parser: argparse.ArgumentParser, instead: Mapping[str, str] = MappingProxyType({})) -> None:
    """Add the options of `radrim image`; `instead` has help texts of options with another meaning in this command."""
    parser.usage = f"{parser.prog} OBS.ms [OBS.ms ...] [options]"  # argparse would list all options
    groups = {name: parser.add_argument_group(name) for name in GROUPS}
    groups["image"].add_argument("--config", metavar="FILE.toml", help="read options from here; the command line wins")
    for name, field in ImageConfig.options().items():
        meta = field.metadata
        flags = [f"--{spelling}" for spelling in (name, *meta["aliases"])]
        text = instead.get(name, meta["help"])
        default = field.default
        if "default" not in text and default is not None and default is not False and default != float("inf"):
            text += f" (default: {'on' if default is True else default})"
        # The parsers of `ImageConfig` check the values; here every value is text, and None means "not given".
        if isinstance(default, bool):
            groups[meta["group"]].add_argument(*flags, action=argparse.BooleanOptionalAction, default=None, help=text)
        else:
            groups[meta["group"]].add_argument(
                *flags, dest=field.name, metavar=meta["metavar"], nargs=meta["nargs"], help=text
            )
    groups["data selection"].add_argument(
        "--uv-range", nargs=2, metavar=("MIN", "MAX"), help="both limits at once, in wavelengths"
    )


def wsclean_spelling(argv: Sequence[str]) -> list[str]:
    """Convert WSClean's spelling to argparse's: long options with one dash, options with a varying number of values."""
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
            # argparse would read a following file name as the robustness, or "-0.5" as an option.
            if scheme.lower() == "briggs" and words and _is_number(words[0]):
                scheme = f"{scheme} {words.pop(0)}"
            word = f"--weight={scheme}"
        elif word == "--contsub-channels":
            # All numbers that follow: argparse would read a following file name as one more.
            numbers = list(itertools.takewhile(_is_number, words))
            del words[: len(numbers)]
            word = f"{word}={' '.join(numbers)}"
        # Without a pattern it means airy; the next word is then another option or a Measurement Set.
        if word == "--pb" and not _is_pattern("".join(words[:1])):
            word = "--pb=airy"
        out.append(word)
    return out


def _is_pattern(word: str) -> bool:
    """Whether a word after --pb is a pattern, though perhaps an unknown one, rather than an option or a file."""
    return word.lower() in BEAMS or (word.isalpha() and not os.path.exists(word))


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _set_up_log(args: argparse.Namespace) -> None:
    logger = logging.getLogger("radrim")
    logger.handlers.clear()
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Formatter())
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if args.debug else logging.WARNING if args.quiet else logging.INFO)


class _Formatter(logging.Formatter):
    """Formats records as plain lines; only warnings begin with their level."""

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        return f"warning: {text}" if record.levelno >= logging.WARNING else text


def parse_config(args: argparse.Namespace) -> ImageConfig:
    """The configuration of `radrim image` from the parsed arguments."""
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


def _image(args: argparse.Namespace) -> None:
    config = parse_config(args)
    # The painters start while this process imports the modules of imaging.
    with Painters((config.threads or len(os.sched_getaffinity(0))) if args.alone else 0) as painters:
        from radrim.pipeline import run

        run(config, command=args.line, painters=painters)


def _plan(args: argparse.Namespace) -> None:
    config = parse_config(args)
    from radrim.planning import make_plan

    print(make_plan(config, args.workers, args.active, args.cycles))


def _clean(args: argparse.Namespace) -> None:
    from radrim.workdir.directory import clean

    for name in args.name:
        print(f"removed {clean(name)}")


def _info(args: argparse.Namespace) -> None:
    from radrim.inspection.describe import describe

    for path in args.ms:
        print(describe(path, args.antennas, args.baselines))

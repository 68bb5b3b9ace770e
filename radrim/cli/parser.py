"""The parser of the command `radrim`, with all its subcommands."""

import argparse
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NoReturn

from radrim.cli import imaging
from radrim.cli.log import RED, coloured
from radrim.config.groups.option import GROUPS
from radrim.config.options import ImageConfig
from radrim.config.quantities import MINUTES, SECONDS, quantity
from radrim.config.toml_file import nearest
from radrim.config.values import BEAMS, Choice, to_pattern
from radrim.version import __version__

EXAMPLES = """\
examples:
  radrim info obs.ms                         what is in it, and how to image it
  radrim image obs.ms                        choose all settings, and print them
  radrim image obs.ms --size 4096 4096 --scale 1asec --weight briggs -0.5 --name field
  radrim image a.ms b.ms --niter 0           dirty image and PSF of both together
  radrim view field                          explore its images in the browser
  radrim compare obs.ms                      image with radrim and with CLEAN, with the same settings
  radrim predict obs.ms --name field         write the visibilities of a model to MODEL_DATA
  radrim selfcal obs.ms                      solve for the antennas' gains with the image itself
  radrim simulate demo.ms --array vla-b      write a small observation for trials
  radrim translate "wsclean -size 512 512 obs.ms"    the same as a command of radrim
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command."""
    parser = Parser(
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
    _add_help(commands)
    parser.description = commands.describe()
    return parser


def command_parsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of all subcommands, by name."""
    actions = parser._actions  # noqa: SLF001 - argparse has no public list
    return next(dict(action.choices) for action in actions if isinstance(action.choices, dict))


def typed(name: str, parse: Callable[[str, Any], Any]) -> Callable[[str], Any]:
    """A parser of `radrim.config.values` as argparse's `type` of the option `name`."""
    return lambda text: parse(name, text)


def _add_imaging(commands: "_Commands") -> None:
    """Add the commands that describe or image observations."""
    from radrim.cli import batch as batch_cli
    from radrim.cli import compare as compare_cli
    from radrim.cli import mask as mask_cli
    from radrim.cli import view as view_cli

    commands.begin("imaging")
    info = commands.add(
        "info", imaging.info, "what is in a Measurement Set or a file of another format, and how to image it"
    )
    info.add_argument("ms", nargs="+", metavar="OBS.ms", help="Measurement Sets, UVFITS or FITS-IDI files")
    info.add_argument("--antennas", action="store_true", help="list all antennas, however many there are")
    info.add_argument("--baselines", action="store_true", help="list all baselines, however many there are")

    image = commands.add(
        "image", imaging.image, "image Measurement Sets, UVFITS and FITS-IDI files, several together", EXAMPLES
    )
    image.add_argument(
        "ms", nargs="*", metavar="OBS.ms", help="Measurement Sets, UVFITS and FITS-IDI files; imaged together"
    )
    _add_image_options(image)

    what = "predict memory, disk and time of radrim image with the same options, from a few seconds of trial"
    plan = commands.add("plan", imaging.plan, what)
    plan.add_argument(
        "ms", nargs="*", metavar="OBS.ms", help="Measurement Sets, UVFITS and FITS-IDI files; imaged together"
    )
    plan.add_argument("--workers", type=int, metavar="N", help="of a cluster of such machines (default: this one)")
    active = "fraction of the facets with compact sources (default: 0.5)"
    plan.add_argument("--active", type=float, default=0.5, metavar="PART", help=active)
    plan.add_argument("--cycles", type=int, metavar="N", help="major cycles it will need (default: --max-major)")
    _add_image_options(plan)

    what = "image with radrim and with CLEAN (WSClean) with the same settings, and write a report of both"
    compare = commands.add("compare", lambda args: compare_cli.run(args, imaging.parse_config(args)), what)
    compare.add_argument("ms", nargs="*", metavar="OBS.ms", help="Measurement Sets; imaged together, not changed")
    compare_cli.add_arguments(compare, typed("peer-limit", quantity(SECONDS, 0, float("inf"), "10min")))
    _add_image_options(compare)

    batch = commands.add("batch", batch_cli.run, "image many observations, one after the other or at once",
                         batch_cli.EXAMPLES, batch_cli.DESCRIPTION)  # fmt: skip
    batch_cli.add_arguments(batch)

    what = "write a page to explore the images of a run, and open it in the browser"
    view_cli.add_arguments(commands.add("view", view_cli.run, what, view_cli.EXAMPLES))

    what = "write a CLEAN mask of the emission in an image, for --mask"
    mask_cli.add_arguments(commands.add("mask", mask_cli.run, what, mask_cli.EXAMPLES))

    discard = commands.add("discard", imaging.discard, "delete the work directory of an interrupted run")
    discard.add_argument("name", nargs="+", metavar="NAME", help="the run's --name, or its folder NAME.radrim")


def _add_calibration(commands: "_Commands") -> None:
    """Add the commands that write data or pass models to other programs."""
    from radrim.cli import convert as convert_cli
    from radrim.cli import feather as feather_cli
    from radrim.cli import plugin as plugin_cli
    from radrim.cli import predict as predict_cli
    from radrim.cli import restore as restore_cli
    from radrim.cli import selfcal as selfcal_cli

    commands.begin("calibration and models")
    selfcal = commands.add("selfcal", lambda args: selfcal_cli.run(args, imaging.parse_config(args)),
                           "self-calibrate a Measurement Set with images of it", selfcal_cli.EXAMPLES)  # fmt: skip
    selfcal.add_argument("ms", nargs="*", metavar="OBS.ms", help="Measurement Set")
    selfcal_cli.add_arguments(selfcal)
    _add_image_options(selfcal, {"start-model": selfcal_cli.START_MODEL})

    what = "write the visibilities of a model image to MODEL_DATA, and change nothing else"
    predict_cli.add_arguments(commands.add("predict", predict_cli.run, what, predict_cli.EXAMPLES))

    what = "add the short spacings of a single dish's image"
    feather_cli.add_arguments(commands.add("feather", feather_cli.run, what, feather_cli.EXAMPLES))

    what = "write a restored image from a model and a residual, with any beam"
    restore_cli.add_arguments(commands.add("restore", restore_cli.run, what, restore_cli.EXAMPLES))

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
    train_cli.add_train_arguments(
        commands.add("train", train_cli.train, "train a model of the RIM"),
        typed("minutes", quantity(MINUTES, 0, float("inf"), "90min", open_low=True)),
    )
    train_cli.add_model_arguments(commands.add("model", train_cli.model, "list the trained models, or show one"))


def _add_help(commands: "_Commands") -> None:
    """Add the commands for people who come from other programs, and for shells."""
    from radrim.cli import completion as completion_cli
    from radrim.cli import translate as translate_cli

    commands.begin("help")
    what = "print the command of radrim for a command of WSClean or a call of CASA's tclean"
    translate = commands.add(
        "translate", lambda args: translate_cli.run(args, _check_image), what,
        translate_cli.EXAMPLES, translate_cli.DESCRIPTION,
    )  # fmt: skip
    translate_cli.add_arguments(translate)

    def complete(args: argparse.Namespace) -> None:
        print(completion_cli.script(args.shell, command_parsers(build_parser())), end="")

    what = "print a script with which a shell completes commands, options and values"
    completion_cli.add_arguments(commands.add("completion", complete, what, completion_cli.EXAMPLES))


def _check_image(argv: list[str]) -> None:
    """Raise ConfigError for arguments that `radrim image` refuses; files need not exist."""
    from radrim.cli.spelling import wsclean_spelling

    imaging.parse_config(build_parser().parse_args(wsclean_spelling(argv)))


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
        self._lines.append(f"  {name:12}{summary}")
        parser = self._parsers.add_parser(
            name,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            description=description or f"{summary[0].upper()}{summary[1:]}.",
            epilog=epilog,
        )
        parser.add_argument("--debug", action="store_true", help="log every step and show the traceback of an error")
        parser.add_argument("--quiet", action="store_true", help="print warnings only")
        parser.add_argument("--log", metavar="FILE", help="write the log to a file, too, with times")
        parser.set_defaults(run=run)
        return parser

    def describe(self) -> str:
        """The list of all subcommands, as text."""
        return "\n".join([*self._lines, "", "radrim COMMAND --help lists the options of one."])


class Parser(argparse.ArgumentParser):
    """Prints errors in one line; argparse would print the usage first, which is a page of options."""

    def error(self, message: str) -> NoReturn:
        """Print the message, and end the process with status 2."""
        stop = message if message.endswith(("?", ".")) else f"{message}; {self.prog} --help lists what there is."
        print(f"{coloured('radrim:', RED, sys.stderr)} {stop}", file=sys.stderr)
        self.exit(2)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Refuse a value that is none of the choices, and propose the nearest one."""
        if action.choices is None or value in action.choices:
            return
        known = [str(choice) for choice in action.choices]
        name = "/".join(action.option_strings) or str(action.metavar or action.dest)
        if action.dest == "command":
            self.error(f"'{value}' is not a command; {nearest(str(value), known, 'radrim --help lists them.')}")
        self.error(f"{name} '{value}' is unknown: choose one of {', '.join(known)}{nearest(value, known, '.', '; ')}")


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
            continue
        choices = _choices(meta["parse"])
        shown = "{" + ",".join(choices) + "}" if choices else meta["metavar"]
        action = groups[meta["group"]].add_argument(
            *flags, dest=field.name, metavar=shown, nargs=meta["nargs"], help=text
        )
        vars(action)["shown_choices"] = choices  # for the completion; argparse must not check them
    groups["data selection"].add_argument(
        "--uv-range", nargs=2, metavar=("MIN", "MAX"), help="both limits at once, in wavelengths"
    )


def _choices(parse: Callable) -> tuple[str, ...]:
    """The words that an option takes, if there is a fixed set."""
    if isinstance(parse, Choice):
        return parse.choices
    return BEAMS if parse is to_pattern else ()

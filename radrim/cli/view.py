"""The command `radrim view`. Only `run` imports heavy modules, so that help answers at once."""

import argparse

EXAMPLES = """\
examples:
  radrim view field                              the images of: radrim image obs.ms --name field
  radrim view field --no-browser                 write field-view.html only
  radrim view field-0003                         one output channel
  radrim view field --kinds image,residual,uncertainty-95
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `radrim view` to an argparse parser."""
    parser.add_argument("name", metavar="NAME", help="the run's --name, or one of its files")
    parser.add_argument("--no-browser", action="store_true", help="write the page and do not open it")
    parser.add_argument(
        "--kinds",
        metavar="LIST",
        help="images to show, separated by commas (default: all but those of 95 %% uncertainty and of polarisation)",
    )
    parser.add_argument(
        "--pixels",
        type=int,
        metavar="N",
        help="largest number of pixels along a side; larger images are reduced (default: 2048)",
    )


def run(args: argparse.Namespace) -> None:
    """Run `radrim view` with the parsed arguments.

    Raises
    ------
    ConfigError
        An option has an invalid value.
    InputError
        There are no such images.
    """
    import webbrowser

    from radrim.errors import ConfigError
    from radrim.interactive.viewer.layers import VIEWED, ViewSettings, parse_kinds
    from radrim.interactive.viewer.page import write_viewer

    settings = ViewSettings()
    if args.pixels is not None:
        if args.pixels < 16:
            raise ConfigError(f"--pixels {args.pixels} is too few; use 16 or more, such as --pixels 1024.")
        settings = ViewSettings(shown=args.pixels)
    kinds = VIEWED if args.kinds is None else parse_kinds(args.kinds)
    path = write_viewer(args.name, kinds, settings)
    print(f"Wrote {path} ({path.stat().st_size / 1e6:.1f} MB).")
    if not args.no_browser and not webbrowser.open(path.absolute().as_uri()):
        print("No browser could be started; open the file in one.")

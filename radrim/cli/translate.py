"""The command `radrim translate`: commands of WSClean and calls of tclean as commands of radrim."""

import argparse
import re
import shlex
import sys
from collections.abc import Callable

from radrim.config.translation.result import Translation
from radrim.errors import ConfigError

DESCRIPTION = """\
Print the command of radrim that does what a command of WSClean or a call of CASA's tclean does. Nothing is run. Lines
that begin with # say what differs; the last ones, what radrim does not do or does in another way.
"""
EXAMPLES = """\
examples:
  radrim translate "wsclean -size 1024 1024 -scale 1asec -niter 10000 -mgain 0.8 -abs-mem 8 obs.ms"
  radrim translate "tclean(vis='obs.ms', imagename='m51', imsize=1024, cell='1arcsec', niter=10000)"
  radrim translate - < clean.py              the same from a file
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `radrim translate` to an argparse parser."""
    parser.usage = f'{parser.prog} "wsclean ..." | "tclean(...)" | -'
    parser.add_argument(
        "words", nargs=argparse.REMAINDER, metavar="COMMAND", help="command of WSClean, call of tclean, or - for stdin"
    )


def run(args: argparse.Namespace, check: Callable[[list[str]], object]) -> None:
    """Run `radrim translate` with the parsed arguments.

    Parameters
    ----------
    args : Namespace
    check : callable
        Raises ConfigError for arguments of `radrim image` that it refuses.
    """
    words = args.words
    if not words:
        raise ConfigError('radrim translate needs a command: radrim translate "wsclean -size 512 512 ... obs.ms".')
    if words == ["-"]:
        words = [sys.stdin.read()]
    done = translate(words)
    print(shlex.join(done.words))
    for note in done.notes:
        print(f"# {note}")
    for reason in done.missing:
        print(f"# not translated: {reason}")
    if done.command == "image" and done.inputs:
        try:
            check(done.words[1:])
        except ConfigError as error:
            print(f"# radrim refuses this: {error}")
    if not done.inputs:
        print("# The observation is missing: write it after the command.")


def translate(words: list[str]) -> Translation:
    """The translation of a command of WSClean, in one or several words, or of a call of tclean."""
    if re.search(r"\btclean\s*\(", " ".join(words)):
        from radrim.config.translation.casa import translate_tclean

        return translate_tclean(" ".join(words))
    from radrim.config.translation.wsclean import translate_wsclean

    return translate_wsclean(words[0] if len(words) == 1 else words)

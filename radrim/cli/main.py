"""The command `radrim`. Subcommands import heavy modules when they run, so that help answers at once."""

import argparse
import gc
import os
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from radrim.cli.interrupt import STATUS, answered_at_once, end_now
from radrim.cli.log import close_file, say_error, set_up_log
from radrim.cli.parser import build_parser, command_parsers
from radrim.cli.spelling import translate_flags, wsclean_spelling
from radrim.config.toml_file import nearest
from radrim.errors import RadrimError
from radrim.runtime.allocator import keep_memory
from radrim.runtime.waiting import wait_briefly

OBSERVATIONS = (".ms", ".uvfits", ".uvf", ".fits", ".idifits", ".uvh5", ".zarr", ".ps")
"""Endings of observations."""
RESUMED = ("image", "batch", "selfcal", "train")
"""Commands that go on when they are given again."""
COMPLETE_AT_ANY_TIME = ("image", "compare", "plan", "info", "view")
"""Commands that may be ended at any instant: their files appear when they are complete."""


def program(argv: Sequence[str] | None = None) -> int:
    """Run `main` in its own process; returns the exit status."""
    keep_memory()
    wait_briefly()
    gc.set_threshold(50_000)  # new objects before a collection; by default there are many while modules load
    status = main(argv, alone=True)
    if status == STATUS:
        end_now()  # the interpreter would wait for threads that compute
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
    if fault := _wrong_command(argv):
        say_error(fault)
        return 2
    args = argparse.Namespace(command=None, debug="--debug" in argv)
    try:
        _parse(argv, args)
        if args.command is None:
            build_parser().print_help()
            return 0
        args.line, args.alone = shlex.join(["radrim", *argv]), alone
        set_up_log(args.debug, args.quiet, args.log)
        with _interruptible(args):
            _tell(args)
            status = args.run(args) or 0
            sys.stdout.flush()  # here, where a broken pipe is handled
    except BrokenPipeError:
        if args.command not in ("info", "plan", "model", "translate", "completion"):  # it may be the pipe of a worker
            raise
        # After `radrim info obs.ms | head` Python would print an error when it closes the output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except RadrimError as error:
        if args.debug:
            raise
        say_error(error)
        return 2
    except MemoryError as error:
        if args.debug:
            raise
        say_error(f"the memory is not enough: {error}. Select less data (--spw, --chan-range, --time-range), or image "
                  "a smaller --size.")  # fmt: skip
        return 2
    except RuntimeError as error:
        if args.debug or type(error).__name__ != "OutOfMemoryError":  # by name, so that torch is not imported
            raise
        say_error("the GPU's memory is not enough. Use --device cpu, a smaller --size, or in training a smaller batch "
                  "or problems.size.")  # fmt: skip
        return 2
    except KeyboardInterrupt:
        return STATUS
    else:
        return status
    finally:
        close_file()


def _wrong_command(argv: Sequence[str]) -> str:
    """What is wrong with the first word, if it is no command but says what is meant; else empty."""
    word = argv[0] if argv else ""
    if word == "clean":
        return (
            f"radrim clean is called radrim discard: {shlex.join(['radrim', 'discard', *argv[1:]])} deletes the "
            "work directory of an interrupted run. For the algorithm CLEAN: radrim image OBS.ms --solver clean."
        )
    if word and not word.startswith("-") and (Path(word).exists() or word.lower().rstrip("/").endswith(OBSERVATIONS)):
        known = command_parsers(build_parser())
        if word not in known:
            return f"{word} is not a command. To image it: {shlex.join(['radrim', 'image', *argv])}"
    return ""


def _parse(argv: Sequence[str], args: argparse.Namespace) -> None:
    """Parse the arguments into `args`, with the notes on what was translated.

    Raises
    ------
    ConfigError
        An option of WSClean that radrim does not have, or a value that an option does not take.
    """
    parser = build_parser()
    words, args.notes = translate_flags(argv)
    if words[:1] != ["translate"]:
        words = wsclean_spelling(words)
    _, rest = parser.parse_known_args(words, args)
    unknown = [word for word in rest if word.startswith("-") or "ms" not in args]
    if unknown:
        parser.prog = " ".join(filter(None, ["radrim", args.command]))
        parsers = command_parsers(parser)
        shown = parsers.get(args.command, parser)
        flags = [flag for action in shown._actions for flag in action.option_strings]  # noqa: SLF001 - no public list
        word = f"--{unknown[0].lstrip('-').split('=')[0]}"
        hint = nearest(word, flags, "", "; ") if unknown[0].startswith("-") else ""
        more = f"{hint} {parser.prog} --help lists all." if hint else ""
        parser.error(f"unknown option {unknown[0]}{more}")
    if rest:  # argparse does not assign a Measurement Set that follows an option
        args.ms += rest


def _tell(args: argparse.Namespace) -> None:
    """Write the notes on WSClean's options, and the command to the log's file."""
    import logging

    log = logging.getLogger("radrim")
    for handler in log.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(logging.LogRecord("radrim", logging.INFO, "", 0, args.line, None, None))
    for note in args.notes:
        log.info("%s", note)


@contextmanager
def _interruptible(args: argparse.Namespace) -> Iterator[None]:
    """Answer Ctrl-C with a message during the block; in a process of its own at once.

    Raises
    ------
    KeyboardInterrupt
        After the message.
    """

    def say() -> None:
        say_error(_interrupted(args))

    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not (args.alone and usual):
        try:
            yield
        except KeyboardInterrupt:
            say()
            raise
        return
    with answered_at_once(say) as interrupts:
        interrupts.force = args.command in COMPLETE_AT_ANY_TIME
        try:
            yield
        except KeyboardInterrupt:
            interrupts.say()
            raise


def _interrupted(args: argparse.Namespace) -> str:
    """What an interrupt leaves."""
    if args.command == "predict":
        return (
            f"interrupted; if {args.column} was begun it is marked as unfinished, and the same command writes it anew."
        )
    work = getattr(args, "work", None)
    if work is not None and work.is_dir():
        return (
            f"interrupted; {work} keeps what is finished, and the same command goes on from there (radrim discard "
            f"{work.with_suffix('')} deletes it)."
        )
    more = ", and the same command goes on" if args.command in RESUMED else ""
    return f"interrupted; nothing was half-written{more}."

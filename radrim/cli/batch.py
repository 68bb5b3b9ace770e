"""The command `radrim batch`, which images many observations. Only `run` imports heavy modules."""

import argparse
import logging
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radrim.errors import ConfigError

if TYPE_CHECKING:
    from radrim.batch.config import BatchConfig
    from radrim.batch.items import Item
    from radrim.report.qa import Limits

log = logging.getLogger("radrim")

SOME_FAILED = 3
"""Exit status if some images could not be made."""

DESCRIPTION = """\
Image many observations, each in its own process. The same command again makes the images that are missing, that failed,
or that have other input or settings than before.

exit status: 0 all images are there, 3 some could not be made, 2 the configuration is wrong, 130 interrupted
(also by SIGTERM; the same command goes on).
"""

EXAMPLES = """\
examples:
  radrim batch survey.toml                   make the images of a batch (docs/batch.md)
  radrim batch survey.toml a.ms b.ms         image these Measurement Sets with the options of the file
  radrim batch survey.toml --dry-run         list the images that would be made, and why
  radrim batch survey.toml --slurm --submit  submit the batch as a SLURM array
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `radrim batch` to an argparse parser."""
    inputs = "configuration; and Measurement Sets, folders, patterns or lists that replace its inputs"
    parser.add_argument("ms", nargs="*", metavar="CONFIG.toml|OBS.ms", help=inputs)
    parser.add_argument("--config", metavar="CONFIG.toml", help="configuration, if it is not the first argument")
    parser.add_argument("--output", metavar="DIR", help="folder of the images (default: images)")
    parser.add_argument("--jobs", metavar="N", help="images at once; threads and memory are divided (default: 1)")
    parser.add_argument("--retries", metavar="N", help="further tries if a process is killed (default: 1)")
    parser.add_argument("--time-limit", metavar="TIME", help="for one image, such as 45min (default: none)")
    parser.add_argument("--memory", metavar="SIZE", help="of all images at once (default: 0.6 of the machine's)")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="make the images on the workers of this Dask scheduler")
    parser.add_argument("--slurm", action="store_true", help="write the job script of a SLURM array, OUTPUT/slurm.sh")
    parser.add_argument("--submit", action="store_true", help="submit the job script with sbatch, too")
    parser.add_argument("--item", metavar="N", help="make one image only, by number or name, as a task of an array")
    parser.add_argument("--dry-run", action="store_true", help="list the images that would be made, and why")


def run(args: argparse.Namespace) -> int:
    """Run `radrim batch`; returns the exit status."""
    from radrim.batch.items import choose_item, make_items
    from radrim.report.qa import Limits
    from radrim.runtime.files import check_writable

    config, inputs = _configuration(args)
    items = make_items(config, inputs)
    limits = Limits(**{**vars(Limits()), **config.quality})
    todo = {item.name: reason for item in items if (reason := item.to_do())}
    asked = items if args.item is None else [choose_item(items, args.item)]
    items_now = [item for item in asked if item.name in todo]
    if args.dry_run:
        return _list(items, todo)
    _make_folder(config.output)
    check_writable(config.output / "summary")
    if args.slurm:
        return _slurm(args, items_now, config, inputs)
    made = _make(args, items, items_now, config, limits)
    return 0 if all(made[item.name] for item in asked) else SOME_FAILED


def _configuration(args: argparse.Namespace) -> "tuple[BatchConfig, list[str]]":
    """The configuration, and the inputs of the command line, which replace those of the configuration."""
    from radrim.batch.config import BatchConfig, load_batch

    words = list(args.ms)
    path = args.config
    if path is None and words and words[0].lower().endswith(".toml"):
        path = words.pop(0)
    config = BatchConfig() if path is None else load_batch(path)
    if args.submit and not args.slurm:
        raise ConfigError("--submit is for --slurm: give both.")
    given = (args.slurm, args.item is not None, args.scheduler is not None)
    if sum(given) > 1:
        raise ConfigError("--slurm, --item and --scheduler are three ways of running a batch: give one of them.")
    names = ("output", "jobs", "retries", "time_limit", "memory")
    return config.with_options(**{name: getattr(args, name) for name in names}), words


def _make_folder(output: Path) -> None:
    from radrim.errors import OutputError
    from radrim.runtime.files import advice

    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"--output {output} cannot be made: {advice(error, output.parent)}") from None


def _list(items: "Sequence[Item]", todo: Mapping[str, str]) -> int:
    for number, item in enumerate(items, 1):
        print(f"{number:4d}  {item.name}: {todo.get(item.name) or 'nothing to do'}")
    print(f"{len(todo)} of {len(items)} images would be made.")
    return 0


def _slurm(args: argparse.Namespace, items: "Sequence[Item]", config: "BatchConfig", inputs: Sequence[str]) -> int:
    from radrim.batch.slurm import submit, write_script

    if not items:
        log.info("Nothing to do: all images are there.")
        return 0
    words = [*([str(config.path)] if config.path else []), *inputs]
    for option in ("output", "retries", "time_limit", "memory"):
        if getattr(args, option) is not None:
            words += [f"--{option.replace('_', '-')}", getattr(args, option)]
    script = write_script(items, config, words)
    if args.submit:
        log.info("Job %s: %s, %d tasks.", submit(script), script, len(items))
    else:
        log.info("Wrote %s, %d tasks; submit it with: sbatch %s", script, len(items), script)
    return 0


def _make(
    args: argparse.Namespace,
    items: "Sequence[Item]",
    items_now: "Sequence[Item]",
    config: "BatchConfig",
    limits: "Limits",
) -> dict[str, bool]:
    """Make the images, update and print the summary; returns by name whether each image of the batch exists."""
    from radrim.batch.items import DONE, FAILED, SUSPECT
    from radrim.batch.report import summary_text, write_summaries
    from radrim.batch.run import lock, make_images, make_on_cluster, terms_of

    alone = args.item is not None
    count = 0

    def seen(item, state):
        nonlocal count
        count += 1
        rows = {row["name"]: row for row in write_summaries(items, limits, config.output)}
        row = rows[item.name]
        level = logging.WARNING if row["state"] in (FAILED, SUSPECT) else logging.INFO
        log.log(level, "[%d/%d] %s: %s", count, len(items_now), item.name, _words(row, state))

    # Tasks of an array share the folder with each other, but not with a batch that makes all images.
    with _terminable(), lock(config.output, f"The folder {config.output}", shared=alone):
        log.info("%d of %d images to make in %s.", len(items_now), len(items), config.output)
        try:
            if items_now and args.scheduler is not None:
                make_on_cluster(items_now, terms_of(config), args.scheduler, seen)
            elif items_now:
                make_images(items_now, terms_of(config, alone), 1 if alone else config.jobs, seen)
        finally:
            rows = write_summaries(items, limits, config.output)
            if not alone and log.isEnabledFor(logging.INFO):
                print(summary_text(rows))
                log.info("%s, summary.csv, summary.ecsv", config.output / "index.html")
    return {row["name"]: row["state"] in (DONE, SUSPECT) for row in rows}


def _words(row: Mapping[str, Any], state: Mapping[str, Any]) -> str:
    """The state of an image, its time and the reason, in one line."""
    from radrim.batch.report import duration

    took = f" after {duration(state['seconds'])}" if state.get("seconds") is not None else ""
    return f"{row['state']}{took}" + (f": {row['reason']}" if row["reason"] else "")


@contextmanager
def _terminable() -> Iterator[None]:
    """Treat SIGTERM as Ctrl-C during the block; SLURM sends it before the end of a task's time."""

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

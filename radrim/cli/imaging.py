"""The commands `radrim image`, `plan`, `info` and `discard`. They import heavy modules when they run."""

import argparse
import os
from pathlib import Path

from radrim.config.files import load_toml
from radrim.config.options import ImageConfig
from radrim.config.toml_file import nearest
from radrim.errors import ConfigError, InputError
from radrim.report.draw_pool import Painters


def parse_config(args: argparse.Namespace) -> ImageConfig:
    """The configuration of `radrim image` from the parsed arguments; its input files exist.

    Raises
    ------
    ConfigError
        An option has an invalid value.
    InputError
        A file that an option names does not exist.
    """
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


def check_inputs(config: ImageConfig, start_model: str | None = None) -> None:
    """Raise InputError for input files that do not exist, before anything is imported or read.

    Parameters
    ----------
    config : ImageConfig
    start_model : str, optional
        Value of --start-model if it must be a file.
    """
    for path in config.ms:
        require_input(path)
    for option, file in (("mask", config.mask), ("start-model", start_model)):
        if file and not Path(file).exists():
            raise InputError(f"--{option} {file} cannot be read: No such file or directory{similar(file)}.")


def require_input(path: str) -> None:
    """Raise InputError if an observation does not exist."""
    if not os.path.exists(path):
        raise InputError(f"{path} does not exist{similar(path)}; give the path of a Measurement Set or a UVFITS file.")


def similar(path: str) -> str:
    """The name of a file that a wrong path may mean, as the end of a message; empty if there is none."""
    try:
        names = os.listdir(os.path.dirname(path) or ".")
    except OSError:
        return f" (there is no folder {os.path.dirname(path)})" if not os.path.isdir(os.path.dirname(path)) else ""
    hint = nearest(os.path.basename(path), names, "")
    return f" ({hint})" if hint else ""


def image(args: argparse.Namespace) -> None:
    """Run `radrim image` with the parsed arguments."""
    config = parse_config(args)
    check_inputs(config, config.start_model)
    from radrim.runtime.files import check_writable

    prefix = config.name or Path(config.ms[0]).absolute().stem
    check_writable(prefix)
    args.work = Path(f"{prefix}.radrim")
    threads = config.threads or len(os.sched_getaffinity(0))
    # The painters start while this process imports the modules of imaging.
    with Painters(threads if args.alone and config.report else 0) as painters:
        from radrim.pipeline import run

        run(config, command=args.line, painters=painters)


def plan(args: argparse.Namespace) -> None:
    """Run `radrim plan` with the parsed arguments."""
    config = parse_config(args)
    check_inputs(config, config.start_model)
    from radrim.planning import make_plan

    print(make_plan(config, args.workers, args.active, args.cycles))


def discard(args: argparse.Namespace) -> None:
    """Run `radrim discard` with the parsed arguments."""
    from radrim.workdir.directory import discard as remove

    for name in args.name:
        print(f"removed {remove(name)}")


def info(args: argparse.Namespace) -> None:
    """Run `radrim info` with the parsed arguments."""
    for path in args.ms:
        require_input(path)
    from radrim.inspection.describe import describe

    for path in args.ms:
        print(describe(path, args.antennas, args.baselines))

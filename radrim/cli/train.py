"""The commands `radrim train`, which trains models, and `radrim model`, which describes them."""

import argparse
import logging
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

log = logging.getLogger("radrim")


def add_train_arguments(parser: argparse.ArgumentParser, minutes: Callable[[str], float]) -> None:
    """Add the arguments of `radrim train` to an argparse parser; `minutes` parses a time."""
    parser.add_argument(
        "recipe", metavar="RECIPE.toml", help="tables model, problems and training; see pipelines/train"
    )
    parser.add_argument(
        "--output", metavar="DIR", help="folder of the run, to start or resume (default: RECIPE.training)"
    )
    parser.add_argument(
        "--minutes",
        type=minutes,
        default=math.inf,
        metavar="TIME",
        help="stop after this time [min], such as 8h; the next call goes on",
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute")
    parser.add_argument("--threads", type=int, help="processor threads of the network (default: all)")
    parser.add_argument("--workers", type=int, help="processes that make the problems (default: the recipe's)")
    parser.add_argument("--samples", type=int, help="problems to learn from in all (default: the recipe's)")


def train(args: argparse.Namespace) -> None:
    """Run `radrim train`."""
    from radrim.errors import ConfigError
    from radrim.rim.training.config import default_folder, kind_of, load_training

    if args.threads is not None and args.threads < 1:
        raise ConfigError(f"--threads {args.threads} must be at least 1.")
    if not args.minutes > 0:
        raise ConfigError(f"--minutes {args.minutes:g} must be above 0.")
    folder = args.output or default_folder(args.recipe)
    if (kind := kind_of(args.recipe)) != "model":
        _train_on_outcomes(kind, args, folder)
        return
    stages = load_training(args.recipe, workers=args.workers, samples=args.samples)
    import torch

    from radrim.rim.training.trainer import Trainer

    if args.threads:
        torch.set_num_threads(args.threads)
    end = time.monotonic() + 60 * args.minutes
    for number, config in enumerate(stages, 1):
        trainer = Trainer(config, folder, args.device)
        if trainer.seen >= config.samples:
            continue
        log.info(
            "Training %s, %d parameters, on %s in %s; results in %s%s.",
            config.architecture,
            sum(p.numel() for p in trainer.model.parameters()),
            trainer.device,
            "bfloat16" if trainer.half else "float32",
            folder,
            f"; stage {number} of {len(stages)}" if len(stages) > 1 else "",
        )
        with _shown(config.samples, trainer.seen) as progress:
            trainer.run((end - time.monotonic()) / 60, progress)
        if trainer.seen < config.samples:
            break
    done = trainer.seen >= stages[-1].samples
    log.info("%s %s", "Done:" if done else "Stopped; the same command goes on:", trainer.folder / "model.safetensors")


def _train_on_outcomes(kind: str, args: argparse.Namespace, folder: str | Path) -> None:
    """Train a network that learns from finished images."""
    import torch

    from radrim.rim.training.prior_trainer import PriorTrainer, load_prior_training
    from radrim.rim.training.uncertainty_trainer import UncertaintyTrainer, load_uncertainty_training
    from radrim.runtime.progress_bar import ProgressBar

    load, make = {
        "prior": (load_prior_training, PriorTrainer),
        "uncertainty": (load_uncertainty_training, UncertaintyTrainer),
    }[kind]
    if args.threads:
        torch.set_num_threads(args.threads)
    trainer = make(load(args.recipe, workers=args.workers, outcomes=args.samples), folder)
    log.info("Training %d parameters in %s.", sum(p.numel() for p in trainer.network.parameters()), folder)
    minute_over = _EveryMinute()
    with ProgressBar("training") as bar:

        def show(what, done, total):
            bar.expect(total)
            bar.reach(done)
            if minute_over():
                log.info("%d of %d %s", done, total, what)

        done = trainer.run(args.minutes, show)
    log.info("%s %s", "Done:" if done else "Stopped; the same command goes on:", trainer.folder / "model.safetensors")


@contextmanager
def _shown(total: int, seen: int) -> Iterator[Callable[..., None]]:
    """The function that shows the progress: a bar on a terminal, elsewhere a line every minute."""
    mean = _Mean()
    if sys.stdout.isatty() and log.isEnabledFor(logging.INFO):
        try:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
        except ImportError:  # a bare training machine
            yield _Lines(mean)
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns) as bar:
            task = bar.add_task("training", total=total, completed=seen)

            def show(seen: int, loss: float, rate: float) -> None:  # noqa: ARG001 - as `_Lines.__call__`
                bar.update(task, completed=seen, description=f"loss {mean(loss):.2f} dB")

            yield show
    else:
        yield _Lines(mean)


class _Mean:
    """Running mean of the loss."""

    def __init__(self) -> None:
        self.value: float | None = None

    def __call__(self, loss: float) -> float:
        if math.isfinite(loss):
            self.value = loss if self.value is None else 0.98 * self.value + 0.02 * loss
        return math.nan if self.value is None else self.value


class _EveryMinute:
    """Tells once a minute that a minute has passed."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def __call__(self) -> bool:
        if time.monotonic() - self.last <= 60:
            return False
        self.last = time.monotonic()
        return True


class _Lines:
    """Logs a line every minute."""

    def __init__(self, mean: _Mean) -> None:
        self.mean, self.minute_over = mean, _EveryMinute()

    def __call__(self, seen: int, loss: float, rate: float) -> None:
        value = self.mean(loss)
        if self.minute_over():
            log.info("%d problems, loss %.2f dB, rate %.2g", seen, value, rate)


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `radrim model` to an argparse parser."""
    parser.add_argument("action", choices=("list", "show"), help="list the models that come with radrim, or show one")
    parser.add_argument("name", nargs="?", metavar="NAME|FILE", help="model to show")


def model(args: argparse.Namespace) -> None:
    """Run `radrim model`."""
    from radrim.errors import ConfigError
    from radrim.rim.checkpoint import (
        DENOISER,
        PRIOR,
        UNCERTAINTY,
        describe,
        find_model,
        list_models,
        minor_cycle_models,
    )

    if args.action == "list":
        models = list_models()
        if not models:
            print("This radrim comes without models; train one with radrim train, or give a file with --model.")
        for name, path in models.items():
            facts = describe(path)
            used = "" if name in minor_cycle_models() else "; radrim uses it by itself, it is not for --model"
            print(f"{name:12s} {_line(facts)}, {path.stat().st_size / 2**20:.1f} MiB{used}")
        return
    if args.name is None:
        raise ConfigError("radrim model show needs a name from radrim model list, or a file.")
    path = find_model(args.name)
    facts = describe(path)
    print(f"{path}: {_line(facts)}")
    for title in ("config", "recipe"):
        print(f"{title}:")
        for key, value in facts[title].items():
            print(f"  {key} = {value}")
    what = {
        UNCERTAINTY: "coverage of the intervals",
        PRIOR: "medians of held-back models, dB",
        DENOISER: "error on held-back skies by their peak over the noise, dB of the noise",
    }.get(facts["architecture"], "medians of held-back problems; dB, dB, dB, part, part")
    print(f"scores ({what}):")
    for name, values in facts["scores"].items():
        print(f"  {name:28s} " + "  ".join(f"{key} {value:.3g}" for key, value in values.items()))


def _line(facts: Mapping[str, Any]) -> str:
    recipe = facts["recipe"]
    if "dims" not in facts["config"]:
        return f"{facts['architecture']}, trained on {recipe.get('outcomes', '?')} images"
    dims = facts["config"]["dims"]
    return f"{facts['architecture']}, {dims}-D, trained on {recipe.get('seen', '?')} problems"

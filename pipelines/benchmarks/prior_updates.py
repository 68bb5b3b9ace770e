"""What prior updates of deconvolved models gain, by their number and by how far the equations are solved.

    python pipelines/benchmarks/prior_updates.py [--model prior] [--size 128] [--count 120] [--workers 2]

Simulated problems, the mix of the network's own training with another seed, are deconvolved without prior updates
(`radrim.rim.training.runs`). The models that leave at most 1.5 times the noise are then updated in several ways. Prints
the mean gain in decibels (`native`, `half`, `beam`; `lognative` and `logbeam` on a logarithmic scale), the worst `beam`
and `logbeam`, and the seconds of all prior updates (median); then, for each class of sky, the gain of the imager's own
way.
"""

import argparse
import functools
import time
import tomllib
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from losses import smoothed
from peer import table

from radrim.metrics import log_snr_db
from radrim.rim import checkpoint
from radrim.rim.network.prior import NEAR, STEPS, held_back, update_by_prior
from radrim.rim.network.psf import PsfConvolution
from radrim.rim.training.recipe import make_recipe
from radrim.rim.training.runs import make_outcome
from radrim.rim.training.validation import decibels

SEED, STREAM = 91, (6,)
NAMES = ("native", "half", "beam", "lognative", "logbeam")
WAYS = {"one, 10 steps": (1, 10), "one, 40": (1, 40), "one, to the end": (1, STEPS),
        "two, 40": (2, 40), "two, to the end": (2, STEPS), "three, to the end": (3, STEPS)}  # fmt: skip
IMAGER = "two, to the end"


def scores(model, outcome):
    """Decibels of a model, in the order of `NAMES`."""
    truth, beam, span = outcome["truth"], tuple(outcome["beam"]), float(outcome["dynamic_range"])
    found = decibels(torch.from_numpy(model)[None], torch.from_numpy(truth)[None], torch.tensor([beam]))[0][:3]
    return [*found, log_snr_db(truth, model, span), log_snr_db(smoothed(truth, beam), smoothed(model, beam), span)]


@functools.cache
def tools(path, size, minor, prior):
    """Recipe, minor cycle and network, once in each process."""
    torch.set_num_threads(1)
    mix = tomllib.loads(Path(path).read_text())["problems"] | {"size": size}
    machine = checkpoint.load(checkpoint.find_model(minor), 2).model
    return make_recipe(mix), machine, checkpoint.load_prior(checkpoint.find_model(prior)).model


def judge(job):
    """Gains of one problem by all ways, and the seconds of its prior updates; None if it is no test of them."""
    number, *which = job
    recipe, machine, network = tools(*which)
    outcome = make_outcome(SEED, number, recipe, machine, STREAM, cleaned=0.0)
    model, residual, psf, points = (torch.from_numpy(outcome[k]) for k in ("model", "residual", "psf", "points"))
    noise = float(outcome["thermal"])
    held = model * held_back(model, points)
    if not outcome["truth"].any() or not (model - held).any() or residual.std() > NEAR * noise:
        return None
    before, convolution, gains = scores(outcome["model"], outcome), PsfConvolution(psf, model.shape), {}
    for name, (updates, steps) in WAYS.items():
        start, seen, left = time.perf_counter(), model - held, residual
        for _ in range(updates):
            after = update_by_prior(network, seen, left, convolution, noise, steps=steps)
            seen, left = after, left - convolution.normal(after - seen)
        seconds = time.perf_counter() - start
        gains[name] = [*np.subtract(scores((held + seen).numpy(), outcome), before), seconds]
    return outcome["sky"], gains


def main():
    """Parse the command line, deconvolve, update, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="pipelines/train/prior.toml")
    parser.add_argument("--minor", default="base")
    parser.add_argument("--model", default="prior")
    parser.add_argument("--size", type=int, default=128, help="pixels along a side")
    parser.add_argument("--count", type=int, default=120)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    jobs = [(number, args.recipe, args.size, args.minor, args.model) for number in range(args.count)]
    with ProcessPoolExecutor(args.workers, get_context("spawn")) as pool:
        found = [result for result in pool.map(judge, jobs) if result]
    rows = []
    for name in WAYS:
        gains = np.array([result[name] for _, result in found])
        worst = [f"{gains[:, NAMES.index(k)].min():+.1f}" for k in ("beam", "logbeam")]
        rows.append([name, *(f"{v:+.2f}" for v in gains[:, :5].mean(0)), *worst, f"{np.median(gains[:, 5]):.2f}"])
    print(f"{len(found)} of {args.count} problems of {args.size}^2 pixels ended within {NEAR} times the noise\n")
    print(table(("way", *NAMES, "worst beam", "worst logbeam", "s"), rows))
    by_sky = defaultdict(list)
    for sky, result in found:
        by_sky[sky].append(result[IMAGER][:5])
    rows = [[sky, str(len(g)), *(f"{v:+.2f}" for v in np.mean(g, 0))] for sky, g in sorted(by_sky.items())]
    print(table(("two prior updates", "problems", *NAMES), rows))


if __name__ == "__main__":
    main()

"""Uncertainties: how many errors of simulated images they hold, by class of the sky and by dynamic range.

    python pipelines/benchmarks/uncertainty.py --count 300 --work bench-work/uncertainty

Problems of 128 x 128 pixels with another seed than the training, imaged by the RIM (three quarters) and by CLEAN.
Counted are all pixels of the restored image, and those where sky or model are above three times the noise
(`on sources`); of the model those where it or the sky is not 0. Draws coverage.png.
"""

import argparse
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from peer import table

from radrim.rim import checkpoint
from radrim.rim.training.recipe import make_recipe
from radrim.rim.training.runs import make_outcome
from radrim.rim.training.uncertainty_trainer import coverage

mpl.use("Agg")
import itertools

import matplotlib.pyplot as plt

SEED = 4000
RANGES = (0, 100, 1000, 10_000, 100_000, np.inf)
COLUMNS = ("beam68", "beam95", "beam68_on", "beam95_on", "pixel68", "pixel95")
TITLES = ("", "images", "68 %", "95 %", "68 %, on sources", "95 %, on sources", "model, 68 %", "model, 95 %")


def make(path, number, problems):
    """One outcome, unless it is there."""
    if not path.exists():
        torch.set_num_threads(1)
        machine = checkpoint.load(checkpoint.find_model("base"), 2).model
        prior = checkpoint.load_prior(checkpoint.PRIOR_NETWORK).model
        np.savez(path, **make_outcome(SEED, number, make_recipe(problems), machine, prior=prior))


def main():
    """Make the images, count, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("bench-work/uncertainty"))
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--network", type=Path, default=checkpoint.UNCERTAINTY_NETWORK)
    parser.add_argument("--layouts", type=Path, default=Path("../shared/data/arrays"))
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    paths, problems = [args.work / f"{k:05d}.npz" for k in range(args.count)], {"layouts": str(args.layouts)}
    with ProcessPoolExecutor(args.workers) as pool:
        list(pool.map(make, paths, range(args.count), [problems] * args.count))
    network, groups = checkpoint.load_uncertainty(args.network).model, [groups_of(path) for path in paths]
    found = coverage(network, paths, groups)
    ranges = [_range(low, high) for low, high in itertools.pairwise(RANGES)]
    skies = sorted(set(found) - {"all", "by rim", "by clean", *ranges})
    found = {name: found[name] for name in ("all", *skies, *ranges, "by rim", "by clean") if name in found}
    sizes = Counter(name for names in groups for name in names)
    print(table(TITLES, [
        (name, sizes[name], *(f"{100 * one[key]:.1f}" if key in one else "" for key in COLUMNS))
        for name, one in found.items()
    ]))  # fmt: skip
    draw(found, args.work / "coverage.png")


def groups_of(path):
    """The groups an outcome belongs to: all, its class, its dynamic range and who made it."""
    with np.load(path) as arrays:
        value = float(arrays["dynamic_range"])
        low, high = next(pair for pair in itertools.pairwise(RANGES) if pair[0] <= value < pair[1])
        return "all", str(arrays["sky"]), _range(low, high), f"by {arrays['solver']}"


def _range(low, high):
    return f"dynamic range {low:g} to {high:g}"


def draw(found, path):
    """Coverage of each group beside what it should be."""
    fig, axes = plt.subplots(1, 2, figsize=(10, 0.3 * len(found) + 1.5), sharey=True, layout="constrained")
    for ax, suffix, title in zip(axes, ("", "_on"), ("all pixels", "on sources"), strict=True):
        for key, wanted, color in (("beam68", 68.3, "tab:blue"), ("beam95", 95.4, "tab:orange")):
            ax.axvline(wanted, color=color, lw=1)
            values = [100 * one.get(key + suffix, np.nan) for one in found.values()]
            ax.plot(values, range(len(found)), "o", color=color, label=f"{wanted:g} % interval")
        ax.set(title=f"Restored image, {title}", xlabel="errors within [%]", xlim=(40, 101))
        ax.grid(alpha=0.3)
    axes[0].set_yticks(range(len(found)), list(found))
    axes[0].invert_yaxis()
    axes[0].legend()
    fig.savefig(path, dpi=110)


if __name__ == "__main__":
    main()

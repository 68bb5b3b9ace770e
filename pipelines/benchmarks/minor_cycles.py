"""CLEAN, the plain RIM and the i-RIM on the same simulated problems, in one table.

    python pipelines/benchmarks/minor_cycles.py --model irim=MODEL --model rim=MODEL [--count 72] [--cycles 10]

The problems are those of `radrim.rim.training.problems.validation_set`: tiles of 128 x 128 pixels that no training has
seen,
skies and arrays of all classes, calibrated or not. Every solver gets the same dirty image, PSF and noise, and as many
major cycles, in which the residual is that of the model by PSF convolution. CLEAN is radrim's multi-scale CLEAN with
the defaults of `radrim image`.
"""

import argparse
import time

import numpy as np
import torch
from peer import table

from radrim.deconvolve.clean import CleanSettings, CleanSolver
from radrim.rim.checkpoint import find_model, load
from radrim.rim.minor.settings import RimSettings
from radrim.rim.minor.solver import RimSolver
from radrim.rim.training.problems import stack, validation_set
from radrim.rim.training.runs import solve_problem
from radrim.rim.training.validation import SCORES, judge


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", default=[], metavar="NAME=MODEL", help="a trained model to compare")
    parser.add_argument("--count", type=int, default=72)
    parser.add_argument("--cycles", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    problems = validation_set(args.seed, args.count)
    machines = {name: load(find_model(path), 2).model for name, path in (pair.split("=") for pair in args.model)}
    makers = {"CLEAN": lambda _: CleanSolver(CleanSettings())}
    for name, machine in machines.items():
        makers[name] = lambda problem, machine=machine: RimSolver(machine, RimSettings(noise=problem.noise))
    results = {}
    for name, make in makers.items():
        start = time.process_time()
        rows = []
        for problem in problems:
            model, residual = solve_problem(make(problem), problem, args.cycles)
            rows += judge(torch.from_numpy(model)[None], torch.from_numpy(residual)[None], stack([problem]))
        results[name] = np.array(rows), (time.process_time() - start) / len(problems)
    print(table(["all classes", *SCORES, "CPU s"],
                [[name, *(f"{np.nanmedian(rows[:, k]):.3g}" for k in range(len(SCORES))), f"{seconds:.2f}"]
                 for name, (rows, seconds) in results.items()]))  # fmt: skip
    classes = list(dict.fromkeys(problem.sky for problem in problems))
    for k, key in enumerate(("native", "half", "beam")):
        print()
        print(table([key, *classes], [
            [name, *(f"{np.nanmedian(rows[[p.sky == sky for p in problems], k]):.1f}" for sky in classes)]
            for name, (rows, _) in results.items()
        ]))  # fmt: skip


if __name__ == "__main__":
    main()

"""Where the time of the learned minor cycle goes: convolutions of the network, transforms, copies, the rest.

    python pipelines/benchmarks/rim_profile.py [--model base] [--size 1024]

One minor cycle of a simulated galaxy, profiled by PyTorch: time of its operations, in groups, on one thread: with more
of them tiles go through the network beside each other, on threads of their own, which the profiler does not see.
Fourier transforms of images, and the search for points, are not PyTorch's.
"""

import argparse
import time

import numpy as np
import scipy.ndimage
import torch
from peer import table
from torch.profiler import ProfilerActivity, profile

from radrim.rim.checkpoint import find_model, load
from radrim.rim.minor.settings import RimSettings
from radrim.rim.minor.solver import RimSolver

GROUPS = {
    "convolutions": ("convolution", "conv2d", "conv_transpose", "mkldnn", "addmm", "aten::mm", "aten::bmm"),
    "copies, filling, layout": ("copy_", "contiguous", "clone", "zero_", "fill_", "cat", "pad", "empty", "to_copy"),
}
"""Beginnings or parts of the names of operations; what fits none is arithmetic and the like."""


def observation(size, noise=1e-3, seed=0):
    """(psf (2 size, 2 size), dirty (size, size)) of a galaxy of a fourth of the image, seen by random baselines."""
    rng = np.random.default_rng(seed)
    wide = 2 * size
    v, u = np.meshgrid(np.fft.fftfreq(wide), np.fft.fftfreq(wide), indexing="ij")
    weight = np.where((np.hypot(v, u) < 0.15) & (rng.random((wide, wide)) < 0.3), 1.0, 0.0)
    weight = weight + np.roll(weight[::-1, ::-1], (1, 1), (0, 1))
    psf = np.fft.fftshift(np.fft.ifft2(weight).real)
    sky = np.zeros((wide, wide))
    edge = 3 * size // 8
    sky[edge : size - edge, edge : size - edge] = scipy.ndimage.gaussian_filter(
        rng.random((size - 2 * edge, size - 2 * edge)) ** 8, 4
    )
    seen = np.fft.ifft2(np.fft.fft2(sky) * weight).real[:size, :size] / psf.max()
    grains = np.fft.ifft2(np.fft.fft2(rng.standard_normal((wide, wide))) * np.sqrt(weight)).real[:size, :size]
    dirty = seen / seen.max() + noise * grains / grains.std()
    return (psf / psf.max()).astype(np.float32), dirty.astype(np.float32)


def main():
    """Profile one minor cycle and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="base")
    parser.add_argument("--size", type=int, default=1024)
    args = parser.parse_args()
    torch.set_num_threads(1)
    psf, dirty = observation(args.size)
    machine = load(find_model(args.model), 2, "cpu").model
    zero = np.zeros_like(dirty)
    RimSolver(machine, RimSettings(noise=1e-3, tile=512))(dirty, psf, zero, 1e-3)  # warm up
    solver = RimSolver(machine, RimSettings(noise=1e-3, tile=512))
    start = time.perf_counter()
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        minor = solver(dirty, psf, zero, 1e-3)
    wall = time.perf_counter() - start
    seconds = dict.fromkeys([*GROUPS, "arithmetic"], 0.0)
    for event in recorded.key_averages():
        group = next((name for name, words in GROUPS.items() if any(word in event.key for word in words)), None)
        seconds[group or "arithmetic"] += event.self_cpu_time_total / 1e6
    seconds["not PyTorch's: transforms, points"] = wall - sum(seconds.values())
    print(f"{args.size} x {args.size} pixels, {minor.stop}: {wall:.1f} s\n")
    print(table(("part of the minor cycle", "share"), [(k, f"{v / wall:.0%}") for k, v in seconds.items()]))


if __name__ == "__main__":
    main()

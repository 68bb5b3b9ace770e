"""Training memory of the i-RIM against its depth, beside the same network with stored activations.

    python pipelines/benchmarks/rim_memory.py --out bench-work/rim_memory            # CPU: an hour on one core
    python pipelines/benchmarks/rim_memory.py --out bench-work/rim_memory --device cuda
    python pipelines/benchmarks/rim_memory.py --out bench-work/rim_memory --report   # table and plot of stored points

One point is one training step (five machine steps, loss, backward pass), each in a process of its own. Its peak is what
the step adds to what was there before: data, parameters, and a gradient for each of these.

- CUDA: torch.cuda.max_memory_allocated, reset before the step.
- CPU (Linux): the largest resident set (VmHWM, reset before the step). Large blocks of memory go back to the system at
  once (MALLOC_MMAP_THRESHOLD_), so that it follows what is in use.

A process that would need more than --limit is stopped, and its point is shown as more than the limit. At the deepest
network the gradients of both backward passes are compared, on a smaller image.

Writes points.json, table.md and memory.png. Needs matplotlib only for the plot.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch

from radrim.rim.network.irim import IRIM, IRIMConfig
from radrim.rim.network.psf import PsfConvolution
from radrim.rim.training.losses import decibel_loss

STEPS = 5
MODES = ("recomputed", "stored")


def machine(dims, layers, channels, device):
    """A machine of that many couplings, all different, that does more than nothing."""
    config = IRIMConfig(
        dims=dims, channels=channels, hidden=channels, depth=layers // STEPS, steps=STEPS, shared=False, squeeze=1
    )
    torch.manual_seed(0)
    model = IRIM(config)
    for name, parameter in model.named_parameters():
        if name.endswith("value.gain"):
            torch.nn.init.normal_(parameter, 0, 0.1)
    return model.to(device)


def problem(shape, device):
    """(PSF convolution, dirty image, truth): a Gaussian PSF and random points; only sizes matter here."""
    generator = torch.Generator().manual_seed(1)
    ny, nx = shape[-2:]
    y, x = (torch.arange(2 * n, dtype=torch.float32) - n for n in (ny, nx))
    psf = torch.exp(-(y[:, None] ** 2 + x**2) / 8).to(device)
    truth = torch.where(torch.rand(1, *shape, generator=generator) > 0.99, 1.0, 0.0).to(device)
    convolution = PsfConvolution(psf, (ny, nx))
    return convolution, convolution.normal(truth) + 1e-3 * torch.randn(1, *shape, generator=generator).to(device), truth


def train(model, data, mode):
    """One step; leaves the gradients in the parameters."""
    for layers in model.layers:
        layers.stored = mode == "stored"
    psf, dirty, truth = data
    found = model(psf, dirty, 1e-3)
    floor, beam = torch.full((1,), 1e-6, device=dirty.device), torch.tensor([[4.0, 4.0, 0.0]], device=dirty.device)
    decibel_loss(found.estimates, truth, floor, beam).backward()


def measure(dims, shape, layers, channels, mode, device):
    """One point: peak [byte] beyond data, parameters and their gradients; parameters [byte]; seconds."""
    model, data = machine(dims, layers, channels, device), problem(shape, device)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    parameters = sum(p.numel() * p.element_size() for p in model.parameters())
    # Libraries load and compile on first use; that must not count.
    train(machine(dims, STEPS, channels, device), problem((*shape[:-2], 16, 16), device), mode)
    before = _reset_peak(device)
    start = time.perf_counter()
    train(model, data, mode)
    return {"peak": _peak(device) - before, "parameters": parameters, "seconds": time.perf_counter() - start}


def _reset_peak(device):
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _peak(device):
    if device == "cuda":
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated()
    return _status("VmHWM")


def _status(key):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key + ":"))
    return 1024 * int(line.split()[1])


def compare(dims, shape, layers, channels, device):
    """Relative difference of the gradients of both backward passes, float32: of all parameters together, and worst."""
    model, data = machine(dims, layers, channels, device), problem(shape, device)
    found = []
    for mode in MODES:
        model.zero_grad()
        train(model, data, mode)
        found.append([p.grad.double() for p in model.parameters()])
    gaps = torch.stack([(a - b).norm() for a, b in zip(*found, strict=True)])
    sizes = torch.stack([b.norm() for b in found[1]])
    return {"together": (gaps.norm() / sizes.norm()).item(), "worst": (gaps / sizes.clamp_min(1e-30)).max().item()}


def point(task, limit):
    """The result of a task in a process of its own, or None if it wanted more memory than the limit [GB]."""
    environment = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "2"}
    command = [sys.executable, __file__, "--task", json.dumps(task), "--limit", str(limit)]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return json.loads(done.stdout)
    if "memory" in done.stderr or done.returncode < 0:
        return None
    raise SystemExit(f"{task} failed:\n{done.stderr}")


def run_task(text, limit):
    """In the process of one point: print its result as JSON."""
    task = json.loads(text)
    if task["arguments"]["device"] == "cuda":
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit * 1e9 / torch.cuda.mem_get_info()[1]))
    else:
        resource.setrlimit(resource.RLIMIT_DATA, (int(limit * 1e9),) * 2)
    print(json.dumps({"measure": measure, "compare": compare}[task["what"]](**task["arguments"])))


def collect(args):
    """All points, printed as they come."""
    volumes = [(2, (args.image, args.image)), (3, tuple(args.cube))]
    points = []
    for dims, shape in volumes:
        common = {"dims": dims, "channels": args.channels, "device": args.device}
        for mode in MODES:
            for layers in args.layers:
                arguments = common | {"shape": shape, "layers": layers, "mode": mode}
                result = point({"what": "measure", "arguments": arguments}, args.limit)
                points.append(arguments | (result or {"peak": None}))
                print(points[-1], flush=True)
        small = (*shape[:-2], args.compare, args.compare)
        arguments = common | {"shape": small, "layers": max(args.layers)}
        result = point({"what": "compare", "arguments": arguments}, args.limit)
        points.append(arguments | {"gradients": result})
        print(points[-1], flush=True)
    return points


def _volume(found):
    return " x ".join(map(str, found["shape"]))


def table(points, limit):
    """Markdown: a row per volume and depth, and one per comparison of gradients."""
    lines = [
        "| volume | layers | parameters MB | peak MB, recomputed | over shallowest | peak MB, stored | s | s, stored |",
        "|---|---|---|---|---|---|---|---|",
    ]
    measured = {(_volume(p), p["layers"], p["mode"]): p for p in points if "mode" in p}
    first = {}
    for (volume, layers, mode), ours in measured.items():
        if mode != MODES[0]:
            continue
        stored = measured[volume, layers, MODES[1]]
        if ours["peak"] is None:
            lines.append(f"| {volume} | {layers} | | > {1000 * limit:.0f} | | > {1000 * limit:.0f} | | |")
            continue
        shallowest = first.setdefault(volume, ours["peak"])
        theirs = f"> {1000 * limit:.0f}" if stored["peak"] is None else f"{stored['peak'] / 1e6:.0f}"
        lines.append(
            f"| {volume} | {layers} | {ours['parameters'] / 1e6:.1f} | {ours['peak'] / 1e6:.0f} "
            f"| {ours['peak'] / shallowest:.3f} | {theirs} | {ours['seconds']:.1f} "
            f"| {'' if stored['peak'] is None else format(stored['seconds'], '.1f')} |"
        )
    lines.append("")
    for found in points:
        if found.get("gradients"):
            gaps = found["gradients"]
            lines.append(
                f"Gradients at {found['layers']} layers, {_volume(found)}, float32, beside autograd's: relative "
                f"difference {gaps['together']:.1e} of all parameters together, {gaps['worst']:.1e} of the worst."
            )
    return "\n".join(lines)


def plot(points, path, limit):
    """Peak against depth, both axes logarithmic; triangles: more than the limit [GB]."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import matplotlib.ticker

    figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    volumes = list(dict.fromkeys(_volume(p) for p in points if "mode" in p))
    for volume, colour in zip(volumes, ("#1f5fa8", "#c4541a"), strict=False):
        for mode, style in zip(MODES, ("o-", "s--"), strict=True):
            chosen = [p for p in points if p.get("mode") == mode and _volume(p) == volume and p["peak"]]
            label = f"{volume}, activations {mode}"
            axes.plot(
                [p["layers"] for p in chosen], [p["peak"] / 1e6 for p in chosen], style, color=colour, label=label
            )
            beyond = [p["layers"] for p in points if p.get("mode") == mode and _volume(p) == volume and not p["peak"]]
            axes.plot(beyond, [1e3 * limit] * len(beyond), "^", color=colour)
    axes.set(xscale="log", yscale="log", xlabel="Coupling layers", ylabel="Peak of a training step [MB]")
    axes.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    depths = sorted({p["layers"] for p in points})
    axes.set_xticks(depths, [str(depth) for depth in depths], minor=False)
    axes.minorticks_off()
    axes.grid(True, which="major", alpha=0.3)
    figure.legend(frameon=False, loc="outside upper center", ncols=2)
    figure.savefig(path, dpi=150)


def main():
    """Measure, or read what was measured, and write table and plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("bench-work/rim_memory"))
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--layers", type=int, nargs="+", default=[10, 100, 400], help=f"multiples of {STEPS}")
    parser.add_argument("--image", type=int, default=256, help="pixels along y and x")
    parser.add_argument("--cube", type=int, nargs=3, default=[16, 128, 128], help="channels, y, x")
    parser.add_argument("--compare", type=int, default=32, help="pixels along y and x where gradients are compared")
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--limit", type=float, default=8.0, help="memory of one process [GB]")
    parser.add_argument("--report", action="store_true", help="measure nothing, read points.json")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.task:
        run_task(args.task, args.limit)
        return
    args.out.mkdir(parents=True, exist_ok=True)
    stored = args.out / "points.json"
    if not args.report:
        stored.write_text(json.dumps(collect(args), indent=1))
    points = json.loads(stored.read_text())
    text = table(points, args.limit)
    (args.out / "table.md").write_text(text + "\n")
    print(text)
    try:
        plot(points, args.out / "memory.png", args.limit)
    except ImportError:
        print("No plot: matplotlib is not installed here. Run again with --report where it is.")


if __name__ == "__main__":
    main()
